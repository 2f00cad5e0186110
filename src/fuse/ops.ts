/*
 * THE table of operations: what each opcode asks of the Vfs and how the answer is put into bytes.
 *
 * `call` decodes its request before it first waits (the request's memory belongs to the reader) and answers a value;
 * `reply` writes that value into the session's scratch buffer, synchronously. A refusal is thrown as FsError. Handles
 * carry the open flags and no state, so every operation works in a worker that never saw the open.
 */

import type { Attr } from '../base/attr.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import { PATH_BYTES_MAX } from '../base/limits.ts'
import type { FileLock, NewNode } from '../client/vfs.ts'
import {
  type Created,
  changeXattr,
  copyRange,
  create,
  fallocateMode,
  getxattr,
  listxattr,
  lockOf,
  lockSummary,
  make,
  noted,
  type Opened,
  open,
  quoted,
  renameCall,
  renameSummary,
  replySized,
  setattrChange,
  setxattr,
} from './calls.ts'
import {
  ENTRY_OUT_BYTES,
  putAttrOut,
  putEntry,
  putLock,
  putNegativeEntry,
  putOpen,
  putSize,
  putStatFs,
  putU64,
  type Request,
  typeOfMode,
} from './codec.ts'
import { type Door, type FuseCaller, VALIDITY } from './door.ts'
import { MAX_WRITE_BYTES } from './init.ts'
import { type Listing, readDirectory, replyDirectory } from './list.ts'
import {
  COPY_IN,
  CREATE_IN,
  FALLOCATE_IN,
  FLUSH_IN,
  FOPEN,
  FSYNC_IN,
  GETXATTR_IN,
  IO_IN,
  LINK_IN,
  LK_IN,
  LSEEK_IN,
  MKDIR_IN,
  MKNOD_IN,
  O_APPEND,
  OPCODES,
  OPEN_IN,
  type OpcodeName,
  RELEASE_FLOCK_UNLOCK,
  RELEASE_IN,
  RENAME_IN,
  RENAME2_IN,
  SEEK_DATA,
  SEEK_HOLE,
  SETATTR_IN,
  SETXATTR_IN_SHORT_BYTES,
  U64_OUT,
  WRITE_KILL_SUIDGID,
} from './protocol.ts'

/** A reply's bytes: written at `at` of the scratch buffer and counted, or buffers of the vfs's own, sent as they are. */
export type ReplyBody = number | readonly Buffer[]

export interface Op {
  readonly name: OpcodeName
  /** Bytes that the structure must have, header excluded. */
  readonly need: number
  /**
   * An interrupt of a question is answered at once, whatever the vfs is doing; an interrupt of a change is passed on
   * through Caller.signal and answered when the vfs says whether it happened.
   */
  readonly changes: boolean
  /** Waiting is its purpose: never reported as slow. */
  readonly waits?: boolean
  call(request: Request, door: Door, caller: FuseCaller): Promise<unknown> | unknown
  reply(out: Buffer, at: number, value: unknown): ReplyBody
  /** Arguments for the operation log; absent: nothing worth a word. */
  summary?(request: Request): string
}

interface OpSpec<T> {
  need?: number
  changes?: boolean
  waits?: boolean
  call(request: Request, door: Door, caller: FuseCaller): Promise<T> | T
  reply?(out: Buffer, at: number, value: T): ReplyBody
  summary?(request: Request): string
}

const nothing = (): number => 0

function op<T>(name: OpcodeName, spec: OpSpec<T>): Op {
  const reply = (spec.reply ?? nothing) as Op['reply']
  const base = { name, need: spec.need ?? 0, changes: spec.changes ?? false, call: spec.call, reply }
  return {
    ...base,
    ...(spec.waits === undefined ? {} : { waits: spec.waits }),
    ...(spec.summary === undefined ? {} : { summary: spec.summary }),
  }
}

const replyEntry = (out: Buffer, at: number, attr: Attr): number => putEntry(out, at, attr, VALIDITY)
const replyAttr = (out: Buffer, at: number, attr: Attr): number => putAttrOut(out, at, attr, VALIDITY)
const nameAt =
  (at: number) =>
  (r: Request): string =>
    quoted(r.name(at).text)

const refuse = (code: 'ENOSYS' | 'ENOTTY' | 'EOPNOTSUPP') => (): never => {
  throw new FsError(code)
}

const ioSummary = (r: Request): string => `${r.u64(IO_IN.at.offset)}+${r.u32(IO_IN.at.size)}`

const TABLE: readonly Op[] = [
  op<Attr | undefined>('LOOKUP', {
    summary: nameAt(0),
    async call(r, door, caller) {
      const { text } = r.name(0)
      try {
        // "." is how the kernel turns a file handle (NFS) back into an inode, of any type.
        const found = text === '.' ? door.vfs.getattr(r.ino, caller) : door.vfs.lookup(r.ino, text, caller)
        return await noted(door, found)
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined
        throw error
      }
    },
    reply: (out, at, attr) => (attr === undefined ? putNegativeEntry(out, at, VALIDITY) : replyEntry(out, at, attr)),
  }),
  op<Attr>('GETATTR', { call: (r, door, caller) => noted(door, door.vfs.getattr(r.ino, caller)), reply: replyAttr }),
  op<Attr>('SETATTR', {
    need: SETATTR_IN.size,
    changes: true,
    summary: (r) => JSON.stringify(setattrChange(r)),
    call: (r, door, caller) => noted(door, door.vfs.setattr(r.ino, setattrChange(r), caller)),
    reply: replyAttr,
  }),
  op<string>('READLINK', {
    call: (r, door, caller) => door.vfs.readlink(r.ino, caller),
    reply: (out, at, target) => out.write(target, at, 'latin1'),
  }),
  op<Attr>('SYMLINK', {
    changes: true,
    summary: nameAt(0),
    call(r, door, caller) {
      const name = r.name(0)
      const target = r.string(name.next).text
      if (target.length > PATH_BYTES_MAX) throw new FsError('ENAMETOOLONG')
      return make(r, door, caller, { name: name.text, umask: 0, node: { type: 'symlink', mode: 0o777, target } })
    },
    reply: replyEntry,
  }),
  op<Attr>('MKNOD', {
    need: MKNOD_IN.size,
    changes: true,
    summary: nameAt(MKNOD_IN.size),
    call(r, door, caller) {
      const mode = r.u32(MKNOD_IN.at.mode)
      const type = typeOfMode(mode)
      if (type === 'dir' || type === 'symlink') throw new FsError('EINVAL', 'mknod type')
      const node = { type, mode: mode & 0o7777, rdev: r.u32(MKNOD_IN.at.rdev) }
      return make(r, door, caller, { name: r.name(MKNOD_IN.size).text, umask: r.u32(MKNOD_IN.at.umask), node })
    },
    reply: replyEntry,
  }),
  op<Attr>('MKDIR', {
    need: MKDIR_IN.size,
    changes: true,
    summary: nameAt(MKDIR_IN.size),
    call(r, door, caller) {
      const node: NewNode = { type: 'dir', mode: r.u32(MKDIR_IN.at.mode) & 0o7777 }
      return make(r, door, caller, { name: r.name(MKDIR_IN.size).text, umask: r.u32(MKDIR_IN.at.umask), node })
    },
    reply: replyEntry,
  }),
  op<void>('UNLINK', {
    changes: true,
    summary: nameAt(0),
    call: (r, door, caller) => door.vfs.unlink(r.ino, r.name(0).text, caller),
  }),
  op<void>('RMDIR', {
    changes: true,
    summary: nameAt(0),
    call: (r, door, caller) => door.vfs.rmdir(r.ino, r.name(0).text, caller),
  }),
  op<void>('RENAME', {
    need: RENAME_IN.size,
    changes: true,
    summary: renameSummary(RENAME_IN.size),
    call: (r, door, caller) => renameCall(r, door, caller, RENAME_IN.size, 0),
  }),
  op<void>('RENAME2', {
    need: RENAME2_IN.size,
    changes: true,
    summary: renameSummary(RENAME2_IN.size),
    call: (r, door, caller) => renameCall(r, door, caller, RENAME2_IN.size, r.u32(RENAME2_IN.at.flags)),
  }),
  op<Attr>('LINK', {
    need: LINK_IN.size,
    changes: true,
    summary: (r) => `${r.u64(LINK_IN.at.oldnodeid)} as ${quoted(r.name(LINK_IN.size).text)}`,
    call: (r, door, caller) =>
      noted(door, door.vfs.link(r.inoAt(LINK_IN.at.oldnodeid), r.ino, r.name(LINK_IN.size).text, caller)),
    reply: replyEntry,
  }),
  op<Opened>('OPEN', {
    need: OPEN_IN.size,
    changes: true,
    summary: (r) => `flags 0${r.u32(OPEN_IN.at.flags).toString(8)}`,
    call: open,
    reply: (out, at, opened) => putOpen(out, at, opened.flags, opened.openFlags),
  }),
  op<Created>('CREATE', {
    need: CREATE_IN.size,
    changes: true,
    summary: nameAt(CREATE_IN.size),
    call: create,
    reply(out, at, { attr, flags }) {
      replyEntry(out, at, attr)
      return ENTRY_OUT_BYTES + putOpen(out, at + ENTRY_OUT_BYTES, flags, FOPEN.KEEP_CACHE)
    },
  }),
  op<readonly Buffer[]>('READ', {
    need: IO_IN.size,
    summary: ioSummary,
    call(r, door, caller) {
      const length = Math.min(r.u32(IO_IN.at.size), MAX_WRITE_BYTES)
      return door.vfs.read(r.ino, r.offset(IO_IN.at.offset), length, caller)
    },
    reply: (_out, _at, slices) => slices,
  }),
  op<number>('WRITE', {
    need: IO_IN.size,
    changes: true,
    summary: ioSummary,
    async call(r, door, caller) {
      const size = r.u32(IO_IN.at.size)
      const options = {
        append: (r.u32(IO_IN.at.flags) & O_APPEND) !== 0,
        killSuidGid: (r.u32(IO_IN.at.ioFlags) & WRITE_KILL_SUIDGID) !== 0,
      }
      await door.vfs.write(r.ino, r.offset(IO_IN.at.offset), r.bytes(IO_IN.size, size), options, caller)
      return size
    },
    reply: putSize,
  }),
  op('STATFS', { call: (r, door, caller) => door.vfs.statfs(r.ino, caller), reply: putStatFs }),
  op<void>('RELEASE', {
    need: RELEASE_IN.size,
    changes: true,
    async call(r, door) {
      const node = r.ino
      const unlock = (r.u32(RELEASE_IN.at.releaseFlags) & RELEASE_FLOCK_UNLOCK) !== 0
      const owner = r.owner(RELEASE_IN.at.lockOwner)
      door.vfs.release(node)
      if (unlock) await door.vfs.releaseLocks(node, 'flock', owner)
    },
  }),
  op<void>('FLUSH', {
    need: FLUSH_IN.size,
    changes: true,
    async call(r, door, caller) {
      const node = r.ino
      const owner = r.owner(FLUSH_IN.at.lockOwner)
      // Data first: whoever gets the lock next must see what was written under it.
      try {
        await door.vfs.flush(node, caller)
      } finally {
        await door.vfs.releaseLocks(node, 'posix', owner, caller)
      }
    },
  }),
  op<void>('FSYNC', { need: FSYNC_IN.size, changes: true, call: (r, door, caller) => door.vfs.fsync(r.ino, caller) }),
  op<void>('FSYNCDIR', {
    need: FSYNC_IN.size,
    changes: true,
    call: (r, door, caller) => door.vfs.fsync(r.ino, caller),
  }),
  op<void>('SYNCFS', { changes: true, call: (_r, door, caller) => door.vfs.syncfs(caller) }),
  op<void>('SETXATTR', { need: SETXATTR_IN_SHORT_BYTES, changes: true, call: setxattr }),
  op('GETXATTR', {
    need: GETXATTR_IN.size,
    summary: (r) => quoted(r.string(GETXATTR_IN.size).text),
    call: getxattr,
    reply: replySized,
  }),
  op('LISTXATTR', { need: GETXATTR_IN.size, call: listxattr, reply: replySized }),
  op<void>('REMOVEXATTR', {
    changes: true,
    summary: (r) => quoted(r.string(0).text),
    call(r, door, caller) {
      const node = r.ino
      const { text } = r.string(0)
      return changeXattr(door, node, () => door.vfs.removexattr(node, text, caller))
    },
  }),
  op<number>('OPENDIR', {
    need: OPEN_IN.size,
    call: (r) => r.u32(OPEN_IN.at.flags),
    reply: (out, at, flags) => putOpen(out, at, flags, 0),
  }),
  op<Listing>('READDIR', {
    need: IO_IN.size,
    summary: ioSummary,
    call: (r, door, caller) => readDirectory(r, door, caller, false),
    reply: replyDirectory,
  }),
  op<Listing>('READDIRPLUS', {
    need: IO_IN.size,
    summary: ioSummary,
    call: (r, door, caller) => readDirectory(r, door, caller, true),
    reply: replyDirectory,
  }),
  op<undefined>('RELEASEDIR', { call: () => undefined }),
  op<FileLock | undefined>('GETLK', {
    need: LK_IN.size,
    summary: lockSummary,
    call: (r, door, caller) => door.vfs.getLock(r.ino, lockOf(r), caller),
    reply: putLock,
  }),
  op<void>('SETLK', {
    need: LK_IN.size,
    changes: true,
    summary: lockSummary,
    call: (r, door, caller) => door.vfs.setLock(r.ino, lockOf(r), false, caller),
  }),
  op<void>('SETLKW', {
    need: LK_IN.size,
    changes: true,
    waits: true,
    summary: lockSummary,
    call: (r, door, caller) => door.vfs.setLock(r.ino, lockOf(r), true, caller),
  }),
  op<void>('FALLOCATE', {
    need: FALLOCATE_IN.size,
    changes: true,
    summary: (r) =>
      `${r.u64(FALLOCATE_IN.at.offset)}+${r.u64(FALLOCATE_IN.at.length)} mode ${r.u32(FALLOCATE_IN.at.mode)}`,
    call(r, door, caller) {
      const at = FALLOCATE_IN.at
      return door.vfs.fallocate(r.ino, fallocateMode(r.u32(at.mode)), r.offset(at.offset), r.offset(at.length), caller)
    },
  }),
  op<number>('LSEEK', {
    need: LSEEK_IN.size,
    call(r, door, caller) {
      const whence = r.u32(LSEEK_IN.at.whence)
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('EINVAL', 'whence')
      return door.vfs.seek(r.ino, r.offset(LSEEK_IN.at.offset), whence === SEEK_DATA ? 'data' : 'hole', caller)
    },
    reply: putU64Reply,
  }),
  op<number>('COPY_FILE_RANGE', { need: COPY_IN.size, changes: true, call: copyRange, reply: putSize }),
  op<number>('COPY_FILE_RANGE_64', { need: COPY_IN.size, changes: true, call: copyRange, reply: putU64Reply }),
  // The kernel checks permissions itself (default_permissions) and never asks.
  op<void>('ACCESS', { call: refuse('ENOSYS') }),
  op<void>('IOCTL', { call: refuse('ENOTTY') }),
  op<void>('POLL', { call: refuse('ENOSYS') }),
  op<void>('BMAP', { call: refuse('ENOSYS') }),
  op<void>('STATX', { call: refuse('ENOSYS') }),
  op<void>('TMPFILE', { call: refuse('EOPNOTSUPP') }),
]

function putU64Reply(out: Buffer, at: number, value: number): number {
  putU64(out, value, at)
  return U64_OUT.size
}

/** Operations by opcode; a hole in it is an opcode that we do not know. */
export const OPS: readonly (Op | undefined)[] = (() => {
  const byOpcode: (Op | undefined)[] = []
  for (const row of TABLE) byOpcode[OPCODES[row.name]] = row
  return byOpcode
})()

/** The largest request that can arrive, and the slack that the kernel insists on beyond max_write. */
export const REQUEST_BYTES_MAX = MAX_WRITE_BYTES + 4096
