/*
 * From the peer map to the peers that this node's device shall have. The map says which nodes there are and which way each
 * pair takes; this says with which key, which addresses, where and how often to call.
 *
 * Whatever the way, the address of a node belongs to exactly one peer: to the node itself when packets go to it (straight or
 * blindly through a relay's port), to the relay when they go through its tunnel. While two nodes try to reach each other
 * directly the other is a BARE peer: it has an endpoint and a keepalive and no address, so it can prove the way by a
 * handshake without carrying anything. Both move the address when the map says so.
 *
 * A key is changed without a gap: the map names the old and the new one, the new one is a bare peer until it shakes hands,
 * and from that moment it has the address.
 */

import { endpointsTo } from './candidates.ts'
import type { WantedPeer } from './diff.ts'
import type { Device } from './dump.ts'
import { formatHostPort, hostOf, parseHostPort } from './endpoint.ts'
import { isHub, type Pair, type PeerEntry, type PeerMap, pairOf, trusted } from './peer-map.ts'
import { type RelayedEnd, relayPort } from './relay-rules.ts'

export interface OwnFacts {
  /** Own id in the map. */
  readonly id: string
  /** Candidates tried since a peer was last reached (candidateStep), by node id; none: 0. */
  readonly steps: ReadonlyMap<string, number>
  /** Nodes whose direct way has just failed: the relay's port is used until the map says what is next. */
  readonly suspects: ReadonlySet<string>
}

/** NATs forget a mapping after 30 s at the earliest; what WireGuard's own documents, innernet and netbird use. */
export const KEEPALIVE_S = 25

const wholeAddress = (peer: PeerEntry): string => `${peer.ip}/32`

/** undefined: the map does not know this node, which was removed. */
export function plan(map: PeerMap, own: OwnFacts, device: Device | undefined, nowS: number): WantedPeer[] | undefined {
  const self = map.peers.find((peer) => peer.id === own.id)
  if (self === undefined) return undefined
  const others = trusted(map, nowS).filter((peer) => peer.id !== own.id)
  const byId = new Map(others.map((peer) => [peer.id, peer]))
  const pairs = new Map(map.pairs.map((pair) => [pair.a + pair.b, pair]))
  const pairWith = (peer: PeerEntry): Pair | undefined => {
    const { a, b } = pairOf(own.id, peer.id)
    return pairs.get(a + b)
  }
  /** Who relays has to be reached without another's help: a chain of two would end in nobody's tunnel. */
  const relayOf = (pair: Pair | undefined): PeerEntry | undefined => {
    const relay = pair?.via === undefined ? undefined : byId.get(pair.via)
    if (relay === undefined) return undefined
    const toRelay = pairWith(relay)
    return toRelay?.via === undefined || toRelay.path === 'direct' ? relay : undefined
  }
  /** Addresses of nodes that are reached through another's tunnel, by that other's id. */
  const carried = new Map<string, string[]>()
  const ways = others.map((peer) => {
    const pair = pairWith(peer)
    const way = wayTo(self, peer, pair, relayOf(pair), own)
    if (way.carrier !== undefined) carried.set(way.carrier, [...(carried.get(way.carrier) ?? []), wholeAddress(peer)])
    return { peer, way }
  })
  const shaken = new Map(device?.peers.map((peer) => [peer.publicKey, peer.latestHandshakeS]))
  return ways.flatMap(({ peer, way }): WantedPeer[] => {
    if (way.kind === 'absent') return []
    const allowedIps = [...(way.kind === 'bare' ? [] : [wholeAddress(peer)]), ...(carried.get(peer.id) ?? [])]
    const keepaliveS = way.kind === 'bare' || self.nat !== 'public' || isHub(peer) ? KEEPALIVE_S : 0
    const active = activeKey(peer, shaken)
    return peer.keys.map((publicKey): WantedPeer => {
      const at = way.endpoint
      // A bare peer that has shaken hands is where it was found; the map will say that it may carry.
      const insist = way.kind === 'bare' ? (shaken.get(publicKey) ?? 0) === 0 : way.insist
      const endpoint = at === undefined ? {} : { endpoint: { at, insist } }
      if (publicKey !== active) return { publicKey, allowedIps: [], keepaliveS: 0, ...endpoint }
      return { publicKey, allowedIps, keepaliveS, ...endpoint, ...(way.kind === 'bare' ? { afresh: true } : {}) }
    })
  })
}

/** The next key as soon as it has shaken hands after the present one did. */
function activeKey(peer: PeerEntry, shaken: ReadonlyMap<string, number>): string {
  const [present, next] = peer.keys
  if (next === undefined) return present!
  return (shaken.get(next) ?? 0) > (shaken.get(present!) ?? 0) ? next : present!
}

interface Way {
  /** `carry`: packets go to it. `bare`: to be proved. `absent`: reached through another's tunnel only. */
  readonly kind: 'carry' | 'bare' | 'absent'
  readonly endpoint?: string
  readonly insist: boolean
  /** Whose tunnel takes its packets. */
  readonly carrier?: string
}

function wayTo(
  self: PeerEntry,
  peer: PeerEntry,
  pair: Pair | undefined,
  relay: PeerEntry | undefined,
  own: OwnFacts,
): Way {
  const candidates = endpointsTo(self, peer)
  const step = own.steps.get(peer.id) ?? 0
  const candidate = candidates[step % Math.max(1, candidates.length)]
  const straight: Way = { kind: 'carry', insist: false, ...(candidate === undefined ? {} : { endpoint: candidate }) }
  if (pair === undefined || relay === undefined) return straight
  const blind = blindEndpoint(self, relay, pair)
  const blindly: Way | undefined = blind === undefined ? undefined : { kind: 'carry', endpoint: blind, insist: true }
  const inside: Way = { kind: 'absent', insist: false, carrier: relay.id }
  const forwards = relay.relays === 'blind-and-forward'
  switch (pair.path) {
    case 'direct':
      return own.suspects.has(peer.id) ? (blindly ?? straight) : straight
    case 'relay':
      return blindly ?? (forwards ? inside : straight)
    case 'punch':
      if (!forwards || candidate === undefined) return straight
      return { kind: 'bare', endpoint: candidate, insist: true, carrier: relay.id }
    case 'settle':
      if (!forwards || blind === undefined) return blindly ?? straight
      return { kind: 'bare', endpoint: blind, insist: true, carrier: relay.id }
  }
}

/** Where this node sends to reach the other of the pair through the relay's ports. */
function blindEndpoint(self: PeerEntry, relay: PeerEntry, pair: Pair): string | undefined {
  if (pair.slot === undefined || relay.relays === 'no') return undefined
  const host = endpointsTo(self, relay)
    .map(hostOf)
    .find((found) => found !== undefined)
  if (host === undefined) return undefined
  return formatHostPort({ host, port: relayPort(pair.slot, self.id === pair.a ? 'a' : 'b') })
}

/** A pair that this node relays, and what is known of its ends. */
export interface RelayedPair {
  readonly slot: number
  readonly a: RelayedEnd
  readonly b: RelayedEnd
}

/** The slots that this node has to keep open. An end may send from where the hub sees it, and from its other public addresses. */
export function relayedBy(map: PeerMap, id: string, nowS: number): RelayedPair[] {
  const byId = new Map(trusted(map, nowS).map((peer) => [peer.id, peer]))
  const self = byId.get(id)
  if (self === undefined || self.relays === 'no') return []
  const end = (peer: PeerEntry): RelayedEnd => {
    const known = peer.hubSeen === undefined ? [] : [peer.hubSeen]
    const addresses = [...known, ...endpointsTo(self, peer)].map(hostOf).filter((host) => host !== undefined)
    const seen = peer.hubSeen === undefined ? undefined : parseHostPort(peer.hubSeen)
    return {
      addresses: [...new Set(addresses)],
      ...(seen !== undefined && 'ok' in seen ? { seen: { address: seen.ok.host, port: seen.ok.port } } : {}),
    }
  }
  return map.pairs.flatMap(({ a, b, via, slot }) => {
    const [x, y] = [byId.get(a), byId.get(b)]
    if (via !== id || slot === undefined || x === undefined || y === undefined) return []
    return [{ slot, a: end(x), b: end(y) }]
  })
}
