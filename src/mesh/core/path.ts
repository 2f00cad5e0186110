/*
 * How a pair of nodes behind NATs comes from a relay to a direct way and back: the state machine that a hub keeps for each
 * such pair. The hub says `punch` to both in one version of the map, each side adds the other as a bare peer and tries its
 * candidates; whoever sees a handshake there says so, and the hub tells both to move. So packets are moved to a way only after
 * it was proved, and a way that cannot be had disturbs nobody.
 *
 *   relay ── it is time ──> punching ── proved ──> direct ── lost ──> suspect ── answered ──> direct
 *     ^                        │ 60 s over                              └─── 10 s over ──> relay
 *     └──── settled ──── settling
 *
 * The way back to the relay's ports is proved like any other: a peer that was tried in vain has no session, and making one
 * takes seconds (measured: 2.3 s without an answer), which pass in the tunnel of the relay unnoticed.
 *
 * Where no relay carries packets in its own tunnel meanwhile, a try would cost what it tries to better: then there is one
 * at the beginning and one after an end has moved. Pure: events and the time come from the caller, who publishes `pathOf`.
 */

import type { DevicePeer } from './dump.ts'
import { hostOf, parseHostPort } from './endpoint.ts'
import { type Pair, type PeerMap, RELAY_SLOTS } from './peer-map.ts'
import { RELAY_PORT_FIRST } from './relay-rules.ts'

export type PathState =
  | { readonly kind: 'relay'; readonly retryAtMs: number; readonly failures: number; readonly endedMs: number }
  | { readonly kind: 'punching'; readonly sinceMs: number; readonly failures: number }
  | { readonly kind: 'settling'; readonly sinceMs: number; readonly failures: number }
  | { readonly kind: 'direct'; readonly sinceMs: number; readonly failures: number }
  | { readonly kind: 'suspect'; readonly sinceMs: number; readonly directSinceMs: number; readonly failures: number }

export type PathEvent =
  /** Time has passed. */
  | 'tick'
  /** One of the two has seen a handshake on the direct way. */
  | 'proved'
  /** Both have seen a handshake through the relay's ports. */
  | 'settled'
  /** The hub sees one of the two at another address or port. */
  | 'moved'
  /** Three probes in a row were lost, or one of the two has gone over to the relay. */
  | 'lost'
  /** Probes come back by the direct way. */
  | 'answered'

export interface PathRules {
  /** Whether the ends have candidates for each other that may work. */
  readonly punchable: boolean
  /** Whether packets have another way while it is tried. */
  readonly carried: boolean
}

/** Ten candidates of five seconds, and once more the first two. */
export const PUNCH_MS = 60_000
/** After a try that failed: 10 min, doubled up to 6 h. NATs do not change by being asked. */
const RETRY_MS = 600_000
const RETRY_MS_MAX: number = 6 * 3_600_000
/** An end whose address changes all the time is not tried each time. */
const MOVED_REST_MS = 30_000
/** The ends go over to the relay's port by themselves after 3 to 4 s; the map follows when the way does not come back. */
export const SUSPECT_MS = 10_000

/** Handshakes are repeated every 5 s: one for each end and one for chance. */
export const SETTLE_MS = 15_000

/** A new pair is on the relay and tries at once. */
export const newPath = (nowMs: number): PathState => ({
  kind: 'relay',
  retryAtMs: nowMs,
  failures: 0,
  endedMs: nowMs - MOVED_REST_MS,
})

/** Of a pair that is on the relay, or on its direct way, by a map that somebody made before. */
export const restedPath = (nowMs: number): PathState => ({
  ...{ kind: 'relay', retryAtMs: nowMs + RETRY_MS, failures: 0, endedMs: nowMs },
})
export const directPath = (nowMs: number): PathState => ({ kind: 'direct', sinceMs: nowMs, failures: 0 })

export function stepPath(state: PathState, event: PathEvent, nowMs: number, rules: PathRules): PathState {
  switch (state.kind) {
    case 'relay': {
      if (!rules.punchable) return state
      const rested = nowMs - state.endedMs >= MOVED_REST_MS
      // A move is remembered until the rest is over; what failed before says nothing about the new place.
      if (event === 'moved' && !rested) return { ...state, retryAtMs: state.endedMs + MOVED_REST_MS, failures: 0 }
      const failures = event === 'moved' ? 0 : state.failures
      return event === 'moved' || nowMs >= state.retryAtMs ? { kind: 'punching', sinceMs: nowMs, failures } : state
    }
    case 'punching':
      if (event === 'proved') return { kind: 'direct', sinceMs: nowMs, failures: state.failures }
      // The new address needs its own sixty seconds.
      if (event === 'moved') return { ...state, sinceMs: nowMs }
      if (rules.punchable && nowMs - state.sinceMs < PUNCH_MS) return state
      return rules.carried
        ? { kind: 'settling', sinceMs: nowMs, failures: state.failures }
        : toRelay(state.failures, nowMs, rules)
    case 'settling':
      // The last candidate was the right one after all.
      if (event === 'proved') return { kind: 'direct', sinceMs: nowMs, failures: state.failures }
      return event === 'settled' || nowMs - state.sinceMs >= SETTLE_MS ? toRelay(state.failures, nowMs, rules) : state
    case 'direct':
      return event === 'lost'
        ? { kind: 'suspect', sinceMs: nowMs, directSinceMs: state.sinceMs, failures: state.failures }
        : state
    case 'suspect': {
      if (event === 'answered' || event === 'proved')
        return { kind: 'direct', sinceMs: state.directSinceMs, failures: state.failures }
      if (nowMs - state.sinceMs < SUSPECT_MS) return state
      // A way that held for a while is worth a try soon; one that breaks at once is as good as one that never was.
      const held = state.sinceMs - state.directSinceMs >= RETRY_MS
      return toRelay(held ? 0 : state.failures, nowMs, rules)
    }
  }
}

function toRelay(failures: number, nowMs: number, rules: PathRules): PathState {
  const restMs = Math.min(RETRY_MS * 2 ** failures, RETRY_MS_MAX)
  return {
    kind: 'relay',
    retryAtMs: rules.carried ? nowMs + restMs : Number.POSITIVE_INFINITY,
    failures: Math.min(failures + 1, 16),
    endedMs: nowMs,
  }
}

/** What the map says of the pair. A suspect way is still the way: each end knows by itself what it sees. */
export function pathOf(state: PathState): Pair['path'] {
  switch (state.kind) {
    case 'relay':
      return 'relay'
    case 'punching':
      return 'punch'
    case 'settling':
      return 'settle'
    case 'direct':
    case 'suspect':
      return 'direct'
  }
}

/** When `tick` next changes something; Infinity: never by itself. */
export function nextTickMs(state: PathState): number {
  switch (state.kind) {
    case 'relay':
      return state.retryAtMs
    case 'punching':
      return state.sinceMs + PUNCH_MS
    case 'settling':
      return state.sinceMs + SETTLE_MS
    case 'direct':
      return Number.POSITIVE_INFINITY
    case 'suspect':
      return state.sinceMs + SUSPECT_MS
  }
}

/**
 * Which way a bare peer has proved since it was made bare: directly, or through a port of the relay, by which the other end's
 * packets may still come while it is told to punch. `hosts`: relayHosts of the map.
 */
export function provedWay(
  peer: DevicePeer,
  sinceS: number,
  hosts: ReadonlySet<string>,
): 'direct' | 'relay' | undefined {
  if (peer.latestHandshakeS === 0 || peer.latestHandshakeS < sinceS || peer.endpoint === undefined) return undefined
  return isRelayPort(peer.endpoint, hosts) ? 'relay' : 'direct'
}

/** Whether the endpoint is one of the ports that relays open for pairs, at one of these hosts. */
export function isRelayPort(endpoint: string, hosts: ReadonlySet<string>): boolean {
  const at = parseHostPort(endpoint)
  if (!('ok' in at) || !hosts.has(at.ok.host)) return false
  return at.ok.port >= RELAY_PORT_FIRST && at.ok.port < RELAY_PORT_FIRST + 2 * RELAY_SLOTS
}

/** The addresses of all nodes that relay. */
export function relayHosts(map: PeerMap): Set<string> {
  const relays = map.peers.filter((peer) => peer.relays !== 'no')
  const endpoints = relays.flatMap(({ hubSeen, statics, candidates }) => [...statics, ...candidates, hubSeen ?? ''])
  return new Set(endpoints.map(hostOf).filter((host) => host !== undefined))
}
