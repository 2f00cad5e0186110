/*
 * A line with a buffer before it, in place of the network: background at the rate that the throttle gives, the other traffic as told,
 * probes that wait in the same queue. Steps of five milliseconds.
 */

import { RttFilter } from '../../src/topology/rtt-filter.ts'
import {
  newThrottle,
  STEP_MS,
  step,
  type ThrottleSample,
  type ThrottleState,
  type Urgency,
} from '../../src/topology/throttle.ts'
import { dice } from './networks.ts'

export const MBIT = 1e6 / 8

export interface Line {
  readonly mbit: number
  readonly baseMs: number
  /** How long the last byte of a full buffer waits. */
  readonly bufferMs: number
  readonly lossRate?: number
  readonly seed?: number
}

export interface Traffic {
  /** What background work would send if it were let. */
  readonly demandMbit?: (second: number) => number
  /** Of our own mounts: seen by its bytes. */
  readonly foregroundMbit?: (second: number) => number
  /** Of others on the same line: seen by the queue alone. */
  readonly strangerMbit?: (second: number) => number
  readonly urgency?: Urgency
  readonly limit?: (second: number) => number | undefined
  readonly baseMs?: (second: number) => number
  /** From second to second the machine is busy with something else: answers wait until then. */
  readonly stalls?: readonly (readonly [number, number])[]
}

export interface Moment {
  readonly second: number
  readonly queueMs: number
  /** Through the line since the last moment. */
  readonly backgroundMbit: number
  readonly foregroundMbit: number
  readonly strangerMbit: number
  readonly state: ThrottleState
  readonly baseMs: number | undefined
}

const TICK_MS = 5
const PROBE_MS = 125

/** A moment for each step of the throttle; or of `control`, which is told what the throttle would be, and answers its rate. */
export function run(
  line: Line,
  traffic: Traffic,
  seconds: number,
  control?: (sample: ThrottleSample) => number,
): Moment[] {
  const random = dice(line.seed ?? 1)
  const bytesPerMs = (line.mbit * MBIT) / 1000
  const filter = new RttFilter()
  const moments: Moment[] = []
  let state = newThrottle(0)
  let queue = 0
  const acks: { atMs: number; background: number; foreground: number }[] = []
  const probes: { atMs: number; rttMs: number | undefined }[] = []
  let through = { background: 0, foreground: 0, stranger: 0 }
  for (let nowMs = 0; nowMs < seconds * 1000; nowMs += TICK_MS) {
    const second = nowMs / 1000
    const baseMs = traffic.baseMs?.(second) ?? line.baseMs
    const demand = (traffic.demandMbit?.(second) ?? Number.POSITIVE_INFINITY) * MBIT
    const offered = {
      background: (Math.min(demand, state.bytesPerS) * TICK_MS) / 1000,
      foreground: ((traffic.foregroundMbit?.(second) ?? 0) * MBIT * TICK_MS) / 1000,
      stranger: ((traffic.strangerMbit?.(second) ?? 0) * MBIT * TICK_MS) / 1000,
    }
    const all = offered.background + offered.foreground + offered.stranger
    // What finds the buffer full is lost, of everybody's alike.
    const room = line.bufferMs * bytesPerMs + TICK_MS * bytesPerMs - queue
    const taken = all === 0 ? 0 : Math.min(1, room / all)
    queue = Math.max(0, queue + all * taken - TICK_MS * bytesPerMs)
    const queueMs = queue / bytesPerMs
    // Lost segments are sent again; they are not acknowledged the first time.
    const kept = taken * (1 - (line.lossRate ?? 0))
    const heard = (atMs: number): number =>
      (traffic.stalls ?? []).reduce((ms, [from, to]) => (ms > from * 1000 && ms < to * 1000 ? to * 1000 : ms), atMs)
    acks.push({
      atMs: heard(nowMs + baseMs + queueMs),
      background: offered.background * kept,
      foreground: offered.foreground * kept,
    })
    through = {
      background: through.background + offered.background * kept,
      foreground: through.foreground + offered.foreground * kept,
      stranger: through.stranger + offered.stranger * kept,
    }
    if (nowMs % PROBE_MS === 0) {
      const lost = random() > taken || random() < (line.lossRate ?? 0)
      const rttMs = heard(nowMs + baseMs + queueMs - 0.4 * Math.log(1 - random())) - nowMs
      probes.push({ atMs: nowMs + (lost ? 2 * rttMs : rttMs), rttMs: lost ? undefined : rttMs })
    }
    if (nowMs % STEP_MS !== 0 || nowMs === 0) continue
    const due = <T extends { atMs: number }>(list: T[]): T[] => {
      const came = list.filter((one) => one.atMs <= nowMs)
      list.splice(0, list.length, ...list.filter((one) => one.atMs > nowMs))
      return came
    }
    const answers = due(probes).map((one) => one.rttMs)
    for (const rttMs of answers) filter.round(nowMs, 0, [rttMs])
    const acked = due(acks)
    const sample: ThrottleSample = {
      nowMs,
      epoch: 0,
      baseMs: filter.baseMs(nowMs),
      rttsMs: answers.filter((ms) => ms !== undefined),
      lostProbes: answers.filter((ms) => ms === undefined).length,
      backgroundBytes: acked.reduce((sum, one) => sum + one.background, 0),
      foregroundBytes: acked.reduce((sum, one) => sum + one.foreground, 0),
      urgency: traffic.urgency ?? 'behind',
      limitBytesPerS: traffic.limit?.(second),
    }
    state = control === undefined ? step(state, sample) : { ...state, bytesPerS: control(sample) }
    const mbit = (bytes: number): number => bytes / MBIT / (STEP_MS / 1000)
    moments.push({
      second,
      queueMs,
      backgroundMbit: mbit(through.background),
      foregroundMbit: mbit(through.foreground),
      strangerMbit: mbit(through.stranger),
      state,
      baseMs: filter.baseMs(nowMs),
    })
    through = { background: 0, foreground: 0, stranger: 0 }
  }
  return moments
}

export const between = (moments: readonly Moment[], from: number, to: number): Moment[] =>
  moments.filter(({ second }) => second > from && second <= to)
export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
export function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!
}
