/*
 * Erasure coding over a whole cluster in one process: chunks are cut into parts, read with parts lost, made whole again, and
 * put together. Every byte is compared at every step.
 */

import { expect, test } from 'vitest'
import { type ChunkId, ROOT_INO } from '../../src/base/ids.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { fastClock, realClock } from '../support/real-clock.ts'
import { bytesOf, chunksOf, holdersOf, read, root, until, write } from '../support/whole-files.ts'

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
      // Its end may lie in a pack.
      const chunks = await chunksOf(cluster, '/f')
      const all = (is: (chunk: ChunkId) => boolean): boolean => chunks.every(is)
      for (const chunk of chunks) await cluster.command(wish(chunk, { data, parity }))
      const long = chunks.filter((chunk) => cluster.record(chunk)!.code !== undefined)
      expect(long.length).toBeGreaterThan(0)
      await until('cut', () => long.every((chunk) => isCut(cluster, chunk)))
      for (const chunk of long) expect(new Set(holdersOf(cluster, chunk)).size).toBe(total)
      expect(await cluster.findings()).toEqual([])
      const reader = await cluster.client()
      expect((await read(reader, 'f')).equals(bytes)).toBe(true)

      // As many as the parity bears, and never both copies of what was too short to be cut.
      const copies = chunks.filter((chunk) => !long.includes(chunk)).flatMap((chunk) => holdersOf(cluster, chunk))
      const holders = holdersOf(cluster, long[0]!)
      const gone = [...holders.filter((i) => !copies.includes(i)), ...holders.filter((i) => copies.includes(i))].slice(
        0,
        parity,
      )
      for (const server of gone) await cluster.chunkserver(server).kill()
      const another = await cluster.client()
      expect((await read(another, 'f')).equals(bytes)).toBe(true)
      expect((await read(another, 'f', 1_234_567, 4096)).equals(bytes.subarray(1_234_567, 1_234_567 + 4096))).toBe(true)
      await until('mended elsewhere', () =>
        long.every((chunk) => {
          const there = holdersOf(cluster, chunk)
          return isCut(cluster, chunk) && there.length === total && gone.every((server) => !there.includes(server))
        }),
      )
      expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)

      const parts = long.flatMap((chunk) => cluster.record(chunk)!.ec!.parts)
      for (const chunk of chunks) await cluster.command(wish(chunk, undefined))
      await until('put together', () =>
        all((chunk) => cluster.record(chunk)?.ec === undefined && cluster.record(chunk)?.disks.length === 2),
      )
      expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)
      await until('parts are forgotten', () => parts.every((part) => cluster.record(part) === undefined))
      expect(await cluster.findings()).toEqual([])
    } finally {
      await cluster.stop()
    }
  })

test('with more parts away than it can do without a file is reported as lost, answers EIO, and is back with them', {
  timeout: LONG,
}, async () => {
  const cluster = await MemoryCluster.start({ chunkservers: 4 })
  try {
    const bytes = bytesOf(3, 900_000)
    await write(cluster, 'f', bytes)
    const [chunk] = await chunksOf(cluster, '/f')
    await cluster.command(wish(chunk!, { data: 2, parity: 1 }))
    await until('cut', () => isCut(cluster, chunk!))
    const gone = holdersOf(cluster, chunk!).slice(0, 2)
    for (const server of gone) await cluster.chunkserver(server).kill()
    await cluster.until('lost', ({ chunks }) => chunks.lost === 1 && chunks.safe === 0)
    await expect(read(await cluster.client({ onDisconnectMs: 500 }), 'f')).rejects.toMatchObject({ code: 'EIO' })
    await cluster.chunkserver(gone[0]!).start()
    await cluster.until('endangered', ({ chunks }) => chunks.endangered === 1 && chunks.lost === 0)
    expect((await read(await cluster.client(), 'f')).equals(bytes)).toBe(true)
    await cluster.chunkserver(gone[1]!).start()
    await cluster.until('safe', ({ chunks }) => chunks.safe === 1 && chunks.endangered === 0 && chunks.under === 0)
  } finally {
    await cluster.stop()
  }
})

test('a chunk in parts that is mostly dead is rewritten from its parts', { timeout: LONG }, async () => {
  const cluster = await MemoryCluster.start({ chunkservers: 5, clock: fastClock(20) })
  try {
    const bytes = bytesOf(11, 9_000_000)
    await write(cluster, 'f', bytes)
    const [chunk] = await chunksOf(cluster, '/f')
    await cluster.command(wish(chunk!, { data: 2, parity: 1 }))
    await until('cut', () => isCut(cluster, chunk!))
    const parts = cluster.record(chunk!)!.ec!.parts
    const client = await cluster.client()
    const { ino } = await client.lookup(ROOT_INO, 'f', root)
    await client.setattr(ino, { size: 1_000_000 }, root)
    await until('rewritten', () => [chunk!, ...parts].every((id) => cluster.record(id) === undefined))
    expect((await read(await cluster.client(), 'f')).equals(bytes.subarray(0, 1_000_000))).toBe(true)
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

/**
 * Every step of cutting a chunk and putting it together again is some operation on some disk; whoever is at it then is killed there,
 * or the master is, and comes back. Time passes faster: an order that failed is not given again for ten seconds.
 */
test.each(['the chunkserver at work', 'the master'])(
  'a chunk loses no byte when %s is killed at any step of being cut and put together',
  {
    timeout: LONG,
  },
  async (victim) => {
    const SERVERS = 5
    const STEPS = 6
    const cluster = await MemoryCluster.start({ chunkservers: SERVERS, graceMs: 4_000, clock: fastClock(4) })
    try {
      const client = await cluster.client()
      let operations = 0
      let killAt = Number.POSITIVE_INFINITY
      let killing: Promise<void> | undefined
      const killAndRestart = async (server: number): Promise<void> => {
        await (victim === 'the master' ? cluster.killMaster() : cluster.chunkserver(server).kill())
        await realClock.sleep(100)
        await (victim === 'the master' ? cluster.startMaster() : cluster.chunkserver(server).start())
      }
      const watch = (): void => {
        for (let server = 0; server < SERVERS; server++)
          cluster.chunkserver(server).disk.fail = (_operation, path) => {
            if (path.startsWith('chunks/') && ++operations === killAt) killing = killAndRestart(server)
          }
      }
      // What it takes undisturbed, then the same with a kill at one step after the other.
      const settle = async (chunk: ChunkId, cut: boolean, parts: () => readonly ChunkId[]): Promise<void> => {
        operations = 0
        watch()
        await cluster.command(wish(chunk, cut ? { data: 2, parity: 1 } : undefined))
        const done = (): boolean => {
          const record = cluster.record(chunk)
          return cut ? isCut(cluster, chunk) : record?.ec === undefined && record?.disks.length === 2
        }
        await until(cut ? 'cut' : 'put together', async () => {
          await killing
          return done()
        })
        if (!cut) await until('parts are forgotten', () => parts().every((part) => cluster.record(part) === undefined))
      }
      for (const cut of [true, false]) {
        const bytes = bytesOf(1, 700_000)
        let undisturbed = 0
        for (let step = 0; step <= STEPS; step++) {
          const name = `${cut ? 'cut' : 'together'}-${step}`
          await write(cluster, name, bytes)
          const [chunk] = await chunksOf(cluster, `/${name}`)
          let parts: readonly ChunkId[] = []
          killAt = Number.POSITIVE_INFINITY
          if (!cut) {
            await settle(chunk!, true, () => parts)
            parts = cluster.record(chunk!)!.ec!.parts
          }
          killing = undefined
          killAt = step === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.round((undisturbed * (step - 0.5)) / STEPS))
          await settle(chunk!, cut, () => parts)
          if (step === 0) undisturbed = operations
          else expect(killing, `${name}: nobody was killed at ${killAt} of ${undisturbed}`).toBeDefined()
          expect((await read(client, name)).equals(bytes), `${name}, killed at ${killAt} of ${undisturbed}`).toBe(true)
        }
      }
      await until('nothing is found', async () => (await cluster.findings()).length === 0)
      const files = (): number =>
        Array.from({ length: SERVERS }, (_, i) => cluster.chunkserver(i).disk.names())
          .flat()
          .filter((path) => path.endsWith('.chunk')).length
      await until('no file is left over', () => files() === (STEPS + 1) * (3 + 2))
      for (const cut of [true, false])
        for (let step = 0; step <= STEPS; step++)
          expect(
            (await read(await cluster.client(), `${cut ? 'cut' : 'together'}-${step}`)).equals(bytesOf(1, 700_000)),
          ).toBe(true)
    } finally {
      await cluster.stop()
    }
  },
)
