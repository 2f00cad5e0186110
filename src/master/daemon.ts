/*
 * The master as a process: opens its database (a first start founds the filesystem in it), listens, works until it is
 * told to stop. Stopping goes in order: no new connections, what has arrived is carried out and answered, everything is
 * flushed, the database is closed. A killed master loses nothing that it acknowledged (see loop.ts).
 *
 * One process per database: a lock file next to it holds the owner's address, so that a second start is refused instead
 * of two masters writing into one database.
 */

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { FsError } from '../base/fault.ts'
import type { Random, World } from '../base/world.ts'
import type { MasterConfig } from '../config/tables.ts'
import { localMinute, localZone } from '../host/clock.ts'
import { serveLinks } from '../wire/connect.ts'
import { PROTOCOL_VERSION } from '../wire/protocol.ts'
import { found } from './core/found.ts'
import type { StateStore } from './core/kv.ts'
import { predefineClasses } from './core/predefined.ts'
import { pack, unpack } from './core/records.ts'
import { State, transact } from './core/state.ts'
import { key } from './core/tables.ts'
import { LmdbStore } from './lmdb-store.ts'
import { Master } from './service.ts'

/** How long the last answers may take to leave. */
const LAST_ANSWERS_MS = 200
const CLUSTER_KEY = key.meta('cluster')
const ID_BYTES = 16

export async function run(config: MasterConfig, world: World, signal: AbortSignal): Promise<void> {
  const { clock, random, log } = world
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 })
  const release = await claim(config.dataDir)
  const store = LmdbStore.open(join(config.dataDir, 'meta'))
  try {
    const state = new State(store, { entries: config.changelogEntries, bytes: config.changelogBytes })
    const existed = state.exists()
    if (!existed) foundCluster(store, state, config, world)
    await store.flushed()
    const cluster = clusterOf(store)
    if (config.cluster.id !== '' && config.cluster.id !== cluster)
      throw new FsError('EINVAL', `${config.dataDir} belongs to cluster ${cluster}, not to ${config.cluster.id}`)
    const version = await softwareVersion()
    const master = new Master(store, state, clock, random, log, (callback) => setImmediate(callback), {
      cluster,
      version,
      heartbeatMs: config.heartbeatMs,
      settleMs: config.settleMs,
      deadGraceMs: config.deadGraceMs,
      repairParallel: config.repairParallel,
      repairBytesPerSecond: config.repairBytesPerSecond,
      compactBelowPercent: config.compactBelowPercent,
      diskErrors: { errors: config.diskErrors, periodMs: config.diskErrorsPeriodMs },
      topologyEveryMs: config.topologyEveryMs,
      topologyFile: () => topologyText(config),
      minuteOfDay: localMinute,
      zone: localZone(),
    })
    await master.loadTopology()
    const listener = await serveLinks(world.net, config.listenHost, config.listenPort, {
      hello: { version: PROTOCOL_VERSION, cluster, role: 'master', name: hostname() },
      handlers: master.handlers,
      clock,
      log,
    })
    log.info(
      { cluster, host: config.listenHost, port: listener.port, founded: !existed, commands: state.counters().index },
      'master is ready',
    )
    await master.work(signal)
    await master.loop.stop()
    // The answers of the last batch are on their way into the sockets.
    await clock.sleep(LAST_ANSWERS_MS)
    await listener.close()
    log.info({ commands: state.counters().index }, 'master has stopped')
  } finally {
    await store.close()
    await release()
  }
}

/** The file in the data directory may be missing, one that the configuration names may not. */
async function topologyText({ topologyFile, dataDir }: MasterConfig): Promise<string> {
  try {
    return await readFile(topologyFile === '' ? join(dataDir, 'topology') : topologyFile, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' && topologyFile === '') return ''
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR') throw new FsError(code, message, { cause: error })
    throw error
  }
}

function foundCluster(store: StateStore, state: State, config: MasterConfig, { clock, random }: World): void {
  const now = clock.now()
  transact(store, state, () => {
    found(state, {
      now,
      salt: [word(random), word(random)],
      settings: {
        copies: config.copies,
        graceMs: config.graceMs,
        trashRetentionMs: config.trashRetentionMs,
        sessionTimeoutMs: config.sessionTimeoutMs,
      },
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
    })
    predefineClasses(state, now)
    store.put(CLUSTER_KEY, pack(config.cluster.id === '' ? random.hex(ID_BYTES) : config.cluster.id))
  })
}

const word = (random: Random): number => Number.parseInt(random.hex(4), 16)

function clusterOf(store: StateStore): string {
  const value = store.get(CLUSTER_KEY)
  const id = value === undefined ? undefined : unpack(value)
  if (typeof id !== 'string') throw new FsError('EIO', 'the database names no cluster: it is not one of a master')
  return id
}

async function softwareVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Refuses (EBUSY) while another live process of this machine has the directory; what a killed one left is taken over. */
async function claim(dir: string): Promise<() => Promise<void>> {
  const path = join(dir, 'master.pid')
  const owner = Number.parseInt(await readFile(path, 'utf8').catch(missing), 10)
  if (owner > 0 && owner !== process.pid && isMaster(await readFile(`/proc/${owner}/cmdline`, 'utf8').catch(missing)))
    throw new FsError('EBUSY', `${dir} is in use by the master with process id ${owner}`)
  await writeFile(`${path}.new`, `${process.pid}\n`)
  await rename(`${path}.new`, path)
  return () => rm(path, { force: true })
}

function missing(error: NodeJS.ErrnoException): string {
  if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error
  return ''
}

/** A process id is given again after its owner is gone, to anything; only a process of this program counts. */
const isMaster = (commandLine: string): boolean => /\bmaster\b/.test(commandLine)
