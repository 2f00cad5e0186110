import { describe, expect, test } from 'vitest'
import { type ChunkId, chunkId } from '../../src/base/ids.ts'
import { Pace, Paces } from '../../src/chunk/pace.ts'
import { settle, TestClock } from '../master/harness.ts'

const takes = (clock: TestClock, pace: Pace, bytes: number): { readonly atMs: number | undefined } => {
  const done: { atMs: number | undefined } = { atMs: undefined }
  const begunMs = clock.monotonicMs()
  void pace.take(bytes).then(() => {
    done.atMs = clock.monotonicMs() - begunMs
  })
  return done
}

describe('a pace', () => {
  test('lets a quarter of a second through at once, and then its rate, to several as they come', async () => {
    const clock = new TestClock()
    const pace = new Pace(clock, 1_000)
    const done = [250, 500, 1_000, 2_000].map((bytes) => takes(clock, pace, bytes))
    await clock.pass(10_000)
    expect(done.map(({ atMs }) => atMs)).toEqual([0, 500, 1_500, 3_500])
    // A pause is followed by no flood.
    const later = takes(clock, pace, 1_000)
    await clock.pass(5_000)
    expect(later.atMs).toBe(750)
  })

  test('that is changed holds for who waits already', async () => {
    const clock = new TestClock()
    const pace = new Pace(clock, 100)
    const done = takes(clock, pace, 10_025)
    await clock.pass(10_000)
    pace.bytesPerSecond = 1_000
    await clock.pass(30_000)
    // 1 000 bytes had gone, 9 000 were left; whoever waits looks once a second.
    expect(done.atMs).toBeGreaterThanOrEqual(19_000)
    expect(done.atMs).toBeLessThanOrEqual(20_000)
    const free = takes(clock, pace, 1_000_000)
    await clock.pass(500)
    pace.bytesPerSecond = 0
    await clock.pass(1_000)
    expect(free.atMs).toBeLessThanOrEqual(1_000)
  })

  test('ends with the signal of whoever waits', async () => {
    const clock = new TestClock()
    const pace = new Pace(clock, 1)
    const stop = new AbortController()
    const taken = pace.take(1_000, stop.signal)
    taken.catch(() => undefined)
    await settle()
    stop.abort(new Error('enough'))
    await expect(taken).rejects.toThrow('enough')
  })
})

test('orders under way are told another pace by their chunk; others are not there', async () => {
  const clock = new TestClock()
  const paces = new Paces(clock)
  const seven: ChunkId = chunkId(7)
  let over = false
  const work = paces
    .during(seven, 1, (pace) => pace.take(10_000))
    .then(() => {
      over = true
    })
  await clock.pass(1_000)
  expect(paces.set(chunkId(8), 5)).toBe(false)
  expect([paces.set(seven, 100_000), over]).toEqual([true, false])
  await clock.pass(1_500)
  expect(over).toBe(true)
  await work
  expect(paces.set(seven, 5)).toBe(false)
  await expect(paces.during(seven, 1, () => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
  expect(paces.set(seven, 5)).toBe(false)
})
