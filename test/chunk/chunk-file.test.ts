/*
 * What a chunk file promises across appends, syncs, crashes and damage, over a disk in memory that loses what it may lose.
 */

import { beforeEach, describe, expect, test } from 'vitest'
import { errnoOf, FsError } from '../../src/base/fault.ts'
import { chunkId } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { DamagedBlocks } from '../../src/chunk/chunk-blocks.ts'
import { ChunkFile } from '../../src/chunk/chunk-file.ts'
import type { ChunkHome } from '../../src/chunk/chunk-home.ts'
import { DATA_OFFSET, PAGE_BYTES, TABLE_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import type { DiskFile } from '../../src/chunk/disk-io.ts'
import { QuickReads } from '../../src/chunk/quick-reads.ts'
import { QuickWrites } from '../../src/chunk/quick-writes.ts'
import { MemoryDisk, SystemError } from '../support/memory-disk.ts'
import fc from '../support/properties.ts'

const CHUNK = chunkId(0x1234)
const PATH = 'c.chunk'

const clock = {
  now: () => ({ sec: 0, nsec: 0 }),
  monotonicMs: () => 0,
  sleep: async () => {},
  timer: () => () => {},
}

/** `quick` false sends every write over the asynchronous path. */
function homeOn(disk: MemoryDisk, quick = true): ChunkHome {
  const writes = new QuickWrites(clock)
  if (!quick) writes.allowed = () => false
  return {
    quick: writes,
    quickReads: new QuickReads(clock),
    failure: (error) =>
      error instanceof FsError ? error : new FsError(errnoOf(error) ?? 'EIO', String(error), { cause: error }),
    syncGate: (work) => work(),
    syncDir: (dir) => disk.syncDir(dir),
  }
}
const create = async (disk: MemoryDisk, quick = true) =>
  ChunkFile.create(await disk.open(PATH, 'create'), CHUNK, homeOn(disk, quick), '.', 1_700_000_000_000)
const open = async (disk: MemoryDisk, quick = true) =>
  ChunkFile.open(await disk.open(PATH, 'write'), CHUNK, homeOn(disk, quick), '.')

/** Bytes that say where they are, so that a misplaced block cannot look right. */
const content = new Uint8Array(6 * BLOCK_BYTES)
for (let i = 0, x = 1; i < content.length; i++) {
  x = (x * 1103515245 + 12345) & 0x7fffffff
  content[i] = x >> 16
}
const part = (from: number, to: number) => [content.subarray(from, to)]
const expectBytes = (got: Buffer, from: number, to: number) =>
  expect(Buffer.compare(got, content.subarray(from, to)), `bytes ${from} … ${to}`).toBe(0)

let disk: MemoryDisk
beforeEach(() => {
  disk = new MemoryDisk()
})

/** The file, with its asynchronous reads held until `go`. */
function slowReads(file: DiskFile): { file: DiskFile; go: () => void } {
  let go: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const held: DiskFile = {
    read: async (...where) => {
      await gate
      return file.read(...where)
    },
    readNow: (...where) => file.readNow(...where),
    write: (...what) => file.write(...what),
    writeNow: (...what) => file.writeNow(...what),
    datasync: () => file.datasync(),
    truncate: (length) => file.truncate(length),
    size: () => file.size(),
    close: () => file.close(),
  }
  return { file: held, go: () => go() }
}

describe('a seal', () => {
  test('that is durable is a seal, whether the scrap behind it can be cut or not', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 1000))
    disk.fail = (operation) => {
      if (operation === 'truncate') throw new SystemError('EIO')
    }
    const digest = await file.seal(600)
    expect(await file.seal(600)).toBe(digest)
    await expect(file.seal(500)).rejects.toMatchObject({ code: 'ERANGE' })
    disk.fail = () => {}
    disk = disk.crash(() => false)
    const again = await open(disk)
    expect([again.sealed, again.length, again.digest]).toEqual([true, 600, digest])
    expectBytes(await again.read(0, 1000), 0, 600)
  })
})

describe('while something else goes on', () => {
  test('a read, and a check of everything, that a shorter seal overtakes find no damage', async () => {
    const { file: slow, go } = slowReads(await disk.open(PATH, 'create'))
    const file = await ChunkFile.create(slow, CHUNK, homeOn(disk), '.', 0)
    const length = 5 * BLOCK_BYTES + 500
    const end = BLOCK_BYTES + 100
    await file.append(0, part(0, length))
    const reading = file.read(0, end)
    const checking = file.verify()
    const fetching = file.fetch(0, 10)
    await file.seal(2 * BLOCK_BYTES).catch(() => {})
    expect(file.length).toBe(2 * BLOCK_BYTES)
    go()
    expectBytes(await reading, 0, end)
    expect(await checking).toEqual([])
    const fetched = await fetching
    expect([fetched.length, fetched.data.length, fetched.crcs.length]).toEqual([2 * BLOCK_BYTES, 2 * BLOCK_BYTES, 2])
  })

  test('small reads at once, one of which a seal cuts off, each answer what is there', async () => {
    const home = homeOn(disk)
    home.quickReads.slow = true
    const { file: slow, go } = slowReads(await disk.open(PATH, 'create'))
    const file = await ChunkFile.create(slow, CHUNK, home, '.', 0)
    await file.append(0, part(0, 2 * BLOCK_BYTES + 5000))
    const within = file.read(BLOCK_BYTES + 300, 4096)
    const beyond = file.read(2 * BLOCK_BYTES + 100, 4096)
    await file.seal(2 * BLOCK_BYTES)
    go()
    expectBytes(await within, BLOCK_BYTES + 300, BLOCK_BYTES + 300 + 4096)
    expect(await beyond).toHaveLength(0)
    // Read into the buffers of before; what was answered from them stays.
    const first = await file.read(10, 100)
    expectBytes(await file.read(BLOCK_BYTES + 10, 100), BLOCK_BYTES + 10, BLOCK_BYTES + 110)
    expectBytes(first, 10, 110)
  })

  test('one file is synced by one sync at a time, whenever the next is asked for', async () => {
    for (let depth = 0; depth < 12; depth++) {
      const own = new MemoryDisk()
      const raw = await own.open(PATH, 'create')
      let running = 0
      let most = 0
      const counted: DiskFile = Object.assign(Object.create(raw) as DiskFile, {
        writeNow: raw.writeNow.bind(raw),
        write: raw.write.bind(raw),
        datasync: async () => {
          most = Math.max(most, ++running)
          await raw.datasync()
          await new Promise((resolve) => setImmediate(resolve))
          running--
        },
      })
      const home = homeOn(own)
      let ended: () => void = () => {}
      const file = await ChunkFile.create(
        counted,
        CHUNK,
        {
          ...home,
          syncGate: async (work) => {
            await work()
            ended()
          },
        },
        '.',
        0,
      )
      await file.append(0, part(0, 100))
      await file.sync(100)
      await file.append(100, part(100, 200))
      const first = file.sync(200)
      await file.append(200, part(200, 300))
      const second = file.sync(300)
      await file.append(300, part(300, 400))
      let third: Promise<void> | undefined
      ended = () => {
        ended = () => {}
        let chain = Promise.resolve()
        for (let i = 0; i < depth; i++) chain = chain.then(() => {})
        third = chain.then(() => file.sync(400))
      }
      await Promise.all([first, second])
      await third
      expect([depth, most, file.durableLength]).toEqual([depth, 1, 400])
    }
  })
})

describe('append and read', () => {
  test('bytes come back as they were sent, across block boundaries, and no more than are there', async () => {
    const file = await create(disk)
    expect(await file.append(0, part(0, 100))).toBe(100)
    expect(await file.append(100, part(100, 200_000))).toBe(200_000)
    expectBytes(await file.read(0, 200_000), 0, 200_000)
    expectBytes(await file.read(65_530, 20), 65_530, 65_550)
    expectBytes(await file.read(199_990, 4096), 199_990, 200_000)
    expect((await file.read(200_000, 10)).length).toBe(0)
  })

  test('a small append answers at once, without a promise', async () => {
    const file = await create(disk)
    expect(file.append(0, part(0, 4096))).toBe(4096)
  })

  test('an append that was already made is skipped, one that overlaps adds its new part, a gap is ERANGE', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 1000))
    expect(await file.append(0, part(0, 1000))).toBe(1000)
    expect(await file.append(500, part(500, 1500))).toBe(1500)
    expectBytes(await file.read(0, 2000), 0, 1500)
    expect(() => file.append(1501, part(1501, 1502))).toThrow(/1500/)
  })

  test('appends that queue while one is written go out together and are all answered', async () => {
    const file = await create(disk, false)
    const sent = []
    for (let i = 0; i < 40; i++) sent.push(file.append(i * 5000, part(i * 5000, (i + 1) * 5000)))
    const writes: number[] = []
    disk.onWrite = (_path, at, bytes) => {
      if (at >= DATA_OFFSET) writes.push(bytes)
      return undefined
    }
    expect(await Promise.all(sent)).toEqual(sent.map((_, i) => (i + 1) * 5000))
    expect(writes.length).toBeLessThanOrEqual(2)
    expectBytes(await file.read(0, 200_000), 0, 200_000)
  })

  test('when a gathered write fails, everything behind it fails, and the writer goes on from the old end', async () => {
    const file = await create(disk, false)
    await file.append(0, part(0, 1000))
    disk.fail = (operation) => {
      if (operation === 'write') throw new SystemError('ENOSPC')
    }
    const results = await Promise.allSettled([file.append(1000, part(1000, 2000)), file.append(2000, part(2000, 3000))])
    expect(results.map((result) => result.status === 'rejected' && errnoOf(result.reason))).toEqual([
      'ENOSPC',
      'ENOSPC',
    ])
    disk.fail = () => {}
    expect(file.length).toBe(1000)
    expect(await file.append(1000, part(1000, 3000))).toBe(3000)
    expectBytes(await file.read(0, 3000), 0, 3000)
  })

  test('many small synced appends read back although zeros were written ahead of them, and the seal cuts the zeros', async () => {
    const file = await create(disk)
    for (let i = 0; i < 60; i++) {
      await file.append(i * 4096, part(i * 4096, (i + 1) * 4096))
      await file.sync((i + 1) * 4096)
    }
    expect(disk.bytesOf(PATH).length).toBeGreaterThan(DATA_OFFSET + 60 * 4096)
    expectBytes(await file.read(0, 60 * 4096), 0, 60 * 4096)
    const again = await open(disk.crash(() => true))
    expect(again.length).toBe(60 * 4096)
    await file.seal(60 * 4096)
    expect(disk.bytesOf(PATH).length).toBe(DATA_OFFSET + 60 * 4096)
  })
})

describe('sync', () => {
  test('syncs that arrive while one runs share the next', async () => {
    const file = await create(disk)
    let syncs = 0
    disk.fail = (operation) => {
      if (operation === 'datasync') syncs++
    }
    await file.append(0, part(0, 100))
    const all = [file.sync(100)]
    for (let i = 1; i <= 20; i++) {
      file.append(i * 100, part(i * 100, (i + 1) * 100))
      all.push(file.sync((i + 1) * 100))
    }
    await Promise.all(all)
    // The disk in memory asks twice per sync: at its start and at its end.
    expect(syncs / 2).toBe(2)
    expect(file.durableLength).toBe(2100)
  })

  test('a sync of more than is there is ERANGE; the first sync also makes the name durable, later ones do not', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 100))
    await expect(file.sync(101)).rejects.toMatchObject({ code: 'ERANGE' })
    await file.sync(100)
    await file.append(100, part(100, 200))
    await file.sync(200)
    expect(disk.syncs).toEqual(['.'])
  })

  test('after a failed fdatasync nothing more is acknowledged, and what was durable stays readable', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 100))
    await file.sync(100)
    await file.append(100, part(100, 200))
    disk.fail = (operation) => {
      if (operation === 'datasync') throw new SystemError('EIO')
    }
    await expect(file.sync(200)).rejects.toMatchObject({ code: 'EIO' })
    disk.fail = () => {}
    await expect(file.sync(200)).rejects.toMatchObject({ code: 'EIO' })
    expect(() => file.append(200, part(200, 300))).toThrow()
    expectBytes(await file.read(0, 100), 0, 100)
  })
})

describe('seal', () => {
  test('cuts what is beyond, answers the same digest on every copy and on every repetition, and ends appending', async () => {
    const a = await create(disk)
    await a.append(0, part(0, 150_000))
    const other = new MemoryDisk()
    const b = await create(other, false)
    for (let at = 0; at < 140_000; at += 7000) await b.append(at, part(at, at + 7000))
    const digest = await a.seal(140_000)
    expect(await b.seal(140_000)).toBe(digest)
    expect(await a.seal(140_000)).toBe(digest)
    await expect(a.seal(139_999)).rejects.toMatchObject({ code: 'ERANGE' })
    expect(() => a.append(140_000, part(140_000, 140_001))).toThrow(FsError)
    expect(disk.bytesOf(PATH).length).toBe(DATA_OFFSET + 140_000)
    const again = await open(disk.crash(() => false))
    expect([again.sealed, again.length, again.digest]).toEqual([true, 140_000, digest])
    expectBytes(await again.read(0, 140_000), 0, 140_000)
    expect(again.digestFits()).toBe(true)
  })

  test('a power cut at any write of the seal leaves it sealed or open, with every byte below its length', async () => {
    for (let cutAt = 0; cutAt < 2; cutAt++) {
      for (const torn of [0, 1, 17, 63]) {
        const one = new MemoryDisk()
        const file = await create(one)
        await file.append(0, part(0, 100_000))
        await file.sync(100_000)
        let writes = 0
        one.onWrite = () => (writes++ === cutAt ? torn : undefined)
        await expect(file.seal(90_000)).rejects.toThrow()
        for (const keep of [true, false]) {
          const again = await open(one.crash(() => keep))
          expect(again.length).toBe(again.sealed ? 90_000 : 100_000)
          expectBytes(await again.read(0, 90_000), 0, 90_000)
          await again.seal(90_000)
        }
      }
    }
  })
})

describe('crashes', () => {
  test('a write torn at any byte of data, slots or record loses nothing that was synced', async () => {
    // The append crosses a block boundary, so it writes all three.
    const before = BLOCK_BYTES - 40
    const after = BLOCK_BYTES + 40
    for (let target = 0; target < 3; target++) {
      for (let torn = 0; torn < 80; torn++) {
        const one = new MemoryDisk()
        const file = await create(one)
        await file.append(0, part(0, before))
        await file.sync(before)
        let writes = 0
        one.onWrite = (_path, _at, bytes) => (writes++ === target && torn < bytes ? torn : undefined)
        try {
          await file.append(before, part(before, after))
        } catch (error) {
          expect(errnoOf(error)).toBe('EIO')
        }
        const left = one.dead ? one.killed().crash(() => true) : one.killed()
        const again = await open(left)
        expect([before, after]).toContain(again.length)
        expectBytes(await again.read(0, after), 0, again.length)
        // And it goes on from there.
        await again.append(again.length, part(again.length, after + 1000))
        expectBytes(await again.read(0, after + 1000), 0, after + 1000)
      }
    }
  })

  test('random appends, syncs, kills and power cuts: nothing synced is lost, nothing is returned wrong', async () => {
    const seed = Date.now() & 0x7fffffff
    console.log(`chunk-file crash seed ${seed}`)
    const action = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('append' as const),
          bytes: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 30_000 }), fc.constant(65_536)),
        }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('sync' as const), bytes: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('kill' as const), bytes: fc.constant(0) }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('power' as const), bytes: fc.integer({ min: 0, max: 4 }) }),
      },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { maxLength: 40, size: 'max' }),
        fc.boolean(),
        fc.integer({ min: 1, max: 2 ** 30 }),
        async (actions, quick, luck) => {
          let world = new MemoryDisk()
          let file = await create(world, quick)
          let synced = 0
          let named = false
          let x = luck
          const chance = (percent: number) => {
            x = (Math.imul(x, 1664525) + 1013904223) >>> 0
            return (x >>> 8) % 100 < percent
          }
          for (const { kind, bytes } of actions) {
            if (kind === 'append') {
              const end = Math.min(file.length + bytes, content.length)
              expect(await file.append(file.length, part(file.length, end))).toBe(end)
            } else if (kind === 'sync') {
              await file.sync(file.length)
              synced = file.length
              named = true
            } else if (kind === 'kill') {
              const length = file.length
              world = world.killed()
              file = await open(world, quick)
              expect(file.length).toBe(length)
            } else if (named) {
              world = world.crash(() => chance(bytes * 25))
              file = await open(world, quick)
              expect(file.length).toBeGreaterThanOrEqual(synced)
            }
            expectBytes(await file.read(0, content.length), 0, file.length)
          }
          const length = file.length
          await file.seal(length)
          const end = await open(world.crash(() => false))
          expect(end.length).toBe(length)
          expectBytes(await end.read(0, content.length), 0, length)
        },
      ),
      { seed, numRuns: 400 },
    )
  })
})

describe('damage', () => {
  test('a flipped bit anywhere in the data is found by exactly the reads that touch its block', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 200_000))
    await file.seal(200_000)
    for (const at of [0, 65_535, 65_536, 150_000, 199_999]) {
      disk.flip(PATH, DATA_OFFSET + at, at % 8)
      const block = Math.floor(at / BLOCK_BYTES)
      await expect(file.read(at, 1)).rejects.toMatchObject({ code: 'EBADMSG', blocks: [block] })
      await expect(file.fetch(block, 1)).rejects.toThrow(DamagedBlocks)
      const elsewhere = (block + 1) % 4
      expectBytes(await file.read(elsewhere * BLOCK_BYTES, 10), elsewhere * BLOCK_BYTES, elsewhere * BLOCK_BYTES + 10)
      expect(await file.verify()).toEqual([block])
      disk.flip(PATH, DATA_OFFSET + at, at % 8)
    }
    expect(await file.verify()).toEqual([])
  })

  test('a repaired block is whole again; a block that is not the same, or did not arrive whole, is refused', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 150_000))
    await file.seal(150_000)
    disk.flip(PATH, DATA_OFFSET + 70_000)
    disk.flip(PATH, DATA_OFFSET + 149_000)
    const source = await create(new MemoryDisk())
    await source.append(0, part(0, 150_000))
    expect(await file.verify()).toEqual([1, 2])
    for (const block of [1, 2]) {
      const good = await source.fetch(block, 1)
      await expect(file.repairBlock(block, good.data.subarray(1), good.crcs[0]!)).rejects.toMatchObject({
        code: 'EBADMSG',
      })
      await file.repairBlock(block, good.data, good.crcs[0]!)
    }
    await file.repaired()
    expect(await file.verify()).toEqual([])
    expect(file.digestFits()).toBe(true)
  })

  test('a rotten slot of the CRC table is found, and repaired with its block', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 150_000))
    await file.seal(150_000)
    disk.flip(PATH, TABLE_OFFSET + 4)
    const again = await open(disk)
    expect(again.digestFits()).toBe(false)
    expect(await again.verify()).toEqual([1])
    const good = await create(new MemoryDisk())
    await good.append(0, part(0, 150_000))
    const fetched = await good.fetch(1, 1)
    await again.repairBlock(1, fetched.data, fetched.crcs[0]!)
    const third = await open(disk)
    expect([third.digestFits(), await third.verify()]).toEqual([true, []])
  })

  test('one bad sector of the seal does not unseal', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 1000))
    await file.seal(1000)
    disk.flip(PATH, 6 * 512 + 20)
    expect((await open(disk)).sealed).toBe(true)
  })

  test('a truncated file answers what it still has and names the blocks it lost', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 200_000))
    await file.seal(200_000)
    disk.setBytes(PATH, Buffer.from(disk.bytesOf(PATH).subarray(0, DATA_OFFSET + 100_000)))
    const again = await open(disk)
    expect(again.damagedAtOpen).toEqual([1, 2, 3])
    expectBytes(await again.read(0, 65_536), 0, 65_536)
    expect(await again.verify()).toEqual([1, 2, 3])
  })

  test('durable bytes of an open chunk that rotted are reported, never cut off silently, and not appended to', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 100_000))
    await file.sync(100_000)
    await file.append(100_000, part(100_000, 100_001))
    disk.flip(PATH, DATA_OFFSET + 99_000)
    const again = await open(disk)
    expect([again.length, again.damagedAtOpen]).toEqual([100_000, [1]])
    expect(() => again.append(100_000, part(100_000, 100_010))).toThrow()
    await expect(again.read(90_000, 10)).rejects.toMatchObject({ code: 'EBADMSG' })
    expectBytes(await again.read(0, 1000), 0, 1000)
  })

  test('garbage, another chunk, a cut header and an empty file are refused as damaged', async () => {
    const file = await create(disk)
    await file.append(0, part(0, 1000))
    await file.sync(1000)
    const good = Buffer.from(disk.bytesOf(PATH))
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(20_000, 7), good.subarray(0, PAGE_BYTES - 1)]) {
      disk.setBytes(PATH, Buffer.from(bytes))
      await expect(open(disk)).rejects.toMatchObject({ code: 'EBADMSG' })
    }
    disk.setBytes(PATH, good)
    await expect(ChunkFile.open(await disk.open(PATH, 'write'), chunkId(9), homeOn(disk), '.')).rejects.toThrow(
      /0000000000001234/,
    )
  })
})
