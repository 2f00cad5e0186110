/*
 * Ends sessions that have been silent for too long. Time in which this process itself did not run (a suspended machine, a
 * stopped process) is nobody's silence: a tick that comes late by more than LATE_MS is forgiven to everybody.
 */

import { FsError } from '../base/fault.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock } from '../base/world.ts'
import type { Parts } from './parts.ts'
import { endSession } from './service-sessions.ts'
import type { Session } from './sessions.ts'

const TICK_MS = 1_000
const LATE_MS = 2_000

export class Expiry implements Work {
  readonly #parts: Parts
  readonly #clock: Clock
  #lastMs: number | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.#clock = parts.clock
  }

  queued(): number {
    return 0
  }
  progress(): string {
    return `${this.#parts.sessions.size} sessions`
  }

  async step(): Promise<WorkStep> {
    const { sessions, state } = this.#parts
    const nowMs = this.#clock.monotonicMs()
    const late = this.#lastMs === undefined ? 0 : nowMs - this.#lastMs - TICK_MS
    if (late > LATE_MS) sessions.forgive(late)
    const silent = (): Session | undefined => sessions.silent(state.settings().sessionTimeoutMs)[0]
    // Asked again each time: while one is ended, which waits for the store, others may come back.
    for (let session = silent(); session !== undefined; session = silent()) {
      const peer = session.peer
      await endSession(this.#parts, session.info.session, 'expired')
      peer?.close(new FsError('ETIMEDOUT', 'the session was silent for too long and has been ended'))
    }
    this.#lastMs = this.#clock.monotonicMs()
    return { restMs: TICK_MS, resting: 'idle' }
  }
}
