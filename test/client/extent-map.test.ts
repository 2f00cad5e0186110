import { describe, expect, it } from 'vitest'
import { ExtentMap } from '../../src/client/core/extent-map.ts'
import fc from '../support/properties.ts'

const SIZE = 64

/** The oracle: one cell per byte, holding source and offset in the source. */
class Cells {
  readonly cells: (string | undefined)[] = new Array(SIZE).fill(undefined)
  put(offset: number, length: number, source: number): void {
    for (let i = 0; i < length; i++) this.cells[offset + i] = `${source}:${i}`
  }
  cut(start: number, end: number): void {
    this.cells.fill(undefined, start, end)
  }
}

const range = fc
  .tuple(fc.nat(SIZE - 1), fc.nat(SIZE - 1))
  .map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const)
const step = fc.oneof(
  range.map(([start, end]) => ({ kind: 'put' as const, start, end })),
  range.map(([start, end]) => ({ kind: 'cut' as const, start, end })),
)

describe('an extent map', () => {
  it('answers every byte as a table of single bytes would, after any puts and cuts', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), range, (steps, [from, to]) => {
        const map = new ExtentMap<number>()
        const oracle = new Cells()
        steps.forEach(({ kind, start, end }, source) => {
          if (kind === 'put') {
            map.put({ offset: start, length: end - start, source, sourceOffset: 0 })
            oracle.put(start, end - start, source)
          } else {
            map.cut(start, end)
            oracle.cut(start, end)
          }
        })
        const got: (string | undefined)[] = new Array(SIZE).fill(undefined)
        let last = from
        for (const piece of map.within(from, to)) {
          expect(piece.offset).toBeGreaterThanOrEqual(last)
          last = piece.offset + piece.length
          expect(last).toBeLessThanOrEqual(to)
          for (let i = 0; i < piece.length; i++) got[piece.offset + i] = `${piece.source}:${piece.sourceOffset + i}`
        }
        expect(got.slice(from, to)).toEqual(oracle.cells.slice(from, to))
        expect(map.covers(from, to)).toBe(!oracle.cells.slice(from, to).includes(undefined))
      }),
    )
  })

  it('removes every piece of one source and nothing else', () => {
    const map = new ExtentMap<string>()
    map.put({ offset: 0, length: 10, source: 'a', sourceOffset: 0 })
    map.put({ offset: 3, length: 2, source: 'b', sourceOffset: 0 })
    map.removeSource('a')
    expect(map.all()).toEqual([{ offset: 3, length: 2, source: 'b', sourceOffset: 0 }])
  })
})
