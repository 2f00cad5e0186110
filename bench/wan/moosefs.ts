/*
 * MooseFS 3.0 from Debian's packages on the bed: the bed's own tunnels, the same machines, its own configuration. Every
 * process runs in the foreground in its node's namespace and is known by its pid.
 *
 * What is not its default: chunks are made on the writer's own machine where the class allows (CREATIONS_RESPECT_TOPOLOGY),
 * copies come from the nearest (REPLICATIONS_RESPECT_TOPOLOGY), and the minute without any replication after the master's
 * start is left out. Without these it would write to other machines and wait where Holdfast does not.
 */

import type { ChildProcess } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bed } from '../../test/wan/bed.ts'
import { alive, endProcess, mountPoints, removeTree, unmount, until, which } from '../e2e/machine.ts'
import { type Congestion, shapeOf, type WanCase } from './cases.ts'
import { bytesBelow, CLIENT, type Class, KEEP, MASTER, SITES, STORES, type WanSystem, withinReason } from './system.ts'

const UP_MS = 60_000
const EMPTY_METADATA = '/var/lib/mfs/metadata.mfs.empty'
const PROGRAMS = ['mfsmaster', 'mfschunkserver', 'mfsmount', 'mfsscadmin', 'mfssetsclass', 'mfsfileinfo']

/** Why it cannot be measured here; undefined: it can. */
export async function whyNoMoosefs(): Promise<string | undefined> {
  for (const program of PROGRAMS)
    if (!(await which(program)))
      return `${program} is missing: apt-get install moosefs-master moosefs-chunkserver moosefs-client`
  return undefined
}

export class MoosefsOnBed implements WanSystem {
  readonly name = 'moosefs'
  readonly bed: Bed
  readonly path: string
  readonly #dir: string
  readonly #processes = new Map<string, ChildProcess>()

  private constructor(bed: Bed, dir: string) {
    this.bed = bed
    this.#dir = dir
    this.path = join(dir, 'mnt')
  }

  static async on(wan: WanCase, congestion: Congestion, seed: number): Promise<MoosefsOnBed> {
    const bed = await Bed.start({ seed, sites: SITES, links: { 'home-fra': shapeOf(wan) }, congestion })
    return new MoosefsOnBed(bed, await mkdtemp(join(tmpdir(), 'holdfast-wan-moosefs-')))
  }

  async start(): Promise<void> {
    const master = this.bed.node(MASTER).meshAddress
    const home = join(this.#dir, 'master')
    await mkdir(home)
    await copyFile(EMPTY_METADATA, `${home}/metadata.mfs`)
    await writeFile(`${home}/mfsexports.cfg`, '* / rw,alldirs,admin,maproot=0:0\n')
    const racks = this.bed.nodes.map(({ meshAddress, site }) => `${meshAddress} ${site === 'home' ? 1 : 2}\n`)
    await writeFile(`${home}/mfstopology.cfg`, racks.join(''))
    await writeFile(
      `${home}/mfsmaster.cfg`,
      settings({
        WORKING_USER: 'root',
        WORKING_GROUP: 'root',
        DATA_PATH: home,
        EXPORTS_FILENAME: `${home}/mfsexports.cfg`,
        TOPOLOGY_FILENAME: `${home}/mfstopology.cfg`,
        MATOML_LISTEN_HOST: master,
        MATOCS_LISTEN_HOST: master,
        MATOCL_LISTEN_HOST: master,
        CREATIONS_RESPECT_TOPOLOGY: 1,
        REPLICATIONS_RESPECT_TOPOLOGY: 1,
        REPLICATIONS_DELAY_INIT: 0,
      }),
    )
    this.#spawn(MASTER, 'master', 'mfsmaster', ['-c', `${home}/mfsmaster.cfg`, '-f', 'start'])
    await this.#logged('master', 'initialized properly')
    for (const { node, label } of STORES) {
      const own = join(this.#dir, node)
      await mkdir(`${own}/disk`, { recursive: true })
      await writeFile(`${own}/mfshdd.cfg`, `${own}/disk\n`)
      await writeFile(
        `${own}/mfschunkserver.cfg`,
        settings({
          WORKING_USER: 'root',
          WORKING_GROUP: 'root',
          DATA_PATH: own,
          HDD_CONF_FILENAME: `${own}/mfshdd.cfg`,
          MASTER_HOST: master,
          CSSERV_LISTEN_HOST: this.bed.node(node).meshAddress,
          HDD_LEAVE_SPACE_DEFAULT: '64MiB',
          LABELS: label,
        }),
      )
      this.#spawn(node, node, 'mfschunkserver', ['-c', `${own}/mfschunkserver.cfg`, '-f', 'start'])
    }
    for (const { node } of STORES) await this.#logged(node, 'connected to Master')
    await mkdir(this.path)
    await this.#mount()
    for (const [name, labels] of Object.entries(KEEP))
      await this.bed.run(CLIENT, 'mfsscadmin', [this.path, 'create', '-K', labels, name])
    // The master counts a chunkserver in a moment after it has connected; a file with both copies proves that it has.
    const probe = `${this.path}/.probe`
    await until('copies at both sites on MooseFS', UP_MS, async () => {
      await this.bed.run(CLIENT, 'sh', ['-ec', `rm -f '${probe}'; : > '${probe}'; mfssetsclass both '${probe}'`])
      await this.bed.run(CLIENT, 'sh', ['-ec', `echo probe > '${probe}'`], { timeoutMs: 30_000 })
      return (await this.#copies(probe)).every((copies) => copies.length === 2)
    })
    await this.bed.run(CLIENT, 'rm', [probe])
  }

  address(node: string): Promise<string> {
    return Promise.resolve(this.bed.node(node).meshAddress)
  }

  async remount(): Promise<void> {
    await this.#unmount()
    await this.#mount()
  }

  async setClass(path: string, to: Class): Promise<void> {
    await this.bed.run(CLIENT, 'mfssetsclass', [to, path])
  }

  homeBytes(): Promise<number> {
    return bytesBelow(STORES.filter(({ site }) => site === 'home').map(({ node }) => join(this.#dir, node, 'disk')))
  }

  async isAtHome(path: string): Promise<boolean> {
    const home = this.bed.nodes.filter(({ site }) => site === 'home').map(({ meshAddress }) => meshAddress)
    return (await this.#copies(path)).every((copies) => copies.some((copy) => home.includes(copy)))
  }

  async stop(): Promise<void> {
    await this.bed.heal('home', 'fra').catch(() => {
      // The relay went with its bed: what is left then is to be removed all the same.
    })
    await withinReason(this.#unmount())
    for (const child of [...this.#processes.values()].reverse()) if (child.pid) await endProcess(child.pid)
    await this.bed.stop()
    await unmount(this.path)
    await removeTree(this.#dir)
  }

  /** Of each chunk of a file, the addresses that have a copy of it. */
  async #copies(path: string): Promise<string[][]> {
    const { stdout } = await this.bed.run(CLIENT, 'mfsfileinfo', [path])
    const chunks = stdout.split(/^\s+chunk \d+:/m).slice(1)
    return chunks.map((text) => [...text.matchAll(/copy \d+: ([\d.]+):\d+/g)].map(([, address]) => address!))
  }

  #spawn(node: string, role: string, program: string, args: readonly string[]): void {
    const log = createWriteStream(join(this.#dir, `${role}.log`), { flags: 'a' })
    const child = this.bed.spawn(node, program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    })
    child.stdout!.pipe(log)
    child.stderr!.pipe(log)
    child.on('error', (error) => console.error(`${program}: ${error.message}`))
    this.#processes.set(role, child)
  }

  #logged(role: string, words: string): Promise<boolean> {
    return until(`"${words}" from MooseFS's ${role}`, UP_MS, async () => {
      const pid = this.#processes.get(role)?.pid
      const text = await readFile(join(this.#dir, `${role}.log`), 'utf8')
      if (text.includes(words)) return true
      if (!pid || !alive(pid)) throw new Error(`${role} ended: ${text.slice(-600)}`)
      return false
    })
  }

  async #mount(): Promise<void> {
    const { meshAddress } = this.bed.node(MASTER)
    this.#spawn(CLIENT, 'mount', 'mfsmount', ['-f', this.path, '-H', meshAddress])
    await until('the MooseFS mount', UP_MS, () => mountPoints().includes(this.path))
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
