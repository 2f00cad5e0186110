import { describe, expect, it } from 'vitest'
import { Pace } from '../../../src/master/core/pace.ts'

describe('how long the rest will take', () => {
  it('follows from what was seen of late', () => {
    const pace = new Pace()
    expect(pace.secondsLeft(0, 100)).toBeUndefined()
    for (let s = 0; s <= 60; s += 5) pace.seen(s * 1000, 1000 - s)
    expect(pace.secondsLeft(60_000, 940)).toBe(940)
    // Ten times as fast from then on: after the window nothing else is remembered.
    for (let s = 65; s <= 400; s += 5) pace.seen(s * 1000, 3000 - s * 5)
    for (let s = 405; s <= 800; s += 5) pace.seen(s * 1000, 1000 - s)
    expect(pace.secondsLeft(800_000, 200)).toBe(200)
  })

  it('is not told of what does not move, and nothing is left of nothing', () => {
    const pace = new Pace()
    pace.seen(0, 10)
    pace.seen(10_000, 10)
    expect(pace.secondsLeft(10_000, 10)).toBeUndefined()
    expect(pace.secondsLeft(10_000, 0)).toBe(0)
    expect(pace.secondsLeft(1_000, 9)).toBeUndefined()
  })

  it('begins anew when there is more than before', () => {
    const pace = new Pace()
    pace.seen(0, 100)
    pace.seen(10_000, 50)
    pace.seen(20_000, 500)
    expect(pace.secondsLeft(21_000, 499)).toBeUndefined()
    pace.seen(30_000, 400)
    expect(pace.secondsLeft(30_000, 400)).toBe(40)
  })
})
