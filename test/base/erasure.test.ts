/* The code against arithmetic that is slow and plain: every loss it promises to survive, and the bytes it must never change. */

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type Erasure, erasure } from '../../src/base/erasure.ts'
import { SLICE_BYTES } from '../../src/base/erasure-kernel.ts'
import { inverse, product, times } from '../../src/base/galois.ts'
import { seededRandom } from '../support/memory-cluster.ts'

/** Multiplication as schoolbooks have it: shift, add, reduce. */
function slowTimes(a: number, b: number): number {
  let sum = 0
  for (let bit = 0; bit < 8; bit++) if (b & (1 << bit)) sum ^= a << bit
  for (let bit = 15; bit >= 8; bit--) if (sum & (1 << bit)) sum ^= 0x11d << (bit - 8)
  return sum
}
/** The one c with c × b = a. */
const slowOver = (a: number, b: number): number => {
  for (let c = 0; c < 256; c++) if (slowTimes(c, b) === a) return c
  throw new Error('no quotient')
}
const coefficient = (parity: number, data: number): number => slowOver(data + 4, (data + 4) ^ parity)

const seed = Date.now() & 0xffffff
const random = seededRandom(seed)
const noise = (length: number): Uint8Array => Uint8Array.from({ length }, () => random.below(256))

/** Lengths that are no multiple of a vector, of a slice, and blocks that end before the row does. */
function row(code: Erasure, length: number): { data: Uint8Array[]; all: Uint8Array[] } {
  const data = Array.from({ length: code.data }, (_, i) =>
    noise(i === 0 || random.below(3) > 0 ? length : random.below(length + 1)),
  )
  const parity = Array.from({ length: code.parity }, () => new Uint8Array(length))
  code.encode(data, parity, length)
  const padded = data.map((block) => Uint8Array.from({ length }, (_, p) => block[p] ?? 0))
  return { data, all: [...padded, ...parity] }
}

/** Every choice of `count` out of 0 … n−1. */
function choices(n: number, count: number, from = 0): number[][] {
  if (count === 0) return [[]]
  const out: number[][] = []
  for (let first = from; first <= n - count; first++)
    for (const rest of choices(n, count - 1, first + 1)) out.push([first, ...rest])
  return out
}

function recovers(code: Erasure, all: readonly Uint8Array[], blocks: readonly Uint8Array[], lost: number[]): void {
  const length = all[0]!.length
  const left = all.map((_, index) => index).filter((index) => !lost.includes(index))
  // Any k of them, in any order.
  for (let i = left.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[left[i], left[j]] = [left[j]!, left[i]!]
  }
  const present = left.slice(0, code.data).map((index) => ({ index, block: blocks[index] ?? all[index]! }))
  const into = lost.map(() => new Uint8Array(length).fill(0xaa))
  code.recover(present, lost, into, length)
  for (const [i, index] of lost.entries())
    expect(Buffer.compare(into[i]!, all[index]!), `seed ${seed}: part ${index} of ${lost} from ${left}`).toBe(0)
}

describe('the arithmetic', () => {
  it('is that of GF(256) with polynomial 0x11d', () => {
    for (let a = 0; a < 256; a++)
      for (let b = 0; b < 256; b++) if (times(a, b) !== slowTimes(a, b)) expect([a, b]).toBe(0)
  })

  it('inverts every matrix that has an inverse', () => {
    const matrix = [Uint8Array.of(0, 1, 7), Uint8Array.of(3, 0, 9), Uint8Array.of(1, 1, 1)]
    expect(product(matrix, inverse(matrix))).toEqual([
      Uint8Array.of(1, 0, 0),
      Uint8Array.of(0, 1, 0),
      Uint8Array.of(0, 0, 1),
    ])
  })
})

describe('the parity', () => {
  it.each([
    [2, 1],
    [4, 1],
    [4, 2],
    [8, 2],
    [3, 3],
    [16, 4],
  ])('of %i+%i is what plain arithmetic makes of every byte, also of short blocks', (k, m) => {
    const code = erasure(k, m)
    for (const length of [1, 31, 32, 1000, SLICE_BYTES + 77]) {
      const { all } = row(code, length)
      for (let j = 0; j < m; j++)
        for (let p = 0; p < length; p += 1 + random.below(length > 2000 ? 50 : 3)) {
          let sum = 0
          for (let i = 0; i < k; i++) sum ^= slowTimes(coefficient(j, i), all[i]![p]!)
          expect(all[k + j]![p], `seed ${seed}: byte ${p} of parity ${j}, length ${length}`).toBe(sum)
        }
    }
  })

  it('of one part is the plain XOR, and a further parity leaves the others as they are', () => {
    const data = Array.from({ length: 4 }, () => noise(500))
    const parities = [1, 2, 3, 4].map((m) => {
      const into = Array.from({ length: m }, () => new Uint8Array(500))
      erasure(4, m).encode(data, into, 500)
      return into
    })
    expect(parities[0]![0]).toEqual(Uint8Array.from({ length: 500 }, (_, p) => data.reduce((sum, d) => sum ^ d[p]!, 0)))
    for (const [m, into] of parities.entries()) expect(into).toEqual(parities[3]!.slice(0, m + 1))
  })

  it('never changes: what lies on disks was made with it', () => {
    const data = Array.from({ length: 16 }, (_, i) =>
      Uint8Array.from({ length: 4096 }, (_, p) => (p * 31 + i * 7) & 255),
    )
    const into = Array.from({ length: 4 }, () => new Uint8Array(4096))
    erasure(16, 4).encode(data, into, 4096)
    const hash = createHash('sha256')
    for (const block of into) hash.update(block)
    expect(hash.digest('hex')).toBe('a3c9fc52c51497059649921ddf03526a6480cc3572d27da45b9c2b6db7b393d3')
  })

  it('of a row that is shorter than the buffers leaves what lies behind alone', () => {
    const into = [new Uint8Array(100).fill(9)]
    erasure(2, 1).encode([noise(40), noise(40)], into, 40)
    expect([...into[0]!.subarray(40)]).toEqual(new Array(60).fill(9))
  })
})

describe('what was lost', () => {
  it.each([
    [2, 1],
    [4, 1],
    [4, 2],
    [8, 2],
  ])('of %i+%i comes back whatever was lost, up to as many parts as there are parities', (k, m) => {
    const code = erasure(k, m)
    for (let lost = 1; lost <= m; lost++)
      for (const which of choices(k + m, lost)) {
        const { data, all } = row(code, 1 + random.below(300))
        recovers(code, all, data, which)
      }
  })

  it('comes back in random codes up to 16+4', () => {
    for (let round = 0; round < 300; round++) {
      const code = erasure(2 + random.below(15), 1 + random.below(4))
      const lost = new Set<number>()
      const count = 1 + random.below(code.parity)
      while (lost.size < count) lost.add(random.below(code.data + code.parity))
      const { data, all } = row(code, 1 + random.below(200))
      recovers(code, all, data, [...lost])
    }
  })

  it('comes back for any range of the blocks, without the rest of them', () => {
    const code = erasure(4, 2)
    const { all } = row(code, 5000)
    const present = [1, 2, 4, 5].map((index) => ({ index, block: all[index]!.subarray(1234, 2345) }))
    const into = [new Uint8Array(1111)]
    code.recover(present, [3], into, 1111)
    expect(into[0]).toEqual(all[3]!.subarray(1234, 2345))
  })
})

describe('a code that is none', () => {
  it.each([
    [1, 1],
    [17, 1],
    [4, 0],
    [4, 5],
  ])('%i+%i is refused', (k, m) => {
    expect(() => erasure(k, m)).toThrow(/data and/)
  })
})
