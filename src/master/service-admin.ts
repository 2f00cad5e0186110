/*
 * What the command line asks and orders. Changes carry a stamp like those of mounts; with session 0, which only an admin
 * connection may use, nothing is remembered, and a repeated request is carried out again (all of them bear that).
 */

import { FsError, refuse } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import type { CallContext, Handlers } from '../wire/peer.ts'
import type { Stamp } from '../wire/shapes.ts'
import { checkPage } from './core/check.ts'
import { restoreNeeds } from './core/lifetime.ts'
import type { DiskRemoval } from './disk-removal.ts'
import { change, NOTHING } from './parts.ts'
import {
  changelogReport,
  diskReports,
  fileReport,
  type ReportParts,
  resolvePath,
  statusReport,
  trashReport,
} from './reports.ts'

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

    diskDrain: ({ stamp, disk, drain, force }, _bulk, context) => {
      allow(stamp, context)
      return change<'diskDrain'>(parts, stamp, () => {
        const problem = drain && !force ? drainProblem(parts, disk) : undefined
        return problem === undefined ? { kind: 'diskDrain', disk, drain } : refuse('ENOSPC', problem)
      })
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

    trashRestore: async ({ stamp, ino, path }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'trashRestore'>(parts, stamp, () => {
        const wanted = path ?? state.trash.of(state.inode(ino))?.path ?? ''
        const first = state.nextIds().ino
        const newInos = Array.from({ length: restoreNeeds(wanted) }, (_, i) => (first + i) as typeof first)
        return { kind: 'trashRestore', ino, path, newInos }
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

/** Why a drain could not come to its end, as far as can be told now. */
function drainProblem({ state, nodes }: ReportParts, disk: DiskId): string | undefined {
  if (state.disk(disk) === undefined) return undefined
  const others = [...nodes.map().values()].filter((d) => d.disk !== disk && d.usable)
  const servers = new Set(others.map((d) => d.node)).size
  const { copies } = state.settings()
  if (servers < copies) return `only ${servers} chunkservers could hold the ${copies} copies; add one or use --force`
  const room = others.reduce((sum, d) => sum + d.availableBytes, 0)
  const used = nodes.disk(disk)?.report?.usedBytes ?? 0
  return used > room ? 'the other disks have not enough room; add some or use --force' : undefined
}
