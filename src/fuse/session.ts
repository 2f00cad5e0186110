/*
 * The protocol server: takes one request as bytes and sends the answer as bytes. It owns neither the mount nor the
 * device nor the reading of it, so it runs without a kernel.
 *
 * Every request gets exactly one answer (those that want none excepted), also when the vfs throws, also when its bytes
 * are nonsense. What is in hand is bounded by the kernel: one request per waiting thread plus max_background.
 */

import { type Errno, errno } from '../base/errno.ts'
import { errnoOf, FsError, Impossible } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Vfs } from '../client/vfs.ts'
import { invalidateInode, putReplyHeader, Request } from './codec.ts'
import { Door, FuseCaller } from './door.ts'
import { decodeInit, type InitRequest, type Negotiated, negotiate, putInit } from './init.ts'
import { LISTING_BYTES_MAX } from './list.ts'
import { OPS, type Op, type ReplyBody } from './ops.ts'
import { IN_HEADER, INTERRUPT_IN, KERNEL_MAJOR, OPCODES, OUT_HEADER } from './protocol.ts'

/** Where replies go. `head` is scratch memory and must be consumed before returning. */
export interface ReplySink {
  send(head: Buffer, data: readonly Buffer[]): void
}

/** One line per operation, only while someone asks for it. */
export type OpLog = (line: string) => void

export interface SessionOptions {
  /** Results of an INIT that another process answered for the same mount. */
  readonly negotiated?: Negotiated
  readonly opLog?: OpLog
  /** Called once, when the kernel's INIT was answered (or at once when `negotiated` is given). */
  readonly onReady?: (negotiated: Negotiated) => void
  readonly onDestroy?: () => void
}

/** An operation that takes longer is always reported. */
const SLOW_MS = 1000

const NO_DATA: readonly Buffer[] = []

interface InHand {
  readonly op: Op
  readonly caller: FuseCaller
  readonly low: number
  readonly high: number
  readonly nodeid: number
  readonly startedMs: number
  readonly summary: string | undefined
  answered: boolean
}

export class FuseSession {
  readonly #door: Door
  readonly #sink: ReplySink
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: SessionOptions
  readonly #scratch = Buffer.allocUnsafeSlow(OUT_HEADER.size + LISTING_BYTES_MAX)
  readonly #inHand = new Map<number, InHand>()
  #opLog: OpLog | undefined

  constructor(vfs: Vfs, sink: ReplySink, clock: Clock, log: Log, options: SessionOptions = {}) {
    // Attributes only: unlike an invalidation of data this waits for nothing, so it may be sent from here.
    this.#door = new Door(vfs, clock, (ino) => sink.send(invalidateInode(ino, false), []))
    this.#sink = sink
    this.#clock = clock
    this.#log = log
    this.#options = options
    this.#opLog = options.opLog
    if (options.negotiated !== undefined) this.#ready(options.negotiated)
  }

  set opLog(sink: OpLog | undefined) {
    this.#opLog = sink
  }

  /** Requests taken and not yet answered. */
  get inHand(): number {
    return this.#inHand.size
  }

  /** Something changed elsewhere: what the door keeps beside the kernel's caches is no longer to be trusted. */
  changedElsewhere(node: number): void {
    this.#door.dirs.epoch++
    this.#door.plain.forget(node as Parameters<Door['plain']['forget']>[0])
  }

  /** Takes one request; `buffer` may be reused as soon as this returns. */
  handle(buffer: Buffer, length: number): void {
    if (length < IN_HEADER.size) {
      // Nothing to answer: not even the request's number is there.
      this.#log.error({ length }, 'request shorter than a header; the device or the kernel is broken')
      return
    }
    const claimed = buffer.readUInt32LE(IN_HEADER.at.len)
    const request = new Request(buffer, Math.min(length, Math.max(claimed, IN_HEADER.size)))
    if (claimed !== length || request.end < IN_HEADER.size) {
      this.#sendError(request.uniqueLow, request.uniqueHigh, 'EINVAL')
      return
    }
    switch (request.opcode) {
      case OPCODES.FORGET:
      case OPCODES.BATCH_FORGET:
      case OPCODES.NOTIFY_REPLY:
        // Node ids are inode numbers and mean the same without being remembered, so there is nothing to forget.
        return
      case OPCODES.INTERRUPT:
        this.#interrupt(request)
        return
      case OPCODES.INIT:
        this.#init(request)
        return
      case OPCODES.DESTROY:
        this.#send(request.uniqueLow, request.uniqueHigh, 0)
        this.#options.onDestroy?.()
        return
      default: {
        const op = OPS[request.opcode]
        if (op === undefined) this.#sendError(request.uniqueLow, request.uniqueHigh, 'ENOSYS')
        else this.#run(op, request)
      }
    }
  }

  #run(op: Op, request: Request): void {
    const caller = new FuseCaller(request)
    const work: InHand = {
      op,
      caller,
      low: request.uniqueLow,
      high: request.uniqueHigh,
      nodeid: request.nodeid,
      startedMs: this.#clock.monotonicMs(),
      summary: this.#opLog === undefined ? undefined : summaryOf(op, request),
      answered: false,
    }
    if (op.changes) this.#door.dirs.epoch++
    let answer: unknown
    try {
      request.need(op.need)
      answer = op.call(request, this.#door, caller)
    } catch (error) {
      this.#fail(work, error)
      return
    }
    if (!(answer instanceof Promise)) {
      this.#succeed(work, answer)
      return
    }
    const key = request.key
    this.#inHand.set(key, work)
    answer.then(
      (value) => {
        this.#inHand.delete(key)
        this.#succeed(work, value)
      },
      (error) => {
        this.#inHand.delete(key)
        this.#fail(work, error)
      },
    )
  }

  #succeed(work: InHand, value: unknown): void {
    if (work.op.changes) this.#door.dirs.epoch++
    if (work.answered) return
    let body: ReplyBody
    try {
      body = work.op.reply(this.#scratch, OUT_HEADER.size, value)
    } catch (error) {
      this.#fail(work, error)
      return
    }
    this.#note(work, undefined)
    work.answered = true
    if (typeof body === 'number') this.#send(work.low, work.high, body)
    else this.#sendData(work.low, work.high, body)
  }

  #fail(work: InHand, error: unknown): void {
    if (work.op.changes) this.#door.dirs.epoch++
    if (error instanceof Impossible) {
      // State that broke an assertion must not be served on: the process boundary hears of it.
      queueMicrotask(() => {
        throw error
      })
    }
    if (work.answered) return
    const code = this.#codeOf(work, error)
    this.#note(work, code)
    work.answered = true
    this.#sendError(work.low, work.high, code)
  }

  #codeOf(work: InHand, error: unknown): Errno {
    if (work.caller.interrupted && (error as { name?: unknown } | null)?.name === 'AbortError') return 'EINTR'
    const code = errnoOf(error)
    if (code !== undefined) return code
    this.#log.error(
      { op: work.op.name, ino: work.nodeid, err: error },
      'operation failed for an unknown reason; answered EIO',
    )
    return 'EIO'
  }

  #note(work: InHand, code: Errno | undefined): void {
    const tookMs = this.#clock.monotonicMs() - work.startedMs
    if (tookMs > SLOW_MS && work.op.waits !== true) {
      this.#log.warn(
        { op: work.op.name, ino: work.nodeid, code, tookMs },
        'slow operation; look at master and chunkservers',
      )
    }
    if (work.summary !== undefined && this.#opLog !== undefined) {
      const us = Math.round(tookMs * 1000)
      this.#opLog(
        `${work.op.name} ${work.nodeid} ${work.summary}${work.summary === '' ? '' : ' '}${code ?? 'ok'} ${us}`,
      )
    }
  }

  /** A question is answered EINTR at once; a change is asked to stop, and answers for itself. Unknown: too late. */
  #interrupt(request: Request): void {
    if (request.bodyBytes < INTERRUPT_IN.size) return
    const body = request.buffer
    const low = body.readUInt32LE(IN_HEADER.size)
    const high = body.readUInt32LE(IN_HEADER.size + 4) & 0x1fffff
    const work = this.#inHand.get(low + high * 0x1_0000_0000)
    if (work === undefined || work.answered) return
    work.caller.interrupt()
    if (work.op.changes) return
    this.#note(work, 'EINTR')
    work.answered = true
    this.#sendError(work.low, work.high, 'EINTR')
  }

  #init(request: Request): void {
    let init: InitRequest
    let agreed: Negotiated
    try {
      init = decodeInit(request)
      if (init.major > KERNEL_MAJOR) {
        // A newer kernel is told our major and sends a second INIT that we understand.
        this.#scratch.fill(0, OUT_HEADER.size, OUT_HEADER.size + 8)
        this.#scratch.writeUInt32LE(KERNEL_MAJOR, OUT_HEADER.size)
        this.#send(request.uniqueLow, request.uniqueHigh, 8)
        return
      }
      agreed = negotiate(init)
    } catch (error) {
      this.#log.error({ err: error }, 'the kernel and we have no common protocol; the mount cannot serve')
      this.#sendError(request.uniqueLow, request.uniqueHigh, errnoOf(error) ?? 'EPROTO')
      return
    }
    const bytes = putInit(this.#scratch, OUT_HEADER.size, init, agreed)
    this.#send(request.uniqueLow, request.uniqueHigh, bytes)
    this.#log.debug({ minor: agreed.minor, flags: [...agreed.flags] }, 'kernel connection ready')
    this.#ready(agreed)
  }

  #ready(agreed: Negotiated): void {
    this.#door.shortSetxattr = !agreed.flags.has('SETXATTR_EXT')
    this.#options.onReady?.(agreed)
  }

  #send(low: number, high: number, bodyBytes: number): void {
    const length = OUT_HEADER.size + bodyBytes
    putReplyHeader(this.#scratch, length, 0, low, high)
    this.#sink.send(this.#scratch.subarray(0, length), NO_DATA)
  }

  #sendData(low: number, high: number, data: readonly Buffer[]): void {
    let length = OUT_HEADER.size
    for (const slice of data) length += slice.length
    putReplyHeader(this.#scratch, length, 0, low, high)
    this.#sink.send(this.#scratch.subarray(0, OUT_HEADER.size), data)
  }

  #sendError(low: number, high: number, code: Errno): void {
    putReplyHeader(this.#scratch, OUT_HEADER.size, errno[code].number, low, high)
    this.#sink.send(this.#scratch.subarray(0, OUT_HEADER.size), NO_DATA)
  }
}

/** Arguments for the log; a request too broken to describe is refused by its operation in a moment. */
function summaryOf(op: Op, request: Request): string {
  try {
    request.need(op.need)
    return op.summary?.(request) ?? ''
  } catch (error) {
    if (error instanceof FsError) return '(malformed)'
    throw error
  }
}
