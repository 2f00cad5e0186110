/*
 * Bounds in bytes per second of what is moved in the background: of each disk, each chunkserver, and between each two sites.
 * Pure. An order is admitted when every lane that it uses has been paid for, and pays for all of its bytes at once; so a lane is
 * given to one large order after the other, each at the whole rate, and to many small ones together. One that ends before its
 * time, because it failed or little was left to do, gives back what it cannot have used.
 *
 * What is endangered waits only for others of its kind, and the rest waits for it: on average the bound holds, and for as long
 * as an order runs that was begun before, there may be twice as much.
 */

import type { RepairDisk } from './repair.ts'

export interface LaneRates {
  /** 0: no bound. */
  readonly diskBytesPerSecond: number
  readonly nodeBytesPerSecond: number
  /** Infinite: no bound. 0: nothing goes, whatever it is. */
  readonly betweenSites: (a: string, b: string) => number
}

export interface Share {
  readonly disk: RepairDisk
  readonly bytes: number
}

export interface Load {
  readonly reads: readonly Share[]
  readonly writes: readonly Share[]
  /** All of it goes through the chunkserver of this disk, which carries the order out. */
  readonly via: RepairDisk
  /** The bytes that the chunkserver's own pace counts. */
  readonly pacedBytes: number
  readonly urgent: boolean
  /** Nobody waits for it. */
  readonly lazy?: boolean
}

/** What an order carries between two sites. */
export interface Crossing {
  readonly pair: SitePair
  readonly bytes: number
  /** Of the pair, when the order began; infinite: none. */
  readonly rate: number
}

/** What an order has paid for. */
export interface Paid {
  /** 0: as fast as it goes. */
  readonly bytesPerSecond: number
  readonly costs: readonly { readonly lane: string; readonly ms: number }[]
  readonly crossings: readonly Crossing[]
  readonly urgent: boolean
  readonly lazy?: boolean
  readonly atMs: number
  /** How long it takes at its pace. */
  readonly forMs: number
  /** The bytes that its pace counts. */
  readonly pacedBytes: number
}
export const FREE: Paid = {
  bytesPerSecond: 0,
  costs: [],
  crossings: [],
  urgent: false,
  atMs: 0,
  forMs: 0,
  pacedBytes: 0,
}

export type Admission = Paid | Refused
export interface Refused {
  readonly waitsFor: string
  readonly waitMs: number
  /** When it waits for what may go between two sites. */
  readonly crossing?: Crossing
}

/** Two sites in order; '?' is where nobody has said. */
export interface SitePair {
  readonly a: string
  readonly b: string
}
export const sitePair = (one: string, other: string): SitePair =>
  one < other ? { a: one, b: other } : { a: other, b: one }
export const pairLane = ({ a, b }: SitePair): string => `sites ${a} and ${b}`

interface Lane {
  /** Paid for until then: by what is endangered, and by all. */
  urgentUntilMs: number
  untilMs: number
}

/** What a pace lets through at once, as time: counted as used by an order that ended at once. */
const BURST_MS = 250
/** Where nothing goes, it is asked again after so long. */
const CLOSED_MS = 1_000
/** A lane counts as free a little early: whoever asks comes by not more often. */
const SLACK_MS = 100
/** Lanes in memory before those that are free are forgotten: more than disks and pairs of sites in use at once. */
const LANES_MAX = 4_096

export class Lanes {
  readonly #lanes = new Map<string, Lane>()

  /** Takes all that the load needs, or nothing. */
  admit(load: Load, rates: LaneRates, nowMs: number): Admission {
    const uses = usesOf(load, rates)
    const crossings = [...uses.values()].flatMap(({ pair, bytes, rate }) =>
      pair === undefined ? [] : [{ pair, bytes, rate }],
    )
    let longestMs = 0
    for (const [name, { bytes, rate, pair }] of uses) {
      const lane = this.#lanes.get(name)
      const closed = rate === 0 ? nowMs + CLOSED_MS : 0
      const paidMs = (load.urgent ? lane?.urgentUntilMs : lane?.untilMs) ?? 0
      const untilMs = rate === Number.POSITIVE_INFINITY ? 0 : Math.max(closed, paidMs)
      if (untilMs > nowMs + SLACK_MS) {
        const crossing = pair === undefined ? {} : { crossing: { pair, bytes, rate } }
        return { waitsFor: name, waitMs: untilMs - nowMs, ...crossing }
      }
      longestMs = Math.max(longestMs, (bytes * 1000) / rate)
    }
    if (this.#lanes.size > LANES_MAX)
      for (const [name, lane] of this.#lanes) if (lane.untilMs <= nowMs) this.#lanes.delete(name)
    const bounded = [...uses].filter(([, { rate }]) => rate !== Number.POSITIVE_INFINITY)
    const costs = bounded.map(([lane, { bytes, rate }]) => ({ lane, ms: (bytes * 1000) / rate }))
    for (const { lane, ms } of costs) this.#charge(lane, ms, load.urgent, nowMs)
    const { urgent, pacedBytes } = load
    const bytesPerSecond = paceOf(pacedBytes, longestMs)
    const { lazy = false } = load
    return { bytesPerSecond, costs, crossings, urgent, lazy, atMs: nowMs, forMs: longestMs, pacedBytes }
  }

  /** An order under way goes on at another pace (repaced): what it has not used of the ways between sites is given back. */
  paced(before: Paid, after: Paid): void {
    const left = leftOf(before, after.atMs)
    const ways = new Set(before.crossings.map(({ pair }) => pairLane(pair)))
    for (const { lane, ms } of before.costs)
      if (ways.has(lane)) this.#charge(lane, -ms * left, before.urgent, after.atMs)
    for (const { lane, ms } of after.costs) if (ways.has(lane)) this.#charge(lane, ms, after.urgent, after.atMs)
  }

  /** Below 0: gives back. */
  #charge(name: string, ms: number, urgent: boolean, nowMs: number): void {
    const lane = this.#lanes.get(name) ?? { urgentUntilMs: 0, untilMs: 0 }
    const charged = (untilMs: number): number => (ms < 0 ? untilMs : Math.max(untilMs, nowMs)) + ms
    lane.untilMs = charged(lane.untilMs)
    if (urgent) lane.urgentUntilMs = charged(lane.urgentUntilMs)
    this.#lanes.set(name, lane)
  }

  /** The order has ended: in the time that it took it cannot have moved more than its pace let through. */
  ended({ costs, urgent, atMs, forMs }: Paid, nowMs: number): void {
    const unused = 1 - (nowMs - atMs + BURST_MS) / forMs
    if (!(unused > 0)) return
    for (const { lane: name, ms } of costs) {
      const lane = this.#lanes.get(name)
      if (lane === undefined) continue
      lane.untilMs -= ms * unused
      if (urgent) lane.urgentUntilMs -= ms * unused
    }
  }
}

/** One that runs for longer than it has paid for has something to move all the same, and is not let go without a pace. */
const LEFT_LEAST = 1 / 16
/** Without a pace it may be at its beginning or its end. */
const leftOf = ({ forMs, atMs }: Paid, nowMs: number): number =>
  forMs === 0 ? 1 : Math.min(1, Math.max(LEFT_LEAST, 1 - (nowMs - atMs) / forMs))

/** What is left of it between two sites. */
export const leftOver = (paid: Paid, lane: string, nowMs: number): number =>
  leftOf(paid, nowMs) * (paid.crossings.find(({ pair }) => pairLane(pair) === lane)?.bytes ?? 0)

/**
 * What is left of an order, at the rates between sites of now, which are more than 0. Those under way between the same two share
 * them by what each has left (`running`, the order among them), so that together they are no faster and end together.
 */
export function repaced(
  paid: Paid,
  { betweenSites }: Pick<LaneRates, 'betweenSites'>,
  running: readonly Paid[],
  nowMs: number,
): Paid {
  const left = leftOf(paid, nowMs)
  const crossings = paid.crossings.map(({ pair, bytes }) => ({
    ...{ pair, bytes: bytes * left, rate: betweenSites(pair.a, pair.b) },
  }))
  const ways = new Set(crossings.map(({ pair }) => pairLane(pair)))
  const others = paid.costs.filter(({ lane }) => !ways.has(lane)).map(({ lane, ms }) => ({ lane, ms: ms * left }))
  const bounded = crossings.filter(({ rate }) => rate !== Number.POSITIVE_INFINITY)
  const own = bounded.map(({ pair, bytes, rate }) => ({ lane: pairLane(pair), ms: (bytes * 1000) / rate }))
  const together = bounded.map(({ pair, rate }) => {
    const bytes = running.reduce((sum, one) => sum + leftOver(one, pairLane(pair), nowMs), 0)
    return (bytes * 1000) / rate
  })
  const forMs = Math.max(0, ...others.map(({ ms }) => ms), ...together)
  const pacedBytes = paid.pacedBytes * left
  const bytesPerSecond = paceOf(pacedBytes, forMs)
  return { ...paid, bytesPerSecond, costs: [...others, ...own], crossings, atMs: nowMs, forMs, pacedBytes }
}

const paceOf = (bytes: number, forMs: number): number =>
  forMs === 0 ? 0 : Math.max(1, Math.floor((bytes * 1000) / forMs))

interface Use {
  readonly bytes: number
  readonly rate: number
  readonly pair?: SitePair
}

function usesOf(load: Load, rates: LaneRates): Map<string, Use> {
  const uses = new Map<string, Use>()
  const use = (name: string, bytes: number, rate: number): void => {
    if (rate > 0 && bytes > 0) uses.set(name, { bytes: (uses.get(name)?.bytes ?? 0) + bytes, rate })
  }
  const siteOf = (d: RepairDisk): string => d.location.site ?? '?'
  for (const { disk: d, bytes } of [...load.reads, ...load.writes]) {
    use(`disk ${d.disk}`, bytes, rates.diskBytesPerSecond)
    use(`chunkserver ${d.node}`, bytes, rates.nodeBytesPerSecond)
    const pair = sitePair(siteOf(d), siteOf(load.via))
    if (pair.a === pair.b || bytes === 0) continue
    const name = pairLane(pair)
    const rate = uses.get(name)?.rate ?? rates.betweenSites(pair.a, pair.b)
    uses.set(name, { bytes: (uses.get(name)?.bytes ?? 0) + bytes, rate, pair })
  }
  return uses
}

/** The same from, or to, each of them. */
export const evenly = (disks: readonly RepairDisk[], bytes: number): Share[] => disks.map((disk) => ({ disk, bytes }))
