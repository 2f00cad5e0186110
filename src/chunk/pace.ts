/*
 * A token bucket for bytes per second. `take` waits until its bytes may go; what is unused is kept for a moment only, so a
 * pause is not followed by a flood. A changed rate holds for those that wait already, too.
 *
 * Paces has those of the orders under way, so that an order can be told another one.
 */

import type { ChunkId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'

/** What may go at once after a pause, as time at the rate: enough to keep a window of requests busy. */
const BURST_MS = 250
/** What is asked for at once, as time at the rate: more would stand before a narrow line all at once, and others behind it. */
const PIECE_MS = 50
/** Whoever waits looks so often whether the rate is another one by now. */
const LOOK_MS = 1_000

export class Pace {
  readonly #clock: Clock
  #bytesPerSecond: number
  /** Bytes that were asked for, and how many of them may have gone by `#atMs`; ahead of them by a burst at most. */
  #asked = 0
  #passed = 0
  #atMs = Number.NEGATIVE_INFINITY

  /** 0: no limit. */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
  }

  set bytesPerSecond(value: number) {
    this.#advance()
    this.#bytesPerSecond = value
  }

  /** As much as is well asked for at once; infinite without a limit. */
  get pieceBytes(): number {
    return this.#bytesPerSecond <= 0 ? Number.POSITIVE_INFINITY : (this.#bytesPerSecond * PIECE_MS) / 1000
  }

  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.#bytesPerSecond <= 0) return
    this.#advance()
    this.#asked += bytes
    const end = this.#asked
    for (let waitMs = this.#waitMs(end); waitMs > 0; waitMs = this.#waitMs(end)) await this.#sleep(waitMs, signal)
  }

  #waitMs(end: number): number {
    if (this.#bytesPerSecond <= 0) return 0
    this.#advance()
    // Less than a byte is a matter of rounding.
    if (end - this.#passed < 1) return 0
    return Math.min(LOOK_MS, ((end - this.#passed) * 1000) / this.#bytesPerSecond)
  }

  #advance(): void {
    const nowMs = this.#clock.monotonicMs()
    if (this.#bytesPerSecond > 0) {
      const burst = (this.#bytesPerSecond * BURST_MS) / 1000
      const more = ((nowMs - this.#atMs) * this.#bytesPerSecond) / 1000
      this.#passed = Math.min(this.#asked + burst, this.#passed + more)
    } else this.#passed = this.#asked
    this.#atMs = nowMs
  }

  async #sleep(waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#clock.sleep(waitMs, signal === undefined ? {} : { signal })
    } catch (error) {
      // Timers of the platform reject with an error of their own; whoever waits wants the signal's reason.
      signal?.throwIfAborted()
      throw error
    }
  }
}

/** Bounded by the queue of the orders. */
export class Paces {
  readonly #clock: Clock
  readonly #byChunk = new Map<ChunkId, Set<Pace>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `chunk`: what the order is about. */
  async during<T>(chunk: ChunkId, bytesPerSecond: number, work: (pace: Pace) => Promise<T>): Promise<T> {
    const pace = new Pace(this.#clock, bytesPerSecond)
    const paces = this.#byChunk.get(chunk) ?? new Set()
    this.#byChunk.set(chunk, paces.add(pace))
    try {
      return await work(pace)
    } finally {
      paces.delete(pace)
      if (paces.size === 0) this.#byChunk.delete(chunk)
    }
  }

  /** Answers false when no order about the chunk is under way. */
  set(chunk: ChunkId, bytesPerSecond: number): boolean {
    const paces = this.#byChunk.get(chunk)
    for (const pace of paces ?? []) pace.bytesPerSecond = bytesPerSecond
    return paces !== undefined
  }
}
