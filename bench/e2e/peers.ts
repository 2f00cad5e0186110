/*
 * The filesystems that a line is measured on, behind one interface: started below a directory of their own, each with a
 * directory to work in, the pids of its roles, a way to be made cold, and an end. All of them live on the same disk and
 * stay up for the whole run, so that lines can alternate between them.
 */

import { access, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LocalStatus } from '../../src/cli/local/status.ts'
import { dropCaches, endProcess, mountPoints, run, type Undo, until } from './machine.ts'
import { moosefs } from './moosefs.ts'

export type PeerName = 'holdfast' | 'moosefs' | 'moosefs-sync' | 'ext4'

export interface RunningPeer {
  /** The directory that workloads run in. */
  readonly path: string
  /** Role → process. Asked anew each time: a restarted role has another pid. */
  pids(): Promise<Record<string, number>>
  /** Everything on disk, the client mounted anew, the kernel's caches dropped. */
  cold(): Promise<void>
  /** TERM to the master and a new one in its place; returns when the new process runs, not when it answers. */
  restartMaster?(): Promise<void>
  stop(): Promise<void>
}

export interface Peer {
  readonly name: PeerName
  /** Why it cannot run here, or undefined. */
  missing(): Promise<string | undefined>
  start(base: string, undo: Undo): Promise<RunningPeer>
}

const project = resolve(fileURLToPath(import.meta.url), '../../..')
const program = `${project}/bin/holdfast`

const holdfast: Peer = {
  name: 'holdfast',
  async missing() {
    try {
      await access(program)
      await access(`${project}/dist/cli/commands.js`)
      return undefined
    } catch {
      return 'not built: npm run build'
    }
  },
  async start(base, undo) {
    const cluster = new Holdfast(base)
    undo.add('stop Holdfast', () => cluster.stop())
    await cluster.start()
    return cluster
  },
}

class Holdfast implements RunningPeer {
  readonly path: string
  readonly #dir: string

  constructor(base: string) {
    this.#dir = `${base}/cluster`
    this.path = `${base}/mnt`
  }

  async start(): Promise<void> {
    const args = ['local', 'start', '--dir', this.#dir, '--mount', this.path]
    // MooseFS gives its processes nice −19 by itself; on two busy cores that alone would decide lines, so both get it.
    await run('nice', ['-n', '-19', program, ...args, '--chunkservers', '3', '--copies', '2', '--detach'], {
      timeoutMs: 120_000,
    })
    await until('the Holdfast mount', 30_000, () => mountPoints().includes(this.path))
  }

  async pids(): Promise<Record<string, number>> {
    const { supervisor, master, chunkservers, mountRole } = await this.#status()
    const roles = [{ name: 'master', ...master }, ...chunkservers, { name: 'mount', ...mountRole }]
    const all = [...roles, { name: 'supervisor', ...supervisor }]
    return Object.fromEntries(all.flatMap(({ name, pid }) => (pid === null ? [] : [[name, pid]])))
  }

  /** Only the mount is restarted (its supervisor does it), as with MooseFS; the servers keep running. */
  async cold(): Promise<void> {
    const before = (await this.#status()).mountRole.pid
    if (before === null) throw new Error('the mount of the Holdfast cluster does not run')
    await run('sync', [])
    await endProcess(before)
    // The supervisor's pause grows to 30 s when a role ends often.
    await until('the Holdfast mount to come back', 90_000, async () => {
      const { mountRole, mounted } = await this.#status()
      return mounted && mountRole.state === 'ready' && mountRole.pid !== before
    })
    await dropCaches()
  }

  async restartMaster(): Promise<void> {
    const before = (await this.#status()).master.pid
    if (before === null) throw new Error('the master of the Holdfast cluster does not run')
    await endProcess(before, 60_000)
  }

  async stop(): Promise<void> {
    await run(program, ['local', 'stop', '--dir', this.#dir], { timeoutMs: 120_000 })
  }

  async #status(): Promise<LocalStatus> {
    const text = await run(program, ['local', 'status', '--dir', this.#dir, '--json'], { timeoutMs: 30_000 })
    return JSON.parse(text) as LocalStatus
  }
}

/** A plain directory: what the client programs themselves cost, and what the disk gives when nobody is in between. */
const ext4: Peer = {
  name: 'ext4',
  missing: () => Promise.resolve(undefined),
  async start(base) {
    const path = `${base}/plain`
    await mkdir(path, { recursive: true })
    return { path, pids: () => Promise.resolve({}), cold: dropCaches, stop: () => Promise.resolve() }
  },
}

export const peers: Readonly<Record<PeerName, Peer>> = {
  holdfast,
  moosefs: moosefs('moosefs'),
  'moosefs-sync': moosefs('moosefs-sync'),
  ext4,
}
