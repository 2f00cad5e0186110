/*
 * The filesystem over a cluster: Vfs as the doors know it, on top of the session with the master and the chunkservers.
 *
 * What is asked of the master and what is answered here: names and attributes are answered from the tree cache while the
 * session is fresh (session.ts: nothing older than half a second); open() always asks, which is what makes close-to-open
 * hold; a file that is dirty here shows this client's own view. Everything that changes something asks the master, but
 * attribute changes of a file that is being written, which wait for its commit.
 */

import type { Attr, AttrChange } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import { type Ino, ino as toIno } from '../base/ids.ts'
import { FILE_BYTES_MAX, NAME_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import type { Request } from '../wire/protocol.ts'
import { BlockCache } from './block-cache.ts'
import { ChunkReader } from './chunk-reader.ts'
import { ChunkWriter } from './chunk-writer.ts'
import { Chunkservers } from './chunkservers.ts'
import { Committer } from './committer.ts'
import { Generations } from './core/generations.ts'
import { TreeCache } from './core/tree-cache.ts'
import { FileIo } from './file-io.ts'
import { FileState } from './file-state.ts'
import { Listings } from './listings.ts'
import { Releases } from './releases.ts'
import { MasterSession } from './session.ts'
import type { Caller, Entry, FallocateMode, FileLock, Invalidation, NewNode, RenameFlags, StatFs, Vfs } from './vfs.ts'

/** Files whose extents are remembered after the last close; about a kilobyte each. */
const CLOSED_FILES_MAX = 4096
const REMOVED_MAX = 1024
const STATFS_MS = 1_000

export interface FilesystemOptions {
  readonly master: { readonly host: string; readonly port: number }
  readonly cluster: string
  readonly hostName: string
  readonly mountpoint: string
  readonly version: string
  /** The address by which chunkservers on this machine are known, to prefer their copies. */
  readonly ownHost: string
  /** How long operations wait for a lost master or for lost chunkservers before EIO. */
  readonly onDisconnectMs: number
  readonly cacheBytes: number
  readonly dirtyBytes: number
}

export class Filesystem implements Vfs {
  readonly #world: World
  readonly #session: MasterSession
  readonly #chunkservers: Chunkservers
  readonly #writer: ChunkWriter
  readonly #io: FileIo
  readonly #tree = new TreeCache()
  /** Files that are open or dirty. */
  readonly #files = new Map<Ino, FileState>()
  readonly #closedFiles = new Generations<Ino, FileState>(CLOSED_FILES_MAX)
  readonly #listings = new Listings(this.#tree, (ino) => this.#view(ino))
  /** Directories removed here, as they were: those who stand in them may go on looking. */
  readonly #removed = new Generations<Ino, Attr>(REMOVED_MAX)
  /** Owners of locks taken through this client, so that a close without locks costs no round trip. */
  readonly #lockOwners = new Map<Ino, Set<string>>()
  readonly #releases: Releases
  #statfs: { at: number; answer: StatFs } | undefined
  #listener: (change: Invalidation) => void = () => undefined

  constructor(world: World, options: FilesystemOptions) {
    this.#world = world
    const { onDisconnectMs, ownHost } = options
    this.#session = new MasterSession(
      world,
      {
        invalidate: (change) => this.#invalidated(change),
        recall: (ino) => this.#recalled(ino),
        disconnected: () => this.#disconnected(),
        lost: () => this.#lost(),
        opens: () => [...this.#files.values()].filter((file) => file.opens > 0).map((file) => file.ino),
      },
      { ...options.master, ...options, client: world.random.hex(16) },
    )
    this.#chunkservers = new Chunkservers(world, options.cluster, options.hostName)
    const isOpen = (ino: Ino): boolean => (this.#files.get(ino)?.opens ?? 0) > 0
    this.#releases = new Releases(world.clock, isOpen, (inos) => this.#session.tell(inos))
    const cache = new BlockCache({ limitBytes: options.cacheBytes })
    const reader = new ChunkReader(world, this.#session, this.#chunkservers, cache, { ownHost, onDisconnectMs })
    this.#writer = new ChunkWriter(world, this.#session, this.#chunkservers, (places) => reader.learn(places), {
      onDisconnectMs,
    })
    const learn = (attr: Attr): void => this.#tree.learn(attr)
    this.#io = new FileIo(world, this.#session, this.#writer, reader, new Committer(this.#session), learn, {
      dirtyLimitBytes: options.dirtyBytes,
    })
  }

  /** Throws when the master cannot be reached within `timeoutMs`. */
  start(timeoutMs: number): Promise<void> {
    return this.#session.start(timeoutMs)
  }

  // ---- names

  async lookup(parent: Ino, name: string, caller: Caller): Promise<Attr> {
    if (name === '.') return this.getattr(parent, caller)
    checkName(name)
    if (name !== '..') this.#refuseRemoved(parent)
    if (name !== '..' && this.#session.fresh()) {
      const known = this.#tree.name(parent, name)
      if (known === 0) throw new FsError('ENOENT')
      if (known !== undefined) {
        const attr = this.#view(toIno(known))
        if (attr !== undefined) return attr
      }
    }
    try {
      const attr = await this.#session.ask('lookup', { parent, name }, caller)
      this.#tree.learn(attr)
      if (name !== '..') this.#tree.setName(parent, name, attr.ino)
      return this.#view(attr.ino) ?? attr
    } catch (error) {
      if (error instanceof FsError && error.code === 'ENOENT') this.#tree.setName(parent, name, 0)
      throw error
    }
  }

  async readdir(ino: Ino, cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    if (this.#removed.get(ino) !== undefined) return []
    if (this.#session.fresh()) {
      const page = this.#listings.page(ino, cookie, limit)
      if (page !== undefined) return page
    }
    const { entries, end, version } = await this.#session.ask(
      'readdir',
      { ino, cookie, limit: Math.min(limit, 4096) },
      caller,
    )
    for (const entry of entries) {
      this.#tree.learn(entry.attr)
      this.#tree.setName(ino, entry.name, entry.attr.ino)
    }
    this.#listings.collect(
      ino,
      cookie,
      entries.map(({ name, cookie, attr }) => ({ name, cookie, ino: attr.ino })),
      end,
      version,
    )
    return entries.map(({ name, cookie, attr }) => {
      const shown = this.#view(attr.ino) ?? attr
      return { name, cookie, ino: attr.ino, type: attr.type, attr: shown }
    })
  }

  async make(parent: Ino, name: string, node: NewNode, caller: Caller): Promise<Attr> {
    checkName(name)
    this.#refuseRemoved(parent)
    const attr = await this.#session.change(
      'make',
      {
        parent,
        name,
        type: node.type,
        mode: node.mode & 0o7777,
        umask: caller.umask & 0o777,
        uid: caller.uid,
        gid: caller.gid,
        rdev: node.rdev ?? 0,
        target: node.target ?? '',
      },
      caller,
    )
    this.#born(parent, name, attr)
    if (attr.type === 'dir') this.#tree.madeDirectory(attr.ino)
    return attr
  }

  async create(
    parent: Ino,
    name: string,
    mode: number,
    flags: { exclusive: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<Attr> {
    checkName(name)
    const {
      attr,
      created,
      parent: directory,
    } = await this.#session.change(
      'create',
      {
        parent,
        name,
        mode: mode & 0o7777,
        umask: caller.umask & 0o777,
        uid: caller.uid,
        gid: caller.gid,
        ...flags,
        killSuidGid: caller.uid !== 0,
      },
      caller,
    )
    this.#born(parent, name, attr, directory)
    const file = this.#file(attr)
    file.opens++
    if (created) {
      file.young = true
      file.version = attr.version
      this.#io.learnExtents(file, [], 0, FILE_BYTES_MAX)
    } else {
      this.#io.changedElsewhere(file)
      if (!file.ahead) file.attr = attr
    }
    return file.attr
  }

  async unlink(parent: Ino, name: string, caller: Caller): Promise<void> {
    checkName(name)
    const { ino, nlink, parent: directory } = await this.#session.change('unlink', { parent, name }, caller)
    this.#gone(parent, name, directory)
    this.#tree.forget(ino)
    this.#relinked(ino, nlink)
  }

  async rmdir(parent: Ino, name: string, caller: Caller): Promise<void> {
    if (name === '.') throw new FsError('EINVAL')
    checkName(name)
    const { ino, parent: directory } = await this.#session.change('rmdir', { parent, name }, caller)
    this.#gone(parent, name, directory)
    this.#directoryGone(ino)
  }

  async rename(
    parent: Ino,
    name: string,
    newParent: Ino,
    newName: string,
    flags: RenameFlags,
    caller: Caller,
  ): Promise<void> {
    checkName(name)
    checkName(newName)
    // Write, close, rename over the old one: the new name must never stand for less than what was written.
    const known = this.#tree.name(parent, name)
    if (known === undefined) await this.#io.settleLagging()
    else if (known !== 0) await this.#settle(toIno(known))
    const { ino, replaced, parents } = await this.#session.change(
      'rename',
      { parent, name, newParent, newName, ...flags },
      caller,
    )
    this.#tree.forget(parent)
    this.#tree.forget(newParent)
    this.#tree.forget(ino)
    for (const directory of parents ?? []) this.#tree.learn(directory)
    const lost = replaced === undefined || flags.exchange || replaced === ino ? undefined : this.#files.get(replaced)
    if (lost !== undefined) this.#relinked(lost.ino, lost.attr.nlink - 1)
    if (flags.exchange) {
      this.#tree.forgetName(parent, name)
      this.#tree.forgetName(newParent, newName)
    } else if (parent !== newParent || name !== newName) {
      // rename(2) of two names of one inode does nothing: then the old name is still there.
      if (replaced === ino) this.#tree.forgetName(parent, name)
      else this.#tree.setName(parent, name, 0)
      this.#tree.setName(newParent, newName, ino)
    }
    if (replaced !== undefined) {
      this.#tree.forget(replaced)
      this.#tree.forgetDirectory(replaced)
    }
  }

  async link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Promise<Attr> {
    checkName(newName)
    await this.#settle(ino)
    const attr = await this.#session.change('link', { ino, newParent, newName }, caller)
    this.#born(newParent, newName, attr)
    this.#relinked(ino, attr.nlink)
    return this.#view(ino) ?? attr
  }

  async readlink(ino: Ino, caller: Caller): Promise<string> {
    return (await this.#session.ask('readlink', { ino }, caller)).target
  }

  // ---- attributes

  async getattr(ino: Ino, caller: Caller): Promise<Attr> {
    if (this.#session.fresh() || this.#files.get(ino)?.ahead) {
      const known = this.#view(ino)
      if (known !== undefined) return known
    }
    const gone = this.#removed.get(ino)
    if (gone !== undefined) return gone
    const attr = await this.#session.ask('getattr', { ino }, caller)
    // The master may not have heard yet that the last user of a deleted file has closed it.
    if (attr.nlink === 0 && (this.#files.get(ino)?.opens ?? 0) === 0) throw new FsError('ESTALE', `inode ${ino}`)
    this.#tree.learn(attr)
    return this.#view(ino) ?? attr
  }

  async setattr(ino: Ino, change: AttrChange, caller: Caller): Promise<Attr> {
    if (change.size !== undefined && change.size > FILE_BYTES_MAX) throw new FsError('EFBIG')
    const file = this.#files.get(ino)
    if (file !== undefined && change.size === undefined && (file.dirty || file.young)) {
      this.#io.holdBack(file, change)
      return file.attr
    }
    if (file?.ahead) await this.#io.commit(file, false)
    const attr = await this.#session.change('setattr', { ino, change }, caller)
    this.#tree.learn(attr)
    if (file !== undefined) {
      if (change.size !== undefined) this.#io.changedElsewhere(file)
      if (!file.ahead) file.attr = attr
      if (change.size === undefined && file.version !== -1) file.version = attr.version
    }
    return this.#view(ino) ?? attr
  }

  async getxattr(ino: Ino, name: string, caller: Caller): Promise<Buffer> {
    if (this.#session.fresh() && this.#view(ino)?.hasXattr === false) throw new FsError('ENODATA')
    return (await this.#session.ask('getxattr', { ino, name }, caller)).value
  }

  async setxattr(
    ino: Ino,
    name: string,
    value: Buffer,
    flags: { create: boolean; replace: boolean; killSgid: boolean },
    caller: Caller,
  ): Promise<void> {
    await this.#settle(ino)
    this.#learnOwn(await this.#session.change('setxattr', { ino, name, value, ...flags }, caller))
  }

  async listxattr(ino: Ino, caller: Caller): Promise<string[]> {
    if (this.#session.fresh() && this.#view(ino)?.hasXattr === false) return []
    return (await this.#session.ask('listxattr', { ino }, caller)).names
  }

  async removexattr(ino: Ino, name: string, caller: Caller): Promise<void> {
    await this.#settle(ino)
    this.#learnOwn(await this.#session.change('removexattr', { ino, name }, caller))
  }

  // ---- data

  async open(
    ino: Ino,
    flags: { write: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<{ attr: Attr; changed: boolean; stale: boolean }> {
    const shown = this.#view(ino)
    const { attr, extents, complete, chunks } = await this.#releases.whileOpening(ino, () =>
      this.#session.ask('open', { ino, write: flags.write }, caller),
    )
    this.#tree.learn(attr)
    const file = this.#file(attr)
    file.opens++
    this.#io.learn(chunks)
    const changed = file.version !== attr.version
    if (changed) {
      this.#io.changedElsewhere(file)
      const last = extents[extents.length - 1]
      const upTo = complete ? FILE_BYTES_MAX : last === undefined ? 0 : last.offset + last.length
      this.#io.learnExtents(file, extents, 0, upTo)
      file.version = attr.version
      if (!file.ahead) file.attr = attr
    }
    if (flags.truncate && (attr.size > 0 || file.ahead)) await this.setattr(ino, { size: 0, mtime: 'now' }, caller)
    return { attr: file.attr, changed, stale: !file.ahead && shown?.version !== attr.version }
  }

  release(ino: Ino): void {
    const file = this.#files.get(ino)
    if (file === undefined || file.opens === 0) return
    file.opens--
    if (file.opens > 0) return
    file.young = false
    this.#retire(file)
  }

  async read(ino: Ino, offset: number, length: number, caller: Caller): Promise<Buffer[]> {
    return this.#io.read(await this.#fileOf(ino, caller), offset, length, caller)
  }

  async write(
    ino: Ino,
    offset: number,
    data: Buffer,
    options: { append: boolean; killSuidGid: boolean },
    caller: Caller,
  ): Promise<void> {
    const file = await this.#fileOf(ino, caller)
    // Kept in `#files` while dirty, also when nobody has announced an open (after a restart of the door).
    this.#files.set(ino, file)
    await this.#io.write(file, options.append ? Math.max(offset, file.attr.size) : offset, data, options.killSuidGid)
  }

  async flush(ino: Ino, _caller: Caller): Promise<void> {
    const file = this.#files.get(ino)
    if (file === undefined) return
    const firstClose = file.young
    file.young = false
    if (!file.ahead) this.#io.throwError(file)
    else if (firstClose && this.#session.fresh() && this.#io.mayLag(file)) this.#io.commitSoon(file)
    else await this.#io.commit(file, false)
  }

  async fsync(ino: Ino, caller: Caller): Promise<void> {
    const file = this.#files.get(ino) ?? this.#closedFiles.get(ino)
    if (file === undefined) await this.#session.ask('sync', {}, caller)
    else await this.#io.commit(file, true)
  }

  async syncfs(caller: Caller): Promise<void> {
    await this.#io.commitAll(true)
    await this.#writer.syncAll()
    await this.#session.ask('sync', {}, caller)
  }

  async fallocate(ino: Ino, mode: FallocateMode, offset: number, length: number, caller: Caller): Promise<void> {
    if (offset + length > FILE_BYTES_MAX) throw new FsError('EFBIG')
    await this.#settle(ino)
    const request = { ino, ...mode, offset, length, killSuidGid: caller.uid !== 0 }
    this.#learnOwn(await this.#session.change('fallocate', request, caller), true)
  }

  async copyRange(
    source: Ino,
    sourceOffset: number,
    target: Ino,
    targetOffset: number,
    length: number,
    caller: Caller,
  ): Promise<number> {
    await Promise.all([this.#settle(source), this.#settle(target)])
    const request = { source, sourceOffset, target, targetOffset, length, killSuidGid: caller.uid !== 0 }
    const { copied, attr } = await this.#session.change('copyRange', request, caller)
    this.#learnOwn(attr, true)
    return copied
  }

  async seek(ino: Ino, offset: number, whence: 'data' | 'hole', caller: Caller): Promise<number> {
    await this.#settle(ino)
    let at = offset
    for (;;) {
      const { attr, extents, upTo } = await this.#session.ask(
        'locate',
        { ino, offset: at, length: FILE_BYTES_MAX },
        caller,
      )
      if (at >= attr.size) {
        if (whence === 'hole' && at === attr.size && at > offset) return attr.size
        throw new FsError('ENXIO')
      }
      const reach = Math.min(upTo, attr.size)
      for (const extent of extents) {
        if (whence === 'data') return Math.min(Math.max(extent.offset, at), attr.size)
        if (extent.offset > at) return at
        at = extent.offset + extent.length
      }
      if (whence === 'hole' && at < reach) return at
      if (whence === 'hole' && at >= attr.size) return attr.size
      at = Math.max(reach, at)
      if (whence === 'data' && at >= attr.size) throw new FsError('ENXIO')
    }
  }

  // ---- locks

  async getLock(ino: Ino, lock: FileLock, caller: Caller): Promise<FileLock | undefined> {
    return (await this.#session.ask('getLock', { ino, lock }, caller)).lock
  }

  async setLock(ino: Ino, lock: FileLock, wait: boolean, caller: Caller): Promise<void> {
    // Who gets the lock next must see what was written under it.
    if (lock.kind === 'unlock') await this.#settle(ino)
    let owners = this.#lockOwners.get(ino)
    if (owners === undefined) {
      owners = new Set()
      this.#lockOwners.set(ino, owners)
    }
    owners.add(`${lock.family}:${lock.owner}`)
    await this.#session.change('setLock', { ino, lock, wait }, caller, wait ? 0 : undefined)
  }

  async releaseLocks(ino: Ino, family: 'posix' | 'flock', owner: string): Promise<void> {
    const owners = this.#lockOwners.get(ino)
    if (owners === undefined || !owners.delete(`${family}:${owner}`)) return
    if (owners.size === 0) this.#lockOwners.delete(ino)
    await this.#session.change('releaseLocks', { ino, family, owner })
  }

  // ---- the whole

  async statfs(caller: Caller): Promise<StatFs> {
    const now = this.#world.clock.monotonicMs()
    if (this.#statfs === undefined || now - this.#statfs.at > STATFS_MS) {
      const answer = await this.#session.ask('statfs', {}, caller)
      this.#statfs = { at: now, answer: { blockSize: 4096, ...answer } }
    }
    return this.#statfs.answer
  }

  onInvalidate(listener: (change: Invalidation) => void): void {
    this.#listener = listener
  }

  async close(): Promise<void> {
    await this.#io.commitAll(true)
    await this.#writer.close()
    await this.#session.close()
    this.#chunkservers.close()
  }

  // ---- what is known here

  /** This client's own view of an inode, if it has one that may be shown. */
  #view(ino: Ino): Attr | undefined {
    const file = this.#files.get(ino)
    return file?.ahead || file?.young ? file.attr : this.#tree.attr(ino)
  }

  #file(attr: Attr): FileState {
    let file = this.#files.get(attr.ino)
    if (file === undefined) {
      file = this.#closedFiles.get(attr.ino) ?? new FileState(attr)
      this.#closedFiles.delete(attr.ino)
      this.#files.set(attr.ino, file)
    }
    return file
  }

  /** The state of a file that some handle names: handles carry nothing, so it may have to be made. */
  async #fileOf(ino: Ino, caller: Caller): Promise<FileState> {
    const file = this.#files.get(ino)
    if (file !== undefined) {
      if (file.ahead) return file
      const known = this.#tree.attr(ino)
      if (known !== undefined && known.version > file.attr.version) file.attr = known
      else if (file.version === -1) file.attr = await this.getattr(ino, caller)
      if (file.version === -1) file.version = file.attr.version
      return file
    }
    const attr = await this.getattr(ino, caller)
    if (attr.type === 'dir') throw new FsError('EISDIR')
    const closed = this.#closedFiles.get(ino)
    if (closed !== undefined && closed.version === attr.version) return closed
    const fresh = new FileState(attr)
    fresh.version = attr.version
    this.#closedFiles.set(ino, fresh)
    return fresh
  }

  /** Whatever is held back or unwritten of a file goes to the master first. */
  async #settle(ino: Ino): Promise<void> {
    const file = this.#files.get(ino)
    if (file?.ahead) await this.#io.commit(file, false)
  }

  #learnOwn(attr: Attr, data = false): void {
    this.#tree.learn(attr)
    const file = this.#files.get(attr.ino) ?? this.#closedFiles.get(attr.ino)
    if (file === undefined) return
    if (data) this.#io.changedElsewhere(file)
    else if (file.version !== -1) file.version = attr.version
    if (!file.ahead) file.attr = attr
  }

  /** A removed directory may still be somebody's working directory or open: it is empty then, and takes nothing new. */
  #directoryGone(ino: Ino): void {
    const attr = this.#tree.attr(ino)
    if (attr?.type === 'dir') this.#removed.set(ino, { ...attr, nlink: 0 })
    this.#tree.forget(ino)
    this.#tree.forgetDirectory(ino)
  }

  #refuseRemoved(parent: Ino): void {
    if (this.#removed.get(parent) !== undefined) throw new FsError('ENOENT', 'the directory has been removed')
  }

  /** `directory`: the parent as it is now, if the master has said so. */
  #born(parent: Ino, name: string, attr: Attr, directory?: Attr): void {
    this.#tree.learn(attr)
    this.#tree.setName(parent, name, attr.ino)
    if (directory === undefined) this.#tree.forget(parent)
    else this.#tree.learn(directory)
  }

  /** A file that is ahead of the master shows its own attributes; its names are the master's business all the same. */
  #relinked(ino: Ino, nlink: number): void {
    const file = this.#files.get(ino)
    if (file !== undefined) file.attr = { ...file.attr, nlink }
  }

  #gone(parent: Ino, name: string, directory: Attr | undefined): void {
    this.#tree.setName(parent, name, 0)
    if (directory === undefined) this.#tree.forget(parent)
    else this.#tree.learn(directory)
  }

  /** A file that nobody has open is kept only for what is known of its bytes, once it is clean. */
  #retire(file: FileState): void {
    this.#io.closed(file)
    if (file.opens > 0) return
    if (file.ahead) {
      const committed = file.lag ?? this.#io.commit(file, false)
      committed.then(
        () => this.#retire(file),
        (error: unknown) => {
          // Everybody who could be told has closed the file; a writer that cares has called fsync.
          this.#world.log.error({ ino: file.ino, error: String(error) }, 'data of a closed file could not be stored')
          if (!file.ahead) this.#retire(file)
        },
      )
      return
    }
    // Only now: while the master counts the file as open here, it recalls what is not committed.
    this.#releases.add(file.ino)
    if (this.#files.get(file.ino) === file) {
      this.#files.delete(file.ino)
      this.#closedFiles.set(file.ino, file)
      this.#tree.learn(file.attr)
    }
  }

  // ---- what happens elsewhere

  async #recalled(ino: Ino): Promise<void> {
    const file = this.#files.get(ino)
    if (file === undefined || !file.ahead) return
    try {
      await this.#io.commit(file, false)
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      // Taken from whoever would have asked next: kept for them.
      file.error ??= error
    }
  }

  #invalidated(change: Request<'invalidate'>): void {
    for (const { ino, data } of change.inodes) {
      this.#tree.forget(ino)
      // With `data`, a directory's names too: the master will not tell of them any more.
      if (data) this.#tree.forgetDirectory(ino)
      const file = this.#files.get(ino) ?? this.#closedFiles.get(ino)
      if (file !== undefined && data) this.#io.changedElsewhere(file)
      else if (file !== undefined) file.version = -1
      this.#listener({ kind: 'inode', ino, data })
    }
    for (const { parent, name, child } of change.entries) {
      this.#tree.forgetName(parent, name)
      this.#tree.forget(parent)
      this.#listings.forget(parent)
      this.#listener(child === undefined ? { kind: 'entry', parent, name } : { kind: 'entry', parent, name, child })
    }
  }

  #disconnected(): void {
    this.#tree.clear()
    this.#listings.clear()
    this.#closedFiles.clear()
    for (const file of this.#files.values()) {
      this.#io.changedElsewhere(file)
      if (file.opens > 0) this.#listener({ kind: 'inode', ino: file.ino, data: true })
    }
  }

  #lost(): void {
    this.#lockOwners.clear()
    this.#writer.sessionLost()
  }
}

function checkName(name: string): void {
  if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
  if (name.length === 0 || name === '.' || name.includes('/') || name.includes('\0')) throw new FsError('EINVAL')
}
