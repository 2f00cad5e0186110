/*
 * The check of a stopped local cluster, from its files: the metadata database is opened read-only, chunk files are read
 * and never written. Nothing else may run in the directory meanwhile; the supervisor's lock is not taken, because a check
 * must be possible on a read-only copy.
 */

import { createHash } from 'node:crypto'
import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from '../../base/checksum.ts'
import { FsError } from '../../base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../../base/ids.ts'
import { BLOCK_BYTES } from '../../base/limits.ts'
import {
  BLOCKS_MAX,
  blockOf,
  DATA_OFFSET,
  decodeHead,
  decodeTable,
  digestInput,
  PAGE_BYTES,
  partialBytes,
  recoveryOrder,
  TABLE_OFFSET,
} from '../../chunk/core/chunk-format.ts'
import type { Finding } from '../../wire/reports.ts'
import type { HeldCopy } from './compare.ts'

export interface DiskFiles {
  readonly uuid: string
  readonly path: string
  readonly held: Map<number, HeldCopy>
  readonly findings: Finding[]
}

/** What lies in a disk's directory. `deep`: every block is read. */
export async function readDisk(path: string, deep: boolean): Promise<DiskFiles> {
  const findings: Finding[] = []
  const error = (what: string): void => void findings.push({ severity: 'error', what: `${path}: ${what}` })
  const held = new Map<number, HeldCopy>()
  const { uuid } = JSON.parse(await readFile(join(path, 'disk.json'), 'utf8')) as { uuid: string }
  for (const group of await listing(join(path, 'chunks'))) {
    for (const file of await listing(join(path, 'chunks', group))) {
      const match = /^([0-9a-f]{16})\.chunk$/.exec(file)
      if (match === null) continue
      const chunk = chunkId(Number.parseInt(match[1]!, 16))
      const copy = await readChunk(join(path, 'chunks', group, file), chunk, deep)
      if ('damage' in copy) {
        error(`chunk ${chunkName(chunk)}: ${copy.damage}`)
        held.set(chunk, { state: 'damaged', length: copy.length })
      } else held.set(chunk, copy)
    }
  }
  return { uuid, path, held, findings }
}

async function listing(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}

type ChunkCopy = HeldCopy | { readonly damage: string; readonly length: number }

/** Length and state of one chunk file; with `deep` (and always for the tail of an open one) against its CRCs. */
export async function readChunk(file: string, chunk: ChunkId, deep: boolean): Promise<ChunkCopy> {
  const handle = await open(file, 'r')
  try {
    const size = (await handle.stat()).size
    const read = async (at: number, length: number): Promise<Buffer> => {
      const bytes = Buffer.alloc(Math.max(0, Math.min(length, size - at)))
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, at)
      return bytes.subarray(0, bytesRead)
    }
    const head = decodeHead(await read(0, PAGE_BYTES), chunk)
    if (head.kind === 'foreign') return { damage: head.why, length: 0 }
    const table = decodeTable(await read(TABLE_OFFSET, BLOCKS_MAX * 4))
    const blocksAreGood = async (from: number, length: number, tailCrc: number): Promise<number | undefined> => {
      for (let block = from; block * BLOCK_BYTES < length; block++) {
        const bytes = Math.min(BLOCK_BYTES, length - block * BLOCK_BYTES)
        const wanted = bytes === BLOCK_BYTES ? table[block]! : tailCrc
        const data = await read(DATA_OFFSET + block * BLOCK_BYTES, bytes)
        if (data.length < bytes || crc32(data) !== wanted) return block
      }
      return undefined
    }
    if (head.seal !== undefined) {
      const { length, tailCrc, digest } = head.seal
      if (
        createHash('sha256')
          .update(digestInput(length, table, tailCrc))
          .digest('hex') !== digest
      )
        return { damage: 'its table of checksums does not fit its digest', length }
      if (size < DATA_OFFSET + length)
        return { damage: `the file ends ${DATA_OFFSET + length - size} bytes early`, length }
      const bad = deep ? await blocksAreGood(0, length, tailCrc) : undefined
      if (bad !== undefined) return { damage: `block ${bad} fails its checksum`, length }
      return { state: 'sealed', length }
    }
    // Open: the longest record whose last block fits is what the chunkserver would recover to.
    const { durable, candidates } = recoveryOrder(head.tails)
    for (const { length, tailCrc } of candidates) {
      const last = partialBytes(length) > 0 ? blockOf(length) : Math.max(0, blockOf(length) - 1)
      if ((await blocksAreGood(deep ? 0 : last, length, tailCrc)) === undefined) return { state: 'open', length }
    }
    return durable > 0
      ? { damage: `what was durable (${durable} bytes) cannot be read`, length: 0 }
      : { state: 'open', length: 0 }
  } finally {
    await handle.close()
  }
}

/** The directories of a chunkserver's disks, from its own configuration. */
export function diskPath(spec: string): string {
  const words = spec.trim().split(/\s+/)
  const space = words.length > 1 && /^(=|=?-?[0-9.]+)/.test(words.at(-1)!)
  const path = space
    ? spec
        .trim()
        .slice(0, spec.trim().lastIndexOf(words.at(-1)!))
        .trim()
    : spec.trim()
  if (path === '') throw new FsError('EINVAL', `not a disk: "${spec}"`)
  return path.replace(/^[*<>~]+\s*/, '')
}
