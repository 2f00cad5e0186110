/*
 * What the command line asks and orders. Changes carry a stamp like those of mounts; with session 0, which only an admin
 * connection may use, nothing is remembered, and a repeated request is carried out again (all of them bear that).
 */

import { FsError, refuse } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { CallContext, Handlers } from '../wire/peer.ts'
import type { Stamp } from '../wire/protocol.ts'
import { checkPage } from './core/check.ts'
import { restoreNeeds } from './core/lifetime.ts'
import { isAbsence, type Orders } from './orders.ts'
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
import type { Spare } from './spare.ts'

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

/** Chunks looked at between two turns of the event loop. */
const SLICE = 1_000
/** How long a chunkserver may take to register a disk that it has just taken into use. */
const DISK_JOINS_MS = 15_000
const DISK_JOINS_LOOK_MS = 100
/** Steps of a removal by force: each takes some thousand chunks off the disk. */
const REMOVE_STEPS_MAX = 100_000

export function adminHandlers(parts: ReportParts, orders: Orders, spare: Spare): Handlers<AdminCalls> {
  const { state, holdings, nodes, loop, clock, log } = parts
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
      if (state.disk(disk) === undefined) throw new FsError('ENOENT', `disk ${disk}`)
      if (!force) await refuseIfOnly(parts, spare, disk)
      for (let i = 0; i < REMOVE_STEPS_MAX; i++) {
        try {
          await loop.command(() => ({ ok: { kind: 'diskRemove', disk, force } }))
          break
        } catch (error) {
          // So many chunks were taken off it; there are more.
          if (!(error instanceof FsError) || error.code !== 'EAGAIN' || loop.status().refusing) throw error
        }
      }
      try {
        await orders.give(disk, 'orderDiskRemove', { disk }, context.signal)
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        // Away, or the disk is gone there as well. Should it come back, it registers as a new disk.
        if (!isAbsence(error)) log.warn({ disk, error: error.message }, 'the chunkserver could not let go of a disk')
      }
      nodes.forget(disk)
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
function allow(stamp: Stamp, { peer }: CallContext): void {
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

/** EBUSY when the disk holds the only good copy that can be read of anything. In slices: the disk may hold a million chunks. */
async function refuseIfOnly({ state, clock }: ReportParts, spare: Spare, disk: DiskId): Promise<void> {
  for (let after: ChunkId | 0 = 0; ; ) {
    const page: ChunkId[] = state.chunkIndex.ofDisk(disk, after, SLICE)
    for (const chunk of page) {
      const record = state.chunk(chunk)
      if (record === undefined || (record.state === 'sealed' && record.live === 0)) continue
      if (!spare.hasOther(chunk, disk))
        throw new FsError('EBUSY', 'it holds the only copy of something that can be read; drain it first')
    }
    const last = page.at(-1)
    if (last === undefined) return
    after = last
    await clock.sleep(0)
  }
}
