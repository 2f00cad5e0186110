import { describe, expect, test } from 'vitest'
import { matchesGlob, wrongWithGlob } from '../../src/base/glob.ts'
import fc from '../support/properties.ts'

describe('a pattern of names', () => {
  test.each([
    ['*.mp4', 'a.mp4', true],
    ['*.mp4', 'a.mp4x', false],
    ['*', '', true],
    ['?', '', false],
    ['a?c', 'abc', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a]', 'b', true],
    ['[]]', ']', true],
    ['[!]]', 'a', true],
    ['[a-]', '-', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['*a*b*', 'xxaxxbxx', true],
    ['*ab', 'aab', true],
    ['caf\xe9', 'caf\xe9', true],
  ])('%j and %j: %s', (glob, name, fits) => expect(matchesGlob(glob, name)).toBe(fits))

  test('says why it is none', () => {
    expect(['', 'a[b', 'a\\', 'a[]'].map(wrongWithGlob)).toEqual([
      'it is empty',
      'the [ at column 2 is not closed',
      'a \\ at the end stands before nothing',
      'the [ at column 2 is not closed',
    ])
    expect(['*', '[]]', '\\[', 'a]'].map(wrongWithGlob)).toEqual([undefined, undefined, undefined, undefined])
  })

  test('of stars and question marks means what a regular expression does', () => {
    const glob = fc.array(fc.constantFrom('*', '?', 'a', 'b'), { maxLength: 8 }).map((all) => all.join(''))
    const name = fc.array(fc.constantFrom('a', 'b'), { maxLength: 10 }).map((all) => all.join(''))
    fc.assert(
      fc.property(glob, name, (g, n) => {
        const expression = new RegExp(`^${g.replaceAll('*', '.*').replaceAll('?', '.')}$`)
        expect(matchesGlob(g, n)).toBe(expression.test(n))
      }),
      { numRuns: 1000 },
    )
  })

  test('of many stars is decided quickly', () => {
    expect(matchesGlob(`${'*a'.repeat(60)}b`, 'a'.repeat(255))).toBe(false)
  })
})
