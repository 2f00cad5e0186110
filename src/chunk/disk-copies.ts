/*
 * Copies in the making: `<id>.copy` beside the chunks. Not counted as held and not served; gone on with after a break, given
 * up when nobody does. A copy takes its place by one rename when it is complete, sealed and durable.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { ChunkFile } from './chunk-file.ts'
import { createChunk, type DiskChunks, type DiskParts } from './disk-chunks.ts'
import { dirOf, pathOf } from './disk-identity.ts'
import { OpenFiles } from './open-files.ts'

/** A copy that nobody went on with for this long is not wanted any more: its space is given back. */
const COPY_KEPT_MS = 3_600_000

export class DiskCopies {
  readonly #disk: DiskParts
  readonly #chunks: DiskChunks
  readonly #files: OpenFiles
  /** When each was last worked on. */
  readonly #unfinished = new Map<ChunkId, number>()

  constructor(disk: DiskParts, chunks: DiskChunks) {
    this.#disk = disk
    const { health, space } = disk
    this.#chunks = chunks
    this.#files = new OpenFiles((error, doing) => health.failure(error, doing), {
      counts: ({ counted }, length) => space.grow(length - counted),
      dropped: ({ counted }) => space.grow(-counted),
      failed: () => {},
    })
  }

  /** One that an earlier process left. */
  found(chunk: ChunkId): void {
    this.#unfinished.set(chunk, this.#disk.clock.monotonicMs())
  }

  /** The unfinished copy, resumed or begun, that is to have `length` bytes. Not counted until `finish`. */
  async make<T>(chunk: ChunkId, length: number, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    this.#disk.health.assertWritable(true)
    this.#disk.holdings.known()
    const handle = this.#files.obtain(chunk, () => this.#open(chunk))
    this.#unfinished.set(chunk, this.#disk.clock.monotonicMs())
    return this.#files.use(handle, (file) =>
      this.#disk.space.claim(Math.max(0, length - file.length), () => work(file)),
    )
  }

  async #open(chunk: ChunkId): Promise<ChunkFile> {
    const path = pathOf(chunk, true)
    try {
      if (await this.#disk.io.exists(path)) {
        const file = await this.#disk.io.open(path, 'write')
        try {
          const begun = await ChunkFile.open(file, chunk, this.#disk.home, dirOf(chunk))
          if (begun.damagedAtOpen.length === 0) return begun
          await begun.close()
        } catch (error) {
          await file.close()
          if (!(error instanceof FsError) || error.code !== 'EBADMSG') throw error
        }
        await this.#disk.io.unlink(path)
      }
      return await createChunk(this.#disk.io, chunk, true, this.#disk.home, this.#disk.nowMs())
    } catch (error) {
      throw this.#disk.health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
  }

  /**
   * The chunk is made, or gone on with, by `fill`, sealed at `length`, and takes its place. Answers how many bytes were missing. With
   * `verified` it is read back before that.
   */
  async complete(
    chunk: ChunkId,
    length: number,
    fill: (file: ChunkFile) => Promise<void>,
    verified = false,
  ): Promise<number> {
    // It cannot be gone on with.
    let spoiled = false
    try {
      const bytes = await this.make(chunk, length, async (file) => {
        if (file.length > length || (file.sealed && file.length !== length))
          throw new FsError(
            'ERANGE',
            `an unfinished copy of chunk ${chunkName(chunk)} has ${file.length} bytes, expected ${length}`,
          )
        const before = file.length
        await fill(file)
        if (!file.sealed) await file.seal(length)
        spoiled = verified && ((await file.verify()).length > 0 || !file.digestFits())
        if (spoiled)
          throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} is not on ${this.#disk.io.root} as it was written`)
        return length - before
      })
      await this.finish(chunk, length)
      return bytes
    } catch (error) {
      if (spoiled || (error instanceof FsError && error.code === 'ERANGE')) await this.drop(chunk)
      throw error
    }
  }

  /** The copy is sealed and durable: it takes its place, over a damaged one if there was one. */
  async finish(chunk: ChunkId, length: number): Promise<void> {
    const inventory = this.#disk.holdings.known()
    try {
      await this.#disk.io.rename(pathOf(chunk, true), pathOf(chunk))
      // Not before: whoever came meanwhile would have opened the old file.
      this.#chunks.close(chunk)
      await this.#disk.home.syncDir(dirOf(chunk))
    } catch (error) {
      throw this.#disk.health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
    this.#unfinished.delete(chunk)
    this.#files.drop(chunk)
    this.#disk.space.count(chunk, length)
    this.#disk.holdings.whole(chunk)
    inventory.note(chunk, 'sealed', length)
  }

  async drop(chunk: ChunkId): Promise<void> {
    this.#unfinished.delete(chunk)
    this.#files.drop(chunk)
    try {
      await this.#disk.io.unlink(pathOf(chunk, true))
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT')
        throw this.#disk.health.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
  }

  /** Gives up one that nobody went on with. */
  async dropOneOld(): Promise<void> {
    const now = this.#disk.clock.monotonicMs()
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
