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
import { type Wish, wishedCopies } from './wishes.ts'

export interface RepairDisk extends PlaceDisk {
  /** Its copies can be read now. */
  readonly live: boolean
  readonly draining: boolean
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
      /** When no disk can take it. */
      readonly otherwise: Drop | undefined
    }
  | {
      /** A part that nobody has: made from the others. */
      readonly kind: 'rebuild'
      readonly urgency: Urgency
      readonly index: number
      readonly held: readonly (RepairDisk & { readonly slot: number })[]
      readonly sources: readonly RepairDisk[]
    }
  | {
      /** A part on a disk that is to be emptied, or where it does not belong. */
      readonly kind: 'move'
      readonly urgency: Urgency
      readonly index: number
      readonly held: readonly (RepairDisk & { readonly slot: number })[]
      readonly sources: readonly RepairDisk[]
    }
  | {
      readonly kind: 'encode'
      readonly urgency: 'converting'
      readonly sources: readonly RepairDisk[]
      readonly otherwise: Need
    }
  | {
      readonly kind: 'join'
      readonly urgency: Urgency
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
  const { wish } = chunk
  if (wish.code === undefined || !chunk.sealed) return verdict
  const { need } = verdict
  // First it is made safe; being cut into parts is no hurry.
  const settled = need.kind === 'none' || need.urgency === 'misplaced' || need.urgency === 'over'
  const sources = liveOf(chunk, disks)
  if (!settled || sources.length === 0 || chunk.cut || chunk.length === 0) return verdict
  return { health: verdict.health, need: { kind: 'encode', urgency: 'converting', sources, otherwise: need } }
}

// ---- copies

const knownOf = (copies: Copies, disks: DiskMap): RepairDisk[] =>
  copies.disks.map((id) => disks.get(id)).filter((d) => d !== undefined)

const liveOf = (copies: Copies, disks: DiskMap): RepairDisk[] =>
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

/** Who fills which slot, the disks with most room first. */
function filled(wish: Pick<Wish, 'slots' | 'unique'>, held: readonly RepairDisk[]): Assignment<RepairDisk, Candidate> {
  const order = [...held].sort((a, b) => b.availableBytes - a.availableBytes || a.disk - b.disk)
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
  const { slots } = filled(chunk.wish, held)
  const drop = dropOf(chunk, known, live, rules)
  const copy = (urgency: Urgency): Need => ({
    kind: 'copy',
    urgency,
    of: chunk,
    slots: chunk.wish.slots,
    held,
    sources: live,
    otherwise: drop,
  })
  if (slots.some((slot) => slot.held === undefined))
    return {
      health,
      need: {
        ...copy(alone ? 'endangered' : live.length < wanted ? 'under' : 'draining'),
        otherwise: undefined,
      } as Need,
    }
  if (slots.some((slot) => slot.fit !== 'right')) return { health, need: copy('misplaced') }
  return { health, need: drop ?? NONE }
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

function dropOf(
  chunk: RepairChunk,
  known: readonly RepairDisk[],
  live: readonly RepairDisk[],
  rules: Patience,
): Drop | undefined {
  const { slots, surplus } = filled(
    chunk.wish,
    live.filter((d) => !d.draining),
  )
  const staying = slots.map(({ held }) => held)
  if (staying.some((held) => held === undefined)) return undefined
  const survivors = staying.map((held) => ({ chunk: chunk.chunk, disk: held!.disk, length: chunk.length }))
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
  // The fullest first; a second copy on one chunkserver before all.
  const nodes = staying.map((held) => held!.node)
  const fullest = [...surplus].sort(
    (a, b) =>
      Number(nodes.includes(b.node)) - Number(nodes.includes(a.node)) ||
      a.availableBytes - b.availableBytes ||
      a.disk - b.disk,
  )[0]
  return fullest === undefined ? undefined : drop(fullest.disk, 'over')
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
  if (there < data) {
    if (wholes.length === 0) return { health: 'lost', need: NONE }
    // Parts that were made a moment ago have yet to confirm their end, others may come back.
    const hoped = parts.filter((part, i) => expectedOf(part, disks, live[i]!, rules).length > 0).length
    const need = there + hoped < data ? uncode(chunk, wholes) : NONE
    return { health: wholes.length < wishedCopies(chunk.wish) ? 'under' : 'safe', need }
  }
  const alone = there === data && wholes.length === 0
  const health: Health =
    alone && parity > 0 ? 'endangered' : there < parts.length && wholes.length === 0 ? 'under' : 'safe'
  const { code } = chunk.wish
  const sources = live.flat()
  if (code === undefined || code.data !== data || code.parity !== parity)
    return { health, need: back(chunk, wholes, sources, disks, rules) }

  const holders = parts.map((part, i) => {
    const steady = live[i]!.filter((d) => !d.draining)
    return { part, steady, all: [...steady, ...expectedOf(part, disks, live[i]!, rules, alone)] }
  })
  const held = holders.flatMap(({ all }, slot) => all.map((d) => ({ ...d, slot })))
  const lost = holders.findIndex(({ all }, i) => all.length === 0 && live[i]!.length === 0)
  if (lost >= 0)
    return { health, need: { kind: 'rebuild', urgency: alone ? 'endangered' : 'under', index: lost, held, sources } }
  const drained = holders.findIndex(({ all }) => all.length === 0)
  if (drained >= 0)
    return { health, need: { kind: 'move', urgency: 'draining', index: drained, held, sources: live[drained]! } }
  const { slots } = assign({ slots: code.slots, unique: code.unique, mode: 'std' }, held, NO_CANDIDATES)
  const extra = extraPart(holders, slots, disks, rules)
  if (extra !== undefined) return { health: 'over', need: extra }
  const complete = live.every((copies) => copies.some((d) => !d.draining))
  if (complete && chunk.disks.length > 0) {
    const survivors = live.map((copies, i) => survivorOf(parts[i]!, copies))
    const disk = chunk.disks[0]!
    return {
      health: 'over',
      need: { kind: 'drop', urgency: 'over', chunk: chunk.chunk, disk, reason: 'over', survivors },
    }
  }
  const wrong = slots.findIndex(({ held: holder, fit }) => holder === undefined || fit !== 'right')
  if (complete && wrong >= 0)
    return { health, need: { kind: 'move', urgency: 'misplaced', index: wrong, held, sources: live[wrong]! } }
  return { health, need: NONE }
}

const survivorOf = (copies: Copies, live: readonly RepairDisk[]): Survivor => ({
  chunk: copies.chunk,
  disk: (live.find((d) => !d.draining) ?? live[0]!).disk,
  length: copies.length,
})

/** Parts that are held twice, on a disk to be emptied, or written off: one of them goes. */
function extraPart(
  holders: readonly { part: Copies; steady: readonly RepairDisk[] }[],
  slots: Assignment<RepairDisk & { slot: number }, Candidate>['slots'],
  disks: DiskMap,
  rules: Patience,
): Drop | undefined {
  for (const [i, { part, steady }] of holders.entries()) {
    if (part.disks.length < 2 || steady.length === 0) continue
    const keep = steady.find((d) => d.disk === slots[i]?.held?.disk) ?? steady[0]!
    const survivors = [{ chunk: part.chunk, disk: keep.disk, length: part.length }]
    const drop = (disk: DiskId, reason: DropReason): Drop => ({
      kind: 'drop',
      urgency: reason === 'over' ? 'over' : 'draining',
      chunk: part.chunk,
      disk,
      reason,
      survivors,
    })
    const known = knownOf(part, disks)
    const bad = known.find((d) => part.bad.includes(d.disk))
    if (bad !== undefined) return drop(bad.disk, 'damaged')
    const drained = known.find((d) => d.draining && d.live)
    if (drained !== undefined) return drop(drained.disk, 'drained')
    const gone = known.find((d) => isGone(d, rules))
    if (gone !== undefined) return drop(gone.disk, 'lost')
    const other = steady.find((d) => d !== keep)
    if (other !== undefined) return drop(other.disk, 'over')
  }
  return undefined
}

/** From parts to copies: all copies first, then the parts go. */
function back(
  chunk: Coded,
  wholes: readonly RepairDisk[],
  sources: readonly RepairDisk[],
  disks: DiskMap,
  rules: Patience,
): Need {
  const held = [...wholes.filter((d) => !d.draining), ...expectedOf(chunk, disks, wholes, rules)]
  const { slots } = filled(chunk.wish, held)
  if (slots.every((slot) => slot.held !== undefined)) return wholes.length > 0 ? uncode(chunk, wholes) : NONE
  if (wholes.length > 0)
    return {
      kind: 'copy',
      urgency: 'converting',
      of: chunk,
      slots: chunk.wish.slots,
      held,
      sources: wholes,
      otherwise: undefined,
    }
  return { kind: 'join', urgency: 'converting', held, sources }
}

const uncode = (chunk: Coded, wholes: readonly RepairDisk[]): Need => ({
  kind: 'uncode',
  urgency: 'converting',
  survivors: wholes.map(({ disk }) => ({ chunk: chunk.chunk, disk, length: chunk.length })),
})
