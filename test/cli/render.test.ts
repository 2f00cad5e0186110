import { describe, expect, it } from 'vitest'
import { bar, count, nameBytes, overhead, printable, readableName, table } from '../../src/cli/render.ts'

describe('a table', () => {
  it('pads to the widest cell, numbers to the right, without blanks at the end of a line', () => {
    const rows = [
      { name: 'a', size: 5 },
      { name: 'größer', size: 1234 },
    ]
    const columns = [
      { title: 'NAME', value: (r: (typeof rows)[0]) => r.name },
      { title: 'SIZE', value: (r: (typeof rows)[0]) => r.size, right: true },
    ]
    expect(table(rows, columns)).toBe('NAME    SIZE\na          5\ngrößer  1234')
    expect(table([{ name: 'a', size: 1 }], [columns[1]!, columns[0]!])).toBe('SIZE  NAME\n   1  a')
  })
  it('of no rows is no text', () => {
    expect(table([], [{ title: 'X', value: () => 1 }])).toBe('')
  })
})

describe('text for a terminal', () => {
  it('never holds control characters of a name', () => {
    expect(printable('a\u001b[31mb\n\u009b')).toBe('a\\x1b[31mb\\x0a\\x9b')
  })
  it('shows byte strings as UTF-8 where they are and escaped where not', () => {
    expect(readableName(nameBytes('größe ☃'))).toBe('größe ☃')
    expect(readableName('\xff\x00a')).toBe('\\xff\\x00a')
  })
  it('draws a bar for any fraction, also a nonsensical one', () => {
    expect(bar(0.5, 4)).toBe('[##--]  50 %')
    expect(bar(Number.NaN, 2)).toBe('[--]   0 %')
    expect(bar(7, 2)).toBe('[##] 100 %')
    expect(bar(0.999, 10)).toBe('[#########-]  99 %')
  })
  it('says how much is on disks for each byte of files', () => {
    expect([overhead(250, 100), overhead(125, 100), overhead(0, 0), overhead(5, 0)]).toEqual(['2.50', '1.25', '-', '-'])
  })
  it('counts in singular and plural', () => {
    expect([count(1, 'file'), count(0, 'file')]).toEqual(['1 file', '0 files'])
  })
})
