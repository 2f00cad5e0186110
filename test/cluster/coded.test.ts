/*
 * Erasure coding over a whole cluster in one process: chunks are cut into parts, read with parts lost, made whole again, and
 * put together. Every byte is compared at every step.
 */

import { expect, test } from 'vitest'
import { type ChunkId, ROOT_INO } from '../../src/base/ids.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { MemoryCluster, seededRandom } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const LONG = 120_000
const SETTLED_MS = 40_000
const caller = callerOf({ uid: 0, gid: 0 })

const bytesOf = (seed: number, length: number): Buffer => Buffer.from(seededRandom(seed).hex(length), 'hex')

async function write(cluster: MemoryCluster, name: string, data: Buffer): Promise<void> {
  const client = await cluster.client()
  const attr = await client.create(ROOT_INO, name, 0o644, { exclusive: true, truncate: false }, caller)
  for (let at = 0; at < data.length; at += 1 << 20)
    await client.write(attr.ino, at, data.subarray(at, at + (1 << 20)), { append: false, killSuidGid: false }, caller)
  await client.fsync(attr.ino, caller)
  client.release(attr.ino)
  // What is open is sealed with the session.
  await client.close()
}

async function read(client: Filesystem, name: string, offset = 0, length?: number): Promise<Buffer> {
  const attr = await client.lookup(ROOT_INO, name, caller)
  await client.open(attr.ino, { write: false, truncate: false }, caller)
  const pieces: Buffer[] = []
  const end = length === undefined ? attr.size : offset + length
  for (let at = offset; at < end; at += 1 << 20)
    pieces.push(...(await client.read(attr.ino, at, Math.min(1 << 20, end - at), caller)))
  client.release(attr.ino)
  return Buffer.concat(pieces)
}

async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = realClock.monotonicMs() + SETTLED_MS
  while (!(await is())) {
    if (realClock.monotonicMs() > deadline) throw new Error(`not in time: ${what}`)
    await realClock.sleep(20)
  }
}

async function chunksOf(cluster: MemoryCluster, path: string): Promise<ChunkId[]> {
  await until(`${path} is sealed`, async () =>
    (await cluster.chunks(path)).every(({ record }) => record.state === 'sealed' && record.unsealed.length === 0),
  )
  return (await cluster.chunks(path)).map(({ id }) => id)
}

const wish = (chunk: ChunkId, code: { data: number; parity: number } | undefined) =>
  ({ kind: 'chunkWish', chunk, classId: undefined, phase: undefined, copies: 2, code }) as const

/** Cut, and nothing but its parts left of it. */
const isCut = (cluster: MemoryCluster, chunk: ChunkId): boolean => {
  const record = cluster.record(chunk)
  return record?.ec?.present === record?.ec?.parts.length && record?.ec !== undefined && record.disks.length === 0
}

/** The chunkservers that have a copy of it or of a part of it. */
const holdersOf = (cluster: MemoryCluster, chunk: ChunkId): number[] => {
  const record = cluster.record(chunk)!
  const parts = record.ec?.parts.map((part) => cluster.record(part)!) ?? []
  return [record, ...parts].flatMap(({ disks }) => disks.map((disk) => cluster.holderOf(disk)))
}

for (const [data, parity] of [
  [2, 1],
  [4, 2],
] as const)
  test(`a file is cut into ${data}+${parity}, read with ${parity} chunkservers lost, mended, and put together again`, {
    timeout: LONG,
  }, async () => {
    const total = data + parity
    const cluster = await MemoryCluster.start({ chunkservers: total + parity + 1, graceMs: 2_000 })
    try {
      const bytes = bytesOf(data, 3_300_000)
      await write(cluster, 'f', bytes)
      const [chunk] = await chunksOf(cluster, '/f')
      await cluster.command(wish(chunk!, { data, parity }))
      await until('cut', () => isCut(cluster, chunk!))
      expect(new Set(holdersOf(cluster, chunk!)).size).toBe(total)
      expect(await cluster.findings()).toEqual([])
      const reader = await cluster.client()
      expect((await read(reader, 'f')).equals(bytes)).toBe(true)

      const gone = holdersOf(cluster, chunk!).slice(0, parity)
      for (const server of gone) await cluster.chunkserver(server).kill()
      const another = await cluster.client()
      expect((await read(another, 'f')).equals(bytes)).toBe(true)
      expect((await read(another, 'f', 1_234_567, 4096)).equals(bytes.subarray(1_234_567, 1_234_567 + 4096))).toBe(true)
      await until('mended elsewhere', () => {
        const holders = holdersOf(cluster, chunk!)
        return isCut(cluster, chunk!) && holders.length === total && gone.every((server) => !holders.includes(server))
      })
      expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)

      const parts = cluster.record(chunk!)!.ec!.parts
      await cluster.command(wish(chunk!, undefined))
      await until(
        'put together',
        () => cluster.record(chunk!)?.ec === undefined && cluster.record(chunk!)?.disks.length === 2,
      )
      expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)
      await until('parts are forgotten', () => parts.every((part) => cluster.record(part) === undefined))
      expect(await cluster.findings()).toEqual([])
    } finally {
      await cluster.stop()
    }
  })

test('without enough chunkservers for all parts a chunk keeps its copies', { timeout: LONG }, async () => {
  const cluster = await MemoryCluster.start({ chunkservers: 3 })
  try {
    const bytes = bytesOf(9, 1_500_000)
    await write(cluster, 'f', bytes)
    const [chunk] = await chunksOf(cluster, '/f')
    await cluster.command(wish(chunk!, { data: 4, parity: 1 }))
    await realClock.sleep(3_000)
    expect(cluster.record(chunk!)).toMatchObject({ ec: undefined, disks: { length: 2 } })
    expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)
  } finally {
    await cluster.stop()
  }
})
