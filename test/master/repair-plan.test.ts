import { describe, expect, test } from 'vitest'
import { chunkId, type DiskId, diskId } from '../../src/base/ids.ts'
import { type Order, plan } from '../../src/master/core/plan.ts'
import { judge, type RepairChunk, type RepairDisk, type RepairRules } from '../../src/master/core/repair.ts'
import { plainWish, wishedCopies } from '../../src/master/core/wishes.ts'
import fc from '../support/properties.ts'
import { repairChunk as chunk, repairDisk as disk, mapOf } from '../support/repair-disk.ts'

const GiB = 2 ** 30
const MINUTE = 60_000
const rules: RepairRules = { graceMs: 10 * MINUTE, settleMs: 15_000, readsPerDisk: 4, writesPerDisk: 2 }

function dice(seed: number): (n: number) => number {
  let state = seed >>> 0
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

const away = (number: number, node: number, awayMs: number): RepairDisk => disk(number, node, { live: false, awayMs })
describe('judging one chunk', () => {
  test('is waited for as long as its chunkserver says, and never when it is in maintenance, unless the chunk is endangered', () => {
    const away = (awayMs: number, graceMs?: number) =>
      disk(3, 3, { live: false, awayMs, ...(graceMs === undefined ? {} : { graceMs }) })
    const need = (third: RepairDisk, wanted = 3) => {
      const disks = wanted === 3 ? [1, 2, 3] : [1, 3]
      return judge(chunk(disks, { wish: plainWish(wanted) }), mapOf(disk(1, 1), disk(2, 2), third, disk(4, 4)), rules)
        .need.kind
    }
    expect([need(away(9 * MINUTE)), need(away(11 * MINUTE))]).toEqual(['none', 'copy'])
    expect([need(away(11 * MINUTE, 20 * MINUTE)), need(away(21 * MINUTE, 20 * MINUTE))]).toEqual(['none', 'copy'])
    expect([need(away(59_000, MINUTE)), need(away(61_000, MINUTE))]).toEqual(['none', 'copy'])
    expect(need(away(1_000 * MINUTE, Number.POSITIVE_INFINITY))).toBe('none')
    const forever = Number.POSITIVE_INFINITY
    expect([need(away(14_000, forever), 2), need(away(16_000, forever), 2)]).toEqual(['none', 'copy'])
    expect([need(away(4_000, 5_000), 2), need(away(6_000, 5_000), 2)]).toEqual(['none', 'copy'])
    const whole = chunk([1, 2, 3], { wish: plainWish(2) })
    const drops = (third: RepairDisk) => judge(whole, mapOf(disk(1, 1), disk(2, 2), third), rules).need
    expect(drops(away(11 * MINUTE))).toMatchObject({ kind: 'drop', disk: 3, reason: 'lost' })
    expect(drops(away(11 * MINUTE, Number.POSITIVE_INFINITY))).toEqual({ kind: 'none' })
  })

  test('a whole chunk needs nothing', () => {
    expect(judge(chunk([1, 2]), mapOf(disk(1, 1), disk(2, 2)), rules)).toEqual({
      health: 'safe',
      need: { kind: 'none' },
    })
  })

  test('with one copy of two left, nothing is copied while a restart may still be the reason', () => {
    const found = judge(chunk([1, 2]), mapOf(disk(1, 1), away(2, 2, 5_000), disk(3, 3)), rules)
    expect(found).toEqual({ health: 'endangered', need: { kind: 'none' } })
  })

  test('with one copy of two left, it is copied after the settle time, long before the grace is over', () => {
    const { need } = judge(chunk([1, 2]), mapOf(disk(1, 1), away(2, 2, 20_000), disk(3, 3)), rules)
    expect(need).toMatchObject({ kind: 'copy', urgency: 'endangered' })
  })

  test('with two of three left, it waits for the grace', () => {
    const three = chunk([1, 2, 3], { wish: plainWish(3) })
    const disks = (ms: number) => mapOf(disk(1, 1), disk(2, 2), away(3, 3, ms), disk(4, 4))
    expect(judge(three, disks(9 * MINUTE), rules)).toEqual({ health: 'under', need: { kind: 'none' } })
    expect(judge(three, disks(11 * MINUTE), rules).need).toMatchObject({ kind: 'copy', urgency: 'under' })
  })

  test('a chunk without a readable copy is lost, and nothing can be ordered', () => {
    const found = judge(chunk([1, 2]), mapOf(away(1, 1, MINUTE), away(2, 2, 60 * MINUTE)), rules)
    expect(found).toEqual({ health: 'lost', need: { kind: 'none' } })
  })

  test('a draining copy is replaced first and dropped after', () => {
    const disks = mapOf(disk(1, 1, { draining: true }), disk(2, 2), disk(3, 3))
    expect(judge(chunk([1, 2]), disks, rules).need).toMatchObject({ kind: 'copy', urgency: 'draining' })
    expect(judge(chunk([1, 2, 3]), disks, rules).need).toMatchObject({ kind: 'drop', disk: 1, reason: 'drained' })
  })

  test('a copy that stayed away past its grace is written off only when the chunk is whole without it', () => {
    const disks = mapOf(disk(1, 1), disk(2, 2), away(3, 3, 11 * MINUTE))
    expect(judge(chunk([1, 2, 3]), disks, rules).need).toMatchObject({ kind: 'drop', disk: 3, reason: 'lost' })
    expect(judge(chunk([1, 3]), disks, rules).need).toMatchObject({ kind: 'copy' })
  })

  test('a copy too many goes from the fullest disk, one that shares a chunkserver before all others', () => {
    const disks = mapOf(disk(1, 1), disk(2, 2, { availableBytes: GiB }), disk(3, 3), disk(4, 3))
    expect(judge(chunk([1, 2, 3]), disks, rules).need).toMatchObject({ kind: 'drop', disk: 2, reason: 'over' })
    expect(judge(chunk([1, 3, 4]), disks, rules).need).toMatchObject({ kind: 'drop', disk: 4, reason: 'over' })
  })

  test('what is nearly lost is copied into what a full disk keeps aside, one at a time; the rest waits for room', () => {
    const full = { usable: false, full: true, availableBytes: 0, reservedBytes: 64 * 2 ** 20 }
    const disks = mapOf(disk(1, 1), disk(2, 2), disk(3, 3, full))
    const ordered = (chunks: RepairChunk[]) =>
      plan(chunks, disks, rules, 9, dice(1)).orders.map((o) => ({ chunk: o.whole, to: o.kind === 'copy' && o.target }))
    const one = { ...chunk([1]), wish: plainWish(2) }
    const onBoth = { ...chunk([1, 2]), wish: plainWish(3) }
    expect(ordered([{ ...onBoth, chunk: chunkId(8) }])).toEqual([])
    const another = disk(4, 1, { live: false, usable: false, awayMs: 11 * MINUTE })
    disks.set(another.disk, another)
    disks.set(diskId(2), disk(2, 2, { usable: false }))
    expect(ordered([one, { ...one, chunk: chunkId(9) }])).toEqual([{ chunk: 7, to: 3 }])
    expect(ordered([{ ...one, length: 64 * 2 ** 20 }])).toEqual([])
  })

  test('a copy beyond repair is replaced first, then dropped', () => {
    const disks = mapOf(disk(1, 1), disk(2, 2), disk(3, 3))
    const bad = { bad: [diskId(2)] }
    expect(judge(chunk([1, 2], bad), disks, rules).need).toMatchObject({ kind: 'copy', urgency: 'endangered' })
    expect(judge(chunk([1, 2, 3], bad), disks, rules).need).toMatchObject({ kind: 'drop', disk: 2, reason: 'damaged' })
  })

  test('a copy that has yet to confirm its seal is waited for and never a source', () => {
    const late = chunk([1, 2], { unsealed: [diskId(2)] })
    expect(judge(late, mapOf(disk(1, 1), disk(2, 2), disk(3, 3)), rules).need).toEqual({ kind: 'none' })
    const { need } = judge(late, mapOf(disk(1, 1), away(2, 2, 11 * MINUTE), disk(3, 3)), rules)
    expect(need.kind === 'copy' && need.sources.map((d) => d.disk)).toEqual([1])
  })

  test('open chunks are their writer’s business', () => {
    expect(judge(chunk([1], { sealed: false }), mapOf(disk(1, 1), disk(2, 2)), rules).need).toEqual({ kind: 'none' })
  })
})

describe('planning', () => {
  test('the most endangered chunk comes first, and no disk gets more than its share', () => {
    const disks = mapOf(disk(1, 1), disk(2, 2, { draining: true }), disk(3, 3))
    const chunks = [
      ...Array.from({ length: 5 }, (_, i) => chunk([1, 2], { chunk: chunkId(10 + i) })),
      chunk([1], { chunk: chunkId(99) }),
    ]
    const { orders, waiting } = plan(chunks, disks, rules, 100, dice(1))
    expect(orders[0]).toMatchObject({ kind: 'copy', chunk: 99, urgency: 'endangered' })
    expect(orders.filter((o) => o.kind === 'copy' && o.target === 3)).toHaveLength(rules.writesPerDisk)
    expect(orders.length + waiting.length).toBe(6)
  })

  test('a chunk for which there is no disk at all is told apart from one that waits for a busy disk', () => {
    expect(plan([chunk([1])], mapOf(disk(1, 1)), rules, 10, dice(1)).nowhere).toEqual([7])
    const busy = mapOf(disk(1, 1), disk(2, 2, { writes: 9 }))
    expect(plan([chunk([1])], busy, rules, 10, dice(1)).waiting).toEqual([7])
  })
})

const anyDisks = fc
  .array(
    fc.record({
      node: fc.integer({ min: 1, max: 5 }),
      live: fc.boolean(),
      draining: fc.boolean(),
      awayMs: fc.constantFrom(1_000, 60_000, 20 * MINUTE),
      availableBytes: fc.integer({ min: GiB, max: 100 * GiB }),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((all) => mapOf(...all.map(({ node, ...d }, i) => disk(i + 1, node, { ...d, awayMs: d.live ? 0 : d.awayMs }))))
const anyChunks = (disks: number) =>
  fc.array(
    fc.record({
      wanted: fc.integer({ min: 1, max: 4 }),
      on: fc.uniqueArray(fc.integer({ min: 1, max: disks }), { maxLength: disks }),
      bad: fc.integer({ min: 0, max: disks }),
    }),
    { maxLength: 20 },
  )

function carryOut(chunks: Map<number, RepairChunk>, order: Order): void {
  if (order.kind !== 'copy' && order.kind !== 'drop') throw new Error(`${order.kind} of a chunk without parts`)
  const before = chunks.get(order.chunk)!
  const disks: DiskId[] =
    order.kind === 'copy' ? [...before.disks, order.target] : before.disks.filter((d) => d !== order.disk)
  chunks.set(order.chunk, { ...before, disks, bad: before.bad.filter((d) => disks.includes(d)) })
}

describe('repair as a whole', () => {
  test('never drops the last good copy, comes to an end, and leaves every chunk as whole as the servers allow', () => {
    fc.assert(
      fc.property(
        anyDisks.chain((disks) => fc.tuple(fc.constant(disks), anyChunks(disks.size), fc.nat())),
        ([disks, wishes, seed]) => {
          const chunks = new Map<number, RepairChunk>(
            wishes.map(({ wanted, on, bad }, i) => [
              i + 1,
              chunk(on, { chunk: chunkId(i + 1), wish: plainWish(wanted), bad: on.includes(bad) ? [diskId(bad)] : [] }),
            ]),
          )
          const good = (c: RepairChunk) => c.disks.filter((d) => disks.get(d)!.live && !c.bad.includes(d)).length
          const hadGood = new Map([...chunks].map(([id, c]) => [id, good(c)]))
          const below = dice(seed)
          let rounds = 0
          for (;;) {
            expect(++rounds).toBeLessThan(200)
            const snapshot = [...chunks.values()]
            const { orders, waiting } = plan(snapshot, disks, rules, 8, below)
            if (orders.length === 0) {
              expect(waiting).toEqual([])
              break
            }
            expect(new Set(orders.map((o) => o.whole)).size).toBe(orders.length)
            for (const order of orders) {
              carryOut(chunks, order)
              const now = chunks.get(order.whole)!
              expect(good(now)).toBeGreaterThanOrEqual(1)
              if (order.kind === 'copy') expect(new Set(now.disks).size).toBe(now.disks.length)
            }
          }
          for (const [id, c] of chunks) {
            expect(good(c)).toBeGreaterThanOrEqual(Math.min(hadGood.get(id)!, wishedCopies(c.wish)))
            const { need } = judge(c, disks, rules)
            if (need.kind !== 'copy') continue
            // What is still missing has no server left that could take it.
            const free = [...disks.values()].filter(
              (d) => d.usable && !need.held.some((h) => h.node === d.node) && !c.disks.includes(d.disk),
            )
            expect(free).toEqual([])
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  test('the same snapshot and the same chance give the same plan', () => {
    fc.assert(
      fc.property(
        anyDisks.chain((disks) => fc.tuple(fc.constant(disks), anyChunks(disks.size), fc.nat())),
        ([disks, wishes, seed]) => {
          const chunks = wishes.map(({ wanted, on }, i) =>
            chunk(on, { chunk: chunkId(i + 1), wish: plainWish(wanted) }),
          )
          expect(plan(chunks, disks, rules, 8, dice(seed))).toEqual(plan(chunks, disks, rules, 8, dice(seed)))
        },
      ),
    )
  })
})
