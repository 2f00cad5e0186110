/*
 * The bytes of a chunk file. Pure: bytes in, values out; who writes them when is chunk-file.ts's business.
 *
 *   offset      what
 *   0           header: magic, format version, chunk id, time of creation, CRC. Written once.
 *   512 … 2560  five tail records, one per 512-byte sector: how long the data is, the CRC of its partial last block, how
 *               much of it was durable when the record was written, a sequence number, CRC
 *   3072, 3584  the seal, twice: final length, CRC of the partial last block, digest, CRC
 *   4096        one CRC-32 per complete 64 KiB block (1024 slots of 4 bytes)
 *   8192        the data, as it was sent
 *
 * A slot is written when its block is complete and never changes. The CRC of the partial last block lives in the tail record
 * (or the seal), so no write ever replaces a CRC that something durable depends on. Every record's CRC starts from the
 * chunk's id: a record that strayed from another file is no record. All numbers are little-endian. Formats only grow: every
 * record begins with a kind and a version, and unused bytes are zero.
 */

import { crc32 } from '../../base/checksum.ts'
import type { ChunkId } from '../../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../../base/limits.ts'

export const FORMAT_VERSION = 1
export const SECTOR_BYTES = 512
export const PAGE_BYTES = 4096
export const TABLE_OFFSET = PAGE_BYTES
export const DATA_OFFSET: number = 2 * PAGE_BYTES
export const BLOCKS_MAX: number = CHUNK_BYTES_MAX / BLOCK_BYTES
export const TAIL_SLOTS = 5
export const TAIL_RECORD_BYTES = 32
export const SEAL_OFFSETS: readonly number[] = [6 * SECTOR_BYTES, 7 * SECTOR_BYTES]
export const SEAL_BYTES = 64
export const DIGEST_BYTES = 32
const HEADER_RECORD_BYTES = 32

const MAGIC = Buffer.from('HOLDCHNK', 'latin1')
const KIND_TAIL = 0x54
const KIND_SEAL = 0x53

export interface TailRecord {
  readonly seq: number
  readonly length: number
  /** CRC of the bytes from the last block boundary to `length`; 0 when there are none. */
  readonly tailCrc: number
  /** What was known durable when this record was written. Recovery never falls below the largest one. */
  readonly durable: number
}
export interface TailSlot extends TailRecord {
  readonly slot: number
}
export interface SealRecord {
  readonly length: number
  readonly tailCrc: number
  /** Lower-case hex; what it is made of is said at `digestInput`. */
  readonly digest: string
}
export type Head =
  | {
      readonly kind: 'chunk'
      readonly createdMs: number
      readonly tails: TailSlot[]
      readonly seal: SealRecord | undefined
    }
  /** Never written or not a chunk of this id: there is nothing to trust in this file. */
  | { readonly kind: 'foreign'; readonly why: string }

export const tailOffset = (slot: number): number => (1 + slot) * SECTOR_BYTES
export const blockOf = (offset: number): number => Math.floor(offset / BLOCK_BYTES)
/** Bytes of the partial last block. */
export const partialBytes = (length: number): number => length % BLOCK_BYTES
export const blockCount = (length: number): number => Math.ceil(length / BLOCK_BYTES)

const idSeed = (chunk: ChunkId): number => {
  const id = Buffer.alloc(8)
  id.writeBigUInt64LE(BigInt(chunk))
  return crc32(id)
}

export function encodeHeader(chunk: ChunkId, createdMs: number): Buffer {
  const out = Buffer.alloc(HEADER_RECORD_BYTES)
  MAGIC.copy(out)
  out.writeUInt16LE(FORMAT_VERSION, 8)
  out.writeBigUInt64LE(BigInt(chunk), 12)
  out.writeUIntLE(createdMs, 20, 6)
  out.writeUInt32LE(crc32(out.subarray(0, HEADER_RECORD_BYTES - 4)), HEADER_RECORD_BYTES - 4)
  return out
}

/** Into the caller's memory: one of these goes out with every append. */
export function encodeTail(out: Buffer, seed: number, record: TailRecord): void {
  out[0] = KIND_TAIL
  out[1] = FORMAT_VERSION
  out.writeUInt32LE(record.length, 4)
  out.writeUInt32LE(record.tailCrc, 8)
  out.writeUInt32LE(record.durable, 12)
  out.writeUIntLE(record.seq, 16, 6)
  out.writeUInt32LE(crc32(out.subarray(0, TAIL_RECORD_BYTES - 4), seed), TAIL_RECORD_BYTES - 4)
}
export const tailSeed = idSeed

export function encodeSeal(chunk: ChunkId, record: SealRecord): Buffer {
  const out = Buffer.alloc(SEAL_BYTES)
  out[0] = KIND_SEAL
  out[1] = FORMAT_VERSION
  out.writeUInt32LE(record.length, 4)
  out.writeUInt32LE(record.tailCrc, 8)
  Buffer.from(record.digest, 'hex').copy(out, 16)
  out.writeUInt32LE(crc32(out.subarray(0, SEAL_BYTES - 4), idSeed(chunk)), SEAL_BYTES - 4)
  return out
}

function decodeTail(page: Buffer, slot: number, seed: number): TailSlot | undefined {
  const at = tailOffset(slot)
  const raw = page.subarray(at, at + TAIL_RECORD_BYTES)
  if (raw[0] !== KIND_TAIL || raw[1] !== FORMAT_VERSION) return undefined
  if (crc32(raw.subarray(0, TAIL_RECORD_BYTES - 4), seed) !== raw.readUInt32LE(TAIL_RECORD_BYTES - 4)) return undefined
  const length = raw.readUInt32LE(4)
  const durable = raw.readUInt32LE(12)
  if (length > CHUNK_BYTES_MAX || durable > length) return undefined
  return { slot, seq: raw.readUIntLE(16, 6), length, tailCrc: raw.readUInt32LE(8), durable }
}

function decodeSeal(page: Buffer, at: number, seed: number): SealRecord | undefined {
  const raw = page.subarray(at, at + SEAL_BYTES)
  if (raw[0] !== KIND_SEAL || raw[1] !== FORMAT_VERSION) return undefined
  if (crc32(raw.subarray(0, SEAL_BYTES - 4), seed) !== raw.readUInt32LE(SEAL_BYTES - 4)) return undefined
  const length = raw.readUInt32LE(4)
  if (length > CHUNK_BYTES_MAX) return undefined
  return { length, tailCrc: raw.readUInt32LE(8), digest: raw.toString('hex', 16, 16 + DIGEST_BYTES) }
}

/** `page` is the first page of the file, or the part of it that exists. */
export function decodeHead(page: Buffer, chunk: ChunkId): Head {
  if (page.length < PAGE_BYTES)
    return { kind: 'foreign', why: `the file ends after ${page.length} bytes, in its header` }
  const header = page.subarray(0, HEADER_RECORD_BYTES)
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) return { kind: 'foreign', why: 'it does not begin like a chunk' }
  if (crc32(header.subarray(0, HEADER_RECORD_BYTES - 4)) !== header.readUInt32LE(HEADER_RECORD_BYTES - 4))
    return { kind: 'foreign', why: 'its header fails its CRC' }
  const version = header.readUInt16LE(8)
  if (version !== FORMAT_VERSION)
    return { kind: 'foreign', why: `its format is version ${version}, this program knows ${FORMAT_VERSION}` }
  const id = header.readBigUInt64LE(12)
  if (id !== BigInt(chunk))
    return { kind: 'foreign', why: `it is chunk ${id.toString(16).padStart(16, '0')} by its header` }
  const seed = idSeed(chunk)
  const tails: TailSlot[] = []
  for (let slot = 0; slot < TAIL_SLOTS; slot++) {
    const tail = decodeTail(page, slot, seed)
    if (tail !== undefined) tails.push(tail)
  }
  let seal: SealRecord | undefined
  for (const at of SEAL_OFFSETS) seal ??= decodeSeal(page, at, seed)
  return { kind: 'chunk', createdMs: header.readUIntLE(20, 6), tails, seal }
}

export function decodeTable(page: Buffer): Uint32Array {
  const out = new Uint32Array(BLOCKS_MAX)
  for (let i = 0; i < BLOCKS_MAX && i * 4 + 4 <= page.length; i++) out[i] = page.readUInt32LE(i * 4)
  return out
}

export function encodeTable(table: Uint32Array, from: number, to: number): Buffer {
  const out = Buffer.alloc((to - from) * 4)
  for (let i = from; i < to; i++) out.writeUInt32LE(table[i]!, (i - from) * 4)
  return out
}

/**
 * The digest of a chunk is the SHA-256 of this: its length and the CRC of every block, the partial last one included.
 * Cheap (4 KiB for 64 MiB), the same for every copy, and a table whose bits rotted no longer fits it.
 */
export function digestInput(length: number, table: Uint32Array, tailCrc: number): Buffer {
  const full = blockOf(length)
  const out = Buffer.alloc(4 + 4 * blockCount(length))
  out.writeUInt32LE(length)
  for (let i = 0; i < full; i++) out.writeUInt32LE(table[i]!, 4 + i * 4)
  if (partialBytes(length) > 0) out.writeUInt32LE(tailCrc, 4 + full * 4)
  return out
}

/**
 * After a crash: which tail records to try, best first, and the length that was durable for certain. In one history a longer
 * record is a later one; a record that is longer than a later one was given up by an earlier recovery.
 */
export function recoveryOrder(tails: readonly TailSlot[]): {
  readonly durable: number
  readonly candidates: TailSlot[]
} {
  const durable = tails.reduce((most, tail) => Math.max(most, tail.durable), 0)
  const candidates = tails
    .filter(
      (tail) => tail.length >= durable && !tails.some((later) => later.seq > tail.seq && later.length < tail.length),
    )
    .sort((a, b) => b.length - a.length || b.seq - a.seq)
  return { durable, candidates }
}
