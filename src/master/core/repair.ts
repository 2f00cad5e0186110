/*
 * What has to happen to the copies of chunks: pure judgement of one chunk over the map of disks, and a plan for many.
 *
 * The rules, in the order in which they bind. A copy on a disk that can be read now is live. The last live copy is never
 * dropped, and nothing is dropped unless as many live copies as wanted stay, on different chunkservers, on disks that are
 * not to be emptied. A copy that is away is expected back until its grace is over and costs nothing meanwhile; only where
 * one live copy of several wanted is left does the wait end after the short settle time that a restart takes. A copy that
 * stayed away past its grace is written off once the chunk is whole without it.
 *
 * The plan is a function of its arguments: the same snapshot and the same chance give the same plan, and a chunk that is
 * being worked on is not planned again. It knows nothing of orders, connections or time (ages are arguments).
 */

import type { ChunkId, DiskId, NodeId } from '../../base/ids.ts'
import { distance, type PlaceDisk, place } from '../../topology/place.ts'

export interface RepairDisk extends PlaceDisk {
  /** Its copies can be read now. */
  readonly live: boolean
  readonly draining: boolean
  /** How long it has not been live; 0 when it is. */
  readonly awayMs: number
  /** Orders that read from it, and that write to it, now. */
  readonly reads: number
  readonly writes: number
}

export interface RepairChunk {
  readonly chunk: ChunkId
  /** Only sealed chunks are copied and dropped; the health of the others is told all the same. */
  readonly sealed: boolean
  /** It has ended and is missed by files, but no copy has confirmed that yet. */
  readonly ending: boolean
  readonly length: number
  /** Its end is lost. Copies that are away may have it: they are not written off. */
  readonly cut: boolean
  readonly wanted: number
  readonly disks: readonly DiskId[]
  /** Those of `disks` that have not confirmed the seal yet: waited for, not relied on. */
  readonly unsealed: readonly DiskId[]
  /** Those of `disks` whose copy is beyond repair: replaced, then dropped. */
  readonly bad: readonly DiskId[]
}

export interface RepairRules {
  readonly graceMs: number
  readonly settleMs: number
  /** Orders at once that read from, and that write to, one disk. */
  readonly readsPerDisk: number
  readonly writesPerDisk: number
}

export type DropReason = 'over' | 'drained' | 'lost' | 'damaged'
/** Most urgent first. */
export const URGENCIES = ['endangered', 'under', 'draining', 'over'] as const
export type Urgency = (typeof URGENCIES)[number]
export type Health = 'safe' | 'under' | 'endangered' | 'lost' | 'over' | 'open'

export type Need =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'copy'
      readonly urgency: Urgency
      /** Chunkservers that must not get it: they hold a copy that counts. */
      readonly avoid: ReadonlySet<NodeId>
      readonly sources: readonly RepairDisk[]
    }
  | {
      readonly kind: 'drop'
      readonly urgency: 'over' | 'draining'
      readonly disk: DiskId
      readonly reason: DropReason
      /** The copies that make the dropped one superfluous; the shell asks them once more before it drops. */
      readonly survivors: readonly DiskId[]
    }

export interface Verdict {
  readonly health: Health
  readonly need: Need
}

export type DiskMap = ReadonlyMap<DiskId, RepairDisk>

const NONE: Need = { kind: 'none' }

export function judge(chunk: RepairChunk, disks: DiskMap, rules: Pick<RepairRules, 'graceMs' | 'settleMs'>): Verdict {
  const wanted = Math.max(1, chunk.wanted)
  const known = chunk.disks.map((id) => disks.get(id)).filter((d) => d !== undefined)
  const live = known.filter((d) => d.live && !chunk.unsealed.includes(d.disk) && !chunk.bad.includes(d.disk))
  const alone = live.length === 1 && wanted > 1
  // Written is written: what nobody can read any more is lost, and not about to be sealed.
  const ended = chunk.ending && known.every((d) => !d.live && d.awayMs >= rules.graceMs)
  const health: Health = !chunk.sealed
    ? ended
      ? 'lost'
      : 'open'
    : live.length === 0 || chunk.cut
      ? 'lost'
      : alone
        ? 'endangered'
        : live.length < wanted
          ? 'under'
          : live.length > wanted
            ? 'over'
            : 'safe'
  if (!chunk.sealed || live.length === 0) return { health, need: NONE }

  const steady = live.filter((d) => !d.draining)
  const patienceMs = alone ? rules.settleMs : rules.graceMs
  const expected = known.filter(
    (d) => !live.includes(d) && !d.draining && !chunk.bad.includes(d.disk) && d.awayMs < patienceMs,
  )
  const counted = new Set([...steady, ...expected].map((d) => d.node))
  if (counted.size < wanted) {
    const urgency: Urgency = alone ? 'endangered' : live.length < wanted ? 'under' : 'draining'
    return { health, need: { kind: 'copy', urgency, avoid: counted, sources: live } }
  }
  return { health, need: dropOf(chunk, wanted, known, live, rules.graceMs) }
}

function dropOf(
  chunk: RepairChunk,
  wanted: number,
  known: readonly RepairDisk[],
  live: readonly RepairDisk[],
  graceMs: number,
): Need {
  // One copy per chunkserver counts: the fullest disk gives its copy up first, a second copy on one chunkserver before all.
  const byRoom = live.filter((d) => !d.draining).sort((a, b) => b.availableBytes - a.availableBytes || a.disk - b.disk)
  const nodes = new Set<NodeId>()
  const counting: RepairDisk[] = []
  const surplus: RepairDisk[] = []
  for (const d of byRoom) {
    if (nodes.has(d.node)) surplus.push(d)
    else {
      nodes.add(d.node)
      counting.push(d)
    }
  }
  if (counting.length < wanted) return NONE
  const survivors = counting.slice(0, wanted).map((d) => d.disk)
  const drop = (disk: DiskId, reason: DropReason): Need => ({
    kind: 'drop',
    urgency: reason === 'over' ? 'over' : 'draining',
    disk,
    reason,
    survivors,
  })
  const bad = known.find((d) => chunk.bad.includes(d.disk))
  if (bad !== undefined) return drop(bad.disk, 'damaged')
  const drained = live.find((d) => d.draining)
  if (drained !== undefined) return drop(drained.disk, 'drained')
  const gone = chunk.cut ? undefined : known.find((d) => !d.live && d.awayMs >= graceMs)
  if (gone !== undefined) return drop(gone.disk, 'lost')
  const over = surplus[0] ?? counting[wanted]
  if (over !== undefined) return drop(over.disk, 'over')
  return NONE
}

export type Order =
  | {
      readonly kind: 'copy'
      readonly urgency: Urgency
      readonly chunk: ChunkId
      readonly length: number
      readonly target: DiskId
      /** The best first; the rest in case it fails. */
      readonly sources: readonly DiskId[]
    }
  | {
      readonly kind: 'drop'
      readonly urgency: Urgency
      readonly chunk: ChunkId
      readonly disk: DiskId
      readonly reason: DropReason
      readonly survivors: readonly DiskId[]
    }

export interface Plan {
  readonly orders: readonly Order[]
  /** Chunks that need something, but every disk it could be done with is busy: ask again when an order has ended. */
  readonly waiting: readonly ChunkId[]
  /** Chunks that want a copy for which there is no disk at all now. */
  readonly nowhere: readonly ChunkId[]
}

/** Orders for these chunks, most urgent first, no more than `room` of them and never more per disk than the rules say. */
export function plan(
  chunks: readonly RepairChunk[],
  disks: DiskMap,
  rules: RepairRules,
  room: number,
  below: (n: number) => number,
): Plan {
  const reads = new Map<DiskId, number>()
  const writes = new Map<DiskId, number>()
  for (const d of disks.values()) {
    reads.set(d.disk, d.reads)
    writes.set(d.disk, d.writes)
  }
  const orders: Order[] = []
  const waiting: ChunkId[] = []
  const nowhere: ChunkId[] = []
  const all = [...disks.values()]
  const due = chunks
    .map((chunk) => ({ chunk, need: judge(chunk, disks, rules).need }))
    .filter((item) => item.need.kind !== 'none')
    .sort((a, b) => urgencyOf(a.need) - urgencyOf(b.need))
  for (const { chunk, need } of due) {
    if (need.kind === 'none') continue
    if (orders.length >= room) {
      waiting.push(chunk.chunk)
      continue
    }
    if (need.kind === 'drop') {
      const { urgency, disk, reason, survivors } = need
      orders.push({ kind: 'drop', urgency, chunk: chunk.chunk, disk, reason, survivors })
      continue
    }
    const source = need.sources.filter((d) => (reads.get(d.disk) ?? 0) < rules.readsPerDisk)
    if (source.length === 0) {
      waiting.push(chunk.chunk)
      continue
    }
    const wish = {
      copies: 1,
      bytes: chunk.length,
      room: need.urgency === 'endangered' ? ('reserve' as const) : ('all' as const),
      near: source[0]!.location,
      avoidNodes: need.avoid,
      avoidDisks: new Set(chunk.disks),
    }
    // The disks that are not busy first; only when there is none at all that could take it is the chunk called homeless.
    const target = place(
      all.map((d) => {
        const planned = (writes.get(d.disk) ?? 0) - d.writes
        const idle = d.writes + planned < rules.writesPerDisk
        return { ...d, usable: d.usable && idle, full: d.full && idle, writing: d.writing + planned }
      }),
      wish,
      below,
    ).disks[0]
    if (target === undefined) {
      const any = place(
        all.map((d) => ({ ...d, writing: 0 })),
        wish,
        below,
      ).disks[0]
      ;(any === undefined ? nowhere : waiting).push(chunk.chunk)
      continue
    }
    const at = disks.get(target)!.location
    const sources = [...need.sources].sort(
      (a, b) =>
        (reads.get(a.disk) ?? 0) - (reads.get(b.disk) ?? 0) ||
        distance(a.location, at) - distance(b.location, at) ||
        a.disk - b.disk,
    )
    orders.push({
      kind: 'copy',
      urgency: need.urgency,
      chunk: chunk.chunk,
      length: chunk.length,
      target,
      sources: sources.map((d) => d.disk),
    })
    reads.set(sources[0]!.disk, (reads.get(sources[0]!.disk) ?? 0) + 1)
    writes.set(target, (writes.get(target) ?? 0) + 1)
  }
  return { orders, waiting, nowhere }
}

const urgencyOf = (need: Need): number => (need.kind === 'none' ? URGENCIES.length : URGENCIES.indexOf(need.urgency))
