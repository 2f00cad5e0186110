import { describe, expect, it } from 'vitest'
import { compareChunks, type DiskView, type HeldCopy, persisting } from '../../src/cli/check/compare.ts'

const disk = (held: Record<number, HeldCopy>, asked = true): DiskView => ({
  name: 'disk',
  asked,
  held: new Map(Object.entries(held).map(([chunk, copy]) => [Number(chunk), copy])),
})
const expected = (length: number, disks: number[]) => [{ chunk: 7, state: 'sealed', length, disks }]

describe('comparing chunks with disks', () => {
  it('finds nothing wrong with copies that are long enough, scrap beyond the end included', () => {
    const views = new Map([
      [1, disk({ 7: { state: 'sealed', length: 100 } })],
      [2, disk({ 7: { state: 'open', length: 130 } })],
    ])
    expect(compareChunks(expected(100, [1, 2]), views)).toEqual({ chunks: 1, copies: 2, goodCopies: 2, findings: [] })
  })
  it('warns of a missing, short or damaged copy while a good one is left', () => {
    for (const bad of [{}, { 7: { state: 'sealed', length: 99 } }, { 7: { state: 'damaged', length: 100 } }] as const) {
      const views = new Map([
        [1, disk({ 7: { state: 'sealed', length: 100 } })],
        [2, disk(bad)],
      ])
      const { findings, goodCopies } = compareChunks(expected(100, [1, 2]), views)
      expect(goodCopies).toBe(1)
      expect(findings).toEqual([expect.objectContaining({ severity: 'warning' })])
    }
  })
  it('calls a chunk lost, as an error, when every disk was asked and none has it', () => {
    const { findings } = compareChunks(expected(100, [1, 2]), new Map([1, 2].map((n) => [n, disk({})])))
    expect(findings).toEqual([{ severity: 'error', what: expect.stringMatching(/^chunk 0{15}7 .*is lost/) }])
  })
  it('does not call a chunk lost whose disk could not be asked', () => {
    const views = new Map([
      [1, disk({})],
      [2, disk({}, false)],
    ])
    expect(compareChunks(expected(100, [1, 2]), views).findings).toEqual([
      expect.objectContaining({ severity: 'warning' }),
    ])
  })
  it('calls a chunk lost that has no copies at all, and says nothing of one without bytes', () => {
    expect(compareChunks(expected(100, []), new Map()).findings[0]?.severity).toBe('error')
    expect(compareChunks(expected(0, [1]), new Map([[1, disk({})]])).findings).toEqual([])
  })
  it('calls an erasure-coded chunk lost only when too few of its parts are good and none may come back', () => {
    const parts = [11, 12, 13]
    const coded = [
      { chunk: 7, state: 'sealed', length: 100, disks: [], ec: { data: 2, parts } },
      ...parts.map((chunk, i) => ({ chunk, state: 'sealed', length: 50, disks: [i + 1], isPart: true })),
    ]
    const with_ = (...there: ('good' | 'gone' | 'away')[]) =>
      compareChunks(
        coded,
        new Map(
          there.map((how, i) => [
            i + 1,
            disk(how === 'good' ? { [parts[i]!]: { state: 'sealed', length: 50 } } : {}, how !== 'away'),
          ]),
        ),
      ).findings
    expect(with_('good', 'good', 'good')).toEqual([])
    expect(with_('good', 'good', 'gone')).toEqual([
      {
        severity: 'warning',
        what: expect.stringMatching(/part 3: disk does not hold it; 2 good parts left, 2 are enough/),
      },
    ])
    expect(with_('good', 'away', 'gone')).toEqual([
      {
        severity: 'warning',
        what: expect.stringMatching(/1 of 2 parts can be reached now \(1 on disks that are away\)/),
      },
    ])
    expect(with_('gone', 'gone', 'good')).toEqual([
      { severity: 'error', what: expect.stringMatching(/is lost, 1 of the 2 parts/) },
    ])
  })
  it('keeps only findings that are still there at the second look', () => {
    const a = { severity: 'error', what: 'a' } as const
    const b = { severity: 'error', what: 'b' } as const
    expect(persisting([a], [a, b])).toEqual([a])
  })
})
