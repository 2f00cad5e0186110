/*
 * The orders of the master that move bytes: so many at a time, the others wait, and one that is repeated while it waits or runs
 * joins that one. Urgent ones overtake those that wait, and have places that no other takes: however slow the orders are that
 * run, what would be lost with one more disk is begun at once. One that was called off is not joined: the same order again
 * waits until that has let go of its file.
 * What each does is copier.ts, encoder.ts and rebuilder.ts.
 */

import { FsError } from '../base/fault.ts'
import { Places, URGENT } from '../base/places.ts'

/** At one time, and how many more may wait: the master orders a handful. */
const ORDERS_AT_ONCE = 4
/** Beside them, for urgent ones only: a bounded crowd of windows in memory. */
const URGENT_AT_ONCE = 2
const ORDERS_WAITING_MAX = 256

interface Running {
  readonly made: Promise<unknown>
  readonly signal: AbortSignal | undefined
}

export class OrderQueue {
  readonly #places = new Places({ places: ORDERS_AT_ONCE, kept: URGENT_AT_ONCE })
  readonly #running = new Map<string, Running>()

  get queued(): number {
    return this.#places.running + this.#places.waiting
  }

  /** `key` names the order and the kind of answer. */
  async run<T>(key: string, work: () => Promise<T>, urgent = false, signal?: AbortSignal): Promise<T> {
    for (let known = this.#running.get(key); known !== undefined; known = this.#running.get(key)) {
      if (known.signal?.aborted !== true) return known.made as Promise<T>
      await known.made.catch(() => undefined)
    }
    const rank = urgent ? URGENT : URGENT + 1
    if (!this.#places.hasRoom(rank) && this.#places.waiting >= ORDERS_WAITING_MAX)
      throw new FsError('EAGAIN', `${this.#places.waiting} orders are waiting`)
    const made = this.#places.run(rank, work, signal).finally(() => this.#running.delete(key))
    this.#running.set(key, { made, signal })
    return made
  }
}
