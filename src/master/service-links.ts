/*
 * What the command line asks and orders of the ways between sites.
 */

import type { Handlers } from '../wire/peer.ts'
import type { LinkReport } from '../wire/reports-mesh.ts'
import type { Links } from './links.ts'
import { change, NOTHING } from './parts.ts'
import { siteLack } from './presence.ts'
import type { ReportParts } from './reports.ts'
import { allow } from './service-admin.ts'

type LinkCalls = 'linkShow' | 'linkLimit' | 'lineSamples' | 'siteLack'

/** Pairs in a report: more than that nobody reads. */
const SHOWN_MAX = 1_000

export function linkHandlers(parts: ReportParts, links: Links, zone: string): Handlers<LinkCalls> {
  const { state, nodes } = parts
  return {
    linkShow: () => {
      const sites = state.nodes().flatMap(({ node }) => nodes.location(node).site ?? [])
      const all = links.report([...new Set(sites)].sort())
      // What is busy or limited comes first where there are too many.
      const rank = (link: LinkReport): number =>
        link.running + link.waiting > 0 ? 0 : link.limitBytesPerSecond !== null ? 1 : 2
      const shown = all.length <= SHOWN_MAX ? all : [...all].sort((x, y) => rank(x) - rank(y)).slice(0, SHOWN_MAX)
      return {
        reply: {
          nowSec: parts.clock.now().sec,
          minute: links.minute,
          zone,
          links: shown,
          more: all.length - shown.length,
        },
      }
    },

    linkLimit: ({ stamp, ...wish }, _bulk, context) => {
      allow(stamp, context)
      return change<'linkLimit'>(parts, stamp, () => ({ kind: 'linkLimit', ...wish }))
    },

    lineSamples: ({ samples }) => {
      for (const sample of samples) links.sampled(sample)
      return NOTHING
    },

    siteLack: async (asked) => {
      // What was made a moment ago counts.
      if (asked.page === undefined) await parts.holdings.settleAll()
      return { reply: siteLack(parts, asked) }
    },
  }
}
