import { afterEach, describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { Clock } from '../../src/base/world.ts'
import { hostClock } from '../../src/host/clock.ts'
import type { Bundle } from '../../src/wire/bundle.ts'
import { CallHandle } from '../../src/wire/call-handle.ts'
import { connectBundle, serveLinks } from '../../src/wire/connect.ts'
import type { CallOptions, Handlers, Peer } from '../../src/wire/peer.ts'
import { type CallName, type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { MemoryNet } from '../support/memory-net.ts'
import { quietLog } from '../support/quiet-log.ts'

const hello: Hello = { version: PROTOCOL_VERSION, cluster: 'c1', role: 'mount', name: 't' }
const base = { log: quietLog, hello }
const MiB = 1024 * 1024
/** Of an append that is not answered. */
const NEVER = 1_000_000

/** A server that answers reads when it is told to, and knows on which connection each was asked. */
class Server {
  readonly net = new MemoryNet()
  readonly peers: Peer[] = []
  /** In the order of arrival. */
  readonly reads: { offset: number; peer: Peer; answer: () => void; aborted: boolean }[] = []
  readonly appends: { offset: number; peer: Peer }[] = []
  held = true
  bundle!: Bundle

  static async start(connections: number, clock: Clock = hostClock): Promise<Server> {
    const server = new Server()
    const handlers: Partial<Handlers<CallName>> = {
      read: ({ offset }, _bulk, { peer, signal }) =>
        new Promise((resolve) => {
          const answer = (): void => resolve({ reply: {}, bulk: [Buffer.alloc(1_000, offset)] })
          const read = { offset, peer, answer, aborted: false }
          signal.addEventListener('abort', () => {
            read.aborted = true
          })
          server.reads.push(read)
          if (!server.held) answer()
        }),
      append: async ({ offset }, bulk, { peer }) => {
        server.appends.push({ offset, peer })
        if (offset === NEVER) await new Promise(() => {})
        await hostClock.sleep(offset % 3)
        return { reply: { length: offset + bulk.length } }
      },
      syncChunk: ({ length }) => ({ reply: { length } }),
    }
    const listener = await serveLinks(server.net, 'm', 0, {
      ...{ ...base, clock, handlers },
      onPeer: (peer) => {
        server.peers.push(peer)
        peer.onClose(() => server.peers.splice(server.peers.indexOf(peer), 1))
      },
    })
    server.bundle = await connectBundle(server.net, 'm', listener.port, { ...base, clock, handlers: {}, connections })
    // Near, however busy this machine is.
    for (let i = 0; i < 4; i++) server.bundle.roundTrip.sample(hostClock.monotonicMs(), 0.1)
    return server
  }

  read(offset: number, options: CallOptions = {}): Promise<number> {
    const asked = { disk: 1 as never, chunk: 1 as never, offset, length: 1_000 }
    return this.bundle.call('read', asked, { answerBytes: MiB, ...options }).then(({ bulk }) => bulk[0]!)
  }

  append(offset: number): Promise<unknown> {
    const asked = { disk: 1 as never, chunk: 1 as never, offset, create: false, sync: false }
    return this.bundle.call('append', asked, { bulk: [Buffer.alloc(10)], order: 1 })
  }

  async arrived(reads: number): Promise<void> {
    await expect.poll(() => this.reads.length, { timeout: 10_000 }).toBe(reads)
  }

  async connected(connections: number): Promise<void> {
    await expect.poll(() => this.peers.length, { timeout: 10_000 }).toBe(connections)
  }

  answerAll(): void {
    this.held = false
    for (const read of this.reads) read.answer()
  }
}

describe('the link of a node pair', () => {
  let server: Server
  afterEach(() => server.bundle.close())

  it('is one connection near by, whatever is under way', async () => {
    server = await Server.start(0)
    const reads = Array.from({ length: 20 }, (_, i) => server.read(i))
    await server.arrived(20)
    server.answerAll()
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(server.peers.length).toBe(1)
    expect(server.bundle.connections).toBe(1)
  })

  it('opens as many as it may when bulk waits, gives each one call, and the next to the one that is done first', async () => {
    server = await Server.start(3)
    const reads = Array.from({ length: 8 }, (_, i) => server.read(i))
    await server.connected(3)
    await server.arrived(3)
    expect(new Set(server.reads.map(({ peer }) => peer)).size).toBe(3)
    const [, second] = server.reads
    for (let more = 4; more <= 8; more++) {
      // The same connection answers again and again, the two others hold theirs.
      server.reads
        .filter(({ peer }) => peer === second!.peer)
        .at(-1)!
        .answer()
      await server.arrived(more)
      expect(server.reads.at(-1)!.peer).toBe(second!.peer)
    }
    server.answerAll()
    expect(await Promise.all(reads)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(server.peers.length).toBe(3)
  })

  it('opens no more than there are calls at a time', async () => {
    server = await Server.start(8)
    server.held = false
    for (let i = 0; i < 5; i++) await server.read(i)
    expect(server.peers.length).toBe(1)
  })

  it('asks again on another connection what was under way on one that broke', async () => {
    server = await Server.start(3)
    const reads = Array.from({ length: 6 }, (_, i) => server.read(i))
    await server.connected(3)
    await server.arrived(3)
    // The first one too: none is special.
    server.reads[0]!.peer.close()
    await server.arrived(4)
    server.answerAll()
    expect(await Promise.all(reads)).toEqual([0, 1, 2, 3, 4, 5])
    expect(server.bundle.closed).toBe(false)
  })

  it('keeps appends to one chunk in order while reads are under way on all connections', async () => {
    server = await Server.start(4)
    const reads = Array.from({ length: 12 }, (_, i) => server.read(i))
    const appends = Array.from({ length: 50 }, (_, i) => server.append(i * 10))
    await server.connected(4)
    await Promise.all(appends)
    expect(server.appends.map(({ offset }) => offset)).toEqual(Array.from({ length: 50 }, (_, i) => i * 10))
    expect(new Set(server.appends.map(({ peer }) => peer)).size).toBe(1)
    server.answerAll()
    await Promise.all(reads)
  })

  it('fails appends of a connection that broke, for their caller to go on with', async () => {
    server = await Server.start(2)
    const reads = [server.read(0), server.read(1)]
    await server.connected(2)
    const append = server.append(NEVER)
    await expect.poll(() => server.appends.length, { timeout: 10_000 }).toBe(1)
    server.appends[0]!.peer.close()
    await expect(append).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(server.bundle.closed).toBe(false)
    await server.append(0)
    server.answerAll()
    expect(await Promise.all(reads)).toEqual([0, 1])
  })

  it('is closed when its last connection is, and what waits fails', async () => {
    server = await Server.start(2)
    const closed = new Promise<void>((resolve) => server.bundle.onClose(() => resolve()))
    const reads = Array.from({ length: 6 }, (_, i) => server.read(i))
    await server.connected(2)
    await server.arrived(2)
    server.net.cut(1)
    for (const read of reads) await expect(read).rejects.toMatchObject({ code: 'ECONNRESET' })
    await closed
    expect(server.bundle.closed).toBe(true)
    await expect(server.read(9)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it('takes back a call that waits for a connection or is under way on one', async () => {
    server = await Server.start(2)
    const abort = new AbortController()
    const handles = [new CallHandle(), new CallHandle()]
    const reads = Array.from({ length: 7 }, (_, i) =>
      server.read(i, [{}, { signal: abort.signal }, {}, { signal: abort.signal }, { handle: handles[0]! }][i]),
    )
    await server.connected(2)
    await server.arrived(2)
    abort.abort(new FsError('EINTR'))
    handles[0]!.cancel(new FsError('ECANCELED'))
    for (const i of [1, 3]) await expect(reads[i]).rejects.toMatchObject({ code: 'EINTR' })
    await expect(reads[4]).rejects.toMatchObject({ code: 'ECANCELED' })
    await server.arrived(3)
    expect(server.reads.find(({ offset }) => offset === 1)?.aborted).toBe(true)
    server.answerAll()
    expect([await reads[0], await reads[2], await reads[5], await reads[6]]).toEqual([0, 2, 5, 6])
    expect(server.reads.map(({ offset }) => offset).sort()).toEqual([0, 1, 2, 5, 6])
    handles[1]!.cancel(new FsError('ECANCELED'))
    await expect(server.read(8, { handle: handles[1]! })).rejects.toMatchObject({ code: 'ECANCELED' })
  })

  it('does without further connections that cannot be made', async () => {
    server = await Server.start(4)
    const { net } = server
    const dial = net.connect.bind(net)
    net.connect = () => Promise.reject(new FsError('ECONNREFUSED', 'enough'))
    const reads = Array.from({ length: 6 }, (_, i) => server.read(i))
    await server.arrived(1)
    server.answerAll()
    expect(await Promise.all(reads)).toEqual([0, 1, 2, 3, 4, 5])
    expect(server.peers.length).toBe(1)
    net.connect = dial
  })

  it('closes what is idle, and opens it again', async () => {
    // Thirty times as fast.
    const quick: Clock = {
      ...hostClock,
      monotonicMs: () => hostClock.monotonicMs() * 30,
      timer: (ms, callback) => hostClock.timer(ms / 30, callback),
    }
    server = await Server.start(3, quick)
    for (let round = 0; round < 2; round++) {
      server.held = true
      const reads = Array.from({ length: 6 }, (_, i) => server.read(i))
      await server.connected(3)
      server.answerAll()
      await Promise.all(reads)
      await server.connected(1)
      expect(server.bundle.closed).toBe(false)
    }
  })
})
