import { describe, expect, test } from 'vitest'
import {
  adopt,
  type ClusterNode,
  type ClusterState,
  DEFAULT_LIMITS,
  type DistanceMs,
  evaluate,
  NO_CLUSTERS,
  rename,
} from '../../src/topology/cluster.ts'
import { APART, completeLinkage } from '../../src/topology/linkage.ts'
import { RttFilter } from '../../src/topology/rtt-filter.ts'
import { ROUNDS } from '../../src/topology/settling.ts'
import fc from '../support/properties.ts'
import { detours, dice, type Network, network } from './networks.ts'

const nodesOf = ({ nodes }: Network): ClusterNode[] => nodes.map(({ name }) => ({ name, rounds: 60 }))
const truth =
  ({ rttMs }: Network): DistanceMs =>
  (a, b) =>
    rttMs[a]![b]!
/** Which nodes are together, without names. */
function partition(places: ReadonlyMap<string, { site: string; rack: string }>, level: 'site' | 'rack'): string[] {
  const groups = new Map<string, string[]>()
  for (const [node, place] of places) groups.set(place[level], [...(groups.get(place[level]) ?? []), node])
  return [...groups.values()].map((names) => names.sort().join(' ')).sort()
}
const small = (names: readonly string[], ms: Readonly<Record<string, number>>): [ClusterNode[], DistanceMs] => [
  names.map((name) => ({ name, rounds: 60 })),
  (a, b) => ms[`${names[a]} ${names[b]}`] ?? ms[`${names[b]} ${names[a]}`],
]
function repeat(state: ClusterState, times: number, nodes: ClusterNode[], ms: DistanceMs): ClusterState {
  let now = state
  for (let i = 0; i < times; i++) now = evaluate(now, nodes, ms).state
  return now
}

describe('complete linkage', () => {
  /** The same by the book: all pairs of groups looked at for every step. */
  function naive(distances: Float64Array, n: number, limit: number): number[][] {
    let groups = Array.from({ length: n }, (_, i) => [i])
    for (;;) {
      let best: [number, number, number] | undefined
      for (let a = 0; a < groups.length; a++)
        for (let b = a + 1; b < groups.length; b++) {
          const far = Math.max(...groups[a]!.flatMap((i) => groups[b]!.map((j) => distances[i * n + j]!)))
          if (best === undefined || far < best[0]) best = [far, a, b]
        }
      if (best === undefined || best[0] > limit) return groups
      const [, a, b] = best
      groups[a] = [...groups[a]!, ...groups[b]!].sort((x, y) => x - y)
      groups = groups.filter((_, i) => i !== b)
    }
  }

  test('is what it is by the book, also where distances are equal', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 14 }), fc.nat(), fc.integer({ min: 1, max: 9 }), (n, seed, limit) => {
        const random = dice(seed)
        const distances = new Float64Array(n * n)
        for (let i = 0; i < n; i++)
          for (let j = i + 1; j < n; j++) {
            const ms = random() < 0.1 ? APART : Math.floor(random() * 12)
            distances[i * n + j] = ms
            distances[j * n + i] = ms
          }
        expect(completeLinkage(distances.slice(), n, limit)).toEqual(naive(distances, n, limit))
      }),
      { numRuns: 400 },
    )
  })
})

describe('racks and sites from distances', () => {
  test('halls are racks, sites are no wider than the limit, racks nest: in networks whose routes take detours', () => {
    let worst = 0
    for (let seed = 1; seed <= 12; seed++) {
      const world = network(dice(seed))
      worst = Math.max(worst, detours(world))
      const { state } = evaluate(NO_CLUSTERS, nodesOf(world), truth(world))
      const halls = new Map(world.nodes.map(({ name, rack }) => [name, { site: '', rack }]))
      expect(partition(state.places, 'rack'), `seed ${seed}`).toEqual(partition(halls, 'rack'))
      for (const [i, a] of world.nodes.entries())
        for (const [j, b] of world.nodes.entries()) {
          const [p, q] = [state.places.get(a.name)!, state.places.get(b.name)!]
          if (i !== j && p.site === q.site) expect(world.rttMs[i]![j]!).toBeLessThanOrEqual(DEFAULT_LIMITS.siteMs)
          if (p.rack === q.rack) expect(p.site).toBe(q.site)
        }
      const cities = new Set(world.nodes.filter(({ home }) => !home).map(({ city }) => city))
      // Both halls of a city are always within reach of each other, so no city without a home near it is torn apart needlessly.
      expect(new Set([...state.places.values()].map(({ site }) => site)).size).toBeLessThanOrEqual(cities.size + 16)
    }
    expect(worst).toBeGreaterThan(0.02)
  })

  test('neither the order of the nodes nor chance has a say', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = dice(seed)
        const world = network(random, { cities: 4, perHall: 2, homes: 3 })
        const order = world.nodes.map((_, i) => i).sort(() => random() - 0.5)
        const shuffled = order.map((i) => world.nodes[i]!)
        const rttMs = order.map((i) => order.map((j) => world.rttMs[i]![j]!))
        const a = evaluate(NO_CLUSTERS, nodesOf(world), truth(world))
        const b = evaluate(NO_CLUSTERS, nodesOf({ nodes: shuffled, rttMs }), truth({ nodes: shuffled, rttMs }))
        expect([...b.state.places].sort()).toEqual([...a.state.places].sort())
      }),
      { numRuns: 50 },
    )
  })

  test('a single link between two towns does not make them one site', () => {
    const names = ['a', 'b', 'c', 'd']
    const [nodes, ms] = small(names, { 'a b': 6, 'b c': 6, 'c d': 6, 'a c': 12, 'b d': 12, 'a d': 18 })
    expect(partition(evaluate(NO_CLUSTERS, nodes, ms).state.places, 'site')).toEqual(['a b', 'c d'])
  })

  test('a new node waits for six rounds of probes, and for nothing else', () => {
    const names = ['a', 'b', 'new']
    const [nodes, ms] = small(names, { 'a b': 1, 'a new': 1.5, 'b new': 1.2 })
    const before = evaluate(NO_CLUSTERS, nodes.slice(0, 2), ms).state
    const early = evaluate(before, [nodes[0]!, nodes[1]!, { name: 'new', rounds: 5 }], ms).state
    expect(early.places.has('new')).toBe(false)
    const placed = evaluate(early, [nodes[0]!, nodes[1]!, { name: 'new', rounds: 6 }], ms).state
    expect(placed.places.get('new')).toEqual(before.places.get('a'))
  })

  test('a new node that would tear others apart is put beside them until that has been seen often enough', () => {
    const names = ['a', 'b', 'new']
    const [nodes, ms] = small(names, { 'a b': 9, 'a new': 0.5, 'b new': 14 })
    const before = evaluate(NO_CLUSTERS, nodes.slice(0, 2), ms).state
    expect(before.places.get('a')!.site).toBe(before.places.get('b')!.site)
    const first = evaluate(before, nodes, ms).state
    expect(first.places.get('b')).toEqual(before.places.get('b'))
    expect(first.places.get('new')!.site).not.toBe(first.places.get('a')!.site)
    const later = repeat(first, ROUNDS, nodes, ms)
    expect(later.places.get('new')!.site).toBe(later.places.get('a')!.site)
  })
})

describe('what holds', () => {
  const names = ['a1', 'a2', 'a3', 'b1', 'b2']
  const near = (x: string, y: string): number => (x[0] === y[0] ? 0.4 : 25)
  const distances = (change: Readonly<Record<string, number | undefined>> = {}): [ClusterNode[], DistanceMs] => [
    names.map((name) => ({ name, rounds: 60 })),
    (i, j) => {
      const [x, y] = [names[i]!, names[j]!]
      for (const key of [`${x} ${y}`, `${y} ${x}`, `${x} *`, `${y} *`]) if (key in change) return change[key]
      return near(x, y)
    },
  ]
  const start = evaluate(NO_CLUSTERS, ...distances()).state

  test('changes after five equal rounds, not before', () => {
    const moved = distances({ 'a3 *': 40 })
    const early = repeat(start, ROUNDS - 1, ...moved)
    expect(early.places).toEqual(start.places)
    expect(early.waiting.size).toBeGreaterThan(0)
    const late = repeat(early, 1, ...moved)
    expect(late.places.get('a3')!.site).not.toBe(start.places.get('a3')!.site)
    expect(late.places.get('a1')).toEqual(start.places.get('a1'))
    expect(late.waiting.size).toBe(0)
  })

  test('does not change for a cut link, a node that is away, or a site that is away', () => {
    const absent = [{ 'a1 a2': undefined }, { 'a3 *': undefined }, { 'b1 *': undefined, 'b2 *': undefined }]
    for (const change of absent) expect(repeat(start, 200, ...distances(change)).places).toEqual(start.places)
  })

  test('does not change for a link that comes and goes, nor for a path that is long for three minutes in six', () => {
    let state = start
    for (let minute = 0; minute < 600; minute++) {
      const change = minute % 6 < 3 ? { 'a1 a2': 60 } : minute % 7 === 0 ? { 'a1 a2': undefined } : {}
      state = evaluate(state, ...distances(change)).state
      expect(state.places).toEqual(start.places)
    }
  })

  test('changes a few times, not all day, for a path that is long for eight minutes in sixteen', () => {
    let state = start
    let changes = 0
    for (let minute = 0; minute < 1440; minute++) {
      const before = state.places
      state = evaluate(state, ...distances(minute % 16 < 8 ? { 'a1 *': 60 } : {})).state
      if (JSON.stringify([...before]) !== JSON.stringify([...state.places])) changes++
    }
    expect(changes).toBeLessThanOrEqual(2)
  })

  test('follows a real move although another pair cannot decide', () => {
    let state = start
    for (let minute = 0; minute < 2 * ROUNDS; minute++)
      state = evaluate(state, ...distances({ 'a3 *': 40, 'b1 b2': minute % 2 === 0 ? 30 : 0.4 })).state
    expect(state.places.get('a3')!.site).not.toBe(start.places.get('a1')!.site)
    expect(state.places.get('b1')).toEqual(state.places.get('b2'))
  })

  test('is replaced at once when an operator takes what is proposed', () => {
    const evaluation = evaluate(start, ...distances({ 'a3 *': 40 }))
    expect(evaluation.state.places).toEqual(start.places)
    const taken = adopt(evaluation)
    expect(taken.places.get('a3')!.site).not.toBe(start.places.get('a3')!.site)
    expect(repeat(taken, 20, ...distances({ 'a3 *': 40 })).places).toEqual(taken.places)
  })

  test('drifts by a third before it is torn apart, and has to come below the limit to be put together', () => {
    const two = (ms: number): [ClusterNode[], DistanceMs] => small(['a', 'b'], { 'a b': ms })
    const together = evaluate(NO_CLUSTERS, ...two(9)).state
    expect(repeat(together, 20, ...two(13)).places).toEqual(together.places)
    expect(partition(repeat(together, 20, ...two(14)).places, 'site')).toEqual(['a', 'b'])
    const apart = evaluate(NO_CLUSTERS, ...two(12)).state
    expect(partition(repeat(apart, 20, ...two(10.5)).places, 'site')).toEqual(['a', 'b'])
    expect(partition(repeat(apart, 20, ...two(9.5)).places, 'site')).toEqual(['a b'])
  })

  test('a name stays with the group that keeps most of its nodes, also one that was given', () => {
    const site = start.places.get('a1')!.site
    const given = rename(start, 'site', site, 'home')
    if (!('ok' in given)) throw new Error('refused')
    const moved = repeat(given.ok, 20, ...distances({ 'a3 *': 40 }))
    expect([moved.places.get('a1')!.site, moved.places.get('a2')!.site]).toEqual(['home', 'home'])
    expect(['home', site]).not.toContain(moved.places.get('a3')!.site)
    expect(rename(start, 'site', site, start.places.get('b1')!.site)).toMatchObject({ errno: 'EEXIST' })
    expect(rename(start, 'site', 'nowhere', 'x')).toMatchObject({ errno: 'ENOENT' })
    expect(rename(start, 'rack', start.places.get('a1')!.rack, 'two words')).toMatchObject({ errno: 'EINVAL' })
  })

  test('nodes that are gone are forgotten', () => {
    const [nodes, ms] = distances()
    expect([...evaluate(start, nodes.slice(0, 4), ms).state.places.keys()]).toEqual(names.slice(0, 4))
  })
})

describe('whatever is measured', () => {
  const step = fc.record({
    seed: fc.nat(),
    present: fc.integer({ min: 0, max: 2 ** 9 - 1 }),
    pinned: fc.integer({ min: 0, max: 12 }),
    scale: fc.constantFrom(1, 3, 20),
  })
  test('every node has one place, racks lie in one site, and nodes of one declared site are in it', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
        let state = NO_CLUSTERS
        for (const { seed, present, pinned, scale } of steps) {
          const nodes: ClusterNode[] = Array.from({ length: 9 }, (_, i) => i)
            .filter((i) => present & (1 << i))
            .map((i) => ({
              name: `n${i}`,
              rounds: i === seed % 9 ? 3 : 60,
              ...(i === pinned ? { pinned: { site: 'declared' } } : {}),
            }))
          // The seed stays for a few steps, so that changes are seen often enough to hold.
          const random = dice(seed % 4)
          const ms = nodes.map(() => nodes.map(() => (random() < 0.15 ? undefined : random() * scale)))
          const { state: next, proposed } = evaluate(state, nodes, (a, b) => ms[Math.min(a, b)]![Math.max(a, b)])
          for (const places of [next.places, proposed]) {
            const siteOf = new Map<string, string>()
            for (const { site, rack } of places.values()) {
              expect(siteOf.get(rack) ?? site).toBe(site)
              siteOf.set(rack, site)
            }
            for (const node of nodes) {
              if (node.rounds > 3 || state.places.has(node.name)) expect(places.has(node.name)).toBe(true)
              if (node.pinned !== undefined) expect(places.get(node.name)!.site).toBe('declared')
            }
          }
          state = next
        }
      }),
      { numRuns: 150 },
    )
  })
})

describe('what is declared', () => {
  const pin = (nodes: ClusterNode[], pins: Readonly<Record<string, ClusterNode['pinned']>>): ClusterNode[] =>
    nodes.map((node) => (pins[node.name] === undefined ? node : { ...node, pinned: pins[node.name]! }))
  const four = { 'a b': 0.4, 'c d': 0.4, 'a c': 30, 'a d': 30, 'b c': 30, 'b d': 30 }

  test('holds at once and gives the group its name; others join by distance', () => {
    const [nodes, ms] = small(['a', 'b', 'c', 'd'], four)
    const pinned = pin(nodes, { a: { site: 'attic', rack: 'shelf' } })
    const { places } = evaluate(NO_CLUSTERS, pinned, ms).state
    expect(places.get('a')).toEqual({ site: 'attic', rack: 'shelf' })
    expect(places.get('b')).toEqual({ site: 'attic', rack: 'shelf' })
    expect(places.get('c')!.site).not.toBe('attic')
  })

  test('holds however far apart the nodes are, and nobody else is dragged along', () => {
    const [nodes, ms] = small(['a', 'b', 'c', 'd'], four)
    const pinned = pin(nodes, { a: { site: 'one' }, c: { site: 'one' } })
    const { places } = evaluate(NO_CLUSTERS, pinned, ms).state
    expect([...places.values()].map(({ site }) => site)).toEqual(['one', 'one', 'one', 'one'])
    expect(places.get('a')!.rack).not.toBe(places.get('c')!.rack)
    expect(places.get('a')!.rack).toBe(places.get('b')!.rack)
    const apart = evaluate(NO_CLUSTERS, pin(nodes, { a: { site: 'one' }, b: { site: 'two' } }), ms).state
    expect([apart.places.get('a')!.site, apart.places.get('b')!.site]).toEqual(['one', 'two'])
  })

  test('a pinned node never leaves, whatever is measured of it', () => {
    const pins = { a: { site: 'attic' } }
    const [nodes, ms] = small(['a', 'b', 'c', 'd'], four)
    const before = evaluate(NO_CLUSTERS, pin(nodes, pins), ms).state
    const [, moved] = small(['a', 'b', 'c', 'd'], { ...four, 'a b': 50, 'a c': 0.4, 'a d': 0.4 })
    const after = repeat(before, 30, pin(nodes, pins), moved)
    expect(after.places.get('a')!.site).toBe('attic')
    expect(after.places.get('c')!.site).toBe('attic')
    // The other had the name because of the first.
    expect(after.places.get('b')!.site).not.toBe('attic')
  })

  test('a node that is declared to be in a site that was measured is put to those who are there', () => {
    const [nodes, ms] = small(['a', 'b', 'c', 'd'], four)
    const before = evaluate(NO_CLUSTERS, nodes, ms).state
    const site = before.places.get('a')!.site
    const given = rename(before, 'site', site, 'home')
    if (!('ok' in given)) throw new Error('refused')
    for (const [state, name] of [
      [before, site],
      [given.ok, 'home'],
    ] as const) {
      const pinned = pin(nodes, { d: { site: name } })
      const first = evaluate(state, pinned, ms).state
      for (const places of [first.places, repeat(first, 30, pinned, ms).places]) {
        expect(places.get('a')!.site).toBe(name)
        expect(places.get('b')!.site).toBe(name)
        expect(places.get('d')!.site).toBe(name)
        expect(places.get('d')!.rack).not.toBe(places.get('a')!.rack)
      }
    }
  })

  test('a node without probes has the place that was declared for it', () => {
    const { state } = evaluate(NO_CLUSTERS, [{ name: 'x', rounds: 0, pinned: { site: 'attic' } }], () => undefined)
    expect(state.places.get('x')!.site).toBe('attic')
  })
})

describe('a day of measuring', () => {
  const SEED = 11
  /**
   * Two nodes of each hall, and homes whose lines are full for up to forty minutes at a time. Then the least of a minute's 18
   * probes is higher by 20 to 150 ms; in every other minute one of them meets an empty queue, as TCP drains it each time that it
   * backs off. A hundredth of the minutes is lost for each pair.
   */
  test(`full buffers, jitter and loss re-label nothing (seed ${SEED})`, () => {
    const random = dice(SEED)
    const world = network(random, { cities: 8, perHall: 2, homes: 6 })
    const { nodes, rttMs } = world
    const filters = nodes.map((_, i) => nodes.map((_, j) => (i < j ? new RttFilter() : undefined)))
    const fullUntil = nodes.map(() => -1)
    let state = NO_CLUSTERS
    let first: ClusterState | undefined
    for (let minute = 0; minute < 1440; minute++) {
      const nowMs = minute * 60_000
      for (const [i, { home }] of nodes.entries())
        if (home && minute > 10 && fullUntil[i]! < minute && random() < 1 / 90)
          fullUntil[i] = minute + 3 + random() * 37
      const queueMs = nodes.map((_, i) => (fullUntil[i]! >= minute && random() < 0.5 ? 20 + random() * 130 : 0))
      for (let i = 0; i < nodes.length; i++)
        for (let j = i + 1; j < nodes.length; j++) {
          if (random() < 0.01) continue
          const queue = queueMs[i]! + queueMs[j]!
          const jitter = -0.3 * Math.log(1 - random())
          filters[i]![j]!.round(nowMs, 0, [rttMs[i]![j]! + jitter + queue])
        }
      const distance: DistanceMs = (a, b) => filters[Math.min(a, b)]![Math.max(a, b)]!.baseMs(nowMs)
      // The map is made when the first ten minutes are over.
      if (minute < 10) continue
      state = evaluate(state, nodesOf(world), distance).state
      first ??= state
      expect(state.places, `minute ${minute}`).toEqual(first.places)
    }
  })

  test(`a node that has moved to another town is there within 15 minutes (seed ${SEED})`, () => {
    const random = dice(SEED)
    const world = network(random, { cities: 6, perHall: 2, homes: 2 })
    const { nodes, rttMs } = world
    const filters = nodes.map((_, i) => nodes.map((_, j) => (i < j ? new RttFilter() : undefined)))
    let state = NO_CLUSTERS
    let movedAfter: number | undefined
    const target = nodes.findIndex(({ city }) => city === 5)
    for (let minute = 0; minute < 60; minute++) {
      const moved = minute >= 30
      const ms = (i: number, j: number): number => {
        const at = (k: number): number => (moved && k === 0 ? target : k)
        return at(i) === at(j) ? 0.3 : rttMs[at(i)]![at(j)]!
      }
      for (let i = 0; i < nodes.length; i++)
        for (let j = i + 1; j < nodes.length; j++)
          filters[i]![j]!.round(minute * 60_000, 0, [ms(i, j) - 0.2 * Math.log(1 - random())])
      const distance: DistanceMs = (a, b) => filters[Math.min(a, b)]![Math.max(a, b)]!.baseMs(minute * 60_000)
      if (minute >= 10) state = evaluate(state, nodesOf(world), distance).state
      const there = state.places.get(nodes[0]!.name)?.rack === state.places.get(nodes[target]!.name)?.rack
      if (moved && there) movedAfter ??= minute - 30
    }
    expect(movedAfter).toBeGreaterThan(0)
    expect(movedAfter).toBeLessThanOrEqual(15)
    expect(state.places.get(nodes[0]!.name)).toEqual(state.places.get(nodes[target]!.name))
  })
})
