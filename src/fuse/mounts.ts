/*
 * What the kernel says is mounted, and how to get rid of it. Reads /proc/self/mountinfo and never stats a mount point:
 * a stat on a mount whose server hangs would hang too.
 */

import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { FsError } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'

const run = promisify(execFile)

export interface MountInfo {
  /** "0:54"; the second number names the FUSE connection. */
  readonly device: string
  readonly mountpoint: string
  readonly type: string
  readonly source: string
  readonly options: string
}

export const FUSE_TYPE = 'fuse.holdfast'

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [left = '', right = ''] = line.split(' - ')
      const [, , device = '', , mountpoint = '', options = ''] = left.split(' ')
      const [type = '', source = ''] = right.split(' ')
      return { device, mountpoint: unescapeOctal(mountpoint), type, source: unescapeOctal(source), options }
    })
}

/** Mounts at exactly this path, the uppermost last. Names are bytes, so the file is read as bytes. */
export async function mountsAt(path: string): Promise<MountInfo[]> {
  const wanted = Buffer.from(resolve(path)).toString('latin1')
  const all = parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1'))
  return all.filter((mount) => mount.mountpoint === wanted)
}

const isRoot = (): boolean => process.getuid?.() === 0

/** Runs umount(8), or fusermount3 for an ordinary user. Undefined when it worked, else what it said. */
async function tryUnmount(path: string, lazy: boolean): Promise<string | undefined> {
  const [file, args] = isRoot()
    ? (['umount', lazy ? ['-l', path] : [path]] as const)
    : (['fusermount3', lazy ? ['-u', '-z', path] : ['-u', path]] as const)
  try {
    // "-i" would skip helpers, "--" ends options: a mount point may begin with a dash.
    await run(file, [...args.slice(0, -1), '--', path], { timeout: UNMOUNT_TIMEOUT_MS })
    return undefined
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string }
    return stderr?.trim() || message
  }
}

/** umount(2) waits for the filesystem's last word; a server that takes longer is not going to say it. */
const UNMOUNT_TIMEOUT_MS = 10_000

/** Unmounts in order; what is busy is taken out of the tree and ends with its last user. */
export async function unmount(path: string, log: Log): Promise<void> {
  const mounted = await mountsAt(path)
  if (mounted.length === 0) return
  const busy = await tryUnmount(path, false)
  if (busy === undefined) return
  if ((await mountsAt(path)).length < mounted.length) return
  log.warn({ mountpoint: path, reason: busy }, 'the mount is in use; detached, it ends when the last file is closed')
  const failed = await tryUnmount(path, true)
  if (failed !== undefined && (await mountsAt(path)).length >= mounted.length) {
    throw new FsError('EBUSY', `${path} cannot be unmounted: ${failed}`)
  }
}

/** Mounts stacked on one path that are cleaned away; more than this is somebody's experiment, not our crashes. */
const STALE_MAX = 32

/**
 * Removes what a killed server left at `path`: mounts of ours whose connection is dead. A living one is an error, because
 * mounting over it would hide it. Anything else that is mounted there is left alone.
 */
export async function clearStale(path: string, clock: Clock, log: Log): Promise<void> {
  for (let round = 0; round < STALE_MAX; round++) {
    const top = (await mountsAt(path)).at(-1)
    if (top === undefined || !top.type.startsWith('fuse')) return
    if (top.type !== FUSE_TYPE && !top.source.startsWith('holdfast')) return
    if (!(await isDead(path, clock))) {
      throw new FsError('EBUSY', `${path} is already mounted and answers; unmount it first (umount ${path})`)
    }
    log.warn(
      { mountpoint: path, source: top.source },
      'a dead mount is in the way (its server was killed); clearing it',
    )
    const failed = await tryUnmount(path, true)
    if (failed !== undefined) throw new FsError('EBUSY', `the dead mount at ${path} cannot be cleared: ${failed}`)
  }
  throw new FsError('EBUSY', `more than ${STALE_MAX} dead mounts at ${path}`)
}

/** How long a living mount may take to answer a stat before it is called hung (and left alone). */
const PROBE_MS = 5000

/**
 * Asks from a child, so that a hung mount hangs the child only: ENOTCONN (or an aborted connection's ECONNABORTED) means
 * that the server is gone.
 */
async function isDead(path: string, clock: Clock): Promise<boolean> {
  const child = run('stat', ['-f', '--', path], { env: { ...process.env, LC_ALL: 'C' } })
  const answer = child.then(
    () => 'alive' as const,
    (error: { stderr?: string }) =>
      /not connected|connection abort/i.test(error.stderr ?? '') ? ('dead' as const) : ('alive' as const),
  )
  const stop = new AbortController()
  const late = clock.sleep(PROBE_MS, { signal: stop.signal }).then(
    () => 'hung' as const,
    () => 'hung' as const,
  )
  const result = await Promise.race([answer, late])
  stop.abort()
  if (result === 'hung') {
    child.child.kill('SIGKILL')
    child.child.unref()
    throw new FsError(
      'EBUSY',
      `the mount at ${path} does not answer; abort it (see fusectl) or unmount it with umount -l`,
    )
  }
  return result === 'dead'
}

/** Ends a connection for good: every waiting caller gets an error. The way out when unmounting itself is stuck. */
export async function abortConnection(device: string, log: Log): Promise<void> {
  const minor = /^\d+:(\d+)$/.exec(device)?.[1]
  if (minor === undefined) throw new FsError('EINVAL', `not a device number: ${device}`)
  const abort = `${FUSECTL}/${minor}/abort`
  try {
    await writeFile(abort, '1')
    return
  } catch (error) {
    log.debug({ err: error }, 'fusectl is not mounted; mounting it for a moment')
  }
  // In a mount namespace of its own, so that nothing is left mounted even if this process ends with its connection.
  const script = `mount -t fusectl none ${FUSECTL} && echo 1 > ${abort}`
  await run('unshare', ['--mount', 'sh', '-c', script], { timeout: UNMOUNT_TIMEOUT_MS })
}

/** Where the kernel makes a directory for the control files of its FUSE connections. */
const FUSECTL = '/sys/fs/fuse/connections'

/**
 * Readahead of the mount in KiB: one READ of the largest size, in place of the kernel's 128 KiB. Must come after INIT,
 * which lowers it. Without the right to write to /sys (containers, ordinary users) reading stays a third slower.
 */
const READ_AHEAD_KB = 1024

export async function raiseReadAhead(path: string, log: Log): Promise<void> {
  const top = (await mountsAt(path)).at(-1)
  if (top === undefined) return
  try {
    await writeFile(`/sys/class/bdi/${top.device}/read_ahead_kb`, String(READ_AHEAD_KB))
  } catch (error) {
    log.debug({ err: error }, 'readahead stays at the default of the kernel')
  }
}
