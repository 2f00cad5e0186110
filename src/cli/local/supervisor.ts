/*
 * The supervisor of a local cluster: one process that starts master, chunkservers and mount, in this order, restarts what
 * is killed, and stops them in the reverse order: the mount first, while everything it has to write to still answers.
 *
 * Only one supervisor runs per directory: it holds an abstract socket named after the directory's device and inode, which
 * the kernel gives back the moment the process is gone, however it went. What a killed supervisor left behind (roles, a
 * dead mount) is ended by the next one before it starts its own.
 */

import { readdir, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { FsError } from '../../base/fault.ts'
import { loadConfig } from '../../config/load.ts'
import { clearStale, mountsAt, unmount } from '../../fuse/mounts.ts'
import { hostClock, hostRandom } from '../../host/clock.ts'
import { hostLog } from '../../host/log.ts'
import { hostNet } from '../../host/net.ts'
import { ADMIN_STAMP, Admin, connectPeer } from '../admin.ts'
import { NO_IDENTITY } from '../find.ts'
import { answers } from '../mount-probe.ts'
import { mountProgram, roleProgram } from '../mount-program.ts'
import { planCluster, type StartOptions, writeCluster } from './plan.ts'
import { endProcess, gone, RoleProcess } from './role-process.ts'
import {
  type ClusterFile,
  identify,
  isAlive,
  type Phase,
  paths,
  readClusterFile,
  readStateFile,
  removeStateFile,
  type StateFile,
  writeStateFile,
} from './state.ts'

const clock = hostClock

/** A master replays nothing at start, it opens its database: seconds are for a machine under load. */
const MASTER_READY_MS = 60_000
/** Chunkservers list their disks first. One that takes longer is left to come later: its copies are elsewhere, too. */
const CHUNKSERVER_READY_MS = 60_000
const MOUNT_READY_MS = 60_000
/** A mount writes out what it holds: 64 MiB of buffers at the slowest disk we care for. */
const MOUNT_STOP_MS = 60_000
const CHUNKSERVER_STOP_MS = 20_000
const MASTER_STOP_MS = 20_000
export interface Supervisor {
  readonly cluster: ClusterFile
  /** Resolves when everything has stopped. */
  stop(): Promise<void>
}

/** Starts everything; returns when the mount answers. On failure or abort everything is stopped again. */
export async function startSupervisor(
  dir: string,
  options: StartOptions,
  signal: AbortSignal,
  say: (sentence: string) => void,
): Promise<Supervisor> {
  const { cluster, before } = await planCluster(dir, options, { net: hostNet, random: hostRandom })
  const lock = await lockDirectory(dir)
  let begun: { stop: () => Promise<void> } | undefined
  try {
    await endLeftovers(dir, say)
    // Ports are looked at again: what held them may have been the leftovers.
    const plan =
      before === undefined ? cluster : (await planCluster(dir, options, { net: hostNet, random: hostRandom })).cluster
    await refuseUsedMountpoint(plan.mount)
    await writeCluster(dir, plan, options)
    const roles = new Roles(dir, plan)
    begun = { stop: () => roles.stop() }
    await roles.start(signal, say)
    if (before !== undefined && before.copies !== plan.copies) await setCopies(plan)
    await roles.setPhase('running')
    return {
      cluster: plan,
      stop: async () => {
        await roles.stop()
        lock.close()
      },
    }
  } catch (error) {
    await begun?.stop()
    lock.close()
    throw error
  }
}

async function lockDirectory(dir: string): Promise<Server> {
  const { dev, ino } = await stat(dir)
  const server = createServer((socket) => socket.destroy())
  return new Promise((done, failed) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return failed(error)
      failed(new FsError('EBUSY', `the cluster in ${dir} is already running (holdfast local status --dir ${dir})`))
    })
    server.listen({ path: `\0holdfast-local-${dev}-${ino}` }, () => done(server))
  })
}

class Roles {
  readonly #dir: string
  readonly #cluster: ClusterFile
  readonly #master: RoleProcess
  readonly #chunkservers: RoleProcess[]
  readonly #mount: RoleProcess
  readonly #sinceMs = Date.now()
  #phase: Phase = 'starting'
  /** Writes of state.json one after the other; the last one wins. */
  #writing: Promise<void> = Promise.resolve()
  #dirty = false
  #stopped = false

  constructor(dir: string, cluster: ClusterFile) {
    this.#dir = dir
    this.#cluster = cluster
    const where = paths(dir)
    const onChange = (): void => this.#save()
    const program = (kind: 'master' | 'chunkserver', name: string) => async () => roleProgram(kind, where.config(name))
    this.#master = new RoleProcess(
      {
        name: 'master',
        logFile: where.log('master'),
        onChange,
        program: program('master', 'master'),
        probe: () => this.#masterAnswers(),
      },
      clock,
    )
    this.#chunkservers = cluster.chunkservers.map(
      ({ name }) =>
        new RoleProcess(
          {
            name,
            logFile: where.log(name),
            onChange,
            program: program('chunkserver', name),
            probe: () => this.#chunkserverIsKnown(name),
          },
          clock,
        ),
    )
    this.#mount = new RoleProcess(
      {
        name: 'mount',
        logFile: where.log('mount'),
        onChange,
        program: async () => {
          const file = where.config('mount')
          return mountProgram(await loadConfig('mount', file), file)
        },
        probe: () => answers(cluster.mount),
      },
      clock,
    )
  }

  async start(signal: AbortSignal, say: (sentence: string) => void): Promise<void> {
    this.#master.start()
    if (!(await this.#master.ready(MASTER_READY_MS, signal))) throw late('master', this.#dir)
    for (const chunkserver of this.#chunkservers) chunkserver.start()
    const ready = await Promise.all(this.#chunkservers.map((role) => role.ready(CHUNKSERVER_READY_MS, signal)))
    if (!ready.includes(true)) throw late('no chunkserver', this.#dir)
    for (const [i, is] of ready.entries())
      if (!is) say(`${this.#chunkservers[i]!.name} is not ready yet; going on without it`)
    this.#mount.start()
    if (!(await this.#mount.ready(MOUNT_READY_MS, signal))) throw late('mount', this.#dir)
  }

  async stop(): Promise<void> {
    await this.setPhase('stopping')
    await this.#mount.stop(MOUNT_STOP_MS)
    await unmount(this.#cluster.mount, hostLog({ component: 'supervisor', level: 'error' }))
    await Promise.all(this.#chunkservers.map((role) => role.stop(CHUNKSERVER_STOP_MS)))
    await this.#master.stop(MASTER_STOP_MS)
    this.#stopped = true
    await this.#writing
    await removeStateFile(this.#dir)
  }

  async setPhase(phase: Phase): Promise<void> {
    this.#phase = phase
    this.#save()
    await this.#writing
  }

  #save(): void {
    if (this.#dirty || this.#stopped) return
    this.#dirty = true
    this.#writing = this.#writing.then(async () => {
      this.#dirty = false
      await writeStateFile(this.#dir, await this.#state())
    })
  }

  async #state(): Promise<StateFile> {
    const self = await identify(process.pid)
    const all = [this.#master, ...this.#chunkservers, this.#mount]
    return {
      format: 1,
      supervisor: self!,
      sinceMs: this.#sinceMs,
      phase: this.#phase,
      roles: Object.fromEntries(all.map((role) => [role.name, role.record()])),
    }
  }

  async #masterAnswers(): Promise<boolean> {
    return isAnswered(async () => {
      const peer = await connectPeer(this.#address(), this.#address())
      peer.close()
      return peer.hello.role === 'master'
    })
  }

  async #chunkserverIsKnown(name: string): Promise<boolean> {
    return isAnswered(async () => {
      const admin = await Admin.connect(this.#address())
      try {
        const { nodes } = await admin.call('status', {})
        return nodes.some((node) => node.name === name && node.connected)
      } finally {
        admin.close()
      }
    })
  }

  #address() {
    return addressOf(this.#cluster)
  }
}

const addressOf = ({ cluster, master }: ClusterFile) => ({
  host: '127.0.0.1',
  port: master.port,
  cluster,
  found: 'the local cluster',
  ...NO_IDENTITY,
})

const late = (what: string, dir: string): FsError =>
  new FsError('ETIMEDOUT', `${what} did not become ready; see the logs in ${paths(dir).data('log')}`)

/** A refused or lost connection means "not yet"; so does a call that a starting role does not answer. */
async function isAnswered(ask: () => Promise<boolean>): Promise<boolean> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof FsError) return false
    throw error
  }
}

async function setCopies(cluster: ClusterFile): Promise<void> {
  const admin = await Admin.connect(addressOf(cluster))
  try {
    await admin.call('settingsSet', {
      stamp: ADMIN_STAMP,
      copies: cluster.copies,
      graceMs: undefined,
      trashRetentionMs: undefined,
      sessionTimeoutMs: undefined,
      backupLabels: undefined,
      moving: undefined,
    })
  } finally {
    admin.close()
  }
}

/** Files below a mount point would be hidden without a word; a dead or living mount of ours is dealt with elsewhere. */
async function refuseUsedMountpoint(mountpoint: string): Promise<void> {
  const log = hostLog({ component: 'supervisor', level: 'error' })
  await clearStale(mountpoint, clock, log)
  if ((await mountsAt(mountpoint)).length > 0)
    throw new FsError('EBUSY', `something else is mounted at ${mountpoint}; choose another --mount`)
  try {
    const names = await readdir(mountpoint)
    if (names.length > 0)
      throw new FsError('ENOTEMPTY', `${mountpoint} holds files that the mount would hide; choose another --mount`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Ends what a killed supervisor left, in the order of stopping. True when there was something. */
export async function endLeftovers(dir: string, say: (sentence: string) => void): Promise<boolean> {
  const state = await readStateFile(dir)
  const cluster = await readClusterFile(dir)
  if (state === undefined || cluster === undefined) return false
  const order = Object.entries(state.roles).reverse()
  let found = false
  for (const [name, { process: target }] of order) {
    if (target === undefined || !(await isAlive(target))) continue
    found = true
    say(`ending ${name} (process ${target.pid}), which an earlier supervisor left behind`)
    const graceMs = name === 'mount' ? MOUNT_STOP_MS : name === 'master' ? MASTER_STOP_MS : CHUNKSERVER_STOP_MS
    await endProcess(target, graceMs, clock)
    if (name === 'mount') await unmount(cluster.mount, hostLog({ component: 'supervisor', level: 'error' }))
  }
  const top = (await mountsAt(cluster.mount)).at(-1)
  if (top?.type.startsWith('fuse')) {
    found = true
    await unmount(cluster.mount, hostLog({ component: 'supervisor', level: 'error' }))
  }
  await removeStateFile(dir)
  return found
}

/** `local stop`: asks the supervisor and waits until it is gone; without one ends what it left. False: nothing ran. */
export async function stopCluster(dir: string, say: (sentence: string) => void): Promise<boolean> {
  const state = await readStateFile(dir)
  if (state !== undefined && (await isAlive(state.supervisor))) {
    process.kill(state.supervisor.pid, 'SIGTERM')
    if (!(await gone(state.supervisor, SUPERVISOR_STOP_MS, clock)))
      throw new FsError(
        'ETIMEDOUT',
        `the supervisor (process ${state.supervisor.pid}) has not stopped; see ${paths(dir).data('log')}`,
      )
    return true
  }
  const lock = await lockDirectory(dir)
  try {
    return await endLeftovers(dir, say)
  } finally {
    lock.close()
  }
}
/** Every role's own time to stop, one after the other, and the kills behind them. */
const SUPERVISOR_STOP_MS = MOUNT_STOP_MS + CHUNKSERVER_STOP_MS + MASTER_STOP_MS + 30_000
