/*
 * What has to happen to the copies of chunks: pure judgement of one chunk over the map of disks. Which disks the work is
 * done with, and in which order, is plan.ts.
 *
 * The rules, in the order in which they bind. A copy on a disk that can be read now is live. The last live copy is never
 * dropped, and nothing is dropped unless as many live copies as wanted stay, each where its class wants one or where it
 * stands in for one, on disks that are not to be emptied. A copy that is away is expected back until the grace of its
 * chunkserver is over and costs nothing meanwhile; only where one more loss would lose data does the wait end after the short settle time
 * that a restart takes. A copy that stayed away past its grace is written off once the chunk is whole without it.
 *
 * An erasure-coded chunk is judged by its parts, each of which is a chunk with one copy; as many as its parity may be away.
 * Whole copies and parts replace each other only after the one or the other is complete.
 */

import type { ChunkId, DiskId } from '../../base/ids.ts'
import { type Assignment, assign, type Candidate } from '../../topology/assign.ts'
import type { PlaceDisk } from '../../topology/place.ts'
import { anyCode, type CodeWish, type Wish, wishedCopies } from './wishes.ts'

export interface RepairDisk extends PlaceDisk {
  /** Its copies can be read now. */
  readonly live: boolean
  readonly draining: boolean
  /** Bytes of chunks on it, and with the room that it still has; as last reported. */
  readonly usedBytes?: number
  readonly totalBytes?: number
  /** It was away not long ago, and may be again. */
  readonly unsteady?: boolean
  /** How long it has not been live; 0 when it is. */
  readonly awayMs: number
  /** How long it is waited for, where its chunkserver has a patience of its own (Infinity: it is in maintenance). */
  readonly graceMs?: number
  /** Orders that read from it, and that write to it, now. */
  readonly reads: number
  readonly writes: number
}

/** One file's worth of bytes on disks: a whole chunk, or a part of one. */
export interface Copies {
  readonly chunk: ChunkId
  readonly length: number
  readonly disks: readonly DiskId[]
  /** Those of `disks` that have not confirmed the seal yet: waited for, not relied on. */
  readonly unsealed: readonly DiskId[]
  /** Those of `disks` whose copy is beyond repair: replaced, then dropped. */
  readonly bad: readonly DiskId[]
}

export interface RepairChunk extends Copies {
  /** Only sealed chunks are copied and dropped; the health of the others is told all the same. */
  readonly sealed: boolean
  /** It has ended and is missed by files, but no copy has confirmed that yet. */
  readonly ending: boolean
  /** Its end is lost. Copies that are away may have it: they are not written off. */
  readonly cut: boolean
  readonly wish: Wish
  /** Its parts, data first, when it is erasure-coded. */
  readonly ec: { readonly data: number; readonly parity: number; readonly parts: readonly Copies[] } | undefined
}

export interface RepairRules {
  readonly graceMs: number
  readonly settleMs: number
  /** Orders at once that read from, and that write to, one disk. */
  readonly readsPerDisk: number
  readonly writesPerDisk: number
  /** Beside them, of each, for what is endangered: it never waits for lesser work. */
  readonly urgentPerDisk?: number
}
export type Patience = Pick<RepairRules, 'graceMs' | 'settleMs'>

export type DropReason = 'over' | 'drained' | 'lost' | 'damaged'
/** Most urgent first. converting: from copies to parts, or back. */
export const URGENCIES = ['endangered', 'under', 'draining', 'misplaced', 'over', 'converting'] as const
export type Urgency = (typeof URGENCIES)[number]
export type Health = 'safe' | 'under' | 'endangered' | 'lost' | 'over' | 'open'

export interface Survivor {
  readonly chunk: ChunkId
  readonly disk: DiskId
  readonly length: number
}

export interface Drop {
  readonly kind: 'drop'
  readonly urgency: Urgency
  /** The chunk or the part that has the copy. */
  readonly chunk: ChunkId
  readonly disk: DiskId
  readonly reason: DropReason
  /** What makes the dropped one superfluous; the shell asks for it once more before it drops. */
  readonly survivors: readonly Survivor[]
}

export type PartHolder = RepairDisk & { readonly slot: number }

/** `otherwise`: what is to be done when no disk can take what is needed first. One chunk, one thing at a time. */
export type Need =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'copy'
      readonly urgency: Urgency
      readonly of: Copies
      /** Slot by slot where its class wants copies, and who fills them as things are. */
      readonly slots: Wish['slots']
      readonly held: readonly RepairDisk[]
      readonly sources: readonly RepairDisk[]
      readonly otherwise: Need
    }
  | {
      /** Parts that nobody has: made from the others. */
      readonly kind: 'rebuild'
      readonly urgency: Urgency
      readonly code: CodeWish
      readonly indexes: readonly number[]
      readonly held: readonly PartHolder[]
      readonly sources: readonly RepairDisk[]
      readonly otherwise: Need
    }
  | {
      /** Parts on disks that are to be emptied, or where they do not belong. */
      readonly kind: 'move'
      readonly urgency: Urgency
      readonly code: CodeWish
      readonly indexes: readonly number[]
      readonly held: readonly PartHolder[]
      /** Of each part. */
      readonly sources: readonly (readonly RepairDisk[])[]
      readonly otherwise: Need
    }
  | {
      readonly kind: 'encode'
      readonly urgency: 'converting'
      readonly sources: readonly RepairDisk[]
      readonly otherwise: Need
    }
  | {
      readonly kind: 'join'
      readonly urgency: 'converting'
      readonly held: readonly RepairDisk[]
      readonly sources: readonly RepairDisk[]
    }
  | { readonly kind: 'uncode'; readonly urgency: 'converting'; readonly survivors: readonly Survivor[] }
  | Drop

export interface Verdict {
  readonly health: Health
  readonly need: Need
}

export type DiskMap = ReadonlyMap<DiskId, RepairDisk>

const NONE: Need = { kind: 'none' }

export function judge(chunk: RepairChunk, disks: DiskMap, rules: Patience): Verdict {
  if (chunk.sealed && chunk.ec !== undefined) return judgeParts({ ...chunk, ec: chunk.ec }, disks, rules)
  const verdict = judgeCopies(chunk, disks, rules)
  const { health, need } = verdict
  const sources = liveOf(chunk, disks)
  if (chunk.wish.code === undefined || !chunk.sealed || sources.length === 0 || chunk.cut || chunk.length === 0)
    return verdict
  const encode = (otherwise: Need): Need => ({ kind: 'encode', urgency: 'converting', sources, otherwise })
  if (need.kind === 'none' || need.urgency === 'misplaced' || need.urgency === 'over')
    return { health, need: encode(need) }
  // First it is made safe; where there are no disks for that, parts are safer than too few copies.
  return need.kind === 'copy' ? { health, need: { ...need, otherwise: encode(NONE) } } : verdict
}

/** What of a chunk may go as things are, should nothing else be possible. */
export function dropIn(need: Need): Drop | undefined {
  if (need.kind === 'drop') return need
  return 'otherwise' in need ? dropIn(need.otherwise) : undefined
}

/** Whether the parts may go as things are, should nothing else be possible. */
export const mayUncode = (need: Need): boolean =>
  need.kind === 'uncode' || ('otherwise' in need && mayUncode(need.otherwise))

// ---- copies

const knownOf = (copies: Copies, disks: DiskMap): RepairDisk[] =>
  copies.disks.map((id) => disks.get(id)).filter((d) => d !== undefined)

/** Copies that can be relied on now. */
export const liveOf = (copies: Copies, disks: DiskMap): RepairDisk[] =>
  knownOf(copies, disks).filter((d) => d.live && !copies.unsealed.includes(d.disk) && !copies.bad.includes(d.disk))

/** It has been away for longer than it is waited for. */
export const isGone = (disk: RepairDisk, rules: Pick<Patience, 'graceMs'>): boolean =>
  !disk.live && disk.awayMs >= (disk.graceMs ?? rules.graceMs)

/** `alone`: one more loss would lose data, so nobody is waited for longer than a restart takes. */
const isExpected = (disk: RepairDisk, rules: Patience, alone: boolean): boolean =>
  !isGone(disk, rules) && (!alone || disk.awayMs < rules.settleMs)

const expectedOf = (
  copies: Copies,
  disks: DiskMap,
  live: readonly RepairDisk[],
  rules: Patience,
  alone = false,
): RepairDisk[] =>
  knownOf(copies, disks).filter(
    (d) => !live.includes(d) && !d.draining && !copies.bad.includes(d.disk) && isExpected(d, rules, alone),
  )

const NO_CANDIDATES: readonly Candidate[] = []

/** How full a disk is, 0 … 1; 0 where that is not known. */
export const usedShare = ({ usedBytes = 0, totalBytes = 0 }: Pick<RepairDisk, 'usedBytes' | 'totalBytes'>): number =>
  totalBytes > 0 ? usedBytes / totalBytes : 0

const unsteadiness = ({ unsteady = false }: RepairDisk): number => Number(unsteady)

/**
 * By the share that is used and not by the room: else what was moved from a large disk to a small one would move back. Disks
 * that come and go are last: else each time one goes, the same chunks would be copied again.
 */
const byRoom = (a: RepairDisk, b: RepairDisk): number =>
  unsteadiness(a) - unsteadiness(b) ||
  usedShare(a) - usedShare(b) ||
  b.availableBytes - a.availableBytes ||
  a.disk - b.disk

/** Who fills which slot, the emptiest disks first. */
export function filled(
  wish: Pick<Wish, 'slots' | 'unique'>,
  held: readonly RepairDisk[],
): Assignment<RepairDisk, Candidate> {
  const order = [...held].sort(byRoom)
  return assign({ slots: wish.slots, unique: wish.unique, mode: 'std' }, order, NO_CANDIDATES)
}

function judgeCopies(chunk: RepairChunk, disks: DiskMap, rules: Patience): Verdict {
  const wanted = wishedCopies(chunk.wish)
  const known = knownOf(chunk, disks)
  const live = liveOf(chunk, disks)
  const alone = live.length === 1 && wanted > 1
  const health = healthOf(chunk, known, live, wanted, rules)
  if (!chunk.sealed || live.length === 0) return { health, need: NONE }

  const steady = live.filter((d) => !d.draining)
  const held = [...steady, ...expectedOf(chunk, disks, live, rules, alone)]
  const hoped = filled(chunk.wish, held)
  const { slots } = hoped
  const copy = (urgency: Urgency, otherwise: Need): Need => ({
    kind: 'copy',
    urgency,
    of: chunk,
    slots: chunk.wish.slots,
    held,
    sources: live,
    otherwise,
  })
  if (slots.some((slot) => slot.held === undefined))
    return { health, need: copy(alone ? 'endangered' : live.length < wanted ? 'under' : 'draining', NONE) }
  const drop = dropOf(chunk, known, live, hoped, rules) ?? NONE
  return { health, need: slots.every((slot) => slot.fit === 'right') ? drop : copy('misplaced', drop) }
}

function healthOf(
  chunk: RepairChunk,
  known: readonly RepairDisk[],
  live: readonly RepairDisk[],
  wanted: number,
  rules: Patience,
): Health {
  // Written is written: what nobody can read any more is lost, and not about to be sealed.
  if (!chunk.sealed) return chunk.ending && known.every((d) => isGone(d, rules)) ? 'lost' : 'open'
  if (live.length === 0 || chunk.cut) return 'lost'
  if (live.length === 1 && wanted > 1) return 'endangered'
  return live.length < wanted ? 'under' : live.length > wanted ? 'over' : 'safe'
}

const rightIn = ({ slots }: Assignment<RepairDisk, Candidate>): number =>
  slots.filter((slot) => slot.fit === 'right').length

/** `hoped`: who fills which slot once those that are expected are there. */
function dropOf(
  chunk: RepairChunk,
  known: readonly RepairDisk[],
  live: readonly RepairDisk[],
  hoped: Assignment<RepairDisk, Candidate>,
  rules: Patience,
): Drop | undefined {
  // Nothing can go beside as many as are wanted: known without a matching, which every look at a chunk would pay for.
  if (chunk.disks.length <= wishedCopies(chunk.wish)) return undefined
  const steady = live.filter((d) => !d.draining)
  const { slots, surplus } = filled(chunk.wish, steady)
  const staying = slots.map((slot) => slot.held)
  if (staying.some((one) => one === undefined)) return undefined
  const survivors = staying.map((one) => ({ chunk: chunk.chunk, disk: one!.disk, length: chunk.length }))
  const drop = (disk: DiskId, reason: DropReason): Drop => ({
    kind: 'drop',
    urgency: reason === 'over' ? 'over' : 'draining',
    chunk: chunk.chunk,
    disk,
    reason,
    survivors,
  })
  const bad = known.find((d) => chunk.bad.includes(d.disk))
  if (bad !== undefined) return drop(bad.disk, 'damaged')
  const drained = live.find((d) => d.draining)
  if (drained !== undefined) return drop(drained.disk, 'drained')
  const gone = chunk.cut ? undefined : known.find((d) => isGone(d, rules))
  if (gone !== undefined) return drop(gone.disk, 'lost')
  // The fullest first, but before it those that come and go; a second copy on one chunkserver before all. One that is of
  // use to those that are expected would be made again for them.
  const nodes = staying.map((one) => one!.node)
  const held = [...hoped.slots.flatMap((slot) => slot.held ?? []), ...hoped.surplus]
  const spare = [...new Set([...surplus, ...hoped.surplus])]
    .filter((d) => steady.includes(d))
    .sort(
      (a, b) =>
        Number(nodes.includes(b.node)) - Number(nodes.includes(a.node)) ||
        unsteadiness(b) - unsteadiness(a) ||
        usedShare(b) - usedShare(a) ||
        a.availableBytes - b.availableBytes ||
        a.disk - b.disk,
    )
  for (const one of spare) {
    const others = filled(
      chunk.wish,
      steady.filter((d) => d !== one),
    ).slots
    if (others.some((slot) => slot.held === undefined)) continue
    const rest = filled(
      chunk.wish,
      held.filter((d) => d !== one),
    )
    if (rightIn(rest) < rightIn(hoped)) continue
    const left = others.map(({ held: d }) => ({ chunk: chunk.chunk, disk: d!.disk, length: chunk.length }))
    return { ...drop(one.disk, 'over'), survivors: left }
  }
  return undefined
}

// ---- parts

interface Coded extends RepairChunk {
  readonly ec: NonNullable<RepairChunk['ec']>
}

function judgeParts(chunk: Coded, disks: DiskMap, rules: Patience): Verdict {
  const { data, parity, parts } = chunk.ec
  const live = parts.map((part) => liveOf(part, disks))
  const there = live.filter((copies) => copies.length > 0).length
  const wholes = liveOf(chunk, disks)
  const wished = chunk.wish.code
  const stays = wished !== undefined && wished.data === data && wished.parity === parity
  if (there < data) {
    if (wholes.length === 0) return { health: 'lost', need: NONE }
    // Parts that were made a moment ago have yet to confirm their end, others may come back.
    const single = wholes.length === 1 && wishedCopies(chunk.wish) > 1
    const hoped = parts.filter((part, i) => expectedOf(part, disks, live[i]!, rules, single).length > 0).length
    const waits = stays ? NONE : back(chunk, wholes, [], disks, rules)
    const need = there + hoped < data ? uncode(chunk, wholes) : waits
    return { health: wholes.length < wishedCopies(chunk.wish) ? 'under' : 'safe', need }
  }
  const alone = there === data && wholes.length === 0
  const health: Health =
    alone && parity > 0 ? 'endangered' : there < parts.length && wholes.length === 0 ? 'under' : 'safe'
  const sources = live.flat()
  const code = stays ? wished : anyCode(chunk.ec)
  const holders = parts.map((part, i) => {
    const steady = live[i]!.filter((d) => !d.draining).sort(byRoom)
    return { part, steady, all: [...steady, ...expectedOf(part, disks, live[i]!, rules, alone)] }
  })
  const held = holders.flatMap(({ all }, slot) => all.map((d) => ({ ...d, slot })))
  const indexesOf = (is: (index: number) => boolean): number[] => [...parts.keys()].filter(is)
  const isHeld = (index: number): boolean => holders[index]!.all.length > 0
  const lost = indexesOf((index) => !isHeld(index) && live[index]!.length === 0)
  const rebuild = (otherwise: Need): Need => {
    const urgency = alone ? 'endangered' : 'under'
    return { kind: 'rebuild', urgency, code, indexes: lost, held, sources, otherwise }
  }
  if (!stays) {
    // First it is made safe: putting it together may take long, or find no disk.
    const need = back(chunk, wholes, sources, disks, rules)
    return { health, need: lost.length > 0 && wholes.length === 0 ? rebuild(need) : need }
  }
  const { slots } = assign({ slots: code.slots, unique: code.unique, mode: 'std' }, held, NO_CANDIDATES)
  const complete = live.every((copies) => copies.some((d) => !d.draining))

  const needs: Need[] = []
  const move = (urgency: Urgency, indexes: readonly number[]): void => {
    if (indexes.length > 0) needs.push({ kind: 'move', urgency, code, indexes, held, sources: live, otherwise: NONE })
  }
  if (lost.length > 0) needs.push(rebuild(NONE))
  move(
    'draining',
    indexesOf((index) => !isHeld(index) && live[index]!.length > 0),
  )
  // Which of two that are in each other's way has to go, and which of two copies of one part may stay, is a question of
  // the disks there are.
  const drop = deadPart(holders, disks, rules) ?? (complete && !chunk.cut ? extraCopy(chunk, live) : undefined)
  if (drop === undefined && complete && slots.some((slot) => slot.fit !== 'right')) move('misplaced', [...parts.keys()])
  const last = drop ?? doubledPart(holders, slots)
  if (last !== undefined) needs.push(last)
  const need = needs.reduceRight<Need>((otherwise, one) => ('otherwise' in one ? { ...one, otherwise } : one), NONE)
  return { health: need === last ? 'over' : health, need }
}

/** Not of a chunk that has lost its end: a copy may have it. */
function extraCopy(chunk: Coded, live: readonly (readonly RepairDisk[])[]): Drop | undefined {
  const disk = chunk.disks[0]
  if (disk === undefined) return undefined
  const survivors = live.map((copies, i) => survivorOf(chunk.ec.parts[i]!, copies))
  return { kind: 'drop', urgency: 'over', chunk: chunk.chunk, disk, reason: 'over', survivors }
}

const survivorOf = (copies: Copies, live: readonly RepairDisk[]): Survivor => ({
  chunk: copies.chunk,
  disk: (live.find((d) => !d.draining) ?? live[0]!).disk,
  length: copies.length,
})

interface Holders {
  readonly part: Copies
  readonly steady: readonly RepairDisk[]
}

const dropPart = (part: Copies, disk: DiskId, reason: DropReason, keep: RepairDisk): Drop => ({
  kind: 'drop',
  urgency: reason === 'over' ? 'over' : 'draining',
  chunk: part.chunk,
  disk,
  reason,
  survivors: [{ chunk: part.chunk, disk: keep.disk, length: part.length }],
})

/** Beside a good one: copies of parts that are damaged, on a disk to be emptied, or not expected back. */
function deadPart(holders: readonly Holders[], disks: DiskMap, rules: Patience): Drop | undefined {
  for (const { part, steady } of holders) {
    const keep = steady[0]
    if (part.disks.length < 2 || keep === undefined) continue
    const known = knownOf(part, disks)
    const bad = known.find((d) => part.bad.includes(d.disk))
    if (bad !== undefined) return dropPart(part, bad.disk, 'damaged', keep)
    const drained = known.find((d) => d.draining && d.live)
    if (drained !== undefined) return dropPart(part, drained.disk, 'drained', keep)
    const gone = known.find((d) => isGone(d, rules))
    if (gone !== undefined) return dropPart(part, gone.disk, 'lost', keep)
  }
  return undefined
}

/** Parts that are held twice: the one that stands worse goes. */
function doubledPart(holders: readonly Holders[], slots: Assignment<PartHolder, Candidate>['slots']): Drop | undefined {
  for (const [i, { part, steady }] of holders.entries()) {
    const keep = steady.find((d) => d.disk === slots[i]?.held?.disk) ?? steady[0]
    const other = steady.find((d) => d !== keep)
    if (keep !== undefined && other !== undefined) return dropPart(part, other.disk, 'over', keep)
  }
  return undefined
}

/**
 * From parts to copies: all copies first, then the parts go. Where there are no disks for all, as many as outlive the loss of
 * as many disks will do.
 */
function back(
  chunk: Coded,
  wholes: readonly RepairDisk[],
  sources: readonly RepairDisk[],
  disks: DiskMap,
  rules: Patience,
): Need {
  const steady = wholes.filter((d) => !d.draining)
  const held = [...steady, ...expectedOf(chunk, disks, wholes, rules)]
  const complete = (copies: readonly RepairDisk[]): boolean =>
    filled(chunk.wish, copies).slots.every((slot) => slot.held !== undefined)
  if (complete(steady)) return uncode(chunk, steady)
  // A copy that is away is waited for, and the parts with it.
  if (complete(held)) return NONE
  if (wholes.length > 0)
    return {
      kind: 'copy',
      urgency: 'converting',
      of: chunk,
      slots: chunk.wish.slots,
      held,
      sources: wholes,
      otherwise: steady.length > chunk.ec.parity ? uncode(chunk, steady) : NONE,
    }
  return { kind: 'join', urgency: 'converting', held, sources }
}

const uncode = (chunk: Coded, wholes: readonly RepairDisk[]): Need => ({
  kind: 'uncode',
  urgency: 'converting',
  survivors: wholes.map(({ disk }) => ({ chunk: chunk.chunk, disk, length: chunk.length })),
})
