/*
 * The channel to the kernel: reads requests from an open /dev/fuse and writes replies and notifications to it. It knows
 * nothing of what they mean, and it does not care who opened the descriptor.
 *
 * Two ways to read. `epoll` hands the descriptor to libuv's pipe reader with one buffer of our own: no thread, no copy.
 * It needs a binding that Node calls internal. `worker` is a thread that blocks in read(2) and passes shared memory: only
 * public API, a third slower. Replies are written synchronously, which never blocks on this device. Notifications are
 * written from the thread pool, because an invalidation waits for pages that a pending READ holds locked: written from
 * the serving thread it would wait for ever, unkillable.
 */

import { close, write, writeSync, writevSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { FsError } from '../base/fault.ts'
import type { Log } from '../base/world.ts'
import { REQUEST_BYTES_MAX } from './ops.ts'
import type { ReplySink } from './session.ts'

export type ChannelKind = 'epoll' | 'worker'

/** Takes one request; the memory is reused when it returns. */
export type RequestHandler = (buffer: Buffer, length: number) => void

interface Reader {
  start(handler: RequestHandler, ended: (error: NodeJS.ErrnoException | undefined) => void): void
  /** Stops reading. True: the reader has closed the descriptor as well. */
  stop(): Promise<boolean>
}

/**
 * Notifications waiting to be written. Beyond this the oldest is dropped: it would only have come before the second after
 * which the kernel asks again by itself.
 */
const NOTIFICATIONS_MAX = 65_536
/** Writes in the thread pool at once. Each may wait for a READ to be answered, and the pool (4) has other work. */
const NOTIFICATIONS_IN_FLIGHT = 2

export class FuseChannel implements ReplySink {
  readonly #fd: number
  readonly #log: Log
  readonly #reader: Reader
  readonly kind: ChannelKind
  readonly #waiting = new Map<string, Buffer>()
  #inFlight = 0
  #open = true
  #end: (() => void) | undefined
  /** Resolves when the kernel has ended the connection (unmount, abort) or the channel was closed. */
  readonly closed: Promise<void>

  constructor(fd: number, log: Log, options: { channel?: ChannelKind | undefined } = {}) {
    this.#fd = fd
    this.#log = log
    this.kind = options.channel ?? (pipeBinding() === undefined ? 'worker' : 'epoll')
    this.#reader = this.kind === 'epoll' ? new EpollReader(fd) : new WorkerReader(fd)
    this.closed = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  start(handler: RequestHandler): void {
    this.#reader.start(handler, (error) => {
      if (error !== undefined) {
        this.#log.error({ err: error }, 'reading the FUSE device failed; the mount is lost, start it again')
      }
      void this.close()
    })
  }

  send(head: Buffer, data: readonly Buffer[]): void {
    if (!this.#open) return
    try {
      if (data.length === 0) writeSync(this.#fd, head)
      else writevSync(this.#fd, [head, ...data])
    } catch (error) {
      this.#replyFailed(head, error as NodeJS.ErrnoException)
    }
  }

  /** ENOENT: the asker is gone. ENODEV, ECONNABORTED: the mount is gone. Anything else would leave someone waiting. */
  #replyFailed(head: Buffer, error: NodeJS.ErrnoException): void {
    if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'ECONNABORTED') return
    this.#log.error({ err: error }, 'the kernel refused a reply; answered EIO instead')
    const apology = Buffer.from(head.subarray(0, 16))
    apology.writeUInt32LE(16, 0)
    apology.writeInt32LE(-5, 4)
    try {
      writeSync(this.#fd, apology)
    } catch (again) {
      this.#log.error(
        { err: again },
        'the kernel refused the error reply too; a caller may hang until the mount is aborted',
      )
    }
  }

  /** Queues a notification; one with the same key that still waits is replaced. */
  notify(key: string, message: Buffer): void {
    if (!this.#open) return
    this.#waiting.delete(key)
    if (this.#waiting.size >= NOTIFICATIONS_MAX) {
      for (const oldest of this.#waiting.keys()) {
        this.#waiting.delete(oldest)
        break
      }
    }
    this.#waiting.set(key, message)
    this.#pump()
  }

  #pump(): void {
    for (const [key, message] of this.#waiting) {
      if (this.#inFlight >= NOTIFICATIONS_IN_FLIGHT || !this.#open) return
      this.#waiting.delete(key)
      this.#inFlight++
      write(this.#fd, message, (error) => {
        this.#inFlight--
        // ENOENT: the kernel has nothing of it cached, which is what was wanted. ENOTEMPTY, EBUSY: a directory in use.
        const expected = ['ENOENT', 'ENODEV', 'ECONNABORTED', 'ENOTEMPTY', 'EBUSY', 'EBADF', 'ENOTDIR', 'ENOTCONN']
        if (error !== null && !expected.includes(error.code ?? '')) {
          this.#log.warn({ err: error, key }, 'the kernel refused an invalidation; it is stale for a second at most')
        }
        this.#pump()
      })
    }
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    this.#waiting.clear()
    if (!(await this.#reader.stop())) await new Promise<void>((resolve) => close(this.#fd, () => resolve()))
    this.#end?.()
  }
}

/** Errors of a read that only mean "read again": interrupted, nothing there, or the request was taken back meanwhile. */
const READ_AGAIN = new Set(['EINTR', 'EAGAIN', 'ENOENT'])
const MOUNT_GONE = new Set(['ENODEV', 'ECONNABORTED', 'EBADF', 'EOF'])

interface PipeHandle {
  open(fd: number): number
  useUserBuffer(buffer: Uint8Array): void
  onread: (this: PipeHandle, arrayBuffer?: ArrayBuffer) => void
  readStart(): number
  readStop(): number
  close(callback: () => void): void
}

interface PipeBinding {
  Pipe: new (type: number) => PipeHandle
  constants: { SOCKET: number }
}

interface StreamBinding {
  streamBaseState: Int32Array
  kReadBytesOrError: number
}

interface Bindings {
  readonly pipe: PipeBinding
  readonly stream: StreamBinding
  readonly errorName: (n: number) => string
}

/** Node's internal pipe reader, or undefined where it is gone or has changed its face. */
function pipeBinding(): Bindings | undefined {
  try {
    const binding = (process as unknown as { binding(name: string): unknown }).binding
    const pipe = binding.call(process, 'pipe_wrap') as PipeBinding
    const stream = binding.call(process, 'stream_wrap') as StreamBinding
    const uv = binding.call(process, 'uv') as { errname(n: number): string }
    const usable =
      typeof pipe?.Pipe === 'function' &&
      typeof pipe.Pipe.prototype.useUserBuffer === 'function' &&
      stream?.streamBaseState !== undefined &&
      typeof stream.kReadBytesOrError === 'number' &&
      typeof uv?.errname === 'function'
    return usable ? { pipe, stream, errorName: (n) => uv.errname(n) } : undefined
  } catch (error) {
    // ERR_INVALID_MODULE and ERR_ACCESS_DENIED both say the same: this Node does not lend it.
    if (error instanceof Error) return undefined
    throw error
  }
}

class EpollReader implements Reader {
  readonly #fd: number
  readonly #bindings: Bindings
  readonly #buffer = Buffer.allocUnsafeSlow(REQUEST_BYTES_MAX)
  #handle: PipeHandle | undefined
  #stopped = false

  constructor(fd: number) {
    this.#fd = fd
    const bindings = pipeBinding()
    if (bindings === undefined)
      throw new FsError('EOPNOTSUPP', 'this Node has no pipe_wrap binding; use channel "worker"')
    this.#bindings = bindings
  }

  start(handler: RequestHandler, ended: (error: NodeJS.ErrnoException | undefined) => void): void {
    const { pipe, stream, errorName } = this.#bindings
    const handle = new pipe.Pipe(pipe.constants.SOCKET)
    this.#handle = handle
    const failed = (code: number): void => {
      const name = errorName(code)
      if (this.#stopped) return
      // libuv takes a stream out of use after any error; a new one on the same descriptor reads on.
      if (READ_AGAIN.has(name)) this.start(handler, ended)
      else ended(MOUNT_GONE.has(name) ? undefined : Object.assign(new Error(`read /dev/fuse: ${name}`), { code: name }))
    }
    const opened = handle.open(this.#fd)
    if (opened !== 0) {
      failed(opened)
      return
    }
    handle.useUserBuffer(this.#buffer)
    handle.onread = () => {
      const read = stream.streamBaseState[stream.kReadBytesOrError]!
      if (read > 0) handler(this.#buffer, read)
      else if (read < 0) failed(read)
    }
    const started = handle.readStart()
    if (started !== 0) failed(started)
  }

  stop(): Promise<boolean> {
    this.#stopped = true
    const handle = this.#handle
    if (handle === undefined) return Promise.resolve(false)
    return new Promise((resolve) => handle.close(() => resolve(true)))
  }
}

/** Requests read ahead of the serving thread: two is enough to keep the reader busy, more only holds memory (1 MiB each). */
const WORKER_SLOTS = 2

/**
 * The reading thread, as source: it must run from TypeScript sources, from compiled code and under a test runner alike,
 * which no file name does. Slot states: 0 free, 1 filled.
 */
const WORKER_SOURCE = `
const { readSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { fd, slots, states } = workerData
const buffers = slots.map((slot) => new Uint8Array(slot))
const again = new Set(['EINTR', 'EAGAIN', 'ENOENT'])
for (let i = 0; ; i = (i + 1) % buffers.length) {
  while (Atomics.load(states, i) !== 0) Atomics.wait(states, i, 1)
  let length = 0
  while (length === 0) {
    try {
      length = readSync(fd, buffers[i], 0, buffers[i].length, null)
      if (length === 0) { parentPort.postMessage({ code: 'EOF' }); length = -1 }
    } catch (error) {
      if (!again.has(error.code)) { parentPort.postMessage({ code: error.code, message: error.message }); length = -1 }
    }
  }
  if (length < 0) break
  Atomics.store(states, i, 1)
  parentPort.postMessage({ slot: i, length })
}
`

type WorkerMessage = { slot: number; length: number } | { code: string; message?: string }

class WorkerReader implements Reader {
  readonly #fd: number
  #worker: Worker | undefined

  constructor(fd: number) {
    this.#fd = fd
  }

  start(handler: RequestHandler, ended: (error: NodeJS.ErrnoException | undefined) => void): void {
    const slots = Array.from({ length: WORKER_SLOTS }, () => new SharedArrayBuffer(REQUEST_BYTES_MAX))
    const states = new Int32Array(new SharedArrayBuffer(4 * WORKER_SLOTS))
    const buffers = slots.map((slot) => Buffer.from(slot))
    const worker = new Worker(WORKER_SOURCE, { eval: true, execArgv: [], workerData: { fd: this.#fd, slots, states } })
    this.#worker = worker
    worker.on('message', (message: WorkerMessage) => {
      if ('code' in message) {
        const error = Object.assign(new Error(message.message ?? message.code), { code: message.code })
        ended(MOUNT_GONE.has(message.code) ? undefined : error)
        return
      }
      try {
        handler(buffers[message.slot]!, message.length)
      } finally {
        Atomics.store(states, message.slot, 0)
        Atomics.notify(states, message.slot)
      }
    })
    worker.on('error', (error) => ended(error))
  }

  async stop(): Promise<boolean> {
    // A thread inside read(2) ends when the kernel ends the connection; it must not keep the process alive until then.
    this.#worker?.unref()
    void this.#worker?.terminate()
    return false
  }
}
