/*
 * A chunkserver whose disks hang: disk.json is a FIFO that nobody writes to, so opening it takes a thread and does not give it
 * back. More of them than libuv has threads by default, beside one good disk, against a master that only takes notes.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { chunkId, diskId, nodeId } from '../../src/base/ids.ts'
import type { Listener } from '../../src/base/world.ts'
import { configToml } from '../../src/config/write.ts'
import { hostClock } from '../../src/host/clock.ts'
import { hostNet } from '../../src/host/net.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import type { Handlers } from '../../src/wire/peer.ts'
import { type Hello, PROTOCOL_VERSION, type Request } from '../../src/wire/protocol.ts'
import { silentLog } from '../support/manual-clock.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/holdfast', import.meta.url))
const HANGING = 5
const hello = (role: Hello['role']): Hello => ({ version: PROTOCOL_VERSION, cluster: 'c1', role, name: role })

let root: string
let master: Listener
let child: ChildProcess
let registered: Request<'nodeRegister'> | undefined
let heartbeats: number

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-hung-'))
  registered = undefined
  heartbeats = 0
  const handlers: Handlers<'nodeRegister' | 'nodeHeartbeat' | 'inventory' | 'damaged'> = {
    nodeRegister: (request) => {
      registered = request
      const disks = request.disks.map(({ uuid }, i) => ({ uuid, disk: diskId(i + 1), knownSeq: 0 }))
      return { reply: { node: nodeId(1), disks, heartbeatMs: 100 } }
    },
    nodeHeartbeat: () => {
      heartbeats++
      return { reply: {} }
    },
    inventory: () => ({ reply: { unwanted: [] } }),
    damaged: () => ({ reply: {} }),
  }
  master = await serveLinks(hostNet, '127.0.0.1', 0, {
    hello: hello('master'),
    handlers,
    clock: hostClock,
    log: silentLog,
  })
})

afterEach(async () => {
  // What hangs in a thread keeps even process.exit() waiting, and only this ends it.
  const gone = new Promise((done) => child.once('exit', done))
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL')
    await gone
  }
  await master.close()
  await rm(root, { recursive: true, force: true })
})

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1500; i++) {
    if (condition()) return
    await hostClock.sleep(20)
  }
  throw new Error(`waited in vain for: ${what}`)
}

test('disks that hang stall neither the start nor the good disk beside them', async () => {
  const hanging = Array.from({ length: HANGING }, (_, i) => join(root, `hangs-${i}`))
  for (const path of hanging) {
    await mkdir(path)
    execFileSync('mkfifo', [join(path, 'disk.json')])
  }
  const file = join(root, 'chunkserver.toml')
  const settings = {
    name: 'cs',
    dataDir: join(root, 'cs'),
    disks: [...hanging, `${join(root, 'good')} =`],
    listenPort: 0,
    masterPort: master.port,
  }
  await writeFile(file, configToml('chunkserver', settings))
  child = spawn(process.execPath, [PROGRAM, 'run', 'chunkserver', '--config', file], { stdio: 'ignore' })
  await until('registration of the good disk', () => registered !== undefined && registered.disks.length > 0)
  expect(registered!.disks).toMatchObject([{ path: join(root, 'good'), state: 'ok' }])
  const peer = await connectLink(hostNet, '127.0.0.1', registered!.port, {
    hello: hello('mount'),
    handlers: {},
    clock: hostClock,
    log: silentLog,
  })
  // Too much for the synchronous way, and synced: both need threads.
  const bulk = Buffer.alloc(1024 * 1024, 7)
  const where = { disk: diskId(1), chunk: chunkId(1), offset: 0 }
  const { reply } = await peer.call('append', { ...where, create: true, sync: true }, { bulk: [bulk] })
  expect(reply.length).toBe(bulk.length)
  const read = await peer.call('read', { ...where, length: bulk.length })
  expect(read.bulk.equals(bulk)).toBe(true)
  const before = heartbeats
  await until('heartbeats', () => heartbeats > before + 3)
  peer.close()
}, 60_000)
