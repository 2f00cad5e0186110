/*
 * Bytes of the kernel protocol to values and back. Pure; knows nothing of files, devices or what an operation does.
 *
 * A Request is a view of the device's read buffer and is valid only until the reader returns: whoever needs bytes longer
 * copies them (`bytes`, `name` do). Everything in it is checked against the length that really arrived: a short structure
 * or a length that lies is EINVAL, never a read outside the request.
 */

import { type Attr, FILE_TYPE_NAMES, FILE_TYPES, type FileType, S_IFMT, type Time } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import { type Ino, ino } from '../base/ids.ts'
import { NAME_BYTES_MAX } from '../base/limits.ts'
import type { Entry, FileLock, StatFs } from '../client/vfs.ts'
import {
  ATTR,
  ATTR_VALID,
  DELETE_OUT,
  DIRENT,
  ENTRY,
  FILE_LOCK,
  IN_HEADER,
  INVAL_ENTRY_OUT,
  INVAL_INODE_OUT,
  LOCK_TYPES,
  NOTIFY,
  OPEN_OUT,
  OUT_HEADER,
  SIZE_OUT,
  STATFS_OUT,
} from './protocol.ts'

const TWO_32 = 0x1_0000_0000

/** Numbers above 2^53 become imprecise; callers that care check Number.isSafeInteger. */
export const getU64 = (b: Buffer, at: number): number => b.readUInt32LE(at) + b.readUInt32LE(at + 4) * TWO_32
export const getI64 = (b: Buffer, at: number): number => b.readUInt32LE(at) + b.readInt32LE(at + 4) * TWO_32

/** Negative numbers are written as two's complement, as the kernel has its signed times. */
export function putU64(b: Buffer, value: number, at: number): void {
  const high = Math.floor(value / TWO_32)
  b.writeUInt32LE(value - high * TWO_32, at)
  b.writeInt32LE(high | 0, at + 4)
}

export const OFFSET_MAX_LOW = 0xffffffff
export const OFFSET_MAX_HIGH = 0x7fffffff

export const shortRequest = (): FsError => new FsError('EINVAL', 'request shorter than its structure')

/** One request as it lies in the read buffer. */
export class Request {
  readonly buffer: Buffer
  /** Bytes that count: what the header says, never more than arrived. */
  readonly end: number
  readonly opcode: number
  readonly nodeid: number
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** `unique` without the resend bit: the key of the request while it is in hand. */
  readonly key: number
  readonly uniqueLow: number
  readonly uniqueHigh: number

  /** The caller has checked that a whole header is there. */
  constructor(buffer: Buffer, length: number) {
    this.buffer = buffer
    this.opcode = buffer.readUInt32LE(IN_HEADER.at.opcode)
    this.uniqueLow = buffer.readUInt32LE(IN_HEADER.at.unique)
    this.uniqueHigh = buffer.readUInt32LE(IN_HEADER.at.unique + 4)
    this.key = this.uniqueLow + (this.uniqueHigh & 0x1fffff) * TWO_32
    this.nodeid = getU64(buffer, IN_HEADER.at.nodeid)
    this.uid = buffer.readUInt32LE(IN_HEADER.at.uid)
    this.gid = buffer.readUInt32LE(IN_HEADER.at.gid)
    this.pid = buffer.readUInt32LE(IN_HEADER.at.pid)
    // Extensions stand behind the operation's own bytes, in units of eight; none is asked for in INIT.
    this.end = length - buffer.readUInt16LE(IN_HEADER.at.totalExtlen) * 8
  }

  get ino(): Ino {
    return checkedIno(this.nodeid)
  }

  /** Bytes after the header. */
  get bodyBytes(): number {
    return this.end - IN_HEADER.size
  }

  need(bytes: number): void {
    if (IN_HEADER.size + bytes > this.end) throw shortRequest()
  }

  u32(at: number): number {
    return this.buffer.readUInt32LE(IN_HEADER.size + at)
  }

  u64(at: number): number {
    return getU64(this.buffer, IN_HEADER.size + at)
  }

  /** An offset or length of a file: the kernel has them signed, so beyond 2^53 nothing is meant but an error. */
  offset(at: number): number {
    const value = this.u64(at)
    if (!Number.isSafeInteger(value)) throw new FsError('EFBIG')
    return value
  }

  /** The end of a lock range: the kernel's OFFSET_MAX becomes the largest safe integer. */
  lockOffset(at: number): number {
    return Math.min(this.u64(at), Number.MAX_SAFE_INTEGER)
  }

  time(secondsAt: number, nanosecondsAt: number): Time {
    const sec = getI64(this.buffer, IN_HEADER.size + secondsAt)
    const nsec = this.u32(nanosecondsAt)
    if (!Number.isSafeInteger(sec) || nsec >= 1_000_000_000) throw new FsError('EINVAL', 'time out of range')
    return { sec, nsec }
  }

  inoAt(at: number): Ino {
    return checkedIno(this.u64(at))
  }

  /** A lock owner: 16 hex digits. */
  owner(at: number): string {
    const hex = (n: number): string => n.toString(16).padStart(8, '0')
    return hex(this.u32(at + 4)) + hex(this.u32(at))
  }

  /** A copy of `length` bytes of the body. */
  bytes(at: number, length: number): Buffer {
    this.need(at + length)
    const copy = Buffer.allocUnsafeSlow(length)
    this.buffer.copy(copy, 0, IN_HEADER.size + at, IN_HEADER.size + at + length)
    return copy
  }

  /** A zero-terminated byte string and where the next one starts. */
  string(at: number): { text: string; next: number } {
    this.need(at)
    const start = IN_HEADER.size + at
    const zero = this.buffer.indexOf(0, start)
    if (zero < 0 || zero >= this.end) throw new FsError('EINVAL', 'name without an end')
    return { text: this.buffer.toString('latin1', start, zero), next: zero + 1 - IN_HEADER.size }
  }

  /** A name of a directory entry. */
  name(at: number): { text: string; next: number } {
    const found = this.string(at)
    if (found.text.length === 0) throw new FsError('EINVAL', 'empty name')
    if (found.text.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
    return found
  }
}

function checkedIno(n: number): Ino {
  if (!Number.isSafeInteger(n) || n === 0) throw new FsError('ESTALE', 'no such node id')
  return ino(n)
}

/** The type in st_mode's S_IFMT bits; without any it is a regular file, as mknod(2) has it. */
export function typeOfMode(mode: number): FileType {
  const bits = mode & S_IFMT
  if (bits === 0) return 'file'
  const name = FILE_TYPE_NAMES.find((candidate) => FILE_TYPES[candidate] === bits)
  if (name === undefined) throw new FsError('EINVAL', 'unknown file type')
  return name
}

/** How long the kernel may believe what it is told. */
export interface Validity {
  readonly entryMs: number
  readonly attrMs: number
}

/** st_blksize: what cp and friends use as their buffer; 128 KiB is one readahead window of the kernel's default. */
const PREFERRED_IO_BYTES = 128 * 1024

export function putAttr(out: Buffer, at: number, attr: Attr): void {
  putU64(out, attr.ino, at + ATTR.at.ino)
  putU64(out, attr.size, at + ATTR.at.size)
  putU64(out, Math.ceil(attr.used / 512), at + ATTR.at.blocks)
  putU64(out, attr.atime.sec, at + ATTR.at.atime)
  putU64(out, attr.mtime.sec, at + ATTR.at.mtime)
  putU64(out, attr.ctime.sec, at + ATTR.at.ctime)
  out.writeUInt32LE(attr.atime.nsec, at + ATTR.at.atimensec)
  out.writeUInt32LE(attr.mtime.nsec, at + ATTR.at.mtimensec)
  out.writeUInt32LE(attr.ctime.nsec, at + ATTR.at.ctimensec)
  out.writeUInt32LE(FILE_TYPES[attr.type] | attr.mode, at + ATTR.at.mode)
  out.writeUInt32LE(attr.nlink, at + ATTR.at.nlink)
  out.writeUInt32LE(attr.uid, at + ATTR.at.uid)
  out.writeUInt32LE(attr.gid, at + ATTR.at.gid)
  out.writeUInt32LE(attr.rdev, at + ATTR.at.rdev)
  out.writeUInt32LE(PREFERRED_IO_BYTES, at + ATTR.at.blksize)
  out.writeUInt32LE(0, at + ATTR.at.flags)
}

const NS_PER_MS = 1_000_000

function putValid(out: Buffer, secondsAt: number, nanosecondsAt: number, ms: number): void {
  const seconds = Math.floor(ms / 1000)
  putU64(out, seconds, secondsAt)
  out.writeUInt32LE(Math.floor(ms - seconds * 1000) * NS_PER_MS, nanosecondsAt)
}

export const ENTRY_OUT_BYTES = ENTRY.size + ATTR.size

/** fuse_entry_out. The generation is constant: an inode number is never given to another file. */
export function putEntry(out: Buffer, at: number, attr: Attr, valid: Validity): number {
  putU64(out, attr.ino, at + ENTRY.at.nodeid)
  putU64(out, 1, at + ENTRY.at.generation)
  putValid(out, at + ENTRY.at.entryValid, at + ENTRY.at.entryValidNsec, valid.entryMs)
  putValid(out, at + ENTRY.at.attrValid, at + ENTRY.at.attrValidNsec, valid.attrMs)
  putAttr(out, at + ENTRY.size, attr)
  return ENTRY_OUT_BYTES
}

/** "There is no such name, and you may believe it for a while": node id 0. */
export function putNegativeEntry(out: Buffer, at: number, valid: Validity): number {
  out.fill(0, at, at + ENTRY_OUT_BYTES)
  putValid(out, at + ENTRY.at.entryValid, at + ENTRY.at.entryValidNsec, valid.entryMs)
  return ENTRY_OUT_BYTES
}

export function putAttrOut(out: Buffer, at: number, attr: Attr, valid: Validity): number {
  putValid(out, at + ATTR_VALID.at.attrValid, at + ATTR_VALID.at.attrValidNsec, valid.attrMs)
  out.writeUInt32LE(0, at + ATTR_VALID.at._dummy)
  putAttr(out, at + ATTR_VALID.size, attr)
  return ATTR_VALID.size + ATTR.size
}

/** fuse_open_out; `fh` carries the open flags and nothing else. */
export function putOpen(out: Buffer, at: number, flags: number, openFlags: number): number {
  putU64(out, flags, at + OPEN_OUT.at.fh)
  out.writeUInt32LE(openFlags, at + OPEN_OUT.at.openFlags)
  out.writeUInt32LE(0, at + OPEN_OUT.at._padding)
  return OPEN_OUT.size
}

export function putSize(out: Buffer, at: number, size: number): number {
  out.writeUInt32LE(size, at + SIZE_OUT.at.size)
  out.writeUInt32LE(0, at + SIZE_OUT.at._padding)
  return SIZE_OUT.size
}

export function putStatFs(out: Buffer, at: number, s: StatFs): number {
  out.fill(0, at, at + STATFS_OUT.size)
  putU64(out, Math.floor(s.totalBytes / s.blockSize), at + STATFS_OUT.at.blocks)
  putU64(out, Math.floor(s.freeBytes / s.blockSize), at + STATFS_OUT.at.bfree)
  putU64(out, Math.floor(s.availableBytes / s.blockSize), at + STATFS_OUT.at.bavail)
  putU64(out, s.files, at + STATFS_OUT.at.files)
  putU64(out, s.filesFree, at + STATFS_OUT.at.ffree)
  out.writeUInt32LE(s.blockSize, at + STATFS_OUT.at.bsize)
  out.writeUInt32LE(NAME_BYTES_MAX, at + STATFS_OUT.at.namelen)
  out.writeUInt32LE(s.blockSize, at + STATFS_OUT.at.frsize)
  return STATFS_OUT.size
}

export function putLock(out: Buffer, at: number, lock: FileLock | undefined): number {
  putU64(out, lock?.start ?? 0, at + FILE_LOCK.at.start)
  if (lock === undefined || lock.end < Number.MAX_SAFE_INTEGER) {
    putU64(out, lock?.end ?? 0, at + FILE_LOCK.at.end)
  } else {
    out.writeUInt32LE(OFFSET_MAX_LOW, at + FILE_LOCK.at.end)
    out.writeUInt32LE(OFFSET_MAX_HIGH, at + FILE_LOCK.at.end + 4)
  }
  out.writeUInt32LE(LOCK_TYPES.indexOf(lock?.kind ?? 'unlock'), at + FILE_LOCK.at.type)
  out.writeUInt32LE(lock?.pid ?? 0, at + FILE_LOCK.at.pid)
  return FILE_LOCK.size
}

const align8 = (n: number): number => (n + 7) & ~7

/** The smallest record of a listing: how many entries can fit at most. */
export const DIRENT_BYTES_MIN = DIRENT.size + 8
export const direntBytes = (name: string, plus: boolean): number =>
  (plus ? ENTRY_OUT_BYTES : 0) + align8(DIRENT.size + name.length)

/** A record of READDIR, or of READDIRPLUS when `valid` is given; `attr` absent there means "not looked up". */
export function putDirent(
  out: Buffer,
  at: number,
  entry: Pick<Entry, 'name' | 'ino' | 'type' | 'cookie'> & { readonly attr?: Attr },
  valid: Validity | undefined,
): number {
  let head = at
  if (valid !== undefined) {
    if (entry.attr === undefined) out.fill(0, at, at + ENTRY_OUT_BYTES)
    else putEntry(out, at, entry.attr, valid)
    head += ENTRY_OUT_BYTES
  }
  putU64(out, entry.ino, head + DIRENT.at.ino)
  putU64(out, entry.cookie, head + DIRENT.at.off)
  out.writeUInt32LE(entry.name.length, head + DIRENT.at.namelen)
  out.writeUInt32LE(FILE_TYPES[entry.type] >> 12, head + DIRENT.at.type)
  const nameAt = head + DIRENT.size
  out.write(entry.name, nameAt, 'latin1')
  const end = head + align8(DIRENT.size + entry.name.length)
  out.fill(0, nameAt + entry.name.length, end)
  return end - at
}

export function putReplyHeader(out: Buffer, length: number, errnoNumber: number, low: number, high: number): void {
  out.writeUInt32LE(length, OUT_HEADER.at.len)
  out.writeInt32LE(errnoNumber === 0 ? 0 : -errnoNumber, OUT_HEADER.at.error)
  out.writeUInt32LE(low, OUT_HEADER.at.unique)
  out.writeUInt32LE(high, OUT_HEADER.at.unique + 4)
}

/** A notification is a reply with unique 0 whose error field is the code. */
function notification(code: number, bodyBytes: number): Buffer {
  const out = Buffer.alloc(OUT_HEADER.size + bodyBytes)
  out.writeUInt32LE(out.length, OUT_HEADER.at.len)
  out.writeInt32LE(code, OUT_HEADER.at.error)
  return out
}

/** Attributes, and with `data` every cached page (an offset below zero leaves the pages alone). */
export function invalidateInode(node: Ino, data: boolean): Buffer {
  const out = notification(NOTIFY.INVAL_INODE, INVAL_INODE_OUT.size)
  putU64(out, node, OUT_HEADER.size + INVAL_INODE_OUT.at.ino)
  putU64(out, data ? 0 : -1, OUT_HEADER.size + INVAL_INODE_OUT.at.off)
  return out
}

export function invalidateEntry(parent: Ino, name: string): Buffer {
  const out = notification(NOTIFY.INVAL_ENTRY, INVAL_ENTRY_OUT.size + name.length + 1)
  putU64(out, parent, OUT_HEADER.size + INVAL_ENTRY_OUT.at.parent)
  out.writeUInt32LE(name.length, OUT_HEADER.size + INVAL_ENTRY_OUT.at.namelen)
  out.write(name, OUT_HEADER.size + INVAL_ENTRY_OUT.size, 'latin1')
  return out
}

/** The name is gone: like invalidateEntry, and watchers (inotify) are told. */
export function deletedEntry(parent: Ino, child: Ino, name: string): Buffer {
  const out = notification(NOTIFY.DELETE, DELETE_OUT.size + name.length + 1)
  putU64(out, parent, OUT_HEADER.size + DELETE_OUT.at.parent)
  putU64(out, child, OUT_HEADER.size + DELETE_OUT.at.child)
  out.writeUInt32LE(name.length, OUT_HEADER.size + DELETE_OUT.at.namelen)
  out.write(name, OUT_HEADER.size + DELETE_OUT.size, 'latin1')
  return out
}

/** Asks the kernel to send again what a former reader of this connection took and never answered (Linux ≥ 6.9). */
export const resendRequests = (): Buffer => notification(NOTIFY.RESEND, 0)
