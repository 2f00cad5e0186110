/*
 * Bytes from one chunkserver to another: whole copies, repair of single blocks, compaction. The receiving side pulls.
 *
 * Blocks travel with the CRCs they are stored under; the source checks them when it reads, this side before it writes. A
 * window of ranges is in flight, so the distance does not decide the speed. What an earlier try left in `<id>.copy` is
 * gone on with. A copy takes its place only when it is complete, sealed and durable; a crash before that leaves a file
 * that nobody counts. When one source fails, the next goes on where it ended. What no source has of a part of an
 * erasure-coded chunk is decoded from the other parts.
 */

import { crc32 } from '../base/checksum.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX, MOVE_BYTES } from '../base/limits.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import type { ChunkFile, FetchedBlocks } from './chunk-file.ts'
import { blockCount, blockOf } from './core/chunk-format.ts'
import type { Disk } from './disk.ts'
import type { OrderParts } from './order-parts.ts'
import { Pace } from './pace.ts'
import { pipelined } from './pipeline.ts'
import { type LostPart, rebuildPart } from './rebuilder.ts'
import { StripeSource } from './stripe-source.ts'
import { WholeSource } from './whole-source.ts'

const RANGE_BLOCKS = MOVE_BYTES / BLOCK_BYTES
/** Ranges in flight: 8 MiB cover 300 Mbit/s at 200 ms, and bound what one copy holds in memory. */
const WINDOW = 8
/** From far away as much in smaller ranges: enough for each of many connections, and one that stalls holds up little. */
const FAR_SPLIT = 4
/** What one append of a compaction carries. */
const COMPACT_BYTES = 1024 * 1024

export interface CompactRange {
  readonly source: ChunkPlaces
  readonly offset: number
  readonly length: number
}

export class Copier {
  readonly #parts: OrderParts

  constructor(parts: OrderParts) {
    this.#parts = parts
  }

  /** Answers the bytes that had to be fetched. */
  copy(
    diskId: DiskId,
    chunk: ChunkId,
    length: number,
    sources: readonly Place[],
    bytesPerSecond: number,
    signal?: AbortSignal,
    urgent = false,
  ): Promise<number> {
    const { queue, store, paces } = this.#parts
    const work = async (): Promise<number> => {
      const disk = store.get(diskId)
      const held = await disk.chunks.verify(chunk, false)
      if (held.state === 'sealed' && held.length === length) return 0
      return paces.during(chunk, bytesPerSecond, (pace) => this.#copy(disk, chunk, length, sources, pace, signal))
    }
    return queue.run(`copy ${diskId} ${chunk}`, work, urgent, signal)
  }

  #copy(
    disk: Disk,
    chunk: ChunkId,
    length: number,
    sources: readonly Place[],
    pace: Pace,
    signal?: AbortSignal,
  ): Promise<number> {
    return disk.copies.complete(chunk, length, (file) =>
      this.#parts.source.firstOf(sources, chunk, (place) => this.#pull(file, place, length, pace, signal)),
    )
  }

  async #pull(file: ChunkFile, place: Place, length: number, pace: Pace, signal?: AbortSignal): Promise<void> {
    const { chunk } = file
    const last = blockCount(length)
    const isFar = await this.#parts.source.isFar(place)
    let next = blockOf(file.length)
    const ask = async (block: number, count: number): Promise<{ block: number; got: FetchedBlocks }> => {
      await pace.take(count * BLOCK_BYTES, signal)
      return { block, got: await this.#parts.source.fetch(place, chunk, block, count, signal) }
    }
    const begin = (): ReturnType<typeof ask> | undefined => {
      if (next >= last) return undefined
      const block = next
      const piece = Math.max(1, Math.floor(pace.pieceBytes / BLOCK_BYTES))
      next += Math.min(isFar() ? RANGE_BLOCKS / FAR_SPLIT : RANGE_BLOCKS, piece, last - next)
      return ask(block, next - block)
    }
    const width = (): number => (isFar() ? WINDOW * FAR_SPLIT : WINDOW)
    await pipelined(width, begin, async ({ block, got }) => {
      const from = block * BLOCK_BYTES
      const usable = Math.min(from + got.data.length, length)
      if (usable <= file.length)
        throw new FsError('EIO', `chunk ${chunkName(chunk)} ends at ${got.length} at the source, expected ${length}`)
      await file.append(file.length, [got.data.subarray(file.length - from, usable - from)])
    })
    if (file.length < length) throw new FsError('EIO', `chunk ${chunkName(chunk)} came short`)
  }

  /**
   * No blocks named: the copy is read and what is damaged is repaired; a file that is no chunk any more is copied whole. What a
   * part has no source for is decoded from the others of `lost`. The pace is that of the bytes fetched, k times as many then.
   */
  repair(
    diskId: DiskId,
    chunk: ChunkId,
    blocks: readonly number[],
    sources: readonly Place[],
    bytesPerSecond: number,
    lost?: LostPart,
    signal?: AbortSignal,
    urgent = false,
  ): Promise<number> {
    const { queue, store, clock } = this.#parts
    const work = async (): Promise<number> => {
      const disk = store.get(diskId)
      const others = sources.filter((place) => place.disk !== diskId)
      const bad = blocks.length > 0 ? blocks : await disk.chunks.damagedBlocks(chunk)
      const pace = new Pace(clock, bytesPerSecond)
      if (bad === 'all') return this.#replace(disk, chunk, others, pace, lost, signal)
      const good = this.#goodBlocks(chunk, others, pace, lost, signal)
      try {
        return await disk.chunks.repair(chunk, bad, async (block, length) => {
          const data = await good(block, Math.min(BLOCK_BYTES, length - block * BLOCK_BYTES))
          return { data, crc: crc32(data) }
        })
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EBADMSG') throw error
        return this.#replace(disk, chunk, others, pace, lost, signal)
      }
    }
    return queue.run(`repair ${diskId} ${chunk} ${blocks.join()}`, work, urgent, signal)
  }

  #goodBlocks(
    chunk: ChunkId,
    sources: readonly Place[],
    pace: Pace,
    lost: LostPart | undefined,
    signal?: AbortSignal,
  ): (block: number, bytes: number) => Promise<Buffer> {
    const { source } = this.#parts
    const parts = lost === undefined ? undefined : new StripeSource(source, lost.whole, lost.index)
    const whole = (data: Buffer, bytes: number): Buffer => {
      if (data.length < bytes) throw new FsError('EIO', `chunk ${chunkName(chunk)} is too short at the source`)
      return data.subarray(0, bytes)
    }
    return async (block, bytes) => {
      try {
        return await source.firstOf(sources, chunk, async (place) => {
          await pace.take(bytes, signal)
          return whole((await source.fetch(place, chunk, block, 1, signal)).data, bytes)
        })
      } catch (error) {
        if (parts === undefined || lost === undefined || !(error instanceof FsError)) throw error
        await pace.take(bytes * parts.data, signal)
        const [decoded] = await parts.rows(block, 1, [lost.index], signal)
        return whole(decoded!, bytes)
      }
    }
  }

  async #replace(
    disk: Disk,
    chunk: ChunkId,
    sources: readonly Place[],
    pace: Pace,
    lost: LostPart | undefined,
    signal?: AbortSignal,
  ): Promise<number> {
    const { source } = this.#parts
    try {
      return await source.firstOf(sources, chunk, async (place) => {
        const { length, sealed } = await source.fetch(place, chunk, 0, 1, signal)
        if (!sealed) throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} is still open at the source`)
        await this.#copy(disk, chunk, length, [place], pace, signal)
        return blockCount(length)
      })
    } catch (error) {
      if (lost === undefined || !(error instanceof FsError)) throw error
      return blockCount(await rebuildPart(disk, chunk, lost, source, pace, signal))
    }
  }

  /**
   * Answers the length of the new chunk. The same order again gives the same bytes, so what is there already is kept. The pace
   * is that of the bytes read, which are more than what is left of a chunk.
   */
  compact(
    ranges: readonly CompactRange[],
    chunk: ChunkId,
    targets: readonly Place[],
    bytesPerSecond: number,
    signal?: AbortSignal,
  ): Promise<number> {
    const { queue, target, clock } = this.#parts
    const work = async (): Promise<number> => {
      const total = ranges.reduce((sum, range) => sum + range.length, 0)
      if (total > CHUNK_BYTES_MAX) throw new FsError('EFBIG', `the ranges are ${total} bytes`)
      const read = this.#compacting(new Pace(clock, bytesPerSecond), signal)
      let length = 0
      let parts: Buffer[] = []
      let bytes = 0
      const send = async (): Promise<void> => {
        if (bytes === 0) return
        const data = parts
        const at = length
        parts = []
        length += bytes
        bytes = 0
        await Promise.all(targets.map((place) => target.append(place, chunk, at, data, signal)))
      }
      for (const range of ranges) {
        const end = range.offset + range.length
        for (let at = range.offset; at < end; ) {
          const data = await read(range.source, at, Math.min(end - at, COMPACT_BYTES - bytes))
          parts.push(data)
          bytes += data.length
          at += data.length
          if (bytes >= COMPACT_BYTES) await send()
        }
      }
      await send()
      await Promise.all(targets.map((place) => target.sync(place, chunk, length, signal)))
      return length
    }
    return queue.run(`compact ${chunk}`, work, false, signal)
  }

  /** Reads for one compaction, a block at most: a run of small ranges of one chunk reads its blocks once. */
  #compacting(pace: Pace, signal?: AbortSignal): (source: ChunkPlaces, at: number, length: number) => Promise<Buffer> {
    const sources = new Map<ChunkId, WholeSource>()
    let last: { chunk: ChunkId; block: number; data: Buffer[] } | undefined
    return async (source, at, length) => {
      const whole = sources.get(source.chunk) ?? new WholeSource(this.#parts.source, source)
      sources.set(source.chunk, whole)
      const block = blockOf(at)
      if (last?.chunk !== source.chunk || block < last.block || block >= last.block + last.data.length) {
        await pace.take(Math.max(0, Math.min(MOVE_BYTES, source.length - block * BLOCK_BYTES)), signal)
        last = { chunk: source.chunk, block, data: await whole.blocks(block, RANGE_BLOCKS, signal) }
      }
      const from = at - block * BLOCK_BYTES
      const data = last.data[block - last.block]?.subarray(from, from + length)
      if (data === undefined || data.length === 0)
        throw new FsError('EIO', `chunk ${chunkName(source.chunk)} is too short at the source`)
      return data
    }
  }
}
