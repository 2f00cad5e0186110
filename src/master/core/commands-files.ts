/* Rows of the table of commands: sessions, names, data, attributes and locks. */

import { NAME_BYTES_MAX, PATH_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../../base/limits.ts'
import { bool, bytes, bytestr, list, oneOf, optional, struct, text, uint } from '../../base/schema.ts'
import {
  attrChange,
  chunk,
  chunkOffset,
  disk,
  fileCommit,
  fileOffset,
  fileType,
  ino,
  lock,
  mode,
  NAME_CHANGES_MAX,
  name,
  nameChange,
  session,
  uid,
} from '../../wire/shapes.ts'
import { command, openIn } from './command-row.ts'

export const fileCommands = {
  // ---- sessions
  sessionOpen: command(
    1,
    'sessionOpen',
    'A mount begins. Repeated with the same client: the same session.',
    struct({
      session,
      client: text(64),
      host: text(255),
      mountpoint: text(),
      version: text(64),
    }),
  ),
  /** Ends a session: its locks, its sustained inodes, its open chunks (sealed at the committed length). */
  sessionEnd: command(
    2,
    undefined,
    'A session is over (closed or expired).',
    struct({ session, reason: oneOf('closed', 'expired') }),
  ),
  /** While something is left of an ended session that had more than one command clears. */
  sessionCleared: command(
    3,
    undefined,
    'The next locks, held inodes, open chunks and answers of an ended session are given up.',
    struct({ limit: uint(65536) }),
  ),
  // ---- namespace
  make: command(
    10,
    'make',
    'A node that is not an open file.',
    struct({
      parent: ino,
      name,
      ino,
      type: fileType,
      mode,
      umask: mode,
      uid,
      gid: uid,
      rdev: uint(0xffff_ffff),
      target: bytestr(PATH_BYTES_MAX),
    }),
  ),
  create: command(
    11,
    'create',
    'A regular file; an existing one is answered (and truncated) unless exclusive.',
    struct({
      parent: ino,
      name,
      ino,
      mode,
      umask: mode,
      uid,
      gid: uid,
      exclusive: bool,
      truncate: bool,
      killSuidGid: optional(bool),
    }),
  ),
  unlink: command(
    12,
    'unlink',
    'A name goes. The last one: to the trash, or sustained while open, or gone.',
    struct({
      parent: ino,
      name,
      openIn,
    }),
  ),
  rmdir: command(13, 'rmdir', 'An empty directory goes.', struct({ parent: ino, name })),
  rename: command(
    14,
    'rename',
    'rename(2).',
    struct({
      parent: ino,
      name,
      newParent: ino,
      newName: name,
      noReplace: bool,
      exchange: bool,
      openIn,
    }),
  ),
  link: command(15, 'link', 'A further name.', struct({ ino, newParent: ino, newName: name })),
  setattr: command(16, 'setattr', 'Attributes and size.', struct({ ino, change: attrChange })),
  /** Sustained inodes that no session holds any more. */
  released: command(
    17,
    undefined,
    'Sessions gave up their last open of unlinked inodes.',
    struct({ session, inos: list(ino, 65536) }),
  ),
  /** One after the other as if each were a command of its own; `openIn` of each change as in `unlink`. */
  names: command(
    18,
    'names',
    'Names changed by the session that holds their directories.',
    struct({
      changes: list(nameChange, NAME_CHANGES_MAX),
      openIn: list(openIn, NAME_CHANGES_MAX),
    }),
  ),
  inosReserve: command(19, 'inosReserve', 'Inode numbers given to a session.', struct({ count: uint(65536) })),
  // ---- data
  chunkOpen: command(
    20,
    'chunkOpen',
    'New chunks for a session, with their chosen disks.',
    struct({
      chunks: list(struct({ chunk, disks: list(disk, 64) }), 64),
      copies: uint(64),
      /** How long they may become, where that is less than other chunks. */
      bytesMax: optional(chunkOffset),
      /** Storage class of the files that will be in them. */
      classId: optional(uint()),
    }),
  ),
  chunkSeal: command(
    21,
    'chunkSeal',
    'A chunk ends at a length; failed targets are dropped.',
    struct({
      chunk,
      length: chunkOffset,
      failed: list(disk, 64),
    }),
  ),
  commit: command(22, 'commit', 'Extents become visible.', struct({ files: list(fileCommit, 4096) })),
  fallocate: command(
    23,
    'fallocate',
    'Reserve, punch, zero.',
    struct({
      ino,
      /** The wire call's kind; a command's own kind is its name. */
      what: oneOf('reserve', 'punch', 'zero'),
      keepSize: bool,
      offset: fileOffset,
      length: fileOffset,
      killSuidGid: optional(bool),
    }),
  ),
  copyRange: command(
    24,
    'copyRange',
    'Extents shared.',
    struct({
      source: ino,
      sourceOffset: fileOffset,
      target: ino,
      targetOffset: fileOffset,
      length: uint(),
      killSuidGid: optional(bool),
    }),
  ),
  /** Before a truncation to `size` of a file with more extents there than one command should cut. */
  shrunk: command(
    25,
    undefined,
    'A step of truncating a long file: the last extents go, and the file ends where they began.',
    struct({ ino, size: fileOffset, limit: uint(65536) }),
  ),
  // ---- attributes and locks
  setxattr: command(
    30,
    'setxattr',
    'One extended attribute.',
    struct({
      ino,
      name: bytestr(NAME_BYTES_MAX),
      value: bytes(XATTR_VALUE_BYTES_MAX),
      create: bool,
      replace: bool,
      killSgid: bool,
    }),
  ),
  removexattr: command(31, 'removexattr', 'One less.', struct({ ino, name: bytestr(NAME_BYTES_MAX) })),
  /** Never waits: a conflicting lock is refused with EAGAIN; the shell repeats waiting ones when something was given back. */
  setLock: command(32, 'setLock', 'A lock is taken, changed or given back.', struct({ ino, lock })),
  releaseLocks: command(
    33,
    'releaseLocks',
    "An owner's locks go.",
    struct({ ino, family: oneOf('posix', 'flock'), owner: text(16) }),
  ),
}
