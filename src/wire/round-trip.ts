/*
 * How long an answer takes on one connection, from samples (pings, the hello), and what follows from it: when the other side is
 * asked whether it is there, when its silence is its end, how long a call is waited for. Pure: times are told.
 *
 * What callers name is what the other side may take for the work; here is added what the way takes: a round trip and its
 * variation as TCP reckons them (RFC 6298), several times over, because on a line that loses packets an answer comes after
 * several losses; and the bytes that are before it in the same connection. Nothing gets shorter by measuring: on a LAN all times are
 * those that were named, also while a busy machine answers late.
 */

/** RFC 6298. */
const SRTT_GAIN = 1 / 8
const RTTVAR_GAIN = 1 / 4
const VARIATIONS = 4
/** Of more a queue is told that is long gone; a connection that slow is closed as silent anyway. */
const SAMPLE_MS_MAX = 60_000
/** The least of the present and the last such time: longer than a transfer fills a line without a pause. */
const LEAST_OF_MS = 5 * 60_000
/** Fewer samples say nothing of how far it is: each can have met a pause of the process. */
export const SAMPLES_MIN = 4
/** Farther than this is another site: one connection does not fill the line then. */
export const FAR_MS = 5
/** From so much on two samples are enough (the hello and the first ping): what comes after them may wait behind bulk for long. */
const FAR_SURELY_MS = 15

/** Five lost segments in a row, with the time-out doubled after each: 1 + 2 + 4 + 8 + 16 of them, and one for the answer. */
const SILENT_TRIPS = 32
/** Beyond this nobody wants to wait for a peer that may be dead. */
const SILENCE_MS_MAX = 60_000
/** Two losses on the way there, one on the way back. */
const CALL_TRIPS = 8
const CALL_MS_MAX = 30_000
/** What one connection carries at the least where losses rule: New Reno at 160 ms and 0.5 % (some 2 Mbit/s). */
const SLOWEST_BYTES_PER_MS = 256
const BULK_MS_MAX = 120_000
/** The other side is asked after this silence, later where answers take longer; of `silenceMs` a quarter at most. */
const PING_AFTER_MS = 1_000
const PING_TRIPS = 2

export class RoundTrip {
  #srttMs: number | undefined
  #rttvarMs = 0
  #samples = 0
  #leastMs = Number.POSITIVE_INFINITY
  #leastBeforeMs = Number.POSITIVE_INFINITY
  #sinceMs = Number.NEGATIVE_INFINITY

  /** From the question to the answer, when the answer came at `nowMs`. */
  sample(nowMs: number, tookMs: number): void {
    const ms = Math.min(Math.max(0, tookMs), SAMPLE_MS_MAX)
    this.#samples++
    if (nowMs - this.#sinceMs > LEAST_OF_MS) {
      this.#leastBeforeMs = this.#leastMs
      this.#leastMs = Number.POSITIVE_INFINITY
      this.#sinceMs = nowMs
    }
    this.#leastMs = Math.min(this.#leastMs, ms)
    if (this.#srttMs === undefined) {
      this.#srttMs = ms
      this.#rttvarMs = ms / 2
    } else {
      this.#rttvarMs += (Math.abs(ms - this.#srttMs) - this.#rttvarMs) * RTTVAR_GAIN
      this.#srttMs += (ms - this.#srttMs) * SRTT_GAIN
    }
  }

  get samples(): number {
    return this.#samples
  }
  /** What an answer takes now, with the queues before it. */
  get srttMs(): number | undefined {
    return this.#srttMs
  }
  get rttvarMs(): number | undefined {
    return this.#srttMs === undefined ? undefined : this.#rttvarMs
  }
  /** What it takes when nothing is before it. */
  get leastMs(): number | undefined {
    const ms = Math.min(this.#leastMs, this.#leastBeforeMs)
    return ms === Number.POSITIVE_INFINITY ? undefined : ms
  }
  /** Whether it is far can be said. */
  get isKnown(): boolean {
    return this.#samples >= 2
  }
  /** It is known to be. */
  get isFar(): boolean {
    return this.isKnown && (this.leastMs ?? 0) >= (this.#samples >= SAMPLES_MIN ? FAR_MS : FAR_SURELY_MS)
  }

  /** An answer that takes longer has met a loss. */
  get lateMs(): number {
    return (this.#srttMs ?? 0) + VARIATIONS * this.#rttvarMs
  }

  /** A peer that is silent for so long is gone. `least`: what holds where nothing is far. */
  silenceMs(least: number): number {
    return Math.max(least, Math.min(SILENCE_MS_MAX, SILENT_TRIPS * this.lateMs))
  }

  pingAfterMs(silenceMs: number): number {
    return Math.min(Math.max(PING_AFTER_MS, PING_TRIPS * this.lateMs), silenceMs / 4)
  }

  /** `workMs`: what the other side may take. `bytesAhead`: bulk under way on this connection, this call's own included. 0 is no limit and stays it. */
  timeoutMs(workMs: number, bytesAhead: number): number {
    if (workMs === 0) return 0
    const way = Math.min(CALL_MS_MAX, CALL_TRIPS * this.lateMs)
    const bulk = this.isFar ? Math.min(BULK_MS_MAX, bytesAhead / SLOWEST_BYTES_PER_MS) : 0
    return Math.ceil(workMs + way + bulk)
  }
}
