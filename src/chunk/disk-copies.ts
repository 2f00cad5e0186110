/*
 * Copies in the making: `<id>.copy` beside the chunks. Not counted as held and not served; gone on with after a break, given
 * up when nobody does. A copy takes its place by one rename when it is complete, sealed and durable.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import { ChunkFile } from './chunk-file.ts'
import type { ChunkHome } from './chunk-home.ts'
import { createChunk, type DiskChunks } from './disk-chunks.ts'
import type { DiskHealth } from './disk-health.ts'
import type { DiskHoldings } from './disk-holdings.ts'
import { dirOf, pathOf } from './disk-identity.ts'
import type { DiskIo } from './disk-io.ts'
import type { DiskSpace } from './disk-space.ts'
import { OpenFiles } from './open-files.ts'

/** A copy that nobody went on with for this long is not wanted any more: its space is given back. */
const COPY_KEPT_MS = 3_600_000

export class DiskCopies {
  readonly #io: DiskIo
  readonly #home: ChunkHome
  readonly #health: DiskHealth
  readonly #holdings: DiskHoldings
  readonly #space: DiskSpace
  readonly #chunks: DiskChunks
  readonly #clock: Clock
  readonly #nowMs: () => number
  readonly #files: OpenFiles
  /** When each was last worked on. */
  readonly #unfinished = new Map<ChunkId, number>()

  constructor(
    io: DiskIo,
    home: ChunkHome,
    health: DiskHealth,
    holdings: DiskHoldings,
    space: DiskSpace,
    chunks: DiskChunks,
    clock: Clock,
    nowMs: () => number,
  ) {
    this.#io = io
    this.#home = home
    this.#health = health
    this.#holdings = holdings
    this.#space = space
    this.#chunks = chunks
    this.#clock = clock
    this.#nowMs = nowMs
    this.#files = new OpenFiles((error, doing) => health.failure(error, doing), {
      counts: ({ counted }, length) => space.grow(length - counted),
      dropped: ({ counted }) => space.grow(-counted),
      failed: () => {},
    })
  }

  /** One that an earlier process left. */
  found(chunk: ChunkId): void {
    this.#unfinished.set(chunk, this.#clock.monotonicMs())
  }

  /** The unfinished copy, resumed or begun, that is to have `length` bytes. Not counted until `finish`. */
  async make<T>(chunk: ChunkId, length: number, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    this.#health.assertWritable(true)
    this.#holdings.known()
    const handle = this.#files.obtain(chunk, () => this.#open(chunk))
    this.#unfinished.set(chunk, this.#clock.monotonicMs())
    return this.#files.use(handle, (file) => this.#space.claim(Math.max(0, length - file.length), () => work(file)))
  }

  async #open(chunk: ChunkId): Promise<ChunkFile> {
    const path = pathOf(chunk, true)
    try {
      if (await this.#io.exists(path)) {
        const file = await this.#io.open(path, 'write')
        try {
          const begun = await ChunkFile.open(file, chunk, this.#home, dirOf(chunk))
          if (begun.damagedAtOpen.length === 0) return begun
          await begun.close()
        } catch (error) {
          await file.close()
          if (!(error instanceof FsError) || error.code !== 'EBADMSG') throw error
        }
        await this.#io.unlink(path)
      }
      return await createChunk(this.#io, chunk, true, this.#home, this.#nowMs())
    } catch (error) {
      throw this.#health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
  }

  /** The copy is sealed and durable: it takes its place, over a damaged one if there was one. */
  async finish(chunk: ChunkId, length: number): Promise<void> {
    const inventory = this.#holdings.known()
    try {
      await this.#io.rename(pathOf(chunk, true), pathOf(chunk))
      // Not before: whoever came meanwhile would have opened the old file.
      this.#chunks.close(chunk)
      await this.#home.syncDir(dirOf(chunk))
    } catch (error) {
      throw this.#health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
    this.#unfinished.delete(chunk)
    this.#files.drop(chunk)
    this.#space.count(chunk, length)
    this.#holdings.whole(chunk)
    inventory.note(chunk, 'sealed', length)
  }

  async drop(chunk: ChunkId): Promise<void> {
    this.#unfinished.delete(chunk)
    this.#files.drop(chunk)
    try {
      await this.#io.unlink(pathOf(chunk, true))
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT')
        throw this.#health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
  }

  /** Gives up one that nobody went on with. */
  async dropOneOld(): Promise<void> {
    const now = this.#clock.monotonicMs()
    for (const [chunk, at] of this.#unfinished) {
      if (now - at < COPY_KEPT_MS || (this.#files.get(chunk)?.users ?? 0) > 0) continue
      await this.drop(chunk)
      return
    }
  }

  closeAll(): void {
    this.#files.dropAll()
  }

  /** The disk is no longer in use; what lies on it is found again with it. */
  forgetAll(): void {
    this.closeAll()
    this.#unfinished.clear()
  }
}
