/*
 * Copies between sites keep to what may go between them at this hour, also those under way when that changes. The clock is
 * turned by the test; a copy takes as long as its pace says.
 */

import { describe, expect, test } from 'vitest'
import type { ChunkId } from '../../src/base/ids.ts'
import type { LinkReport } from '../../src/wire/reports.ts'
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
  const mount = await TestMount.open(master, 'm')
  const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: 'H,C' }
  await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
  const copies: Copy[] = []
  const cabin = servers[2]!
  cabin.peer.answers.orderCopy = async ({ chunk, length, bytesPerSecond }) => {
    const copy: Copy = { chunk, bytesPerSecond, atMs: master.clock.monotonicMs(), endMs: undefined, calledOff: false }
    copies.push(copy)
    const before = cabin.peer.calledOff.length
    await master.clock.sleep(bytesPerSecond === 0 ? 1_000 : (length * 1000) / bytesPerSecond)
    copy.calledOff = cabin.peer.calledOff.slice(before).some(({ request }) => (request as Copy).chunk === chunk)
    if (copy.calledOff) return { bytes: 0 }
    copy.endMs = master.clock.monotonicMs()
    cabin.held.set(chunk, { length, sealed: true })
    return { bytes: length }
  }
  master.work()
  const limit = (bytesPerS: number | undefined, window?: { from: number; to: number }) =>
    master.call(admin, 'linkLimit', { stamp: ADMIN, a: 'home', b: 'cabin', bytesPerS, window })
  const link = async (): Promise<LinkReport> => (await master.call(admin, 'linkShow', {})).links[0]!
  const write = async (n: number, bytes: number): Promise<void> => {
    for (let i = 0; i < n; i++) await writeFile(master, mount, servers, `f${copies.length}-${i}`, bytes)
  }
  return { master, copies, limit, link, write }
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

  test('that began when nothing bounded them are begun anew when something does, and when much more may go', async () => {
    const { master, copies, limit, write } = await cluster()
    await limit(MiB / 8)
    await write(1, 60 * MiB)
    await master.clock.pass(3_000)
    expect(copies.map(({ bytesPerSecond }) => bytesPerSecond)).toEqual([MiB / 8])
    await limit(4 * MiB)
    await master.clock.pass(5_000)
    expect(copies.map(({ bytesPerSecond }) => bytesPerSecond)).toEqual([MiB / 8, 4 * MiB])
    // A little less is not worth it.
    await limit(3 * MiB)
    await master.clock.pass(5_000)
    expect(copies).toHaveLength(2)
    await limit(MiB)
    await master.clock.pass(2_000)
    expect(copies.map(({ bytesPerSecond }) => bytesPerSecond)).toEqual([MiB / 8, 4 * MiB, MiB])
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
