/*
 * Orders about single chunks: which chunks are being worked on, and which rest because the last try failed. A chunk is
 * never worked on twice at once by the same kind of work; when a job has ended, the watch looks at its chunk again.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import type { Clock, Log } from '../base/world.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { ORDERS_MAX } from './orders.ts'

/** The next try may find another source or target, or somebody back. */
const REST_MS = 10_000
/** Beyond, chunks are tried again at once; ORDERS_MAX at a time bounds that. */
const RESTING_MAX = 10_000

export class ChunkJobs {
  readonly #watch: ChunkWatch
  readonly #clock: Clock
  readonly #log: Log
  readonly #running = new Set<ChunkId>()
  readonly #resting = new Map<ChunkId, number>()
  #done = 0
  /** A job has ended. */
  onDone: () => void = () => undefined

  constructor(watch: ChunkWatch, clock: Clock, log: Log) {
    this.#watch = watch
    this.#clock = clock
    this.#log = log
  }

  /** How many may begin now. Chunks whose rest is over are no longer busy. */
  room(): number {
    const nowMs = this.#clock.monotonicMs()
    for (const [chunk, untilMs] of this.#resting) if (untilMs <= nowMs) this.#resting.delete(chunk)
    return ORDERS_MAX - this.#running.size
  }
  readonly busy = (chunk: ChunkId): boolean => this.#running.has(chunk) || this.#resting.has(chunk)
  /** Something runs or rests: there will be more to do soon. */
  get waits(): boolean {
    return this.#running.size + this.#resting.size > 0
  }
  get running(): number {
    return this.#running.size
  }
  progress(): string {
    return `${this.#running.size} running, ${this.#done} done`
  }

  /** Begins a job; one that answers false or fails lets its chunk rest. `failed` is what people are told then. */
  begin(
    chunk: ChunkId,
    signal: AbortSignal,
    failed: { says: string; fields?: object },
    job: () => Promise<boolean>,
  ): void {
    void this.#run(chunk, signal, failed, job)
  }

  async #run(
    chunk: ChunkId,
    signal: AbortSignal,
    { says, fields }: { says: string; fields?: object },
    job: () => Promise<boolean>,
  ): Promise<void> {
    this.#running.add(chunk)
    try {
      if (await job()) this.#done++
      else this.#rest(chunk)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof FsError)) throw error
      this.#log.warn({ chunk, ...fields, error: error.message }, says)
      this.#rest(chunk)
    } finally {
      this.#running.delete(chunk)
      this.#watch.touched([chunk])
      this.onDone()
    }
  }

  #rest(chunk: ChunkId): void {
    if (this.#resting.size < RESTING_MAX) this.#resting.set(chunk, this.#clock.monotonicMs() + REST_MS)
  }
}
