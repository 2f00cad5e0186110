/*
 * What a call costs: the frame codec alone, and real connections to a second process: over the Unix socket on which
 * processes of one machine meet, and over TLS, as between nodes of a mesh (TCP on loopback).
 * Prints one JSON line per figure. Run: npx tsx bench/micro/wire.ts
 */

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Attr } from '../../src/base/attr.ts'
import { crc32 } from '../../src/base/checksum.ts'
import type { ChunkId, DiskId, Ino, SessionId } from '../../src/base/ids.ts'
import type { Net } from '../../src/base/world.ts'
import { makeAuthority, makeRequest, signRequest } from '../../src/host/certificates.ts'
import { hostClock } from '../../src/host/clock.ts'
import { hostLog } from '../../src/host/log.ts'
import { hostNet } from '../../src/host/net.ts'
import { IDENTITY_FILES, TlsNet } from '../../src/host/tls-net.ts'
import { pack, unpack } from '../../src/wire/codec.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import { encodeFrame, FrameSplitter } from '../../src/wire/frame.ts'
import type { Peer } from '../../src/wire/peer.ts'
import { calls, type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'

const hello: Hello = { version: PROTOCOL_VERSION, cluster: '', role: 'mount', name: 'bench' }
const log = hostLog({ component: 'bench', level: 'error' })
const options = { hello, clock: hostClock, log }
const MiB = 1024 * 1024
const time = { sec: 1, nsec: 1 }
const attr: Attr = {
  ino: 5 as Ino,
  type: 'file',
  mode: 0o644,
  nlink: 1,
  uid: 0,
  gid: 0,
  rdev: 0,
  size: 4096,
  used: 4096,
  atime: time,
  mtime: time,
  ctime: time,
  hasXattr: false,
  version: 3,
}

function say(what: string, value: number, unit: string): void {
  console.log(JSON.stringify({ bench: 'wire', what, value: Math.round(value), unit }))
}

function rate(what: string, unit: string, count: number, body: () => void): void {
  for (let i = 0; i < count / 10; i++) body()
  const start = performance.now()
  for (let i = 0; i < count; i++) body()
  say(what, (count / (performance.now() - start)) * 1000, unit)
}

async function concurrent(
  what: string,
  unit: string,
  jobs: number,
  count: number,
  body: () => Promise<unknown>,
): Promise<void> {
  let left = count
  const start = performance.now()
  await Promise.all(
    Array.from({ length: jobs }, async () => {
      while (left-- > 0) await body()
    }),
  )
  say(`${what}, ${jobs} in flight`, (count / (performance.now() - start)) * 1000, unit)
}

/** An authority of its own and one node, made by the first of the two processes; each has sockets of its own, so none meet there. */
const secured = (dir: string, who: string): Net => new TlsNet(join(dir, 'node'), join(dir, who), hostClock, log)

if (process.argv[2] === 'serve') {
  const block = Buffer.alloc(MiB)
  const net = process.argv[3] === undefined ? hostNet : secured(process.argv[3], 'server')
  const listener = await serveLinks(net, '127.0.0.1', 0, {
    ...options,
    handlers: {
      getattr: () => ({ reply: attr }),
      read: (request) => ({ reply: {}, bulk: [block.subarray(0, request.length)] }),
      append: (_request, bulk) => ({ reply: { length: bulk.length } }),
    },
  })
  process.stdout.write(`${listener.port}\n`)
} else {
  const body = pack(calls.getattr.reply, attr)
  rate('encode an attr reply', 'frames/s', 300_000, () => {
    encodeFrame({ kind: 'reply', callId: 21, requestId: 1, deadlineMs: 0 }, pack(calls.getattr.reply, attr), [])
  })
  const frame = encodeFrame({ kind: 'reply', callId: 21, requestId: 1, deadlineMs: 0 }, body, [])
  const splitter = new FrameSplitter()
  rate('decode an attr reply', 'frames/s', 300_000, () => {
    splitter.push(frame, (got) => unpack(calls.getattr.reply, got.body, 'getattr'))
  })
  const block = Buffer.alloc(64 * 1024, 7)
  rate('CRC-32 of 64 KiB', 'blocks/s (×64 KiB)', 50_000, () => crc32(block))

  await calling('a Unix socket', hostNet)
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-bench-tls-'))
  try {
    const authority = await makeAuthority('bench')
    const { request, key } = await makeRequest('node')
    const identity = { cluster: 'bench', node: 'node', roles: ['mount'] }
    mkdirSync(join(dir, 'node'))
    const write = (file: string, text: string): void => writeFileSync(join(dir, 'node', file), text, { mode: 0o600 })
    write(IDENTITY_FILES.authority, authority.certificate)
    write(IDENTITY_FILES.certificate, await signRequest(authority, request, identity, ['127.0.0.1']))
    write(IDENTITY_FILES.key, key)
    await calling('TLS', secured(dir, 'client'), dir)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  process.exit(0)
}

async function calling(over: string, net: Net, ...args: string[]): Promise<void> {
  const server = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), 'serve', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const port = await new Promise<number>((resolve) => server.stdout.once('data', (data) => resolve(Number(data))))
  const connect = (): Promise<Peer> => connectLink(net, '127.0.0.1', port, { ...options, handlers: {} })
  const peer = await connect()
  const ids = { disk: 1 as DiskId, chunk: 1 as ChunkId, offset: 0 }
  for (const jobs of [1, 8, 64])
    await concurrent(`getattr over ${over}`, 'calls/s', jobs, 20_000, () =>
      peer.call('getattr', { session: 1 as SessionId, ino: 5 as Ino }),
    )
  for (const jobs of [1, 4]) {
    await concurrent(`read of 1 MiB over ${over}`, 'MiB/s', jobs, 1_000, () =>
      peer.call('read', { ...ids, length: MiB }),
    )
    const data = Buffer.alloc(MiB)
    await concurrent(`append of 1 MiB over ${over}`, 'MiB/s', jobs, 1_000, () =>
      peer.call('append', { ...ids, create: false, sync: false }, { bulk: [data] }),
    )
  }
  await concurrent(`connections made over ${over}`, 'a second', 4, 200, async () => (await connect()).close())
  peer.close()
  server.kill()
}
