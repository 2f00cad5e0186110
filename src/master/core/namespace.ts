/*
 * The rules of names: make, create, unlink, rmdir, rename, link, as POSIX and Linux have them. Who may do it was decided
 * before (the kernel checks permissions); what is checked here is what only the state can know.
 */

import { type Attr, type NewInode, newAttr } from '../../base/attr.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import { type Ino, ROOT_INO, type SessionId } from '../../base/ids.ts'
import { LINK_MAX } from '../../base/limits.ts'
import { ACL_ACCESS, ACL_DEFAULT, inheritAcl, serializeAcl } from './acl.ts'
import { changeAttributes, dropXattrs, putXattr, storedAcl } from './attributes.ts'
import { classedAttr, countClass, forgetInode } from './classes.ts'
import type { CommandOf } from './commands.ts'
import { BUCKET_SLOTS } from './dentries.ts'
import { lastNameGone } from './lifetime.ts'
import { addName, removeName, replaceName } from './names.ts'
import { NOTHING, type Usage, usageOf } from './quota-table.ts'
import { ONE_INODE, type Passage, pass, passage, quotaOfRemoved, refuseGrowth, refusePassage } from './quotas.ts'
import type { Dentry, InodeRecord } from './records.ts'
import { badName, type Work } from './work.ts'

interface New extends NewInode {
  readonly umask: number
}

/** A new inode in a directory: group and set-gid from a set-gid directory, mode and ACL from its default ACL. */
function makeInode(work: Work, dir: InodeRecord, name: string, wanted: New): InodeRecord {
  const { state, now } = work
  const { ino, type } = wanted
  const defaultAcl = type === 'symlink' ? undefined : storedAcl(work, dir.attr.ino, dir, ACL_DEFAULT)
  const inherited = defaultAcl === undefined ? undefined : inheritAcl(defaultAcl, wanted.mode)
  const mode = inherited?.mode ?? wanted.mode & ~(wanted.umask & 0o777)
  let record: InodeRecord = {
    attr: classedAttr(work, name, newAttr(dir.attr, { ...wanted, mode }, now)),
    parent: dir.attr.ino,
    name: '',
    entries: 0,
    xattrBytes: 0,
    copies: dir.copies,
    retentionMs: dir.retentionMs,
    target: type === 'symlink' ? wanted.target : '',
    trashedUntil: undefined,
    doomed: false,
    quota: dir.quota,
  }
  if (inherited?.acl !== undefined) record = putXattr(work, record, ACL_ACCESS, serializeAcl(inherited.acl))
  if (defaultAcl !== undefined && type === 'dir') record = putXattr(work, record, ACL_DEFAULT, serializeAcl(defaultAcl))
  state.setInode(ino, record)
  countClass(work, record.attr.classId, 1)
  const counters = state.counters()
  state.setCounters({
    nextIno: Math.max(counters.nextIno, ino + 1),
    ...(type === 'dir' ? { directories: counters.directories + 1 } : { files: counters.files + 1 }),
  })
  return record
}

export const attrOf = (work: Work, ino: Ino): Attr | undefined => work.state.inode(ino)?.attr

/** Why no new name can be made there. */
export function noRoom(work: Work, parent: Ino, name: string): ReturnType<typeof refuse> | undefined {
  const { bucket } = work.state.find(parent, name)
  return bucket.length < BUCKET_SLOTS ? undefined : refuse('ENOSPC', 'too many names with one hash')
}

/** Makes an inode and its name; the name is known to be free. */
export function makeNamed(work: Work, dir: InodeRecord, name: string, wanted: New): Result<InodeRecord> {
  const parent = dir.attr.ino
  if (wanted.ino === 0 || work.state.inode(wanted.ino) !== undefined)
    return refuse('EIO', `inode number ${wanted.ino} is taken`)
  const full = noRoom(work, parent, name)
  if (full !== undefined) return full
  const record = makeInode(work, dir, name, wanted)
  addName(work, parent, name, record)
  return ok(work.state.inode(wanted.ino) ?? record)
}

export function make(work: Work, command: CommandOf<'make'>): Result<unknown> {
  const dir = work.directory(command.parent)
  if ('errno' in dir) return dir
  const bad = badName(command.name)
  if (bad !== undefined) return bad
  if (work.state.lookup(command.parent, command.name) !== undefined) return refuse('EEXIST')
  if (command.type === 'symlink' && command.target === '') return refuse('ENOENT', 'a symlink needs a target')
  if (command.type === 'symlink' && command.target.includes('\0')) return refuse('EINVAL')
  const quota = refuseGrowth(work, dir.ok.quota, ONE_INODE)
  if (quota !== undefined) return quota
  const made = makeNamed(work, dir.ok, command.name, command)
  return 'errno' in made ? made : ok({ attr: made.ok.attr, parent: attrOf(work, command.parent) })
}

export function create(work: Work, command: CommandOf<'create'>): Result<unknown> {
  const dir = work.directory(command.parent)
  if ('errno' in dir) return dir
  const bad = badName(command.name)
  if (bad !== undefined) return bad
  const entry = work.state.lookup(command.parent, command.name)
  if (entry === undefined) {
    const quota = refuseGrowth(work, dir.ok.quota, ONE_INODE)
    if (quota !== undefined) return quota
    const made = makeNamed(work, dir.ok, command.name, { ...command, type: 'file', rdev: 0, target: '' })
    return 'errno' in made ? made : ok({ attr: made.ok.attr, created: true, parent: attrOf(work, command.parent) })
  }
  if (command.exclusive) return refuse('EEXIST')
  if (entry.type === 'dir') return refuse('EISDIR')
  const record = work.state.inode(entry.ino)
  if (record === undefined) return refuse('EIO', `the name leads to inode ${entry.ino}, which does not exist`)
  if (!command.truncate || entry.type !== 'file') return ok({ attr: record.attr, created: false })
  const cut = changeAttributes(work, record, { size: 0, killSuidGid: command.killSuidGid })
  return 'errno' in cut ? cut : ok({ attr: cut.ok.attr, created: false })
}

/** One link of an inode goes; its name has been removed or replaced. */
export function unlinked(
  work: Work,
  ino: Ino,
  was: { parent: Ino; name: string },
  openIn: readonly SessionId[],
  then: 'trash' | 'free' = 'trash',
): number {
  const record = work.state.inode(ino)
  if (record === undefined) return 0
  const nlink = record.attr.nlink - 1
  // What nobody can reach by a name counts in no quota.
  const next = work.put(record, { nlink, ctime: work.now }, nlink === 0 ? { quota: 0 } : {})
  work.touchInode(ino, false)
  if (next.attr.nlink === 0) lastNameGone(work, next, was, openIn, then)
  return next.attr.nlink
}

/** An empty directory that has lost its name goes. */
export function removed(work: Work, record: InodeRecord): void {
  const { ino } = record.attr
  dropXattrs(work, record)
  forgetInode(work, record)
  quotaOfRemoved(work, ino)
  work.touchInode(ino, true)
  work.state.setCounters({ directories: work.state.counters().directories - 1 })
}

export function unlink(work: Work, command: CommandOf<'unlink'>): Result<unknown> {
  const { parent, name } = command
  const dir = work.directory(parent)
  if ('errno' in dir) return dir
  const entry = work.state.lookup(parent, name)
  if (entry === undefined) return refuse('ENOENT')
  if (entry.type === 'dir') return refuse('EISDIR')
  removeName(work, parent, name)
  const nlink = unlinked(work, entry.ino, { parent, name }, command.openIn)
  return ok({ ino: entry.ino, nlink, parent: attrOf(work, parent) })
}

export function rmdir(work: Work, command: CommandOf<'rmdir'>): Result<unknown> {
  const dir = work.directory(command.parent)
  if ('errno' in dir) return dir
  if (command.name === '.') return refuse('EINVAL')
  if (command.name === '..') return refuse('ENOTEMPTY')
  const entry = work.state.lookup(command.parent, command.name)
  if (entry === undefined) return refuse('ENOENT')
  if (entry.type !== 'dir') return refuse('ENOTDIR')
  const record = work.state.inode(entry.ino)
  if (record !== undefined && record.entries > 0) return refuse('ENOTEMPTY')
  removeName(work, command.parent, command.name)
  if (record !== undefined) removed(work, record)
  return ok({ ino: entry.ino, parent: attrOf(work, command.parent) })
}

export function link(work: Work, command: CommandOf<'link'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const record = found.ok
  const dir = work.directory(command.newParent)
  if ('errno' in dir) return dir
  const bad = badName(command.newName)
  if (bad !== undefined) return bad
  if (record.attr.type === 'dir') return refuse('EPERM', 'directories have one name')
  if (work.state.lookup(command.newParent, command.newName) !== undefined) return refuse('EEXIST')
  if (record.attr.nlink === 0) return refuse('ENOENT', 'the file has been deleted')
  if (record.attr.nlink >= LINK_MAX) return refuse('EMLINK')
  const full = noRoom(work, command.newParent, command.newName)
  if (full !== undefined) return full
  const way = passage(work, record, dir.ok)
  if (way.kind === 'crosses') return refuse('EXDEV', 'it counts in another quota')
  const next = work.put(record, { nlink: record.attr.nlink + 1, ctime: work.now })
  addName(work, command.newParent, command.newName, next)
  pass(work, command.ino, way)
  work.touchInode(command.ino, false)
  return ok(next.attr)
}

// ---- rename

/** Whether `ino` is `ancestor` or lies below it. `nowhere`: it lies in a tree that has no place any more. */
function relation(work: Work, ino: Ino, ancestor: Ino): 'within' | 'outside' | 'nowhere' {
  let at = ino
  for (;;) {
    if (at === ancestor) return 'within'
    if (at === ROOT_INO) return 'outside'
    const record = work.state.inode(at)
    if (record === undefined || record.parent === at) return 'nowhere'
    at = record.parent
  }
}
export const isWithin = (work: Work, ino: Ino, ancestor: Ino): boolean => relation(work, ino, ancestor) === 'within'

/** Why a directory cannot come to lie there; undefined: it can. */
function refusePlace(work: Work, directory: Ino, moved: Ino): 'within' | ReturnType<typeof refuse> | undefined {
  const found = relation(work, directory, moved)
  if (found === 'within') return 'within'
  // It still counts where it counted, until it is freed: what is in it must not change by more than what goes.
  return found === 'nowhere' ? refuse('ENOENT', 'the directory was deleted with its tree') : undefined
}

export function rename(work: Work, command: CommandOf<'rename'>): Result<unknown> {
  const { parent, name, newParent, newName, noReplace, exchange } = command
  const { state } = work
  if (noReplace && exchange) return refuse('EINVAL')
  const from = work.directory(parent)
  if ('errno' in from) return from
  const to = work.directory(newParent)
  if ('errno' in to) return to
  const bad = badName(newName)
  if (bad !== undefined) return newName === '.' || newName === '..' ? refuse('EBUSY') : bad
  const source = state.lookup(parent, name)
  if (source === undefined) return refuse('ENOENT')
  const target = state.lookup(newParent, newName)
  if (target !== undefined && noReplace) return refuse('EEXIST')
  if (target === undefined && exchange) return refuse('ENOENT')
  const there = source.type === 'dir' ? refusePlace(work, newParent, source.ino) : undefined
  if (there !== undefined) return there === 'within' ? refuse('EINVAL', 'into itself') : there
  const here = target?.type === 'dir' ? refusePlace(work, parent, target.ino) : undefined
  if (here === 'within') return refuse(exchange ? 'EINVAL' : 'ENOTEMPTY')
  if (here !== undefined && exchange) return here
  const sourceRecord = state.inode(source.ino)
  const targetRecord = target === undefined ? undefined : state.inode(target.ino)
  if (sourceRecord === undefined || (target !== undefined && targetRecord === undefined))
    return refuse('EIO', 'a name leads to an inode that does not exist')
  const parents = (): Attr[] =>
    (parent === newParent ? [parent] : [parent, newParent]).flatMap((ino) => attrOf(work, ino) ?? [])
  // Two names of one inode: POSIX wants nothing to happen.
  if (target?.ino === source.ino) return ok({ ino: source.ino, replaced: target.ino })
  const way = passage(work, sourceRecord, to.ok, from.ok)
  if (exchange && target !== undefined && targetRecord !== undefined) {
    const back = passage(work, targetRecord, from.ok, to.ok)
    if (way.kind === 'crosses' || back.kind === 'crosses') return refuse('EXDEV', 'they count in different quotas')
    swap(work, command, source, sourceRecord, target, targetRecord)
    pass(work, source.ino, way)
    pass(work, target.ino, back)
    return ok({ ino: source.ino, replaced: undefined, parents: parents() })
  }
  if (target !== undefined && targetRecord !== undefined) {
    if (source.type === 'dir' && target.type !== 'dir') return refuse('ENOTDIR')
    if (source.type !== 'dir' && target.type === 'dir') return refuse('EISDIR')
    if (target.type === 'dir' && targetRecord.entries > 0) return refuse('ENOTEMPTY')
    const edge = refusePassage(work, sourceRecord, way, freedBy(targetRecord, way))
    if (edge !== undefined) return edge
    removeName(work, parent, name)
    replaceName(work, newParent, newName, sourceRecord)
    pass(work, source.ino, way)
    moved(work, source.ino)
    if (target.type === 'dir') removed(work, targetRecord)
    else unlinked(work, target.ino, { parent: newParent, name: newName }, command.openIn)
    return ok({ ino: source.ino, replaced: target.ino, parents: parents() })
  }
  const full = noRoom(work, newParent, newName)
  if (full !== undefined) return full
  const edge = refusePassage(work, sourceRecord, way, NOTHING)
  if (edge !== undefined) return edge
  removeName(work, parent, name)
  addName(work, newParent, newName, sourceRecord)
  pass(work, source.ino, way)
  moved(work, source.ino)
  return ok({ ino: source.ino, replaced: undefined, parents: parents() })
}

/** What goes from the quota into which something comes, when it takes the place of this. */
function freedBy(replaced: InodeRecord, way: Passage): Usage {
  const last = replaced.attr.type === 'dir' || replaced.attr.nlink === 1
  return last && way.kind === 'crosses' && replaced.quota === way.to ? usageOf(replaced) : NOTHING
}

function swap(
  work: Work,
  command: CommandOf<'rename'>,
  source: Dentry,
  sourceRecord: InodeRecord,
  target: Dentry,
  targetRecord: InodeRecord,
): void {
  replaceName(work, command.newParent, command.newName, sourceRecord)
  replaceName(work, command.parent, command.name, targetRecord)
  moved(work, source.ino)
  moved(work, target.ino)
}

/** Linux gives whatever was renamed a new ctime. */
function moved(work: Work, ino: Ino): void {
  const record = work.state.inode(ino)
  if (record === undefined) return
  work.put(record, { ctime: work.now })
  work.touchInode(ino, false)
}
