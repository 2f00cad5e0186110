/*
 * Work that takes a place for as long as it runs: so many at a time, beside them some places that only the most urgent takes. Of
 * what waits, the more urgent goes first, and what was asked for first. What is aborted while it waits is gone at once; what
 * runs is its owner's.
 */

/** The rank of what is most urgent; larger ones are less. */
export const URGENT = 0

interface Waiting {
  readonly rank: number
  readonly begin: () => void
}

export class Places {
  readonly #places: number
  readonly #kept: number
  /** In the order in which they begin. Bounded by who asks, which knows what it means to refuse. */
  #waiting: Waiting[] = []
  #urgent = 0
  #lesser = 0

  /** `kept`: only for the most urgent. */
  constructor({ places, kept = 0 }: { readonly places: number; readonly kept?: number }) {
    this.#places = places
    this.#kept = kept
  }

  get running(): number {
    return this.#urgent + this.#lesser
  }
  get waiting(): number {
    return this.#waiting.length
  }

  hasRoom(rank: number): boolean {
    if (this.running >= this.#places + this.#kept) return false
    return rank === URGENT || this.#lesser < this.#places
  }

  async run<T>(rank: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    if (!this.hasRoom(rank)) await this.#turn(rank, signal)
    else this.#take(rank)
    try {
      return await work()
    } finally {
      if (rank === URGENT) this.#urgent--
      else this.#lesser--
      this.#next()
    }
  }

  #take(rank: number): void {
    if (rank === URGENT) this.#urgent++
    else this.#lesser++
  }

  /** When this is answered, the place is taken. */
  #turn(rank: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        rank,
        begin: () => {
          signal?.removeEventListener('abort', gone)
          this.#take(rank)
          resolve()
        },
      }
      const gone = (): void => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', gone, { once: true })
      const at = this.#waiting.findIndex((one) => one.rank > rank)
      this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, waiting)
    })
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined && this.hasRoom(first.rank); first = this.#waiting[0]) {
      this.#waiting.shift()
      first.begin()
    }
  }
}
