import { describe, expect, it } from 'vitest'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { ownLimit } from '../../../src/master/core/links.ts'
import { transact } from '../../../src/master/core/state.ts'
import { WINDOWS_MAX } from '../../../src/topology/rate-windows.ts'
import { LINKS_MAX } from '../../../src/wire/shapes.ts'
import { Bench } from './support.ts'

const limit = (a: string, b: string, bytesPerS?: number, window?: { from: number; to: number }): Command => ({
  ...{ kind: 'linkLimit', a, b, bytesPerS, window },
})
const day = { from: 8 * 60, to: 23 * 60 }

describe('limits between sites', () => {
  it('hold for both directions, always and at hours, the lowest of those that hold', () => {
    const b = new Bench()
    b.ok(limit('home', 'cabin', 500))
    b.ok(limit('cabin', 'home', 100, day))
    b.ok(limit('cabin', 'home', 900, { from: 0, to: 60 }))
    expect(ownLimit(b.state, 'cabin', 'home', 12 * 60)).toBe(100)
    expect(ownLimit(b.state, 'home', 'cabin', 23 * 60)).toBe(500)
    expect(ownLimit(b.state, 'home', 'cabin', 30)).toBe(500)
    expect(ownLimit(b.state, 'home', 'vps', 30)).toBeUndefined()
  })

  it('say nothing outside their hours, are replaced by others for the same hours, and taken away one by one or all', () => {
    const b = new Bench()
    b.ok(limit('a', 'b', 0, day))
    b.ok(limit('a', 'b', 70, day))
    b.ok(limit('a', 'b', 80, { from: 0, to: 60 }))
    expect(ownLimit(b.state, 'a', 'b', 9 * 60)).toBe(70)
    expect(ownLimit(b.state, 'a', 'b', 2 * 60)).toBeUndefined()
    b.ok(limit('a', 'b', undefined, day))
    expect(ownLimit(b.state, 'a', 'b', 9 * 60)).toBeUndefined()
    b.ok(limit('a', 'b', undefined, { from: 0, to: 60 }))
    expect(b.state.links.all()).toEqual([])
    b.ok(limit('a', 'b', 5))
    b.ok(limit('b', 'a', 80, day))
    b.ok(limit('a', 'b'))
    expect(b.state.links.all()).toEqual([])
  })

  it('are between two sites with names; what is not there cannot be taken away', () => {
    const b = new Bench()
    expect(b.errno(limit('a', 'a', 1))).toBe('EINVAL')
    expect(b.errno(limit('', 'a', 1))).toBe('EINVAL')
    expect(b.errno(limit('a', 'b'))).toBe('ENOENT')
    b.ok(limit('a', 'b', 1))
    expect(b.errno(limit('a', 'b', undefined, day))).toBe('ENOENT')
  })

  it('are bounded in number', () => {
    const b = new Bench()
    for (let i = 0; i < LINKS_MAX; i++) b.apply(limit('a', `b${i}`, 1))
    expect(b.errno(limit('a', 'c', 1))).toBe('ENOSPC')
    b.ok(limit('a', 'b7', 2))
    for (let i = 0; i < WINDOWS_MAX; i++) b.apply(limit('a', 'b7', 1, { from: i, to: 600 }))
    expect(b.errno(limit('a', 'b7', 1, { from: 77, to: 600 }))).toBe('EINVAL')
  })

  it('are read from the store by another process', () => {
    const b = new Bench()
    b.ok(limit('a', 'b', 0, day))
    b.state.forget()
    expect(b.state.links.all()).toEqual([{ a: 'a', b: 'b', bytesPerS: undefined, windows: [{ ...day, bytesPerS: 0 }] }])
  })

  it('that are wrong in the store are found by the check', () => {
    const one = (a: string, b: string, windows = [{ ...day, bytesPerS: 1 }]) => ({
      a,
      b,
      bytesPerS: undefined,
      windows,
    })
    const wrong = [
      [[one('b', 'a')], 'not two sites in order'],
      [[one('a', 'b', [])], 'limits nothing'],
      [
        [
          one('a', 'b', [
            { ...day, bytesPerS: 1 },
            { ...day, bytesPerS: 2 },
          ]),
        ],
        'the same hours twice',
      ],
      [[one('a', 'b'), one('a', 'b')], 'out of order, or twice'],
    ] as const
    for (const [links, says] of wrong) {
      const b = new Bench()
      transact(b.store, b.state, () => b.state.links.set(links))
      expect(check(b.state).map(({ what }) => what)).toContainEqual(expect.stringContaining(says))
    }
  })
})
