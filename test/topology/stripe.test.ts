/* Where bytes lie, against the one sentence that says it, followed block by block. */

import { describe, expect, it } from 'vitest'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { inOrder, partLength, partLengths, piecesOf } from '../../src/topology/stripe.ts'
import fc from '../support/properties.ts'

const chunkLength = fc.oneof(
  fc.nat(40 * BLOCK_BYTES),
  fc.nat(40).map((blocks) => blocks * BLOCK_BYTES),
)
const dataParts = fc.integer({ min: 2, max: 16 })

/** Of every part, the blocks it holds as ranges of the chunk. */
function plainly(length: number, data: number): { from: number; to: number }[][] {
  const parts = Array.from({ length: data }, () => [] as { from: number; to: number }[])
  for (let block = 0; block * BLOCK_BYTES < length; block++)
    parts[block % data]!.push({ from: block * BLOCK_BYTES, to: Math.min(length, (block + 1) * BLOCK_BYTES) })
  return parts
}

describe('the parts of a chunk', () => {
  it('are as long as the blocks that they hold, parity as long as the first', () => {
    fc.assert(
      fc.property(chunkLength, dataParts, fc.integer({ min: 1, max: 4 }), (length, data, parity) => {
        const expected = plainly(length, data).map((held) => held.reduce((sum, { from, to }) => sum + to - from, 0))
        expect(partLengths(length, data, parity)).toEqual([...expected, ...new Array(parity).fill(expected[0]!)])
        for (let index = 0; index < data; index++) expect(partLength(length, data, index)).toBe(expected[index])
      }),
    )
  })

  it('of a whole number of rows are all alike', () => {
    expect(partLengths(12 * BLOCK_BYTES, 4, 2)).toEqual(new Array(6).fill(3 * BLOCK_BYTES))
  })
})

describe('a range of a chunk', () => {
  it('is one range of each part, and those put in order are the range', () => {
    fc.assert(
      fc.property(
        chunkLength.filter((length) => length > 0),
        dataParts,
        fc.nat(),
        fc.nat(),
        (length, data, a, b) => {
          const offset = a % length
          const count = 1 + (b % (length - offset))
          const parts = plainly(length, data)
          const pieces = piecesOf(offset, count, data)
          // Every byte of a part is followed to the place in the chunk that it came from.
          const bytes = pieces.map(({ index, offset: from, length: n }) => {
            expect(from + n).toBeLessThanOrEqual(partLength(length, data, index))
            return { index, offset: from, bytes: new Uint8Array(n) }
          })
          let at = offset
          for (const piece of inOrder(offset, count, data, bytes)) {
            const owner = bytes.find(({ bytes: whole }) => whole.buffer === piece.buffer)!
            const inPart = owner.offset + piece.byteOffset
            const block = parts[owner.index]![Math.floor(inPart / BLOCK_BYTES)]!
            expect(block.from + (inPart % BLOCK_BYTES)).toBe(at)
            expect(at + piece.length).toBeLessThanOrEqual(block.to)
            at += piece.length
          }
          expect(at).toBe(offset + count)
          expect(pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(count)
        },
      ),
    )
  })

  it('within one block touches one part', () => {
    expect(piecesOf(5 * BLOCK_BYTES + 100, 200, 4)).toEqual([{ index: 1, offset: BLOCK_BYTES + 100, length: 200 }])
  })
})
