/*
 * Who may move how many bytes per second where: the bounds that are set for the cluster (core/lanes.ts), asked by whoever plans
 * orders that move data, before they are given. What waits, and for what, is remembered until the next round of asking, so
 * that people can see it.
 */

import type { Clock } from '../base/world.ts'
import { type LaneRates, Lanes, type Load, type Paid, repaced } from './core/lanes.ts'
import { movingRules } from './core/moving.ts'
import type { State } from './core/state.ts'
import type { Links } from './links.ts'

/** Reasons named to people at once. */
const SHOWN_MAX = 3

export class Bounds {
  readonly #state: State
  readonly #clock: Clock
  readonly #links: Links
  readonly #lanes = new Lanes()
  /** Orders under way whose pace was changed, as they are now. */
  readonly #paced = new Map<Paid, Paid>()

  constructor(state: State, clock: Clock, links: Links) {
    this.#state = state
    this.#clock = clock
    this.#links = links
  }

  /** For one round of planning by one kind of work. */
  asking(who: string): Asking {
    const { diskBytesPerSecond, nodeBytesPerSecond } = movingRules(this.#state.settings().moving)
    const betweenSites = (a: string, b: string): number => this.#links.rate(a, b).bytesPerSecond
    const rates = { diskBytesPerSecond, nodeBytesPerSecond, betweenSites }
    this.#links.asks(who)
    return new Asking(this.#lanes, this.#links, rates, who, this.#clock.monotonicMs())
  }

  /** What was admitted has ended, or was not begun after all. `error`: it has failed. */
  ended(paid: Paid, error?: unknown): void {
    const last = this.#paced.get(paid) ?? paid
    this.#paced.delete(paid)
    this.#lanes.ended(last, this.#clock.monotonicMs())
    this.#links.ended(last, error)
  }

  /** What becomes of an order under way: nothing, another pace, or its end because nothing may go any more. */
  newPace(paid: Paid): 'as it is' | 'changed' | 'stop' {
    const last = this.#paced.get(paid) ?? paid
    if (!this.#links.isOutpaced(last)) return 'as it is'
    return this.#links.isClosed(last) ? 'stop' : 'changed'
  }

  /** What it may have now. */
  repaced(paid: Paid): Paid {
    const betweenSites = (a: string, b: string): number => this.#links.rate(a, b).bytesPerSecond
    const last = this.#paced.get(paid) ?? paid
    return repaced(last, { betweenSites }, this.#links.running, this.#clock.monotonicMs())
  }
  /** It has been told. */
  paced(paid: Paid, after: Paid): void {
    const before = this.#paced.get(paid) ?? paid
    // It has ended meanwhile.
    if (!this.#links.paced(before, after)) return
    this.#lanes.paced(before, after)
    this.#paced.set(paid, after)
  }
}

export class Asking {
  readonly #lanes: Lanes
  readonly #links: Links
  readonly #rates: LaneRates
  readonly #who: string
  readonly #nowMs: number
  readonly #waiting = new Map<string, number>()
  /** Until something that waits may go on. */
  leastWaitMs: number = Number.POSITIVE_INFINITY

  constructor(lanes: Lanes, links: Links, rates: LaneRates, who: string, nowMs: number) {
    this.#lanes = lanes
    this.#links = links
    this.#rates = rates
    this.#who = who
    this.#nowMs = nowMs
  }

  /** undefined: not now. */
  admit(load: Load): Paid | undefined {
    const answer = this.#lanes.admit(load, this.#rates, this.#nowMs)
    if ('costs' in answer) {
      this.#links.begun(answer)
      return answer
    }
    if (answer.crossing !== undefined) this.#links.waits(this.#who, answer.crossing)
    this.#waiting.set(answer.waitsFor, (this.#waiting.get(answer.waitsFor) ?? 0) + 1)
    this.leastWaitMs = Math.min(this.leastWaitMs, answer.waitMs)
    return undefined
  }

  /** `, 12 wait for the bound of sites a and b`; empty when nothing does. */
  says(): string {
    const most = [...this.#waiting].sort((a, b) => b[1] - a[1]).slice(0, SHOWN_MAX)
    return most.map(([lane, n]) => `, ${n} ${n === 1 ? 'waits' : 'wait'} for the bound of ${lane}`).join('')
  }
}

/** How long so many bytes take at the pace; 0 is none. */
export const pacedMs = (bytes: number, bytesPerSecond: number): number =>
  bytesPerSecond === 0 ? 0 : Math.ceil((bytes * 1000) / bytesPerSecond)

/** The slower of the pace that is configured and the one that an order was given; 0 is none. */
export function slower(bytesPerSecond: number, paid: Paid | undefined): number {
  const { bytesPerSecond: own = 0 } = paid ?? {}
  return bytesPerSecond === 0 || own === 0 ? bytesPerSecond + own : Math.min(bytesPerSecond, own)
}
