/*
 * Copies between sites keep to what may go between them at this hour, also those under way when that changes. The clock is
 * turned by the test; a copy takes as long as its pace says.
 */

import { describe, expect, test } from 'vitest'
import type { ChunkId } from '../../src/base/ids.ts'
import type { LinkReport } from '../../src/wire/reports-mesh.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const ends = masterOfEachTest()

interface Copy {
  readonly chunk: ChunkId
  readonly bytesPerSecond: number
  readonly atMs: number
  endMs: number | undefined
  calledOff: boolean
}

/** Two chunkservers at home and one in the cabin; a class of its own wants each file at both. */
async function cluster() {
  const master = ends(new TestMaster({ copies: 2 }))
  const servers = ['home', 'home', 'cabin'].map((site, i) => {
    const place = { site, rack: undefined, machine: `m${i}` }
    return new TestChunkserver(`s${String.fromCharCode(65 + i)}`, { place, diskLabels: [site === 'home' ? 'H' : 'C'] })
  })
  for (const server of servers) await server.join(master)
  let files = 0
  const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: 'H,C' }
  await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
  const copies: Copy[] = []
  const cabin = servers[2]!
  /** What copies under way have left, at which pace. */
  const paces = new Map<ChunkId, { bytesPerSecond: number }>()
  cabin.peer.answers.orderCopy = async ({ chunk, length, bytesPerSecond }) => {
    const copy: Copy = { chunk, bytesPerSecond, atMs: master.clock.monotonicMs(), endMs: undefined, calledOff: false }
    copies.push(copy)
    const pace = { bytesPerSecond }
    paces.set(chunk, pace)
    const before = cabin.peer.calledOff.length
    for (let left = length; left > 0; left -= (pace.bytesPerSecond || 100 * MiB) / 10) {
      await master.clock.sleep(100)
      copy.calledOff = cabin.peer.calledOff.slice(before).some(({ request }) => (request as Copy).chunk === chunk)
      if (copy.calledOff) return { bytes: 0 }
    }
    paces.delete(chunk)
    copy.endMs = master.clock.monotonicMs()
    cabin.held.set(chunk, { length, sealed: true })
    return { bytes: length }
  }
  cabin.peer.answers.orderPace = ({ chunk, bytesPerSecond }) => {
    const pace = paces.get(chunk)
    if (pace === undefined) return { found: false }
    pace.bytesPerSecond = bytesPerSecond
    return { found: true }
  }
  master.work()
  const limit = (bytesPerS: number | undefined, window?: { from: number; to: number }) =>
    master.call(admin, 'linkLimit', { stamp: ADMIN, a: 'home', b: 'cabin', bytesPerS, window })
  const link = async (): Promise<LinkReport> => (await master.call(admin, 'linkShow', {})).links[0]!
  const write = async (n: number, bytes: number): Promise<void> => {
    for (let i = 0; i < n; i++)
      await writeFile(master, await TestMount.open(master, `w${files}`), servers, `f${files++}`, bytes)
  }
  const pacesNow = () => [...paces.values()].map(({ bytesPerSecond }) => bytesPerSecond / MiB)
  return { master, copies, limit, link, write, pacesNow }
}

describe('copies between two sites', () => {
  test('go as fast as the limit of the pair, which counts instead of that of all pairs', async () => {
    const { master, copies, limit, link, write } = await cluster()
    const none = { diskBytesPerSecond: undefined, nodeBytesPerSecond: undefined }
    await master.call(admin, 'settingsSet', {
      ...{ stamp: ADMIN, copies: undefined, graceMs: undefined, trashRetentionMs: undefined, backupLabels: undefined },
      sessionTimeoutMs: undefined,
      moving: { rebalance: undefined, rebalancePercent: undefined, ...none, sitesBytesPerSecond: MiB / 4 },
    })
    await limit(2 * MiB)
    await write(4, 10 * MiB)
    await master.clock.pass(12_000)
    expect(copies.map(({ bytesPerSecond }) => bytesPerSecond)).toEqual([2 * MiB, 2 * MiB, 2 * MiB])
    const now = await link()
    expect(now).toMatchObject({ a: 'cabin', b: 'home', running: 1, limitBytesPerSecond: 2 * MiB, limitedBy: 'limit' })
    expect(now).toMatchObject({ waiting: 1, waitingBytes: 10 * MiB })
    await limit(undefined)
    expect(await link()).toMatchObject({ limitBytesPerSecond: MiB / 4, limitedBy: 'setting' })
  })

  test('are shown with the rate that they go at', async () => {
    const { master, limit, link, write } = await cluster()
    await limit(2 * MiB)
    await write(20, 10 * MiB)
    await master.clock.pass(45_000)
    const { bytesPerSecond } = await link()
    expect(bytesPerSecond / MiB).toBeGreaterThan(1.8)
    expect(bytesPerSecond / MiB).toBeLessThan(2.2)
    await master.clock.pass(120_000)
    expect(await link()).toMatchObject({ bytesPerSecond: 0, running: 0, waiting: 0 })
  })

  test('stop in the hours in which nothing may go, those under way too, and go on after them', async () => {
    const { master, copies, limit, link, write } = await cluster()
    const { minute } = await master.call(admin, 'linkShow', {})
    await limit(MiB)
    await limit(0, { from: minute + 1, to: minute + 3 })
    await write(4, 50 * MiB)
    await master.clock.pass(61_000)
    expect(await link()).toMatchObject({ limitBytesPerSecond: 0, limitedBy: 'hours', running: 0 })
    const begun = copies.length
    expect(begun).toBeGreaterThan(0)
    await master.clock.pass(100_000)
    expect(copies).toHaveLength(begun)
    await master.clock.pass(400_000)
    expect(new Set(copies.filter(({ endMs }) => endMs !== undefined).map(({ chunk }) => chunk)).size).toBe(4)
    expect(await link()).toMatchObject({ limitBytesPerSecond: MiB, limitedBy: 'limit', waiting: 0, errors: [] })
  })

  test('under way are told another pace when something else may go, and none is begun anew for it', async () => {
    const { master, copies, limit, link, write, pacesNow } = await cluster()
    await limit(MiB / 8)
    await write(2, 60 * MiB)
    await master.clock.pass(10_000)
    expect(pacesNow()).toEqual([1 / 8])
    await limit(4 * MiB)
    await master.clock.pass(1_500)
    expect(pacesNow()).toEqual([4])
    // 58.7 MiB were left.
    await master.clock.pass(14_500)
    expect(copies.map(({ endMs }) => endMs === undefined)).toEqual([false, true])
    // Half as much of what is left takes twice as long, whatever was paid at the beginning.
    const halved = master.clock.monotonicMs()
    await limit(2 * MiB)
    await master.clock.pass(20_000)
    expect(pacesNow()).toEqual([2])
    expect((await link()).bytesPerSecond / MiB).toBeGreaterThan(1.8)
    await master.clock.pass(20_000)
    expect(copies).toHaveLength(2)
    const tookMs = copies[1]!.endMs! - halved
    expect(tookMs).toBeGreaterThan(25_000)
    expect(tookMs).toBeLessThan(32_000)
    // The way is free as soon as it is not used any more.
    await write(1, 2 * MiB)
    await master.clock.pass(2_000)
    expect(copies[2]!.endMs).toBeDefined()
  })

  test('that nothing bounded are given a pace, and lose it again', async () => {
    const { master, copies, limit, write, pacesNow } = await cluster()
    await write(2, 1_000 * MiB)
    await master.clock.pass(2_000)
    expect(pacesNow()).toEqual([0, 0])
    await limit(5 * MiB)
    await master.clock.pass(2_000)
    // Together they are no faster than that.
    const together = pacesNow()
    expect(together).toHaveLength(2)
    expect(together[0]! + together[1]!).toBeGreaterThan(4.5)
    expect(together[0]! + together[1]!).toBeLessThan(5.01)
    await limit(undefined)
    await master.clock.pass(2_000)
    expect(pacesNow()).toEqual([0, 0])
    expect(copies).toHaveLength(2)
  })

  test('that fail are told of with the pair', async () => {
    const { master, link, write } = await cluster()
    for (const { node } of master.state.nodes()) {
      const peer = master.master.nodes.peer(node) as TestPeer
      peer.answers.orderCopy = () => {
        throw new Error('not an answer')
      }
      delete peer.answers.orderCopy
    }
    await write(1, MiB)
    await master.clock.pass(3_000)
    const { errors } = await link()
    expect(errors[0]?.what).toContain('orderCopy')
    expect(errors.length).toBeLessThanOrEqual(3)
  })
})
