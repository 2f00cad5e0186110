/*
 * The shapes that several calls, and the changelog, are made of: numbers and names, attributes, extents, what a disk says of
 * itself. Which call carries which is the table's business (protocol.ts). A field is never taken away; new ones go last and are
 * optional, because tuples are positional.
 */

import { type Attr, type AttrChange, FILE_TYPE_NAMES, type FileType, type Time } from '../base/attr.ts'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../base/ids.ts'
import {
  CHUNK_BYTES_MAX,
  EC_DATA_MAX,
  EC_PARITY_MAX,
  EC_PARTS_MAX,
  FILE_BYTES_MAX,
  NAME_BYTES_MAX,
  PATH_BYTES_MAX,
  PLACING_CHARS_MAX,
} from '../base/limits.ts'
import {
  bool,
  bytestr,
  type Infer,
  int,
  list,
  oneOf,
  optional,
  type Schema,
  struct,
  text,
  uint,
  wrong,
} from '../base/schema.ts'

/** Deleted files of one page, and of each the sessions that have it open: 1024 × 16 of them are some 100 KiB. */
export const DELETED_MAX = 1024
export const DELETED_HOLDERS_MAX = 16
/** As many sessions as a master serves. */
export const DELETED_SESSIONS_MAX = 4096
/** Inodes given a retention by one command: a few milliseconds. */
export const RETENTION_OF_MAX = 1024

export const ino: Schema<Ino> = uint<Ino>()
export const chunk: Schema<ChunkId> = uint<ChunkId>()
export const session: Schema<SessionId> = uint<SessionId>()
export const node: Schema<NodeId> = uint<NodeId>()
export const disk: Schema<DiskId> = uint<DiskId>()
export const name: Schema<string> = bytestr(NAME_BYTES_MAX)
export const fileOffset: Schema<number> = uint(FILE_BYTES_MAX)
export const chunkOffset: Schema<number> = uint(CHUNK_BYTES_MAX)
export const mode: Schema<number> = uint(0o7777)
export const uid: Schema<number> = uint(0xffff_ffff)
export const fileType: Schema<FileType> = oneOf(...FILE_TYPE_NAMES)

export const time: Schema<Time> = {
  encode: (t) => [t.sec, t.nsec],
  decode: (raw, path) => {
    if (!Array.isArray(raw) || !Number.isSafeInteger(Number(raw[0])) || !(raw[1] >= 0 && raw[1] < 1e9))
      wrong(path, 'a time (seconds, nanoseconds)', raw)
    return { sec: Number(raw[0]), nsec: raw[1] }
  },
  describe: '(sec: int, nsec: uint < 10^9)',
  sample: (below) => ({ sec: below(4_000_000_000) - 1_000_000_000, nsec: below(1_000_000_000) }),
}

/** Flattened to one tuple: attributes are in nearly every reply, and nested pairs cost a third of the decode time. */
const ATTR_FIELDS = 17
export const attr: Schema<Attr> = {
  encode: (a) => [
    a.ino,
    FILE_TYPE_NAMES.indexOf(a.type),
    a.mode,
    a.nlink,
    a.uid,
    a.gid,
    a.rdev,
    a.size,
    a.used,
    a.atime.sec,
    a.atime.nsec,
    a.mtime.sec,
    a.mtime.nsec,
    a.ctime.sec,
    a.ctime.nsec,
    a.hasXattr,
    a.version,
    ...(a.classId === undefined ? [] : [a.classId]),
  ],
  decode: (raw, path) => {
    if (!Array.isArray(raw) || raw.length < ATTR_FIELDS) wrong(path, 'attributes', raw)
    for (let i = 0; i < ATTR_FIELDS; i++) {
      if (i === 15) continue
      if (!Number.isSafeInteger(raw[i])) {
        if (typeof raw[i] === 'bigint') raw[i] = Number(raw[i])
        else wrong(path, 'attributes of integers', raw[i])
      }
    }
    const type = FILE_TYPE_NAMES[raw[1]]
    if (type === undefined) wrong(path, 'a file type', raw[1])
    return {
      ino: raw[0],
      type,
      mode: raw[2],
      nlink: raw[3],
      uid: raw[4],
      gid: raw[5],
      rdev: raw[6],
      size: raw[7],
      used: raw[8],
      atime: { sec: raw[9], nsec: raw[10] },
      mtime: { sec: raw[11], nsec: raw[12] },
      ctime: { sec: raw[13], nsec: raw[14] },
      hasXattr: raw[15] === true,
      version: raw[16],
      ...(raw[ATTR_FIELDS] > 0 ? { classId: raw[ATTR_FIELDS] } : {}),
    }
  },
  describe:
    '(ino, type, mode, nlink, uid, gid, rdev, size, used, atime sec, nsec, mtime sec, nsec, ctime sec, nsec, hasXattr, version, class unless default)',
  sample: (below) => ({
    ino: (1 + below(1_000_000)) as Ino,
    type: FILE_TYPE_NAMES[below(FILE_TYPE_NAMES.length)]!,
    mode: below(0o10000),
    nlink: below(10),
    uid: below(65536),
    gid: below(65536),
    rdev: below(65536),
    size: below(2 ** 31),
    used: below(2 ** 31),
    atime: time.sample(below),
    mtime: time.sample(below),
    ctime: time.sample(below),
    hasXattr: below(2) === 1,
    version: below(1000),
  }),
}

const timeOrNow: Schema<Time | 'now'> = {
  encode: (t) => (t === 'now' ? 'now' : time.encode(t)),
  decode: (raw, path) => (raw === 'now' ? 'now' : time.decode(raw, path)),
  describe: `"now" or ${time.describe}`,
  sample: (below) => (below(2) === 0 ? 'now' : time.sample(below)),
}

/** The cast: in AttrChange an absent field may also be left out, which a tuple writes the same way as undefined. */
export const attrChange = struct({
  mode: optional(mode),
  uid: optional(uid),
  gid: optional(uid),
  size: optional(fileOffset),
  atime: optional(timeOrNow),
  mtime: optional(timeOrNow),
  killSuidGid: optional(bool),
}) as unknown as Schema<AttrChange>

/** The caller may not keep the set-id bits of a file that it changes (no CAP_FSETID): they are cleared. */
export const killSuidGid = optional(bool)

/** Names one state-changing request of one session. `acked`: every reply of a seq below it has been received. */
export const stamp = struct({ session, seq: uint(), acked: uint() })
export type Stamp = Infer<typeof stamp>

/** (file offset, length) → (chunk, offset in chunk); an extent never crosses a chunk. Holes have none. */
export const extent = struct({ offset: fileOffset, length: uint(CHUNK_BYTES_MAX), chunk, chunkOffset })
export type Extent = Infer<typeof extent>

/** Where one copy of a chunk can be reached. */
export interface Place {
  readonly disk: DiskId
  readonly node: NodeId
  readonly host: string
  readonly port: number
  /** In an answer to a mount: smaller ones are read first. Without one as if it were the smallest. */
  readonly rank?: number | undefined
}
/** The cast: an absent rank may also be left out, which a tuple writes the same way as undefined. */
export const place = struct({
  disk,
  node,
  host: text(255),
  port: uint(65535),
  rank: optional(uint(4095)),
}) as unknown as Schema<Place>

/** Copies of one part: one as a rule, more while it is moved. */
const PART_PLACES_MAX = 8

/** The parts of an erasure-coded chunk, data parts first, each a sealed chunk of its own (topology/stripe.ts says of what). */
export const ecParts = struct({
  data: uint(EC_DATA_MAX),
  parity: uint(EC_PARITY_MAX),
  parts: list(struct({ chunk, length: chunkOffset, places: list(place, PART_PLACES_MAX) }), EC_PARTS_MAX),
})
export type EcParts = Infer<typeof ecParts>

/**
 * A chunk with what a reader needs. `length` is the committed length (sealed) or what is committed so far (open). With `ec` it is
 * read from its parts when no copy of the whole is named.
 */
export const chunkPlaces = struct({
  chunk,
  sealed: bool,
  length: chunkOffset,
  places: list(place, 64),
  ec: optional(ecParts),
})
export type ChunkPlaces = Infer<typeof chunkPlaces>

export const lock = struct({
  family: oneOf('posix', 'flock'),
  kind: oneOf('read', 'write', 'unlock'),
  owner: text(16),
  start: uint(),
  end: uint(),
  pid: int,
})

/** What one file's share of a commit is. Extents replace what they cover; `punch` ranges become holes first. */
export const fileCommit = struct({
  ino,
  extents: list(extent, 100_000),
  /** The file is at least this long afterwards (grow only; truncation is setattr). */
  minSize: optional(fileOffset),
  mtime: optional(time),
  /** Attribute changes held back since the last commit, applied after the data. */
  change: optional(attrChange),
  /** When the client says that the last of it happened: it has shown this time, and it must not move by itself later. */
  ctime: optional(time),
  /** The close of a new small file has been answered: no quota refuses it any more. */
  answered: optional(bool),
})
export type FileCommit = Infer<typeof fileCommit>

/** Changes of names that travel together: at about 30 µs each one command of them stays below 20 ms. */
export const NAME_CHANGES_MAX = 512

/** What a session did in a directory that it holds. */
export const nameChange = struct({
  kind: oneOf('make', 'unlink', 'rmdir', 'setattr'),
  parent: ino,
  /** Empty for `setattr`: that is of the directory itself. */
  name,
  /** The number that `make` gives to the new inode (one of those reserved before), or what the name that goes stood for. */
  ino,
  /** When it was carried out: the times of the new inode and of the directory. */
  time,
  /** Of `make`: what is made. `opened`: a regular file that the session has open. `mode` has lost its umask. */
  node: optional(
    struct({
      type: fileType,
      mode,
      uid,
      gid: uid,
      rdev: uint(0xffff_ffff),
      target: bytestr(PATH_BYTES_MAX),
      opened: bool,
    }),
  ),
  /** Of `setattr`. */
  change: optional(attrChange),
})
export type NameChange = Infer<typeof nameChange>

/** One round of the scrubber over a disk: all that it held when the round reached it is read and checked once. */
export const scrubRound = struct({
  /** Milliseconds since 1970. */
  startedMs: uint(),
  chunks: uint(),
  bytes: uint(),
  /** Of those chunks, how many were damaged. */
  damaged: uint(),
  /** Everything was read; the next round begins when this one's period is over. */
  finished: bool,
  /** The period: a round is to take no longer. */
  days: optional(uint(3650)),
})
export type ScrubRound = Infer<typeof scrubRound>

/** Names as topology/label-names.ts has them, each once. */
export const labels: Schema<string[]> = list(text(32), 64)

/** What the configuration of a chunkserver or a mount says of where it stands; '' and nothing both mean: not said. */
export const declaredPlace = struct({
  /** The machine, where its address does not tell it apart from others. */
  machine: optional(text(255)),
  rack: optional(text(64)),
  site: optional(text(64)),
})
export type DeclaredPlace = Infer<typeof declaredPlace>

export const diskState = struct({
  uuid: text(64),
  path: text(),
  /** As the chunkserver sees it: `failed` and `gone` disks hold nothing that can be read now. */
  state: oneOf('ok', 'full', 'readonly', 'failed', 'gone'),
  error: text(),
  totalBytes: uint(),
  usedBytes: uint(),
  availableBytes: uint(),
  chunks: uint(),
  errors: uint(),
  /** Sequence number of the last inventory change on this disk (grows with every chunk made, sealed, lost, deleted). */
  seq: uint(),
  /** Marked `*` in the configuration: drain it. */
  marked: bool,
  /** Nothing from a chunkserver that does not scrub, or has not begun to. */
  scrub: optional(scrubRound),
  /** Kept aside, not part of `availableBytes`: for rewriting half-dead chunks and for copies of what is nearly lost. */
  reservedBytes: optional(uint()),
  /** What the configuration calls this disk, beside what it calls the node. */
  labels: optional(labels),
})
export type DiskState = Infer<typeof diskState>

/** One thing a disk holds (or holds no more). */
export const inventoryEntry = struct({
  chunk,
  state: oneOf('open', 'sealed', 'gone', 'damaged'),
  length: chunkOffset,
})
export type InventoryEntry = Infer<typeof inventoryEntry>

/** Of one thing that a quota limits. Absent: as it was; 0: no limit. */
export const quotaLimits = struct({ soft: optional(uint()), hard: optional(uint()) })

/** How data is moved that nobody reads or writes now: by repair, by changed classes, to fill disks alike. Absent: as it was. */
export const moving = struct({
  rebalance: optional(bool),
  /** Disks are made alike when they differ by more percent of what they hold. */
  rebalancePercent: optional(uint(100)),
  /** 0: no bound. Of a disk and of a node what is read and what is written counts together. */
  diskBytesPerSecond: optional(uint()),
  nodeBytesPerSecond: optional(uint()),
  /** Between each two sites. */
  sitesBytesPerSecond: optional(uint()),
})
export interface Moving {
  readonly rebalance?: boolean | undefined
  readonly rebalancePercent?: number | undefined
  readonly diskBytesPerSecond?: number | undefined
  readonly nodeBytesPerSecond?: number | undefined
  readonly sitesBytesPerSecond?: number | undefined
}

/** Pairs of sites with limits of their own: those of 45 sites. */
export const LINKS_MAX = 1024
export const siteName: Schema<string> = text(64)
/** Ways that one message tells of: those that a chunkserver copies over at once, and the busiest of its mounts. */
export const WAYS_MAX = 64
/** Echoes of a way in one message: six seconds of them. */
export const ECHOES_MAX = 64
/** What the echoes of a way have said since the last time. */
export const wayEchoes = struct({
  /** Of the path; with another one all that was known of it is over. */
  epoch: uint(),
  /** The round trip without queues; undefined: not measured yet. */
  baseUs: optional(uint()),
  /** Of those that were answered. */
  rttsUs: list(uint(), ECHOES_MAX),
  lost: uint(),
})
export type WayEchoes = Infer<typeof wayEchoes>
/** What a chunkserver has seen of its way to somebody since it said so last. */
export const waySeen = struct({
  host: text(255),
  /** Of another chunkserver; 0: whoever is there, mounts. */
  port: uint(65_535),
  /** undefined: nobody measures it. */
  echoes: optional(wayEchoes),
  /** Acknowledged by whoever receives: of background copies, and of mounts. */
  backgroundBytes: uint(),
  foregroundBytes: uint(),
})
export type WaySeen = Infer<typeof waySeen>
/** Files asked for by number in one call. */
export const SITE_LACK_MAX = 512
/** Minutes of the day; over midnight when `to` comes before `from`, the whole day when they are the same. */
export const linkWindow = struct({ from: uint(1439), to: uint(1439) })

export interface Settings {
  readonly copies: number
  readonly graceMs: number
  readonly trashRetentionMs: number
  readonly sessionTimeoutMs: number
  /** Disks with one of these labels are read from only when no other copy can be read. */
  readonly backupLabels?: string[] | undefined
  readonly moving?: Moving | undefined
}
/** The cast: as of Place. */
export const settings = struct({
  copies: uint(64),
  graceMs: uint(),
  trashRetentionMs: uint(),
  sessionTimeoutMs: uint(),
  backupLabels: optional(labels),
  moving: optional(moving),
}) as unknown as Schema<Settings>

/** A storage class as it is kept and sent: placings in the canonical form, '' where nothing is defined. */
export const classText = struct({
  name: text(255),
  description: text(255),
  create: text(PLACING_CHARS_MAX),
  keep: text(PLACING_CHARS_MAX),
  archive: text(PLACING_CHARS_MAX),
  trash: text(PLACING_CHARS_MAX),
  defaultMode: oneOf('loose', 'std', 'strict'),
  archiveAfterMs: uint(),
  /** Letters of C, M, A, R, F, P, as after -o. */
  archiveBy: text(6),
  minBytes: uint(),
  trashMinRetentionMs: uint(),
  priority: uint(0xffff_ffff),
})

/** Classes, and patterns, in one cluster: each is looked at for every list and report, each pattern for every new file. */
export const CLASSES_MAX = 256
export const PATTERNS_MAX = 256

/** What is made with such a name, by such an owner, is of this class, whatever its directory's is. */
export const classPattern = struct({
  /** The whole name, with * ? and [sets]. */
  glob: bytestr(NAME_BYTES_MAX),
  uid: optional(uid),
  gid: optional(uid),
  /** The highest of those that match counts; of several, the one that was made first. */
  priority: uint(0xffff_ffff),
  classId: uint(),
})

/** Chunks that one page of a trial looks at: matching each with the disks there are is some 50 µs, with thousands a millisecond. */
export const CLASS_MOVES_MAX = 256

/** Extents looked at by one call of a trial: some 20 ms. */
export const TRIED_EXTENTS_MAX = 4096

/** Inodes given a class by one command: with their chunks some 20 ms. */
export const CLASS_OF_MAX = 1024

/** A file without a name: in the trash, held open, or both. */
export const deletedFile = struct({
  /** With no links. */
  attr,
  trash: optional(
    struct({
      /** The path it had; begins with "..." when it was longer than a path may be. */
      path: bytestr(8192),
      deletedSec: uint(),
      expirySec: uint(),
    }),
  ),
  /** Sessions that have it open; those of a file that very many have open are not all named. */
  holders: list(session, DELETED_HOLDERS_MAX),
})
export type DeletedFile = Infer<typeof deletedFile>
