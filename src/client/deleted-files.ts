/*
 * Deleted files of a cluster, one by one: what the master says of them, their bytes, purging and restoring. Which names they
 * have and in which directory is the meta mount's business (meta-filesystem.ts).
 *
 * Nothing is cached but where the bytes of open files are: a file in the trash does not change, one that is held open
 * elsewhere may, and then the master tells.
 */

import type { Attr } from '../base/attr.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Reply } from '../wire/protocol.ts'
import type { DeletedFile } from '../wire/shapes.ts'
import type { ChunkReader } from './chunk-reader.ts'
import { timeText } from './core/trash-names.ts'
import { FileReader, seekIn } from './file-reader.ts'
import { FileState } from './file-state.ts'
import type { Interruptible } from './patience.ts'
import type { MasterSession } from './session.ts'

/** What getfattr shows of a deleted file; absent where it does not apply. */
const XATTRS: Readonly<Record<string, (file: DeletedFile) => string | undefined>> = {
  /** In full, also where the name had to be cut. */
  'user.holdfast.path': ({ trash }) => trash?.path,
  'user.holdfast.deleted': ({ trash }) => (trash === undefined ? undefined : timeText(trash.deletedSec)),
  'user.holdfast.expires': ({ trash }) => (trash === undefined ? undefined : timeText(trash.expirySec)),
  /** Numbers of sessions, as `info` has them. */
  'user.holdfast.holders': ({ holders }) => (holders.length === 0 ? undefined : holders.join(' ')),
}

export class DeletedFiles {
  readonly #session: MasterSession
  readonly #reader: FileReader
  readonly #open = new Map<Ino, FileState>()

  constructor(session: MasterSession, chunks: ChunkReader) {
    this.#session = session
    this.#reader = new FileReader((...range) => this.#locate(...range), chunks)
  }

  /** ENOENT when it is not there any more, or has a name again. */
  of(ino: Ino, caller: Interruptible): Promise<DeletedFile> {
    return this.#session.ask('deletedFile', { ino }, caller)
  }

  page(
    of: 'trash' | 'sustained',
    from: { sec: number; ino: number },
    limit: number,
    settle: boolean,
    caller: Interruptible,
  ): Promise<Reply<'deletedPage'>> {
    return this.#session.ask('deletedPage', { of, sec: from.sec, ino: from.ino as Ino, limit, settle }, caller)
  }

  async attr(ino: Ino, caller: Interruptible): Promise<Attr> {
    try {
      const file = await this.of(ino, caller)
      this.#learn(file.attr)
      return shownAttr(file.attr)
    } catch (error) {
      // What the kernel knows by its number and not by a name.
      if (errnoOf(error) === 'ENOENT') throw new FsError('ESTALE', `inode ${ino}`, { cause: error })
      throw error
    }
  }

  async open(ino: Ino, caller: Interruptible): Promise<Attr> {
    const { attr } = await this.of(ino, caller)
    const file = this.#open.get(ino) ?? new FileState(attr)
    this.#open.set(ino, file)
    file.opens++
    this.#learn(attr)
    return shownAttr(attr)
  }

  release(ino: Ino): void {
    const file = this.#open.get(ino)
    if (file === undefined || --file.opens > 0) return
    this.#open.delete(ino)
    this.#reader.forgetAhead(file)
  }

  async read(ino: Ino, offset: number, length: number, caller: Interruptible): Promise<Buffer[]> {
    // Handles carry nothing: a door that has been started again never saw the open.
    const file = this.#open.get(ino) ?? new FileState((await this.of(ino, caller)).attr)
    const bytes = await this.#reader.read(file, offset, length, caller)
    if (!this.#open.has(ino)) this.#reader.forgetAhead(file)
    return bytes
  }

  seek(ino: Ino, offset: number, whence: 'data' | 'hole', caller: Interruptible): Promise<number> {
    return seekIn((...range) => this.#locate(...range), ino, offset, whence, caller)
  }

  async xattrs(ino: Ino, caller: Interruptible): Promise<ReadonlyMap<string, string>> {
    const file = await this.of(ino, caller)
    const found = new Map<string, string>()
    for (const [name, of] of Object.entries(XATTRS)) {
      const value = of(file)
      if (value !== undefined) found.set(name, value)
    }
    return found
  }

  async purge(ino: Ino, caller: Interruptible): Promise<void> {
    const { purged } = await this.#session.change('trashPurge', { inos: [ino] }, caller)
    if (purged === 0) throw new FsError('ENOENT')
  }

  /** To where it was; with a name, beside that. EEXIST when something is there. */
  async restore(ino: Ino, name: string | undefined, caller: Interruptible): Promise<void> {
    await this.#session.change('trashRestore', { ino, path: undefined, name }, caller)
  }

  /** Somebody wrote to it, or it has gone. */
  changed(ino: Ino): void {
    const file = this.#open.get(ino)
    if (file !== undefined) this.#reader.changedElsewhere(file)
  }

  /** Nothing is known to be true any more. Answers what is open. */
  disconnected(): Ino[] {
    for (const file of this.#open.values()) this.#reader.changedElsewhere(file)
    return [...this.#open.keys()]
  }

  #learn(attr: Attr): void {
    const file = this.#open.get(attr.ino)
    if (file === undefined) return
    if (file.version !== attr.version) this.#reader.changedElsewhere(file)
    file.attr = attr
    file.version = attr.version
  }

  #locate(ino: Ino, offset: number, length: number, caller: Interruptible | undefined): Promise<Reply<'locate'>> {
    return this.#session.ask('deletedLocate', { ino, offset, length }, caller)
  }
}

/** It has no name, and programs would take a file without links for one that is gone; the attributes above are always there. */
export const shownAttr = (attr: Attr): Attr => ({ ...attr, nlink: 1, hasXattr: true })
