/*
 * Operations of the kernel that take more than one call of the Vfs, or a decision: opening, creating, renaming, locks,
 * extended attributes, ranges. Like every row of ops.ts they decode before they first wait, and throw FsError to refuse.
 */

import type { Attr, AttrChange, Time } from '../base/attr.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { XATTR_VALUE_BYTES_MAX } from '../base/limits.ts'
import type { FallocateMode, FileLock, NewNode } from '../client/vfs.ts'
import { putSize, type Request } from './codec.ts'
import type { Door, FuseCaller } from './door.ts'
import {
  COPY_IN,
  CREATE_IN,
  FALLOC,
  FATTR,
  FOPEN,
  GETXATTR_IN,
  LK_FLOCK,
  LK_IN,
  LOCK_TYPES,
  O_ACCMODE,
  O_EXCL,
  O_TRUNC,
  OPEN_IN,
  OPEN_KILL_SUIDGID,
  RENAME_EXCHANGE,
  RENAME_IN,
  RENAME_NOREPLACE,
  SETATTR_IN,
  SETXATTR_ACL_KILL_SGID,
  SETXATTR_IN,
  SETXATTR_IN_SHORT_BYTES,
  XATTR_CREATE,
  XATTR_REPLACE,
} from './protocol.ts'

/** A name in the operation log. */
export const quoted = (text: string): string => JSON.stringify(text)

export async function noted(door: Door, answer: Promise<Attr>): Promise<Attr> {
  const before = door.plain.changes
  const attr = await answer
  door.plain.note(attr, before)
  return attr
}

export function make(
  r: Request,
  door: Door,
  caller: FuseCaller,
  parts: { name: string; umask: number; node: NewNode },
) {
  caller.umask = parts.umask
  return noted(door, door.vfs.make(r.ino, parts.name, parts.node, caller))
}

export function setattrChange(r: Request): AttrChange {
  const at = SETATTR_IN.at
  const valid = r.u32(at.valid)
  const time = (flag: number, nowFlag: number, seconds: number, nanoseconds: number): Time | 'now' | undefined =>
    (valid & nowFlag) !== 0 ? 'now' : (valid & flag) !== 0 ? r.time(seconds, nanoseconds) : undefined
  return {
    mode: (valid & FATTR.MODE) !== 0 ? r.u32(at.mode) & 0o7777 : undefined,
    uid: (valid & FATTR.UID) !== 0 ? r.u32(at.uid) : undefined,
    gid: (valid & FATTR.GID) !== 0 ? r.u32(at.gid) : undefined,
    size: (valid & FATTR.SIZE) !== 0 ? r.offset(at.size) : undefined,
    atime: time(FATTR.ATIME, FATTR.ATIME_NOW, at.atime, at.atimensec),
    mtime: time(FATTR.MTIME, FATTR.MTIME_NOW, at.mtime, at.mtimensec),
    killSuidGid: (valid & FATTR.KILL_SUIDGID) !== 0 ? true : undefined,
  }
}

export function renameCall(r: Request, door: Door, caller: FuseCaller, namesAt: number, flags: number): Promise<void> {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0 || flags === (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
    throw new FsError('EINVAL', 'rename flags')
  }
  const from = r.name(namesAt)
  const to = r.name(from.next)
  const wanted = { noReplace: (flags & RENAME_NOREPLACE) !== 0, exchange: (flags & RENAME_EXCHANGE) !== 0 }
  return door.vfs.rename(r.ino, from.text, r.inoAt(RENAME_IN.at.newdir), to.text, wanted, caller)
}

export const renameSummary =
  (namesAt: number) =>
  (r: Request): string => {
    const from = r.name(namesAt)
    return `${quoted(from.text)} → ${r.u64(RENAME_IN.at.newdir)}/${quoted(r.name(from.next).text)}`
  }

export interface Opened {
  readonly flags: number
  readonly openFlags: number
}

export async function open(r: Request, door: Door, caller: FuseCaller): Promise<Opened> {
  const node = r.ino
  const flags = r.u32(OPEN_IN.at.flags)
  const kill = (r.u32(OPEN_IN.at.openFlags) & OPEN_KILL_SUIDGID) !== 0
  if (kill) await door.vfs.setattr(node, { killSuidGid: true }, caller)
  const before = door.plain.changes
  const wanted = { write: (flags & O_ACCMODE) !== 0, truncate: (flags & O_TRUNC) !== 0 }
  const { attr, changed, stale } = await door.vfs.open(node, wanted, caller)
  door.plain.note(attr, before)
  // The size that the kernel got from a lookup a moment ago would end the reads through this open too early.
  if (stale) door.attributesMoved(node)
  return { flags, openFlags: changed ? 0 : FOPEN.KEEP_CACHE }
}

export interface Created {
  readonly attr: Attr
  readonly flags: number
}

/**
 * The kernel sends CREATE when it believes that the name is free, and checks no permission on what it gets. If the name
 * was taken meanwhile (through another mount), ESTALE makes it look the name up again and open it the ordinary way, with
 * its checks.
 */
export async function create(r: Request, door: Door, caller: FuseCaller): Promise<Created> {
  const parent = r.ino
  const { text: name } = r.name(CREATE_IN.size)
  const flags = r.u32(CREATE_IN.at.flags)
  const mode = r.u32(CREATE_IN.at.mode) & 0o7777
  caller.umask = r.u32(CREATE_IN.at.umask)
  try {
    const made = door.vfs.create(parent, name, mode, { exclusive: true, truncate: false }, caller)
    return { attr: await noted(door, made), flags }
  } catch (error) {
    if ((flags & O_EXCL) === 0 && errnoOf(error) === 'EEXIST') throw new FsError('ESTALE', name, { cause: error })
    throw error
  }
}

export function lockOf(r: Request): FileLock {
  const at = LK_IN.at
  const kind = LOCK_TYPES[r.u32(at.type)]
  const start = r.lockOffset(at.start)
  const end = r.lockOffset(at.end)
  if (kind === undefined || start > end) throw new FsError('EINVAL', 'lock')
  const family = (r.u32(at.lkFlags) & LK_FLOCK) !== 0 ? 'flock' : 'posix'
  return { family, kind, owner: r.owner(at.owner), start, end, pid: r.u32(at.pid) || r.pid }
}

export const lockSummary = (r: Request): string => {
  const lock = lockOf(r)
  return `${lock.family} ${lock.kind} ${lock.start}-${lock.end === Number.MAX_SAFE_INTEGER ? 'end' : lock.end}`
}

export function fallocateMode(bits: number): FallocateMode {
  switch (bits) {
    case 0:
      return { kind: 'reserve', keepSize: false }
    case FALLOC.KEEP_SIZE:
      return { kind: 'reserve', keepSize: true }
    case FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE:
      return { kind: 'punch', keepSize: true }
    case FALLOC.ZERO_RANGE:
      return { kind: 'zero', keepSize: false }
    case FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE:
      return { kind: 'zero', keepSize: true }
    default:
      throw new FsError('EOPNOTSUPP', `fallocate mode ${bits}`)
  }
}

/** The 32-bit answer's largest page-aligned count. */
const COPY_BYTES_MAX = 0xfffff000

export function copyRange(r: Request, door: Door, caller: FuseCaller): Promise<number> {
  const at = COPY_IN.at
  if (r.u64(at.flags) !== 0) throw new FsError('EINVAL', 'copy flags')
  const length = Math.min(r.u64(at.len), COPY_BYTES_MAX)
  return door.vfs.copyRange(r.ino, r.offset(at.offIn), r.inoAt(at.nodeidOut), r.offset(at.offOut), length, caller)
}

/** An xattr answer: its size when the kernel only asks for that, else its bytes if they fit. */
export function sizedReply(wanted: number, value: Buffer): { size: number } | { value: Buffer } {
  if (wanted === 0) return { size: value.length }
  if (value.length > wanted) throw new FsError('ERANGE')
  return { value }
}

export const replySized = (
  out: Buffer,
  at: number,
  answer: { size: number } | { value: Buffer },
): number | readonly Buffer[] => ('size' in answer ? putSize(out, at, answer.size) : [answer.value])

/** Made once: a stack trace for each of the kernel's constant questions would cost more than the answer. */
const NO_XATTR = new FsError('ENODATA')

export function getxattr(r: Request, door: Door, caller: FuseCaller): Promise<{ size: number } | { value: Buffer }> {
  const wanted = r.u32(GETXATTR_IN.at.size)
  if (door.plain.has(r.ino)) throw NO_XATTR
  const { text } = r.string(GETXATTR_IN.size)
  return door.vfs.getxattr(r.ino, text, caller).then((value) => sizedReply(wanted, value))
}

export async function listxattr(
  r: Request,
  door: Door,
  caller: FuseCaller,
): Promise<{ size: number } | { value: Buffer }> {
  const wanted = r.u32(GETXATTR_IN.at.size)
  const names = door.plain.has(r.ino) ? [] : await door.vfs.listxattr(r.ino, caller)
  return sizedReply(wanted, Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1'))
}

/** Setting an ACL changes the mode, so the names this door knows of the inode's xattrs are forgotten before and after. */
export async function changeXattr(door: Door, node: Ino, change: () => Promise<void>): Promise<void> {
  door.plain.forget(node)
  try {
    await change()
  } finally {
    door.plain.forget(node)
  }
}

export function setxattr(r: Request, door: Door, caller: FuseCaller): Promise<void> {
  // The structure is short when SETXATTR_EXT was not granted; the session says so through `shortSetxattr`.
  const head = door.shortSetxattr ? SETXATTR_IN_SHORT_BYTES : SETXATTR_IN.size
  r.need(head)
  const size = r.u32(SETXATTR_IN.at.size)
  if (size > XATTR_VALUE_BYTES_MAX) throw new FsError('ERANGE', 'xattr value')
  const flags = r.u32(SETXATTR_IN.at.flags)
  const extended = door.shortSetxattr ? 0 : r.u32(SETXATTR_IN.at.setxattrFlags)
  const name = r.string(head)
  const value = r.bytes(name.next, size)
  const wanted = {
    create: (flags & XATTR_CREATE) !== 0,
    replace: (flags & XATTR_REPLACE) !== 0,
    killSgid: (extended & SETXATTR_ACL_KILL_SGID) !== 0,
  }
  const node = r.ino
  return changeXattr(door, node, () => door.vfs.setxattr(node, name.text, value, wanted, caller))
}
