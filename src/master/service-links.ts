/*
 * What the command line asks and orders of the ways between sites.
 */

import { FsError } from '../base/fault.ts'
import type { Handlers } from '../wire/peer.ts'
import type { LinkReport } from '../wire/reports-mesh.ts'
import type { Links } from './links.ts'
import { change } from './parts.ts'
import { siteLack } from './presence.ts'
import type { ReportParts } from './reports.ts'
import { allow } from './service-admin.ts'

type LinkCalls = 'linkShow' | 'linkLimit' | 'waysSeen' | 'siteLack'

/** Pairs in a report: more than that nobody reads. */
const SHOWN_MAX = 1_000
/** Where an address stands is looked up again after so long, and remembered of so many: chunkservers and mounts that are busy now. */
const SITE_MS = 5_000
const SITES_MAX = 4_096

export function linkHandlers(parts: ReportParts, links: Links, zone: string): Handlers<LinkCalls> {
  const { state, nodes } = parts
  const sites = new Map<string, { readonly site: string; readonly atMs: number }>()
  const siteOf = (host: string, port: number): string => {
    const nowMs = parts.clock.monotonicMs()
    const key = `${host} ${port}`
    const known = sites.get(key)
    if (known !== undefined && nowMs - known.atMs < SITE_MS) return known.site
    if (sites.size >= SITES_MAX) sites.clear()
    const site = siteAt(parts, host, port)
    sites.set(key, { site, atMs: nowMs })
    return site
  }
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

    waysSeen: ({ node, ways }, _bulk, { peer }) => {
      if (nodes.peer(node) !== peer) throw new FsError('ESTALE', `chunkserver ${node} has not registered here`)
      const own = nodes.location(node).site ?? '?'
      let wanted = false
      for (const { host, port, ...seen } of ways) {
        const other = siteOf(host, port)
        if (other === own) continue
        if (links.sampled({ a: own, b: other, who: `${node} ${host} ${port}`, ...seen })) wanted = true
      }
      return { reply: { wanted } }
    },

    siteLack: async (asked) => {
      // What was made a moment ago counts.
      if (asked.page === undefined) await parts.holdings.settleAll()
      return { reply: siteLack(parts, asked) }
    },
  }
}

/** Of a chunkserver, or with port 0 of whatever else speaks from there. '?': nobody has said. */
function siteAt({ state, nodes, measured }: ReportParts, host: string, port: number): string {
  const server = state.nodes().find(({ record }) => record.host === host && (record.port === port || port === 0))
  const { site } = server === undefined ? measured.whereIsHost(host) : nodes.location(server.node)
  return site ?? '?'
}
