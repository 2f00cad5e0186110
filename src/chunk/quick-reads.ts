/*
 * Whether a small read from a disk may be made synchronously just now. Most reads of small pieces are answered by the page
 * cache in some 15 µs; through the thread pool they cost two changes of thread more (measured: a random 4 KiB read over the
 * mount after eight thousand of them: 289 µs so, 228 µs synchronously). A read that had to go to the disk is better made by a thread, where
 * others can run beside it: so one that took longer than memory takes sends the disk's reads to the pool for a multiple of
 * its time. What slow disks can take from the process is a fixed small share of its time.
 */

import type { Clock } from '../base/world.ts'

/** Longer than 64 KiB from the page cache take, shorter than any disk. */
const SLOW_READ_MS = 0.15
/** The pause in units of the delay: delays cost at most 1/25 of the time, 4 %. */
const PAUSE_FACTOR = 25
/** One block; copying more takes long enough that a thread should do it. */
export const QUICK_READ_BYTES_MAX: number = 64 * 1024

export class QuickReads {
  readonly #clock: Clock
  #pausedUntil = 0
  /** The disk owes somebody an answer for long: what it does to a thread it would do to the process. */
  slow = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  allowed(): boolean {
    return !this.slow && this.#clock.monotonicMs() >= this.#pausedUntil
  }

  /** Runs a synchronous read and learns from how long it took. */
  run(read: () => number): number {
    const start = this.#clock.monotonicMs()
    const bytes = read()
    const now = this.#clock.monotonicMs()
    if (now - start >= SLOW_READ_MS) this.#pausedUntil = now + PAUSE_FACTOR * (now - start)
    return bytes
  }
}
