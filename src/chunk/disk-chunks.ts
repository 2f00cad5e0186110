/*
 * The chunks of one disk: appended to, read, synced, sealed, checked, mended, deleted. It owns their open files and keeps the
 * inventory and the count of bytes right; what is inside a file is chunk-file.ts, whether the disk is in use is disk.ts.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import { DamagedBlocks } from './chunk-blocks.ts'
import { ChunkFile, type FetchedBlocks } from './chunk-file.ts'
import type { ChunkHome } from './chunk-home.ts'
import type { CopyState } from './core/inventory-log.ts'
import type { DiskHealth } from './disk-health.ts'
import type { DiskHoldings } from './disk-holdings.ts'
import { dirOf, pathOf } from './disk-identity.ts'
import type { DiskIo } from './disk-io.ts'
import type { DiskSpace } from './disk-space.ts'
import { OpenFiles } from './open-files.ts'

export const NO_SPACE_LEFT = 'no space left under its rule'

/** What the parts of one disk share. */
export interface DiskParts {
  readonly io: DiskIo
  readonly home: ChunkHome
  readonly health: DiskHealth
  readonly holdings: DiskHoldings
  readonly space: DiskSpace
  readonly clock: Clock
  /** By the world's clock, milliseconds since 1970. */
  readonly nowMs: () => number
}

export class DiskChunks {
  readonly #disk: DiskParts
  readonly #files: OpenFiles
  /** Being deleted: whoever opened one of these would hold, or go on with, a file without a name. */
  readonly #leaving = new Set<ChunkId>()

  constructor(disk: DiskParts) {
    this.#disk = disk
    const { health, space } = disk
    this.#files = new OpenFiles((error, doing) => health.failure(error, doing), {
      counts: ({ chunk, file }, length) => space.count(chunk, Math.max(length, file?.queuedEnd ?? 0)),
      dropped: () => {},
      failed: ({ chunk, file }, error) => {
        // What was to be appended may not have been.
        if (file !== undefined) space.count(chunk, file.queuedEnd)
        if (error instanceof DamagedBlocks) this.#damaged(chunk, error.blocks, error.message)
      },
    })
  }

  /** Answers at once when the chunk is open and the append small. `fromReserve`: it may use what is kept aside. */
  append(
    chunk: ChunkId,
    offset: number,
    parts: readonly Uint8Array[],
    create: boolean,
    fromReserve = false,
  ): number | Promise<number> {
    this.#disk.health.assertWritable(fromReserve)
    if (fromReserve) this.#disk.space.assertRoom(parts.reduce((bytes, part) => bytes + part.length, 0))
    const handle = this.#files.get(chunk)
    if (handle?.file === undefined) return this.#appendOpening(chunk, offset, parts, create)
    const { file } = handle
    const answer = file.append(offset, parts)
    this.#count(chunk, file.queuedEnd)
    if (typeof answer === 'number') return answer
    return this.#files.use(handle, () => answer)
  }

  /** What waits to be written counts: a window of appends would fill what is kept aside before the first is answered. */
  #count(chunk: ChunkId, length: number): void {
    this.#disk.space.count(chunk, length)
    if (this.#disk.space.availableBytes <= 0 && this.#disk.health.state === 'ok')
      this.#disk.health.set('full', NO_SPACE_LEFT)
  }

  async #appendOpening(chunk: ChunkId, offset: number, parts: readonly Uint8Array[], create: boolean): Promise<number> {
    const known = this.#disk.holdings.known().table.get(chunk)
    if (this.#leaving.has(chunk)) throw this.#missing(chunk)
    if (known === undefined && !create && this.#files.get(chunk) === undefined) throw this.#missing(chunk)
    const handle = this.#files.obtain(chunk, () =>
      known === undefined ? this.#create(chunk) : this.#openForAppend(chunk, create && offset === 0),
    )
    return this.#files.use(handle, async (file) => {
      const answer = file.append(offset, parts)
      if (!handle.doomed) this.#count(chunk, file.queuedEnd)
      return answer
    })
  }

  async read(chunk: ChunkId, offset: number, length: number): Promise<Buffer> {
    this.#assertHeld(chunk)
    return this.#use(chunk, (file) => file.read(offset, length))
  }

  /** The same at once, when the chunk is open, the range small, and the page cache likely to have it; else undefined. */
  readNow(chunk: ChunkId, offset: number, length: number): Buffer | Promise<Buffer> | undefined {
    this.#assertHeld(chunk)
    const now = this.#files.touched(chunk)?.readNow(offset, length)
    return now instanceof Promise ? this.#use(chunk, () => now) : now
  }

  async fetch(chunk: ChunkId, block: number, count: number): Promise<FetchedBlocks> {
    this.#assertHeld(chunk)
    return this.#use(chunk, (file) => file.fetch(block, count))
  }

  async sync(chunk: ChunkId, length: number): Promise<number> {
    this.#assertHeld(chunk)
    return this.#use(chunk, async (file) => {
      await file.sync(length)
      return file.length
    })
  }

  async seal(chunk: ChunkId, length: number): Promise<string> {
    this.#assertHeld(chunk)
    if (this.#disk.health.state === 'readonly') throw new FsError('EROFS', this.#disk.io.root)
    const digest = await this.#use(chunk, (file) => file.seal(length))
    if (this.#disk.holdings.known().table.get(chunk)?.state !== 'damaged')
      this.#disk.holdings.inventory?.note(chunk, 'sealed', length)
    return digest
  }

  /** Missing ones are no error. */
  async delete(chunk: ChunkId): Promise<void> {
    const inventory = this.#disk.holdings.known()
    const open = this.#files.get(chunk) !== undefined
    this.#files.drop(chunk)
    if (!open && inventory.table.get(chunk) === undefined) return
    this.#leaving.add(chunk)
    try {
      await this.#disk.io.unlink(pathOf(chunk))
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT')
        throw this.#disk.health.failure(error, `deleting chunk ${chunkName(chunk)}`)
    } finally {
      this.#leaving.delete(chunk)
    }
    this.#disk.space.uncount(chunk)
    this.#disk.holdings.whole(chunk)
    inventory.note(chunk, 'gone', 0)
  }

  /** How a chunk is held; `deep` reads everything. */
  async verify(
    chunk: ChunkId,
    deep: boolean,
    onBytes?: (bytes: number) => Promise<void>,
  ): Promise<{ state: CopyState; length: number }> {
    const known = this.#disk.holdings.known().table.get(chunk)
    if (known === undefined || this.#leaving.has(chunk)) return { state: 'gone', length: 0 }
    try {
      return await this.#use(chunk, async (file) => {
        if (deep) {
          const bad = await file.verify(onBytes)
          if (bad.length > 0) throw new DamagedBlocks(chunk, bad)
          if (!file.digestFits()) {
            this.#damaged(chunk, [], 'the CRC table does not fit the digest of the seal')
            return { state: 'damaged', length: file.length }
          }
        }
        const damaged = this.#disk.holdings.inventory?.table.get(chunk)?.state === 'damaged' && !deep
        return { state: damaged ? 'damaged' : file.sealed ? 'sealed' : 'open', length: file.length }
      })
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      if (error.code === 'ENOENT') return { state: 'gone', length: 0 }
      this.#disk.health.assertReadable()
      return { state: 'damaged', length: known.length }
    }
  }

  /** Reads the chunk; `all` when the file cannot be read as this chunk, was never sealed, or only a new copy helps. */
  async damagedBlocks(chunk: ChunkId): Promise<number[] | 'all'> {
    this.#assertHeld(chunk)
    try {
      return await this.#use(chunk, async (file) => {
        const bad = await file.verify()
        return !file.sealed || (bad.length === 0 && !file.digestFits()) ? 'all' : bad
      })
    } catch (error) {
      if (error instanceof FsError && error.code === 'EBADMSG') return 'all'
      throw error
    }
  }

  /** Rewrites blocks with good ones; the copy counts as whole again only when all of it has been read back. */
  async repair(
    chunk: ChunkId,
    blocks: readonly number[],
    good: (block: number, length: number) => Promise<{ data: Uint8Array; crc: number }>,
  ): Promise<number> {
    // It takes no room.
    this.#disk.health.assertWritable(true)
    this.#assertHeld(chunk)
    return this.#use(chunk, async (file) => {
      for (const block of blocks) {
        const { data, crc } = await good(block, file.length)
        await file.repairBlock(block, data, crc)
      }
      await file.repaired()
      const bad = await file.verify()
      if (bad.length > 0) throw new DamagedBlocks(chunk, bad)
      if (!file.digestFits()) throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} still does not fit its digest`)
      this.#disk.holdings.whole(chunk)
      this.#disk.holdings.inventory?.note(chunk, file.sealed ? 'sealed' : 'open', file.sealed ? file.length : 0)
      return blocks.length
    })
  }

  /** Opened once at the start, so that the inventory says how it is and its bytes are counted. */
  async look(chunk: ChunkId): Promise<void> {
    await this.#use(chunk, async () => {})
  }

  /** Whoever has the file open keeps it; the next user opens what lies there then. */
  close(chunk: ChunkId): void {
    this.#files.drop(chunk)
  }

  closeAll(): void {
    this.#files.dropAll()
  }

  // ---- opening

  #use<T>(chunk: ChunkId, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    return this.#files.use(
      this.#files.obtain(chunk, () => this.#open(chunk)),
      work,
    )
  }

  #assertHeld(chunk: ChunkId): void {
    const known = this.#disk.holdings.known().table.get(chunk) !== undefined || this.#files.get(chunk) !== undefined
    if (!known || this.#leaving.has(chunk)) throw this.#missing(chunk)
  }

  #missing(chunk: ChunkId): FsError {
    return new FsError('ENOENT', `chunk ${chunkName(chunk)} on ${this.#disk.io.root}`)
  }

  #damaged(chunk: ChunkId, blocks: readonly number[], detail: string): void {
    this.#disk.holdings.damaged(chunk, blocks, detail, this.#files.get(chunk)?.file?.length)
  }

  async #open(chunk: ChunkId): Promise<ChunkFile> {
    const inventory = this.#disk.holdings.known()
    const before = inventory.table.get(chunk)
    try {
      const file = await this.#disk.io.open(pathOf(chunk), this.#disk.health.state === 'readonly' ? 'read' : 'write')
      let opened: ChunkFile
      try {
        opened = await ChunkFile.open(file, chunk, this.#disk.home, dirOf(chunk))
      } catch (error) {
        await file.close()
        throw error
      }
      if (before === undefined || (before.state === 'open' && opened.sealed))
        inventory.note(chunk, opened.sealed ? 'sealed' : 'open', opened.sealed ? opened.length : 0)
      if (opened.damagedAtOpen.length > 0)
        this.#damaged(chunk, opened.damagedAtOpen, 'durable bytes of the chunk are cut off or do not match their CRC')
      return opened
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') {
        inventory.note(chunk, 'gone', 0)
        throw new FsError('ENOENT', `chunk ${chunkName(chunk)} on ${this.#disk.io.root}`, { cause: error })
      }
      const failure = this.#disk.health.failure(error, `opening chunk ${chunkName(chunk)}`)
      if (failure.code === 'EBADMSG') this.#damaged(chunk, [], failure.message)
      throw failure
    }
  }

  async #create(chunk: ChunkId): Promise<ChunkFile> {
    const inventory = this.#disk.holdings.known()
    try {
      const made = await createChunk(this.#disk.io, chunk, false, this.#disk.home, this.#disk.nowMs())
      inventory.note(chunk, 'open', 0)
      return made
    } catch (error) {
      if ((error as { code?: unknown }).code === 'EEXIST') return this.#open(chunk)
      throw this.#disk.health.failure(error, `creating chunk ${chunkName(chunk)}`)
    }
  }

  /** A creation that was cut off by a power cut leaves a file without a header; its writer begins again at 0. */
  async #openForAppend(chunk: ChunkId, fromStart: boolean): Promise<ChunkFile> {
    try {
      return await this.#open(chunk)
    } catch (error) {
      if (!fromStart || !(error instanceof FsError) || error.code !== 'EBADMSG') throw error
      try {
        await this.#disk.io.unlink(pathOf(chunk))
      } catch (unlinking) {
        throw this.#disk.health.failure(unlinking, `creating chunk ${chunkName(chunk)}`)
      }
      this.#disk.holdings.whole(chunk)
      return this.#create(chunk)
    }
  }
}

/** A new file with its header. One that could not get it is removed again: it would look like a damaged chunk. */
export async function createChunk(
  io: DiskIo,
  chunk: ChunkId,
  copy: boolean,
  home: ChunkHome,
  nowMs: number,
): Promise<ChunkFile> {
  const path = pathOf(chunk, copy)
  const file = await io.open(path, 'create')
  try {
    return await ChunkFile.create(file, chunk, home, dirOf(chunk), nowMs)
  } catch (error) {
    try {
      await file.close()
      await io.unlink(path)
    } catch (removing) {
      home.failure(removing, `removing chunk ${chunkName(chunk)}`)
    }
    throw error
  }
}
