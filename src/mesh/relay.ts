/*
 * The blind relay of a public node: copies datagrams between two nodes that cannot reach each other. It has no key and reads
 * nothing; what it lets through is in core/relay-rules.ts. Two ports for each pair, opened while the peer map names this
 * node as the pair's relay, closed when it does not.
 *
 * Nothing is queued here: a packet goes to the kernel or is dropped, as in a router. WireGuard above repeats its handshakes
 * and TCP within the tunnel its data.
 */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { SocketAddress } from 'node:net'
import { FsError } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import type { RelayedPair } from './core/plan.ts'
import {
  admit,
  type Drop,
  newSlot,
  otherSide,
  PAIR_BYTES_PER_SECOND,
  type Place,
  RELAY_PORT_FIRST,
  type RelayedEnd,
  relayPort,
  type Side,
  type SlotState,
  withEnds,
} from './core/relay-rules.ts'

export interface RelayReport {
  readonly slot: number
  /** Passed on, by the side they came from: what the operator of this machine pays for. */
  readonly aBytes: number
  readonly bBytes: number
  readonly packets: number
  readonly dropped: Readonly<Partial<Record<Drop | 'send', number>>>
}

export interface RelayOptions {
  /** An address to listen on; unset: all of IPv6 and IPv4, or of IPv4 where this machine has no IPv6. */
  readonly host?: string
  readonly bytesPerSecond?: number
  /** Other than 40000 for several relays on one machine. */
  readonly firstPort?: number
}

/** What arrives while this process is at something else: 20 ms at the rate of a pair and more. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024
/** What the kernel did not take at once; beyond it packets are dropped as by any full queue. */
const SEND_QUEUE_BYTES_MAX = 256 * 1024

interface Port {
  readonly socket: Socket
  readonly family: 4 | 6
}

interface OpenSlot {
  state: SlotState
  readonly ports: Readonly<Record<Side, Port>>
  readonly bytes: Record<Side, number>
  packets: number
  readonly dropped: Partial<Record<Drop | 'send', number>>
}

export class Relay {
  readonly #clock: Clock
  readonly #log: Log
  readonly #host: string | undefined
  readonly #bytesPerSecond: number
  readonly #portShift: number
  readonly #open = new Map<number, OpenSlot>()
  /** One change of the slots at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(
    clock: Clock,
    log: Log,
    { host, bytesPerSecond = PAIR_BYTES_PER_SECOND, firstPort = RELAY_PORT_FIRST }: RelayOptions = {},
  ) {
    this.#clock = clock
    this.#log = log
    this.#host = host
    this.#bytesPerSecond = bytesPerSecond
    this.#portShift = firstPort - RELAY_PORT_FIRST
  }

  /** These slots and no others. A port that cannot be opened is told in the log and tried at the next call. */
  setSlots(slots: readonly RelayedPair[]): Promise<void> {
    const mine = this.#turn.then(() => this.#become(slots))
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  report(): RelayReport[] {
    return [...this.#open].map(([slot, { bytes, packets, dropped }]) => ({
      slot,
      aBytes: bytes.a,
      bBytes: bytes.b,
      packets,
      dropped: { ...dropped },
    }))
  }

  close(): Promise<void> {
    return this.setSlots([])
  }

  async #become(slots: readonly RelayedPair[]): Promise<void> {
    const wanted = new Map(slots.map((slot) => [slot.slot, slot]))
    for (const [number, { ports }] of this.#open)
      if (!wanted.has(number)) {
        this.#open.delete(number)
        await Promise.all([closed(ports.a), closed(ports.b)])
      }
    for (const { slot, a, b } of wanted.values()) {
      const ends = [asSockets(a), asSockets(b)] as const
      const open = this.#open.get(slot)
      if (open !== undefined) open.state = withEnds(open.state, ...ends)
      else await this.#openSlot(slot, ...ends)
    }
  }

  async #openSlot(slot: number, a: RelayedEnd, b: RelayedEnd): Promise<void> {
    const bound: Port[] = []
    try {
      for (const side of ['a', 'b'] as const) bound.push(await this.#listen(relayPort(slot, side) + this.#portShift))
    } catch (error) {
      for (const port of bound) await closed(port)
      if (!(error instanceof FsError)) throw error
      this.#log.error(
        { slot, error: error.message },
        'a port of the relay cannot be opened; its pair stays without relay',
      )
      return
    }
    const open: OpenSlot = {
      state: newSlot(a, b, this.#clock.monotonicMs(), this.#bytesPerSecond),
      ports: { a: bound[0]!, b: bound[1]! },
      bytes: { a: 0, b: 0 },
      packets: 0,
      dropped: {},
    }
    this.#open.set(slot, open)
    for (const side of ['a', 'b'] as const) {
      const { socket } = open.ports[side]
      socket.on('message', (bytes, from) => this.#pass(open, side, bytes, from))
      socket.on('error', (error) =>
        this.#log.warn({ slot, side, error: error.message }, 'a port of the relay has failed; packets are lost'),
      )
    }
  }

  #pass(open: OpenSlot, side: Side, bytes: Buffer, from: RemoteInfo): void {
    const drop = (why: Drop | 'send'): void => {
      open.dropped[why] = (open.dropped[why] ?? 0) + 1
    }
    if (bytes.length < 4) {
      drop('form')
      return
    }
    const head = [bytes[0]!, bytes[1]!, bytes[2]!, bytes[3]!] as const
    const packet = { from: { address: plain(from.address), port: from.port }, length: bytes.length, head }
    const { slot, to, dropped } = admit(open.state, side, packet, this.#clock.monotonicMs(), this.#bytesPerSecond)
    open.state = slot
    if (to === undefined) {
      drop(dropped!)
      return
    }
    const out = open.ports[otherSide(side)]
    if (out.socket.getSendQueueSize() > SEND_QUEUE_BYTES_MAX) {
      drop('send')
      return
    }
    open.packets++
    open.bytes[side] += bytes.length
    out.socket.send(bytes, to.port, targetOf(out, to), (error) => {
      if (error !== null) drop('send')
    })
  }

  async #listen(port: number): Promise<Port> {
    if (this.#host !== undefined) return this.#bind(this.#host, port)
    try {
      return await this.#bind('::', port)
    } catch (error) {
      const { code } = (error as FsError).cause as NodeJS.ErrnoException
      if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error
      return this.#bind('0.0.0.0', port)
    }
  }

  #bind(host: string, port: number): Promise<Port> {
    const family = host.includes(':') ? 6 : 4
    const socket = createSocket({
      type: `udp${family}`,
      recvBufferSize: RECEIVE_BUFFER_BYTES,
      // Addresses only: no turn through the resolver for each packet.
      lookup: (address, _, found) => found(null, address, family),
    })
    return new Promise((resolve, reject) => {
      socket.once('error', (cause) => {
        socket.close()
        reject(new FsError('EIO', `UDP ${host} port ${port}: ${cause.message}`, { cause }))
      })
      socket.bind(port, host, () => {
        socket.removeAllListeners('error')
        resolve({ socket, family })
      })
    })
  }
}

/** A socket of IPv6 names IPv4 addresses in its own way. */
const targetOf = ({ family }: Port, { address }: Place): string =>
  family === 6 && !address.includes(':') ? `::ffff:${address}` : address
const closed = ({ socket }: Port): Promise<void> => new Promise((resolve) => socket.close(() => resolve()))
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i
const plain = (address: string): string => MAPPED.exec(address)?.[1] ?? address
const asSockets = ({ addresses, seen }: RelayedEnd): RelayedEnd => ({
  addresses: addresses.map(canonical),
  ...(seen === undefined ? {} : { seen: { address: canonical(seen.address), port: seen.port } }),
})
/** As sockets write it. */
function canonical(address: string): string {
  const text = plain(address)
  return new SocketAddress({ address: text, family: text.includes(':') ? 'ipv6' : 'ipv4' }).address
}
