/*
 * MooseFS 3.0 from Debian's packages, set up the way Holdfast's local cluster is: a master, three chunkservers with one
 * directory each on the same disk, two copies, one mount with its default options. Everything stays below one directory;
 * every process is started in the foreground and known by its pid.
 *
 * Two profiles. `default` is what the packages ship: fsync returns when the chunkservers have written to their page cache
 * and nothing is flushed. `sync` is the nearest that MooseFS has to an fsync that means something: the master flushes its
 * changelog after every change and a chunkserver flushes a chunk when it closes it. Traced on 3.0.117, the chunk's flush
 * still comes 40 to 80 ms after the client's fsync has returned, so even this profile promises less than Holdfast does.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import {
  alive,
  dropCaches,
  endProcess,
  freePort,
  mountPoints,
  ownAddress,
  run,
  unmount,
  until,
  which,
} from './machine.ts'
import type { Peer, RunningPeer } from './peers.ts'

const emptyMetadata = '/var/lib/mfs/metadata.mfs.empty'
const chunkservers = 3
const copies = 2

export function moosefs(name: 'moosefs' | 'moosefs-sync'): Peer {
  return {
    name,
    async missing() {
      for (const program of ['mfsmaster', 'mfschunkserver', 'mfsmount', 'mfssetgoal', 'mfsfileinfo']) {
        if (!(await which(program)))
          return `${program}: apt-get install moosefs-master moosefs-chunkserver moosefs-client`
      }
      if (!ownAddress())
        return 'MooseFS refuses 127.0.0.1 between master and chunkservers and this machine has no other address'
      return undefined
    },
    start: (base, undo) => new Cluster(base, name === 'moosefs-sync').start(undo),
  }
}

class Cluster implements RunningPeer {
  readonly path: string
  readonly #base: string
  readonly #sync: boolean
  readonly #host: string
  readonly #processes = new Map<string, ChildProcess>()
  #masterPort = 0
  #stopped = false

  constructor(base: string, sync: boolean) {
    this.#base = base
    this.#sync = sync
    this.#host = ownAddress() ?? '127.0.0.1'
    this.path = `${base}/mnt`
  }

  async start(undo: { add(title: string, step: () => Promise<void>): void }): Promise<RunningPeer> {
    undo.add('stop MooseFS', () => this.stop())
    await mkdir(this.path, { recursive: true })
    await this.#writeMaster()
    this.#spawn('master', 'mfsmaster', ['-c', `${this.#base}/master/mfsmaster.cfg`, '-f', 'start'])
    await this.#logged('master', 'initialized properly')
    for (let n = 1; n <= chunkservers; n++) {
      this.#spawn(`chunkserver-${n}`, 'mfschunkserver', [
        '-c',
        `${this.#base}/chunkserver-${n}/mfschunkserver.cfg`,
        '-f',
        'start',
      ])
    }
    for (let n = 1; n <= chunkservers; n++) await this.#logged(`chunkserver-${n}`, 'connected to Master')
    await this.#mount()
    await run('mfssetgoal', [String(copies), this.path])
    // The master counts a chunkserver in a moment after it has connected; a file with both copies proves that it has.
    const probe = `${this.path}/.probe`
    await until('two copies on MooseFS', 60_000, async () => {
      await run('sh', ['-c', `echo probe > ${probe}`], { timeoutMs: 30_000 })
      return ((await run('mfsfileinfo', [probe])).match(/copy \d/g)?.length ?? 0) >= copies
    })
    await run('rm', [probe])
    return this
  }

  pids(): Promise<Record<string, number>> {
    const entries = [...this.#processes].map(([role, child]) => [role, child.pid ?? 0] as const)
    return Promise.resolve(Object.fromEntries(entries))
  }

  async cold(): Promise<void> {
    await this.#unmount()
    await dropCaches()
    await this.#mount()
  }

  async restartMaster(): Promise<void> {
    const old = this.#processes.get('master')
    if (old?.pid) await endProcess(old.pid, 120_000)
    this.#spawn('master', 'mfsmaster', ['-c', `${this.#base}/master/mfsmaster.cfg`, '-f', 'start'])
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#unmount()
    for (const child of [...this.#processes.values()].reverse()) if (child.pid) await endProcess(child.pid)
    this.#processes.clear()
  }

  async #writeMaster(): Promise<void> {
    this.#masterPort = await freePort(this.#host)
    const [metaloggers, servers] = [await freePort(this.#host), await freePort(this.#host)]
    const home = `${this.#base}/master`
    await mkdir(home, { recursive: true })
    await copyFile(emptyMetadata, `${home}/metadata.mfs`)
    await writeFile(`${home}/mfsexports.cfg`, '* / rw,alldirs,admin,maproot=0:0\n')
    await writeFile(`${home}/mfstopology.cfg`, '')
    await writeFile(
      `${home}/mfsmaster.cfg`,
      settings({
        WORKING_USER: 'root',
        WORKING_GROUP: 'root',
        DATA_PATH: home,
        EXPORTS_FILENAME: `${home}/mfsexports.cfg`,
        TOPOLOGY_FILENAME: `${home}/mfstopology.cfg`,
        MATOML_LISTEN_HOST: this.#host,
        MATOML_LISTEN_PORT: metaloggers,
        MATOCS_LISTEN_HOST: this.#host,
        MATOCS_LISTEN_PORT: servers,
        MATOCL_LISTEN_HOST: this.#host,
        MATOCL_LISTEN_PORT: this.#masterPort,
        CHANGELOG_SAVE_MODE: this.#sync ? 2 : 0,
      }),
    )
    for (let n = 1; n <= chunkservers; n++) {
      const own = `${this.#base}/chunkserver-${n}`
      await mkdir(`${own}/disk`, { recursive: true })
      await writeFile(`${own}/mfshdd.cfg`, `${own}/disk\n`)
      await writeFile(
        `${own}/mfschunkserver.cfg`,
        settings({
          WORKING_USER: 'root',
          WORKING_GROUP: 'root',
          DATA_PATH: own,
          HDD_CONF_FILENAME: `${own}/mfshdd.cfg`,
          MASTER_HOST: this.#host,
          MASTER_PORT: servers,
          CSSERV_LISTEN_HOST: this.#host,
          CSSERV_LISTEN_PORT: await freePort(this.#host),
          HDD_LEAVE_SPACE_DEFAULT: '64MiB',
          HDD_FSYNC_BEFORE_CLOSE: this.#sync ? 1 : 0,
        }),
      )
    }
  }

  #spawn(role: string, program: string, args: readonly string[]): void {
    if (this.#stopped) throw new Error(`stopping: not starting ${role}`)
    const log = createWriteStream(`${this.#base}/${role}.log`, { flags: 'a' })
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: Ctrl-C reaches the benchmark first, which then unmounts before it stops the servers.
      detached: true,
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    })
    child.stdout.pipe(log)
    child.stderr.pipe(log)
    child.on('error', (error) => console.error(`${program}: ${error.message}`))
    this.#processes.set(role, child)
  }

  #logged(role: string, words: string): Promise<boolean> {
    return until(`"${words}" from MooseFS's ${role}`, 60_000, async () => {
      const pid = this.#processes.get(role)?.pid
      const text = await readFile(`${this.#base}/${role}.log`, 'utf8')
      if (text.includes(words)) return true
      if (!pid || !alive(pid)) throw new Error(`${role} ended: ${text.slice(-600)}`)
      return false
    })
  }

  async #mount(): Promise<void> {
    this.#spawn('mount', 'mfsmount', ['-f', this.path, '-H', this.#host, '-P', String(this.#masterPort)])
    await until('the MooseFS mount', 60_000, () => mountPoints().includes(this.path))
  }

  async #unmount(): Promise<void> {
    await unmount(this.path)
    const pid = this.#processes.get('mount')?.pid
    if (pid) await endProcess(pid)
    this.#processes.delete('mount')
  }
}

function settings(values: Record<string, string | number>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('')
}
