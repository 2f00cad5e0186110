/*
 * The controller of a line between two sites, as the master runs it: fed by the call that measurers make, four times a second, with
 * what a model of a line with a buffer shows; the rate is what `link show` says that may go.
 */

import { describe, expect, test } from 'vitest'
import type { LinkReport, LinksReport } from '../../src/wire/reports-mesh.ts'
import type { LineSample } from '../../src/wire/shapes.ts'
import { between, type Line, type Moment, mean, quantile, run, type Traffic } from '../topology/line-model.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const MBIT = 125_000
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const ends = masterOfEachTest()

async function cluster(...more: string[]) {
  const master = ends(new TestMaster({ copies: 2 }))
  const servers = ['home', 'cabin', ...more].map((site, i) => {
    const place = { site, rack: undefined, machine: `m${i}` }
    return new TestChunkserver(`s${String.fromCharCode(65 + i)}`, { place, diskLabels: [site === 'home' ? 'H' : 'C'] })
  })
  for (const server of servers) await server.join(master)
  // These two answer at once.
  const ask = (name: 'lineSamples' | 'linkShow', request: object): unknown => {
    const handler = master.master.handlers[name] as (...args: unknown[]) => { reply: unknown }
    return handler(request, Buffer.alloc(0), admin.context()).reply
  }
  const link = (): LinkReport => (ask('linkShow', {}) as LinksReport).links[0]!
  const tell = (more: Partial<LineSample>): void => {
    const idle = { baseUs: 40_000, rttsUs: [40_100, 40_200], lostProbes: 0, backgroundBytes: 0, foregroundBytes: 0 }
    ask('lineSamples', { samples: [{ a: 'home', b: 'cabin', epoch: 0, ...idle, ...more }] })
  }
  /** What the model sees is told; what may go then is what it sends. */
  const control = (line: Line, traffic: Traffic, seconds: number): Moment[] =>
    run(line, traffic, seconds, ({ baseMs, rttsMs, lostProbes, backgroundBytes, foregroundBytes }) => {
      master.clock.jump(250)
      tell({
        baseUs: baseMs === undefined ? undefined : Math.round(baseMs * 1000),
        rttsUs: rttsMs.map((ms) => Math.round(ms * 1000)),
        lostProbes,
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

  test('carries no more than the operator allows, and that alone counts when nobody measures any more', async () => {
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
    expect(link()).toMatchObject({ limitBytesPerSecond: null, limitedBy: 'nothing' })
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
}, 20_000)
