/*
 * Whether small writes to a disk may be made synchronously just now. A write into the page cache takes microseconds, unless
 * the kernel makes the writer wait (too many dirty pages, a journal that does not commit, a dying disk); then it makes every
 * other disk of the process wait, too. So: a write that was slow sends the disk's writes to the thread pool for a multiple
 * of the time it took, and a sync that has been running for long, which is how trouble announces itself, does so until it
 * ends. What slow disks can take from the process is therefore a fixed small share of its time.
 */

import type { Clock } from '../base/world.ts'

/** A write that took this long did not go to memory alone (or the machine is busy, and then threads help as little). */
const SLOW_WRITE_MS = 5
/** The pause in units of the delay: delays cost at most 1/25 of the time, 4 %. */
const PAUSE_FACTOR = 25
/** A sync that runs this long: the disk is busy enough that a write may have to wait for it. */
const SLOW_SYNC_MS = 250
/** Above this a copy into the page cache itself takes long enough (> 50 µs) that a thread should do it. */
export const QUICK_BYTES_MAX: number = 64 * 1024

export class QuickWrites {
  readonly #clock: Clock
  #pausedUntil = 0
  /** The disk owes somebody an answer for long: what it does to a thread it would do to the process. */
  slow = false
  #syncs = 0
  #oldestSync = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  allowed(): boolean {
    if (this.slow) return false
    const now = this.#clock.monotonicMs()
    return now >= this.#pausedUntil && (this.#syncs === 0 || now - this.#oldestSync < SLOW_SYNC_MS)
  }

  /** Runs a synchronous write and learns from how long it took. */
  run(write: () => void): void {
    const start = this.#clock.monotonicMs()
    write()
    const now = this.#clock.monotonicMs()
    if (now - start >= SLOW_WRITE_MS) this.#pausedUntil = now + PAUSE_FACTOR * (now - start)
  }

  /** Approximate with several syncs at once: the age is that of the time since when one has always been running. */
  syncBegins(): void {
    if (this.#syncs++ === 0) this.#oldestSync = this.#clock.monotonicMs()
  }

  syncEnds(): void {
    this.#syncs--
    this.#oldestSync = this.#clock.monotonicMs()
  }
}
