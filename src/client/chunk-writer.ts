/*
 * Writing chunks: segments of bytes go to all create-targets of an open chunk in parallel, pipelined, resumable by offset.
 *
 * Small segments of all files of a storage class share one pack chunk; a file that is written in bulk gets a stream chunk, which goes back to
 * a pool when the file is closed. A segment keeps its bytes in memory until its commit is acknowledged, so whatever
 * happens to a chunk before that, the bytes can be written again elsewhere.
 *
 * When a target fails and does not come back within TARGET_PATIENCE_MS, the chunk is ended: sealed by the master at the
 * length that the remaining targets have acknowledged, the failed ones dropped; segments beyond it are appended to another
 * chunk. Nothing is recovered in place.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import { chunkName, type DiskId } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import { bulkCrc } from '../wire/frame.ts'
import type { Peer } from '../wire/peer.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import { type Chunkservers, isTransportFailure } from './chunkservers.ts'
import type { Patience } from './patience.ts'
import { fits, type OpenChunk, type Segment } from './segment.ts'
import type { MasterSession } from './session.ts'

/** One append carries at most this much: larger bodies cost memory on three sides and gain nothing. */
const APPEND_BYTES = 1024 * 1024
/** Appends of one chunk under way at a time: 8 MiB cover 100 Mbit/s × 600 ms. */
const WINDOW = 8
/** A pack of which several appends are under way collects small segments instead of sending each by itself. */
const PACK_WINDOW = 2
/** A restarting chunkserver is back within this; waiting is cheaper than a new chunk and a copy to be made. */
const TARGET_PATIENCE_MS = 3_000
const RETRY_PAUSE_MS = 100
/** The same for a cluster of which no chunkserver is there, which may be long. */
const OPEN_AGAIN_MS = [100, 200, 500, 1_000, 2_000]
/** An open chunk without appends for this long is sealed, so that it can be replicated and cached. */
const IDLE_SEAL_MS = 30_000
const TIDY_MS = 1_000
/** A disk that failed an append is not asked for again for this long, if others can take the chunk. */
const AVOID_MS = 10_000
/** What was appended without fsync is made durable after this long, as ext4 does with its own dirty data. */
const SYNC_BEHIND_MS = 5_000
/** Stream chunks kept open for the next large file. */
const POOL_MAX = 8

interface Append {
  readonly segments: Segment[]
  readonly offset: number
  readonly length: number
  readonly sync: boolean
}

/** What is open for the files of one storage class. */
interface ClassChunks {
  pack: OpenChunk | undefined
  /** The next pack, once somebody waits for it, and opened ahead. */
  packing: Promise<OpenChunk> | undefined
  spare: Promise<OpenChunk> | undefined
  /** Stream chunks that no file uses now. */
  readonly pool: OpenChunk[]
}

export class ChunkWriter {
  readonly #world: World
  readonly #session: MasterSession
  readonly #chunkservers: Chunkservers
  readonly #onPlaces: (places: ChunkPlaces) => void
  readonly #patience: Patience
  readonly #open = new Set<OpenChunk>()
  /** No longer open, and something in them is not committed yet; their number is bounded by the bytes that may be. */
  readonly #left = new Set<OpenChunk>()
  /** By number; the cluster bounds how many there are. */
  readonly #classes = new Map<number, ClassChunks>()
  readonly #avoid = new Map<DiskId, number>()
  #closed = false

  constructor(
    world: World,
    session: MasterSession,
    chunkservers: Chunkservers,
    onPlaces: (places: ChunkPlaces) => void,
    patience: Patience,
  ) {
    this.#world = world
    this.#session = session
    this.#chunkservers = chunkservers
    this.#onPlaces = onPlaces
    this.#patience = patience
    this.#tidyLater()
  }

  /** A pack of the class is open and no disk has failed lately: what is appended next will most likely arrive. */
  healthy(classId: number): boolean {
    return this.#classes.get(classId)?.pack !== undefined && this.#avoid.size === 0
  }

  /** Appends to the pack that the files of a class share. `sync`: durable when `appended` resolves. */
  async appendToPack(classId: number, segment: Segment, sync: boolean): Promise<void> {
    try {
      for (;;) {
        const chunk = this.#packWithRoom(classId, segment.length) ?? (await this.#nextPack(classId, segment.length))
        if (this.#assign(chunk, segment, sync)) return
      }
    } catch (error) {
      segment.fail(error)
    }
  }

  /** Appends to a chunk of the caller's own; answers the chunk to go on with. */
  async appendToStream(
    classId: number,
    chunk: OpenChunk | undefined,
    segment: Segment,
    sync: boolean,
  ): Promise<OpenChunk | undefined> {
    try {
      let current = chunk
      for (;;) {
        if (current !== undefined && current.classId !== classId) {
          // The file was given another class while it was being written.
          this.giveBack(current)
          current = undefined
        }
        if (current !== undefined && !current.ended && !fits(current, segment.length)) this.#end(current)
        if (current === undefined || current.ended)
          current = this.#of(classId).pool.pop() ?? (await this.#openChunk(classId, 'stream'))
        if (this.#assign(current, segment, sync)) return current
      }
    } catch (error) {
      segment.fail(error)
      return undefined
    }
  }

  /** The file that streamed into it is closed; another may go on. */
  giveBack(chunk: OpenChunk): void {
    if (chunk.ended) return
    const { pool } = this.#of(chunk.classId)
    if (pool.length < POOL_MAX && !this.#closed) pool.push(chunk)
    else this.#end(chunk)
  }

  /** Makes the first `length` bytes of a chunk durable on every target. */
  async sync(chunk: OpenChunk, length: number): Promise<void> {
    while (chunk.synced < length) {
      const targets = [...chunk.targets]
      const request = { chunk: chunk.id, length }
      const durable = await this.#onTargets(chunk, targets, (peer, disk) =>
        peer.call('syncChunk', { ...request, disk }),
      )
      if (durable.length === 0) {
        // What is still in memory is written elsewhere; what was committed before is on no disk for certain.
        this.#drop(chunk, targets)
        for (const segment of [...chunk.uncommitted]) this.#move(chunk, segment, true)
        this.#pump(chunk)
        throw new FsError(chunk.refusal ?? 'EIO', `no copy of chunk ${chunkName(chunk.id)} could be made durable`)
      }
      if (durable.length === targets.length) chunk.synced = Math.max(chunk.synced, length)
      else {
        this.#drop(
          chunk,
          targets.filter((target) => !durable.includes(target)),
        )
        this.#pump(chunk)
      }
    }
  }

  /** Everything that was acknowledged becomes durable. */
  async syncAll(): Promise<void> {
    await Promise.all([...this.#open].map((chunk) => this.sync(chunk, chunk.acked)))
  }

  /** The master has the segment's extents: its bytes need not be kept. */
  committed(segment: Segment): void {
    if (segment.chunk !== undefined) this.#settled(segment.chunk, segment)
  }

  /**
   * The master ended our session: every open chunk was sealed at what was committed, those too whose seal it has not heard
   * of, and what nothing is committed in goes.
   */
  sessionLost(): void {
    for (const chunk of [...this.#open, ...this.#left]) {
      this.#forget(chunk)
      chunk.queue.length = 0
      // Also what is in flight: a chunkserver may still take it, but this chunk can no longer be committed to.
      for (const segment of [...chunk.uncommitted]) this.#move(chunk, segment, false)
    }
  }

  /** Seals everything. Call when all segments are committed. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#open].map((chunk) => this.#seal(chunk)))
  }

  #of(classId: number): ClassChunks {
    let chunks = this.#classes.get(classId)
    if (chunks === undefined) {
      chunks = { pack: undefined, packing: undefined, spare: undefined, pool: [] }
      this.#classes.set(classId, chunks)
    }
    return chunks
  }

  #packWithRoom(classId: number, length: number): OpenChunk | undefined {
    const pack = this.#classes.get(classId)?.pack
    if (pack === undefined || pack.ended) return undefined
    if (fits(pack, length)) return pack
    this.#end(pack)
    return undefined
  }

  /** One at a time, however many segments wait; half-way through a pack the next one is opened ahead. */
  #nextPack(classId: number, length: number): Promise<OpenChunk> {
    const chunks = this.#of(classId)
    chunks.packing ??= (chunks.spare ?? this.#openChunk(classId, 'pack'))
      .then((chunk) => {
        chunks.pack = chunk
        return chunk
      })
      .finally(() => {
        chunks.packing = undefined
        chunks.spare = undefined
      })
    return chunks.packing.then((chunk) => this.#packWithRoom(classId, length) ?? chunk)
  }

  async #openChunk(classId: number, kind: 'pack' | 'stream'): Promise<OpenChunk> {
    const deadline = this.#patience.deadline()
    let places: ChunkPlaces | undefined
    let bytesMax: number | undefined
    let back: (() => void) | undefined
    for (let attempt = 0; places === undefined; attempt++) {
      this.#forgive(this.#world.clock.monotonicMs())
      const session = this.#session.id
      try {
        const wish = { count: 1, kind, avoid: [...this.#avoid.keys()], classId }
        const opened = await this.#session.change('chunkOpen', wish)
        places = opened.chunks[0]
        bytesMax = opened.bytesMax
        if (places === undefined) throw new FsError('ENOSPC', 'no disk can take a new chunk')
      } catch (error) {
        // A new session has begun since it was asked: what an old one opened is sealed.
        if (errnoOf(error) === 'ESTALE' && session !== this.#session.id) continue
        back?.()
        // EAGAIN: no chunkserver is there at the moment, which is not the same as a full cluster.
        if (errnoOf(error) !== 'EAGAIN') throw error
        if (this.#patience.left(deadline) < 0)
          throw new FsError('EIO', 'no chunkserver came back in time', { cause: error })
        back = this.#patience.away()
        await this.#world.clock.sleep(OPEN_AGAIN_MS[Math.min(attempt, OPEN_AGAIN_MS.length - 1)]!)
      }
    }
    back?.()
    this.#onPlaces(places)
    const chunk: OpenChunk = {
      id: places.chunk,
      kind,
      classId,
      bytesMax: bytesMax ?? CHUNK_BYTES_MAX,
      targets: places.places,
      assigned: 0,
      acked: 0,
      synced: 0,
      ended: false,
      inFlight: 0,
      queue: [],
      uncommitted: new Set(),
      usedMs: this.#world.clock.monotonicMs(),
      unsyncedMs: Number.POSITIVE_INFINITY,
      refusal: undefined,
      failed: new Set(),
    }
    this.#open.add(chunk)
    return chunk
  }

  #assign(chunk: OpenChunk, segment: Segment, sync: boolean): boolean {
    if (chunk.ended || !fits(chunk, segment.length)) return false
    segment.chunk = chunk
    segment.chunkOffset = chunk.assigned
    chunk.assigned += segment.length
    chunk.uncommitted.add(segment)
    chunk.usedMs = this.#world.clock.monotonicMs()
    chunk.queue.push({ segment, sync })
    // Segments of one turn travel together.
    if (chunk.queue.length === 1) queueMicrotask(() => this.#pump(chunk))
    if (chunk.kind === 'pack' && chunk.assigned > chunk.bytesMax / 2) this.#openAhead(chunk)
    return true
  }

  #openAhead(chunk: OpenChunk): void {
    const chunks = this.#of(chunk.classId)
    if (chunk !== chunks.pack || chunks.spare !== undefined) return
    chunks.spare = this.#openChunk(chunk.classId, 'pack')
    // When it fails, the next pack asks again and reports the failure to a writer.
    chunks.spare.catch(() => {
      chunks.spare = undefined
    })
  }

  #pump(chunk: OpenChunk): void {
    const window = chunk.kind === 'pack' ? PACK_WINDOW : WINDOW
    while (chunk.queue.length > 0 && chunk.inFlight < window) {
      const segments: Segment[] = []
      let length = 0
      let sync = false
      while (chunk.queue.length > 0 && (length === 0 || length + chunk.queue[0]!.segment.length <= APPEND_BYTES)) {
        const next = chunk.queue.shift()!
        segments.push(next.segment)
        length += next.segment.length
        sync ||= next.sync
      }
      chunk.inFlight++
      void this.#append(chunk, { segments, offset: segments[0]!.chunkOffset, length, sync })
    }
    if (chunk.ended && chunk.queue.length === 0 && chunk.inFlight === 0) void this.#seal(chunk)
  }

  async #append(chunk: OpenChunk, append: Append): Promise<void> {
    const bulk = append.segments.flatMap((segment) => segment.parts)
    const crc = bulkCrc(bulk)
    const targets = [...chunk.targets]
    const create = append.offset === 0
    const request = { chunk: chunk.id, offset: append.offset, create, sync: append.sync }
    const written = await this.#onTargets(chunk, targets, (peer, disk) =>
      peer.call('append', { ...request, disk }, { bulk, bulkCrc: crc, order: chunk.id }),
    )
    chunk.inFlight--
    if (written.length < targets.length)
      this.#drop(
        chunk,
        targets.filter((target) => !written.includes(target)),
      )
    if (written.some((target) => chunk.targets.includes(target))) {
      const end = append.offset + append.length
      chunk.acked = Math.max(chunk.acked, end)
      if (append.sync) chunk.synced = Math.max(chunk.synced, end)
      else chunk.unsyncedMs = Math.min(chunk.unsyncedMs, this.#world.clock.monotonicMs())
      for (const segment of append.segments) if (segment.chunk === chunk) segment.succeed()
    } else {
      for (const segment of append.segments) if (segment.chunk === chunk) this.#move(chunk, segment, append.sync)
    }
    this.#pump(chunk)
  }

  /** Those of the targets on which the request succeeded. Each is retried over new connections while its patience lasts. */
  async #onTargets(
    chunk: OpenChunk,
    targets: readonly Place[],
    run: (peer: Peer, disk: DiskId) => Promise<unknown>,
  ): Promise<Place[]> {
    const done = await Promise.all(
      targets.map(async (target) => {
        try {
          await this.#onTarget(target, (peer) => run(peer, target.disk))
          return true
        } catch (error) {
          const code = errnoOf(error)
          if (code === undefined) throw error
          chunk.refusal = code === 'ENOSPC' ? code : 'EIO'
          const { disk, host, port } = target
          this.#world.log.warn(
            { chunk: chunk.id, disk, host, port, error: String(error) },
            'a copy could not be written; going on without it',
          )
          return false
        }
      }),
    )
    return targets.filter((_, i) => done[i])
  }

  /** Runs a request on a target, over new connections while its patience lasts. */
  async #onTarget<T>(target: Place, run: (peer: Peer) => Promise<T>): Promise<T> {
    const deadline = this.#world.clock.monotonicMs() + TARGET_PATIENCE_MS
    for (;;) {
      try {
        return await run(await this.#chunkservers.peer(target.host, target.port))
      } catch (error) {
        // ENODEV: the server is up and does not know the disk yet; right after its start it will in a moment.
        if (!isTransportFailure(error) && errnoOf(error) !== 'ENODEV') throw error
        if (this.#world.clock.monotonicMs() > deadline) throw error
        await this.#world.clock.sleep(RETRY_PAUSE_MS)
      }
    }
  }

  /**
   * Ends a chunk of which some targets failed. What was never sent moves to another chunk; what is in flight settles by
   * itself on the remaining targets, and the last one to settle seals (pump).
   */
  #drop(chunk: OpenChunk, failed: readonly Place[]): void {
    const until = this.#world.clock.monotonicMs() + AVOID_MS
    for (const target of failed) {
      this.#avoid.set(target.disk, until)
      chunk.failed.add(target.disk)
    }
    chunk.targets = chunk.targets.filter((target) => !chunk.failed.has(target.disk))
    chunk.ended = true
    this.#notPack(chunk)
    for (const { segment, sync } of chunk.queue.splice(0)) this.#move(chunk, segment, sync)
  }

  #move(from: OpenChunk, segment: Segment, sync: boolean): void {
    this.#settled(from, segment)
    segment.again()
    const { kind, classId } = from
    if (kind === 'pack') void this.appendToPack(classId, segment, sync)
    else
      void this.appendToStream(classId, undefined, segment, sync).then(
        (chunk) => chunk !== undefined && this.giveBack(chunk),
      )
  }

  #settled(chunk: OpenChunk, segment: Segment): void {
    chunk.uncommitted.delete(segment)
    if (chunk.uncommitted.size === 0) this.#left.delete(chunk)
  }

  #forget(chunk: OpenChunk): void {
    chunk.ended = true
    if (chunk.uncommitted.size > 0) this.#left.add(chunk)
    this.#notPack(chunk)
    this.#takeFromPool(chunk)
    this.#open.delete(chunk)
  }

  #notPack(chunk: OpenChunk): void {
    const chunks = this.#classes.get(chunk.classId)
    if (chunks !== undefined && chunks.pack === chunk) chunks.pack = undefined
  }

  /** Whether it was there. */
  #takeFromPool(chunk: OpenChunk): boolean {
    const pool = this.#classes.get(chunk.classId)?.pool
    const at = pool?.indexOf(chunk) ?? -1
    if (at >= 0) pool!.splice(at, 1)
    return at >= 0
  }

  /** No more segments; sealed as soon as what is under way has arrived. */
  #end(chunk: OpenChunk): void {
    if (chunk.ended) return
    chunk.ended = true
    this.#notPack(chunk)
    this.#pump(chunk)
  }

  async #seal(chunk: OpenChunk): Promise<void> {
    if (!this.#open.has(chunk)) return
    this.#forget(chunk)
    // With no target left, what was acknowledged is still on their disks: they keep their copies and may come back.
    const failed = chunk.targets.length === 0 ? [] : [...chunk.failed]
    try {
      await this.#session.change('chunkSeal', { chunk: chunk.id, length: chunk.acked, failed })
    } catch (error) {
      // The master seals what a session leaves open; a chunk it no longer knows needs no seal.
      if (errnoOf(error) === undefined) throw error
      this.#world.log.info({ chunk: chunk.id, error: String(error) }, 'the master did not take a seal')
    }
  }

  #tidyLater(): void {
    this.#world.clock.timer(TIDY_MS, () => {
      if (this.#closed) return
      const now = this.#world.clock.monotonicMs()
      this.#forgive(now)
      for (const chunk of [...this.#open]) {
        const quiet = chunk.queue.length === 0 && chunk.inFlight === 0 && chunk.uncommitted.size === 0
        if (quiet && now - chunk.usedMs > IDLE_SEAL_MS) this.#sealIdle(chunk)
        else if (chunk.synced < chunk.acked && now - chunk.unsyncedMs > SYNC_BEHIND_MS) this.#syncBehind(chunk)
      }
      this.#tidyLater()
    })
  }

  #forgive(now: number): void {
    for (const [disk, until] of this.#avoid) if (until < now) this.#avoid.delete(disk)
  }

  #sealIdle(chunk: OpenChunk): void {
    // A stream chunk that a file still holds is not idle.
    if (!this.#takeFromPool(chunk) && chunk.kind === 'stream') return
    this.#end(chunk)
  }

  #syncBehind(chunk: OpenChunk): void {
    chunk.unsyncedMs = Number.POSITIVE_INFINITY
    this.sync(chunk, chunk.acked).catch((error: unknown) => {
      // Nobody was promised anything; whoever calls fsync asks the disks again and is told.
      this.#world.log.warn({ chunk: chunk.id, error: String(error) }, 'written data could not be made durable yet')
    })
  }
}
