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
  readonly availableBytes: number
  /** Chunks being written to it now. */
  readonly writing: number
}

export interface PlaceWish {
  readonly copies: number
  /** Bytes that one copy may grow to. */
  readonly bytes: number
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

/** 0 = the same host … 3 = another site. */
export function distance(a: Location, b: Location): 0 | 1 | 2 | 3 {
  if (a.host === b.host) return 0
  if (a.site !== b.site) return 3
  return a.rack === b.rack ? 1 : 2
}

/** `below(n)` yields an integer in 0 … n−1. */
export function place(disks: readonly PlaceDisk[], wish: PlaceWish, below: (n: number) => number): Placement {
  const nodes = new Set(wish.avoidNodes)
  const allowed = disks.filter((d) => d.usable && !wish.avoidDisks?.has(d.disk) && !nodes.has(d.node))
  const withRoom = allowed.filter((d) => d.availableBytes >= FULL_BELOW_BYTES)
  const order = withRoom
    .map((d) => ({ d, rank: rankOf(d, wish), draw: draw(d, below) }))
    .sort((a, b) => a.rank - b.rank || a.draw - b.draw || a.d.disk - b.d.disk)
  const chosen: DiskId[] = []
  for (const { d } of order) {
    if (chosen.length === wish.copies) break
    if (nodes.has(d.node)) continue
    nodes.add(d.node)
    chosen.push(d.disk)
  }
  const missing = wish.copies - chosen.length
  const full = allowed.some((d) => d.availableBytes < FULL_BELOW_BYTES && !nodes.has(d.node))
  return { disks: chosen, missing, shortOf: missing === 0 ? 'nothing' : full ? 'space' : 'servers' }
}

/** Disks that can take all of it and what they are being sent already come before those that may run full on the way. */
function rankOf(d: PlaceDisk, wish: PlaceWish): number {
  const roomy = d.availableBytes >= wish.bytes + d.writing * CHUNK_BYTES_MAX
  return (roomy ? 0 : 4) + (wish.near === undefined ? 0 : distance(d.location, wish.near))
}

const DRAW_STEPS = 2 ** 30

/** Weighed sampling without replacement (Efraimidis and Spirakis 2006): the smallest −ln(u)/weight wins. */
function draw(d: PlaceDisk, below: (n: number) => number): number {
  const u = (below(DRAW_STEPS) + 1) / (DRAW_STEPS + 1)
  return (-Math.log(u) * (1 + d.writing)) / d.availableBytes
}
