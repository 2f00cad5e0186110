/*
 * The ways of all pairs that need help, kept by a hub: which relay, which slot of it, and how far the two have come on their
 * way to each other (path.ts). Values and events in, pairs of the map out.
 */

import { isPunchable, needsHelp } from './candidates.ts'
import {
  directPath,
  newPath,
  nextTickMs,
  type PathEvent,
  type PathState,
  pathOf,
  restedPath,
  stepPath,
} from './path.ts'
import { type Pair, type PeerEntry, pairOf } from './peer-map.ts'
import { chooseRelay, freeSlot, type RelayChoice } from './relay-rules.ts'

interface Kept {
  readonly a: string
  readonly b: string
  state: PathState
  via: string | undefined
  slot: number | undefined
}

/** Round-trip time from a node to a relay in ms, where it is known. */
export type RttTo = (node: string, relay: string) => number | undefined

export class Pairs {
  readonly #kept = new Map<string, Kept>()

  /** As the last map has them. A try that was under way begins again. */
  restore(pairs: readonly Pair[], nowMs: number): void {
    for (const { a, b, path, via, slot } of pairs) {
      const state = path === 'relay' ? restedPath(nowMs) : path === 'direct' ? directPath(nowMs) : newPath(nowMs)
      this.#kept.set(a + b, { a, b, state, via, slot })
    }
  }

  /** Who is there now. Answers the pairs of the map. */
  update(peers: readonly PeerEntry[], rtt: RttTo, nowMs: number): Pair[] {
    const byId = new Map(peers.map((peer) => [peer.id, peer]))
    const relays = peers.filter(({ nat, relays: does }) => nat === 'public' && does !== 'no')
    const wanted = new Set<string>()
    for (const [i, x] of peers.entries())
      for (const y of peers.slice(i + 1)) {
        if (!needsHelp(x, y)) continue
        const { a, b } = pairOf(x.id, y.id)
        wanted.add(a + b)
        const kept = this.#kept.get(a + b) ?? { a, b, state: newPath(nowMs), via: undefined, slot: undefined }
        this.#kept.set(a + b, kept)
        this.#relay(kept, relays, rtt)
        kept.state = stepPath(kept.state, 'tick', nowMs, this.#rules(kept, byId))
      }
    for (const key of this.#kept.keys()) if (!wanted.has(key)) this.#kept.delete(key)
    return [...this.#kept.values()].map(({ a, b, state, via, slot }) => ({
      ...{ a, b, path: pathOf(state) },
      ...(via === undefined ? {} : { via }),
      ...(slot === undefined ? {} : { slot }),
    }))
  }

  /** Of the two, one says so; unknown pairs have nothing to hear. */
  event(x: string, y: string, event: PathEvent, peers: readonly PeerEntry[], nowMs: number): void {
    const { a, b } = pairOf(x, y)
    const kept = this.#kept.get(a + b)
    if (kept === undefined) return
    kept.state = stepPath(kept.state, event, nowMs, this.#rules(kept, new Map(peers.map((peer) => [peer.id, peer]))))
  }

  /** A member is seen at another place: of all its pairs. */
  moved(node: string, peers: readonly PeerEntry[], nowMs: number): void {
    for (const { a, b } of [...this.#kept.values()])
      if (a === node || b === node) this.event(a, b, 'moved', peers, nowMs)
  }

  /** When `update` changes something by itself. */
  nextMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#kept.values()].map(({ state }) => nextTickMs(state)))
  }

  #rules({ a, b, via }: Kept, byId: ReadonlyMap<string, PeerEntry>) {
    const [x, y] = [byId.get(a), byId.get(b)]
    const carried = via !== undefined && byId.get(via)?.relays === 'blind-and-forward'
    return { punchable: x !== undefined && y !== undefined && isPunchable(x, y), carried }
  }

  #relay(kept: Kept, relays: readonly PeerEntry[], rtt: RttTo): void {
    const choices = relays.map(({ id }): RelayChoice => ({ node: id, toA: rtt(kept.a, id), toB: rtt(kept.b, id) }))
    const via = chooseRelay(kept.via, choices)
    if (via === kept.via) return
    const used = new Set<number>()
    for (const other of this.#kept.values())
      if (other !== kept && other.via === via && other.slot !== undefined) used.add(other.slot)
    kept.via = via
    kept.slot = via === undefined ? undefined : freeSlot(used)
  }
}
