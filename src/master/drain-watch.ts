/*
 * How fast disks become empty: looks at the draining ones every few seconds and tells, from what it has seen of late, how
 * long they will take. It moves nothing; repair does. All of it is memory: after a restart a rate is known again soon.
 */

import type { DiskId } from '../base/ids.ts'
import { formatDuration } from '../base/units.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log } from '../base/world.ts'
import { Pace } from './core/pace.ts'
import type { State } from './core/state.ts'

const LOOK_MS = 5_000
const IDLE_MS = 10_000

export class DrainWatch implements Work {
  readonly #state: State
  readonly #clock: Clock
  readonly #log: Log
  readonly #paces = new Map<DiskId, Pace>()
  readonly #empty = new Set<DiskId>()

  constructor(state: State, clock: Clock, log: Log) {
    this.#state = state
    this.#clock = clock
    this.#log = log
  }

  /** null: nothing has moved yet, or it is not draining. */
  secondsLeft(disk: DiskId): number | null {
    const left = this.#state.disk(disk)?.chunks ?? 0
    return this.#paces.get(disk)?.secondsLeft(this.#clock.monotonicMs(), left) ?? null
  }

  queued(): number {
    let chunks = 0
    for (const disk of this.#paces.keys()) chunks += this.#state.disk(disk)?.chunks ?? 0
    return chunks
  }
  progress(): string {
    if (this.#paces.size === 0) return ''
    const longest = Math.max(...[...this.#paces.keys()].map((disk) => this.secondsLeft(disk) ?? -1))
    const time = longest < 0 || this.queued() === 0 ? '' : `, ${formatDuration(longest * 1000)} left`
    return `disks ${[...this.#paces.keys()].join(', ')}: ${this.queued()} chunks to move${time}`
  }

  async step(): Promise<WorkStep> {
    const nowMs = this.#clock.monotonicMs()
    const draining = new Set<DiskId>()
    for (const { disk, record } of this.#state.disks()) {
      if (!record.draining) continue
      draining.add(disk)
      const pace = this.#paces.get(disk) ?? new Pace()
      this.#paces.set(disk, pace)
      pace.seen(nowMs, record.chunks)
      if (record.chunks > 0) this.#empty.delete(disk)
      else if (!this.#empty.has(disk)) {
        this.#empty.add(disk)
        this.#log.info({ disk, path: record.path }, 'a draining disk is empty; it can be removed')
      }
    }
    for (const disk of this.#paces.keys())
      if (!draining.has(disk)) {
        this.#paces.delete(disk)
        this.#empty.delete(disk)
      }
    const busy = this.queued() > 0
    return { restMs: draining.size > 0 ? LOOK_MS : IDLE_MS, resting: busy ? 'throttled' : 'idle' }
  }
}
