/*
 * The filesystem over a cluster: Vfs as the doors know it, on top of the session with the master and the chunkservers.
 * Names are answered by names.ts; here are attributes, bytes, locks, and what the master says without being asked.
 *
 * What is asked of the master and what is answered here: attributes are answered from the tree cache while the session is
 * fresh (session.ts: nothing older than half a second); open() always asks, which is what makes close-to-open hold; what
 * is dirty or not told yet here is shown as it is here. Attribute changes of a file that is being written wait for its
 * commit; all others ask the master.
 */

import { type Attr, type AttrChange, changedAttr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { FILE_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import type { Reply, Request } from '../wire/protocol.ts'
import type { ChunkPlaces, NameChange } from '../wire/shapes.ts'
import { BlockCache } from './block-cache.ts'
import { ChunkReader } from './chunk-reader.ts'
import { ChunkWriter } from './chunk-writer.ts'
import { Chunkservers } from './chunkservers.ts'
import { Committer } from './committer.ts'
import { TreeCache } from './core/tree-cache.ts'
import { FileReader, seekIn } from './file-reader.ts'
import { FileWriter } from './file-writer.ts'
import { Files } from './files.ts'
import { NameJournal } from './name-journal.ts'
import { Names } from './names.ts'
import { type Interruptible, Patience } from './patience.ts'
import { MasterSession, type MountPlace } from './session.ts'
import type { Caller, Entry, FallocateMode, FileLock, Invalidation, NewNode, RenameFlags, StatFs, Vfs } from './vfs.ts'

const STATFS_MS = 1_000
/** Answers kept; df asks about one place, a file manager about those that it shows. */
const STATFS_MAX = 64

export interface FilesystemOptions {
  readonly master: { readonly host: string; readonly port: number }
  readonly cluster: string
  readonly hostName: string
  readonly mountpoint: string
  readonly version: string
  /** The address by which chunkservers on this machine are known, to prefer their copies. */
  readonly ownHost: string
  /** Whether operations wait for a lost master, or lost chunkservers, until they are back, or EIO comes after a time. */
  readonly onDisconnect: 'wait' | 'error'
  /** That time; also how long the end of a mount waits for what is unwritten. */
  readonly onDisconnectMs: number
  readonly cacheBytes: number
  readonly dirtyBytes: number
  /** To each chunkserver; 0 or nothing: as many as it takes. */
  readonly connections?: number
  readonly place?: MountPlace
}

export class Filesystem implements Vfs {
  readonly #world: World
  readonly #endMs: number
  readonly #patience: Patience
  readonly #session: MasterSession
  readonly #chunkservers: Chunkservers
  readonly #chunkWriter: ChunkWriter
  readonly #reader: FileReader
  readonly #writer: FileWriter
  readonly #tree = new TreeCache()
  readonly #journal: NameJournal
  readonly #files: Files
  readonly #names: Names
  /** Owners of locks taken through this client, so that a close without locks costs no round trip. */
  readonly #lockOwners = new Map<Ino, Set<string>>()
  /** Pushes were taken in, and what had been answered before them perhaps not yet. */
  #overtaking = false
  /** By the inode that was asked about: quotas make it differ. */
  readonly #statfs = new Map<Ino, { at: number; answer: StatFs }>()
  #listener: (change: Invalidation) => void = () => undefined

  constructor(world: World, options: FilesystemOptions) {
    this.#world = world
    const { ownHost } = options
    this.#endMs = options.onDisconnectMs
    this.#patience = new Patience(world.clock, options.onDisconnect === 'wait' ? Number.POSITIVE_INFINITY : this.#endMs)
    this.#session = new MasterSession(
      world,
      {
        invalidate: (change) => this.#invalidated(change),
        recall: (wanted) => this.#recalled(wanted),
        classPatterns: (patterns) => this.#journal.classesBy(patterns),
        disconnected: () => this.#disconnected(),
        returned: () => this.#returned(),
        lost: () => this.#lost(),
        opens: () => this.#files.kept(),
        made: () => this.#files.made(),
        directories: () => this.#journal.parents(),
        numbers: () => this.#journal.numbers(),
      },
      this.#patience,
      { ...options.master, ...options, client: world.random.hex(16) },
    )
    this.#journal = new NameJournal(world, this.#session, {
      told: (parents) => {
        for (const attr of parents) this.#tree.learn(attr)
      },
      born: (attr) => this.#tree.learn(attr),
      unlinked: (ino) => this.#tree.forget(ino),
      refused: (change, error) => this.#refused(change, error),
    })
    this.#chunkservers = new Chunkservers(world, options.cluster, options.hostName, options.connections)
    const cache = new BlockCache({ limitBytes: options.cacheBytes })
    const chunkReader = new ChunkReader(world, this.#session, this.#chunkservers, cache, this.#patience, { ownHost })
    const learnPlaces = (places: ChunkPlaces): void => chunkReader.learn(places)
    this.#chunkWriter = new ChunkWriter(world, this.#session, this.#chunkservers, learnPlaces, this.#patience)
    const committer = new Committer(this.#session)
    const learn = (attr: Attr): void => this.#tree.learn(attr)
    // The door shows bytes and a size that are not there.
    const lost = (ino: Ino): void => this.#listener({ kind: 'inode', ino, data: true })
    this.#reader = new FileReader((...range) => this.#locate(...range), chunkReader)
    this.#writer = new FileWriter(
      world,
      this.#session,
      this.#chunkWriter,
      committer,
      this.#journal,
      this.#patience,
      learn,
      lost,
      {
        dirtyLimitBytes: options.dirtyBytes,
      },
    )
    this.#files = new Files(world, this.#session, this.#tree, this.#journal, this.#reader, this.#writer, this.#patience)
    this.#names = new Names(
      world.clock,
      this.#session,
      this.#tree,
      this.#journal,
      this.#files,
      this.#reader,
      this.#writer,
    )
  }

  /** Throws when the master cannot be reached within `timeoutMs`. */
  start(timeoutMs: number): Promise<void> {
    return this.#session.start(timeoutMs)
  }

  // ---- names

  lookup(parent: Ino, name: string, caller: Caller): Promise<Attr> {
    return name === '.' ? this.getattr(parent, caller) : this.#names.lookup(parent, name, caller)
  }
  readdir(ino: Ino, cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    return this.#names.readdir(ino, cookie, limit, caller)
  }
  make(parent: Ino, name: string, node: NewNode, caller: Caller): Promise<Attr> {
    return this.#names.make(parent, name, node, caller)
  }
  async create(
    parent: Ino,
    name: string,
    mode: number,
    flags: { exclusive: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<Attr> {
    return (await this.#names.create(parent, name, mode, flags, caller)).attr
  }
  unlink(parent: Ino, name: string, caller: Caller): Promise<void> {
    return this.#names.unlink(parent, name, caller)
  }
  rmdir(parent: Ino, name: string, caller: Caller): Promise<void> {
    return this.#names.rmdir(parent, name, caller)
  }
  rename(
    parent: Ino,
    name: string,
    newParent: Ino,
    newName: string,
    flags: RenameFlags,
    caller: Caller,
  ): Promise<void> {
    return this.#names.rename(parent, name, newParent, newName, flags, caller)
  }
  link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Promise<Attr> {
    return this.#names.link(ino, newParent, newName, caller)
  }
  async readlink(ino: Ino, caller: Caller): Promise<string> {
    await this.#files.settle(ino, caller)
    return (await this.#session.ask('readlink', { ino }, caller)).target
  }

  // ---- attributes

  async getattr(ino: Ino, caller: Caller): Promise<Attr> {
    return this.#names.removed(ino) ?? this.#files.attr(ino, caller)
  }

  async setattr(ino: Ino, change: AttrChange, caller: Caller): Promise<Attr> {
    if (change.size !== undefined && change.size > FILE_BYTES_MAX) throw new FsError('EFBIG')
    const gone = this.#names.removed(ino)
    if (gone !== undefined) return this.#names.changeRemoved(changedAttr(gone, change, this.#session.now()))
    const file = this.#files.find(ino)
    if (file !== undefined && change.size === undefined && (file.dirty || file.young)) {
      this.#writer.holdBack(file, change)
      return file.attr
    }
    const here = this.#names.setattrHere(ino, change)
    if (here !== undefined) return here
    const attr = await this.#journal.asking(
      [ino],
      () => this.#files.settle(ino, caller),
      () => this.#session.change('setattr', { ino, change }, caller),
    )
    this.#tree.learn(attr)
    if (file !== undefined) {
      if (change.size !== undefined) this.#reader.changedElsewhere(file)
      if (!file.ahead) file.attr = attr
      if (change.size === undefined && file.version !== -1) file.version = attr.version
    }
    return this.#files.view(ino) ?? attr
  }

  async getxattr(ino: Ino, name: string, caller: Caller): Promise<Buffer> {
    if (this.#session.fresh() && this.#files.view(ino)?.hasXattr === false) throw new FsError('ENODATA')
    // The kernel asks before it lets anybody write whether there is something to be taken away.
    const cut = (): 'none' | undefined => (this.#files.held(ino)?.hasXattr === false ? 'none' : undefined)
    if (!this.#session.connected && cut() !== undefined) throw new FsError('ENODATA')
    await this.#journal.settleIf(ino)
    const answer = await this.#session.askUnlessCut('getxattr', { ino, name }, caller, cut)
    if (answer === 'none') throw new FsError('ENODATA')
    return answer.value
  }

  async setxattr(
    ino: Ino,
    name: string,
    value: Buffer,
    flags: { create: boolean; replace: boolean; killSgid: boolean },
    caller: Caller,
  ): Promise<void> {
    await this.#journal.asking(
      [ino],
      () => this.#files.settle(ino, caller),
      async () => this.#files.learnOwn(await this.#session.change('setxattr', { ino, name, value, ...flags }, caller)),
    )
  }

  async listxattr(ino: Ino, caller: Caller): Promise<string[]> {
    if (this.#session.fresh() && this.#files.view(ino)?.hasXattr === false) return []
    await this.#journal.settleIf(ino)
    return (await this.#session.ask('listxattr', { ino }, caller)).names
  }

  async removexattr(ino: Ino, name: string, caller: Caller): Promise<void> {
    await this.#journal.asking(
      [ino],
      () => this.#files.settle(ino, caller),
      async () => this.#files.learnOwn(await this.#session.change('removexattr', { ino, name }, caller)),
    )
  }

  // ---- data

  async open(
    ino: Ino,
    flags: { write: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<{ attr: Attr; changed: boolean; stale: boolean }> {
    await this.#journal.settleIf(ino)
    const shown = this.#files.view(ino)
    const { attr, extents, complete, chunks } = await this.#files.whileOpening(ino, () =>
      this.#session.ask('open', { ino, write: flags.write }, caller),
    )
    this.#files.learn(attr)
    const file = this.#files.opened(attr)
    this.#reader.learn(chunks)
    const changed = file.version !== attr.version
    if (changed) {
      this.#reader.changedElsewhere(file)
      const last = extents[extents.length - 1]
      const upTo = complete ? FILE_BYTES_MAX : last === undefined ? 0 : last.offset + last.length
      this.#reader.learnExtents(file, extents, 0, upTo)
      file.version = attr.version
      if (!file.ahead) file.attr = attr
    }
    if (flags.truncate && (attr.size > 0 || file.ahead)) await this.setattr(ino, { size: 0, mtime: 'now' }, caller)
    return { attr: file.attr, changed, stale: !file.ahead && shown?.version !== attr.version }
  }

  release(ino: Ino): void {
    this.#files.release(ino)
  }

  async read(ino: Ino, offset: number, length: number, caller: Caller): Promise<Buffer[]> {
    const file = await this.#files.of(ino, caller)
    this.#writer.uncover(file, offset, length)
    return this.#reader.read(file, offset, length, caller)
  }

  async write(
    ino: Ino,
    offset: number,
    data: Buffer,
    options: { append: boolean; killSuidGid: boolean },
    caller: Caller,
  ): Promise<void> {
    const file = await this.#files.toWrite(ino, caller)
    const at = options.append ? Math.max(offset, file.attr.size) : offset
    await this.#writer.write(file, at, data, options.killSuidGid, caller)
    this.#reader.forgetAhead(file)
  }

  async flush(ino: Ino, caller: Caller): Promise<void> {
    const file = this.#files.find(ino)
    if (file === undefined) return
    // Also a shell's redirection: it closes the file once before a byte is written, when it puts it in the place of its output.
    if (!file.ahead) return this.#writer.throwError(file)
    const firstClose = file.young
    file.young = false
    if (firstClose && this.#session.fresh() && this.#writer.mayLag(file)) this.#writer.commitSoon(file)
    else await this.#writer.commitFor(file, false, caller)
  }

  async fsync(ino: Ino, caller: Caller): Promise<void> {
    const file = this.#files.remembered(ino)
    if (file !== undefined) return this.#writer.commitFor(file, true, caller)
    await this.#files.waitingFor(this.#journal.settle(), caller)
    await this.#session.ask('sync', {}, caller)
  }

  async syncfs(caller: Caller): Promise<void> {
    await this.#files.waitingFor(this.#journal.settle(), caller)
    await this.#writer.commitAll(true)
    await this.#chunkWriter.syncAll()
    await this.#session.ask('sync', {}, caller)
  }

  async fallocate(ino: Ino, mode: FallocateMode, offset: number, length: number, caller: Caller): Promise<void> {
    if (offset + length > FILE_BYTES_MAX) throw new FsError('EFBIG')
    await this.#files.settle(ino, caller)
    const request = { ino, ...mode, offset, length, killSuidGid: caller.uid !== 0 }
    this.#files.learnOwn(await this.#session.change('fallocate', request, caller), true)
  }

  async copyRange(
    source: Ino,
    sourceOffset: number,
    target: Ino,
    targetOffset: number,
    length: number,
    caller: Caller,
  ): Promise<number> {
    await Promise.all([this.#files.settle(source, caller), this.#files.settle(target, caller)])
    const request = { source, sourceOffset, target, targetOffset, length, killSuidGid: caller.uid !== 0 }
    const { copied, attr } = await this.#session.change('copyRange', request, caller)
    this.#files.learnOwn(attr, true)
    return copied
  }

  async seek(ino: Ino, offset: number, whence: 'data' | 'hole', caller: Caller): Promise<number> {
    await this.#files.settle(ino, caller)
    return seekIn((...range) => this.#locate(...range), ino, offset, whence, caller)
  }

  async #locate(ino: Ino, offset: number, length: number, caller: Interruptible | undefined): Promise<Reply<'locate'>> {
    await this.#journal.settleIf(ino)
    return this.#session.ask('locate', { ino, offset, length }, caller)
  }

  // ---- locks

  async getLock(ino: Ino, lock: FileLock, caller: Caller): Promise<FileLock | undefined> {
    await this.#journal.settleIf(ino)
    return (await this.#session.ask('getLock', { ino, lock }, caller)).lock
  }

  async setLock(ino: Ino, lock: FileLock, wait: boolean, caller: Caller): Promise<void> {
    // Who gets the lock next must see what was written under it.
    if (lock.kind === 'unlock') await this.#files.settle(ino, caller)
    else await this.#files.waitingFor(this.#journal.settleIf(ino), caller)
    let owners = this.#lockOwners.get(ino)
    if (owners === undefined) {
      owners = new Set()
      this.#lockOwners.set(ino, owners)
    }
    owners.add(`${lock.family}:${lock.owner}`)
    await this.#session.change('setLock', { ino, lock, wait }, caller, wait ? 0 : undefined)
  }

  async releaseLocks(ino: Ino, family: 'posix' | 'flock', owner: string, caller?: Caller): Promise<void> {
    const owners = this.#lockOwners.get(ino)
    if (owners === undefined || !owners.delete(`${family}:${owner}`)) return
    if (owners.size === 0) this.#lockOwners.delete(ino)
    const released = this.#release(ino, family, owner)
    if (caller === undefined) return released
    await this.#patience.interruptible(released, caller, (error) =>
      this.#world.log.warn({ ino, error: String(error) }, 'locks of a file that was closed could not be given back'),
    )
  }

  async #release(ino: Ino, family: 'posix' | 'flock', owner: string): Promise<void> {
    const file = this.#files.find(ino)
    // A close that was interrupted has not waited for what was written under the lock.
    if (file?.ahead) await this.#files.recalled(ino)
    await this.#session.change('releaseLocks', { ino, family, owner })
  }

  // ---- the whole

  async statfs(ino: Ino, caller: Caller): Promise<StatFs> {
    const now = this.#world.clock.monotonicMs()
    const known = this.#statfs.get(ino)
    if (known !== undefined && now - known.at <= STATFS_MS) return known.answer
    await this.#journal.settleIf(ino)
    const answer = { blockSize: 4096, ...(await this.#session.ask('statfs', { ino }, caller)) }
    if (this.#statfs.size >= STATFS_MAX) this.#statfs.clear()
    this.#statfs.set(ino, { at: now, answer })
    return answer
  }

  onInvalidate(listener: (change: Invalidation) => void): void {
    this.#listener = listener
  }

  async close(): Promise<void> {
    this.#patience.endWithin(this.#endMs)
    try {
      await this.#journal.settle()
      await this.#writer.commitAll(true)
      await this.#chunkWriter.close()
    } finally {
      // Also when the master or a disk does not take what is left: this process is about to end.
      await this.#session.close()
      this.#chunkservers.close()
    }
  }

  // ---- what happens elsewhere

  async #recalled({ inos, directories, all }: Request<'recall'>): Promise<void> {
    if (all) this.#journal.letGo()
    else if (directories.length > 0) this.#journal.letGo(directories)
    try {
      await this.#journal.settle()
    } catch (error) {
      // The master does not take it now; the journal goes on trying.
      if (!(error instanceof FsError)) throw error
    }
    if (all) await this.#files.recalledAll()
    else await Promise.all(inos.map((ino) => this.#files.recalled(ino)))
  }

  /** What was answered here as done is not so. */
  #refused({ parent, name, ino, kind }: NameChange, error: FsError): void {
    this.#world.log.error(
      { parent, name, ino, error: error.message },
      `the master refused what was answered as done: ${kind}`,
    )
    this.#tree.forget(ino)
    const file = this.#files.find(ino)
    if (kind !== 'make') this.#files.invalidated(ino, false)
    else if (file !== undefined) file.error ??= error
    if (kind !== 'setattr') {
      this.#names.refused(parent, name, ino)
      this.#listener({ kind: 'entry', parent, name })
    }
    // Its times and counts were shown as they are not.
    this.#listener({ kind: 'inode', ino: parent, data: false })
  }

  #invalidated(change: Request<'invalidate'>): void {
    for (const { ino } of change.inodes) this.#tree.overtake(ino)
    for (const { parent } of change.entries) this.#tree.overtake(parent)
    // By then whatever came with it has been taken in.
    if (!this.#overtaking) this.#world.clock.timer(0, () => this.#tookOver())
    this.#overtaking = true
    for (const { ino, data } of change.inodes) {
      this.#tree.forget(ino)
      // With `data`, a directory's names too: the master will not tell of them any more.
      if (data) this.#tree.forgetDirectory(ino)
      this.#files.invalidated(ino, data)
      this.#listener({ kind: 'inode', ino, data })
    }
    for (const { parent, name, child } of change.entries) {
      this.#names.invalidated(parent, name)
      this.#listener(child === undefined ? { kind: 'entry', parent, name } : { kind: 'entry', parent, name, child })
    }
  }

  #tookOver(): void {
    this.#overtaking = false
    this.#tree.tookIn()
  }

  #disconnected(): void {
    this.#journal.letGo()
    this.#files.disconnected()
    this.#names.disconnected()
  }

  #returned(): void {
    for (const ino of this.#files.returned()) this.#listener({ kind: 'inode', ino, data: true })
  }

  #lost(): void {
    this.#lockOwners.clear()
    this.#chunkWriter.sessionLost()
  }
}
