/*
 * The check of a stopped local cluster, from its files: the metadata database is opened read-only, chunk files are read
 * and never written. Nothing else may run in the directory meanwhile; the supervisor's lock is not taken, because a check
 * must be possible on a read-only copy.
 */

import { createHash } from 'node:crypto'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from '../../base/checksum.ts'
import { errnoOf, FsError, unwrap } from '../../base/fault.ts'
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
import { parseDiskSpec } from '../../chunk/core/disk-spec.ts'
import { loadConfig } from '../../config/load.ts'
import { diskLine } from '../../config/rows.ts'
import { check, checkPage } from '../../master/core/check.ts'
import { lossFindings } from '../../master/core/losses.ts'
import { State } from '../../master/core/state.ts'
import { LmdbStore } from '../../master/lmdb-store.ts'
import { changelogReport } from '../../master/reports.ts'
import type { ChangelogPage, Finding } from '../../wire/reports.ts'
import type { ClusterAddress } from '../find.ts'
import { type ClusterFile, paths, readClusterFile } from '../local/state.ts'
import { localStatus } from '../local/status.ts'
import {
  type CheckReport,
  checkReport,
  compareChunks,
  type DiskView,
  type ExpectedChunk,
  type HeldCopy,
} from './compare.ts'

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

/** `address` must be of a local cluster: only there are all directories known. */
export async function checkOffline(
  address: ClusterAddress,
  options: { deep: boolean },
  onProgress: (sentence: string) => void,
): Promise<CheckReport> {
  const { dir, cluster } = await stoppedCluster(address)
  const where = paths(dir)
  const findings: Finding[] = []
  const byUuid = new Map<string, DiskFiles>()
  for (const { name } of cluster.chunkservers) {
    const config = await loadConfig('chunkserver', where.config(name))
    for (const path of await diskPaths(config.dataDir, config.disks.map(diskLine))) {
      onProgress(`reading ${path}`)
      try {
        const disk = await readDisk(path, options.deep)
        findings.push(...disk.findings)
        byUuid.set(disk.uuid, disk)
      } catch (error) {
        const code = errnoOf(error)
        if (code === undefined) throw error
        findings.push({ severity: 'warning', what: `${path} cannot be read: ${(error as Error).message}` })
      }
    }
  }
  return withMetadata(dir, async (state) => {
    findings.push(...check(state))
    const expected: ExpectedChunk[] = []
    let records = 0
    let cursor = ''
    do {
      const page = checkPage(state, cursor, WALK_PAGE)
      records += page.records
      expected.push(...page.chunks)
      findings.push(
        ...lossFindings(
          state,
          page.chunks.map(({ chunk }) => chunk as ChunkId),
        ),
      )
      cursor = page.cursor
      onProgress(`metadata: ${records} records`)
    } while (cursor !== '')
    const views = new Map<number, DiskView>()
    for (const { disk, record } of state.disks()) {
      const files = byUuid.get(record.uuid)
      const name = `disk ${disk} (${record.path})`
      views.set(disk, { name, asked: files !== undefined, held: files?.held ?? new Map() })
    }
    const comparison = compareChunks(expected, views)
    findings.push(...comparison.findings, ...strays(expected, byUuid))
    return checkReport('offline', options.deep, records, comparison, findings)
  })
}
/** Records between two lines of progress. */
const WALK_PAGE = 50_000

/** Refuses a cluster that runs: its files change while they are read. */
async function stoppedCluster({ dir }: ClusterAddress): Promise<{ dir: string; cluster: ClusterFile }> {
  if (dir === undefined) throw new FsError('EINVAL', 'only a local cluster can be read offline; give its --dir')
  const cluster = await readClusterFile(dir)
  if (cluster === undefined) throw new FsError('ENOENT', `${dir} holds no local cluster`)
  const { phase } = await localStatus(dir)
  if (phase !== 'stopped') throw new FsError('EBUSY', `the cluster in ${dir} runs; stop it, or ask it while it runs`)
  return { dir, cluster }
}

/** The metadata as the master left it, opened read-only. */
async function withMetadata<T>(dir: string, work: (state: State) => T | Promise<T>): Promise<T> {
  const { dataDir } = await loadConfig('master', paths(dir).config('master'))
  const meta = join(dataDir, 'meta')
  await stat(meta)
  const store = LmdbStore.open(meta, { readOnly: true })
  try {
    return await work(new State(store))
  } finally {
    await store.close()
  }
}

/** The last commands in the changelog of a stopped local cluster. */
export async function changelogOffline(address: ClusterAddress, limit: number): Promise<ChangelogPage> {
  const { dir } = await stoppedCluster(address)
  return withMetadata(dir, (state) => changelogReport(state, 0, limit))
}

/** Copies that no record asks for: garbage that the next contact with the master clears away, worth knowing all the same. */
function strays(expected: readonly ExpectedChunk[], disks: ReadonlyMap<string, DiskFiles>): Finding[] {
  const known = new Set(expected.map((chunk) => chunk.chunk))
  return [...disks.values()].flatMap(({ path, held }) => {
    const unknown = [...held.keys()].filter((chunk) => !known.has(chunk))
    return unknown.length === 0
      ? []
      : [
          {
            severity: 'warning',
            what: `${path} holds ${unknown.length} chunks that the metadata does not know`,
          } as const,
        ]
  })
}

/** From the configuration, plus what was added and minus what was removed while running. */
async function diskPaths(dataDir: string, lines: readonly string[]): Promise<string[]> {
  let node: { added?: string[]; removed?: string[] } = {}
  try {
    node = JSON.parse(await readFile(join(dataDir, 'node.json'), 'utf8')) as typeof node
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const all = [...lines, ...(node.added ?? [])].map((line) => unwrap(parseDiskSpec(line)).path)
  return [...new Set(all)].filter((path) => !(node.removed ?? []).includes(path))
}
