import { describe, expect, it } from 'vitest'
import { diskId, nodeId } from '../../src/base/ids.ts'
import type { Candidate, CandidateState } from '../../src/topology/assign.ts'
import { dangersOf } from '../../src/topology/danger.ts'
import { classWith } from '../../src/topology/storage-class.ts'

/** One chunkserver with one disk for each word: its labels. */
const disks = (...labels: string[]): Candidate[] =>
  labels.map((letters, i) => ({
    disk: diskId(i + 1),
    node: nodeId(i + 1),
    location: { host: `h${i}`, rack: `r${i}` },
    labels: new Set(letters),
    state: (letters === letters.toLowerCase() ? 'away' : 'ready') as CandidateState,
  }))
const cls = (flags: Record<string, string>) => classWith('c', flags)
const HARD = disks('H', 'H', 'H', 'S')
const from = (before: Record<string, string>, after: Record<string, string>, then = HARD) =>
  dangersOf({ meaning: cls(before), disks: HARD }, { meaning: cls(after), disks: then })

describe('what a change makes worse', () => {
  it('is data kept once that was kept so that a disk may be lost', () => {
    expect(from({ K: '2H' }, { K: '1H' })).toEqual(['keep: one copy, of data that was kept so that a disk may be lost'])
    expect(from({ K: '2H', A: '@2+1' }, { K: '2H', A: '1S' })).toEqual([
      'archive: one copy, of data that was kept so that a disk may be lost',
    ])
    expect(from({ K: '1H' }, { K: '1S' })).toEqual([])
    expect(from({ K: '3H' }, { K: '2H' })).toEqual([])
    expect(from({ K: '2H' }, { K: '2H', T: '1S' })).toEqual([])
  })

  it('is a part of its life for which there is no place, such as the mode allows', () => {
    expect(from({ K: '2H' }, { K: '2S:s' })).toEqual(['keep: no place for S'])
    expect(from({ K: '2H' }, { K: '2S:l' })).toEqual([])
    expect(from({ K: '2H' }, { K: '2H', A: '@4+1' })).toEqual(['archive: no place for *'])
    expect(from({ K: '2H' }, { K: '2H', T: '2X:s' })).toEqual(['trash: no place for X'])
  })

  it('is that labels are gone, and not what was so before', () => {
    expect(from({ K: '3H:s' }, { K: '3H:s' }, disks('H', 'H', 'S', 'S'))).toEqual(['keep: no place for H'])
    expect(from({ K: '3H:s' }, { K: '3H:s' }, disks('H', 'H', 'H', 'X'))).toEqual([])
    expect(from({ K: '4H:s' }, { K: '4H:s' }, disks('H', 'S', 'S', 'S'))).toEqual([])
  })
})
