/*
 * A cluster of real processes on this machine, each started, killed and started again by the test itself: no supervisor
 * restarts anything behind its back. Roles run the built program (dist/); clients run in the process of the test and reach
 * them by TCP; mounts are processes of their own. stop() ends every process, unmounts and removes everything, also after
 * a failed test.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Errno } from '../../src/base/errno.ts'
import { errnoOf } from '../../src/base/fault.ts'
import type { World } from '../../src/base/world.ts'
import { Admin } from '../../src/cli/admin.ts'
import type { CheckReport } from '../../src/cli/check/compare.ts'
import { checkOnline } from '../../src/cli/check/online.ts'
import { type Standing, standingOf } from '../../src/cli/local/plan.ts'
import { writeClusterFile } from '../../src/cli/local/state.ts'
import { answers } from '../../src/cli/mount-probe.ts'
import { Filesystem, type FilesystemOptions } from '../../src/client/filesystem.ts'
import type { RoleConfigs, RoleName } from '../../src/config/tables.ts'
import { configToml } from '../../src/config/write.ts'
import { mountsAt, unmount } from '../../src/fuse/mounts.ts'
import { hostNet } from '../../src/host/net.ts'
import { netOf } from '../../src/host/world.ts'
import type { StatusReport } from '../../src/wire/reports.ts'
import { seededRandom } from './memory-cluster.ts'
import { quietLog } from './quiet-log.ts'
import { realClock } from './real-clock.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/holdfast', import.meta.url))
const BUILT = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
export const CLUSTER = 'test-cluster'
const READY_MS = 60_000
/** A role that has not ended this long after SIGTERM is a finding. */
const STOP_MS = 60_000
/** A machine on which much else runs stands still for ten seconds and more. */
const STALLED_MS = 60_000
/** Below the kernel's range for outgoing connections, and below what `local start` picks. */
const PORTS_FROM = 12_000
const PORTS_COUNT = 8_000

type Settings<R extends RoleName> = Partial<Omit<RoleConfigs[R], 'cluster' | 'log'>>

export interface LocalClusterOptions {
  readonly chunkservers?: number
  readonly mounts?: number
  readonly master?: Settings<'master'>
  readonly chunkserver?: Settings<'chunkserver'>
  readonly mount?: Settings<'mount'>
  /** Where a chunkserver keeps its chunks, and its space rule; default: a directory beside the others. */
  readonly diskOf?: (index: number, own: string) => string
  readonly masterDataDir?: string
  /** What one chunkserver has of its own: labels, rack, site, machine, … */
  readonly chunkserverOf?: (index: number) => Settings<'chunkserver'>
  readonly mountOf?: (index: number) => Settings<'mount'>
  /** With what a process proves who it is: of a role by its name, `admin` for what the test asks, `client` for its clients. */
  readonly identityOf?: (name: string) => { readonly identityDir: string; readonly runDir: string }
}

const NO_IDENTITY = { identityDir: '', runDir: '' }

async function freePort(): Promise<number> {
  for (let i = 0; i < 200; i++) {
    const port = PORTS_FROM + Math.floor(Math.random() * PORTS_COUNT)
    try {
      const listener = await hostNet.listen('127.0.0.1', port, (transport) => transport.close())
      await listener.close()
      return port
    } catch (error) {
      if (errnoOf(error) !== 'EBUSY') throw error
    }
  }
  throw new Error('no free port found')
}

/** For `chunkserverOf`: racks and sites in blocks, each chunkserver as if on a machine of its own. */
export const spread =
  (chunkservers: number, { racks, sites }: { racks: number; sites: number }) =>
  (index: number): Standing =>
    standingOf(index, chunkservers, racks, sites)

interface Running {
  readonly child: ChildProcess
  readonly gone: Promise<void>
}

export class LocalCluster {
  readonly dir: string
  readonly masterPort: number
  readonly #options: LocalClusterOptions
  readonly #ports: readonly number[]
  readonly #running = new Map<string, Running>()
  readonly #clients: Filesystem[] = []
  #admin: Admin | undefined

  private constructor(dir: string, ports: readonly number[], options: LocalClusterOptions) {
    this.dir = dir
    this.#ports = ports
    this.masterPort = ports[0]!
    this.#options = options
  }

  static async start(options: LocalClusterOptions = {}): Promise<LocalCluster> {
    if (!existsSync(BUILT)) throw new Error(`${BUILT} is missing: npm run build`)
    const dir = await mkdtemp(join(tmpdir(), 'holdfast-cluster-'))
    const ports: number[] = []
    while (ports.length < 1 + (options.chunkservers ?? 3)) {
      const port = await freePort()
      if (!ports.includes(port)) ports.push(port)
    }
    const cluster = new LocalCluster(dir, ports, options)
    try {
      await cluster.#configure()
      await cluster.startMaster()
      await Promise.all(cluster.chunkservers.map((name) => cluster.startChunkserver(name)))
      await Promise.all(cluster.mounts.map((name) => cluster.startMount(name)))
    } catch (error) {
      const logs = await cluster.logs()
      await cluster.stop()
      throw new Error(`the cluster did not start: ${String(error)}\n${logs}`, { cause: error })
    }
    return cluster
  }

  get chunkservers(): string[] {
    return this.#ports.slice(1).map((_, i) => `chunkserver-${i + 1}`)
  }
  get mounts(): string[] {
    return Array.from({ length: this.#options.mounts ?? 0 }, (_, i) => `mount-${i + 1}`)
  }
  /** Where a mount appears. */
  path(index = 0): string {
    return join(this.dir, `mnt-${index + 1}`)
  }
  chunkserverPort(index: number): number {
    return this.#ports[index + 1]!
  }
  /** The directory of a chunkserver's only disk. */
  diskDir(index: number): string {
    return this.#disk(index).split(' ')[0]!
  }
  #disk(index: number): string {
    const own = `${join(this.dir, `chunkserver-${index + 1}`, 'disk')} =-64MiB`
    return this.#options.diskOf?.(index, own) ?? own
  }
  get masterDir(): string {
    return this.#options.masterDataDir ?? join(this.dir, 'master')
  }
  pid(name: string): number | undefined {
    return this.#running.get(name)?.child.pid
  }

  async #configure(): Promise<void> {
    const common = (name: string) => ({ cluster: { id: CLUSTER, ...this.#identity(name) } })
    // So that the program finds it by `--dir`; nothing else of a directory of `local start` is there.
    await writeClusterFile(this.dir, {
      ...{ format: 1, cluster: CLUSTER, mount: this.path(), copies: this.#options.master?.copies ?? 2, door: 'fuse' },
      master: { port: this.masterPort },
      chunkservers: this.chunkservers.map((name, i) => ({ name, port: this.chunkserverPort(i) })),
    })
    const master = { masterHost: '127.0.0.1', masterPort: this.masterPort }
    const own = { dataDir: this.masterDir, listenPort: this.masterPort, heartbeatMs: 500, ...this.#options.master }
    await this.#write('master', configToml('master', own, common('master')))
    for (const [i, name] of this.chunkservers.entries()) {
      await mkdir(this.diskDir(i), { recursive: true })
      const disks = [this.#disk(i)]
      const dataDir = join(this.dir, name)
      const listenPort = this.chunkserverPort(i)
      const own = { ...this.#options.chunkserver, ...this.#options.chunkserverOf?.(i) }
      const values = { name, dataDir, disks, listenPort, ...master, ...own }
      await this.#write(name, configToml('chunkserver', values, common(name)))
    }
    for (const [i, name] of this.mounts.entries()) {
      await mkdir(this.path(i))
      const values = { mountpoint: this.path(i), ...master, ...this.#options.mount, ...this.#options.mountOf?.(i) }
      await this.#write(name, configToml('mount', values, common(name)))
    }
  }

  #identity(name: string): { readonly identityDir: string; readonly runDir: string } {
    return this.#options.identityOf?.(name) ?? NO_IDENTITY
  }

  #write(name: string, text: string): Promise<void> {
    return writeFile(join(this.dir, `${name}.toml`), text)
  }

  async #spawn(role: RoleName, name: string): Promise<void> {
    if (this.#running.has(name)) throw new Error(`${name} runs already`)
    const log = await open(join(this.dir, `${name}.log`), 'a')
    const args = [PROGRAM, 'run', role, '--config', join(this.dir, `${name}.toml`)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', log.fd, log.fd] })
    const gone = new Promise<void>((resolve, reject) => {
      child.on('error', reject)
      child.on('exit', () => resolve())
    })
    await log.close()
    this.#running.set(name, { child, gone })
  }

  async startMaster(): Promise<void> {
    await this.#spawn('master', 'master')
    await this.#ready('master', async () => (await this.status()).cluster === CLUSTER)
  }
  async startChunkserver(name: string): Promise<void> {
    await this.#spawn('chunkserver', name)
    await this.#ready(name, async () =>
      (await this.status()).nodes.some((node) => node.name === name && node.connected),
    )
  }
  async startMount(name: string): Promise<void> {
    await this.#spawn('mount', name)
    await this.#ready(name, () => answers(this.path(this.mounts.indexOf(name))))
  }
  startRole(name: string): Promise<void> {
    if (name === 'master') return this.startMaster()
    return name.startsWith('mount') ? this.startMount(name) : this.startChunkserver(name)
  }

  async #ready(name: string, is: () => Promise<boolean>): Promise<void> {
    const deadline = realClock.monotonicMs() + READY_MS
    for (;;) {
      const { child } = this.#running.get(name)!
      if (child.exitCode !== null || child.signalCode !== null) {
        this.#running.delete(name)
        throw new Error(`${name} ended with ${child.signalCode ?? child.exitCode}: ${await this.log(name)}`)
      }
      try {
        if (await is()) return
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
      }
      if (realClock.monotonicMs() > deadline) throw new Error(`${name} is not ready: ${await this.log(name)}`)
      await realClock.sleep(25)
    }
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#running.get(name)?.child.kill(signal)
  }

  /** SIGKILL, and until the process is gone. */
  async kill(name: string): Promise<void> {
    const running = this.#running.get(name)
    if (running === undefined) return
    running.child.kill('SIGKILL')
    await running.gone
    this.#running.delete(name)
  }

  /** SIGTERM; a role that does not end by itself is a failure (and is killed). */
  async end(name: string): Promise<void> {
    const running = this.#running.get(name)
    if (running === undefined) return
    running.child.kill('SIGCONT')
    running.child.kill('SIGTERM')
    const late = new AbortController()
    const ended = await Promise.race([
      running.gone.then(() => true),
      realClock.sleep(STOP_MS, { signal: late.signal }).then(
        () => false,
        () => true,
      ),
    ])
    late.abort()
    await this.kill(name)
    if (!ended) throw new Error(`${name} did not end by SIGTERM: ${await this.log(name)}`)
  }

  async log(name: string): Promise<string> {
    const text = await readFile(join(this.dir, `${name}.log`), 'utf8').catch(() => '')
    return text.slice(-4000)
  }
  async logs(): Promise<string> {
    const names = ['master', ...this.chunkservers, ...this.mounts]
    return (await Promise.all(names.map(async (name) => `--- ${name}\n${await this.log(name)}`))).join('\n')
  }

  async client(over: Partial<FilesystemOptions> = {}): Promise<Filesystem> {
    const random = seededRandom(Math.floor(Math.random() * 2 ** 31))
    const world: World = {
      net: await netOf(this.#identity('client'), quietLog),
      clock: realClock,
      random,
      log: quietLog,
    }
    const filesystem = new Filesystem(world, {
      master: { host: '127.0.0.1', port: this.masterPort },
      cluster: CLUSTER,
      hostName: `client-${this.#clients.length}`,
      mountpoint: '/none',
      version: 'test',
      ownHost: '127.0.0.1',
      onDisconnect: 'error',
      onDisconnectMs: 60_000,
      cacheBytes: 8 << 20,
      dirtyBytes: 16 << 20,
      ...over,
    })
    await filesystem.start(STALLED_MS)
    this.#clients.push(filesystem)
    return filesystem
  }

  /** Asks the master, over a connection that is made again when it is lost. */
  async ask<T>(question: (admin: Admin) => Promise<T>): Promise<T> {
    const address = {
      host: '127.0.0.1',
      port: this.masterPort,
      cluster: CLUSTER,
      found: 'the test',
      ...this.#identity('admin'),
    }
    this.#admin ??= await Admin.connect(address)
    try {
      return await question(this.#admin)
    } catch (error) {
      this.#admin?.close()
      this.#admin = undefined
      throw error
    }
  }
  /**
   * The same while the machine stands still, and with it one end or both, which then takes the other for gone: asked again.
   * `done`: what is answered to what had been carried out the first time.
   */
  async askAgain<T>(question: (admin: Admin) => Promise<T>): Promise<T>
  async askAgain<T>(question: (admin: Admin) => Promise<T>, done: Errno): Promise<T | undefined>
  async askAgain<T>(question: (admin: Admin) => Promise<T>, done?: Errno): Promise<T | undefined> {
    const deadline = realClock.monotonicMs() + STALLED_MS
    for (let lost = false; ; lost = true)
      try {
        return await this.ask(question)
      } catch (error) {
        const code = errnoOf(error)
        if (lost && code !== undefined && code === done) return undefined
        if ((code !== 'ETIMEDOUT' && code !== 'ECONNRESET') || realClock.monotonicMs() > deadline) throw error
      }
  }
  status(): Promise<StatusReport> {
    return this.askAgain((admin) => admin.call('status', {}))
  }
  check(deep = false): Promise<CheckReport> {
    return this.askAgain((admin) => checkOnline(admin, { deep }, () => undefined))
  }

  /** Waits until the status says so; throws with the last one otherwise. */
  async until(what: string, is: (status: StatusReport) => boolean, withinMs = 60_000): Promise<StatusReport> {
    const deadline = realClock.monotonicMs() + withinMs
    for (;;) {
      const status = await this.status()
      if (is(status)) return status
      if (realClock.monotonicMs() > deadline)
        throw new Error(`not in time: ${what}: ${JSON.stringify(status, undefined, 1)}`)
      await realClock.sleep(100)
    }
  }

  /** Chunk files of one disk. */
  async chunkFiles(index: number): Promise<string[]> {
    const entries = await readdir(this.diskDir(index), { recursive: true, withFileTypes: true })
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    return files.filter((file) => /\/[0-9a-f]{16}[^/]*$/.test(file)).sort()
  }

  async stop(): Promise<void> {
    const problems: unknown[] = []
    const attempt = async (work: () => Promise<unknown>): Promise<void> => {
      try {
        await work()
      } catch (error) {
        problems.push(error)
      }
    }
    for (const client of this.#clients) if (this.#running.has('master')) await attempt(() => client.close())
    for (const name of this.mounts) await attempt(() => this.end(name))
    for (const [i] of this.mounts.entries())
      if ((await mountsAt(this.path(i))).length > 0) await attempt(() => unmount(this.path(i), quietLog))
    await Promise.all(this.chunkservers.map((name) => attempt(() => this.end(name))))
    this.#admin?.close()
    await attempt(() => this.end('master'))
    for (const [i] of this.mounts.entries())
      if ((await mountsAt(this.path(i))).length > 0) throw new Error(`${this.path(i)} is still mounted`)
    await rm(this.dir, { recursive: true, force: true })
    if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('; '))
  }
}

/** Bytes of a file on disk, for tests that damage it. */
export const sizeOf = async (path: string): Promise<number> => (await stat(path)).size
