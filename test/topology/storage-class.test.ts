import { describe, expect, test } from 'vitest'
import { formatHours, parseHours } from '../../src/topology/class-times.ts'
import { printPlacing, slotsOf } from '../../src/topology/labels.ts'
import {
  anywhere,
  archiveSince,
  ClassError,
  type ClassFlags,
  type ClassMode,
  classWith,
  copiesUntilCoded,
  flagsOf,
  inForce,
  parseArchiveBy,
  parseClassLine,
  printArchiveBy,
  printClass,
  type StorageClass,
} from '../../src/topology/storage-class.ts'
import fc from '../support/properties.ts'

const HOUR = 3_600_000

function classOf(line: string): StorageClass {
  const { names, flags } = parseClassLine(line)
  return classWith(names[0] ?? 'nameless', flags)
}
const complaint = (line: string): string => {
  try {
    classOf(line)
  } catch (error) {
    if (error instanceof ClassError) return error.message
    throw error
  }
  return 'accepted'
}
const where = (cls: StorageClass, mode: ClassMode, archived?: boolean): string =>
  printPlacing(inForce(cls, mode, archived).placing)

describe('classes in use today', () => {
  test.each([
    ['-C I -K S,S/[RACK] ssdonly', '-C I -K 2S/[RACK] ssdonly'],
    ['-C I -K H,H/[RACK]:s hddonly', '-C I -K 2H/[RACK]:STRICT hddonly'],
    ['-C I -K H,2H/[RACK]:s hdd3x', '-C I -K 3H/[RACK]:STRICT hdd3x'],
    [
      '-C 2I -K H,H/[RACK]:s -A @4+1,H/[IP]:s -d 1 hddec',
      '-C 2I -K 2H/[RACK]:STRICT -A @4+1,H/[IP]:STRICT -d 1h hddec',
    ],
  ])('%s is accepted unchanged', (line, written) => {
    expect(printClass(classOf(line))).toBe(written)
    expect(classOf(written)).toEqual(classOf(line))
  })

  test('hddec says what its owner means by it', () => {
    const hddec = classOf('-C 2I -K H,H/[RACK]:s -A @4+1,H/[IP]:s -d 1 hddec')
    expect([where(hddec, 'create'), where(hddec, 'keep'), where(hddec, 'archive'), where(hddec, 'trash')]).toEqual([
      '2I',
      '2H/[RACK]:STRICT',
      '@4+1,H/[IP]:STRICT',
      '2H/[RACK]:STRICT',
    ])
    expect(inForce(hddec, 'create')).toMatchObject({ mode: 'std', unique: undefined })
    expect(inForce(hddec, 'keep')).toMatchObject({ mode: 'strict', unique: { by: 'rack' } })
    expect(hddec.archiveAfterMs).toBe(HOUR)
    expect(slotsOf(inForce(hddec, 'archive').placing)).toHaveLength(5)
  })
})

describe('what is not said', () => {
  test('falls back: create and archive to keep, trash to what was in force', () => {
    const cls = classOf('-K 2A c')
    expect(['create', 'keep', 'archive', 'trash'].map((mode) => where(cls, mode as ClassMode))).toEqual(
      Array(4).fill('2A'),
    )
    const archived = classOf('-K 2A -A @4+2 c')
    expect([where(archived, 'trash'), where(archived, 'trash', true)]).toEqual(['2A', '@4+2,*'])
    expect(where(classOf('-K 2A -A @4+2 -T B c'), 'trash', true)).toBe('B')
    expect(inForce(cls, 'trash').of).toBe('keep')
  })

  test('of a mode is the mode of the class, whichever placing is in force', () => {
    expect(inForce(classOf('-m s -C A:l -K 2B c'), 'create').mode).toBe('loose')
    expect(inForce(classOf('-m s -C A:l -K 2B c'), 'keep').mode).toBe('strict')
    expect(inForce(classOf('-m s -K 2B:std c'), 'create').mode).toBe('std')
  })

  test('of a delay is a day, counted from the ctime', () => {
    const cls = classOf('-K 2 c')
    expect([cls.archiveAfterMs, printArchiveBy(cls.archiveBy), cls.minBytes, cls.priority]).toEqual([
      24 * HOUR,
      'C',
      0,
      0,
    ])
  })

  test('of create, where keep is erasure coding, is as many copies as may be lost and one more', () => {
    const cls = classOf('-K @4+2,H,S/[IP]:s c')
    expect(where(cls, 'create')).toBe('3H/[IP]:STRICT')
    expect(printPlacing(copiesUntilCoded(cls).placing)).toBe('3H/[IP]:STRICT')
    expect(printPlacing(copiesUntilCoded(classOf('-C A -K 2B -A @4+1 c')).placing)).toBe('2B')
    expect(printPlacing(copiesUntilCoded(classOf('-C 2A -K @4+1 c')).placing)).toBe('2A')
  })
})

describe('changing a class', () => {
  test('leaves what is not said, and - takes a placing away', () => {
    const before = classOf("-C A -K 2B -A @4+1 -d 2d -c 'what it is for' c")
    const after = classWith('c', { A: '-', K: '3B' }, before)
    expect(printClass(after)).toBe("-C A -K 3B -d 2d -c 'what it is for' c")
    expect(() => classWith('c', { K: '-' }, before)).toThrow('-K: KEEP cannot be undefined')
  })
})

describe('a refusal', () => {
  test.each([
    ['-C A c', '-K: a class needs the labels of KEEP'],
    ['-C @4+1 -K 2 c', '-C: files are written as copies; erasure coding is for -K, -A and -T'],
    ['-K A, c', "-K 'A,': column 3: expected a label, '(', '[' or a negation or '*' but found the end"],
    ['-K 2 -d 1x c', "-d: '1x' is no time: hours (36), 1.5d, or weeks, days, hours (1w2d3h)"],
    ['-K 2 -d 9999w c', '-d: a time from 0 to a century'],
    ['-K 2 -o R c', '-o: R needs one of C, M, A'],
    ['-K 2 -o FC c', '-o: F stands alone'],
    ['-K 2 -o PR c', '-o: P stands alone'],
    ['-K 2 -o X c', "-o: 'X' is none of C, M, A, R, F, P"],
    ['-K 2 -m x c', "-m: 'x' is none of loose (l), std (d), strict (s)"],
    ['-K 2 -s many c', "-s: 'many' is no size (4096, 512KiB, 1.5M)"],
    ['-K 2 -p 4294967296 c', '-p: a whole number from 0 to 4294967295'],
    ['-K 2 -K 3 c', '-K is said twice'],
    ['-K 2 -x 3 c', '-x is no flag of a class (C K A T d s t m o p c)'],
    ['c -K', '-K needs a value'],
    ["-K 2 'c", "a word opened with ' is not closed"],
    ['-K 2 a/b', "'a/b' cannot name a class: no '/', no control characters, no '-' in front, no blanks at the ends"],
    [`-K 2 ${'ä'.repeat(128)}`, 'the name of a class has 1 to 255 bytes'],
    [`-K 2 -c ${'ä'.repeat(128)} c`, '-c: the description is longer than 255 bytes'],
  ])('of %j names the flag and the reason', (line, says) => {
    expect(complaint(line)).toBe(says)
  })
})

describe('archive flags', () => {
  test.each(['C', 'CM', 'CMAR', 'MR', 'F', 'P'])('%s are read and written', (letters) => {
    expect(printArchiveBy(parseArchiveBy(letters.toLowerCase()))).toBe(letters)
  })
  test('say which time of the file counts: the newest of those named', () => {
    const times = { ctimeMs: 3, mtimeMs: 2, atimeMs: 5 }
    expect(['C', 'M', 'CM', 'CMA', 'F', 'P'].map((by) => archiveSince(parseArchiveBy(by), times))).toEqual([
      3,
      2,
      3,
      5,
      undefined,
      undefined,
    ])
  })
})

describe('times', () => {
  test.each([
    ['1', HOUR],
    ['36', 36 * HOUR],
    ['1.5', 1.5 * HOUR],
    ['1.5d', 36 * HOUR],
    ['2W', 336 * HOUR],
    ['1w2d3h', (168 + 48 + 3) * HOUR],
    ['2d12h', 60 * HOUR],
    ['0', 0],
  ])('%s', (text, ms) => expect(parseHours(text)).toBe(ms))
  test.each(['', 'h', '1m', '1.5d2h', '-1', '1h2d', '1.23456'])('%j is none', (text) =>
    expect(parseHours(text)).toBeUndefined(),
  )
  test('are written as they are read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000 }), (tenThousandths) => {
        const ms = tenThousandths * 360
        expect(parseHours(formatHours(ms))).toBe(ms)
      }),
    )
  })
})

describe('the line of a class', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 20 })
  const anyFlags: fc.Arbitrary<ClassFlags> = fc.record({
    C: fc.constantFrom(undefined, '-', 'I', '2{usb-x}/[SITE]:l'),
    K: fc.constantFrom('2', 'S,S/[RACK]', '@4+2,A,B', '2(A|B),!C'),
    A: fc.constantFrom(undefined, '@2', '2H'),
    T: fc.constantFrom(undefined, 'T'),
    d: fc.constantFrom(undefined, '1', '0', '1w2d3h', '0.25'),
    s: fc.constantFrom(undefined, '512KiB', '1000', '3'),
    t: fc.constantFrom(undefined, '7d'),
    m: fc.constantFrom(undefined, 'l', 'd', 's'),
    o: fc.constantFrom(undefined, 'CMAR', 'F', 'P'),
    p: fc.constantFrom(undefined, '0', '17'),
    c: fc.option(text, { nil: undefined }),
  })
  test('makes the same class again, whatever its name and description', () => {
    const anyName = text.filter(
      (name) => /^[^-\s/\0-\x1f\x7f]/u.test(name) && !/[/\0-\x1f\x7f]/.test(name) && name === name.trim(),
    )
    fc.assert(
      fc.property(anyName, anyFlags, (name, flags) => {
        const cls = classWith(name, flags)
        const again = parseClassLine(printClass(cls))
        expect(again.names).toEqual([name])
        expect(classWith(name, again.flags)).toEqual(cls)
        expect(flagsOf(cls)).toEqual(flagsOf(classWith(name, flagsOf(cls))))
      }),
    )
  })
  test('of the class that a cluster begins with', () => {
    expect(printClass(anywhere('default', 2))).toBe('-K 2* default')
  })
})
