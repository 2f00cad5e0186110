/*
 * Disks for the copies of a new chunk, where its storage class wants them: the nearest with room that fill the slots.
 * Pure. With nothing wanted but a number of copies, place.ts answers the same faster.
 */

import type { DiskId } from '../base/ids.ts'
import { type AssignWish, assign, type Candidate } from './assign.ts'
import { byLiking, type PlaceDisk, type Placement, type PlaceWish } from './place.ts'

type Room = Pick<PlaceWish, 'bytes' | 'room' | 'near' | 'avoidDisks'>

export function fillSlots(
  disks: readonly PlaceDisk[],
  slots: AssignWish,
  wish: Room,
  below: (n: number) => number,
): Placement {
  const allowed = disks.filter((d) => !wish.avoidDisks?.has(d.disk))
  const liked = byLiking(allowed, wish, below)
  const ready = new Set(liked)
  const candidates: (PlaceDisk & Candidate)[] = liked.map((d) => ({ ...d, state: 'ready' }))
  for (const d of allowed) if (!ready.has(d) && (d.usable || d.full)) candidates.push({ ...d, state: 'full' })
  const found = assign(slots, [], candidates)
  const chosen: DiskId[] = found.slots.flatMap((slot) => slot.planned?.candidate.disk ?? [])
  const missing = slots.slots.length - chosen.length
  const space = found.slots.some((slot) => slot.shortOf === 'space')
  return { disks: chosen, missing, shortOf: missing === 0 ? 'nothing' : space ? 'space' : 'servers' }
}
