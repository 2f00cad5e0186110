/*
 * Reading the bytes of files: what is being written here lies over what the master says the file is made of. Writing
 * them is file-writer.ts.
 *
 * Small files, and files that are being written, are read as they are asked for; of the others whole units ahead of the
 * reader are fetched. What is known of a file's extents is kept in its FileState and asked for where it is missing.
 */

import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { FILE_BYTES_MAX } from '../base/limits.ts'
import type { Reply } from '../wire/protocol.ts'
import type { ChunkPlaces, Extent } from '../wire/shapes.ts'
import type { ChunkReader } from './chunk-reader.ts'
import type { FileState } from './file-state.ts'
import type { Interruptible } from './patience.ts'
import { Readahead } from './readahead.ts'

/** Files up to this size are read with their neighbours in the pack. */
export const SMALL_BYTES = 256 * 1024
/** One locate asks for the extents of this much, so that a large sequential read asks seldom. */
const LOCATE_BYTES = 256 * 1024 * 1024
const ZEROS = Buffer.alloc(256 * 1024)

/** What the master says of a range of a file, after it has been told of everything that it must know for that. */
export type Locate = (
  ino: Ino,
  offset: number,
  length: number,
  caller: Interruptible | undefined,
) => Promise<Reply<'locate'>>

export class FileReader {
  readonly #locateAt: Locate
  readonly #chunks: ChunkReader
  readonly #ahead = new Map<Ino, Readahead>()

  constructor(locate: Locate, chunks: ChunkReader) {
    this.#locateAt = locate
    this.#chunks = chunks
  }

  /** The bytes of offset … offset+length that there are. */
  async read(file: FileState, offset: number, length: number, caller: Interruptible): Promise<Buffer[]> {
    const end = Math.min(offset + length, file.attr.size)
    if (end <= offset) return []
    if (file.attr.size <= SMALL_BYTES || file.dirty) return this.#assemble(file, offset, end, caller)
    let ahead = this.#ahead.get(file.ino)
    if (ahead === undefined) {
      ahead = new Readahead((from, to) => this.#assemble(file, from, Math.min(to, file.attr.size), undefined))
      this.#ahead.set(file.ino, ahead)
    }
    try {
      const found = await ahead.read(offset, end, file.attr.size)
      if (found !== undefined) return found
    } catch (error) {
      // Somewhere in a whole unit something cannot be read; what was asked for may still be.
      if (!(error instanceof FsError)) throw error
    }
    return this.#assemble(file, offset, end, caller)
  }

  /** The bytes may have changed elsewhere. */
  changedElsewhere(file: FileState): void {
    file.forgetBase()
    this.#ahead.delete(file.ino)
  }

  /** What was read ahead of a file is wrong once it is written to, and of no use once it is closed. */
  forgetAhead(file: FileState): void {
    this.#ahead.delete(file.ino)
  }

  /** Where chunks are, as the master told with something else. */
  learn(chunks: readonly ChunkPlaces[]): void {
    for (const places of chunks) this.#chunks.learn(places)
  }

  /** What open() answered: the extents of a prefix of the file, or all of it. */
  learnExtents(file: FileState, extents: readonly Extent[], start: number, upTo: number): void {
    file.base.cut(start, upTo)
    for (const { offset, length, chunk, chunkOffset } of extents)
      file.base.put({ offset, length, source: chunk, sourceOffset: chunkOffset })
    file.known.put({ offset: start, length: upTo - start, source: true, sourceOffset: 0 })
  }

  /** Without a caller for readahead: it belongs to no single request, so no single interrupt ends it. */
  async #assemble(file: FileState, start: number, end: number, caller: Interruptible | undefined): Promise<Buffer[]> {
    if (end <= start) return []
    if (!file.overlay.covers(start, end) && !file.known.covers(start, end)) await this.#locate(file, start, end, caller)
    const small = file.attr.size <= SMALL_BYTES
    const jobs: (Buffer[] | Promise<Buffer[]>)[] = []
    const fromBase = (from: number, to: number): void => {
      let at = from
      for (const piece of file.base.within(from, to)) {
        if (piece.offset > at) jobs.push(zeros(piece.offset - at))
        jobs.push(this.#chunks.read(piece.source, piece.sourceOffset, piece.length, small, caller))
        at = piece.offset + piece.length
      }
      if (at < to) jobs.push(zeros(to - at))
    }
    let at = start
    for (const piece of file.overlay.within(start, end)) {
      if (piece.offset > at) fromBase(at, piece.offset)
      jobs.push(piece.source.slice(piece.sourceOffset, piece.sourceOffset + piece.length))
      at = piece.offset + piece.length
    }
    if (at < end) fromBase(at, end)
    if (jobs.length === 1) return jobs[0]!
    return (await Promise.all(jobs)).flat()
  }

  async #locate(file: FileState, start: number, end: number, caller: Interruptible | undefined): Promise<void> {
    for (let at = start; at < end; ) {
      const { forgotten } = file
      const length = Math.max(end - at, LOCATE_BYTES)
      const { extents, upTo, chunks } = await this.#locateAt(file.ino, at, length, caller)
      // What it answered before it told of a change elsewhere may arrive here after it.
      if (file.forgotten !== forgotten) continue
      this.learn(chunks)
      const reach = Math.max(upTo, at + 1)
      this.learnExtents(file, extents, at, reach)
      at = reach
    }
  }
}

function zeros(length: number): Buffer[] {
  const out: Buffer[] = []
  for (let left = length; left > 0; left -= ZEROS.length) out.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)))
  return out
}

/** SEEK_DATA and SEEK_HOLE. What is not committed must have been before. */
export async function seekIn(
  locate: Locate,
  ino: Ino,
  offset: number,
  whence: 'data' | 'hole',
  caller: Interruptible,
): Promise<number> {
  let at = offset
  for (;;) {
    const { attr, extents, upTo } = await locate(ino, at, FILE_BYTES_MAX, caller)
    if (at >= attr.size) {
      if (whence === 'hole' && at === attr.size && at > offset) return attr.size
      throw new FsError('ENXIO')
    }
    const reach = Math.min(upTo, attr.size)
    for (const extent of extents) {
      if (whence === 'data') return Math.min(Math.max(extent.offset, at), attr.size)
      if (extent.offset > at) return at
      at = extent.offset + extent.length
    }
    if (whence === 'hole' && at < reach) return at
    if (whence === 'hole' && at >= attr.size) return attr.size
    at = Math.max(reach, at)
    if (whence === 'data' && at >= attr.size) throw new FsError('ENXIO')
  }
}
