/*
 * A socket as a Transport. What is sent within one turn of the event loop leaves in one system call: replies to requests
 * that arrived together travel together. No delay is added: the flush runs right after the turn's input has been handled.
 */

import type { Socket } from 'node:net'
import type { Identity } from '../base/identity.ts'
import type { Transport } from '../base/world.ts'

/** Below this many bytes parts are glued together: one copy is cheaper than a writev of many. */
const GLUE_BYTES = 16 * 1024
/** How long a closed connection may take to deliver what was sent before. */
const LAST_WORDS_MS = 2_000

export class SocketTransport implements Transport {
  readonly peer: string
  readonly identity: Identity | undefined
  readonly #socket: Socket
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #scheduled = false
  #onData: ((lent: Buffer) => void) | undefined
  #room: (() => Buffer | undefined) | undefined
  #early: Buffer[] = []
  #error: Error | undefined

  constructor(socket: Socket, peer: string, identity?: Identity) {
    this.#socket = socket
    this.peer = peer
    this.identity = identity
    socket.setNoDelay(true)
    socket.on('error', (error) => {
      this.#error = error
    })
  }

  /** Where the socket's bytes go; before onData() is called they are kept. */
  readonly deliver = (lent: Buffer): void => {
    if (this.#onData !== undefined) this.#onData(lent)
    else this.#early.push(Buffer.from(lent))
  }

  send(parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#queue.push(part)
      this.#queuedBytes += part.length
    }
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#scheduled = false
    const queue = this.#queue
    const bytes = this.#queuedBytes
    this.#queue = []
    this.#queuedBytes = 0
    if (this.#socket.destroyed || queue.length === 0) return
    if (queue.length === 1) this.#socket.write(queue[0]!)
    else if (bytes <= GLUE_BYTES) this.#socket.write(Buffer.concat(queue, bytes))
    else {
      this.#socket.cork()
      for (const part of queue) this.#socket.write(part)
      this.#socket.uncork()
    }
  }

  backlogBytes(): number {
    return this.#queuedBytes + this.#socket.writableLength
  }
  onDrain(callback: () => void): void {
    this.#socket.on('drain', callback)
  }
  /** Where the next read goes, if the receiver knows. */
  room(): Buffer | undefined {
    return this.#room?.()
  }
  onData(callback: (lent: Buffer) => void, room?: () => Buffer | undefined): void {
    this.#onData = callback
    this.#room = room
    for (const data of this.#early.splice(0)) callback(data)
  }
  onClose(callback: (error?: Error) => void): void {
    this.#socket.on('close', () => callback(this.#error))
  }
  pause(): void {
    this.#socket.pause()
  }
  resume(): void {
    this.#socket.resume()
  }
  /** Last words still leave, but a peer that does not take them cannot keep the socket. */
  close(): void {
    this.#flush()
    this.#socket.destroySoon()
    setTimeout(() => this.#socket.destroy(), LAST_WORDS_MS).unref()
  }
}
