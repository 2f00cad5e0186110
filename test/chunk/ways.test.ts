/*
 * What a chunkserver tells of its ways, over a clock that stands still until it is moved: the agent and the master are tables of
 * handlers.
 */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { diskId, nodeId } from '../../src/base/ids.ts'
import { Ways } from '../../src/chunk/ways.ts'
import type { Peer } from '../../src/wire/peer.ts'
import type { WaySeen } from '../../src/wire/shapes.ts'
import { TestClock } from '../master/harness.ts'
import { DirectPeer } from '../support/direct-peer.ts'
import { silentLog } from '../support/manual-clock.ts'

const fra = { disk: diskId(1), node: nodeId(2), host: '10.77.0.2', port: 9461 }
const KiB = 1024

function chunkserver({ measured = true, wanted = true } = {}) {
  const clock = new TestClock()
  const told: WaySeen[][] = []
  const asked: { host: string; since: number }[][] = []
  let at = 1
  let agents = 0
  const master = new DirectPeer({
    waysSeen: ({ ways }) => {
      told.push(ways)
      return { reply: { wanted } }
    },
  })
  const agent = (): Promise<Peer> => {
    agents++
    if (!measured) return Promise.reject(new FsError('ECONNREFUSED', 'no agent'))
    return Promise.resolve(
      new DirectPeer({
        agentWays: ({ ways }) => {
          asked.push(ways)
          at += 2
          const echoes = { epoch: 3, baseUs: 40_000, rttsUs: [41_000], lost: 1 }
          return { reply: { ways: ways.map(({ host }) => ({ host, at, echoes })) } }
        },
      }),
    )
  }
  const ways = new Ways(clock, silentLog, { master: () => ({ peer: master, node: nodeId(1) }), agent })
  const stop = new AbortController()
  const running = ways.run(stop.signal)
  const end = async (): Promise<void> => {
    stop.abort()
    await running
  }
  /** A copy that goes on until it is told to end. */
  const copy = (): { moved: (bytes: number) => void; end: () => Promise<void> } => {
    let moved: (bytes: number) => void = () => undefined
    let finish: () => void = () => undefined
    const done = ways.copying(fra, (count) => {
      moved = count
      return new Promise<void>((resolve) => {
        finish = resolve
      })
    })
    return {
      moved: (bytes) => moved(bytes),
      end: () => {
        finish()
        return done
      },
    }
  }
  const mount = (address: string): DirectPeer =>
    Object.assign(new DirectPeer({}), { address, hello: { version: 1, cluster: '', role: 'mount', name: 'm' } })
  return { clock, ways, told, asked, copy, mount, end, agents: () => agents }
}

describe('a way that is copied over', () => {
  test('is told of four times a second, with what was acknowledged and measured since the last time', async () => {
    const { clock, told, asked, copy, end } = chunkserver()
    const copying = copy()
    copying.moved(64 * KiB)
    await clock.pass(250)
    copying.moved(KiB)
    await clock.pass(250)
    const echoes = { epoch: 3, baseUs: 40_000, rttsUs: [41_000], lost: 1 }
    const way = { host: fra.host, port: fra.port, echoes, foregroundBytes: 0 }
    expect(told).toEqual([[{ ...way, backgroundBytes: 64 * KiB }], [{ ...way, backgroundBytes: KiB }]])
    expect(asked.map(([one]) => one)).toEqual([
      { host: fra.host, since: 0 },
      { host: fra.host, since: 3 },
    ])
    await copying.end()
    await end()
  })

  test('is told of while it stands still, and for two seconds after the last copy', async () => {
    const { clock, told, copy, end } = chunkserver()
    const copying = copy()
    for (let i = 0; i < 40; i++) await clock.pass(250)
    expect(told).toHaveLength(40)
    await copying.end()
    for (let i = 0; i < 40; i++) await clock.pass(250)
    expect(told.length).toBeGreaterThanOrEqual(47)
    expect(told.length).toBeLessThanOrEqual(49)
    await end()
  })

  test('is told of seldom when nobody measures it and the master has no use for it; the agent is left alone', async () => {
    const { clock, told, copy, agents, end } = chunkserver({ measured: false, wanted: false })
    const copying = copy()
    for (let i = 0; i < 120; i++) {
      copying.moved(KiB)
      await clock.pass(250)
    }
    expect(told.length).toBeGreaterThan(3)
    expect(told.length).toBeLessThan(8)
    expect(agents()).toBeLessThanOrEqual(4)
    for (const [way] of told) expect(way).toMatchObject({ echoes: undefined })
    // What was not told of when it happened is not told of later as if it were now.
    expect(Math.max(...told.map(([way]) => way!.backgroundBytes))).toBeLessThanOrEqual(8 * KiB)
    await copying.end()
    await end()
  })
})

describe('what mounts do', () => {
  test('is told of by their addresses, once a second, and not at all when it is little', async () => {
    const { clock, ways, told, mount, end } = chunkserver()
    const here = mount('10.77.0.5:40123')
    const quiet = mount('10.77.0.6:40124')
    const chunkserverPeer = new DirectPeer({})
    for (let i = 0; i < 12; i++) {
      ways.served(here, 20 * KiB)
      ways.served(quiet, 100)
      ways.served(chunkserverPeer, 500 * KiB)
      await clock.pass(250)
    }
    expect(told.length).toBeGreaterThanOrEqual(3)
    expect(told.length).toBeLessThanOrEqual(4)
    expect(new Set(told.flat().map(({ host, port }) => `${host} ${port}`))).toEqual(new Set(['10.77.0.5 0']))
    expect(told.at(-1)).toMatchObject([{ foregroundBytes: 80 * KiB, backgroundBytes: 0 }])
    await end()
  })

  test('is told of at once while something is copied, and of a mount that has gone no more', async () => {
    const { clock, ways, told, copy, mount, end } = chunkserver()
    const copying = copy()
    const [one, other] = [mount('[::ffff:10.77.0.5]:1'), mount('10.77.0.5:2')]
    ways.served(one, 40 * KiB)
    ways.served(other, KiB)
    await clock.pass(250)
    expect(told.at(-1)).toMatchObject([{ port: 9461 }, { host: '10.77.0.5', foregroundBytes: 41 * KiB }])
    one.close()
    ways.served(other, 40 * KiB)
    await clock.pass(250)
    expect(told.at(-1)).toMatchObject([{ port: 9461 }, { host: '10.77.0.5', foregroundBytes: 40 * KiB }])
    other.close()
    await clock.pass(250)
    expect(told.at(-1)).toHaveLength(1)
    await copying.end()
    await end()
  })
})
