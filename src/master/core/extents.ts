/*
 * Where the bytes of files are: commit, truncate, punch, share, move, free. Extents of a file never overlap, never reach
 * beyond its size, and those that continue each other in one chunk are one. `used` of the file, live bytes of the chunks
 * and the reverse index change together with them, here and nowhere else.
 */

import { later, withoutSetId } from '../../base/attr.ts'
import { errno } from '../../base/errno.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import { CHUNK_BYTES_MAX, FILE_BYTES_MAX } from '../../base/limits.ts'
import type { Extent, FileCommit } from '../../wire/shapes.ts'
import { changeAttributes, withoutCapabilities } from './attributes.ts'
import { addLive, putChunk, seal } from './chunks.ts'
import type { CommandOf } from './commands.ts'
import { ofClass } from './quota-table.ts'
import { countsRaw, refuseGrowth } from './quotas.ts'
import type { InodeRecord } from './records.ts'
import type { Work } from './work.ts'

/** Extents that one copyRange shares, and replaces, at most; the caller goes on from where it ended. Bounds the work of one command. */
const SHARE_EXTENTS_MAX = 4096
const EXTENTS_PAGE = 4096

const endOf = (extent: Extent): number => extent.offset + extent.length

/** Makes [from, to) a hole and answers how many bytes that freed. `used`: what the file had, to spare empty files the search. */
export function cut(work: Work, ino: Ino, from: number, to: number, used: number): number {
  if (used === 0 || from >= to) return 0
  let freed = 0
  let at = from
  for (;;) {
    const { extents, complete } = work.state.extents.from(ino, at, EXTENTS_PAGE, to)
    for (const extent of extents) freed += cutOne(work, ino, extent, from, to)
    if (complete) return freed
    at = endOf(extents.at(-1)!)
  }
}

/** Takes what lies within [from, to) away from one extent. */
function cutOne(work: Work, ino: Ino, extent: Extent, from: number, to: number): number {
  const { state } = work
  const left = Math.max(0, from - extent.offset)
  const right = Math.max(0, endOf(extent) - to)
  const freed = extent.length - left - right
  if (left === 0) state.extents.delete(ino, extent)
  else state.extents.put(ino, { ...extent, length: left })
  if (right > 0)
    state.extents.put(ino, {
      offset: to,
      length: right,
      chunk: extent.chunk,
      chunkOffset: extent.chunkOffset + extent.length - right,
    })
  addLive(work, { chunk: extent.chunk, chunkOffset: extent.chunkOffset + left, length: freed }, -1)
  return freed
}

const continues = (first: Extent | undefined, second: Extent | undefined): boolean =>
  first !== undefined &&
  second !== undefined &&
  first.chunk === second.chunk &&
  endOf(first) === second.offset &&
  first.chunkOffset + first.length === second.chunkOffset

/** Puts an extent where there is a hole, one with its neighbours where it continues them. */
function place(work: Work, ino: Ino, extent: Extent, file: { used: number; size: number }): void {
  const { state } = work
  let whole = extent
  if (file.used > 0) {
    const before = state.extents.before(ino, extent.offset)
    if (before !== undefined && continues(before, extent)) whole = { ...before, length: before.length + extent.length }
    if (endOf(extent) < file.size) {
      const next = state.extents.at(ino, endOf(extent))
      if (next !== undefined && continues(whole, next)) {
        state.extents.delete(ino, next)
        whole = { ...whole, length: whole.length + next.length }
      }
    }
  }
  state.extents.put(ino, whole)
  addLive(work, extent, 1)
}

/** Replaces what an extent covers. Answers by how much `used` grew. */
function write(work: Work, ino: Ino, extent: Extent, file: { used: number; size: number }): number {
  const freed = extent.offset >= file.size ? 0 : cut(work, ino, extent.offset, endOf(extent), file.used)
  place(work, ino, extent, { used: file.used - freed, size: file.size })
  return extent.length - freed
}

/** Counts bytes of all files. */
export function countBytes(work: Work, by: number): void {
  if (by !== 0) work.state.setCounters({ logicalBytes: work.state.counters().logicalBytes + by })
}

/** Cuts or extends a file; answers the attributes that follow from it. */
export function resized(work: Work, record: InodeRecord, size: number): { size: number; used: number } {
  const { attr } = record
  if (size >= attr.size) return { size, used: attr.used }
  const freed = cut(work, attr.ino, size, Number.MAX_SAFE_INTEGER, attr.used)
  countBytes(work, -freed)
  return { size, used: attr.used - freed }
}

export function shrunk(work: Work, command: CommandOf<'shrunk'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const { attr } = found.ok
  if (attr.type !== 'file') return refuse('EINVAL')
  const extents = work.state.extents.lastFrom(command.ino, command.size, command.limit)
  const first = extents.at(-1)
  if (first === undefined) return ok({})
  let freed = 0
  for (const extent of extents) {
    work.state.extents.delete(command.ino, extent)
    addLive(work, extent, -1)
    freed += extent.length
  }
  countBytes(work, -freed)
  work.put(found.ok, { size: first.offset, used: attr.used - freed, mtime: work.now, ctime: work.now })
  work.touchInode(command.ino, true)
  return ok({})
}

/** Frees at most the command's budget of extents; true when none is left. */
export function freeAll(work: Work, ino: Ino, used: number): boolean {
  if (used === 0) return true
  const { extents, complete } = work.state.extents.from(ino, 0, work.freeBudget)
  let freed = 0
  for (const extent of extents) {
    work.state.extents.delete(ino, extent)
    addLive(work, extent, -1)
    freed += extent.length
  }
  work.freeBudget -= extents.length
  countBytes(work, -freed)
  if (!complete) {
    const record = work.state.inode(ino)
    if (record !== undefined)
      work.state.setInode(ino, { ...record, attr: { ...record.attr, used: record.attr.used - freed } })
  }
  return complete
}

/** Why this extent cannot become part of a file now. */
function refuseExtent(work: Work, extent: Extent): Result<never> | undefined {
  if (extent.length === 0) return refuse('EINVAL', 'an extent of no bytes')
  if (endOf(extent) > FILE_BYTES_MAX) return refuse('EFBIG')
  const record = work.state.chunk(extent.chunk)
  const end = extent.chunkOffset + extent.length
  if (record === undefined || record.whole !== undefined) return refuse('EIO', `chunk ${extent.chunk} is unknown`)
  const own = record.session !== 0 && record.session === work.session
  if (!own && record.state !== 'sealed') return refuse('EIO', `chunk ${extent.chunk} is being written by another`)
  const limit = record.state === 'open' ? CHUNK_BYTES_MAX : record.length
  return end > limit ? refuse('EIO', `chunk ${extent.chunk} ends at ${limit}`) : undefined
}

/** Why a quota does not take these bytes; undefined: it does. */
function refuseBytes(
  work: Work,
  { attr, quota }: InodeRecord,
  extents: readonly { readonly offset: number; readonly length: number }[],
  minSize: number,
): ReturnType<typeof refuse> | undefined {
  if (quota === 0) return undefined
  let size = Math.max(attr.size, minSize)
  let used = 0
  const raw = countsRaw(work.state, quota)
  for (const { offset, length } of extents) {
    size = Math.max(size, offset + length)
    if (raw) used += length - covered(work, attr, offset, offset + length)
  }
  used = Math.max(0, used)
  return refuseGrowth(work, quota, {
    inodes: 0,
    length: size - attr.size,
    used,
    classes: ofClass(attr.classId, used),
  })
}

/** Bytes of a file between two offsets that are not in a hole. */
function covered(work: Work, { ino, used }: InodeRecord['attr'], from: number, to: number): number {
  if (used === 0) return 0
  let bytes = 0
  for (let at = from; ; ) {
    const { extents, complete } = work.state.extents.from(ino, at, EXTENTS_PAGE, to)
    for (const extent of extents) bytes += Math.min(endOf(extent), to) - Math.max(extent.offset, from)
    if (complete) return bytes
    at = endOf(extents.at(-1)!)
  }
}

function commitFile(work: Work, file: FileCommit): Result<InodeRecord> {
  const found = work.inode(file.ino)
  if ('errno' in found) return found
  const record = found.ok
  if (record.attr.type !== 'file') return refuse(record.attr.type === 'dir' ? 'EISDIR' : 'EINVAL')
  for (const extent of file.extents) {
    const refusal = refuseExtent(work, extent)
    if (refusal !== undefined) return refusal
  }
  const full = file.answered === true ? undefined : refuseBytes(work, record, file.extents, file.minSize ?? 0)
  if (full !== undefined) return full
  let { size, used } = record.attr
  for (const extent of file.extents) {
    used += write(work, file.ino, extent, { used, size })
    size = Math.max(size, endOf(extent))
    const chunk = work.state.chunk(extent.chunk)
    const end = extent.chunkOffset + extent.length
    if (chunk?.state === 'open' && end > chunk.length) putChunk(work, extent.chunk, { ...chunk, length: end })
  }
  countBytes(work, used - record.attr.used)
  size = Math.max(size, file.minSize ?? 0)
  const data = file.extents.length > 0 || size !== record.attr.size
  const mtime = file.mtime ?? (data ? work.now : record.attr.mtime)
  const ctime = data || file.mtime !== undefined ? work.now : record.attr.ctime
  const next = work.put(data ? withoutCapabilities(work, record) : record, { size, used, mtime, ctime })
  work.touchInode(file.ino, data)
  const done = file.change === undefined ? ok(next) : changeAttributes(work, next, file.change)
  if ('errno' in done || file.ctime === undefined) return done
  return ok(work.put(done.ok, { ctime: later(record.attr.ctime, file.ctime) }))
}

export function commit(work: Work, command: CommandOf<'commit'>): Result<unknown> {
  const files = command.files.map((file) => {
    const result = commitFile(work, file)
    return 'errno' in result
      ? { errno: errno[result.errno].number, attr: undefined }
      : { errno: 0, attr: result.ok.attr }
  })
  return ok({ files })
}

export function fallocate(work: Work, command: CommandOf<'fallocate'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const record = found.ok
  const { attr } = record
  if (attr.type !== 'file') return refuse(attr.type === 'dir' ? 'EISDIR' : 'EINVAL')
  if (command.length === 0) return refuse('EINVAL')
  if (command.what === 'punch' && !command.keepSize) return refuse('EINVAL')
  const end = command.offset + command.length
  if (end > FILE_BYTES_MAX) return refuse('EFBIG')
  const full = command.keepSize ? undefined : refuseBytes(work, record, [], end)
  if (full !== undefined) return full
  const freed = command.what === 'reserve' ? 0 : cut(work, command.ino, command.offset, end, attr.used)
  countBytes(work, -freed)
  const size = command.keepSize ? attr.size : Math.max(attr.size, end)
  const data = command.what !== 'reserve' || size !== attr.size
  const mode = command.killSuidGid ? withoutSetId(attr.mode) : attr.mode
  const next = work.put(withoutCapabilities(work, record), {
    mode,
    size,
    used: attr.used - freed,
    ctime: work.now,
    ...(data ? { mtime: work.now } : {}),
  })
  work.touchInode(command.ino, data)
  return ok(next.attr)
}

export function copyRange(work: Work, command: CommandOf<'copyRange'>): Result<unknown> {
  const from = work.inode(command.source)
  if ('errno' in from) return from
  const to = work.inode(command.target)
  if ('errno' in to) return to
  for (const { attr } of [from.ok, to.ok])
    if (attr.type !== 'file') return refuse(attr.type === 'dir' ? 'EISDIR' : 'EINVAL')
  const { sourceOffset, targetOffset } = command
  let length = Math.max(0, Math.min(command.length, from.ok.attr.size - sourceOffset))
  if (command.source === command.target && sourceOffset < targetOffset + length && targetOffset < sourceOffset + length)
    return refuse('EINVAL', 'the ranges overlap')
  if (targetOffset + length > FILE_BYTES_MAX) return refuse('EFBIG')
  if (length === 0) return ok({ copied: 0, attr: to.ok.attr })
  const { extents, complete } = work.state.extents.from(
    command.source,
    sourceOffset,
    SHARE_EXTENTS_MAX,
    sourceOffset + length,
  )
  if (!complete) length = endOf(extents.at(-1)!) - sourceOffset
  // What it replaces is bounded as well.
  const replaced = work.state.extents.from(command.target, targetOffset, SHARE_EXTENTS_MAX, targetOffset + length)
  if (!replaced.complete) length = endOf(replaced.extents.at(-1)!) - targetOffset
  const { attr } = to.ok
  // At most this: what is a hole in the source takes no room.
  const full = refuseBytes(work, to.ok, [{ offset: targetOffset, length }], 0)
  if (full !== undefined) return full
  let used = attr.used - cut(work, command.target, targetOffset, targetOffset + length, attr.used)
  for (const extent of extents) {
    const start = Math.max(extent.offset, sourceOffset)
    if (start >= sourceOffset + length) break
    const shared = Math.min(endOf(extent), sourceOffset + length) - start
    place(
      work,
      command.target,
      {
        offset: targetOffset + start - sourceOffset,
        length: shared,
        chunk: extent.chunk,
        chunkOffset: extent.chunkOffset + start - extent.offset,
      },
      { used, size: Math.max(attr.size, targetOffset + length) },
    )
    used += shared
  }
  countBytes(work, used - attr.used)
  const next = work.put(withoutCapabilities(work, to.ok), {
    mode: command.killSuidGid ? withoutSetId(attr.mode) : attr.mode,
    size: Math.max(attr.size, targetOffset + length),
    used,
    mtime: work.now,
    ctime: work.now,
  })
  work.touchInode(command.target, true)
  return ok({ copied: length, attr: next.attr })
}

export function relocate(work: Work, command: CommandOf<'relocate'>): Result<unknown> {
  const { state } = work
  const target = state.chunk(command.chunk)
  if (target === undefined || target.state !== 'open' || target.session !== 0) return refuse('ENOENT')
  for (const move of command.moves) {
    if (move.newOffset + move.length > command.length) return refuse('EINVAL', 'beyond the end of the new chunk')
    if (move.oldChunk === command.chunk) return refuse('EINVAL', 'onto itself')
  }
  for (const move of command.moves) {
    const found = state.extents.at(move.ino, move.offset)
    if (found?.chunk !== move.oldChunk || found.chunkOffset !== move.oldOffset || found.length !== move.length) continue
    const record = state.inode(move.ino)
    if (record === undefined || record.doomed) continue
    state.extents.delete(move.ino, found)
    addLive(work, found, -1)
    place(
      work,
      move.ino,
      { offset: move.offset, length: move.length, chunk: command.chunk, chunkOffset: move.newOffset },
      record.attr,
    )
  }
  const record = state.chunk(command.chunk)
  if (record !== undefined) seal(work, command.chunk, record, command.length)
  return ok({})
}
