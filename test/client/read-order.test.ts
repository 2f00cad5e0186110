/* From which chunkservers a mount takes bytes, over a whole cluster in memory. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { Probe } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const FILES = 8
const BYTES = 300_000
const NOWHERE = { machine: undefined, rack: undefined, site: undefined }

describe('reading', () => {
  let cluster: MemoryCluster
  let files: Ino[]
  beforeEach(async () => {
    cluster = await MemoryCluster.start({
      ...{ chunkservers: 3, copies: 3 },
      declaredOf: (i) => ({ labels: [['A', 'ssd'], ['B'], ['C']][i]! }),
    })
    const writer = await cluster.client()
    const probe = await Probe.fresh(writer, 'files')
    files = []
    for (let i = 0; i < FILES; i++) files.push(await probe.put(`f${i}`, Buffer.alloc(BYTES, i + 1)))
    await writer.close()
    await cluster.until('all is sealed', ({ chunks }) => chunks.open === 0 && chunks.under === 0)
  })
  afterEach(() => cluster.stop())

  /** Which chunkservers a fresh mount takes the bytes of all files from. */
  async function readers(prefer: string[] | undefined): Promise<number[]> {
    const read = new Set<number>()
    for (let i = 0; i < 3; i++)
      cluster.chunkserver(i).disk.onRead = (path, _at, bytes) => {
        if (path.endsWith('.chunk') && bytes > 16_384) read.add(i + 1)
      }
    const reader = await cluster.client(prefer === undefined ? {} : { place: { place: NOWHERE, prefer } })
    const probe = new Probe(reader, 1 as Ino)
    for (const [i, ino] of files.entries()) {
      await probe.open(ino)
      const bytes = await probe.read(ino, 0, BYTES)
      expect(bytes.equals(Buffer.alloc(BYTES, i + 1))).toBe(true)
      await probe.close(ino)
    }
    await reader.close()
    return [...read].sort()
  }
  const backups = (backupLabels: string[]) =>
    cluster.call('settingsSet', {
      stamp: { session: 0 as never, seq: 0, acked: 0 },
      ...{ copies: undefined, graceMs: undefined, trashRetentionMs: undefined, sessionTimeoutMs: undefined },
      backupLabels,
      moving: undefined,
    })

  it('takes turns among all copies while nothing is said', async () => {
    expect(await readers(undefined)).toEqual([1, 2, 3])
  })

  it('keeps to the copies that are preferred, and goes on with the next when they are away', async () => {
    expect(await readers(['C'])).toEqual([3])
    expect(await readers(['ssd', 'C'])).toEqual([1])
    await cluster.chunkserver(0).kill()
    expect(await readers(['ssd', 'C'])).toEqual([3])
    await cluster.chunkserver(2).kill()
    expect(await readers(['ssd', 'C'])).toEqual([2])
  })

  it('does not wait for a disk that hangs', async () => {
    const reader = await cluster.client({ place: { place: NOWHERE, prefer: ['A'] } })
    const probe = new Probe(reader, 1 as Ino)
    cluster.chunkserver(0).disk.hangs = (operation) => operation === 'read'
    const tookMs: number[] = []
    for (const [i, ino] of files.entries()) {
      const startedMs = realClock.monotonicMs()
      await probe.open(ino)
      expect((await probe.read(ino, 0, BYTES)).equals(Buffer.alloc(BYTES, i + 1))).toBe(true)
      await probe.close(ino)
      tookMs.push(realClock.monotonicMs() - startedMs)
    }
    cluster.chunkserver(0).disk.hangs = () => false
    cluster.chunkserver(0).disk.giveUp('over')
    await reader.close()
    // A read that waits for the disk takes five seconds.
    expect(Math.max(...tookMs)).toBeLessThan(4_000)
  })

  it('leaves backup disks alone until nothing else is left', async () => {
    await backups(['B', 'C'])
    expect(await readers(undefined)).toEqual([1])
    expect(await readers(['B'])).toEqual([1])
    await cluster.chunkserver(0).kill()
    expect(await readers(['B'])).toEqual([2])
    await backups([])
    expect(await readers(undefined)).toEqual([2, 3])
  })
})
