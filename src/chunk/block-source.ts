/*
 * Blocks of one copy of a chunk, from a disk of this process or from another server, as stored with their CRCs. Whoever sent
 * them, they are checked here. Which copies there are, and what is done with the bytes, is the caller's business.
 */

import { crc32 } from '../base/checksum.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { Log } from '../base/world.ts'
import type { Place } from '../wire/shapes.ts'
import type { FetchedBlocks } from './chunk-file.ts'
import type { ChunkStore } from './chunk-store.ts'
import { partialBytes } from './core/chunk-format.ts'
import type { Peers } from './peers.ts'
import type { Ways } from './ways.ts'

/** A range that takes longer: the source is of no use now, the next may be. */
const RANGE_TIMEOUT_MS = 30_000

export const asFsError = (error: unknown): FsError => {
  if (error instanceof FsError) return error
  throw error
}

export class BlockSource {
  readonly #store: ChunkStore
  readonly #peers: Peers
  readonly #ways: Ways
  readonly #log: Log

  constructor(store: ChunkStore, peers: Peers, ways: Ways, log: Log) {
    this.#store = store
    this.#peers = peers
    this.#ways = ways
    this.#log = log
  }

  holds(disk: DiskId): boolean {
    return this.#store.find(disk) !== undefined
  }

  /** Answers whether the way there is long, as it is known when that is asked. */
  async isFar(place: Place): Promise<() => boolean> {
    if (this.holds(place.disk)) return () => false
    const { roundTrip } = await this.#peers.get(place.host, place.port)
    return () => roundTrip.isFar
  }

  async fetch(
    place: Place,
    chunk: ChunkId,
    block: number,
    count: number,
    signal?: AbortSignal,
  ): Promise<FetchedBlocks> {
    const local = this.#store.find(place.disk)
    try {
      if (local !== undefined) return await local.chunks.fetch(chunk, block, count)
      return await this.#ways.copying(place, async (moved) => {
        const peer = await this.#peers.get(place.host, place.port)
        const { reply, bulk } = await peer.call(
          'fetch',
          { disk: place.disk, chunk, block, count },
          {
            timeoutMs: RANGE_TIMEOUT_MS,
            answerBytes: count * BLOCK_BYTES,
            ...(signal === undefined ? {} : { signal }),
          },
        )
        moved(bulk.length)
        return checked(chunk, block, { ...reply, data: bulk })
      })
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

  /** Tries one copy after the other, our own disks first; the last error counts when none helps, damage before it when there was any. */
  async firstOf<T>(places: readonly Place[], chunk: ChunkId, work: (place: Place) => Promise<T>): Promise<T> {
    let worst: FsError | undefined
    const [near, far] = [true, false].map((own) => places.filter((place) => this.holds(place.disk) === own))
    for (const place of [...near!, ...far!]) {
      try {
        return await work(place)
      } catch (error) {
        const failure = asFsError(error)
        // Our own disk is the trouble, or nobody wants it any more: another source does not help.
        if (
          ['ENOSPC', 'EROFS', 'ENODEV', 'ECANCELED', 'EINTR', 'ERANGE'].includes(failure.code) &&
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
