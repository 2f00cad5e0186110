/*
 * Which disks get the copies of a chunk. Pure: the map of disks, the wish and chance are arguments, the answer says which
 * disks were chosen and what of the wish could not be met.
 *
 * Two copies are never put on one chunkserver: a chunkserver is the smallest thing that dies as a whole. Among the disks
 * left, the nearest to `near` come first (same host, rack, site, elsewhere); within one distance, chance weighed by room
 * and by how much is being written there already, so that disks of unlike size fill at the same rate and one burst of
 * new chunks spreads. It knows nothing of storage classes: they will narrow the list of disks before it comes here.
 */

import type { DiskId, NodeId } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'

/** Where something stands. What is not known is left out and tells nothing apart. */
export interface Location {
  readonly host: string
  readonly rack?: string
  readonly site?: string
}

export interface PlaceDisk {
  readonly disk: DiskId
  readonly node: NodeId
  readonly location: Location
  /** Reachable, healthy and not to be emptied: may be given new data. */
  readonly usable: boolean
  /** As usable, but for want of room: takes only what may use the reserve. */
  readonly full: boolean
  readonly availableBytes: number
  /** Room beyond that, kept aside for what makes room again and for copies of what is nearly lost. */
  readonly reservedBytes: number
  /** Chunks being written to it now. */
  readonly writing: number
  /** Of the disk and its chunkserver together. */
  readonly labels: ReadonlySet<string>
}

export const NO_LABELS: ReadonlySet<string> = new Set()

export interface PlaceWish {
  readonly copies: number
  /** Bytes of one copy, or what it may grow to. */
  readonly bytes: number
  /**
   * some: it grows as far as there is room. all: it has to fit. reserve: it has to fit, and where nothing else has room it
   * may use what a disk keeps aside, one at a time on each.
   */
  readonly room: 'some' | 'all' | 'reserve'
  readonly near?: Location | undefined
  readonly avoidDisks?: ReadonlySet<DiskId>
  /** Chunkservers that hold a copy already. */
  readonly avoidNodes?: ReadonlySet<NodeId>
}

export interface Placement {
  readonly disks: readonly DiskId[]
  /** Copies that found no place. */
  readonly missing: number
  /** Why: no further chunkserver may take one, or those that may are full. */
  readonly shortOf: 'nothing' | 'servers' | 'space'
}

/** A disk with less than this left is full for new chunks, whatever they will hold: it keeps room for its own records. */
export const FULL_BELOW_BYTES = 4 * 1024 * 1024

/** What a chunk takes beside its data: its header, its checksums, its line in the inventory, rounded up to pages. */
const RECORDS_BYTES = 64 * 1024

/** 0 = the same host … 3 = another site. */
export function distance(a: Location, b: Location): 0 | 1 | 2 | 3 {
  if (a.host === b.host) return 0
  if (a.site !== b.site) return 3
  return a.rack === b.rack ? 1 : 2
}

/** `below(n)` yields an integer in 0 … n−1. */
export function place(disks: readonly PlaceDisk[], wish: PlaceWish, below: (n: number) => number): Placement {
  const nodes = new Set(wish.avoidNodes)
  const allowed = disks.filter((d) => may(d, wish) && !wish.avoidDisks?.has(d.disk) && !nodes.has(d.node))
  const chosen: DiskId[] = []
  for (const d of byLiking(allowed, wish, below)) {
    if (chosen.length === wish.copies) break
    if (nodes.has(d.node)) continue
    nodes.add(d.node)
    chosen.push(d.disk)
  }
  const missing = wish.copies - chosen.length
  const full = allowed.some((d) => !takes(d, wish) && !nodes.has(d.node))
  return { disks: chosen, missing, shortOf: missing === 0 ? 'nothing' : full ? 'space' : 'servers' }
}

/** Those that have room for it, the best first: by room, distance, and chance. */
export function byLiking<D extends PlaceDisk>(
  disks: readonly D[],
  wish: Pick<PlaceWish, 'bytes' | 'room' | 'near'>,
  below: (n: number) => number,
): D[] {
  return disks
    .filter((d) => may(d, wish) && takes(d, wish))
    .map((d) => ({ d, rank: rankOf(d, wish), draw: drawOf(d, below) }))
    .sort((a, b) => a.rank - b.rank || a.draw - b.draw || a.d.disk - b.d.disk)
    .map(({ d }) => d)
}

type Room = Pick<PlaceWish, 'bytes' | 'room' | 'near'>

const may = (d: PlaceDisk, { room }: Pick<PlaceWish, 'room'>): boolean => d.usable || (room === 'reserve' && d.full)

/** For all of it, without what is kept aside. */
const hasRoom = (d: PlaceDisk, bytes: number): boolean =>
  d.usable && d.availableBytes >= Math.max(bytes + RECORDS_BYTES, FULL_BELOW_BYTES)

export function takes(d: PlaceDisk, { room, bytes }: Pick<PlaceWish, 'bytes' | 'room'>): boolean {
  if (room === 'some') return d.usable && d.availableBytes >= FULL_BELOW_BYTES
  return hasRoom(d, bytes) || (room === 'reserve' && reserveOf(d) >= bytes)
}

/** How much the disk takes with what it keeps aside. */
const reserveOf = (d: PlaceDisk): number =>
  (d.usable || d.full) && d.writing === 0 ? d.availableBytes + d.reservedBytes - RECORDS_BYTES : 0

/** The most that `copies` chunkservers (all, when they are fewer) take each, with what their disks keep aside. */
export function mostPerCopy(disks: readonly PlaceDisk[], copies: number): number {
  const rooms = new Map<NodeId, number>()
  for (const d of disks) if (d.usable || d.full) rooms.set(d.node, Math.max(rooms.get(d.node) ?? 0, reserveOf(d)))
  const sorted = [...rooms.values()].sort((a, b) => b - a)
  return Math.max(0, sorted[Math.min(Math.max(1, copies), sorted.length) - 1] ?? 0)
}

/** Every rank is below this. */
export const RANKS = 12

/**
 * Disks that can take all of it and what they are being sent already come before those that may run full on the way, and
 * these before those that have to use what they keep aside.
 */
export function rankOf(d: PlaceDisk, wish: Room): number {
  const roomy = d.availableBytes >= wish.bytes + d.writing * CHUNK_BYTES_MAX
  const room = wish.room !== 'some' && !hasRoom(d, wish.bytes) ? 8 : d.usable && roomy ? 0 : 4
  return room + (wish.near === undefined ? 0 : distance(d.location, wish.near))
}

const DRAW_STEPS = 2 ** 30

/** Weighed sampling without replacement (Efraimidis and Spirakis 2006): the smallest −ln(u)/weight wins. */
export function drawOf(d: PlaceDisk, below: (n: number) => number): number {
  const u = (below(DRAW_STEPS) + 1) / (DRAW_STEPS + 1)
  return (-Math.log(u) * (1 + d.writing)) / Math.max(1, d.availableBytes + d.reservedBytes)
}
