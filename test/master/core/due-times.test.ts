import { describe, expect, it } from 'vitest'
import { DueTimes } from '../../../src/master/core/due-times.ts'
import fc from '../../support/properties.ts'

describe('what waits for its time', () => {
  it('is given out once, in the earliest second it was put in for, whatever the clock does', () => {
    const put = fc.record({ put: fc.constant(true), key: fc.nat(5), second: fc.nat(30) })
    const take = fc.record({ put: fc.constant(false), key: fc.constant(0), second: fc.nat(40) })
    fc.assert(
      fc.property(fc.array(fc.oneof(put, take), { maxLength: 40 }), (steps) => {
        const due = new DueTimes<number>(1000)
        const model = new Map<number, number>()
        let last = -1
        for (const { put, key, second } of steps) {
          if (put) {
            // Who fills it looks at what is due already.
            if (second <= last) continue
            due.add(key, second)
            model.set(key, Math.min(model.get(key) ?? second, second))
            continue
          }
          const expected = second === last ? [] : [...model].filter(([, at]) => at <= second).map(([key]) => key)
          expect(due.take(second).sort()).toEqual(expected.sort())
          for (const key of expected) model.delete(key)
          last = second
        }
      }),
      { numRuns: 500 },
    )
  })

  it('is refused when there is no room, and finds room again', () => {
    const due = new DueTimes<string>(2)
    due.add('a', 5)
    due.add('b', 5)
    due.add('c', 5)
    expect(due.size).toBe(2)
    expect(due.take(5)).toEqual(['a', 'b'])
    due.add('c', 6)
    expect([due.size, due.take(6)]).toEqual([1, ['c']])
  })
})
