/*
 * The files that are open or dirty here, those remembered after their last close, and what this client shows of an inode.
 *
 * Shown is, in this order: a file that is being written, as it is here; what was changed of names and not told yet; what
 * the master has told. A file leaves `#open` when nobody has it open and nothing of it is uncommitted; only then the
 * master hears of the close, because as long as it counts the file as open here it recalls what is held back of it.
 */

import type { Attr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { FILE_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import { Generations } from './core/generations.ts'
import type { TreeCache } from './core/tree-cache.ts'
import type { FileReader } from './file-reader.ts'
import { FileState } from './file-state.ts'
import type { FileWriter } from './file-writer.ts'
import type { NameJournal } from './name-journal.ts'
import type { Interruptible, Patience } from './patience.ts'
import { Releases } from './releases.ts'
import type { MasterSession } from './session.ts'
import type { Caller } from './vfs.ts'

/** Files whose extents are remembered after the last close; about a kilobyte each. */
const CLOSED_FILES_MAX = 4096

export class Files {
  readonly #world: World
  readonly #session: MasterSession
  readonly #tree: TreeCache
  readonly #journal: NameJournal
  readonly #reader: FileReader
  readonly #writer: FileWriter
  readonly #patience: Patience
  readonly #open = new Map<Ino, FileState>()
  readonly #closed = new Generations<Ino, FileState>(CLOSED_FILES_MAX)
  readonly #releases: Releases

  constructor(
    world: World,
    session: MasterSession,
    tree: TreeCache,
    journal: NameJournal,
    reader: FileReader,
    writer: FileWriter,
    patience: Patience,
  ) {
    this.#world = world
    this.#session = session
    this.#tree = tree
    this.#journal = journal
    this.#reader = reader
    this.#writer = writer
    this.#patience = patience
    const isOpen = (ino: Ino): boolean => (this.#open.get(ino)?.opens ?? 0) > 0
    // The master would count a file as open for ever whose close it hears before its creation.
    // One that is told while a connection is being made would be lost: what is open was said as that began.
    const mayGo = (ino: Ino): boolean => session.connected && !journal.involves(ino)
    this.#releases = new Releases(world.clock, isOpen, mayGo, (inos) => session.released(inos))
  }

  /** This client's own view of an inode, if it has one that may be shown. */
  view(ino: Ino): Attr | undefined {
    const file = this.#open.get(ino)
    if (file?.ahead || file?.young) return file.attr
    // Of an inode that has lost a name here and is not told of yet, nobody knows how many it has.
    return this.#journal.involves(ino) ? this.#journal.attr(ino) : this.#tree.attr(ino)
  }

  /** A file that is open or dirty. */
  find(ino: Ino): FileState | undefined {
    return this.#open.get(ino)
  }

  /** Whether anybody has it open here. */
  isOpen(ino: Ino): boolean {
    return (this.#open.get(ino)?.opens ?? 0) > 0
  }

  opens(): Ino[] {
    return [...this.#open.values()].filter((file) => file.opens > 0).map((file) => file.ino)
  }

  /** What the master is to count as open here: also what is closed and not committed, or nobody would call it in. */
  kept(): Ino[] {
    return [...this.#open.values()].filter((file) => file.opens > 0 || file.ahead).map((file) => file.ino)
  }

  /** What others must not look at before it is called in: closed and not committed, or to be closed so. */
  made(): Ino[] {
    return [...this.#open.values()].filter((file) => file.young || file.ahead).map((file) => file.ino)
  }

  /** One more user of a file. */
  opened(attr: Attr): FileState {
    let file = this.#open.get(attr.ino)
    if (file === undefined) {
      file = this.#closed.get(attr.ino) ?? new FileState(attr)
      this.#closed.delete(attr.ino)
      this.#open.set(attr.ino, file)
    }
    file.opens++
    return file
  }

  /** A file made by this client, with its first user. */
  born(attr: Attr): FileState {
    const file = this.opened(attr)
    file.young = true
    file.version = attr.version
    this.#reader.learnExtents(file, [], 0, FILE_BYTES_MAX)
    return file
  }

  /** No release of the inode is told while it is being opened: it would arrive later and undo it. */
  whileOpening<T>(ino: Ino, open: () => Promise<T>): Promise<T> {
    return this.#releases.whileOpening(ino, open)
  }

  /** One user less. */
  release(ino: Ino): void {
    const file = this.#open.get(ino)
    if (file === undefined || file.opens === 0) return
    file.opens--
    if (file.opens > 0) return
    file.young = false
    this.#retire(file)
  }

  /** The state of a file that some handle names: handles carry nothing, so it may have to be made. */
  async of(ino: Ino, caller: Caller): Promise<FileState> {
    const file = this.#open.get(ino)
    if (file !== undefined) {
      if (file.ahead) return file
      const known = this.#tree.attr(ino)
      if (known !== undefined && known.version > file.attr.version) file.attr = known
      else if (file.version === -1) file.attr = await this.attr(ino, caller)
      if (file.version === -1) file.version = file.attr.version
      return file
    }
    const attr = await this.attr(ino, caller)
    if (attr.type === 'dir') throw new FsError('EISDIR')
    const closed = this.#closed.get(ino)
    if (closed !== undefined && closed.version === attr.version) return closed
    const fresh = new FileState(attr)
    fresh.version = attr.version
    this.#closed.set(ino, fresh)
    return fresh
  }

  /** As `of`, and kept while it is dirty, also when nobody has announced an open (after a restart of the door). */
  async toWrite(ino: Ino, caller: Caller): Promise<FileState> {
    const file = await this.of(ino, caller)
    this.#open.set(ino, file)
    return file
  }

  /** Open, dirty, or remembered. */
  remembered(ino: Ino): FileState | undefined {
    return this.#open.get(ino) ?? this.#closed.get(ino)
  }

  /**
   * What is shown of an open file while the master is away: what it was when that was last heard. Its bytes and its size
   * belong together, and who has it open has asked for them before. Undefined: it had changed since.
   */
  held(ino: Ino): Attr | undefined {
    const file = this.#open.get(ino)
    return file !== undefined && file.opens > 0 && file.version !== -1 ? file.attr : undefined
  }

  /** Attributes as shown here, else as the master has them. */
  async attr(ino: Ino, caller: Caller): Promise<Attr> {
    if (this.#session.fresh() || this.#open.get(ino)?.ahead) {
      const known = this.view(ino)
      if (known !== undefined) return known
    }
    const cut = this.#session.connected ? undefined : this.held(ino)
    if (cut !== undefined) return cut
    await this.#journal.settleIf(ino)
    const instead = (): { cut: Attr } | undefined => {
      const attr = this.held(ino)
      return attr === undefined ? undefined : { cut: attr }
    }
    const attr = await this.#session.askUnlessCut('getattr', { ino }, caller, instead)
    if ('cut' in attr) return attr.cut
    // The master may not have heard yet that the last user of a deleted file has closed it.
    if (attr.nlink === 0 && !this.isOpen(ino)) throw new FsError('ESTALE', `inode ${ino}`)
    this.learn(attr)
    return this.view(ino) ?? attr
  }

  /** What the master answered to a question. It is out of date when something of it was changed here meanwhile. */
  learn(attr: Attr): void {
    if (!this.#journal.involves(attr.ino)) this.#tree.learn(attr)
  }

  /** What is pending of names, for somebody who may be interrupted: it is told all the same. */
  async waitingFor(told: Promise<void> | undefined, caller: Interruptible): Promise<void> {
    if (told !== undefined) await this.#patience.interruptible(told, caller)
  }

  /** Whatever is held back or unwritten of an inode goes to the master first. */
  async settle(ino: Ino, caller: Interruptible): Promise<void> {
    await this.waitingFor(this.#journal.settleIf(ino), caller)
    const file = this.#open.get(ino)
    if (file?.ahead) await this.#writer.commitFor(file, false, caller)
  }

  /** A file that is ahead of the master shows its own attributes; its names are the master's business all the same. */
  relinked(ino: Ino, nlink: number): void {
    const file = this.#open.get(ino)
    if (file !== undefined) file.attr = { ...file.attr, nlink }
  }

  /** What the master answered to a change of ours; `data`: of the bytes. */
  learnOwn(attr: Attr, data = false): void {
    this.#tree.learn(attr)
    const file = this.remembered(attr.ino)
    if (file === undefined) return
    if (data) this.#reader.changedElsewhere(file)
    else if (file.version !== -1) file.version = attr.version
    if (!file.ahead) file.attr = attr
  }

  // ---- what happens elsewhere

  /** Somebody else looks at it: what was closed is committed. The error, if any, is kept for the file's next user. */
  async recalled(ino: Ino): Promise<void> {
    const file = this.#open.get(ino)
    if (file === undefined) return
    // From now on others may change it, too: what is shown of it is what the master says.
    file.young = false
    if (!file.ahead) return
    try {
      await this.#writer.commit(file, false)
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      // Taken from whoever would have asked next: kept for them.
      file.error ??= error
    }
  }

  async recalledAll(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((ino) => this.recalled(ino)))
  }

  invalidated(ino: Ino, data: boolean): void {
    const file = this.remembered(ino)
    if (file === undefined) return
    file.young = false
    if (data) this.#reader.changedElsewhere(file)
    else file.version = -1
  }

  /** Nothing is heard of what changes elsewhere. To be called while the tree cache has what was heard last. */
  disconnected(): void {
    this.#closed.clear()
    for (const file of this.#open.values()) {
      const known = this.#tree.attr(file.ino)
      if (!file.ahead && known !== undefined && known.version > file.attr.version) file.attr = known
    }
  }

  /** Everything may have changed meanwhile. Answers what is open. */
  returned(): Ino[] {
    this.#closed.clear()
    for (const file of this.#open.values()) this.#reader.changedElsewhere(file)
    return this.opens()
  }

  /** A file that nobody has open is kept only for what is known of its bytes, once it is clean. */
  #retire(file: FileState): void {
    this.#reader.forgetAhead(file)
    this.#writer.closed(file)
    if (file.opens > 0) return
    if (file.ahead) {
      const committed = file.lag ?? this.#writer.commit(file, false)
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
    this.#releases.add(file.ino)
    if (this.#open.get(file.ino) === file) {
      this.#open.delete(file.ino)
      this.#closed.set(file.ino, file)
      // What it seemed to be when something of it could not be stored is not what it is.
      if (file.version !== -1) this.#tree.learn(file.attr)
    }
  }
}
