/*
 * Which cluster a command means: --dir, HOLDFAST_DIR, the mount that a given path lies in, /etc/holdfast/holdfast.toml, in
 * this order; last ./.holdfast, where `npm start` puts one. The first that is *named* decides: a --dir without a cluster
 * is an error, not a reason to talk to another one.
 */

import { realpathSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { FsError } from '../base/fault.ts'
import { NODE_CONFIG_FILE, parseClusterSection, parseSections, readText } from '../config/load.ts'
import { MOUNT_TYPE, parseMountSource } from '../config/mount-source.ts'
import { MASTER_PORT } from '../config/tables.ts'
import { type MountInfo, parseMountInfo } from '../fuse/mounts.ts'
import { DEFAULT_DIR, readClusterFile } from './local/state.ts'
import { nameBytes } from './render.ts'

export interface ClusterAddress {
  readonly host: string
  readonly port: number
  /** The cluster's id, or '' when it is not known: any is taken. */
  readonly cluster: string
  /** How it was found, for messages. */
  readonly found: string
  /** The directory of a local cluster. */
  readonly dir?: string
  /** Of this node, where it has one; '' where connections prove nothing. */
  readonly identityDir: string
  readonly runDir: string
}

/** Of one machine, or of a LAN that is trusted whole. */
export const NO_IDENTITY = { identityDir: '', runDir: '' } as const

export interface FindWorld {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly nodeConfigFile: string
  readonly mounts: () => Promise<MountInfo[]>
}
/** Of this node: HOLDFAST_CONFIG where it is set, for several nodes on one machine. */
export const nodeConfigFile = (): string => process.env.HOLDFAST_CONFIG || NODE_CONFIG_FILE
const here: FindWorld = {
  env: process.env,
  nodeConfigFile: nodeConfigFile(),
  mounts: async () => parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1')),
}

export async function findCluster(
  wanted: { dir: string | undefined; path?: string | undefined },
  world: FindWorld = here,
): Promise<ClusterAddress> {
  if (wanted.dir !== undefined) return ofDir(wanted.dir, '--dir')
  const fromEnv = world.env.HOLDFAST_DIR
  if (fromEnv !== undefined && fromEnv !== '') return ofDir(fromEnv, 'HOLDFAST_DIR')
  if (wanted.path !== undefined) {
    const mount = mountOf(wanted.path, await world.mounts())
    const address = mount === undefined ? undefined : parseMountSource(mount.source)
    if (mount !== undefined && address !== undefined) {
      const identity = await nodeIdentity(world.nodeConfigFile)
      return { ...address, cluster: '', found: `the mount ${mount.mountpoint}`, ...identity }
    }
  }
  const node = await ofNode(world.nodeConfigFile)
  if (node !== undefined) return node
  if ((await readClusterFile(DEFAULT_DIR)) !== undefined) return ofDir(DEFAULT_DIR, DEFAULT_DIR)
  throw new FsError(
    'ENOENT',
    `no cluster found: give --dir DIR, set HOLDFAST_DIR, name a path in a mount, or write ${world.nodeConfigFile}`,
  )
}

async function ofDir(dir: string, how: string): Promise<ClusterAddress> {
  const cluster = await readClusterFile(dir)
  if (cluster === undefined) throw new FsError('ENOENT', `${how}: ${resolve(dir)} holds no local cluster`)
  return {
    host: '127.0.0.1',
    port: cluster.master.port,
    cluster: cluster.cluster,
    found: `${how} ${dir}`,
    dir: resolve(dir),
    ...NO_IDENTITY,
  }
}

/** The [mount], [chunkserver] or [master] section tells where the master is. */
async function ofNode(file: string): Promise<ClusterAddress | undefined> {
  let toml: string
  try {
    toml = await readText(file)
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENOENT') return undefined
    throw error
  }
  const found = parseSections(toml, file)
  const { id, identityDir, runDir } = parseClusterSection(toml, file)
  const client = found.mount ?? found.chunkserver ?? (found.mesh?.masterHost ? found.mesh : undefined)
  const host = client?.masterHost ?? found.master?.listenHost ?? '127.0.0.1'
  const port = client?.masterPort ?? found.master?.listenPort ?? MASTER_PORT
  if (typeof host !== 'string' || typeof port !== 'number')
    throw new FsError('EINVAL', `${file}: masterHost and masterPort must be a text and a number`)
  const reach = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return { host: reach, port, cluster: id, found: file, identityDir, runDir }
}

/** With what this node proves who it is, if it does. */
export async function nodeIdentity(file = nodeConfigFile()): Promise<Pick<ClusterAddress, 'identityDir' | 'runDir'>> {
  const { identityDir, runDir } = (await ofNode(file)) ?? NO_IDENTITY
  return { identityDir, runDir }
}

/** The Holdfast mount that a path lies in: the longest mount point above it, if that one is ours. */
export function mountOf(path: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  const absolute = nameBytes(realDirectory(path))
  let best: MountInfo | undefined
  for (const mount of mounts) {
    const inside =
      absolute === mount.mountpoint || absolute.startsWith(mount.mountpoint === '/' ? '/' : `${mount.mountpoint}/`)
    // Of mounts stacked on one point the last is on top.
    if (inside && mount.mountpoint.length >= (best?.mountpoint.length ?? 0)) best = mount
  }
  return best?.type === MOUNT_TYPE ? best : undefined
}

/**
 * The path with symlinks resolved in its directory part, not in its last one: `file info` of a symlink is about the
 * symlink. A path that is gone (trash) is taken as typed.
 */
export function realDirectory(path: string): string {
  const absolute = resolve(path)
  const parent = dirname(absolute)
  if (parent === absolute) return absolute
  try {
    const real = realpathSync(parent)
    return `${real === '/' ? '' : real}/${absolute.slice(parent.length).replace(/^\//, '')}`
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === undefined) throw error
    return absolute
  }
}
