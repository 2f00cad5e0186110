/*
 * The life of chunks by their storage class, over a whole cluster in one process: created beside the writer, kept where the
 * class says, archived, deleted, and moved when the class, the file's class, or a label changes.
 */

import { afterEach, describe, expect, test } from 'vitest'
import { type ChunkId, type Ino, ROOT_INO } from '../../src/base/ids.ts'
import { classWith, writeClass } from '../../src/topology/storage-class.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { bytesOf, chunksOf, holdersOf, read, root, until, write } from '../support/whole-files.ts'

const LONG = 120_000

/** Two fast disks and six large ones, these in three racks on two sites. */
const SERVERS: { labels: string[]; rack: string; site: string }[] = [
  { labels: ['I', 'S'], rack: 'r1', site: 'home' },
  { labels: ['I', 'S'], rack: 'r2', site: 'home' },
  { labels: ['H'], rack: 'r1', site: 'home' },
  { labels: ['H'], rack: 'r1', site: 'home' },
  { labels: ['H'], rack: 'r2', site: 'home' },
  { labels: ['H'], rack: 'r2', site: 'home' },
  { labels: ['H'], rack: 'r3', site: 'away' },
  { labels: ['H', 'usb-backup'], rack: 'r3', site: 'away' },
]
const labelled = (label: string): number[] => SERVERS.flatMap(({ labels }, i) => (labels.includes(label) ? [i] : []))

let running: MemoryCluster | undefined
afterEach(async () => {
  await running?.stop()
  running = undefined
})

async function start(): Promise<MemoryCluster> {
  running = await MemoryCluster.start({
    chunkservers: SERVERS.length,
    graceMs: 2_000,
    trashRetentionMs: 3_600_000,
    declaredOf: (i) => ({
      labels: SERVERS[i]!.labels,
      place: { machine: `machine-${i}`, rack: SERVERS[i]!.rack, site: SERVERS[i]!.site },
    }),
  })
  return running
}

const STAMP = { session: 0 as never, seq: 0, acked: 0 }

async function makeClass(
  cluster: MemoryCluster,
  name: string,
  flags: Record<string, string>,
  classId = 0,
): Promise<number> {
  const text = writeClass(classWith(name, flags))
  return (await cluster.call('classSet', { stamp: STAMP, classId, text })).classId
}

/** A directory of a class. */
async function classed(cluster: MemoryCluster, name: string, classId: number): Promise<Ino> {
  const client = await cluster.client()
  const { ino } = await client.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, root)
  await client.close()
  await give(cluster, `/${name}`, classId)
  return ino
}

const give = (cluster: MemoryCluster, path: string, classId: number) =>
  cluster.call('classOf', { stamp: STAMP, path, ino: undefined, classId, onlyFrom: undefined, page: undefined })

const racksOf = (servers: readonly number[]): string[] => servers.map((i) => SERVERS[i]!.rack)
const isOn = (cluster: MemoryCluster, chunk: ChunkId, servers: readonly number[], count: number): boolean => {
  const holders = holdersOf(cluster, chunk)
  return holders.length === count && holders.every((holder) => servers.includes(holder))
}

describe('a chunk', () => {
  test('is created on the fast disk, then kept on three large ones in three racks', { timeout: LONG }, async () => {
    const cluster = await start()
    const hdd3x = await makeClass(cluster, 'hdd3x', { C: 'I', K: 'H,2H/[RACK]:s' })
    const dir = await classed(cluster, 'd', hdd3x)
    const bytes = bytesOf(1, 700_000)
    const client = await cluster.client()
    const attr = await client.create(dir, 'f', 0o644, { exclusive: true, truncate: false }, root)
    expect(attr.classId).toBe(hdd3x)
    await client.write(attr.ino, 0, bytes, { append: false, killSuidGid: false }, root)
    await client.fsync(attr.ino, root)
    const [open] = await cluster.chunks('/d/f')
    expect(open!.record.disks.map((disk) => cluster.holderOf(disk)).every((i) => labelled('I').includes(i))).toBe(true)
    expect(open!.record.disks).toHaveLength(1)
    client.release(attr.ino)
    await client.close()
    await until('kept', () => isOn(cluster, open!.id, labelled('H'), 3))
    expect(new Set(racksOf(holdersOf(cluster, open!.id))).size).toBe(3)
    expect((await read(await cluster.client(), 'f', 0, undefined, dir)).equals(bytes)).toBe(true)
    expect(await cluster.findings()).toEqual([])
  })

  test('is archived as parts, and comes back as copies when its class says so', { timeout: LONG }, async () => {
    const cluster = await start()
    const flags = { C: '2I', K: 'H,H/[RACK]:s', A: '@4+1,H/[IP]:s', o: 'F' }
    const classId = await makeClass(cluster, 'hddec', flags)
    const dir = await classed(cluster, 'd', classId)
    const bytes = bytesOf(2, 900_000)
    await write(cluster, 'f', bytes, dir)
    const [chunk] = await chunksOf(cluster, '/d/f')
    await until('archived', () => {
      const record = cluster.record(chunk!)
      return record?.ec?.present === 5 && record.disks.length === 0
    })
    expect(cluster.record(chunk!)).toMatchObject({ phase: 'archive', ec: { data: 4, parity: 1 } })
    expect(isOn(cluster, chunk!, labelled('H'), 5)).toBe(true)
    expect((await read(await cluster.client(), 'f', 0, undefined, dir)).equals(bytes)).toBe(true)
    await makeClass(cluster, 'hddec', { C: '2I', K: 'H,H/[RACK]:s' }, classId)
    await until(
      'two copies again',
      () => cluster.record(chunk!)?.ec === undefined && isOn(cluster, chunk!, labelled('H'), 2),
    )
    expect(new Set(racksOf(holdersOf(cluster, chunk!))).size).toBe(2)
    expect((await read(await cluster.client(), 'f', 0, undefined, dir)).equals(bytes)).toBe(true)
    expect(await cluster.findings()).toEqual([])
  })

  test('waits for its time before it is archived, and moves to the disks of the trash when its file is deleted', {
    timeout: LONG,
  }, async () => {
    const cluster = await start()
    const classId = await makeClass(cluster, 'slow', { K: '2S', A: '2H', T: '{usb-backup}:s' })
    const text = writeClass(classWith('slow', { K: '2S', A: '2H', T: '{usb-backup}:s' }))
    await cluster.call('classSet', { stamp: STAMP, classId, text: { ...text, archiveAfterMs: 6_000 } })
    const dir = await classed(cluster, 'd', classId)
    await write(cluster, 'f', bytesOf(3, 300_000), dir)
    const [chunk] = await chunksOf(cluster, '/d/f')
    await until('kept', () => isOn(cluster, chunk!, labelled('S'), 2))
    expect(cluster.record(chunk!)!.phase).toBe(undefined)
    await until('archived', () => isOn(cluster, chunk!, labelled('H'), 2))
    const client = await cluster.client()
    await client.unlink(dir, 'f', root)
    await client.close()
    await until('in the trash', () => isOn(cluster, chunk!, labelled('usb-backup'), 1))
    expect(cluster.record(chunk!)).toMatchObject({ phase: 'trash', copies: 1 })
    expect(await cluster.findings()).toEqual([])
  })

  test('moves when its file is given another class', { timeout: LONG }, async () => {
    const cluster = await start()
    const fast = await makeClass(cluster, 'fast', { K: '2S' })
    const large = await makeClass(cluster, 'large', { K: '3H/[RACK]' })
    const dir = await classed(cluster, 'd', fast)
    const bytes = bytesOf(4, 200_000)
    await write(cluster, 'f', bytes, dir)
    const [chunk] = await chunksOf(cluster, '/d/f')
    await until('fast', () => isOn(cluster, chunk!, labelled('S'), 2))
    await give(cluster, '/d/f', large)
    await until('large', () => isOn(cluster, chunk!, labelled('H'), 3))
    expect(new Set(racksOf(holdersOf(cluster, chunk!))).size).toBe(3)
    expect((await read(await cluster.client(), 'f', 0, undefined, dir)).equals(bytes)).toBe(true)
  })

  test('of a strict class that no disk fits is refused, one of a loose class goes elsewhere', {
    timeout: LONG,
  }, async () => {
    const cluster = await start()
    const strict = await classed(cluster, 'strict', await makeClass(cluster, 'nowhere', { K: '2X:s' }))
    const loose = await classed(cluster, 'loose', await makeClass(cluster, 'anywhere', { K: '2X:l' }))
    await expect(write(cluster, 'f', bytesOf(5, 1000), strict)).rejects.toMatchObject({ code: 'ENOSPC' })
    await write(cluster, 'f', bytesOf(5, 1000), loose)
    expect((await read(await cluster.client(), 'f', 0, undefined, loose)).equals(bytesOf(5, 1000))).toBe(true)
  })
})
