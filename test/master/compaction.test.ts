import { describe, expect, test } from 'vitest'
import { chunkId, ino } from '../../src/base/ids.ts'
import {
  fitting,
  mostDead,
  type Owned,
  type Rewrite,
  rewrite,
  rewriteByChunk,
} from '../../src/master/core/compaction.ts'
import fc from '../support/properties.ts'

/** Bytes named by where they came from, so that a moved extent can be compared with what it was. */
const bytesOf = (chunk: number, offset: number, length: number): string[] =>
  Array.from({ length }, (_, i) => `${chunk}:${offset + i}`)
const written = (plan: Rewrite): string[] => plan.ranges.flatMap((r) => bytesOf(r.chunk, r.offset, r.length))

const anyOwned = fc.array(
  fc
    .record({
      ino: fc.integer({ min: 1, max: 5 }),
      offset: fc.integer({ min: 0, max: 1000 }),
      length: fc.integer({ min: 1, max: 30 }),
      chunk: fc.integer({ min: 1, max: 3 }),
      chunkOffset: fc.integer({ min: 0, max: 100 }),
    })
    .map(
      ({ ino: number, chunk, ...rest }): Owned => ({ ino: ino(number), extent: { ...rest, chunk: chunkId(chunk) } }),
    ),
  { maxLength: 40 },
)

describe('rewriting live ranges', () => {
  for (const [name, plan] of [
    ['by chunk', rewriteByChunk],
    ['in file order', rewrite],
  ] as const)
    test(`${name}: every moved extent finds its own bytes at its new place, and no bound is passed`, () => {
      fc.assert(
        fc.property(
          anyOwned,
          fc.integer({ min: 1, max: 400 }),
          fc.integer({ min: 1, max: 40 }),
          (owned, bytes, moves) => {
            const result = plan(owned, bytes, moves)
            const data = written(result)
            expect(data).toHaveLength(result.length)
            expect(result.length).toBeLessThanOrEqual(bytes)
            expect(result.moves.length).toBeLessThanOrEqual(moves)
            for (const move of result.moves)
              expect(data.slice(move.newOffset, move.newOffset + move.length)).toEqual(
                bytesOf(move.oldChunk, move.oldOffset, move.length),
              )
          },
        ),
      )
    })

  test('bytes shared by several files are written once', () => {
    const shared = { offset: 0, length: 10, chunk: chunkId(1), chunkOffset: 5 }
    const result = rewriteByChunk(
      [
        { ino: ino(1), extent: shared },
        { ino: ino(2), extent: { ...shared, offset: 77 } },
      ],
      1000,
      10,
    )
    expect(result.ranges).toEqual([{ chunk: 1, offset: 5, length: 10 }])
    expect(result.moves.map((move) => move.newOffset)).toEqual([0, 0])
  })

  test('a fragmented file becomes one stream in the order of the file', () => {
    const pieces = [300, 100, 200].map((chunkOffset, i) => ({
      ino: ino(1),
      extent: { offset: i * 10, length: 10, chunk: chunkId(1), chunkOffset },
    }))
    expect(rewrite(pieces, 1000, 10).moves.map((move) => move.newOffset)).toEqual([0, 10, 20])
  })
})

describe('when room is short', () => {
  const partly = (chunk: number, length: number, live: number) => ({ chunk: chunkId(chunk), length, live })

  test('the chunks with most dead bytes come first, half-live ones and more, but none that wins next to nothing', () => {
    const chunks = [
      partly(1, 64, 32),
      partly(2, 64, 60),
      partly(3, 64, 56),
      partly(4, 64, 10),
      partly(5, 64, 0),
      partly(6, 8, 1),
    ]
    expect(mostDead(chunks, 9).map(({ chunk }) => chunk)).toEqual([4, 1, 3, 6])
    expect(mostDead(chunks, 2).map(({ chunk }) => chunk)).toEqual([4, 1])
  })

  test('as many are rewritten together as fit; one that does not fit keeps no smaller one from it', () => {
    const chunks = [partly(1, 64, 20), partly(2, 64, 40), partly(3, 32, 10), partly(4, 16, 1)]
    expect(fitting(chunks, 31).map(({ chunk }) => chunk)).toEqual([1, 3, 4])
    expect(fitting(chunks, 0)).toEqual([])
  })
})
