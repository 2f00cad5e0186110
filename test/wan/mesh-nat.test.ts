/*
 * Machines behind routers: two behind ordinary ones reach each other through the relay at once and directly soon after, and
 * those behind routers that show everybody another port stay with the relay. The status says which. The hub does not relay
 * here, so that it can go at the end.
 */

import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NodeRecord } from '../../src/mesh/files.ts'
import type { MeshPeerReport } from '../../src/wire/reports-mesh.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { ask, type Serving, serve } from './traffic.ts'
import { describeOnBed } from './with-bed.ts'

describeOnBed('a mesh of machines behind routers', () => {
  let bed: Bed
  let machines: Machines
  const servers: Serving[] = []
  const ipOf = async (node: string): Promise<string> =>
    (JSON.parse(await machines.file(node, 'mesh/node.json')) as NodeRecord).ip
  const peerOf = async (node: string, other: string): Promise<MeshPeerReport | undefined> =>
    (await machines.meshStatus(node)).peers.find(({ name }) => name === other)
  const way = (node: string, other: string, path: string, ms: number): Promise<MeshPeerReport> =>
    eventually(`${node} reaches ${other}: ${path}`, ms, async () => {
      const peer = await peerOf(node, other)
      if (peer?.path === path && peer.rttMs !== undefined) return peer
      throw new Error(`${JSON.stringify(peer)}\n${machines.said(node, 'mesh')}`)
    })
  const echoAt = async (node: string): Promise<number> => {
    const serving = await serve(bed, node, 'echo')
    servers.push(serving)
    return serving.port
  }
  const enter = async (...nodes: string[]): Promise<void> => {
    for (const node of nodes) {
      await machines.join('fra1', node)
      machines.start(node, 'mesh')
    }
  }

  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 13, wireguard: false, underlay: 'ipv4' },
      sites: {
        ...{ fra: { nodes: 1 }, lab: { nodes: 1 } },
        ...{ home: { nodes: 1, nat: 'cone' }, barn: { nodes: 1, nat: 'cone' } },
        ...{ cafe: { nodes: 1, nat: 'symmetric' }, inn: { nodes: 1, nat: 'symmetric' } },
      },
      link: { delayMs: 5 },
    })
    machines = await Machines.on(bed)
    await machines.found('fra1')
    await machines.configure('fra1', 'mesh', ['relay = false'])
    await machines.stop('fra1', 'mesh')
    machines.start('fra1', 'mesh')
    await enter('lab1')
  }, 90_000)
  afterAll(async () => {
    for (const server of servers) await server.stop()
    await machines?.close()
    await bed?.stop()
  })

  test('two behind ordinary routers are relayed at once and then direct, without a gap', async () => {
    await enter('home1', 'barn1')
    const port = await echoAt('barn1')
    const target = await ipOf('barn1')
    await eventually('packets pass', 20_000, async () =>
      (await ask(bed, 'home1', target, port, { count: 5, everyMs: 20 })).lossRate < 1 ? true : undefined,
    )
    const { rttMs, lossRate } = await ask(bed, 'home1', target, port, { count: 400, everyMs: 25 })
    expect(lossRate, rttMs.map((ms) => ms?.toFixed(0) ?? '-').join(' ')).toBeLessThan(0.05)
    const peer = await way('home1', 'barn1', 'direct', 60_000)
    expect(peer.via).toBeUndefined()
    expect(peer.endpoint).toBe(`${bed.node('barn1').publicAddress}:51820`)
  }, 120_000)

  test('two behind routers with a port for each stranger stay with the relay, and the status names it', async () => {
    await enter('cafe1', 'inn1')
    const port = await echoAt('inn1')
    const target = await ipOf('inn1')
    await eventually('packets pass', 20_000, async () =>
      (await ask(bed, 'cafe1', target, port, { count: 5, everyMs: 20 })).lossRate < 1 ? true : undefined,
    )
    const { lossRate } = await ask(bed, 'cafe1', target, port, { count: 400, everyMs: 25 })
    expect(lossRate).toBeLessThan(0.05)
    const peer = await way('cafe1', 'inn1', 'relayed', 90_000)
    expect(peer.via).toBe('lab1')
    const shown = await machines.holdfast('cafe1', [
      'mesh',
      'status',
      '--mesh-dir',
      join(machines.dir('cafe1'), 'mesh'),
    ])
    expect(shown).toMatch(new RegExp(`inn1 .*relayed by ${peer.via}`))
    expect((await ask(bed, 'cafe1', target, port, { count: 100, everyMs: 20 })).lossRate).toBeLessThan(0.05)
  }, 150_000)

  test('a machine that relays leads packets of the mesh nowhere else', async () => {
    const via = bed.node('fra1').address
    const { stdout } = await bed.run('lab1', 'sh', [
      '-c',
      `ip -4 route get ${via} from ${await ipOf('home1')} iif ${bed.node('lab1').wireguardName} 2>&1 || true`,
    ])
    expect(stdout).toMatch(/unreachable|No route|Network is unreachable/i)
    expect((await bed.run('lab1', 'cat', ['/proc/sys/net/ipv4/ip_forward'])).stdout.trim()).toBe('0')
  })

  test('with the hub gone, its machine and its site, those who are relayed by another go on, and their agents start again', async () => {
    await machines.stop('fra1', 'master', 'SIGKILL')
    await machines.stop('fra1', 'mesh', 'SIGKILL')
    await bed.isolate('fra', true)
    const port = await echoAt('inn1')
    const flow = ask(bed, 'cafe1', await ipOf('inn1'), port, { count: 300, everyMs: 20 })
    await machines.kill('cafe1', 'mesh')
    expect((await flow).lossRate).toBeLessThan(0.05)
    expect((await way('cafe1', 'inn1', 'relayed', 60_000)).via).toBe('lab1')
    const direct = await echoAt('barn1')
    expect((await ask(bed, 'home1', await ipOf('barn1'), direct, { count: 100, everyMs: 20 })).lossRate).toBeLessThan(
      0.05,
    )
  }, 120_000)
})
