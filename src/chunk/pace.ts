/*
 * A token bucket for bytes per second. `take` waits until its bytes may go; what is unused is kept for a moment only, so a
 * pause is not followed by a flood.
 */

import type { Clock } from '../base/world.ts'

/** What may go at once after a pause, as time at the rate: enough to keep a window of requests busy. */
const BURST_MS = 250

export class Pace {
  readonly #clock: Clock
  #bytesPerSecond: number
  /** The bucket is empty until then. */
  #freeAt = 0

  /** 0: no limit. */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
  }

  set bytesPerSecond(value: number) {
    this.#bytesPerSecond = value
  }

  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.#bytesPerSecond <= 0) return
    const now = this.#clock.monotonicMs()
    this.#freeAt = Math.max(this.#freeAt, now - BURST_MS) + (bytes * 1000) / this.#bytesPerSecond
    const waitMs = this.#freeAt - now
    if (waitMs <= 0) return
    try {
      await this.#clock.sleep(waitMs, signal === undefined ? {} : { signal })
    } catch (error) {
      // Timers of the platform reject with an error of their own; whoever waits wants the signal's reason.
      signal?.throwIfAborted()
      throw error
    }
  }
}
