/*
 * Storage classes as the command line asks for them: lists, changes, and the class of files. A tree is changed page by page:
 * each call takes one page of one directory and names the directories in it, so that no command is long and whoever asks
 * can show how far it is, or stop.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, Ino } from '../base/ids.ts'
import { ClassError, readClass, type StorageClass } from '../topology/storage-class.ts'
import type { Handlers } from '../wire/peer.ts'
import type { Request } from '../wire/protocol.ts'
import type { ClassesReport, ClassMoves } from '../wire/reports.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import { movesOf } from './core/moves.ts'
import type { State } from './core/state.ts'
import { wishOf } from './core/wishes.ts'
import { change, type Parts } from './parts.ts'
import { manyInodes, resolvePath } from './reports.ts'
import { allow } from './service-admin.ts'
import { usageReport } from './usage-report.ts'

type ClassCalls =
  | 'classList'
  | 'classSet'
  | 'classRename'
  | 'classDelete'
  | 'classOf'
  | 'classGet'
  | 'classMoves'
  | 'patternSet'
  | 'patternDelete'

export function classHandlers(parts: Parts): Handlers<ClassCalls> {
  const { state, holdings } = parts
  return {
    classList: () => ({ reply: classesReport(state) }),

    classSet: ({ stamp, classId, text }, _bulk, context) => {
      allow(stamp, context)
      return change<'classSet'>(parts, stamp, () => ({
        kind: 'classSet',
        classId: classId === 0 ? nextClass(state) : classId,
        text,
      }))
    },

    classRename: ({ stamp, classId, name }, _bulk, context) => {
      allow(stamp, context)
      return change<'classRename'>(parts, stamp, () => ({ kind: 'classRename', classId, name }))
    },

    classDelete: ({ stamp, classId }, _bulk, context) => {
      allow(stamp, context)
      return change<'classDelete'>(parts, stamp, () => ({ kind: 'classDelete', classId }))
    },

    classOf: async ({ stamp, classId, onlyFrom, ...asked }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'classOf'>(parts, stamp, () => ({
        kind: 'classOf',
        classId,
        onlyFrom,
        ...manyInodes(state, asked),
      }))
    },

    classGet: async ({ path }) => {
      await holdings.settleAll()
      const ino: Ino = resolvePath(state, path)
      const record = state.inode(ino)
      if (record === undefined) throw new FsError('ENOENT', path)
      const classId = record.attr.classId ?? DEFAULT_CLASS
      const { name } = state.classes.meaning(classId)
      return { reply: { ino, type: record.attr.type, classId, name } }
    },

    classMoves: ({ classId, text, after, limit }) => {
      if (state.classes.record(classId) === undefined) throw new FsError('ENOENT', `storage class ${classId}`)
      return { reply: movesPage(parts, classId === DEFAULT_CLASS ? 0 : classId, meaningOf(state, text), after, limit) }
    },

    patternSet: async ({ stamp, number, pattern }, _bulk, context) => {
      allow(stamp, context)
      const reply = await change<'patternSet'>(parts, stamp, () => ({
        kind: 'patternSet',
        number: number === 0 ? nextClass(state) : number,
        pattern,
      }))
      // While there are patterns nobody holds a directory: what a mount makes there first would have its directory's class.
      await holdings.settleAll()
      return reply
    },

    patternDelete: ({ stamp, number }, _bulk, context) => {
      allow(stamp, context)
      return change<'patternDelete'>(parts, stamp, () => ({ kind: 'patternDelete', number }))
    },
  }
}

const nextClass = (state: State): number => state.counters().nextClass ?? DEFAULT_CLASS + 1

function classesReport(state: State): ClassesReport {
  return {
    classes: state.classes.numbers().flatMap((classId) => {
      const record = state.classes.record(classId)
      if (record === undefined) return []
      return [{ classId, ...record.text, inodes: classId === DEFAULT_CLASS ? null : record.inodes }]
    }),
    patterns: state.classes.patterns().map(({ number, pattern }) => ({
      ...pattern,
      number,
      uid: pattern.uid ?? null,
      gid: pattern.gid ?? null,
    })),
    usage: usageReport(state),
    copies: state.settings().copies,
  }
}

function meaningOf(state: State, text: Request<'classMoves'>['text']): StorageClass {
  try {
    return readClass(text, state.settings().copies)
  } catch (error) {
    if (error instanceof ClassError) throw new FsError('EINVAL', error.message, { cause: error })
    throw error
  }
}

function movesPage(
  { state, nodes }: Parts,
  classId: number,
  meaning: StorageClass,
  after: number,
  limit: number,
): ClassMoves {
  const disks = nodes.map()
  const page = state.chunkIndex.all(after as ChunkId | 0, Math.max(1, limit))
  const links = new Map<string, { from: string; to: string; bytes: number }>()
  let chunks = 0
  let moving = 0
  let nowhere = 0
  for (const chunk of page) {
    const record = state.chunk(chunk)
    // Parts come with the whole that they are of. What is still being written counts as far as it is committed.
    if (record === undefined || record.whole !== undefined || record.live === 0) continue
    if ((record.classId ?? 0) !== classId) continue
    chunks++
    const ec = record.ec && { ...record.ec, parts: record.ec.parts.flatMap((part) => state.chunk(part) ?? []) }
    const found = movesOf({ ...record, ec }, wishOf(meaning, record.phase ?? 'keep'), disks)
    if (found.moves.length > 0) moving++
    nowhere += found.nowhere
    for (const move of found.moves) {
      const [from, to] = [move.from.site ?? '', move.to.site ?? '']
      const link = links.get(`${from}/${to}`) ?? { from, to, bytes: 0 }
      links.set(`${from}/${to}`, { ...link, bytes: link.bytes + move.bytes })
    }
  }
  const last = page.length < limit ? undefined : page.at(-1)
  return { after: last ?? null, chunks, moving, nowhere, links: [...links.values()] }
}
