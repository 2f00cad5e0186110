/*
 * Who may move how many bytes per second where: the bounds that are set for the cluster (core/lanes.ts), asked by whoever plans
 * orders that move data, before they are given. What waits, and for what, is remembered until the next round of asking, so
 * that people can see it.
 */

import type { Clock } from '../base/world.ts'
import { type LaneRates, Lanes, type Load, type Paid } from './core/lanes.ts'
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
    this.#lanes.ended(paid, this.#clock.monotonicMs())
    this.#links.ended(paid, error)
  }

  /** So much more, or less, may go by now that it is worth planning anew. */
  isOutpaced(paid: Paid): boolean {
    return this.#links.isOutpaced(paid)
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
