/*
 * What a node with a public address learns of others without asking: WireGuard knows from where the last authenticated
 * packet of each peer came, which is what that peer's NAT shows the world. A hub puts it into the map; a second observer tells
 * NATs that show everybody the same from those that do not.
 */

import { isSettled } from './diff.ts'
import type { Device } from './dump.ts'
import { familyOf, hostOf, parseHostPort, sameEndpoint, scopeOf } from './endpoint.ts'
import { isRelayPort, relayHosts } from './path.ts'
import type { Nat, PeerMap } from './peer-map.ts'

/** Where each node was last heard, by its id. Only of those that shook hands lately: before that an endpoint is somebody's guess. */
export function seenNow(map: PeerMap, device: Device, nowS: number): Map<string, string> {
  const ownerOf = new Map(map.peers.flatMap((peer) => peer.keys.map((key) => [key, peer.id] as const)))
  const relays = relayHosts(map)
  const seen = new Map<string, { readonly endpoint: string; readonly atS: number }>()
  for (const peer of device.peers) {
    const id = ownerOf.get(peer.publicKey)
    if (id === undefined || peer.endpoint === undefined || !isSettled(peer, nowS)) continue
    // A packet that came through a relay shows the relay.
    if (isRelayPort(peer.endpoint, relays)) continue
    const other = seen.get(id)
    // Of two keys the one that shook hands last.
    if (other === undefined || other.atS < peer.latestHandshakeS)
      seen.set(id, { endpoint: peer.endpoint, atS: peer.latestHandshakeS })
  }
  return new Map([...seen].map(([id, { endpoint }]) => [id, endpoint]))
}

/**
 * What kind of NAT a node stands behind. `candidates`: its own addresses; `hubSeen`, `otherSeen`: as a hub and a second public
 * node see it. A hub in the node's own network sees a private address and says nothing about the way outside.
 */
export function natOf(candidates: readonly string[], hubSeen: string | undefined, otherSeen: string | undefined): Nat {
  if (hubSeen === undefined) return 'unknown'
  const host = hostOf(hubSeen)
  if (host === undefined || scopeOf(host) !== 'public') return 'unknown'
  if (candidates.some((candidate) => sameEndpoint(candidate, hubSeen))) return 'public'
  if (otherSeen === undefined) return 'unknown'
  const [x, y] = [parseHostPort(hubSeen), parseHostPort(otherSeen)]
  if (!('ok' in x) || !('ok' in y)) return 'unknown'
  // Seen by IPv4 here and by IPv6 there: that says nothing about ports.
  if (familyOf(x.ok.host) !== familyOf(y.ok.host)) return 'unknown'
  return sameEndpoint(hubSeen, otherSeen) ? 'cone' : 'symmetric'
}
