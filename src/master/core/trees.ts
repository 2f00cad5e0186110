/*
 * Whole trees are deleted: one command takes the tree out of sight, then it is freed in steps, not by way of the trash.
 *
 * A tree that is freed has no name; its topmost directory is its own parent. A step takes the names out of one such
 * directory: files go (or live on while they are open, or have names elsewhere), directories become trees of their own.
 * So the work needs no memory of where it is, no depth is too deep, and what somebody moves out of the tree before its turn
 * is saved. Mounts that stand in the tree see it become empty, as with rm.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino, SessionId } from '../../base/ids.ts'
import type { CommandOf } from './commands.ts'
import { jobIsOver, newJob } from './jobs.ts'
import { removeName } from './names.ts'
import { removed, unlinked } from './namespace.ts'
import { EMPTY } from './records.ts'
import type { DirEntry, State } from './state.ts'
import { after, key } from './tables.ts'
import type { Work } from './work.ts'

/** Rows that only have to be dropped, in the time that it takes to free an inode. */
const DROPPED_AT_ONCE = 8

export function treeDetached(work: Work, command: CommandOf<'treeDetached'>): Result<unknown> {
  const { state } = work
  const { parent, name } = command
  const dir = work.directory(parent)
  if ('errno' in dir) return dir
  const entry = state.lookup(parent, name)
  if (entry === undefined) return refuse('ENOENT', command.path)
  const made = newJob(work, {
    kind: 'delete',
    phase: 'clearing',
    source: command.path,
    target: '',
    parent,
    name,
    root: entry.ino,
  })
  if ('errno' in made) return made
  const deleted = takeOut(work, made.ok, parent, entry, command.openIn)
  countDeleted(work, made.ok, deleted)
  return ok({ job: made.ok })
}

function countDeleted(work: Work, job: number, inodes: number): void {
  const record = work.state.jobs.get(job)
  if (inodes > 0 && record?.kind === 'delete') work.state.jobs.put(job, { ...record, inodes: record.inodes + inodes })
}

/** A name goes, and what it stands for: a file now, a directory later, unless it is empty. Answers how many that were. */
function takeOut(
  work: Work,
  job: number,
  parent: Ino,
  { name, ino, type }: Pick<DirEntry, 'name' | 'ino' | 'type'>,
  openIn: readonly SessionId[],
): number {
  removeName(work, parent, name)
  if (type === 'dir') return detach(work, job, ino)
  unlinked(work, ino, { parent, name }, openIn, 'free')
  return 1
}

function detach(work: Work, job: number, ino: Ino): number {
  const record = work.state.inode(ino)
  if (record === undefined) return 0
  if (record.entries === 0) {
    removed(work, record)
    return 1
  }
  work.state.setInode(ino, { ...record, parent: ino, name: '' })
  work.state.kv.put(key.detached(job, ino), EMPTY)
  work.touchInode(ino, false)
  return 0
}

export interface ToFree {
  readonly ino: Ino
  readonly entries: readonly DirEntry[]
  /** It has no other names. */
  readonly end: boolean
}

/** What the next step of freeing takes away: whoever prepares it can say who has that open. */
export function nextToFree(state: State, job: number, limit: number): ToFree[] {
  const next: ToFree[] = []
  let left = limit
  for (const ino of state.jobs.detached(job, limit)) {
    if (left <= 0) break
    const { entries, end } = state.readdirPage(ino, 0, left)
    next.push({ ino, entries, end })
    left -= entries.length + 1
  }
  return next
}

/** Repeated until the job is over. */
export function jobCleared(work: Work, command: CommandOf<'jobCleared'>): Result<unknown> {
  const { state } = work
  const { job } = command
  const limit = Math.max(2, command.limit)
  const record = state.jobs.get(job)
  if (record?.phase !== 'clearing') return refuse('ENOENT', 'nothing to clear')
  const openIn = new Map(command.openIn.map(({ ino, sessions }) => [ino, sessions]))
  let done = 0
  for (const tree of nextToFree(state, job, limit)) {
    if (work.freeBudget <= 0) break
    done += freeSome(work, job, tree, openIn)
  }
  if (state.jobs.detached(job, 1).length > 0) return ok({})
  let left = (limit - done) * DROPPED_AT_ONCE
  for (const prefix of [key.imagesOf(job), key.copiedOf(job), key.unfinishedOf(job)]) {
    left -= drop(work, prefix, left)
    if (left <= 0) return ok({})
  }
  jobIsOver(work, job, state.jobs.get(job) ?? record)
  return ok({})
}

/** Takes names out of a tree's topmost directory, and frees that when it is empty. Answers how much was done. */
function freeSome(work: Work, job: number, tree: ToFree, openIn: ReadonlyMap<Ino, SessionId[]>): number {
  const { state } = work
  const { ino, entries, end } = tree
  const at = key.detached(job, ino)
  const record = state.inode(ino)
  if (record?.attr.type !== 'dir') {
    state.kv.delete(at)
    // A snapshot of a single file that was given up.
    if (record !== undefined) unlinked(work, ino, { parent: ino, name: '' }, [], 'free')
    return 1
  }
  let done = 0
  let deleted = 0
  for (const entry of entries) {
    if (work.freeBudget <= 0) break
    deleted += takeOut(work, job, ino, entry, openIn.get(entry.ino) ?? [])
    done++
  }
  const rest = state.inode(ino)
  if (end && done === entries.length && rest !== undefined) {
    state.kv.delete(at)
    removed(work, rest)
    deleted++
  }
  countDeleted(work, job, deleted)
  return done + 1
}

function drop(work: Work, prefix: string, limit: number): number {
  const keys: string[] = []
  work.state.kv.scan({ from: prefix, to: after(prefix) }, (at) => {
    keys.push(at)
    return keys.length < limit
  })
  for (const at of keys) work.state.kv.delete(at)
  return keys.length
}
