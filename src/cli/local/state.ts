/*
 * What a local cluster's directory says about it. cluster.json is what it is (written once, changed by `local start`):
 * id, ports, mount point. state.json is what runs now: written by the supervisor at every change, left behind when the
 * supervisor is killed. A process is named by its id *and* its start time, because ids are used again.
 *
 * Every write is a rename, so a reader never sees half a file. Both files only grow new optional fields.
 */

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { FsError } from '../../base/fault.ts'

export const DEFAULT_DIR = '.holdfast'
export const DEFAULT_MOUNT = 'mnt'
export const DEFAULT_CHUNKSERVERS = 3
export const DEFAULT_COPIES = 2

export type Door = 'fuse' | 'fuse-native'

export interface ClusterFile {
  readonly format: 1
  /** The cluster's id; every role refuses to talk to another. */
  readonly cluster: string
  readonly mount: string
  readonly copies: number
  readonly door: Door
  readonly master: { readonly port: number }
  readonly chunkservers: readonly { readonly name: string; readonly port: number }[]
}

export interface ProcessId {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: clock ticks from the machine's start to the process's. */
  readonly startTicks: number
}

/** `waiting`: ended by itself and started again after a rest. `ready`: it has answered since its last start. */
export type RoleState = 'starting' | 'ready' | 'waiting' | 'stopped'
export interface RoleRecord {
  readonly process: ProcessId | undefined
  readonly state: RoleState
  /** Wall clock of the last start, ms. */
  readonly sinceMs: number
  readonly restarts: number
  /** How it ended last time, in words; empty when it never did. */
  readonly lastExit: string
}

export type Phase = 'starting' | 'running' | 'stopping'
export interface StateFile {
  readonly format: 1
  readonly supervisor: ProcessId
  readonly sinceMs: number
  readonly phase: Phase
  /** By role name: master, chunkserver-1 …, mount. In the order of starting. */
  readonly roles: Readonly<Record<string, RoleRecord>>
}

export const paths = (dir: string) =>
  ({
    cluster: join(dir, 'cluster.json'),
    state: join(dir, 'state.json'),
    data: (role: string) => join(dir, role),
    config: (role: string) => join(dir, `${role}.toml`),
    log: (role: string) => join(dir, 'log', `${role}.log`),
  }) as const

export const readClusterFile = (dir: string): Promise<ClusterFile | undefined> =>
  readJson<ClusterFile>(paths(resolve(dir)).cluster)
export const readStateFile = (dir: string): Promise<StateFile | undefined> =>
  readJson<StateFile>(paths(resolve(dir)).state)
export const writeClusterFile = (dir: string, value: ClusterFile): Promise<void> => writeJson(paths(dir).cluster, value)
export const writeStateFile = (dir: string, value: StateFile): Promise<void> => writeJson(paths(dir).state, value)
export const removeStateFile = (dir: string): Promise<void> => rm(paths(dir).state, { force: true })

async function readJson<T extends { format: number }>(file: string): Promise<T | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
  let value: T
  try {
    value = JSON.parse(text) as T
  } catch (error) {
    throw new FsError('EINVAL', `${file} is not JSON`, { cause: error })
  }
  if (value.format !== 1) throw new FsError('EINVAL', `${file} was written by another version (format ${value.format})`)
  return value
}

async function writeJson(file: string, value: object): Promise<void> {
  await mkdir(join(file, '..'), { recursive: true })
  const fresh = `${file}.new-${process.pid}`
  await writeFile(fresh, `${JSON.stringify(value, undefined, 2)}\n`)
  await rename(fresh, file)
}

/** The start time of a process, or undefined when there is none (a zombie counts as none). */
export async function startTicks(pid: number): Promise<number | undefined> {
  let stat: string
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'latin1')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
  // The name in brackets may hold anything, also brackets and spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19])
}

export const isAlive = async (process: ProcessId | undefined): Promise<boolean> =>
  process !== undefined && (await startTicks(process.pid)) === process.startTicks

export async function identify(pid: number): Promise<ProcessId | undefined> {
  const ticks = await startTicks(pid)
  return ticks === undefined ? undefined : { pid, startTicks: ticks }
}
