/*
 * Bytes of chunks, from whichever copy answers. Copies are tried in order of preference (copy-reads.ts); one that fails is
 * passed over for a while; when all have failed the master is asked where the chunk is now, again and again while there is
 * patience; while it is away, they are tried again where they were. A damaged block is the chunkserver's own report; here it is only a
 * reason to ask the next copy. A chunk without copies is read from its parts (part-reader.ts).
 */

import { errnoOf, FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { BLOCK_BYTES, BULK_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import type { BlockCache } from './block-cache.ts'
import type { Chunkservers } from './chunkservers.ts'
import { CopyReads } from './copy-reads.ts'
import { Generations } from './core/generations.ts'
import { PartReader, PartsUnreadable } from './part-reader.ts'
import type { Interruptible, Patience } from './patience.ts'
import type { MasterSession } from './session.ts'
import { Shunned } from './shunned.ts'

/** Chunks whose places are remembered: 4 TiB worth at 64 MiB each. */
const PLACES_MAX = 65_536
/** While parts of a chunk are decoded, the master is asked this often where they are now; for so many chunks. */
const LOOK_AGAIN_MS = 10_000
const LOOKED_MAX = 4_096
/** Copies take turns in pieces of this size. */
const TURN_BYTES = 1024 * 1024
const RETRY_MS = [50, 100, 200, 500, 1_000]
/** Of at most 64 copies the turn is below 64, a rank below 1024: each of these outweighs all that come before it. */
const ELSEWHERE_COST = 64
const RANK_COST = 128
const SHUNNED_COST = 4096 * RANK_COST
/** When every copy has been refused (damaged, gone) this often, waiting longer brings nothing back. */
const REFUSED_ROUNDS = 4

export class ChunkReader {
  readonly #world: World
  readonly #session: MasterSession
  readonly #cache: BlockCache
  readonly #ownHost: string
  readonly #patience: Patience
  readonly #places = new Generations<ChunkId, ChunkPlaces>(PLACES_MAX)
  readonly #shunned: Shunned
  readonly #copies: CopyReads
  readonly #parts: PartReader
  /** When it was last asked where the parts of a chunk are, because one had to be decoded. */
  readonly #lookedMs = new Generations<ChunkId, number>(LOOKED_MAX)
  readonly #loading = new Map<string, Promise<void>>()

  constructor(
    world: World,
    session: MasterSession,
    chunkservers: Chunkservers,
    cache: BlockCache,
    patience: Patience,
    options: { ownHost: string },
  ) {
    this.#world = world
    this.#session = session
    this.#cache = cache
    this.#ownHost = options.ownHost
    this.#patience = patience
    this.#shunned = new Shunned(world.clock)
    this.#copies = new CopyReads(world, chunkservers, this.#shunned)
    this.#parts = new PartReader(world, chunkservers, this.#shunned, options.ownHost)
  }

  learn(places: ChunkPlaces): void {
    this.#places.set(places.chunk, places)
  }

  /**
   * Exactly `length` bytes. With `neighbours` whole blocks are fetched and kept, else only what is asked. Without a caller
   * nothing interrupts it.
   */
  async read(
    chunk: ChunkId,
    offset: number,
    length: number,
    neighbours: boolean,
    caller: Interruptible | undefined,
  ): Promise<Buffer[]> {
    const cached = this.#fromCache(chunk, offset, length)
    if (cached !== undefined) return cached
    if (!neighbours) return this.#fetch(chunk, offset, length, length, caller)
    const from = offset - (offset % BLOCK_BYTES)
    const to = Math.min(Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES, from + BULK_BYTES_MAX)
    // Readers of neighbouring small files want the same blocks at the same time: one fetch serves them all.
    const key = `${chunk}:${from}:${to}`
    let loading = this.#loading.get(key)
    if (loading === undefined) {
      loading = this.#fetch(chunk, from, to - from, offset + length - from, caller)
        .then((parts) => this.#keep(chunk, from, parts))
        .finally(() => this.#loading.delete(key))
      this.#loading.set(key, loading)
    }
    try {
      await loading
    } catch (error) {
      // Whoever began the shared fetch was interrupted; that is no reason for anybody else to stop.
      if (errnoOf(error) !== 'EINTR' || caller?.signal.aborted) throw error
    }
    // A shared fetch may have been made for a shorter prefix of an open chunk, or the cache is smaller than the request.
    return this.#fromCache(chunk, offset, length) ?? this.#fetch(chunk, offset, length, length, caller)
  }

  /** Each of the parts begins with a block. */
  #keep(chunk: ChunkId, from: number, parts: readonly Buffer[]): void {
    let block = from / BLOCK_BYTES
    for (const part of parts)
      for (let at = 0; at < part.length; at += BLOCK_BYTES)
        this.#cache.put(chunk, block++, part.subarray(at, Math.min(at + BLOCK_BYTES, part.length)))
  }

  #fromCache(chunk: ChunkId, offset: number, length: number): Buffer[] | undefined {
    const out: Buffer[] = []
    for (let at = offset; at < offset + length; ) {
      const block = Math.floor(at / BLOCK_BYTES)
      const start = at - block * BLOCK_BYTES
      const end = Math.min(offset + length - block * BLOCK_BYTES, BLOCK_BYTES)
      const data = this.#cache.get(chunk, block)
      if (data === undefined || data.length < end) return undefined
      out.push(data.subarray(start, end))
      at = block * BLOCK_BYTES + end
    }
    return out
  }

  /** At least `atLeast` of the `length` bytes from `offset` on (a copy may end earlier than a whole block). */
  async #fetch(
    chunk: ChunkId,
    offset: number,
    length: number,
    atLeast: number,
    caller: Interruptible | undefined,
  ): Promise<Buffer[]> {
    const deadline = this.#patience.deadline()
    let lastError: unknown
    let worthless = false
    for (let round = 0; ; round++) {
      const remembered = round === 0 ? this.#places.get(chunk) : undefined
      const known = remembered ?? (await this.#locate(chunk, caller, worthless ? undefined : this.#places.get(chunk)))
      const places = this.#inOrder(known, chunk, offset)
      const parted = known?.ec === undefined ? undefined : { chunk, length: known.length, ec: known.ec }
      let asked = places.length
      let refused = 0
      const fromParts = async (): Promise<Buffer[] | undefined> => {
        if (parted === undefined) return undefined
        asked++
        try {
          const { blocks, decoded } = await this.#parts.read(parted, offset, length)
          if (decoded && remembered !== undefined) this.#lookAgain(chunk)
          return blocks
        } catch (error) {
          if (caller?.signal.aborted) throw new FsError('EINTR', undefined, { cause: error })
          if (!(error instanceof FsError)) throw error
          lastError = error
          if (error instanceof PartsUnreadable && error.refused) refused++
          return undefined
        }
      }
      const partsFirst = parted !== undefined && places[0] !== undefined && this.#parts.isBetter(parted, places)
      const early = partsFirst ? await fromParts() : undefined
      if (early !== undefined) return early
      const got = await this.#copies.read(places, { chunk, offset, length, atLeast }, () => !caller?.signal.aborted)
      if (got instanceof Uint8Array) return [got]
      if (caller?.signal.aborted) throw new FsError('EINTR', undefined, { cause: got.error })
      refused += got.refused
      lastError = got.error ?? lastError
      const late = partsFirst ? undefined : await fromParts()
      if (late !== undefined) return late
      worthless = refused === asked && refused > 0
      if (this.#patience.left(deadline) < 0 || (worthless && round >= REFUSED_ROUNDS))
        throw new FsError('EIO', `no copy of chunk ${chunkName(chunk)} could be read`, { cause: lastError })
      // What was remembered may be old: copies move, and give way to parts. The master is asked at once.
      if (remembered === undefined) await this.#pause(RETRY_MS[Math.min(round, RETRY_MS.length - 1)]!, caller)
    }
  }

  async #pause(ms: number, caller: Interruptible | undefined): Promise<void> {
    try {
      await this.#world.clock.sleep(ms, caller === undefined ? {} : { signal: caller.signal })
    } catch (cause) {
      throw new FsError('EINTR', undefined, { cause })
    }
  }

  /** A part that is gone is made anew elsewhere; whoever does not learn where goes on decoding. Nobody waits for the answer. */
  #lookAgain(chunk: ChunkId): void {
    const now = this.#world.clock.monotonicMs()
    if (now - (this.#lookedMs.get(chunk) ?? Number.NEGATIVE_INFINITY) < LOOK_AGAIN_MS) return
    this.#lookedMs.set(chunk, now)
    this.#locate(chunk, undefined, this.#places.get(chunk)).catch((error: unknown) => {
      if (errnoOf(error) === undefined) throw error
      this.#world.log.debug({ chunk, error: String(error) }, 'where the parts of a chunk are now could not be asked')
    })
  }

  /** While the master is away it is where it was, if that is `remembered`. */
  async #locate(
    chunk: ChunkId,
    caller: Interruptible | undefined,
    remembered: ChunkPlaces | undefined,
  ): Promise<ChunkPlaces | undefined> {
    const instead = (): { chunks: ChunkPlaces[] } | undefined =>
      remembered === undefined ? undefined : { chunks: [remembered] }
    const { chunks } = await this.#session.askUnlessCut('chunkPlaces', { chunks: [chunk] }, caller, instead)
    const places = chunks[0]
    if (places !== undefined) this.learn(places)
    return places
  }

  /** The best rank first, then this machine's copies, shunned ones last; equals take turns by position, so a long read uses all of them. */
  #inOrder(known: ChunkPlaces | undefined, chunk: ChunkId, offset: number): readonly Place[] {
    if (known === undefined || known.places.length === 0) return []
    const { places } = known
    const n = places.length
    const turn = (chunk + Math.floor(offset / TURN_BYTES)) % n
    // Nearly always all copies are alike, and then no list needs to be made or sorted.
    const alike = ({ host, rank }: Place): boolean => host === places[0]!.host && rank === places[0]!.rank
    if (n <= 2 && this.#shunned.none && places.every(alike))
      return turn === 0 || n === 1 ? places : [places[1]!, places[0]!]
    const cost = (place: Place, index: number): number =>
      (this.#shunned.has(place.disk, chunk) ? SHUNNED_COST : 0) +
      (place.rank ?? 0) * RANK_COST +
      (place.host === this.#ownHost ? 0 : ELSEWHERE_COST) +
      ((index + n - turn) % n)
    return places
      .map((place, index) => ({ place, cost: cost(place, index) }))
      .sort((a, b) => a.cost - b.cost)
      .map(({ place }) => place)
  }
}
