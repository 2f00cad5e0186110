/*
 * What a chunk file is when it is opened: sealed, or as long as its newest record whose bytes are there. Only reads; which
 * records survive what, and why the longest whole one is right, is said in chunk-file.ts, points 1 to 4.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { ChunkBlocks, DamagedBlocks } from './chunk-blocks.ts'
import type { ChunkHome } from './chunk-home.ts'
import {
  blockCount,
  blockOf,
  DATA_OFFSET,
  decodeHead,
  decodeTable,
  type Head,
  PAGE_BYTES,
  partialBytes,
  recoveryOrder,
  type SealRecord,
  TABLE_OFFSET,
} from './core/chunk-format.ts'
import type { DiskFile } from './disk-io.ts'

export interface Recovered {
  readonly createdMs: number
  readonly blocks: ChunkBlocks
  readonly seal: SealRecord | undefined
  readonly durable: number
  readonly nameDurable: boolean
  /** No record is there yet, so none has to be kept. */
  readonly anchored: boolean
  readonly seq: number
  readonly slot: number
  /** The file has bytes up to here (data offset). */
  readonly fileEnd: number
  /** Cut off, or not as they were when they became durable. */
  readonly damaged: readonly number[]
  /** The durable end itself is damaged: the chunk is readable as far as it is whole and never extended. */
  readonly broken: FsError | undefined
}

/** EBADMSG when the file is not this chunk. */
export async function recoverChunk(file: DiskFile, chunk: ChunkId, home: ChunkHome): Promise<Recovered> {
  const pages = Buffer.alloc(DATA_OFFSET)
  const there = await readHead(file, pages, chunk, home)
  const head = decodeHead(pages.subarray(0, Math.min(there, PAGE_BYTES)), chunk)
  if (head.kind === 'foreign') throw new FsError('EBADMSG', `chunk ${chunkName(chunk)}: ${head.why}`)
  const blocks = new ChunkBlocks(chunk, file, home, decodeTable(pages.subarray(TABLE_OFFSET)))
  const fileEnd = Math.max(0, (await sizeOf(file, chunk, home)) - DATA_OFFSET)
  return head.seal === undefined ? recoverOpen(blocks, head, fileEnd) : recoverSealed(blocks, head, head.seal, fileEnd)
}

type ChunkHead = Extract<Head, { kind: 'chunk' }>

function recoverSealed(blocks: ChunkBlocks, { createdMs }: ChunkHead, seal: SealRecord, fileEnd: number): Recovered {
  blocks.endAt(seal.length, seal.tailCrc)
  const damaged: number[] = []
  if (fileEnd < seal.length)
    for (let block = blockOf(fileEnd); block < blockCount(seal.length); block++) damaged.push(block)
  return {
    createdMs,
    blocks,
    seal,
    durable: seal.length,
    nameDurable: true,
    anchored: true,
    seq: 0,
    slot: 0,
    fileEnd,
    damaged,
    broken: undefined,
  }
}

async function recoverOpen(blocks: ChunkBlocks, { createdMs, tails }: ChunkHead, fileEnd: number): Promise<Recovered> {
  const { durable, candidates } = recoveryOrder(tails)
  const found = {
    createdMs,
    blocks,
    seal: undefined,
    durable,
    nameDurable: durable > 0,
    anchored: tails.length === 0,
    seq: tails.reduce((most, tail) => Math.max(most, tail.seq), 0),
    slot: 0,
    fileEnd,
    damaged: [],
    broken: undefined,
  }
  for (const tail of candidates) {
    blocks.endAt(tail.length, tail.tailCrc)
    const bad = await blocks.badBlocks(blockOf(durable), blockCount(tail.length))
    if (bad.length === 0) return { ...found, slot: tail.slot }
  }
  blocks.endAt(0, 0)
  const slot = candidates.at(-1)?.slot ?? 0
  if (durable === 0) return { ...found, slot }
  const anchor = candidates.find((tail) => tail.length === durable)
  blocks.endAt(anchor === undefined ? durable - partialBytes(durable) : durable, anchor?.tailCrc ?? 0)
  const damaged = [anchor === undefined ? blockOf(durable) : blockOf(durable - 1)]
  return { ...found, slot, damaged, broken: new DamagedBlocks(blocks.chunk, damaged) }
}

async function readHead(file: DiskFile, into: Buffer, chunk: ChunkId, home: ChunkHome): Promise<number> {
  const { quickReads } = home
  try {
    return quickReads.allowed() ? quickReads.run(() => file.readNow(into, 0)) : await file.read(into, 0)
  } catch (error) {
    throw home.failure(error, `reading chunk ${chunkName(chunk)}`)
  }
}

async function sizeOf(file: DiskFile, chunk: ChunkId, home: ChunkHome): Promise<number> {
  try {
    return await file.size()
  } catch (error) {
    throw home.failure(error, `opening chunk ${chunkName(chunk)}`)
  }
}
