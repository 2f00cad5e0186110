/*
 * The filesystem as every door sees it: operations on inode numbers, with the caller's identity, answered with values or
 * an FsError. `/dev/fuse`, fuse-native and the gateways speak this and nothing below it.
 *
 * Names, symlink targets, xattr names are byte strings: JavaScript strings in which each char is one byte (latin1), so
 * that no name is ever changed by a text encoding. Permission checks are the door's (the kernel does them with
 * default_permissions); the vfs enforces what no door can: types, existence, emptiness, link counts, quotas, ACL
 * inheritance and set-id rules.
 *
 * Handles carry no state: whoever opened an inode says so with open() and release(), which only count, so that a file
 * unlinked while open lives on.
 */

import type { Attr, AttrChange, FileType } from '../base/attr.ts'
import type { Ino } from '../base/ids.ts'

/** Who asks. `signal` aborts when the kernel interrupts the request or the asking process dies. */
export interface Caller {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly umask: number
  readonly signal: AbortSignal
}

/** A directory entry with the attributes of what it names; `cookie` continues a listing after this entry. */
export interface Entry {
  readonly name: string
  readonly ino: Ino
  readonly type: FileType
  /** Stable over handles and restarts, 3 … 2^53−1 (1 and 2 are "." and "..", which the door adds, 0 is the start). */
  readonly cookie: number
  readonly attr: Attr
}

export interface NewNode {
  readonly type: FileType
  /** Permission bits as the caller gave them; the vfs applies Caller.umask, or the parent's default ACL instead. */
  readonly mode: number
  readonly rdev?: number
  /** symlink only */
  readonly target?: string
}

export interface StatFs {
  readonly blockSize: number
  readonly totalBytes: number
  readonly freeBytes: number
  readonly availableBytes: number
  readonly files: number
  readonly filesFree: number
}

export type LockKind = 'read' | 'write' | 'unlock'
/** A byte range lock; `end` is inclusive, Number.MAX_SAFE_INTEGER = to the end of the file. flock covers everything. */
export interface FileLock {
  readonly family: 'posix' | 'flock'
  readonly kind: LockKind
  /** The kernel's lock owner as 16 hex digits. */
  readonly owner: string
  readonly start: number
  readonly end: number
  readonly pid: number
}

export interface FallocateMode {
  readonly keepSize: boolean
  readonly kind: 'reserve' | 'punch' | 'zero'
}

export interface RenameFlags {
  readonly noReplace: boolean
  readonly exchange: boolean
}

/** What changed elsewhere; a door turns these into kernel invalidations. */
export type Invalidation =
  | { readonly kind: 'inode'; readonly ino: Ino /** false: attributes only */; readonly data: boolean }
  | {
      readonly kind: 'entry'
      readonly parent: Ino
      readonly name: string /** set when the name was removed */
      readonly child?: Ino
    }

export interface Vfs {
  /** "." and ".." are answered too (NFS export needs them). ENOENT when missing. */
  lookup(parent: Ino, name: string, caller: Caller): Promise<Attr>
  getattr(ino: Ino, caller: Caller): Promise<Attr>
  setattr(ino: Ino, change: AttrChange, caller: Caller): Promise<Attr>
  readlink(ino: Ino, caller: Caller): Promise<string>
  /** Makes anything but an open file: mkdir, mknod, symlink. EEXIST when the name is taken. */
  make(parent: Ino, name: string, node: NewNode, caller: Caller): Promise<Attr>
  /** O_CREAT: makes a regular file and opens it (counts as open()); without `exclusive` an existing file is opened. */
  create(
    parent: Ino,
    name: string,
    mode: number,
    flags: { exclusive: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<Attr>
  unlink(parent: Ino, name: string, caller: Caller): Promise<void>
  rmdir(parent: Ino, name: string, caller: Caller): Promise<void>
  rename(parent: Ino, name: string, newParent: Ino, newName: string, flags: RenameFlags, caller: Caller): Promise<void>
  link(ino: Ino, newParent: Ino, newName: string, caller: Caller): Promise<Attr>
  /** Entries after `cookie` (0 = from the start), at most `limit`; "." and ".." are not among them; empty = the end. */
  readdir(ino: Ino, cookie: number, limit: number, caller: Caller): Promise<Entry[]>

  /**
   * Attributes as of now at the master (close-to-open). `changed`: data differs from what this client last saw.
   * `stale`: the attributes are (or may be) others than this client answered last, so what the door cached of them is
   * not to be used for what is read through this open.
   */
  open(
    ino: Ino,
    flags: { write: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<{ attr: Attr; changed: boolean; stale: boolean }>
  /** The last use of one open() or create(); never fails. */
  release(ino: Ino): void
  /** The bytes there are, fewer than `length` only at the end of the file. Holes read as zeros. Slices, in order. */
  read(ino: Ino, offset: number, length: number, caller: Caller): Promise<Buffer[]>
  /** Takes over `data` (the caller must not reuse the memory). */
  write(
    ino: Ino,
    offset: number,
    data: Buffer,
    options: { append: boolean; killSuidGid: boolean },
    caller: Caller,
  ): Promise<void>
  /** close(2) of one descriptor: data and attributes become visible to everyone; reports earlier write errors. */
  flush(ino: Ino, caller: Caller): Promise<void>
  /** Durable on every create-copy, commit flushed. */
  fsync(ino: Ino, caller: Caller): Promise<void>
  syncfs(caller: Caller): Promise<void>
  fallocate(ino: Ino, mode: FallocateMode, offset: number, length: number, caller: Caller): Promise<void>
  /** By reference: no data moves. Answers the number of bytes copied (short at the source's end). */
  copyRange(
    source: Ino,
    sourceOffset: number,
    target: Ino,
    targetOffset: number,
    length: number,
    caller: Caller,
  ): Promise<number>
  seek(ino: Ino, offset: number, whence: 'data' | 'hole', caller: Caller): Promise<number>

  getxattr(ino: Ino, name: string, caller: Caller): Promise<Buffer>
  setxattr(
    ino: Ino,
    name: string,
    value: Buffer,
    flags: { create: boolean; replace: boolean; killSgid: boolean },
    caller: Caller,
  ): Promise<void>
  listxattr(ino: Ino, caller: Caller): Promise<string[]>
  removexattr(ino: Ino, name: string, caller: Caller): Promise<void>

  /** The first lock that would be in the way, or undefined (F_GETLK). */
  getLock(ino: Ino, lock: FileLock, caller: Caller): Promise<FileLock | undefined>
  /** `wait`: until granted or `caller.signal` (EINTR); else EAGAIN. */
  setLock(ino: Ino, lock: FileLock, wait: boolean, caller: Caller): Promise<void>
  /**
   * All locks of one owner on this inode (close of a descriptor for posix, release for flock). They go in any case; a
   * caller who is interrupted does not wait for that.
   */
  releaseLocks(ino: Ino, family: 'posix' | 'flock', owner: string, caller?: Caller): Promise<void>

  /** What a quota leaves of the filesystem to this inode, or the whole of it. */
  statfs(ino: Ino, caller: Caller): Promise<StatFs>

  /** Called for every change made elsewhere that this client may have shown. At most one listener. */
  onInvalidate(listener: (change: Invalidation) => void): void
  /** Writes everything out, ends the session. */
  close(): Promise<void>
}
