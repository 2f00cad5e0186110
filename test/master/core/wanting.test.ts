import { describe, expect, it } from 'vitest'
import { nodeId } from '../../../src/base/ids.ts'
import type { RepairChunk, RepairDisk } from '../../../src/master/core/repair.ts'
import { wanting } from '../../../src/master/core/wanting.ts'
import { plainWish, wishOf } from '../../../src/master/core/wishes.ts'
import { classWith } from '../../../src/topology/storage-class.ts'
import { repairChunk as chunk, copiesOn, mapOf, repairDisk } from '../../support/repair-disk.ts'

const disk = (number: number, labels: string, rest: Partial<RepairDisk> = {}): RepairDisk => {
  const location = { host: `host-${number}`, rack: `rack-${number % 2}` }
  return repairDisk(number, number, { location, labels: new Set(labels), ...rest })
}
const hdd = classWith('hddec', { C: '2I', K: 'H,H/[RACK]:s', A: '@2+1,H/[IP]:s', d: '1' })
const keep = wishOf(hdd, 'keep')
const archive = wishOf(hdd, 'archive')

describe('what a chunk lacks', () => {
  it('is nothing when every copy is where its class wants one', () => {
    const disks = mapOf(disk(1, 'H'), disk(2, 'H'))
    expect(wanting(chunk([1, 2], { wish: keep }), disks)).toEqual({ wanted: 2, there: 2, missing: [] })
    expect(wanting(chunk([1, 2], { sealed: false }), disks)).toEqual({ wanted: 2, there: 2, missing: [] })
  })
  it('is named by the labels of what is absent, and by the disks that stand in', () => {
    const disks = mapOf(disk(1, 'H'), disk(2, 'I'), disk(3, 'H'), disk(4, 'H', { live: false, awayMs: 1000 }))
    const lacks = (held: number[], wish = keep) => wanting(chunk(held, { wish }), disks).missing
    expect(lacks([1])).toEqual(['a copy on H'])
    expect(lacks([1, 4])).toEqual(['a copy on H'])
    expect(lacks([])).toEqual(['2 copies on H'])
    expect(lacks([1, 2])).toEqual(['disk 2 stands in for one of H'])
    expect(lacks([1, 3])).toEqual(['disk 3 is too near another one'])
    expect(lacks([1], plainWish(2))).toEqual(['a copy'])
    expect(lacks([1, 2, 3], plainWish(2))).toEqual(['1 more than wanted, to be dropped'])
  })
  it('tells of ends that are lost and of disks that are to be emptied', () => {
    const disks = mapOf(disk(1, 'H', { draining: true }), disk(2, 'H'))
    expect(wanting(chunk([1, 2], { cut: true }), disks)).toEqual({
      wanted: 2,
      there: 2,
      missing: ['its end is on no disk', 'a copy', 'disk 1 is to be emptied'],
    })
  })
  it('of a chunk that is to be cut, or put together, says into what', () => {
    const disks = mapOf(disk(1, 'H'), disk(2, 'H'), disk(3, 'H'))
    expect(wanting(chunk([1, 2], { wish: archive }), disks).missing).toEqual(['to be cut into 2 + 1 parts'])
    const ec = { data: 2, parity: 1, parts: [copiesOn(8, [1]), copiesOn(9, [2]), copiesOn(10, [3])] }
    const lacks = (wish: RepairChunk['wish'], held: number[] = []) => wanting(chunk(held, { wish, ec }), disks)
    expect(lacks(archive)).toEqual({ wanted: 3, there: 3, missing: [] })
    expect(lacks(archive, [2]).missing).toEqual(['copies of the whole, to be dropped'])
    expect(lacks(keep).missing).toEqual(['to be put together into 2 copies'])
    const other = wishOf(classWith('other', { K: '2H', A: '@3+1,H' }), 'archive')
    expect(lacks(other).missing).toEqual(['to be cut anew, into 3 + 1 parts'])
  })
  it('of parts is what cannot be read, what is to be emptied, and what stands wrong', () => {
    const disks = mapOf(
      disk(1, 'I'),
      disk(2, 'H', { draining: true }),
      disk(3, 'H', { live: false, awayMs: 9 }),
      disk(4, 'H', { node: nodeId(1) }),
    )
    const lacks = (...at: number[]) => {
      const parts = at.map((where, i) => copiesOn(8 + i, [where]))
      return wanting(chunk([], { wish: archive, ec: { data: 2, parity: 1, parts } }), disks)
    }
    expect(lacks(1, 2, 3)).toEqual({
      wanted: 3,
      there: 2,
      missing: [
        'part 2 is on disk 2, which is to be emptied',
        'part 3 is on no disk that can be read',
        'part 1: disk 1 stands in for one of H',
      ],
    })
    expect(lacks(1, 4, 2).missing).toContain('part 1: disk 1 is on the chunkserver of another part')
  })
})
