/*
 * Files as a test writes, reads and follows them: whole, compared byte by byte, and, over a cluster in memory, down to their
 * chunks.
 */

import { type ChunkId, type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { type MemoryCluster, seededRandom } from './memory-cluster.ts'
import { realClock } from './real-clock.ts'

const SETTLED_MS = 40_000
export const root = callerOf({ uid: 0, gid: 0 })

export const bytesOf = (seed: number, length: number): Buffer => Buffer.from(seededRandom(seed).hex(length), 'hex')

/** In its own session, which ends: what it wrote is sealed. */
export async function write(
  cluster: { client(): Promise<Filesystem> },
  name: string,
  data: Buffer,
  parent: Ino = ROOT_INO,
): Promise<void> {
  const client = await cluster.client()
  const attr = await client.create(parent, name, 0o644, { exclusive: true, truncate: false }, root)
  for (let at = 0; at < data.length; at += 1 << 20)
    await client.write(attr.ino, at, data.subarray(at, at + (1 << 20)), { append: false, killSuidGid: false }, root)
  await client.fsync(attr.ino, root)
  client.release(attr.ino)
  // What is open is sealed with the session.
  await client.close()
}

export async function read(
  client: Filesystem,
  name: string,
  offset = 0,
  length?: number,
  parent: Ino = ROOT_INO,
): Promise<Buffer> {
  const attr = await client.lookup(parent, name, root)
  await client.open(attr.ino, { write: false, truncate: false }, root)
  const pieces: Buffer[] = []
  const end = length === undefined ? attr.size : offset + length
  for (let at = offset; at < end; at += 1 << 20)
    pieces.push(...(await client.read(attr.ino, at, Math.min(1 << 20, end - at), root)))
  client.release(attr.ino)
  return Buffer.concat(pieces)
}

export async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = realClock.monotonicMs() + SETTLED_MS
  while (!(await is())) {
    if (realClock.monotonicMs() > deadline) throw new Error(`not in time: ${what}`)
    await realClock.sleep(20)
  }
}

/** Of a file, once they are sealed on every disk. */
export async function chunksOf(cluster: MemoryCluster, path: string): Promise<ChunkId[]> {
  await until(`${path} is sealed`, async () =>
    (await cluster.chunks(path)).every(({ record }) => record.state === 'sealed' && record.unsealed.length === 0),
  )
  return (await cluster.chunks(path)).map(({ id }) => id)
}

/** The chunkservers that have a copy of it or of a part of it. */
export const holdersOf = (cluster: MemoryCluster, chunk: ChunkId): number[] => {
  const record = cluster.record(chunk)!
  const parts = record.ec?.parts.map((part) => cluster.record(part)!) ?? []
  return [record, ...parts].flatMap(({ disks }) => disks.map((disk) => cluster.holderOf(disk)))
}
