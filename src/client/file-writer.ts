/*
 * Writing the bytes of files: behind the writer's back, committed and synced. Reading them is file-reader.ts.
 *
 * Order that matters: a file's segments are committed in the order written, one commit of a file at a time; a commit is
 * sent only when every target of every segment in it has acknowledged; fsync makes the chunks durable before the commit
 * that it flushes. So what a commit refers to exists, and what fsync promised survives.
 *
 * Bounds: bytes written and not committed (`dirtyBytes`) make writers wait; a file that streams commits every
 * COMMIT_BYTES; whatever is dirty for DIRTY_MS is committed without being asked.
 */

import { type Attr, type AttrChange, changedAttr, later, withoutSetId } from '../base/attr.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { FILE_BYTES_MAX } from '../base/limits.ts'
import type { World } from '../base/world.ts'
import type { Extent, FileCommit } from '../wire/shapes.ts'
import type { ChunkWriter } from './chunk-writer.ts'
import type { Committer } from './committer.ts'
import { SMALL_BYTES } from './file-reader.ts'
import type { FileState, PendingSegment } from './file-state.ts'
import type { NameJournal } from './name-journal.ts'
import type { Interruptible, Patience } from './patience.ts'
import { type OpenChunk, Segment } from './segment.ts'
import type { MasterSession } from './session.ts'

/** A run is handed to a chunk when it has this size: one append, one round trip. */
const SEGMENT_BYTES = 1024 * 1024
/** From this size on a segment goes to a chunk of the file's own, so that large files lie in one piece. */
const STREAM_BYTES = 256 * 1024
/** A streaming file commits as often as this, so that its memory is given back. */
const COMMIT_BYTES = 8 * 1024 * 1024
/** How long others may have to wait to see what was written to a file that stays open. */
const DIRTY_MS = 500
/** Closed files gather for their common commit this long, or until there are this many. */
const LAG_MS = 5
const LAG_FILES = 128

export class FileWriter {
  readonly #world: World
  readonly #session: MasterSession
  readonly #writer: ChunkWriter
  readonly #committer: Committer
  readonly #journal: NameJournal
  readonly #patience: Patience
  readonly #onCommitted: (attr: Attr) => void
  readonly #onLost: (ino: Ino) => void
  readonly #dirtyLimitBytes: number
  readonly #dirty = new Set<FileState>()
  /** Closed, answered, and about to be committed together. */
  readonly #lagging = new Map<FileState, (committed: Promise<void>) => void>()
  #dirtyBytes = 0
  #roomWaiters: (() => void)[] = []
  #ticking = false

  constructor(
    world: World,
    session: MasterSession,
    writer: ChunkWriter,
    committer: Committer,
    journal: NameJournal,
    patience: Patience,
    onCommitted: (attr: Attr) => void,
    onLost: (ino: Ino) => void,
    options: { dirtyLimitBytes: number },
  ) {
    this.#world = world
    this.#session = session
    this.#writer = writer
    this.#committer = committer
    this.#journal = journal
    this.#patience = patience
    this.#onCommitted = onCommitted
    this.#onLost = onLost
    this.#dirtyLimitBytes = options.dirtyLimitBytes
  }

  async write(
    file: FileState,
    offset: number,
    data: Buffer,
    killSuidGid: boolean,
    caller: Interruptible,
  ): Promise<void> {
    this.throwError(file)
    if (offset + data.length > FILE_BYTES_MAX) throw new FsError('EFBIG')
    if (data.length === 0) return
    while (this.#dirtyBytes > this.#dirtyLimitBytes) await this.#patience.interruptible(this.#room(), caller)
    const run = file.run
    if (run !== undefined && run.offset + run.length === offset && run.length < SEGMENT_BYTES) {
      run.parts.push(data)
      run.length += data.length
    } else {
      if (run !== undefined) this.#submit(file, false)
      file.run = { offset, parts: [data], length: data.length }
    }
    this.#dirtyBytes += data.length
    this.#markDirty(file)
    const now = this.#session.now()
    const attr = file.attr
    const mode = killSuidGid ? withoutSetId(attr.mode) : attr.mode
    const size = Math.max(attr.size, offset + data.length)
    file.attr = { ...attr, mode, size, mtime: now, ctime: later(attr.ctime, now) }
    // A time set before this write is overtaken by it.
    if (file.change?.mtime !== undefined) file.change = { ...file.change, mtime: undefined }
    if (killSuidGid) file.change = { ...file.change, killSuidGid: true }
    if (file.run !== undefined && file.run.length >= SEGMENT_BYTES) {
      this.#submit(file, false)
      if (file.pendingBytes >= COMMIT_BYTES) this.#commitBehind(file)
    }
  }

  /** What is read next must not miss what was written a moment ago and is still growing. */
  uncover(file: FileState, offset: number, length: number): void {
    const run = file.run
    if (run !== undefined && run.offset < offset + length && run.offset + run.length > offset) this.#submit(file, false)
  }

  /** Holds an attribute change back until the file's next commit. Only for files that are dirty or young. */
  holdBack(file: FileState, change: AttrChange): void {
    const now = this.#session.now()
    file.attr = changedAttr(file.attr, change, later(file.attr.ctime, now))
    const resolved: AttrChange = {
      ...change,
      ...(change.atime === 'now' ? { atime: now } : {}),
      ...(change.mtime === 'now' ? { mtime: now } : {}),
    }
    const merged: Record<string, unknown> = { ...file.change }
    for (const [key, value] of Object.entries(resolved)) if (value !== undefined) merged[key] = value
    // Set-id bits cleared earlier must not be cleared again from a mode that was set afterwards.
    if (change.mode !== undefined && !change.killSuidGid) merged.killSuidGid = undefined
    file.change = merged as AttrChange
    this.#markDirty(file)
  }

  /** Everything written so far becomes visible to everyone. With `sync` it is durable as well. */
  async commit(file: FileState, sync: boolean): Promise<void> {
    if (file.run !== undefined) this.#submit(file, sync)
    const mine = file.committing.then(() => this.#commitNow(file, sync))
    // The chain goes on after a failure; the failure itself belongs to whoever asked for this commit.
    file.committing = mine.catch(() => undefined)
    await mine
    this.throwError(file)
  }

  /** As `commit`; what fails after the caller was interrupted is told to the file's next user. */
  commitFor(file: FileState, sync: boolean, caller: Interruptible): Promise<void> {
    return this.#patience.interruptible(this.commit(file, sync), caller, (error) => this.#keep(file, error))
  }

  /**
   * Whether the close of a small new file may be answered before its commit: the master knows that the file is here and
   * recalls it when another mount opens it, so nobody can tell, and hundreds of files share one append and one commit.
   * Only while all is well: no quota may refuse it, the pack that takes it is open and its disks are writing, and memory
   * is not short.
   */
  mayLag(file: FileState): boolean {
    if (
      file.careful ||
      file.error !== undefined ||
      file.pendingBytes > 0 ||
      this.#dirtyBytes > this.#dirtyLimitBytes / 2
    )
      return false
    return file.attr.size <= SMALL_BYTES && this.#writer.healthy(classOf(file))
  }

  /** Commits with others, at most LAG_MS from now. */
  commitSoon(file: FileState): void {
    if (this.#lagging.size === 0) this.#world.clock.timer(LAG_MS, () => this.#commitLagging())
    file.answered = true
    file.lag = new Promise((resolve) => this.#lagging.set(file, resolve))
    file.lag.catch((error: unknown) => {
      // Whoever looks at the file next hears of it; if nobody does, retire() logs it.
      this.#keep(file, error)
    })
    if (this.#lagging.size >= LAG_FILES) this.#commitLagging()
  }

  /** When everything that was closed and not committed is committed; errors stay with their files. */
  async settleLagging(): Promise<void> {
    const files = [...this.#lagging.keys()]
    this.#commitLagging()
    await Promise.all(files.map((file) => file.committing))
  }

  #commitLagging(): void {
    const files = [...this.#lagging]
    this.#lagging.clear()
    for (const [file, resolve] of files) {
      file.lag = undefined
      resolve(this.commit(file, false))
    }
  }

  async commitAll(sync: boolean): Promise<void> {
    await Promise.all([...this.#dirty].map((file) => this.commit(file, sync)))
  }

  /** Reports a write error once, to the first who asks. */
  throwError(file: FileState): void {
    const error = file.error
    if (error === undefined) return
    file.error = undefined
    throw error
  }

  /** Nobody writes to it any more: its chunk takes another file's stream. */
  closed(file: FileState): void {
    if (file.stream !== undefined) this.#writer.giveBack(file.stream)
    file.stream = undefined
  }

  async #commitNow(file: FileState, sync: boolean): Promise<void> {
    const taken = [...file.pending]
    // The master must know the file before it is told what is in it; meanwhile the bytes travel.
    const told = this.#journal.settleIf(file.ino)
    // Awaited below, after the bytes; until then a refusal has nobody who listens.
    told?.catch(() => undefined)
    await this.#arrived(file, taken)
    if (sync) await this.#makeDurable(file)
    // Segments that failed were taken out of `pending` when they failed.
    const ready = taken.filter((entry) => file.pending.includes(entry))
    const { change, answered } = file
    file.change = undefined
    file.answered = false
    if (ready.length === 0 && change === undefined) {
      if (sync) {
        await told
        await this.#session.ask('sync', {})
      }
      this.#maybeClean(file)
      return
    }
    file.sending = true
    try {
      await told
      await this.#commitOf(file, ready, change, { sync, answered })
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      for (const entry of ready) this.#discard(file, entry)
      file.error ??= error
    } finally {
      file.sending = false
      this.#maybeClean(file)
    }
  }

  async #commitOf(
    file: FileState,
    ready: PendingSegment[],
    change: AttrChange | undefined,
    how: { readonly sync: boolean; readonly answered: boolean },
  ): Promise<void> {
    const { forgotten } = file
    let answer: Attr
    let sent: ReadonlyMap<PendingSegment, OpenChunk | undefined>
    try {
      ;({ answer, sent } = await this.#sendCommit(file, ready, change, how))
    } catch (error) {
      if (errnoOf(error) !== 'EDQUOT' || ready.length < 2) throw error
      // As much of it as the quota takes, from the beginning on.
      const half = ready.length >> 1
      await this.#commitOf(file, ready.slice(0, half), change, how)
      await this.#commitOf(file, ready.slice(half), undefined, how)
      return
    }
    // A name that it has lost here meanwhile, and that the master may not have heard of.
    const attr = this.#journal.involves(file.ino) ? { ...answer, nlink: file.attr.nlink } : answer
    // What was taken back meanwhile, because the session was lost, is written once more and committed then.
    this.#committed(
      file,
      [...sent]
        .filter(([{ segment }, chunk]) => segment.chunk !== undefined && segment.chunk === chunk)
        .map(([entry]) => entry),
    )
    this.#onCommitted(attr)
    // Another may have written over it since, and the news of that may have been taken in before this answer.
    if (file.forgotten === forgotten) file.version = attr.version
    else file.forgetBase()
    file.attr = file.dirty ? { ...attr, ...localView(file, attr.size) } : attr
  }

  async #sendCommit(
    file: FileState,
    entries: PendingSegment[],
    change: AttrChange | undefined,
    { sync, answered }: { readonly sync: boolean; readonly answered: boolean },
  ): Promise<{ answer: Attr; sent: ReadonlyMap<PendingSegment, OpenChunk | undefined> }> {
    let ready = entries
    for (;;) {
      if (ready.some(({ segment }) => !segment.arrived)) {
        // A new session began: they are on their way to chunks of its own.
        await this.#arrived(file, ready)
        if (sync) await this.#makeDurable(file)
        ready = ready.filter((entry) => file.pending.includes(entry))
        continue
      }
      const session = this.#session.id
      const sent = new Map(ready.map((entry) => [entry, entry.segment.chunk]))
      const request: FileCommit = {
        ino: file.ino,
        extents: extentsOf(ready),
        minSize:
          ready.length === 0 ? undefined : Math.max(...ready.map(({ offset, segment }) => offset + segment.length)),
        mtime: ready.length === 0 ? undefined : file.attr.mtime,
        change,
        ctime: file.attr.ctime,
        answered: answered ? true : undefined,
      }
      try {
        return { answer: await this.#committer.commit(request, sync, session), sent }
      } catch (error) {
        if (errnoOf(error) !== 'ESTALE' || session === this.#session.id) throw error
      }
    }
  }

  /** When all that can arrive has. A chunk that is lost meanwhile sends its segments on their way again. */
  async #arrived(file: FileState, entries: readonly PendingSegment[]): Promise<void> {
    const underWay = (): PendingSegment[] =>
      entries.filter((entry) => !entry.segment.arrived && file.pending.includes(entry))
    for (let left = underWay(); left.length > 0; left = underWay())
      await Promise.allSettled(left.map(({ segment }) => segment.appended))
    for (const { segment } of entries) {
      const { chunk, chunkOffset, length } = segment
      if (chunk === undefined || chunk.synced >= chunkOffset + length) continue
      file.unsynced.set(chunk, Math.max(file.unsynced.get(chunk) ?? 0, chunkOffset + length))
    }
  }

  async #makeDurable(file: FileState): Promise<void> {
    await Promise.all(
      [...file.unsynced].map(async ([chunk, length]) => {
        try {
          await this.#writer.sync(chunk, length)
        } catch (error) {
          // Told once: what was in memory is being written elsewhere, the rest would fail again for ever.
          file.unsynced.delete(chunk)
          throw error
        }
        if ((file.unsynced.get(chunk) ?? 0) <= chunk.synced) file.unsynced.delete(chunk)
      }),
    )
  }

  #submit(file: FileState, sync: boolean): void {
    const run = file.run!
    file.run = undefined
    const segment = new Segment(run.parts, run.length, (error) => this.#lost(file, entry, error))
    const entry: PendingSegment = { segment, offset: run.offset }
    file.overlay.put({ offset: run.offset, length: run.length, source: segment, sourceOffset: 0 })
    file.pending.push(entry)
    file.pendingBytes += run.length
    if (file.stream !== undefined || run.length >= STREAM_BYTES) {
      file.streaming = file.streaming.then(async () => {
        file.stream = await this.#writer.appendToStream(classOf(file), file.stream, segment, sync)
      })
    } else {
      void this.#writer.appendToPack(classOf(file), segment, sync)
    }
  }

  /** A segment that no chunk could take is given up, and the file's next user is told. */
  #lost(file: FileState, entry: PendingSegment, error: unknown): void {
    const { ino } = file
    const { offset, segment } = entry
    this.#world.log.error(
      { ino, offset, length: segment.length, error: String(error) },
      'written data could not be stored; the writer is told',
    )
    this.#keep(file, error)
    this.#discard(file, entry)
  }

  /** The master has these: their bytes are found through the base from now on. */
  #committed(file: FileState, entries: PendingSegment[]): void {
    const done = new Set(entries)
    file.pending = file.pending.filter((entry) => !done.has(entry))
    for (const { segment, offset } of entries) {
      const chunk = segment.chunk!
      file.base.put({ offset, length: segment.length, source: chunk.id, sourceOffset: segment.chunkOffset })
      file.known.put({ offset, length: segment.length, source: true, sourceOffset: 0 })
      file.overlay.removeSource(segment)
      this.#writer.committed(segment)
      this.#gaveBack(file, segment.length)
    }
  }

  #discard(file: FileState, entry: PendingSegment): void {
    if (!file.pending.includes(entry)) return
    file.pending = file.pending.filter((other) => other !== entry)
    file.overlay.removeSource(entry.segment)
    this.#writer.committed(entry.segment)
    this.#gaveBack(file, entry.segment.length)
    file.forgetBase()
    // It is shown as the master has it, as soon as nothing else of it is under way.
    file.young = false
    this.#onLost(file.ino)
  }

  #gaveBack(file: FileState, bytes: number): void {
    file.pendingBytes -= bytes
    this.#dirtyBytes -= bytes
    if (this.#dirtyBytes <= this.#dirtyLimitBytes && this.#roomWaiters.length > 0) {
      const waiters = this.#roomWaiters
      this.#roomWaiters = []
      for (const wake of waiters) wake()
    }
  }

  #room(): Promise<void> {
    for (const file of this.#dirty) this.#commitBehind(file)
    return new Promise((resolve) => this.#roomWaiters.push(resolve))
  }

  #commitBehind(file: FileState): void {
    this.commit(file, false).catch((error: unknown) => {
      // Nobody waits for this commit: the error is kept for the next write, flush or fsync of the file.
      this.#keep(file, error)
    })
  }

  #keep(file: FileState, error: unknown): void {
    file.error ??= error instanceof FsError ? error : new FsError('EIO', undefined, { cause: error })
  }

  #markDirty(file: FileState): void {
    if (this.#dirty.has(file)) return
    file.dirtySinceMs = this.#world.clock.monotonicMs()
    this.#dirty.add(file)
    this.#tick()
  }

  #maybeClean(file: FileState): void {
    if (!file.dirty) this.#dirty.delete(file)
    else file.dirtySinceMs = this.#world.clock.monotonicMs()
  }

  #tick(): void {
    if (this.#ticking || this.#dirty.size === 0) return
    this.#ticking = true
    this.#world.clock.timer(DIRTY_MS / 2, () => {
      this.#ticking = false
      const now = this.#world.clock.monotonicMs()
      for (const file of this.#dirty) if (now - file.dirtySinceMs >= DIRTY_MS) this.#commitBehind(file)
      this.#tick()
    })
  }
}

const classOf = (file: FileState): number => file.attr.classId ?? 0

/** Neighbouring segments that continue each other in file and chunk are one extent. */
function extentsOf(entries: readonly PendingSegment[]): Extent[] {
  const out: Extent[] = []
  for (const { segment, offset } of entries) {
    const chunk = segment.chunk!.id
    const last = out[out.length - 1]
    if (
      last !== undefined &&
      last.chunk === chunk &&
      last.offset + last.length === offset &&
      last.chunkOffset + last.length === segment.chunkOffset
    )
      out[out.length - 1] = { ...last, length: last.length + segment.length }
    else out.push({ offset, length: segment.length, chunk, chunkOffset: segment.chunkOffset })
  }
  return out
}

/** What later writes and held-back changes have already changed of the attributes that a commit answered. */
function localView(file: FileState, size: number) {
  const { mode, uid, gid, atime, mtime, ctime } = file.attr
  return { mode, uid, gid, atime, mtime, ctime, size: Math.max(size, file.attr.size) }
}
