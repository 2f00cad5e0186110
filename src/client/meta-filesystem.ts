/*
 * The meta mount: what is deleted and still there, as a tree. A Vfs like the filesystem itself, over the same calls.
 *
 *   trash/2026-11-22T15Z/4711|docs|plan.txt   in the trash until that hour (UTC); reading gives its bytes, rm purges it
 *   trash/undel/                              mv into it gives the file its name back
 *   sustained/4712                            deleted, and held open by somebody
 *   info                                      how much there is, and whose mounts
 *
 * Hours are ranges of the master's table, so a trash of any size is listed page by page and nothing of it is kept here. An
 * hour is found whether or not something is in it: one that `rm -r` has emptied must still be there for its last step.
 *
 * Everything belongs to root, directories are closed to all others, and files show their own owner and mode. Whatever
 * cannot be meant is refused: EPERM for moving and removing what stays, EROFS for making and writing.
 *
 * Numbers: files have their own. Ours begin where no file's will ever be.
 */

import { type Attr, type AttrChange, freshAttr, type Time } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import { type Ino, ino, ROOT_INO } from '../base/ids.ts'
import type { Clock, World } from '../base/world.ts'
import type { DeletedFile } from '../wire/shapes.ts'
import { BlockCache } from './block-cache.ts'
import { ChunkReader } from './chunk-reader.ts'
import { Chunkservers } from './chunkservers.ts'
import { hourName, parseHourName, parseTrashName, trashName } from './core/trash-names.ts'
import { DeletedFiles, shownAttr } from './deleted-files.ts'
import type { FilesystemOptions } from './filesystem.ts'
import { MetaInfo } from './meta-info.ts'
import { Patience } from './patience.ts'
import { MasterSession } from './session.ts'
import type { Caller, Entry, FileLock, Invalidation, RenameFlags, StatFs, Vfs } from './vfs.ts'

/** Also of the low 32 bits, which are all that the fuse-native door shows, no other inode is likely to have the same. */
const OWN_INO = 2 ** 52 + 2 ** 31
const TRASH = ino(OWN_INO)
const UNDEL = ino(OWN_INO + 1)
const SUSTAINED = ino(OWN_INO + 2)
const INFO = ino(OWN_INO + 3)
const FIRST_HOUR = OWN_INO + 16

const HOUR_SECONDS = 3600
/**
 * The cookie of a file is (second of its hour, inode number) in one number: 12 bits for the second leave 41, which are
 * 2 × 10^12 files. Ten thousand new ones in every second take seven years to get there.
 */
const COOKIE_INOS = 2 ** 41
/** The cookies of "." and ".." come first. */
const FIRST_COOKIE = 3

/** mv looks at once, also where the machine is busy; as many as programs restore side by side, each looks at its last only. */
const RESTORED_MS = 250
const RESTORED_MAX = 64

type Directory = { kind: 'root' } | { kind: 'trash' } | { kind: 'undel' } | { kind: 'sustained' } | Hour
type Hour = { kind: 'hour'; hour: number }

export class MetaFilesystem implements Vfs {
  readonly #clock: Clock
  readonly #session: MasterSession
  readonly #chunkservers: Chunkservers
  readonly #files: DeletedFiles
  readonly #info: MetaInfo
  readonly #restored: Restored
  #since: Time = { sec: 0, nsec: 0 }
  #listener: (change: Invalidation) => void = () => undefined

  constructor(world: World, options: Omit<FilesystemOptions, 'dirtyBytes'>) {
    const { onDisconnect, onDisconnectMs, ownHost } = options
    const patience = new Patience(world.clock, onDisconnect === 'wait' ? Number.POSITIVE_INFINITY : onDisconnectMs)
    this.#clock = world.clock
    this.#session = new MasterSession(
      world,
      {
        invalidate: ({ inodes }) => {
          for (const { ino, data } of inodes) this.#changed(ino, data)
        },
        // Nothing is ever held back here.
        recall: () => Promise.resolve(),
        classPatterns: () => undefined,
        disconnected: () => undefined,
        returned: () => {
          for (const ino of this.#files.disconnected()) this.#listener({ kind: 'inode', ino, data: true })
        },
        lost: () => undefined,
        // Reading here keeps no file alive: whoever purges it means that.
        opens: () => [],
        made: () => [],
        directories: () => [],
        numbers: () => [],
      },
      patience,
      { ...options.master, ...options, client: world.random.hex(16) },
    )
    this.#chunkservers = new Chunkservers(world, options.cluster, options.hostName, options.connections)
    const cache = new BlockCache({ limitBytes: options.cacheBytes })
    const chunks = new ChunkReader(world, this.#session, this.#chunkservers, cache, patience, { ownHost })
    this.#files = new DeletedFiles(this.#session, chunks)
    this.#info = new MetaInfo(this.#session, this.#files, world.clock)
    this.#restored = new Restored(world.clock)
  }

  /** Throws when the master cannot be reached within `timeoutMs`. */
  async start(timeoutMs: number): Promise<void> {
    await this.#session.start(timeoutMs)
    this.#since = this.#session.now()
  }

  // ---- names

  async lookup(parent: Ino, name: string, caller: Caller): Promise<Attr> {
    const directory = this.#directory(parent)
    if (name === '.') return this.#directoryAttr(parent)
    if (name === '..')
      return this.#directoryAttr(directory.kind === 'hour' || directory.kind === 'undel' ? TRASH : ROOT_INO)
    switch (directory.kind) {
      case 'root':
        if (name === 'trash') return this.#directoryAttr(TRASH)
        if (name === 'sustained') return this.#directoryAttr(SUSTAINED)
        if (name === 'info') return this.#infoAttr(caller)
        throw new FsError('ENOENT')
      case 'trash': {
        if (name === 'undel') return this.#directoryAttr(UNDEL)
        const hour = parseHourName(name)
        if (hour !== undefined) return this.#directoryAttr(ino(FIRST_HOUR + hour))
        return shownAttr((await this.#trashed(directory, name, caller)).attr)
      }
      case 'hour':
        return shownAttr((await this.#trashed(directory, name, caller)).attr)
      case 'sustained':
        return shownAttr((await this.#sustained(name, caller)).attr)
      case 'undel': {
        const restored = this.#restored.find((one) => one.name === name)
        if (restored === undefined) throw new FsError('ENOENT')
        return restored.attr
      }
    }
  }

  async readdir(at: Ino, cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    const directory = this.#directory(at)
    switch (directory.kind) {
      case 'root': {
        const all = [
          this.#entry('trash', FIRST_COOKIE, this.#directoryAttr(TRASH)),
          this.#entry('sustained', FIRST_COOKIE + 1, this.#directoryAttr(SUSTAINED)),
          this.#entry('info', FIRST_COOKIE + 2, await this.#infoAttr(caller)),
        ]
        return all.filter((entry) => entry.cookie > cookie).slice(0, limit)
      }
      case 'trash':
        return this.#hours(cookie, limit, caller)
      case 'hour':
        return this.#hour(directory.hour, cookie, limit, caller)
      case 'sustained': {
        // The cookie is one more than the number, so the next number.
        const { files } = await this.#files.page('sustained', { sec: 0, ino: cookie }, limit, cookie === 0, caller)
        return files.map(({ attr }) => this.#entry(String(attr.ino), attr.ino + 1, shownAttr(attr)))
      }
      case 'undel':
        return []
    }
  }

  /** The hours in which something expires, each by one look at the first file after the one before. */
  async #hours(cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    const found: Entry[] = []
    if (cookie < FIRST_COOKIE) found.push(this.#entry('undel', FIRST_COOKIE, this.#directoryAttr(UNDEL)))
    let next = cookie <= FIRST_COOKIE ? 0 : cookie - FIRST_COOKIE
    while (found.length < limit) {
      const { files } = await this.#files.page('trash', { sec: next * HOUR_SECONDS, ino: 0 }, 1, next === 0, caller)
      const first = files[0]?.trash
      if (first === undefined) break
      const hour = Math.floor(first.expirySec / HOUR_SECONDS)
      next = hour + 1
      found.push(this.#entry(hourName(hour), FIRST_COOKIE + next, this.#directoryAttr(ino(FIRST_HOUR + hour))))
    }
    return found
  }

  async #hour(hour: number, cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    const begin = hour * HOUR_SECONDS
    const from = { sec: begin + Math.floor(cookie / COOKIE_INOS), ino: cookie % COOKIE_INOS }
    const { files } = await this.#files.page('trash', from, limit, cookie === 0, caller)
    const found: Entry[] = []
    for (const { attr, trash } of files) {
      if (trash === undefined || trash.expirySec >= begin + HOUR_SECONDS) break
      if (attr.ino + 1 >= COOKIE_INOS) throw new FsError('EOVERFLOW', `inode ${attr.ino} is too high to be listed`)
      const own = (trash.expirySec - begin) * COOKIE_INOS + attr.ino + 1
      found.push(this.#entry(trashName(attr.ino, trash.path), own, shownAttr(attr)))
    }
    return found
  }

  /** Purges. An hour is empty once all that was in it is purged, and goes by itself. */
  async unlink(parent: Ino, name: string, caller: Caller): Promise<void> {
    const directory = this.#directory(parent)
    if (directory.kind === 'sustained') throw new FsError('EPERM', 'it goes when nobody has it open any more')
    if (directory.kind !== 'trash' && directory.kind !== 'hour') throw new FsError('EPERM')
    const { attr } = await this.#trashed(directory, name, caller)
    await this.#files.purge(attr.ino, caller)
  }

  async rmdir(parent: Ino, name: string, caller: Caller): Promise<void> {
    const hour = this.#directory(parent).kind === 'trash' ? parseHourName(name) : undefined
    if (hour === undefined) throw new FsError('EPERM')
    if ((await this.#hour(hour, 0, 1, caller)).length > 0) throw new FsError('ENOTEMPTY')
  }

  /**
   * Restores. Under the name that it has here it goes to where it was; under any other it comes beside that, which is the
   * way out where the old name is taken.
   */
  async rename(
    parent: Ino,
    name: string,
    newParent: Ino,
    newName: string,
    flags: RenameFlags,
    caller: Caller,
  ): Promise<void> {
    const directory = this.#directory(parent)
    const target = this.#directory(newParent)
    if (directory.kind !== 'trash' && directory.kind !== 'hour') throw new FsError('EPERM')
    const { attr } = await this.#trashed(directory, name, caller)
    if (target.kind !== 'undel') throw new FsError('EPERM', 'what is in the trash is moved to undel, nowhere else')
    if (flags.exchange) throw new FsError('EINVAL')
    await this.#files.restore(attr.ino, newName === name ? undefined : newName, caller)
    this.#restored.add(newName, shownAttr(attr))
    // The kernel believes that it is in undel now. Deleted and restored once more, it would be in its own way there.
    this.#clock.timer(RESTORED_MS, () => this.#listener({ kind: 'entry', parent: UNDEL, name: newName }))
  }

  // ---- attributes

  async getattr(at: Ino, caller: Caller): Promise<Attr> {
    if (at === INFO) return this.#infoAttr(caller)
    if (at === ROOT_INO || at >= OWN_INO) return this.#directoryAttr(at)
    return this.#restored.find(({ attr }) => attr.ino === at)?.attr ?? this.#files.attr(at, caller)
  }

  async getxattr(at: Ino, name: string, caller: Caller): Promise<Buffer> {
    const value = name.startsWith('user.holdfast.') ? (await this.#xattrs(at, caller)).get(name) : undefined
    if (value === undefined) throw new FsError('ENODATA')
    return Buffer.from(value, 'latin1')
  }
  async listxattr(at: Ino, caller: Caller): Promise<string[]> {
    return [...(await this.#xattrs(at, caller)).keys()]
  }
  async #xattrs(at: Ino, caller: Caller): Promise<ReadonlyMap<string, string>> {
    return at === ROOT_INO || at >= OWN_INO ? new Map() : this.#files.xattrs(at, caller)
  }

  // ---- data

  async open(
    at: Ino,
    flags: { write: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<{ attr: Attr; changed: boolean; stale: boolean }> {
    if (flags.write || flags.truncate) throw readOnly()
    if (at === INFO) {
      await this.#info.renew(caller)
      return { attr: await this.#infoAttr(caller), changed: true, stale: true }
    }
    if (at === ROOT_INO || at >= OWN_INO) throw new FsError('EISDIR')
    return { attr: await this.#files.open(at, caller), changed: true, stale: true }
  }
  release(at: Ino): void {
    this.#files.release(at)
  }
  async read(at: Ino, offset: number, length: number, caller: Caller): Promise<Buffer[]> {
    if (at === INFO) return [(await this.#info.text(caller)).subarray(offset, offset + length)]
    return this.#files.read(at, offset, length, caller)
  }
  async seek(at: Ino, offset: number, whence: 'data' | 'hole', caller: Caller): Promise<number> {
    if (at !== INFO) return this.#files.seek(at, offset, whence, caller)
    const { length } = await this.#info.text(caller)
    if (offset >= length) throw new FsError('ENXIO')
    return whence === 'data' ? offset : length
  }

  /** Nothing was written, so all of it is stored. */
  async flush(): Promise<void> {}
  async fsync(): Promise<void> {}
  async syncfs(): Promise<void> {}

  // ---- what there is not

  setattr(_at: Ino, _change: AttrChange): Promise<Attr> {
    return Promise.reject(readOnly())
  }
  make(): Promise<Attr> {
    return Promise.reject(readOnly())
  }
  create(): Promise<Attr> {
    return Promise.reject(readOnly())
  }
  link(): Promise<Attr> {
    return Promise.reject(readOnly())
  }
  write(): Promise<void> {
    return Promise.reject(readOnly())
  }
  fallocate(): Promise<void> {
    return Promise.reject(readOnly())
  }
  copyRange(): Promise<number> {
    return Promise.reject(readOnly())
  }
  setxattr(): Promise<void> {
    return Promise.reject(readOnly())
  }
  removexattr(): Promise<void> {
    return Promise.reject(readOnly())
  }
  readlink(): Promise<string> {
    return Promise.reject(new FsError('EINVAL'))
  }
  /** Nobody writes here, so nobody needs one. */
  async getLock(): Promise<FileLock | undefined> {
    return undefined
  }
  setLock(): Promise<void> {
    return Promise.reject(new FsError('EOPNOTSUPP'))
  }
  async releaseLocks(): Promise<void> {}

  // ---- the whole

  /** Of the whole cluster: quotas are of directories that are not here. */
  async statfs(_at: Ino, caller: Caller): Promise<StatFs> {
    return { blockSize: 4096, ...(await this.#session.ask('statfs', { ino: undefined }, caller)) }
  }
  onInvalidate(listener: (change: Invalidation) => void): void {
    this.#listener = listener
  }
  async close(): Promise<void> {
    await this.#session.close()
    this.#chunkservers.close()
  }

  // ---- what is what

  #directory(at: Ino): Directory {
    if (at === ROOT_INO) return { kind: 'root' }
    if (at === TRASH) return { kind: 'trash' }
    if (at === UNDEL) return { kind: 'undel' }
    if (at === SUSTAINED) return { kind: 'sustained' }
    if (at >= FIRST_HOUR) return { kind: 'hour', hour: at - FIRST_HOUR }
    throw new FsError('ENOTDIR')
  }

  #directoryAttr(at: Ino): Attr {
    this.#directory(at)
    // One link says that they are not counted: there is no number to tell from how many directories are in it.
    return { ...freshAttr(at, 'dir', 0o700, { uid: 0, gid: 0 }, this.#since), nlink: 1 }
  }

  async #infoAttr(caller: Caller): Promise<Attr> {
    const { length } = await this.#info.text(caller)
    const now = this.#session.now()
    return { ...freshAttr(INFO, 'file', 0o400, { uid: 0, gid: 0 }, now), size: length, used: length }
  }

  /** By its name in an hour; in trash itself by the same name or by the number alone, wherever it is. */
  async #trashed(at: { kind: 'trash' } | Hour, name: string, caller: Caller): Promise<DeletedFile & { trash: object }> {
    const wanted = parseTrashName(name)
    if (wanted === undefined || (wanted.path === undefined && at.kind === 'hour')) throw new FsError('ENOENT')
    const file = await this.#files.of(ino(wanted.ino), caller)
    const { trash } = file
    if (trash === undefined) throw new FsError('ENOENT')
    if (wanted.path !== undefined && trashName(wanted.ino, trash.path) !== name) throw new FsError('ENOENT')
    if (at.kind === 'hour' && Math.floor(trash.expirySec / HOUR_SECONDS) !== at.hour) throw new FsError('ENOENT')
    return { ...file, trash }
  }

  async #sustained(name: string, caller: Caller): Promise<DeletedFile> {
    const wanted = parseTrashName(name)
    if (wanted === undefined || wanted.path !== undefined) throw new FsError('ENOENT')
    const file = await this.#files.of(ino(wanted.ino), caller)
    if (file.holders.length === 0) throw new FsError('ENOENT')
    return file
  }

  #entry(name: string, cookie: number, attr: Attr): Entry {
    return { name, ino: attr.ino, type: attr.type, cookie, attr }
  }

  #changed(at: Ino, data: boolean): void {
    if (data) this.#files.changed(at)
    this.#listener({ kind: 'inode', ino: at, data })
  }
}

/**
 * What was moved to undel a moment ago. mv looks at what it has moved, so it is still found there for that moment; nothing
 * lists it.
 */
class Restored {
  readonly #clock: Clock
  #latest: { readonly name: string; readonly attr: Attr; readonly untilMs: number }[] = []
  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(name: string, attr: Attr): void {
    const others = this.#latest.filter((one) => one.name !== name && one.attr.ino !== attr.ino)
    const untilMs = this.#clock.monotonicMs() + RESTORED_MS
    this.#latest = [{ name, attr, untilMs }, ...others.slice(0, RESTORED_MAX - 1)]
  }

  find(is: (one: { readonly name: string; readonly attr: Attr }) => boolean): { readonly attr: Attr } | undefined {
    const nowMs = this.#clock.monotonicMs()
    return this.#latest.find((one) => one.untilMs > nowMs && is(one))
  }
}

const readOnly = (): FsError => new FsError('EROFS', 'nothing is written or made on a meta mount')
