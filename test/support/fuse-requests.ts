/*
 * Requests as a kernel would send them, and replies taken apart, for tests of the protocol server without a kernel.
 */

import type { Clock } from '../../src/base/world.ts'
import type { Vfs } from '../../src/client/vfs.ts'
import { IN_HEADER, INIT_BITS, OPCODES, type OpcodeName } from '../../src/fuse/protocol.ts'
import { type FuseSession, FuseSession as Session, type SessionOptions } from '../../src/fuse/session.ts'
import { lineLog } from './real-clock.ts'

export interface Reply {
  readonly unique: bigint
  /** 0 or the negative errno. */
  readonly error: number
  readonly body: Buffer
}

export interface RequestHead {
  readonly unique?: bigint
  readonly nodeid?: bigint
  readonly uid?: number
  readonly gid?: number
  readonly pid?: number
  /** What the header claims; default: the truth. */
  readonly len?: number
}

export function request(opcode: OpcodeName | number, body: Buffer = Buffer.alloc(0), head: RequestHead = {}): Buffer {
  const out = Buffer.alloc(IN_HEADER.size + body.length)
  out.writeUInt32LE(head.len ?? out.length, 0)
  out.writeUInt32LE(typeof opcode === 'number' ? opcode : OPCODES[opcode], 4)
  out.writeBigUInt64LE(head.unique ?? 2n, 8)
  out.writeBigUInt64LE(head.nodeid ?? 1n, 16)
  out.writeUInt32LE(head.uid ?? 0, 24)
  out.writeUInt32LE(head.gid ?? 0, 28)
  out.writeUInt32LE(head.pid ?? 77, 32)
  body.copy(out, IN_HEADER.size)
  return out
}

/** Little-endian words: numbers are u32, bigints u64, strings latin1 with a terminating zero. */
export function words(...values: readonly (number | bigint | string | Buffer)[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      if (Buffer.isBuffer(value)) return value
      if (typeof value === 'string') return Buffer.from(`${value}\0`, 'latin1')
      const out = Buffer.alloc(typeof value === 'bigint' ? 8 : 4)
      if (typeof value === 'bigint') out.writeBigInt64LE(BigInt.asIntN(64, value))
      else out.writeUInt32LE(value)
      return out
    }),
  )
}

/** An INIT of a kernel that offers everything. */
export function initBody(minor = 45): Buffer {
  const offered = Object.values(INIT_BITS).reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)
  const low = Number(offered & 0xffffffffn)
  return words(7, minor, 131072, low, Number(offered >> 32n), Buffer.alloc(44))
}

export class Conversation {
  readonly session: FuseSession
  readonly replies: Reply[] = []
  readonly logged: string[] = []
  readonly #waiting = new Map<bigint, (reply: Reply) => void>()
  #unique = 2n

  constructor(vfs: Vfs, clock: Clock, options: SessionOptions = {}) {
    const sink = {
      send: (head: Buffer, data: readonly Buffer[]): void => {
        const bytes = Buffer.concat([head, ...data])
        if (bytes.readUInt32LE(0) !== bytes.length) throw new Error('a reply lies about its length')
        const reply = { unique: bytes.readBigUInt64LE(8), error: bytes.readInt32LE(4), body: bytes.subarray(16) }
        this.replies.push(reply)
        this.#waiting.get(reply.unique)?.(reply)
      },
    }
    this.session = new Session(
      vfs,
      sink,
      clock,
      lineLog((line) => this.logged.push(line)),
      options,
    )
  }

  /** Sends bytes as they are, from memory that is overwritten at once, as the device's buffer is. */
  raw(bytes: Buffer): void {
    const buffer = Buffer.alloc(Math.max(bytes.length, 8192))
    bytes.copy(buffer)
    this.session.handle(buffer, bytes.length)
    buffer.fill(0xee)
  }

  start(opcode: OpcodeName | number, body?: Buffer, head: RequestHead = {}): { unique: bigint; reply: Promise<Reply> } {
    const unique = head.unique ?? (this.#unique += 2n)
    const reply = new Promise<Reply>((resolve) => this.#waiting.set(unique, resolve))
    this.raw(request(opcode, body, { ...head, unique }))
    return { unique, reply }
  }

  ask(opcode: OpcodeName | number, body?: Buffer, head: RequestHead = {}): Promise<Reply> {
    return this.start(opcode, body, head).reply
  }
}
