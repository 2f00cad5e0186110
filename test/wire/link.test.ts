import { describe, expect, it } from 'vitest'
import { crc32 as crc } from '../../src/base/checksum.ts'
import { FsError } from '../../src/base/fault.ts'
import type { Ino, SessionId } from '../../src/base/ids.ts'
import { hostClock } from '../../src/host/clock.ts'
import { ROLES } from '../../src/wire/call-row.ts'
import { pack } from '../../src/wire/codec.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import { encodeFrame, FrameSplitter } from '../../src/wire/frame.ts'
import type { Handlers, Peer } from '../../src/wire/peer.ts'
import { type CallName, callNames, calls, type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { MemoryNet } from '../support/memory-net.ts'
import { quietLog } from '../support/quiet-log.ts'

const hello: Hello = { version: PROTOCOL_VERSION, cluster: 'c1', role: 'mount', name: 't' }
const base = { clock: hostClock, log: quietLog }
const s1 = 1 as SessionId
const space = { totalBytes: 1, freeBytes: 1, availableBytes: 1, files: 1, filesFree: 1 }

async function pair(handlers: Partial<Handlers<CallName>>, theirs: Partial<Hello> = {}) {
  const net = new MemoryNet()
  const peers: Peer[] = []
  const server = await serveLinks(net, 'm', 0, { ...base, hello, handlers, onPeer: (peer) => peers.push(peer) })
  const peer = await connectLink(net, 'm', server.port, {
    ...base,
    hello: { ...hello, ...theirs },
    handlers: {},
    silenceMs: 1_500,
  })
  return { net, server, peer, peers }
}

describe('a link', () => {
  it('answers calls with their bulk bytes, whatever pieces the stream arrives in', async () => {
    const data = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
    const { peer } = await pair({
      read: (request) => ({ reply: {}, bulk: [data.subarray(request.offset, request.offset + request.length)] }),
      append: (_request, bulk) => ({ reply: { length: bulk.length } }),
    })
    const got = await Promise.all(
      [0, 1, 70_000].map((offset) =>
        peer.call('read', { disk: 1 as never, chunk: 1 as never, offset, length: 100_000 }),
      ),
    )
    expect(
      got.map(({ bulk }, i) => bulk.equals(data.subarray([0, 1, 70_000][i]!, [0, 1, 70_000][i]! + 100_000))),
    ).toEqual([true, true, true])
    const append = { disk: 1 as never, chunk: 1 as never, offset: 0, create: true, sync: false }
    const { reply } = await peer.call('append', append, { bulk: [data, data] })
    expect(reply.length).toBe(400_000)
  })

  it('carries a refusal as its errno and its detail', async () => {
    const { peer } = await pair({
      getattr: () => {
        throw new FsError('ESTALE', 'inode 7')
      },
      readlink: async () => {
        throw new FsError('EINVAL')
      },
    })
    await expect(peer.call('getattr', { session: s1, ino: 7 as Ino })).rejects.toMatchObject({
      code: 'ESTALE',
      message: 'stale file handle: inode 7',
    })
    await expect(peer.call('readlink', { session: s1, ino: 7 as Ino })).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(peer.call('statfs', { session: s1, ino: undefined })).rejects.toMatchObject({ code: 'ENOSYS' })
  })

  it('refuses a request that cannot be, naming the field, and keeps the connection', async () => {
    const { peer } = await pair({ statfs: () => ({ reply: space }) })
    await expect(peer.call('getattr', { session: s1, ino: -1 as Ino })).rejects.toMatchObject({
      code: 'EPROTO',
      message: expect.stringContaining('getattr.ino: expected an integer'),
    })
    expect((await peer.call('statfs', { session: s1, ino: undefined })).reply).toEqual(space)
  })

  it('fails a call whose reply is not what the table says, and closes the connection', async () => {
    const { peer } = await pair({ statfs: () => ({ reply: { ...space, files: -1 } }) })
    await expect(peer.call('statfs', { session: s1, ino: undefined })).rejects.toMatchObject({ code: 'EPROTO' })
    expect(peer.closed).toBe(true)
  })

  it('refuses each role the calls that are not for it, before anybody looks at the request', async () => {
    const asked: CallName[] = []
    const handlers = Object.fromEntries(
      callNames.map((name) => [
        name,
        () => {
          asked.push(name)
          throw new FsError('EAGAIN')
        },
      ]),
    ) as Partial<Handlers<CallName>>
    for (const role of ROLES) {
      const { peer } = await pair(handlers, { role })
      for (const name of callNames.filter((one) => !(calls[one].by as readonly string[]).includes(role))) {
        const refused = peer.call(name, calls[name].request.sample(() => 0) as never)
        await expect(refused, `${name} for ${role}`).rejects.toMatchObject({ code: 'EPERM' })
      }
      peer.close()
    }
    expect(asked).toEqual([])
  })

  it('refuses a peer of another cluster or version on both sides', async () => {
    await expect(pair({}, { cluster: 'c2' })).rejects.toMatchObject({ code: 'EPROTO' })
    await expect(pair({}, { version: 99 })).rejects.toMatchObject({ code: 'EPROTO' })
  })

  it('cancels a waiting call at the other side when its signal aborts', async () => {
    let seen: unknown
    const { peer } = await pair({
      setLock: (_request, _bulk, context) =>
        new Promise((_, reject) =>
          context.signal.addEventListener('abort', () => reject((seen = context.signal.reason))),
        ),
    })
    const abort = new AbortController()
    const lock = { family: 'posix', kind: 'write', owner: '1', start: 0, end: 1, pid: 1 } as const
    const stamp = { session: s1, seq: 1, acked: 1 }
    const waiting = peer.call(
      'setLock',
      { stamp, ino: 1 as Ino, lock, wait: true },
      { signal: abort.signal, timeoutMs: 0 },
    )
    await hostClock.sleep(20)
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await hostClock.sleep(20)
    expect(seen).toMatchObject({ code: 'EINTR' })
  })

  it('lets the other side say what became of a cancelled call, when asked to', async () => {
    let grant: () => void = () => undefined
    const { peer } = await pair({
      setLock: (request, _bulk, context) =>
        new Promise((resolve, reject) => {
          if (request.ino === 1) context.signal.addEventListener('abort', () => reject(context.signal.reason))
          else grant = () => resolve({ reply: {} })
        }),
    })
    const abort = new AbortController()
    const lock = { family: 'posix', kind: 'write', owner: '1', start: 0, end: 1, pid: 1 } as const
    const ask = (ino: number) =>
      peer.call(
        'setLock',
        { stamp: { session: s1, seq: ino, acked: 1 }, ino: ino as Ino, lock, wait: true },
        { signal: abort.signal, answersCancel: true, timeoutMs: 0 },
      )
    const refused = ask(1)
    const granted = ask(2)
    await hostClock.sleep(20)
    abort.abort()
    grant()
    await expect(refused).rejects.toMatchObject({ code: 'EINTR' })
    expect((await granted).reply).toEqual({})
  })

  it('gives up a call after its deadline and tells the other side', async () => {
    let aborted = false
    const { peer } = await pair({
      statfs: (_request, _bulk, context) =>
        new Promise((_, reject) =>
          context.signal.addEventListener('abort', () => {
            aborted = true
            reject(context.signal.reason)
          }),
        ),
    })
    await expect(peer.call('statfs', { session: s1, ino: undefined }, { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
    })
    await hostClock.sleep(20)
    expect(aborted).toBe(true)
  })

  it('rejects every waiting call once when the connection breaks', async () => {
    const { net, server, peer } = await pair({ statfs: () => new Promise(() => undefined) })
    const waiting = [
      peer.call('statfs', { session: s1, ino: undefined }),
      peer.call('statfs', { session: s1, ino: undefined }),
    ]
    await hostClock.sleep(10)
    net.cut(server.port)
    for (const call of waiting) await expect(call).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(peer.closed).toBe(true)
    await expect(peer.call('statfs', { session: s1, ino: undefined })).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it('closes a half-open connection: a peer that stays silent although pinged', async () => {
    const net = new MemoryNet()
    const listener = await net.listen('m', 0, (transport) => {
      // Says hello and then never anything again.
      const splitter = new FrameSplitter()
      transport.onData((data) =>
        splitter.push(data, ({ kind, requestId }) => {
          if (kind !== 'request') return
          const body = pack(calls.hello.reply, hello)
          transport.send([encodeFrame({ kind: 'reply', callId: calls.hello.id, requestId, deadlineMs: 0 }, body, [])])
        }),
      )
    })
    const peer = await connectLink(net, 'm', listener.port, { ...base, hello, handlers: {}, silenceMs: 1_500 })
    const closed = new Promise<Error | undefined>((resolve) => peer.onClose(resolve))
    expect(await closed).toMatchObject({ code: 'ETIMEDOUT' })
  })

  it('says that it is there while it only receives, whether or not its own pings are answered', async () => {
    const { net, server } = await pair({})
    const raw = await net.connect('m', server.port)
    const splitter = new FrameSplitter()
    const frames: string[] = []
    raw.onData((data) => splitter.push(data, ({ kind }) => void frames.push(kind)))
    const frame = (kind: 'request' | 'cancel', body: Uint8Array) =>
      raw.send([encodeFrame({ kind, callId: calls.hello.id, requestId: 1, deadlineMs: 0 }, body, [])])
    frame('request', pack(calls.hello.request, hello))
    // Bulk without an end; a cancel of nothing is as good.
    const talking = setInterval(() => frame('cancel', Buffer.alloc(0)), 200)
    await expect.poll(() => frames, { timeout: 15_000 }).toContain('pong')
    clearInterval(talking)
    raw.close()
  })

  it('knows soon after the hello how long answers take, on both sides', async () => {
    const { peer, peers } = await pair({})
    for (const side of [peer, peers[0]!])
      await expect.poll(() => side.roundTrip.samples, { timeout: 10_000 }).toBeGreaterThanOrEqual(3)
    expect(peer.roundTrip.leastMs).toBeLessThan(1_000)
  })

  it('gives a call more time where the way is long, and tells the other side', async () => {
    let deadline = 0
    const { peer } = await pair({
      statfs: (_request, _bulk, context) => {
        deadline = (context as unknown as { deadline: number }).deadline - hostClock.monotonicMs()
        return { reply: space }
      },
    })
    for (let i = 0; i < 50; i++) peer.roundTrip.sample(hostClock.monotonicMs(), 1_000)
    await peer.call('statfs', { session: s1, ino: undefined }, { timeoutMs: 60_000 })
    expect(deadline).toBeGreaterThan(60_000 + 1_000)
  })

  it.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\nHost: holdfast\r\n\r\n'.repeat(3))],
    ['a header with a wrong checksum', Buffer.alloc(64, 7)],
    ['a frame that claims 4 GiB', hugeFrame()],
    [
      'a call before the hello',
      encodeFrame(
        { kind: 'request', callId: calls.statfs.id, requestId: 1, deadlineMs: 0 },
        Buffer.from([0x91, 1]),
        [],
      ),
    ],
    [
      'a body that is not msgpack',
      encodeFrame({ kind: 'request', callId: calls.hello.id, requestId: 1, deadlineMs: 0 }, Buffer.from([0xc1]), []),
    ],
    [
      'deeply nested lists',
      encodeFrame(
        { kind: 'request', callId: calls.hello.id, requestId: 1, deadlineMs: 0 },
        Buffer.alloc(1_000_000, 0x91),
        [],
      ),
    ],
  ])('closes the connection on %s and goes on serving others', async (_what, bytes) => {
    const { net, server, peer } = await pair({
      statfs: () => ({ reply: { totalBytes: 1, freeBytes: 1, availableBytes: 1, files: 1, filesFree: 1 } }),
    })
    const raw = await net.connect('m', server.port)
    const closed = new Promise<void>((resolve) => raw.onClose(() => resolve()))
    raw.onData(() => undefined)
    raw.send([bytes])
    await closed
    expect((await peer.call('statfs', { session: s1, ino: undefined })).reply.files).toBe(1)
  })
})

function hugeFrame(): Buffer {
  const frame = encodeFrame({ kind: 'request', callId: 1, requestId: 1, deadlineMs: 0 }, Buffer.alloc(0), [])
  // Lengths of 4 GiB with a correct header checksum: the lengths themselves must be refused.
  frame.writeUInt32LE(0xffff_ffff, 4)
  frame.writeUInt32LE(0xffff_ffff, 8)
  frame.writeUInt32LE(crc(frame.subarray(0, 28)), 28)
  return frame
}
