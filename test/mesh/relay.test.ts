import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Relay } from '../../src/mesh/relay.ts'
import { silentLog } from '../support/manual-clock.ts'
import { realClock } from '../support/real-clock.ts'

/** Below the ports that connections are given, away from the real ones; another one for each run. */
const firstPort = 20_000 + (process.pid % 5_000) * 2
const initiation = (mark: number): Buffer => Buffer.alloc(148, mark).fill(Buffer.from([1, 0, 0, 0]), 0, 4)
const data = (mark: number, length = 1440): Buffer => Buffer.alloc(length, mark).fill(Buffer.from([4, 0, 0, 0]), 0, 4)

const at = (...addresses: string[]) => ({ addresses })

class Node {
  readonly heard: Buffer[] = []
  readonly #socket: Socket
  readonly #address: string
  readonly #to: [number, string]

  private constructor(socket: Socket, address: string, to: [number, string]) {
    this.#socket = socket
    this.#address = address
    this.#to = to
    socket.on('message', (bytes) => this.heard.push(bytes))
  }
  static async at(address: string, side: 'a' | 'b', relayHost = '127.0.0.1'): Promise<Node> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    socket.bind(0, address)
    await once(socket, 'listening')
    const node = new Node(socket, address, [firstPort + (side === 'a' ? 0 : 1), relayHost])
    nodes.push(node)
    return node
  }
  say(bytes: Buffer): void {
    this.#socket.send(bytes, ...this.#to)
  }
  async hears(count: number): Promise<Buffer[]> {
    const deadline = realClock.monotonicMs() + 5_000
    while (this.heard.length < count) {
      if (realClock.monotonicMs() > deadline)
        throw new Error(`${this.#address} heard ${this.heard.length} of ${count} within 5 s`)
      await realClock.sleep(5)
    }
    return this.heard
  }
  close(): void {
    this.#socket.close()
  }
}

let relay: Relay
let nodes: Node[] = []
beforeEach(() => {
  relay = new Relay(realClock, silentLog, { firstPort })
})
afterEach(async () => {
  await relay.close()
  for (const node of nodes) node.close()
  nodes = []
})

/** Both have shaken hands with the relay. */
async function pair(a: string, b: string, host?: string): Promise<[Node, Node]> {
  const [x, y] = [await Node.at(a, 'a', host), await Node.at(b, 'b', host)]
  x.say(initiation(1))
  // The first one goes nowhere, as nobody knows yet where the other is; WireGuard repeats it.
  while (relay.report()[0]!.dropped['nobody there'] === undefined) await realClock.sleep(2)
  y.say(initiation(2))
  expect(await x.hears(1)).toEqual([initiation(2)])
  x.heard.length = 0
  return [x, y]
}

describe('the relay on real sockets', () => {
  test.each([
    ['IPv4', '127.0.0.2', '127.0.0.3', '127.0.0.1'],
    ['IPv6', '::1', '::1', '::1'],
  ])('carries packets of a pair by %s, both ways and unchanged', async (_, a, b, host) => {
    await relay.setSlots([{ slot: 0, a: at(a), b: at(b) }])
    const [x, y] = await pair(a, b, host)
    for (let i = 0; i < 20; i++) x.say(data(i))
    y.say(data(99, 32))
    expect(await y.hears(20)).toEqual(Array.from({ length: 20 }, (_, i) => data(i)))
    expect(await x.hears(1)).toEqual([data(99, 32)])
    expect(relay.report()).toEqual([
      { slot: 0, aBytes: 20 * 1440, bBytes: 148 + 32, packets: 22, dropped: { 'nobody there': 1 } },
    ])
  })

  test('carries between IPv4 and IPv6', async () => {
    await relay.setSlots([{ slot: 0, a: at('::1'), b: at('127.0.0.3') }])
    const x = await Node.at('::1', 'a', '::1')
    const y = await Node.at('127.0.0.3', 'b')
    x.say(initiation(1))
    while (relay.report()[0]!.dropped['nobody there'] === undefined) await realClock.sleep(2)
    y.say(initiation(2))
    await x.hears(1)
    x.say(data(7))
    expect(await y.hears(1)).toEqual([data(7)])
  })

  test('gives strangers nothing and counts them', async () => {
    await relay.setSlots([{ slot: 0, a: at('127.0.0.2'), b: at('127.0.0.3') }])
    const [x, y] = await pair('127.0.0.2', '127.0.0.3')
    const stranger = await Node.at('127.0.0.9', 'a')
    stranger.say(initiation(66))
    stranger.say(Buffer.alloc(0))
    stranger.say(Buffer.from('GET / HTTP/1.1'))
    while ((relay.report()[0]!.dropped.form ?? 0) < 2) await realClock.sleep(2)
    x.say(data(1))
    expect(await y.hears(1)).toEqual([data(1)])
    expect(stranger.heard).toEqual([])
    expect(relay.report()[0]!.dropped).toEqual({ 'nobody there': 1, stranger: 1, form: 2 })
  })

  test('goes on undisturbed when its slots are named again, and closes those that are not', async () => {
    const slot = { slot: 0, a: at('127.0.0.2'), b: at('127.0.0.3') }
    await relay.setSlots([slot])
    const [x, y] = await pair('127.0.0.2', '127.0.0.3')
    await Promise.all([relay.setSlots([slot, { ...slot, slot: 5 }]), relay.setSlots([slot])])
    expect(relay.report().map((report) => report.slot)).toEqual([0])
    x.say(data(3))
    expect(await y.hears(1)).toEqual([data(3)])
    await relay.setSlots([])
    const free = createSocket('udp6').bind(firstPort)
    await once(free, 'listening')
    free.close()
  })

  test('a port that somebody else has leaves the others working, and is tried again', async () => {
    const taken = createSocket('udp6').bind(firstPort + 3)
    await once(taken, 'listening')
    const slots = [0, 1].map((slot) => ({ slot, a: at('127.0.0.2'), b: at('127.0.0.3') }))
    await relay.setSlots(slots)
    expect(relay.report().map((report) => report.slot)).toEqual([0])
    taken.close()
    await once(taken, 'close')
    await relay.setSlots(slots)
    expect(relay.report().map((report) => report.slot)).toEqual([0, 1])
  })
})
