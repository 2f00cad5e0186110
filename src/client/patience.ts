/*
 * How long whoever needs a server that is away waits for it, and who need not wait to the end: one answer for the master
 * and for chunkservers, for everything under one mount.
 *
 * A caller that is interrupted stops waiting only while a server is away. With all servers there a change is answered as
 * on a local disk, whatever signals its process gets: many programs take signals all day and do not expect EINTR of a
 * close. The work goes on without them.
 */

import { FsError } from '../base/fault.ts'
import type { Clock } from '../base/world.ts'

/** Who may lose patience. The signal is asked for only when there is something to wait for: making one costs. */
export interface Interruptible {
  readonly signal: AbortSignal
}

export class Patience {
  readonly #clock: Clock
  readonly #waitMs: number
  #endMs = Number.POSITIVE_INFINITY
  #away = 0
  readonly #waiting = new Set<() => void>()

  /** Infinity: until the server is back. */
  constructor(clock: Clock, waitMs: number) {
    this.#clock = clock
    this.#waitMs = waitMs
  }

  /** When somebody who begins to wait now gives up, monotonic ms. */
  deadline(): number {
    return this.#clock.monotonicMs() + this.#waitMs
  }

  left(deadline: number): number {
    return Math.min(deadline, this.#endMs) - this.#clock.monotonicMs()
  }

  /** The mount ends: nobody waits longer than this from now on. */
  endWithin(ms: number): void {
    this.#endMs = this.#clock.monotonicMs() + ms
  }

  /** A server is away, until the answer is called. */
  away(): () => void {
    this.#away++
    for (const listen of [...this.#waiting]) listen()
    let back = false
    return () => {
      if (!back) this.#away--
      back = true
    }
  }

  /**
   * As `work`, unless the caller is interrupted while a server is away: EINTR then, and `failed` hears what went wrong
   * with it after all.
   */
  interruptible<T>(work: Promise<T>, caller: Interruptible, failed?: (error: unknown) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      let signal: AbortSignal | undefined
      let left = false
      const interrupted = (): void => {
        if (this.#away === 0 || left) return
        left = true
        done()
        reject(new FsError('EINTR', 'interrupted while a server is away'))
      }
      const listen = (): void => {
        if (signal === undefined) {
          signal = caller.signal
          signal.addEventListener('abort', interrupted)
        }
        if (signal.aborted) interrupted()
      }
      const done = (): void => {
        this.#waiting.delete(listen)
        signal?.removeEventListener('abort', interrupted)
      }
      this.#waiting.add(listen)
      work.then(
        (value) => {
          done()
          resolve(value)
        },
        (error: unknown) => {
          done()
          if (left) failed?.(error)
          else reject(error)
        },
      )
      if (this.#away > 0) listen()
    })
  }
}
