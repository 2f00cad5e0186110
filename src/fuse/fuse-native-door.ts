/*
 * The second door: the npm package fuse-native (libfuse 2 through N-API) over the same Vfs, by path. The only file that
 * knows the package, which is optional and loaded when a mount asks for it.
 *
 * The package's faults that JavaScript can mend are mended here (xattr sizes and ERANGE, listings of xattrs, large writes
 * and more background requests through an option that it passes on unread, its timeout off); what it cannot do is the
 * table in fuse-native-limits.ts. Never touch the mount synchronously from the process that serves it.
 */

import { mkdir, symlink, unlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { type Attr, FILE_TYPES, type Time } from '../base/attr.ts'
import { type Errno, errno } from '../base/errno.ts'
import { errnoOf, FsError, Impossible } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { walk, walkToParent } from '../client/paths.ts'
import type { Caller, Vfs } from '../client/vfs.ts'
import { typeOfMode } from './codec.ts'
import { type Mounted, type MountOptions, type MountWorld, mountFlags } from './mount.ts'
import { clearStale, mountsAt, unmount } from './mounts.ts'
import { O_ACCMODE, O_APPEND, O_TRUNC, XATTR_CREATE, XATTR_REPLACE } from './protocol.ts'
import type { OpLog } from './session.ts'

type Callback = (code: number, ...values: unknown[]) => void
type Signal = (code: number, ...values: unknown[]) => void

interface FuseNative {
  mount(done: (error: Error | null) => void): void
  unmount(done: (error: Error | null) => void): void
  _op_getxattr(signal: Signal, path: string, name: string, buffer: Buffer): void
  _op_listxattr(signal: Signal, path: string, buffer: Buffer): void
}
type FuseNativeClass = new (mountpoint: string, ops: object, options: object) => FuseNative

/** How often to look whether somebody has unmounted us: the library does not tell. */
const GONE_POLL_MS = 2000
/** One READ or WRITE through libfuse 2. */
const BIG_WRITE_BYTES = 128 * 1024
/** The kernel's own limit without INIT's say is 12, which caps a 40 ms link at 300 operations a second. */
const MAX_BACKGROUND = 64

/**
 * The environment in which the package finds libfuse.so.2 on a machine without Debian's libfuse2: a directory with a link
 * to the library that comes with the package, put into LD_LIBRARY_PATH. The loader reads that variable when a process
 * starts, so it is for starting the process that mounts.
 */
export async function fuseNativeEnvironment(directory: string): Promise<{ LD_LIBRARY_PATH: string }> {
  const library = join(dirname(packagePath()), 'prebuilds', `${process.platform}-${process.arch}`, 'libfuse.so')
  await mkdir(directory, { recursive: true })
  const link = join(directory, 'libfuse.so.2')
  try {
    await symlink(library, link)
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error
    await unlink(link)
    await symlink(library, link)
  }
  const before = process.env.LD_LIBRARY_PATH
  return { LD_LIBRARY_PATH: before === undefined || before === '' ? directory : `${directory}:${before}` }
}

function packagePath(): string {
  try {
    return createRequire(import.meta.url).resolve('fuse-native/package.json')
  } catch (cause) {
    throw new FsError('EOPNOTSUPP', 'the optional package fuse-native is not installed (npm install fuse-native)', {
      cause,
    })
  }
}

async function loadPackage(): Promise<FuseNativeClass> {
  packagePath()
  try {
    // A name in a variable, because the package is optional and has no types.
    const name: string = 'fuse-native'
    return ((await import(name)) as { default: FuseNativeClass }).default
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause)
    const hint = /libfuse/.test(said)
      ? 'install libfuse2, or start with the environment of fuseNativeEnvironment()'
      : said
    throw new FsError('EOPNOTSUPP', `fuse-native cannot be loaded: ${hint}`, { cause })
  }
}

const toBytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
const toText = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8')
const ms = (time: Time): number => Math.max(0, time.sec * 1000 + Math.floor(time.nsec / 1_000_000))

function statOf(attr: Attr): object {
  return {
    mode: FILE_TYPES[attr.type] | attr.mode,
    uid: attr.uid,
    gid: attr.gid,
    size: attr.size,
    nlink: attr.nlink,
    ino: attr.ino % 0x1_0000_0000,
    rdev: attr.rdev,
    blksize: BIG_WRITE_BYTES,
    blocks: Math.ceil(attr.used / 512),
    atime: ms(attr.atime),
    mtime: ms(attr.mtime),
    ctime: ms(attr.ctime),
  }
}

/** UTIME_NOW and UTIME_OMIT as the library turns them into milliseconds; it does not let them be told apart. */
const UTIME_SPECIAL_MS = 1073

interface Handle {
  readonly ino: Ino
  readonly append: boolean
}

class NativeOps {
  readonly #vfs: Vfs
  readonly #world: MountWorld
  readonly #caller: Caller
  readonly #handles = new Map<number, Handle>()
  #nextHandle = 1
  opLog: OpLog | undefined

  constructor(vfs: Vfs, world: MountWorld, opLog: OpLog | undefined) {
    this.#vfs = vfs
    this.#world = world
    this.opLog = opLog
    const signal = new AbortController().signal
    this.#caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0, umask: 0, signal }
  }

  /** Handlers as the package wants them. The kernel checks permissions, so there is no `access`. */
  table(): Record<string, (...args: never[]) => void> {
    const vfs = this.#vfs
    const caller = this.#caller
    const at = (path: string): Promise<Attr> => walk(vfs, toBytes(path), caller)
    const inParent = (path: string) => walkToParent(vfs, toBytes(path), caller)
    const handle = (fd: number): Handle => {
      const found = this.#handles.get(fd)
      if (found === undefined) throw new FsError('EBADF')
      return found
    }
    return {
      getattr: (path: string, cb: Callback) => this.#do('getattr', path, cb, async () => [statOf(await at(path))]),
      readdir: (path: string, cb: Callback) => this.#do('readdir', path, cb, () => this.#list(path)),
      readlink: (path: string, cb: Callback) =>
        this.#do('readlink', path, cb, async () => [toText(await vfs.readlink((await at(path)).ino, caller))]),
      statfs: (path: string, cb: Callback) =>
        this.#do('statfs', path, cb, async () => this.#statfs((await at(path)).ino)),
      truncate: (path: string, size: number, cb: Callback) =>
        this.#do('truncate', path, cb, async () => void (await vfs.setattr((await at(path)).ino, { size }, caller))),
      ftruncate: (path: string, fd: number, size: number, cb: Callback) =>
        this.#do('ftruncate', path, cb, async () => void (await vfs.setattr(handle(fd).ino, { size }, caller))),
      utimens: (path: string, atime: number, _sameAgain: number, cb: Callback) =>
        this.#do('utimens', path, cb, async () => {
          const sec = Math.floor(atime / 1000)
          const time = atime === UTIME_SPECIAL_MS ? 'now' : { sec, nsec: (atime - sec * 1000) * 1_000_000 }
          await vfs.setattr((await at(path)).ino, { atime: time, mtime: time }, caller)
        }),
      chown: (path: string, uid: number, gid: number, cb: Callback) =>
        this.#do('chown', path, cb, async () => {
          const attr = await at(path)
          const kept = 0xffffffff
          const change = { ...(uid === kept ? {} : { uid }), ...(gid === kept ? {} : { gid }) }
          await vfs.setattr(attr.ino, { ...change, ...(attr.type === 'dir' ? {} : { killSuidGid: true }) }, caller)
        }),
      chmod: (path: string, mode: number, cb: Callback) =>
        this.#do('chmod', path, cb, async () => {
          await vfs.setattr((await at(path)).ino, { mode: mode & 0o7777 }, caller)
        }),
      mknod: (path: string, mode: number, rdev: number, cb: Callback) =>
        this.#do('mknod', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.make(parent, name, { type: typeOfMode(mode), mode: mode & 0o7777, rdev }, caller)
        }),
      mkdir: (path: string, mode: number, cb: Callback) =>
        this.#do('mkdir', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.make(parent, name, { type: 'dir', mode: mode & 0o7777 }, caller)
        }),
      symlink: (target: string, path: string, cb: Callback) =>
        this.#do('symlink', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.make(parent, name, { type: 'symlink', mode: 0o777, target: toBytes(target) }, caller)
        }),
      link: (source: string, path: string, cb: Callback) =>
        this.#do('link', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.link((await at(source)).ino, parent, name, caller)
        }),
      unlink: (path: string, cb: Callback) =>
        this.#do('unlink', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.unlink(parent, name, caller)
        }),
      rmdir: (path: string, cb: Callback) =>
        this.#do('rmdir', path, cb, async () => {
          const { parent, name } = await inParent(path)
          await vfs.rmdir(parent, name, caller)
        }),
      rename: (from: string, to: string, cb: Callback) =>
        this.#do('rename', from, cb, async () => {
          const [source, target] = [await inParent(from), await inParent(to)]
          const plain = { noReplace: false, exchange: false }
          await vfs.rename(source.parent, source.name, target.parent, target.name, plain, caller)
        }),
      open: (path: string, flags: number, cb: Callback) =>
        this.#do('open', path, cb, async () => {
          const wanted = { write: (flags & O_ACCMODE) !== 0, truncate: (flags & O_TRUNC) !== 0 }
          const { attr } = await vfs.open((await at(path)).ino, wanted, caller)
          return [this.#opened(attr.ino, (flags & O_APPEND) !== 0)]
        }),
      create: (path: string, mode: number, cb: Callback) =>
        this.#do('create', path, cb, async () => {
          const { parent, name } = await inParent(path)
          const flags = { exclusive: true, truncate: false }
          return [this.#opened((await vfs.create(parent, name, mode & 0o7777, flags, caller)).ino, false)]
        }),
      read: (path: string, fd: number, buffer: Buffer, length: number, offset: number, cb: (n: number) => void) =>
        this.#count('read', path, cb, async () => {
          let filled = 0
          for (const slice of await vfs.read(handle(fd).ino, offset, length, caller))
            filled += slice.copy(buffer, filled)
          return filled
        }),
      write: (path: string, fd: number, buffer: Buffer, length: number, offset: number, cb: (n: number) => void) =>
        this.#count('write', path, cb, async () => {
          const { ino, append } = handle(fd)
          // The memory is libfuse's own and goes away with the answer.
          const data = Buffer.from(buffer.subarray(0, length))
          await vfs.write(ino, offset, data, { append, killSuidGid: false }, caller)
          return length
        }),
      flush: (path: string, fd: number, cb: Callback) =>
        this.#do('flush', path, cb, () => vfs.flush(handle(fd).ino, caller)),
      fsync: (path: string, _dataOnly: number, fd: number, cb: Callback) =>
        this.#do('fsync', path, cb, () => vfs.fsync(handle(fd).ino, caller)),
      fsyncdir: (path: string, _dataOnly: number, _fd: number, cb: Callback) =>
        this.#do('fsyncdir', path, cb, async () => vfs.fsync((await at(path)).ino, caller)),
      release: (path: string, fd: number, cb: Callback) =>
        this.#do('release', path, cb, async () => {
          vfs.release(handle(fd).ino)
          this.#handles.delete(fd)
        }),
      setxattr: (path: string, name: string, value: Buffer, _position: number, flags: number, cb: Callback) =>
        this.#do('setxattr', path, cb, async () => {
          const copy = Buffer.from(value)
          const wanted = {
            create: (flags & XATTR_CREATE) !== 0,
            replace: (flags & XATTR_REPLACE) !== 0,
            killSgid: false,
          }
          await vfs.setxattr((await at(path)).ino, toBytes(name), copy, wanted, caller)
        }),
      // Answered by mend(), which knows the caller's buffer; present so that the package registers them.
      getxattr: (_path: string, _name: string, _position: number, cb: Callback) => cb(-errno.ENOSYS.number),
      listxattr: (_path: string, cb: Callback) => cb(-errno.ENOSYS.number),
      removexattr: (path: string, name: string, cb: Callback) =>
        this.#do('removexattr', path, cb, async () => vfs.removexattr((await at(path)).ino, toBytes(name), caller)),
    }
  }

  /** Replaces the package's two xattr readers, which copy beyond the caller's buffer instead of saying ERANGE. */
  mend(fuse: FuseNative): void {
    const answer = (
      what: string,
      path: string,
      buffer: Buffer,
      signal: Signal,
      read: (attr: Attr) => Promise<Buffer>,
    ) =>
      this.#count(
        what,
        path,
        (n) => signal(n, buffer.buffer),
        async () => {
          const value = await read(await walk(this.#vfs, toBytes(path), this.#caller))
          if (buffer.length === 0) return value.length
          if (value.length > buffer.length) throw new FsError('ERANGE')
          value.copy(buffer)
          return value.length
        },
      )
    fuse._op_getxattr = (signal, path, name, buffer) =>
      answer('getxattr', path, buffer, signal, (attr) =>
        attr.hasXattr
          ? this.#vfs.getxattr(attr.ino, toBytes(name), this.#caller)
          : Promise.reject(new FsError('ENODATA', name)),
      )
    fuse._op_listxattr = (signal, path, buffer) =>
      answer('listxattr', path, buffer, signal, async (attr) => {
        const names = await this.#vfs.listxattr(attr.ino, this.#caller)
        return Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1')
      })
  }

  async #list(path: string): Promise<unknown[]> {
    const dir = await walk(this.#vfs, toBytes(path), this.#caller)
    const names = ['.', '..']
    // The API takes a directory whole; a page at a time would be cut off at the first.
    for (let cookie = 0; ; ) {
      const page = await this.#vfs.readdir(dir.ino, cookie, 1024, this.#caller)
      if (page.length === 0) return [names]
      for (const entry of page) names.push(toText(entry.name))
      cookie = page.at(-1)!.cookie
    }
  }

  async #statfs(ino: Ino): Promise<unknown[]> {
    const s = await this.#vfs.statfs(ino, this.#caller)
    // Counts have 32 bits: larger blocks until they fit.
    let bsize = s.blockSize
    while (s.totalBytes / bsize >= 0x1_0000_0000) bsize *= 2
    const blocks = (bytes: number): number => Math.floor(bytes / bsize)
    const clamp = (n: number): number => Math.min(n, 0xffffffff)
    const counts = { blocks: blocks(s.totalBytes), bfree: blocks(s.freeBytes), bavail: blocks(s.availableBytes) }
    const files = { files: clamp(s.files), ffree: clamp(s.filesFree), favail: clamp(s.filesFree) }
    return [{ bsize, frsize: bsize, ...counts, ...files, namemax: 255 }]
  }

  #opened(ino: Ino, append: boolean): number {
    while (this.#handles.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle % 0x7fffffff) + 1
    const fd = this.#nextHandle
    this.#nextHandle = (fd % 0x7fffffff) + 1
    this.#handles.set(fd, { ino, append })
    return fd
  }

  #do(name: string, path: string, cb: Callback, work: () => Promise<unknown>): void {
    this.#run(name, path, work, (code, values) => (code === 0 ? cb(0, ...((values ?? []) as unknown[])) : cb(code)))
  }

  /** For operations whose answer is a number of bytes or a negative error. */
  #count(name: string, path: string, cb: (n: number) => void, work: () => Promise<number>): void {
    this.#run(name, path, work, (code, count) => cb(code === 0 ? (count ?? 0) : code))
  }

  #run<T>(name: string, path: string, work: () => Promise<T>, done: (code: number, value?: T) => void): void {
    const start = this.#world.clock.monotonicMs()
    const note = (code: Errno | 'ok'): void => {
      const took = this.#world.clock.monotonicMs() - start
      this.opLog?.(`${name} ${JSON.stringify(path)} ${code} ${Math.round(took * 1000)}`)
      if (took > 1000) this.#world.log.warn({ op: name, path, code, tookMs: took }, 'slow operation')
    }
    const failed = (error: unknown): void => {
      if (error instanceof Impossible) {
        queueMicrotask(() => {
          throw error
        })
      }
      const code = errnoOf(error)
      if (code === undefined) this.#world.log.error({ op: name, path, err: error }, 'operation failed; answered EIO')
      note(code ?? 'EIO')
      done(-errno[code ?? 'EIO'].number)
    }
    const succeeded = (value: T): void => {
      note('ok')
      done(0, value)
    }
    try {
      work().then(succeeded, failed)
    } catch (error) {
      failed(error)
    }
  }
}

export async function mountFuseNative(vfs: Vfs, options: MountOptions, world: MountWorld): Promise<Mounted> {
  const Fuse = await loadPackage()
  const mountpoint = resolve(options.mountpoint)
  const { clock, log } = world
  await clearStale(mountpoint, clock, log)
  await mkdir(mountpoint, { recursive: true })
  const isRoot = process.getuid?.() === 0
  const ops = new NativeOps(vfs, world, options.opLog)
  // The package joins options by commas without looking, so one of them can carry those that it does not know.
  const extra = ['big_writes', 'use_ino', `max_background=${MAX_BACKGROUND}`, ...mountFlags(options, isRoot).slice(1)]
  const smuggled = ['holdfast', ...extra].join(',')
  const fuse = new Fuse(mountpoint, ops.table(), {
    defaultPermissions: true,
    fsname: options.source.replace(/[\\,]/g, (c) => `\\${c}`),
    subtype: smuggled,
    timeout: false,
  })
  ops.mend(fuse)
  await new Promise<void>((done, failed) => fuse.mount((error) => (error === null ? done() : failed(error))))
  log.info({ mountpoint, door: 'fuse-native' }, 'mounted')

  let ended: (() => void) | undefined
  const closed = new Promise<void>((done) => {
    ended = done
  })
  let cancel: (() => void) | undefined
  const watch = (): void => {
    cancel = clock.timer(GONE_POLL_MS, () => {
      mountsAt(mountpoint).then(
        (mounts) => (mounts.length === 0 ? ended?.() : watch()),
        (error) => {
          log.warn({ err: error }, 'cannot read the list of mounts')
          watch()
        },
      )
    })
  }
  watch()
  return {
    mountpoint,
    closed,
    setOpLog: (sink) => {
      ops.opLog = sink
    },
    async unmount() {
      cancel?.()
      await unmount(mountpoint, log)
      ended?.()
    },
  }
}
