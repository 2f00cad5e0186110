/*
 * Where the bytes of files are, from both sides: extents by file and offset, and which extents lie in a chunk. The two are
 * written together here, and what must hold between them and the counts is kept in extents.ts.
 */

import type { ChunkId, Ino } from '../../base/ids.ts'
import type { Extent } from '../../wire/shapes.ts'
import type { Kv } from './kv.ts'
import { EMPTY, pack, unpack } from './records.ts'
import { after, afterNum, key, num, numAt } from './tables.ts'

export class ExtentTable {
  readonly #kv: Kv
  constructor(kv: Kv) {
    this.#kv = kv
  }

  /** Extents that end after `offset`, in order, at most `maxCount`; `complete`: there are no more before `end`. */
  from(
    ino: Ino,
    offset: number,
    maxCount: number,
    end: number = Number.MAX_SAFE_INTEGER,
  ): { extents: Extent[]; complete: boolean } {
    const extents: Extent[] = []
    let complete = true
    const prefix = key.extentsOf(ino)
    const first = this.before(ino, offset)
    if (first !== undefined && first.offset + first.length > offset && first.offset < end) extents.push(first)
    this.#kv.scan({ from: prefix + num(offset), to: after(prefix) }, (at, value) => {
      const start = numAt(at, prefix.length)
      if (start >= end) return false
      if (extents.length >= maxCount) {
        complete = false
        return false
      }
      extents.push(decodeExtent(start, value))
      return true
    })
    return { extents, complete }
  }
  /** The extent that begins last before `offset`. */
  before(ino: Ino, offset: number): Extent | undefined {
    let found: Extent | undefined
    const prefix = key.extentsOf(ino)
    this.#kv.scan({ from: prefix, to: prefix + num(offset), reverse: true }, (at, value) => {
      found = decodeExtent(numAt(at, prefix.length), value)
      return false
    })
    return found
  }
  /** The last extents that begin at `offset` or later, from the end on, at most `limit`. */
  lastFrom(ino: Ino, offset: number, limit: number): Extent[] {
    const extents: Extent[] = []
    if (limit <= 0) return extents
    const prefix = key.extentsOf(ino)
    this.#kv.scan({ from: prefix + num(offset), to: after(prefix), reverse: true }, (at, value) => {
      extents.push(decodeExtent(numAt(at, prefix.length), value))
      return extents.length < limit
    })
    return extents
  }
  at(ino: Ino, offset: number): Extent | undefined {
    const value = this.#kv.get(key.extent(ino, offset))
    return value === undefined ? undefined : decodeExtent(offset, value)
  }
  put(ino: Ino, extent: Extent): void {
    this.#kv.put(key.extent(ino, extent.offset), pack([extent.length, extent.chunk, extent.chunkOffset]))
    this.#kv.put(key.reverse(extent.chunk, ino, extent.offset), EMPTY)
  }
  delete(ino: Ino, extent: Extent): void {
    this.#kv.delete(key.extent(ino, extent.offset))
    this.#kv.delete(key.reverse(extent.chunk, ino, extent.offset))
  }
  /** Which extents live in a chunk, in (ino, offset) order after the given one. For compaction. */
  inChunk(
    chunk: ChunkId,
    afterOne: { ino: Ino; offset: number } | undefined,
    limit: number,
  ): { ino: Ino; extent: Extent }[] {
    const prefix = key.reverseOf(chunk)
    const from = afterOne === undefined ? prefix : `${key.reverse(chunk, afterOne.ino, afterOne.offset)}\0`
    const owners: { ino: Ino; offset: number }[] = []
    this.#kv.scan({ from, to: after(prefix) }, (at) => {
      if (owners.length >= limit) return false
      owners.push({ ino: numAt(at, prefix.length) as Ino, offset: numAt(at, afterNum(at, prefix.length)) })
      return true
    })
    return owners.flatMap(({ ino, offset }) => {
      const extent = this.at(ino, offset)
      return extent === undefined ? [] : [{ ino, extent }]
    })
  }
}

export function decodeExtent(offset: number, value: Uint8Array): Extent {
  const [length, chunk, chunkOffset] = unpack(value) as [number, ChunkId, number]
  return { offset, length, chunk, chunkOffset }
}
