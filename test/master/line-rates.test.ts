/*
 * The controller of a line between two sites, as the master runs it: fed by the call that measurers make, four times a second, with
 * what a model of a line with a buffer shows; the rate is what `link show` says that may go.
 */

import { describe, expect, test } from 'vitest'
import type { LinkReport, LinksReport } from '../../src/wire/reports-mesh.ts'
import type { WayEchoes, WaySeen } from '../../src/wire/shapes.ts'
import { between, type Line, type Moment, mean, quantile, run, type Traffic } from '../topology/line-model.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const MBIT = 125_000
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const ends = masterOfEachTest()

type Told = Partial<WayEchoes & Pick<WaySeen, 'backgroundBytes' | 'foregroundBytes'>> & { measured?: boolean }

async function cluster(...more: string[]) {
  const master = ends(new TestMaster({ copies: 2 }))
  const servers = ['home', 'cabin', ...more].map((site, i) => {
    const place = { site, rack: undefined, machine: `m${i}` }
    return new TestChunkserver(`s${String.fromCharCode(65 + i)}`, { place, diskLabels: [site === 'home' ? 'H' : 'C'] })
  })
  for (const server of servers) await server.join(master)
  // These two answer at once.
  const ask = (peer: TestPeer, name: 'waysSeen' | 'linkShow', request: object): unknown => {
    const handler = master.master.handlers[name] as (...args: unknown[]) => { reply: unknown }
    return handler(request, Buffer.alloc(0), peer.context()).reply
  }
  const link = (): LinkReport => (ask(admin, 'linkShow', {}) as LinksReport).links[0]!
  const tell = (seen: Told, by = servers[1]!): boolean => {
    const { backgroundBytes = 0, foregroundBytes = 0, measured = true, ...echoes } = seen
    const measures = { epoch: 0, baseUs: 40_000, rttsUs: [40_100, 40_200], lost: 0, ...echoes }
    const bytes = { backgroundBytes, foregroundBytes }
    const way = { host: '127.0.0.1', port: 5065, echoes: measured ? measures : undefined, ...bytes }
    return (ask(by.peer, 'waysSeen', { node: by.node, ways: [way] }) as { wanted: boolean }).wanted
  }
  /** What the model sees is told; what may go then is what it sends. */
  const control = (line: Line, traffic: Traffic, seconds: number): Moment[] =>
    run(line, traffic, seconds, ({ baseMs, rttsMs, lostProbes, backgroundBytes, foregroundBytes }) => {
      master.clock.jump(250)
      tell({
        baseUs: baseMs === undefined ? undefined : Math.round(baseMs * 1000),
        rttsUs: rttsMs.map((ms) => Math.round(ms * 1000)),
        lost: lostProbes,
        backgroundBytes: Math.round(backgroundBytes),
        foregroundBytes: Math.round(foregroundBytes),
      })
      return link().limitBytesPerSecond ?? Number.POSITIVE_INFINITY
    })
  return { master, servers, link, tell, control }
}

const line: Line = { mbit: 100, baseMs: 40, bufferMs: 200 }

describe('a line between two sites', () => {
  test('is filled, and its queue stays short', async () => {
    const { control, link } = await cluster()
    const later = between(control(line, {}, 120), 60, 120)
    expect(mean(later.map((m) => m.backgroundMbit))).toBeGreaterThan(75)
    expect(
      quantile(
        later.map((m) => m.queueMs),
        0.99,
      ),
    ).toBeLessThan(60)
    expect(link()).toMatchObject({ limitedBy: 'line' })
  })

  test('is left to mounts while they use it, and taken again afterwards', async () => {
    const { control, link } = await cluster()
    const foregroundMbit = (second: number): number => (second > 60 && second < 90 ? 50 : 0)
    const moments = control(line, { foregroundMbit }, 88)
    const beside = between(moments, 65, 88)
    expect(mean(beside.map((m) => m.backgroundMbit))).toBeLessThan(40)
    expect(mean(beside.map((m) => m.foregroundMbit))).toBeGreaterThan(49)
    expect(link().limitedBy).toBe('mounts')
    const whole = (await cluster()).control(line, { foregroundMbit }, 120)
    expect(mean(between(whole, 105, 120).map((m) => m.backgroundMbit))).toBeGreaterThan(70)
  })

  test('carries no more than the operator allows', async () => {
    const { master, control, link } = await cluster()
    const wish = { stamp: ADMIN, a: 'home', b: 'cabin', window: undefined }
    await master.call(admin, 'linkLimit', { ...wish, bytesPerS: 20 * MBIT })
    const moments = control(line, {}, 60)
    expect(Math.max(...moments.map((m) => m.backgroundMbit))).toBeLessThan(20.01)
    expect(mean(between(moments, 30, 60).map((m) => m.backgroundMbit))).toBeGreaterThan(19)
    expect(link()).toMatchObject({ limitBytesPerSecond: 20 * MBIT, limitedBy: 'limit' })
    await master.call(admin, 'linkLimit', { ...wish, bytesPerS: undefined })
    expect(link().limitedBy).toBe('line')
    master.clock.jump(6_000)
    // Nothing is copied: who comes next begins with a part of what the line was seen to carry.
    expect(link()).toMatchObject({ limitedBy: 'start', line: null })
    expect(link().limitBytesPerSecond).toBeLessThan(20 * MBIT)
  })

  test('has no rate of its own when nobody measures it, whatever bytes are told of', async () => {
    const { tell, link } = await cluster()
    expect(tell({ measured: false, backgroundBytes: MiB })).toBe(false)
    expect(tell({ baseUs: undefined, backgroundBytes: MiB })).toBe(false)
    expect(link()).toMatchObject({ limitBytesPerSecond: null, limitedBy: 'nothing', line: null })
    expect(tell({})).toBe(true)
    expect(tell({ measured: false, foregroundBytes: MiB })).toBe(true)
    expect(link().limitBytesPerSecond).toBe(MiB)
  })

  test('is measured by one of those that copy over it, until that one is silent, and by its bytes of all', async () => {
    const { master, servers, tell, link } = await cluster('cabin')
    const [, near, far] = servers
    // The way of the other is longer by as much as ten queues: of one base with the first it would stop everything.
    for (let i = 0; i < 40; i++) {
      master.clock.jump(250)
      tell({ backgroundBytes: MiB / 4 }, near)
      tell({ backgroundBytes: MiB / 4, baseUs: 240_000, rttsUs: [240_500], epoch: 7 }, far)
    }
    expect(link().line).toMatchObject({ baseMs: 40 })
    expect(link().line!.backgroundBytesPerSecond).toBeGreaterThan(1.9 * MiB)
    const before = link().limitBytesPerSecond!
    expect(before).toBeGreaterThan(2 * MiB)
    for (let i = 0; i < 12; i++) {
      master.clock.jump(250)
      tell({ backgroundBytes: MiB / 4, baseUs: 240_000, rttsUs: [240_500], epoch: 7 }, far)
    }
    expect(link().line).toMatchObject({ baseMs: 240 })
    expect(link().limitBytesPerSecond!).toBeGreaterThan(MiB)
  })

  test('is felt for anew when its measured path is another one', async () => {
    const { control, tell, link, master } = await cluster()
    control(line, {}, 30)
    expect(link().limitBytesPerSecond).toBeGreaterThan(4 * MiB)
    master.clock.jump(250)
    tell({ epoch: 1, baseUs: 90_000, rttsUs: [90_100] })
    expect(link().limitBytesPerSecond).toBe(MiB)
  })

  test('begins with half of what it carried after a pause, and with little after a long one', async () => {
    const { control, tell, link, master } = await cluster()
    control(line, {}, 60)
    master.clock.jump(60_000)
    tell({})
    const later = link()
    expect(later.limitBytesPerSecond).toBeGreaterThan(30 * MBIT)
    expect(later.limitBytesPerSecond).toBeLessThan(60 * MBIT)
    master.clock.jump(700_000)
    tell({})
    expect(link().limitBytesPerSecond).toBe(MiB)
  })

  test('is no line when both are of one site, and is told of by whoever is registered only', async () => {
    const { tell, servers } = await cluster('home')
    expect(tell({}, servers[2])).toBe(false)
    const stranger = { ...servers[1]!, peer: new TestPeer('chunkserver', 'x'), node: servers[1]!.node }
    expect(() => tell({}, stranger as TestChunkserver)).toThrow('has not registered')
  })

  test('has steps of a quarter of a second, however often it is told of', async () => {
    const [often, seldom] = [await cluster(), await cluster()]
    for (let i = 0; i < 200; i++) {
      often.master.clock.jump(50)
      often.tell({ backgroundBytes: 60_000, rttsUs: i % 5 === 0 ? [40_100, 40_200] : [] })
      if (i % 5 !== 4) continue
      seldom.master.clock.jump(250)
      seldom.tell({ backgroundBytes: 300_000 })
    }
    const [a, b] = [often.link().limitBytesPerSecond!, seldom.link().limitBytesPerSecond!]
    expect(Math.abs(a - b) / b).toBeLessThan(0.15)
  })
})

test('copies under way have the rate of the line, and yield within two seconds when mounts use it', async () => {
  const { master, servers, tell, link } = await cluster('home')
  const cabin = servers[1]!
  const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: 'H,C' }
  await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
  const mount = await TestMount.open(master, 'm')
  const paces: number[] = []
  cabin.peer.answers.orderCopy = async ({ bytesPerSecond, chunk, length }) => {
    paces.push(bytesPerSecond)
    await master.clock.sleep(600_000)
    cabin.held.set(chunk, { length, sealed: true })
    return { bytes: length }
  }
  cabin.peer.answers.orderPace = ({ bytesPerSecond }) => {
    paces.push(bytesPerSecond)
    return { found: true }
  }
  master.work()
  const during = async (seconds: number, foregroundBytes: number, queueUs: number): Promise<void> => {
    for (let i = 0; i < seconds * 4; i++) {
      const rttsUs = [40_100 + queueUs, 40_200 + queueUs]
      tell({ backgroundBytes: Math.round((paces.at(-1) ?? MiB) / 4), foregroundBytes, rttsUs })
      await master.clock.pass(250)
    }
  }
  tell({})
  await writeFile(master, mount, servers, 'f', 60 * MiB)
  await during(6, 0, 0)
  expect(paces[0]).toBe(MiB)
  const alone = paces.at(-1)!
  expect(alone).toBeGreaterThan(2 * MiB)
  await during(2, MiB, 15_000)
  expect(paces.at(-1)!).toBeLessThan(alone / 2)
  expect(link().limitedBy).toBe('mounts')
  // Whoever measured is gone: nothing may hold the order at what was true then.
  for (let i = 0; i < 12; i++) await master.clock.pass(1_000)
  expect(link()).toMatchObject({ limitBytesPerSecond: null, limitedBy: 'nothing' })
  expect(paces.at(-1)).toBe(0)
}, 20_000)

test('orders that go at the same time have the rate of the line together', async () => {
  const { master, servers, tell, link } = await cluster('home')
  const cabin = servers[1]!
  const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: 'H,C' }
  await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
  const mount = await TestMount.open(master, 'm')
  const paces = new Map<number, number>()
  // It hangs: it takes longer than its pace says, and the next begins beside it.
  cabin.peer.answers.orderCopy = async ({ bytesPerSecond, chunk, length }) => {
    paces.set(chunk, bytesPerSecond)
    await master.clock.sleep(600_000)
    cabin.held.set(chunk, { length, sealed: true })
    return { bytes: length }
  }
  cabin.peer.answers.orderPace = ({ bytesPerSecond, chunk }) => {
    paces.set(chunk, bytesPerSecond)
    return { found: true }
  }
  master.work()
  tell({})
  for (const name of ['f', 'g']) await writeFile(master, mount, servers, name, 60 * MiB)
  const seen: number[] = []
  for (let i = 0; i < 400 && seen.length < 20; i++) {
    tell({ backgroundBytes: MiB / 4 })
    await master.clock.pass(250)
    if (paces.size === 2) seen.push([...paces.values()].reduce((sum, pace) => sum + pace, 0))
  }
  expect(seen).toHaveLength(20)
  const may = link().limitBytesPerSecond!
  for (const together of seen.slice(8)) expect(together).toBeLessThan(1.15 * may)
}, 20_000)
