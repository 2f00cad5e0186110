/*
 * Arithmetic in GF(256) with the polynomial x⁸ + x⁴ + x³ + x² + 1 (0x11d), one number at a time: for the few coefficients of a
 * code, never for data. Addition is XOR.
 */

import { assert } from './fault.ts'

const POLYNOMIAL = 0x11d
const exponents = new Uint8Array(510)
const logarithms = new Uint8Array(256)
for (let power = 0, value = 1; power < 255; power++) {
  exponents[power] = value
  exponents[power + 255] = value
  logarithms[value] = power
  value <<= 1
  if (value > 0xff) value ^= POLYNOMIAL
}

export const times = (a: number, b: number): number =>
  a === 0 || b === 0 ? 0 : exponents[logarithms[a]! + logarithms[b]!]!

export function over(a: number, b: number): number {
  assert(b !== 0, 'nothing is divided by zero')
  return a === 0 ? 0 : exponents[logarithms[a]! + 255 - logarithms[b]!]!
}

export type Matrix = readonly Uint8Array[]

export function product(a: Matrix, b: Matrix): Uint8Array[] {
  return a.map((row) => {
    const out = new Uint8Array(b[0]!.length)
    for (let j = 0; j < out.length; j++) for (let i = 0; i < row.length; i++) out[j]! ^= times(row[i]!, b[i]![j]!)
    return out
  })
}

/** Gauss and Jordan. The matrix must have an inverse: those of a code have. */
export function inverse(matrix: Matrix): Uint8Array[] {
  const n = matrix.length
  const left = matrix.map((row) => Uint8Array.from(row))
  const right = matrix.map((_, i) => Uint8Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)))
  for (let column = 0; column < n; column++) {
    const pivot = left.findIndex((row, i) => i >= column && row[column] !== 0)
    assert(pivot >= 0, 'any k rows of the code are independent')
    for (const rows of [left, right]) [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!]
    const scale = over(1, left[column]![column]!)
    for (const rows of [left, right]) for (let j = 0; j < n; j++) rows[column]![j] = times(rows[column]![j]!, scale)
    for (let i = 0; i < n; i++) {
      const factor = left[i]![column]!
      if (i === column || factor === 0) continue
      for (const rows of [left, right]) for (let j = 0; j < n; j++) rows[i]![j]! ^= times(factor, rows[column]![j]!)
    }
  }
  return right
}
