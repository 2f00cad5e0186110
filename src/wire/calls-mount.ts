/* Rows of the call table: what a master answers to a mount, and what it tells a mount unasked. */

import type { Attr } from '../base/attr.ts'
import { FILE_BYTES_MAX, PATH_BYTES_MAX, XATTR_LIST_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../base/limits.ts'
import {
  bool,
  bytes,
  bytestr,
  list,
  nothing,
  oneOf,
  optional,
  type Schema,
  struct,
  text,
  uint,
} from '../base/schema.ts'
import { callsBy } from './call-row.ts'
import {
  attr,
  attrChange,
  chunk,
  chunkOffset,
  chunkPlaces,
  classPattern,
  declaredPlace,
  disk,
  extent,
  fileCommit,
  fileOffset,
  fileType,
  ino,
  killSuidGid,
  labels,
  lock,
  mode,
  NAME_CHANGES_MAX,
  name,
  nameChange,
  PATTERNS_MAX,
  session,
  settings,
  stamp,
  time,
  uid,
} from './shapes.ts'

/*
 * `parent` in the replies of namespace changes: the directory as it is afterwards. The kernel asks for it before the next
 * change in the same directory, and a round trip per created file is what it would cost.
 */
const found: Schema<Attr> = attr

/**
 * In the same replies: the session holds the directory from now on. Until the master recalls it, nobody else looks into it
 * or changes it, so the session may change names in it first and say so afterwards (`names`).
 */
const held = optional(bool)

const at = { session, ino }
const inDir = { parent: ino, name }

const call = callsBy('mount')

export const mountCalls = {
  // ---- sessions: what a master answers to a mount
  sessionOpen: call(
    10,
    'Begins a session. `client` is unique per start of a mount, so a repeated request answers the same session.',
    struct({ client: text(64), host: text(255), mountpoint: text(), version: text(64) }),
    struct({ session, timeoutMs: uint(), settings, now: time }),
    { failures: ['EUSERS'] },
  ),
  sessionResume: call(
    11,
    'After a lost connection or a restarted master: goes on with the session and says which inodes are held open.',
    struct({
      session,
      client: text(64),
      opens: list(ino, 1_000_000),
      /** Those of them that were made there and may be closed before they are committed. */
      made: list(ino, 1_000_000),
      /** Where names were changed that the master has not been told of: held again, unless somebody else was there. */
      directories: list(ino, 65536),
      /** Reserved numbers of inodes that may have been made and not told of. */
      numbers: list(struct({ first: ino, count: uint(65536) }), 16),
    }),
    struct({ timeoutMs: uint(), settings, now: time }),
    { failures: ['ESTALE'] },
  ),
  sessionClose: call(12, 'Ends a session: locks, opens and open chunks are cleaned up.', struct({ session }), nothing),
  sessionRenew: call(
    13,
    'Heartbeat. Everything that changed elsewhere before the answer was pushed before the answer.',
    struct({ session }),
    /** The master's clock, by which all times of files are told. */
    struct({ now: time }),
    { failures: ['ESTALE'] },
  ),
  sessionPlace: call(
    169,
    'What the configuration of a mount says of where it stands and which labels it reads from first. Only from those that say anything, after each sessionOpen and sessionResume.',
    struct({ session, place: declaredPlace, prefer: labels }),
    nothing,
    { failures: ['ESTALE', 'EINVAL'] },
  ),

  // ---- namespace and attributes
  lookup: call(
    20,
    'The inode that a name stands for; "." and ".." are answered.',
    struct({ session, ...inDir }),
    found,
    {
      failures: ['ENOENT', 'ENOTDIR', 'ESTALE'],
    },
  ),
  getattr: call(21, 'Attributes of an inode.', struct(at), found, { failures: ['ESTALE'] }),
  setattr: call(
    22,
    'Changes attributes; `size` truncates or extends.',
    struct({ stamp, ino, change: attrChange }),
    attr,
    {
      failures: ['ESTALE', 'EISDIR', 'EINVAL', 'EFBIG', 'EDQUOT'],
    },
  ),
  make: call(
    23,
    'Makes a node of any type but an open file (mkdir, mknod, symlink).',
    struct({
      stamp,
      ...inDir,
      type: fileType,
      mode,
      umask: mode,
      uid,
      gid: uid,
      rdev: uint(0xffff_ffff),
      target: bytestr(PATH_BYTES_MAX),
    }),
    struct({ attr, parent: optional(attr), held }),
    { failures: ['EEXIST', 'ENOENT', 'ENOTDIR', 'ESTALE', 'ENAMETOOLONG', 'EINVAL', 'EDQUOT', 'EMLINK'] },
  ),
  create: call(
    24,
    'Makes a regular file and opens it; an existing one is opened (EEXIST with `exclusive`).',
    struct({ stamp, ...inDir, mode, umask: mode, uid, gid: uid, exclusive: bool, truncate: bool, killSuidGid }),
    struct({
      attr,
      created: bool,
      parent: optional(attr),
      held,
      /** A quota that the file counts in is nearly used up: its close must not be answered before its commit. */
      careful: optional(bool),
    }),
    { failures: ['EEXIST', 'ENOENT', 'ENOTDIR', 'EISDIR', 'ESTALE', 'ENAMETOOLONG', 'EDQUOT', 'EINVAL'] },
  ),
  unlink: call(
    25,
    'Removes a name that is not a directory.',
    struct({ stamp, ...inDir }),
    struct({ ino, nlink: uint(), parent: optional(attr), held }),
    {
      failures: ['ENOENT', 'ENOTDIR', 'EISDIR', 'ESTALE'],
    },
  ),
  rmdir: call(
    26,
    'Removes an empty directory.',
    struct({ stamp, ...inDir }),
    struct({ ino, parent: optional(attr), held }),
    { failures: ['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EBUSY', 'EINVAL', 'ESTALE'] },
  ),
  rename: call(
    27,
    'rename(2) with RENAME_NOREPLACE and RENAME_EXCHANGE.',
    struct({ stamp, ...inDir, newParent: ino, newName: name, noReplace: bool, exchange: bool }),
    struct({ ino, replaced: optional(ino), parents: optional(list(attr, 2)) }),
    {
      failures: ['ENOENT', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'EINVAL', 'EBUSY', 'ESTALE', 'EMLINK', 'EDQUOT'],
    },
  ),
  link: call(
    28,
    'A further name for an inode that is not a directory.',
    struct({ stamp, ino, newParent: ino, newName: name }),
    attr,
    {
      failures: ['EEXIST', 'ENOENT', 'ENOTDIR', 'EPERM', 'EMLINK', 'ESTALE', 'EDQUOT'],
    },
  ),
  readlink: call(29, "A symlink's target.", struct(at), struct({ target: bytestr(PATH_BYTES_MAX) }), {
    failures: ['EINVAL', 'ESTALE'],
  }),
  readdir: call(
    30,
    'Entries after `cookie` with their attributes; fewer than `limit` only at the end.',
    struct({ session, ino, cookie: uint(), limit: uint(4096) }),
    struct({
      entries: list(struct({ name, cookie: uint(), attr }), 4096),
      end: bool,
      /** The directory's version: a listing put together from pages of one version is complete. */
      version: uint(),
    }),
    { failures: ['ENOTDIR', 'ESTALE'] },
  ),
  open: call(
    31,
    'Opens a file: attributes as of now, and its first extents, so that reading a small file needs nothing more.',
    struct({ ...at, write: bool }),
    struct({ attr, extents: list(extent, 256), complete: bool, chunks: list(chunkPlaces, 256) }),
    { failures: ['ESTALE', 'EISDIR'] },
  ),
  release: call(
    32,
    'These inodes are no longer open in this session.',
    struct({ session, inos: list(ino, 65536) }),
    nothing,
    {
      oneWay: true,
    },
  ),
  names: call(
    33,
    'Changes of names that the session has already carried out in directories that it holds, in their order. Each succeeds or fails by itself.',
    struct({ stamp, changes: list(nameChange, NAME_CHANGES_MAX) }),
    /** `parents`: every directory of them as it is now. */
    struct({ errnos: list(uint(4095), NAME_CHANGES_MAX), parents: list(attr, NAME_CHANGES_MAX) }),
    { failures: ['ESTALE'] },
  ),
  inosReserve: call(
    34,
    'Numbers for inodes that the session will make: `count` from `first` on belong to it for ever.',
    struct({ stamp, count: uint(65536) }),
    struct({ first: ino, count: uint(65536) }),
    { failures: ['ESTALE'] },
  ),
  letGo: call(
    35,
    'The session no longer holds these directories (none named: it holds none at all).',
    struct({ session, directories: list(ino, 65536) }),
    nothing,
    { oneWay: true },
  ),

  // ---- data
  locate: call(
    40,
    "A file's extents that touch the range, in order (at most 4 096; `upTo` says how far the answer is complete).",
    struct({ ...at, offset: fileOffset, length: uint() }),
    struct({ attr, extents: list(extent, 4096), upTo: uint(), chunks: list(chunkPlaces, 4096) }),
    { failures: ['ESTALE'] },
  ),
  chunkPlaces: call(
    41,
    'Where chunks are now (after a copy could not be read). Unknown chunks are left out.',
    struct({ session, chunks: list(chunk, 4096) }),
    struct({ chunks: list(chunkPlaces, 4096) }),
  ),
  chunkOpen: call(
    42,
    'New chunks for this session to write, each with its create-targets on different chunkservers.',
    struct({
      stamp,
      count: uint(64),
      kind: oneOf('pack', 'stream'),
      avoid: list(disk, 1024),
      /** Storage class of the files that will be in them; 0 = the default one. */
      classId: optional(uint()),
    }),
    /** `bytesMax`: how long they may become, where that is less than other chunks. */
    struct({ chunks: list(chunkPlaces, 64), bytesMax: optional(chunkOffset) }),
    { failures: ['ENOSPC', 'ESTALE'] },
  ),
  chunkSeal: call(
    43,
    'Ends a chunk at `length` (acknowledged by every target but the `failed` ones, which are dropped).',
    struct({ stamp, chunk, length: chunkOffset, failed: list(disk, 64) }),
    nothing,
    { failures: ['ENOENT', 'ESTALE', 'EINVAL'] },
  ),
  commit: call(
    44,
    'Makes extents visible, for many files at once. Each file succeeds or fails by itself; `sync` answers after the flush.',
    struct({ stamp, files: list(fileCommit, 4096), sync: bool }),
    struct({ files: list(struct({ errno: uint(4095), attr: optional(attr) }), 4096) }),
    { failures: ['ESTALE'] },
  ),
  fallocate: call(
    45,
    'Reserves (space is checked, the size may grow), punches a hole, or zeroes a range.',
    struct({
      stamp,
      ino,
      kind: oneOf('reserve', 'punch', 'zero'),
      keepSize: bool,
      offset: fileOffset,
      length: uint(FILE_BYTES_MAX),
      killSuidGid,
    }),
    attr,
    { failures: ['ESTALE', 'EFBIG', 'ENOSPC', 'EDQUOT', 'EINVAL'] },
  ),
  copyRange: call(
    46,
    'Shares extents of the source with the target: no data moves. Both must have been committed before.',
    struct({
      stamp,
      source: ino,
      sourceOffset: fileOffset,
      target: ino,
      targetOffset: fileOffset,
      length: uint(),
      killSuidGid,
    }),
    struct({ copied: uint(), attr }),
    { failures: ['ESTALE', 'EINVAL', 'EFBIG', 'EDQUOT', 'EISDIR'] },
  ),
  sync: call(47, 'Answers when everything committed before is flushed to disk.', struct({ session }), nothing),

  // ---- extended attributes and locks
  getxattr: call(
    50,
    'One extended attribute.',
    struct({ ...at, name }),
    struct({ value: bytes(XATTR_VALUE_BYTES_MAX) }),
    {
      failures: ['ENODATA', 'ESTALE', 'EOPNOTSUPP'],
    },
  ),
  setxattr: call(
    51,
    'Sets one extended attribute; a POSIX ACL also changes the mode, as acl(5) says.',
    struct({ stamp, ino, name, value: bytes(XATTR_VALUE_BYTES_MAX), create: bool, replace: bool, killSgid: bool }),
    attr,
    { failures: ['EEXIST', 'ENODATA', 'ESTALE', 'ERANGE', 'ENOSPC', 'EINVAL', 'EOPNOTSUPP'] },
  ),
  listxattr: call(
    52,
    'The names of all extended attributes.',
    struct(at),
    struct({ names: list(name, XATTR_LIST_BYTES_MAX) }),
    {
      failures: ['ESTALE'],
    },
  ),
  removexattr: call(53, 'Removes one extended attribute.', struct({ stamp, ino, name }), attr, {
    failures: ['ENODATA', 'ESTALE', 'EOPNOTSUPP'],
  }),
  getLock: call(
    55,
    'The first lock in the way of this one.',
    struct({ ...at, lock }),
    struct({ lock: optional(lock) }),
    {
      failures: ['ESTALE'],
    },
  ),
  setLock: call(
    56,
    'Takes, changes or gives back a lock; with `wait` the answer comes when it is granted (cancel: EINTR).',
    struct({ stamp, ino, lock, wait: bool }),
    nothing,
    { failures: ['EAGAIN', 'EDEADLK', 'EINTR', 'ESTALE'] },
  ),
  releaseLocks: call(
    57,
    "Gives back all of one owner's locks of a family on an inode.",
    struct({ stamp, ino, family: oneOf('posix', 'flock'), owner: text(16) }),
    nothing,
  ),
  statfs: call(
    58,
    'Space and inodes of the whole filesystem, or what a quota leaves of them to an inode; bytes are what files can hold at the present number of copies.',
    struct({ session, ino: optional(ino) }),
    struct({ totalBytes: uint(), freeBytes: uint(), availableBytes: uint(), files: uint(), filesFree: uint() }),
  ),
  invalidate: call(
    59,
    'From the master to a mount: this changed elsewhere. One way.',
    struct({
      inodes: list(struct({ ino, data: bool }), 65536),
      entries: list(struct({ parent: ino, name, child: optional(ino) }), 65536),
    }),
    nothing,
    { by: ['master'], oneWay: true },
  ),

  recall: call(
    60,
    'From the master to a mount: commit what you still hold of these inodes, or of `all`; hold these directories no more.',
    struct({ inos: list(ino, 4096), directories: list(ino, 4096), all: bool }),
    nothing,
    { by: ['master'] },
  ),
  classPatterns: call(
    61,
    'From the master to a mount, when a session begins and whenever they change: which storage class new files and directories have by their names and owners, the first that matches (class 0: the default one). One way.',
    struct({ patterns: list(classPattern, PATTERNS_MAX) }),
    nothing,
    { by: ['master'], oneWay: true },
  ),
}
