/*
 * The chunkserver process: who it is, its disks, its data port, its link to the master, its background work. Everything it
 * does is elsewhere; this file starts it in order and stops it in the opposite one.
 *
 * `node.json` in the data directory holds what must outlive the process: the identity, which disk was last seen at which
 * path (so that an unmounted disk is not taken for a new one), and disks that were added while running.
 *
 * At the end nothing is waited for but what was begun: appends that were answered without a sync are in the page cache.
 */

import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { errnoOf, FsError, isRefusal, unwrap } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import { Worker } from '../base/worker.ts'
import type { World } from '../base/world.ts'
import { diskLine } from '../config/rows.ts'
import { AGENT_PORT, type ChunkserverConfig } from '../config/tables.ts'
import { poolThreads } from '../host/thread-pool.ts'
import { version } from '../host/version.ts'
import { labelNames } from '../topology/label-names.ts'
import { connectBundle, connectLink, serveLinks } from '../wire/connect.ts'
import type { Peer } from '../wire/peer.ts'
import { type Hello, PROTOCOL_VERSION } from '../wire/protocol.ts'
import { ChunkStore } from './chunk-store.ts'
import { parseDiskSpec } from './core/disk-spec.ts'
import { dataOrders } from './data-orders.ts'
import { Disk, type DiskEvents } from './disk.ts'
import { RealDiskIo } from './disk-io.ts'
import { DISK_THREADS } from './disk-threads.ts'
import { MasterLink } from './master-link.ts'
import { patiently } from './patience.ts'
import { Peers } from './peers.ts'
import { Scrubber } from './scrubber.ts'
import { dataHandlers, orderHandlers } from './service.ts'
import { Ways } from './ways.ts'

/** How often every disk is looked at: a full, vanished or read-only disk is known within this. */
const PROBE_MS = 1_000

/** Disks are read through at the start; what is not ready after this long is told to the master when it is. */
const ATTACH_WAIT_MS = 5_000

/** A disk that hangs keeps nobody from removing it or ending the process; what was acknowledged as durable is. */
const CLOSE_WAIT_MS = 5_000

interface NodeFile {
  uuid: string
  /** uuid of the disk by its path. */
  disks: Record<string, string>
  /** Spec lines of disks that were added by order. */
  added: string[]
  /** Paths of disks that were removed by order, though the configuration still names them. */
  removed: string[]
}

async function readNode(file: string): Promise<NodeFile | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const raw = JSON.parse(text) as Partial<NodeFile>
    if (typeof raw.uuid !== 'string' || raw.uuid === '') throw new FsError('EINVAL', `${file} has no uuid`)
    return { uuid: raw.uuid, disks: raw.disks ?? {}, added: raw.added ?? [], removed: raw.removed ?? [] }
  } catch (error) {
    if (error instanceof FsError) throw error
    throw new FsError('EINVAL', `${file} cannot be read; restore it, or the master takes this for a new chunkserver`, {
      cause: error,
    })
  }
}

async function writeNode(file: string, node: NodeFile): Promise<void> {
  const made = await open(`${file}.new`, 'w', 0o600)
  try {
    await made.writeFile(`${JSON.stringify(node, null, 2)}\n`)
    await made.sync()
  } finally {
    await made.close()
  }
  await rename(`${file}.new`, file)
  const dir = await open(dirname(file), 'r')
  try {
    await dir.sync()
  } finally {
    await dir.close()
  }
}

function labelsFrom(names: readonly string[], key: string): string[] {
  const labels = labelNames(names)
  if (isRefusal(labels)) throw new FsError(labels.errno, `configuration of the chunkserver, ${key}: ${labels.detail}`)
  return labels.ok
}

export async function run(config: ChunkserverConfig, world: World, signal: AbortSignal): Promise<void> {
  const { clock, random, net } = world
  const log = world.log.child({ component: 'chunkserver' })
  await mkdir(config.dataDir, { recursive: true })
  const nodePath = join(config.dataDir, 'node.json')
  const node = (await readNode(nodePath)) ?? { uuid: random.hex(16), disks: {}, added: [], removed: [] }
  await writeNode(nodePath, node)
  const labels = labelsFrom(config.labels, 'labels')
  const unlock = await new RealDiskIo(config.dataDir).lock(`node-${node.uuid}`)

  const store = new ChunkStore()
  let master: MasterLink | undefined
  const workers = new Map<Disk, { worker: Worker; scrubber: Scrubber; stop: AbortController; done: Promise<void> }>()
  const events: DiskEvents = {
    changed: () => master?.poke(),
    damaged: (disk, chunk, blocks, detail) => master?.damaged({ disk, chunk, blocks, detail }),
  }
  const make = (line: string, names: readonly string[] = []): Disk => {
    const spec = {
      ...unwrap(parseDiskSpec(line, config.leaveFreeBytes)),
      ...(names.length === 0 ? {} : { labels: labelsFrom(names, `labels of "${line}"`) }),
    }
    return new Disk(
      new RealDiskIo(spec.path),
      spec,
      node.disks[spec.path] ?? '',
      config.cluster.id,
      { clock, random, log },
      events,
    )
  }
  const remember = async (): Promise<void> => {
    let news = false
    for (const disk of store.disks) {
      if (disk.uuid === '' || node.disks[disk.spec.path] === disk.uuid) continue
      node.disks[disk.spec.path] = disk.uuid
      news = true
    }
    if (news) await writeNode(nodePath, node)
  }
  const scrub = (disk: Disk): void => {
    if (config.scrubDays === 0) return
    const scrubber = new Scrubber(disk, clock, { days: config.scrubDays })
    const worker = new Worker(`scrub ${disk.spec.path}`, scrubber, clock, log)
    const stop = new AbortController()
    const done = worker.run(AbortSignal.any([signal, stop.signal]))
    workers.set(disk, { worker, scrubber, stop, done })
  }
  const stopScrub = async (disk: Disk): Promise<void> => {
    const running = workers.get(disk)
    if (running === undefined) return
    workers.delete(disk)
    running.stop.abort()
    await running.done
    await running.scrubber.save()
  }

  const close = async (disk: Disk): Promise<void> => {
    const closing = stopScrub(disk).then(() => disk.close())
    await patiently(clock, CLOSE_WAIT_MS, closing)
  }
  const attach = async (disk: Disk): Promise<void> => {
    try {
      await disk.attach()
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      log.error({ disk: disk.spec.path, error: error.message }, 'a disk cannot be used; it is tried again until it can')
    }
  }
  for (const entry of [...config.disks, ...node.added]) {
    const disk = typeof entry === 'string' ? make(entry) : make(entry.disk, entry.labels)
    if (node.removed.includes(disk.spec.path) || store.disks.some((other) => other.spec.path === disk.spec.path))
      continue
    store.add(disk)
  }
  const threads = poolThreads()
  if (store.disks.length > 1 && threads < 2 * DISK_THREADS)
    log.warn(
      { threads, disks: store.disks.length },
      'too few threads: a disk that hangs may stall the others; start through bin/holdfast, or set UV_THREADPOOL_SIZE',
    )
  // One that hangs is not waited for: it comes, or is given up, while the others are in use.
  await patiently(clock, ATTACH_WAIT_MS, Promise.all(store.disks.map(attach)))
  await remember()
  for (const disk of store.disks) scrub(disk)

  const admin = {
    addDisk: async (line: string): Promise<string> => {
      const disk = make(line)
      if (store.disks.some((other) => other.spec.path === disk.spec.path))
        throw new FsError('EEXIST', `${disk.spec.path} is already in use`)
      await disk.attach()
      store.add(disk)
      node.removed = node.removed.filter((path) => path !== disk.spec.path)
      if (!config.disks.some((entry) => diskLine(entry) === line)) node.added.push(line)
      node.disks[disk.spec.path] = disk.uuid
      await writeNode(nodePath, node)
      scrub(disk)
      master?.poke()
      return disk.uuid
    },
    removeDisk: async (id: DiskId): Promise<void> => {
      const disk = store.get(id)
      store.remove(disk)
      await close(disk)
      const { path } = disk.spec
      node.added = node.added.filter((line) => unwrap(parseDiskSpec(line)).path !== path)
      if (!node.removed.includes(path)) node.removed.push(path)
      // A uuid is kept only for a place that is in use: the operator may put another disk there.
      delete node.disks[path]
      await writeNode(nodePath, node)
      master?.poke()
    },
  }

  const name = config.name === '' ? hostname() : config.name
  const { machine, rack, site } = config
  const hello = (): Hello => ({
    version: PROTOCOL_VERSION,
    cluster: master === undefined || master.cluster === '' ? config.cluster.id : master.cluster,
    role: 'chunkserver',
    name,
  })
  const peers = new Peers((host, port) =>
    connectBundle(net, host, port, {
      ...{ hello: hello(), handlers: {}, clock, log, signal },
      connections: config.connections,
    }),
  )
  const host = config.advertiseHost === '' ? config.listenHost : config.advertiseHost
  const ways = new Ways(clock, log, {
    master: () => master?.registered,
    // Of this node, which has proved who it is at the address that this listens on.
    ...(config.cluster.identityDir === ''
      ? {}
      : { agent: () => connectLink(net, host, AGENT_PORT, { hello: hello(), handlers: {}, clock, log, signal }) }),
  })
  const handlers = orderHandlers(store, dataOrders(store, peers, ways, clock, log), admin)
  const listener = await serveLinks(net, config.listenHost, config.listenPort, {
    hello: hello(),
    // orderVerify only looks: a check from the command line asks for it directly, and who wrote a part wants to know it whole.
    handlers: { ...dataHandlers(store, ways), orderVerify: handlers.orderVerify },
    clock,
    log,
  })
  const connect = (): Promise<Peer> =>
    connectLink(net, config.masterHost, config.masterPort, { hello: hello(), handlers, clock, log, signal })
  master = new MasterLink(
    store,
    connect,
    { uuid: node.uuid, name, host, port: listener.port, version, place: { machine, rack, site }, labels },
    clock,
    random,
    log,
  )
  log.info({ name, host: config.listenHost, port: listener.port, disks: store.disks.length }, 'chunkserver is ready')

  const probing = (async () => {
    while (!signal.aborted) {
      // A disk that hangs must not keep the others from being looked at; Disk.probe takes care of being called again.
      for (const disk of store.disks) void disk.probe()
      await remember().catch((error: unknown) => {
        const code = errnoOf(error)
        if (code === undefined) throw error
        log.error({ file: nodePath, code }, 'cannot write down which disks are in use; is the data directory there?')
      })
      await clock.sleep(PROBE_MS, { signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    }
  })()
  try {
    await Promise.all([master.run(signal), ways.run(signal), probing])
  } finally {
    await listener.close()
    await peers.close()
    await Promise.all(store.disks.map(close))
    await unlock()
    log.info({}, 'chunkserver has stopped')
  }
}
