import { describe, expect, it } from 'vitest'
import { LANES_MAX, LaneCount } from '../../src/wire/lane-count.ts'

/** A line on which n connections carry `carries(n)` bytes per ms, used by so many calls at a time. */
class Line {
  nowMs = 0
  readonly count: LaneCount
  readonly carries: (lanes: number) => number
  calls = 64

  constructor(carries: (lanes: number) => number, fixed = 0) {
    this.carries = carries
    this.count = new LaneCount(fixed)
  }

  get lanes(): number {
    return this.count.wanted(true)
  }

  /** Answers the numbers of connections, second by second. */
  seconds(seconds: number): number[] {
    const seen: number[] = []
    for (let i = 0; i < seconds; i++) {
      const lanes = this.lanes
      seen.push(lanes)
      this.nowMs += 1_000
      this.count.sample({
        nowMs: this.nowMs,
        overMs: 1_000,
        bytes: this.carries(lanes) * 1_000,
        lanes,
        busyLanes: Math.min(lanes, this.calls),
        calls: this.calls,
      })
    }
    return seen
  }
}

/** 3.3 Mbit/s each. */
const lossy = (lanes: number): number => 412 * lanes
const narrow = (): number => 11_000

describe('the number of connections', () => {
  it('is one near by, however much there is to do', () => {
    const line = new Line(lossy)
    line.seconds(60)
    expect(line.count.wanted(false)).toBe(1)
  })

  it('is the one that was asked for, near and far, within the bound', () => {
    expect(new LaneCount(3).wanted(false)).toBe(3)
    expect(new LaneCount(3).wanted(true)).toBe(3)
    expect(new LaneCount(1).wanted(true)).toBe(1)
    expect(new LaneCount(1_000).wanted(true)).toBe(LANES_MAX)
  })

  it('grows to the bound within seconds where each carries the same', () => {
    const line = new Line(lossy)
    const seen = line.seconds(12)
    expect(seen[0]).toBe(4)
    expect(seen).toContain(8)
    expect(seen.at(-1)).toBe(LANES_MAX)
  })

  it('stays at a few where the line carries no more, and tries more rarely each time', () => {
    const line = new Line(narrow)
    const seen = line.seconds(3_600)
    expect(Math.max(...seen)).toBe(8)
    expect(seen.filter((lanes) => lanes === 8).length).toBeLessThan(40)
    expect(seen.at(-1)).toBe(4)
  })

  it('grows to where the line is full and no further', () => {
    const line = new Line((lanes) => Math.min(lossy(lanes), 8 * 412))
    line.seconds(30)
    expect(line.lanes).toBe(8)
  })

  it('learns nothing while there is too little to do, and takes a try back that cannot be made', () => {
    const idle = new Line(lossy)
    idle.calls = 2
    expect(new Set(idle.seconds(120))).toEqual(new Set([4]))
    const tried = new Line(lossy)
    tried.seconds(2)
    expect(tried.lanes).toBe(8)
    tried.calls = 3
    tried.seconds(5)
    expect(tried.lanes).toBe(4)
  })

  it('does not open more than the calls at a time could use', () => {
    const line = new Line(lossy)
    line.calls = 8
    line.seconds(60)
    expect(line.lanes).toBe(8)
  })

  it('begins again after a long pause: the line may be another one', () => {
    const line = new Line(lossy)
    line.seconds(20)
    expect(line.lanes).toBe(LANES_MAX)
    line.nowMs += 11 * 60_000
    line.seconds(1)
    expect(line.lanes).toBe(4)
  })
})
