/* The table of the lines between sites: shares of a rate, what counts as missed, and what is said where nothing was measured. */

import { describe, expect, test } from 'vitest'
import { cases, shapeOf } from '../../bench/wan/cases.ts'
import type { Lines } from '../../bench/wan/lines.ts'
import { type Cell, misses, number, share, table } from '../../bench/wan/report.ts'

const narrow = cases.find(({ id }) => id === '40ms')!

const cell = (system: Cell['system'], id: Cell['case'], lines: Lines): Cell => ({
  ...{ system, case: id, congestion: 'bbr', loadBefore: 0 },
  measured: { lines, errors: {} },
})
const copied = (mbit: number) => ({
  replication: { waitedS: 1, seconds: 10, mib: 100, mbit, sentPerByte: 1.1, complete: true },
})
const echo = (p99Ms: number) => ({ medianMs: 40, p99Ms, lossRate: 0 })

test('a line has half of its delay and of its losses in each direction', () => {
  expect(shapeOf(narrow)).toMatchObject({ delayMs: 20, lossRate: 0.005, mbit: 100 })
})

describe('what was aimed at', () => {
  test('is four fifths of the rate for a copy, where there is a rate', () => {
    expect(share(copied(81), narrow)).toBe(0.81)
    expect(share(copied(81), cases[0]!)).toBeUndefined()
    expect(misses([cell('holdfast', '40ms', copied(81))])).toEqual([])
    expect(misses([cell('holdfast', '40ms', copied(79))])).toEqual([
      'holdfast, 40 ms, 1 %, 100 Mbit/s, bbr: the copy has 79.0 % of the rate, wanted 80',
    ])
  })

  test('is an echo that is no more than 25 ms later beside a copy', () => {
    const beside = (ms: number) => cell('holdfast', '20ms', { echoIdle: echo(42), echoBusy: echo(ms) })
    expect(misses([beside(66)])).toEqual([])
    expect(misses([beside(70)])[0]).toContain('28.0 ms later')
  })

  test('is nine tenths of the LAN figure for what is written at the own site', () => {
    const cells = (far: number) => [cell('holdfast', 'lan', { write: 100 }), cell('holdfast', '160ms', { write: far })]
    expect(misses(cells(91))).toEqual([])
    expect(misses(cells(89))[0]).toContain('89.0 % of the LAN figure')
  })

  test('is more than MooseFS has, and less where less is better', () => {
    const ours = { untar: 300, echoIdle: echo(42), echoBusy: echo(60) }
    const cells = (untar: number, busyMs: number) => [
      cell('holdfast', '40ms', ours),
      cell('moosefs', '40ms', { untar, echoBusy: echo(busyMs) }),
    ]
    expect(misses(cells(3, 80))).toEqual([])
    expect(misses(cells(301, 80))[0]).toContain('untar, files/s: 300, MooseFS 301')
    expect(misses(cells(3, 50))[0]).toContain('60.0, MooseFS 50.0')
  })

  test('is not reached by what never went on, and by nobody else than Holdfast', () => {
    const cut = (untarResumedS: number | null) => ({
      ...{ writeS: 1, untarFilesDuringCut: 0, untarResumedS, copyResumedS: 1, copySentPerByte: 1, failures: [] },
    })
    const never = [cell('holdfast', '40ms', { cut: cut(null) }), cell('moosefs', '40ms', { cut: cut(5) })]
    expect(misses(never)[0]).toContain('never, MooseFS 5.00')
    const theirs = [cell('holdfast', '40ms', { cut: cut(5) }), cell('moosefs', '40ms', { cut: cut(null) })]
    expect(misses(theirs)).toEqual([])
  })
})

test('what failed and what was not measured is said, in the table and in words', () => {
  const cells: Cell[] = [
    { ...cell('holdfast', 'lan', {}), measured: { lines: {}, errors: { untar: 'tar ended with 2' } } },
    { system: 'moosefs', case: 'lan', congestion: 'bbr', missing: 'mfsmaster is missing', loadBefore: 0 },
  ]
  expect(table(cells, 'bbr')).toContain('| untar, files/s | failed | not measured |')
  expect(table(cells, 'cubic')).not.toContain('failed')
  expect(misses(cells)).toEqual([
    'holdfast, LAN, bbr: untar failed: tar ended with 2',
    'moosefs, LAN, bbr: not measured: mfsmaster is missing',
  ])
})

test('lines that nobody asked for are not in the table', () => {
  const text = table([cell('holdfast', 'lan', { untar: 300 }), cell('moosefs', 'lan', {})], 'bbr')
  expect(text).toContain('| untar, files/s | 300 | – |')
  expect(text).not.toContain('find')
})

test('numbers have three places, and what never came has none', () => {
  expect([1234.5, 99.94, 3.146, null, undefined].map(number)).toEqual(['1235', '99.9', '3.15', 'never', '–'])
})
