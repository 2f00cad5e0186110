/*
 * Which byte of an erasure-coded chunk lies where. The chunk is cut into blocks of 64 KiB; block b is block ⌊b/k⌋ of data part
 * b mod k. The blocks of one number in all parts are a row; its parity is as long as its first block, and shorter data counts as
 * padded with zeros. So a parity part is as long as data part 0, and byte p of a part depends only on bytes p of the others.
 *
 * Any range of the chunk is one range of each part that it touches, because a part holds its share of it without a gap.
 */

import { BLOCK_BYTES } from '../base/limits.ts'

/** How long each part of a chunk of `length` bytes is. */
export function partLength(length: number, data: number, index: number): number {
  const part = index < data ? index : 0
  const blocks = Math.ceil(length / BLOCK_BYTES)
  if (part >= blocks) return 0
  const held = Math.ceil((blocks - part) / data)
  const endsChunk = (blocks - 1) % data === part
  return endsChunk ? (held - 1) * BLOCK_BYTES + (length - (blocks - 1) * BLOCK_BYTES) : held * BLOCK_BYTES
}

export function partLengths(length: number, data: number, parity: number): number[] {
  return Array.from({ length: data + parity }, (_, index) => partLength(length, data, index))
}

export interface Piece {
  /** Of the data part. */
  readonly index: number
  readonly offset: number
  readonly length: number
}

/** How far into data part `index` the bytes of the chunk before `offset` reach. */
function reach(offset: number, data: number, index: number): number {
  const block = Math.floor(offset / BLOCK_BYTES)
  const row = Math.floor(block / data)
  const column = block - row * data
  if (index < column) return (row + 1) * BLOCK_BYTES
  return row * BLOCK_BYTES + (index === column ? offset - block * BLOCK_BYTES : 0)
}

/** The range of each data part that `length` bytes of the chunk from `offset` on lie in; parts without any are left out. */
export function piecesOf(offset: number, length: number, data: number): Piece[] {
  const out: Piece[] = []
  for (let index = 0; index < data; index++) {
    const from = reach(offset, data, index)
    const to = reach(offset + length, data, index)
    if (to > from) out.push({ index, offset: from, length: to - from })
  }
  return out
}

/**
 * The bytes of the chunk from `offset` on out of the pieces that piecesOf named: in order, not copied, at most a block in each.
 */
export function inOrder<T extends Uint8Array>(
  offset: number,
  length: number,
  data: number,
  pieces: readonly { readonly index: number; readonly offset: number; readonly bytes: T }[],
): T[] {
  const byPart: (typeof pieces)[number][] = []
  for (const piece of pieces) byPart[piece.index] = piece
  const out: T[] = []
  for (let at = offset; at < offset + length; ) {
    const block = Math.floor(at / BLOCK_BYTES)
    const end = Math.min(offset + length, (block + 1) * BLOCK_BYTES)
    const row = Math.floor(block / data)
    const piece = byPart[block - row * data]!
    const from = row * BLOCK_BYTES + (at - block * BLOCK_BYTES) - piece.offset
    out.push(piece.bytes.subarray(from, from + end - at) as T)
    at = end
  }
  return out
}
