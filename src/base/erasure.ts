/*
 * A systematic Reed-Solomon code: k blocks of data get m blocks of parity, and any k of the k+m give all the others. Byte p of
 * every block depends only on bytes p of the other blocks, so what holds for blocks holds for any range of them.
 *
 * The coefficients, which are part of what lies on disks and never change: parity j of data i is y/(y⊕j) with y = i + 4, in
 * GF(256) with polynomial 0x11d. That is a Cauchy matrix whose columns are scaled so that the first parity is the plain XOR of
 * the data; every square part of it has an inverse, as Reed-Solomon needs. It does not depend on k or m: a further parity
 * leaves the others as they are.
 */

import { prepared, type Sums, sum } from './erasure-kernel.ts'
import { assert } from './fault.ts'
import { inverse, over, product } from './galois.ts'
import { EC_DATA_MAX, EC_DATA_MIN, EC_PARITY_MAX, EC_PARITY_MIN } from './limits.ts'

/** Which part: data parts come first, then parity parts. */
export interface Part {
  readonly index: number
  /** May be shorter than the row: what it lacks counts as zeros. */
  readonly block: Uint8Array
}

/** Different losses whose equations are kept: all single and double ones of 16+4, at up to 2 KiB each. */
const SOLUTIONS_MAX = 256

export class Erasure {
  readonly data: number
  readonly parity: number
  readonly #encoding: Sums
  readonly #rows: readonly Uint8Array[]
  readonly #solutions = new Map<string, Sums>()

  constructor(data: number, parity: number) {
    assert(
      data >= EC_DATA_MIN && data <= EC_DATA_MAX && parity >= EC_PARITY_MIN && parity <= EC_PARITY_MAX,
      `a code has ${EC_DATA_MIN} to ${EC_DATA_MAX} data and ${EC_PARITY_MIN} to ${EC_PARITY_MAX} parity parts, not ${data}+${parity}`,
    )
    this.data = data
    this.parity = parity
    this.#rows = Array.from({ length: data + parity }, (_, index) => coefficients(index, data))
    this.#encoding = prepared(this.#rows.slice(data))
  }

  /** Fills the first `length` bytes of the `parity` blocks of `into` from the data of one row. */
  encode(data: readonly Uint8Array[], into: readonly Uint8Array[], length: number): void {
    assert(data.length === this.data && into.length === this.parity, 'a row is encoded whole')
    sum(this.#encoding, data, into, length)
  }

  /** Fills the first `length` bytes of `into`, one for each wanted part, from any k parts that are present. */
  recover(present: readonly Part[], wanted: readonly number[], into: readonly Uint8Array[], length: number): void {
    assert(present.length === this.data, `${this.data} parts are needed, not ${present.length}`)
    if (wanted.length === 0) return
    sum(
      this.#solution(present, wanted),
      present.map((part) => part.block),
      into,
      length,
    )
  }

  #solution(present: readonly Part[], wanted: readonly number[]): Sums {
    const key = `${present.map((part) => part.index).join()}:${wanted.join()}`
    const known = this.#solutions.get(key)
    if (known !== undefined) return known
    const row = (index: number): Uint8Array => {
      const found = this.#rows[index]
      assert(found !== undefined, `a code of ${this.data}+${this.parity} has no part ${index}`)
      return found
    }
    const fromPresent = inverse(present.map((part) => row(part.index)))
    const made = prepared(product(wanted.map(row), fromPresent))
    if (this.#solutions.size >= SOLUTIONS_MAX) this.#solutions.clear()
    this.#solutions.set(key, made)
    return made
  }
}

function coefficients(index: number, data: number): Uint8Array {
  const parity = index - data
  return Uint8Array.from({ length: data }, (_, i) => {
    if (parity < 0) return i === index ? 1 : 0
    const y = i + EC_PARITY_MAX
    return over(y, y ^ parity)
  })
}

const codes = new Map<string, Erasure>()

/** One for all who use the same code: 60 at most. */
export function erasure(data: number, parity: number): Erasure {
  const key = `${data}+${parity}`
  const code = codes.get(key) ?? new Erasure(data, parity)
  codes.set(key, code)
  return code
}
