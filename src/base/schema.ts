/*
 * One small schema language for everything that crosses a boundary: wire calls, commands of the changelog, records of the
 * state. A schema turns a typed value into a plain msgpack value and back, checks every field on decode (what, where),
 * describes itself for the generated pages and makes samples for property tests.
 *
 * Structs travel as tuples in field order. Formats only grow: a new field goes last and is optional, so an older reader
 * ignores what it does not know (longer tuples) and a newer one takes `undefined` for what an older writer left out.
 */

import { FsError } from './fault.ts'

export interface Schema<T> {
  readonly encode: (value: T) => unknown
  /** Throws FsError EPROTO naming `path` when `raw` is not a T. */
  readonly decode: (raw: unknown, path: string) => T
  readonly describe: string
  /** A value of the type for property tests; `below(n)` yields an integer in 0 … n−1. */
  readonly sample: (below: (n: number) => number) => T
}
export type Infer<S> = S extends Schema<infer T> ? T : never

export function wrong(path: string, expected: string, raw: unknown): never {
  const shown = raw === undefined ? 'nothing' : raw === null ? 'null' : Array.isArray(raw) ? 'a list' : typeof raw
  throw new FsError('EPROTO', `${path}: expected ${expected}, got ${shown}`)
}

/** An integer 0 … max, optionally branded (`uint<Ino>()`). */
export function uint<T extends number = number>(max: number = Number.MAX_SAFE_INTEGER): Schema<T> {
  return {
    encode: (value) => value,
    decode: (raw, path) => {
      if (typeof raw !== 'number' || !Number.isSafeInteger(raw) || raw < 0 || raw > max) {
        if (typeof raw === 'bigint' && raw >= 0n && raw <= BigInt(max)) return Number(raw) as T
        wrong(path, `an integer 0 … ${max}`, raw)
      }
      return raw as T
    },
    describe: max === Number.MAX_SAFE_INTEGER ? 'uint' : `uint ≤ ${max}`,
    sample: (below) => (below(4) === 0 ? max : below(Math.min(max, 100_000) + 1)) as T,
  }
}

/** A signed safe integer (seconds before 1970 exist). */
export const int: Schema<number> = {
  encode: (value) => value,
  decode: (raw, path) => {
    if (typeof raw === 'bigint' && raw >= BigInt(Number.MIN_SAFE_INTEGER) && raw <= BigInt(Number.MAX_SAFE_INTEGER))
      return Number(raw)
    return Number.isSafeInteger(raw) ? (raw as number) : wrong(path, 'an integer', raw)
  },
  describe: 'int',
  sample: (below) => below(2_000_000) - 1_000_000,
}

export const bool: Schema<boolean> = {
  encode: (value) => value,
  decode: (raw, path) => (typeof raw === 'boolean' ? raw : wrong(path, 'true or false', raw)),
  describe: 'bool',
  sample: (below) => below(2) === 1,
}

/** Unicode text for people: host names, paths of this machine, messages. */
export function text(maxChars = 4096): Schema<string> {
  return {
    encode: (value) => value,
    decode: (raw, path) =>
      typeof raw === 'string' && raw.length <= maxChars ? raw : wrong(path, `text of at most ${maxChars} chars`, raw),
    describe: 'text',
    sample: (below) => 'x'.repeat(below(Math.min(maxChars, 20))),
  }
}

/** Text of one form: keys, ids, addresses. `example` is what samples are. */
export function matching(
  form: RegExp | ((value: string) => boolean),
  maxChars: number,
  expected: string,
  example: string,
): Schema<string> {
  const fits = typeof form === 'function' ? form : (value: string): boolean => form.test(value)
  return {
    encode: (value) => value,
    decode: (raw, path) =>
      typeof raw === 'string' && raw.length <= maxChars && fits(raw) ? raw : wrong(path, expected, raw),
    describe: expected,
    sample: () => example,
  }
}

/** A byte string: one char per byte (latin1), as names of files are. */
export function bytestr(maxBytes: number): Schema<string> {
  return {
    encode: (value) => value,
    decode: (raw, path) => {
      if (typeof raw !== 'string' || raw.length > maxBytes) wrong(path, `a byte string of at most ${maxBytes}`, raw)
      for (let i = 0; i < raw.length; i++) if (raw.charCodeAt(i) > 0xff) wrong(path, 'chars up to 0xff', raw)
      return raw
    },
    describe: `bytes ≤ ${maxBytes} (as latin1)`,
    sample: (below) =>
      Array.from({ length: 1 + below(Math.min(maxBytes, 24)) }, () => String.fromCharCode(1 + below(255))).join(''),
  }
}

export function bytes(maxBytes: number): Schema<Buffer> {
  return {
    encode: (value) => value,
    decode: (raw, path) =>
      raw instanceof Uint8Array && raw.length <= maxBytes
        ? Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
        : wrong(path, `at most ${maxBytes} bytes`, raw),
    describe: `bytes ≤ ${maxBytes}`,
    sample: (below) => Buffer.from(Array.from({ length: below(Math.min(maxBytes, 32) + 1) }, () => below(256))),
  }
}

/** One of a fixed list of words; travels as its index, so words are only ever added at the end. */
export function oneOf<const W extends readonly string[]>(...words: W): Schema<W[number]> {
  const index = new Map<string, number>(words.map((word, i) => [word, i]))
  return {
    encode: (value) => index.get(value),
    decode: (raw, path) =>
      typeof raw === 'number' && words[raw] !== undefined
        ? (words[raw] as W[number])
        : wrong(path, words.join(' | '), raw),
    describe: words.join(' | '),
    sample: (below) => words[below(words.length)] as W[number],
  }
}

export function list<T>(item: Schema<T>, maxLength: number): Schema<T[]> {
  return {
    encode: (value) => value.map(item.encode),
    decode: (raw, path) => {
      if (!Array.isArray(raw) || raw.length > maxLength) wrong(path, `a list of at most ${maxLength}`, raw)
      const out = new Array<T>(raw.length)
      for (let i = 0; i < raw.length; i++) out[i] = item.decode(raw[i], path)
      return out
    },
    describe: `list ≤ ${maxLength} of ${item.describe}`,
    sample: (below) => Array.from({ length: below(Math.min(maxLength, 4)) }, () => item.sample(below)),
  }
}

export function optional<T>(inner: Schema<T>): Schema<T | undefined> {
  return {
    encode: (value) => (value === undefined ? null : inner.encode(value)),
    decode: (raw, path) => (raw === undefined || raw === null ? undefined : inner.decode(raw, path)),
    describe: `${inner.describe}, optional`,
    sample: (below) => (below(2) === 0 ? undefined : inner.sample(below)),
  }
}

/**
 * Plain data of which only the sender's type speaks: reports for people (status, check), never anything that a decision
 * or a byte on disk depends on.
 */
export function report<T>(describe: string): Schema<T> {
  return { encode: (value) => value, decode: (raw) => raw as T, describe, sample: () => ({}) as T }
}

type Fields = Readonly<Record<string, Schema<never>>>
// biome-ignore lint/suspicious/noExplicitAny: a schema is invariant in T; only `any` lets a record hold all of them
export type Struct<F extends Record<string, Schema<any>>> = { [K in keyof F]: Infer<F[K]> }

// biome-ignore lint/suspicious/noExplicitAny: see Struct
export function struct<F extends Record<string, Schema<any>>>(fields: F): Schema<Struct<F>> & { readonly fields: F } {
  const names = Object.keys(fields)
  const schemas = Object.values(fields) as Schema<unknown>[]
  const n = names.length
  return {
    fields,
    encode: (value) => {
      const tuple = new Array<unknown>(n)
      for (let i = 0; i < n; i++) tuple[i] = schemas[i]!.encode((value as Record<string, unknown>)[names[i]!])
      return tuple
    },
    decode: (raw, path) => {
      if (!Array.isArray(raw)) wrong(path, `a tuple (${names.join(', ')})`, raw)
      const out: Record<string, unknown> = {}
      for (let i = 0; i < n; i++) {
        const name = names[i]!
        try {
          out[name] = schemas[i]!.decode(raw[i], name)
        } catch (error) {
          if (error instanceof FsError) throw new FsError(error.code, `${path}.${stripText(error)}`, { cause: error })
          throw error
        }
      }
      return out as Struct<F>
    },
    describe: `(${names.map((name, i) => `${name}: ${schemas[i]!.describe}`).join(', ')})`,
    sample: (below) => Object.fromEntries(names.map((name, i) => [name, schemas[i]!.sample(below)])) as Struct<F>,
  }
}

/** The detail of a nested EPROTO without its repeated leading sentence. */
const stripText = (error: FsError): string => error.message.slice(error.message.indexOf(': ') + 2)

export const nothing: Schema<Record<string, never>> & { readonly fields: Fields } = {
  fields: {},
  encode: () => [],
  decode: (raw, path) => (Array.isArray(raw) ? {} : wrong(path, 'an empty tuple', raw)),
  describe: '()',
  sample: () => ({}),
}
