import { describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { Ino } from '../../src/base/ids.ts'
import { WalkPlan } from '../../src/client/core/walk-plan.ts'
import { Walks } from '../../src/client/walks.ts'
import { ManualClock } from '../support/manual-clock.ts'

const dirs = (...numbers: number[]): Ino[] => numbers as Ino[]
const dir = (number: number): Ino => number as Ino

describe('what is listed ahead', () => {
  /** Everything the plan would fetch now. */
  const all = (plan: WalkPlan, nowMs = 0): Ino[] => {
    const out: Ino[] = []
    for (let next = plan.next(nowMs); next !== undefined; next = plan.next(nowMs)) out.push(next)
    return out
  }
  const walking = (): WalkPlan => {
    const plan = new WalkPlan()
    plan.entered(dir(1), 0)
    plan.found(dir(1), dirs(10, 20, 30, 40, 50, 60, 70, 80, 90))
    plan.entered(dir(10), 0)
    return plan
  }

  it('is nothing until a child of a listed directory is listed', () => {
    const plan = new WalkPlan()
    plan.entered(dir(1), 0)
    plan.found(dir(1), dirs(10, 20, 30))
    expect(all(plan)).toEqual([])
    plan.entered(dir(99), 0)
    expect(all(plan)).toEqual([])
    plan.entered(dir(10), 0)
    expect(all(plan)).toEqual([20, 30])
  })

  it('goes depth first, in the order of the listings', () => {
    const plan = walking()
    plan.found(dir(10), dirs(11, 12))
    expect(plan.next(0)).toBe(11)
    plan.fetched(dir(11), 3, false, 0)
    plan.found(dir(11), dirs(111))
    expect([plan.next(0), plan.next(0), plan.next(0)]).toEqual([111, 12, 20])
  })

  it('keeps that order when listings arrive together', () => {
    const plan = walking()
    plan.found(dir(10), [])
    expect(all(plan)).toEqual([20, 30, 40, 50])
    for (const each of [20, 30, 40]) {
      plan.fetched(dir(each), 1, true, 0)
      plan.found(dir(each), dirs(each + 1, each + 2))
    }
    expect(all(plan).slice(0, 7)).toEqual([21, 22, 31, 32, 41, 42, 60])
  })

  it('grows with every guess that was used, up to a bound, and waits for the unused ones', () => {
    const plan = walking()
    plan.found(
      dir(10),
      Array.from({ length: 1_000 }, (_, i) => dir(1_000 + i)),
    )
    const most: number[] = []
    for (let round = 0; round < 12; round++) {
      const unused: Ino[] = []
      for (let next = plan.next(0); next !== undefined; next = plan.next(0)) {
        plan.fetched(next, 1, false, 0)
        unused.push(next)
      }
      most.push(unused.length)
      for (const used of unused) plan.entered(used, 0)
    }
    expect(most.slice(0, 2)).toEqual([4, 64])
    expect(Math.max(...most)).toBe(64)
  })

  it('is no more at a time than a few, and no more entries than the bound', () => {
    const plan = walking()
    for (let i = 0; i < 6; i++) {
      const next = plan.next(0)!
      plan.fetched(next, 1, true, 0)
    }
    plan.found(
      dir(10),
      Array.from({ length: 100 }, (_, i) => dir(1_000 + i)),
    )
    const inFlight = all(plan)
    expect(inFlight).toHaveLength(32)
    for (const each of inFlight) plan.fetched(each, 300, false, 0)
    expect(all(plan)).toEqual([])
  })

  it('is asked for in batches, when half of what was fetched has been used', () => {
    const plan = walking()
    plan.found(
      dir(10),
      Array.from({ length: 300 }, (_, i) => dir(1_000 + i)),
    )
    const use = (): Ino[] => {
      const batch = all(plan)
      for (const each of batch) plan.fetched(each, 1, false, 0)
      return batch
    }
    for (let round = 0; round < 4; round++) for (const each of use()) plan.entered(each, 0)
    const batch = [...use(), ...use()]
    expect(batch).toHaveLength(64)
    for (const each of batch.slice(0, 31)) {
      plan.entered(each, 0)
      expect(use()).toEqual([])
    }
    plan.entered(batch[31]!, 0)
    expect(use()).toHaveLength(32)
  })

  it('ends when the guesses lie unused, and begins again with the next walk', () => {
    const plan = walking()
    for (const each of all(plan)) plan.fetched(each, 1, false, 0)
    expect(all(plan, 1_000)).toEqual([])
    expect(all(plan, 2_001)).toEqual([])
    plan.found(dir(3), dirs(300, 400))
    expect(all(plan, 2_001)).toEqual([])
    plan.entered(dir(300), 2_001)
    expect(all(plan, 2_001)).toEqual([400])
  })

  it('goes on while any guess is used, however long the others lie', () => {
    const plan = walking()
    for (const each of all(plan)) plan.fetched(each, 1, false, 0)
    plan.entered(dir(20), 1_900)
    plan.entered(dir(30), 3_800)
    // 40 and 50 lie since the beginning; the window has grown by those that were used.
    expect(all(plan, 3_800)).toEqual([60, 70, 80, 90])
    for (const each of [60, 70, 80, 90]) plan.fetched(dir(each), 1, false, 3_800)
    plan.found(dir(30), dirs(31))
    expect(all(plan, 5_700)).toEqual([31])
    plan.fetched(dir(31), 1, false, 5_700)
    plan.found(dir(31), dirs(311))
    expect(all(plan, 5_801)).toEqual([])
  })

  it('does not grow without bound in what waits', () => {
    const plan = new WalkPlan()
    for (let from = 0; from < 100_000; from += 1_000)
      plan.found(
        dir(10),
        Array.from({ length: 1_000 }, (_, i) => dir(10 + from + i)),
      )
    plan.entered(dir(10 + 99_000), 0)
    let taken = 0
    for (let next = plan.next(0); next !== undefined; next = plan.next(0), taken++) plan.fetched(next, 1, true, 0)
    expect(taken).toBeGreaterThan(4_000)
    expect(taken).toBeLessThan(8_192)
  })
})

describe('a directory whose names are looked up', () => {
  it('is listed at the second name that is not known, and not again at once', () => {
    const plan = new WalkPlan()
    expect([0, 1, 2, 3].map((ms) => plan.missed(dir(1), ms))).toEqual([false, true, false, false])
    expect(plan.missed(dir(1), 2_001)).toBe(true)
    expect(plan.missed(dir(2), 0)).toBe(false)
  })

  it('is listed at the first one while that pays', () => {
    const plan = new WalkPlan()
    plan.missed(dir(1), 0)
    plan.missed(dir(1), 0)
    for (let i = 0; i < 10; i++) plan.helped(dir(1))
    expect(plan.missed(dir(2), 0)).toBe(true)
    expect(plan.missed(dir(3), 0)).toBe(true)
    // Neither was of use, so the credit is used up.
    expect(plan.missed(dir(4), 0)).toBe(false)
  })

  it('earns nothing when its names were known without a guess', () => {
    const plan = new WalkPlan()
    for (let i = 0; i < 100; i++) plan.helped(dir(1))
    expect(plan.missed(dir(2), 0)).toBe(false)
  })
})

describe('walks', () => {
  /** A tree of directories; answers arrive when the test lets them. */
  function setUp(tree: Record<number, number[]>) {
    const listed = new Set<Ino>()
    const asked: Ino[] = []
    const waiting = new Map<Ino, (error?: Error) => void>()
    const fetch = (ino: Ino): Promise<number> => {
      asked.push(ino)
      return new Promise((resolve, reject) => {
        waiting.set(ino, (error) => {
          if (error !== undefined) return reject(error)
          listed.add(ino)
          resolve(tree[ino]?.length ?? 0)
        })
      })
    }
    const walks = new Walks(new ManualClock(), fetch, (ino) =>
      listed.has(ino) ? dirs(...(tree[ino] ?? [])) : undefined,
    )
    const list = (ino: Ino): void => {
      walks.entered(ino)
      listed.add(ino)
      walks.given(ino)
    }
    const answer = async (ino: Ino, error?: Error): Promise<void> => {
      waiting.get(ino)?.(error)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { walks, asked, list, answer }
  }

  it('fetch the sub-directories of what they fetched, and let the reader wait for what is on its way', async () => {
    const { walks, asked, list, answer } = setUp({ 1: [2, 3], 2: [4], 4: [], 3: [5] })
    list(dir(1))
    expect(asked).toEqual([])
    list(dir(2))
    expect(asked).toEqual([4, 3])
    let arrived = false
    void walks.coming(dir(3))?.then(() => {
      arrived = true
    })
    expect(walks.coming(dir(5))).toBeUndefined()
    await answer(dir(3))
    expect(arrived).toBe(true)
    expect(asked).toEqual([4, 3, 5])
  })

  it('leave a refusal to whoever asks in earnest, and go on', async () => {
    const { walks, asked, list, answer } = setUp({ 1: [2, 3, 4, 5, 6, 7, 8], 2: [] })
    list(dir(1))
    list(dir(2))
    expect(asked).toEqual([3, 4, 5, 6])
    const coming = walks.coming(dir(3))
    await answer(dir(3), new FsError('ESTALE'))
    await coming
    expect(walks.coming(dir(3))).toBeUndefined()
    expect(asked).toEqual([3, 4, 5, 6])
    await answer(dir(4), new FsError('ESTALE'))
    expect(asked).toEqual([3, 4, 5, 6, 7, 8])
  })
})
