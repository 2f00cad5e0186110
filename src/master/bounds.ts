/*
 * Who may move how many bytes per second where: the bounds that are set for the cluster (core/lanes.ts), asked by whoever plans
 * orders that move data, before they are given. What waits, and for what, is remembered until the next round of asking, so
 * that people can see it.
 */

import type { Clock } from '../base/world.ts'
import { Lanes, type Load, type Paid } from './core/lanes.ts'
import { movingRules } from './core/moving.ts'
import type { State } from './core/state.ts'

/** Reasons named to people at once. */
const SHOWN_MAX = 3

export class Bounds {
  readonly #state: State
  readonly #clock: Clock
  readonly #lanes = new Lanes()

  constructor(state: State, clock: Clock) {
    this.#state = state
    this.#clock = clock
  }

  /** For one round of planning. */
  asking(): Asking {
    return new Asking(this.#lanes, movingRules(this.#state.settings().moving), this.#clock.monotonicMs())
  }

  /** What was admitted has ended, well or not, or was not begun after all. */
  ended(paid: Paid): void {
    this.#lanes.ended(paid, this.#clock.monotonicMs())
  }
}

export class Asking {
  readonly #lanes: Lanes
  readonly #rules: ReturnType<typeof movingRules>
  readonly #nowMs: number
  readonly #waiting = new Map<string, number>()
  /** Until something that waits may go on. */
  leastWaitMs: number = Number.POSITIVE_INFINITY

  constructor(lanes: Lanes, rules: ReturnType<typeof movingRules>, nowMs: number) {
    this.#lanes = lanes
    this.#rules = rules
    this.#nowMs = nowMs
  }

  /** undefined: not now. */
  admit(load: Load): Paid | undefined {
    const answer = this.#lanes.admit(load, this.#rules, this.#nowMs)
    if ('costs' in answer) return answer
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
