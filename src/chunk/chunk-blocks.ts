/*
 * The bytes of one chunk and the CRCs they are checked with: how long it is, what its blocks must be, and every read. It does
 * not know when something may be written, what is durable, or whether the chunk is sealed; that is chunk-file.ts.
 *
 * No byte leaves without its block having been checked. Slots of blocks beyond the length mean nothing.
 */

import { createHash } from 'node:crypto'
import { crc32 } from '../base/checksum.ts'
import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { ChunkHome } from './chunk-home.ts'
import {
  blockCount,
  blockOf,
  DATA_OFFSET,
  digestInput,
  encodeTable,
  partialBytes,
  TABLE_OFFSET,
} from './core/chunk-format.ts'
import type { DiskFile } from './disk-io.ts'
import { QUICK_READ_BYTES_MAX } from './quick-reads.ts'

/** Blocks of a copy that are not what was written. */
export class DamagedBlocks extends FsError {
  readonly blocks: readonly number[]
  constructor(chunk: ChunkId, blocks: readonly number[]) {
    super('EBADMSG', `chunk ${chunkName(chunk)}, block ${blocks.join(', ')}`)
    this.name = 'DamagedBlocks'
    this.blocks = blocks
  }
}

/**
 * Of a block of which at most this much is wanted, what is wanted is copied out and its buffer used again: 4 KiB of garbage
 * for a random read instead of 64, for which V8 stopped the process ten times a second.
 */
const PART_BYTES_MAX = BLOCK_BYTES / 4
const BLOCK_BUFFERS_MAX = 16
const blockBuffers: Buffer[] = []
const blockBuffer = (): Buffer => blockBuffers.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)

/** Bytes of `block`, which goes back: whoever calls it has no other use for it. */
function copiedOut(block: Buffer, wanted: Buffer): Buffer {
  const part = Buffer.from(wanted)
  if (blockBuffers.length < BLOCK_BUFFERS_MAX) blockBuffers.push(block)
  return part
}

/** Blocks read at once by a deep check: 1 MiB. */
const VERIFY_BLOCKS = 16

export class ChunkBlocks {
  readonly chunk: ChunkId
  readonly #file: DiskFile
  readonly #home: ChunkHome
  readonly #table: Uint32Array
  #length = 0
  #tailCrc = 0
  /** Blocks that the disk could not read: not asked for again until they are written, because each try counts against it. */
  readonly #unreadable = new Set<number>()

  constructor(chunk: ChunkId, file: DiskFile, home: ChunkHome, table: Uint32Array) {
    this.chunk = chunk
    this.#file = file
    this.#home = home
    this.#table = table
  }

  get length(): number {
    return this.#length
  }
  /** Of the partial last block. */
  get tailCrc(): number {
    return this.#tailCrc
  }

  endAt(length: number, tailCrc: number): void {
    this.#length = length
    this.#tailCrc = tailCrc
  }

  /** Carries the CRC on over bytes that come behind the end and answers the tail's; the end moves only with `endAt`. */
  carry(parts: readonly Uint8Array[]): number {
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

  /** Slots as the file holds them. */
  slots(from: number, to: number): Buffer {
    return encodeTable(this.#table, from, to)
  }

  /** At most `length` bytes from `offset`; fewer only at the end. */
  read(offset: number, length: number): Promise<Buffer> {
    return this.#read(offset, length)
  }

  async #read(offset: number, length: number, failed?: unknown): Promise<Buffer> {
    const end = Math.min(offset + length, this.#length)
    if (offset >= end) return Buffer.alloc(0)
    const first = blockOf(offset)
    const to = blockCount(end)
    // One that failed is not used again: a disk that hung may still write into it.
    const block = to - first === 1 && end - offset <= PART_BYTES_MAX ? blockBuffer() : undefined
    const { data, bad } = await this.#check(first, to, failed, block)
    if (bad.length > 0) throw new DamagedBlocks(this.chunk, bad)
    const from = first * BLOCK_BYTES
    const wanted = data.subarray(offset - from, end - from)
    return block === undefined ? wanted : copiedOut(block, wanted)
  }

  /**
   * The same without a promise, when the page cache is likely to have it; undefined when it has to be read the long way, also
   * when something is wrong with it: that way tells what.
   */
  readNow(offset: number, length: number): Buffer | Promise<Buffer> | undefined {
    const end = Math.min(offset + length, this.#length)
    if (offset >= end || this.#unreadable.size > 0) return undefined
    const first = blockOf(offset)
    const from = first * BLOCK_BYTES
    const bytes = Math.min(blockCount(end) * BLOCK_BYTES, this.#length) - from
    const { quickReads } = this.#home
    if (bytes > QUICK_READ_BYTES_MAX || !quickReads.allowed()) return undefined
    const part = end - offset <= PART_BYTES_MAX
    const block = part ? blockBuffer() : Buffer.allocUnsafeSlow(bytes)
    const data = part ? block.subarray(0, bytes) : block
    try {
      if (quickReads.run(() => this.#file.readNow(data, DATA_OFFSET + from)) < bytes) return undefined
    } catch (error) {
      return this.#read(offset, length, error)
    }
    const expected = bytes === BLOCK_BYTES ? this.#table[first] : this.#tailCrc
    if (crc32(data) !== expected) return undefined
    const wanted = data.subarray(offset - from, end - from)
    return part ? copiedOut(block, wanted) : wanted
  }

  async readBlocks(first: number, to: number): Promise<{ data: Buffer; crcs: number[] }> {
    const { data, crcs, bad } = await this.#check(first, to)
    if (bad.length > 0) throw new DamagedBlocks(this.chunk, bad)
    return { data, crcs }
  }

  async badBlocks(first: number, to: number): Promise<number[]> {
    const bad: number[] = []
    for (let block = first; block < to; block += VERIFY_BLOCKS)
      bad.push(...(await this.#check(block, Math.min(block + VERIFY_BLOCKS, to))).bad)
    return bad
  }

  /** Reads everything; answers the damaged blocks. `onBytes` may wait, to keep a pace. */
  async verify(onBytes?: (bytes: number) => Promise<void>): Promise<number[]> {
    const blocks = blockCount(this.#length)
    const bad: number[] = []
    for (let block = 0; block < blocks; block += VERIFY_BLOCKS) {
      const to = Math.min(block + VERIFY_BLOCKS, blocks)
      bad.push(...(await this.badBlocks(block, to)))
      await onBytes?.((to - block) * BLOCK_BYTES)
    }
    return bad
  }

  /**
   * Length and tail CRC are taken before the read waits: the chunk may grow meanwhile, what was below stays as it was. Only a
   * seal makes it shorter; what was cut off then is no damage. `failed`: why the first try to read it just failed; `into`: a
   * buffer of a block, when it is one.
   */
  async #check(
    first: number,
    to: number,
    failed?: unknown,
    into?: Buffer,
  ): Promise<{ data: Buffer; crcs: number[]; bad: number[] }> {
    const length = this.#length
    const tailCrc = this.#tailCrc
    const from = first * BLOCK_BYTES
    const bytes = Math.max(0, Math.min(to * BLOCK_BYTES, length) - from)
    const data = into?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes)
    let there: number
    try {
      if (failed !== undefined) throw failed
      const read = this.#lost(first, to) ? this.#readSingly(data, first) : this.#readAll(data, DATA_OFFSET + from)
      there = typeof read === 'number' ? read : await read
    } catch (error) {
      const failure = this.#home.failure(error, `reading chunk ${chunkName(this.chunk)}`)
      if (!isSectorError(error)) throw failure
      there = await this.#readSingly(data, first)
    }
    if (this.#length < length) return this.#check(first, to, undefined, into)
    const crcs: number[] = []
    const bad: number[] = []
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      const block = first + at / BLOCK_BYTES
      const end = Math.min(at + BLOCK_BYTES, data.length)
      const expected = end - at === BLOCK_BYTES ? this.#table[block]! : tailCrc
      crcs.push(expected)
      if (end > there || this.#unreadable.has(block) || crc32(data.subarray(at, end)) !== expected) bad.push(block)
    }
    return { data, crcs, bad }
  }

  /** At once when the page cache is likely to have it: most reads are small. */
  #readAll(into: Buffer, at: number): number | Promise<number> {
    const { quickReads } = this.#home
    if (into.length > QUICK_READ_BYTES_MAX || !quickReads.allowed()) return this.#file.read(into, at)
    return quickReads.run(() => this.#file.readNow(into, at))
  }

  #lost(first: number, to: number): boolean {
    for (const block of this.#unreadable) if (first <= block && block < to) return true
    return false
  }

  /** When the disk could not read all at once: block by block, to know which it can. Answers how many bytes are there. */
  async #readSingly(data: Buffer, first: number): Promise<number> {
    let there = data.length
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      const block = first + at / BLOCK_BYTES
      if (this.#unreadable.has(block)) continue
      const part = data.subarray(at, at + BLOCK_BYTES)
      try {
        const bytes = await this.#file.read(part, DATA_OFFSET + first * BLOCK_BYTES + at)
        if (bytes < part.length) there = Math.min(there, at + bytes)
      } catch (error) {
        if (!isSectorError(error)) throw this.#home.failure(error, `reading chunk ${chunkName(this.chunk)}`)
        this.#unreadable.add(block)
      }
    }
    return there
  }

  async tailCrcAt(length: number): Promise<number> {
    if (length === this.#length) return this.#tailCrc
    const bytes = partialBytes(length)
    if (bytes === 0) return 0
    const block = blockOf(length)
    const { data } = await this.readBlocks(block, block + 1)
    return crc32(data.subarray(0, bytes))
  }

  digestAt(length: number, tailCrc: number): string {
    return createHash('sha256')
      .update(digestInput(length, this.#table, tailCrc))
      .digest('hex')
  }

  /**
   * Puts a good block in the place of a damaged one; `crc` is what its source says of it. A torn rewrite leaves a block that
   * fails its CRC, as before. The CRC of a partial last block is in the seal: a block that does not fit that cannot be this one.
   */
  async repair(block: number, data: Uint8Array, crc: number): Promise<void> {
    const expectedBytes = Math.min(BLOCK_BYTES, this.#length - block * BLOCK_BYTES)
    if (data.length !== expectedBytes || crc32(data) !== crc)
      throw new FsError('EBADMSG', `block ${block} for chunk ${chunkName(this.chunk)} did not arrive whole`)
    const partial = expectedBytes < BLOCK_BYTES
    if (partial && crc !== this.#tailCrc)
      throw new FsError('EBADMSG', `the last block of chunk ${chunkName(this.chunk)} is another one at the source`)
    try {
      await this.#file.write([data], DATA_OFFSET + block * BLOCK_BYTES)
      this.#unreadable.delete(block)
      if (!partial && this.#table[block] !== crc) {
        this.#table[block] = crc
        await this.#file.write([this.slots(block, block + 1)], TABLE_OFFSET + block * 4)
      }
    } catch (error) {
      throw this.#home.failure(error, `repairing chunk ${chunkName(this.chunk)}`)
    }
  }
}

/** What a disk says of a sector that it cannot read. */
const isSectorError = (error: unknown): boolean => (error as { code?: unknown } | undefined)?.code === 'EIO'
