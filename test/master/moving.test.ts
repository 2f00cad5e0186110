/*
 * Data is moved politely: what is endangered overtakes everything else, what is only away for a moment is not copied, and
 * what is moved without need stops as soon as there is a need. The clock is turned by the test; links are as slow as it says.
 */

import { afterEach, describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { ChunkId, DiskId } from '../../src/base/ids.ts'
import type { Moving } from '../../src/wire/shapes.ts'
import { diskReport, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const running: TestMaster[] = []
afterEach(async () => {
  for (const master of running.splice(0)) {
    master.check()
    await master.end()
  }
})

const NOT_SET = { rebalance: undefined, rebalancePercent: undefined }
const NO_RATES = { diskBytesPerSecond: undefined, nodeBytesPerSecond: undefined, sitesBytesPerSecond: undefined }
const set = (master: TestMaster, copies: number | undefined, moving: Moving) =>
  master.call(admin, 'settingsSet', {
    ...{ stamp: ADMIN, copies, graceMs: undefined, trashRetentionMs: undefined },
    ...{ sessionTimeoutMs: undefined, backupLabels: undefined },
    moving: { ...NOT_SET, ...NO_RATES, ...moving } as never,
  })

async function cluster(n: number, copies = 2, sites: readonly string[] = []) {
  const master = new TestMaster({ copies })
  running.push(master)
  const servers = Array.from({ length: n }, (_, i) => {
    const site = sites[i]
    const declared = site === undefined ? {} : { place: { site, rack: undefined, machine: `m${i}` } as never }
    return new TestChunkserver(`s${String.fromCharCode(65 + i)}`, declared)
  })
  for (const server of servers) await server.join(master)
  const mount = await TestMount.open(master, 'm')
  master.work()
  return { master, servers, mount }
}

interface Asked {
  readonly chunk: ChunkId
  readonly target: DiskId
  readonly urgent: boolean
  readonly atMs: number
  readonly from: DiskId | undefined
  readonly bytesPerSecond: number
  endMs: number
}

/** From now on every copy takes as long as its bytes need at this rate; answers what was ordered, and when. */
function paced({ master, servers }: Awaited<ReturnType<typeof cluster>>, bytesPerSecond: number): Asked[] {
  const asked: Asked[] = []
  for (const server of servers)
    server.peer.answers.orderCopy = async ({ chunk, length, disk, urgent, sources, ...order }) => {
      const one = {
        ...{ chunk, target: disk, urgent: urgent === true, from: sources[0]?.disk },
        ...{ atMs: master.clock.monotonicMs(), endMs: 0, bytesPerSecond: order.bytesPerSecond },
      }
      asked.push(one)
      await master.clock.sleep((length * 1000) / Math.min(order.bytesPerSecond || bytesPerSecond, bytesPerSecond))
      one.endMs = master.clock.monotonicMs()
      server.held.set(chunk, { length, sealed: true })
      return { bytes: length }
    }
  return asked
}

describe('new damage', () => {
  test('is copied within a second of the settle time while every place is taken by older, slower work', async () => {
    const all = await cluster(21)
    const { master, servers, mount } = all
    const files: Awaited<ReturnType<typeof writeFile>>[] = []
    for (let i = 0; i < 260; i++) files.push(await writeFile(master, mount, servers, `f${i}`, 60 * MiB))
    await master.clock.pass(2_000)
    const asked = paced(all, MiB / 16)
    const [victim, ...others] = servers as [TestChunkserver, ...TestChunkserver[]]
    // Half of the disks are to be emptied: hours of work for this line.
    for (const server of others.slice(0, 9))
      await master.call(admin, 'diskDrain', { stamp: ADMIN, disk: server.disk, drain: true, force: true })
    await master.clock.pass(10_000)
    const older = asked.length
    expect(older).toBeGreaterThanOrEqual(40)
    expect(asked.some(({ urgent }) => urgent)).toBe(false)
    victim.peer.close()
    const lostAtMs = master.clock.monotonicMs()
    const drained = new Set(others.slice(0, 9).map(({ disk }) => disk))
    const endangered = files.filter(({ disks }) => disks.includes(victim.disk))
    // What would be copied anyway does not wait for the victim to come back.
    const waited = endangered.filter(({ disks }) => !disks.some((disk) => drained.has(disk)))
    const isWaited = ({ chunk }: Asked) => waited.some((file) => file.chunk === chunk)
    expect(waited.length).toBeGreaterThanOrEqual(8)
    await master.clock.pass(19_900)
    expect(asked.filter(isWaited)).toEqual([])
    await master.clock.pass(1_100)
    const copied = asked.filter(isWaited)
    expect(copied.length).toBeGreaterThanOrEqual(Math.min(8, waited.length))
    for (const { urgent, atMs } of copied) {
      expect(urgent).toBe(true)
      expect(atMs - lostAtMs).toBeLessThan(21_000)
    }
    const isEndangered = ({ chunk }: Asked) => endangered.some((file) => file.chunk === chunk)
    for (const one of asked) if (one.urgent) expect(isEndangered(one)).toBe(true)
  }, 60_000)
})

describe('a chunk that becomes endangered', () => {
  const labels = ['A', 'B', 'C', 'D', 'E', 'F']
  async function classOf(master: TestMaster, name: string, keep: string) {
    const text = { ...master.state.classes.record(1)!.text, name, keep }
    const { classId } = await master.call(admin, 'classSet', { stamp: ADMIN, classId: 0, text })
    const wish = { stamp: ADMIN, ino: undefined, onlyFrom: undefined, page: undefined, classId }
    await master.call(admin, 'classOf', { ...wish, path: '/f' })
  }
  const beat = (master: TestMaster, server: TestChunkserver, usedBytes: number) =>
    master.call(server.peer, 'nodeHeartbeat', {
      node: server.node,
      disks: [diskReport(`disk-${server.name}`, { usedBytes, labels: server.diskLabels })],
    })

  /** What each work begins with, and the order that it gives. */
  const lesser = {
    'emptying a disk': async ({ master }, _servers, [first]) => {
      await master.call(admin, 'diskDrain', { stamp: ADMIN, disk: first!.disk, drain: true, force: true })
      return 'orderCopy'
    },
    'making more copies': async ({ master }) => {
      await set(master, 3, {})
      return 'orderCopy'
    },
    'moving to another label': async ({ master }, servers, holders) => {
      const others = servers.filter((server) => !holders.includes(server)).slice(0, 2)
      await classOf(master, 'elsewhere', others.map(({ diskLabels }) => diskLabels![0]).join())
      return 'orderCopy'
    },
    'cutting into parts': async ({ master }) => {
      await classOf(master, 'coded', '@2+1')
      return 'orderEncode'
    },
    'filling disks alike': async ({ master }, servers, [first]) => {
      await set(master, undefined, { rebalance: true })
      for (const server of servers) await beat(master, server, server === first ? 2 ** 39 : 2 ** 30)
      return 'orderCopy'
    },
  } satisfies Record<string, Beginning>
  type Beginning = (
    all: { master: TestMaster },
    servers: readonly TestChunkserver[],
    holders: readonly TestChunkserver[],
  ) => Promise<'orderCopy' | 'orderEncode'>

  for (const [name, begin] of Object.entries(lesser) as [string, Beginning][])
    test(`while it waits for ${name} is copied within a second: the other gives way, and leaves nothing`, async () => {
      const master = new TestMaster({ copies: 2 })
      running.push(master)
      const servers = labels.map((label, i) => new TestChunkserver(`s${i}`, { diskLabels: [label] }))
      for (const server of servers) await server.join(master)
      const mount = await TestMount.open(master, 'm')
      await set(master, undefined, { rebalance: false })
      const { chunk, disks } = await writeFile(master, mount, servers, 'f', 10 * MiB)
      master.work()
      await master.clock.pass(2_000)
      const copies: { urgent: boolean; atMs: number }[] = []
      for (const { peer, held } of servers) {
        peer.answers.orderCopy = async ({ chunk: copied, length, urgent }) => {
          copies.push({ urgent: urgent === true, atMs: master.clock.monotonicMs() })
          // An hour for what is not urgent.
          await master.clock.sleep(urgent === true ? 100 : 3_600_000)
          held.set(copied, { length, sealed: true })
          return { bytes: length }
        }
        peer.answers.orderEncode = async ({ parts }) => {
          for (const { chunk: part, target } of parts)
            servers.find(({ disk }) => disk === target.disk)!.held.set(part, { length: 1, sealed: false })
          return await new Promise<never>(() => undefined)
        }
        peer.answers.orderRepair = () => {
          throw new FsError('EIO', 'the disk')
        }
      }
      const holders = servers.filter(({ disk }) => disks.includes(disk))
      const order = await begin({ master }, servers, holders)
      await master.clock.pass(9_000)
      const asked = servers.flatMap(({ peer }) => peer.asked.filter((one) => one.name === order))
      expect(asked).toHaveLength(1)
      expect(copies.some(({ urgent }) => urgent)).toBe(false)
      const bad = holders[0]!
      await master.call(bad.peer, 'damaged', { node: bad.node, disk: bad.disk, chunk, blocks: [], detail: 'bad' })
      const sinceMs = master.clock.monotonicMs()
      await master.clock.pass(1_000)
      const urgent = copies.filter((one) => one.urgent)
      expect(urgent).toHaveLength(1)
      expect(urgent[0]!.atMs - sinceMs).toBeLessThan(1_000)
      const off = servers.flatMap(({ peer }) => peer.calledOff)
      expect(off).toEqual(asked)
      await master.clock.pass(5_000)
      expect(master.state.chunk(chunk)!.disks.filter((disk) => disk !== bad.disk).length).toBeGreaterThanOrEqual(2)
      // Nothing is left of what was being made of it.
      await master.clock.pass(50_000)
      const open = master.state.chunkIndex.openOf(0 as never)
      for (const { held } of servers)
        for (const one of held.keys())
          expect(one === chunk || open.includes(one as ChunkId), `chunk ${one} is left`).toBe(true)
      expect(open.length).toBeLessThanOrEqual(3)
    })

  test('does not wait for the rest that its chunk has after lesser work failed', async () => {
    const all = await cluster(4, 2)
    const { master, servers, mount } = all
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', MiB)
    await set(master, undefined, { rebalance: false })
    await master.clock.pass(2_000)
    const urgent: number[] = []
    let failed = 0
    for (const { peer, held } of servers) {
      peer.answers.orderCopy = async (order) => {
        if (order.urgent !== true) {
          failed++
          throw new FsError('EIO', 'a source went away')
        }
        urgent.push(master.clock.monotonicMs())
        held.set(order.chunk, { length: order.length, sealed: true })
        return { bytes: order.length }
      }
      peer.answers.orderRepair = () => {
        throw new FsError('EIO', 'the disk')
      }
    }
    await set(master, 3, {})
    await master.clock.pass(5_000)
    expect(failed).toBe(1)
    const bad = servers.find(({ disk }) => disk === disks[0])!
    await master.call(bad.peer, 'damaged', { node: bad.node, disk: bad.disk, chunk, blocks: [], detail: 'bad' })
    await master.clock.pass(1_000)
    expect(urgent).toHaveLength(1)
  })

  test('is copied within a second while every lane is paid for by slower work, far into the future', async () => {
    const all = await cluster(6, 2)
    const { master, servers, mount } = all
    await set(master, undefined, { rebalance: false, diskBytesPerSecond: MiB / 16, nodeBytesPerSecond: MiB / 16 })
    const files: Awaited<ReturnType<typeof writeFile>>[] = []
    for (let i = 0; i < 24; i++) files.push(await writeFile(master, mount, servers, `f${i}`, 60 * MiB))
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    await set(master, 3, {})
    await master.clock.pass(30_000)
    // A quarter of an hour for each.
    expect(asked.length).toBeGreaterThanOrEqual(2)
    const older = asked.length
    const bad = servers[0]!
    bad.peer.answers.orderRepair = () => {
      throw new FsError('EIO', 'the disk')
    }
    const { chunk } = files.find(({ disks }) => disks.includes(bad.disk))!
    await set(master, 2, {})
    await master.call(bad.peer, 'damaged', { node: bad.node, disk: bad.disk, chunk, blocks: [], detail: 'bad' })
    await master.clock.pass(1_000)
    expect(asked.slice(older)).toMatchObject([{ chunk, urgent: true }])
  })
})

describe('bounds in bytes per second', () => {
  test('hold between two sites: one large order after the other at the whole rate, and status says what waits for what', async () => {
    const all = await cluster(8, 1, ['A', 'A', 'A', 'A', 'B', 'B', 'B', 'B'])
    const { master, servers, mount } = all
    for (let i = 0; i < 24; i++) await writeFile(master, mount, servers, `f${i}`, 10 * MiB)
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    const siteOf = (disk: DiskId | undefined) => (servers.findIndex((s) => s.disk === disk) < 4 ? 'A' : 'B')
    await set(master, undefined, { sitesBytesPerSecond: MiB, rebalance: false })
    // All that one site has goes to the other.
    for (const server of servers.slice(0, 4))
      await master.call(admin, 'diskDrain', { stamp: ADMIN, disk: server.disk, drain: true, force: true })
    await master.clock.pass(35_000)
    const crossing = asked.filter(({ from, target }) => siteOf(from) !== siteOf(target))
    expect(crossing.length).toBeGreaterThanOrEqual(3)
    expect(crossing.length).toBeLessThanOrEqual(4)
    for (const { bytesPerSecond } of crossing) expect(bytesPerSecond).toBe(MiB)
    for (const [i, one] of crossing.slice(1).entries()) expect(one.atMs - crossing[i]!.atMs).toBeGreaterThan(9_500)
    const { work } = await master.call(admin, 'status', {})
    const repair = work.find(({ name }) => name === 'repair')!
    expect(repair.progress).toMatch(/\d+ wait for the bound of sites A and B/)
    // Without a bound the rest goes at once.
    await set(master, undefined, { sitesBytesPerSecond: 0 })
    await master.clock.pass(20_000)
    expect(asked.length).toBeGreaterThan(crossing.length + 3)
  })

  test('hold for each disk, whichever others it exchanges data with', async () => {
    const all = await cluster(3, 2)
    const { master, servers, mount } = all
    for (let i = 0; i < 12; i++) await writeFile(master, mount, servers, `f${i}`, 10 * MiB)
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    await set(master, 3, { diskBytesPerSecond: MiB, rebalance: false })
    await master.clock.pass(25_000)
    const older = asked.length
    expect(older).toBeGreaterThan(0)
    for (const disk of servers.map((s) => s.disk)) {
      const used = asked.filter(({ from, target }) => from === disk || target === disk)
      expect(used.length).toBeLessThanOrEqual(3)
    }
  })
})

describe('bounds of rewriting and mending', () => {
  const UNCHANGED = { mode: undefined, uid: undefined, gid: undefined, atime: undefined, mtime: undefined }

  test('a rewrite waits until what it uses is paid for, has the pace of that, and the time that it takes', async () => {
    const all = await cluster(3, 1)
    const { master, servers, mount } = all
    for (const { peer } of servers) peer.answers.orderCompact = ({ ranges }) => ({ length: ranges[0]!.length })
    await set(master, undefined, { diskBytesPerSecond: MiB / 16, rebalance: false })
    for (let i = 0; i < 3; i++) {
      const { ino } = await writeFile(master, mount, servers, `f${i}`, 60 * MiB)
      // A third of each is left, so no two rewrites go together into one chunk of 64 MiB with more.
      const change = { ...UNCHANGED, size: 25 * MiB }
      await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino, change } as never)
    }
    const asked: { atMs: number; bytesPerSecond: number | undefined; length: number }[] = []
    for (const { peer, held } of servers)
      peer.answers.orderCompact = async ({ chunk, ranges, bytesPerSecond }) => {
        const length = ranges.reduce((sum, range) => sum + range.length, 0)
        asked.push({ atMs: master.clock.monotonicMs(), bytesPerSecond, length })
        // Longer than an order without a pace may take.
        await master.clock.sleep((length * 1000) / bytesPerSecond!)
        held.set(chunk, { length, sealed: false })
        return { length }
      }
    await master.clock.pass(60_000)
    expect(asked.length).toBe(1)
    await master.clock.pass(3_600_000)
    expect(asked.length).toBe(2)
    expect(asked.map(({ length }) => length)).toEqual([50 * MiB, 25 * MiB])
    for (const { bytesPerSecond } of asked) expect(bytesPerSecond).toBeLessThanOrEqual(MiB / 16)
    expect(asked[1]!.atMs - asked[0]!.atMs).toBeGreaterThan(800_000)
    expect(master.state.counters()).toMatchObject({ open: 0, safe: 2 })
  })

  test('mending keeps to them; what the last other copy protects is mended at once, before what waits', async () => {
    const all = await cluster(6, 3)
    const { master, servers, mount } = all
    await set(master, undefined, { diskBytesPerSecond: MiB / 16, rebalance: false })
    const files: Awaited<ReturnType<typeof writeFile>>[] = []
    for (let i = 0; i < 40; i++) files.push(await writeFile(master, mount, servers, `f${i}`, MiB))
    await master.clock.pass(2_000)
    const bad = servers[0]!
    const mended: { chunk: ChunkId; atMs: number; bytesPerSecond: number; urgent: boolean }[] = []
    bad.peer.answers.orderRepair = async ({ chunk, blocks, ...order }) => {
      const bytesPerSecond = order.bytesPerSecond!
      mended.push({ chunk, atMs: master.clock.monotonicMs(), bytesPerSecond, urgent: order.urgent === true })
      await master.clock.sleep((Math.max(1, blocks.length) * 65_536_000) / bytesPerSecond)
      return { repaired: blocks.length }
    }
    const report = (chunk: ChunkId, blocks: number[]) =>
      master.call(bad.peer, 'damaged', { node: bad.node, disk: bad.disk, chunk, blocks, detail: 'crc' })
    const its = files.filter(({ disks }) => disks.includes(bad.disk))
    expect(its.length).toBeGreaterThan(12)
    const [last, ...others] = its
    for (const { chunk } of others) await report(chunk, [1])
    await master.clock.pass(4_500)
    // One block takes a second at this rate.
    expect(mended.length).toBeGreaterThanOrEqual(4)
    expect(mended.length).toBeLessThanOrEqual(6)
    for (const { bytesPerSecond } of mended) expect(bytesPerSecond).toBe(MiB / 16)
    const { work } = await master.call(admin, 'status', {})
    expect(work.find(({ name }) => name === 'mend damaged copies')!.progress).toMatch(/wait for the bound of disk/)
    // Now only one other copy of it is left.
    await master.master.loop.command(() => {
      const disk = last!.disks.find((one) => one !== bad.disk)!
      return { ok: { kind: 'copyDropped', chunk: last!.chunk, disk, reason: 'over' } }
    })
    await report(last!.chunk, [])
    const sinceMs = master.clock.monotonicMs()
    await master.clock.pass(1_000)
    const urgent = mended.filter(({ chunk }) => chunk === last!.chunk)
    expect(urgent).toMatchObject([{ urgent: true }])
    expect(urgent[0]!.atMs - sinceMs).toBeLessThan(1_000)
    await master.clock.pass(120_000)
    expect(new Set(mended.map(({ chunk }) => chunk)).size).toBe(its.length)
  })
})

describe('between sites', () => {
  test('a chunk travels once: the second copy there is made from the first', async () => {
    const all = await cluster(6, 1, ['A', 'A', 'A', 'B', 'B', 'B'])
    const { master, servers, mount } = all
    const files = [] as Awaited<ReturnType<typeof writeFile>>[]
    for (let i = 0; i < 12; i++) files.push(await writeFile(master, mount, servers, `f${i}`, MiB))
    await master.clock.pass(2_000)
    const asked = paced(all, MiB)
    const siteOf = (disk: DiskId | undefined) => (servers.findIndex((s) => s.disk === disk) < 3 ? 'A' : 'B')
    await set(master, 5, {})
    await master.clock.pass(120_000)
    for (const { chunk } of files) {
      const of = asked.filter((one) => one.chunk === chunk)
      expect(of.length).toBe(4)
      expect(of.filter(({ from, target }) => siteOf(from) !== siteOf(target)).length).toBe(1)
      // Never two copies of one chunk on their way at once.
      for (const [i, one] of of.slice(1).entries()) expect(one.atMs).toBeGreaterThanOrEqual(of[i]!.endMs)
    }
  })
})

describe('a chunkserver that comes and goes', () => {
  const HOUR_MS = 3_600_000
  /** Away for `awayMs` of every three minutes, for an hour. */
  async function flap({ master }: Awaited<ReturnType<typeof cluster>>, server: TestChunkserver, awayMs: number) {
    const beganMs = master.clock.monotonicMs()
    const aways: number[] = []
    while (master.clock.monotonicMs() - beganMs < HOUR_MS) {
      aways.push(master.clock.monotonicMs())
      server.peer.close()
      await master.clock.pass(awayMs)
      const { answers } = server.peer
      await server.join(master)
      server.peer.answers = answers
      await master.clock.pass(180_000 - awayMs)
    }
    return aways
  }

  test('costs nothing where every chunk has two copies left, for an hour, and nothing is given up', async () => {
    const all = await cluster(4, 3)
    const { master, servers, mount } = all
    for (let i = 0; i < 30; i++) await writeFile(master, mount, servers, `f${i}`, MiB)
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    const aways = await flap(all, servers[0]!, 20_000)
    expect(aways.length).toBe(20)
    expect(asked).toEqual([])
    for (const server of servers) expect(server.count('orderDelete')).toBe(0)
    const { chunks } = await master.call(admin, 'status', {})
    expect(chunks).toMatchObject({ safe: 30, under: 0, endangered: 0, over: 0 })
  }, 60_000)

  test('costs nothing either where one copy is left, as long as it is back within the settle time', async () => {
    const all = await cluster(4, 2)
    const { master, servers, mount } = all
    for (let i = 0; i < 30; i++) await writeFile(master, mount, servers, `f${i}`, MiB)
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    await flap(all, servers[0]!, 19_000)
    expect(asked).toEqual([])
  }, 60_000)

  test('has what is endangered copied after the settle time and not before, once, and nothing else', async () => {
    const all = await cluster(4, 2)
    const { master, servers, mount } = all
    const files = [] as Awaited<ReturnType<typeof writeFile>>[]
    for (let i = 0; i < 30; i++) files.push(await writeFile(master, mount, servers, `f${i}`, MiB))
    await master.clock.pass(2_000)
    const asked = paced(all, 100 * MiB)
    const flapping = servers[0]!
    const endangered = new Set(files.filter(({ disks }) => disks.includes(flapping.disk)).map(({ chunk }) => chunk))
    const [firstMs] = await flap(all, flapping, 25_000)
    expect(new Set(asked.map(({ chunk }) => chunk))).toEqual(endangered)
    for (const { atMs, urgent } of asked) {
      expect(atMs - firstMs!).toBeGreaterThanOrEqual(20_000)
      expect(urgent).toBe(true)
    }
    // What came back is the copy that is given up: the next time it is away, nothing of it is missed.
    expect(asked.length).toBe(endangered.size)
    for (const chunk of endangered) expect(master.state.chunk(chunk)!.disks).not.toContain(flapping.disk)
  }, 60_000)
})
