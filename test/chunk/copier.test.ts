/* Copies, repairs and compactions between chunkservers, with everything that may go wrong in between. */

import { beforeEach, describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { readFor } from '../../src/master/core/compaction.ts'
import { ChunkNode } from '../support/chunk-node.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SystemError } from '../support/memory-disk.ts'

const MiB = 1024 * 1024
const A = chunkId(0x51)
const LENGTH = 5 * MiB + 12_345
const bytes = Buffer.alloc(LENGTH)
for (let i = 0, x = 7; i < LENGTH; i++) {
  x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
  bytes[i] = x >> 16
}
const pathOf = (chunk: ChunkId, kind = 'chunk') =>
  `chunks/${(chunk % 256).toString(16).padStart(2, '0')}/${chunkName(chunk)}.${kind}`

let clock: ManualClock
let one: ChunkNode
let two: ChunkNode
let three: ChunkNode
let digest: string

async function fill(node: ChunkNode, chunk: ChunkId, from = 0, to = LENGTH): Promise<string> {
  for (let at = from; at < to; at += MiB)
    await node.disk.chunks.append(chunk, at - from, [bytes.subarray(at, Math.min(at + MiB, to))], at === from)
  return node.disk.chunks.seal(chunk, to - from)
}
const holds = async (node: ChunkNode, chunk: ChunkId, from = 0, to = LENGTH) => {
  for (let at = from; at < to; at += 4 * MiB) {
    const end = Math.min(at + 4 * MiB, to)
    if (!(await node.disk.chunks.read(chunk, at - from, end - at)).equals(bytes.subarray(at, end))) return false
  }
  return true
}

beforeEach(async () => {
  clock = new ManualClock()
  const net = new Map<number, ChunkNode>()
  one = await new ChunkNode(1, net, clock).start()
  two = await new ChunkNode(2, net, clock).start()
  three = await new ChunkNode(3, net, clock).start()
  digest = await fill(one, A)
})

describe('a copy', () => {
  test('is the same, sealed, durable before it is answered, and counted only then', async () => {
    expect(await two.copier.copy(two.id, A, LENGTH, [one.place], 0)).toBe(LENGTH)
    expect(await two.disk.chunks.seal(A, LENGTH)).toBe(digest)
    expect(await holds(two, A)).toBe(true)
    const after = await new ChunkNode(
      2,
      new Map(),
      clock,
      two.io.crash(() => false),
    ).start()
    expect(await after.disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: LENGTH })
    expect(two.disk.report().usedBytes).toBe(LENGTH)
    expect(two.io.names().filter((name) => name.endsWith('.copy'))).toEqual([])
  })

  test('ordered again, while it runs or later, is not made again', async () => {
    const asked: string[] = []
    one.peer.before = (name) => void asked.push(name)
    const both = await Promise.all([
      two.copier.copy(two.id, A, LENGTH, [one.place], 0),
      two.copier.copy(two.id, A, LENGTH, [one.place], 0),
    ])
    expect(both).toEqual([LENGTH, LENGTH])
    expect(asked.length).toBe(6)
    expect(await two.copier.copy(two.id, A, LENGTH, [one.place], 0)).toBe(0)
  })

  test('goes on where an earlier try ended, also after a crash of the target', async () => {
    let calls = 0
    one.peer.before = () => {
      if (++calls > 3) throw new FsError('ECONNRESET', 'cut')
    }
    await expect(two.copier.copy(two.id, A, LENGTH, [one.place], 0)).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(await two.disk.chunks.verify(A, false)).toEqual({ state: 'gone', length: 0 })
    const net = new Map([[1, one]])
    const again = await new ChunkNode(2, net, clock, two.io.killed()).start()
    one.peer.before = () => {}
    expect(await again.copier.copy(again.id, A, LENGTH, [one.place], 0)).toBe(LENGTH - 3 * MiB)
    expect(await holds(again, A)).toBe(true)
  })

  test('that nobody goes on with is given up after an hour, also after a restart', async () => {
    let calls = 0
    one.peer.before = () => {
      if (++calls > 3) throw new FsError('ECONNRESET', 'cut')
    }
    await expect(two.copier.copy(two.id, A, LENGTH, [one.place], 0)).rejects.toMatchObject({ code: 'ECONNRESET' })
    const again = await new ChunkNode(2, new Map(), clock, two.io.killed()).start()
    clock.ms += 3_599_000
    await again.disk.probe()
    expect(again.io.names()).toContain(pathOf(A, 'copy'))
    clock.ms += 2_000
    await again.disk.probe()
    expect(again.io.names()).not.toContain(pathOf(A, 'copy'))
  })

  test('when a source fails or lies, the next goes on', async () => {
    await fill(three, A)
    let calls = 0
    one.peer.onBulk = (_name, bulk) => {
      if (++calls === 3) bulk[70_000]! ^= 1
      return bulk
    }
    expect(await two.copier.copy(two.id, A, LENGTH, [one.place, three.place], 0)).toBe(LENGTH)
    expect(await holds(two, A)).toBe(true)
  })

  test('a damaged source is EBADMSG when there is no other, and reports its own damage', async () => {
    one.io.flip(pathOf(A), DATA_OFFSET + 3 * BLOCK_BYTES)
    await expect(two.copier.copy(two.id, A, LENGTH, [one.place], 0)).rejects.toMatchObject({ code: 'EBADMSG' })
    expect(one.damages).toEqual([{ chunk: A, blocks: [3] }])
    expect(await two.disk.chunks.verify(A, false)).toEqual({ state: 'gone', length: 0 })
  })

  test('a full target is ENOSPC at once, and nothing is counted', async () => {
    two.io.fail = (operation, path) => {
      if (operation === 'write' && path.endsWith('.copy')) throw new SystemError('ENOSPC')
    }
    await expect(two.copier.copy(two.id, A, LENGTH, [one.place, one.place], 0)).rejects.toMatchObject({
      code: 'ENOSPC',
    })
    expect(two.disk.report()).toMatchObject({ chunks: 0, usedBytes: 0, state: 'full' })
  })

  test('replaces a damaged copy on the same disk', async () => {
    await fill(two, A)
    two.io.setBytes(pathOf(A), Buffer.alloc(100))
    const again = await new ChunkNode(
      2,
      new Map([[1, one]]),
      clock,
      two.io.crash(() => true),
    ).start()
    expect(await again.disk.chunks.verify(A, true)).toMatchObject({ state: 'damaged' })
    expect(await again.copier.copy(again.id, A, LENGTH, [one.place], 0)).toBe(LENGTH)
    expect(await again.disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: LENGTH })
  })

  test('keeps its pace', async () => {
    const before = clock.ms
    await two.copier.copy(two.id, A, LENGTH, [one.place], MiB)
    const seconds = (clock.ms - before) / 1000
    expect(seconds).toBeGreaterThan(4)
    expect(seconds).toBeLessThan(8)
  })

  test('that is called off leaves what it has; the same order goes on with it as soon as that has let go', async () => {
    const stop = new AbortController()
    let asked = 0
    one.peer.before = () => {
      // Behind what a pace lets go at once: by then some of it has come.
      if (++asked === 8) stop.abort(new FsError('EINTR'))
    }
    const slow = two.copier.copy(two.id, A, LENGTH, [one.place], MiB, stop.signal)
    const failed = expect(slow).rejects.toMatchObject({ code: 'EINTR' })
    while (!stop.signal.aborted) await new Promise((resolve) => setImmediate(resolve))
    const rest = await two.copier.copy(two.id, A, LENGTH, [one.place], 0, undefined, true)
    await failed
    expect(rest).toBeLessThan(LENGTH)
    expect(rest).toBeGreaterThan(0)
    expect(await holds(two, A)).toBe(true)
  })

  test('holds a window of ranges in flight, not the whole chunk', async () => {
    let flying = 0
    let most = 0
    one.peer.before = async () => {
      most = Math.max(most, ++flying)
      await new Promise((resolve) => setImmediate(resolve))
    }
    one.peer.onBulk = (_name, bulk) => {
      flying--
      return bulk
    }
    await two.copier.copy(two.id, A, LENGTH, [one.place], 0)
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(8)
  })
})

describe('a repair', () => {
  test('rewrites the named blocks, the last one too, and the copy is whole', async () => {
    await fill(two, A)
    const last = Math.floor(LENGTH / BLOCK_BYTES)
    two.io.flip(pathOf(A), DATA_OFFSET + 3 * BLOCK_BYTES + 9)
    two.io.flip(pathOf(A), DATA_OFFSET + LENGTH - 1)
    expect(await two.copier.repair(two.id, A, [3, last], [two.place, one.place], 0)).toBe(2)
    expect(await holds(two, A)).toBe(true)
  })

  test('without named blocks finds them itself', async () => {
    await fill(two, A)
    two.io.flip(pathOf(A), DATA_OFFSET + 7 * BLOCK_BYTES + 9)
    expect(await two.copier.repair(two.id, A, [], [one.place], 0)).toBe(1)
    expect(await two.disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: LENGTH })
  })

  test('of a file that is no chunk any more copies it whole', async () => {
    await fill(two, A)
    two.io.setBytes(pathOf(A), Buffer.alloc(50_000, 1))
    const again = await new ChunkNode(
      2,
      new Map([[1, one]]),
      clock,
      two.io.crash(() => true),
    ).start()
    await again.copier.repair(again.id, A, [], [one.place], 0)
    expect(await again.disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: LENGTH })
    expect(await holds(again, A)).toBe(true)
  })

  test('keeps its pace, of single blocks and of a whole copy', async () => {
    await fill(two, A)
    const taken = async (work: () => Promise<unknown>) => {
      const before = clock.ms
      await work()
      return (clock.ms - before) / 1000
    }
    for (const block of [3, 20, 40, 60]) two.io.flip(pathOf(A), DATA_OFFSET + block * BLOCK_BYTES)
    const some = await taken(() => two.copier.repair(two.id, A, [3, 20, 40, 60], [one.place], BLOCK_BYTES))
    expect(some).toBeGreaterThan(3)
    expect(some).toBeLessThan(5)
    two.io.setBytes(pathOf(A), Buffer.alloc(50_000, 1))
    const again = await new ChunkNode(
      2,
      new Map([[1, one]]),
      clock,
      two.io.crash(() => true),
    ).start()
    const all = await taken(() => again.copier.repair(again.id, A, [], [one.place], MiB))
    expect(all).toBeGreaterThan(4)
    expect(all).toBeLessThan(8)
  })

  test('without a good source leaves the copy as it was and says so', async () => {
    await fill(two, A)
    one.io.flip(pathOf(A), DATA_OFFSET + 3 * BLOCK_BYTES)
    two.io.flip(pathOf(A), DATA_OFFSET + 3 * BLOCK_BYTES)
    await expect(two.copier.repair(two.id, A, [3], [one.place], 0)).rejects.toMatchObject({ code: 'EBADMSG' })
    expect((await two.disk.chunks.read(A, 0, 100)).equals(bytes.subarray(0, 100))).toBe(true)
  })
})

describe('compaction', () => {
  test('puts ranges of several chunks together on every target, durable, and again gives the same', async () => {
    const B = chunkId(0x52)
    const C = chunkId(0x53)
    await fill(three, B, 1000, 2 * MiB)
    const source = (chunk: ChunkId, node: ChunkNode, length: number) => ({
      chunk,
      sealed: true,
      length,
      places: [node.place],
      ec: undefined,
    })
    const ranges = [
      { source: source(A, one, LENGTH), offset: 10, length: 100 },
      { source: source(A, one, LENGTH), offset: 65_500, length: 100_000 },
      { source: source(B, three, 2 * MiB - 1000), offset: 0, length: MiB },
      { source: source(A, one, LENGTH), offset: LENGTH - 5, length: 5 },
    ]
    const expected = Buffer.concat([
      bytes.subarray(10, 110),
      bytes.subarray(65_500, 165_500),
      bytes.subarray(1000, 1000 + MiB),
      bytes.subarray(LENGTH - 5),
    ])
    for (let round = 0; round < 2; round++)
      expect(await two.copier.compact(ranges, C, [two.place, three.place], 0)).toBe(expected.length)
    for (const node of [two, three]) {
      const after = await new ChunkNode(
        9,
        new Map(),
        clock,
        node.io.crash(() => false),
      ).start()
      expect((await after.disk.chunks.read(C, 0, expected.length)).equals(expected)).toBe(true)
      expect(await after.disk.chunks.verify(C, true)).toEqual({ state: 'open', length: expected.length })
    }
  })

  test('keeps its pace, and reads as much as the master counts on', async () => {
    const source = { chunk: A, sealed: true, length: LENGTH, places: [one.place], ec: undefined }
    const pieces = [10, 65_500, 70_000, 1_200_000, 900_000, 3 * MiB + 5, LENGTH - 5]
    const ranges = pieces.map((offset, i) => ({ source, offset, length: Math.min(40_000 * (i + 1), LENGTH - offset) }))
    let fetched = 0
    one.peer.onBulk = (_name, bulk) => {
      fetched += bulk.length
      return bulk
    }
    const before = clock.ms
    await two.copier.compact(ranges, chunkId(0x55), [two.place], MiB)
    const counted = readFor(
      ranges.map(({ offset, length }) => ({ chunk: A, offset, length })),
      () => LENGTH,
    )
    expect([...counted]).toEqual([[A, fetched]])
    const seconds = (clock.ms - before) / 1000
    expect(seconds).toBeGreaterThan(fetched / MiB - 0.5)
    expect(seconds).toBeLessThan(fetched / MiB + 2)
  })

  test('fails when a target fails', async () => {
    three.peer.before = () => {
      throw new FsError('ECONNREFUSED', 'down')
    }
    const source = { chunk: A, sealed: true, length: LENGTH, places: [one.place], ec: undefined }
    const ranges = [{ source, offset: 0, length: 100 }]
    await expect(two.copier.compact(ranges, chunkId(0x54), [two.place, three.place], 0)).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    })
  })
})
