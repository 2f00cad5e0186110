/*
 * Waiting for the disk, together: one flush runs at a time, and everybody who came while it ran shares the next one. So a
 * thousand fsyncs in flight cost two flushes. What nobody waits for is flushed within LAZY_FLUSH_MS all the same.
 *
 * A flush that fails fails for all who wait on it, and `onFailure` hears of it: what was committed since the last good
 * flush may be lost with the power, so the master must stop acknowledging.
 */

import { FsError } from '../base/fault.ts'
import type { Clock } from '../base/world.ts'

/** What a power cut may take of operations whose caller did not ask for durability; ext4's default is 5 s. */
export const LAZY_FLUSH_MS = 1_000

interface Waiter {
  resolve(): void
  reject(error: FsError): void
}

export class Flusher {
  readonly #flush: () => Promise<void>
  readonly #clock: Clock
  readonly #onFailure: (error: FsError) => void
  #waiting: Waiter[] = []
  #running = false
  #forgetTimer: (() => void) | undefined

  constructor(flush: () => Promise<void>, clock: Clock, onFailure: (error: FsError) => void) {
    this.#flush = flush
    this.#clock = clock
    this.#onFailure = onFailure
  }

  /** Resolves when everything committed until now is on disk. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      if (!this.#running) void this.#run()
    })
  }

  /** Something was committed that nobody waits for. */
  later(): void {
    if (this.#forgetTimer !== undefined) return
    this.#forgetTimer = this.#clock.timer(LAZY_FLUSH_MS, () => {
      this.#forgetTimer = undefined
      // A failure has been told to onFailure; nobody else waits.
      this.wait().catch(() => undefined)
    })
  }

  stop(): void {
    this.#forgetTimer?.()
    this.#forgetTimer = undefined
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#waiting.length > 0) {
      const served = this.#waiting
      this.#waiting = []
      // The flush that begins now covers what a lazy one would have.
      this.stop()
      try {
        await this.#flush()
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        this.#onFailure(error)
        for (const waiter of served) waiter.reject(error)
        continue
      }
      for (const waiter of served) waiter.resolve()
    }
    this.#running = false
  }
}
