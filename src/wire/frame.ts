/*
 * Frames: what bytes on a connection mean. Pure: bytes in, frames out; no socket, no msgpack.
 *
 * A frame is a 32-byte header, a msgpack body and raw bulk bytes. All integers little endian:
 *
 *   0  u32 magic "HFw1"          16 u32 deadline, ms from now (0 = none)
 *   4  u32 body length           20 u32 CRC-32 of bulk, then body
 *   8  u32 bulk length           24 u16 call id
 *  12  u32 request id            26 u8  kind      27 u8 reserved, 0
 *                                28 u32 CRC-32 of bytes 0 … 27
 *
 * The header's own CRC is checked before its lengths are believed, and the lengths before anything is allocated, so a
 * frame of garbage or one that claims 4 GiB costs the sender its connection and us nothing.
 */

import { crc32 } from '../base/checksum.ts'
import { assert, FsError } from '../base/fault.ts'
import { BODY_BYTES_MAX, BULK_BYTES_MAX } from '../base/limits.ts'

export const HEADER_BYTES = 32
/** "HFw1" read as a little-endian u32. */
export const MAGIC = 0x31774648

/** Kinds by number; numbers are never reused. */
export const KINDS = { request: 1, reply: 2, failure: 3, cancel: 4, tell: 5, ping: 6, pong: 7 } as const
export type Kind = keyof typeof KINDS
const kindByNumber: (Kind | undefined)[] = []
for (const [kind, number] of Object.entries(KINDS)) kindByNumber[number] = kind as Kind

export interface FrameHead {
  readonly kind: Kind
  readonly callId: number
  readonly requestId: number
  readonly deadlineMs: number
}

export interface Frame extends FrameHead {
  readonly body: Buffer
  readonly bulk: Buffer
}

const EMPTY = Buffer.alloc(0)
/** What is left of a bulk is read in place from this size on; below it the copy is cheaper than a read of its own. */
const IN_PLACE_BYTES_MIN = 32 * 1024

/** The CRC of bulk parts, for those who send the same bytes several times. */
export const bulkCrc = (bulk: readonly Uint8Array[]): number => bulk.reduce((crc, part) => crc32(part, crc), 0)

/** Header and body in one buffer, to be followed by the bulk parts as they are. */
export function encodeFrame(
  head: FrameHead,
  body: Uint8Array,
  bulk: readonly Uint8Array[],
  crcOfBulk: number = bulkCrc(bulk),
): Buffer {
  const out = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  let bulkLength = 0
  for (const part of bulk) bulkLength += part.length
  const crc = crc32(body, crcOfBulk)
  out.writeUInt32LE(MAGIC, 0)
  out.writeUInt32LE(body.length, 4)
  out.writeUInt32LE(bulkLength, 8)
  out.writeUInt32LE(head.requestId, 12)
  out.writeUInt32LE(head.deadlineMs, 16)
  out.writeUInt32LE(crc, 20)
  out.writeUInt16LE(head.callId, 24)
  out[26] = KINDS[head.kind]
  out[27] = 0
  out.writeUInt32LE(crc32(out.subarray(0, 28)), 28)
  out.set(body, HEADER_BYTES)
  return out
}

interface Pending extends FrameHead {
  readonly payloadCrc: number
  readonly body: Buffer
  readonly bulk: Buffer
  bodyFilled: number
  bulkFilled: number
}

/**
 * Cuts a byte stream into frames. Input is only lent, so every payload byte is copied exactly once, into the buffer that
 * the receiver will own, unless it was read into that buffer to begin with (`room`). Throws FsError EPROTO / EMSGSIZE / EBADMSG on a stream that is not ours; it must not be fed again.
 */
export class FrameSplitter {
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerFilled = 0
  #pending: Pending | undefined

  /** Where the next bytes of the stream belong, if they are many. Those read there must be given to push() next. */
  room(): Buffer | undefined {
    const pending = this.#pending
    if (pending === undefined || pending.bodyFilled < pending.body.length) return undefined
    const missing = pending.bulk.length - pending.bulkFilled
    return missing < IN_PLACE_BYTES_MIN ? undefined : pending.bulk.subarray(pending.bulkFilled)
  }

  /** Calls `emit` for each frame that `data` completes. */
  push(data: Buffer, emit: (frame: Frame) => void): void {
    let at = 0
    while (at < data.length) {
      if (this.#pending === undefined) {
        const take = Math.min(HEADER_BYTES - this.#headerFilled, data.length - at)
        data.copy(this.#header, this.#headerFilled, at, at + take)
        this.#headerFilled += take
        at += take
        if (this.#headerFilled < HEADER_BYTES) return
        this.#headerFilled = 0
        this.#pending = readHeader(this.#header)
      }
      const pending = this.#pending
      if (pending.bodyFilled < pending.body.length) {
        const take = Math.min(pending.body.length - pending.bodyFilled, data.length - at)
        data.copy(pending.body, pending.bodyFilled, at, at + take)
        pending.bodyFilled += take
        at += take
      }
      if (pending.bodyFilled === pending.body.length && pending.bulkFilled < pending.bulk.length) {
        const take = Math.min(pending.bulk.length - pending.bulkFilled, data.length - at)
        // Bulk has an ArrayBuffer of its own, so bytes that are in it were read into room().
        if (data.buffer === pending.bulk.buffer)
          assert(data.byteOffset === pending.bulkFilled && at === 0, 'bytes read into a frame continue it')
        else data.copy(pending.bulk, pending.bulkFilled, at, at + take)
        pending.bulkFilled += take
        at += take
      }
      if (pending.bodyFilled < pending.body.length || pending.bulkFilled < pending.bulk.length) return
      this.#pending = undefined
      if (crc32(pending.body, crc32(pending.bulk)) !== pending.payloadCrc)
        throw new FsError('EBADMSG', 'a frame arrived damaged')
      emit(pending)
    }
  }
}

function readHeader(header: Buffer): Pending {
  const magic = header.readUInt32LE(0)
  if (magic !== MAGIC) throw new FsError('EPROTO', `not a holdfast peer (first bytes ${header.toString('hex', 0, 4)})`)
  if (crc32(header.subarray(0, 28)) !== header.readUInt32LE(28))
    throw new FsError('EBADMSG', 'a frame header arrived damaged')
  const bodyLength = header.readUInt32LE(4)
  const bulkLength = header.readUInt32LE(8)
  if (bodyLength > BODY_BYTES_MAX) throw new FsError('EMSGSIZE', `a frame body of ${bodyLength} bytes`)
  if (bulkLength > BULK_BYTES_MAX) throw new FsError('EMSGSIZE', `a frame with ${bulkLength} bulk bytes`)
  const kind = kindByNumber[header[26]!]
  if (kind === undefined) throw new FsError('EPROTO', `frame kind ${header[26]}`)
  return {
    kind,
    callId: header.readUInt16LE(24),
    requestId: header.readUInt32LE(12),
    deadlineMs: header.readUInt32LE(16),
    payloadCrc: header.readUInt32LE(20),
    body: bodyLength === 0 ? EMPTY : Buffer.allocUnsafe(bodyLength),
    bulk: bulkLength === 0 ? EMPTY : Buffer.allocUnsafeSlow(bulkLength),
    bodyFilled: 0,
    bulkFilled: 0,
  }
}
