import { describe, expect, test } from 'vitest'
import {
  type ClientSite,
  hedgeAfterMs,
  NO_CLIENT_SITE,
  readCostMs,
  readOrder,
  readSteps,
  SITE_ROUNDS,
  siteOfClient,
} from '../../src/topology/nearness.ts'
import type { PathView } from '../../src/topology/rtt-filter.ts'
import fc from '../support/properties.ts'

const path = (srttMs: number, rest: Partial<PathView> = {}): PathView => ({
  epoch: 0,
  baseMs: srttMs,
  srttMs,
  rttvarMs: 1,
  lossRate: 0,
  rounds: 10,
  answeredAtMs: 0,
  ...rest,
})

describe('the site of a client', () => {
  const sites = (ms: Readonly<Record<string, number[]>>): ReadonlyMap<string, number[]> => new Map(Object.entries(ms))
  function following(state: ClientSite, times: number, ms: Readonly<Record<string, number[]>>): ClientSite {
    let now = state
    for (let i = 0; i < times; i++) now = siteOfClient(now, sites(ms))
    return now
  }

  test('is at first the one whose chunkservers are nearest, by the median', () => {
    expect(following(NO_CLIENT_SITE, 1, { far: [30, 31, 1], near: [9, 10, 90] }).site).toBe('near')
    expect(siteOfClient(NO_CLIENT_SITE, new Map()).site).toBeUndefined()
  })

  test('changes when another is nearer by a third and two milliseconds, three times in a row', () => {
    const start = following(NO_CLIENT_SITE, 1, { a: [10], b: [30] })
    expect(following(start, SITE_ROUNDS - 1, { a: [30], b: [10] }).site).toBe('a')
    expect(following(start, SITE_ROUNDS, { a: [30], b: [10] }).site).toBe('b')
    expect(following(start, 20, { a: [10], b: [7] }).site).toBe('a')
    expect(following(start, 20, { a: [4], b: [2.5] }).site).toBe('a')
    const undecided = following(start, SITE_ROUNDS - 1, { a: [30], b: [10] })
    expect(following(following(undecided, 1, { a: [10], b: [30] }), SITE_ROUNDS - 1, { a: [30], b: [10] }).site).toBe(
      'a',
    )
  })

  test('changes when its own cannot be reached any more, and stays when nothing can', () => {
    const start = following(NO_CLIENT_SITE, 1, { a: [10], b: [30] })
    expect(following(start, SITE_ROUNDS, { a: [], b: [30] }).site).toBe('b')
    expect(following(start, 50, {}).site).toBe('a')
    expect(following(start, 50, { a: [], b: [] }).site).toBe('a')
  })
})

describe('the order in which copies are read', () => {
  interface Copy {
    readonly name: string
    readonly rank: number
    readonly cost: number
  }
  const order = (...copies: Copy[]): string =>
    readOrder(
      copies,
      (copy) => copy.rank,
      (copy) => copy.cost,
    )
      .map((copy) => copy.name)
      .join('')

  test('is by place, within a place by cost', () => {
    expect(
      order({ name: 'c', rank: 3, cost: 20 }, { name: 'b', rank: 1, cost: 1.1 }, { name: 'a', rank: 1, cost: 0.9 }),
    ).toBe('abc')
  })

  test('stays by place for what is a little slower, and leaves it for what is clearly slower', () => {
    expect(order({ name: 'a', rank: 0, cost: 13.4 }, { name: 'b', rank: 3, cost: 10 })).toBe('ab')
    expect(order({ name: 'a', rank: 0, cost: 13.6 }, { name: 'b', rank: 3, cost: 10 })).toBe('ba')
    expect(order({ name: 'a', rank: 0, cost: 1.2 }, { name: 'b', rank: 3, cost: 0.3 })).toBe('ab')
  })

  test('has every copy once, and its first is never worse than the best by more than a quarter and a millisecond', () => {
    const copy = fc.record({
      name: fc.string(),
      rank: fc.integer({ min: 0, max: 3 }),
      cost: fc.double({ min: 0, max: 500, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.array(copy, { minLength: 1 }), (copies) => {
        const sorted = readOrder(
          copies,
          (one) => one.rank,
          (one) => one.cost,
        )
        expect(new Set(sorted)).toEqual(new Set(copies))
        expect(sorted.length).toBe(copies.length)
        expect(sorted[0]!.cost).toBeLessThanOrEqual(Math.min(...copies.map((one) => one.cost)) * 1.25 + 1)
      }),
    )
  })

  test('costs are round trips, the variation of lossy paths, and queues; what is not known comes last', () => {
    expect(readCostMs(path(20))).toBe(20)
    expect(readCostMs(path(20, { lossRate: 0.03, rttvarMs: 5 }), 7)).toBe(47)
    expect(readCostMs(path(20, { lossRate: undefined, rttvarMs: 5 }))).toBe(20)
    expect(readCostMs(undefined)).toBeGreaterThan(readCostMs(path(9000)))
  })

  test('the next copy is asked after three round trips or what is usual, whichever is longer', () => {
    expect(hedgeAfterMs(path(40), 20)).toBe(120)
    expect(hedgeAfterMs(path(1), 60)).toBe(60)
    expect(hedgeAfterMs(path(1), 2)).toBe(25)
    expect(hedgeAfterMs(undefined, undefined)).toBe(100)
  })
})

describe('ranks for readers', () => {
  const steps = (...copies: [distance: number, costMs: number][]): string[] =>
    readSteps(copies.map(([distance, costMs]) => ({ distance, costMs }))).map(
      ({ distance, step }) => `${distance}.${step}`,
    )

  test('are the distances where nothing was measured, or all is alike', () => {
    expect(steps([3, 0], [1, 0], [2, 0], [1, 0])).toEqual(['3.0', '1.0', '2.0', '1.0'])
    expect(steps([1, 5], [1, 6.9])).toEqual(['1.0', '1.0'])
    expect(steps()).toEqual([])
  })

  test('tell copies apart that are equally near and clearly not equally quick', () => {
    expect(steps([3, 100], [3, 20], [3, 22], [1, 0.5])).toEqual(['3.1', '3.0', '3.0', '1.0'])
    expect(steps([3, 20], [3, 40], [3, 80], [3, 160], [3, 320])).toEqual(['3.0', '3.1', '3.2', '3.3', '3.3'])
  })

  test('put the quickest first where places mislead, with what is as quick', () => {
    expect(steps([1, 100], [3, 20], [3, 21], [2, 70])).toEqual(['2.1', '1.0', '1.0', '2.0'])
  })

  test('sort as the order of reading does, whatever is measured', () => {
    const seed = Date.now() % 1_000_000
    let state = seed
    const below = (n: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * n)
    }
    for (let round = 0; round < 2000; round++) {
      const copies = Array.from({ length: 1 + below(5) }, () => ({ distance: below(4), costMs: below(60) }))
      const ranks = readSteps(copies).map(({ distance, step }) => distance * 4 + step)
      const order = readOrder(
        copies.map((_, i) => i),
        (i) => copies[i]!.distance,
        (i) => copies[i]!.costMs,
      )
      for (let n = 1; n < order.length; n++)
        expect(ranks[order[n]!], `seed ${seed}, ${JSON.stringify(copies)}`).toBeGreaterThanOrEqual(
          ranks[order[n - 1]!]!,
        )
    }
  })
})
