/*
 * What a chunkserver says to the master: here I am, this is how my disks are, this is what they hold, this is damaged.
 */

import { FsError, refuse } from '../base/fault.ts'
import type { ChunkId, DiskId, NodeId } from '../base/ids.ts'
import type { Handlers } from '../wire/peer.ts'
import type { DiskState } from '../wire/shapes.ts'
import type { Deletions } from './collect.ts'
import { needsMending } from './core/chunks.ts'
import { ofOtherMember } from './core/disks.ts'
import type { Damage } from './damage.ts'
import type { DiskErrors } from './disk-errors.ts'
import { takeIn } from './held-list.ts'
import { HeldWatch } from './held-watch.ts'
import { NOTHING, type Parts } from './parts.ts'
import type { Spare } from './spare.ts'

type NodeCalls = 'nodeRegister' | 'nodeHeartbeat' | 'inventory' | 'damaged'

export interface NodeOptions {
  readonly heartbeatMs: number
}

export interface DamageReport {
  readonly disk: DiskId
  readonly chunk: ChunkId
  readonly blocks: readonly number[]
  readonly detail: string
}

export function nodeHandlers(
  parts: Parts,
  deletions: Deletions,
  damage: Damage,
  spare: Spare,
  errors: DiskErrors,
  { heartbeatMs }: NodeOptions,
): Handlers<NodeCalls> {
  const { state, nodes, loop, clock, log } = parts
  const held = new HeldWatch(clock)
  /** Whether what the disk holds has differed for long from what is counted there. */
  const differs = (disk: DiskId, report: DiskState): boolean => {
    const record = state.disk(disk)
    const live = nodes.disk(disk)
    if (record === undefined || live === undefined) {
      held.forget(disk)
      return false
    }
    if (live.awaySinceMs !== undefined || record.leaving !== undefined) return false
    const { open, dead } = state.counters()
    return held.heard(disk, {
      held: report.chunks,
      counted: record.chunks,
      mayBeMore: deletions.pendingOn(disk) + live.writes,
      mayBeLess: open + dead,
    })
  }
  return {
    nodeRegister: async ({ uuid, name, host, port, version, disks, place, labels }, _bulk, { peer }) => {
      const member = peer.identity?.node
      let node = 0 as NodeId
      let numbered: { disk: DiskId; uuid: string; path: string; labels: string[] | undefined }[] = []
      await loop.run({
        prepare: () => {
          const known = state.nodes().find((n) => n.record.uuid === uuid)
          const other = known === undefined ? undefined : nodes.peer(known.node)
          const problem = ofOtherMember(state, known?.record, member)
          if (problem !== undefined) return problem
          if (known !== undefined && other !== undefined && other !== peer) {
            const same = known.record.host === host && known.record.port === port
            if (!same) return refuse('EEXIST', `a chunkserver with this identity is connected from ${other.address}`)
            other.close(new FsError('ECONNRESET', 'registered again on a new connection'))
          }
          const ids = state.nextIds()
          node = known?.node ?? ids.node
          const byUuid = new Map(state.disks().map(({ disk, record }) => [record.uuid, disk]))
          let next: number = ids.disk
          numbered = disks.map((d) => ({
            disk: byUuid.get(d.uuid) ?? (next++ as DiskId),
            uuid: d.uuid,
            path: d.path,
            labels: d.labels,
          }))
          return {
            ok: { kind: 'nodeJoined', node, uuid, name, host, port, version, disks: numbered, place, labels, member },
          }
        },
      })
      const again = nodes.peer(node) === peer
      const reports = numbered.map(({ disk }, i) => ({ disk, report: disks[i]! }))
      nodes.joined(node, peer, reports)
      for (const { disk, report } of reports) {
        followMark(parts, disk, undefined, report)
        errors.heard(disk, report)
      }
      const fields = { node, name, host, port, version, disks: disks.length }
      log.info(fields, again ? 'chunkserver registered again' : 'chunkserver connected')
      if (!again)
        peer.onClose((error) =>
          log.warn({ node, name, error: error?.message }, 'chunkserver disconnected; its copies are waited for'),
        )
      return {
        reply: {
          node,
          disks: numbered.map(({ disk, uuid: id }) => ({
            uuid: id,
            disk,
            // 0 asks for all that it holds, so that it can be told what is not wanted.
            knownSeq: deletions.takeIncomplete(disk) ? 0 : (state.disk(disk)?.knownSeq ?? 0),
          })),
          heartbeatMs,
        },
      }
    },

    nodeHeartbeat: ({ node, disks }, _bulk, { peer }) => {
      const before = new Map<DiskId, DiskState | undefined>()
      for (const live of nodes.disks()) if (live.node === node) before.set(live.disk, live.report)
      if (!nodes.heartbeat(node, peer, disks)) throw new FsError('ESTALE', 'register again')
      for (const [disk, old] of before) {
        const report = nodes.disk(disk)?.report
        followMark(parts, disk, old, report)
        if (report !== undefined) errors.heard(disk, report)
      }
      const asked: DiskId[] = []
      for (const live of nodes.disks())
        if (live.node === node && live.report !== undefined && differs(live.disk, live.report)) asked.push(live.disk)
      if (asked.length === 0) return NOTHING
      for (const disk of asked) deletions.askForAll(disk)
      log.info({ node, disks: asked }, 'disks hold other chunks than are counted there; asking for all that they hold')
      throw new FsError('ESTALE', 'register again, and say all that your disks hold')
    },

    inventory: async ({ node, ...what }, _bulk, { signal }) => {
      if (nodes.disk(what.disk)?.node !== node) throw new FsError('ESTALE', `disk ${what.disk} is not of node ${node}`)
      const unwanted = await takeIn(state, loop, what, signal)
      for (const entry of what.entries) {
        const { chunk } = entry
        const record = state.chunk(chunk)
        if (record === undefined || !needsMending(record, entry, what.disk) || damage.knows(what.disk, chunk)) continue
        damage.add({ disk: what.disk, chunk, blocks: [], detail: `${entry.state}, ${entry.length} bytes` })
      }
      if (state.disk(what.disk)?.leaving !== undefined) return { reply: { unwanted: [] } }
      const unneeded = unwanted.filter((chunk) => spare.mayDelete(chunk, what.disk))
      // The rest may be all that can be read now, while others are still on their way here: it waits until it is not.
      const waiting = new Set(unwanted)
      for (const chunk of unneeded) waiting.delete(chunk)
      if (waiting.size > 0) deletions.add([...waiting].map((chunk) => ({ disk: what.disk, chunk })))
      return { reply: { unwanted: unneeded } }
    },

    damaged: ({ node, disk, chunk, blocks, detail }) => {
      if (nodes.disk(disk)?.node !== node) throw new FsError('ESTALE', `disk ${disk} is not of node ${node}`)
      log.warn({ disk, chunk, blocks: blocks.length, detail }, 'damaged copy reported; repairing it from another one')
      damage.add({ disk, chunk, blocks, detail })
      return NOTHING
    },
  }
}

/** A disk marked `*` in its chunkserver's configuration is drained; taking the mark away ends that. */
function followMark({ state, loop, nodes }: Parts, disk: DiskId, old: DiskState | undefined, report?: DiskState): void {
  if (report === undefined) return
  const draining = state.disk(disk)?.draining
  if (draining === undefined) return
  const begin = report.marked && !draining && old?.marked !== true
  const end = !report.marked && draining && old?.marked === true
  if (!begin && !end) return
  loop.submit({
    prepare: () => ({ ok: { kind: 'diskDrain', disk, drain: begin, why: undefined } }),
    done: () => nodes.changed(),
  })
}
