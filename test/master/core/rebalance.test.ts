import { describe, expect, test } from 'vitest'
import { type ChunkId, chunkId, type DiskId, diskId } from '../../../src/base/ids.ts'
import { balanceOf, changedMoving, movingRules } from '../../../src/master/core/moving.ts'
import { type Balance, type Move, moveOf, slopes } from '../../../src/master/core/rebalance.ts'
import { dropIn, judge, type RepairChunk, type RepairDisk, usedShare } from '../../../src/master/core/repair.ts'
import { plainWish, type Wish } from '../../../src/master/core/wishes.ts'
import { parseLabels } from '../../../src/topology/labels.ts'
import { NO_LABELS } from '../../../src/topology/place.ts'
import fc from '../../support/properties.ts'
import { repairDisk } from '../../support/repair-disk.ts'

const GiB = 2 ** 30
const rules = { graceMs: 600_000, settleMs: 15_000 }
const balance: Balance = { beginPercent: 5, endPercent: 2 }

interface Setup {
  readonly disks: { node: number; totalBytes: number; labels?: string[] }[]
  /** The disks, by index, that have each chunk. */
  readonly chunks: { disks: number[]; length: number; wish?: Wish }[]
}

/** What the shell does, without a shell: moves as long as there are any. */
class Cluster {
  readonly disks = new Map<DiskId, RepairDisk>()
  readonly chunks = new Map<ChunkId, RepairChunk>()
  readonly falling = new Set<DiskId>()
  moves: Move[] = []

  constructor(setup: Setup) {
    for (const [i, { node, totalBytes, labels }] of setup.disks.entries())
      this.disks.set(
        diskId(i + 1),
        repairDisk(i + 1, node, {
          ...{ availableBytes: totalBytes, usedBytes: 0, totalBytes },
          labels: labels === undefined ? NO_LABELS : new Set(labels),
        }),
      )
    for (const [i, { disks, length, wish }] of setup.chunks.entries()) {
      const held = disks.map((d) => diskId(d + 1))
      this.chunks.set(chunkId(i + 1), {
        ...{ chunk: chunkId(i + 1), sealed: true, ending: false, length, cut: false, ec: undefined },
        ...{ wish: wish ?? plainWish(disks.length), disks: held, unsealed: [], bad: [] },
      })
      for (const d of held) this.#grow(d, length)
    }
  }

  #grow(id: DiskId, bytes: number): void {
    const d = this.disks.get(id)!
    this.disks.set(id, {
      ...d,
      usedBytes: d.usedBytes! + bytes,
      availableBytes: d.availableBytes - bytes,
    })
  }

  get squares(): number {
    return [...this.disks.values()].reduce((sum, d) => sum + d.totalBytes! * usedShare(d) ** 2, 0)
  }
  shares(): number[] {
    return [...this.disks.values()].map((d) => Math.round(usedShare(d) * 100))
  }

  next(): Move | undefined {
    const found = slopes(this.disks, balance, this.falling)
    for (const disk of this.falling) if (!found.some(({ from }) => from.disk === disk)) this.falling.delete(disk)
    for (const slope of found) {
      for (const chunk of this.chunks.values()) {
        const move = moveOf(chunk, chunk, slope, this.disks, rules, balance, this.falling)
        if (move === undefined) continue
        this.falling.add(slope.from.disk)
        return move
      }
      this.falling.delete(slope.from.disk)
    }
    return undefined
  }

  /** As repair does it: copied, then given up where it is surplus. */
  apply(move: Move): void {
    const chunk = this.chunks.get(move.chunk)!
    const with_ = { ...chunk, disks: [...chunk.disks, move.target] }
    this.#grow(move.target, chunk.length)
    const drop = dropIn(judge(with_, this.disks, rules).need)
    expect(drop).toMatchObject({ reason: 'over', disk: move.from })
    this.#grow(move.from, -chunk.length)
    this.chunks.set(move.chunk, { ...chunk, disks: with_.disks.filter((d) => d !== move.from) })
    this.moves.push(move)
  }

  run(most = 10_000): this {
    for (let move = this.next(); move !== undefined; move = this.next()) {
      expect(this.moves.length).toBeLessThan(most)
      this.apply(move)
    }
    return this
  }
}

const many = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i))

describe('disks are filled alike', () => {
  test('three full disks and a fourth, empty one end close together, and then nothing moves any more', () => {
    const disks = many(4, (i) => ({ node: i + 1, totalBytes: 100 * GiB }))
    const cluster = new Cluster({ disks, chunks: many(90, (i) => ({ disks: [i % 3, (i + 1) % 3], length: GiB })) })
    expect(cluster.shares()).toEqual([60, 60, 60, 0])
    const shares = cluster.run().shares()
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(2)
    expect(cluster.moves.length).toBeLessThanOrEqual(45)
    expect(cluster.next()).toBeUndefined()
  })

  test('by the share that is used, so that large disks hold more than small ones', () => {
    const disks = [400, 200, 100, 100].map((size, i) => ({ node: i + 1, totalBytes: size * GiB }))
    const cluster = new Cluster({ disks, chunks: many(120, (i) => ({ disks: [1 + (i % 3)], length: GiB })) })
    const shares = cluster.run().shares()
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(3)
  })

  test('between the two thresholds nothing begins, but what has begun goes on', () => {
    const disks = many(2, (i) => ({ node: i + 1, totalBytes: 100 * GiB }))
    const at = (first: number, second: number) =>
      new Cluster({ disks, chunks: many(first + second, (i) => ({ disks: [i < first ? 0 : 1], length: GiB })) })
    expect(at(30, 25).run().moves).toEqual([])
    const begun = at(31, 25).run()
    expect(begun.shares()).toEqual([29, 27])
  })

  test('never two copies on one chunkserver, never away from the labels that a class asks for', () => {
    const ssd: Wish = { slots: [parseLabels('ssd')], unique: undefined, mode: 'std', code: undefined }
    const disks = [
      { node: 1, totalBytes: 100 * GiB, labels: ['ssd'] },
      { node: 1, totalBytes: 100 * GiB },
      { node: 2, totalBytes: 100 * GiB },
    ]
    const pinned = new Cluster({ disks, chunks: many(50, () => ({ disks: [0], length: GiB, wish: ssd })) })
    expect(pinned.run().moves).toEqual([])
    // Both chunkservers have a copy of each: only the disks of one can exchange theirs.
    const both = new Cluster({ disks, chunks: many(50, () => ({ disks: [0, 2], length: GiB })) }).run()
    expect(both.moves.every(({ from, target }) => from === 1 && target === 2)).toBe(true)
    const [first, second, third] = both.shares() as [number, number, number]
    expect(first - second).toBeLessThanOrEqual(2)
    expect(third).toBe(50)
    for (const { disks: held } of both.chunks.values()) expect(held.includes(diskId(3))).toBe(true)
  })

  test('parts of erasure-coded chunks move like copies, and never two of one chunk onto one chunkserver', () => {
    const any = { op: 'any' } as const
    const code = { data: 2, parity: 1, slots: [any, any, any], unique: undefined, mode: 'std' as const }
    const disks = many(4, (i) => ({ node: i + 1, totalBytes: 100 * GiB }))
    // The parts count as chunks of one copy for the figures of the disks; what is judged are the wholes.
    const cluster = new Cluster({ disks, chunks: many(90, (i) => ({ disks: [i % 3], length: GiB })) })
    const wholeOf = (part: ChunkId): RepairChunk => {
      const first = part - ((part - 1) % 3)
      const parts = [0, 1, 2].map((i) => cluster.chunks.get(chunkId(first + i))!)
      const rest = { sealed: true, ending: false, cut: false, unsealed: [], bad: [], disks: [] }
      const wish = { ...plainWish(2), code }
      return { ...rest, wish, chunk: chunkId(1000 + first), length: 2 * GiB, ec: { data: 2, parity: 1, parts } }
    }
    for (let moves = 0; ; moves++) {
      expect(moves).toBeLessThan(60)
      let move: Move | undefined
      for (const slope of slopes(cluster.disks, balance, cluster.falling))
        for (const part of cluster.chunks.values())
          move ??= moveOf(wholeOf(part.chunk), part, slope, cluster.disks, rules, balance, cluster.falling)
      if (move === undefined) break
      cluster.falling.add(move.from)
      cluster.apply(move)
      expect(new Set(wholeOf(move.chunk).ec!.parts.flatMap((part) => part.disks)).size).toBe(3)
    }
    expect(cluster.moves.length).toBeGreaterThan(15)
    const shares = cluster.shares()
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(3)
  })

  test('a chunk that needs anything else is left alone', () => {
    const disks = many(4, (i) => ({ node: i + 1, totalBytes: 100 * GiB }))
    const cluster = new Cluster({ disks, chunks: many(60, (i) => ({ disks: [i % 3, (i + 1) % 3], length: GiB })) })
    for (const [id, chunk] of cluster.chunks) cluster.chunks.set(id, { ...chunk, wish: plainWish(3) })
    expect(cluster.next()).toBeUndefined()
  })

  test('whatever the disks and chunks are: it ends, every move makes them more alike, and nothing that it could move is left', () => {
    const arbitrary = fc.record({
      nodes: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 7 }),
      sizes: fc.array(fc.integer({ min: 40, max: 400 }), { minLength: 7, maxLength: 7 }),
      copies: fc.integer({ min: 1, max: 3 }),
      chunks: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.integer({ min: 1, max: 4 })), { maxLength: 60 }),
    })
    fc.assert(
      fc.property(arbitrary, ({ nodes, sizes, copies, chunks }) => {
        const disks = nodes.map((node, i) => ({ node, totalBytes: sizes[i]! * GiB }))
        const setup = chunks.flatMap(([a, b, c, length]) => {
          const held: number[] = []
          for (const pick of [a, b, c].slice(0, copies)) {
            const free = disks.flatMap((d, i) => (held.some((h) => disks[h]!.node === d.node) ? [] : [i]))
            if (free.length > 0) held.push(free[pick % free.length]!)
          }
          return held.length < copies ? [] : [{ disks: held, length: length * GiB }]
        })
        const cluster = new Cluster({ disks, chunks: setup })
        for (let squares = cluster.squares; ; squares = cluster.squares) {
          const move = cluster.next()
          if (move === undefined) break
          cluster.apply(move)
          expect(cluster.squares).toBeLessThan(squares)
          expect(cluster.moves.length).toBeLessThan(1_000)
        }
        for (const { disks: held } of cluster.chunks.values()) {
          expect(new Set(held.map((d) => cluster.disks.get(d)!.node)).size).toBe(copies)
          // By hand: one copy for another disk, more than the threshold between them, and room to spare.
          for (const from of held)
            for (const target of cluster.disks.values()) {
              const others = held.filter((d) => d !== from).map((d) => cluster.disks.get(d)!.node)
              if (held.includes(target.disk) || others.includes(target.node)) continue
              const gap = usedShare(cluster.disks.get(from)!) - usedShare(target)
              expect(gap).toBeLessThanOrEqual(balance.beginPercent / 100 + (2 * 4 * GiB) / (40 * GiB))
            }
        }
      }),
      { numRuns: 150, seed: 20261121 },
    )
  })
})

test('what was never set has its value, what is not said stays, and a threshold of nothing is refused', () => {
  expect(movingRules(undefined)).toMatchObject({ rebalance: true, rebalancePercent: 5, sitesBytesPerSecond: 0 })
  expect(balanceOf(movingRules(undefined))).toEqual({ beginPercent: 5, endPercent: 2 })
  const first = changedMoving(undefined, { rebalance: false, diskBytesPerSecond: 7 })
  expect(first).toEqual({ ok: { rebalance: false, diskBytesPerSecond: 7 } })
  expect(changedMoving({ rebalance: false }, { rebalance: undefined, rebalancePercent: 9 })).toEqual({
    ok: { rebalance: false, rebalancePercent: 9 },
  })
  expect(changedMoving({}, { rebalancePercent: 0 })).toMatchObject({ errno: 'EINVAL' })
})
