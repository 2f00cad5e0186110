/*
 * TCP as a Transport. What is sent within one turn of the event loop leaves in one system call: replies to requests that
 * arrived together travel together. No delay is added: the flush runs right after the turn's input has been handled.
 */

import { createServer, connect as netConnect, type Socket } from 'node:net'
import { FsError } from '../base/fault.ts'
import type { Listener, Net, Transport } from '../base/world.ts'

/** Below this many bytes parts are glued together: one copy is cheaper than a writev of many. */
const GLUE_BYTES = 16 * 1024
/** One read from the socket of a dialled connection. */
const READ_BYTES = 256 * 1024
/** How long a closed connection may take to deliver what was sent before. */
const LAST_WORDS_MS = 2_000

class TcpTransport implements Transport {
  readonly peer: string
  readonly #socket: Socket
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #scheduled = false
  #onData: ((lent: Buffer) => void) | undefined
  #early: Buffer[] = []
  #error: Error | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    this.peer = `${socket.remoteAddress}:${socket.remotePort}`
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
  onData(callback: (lent: Buffer) => void): void {
    this.#onData = callback
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

const codes: Record<string, 'ECONNREFUSED' | 'EHOSTUNREACH' | 'ETIMEDOUT' | 'EINVAL'> = {
  ECONNREFUSED: 'ECONNREFUSED',
  EHOSTUNREACH: 'EHOSTUNREACH',
  ENETUNREACH: 'EHOSTUNREACH',
  ENOTFOUND: 'EHOSTUNREACH',
  EAI_AGAIN: 'EHOSTUNREACH',
  ETIMEDOUT: 'ETIMEDOUT',
}

export const hostNet: Net = {
  connect(host, port, { timeoutMs, signal }) {
    return new Promise<Transport>((resolve, reject) => {
      let transport: TcpTransport | undefined
      const socket = netConnect({
        host,
        port,
        onread: {
          buffer: Buffer.allocUnsafeSlow(READ_BYTES),
          callback: (length, buffer) => {
            transport?.deliver(Buffer.from(buffer.buffer, buffer.byteOffset, length))
            return true
          },
        },
      })
      const timer = setTimeout(() => fail(new FsError('ETIMEDOUT', `${host}:${port}`)), timeoutMs)
      const fail = (error: unknown): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        socket.destroy()
        reject(error)
      }
      const onAbort = (): void => fail(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      const onError = (error: NodeJS.ErrnoException): void => {
        fail(new FsError(codes[error.code ?? ''] ?? 'ECONNREFUSED', `${host}:${port}`, { cause: error }))
      }
      socket.once('error', onError)
      socket.once('connect', () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        socket.off('error', onError)
        transport = new TcpTransport(socket)
        resolve(transport)
      })
    })
  },

  listen(host, port, onTransport) {
    return new Promise<Listener>((resolve, reject) => {
      const server = createServer((socket) => {
        const transport = new TcpTransport(socket)
        socket.on('data', transport.deliver)
        onTransport(transport)
      })
      server.once('error', (error: NodeJS.ErrnoException) => {
        const busy = error.code === 'EADDRINUSE'
        reject(
          new FsError(busy ? 'EBUSY' : 'EINVAL', `cannot listen on ${host}:${port}: ${error.message}`, {
            cause: error,
          }),
        )
      })
      server.listen(port, host, () => {
        const address = server.address()
        resolve({
          port: typeof address === 'object' && address !== null ? address.port : port,
          close: () => new Promise<void>((done) => server.close(() => done())),
        })
      })
    })
  },
}
