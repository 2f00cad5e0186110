/*
 * What would have to be copied where if a chunk were to fill other slots than it does: the sum behind a trial of a changed
 * storage class. Pure, and an estimate: the nearest disks are taken, whatever else is going on, and what has been copied
 * anew is counted, not what is deleted afterwards.
 */

import type { DiskId } from '../../base/ids.ts'
import { type AssignWish, assign, type Candidate, type HeldCopy } from '../../topology/assign.ts'
import { distance, type Location } from '../../topology/place.ts'
import { codeFor } from './coding.ts'
import type { DiskMap, RepairDisk } from './repair.ts'
import type { Wish } from './wishes.ts'

export interface Held {
  readonly length: number
  readonly disks: readonly DiskId[]
}
export interface HeldChunk extends Held {
  readonly ec: { readonly data: number; readonly parity: number; readonly parts: readonly Held[] } | undefined
}

export interface Move {
  readonly from: Location
  readonly to: Location
  readonly bytes: number
}

export interface Moves {
  readonly moves: readonly Move[]
  /** Copies or parts that would find no place. */
  readonly nowhere: number
}

export function movesOf(chunk: HeldChunk, wish: Wish, disks: DiskMap): Moves {
  const { ec } = chunk
  const code = codeFor(chunk.length, wish.code)
  const whole = known(chunk.disks, disks)
  const parts = ec === undefined ? [] : ec.parts.flatMap((part) => known(part.disks, disks))
  const sources = [...whole, ...parts]
  const alike = ec !== undefined && code !== undefined && ec.data === code.data && ec.parity === code.parity
  if (code === undefined) return planned(wish, whole, () => chunk.length, sources, disks)
  const bytes = Math.ceil(chunk.length / code.data)
  if (!alike) return planned(code, [], () => bytes, sources, disks)
  const held = ec.parts.flatMap((part, slot) => known(part.disks, disks).map((disk) => ({ ...disk, slot })))
  return planned(code, held, (slot) => ec.parts[slot]?.length ?? bytes, sources, disks)
}

const known = (found: readonly DiskId[], disks: DiskMap): RepairDisk[] => found.flatMap((disk) => disks.get(disk) ?? [])

function planned(
  wish: AssignWish,
  held: readonly (RepairDisk & HeldCopy)[],
  bytes: (slot: number) => number,
  sources: readonly RepairDisk[],
  disks: DiskMap,
): Moves {
  const near = sources[0]?.location
  if (near === undefined) return { moves: [], nowhere: 0 }
  const candidates = [...disks.values()]
    .filter((disk) => disk.live && !disk.draining)
    .map((disk): RepairDisk & Candidate => ({ ...disk, state: disk.usable ? 'ready' : 'full' }))
    .sort((a, b) => distance(a.location, near) - distance(b.location, near) || a.disk - b.disk)
  const { slots } = assign(wish, held, candidates)
  const moves = slots.flatMap(({ planned: plan }, slot): Move[] => {
    if (plan === undefined) return []
    const to = plan.candidate.location
    const from = sources.reduce(
      (best, { location }) => (distance(location, to) < distance(best, to) ? location : best),
      near,
    )
    return [{ from, to, bytes: bytes(slot) }]
  })
  return { moves, nowhere: slots.filter((slot) => slot.held === undefined && slot.planned === undefined).length }
}
