/*
 * One chunk in one file: append, read, sync, seal, repair. What the bytes mean is core/chunk-format.ts; which disk, which
 * name and what an error says about the disk is disk.ts.
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

import { createHash } from 'node:crypto'
import { sliceParts } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../base/limits.ts'
import {
  blockCount,
  blockOf,
  DATA_OFFSET,
  decodeHead,
  decodeTable,
  digestInput,
  encodeHeader,
  encodeSeal,
  encodeTable,
  encodeTail,
  PAGE_BYTES,
  partialBytes,
  recoveryOrder,
  SEAL_OFFSETS,
  type SealRecord,
  TABLE_OFFSET,
  TAIL_RECORD_BYTES,
  TAIL_SLOTS,
  type TailSlot,
  tailOffset,
  tailSeed,
} from './core/chunk-format.ts'
import type { DiskFile } from './disk-io.ts'
import { QUICK_READ_BYTES_MAX, type QuickReads } from './quick-reads.ts'
import { QUICK_BYTES_MAX, type QuickWrites } from './quick-writes.ts'

/** What a chunk file needs of its disk. */
export interface ChunkHome {
  readonly quick: QuickWrites
  readonly quickReads: QuickReads
  /** What this error means for the disk, and the error to answer with. */
  failure(error: unknown, doing: string): FsError
  /** Runs a sync when it is its turn: the disk bounds how many run at once. */
  syncGate(work: () => Promise<void>): Promise<void>
  /** Makes the names in the directory durable; calls that come while one runs share the next. */
  syncDir(dir: string): Promise<void>
}

/** Blocks of a copy that are not what was written. */
export class DamagedBlocks extends FsError {
  readonly blocks: readonly number[]
  constructor(chunk: ChunkId, blocks: readonly number[]) {
    super('EBADMSG', `chunk ${chunkName(chunk)}, block ${blocks.join(', ')}`)
    this.name = 'DamagedBlocks'
    this.blocks = blocks
  }
}

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
/** Blocks read at once by a deep check: 1 MiB. */
const VERIFY_BLOCKS = 16
/**
 * Syncing a file that grew costs a journal commit: measured 470 µs against 120 µs within what the file already had. So a
 * chunk that is synced after every small append is given zeros ahead of its end: as much as it holds, within these bounds.
 */
const AHEAD_AFTER_SYNCS = 4
const AHEAD_BYTES_MIN = 16 * 1024
const AHEAD_BYTES_MAX = 256 * 1024
const SMALL_SYNC_BYTES = 64 * 1024
const ZEROS = Buffer.alloc(AHEAD_BYTES_MAX)

const bytesOf = (parts: readonly Uint8Array[]): number => parts.reduce((bytes, part) => bytes + part.length, 0)

export class ChunkFile {
  readonly chunk: ChunkId
  readonly createdMs: number
  readonly #file: DiskFile
  readonly #home: ChunkHome
  readonly #dir: string
  readonly #table: Uint32Array
  readonly #seed: number
  readonly #record = Buffer.alloc(TAIL_RECORD_BYTES)
  readonly #recordParts: readonly Buffer[] = [this.#record]
  #length = 0
  #tailCrc = 0
  #seq = 0
  #slot = 0
  #durable = 0
  #durableSlot = -1
  #syncSlot = -1
  #nameDurable: boolean
  /** False after recovery until a sync: which of the records is durable is not known, so none may be written over. */
  #anchored = true
  #seal: SealRecord | undefined
  #sealing = false
  /** Set when this process may no longer append or sync (point 7), or the durable end itself is damaged. */
  #broken: FsError | undefined
  /** Blocks found damaged when the file was opened: cut off, or not as they were when they became durable. */
  #found: number[] = []

  /** Waiting appends. They are contiguous from #length on and end at #queuedEnd, so they are at most a chunk's bytes. */
  #queue: Pending[] = []
  #queuedEnd = 0
  #writing = false

  #flush: Promise<void> | undefined
  #flushStarted = false
  #nextFlush: Promise<void> | undefined

  #smallSyncs = 0
  /** The file has bytes up to here (data offset), written zeros included. */
  #fileEnd = 0

  private constructor(
    chunk: ChunkId,
    createdMs: number,
    file: DiskFile,
    home: ChunkHome,
    dir: string,
    table: Uint32Array,
    nameDurable: boolean,
  ) {
    this.chunk = chunk
    this.createdMs = createdMs
    this.#file = file
    this.#home = home
    this.#dir = dir
    this.#table = table
    this.#nameDurable = nameDurable
    this.#seed = tailSeed(chunk)
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
    return new ChunkFile(chunk, nowMs, file, home, dir, decodeTable(Buffer.alloc(0)), false)
  }

  /** EBADMSG when the file is not this chunk. */
  static async open(file: DiskFile, chunk: ChunkId, home: ChunkHome, dir: string): Promise<ChunkFile> {
    const pages = Buffer.alloc(DATA_OFFSET)
    const there = await readAll(file, pages, 0, home, chunk)
    const head = decodeHead(pages.subarray(0, Math.min(there, PAGE_BYTES)), chunk)
    if (head.kind === 'foreign') throw new FsError('EBADMSG', `chunk ${chunkName(chunk)}: ${head.why}`)
    const table = decodeTable(pages.subarray(TABLE_OFFSET))
    const { durable, candidates } = recoveryOrder(head.tails)
    const self = new ChunkFile(chunk, head.createdMs, file, home, dir, table, head.seal !== undefined || durable > 0)
    if (head.seal !== undefined) {
      self.#seal = head.seal
      self.#length = head.seal.length
      self.#tailCrc = head.seal.tailCrc
      self.#durable = head.seal.length
      const end = (await self.#size()) - DATA_OFFSET
      if (end < head.seal.length)
        for (let block = blockOf(Math.max(0, end)); block < blockCount(head.seal.length); block++)
          self.#found.push(block)
    } else await self.#recover(head.tails, durable, candidates)
    self.#queuedEnd = self.#length
    return self
  }

  async #recover(tails: readonly TailSlot[], durable: number, candidates: readonly TailSlot[]): Promise<void> {
    this.#fileEnd = Math.max(0, (await this.#size()) - DATA_OFFSET)
    this.#seq = tails.reduce((most, tail) => Math.max(most, tail.seq), 0)
    this.#durable = durable
    const anchor = candidates.find((tail) => tail.length === durable)
    this.#anchored = tails.length === 0
    for (const tail of candidates) {
      this.#length = tail.length
      this.#tailCrc = tail.tailCrc
      this.#slot = tail.slot
      const bad = await this.#badBlocks(blockOf(durable), blockCount(tail.length))
      if (bad.length === 0) return
    }
    this.#length = 0
    this.#tailCrc = 0
    if (durable === 0) return
    // Durable bytes, and the disk no longer has them as they were: readable as far as they are whole, never extended.
    this.#length = anchor === undefined ? durable - partialBytes(durable) : durable
    this.#tailCrc = anchor?.tailCrc ?? 0
    this.#found = anchor === undefined ? [blockOf(durable)] : [blockOf(durable - 1)]
    this.#broken = new DamagedBlocks(this.chunk, this.#found)
  }

  async #size(): Promise<number> {
    try {
      return await this.#file.size()
    } catch (error) {
      throw this.#home.failure(error, `opening chunk ${chunkName(this.chunk)}`)
    }
  }

  get length(): number {
    return this.#length
  }
  get sealed(): boolean {
    return this.#seal !== undefined
  }
  get digest(): string | undefined {
    return this.#seal?.digest
  }
  get durableLength(): number {
    return this.#durable
  }
  get damagedAtOpen(): readonly number[] {
    return this.#found
  }
  /** Nothing is waiting, and closing the file would leave nothing that a later sync has to answer for. */
  get idle(): boolean {
    return !this.#writing && this.#flush === undefined && !this.#sealing && this.#durable >= this.#length
  }
  get unsynced(): boolean {
    return this.#broken === undefined && this.#durable < this.#length
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
    if (this.#broken !== undefined) throw new FsError('EIO', this.#broken.message, { cause: this.#broken })
    if (end > CHUNK_BYTES_MAX) throw new FsError('EFBIG', `a chunk ends at ${CHUNK_BYTES_MAX}, not at ${end}`)
    if (offset > this.#queuedEnd)
      throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} has length ${this.#queuedEnd}, not ${offset}`)
    const skip = Math.min(this.#queuedEnd - offset, bytes)
    const fresh = skip === 0 ? parts : sliceParts(parts, skip)
    const freshBytes = bytes - skip
    if (!this.#writing) {
      if (freshBytes === 0) return this.#length
      if (freshBytes <= QUICK_BYTES_MAX && this.#anchored && this.#home.quick.allowed()) {
        this.#appendNow(fresh, freshBytes)
        return this.#length
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
    const end = this.#length + bytes
    try {
      const crc = this.#carry(parts)
      const ahead = this.#aheadBytes(end)
      const all = ahead > 0 ? [...parts, ZEROS.subarray(0, ahead)] : parts
      this.#home.quick.run(() => this.#file.writeNow(all, DATA_OFFSET + this.#length))
      this.#fileEnd = Math.max(this.#fileEnd, end + ahead)
      for (const [data, at] of this.#notes(end, crc)) this.#home.quick.run(() => this.#file.writeNow(data, at))
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
      const end = this.#length + bytes
      try {
        if (bytes > 0) {
          if (!this.#anchored) await this.#flushed()
          const parts = batch.flatMap((pending) => pending.parts)
          const crc = this.#carry(parts)
          await this.#file.write(parts, DATA_OFFSET + this.#length)
          this.#fileEnd = Math.max(this.#fileEnd, end)
          for (const [data, at] of this.#notes(end, crc)) {
            if (this.#home.quick.allowed()) this.#home.quick.run(() => this.#file.writeNow(data, at))
            else await this.#file.write(data, at)
          }
          this.#advance(end, crc)
        }
        for (const pending of batch) pending.resolve(pending.end)
      } catch (error) {
        // What follows the failed bytes would leave a gap: it fails with them, and the writer may try again from #length.
        const failure = this.#home.failure(error, `appending to chunk ${chunkName(this.chunk)}`)
        for (const pending of [...batch, ...this.#queue.splice(0)]) pending.reject(failure)
        this.#queuedEnd = this.#length
      }
    }
    this.#writing = false
  }

  /** Carries the CRC on over new bytes; the slots of blocks beyond #length mean nothing until #advance. */
  #carry(parts: readonly Uint8Array[]): number {
    let crc = this.#tailCrc
    let at = this.#length
    for (const part of parts) {
      let from = 0
      while (from < part.length) {
        const take = Math.min(part.length - from, BLOCK_BYTES - partialBytes(at))
        crc = crc32(from === 0 && take === part.length ? part : part.subarray(from, from + take), crc)
        from += take
        at += take
        if (partialBytes(at) === 0) {
          this.#table[at / BLOCK_BYTES - 1] = crc
          crc = 0
        }
      }
    }
    return crc
  }

  /** What to write beside the data, in order: slots of completed blocks, then the tail record. */
  #notes(end: number, tailCrc: number): (readonly [readonly Uint8Array[], number])[] {
    const out: (readonly [readonly Uint8Array[], number])[] = []
    const from = blockOf(this.#length)
    const to = blockOf(end)
    if (to > from) out.push([[encodeTable(this.#table, from, to)], TABLE_OFFSET + from * 4])
    encodeTail(this.#record, this.#seed, { seq: this.#seq + 1, length: end, tailCrc, durable: this.#durable })
    out.push([this.#recordParts, tailOffset(this.#freeSlot())])
    return out
  }

  #freeSlot(): number {
    let slot = (this.#slot + 1) % TAIL_SLOTS
    while (slot === this.#slot || slot === this.#durableSlot || slot === this.#syncSlot) slot = (slot + 1) % TAIL_SLOTS
    return slot
  }

  #advance(end: number, tailCrc: number): void {
    this.#slot = this.#freeSlot()
    this.#seq++
    this.#length = end
    this.#tailCrc = tailCrc
  }

  #aheadBytes(end: number): number {
    if (this.#smallSyncs < AHEAD_AFTER_SYNCS || end <= this.#fileEnd) return 0
    return Math.min(Math.max(end, AHEAD_BYTES_MIN), AHEAD_BYTES_MAX, CHUNK_BYTES_MAX - end)
  }

  /** Answers when the first `length` bytes are durable; ERANGE when there are fewer. */
  async sync(length: number): Promise<void> {
    if (length > this.#length && length <= this.#queuedEnd) await this.#enqueue([], 0)
    if (length > this.#length)
      throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} has length ${this.#length}, not ${length}`)
    while (this.#durable < length || !this.#nameDurable) {
      if (this.#broken !== undefined) throw new FsError('EIO', this.#broken.message, { cause: this.#broken })
      await this.#flushed()
    }
  }

  /** One flush that began after this call. */
  #flushed(): Promise<void> {
    if (this.#flush === undefined) return this.#startFlush()
    if (!this.#flushStarted) return this.#flush
    const again = (): Promise<void> => {
      this.#nextFlush = undefined
      return this.#startFlush()
    }
    this.#nextFlush ??= this.#flush.then(again, again)
    return this.#nextFlush
  }

  #startFlush(): Promise<void> {
    const flush = this.#home
      .syncGate(async () => {
        this.#flushStarted = true
        const covered = this.#length
        const slot = this.#slot
        this.#syncSlot = slot
        this.#home.quick.syncBegins()
        try {
          await this.#file.datasync()
          if (!this.#nameDurable) {
            await this.#home.syncDir(this.#dir)
            this.#nameDurable = true
          }
        } catch (error) {
          this.#broken = this.#home.failure(error, `syncing chunk ${chunkName(this.chunk)}`)
          throw this.#broken
        } finally {
          this.#home.quick.syncEnds()
          this.#syncSlot = -1
        }
        this.#smallSyncs = covered - this.#durable <= SMALL_SYNC_BYTES ? this.#smallSyncs + 1 : 0
        this.#durable = covered
        this.#durableSlot = slot
        this.#anchored = true
      })
      .finally(() => {
        this.#flush = undefined
        this.#flushStarted = false
      })
    this.#flush = flush
    return flush
  }

  /** Bytes of the chunk, every block they touch checked; fewer than asked only at the end. */
  async read(offset: number, length: number): Promise<Buffer> {
    const end = Math.min(offset + length, this.#length)
    if (offset >= end) return Buffer.alloc(0)
    const first = blockOf(offset)
    const { data } = await this.#readBlocks(first, blockCount(end))
    const from = first * BLOCK_BYTES
    return data.subarray(offset - from, end - from)
  }

  /** Whole blocks with their CRCs, checked before they leave. */
  async fetch(block: number, count: number): Promise<FetchedBlocks> {
    const length = this.#length
    const to = Math.min(block + count, blockCount(length))
    if (block >= to) return { length, sealed: this.sealed, crcs: [], data: Buffer.alloc(0) }
    const { data, crcs } = await this.#readBlocks(block, to)
    return { length, sealed: this.sealed, crcs, data }
  }

  async #readBlocks(first: number, to: number): Promise<{ data: Buffer; crcs: number[] }> {
    const { data, crcs, bad } = await this.#checkBlocks(first, to)
    if (bad.length > 0) throw new DamagedBlocks(this.chunk, bad)
    return { data, crcs }
  }

  async #badBlocks(first: number, to: number): Promise<number[]> {
    const bad: number[] = []
    for (let block = first; block < to; block += VERIFY_BLOCKS)
      bad.push(...(await this.#checkBlocks(block, Math.min(block + VERIFY_BLOCKS, to))).bad)
    return bad
  }

  /** Length and tail CRC are taken before the read waits: the chunk may grow meanwhile, what was below stays as it was. */
  async #checkBlocks(first: number, to: number): Promise<{ data: Buffer; crcs: number[]; bad: number[] }> {
    const length = this.#length
    const tailCrc = this.#tailCrc
    const from = first * BLOCK_BYTES
    const data = Buffer.allocUnsafeSlow(Math.min(to * BLOCK_BYTES, length) - from)
    const there = await readAll(this.#file, data, DATA_OFFSET + from, this.#home, this.chunk)
    const crcs: number[] = []
    const bad: number[] = []
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      const block = first + at / BLOCK_BYTES
      const end = Math.min(at + BLOCK_BYTES, data.length)
      const expected = end - at === BLOCK_BYTES ? this.#table[block]! : tailCrc
      crcs.push(expected)
      if (end > there || crc32(data.subarray(at, end)) !== expected) bad.push(block)
    }
    return { data, crcs, bad }
  }

  /** Reads everything; answers the damaged blocks. `onBytes` may wait, to keep a pace. */
  async verify(onBytes?: (bytes: number) => Promise<void>): Promise<number[]> {
    const blocks = blockCount(this.#length)
    const bad: number[] = []
    for (let block = 0; block < blocks; block += VERIFY_BLOCKS) {
      const to = Math.min(block + VERIFY_BLOCKS, blocks)
      bad.push(...(await this.#badBlocks(block, to)))
      await onBytes?.((to - block) * BLOCK_BYTES)
    }
    return bad
  }

  /**
   * A sealed chunk whose CRC table or seal no longer fits its digest, though every block may match its slot: only a new copy
   * helps.
   */
  digestFits(): boolean {
    return this.#seal === undefined || this.#seal.digest === this.#digestOf(this.#length, this.#tailCrc)
  }

  #digestOf(length: number, tailCrc: number): string {
    return createHash('sha256')
      .update(digestInput(length, this.#table, tailCrc))
      .digest('hex')
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
      if (length > this.#length)
        throw new FsError('ERANGE', `chunk ${chunkName(this.chunk)} has length ${this.#length}, not ${length}`)
      await this.sync(length)
      const tailCrc = await this.#tailCrcAt(length)
      const seal: SealRecord = { length, tailCrc, digest: this.#digestOf(length, tailCrc) }
      await this.#writeSeal(seal)
      this.#seal = seal
      this.#length = length
      this.#queuedEnd = length
      this.#tailCrc = tailCrc
      this.#durable = length
      return seal.digest
    } finally {
      this.#sealing = false
    }
  }

  async #tailCrcAt(length: number): Promise<number> {
    if (length === this.#length) return this.#tailCrc
    const bytes = partialBytes(length)
    if (bytes === 0) return 0
    const block = blockOf(length)
    const { data } = await this.#readBlocks(block, block + 1)
    return crc32(data.subarray(0, bytes))
  }

  async #writeSeal(seal: SealRecord): Promise<void> {
    const record = encodeSeal(this.chunk, seal)
    try {
      for (const at of SEAL_OFFSETS) await this.#file.write([record], at)
      await this.#file.datasync()
      await this.#file.truncate(DATA_OFFSET + seal.length)
    } catch (error) {
      this.#broken = this.#home.failure(error, `sealing chunk ${chunkName(this.chunk)}`)
      throw this.#broken
    }
  }

  /**
   * Puts a good block in the place of a damaged one; `crc` is what its source says of it. A torn rewrite leaves a block that
   * fails its CRC, as before. Call `repaired` when all are written. The CRC of a partial last block is in the seal: a block
   * that does not fit that cannot be this one.
   */
  async repairBlock(block: number, data: Uint8Array, crc: number): Promise<void> {
    const expectedBytes = Math.min(BLOCK_BYTES, this.#length - block * BLOCK_BYTES)
    if (data.length !== expectedBytes || crc32(data) !== crc)
      throw new FsError('EBADMSG', `block ${block} for chunk ${chunkName(this.chunk)} did not arrive whole`)
    const partial = expectedBytes < BLOCK_BYTES
    if (partial && crc !== this.#tailCrc)
      throw new FsError('EBADMSG', `the last block of chunk ${chunkName(this.chunk)} is another one at the source`)
    try {
      await this.#file.write([data], DATA_OFFSET + block * BLOCK_BYTES)
      if (!partial && this.#table[block] !== crc) {
        this.#table[block] = crc
        await this.#file.write([encodeTable(this.#table, block, block + 1)], TABLE_OFFSET + block * 4)
      }
    } catch (error) {
      throw this.#home.failure(error, `repairing chunk ${chunkName(this.chunk)}`)
    }
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

async function readAll(file: DiskFile, into: Buffer, at: number, home: ChunkHome, chunk: ChunkId): Promise<number> {
  try {
    const { quickReads } = home
    if (into.length <= QUICK_READ_BYTES_MAX && quickReads.allowed()) return quickReads.run(() => file.readNow(into, at))
    return await file.read(into, at)
  } catch (error) {
    throw home.failure(error, `reading chunk ${chunkName(chunk)}`)
  }
}
