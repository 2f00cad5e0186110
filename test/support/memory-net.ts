/*
 * A network inside one process: the same Net interface, delivery in order, one task later. Links can be cut. It carries
 * bytes in pieces of random-looking sizes, so that nobody may rely on how frames fall into reads.
 */

import { FsError } from '../../src/base/fault.ts'
import type { Listener, Net, Transport } from '../../src/base/world.ts'
import { realClock } from './real-clock.ts'

class End implements Transport {
  readonly peer: string
  readonly identity = undefined
  other!: End
  #data: ((lent: Buffer) => void) | undefined
  #early: Buffer[] = []
  #close: ((error?: Error) => void)[] = []
  #drain: (() => void)[] = []
  #closed = false
  #queue: Buffer[] = []
  #scheduled = false
  #paused = false
  #hung = false
  #delayMs = 0
  #cut = 1

  constructor(peer: string) {
    this.peer = peer
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#closed) return
    const copies = parts.map((part) => Buffer.from(part))
    const arrive = (): void => {
      this.#queue.push(...copies)
      this.#schedule()
    }
    if (this.#delayMs === 0) arrive()
    else realClock.timer(this.#delayMs, arrive)
  }

  /** What is sent from now on is so long on its way. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.other.#paused || this.#hung) return
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
  /** Nothing that is sent here arrives before it is let go on again; nobody is told. */
  hang(hung: boolean): void {
    this.#hung = hung
    if (!hung) this.#schedule()
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
    return this.dial(host, port)
  }

  dial(host: string, port: number): End {
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

  /** The same network for one of those who dial, whose own connections can break and hang. */
  branch(): MemoryBranch {
    return new MemoryBranch(this)
  }

  /** Breaks every connection to a port, without goodbye. */
  cut(port: number): void {
    const ends = [...(this.#ends.get(port) ?? [])]
    this.#ends.get(port)?.clear()
    cutAll(ends)
  }
}

/** Those that exist now: whoever loses one dials again at once, and that one lives. */
function cutAll(ends: readonly End[]): void {
  for (const end of ends) {
    end.cut(new FsError('ECONNRESET', 'cut'))
    end.other.cut(new FsError('ECONNRESET', 'cut'))
  }
}

interface Hung {
  readonly there: boolean
  readonly back: boolean
  /** Of connections to this port only. */
  readonly port?: number
}

export class MemoryBranch implements Net {
  readonly #net: MemoryNet
  #ends: End[] = []
  #hung: Hung = { there: false, back: false }
  #delayMs = 0
  #closedPort: number | undefined

  constructor(net: MemoryNet) {
    this.#net = net
  }

  async connect(host: string, port: number): Promise<Transport> {
    if (port === this.#closedPort) throw new FsError('EHOSTUNREACH', `${host}:${port}`)
    const end = this.#net.dial(host, port)
    this.#ends.push(end)
    this.#apply(end)
    return end
  }

  listen(host: string, port: number, onTransport: (transport: Transport) => void): Promise<Listener> {
    return this.#net.listen(host, port, onTransport)
  }

  cut(): void {
    const ends = this.#ends
    this.#ends = []
    cutAll(ends)
  }

  /** Connections to this port break, and no new ones are made until it is called without one. */
  cutOff(port?: number): void {
    this.#closedPort = port
    const meant = this.#ends.filter((end) => end.peer.endsWith(`:${port}`))
    this.#ends = this.#ends.filter((end) => !meant.includes(end))
    cutAll(meant)
  }

  /** What is sent arrives later: what goes there, what comes back, or both. */
  hang(hung: Hung): void {
    this.#hung = hung
    for (const end of this.#ends) this.#apply(end)
  }

  /** How long the way is, there and again back. It may become longer only: what is under way would be overtaken. */
  delay(ms: number): void {
    this.#delayMs = ms
    for (const end of this.#ends) this.#apply(end)
  }

  #apply(end: End): void {
    end.delay(this.#delayMs)
    end.other.delay(this.#delayMs)
    const { there, back, port } = this.#hung
    const meant = port === undefined || end.peer.endsWith(`:${port}`)
    end.hang(there && meant)
    end.other.hang(back && meant)
  }
}
