import { describe, expect, test } from 'vitest'
import { ClusterClock } from '../../src/client/core/cluster-clock.ts'

const at = (ms: number) => ({ sec: Math.floor(ms / 1000), nsec: (((ms % 1000) + 1000) % 1000) * 1_000_000 })

describe("the cluster's time", () => {
  test('is the own one while the clocks agree within a second', () => {
    const clock = new ClusterClock()
    clock.learn(at(100_900), at(100_000), at(100_010))
    expect(clock.at(at(5_000))).toEqual(at(5_000))
  })

  test.each([3_600_000, -3_600_000, 1_234, -1_234, 86_400_000_000])('is %i ms ahead when the master is', (ahead) => {
    const clock = new ClusterClock()
    clock.learn(at(2_000_000_250 + ahead), at(2_000_000_000), at(2_000_000_500))
    expect(clock.aheadMs).toBe(ahead)
    for (const own of [2_000_000_000, 2_000_000_999, 2_000_001_001]) expect(clock.at(at(own))).toEqual(at(own + ahead))
  })

  test('does not jump with every answer, and is the own one again when that has been set right', () => {
    const clock = new ClusterClock()
    clock.learn(at(60_000), at(0), at(0))
    clock.learn(at(60_700), at(0), at(0))
    expect(clock.aheadMs).toBe(60_000)
    clock.learn(at(500), at(0), at(0))
    expect(clock.aheadMs).toBe(0)
  })
})
