/*
 * From measured paths to choices: which site is a client's own, in what order copies are read, and when the next one is asked
 * as well. Places decide first, costs after: what is near by place stays first unless another is clearly quicker, so that
 * two copies that are equally near do not take turns with every probe.
 */

import { STEPS } from './read-rank.ts'
import type { PathView } from './rtt-filter.ts'

/** Another site has to be nearer by a third and by two milliseconds, three times in a row. */
const NEARER_SHARE = 2 / 3
const NEARER_MS = 2
export const SITE_ROUNDS = 3

export interface ClientSite {
  readonly site: string | undefined
  readonly candidate: string | undefined
  /** How often in a row the candidate was nearer. */
  readonly rounds: number
}

export const NO_CLIENT_SITE: ClientSite = { site: undefined, candidate: undefined, rounds: 0 }

/**
 * The site of a client in whose own place there is no chunkserver: the one with the smallest median of the distances to its
 * chunkservers. To be asked four times a minute, so that a client that has moved has its new site within one.
 */
export function siteOfClient(state: ClientSite, toSites: ReadonlyMap<string, readonly number[]>): ClientSite {
  let best: { site: string; ms: number } | undefined
  for (const [site, distances] of [...toSites].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const ms = median(distances)
    if (ms !== undefined && (best === undefined || ms < best.ms)) best = { site, ms }
  }
  // Nothing is known: it is where it was.
  if (best === undefined) return { ...state, candidate: undefined, rounds: 0 }
  const { site } = best
  if (state.site === undefined) return { site, candidate: undefined, rounds: 0 }
  const ownMs = median(toSites.get(state.site) ?? [])
  const nearer = ownMs === undefined || (best.ms <= ownMs * NEARER_SHARE && ownMs - best.ms >= NEARER_MS)
  if (site === state.site || !nearer) return { site: state.site, candidate: undefined, rounds: 0 }
  const rounds = state.candidate === site ? state.rounds + 1 : 1
  if (rounds >= SITE_ROUNDS) return { site, candidate: undefined, rounds: 0 }
  return { site: state.site, candidate: site, rounds }
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1
    ? sorted[half]
    : sorted.length === 0
      ? undefined
      : (sorted[half - 1]! + sorted[half]!) / 2
}

/** Of a path of which nothing is known: after all that are known. */
const UNKNOWN_MS = 10_000
/** A lost segment costs a timeout, which is what the variation is for (RFC 6298). */
const LOSSY = 0.02

export type ReadPath = Pick<PathView, 'srttMs' | 'rttvarMs' | 'lossRate'>

/** What a read is likely to wait for on this path, beside the reading itself. */
export function readCostMs(path: ReadPath | undefined, queueMs = 0): number {
  if (path?.srttMs === undefined) return UNKNOWN_MS + queueMs
  const variation = (path.lossRate ?? 0) > LOSSY ? 4 * (path.rttvarMs ?? 0) : 0
  return path.srttMs + variation + queueMs
}

/** The first by place goes first unless it is worse than the best by a quarter and a millisecond. */
const WORSE_SHARE = 1.25
const WORSE_MS = 1

/** Copies by rank (0: nearest by place), within a rank by cost; by cost alone where the ranks mislead. */
export function readOrder<C>(copies: readonly C[], rankOf: (copy: C) => number, costOf: (copy: C) => number): C[] {
  const known = copies.map((copy, index) => ({ copy, index, rank: rankOf(copy), cost: costOf(copy) }))
  const byPlace = known.toSorted((a, b) => a.rank - b.rank || a.cost - b.cost || a.index - b.index)
  const first = byPlace[0]
  const best = Math.min(...known.map(({ cost }) => cost))
  const misled = first !== undefined && first.cost > best * WORSE_SHARE + WORSE_MS
  const order = misled ? known.toSorted((a, b) => a.cost - b.cost || a.rank - b.rank || a.index - b.index) : byPlace
  return order.map(({ copy }) => copy)
}

export interface Copy {
  /** By place, 0: the same machine. */
  readonly distance: number
  readonly costMs: number
}

/**
 * By the copies' index: the distance and the step within it that they are read by (read-rank.ts), so that whoever sorts by these reads
 * in the order above. What is about as quick has the same of both, so that reads are shared out among equals.
 */
export function readSteps(copies: readonly Copy[]): { distance: number; step: number }[] {
  const indices = copies.map((_, index) => index)
  const order = readOrder(
    indices,
    (i) => copies[i]!.distance,
    (i) => copies[i]!.costMs,
  )
  const found: { distance: number; step: number }[] = []
  const nearest = Math.min(...copies.map((copy) => copy.distance))
  // The quickest counts as the nearest, wherever it stands, and so does what is as quick.
  const misled = order.length > 0 && copies[order[0]!]!.distance > nearest
  let distance = nearest
  let step = 0
  let leadMs = copies[order[0]!]?.costMs ?? 0
  for (const i of order) {
    const copy = copies[i]!
    const isSlower = copy.costMs > leadMs * WORSE_SHARE + WORSE_MS
    const isFarther = copy.distance > distance && (isSlower || !misled)
    if (isFarther || isSlower) {
      step = isFarther ? 0 : Math.min(step + 1, STEPS - 1)
      distance = isFarther ? copy.distance : distance
      leadMs = copy.costMs
    }
    found[i] = { distance, step }
  }
  return found
}

/** When nothing has come of a read by then, the next copy is asked as well. `usualMs`: what 95 of 100 reads of that server take. */
export function hedgeAfterMs(path: ReadPath | undefined, usualMs: number | undefined): number {
  return Math.max(HEDGE_MIN_MS, 3 * (path?.srttMs ?? 0), usualMs ?? HEDGE_UNKNOWN_MS)
}
/** Not before that: a pause of garbage collection, a disk that seeks. */
const HEDGE_MIN_MS = 25
/** Of a server that has not answered enough reads to say what is usual: a disk that seeks and has others waiting. */
const HEDGE_UNKNOWN_MS = 100
