/*
 * Erasure coding over a whole cluster in one process: chunks are cut into parts, read with parts lost, made whole again, and
 * put together. Every byte is compared at every step.
 */

import { expect, test } from 'vitest'
import type { ChunkId } from '../../src/base/ids.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'
import { bytesOf, chunksOf, holdersOf, read, until, write } from '../support/whole-files.ts'

const LONG = 120_000

const wish = (chunk: ChunkId, code: { data: number; parity: number } | undefined) =>
  ({ kind: 'chunkWish', chunk, classId: undefined, phase: undefined, copies: 2, code }) as const

/** Cut, and nothing but its parts left of it. */
const isCut = (cluster: MemoryCluster, chunk: ChunkId): boolean => {
  const record = cluster.record(chunk)
  return record?.ec?.present === record?.ec?.parts.length && record?.ec !== undefined && record.disks.length === 0
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
