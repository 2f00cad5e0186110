/*
 * What a file is, apart from its bytes: types, attributes, and how a change of attributes works (who may clear what).
 * Pure and shared: the master applies it, the client applies it to attributes it holds back until the next commit.
 *
 * Times are two integers, seconds since 1970 (may be negative) and nanoseconds, because nanoseconds in one number do not
 * fit into 2^53.
 */

import type { Ino } from './ids.ts'

/** The file type bits of st_mode (S_IFMT). */
export const S_IFMT = 0o170000
export const FILE_TYPES = {
  fifo: 0o010000,
  char: 0o020000,
  dir: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const
export type FileType = keyof typeof FILE_TYPES
export const FILE_TYPE_NAMES = Object.keys(FILE_TYPES) as FileType[]

export interface Time {
  readonly sec: number
  readonly nsec: number
}

export interface Attr {
  readonly ino: Ino
  readonly type: FileType
  /** Permission bits only (0o7777). */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  /** Device number of a char or block node, as the kernel encodes it (new_encode_dev, 32 bits). */
  readonly rdev: number
  readonly size: number
  /** Bytes that extents really cover (holes excluded); st_blocks = ceil(used / 512). */
  readonly used: number
  readonly atime: Time
  readonly mtime: Time
  readonly ctime: Time
  /** Has any extended attribute (so that a door can answer "none" without asking). */
  readonly hasXattr: boolean
  /** Grows with every change of data, attributes or entries; lets a cache tell newer from older. */
  readonly version: number
  /** Number of its storage class; absent or 0: the cluster's default class. What is made in a directory inherits its own. */
  readonly classId?: number
}

/** A wish to change attributes; absent fields stay. `now` in a time means the master's clock at prepare. */
export interface AttrChange {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly size?: number | undefined
  readonly atime?: Time | 'now' | undefined
  readonly mtime?: Time | 'now' | undefined
  /** Clear S_ISUID, and S_ISGID where group execute is set: the door saw a write, truncate or chown by a non-owner. */
  readonly killSuidGid?: boolean | undefined
}

export const timeCompare = (a: Time, b: Time): number => a.sec - b.sec || a.nsec - b.nsec

/** The mode after set-id clearing (Linux setattr_should_drop_suidgid: S_ISGID only where the group may execute). */
export function withoutSetId(mode: number): number {
  const cleared = mode & ~0o4000
  return mode & 0o010 ? cleared & ~0o2000 : cleared
}

/** Attributes (without size) after a change at `now`; ACL effects of chmod are the master's business. */
export function changedAttr(attr: Attr, change: AttrChange, now: Time): Attr {
  let mode = change.mode === undefined ? attr.mode : change.mode & 0o7777
  if (change.killSuidGid) mode = withoutSetId(mode)
  const at = (time: Time | 'now' | undefined, old: Time): Time =>
    time === undefined ? old : time === 'now' ? now : time
  return {
    ...attr,
    mode,
    uid: change.uid ?? attr.uid,
    gid: change.gid ?? attr.gid,
    atime: at(change.atime, attr.atime),
    mtime: at(change.mtime, attr.mtime),
    ctime: now,
  }
}

/** Bytes that a directory shows per entry, so that an empty one and a full one differ. */
export const DIRECTORY_ENTRY_BYTES = 32

export interface NewInode {
  readonly ino: Ino
  readonly type: FileType
  /** Without the umask's bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  /** Of a symlink. */
  readonly target: string
}

/** A new inode in a directory without a default ACL: a set-gid directory passes on its group, and to directories the bit. */
export function newAttr(directory: Attr, wanted: NewInode, now: Time): Attr {
  const { ino, type, uid, rdev, target } = wanted
  const inherits = (directory.mode & 0o2000) !== 0
  const mode = type === 'symlink' ? 0o777 : wanted.mode
  const gid = inherits ? directory.gid : wanted.gid
  return {
    ...freshAttr(ino, type, inherits && type === 'dir' ? mode | 0o2000 : mode, { uid, gid }, now),
    rdev: type === 'char' || type === 'block' ? rdev : 0,
    size: type === 'symlink' ? target.length : 0,
    ...(directory.classId === undefined ? {} : { classId: directory.classId }),
  }
}

/** The attributes with another storage class; 0: the default one. */
export function withClass(attr: Attr, classId: number): Attr {
  if ((attr.classId ?? 0) === classId) return attr
  const { classId: _before, ...rest } = attr
  return classId === 0 ? rest : { ...rest, classId }
}

/** An empty file or directory as it begins. */
export function freshAttr(
  ino: Ino,
  type: FileType,
  mode: number,
  { uid, gid }: { readonly uid: number; readonly gid: number },
  now: Time,
): Attr {
  return {
    ino,
    type,
    mode,
    nlink: type === 'dir' ? 2 : 1,
    uid,
    gid,
    rdev: 0,
    size: 0,
    used: 0,
    atime: now,
    mtime: now,
    ctime: now,
    hasXattr: false,
    version: 1,
  }
}

/** A directory after entries came (or, negative, went), so many of them directories. */
export function directoryWith(attr: Attr, entries: number, subdirectories: number, now: Time): Attr {
  return {
    ...attr,
    nlink: attr.nlink + subdirectories,
    size: attr.size + entries * DIRECTORY_ENTRY_BYTES,
    mtime: now,
    ctime: now,
    version: attr.version + 1,
  }
}

/** Clocks differ: what changed later must not look older because another machine's clock said when. */
export const later = (a: Time, b: Time): Time => (timeCompare(a, b) < 0 ? b : a)
