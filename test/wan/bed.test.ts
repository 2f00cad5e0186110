/*
 * The bed does what it was told: what is set is what is measured, and nothing stays when it is gone. Bounds that a busy
 * machine can break are on the side of being slower only, or on the best of many.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Bed, type BedNode } from './bed.ts'
import { NETNS_DIR, sweep, WIREGUARD_DIR } from './leftovers.ts'
import { LinkModel, PLAIN_LINK } from './link-model.ts'
import { ask, look, pour, send, serve } from './traffic.ts'
import { describeOnBed } from './with-bed.ts'

const SEED = 20

describeOnBed('a bed of two sites', () => {
  let bed: Bed
  beforeAll(async () => {
    bed = await Bed.start({
      seed: SEED,
      sites: { home: { nodes: 2 }, fra: { nodes: 1 } },
      links: { 'home-fra': { delayMs: 20 } },
      congestion: 'cubic',
    })
  })
  afterAll(() => bed?.stop())

  test('the way between sites is as long as it was made, on IPv4, IPv6 and in the mesh; within a site it is short', async () => {
    const [fra, home] = [await serve(bed, 'fra1', 'echo'), await serve(bed, 'home2', 'echo')]
    const { address, address6, meshAddress } = bed.node('fra1')
    for (const to of [address, address6, meshAddress]) {
      const trips = await ask(bed, 'home1', to, fra.port, { count: 60, everyMs: 5 })
      expect(trips.lossRate).toBe(0)
      expect(trips.minMs).toBeGreaterThan(39)
      expect(trips.minMs).toBeLessThan(45)
    }
    for (const to of [bed.node('home2').address, bed.node('home2').meshAddress])
      expect((await ask(bed, 'home1', to, home.port, { count: 60, everyMs: 5 })).minMs).toBeLessThan(5)
    await bed.link('home', 'fra', { delayMs: 5 })
    const shorter = await ask(bed, 'home1', address, fra.port, { count: 60, everyMs: 5 })
    expect(shorter.minMs).toBeGreaterThan(9)
    expect(shorter.minMs).toBeLessThan(15)
    await Promise.all([fra.stop(), home.stop()])
  })

  test('the seed says which packets are lost', async () => {
    // The dice have been thrown for every packet so far.
    const before = (await bed.count('home', 'fra')).packets
    await bed.direction('home', 'fra', { lossRate: 0.05 })
    const counting = await serve(bed, 'fra1', 'count', 2500)
    await send(bed, 'home1', bed.node('fra1').address, counting.port, { count: 1000, bytes: 200, mbit: 4 })
    const { order } = (await counting.line()) as { order: number[] }
    await bed.direction('home', 'fra', { lossRate: 0 })
    const model = new LinkModel(`${SEED} 1 2`)
    for (let i = 0; i < before; i++) model.offer(228, i)
    model.reshape({ ...PLAIN_LINK, lossRate: 0.05 })
    const expected = Array.from({ length: 1000 }, (_, i) => i).filter((i) => model.offer(228, i) !== undefined)
    expect(order).toEqual(expected)
    expect(1000 - order.length).toBeGreaterThan(20)
    expect((await bed.count('home', 'fra')).lost).toBe(1000 - order.length)
  })

  test('a rate is kept, and packets behind a full queue are dropped', async () => {
    await bed.link('home', 'fra', { mbit: 20, queueMs: 50 })
    const drain = await serve(bed, 'fra1', 'drain')
    const rate = await pour(bed, 'home1', bed.node('fra1').address, drain.port, 2500)
    expect(rate).toBeGreaterThan(10)
    expect(rate).toBeLessThan(20.5)
    await drain.stop()
    const counting = await serve(bed, 'fra1', 'count', 1000)
    const before = (await bed.count('home', 'fra')).queueDrops
    // Three times what the link carries, for longer than its queue.
    await send(bed, 'home1', bed.node('fra1').address, counting.port, { count: 800, bytes: 1172, mbit: 60 })
    const counted = (await counting.line()) as { packets: number; ms: number }
    expect(((counted.packets - 1) * 1200 * 8) / 1000 / counted.ms).toBeLessThan(21)
    expect((await bed.count('home', 'fra')).queueDrops - before).toBe(800 - counted.packets)
    expect(counted.packets).toBeLessThan(800)
    await bed.link('home', 'fra', { mbit: null })
  })

  test('packets that are too long vanish, in one direction', async () => {
    const echo = await serve(bed, 'fra1', 'echo')
    await bed.direction('fra', 'home', { packetBytesMax: 1400 })
    const asked = (bytes: number) =>
      ask(bed, 'home1', bed.node('fra1').address, echo.port, { count: 5, everyMs: 5, bytes })
    // 28 bytes of headers.
    expect((await asked(1372)).lossRate).toBe(0)
    expect((await asked(1373)).lossRate).toBe(1)
    expect((await bed.count('fra', 'home')).tooLong).toBe(5)
    await bed.direction('fra', 'home', { packetBytesMax: PLAIN_LINK.packetBytesMax })
    await echo.stop()
  })

  test('a cut link carries nothing and heals, and the site goes on by itself', async () => {
    const [fra, home] = [await serve(bed, 'fra1', 'echo'), await serve(bed, 'home2', 'echo')]
    await bed.cut('home', 'fra')
    const options = { count: 10, everyMs: 5 }
    expect((await ask(bed, 'home1', bed.node('fra1').meshAddress, fra.port, options)).lossRate).toBe(1)
    expect((await ask(bed, 'home1', bed.node('home2').meshAddress, home.port, options)).lossRate).toBe(0)
    await bed.heal('home', 'fra')
    expect((await ask(bed, 'home1', bed.node('fra1').meshAddress, fra.port, options)).lossRate).toBe(0)
    await Promise.all([fra.stop(), home.stop()])
  })

  test('the route into the mesh has the congestion control that was asked for', async () => {
    const { stdout } = await bed.run('home1', 'ip', ['route', 'show', '10.77.0.0/16'])
    expect(stdout).toContain('congctl cubic')
  })

  test('a program that fails says so', async () => {
    await expect(bed.run('home1', 'sh', ['-c', 'echo what is wrong >&2; exit 3'])).rejects.toThrow('what is wrong')
  })
})

describeOnBed('a bed with routers that translate addresses', () => {
  let bed: Bed
  beforeAll(async () => {
    bed = await Bed.start({
      seed: SEED,
      sites: { flat: { nodes: 1, nat: 'cone' }, carrier: { nodes: 1, nat: 'symmetric' }, fra: { nodes: 2 } },
      link: { delayMs: 2 },
    })
  })
  afterAll(() => bed?.stop())

  test('nodes behind them are seen at the address of the router; a symmetric one takes another port for each', async () => {
    const mirrors = [await serve(bed, 'fra1', 'mirror'), await serve(bed, 'fra2', 'mirror')]
    const at = mirrors.map(({ port }, i) => ({ address: bed.node(`fra${i + 1}`).address, port }))
    const cone = await look(bed, 'flat1', 40_000, at)
    expect(cone).toEqual([`${bed.node('flat1').publicAddress} 40000`, `${bed.node('flat1').publicAddress} 40000`])
    const symmetric = await look(bed, 'carrier1', 40_000, at)
    expect(symmetric.every((seen) => seen?.startsWith(`${bed.node('carrier1').publicAddress} `))).toBe(true)
    expect(new Set(symmetric).size).toBe(2)
    await Promise.all(mirrors.map((mirror) => mirror.stop()))
  })

  test('nothing comes in that was not asked for, and the mesh reaches them once they have spoken', async () => {
    const echo = await serve(bed, 'flat1', 'echo')
    const options = { count: 3, everyMs: 5 }
    expect((await ask(bed, 'fra1', bed.node('flat1').publicAddress, echo.port, options)).lossRate).toBe(1)
    const answer = await serve(bed, 'fra1', 'echo')
    expect((await ask(bed, 'flat1', bed.node('fra1').meshAddress, answer.port, options)).lossRate).toBe(0)
    expect((await ask(bed, 'fra1', bed.node('flat1').meshAddress, echo.port, options)).lossRate).toBe(0)
    await Promise.all([echo.stop(), answer.stop()])
  })
})

describeOnBed('a bed without IPv4', () => {
  test('has a mesh all the same', async () => {
    const bed = await Bed.start({ seed: SEED, sites: { home: { nodes: 1 }, fra: { nodes: 1 } }, underlay: 'ipv6' })
    try {
      const echo = await serve(bed, 'fra1', 'echo')
      expect(bed.node('home1').address).toBe('')
      const trips = await ask(bed, 'home1', bed.node('fra1').meshAddress, echo.port, { count: 5, everyMs: 5 })
      expect(trips.lossRate).toBe(0)
      await echo.stop()
    } finally {
      await bed.stop()
    }
  })
})

describeOnBed('what a bed leaves', () => {
  const PROGRAM = fileURLToPath(new URL('./bed-child.ts', import.meta.url))
  const started: ChildProcess[] = []
  afterAll(() => {
    for (const child of started) child.kill('SIGTERM')
  })

  async function bedOfAnother(): Promise<{ child: ChildProcess; nodes: BedNode[] }> {
    const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] })
    started.push(child)
    const { value } = await createInterface({ input: child.stdout! })[Symbol.asyncIterator]().next()
    return { child, nodes: JSON.parse(value) as BedNode[] }
  }

  const left = (nodes: readonly BedNode[]): string[] => {
    const prefix = nodes[0]!.namespace.replace(/-home1$/, '')
    const sockets = existsSync(WIREGUARD_DIR) ? readdirSync(WIREGUARD_DIR) : []
    return [
      ...readdirSync(NETNS_DIR).filter((name) => name.startsWith(prefix)),
      ...sockets.filter((name) => nodes.some((node) => name === `${node.wireguardName}.sock`)),
    ]
  }
  async function nothingLeft(nodes: readonly BedNode[]): Promise<void> {
    for (let i = 0; i < 100 && left(nodes).length > 0; i++) await sleep(50)
    expect(left(nodes)).toEqual([])
  }

  test.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)('is nothing when its process gets %s', async (signal) => {
    const { child, nodes } = await bedOfAnother()
    expect(left(nodes).length).toBe(5)
    child.kill(signal)
    const [, how] = await once(child, 'close')
    expect(how).toBe(signal)
    await nothingLeft(nodes)
  })

  test('is removed by the next one when relay and process were killed at once, and what is in use stays', async () => {
    const [dead, alive] = [await bedOfAnother(), await bedOfAnother()]
    const wan = dead.nodes[0]!.namespace.replace(/-home1$/, '-wan')
    const { stdout } = spawn('ip', ['netns', 'pids', wan], { stdio: ['ignore', 'pipe', 'inherit'] })
    const relays = (await stdout!.toArray()).map(String).join('').trim().split('\n').map(Number)
    expect(relays.length).toBe(1)
    for (const pid of [...relays, dead.child.pid!]) process.kill(pid, 'SIGKILL')
    await once(dead.child, 'close')
    expect(left(dead.nodes).length).toBe(5)
    sweep()
    await nothingLeft(dead.nodes)
    expect(left(alive.nodes).length).toBe(5)
    alive.child.kill('SIGTERM')
    await once(alive.child, 'close')
    await nothingLeft(alive.nodes)
  })
})
