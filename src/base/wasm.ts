/*
 * The little of WebAssembly's binary format that kernels written in this project need: one memory, functions of i32
 * arguments without results, locals, loops, and 128-bit SIMD. A kernel is TypeScript that calls these in order, so its source
 * is what runs; there is no compiled file beside it. What does not validate fails when the module is made, not later.
 */

/** The part of the global that is used: the libraries that the project compiles against name none of it. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }
}

const I32 = 0x7f
const V128 = 0x7b
const PAGE_BYTES = 65_536

/** LEB128, as all integers of the format. */
function unsigned(value: number): number[] {
  const out: number[] = []
  let left = value
  do {
    const low = left & 0x7f
    left >>>= 7
    out.push(left === 0 ? low : low | 0x80)
  } while (left !== 0)
  return out
}
function signed(value: number): number[] {
  const out: number[] = []
  let left = value
  for (;;) {
    const low = left & 0x7f
    left >>= 7
    if ((left === 0 && (low & 0x40) === 0) || (left === -1 && (low & 0x40) !== 0)) return [...out, low]
    out.push(low | 0x80)
  }
}
const vector = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()]
const name = (text: string): number[] => [...unsigned(text.length), ...[...text].map((letter) => letter.charCodeAt(0))]
const section = (id: number, body: readonly number[]): number[] => [id, ...unsigned(body.length), ...body]

/** A local of the function that is being written; reading it puts its value on the stack. */
export interface Local {
  readonly index: number
}

/** The body of one function: a stack machine, so each call says what it takes from the stack and leaves there. */
export class Body {
  readonly #code: number[] = []
  readonly #parameters: number
  readonly #types: number[] = []

  constructor(parameters: number) {
    this.#parameters = parameters
  }

  #local(type: number): Local {
    this.#types.push(type)
    return { index: this.#parameters + this.#types.length - 1 }
  }
  i32(): Local {
    return this.#local(I32)
  }
  v128(): Local {
    return this.#local(V128)
  }

  get(local: Local): this {
    this.#code.push(0x20, ...unsigned(local.index))
    return this
  }
  /** Takes the top of the stack. */
  set(local: Local): this {
    this.#code.push(0x21, ...unsigned(local.index))
    return this
  }
  constant(value: number): this {
    this.#code.push(0x41, ...signed(value))
    return this
  }
  add(): this {
    this.#code.push(0x6a)
    return this
  }
  /** local += what is on the stack. */
  addTo(local: Local): this {
    return this.get(local).add().set(local)
  }
  /** Runs `body` once, and again while what it leaves on the stack is not zero. */
  loop(body: () => void): this {
    this.#code.push(0x03, 0x40)
    body()
    this.#code.push(0x0d, 0x00, 0x0b)
    return this
  }
  /** a b → a < b, without sign. */
  below(): this {
    this.#code.push(0x49)
    return this
  }

  #simd(operation: number, ...operands: number[]): this {
    this.#code.push(0xfd, ...unsigned(operation), ...operands)
    return this
  }
  /** address → the 16 bytes at address + offset. No alignment is promised. */
  load(offset: number): this {
    return this.#simd(0x00, 0, ...unsigned(offset))
  }
  /** address, 16 bytes → */
  store(offset: number): this {
    return this.#simd(0x0b, 0, ...unsigned(offset))
  }
  /** Sixteen times the same byte. */
  bytes(value: number): this {
    return this.#simd(0x0c, ...new Array<number>(16).fill(value))
  }
  /** table, indices → table[index] of each byte. */
  swizzle(): this {
    return this.#simd(0x0e)
  }
  and(): this {
    return this.#simd(0x4e)
  }
  xor(): this {
    return this.#simd(0x51)
  }
  /** Eight 16-bit lanes, each shifted right. */
  shiftRight16(bits: number): this {
    return this.constant(bits).#simd(0x8d)
  }

  /** As the format wants it. */
  encoded(): number[] {
    const locals = vector(this.#types.map((type) => [1, type]))
    const all = [...locals, ...this.#code, 0x0b]
    return [...unsigned(all.length), ...all]
  }
}

export type Kernel = (...numbers: number[]) => void

/** A module with `pages` × 64 KiB of memory and these functions of so many numbers each, ready to be called. */
export function assemble(
  pages: number,
  functions: Readonly<Record<string, { readonly parameters: number; readonly body: Body }>>,
): { readonly memory: Uint8Array; readonly kernels: Readonly<Record<string, Kernel>> } {
  const rows = Object.entries(functions)
  const bytes = [
    ...[0x00, 0x61, 0x73, 0x6d],
    ...[1, 0, 0, 0],
    ...section(1, vector(rows.map(([, { parameters }]) => [0x60, ...vector(new Array(parameters).fill([I32])), 0]))),
    ...section(3, vector(rows.map((_, i) => unsigned(i)))),
    ...section(5, vector([[1, ...unsigned(pages), ...unsigned(pages)]])),
    ...section(7, vector([[...name('memory'), 2, 0], ...rows.map(([text], i) => [...name(text), 0, ...unsigned(i)])])),
    ...section(10, vector(rows.map(([, { body }]) => body.encoded()))),
  ]
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes)))
  const { buffer } = exports.memory as { readonly buffer: ArrayBuffer }
  return { memory: new Uint8Array(buffer, 0, pages * PAGE_BYTES), kernels: exports as Record<string, Kernel> }
}
