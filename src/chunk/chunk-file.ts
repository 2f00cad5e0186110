/*
 * One chunk in one file: appends, and the order in which data, records and seal are written. What the bytes mean is
 * core/chunk-format.ts, how they are checked chunk-blocks.ts, what a sync is chunk-durability.ts, what an opened file is
 * chunk-recovery.ts; which disk, which name and what an error says about the disk is the business of its home (disk.ts).
 *
 * What holds after a crash, and why.
 *
 * 1. An append writes, in this order, the data, the CRC slots of the blocks it completed, a tail record; then it is answered.
 *    A killed process leaves the page cache, and with it every answered append: the records are written in order, so the
 *    newest one that is there describes bytes that are there.
 * 2. A power cut keeps any part of what was written since the last fdatasync, in any order. What was durable before is not
 *    touched by it: data, slots and header are never written twice, and of the five tail slots the one whose record was
 *    current at the last sync, and the one current at the start of a running sync, are never written to (after a restart,
 *    none is before a sync). So the record of the durable length always survives.
 * 3. Every record says how much was durable when it was written. Recovery takes the longest record whose blocks beyond that
 *    point all match their CRCs; a record whose data did not reach the disk fails there, and the next one is tried, down to
 *    the durable one. What lies beyond the chosen length is scrap: never read, overwritten by the next append, cut by the
 *    seal. Longer than durable may come back (it was sent, it is intact), shorter may not.
 * 4. A torn write of a record fails the record's CRC; of a slot, the check of that block. Both are point 3.
 * 5. The seal is written (twice, so that one bad sector does not unseal) after everything below its length is durable, and is
 *    durable itself before it is answered; the scrap is cut only then. A seal that got torn is no seal: the chunk is still
 *    open at the length it had, and sealing again gives the same.
 * 6. The name of a new file is durable (fsync of its directory) before the first sync is answered.
 * 7. After a failed fdatasync the kernel may have dropped the pages and call the next one a success. So the chunk takes no
 *    further append or sync in this process: what was acknowledged as durable before stays readable.
 *
 * Damage (rotten bits, lost sectors) is what is left: each block and record has its CRC, so it is found when read.
 */

import { sliceParts } from '../base/bytes.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'
import { ChunkBlocks } from './chunk-blocks.ts'
import { ChunkDurability, type DurableStart } from './chunk-durability.ts'
import type { ChunkHome } from './chunk-home.ts'
import { recoverChunk } from './chunk-recovery.ts'
import {
  blockCount,
  blockOf,
  DATA_OFFSET,
  decodeTable,
  encodeHeader,
  encodeSeal,
  encodeTail,
  PAGE_BYTES,
  SEAL_OFFSETS,
  type SealRecord,
  TABLE_OFFSET,
  TAIL_RECORD_BYTES,
  TAIL_SLOTS,
  tailOffset,
  tailSeed,
} from './core/chunk-format.ts'
import type { DiskFile } from './disk-io.ts'
import { QUICK_BYTES_MAX } from './quick-writes.ts'

export interface FetchedBlocks {
  /** Length of the whole chunk. */
  readonly length: number
  readonly sealed: boolean
  readonly crcs: number[]
  readonly data: Buffer
}

interface Pending {
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
  readonly end: number
  readonly resolve: (length: number) => void
  readonly reject: (error: FsError) => void
}

/** One gathered write: large enough that the disk is busy, small enough that an answer does not wait long. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024
/**
 * Syncing a file that grew costs a journal commit: measured 470 µs against 120 µs within what the file already had. So a
 * chunk that is synced after every small append is given zeros ahead of its end: as much as it holds, within these bounds.
 */
const AHEAD_AFTER_SYNCS = 4
const AHEAD_BYTES_MIN = 16 * 1024
const AHEAD_BYTES_MAX = 256 * 1024
const ZEROS = Buffer.alloc(AHEAD_BYTES_MAX)

const bytesOf = (parts: readonly Uint8Array[]): number => parts.reduce((bytes, part) => bytes + part.length, 0)

export class ChunkFile {
  readonly chunk: ChunkId
  readonly createdMs: number
  readonly #file: DiskFile
  readonly #home: ChunkHome
  readonly #blocks: ChunkBlocks
  readonly #durability: ChunkDurability
  readonly #seed: number
  readonly #record = Buffer.alloc(TAIL_RECORD_BYTES)
  readonly #recordParts: readonly Buffer[] = [this.#record]
  /** Of the record that describes the present end. */
  #seq = 0
  #slot = 0
  #seal: SealRecord | undefined
  #sealing = false
  #damagedAtOpen: readonly number[] = []

  /** Waiting appends. They are contiguous from the end on and end at #queuedEnd, so they are at most a chunk's bytes. */
  #queue: Pending[] = []
  #queuedEnd: number
  #writing = false
  /** The file has bytes up to here (data offset), written zeros included. */
  #fileEnd = 0

  private constructor(
    createdMs: number,
    blocks: ChunkBlocks,
    file: DiskFile,
    home: ChunkHome,
    dir: string,
    durable: DurableStart,
  ) {
    this.chunk = blocks.chunk
    this.createdMs = createdMs
    this.#file = file
    this.#home = home
    this.#blocks = blocks
    const written = () => ({ length: blocks.length, slot: this.#slot })
    this.#durability = new ChunkDurability(blocks.chunk, file, home, dir, written, durable)
    this.#seed = tailSeed(blocks.chunk)
    this.#queuedEnd = blocks.length
  }

  /** Takes an empty file over. */
  static async create(file: DiskFile, chunk: ChunkId, home: ChunkHome, dir: string, nowMs: number): Promise<ChunkFile> {
    const page = Buffer.alloc(PAGE_BYTES)
    encodeHeader(chunk, nowMs).copy(page)
    try {
      if (home.quick.allowed()) home.quick.run(() => file.writeNow([page], 0))
      else await file.write([page], 0)
    } catch (error) {
      throw home.failure(error, `creating chunk ${chunkName(chunk)}`)
    }
    const blocks = new ChunkBlocks(chunk, file, home, decodeTable(Buffer.alloc(0)))
    const durable = { length: 0, nameDurable: false, anchored: true, broken: undefined }
    return new ChunkFile(nowMs, blocks, file, home, dir, durable)
  }

  /** EBADMSG when the file is not this chunk. */
  static async open(file: DiskFile, chunk: ChunkId, home: ChunkHome, dir: string): Promise<ChunkFile> {
    const found = await recoverChunk(file, chunk, home)
    const { createdMs, blocks, nameDurable, anchored, broken } = found
    const self = new ChunkFile(createdMs, blocks, file, home, dir, {
      length: found.durable,
      nameDurable,
      anchored,
      broken,
    })
    self.#seal = found.seal
    self.#seq = found.seq
    self.#slot = found.slot
    self.#fileEnd = found.fileEnd
    self.#damagedAtOpen = found.damaged
    return self
  }

  get length(): number {
    return this.#blocks.length
  }
  get sealed(): boolean {
    return this.#seal !== undefined
  }
  get digest(): string | undefined {
    return this.#seal?.digest
  }
  get durableLength(): number {
    return this.#durability.length
  }
  /** Blocks found damaged when the file was opened: cut off, or not as they were when they became durable. */
  get damagedAtOpen(): readonly number[] {
    return this.#damagedAtOpen
  }
  /** Nothing is waiting, and closing the file would leave nothing that a later sync has to answer for. */
  get idle(): boolean {
    return !this.#writing && !this.#durability.syncing && !this.#sealing && this.#durability.length >= this.length
  }
  get unsynced(): boolean {
    return this.#durability.broken === undefined && this.#durability.length < this.length
  }

  /** Where the chunk ends when what waits has been written. */
  get queuedEnd(): number {
    return this.#queuedEnd
  }

  /**
   * Appends at `offset` and answers the length afterwards: at once when nothing had to wait. Bytes already there are
   * skipped; a gap is ERANGE.
   */
  append(offset: number, parts: readonly Uint8Array[]): number | Promise<number> {
    const bytes = bytesOf(parts)
    const end = offset + bytes
    if (this.#seal !== undefined || this.#sealing)
      throw new FsError('EPERM', `chunk ${chunkName(this.chunk)} is sealed`)
    this.#durability.assertWhole()
    if (end > CHUNK_BYTES_MAX) throw new FsError('EFBIG', `a chunk ends at ${CHUNK_BYTES_MAX}, not at ${end}`)
    if (offset > this.#queuedEnd)
      throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} has length ${this.#queuedEnd}, not ${offset}`)
    const skip = Math.min(this.#queuedEnd - offset, bytes)
    const fresh = skip === 0 ? parts : sliceParts(parts, skip)
    const freshBytes = bytes - skip
    if (!this.#writing) {
      if (freshBytes === 0) return this.length
      if (freshBytes <= QUICK_BYTES_MAX && this.#durability.anchored && this.#home.quick.allowed()) {
        this.#appendNow(fresh, freshBytes)
        return this.length
      }
    }
    return this.#enqueue(fresh, freshBytes)
  }

  #enqueue(parts: readonly Uint8Array[], bytes: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#queuedEnd += bytes
      this.#queue.push({ parts, bytes, end: this.#queuedEnd, resolve, reject })
      if (!this.#writing) void this.#drain()
    })
  }

  #appendNow(parts: readonly Uint8Array[], bytes: number): void {
    const { quick } = this.#home
    const end = this.length + bytes
    try {
      const crc = this.#blocks.carry(parts)
      const ahead = this.#aheadBytes(end)
      const all = ahead > 0 ? [...parts, ZEROS.subarray(0, ahead)] : parts
      quick.run(() => this.#file.writeNow(all, DATA_OFFSET + this.length))
      this.#fileEnd = Math.max(this.#fileEnd, end + ahead)
      for (const [data, at] of this.#notes(end, crc)) quick.run(() => this.#file.writeNow(data, at))
      this.#advance(end, crc)
      this.#queuedEnd = end
    } catch (error) {
      throw this.#home.failure(error, `appending to chunk ${chunkName(this.chunk)}`)
    }
  }

  async #drain(): Promise<void> {
    this.#writing = true
    while (this.#queue.length > 0) {
      let bytes = 0
      let count = 0
      while (count < this.#queue.length && (count === 0 || bytes + this.#queue[count]!.bytes <= BATCH_BYTES_MAX))
        bytes += this.#queue[count++]!.bytes
      const batch = this.#queue.splice(0, count)
      try {
        if (bytes > 0) await this.#appendGathered(batch, this.length + bytes)
        for (const pending of batch) pending.resolve(pending.end)
      } catch (error) {
        // What follows the failed bytes would leave a gap: it fails with them, and the writer may try again from the end.
        const failure = this.#home.failure(error, `appending to chunk ${chunkName(this.chunk)}`)
        for (const pending of [...batch, ...this.#queue.splice(0)]) pending.reject(failure)
        this.#queuedEnd = this.length
      }
    }
    this.#writing = false
  }

  async #appendGathered(batch: readonly Pending[], end: number): Promise<void> {
    const { quick } = this.#home
    if (!this.#durability.anchored) await this.#durability.flushed()
    const parts = batch.flatMap((pending) => pending.parts)
    const crc = this.#blocks.carry(parts)
    await this.#file.write(parts, DATA_OFFSET + this.length)
    this.#fileEnd = Math.max(this.#fileEnd, end)
    for (const [data, at] of this.#notes(end, crc)) {
      if (quick.allowed()) quick.run(() => this.#file.writeNow(data, at))
      else await this.#file.write(data, at)
    }
    this.#advance(end, crc)
  }

  /** What to write beside the data, in order: slots of completed blocks, then the tail record. */
  #notes(end: number, tailCrc: number): (readonly [readonly Uint8Array[], number])[] {
    const out: (readonly [readonly Uint8Array[], number])[] = []
    const from = blockOf(this.length)
    const to = blockOf(end)
    if (to > from) out.push([[this.#blocks.slots(from, to)], TABLE_OFFSET + from * 4])
    const durable = this.#durability.length
    encodeTail(this.#record, this.#seed, { seq: this.#seq + 1, length: end, tailCrc, durable })
    out.push([this.#recordParts, tailOffset(this.#freeSlot())])
    return out
  }

  #freeSlot(): number {
    let slot = (this.#slot + 1) % TAIL_SLOTS
    while (slot === this.#slot || this.#durability.protects(slot)) slot = (slot + 1) % TAIL_SLOTS
    return slot
  }

  #advance(end: number, tailCrc: number): void {
    this.#slot = this.#freeSlot()
    this.#seq++
    this.#blocks.endAt(end, tailCrc)
  }

  #aheadBytes(end: number): number {
    if (this.#durability.smallSyncs < AHEAD_AFTER_SYNCS || end <= this.#fileEnd) return 0
    return Math.min(Math.max(end, AHEAD_BYTES_MIN), AHEAD_BYTES_MAX, CHUNK_BYTES_MAX - end)
  }

  /** Answers when the first `length` bytes are durable; ERANGE when there are fewer. */
  async sync(length: number): Promise<void> {
    if (length > this.length && length <= this.#queuedEnd) await this.#enqueue([], 0)
    if (length > this.length)
      throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} has length ${this.length}, not ${length}`)
    await this.#durability.reach(length)
  }

  /** Bytes of the chunk, every block they touch checked; fewer than asked only at the end. */
  read(offset: number, length: number): Promise<Buffer> {
    return this.#blocks.read(offset, length)
  }

  /** The same at once; undefined: it cannot be answered so. */
  readNow(offset: number, length: number): Buffer | Promise<Buffer> | undefined {
    return this.#blocks.readNow(offset, length)
  }

  /** Whole blocks with their CRCs, checked before they leave. */
  async fetch(block: number, count: number): Promise<FetchedBlocks> {
    const before = this.length
    const to = Math.min(block + count, blockCount(before))
    const nothing = { data: Buffer.alloc(0), crcs: [] }
    const { data, crcs } = block < to ? await this.#blocks.readBlocks(block, to) : nothing
    // What was appended meanwhile is not in the data; what a seal cut off meanwhile is not, either.
    return { length: Math.min(before, this.length), sealed: this.sealed, crcs, data }
  }

  /** Reads everything; answers the damaged blocks. `onBytes` may wait, to keep a pace. */
  verify(onBytes?: (bytes: number) => Promise<void>): Promise<number[]> {
    return this.#blocks.verify(onBytes)
  }

  /**
   * A sealed chunk whose CRC table or seal no longer fits its digest, though every block may match its slot: only a new copy
   * helps.
   */
  digestFits(): boolean {
    return this.#seal === undefined || this.#seal.digest === this.#blocks.digestAt(this.length, this.#blocks.tailCrc)
  }

  /** Closes the chunk for good at `length` and answers its digest. The same seal again is answered, another is ERANGE. */
  async seal(length: number): Promise<string> {
    if (this.#seal !== undefined) {
      if (this.#seal.length === length) return this.#seal.digest
      throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} is sealed at ${this.#seal.length}, not ${length}`)
    }
    if (this.#sealing) throw new FsError('EIO', `chunk ${chunkName(this.chunk)} is being sealed by another order`)
    this.#sealing = true
    try {
      if (this.#writing) await this.#enqueue([], 0)
      await this.sync(length)
      const tailCrc = await this.#blocks.tailCrcAt(length)
      const seal: SealRecord = { length, tailCrc, digest: this.#blocks.digestAt(length, tailCrc) }
      await this.#writeSeal(seal)
      this.#seal = seal
      this.#blocks.endAt(length, tailCrc)
      this.#queuedEnd = length
      this.#durability.sealedAt(length)
      return seal.digest
    } finally {
      this.#sealing = false
    }
  }

  async #writeSeal(seal: SealRecord): Promise<void> {
    const record = encodeSeal(this.chunk, seal)
    try {
      for (const at of SEAL_OFFSETS) await this.#file.write([record], at)
      await this.#file.datasync()
    } catch (error) {
      throw this.#durability.fail(error, 'sealing')
    }
    try {
      await this.#file.truncate(DATA_OFFSET + seal.length)
    } catch (error) {
      // The seal is durable: to call it failed would invite another one at another length. Scrap costs only space.
      this.#home.failure(error, `cutting chunk ${chunkName(this.chunk)}`)
    }
  }

  /** Puts a good block in the place of a damaged one. Call `repaired` when all are written. */
  repairBlock(block: number, data: Uint8Array, crc: number): Promise<void> {
    return this.#blocks.repair(block, data, crc)
  }

  async repaired(): Promise<void> {
    try {
      await this.#file.datasync()
    } catch (error) {
      throw this.#home.failure(error, `repairing chunk ${chunkName(this.chunk)}`)
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
