/*
 * The throttle on a line that is a rate and a buffer. What is held here is what people notice: background work fills the line
 * when it is free, no queue stands before it, and it gives way.
 */

import { describe, expect, test } from 'vitest'
import {
  bucketBytes,
  capacityOf,
  FLOOR_BYTES_PER_S,
  newThrottle,
  START_BYTES_PER_S,
  shareOut,
  step,
  type ThrottleSample,
  type ThrottleState,
} from '../../src/topology/throttle.ts'
import fc from '../support/properties.ts'
import { between, type Line, MBIT, mean, quantile, run } from './line-model.ts'

const LINE: Line = { mbit: 40, baseMs: 30, bufferMs: 80 }

describe('background work that has the line to itself', () => {
  const anyLine = fc.record({
    mbit: fc.integer({ min: 8, max: 300 }),
    baseMs: fc.integer({ min: 2, max: 200 }),
    bufferMs: fc.integer({ min: 40, max: 1000 }),
    lossRate: fc.constantFrom(0, 0.001, 0.01, 0.02),
    seed: fc.nat(),
  })
  test('fills four fifths of it and more, with no standing queue, whatever the line and its random loss', () => {
    fc.assert(
      fc.property(anyLine, (line) => {
        const last = between(run(line, {}, 100), 40, 100)
        expect(mean(last.map((m) => m.backgroundMbit))).toBeGreaterThan(0.8 * line.mbit)
        expect(mean(last.map((m) => m.queueMs))).toBeLessThan(12)
        expect(
          quantile(
            last.map((m) => m.queueMs),
            0.95,
          ),
        ).toBeLessThan(25)
      }),
      { numRuns: 40 },
    )
  })

  test('is at four fifths of 100 Mbit/s within ten seconds', () => {
    const moments = run({ mbit: 100, baseMs: 40, bufferMs: 100 }, {}, 30)
    expect(mean(between(moments, 10, 30).map((m) => m.backgroundMbit))).toBeGreaterThan(75)
  })

  test('does not take a machine that was busy for a moment for a full line', () => {
    for (const at of [1.6, 2.1, 3.3, 4.2]) {
      const moments = run({ mbit: 100, baseMs: 40, bufferMs: 100 }, { stalls: [[at, at + 0.7]] }, 40)
      expect(mean(between(moments, 25, 40).map((m) => m.backgroundMbit)), `at ${at} s`).toBeGreaterThan(75)
    }
    const often: [number, number][] = Array.from({ length: 20 }, (_, i) => [20 + 5 * i, 20.6 + 5 * i])
    const moments = run({ mbit: 100, baseMs: 40, bufferMs: 100 }, { stalls: often }, 120)
    expect(mean(between(moments, 30, 120).map((m) => m.backgroundMbit))).toBeGreaterThan(55)
  })

  test('overshoots at the start for a moment only', () => {
    const moments = run({ mbit: 40, baseMs: 20, bufferMs: 1000 }, {}, 60)
    expect(moments.filter((m) => m.queueMs > 100).length).toBeLessThan(8)
  })

  test('1 % of random loss costs no more than what is lost', () => {
    const clean = mean(between(run(LINE, {}, 200), 30, 200).map((m) => m.backgroundMbit))
    const lossy = mean(between(run({ ...LINE, lossRate: 0.01 }, {}, 200), 30, 200).map((m) => m.backgroundMbit))
    expect(lossy).toBeGreaterThan(0.96 * clean)
  })

  test('knows the way without a queue after hours, also where it puts up with one', () => {
    const moments = run(LINE, { urgency: 'endangered' }, 3600)
    const bases = moments.filter((m) => m.second > 60).map((m) => m.baseMs!)
    expect(Math.max(...bases)).toBeLessThan(32)
    expect(mean(between(moments, 60, 3600).map((m) => m.backgroundMbit))).toBeGreaterThan(38)
    // The queue is let run empty before the base forgets: otherwise nothing would have shown it for an hour.
    expect(moments.filter((m) => m.second > 60 && m.state.leftAloneUntilMs > m.second * 1000).length).toBeGreaterThan(
      10,
    )
  })

  test('follows a way that has become longer when the base has forgotten the old one, and a shorter one at once', () => {
    const longer = run(LINE, { baseMs: (s) => (s < 60 ? 30 : 75) }, 760)
    expect(mean(between(longer, 720, 760).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
    const shorter = run(LINE, { baseMs: (s) => (s < 60 ? 75 : 30) }, 120)
    expect(mean(between(shorter, 61, 120).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })
})

describe('background work beside others', () => {
  test('leaves the line to our own mounts within a second of their first bytes, and comes back', () => {
    const moments = run(LINE, { foregroundMbit: (s) => (s >= 40 && s < 60 ? 20 : 0) }, 90)
    expect(Math.max(...between(moments, 41, 60).map((m) => m.backgroundMbit))).toBeLessThan(0.35 * 40)
    expect(mean(between(moments, 41, 60).map((m) => m.foregroundMbit))).toBeGreaterThan(19.9)
    expect(
      quantile(
        between(moments, 41, 60).map((m) => m.queueMs),
        0.99,
      ),
    ).toBeLessThan(5)
    expect(mean(between(moments, 70, 90).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })

  test('is not driven off by the few requests of an idle mount', () => {
    const moments = run(LINE, { foregroundMbit: () => 0.08 }, 60)
    expect(mean(between(moments, 30, 60).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })

  test('gives way to strangers, of whom only the queue tells', () => {
    const moments = run(LINE, { strangerMbit: (s) => (s >= 40 && s < 80 ? 20 : 0) }, 110)
    const beside = between(moments, 42, 80)
    expect(mean(beside.map((m) => m.strangerMbit))).toBeGreaterThan(19)
    expect(mean(beside.map((m) => m.queueMs))).toBeLessThan(15)
    expect(mean(beside.map((m) => m.backgroundMbit))).toBeGreaterThan(12)
    expect(mean(between(moments, 95, 110).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })

  test('keeps to its floor on a line that others overfill', () => {
    const moments = run(LINE, { strangerMbit: (s) => (s >= 40 ? 60 : 0) }, 80)
    for (const m of between(moments, 50, 80)) expect(m.state.bytesPerS).toBe(FLOOR_BYTES_PER_S)
  })

  test('goes on after a cut', () => {
    // Nothing comes through, and nothing is answered.
    const moments = run(LINE, { strangerMbit: (s) => (s >= 40 && s < 100 ? 4000 : 0) }, 140)
    expect(mean(between(moments, 60, 100).map((m) => m.backgroundMbit))).toBeLessThan(1)
    expect(mean(between(moments, 115, 140).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })

  test('halves within a second when no probe is answered any more, and again every two', () => {
    // With nothing gathered for the judgement of loss, which needs twenty probes.
    const full = { ...run(LINE, {}, 60).at(-1)!.state, lossProbes: 0, lossLost: 0 }
    let state: ThrottleState = full
    const rates: number[] = []
    for (let i = 1; i <= 12; i++) {
      state = step(state, {
        nowMs: 60_000 + i * 250,
        epoch: 0,
        baseMs: 30,
        rttsMs: [],
        lostProbes: 2,
        backgroundBytes: 0,
        foregroundBytes: 0,
        urgency: 'behind',
        limitBytesPerS: undefined,
      })
      rates.push(state.loopBytesPerS / full.loopBytesPerS)
    }
    expect(rates[3]).toBeCloseTo(0.5, 1)
    expect(rates[11]).toBeCloseTo(0.25, 1)
  })

  test('takes less the less urgent it is', () => {
    const share = (urgency: 'endangered' | 'behind' | 'rebalance'): number =>
      mean(between(run(LINE, { urgency }, 100), 30, 100).map((m) => m.backgroundMbit)) / LINE.mbit
    expect(share('endangered')).toBeGreaterThan(0.97)
    expect(share('behind')).toBeGreaterThan(0.85)
    expect(share('rebalance')).toBeGreaterThan(0.2)
    expect(share('rebalance')).toBeLessThan(0.4)
  })
})

describe('the rate', () => {
  test('does not grow on air', () => {
    const moments = run(LINE, { demandMbit: (s) => (s < 30 ? 4 : 0) }, 60)
    for (const m of between(moments, 10, 30)) expect(m.state.bytesPerS).toBeLessThan(7 * MBIT)
    for (const m of between(moments, 40, 60)) expect(m.state.bytesPerS).toBeLessThan(7 * MBIT)
  })

  test('is never above what the operator allows at that moment, and rises again after it', () => {
    const limit = (s: number): number | undefined => (s >= 30 && s < 60 ? 8 * MBIT : s >= 60 && s < 70 ? 0 : undefined)
    const moments = run(LINE, { limit }, 110)
    for (const m of moments) expect(m.state.bytesPerS).toBeLessThanOrEqual(limit(m.second) ?? Number.POSITIVE_INFINITY)
    expect(mean(between(moments, 35, 60).map((m) => m.backgroundMbit))).toBeGreaterThan(7)
    expect(mean(between(moments, 95, 110).map((m) => m.backgroundMbit))).toBeGreaterThan(32)
  })

  test('knows what the line carries from when it was full', () => {
    const capacity = capacityOf(run(LINE, {}, 60).at(-1)!.state)!
    expect(capacity / MBIT).toBeGreaterThan(36)
    expect(capacity / MBIT).toBeLessThan(46)
    expect(capacityOf(newThrottle(0))).toBeUndefined()
  })

  test('begins anew on another path', () => {
    const used = run(LINE, {}, 60).at(-1)!.state
    const sample: ThrottleSample = {
      nowMs: 61_000,
      epoch: 1,
      baseMs: undefined,
      rttsMs: [],
      lostProbes: 0,
      backgroundBytes: 0,
      foregroundBytes: 0,
      urgency: 'behind',
      limitBytesPerS: undefined,
    }
    const next = step(used, sample)
    expect(next).toMatchObject({ bytesPerS: START_BYTES_PER_S, epoch: 1, slowStart: true })
    expect(capacityOf(next)).toBeUndefined()
  })

  test('stays within its bounds, and what is remembered too, whatever is measured', () => {
    const anySample = fc.record({
      waitMs: fc.integer({ min: 1, max: 5000 }),
      epoch: fc.constantFrom(0, 0, 0, 0, 1),
      baseMs: fc.option(fc.double({ min: 0, max: 400, noNaN: true }), { nil: undefined }),
      rttsMs: fc.array(fc.double({ min: 0, max: 9999, noNaN: true }), { maxLength: 6 }),
      lostProbes: fc.integer({ min: 0, max: 6 }),
      backgroundBytes: fc.integer({ min: 0, max: 2 ** 32 }),
      foregroundBytes: fc.integer({ min: 0, max: 2 ** 32 }),
      urgency: fc.constantFrom('endangered', 'behind', 'rebalance'),
      limitBytesPerS: fc.option(fc.integer({ min: 0, max: 2 ** 31 }), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(anySample, { maxLength: 200 }), (samples) => {
        let state: ThrottleState = newThrottle(0)
        let nowMs = 0
        for (const { waitMs, ...rest } of samples) {
          nowMs += waitMs
          state = step(state, { ...rest, nowMs })
          expect(Number.isFinite(state.bytesPerS)).toBe(true)
          expect(state.bytesPerS).toBeGreaterThanOrEqual(Math.min(FLOOR_BYTES_PER_S, rest.limitBytesPerS ?? Infinity))
          expect(state.bytesPerS).toBeLessThanOrEqual(rest.limitBytesPerS ?? Number.MAX_VALUE)
          expect(state.full.length).toBeLessThanOrEqual(11)
          expect(state.lossUsual).toBeGreaterThanOrEqual(0)
          expect(state.lossUsual).toBeLessThanOrEqual(1)
        }
      }),
    )
  })
})

describe('a rate for several senders', () => {
  test('is given out whole, nobody gets less than an even share of what he asks for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e9 }),
        fc.array(fc.integer({ min: 0, max: 1e9 }), { minLength: 1, maxLength: 20 }),
        (rate, demands) => {
          const shares = shareOut(rate, demands)
          const sum = shares.reduce((a, b) => a + b, 0)
          expect(Math.abs(sum - rate)).toBeLessThan(rate * 1e-6)
          for (const [i, share] of shares.entries())
            expect(share).toBeGreaterThanOrEqual(Math.min(demands[i]!, rate / demands.length) * (1 - 1e-9))
        },
      ),
    )
    expect(shareOut(10, [1, 100, 100])).toEqual([1, 4.5, 4.5])
    expect(shareOut(9, [0, 3])).toEqual([3, 6])
    expect(shareOut(9, [])).toEqual([])
  })

  test('comes in buckets of 50 ms, of 128 KiB at least', () => {
    expect(bucketBytes(1e6)).toBe(128 * 1024)
    expect(bucketBytes(2e8)).toBe(1e7)
  })
})
