/* Reading chunks that are only parts: through the client's reader, over links, with parts that are lost, damaged, slow or away. */

import { afterEach, describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { ChunkId } from '../../src/base/ids.ts'
import { chunkName } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import type { Listener, World } from '../../src/base/world.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { dataHandlers } from '../../src/chunk/service.ts'
import { Ways } from '../../src/chunk/ways.ts'
import { BlockCache } from '../../src/client/block-cache.ts'
import { ChunkReader } from '../../src/client/chunk-reader.ts'
import { Chunkservers } from '../../src/client/chunkservers.ts'
import { PartReader } from '../../src/client/part-reader.ts'
import { Patience } from '../../src/client/patience.ts'
import type { MasterSession } from '../../src/client/session.ts'
import { Shunned } from '../../src/client/shunned.ts'
import { readRank } from '../../src/topology/read-rank.ts'
import { serveLinks } from '../../src/wire/connect.ts'
import { type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import type { ChunkPlaces } from '../../src/wire/shapes.ts'
import type { ChunkNode } from '../support/chunk-node.ts'
import { ManualClock, silentLog } from '../support/manual-clock.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { MemoryNet } from '../support/memory-net.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'
import { choices, fillChunk, partId, Striped, WHOLE } from '../support/striped.ts'

const MiB = 1024 * 1024
const seed = seedOf()
const pathOf = (chunk: ChunkId) => `chunks/${(chunk % 256).toString(16).padStart(2, '0')}/${chunkName(chunk)}.chunk`

interface Read {
  readonly part: number
  readonly offset: number
  readonly length: number
}

/** The nodes of a cut chunk behind links, a reader, and a master that says whatever `told` is. */
class Reading {
  readonly striped: Striped
  readonly net = new MemoryNet()
  readonly reads: Read[] = []
  readonly #listeners = new Map<ChunkNode, Listener>()
  reader!: ChunkReader
  told!: ChunkPlaces
  asked = 0
  /** Before a part answers. */
  before: (part: number) => void | Promise<void> = () => {}

  constructor(length: number, data: number, parity: number) {
    this.striped = new Striped(new ManualClock(), length, data, parity)
  }

  async start(cacheBytes = 0): Promise<this> {
    await (await this.striped.begin()).cut()
    this.told = this.striped.whole()
    for (const node of [this.striped.home, ...this.striped.nodes]) await this.serve(node)
    this.newReader(cacheBytes)
    return this
  }

  /** One that has not heard of anything. */
  newReader(cacheBytes = 0): void {
    const world: World = { net: this.net, clock: realClock, random: seededRandom(seed), log: silentLog }
    const session = {
      askUnlessCut: async () => {
        this.asked++
        return { chunks: [this.told] }
      },
    } as unknown as MasterSession
    const chunkservers = new Chunkservers(world, '', 'reader')
    const cache = new BlockCache({ limitBytes: cacheBytes })
    const patience = new Patience(realClock, 2_000)
    this.reader = new ChunkReader(world, session, chunkservers, cache, patience, { ownHost: 'elsewhere' })
  }

  async serve(node: ChunkNode): Promise<void> {
    const hello: Hello = { version: PROTOCOL_VERSION, cluster: '', role: 'chunkserver', name: 'node' }
    const handlers = dataHandlers(node.store, new Ways(realClock, silentLog, { master: () => undefined }))
    const part = this.striped.nodes.indexOf(node)
    const listener = await serveLinks(this.net, 'node', node.place.port, {
      hello,
      handlers: {
        ...handlers,
        read: async (request, bulk, context) => {
          this.reads.push({ part, offset: request.offset, length: request.length })
          await this.before(part)
          return handlers.read(request, bulk, context)
        },
      },
      clock: realClock,
      log: silentLog,
    })
    this.#listeners.set(node, listener)
  }

  async end(node: ChunkNode): Promise<void> {
    const closed = this.#listeners.get(node)?.close()
    this.#listeners.delete(node)
    this.net.cut(node.place.port)
    await closed
  }

  async stop(): Promise<void> {
    for (const node of [...this.#listeners.keys()]) await this.end(node)
  }

  async read(offset: number, length: number, neighbours = false): Promise<Buffer> {
    return Buffer.concat(await this.reader.read(WHOLE, offset, length, neighbours, undefined))
  }

  async expectSame(offset: number, length: number, why: string): Promise<void> {
    const { bytes } = this.striped
    const got = await this.read(offset, length)
    if (!got.equals(bytes.subarray(offset, offset + length)))
      expect.fail(`${why}: bytes ${offset} + ${length}, seed ${seed}`)
  }
}

let reading: Reading
afterEach(async () => {
  await reading.stop()
})
const started = async (length: number, data: number, parity: number, cacheBytes = 0) => {
  reading = await new Reading(length, data, parity).start(cacheBytes)
  return reading
}

describe('a chunk of parts', () => {
  test.each([
    [2, 1, 11 * BLOCK_BYTES + 5],
    [4, 1, 3 * MiB - 7],
    [4, 2, 9 * BLOCK_BYTES + 12_345],
    [8, 2, 8 * BLOCK_BYTES],
    [8, 2, 21 * BLOCK_BYTES + 3],
    [4, 2, 3 * BLOCK_BYTES + 1],
  ])('of %i+%i and %i bytes is read whole, whichever parts are lost', async (data, parity, length) => {
    const { striped } = await started(length, data, parity)
    const random = seededRandom(seed)
    for (let count = 0; count <= parity; count++)
      for (const lost of choices(data + parity, count)) {
        reading.told = striped.whole(lost)
        reading.newReader()
        for (let at = 0; at < length; at += MiB)
          await reading.expectSame(at, Math.min(MiB, length - at), `without ${lost}`)
        for (let i = 0; i < 5; i++) {
          const offset = random.below(length)
          await reading.expectSame(offset, 1 + random.below(Math.min(MiB, length - offset)), `without ${lost}`)
        }
      }
  })

  test('is read whole while servers are down, and parts are missing from their disks', async () => {
    const { striped } = await started(3 * MiB + 99, 4, 2)
    await striped.nodes[1]!.disk.chunks.delete(partId(1))
    await reading.end(striped.nodes[3]!)
    for (let at = 0; at < striped.bytes.length; at += MiB)
      await reading.expectSame(at, Math.min(MiB, striped.bytes.length - at), 'without 1 and 3')
  })

  test('is asked for a small range of it in one question to one part', async () => {
    await started(3 * MiB, 4, 1)
    await reading.expectSame(5 * BLOCK_BYTES + 100, 4096, 'small')
    expect(reading.reads).toEqual([{ part: 1, offset: BLOCK_BYTES + 100, length: 4096 }])
  })

  test('is asked for a large range in one question to each part', async () => {
    await started(8 * MiB, 4, 1)
    await reading.expectSame(2 * MiB, MiB, 'large')
    expect(reading.reads.sort((a, b) => a.part - b.part)).toEqual(
      [0, 1, 2, 3].map((part) => ({ part, offset: 8 * BLOCK_BYTES, length: 4 * BLOCK_BYTES })),
    )
  })

  test('is kept by blocks like any other', async () => {
    const { striped } = await started(8 * BLOCK_BYTES - 10, 4, 1, 4 * MiB)
    for (let i = 0; i < 3; i++)
      expect(await reading.read(7 * BLOCK_BYTES + 5, 100, true)).toEqual(
        striped.bytes.subarray(7 * BLOCK_BYTES + 5, 7 * BLOCK_BYTES + 105),
      )
    expect(await reading.read(3 * BLOCK_BYTES, 2 * BLOCK_BYTES, true)).toEqual(
      striped.bytes.subarray(3 * BLOCK_BYTES, 5 * BLOCK_BYTES),
    )
    expect(reading.reads.sort((a, b) => a.part - b.part || a.offset - b.offset)).toEqual([
      { part: 0, offset: BLOCK_BYTES, length: BLOCK_BYTES },
      { part: 3, offset: 0, length: BLOCK_BYTES },
      { part: 3, offset: BLOCK_BYTES, length: BLOCK_BYTES - 10 },
    ])
  })
})

describe('a part that fails', () => {
  test('costs the same range of the others, and what they were asked for anyway is not asked again', async () => {
    const { striped } = await started(8 * MiB, 4, 1)
    await striped.nodes[2]!.disk.chunks.delete(partId(2))
    await reading.expectSame(2 * MiB, MiB, 'large')
    expect(reading.reads.map((read) => read.part).sort()).toEqual([0, 1, 2, 3, 4])
    reading.reads.length = 0
    // It is known to be missing now.
    await reading.expectSame(2 * BLOCK_BYTES + 7, 1000, 'small')
    expect(reading.reads.sort((a, b) => a.part - b.part)).toEqual(
      [0, 1, 3, 4].map((part) => ({ part, offset: 7, length: 1000 })),
    )
    reading.reads.length = 0
    // A range that begins and ends in the middle of a row: still one question to each.
    await reading.expectSame(2 * MiB + BLOCK_BYTES, MiB + 5, 'uneven')
    expect(reading.reads.map((read) => read.part).sort()).toEqual([0, 1, 3, 4])
  })

  test('because it is damaged is decoded, and its server has told of the damage', async () => {
    const { striped } = await started(2 * MiB, 4, 1)
    striped.nodes[1]!.io.flip(pathOf(partId(1)), DATA_OFFSET + BLOCK_BYTES + 5)
    for (let at = 0; at < 2 * MiB; at += MiB) await reading.expectSame(at, MiB, 'damaged')
    expect(striped.nodes[1]!.damages).toEqual([{ chunk: partId(1), blocks: [1] }])
  })

  test('is found again where the master says that it is now', async () => {
    const { striped } = await started(2 * MiB, 4, 1)
    await reading.expectSame(0, MiB, 'whole')
    const other = await striped.further()
    await reading.serve(other)
    await other.copier.copy(other.id, partId(2), striped.lengths[2]!, [striped.nodes[2]!.place], 0)
    for (const index of [2, 3]) await striped.nodes[index]!.disk.chunks.delete(partId(index))
    const { ec } = reading.told
    reading.told = {
      ...reading.told,
      ec: { ...ec!, parts: ec!.parts.with(2, { ...ec!.parts[2]!, places: [other.place] }) },
    }
    await reading.expectSame(0, MiB, 'moved')
    expect(reading.asked).toBe(2)
  })

  test('in one of two places is read from the other', async () => {
    const { striped } = await started(2 * MiB, 4, 1)
    const other = await striped.further()
    await reading.serve(other)
    await other.copier.copy(other.id, partId(2), striped.lengths[2]!, [striped.nodes[2]!.place], 0)
    const { ec } = reading.told
    const places = [striped.nodes[2]!.place, other.place]
    reading.told = { ...reading.told, ec: { ...ec!, parts: ec!.parts.with(2, { ...ec!.parts[2]!, places }) } }
    await reading.end(striped.nodes[2]!)
    for (let round = 0; round < 2; round++) await reading.expectSame(0, MiB, 'elsewhere')
    expect(reading.reads.filter((read) => read.part === 4)).toEqual([])
  })

  test('and was made anew elsewhere is read from there soon, though its reader could go on decoding', async () => {
    const { striped } = await started(2 * MiB, 4, 1)
    await reading.expectSame(0, MiB, 'whole')
    const other = await striped.further()
    await reading.serve(other)
    const lost = { whole: striped.whole([2]), index: 2 }
    await other.rebuilder.rebuild(other.id, partId(2), striped.lengths[2]!, lost, 0)
    await striped.nodes[2]!.disk.chunks.delete(partId(2))
    const { ec } = reading.told
    reading.told = {
      ...reading.told,
      ec: { ...ec!, parts: ec!.parts.with(2, { ...ec!.parts[2]!, places: [other.place] }) },
    }
    await reading.expectSame(0, MiB, 'decoded')
    await reading.expectSame(MiB, MiB, 'decoded or not')
    reading.reads.length = 0
    await reading.expectSame(0, MiB, 'made anew')
    expect(reading.reads.map((read) => read.part).sort((a, b) => a - b)).toEqual([-1, 0, 1, 3])
    expect(reading.asked).toBe(2)
  })

  test('with more others than the code survives is EIO, and no wrong byte', async () => {
    const { striped } = await started(MiB, 4, 1)
    for (const index of [0, 2]) await striped.nodes[index]!.disk.chunks.delete(partId(index))
    await expect(reading.read(0, MiB)).rejects.toMatchObject({ code: 'EIO' })
    await reading.expectSame(BLOCK_BYTES, BLOCK_BYTES, 'what is there')
  })

  test('is waited for when too many others are away, until they are back', async () => {
    const { striped } = await started(MiB, 4, 1)
    for (const index of [0, 2]) await reading.end(striped.nodes[index]!)
    const read = reading.expectSame(0, MiB, 'back')
    await realClock.sleep(300)
    await reading.serve(striped.nodes[2]!)
    await read
  })

  test('is waited for when the master does not know yet where too many others are, as after its restart', async () => {
    const { striped } = await started(MiB, 4, 1)
    reading.told = striped.whole([0, 2])
    reading.newReader()
    const read = reading.expectSame(0, MiB, 'told')
    // Longer than refusals are taken for the last word.
    await realClock.sleep(1_200)
    reading.told = striped.whole([])
    await read
  })
})

describe('a part that is slow', () => {
  test('is not waited for, and for a while not asked', async () => {
    await started(4 * MiB, 4, 1)
    await reading.expectSame(0, MiB, 'before')
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    reading.before = (part) => (part === 1 ? held : undefined)
    await reading.expectSame(MiB, MiB, 'held')
    reading.reads.length = 0
    await reading.expectSame(2 * MiB, MiB, 'again')
    expect(reading.reads.map((read) => read.part).sort()).toEqual([0, 2, 3, 4])
    release()
  })

  test('is waited for when it is only far away', async () => {
    await started(4 * MiB, 4, 1)
    reading.before = (part) => (part === 3 ? realClock.sleep(120) : undefined)
    for (let round = 0; round < 6; round++) await reading.expectSame((round % 4) * MiB, MiB, 'far')
    expect(reading.reads.filter((read) => read.part === 4)).toEqual([])
  })

  test('is waited for when so many were slow that asking others would make it slower', async () => {
    await started(MiB, 4, 1)
    const world: World = { net: reading.net, clock: realClock, random: seededRandom(seed), log: silentLog }
    const parts = new PartReader(world, new Chunkservers(world, '', 'reader'), new Shunned(realClock), '')
    const granted = () => Array.from({ length: 100 }, () => parts.mayHedge()).filter((may) => may).length
    expect(granted()).toBe(10)
    const { chunk, places } = reading.told.ec!.parts[0]!
    for (let i = 0; i < 20; i++) await parts.ask(places[0]!, chunk, 0, 100)
    // A tenth of what was asked since, give or take how fractions add up.
    expect(granted()).toBeGreaterThanOrEqual(1)
    expect(granted()).toBe(0)
  })

  test('is waited for when it is needed', async () => {
    const { striped } = await started(MiB, 4, 1)
    reading.told = striped.whole([0])
    reading.before = (part) => (part === 1 ? realClock.sleep(400) : undefined)
    await reading.expectSame(0, MiB, 'needed')
  })

  test('does not hold up one that is decoded: a further part is asked in its place', async () => {
    const { striped } = await started(MiB, 4, 2)
    reading.told = striped.whole([0])
    reading.before = (part) => (part === 1 ? new Promise(() => {}) : undefined)
    await reading.expectSame(0, BLOCK_BYTES, 'decoded')
  })
})

test('a chunk that is cut while its reader knows its copies is read from its parts, the copies not asked again', async () => {
  const { striped } = await started(2 * MiB, 4, 1)
  const copies: ChunkPlaces = { ...striped.whole(), places: [striped.home.place], ec: undefined }
  reading.reader.learn(copies)
  reading.before = (part) => {
    if (part < 0 && reading.reads.filter((read) => read.part < 0).length > 1) throw new FsError('EIO', 'asked again')
  }
  for (let at = 0; at < 2 * MiB; at += MiB) await reading.expectSame(at, MiB, 'cut')
  expect(reading.asked).toBe(1)
})

describe('parts on disks that are to be read last', () => {
  const rank = (backup: number[], preferred: number[] = [], far: number[] = []) => {
    const { told } = reading
    const parts = told.ec!.parts.map((part, i) => ({
      ...part,
      places: part.places.map((place) => ({
        ...place,
        rank: readRank(
          backup.includes(i),
          preferred.length === 0 || preferred.includes(i) ? 0 : 1,
          far.includes(i) ? 3 : 1,
        ),
      })),
    }))
    reading.told = { ...told, ec: { ...told.ec!, parts } }
    reading.newReader()
    reading.reads.length = 0
  }
  const readParts = () => [...new Set(reading.reads.map(({ part }) => part))].sort()

  test('are decoded from the others, of small and of large ranges, in as many questions as it takes', async () => {
    await started(8 * MiB, 4, 2)
    rank([1, 5])
    await reading.expectSame(5 * BLOCK_BYTES + 100, 4096, 'small')
    expect(reading.reads.sort((a, b) => a.part - b.part)).toEqual(
      [0, 2, 3, 4].map((part) => ({ part, offset: BLOCK_BYTES + 100, length: 4096 })),
    )
    reading.reads.length = 0
    await reading.expectSame(6 * BLOCK_BYTES, 4096, 'beside it')
    expect(readParts()).toEqual([2])
    for (let at = 0; at < 8 * MiB; at += MiB) await reading.expectSame(at, MiB, 'large')
    expect(readParts()).toEqual([0, 2, 3, 4])
    // Nobody needs to be asked where they are.
    expect(reading.asked).toBe(1)
  })

  test('are read as soon as too few others can be, and only then', async () => {
    const { striped } = await started(4 * MiB, 4, 2)
    rank([1, 5])
    await reading.end(striped.nodes[4]!)
    await reading.expectSame(0, MiB, 'without a part')
    expect(readParts()).toEqual([0, 1, 2, 3])
    await reading.end(striped.nodes[0]!)
    await reading.expectSame(MiB, MiB, 'without two')
    expect(readParts()).toEqual([0, 1, 2, 3, 5])
  })

  test('are read when there are too few others from the beginning', async () => {
    await started(4 * MiB, 4, 1)
    rank([0, 1])
    await reading.expectSame(BLOCK_BYTES, 100, 'small')
    expect(reading.reads.map(({ part }) => part)).toEqual([1])
    await reading.expectSame(0, MiB, 'large')
    expect(readParts()).toEqual([0, 1, 2, 3])
  })

  test('are not asked because another one is slow', async () => {
    await started(4 * MiB, 4, 1)
    rank([4])
    for (let i = 0; i < 20; i++) await reading.expectSame(i * 100_000, 4096, 'usual')
    reading.reads.length = 0
    reading.before = (part) => (part === 2 ? realClock.sleep(400) : undefined)
    await reading.expectSame(2 * BLOCK_BYTES, 4096, 'slow')
    expect(readParts()).toEqual([2])
  })

  test('behind the end of the chunk need not be read, wherever they lie', async () => {
    await started(1_000, 4, 1)
    rank([0, 1, 2, 3])
    await reading.expectSame(10, 900, 'short')
    expect(readParts()).toEqual([4])
  })

  test('are those that are not preferred, and those of another site; a rack further is not worth it', async () => {
    await started(4 * MiB, 2, 2)
    rank([], [2, 3])
    await reading.expectSame(0, MiB, 'preferred')
    expect(readParts()).toEqual([2, 3])
    rank([], [], [0])
    await reading.expectSame(0, MiB, 'near')
    expect(readParts()).not.toContain(0)
    const { told } = reading
    const parts = told.ec!.parts.map((part, i) => ({
      ...part,
      places: part.places.map((p) => ({ ...p, rank: i < 2 ? 2 : 0 })),
    }))
    reading.told = { ...told, ec: { ...told.ec!, parts } }
    reading.newReader()
    reading.reads.length = 0
    await reading.expectSame(0, MiB, 'racks')
    expect(readParts()).toEqual([0, 1])
  })

  test('of a chunk that is also whole come after its copies, and before copies on backup disks', async () => {
    const { striped } = await started(2 * MiB, 2, 1)
    await fillChunk(striped.home, WHOLE, striped.bytes)
    const copy = { ...striped.home.place, rank: readRank(true, 0, 0) }
    rank([1])
    reading.told = { ...reading.told, places: [copy] }
    await reading.expectSame(0, MiB, 'parts')
    expect(readParts()).toEqual([0, 2])
    reading.told = { ...reading.told, places: [{ ...copy, rank: 1 }] }
    reading.newReader()
    reading.reads.length = 0
    await reading.expectSame(0, MiB, 'the copy')
    expect(readParts()).toEqual([-1])
  })
})
