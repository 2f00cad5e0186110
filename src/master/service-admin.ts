/*
 * What the command line asks and orders. Changes carry a stamp like those of mounts; with session 0, which only an admin
 * connection may use, nothing is remembered, and a repeated request is carried out again (all of them bear that).
 */

import { FsError, refuse } from '../base/fault.ts'
import type { CallContext, Handlers } from '../wire/peer.ts'
import type { Stamp } from '../wire/shapes.ts'
import { checkPage } from './core/check.ts'
import { restoreNeeds } from './core/lifetime.ts'
import type { DiskRemoval } from './disk-removal.ts'
import { drainProblem } from './drain-check.ts'
import { fileReport } from './file-report.ts'
import { change, NOTHING } from './parts.ts'
import { changelogReport, diskReports, type ReportParts, resolvePath, statusReport, trashReport } from './reports.ts'

type AdminCalls =
  | 'status'
  | 'fileInfo'
  | 'diskList'
  | 'diskDrain'
  | 'diskRemove'
  | 'diskAdd'
  | 'trashList'
  | 'trashRestore'
  | 'trashPurge'
  | 'trashRetention'
  | 'settingsSet'
  | 'changelogPage'
  | 'checkPage'

/** How long a chunkserver may take to register a disk that it has just taken into use. */
const DISK_JOINS_MS = 15_000
const DISK_JOINS_LOOK_MS = 100

export function adminHandlers(parts: ReportParts, removal: DiskRemoval): Handlers<AdminCalls> {
  const { state, holdings, nodes, clock } = parts
  return {
    status: () => ({ reply: statusReport(parts) }),
    fileInfo: async ({ path }) => {
      await holdings.settleAll()
      return { reply: fileReport(parts, path) }
    },
    diskList: () => ({ reply: diskReports(parts) }),

    diskDrain: async ({ stamp, disk, drain, force }, _bulk, context) => {
      allow(stamp, context)
      const problem = drain && !force && state.disk(disk) !== undefined ? await drainProblem(parts, [disk]) : undefined
      if (problem !== undefined) throw new FsError('ENOSPC', problem)
      const { reply } = await change<'diskDrain'>(parts, stamp, () => ({
        kind: 'diskDrain',
        disk,
        drain,
        why: undefined,
      }))
      parts.onDrain()
      return { reply }
    },

    diskRemove: async ({ stamp, disk, force }, _bulk, context) => {
      allow(stamp, context)
      await removal.remove(disk, force, context.signal)
      return NOTHING
    },

    diskAdd: async ({ node, spec }, _bulk, { signal }) => {
      if (state.node(node) === undefined) throw new FsError('ENOENT', `chunkserver ${node}`)
      const peer = nodes.peer(node)
      if (peer === undefined) throw new FsError('ENOTCONN', `chunkserver ${node}`)
      const { reply } = await peer.call('orderDiskAdd', { spec }, { signal })
      const untilMs = clock.monotonicMs() + DISK_JOINS_MS
      for (;;) {
        const found = state.disks().find(({ record }) => record.uuid === reply.uuid)
        if (found !== undefined) return { reply: { disk: found.disk } }
        if (clock.monotonicMs() > untilMs)
          throw new FsError('ETIMEDOUT', 'the disk is in use, but has not been registered yet')
        await clock.sleep(DISK_JOINS_LOOK_MS, { signal })
      }
    },

    trashList: async ({ cursor, limit, match }) => {
      await holdings.settleAll()
      return { reply: trashReport(state, cursor, limit, match) }
    },

    trashRestore: async ({ stamp, ino, path, name }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'trashRestore'>(parts, stamp, () => {
        if (path !== undefined && name !== undefined) return refuse('EINVAL', 'a path or a name')
        const wanted = path ?? state.trash.of(state.inode(ino))?.path ?? ''
        const first = state.nextIds().ino
        const newInos = Array.from({ length: restoreNeeds(wanted) }, (_, i) => (first + i) as typeof first)
        return { kind: 'trashRestore', ino, path, newInos, name }
      })
    },

    trashPurge: ({ stamp, inos }, _bulk, context) => {
      allow(stamp, context)
      return change<'trashPurge'>(parts, stamp, () => ({ kind: 'trashPurge', inos }))
    },

    trashRetention: async ({ stamp, path, retentionMs }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'trashRetention'>(parts, stamp, () => ({
        kind: 'trashRetention',
        ino: resolvePath(state, path),
        retentionMs,
      }))
    },

    settingsSet: ({ stamp, ...wish }, _bulk, context) => {
      allow(stamp, context)
      return change<'settingsSet'>(parts, stamp, () => ({ kind: 'settingsSet', ...wish }))
    },

    changelogPage: ({ from, limit }) => ({ reply: changelogReport(state, from, limit) }),
    checkPage: ({ cursor, limit }) => ({ reply: checkPage(state, cursor, limit) }),
  }
}

/** Session 0 is the master's own; an admin may speak for nobody else. */
export function allow(stamp: Stamp, { peer }: CallContext): void {
  if (stamp.session === 0 && peer.hello.role !== 'admin')
    throw new FsError('EPERM', 'only an admin connection may do without a session')
}
