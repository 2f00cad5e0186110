import { describe, expect, it } from 'vitest'
import { RoundTrip, SAMPLES_MIN } from '../../src/wire/round-trip.ts'

const MiB = 1024 * 1024
/** A second apart. */
function measured(...ms: number[]): RoundTrip {
  const roundTrip = new RoundTrip()
  for (const [i, one] of ms.entries()) roundTrip.sample(i * 1_000, one)
  return roundTrip
}
const same = (ms: number, count = 50): number[] => Array.from({ length: count }, () => ms)

describe('a round trip', () => {
  it('is smoothed as TCP does, with its variation', () => {
    const roundTrip = measured(40, 80)
    expect(roundTrip.srttMs).toBe(45)
    expect(roundTrip.rttvarMs).toBe(25)
    expect(roundTrip.lateMs).toBe(145)
    expect(measured().srttMs).toBeUndefined()
    expect(measured().rttvarMs).toBeUndefined()
  })

  it('knows how far it is when nothing is in the way, and forgets that after minutes', () => {
    const roundTrip = measured(...same(41), 900, 950)
    expect(roundTrip.leastMs).toBe(41)
    roundTrip.sample(400_000, 82)
    expect(roundTrip.leastMs).toBe(41)
    roundTrip.sample(800_000, 85)
    expect(roundTrip.leastMs).toBe(82)
    roundTrip.sample(1_200_000, 90)
    expect(roundTrip.leastMs).toBe(85)
  })

  it('is far only when several answers say so, each of which may have met a pause', () => {
    expect(measured(...same(8, SAMPLES_MIN - 1)).isFar).toBe(false)
    expect(measured(...same(8, SAMPLES_MIN)).isFar).toBe(true)
    // Very far sooner: later answers may wait behind bulk.
    expect(measured(40).isFar).toBe(false)
    expect(measured(40, 41).isFar).toBe(true)
    expect(measured(40, 41, 3).isFar).toBe(false)
    expect(measured(300, 200, 0.4, 500, 600).isFar).toBe(false)
    expect(measured().isFar).toBe(false)
  })
})

describe('times that follow from it', () => {
  it('are those that were named while nothing is known', () => {
    const roundTrip = measured()
    expect(roundTrip.silenceMs(10_000)).toBe(10_000)
    expect(roundTrip.pingAfterMs(10_000)).toBe(1_000)
    expect(roundTrip.timeoutMs(5_000, 64 * MiB)).toBe(5_000)
  })

  it('are those that were named on a LAN, however much is under way', () => {
    const roundTrip = measured(...same(0.3))
    expect(roundTrip.silenceMs(10_000)).toBe(10_000)
    expect(roundTrip.pingAfterMs(10_000)).toBe(1_000)
    expect(roundTrip.timeoutMs(5_000, 64 * MiB)).toBeLessThan(5_010)
  })

  it('never get shorter than what was named, whatever is measured', () => {
    for (const samples of [[0], [0, 0, 0, 0], [1, 900, 1, 2_000], same(60_000), same(-5), same(1e9)]) {
      const roundTrip = measured(...samples)
      expect(roundTrip.silenceMs(1_500)).toBeGreaterThanOrEqual(1_500)
      expect(roundTrip.timeoutMs(250, 0)).toBeGreaterThanOrEqual(250)
      // And are bounded.
      expect(roundTrip.silenceMs(1_500)).toBeLessThanOrEqual(60_000)
      expect(roundTrip.timeoutMs(250, 1e12)).toBeLessThanOrEqual(150_250)
      expect(roundTrip.pingAfterMs(1_500)).toBeLessThanOrEqual(375)
    }
  })

  it('wait for several losses where the way is long and uneven', () => {
    const roundTrip = measured(...Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 300 : 700)))
    expect(roundTrip.silenceMs(10_000)).toBeGreaterThan(20_000)
    expect(roundTrip.timeoutMs(5_000, 0)).toBeGreaterThan(9_000)
    expect(roundTrip.pingAfterMs(30_000)).toBeGreaterThan(2_000)
  })

  it('wait for what is before it on a long way: 8 MiB over a connection of 2 Mbit/s', () => {
    const roundTrip = measured(...same(160))
    expect(roundTrip.timeoutMs(5_000, 8 * MiB)).toBeGreaterThan(5_000 + 32_000)
    expect(roundTrip.timeoutMs(5_000, 8 * MiB)).toBeLessThan(5_000 + 36_000)
  })

  it('leave a call without a limit without one', () => {
    expect(measured(...same(160)).timeoutMs(0, MiB)).toBe(0)
  })
})
