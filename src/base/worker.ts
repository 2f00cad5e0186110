/*
 * Background work that can be seen, slowed and paused. A Worker does one step at a time and rests between steps; what a step
 * is, and how much it does, is its owner's business. An error of a step is kept as the last error and the next step comes
 * after a longer rest; an Impossible is passed on, because it must end the process.
 */

import { FsError } from './fault.ts'
import type { Clock, Log } from './world.ts'

export type WorkerState = 'idle' | 'busy' | 'throttled' | 'failed' | 'paused' | 'stopped'

export interface WorkerReport {
  readonly name: string
  readonly state: WorkerState
  readonly progress: string
  readonly queued: number
  readonly lastError: string
  /** Units per second that the owner set; 0 = as fast as it goes. */
  readonly pace: number
}

export interface WorkStep {
  /** How long to rest before the next step; 0 only yields. */
  readonly restMs: number
  /** What a rest means: nothing to do, or held back by the pace. */
  readonly resting: 'idle' | 'throttled'
}

export interface Work {
  /** One bounded step. */
  step(signal: AbortSignal): Promise<WorkStep>
  progress(): string
  queued(): number
}

/** After an error: 1 s, doubled up to 5 min, so that a broken disk does not fill the log. */
const ERROR_REST_MS = 1_000
const ERROR_REST_MS_MAX = 300_000

export class Worker {
  readonly name: string
  readonly #work: Work
  readonly #clock: Clock
  readonly #log: Log
  #state: WorkerState = 'idle'
  #lastError = ''
  #pace: number
  #paused = false
  #wake: AbortController | undefined
  #poked = false

  constructor(name: string, work: Work, clock: Clock, log: Log, pace = 0) {
    this.name = name
    this.#work = work
    this.#clock = clock
    this.#log = log
    this.#pace = pace
  }

  get pace(): number {
    return this.#pace
  }
  set pace(unitsPerSecond: number) {
    this.#pace = unitsPerSecond
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.poke()
  }

  /** Ends the present rest, or the one that follows the present step: there is something to do. */
  poke(): void {
    this.#poked = true
    this.#wake?.abort()
  }

  report(): WorkerReport {
    return {
      name: this.name,
      state: this.#paused && this.#state !== 'busy' && this.#state !== 'stopped' ? 'paused' : this.#state,
      progress: this.#work.progress(),
      queued: this.#work.queued(),
      lastError: this.#lastError,
      pace: this.#pace,
    }
  }

  /** Returns when the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let errorRestMs = ERROR_REST_MS
    while (!signal.aborted) {
      let restMs = ERROR_REST_MS_MAX
      this.#poked = false
      if (!this.#paused) {
        this.#state = 'busy'
        try {
          const step = await this.#work.step(signal)
          restMs = step.restMs
          errorRestMs = ERROR_REST_MS
          if (restMs > 0) this.#state = step.resting
        } catch (error) {
          if (signal.aborted) break
          if (!(error instanceof FsError)) throw error
          this.#state = 'failed'
          this.#lastError = error.message
          this.#log.warn(
            { worker: this.name, error: error.message, restMs: errorRestMs },
            'background work failed; trying again later',
          )
          restMs = errorRestMs
          errorRestMs = Math.min(errorRestMs * 2, ERROR_REST_MS_MAX)
        }
      }
      await this.#rest(restMs, signal)
    }
    this.#state = 'stopped'
  }

  async #rest(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const wake = new AbortController()
    this.#wake = wake
    // Not AbortSignal.any: on Node 20 every call leaves something behind on a signal that lives as long as the process.
    const stop = (): void => wake.abort()
    signal.addEventListener('abort', stop, { once: true })
    try {
      await this.#clock.sleep(this.#poked ? 0 : ms, { signal: wake.signal })
    } catch (error) {
      if (!wake.signal.aborted) throw error
    } finally {
      signal.removeEventListener('abort', stop)
      this.#wake = undefined
    }
  }
}
