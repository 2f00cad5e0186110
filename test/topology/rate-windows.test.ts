import { describe, expect, test } from 'vitest'
import {
  formatRate,
  formatTimeOfDay,
  limitAt,
  MINUTES_PER_DAY,
  NO_LIMIT,
  parseRate,
  parseTimeOfDay,
  type RateLimit,
  WINDOWS_MAX,
  withWindow,
} from '../../src/topology/rate-windows.ts'
import fc from '../support/properties.ts'

const time = (text: string): number => {
  const parsed = parseTimeOfDay(text)
  if ('errno' in parsed) throw new Error(parsed.detail)
  return parsed.ok
}
const window = (from: string, to: string, bytesPerS: number) => ({ from: time(from), to: time(to), bytesPerS })

describe('a limit by the time of day', () => {
  test('holds from its first minute to before its last, over midnight too', () => {
    const day: RateLimit = { windows: [window('08:00', '23:00', 5)] }
    const at = (limit: RateLimit, text: string) => limitAt(limit, time(text))
    expect([at(day, '07:59'), at(day, '08:00'), at(day, '22:59'), at(day, '23:00')]).toEqual([
      undefined,
      5,
      5,
      undefined,
    ])
    const night: RateLimit = { windows: [window('23:00', '08:00', 5)] }
    expect([
      at(night, '22:59'),
      at(night, '23:00'),
      at(night, '00:00'),
      at(night, '07:59'),
      at(night, '08:00'),
    ]).toEqual([undefined, 5, 5, 5, undefined])
    expect(at({ windows: [window('08:00', '24:00', 5)] }, '23:59')).toBe(5)
    expect(at({ windows: [window('10:00', '10:00', 5)] }, '03:00')).toBe(5)
    expect(at(NO_LIMIT, '12:00')).toBeUndefined()
  })

  test('is the lowest of those that hold, at every minute of the day', () => {
    const minute = fc.integer({ min: 0, max: MINUTES_PER_DAY - 1 })
    const anyWindow = fc.record({ from: minute, to: minute, bytesPerS: fc.integer({ min: 0, max: 1000 }) })
    fc.assert(
      fc.property(
        fc.array(anyWindow, { maxLength: 5 }),
        fc.option(fc.integer({ min: 0, max: 1000 })),
        minute,
        (windows, always, now) => {
          // By walking from the start of each window to its end.
          const holding = windows.filter(({ from, to }) => {
            for (let m = from, first = true; first || m !== to; m = (m + 1) % MINUTES_PER_DAY, first = false)
              if (m === now) return true
            return false
          })
          const rates = [...holding.map((one) => one.bytesPerS), ...(always === null ? [] : [always])]
          const expected = rates.length === 0 ? undefined : Math.min(...rates)
          expect(limitAt({ windows, bytesPerS: always ?? undefined }, now)).toBe(expected)
        },
      ),
    )
  })

  test('a window of the same hours is replaced, and there are not endlessly many', () => {
    let limit: RateLimit = NO_LIMIT
    for (let i = 0; i < WINDOWS_MAX; i++) {
      const added = withWindow(limit, { from: i * 60, to: i * 60 + 30, bytesPerS: i })
      if ('errno' in added) throw new Error(added.detail)
      limit = added.ok
    }
    expect(withWindow(limit, { from: 0, to: 30, bytesPerS: 77 })).toMatchObject({
      ok: { windows: { length: WINDOWS_MAX } },
    })
    expect(withWindow(limit, { from: 1, to: 30, bytesPerS: 77 })).toMatchObject({ errno: 'EINVAL' })
  })
})

describe('what people write', () => {
  test.each([
    ['08:00', 480],
    ['8:05', 485],
    ['00:00', 0],
    ['24:00', 0],
    ['23:59', 1439],
  ])('%s is minute %i', (text, minute) => expect(time(text)).toBe(minute))
  test.each(['8', '24:01', '12:60', '1:2', '', 'noon', '-1:00'])('"%s" is no time of day', (text) =>
    expect(parseTimeOfDay(text)).toMatchObject({ errno: 'EINVAL' }),
  )
  test('a time is written as it is read', () => {
    expect(formatTimeOfDay(time('8:05'))).toBe('08:05')
  })
  test.each([
    ['40Mbit', 5e6],
    ['40 Mbit/s', 5e6],
    ['1.5Gbit', 187_500_000],
    ['5MB/s', 5e6],
    ['5 MiB/s', 5 * 2 ** 20],
    ['512kB', 512e3],
    ['100B/s', 100],
    ['0B', 0],
  ])('%s is %i bytes a second', (text, rate) => expect(parseRate(text)).toEqual({ ok: rate }))
  test.each(['40', '40Mb', '40 mbit', 'fast', '-1MB', '1 Kibit', '9999999999999GB'])('"%s" is no rate', (text) =>
    expect(parseRate(text)).toMatchObject({ errno: 'EINVAL' }),
  )
})

test('rates are shown as lines are sold, and can be typed again', () => {
  const shown: [number, string][] = [
    [5_000_000, '40 Mbit/s'],
    [62_500, '500 kbit/s'],
    [125_000_000, '1 Gbit/s'],
    [1_234_567, '9.88 Mbit/s'],
    [12, '0.096 kbit/s'],
  ]
  for (const [bytes, text] of shown) expect(formatRate(bytes)).toBe(text)
  expect(parseRate(formatRate(5_000_000))).toEqual({ ok: 5_000_000 })
})
