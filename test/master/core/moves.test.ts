import { describe, expect, it } from 'vitest'
import { type DiskId, diskId } from '../../../src/base/ids.ts'
import { type HeldChunk, movesOf } from '../../../src/master/core/moves.ts'
import type { RepairDisk } from '../../../src/master/core/repair.ts'
import { wishOf } from '../../../src/master/core/wishes.ts'
import { classWith } from '../../../src/topology/storage-class.ts'
import { repairDisk } from '../../support/repair-disk.ts'

const MiB = 1024 * 1024
function disk(number: number, site: string, labels: string, rest: Partial<RepairDisk> = {}): [DiskId, RepairDisk] {
  const location = { host: `h${number}`, site }
  return [diskId(number), repairDisk(number, number, { location, labels: new Set(labels), ...rest })]
}
const disks = new Map([
  disk(1, 'home', 'H'),
  disk(2, 'home', 'H'),
  disk(3, 'home', 'S'),
  disk(4, 'away', 'H'),
  disk(5, 'away', 'HS'),
])
const chunk = (held: number[], parts?: number[][]): HeldChunk => ({
  length: 8 * MiB,
  disks: held.map(diskId),
  ec: parts && { data: 2, parity: 1, parts: parts.map((on) => ({ length: 4 * MiB, disks: on.map(diskId) })) },
})
/** "home>away 8": from site to site, MiB. */
function told(flags: string, held: HeldChunk, map = disks): string[] {
  const wish = wishOf(classWith('c', { K: flags }), 'keep')
  const { moves, nowhere } = movesOf(held, wish, map)
  return [
    ...moves.map(({ from, to, bytes }) => `${from.site}>${to.site} ${bytes / MiB}`),
    ...(nowhere > 0 ? [`${nowhere} nowhere`] : []),
  ]
}

describe('what a changed class would have copied', () => {
  it('is nothing where the copies lie as it says', () => {
    expect(told('2H', chunk([1, 2]))).toEqual([])
    expect(told('H', chunk([1, 2]))).toEqual([])
  })
  it('is a copy for each slot that none fills, from the nearest that there is', () => {
    expect(told('2H,S', chunk([1, 2]))).toEqual(['home>home 8'])
    expect(told('2H/[SITE]', chunk([1, 2]))).toEqual(['home>away 8'])
    expect(told('2S', chunk([1, 2]))).toEqual(['home>home 8', 'home>away 8'])
    expect(told('3H', chunk([4, 5]))).toEqual(['away>home 8'])
  })
  it('of erasure coding is parts, and what lies rightly stays', () => {
    expect(told('@2+1,H', chunk([1, 2]))).toEqual(['home>home 4', 'home>home 4', 'home>away 4'])
    expect(told('@2+1,H', chunk([], [[1], [2], [4]]))).toEqual([])
    expect(told('@2+1,H', chunk([], [[1], [2], [3]]))).toEqual(['home>away 4'])
    expect(told('@3+1,*', chunk([], [[1], [2], [3]]))).toHaveLength(4)
    expect(told('2H', chunk([], [[1], [2], [3]]))).toEqual(['home>home 8', 'home>home 8'])
  })
  it('counts what would find no place, and leaves out disks that are away or to be emptied', () => {
    expect(told('3S:s', chunk([3]))).toEqual(['home>away 8', '1 nowhere'])
    const fewer = new Map([...disks, disk(5, 'away', 'HS', { live: false }), disk(2, 'home', 'H', { draining: true })])
    expect(told('2S:s', chunk([3]), fewer)).toEqual(['1 nowhere'])
    expect(told('2H:s', chunk([1]), fewer)).toEqual(['home>away 8'])
    expect(told('2H', chunk([99]))).toEqual([])
  })
})
