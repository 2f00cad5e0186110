/*
 * Sums over GF(256) of whole blocks, in WebAssembly with 128-bit SIMD: output[j] = Σ coefficient[j][i] × input[i]. Which
 * coefficients, and what the blocks mean, is the business of erasure.ts.
 *
 * A product with a constant is two look-ups: that of the low half byte in a table of sixteen, that of the high half in another,
 * XORed. i8x16.swizzle looks sixteen up at once. Inputs lie in the module's memory one after the other, so they are copied in
 * and results copied out, which costs a tenth of the work and spares everybody else buffers of a special kind.
 *
 * One instance for the whole process: calls neither wait nor call out, so nobody can come in between.
 */

import { assert } from './fault.ts'
import { times } from './galois.ts'
import { assemble, Body, type Kernel } from './wasm.ts'

/** What one round of a kernel takes of each input: two vectors, so that a loaded table serves twice. */
const VECTORS = 2
const VECTOR_BYTES = 16
const ROUND_BYTES = VECTORS * VECTOR_BYTES
/** Two tables of sixteen per coefficient. */
const TABLE_BYTES = 32
/** Outputs that one pass over the inputs makes; what is more takes another pass. */
export const OUTPUTS_MAX = 4
/** Inputs of one sum: as many as a code has data parts. */
export const INPUTS_MAX = 16
/** Of each input and output at a time: sixteen of them and four stay in the second-level cache. */
export const SLICE_BYTES = 16_384

const PAGE_BYTES = 65_536
const INPUTS_AT = 0
const OUTPUTS_AT: number = INPUTS_AT + INPUTS_MAX * SLICE_BYTES
const TABLES_AT: number = OUTPUTS_AT + OUTPUTS_MAX * SLICE_BYTES
const PAGES = Math.ceil((TABLES_AT + INPUTS_MAX * OUTPUTS_MAX * TABLE_BYTES) / PAGE_BYTES)

const times8 = (count: number): unknown[] => new Array<unknown>(count).fill(undefined)

/** (inputs, length): the sums of `outputs` rows of coefficients whose tables lie at TABLES_AT, input by input. */
function sums(outputs: number): { parameters: number; body: Body } {
  const parameters = 2
  const body = new Body(parameters)
  const [inputs, length] = [{ index: 0 }, { index: 1 }]
  const [at, input, source, table] = [body.i32(), body.i32(), body.i32(), body.i32()]
  const mask = body.v128()
  const [low, high] = [times8(VECTORS).map(() => body.v128()), times8(VECTORS).map(() => body.v128())]
  const total = times8(outputs).map(() => times8(VECTORS).map(() => body.v128()))
  const [lowTable, highTable] = [body.v128(), body.v128()]
  body.bytes(0x0f).set(mask)
  body.loop(() => {
    for (const row of total) for (const sum of row) body.bytes(0).set(sum)
    body.constant(0).set(input)
    body.get(at).constant(INPUTS_AT).add().set(source)
    body.constant(TABLES_AT).set(table)
    body.loop(() => {
      for (let v = 0; v < VECTORS; v++) {
        body
          .get(source)
          .load(v * VECTOR_BYTES)
          .set(high[v]!)
        body.get(high[v]!).get(mask).and().set(low[v]!)
        body.get(high[v]!).shiftRight16(4).get(mask).and().set(high[v]!)
      }
      for (let j = 0; j < outputs; j++) {
        body
          .get(table)
          .load(j * TABLE_BYTES)
          .set(lowTable)
        body
          .get(table)
          .load(j * TABLE_BYTES + VECTOR_BYTES)
          .set(highTable)
        for (let v = 0; v < VECTORS; v++) {
          body.get(total[j]![v]!)
          body.get(lowTable).get(low[v]!).swizzle().xor()
          body.get(highTable).get(high[v]!).swizzle().xor()
          body.set(total[j]![v]!)
        }
      }
      body.constant(SLICE_BYTES).addTo(source)
      body.constant(outputs * TABLE_BYTES).addTo(table)
      body.constant(1).addTo(input)
      body.get(input).get(inputs).below()
    })
    for (let j = 0; j < outputs; j++)
      for (let v = 0; v < VECTORS; v++)
        body
          .get(at)
          .get(total[j]![v]!)
          .store(OUTPUTS_AT + j * SLICE_BYTES + v * VECTOR_BYTES)
    body.constant(ROUND_BYTES).addTo(at)
    body.get(at).get(length).below()
  })
  return { parameters, body }
}

/** (inputs, length): the plain XOR of all inputs, which is the sum whose coefficients are all one. */
function parity(): { parameters: number; body: Body } {
  const parameters = 2
  const body = new Body(parameters)
  const [inputs, length] = [{ index: 0 }, { index: 1 }]
  const [at, input, source] = [body.i32(), body.i32(), body.i32()]
  const total = times8(VECTORS).map(() => body.v128())
  body.loop(() => {
    for (const sum of total) body.bytes(0).set(sum)
    body.constant(0).set(input)
    body.get(at).constant(INPUTS_AT).add().set(source)
    body.loop(() => {
      total.forEach((sum, v) => {
        body
          .get(sum)
          .get(source)
          .load(v * VECTOR_BYTES)
          .xor()
          .set(sum)
      })
      body.constant(SLICE_BYTES).addTo(source)
      body.constant(1).addTo(input)
      body.get(input).get(inputs).below()
    })
    total.forEach((sum, v) => {
      body
        .get(at)
        .get(sum)
        .store(OUTPUTS_AT + v * VECTOR_BYTES)
    })
    body.constant(ROUND_BYTES).addTo(at)
    body.get(at).get(length).below()
  })
  return { parameters, body }
}

interface Machine {
  readonly memory: Uint8Array
  readonly parity: Kernel
  /** By the number of outputs. */
  readonly sums: readonly (Kernel | undefined)[]
}
let machine: Machine | undefined

/** Made when first needed: a process that codes nothing pays nothing. */
function started(): Machine {
  if (machine !== undefined) return machine
  const { memory, kernels } = assemble(PAGES, {
    parity: parity(),
    sums1: sums(1),
    sums2: sums(2),
    sums3: sums(3),
    sums4: sums(4),
  })
  const { sums1, sums2, sums3, sums4 } = kernels
  machine = { memory, parity: kernels.parity!, sums: [undefined, sums1, sums2, sums3, sums4] }
  return machine
}

/** Rows of coefficients as the kernels want them. */
export interface Sums {
  readonly inputs: number
  readonly outputs: number
  /** All coefficients are one: no tables are needed. */
  readonly plain: boolean
  readonly tables: Uint8Array
}

export function prepared(rows: readonly Uint8Array[]): Sums {
  const outputs = rows.length
  const inputs = rows[0]!.length
  assert(outputs <= OUTPUTS_MAX && inputs <= INPUTS_MAX, 'a sum has at most sixteen inputs and four outputs')
  const plain = outputs === 1 && rows[0]!.every((coefficient) => coefficient === 1)
  const tables = new Uint8Array(inputs * outputs * TABLE_BYTES)
  for (let i = 0; i < inputs; i++)
    for (let j = 0; j < outputs; j++)
      for (let half = 0; half < 16; half++) {
        const at = (i * outputs + j) * TABLE_BYTES + half
        tables[at] = times(rows[j]![i]!, half)
        tables[at + VECTOR_BYTES] = times(rows[j]![i]!, half << 4)
      }
  return { inputs, outputs, plain, tables }
}

/**
 * Fills the first `length` bytes of each of `into`. Inputs may be shorter: what they lack counts as zeros. Outputs may not be
 * inputs.
 */
export function sum(sums: Sums, from: readonly Uint8Array[], into: readonly Uint8Array[], length: number): void {
  const { memory, parity, sums: kernels } = started()
  const { inputs, outputs, plain, tables } = sums
  const kernel = plain ? parity : kernels[outputs]!
  if (!plain) memory.set(tables, TABLES_AT)
  for (let at = 0; at < length; at += SLICE_BYTES) {
    const bytes = Math.min(length - at, SLICE_BYTES)
    const rounded = Math.ceil(bytes / ROUND_BYTES) * ROUND_BYTES
    for (let i = 0; i < inputs; i++) {
      const block = from[i]!
      const there = Math.max(0, Math.min(block.length - at, bytes))
      const begin = INPUTS_AT + i * SLICE_BYTES
      if (there > 0) memory.set(block.subarray(at, at + there), begin)
      if (there < rounded) memory.fill(0, begin + there, begin + rounded)
    }
    kernel(inputs, rounded)
    for (let j = 0; j < outputs; j++) {
      const begin = OUTPUTS_AT + j * SLICE_BYTES
      into[j]!.set(memory.subarray(begin, begin + bytes), at)
    }
  }
}
