import { describe, expect, it } from 'vitest'
import type { ChunkId } from '../../../src/base/ids.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { State, transact } from '../../../src/master/core/state.ts'
import { key } from '../../../src/master/core/tables.ts'
import { ALL_COUNTED, NOBODYS } from '../../../src/master/core/usage.ts'
import { classWith, writeClass } from '../../../src/topology/storage-class.ts'
import { Bench, chance, unlink } from './support.ts'

const MiB = 2 ** 20
const of = (b: Bench, classId: number) => {
  const { chunks, live, raw } = b.state.usage.of(classId)
  return [chunks, live, raw]
}
const as = (command: object): Command => command as unknown as Command

/** A sealed chunk on two disks with one file in it. */
function written(b: Bench, session: number, name: string, length: number): { chunk: number; ino: number } {
  const ino = b.file(name)
  const chunk = b.chunk(session)
  b.write(session, ino, chunk, 0, length, 0)
  b.ok(as({ kind: 'chunkSeal', chunk, length, failed: [] }), session)
  b.ok(as({ kind: 'chunkSealed', chunk, disks: [1, 2] }))
  return { chunk, ino }
}
function bench(): { b: Bench; session: number } {
  const b = new Bench()
  b.disks()
  return { b, session: b.session() }
}
function classed(b: Bench): number {
  return b.ok(as({ kind: 'classSet', classId: 2, text: writeClass(classWith('hddec', { K: '2H', A: '@2+1,H' })) }))
    .classId
}
const wish = (chunk: number, classId: number | undefined, code?: { data: number; parity: number }) =>
  as({ kind: 'chunkWish', chunk, classId, phase: code && 'archive', copies: 2, code })

/** Cuts it into 2+1 parts; answers them. */
function cut(b: Bench, whole: number, length: number): number[] {
  const first = b.state.nextIds().chunk
  const parts = [0, 1, 2].map((i) => ({ chunk: first + i, disk: i + 1 }))
  b.ok(as({ kind: 'encodeBegun', whole, parts }))
  b.ok(as({ kind: 'encoded', whole, data: 2, parity: 1, parts: parts.map(({ chunk }) => ({ chunk, length })) }))
  for (const { chunk, disk } of parts) b.ok(as({ kind: 'chunkSealed', chunk, disks: [disk] }))
  return parts.map(({ chunk }) => chunk)
}

describe('what classes hold', () => {
  it('follows what is written, copied, dropped and deleted', () => {
    const { b, session } = bench()
    const { chunk, ino } = written(b, session, 'f', 1000)
    expect(of(b, 1)).toEqual([1, 1000, 2000])
    b.ok(as({ kind: 'copyAdded', chunk, disk: 3 }))
    expect(of(b, 1)).toEqual([1, 1000, 3000])
    b.ok(as({ kind: 'copyDropped', chunk, disk: 1, reason: 'over' }))
    expect(of(b, 1)).toEqual([1, 1000, 2000])
    b.ok(unlink(b.root, 'f'), session)
    expect(of(b, 1)).toEqual([1, 1000, 2000])
    b.ok(as({ kind: 'trashPurge', inos: [ino] }))
    expect([of(b, 1), of(b, NOBODYS)]).toEqual([
      [0, 0, 0],
      [1, 0, 2000],
    ])
    b.ok(as({ kind: 'chunksForgotten', chunks: [chunk] }))
    expect(of(b, NOBODYS)).toEqual([0, 0, 0])
    expect(b.state.usage.numbers()).toEqual([])
  })

  it('moves with a chunk to another class, its parts too', () => {
    const { b, session } = bench()
    const classId = classed(b)
    const { chunk, ino } = written(b, session, 'f', MiB)
    b.ok(wish(chunk, classId, { data: 2, parity: 1 }))
    expect([of(b, 1), of(b, classId)]).toEqual([
      [0, 0, 0],
      [1, MiB, 2 * MiB],
    ])
    cut(b, chunk, MiB / 2)
    expect(of(b, classId)).toEqual([1, MiB, 2 * MiB + 1.5 * MiB])
    for (const disk of [1, 2]) b.ok(as({ kind: 'copyDropped', chunk, disk, reason: 'over' }))
    expect(of(b, classId)).toEqual([1, MiB, 1.5 * MiB])
    b.ok(wish(chunk, undefined, { data: 2, parity: 1 }))
    expect([of(b, 1), of(b, classId)]).toEqual([
      [1, MiB, 1.5 * MiB],
      [0, 0, 0],
    ])
    b.ok(unlink(b.root, 'f'), session)
    b.ok(as({ kind: 'trashPurge', inos: [ino] }))
    expect([of(b, 1), of(b, NOBODYS)]).toEqual([
      [0, 0, 0],
      [1, 0, 1.5 * MiB],
    ])
  })

  it('leaves parts to nobody that were put together or never became any', () => {
    const { b, session } = bench()
    const { chunk } = written(b, session, 'f', MiB)
    b.ok(wish(chunk, undefined, { data: 2, parity: 1 }))
    const parts = cut(b, chunk, MiB / 2)
    b.ok(as({ kind: 'uncoded', whole: chunk }))
    expect([of(b, 1), of(b, NOBODYS)]).toEqual([
      [1, MiB, 2 * MiB],
      [3, 0, 1.5 * MiB],
    ])
    b.ok(as({ kind: 'chunksForgotten', chunks: parts }))
    const first = b.state.nextIds().chunk
    b.ok(as({ kind: 'encodeBegun', whole: chunk, parts: [{ chunk: first, disk: 3 }] }))
    expect(of(b, 1)).toEqual([1, MiB, 2 * MiB])
    b.ok(as({ kind: 'partsEnded', parts: [first] }))
    expect(of(b, 1)).toEqual([1, MiB, 2 * MiB])
  })

  it('is counted page by page in a store of before, whatever happens meanwhile', () => {
    const seed = Date.now() % 1_000_000
    const below = chance(seed)
    const { b, session } = bench()
    const classId = classed(b)
    const chunks = Array.from({ length: 9 }, (_, i) => written(b, session, `f${i}`, MiB).chunk)
    for (const chunk of chunks.slice(0, 4)) {
      b.ok(wish(chunk, classId, { data: 2, parity: 1 }))
      cut(b, chunk, MiB / 2)
    }
    const rows = () => [NOBODYS, 1, classId].map((row) => of(b, row))
    const counted = rows()
    transact(b.store, b.state, () => {
      for (const row of b.state.usage.numbers()) b.store.delete(key.usage(row))
      b.state.setCounters({ usageTo: undefined })
    })
    b.state = new State(b.store)
    expect(rows()).toEqual(rows().map(() => [0, 0, 0]))
    for (let i = 0; b.state.counters().usageTo !== ALL_COUNTED; i++) {
      // Back and forth: what was counted last must stand for what is.
      const chunk = chunks[below(9)]!
      const record = b.state.chunk(chunk as ChunkId)!
      const other = record.classId === undefined ? classId : undefined
      b.ok(wish(chunk, other, record.code))
      if (below(3) === 0) b.ok(as({ kind: 'copyAdded', chunk: chunks[8], disk: 3 }))
      b.ok({ kind: 'usageCounted', limit: 1 + below(3) })
      b.ok(wish(chunk, record.classId, record.code))
      expect(i, `seed ${seed}`).toBeLessThan(100)
    }
    const extra = b.state.chunk(chunks[8] as ChunkId)!.disks.length === 3 ? MiB : 0
    const [nobody, first, second] = counted
    expect(rows(), `seed ${seed}`).toEqual([nobody, [first![0], first![1], first![2]! + extra], second])
    b.ok({ kind: 'usageCounted', limit: 5 })
  })

  it('that does not agree with the chunks is found by the check', () => {
    const { b, session } = bench()
    written(b, session, 'f', 1000)
    transact(b.store, b.state, () => b.state.usage.add(1, { chunks: 0, live: 1, raw: 5 }, 1))
    expect(check(b.state).map(({ what }) => what)).toEqual([
      'usage of class 1: 1000 live found, not 1001',
      'usage of class 1: 2000 raw found, not 2005',
    ])
  })
})
