/*
 * A mount role in the background, for `holdfast mount`. Its configuration and log lie in the runtime directory, named
 * after the mount point; `umount` removes them, and after a crash the next mount there writes over them.
 */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { FsError, unwrap } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { configToml } from '../config/write.ts'
import { mountsAt, unmount } from '../fuse/mounts.ts'
import { hostClock } from '../host/clock.ts'
import { hostLog } from '../host/log.ts'
import { labelName } from '../topology/label-names.ts'
import { type ClusterAddress, findCluster, NO_IDENTITY, nodeIdentity } from './find.ts'
import { endProcess, gone, lastWords } from './local/role-process.ts'
import { identify, type ProcessId } from './local/state.ts'
import { answers } from './mount-probe.ts'
import { mountProgram, runtimeDir } from './mount-program.ts'

const READY_MS = 60_000
/** After umount(2) the role has everything out; it only has to exit. */
const EXIT_MS = 20_000

export interface MountRequest {
  readonly dir: string | undefined
  readonly master: string | undefined
  readonly door: 'fuse' | 'fuse-native'
  readonly readOnly: boolean
  /** What is deleted, instead of the files. */
  readonly meta: boolean
  readonly onDisconnect: 'wait' | 'error'
  readonly onDisconnectMs: number | undefined
  readonly opLog: string | undefined
  readonly prefer: readonly string[]
  readonly rack: string
  readonly site: string
}

export async function mountInBackground(
  path: string,
  request: MountRequest,
): Promise<{ mountpoint: string; pid: number; log: string }> {
  const mountpoint = resolve(path)
  if (request.meta && process.getuid?.() !== 0)
    throw new FsError('EPERM', 'a meta mount shows the deleted files of everybody: only root makes one')
  const address =
    request.master === undefined
      ? await findCluster({ dir: request.dir })
      : { ...parseMaster(request.master), ...(await nodeIdentity()) }
  if (await isMounted(mountpoint)) throw new FsError('EBUSY', `something is already mounted at ${mountpoint}`)
  const files = runtimeFiles(mountpoint)
  await mkdir(files.dir, { recursive: true, mode: 0o700 })
  await writeFile(
    files.config,
    configToml(
      'mount',
      {
        mountpoint,
        masterHost: address.host,
        masterPort: address.port,
        door: request.door,
        readOnly: request.readOnly,
        prefer: request.prefer.map((label) => unwrap(labelName(label.trim()))),
        rack: request.rack,
        site: request.site,
        meta: request.meta,
        onDisconnect: request.onDisconnect,
        ...(request.onDisconnectMs === undefined ? {} : { onDisconnectMs: request.onDisconnectMs }),
        allowOther: process.getuid?.() === 0,
        ...(request.opLog === undefined ? {} : { opLog: resolve(request.opLog) }),
      },
      { cluster: { id: address.cluster, identityDir: address.identityDir, runDir: address.runDir } },
    ),
  )
  const { file, args, env } = await mountProgram(await loadConfig('mount', files.config), files.config)
  const log = await open(files.log, 'w')
  const child = spawn(file, args, {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    env: { ...process.env, ...env },
  })
  await log.close()
  let ended: string | undefined
  child.on('error', (error) => (ended = error.message))
  child.on('exit', (code, signal) => (ended = signal ?? `exit ${code}`))
  const until = hostClock.monotonicMs() + READY_MS
  while (!(await answers(mountpoint))) {
    if (ended !== undefined) throw new FsError('EIO', `the mount ended (${ended}): ${await lastWords(files.log)}`)
    if (hostClock.monotonicMs() > until) {
      child.kill('SIGTERM')
      throw new FsError('ETIMEDOUT', `${mountpoint} does not answer; see ${files.log}`)
    }
    await hostClock.sleep(50)
  }
  const self = await identify(child.pid!)
  await writeFile(files.process, JSON.stringify(self))
  child.unref()
  return { mountpoint, pid: child.pid!, log: files.log }
}

/** Unmounts, and waits until the role has ended, when it was started by `holdfast mount`. */
export async function unmountPath(path: string): Promise<string> {
  const mountpoint = resolve(path)
  const top = (await mountsAt(mountpoint)).at(-1)
  if (top === undefined || !top.type.startsWith('fuse'))
    throw new FsError('EINVAL', `${mountpoint} is not a Holdfast mount`)
  const server = await serverOf(mountpoint)
  await unmount(mountpoint, hostLog({ component: 'umount', level: 'error' }))
  if (server !== undefined && !(await gone(server, EXIT_MS, hostClock))) await endProcess(server, EXIT_MS, hostClock)
  const { config, log, process: record } = runtimeFiles(mountpoint)
  for (const file of [config, log, record]) await rm(file, { force: true })
  return mountpoint
}

function runtimeFiles(mountpoint: string) {
  const dir = runtimeDir()
  const name = createHash('sha256').update(mountpoint).digest('hex').slice(0, 16)
  const file = (ending: string): string => join(dir, `mount-${name}.${ending}`)
  return { dir, config: file('toml'), log: file('log'), process: file('json') }
}

async function serverOf(mountpoint: string): Promise<ProcessId | undefined> {
  try {
    return JSON.parse(await readFile(runtimeFiles(mountpoint).process, 'utf8')) as ProcessId
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export function parseMaster(text: string): ClusterAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || Number(match![3]) > 65535) throw new FsError('EINVAL', `"${text}" is not HOST:PORT`)
  return { host, port: Number(match![3]), cluster: '', found: '--master', ...NO_IDENTITY }
}

async function isMounted(mountpoint: string): Promise<boolean> {
  return (await mountsAt(mountpoint)).some((mount) => !mount.type.startsWith('fuse')) || answers(mountpoint)
}
