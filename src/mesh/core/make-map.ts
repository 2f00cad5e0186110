/*
 * From the registry and what a hub sees to the peer map. A member is in the map when it has been heard over the mesh, and
 * from the moment it may be: while it joins only hubs have to know it, and a map that names it costs the others nothing.
 */

import type { MeshMember, Registry } from '../../wire/mesh-shapes.ts'
import { hostOf, sameEndpoint, scopeOf } from './endpoint.ts'
import type { Nat, Pair, PeerEntry, PeerMap } from './peer-map.ts'
import { VALID_S } from './peer-map.ts'
import { natOf } from './seen.ts'

/** What a hub sees of a member on its own device, and was told of by it. */
export interface Seen {
  readonly endpoint?: string
  readonly atS: number
  /** Where another public node sees it. */
  readonly elsewhere?: string
  readonly bootId: number
}

/** What stands between the member and the internet. `hubIsPrivate`: all of the mesh may be in one private network. */
function natOfMember(member: MeshMember, seen: Seen | undefined, hubIsPrivate: boolean): Nat {
  // Its operator has seen to it that it is reached.
  if (member.roles.includes('master') || member.statics.length > 0) return 'public'
  const at = seen?.endpoint
  // There is no translation in between, and nobody who would be farther away.
  if (hubIsPrivate && at !== undefined && member.candidates.some((own) => sameEndpoint(own, at))) return 'public'
  return natOf(member.candidates, at, seen?.elsewhere)
}

export function makeMap(
  { mesh, members, denied }: Registry,
  seen: ReadonlyMap<string, Seen>,
  pairs: readonly Pair[],
  version: number,
  nowS: number,
): PeerMap {
  const hubIsPrivate = members
    .filter(({ roles }) => roles.includes('master'))
    .every(({ statics }) => statics.length > 0 && statics.every((at) => scopeOf(hostOf(at) ?? '') !== 'public'))
  const peers = members.map((member): PeerEntry => {
    const known = seen.get(member.node)
    return {
      id: member.node,
      ...{ name: member.name, keys: member.keys, ip: member.ip, roles: member.roles },
      ...{ site: member.site, rack: member.rack, relays: member.relays },
      ...{ candidates: member.candidates, statics: member.statics },
      hubSeen: known?.endpoint,
      hubSeenAt: known?.atS ?? 0,
      nat: natOfMember(member, known, hubIsPrivate),
      mtuHint: 0,
      bootId: known?.bootId ?? 0,
    }
  })
  const ids = new Set(peers.map(({ id }) => id))
  return {
    ...{ meshId: mesh.id, version, issuedAt: nowS, validUntil: nowS + VALID_S, prefix: mesh.prefix, peers },
    pairs: pairs.filter(({ a, b, via }) => ids.has(a) && ids.has(b) && (via === undefined || ids.has(via))),
    denied: denied.map(({ serial }) => serial),
  }
}

/** All that makes a difference to who reads it: not when it was made, nor when somebody was last seen. */
export const essence = ({ version: _v, issuedAt: _i, validUntil: _u, peers, ...rest }: PeerMap): string =>
  JSON.stringify({ ...rest, peers: peers.map(({ hubSeenAt: _at, ...peer }) => peer) })
