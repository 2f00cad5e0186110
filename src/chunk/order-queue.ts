/*
 * The orders of the master that move bytes: so many at a time, the others wait, and one that is repeated while it waits or runs
 * joins that one. Urgent ones overtake those that wait, and have places that no other takes: however slow the orders are that
 * run, what would be lost with one more disk is begun at once.
 * What each does is copier.ts, encoder.ts and rebuilder.ts.
 */

import PQueue from 'p-queue'
import { FsError } from '../base/fault.ts'

/** At one time, and how many more may wait: the master orders a handful. */
const ORDERS_AT_ONCE = 4
/** Beside them, for urgent ones only: a bounded crowd of windows in memory. */
const URGENT_AT_ONCE = 2
const ORDERS_WAITING_MAX = 256

export class OrderQueue {
  readonly #queue = new PQueue({ concurrency: ORDERS_AT_ONCE })
  readonly #reserved = new PQueue({ concurrency: URGENT_AT_ONCE })
  readonly #running = new Map<string, Promise<unknown>>()

  get queued(): number {
    return this.#queue.size + this.#queue.pending + this.#reserved.pending
  }

  /** `key` names the order and the kind of answer. */
  async run<T>(key: string, work: () => Promise<T>, urgent = false): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) return running as Promise<T>
    const full = this.#queue.pending >= ORDERS_AT_ONCE
    const reserved = urgent && full && this.#reserved.pending < URGENT_AT_ONCE
    if (!reserved && this.#queue.size >= ORDERS_WAITING_MAX)
      throw new FsError('EAGAIN', `${this.#queue.size} orders are waiting`)
    const added = reserved ? this.#reserved.add(work) : this.#queue.add(work, { priority: urgent ? 1 : 0 })
    const made = added.finally(() => this.#running.delete(key)) as Promise<T>
    this.#running.set(key, made)
    return made
  }
}
