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
  readonly diskBytesPerSecond: number
  readonly nodeBytesPerSecond: number
  readonly sitesBytesPerSecond: number
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
}

/** What an order has paid for. */
export interface Paid {
  /** 0: as fast as it goes. */
  readonly bytesPerSecond: number
  readonly costs: readonly { readonly lane: string; readonly ms: number }[]
  readonly urgent: boolean
  readonly atMs: number
  /** How long it takes at its pace. */
  readonly forMs: number
}
export const FREE: Paid = { bytesPerSecond: 0, costs: [], urgent: false, atMs: 0, forMs: 0 }

export type Admission = Paid | { readonly waitsFor: string; readonly waitMs: number }

interface Lane {
  /** Paid for until then: by what is endangered, and by all. */
  urgentUntilMs: number
  untilMs: number
}

/** What a pace lets through at once, as time: counted as used by an order that ended at once. */
const BURST_MS = 250
/** A lane counts as free a little early: whoever asks comes by not more often. */
const SLACK_MS = 100
/** Lanes in memory before those that are free are forgotten: more than disks and pairs of sites in use at once. */
const LANES_MAX = 4_096

export class Lanes {
  readonly #lanes = new Map<string, Lane>()

  /** Takes all that the load needs, or nothing. */
  admit(load: Load, rates: LaneRates, nowMs: number): Admission {
    const uses = usesOf(load, rates)
    let longestMs = 0
    for (const [name, { bytes, rate }] of uses) {
      const lane = this.#lanes.get(name)
      const untilMs = (load.urgent ? lane?.urgentUntilMs : lane?.untilMs) ?? 0
      if (untilMs > nowMs + SLACK_MS) return { waitsFor: name, waitMs: untilMs - nowMs }
      longestMs = Math.max(longestMs, (bytes * 1000) / rate)
    }
    if (this.#lanes.size > LANES_MAX)
      for (const [name, lane] of this.#lanes) if (lane.untilMs <= nowMs) this.#lanes.delete(name)
    const costs = [...uses].map(([lane, { bytes, rate }]) => ({ lane, ms: (bytes * 1000) / rate }))
    for (const { lane: name, ms } of costs) {
      const lane = this.#lanes.get(name) ?? { urgentUntilMs: 0, untilMs: 0 }
      lane.untilMs = Math.max(lane.untilMs, nowMs) + ms
      if (load.urgent) lane.urgentUntilMs = Math.max(lane.urgentUntilMs, nowMs) + ms
      this.#lanes.set(name, lane)
    }
    const bytesPerSecond = longestMs === 0 ? 0 : Math.max(1, Math.floor((load.pacedBytes * 1000) / longestMs))
    return { bytesPerSecond, costs, urgent: load.urgent, atMs: nowMs, forMs: longestMs }
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

function usesOf(load: Load, rates: LaneRates): Map<string, { bytes: number; rate: number }> {
  const uses = new Map<string, { bytes: number; rate: number }>()
  const use = (name: string, bytes: number, rate: number): void => {
    if (rate > 0 && bytes > 0) uses.set(name, { bytes: (uses.get(name)?.bytes ?? 0) + bytes, rate })
  }
  const siteOf = (d: RepairDisk): string => d.location.site ?? '?'
  for (const { disk: d, bytes } of [...load.reads, ...load.writes]) {
    use(`disk ${d.disk}`, bytes, rates.diskBytesPerSecond)
    use(`chunkserver ${d.node}`, bytes, rates.nodeBytesPerSecond)
    const sites = [siteOf(d), siteOf(load.via)].sort()
    if (sites[0] !== sites[1]) use(`sites ${sites[0]} and ${sites[1]}`, bytes, rates.sitesBytesPerSecond)
  }
  return uses
}

/** The same from, or to, each of them. */
export const evenly = (disks: readonly RepairDisk[], bytes: number): Share[] => disks.map((disk) => ({ disk, bytes }))
