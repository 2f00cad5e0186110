/*
 * Holdfast on the bed as a person sets it up: a mesh founded at home, every other machine joined with a token, roles as
 * processes in their namespaces. Its own agents make the tunnels; connections are TLS by the mesh's certificates.
 */

import type { FileReport, StatusReport } from '../../src/wire/reports.ts'
import { Bed } from '../../test/wan/bed.ts'
import { eventually, Machines } from '../../test/wan/mesh-machines.ts'
import { mountPoints, unmount, until } from '../e2e/machine.ts'
import { type Congestion, shapeOf, type WanCase } from './cases.ts'
import { bytesBelow, CLIENT, type Class, KEEP, MASTER, SITES, STORES, type WanSystem, withinReason } from './system.ts'

const UP_MS = 90_000

export class HoldfastOnBed implements WanSystem {
  readonly name = 'holdfast'
  readonly bed: Bed
  readonly path: string
  readonly #machines: Machines

  private constructor(bed: Bed, machines: Machines) {
    this.bed = bed
    this.#machines = machines
    this.path = `${machines.dir(CLIENT)}/mnt`
  }

  static async on(wan: WanCase, seed: number): Promise<HoldfastOnBed> {
    const bed = await Bed.start({ seed, wireguard: false, sites: SITES, links: { 'home-fra': shapeOf(wan) } })
    return new HoldfastOnBed(bed, await Machines.on(bed))
  }

  async start(congestion: Congestion): Promise<void> {
    const machines = this.#machines
    const control = (node: string) => machines.configure(node, 'mesh', [`congestion = '${congestion}'`])
    await machines.init(MASTER, '--site', 'home')
    await control(MASTER)
    machines.start(MASTER, 'mesh')
    machines.start(MASTER, 'master')
    await eventually('the mesh is founded', UP_MS, async () =>
      (await machines.meshStatus(MASTER)).mapVersion > 0 ? true : undefined,
    )
    for (const { node, site, label } of STORES) {
      const place = ['--role', 'chunkserver', '--role', 'client', '--site', site, '--label', label]
      const { token } = await machines.token(MASTER, ...place)
      await machines.joinWith(node, token, ['--disk', `${this.#disk(node)} =-64MiB`])
      await control(node)
      machines.start(node, 'mesh')
      machines.start(node, 'chunkserver')
    }
    await eventually('the chunkservers are there', UP_MS, async () => {
      const { nodes } = await machines.json<StatusReport>(MASTER, ['status'])
      return nodes.filter(({ connected }) => connected).length === STORES.length ? true : undefined
    }).catch((error: unknown) => {
      throw new Error(STORES.map(({ node }) => machines.said(node, 'chunkserver')).join('\n'), { cause: error })
    })
    for (const [name, labels] of Object.entries(KEEP))
      await machines.holdfast(MASTER, ['class', 'create', '-K', labels, name])
    const master = await this.address(MASTER)
    await machines.configure(CLIENT, 'mount', [`mountpoint = '${this.path}'`, `masterHost = '${master}'`])
    await this.#mount()
  }

  async address(node: string): Promise<string> {
    return (await this.#machines.meshStatus(node)).ip
  }

  async remount(): Promise<void> {
    await this.#machines.stop(CLIENT, 'mount')
    await this.#mount()
  }

  async setClass(path: string, to: Class): Promise<void> {
    // Only the master's node may, by the roles of its certificate.
    await this.#machines.holdfast(MASTER, ['class', 'set', to, this.#fromRoot(path)])
  }

  homeBytes(): Promise<number> {
    return bytesBelow(STORES.filter(({ site }) => site === 'home').map(({ node }) => this.#disk(node)))
  }

  async isAtHome(path: string): Promise<boolean> {
    const [report] = await this.#machines.json<FileReport[]>(MASTER, ['file', 'info', this.#fromRoot(path)])
    return report!.chunks.every(({ copies }) => copies.some(({ site, readable }) => site === 'home' && readable))
  }

  async stop(): Promise<void> {
    await this.bed.heal('home', 'fra').catch(() => {
      // The relay went with its bed: what is left then is to be removed all the same.
    })
    await withinReason(this.#machines.stop(CLIENT, 'mount'))
    await this.bed.stop()
    await unmount(this.path)
    await this.#machines.close()
  }

  #fromRoot(path: string): string {
    return path.slice(this.path.length)
  }

  #disk(node: string): string {
    return `${this.#machines.dir(node)}/disk`
  }

  async #mount(): Promise<void> {
    this.#machines.start(CLIENT, 'mount')
    await until('the Holdfast mount', UP_MS, () => mountPoints().includes(this.path)).catch((error: unknown) => {
      throw new Error(this.#machines.said(CLIENT, 'mount'), { cause: error })
    })
  }
}
