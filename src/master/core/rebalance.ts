/*
 * Which copy moves where so that disks are filled alike, by the share of each that is used: pure, one chunk at a time. It is
 * the least of all work, so it asks for little: only chunks that need nothing else are moved, and only where the copy that
 * would be surplus afterwards (repair.ts says which) is the one that was to go.
 *
 * Every move ends with the disk that gave still at least as full as the one that took. So the sum of the squares of the
 * shares falls with every move and no copy ever comes back: it ends. It begins for a disk when another, with which it could
 * exchange something, is emptier by more than `beginPercent`, and goes on until `endPercent`; between the two nothing begins.
 */

import type { ChunkId, DiskId } from '../../base/ids.ts'
import { distance, takes } from '../../topology/place.ts'
import {
  type Copies,
  type DiskMap,
  dropIn,
  judge,
  liveOf,
  type Patience,
  type RepairChunk,
  type RepairDisk,
  usedShare,
} from './repair.ts'

export interface Balance {
  readonly beginPercent: number
  readonly endPercent: number
}

/** A disk that could give, and those that are emptier by enough, the emptiest first. */
export interface Slope {
  readonly from: RepairDisk
  readonly targets: readonly RepairDisk[]
}

export interface Move {
  readonly whole: ChunkId
  /** The whole or one of its parts. */
  readonly chunk: ChunkId
  readonly length: number
  readonly from: DiskId
  readonly target: DiskId
  /** The nearest to the target first. */
  readonly sources: readonly DiskId[]
}

/** Of very many disks, those that differ most are enough to go on with. */
const TARGETS_MAX = 16

/** The fullest first. `falling`: disks that give already, and go on until little difference is left. */
export function slopes(disks: DiskMap, balance: Balance, falling: ReadonlySet<DiskId>): Slope[] {
  const takers = [...disks.values()].filter((d) => d.usable && d.live).sort(byShare)
  const givers = [...disks.values()].filter((d) => d.live && !d.draining).sort((a, b) => byShare(b, a))
  const found: Slope[] = []
  for (const from of givers) {
    const least = thresholdOf(from.disk, balance, falling)
    const targets: RepairDisk[] = []
    for (const d of takers) {
      if (targets.length === TARGETS_MAX || usedShare(from) - usedShare(d) <= least) break
      targets.push(d)
    }
    if (targets.length > 0) found.push({ from, targets })
  }
  return found
}

/** `of`: the chunk itself or one of its parts, which the disk that gives has. */
export function moveOf(
  chunk: RepairChunk,
  of: Copies,
  { from, targets }: Slope,
  disks: DiskMap,
  rules: Patience,
  balance: Balance,
  falling: ReadonlySet<DiskId>,
): Move | undefined {
  const needsNothing = (one: RepairChunk): boolean => judge(one, disks, rules).need.kind === 'none'
  if (!of.disks.includes(from.disk) || !needsNothing(chunk)) return undefined
  const sources = liveOf(of, disks)
  for (const target of targets) {
    if (of.disks.includes(target.disk) || !takes(target, { bytes: of.length, room: 'all' })) continue
    if (!pays(from, target, of.length, thresholdOf(from.disk, balance, falling))) continue
    if (surplusWith(chunk, of, target.disk, disks, rules) !== from.disk) continue
    const moved = of.disks.map((disk) => (disk === from.disk ? target.disk : disk))
    if (!needsNothing(withDisks(chunk, of, moved))) continue
    const nearest = [...sources].sort(
      (a, b) => distance(a.location, target.location) - distance(b.location, target.location) || a.disk - b.disk,
    )
    return {
      whole: chunk.chunk,
      chunk: of.chunk,
      length: of.length,
      from: from.disk,
      target: target.disk,
      sources: nearest.map((d) => d.disk),
    }
  }
  return undefined
}

const byShare = (a: RepairDisk, b: RepairDisk): number => usedShare(a) - usedShare(b) || a.disk - b.disk

const thresholdOf = (disk: DiskId, { beginPercent, endPercent }: Balance, falling: ReadonlySet<DiskId>): number =>
  (falling.has(disk) ? endPercent : beginPercent) / 100

function pays(giver: RepairDisk, target: RepairDisk, bytes: number, least: number): boolean {
  const { totalBytes: ofGiver = 0 } = giver
  const { totalBytes: ofTarget = 0 } = target
  if (ofGiver === 0 || ofTarget === 0 || usedShare(giver) - usedShare(target) <= least) return false
  return usedShare(giver) - bytes / ofGiver >= usedShare(target) + bytes / ofTarget
}

/** Which disk's copy would be given up if that disk had one, too. */
function surplusWith(
  chunk: RepairChunk,
  of: Copies,
  target: DiskId,
  disks: DiskMap,
  rules: Patience,
): DiskId | undefined {
  const drop = dropIn(judge(withDisks(chunk, of, [...of.disks, target]), disks, rules).need)
  return drop?.reason === 'over' && drop.chunk === of.chunk ? drop.disk : undefined
}

function withDisks(chunk: RepairChunk, of: Copies, disks: readonly DiskId[]): RepairChunk {
  if (of.chunk === chunk.chunk) return { ...chunk, disks }
  const { ec } = chunk
  return ec === undefined
    ? chunk
    : { ...chunk, ec: { ...ec, parts: ec.parts.map((part) => (part.chunk === of.chunk ? { ...part, disks } : part)) } }
}
