/*
 * A Peer whose other side is a table of handlers in the same process: no frames, but every request and reply goes through its
 * schema, and bulk bytes are copied as a socket would. `break` makes it fail like a lost connection.
 */

import { FsError } from '../../src/base/fault.ts'
import type { Answered, CallContext, CallOptions, Handlers, Peer } from '../../src/wire/peer.ts'
import { type CallName, calls, type Hello, PROTOCOL_VERSION, type Request } from '../../src/wire/protocol.ts'
import { RoundTrip } from '../../src/wire/round-trip.ts'

export class DirectPeer implements Peer {
  readonly hello: Hello = { version: PROTOCOL_VERSION, cluster: '', role: 'chunkserver', name: 'direct' }
  readonly identity = undefined
  readonly address = 'direct'
  readonly roundTrip = new RoundTrip()
  closed = false
  /** Called before each call; may throw what a connection would. */
  before: (name: CallName) => void | Promise<void> = () => {}
  /** May change what arrives. */
  onBulk: (name: CallName, bulk: Buffer) => Buffer = (_name, bulk) => bulk
  readonly #handlers: Partial<Handlers<CallName>>
  readonly #closers: ((error?: Error) => void)[] = []

  constructor(handlers: Partial<Handlers<CallName>>) {
    this.#handlers = handlers
  }

  async call<C extends CallName>(name: C, request: Request<C>, options: CallOptions = {}): Promise<Answered<C>> {
    await this.before(name)
    if (this.closed) throw new FsError('ECONNRESET', 'closed')
    const handler = this.#handlers[name]
    if (handler === undefined) throw new FsError('ENOSYS', name)
    const row = calls[name]
    const context: CallContext = { peer: this, signal: options.signal ?? new AbortController().signal }
    const asked = row.request.decode(row.request.encode(request as never), name) as never
    const answer = await handler(asked, Buffer.concat(options.bulk ?? []), context)
    if (this.closed) throw new FsError('ECONNRESET', 'closed')
    options.signal?.throwIfAborted()
    const reply = row.reply.decode(row.reply.encode(answer.reply as never), name) as Answered<C>['reply']
    return { reply, bulk: this.onBulk(name, Buffer.concat(answer.bulk ?? [])) }
  }

  tell(): void {
    throw new Error('nothing is told here')
  }

  onClose(callback: (error?: Error) => void): void {
    if (this.closed) callback()
    else this.#closers.push(callback)
  }

  close(error?: Error): void {
    if (this.closed) return
    this.closed = true
    for (const callback of this.#closers) callback(error)
  }
}
