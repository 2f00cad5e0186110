/* Where chunkservers and mounts stand and what they are called, as the master uses it when it chooses. */

import { describe, expect, test } from 'vitest'
import type { DiskId } from '../../src/base/ids.ts'
import { parseAddressMap } from '../../src/topology/address-map.ts'
import { diskReport, TestChunkserver, TestMaster, TestMount, TestPeer } from './harness.ts'

const admin = new TestPeer('admin', 'holdfast')
const stamp = { session: 0 as never, seq: 0, acked: 0 }

async function master(...servers: TestChunkserver[]): Promise<TestMaster> {
  const started = new TestMaster({ copies: 1 })
  for (const server of servers) await server.join(started)
  return started
}
const labelsOf = (m: TestMaster, server: TestChunkserver) => [...m.master.nodes.map().get(server.disk)!.labels].sort()
const locationOf = (m: TestMaster, server: TestChunkserver) => m.master.nodes.map().get(server.disk)!.location

describe('labels', () => {
  test('of a disk are its own and those of its chunkserver, in one set until one of them changes', async () => {
    const server = new TestChunkserver('s1', { labels: ['h', 'ssd'], diskLabels: ['b'] })
    const m = await master(server)
    expect(labelsOf(m, server)).toEqual(['B', 'H', 'ssd'])
    const before = m.master.nodes.labels(server.disk)
    await m.call(server.peer, 'nodeHeartbeat', { node: server.node, disks: [diskReport('disk-s1')] })
    expect(m.master.nodes.labels(server.disk)).toBe(before)
    await m.call(admin, 'nodeLabel', { stamp, node: server.node, labels: ['X'] })
    expect(labelsOf(m, server)).toEqual(['B', 'X'])
    await m.call(admin, 'diskLabel', { stamp, disk: server.disk, labels: [] })
    expect(labelsOf(m, server)).toEqual(['X'])
    await m.call(admin, 'nodeLabel', { stamp, node: server.node, labels: undefined })
    expect(labelsOf(m, server)).toEqual(['H', 'ssd'])
  })

  test('that an admin set hold in a master that was started again', async () => {
    const server = new TestChunkserver('s1', { labels: ['H'] })
    const m = await master(server)
    await m.call(admin, 'nodeLabel', { stamp, node: server.node, labels: ['X'] })
    const again = await m.restarted()
    expect(labelsOf(again, server)).toEqual(['X'])
    await server.join(again)
    expect(labelsOf(again, server)).toEqual(['X'])
    const [report] = await again.call(admin, 'nodeList', {})
    expect(report).toMatchObject({ name: 's1', labels: ['X'], labelsSet: true })
  })

  test('are changed by admins only', async () => {
    const server = new TestChunkserver('s1')
    const m = await master(server)
    const stranger = new TestPeer('mount', 'someone')
    const wish = { stamp, node: server.node, labels: ['X'] }
    await expect(m.call(stranger, 'nodeLabel', wish)).rejects.toMatchObject({ code: 'EPERM' })
    await expect(m.call(stranger, 'diskLabel', { ...wish, disk: server.disk })).rejects.toMatchObject({ code: 'EPERM' })
  })
})

describe('places', () => {
  test('are declared, or follow from the address, and both may change while the master runs', async () => {
    const declared = new TestChunkserver('s1', { place: { machine: 'nas', rack: 'r1', site: undefined } })
    const silent = new TestChunkserver('s2')
    const m = await master(declared, silent)
    expect(locationOf(m, silent)).toEqual({ host: '127.0.0.1' })
    const map = parseAddressMap('127.0.0.0/8 here|shelf')
    if ('errno' in map) throw new Error(map.detail)
    m.master.nodes.setAddresses(map.ok)
    expect(locationOf(m, declared)).toEqual({ host: 'nas', rack: 'r1', site: 'here' })
    expect(locationOf(m, silent)).toEqual({ host: '127.0.0.1', rack: 'shelf', site: 'here' })
    await m.call(admin, 'topologyReload', {})
    expect(locationOf(m, silent)).toEqual({ host: '127.0.0.1' })
  })

  test('of a mount decide where its new chunks go', async () => {
    const far = (n: number) => new TestChunkserver(`f${n}`, { place: { machine: `f${n}`, rack: 'r1', site: 'far' } })
    const near = new TestChunkserver('n1', { place: { machine: 'n1', rack: 'r9', site: 'near' } })
    const m = await master(far(1), far(2), near, far(3))
    const mount = await TestMount.open(m, 'm')
    const first = async (): Promise<DiskId> => {
      const reply = await m.call(mount.peer, 'chunkOpen', {
        ...{ stamp: mount.stamp(), count: 1, kind: 'pack', avoid: [] },
      } as never)
      return (reply as { chunks: { places: { disk: DiskId }[] }[] }).chunks[0]!.places[0]!.disk
    }
    await m.call(mount.peer, 'sessionPlace', {
      session: mount.session,
      place: { machine: undefined, rack: undefined, site: 'near' },
      prefer: [],
    })
    for (let i = 0; i < 10; i++) expect(await first()).toBe(near.disk)
  })
})
