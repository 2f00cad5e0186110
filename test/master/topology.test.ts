/* Measured places at the master: nodes tell how far they are, places follow, people have the last word. The clock is the test's. */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { DiskId } from '../../src/base/ids.ts'
import { BODY_BYTES_MAX } from '../../src/base/limits.ts'
import { memberRecord } from '../../src/master/core/mesh-records.ts'
import { pack } from '../../src/master/core/records.ts'
import { transact } from '../../src/master/core/state.ts'
import { parseAddressMap } from '../../src/topology/address-map.ts'
import { meshCalls } from '../../src/wire/calls-mesh.ts'
import { MEASURED_MAX, type MeasuredPath, ROWS_MAX } from '../../src/wire/mesh-shapes.ts'
import type { Reply, Request } from '../../src/wire/protocol.ts'
import type { TopologyReport } from '../../src/wire/reports-mesh.ts'
import type { ChunkPlaces, DeclaredPlace } from '../../src/wire/shapes.ts'
import { joining, mesh, meshHash, meshNode, proved, token } from '../support/mesh.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const running = masterOfEachTest()
const admin = new TestPeer('admin', 'hub')
const MINUTE = 60_000

type Named = Record<string, { site: string; rack: string }>

/** Nodes by number on a line: where they are in milliseconds is how far they are from each other, and 0.4 ms more. */
class Country {
  master: TestMaster
  readonly at: Map<number, number>
  readonly servers = new Map<number, TestChunkserver>()
  /** Pairs that hear nothing of each other. */
  readonly cut = new Set<string>()
  readonly lossPpm = new Map<number, number>()
  readonly #mounts: TestMount[] = []
  readonly #rounds = new Map<number, number>()

  private constructor(master: TestMaster, at: Record<number, number>) {
    this.master = running(master)
    this.at = new Map(Object.entries(at).map(([n, ms]) => [Number(n), ms]))
  }

  /** Members at these places; those of `servers` have a chunkserver with what it declares. */
  static async of(at: Record<number, number>, servers: Record<number, Partial<DeclaredPlace> | undefined> = {}) {
    const country = new Country(new TestMaster(), at)
    const { master } = country
    await master.call(admin, 'meshFound', mesh)
    for (const n of country.at.keys()) await country.member(n)
    for (const [n, place] of Object.entries(servers)) {
      const declared = { machine: `m${n}`, rack: undefined, site: undefined, ...place }
      const server = new TestChunkserver(`s${n}`, { place: declared })
      server.member = meshNode(Number(n))
      country.servers.set(Number(n), server)
      await server.join(master)
    }
    master.work()
    return country
  }
  async member(n: number): Promise<void> {
    const { master } = this
    await master.call(admin, 'meshTokenMake', token(n, master.clock.now().sec + 3600))
    await master.call(admin, 'meshJoin', proved(joining(n, n), meshHash(n)))
    const certificate = { serial: n.toString(16), expiresSec: master.clock.now().sec + 9_000_000 }
    await master.call(admin, 'meshConfirm', { node: meshNode(n), ...certificate })
  }

  /** Everybody measures and tells, as often as nodes do. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 15_000) {
      await this.tell()
      for (const { peer, session } of this.#mounts) await this.master.call(peer, 'sessionRenew', { session })
      await this.master.clock.pass(15_000)
    }
  }
  async tell(): Promise<void> {
    const rows = [...this.at].map(([n, own]) => {
      const rounds = (this.#rounds.get(n) ?? 0) + 2
      this.#rounds.set(n, rounds)
      const paths = [...this.at].flatMap(([other, its]): MeasuredPath[] => {
        if (other === n || this.cut.has(`${Math.min(n, other)} ${Math.max(n, other)}`)) return []
        const us = Math.round((Math.abs(own - its) + 0.4) * 1000)
        const lossPpm = this.lossPpm.get(other) ?? 0
        return [{ peer: meshNode(other), rounds, baseUs: us, srttUs: us, rttvarUs: 5_000, lossPpm }]
      })
      return { node: meshNode(n), ageMs: 1_000, paths }
    })
    await this.master.call(admin, 'meshMeasured', { hub: meshNode(1), rows })
  }

  show(matrix = false): Promise<TopologyReport> {
    return this.master.call(admin, 'topologyShow', { matrix })
  }
  /** `node1: s1 r1 measured measured`. */
  async known(): Promise<string[]> {
    const { nodes } = await this.show()
    return nodes.map(({ name, site, rack, siteBy, rackBy }) => `${name}: ${[site, rack, siteBy, rackBy].join(' ')}`)
  }
  async places(): Promise<Named> {
    const { nodes } = await this.show()
    return Object.fromEntries(nodes.map(({ name, site, rack }) => [name, { site, rack }]))
  }
  async sites(): Promise<string[]> {
    return (await this.show()).nodes.map(({ site }) => site)
  }
  siteOf(n: number): string | undefined {
    return this.master.master.nodes.location(this.servers.get(n)!.node).site
  }

  /** A mount on a node, that has proved to be it. */
  async mount(n: number): Promise<TestMount> {
    const peer = new TestPeer('mount', `mount${n}`, `10.77.0.${n}:4000`)
    peer.answers.recall = () => ({})
    peer.identity = { cluster: 'test', node: meshNode(n), roles: ['mount'] }
    const opened = { client: `mount${n}`, host: `mount${n}`, mountpoint: `/mnt/${n}`, version: '0' }
    const { session } = await this.master.call(peer, 'sessionOpen', opened)
    const mount = new TestMount(this.master, peer, session)
    this.#mounts.push(mount)
    return mount
  }
  /** The nodes whose disks get a new chunk of the mount. */
  async writes(mount: TestMount): Promise<number[]> {
    const asked = { stamp: mount.stamp(), count: 1, kind: 'pack' as const, avoid: [], classId: undefined }
    const { chunks } = await this.master.call(mount.peer, 'chunkOpen', asked)
    return chunks[0]!.places.map(({ disk }) => this.#nodeOf(disk))
  }
  /** The nodes that it reads from, those of one rank in brackets. */
  ranks({ places }: ChunkPlaces): string {
    const byRank = new Map<number, number[]>()
    for (const { disk, rank = 0 } of places) byRank.set(rank, [...(byRank.get(rank) ?? []), this.#nodeOf(disk)])
    const sorted = [...byRank].sort(([x], [y]) => x - y).map(([, nodes]) => nodes.sort().join(' '))
    return sorted.map((nodes) => (nodes.includes(' ') ? `(${nodes})` : nodes)).join(' ')
  }
  #nodeOf(disk: DiskId): number {
    return [...this.servers].find(([, server]) => server.disk === disk)![0]
  }
}

const at = (site: string, rack: string): DeclaredPlace => ({ machine: undefined, site, rack })

const refusal = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call
  } catch (error) {
    if (error instanceof FsError) return error.code
    throw error
  }
  return 'done'
}
const set = (country: Country, wanted: Partial<Request<'topologySet'>>): Promise<Reply<'topologySet'>> =>
  country.master.call(admin, 'topologySet', { auto: undefined, siteUs: undefined, rackUs: undefined, ...wanted })

/** Two sites, 20 ms apart: 1 and 2 in one rack, 3 and 4 in two. */
const TWO_SITES = { 1: 0, 2: 0.3, 3: 20, 4: 24 }
const ALL = { 1: undefined, 2: undefined, 3: undefined, 4: undefined }

describe('measured places', () => {
  test('are found in two minutes, and chunkservers stand there', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    expect(await country.sites()).toEqual(['', '', '', ''])
    await country.pass(2 * MINUTE)
    expect(await country.known()).toEqual([
      'node1: s1 r1 measured measured',
      'node2: s1 r1 measured measured',
      'node3: s2 r2 measured measured',
      'node4: s2 r3 measured measured',
    ])
    expect([1, 2, 3, 4].map((n) => country.siteOf(n))).toEqual(['s1', 's1', 's2', 's2'])
  })

  test('hold after a restart of the master, before anything was measured again', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    await country.pass(2 * MINUTE)
    const before = await country.known()
    country.master = running(await country.master.restarted())
    expect(await country.known()).toEqual(before)
    country.master.work()
    await country.pass(10 * MINUTE)
    expect((await country.show()).number).toBe(1)
  })

  test('of a mesh with more nodes than are measured are those of the first that came, whoever comes later', async () => {
    const country = await Country.of({})
    const { state, store } = country.master
    const record = memberRecord.sample(() => 0)
    const joined = (n: number): void => {
      const own = {
        name: `node${n}`,
        ip: `10.77.${n >> 8}.${n & 255}`,
        joinedSec: 1_700_000_000 - n,
        keys: [],
        site: '',
      }
      state.mesh.setMember(meshNode(n), { ...record, ...own, confirmedSec: 1, certificates: [], candidates: [] })
    }
    transact(store, state, () => {
      for (let n = 1000; n > 1000 - MEASURED_MAX; n--) joined(n)
    })
    const shown = async () => (await country.show()).nodes.map(({ node }) => node)
    const first = await shown()
    expect(first).toHaveLength(MEASURED_MAX)
    // With a lesser id, and later.
    transact(store, state, () => joined(1))
    expect(await shown()).toEqual(first)
    transact(store, state, () => {
      for (const node of [...state.mesh.members.keys()]) state.mesh.setMember(node, undefined)
    })
  })

  test('of a node that moved are others after five evaluations, and not before', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    await country.pass(2 * MINUTE)
    country.at.set(2, 20.1)
    await country.pass(4 * MINUTE)
    expect(country.siteOf(2)).toBe('s1')
    await country.pass(2 * MINUTE)
    expect(country.siteOf(2)).toBe('s2')
    expect((await country.places()).node2).toEqual((await country.places()).node3)
  })

  test('do not change when a site is cut off, and when its node is removed nothing else does', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    await country.pass(2 * MINUTE)
    const { number } = await country.show()
    for (const pair of ['1 3', '1 4', '2 3', '2 4', '3 4']) country.cut.add(pair)
    await country.pass(20 * MINUTE)
    expect(await country.show()).toMatchObject({ number })
    await country.master.call(admin, 'meshRemove', { node: meshNode(4) })
    expect(await country.sites()).toEqual(['s1', 's1', 's2'])
    await country.pass(10 * MINUTE)
    expect(await country.sites()).toEqual(['s1', 's1', 's2'])
  })

  test('follow the limits that people set', async () => {
    const country = await Country.of(TWO_SITES)
    expect(await refusal(set(country, { rackUs: 20_000 }))).toBe('EINVAL')
    await set(country, { siteUs: 50_000, rackUs: 5_000 })
    await country.pass(2 * MINUTE)
    expect(await country.known()).toEqual([
      'node1: s1 r1 measured measured',
      'node2: s1 r1 measured measured',
      'node3: s1 r2 measured measured',
      'node4: s1 r2 measured measured',
    ])
  })

  test('are of distances that anybody can look at, and a page of the most nodes fits into one message', async () => {
    const country = await Country.of(TWO_SITES)
    await country.tell()
    expect((await country.show(true)).matrix[0]).toEqual([0, 0.7, 20.4, 24.4])
    expect((await country.show()).matrix).toEqual([])
    const nodes = Array.from({ length: MEASURED_MAX }, (_, i) => meshNode(1 + i))
    const us = { rounds: 9_999, baseUs: 9_123_456, srttUs: 9_123_456, rttvarUs: 9_123_456, lossPpm: 999_999 }
    const rows = nodes
      .slice(0, ROWS_MAX)
      .map((node) => ({ node, ageMs: 15_000, paths: nodes.map((peer) => ({ peer, ...us })) }))
    const page = pack(meshCalls.meshMeasured.request.encode({ hub: nodes[0]!, rows }))
    expect(page.length).toBeLessThan(BODY_BYTES_MAX / 4)
  })
})

describe('what people say', () => {
  test('comes first: what a chunkserver declares, then its address, then the node', async () => {
    const country = await Country.of(TWO_SITES, { ...ALL, 1: { site: 'home' } })
    await country.master.call(admin, 'topologyPin', { node: meshNode(3), site: 'office', rack: 'shelf' })
    expect(country.siteOf(3)).toBe('office')
    await country.pass(2 * MINUTE)
    // Who is near to what is declared is there as well.
    expect(await country.known()).toEqual([
      'node1: home r1 declared measured',
      'node2: home r1 measured measured',
      'node3: office shelf node node',
      'node4: office r2 measured measured',
    ])
    expect([1, 2, 3, 4].map((n) => country.siteOf(n))).toEqual(['home', 'home', 'office', 'office'])
    await country.master.call(admin, 'topologyPin', { node: meshNode(3), site: undefined, rack: undefined })
    await country.pass(6 * MINUTE)
    expect((await country.known())[2]).toMatch(/^node3: office shelf measured measured$/)
  })

  test('is shown also of chunkservers that are in no mesh, by configuration or address', async () => {
    const master = running(new TestMaster())
    const servers = [new TestChunkserver('a', { place: at('home', 'r1') }), new TestChunkserver('b')]
    for (const server of servers) await server.join(master)
    const map = parseAddressMap('127.0.0.0/8 here|shelf')
    if ('errno' in map) throw new Error(map.detail)
    master.master.nodes.setAddresses(map.ok)
    const { nodes } = await master.call(admin, 'topologyShow', { matrix: true })
    expect(nodes.map(({ node, name, site, siteBy, rack }) => [node, name, site, siteBy, rack])).toEqual([
      ['', 'a', 'home', 'declared', 'r1'],
      ['', 'b', 'here', 'address', 'shelf'],
    ])
  })

  test('a name that was given to a measured site stays with it; one that is declared is changed where it is', async () => {
    const country = await Country.of(TWO_SITES, { ...ALL, 1: { site: 'home' } })
    await country.pass(2 * MINUTE)
    const rename = (from: string, to: string) =>
      country.master.call(admin, 'topologyRename', { level: 'site', from, to })
    await rename('s1', 'office')
    expect(await country.sites()).toEqual(['home', 'home', 'office', 'office'])
    await country.pass(10 * MINUTE)
    expect(await country.sites()).toEqual(['home', 'home', 'office', 'office'])
    expect(country.siteOf(3)).toBe('office')
    expect(await refusal(rename('home', 'mine'))).toBe('EBUSY')
    expect(await refusal(rename('nowhere', 'mine'))).toBe('ENOENT')
    expect(await refusal(rename('office', 'home'))).toBe('EEXIST')
  })

  test('with measuring by hand a proposal holds when somebody applies just that', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    await set(country, { auto: false })
    await country.pass(8 * MINUTE)
    expect(await country.sites()).toEqual(['', '', '', ''])
    const { proposal } = await country.show()
    expect(proposal.changes.map(({ name, toSite, toRack }) => `${name} ${toSite} ${toRack}`)).toEqual([
      'node1 s1 r1',
      'node2 s1 r1',
      'node3 s2 r2',
      'node4 s2 r3',
    ])
    const apply = (version: number) => country.master.call(admin, 'topologyApply', { version })
    expect(await refusal(apply(proposal.version + 1))).toBe('ESTALE')
    await apply(proposal.version)
    expect(await country.sites()).toEqual(['s1', 's1', 's2', 's2'])
    country.at.set(2, 20.1)
    await country.pass(12 * MINUTE)
    expect(await country.sites()).toEqual(['s1', 's1', 's2', 's2'])
    const later = await country.show()
    expect(later.proposal.changes).toMatchObject([{ name: 'node2', site: 's1', toSite: 's2' }])
    expect(await refusal(apply(proposal.version))).toBe('ESTALE')
    await apply(later.proposal.version)
    expect(await country.sites()).toEqual(['s1', 's2', 's2', 's2'])
  })
})

describe('a mount of the mesh', () => {
  test('writes at its site first and reads from there, by the place of its node', async () => {
    const country = await Country.of({ ...TWO_SITES, 5: 20.2 }, ALL)
    await country.pass(2 * MINUTE)
    const mount = await country.mount(5)
    for (let i = 0; i < 10; i++) expect(await country.writes(mount)).toContain(3)
    const { mounts } = await country.show()
    expect(mounts).toMatchObject([{ mountpoint: 'mount5:/mnt/5', node: meshNode(5), site: 's2', rack: 'r2' }])
  })

  test('by an address of the mesh is known without a certificate', async () => {
    const country = await Country.of(TWO_SITES, ALL)
    await country.pass(2 * MINUTE)
    const mount = await country.mount(3)
    mount.peer.identity = undefined
    expect((await country.show()).mounts).toMatchObject([{ node: meshNode(3), site: 's2' }])
  })

  test('away from all chunkservers is of the nearest site; one that moves is of another within a minute', async () => {
    const country = await Country.of({ ...TWO_SITES, 5: -30 }, ALL)
    await country.pass(2 * MINUTE)
    await country.mount(5)
    await country.pass(MINUTE)
    expect((await country.places()).node5!.site).toBe('s3')
    const site = async () => (await country.show()).mounts[0]!.site
    expect(await site()).toBe('s1')
    country.at.set(5, 60)
    await country.pass(MINUTE)
    expect(await site()).toBe('s2')
    // Back at home, beside the chunkservers there.
    country.at.set(5, 0.1)
    await country.pass(MINUTE)
    expect(await site()).toBe('s1')
  })

  test('reads the quickest copy where places mislead, or are not known yet, and shares reads out among equals', async () => {
    const country = await Country.of(TWO_SITES, { 1: undefined, 3: undefined, 4: undefined })
    const { master } = country
    await master.call(admin, 'settingsSet', {
      ...{ stamp: { session: 0 as never, seq: 0, acked: 0 }, copies: 3, graceMs: undefined, moving: undefined },
      ...{ trashRetentionMs: undefined, sessionTimeoutMs: undefined, backupLabels: undefined },
    })
    const mount = await country.mount(3)
    const { chunk } = await writeFile(master, mount, [...country.servers.values()], 'f', 1000)
    const read = async (by: TestMount): Promise<string> => {
      await country.tell()
      return country.ranks(
        (await master.call(by.peer, 'chunkPlaces', { session: by.session, chunks: [chunk] })).chunks[0]!,
      )
    }
    expect(await read(mount)).toBe('3 4 1')
    // The same with places: its own, its site, another.
    await country.pass(2 * MINUTE)
    expect(await country.sites()).toEqual(['s1', 's1', 's2', 's2'])
    expect(await read(mount)).toBe('3 4 1')
    const elsewhere = await country.mount(2)
    expect(await read(elsewhere)).toBe('1 (3 4)')
    // Its own line loses packets: a copy in another site is quicker, and the other one there no slower than that.
    country.lossPpm.set(1, 50_000)
    country.at.set(3, 1)
    country.at.set(4, 1.2)
    expect(await read(elsewhere)).toBe('(3 4) 1')
  })
})
