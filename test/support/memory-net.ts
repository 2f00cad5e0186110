/*
 * A network inside one process: the same Net interface, delivery in order, one task later. Links can be cut. It carries
 * bytes in pieces of random-looking sizes, so that nobody may rely on how frames fall into reads.
 */

import { FsError } from '../../src/base/fault.ts'
import type { Listener, Net, Transport } from '../../src/base/world.ts'

class End implements Transport {
  readonly peer: string
  other!: End
  #data: ((lent: Buffer) => void) | undefined
  #early: Buffer[] = []
  #close: ((error?: Error) => void)[] = []
  #drain: (() => void)[] = []
  #closed = false
  #queue: Buffer[] = []
  #scheduled = false
  #paused = false
  #cut = 1

  constructor(peer: string) {
    this.peer = peer
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#closed) return
    for (const part of parts) this.#queue.push(Buffer.from(part))
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.other.#paused) return
      const all = Buffer.concat(this.#queue.splice(0))
      for (let at = 0; at < all.length; ) {
        this.#cut = (this.#cut * 7 + 3) % 70_001
        const take = Math.min(1 + this.#cut, all.length - at)
        this.other.#receive(all.subarray(at, at + take))
        at += take
      }
      for (const callback of this.#drain) callback()
    })
  }

  #receive(data: Buffer): void {
    if (this.#closed) return
    // A copy that is overwritten afterwards: lent means lent.
    const lent = Buffer.from(data)
    if (this.#data === undefined) this.#early.push(lent)
    else {
      this.#data(lent)
      lent.fill(0xdd)
    }
  }

  backlogBytes(): number {
    return this.#queue.reduce((sum, part) => sum + part.length, 0)
  }
  onDrain(callback: () => void): void {
    this.#drain.push(callback)
  }
  onData(callback: (lent: Buffer) => void): void {
    this.#data = callback
    for (const data of this.#early.splice(0)) callback(data)
  }
  onClose(callback: (error?: Error) => void): void {
    this.#close.push(callback)
  }
  pause(): void {
    this.#paused = true
  }
  resume(): void {
    this.#paused = false
    this.other.#schedule()
  }
  close(error?: Error): void {
    if (this.#closed) return
    // What was sent before the close still arrives, as on TCP.
    setImmediate(() => {
      this.cut(error)
      this.other.cut()
    })
  }
  cut(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    for (const callback of this.#close) callback(error)
  }
}

export class MemoryNet implements Net {
  readonly #listeners = new Map<number, (transport: Transport) => void>()
  readonly #ends = new Map<number, Set<End>>()
  #nextPort = 1

  async connect(host: string, port: number): Promise<Transport> {
    const accept = this.#listeners.get(port)
    if (accept === undefined) throw new FsError('ECONNREFUSED', `${host}:${port}`)
    const near = new End(`${host}:${port}`)
    const far = new End('memory:0')
    near.other = far
    far.other = near
    this.#ends.get(port)!.add(near)
    setImmediate(() => {
      if (this.#listeners.get(port) === accept) accept(far)
      else near.cut(new FsError('ECONNRESET', 'nobody listens any more'))
    })
    return near
  }

  async listen(_host: string, wanted: number, onTransport: (transport: Transport) => void): Promise<Listener> {
    const port = wanted === 0 ? this.#nextPort++ : wanted
    this.#listeners.set(port, onTransport)
    this.#ends.set(port, new Set())
    return {
      port,
      close: async () => {
        this.#listeners.delete(port)
      },
    }
  }

  /** Breaks every connection to a port, without goodbye. */
  cut(port: number): void {
    for (const end of this.#ends.get(port) ?? []) {
      end.cut(new FsError('ECONNRESET', 'cut'))
      end.other.cut(new FsError('ECONNRESET', 'cut'))
    }
    this.#ends.get(port)?.clear()
  }
}
