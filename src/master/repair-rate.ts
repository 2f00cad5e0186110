/*
 * How fast chunks that lack a copy or a part get it: looks at their number every few seconds and tells, from what it has
 * seen of late, how long the rest will take. It mends nothing; repair does. After a restart a rate is known again soon.
 */

import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock } from '../base/world.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { Pace } from './core/pace.ts'

const LOOK_MS = 5_000

export class RepairRate implements Work {
  readonly #watch: ChunkWatch
  readonly #clock: Clock
  readonly #pace = new Pace()

  constructor(watch: ChunkWatch, clock: Clock) {
    this.#watch = watch
    this.#clock = clock
  }

  /** 0: none lacks anything. null: nothing has been seen moving. */
  secondsLeft(): number | null {
    return this.#pace.secondsLeft(this.#clock.monotonicMs(), this.#lacking()) ?? null
  }

  queued(): number {
    return 0
  }
  progress(): string {
    return ''
  }

  async step(): Promise<WorkStep> {
    this.#pace.seen(this.#clock.monotonicMs(), this.#lacking())
    return { restMs: LOOK_MS, resting: 'idle' }
  }

  /** What is lost is not mended by copying. */
  #lacking(): number {
    const { under, endangered } = this.#watch.health()
    return under + endangered
  }
}
