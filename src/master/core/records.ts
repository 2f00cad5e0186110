/*
 * What the values of the master's tables mean: record types, their schemas, and the one codec that turns them into bytes
 * (msgpack tuples, see base/schema). Records that may evolve begin with their version; new fields go last and have a
 * default, and trailing defaults are not written at all, because a plain file's record is paid for a million times.
 */

import { Packr } from 'msgpackr'
import { type Attr, FILE_TYPE_NAMES, type FileType, type Time } from '../../base/attr.ts'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../base/ids.ts'
import { EC_DATA_MAX, EC_PARITY_MAX, EC_PARTS_MAX, PATH_BYTES_MAX } from '../../base/limits.ts'
import {
  bool,
  bytestr,
  type Infer,
  list,
  oneOf,
  optional,
  type Schema,
  struct,
  text,
  uint,
  wrong,
} from '../../base/schema.ts'
import {
  chunk,
  classPattern,
  classText,
  disk,
  ino,
  labels,
  lock,
  node,
  PATTERNS_MAX,
  session,
  settings,
} from '../../wire/shapes.ts'

/** Plain msgpack: no records, no shared structures, so bytes depend on the value alone and any language reads them. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })

/** Bytes of a record. The buffer is reused by the next call: hand it to the store at once. */
export const pack = (value: unknown): Uint8Array => packr.pack(value)
export const unpack = (value: Uint8Array): unknown => packr.unpack(value)
export const encodeRecord = <T>(schema: Schema<T>, value: T): Uint8Array => pack(schema.encode(value))
export const decodeRecord = <T>(schema: Schema<T>, value: Uint8Array, what: string): T =>
  schema.decode(unpack(value), what)
export const EMPTY: Uint8Array = new Uint8Array(0)

/** Fields at the end that are not there are not written: most records have none of them. */
function shortened<T>(schema: Schema<T>): Schema<T> {
  return {
    ...schema,
    encode: (value) => {
      const tuple = schema.encode(value) as unknown[]
      while (tuple.length > 0 && (tuple.at(-1) === undefined || tuple.at(-1) === null)) tuple.pop()
      return tuple
    },
  }
}

// ---- inodes

export interface InodeRecord {
  readonly attr: Attr
  /** Where it is linked: exact for directories; for other files the parent of the name given last (may be outdated). */
  readonly parent: Ino
  /** A directory's own name, so that a path costs one read per level. */
  readonly name: string
  /** Entries of a directory. */
  readonly entries: number
  /** Sum of the lengths of xattr names with their terminators: what listxattr would answer. */
  readonly xattrBytes: number
  /** Copies wanted of its data; 0 = the cluster's setting. */
  readonly copies: number
  /** How long it stays in the trash; undefined = the cluster's setting. Inherited by what is made in a directory. */
  readonly retentionMs: number | undefined
  readonly target: string
  /** In the trash until this second. */
  readonly trashedUntil: number | undefined
  /** Gone for everybody; its extents are being freed in steps. */
  readonly doomed: boolean
  /** The quota that it counts in: that of the nearest directory above (or itself) that has one; 0 = none, or no name. */
  readonly quota: Ino | 0
}

const INODE_VERSION = 1
/** Fields before the ones that have defaults. */
const INODE_FIELDS_ALWAYS = 16

export const inodeRecord = {
  encode: ({ attr: a, ...record }: InodeRecord): unknown[] => {
    const tuple: unknown[] = [
      INODE_VERSION,
      FILE_TYPE_NAMES.indexOf(a.type),
      a.mode,
      a.nlink,
      a.uid,
      a.gid,
      a.size,
      a.used,
      a.ctime.sec,
      a.ctime.nsec,
      ...timeUnless(a.mtime, a.ctime),
      ...timeUnless(a.atime, a.mtime),
      a.version,
      record.parent,
      record.name === '' ? null : record.name,
      record.entries,
      record.xattrBytes,
      record.copies,
      record.retentionMs ?? null,
      a.rdev,
      record.target === '' ? null : record.target,
      record.trashedUntil ?? null,
      record.doomed ? 1 : 0,
      a.classId ?? 0,
      record.quota,
    ]
    while (tuple.length > INODE_FIELDS_ALWAYS && (tuple.at(-1) === 0 || tuple.at(-1) === null)) tuple.pop()
    return tuple
  },
  decode: (raw: unknown, number: Ino): InodeRecord => {
    if (!Array.isArray(raw) || raw.length < INODE_FIELDS_ALWAYS || raw[0] !== INODE_VERSION)
      wrong(`inode ${number}`, `an inode record of version ${INODE_VERSION}`, raw)
    const type = FILE_TYPE_NAMES[raw[1]]
    if (type === undefined) wrong(`inode ${number}`, 'a file type', raw[1])
    const ctime: Time = { sec: raw[8], nsec: raw[9] }
    const mtime: Time = raw[10] === null ? ctime : { sec: raw[10], nsec: raw[11] }
    const atime: Time = raw[12] === null ? mtime : { sec: raw[12], nsec: raw[13] }
    const xattrBytes: number = raw[18] ?? 0
    return {
      attr: {
        ino: number,
        type,
        mode: raw[2],
        nlink: raw[3],
        uid: raw[4],
        gid: raw[5],
        rdev: raw[21] ?? 0,
        size: raw[6],
        used: raw[7],
        atime,
        mtime,
        ctime,
        hasXattr: xattrBytes > 0,
        version: raw[14],
        ...(raw[25] > 0 ? { classId: raw[25] } : {}),
      },
      parent: raw[15],
      name: raw[16] ?? '',
      entries: raw[17] ?? 0,
      xattrBytes,
      copies: raw[19] ?? 0,
      retentionMs: raw[20] ?? undefined,
      target: raw[22] ?? '',
      trashedUntil: raw[23] ?? undefined,
      doomed: raw[24] === 1,
      quota: raw[26] ?? 0,
    }
  },
}

/** Times that are the same as the one before cost two bytes. */
const timeUnless = (time: Time, same: Time): (number | null)[] =>
  time.sec === same.sec && time.nsec === same.nsec ? [null, null] : [time.sec, time.nsec]

// ---- names

export interface Dentry {
  readonly slot: number
  readonly name: string
  readonly ino: Ino
  readonly type: FileType
}

/** All names of one hash, flattened: with one name (nearly always) the tuple is (slot, name, ino, type). */
export const bucketRecord = {
  encode: (bucket: readonly Dentry[]): unknown[] =>
    bucket.flatMap((entry) => [entry.slot, entry.name, entry.ino, FILE_TYPE_NAMES.indexOf(entry.type)]),
  decode: (raw: unknown): Dentry[] => {
    if (!Array.isArray(raw) || raw.length % 4 !== 0) wrong('names', 'a bucket of names', raw)
    const bucket: Dentry[] = []
    for (let i = 0; i < raw.length; i += 4) {
      const type = FILE_TYPE_NAMES[raw[i + 3]]
      if (type === undefined) wrong('names', 'a file type', raw[i + 3])
      bucket.push({ slot: raw[i], name: raw[i + 1], ino: raw[i + 2], type })
    }
    return bucket
  },
}

// ---- chunks

export const chunkRecord = shortened(
  struct({
    version: uint(),
    state: oneOf('open', 'sealing', 'sealed'),
    /** Who writes it (open, sealing); 0 = the master (a compaction) or nobody any more. */
    session,
    /** Open: what is committed so far. Then: the length it was sealed at. */
    length: uint(),
    /** Bytes of it that extents refer to. Shared extents count every time. */
    live: uint(),
    /** Copies wanted. */
    copies: uint(64),
    createdSec: uint(),
    disks: list(disk, 256),
    /** Those of `disks` that have not confirmed the seal yet (they were away): not to be relied on. */
    unsealed: list(disk, 256),
    /** Since when a sealed chunk has had no live byte. */
    deadSec: optional(uint()),
    /** What was committed, while no copy holds all of that and extents still refer to what is gone; `length` is what is left. */
    committed: optional(uint()),
    /** Bytes beyond `length` that extents refer to: on no disk that could be asked. */
    lost: optional(uint()),
    /** Storage class of the files in it; absent: the default one. */
    classId: optional(uint()),
    /** Where in its class's life it is, once it is sealed; absent: keep. */
    phase: optional(oneOf('archive', 'trash')),
    /** What it is to be cut into; absent: it is to be whole copies. */
    code: optional(struct({ data: uint(EC_DATA_MAX), parity: uint(EC_PARITY_MAX) })),
    /** What it is cut into: its parts, data first, and how many of them have a confirmed copy. */
    ec: optional(
      struct({
        data: uint(EC_DATA_MAX),
        parity: uint(EC_PARITY_MAX),
        parts: list(chunk, EC_PARTS_MAX),
        present: uint(EC_PARTS_MAX),
      }),
    ),
    /** It is a part of this chunk. */
    whole: optional(chunk),
  }),
)
export type ChunkRecord = Infer<typeof chunkRecord>

// ---- sessions, nodes, disks

export const sessionRecord = struct({
  version: uint(),
  client: text(64),
  host: text(255),
  mountpoint: text(),
  software: text(64),
  openedSec: uint(),
  /** Replies below this seq are forgotten; a request below it is an old duplicate. */
  acked: uint(),
})
export type SessionRecord = Infer<typeof sessionRecord>

export const nodeRecord = struct({
  version: uint(),
  uuid: text(64),
  name: text(255),
  host: text(255),
  port: uint(65535),
  software: text(64),
  /** As its configuration says. */
  labels: optional(labels),
  rack: optional(text(64)),
  site: optional(text(64)),
  /** The machine it runs on, where its host does not tell. */
  machine: optional(text(255)),
  /** Its own instead of the cluster's setting. */
  graceMs: optional(uint()),
  maintenanceUntilSec: optional(uint()),
  /** Labels that an admin set: they hold instead of those of the configuration. */
  labelsSet: optional(labels),
  /** The node of the mesh that has proved to be it. */
  member: optional(text(64)),
})
export type NodeRecord = Infer<typeof nodeRecord>

export const diskRecord = struct({
  version: uint(),
  node,
  uuid: text(64),
  path: text(),
  draining: bool,
  /** Inventory of the disk is known up to here. */
  knownSeq: uint(),
  /** Chunks that count it as a copy. */
  chunks: uint(),
  /** While a full inventory comes in pages: up to which chunk it has come. */
  walkedTo: optional(chunk),
  /** How many chunks there were when the drain began. */
  chunksAtDrain: uint(),
  /** It is being forgotten in steps: nothing comes to it any more. True: also the only copies of something. */
  leaving: optional(bool),
  /** As the configuration of its chunkserver says, beside the labels of that. */
  labels: optional(labels),
  /** Labels that an admin set: they hold instead of those of the configuration. */
  labelsSet: optional(labels),
  /** Why it is drained, when nobody asked for it. */
  drainedFor: optional(oneOf('errors')),
})
export type DiskRecord = Infer<typeof diskRecord>

/** The labels that hold for a chunkserver or, without those of its chunkserver, for a disk. */
export const labelsOf = (record: Pick<NodeRecord | DiskRecord, 'labels' | 'labelsSet'>): readonly string[] =>
  record.labelsSet ?? record.labels ?? []

// ---- locks, trash, cluster-wide records

const heldLock = struct({
  session,
  family: lock.fields.family,
  kind: oneOf('read', 'write'),
  owner: text(16),
  start: uint(),
  end: uint(),
  pid: lock.fields.pid,
})
export type HeldLock = Infer<typeof heldLock>
/** Locks of one inode. More would make every lock call slow, and no program comes near. */
export const LOCKS_PER_INODE_MAX = 16_384
export const locksRecord: Schema<HeldLock[]> = list(heldLock, LOCKS_PER_INODE_MAX)

export const trashRecord = struct({
  version: uint(),
  /** The path it had; begins with "..." when it was longer than a path may be. */
  path: bytestr(8192),
  /** The directory it was in: still there, the file goes back to it wherever that is now. */
  parent: ino,
  name: bytestr(255),
  deletedSec: uint(),
})
export type TrashRecord = Infer<typeof trashRecord>

/** A snapshot being made, a tree being deleted: long work in steps (snapshot.ts, trees.ts). */
export const jobRecord = struct({
  version: uint(),
  kind: oneOf('snapshot', 'delete'),
  /** Copying until the copy is in its place, or given up; clearing until nothing is left of the work; over. */
  phase: oneOf('copying', 'clearing', 'over'),
  source: bytestr(PATH_BYTES_MAX),
  /** Of a snapshot. */
  target: bytestr(PATH_BYTES_MAX),
  parent: uint(),
  name: bytestr(255),
  /** The copy, out of sight while it is copied. */
  root: uint(),
  /** What has been copied, or deleted. */
  inodes: uint(),
  bytes: uint(),
  begunSec: uint(),
  overSec: optional(uint()),
  /** Why it was given up: an errno's number and words. */
  errno: optional(uint()),
  detail: optional(text()),
})
export type JobRecord = Infer<typeof jobRecord>

/** A copy that is not complete: what it is a copy of, and after which key of that the work goes on. */
export const unfinishedRecord = struct({ source: ino, after: bytestr(512) })
export type Unfinished = Infer<typeof unfinishedRecord>
// ---- quotas

/** One thing that a quota limits. A soft limit may be exceeded for the grace of the quota, from `overSec` on. */
const quotaLimit = struct({ soft: optional(uint()), hard: optional(uint()), overSec: optional(uint()) })

export const quotaRecord = struct({
  version: uint(),
  /**
   * `waiting` for its turn to be counted; `counting`; `active`: everything is counted, limits hold; `leaving`: to be
   * taken away; `gone`: taken away, but files that were linked there from elsewhere still count in it.
   */
  phase: oneOf('waiting', 'counting', 'active', 'leaving', 'gone'),
  /** The next quota above, in which all of this counts as well; 0 = none. */
  parent: ino,
  graceMs: uint(),
  inodes: quotaLimit,
  length: quotaLimit,
  raw: quotaLimit,
  /** What counts in it, nested quotas included: inodes, the sizes of files, the bytes that their extents cover. */
  usage: struct({
    inodes: uint(),
    length: uint(),
    used: uint(),
    /** Of `used`, by storage class, because each takes its own share of the disks; what is missing is of the default class. */
    classes: optional(list(struct({ classId: uint(), used: uint() }), 65536)),
  }),
  /** It was taken away while it was being counted: that goes on first. */
  leaves: optional(bool),
})
export type QuotaRecord = Infer<typeof quotaRecord>
export type QuotaLimit = Infer<typeof quotaLimit>

/** All quotas at a glance. `root` 0: none is being counted or taken away now. */
export const quotasRecord = struct({
  version: uint(),
  count: uint(),
  /** The quota that is being counted or taken away; its inodes pass from one quota to the other. */
  root: ino,
  from: ino,
  to: ino,
  /** Names looked at so far. */
  walked: uint(),
})
export type QuotasRecord = Infer<typeof quotasRecord>

export const settingsRecord = settings

// ---- storage classes

export const classRecord = struct({
  version: uint(),
  /** Of class 1 the keep may be empty: as many copies as the setting says, anywhere. */
  text: classText,
  /** How many inodes have it, with a name or without; of class 1, which needs no record, they are not counted. */
  inodes: uint(),
})
export type ClassRecord = Infer<typeof classRecord>

const numberedPattern = struct({ number: uint(), pattern: classPattern })
export type NumberedPattern = Infer<typeof numberedPattern>
/** One record: every new inode looks at all of them. */
export const patternsRecord: Schema<NumberedPattern[]> = list(numberedPattern, PATTERNS_MAX)

/** What the chunks of one storage class hold (usage.ts). */
export const usageRecord = struct({
  version: uint(),
  /** Without parts. */
  chunks: uint(),
  /** Bytes that files refer to; shared ones every time. */
  live: uint(),
  /** Bytes of all copies and parts. */
  raw: uint(),
})
export type UsageRecord = Infer<typeof usageRecord>

/** Counted with every command so that no report and no restart walks the tables. */
export const countersRecord = struct({
  version: uint(),
  /** The last command applied. */
  index: uint(),
  /** The oldest one still in the changelog, and the bytes of all of them. */
  firstIndex: uint(),
  changelogBytes: uint(),
  nextIno: uint(),
  nextChunk: uint(),
  nextSession: uint(),
  nextNode: uint(),
  nextDisk: uint(),
  /** Inodes that have a name: directories, and everything else. */
  directories: uint(),
  files: uint(),
  trashed: uint(),
  sustained: uint(),
  doomed: uint(),
  /** Bytes of all extents (shared ones every time). */
  logicalBytes: uint(),
  sessions: uint(),
  /** Chunks by how safe they are, as far as the state knows (it does not know who is connected). */
  open: uint(),
  safe: uint(),
  under: uint(),
  endangered: uint(),
  lost: uint(),
  over: uint(),
  dead: uint(),
  /** After a change of the setting `copies`: chunks below this one have been told. */
  copiesToldTo: optional(uint()),
  /** Time of the last command. */
  sec: uint(),
  nsec: uint(),
  /** Bytes of files that no copy holds any more (see ChunkRecord.lost). */
  lostBytes: optional(uint()),
  /** Undefined: no class was ever made or changed, and no pattern made. They count together. */
  nextClass: optional(uint()),
  /** Files whose chunks have not all been told of a changed class (table reclass). */
  reclassing: optional(uint()),
  /** While a snapshot is made: what is changed of inodes below `before` leaves an image (imaging-kv.ts). */
  imaging: optional(struct({ job: uint(), before: uint() })),
  /** Chunks up to this one are counted in the table usage; undefined: none, because nobody has begun to. */
  usageTo: optional(uint()),
  /** Grows with every change of the mesh's registry; undefined: there is no mesh. */
  meshVersion: optional(uint()),
})
export type Counters = Infer<typeof countersRecord>

/** What `nextIds` answers: the smallest number of each kind that the state has never seen. */
export interface NextIds {
  readonly ino: Ino
  readonly chunk: ChunkId
  readonly session: SessionId
  readonly node: NodeId
  readonly disk: DiskId
}
