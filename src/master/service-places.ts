/*
 * What the command line asks and orders about chunkservers: what they are called, where they stand, how long they are
 * waited for, that they are to be emptied or forgotten. The rules of each change are core's; what is here is how a
 * person's wish becomes a command.
 */

import { FsError, isRefusal, refuse } from '../base/fault.ts'
import type { DiskId, NodeId } from '../base/ids.ts'
import { formatDuration } from '../base/units.ts'
import { parseAddressMap } from '../topology/address-map.ts'
import type { Handlers } from '../wire/peer.ts'
import type { DiskRemoval } from './disk-removal.ts'
import { drainProblem } from './drain-check.ts'
import type { Nodes } from './nodes.ts'
import { change, NOTHING } from './parts.ts'
import { nodeReports, type ReportParts } from './reports.ts'
import { allow } from './service-admin.ts'

type PlaceCalls =
  | 'nodeLabel'
  | 'diskLabel'
  | 'nodeList'
  | 'nodeGrace'
  | 'nodeMaintenance'
  | 'nodeDrain'
  | 'nodeRemove'
  | 'topologyReload'

/** Whoever is away for longer is not in maintenance but gone, and what it holds is wanted elsewhere. */
const MAINTENANCE_MS_MAX = 30 * 86_400_000

/** The text of the topology file. */
export type ReadTopology = () => Promise<string>

export function placeHandlers(
  parts: ReportParts,
  removal: DiskRemoval,
  topologyFile: ReadTopology | undefined,
): Handlers<PlaceCalls> {
  const { state, loop, nodes, clock, log } = parts
  const disksOf = (node: NodeId): DiskId[] =>
    state.disks().flatMap(({ disk, record }) => (record.node === node ? [disk] : []))
  return {
    nodeLabel: ({ stamp, node, labels }, _bulk, context) => {
      allow(stamp, context)
      return change<'nodeLabel'>(parts, stamp, () => ({ kind: 'nodeLabel', node, labels }))
    },

    diskLabel: ({ stamp, disk, labels }, _bulk, context) => {
      allow(stamp, context)
      return change<'diskLabel'>(parts, stamp, () => ({ kind: 'diskLabel', disk, labels }))
    },

    nodeList: () => ({ reply: nodeReports(parts) }),

    nodeGrace: ({ stamp, node, graceMs }, _bulk, context) => {
      allow(stamp, context)
      return change<'nodeGrace'>(parts, stamp, () => ({ kind: 'nodeGrace', node, graceMs }), {
        applied: () => nodes.changed(),
      })
    },

    nodeMaintenance: async ({ stamp, node, forMs }, _bulk, context) => {
      allow(stamp, context)
      if (forMs > MAINTENANCE_MS_MAX)
        throw new FsError('EINVAL', `a maintenance lasts at most ${formatDuration(MAINTENANCE_MS_MAX)}`)
      const untilSec = forMs === 0 ? undefined : clock.now().sec + Math.ceil(forMs / 1000)
      await loop.run({
        prepare: () => ({ ok: { kind: 'nodeMaintenance', node, untilSec } }),
        applied: () => nodes.changed(),
      })
      log.info({ node, name: state.node(node)?.name, forMs }, forMs === 0 ? 'maintenance is over' : 'in maintenance')
      return { reply: { untilSec: untilSec ?? 0 } }
    },

    nodeDrain: async ({ stamp, node, drain, force }, _bulk, context) => {
      allow(stamp, context)
      const disks = disksOf(node)
      if (state.node(node) === undefined) throw new FsError('ENOENT', `chunkserver ${node}`)
      if (disks.length === 0) throw new FsError('EINVAL', 'it has no disks')
      const problem = drain && !force ? await drainProblem(parts, disks) : undefined
      if (problem !== undefined) throw new FsError('ENOSPC', problem)
      // One after the other in one turn of the loop: a disk that went meanwhile is no reason to leave out the rest.
      await Promise.all(
        disks.map((disk) => loop.command(() => ({ ok: { kind: 'diskDrain', disk, drain, why: undefined } }))),
      )
      parts.onDrain()
      return NOTHING
    },

    nodeRemove: async ({ stamp, node, force }, _bulk, context) => {
      allow(stamp, context)
      const record = state.node(node)
      if (record === undefined) throw new FsError('ENOENT', `chunkserver ${node}`)
      if (nodes.peer(node) !== undefined)
        throw new FsError('EBUSY', `${record.name} is connected and would be back at once; stop it first`)
      for (const disk of disksOf(node)) await removal.remove(disk, force, context.signal)
      await loop.command(() =>
        nodes.peer(node) === undefined
          ? { ok: { kind: 'nodeRemove', node } }
          : refuse('EBUSY', `${record.name} has connected meanwhile`),
      )
      nodes.forgetNode(node)
      log.info({ node, name: record.name }, 'chunkserver forgotten')
      return NOTHING
    },

    topologyReload: async () => {
      const rules = await loadTopology(nodes, topologyFile)
      log.info({ rules }, 'topology file read')
      return { reply: { rules } }
    },
  }
}

/** Answers how many rules it has. What was known before stays when it cannot be read. */
export async function loadTopology(nodes: Nodes, topologyFile: ReadTopology | undefined): Promise<number> {
  const map = parseAddressMap((await topologyFile?.()) ?? '')
  if (isRefusal(map)) throw new FsError(map.errno, `topology file, ${map.detail}`)
  nodes.setAddresses(map.ok)
  return map.ok.rules
}
