/*
 * Which ways lead to a node, and in which order they are tried. A wrong one costs five seconds, a list that is too long a
 * minute, and one that is never refreshed is tried for ever: so every list is made anew from what the map says now.
 */

import { CANDIDATES_MAX } from '../../wire/mesh-shapes.ts'
import { familyOf, formatHostPort, hostOf, inNet, scopeOf } from './endpoint.ts'
import type { PeerEntry } from './peer-map.ts'

export interface LocalAddress {
  /** The interface: `eth0`. */
  readonly name: string
  readonly address: string
}

/** Bridges and tunnels of this machine's own: an address there is reached by nobody else. */
const INNER_INTERFACES =
  /^(lo|docker|br-|veth|virbr|lxcbr|lxdbr|cni|flannel|cali|podman|vmnet|vboxnet|tun|tap|wg|tailscale|zt)/

/** What a node reports of itself: addresses at which others may find it, those of the internet first. */
export function ownCandidates(
  addresses: readonly LocalAddress[],
  { meshInterface, prefix, port }: { readonly meshInterface: string; readonly prefix: string; readonly port: number },
): string[] {
  const usable = addresses.filter(({ name, address }) => {
    if (name === meshInterface || INNER_INTERFACES.test(name) || inNet(address, prefix)) return false
    const scope = scopeOf(address)
    // IPv6 within one site only is not worth a try of its own: such machines have IPv4 too.
    return scope === 'public' || (scope === 'private' && familyOf(address) === 4)
  })
  const rank = ({ address }: LocalAddress): number => (scopeOf(address) === 'public' ? 0 : 1)
  const sorted = usable.toSorted((a, b) => rank(a) - rank(b))
  return [...new Set(sorted.map(({ address }) => formatHostPort({ host: address, port })))].slice(0, CANDIDATES_MAX)
}

const scopeAt = (endpoint: string): ReturnType<typeof scopeOf> => scopeOf(hostOf(endpoint) ?? '')
const isSix = (endpoint: string): boolean => familyOf(hostOf(endpoint) ?? '') === 6
const hasSix = (peer: PeerEntry): boolean => peer.candidates.some((c) => isSix(c) && scopeAt(c) === 'public')
const sameHost = (x: string | undefined, y: string | undefined): boolean =>
  x !== undefined && y !== undefined && hostOf(x) === hostOf(y)
const sameNet24 = (x: string, y: string): boolean => {
  const host = hostOf(y)
  return host !== undefined && familyOf(host) === 4 && inNet(hostOf(x) ?? '', `${host}/24`)
}

/** Whether both are seen by the hub behind one address, or by a hub that itself stands in their network. */
export function shareNetwork(own: PeerEntry, other: PeerEntry): boolean {
  if (own.hubSeen === undefined || other.hubSeen === undefined) return false
  if (scopeAt(own.hubSeen) === 'public') return sameHost(own.hubSeen, other.hubSeen)
  return sameNet24(own.hubSeen, other.hubSeen)
}

/**
 * Where `own` may find `other`, best first: in the same network (routers often do not lead a packet back in), by IPv6 when both
 * have it (there is no NAT), where its operator says, where the hub sees it. What the hub sees in a private network is
 * of use only to who stands in that network.
 */
export function endpointsTo(own: PeerEntry, other: PeerEntry): string[] {
  const lan = shareNetwork(own, other) ? other.candidates.filter((c) => scopeAt(c) === 'private') : []
  const usable = (endpoint: string): boolean =>
    !isSix(endpoint) || hasSix(own) || (own.hubSeen !== undefined && isSix(own.hubSeen))
  const six = other.candidates.filter((c) => isSix(c) && scopeAt(c) === 'public' && usable(c))
  const seen =
    other.hubSeen !== undefined && (scopeAt(other.hubSeen) === 'public' || shareNetwork(own, other))
      ? [other.hubSeen]
      : []
  const four = other.candidates.filter((c) => !isSix(c) && scopeAt(c) === 'public')
  return [...new Set([...lan, ...six, ...[...other.statics, ...seen].filter(usable), ...four])].slice(0, CANDIDATES_MAX)
}

/** Whether two nodes that are both behind NATs have a chance without a relay. */
export function isPunchable(x: PeerEntry, y: PeerEntry): boolean {
  if (endpointsTo(x, y).length === 0 || endpointsTo(y, x).length === 0) return false
  if (shareNetwork(x, y) || (hasSix(x) && hasSix(y))) return true
  // A symmetric NAT shows every stranger another port: what the hub sees is of no use to a second one.
  return x.nat !== 'symmetric' && y.nat !== 'symmetric'
}

/** Two nodes of which one has a public address need no help: its address is enough. */
export const needsHelp = (x: PeerEntry, y: PeerEntry): boolean => x.nat !== 'public' && y.nat !== 'public'

const STEP_MS = 5_000
/** Two rounds through the longest list. After them a peer is away rather than behind a door that was not tried. */
const QUICK_STEPS: number = 2 * CANDIDATES_MAX
const SLOW_STEP_MS = 60_000

/** How many candidates have been tried since a peer was last reached: one every five seconds, then one a minute. */
export function candidateStep(sinceMs: number, nowMs: number): number {
  const quick = Math.floor(Math.max(0, nowMs - sinceMs) / STEP_MS)
  if (quick < QUICK_STEPS) return quick
  return QUICK_STEPS + Math.floor((nowMs - sinceMs - QUICK_STEPS * STEP_MS) / SLOW_STEP_MS)
}
