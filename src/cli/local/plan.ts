/*
 * From the options of `local start` and what the directory remembers to the cluster that shall run, and its files. Ports
 * are chosen once and remembered; one that somebody else has taken meanwhile is chosen anew. Keys that a person added to
 * a role's TOML file stay; the keys that hold the cluster together are written at every start.
 */

import { mkdir, realpath, rename, writeFile } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { FsError } from '../../base/fault.ts'
import type { Net, Random } from '../../base/world.ts'
import { parseSections, readText } from '../../config/load.ts'
import type { RoleName } from '../../config/tables.ts'
import { configToml } from '../../config/write.ts'
import {
  type ClusterFile,
  DEFAULT_CHUNKSERVERS,
  DEFAULT_COPIES,
  DEFAULT_MOUNT,
  type Door,
  paths,
  readClusterFile,
  writeClusterFile,
} from './state.ts'

export interface StartOptions {
  readonly mount?: string | undefined
  readonly chunkservers?: number | undefined
  readonly copies?: number | undefined
  readonly door?: Door | undefined
  readonly racks?: number | undefined
  readonly sites?: number | undefined
}

export interface Standing {
  readonly machine: string
  readonly rack: string
  readonly site: string
}

/**
 * Chunkservers of one machine as if they stood on many, in blocks: the first share of them is site-1, and within a site one
 * rack follows the other. Each has a machine of its own, which its address cannot say.
 */
export function standingOf(index: number, chunkservers: number, racks: number, sites: number): Standing {
  const share = (parts: number): number => 1 + Math.floor((index * parts) / chunkservers)
  return { machine: `machine-${index + 1}`, rack: `rack-${share(racks)}`, site: `site-${share(sites)}` }
}

/** Below the kernel's range for outgoing connections (32768 …), so that a stopped cluster's ports stay free. */
const PORTS_FROM = 20_000
const PORTS_COUNT = 12_000
const PORT_TRIES = 200

export async function planCluster(
  dir: string,
  options: StartOptions,
  world: { net: Net; random: Random },
): Promise<{ cluster: ClusterFile; before: ClusterFile | undefined }> {
  const before = await readClusterFile(dir)
  const wanted = options.chunkservers ?? before?.chunkservers.length ?? DEFAULT_CHUNKSERVERS
  const copies = options.copies ?? before?.copies ?? DEFAULT_COPIES
  if (before !== undefined && wanted < before.chunkservers.length)
    throw new FsError(
      'EINVAL',
      `${dir} has ${before.chunkservers.length} chunkservers; starting fewer would leave their data out (drain them first)`,
    )
  const { racks = options.sites ?? 1, sites = 1 } = options
  if (racks > wanted || sites > racks)
    throw new FsError(
      'EINVAL',
      `${sites} sites and ${racks} racks need at least as many racks and chunkservers; there are ${wanted} chunkservers`,
    )
  if (copies > wanted)
    throw new FsError('EINVAL', `${copies} copies need as many chunkservers, there are ${wanted} (--chunkservers)`)
  const taken = new Set<number>()
  const port = async (remembered: number | undefined): Promise<number> => {
    if (remembered !== undefined && !taken.has(remembered) && (await isFree(world.net, remembered))) {
      taken.add(remembered)
      return remembered
    }
    for (let i = 0; i < PORT_TRIES; i++) {
      const candidate = PORTS_FROM + world.random.below(PORTS_COUNT)
      if (taken.has(candidate) || !(await isFree(world.net, candidate))) continue
      taken.add(candidate)
      return candidate
    }
    throw new FsError(
      'EBUSY',
      `no free port among ${PORT_TRIES} tried between ${PORTS_FROM} and ${PORTS_FROM + PORTS_COUNT}`,
    )
  }
  const mount = options.mount === undefined ? (before?.mount ?? resolve(DEFAULT_MOUNT)) : resolve(options.mount)
  await mkdir(dir, { recursive: true })
  await refuseNesting(dir, mount)
  const cluster: ClusterFile = {
    format: 1,
    cluster: before?.cluster ?? world.random.hex(16),
    mount,
    copies,
    door: options.door ?? before?.door ?? 'fuse',
    master: { port: await port(before?.master.port) },
    chunkservers: [],
  }
  const chunkservers: { name: string; port: number }[] = []
  for (let i = 0; i < wanted; i++) {
    const known = before?.chunkservers[i]
    chunkservers.push({ name: known?.name ?? `chunkserver-${i + 1}`, port: await port(known?.port) })
  }
  return { cluster: { ...cluster, chunkservers }, before }
}

async function isFree(net: Net, port: number): Promise<boolean> {
  try {
    const listener = await net.listen('127.0.0.1', port, (transport) => transport.close())
    await listener.close()
    return true
  } catch (error) {
    if (error instanceof FsError && error.code === 'EBUSY') return false
    throw error
  }
}

/** A cluster whose own data lay under its mount would wait for itself. */
async function refuseNesting(dir: string, mount: string): Promise<void> {
  const real = await realpath(dir)
  if (real === mount || `${real}${sep}`.startsWith(mount === sep ? sep : `${mount}${sep}`))
    throw new FsError('EINVAL', `the directory ${dir} would lie inside its own mount ${mount}`)
}

/** Directories, cluster.json and one TOML file per role. Racks and sites not given stay as the files have them. */
export async function writeCluster(dir: string, cluster: ClusterFile, { racks, sites }: StartOptions): Promise<void> {
  const where = paths(dir)
  await mkdir(join(dir, 'log'), { recursive: true })
  await writeClusterFile(dir, cluster)
  const common = { cluster: { id: cluster.cluster } }
  const master = { masterHost: '127.0.0.1', masterPort: cluster.master.port }
  await mkdir(where.data('master'), { recursive: true, mode: 0o700 })
  await writeRole(where.config('master'), 'master', (kept) =>
    configToml(
      'master',
      {
        ...kept,
        dataDir: where.data('master'),
        listenHost: '127.0.0.1',
        listenPort: cluster.master.port,
        copies: cluster.copies,
      },
      common,
    ),
  )
  // They share one disk: together they offer what is free on it, not each of them all of it.
  const share = `=${Math.floor(100 / cluster.chunkservers.length)}%`
  const { length } = cluster.chunkservers
  for (const [i, { name, port }] of cluster.chunkservers.entries()) {
    const dataDir = where.data(name)
    await mkdir(join(dataDir, 'disk'), { recursive: true, mode: 0o700 })
    await writeRole(where.config(name), 'chunkserver', (kept) =>
      configToml(
        'chunkserver',
        {
          disks: [`${join(dataDir, 'disk')} ${share}`],
          ...kept,
          ...(racks === undefined && sites === undefined ? {} : standingOf(i, length, racks ?? sites ?? 1, sites ?? 1)),
          name,
          dataDir,
          listenHost: '127.0.0.1',
          listenPort: port,
          ...master,
        },
        common,
      ),
    )
  }
  await writeRole(where.config('mount'), 'mount', (kept) =>
    configToml(
      'mount',
      {
        allowOther: process.getuid?.() === 0,
        ...kept,
        mountpoint: cluster.mount,
        door: cluster.door,
        ...master,
      },
      common,
    ),
  )
}

/** `toml` gets the keys that the file has now; an unknown key in it is refused here, before anything starts. */
async function writeRole(file: string, role: RoleName, toml: (kept: object) => string): Promise<void> {
  let kept: object = {}
  let log: string | undefined
  try {
    const sections = parseSections(await readText(file), file)
    kept = sections[role] ?? {}
    if (sections.log !== undefined) log = configLog(sections.log)
  } catch (error) {
    if (!(error instanceof FsError && error.code === 'ENOENT')) throw error
  }
  const text = `# Written by \`holdfast local start\`. Keys you add here are kept.\n${toml(kept)}${log ?? ''}`
  const fresh = `${file}.new-${process.pid}`
  await writeFile(fresh, text)
  await rename(fresh, file)
}

const configLog = (log: Record<string, unknown>): string =>
  `\n[log]\n${Object.entries(log)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join('')}`
