/*
 * Storage classes as the command line asks for them: lists, changes, and the class of files. A tree is changed page by page:
 * each call takes one page of one directory and names the directories in it, so that no command is long and whoever asks
 * can show how far it is, or stop.
 */

import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Handlers, Peer } from '../wire/peer.ts'
import type { ClassesReport } from '../wire/reports.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import { kept } from './core/classes.ts'
import type { State } from './core/state.ts'
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
  | 'patternSet'
  | 'patternDelete'

export function classHandlers(parts: Parts): Handlers<ClassCalls> {
  const { state, sessions, holdings } = parts
  /** What mounts made by the old ones is told before, and none makes anything by itself until it knows the new ones. */
  const changePatterns = <T>(work: () => Promise<T>): Promise<T> =>
    holdings.whileNobodyHolds(async () => {
      const done = await work()
      for (const { peer } of sessions.all()) if (peer !== undefined) tellPatterns(state, peer)
      return done
    })
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

    patternSet: ({ stamp, number, pattern }, _bulk, context) => {
      allow(stamp, context)
      return changePatterns(() =>
        change<'patternSet'>(parts, stamp, () => ({
          kind: 'patternSet',
          number: number === 0 ? nextClass(state) : number,
          pattern,
        })),
      )
    },

    patternDelete: ({ stamp, number }, _bulk, context) => {
      allow(stamp, context)
      return changePatterns(() => change<'patternDelete'>(parts, stamp, () => ({ kind: 'patternDelete', number })))
    },
  }
}

/** By which patterns a mount is to give classes to what it makes first. On a connection that has closed nothing is told. */
export function tellPatterns(state: State, peer: Pick<Peer, 'tell'>): void {
  const patterns = state.classes.rules().map((rule) => ({ ...rule, classId: kept(rule.classId) }))
  peer.tell('classPatterns', { patterns })
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
