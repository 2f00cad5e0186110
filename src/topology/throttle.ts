/*
 * How fast background work may send from one site to another: as fast as the line goes while it is ours alone, out of the way as
 * soon as people need it. One step takes what was seen since the last (four a second) and gives the rate for the next.
 *
 * The sign it steers by is the queue before the line, which is what people feel: round trips now, less the least of the last
 * ten minutes (rtt-filter.ts). Losing packets is a sign only where more are lost than always are: random loss is no queue.
 * Bytes count when the receiver has acknowledged them; what was written to a socket says nothing of the line.
 *
 * Three bounds stand above that loop. A share of what the line has shown to carry, less of it while our own mounts use the
 * line: they are seen by their bytes, before a queue can tell. What the operator allows at this hour. And a floor, so that
 * nothing stops for ever on a line that others fill.
 *
 * The loop is LEDBAT's (RFC 6817) with a slow start as that of LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus) and a smaller target, because
 * the people whose line it is sit behind the same queue. Pure: time comes with the sample.
 */

/** endangered: the last copy of something. behind: not all copies yet. rebalance: nobody waits for it. */
export type Urgency = 'endangered' | 'behind' | 'rebalance'

interface UrgencyRow {
  /** Of what the line carries, while nobody else of ours uses it. */
  readonly share: number
  /** While mounts send to the same site. */
  readonly shareBeside: number
  /** The queue that is put up with. */
  readonly targetMs: number
}
/** At nine tenths the queue is empty most of the time, so that the round trip without a queue stays known. */
const urgencies: Readonly<Record<Urgency, UrgencyRow>> = {
  endangered: { share: 1, shareBeside: 0.5, targetMs: 60 },
  behind: { share: 0.9, shareBeside: 0.3, targetMs: 25 },
  rebalance: { share: 0.3, shareBeside: 0.1, targetMs: 25 },
}

/** 2 Mbit/s: a chunk in five minutes, and no more than a video call beside it. */
export const FLOOR_BYTES_PER_S = 256 * 1024
export const START_BYTES_PER_S = 1024 * 1024
/** A step is to be made so often. */
export const STEP_MS = 250
const SECOND_MS = 1000
/** The least of so long is the queue that stands (as CoDel has it): single probes are late for reasons of their own. */
const LOOK_MS = 500
/** A few hundred requests of a mount are not traffic that the line has to be cleared for. */
const FOREGROUND_BYTES_PER_S = 16 * 1024
const FOREGROUND_MS = 2000
const SEEN_MS = 2000
/** Halving again before what the last did can be seen would overshoot. */
const HALVE_EVERY_MS = 2000
/** As long as the base remembers. */
const CAPACITY_MS = 600_000
/** So long without an empty queue, and the line is left alone for a moment: while the base still remembers how it was. */
const REMEASURE_MS = 540_000
/** Probes that a judgement of loss is made of, and how much more than usual is too much. */
const LOSS_PROBES = 20
const LOSS_TOO_MUCH = 0.05
const LOSS_USUAL_GAIN = 1 / 512
/** A share is taken of what was seen twice, so long apart: one look may have met a machine that was busy. */
const FULLS = 2
const FULL_APART_MS = 2000
/** How much more than is known of it a full line may show at once. */
const BELIEVED = 1.1
/** Per second, until then and beyond what is known. */
const SEEK = 1.1
/**
 * A line that the full share of does not fill may carry more than was thought. Tried as CUBIC does (RFC 9438): quickly back to
 * what was seen, slowly about there, where a queue is to be noticed while it is short, and quickly on if there is none: after 8
 * seconds the share is all that was seen, after 24 twice that.
 */
const TRY_S = 8
const triedBeyond = (seconds: number): number => 1 + (1 / 9) * (1 + ((seconds - TRY_S) / TRY_S) ** 3)
const SHARE_THAT_SHOWS = 0.9
/** Per second, from 1 MB/s to 300 Mbit/s in nine. Doubling builds a queue of 300 ms before the first probe can tell. */
const SLOW_START = 1.5

export interface ThrottleSample {
  readonly nowMs: number
  /** Of the path: with another one everything begins again. */
  readonly epoch: number
  /** The round trip without queues. undefined: not measured yet, the rate stays. */
  readonly baseMs: number | undefined
  /** Of the probes that were answered since the last step, which were sent five to ten a second. */
  readonly rttsMs: readonly number[]
  readonly lostProbes: number
  /** Since the last step, acknowledged by the receivers: of background work, and of mounts and everything else of ours. */
  readonly backgroundBytes: number
  readonly foregroundBytes: number
  readonly urgency: Urgency
  /** What the operator allows now (rate-windows.ts). undefined: whatever goes. */
  readonly limitBytesPerS: number | undefined
}

interface Seen {
  readonly atMs: number
  readonly rttsMs: readonly number[]
  readonly lostProbes: number
  readonly backgroundBytes: number
  readonly foregroundBytes: number
}

export interface ThrottleState {
  /** What may be sent now; everything else is memory. */
  readonly bytesPerS: number
  readonly epoch: number
  /** The rate of the loop, without the bounds that hold for the moment. */
  readonly loopBytesPerS: number
  /** That of a second ago: what is acknowledged now was sent by it. */
  readonly loopBefore: number
  readonly slowStart: boolean
  readonly seen: readonly Seen[]
  readonly raisedAtMs: number
  readonly halvedAtMs: number
  readonly foregroundAtMs: number
  /** Full lines that were seen: bytes per second of all our traffic, the most of each minute. */
  readonly full: readonly { readonly atMs: number; readonly bytesPerS: number }[]
  /** How often the line was full since it was first, and when last. */
  readonly fulls: number
  readonly fullAtMs: number
  /** Seconds since then in which the full share of it built no queue. */
  readonly triedS: number
  readonly lossProbes: number
  readonly lossLost: number
  readonly lossUsual: number
  readonly emptyAtMs: number
  readonly leftAloneUntilMs: number
}

export function newThrottle(nowMs: number, epoch = 0): ThrottleState {
  return {
    bytesPerS: START_BYTES_PER_S,
    epoch,
    loopBytesPerS: START_BYTES_PER_S,
    loopBefore: START_BYTES_PER_S,
    slowStart: true,
    seen: [],
    raisedAtMs: nowMs,
    halvedAtMs: Number.NEGATIVE_INFINITY,
    foregroundAtMs: Number.NEGATIVE_INFINITY,
    full: [],
    fulls: 0,
    fullAtMs: Number.NEGATIVE_INFINITY,
    triedS: 0,
    lossProbes: 0,
    lossLost: 0,
    lossUsual: 0.01,
    emptyAtMs: nowMs,
    leftAloneUntilMs: Number.NEGATIVE_INFINITY,
  }
}

/**
 * After a silence in which nothing was copied. Half of what the line was seen to carry is let go at once, as it is of who was idle; nothing
 * else of what was seen last says anything of now.
 */
export function resumed(before: ThrottleState, nowMs: number): ThrottleState {
  const full = before.full.filter((one) => nowMs - one.atMs < CAPACITY_MS)
  const fresh = { ...newThrottle(nowMs, before.epoch), lossUsual: before.lossUsual }
  if (full.length === 0) return fresh
  const bytesPerS = Math.max(START_BYTES_PER_S, mostOf(full) / 2)
  const { fulls, fullAtMs } = before
  return {
    ...{ ...fresh, full, fulls, fullAtMs, slowStart: false },
    ...{ bytesPerS, loopBytesPerS: bytesPerS, loopBefore: bytesPerS },
  }
}

/** What may be sent at once: 50 ms of the rate, and never less than a window of a copy. */
export const bucketBytes = (bytesPerS: number): number => Math.max(128 * 1024, bytesPerS / 20)

/** What the line has shown to carry for all our traffic; undefined: it was never full. */
export function capacityOf({ full, triedS }: ThrottleState): number | undefined {
  return full.length === 0 ? undefined : mostOf(full) * triedBeyond(triedS)
}

const mostOf = (full: ThrottleState['full']): number => Math.max(...full.map((one) => one.bytesPerS))

export function step(before: ThrottleState, sample: ThrottleSample): ThrottleState {
  if (sample.epoch !== before.epoch) return step(newThrottle(sample.nowMs, sample.epoch), sample)
  const { nowMs, baseMs } = sample
  const row = urgencies[sample.urgency]
  const state = noted(before, sample)
  if (baseMs === undefined || nowMs < state.leftAloneUntilMs) return bounded(state, sample, row)

  const queueMs = queueOf(state.seen, nowMs - LOOK_MS, baseMs)
  const looked = lookedAt(state, sample, row, queueMs)
  if (nowMs - looked.emptyAtMs > REMEASURE_MS) {
    // The queue that never goes may be ours, and would be taken for the way itself.
    const pauseMs = 4 * baseMs + SECOND_MS
    return bounded({ ...looked, emptyAtMs: nowMs, leftAloneUntilMs: nowMs + pauseMs }, sample, row)
  }
  const judged = lossJudged(looked, sample)
  const lowered = lower(judged, row, queueMs, nowMs)
  if (lowered !== undefined) return bounded(lowered, sample, row)
  if (nowMs - judged.raisedAtMs < SECOND_MS) return bounded(judged, sample, row)
  return bounded(raise(judged, row, sample, queueOf(judged.seen, nowMs - SECOND_MS, baseMs)), sample, row)
}

function noted(state: ThrottleState, sample: ThrottleSample): ThrottleState {
  const { nowMs, rttsMs, lostProbes, backgroundBytes, foregroundBytes } = sample
  const seen = [
    ...state.seen.filter((one) => one.atMs > nowMs - SEEN_MS),
    { atMs: nowMs, rttsMs, lostProbes, backgroundBytes, foregroundBytes },
  ]
  const foreground = rateOf(seen, nowMs, FOREGROUND_MS, (one) => one.foregroundBytes)
  return { ...state, seen, foregroundAtMs: foreground > FOREGROUND_BYTES_PER_S ? nowMs : state.foregroundAtMs }
}

function rateOf(seen: readonly Seen[], nowMs: number, overMs: number, bytesOf: (one: Seen) => number): number {
  let bytes = 0
  let spanMs = STEP_MS
  for (const one of seen) {
    if (one.atMs <= nowMs - overMs) continue
    bytes += bytesOf(one)
    spanMs = Math.max(spanMs, nowMs - one.atMs + STEP_MS)
  }
  // At the beginning there is less to look at.
  return (bytes * 1000) / Math.min(spanMs, overMs)
}

/** The least since then above the base. undefined: nothing was answered. */
function queueOf(seen: readonly Seen[], sinceMs: number, baseMs: number): number | undefined {
  const least = Math.min(...seen.filter((one) => one.atMs > sinceMs).flatMap((one) => one.rttsMs))
  return least === Number.POSITIVE_INFINITY ? undefined : Math.max(0, least - baseMs)
}

/** What the queue says of the line itself: full, or empty. */
function lookedAt(
  state: ThrottleState,
  { nowMs }: ThrottleSample,
  { targetMs }: UrgencyRow,
  queueMs: number | undefined,
): ThrottleState {
  const full = state.full.filter((one) => nowMs - one.atMs < CAPACITY_MS)
  const forgotten = full.length === 0 && state.full.length > 0
  const kept = forgotten ? { ...state, full, fulls: 0, triedS: 0 } : { ...state, full }
  if (queueMs === undefined) return kept
  if (queueMs <= Math.max(2, targetMs / 8)) return { ...kept, emptyAtMs: nowMs }
  if (queueMs <= targetMs / 2) return kept
  // Acknowledgements come in bursts.
  const bytesPerS = rateOf(state.seen, nowMs, SEEN_MS, (one) => one.backgroundBytes + one.foregroundBytes)
  const fulls = nowMs - state.fullAtMs > FULL_APART_MS ? kept.fulls + 1 : kept.fulls
  const last = kept.full.at(-1)
  const sameMinute = last !== undefined && Math.floor(last.atMs / 60_000) === Math.floor(nowMs / 60_000)
  const rows = sameMinute ? kept.full.slice(0, -1) : kept.full
  // What has piled up somewhere comes all at once after a pause, and looks like a wider line.
  const believed = kept.fulls < FULLS ? bytesPerS : Math.min(bytesPerS, BELIEVED * capacityOf(kept)!)
  const most = sameMinute ? Math.max(last.bytesPerS, believed) : believed
  return { ...kept, full: [...rows, { atMs: nowMs, bytesPerS: most }], fulls, fullAtMs: nowMs, triedS: 0 }
}

/** Enough probes gathered: halves when they were lost far more often than usual, three deviations and a twentieth. */
function lossJudged(state: ThrottleState, { rttsMs, lostProbes, nowMs }: ThrottleSample): ThrottleState {
  const probes = state.lossProbes + rttsMs.length + lostProbes
  const lost = state.lossLost + lostProbes
  const usual = state.lossUsual
  if (probes < LOSS_PROBES) return { ...state, lossProbes: probes, lossLost: lost }
  const tooMuch = probes * (usual + LOSS_TOO_MUCH) + 3 * Math.sqrt(probes * usual * (1 - usual))
  const gathered = { ...state, lossProbes: 0, lossLost: 0 }
  if (lost > tooMuch) return nowMs - state.halvedAtMs < HALVE_EVERY_MS ? gathered : halved(gathered, nowMs)
  return { ...gathered, lossUsual: usual + (lost / probes - usual) * Math.min(1, probes * LOSS_USUAL_GAIN) }
}

const halved = (state: ThrottleState, nowMs: number): ThrottleState => ({
  ...state,
  loopBytesPerS: state.loopBytesPerS / 2,
  slowStart: false,
  halvedAtMs: nowMs,
  raisedAtMs: nowMs,
})

/** undefined: there is no reason to. */
function lower(
  state: ThrottleState,
  { targetMs }: UrgencyRow,
  queueMs: number | undefined,
  nowMs: number,
): ThrottleState | undefined {
  if (state.slowStart && !drowned(state.seen, nowMs)) {
    return queueMs !== undefined && queueMs > targetMs / 2 ? leaveSlowStart(state, nowMs) : undefined
  }
  if (drowned(state.seen, nowMs)) return nowMs - state.halvedAtMs < HALVE_EVERY_MS ? state : halved(state, nowMs)
  if (queueMs === undefined || queueMs <= targetMs) return undefined
  if (queueMs > 4 * targetMs) return nowMs - state.halvedAtMs < HALVE_EVERY_MS ? state : halved(state, nowMs)
  const factor = 1 + 0.25 * Math.max(-1, (targetMs - queueMs) / targetMs)
  return { ...state, loopBytesPerS: state.loopBytesPerS * factor, raisedAtMs: nowMs }
}

/** Most probes of the last second did not come back: a full buffer, or no way at all. Chance alone does not do that. */
function drowned(seen: readonly Seen[], nowMs: number): boolean {
  const last = seen.filter((one) => one.atMs > nowMs - SECOND_MS)
  const lost = last.reduce((sum, one) => sum + one.lostProbes, 0)
  return lost >= 3 && lost > last.reduce((sum, one) => sum + one.rttsMs.length, 0)
}

/** The rate was raised past what the line carries: what has come through is the better number. */
function leaveSlowStart(state: ThrottleState, nowMs: number): ThrottleState {
  const delivered = rateOf(state.seen, nowMs, SECOND_MS, (one) => one.backgroundBytes)
  return {
    ...state,
    slowStart: false,
    loopBytesPerS: Math.min(state.loopBytesPerS, 0.8 * delivered),
    halvedAtMs: nowMs,
    raisedAtMs: nowMs,
  }
}

function raise(
  state: ThrottleState,
  row: UrgencyRow,
  { nowMs }: ThrottleSample,
  queueMs: number | undefined,
): ThrottleState {
  const { loopBytesPerS: rate } = state
  const next: ThrottleState = { ...state, raisedAtMs: nowMs, loopBefore: rate }
  // Nothing is known of the last second: every probe of it was lost, or none was sent.
  if (queueMs === undefined) return next
  const used = rateOf(state.seen, nowMs, SECOND_MS, (one) => one.backgroundBytes)
  const capacity = capacityOf(state)
  // What was allowed, by the bounds as well.
  const allowed = Math.min(rate, state.loopBefore, state.bytesPerS)
  if (used < 0.85 * allowed) {
    // Nobody wants that much: it does not grow on air. Half of what the line was seen to carry stays for who begins again.
    const proven = Math.max(1.25 * used, capacity === undefined ? 0 : capacity / 2)
    return { ...next, loopBytesPerS: Math.min(rate, proven) }
  }
  const { targetMs, share } = row
  if (state.slowStart) return { ...next, loopBytesPerS: rate * SLOW_START }
  const empty = queueMs < targetMs / 4
  const far = empty && (capacity === undefined || rate < 0.7 * capacity)
  // After a cut: what the line carried a few minutes ago it will carry again.
  const veryFar = empty && capacity !== undefined && rate < 0.25 * capacity
  const seeking = empty && (state.fulls < FULLS || state.triedS > 1.5 * TRY_S)
  const near = 1 + (0.05 * (targetMs - queueMs)) / targetMs
  const factor = veryFar ? SLOW_START : far ? 1.15 : seeking ? SEEK : near
  // A small share leaves the queue empty whatever the line carries, and proves nothing.
  const atShare = share >= SHARE_THAT_SHOWS && capacity !== undefined && empty && used > 0.85 * share * capacity
  return { ...next, loopBytesPerS: rate * factor, triedS: atShare ? state.triedS + 1 : state.triedS }
}

function bounded(state: ThrottleState, sample: ThrottleSample, row: UrgencyRow): ThrottleState {
  const { nowMs, limitBytesPerS = Number.POSITIVE_INFINITY } = sample
  const capacity = capacityOf(state) ?? Number.POSITIVE_INFINITY
  const share = state.fulls < FULLS ? Number.POSITIVE_INFINITY : capacity * row.share
  // The loop itself stays near what the line carries: it must not run away while something else holds the rate down.
  const loop = Math.max(FLOOR_BYTES_PER_S, Math.min(state.loopBytesPerS, share, limitBytesPerS))
  const beside = nowMs - state.foregroundAtMs < FOREGROUND_MS
  const seenMost = capacity === Number.POSITIVE_INFINITY ? state.loopBytesPerS : capacity
  const most = beside ? row.shareBeside * seenMost : loop
  const alone = nowMs < state.leftAloneUntilMs ? 4 : 1
  // The operator's word is above the floor.
  const bytesPerS = Math.min(limitBytesPerS, Math.max(FLOOR_BYTES_PER_S, Math.min(loop, most) / alone))
  return { ...state, loopBytesPerS: loop, bytesPerS }
}

/**
 * One rate for several senders: each what it asks for as far as that goes round evenly, and what nobody asks for evenly on
 * top, so that one that begins need not wait for the next round.
 */
export function shareOut(bytesPerS: number, demands: readonly number[]): number[] {
  const shares = demands.map(() => 0)
  let left = bytesPerS
  const open = demands.map((_, i) => i).sort((a, b) => demands[a]! - demands[b]!)
  for (const [served, i] of open.entries()) {
    shares[i] = Math.min(demands[i]!, left / (open.length - served))
    left -= shares[i]!
  }
  return shares.map((share) => share + left / demands.length)
}
