/*
 * Snapshots, deleted trees, appended files: what the command line asks for. Work that is long goes on behind the call
 * (jobs.ts); the call answers with its number.
 */

import { errnoFromNumber } from '../base/errno.ts'
import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Handlers } from '../wire/peer.ts'
import type { JobReport } from '../wire/reports.ts'
import type { State } from './core/state.ts'
import { change, inodeOf, type Parts } from './parts.ts'
import { resolvePath } from './reports.ts'
import { allow } from './service-admin.ts'

type JobCalls = 'snapshotCreate' | 'snapshotList' | 'snapshotCancel' | 'treeDelete' | 'fileAppend'

/** `onWork`: there is something to go on with. */
export function jobHandlers(parts: Parts, onWork: () => void): Handlers<JobCalls> {
  const { state, holdings, loop } = parts
  return {
    snapshotCreate: async ({ stamp, source, target }, _bulk, context) => {
      allow(stamp, context)
      // Whatever mounts have answered their users for is part of it.
      await holdings.settleAll('everybody')
      const answer = await change<'snapshotCreate'>(parts, stamp, () => {
        const ino = resolvePath(state, source)
        const { parent, name } = placeOf(state, target)
        return { kind: 'snapshotBegin', source: ino, sourcePath: source, parent, name, targetPath: target }
      })
      onWork()
      return answer
    },

    snapshotList: () => ({ reply: jobReports(state) }),

    snapshotCancel: async ({ stamp, job }, _bulk, context) => {
      allow(stamp, context)
      const answer = await change<'snapshotCancel'>(parts, stamp, () => ({
        kind: 'jobCancelled',
        job,
        errno: undefined,
        detail: undefined,
      }))
      onWork()
      return answer
    },

    treeDelete: async ({ stamp, path }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      const answer = await change<'treeDelete'>(parts, stamp, () => {
        const { parent, name } = placeOf(state, path)
        const entry = state.lookup(parent, name)
        const openIn = entry === undefined || entry.type === 'dir' ? [] : parts.sessions.openIn(entry.ino)
        return { kind: 'treeDetached', parent, name, path, openIn }
      })
      onWork()
      return answer
    },

    fileAppend: async ({ stamp, source, target, offset }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll('everybody')
      const from = fileAt(state, source)
      const to = fileAt(state, target)
      const { size } = inodeOf(state, from).attr
      // A file of very many extents takes several commands; each begins where the last one ended.
      for (let done = 0; done < size; ) {
        const { copied } = await loop.run<{ copied: number }>({
          prepare: () => {
            const now = inodeOf(state, to).attr.size
            if (now !== offset + done)
              throw new FsError(
                // Before the first piece nothing has happened, and it can be tried again.
                done === 0 ? 'EAGAIN' : 'EBUSY',
                `${target} is ${now} bytes long, not ${offset + done}, of which ${done} have been appended: somebody writes to it`,
              )
            return {
              ok: {
                kind: 'copyRange',
                source: from,
                sourceOffset: done,
                target: to,
                targetOffset: offset + done,
                length: size - done,
                killSuidGid: true,
              },
            }
          },
        })
        if (copied === 0) throw new FsError('EBUSY', `${source} became shorter after ${done} bytes of it were appended`)
        done += copied
      }
      return { reply: { size: offset + size } }
    },
  }
}

/** The directory of a path and the name in it. */
function placeOf(state: State, path: string): { parent: Ino; name: string } {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  const name = parts.pop()
  if (name === undefined || name === '..') throw new FsError('EINVAL', `"${path}" names no place in a directory`)
  return { parent: resolvePath(state, `/${parts.join('/')}`), name }
}

function fileAt(state: State, path: string): Ino {
  const ino = resolvePath(state, path)
  const type = state.inode(ino)?.attr.type
  if (type !== 'file') throw new FsError(type === 'dir' ? 'EISDIR' : 'EINVAL', `${path} is not a regular file`)
  return ino
}

export const jobReports = (state: State): JobReport[] =>
  state.jobs.all().map(({ job, record }) => ({
    job,
    kind: record.kind,
    phase: record.phase,
    source: record.source,
    target: record.target,
    inodes: record.inodes,
    bytes: record.bytes,
    begunAt: record.begunSec,
    overAt: record.overSec ?? 0,
    errno: record.errno === undefined ? '' : errnoFromNumber(record.errno),
    detail: record.detail ?? '',
  }))
