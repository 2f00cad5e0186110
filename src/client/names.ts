/*
 * Names: looking them up, listing them, making, removing and moving them.
 *
 * Answered here without asking: what the tree cache holds while the session is fresh, what was changed here and is not
 * told yet, and changes in directories that this session holds (name-journal.ts). Everything else asks the master, after
 * it has been told whatever is pending of the inodes and directories in question.
 */

import type { Attr, AttrChange } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import { type Ino, ino as toIno } from '../base/ids.ts'
import { NAME_BYTES_MAX, PATH_BYTES_MAX } from '../base/limits.ts'
import type { Clock } from '../base/world.ts'
import type { Answered } from '../wire/peer.ts'
import { Generations } from './core/generations.ts'
import type { TreeCache } from './core/tree-cache.ts'
import type { FileReader } from './file-reader.ts'
import type { FileState } from './file-state.ts'
import type { FileWriter } from './file-writer.ts'
import type { Files } from './files.ts'
import { Listings } from './listings.ts'
import { ANY, type NameJournal } from './name-journal.ts'
import type { Interruptible } from './patience.ts'
import type { MasterSession } from './session.ts'
import type { Caller, Entry, NewNode, RenameFlags } from './vfs.ts'
import { Walks } from './walks.ts'

const REMOVED_MAX = 1024
/** The most that one page of the master's holds. */
const LIST_ENTRIES_MAX = 4_096

export class Names {
  readonly #session: MasterSession
  readonly #tree: TreeCache
  readonly #journal: NameJournal
  readonly #files: Files
  readonly #reader: FileReader
  readonly #writer: FileWriter
  readonly #listings: Listings
  readonly #walks: Walks
  /** Directories removed here, as they were: those who stand in them may go on looking. */
  readonly #removed = new Generations<Ino, Attr>(REMOVED_MAX)

  constructor(
    clock: Clock,
    session: MasterSession,
    tree: TreeCache,
    journal: NameJournal,
    files: Files,
    reader: FileReader,
    writer: FileWriter,
  ) {
    this.#session = session
    this.#tree = tree
    this.#journal = journal
    this.#files = files
    this.#reader = reader
    this.#writer = writer
    this.#listings = new Listings(tree, (ino) => files.view(ino))
    this.#walks = new Walks(
      clock,
      (dir, limit) => this.#guess(dir, limit),
      (dir) => this.#directoriesIn(dir),
    )
  }

  /** A directory that was removed here, as it was. */
  removed(ino: Ino): Attr | undefined {
    return this.#removed.get(ino)
  }
  /** Nobody else can reach it, and it goes with the last who stands in it: what changes of it, changes here. */
  changeRemoved(attr: Attr): Attr {
    this.#removed.set(attr.ino, attr)
    return attr
  }

  async lookup(parent: Ino, name: string, caller: Caller): Promise<Attr> {
    checkName(name)
    if (name !== '..') this.#refuseRemoved(parent)
    const known = name === '..' ? this.#above(parent) : this.#known(parent, name)
    if (known === 0) throw new FsError('ENOENT')
    const shown = known === undefined ? undefined : this.#files.view(known)
    if (shown !== undefined) {
      this.#walks.helped(parent)
      return shown
    }
    const coming = name === '..' || !this.#mayGuess(parent) ? undefined : this.#walks.missed(parent)
    if (coming !== undefined) {
      await coming
      const told = this.#known(parent, name)
      if (told === 0) throw new FsError('ENOENT')
      const view = told === undefined ? undefined : this.#files.view(told)
      if (view !== undefined) return view
    }
    if (known !== undefined) await this.#journal.settleIf(known)
    if (this.#journal.unborn(parent)) await this.#journal.settle()
    try {
      const attr = await this.#session.ask('lookup', { parent, name }, caller)
      this.#files.learn(attr)
      if (name !== '..') this.#named(parent, name, attr)
      return this.#files.view(attr.ino) ?? attr
    } catch (error) {
      const missing = error instanceof FsError && error.code === 'ENOENT' && name !== '..'
      if (missing && this.#journal.name(parent, name) === undefined) this.#tree.setName(parent, name, 0)
      throw error
    }
  }

  async readdir(ino: Ino, cookie: number, limit: number, caller: Caller): Promise<Entry[]> {
    if (this.#removed.get(ino) !== undefined) return []
    // Cookies of new names are the master's to give.
    await this.#journal.settleIf(ino)
    if (cookie === 0) {
      this.#walks.entered(ino)
      await this.#walks.coming(ino)
    }
    const page = this.#session.fresh() ? this.#listings.page(ino, cookie, limit) : undefined
    const entries = page ?? (await this.#listPage(ino, cookie, Math.min(limit, LIST_ENTRIES_MAX), caller))
    if (cookie === 0) this.#walks.given(ino)
    return entries
  }

  /** What the master says, kept for later. */
  async #listPage(ino: Ino, cookie: number, limit: number, caller: Interruptible): Promise<Entry[]> {
    const page = await this.#session.ask('readdir', { ino, cookie, limit }, caller)
    // Names changed here while it was on its way are not in it. What is told after it is answered after it.
    if (!this.#journal.involves(ino)) this.#listed(ino, cookie, page)
    return page.entries.map(({ name, cookie, attr }) => {
      const shown = this.#files.view(attr.ino) ?? attr
      return { name, cookie, ino: attr.ino, type: attr.type, attr: shown }
    })
  }

  #listed(ino: Ino, cookie: number, { entries, end, version }: Answered<'readdir'>['reply']): void {
    for (const entry of entries) {
      this.#tree.learn(entry.attr)
      this.#named(ino, entry.name, entry.attr)
    }
    this.#listings.collect(
      ino,
      cookie,
      entries.map(({ name, cookie, attr }) => ({ name, cookie, ino: attr.ino })),
      end,
      version,
    )
  }

  /** Where names may be changed here without asking, what the master lists may be older than what is shown. */
  #mayGuess(dir: Ino): boolean {
    return this.#session.fresh() && !this.#journal.holds(dir) && !this.#journal.involves(dir)
  }

  /** The first page of a directory that nobody has listed yet; how many entries came. */
  async #guess(dir: Ino, limit: number): Promise<number> {
    if (!this.#mayGuess(dir)) return 0
    const { recalls } = this.#journal
    const page = await this.#session.ask('readdir', { ino: dir, cookie: 0, limit })
    // Names can have changed here meanwhile only in a directory that is held still, or was until it was recalled.
    if (!this.#mayGuess(dir) || recalls !== this.#journal.recalls) return 0
    this.#listed(dir, 0, page)
    return page.entries.length
  }

  /** The directories in one whose whole listing is known. */
  #directoriesIn(dir: Ino): Ino[] | undefined {
    const listing = this.#tree.listing(dir)
    if (listing === undefined) return undefined
    const out: Ino[] = []
    for (const { ino } of listing) if (this.#tree.attr(ino)?.type === 'dir') out.push(ino)
    return out
  }

  async make(parent: Ino, name: string, node: NewNode, caller: Caller): Promise<Attr> {
    checkName(name)
    this.#refuseRemoved(parent)
    const { uid, gid } = caller
    const mode = node.mode & 0o7777
    const umask = caller.umask & 0o777
    const here = this.#makeHere(parent, name, { ...node, mode: mode & ~umask, uid, gid, opened: false })
    if (here !== undefined) return here
    const { type, rdev = 0, target = '' } = node
    const request = { parent, name, type, mode, umask, uid, gid, rdev, target }
    const { recalls, attr, ...answer } = await this.#ask(parent, caller, () =>
      this.#session.change('make', request, caller),
    )
    this.#born(parent, name, attr, answer.parent)
    if (attr.type === 'dir') {
      this.#tree.madeDirectory(attr.ino)
      this.#journal.hold(attr.ino, recalls)
    }
    if (answer.held) this.#journal.hold(parent, recalls)
    return attr
  }

  /** A regular file, opened. */
  async create(
    parent: Ino,
    name: string,
    mode: number,
    flags: { exclusive: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<FileState> {
    checkName(name)
    this.#refuseRemoved(parent)
    const { uid, gid } = caller
    const umask = caller.umask & 0o777
    const node: NewNode = { type: 'file', mode: mode & 0o7777 & ~umask }
    const here = this.#makeHere(parent, name, { ...node, uid, gid, opened: true })
    if (here !== undefined) return this.#files.born(here)
    const request = { parent, name, mode: mode & 0o7777, umask, uid, gid, ...flags, killSuidGid: uid !== 0 }
    const { recalls, attr, created, ...answer } = await this.#ask(parent, caller, () =>
      this.#session.change('create', request, caller),
    )
    this.#born(parent, name, attr, answer.parent)
    if (answer.held) this.#journal.hold(parent, recalls)
    if (created) {
      const file = this.#files.born(attr)
      file.careful = answer.careful === true
      return file
    }
    // Whoever opened something else than a file looks again, and finds what it is.
    if (attr.type !== 'file') throw new FsError('ESTALE', `${name} is a ${attr.type}`)
    // Made by somebody else in this moment. That it was closed here before may have been told after this was asked.
    await this.#files.whileOpening(attr.ino, () => this.#session.ask('open', { ino: attr.ino, write: true }, caller))
    const file = this.#files.opened(attr)
    this.#reader.changedElsewhere(file)
    if (!file.ahead) file.attr = attr
    return file
  }

  async unlink(parent: Ino, name: string, caller: Caller): Promise<void> {
    checkName(name)
    if (this.#unlinkHere(parent, name)) return
    const { recalls, ino, nlink, ...answer } = await this.#ask(parent, caller, () =>
      this.#session.change('unlink', { parent, name }, caller),
    )
    this.#gone(parent, name, answer.parent)
    this.#tree.forget(ino)
    this.#files.relinked(ino, nlink)
    if (answer.held) this.#journal.hold(parent, recalls)
  }

  async rmdir(parent: Ino, name: string, caller: Caller): Promise<void> {
    if (name === '.') throw new FsError('EINVAL')
    checkName(name)
    if (this.#rmdirHere(parent, name)) return
    const { recalls, ino, ...answer } = await this.#ask(parent, caller, () =>
      // What was removed in the directory itself, and whether it is empty, is the master's to say.
      this.#journal.asking(
        [this.#known(parent, name) ?? ANY],
        () => this.#files.waitingFor(this.#journal.settle(), caller),
        () => this.#session.change('rmdir', { parent, name }, caller),
      ),
    )
    this.#gone(parent, name, answer.parent)
    this.#directoryGone(ino, this.#files.view(ino))
    if (answer.held) this.#journal.hold(parent, recalls)
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
    if (known === undefined) await this.#writer.settleLagging()
    else if (known !== 0) await this.#files.settle(toIno(known), caller)
    const { ino, replaced, parents } = await this.#journal.asking(
      [parent, newParent, this.#known(newParent, newName) ?? ANY],
      () => this.#files.waitingFor(this.#journal.settle(), caller),
      () => this.#session.change('rename', { parent, name, newParent, newName, ...flags }, caller),
    )
    this.#tree.forget(parent)
    this.#tree.forget(newParent)
    this.#tree.forget(ino)
    for (const directory of parents ?? []) this.#tree.learn(directory)
    const lost = replaced === undefined || flags.exchange || replaced === ino ? undefined : this.#files.find(replaced)
    if (lost !== undefined) this.#files.relinked(lost.ino, lost.attr.nlink - 1)
    if (flags.exchange) {
      this.#tree.forgetName(parent, name)
      this.#tree.forgetName(newParent, newName)
    } else if (parent !== newParent || name !== newName) {
      // rename(2) of two names of one inode does nothing: then the old name is still there.
      if (replaced === ino) this.#tree.forgetName(parent, name)
      else this.#tree.setName(parent, name, 0)
      this.#tree.setName(newParent, newName, ino)
    }
    if (replaced !== undefined && (flags.exchange || replaced === ino)) {
      this.#tree.forget(replaced)
      this.#tree.forgetDirectory(replaced)
    } else if (replaced !== undefined) this.#directoryGone(replaced, this.#files.view(replaced))
  }

  async link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Promise<Attr> {
    checkName(newName)
    await this.#files.settle(ino, caller)
    const attr = await this.#journal.asking(
      [newParent],
      () => this.#files.waitingFor(this.#journal.settleIf(newParent), caller),
      () => this.#session.change('link', { ino, newParent, newName }, caller),
    )
    this.#born(newParent, newName, attr)
    this.#files.relinked(ino, attr.nlink)
    return this.#files.view(ino) ?? attr
  }

  /** A change of names in one directory, answered with what `hold` wants to know of the time when it was asked for. */
  #ask<T extends object>(directory: Ino, caller: Caller, change: () => Promise<T>): Promise<T & { recalls: number }> {
    return this.#journal.asking(
      [directory],
      () => this.#files.waitingFor(this.#journal.settleIf(directory), caller),
      async () => {
        const { recalls } = this.#journal
        return { ...(await change()), recalls }
      },
    )
  }

  /** Attributes of a directory that is held here; undefined: the master is to be asked. */
  setattrHere(ino: Ino, change: AttrChange): Attr | undefined {
    const directory = change.size === undefined ? this.#heldHere(ino) : undefined
    return directory === undefined ? undefined : this.#journal.setattr(directory, change)
  }

  // ---- in directories that are held here

  #makeHere(
    parent: Ino,
    name: string,
    node: NewNode & { uid: number; gid: number; opened: boolean },
  ): Attr | undefined {
    const directory = this.#heldHere(parent)
    if (directory === undefined || this.#known(parent, name) !== 0) return undefined
    // What the master would refuse is for the master to refuse.
    const { target = '' } = node
    if (node.type === 'symlink' && (target === '' || target.length > PATH_BYTES_MAX || target.includes('\0')))
      return undefined
    const attr = this.#journal.make(directory, name, node)
    if (attr === undefined) return undefined
    this.#named(parent, name, attr)
    if (attr.type === 'dir') this.#tree.madeDirectory(attr.ino)
    return attr
  }

  #unlinkHere(parent: Ino, name: string): boolean {
    const directory = this.#heldHere(parent)
    const ino = directory === undefined ? undefined : this.#known(parent, name)
    if (directory === undefined || ino === undefined || ino === 0) return false
    const attr = this.#files.view(ino)
    if (attr === undefined || attr.type === 'dir') return false
    this.#journal.remove('unlink', directory, name, ino)
    this.#tree.setName(parent, name, 0)
    this.#tree.forget(ino)
    this.#files.relinked(ino, attr.nlink - 1)
    return true
  }

  #rmdirHere(parent: Ino, name: string): boolean {
    const directory = this.#heldHere(parent)
    const ino = directory === undefined ? undefined : this.#known(parent, name)
    if (directory === undefined || ino === undefined || ino === 0) return false
    const attr = this.#files.view(ino)
    if (attr?.type !== 'dir' || !this.#journal.holds(ino) || !this.#tree.isEmpty(ino)) return false
    this.#journal.remove('rmdir', directory, name, ino)
    this.#tree.setName(parent, name, 0)
    this.#directoryGone(ino, attr)
    return true
  }

  /**
   * The directory as shown here, when names in it may be changed without asking. With extended attributes it may have a
   * default ACL, which the master applies.
   */
  #heldHere(parent: Ino): Attr | undefined {
    if (!this.#journal.holds(parent)) return undefined
    const directory = this.#files.view(parent)
    return directory?.type === 'dir' && !directory.hasXattr ? directory : undefined
  }

  /** What ".." is; undefined when only the master knows. */
  #above(ino: Ino): Ino | undefined {
    return this.#session.fresh() ? this.#tree.parent(ino) : undefined
  }

  /** What a name stands for, 0 for nothing; undefined when only the master knows. */
  #known(parent: Ino, name: string): Ino | 0 | undefined {
    const pending = this.#journal.name(parent, name)
    if (pending !== undefined) return pending as Ino | 0
    return this.#session.fresh() ? (this.#tree.name(parent, name) as Ino | 0 | undefined) : undefined
  }

  // ---- what is learned

  /** What the master says of a name, unless it was changed here since it was asked. */
  #named(parent: Ino, name: string, { ino, type }: Attr): void {
    const pending = this.#journal.name(parent, name)
    if (pending !== undefined && pending !== ino) return
    if (type === 'dir') this.#tree.setDirectory(parent, name, ino)
    else this.#tree.setName(parent, name, ino)
  }

  /** `directory`: the parent as it is now, if the master has said so. */
  #born(parent: Ino, name: string, attr: Attr, directory?: Attr): void {
    this.#tree.learn(attr)
    this.#named(parent, name, attr)
    if (directory === undefined) this.#tree.forget(parent)
    else this.#tree.learn(directory)
  }

  #gone(parent: Ino, name: string, directory: Attr | undefined): void {
    this.#tree.setName(parent, name, 0)
    if (directory === undefined) this.#tree.forget(parent)
    else this.#tree.learn(directory)
  }

  /** A removed directory may still be somebody's working directory or open: it is empty then, and takes nothing new. */
  #directoryGone(ino: Ino, attr: Attr | undefined): void {
    if (attr?.type === 'dir') this.#removed.set(ino, { ...attr, nlink: 0 })
    this.#tree.forget(ino)
    this.#tree.forgetDirectory(ino)
  }

  #refuseRemoved(parent: Ino): void {
    if (this.#removed.get(parent) !== undefined) throw new FsError('ENOENT', 'the directory has been removed')
  }

  // ---- what happens elsewhere

  /** A name means something else; nothing is known of it any more. */
  invalidated(parent: Ino, name: string): void {
    this.#tree.forgetName(parent, name)
    this.#tree.forget(parent)
    this.#listings.forget(parent)
  }

  /** What was changed here is not so after all. */
  refused(parent: Ino, name: string, ino: Ino): void {
    this.invalidated(parent, name)
    this.#removed.delete(ino)
  }

  disconnected(): void {
    this.#tree.clear()
    this.#listings.clear()
    this.#walks.clear()
  }
}

function checkName(name: string): void {
  if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
  if (name.length === 0 || name === '.' || name.includes('/') || name.includes('\0')) throw new FsError('EINVAL')
}
