/* Chunks cut into parts, parts made anew, chunks put together again: between chunkservers, with everything that may go wrong. */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { partLengths } from '../../src/topology/stripe.ts'
import { ChunkNode } from '../support/chunk-node.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { choices, contentOf, partId, Striped, WHOLE } from '../support/striped.ts'

const MiB = 1024 * 1024
const pathOf = (chunk: ChunkId) => `chunks/${(chunk % 256).toString(16).padStart(2, '0')}/${chunkName(chunk)}.chunk`
const begun = (length: number, data: number, parity: number) =>
  new Striped(new ManualClock(), length, data, parity).begin()
const cut = async (length: number, data: number, parity: number) => (await begun(length, data, parity)).cut()

/** What a data part must hold, block by block. */
function dataPart({ bytes, data }: Striped, index: number): Buffer {
  const blocks: Buffer[] = []
  for (let block = index; block * BLOCK_BYTES < bytes.length; block += data)
    blocks.push(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES))
  return Buffer.concat(blocks)
}
const xored = (parts: readonly Buffer[], length: number): Buffer => {
  const out = Buffer.alloc(length)
  for (const part of parts) for (let i = 0; i < part.length; i++) out[i]! ^= part[i]!
  return out
}

describe('a chunk that is cut', () => {
  test.each([
    [4, 1, 5 * MiB + 12_345],
    [4, 2, 8 * BLOCK_BYTES],
    [8, 2, 3 * BLOCK_BYTES + 1],
    [2, 1, 100],
    [16, 4, 40 * BLOCK_BYTES - 7],
  ])('into %i+%i gives the parts that the layout says, durable before it is answered', async (data, parity, length) => {
    const striped = await begun(length, data, parity)
    const lengths = await striped.encode()
    expect(lengths).toEqual(partLengths(length, data, parity))
    const parts: Buffer[] = []
    for (const [i, node] of striped.nodes.entries()) {
      const after = await new ChunkNode(
        9,
        new Map(),
        new ManualClock(),
        node.io.crash(() => false),
      ).start()
      expect(await after.disk.chunks.verify(partId(i), true)).toEqual({ state: 'open', length: lengths[i] })
      parts.push(await contentOf(after, partId(i), lengths[i]!))
    }
    for (let i = 0; i < data; i++) expect(parts[i]!.equals(dataPart(striped, i)), `part ${i}`).toBe(true)
    expect(parts[data]!.equals(xored(parts.slice(0, data), lengths[0]!))).toBe(true)
  })

  test('again, while it is or later, gives the same and sends nothing twice', async () => {
    const striped = await begun(3 * MiB + 5, 4, 1)
    const appends: string[] = []
    for (const node of striped.nodes)
      node.peer.before = (name) => {
        if (name === 'append') appends.push(name)
      }
    const both = await Promise.all([striped.encode(), striped.encode()])
    expect(both[0]).toEqual(both[1])
    const { length } = appends
    expect(await striped.encode()).toEqual(both[0])
    expect(appends.length).toBe(length)
    for (const [i, node] of striped.nodes.entries()) await node.disk.chunks.seal(partId(i), both[0]![i]!)
    expect(await striped.encode()).toEqual(both[0])
  })

  test('goes on where an earlier try ended', async () => {
    const striped = await begun(8 * MiB, 4, 2)
    let appends = 0
    striped.nodes[5]!.peer.before = (name) => {
      if (name === 'append' && ++appends > 4) throw new FsError('ECONNRESET', 'cut')
    }
    await expect(striped.encode()).rejects.toMatchObject({ code: 'ECONNRESET' })
    const held = await striped.nodes[5]!.disk.chunks.verify(partId(5), false)
    expect(held.length).toBe(4 * 4 * BLOCK_BYTES)
    striped.nodes[5]!.peer.before = () => {}
    let sent = 0
    striped.nodes[5]!.peer.before = (name) => {
      if (name === 'append') sent++
    }
    expect(await striped.encode()).toEqual(partLengths(8 * MiB, 4, 2))
    expect(sent).toBe(4)
    await striped.cut()
    const again = await striped.further()
    await again.rebuilder.join(again.id, WHOLE, striped.whole(), 0)
    expect(await again.disk.chunks.seal(WHOLE, 8 * MiB)).toBe(striped.digest)
  })

  test.each(['killed', 'crash'] as const)(
    'goes on after a target was gone (%s) in the middle, also from elsewhere',
    async (how) => {
      for (const after of [1, 2, 5, 8]) {
        const striped = await begun(8 * MiB, 4, 1)
        const node = striped.nodes[2]!
        let appends = 0
        node.peer.before = (name) => {
          if (name === 'append' && ++appends === after) node.peer.close()
        }
        await expect(striped.encode()).rejects.toMatchObject({ code: 'ECONNRESET' })
        const left = how === 'killed' ? node.io.killed() : node.io.crash(() => false)
        striped.nodes[2] = await new ChunkNode(3, striped.net, new ManualClock(), left).start()
        const other = await striped.further()
        const lengths = await other.encoder.encode(striped.source, 4, 1, striped.targets, 0)
        expect(lengths).toEqual(partLengths(8 * MiB, 4, 1))
        await striped.cut()
        expect(await other.rebuilder.join(other.id, WHOLE, striped.whole([0]), 0)).toBe(8 * MiB)
        expect(await other.disk.chunks.seal(WHOLE, 8 * MiB), `cut off at append ${after}`).toBe(striped.digest)
      }
    },
  )

  test('fails with the part and the place when a target dies, and nothing counts as done', async () => {
    const striped = await begun(6 * MiB, 4, 1)
    let appends = 0
    const { peer } = striped.nodes[3]!
    peer.before = (name) => {
      if (name === 'append' && ++appends === 3) peer.close()
    }
    await expect(striped.encode()).rejects.toMatchObject({
      code: 'ECONNRESET',
      message: expect.stringMatching(/part 3, chunk 0+a03, cannot be written to disk 4 at node:4/),
    })
  })

  test('is refused while it is open, for a code that is none, and over chunks that hold something else', async () => {
    const striped = await begun(MiB, 2, 1)
    const { encoder } = striped.home
    const open = { ...striped.source, sealed: false }
    await expect(encoder.encode(open, 2, 1, striped.targets, 0)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(encoder.encode(striped.source, 3, 1, striped.targets, 0)).rejects.toMatchObject({ code: 'EINVAL' })
    await striped.nodes[1]!.disk.chunks.append(partId(1), 0, [Buffer.alloc(MiB)], true)
    await expect(striped.encode()).rejects.toMatchObject({ code: 'ERANGE' })
  })

  test('is not answered when a part is not on its disk as it was sent', async () => {
    const striped = await begun(MiB, 2, 1)
    const node = striped.nodes[2]!
    node.peer.before = (name) => {
      if (name === 'syncChunk') node.io.flip(pathOf(partId(2)), DATA_OFFSET + 70_000)
    }
    await expect(striped.encode()).rejects.toMatchObject({
      code: 'EBADMSG',
      message: expect.stringContaining('part 2'),
    })
    expect(node.damages).toEqual([{ chunk: partId(2), blocks: [1] }])
  })

  test('ends when the order is cancelled', async () => {
    const striped = await begun(8 * MiB, 4, 1)
    const stop = new AbortController()
    let appends = 0
    striped.nodes[0]!.peer.before = (name) => {
      if (name === 'append' && ++appends === 2) stop.abort(new FsError('ECANCELED', 'enough'))
    }
    await expect(striped.encode(stop.signal)).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(appends).toBeLessThan(8)
  })

  test('keeps its pace, and holds a few windows in flight, not the whole chunk', async () => {
    const clock = new ManualClock()
    const striped = await new Striped(clock, 16 * MiB, 4, 1).begin()
    let flying = 0
    let most = 0
    striped.nodes[0]!.peer.before = async (name) => {
      if (name !== 'append') return
      most = Math.max(most, ++flying)
      await new Promise((resolve) => setImmediate(resolve))
      flying--
    }
    const before = clock.ms
    await striped.encode(undefined, 2 * MiB)
    expect((clock.ms - before) / 1000).toBeGreaterThan(7)
    expect((clock.ms - before) / 1000).toBeLessThan(9)
    expect(most).toBeLessThanOrEqual(4)
  })

  test('can be cut anew from its parts into another code', async () => {
    const striped = await cut(3 * MiB + 777, 4, 2)
    const other = [await striped.further(201), await striped.further(202), await striped.further(203)]
    const targets = other.map((node, i) => ({ chunk: chunkId(0xb00 + i), target: node.place }))
    const lengths = await other[0]!.encoder.encode(striped.whole([1, 4]), 2, 1, targets, 0)
    const parts = await Promise.all(other.map((node, i) => contentOf(node, chunkId(0xb00 + i), lengths[i]!)))
    expect(parts[0]!.equals(dataPart({ bytes: striped.bytes, data: 2 } as Striped, 0))).toBe(true)
    expect(parts[1]!.equals(dataPart({ bytes: striped.bytes, data: 2 } as Striped, 1))).toBe(true)
  })
})

describe('a part that was lost', () => {
  test.each([
    [2, 1, 2 * MiB + 99],
    [4, 1, BLOCK_BYTES * 9 + 3],
    [4, 2, 3 * MiB + 12_345],
    [8, 2, 5 * BLOCK_BYTES - 1],
  ])('of %i+%i comes back the same, whichever others are lost with it', async (data, parity, length) => {
    const striped = await cut(length, data, parity)
    let n = 200
    for (const lost of choices(data + parity, parity)) {
      const index = lost[n % lost.length]!
      const node = await striped.further(++n)
      const { rebuilder, disk } = node
      const bytes = await rebuilder.rebuild(
        node.id,
        partId(index),
        striped.lengths[index]!,
        { whole: striped.whole(lost), index },
        0,
      )
      expect(bytes).toBe(striped.lengths[index])
      expect(await disk.chunks.verify(partId(index), true)).toEqual({ state: 'sealed', length: striped.lengths[index] })
      expect(await disk.chunks.seal(partId(index), striped.lengths[index]!), `part ${index} without ${lost}`).toBe(
        striped.digests[index],
      )
      expect(
        await rebuilder.rebuild(
          node.id,
          partId(index),
          striped.lengths[index]!,
          { whole: striped.whole(lost), index },
          0,
        ),
      ).toBe(0)
    }
  })

  test('is gone on with where an earlier try ended', async () => {
    const striped = await cut(16 * MiB, 4, 1)
    const node = await striped.further()
    let calls = 0
    striped.nodes[1]!.peer.before = () => {
      if (++calls > 2) throw new FsError('ECONNRESET', 'cut')
    }
    const order = () => node.rebuilder.rebuild(node.id, partId(0), 4 * MiB, { whole: striped.whole([0]), index: 0 }, 0)
    await expect(order()).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(await node.disk.chunks.verify(partId(0), false)).toEqual({ state: 'gone', length: 0 })
    striped.nodes[1]!.peer.before = () => {}
    expect(await order()).toBe(4 * MiB - 2 * 4 * BLOCK_BYTES)
    expect(await node.disk.chunks.seal(partId(0), 4 * MiB)).toBe(striped.digests[0])
  })

  test('comes back although every other part is damaged, each in another row', async () => {
    const striped = await cut(4 * 8 * BLOCK_BYTES, 4, 2)
    for (let i = 1; i < 6; i++) striped.nodes[i]!.io.flip(pathOf(partId(i)), DATA_OFFSET + i * BLOCK_BYTES + 5)
    const node = await striped.further()
    await node.rebuilder.rebuild(node.id, partId(0), striped.lengths[0]!, { whole: striped.whole(), index: 0 }, 0)
    expect(await node.disk.chunks.seal(partId(0), striped.lengths[0]!)).toBe(striped.digests[0])
    expect(striped.nodes[3]!.damages[0]).toEqual({ chunk: partId(3), blocks: [3] })
  })

  test('does not come back from too few, and nothing is left that counts', async () => {
    const striped = await cut(2 * MiB, 4, 1)
    const node = await striped.further()
    const order = node.rebuilder.rebuild(
      node.id,
      partId(0),
      striped.lengths[0]!,
      { whole: striped.whole([0, 2]), index: 0 },
      0,
    )
    await expect(order).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('only 3 parts can be read and 4 are needed'),
    })
    expect(node.disk.report()).toMatchObject({ chunks: 0 })
  })

  test('is refused when the chunk or its length is not what the whole says', async () => {
    const striped = await cut(2 * MiB, 4, 1)
    const { id, rebuilder } = striped.home
    const lost = { whole: striped.whole([0]), index: 0 }
    await expect(rebuilder.rebuild(id, partId(1), striped.lengths[0]!, lost, 0)).rejects.toMatchObject({
      code: 'EINVAL',
    })
    const parts = lost.whole.ec!.parts.map((part) => ({ ...part, length: part.length - 1 }))
    const shorter = { whole: { ...lost.whole, ec: { ...lost.whole.ec!, parts } }, index: 0 }
    await expect(rebuilder.rebuild(id, partId(0), striped.lengths[0]! - 1, shorter, 0)).rejects.toMatchObject({
      code: 'EINVAL',
    })
  })

  test('is read back before it counts', async () => {
    const striped = await cut(2 * MiB, 4, 1)
    const node = await striped.further()
    let at = -1
    node.io.onRead = (path) => {
      if (at < 0 && path.endsWith('.copy')) {
        at = DATA_OFFSET + 100
        node.io.flip(path, at)
      }
    }
    const order = () =>
      node.rebuilder.rebuild(node.id, partId(0), striped.lengths[0]!, { whole: striped.whole([0]), index: 0 }, 0)
    await expect(order()).rejects.toMatchObject({ code: 'EBADMSG' })
    expect(node.disk.report()).toMatchObject({ chunks: 0 })
    expect(await order()).toBe(striped.lengths[0])
  })
})

describe('a whole chunk', () => {
  test.each([
    [4, 1, 5 * MiB + 12_345],
    [8, 2, 3 * BLOCK_BYTES + 1],
    [2, 1, 1],
    [3, 4, 4 * MiB],
  ])('is put together again from %i+%i without any of the parts that may be lost', async (data, parity, length) => {
    const striped = await cut(length, data, parity)
    const lost = Array.from({ length: parity }, (_, i) => i)
    const node = await striped.further()
    expect(await node.rebuilder.join(node.id, WHOLE, striped.whole(lost), 0)).toBe(length)
    expect(await node.disk.chunks.verify(WHOLE, true)).toEqual({ state: 'sealed', length })
    expect(await node.disk.chunks.seal(WHOLE, length)).toBe(striped.digest)
    expect((await contentOf(node, WHOLE, length)).equals(striped.bytes)).toBe(true)
  })

  test('reads no parity while the data is there, and goes on where an earlier try ended', async () => {
    const striped = await cut(16 * MiB, 4, 1)
    const node = await striped.further()
    let calls = 0
    let parity = 0
    striped.nodes[4]!.peer.before = () => {
      parity++
      throw new FsError('ECONNRESET', 'cut')
    }
    await node.rebuilder.join(node.id, WHOLE, striped.whole(), 0)
    expect(parity).toBe(0)
    const other = await striped.further(102)
    striped.nodes[1]!.peer.before = () => {
      if (++calls > 3) throw new FsError('ECONNRESET', 'cut')
    }
    await expect(other.rebuilder.join(other.id, WHOLE, striped.whole(), 0)).rejects.toMatchObject({
      code: 'ECONNRESET',
    })
    striped.nodes[1]!.peer.before = () => {}
    expect(await other.rebuilder.join(other.id, WHOLE, striped.whole(), 0)).toBe(13 * MiB)
    expect(await other.disk.chunks.seal(WHOLE, 16 * MiB)).toBe(striped.digest)
  })

  test('of parts is a source of compactions', async () => {
    const striped = await cut(3 * MiB, 4, 1)
    const node = await striped.further()
    const ranges = [
      { source: striped.whole([2]), offset: 65_000, length: 2 * MiB },
      { source: striped.whole([2]), offset: 3 * MiB - 5, length: 5 },
    ]
    const length = await node.copier.compact(ranges, chunkId(0xc00), [node.place], 0)
    const expected = Buffer.concat([striped.bytes.subarray(65_000, 65_000 + 2 * MiB), striped.bytes.subarray(-5)])
    expect((await contentOf(node, chunkId(0xc00), length)).equals(expected)).toBe(true)
  })
})

test('random codes and lengths survive every random loss that they promise to', async () => {
  const seed = Date.now() & 0xffffff
  const random = seededRandom(seed)
  for (let round = 0; round < 12; round++) {
    const data = 2 + random.below(15)
    const parity = 1 + random.below(4)
    const length = 1 + random.below(40) * BLOCK_BYTES + random.below(BLOCK_BYTES)
    const striped = await cut(length, data, parity)
    const lost = new Set<number>()
    while (lost.size < parity) lost.add(random.below(data + parity))
    const why = `seed ${seed}: ${data}+${parity} of ${length} bytes without ${[...lost]}`
    const node = await striped.further()
    await node.rebuilder.join(node.id, WHOLE, striped.whole([...lost]), 0)
    expect(await node.disk.chunks.seal(WHOLE, length), why).toBe(striped.digest)
    for (const index of lost) {
      const partBytes = striped.lengths[index]!
      await node.rebuilder.rebuild(node.id, partId(index), partBytes, { whole: striped.whole([...lost]), index }, 0)
      expect(await node.disk.chunks.seal(partId(index), partBytes), `${why}, part ${index}`).toBe(
        striped.digests[index],
      )
    }
  }
})

describe('a damaged part', () => {
  test('is mended from the others, the last block too, with the blocks named or not', async () => {
    const striped = await cut(17 * BLOCK_BYTES + 77, 4, 1)
    for (const named of [true, false])
      for (const index of [0, 1, 4]) {
        const node = striped.nodes[index]!
        const { length } = await node.disk.chunks.verify(partId(index), false)
        const last = Math.ceil(length / BLOCK_BYTES) - 1
        node.io.flip(pathOf(partId(index)), DATA_OFFSET + BLOCK_BYTES + 9)
        node.io.flip(pathOf(partId(index)), DATA_OFFSET + length - 1)
        const lost = { whole: striped.whole(), index }
        expect(await node.copier.repair(node.id, partId(index), named ? [1, last] : [], [], 0, lost)).toBe(2)
        expect(await node.disk.chunks.verify(partId(index), true)).toEqual({ state: 'sealed', length })
        expect(await node.disk.chunks.seal(partId(index), length)).toBe(striped.digests[index])
      }
  })

  test('is mended from another copy of it where there is one', async () => {
    const striped = await cut(8 * BLOCK_BYTES, 4, 1)
    const other = await striped.further()
    await other.copier.copy(other.id, partId(1), 2 * BLOCK_BYTES, [striped.nodes[1]!.place], 0)
    const node = striped.nodes[1]!
    node.io.flip(pathOf(partId(1)), DATA_OFFSET + 9)
    const lost = { whole: striped.whole([0, 2, 3]), index: 1 }
    expect(await node.copier.repair(node.id, partId(1), [0], [other.place], 0, lost)).toBe(1)
    expect(await node.disk.chunks.verify(partId(1), true)).toMatchObject({ state: 'sealed' })
  })

  test('whose file is no chunk any more is made anew', async () => {
    const striped = await cut(8 * BLOCK_BYTES + 5, 4, 1)
    const damaged = striped.nodes[2]!
    damaged.io.setBytes(pathOf(partId(2)), Buffer.alloc(50_000, 1))
    const node = await new ChunkNode(
      3,
      striped.net,
      new ManualClock(),
      damaged.io.crash(() => true),
    ).start()
    await node.copier.repair(node.id, partId(2), [], [], 0, { whole: striped.whole(), index: 2 })
    expect(await node.disk.chunks.verify(partId(2), true)).toEqual({ state: 'sealed', length: 2 * BLOCK_BYTES })
    expect(await node.disk.chunks.seal(partId(2), 2 * BLOCK_BYTES)).toBe(striped.digests[2])
  })

  test('stays as it is when too few others are good, and says so', async () => {
    const striped = await cut(8 * BLOCK_BYTES, 4, 1)
    for (const index of [0, 1]) striped.nodes[index]!.io.flip(pathOf(partId(index)), DATA_OFFSET + 9)
    const node = striped.nodes[0]!
    const order = node.copier.repair(node.id, partId(0), [0], [], 0, { whole: striped.whole(), index: 0 })
    await expect(order).rejects.toMatchObject({ code: 'EBADMSG' })
    expect((await node.disk.chunks.read(partId(0), BLOCK_BYTES, 10)).length).toBe(10)
  })
})
