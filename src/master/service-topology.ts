/*
 * Measured places on the wire: what the hub tells, what people look at and order. The rules are core's (core/measured.ts); what is measured
 * and proposed is known by measured-places.ts.
 */

import type { Handlers } from '../wire/peer.ts'
import type { Command } from './core/commands.ts'
import { NOTHING, type Parts } from './parts.ts'

type TopologyCalls =
  | 'meshMeasured'
  | 'topologyShow'
  | 'topologySet'
  | 'topologyApply'
  | 'topologyRename'
  | 'topologyPin'

export function topologyHandlers({ state, loop, nodes, measured, log }: Parts): Handlers<TopologyCalls> {
  const done = async (command: Command): Promise<typeof NOTHING> => {
    await loop.run({ sync: true, prepare: () => ({ ok: command }) })
    return NOTHING
  }
  return {
    meshMeasured: ({ hub, rows }) => {
      measured.take(hub, rows)
      return NOTHING
    },

    topologyShow: ({ matrix }) => ({ reply: measured.report(matrix) }),

    topologySet: async (wanted) => {
      await done({ kind: 'measuringSet', ...wanted })
      measured.said()
      return NOTHING
    },

    topologyApply: async ({ version }) => {
      await measured.apply(version)
      log.info({ version }, 'measured places were applied by hand')
      return NOTHING
    },

    topologyRename: ({ level, from, to }) => {
      measured.mayRename(level, from)
      return done({ kind: 'placeRenamed', level, from, to })
    },

    topologyPin: async ({ node, site, rack }) => {
      await done({ kind: 'memberPlaced', node, site, rack })
      nodes.placesChanged()
      measured.said()
      log.info({ node, name: state.mesh.members.get(node)?.name, site, rack }, 'said where a node of the mesh stands')
      return NOTHING
    },
  }
}
