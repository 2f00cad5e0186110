/*
 * Hubs that wait for a change of the mesh's registry. Told after each commit; whoever waits is answered when the version is another,
 * when its time is over, or not at all when it has gone.
 */

import { FsError } from '../base/fault.ts'
import type { Clock } from '../base/world.ts'
import type { State } from './core/state.ts'

/** Hubs are four at most; the rest are people who look on. */
const WAITING_MAX = 64

export class MeshWatch {
  readonly #state: State
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  #told: number

  constructor(state: State, clock: Clock) {
    this.#state = state
    this.#clock = clock
    this.#told = state.meshVersion()
  }

  committed(): void {
    const version = this.#state.meshVersion()
    if (version === this.#told) return
    this.#told = version
    for (const wake of [...this.#waiting]) wake()
  }

  /** Resolves when there may be news, or after the time. */
  async wait(since: number, waitMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#state.meshVersion() !== since || waitMs === 0) return
    if (this.#waiting.size >= WAITING_MAX) throw new FsError('EUSERS', `${WAITING_MAX} wait for changes of the mesh`)
    await new Promise<void>((resolve, reject) => {
      const end = (): void => {
        forget()
        signal.removeEventListener('abort', abort)
        this.#waiting.delete(wake)
      }
      const wake = (): void => {
        end()
        resolve()
      }
      const abort = (): void => {
        end()
        reject(signal.reason)
      }
      const forget = this.#clock.timer(waitMs, wake)
      signal.addEventListener('abort', abort)
      this.#waiting.add(wake)
    })
  }
}
