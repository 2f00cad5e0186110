/*
 * One node pair's link over a real line, run in a node's namespace.
 *
 *   serve HOST                                   answers `fetch` and `append` from memory: {port}
 *   pull HOST PORT CONNECTIONS BYTES RANGE WIDTH fetches so many bytes in ranges, as many under way: {seconds, mbit, connections}
 *   push HOST PORT CONNECTIONS BYTES RANGE WIDTH appends them, in one order
 */

import { crc32 } from '../../src/base/checksum.ts'
import { FsError } from '../../src/base/fault.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { pipelined } from '../../src/chunk/pipeline.ts'
import { hostClock } from '../../src/host/clock.ts'
import { hostNet } from '../../src/host/net.ts'
import { connectBundle, serveLinks } from '../../src/wire/connect.ts'
import { PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { quietLog } from '../support/quiet-log.ts'

const [mode, host = '', ...rest] = process.argv.slice(2)
const say = (words: object): void => void process.stdout.write(`${JSON.stringify(words)}\n`)
const clock = hostClock
const log = process.env.LINKS_VERBOSE
  ? {
      ...quietLog,
      debug: (fields: object, message: string) =>
        process.stderr.write(`${clock.monotonicMs() | 0} ${message} ${JSON.stringify(fields)}\n`),
    }
  : quietLog
const hello = { version: PROTOCOL_VERSION, cluster: 'links', role: 'chunkserver' as const, name: 'link' }

async function serve(): Promise<void> {
  const block = Buffer.alloc(BLOCK_BYTES, 7)
  const crc = crc32(block)
  let length = 0
  const listener = await serveLinks(hostNet, host, 0, {
    ...{ hello, clock, log },
    handlers: {
      fetch: ({ count }) => ({
        reply: { length: 64 * 1024 * 1024, sealed: true, crcs: Array.from({ length: count }, () => crc) },
        bulk: Array.from({ length: count }, () => block),
      }),
      append: ({ offset, create }, bulk) => {
        if (create) length = 0
        if (offset > length) throw new FsError('ERANGE', `${offset} is beyond ${length}`)
        length = Math.max(length, offset + bulk.length)
        return { reply: { length } }
      },
    },
  })
  say({ port: listener.port })
  for await (const _ of process.stdin);
  process.exit(0)
}

async function move(port: number, connections: number, bytes: number, range: number, width: number): Promise<void> {
  const peer = await connectBundle(hostNet, host, port, { ...{ hello, clock, log, connections }, handlers: {} })
  const startedMs = clock.monotonicMs()
  const data = Buffer.alloc(range, 7)
  let next = 0
  let moved = 0
  let most = 1
  const disk = 1 as never
  const chunk = 1 as never
  const one = async (offset: number): Promise<number> => {
    if (mode === 'push') {
      const { reply } = await peer.call(
        'append',
        { disk, chunk, offset, create: offset === 0, sync: false },
        { bulk: [data], order: 1, timeoutMs: 30_000 },
      )
      return Math.min(reply.length, range)
    }
    const count = range / BLOCK_BYTES
    const block = (offset / BLOCK_BYTES) % 1024
    const { bulk } = await peer.call('fetch', { disk, chunk, block, count }, { answerBytes: range, timeoutMs: 30_000 })
    return bulk.length
  }
  await pipelined(
    width,
    () => {
      if (next >= bytes) return undefined
      const offset = next
      next += range
      return one(offset)
    },
    (got) => {
      moved += got
      most = Math.max(most, peer.connections)
    },
  )
  const seconds = (clock.monotonicMs() - startedMs) / 1000
  const { srttMs, leastMs } = peer.roundTrip
  say({ seconds, mbit: (moved * 8) / seconds / 1e6, connections: most, srttMs, leastMs })
  process.exit(0)
}

const [port = 0, connections = 0, bytes = 0, range = 0, width = 0] = rest.map(Number)
if (mode === 'serve') await serve()
else if (mode === 'pull' || mode === 'push') await move(port, connections, bytes, range, width)
else throw new Error(`no program "${mode}"`)
