/*
 * What the command line asks and orders about chunkservers: what they are called, where they stand. The rules of each
 * change are core's; what is here is how a person's wish becomes a command.
 */

import { FsError, isRefusal } from '../base/fault.ts'
import { parseAddressMap } from '../topology/address-map.ts'
import type { Handlers } from '../wire/peer.ts'
import type { Nodes } from './nodes.ts'
import { change } from './parts.ts'
import { nodeReports, type ReportParts } from './reports.ts'
import { allow } from './service-admin.ts'

type PlaceCalls = 'nodeLabel' | 'diskLabel' | 'nodeList' | 'topologyReload'

/** The text of the topology file. */
export type ReadTopology = () => Promise<string>

export function placeHandlers(parts: ReportParts, topologyFile: ReadTopology | undefined): Handlers<PlaceCalls> {
  const { nodes, log } = parts
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
