/*
 * A whole cluster in this process: the real master over the in-memory store, real chunkservers over in-memory disks, real
 * clients, and a network of function calls between them. No socket, no file, no thread; only the clock is real. Whatever
 * has a state of its own can be ended without goodbye and started again on what it had written.
 */

import { FsError, unwrap } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, type DiskId } from '../../src/base/ids.ts'
import type { Clock, Listener, Log, Random, World } from '../../src/base/world.ts'
import { ChunkStore } from '../../src/chunk/chunk-store.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { dataOrders } from '../../src/chunk/data-orders.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { MasterLink } from '../../src/chunk/master-link.ts'
import { Peers } from '../../src/chunk/peers.ts'
import { dataHandlers, orderHandlers } from '../../src/chunk/service.ts'
import { Ways } from '../../src/chunk/ways.ts'
import { Filesystem, type FilesystemOptions } from '../../src/client/filesystem.ts'
import { MetaFilesystem } from '../../src/client/meta-filesystem.ts'
import type { Command } from '../../src/master/core/commands.ts'
import { found } from '../../src/master/core/found.ts'
import type { ChunkRecord } from '../../src/master/core/records.ts'
import { State, transact } from '../../src/master/core/state.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'
import { Master } from '../../src/master/service.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import type { Peer } from '../../src/wire/peer.ts'
import { type CallName, type Hello, PROTOCOL_VERSION, type Reply, type Request } from '../../src/wire/protocol.ts'
import type { StatusReport } from '../../src/wire/reports.ts'
import type { DeclaredPlace } from '../../src/wire/shapes.ts'
import { MemoryDisk } from './memory-disk.ts'
import { type MemoryBranch, MemoryNet } from './memory-net.ts'
import { quietLog } from './quiet-log.ts'
import { realClock } from './real-clock.ts'

const CLUSTER = 'memory-cluster'
export const MASTER_PORT = 9460
const CHUNKSERVER_PORT = 9461

export interface MemoryClusterOptions {
  readonly chunkservers?: number
  readonly copies?: number
  readonly graceMs?: number
  readonly sessionTimeoutMs?: number
  readonly trashRetentionMs?: number
  readonly deadGraceMs?: number
  readonly log?: Log
  readonly clock?: Clock
  /** What the configuration of a chunkserver says of it. */
  readonly declaredOf?: (index: number) => Declared
  /** How much each disk has beside what it holds; without it, more than any test writes. */
  readonly roomBytes?: number
}

interface Declared {
  readonly place?: DeclaredPlace
  readonly labels?: readonly string[]
  readonly diskLabels?: readonly string[]
}

/** The same numbers for the same seed, so that a failure can be repeated. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0 || 1
  const next = (): number => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state
  }
  return {
    below: (n) => (n <= 1 ? 0 : next() % n),
    hex: (bytes) => Array.from({ length: bytes }, () => (next() & 0xff).toString(16).padStart(2, '0')).join(''),
  }
}

export class MemoryCluster {
  readonly net: MemoryNet = new MemoryNet()
  readonly #world: World
  readonly #options: Required<Omit<MemoryClusterOptions, 'log' | 'clock' | 'declaredOf' | 'roomBytes'>>
  readonly #store = new MemoryStore()
  #state: State
  #master: { master: Master; listener: Listener; stop: AbortController; work: Promise<void> } | undefined
  readonly #chunkservers: MemoryChunkserver[] = []
  readonly #clients: (Filesystem | MetaFilesystem)[] = []
  readonly #branches: MemoryBranch[] = []
  #admin: Peer | undefined
  #roomBytes: number | undefined

  private constructor(options: MemoryClusterOptions) {
    this.#state = new State(this.#store)
    const random = seededRandom(Math.floor(Math.random() * 2 ** 31))
    this.#world = { net: this.net, clock: options.clock ?? realClock, random, log: options.log ?? quietLog }
    this.#options = {
      chunkservers: options.chunkservers ?? 3,
      copies: options.copies ?? 2,
      graceMs: options.graceMs ?? 600_000,
      sessionTimeoutMs: options.sessionTimeoutMs ?? 30_000,
      trashRetentionMs: options.trashRetentionMs ?? 0,
      deadGraceMs: options.deadGraceMs ?? 0,
    }
  }

  static async start(options: MemoryClusterOptions = {}): Promise<MemoryCluster> {
    const cluster = new MemoryCluster(options)
    const { clock, random } = cluster.#world
    const { copies, graceMs, trashRetentionMs, sessionTimeoutMs } = cluster.#options
    const state = new State(cluster.#store)
    transact(cluster.#store, state, () =>
      found(state, {
        now: clock.now(),
        salt: [random.below(2 ** 31), random.below(2 ** 31)],
        settings: { copies, graceMs, trashRetentionMs, sessionTimeoutMs },
        uid: 0,
        gid: 0,
      }),
    )
    await cluster.startMaster()
    cluster.#roomBytes = options.roomBytes
    for (let i = 0; i < cluster.#options.chunkservers; i++) await cluster.addChunkserver(options.declaredOf?.(i))
    await cluster.until('all chunkservers are known', (status) =>
      cluster.#chunkservers.every((_, i) => status.nodes.some((node) => node.name === nameOf(i) && node.connected)),
    )
    return cluster
  }

  async addChunkserver(declared?: Declared): Promise<void> {
    const chunkserver = new MemoryChunkserver(this.#world, this.#chunkservers.length, declared)
    if (this.#roomBytes !== undefined)
      chunkserver.disk.spaceNow = { totalBytes: 2 * this.#roomBytes, availableBytes: this.#roomBytes }
    this.#chunkservers.push(chunkserver)
    await chunkserver.start()
  }

  async startMaster(): Promise<void> {
    const { clock, random, log } = this.#world
    this.#state = new State(this.#store)
    const master = new Master(
      this.#store,
      this.#state,
      clock,
      random,
      log.child({ component: 'master' }),
      (callback) => setImmediate(callback),
      {
        ...{ cluster: CLUSTER, version: 'test', heartbeatMs: 200, settleMs: 500 },
        ...{ deadGraceMs: this.#options.deadGraceMs, repairParallel: 4, repairBytesPerSecond: 0 },
        compactBelowPercent: 50,
      },
    )
    const listener = await serveLinks(this.net, 'memory', MASTER_PORT, {
      hello: { version: PROTOCOL_VERSION, cluster: CLUSTER, role: 'master', name: 'master' },
      handlers: master.handlers,
      clock,
      log,
    })
    const stop = new AbortController()
    this.#master = { master, listener, stop, work: master.work(stop.signal) }
  }

  /** Answers nobody any more from this moment on; what was committed stays. */
  async killMaster(): Promise<void> {
    const running = this.#master
    if (running === undefined) return
    this.#master = undefined
    this.#admin = undefined
    const closed = running.listener.close()
    this.net.cut(MASTER_PORT)
    await closed
    running.stop.abort()
    await running.work
    // What had arrived may still be carried out: its answer is lost, as after a kill between commit and reply.
    await running.master.loop.stop()
  }

  async restartMaster(): Promise<void> {
    await this.killMaster()
    await this.startMaster()
  }

  chunkserver(index: number): MemoryChunkserver {
    return this.#chunkservers[index]!
  }

  /** The connections of a client, in the order in which clients were made. */
  branch(client: number): MemoryBranch {
    return this.#branches[client]!
  }

  /** How many directories the master believes a client to hold. */
  heldBy(client: number): number {
    const { sessions, holdings } = this.#master!.master
    for (const session of sessions.all()) if (session.info.host === `client-${client}`) return holdings.heldBy(session)
    return 0
  }

  /** What the master keeps for sessions: inodes that it believes open, by session, and unlinked ones kept for them. */
  async kept(): Promise<{ opens: Record<number, number[]>; sustained: number }> {
    const opens: Record<number, number[]> = {}
    for (const { info, opens: of } of this.#master!.master.sessions.all())
      if (of === undefined || of.size > 0) opens[info.session] = [...(of ?? [-1])]
    return { opens, sustained: (await this.status()).sustained }
  }

  /** Every connection to the master breaks once; everybody dials again. */
  cutMaster(): void {
    this.#admin = undefined
    this.net.cut(MASTER_PORT)
  }

  async client(over: Partial<FilesystemOptions> = {}): Promise<Filesystem> {
    return this.#started((world) => new Filesystem(world, { ...this.#clientOptions(), ...over }))
  }

  /** What `mount --meta` serves. */
  async meta(): Promise<MetaFilesystem> {
    return this.#started((world) => new MetaFilesystem(world, this.#clientOptions()))
  }

  #clientOptions(): FilesystemOptions {
    return {
      master: { host: 'memory', port: MASTER_PORT },
      cluster: CLUSTER,
      hostName: `client-${this.#clients.length}`,
      mountpoint: '/memory',
      version: 'test',
      ownHost: 'elsewhere',
      onDisconnect: 'error',
      onDisconnectMs: 30_000,
      cacheBytes: 8 << 20,
      dirtyBytes: 16 << 20,
    }
  }

  async #started<F extends Filesystem | MetaFilesystem>(make: (world: World) => F): Promise<F> {
    const net = this.net.branch()
    const filesystem = make({ ...this.#world, net })
    await filesystem.start(10_000)
    this.#clients.push(filesystem)
    this.#branches.push(net)
    return filesystem
  }

  async call<C extends CallName>(name: C, request: Request<C>): Promise<Reply<C>> {
    if (this.#admin === undefined || this.#admin.closed)
      this.#admin = await connectLink(this.net, 'memory', MASTER_PORT, {
        hello: { version: PROTOCOL_VERSION, cluster: CLUSTER, role: 'admin', name: 'test' },
        handlers: {},
        clock: realClock,
        log: quietLog,
      })
    return (await this.#admin.call(name, request)).reply
  }

  status(): Promise<StatusReport> {
    return this.call('status', {})
  }

  /** A command of the master's own. */
  async command(command: Command): Promise<void> {
    await this.#master!.master.loop.command(() => ({ ok: command }))
  }

  /** What the master's state says of the chunks of a file. */
  chunks(path: string): Promise<{ id: ChunkId; record: ChunkRecord }[]> {
    return this.call('fileInfo', { path }).then(({ chunks }) =>
      chunks.map(({ chunk }) => {
        const id = chunkId(Number.parseInt(chunk, 16))
        return { id, record: this.record(id)! }
      }),
    )
  }
  record(chunk: ChunkId): ChunkRecord | undefined {
    return this.#state.chunk(chunk)
  }
  /** Which chunkserver has a disk. */
  holderOf(disk: DiskId): number {
    const name = this.#state.node(this.#state.disk(disk)!.node)!.name
    return this.#chunkservers.findIndex((_, i) => nameOf(i) === name)
  }

  /** Waits until the status says so; throws with the last one otherwise. */
  async until(what: string, is: (status: StatusReport) => boolean, withinMs = 20_000): Promise<StatusReport> {
    const deadline = realClock.monotonicMs() + withinMs
    for (;;) {
      const status = await this.status()
      if (is(status)) return status
      if (realClock.monotonicMs() > deadline) throw new Error(`not in time: ${what}: ${JSON.stringify(status)}`)
      await realClock.sleep(20)
    }
  }

  /** The walk of `holdfast check` over the metadata: what is wrong, in sentences. */
  async findings(): Promise<string[]> {
    const found: string[] = []
    let cursor = ''
    do {
      const page = await this.call('checkPage', { cursor, limit: 10_000 })
      found.push(...page.findings.map((finding) => `${finding.severity}: ${finding.what}`))
      cursor = page.cursor
    } while (cursor !== '')
    return found
  }

  async stop(): Promise<void> {
    try {
      for (const client of this.#clients) await client.close()
    } finally {
      for (const chunkserver of this.#chunkservers) await chunkserver.kill()
      await this.killMaster()
    }
  }
}

const nameOf = (index: number): string => `chunkserver-${index + 1}`

/** One chunkserver with one disk; the disk outlives it. */
export class MemoryChunkserver {
  readonly port: number
  /** Entries of inventories told to the master, ever. */
  told = 0
  readonly #world: World
  readonly #index: number
  readonly #declared: Declared
  #disk: MemoryDisk
  #uuid = ''
  #running:
    | { store: ChunkStore; listener: Listener; peers: Peers; stop: AbortController; work: Promise<void> }
    | undefined

  constructor(world: World, index: number, declared: Declared = {}) {
    this.#world = world
    this.#index = index
    this.#declared = declared
    this.port = CHUNKSERVER_PORT + index
    this.#disk = new MemoryDisk(`/disk-${index + 1}`)
  }

  /** The files of its disk, to be damaged. */
  get disk(): MemoryDisk {
    return this.#disk
  }

  async start(): Promise<void> {
    const { clock, random, net, log } = this.#world
    const name = nameOf(this.#index)
    const store = new ChunkStore()
    let link: MasterLink | undefined
    const { diskLabels, ...declared } = this.#declared
    const spec = {
      ...unwrap(parseDiskSpec(`${this.#disk.root} -0`)),
      ...(diskLabels === undefined ? {} : { labels: diskLabels }),
    }
    const disk = new Disk(
      this.#disk,
      spec,
      this.#uuid,
      CLUSTER,
      { clock, random, log: log.child({ component: name }) },
      {
        changed: () => link?.poke(),
        damaged: (where, chunk, blocks, detail) => link?.damaged({ disk: where, chunk, blocks, detail }),
      },
    )
    store.add(disk)
    await disk.attach()
    this.#uuid = disk.uuid
    const hello: Hello = { version: PROTOCOL_VERSION, cluster: CLUSTER, role: 'chunkserver', name }
    const stop = new AbortController()
    const { signal } = stop
    const dial = (host: string, port: number, handlers = {}): Promise<Peer> =>
      connectLink(net, host, port, { hello, handlers, clock, log, signal })
    const peers = new Peers((host, port) => dial(host, port))
    const refuse = async (): Promise<never> => {
      throw new FsError('EINVAL', 'one disk, for good')
    }
    const admin = { addDisk: refuse, removeDisk: refuse }
    const ways = new Ways(clock, log, { master: () => link?.registered })
    const orders = orderHandlers(store, dataOrders(store, peers, ways, clock, log), admin)
    const handlers = { ...dataHandlers(store, ways), orderVerify: orders.orderVerify }
    const listener = await serveLinks(net, 'memory', this.port, { hello, handlers, clock, log })
    const identity = { uuid: `uuid-${name}`, name, host: 'memory', port: this.port, version: 'test', ...declared }
    const dialMaster = async (): Promise<Peer> => this.#counting(await dial('memory', MASTER_PORT, orders))
    link = new MasterLink(store, dialMaster, identity, clock, random, log)
    this.#running = { store, listener, peers, stop, work: link.run(signal) }
  }

  /** Notes how much the master is told of what the disk holds. */
  #counting(peer: Peer): Peer {
    const call = peer.call.bind(peer)
    const counted: Peer['call'] = (name, request, options) => {
      if (name === 'inventory') this.told += (request as Request<'inventory'>).entries.length
      return call(name, request, options)
    }
    return Object.assign(peer, { call: counted })
  }

  /** Ends without goodbye. The disk is as a killed process leaves it. */
  async kill(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    const left = this.#disk.killed()
    this.#disk.dead = true
    this.#disk = left
    const closed = running.listener.close()
    ;(this.#world.net as MemoryNet).cut(this.port)
    running.stop.abort()
    await closed
    await running.peers.close()
    await running.work
  }

  async restart(): Promise<void> {
    await this.kill()
    await this.start()
  }
}
