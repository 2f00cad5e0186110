/*
 * Machines of a bed that know nothing yet, and the program on them as a person runs it: each has a directory for what would be
 * /etc and /var/lib, and its roles are processes in its namespace.
 */

import type { ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MeshReport } from '../../src/wire/reports-mesh.ts'
import { HOLDFAST } from '../support/holdfast-program.ts'
import type { Bed } from './bed.ts'

export class Machines {
  readonly bed: Bed
  readonly #dir: string
  readonly #running = new Map<string, { child: ChildProcess; gone: Promise<unknown>; said: string[] }>()

  private constructor(bed: Bed, dir: string) {
    this.bed = bed
    this.#dir = dir
  }

  static async on(bed: Bed): Promise<Machines> {
    return new Machines(bed, await mkdtemp(join(tmpdir(), 'holdfast-mesh-')))
  }

  dir(node: string): string {
    return join(this.#dir, node)
  }
  config(node: string): string {
    return join(this.dir(node), 'holdfast.toml')
  }

  /** What says where this machine keeps its things. */
  #where(node: string): string[] {
    return [
      ...['--config', this.config(node), '--mesh-dir', join(this.dir(node), 'mesh')],
      ...['--key-file', join(this.dir(node), 'wireguard', 'key'), '--data-dir', join(this.dir(node), 'data')],
      ...['--interface', this.bed.node(node).wireguardName],
    ]
  }

  /** `holdfast WORDS…` there; throws with what it said when it fails. */
  async holdfast(node: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const variables = Object.entries({ HOLDFAST_DIR: '', HOLDFAST_CONFIG: this.config(node), ...env })
    const args = [...variables.map(([name, value]) => `${name}=${value}`), process.execPath, HOLDFAST, ...words]
    return (await this.bed.run(node, 'env', args)).stdout
  }

  /** How `holdfast WORDS…` fails there. */
  async failure(
    node: string,
    words: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ exit: number; said: string }> {
    try {
      const stdout = await this.holdfast(node, words, env)
      throw new Error(`holdfast ${words.join(' ')} did not fail: ${stdout}`)
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as { code?: unknown }
      if (typeof code !== 'number') throw error
      // The first line is the command, with the token that it was given.
      return { exit: code, said: (error as Error).message.split('\n').slice(1).join(' ') }
    }
  }

  async json<T>(node: string, words: readonly string[]): Promise<T> {
    return JSON.parse(await this.holdfast(node, [...words, '--json'])) as T
  }

  meshStatus(node: string): Promise<MeshReport> {
    return this.json(node, ['mesh', 'status', '--mesh-dir', join(this.dir(node), 'mesh')])
  }

  async init(node: string, ...words: string[]): Promise<void> {
    await mkdir(this.dir(node), { recursive: true })
    const { address: four, address6 } = this.bed.node(node)
    const address = four === '' ? `[${address6}]` : four
    const reached = ['--endpoint', address, '--advertise', `${address}:51820`]
    await this.holdfast(node, ['mesh', 'init', '--name', node, ...reached, ...this.#where(node), ...words])
  }

  /** With a token that the hub makes for it. */
  async join(
    hub: string,
    node: string,
    { role = ['chunkserver'], words = [] }: { role?: string[]; words?: string[] } = {},
  ) {
    await mkdir(this.dir(node), { recursive: true })
    const roles = role.flatMap((one) => ['--role', one])
    const { token } = await this.json<{ token: string }>(hub, ['mesh', 'token', 'create', ...roles])
    await this.joinWith(node, token, words)
  }
  async joinWith(node: string, token: string, words: string[] = []): Promise<string> {
    await mkdir(this.dir(node), { recursive: true })
    return this.holdfast(node, this.joinWords(node, words), { HOLDFAST_TOKEN: token })
  }
  joinWords(node: string, words: readonly string[] = []): string[] {
    return ['mesh', 'join', '--name', node, ...this.#where(node), ...words]
  }
  async token(hub: string, ...words: string[]): Promise<{ token: string; tokenId: string }> {
    return this.json(hub, ['mesh', 'token', 'create', ...words])
  }

  /** A hub with its master, once the mesh is founded there. */
  async found(hub: string, ...words: string[]): Promise<void> {
    await this.init(hub, ...words)
    this.start(hub, 'mesh')
    this.start(hub, 'master')
    await eventually(`the mesh is founded at ${hub}`, 30_000, async () =>
      (await this.meshStatus(hub)).mapVersion > 0 ? true : undefined,
    ).catch((error: unknown) => {
      throw new Error(`${this.said(hub, 'mesh')}\n${this.said(hub, 'master')}`, { cause: error })
    })
  }

  /** A role there, started again when it ends, as systemd would. */
  start(node: string, role: string): void {
    const name = `${node} ${role}`
    const said: string[] = []
    const ended = false
    const begin = (): void => {
      const child = this.bed.spawn(node, process.execPath, [HOLDFAST, 'run', role, '--config', this.config(node)])
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (data: Buffer) => {
          said.push(data.toString())
          if (said.length > 400) said.shift()
        })
      const gone = new Promise((resolve) => child.once('exit', resolve))
      this.#running.set(name, { child, gone, said })
      void gone.then(async () => {
        await sleep(300)
        if (this.#running.get(name)?.child === child && !ended) begin()
      })
    }
    begin()
  }

  async stop(node: string, role: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const name = `${node} ${role}`
    const running = this.#running.get(name)
    if (running === undefined) return
    this.#running.delete(name)
    running.child.kill(signal)
    await running.gone
  }

  /** As a power cut does; it is started again at once. */
  async kill(node: string, role: string): Promise<void> {
    const running = this.#running.get(`${node} ${role}`)!
    running.child.kill('SIGKILL')
    await running.gone
  }

  /** How many lines it has written since it was started, up to some hundreds. */
  lines(node: string, role: string): number {
    return this.#running.get(`${node} ${role}`)!.said.join('').split('\n').length - 1
  }
  said(node: string, role: string): string {
    return this.#running.get(`${node} ${role}`)?.said.slice(-6).join('') ?? ''
  }
  /** Sets keys of a section that is there, or adds the section. */
  async configure(node: string, section: string, lines: readonly string[]): Promise<void> {
    const text = await readFile(this.config(node), 'utf8')
    const header = `[${section}]`
    const words = [header, ...lines].join('\n')
    const added = text.includes(header) ? text.replace(header, words) : `${text}\n${words}\n`
    await writeFile(this.config(node), added)
  }
  file(node: string, name: string): Promise<string> {
    return readFile(join(this.dir(node), name), 'utf8')
  }

  async close(): Promise<void> {
    for (const name of [...this.#running.keys()]) {
      const [node, role] = name.split(' ') as [string, string]
      await this.stop(node, role)
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}

/** Tries until it answers something, for as long as it may take. */
export async function eventually<T>(what: string, ms: number, attempt: () => Promise<T | undefined>): Promise<T> {
  const until = performance.now() + ms
  let last: unknown
  while (performance.now() < until) {
    try {
      const found = await attempt()
      if (found !== undefined) return found
    } catch (error) {
      last = error
    }
    await sleep(200)
  }
  throw new Error(`${what}: not within ${ms} ms`, { cause: last })
}
