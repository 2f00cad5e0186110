/*
 * Orders about single chunks: which chunks are being worked on, and which rest because the last try failed. A chunk is
 * never worked on twice at once by the same kind of work; when a job has ended, the watch looks at its chunk again.
 *
 * What makes an endangered chunk safe waits for nothing that was begun when it was not endangered: that is called off, whatever
 * it is, and the rest after such a failure does not count. What was made of it so far is gone on with, or
 * cleared away like all that an order leaves that fails.
 */

import { setMaxListeners } from 'node:events'
import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import { EC_PARTS_MAX } from '../base/limits.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Bounds } from './bounds.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { Paid } from './core/lanes.ts'
import type { Urgency } from './core/repair.ts'
import { isUrgent, ORDERS_MAX } from './orders.ts'

/** The next try may find another source or target, or somebody back. */
const REST_MS = 10_000
/** Beyond, chunks are tried again at once; ORDERS_MAX at a time bounds that. */
const RESTING_MAX = 10_000
/** At once, each listening for the end of its job: every part is asked for before copies go. Node warns of a leak beyond it. */
const ORDERS_OF_JOB_MAX: number = EC_PARTS_MAX

interface Job {
  /** undefined: less urgent than all that repair does. */
  readonly urgency: Urgency | undefined
  readonly stop: AbortController
  /** undefined: it moves nothing that has a bound. */
  readonly paced: Paced | undefined
  /** Its chunkserver is being told another pace. */
  telling: boolean
}

export interface Paced {
  readonly paid: Paid
  /** Tells its chunkserver the pace that it may have now. Does not throw: what could not be told is tried again. */
  readonly tell: (signal: AbortSignal) => Promise<void>
}

interface Rest {
  readonly urgency: Urgency | undefined
  readonly untilMs: number
}

export class ChunkJobs {
  readonly #watch: ChunkWatch
  readonly #clock: Clock
  readonly #log: Log
  readonly #running = new Map<ChunkId, Job>()
  readonly #resting = new Map<ChunkId, Rest>()
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
    for (const [chunk, { untilMs }] of this.#resting) if (untilMs <= nowMs) this.#resting.delete(chunk)
    return ORDERS_MAX - this.#running.size
  }
  /** Whether work of this urgency has to wait with the chunk. */
  readonly busy = (chunk: ChunkId, urgency?: Urgency): boolean => {
    const held = this.#running.get(chunk) ?? this.#resting.get(chunk)
    return held !== undefined && !overtakes(urgency, held.urgency)
  }
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

  /**
   * Begins a job, unless one runs that it does not overtake; one that answers false or fails lets its chunk rest. `failed` is
   * what people are told then. The job's own signal ends it. Answers whether it has begun. `paced`: what it has of the bounds.
   */
  begin(
    chunk: ChunkId,
    urgency: Urgency | undefined,
    signal: AbortSignal,
    failed: { says: string; fields?: object },
    job: (signal: AbortSignal) => Promise<boolean>,
    paced?: Paced,
  ): boolean {
    if (signal.aborted) return false
    const running = this.#running.get(chunk)
    if (running !== undefined) {
      if (!overtakes(urgency, running.urgency)) return false
      this.#log.debug({ chunk, urgency: running.urgency }, 'an order gives way: its chunk is endangered now')
      running.stop.abort(new FsError('ECANCELED', 'its chunk is endangered now'))
    }
    this.#resting.delete(chunk)
    void this.#run(chunk, { urgency, stop: new AbortController(), paced, telling: false }, signal, failed, job)
    return true
  }

  /** Paces of what is under way, where something else may go by now. */
  pace(bounds: Bounds, log: Log): void {
    for (const [chunk, job] of this.#running) {
      const { paced, stop } = job
      if (paced === undefined || job.telling || stop.signal.aborted) continue
      const change = bounds.newPace(paced.paid)
      if (change === 'stop') {
        log.debug({ chunk }, 'an order is called off: nothing may go between its sites now')
        stop.abort(new FsError('ECANCELED', 'nothing may go between its sites now'))
      } else if (change === 'changed') {
        job.telling = true
        void paced.tell(stop.signal).finally(() => {
          job.telling = false
        })
      }
    }
  }

  async #run(
    chunk: ChunkId,
    job: Job,
    signal: AbortSignal,
    { says, fields }: { says: string; fields?: object },
    work: (signal: AbortSignal) => Promise<boolean>,
  ): Promise<void> {
    const { urgency, stop } = job
    setMaxListeners(ORDERS_OF_JOB_MAX, stop.signal)
    // Not AbortSignal.any: on Node 20 every call leaves something behind on a signal that lives as long as the process.
    const end = (): void => stop.abort(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    this.#running.set(chunk, job)
    try {
      if (await work(stop.signal)) this.#done++
      else if (!stop.signal.aborted) this.#rest(chunk, urgency)
    } catch (error) {
      if (stop.signal.aborted) return
      if (!(error instanceof FsError)) throw error
      this.#log.warn({ chunk, ...fields, error: error.message }, says)
      this.#rest(chunk, urgency)
    } finally {
      signal.removeEventListener('abort', end)
      if (this.#running.get(chunk) === job) this.#running.delete(chunk)
      this.#watch.touched([chunk])
      this.onDone()
    }
  }

  #rest(chunk: ChunkId, urgency: Urgency | undefined): void {
    if (this.#resting.size < RESTING_MAX)
      this.#resting.set(chunk, { urgency, untilMs: this.#clock.monotonicMs() + REST_MS })
  }
}

const overtakes = (urgency: Urgency | undefined, other: Urgency | undefined): boolean =>
  isUrgent(urgency) && !isUrgent(other)
