/*
 * How much background copies may put on the line between two sites, by what the line itself shows: one controller
 * (topology/throttle.ts) per pair, which makes a step for each quarter of a second of samples. Samples come from the chunkservers that copy
 * over it, for as long as they do. Bytes of all of them count. Echoes count of one of them at a time: each has its own way, with
 * its own base, and of two ways the shorter queue would be taken for that of both.
 *
 * A line that can be measured has a rate before its first sample: else the first order would fill it for a second. If no sample
 * comes while something is copied, nobody measures it after all, and what the operator said holds alone, for a while.
 *
 * All of it is memory; after a restart a line is felt for anew.
 */

import type { Clock } from '../base/world.ts'
import {
  capacityOf,
  newThrottle,
  resumed,
  START_BYTES_PER_S,
  STEP_MS,
  step,
  type ThrottleState,
  type Urgency,
} from '../topology/throttle.ts'
import type { LineReport } from '../wire/reports-mesh.ts'
import type { WayEchoes, WaySeen } from '../wire/shapes.ts'
import { pairLane, type SitePair, sitePair } from './core/lanes.ts'

/** Whoever copies tells of it four times a second. */
const SILENT_MS = 5_000
/** Another one's echoes are taken when those that counted have not come for so long. */
const LEADS_MS = 1_500
/** Samples come every quarter of a second, sometimes a little sooner. */
const STEP_SLACK_MS = 50
/** Pairs at once: those of 45 sites. The one not told of for longest goes. */
const PAIRS_MAX = 1024
/** Echoes of one step; there are ten a second. */
const ECHOES_MAX = 256
/** So long after the last bytes of mounts copies keep out of their way (as the controller does). */
const YIELDS_MS = 2_000
/** A line that nobody told of is taken for one that is measured again after so long. */
const DEAF_MS = 600_000
/** Whether two sites are measured changes when nodes come and go. */
const MEASURED_MS = 30_000
/** What is told to people is the mean of so long. */
const SHOWN_S = 5

interface Gathered {
  /** Beyond the base of the way that they came on. */
  queuesMs: number[]
  lost: number
  backgroundBytes: number
  foregroundBytes: number
}
const nothing = (): Gathered => ({ queuesMs: [], lost: 0, backgroundBytes: 0, foregroundBytes: 0 })

interface Line {
  readonly lane: string
  state: ThrottleState
  gathered: Gathered
  steppedMs: number
  /** With echoes. */
  heardMs: number
  /** Something is copied over it since then. */
  copiedMs: number | undefined
  /** Until then nobody is expected to measure it. */
  deafUntilMs: number
  /** Whose echoes count, on which path, and when they came. */
  leader: { who: string; epoch: number; atMs: number }
  baseMs: number | undefined
  queueMs: number | undefined
  /** By the second. */
  readonly shown: Map<number, { background: number; foreground: number }>
}

export interface LineRate {
  readonly bytesPerSecond: number
  /** Mounts use the line; what was measured; nothing was yet, and this is what it begins with. */
  readonly by: 'mounts' | 'line' | 'start'
}

/** What one chunkserver has told of one of its ways. */
export interface LineSample extends Pick<WaySeen, 'echoes' | 'backgroundBytes' | 'foregroundBytes'> {
  readonly a: string
  readonly b: string
  /** Names the way. */
  readonly who: string
}

export class LineRates {
  readonly #clock: Clock
  readonly #isMeasured: (a: string, b: string) => boolean
  /** The one told of last at the end. */
  readonly #lines = new Map<string, Line>()
  readonly #measured = new Map<string, { readonly is: boolean; readonly atMs: number }>()

  /** `isMeasured`: whether nodes of the two sites know how far they are from each other. */
  constructor(clock: Clock, isMeasured: (a: string, b: string) => boolean) {
    this.#clock = clock
    this.#isMeasured = isMeasured
  }

  /** undefined: nobody measures it. */
  rate(a: string, b: string): LineRate | undefined {
    const pair = sitePair(a, b)
    const line = this.#lines.get(pairLane(pair))
    const nowMs = this.#clock.monotonicMs()
    if (line === undefined)
      return this.#canBeMeasured(pair, nowMs) ? { bytesPerSecond: START_BYTES_PER_S, by: 'start' } : undefined
    const { bytesPerS, foregroundAtMs } = line.state
    if (nowMs - line.heardMs <= SILENT_MS)
      return { bytesPerSecond: bytesPerS, by: nowMs - foregroundAtMs < YIELDS_MS ? 'mounts' : 'line' }
    if (isDeaf(line, nowMs)) return undefined
    return { bytesPerSecond: resumed(line.state, nowMs).bytesPerS, by: 'start' }
  }

  /** Something is copied over it. */
  begins(pair: SitePair): void {
    const nowMs = this.#clock.monotonicMs()
    const known = this.#lines.get(pairLane(pair))
    if (known === undefined && !this.#canBeMeasured(pair, nowMs)) return
    const line = known ?? this.#lineOf(pair, nowMs)
    line.copiedMs ??= nowMs
  }
  /** Nothing is copied over it any more. */
  ended(pair: SitePair): void {
    const line = this.#lines.get(pairLane(pair))
    if (line === undefined) return
    const nowMs = this.#clock.monotonicMs()
    if (isDeaf(line, nowMs)) line.deafUntilMs = Math.max(line.deafUntilMs, nowMs + DEAF_MS)
    line.copiedMs = undefined
  }

  #canBeMeasured(pair: SitePair, nowMs: number): boolean {
    const lane = pairLane(pair)
    const known = this.#measured.get(lane)
    if (known !== undefined && nowMs - known.atMs < MEASURED_MS) return known.is
    if (this.#measured.size >= PAIRS_MAX) this.#measured.clear()
    const is = this.#isMeasured(pair.a, pair.b)
    this.#measured.set(lane, { is, atMs: nowMs })
    return is
  }

  /**
   * `limitBytesPerS`: what may go at most, whatever the line carries; `urgency`: of what is copied over it now. Answers whether the
   * line is steered.
   */
  take(sample: LineSample, urgency: Urgency, limitBytesPerS: number | undefined): boolean {
    const nowMs = this.#clock.monotonicMs()
    const pair = sitePair(sample.a, sample.b)
    const known = this.#lines.get(pairLane(pair))
    const { echoes } = sample
    const isMeasured = echoes?.baseUs !== undefined
    if (!isMeasured && (known === undefined || nowMs - known.heardMs > SILENT_MS)) return false
    const line = known ?? this.#lineOf(pair, nowMs)
    if (echoes !== undefined && isMeasured) this.#heard(line, sample.who, echoes, nowMs)
    const { gathered } = line
    gathered.backgroundBytes += sample.backgroundBytes
    gathered.foregroundBytes += sample.foregroundBytes
    show(line.shown, sample, nowMs)
    if (nowMs - line.steppedMs < STEP_MS - STEP_SLACK_MS) return true
    const { baseMs = 0 } = line
    const rttsMs = gathered.queuesMs.map((queueMs) => baseMs + queueMs)
    if (rttsMs.length > 0) line.queueMs = Math.min(...gathered.queuesMs)
    const { lost: lostProbes, backgroundBytes, foregroundBytes } = gathered
    line.state = step(line.state, {
      ...{ nowMs, epoch: line.state.epoch, baseMs: line.baseMs, rttsMs, lostProbes, backgroundBytes, foregroundBytes },
      ...{ urgency, limitBytesPerS },
    })
    line.gathered = nothing()
    line.steppedMs = nowMs
    return true
  }

  view(a: string, b: string): LineReport | undefined {
    const line = this.#lines.get(pairLane(sitePair(a, b)))
    const nowMs = this.#clock.monotonicMs()
    if (line?.baseMs === undefined || nowMs - line.heardMs > SILENT_MS) return undefined
    const last = Math.floor(nowMs / 1000)
    let [background, foreground] = [0, 0]
    for (const [second, moved] of line.shown) {
      if (second >= last || second < last - SHOWN_S) continue
      background += moved.background
      foreground += moved.foreground
    }
    return {
      ...{ baseMs: line.baseMs, queueMs: line.queueMs ?? null },
      backgroundBytesPerSecond: Math.round(background / SHOWN_S),
      foregroundBytesPerSecond: Math.round(foreground / SHOWN_S),
      carriesBytesPerSecond: capacityOf(line.state) ?? null,
    }
  }

  #heard(line: Line, who: string, { epoch, baseUs, rttsUs, lost }: WayEchoes, nowMs: number): void {
    if (nowMs - line.heardMs > SILENT_MS) {
      line.state = resumed(line.state, nowMs)
      line.gathered = nothing()
    }
    const { leader } = line
    if (leader.who !== who && nowMs - leader.atMs <= LEADS_MS) return
    // The same way by another path: what was known of it is over.
    if (leader.who === who && leader.epoch !== epoch) line.state = newThrottle(nowMs, line.state.epoch + 1)
    line.leader = { who, epoch, atMs: nowMs }
    line.heardMs = nowMs
    line.deafUntilMs = Number.NEGATIVE_INFINITY
    const baseMs = baseUs! / 1000
    line.baseMs = baseMs
    const { gathered } = line
    gathered.lost += lost
    for (const us of rttsUs)
      if (gathered.queuesMs.length < ECHOES_MAX) gathered.queuesMs.push(Math.max(0, us / 1000 - baseMs))
    this.#lines.delete(line.lane)
    this.#lines.set(line.lane, line)
  }

  #lineOf(pair: SitePair, nowMs: number): Line {
    const lane = pairLane(pair)
    const known = this.#lines.get(lane)
    if (known !== undefined) return known
    const [longest] = this.#lines.keys()
    if (this.#lines.size >= PAIRS_MAX && longest !== undefined) this.#lines.delete(longest)
    const line: Line = {
      ...{ lane, state: newThrottle(nowMs), gathered: nothing(), steppedMs: nowMs - STEP_MS },
      ...{ heardMs: Number.NEGATIVE_INFINITY, copiedMs: undefined, deafUntilMs: Number.NEGATIVE_INFINITY },
      leader: { who: '', epoch: 0, atMs: Number.NEGATIVE_INFINITY },
      ...{ baseMs: undefined, queueMs: undefined, shown: new Map() },
    }
    this.#lines.set(lane, line)
    return line
  }
}

/** Something is copied, and nobody tells of it; or it was so a while ago. */
const isDeaf = ({ copiedMs, heardMs, deafUntilMs }: Line, nowMs: number): boolean =>
  nowMs < deafUntilMs || (copiedMs !== undefined && nowMs - Math.max(copiedMs, heardMs) > SILENT_MS)

function show(
  shown: Line['shown'],
  { backgroundBytes, foregroundBytes }: Pick<WaySeen, 'backgroundBytes' | 'foregroundBytes'>,
  nowMs: number,
): void {
  const now = Math.floor(nowMs / 1000)
  for (const second of shown.keys()) if (second < now - SHOWN_S) shown.delete(second)
  const { background, foreground } = shown.get(now) ?? { background: 0, foreground: 0 }
  shown.set(now, { background: background + backgroundBytes, foreground: foreground + foregroundBytes })
}
