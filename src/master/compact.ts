/*
 * Rewriting what is left of half-dead chunks, and files in too many pieces, into new chunks. A chunkserver near the data
 * copies the live ranges into a new chunk; when that is durable, one conditional command moves the extents that are still
 * what they were. The old chunks die by themselves and are collected.
 *
 * While there is room, only what wins more than it writes is rewritten. When room is short, chunks that are more than half
 * live count as well, those with most dead bytes first, into what the disks keep aside; fragmented files wait.
 *
 * After a crash of the master in between there is an open chunk of session 0: it is ended, empty, at the next start.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId, Ino } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import { slotsOf } from '../topology/labels.ts'
import { copiesUntilCoded } from '../topology/storage-class.ts'
import type { ChunkPlaces, Extent } from '../wire/shapes.ts'
import { type Bounds, pacedMs, slower } from './bounds.ts'
import {
  fitting,
  type Owned,
  type Partly,
  type Range,
  type Rewrite,
  readFor,
  rewrite,
  rewriteByChunk,
} from './core/compaction.ts'
import { evenly, FREE, type Load } from './core/lanes.ts'
import type { ChunkRecord } from './core/records.ts'
import type { RepairDisk } from './core/repair.ts'
import { placesOf, type WorkParts } from './parts.ts'
import { WorstChunks } from './worst-chunks.ts'

/** Extents moved by one command: it holds a turn of the loop for about 30 ms. */
const MOVES_MAX = 2_048
/** Chunks rewritten together. */
const CHUNKS_MAX = 64
/** Dead bytes that make a rewrite worth its orders and records. */
const WIN_BYTES_MIN = 4 * 1024 * 1024
/** A file is fragmented with more extents than this, … */
const EXTENTS_MANY = 1_024
/** … which are on average smaller than this. */
const EXTENT_SMALL = 64 * 1024
/** Files changed lately that are to be looked at; more are seen at their next change. */
const CHANGED_MAX = 10_000
const CHANGED_AT_ONCE = 200
/** Chunks are looked for this often, … */
const IDLE_MS = 30_000
/** … and whether room is short this often. */
const LOOK_MS = 5_000
/** Room is short below this share of what the cluster can hold: the last weeks of one that fills up slowly. */
const SHORT_SHARE = 1 / 16
/** … and until this share is there again, or nothing is worth a rewrite any more: writers are faster than rewriting. */
const ENOUGH_SHARE = 1 / 4
/** With more room than this, what a rewrite takes need not be seen in the reports before the next. */
const AMPLE_BYTES = 16 * CHUNK_BYTES_MAX
/** When room is short, less is worth a rewrite: small disks have small chunks. */
const SHORT_WIN_BYTES_MIN = 1024 * 1024
/** Two heartbeats and more: the disks have said what is left of what they keep aside. */
const SHORT_REST_MS = 5_000
const BETWEEN_MS = 100
/** While a bound holds it back, room may become short: looked at at least so often. */
const boundRestMs = (waitMs: number): number => Math.min(LOOK_MS, Math.max(BETWEEN_MS, waitMs))

export interface CompactionOptions {
  /** A sealed chunk with a smaller live share is rewritten; the state's own index holds those below half. */
  readonly belowPercent: number
  /** As fast as one rewrite may be read, whatever the bounds; 0: none. */
  readonly bytesPerSecond: number
}

export class Compaction implements Work {
  readonly #master: WorkParts
  readonly #bounds: Bounds
  readonly #belowPercent: number
  readonly #bytesPerSecond: number
  readonly #worst: WorstChunks
  readonly #changed = new Set<Ino>()
  #abandonedEnded = false
  #short = false
  /** The fragmented file being rewritten, and how far it is. */
  #file: { ino: Ino; offset: number } | undefined
  #cursor: ChunkId | 0 = 0
  #notBeforeMs = 0
  #rewritten = 0
  #bytes = 0
  /** What the next rewrite waits for, in words. */
  #bound = ''

  constructor(master: WorkParts, bounds: Bounds, { belowPercent, bytesPerSecond }: CompactionOptions) {
    this.#master = master
    this.#bounds = bounds
    this.#belowPercent = belowPercent
    this.#bytesPerSecond = bytesPerSecond
    this.#worst = new WorstChunks(master.state, (chunk) => this.#readable(chunk))
  }

  /** Files whose data changed may have become fragmented. */
  touched(inodes: readonly { readonly ino: Ino; readonly data: boolean }[]): void {
    for (const { ino, data } of inodes) if (data && this.#changed.size < CHANGED_MAX) this.#changed.add(ino)
  }

  queued(): number {
    return this.#file === undefined ? 0 : 1
  }
  progress(): string {
    return `${this.#rewritten} rewrites, ${this.#bytes} bytes${this.#bound}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    await this.#endAbandoned()
    const { totalBytes, availableBytes } = this.#master.nodes.capacity(this.#master.state.settings().copies)
    this.#short = availableBytes < totalBytes * (this.#short ? ENOUGH_SHARE : SHORT_SHARE)
    if (this.#short) return this.#makeRoom(availableBytes > AMPLE_BYTES ? BETWEEN_MS : SHORT_REST_MS, signal)
    this.#worst.restart()
    const at = { cursor: this.#cursor, notBeforeMs: this.#notBeforeMs }
    const work = this.#sparse() ?? this.#fragmented()
    if (work !== undefined && work.moves.length > 0) {
      const waitMs = await this.#carryOut(work, signal)
      if (waitMs > 0) {
        // Chosen again when it may begin: much may have changed by then.
        this.#cursor = at.cursor
        this.#notBeforeMs = at.notBeforeMs
        if (work.file !== undefined) this.#file = work.file
        return { restMs: boundRestMs(waitMs), resting: 'throttled' }
      }
      return { restMs: BETWEEN_MS, resting: 'throttled' }
    }
    const more = this.#file !== undefined || this.#cursor !== 0
    return more ? { restMs: BETWEEN_MS, resting: 'throttled' } : { restMs: LOOK_MS, resting: 'idle' }
  }

  /** Room is short: one rewrite, as large as fits, then a rest, where it matters until the disks have said what is left. */
  async #makeRoom(restMs: number, signal: AbortSignal): Promise<WorkStep> {
    if (!this.#worst.look()) return { restMs: BETWEEN_MS, resting: 'throttled' }
    const most = Math.min(CHUNK_BYTES_MAX, this.#master.nodes.mostPerCopy(this.#master.state.settings().copies))
    const work = this.#ofWorst(fitting(this.#worst.found(), most))
    if (work === undefined) {
      this.#worst.restart()
      return { restMs: SHORT_REST_MS, resting: 'idle' }
    }
    try {
      const waitMs = await this.#carryOut(work, signal)
      if (waitMs > 0) return { restMs: boundRestMs(waitMs), resting: 'throttled' }
    } catch (error) {
      // Somebody else took what was free; there may be more after the next chunk that is given up.
      if (!(error instanceof FsError) || error.code !== 'ENOSPC') throw error
      this.#master.log.warn(
        { bytes: work.length, error: error.message },
        'no room to rewrite live data; trying again later',
      )
      return { restMs: SHORT_REST_MS, resting: 'throttled' }
    }
    return { restMs, resting: 'throttled' }
  }

  #ofWorst(chunks: readonly Partly[]): Rewrite | undefined {
    const owned: Owned[] = []
    let win = 0
    for (const { chunk, length, live } of chunks) {
      if (owned.length >= MOVES_MAX) break
      if (!this.#goesWith(chunk, owned)) continue
      // One in more pieces than one rewrite moves has most dead bytes the next time, and is gone on with.
      owned.push(...this.#master.state.extents.inChunk(chunk, undefined, MOVES_MAX))
      win += length - live
    }
    return win < SHORT_WIN_BYTES_MIN ? undefined : rewriteByChunk(owned, CHUNK_BYTES_MAX, MOVES_MAX)
  }

  async #endAbandoned(): Promise<void> {
    if (this.#abandonedEnded) return
    const { chunkIndex } = this.#master.state
    // Parts of erasure-coded chunks are open in the same way, and not its own.
    const own = chunkIndex.openOf(MASTER).filter((chunk) => this.#master.state.chunk(chunk)?.whole === undefined)
    for (const chunk of own) await this.#end(chunk)
    this.#abandonedEnded = true
  }

  /** Some half-dead chunks together, or undefined when there is nothing worth it. */
  #sparse(): (Rewrite & { file?: undefined }) | undefined {
    if (this.#master.clock.monotonicMs() < this.#notBeforeMs) return undefined
    const page = this.#master.state.chunkIndex.sparse(this.#cursor, CHUNKS_MAX)
    this.#cursor = page.length < CHUNKS_MAX ? 0 : page.at(-1)!
    if (this.#cursor === 0) this.#notBeforeMs = this.#master.clock.monotonicMs() + IDLE_MS
    const owned: Owned[] = []
    let win = 0
    let live = 0
    for (const chunk of page) {
      const record = this.#master.state.chunk(chunk)
      if (record === undefined || record.live * 100 >= record.length * this.#belowPercent) continue
      if (live + record.live > CHUNK_BYTES_MAX || owned.length >= MOVES_MAX || !this.#readable(chunk)) continue
      if (!this.#goesWith(chunk, owned)) continue
      owned.push(...this.#master.state.extents.inChunk(chunk, undefined, MOVES_MAX))
      live += record.live
      win += record.length - record.live
    }
    return win < WIN_BYTES_MIN ? undefined : rewriteByChunk(owned, CHUNK_BYTES_MAX, MOVES_MAX)
  }

  /** The next stretch of a file in too many pieces. */
  #fragmented(): (Rewrite & { file?: { ino: Ino; offset: number } }) | undefined {
    this.#file ??= this.#nextFile()
    if (this.#file === undefined) return undefined
    const file = this.#file
    const { ino, offset } = file
    const { extents, complete } = this.#master.state.extents.from(ino, offset, MOVES_MAX)
    const last = extents.at(-1)
    this.#file = complete || last === undefined ? undefined : { ino, offset: last.offset + last.length }
    if (extents.length <= EXTENTS_MANY / 2 || averageOf(extents) >= EXTENT_SMALL) return undefined
    const owned = extents.filter((extent) => this.#readable(extent.chunk)).map((extent) => ({ ino, extent }))
    return { ...rewrite(owned, CHUNK_BYTES_MAX, MOVES_MAX), file }
  }

  #nextFile(): { ino: Ino; offset: number } | undefined {
    let left = CHANGED_AT_ONCE
    for (const ino of this.#changed) {
      if (left-- === 0) break
      this.#changed.delete(ino)
      const used = this.#master.state.inode(ino)?.attr.used ?? 0
      if (used < EXTENT_SMALL) continue
      const { extents, complete } = this.#master.state.extents.from(ino, 0, EXTENTS_MANY)
      if (!complete && averageOf(extents) < EXTENT_SMALL) return { ino, offset: 0 }
    }
    return undefined
  }

  /** What lives by different classes is not put into one chunk. */
  #goesWith(chunk: ChunkId, owned: readonly Owned[]): boolean {
    return owned.length === 0 || this.#classOf(chunk) === this.#classOf(owned[0]!.extent.chunk)
  }
  #classOf(chunk: ChunkId): number {
    return this.#master.state.chunk(chunk)?.classId ?? 0
  }

  /** Sealed, and there is a copy to read all of it from, or enough parts. */
  #readable(chunk: ChunkId): boolean {
    const record = this.#master.state.chunk(chunk)
    if (record === undefined || record.lost !== undefined || record.state !== 'sealed') return false
    if (this.#isThere(record)) return true
    const { ec } = record
    return (
      ec !== undefined && ec.parts.filter((part) => this.#isThere(this.#master.state.chunk(part))).length >= ec.data
    )
  }
  #isThere(record: ChunkRecord | undefined): boolean {
    return record?.disks.some((d) => this.#master.nodes.isLive(d) && !record.unsealed.includes(d)) === true
  }

  /** Answers 0, or for how long the bounds of what it uses do not let it begin. */
  async #carryOut({ ranges, moves, length }: Rewrite, signal: AbortSignal): Promise<number> {
    const sources = new Map(
      [...new Set(ranges.map((range) => range.chunk))].map((chunk) => {
        const found = placesOf(this.#master.state, this.#master.nodes, chunk)!
        return [chunk, { ...found, places: this.#master.nodes.readable(found.places) }]
      }),
    )
    const first = sources.get(ranges[0]!.chunk)!.places[0]
    const classId = this.#classOf(ranges[0]!.chunk)
    const wanted = copiesUntilCoded(this.#master.state.classes.meaning(classId))
    const copies = slotsOf(wanted.placing).length
    const near = first === undefined ? undefined : this.#master.nodes.location(first.node)
    const disks: DiskId[] = [...this.#master.nodes.chooseFor(wanted, { bytes: length, room: 'reserve', near }).disks]
    // What is as safe as it should be does not become less so by being moved.
    const bears = ({ places, ec }: ChunkPlaces): number => (ec === undefined ? places.length : ec.parity + 1)
    const needed = Math.max(1, ...[...sources.values()].map((source) => Math.min(copies, bears(source))))
    if (disks.length < needed)
      throw new FsError('ENOSPC', `${needed} disks have to take a rewritten chunk, ${disks.length} can`)
    const asking = this.#bounds.asking('compact')
    const load = this.#load(ranges, sources, disks, length)
    const paid = load === undefined ? FREE : asking.admit(load)
    this.#bound = asking.says()
    if (paid === undefined) return asking.leastWaitMs
    const bytesPerSecond = slower(this.#bytesPerSecond, paid)
    const youngest = Math.max(...[...sources.keys()].map((one) => this.#master.state.chunk(one)?.createdSec ?? 0))
    let chunk = 0 as ChunkId
    let failed: unknown
    await this.#master.loop.command(() => {
      chunk = this.#master.state.nextIds().chunk
      const begun = { chunk, disks, copies, classId: classId === 0 ? undefined : classId, createdSec: youngest }
      return { ok: { kind: 'compactBegun', ...begun } }
    })
    try {
      const reply = await this.#master.orders.give(
        disks[0]!,
        'orderCompact',
        {
          ranges: ranges.map((range) => ({
            source: sources.get(range.chunk)!,
            offset: range.offset,
            length: range.length,
          })),
          chunk,
          targets: this.#master.orders.places(disks),
          bytesPerSecond,
        },
        signal,
        {
          reads: first === undefined ? [] : [first.disk],
          writes: disks,
          pacedMs: pacedMs(load?.pacedBytes ?? 0, bytesPerSecond),
        },
      )
      if (reply.length !== length)
        throw new FsError('EIO', `the rewritten chunk has ${reply.length} bytes instead of ${length}`)
      await this.#master.loop.command(() => ({ ok: { kind: 'relocate', chunk, length, moves: [...moves] } }))
    } catch (error) {
      failed = error
      // What cannot be ended now is ended by the next step that can, or by the next start.
      this.#abandonedEnded = false
      if (!signal.aborted && this.#master.loop.status().refusing === undefined) await this.#endAbandoned()
      throw error
    } finally {
      this.#bounds.ended(paid, failed)
    }
    this.#rewritten++
    this.#bytes += length
    this.#master.log.info({ chunk, bytes: length, extents: moves.length, from: sources.size }, 'live data rewritten')
    return 0
  }

  /** Each chunk is read from its first copy, or from as many of its parts as it takes. */
  #load(
    ranges: readonly Range[],
    sources: ReadonlyMap<ChunkId, ChunkPlaces>,
    targets: readonly DiskId[],
    length: number,
  ): Load | undefined {
    const map = this.#master.nodes.map()
    const disksOf = (ids: readonly DiskId[]): RepairDisk[] => ids.flatMap((disk) => map.get(disk) ?? [])
    const writes = disksOf(targets)
    if (writes[0] === undefined) return undefined
    const read = readFor(ranges, (chunk) => sources.get(chunk)!.length)
    const reads = [...read].flatMap(([chunk, bytes]) => {
      const { places, ec } = sources.get(chunk)!
      if (places[0] !== undefined) return evenly(disksOf([places[0].disk]), bytes)
      const parts = ec?.parts.flatMap((part) => part.places[0]?.disk ?? []).slice(0, ec.data) ?? []
      return evenly(disksOf(parts), Math.ceil(bytes / Math.max(1, parts.length)))
    })
    const pacedBytes = [...read.values()].reduce((sum, bytes) => sum + bytes, 0)
    return { reads, writes: evenly(writes, length), via: writes[0], pacedBytes, urgent: false }
  }

  /** A new chunk that nothing was moved to: it is dead at once, and collected. */
  async #end(chunk: ChunkId): Promise<void> {
    await this.#master.loop.command(() => ({ ok: { kind: 'relocate', chunk, length: 0, moves: [] } }))
  }
}

const MASTER = 0 as never

const averageOf = (extents: readonly Extent[]): number =>
  extents.reduce((sum, extent) => sum + extent.length, 0) / Math.max(1, extents.length)
