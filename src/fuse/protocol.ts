/*
 * The FUSE kernel protocol as tables: opcodes, flags, notify codes, and the layout of every structure that crosses
 * /dev/fuse. Version 7.45, little endian (x86-64, arm64), natural alignment with explicit padding as the kernel has it.
 *
 * Only numbers live here. Turning them into values is codec.ts; what an operation does is ops.ts. A layout lists its
 * fields in order and derives the offsets, so an offset is never typed by hand.
 */

export const KERNEL_MAJOR = 7
export const KERNEL_MINOR = 45
/** Below this the structures are shorter than these tables say (Linux 5.4 has 7.31; Debian 12 has 7.38). */
export const KERNEL_MINOR_MIN = 31

export const OPCODES = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const
export type OpcodeName = keyof typeof OPCODES

/** INIT flags as bit numbers: 0 … 31 travel in `flags`, 32 … 63 in `flags2`. */
export const INIT_BITS = {
  ASYNC_READ: 0,
  POSIX_LOCKS: 1,
  FILE_OPS: 2,
  ATOMIC_O_TRUNC: 3,
  EXPORT_SUPPORT: 4,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  SPLICE_WRITE: 7,
  SPLICE_MOVE: 8,
  SPLICE_READ: 9,
  FLOCK_LOCKS: 10,
  HAS_IOCTL_DIR: 11,
  AUTO_INVAL_DATA: 12,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  NO_OPEN_SUPPORT: 17,
  PARALLEL_DIROPS: 18,
  HANDLE_KILLPRIV: 19,
  POSIX_ACL: 20,
  ABORT_ERROR: 21,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  NO_OPENDIR_SUPPORT: 24,
  EXPLICIT_INVAL_DATA: 25,
  MAP_ALIGNMENT: 26,
  SUBMOUNTS: 27,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  SECURITY_CTX: 32,
  HAS_INODE_DAX: 33,
  CREATE_SUPP_GROUP: 34,
  HAS_EXPIRE_ONLY: 35,
  DIRECT_IO_ALLOW_MMAP: 36,
  PASSTHROUGH: 37,
  NO_EXPORT_SUPPORT: 38,
  HAS_RESEND: 39,
  ALLOW_IDMAP: 40,
  OVER_IO_URING: 41,
  REQUEST_TIMEOUT: 42,
} as const
export type InitFlag = keyof typeof INIT_BITS

export const NOTIFY = {
  POLL: 1,
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  STORE: 4,
  RETRIEVE: 5,
  DELETE: 6,
  RESEND: 7,
} as const

export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

export const FOPEN = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  NONSEEKABLE: 1 << 2,
  CACHE_DIR: 1 << 3,
  STREAM: 1 << 4,
  NOFLUSH: 1 << 5,
  PARALLEL_DIRECT_WRITES: 1 << 6,
} as const

export const OPEN_KILL_SUIDGID = 1 << 0
export const RELEASE_FLOCK_UNLOCK = 1 << 1
export const LK_FLOCK = 1 << 0
export const WRITE_KILL_SUIDGID = 1 << 2
export const SETXATTR_ACL_KILL_SGID = 1 << 0
export const RENAME_NOREPLACE = 1 << 0
export const RENAME_EXCHANGE = 1 << 1
export const XATTR_CREATE = 1 << 0
export const XATTR_REPLACE = 1 << 1
export const FALLOC = { KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, ZERO_RANGE: 0x10 } as const
export const SEEK_DATA = 3
export const SEEK_HOLE = 4
/** fcntl lock types as fuse_file_lock carries them. */
export const LOCK_TYPES = ['read', 'write', 'unlock'] as const

/** open(2) flags, equal on x86-64 and arm64 as far as they are used here. */
export const O_ACCMODE = 0o3
export const O_EXCL = 0o200
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000

type FieldType = 'u16' | 'u32' | 'u64'
const FIELD_BYTES = { u16: 2, u32: 4, u64: 8 } as const

export interface Layout<Name extends string> {
  readonly at: { readonly [N in Name]: number }
  readonly size: number
}

/** Fields in order, each on its natural alignment; `_` names are padding. The size is padded to `align`. */
function layout<const F extends Record<string, FieldType>>(fields: F, align = 8): Layout<keyof F & string> {
  const at: Record<string, number> = {}
  let offset = 0
  for (const [name, type] of Object.entries(fields)) {
    const bytes = FIELD_BYTES[type]
    offset = Math.ceil(offset / bytes) * bytes
    at[name] = offset
    offset += bytes
  }
  return { at: at as Layout<keyof F & string>['at'], size: Math.ceil(offset / align) * align }
}

export const IN_HEADER = layout({
  len: 'u32',
  opcode: 'u32',
  unique: 'u64',
  nodeid: 'u64',
  uid: 'u32',
  gid: 'u32',
  pid: 'u32',
  totalExtlen: 'u16',
  _padding: 'u16',
})
export const OUT_HEADER = layout({ len: 'u32', error: 'u32', unique: 'u64' })

export const ATTR = layout({
  ino: 'u64',
  size: 'u64',
  blocks: 'u64',
  atime: 'u64',
  mtime: 'u64',
  ctime: 'u64',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  nlink: 'u32',
  uid: 'u32',
  gid: 'u32',
  rdev: 'u32',
  blksize: 'u32',
  flags: 'u32',
})
/** fuse_entry_out before its attr. */
export const ENTRY = layout({
  nodeid: 'u64',
  generation: 'u64',
  entryValid: 'u64',
  attrValid: 'u64',
  entryValidNsec: 'u32',
  attrValidNsec: 'u32',
})
/** fuse_attr_out before its attr. */
export const ATTR_VALID = layout({ attrValid: 'u64', attrValidNsec: 'u32', _dummy: 'u32' })
export const OPEN_OUT = layout({ fh: 'u64', openFlags: 'u32', _padding: 'u32' })
/** fuse_write_out, fuse_getxattr_out and the 32-bit fuse_copy_file_range answer. */
export const SIZE_OUT = layout({ size: 'u32', _padding: 'u32' })
export const U64_OUT = layout({ value: 'u64' })
export const DIRENT = layout({ ino: 'u64', off: 'u64', namelen: 'u32', type: 'u32' })
export const STATFS_OUT = layout({
  blocks: 'u64',
  bfree: 'u64',
  bavail: 'u64',
  files: 'u64',
  ffree: 'u64',
  bsize: 'u32',
  namelen: 'u32',
  frsize: 'u32',
  _padding: 'u32',
  _spare0: 'u64',
  _spare1: 'u64',
  _spare2: 'u64',
})

export const INIT_IN = layout({ major: 'u32', minor: 'u32', maxReadahead: 'u32', flags: 'u32', flags2: 'u32' }, 4)
export const INIT_OUT = layout({
  major: 'u32',
  minor: 'u32',
  maxReadahead: 'u32',
  flags: 'u32',
  maxBackground: 'u16',
  congestionThreshold: 'u16',
  maxWrite: 'u32',
  timeGran: 'u32',
  maxPages: 'u16',
  mapAlignment: 'u16',
  flags2: 'u32',
  maxStackDepth: 'u32',
  requestTimeout: 'u16',
  _unused0: 'u16',
  _unused1: 'u32',
  _unused2: 'u64',
  _unused3: 'u64',
})
export const SETATTR_IN = layout({
  valid: 'u32',
  _padding: 'u32',
  fh: 'u64',
  size: 'u64',
  lockOwner: 'u64',
  atime: 'u64',
  mtime: 'u64',
  ctime: 'u64',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  _unused4: 'u32',
  uid: 'u32',
  gid: 'u32',
  _unused5: 'u32',
})
export const MKNOD_IN = layout({ mode: 'u32', rdev: 'u32', umask: 'u32', _padding: 'u32' })
export const MKDIR_IN = layout({ mode: 'u32', umask: 'u32' })
export const RENAME_IN = layout({ newdir: 'u64' })
export const RENAME2_IN = layout({ newdir: 'u64', flags: 'u32', _padding: 'u32' })
export const LINK_IN = layout({ oldnodeid: 'u64' })
export const OPEN_IN = layout({ flags: 'u32', openFlags: 'u32' })
export const CREATE_IN = layout({ flags: 'u32', mode: 'u32', umask: 'u32', openFlags: 'u32' })
export const RELEASE_IN = layout({ fh: 'u64', flags: 'u32', releaseFlags: 'u32', lockOwner: 'u64' })
export const FLUSH_IN = layout({ fh: 'u64', _unused: 'u32', _padding: 'u32', lockOwner: 'u64' })
/** fuse_read_in and fuse_write_in are alike; `ioFlags` is read_flags or write_flags. */
export const IO_IN = layout({
  fh: 'u64',
  offset: 'u64',
  size: 'u32',
  ioFlags: 'u32',
  lockOwner: 'u64',
  flags: 'u32',
  _padding: 'u32',
})
export const FSYNC_IN = layout({ fh: 'u64', fsyncFlags: 'u32', _padding: 'u32' })
export const SETXATTR_IN = layout({ size: 'u32', flags: 'u32', setxattrFlags: 'u32', _padding: 'u32' })
/** Without SETXATTR_EXT the structure ends after `flags`. */
export const SETXATTR_IN_SHORT_BYTES = 8
export const GETXATTR_IN = layout({ size: 'u32', _padding: 'u32' })
export const LK_IN = layout({
  fh: 'u64',
  owner: 'u64',
  start: 'u64',
  end: 'u64',
  type: 'u32',
  pid: 'u32',
  lkFlags: 'u32',
  _padding: 'u32',
})
export const FILE_LOCK = layout({ start: 'u64', end: 'u64', type: 'u32', pid: 'u32' })
export const INTERRUPT_IN = layout({ unique: 'u64' })
export const FALLOCATE_IN = layout({ fh: 'u64', offset: 'u64', length: 'u64', mode: 'u32', _padding: 'u32' })
export const LSEEK_IN = layout({ fh: 'u64', offset: 'u64', whence: 'u32', _padding: 'u32' })
export const COPY_IN = layout({
  fhIn: 'u64',
  offIn: 'u64',
  nodeidOut: 'u64',
  fhOut: 'u64',
  offOut: 'u64',
  len: 'u64',
  flags: 'u64',
})

export const INVAL_INODE_OUT = layout({ ino: 'u64', off: 'u64', len: 'u64' })
export const INVAL_ENTRY_OUT = layout({ parent: 'u64', namelen: 'u32', flags: 'u32' })
export const DELETE_OUT = layout({ parent: 'u64', child: 'u64', namelen: 'u32', _padding: 'u32' })
