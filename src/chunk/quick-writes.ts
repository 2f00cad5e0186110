/*
 * Whether small writes to a disk may be made synchronously just now. A write into the page cache takes microseconds, unless
 * the kernel makes the writer wait (too many dirty pages, a journal that does not commit, a dying disk); then it would make
 * every other disk of the process wait, too. So: the first write that is slow sends the disk's writes to the thread pool for
 * a while, longer each time, and so does a sync that has been running for long, which is how trouble announces itself.
 * What a slow disk can do to the others is one slow write per pause.
 */

import type { Clock } from '../base/world.ts'

/** A write that took this long did not go to memory alone. */
const SLOW_WRITE_MS = 5
/** A sync that runs this long: the disk is busy enough that a write may have to wait for it. */
const SLOW_SYNC_MS = 250
/** The pause after a slow write; doubled each time up to the maximum, back to the first after a minute without one. */
const PAUSE_MS = 5_000
const PAUSE_MS_MAX = 600_000
const FORGIVE_MS = 60_000
/** Above this a copy into the page cache itself takes long enough (> 50 µs) that a thread should do it. */
export const QUICK_BYTES_MAX: number = 64 * 1024

export class QuickWrites {
  readonly #clock: Clock
  #pausedUntil = 0
  #pauseMs = PAUSE_MS
  #lastSlow = Number.NEGATIVE_INFINITY
  #syncs = 0
  #oldestSync = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  allowed(): boolean {
    const now = this.#clock.monotonicMs()
    return now >= this.#pausedUntil && (this.#syncs === 0 || now - this.#oldestSync < SLOW_SYNC_MS)
  }

  /** Runs a synchronous write and learns from how long it took. */
  run(write: () => void): void {
    const start = this.#clock.monotonicMs()
    write()
    const now = this.#clock.monotonicMs()
    if (now - start < SLOW_WRITE_MS) return
    if (now - this.#lastSlow > FORGIVE_MS + this.#pauseMs) this.#pauseMs = PAUSE_MS
    this.#pausedUntil = now + this.#pauseMs
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX)
    this.#lastSlow = now
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
