/* Names on a meta mount: unambiguous for any bytes, never longer than a name may be. */

import { describe, expect, it } from 'vitest'
import { hourName, parseHourName, parseTrashName, timeText, trashName } from '../../src/client/core/trash-names.ts'
import fc from '../support/properties.ts'

const anyIno = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
/** Bytes, those that are escaped or separate often. */
const anyChar = fc.oneof(
  fc.constantFrom('/', '|', '%', '.', '-', '7', 'C', 'a'),
  fc.nat(255).map((n) => String.fromCharCode(n)),
)
const anyPath = fc.string({ unit: anyChar.filter((char) => char !== '\0'), maxLength: 600 })

describe('the name of a deleted file', () => {
  it('says inode and path', () => {
    expect(trashName(4711, '/docs/plan.txt')).toBe('4711|docs|plan.txt')
    expect(trashName(4711, '/a|b/50%')).toBe('4711|a%7Cb|50%25')
    expect(trashName(4711, '.../plan.txt')).toBe('4711%-...|plan.txt')
    expect(trashName(4711, `/${'long/'.repeat(60)}plan.txt`)).toMatch(/^4711%\..*\|long\|plan\.txt$/)
  })

  it('is a name for any bytes, and what it says of the path is so', () => {
    fc.assert(
      fc.property(anyIno, anyPath, (ino, path) => {
        const name = trashName(ino, path)
        expect(name.length).toBeLessThanOrEqual(255)
        expect(name).not.toMatch(/[/\0]/)
        const read = parseTrashName(name)!
        expect(read.ino).toBe(ino)
        if (read.cut) {
          expect(path.endsWith(read.path!)).toBe(true)
          // As much of it as there is room for.
          expect(name.length).toBeGreaterThan(255 - 3)
        } else expect(read.path).toBe(path)
      }),
      { verbose: 1 },
    )
  })

  it('of other bytes stands for no file', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyChar, maxLength: 40 }), (name) => {
        const read = parseTrashName(name)
        if (read?.path === undefined || read.cut) return
        expect(trashName(read.ino, read.path)).toBe(name)
      }),
      { verbose: 1 },
    )
    for (const name of [
      '',
      '0',
      '0|a',
      '04|a',
      'x',
      '4711x',
      '4711/x',
      '4711|%',
      '4711|%41',
      '4711%',
      '4711%_a',
      '99999999999999999|a',
    ])
      expect(parseTrashName(name)).toBeUndefined()
    expect(parseTrashName('4711')).toEqual({ ino: 4711, path: undefined, cut: false })
  })
})

describe('the name of an hour', () => {
  it('is its date in UTC, by the same calendar as everybody', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (sec) => {
        const iso = new Date(sec * 1000).toISOString()
        expect(timeText(sec)).toBe(iso.replace('.000Z', 'Z'))
        const hour = Math.floor(sec / 3600)
        expect(hourName(hour)).toBe(`${iso.slice(0, 13)}Z`)
        expect(parseHourName(hourName(hour))).toBe(hour)
      }),
      { verbose: 1 },
    )
    expect(parseHourName(hourName(87_000_000_000))).toBe(87_000_000_000)
  })

  it('is none where there is no such hour', () => {
    for (const name of [
      '2026-02-30T00Z',
      '2026-13-01T00Z',
      '2026-01-01T24Z',
      '2026-01-01T00',
      '1969-12-31T23Z',
      '02026-01-01T00Z',
      'undel',
    ])
      expect(parseHourName(name)).toBeUndefined()
    expect(parseHourName('2024-02-29T23Z')).toBe(Date.UTC(2024, 1, 29, 23) / 3_600_000)
  })
})
