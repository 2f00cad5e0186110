/*
 * How much background copies may put on the line between two sites, by what the line itself shows: one controller
 * (topology/throttle.ts) per pair, which makes a step for each quarter of a second of samples. Who measures, and how, is not known here:
 * samples come by a call. A pair that nobody has told of for a while has no rate of its own, and what the operator said holds alone.
 *
 * All of it is memory; after a restart a line is felt for anew.
 */

import type { Clock } from '../base/world.ts'
import { newThrottle, STEP_MS, step, type ThrottleState, type Urgency } from '../topology/throttle.ts'
import type { LineSample } from '../wire/shapes.ts'
import { pairLane, type SitePair, sitePair } from './core/lanes.ts'

/** Whoever measures tells of it several times a second. */
const SILENT_MS = 5_000
/** Pairs at once: those of 45 sites. The one not told of for longest goes. */
const PAIRS_MAX = 1024
/** Probes of one step; there are five to ten a second. */
const PROBES_MAX = 256
/** So long after the last bytes of mounts copies keep out of their way (as the controller does). */
const YIELDS_MS = 2_000

interface Gathered {
  rttsMs: number[]
  lostProbes: number
  backgroundBytes: number
  foregroundBytes: number
}
const nothing = (): Gathered => ({ rttsMs: [], lostProbes: 0, backgroundBytes: 0, foregroundBytes: 0 })

interface Line {
  state: ThrottleState
  gathered: Gathered
  steppedMs: number
  heardMs: number
}

export interface LineRate {
  readonly bytesPerSecond: number
  /** Mounts use the line. */
  readonly yields: boolean
}

export class LineRates {
  readonly #clock: Clock
  readonly #lines = new Map<string, Line>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  rate(a: string, b: string): LineRate | undefined {
    const line = this.#lines.get(pairLane(sitePair(a, b)))
    const nowMs = this.#clock.monotonicMs()
    if (line === undefined || nowMs - line.heardMs > SILENT_MS) return undefined
    const { bytesPerS, foregroundAtMs } = line.state
    return { bytesPerSecond: bytesPerS, yields: nowMs - foregroundAtMs < YIELDS_MS }
  }

  /** `limitBytesPerS`: what may go at most, whatever the line carries; `urgency`: of what is copied over it now. */
  take(sample: LineSample, urgency: Urgency, limitBytesPerS: number | undefined): void {
    const nowMs = this.#clock.monotonicMs()
    const line = this.#heard(sitePair(sample.a, sample.b), sample.epoch, nowMs)
    const { gathered } = line
    for (const us of sample.rttsUs) if (gathered.rttsMs.length < PROBES_MAX) gathered.rttsMs.push(us / 1000)
    gathered.lostProbes += sample.lostProbes
    gathered.backgroundBytes += sample.backgroundBytes
    gathered.foregroundBytes += sample.foregroundBytes
    if (nowMs - line.steppedMs < STEP_MS) return
    const baseMs = sample.baseUs === undefined ? undefined : sample.baseUs / 1000
    line.state = step(line.state, { ...gathered, nowMs, epoch: sample.epoch, baseMs, urgency, limitBytesPerS })
    line.gathered = nothing()
    line.steppedMs = nowMs
  }

  #heard(pair: SitePair, epoch: number, nowMs: number): Line {
    const lane = pairLane(pair)
    const known = this.#lines.get(lane)
    // After a silence what was known of the line is old.
    const line =
      known === undefined || nowMs - known.heardMs > SILENT_MS
        ? { state: newThrottle(nowMs, epoch), gathered: nothing(), steppedMs: nowMs - STEP_MS, heardMs: nowMs }
        : known
    line.heardMs = nowMs
    this.#lines.delete(lane)
    const [longest] = this.#lines.keys()
    if (this.#lines.size >= PAIRS_MAX && longest !== undefined) this.#lines.delete(longest)
    this.#lines.set(lane, line)
    return line
  }
}
