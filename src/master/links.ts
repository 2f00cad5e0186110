/*
 * What moves between sites: how fast it may go now and why, what goes, what waits, and what went wrong of late. The limits are
 * state (core/links.ts); everything else here is memory, for people and for the next look.
 *
 * An order has the pace of the moment at which it began, and a chunk at a low one takes minutes. So when something else may
 * go, those under way are told (bounds.ts), and called off where nothing may.
 */

import { FsError } from '../base/fault.ts'
import type { Clock } from '../base/world.ts'
import type { Urgency } from '../topology/throttle.ts'
import type { LinkLimitedBy, LinkReport } from '../wire/reports-mesh.ts'
import { type Crossing, type Paid, pairLane, type SitePair, sitePair } from './core/lanes.ts'
import { ownLimit } from './core/links.ts'
import { movingRules } from './core/moving.ts'
import type { State } from './core/state.ts'
import { LineRates, type LineSample } from './line-rates.ts'

/** What is measured is the mean of so long: several chunks at the rates of small lines. */
const MEASURED_S = 30
/** Whoever plans asks at least every second while something waits; what it said longer ago is over. */
const ASKED_MS = 5_000
/** Errors that people are told of, per pair. */
const ERRORS_MAX = 3
/** Pairs in memory beyond those with limits: those of 45 sites. */
const PAIRS_MAX = 1024
/** A smaller part of the rate is not worth telling. */
const DIFFERENCE = 0.1

/** What follows from the line itself is kept to exactly; on average a limit of the operator holds as well. */
const MEASURED: ReadonlySet<LinkLimitedBy> = new Set(['line', 'mounts', 'start'])
/** Smaller orders are over before they are told another pace. */
const SHARES_BYTES = 1024 * 1024

export interface PairRate {
  /** Infinite: no bound. 0: nothing goes. */
  readonly bytesPerSecond: number
  readonly by: LinkLimitedBy
}

/** Minutes since midnight, as people count them where the master runs. */
export type MinuteOfDay = (sec: number) => number
export const minuteOfUtc: MinuteOfDay = (sec) => Math.floor(sec / 60) % 1440

interface PairMemory {
  readonly pair: SitePair
  /** By the second. */
  readonly moved: Map<number, number>
  errors: { readonly atSec: number; readonly what: string }[]
}

export class Links {
  readonly #state: State
  readonly #clock: Clock
  readonly #minuteOfDay: MinuteOfDay
  readonly #lines: LineRates
  readonly #pairs = new Map<string, PairMemory>()
  readonly #running = new Set<Paid>()
  /** By who planned, and pair. */
  readonly #waiting = new Map<string, { readonly atMs: number; readonly pairs: Map<string, Waiting> }>()

  /** A measured line has another rate by now. */
  onRate: () => void = () => undefined

  /** `isMeasured`: whether nodes of two sites know how far they are from each other. */
  constructor(
    state: State,
    clock: Clock,
    minuteOfDay: MinuteOfDay,
    isMeasured: (a: string, b: string) => boolean = () => false,
  ) {
    this.#state = state
    this.#clock = clock
    this.#minuteOfDay = minuteOfDay
    this.#lines = new LineRates(clock, isMeasured)
  }

  get minute(): number {
    return this.#minuteOfDay(this.#clock.now().sec)
  }

  rate(a: string, b: string): PairRate {
    const allowed = this.#allowed(a, b)
    const line = this.#lines.rate(a, b)
    if (line === undefined || line.bytesPerSecond >= allowed.bytesPerSecond) return allowed
    return line
  }

  /** Whatever the line carries. */
  #allowed(a: string, b: string): PairRate {
    const link = this.#state.links.of(a, b)
    const own = link === undefined ? undefined : ownLimit(this.#state, a, b, this.minute)
    if (own !== undefined) return { bytesPerSecond: own, by: own === link?.bytesPerS ? 'limit' : 'hours' }
    const { sitesBytesPerSecond } = movingRules(this.#state.settings().moving)
    if (sitesBytesPerSecond > 0) return { bytesPerSecond: sitesBytesPerSecond, by: 'setting' }
    return { bytesPerSecond: Number.POSITIVE_INFINITY, by: 'nothing' }
  }

  /** Answers whether what is seen of this line is of use now. */
  sampled(sample: LineSample): boolean {
    const { bytesPerSecond } = this.#allowed(sample.a, sample.b)
    const limit = bytesPerSecond === Number.POSITIVE_INFINITY ? undefined : bytesPerSecond
    const before = this.#lines.rate(sample.a, sample.b)?.bytesPerSecond
    const isSteered = this.#lines.take(sample, this.#urgency(pairLane(sitePair(sample.a, sample.b))), limit)
    if (this.#lines.rate(sample.a, sample.b)?.bytesPerSecond !== before) this.onRate()
    return isSteered
  }

  /** Of the most urgent that is copied now. */
  #urgency(lane: string): Urgency {
    const running = [...this.#running].filter((paid) => crossing(paid, lane) !== undefined)
    if (running.some(({ urgent }) => urgent)) return 'endangered'
    return running.length > 0 && running.every(({ lazy }) => lazy) ? 'rebalance' : 'behind'
  }

  /** A round of planning begins; what waited in the one before is asked for again. */
  asks(who: string): void {
    this.#waiting.set(who, { atMs: this.#clock.monotonicMs(), pairs: new Map() })
  }
  waits(who: string, { pair, bytes }: Crossing): void {
    const pairs = this.#waiting.get(who)?.pairs
    const { orders = 0, bytes: before = 0 } = pairs?.get(pairLane(pair)) ?? {}
    pairs?.set(pairLane(pair), { pair, orders: orders + 1, bytes: before + bytes })
  }

  /** Orders that cross sites. */
  get running(): readonly Paid[] {
    return [...this.#running]
  }
  begun(paid: Paid): void {
    if (paid.crossings.length === 0) return
    this.#running.add(paid)
    for (const { pair } of paid.crossings) this.#lines.begins(pair)
  }
  ended(paid: Paid, error: unknown): void {
    if (!this.#running.delete(paid)) return
    const nowMs = this.#clock.monotonicMs()
    // How far one came that failed is not known, but it kept to its pace.
    const share = error === undefined ? 1 : paid.forMs > 0 ? Math.min(1, (nowMs - paid.atMs) / paid.forMs) : 0
    for (const { pair, bytes } of paid.crossings) {
      if (![...this.#running].some((other) => crossing(other, pairLane(pair)) !== undefined)) this.#lines.ended(pair)
      const memory = this.#memory(pair)
      if (memory === undefined) continue
      spread(memory.moved, bytes * share, paid.atMs, nowMs)
      if (error instanceof FsError && error.code !== 'ECANCELED')
        memory.errors = [{ atSec: this.#clock.now().sec, what: error.message }, ...memory.errors].slice(0, ERRORS_MAX)
    }
  }

  /** What it has moved until now was at its old pace. Answers false when it has ended. */
  paced(last: Paid, next: Paid): boolean {
    if (!this.#running.delete(last)) return false
    const nowMs = this.#clock.monotonicMs()
    for (const [i, { pair, bytes }] of last.crossings.entries()) {
      const memory = this.#memory(pair)
      if (memory !== undefined) spread(memory.moved, bytes - next.crossings[i]!.bytes, last.atMs, nowMs)
    }
    this.#running.add(next)
    return true
  }

  /** Something else may go by now than when it was given its pace, or another began while it took longer than it had paid for. */
  isOutpaced(paid: Paid): boolean {
    return paid.crossings.some(({ pair, bytes, rate: was }) => {
      const { bytesPerSecond: now, by } = this.rate(pair.a, pair.b)
      if (now !== was && (Math.min(now, was) === 0 || Math.max(now, was) / Math.min(now, was) > 1 + DIFFERENCE))
        return true
      return MEASURED.has(by) && bytes >= SHARES_BYTES && this.#together(pairLane(pair)) > now * (1 + DIFFERENCE)
    })
  }

  /** The paces of all that is under way between two sites. */
  #together(lane: string): number {
    let bytesPerSecond = 0
    for (const paid of this.#running) {
      const { bytes = 0 } = crossing(paid, lane) ?? {}
      if (bytes >= SHARES_BYTES && paid.forMs > 0) bytesPerSecond += (bytes * 1000) / paid.forMs
    }
    return bytesPerSecond
  }

  isClosed(paid: Paid): boolean {
    return paid.crossings.some(({ pair: { a, b } }) => this.rate(a, b).bytesPerSecond === 0)
  }

  /** Of these sites, and of all pairs with a limit, or that anything has moved between. */
  report(sites: readonly string[]): LinkReport[] {
    const pairs = new Map<string, SitePair>()
    const add = (pair: SitePair): unknown => pairs.set(pairLane(pair), pair)
    for (const [i, a] of sites.entries()) for (const b of sites.slice(i + 1)) add(sitePair(a, b))
    for (const { a, b } of this.#state.links.all()) add({ a, b })
    for (const { pair } of this.#pairs.values()) add(pair)
    const nowMs = this.#clock.monotonicMs()
    return [...pairs].map(([lane, pair]) => this.#reportOf(lane, pair, nowMs))
  }

  #reportOf(lane: string, pair: SitePair, nowMs: number): LinkReport {
    const { a, b } = pair
    const link = this.#state.links.of(a, b)
    const { bytesPerSecond, by } = this.rate(a, b)
    const running = [...this.#running].filter((paid) => crossing(paid, lane) !== undefined)
    const waiting = this.#waitingFor(lane, nowMs)
    return {
      a,
      b,
      bytesPerSecond: this.#measured(lane, running, nowMs),
      running: running.length,
      waiting: waiting.orders,
      waitingBytes: waiting.bytes,
      limitBytesPerSecond: bytesPerSecond === Number.POSITIVE_INFINITY ? null : bytesPerSecond,
      limitedBy: by,
      alwaysBytesPerSecond: link?.bytesPerS ?? null,
      windows: (link?.windows ?? []).map(({ from, to, bytesPerS }) => ({ from, to, bytesPerSecond: bytesPerS })),
      errors: this.#pairs.get(lane)?.errors ?? [],
      line: this.#lines.view(a, b) ?? null,
    }
  }

  #measured(lane: string, running: readonly Paid[], nowMs: number): number {
    const moved = new Map(this.#pairs.get(lane)?.moved)
    for (const paid of running) {
      const share = paid.forMs > 0 ? Math.min(1, (nowMs - paid.atMs) / paid.forMs) : 0
      spread(moved, (crossing(paid, lane)?.bytes ?? 0) * share, paid.atMs, nowMs)
    }
    const last = Math.floor(nowMs / 1000)
    let bytes = 0
    for (const [second, more] of moved) if (second > last - MEASURED_S) bytes += more
    return Math.round(bytes / MEASURED_S)
  }

  #waitingFor(lane: string, nowMs: number): { orders: number; bytes: number } {
    let [orders, bytes] = [0, 0]
    for (const { atMs, pairs } of this.#waiting.values()) {
      const waiting = pairs.get(lane)
      if (waiting === undefined || nowMs - atMs > ASKED_MS) continue
      orders += waiting.orders
      bytes += waiting.bytes
    }
    return { orders, bytes }
  }

  /** undefined: there are too many to remember another. */
  #memory(pair: SitePair): PairMemory | undefined {
    const lane = pairLane(pair)
    const known = this.#pairs.get(lane)
    if (known !== undefined || this.#pairs.size >= PAIRS_MAX) return known
    const made: PairMemory = { pair, moved: new Map(), errors: [] }
    this.#pairs.set(lane, made)
    return made
  }
}

interface Waiting {
  readonly pair: SitePair
  readonly orders: number
  readonly bytes: number
}

const crossing = (paid: Paid, lane: string): Crossing | undefined =>
  paid.crossings.find(({ pair }) => pairLane(pair) === lane)

/** Evenly over the seconds that it took; what lies further back than is measured is forgotten. */
function spread(moved: Map<number, number>, bytes: number, fromMs: number, toMs: number): void {
  const last = Math.floor(toMs / 1000)
  const first = Math.floor(fromMs / 1000)
  const oldest = last - MEASURED_S + 1
  for (const second of moved.keys()) if (second < oldest) moved.delete(second)
  const each = bytes / (last - first + 1)
  for (let second = Math.max(first, oldest); second <= last; second++)
    moved.set(second, (moved.get(second) ?? 0) + each)
}
