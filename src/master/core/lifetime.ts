/*
 * The end of inodes. When its last name goes, an inode may still be kept: in the trash until its time is over, and by
 * sessions that hold it open. What nobody keeps is destroyed; when it has more extents than one command may free, it is
 * doomed: nobody can reach it any more, and `doomedFreed` takes it down in steps.
 */

import { type Attr, withClass } from '../../base/attr.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino, SessionId } from '../../base/ids.ts'
import { PATH_BYTES_MAX } from '../../base/limits.ts'
import { dropXattrs } from './attributes.ts'
import { countClass, forgetInode } from './classes.ts'
import type { CommandOf } from './commands.ts'
import { BUCKET_SLOTS } from './dentries.ts'
import { freeAll } from './extents.ts'
import { changeMany } from './many.ts'
import { addName } from './names.ts'
import { dirPath } from './paths.ts'
import { usageOf } from './quota-table.ts'
import { refuseGrowth } from './quotas.ts'
import { EMPTY, encodeRecord, type InodeRecord, trashRecord } from './records.ts'
import { key } from './tables.ts'
import { badName, type Work } from './work.ts'

const keptMs = (work: Work, record: InodeRecord): number => record.retentionMs ?? work.state.settings().trashRetentionMs

/** The last name of an inode (not a directory) has gone: nlink is 0 in `record`, which is stored. */
export function lastNameGone(
  work: Work,
  record: InodeRecord,
  was: { parent: Ino; name: string },
  openIn: readonly SessionId[],
  then: 'trash' | 'free',
): void {
  const { state } = work
  const { ino, type } = record.attr
  let held = false
  for (const session of new Set(openIn)) {
    if (state.session(session) === undefined) continue
    state.kv.put(key.sustained(ino, session), EMPTY)
    state.kv.put(key.holds(session, ino), EMPTY)
    held = true
  }
  const counters = state.counters()
  state.setCounters({ files: counters.files - 1, sustained: counters.sustained + (held ? 1 : 0) })
  const retentionMs = keptMs(work, record)
  if (then === 'trash' && type === 'file' && retentionMs > 0) {
    const trashedUntil = Math.max(0, Math.ceil(work.now.sec + work.now.nsec / 1e9 + retentionMs / 1000))
    const dir = dirPath(state, was.parent) ?? '...'
    const path = dir === '/' ? `/${was.name}` : `${dir}/${was.name}`
    state.kv.put(
      key.trash(trashedUntil, ino),
      encodeRecord(trashRecord, { version: 1, path, ...was, deletedSec: Math.max(0, work.now.sec) }),
    )
    state.setInode(ino, { ...record, trashedUntil })
    state.setCounters({ trashed: state.counters().trashed + 1 })
  } else if (!held) destroy(work, record)
}

/** Nobody keeps the inode any more. */
export function destroy(work: Work, record: InodeRecord): void {
  const { state } = work
  const { ino } = record.attr
  dropXattrs(work, record)
  dropAllLocks(work, ino)
  work.touchInode(ino, true)
  if (freeAll(work, ino, record.attr.used)) {
    forgetInode(work, record)
    return
  }
  const rest = state.inode(ino) ?? record
  state.setInode(ino, { ...rest, doomed: true, xattrBytes: 0, attr: { ...rest.attr, hasXattr: false } })
  state.kv.put(key.doomed(ino), EMPTY)
  state.setCounters({ doomed: state.counters().doomed + 1 })
}

function dropAllLocks(work: Work, ino: Ino): void {
  const locks = work.state.locksOf(ino)
  if (locks.length === 0) return
  for (const { session } of locks) work.state.kv.delete(key.locker(session, ino))
  work.state.kv.delete(key.locks(ino))
  work.touched.unlocked.push(ino)
}

export function doomedFreed(work: Work, _command: CommandOf<'doomedFreed'>): Result<unknown> {
  const { state } = work
  for (const ino of state.trash.doomed(0, 1024)) {
    const record = state.inode(ino)
    if (record !== undefined && !freeAll(work, ino, record.attr.used)) return ok({})
    if (record !== undefined) forgetInode(work, record)
    state.kv.delete(key.doomed(ino))
    state.setCounters({ doomed: state.counters().doomed - 1 })
  }
  return ok({})
}

// ---- held open

export function released(work: Work, command: CommandOf<'released'>): Result<unknown> {
  for (const ino of command.inos) release(work, ino, command.session)
  return ok({})
}

/** A session no longer holds an unlinked inode. */
export function release(work: Work, ino: Ino, session: SessionId): void {
  const { state } = work
  if (!state.kv.delete(key.sustained(ino, session))) return
  state.kv.delete(key.holds(session, ino))
  if (state.isSustained(ino)) return
  state.setCounters({ sustained: state.counters().sustained - 1 })
  const record = state.inode(ino)
  if (record !== undefined && record.attr.nlink === 0 && record.trashedUntil === undefined) destroy(work, record)
}

// ---- trash

/** Out of the trash, for good or with a name again. */
function untrash(work: Work, record: InodeRecord): InodeRecord {
  const { state } = work
  if (record.trashedUntil !== undefined) {
    state.kv.delete(key.trash(record.trashedUntil, record.attr.ino))
    state.setCounters({ trashed: state.counters().trashed - 1 })
  }
  const next = { ...record, trashedUntil: undefined }
  state.setInode(record.attr.ino, next)
  return next
}

function purge(work: Work, record: InodeRecord): void {
  const next = untrash(work, record)
  if (!work.state.isSustained(record.attr.ino)) destroy(work, next)
}

export function trashPurge(work: Work, command: CommandOf<'trashPurge'>): Result<unknown> {
  let purged = 0
  for (const ino of command.inos) {
    const record = work.state.inode(ino)
    if (record?.trashedUntil === undefined) continue
    purge(work, record)
    purged += 1
  }
  return ok({ purged })
}

export function trashExpired(work: Work, command: CommandOf<'trashExpired'>): Result<unknown> {
  for (const { ino, expirySec } of work.state.trash.page(undefined, command.limit)) {
    if (expirySec > work.now.sec) break
    const record = work.state.inode(ino)
    if (record !== undefined) purge(work, record)
  }
  return ok({})
}

/** How many new directories a restore may need at most: the inode numbers that prepare has to give it. */
export const restoreNeeds = (path: string): number =>
  Math.max(0, path.split('/').filter((part) => part !== '').length - 1)

export function trashRestore(work: Work, command: CommandOf<'trashRestore'>): Result<unknown> {
  const { state } = work
  const record = state.inode(command.ino)
  const trashed = state.trash.of(record)
  if (record === undefined || trashed === undefined) return refuse('ENOENT', 'not in the trash')
  const old = state.inode(trashed.parent)
  // A directory that is being deleted with all that is in it has no path.
  const stillThere = old?.attr.type === 'dir' && old.attr.nlink > 0 && dirPath(state, trashed.parent) !== undefined
  const called = command.name === undefined ? undefined : badName(command.name)
  if (called !== undefined) return called
  const target =
    command.path === undefined && stillThere
      ? ok({ parent: trashed.parent, name: command.name ?? trashed.name, missing: [] as string[] })
      : wayTo(work, command.path ?? renamed(trashed.path, command.name))
  if ('errno' in target) return target
  const { name, missing } = target.ok
  const numbers = command.newInos ?? []
  if (missing.length > numbers.length) return refuse('ENOENT', `no directory ${missing[0]}`)
  const fresh = numbers.slice(0, missing.length)
  if (new Set(fresh).size < fresh.length || fresh.some((ino) => ino === 0 || state.inode(ino) !== undefined))
    return refuse('EIO', 'an inode number is taken')
  if (missing.length === 0 && state.lookup(target.ok.parent, name) !== undefined) return refuse('EEXIST')
  if (missing.length === 0 && state.inode(target.ok.parent)?.attr.type !== 'dir') return refuse('ENOTDIR')
  let { parent } = target.ok
  if (state.find(parent, missing[0] ?? name).bucket.length >= BUCKET_SLOTS)
    return refuse('ENOSPC', 'too many names with one hash')
  const quota = state.inode(parent)?.quota ?? 0
  const back = usageOf(record)
  const full = refuseGrowth(work, quota, { ...back, inodes: 1 + missing.length })
  if (full !== undefined) return full
  for (const [i, part] of missing.entries()) {
    const made = restoredDirectory(work, fresh[i]!, parent, record)
    const refusal = addName(work, parent, part, made)
    if (refusal !== undefined) return refusal
    parent = made.attr.ino
  }
  const next = untrash(work, record)
  const sustained = state.isSustained(command.ino)
  if (sustained)
    for (const session of state.sustainedBy(command.ino)) {
      state.kv.delete(key.sustained(command.ino, session))
      state.kv.delete(key.holds(session, command.ino))
    }
  const counters = state.counters()
  state.setCounters({ files: counters.files + 1, sustained: counters.sustained - (sustained ? 1 : 0) })
  const restored = work.put(next, { nlink: 1, ctime: work.now }, { parent, quota })
  addName(work, parent, name, restored)
  return ok({ path: dirPath(state, parent) === '/' ? `/${name}` : `${dirPath(state, parent)}/${name}` })
}

/** The path with another last name. */
const renamed = (path: string, name: string | undefined): string =>
  name === undefined ? path : `${path.slice(0, path.lastIndexOf('/') + 1)}${name}`

/** Where a path leads: the last directory of it that exists, the parts that are missing after it, and the name. */
function wayTo(work: Work, path: string): Result<{ parent: Ino; name: string; missing: string[] }> {
  const { state } = work
  if (path.length > PATH_BYTES_MAX || !path.startsWith('/')) return refuse('ENAMETOOLONG', 'give a path for it')
  const parts = path.split('/').filter((part) => part !== '')
  const name = parts.pop()
  if (name === undefined) return refuse('EEXIST')
  for (const part of [...parts, name]) {
    const refusal = badName(part)
    if (refusal !== undefined) return refusal
  }
  let parent: Ino = 1 as Ino
  for (const [i, part] of parts.entries()) {
    const entry = state.lookup(parent, part)
    if (entry === undefined) return ok({ parent, name, missing: parts.slice(i) })
    if (entry.type !== 'dir') return refuse('ENOTDIR', part)
    parent = entry.ino
  }
  return ok({ parent, name, missing: [] })
}

/**
 * A directory that had gone with the file; nobody knows any more what it was like: it has the class and the quota of where
 * it is made.
 */
function restoredDirectory(work: Work, ino: Ino, parent: Ino, file: InodeRecord): InodeRecord {
  const place = work.state.inode(parent)
  const { classId = 0 } = place?.attr ?? {}
  const attr: Attr = {
    ino,
    type: 'dir',
    mode: 0o755,
    nlink: 2,
    uid: file.attr.uid,
    gid: file.attr.gid,
    rdev: 0,
    size: 0,
    used: 0,
    atime: work.now,
    mtime: work.now,
    ctime: work.now,
    hasXattr: false,
    version: 0,
  }
  const record: InodeRecord = {
    attr: withClass(attr, classId),
    parent: ino,
    name: '',
    entries: 0,
    xattrBytes: 0,
    copies: 0,
    retentionMs: file.retentionMs,
    target: '',
    trashedUntil: undefined,
    doomed: false,
    quota: place?.quota ?? 0,
  }
  countClass(work, classId, 1)
  const counters = work.state.counters()
  work.state.setCounters({
    directories: counters.directories + 1,
    nextIno: Math.max(counters.nextIno, ino + 1),
  })
  work.state.setInode(ino, record)
  return record
}

export function trashRetention(work: Work, command: CommandOf<'trashRetention'>): Result<unknown> {
  const record = work.state.inode(command.ino)
  if (record === undefined || record.doomed) return refuse('ENOENT')
  work.state.setInode(command.ino, { ...record, retentionMs: command.retentionMs })
  return ok({})
}

/** The same for many at once, and back to what the setting says. */
export function retentionOf(work: Work, command: CommandOf<'retentionOf'>): Result<unknown> {
  return changeMany(work, command, (record) => {
    if (record.retentionMs === command.retentionMs) return false
    work.state.setInode(record.attr.ino, { ...record, retentionMs: command.retentionMs })
    return true
  })
}
