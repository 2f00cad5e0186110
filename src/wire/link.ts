/*
 * One connection, seen from one side: calls in flight both ways, deadlines, cancels, liveness, limits. It owns a
 * Transport and nothing else; who connects and what is answered come from outside.
 *
 * Order: frames leave in the order of call(), tell() and of finished handlers; a handler that answers at once therefore
 * answers in the order of arrival. After a close every pending call is rejected with the reason, exactly once.
 *
 * Limits (each bounds what a hostile or broken peer costs): IN_FLIGHT_MAX requests being answered, BACKLOG_BYTES_MAX of
 * answers that the peer does not take; beyond either we stop reading from it. A peer that is silent for `silenceMs`
 * although pinged is closed (half-open connections). How long an answer takes is measured all the time, and every time-out grows
 * with it (round-trip.ts).
 */

import { type Errno, errno, errnoFromNumber } from '../base/errno.ts'
import { assert, FsError } from '../base/fault.ts'
import type { Identity } from '../base/identity.ts'
import { int, struct, text } from '../base/schema.ts'
import type { Clock, Log, Transport } from '../base/world.ts'
import { Context } from './call-context.ts'
import type { Role } from './call-row.ts'
import { pack, unpack } from './codec.ts'
import { encodeFrame, type Frame, FrameSplitter, type Kind } from './frame.ts'
import { helloProblem } from './hello.ts'
import type { Answer, Answered, CallOptions, Handler, Handlers, Peer } from './peer.ts'
import { type CallName, callById, calls, type Hello, type Request } from './protocol.ts'
import { RoundTrip, SAMPLES_MIN } from './round-trip.ts'

/** Requests of one peer being answered at a time: eight mounts' worth of kernel requests (64 each), doubled. */
const IN_FLIGHT_MAX = 1024
/** Answers waiting to be taken: 16 reads of the largest size; more only delays the reader's own next request. */
const BACKLOG_BYTES_MAX = 64 * 1024 * 1024
/** How often deadlines and silence are looked at; a deadline may be late by this much. */
const SWEEP_MS = 250
/** The same for a link on which nothing is under way: an idle role should not wake the machine for nothing. */
const IDLE_SWEEP_MS = 1_000
/**
 * Answers that carry bulk, at work at a time, and the unsent bytes above which no further one is begun: a peer that asks
 * for gigabytes and reads slowly costs some 100 MB at worst, and an honest one still has enough on the way for any link.
 */
const BULK_ANSWERS_MAX = 32
const BULK_BACKLOG_BYTES = 16 * 1024 * 1024
/** How long the other side may take to answer a cancel; one that does not is as good as gone. */
const CANCEL_ANSWER_MS = 5_000
/** A round trip is measured so often on a connection that is busy; one that is silent is asked sooner. */
const MEASURE_EVERY_MS = 5_000
/**
 * Whoever has said nothing for this long says that it is there: its answers and the pings of the other side may wait behind bulk that it
 * receives for longer than the other side would wait. A quarter of the shortest silence that ends a link.
 */
const SPEAK_AFTER_MS = 2_500
/** The default of LinkOptions.silenceMs. */
const SILENCE_MS = 10_000

export interface LinkOptions {
  readonly hello: Hello
  /** Calls that this side answers; others are refused with ENOSYS. */
  readonly handlers: Partial<Handlers<CallName>>
  readonly clock: Clock
  readonly log: Log
  /** A peer that is silent for so long is gone; longer where its answers take long (round-trip.ts). Default 10 s. */
  readonly silenceMs?: number
  /** What the work of a call may take that names no timeout. Default 30 s. */
  readonly timeoutMs?: number
}

const failureBody = struct({ number: int, detail: text(64 * 1024) })
function isBulkRead(callId: number): boolean {
  const name = callById.get(callId)
  return name !== undefined && calls[name].bulk === 'reply'
}

const EMPTY = Buffer.alloc(0)
const NOTHING: readonly Uint8Array[] = []

interface Waiting {
  readonly name: CallName
  /** Monotonic ms; Infinity = none. */
  deadline: number
  /** Bulk of the request, or expected with the answer. */
  readonly bulkBytes: number
  resolve(answered: { reply: unknown; bulk: Buffer }): void
  reject(error: unknown): void
  forget(): void
}

export class Link implements Peer {
  readonly address: string
  readonly roundTrip: RoundTrip = new RoundTrip()
  readonly #transport: Transport
  readonly #options: LinkOptions
  readonly #splitter = new FrameSplitter()
  readonly #waiting = new Map<number, Waiting>()
  readonly #answering = new Map<number, Context>()
  #bulkAnswers = 0
  /** Requests whose answers would carry bulk, in order, while there is enough of it. With `#answering` at most IN_FLIGHT_MAX. */
  readonly #parked = new Map<number, Frame>()
  readonly #closers: ((error?: Error) => void)[] = []
  readonly #onMeasured: (() => void)[] = []
  readonly #accepting: boolean
  readonly #onHello: (link: Link) => void
  #hello: Hello | undefined
  #nextId = 1
  #closed = false
  #closeError: Error | undefined
  #heardAt: number
  /** One at a time: its number comes back in the pong. */
  #ping: { readonly id: number; readonly sentMs: number } | undefined
  #pings = 0
  #pingedAt: number
  /** Of all calls that wait for their answer. */
  #bulkBytes = 0
  #hasSpoken = false
  #spokeMs: number
  #receivedBytes = 0
  #sentBytes = 0
  #paused = false
  #stopSweep: (() => void) | undefined

  /** `accepting`: the peer speaks first. `onHello` is called once, when both sides know each other. */
  constructor(transport: Transport, accepting: boolean, options: LinkOptions, onHello: (link: Link) => void) {
    this.#transport = transport
    this.#accepting = accepting
    this.#options = options
    this.#onHello = onHello
    this.address = transport.peer
    this.#heardAt = options.clock.monotonicMs()
    this.#pingedAt = this.#heardAt
    this.#spokeMs = this.#heardAt
    transport.onData(
      (data) => this.#receive(data),
      () => this.#splitter.room(),
    )
    transport.onClose((error) => this.#ended(error))
    transport.onDrain(() => {
      this.#unpark()
      this.#maybeResume()
    })
    this.#sweepLater()
  }

  get hello(): Hello {
    assert(this.#hello !== undefined, 'a link is handed out only after the hello')
    return this.#hello
  }
  get closed(): boolean {
    return this.#closed
  }

  /** Calls back after each of the first samples: what follows from them may be another thing then. */
  onMeasured(callback: () => void): void {
    this.#onMeasured.push(callback)
  }

  /** Received, and sent as far as the network has taken it. */
  get carriedBytes(): number {
    return this.#receivedBytes + this.#sentBytes - this.#transport.backlogBytes()
  }

  get identity(): Identity | undefined {
    return this.#transport.identity
  }

  /** The connecting side's first words. */
  async greet(): Promise<void> {
    const { clock } = this.#options
    const askedMs = clock.monotonicMs()
    const { reply } = await this.call('hello', this.#options.hello)
    this.roundTrip.sample(clock.monotonicMs(), clock.monotonicMs() - askedMs)
    const problem = helloProblem(this.#options.hello, reply, this.identity)
    if (problem !== undefined) {
      const error = new FsError(problem.code, `${this.address}: ${problem.detail}`)
      this.close(error)
      throw error
    }
    this.#hello = reply
    this.#measure()
    this.#onHello(this)
  }

  call<C extends CallName>(name: C, request: Request<C>, options: CallOptions = {}): Promise<Answered<C>> {
    if (this.#closed) return Promise.reject(this.#closeError ?? new FsError('ECONNRESET', this.address))
    const { signal, handle } = options
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (handle?.reason !== undefined) return Promise.reject(handle.reason)
    const row = calls[name]
    const bulk = options.bulk ?? NOTHING
    const bulkBytes = bulk.reduce((sum, part) => sum + part.length, options.answerBytes ?? 0)
    this.#bulkBytes += bulkBytes
    const workMs = options.timeoutMs ?? this.#options.timeoutMs ?? 30_000
    const timeoutMs = this.roundTrip.timeoutMs(workMs, this.#bulkBytes)
    const requestId = this.#freeId()
    const body = pack(row.request as never, request as never)
    return new Promise((resolve, reject) => {
      const takeBack = (reason: unknown): void => {
        const waiting = this.#waiting.get(requestId)
        if (waiting === undefined) return
        this.#send('cancel', row.id, requestId, 0, EMPTY, NOTHING)
        if (options.answersCancel) {
          const answerMs = this.roundTrip.timeoutMs(CANCEL_ANSWER_MS, 0)
          waiting.deadline = Math.min(waiting.deadline, this.#options.clock.monotonicMs() + answerMs)
          return
        }
        this.#forget(requestId, waiting)
        waiting.reject(reason)
      }
      const onAbort = signal === undefined ? undefined : () => takeBack(signal.reason)
      if (onAbort !== undefined) signal?.addEventListener('abort', onAbort, { once: true })
      handle?.carried(takeBack)
      this.#waiting.set(requestId, {
        name,
        deadline: timeoutMs === 0 ? Number.POSITIVE_INFINITY : this.#options.clock.monotonicMs() + timeoutMs,
        bulkBytes,
        resolve: resolve as Waiting['resolve'],
        reject,
        forget: () => {
          if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
          handle?.carried(undefined)
        },
      })
      this.#send('request', row.id, requestId, timeoutMs, body, bulk, options.bulkCrc)
    })
  }

  tell<C extends CallName>(name: C, request: Request<C>): void {
    if (this.#closed) return
    const row = calls[name]
    assert(row.oneWay, `${name} is answered and must be called`)
    this.#send('tell', row.id, 0, 0, pack(row.request as never, request as never), NOTHING)
  }

  onClose(callback: (error?: Error) => void): void {
    if (this.#closed) callback(this.#closeError)
    else this.#closers.push(callback)
  }

  close(error?: Error): void {
    if (this.#closed) return
    this.#transport.close(error)
    this.#ended(error)
  }

  #freeId(): number {
    do {
      this.#nextId = this.#nextId === 0xffff_ffff ? 1 : this.#nextId + 1
    } while (this.#waiting.has(this.#nextId))
    return this.#nextId
  }

  #send(
    kind: Kind,
    callId: number,
    requestId: number,
    deadlineMs: number,
    body: Uint8Array,
    bulk: readonly Uint8Array[],
    crcOfBulk?: number,
  ): void {
    if (this.#closed) return
    const head = encodeFrame({ kind, callId, requestId, deadlineMs }, body, bulk, crcOfBulk)
    this.#hasSpoken = true
    this.#sentBytes += head.length
    for (const part of bulk) this.#sentBytes += part.length
    this.#transport.send(bulk.length === 0 ? [head] : [head, ...bulk])
  }

  #receive(data: Buffer): void {
    this.#heardAt = this.#options.clock.monotonicMs()
    this.#receivedBytes += data.length
    try {
      this.#splitter.push(data, (frame) => {
        if (!this.#closed) this.#frame(frame)
      })
    } catch (error) {
      // Only what a peer can cause ends here; an assertion of ours must end the process instead.
      if (!(error instanceof FsError)) throw error
      this.#options.log.warn(
        { peer: this.address, error: error.message },
        'closing a connection that broke the protocol',
      )
      this.close(error)
    }
  }

  #frame(frame: Frame): void {
    switch (frame.kind) {
      case 'request':
        if (isBulkRead(frame.callId) && (this.#parked.size > 0 || this.#bulkIsEnough())) {
          // The body is a view of memory that is only lent.
          this.#parked.set(frame.requestId, { ...frame, body: Buffer.from(frame.body) })
          this.#maybePause()
        } else this.#request(frame)
        return
      case 'tell':
        this.#request(frame)
        return
      case 'reply':
      case 'failure': {
        const waiting = this.#waiting.get(frame.requestId)
        if (waiting === undefined) return // cancelled or timed out meanwhile
        this.#forget(frame.requestId, waiting)
        if (frame.kind === 'failure') {
          const { number, detail } = unpack(failureBody, frame.body, 'failure')
          waiting.reject(new RemoteError(errnoFromNumber(number), detail))
        } else {
          this.#settle(waiting, frame)
        }
        return
      }
      case 'cancel':
        if (this.#parked.delete(frame.requestId)) this.#fail(frame, 'EINTR', '')
        else this.#answering.get(frame.requestId)?.abort(new FsError('EINTR'))
        return
      case 'ping':
        this.#send('pong', 0, frame.requestId, 0, EMPTY, NOTHING)
        return
      case 'pong':
        this.#ponged(frame.requestId)
        return
    }
  }

  #forget(requestId: number, waiting: Waiting): void {
    this.#waiting.delete(requestId)
    this.#bulkBytes -= waiting.bulkBytes
    waiting.forget()
  }

  #measure(): void {
    this.#pings = (this.#pings % 0xffff_fffe) + 1
    this.#pingedAt = this.#options.clock.monotonicMs()
    this.#ping = { id: this.#pings, sentMs: this.#pingedAt }
    this.#send('ping', 0, this.#ping.id, 0, EMPTY, NOTHING)
  }

  #ponged(id: number): void {
    if (this.#ping === undefined) return
    // A peer of before does not say which: the one there is.
    if (this.#ping.id !== id && id !== 0) return
    const now = this.#options.clock.monotonicMs()
    this.roundTrip.sample(now, now - this.#ping.sentMs)
    this.#ping = undefined
    if (this.roundTrip.samples <= SAMPLES_MIN) for (const callback of this.#onMeasured) callback()
    // The first ones at once, so that whoever has just connected soon knows how far it is.
    if (this.roundTrip.samples < SAMPLES_MIN) this.#measure()
  }

  /** A reply that is not what the table says is the caller's failure too, not only the connection's. */
  #settle(waiting: Waiting, frame: Frame): void {
    let reply: unknown
    try {
      reply = unpack(calls[waiting.name].reply as never, frame.body, waiting.name)
    } catch (error) {
      waiting.reject(new RemoteError('EPROTO', (error as Error).message))
      throw error
    }
    waiting.resolve({ reply, bulk: frame.bulk })
  }

  #request(frame: Frame): void {
    const name = callById.get(frame.callId)
    if (name === undefined) {
      this.#fail(frame, 'ENOSYS', `call ${frame.callId} is unknown to this version`)
      return
    }
    if (this.#hello === undefined) {
      if (name !== 'hello' || !this.#accepting) throw new FsError('EPROTO', `${name} before the hello`)
      this.#greeted(frame, unpack(calls.hello.request, frame.body, name))
      return
    }
    if (!(calls[name].by as readonly Role[]).includes(this.#hello.role)) {
      this.#fail(frame, 'EPERM', `${name} is not for the role ${this.#hello.role}`)
      return
    }
    let request: Request<CallName>
    try {
      request = unpack(calls[name].request as never, frame.body, name) as Request<CallName>
    } catch (error) {
      // The frame was whole and the peer is one of us: it asked for something that cannot be, and is told what.
      if (!(error instanceof FsError)) throw error
      this.#fail(frame, error.code, detailOf(error))
      return
    }
    const handler = this.#options.handlers[name] as Handler<CallName> | undefined
    if (handler === undefined) {
      this.#fail(frame, 'ENOSYS', `a ${this.#options.hello.role} does not answer ${name}`)
      return
    }
    const now = this.#options.clock.monotonicMs()
    const context = new Context(this, frame.deadlineMs === 0 ? Number.POSITIVE_INFINITY : now + frame.deadlineMs)
    let answer: Answer<CallName> | Promise<Answer<CallName>>
    try {
      answer = handler(request, frame.bulk, context)
    } catch (error) {
      this.#refuse(frame, name, error)
      return
    }
    if (!(answer instanceof Promise)) {
      this.#answer(frame, name, answer)
      return
    }
    this.#answering.set(frame.requestId, context)
    this.#maybePause()
    const bulk = calls[name].bulk === 'reply' ? 1 : 0
    this.#bulkAnswers += bulk
    const settled = (): void => {
      this.#bulkAnswers -= bulk
      this.#unpark()
      this.#maybeResume()
    }
    answer.then(
      (value) => {
        this.#answering.delete(frame.requestId)
        this.#answer(frame, name, value)
        settled()
      },
      (error) => {
        this.#answering.delete(frame.requestId)
        this.#refuse(frame, name, error)
        settled()
      },
    )
  }

  #bulkIsEnough(): boolean {
    return this.#bulkAnswers >= BULK_ANSWERS_MAX || this.#transport.backlogBytes() >= BULK_BACKLOG_BYTES
  }

  #unpark(): void {
    for (const [requestId, frame] of this.#parked) {
      if (this.#closed || this.#bulkIsEnough()) return
      this.#parked.delete(requestId)
      this.#request(frame)
    }
  }

  #greeted(frame: Frame, hello: Hello): void {
    const problem = helloProblem(this.#options.hello, hello, this.identity)
    if (problem !== undefined) {
      this.#fail(frame, problem.code, problem.detail)
      this.close(new FsError(problem.code, problem.detail))
      return
    }
    this.#hello = hello
    this.#answer(frame, 'hello', { reply: this.#options.hello })
    this.#measure()
    this.#onHello(this)
  }

  #answer(frame: Frame, name: CallName, answer: Answer<CallName>): void {
    if (frame.kind === 'tell') return
    const body = pack(calls[name].reply as never, answer.reply as never)
    this.#send('reply', frame.callId, frame.requestId, 0, body, answer.bulk ?? NOTHING)
    if (answer.bulk !== undefined) this.#maybePause()
  }

  /** An FsError is an answer. Anything else is a bug: it is rethrown where the process boundary sees it. */
  #refuse(frame: Frame, name: CallName, error: unknown): void {
    if (error instanceof FsError) this.#fail(frame, error.code, detailOf(error))
    else
      queueMicrotask(() => {
        throw new Error(`the handler of ${name} broke`, { cause: error })
      })
  }

  #fail(frame: Frame, code: Errno, detail: string): void {
    if (frame.kind === 'tell') return
    this.#send(
      'failure',
      frame.callId,
      frame.requestId,
      0,
      pack(failureBody, { number: errno[code].number, detail }),
      NOTHING,
    )
  }

  #maybePause(): void {
    if (this.#paused || this.#closed) return
    const inFlight = this.#answering.size + this.#parked.size
    if (inFlight < IN_FLIGHT_MAX && this.#transport.backlogBytes() < BACKLOG_BYTES_MAX) return
    this.#paused = true
    this.#transport.pause()
  }

  #maybeResume(): void {
    if (!this.#paused || this.#closed) return
    if (
      this.#answering.size + this.#parked.size >= IN_FLIGHT_MAX / 2 ||
      this.#transport.backlogBytes() >= BACKLOG_BYTES_MAX / 2
    )
      return
    this.#paused = false
    this.#transport.resume()
  }

  #sweepLater(): void {
    const idle = this.#waiting.size === 0 && this.#answering.size === 0
    this.#stopSweep = this.#options.clock.timer(idle ? IDLE_SWEEP_MS : SWEEP_MS, () => {
      this.#sweep(this.#options.clock.monotonicMs())
      if (!this.#closed) this.#sweepLater()
    })
  }

  #sweep(now: number): void {
    for (const [requestId, waiting] of this.#waiting) {
      if (waiting.deadline > now) continue
      this.#forget(requestId, waiting)
      this.#send('cancel', calls[waiting.name].id, requestId, 0, EMPTY, NOTHING)
      waiting.reject(new FsError('ETIMEDOUT', `${waiting.name} to ${this.address}`))
    }
    for (const context of this.#answering.values())
      if (context.deadline <= now) context.abort(new FsError('ETIMEDOUT', 'the deadline of the caller passed'))
    if (this.#hasSpoken) this.#spokeMs = now
    // A pong that nobody asked for: it wants no answer.
    else if (now - this.#spokeMs > SPEAK_AFTER_MS) this.#send('pong', 0, 0xffff_ffff, 0, EMPTY, NOTHING)
    this.#hasSpoken = false
    if (this.#paused) {
      // We are the ones not listening, and an answer that waits for us says nothing of the way.
      this.#ping = undefined
      return
    }
    const silent = now - this.#heardAt
    const silenceMs = this.roundTrip.silenceMs(this.#options.silenceMs ?? SILENCE_MS)
    if (silent > silenceMs) {
      this.close(new FsError('ETIMEDOUT', `${this.address} has been silent for ${Math.round(silent)} ms`))
      return
    }
    const due = now - this.#pingedAt > MEASURE_EVERY_MS || silent > this.roundTrip.pingAfterMs(silenceMs)
    if (due && this.#ping === undefined) this.#measure()
  }

  #ended(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#stopSweep?.()
    this.#closeError =
      error instanceof FsError ? error : new FsError('ECONNRESET', this.address, error ? { cause: error } : {})
    for (const waiting of this.#waiting.values()) {
      waiting.forget()
      waiting.reject(this.#closeError)
    }
    this.#waiting.clear()
    this.#bulkBytes = 0
    for (const context of this.#answering.values()) context.abort(this.#closeError)
    this.#answering.clear()
    this.#parked.clear()
    for (const callback of this.#closers) callback(error)
  }
}

/** An errno that the other side answered, as opposed to one of this connection: retrying it elsewhere is no use. */
export class RemoteError extends FsError {
  override name = 'RemoteError'
}

/** The part of the message that the errno's own sentence does not say already. */
function detailOf(error: FsError): string {
  const sentence = errno[error.code].text
  return error.message === sentence
    ? ''
    : error.message.slice(error.message.startsWith(sentence) ? sentence.length + 2 : 0)
}
