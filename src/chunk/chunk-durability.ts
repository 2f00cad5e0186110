/*
 * How much of one chunk is durable, and the syncs that make it more. Callers that come while a sync waits for its turn share
 * it; those that come while one runs share the next, because it may have missed what they wrote.
 *
 * It also says which tail slots may not be written: the one whose record was current at the last sync, and the one current
 * at the start of a running sync. After a failed sync nothing is synced any more (chunk-file.ts, point 7).
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { ChunkHome } from './chunk-home.ts'
import type { DiskFile } from './disk-io.ts'

/** Up to this much is a small sync; what follows from several of them in a row is chunk-file.ts's business. */
const SMALL_SYNC_BYTES = 64 * 1024

export interface DurableStart {
  readonly length: number
  readonly nameDurable: boolean
  /** False after a recovery: which of the records is durable is not known until a sync. */
  readonly anchored: boolean
  readonly broken: FsError | undefined
}

export class ChunkDurability {
  readonly #chunk: ChunkId
  readonly #file: DiskFile
  readonly #home: ChunkHome
  readonly #dir: string
  readonly #written: () => { readonly length: number; readonly slot: number }
  #length: number
  #slot = -1
  #syncSlot = -1
  #nameDurable: boolean
  #anchored: boolean
  #broken: FsError | undefined
  #smallSyncs = 0

  #flush: Promise<void> | undefined
  #flushStarted = false
  #nextFlush: Promise<void> | undefined

  /** `written`: the end that the records in the file describe now, and the slot that describes it. */
  constructor(
    chunk: ChunkId,
    file: DiskFile,
    home: ChunkHome,
    dir: string,
    written: () => { readonly length: number; readonly slot: number },
    start: DurableStart,
  ) {
    this.#chunk = chunk
    this.#file = file
    this.#home = home
    this.#dir = dir
    this.#written = written
    this.#length = start.length
    this.#nameDurable = start.nameDurable
    this.#anchored = start.anchored
    this.#broken = start.broken
  }

  /** So many bytes are durable. */
  get length(): number {
    return this.#length
  }
  get anchored(): boolean {
    return this.#anchored
  }
  /** Why this process may no longer append or sync. */
  get broken(): FsError | undefined {
    return this.#broken
  }
  get syncing(): boolean {
    return this.#flush !== undefined
  }
  /** How many syncs in a row made only a little durable. */
  get smallSyncs(): number {
    return this.#smallSyncs
  }

  protects(slot: number): boolean {
    return slot === this.#slot || slot === this.#syncSlot
  }

  assertWhole(): void {
    if (this.#broken !== undefined) throw new FsError('EIO', this.#broken.message, { cause: this.#broken })
  }

  fail(error: unknown, doing: string): FsError {
    this.#broken = this.#home.failure(error, `${doing} chunk ${chunkName(this.#chunk)}`)
    return this.#broken
  }

  /** The seal at this length is durable, and with it the name. */
  sealedAt(length: number): void {
    this.#length = length
  }

  /** Answers when the first `length` bytes, and the name, are durable. */
  async reach(length: number): Promise<void> {
    while (this.#length < length || !this.#nameDurable) {
      this.assertWhole()
      await this.flushed()
    }
  }

  /** One flush that began after this call. */
  flushed(): Promise<void> {
    if (this.#flush === undefined) return this.#startFlush()
    if (!this.#flushStarted) return this.#flush
    const again = (): Promise<void> => {
      this.#nextFlush = undefined
      // Somebody was quicker, after the last one ended and so after whoever waits for this. Two at a time would let go of
      // each other's slot.
      return this.#flush ?? this.#startFlush()
    }
    this.#nextFlush ??= this.#flush.then(again, again)
    return this.#nextFlush
  }

  #startFlush(): Promise<void> {
    const flush = this.#home
      .syncGate(() => this.#sync())
      .finally(() => {
        this.#flush = undefined
        this.#flushStarted = false
      })
    this.#flush = flush
    return flush
  }

  async #sync(): Promise<void> {
    this.#flushStarted = true
    const { length, slot } = this.#written()
    this.#syncSlot = slot
    this.#home.quick.syncBegins()
    try {
      await this.#file.datasync()
      if (!this.#nameDurable) {
        await this.#home.syncDir(this.#dir)
        this.#nameDurable = true
      }
    } catch (error) {
      throw this.fail(error, 'syncing')
    } finally {
      this.#home.quick.syncEnds()
      this.#syncSlot = -1
    }
    this.#smallSyncs = length - this.#length <= SMALL_SYNC_BYTES ? this.#smallSyncs + 1 : 0
    this.#length = length
    this.#slot = slot
    this.#anchored = true
  }
}
