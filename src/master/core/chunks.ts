/*
 * Chunk records and everything that hangs on them: the indexes by disk, by session, of the dead, of those that repair or
 * compaction has to look at, and the health counters. `putChunk` is the only place that changes a chunk record, so the
 * indexes cannot drift from it.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { ChunkId, DiskId } from '../../base/ids.ts'
import type { Extent, InventoryEntry } from '../../wire/shapes.ts'
import type { CommandOf } from './commands.ts'
import type { ChunkRecord, Counters } from './records.ts'
import { EMPTY } from './records.ts'
import type { State } from './state.ts'
import { key } from './tables.ts'
import { countUsage } from './usage.ts'
import type { Work } from './work.ts'

export type ChunkClass = 'open' | 'dead' | 'safe' | 'under' | 'endangered' | 'lost' | 'over'

/**
 * How safe a chunk is as far as the state knows: it does not know which disks can be reached. Parts do not count, the
 * chunks do that are made of them.
 */
export function chunkClass(record: ChunkRecord): ChunkClass | undefined {
  if (record.state === 'sealed' && record.live === 0) return 'dead'
  if (record.whole !== undefined) return undefined
  if (record.state !== 'sealed') return 'open'
  const copies = record.disks.length
  if (record.ec !== undefined && record.lost === undefined) {
    const { data, parts, present } = record.ec
    if (present === parts.length) return copies > 0 ? 'over' : 'safe'
    if (copies === 0) return present < data ? 'lost' : present === data ? 'endangered' : 'under'
  }
  if (copies === 0 || record.lost !== undefined) return 'lost'
  if (copies === 1 && record.copies > 1) return 'endangered'
  return copies < record.copies ? 'under' : copies > record.copies ? 'over' : 'safe'
}

export const needsAttention = (record: ChunkRecord): boolean =>
  record.state === 'sealing' ||
  (record.state === 'sealed' && record.live > 0 && (record.unsealed.length > 0 || !isAsWanted(record)))

/** Copies in number, or all parts of the code that is wanted and nothing else. Where they are is not asked here. */
function isAsWanted({ ec, code, disks, copies }: ChunkRecord): boolean {
  if (ec === undefined) return code === undefined && disks.length === copies
  const coded = code !== undefined && code.data === ec.data && code.parity === ec.parity
  return coded && disks.length === 0 && ec.present === ec.parts.length
}

/**
 * Nobody needs it: it has no live byte, and no snapshot is being made, which could give it some (what was deleted or
 * overwritten meanwhile is part of it).
 */
export const isDispensable = (state: State, record: ChunkRecord): boolean =>
  record.state === 'sealed' && record.live === 0 && state.imaging() === undefined

/** Less than half live: compaction wins more than it writes. */
export const isSparse = (record: ChunkRecord): boolean =>
  record.state === 'sealed' && record.whole === undefined && record.live > 0 && record.live * 2 < record.length

const isOpen = (record: ChunkRecord | undefined): boolean => record?.state === 'open'

export function putChunk(work: Work, chunk: ChunkId, wanted: ChunkRecord | undefined): void {
  const { state } = work
  const before = state.chunk(chunk)
  const dead = wanted !== undefined && wanted.state === 'sealed' && wanted.live === 0
  const after =
    wanted === undefined
      ? undefined
      : { ...wanted, deadSec: dead ? (wanted.deadSec ?? Math.max(0, work.now.sec)) : undefined }
  state.setChunk(chunk, after)
  countUsage(state, chunk, before, after)
  const classBefore = before === undefined ? undefined : chunkClass(before)
  const classAfter = after === undefined ? undefined : chunkClass(after)
  if (classBefore !== classAfter) {
    const counters = state.counters()
    const change: { -readonly [K in keyof Counters]?: Counters[K] } = {}
    if (classBefore !== undefined) change[classBefore] = counters[classBefore] - 1
    if (classAfter !== undefined) change[classAfter] = counters[classAfter] + 1
    state.setCounters(change)
    work.touchChunk(chunk)
  }
  const lostBefore = before?.lost ?? 0
  const lostAfter = after?.lost ?? 0
  if (lostBefore !== lostAfter)
    state.setCounters({ lostBytes: (state.counters().lostBytes ?? 0) + lostAfter - lostBefore })
  if (before?.disks !== after?.disks) {
    for (const disk of before?.disks ?? []) {
      if (after?.disks.includes(disk)) continue
      state.kv.delete(key.diskChunk(disk, chunk))
      countOnDisk(work, disk, -1)
    }
    for (const disk of after?.disks ?? []) {
      if (before?.disks.includes(disk)) continue
      state.kv.put(key.diskChunk(disk, chunk), EMPTY)
      countOnDisk(work, disk, +1)
    }
    work.touchChunk(chunk)
  }
  if (isOpen(before) !== isOpen(after) || (isOpen(after) && before?.session !== after?.session)) {
    if (before !== undefined && isOpen(before)) state.kv.delete(key.openChunk(before.session, chunk))
    if (after !== undefined && isOpen(after)) state.kv.put(key.openChunk(after.session, chunk), EMPTY)
  }
  if (before?.deadSec !== after?.deadSec) {
    if (before?.deadSec !== undefined) state.kv.delete(key.dead(before.deadSec, chunk))
    if (after?.deadSec !== undefined) state.kv.put(key.dead(after.deadSec, chunk), EMPTY)
  }
  mark(work, before, after, needsAttention, key.attention(chunk), chunk)
  mark(work, before, after, isSparse, key.sparse(chunk), chunk)
  if (before?.whole !== undefined || after?.whole !== undefined) countPart(work, chunk, before, after)
  if (before?.ec !== undefined && after?.ec === undefined) for (const part of before.ec.parts) orphan(work, part)
}

const isPresent = (record: ChunkRecord | undefined): boolean =>
  record?.state === 'sealed' && record.disks.length > record.unsealed.length

/** The chunk that a part belongs to knows how many of its parts somebody has. */
function countPart(work: Work, part: ChunkId, before: ChunkRecord | undefined, after: ChunkRecord | undefined): void {
  const whole = after?.whole ?? before?.whole
  const by = Number(isPresent(after)) - Number(isPresent(before))
  const record = whole === undefined ? undefined : work.state.chunk(whole)
  if (by === 0 || whole === undefined || record?.ec?.parts.includes(part) !== true) return
  putChunk(work, whole, { ...record, ec: { ...record.ec, present: record.ec.present + by } })
  work.touchChunk(whole)
}

/** A part of nothing: it dies, and is collected like any dead chunk. */
export function orphan(work: Work, part: ChunkId): void {
  const record = work.state.chunk(part)
  // Nor is its end waited for: a disk that is away may never tell.
  if (record !== undefined)
    putChunk(work, part, { ...record, state: 'sealed', unsealed: [], live: 0, whole: undefined })
}

function mark(
  work: Work,
  before: ChunkRecord | undefined,
  after: ChunkRecord | undefined,
  applies: (record: ChunkRecord) => boolean,
  at: string,
  chunk: ChunkId,
): void {
  const was = before !== undefined && applies(before)
  const is = after !== undefined && applies(after)
  if (was === is) return
  if (is) work.state.kv.put(at, EMPTY)
  else work.state.kv.delete(at)
  work.touchChunk(chunk)
}

function countOnDisk(work: Work, disk: DiskId, by: number): void {
  const record = work.state.disk(disk)
  if (record !== undefined) work.state.setDisk(disk, { ...record, chunks: record.chunks + by })
}

/** Bytes of a chunk, wherever in a file. */
export type ChunkRange = Omit<Extent, 'offset'>

/** Extents came (+1) or went (−1). */
export function addLive(work: Work, range: ChunkRange, sign: 1 | -1): void {
  const record = work.state.chunk(range.chunk)
  if (record === undefined || range.length === 0) return
  const live = record.live + sign * range.length
  const beyond = record.state === 'open' ? 0 : bytesBeyond(range, record.length)
  // A snapshot can bring back what nothing referred to when the chunk turned out to have lost it.
  const returns = record.lost === undefined && sign > 0 && beyond > 0
  const lost = record.lost === undefined && !returns ? 0 : (record.lost ?? 0) + sign * beyond
  const committed = Math.max(record.committed ?? 0, range.chunkOffset + range.length)
  if (lost > 0) putChunk(work, range.chunk, { ...record, live, lost, committed })
  // When nothing refers to what is gone, it is not missed: the chunk is one like others.
  else putChunk(work, range.chunk, record.lost === undefined ? { ...record, live } : { ...record, live, ...WHOLE })
}

const WHOLE = { committed: undefined, lost: undefined } as const

/** How much of a range lies beyond an end. */
export const bytesBeyond = ({ chunkOffset, length }: ChunkRange, end: number): number =>
  Math.max(0, chunkOffset + length - Math.max(end, chunkOffset))

/** A chunk ends at `length`. One without a byte has nothing to keep and nothing to confirm. */
export function seal(work: Work, chunk: ChunkId, record: ChunkRecord, length: number): void {
  putChunk(work, chunk, {
    ...record,
    state: length === 0 ? 'sealed' : 'sealing',
    length,
    unsealed: length === 0 ? [] : record.disks,
  })
  work.touchChunk(chunk)
}

/** The disks without one; it leaves the count. */
function without(work: Work, chunk: ChunkId, record: ChunkRecord, disk: DiskId): void {
  putChunk(work, chunk, {
    ...record,
    disks: record.disks.filter((other) => other !== disk),
    unsealed: record.unsealed.filter((other) => other !== disk),
  })
}

/** Copies that may be relied on: all of an open chunk's, of a sealed one those that have confirmed. */
export const confirmed = (record: ChunkRecord): DiskId[] =>
  record.state === 'open' ? record.disks : record.disks.filter((disk) => !record.unsealed.includes(disk))

/**
 * Whether a chunk can do without this copy: an open one has another, a sealed one another that has confirmed, or all
 * parts that it is made of.
 */
export const hasOther = (record: ChunkRecord, disk: DiskId): boolean =>
  (record.ec !== undefined && record.ec.present === record.ec.parts.length) ||
  (record.state === 'sealed' ? confirmed(record) : record.disks).some((other) => other !== disk)

export function newChunk(
  work: Work,
  wanted: { chunk: ChunkId; disks: readonly DiskId[] },
  copies: number,
  session: ChunkRecord['session'],
  rest: Partial<Pick<ChunkRecord, 'classId' | 'whole' | 'createdSec'>> = {},
): void {
  putChunk(work, wanted.chunk, {
    version: 1,
    state: 'open',
    session,
    length: 0,
    live: 0,
    copies,
    createdSec: Math.max(0, work.now.sec),
    disks: [...new Set(wanted.disks)],
    unsealed: [],
    deadSec: undefined,
    ...WHOLE,
    classId: undefined,
    phase: undefined,
    code: undefined,
    ec: undefined,
    whole: undefined,
    ...rest,
  })
  const counters = work.state.counters()
  if (wanted.chunk >= counters.nextChunk) work.state.setCounters({ nextChunk: wanted.chunk + 1 })
}

export function cannotOpen(work: Work, chunk: ChunkId, disks: readonly DiskId[]): Result<never> | undefined {
  if (work.state.chunk(chunk) !== undefined || chunk === 0) return refuse('EIO', `chunk number ${chunk} is taken`)
  if (disks.length === 0) return refuse('ENOSPC', 'no disk takes a new chunk')
  const unknown = disks.find((disk) => {
    const record = work.state.disk(disk)
    return record === undefined || record.leaving !== undefined
  })
  return unknown === undefined ? undefined : refuse('ENOSPC', `disk ${unknown} is unknown or to be forgotten`)
}

export function chunkOpen(work: Work, command: CommandOf<'chunkOpen'>): Result<unknown> {
  const seen = new Set<ChunkId>()
  for (const { chunk, disks } of command.chunks) {
    const refusal = cannotOpen(work, chunk, disks)
    if (refusal !== undefined) return refusal
    if (seen.has(chunk)) return refuse('EIO', `chunk number ${chunk} is given twice`)
    seen.add(chunk)
  }
  const { classId } = command
  for (const wanted of command.chunks) newChunk(work, wanted, command.copies, work.session, { classId })
  const chunks = command.chunks.flatMap(({ chunk }) => work.state.chunkPlaces(chunk) ?? [])
  return ok({ chunks, bytesMax: command.bytesMax })
}

export function chunkSeal(work: Work, command: CommandOf<'chunkSeal'>): Result<unknown> {
  const record = work.state.chunk(command.chunk)
  // Session 0 is the master itself: it ends what a failed compaction or a lost session left.
  if (record === undefined || (work.session !== 0 && record.session !== work.session)) return refuse('ENOENT')
  if (record.state !== 'open')
    return record.length === command.length ? ok({}) : refuse('EINVAL', `was sealed at ${record.length}`)
  if (command.length < record.length) return refuse('EINVAL', `${record.length} bytes are committed`)
  const kept = record.disks.filter((disk) => !command.failed.includes(disk))
  // When every target failed, what they hold is all there is.
  const disks = kept.length === 0 && command.length > 0 ? record.disks : kept
  for (const disk of record.disks) if (!disks.includes(disk)) work.unwanted(disk, command.chunk)
  seal(work, command.chunk, { ...record, disks }, command.length)
  return ok({})
}

export function chunkSealed(work: Work, command: CommandOf<'chunkSealed'>): Result<unknown> {
  const record = work.state.chunk(command.chunk)
  if (record === undefined) return refuse('ENOENT')
  if (record.state === 'open') return refuse('EINVAL', 'still open')
  const unsealed = record.disks.filter((disk) => !command.disks.includes(disk) && confirmedNot(record, disk))
  // While nobody has confirmed, it stays what it is: repair goes on asking.
  if (record.state === 'sealing' && unsealed.length === record.disks.length) return refuse('EINVAL', 'nobody confirms')
  putChunk(work, command.chunk, { ...record, state: 'sealed', unsealed })
  work.touchChunk(command.chunk)
  return ok({})
}

/**
 * Where a chunk ends when no copy holds what was committed. Only the shell knows that all copies have been heard; here it
 * is made sure that a chunk becomes shorter once, and after that only longer again.
 */
export function chunkShortened(work: Work, command: CommandOf<'chunkShortened'>): Result<unknown> {
  const { chunk, length } = command
  const record = work.state.chunk(chunk)
  if (record === undefined) return refuse('ENOENT')
  const committed = record.committed ?? record.length
  const may = record.state === 'sealing' || (record.committed !== undefined && length > record.length)
  if (!may || length > committed) return refuse('EINVAL', `${record.state} at ${record.length} of ${committed} bytes`)
  const disks = record.disks.filter((disk) => !command.gone.includes(disk))
  const sealed = disks.filter((disk) => command.disks.includes(disk))
  // A part is as long as its chunk says, whoever has it; shorter it would count for one that can be read.
  const part = record.whole !== undefined
  if (part && length !== record.length) return refuse('EINVAL', `a part of ${record.length} bytes`)
  if (length > 0 && sealed.length === 0 && !part) return refuse('EINVAL', 'nobody confirms')
  const lost = part ? 0 : (command.lost ?? lostBeyond(work, chunk, record, length))
  putChunk(work, chunk, {
    ...record,
    // Parts of what was shorter are not its parts; a copy that is longer has just confirmed.
    ec: length === record.length ? record.ec : undefined,
    state: 'sealed',
    length,
    disks,
    unsealed: disks.filter((disk) => !sealed.includes(disk)),
    ...(lost > 0 ? { committed, lost } : WHOLE),
  })
  work.touchChunk(chunk)
  return ok({})
}

/** By all extents of the chunk. Those may be very many, of small or shared pieces: the shell counts them before, if it can. */
function lostBeyond(work: Work, chunk: ChunkId, { live }: ChunkRecord, length: number): number {
  if (length === 0) return live
  const extents = work.state.extents.inChunk(chunk, undefined, Number.MAX_SAFE_INTEGER)
  return extents.reduce((sum, { extent }) => sum + bytesBeyond(extent, length), 0)
}

const confirmedNot = (record: ChunkRecord, disk: DiskId): boolean =>
  record.state === 'sealing' || record.unsealed.includes(disk)

export function copyAdded(work: Work, command: CommandOf<'copyAdded'>): Result<unknown> {
  const record = work.state.chunk(command.chunk)
  const target = work.state.disk(command.disk)
  if (record === undefined || target === undefined || target.leaving !== undefined) {
    work.unwanted(command.disk, command.chunk)
    return refuse('ENOENT')
  }
  if (record.state === 'open') return refuse('EINVAL', 'still open')
  addCopy(work, command.chunk, record, command.disk)
  return ok({})
}

/** A verified copy counts (again). */
export function addCopy(work: Work, chunk: ChunkId, record: ChunkRecord, disk: DiskId): void {
  const known = record.disks.includes(disk)
  if (known && !record.unsealed.includes(disk)) return
  putChunk(work, chunk, {
    ...record,
    disks: known ? record.disks : [...record.disks, disk],
    unsealed: record.unsealed.filter((other) => other !== disk),
  })
  work.touchChunk(chunk)
}

/**
 * Whether a copy that counts is not what the chunk is, so that it has to be mended. Copies that have not confirmed the
 * seal are not meant: sealing finds out about those.
 */
export const needsMending = (record: ChunkRecord, entry: InventoryEntry, disk: DiskId): boolean =>
  record.state !== 'open' &&
  record.disks.includes(disk) &&
  (entry.state === 'damaged' ||
    (record.state === 'sealed' &&
      entry.state !== 'gone' &&
      !record.unsealed.includes(disk) &&
      entry.length < record.length))

/**
 * Drops a copy. Which of the others can be read now is for the shell to find out before it asks for this; here only the
 * last one is safe from everything.
 */
export function copyDropped(work: Work, command: CommandOf<'copyDropped'>): Result<unknown> {
  const record = work.state.chunk(command.chunk)
  if (record === undefined || !record.disks.includes(command.disk)) return refuse('ENOENT')
  if (!hasOther(record, command.disk) && !isDispensable(work.state, record))
    return refuse('EBUSY', 'it is the last copy')
  without(work, command.chunk, record, command.disk)
  work.unwanted(command.disk, command.chunk)
  return ok({})
}

/** A disk no longer has its copy: nothing to decide, only to know. */
export function copyGone(work: Work, chunk: ChunkId, record: ChunkRecord, disk: DiskId): void {
  if (record.disks.includes(disk)) without(work, chunk, record, disk)
}

export function chunksForgotten(work: Work, command: CommandOf<'chunksForgotten'>): Result<unknown> {
  for (const chunk of command.chunks) {
    const record = work.state.chunk(chunk)
    // Something may have come to refer to it since the shell looked.
    if (record === undefined || !isDispensable(work.state, record)) continue
    for (const disk of record.disks) work.unwanted(disk, chunk)
    putChunk(work, chunk, undefined)
  }
  return ok({})
}

export function compactBegun(work: Work, command: CommandOf<'compactBegun'>): Result<unknown> {
  const refusal = cannotOpen(work, command.chunk, command.disks)
  if (refusal !== undefined) return refusal
  const { copies, classId, createdSec } = command
  const age = createdSec === undefined ? {} : { createdSec }
  newChunk(work, command, copies, 0 as ChunkRecord['session'], { classId, ...age })
  return ok({})
}
