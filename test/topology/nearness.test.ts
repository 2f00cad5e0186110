import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type ClientSite,
  hedgeAfterMs,
  NO_CLIENT_SITE,
  readCostMs,
  readOrder,
  SITE_ROUNDS,
  siteOfClient,
} from '../../src/topology/nearness.ts'
import type { PathView } from '../../src/topology/rtt-filter.ts'

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
    expect(hedgeAfterMs(path(1), 20)).toBe(20)
    expect(hedgeAfterMs(undefined, undefined)).toBe(100)
  })
})
