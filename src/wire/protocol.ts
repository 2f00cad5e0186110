/*
 * THE call table: everything two processes of Holdfast can say to each other. Client methods, handler types, metric names,
 * the protocol page and the golden tests derive from it; there is no second list.
 *
 * A row: `id` (never reused), `since` (protocol version), request and reply shapes, the failures a caller must expect
 * beside transport failures, `idempotent` (may be sent again after a lost link without more ado), `bulk` (raw bytes ride
 * beside the body, in which direction), `oneWay` (no reply).
 *
 * Calls that change the master's state begin with a `stamp`: (session, seq) names the request once and for all. The master
 * remembers the reply of every stamp until a later request of the session says `acked` above it, so a repeated request is
 * answered, not executed again. All such calls are therefore idempotent on the wire.
 */

import type { Attr } from '../base/attr.ts'
import type { Errno } from '../base/errno.ts'
import {
  BULK_BYTES_MAX,
  EC_DATA_MAX,
  EC_PARITY_MAX,
  EC_PARTS_MAX,
  FILE_BYTES_MAX,
  PATH_BYTES_MAX,
  XATTR_LIST_BYTES_MAX,
  XATTR_VALUE_BYTES_MAX,
} from '../base/limits.ts'
import {
  bool,
  bytes,
  bytestr,
  type Infer,
  list,
  nothing,
  oneOf,
  optional,
  report,
  type Schema,
  struct,
  text,
  uint,
} from '../base/schema.ts'
import type {
  ChangelogPage,
  CheckPage,
  ClassesReport,
  ClassMoves,
  DiskReport,
  FileReport,
  JobReport,
  NodeReport,
  QuotaPage,
  QuotaReport,
  StatusReport,
  TrashPage,
} from './reports.ts'
import {
  attr,
  attrChange,
  CLASS_MOVES_MAX,
  CLASS_OF_MAX,
  chunk,
  chunkOffset,
  chunkPlaces,
  classPattern,
  classText,
  DELETED_MAX,
  DELETED_SESSIONS_MAX,
  declaredPlace,
  deletedFile,
  disk,
  diskState,
  extent,
  fileCommit,
  fileOffset,
  fileType,
  ino,
  inventoryEntry,
  killSuidGid,
  labels,
  lock,
  mode,
  moving,
  NAME_CHANGES_MAX,
  name,
  nameChange,
  node,
  place,
  quotaLimits,
  RETENTION_OF_MAX,
  session,
  settings,
  stamp,
  time,
  uid,
} from './shapes.ts'

export const PROTOCOL_VERSION = 1

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

/** Which part of an erasure-coded chunk. */
const ecIndex = uint(EC_PARTS_MAX - 1)

type BulkDirection = 'none' | 'request' | 'reply'
interface Row<Q, R> {
  readonly id: number
  readonly since: number
  readonly request: Schema<Q>
  readonly reply: Schema<R>
  readonly failures: readonly Errno[]
  readonly idempotent: boolean
  readonly bulk: BulkDirection
  readonly oneWay: boolean
  /** One sentence for the protocol page. */
  readonly says: string
}

function call<Q, R>(
  id: number,
  says: string,
  request: Schema<Q>,
  reply: Schema<R>,
  rest: {
    failures?: readonly Errno[]
    idempotent?: boolean
    bulk?: BulkDirection
    oneWay?: boolean
    since?: number
  } = {},
): Row<Q, R> {
  return {
    id,
    since: rest.since ?? 1,
    request,
    reply,
    failures: rest.failures ?? [],
    idempotent: rest.idempotent ?? true,
    bulk: rest.bulk ?? 'none',
    oneWay: rest.oneWay ?? false,
    says,
  }
}

const at = { session, ino }
const inDir = { parent: ino, name }

export const calls = {
  hello: call(
    1,
    'First on every connection, from the side that connected: who am I, which cluster do I expect.',
    struct({
      version: uint(),
      cluster: text(64),
      role: oneOf('mount', 'chunkserver', 'admin', 'master'),
      name: text(255),
    }),
    struct({
      version: uint(),
      cluster: text(64),
      role: oneOf('mount', 'chunkserver', 'admin', 'master'),
      name: text(255),
    }),
    { failures: ['EPROTO', 'EPERM'] },
  ),

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
    { oneWay: true },
  ),

  recall: call(
    60,
    'From the master to a mount: commit what you still hold of these inodes, or of `all`; hold these directories no more.',
    struct({ inos: list(ino, 4096), directories: list(ino, 4096), all: bool }),
    nothing,
  ),

  // ---- what a master answers to the command line
  status: call(
    70,
    'Roles, versions, capacity, chunk health, running work.',
    nothing,
    report<StatusReport>('StatusReport'),
  ),
  fileInfo: call(
    71,
    'Extents, chunks and copies of one file.',
    struct({ path: bytestr(PATH_BYTES_MAX) }),
    report<FileReport>('FileReport'),
    { failures: ['ENOENT', 'ENOTDIR'] },
  ),
  diskList: call(72, 'Every disk the cluster knows.', nothing, report<DiskReport[]>('DiskReport[]')),
  diskDrain: call(
    73,
    'Starts (or stops) moving everything off a disk.',
    struct({ stamp, disk, drain: bool, force: bool }),
    nothing,
    { failures: ['ENOENT', 'ENOSPC', 'EINVAL'] },
  ),
  diskRemove: call(
    74,
    'Forgets a disk. Refused (EBUSY) while it holds the only copy of anything, unless forced.',
    struct({ stamp, disk, force: bool }),
    nothing,
    { failures: ['ENOENT', 'EBUSY'] },
  ),
  diskAdd: call(
    75,
    'Tells a chunkserver to take a further directory into use.',
    struct({ node, spec: text() }),
    struct({ disk }),
    {
      failures: ['ENOENT', 'EINVAL', 'EIO', 'EEXIST', 'ENOTCONN', 'EACCES'],
    },
  ),
  trashList: call(
    76,
    'Deleted files, oldest expiry first, after `cursor`.',
    struct({ cursor: text(64), limit: uint(4096), match: text(4095) }),
    report<TrashPage>('TrashPage'),
  ),
  trashRestore: call(
    77,
    'Gives a deleted file its name back, or another path, or (`name`) another name where it was.',
    struct({ stamp, ino, path: optional(bytestr(PATH_BYTES_MAX)), name: optional(name) }),
    struct({ path: bytestr(PATH_BYTES_MAX) }),
    { failures: ['ENOENT', 'EEXIST', 'ENOTDIR', 'ENAMETOOLONG'] },
  ),
  trashPurge: call(
    78,
    'Deletes from the trash for good.',
    struct({ stamp, inos: list(ino, 4096) }),
    struct({ purged: uint() }),
  ),
  trashRetention: call(
    79,
    'Sets how long a file (or what is made in a directory) stays in the trash after its deletion.',
    struct({ stamp, path: bytestr(PATH_BYTES_MAX), retentionMs: uint() }),
    nothing,
    { failures: ['ENOENT', 'ENOTDIR'] },
  ),
  settingsSet: call(
    80,
    'Changes cluster settings; absent ones stay.',
    struct({
      stamp,
      copies: optional(uint(64)),
      graceMs: optional(uint()),
      trashRetentionMs: optional(uint()),
      sessionTimeoutMs: optional(uint()),
      backupLabels: optional(labels),
      moving: optional(moving),
    }),
    settings,
    { failures: ['EINVAL'] },
  ),
  classList: call(130, 'All storage classes and patterns.', nothing, report<ClassesReport>('ClassesReport')),
  classSet: call(
    131,
    'Makes a storage class (number 0), or changes one. The number is answered.',
    struct({ stamp, classId: uint(), text: classText }),
    struct({ classId: uint() }),
    { failures: ['EINVAL', 'EEXIST', 'ENOENT', 'ENOSPC'] },
  ),
  classRename: call(
    132,
    'Gives a storage class another name.',
    struct({ stamp, classId: uint(), name: text(255) }),
    nothing,
    { failures: ['EINVAL', 'EEXIST', 'ENOENT'] },
  ),
  classDelete: call(
    133,
    'Deletes a storage class that no file, directory or pattern has.',
    struct({ stamp, classId: uint() }),
    nothing,
    { failures: ['EINVAL', 'ENOENT', 'EBUSY'] },
  ),
  classOf: call(
    134,
    'Gives a file or directory a class; with `page`, what is in the directory: a page of it from a cookie on. Only what has class `onlyFrom`, if said.',
    struct({
      stamp,
      /** By path, or by number (a directory that a page before has named). */
      path: optional(bytestr(PATH_BYTES_MAX)),
      ino: optional(ino),
      classId: uint(),
      onlyFrom: optional(uint()),
      page: optional(struct({ cookie: uint(), limit: uint(CLASS_OF_MAX) })),
    }),
    struct({
      changed: uint(),
      /** What had the class already, or is not of `onlyFrom`. */
      left: uint(),
      /** Of a page: the directories in it, and where the next page begins (undefined: this was the last). */
      directories: list(ino, CLASS_OF_MAX),
      cookie: optional(uint()),
    }),
    { failures: ['EINVAL', 'ENOENT', 'ENOTDIR', 'ESTALE'] },
  ),
  classGet: call(
    135,
    'The class of a file or directory.',
    struct({ path: bytestr(PATH_BYTES_MAX) }),
    struct({ ino, type: fileType, classId: uint(), name: text(255) }),
    { failures: ['ENOENT', 'ENOTDIR'] },
  ),
  classMoves: call(
    138,
    'What would be copied if a class said this: a page of the chunks of that class, after the one named. Changes nothing.',
    struct({ classId: uint(), text: classText, after: uint(), limit: uint(CLASS_MOVES_MAX) }),
    report<ClassMoves>('ClassMoves'),
    { failures: ['EINVAL', 'ENOENT'] },
  ),
  patternSet: call(
    136,
    'What is made from now on with such a name or owner gets a class. Number 0: a new pattern.',
    struct({ stamp, number: uint(), pattern: classPattern }),
    struct({ number: uint() }),
    { failures: ['EINVAL', 'ENOENT', 'ENOSPC'] },
  ),
  patternDelete: call(137, 'Deletes a pattern.', struct({ stamp, number: uint() }), nothing, { failures: ['ENOENT'] }),
  changelogPage: call(
    81,
    'Commands from an index on (0 = the last `limit`), for people and tools.',
    struct({ from: uint(), limit: uint(4096) }),
    report<ChangelogPage>('ChangelogPage'),
  ),
  checkPage: call(
    82,
    'One bounded step of the metadata walk of `holdfast check`; `cursor` is empty at the start and at the end.',
    struct({ cursor: text(256), limit: uint(65536) }),
    report<CheckPage>('CheckPage'),
  ),

  nodeLabel: call(
    165,
    'Labels of a chunkserver from now on, whatever its configuration says; without any, what that says holds again.',
    struct({ stamp, node, labels: optional(labels) }),
    nothing,
    { failures: ['ENOENT', 'EINVAL'] },
  ),
  diskLabel: call(
    166,
    'The same of one disk: labels beside those of its chunkserver.',
    struct({ stamp, disk, labels: optional(labels) }),
    nothing,
    { failures: ['ENOENT', 'EINVAL'] },
  ),
  nodeList: call(167, 'Every chunkserver the cluster knows.', nothing, report<NodeReport[]>('NodeReport[]')),
  nodeGrace: call(
    170,
    "How long a chunkserver that is away is waited for; without it, the cluster's setting holds for it again.",
    struct({ stamp, node, graceMs: optional(uint()) }),
    nothing,
    { failures: ['ENOENT'] },
  ),
  nodeMaintenance: call(
    171,
    'For so long a chunkserver may be away without its chunks being copied elsewhere, unless they are endangered; 0 ends it.',
    struct({ stamp, node, forMs: uint() }),
    struct({ untilSec: uint() }),
    { failures: ['ENOENT', 'EINVAL'] },
  ),
  nodeDrain: call(
    172,
    'Starts (or stops) moving everything off all disks of a chunkserver.',
    struct({ stamp, node, drain: bool, force: bool }),
    nothing,
    { failures: ['ENOENT', 'ENOSPC', 'EINVAL'] },
  ),
  nodeRemove: call(
    173,
    'Forgets a chunkserver that is away, and its disks. Refused (EBUSY) while they hold the only copy of anything, unless forced.',
    struct({ stamp, node, force: bool }),
    nothing,
    { failures: ['ENOENT', 'EBUSY'] },
  ),
  topologyReload: call(
    168,
    "Reads the master's topology file again. Answers how many rules it has.",
    nothing,
    struct({ rules: uint() }),
    { failures: ['EINVAL', 'EACCES', 'EIO', 'EISDIR', 'ENOENT'] },
  ),
  quotaSet: call(
    155,
    'Limits what is in a directory; absent limits stay, 0 is none. Until everything in it is counted nothing is refused.',
    struct({
      stamp,
      path: bytestr(PATH_BYTES_MAX),
      inodes: quotaLimits,
      length: quotaLimits,
      raw: quotaLimits,
      graceMs: optional(uint()),
    }),
    nothing,
    { failures: ['ENOENT', 'ENOTDIR', 'EINVAL', 'EBUSY', 'ENOSPC'] },
  ),
  quotaDelete: call(
    156,
    'Takes the quota of a directory away.',
    struct({ stamp, path: bytestr(PATH_BYTES_MAX) }),
    nothing,
    { failures: ['ENOENT', 'ENOTDIR', 'ENODATA'] },
  ),
  quotaGet: call(
    157,
    'The quotas in which a path counts, the nearest first.',
    struct({ path: bytestr(PATH_BYTES_MAX) }),
    report<QuotaReport[]>('QuotaReport[]'),
    { failures: ['ENOENT', 'ENOTDIR'] },
  ),
  quotaList: call(
    158,
    'All quotas, after `cursor` (a directory; 0 = from the start).',
    struct({ cursor: ino, limit: uint(4096) }),
    report<QuotaPage>('QuotaPage'),
  ),

  // ---- snapshots and whole trees, asked for by the command line
  snapshotCreate: call(
    150,
    'Begins a snapshot: the target appears when it is complete, with what the source was at this moment.',
    struct({ stamp, source: bytestr(PATH_BYTES_MAX), target: bytestr(PATH_BYTES_MAX) }),
    struct({ job: uint() }),
    { failures: ['ENOENT', 'ENOTDIR', 'EEXIST', 'EINVAL', 'EBUSY', 'ENAMETOOLONG', 'ENOSPC'], idempotent: false },
  ),
  snapshotList: call(
    151,
    'Snapshots being made and trees being deleted, and the last that were.',
    nothing,
    report<JobReport[]>('JobReport[]'),
  ),
  snapshotCancel: call(152, 'Gives up a snapshot that is not complete.', struct({ stamp, job: uint() }), nothing, {
    failures: ['ENOENT', 'EINVAL'],
  }),
  treeDelete: call(
    153,
    'Deletes a directory with all that is in it (or a file), not by way of the trash.',
    struct({ stamp, path: bytestr(PATH_BYTES_MAX) }),
    struct({ job: uint() }),
    { failures: ['ENOENT', 'ENOTDIR', 'EINVAL', 'EBUSY'] },
  ),
  fileAppend: call(
    154,
    'Appends the bytes of a file to another by sharing them. `offset`: how long the other is now, so that nothing is appended twice.',
    struct({ stamp, source: bytestr(PATH_BYTES_MAX), target: bytestr(PATH_BYTES_MAX), offset: fileOffset }),
    struct({ size: fileOffset }),
    { failures: ['ENOENT', 'ENOTDIR', 'EISDIR', 'EINVAL', 'ESTALE', 'EFBIG', 'EAGAIN', 'EBUSY'], idempotent: false },
  ),

  // ---- deleted files, as the meta mount shows them
  deletedPage: call(
    160,
    'Deleted files in the trash from (`sec`, `ino`) on, in the order in which their time is over; or those held open, from `ino` on. `settle`: what mounts hold back is called in first. Session 0: an admin.',
    struct({
      session,
      of: oneOf('trash', 'sustained'),
      sec: uint(),
      ino,
      limit: uint(DELETED_MAX),
      settle: bool,
    }),
    struct({ files: list(deletedFile, DELETED_MAX), end: bool }),
    { failures: ['ESTALE'] },
  ),
  deletedFile: call(
    161,
    'A deleted file by its inode number. The session is told when it changes.',
    struct(at),
    deletedFile,
    { failures: ['ENOENT', 'ESTALE'] },
  ),
  deletedLocate: call(
    162,
    'Like `locate`, also of a file that is only in the trash.',
    struct({ ...at, offset: fileOffset, length: uint() }),
    struct({ attr, extents: list(extent, 4096), upTo: uint(), chunks: list(chunkPlaces, 4096) }),
    { failures: ['ESTALE'] },
  ),
  deletedCount: call(
    163,
    'How much is deleted and kept, and whose mounts there are (some thousand of them at most).',
    struct({ session }),
    struct({
      cluster: text(64),
      trashed: uint(),
      sustained: uint(),
      sessions: list(
        struct({ session, host: text(255), mountpoint: text(), connected: bool, openFiles: uint() }),
        DELETED_SESSIONS_MAX,
      ),
    }),
    { failures: ['ESTALE'] },
  ),
  retentionOf: call(
    164,
    'How long what is deleted stays in the trash, for a file or directory; with `page`, for what is in the directory: a page of it from a cookie on.',
    struct({
      stamp,
      /** By path, or by number (a directory that a page before has named). */
      path: optional(bytestr(PATH_BYTES_MAX)),
      ino: optional(ino),
      /** Undefined: as the cluster's setting says. */
      retentionMs: optional(uint()),
      page: optional(struct({ cookie: uint(), limit: uint(RETENTION_OF_MAX) })),
    }),
    struct({
      changed: uint(),
      /** What had it already. */
      left: uint(),
      directories: list(ino, RETENTION_OF_MAX),
      /** Where the next page begins; undefined: this was the last. */
      cookie: optional(uint()),
    }),
    { failures: ['EINVAL', 'ENOENT', 'ENOTDIR', 'ESTALE'] },
  ),

  // ---- what a master answers to a chunkserver
  nodeRegister: call(
    90,
    'A chunkserver is here: its address and disks. Answers the numbers of node and disks and how far their inventory is known.',
    struct({
      uuid: text(64),
      name: text(255),
      host: text(255),
      port: uint(65535),
      version: text(64),
      disks: list(diskState, 256),
      /** Where its configuration says that it stands, and what it calls it. */
      place: optional(declaredPlace),
      labels: optional(labels),
    }),
    struct({ node, disks: list(struct({ uuid: text(64), disk, knownSeq: uint() }), 256), heartbeatMs: uint() }),
    { failures: ['EINVAL', 'EEXIST'] },
  ),
  nodeHeartbeat: call(91, 'State and space of the disks.', struct({ node, disks: list(diskState, 256) }), nothing, {
    failures: ['ESTALE'],
  }),
  inventory: call(
    92,
    'What changed on a disk since `knownSeq`. `full`: the pages from fromSeq 0 to the one with `last` are all it holds.',
    struct({ node, disk, full: bool, first: bool, last: bool, seq: uint(), entries: list(inventoryEntry, 65536) }),
    /** Chunks on that disk that nobody needs: delete them. */
    struct({ unwanted: list(chunk, 65536) }),
    { failures: ['ESTALE'] },
  ),
  damaged: call(
    93,
    'Blocks that failed their CRC, or a whole copy that is unreadable (no blocks). The master orders the repair.',
    struct({ node, disk, chunk, blocks: list(uint(1023), 1024), detail: text() }),
    nothing,
    { failures: ['ESTALE'] },
  ),

  // ---- what a chunkserver answers to the master (orders)
  orderCopy: call(
    100,
    'Make a copy of a sealed chunk on one of your disks from another server. Resumes what an earlier try left. `urgent`: before others.',
    struct({
      disk,
      chunk,
      length: chunkOffset,
      sources: list(place, 64),
      bytesPerSecond: uint(),
      urgent: optional(bool),
    }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV'] },
  ),
  orderDelete: call(
    101,
    'Delete these chunks from a disk. Missing ones are no error.',
    struct({ disk, chunks: list(chunk, 4096) }),
    nothing,
    {
      failures: ['ENODEV', 'EIO'],
    },
  ),
  orderSeal: call(
    102,
    'Seal a chunk at the committed length: cut the scrap beyond, compute the digest, make it durable.',
    struct({ disk, chunk, length: chunkOffset }),
    struct({ digest: text(64) }),
    { failures: ['ENOENT', 'EIO', 'ERANGE', 'EBADMSG', 'ENODEV'] },
  ),
  orderRepair: call(
    103,
    'Rewrite damaged blocks of a copy from the given sources, verified.',
    struct({
      disk,
      chunk,
      blocks: list(uint(1023), 1024),
      sources: list(place, 64),
      /** The chunk is part `index` of this one: what no source has is decoded from the other parts. */
      whole: optional(chunkPlaces),
      index: optional(ecIndex),
      urgent: optional(bool),
    }),
    struct({ repaired: uint() }),
    { failures: ['ENOENT', 'EIO', 'EBADMSG', 'ETIMEDOUT', 'ENOSPC', 'ENODEV', 'EROFS'] },
  ),
  orderCompact: call(
    104,
    'Append these ranges of one or more chunks, in order, to a new chunk on the given targets and make it durable.',
    struct({
      ranges: list(struct({ source: chunkPlaces, offset: chunkOffset, length: chunkOffset }), 65536),
      chunk,
      targets: list(place, 64),
    }),
    struct({ length: chunkOffset }),
    { failures: ['EIO', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'ENODEV', 'EROFS'] },
  ),
  orderVerify: call(
    105,
    'Which of these chunks does the disk hold, and how long are they? With `deep` every block is read and checked.',
    struct({ disk, chunks: list(chunk, 4096), deep: bool }),
    struct({ chunks: list(inventoryEntry, 4096) }),
    { failures: ['ENODEV'] },
  ),
  orderDiskAdd: call(
    106,
    'Take a further directory into use (a line as in the disk list).',
    struct({ spec: text() }),
    struct({ uuid: text(64) }),
    {
      failures: ['EINVAL', 'EIO', 'EEXIST', 'EACCES'],
    },
  ),
  orderDiskRemove: call(107, 'Stop using a disk. Its files stay.', struct({ disk }), nothing, { failures: ['ENODEV'] }),
  orderEncode: call(
    108,
    'Append the data and parity parts of a sealed chunk to new chunks, one target each, durable. Goes on with what is there.',
    struct({
      source: chunkPlaces,
      data: uint(EC_DATA_MAX),
      parity: uint(EC_PARITY_MAX),
      parts: list(struct({ chunk, target: place }), EC_PARTS_MAX),
      bytesPerSecond: uint(),
    }),
    /** Of every part, in order: the lengths at which to seal them. */
    struct({ lengths: list(chunkOffset, EC_PARTS_MAX) }),
    {
      failures: [
        'EIO',
        'EINVAL',
        'ERANGE',
        'ENOSPC',
        'EBADMSG',
        'ETIMEDOUT',
        'ENOENT',
        'ENODEV',
        'EROFS',
        'EPERM',
        'EAGAIN',
      ],
    },
  ),
  orderRebuild: call(
    109,
    'Make part `index` of an erasure-coded chunk anew on one of your disks, from any of the others. Resumes like orderCopy.',
    struct({
      disk,
      chunk,
      index: ecIndex,
      length: chunkOffset,
      whole: chunkPlaces,
      bytesPerSecond: uint(),
      urgent: optional(bool),
    }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'EINVAL', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV', 'EAGAIN'] },
  ),
  orderJoin: call(
    110,
    'Make a copy of a whole erasure-coded chunk on one of your disks, from its parts. Resumes like orderCopy.',
    struct({ disk, chunk, whole: chunkPlaces, bytesPerSecond: uint() }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'EINVAL', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV', 'EAGAIN'] },
  ),

  // ---- data calls of a chunkserver, answered to mounts and other chunkservers
  append: call(
    120,
    'Appends the bulk bytes at `offset`. Bytes already there are skipped, a gap is ERANGE. `sync`: answer when durable.',
    struct({ disk, chunk, offset: chunkOffset, create: bool, sync: bool }),
    struct({ length: chunkOffset }),
    { failures: ['ENOENT', 'ERANGE', 'ENOSPC', 'EIO', 'EROFS', 'ENODEV', 'EFBIG', 'EPERM'], bulk: 'request' },
  ),
  read: call(
    121,
    'Bytes of a chunk, each block checked against its CRC; fewer than asked only at the end of the copy.',
    struct({ disk, chunk, offset: chunkOffset, length: uint(BULK_BYTES_MAX) }),
    nothing,
    { failures: ['ENOENT', 'EIO', 'EBADMSG', 'ENODEV'], bulk: 'reply' },
  ),
  syncChunk: call(
    122,
    'Answers when the first `length` bytes are durable; ERANGE when there are fewer.',
    struct({ disk, chunk, length: chunkOffset }),
    struct({ length: chunkOffset }),
    { failures: ['ENOENT', 'ERANGE', 'EIO', 'ENODEV', 'ENOSPC'] },
  ),
  fetch: call(
    123,
    'Whole blocks as stored with their CRCs, for copying and repair; the last block may be short.',
    struct({ disk, chunk, block: uint(1023), count: uint(64) }),
    struct({ length: chunkOffset, sealed: bool, crcs: list(uint(0xffff_ffff), 64) }),
    { failures: ['ENOENT', 'EIO', 'EBADMSG', 'ENODEV'], bulk: 'reply' },
  ),
} as const

export type Calls = typeof calls
export type CallName = keyof Calls
export type Request<C extends CallName> = Infer<Calls[C]['request']>
export type Reply<C extends CallName> = Infer<Calls[C]['reply']>

export const callNames = Object.keys(calls) as CallName[]
/** Rows by id, for decoding frames. */
export const callById: ReadonlyMap<number, CallName> = new Map(callNames.map((name) => [calls[name].id, name]))
export type CallRow = Row<unknown, unknown>

export type Hello = Request<'hello'>
export type Role = Hello['role']
