/*
 * One command being applied: the state, the time of the envelope, whose request it is, what it touches, and how much it
 * may still free. Handlers check everything first and change second, so a refusal leaves nothing behind.
 */

import type { Attr, Time } from '../../base/attr.ts'
import { type Result, refuse } from '../../base/fault.ts'
import type { ChunkId, DiskId, Ino, SessionId } from '../../base/ids.ts'
import { NAME_BYTES_MAX } from '../../base/limits.ts'
import type { Touched } from './outcome.ts'
import type { InodeRecord } from './records.ts'
import type { State } from './state.ts'

/** Extents that one command frees at most: about 20 ms of work. What is left is freed by `doomedFreed` in steps. */
const FREE_EXTENTS_MAX = 4096
/** Extents whose chunks one command tells of a changed class at most; looking is cheaper than freeing. */
const RECLASS_EXTENTS_MAX = 8192

export class Work {
  readonly state: State
  /** When: of a command that reports what was done at several times (`names`), of the change in hand. */
  now: Time
  readonly session: SessionId
  readonly touched: Touched = { inodes: [], entries: [], chunks: [], unlocked: [], unwanted: [], quotas: [] }
  freeBudget: number = FREE_EXTENTS_MAX
  reclassBudget: number = RECLASS_EXTENTS_MAX

  constructor(state: State, now: Time, session: SessionId) {
    this.state = state
    this.now = now
    this.session = session
  }

  touchInode(ino: Ino, data: boolean): void {
    const last = this.touched.inodes.at(-1)
    if (last?.ino === ino && last.data === data) return
    this.touched.inodes.push({ ino, data })
  }
  touchEntry(parent: Ino, name: string, removed?: Ino): void {
    this.touched.entries.push(removed === undefined ? { parent, name } : { parent, name, child: removed })
  }
  touchChunk(chunk: ChunkId): void {
    if (this.touched.chunks.at(-1) !== chunk) this.touched.chunks.push(chunk)
  }
  unwanted(disk: DiskId, chunk: ChunkId): void {
    this.touched.unwanted.push({ disk, chunk })
  }

  /** An inode that mounts may work on. */
  inode(ino: Ino): Result<InodeRecord> {
    const record = this.state.inode(ino)
    if (record === undefined || !this.state.visible(record)) return refuse('ESTALE', `inode ${ino}`)
    return { ok: record }
  }
  /** A directory that still has a place in the tree, so that names may be made in it. */
  directory(ino: Ino): Result<InodeRecord> {
    const record = this.state.inode(ino)
    if (record === undefined || record.doomed) return refuse('ESTALE', `inode ${ino}`)
    if (record.attr.type !== 'dir') return refuse('ENOTDIR')
    if (record.attr.nlink === 0) return refuse('ENOENT', 'the directory has been removed')
    return { ok: record }
  }
  /** Stores a record with changed attributes; its version grows. */
  put(record: InodeRecord, attr: Partial<Attr>, rest: Partial<Omit<InodeRecord, 'attr'>> = {}): InodeRecord {
    const next = { ...record, ...rest, attr: { ...record.attr, ...attr, version: record.attr.version + 1 } }
    this.state.setInode(record.attr.ino, next)
    return next
  }
}

/** Why a name cannot be one; undefined: it can. */
export function badName(name: string): ReturnType<typeof refuse> | undefined {
  if (name === '' || name === '.' || name === '..') return refuse('EINVAL', 'not a name')
  if (name.length > NAME_BYTES_MAX) return refuse('ENAMETOOLONG')
  if (name.includes('/') || name.includes('\0')) return refuse('EINVAL', 'a name has no slash and no NUL')
  return undefined
}
