/*
 * THE table of commands: everything that changes the master's state, as it stands in the changelog. A command is prepared
 * by the leader (time, new ids and chosen servers are filled in) and then applied by `apply`, which is deterministic,
 * total and the only code that changes state: live, replay, standby, offline check and simulator all call it.
 *
 * `id` is never reused. Fields travel as a tuple in the order of the table; new fields go last and are optional.
 * `from` names the wire call that it answers: the reply of `apply` has that call's shape and is remembered by the stamp.
 * Commands without `from` are the master's own (no one waits for a reply).
 */

import {
  EC_DATA_MAX,
  EC_PARITY_MAX,
  EC_PARTS_MAX,
  NAME_BYTES_MAX,
  PATH_BYTES_MAX,
  XATTR_VALUE_BYTES_MAX,
} from '../../base/limits.ts'
import {
  bool,
  bytes,
  bytestr,
  type Infer,
  list,
  oneOf,
  optional,
  type Schema,
  struct,
  text,
  uint,
} from '../../base/schema.ts'
import {
  founding,
  joining,
  keyStep,
  LIMIT_US_MAX,
  measuredMap,
  memberCertificate,
  memberId,
  memberReport,
  meshWord,
  placeLevel,
  tokenId,
  tokenMaking,
} from '../../wire/mesh-shapes.ts'
import type { CallName } from '../../wire/protocol.ts'
import {
  attrChange,
  CLASS_OF_MAX,
  chunk,
  chunkOffset,
  classPattern,
  classText,
  declaredPlace,
  disk,
  fileCommit,
  fileOffset,
  fileType,
  ino,
  inventoryEntry,
  labels,
  linkWindow,
  lock,
  mode,
  moving,
  NAME_CHANGES_MAX,
  name,
  nameChange,
  node,
  quotaLimits,
  RETENTION_OF_MAX,
  session,
  siteName,
  uid,
} from '../../wire/shapes.ts'

/** A commit costs as much as ten wishes, and 128 are carried out in a millisecond; more would gain nothing. */
export const WISHES_MAX = 128

const chunkWished = struct({
  chunk,
  classId: optional(uint()),
  phase: optional(oneOf('archive', 'trash')),
  copies: uint(64),
  code: optional(struct({ data: uint(EC_DATA_MAX), parity: uint(EC_PARITY_MAX) })),
})
export type ChunkWished = Infer<typeof chunkWished>

interface Row<F, C extends CallName | undefined> {
  readonly id: number
  readonly from: C
  readonly fields: Schema<F>
  readonly says: string
}
const command = <F, const C extends CallName | undefined>(
  id: number,
  from: C,
  says: string,
  fields: Schema<F>,
): Row<F, C> => ({
  id,
  from,
  fields,
  says,
})

/** A session that has the inode open when its last name goes: the inode lives until all of them have released it. */
const openIn = list(session, 4096)

export const commands = {
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
  // ---- chunks and disks
  nodeJoined: command(
    40,
    undefined,
    'A chunkserver and its disks are known (again), maybe at a new address.',
    struct({
      node,
      uuid: text(64),
      name: text(255),
      host: text(255),
      port: uint(65535),
      version: text(64),
      disks: list(struct({ disk, uuid: text(64), path: text(), labels: optional(labels) }), 256),
      /** What its configuration says; labels that an admin has set go on holding. */
      place: optional(declaredPlace),
      labels: optional(labels),
      /** The node of the mesh that it has proved to be. */
      member: optional(text(64)),
    }),
  ),
  /** A disk's inventory up to `seq`. `full` with first/last: what it holds is exactly the pages between. */
  inventory: command(
    41,
    'inventory',
    'What a disk holds now.',
    struct({
      disk,
      full: bool,
      first: bool,
      last: bool,
      seq: uint(),
      entries: list(inventoryEntry, 65536),
      /** Of a full list: the entries are all chunks after the one and up to the other. */
      after: optional(uint()),
      upTo: optional(uint()),
    }),
  ),
  copyAdded: command(42, undefined, 'A sealed chunk has a further verified copy.', struct({ chunk, disk })),
  /** The shell has chosen: over goal, or damaged. Refused when it would be the last copy. The file on the disk is deleted afterwards. */
  copyDropped: command(
    43,
    undefined,
    'A copy is given up.',
    struct({ chunk, disk, reason: oneOf('over', 'damaged', 'drained', 'lost') }),
  ),
  chunkSealed: command(
    44,
    undefined,
    'Every present copy has confirmed its seal.',
    struct({ chunk, disks: list(disk, 64) }),
  ),
  /** Dead for longer than the grace: the record goes; copies are deleted by order. */
  chunksForgotten: command(45, undefined, 'Dead chunks are forgotten.', struct({ chunks: list(chunk, 4096) })),
  compactBegun: command(
    46,
    undefined,
    'A new chunk that a compaction fills; its session is none.',
    struct({
      chunk,
      disks: list(disk, 64),
      copies: uint(64),
      classId: optional(uint()),
      /** That of the youngest of what it is filled from: it becomes no younger by being rewritten. */
      createdSec: optional(uint()),
    }),
  ),
  /** Each move is conditional: where the extent is no longer what it was, nothing happens. Then the chunk is sealed at `length`. */
  relocate: command(
    47,
    undefined,
    'Extents move to a rewritten chunk where they are still what they were.',
    struct({
      chunk,
      length: chunkOffset,
      moves: list(
        struct({
          ino,
          offset: fileOffset,
          length: chunkOffset,
          oldChunk: chunk,
          oldOffset: chunkOffset,
          newOffset: chunkOffset,
        }),
        65536,
      ),
    }),
  ),
  /**
   * Every copy that can be heard of ends before what was committed: the chunk ends where the longest does. Later, with a
   * longer one that came back: there.
   */
  chunkShortened: command(
    50,
    undefined,
    'A chunk ends where its longest copy does; what was committed beyond is lost.',
    struct({
      chunk,
      length: chunkOffset,
      /** Sealed at that length. */
      disks: list(disk, 64),
      /** Hold nothing of it. */
      gone: list(disk, 64),
      /** How much the files miss, counted before in steps; without it, it is counted now. */
      lost: optional(uint()),
    }),
  ),
  /** One part each on a disk of its own; their session is none. */
  encodeBegun: command(
    95,
    undefined,
    'New chunks for the parts that a sealed chunk is being cut into.',
    struct({ whole: chunk, parts: list(struct({ chunk, disk }), EC_PARTS_MAX) }),
  ),
  /** From now on it is made of them; its copies go when all parts are sealed and looked at. */
  encoded: command(
    96,
    undefined,
    'A chunk has been cut into parts, which end at these lengths.',
    struct({
      whole: chunk,
      data: uint(EC_DATA_MAX),
      parity: uint(EC_PARITY_MAX),
      parts: list(struct({ chunk, length: chunkOffset }), EC_PARTS_MAX),
    }),
  ),
  partsEnded: command(
    97,
    undefined,
    'Parts that nothing is made of are given up.',
    struct({ parts: list(chunk, EC_PARTS_MAX) }),
  ),
  /** By its class and its files as the shell has found them; a chunk too short for its code stays whole. */
  chunkWish: command(99, undefined, 'What a sealed chunk is to be from now on; of before `chunkWishes`.', chunkWished),
  chunkWishes: command(
    100,
    undefined,
    'What sealed chunks are to be from now on.',
    struct({ wishes: list(chunkWished, WISHES_MAX) }),
  ),
  uncoded: command(98, undefined, 'A chunk has copies again; its parts are given up.', struct({ whole: chunk })),
  diskDrain: command(
    48,
    'diskDrain',
    'A disk is (not) to be emptied.',
    struct({
      disk,
      drain: bool,
      /** Nobody asked for it: it had too many errors. */
      why: optional(oneOf('errors')),
    }),
  ),
  /** At once when it holds few chunks; else nothing comes to it any more, and `diskLeft` goes on. */
  diskRemove: command(49, 'diskRemove', 'A disk is forgotten.', struct({ disk, force: bool })),
  /** While the record says `leaving`. Without force it stays when it turns out to hold the only copy of something. */
  diskLeft: command(
    51,
    undefined,
    'The next chunks are taken off a disk that is to be forgotten.',
    struct({ disk, limit: uint(65536) }),
  ),
  nodeLabel: command(
    110,
    'nodeLabel',
    'Labels of a chunkserver; without any: those of its configuration again.',
    struct({ node, labels: optional(labels) }),
  ),
  diskLabel: command(
    111,
    'diskLabel',
    'Labels of a disk; without any: those of its configuration again.',
    struct({ disk, labels: optional(labels) }),
  ),
  nodeGrace: command(
    112,
    'nodeGrace',
    "How long a chunkserver is waited for; without it: as long as the cluster's setting says.",
    struct({ node, graceMs: optional(uint()) }),
  ),
  /** Over by itself when the second has come. */
  nodeMaintenance: command(
    113,
    'nodeMaintenance',
    'A chunkserver is in maintenance until then; without it: no longer.',
    struct({ node, untilSec: optional(uint()) }),
  ),
  nodeRemove: command(114, 'nodeRemove', 'A chunkserver without disks is forgotten.', struct({ node })),
  // ---- trash and settings
  trashRestore: command(
    60,
    'trashRestore',
    'Back from the trash.',
    struct({
      ino,
      path: optional(bytestr(PATH_BYTES_MAX)),
      /** For directories that went with it: as many as restoreNeeds (core/lifetime.ts) says of the path. */
      newInos: optional(list(ino, 4096)),
      /** Where it was, under this name; `path` is undefined then. */
      name: optional(name),
    }),
  ),
  trashPurge: command(61, 'trashPurge', 'Gone for good (by hand).', struct({ inos: list(ino, 4096) })),
  trashExpired: command(
    62,
    undefined,
    'Gone for good (by age): at most this many whose time is over.',
    struct({ limit: uint(4096) }),
  ),
  trashRetention: command(
    63,
    'trashRetention',
    'How long deleted things are kept.',
    struct({ ino, retentionMs: uint() }),
  ),
  /** While counters().doomed > 0: until nothing is left of inodes that had more extents than one command frees. */
  doomedFreed: command(65, undefined, 'A step of freeing the extents of doomed inodes.', struct({})),
  /** While counters().copiesToldTo is not undefined: after a change of the setting `copies`. */
  copiesTold: command(
    66,
    undefined,
    'The next chunks learn a changed number of copies.',
    struct({ limit: uint(65536) }),
  ),
  // ---- snapshots and whole trees
  /** The moment that the snapshot shows. Paths are for people. */
  snapshotBegin: command(
    85,
    'snapshotCreate',
    'A snapshot begins: what changes from now on leaves images.',
    struct({
      source: ino,
      sourcePath: bytestr(PATH_BYTES_MAX),
      parent: ino,
      name,
      targetPath: bytestr(PATH_BYTES_MAX),
    }),
  ),
  snapshotCopied: command(
    86,
    undefined,
    'A step of making a snapshot.',
    struct({
      job: uint(),
      inodes: uint(65536),
      /** Extents and attributes. */
      rows: uint(65536),
    }),
  ),
  /** When no copy is incomplete. */
  snapshotShown: command(87, undefined, 'A complete snapshot gets its name.', struct({ job: uint() })),
  jobCancelled: command(
    88,
    'snapshotCancel',
    'A snapshot is given up: by hand, or because it cannot be made (then with an errno).',
    struct({ job: uint(), errno: optional(uint(4095)), detail: optional(text()) }),
  ),
  treeDetached: command(
    89,
    'treeDelete',
    'A tree goes out of sight, to be freed in steps.',
    struct({ parent: ino, name, path: bytestr(PATH_BYTES_MAX), openIn }),
  ),
  /** While a job is clearing. */
  jobCleared: command(
    90,
    undefined,
    'A step of freeing a tree that is out of sight, and what a snapshot needed while it was made.',
    struct({ job: uint(), limit: uint(65536), openIn: list(struct({ ino, sessions: openIn }), 65536) }),
  ),
  settingsSet: command(
    64,
    'settingsSet',
    'Cluster settings.',
    struct({
      copies: optional(uint(64)),
      graceMs: optional(uint()),
      trashRetentionMs: optional(uint()),
      sessionTimeoutMs: optional(uint()),
      backupLabels: optional(labels),
      moving: optional(moving),
    }),
  ),
  // ---- storage classes
  classSet: command(
    70,
    'classSet',
    'A storage class is made, or becomes what is said here.',
    struct({ classId: uint(), text: classText }),
  ),
  classRename: command(71, 'classRename', 'A class is called otherwise.', struct({ classId: uint(), name: text(255) })),
  /** Refused while an inode or a pattern has it. */
  classDelete: command(72, 'classDelete', 'A class goes.', struct({ classId: uint() })),
  classOf: command(
    73,
    'classOf',
    'Files and directories get a class.',
    struct({
      classId: uint(),
      onlyFrom: optional(uint()),
      inos: list(ino, CLASS_OF_MAX),
      /** They are a page of a directory: the directories among them are answered, and this cookie. */
      paged: bool,
      cookie: optional(uint()),
    }),
  ),
  /** While counters().reclassing > 0. */
  reclassed: command(
    74,
    undefined,
    'A step of telling the chunks of long files that these have another class.',
    struct({ limit: uint(65536) }),
  ),
  patternSet: command(
    75,
    'patternSet',
    'What is made with such a name or owner gets a class.',
    struct({ number: uint(), pattern: classPattern }),
  ),
  patternDelete: command(76, 'patternDelete', 'A pattern goes.', struct({ number: uint() })),
  // ---- quotas
  /** Of a directory that has none: it is counted by `quotaWalked` first. */
  quotaSet: command(
    80,
    'quotaSet',
    'What is in a directory may grow so far.',
    struct({ ino, inodes: quotaLimits, length: quotaLimits, raw: quotaLimits, graceMs: optional(uint()) }),
  ),
  quotaDelete: command(81, 'quotaDelete', 'A directory is limited no more.', struct({ ino })),
  /** While a quota is being counted or taken away, or waits for it (core/quotas.ts, hasQuotaWork). */
  quotaWalked: command(
    82,
    undefined,
    'The next inodes pass to the quota that they are to count in.',
    struct({ limit: uint(65536) }),
  ),
  /** While counters().usageTo is not ALL_COUNTED (usage.ts). */
  usageCounted: command(
    175,
    undefined,
    'The next chunks of a store of before are counted in what their classes hold.',
    struct({ limit: uint(65536) }),
  ),
  retentionOf: command(
    120,
    'retentionOf',
    'How long files and directories are kept when they are deleted; undefined: as the setting says.',
    struct({
      retentionMs: optional(uint()),
      inos: list(ino, RETENTION_OF_MAX),
      /** They are a page of a directory: the directories among them are answered, and this cookie. */
      paged: bool,
      cookie: optional(uint()),
    }),
  ),
  // ---- the mesh
  meshFounded: command(200, undefined, 'There is a mesh; or its port, hubs or map key are others now.', founding),
  tokenMade: command(201, undefined, 'A token with which nodes can join the mesh.', tokenMaking),
  tokenRevoked: command(202, undefined, 'Nobody joins with this token any more.', struct({ tokenId })),
  /** Spends the token. That the node has its key was found out before. */
  memberJoined: command(203, undefined, 'A node joins the mesh, or comes back to it with new keys.', joining),
  memberConfirmed: command(204, undefined, 'A node was heard over the mesh.', memberCertificate),
  memberCertified: command(205, undefined, 'A node has a further certificate.', memberCertificate),
  memberKey: command(206, undefined, "A step of changing a node's WireGuard key.", keyStep),
  memberReported: command(
    207,
    undefined,
    'Where a node can be reached, and whether it passes packets on.',
    memberReport,
  ),
  memberRemoved: command(
    208,
    undefined,
    'A node is of the mesh no more: its certificates are denied, its address rests.',
    struct({ node: memberId }),
  ),
  /** While mesh.dueSec() has come. */
  meshExpired: command(
    209,
    undefined,
    'What is over in the mesh goes: members never heard of, tokens, rests of addresses, expired certificates.',
    struct({ limit: uint(65536) }),
  ),
  /** Made from map number `after`. Of nodes that are no members nothing is kept. */
  placesMeasured: command(
    210,
    undefined,
    'Nodes of the mesh stand where they were measured to be.',
    struct({ after: uint(), map: measuredMap }),
  ),
  measuringSet: command(
    211,
    undefined,
    'Whether places are measured by themselves, and how near a site and a rack are; absent things stay.',
    struct({ auto: optional(bool), siteUs: optional(uint(LIMIT_US_MAX)), rackUs: optional(uint(LIMIT_US_MAX)) }),
  ),
  placeRenamed: command(
    212,
    undefined,
    'A measured site or rack is called otherwise.',
    struct({ level: placeLevel, from: text(64), to: text(64) }),
  ),
  memberPlaced: command(
    213,
    undefined,
    'Where a node of the mesh stands is said by a person; without site or rack: is measured.',
    struct({ node: memberId, site: optional(meshWord), rack: optional(meshWord) }),
  ),
  // ---- ways between sites
  linkLimit: command(
    230,
    'linkLimit',
    'What may be copied between two sites, always or at these hours; without a rate, no longer.',
    struct({ a: siteName, b: siteName, bytesPerS: optional(uint()), window: optional(linkWindow) }),
  ),
} as const

export type Commands = typeof commands
export type CommandName = keyof Commands
type FieldsOf<N extends CommandName> = Commands[N]['fields'] extends Schema<infer F> ? F : never
/** A command ready for `apply`: its kind and its fields. */
export type Command = { readonly [N in CommandName]: { readonly kind: N } & FieldsOf<N> }[CommandName]
export type CommandOf<N extends CommandName> = Extract<Command, { kind: N }>

/** What stands around a command in the changelog: when, and whose request it was (session 0 = the master's own). */
export const envelope = struct({ index: uint(), sec: uint(), nsec: uint(), session, seq: uint(), acked: uint() })
