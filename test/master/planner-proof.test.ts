import { describe, expect, test } from 'vitest'
import { chunkId, type DiskId, diskId } from '../../src/base/ids.ts'
import { plan } from '../../src/master/core/plan.ts'
import type { RepairChunk, RepairDisk } from '../../src/master/core/repair.ts'
import type { CodeWish, Wish } from '../../src/master/core/wishes.ts'
import { parseLabels, type Unique } from '../../src/topology/labels.ts'
import fc from '../support/properties.ts'
import { repairDisk } from '../support/repair-disk.ts'
import { type Cluster, dice, mostRight, partOf, rules, settle, wrongWith } from './planned-cluster.ts'

const GiB = 2 ** 30
const MINUTE = 60_000
const KiB = 1024

// ---- arbitrary clusters

const anyExpr = fc.constantFrom('A', 'B', 'A+B', '*', '*', '!A', 'AB').map(parseLabels)
const anyUnique = fc.constantFrom<Unique | undefined>(
  undefined,
  undefined,
  { by: 'ip' },
  { by: 'rack' },
  { by: 'site' },
  { by: 'labels', labels: ['A', 'B'] },
)
const anyMode = fc.constantFrom('strict' as const, 'std' as const, 'loose' as const)
const LABELS = ['', 'A', 'B', 'AB'].map((letters) => new Set(letters))

const anyCode: fc.Arbitrary<CodeWish> = fc
  .record({
    shape: fc.constantFrom([2, 1], [3, 1], [2, 2]),
    dataLabels: anyExpr,
    parityLabels: anyExpr,
    unique: anyUnique,
    mode: anyMode,
  })
  .map(({ shape: [data = 2, parity = 1], dataLabels, parityLabels, unique, mode }) => ({
    data,
    parity,
    slots: [...Array(data).fill(dataLabels), ...Array(parity).fill(parityLabels)],
    unique,
    mode,
  }))
const anyWish: fc.Arbitrary<Wish> = fc.record({
  slots: fc.array(anyExpr, { minLength: 1, maxLength: 4 }),
  unique: anyUnique,
  mode: anyMode,
  code: fc.option(anyCode, { nil: undefined }),
})
const anyCopiesWish = anyWish.map((wish): Wish => ({ ...wish, code: undefined }))

/** How a disk is: most are well. */
const states = {
  well: {},
  full: { usable: false, full: true, availableBytes: 0, reservedBytes: GiB },
  crammed: { availableBytes: 64 * KiB },
  readonly: { usable: false },
  draining: { usable: false, draining: true },
  briefly: { usable: false, live: false, awayMs: 5_000 },
  away: { usable: false, live: false, awayMs: MINUTE },
  gone: { usable: false, live: false, awayMs: 20 * MINUTE },
  lost: { usable: false, live: false, awayMs: 20 * MINUTE, draining: true },
} as const
type DiskStateName = keyof typeof states
const names = Object.keys(states) as DiskStateName[]
const anyState = fc.oneof({ weight: 4, arbitrary: fc.constant<DiskStateName>('well') }, fc.constantFrom(...names))

const diskOf = (i: number, node: number, labels: ReadonlySet<string>, room: number): RepairDisk => {
  // Two chunkservers may stand on one host.
  const location = { host: `host-${node % 5}`, rack: `rack-${node % 3}`, site: `site-${node % 2}` }
  return repairDisk(i, node, { location, labels, availableBytes: room * GiB })
}

const anyDisks = fc.array(
  fc.record({
    node: fc.integer({ min: 1, max: 6 }),
    labels: fc.constantFrom(...LABELS),
    room: fc.integer({ min: 1, max: 100 }),
    state: anyState,
  }),
  { minLength: 1, maxLength: 8 },
)

interface ChunkSeed {
  readonly wish: Wish
  readonly on: readonly number[]
  readonly bad: number
  readonly unsealed: number
  readonly coded: boolean
  readonly parts: readonly (readonly number[])[]
  readonly cut: boolean
}
const where = fc.integer({ min: 1, max: 8 })
const anyChunk = (wish: fc.Arbitrary<Wish>): fc.Arbitrary<ChunkSeed> =>
  fc.record({
    wish,
    on: fc.uniqueArray(where, { maxLength: 5 }),
    bad: fc.integer({ min: 1, max: 30 }),
    unsealed: fc.integer({ min: 1, max: 30 }),
    coded: fc.boolean(),
    parts: fc.array(fc.uniqueArray(where, { maxLength: 2 }), { minLength: 4, maxLength: 4 }),
    cut: fc.integer({ min: 0, max: 15 }).map((n) => n === 0),
  })

function clusterOf(
  disks: readonly { node: number; labels: ReadonlySet<string>; room: number; state: DiskStateName }[],
  chunks: readonly ChunkSeed[],
): Cluster {
  const map = new Map<DiskId, RepairDisk>()
  for (const [i, { node, labels, room, state }] of disks.entries())
    map.set(diskId(i + 1), { ...diskOf(i + 1, node, labels, room), ...states[state] })
  const there = (ids: readonly number[]): DiskId[] => ids.map(diskId).filter((id) => map.has(id))
  const length = 300 * KiB
  let nextPart = 1000
  const made = chunks.map(({ wish, on, bad, unsealed, coded, parts, cut }, i): [number, RepairChunk] => {
    const disks = there(on)
    const code = wish.code
    const ec =
      !coded || code === undefined
        ? undefined
        : {
            data: code.data,
            parity: code.parity,
            parts: code.slots.map((_, slot) => partOf(nextPart++, 150 * KiB, there(parts[slot]!))),
          }
    const chunk: RepairChunk = {
      chunk: chunkId(i + 1),
      sealed: true,
      ending: false,
      cut: cut && ec === undefined,
      wish,
      ec,
      length,
      disks,
      unsealed: disks.filter((id) => id === unsealed),
      bad: disks.filter((id) => id === bad),
    }
    return [i + 1, chunk]
  })
  return { disks: map, chunks: new Map(made) as Cluster['chunks'], nextPart }
}

const anyCluster = (wish: fc.Arbitrary<Wish>) =>
  fc
    .tuple(anyDisks, fc.array(anyChunk(wish), { minLength: 1, maxLength: 3 }))
    .map(([disks, chunks]) => ({ disks, chunks }))

function assertSettled(cluster: Cluster): void {
  for (const chunk of cluster.chunks.values()) expect(wrongWith(cluster, chunk)).toBeUndefined()
  for (const seed of [1, 2, 3])
    expect(plan([...cluster.chunks.values()], cluster.disks, rules, 100, dice(seed)).orders).toEqual([])
}

type Change =
  | { kind: 'wish'; chunk: number; wish: Wish }
  | { kind: 'labels'; disk: number; labels: ReadonlySet<string> }
  | { kind: 'state'; disk: number; state: DiskStateName }

const anyChange: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('wish' as const), chunk: fc.integer({ min: 1, max: 3 }), wish: anyWish }),
  fc.record({ kind: fc.constant('labels' as const), disk: where, labels: fc.constantFrom(...LABELS) }),
  fc.record({ kind: fc.constant('state' as const), disk: where, state: anyState }),
)

function change({ disks, chunks }: Cluster, what: Change): void {
  if (what.kind === 'wish') {
    const chunk = chunks.get(chunkId(what.chunk))
    if (chunk !== undefined) chunks.set(chunk.chunk, { ...chunk, wish: what.wish })
    return
  }
  const disk = disks.get(diskId(what.disk))
  if (disk === undefined) return
  if (what.kind === 'labels') disks.set(disk.disk, { ...disk, labels: what.labels })
  else {
    const { node, labels } = disk
    disks.set(disk.disk, { ...diskOf(disk.disk, node, labels, 50), ...states[what.state] })
  }
}

const RUNS = 300

describe('the planner', () => {
  test('leaves copies where their class wants them as far as brute force finds a way, and then rests', () => {
    fc.assert(
      fc.property(anyCluster(anyCopiesWish), fc.nat(), ({ disks, chunks }, seed) => {
        const cluster = clusterOf(disks, chunks)
        settle(cluster, seed)
        assertSettled(cluster)
      }),
      { numRuns: RUNS },
    )
  })

  test('leaves chunks in parts, or in copies, as their class wants them, wherever it finds them', () => {
    fc.assert(
      fc.property(anyCluster(anyWish), fc.nat(), ({ disks, chunks }, seed) => {
        const cluster = clusterOf(disks, chunks)
        settle(cluster, seed)
        assertSettled(cluster)
      }),
      { numRuns: RUNS },
    )
  })

  test('follows what classes, labels and disks become, also when every third order fails', () => {
    const changes = fc.array(anyChange, { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(anyCluster(anyWish), changes, fc.nat(), ({ disks, chunks }, changes, seed) => {
        const cluster = clusterOf(disks, chunks)
        for (const one of changes) {
          change(cluster, one)
          settle(cluster, seed, (n) => n % 3 === seed % 3)
          assertSettled(cluster)
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('brings every chunk of a cluster with room for all into the form that was wished for last', () => {
    const wishes = fc.array(anyWish, { minLength: 2, maxLength: 5 })
    fc.assert(
      fc.property(wishes, fc.nat(), (wishes, seed) => {
        const ample = LABELS.flatMap((labels, i) =>
          [0, 1, 2, 3].map((n) => ({ node: 1 + i * 4 + n, labels, room: 50, state: 'well' as const })),
        )
        const first = { on: [1, 5], bad: 9, unsealed: 9, coded: false, parts: [], cut: false }
        const cluster = clusterOf(ample, [{ ...first, wish: wishes[0]! }])
        for (const wish of wishes) {
          change(cluster, { kind: 'wish', chunk: 1, wish })
          settle(cluster, seed)
          const {
            ec,
            disks,
            wish: { code },
          } = cluster.chunks.get(chunkId(1))!
          const able = (of: Omit<CodeWish, 'data' | 'parity'>): number =>
            of.mode === 'strict' ? mostRight(of, [...cluster.disks.values()]) : of.slots.length
          // From parts to other parts the way leads over copies: all, or as many as outlive what parts do.
          const copies = able(wish) === wish.slots.length || able(wish) > 2
          const possible = code !== undefined && copies && able(code) === code.slots.length
          if (!possible) continue
          expect({ data: ec?.data, parity: ec?.parity, copies: disks.length }).toEqual({
            data: code.data,
            parity: code.parity,
            copies: 0,
          })
          expect(ec!.parts.map((part) => part.disks.length)).toEqual(ec!.parts.map(() => 1))
        }
        assertSettled(cluster)
      }),
      { numRuns: 60 },
    )
  })

  test('is a function of what it is given', () => {
    fc.assert(
      fc.property(anyCluster(anyWish), fc.nat(), ({ disks, chunks }, seed) => {
        const { disks: map, chunks: made } = clusterOf(disks, chunks)
        const before = structuredClone([map, made])
        const once = plan([...made.values()], map, rules, 8, dice(seed))
        expect(plan([...made.values()], map, rules, 8, dice(seed))).toEqual(once)
        expect([map, made]).toEqual(before)
      }),
      { numRuns: RUNS },
    )
  })
})
