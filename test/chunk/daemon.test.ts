/* The chunkserver as it runs, over real sockets and directories, against a master that only takes notes. */

import { mkdtemp, readdir, rename, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { chunkId, diskId, nodeId } from '../../src/base/ids.ts'
import type { Listener, World } from '../../src/base/world.ts'
import { run } from '../../src/chunk/daemon.ts'
import type { ChunkserverConfig } from '../../src/config/tables.ts'
import { hostClock, hostRandom } from '../../src/host/clock.ts'
import { hostNet } from '../../src/host/net.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import type { Handlers, Peer } from '../../src/wire/peer.ts'
import { type Hello, PROTOCOL_VERSION, type Request } from '../../src/wire/protocol.ts'
import type { DiskState, InventoryEntry } from '../../src/wire/shapes.ts'
import { silentLog } from '../support/manual-clock.ts'

const world: World = { clock: hostClock, random: hostRandom, net: hostNet, log: silentLog }
const hello = (role: Hello['role']): Hello => ({ version: PROTOCOL_VERSION, cluster: 'c1', role, name: role })

/** Remembers what it is told; numbers disks in the order they come. */
class NoteTaker {
  listener!: Listener
  node: Peer | undefined
  registered: Request<'nodeRegister'>[] = []
  heartbeats = 0
  /** Heartbeats to answer with ESTALE. */
  stale = 0
  disks = new Map<string, DiskState>()
  pages: Request<'inventory'>[] = []
  damaged: Request<'damaged'>[] = []
  unwanted = new Set<number>()
  knownSeq = new Map<number, number>()
  readonly #numbers = new Map<string, number>()

  async listen(port = 0): Promise<this> {
    const handlers: Handlers<'nodeRegister' | 'nodeHeartbeat' | 'inventory' | 'damaged'> = {
      nodeRegister: (request, _bulk, { peer }) => {
        this.node = peer
        this.registered.push(request)
        const disks = request.disks.map(({ uuid }) => {
          const n = this.#numbers.get(uuid) ?? this.#numbers.size + 1
          this.#numbers.set(uuid, n)
          return { uuid, disk: diskId(n), knownSeq: this.knownSeq.get(n) ?? 0 }
        })
        return { reply: { node: nodeId(1), disks, heartbeatMs: 100 } }
      },
      nodeHeartbeat: ({ disks }) => {
        if (this.stale > 0) {
          this.stale--
          throw new FsError('ESTALE', 'register again')
        }
        this.heartbeats++
        for (const disk of disks) this.disks.set(disk.path, disk)
        return { reply: {} }
      },
      inventory: (page) => {
        this.pages.push(page)
        this.knownSeq.set(page.disk, page.seq)
        return {
          reply: { unwanted: page.entries.map(({ chunk }) => chunk).filter((chunk) => this.unwanted.has(chunk)) },
        }
      },
      damaged: (report) => {
        this.damaged.push(report)
        return { reply: {} }
      },
    }
    this.listener = await serveLinks(hostNet, '127.0.0.1', port, {
      hello: hello('master'),
      handlers,
      clock: hostClock,
      log: silentLog,
    })
    return this
  }
  entries(): InventoryEntry[] {
    return this.pages.flatMap((page) => page.entries)
  }
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return
    await hostClock.sleep(20)
  }
  throw new Error(`waited in vain for: ${what}`)
}

let root: string
let master: NoteTaker
let stop: AbortController
let running: Promise<void>
const config = (): ChunkserverConfig => ({
  cluster: { id: '', identityDir: '', runDir: '', trustNetwork: false },
  log: { level: 'error', file: '' },
  name: 'cs',
  dataDir: join(root, 'cs'),
  disks: [join(root, 'd1'), `${join(root, 'd2')} =`],
  listenHost: '127.0.0.1',
  listenPort: 0,
  advertiseHost: '',
  masterHost: '127.0.0.1',
  masterPort: master.listener.port,
  labels: ['h', 'usb-backup'],
  rack: 'r1',
  site: 's1',
  machine: '',
  leaveFreeBytes: 0,
  connections: 0,
  scrubDays: 30,
})
const start = () => {
  stop = new AbortController()
  running = run(config(), world, stop.signal)
}
const end = async () => {
  stop.abort()
  await running
}
const data = async (): Promise<Peer> =>
  connectLink(hostNet, '127.0.0.1', master.registered.at(-1)!.port, {
    hello: hello('mount'),
    handlers: {},
    clock: hostClock,
    log: silentLog,
  })

const D1 = diskId(1)
const D2 = diskId(2)
const A = chunkId(0xa1)
const B = chunkId(0xb2)
const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 9)) & 0xff))

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-cs-'))
  master = await new NoteTaker().listen()
  start()
  await until('registration', () => master.heartbeats > 0)
})
afterEach(async () => {
  await end()
  await master.listener.close()
  await rm(root, { recursive: true, force: true })
})

describe('a chunkserver', () => {
  test('takes data, syncs it, seals it, copies it between its disks, verifies and deletes it', async () => {
    const peer = await data()
    const { reply } = await peer.call(
      'append',
      { disk: D1, chunk: A, offset: 0, create: true, sync: true },
      { bulk: [bytes] },
    )
    expect(reply.length).toBe(300_000)
    const { bulk } = await peer.call('read', { disk: D1, chunk: A, offset: 1000, length: 200_000 })
    expect(bulk.equals(bytes.subarray(1000, 201_000))).toBe(true)
    await expect(
      peer.call('append', { disk: D1, chunk: A, offset: 300_001, create: false, sync: false }, { bulk: [bytes] }),
    ).rejects.toMatchObject({ code: 'ERANGE' })
    await expect(peer.call('read', { disk: diskId(9), chunk: A, offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'ENODEV',
    })
    const orders = master.node!
    const sealed = await orders.call('orderSeal', { disk: D1, chunk: A, length: 299_000 })
    const source = { disk: D1, node: nodeId(1), host: '127.0.0.1', port: master.registered[0]!.port }
    const copied = await orders.call('orderCopy', {
      disk: D2,
      chunk: A,
      length: 299_000,
      sources: [source],
      bytesPerSecond: 0,
      urgent: undefined,
    })
    expect(copied.reply.bytes).toBe(299_000)
    expect((await orders.call('orderSeal', { disk: D2, chunk: A, length: 299_000 })).reply).toEqual(sealed.reply)
    const verified = await orders.call('orderVerify', { disk: D2, chunks: [A, B], deep: true })
    expect(verified.reply.chunks).toEqual([
      { chunk: A, state: 'sealed', length: 299_000 },
      { chunk: B, state: 'gone', length: 0 },
    ])
    await orders.call('orderDelete', { disk: D1, chunks: [A, B] })
    await expect(peer.call('read', { disk: D1, chunk: A, offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'ENOENT',
    })
    await until('the inventory', () => master.entries().some((entry) => entry.chunk === A && entry.state === 'gone'))
    peer.close()
  })

  test('finds everything again after a restart, tells only what the master does not know, and deletes what it does not want', async () => {
    const peer = await data()
    await peer.call('append', { disk: D1, chunk: A, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    await peer.call('append', { disk: D1, chunk: B, offset: 0, create: true, sync: false }, { bulk: [bytes] })
    await until('the inventory', () => master.entries().length >= 2)
    await end()
    const before = master.registered[0]!.uuid
    master.pages = []
    master.heartbeats = 0
    start()
    await until('registration', () => master.heartbeats > 1)
    expect(master.registered.at(-1)!.uuid).toBe(before)
    expect(master.entries()).toEqual([])
    const again = await data()
    expect((await again.call('read', { disk: D1, chunk: B, offset: 0, length: 300_000 })).bulk.equals(bytes)).toBe(true)
    master.unwanted.add(A)
    master.knownSeq.clear()
    master.node!.close()
    await until('the full inventory', () => master.pages.some((page) => page.full && page.disk === D1))
    await until('the deletion', async () => {
      const { reply } = await master.node!.call('orderVerify', { disk: D1, chunks: [A], deep: false })
      return reply.chunks[0]!.state === 'gone'
    })
    again.close()
  })

  test('lives on when a disk is deleted under it, reports it, and takes it back when it is there again', async () => {
    const peer = await data()
    await peer.call('append', { disk: D1, chunk: A, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    await peer.call('append', { disk: D2, chunk: B, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    await rename(join(root, 'd1'), join(root, 'unplugged'))
    await until('the report', () => master.disks.get(join(root, 'd1'))?.state === 'gone')
    await expect(peer.call('read', { disk: D1, chunk: A, offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'ENODEV',
    })
    await expect(
      peer.call('append', { disk: D1, chunk: chunkId(3), offset: 0, create: true, sync: true }, { bulk: [bytes] }),
    ).rejects.toMatchObject({ code: 'ENODEV' })
    expect(
      (await peer.call('read', { disk: D2, chunk: B, offset: 0, length: 10 })).bulk.equals(bytes.subarray(0, 10)),
    ).toBe(true)
    await rename(join(root, 'unplugged'), join(root, 'd1'))
    await until('its return', () => master.disks.get(join(root, 'd1'))?.state === 'ok')
    expect(
      (await peer.call('read', { disk: D1, chunk: A, offset: 0, length: 10 })).bulk.equals(bytes.subarray(0, 10)),
    ).toBe(true)
    peer.close()
  }, 30_000)

  test('adds a disk while running and remembers it; a removed one is left alone', async () => {
    const orders = master.node!
    const path = join(root, 'd3')
    const { uuid } = (await orders.call('orderDiskAdd', { spec: `${path} 10GiB` })).reply
    await expect(orders.call('orderDiskAdd', { spec: path })).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(orders.call('orderDiskAdd', { spec: 'd4 oops' })).rejects.toMatchObject({ code: 'EINVAL' })
    await until('its registration', () => master.disks.has(path))
    expect(master.disks.get(path)!.uuid).toBe(uuid)
    await orders.call('orderDiskRemove', { disk: D2 })
    expect(await readdir(join(root, 'd2'))).toContain('disk.json')
    await end()
    master.registered = []
    start()
    await until('registration', () => master.registered.length > 0)
    expect(master.registered[0]!.disks.map((disk) => disk.path).sort()).toEqual([join(root, 'd1'), path])
  })

  test('is refused a second time on the same data directory', async () => {
    await expect(run(config(), world, new AbortController().signal)).rejects.toMatchObject({ code: 'EBUSY' })
  })

  test('registers again on the same connection when the master does not know it, and says all it holds when asked', async () => {
    const peer = await data()
    await peer.call('append', { disk: D1, chunk: A, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    await until('the inventory', () => master.entries().some((entry) => entry.chunk === A))
    const connection = master.node
    master.registered = []
    master.pages = []
    master.knownSeq.clear()
    master.stale = 1
    await until('the registration', () => master.registered.length > 0)
    await until('the full inventory', () =>
      master.pages.some((page) => page.full && page.entries.some((entry) => entry.chunk === A)),
    )
    expect(master.registered).toHaveLength(1)
    expect(master.node).toBe(connection)
    // A master that goes on refusing gets a new connection, after a pause.
    master.stale = 10
    await until('a new connection', () => master.node !== connection && master.stale === 0)
    const before = master.heartbeats
    await until('a heartbeat', () => master.heartbeats > before)
    peer.close()
  })

  test('tells a new master of the damage that it knows of, and mends a copy without being told the blocks', async () => {
    const peer = await data()
    await peer.call('append', { disk: D1, chunk: A, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    await peer.call('append', { disk: D2, chunk: A, offset: 0, create: true, sync: true }, { bulk: [bytes] })
    const seal = { chunk: A, length: bytes.length }
    await master.node!.call('orderSeal', { disk: D1, ...seal })
    await master.node!.call('orderSeal', { disk: D2, ...seal })
    const dir = join(root, 'd1', 'chunks', (A % 256).toString(16).padStart(2, '0'))
    const [name] = (await readdir(dir)).filter((one) => one.endsWith('.chunk'))
    const path = join(dir, name!)
    const { size } = await stat(path)
    await truncate(path, Math.floor(size / 2))
    await master.node!.call('orderVerify', { disk: D1, chunks: [A], deep: true })
    await until('the report', () => master.damaged.length > 0)
    master.damaged = []
    await end()
    start()
    await until('the report again', () => master.damaged.some((report) => report.chunk === A))
    const source = { disk: D2, node: nodeId(1), host: '127.0.0.1', port: master.registered.at(-1)!.port }
    const order = {
      disk: D1,
      chunk: A,
      blocks: [],
      sources: [source],
      whole: undefined,
      index: undefined,
      urgent: undefined,
      bytesPerSecond: undefined,
    }
    await master.node!.call('orderRepair', order)
    const { reply } = await master.node!.call('orderVerify', { disk: D1, chunks: [A], deep: true })
    expect(reply.chunks[0]).toMatchObject({ state: 'sealed', length: bytes.length })
    peer.close()
  })

  test('comes back to a master that was restarted', async () => {
    const { port } = master.listener
    await master.listener.close()
    master.heartbeats = 0
    await master.listen(port)
    await until('the heartbeat', () => master.heartbeats > 0)
    expect(master.registered.length).toBe(2)
  })
})
