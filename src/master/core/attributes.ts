/*
 * setattr and extended attributes, with what they do to each other: chmod changes an access ACL, an access ACL changes
 * the mode.
 */

import { type AttrChange, changedAttr, type FileType } from '../../base/attr.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import { FILE_BYTES_MAX, NAME_BYTES_MAX, XATTR_LIST_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../../base/limits.ts'
import { ACL_ACCESS, ACL_DEFAULT, type Acl, chmodAcl, isMerelyMode, modeOfAcl, parseAcl, serializeAcl } from './acl.ts'
import type { CommandOf } from './commands.ts'
import { resized } from './extents.ts'
import { refuseGrowth } from './quotas.ts'
import type { InodeRecord } from './records.ts'
import { key } from './tables.ts'
import type { Work } from './work.ts'

// ---- setattr

export function setattr(work: Work, command: CommandOf<'setattr'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const result = changeAttributes(work, found.ok, command.change)
  return 'errno' in result ? result : ok(result.ok.attr)
}

export function changeAttributes(work: Work, record: InodeRecord, change: AttrChange): Result<InodeRecord> {
  const { attr } = record
  const { type, ino } = attr
  if (change.size !== undefined) {
    if (type !== 'file') return refuse(type === 'dir' ? 'EISDIR' : 'EINVAL')
    if (change.size > FILE_BYTES_MAX) return refuse('EFBIG')
  }
  if (change.mode !== undefined && type === 'symlink') return refuse('EOPNOTSUPP', 'a symlink has no mode of its own')
  // Set-id bits of directories mean something else and stay.
  const wish = type === 'dir' ? { ...change, killSuidGid: false } : change
  let base = attr
  if (change.size !== undefined && change.size > attr.size) {
    const full = refuseGrowth(work, record.quota, { inodes: 0, length: change.size - attr.size, used: 0 })
    if (full !== undefined) return full
  }
  if (change.size !== undefined) {
    const { size, used } = resized(work, record, change.size)
    base = { ...attr, size, used, mtime: work.now }
  }
  const drops = change.size !== undefined || change.uid !== undefined || change.gid !== undefined
  const kept = drops ? withoutCapabilities(work, record) : record
  const next = work.put(kept, { ...changedAttr(base, wish, work.now), hasXattr: kept.attr.hasXattr })
  if (change.mode !== undefined && (next.attr.mode & 0o777) !== (attr.mode & 0o777)) {
    const acl = storedAcl(work, ino, record, ACL_ACCESS)
    if (acl !== undefined) work.state.kv.put(key.xattr(ino, ACL_ACCESS), serializeAcl(chmodAcl(acl, next.attr.mode)))
  }
  work.touchInode(ino, change.size !== undefined)
  return ok(next)
}

/** The ACL that is stored, which was valid when it was. */
export function storedAcl(work: Work, ino: Ino, record: InodeRecord, name: string): Acl | undefined {
  if (record.xattrBytes === 0) return undefined
  const value = work.state.kv.get(key.xattr(ino, name))
  const acl = value === undefined ? undefined : parseAcl(value)
  return acl === 'empty' ? undefined : acl
}

// ---- extended attributes

/** Why an attribute of this name cannot be on a file of this type; undefined: it can. */
export function xattrRefusal(name: string, type: FileType): ReturnType<typeof refuse> | undefined {
  if (name.length > NAME_BYTES_MAX) return refuse('ERANGE', 'the name is too long')
  if (name.includes('\0')) return refuse('EINVAL', 'a name has no NUL')
  if (name === ACL_ACCESS || name === ACL_DEFAULT) return type === 'symlink' ? refuse('EOPNOTSUPP') : undefined
  const dot = name.indexOf('.')
  const space = name.slice(0, dot)
  if (dot < 0 || (space !== 'user' && space !== 'trusted' && space !== 'security')) return refuse('EOPNOTSUPP')
  if (dot === name.length - 1) return refuse('EINVAL', 'a name after the dot')
  if (space === 'user' && type !== 'file' && type !== 'dir') return refuse('EPERM', 'only files and directories')
  return undefined
}

export function setxattr(work: Work, command: CommandOf<'setxattr'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const record = found.ok
  const refusal = xattrRefusal(command.name, record.attr.type)
  if (refusal !== undefined) return refusal
  if (command.value.length > XATTR_VALUE_BYTES_MAX) return refuse('ERANGE', 'the value is too long')
  if (command.name === ACL_ACCESS || command.name === ACL_DEFAULT) return setAcl(work, record, command)
  const exists = has(work, record, command.name)
  if (exists && command.create) return refuse('EEXIST')
  if (!exists && command.replace) return refuse('ENODATA')
  const size = record.xattrBytes + (exists ? 0 : command.name.length + 1)
  if (size > XATTR_LIST_BYTES_MAX) return refuse('ENOSPC', 'too many attributes')
  return done(work, putXattr(work, record, command.name, command.value))
}

function setAcl(work: Work, record: InodeRecord, command: CommandOf<'setxattr'>): Result<unknown> {
  const parsed = parseAcl(command.value)
  if (parsed === undefined) return refuse('EINVAL', 'not an access control list')
  const acl = parsed === 'empty' ? undefined : parsed
  if (command.name === ACL_DEFAULT) {
    if (record.attr.type !== 'dir') return acl === undefined ? ok(record.attr) : refuse('EACCES', 'only directories')
    return done(work, putXattr(work, record, ACL_DEFAULT, acl === undefined ? undefined : serializeAcl(acl)))
  }
  if (acl === undefined) return done(work, putXattr(work, record, ACL_ACCESS, undefined))
  let mode = (record.attr.mode & ~0o777) | modeOfAcl(acl)
  if (command.killSgid) mode &= ~0o2000
  const value = isMerelyMode(acl) ? undefined : serializeAcl(acl)
  return done(work, putXattr(work, { ...record, attr: { ...record.attr, mode } }, ACL_ACCESS, value))
}

export function removexattr(work: Work, command: CommandOf<'removexattr'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const refusal = xattrRefusal(command.name, found.ok.attr.type)
  if (refusal !== undefined) return refusal
  // As on a local disk: every file has an ACL, its mode, so there is always one that can be taken away.
  const isAcl = command.name === ACL_ACCESS || command.name === ACL_DEFAULT
  if (!has(work, found.ok, command.name)) return isAcl ? ok(found.ok.attr) : refuse('ENODATA')
  return done(work, putXattr(work, found.ok, command.name, undefined))
}

const has = (work: Work, record: InodeRecord, name: string): boolean =>
  record.xattrBytes > 0 && work.state.kv.get(key.xattr(record.attr.ino, name)) !== undefined

/** Sets or (undefined) removes one; the listed bytes follow. Does not store the record. */
export function putXattr(work: Work, record: InodeRecord, name: string, value: Uint8Array | undefined): InodeRecord {
  const { ino } = record.attr
  const exists = has(work, record, name)
  if (value !== undefined) work.state.kv.put(key.xattr(ino, name), Buffer.from(value))
  else if (exists) work.state.kv.delete(key.xattr(ino, name))
  const by = (value === undefined ? 0 : 1) - (exists ? 1 : 0)
  const xattrBytes = record.xattrBytes + by * (name.length + 1)
  return { ...record, xattrBytes, attr: { ...record.attr, hasXattr: xattrBytes > 0 } }
}

/** What a program may do was said of the bytes it had and of its owner: another owner or other bytes, no capabilities. */
export function withoutCapabilities(work: Work, record: InodeRecord): InodeRecord {
  return has(work, record, CAPABILITIES) ? putXattr(work, record, CAPABILITIES, undefined) : record
}
const CAPABILITIES = 'security.capability'

function done(work: Work, record: InodeRecord): Result<unknown> {
  const next = work.put(record, { ctime: work.now })
  work.touchInode(record.attr.ino, false)
  return ok(next.attr)
}

/** All of them, when the inode goes. At most XATTR_LIST_BYTES_MAX / 7 names. */
export function dropXattrs(work: Work, record: InodeRecord): void {
  if (record.xattrBytes === 0) return
  for (const name of work.state.xattrs(record.attr.ino)) work.state.kv.delete(key.xattr(record.attr.ino, name))
}
