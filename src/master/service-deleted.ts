/*
 * Deleted files as the meta mount shows them: those in the trash, those that somebody holds open, where their bytes are, and
 * how long what is deleted is kept. Mounts know nothing of a file that is only in the trash (State.visible); these calls
 * are the one way past that, and change nothing. Purging and restoring is the same as for the command line.
 */

import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Handlers } from '../wire/peer.ts'
import { DELETED_HOLDERS_MAX, DELETED_SESSIONS_MAX, type DeletedFile } from '../wire/shapes.ts'
import type { InodeRecord } from './core/records.ts'
import type { State } from './core/state.ts'
import { change, chunksOf } from './parts.ts'
import { manyInodes, type ReportParts, TRASH_PATH_BYTES_MAX } from './reports.ts'
import { allow } from './service-admin.ts'

type DeletedCalls = 'deletedPage' | 'deletedFile' | 'deletedLocate' | 'deletedCount' | 'retentionOf'

const LOCATE_EXTENTS = 4096

export function deletedHandlers(parts: ReportParts): Handlers<DeletedCalls> {
  const { state, sessions, holdings } = parts
  return {
    deletedPage: async ({ session, of, sec, ino, limit, settle }, _bulk, { peer }) => {
      if (session !== 0) sessions.heard(session)
      else if (peer.hello.role !== 'admin') throw new FsError('EPERM', 'only an admin may do without a session')
      if (settle) await holdings.settleAll()
      const wanted = Math.max(1, limit)
      return { reply: of === 'trash' ? trashFrom(state, sec, ino, wanted) : sustainedFrom(state, ino, wanted) }
    },

    deletedFile: async ({ session, ino }) => {
      let record = deleted(state, ino)
      if (record === undefined) {
        // A mount may have deleted it and not said so yet.
        await holdings.settleAll()
        record = deleted(state, ino)
      }
      if (record === undefined) throw new FsError('ENOENT', `inode ${ino} is not a deleted file`)
      sessions.heard(session).told(ino)
      return { reply: described(state, record) }
    },

    deletedLocate: ({ session, ino, offset, length }) => {
      const asking = sessions.heard(session)
      const record = state.inode(ino)
      // Also of one that has got its name back while it was read.
      if (record === undefined || record.doomed) throw new FsError('ESTALE', `inode ${ino}`)
      asking.told(ino)
      const end = offset + length
      const { extents, complete } = state.extents.from(ino, offset, LOCATE_EXTENTS, end)
      const last = extents.at(-1)
      const upTo = complete || last === undefined ? end : last.offset + last.length
      return { reply: { attr: record.attr, extents, upTo, chunks: chunksOf(parts, extents) } }
    },

    deletedCount: ({ session }) => {
      sessions.heard(session)
      const { trashed, sustained } = state.counters()
      const all = [...sessions.all()].slice(0, DELETED_SESSIONS_MAX)
      return {
        reply: {
          cluster: parts.cluster,
          trashed,
          sustained,
          sessions: all.map(({ info, connected, opens }) => ({
            session: info.session,
            host: info.host,
            mountpoint: info.mountpoint,
            connected,
            openFiles: opens?.size ?? 0,
          })),
        },
      }
    },

    retentionOf: async ({ stamp, retentionMs, ...asked }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'retentionOf'>(parts, stamp, () => ({
        kind: 'retentionOf',
        retentionMs,
        ...manyInodes(state, asked),
      }))
    },
  }
}

/** A file that has no name and is not being freed. */
function deleted(state: State, ino: Ino): InodeRecord | undefined {
  const record = state.inode(ino)
  if (record === undefined || record.doomed || record.attr.nlink > 0) return undefined
  return record.trashedUntil !== undefined || state.isSustained(ino) ? record : undefined
}

function described(state: State, record: InodeRecord, trashed = state.trash.of(record)): DeletedFile {
  const { attr, trashedUntil } = record
  const anyHeld = state.counters().sustained > 0
  return {
    attr,
    trash:
      trashed === undefined || trashedUntil === undefined
        ? undefined
        : { path: trashed.path, deletedSec: trashed.deletedSec, expirySec: trashedUntil },
    holders: anyHeld ? state.sustainedBy(attr.ino).slice(0, DELETED_HOLDERS_MAX) : [],
  }
}

function trashFrom(state: State, sec: number, from: Ino, limit: number): { files: DeletedFile[]; end: boolean } {
  const files: DeletedFile[] = []
  // No inode has the number 0, so nothing is passed over.
  const rows = state.trash.page({ expirySec: sec, ino: Math.max(0, from - 1) as Ino }, limit + 1)
  let bytes = 0
  for (const { ino, record: trashed } of rows.slice(0, limit)) {
    const record = state.inode(ino)
    if (record === undefined) continue
    const file = described(state, record, trashed)
    bytes += file.trash?.path.length ?? 0
    if (files.length > 0 && bytes > TRASH_PATH_BYTES_MAX) return { files, end: false }
    files.push(file)
  }
  return { files, end: rows.length <= limit }
}

function sustainedFrom(state: State, from: Ino, limit: number): { files: DeletedFile[]; end: boolean } {
  const inos = state.sustainedFrom(from, limit + 1)
  const files = inos.slice(0, limit).flatMap((ino) => {
    const record = state.inode(ino)
    return record === undefined ? [] : [described(state, record)]
  })
  return { files, end: inos.length <= limit }
}
