/*
 * Which live ranges are to be rewritten into one new chunk, and which extents then move where. Pure.
 *
 * Ranges are read in the order given; extents that share bytes (snapshots, copy_file_range) share the rewritten bytes as
 * well, so nothing is stored twice that was stored once.
 */

import type { ChunkId, Ino } from '../../base/ids.ts'
import { BLOCK_BYTES, MOVE_BYTES } from '../../base/limits.ts'
import type { Extent } from '../../wire/shapes.ts'

export interface Owned {
  readonly ino: Ino
  readonly extent: Extent
}

/** A chunk of which some is dead. */
export interface Partly {
  readonly chunk: ChunkId
  readonly length: number
  readonly live: number
}

export interface Range {
  readonly chunk: ChunkId
  readonly offset: number
  readonly length: number
}

export interface Move {
  readonly ino: Ino
  readonly offset: number
  readonly length: number
  readonly oldChunk: ChunkId
  readonly oldOffset: number
  readonly newOffset: number
}

export interface Rewrite {
  readonly ranges: readonly Range[]
  readonly moves: readonly Move[]
  readonly length: number
}

/** Rewriting costs what is live and wins what is dead: beyond this, more than seven bytes are written for one that is won. */
const DEAD_SHARE_LEAST = 1 / 8

const deadOf = ({ length, live }: Partly): number => length - live

/** The `limit` with most dead bytes of these that are worth being rewritten when room is short; most first. */
export const mostDead = (chunks: readonly Partly[], limit: number): Partly[] =>
  chunks
    .filter((chunk) => chunk.live > 0 && deadOf(chunk) >= chunk.length * DEAD_SHARE_LEAST)
    .sort((a, b) => deadOf(b) - deadOf(a) || a.chunk - b.chunk)
    .slice(0, limit)

/** Of these, in their order, those whose live bytes fit together into `bytesMax`. */
export function fitting(chunks: readonly Partly[], bytesMax: number): Partly[] {
  let left = bytesMax
  return chunks.filter(({ live }) => {
    if (live > left) return false
    left -= live
    return true
  })
}

/** In the order of the bytes in their chunks: what is left of a chunk keeps its order. For half-dead chunks. */
export function rewriteByChunk(owned: readonly Owned[], bytesMax: number, movesMax: number): Rewrite {
  const order = [...owned].sort(
    (a, b) => a.extent.chunk - b.extent.chunk || a.extent.chunkOffset - b.extent.chunkOffset || a.ino - b.ino,
  )
  return rewrite(order, bytesMax, movesMax)
}

/** In the order given, which is that of the file: the bytes of one file become one stream. For fragmented files. */
export function rewrite(order: readonly Owned[], bytesMax: number, movesMax: number): Rewrite {
  const ranges: Range[] = []
  const moves: Move[] = []
  /** Where the bytes of a chunk were put last. Only that one is shared: looking at all would cost the square. */
  const placed = new Map<ChunkId, { start: number; end: number; at: number }>()
  let length = 0
  for (const { ino, extent } of order) {
    if (moves.length === movesMax) break
    const { chunk, chunkOffset } = extent
    const end = chunkOffset + extent.length
    const last = placed.get(chunk)
    const overlaps = last !== undefined && last.start <= chunkOffset && chunkOffset <= last.end
    let newOffset = length
    if (overlaps && end <= last.end) newOffset = last.at + (chunkOffset - last.start)
    else if (overlaps && last.at + (last.end - last.start) === length) {
      // It continues what was written last of all: only the bytes beyond are new.
      const more = end - last.end
      if (length + more > bytesMax) break
      newOffset = last.at + (chunkOffset - last.start)
      const range = ranges.at(-1)!
      ranges[ranges.length - 1] = { ...range, length: range.length + more }
      last.end = end
      length += more
    } else {
      if (length + extent.length > bytesMax) break
      ranges.push({ chunk, offset: chunkOffset, length: extent.length })
      placed.set(chunk, { start: chunkOffset, end, at: length })
      length += extent.length
    }
    moves.push({
      ino,
      offset: extent.offset,
      length: extent.length,
      oldChunk: chunk,
      oldOffset: chunkOffset,
      newOffset,
    })
  }
  return { ranges, moves, length }
}

/**
 * How much of each chunk is read for these ranges: the windows, from the block of a range on, that whoever carries them out
 * fetches; what lies in the last one is not fetched again.
 */
export function readFor(ranges: readonly Range[], lengthOf: (chunk: ChunkId) => number): Map<ChunkId, number> {
  const read = new Map<ChunkId, number>()
  let last: { chunk: ChunkId; from: number; to: number } | undefined
  for (const { chunk, offset, length } of ranges)
    for (let at = offset; at < offset + length; at = last!.to) {
      if (last?.chunk === chunk && last.from <= at && at < last.to) continue
      const from = Math.floor(at / BLOCK_BYTES) * BLOCK_BYTES
      const to = from + MOVE_BYTES
      last = { chunk, from, to }
      read.set(chunk, (read.get(chunk) ?? 0) + Math.max(0, Math.min(to, lengthOf(chunk)) - from))
    }
  return read
}
