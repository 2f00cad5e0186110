/* Which copies a mount is told to read first. */

import { describe, expect, test } from 'vitest'
import type { ChunkPlaces } from '../../src/wire/shapes.ts'
import { TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
type Declared = ConstructorParameters<typeof TestChunkserver>[1]

async function cluster(...declared: Declared[]) {
  const master = new TestMaster({ copies: declared.length })
  const servers = declared.map((one, i) => new TestChunkserver(`s${i + 1}`, one))
  for (const server of servers) await server.join(master)
  const mount = await TestMount.open(master, 'm')
  const { ino, chunk } = await writeFile(master, mount, servers, 'f', 1000)
  const ranks = (chunks: readonly ChunkPlaces[]) => {
    const { places } = chunks.find((one) => one.chunk === chunk)!
    return servers.map(({ disk }) => places.find((place) => place.disk === disk)!.rank)
  }
  return {
    master,
    servers,
    mount,
    opened: async () =>
      ranks((await master.call(mount.peer, 'open', { session: mount.session, ino, write: false })).chunks),
    located: async () =>
      ranks((await master.call(mount.peer, 'locate', { session: mount.session, ino, offset: 0, length: 10 })).chunks),
    asked: async () =>
      ranks((await master.call(mount.peer, 'chunkPlaces', { session: mount.session, chunks: [chunk] })).chunks),
    declare: (prefer: string[], place: { rack?: string; site?: string } = {}) =>
      master.call(mount.peer, 'sessionPlace', {
        session: mount.session,
        place: { machine: undefined, rack: place.rack, site: place.site },
        prefer,
      }),
  }
}
const order = (ranks: readonly (number | undefined)[]): number[] =>
  ranks
    .map((rank, i) => ({ rank: rank!, i }))
    .sort((a, b) => a.rank - b.rank || a.i - b.i)
    .map(({ i }) => i + 1)
const at = (site: string, rack: string, labels: string[] = []): Declared => ({
  place: { machine: `${site}-${rack}-${labels}`, site, rack },
  labels,
})

describe('the order of reading', () => {
  test('is not spoken of where nothing is known that would tell copies apart', async () => {
    const c = await cluster({ labels: ['A'] }, { labels: ['B'] })
    expect([await c.opened(), await c.located(), await c.asked()]).toEqual(
      Array.from({ length: 3 }, () => [undefined, undefined]),
    )
    await c.declare(['C'])
    expect(await c.opened()).toEqual([undefined, undefined])
  })

  test('is that of the labels that the mount prefers, on every way to the places', async () => {
    const c = await cluster({ labels: ['A'] }, { labels: ['B'], diskLabels: ['ssd'] }, { labels: ['C'] })
    await c.declare(['ssd', 'c'])
    for (const ranks of [await c.opened(), await c.located(), await c.asked()]) expect(order(ranks)).toEqual([2, 3, 1])
    await c.master.call(admin, 'nodeLabel', { stamp: ADMIN, node: c.servers[0]!.node, labels: ['ssd'] })
    expect(order(await c.opened())).toEqual([1, 2, 3])
  })

  test('is from near to far among equals', async () => {
    const c = await cluster(at('far', 'r1'), at('near', 'r1'), at('near', 'r2', ['A']))
    await c.declare([], { site: 'near', rack: 'r2' })
    expect(order(await c.opened())).toEqual([3, 2, 1])
    await c.declare(['A'], { site: 'far', rack: 'r1' })
    expect(order(await c.opened())).toEqual([3, 1, 2])
  })

  test('ends with the backup disks, however near and preferred they are', async () => {
    const c = await cluster(at('near', 'r1', ['B', 'ssd']), at('far', 'r1'), at('near', 'r1'))
    await c.declare(['ssd'], { site: 'near', rack: 'r1' })
    expect(order(await c.opened())).toEqual([1, 3, 2])
    const set = (backupLabels: string[]) =>
      c.master.call(admin, 'settingsSet', {
        stamp: ADMIN,
        ...{ copies: undefined, graceMs: undefined, trashRetentionMs: undefined, sessionTimeoutMs: undefined },
        backupLabels,
        moving: undefined,
      })
    expect(await set(['b'])).toMatchObject({ backupLabels: ['B'] })
    expect(order(await c.opened())).toEqual([3, 2, 1])
    expect((await set([])).backupLabels).toBeUndefined()
    expect(order(await c.opened())).toEqual([1, 3, 2])
    await expect(set(['NO'])).rejects.toMatchObject({ code: 'EINVAL' })
  })

  test('of labels that are none is refused', async () => {
    const c = await cluster({})
    await expect(c.declare(['NO'])).rejects.toMatchObject({ code: 'EINVAL' })
  })
})
