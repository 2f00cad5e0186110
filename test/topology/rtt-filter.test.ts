import { describe, expect, test } from 'vitest'
import { FRESH_MS, pairMs, RttFilter } from '../../src/topology/rtt-filter.ts'
import fc from '../support/properties.ts'

const MINUTE = 60_000
const SECOND = 1000

describe('what the probes of a path say', () => {
  test('the base is the least of the last ten minutes, whatever came when', () => {
    const rounds = fc.array(
      fc.tuple(fc.integer({ min: 0, max: 20 * SECOND }), fc.double({ min: 0.1, max: 300, noNaN: true })),
      { minLength: 1, maxLength: 150 },
    )
    fc.assert(
      fc.property(rounds, (steps) => {
        const filter = new RttFilter()
        const all: [number, number][] = []
        let nowMs = 0
        for (const [waitMs, rtt] of steps) {
          nowMs += waitMs
          filter.round(nowMs, 0, [rtt, undefined, rtt + 3])
          all.push([nowMs, rtt])
        }
        const minute = Math.floor(nowMs / MINUTE)
        const kept = all.filter(([at]) => Math.floor(at / MINUTE) > minute - 10).map(([, rtt]) => rtt)
        expect(filter.baseMs(nowMs)).toBe(Math.min(...kept))
        expect(filter.baseMs(nowMs + 11 * MINUTE)).toBeUndefined()
      }),
    )
  })

  test('the smoothed round trip and its variation are those of RFC 6298, of the least of each round', () => {
    const filter = new RttFilter()
    filter.round(0, 0, [40, 41, undefined])
    expect(filter.view(0)).toMatchObject({ srttMs: 40, rttvarMs: 20, rounds: 1, answeredAtMs: 0 })
    filter.round(10 * SECOND, 0, [50, 48, 90])
    expect(filter.view(10 * SECOND)).toMatchObject({ srttMs: 41, rttvarMs: 17, rounds: 2 })
  })

  test('loss is told after 64 probes only, and follows what is lost', () => {
    const filter = new RttFilter()
    let sent = 0
    const some = (rounds: number, lostEvery: number): void => {
      for (let i = 0; i < rounds; i++)
        filter.round(
          i * SECOND,
          0,
          [1, 2, 3].map((ms) => (++sent % lostEvery === 0 ? undefined : ms)),
        )
    }
    some(21, 4)
    expect(filter.view(0).lossRate).toBeUndefined()
    some(200, 4)
    expect(filter.view(0).lossRate).toBeGreaterThan(0.15)
    expect(filter.view(0).lossRate).toBeLessThan(0.35)
    some(200, 1e9)
    expect(filter.view(0).lossRate).toBeLessThan(0.001)
  })

  test('a round without an answer says nothing of the distance, and answers from beyond reason none either', () => {
    const filter = new RttFilter()
    filter.round(0, 0, [undefined, undefined])
    filter.round(1, 0, [-1, 60_000])
    expect(filter.view(1)).toMatchObject({ baseMs: undefined, srttMs: undefined, rounds: 0, answeredAtMs: undefined })
  })

  test('a new path begins from nothing, and what is late of the old one is dropped', () => {
    const filter = new RttFilter()
    for (let i = 0; i < 100; i++) filter.round(i * SECOND, 3, [5, undefined, 6])
    filter.round(100 * SECOND, 4, [80])
    filter.round(101 * SECOND, 3, [5])
    expect(filter.view(101 * SECOND)).toEqual({
      epoch: 4,
      baseMs: 80,
      srttMs: 80,
      rttvarMs: 40,
      lossRate: undefined,
      rounds: 1,
      answeredAtMs: 100 * SECOND,
    })
  })
})

describe('how far two nodes are apart', () => {
  test('is the lesser of what both say of late, or what one says, or not known', () => {
    const now = 10 * FRESH_MS
    const said = (baseMs: number | undefined, ageMs = 0) => ({ baseMs, atMs: now - ageMs })
    expect(pairMs(said(8), said(5), now)).toBe(5)
    expect(pairMs(said(8), said(5, FRESH_MS), now)).toBe(8)
    expect(pairMs(undefined, said(5), now)).toBe(5)
    expect(pairMs(said(undefined), said(5), now)).toBe(5)
    expect(pairMs(said(8, FRESH_MS), undefined, now)).toBeUndefined()
  })
})
