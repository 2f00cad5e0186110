/*
 * Bytes from one chunkserver to another: whole copies, repair of single blocks, compaction. The receiving side pulls.
 *
 * Blocks travel with the CRCs they are stored under; the source checks them when it reads, this side before it writes. A
 * window of ranges is in flight, so the distance does not decide the speed. What an earlier try left in `<id>.copy` is
 * gone on with. A copy takes its place only when it is complete, sealed and durable; a crash before that leaves a file
 * that nobody counts. When one source fails, the next goes on where it ended.
 */

import PQueue from 'p-queue'
import { crc32 } from '../base/checksum.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../base/limits.ts'
import type { Clock, Log } from '../base/world.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import type { ChunkFile, FetchedBlocks } from './chunk-file.ts'
import type { ChunkStore } from './chunk-store.ts'
import { blockCount, blockOf, partialBytes } from './core/chunk-format.ts'
import type { Disk } from './disk.ts'
import { Pace } from './pace.ts'
import type { Peers } from './peers.ts'

/** 1 MiB per range: long enough to be sequential for the disk, short enough to lose little when a link breaks. */
const RANGE_BLOCKS = 16
/** Ranges in flight: 8 MiB cover 300 Mbit/s at 200 ms, and bound what one copy holds in memory. */
const WINDOW = 8
/** A range that takes longer: the source is of no use now, the next may be. */
const RANGE_TIMEOUT_MS = 30_000
/** Copies, repairs and compactions at one time, and how many more may wait: the master orders a handful. */
const ORDERS_AT_ONCE = 4
const ORDERS_WAITING_MAX = 256
/** What one append of a compaction carries. */
const COMPACT_BYTES = 1024 * 1024

export interface CompactRange {
  readonly source: ChunkPlaces
  readonly offset: number
  readonly length: number
}

const asFsError = (error: unknown): FsError => {
  if (error instanceof FsError) return error
  throw error
}

export class Copier {
  readonly #store: ChunkStore
  readonly #peers: Peers
  readonly #clock: Clock
  readonly #log: Log
  readonly #queue = new PQueue({ concurrency: ORDERS_AT_ONCE })
  /** A repeated order joins the one that runs. */
  readonly #running = new Map<string, Promise<number>>()

  constructor(store: ChunkStore, peers: Peers, clock: Clock, log: Log) {
    this.#store = store
    this.#peers = peers
    this.#clock = clock
    this.#log = log
  }

  get queued(): number {
    return this.#queue.size + this.#queue.pending
  }

  async #queued(key: string, work: () => Promise<number>): Promise<number> {
    const running = this.#running.get(key)
    if (running !== undefined) return running
    if (this.#queue.size >= ORDERS_WAITING_MAX) throw new FsError('EAGAIN', `${this.#queue.size} orders are waiting`)
    const made = this.#queue.add(work).finally(() => this.#running.delete(key))
    this.#running.set(key, made)
    return made
  }

  /** Answers the bytes that had to be fetched. */
  copy(
    diskId: DiskId,
    chunk: ChunkId,
    length: number,
    sources: readonly Place[],
    bytesPerSecond: number,
    signal?: AbortSignal,
  ): Promise<number> {
    return this.#queued(`copy ${diskId} ${chunk}`, async () => {
      const disk = this.#store.get(diskId)
      const held = await disk.chunks.verify(chunk, false)
      if (held.state === 'sealed' && held.length === length) return 0
      return this.#copy(disk, chunk, length, sources, new Pace(this.#clock, bytesPerSecond), signal)
    })
  }

  async #copy(
    disk: Disk,
    chunk: ChunkId,
    length: number,
    sources: readonly Place[],
    pace: Pace,
    signal?: AbortSignal,
  ): Promise<number> {
    const bytes = await disk.copies
      .make(chunk, length, async (file) => {
        if (file.length > length || (file.sealed && file.length !== length))
          throw new FsError(
            'ERANGE',
            `an unfinished copy of chunk ${chunkName(chunk)} has ${file.length} bytes, expected ${length}`,
          )
        const before = file.length
        await this.#fromSources(sources, chunk, (place) => this.#pull(file, place, length, pace, signal))
        if (!file.sealed) await file.seal(length)
        return length - before
      })
      .catch(async (error: unknown) => {
        if (error instanceof FsError && error.code === 'ERANGE') await disk.copies.drop(chunk)
        throw error
      })
    await disk.copies.finish(chunk, length)
    return bytes
  }

  /** Tries one source after the other; the last error counts when none helps, damage before it when there was any. */
  async #fromSources<T>(sources: readonly Place[], chunk: ChunkId, work: (place: Place) => Promise<T>): Promise<T> {
    let worst: FsError | undefined
    for (const place of sources) {
      try {
        return await work(place)
      } catch (error) {
        const failure = asFsError(error)
        // Our own disk is the trouble: another source does not help.
        if (
          ['ENOSPC', 'EROFS', 'ENODEV', 'ECANCELED', 'ERANGE'].includes(failure.code) &&
          !failure.message.includes('at the source')
        )
          throw failure
        this.#log.warn(
          { chunk: chunkName(chunk), source: `${place.host}:${place.port}`, error: failure.message },
          'a source of a copy failed; trying the next',
        )
        if (worst?.code !== 'EBADMSG') worst = failure
      }
    }
    throw worst ?? new FsError('ENOENT', `no source of chunk ${chunkName(chunk)}`)
  }

  async #pull(file: ChunkFile, place: Place, length: number, pace: Pace, signal?: AbortSignal): Promise<void> {
    const { chunk } = file
    const last = blockCount(length)
    let next = blockOf(file.length)
    let failed: unknown
    const window: Promise<{ block: number; got: FetchedBlocks }>[] = []
    const ask = async (block: number, count: number): Promise<{ block: number; got: FetchedBlocks }> => {
      await pace.take(count * BLOCK_BYTES, signal)
      return { block, got: await this.#fetch(place, chunk, block, count, signal) }
    }
    try {
      while (file.length < length) {
        while (window.length < WINDOW && next < last && failed === undefined) {
          const count = Math.min(RANGE_BLOCKS, last - next)
          const asked = ask(next, count)
          // Also when an earlier one fails first: nobody else would look at this one then.
          asked.catch((error: unknown) => {
            failed ??= error
          })
          window.push(asked)
          next += count
        }
        const head = window.shift()
        if (head === undefined) break
        const { block, got } = await head
        const from = block * BLOCK_BYTES
        const usable = Math.min(from + got.data.length, length)
        if (usable <= file.length)
          throw new FsError('EIO', `chunk ${chunkName(chunk)} ends at ${got.length} at the source, expected ${length}`)
        await file.append(file.length, [got.data.subarray(file.length - from, usable - from)])
      }
      if (file.length < length) throw failed ?? new FsError('EIO', `chunk ${chunkName(chunk)} came short`)
    } finally {
      await Promise.allSettled(window)
    }
  }

  /** From a disk of this process or from another server; every block checked here, whoever sent it. */
  async #fetch(
    place: Place,
    chunk: ChunkId,
    block: number,
    count: number,
    signal?: AbortSignal,
  ): Promise<FetchedBlocks> {
    const local = this.#store.find(place.disk)
    try {
      if (local !== undefined) return await local.chunks.fetch(chunk, block, count)
      const peer = await this.#peers.get(place.host, place.port)
      const { reply, bulk } = await peer.call(
        'fetch',
        { disk: place.disk, chunk, block, count },
        { timeoutMs: RANGE_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) },
      )
      return checked(chunk, block, { ...reply, data: bulk })
    } catch (error) {
      signal?.throwIfAborted()
      const failure = asFsError(error)
      throw new FsError(
        failure.code === 'ENODEV' ? 'ENOENT' : failure.code,
        `${failure.message} (at the source ${place.host}:${place.port})`,
        {
          cause: failure,
        },
      )
    }
  }

  /** No blocks named: the copy is read and what is damaged is repaired; a file that is no chunk any more is copied whole. */
  repair(
    diskId: DiskId,
    chunk: ChunkId,
    blocks: readonly number[],
    sources: readonly Place[],
    signal?: AbortSignal,
  ): Promise<number> {
    return this.#queued(`repair ${diskId} ${chunk} ${blocks.join()}`, async () => {
      const disk = this.#store.get(diskId)
      const others = sources.filter((place) => place.disk !== diskId)
      const bad = blocks.length > 0 ? blocks : await disk.chunks.damagedBlocks(chunk)
      if (bad === 'all') return this.#replace(disk, chunk, others, signal)
      try {
        return await disk.chunks.repair(chunk, bad, async (block, length) => {
          return this.#fromSources(others, chunk, async (place) => {
            const got = await this.#fetch(place, chunk, block, 1, signal)
            const wanted = Math.min(BLOCK_BYTES, length - block * BLOCK_BYTES)
            if (got.data.length < wanted)
              throw new FsError('EIO', `chunk ${chunkName(chunk)} is too short at the source`)
            const data = got.data.subarray(0, wanted)
            return { data, crc: crc32(data) }
          })
        })
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EBADMSG') throw error
        return this.#replace(disk, chunk, others, signal)
      }
    })
  }

  async #replace(disk: Disk, chunk: ChunkId, sources: readonly Place[], signal?: AbortSignal): Promise<number> {
    return this.#fromSources(sources, chunk, async (place) => {
      const { length, sealed } = await this.#fetch(place, chunk, 0, 1, signal)
      if (!sealed) throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} is still open at the source`)
      await this.#copy(disk, chunk, length, [place], new Pace(this.#clock, 0), signal)
      return blockCount(length)
    })
  }

  /** Answers the length of the new chunk. The same order again gives the same bytes, so what is there already is kept. */
  compact(
    ranges: readonly CompactRange[],
    chunk: ChunkId,
    targets: readonly Place[],
    signal?: AbortSignal,
  ): Promise<number> {
    return this.#queued(`compact ${chunk}`, async () => {
      const total = ranges.reduce((sum, range) => sum + range.length, 0)
      if (total > CHUNK_BYTES_MAX) throw new FsError('EFBIG', `the ranges are ${total} bytes`)
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
        await Promise.all(targets.map((target) => this.#append(target, chunk, at, data, signal)))
      }
      for (const range of ranges) {
        const end = range.offset + range.length
        for (let at = range.offset; at < end; ) {
          const data = await this.#readFrom(range, at, Math.min(end - at, COMPACT_BYTES - bytes), signal)
          parts.push(data)
          bytes += data.length
          at += data.length
          if (bytes >= COMPACT_BYTES) await send()
        }
      }
      await send()
      await Promise.all(targets.map((target) => this.#sync(target, chunk, length, signal)))
      return length
    })
  }

  /** At most what one range fetch gives; a run of small ranges of one place reads its blocks once. */
  #lastRead: { key: string; from: number; data: Buffer } | undefined
  async #readFrom({ source }: CompactRange, at: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    return this.#fromSources(source.places, source.chunk, async (place) => {
      const key = `${place.disk} ${source.chunk} ${source.length}`
      let last = this.#lastRead
      if (last === undefined || last.key !== key || at < last.from || at >= last.from + last.data.length) {
        const block = blockOf(at)
        const got = await this.#fetch(place, source.chunk, block, RANGE_BLOCKS, signal)
        last = { key, from: block * BLOCK_BYTES, data: got.data }
        this.#lastRead = last
      }
      const data = last.data.subarray(at - last.from, at - last.from + length)
      if (data.length === 0) throw new FsError('EIO', `chunk ${chunkName(source.chunk)} is too short at the source`)
      return data
    })
  }

  async #append(
    target: Place,
    chunk: ChunkId,
    offset: number,
    data: readonly Buffer[],
    signal?: AbortSignal,
  ): Promise<void> {
    const local = this.#store.find(target.disk)
    if (local !== undefined) {
      await local.chunks.append(chunk, offset, data, offset === 0, true)
      return
    }
    const peer = await this.#peers.get(target.host, target.port)
    await peer.call(
      'append',
      { disk: target.disk, chunk, offset, create: offset === 0, sync: false },
      { bulk: data, timeoutMs: RANGE_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) },
    )
  }

  async #sync(target: Place, chunk: ChunkId, length: number, signal?: AbortSignal): Promise<void> {
    const local = this.#store.find(target.disk)
    if (local !== undefined) {
      await local.chunks.sync(chunk, length)
      return
    }
    const peer = await this.#peers.get(target.host, target.port)
    await peer.call(
      'syncChunk',
      { disk: target.disk, chunk, length },
      { timeoutMs: RANGE_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) },
    )
  }
}

function checked(chunk: ChunkId, block: number, got: FetchedBlocks): FetchedBlocks {
  const blocks = Math.ceil(got.data.length / BLOCK_BYTES)
  if (
    blocks !== got.crcs.length ||
    (partialBytes(got.data.length) > 0 && block * BLOCK_BYTES + got.data.length !== got.length)
  )
    throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} came with ${got.crcs.length} CRCs for ${blocks} blocks`)
  for (let i = 0; i < blocks; i++) {
    if (crc32(got.data.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)) !== got.crcs[i])
      throw new FsError('EBADMSG', `block ${block + i} of chunk ${chunkName(chunk)} was damaged on its way`)
  }
  return got
}
