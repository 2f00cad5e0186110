/*
 * Values ↔ msgpack bytes. The only file that knows msgpackr. Plain msgpack: no records, no shared structures, no
 * extensions, so the bytes of a value are always the same and any other language can read them.
 *
 * Integers above 2^32 travel as float64, which is exact up to 2^53, the range of every id (base/ids.ts).
 */

import { Packr, Unpackr } from 'msgpackr'
import { FsError } from '../base/fault.ts'
import type { Schema } from '../base/schema.ts'

const packr = new Packr({ useRecords: false, structuredClone: false, moreTypes: false, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, structuredClone: false })

/** The returned buffer is the caller's. */
export function pack<T>(schema: Schema<T>, value: T): Buffer {
  return packr.pack(schema.encode(value)) as Buffer
}

/** Throws FsError EPROTO that says where the bytes are not what the schema wants. */
export function unpack<T>(schema: Schema<T>, body: Uint8Array, what: string): T {
  let raw: unknown
  try {
    raw = unpackr.unpack(body)
  } catch (cause) {
    throw new FsError('EPROTO', `${what}: not msgpack`, { cause })
  }
  return schema.decode(raw, what)
}
