/* Which copies are asked for a range, and when, over real links to servers that answer when they are told to. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { World } from '../../src/base/world.ts'
import { Chunkservers } from '../../src/client/chunkservers.ts'
import { CopyReads } from '../../src/client/copy-reads.ts'
import { Hedges } from '../../src/client/core/hedges.ts'
import { Shunned } from '../../src/client/shunned.ts'
import { readRank } from '../../src/topology/read-rank.ts'
import { serveLinks } from '../../src/wire/connect.ts'
import { type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import type { Place } from '../../src/wire/shapes.ts'
import { countingRandom, silentLog } from '../support/manual-clock.ts'
import { MemoryNet } from '../support/memory-net.ts'
import { realClock } from '../support/real-clock.ts'

const hello: Hello = { version: PROTOCOL_VERSION, cluster: '', role: 'chunkserver', name: 'node' }
const DISKS = 3
const RANGE = { chunk: 1 as never, offset: 0, length: 1_000, atLeast: 1_000 }

class Servers {
  readonly net = new MemoryNet()
  readonly world: World = { net: this.net, clock: realClock, random: countingRandom(), log: silentLog }
  readonly shunned = new Shunned(realClock)
  readonly chunkservers = new Chunkservers(this.world, '', 'reader')
  readonly copies = new CopyReads(this.world, this.chunkservers, this.shunned)
  readonly places: Place[] = []
  /** Disks, in the order in which they were asked, and those of whom an answer was no longer wanted. */
  readonly asked: number[] = []
  readonly takenBack: number[] = []
  /** What a disk does with a question; nothing: it answers. */
  readonly does = new Map<number, () => void | Promise<void>>()

  async start(): Promise<this> {
    for (let disk = 1; disk <= DISKS; disk++) {
      const { port } = await serveLinks(this.net, 'node', 0, {
        ...{ hello, clock: realClock, log: silentLog },
        handlers: {
          read: async (request, _bulk, { signal }) => {
            this.asked.push(disk)
            signal.addEventListener('abort', () => this.takenBack.push(disk))
            await this.does.get(disk)?.()
            return { reply: {}, bulk: [Buffer.alloc(request.length, disk)] }
          },
        },
      })
      this.places.push({ node: disk as never, disk: disk as never, host: 'node', port })
    }
    return this
  }

  hang(disk: number): void {
    this.does.set(disk, () => new Promise(() => {}))
  }

  /** Which disk the bytes are of; undefined: none had them. */
  async read(places: readonly Place[] = this.places): Promise<number | undefined> {
    const got = await this.copies.read(places, RANGE, () => true)
    return got instanceof Uint8Array ? got[0] : undefined
  }
}

describe('a range of a chunk', () => {
  let servers: Servers
  beforeEach(async () => {
    servers = await new Servers().start()
    // Connected, so that what is measured is reading.
    for (const place of servers.places) await servers.read([place])
    servers.asked.length = 0
  })
  afterEach(() => servers.chunkservers.close())

  it('is read from the first copy, and no other is asked', async () => {
    for (let i = 0; i < 30; i++) expect(await servers.read()).toBe(1)
    // But for a pause of this process now and then.
    expect(servers.asked.filter((disk) => disk !== 1).length).toBeLessThan(5)
  })

  it('is read from the second when the first does not answer, which is told so', async () => {
    servers.hang(1)
    expect(await servers.read()).toBe(2)
    expect(servers.asked).toEqual([1, 2])
    await expect.poll(() => servers.takenBack, { timeout: 10_000 }).toEqual([1])
    expect(servers.shunned.none).toBe(true)
  })

  it('is read from the first after all when that is quicker than the second', async () => {
    let answer = (): void => {}
    servers.does.set(1, () => new Promise<void>((resolve) => (answer = resolve)))
    servers.does.set(2, () => {
      answer()
      return new Promise(() => {})
    })
    expect(await servers.read()).toBe(1)
    await expect.poll(() => servers.takenBack, { timeout: 10_000 }).toEqual([2])
  })

  it('goes on to the next when one fails, hedged or not, and says what all have said', async () => {
    const refuse = (): never => {
      throw new FsError('ENOENT')
    }
    servers.does.set(1, refuse)
    expect(await servers.read()).toBe(2)
    expect(servers.asked).toEqual([1, 2])
    servers.does.set(2, refuse)
    servers.hang(1)
    expect(await servers.read()).toBe(3)
    for (const disk of [1, 2, 3]) servers.does.set(disk, refuse)
    expect(await servers.copies.read(servers.places, RANGE, () => true)).toMatchObject({
      refused: 3,
      error: { code: 'ENOENT' },
    })
  })

  it('stops at the first failure when nobody wants it any more', async () => {
    servers.does.set(1, () => {
      throw new FsError('EIO')
    })
    expect(await servers.copies.read(servers.places, RANGE, () => false)).toMatchObject({ error: { code: 'EIO' } })
    expect(servers.asked).toEqual([1])
  })

  it('is not asked of a backup disk, or one that failed a moment ago, because the first is slow', async () => {
    const [first, second, third] = servers.places
    servers.does.set(1, () => realClock.sleep(400))
    expect(await servers.read([first!, { ...second!, rank: readRank(true, 0, 0) }])).toBe(1)
    servers.shunned.add(third!.disk)
    expect(await servers.read([first!, third!])).toBe(1)
    expect(servers.asked).toEqual([1, 1])
  })

  it('comes from elsewhere first for a while once a disk was overtaken three times', async () => {
    servers.hang(1)
    for (let i = 0; i < 3; i++) expect(await servers.read()).toBe(2)
    expect(servers.shunned.has(1 as never, RANGE.chunk)).toBe(true)
  })

  it('is waited for when so many were asked twice that more would make all slower', async () => {
    for (const disk of [1, 2, 3]) servers.does.set(disk, () => realClock.sleep(150))
    const reads = await Promise.all(Array.from({ length: 60 }, () => servers.read()))
    expect(reads.every((disk) => disk !== undefined)).toBe(true)
    // Sixty, ten at once, and one in twenty.
    expect(servers.asked.length).toBeGreaterThan(60)
    expect(servers.asked.length).toBeLessThanOrEqual(60 + 10 + 3)
  })
})

describe('hedges', () => {
  const disk = 7 as never
  it('are granted for one read in twenty, and ten at once', () => {
    const hedges = new Hedges()
    const granted = (): number => Array.from({ length: 100 }, () => hedges.granted()).filter((may) => may).length
    expect(granted()).toBe(10)
    for (let i = 0; i < 40; i++) hedges.began()
    expect(granted()).toBe(2)
    for (let i = 0; i < 10_000; i++) hedges.began()
    expect(granted()).toBe(10)
  })

  it('wait for what is usual on the disk: all but one in twenty of its reads', () => {
    const hedges = new Hedges()
    expect(hedges.afterMs(disk, undefined)).toBe(100)
    for (let i = 0; i < 64; i++) hedges.answered(disk, i % 16 === 0 ? 500 : 80, true)
    expect(hedges.afterMs(disk, 0.3)).toBe(500)
    for (let i = 0; i < 64; i++) hedges.answered(disk, i % 32 === 0 ? 500 : 80, true)
    expect(hedges.afterMs(disk, 0.3)).toBe(80)
    expect(hedges.afterMs(disk, 60)).toBe(180)
    for (let i = 0; i < 64; i++) hedges.answered(disk, 1, true)
    expect(hedges.afterMs(disk, 0.3)).toBe(25)
  })

  it('make a disk the last one after three in a row that it lost', () => {
    const hedges = new Hedges()
    expect(hedges.overtaken(disk, 30)).toBe(false)
    expect(hedges.overtaken(disk, 30)).toBe(false)
    hedges.answered(disk, 3, true)
    expect([1, 2, 3].map(() => hedges.overtaken(disk, 30))).toEqual([false, false, true])
    // And at once when it is tried again and has not changed.
    expect(hedges.overtaken(disk, 30)).toBe(true)
    // An answer that was not needed says nothing.
    hedges.answered(disk, 40, false)
    expect(hedges.overtaken(disk, 30)).toBe(true)
  })
})
