/*
 * What the probes from one node to another say, round after round: the round trip without its queues (`base`, for the map and
 * the throttle), the round trip that data takes now (`srtt` and its variation, for the order of reads), and the share that is lost.
 *
 * The least of what came counts, because everything that a probe meets on its way only adds to it: the least of a round removes
 * the pauses of the two processes, the least of ten minutes removes full buffers. An epoch is a path (a direct one, a relay,
 * another address): with a new one everything begins again, so that what was true of the old path is not told of the new. A
 * round of an older epoch comes late and is dropped.
 */

/** LEDBAT's BASE_HISTORY (RFC 6817): longer than a download fills a buffer without a pause, short enough to see a move. */
export const BASE_BUCKETS = 10
const BUCKET_MS = 60_000
/** RFC 6298. */
const SRTT_GAIN = 1 / 8
const RTTVAR_GAIN = 1 / 4
/** Some three and a half minutes of nine probes in half a minute. */
const LOSS_GAIN = 1 / 32
/** Fewer probes cannot tell 1 % from nothing. */
const LOSS_PROBES_MIN = 64
/** Beyond this an answer is a fault of clocks or somebody's joke. */
const RTT_MS_MAX = 10_000
/** What a node has said of another longer ago is no longer known. */
export const FRESH_MS = 5 * 60_000

export interface PathView {
  readonly epoch: number
  /** Least of the last ten minutes. undefined: no answer in that time. */
  readonly baseMs: number | undefined
  readonly srttMs: number | undefined
  readonly rttvarMs: number | undefined
  /** undefined: not enough probes yet to say. */
  readonly lossRate: number | undefined
  /** Rounds with an answer. */
  readonly rounds: number
  readonly answeredAtMs: number | undefined
}

export class RttFilter {
  #epoch: number
  /** The least of each minute, by the number of the minute modulo BASE_BUCKETS. */
  readonly #least = new Float64Array(BASE_BUCKETS)
  readonly #minute = new Float64Array(BASE_BUCKETS)
  #srttMs: number | undefined
  #rttvarMs: number | undefined
  #loss = 0
  #probes = 0
  #rounds = 0
  #answeredAtMs: number | undefined

  constructor(epoch = 0) {
    this.#epoch = epoch
    this.#minute.fill(Number.NEGATIVE_INFINITY)
  }

  /** The probes of one round: milliseconds there and back, or undefined for one without an answer. */
  round(nowMs: number, epoch: number, probesMs: readonly (number | undefined)[]): void {
    if (epoch < this.#epoch) return
    if (epoch > this.#epoch) this.#restart(epoch)
    let leastMs = Number.POSITIVE_INFINITY
    for (const ms of probesMs) {
      const answered = ms !== undefined && ms >= 0 && ms <= RTT_MS_MAX
      this.#probes++
      // The plain average until the weight of one probe is down to the gain: the first loss is not the whole truth.
      this.#loss += ((answered ? 0 : 1) - this.#loss) * Math.max(LOSS_GAIN, 1 / this.#probes)
      if (answered) leastMs = Math.min(leastMs, ms)
    }
    if (leastMs === Number.POSITIVE_INFINITY) return
    this.#rounds++
    this.#answeredAtMs = nowMs
    this.#keep(nowMs, leastMs)
    if (this.#srttMs === undefined || this.#rttvarMs === undefined) {
      this.#srttMs = leastMs
      this.#rttvarMs = leastMs / 2
    } else {
      this.#rttvarMs += (Math.abs(leastMs - this.#srttMs) - this.#rttvarMs) * RTTVAR_GAIN
      this.#srttMs += (leastMs - this.#srttMs) * SRTT_GAIN
    }
  }

  view(nowMs: number): PathView {
    return {
      epoch: this.#epoch,
      baseMs: this.baseMs(nowMs),
      srttMs: this.#srttMs,
      rttvarMs: this.#rttvarMs,
      lossRate: this.#probes < LOSS_PROBES_MIN ? undefined : this.#loss,
      rounds: this.#rounds,
      answeredAtMs: this.#answeredAtMs,
    }
  }

  baseMs(nowMs: number): number | undefined {
    const minute = Math.floor(nowMs / BUCKET_MS)
    let base = Number.POSITIVE_INFINITY
    for (let i = 0; i < BASE_BUCKETS; i++) {
      if (this.#minute[i]! > minute - BASE_BUCKETS) base = Math.min(base, this.#least[i]!)
    }
    return base === Number.POSITIVE_INFINITY ? undefined : base
  }

  #keep(nowMs: number, ms: number): void {
    const minute = Math.floor(nowMs / BUCKET_MS)
    const at = minute % BASE_BUCKETS
    if (this.#minute[at] === minute) this.#least[at] = Math.min(this.#least[at]!, ms)
    else {
      this.#minute[at] = minute
      this.#least[at] = ms
    }
  }

  #restart(epoch: number): void {
    this.#epoch = epoch
    this.#minute.fill(Number.NEGATIVE_INFINITY)
    this.#srttMs = undefined
    this.#rttvarMs = undefined
    this.#loss = 0
    this.#probes = 0
    this.#rounds = 0
    this.#answeredAtMs = undefined
  }
}

/** What one node has reported of another, and when. */
export interface Reported {
  readonly baseMs: number | undefined
  readonly atMs: number
}

/** How far two nodes are apart: the lesser of what both say, of what is not too old. undefined: not known. */
export function pairMs(a: Reported | undefined, b: Reported | undefined, nowMs: number): number | undefined {
  const of = (one: Reported | undefined): number | undefined =>
    one !== undefined && nowMs - one.atMs < FRESH_MS ? one.baseMs : undefined
  const [there, back] = [of(a), of(b)]
  if (there === undefined || back === undefined) return there ?? back
  return Math.min(there, back)
}
