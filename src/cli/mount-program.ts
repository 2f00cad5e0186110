/*
 * What has to be started so that a mount role can mount: itself, for root over /dev/fuse; itself behind fusermount3, for
 * an ordinary user; itself with libfuse 2 in the loader's path, for the fuse-native door. Clears a dead mount first.
 */

import { constants } from 'node:fs'
import { access, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errnoOf, FsError } from '../base/fault.ts'
import { mountSource } from '../config/mount-source.ts'
import type { MountConfig, RoleName } from '../config/tables.ts'
import { fuseNativeEnvironment } from '../fuse/fuse-native-door.ts'
import { FUSERMOUNT_FD_VARIABLE, fusermountCommand } from '../fuse/fusermount.ts'
import { haveFusermount } from '../fuse/mount.ts'
import { clearStale } from '../fuse/mounts.ts'
import { hostClock } from '../host/clock.ts'
import { hostLog } from '../host/log.ts'

export interface Program {
  readonly file: string
  readonly args: readonly string[]
  /** Beside the environment of this process. */
  readonly env: Readonly<Record<string, string>>
}

/** Tells the process started with it that its loader knows libfuse 2. */
const NATIVE_READY_VARIABLE = 'HOLDFAST_FUSE_NATIVE_READY'

/**
 * The program and the arguments with which this very program runs a role: bin/holdfast, which gives a role its threads
 * before anything else, or in development main.ts through tsx.
 */
export function roleProgram(role: RoleName, configFile: string): Program {
  const source = import.meta.url.endsWith('.ts') ? './main.ts' : '../../bin/holdfast'
  const main = fileURLToPath(new URL(source, import.meta.url))
  return { file: process.execPath, args: [...process.execArgv, main, 'run', role, '--config', configFile], env: {} }
}

const isRoot = (): boolean => process.getuid?.() === 0

/** Whether this process can mount as it is, or has to be started once more through mountProgram(). */
export const canMountHere = (config: MountConfig): boolean =>
  config.door === 'fuse'
    ? isRoot() || process.env[FUSERMOUNT_FD_VARIABLE] !== undefined
    : process.env[NATIVE_READY_VARIABLE] !== undefined

export async function mountProgram(config: MountConfig, configFile: string): Promise<Program> {
  const own = roleProgram('mount', configFile)
  if (config.door === 'fuse' && !isRoot() && !(await haveFusermount()))
    throw new FsError(
      'EPERM',
      'an ordinary user mounts through fusermount3, which is missing; as root: apt-get install --yes fuse3',
    )
  if (!isRoot()) await mayOpenFuse()
  await clearStale(config.mountpoint, hostClock, hostLog({ component: 'mount' }))
  await mkdir(config.mountpoint, { recursive: true })
  if (config.door === 'fuse-native')
    return {
      ...own,
      env: { ...(await fuseNativeEnvironment(join(runtimeDir(), 'lib'))), [NATIVE_READY_VARIABLE]: '1' },
    }
  if (isRoot()) return own
  const command = fusermountCommand({
    mountpoint: config.mountpoint,
    source: mountSource(config.masterHost, config.masterPort, config.meta),
    readOnly: config.readOnly,
    allowOther: config.allowOther,
    program: [own.file, ...own.args],
  })
  return { ...command, env: {} }
}

/** Debian's udev makes the device everybody's; containers and minimal systems often do not. */
async function mayOpenFuse(): Promise<void> {
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch (cause) {
    const code = errnoOf(cause)
    if (code === undefined) throw cause
    const hint = code === 'ENOENT' ? 'modprobe fuse' : 'chmod 666 /dev/fuse'
    throw new FsError(code, `an ordinary user cannot open /dev/fuse here; as root: ${hint}`, { cause })
  }
}

/** For files that are of no use after the machine restarts. */
export function runtimeDir(): string {
  if (isRoot()) return '/run/holdfast'
  const own = process.env.XDG_RUNTIME_DIR
  return own === undefined ? join(tmpdir(), `holdfast-${process.getuid?.()}`) : join(own, 'holdfast')
}
