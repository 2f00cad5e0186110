/*
 * The orders of the master that move bytes: so many at a time, the others wait, and one that is repeated while it waits or runs
 * joins that one. What each does is copier.ts, encoder.ts and rebuilder.ts.
 */

import PQueue from 'p-queue'
import { FsError } from '../base/fault.ts'

/** At one time, and how many more may wait: the master orders a handful. */
const ORDERS_AT_ONCE = 4
const ORDERS_WAITING_MAX = 256

export class OrderQueue {
  readonly #queue = new PQueue({ concurrency: ORDERS_AT_ONCE })
  readonly #running = new Map<string, Promise<unknown>>()

  get queued(): number {
    return this.#queue.size + this.#queue.pending
  }

  /** `key` names the order and the kind of answer. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) return running as Promise<T>
    if (this.#queue.size >= ORDERS_WAITING_MAX) throw new FsError('EAGAIN', `${this.#queue.size} orders are waiting`)
    const made = this.#queue.add(work).finally(() => this.#running.delete(key)) as Promise<T>
    this.#running.set(key, made)
    return made
  }
}
