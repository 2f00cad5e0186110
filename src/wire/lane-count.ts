/*
 * How many connections one pair of nodes keeps busy with bulk. Pure: measurements in, a number out.
 *
 * Where losses rule (CUBIC, New Reno on a lossy line) a connection carries some megabits per second, whatever the line could, and
 * n of them carry n times that; where the line rules (BBR, no losses, a bound by the operator) more of them carry the same and
 * only take from others. A process can neither choose nor see what its sockets use. So near by there is one; far away there are a few, as
 * every connection has its own losses and its own send buffer, and then twice as many are tried and kept when they carry clearly more.
 */

/** Far away, until something was measured. */
const FIRST = 4
/** Sixteen with New Reno carry 50 Mbit/s at 40 ms and 1 %. More would not be fair to others, and cost memory on both sides. */
export const LANES_MAX = 16
/** Seconds at one number before twice as many are tried; seconds of such a try, the first of which is for slow start. */
const HOLD_SAMPLES = 2
const TRY_SAMPLES = 3
/** Twice as many connections carry twice as much or the same; what is in between is chance. */
const CLEARLY_MORE = 1.3
/** After a try that brought nothing, and twice that after each further one, up to the last. */
const REST_MS = 60_000
const REST_MS_MAX = 16 * 60_000
/** Of connections and calls, as an average: with fewer at work it says nothing about the line. */
const BUSY_SHARE = 0.75
/** After a pause the line may be another one. */
const FORGET_MS = 10 * 60_000

export interface LaneSample {
  readonly nowMs: number
  readonly overMs: number
  /** Carried by all connections in that time. */
  readonly bytes: number
  /** Connections there are, and the average of those that had bulk to carry. */
  readonly lanes: number
  readonly busyLanes: number
  /** The average of bulk calls that were under way. */
  readonly calls: number
}

export class LaneCount {
  readonly #fixed: number
  #count = FIRST
  /** Bytes per ms of the last samples with this number. */
  #rates: number[] = []
  /** What half as many carried. */
  #before: number | undefined
  #restMs = REST_MS
  #restUntilMs = Number.NEGATIVE_INFINITY
  #busyAtMs = Number.NEGATIVE_INFINITY

  /** `fixed`: so many; 0: as many as it takes. */
  constructor(fixed: number) {
    this.#fixed = Math.min(fixed, LANES_MAX)
  }

  wanted(far: boolean): number {
    if (this.#fixed > 0) return this.#fixed
    return far ? this.#count : 1
  }

  sample({ nowMs, overMs, bytes, lanes, busyLanes, calls }: LaneSample): void {
    if (nowMs - this.#busyAtMs > FORGET_MS) this.#start(FIRST)
    const busy = lanes >= this.#count && busyLanes >= this.#count * BUSY_SHARE
    if (!busy) {
      // What twice as many would carry is not to be known when there is too little to do.
      if (this.#before !== undefined && calls < this.#count * BUSY_SHARE) this.#giveUp(nowMs)
      return
    }
    this.#busyAtMs = nowMs
    this.#rates.push(bytes / overMs)
    if (this.#before !== undefined) {
      if (this.#rates.length < TRY_SAMPLES) return
      const [, ...after] = this.#rates
      if (mean(after) < this.#before * CLEARLY_MORE) this.#giveUp(nowMs)
      else {
        this.#before = undefined
        this.#rates = after
        this.#restMs = REST_MS
      }
    }
    if (this.#rates.length > HOLD_SAMPLES) this.#rates.shift()
    const enough = this.#rates.length >= HOLD_SAMPLES && calls >= 2 * this.#count * BUSY_SHARE
    if (!enough || 2 * this.#count > LANES_MAX || nowMs < this.#restUntilMs) return
    const before = mean(this.#rates)
    this.#start(2 * this.#count)
    this.#before = before
  }

  #giveUp(nowMs: number): void {
    this.#start(this.#count / 2)
    this.#restUntilMs = nowMs + this.#restMs
    this.#restMs = Math.min(2 * this.#restMs, REST_MS_MAX)
  }

  #start(count: number): void {
    this.#count = count
    this.#rates = []
    this.#before = undefined
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
