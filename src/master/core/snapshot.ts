/*
 * Snapshots: a tree is copied, with its files' bytes shared, as it was in the moment in which the snapshot began.
 *
 * `snapshotBegin` marks the moment: from then on what changes leaves images (imaging-kv.ts). `snapshotCopied` is repeated
 * while copies are not complete; each does a bounded part of the work, reading only the beginning. The copy has no name, so
 * nobody sees it. `snapshotShown` gives it its name. Whatever ends the copying (that, or `jobCancelled`), images and lists
 * are thrown away in steps (`jobCleared`), and a copy that was given up is freed like any deleted tree (trees.ts).
 *
 * The work goes depth first: the copy that was made last is completed first, so the list of those that are not complete
 * stays as short as the tree is deep. Between two commands every copy is a sound inode with fewer names or bytes.
 *
 * One snapshot is made at a time, so that a change leaves one image at most. While it is, dead chunks stay: what was
 * overwritten or deleted meanwhile may still be wanted.
 */

import { DIRECTORY_ENTRY_BYTES } from '../../base/attr.ts'
import { errno } from '../../base/errno.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import type { ChunkId, Ino } from '../../base/ids.ts'
import { addLive } from './chunks.ts'
import { countClass } from './classes.ts'
import type { CommandOf } from './commands.ts'
import { decodeExtent } from './extent-table.ts'
import { countBytes } from './extents.ts'
import { Beginning, type Row } from './imaging-kv.ts'
import { newJob } from './jobs.ts'
import { addName } from './names.ts'
import { isWithin, noRoom } from './namespace.ts'
import { dirPath } from './paths.ts'
import { NOTHING, usageOf } from './quota-table.ts'
import { pass, passage, refuseExcess, refuseGrowth, refusePassage } from './quotas.ts'
import { bucketRecord, type Dentry, type InodeRecord, inodeRecord, type JobRecord, pack, unpack } from './records.ts'
import { key, num48At, numAt, tables } from './tables.ts'
import { badName, type Work } from './work.ts'

/** Read at once; what a step does not use of it is read again. */
const PAGE = 64
/** A long attribute counts as so many small rows as would write as many bytes. */
const ROW_BYTES = 256

export function snapshotBegin(work: Work, command: CommandOf<'snapshotBegin'>): Result<unknown> {
  const { state } = work
  const found = work.inode(command.source)
  if ('errno' in found) return found
  const { parent, name } = command
  if (command.source === 1) return refuse('EINVAL', 'the whole filesystem: the copy would have to be inside it')
  if (found.ok.attr.nlink === 0) return refuse('ENOENT', 'it has been deleted')
  const dir = work.directory(parent)
  if ('errno' in dir) return dir
  const bad = badName(name)
  if (bad !== undefined) return bad
  if (state.lookup(parent, name) !== undefined) return refuse('EEXIST', 'the target exists')
  const full = noRoom(work, parent, name)
  if (full !== undefined) return full
  if (isWithin(work, parent, command.source)) return refuse('EINVAL', 'the target is inside the source')
  const imaging = state.imaging()
  if (imaging !== undefined) return refuse('EBUSY', `snapshot ${imaging.job} is being made; one at a time`)
  const quota = refuseGrowth(work, dir.ok.quota, { ...usageOf(found.ok), used: 0, classes: undefined })
  if (quota !== undefined) return quota
  const root = state.counters().nextIno as Ino
  const made = newJob(work, {
    kind: 'snapshot',
    phase: 'copying',
    source: command.sourcePath,
    target: command.targetPath,
    parent,
    name,
    root,
  })
  if ('errno' in made) return made
  // What is held decoded and not written would be taken for what it was written over.
  state.flush()
  state.setCounters({ imaging: { job: made.ok, before: root } })
  const copying = new Copying(work, made.ok, { inodes: 1, rows: 0 })
  copying.copy(command.source, found.ok, root, name)
  copying.save()
  return ok({ job: made.ok })
}

export function snapshotCopied(work: Work, command: CommandOf<'snapshotCopied'>): Result<unknown> {
  const record = work.state.jobs.get(command.job)
  if (record?.phase !== 'copying') return refuse('ENOENT', 'no snapshot that is being made')
  const copying = new Copying(work, command.job, {
    inodes: Math.max(1, command.inodes),
    rows: Math.max(1, command.rows),
  })
  copying.run()
  copying.save()
  const now = work.state.jobs.get(command.job)
  const excess = refuseExcess(work, work.state.inode(record.root as Ino)?.quota ?? 0)
  if (excess !== undefined && copying.damage === '' && now !== undefined)
    giveUp(work, command.job, now, { errno: errno[excess.errno].number, detail: excess.detail ?? '' })
  if (copying.damage !== '' && now !== undefined)
    giveUp(work, command.job, now, { errno: errno.EIO.number, detail: copying.damage })
  return ok({})
}

export function snapshotShown(work: Work, command: CommandOf<'snapshotShown'>): Result<unknown> {
  const { state } = work
  const record = state.jobs.get(command.job)
  if (record?.phase !== 'copying') return refuse('ENOENT', 'no snapshot that is being made')
  if (state.jobs.lastUnfinished(command.job) !== undefined) return refuse('EAGAIN', 'the copy is not complete')
  const parent = record.parent as Ino
  const dir = work.directory(parent)
  // Also one that is out of sight, to be freed soon.
  if ('errno' in dir || dirPath(state, parent) === undefined)
    return refuse('ENOENT', 'the directory of the target has been removed')
  if (state.lookup(parent, record.name) !== undefined) return refuse('EEXIST', 'the target has come to exist')
  const root = state.inode(record.root as Ino)
  if (root === undefined) return refuse('EIO', 'the copy does not exist')
  const way = passage(work, root, dir.ok)
  const edge = refusePassage(work, root, way, NOTHING)
  if (edge !== undefined) return edge
  const refusal = addName(work, parent, record.name, root)
  if (refusal !== undefined) return refusal
  pass(work, root.attr.ino, way)
  state.setCounters({ imaging: undefined })
  state.jobs.put(command.job, { ...record, phase: 'clearing' })
  return ok({})
}

/** One step of copying. */
class Copying {
  readonly #work: Work
  readonly #job: number
  readonly #beginning: Beginning
  readonly #left: { inodes: number; rows: number }
  #inodes = 0
  #bytes = 0
  /** The state does not agree with itself. */
  damage = ''

  constructor(work: Work, job: number, left: { inodes: number; rows: number }) {
    this.#work = work
    this.#job = job
    this.#beginning = new Beginning(work.state.kv, job)
    this.#left = left
  }

  get #isOver(): boolean {
    return this.#left.inodes <= 0 || this.#left.rows <= 0 || this.damage !== ''
  }

  run(): void {
    const { jobs } = this.#work.state
    while (!this.#isOver) {
      const next = jobs.lastUnfinished(this.#job)
      if (next === undefined) return
      this.#goOn(next.copy, next.source, next.after)
    }
  }

  /** What was done, into the record and the counters. */
  save(): void {
    const { jobs } = this.#work.state
    const record = jobs.get(this.#job)
    if (record === undefined) return
    jobs.put(this.#job, { ...record, inodes: record.inodes + this.#inodes, bytes: record.bytes + this.#bytes })
    countBytes(this.#work, this.#bytes)
  }

  /** A copy of an inode, without names and bytes. `parent` of the topmost, which is in no directory, is itself. */
  copy(source: Ino, record: InodeRecord, parent: Ino, name: string): Ino {
    const { state } = this.#work
    const { attr } = record
    const counters = state.counters()
    const ino = counters.nextIno as Ino
    const isDir = attr.type === 'dir'
    // A class that was deleted since has left its files to the default one.
    const { classId, ...rest } = attr
    const classed = classId === undefined || state.classes.record(classId) === undefined ? rest : attr
    state.setInode(ino, {
      ...record,
      attr: {
        ...classed,
        ino,
        nlink: isDir ? 2 : 1,
        size: isDir ? 0 : attr.size,
        used: 0,
        hasXattr: false,
      },
      parent,
      name: isDir && parent !== ino ? name : '',
      entries: 0,
      xattrBytes: 0,
      trashedUntil: undefined,
      doomed: false,
      quota: this.#quotaIn(parent === ino ? undefined : parent),
    })
    countClass(this.#work, classed === attr ? classId : undefined, 1)
    state.setCounters({
      nextIno: ino + 1,
      ...(isDir ? { directories: counters.directories + 1 } : { files: counters.files + 1 }),
    })
    this.#inodes += 1
    this.#left.inodes -= 1
    const isComplete = record.xattrBytes === 0 && record.entries === 0 && attr.used === 0
    // A directory waits for its turn, so that the work does not nest.
    if (!isComplete && isDir) state.jobs.setUnfinished(this.#job, ino, { source, after: '' })
    else if (!isComplete) this.#goOn(ino, source, '')
    return ino
  }

  /** A copy counts from the beginning on where it will be. */
  #quotaIn(directory: Ino | undefined): Ino | 0 {
    const { state } = this.#work
    const target = directory ?? (state.jobs.get(this.#job)?.parent as Ino | undefined)
    return target === undefined ? 0 : (state.inode(target)?.quota ?? 0)
  }

  #goOn(copy: Ino, source: Ino, after: string): void {
    const { state } = this.#work
    const isDir = state.inode(copy)?.attr.type === 'dir'
    const content = isDir ? key.dentriesOf(source) : key.extentsOf(source)
    let left: string | undefined
    if (after === '' || after.startsWith(tables.xattr.prefix))
      left = this.#each(key.xattrsOf(source), after, (row, prefix) => this.#attribute(copy, row, prefix))
    if (left === undefined)
      left = this.#each(content, after.startsWith(content) ? after : '', (row, prefix) =>
        isDir ? this.#names(copy, row, prefix) : this.#extent(copy, row, prefix),
      )
    state.jobs.setUnfinished(this.#job, copy, left === undefined ? undefined : { source, after: left })
  }

  /** Rows of the beginning, until all are done (undefined) or the step is over: then the key to go on after. */
  #each(prefix: string, after: string, visit: (row: Row, prefix: number) => void): string | undefined {
    let from = after === '' ? prefix : after
    for (;;) {
      if (this.#isOver) return from
      const { rows, last } = this.#beginning.rows(prefix, from, Math.min(PAGE, this.#left.rows))
      for (const [i, row] of rows.entries()) {
        visit(row, prefix.length)
        from = row.at
        this.#left.rows -= 1 + Math.floor(row.value.length / ROW_BYTES)
        if (this.#isOver && (i + 1 < rows.length || last !== undefined)) return from
      }
      if (last === undefined) return undefined
      from = last
    }
  }

  #attribute(copy: Ino, { at, value }: Row, prefix: number): void {
    const { state } = this.#work
    const name = at.slice(prefix)
    const record = state.inode(copy)
    if (record === undefined) return
    state.kv.put(key.xattr(copy, name), value)
    const xattrBytes = record.xattrBytes + name.length + 1
    state.setInode(copy, { ...record, xattrBytes, attr: { ...record.attr, hasXattr: true } })
  }

  #extent(copy: Ino, { at, value }: Row, prefix: number): void {
    const { state } = this.#work
    const extent = decodeExtent(numAt(at, prefix), value)
    const record = state.inode(copy)
    if (record === undefined) return
    if (state.chunk(extent.chunk as ChunkId) === undefined) {
      this.damage = `chunk ${extent.chunk}, which holds a part of what is copied, does not exist`
      return
    }
    state.extents.put(copy, extent)
    addLive(this.#work, extent, 1)
    state.setInode(copy, { ...record, attr: { ...record.attr, used: record.attr.used + extent.length } })
    this.#bytes += extent.length
  }

  #names(copy: Ino, { at, value }: Row, prefix: number): void {
    const { state } = this.#work
    const bucket = bucketRecord.decode(unpack(value))
    const copies = bucket.flatMap((entry) => {
      const ino = this.#child(copy, entry)
      return ino === undefined ? [] : [{ ...entry, ino }]
    })
    // With the slots of the source, so that a listing has the same cookies.
    state.setBucket(copy, num48At(at, prefix), copies)
    const record = state.inode(copy)
    if (record === undefined) return
    const entries = record.entries + copies.length
    const subdirectories = copies.filter(({ type }) => type === 'dir').length
    state.setInode(copy, {
      ...record,
      entries,
      attr: { ...record.attr, nlink: record.attr.nlink + subdirectories, size: entries * DIRECTORY_ENTRY_BYTES },
    })
  }

  /** The copy of what a name stands for; names of one file stand for one copy. */
  #child(parent: Ino, { ino, type, name }: Dentry): Ino | undefined {
    const { state } = this.#work
    const value = this.#beginning.inode(ino)
    if (value === undefined) {
      this.damage = `a name leads to inode ${ino}, which does not exist`
      return undefined
    }
    const record = inodeRecord.decode(unpack(value), ino)
    if (type === 'dir' || record.attr.nlink === 1) return this.copy(ino, record, parent, name)
    const at = key.copied(this.#job, ino)
    const copied = state.kv.get(at)
    if (copied === undefined) {
      const copy = this.copy(ino, record, parent, name)
      state.kv.put(at, pack(copy))
      return copy
    }
    const copy = unpack(copied) as Ino
    const first = state.inode(copy)
    if (first !== undefined) state.setInode(copy, { ...first, attr: { ...first.attr, nlink: first.attr.nlink + 1 } })
    return copy
  }
}

/** A snapshot that is being made will not be. What has been copied is freed in steps. */
export function giveUp(work: Work, job: number, record: JobRecord, why: { errno: number; detail: string }): void {
  const { state } = work
  state.setCounters({ imaging: undefined })
  state.kv.put(key.detached(job, record.root as Ino), new Uint8Array(0))
  state.jobs.put(job, { ...record, phase: 'clearing', errno: why.errno, detail: why.detail })
}

export function jobCancelled(work: Work, command: CommandOf<'jobCancelled'>): Result<unknown> {
  const record = work.state.jobs.get(command.job)
  if (record === undefined) return refuse('ENOENT', `no job ${command.job}`)
  if (record.kind !== 'snapshot') return refuse('EINVAL', 'what is being deleted does not come back')
  if (record.phase !== 'copying')
    return refuse('EINVAL', record.errno === undefined ? 'the snapshot is complete' : 'it has been given up already')
  giveUp(work, command.job, record, {
    errno: command.errno ?? errno.ECANCELED.number,
    detail: command.detail ?? '',
  })
  return ok({})
}
