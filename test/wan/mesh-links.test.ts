/*
 * Ways that are unlike an Ethernet with IPv4: a network without IPv4 at all, and one that swallows large packets without a
 * word. One bed, because the mesh itself needs no IPv4 below it for either.
 */

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NodeRecord } from '../../src/mesh/files.ts'
import type { MeshPeerReport } from '../../src/wire/reports-mesh.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { pour, serve } from './traffic.ts'
import { describeOnBed } from './with-bed.ts'

describeOnBed('a mesh on a network without IPv4', () => {
  let bed: Bed
  let machines: Machines
  const peerOf = async (node: string, other: string): Promise<MeshPeerReport | undefined> =>
    (await machines.meshStatus(node)).peers.find(({ name }) => name === other)

  beforeAll(async () => {
    bed = await Bed.start({
      ...{
        seed: 14,
        wireguard: false,
        underlay: 'ipv6',
        sites: { fra: { nodes: 1 }, home: { nodes: 1 }, far: { nodes: 1 } },
      },
      link: { delayMs: 5 },
    })
    machines = await Machines.on(bed)
  })
  afterAll(async () => {
    await machines?.close()
    await bed?.stop()
  })

  test('is founded and joined as any other', async () => {
    await machines.found('fra1')
    for (const node of ['home1', 'far1']) {
      await machines.join('fra1', node)
      machines.start(node, 'mesh')
    }
    const peer = await eventually('home1 hears far1', 40_000, async () => {
      const found = await peerOf('home1', 'far1')
      if (found?.handshakeAgeS !== undefined && found.rttMs !== undefined) return found
      throw new Error(`${JSON.stringify(found)}\n${machines.said('home1', 'mesh')}`)
    })
    expect(peer.endpoint).toBe(`[${bed.node('far1').address6}]:51820`)
  }, 90_000)

  test('finds out how large a packet may be where large ones vanish, and goes on with that', async () => {
    // Of a packet in the tunnel 80 bytes are IPv6, UDP and WireGuard.
    await bed.link('home', 'far', { packetBytesMax: 1_400 })
    // Three large echoes that did not come back, ten seconds apart.
    await eventually('the size of the way is known', 100_000, async () => {
      const [there, back] = [await peerOf('home1', 'far1'), await peerOf('far1', 'home1')]
      const fits = [there, back].every((peer) => peer !== undefined && peer.mtu <= 1_320)
      if (fits) return true
      throw new Error(`${JSON.stringify(there)}\n${JSON.stringify(back)}`)
    })
    const { ip } = JSON.parse(await machines.file('far1', 'mesh/node.json')) as NodeRecord
    const drain = await serve(bed, 'far1', 'drain')
    try {
      expect(await pour(bed, 'home1', ip, drain.port, 1_500)).toBeGreaterThan(1)
    } finally {
      await drain.stop()
    }
  }, 150_000)
})
