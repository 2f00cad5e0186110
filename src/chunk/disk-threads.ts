/*
 * How many threads one disk may hold. Everything asynchronous goes through libuv's pool, which all disks of the process
 * share, and a thread that waits for a disk that hangs does not come back. So each disk has a fixed share; what it may not
 * ask yet waits here, and holds up no other disk.
 *
 * A disk that is given up answers everything that is asked of it with an error at once. The kernel may still finish what it
 * was asked; nobody is told of it any more, and files are closed when their turn comes.
 */

/**
 * Two syncs (DiskSyncs), and six for reads and writes: with four in all, a thread often had nothing to do until the
 * event loop gave it the next. bin/holdfast has threads for eight such disks.
 */
export const DISK_THREADS = 8

type Answer<T> = (error: Error | null, value: T) => void

export class DiskThreads {
  #running = 0
  #operations = 0
  /** Bounded by what the callers ask: a few operations for each request that the links let in. */
  readonly #waiting: (() => void)[] = []
  /** By the number of the operation, oldest first; the kernel is asked in this order. */
  readonly #unanswered = new Map<number, (error: Error) => void>()
  #givenUp: Error | undefined

  /** The number of the operation that the disk owes an answer for longest. */
  get oldest(): number | undefined {
    if (this.#unanswered.size === 0) return undefined
    const [oldest] = this.#unanswered.keys()
    return oldest
  }

  /**
   * `late` gets an answer that came after the disk was given up, to put away what it holds. `always`: to be done even then,
   * though nobody waits for it.
   */
  run<T>(
    start: (answer: Answer<T>) => void,
    { late, always = false }: { readonly late?: (value: T) => void; readonly always?: boolean } = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const number = ++this.#operations
      if (this.#givenUp === undefined) this.#unanswered.set(number, reject)
      else {
        reject(this.#givenUp)
        if (!always) return
      }
      const begin = (): void => {
        if (!always && !this.#unanswered.has(number)) {
          this.#next()
          return
        }
        try {
          start((error, value) => {
            const wanted = this.#end(number)
            if (error !== null) reject(error)
            else if (wanted) resolve(value)
            else late?.(value)
          })
        } catch (error) {
          this.#end(number)
          reject(error)
        }
      }
      if (this.#running < DISK_THREADS) {
        this.#running++
        begin()
      } else this.#waiting.push(begin)
    })
  }

  /** Whether somebody still waits for it. */
  #end(number: number): boolean {
    this.#next()
    return this.#unanswered.delete(number)
  }

  #next(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running--
    else next()
  }

  giveUp(error: Error): void {
    this.#givenUp ??= error
    for (const reject of this.#unanswered.values()) reject(error)
    this.#unanswered.clear()
  }
}
