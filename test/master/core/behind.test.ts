import { describe, expect, it } from 'vitest'
import { completeAt, mayBeAt, owedOf } from '../../../src/master/core/behind.ts'
import type { RepairDisk } from '../../../src/master/core/repair.ts'
import { wishOf } from '../../../src/master/core/wishes.ts'
import { readClass, type StorageClass } from '../../../src/topology/storage-class.ts'
import { copiesOn, mapOf, repairChunk, repairDisk } from '../../support/repair-disk.ts'

const TEXT = {
  ...{ name: 'c', description: '', create: '', archive: '', trash: '', defaultMode: 'std' as const },
  ...{ archiveAfterMs: 0, archiveBy: 'C' as const, minBytes: 0, trashMinRetentionMs: 0, priority: 0 },
}
const classOf = (keep: string, archive = ''): StorageClass => readClass({ ...TEXT, keep, archive }, 2)
const disk = (n: number, site: string, label: string, rest: Partial<RepairDisk> = {}): RepairDisk =>
  repairDisk(n, n, { location: { host: `h${n}`, site }, labels: new Set([label]), ...rest })
const home = [disk(1, 'home', 'H'), disk(2, 'home', 'H')]
const cabin = [disk(3, 'cabin', 'C'), disk(4, 'cabin', 'C')]
const all = mapOf(...home, ...cabin)
const rules = { graceMs: 600_000 }
const keep = (line: string) => ({ wish: wishOf(classOf(line), 'keep') })

describe('what sites are owed of a chunk', () => {
  it('is a copy at the one site that has disks for it', () => {
    expect(owedOf(repairChunk([1, 2], keep('H,C')), all, rules)).toEqual([{ site: 'cabin', bytes: 1_000 }])
    expect(owedOf(repairChunk([1], keep('H,C')), all, rules)).toEqual([{ site: 'cabin', bytes: 1_000 }])
    expect(owedOf(repairChunk([1, 3], keep('H,C')), all, rules)).toEqual([])
  })

  it('is a copy at the site that has none yet, where no two copies may share one', () => {
    expect(owedOf(repairChunk([1, 2], keep('2*/[SITE]')), all, rules)).toEqual([{ site: 'cabin', bytes: 1_000 }])
    expect(owedOf(repairChunk([4, 2], keep('2*/[SITE]')), all, rules)).toEqual([])
  })

  it('has no name where several sites would do, or none', () => {
    expect(owedOf(repairChunk([1], keep('2')), all, rules)).toEqual([{ site: undefined, bytes: 1_000 }])
    expect(owedOf(repairChunk([1], keep('H,Z')), all, rules)).toEqual([{ site: undefined, bytes: 1_000 }])
  })

  it('is nothing while a copy there is only away, and is when it is waited for no longer, is damaged or unconfirmed', () => {
    const away = (awayMs: number) => mapOf(...home, disk(3, 'cabin', 'C', { live: false, awayMs }), cabin[1]!)
    const chunk = repairChunk([1, 3], keep('H,C'))
    expect(owedOf(chunk, away(599_000), rules)).toEqual([])
    expect(owedOf(chunk, away(600_000), rules)).toEqual([{ site: 'cabin', bytes: 1_000 }])
    expect(owedOf({ ...chunk, bad: [3 as never] }, all, rules)).toHaveLength(1)
    expect(owedOf({ ...chunk, unsealed: [3 as never] }, all, rules)).toHaveLength(1)
    expect(owedOf({ ...chunk, sealed: false }, away(600_000), rules)).toEqual([])
  })

  it('is each part that is missing', () => {
    const parts = [copiesOn(8, [1], 500), copiesOn(9, [3], 500), copiesOn(10, [], 500)]
    const wish = keep('@2+1,*').wish
    const chunk = repairChunk([], { wish, ec: { data: 2, parity: 1, parts } })
    expect(owedOf(chunk, mapOf(...home, cabin[0]!), rules)).toEqual([{ site: undefined, bytes: 500 }])
  })
})

describe('a chunk is complete', () => {
  it('where a good, confirmed copy can be read now', () => {
    const chunk = repairChunk([1, 3])
    expect([...completeAt(chunk, all)]).toEqual(['home', 'cabin'])
    expect([...completeAt({ ...chunk, unsealed: [3 as never] }, all)]).toEqual(['home'])
    expect([...completeAt(chunk, mapOf(home[0]!, disk(3, 'cabin', 'C', { live: false })))]).toEqual(['home'])
    // Its writer has heard from both.
    expect([...completeAt({ ...chunk, sealed: false, unsealed: [1, 3] as never }, all)]).toEqual(['home', 'cabin'])
  })

  it('where enough parts are, each counted once', () => {
    const ec = (holders: number[][]) => ({
      ec: { data: 2, parity: 1, parts: holders.map((disks, i) => copiesOn(20 + i, disks, 500)) },
    })
    expect([...completeAt(repairChunk([], ec([[1], [2], [3]])), all)]).toEqual(['home'])
    expect([...completeAt(repairChunk([], ec([[1, 2], [3], [4]])), all)]).toEqual(['cabin'])
    expect([...completeAt(repairChunk([], ec([[1, 2], [3], []])), all)]).toEqual([])
  })
})

it('a class may be at the sites that have disks with its labels', () => {
  expect(mayBeAt(classOf('H,C'), 'cabin', all)).toBe(true)
  expect(mayBeAt(classOf('2H'), 'cabin', all)).toBe(false)
  expect(mayBeAt(classOf('2H', 'C'), 'cabin', all)).toBe(true)
  expect(mayBeAt(classOf('2'), 'cabin', all)).toBe(true)
})
