/*
 * From a directory and a Vfs to a served mount, and back. Getting the descriptor (as root through mount(8), as an
 * ordinary user through fusermount3, or handed in by whoever holds it), the session on it, invalidations from the vfs to
 * the kernel, and unmounting in order.
 *
 * After a SIGKILL the mount point stays behind, answering ENOTCONN; the next start clears it. Nothing else is left.
 */

import { execFile, spawn } from 'node:child_process'
import { close, openSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { FsError } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Invalidation, Vfs } from '../client/vfs.ts'
import { deletedEntry, invalidateEntry, invalidateInode, resendRequests } from './codec.ts'
import { type ChannelKind, FuseChannel } from './device.ts'
import { FUSERMOUNT_FD_VARIABLE } from './fusermount.ts'
import type { Negotiated } from './init.ts'
import { abortConnection, clearStale, FUSE_TYPE, mountsAt, raiseReadAhead, unmount } from './mounts.ts'
import { FuseSession, type OpLog } from './session.ts'

const run = promisify(execFile)

export interface MountOptions {
  readonly mountpoint: string
  /** What /proc/mounts shows in the first column. */
  readonly source: string
  /** Other users than the mounting one may enter; default: yes for root. */
  readonly allowOther?: boolean
  readonly readOnly?: boolean
  readonly channel?: ChannelKind | undefined
  readonly opLog?: OpLog | undefined
  /** A descriptor of a mount that exists already (fusermount3's, or a holder's). Default: FUSERMOUNT_FD_VARIABLE. */
  readonly deviceFd?: number | undefined
  /** With `deviceFd`, when another process has answered INIT on it: what was agreed. Lost requests are asked for again. */
  readonly negotiated?: Negotiated | undefined
}

export interface MountWorld {
  readonly clock: Clock
  readonly log: Log
}

/** A served mount; both doors have this shape. */
export interface Mounted {
  readonly mountpoint: string
  /** Starts or stops (undefined) the operation log. */
  setOpLog(sink: OpLog | undefined): void
  unmount(): Promise<void>
  /** Resolves when the mount has ended, by unmount() or by somebody's umount. The vfs is not closed. */
  readonly closed: Promise<void>
}

/** How long unmount waits for the kernel to end the connection; a cloned mount namespace can hold it for ever. */
const END_MS = 5000
/** How long INIT may take after mount(2) returned; the kernel sends it at once. */
const INIT_MS = 10_000

export async function mountFuse(vfs: Vfs, options: MountOptions, { clock, log }: MountWorld): Promise<Mounted> {
  const mountpoint = resolve(options.mountpoint)
  const handedIn = options.deviceFd ?? fdFromEnvironment()
  const fd = handedIn ?? (await mountAsRoot(mountpoint, options, { clock, log }))
  const device = (await mountsAt(mountpoint)).at(-1)?.device
  const channel = new FuseChannel(fd, log, { channel: options.channel })

  let session: FuseSession | undefined
  const ready = new Promise<void>((answered) => {
    session = new FuseSession(vfs, channel, clock, log, {
      ...(options.negotiated === undefined ? {} : { negotiated: options.negotiated }),
      ...(options.opLog === undefined ? {} : { opLog: options.opLog }),
      onReady: () => answered(),
    })
  })
  const served = session!
  vfs.onInvalidate((change) => {
    served.changedElsewhere(change.kind === 'inode' ? change.ino : change.parent)
    push(channel, change)
  })
  channel.start((buffer, length) => served.handle(buffer, length))
  if (options.negotiated !== undefined) channel.notify('resend', resendRequests())

  await within(ready, INIT_MS, clock, `${mountpoint}: the kernel sent no INIT`)
  await raiseReadAhead(mountpoint, log)
  log.info({ mountpoint, channel: channel.kind }, 'mounted')

  return {
    mountpoint,
    closed: channel.closed,
    setOpLog: (sink) => {
      served.opLog = sink
    },
    async unmount() {
      await unmount(mountpoint, log)
      if (await settled(channel.closed, END_MS, clock)) return
      // Detached but in use, or alive in a cloned mount namespace: whoever still uses it gets errors, not silence.
      try {
        if (device !== undefined) await abortConnection(device, log)
      } catch (error) {
        log.warn({ err: error, mountpoint }, 'cannot abort the connection; it ends with this process')
      }
      await channel.close()
    },
  }
}

function push(channel: FuseChannel, change: Invalidation): void {
  switch (change.kind) {
    case 'inode':
      channel.notify(`${change.data ? 'data' : 'attr'}:${change.ino}`, invalidateInode(change.ino, change.data))
      return
    case 'entry': {
      const { parent, name, child } = change
      const message = child === undefined ? invalidateEntry(parent, name) : deletedEntry(parent, child, name)
      channel.notify(`entry:${parent}:${name}`, message)
    }
  }
}

function fdFromEnvironment(): number | undefined {
  const text = process.env[FUSERMOUNT_FD_VARIABLE]
  if (text === undefined) return undefined
  // Children must not believe that the descriptor is theirs.
  delete process.env[FUSERMOUNT_FD_VARIABLE]
  return Number(text)
}

/** The options every mount has; the rest of the -o list differs by who mounts. */
export function mountFlags(options: Pick<MountOptions, 'allowOther' | 'readOnly'>, root: boolean): string[] {
  // noatime says what is true: reading never moves the access time.
  const flags = ['default_permissions', options.readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', 'noatime']
  // Device nodes and set-id programs are as trusted as the cluster: root's mounts allow them, as a disk's would.
  if (root) flags.splice(2, 2, 'suid', 'dev')
  if (options.allowOther ?? root) flags.push('allow_other')
  return flags
}

/** Makes the mount and answers its descriptor, unserved: for mountFuse, and for a holder that lets others serve it. */
export async function mountAsRoot(
  mountpoint: string,
  options: Pick<MountOptions, 'source' | 'allowOther' | 'readOnly'>,
  { clock, log }: MountWorld,
): Promise<number> {
  if (process.getuid?.() !== 0) {
    throw new FsError('EPERM', 'mounting without root needs the start through fusermount3 (see fusermountCommand)')
  }
  await clearStale(mountpoint, clock, log)
  await mkdir(mountpoint, { recursive: true })
  let fd: number
  try {
    fd = openSync('/dev/fuse', 'r+')
  } catch (cause) {
    const hint = 'cannot open /dev/fuse (modprobe fuse; in a container, pass the device in)'
    throw new FsError((cause as { code?: string }).code === 'ENOENT' ? 'ENODEV' : 'EPERM', hint, { cause })
  }
  try {
    await mountWithFd(fd, mountpoint, options)
  } catch (error) {
    await new Promise<void>((done) => close(fd, () => done()))
    throw error
  }
  return fd
}

/** mount(8) makes the system call for us; it gets the descriptor as its own number 3, which is what `fd=3` refers to. */
async function mountWithFd(fd: number, mountpoint: string, options: Parameters<typeof mountAsRoot>[1]): Promise<void> {
  const flags = ['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0', ...mountFlags(options, true)]
  const args = ['-i', '-t', FUSE_TYPE, '-o', flags.join(','), '--', options.source, mountpoint]
  const child = spawn('mount', args, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  let said = ''
  child.stderr?.on('data', (piece: Buffer) => {
    said = (said + piece.toString()).slice(0, 4096)
  })
  const code = await new Promise<number | null>((done, failed) => {
    child.on('error', failed)
    child.on('close', done)
  })
  if (code !== 0) throw new FsError('EPERM', `mount ${mountpoint}: ${said.trim() || `exit ${code}`}`)
}

async function settled(promise: Promise<void>, ms: number, clock: Clock): Promise<boolean> {
  const stop = new AbortController()
  const late = clock.sleep(ms, { signal: stop.signal }).then(
    () => false,
    () => false,
  )
  const result = await Promise.race([promise.then(() => true), late])
  stop.abort()
  return result
}

async function within(promise: Promise<void>, ms: number, clock: Clock, what: string): Promise<void> {
  if (!(await settled(promise, ms, clock))) throw new FsError('ETIMEDOUT', what)
}

/** Whether fusermount3 is there, for a clear sentence before anything is started. */
export async function haveFusermount(): Promise<boolean> {
  try {
    await run('fusermount3', ['--version'])
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return false
    throw error
  }
}
