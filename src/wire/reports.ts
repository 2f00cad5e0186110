/*
 * What the master tells people: the shapes behind `holdfast status`, `file info`, `disk list`, `trash list`, `check`,
 * `changelog tail`. Read by the command line and by tests, never by anything that decides.
 */

export interface DiskReport {
  disk: number
  node: number
  nodeName: string
  path: string
  state: 'ok' | 'full' | 'readonly' | 'failed' | 'gone' | 'away'
  error: string
  draining: boolean
  totalBytes: number
  usedBytes: number
  availableBytes: number
  /** Kept aside, not part of `availableBytes`: for making room again and for copies of what is nearly lost. */
  reservedBytes: number
  chunks: number
  errors: number
  /** While draining: chunks that still have to be copied elsewhere, and how many there were at the start. */
  toMove: number
  toMoveAtStart: number
  /** By the rate seen of late; null while none can be told. */
  drainSecondsLeft: number | null
  /** It is drained because of its errors, not because somebody asked. */
  drainedForErrors: boolean
  /** The scrubber's present round; null where nothing is known of one. */
  scrub: ScrubReport | null
  /** Its own, beside those of its chunkserver. */
  labels: string[]
  /** Set by an admin, not by the configuration. */
  labelsSet: boolean
}

export interface ScrubReport {
  /** Milliseconds since 1970. */
  startedMs: number
  chunks: number
  bytes: number
  /** Chunks that were found damaged in this round. */
  damaged: number
  finished: boolean
  /** The period: everything is to be read once in so many days; 0: not told. */
  days: number
  /** Beyond the end of the period, in a round that is not finished; 0: it is in time. */
  lateSeconds: number
  /** By its pace until now, how long the rest of the round takes; null: it is finished, or too early to tell. */
  secondsLeft: number | null
}

export interface NodeReport {
  node: number
  name: string
  host: string
  port: number
  version: string
  /** Where it stands, whoever said so; '' where nobody did. */
  machine: string
  rack: string
  site: string
  labels: string[]
  /** Set by an admin, not by its configuration. */
  labelsSet: boolean
  connected: boolean
  /** Seconds since it went away, and how many are left of its grace (while it is in maintenance, of that and nothing else). */
  awaySeconds: number
  graceLeftSeconds: number
  /** Its grace: its own, or the cluster's setting. */
  graceSeconds: number
  graceSet: boolean
  /** 0: it is not in maintenance. */
  maintenanceLeftSeconds: number
}

export interface SessionReport {
  session: number
  host: string
  mountpoint: string
  version: string
  connected: boolean
  openFiles: number
  openChunks: number
  locks: number
  idleSeconds: number
}

export interface WorkReport {
  name: string
  state: 'idle' | 'busy' | 'throttled' | 'failed'
  progress: string
  queued: number
  lastError: string
}

/**
 * Numbers of chunks by how safe they are. `lost`: no readable copy, or none that has all of it. `endangered`: one left of
 * several wanted.
 */
export interface HealthReport {
  safe: number
  under: number
  endangered: number
  lost: number
  over: number
  open: number
  /** Bytes of files that no copy holds any more; `check` names the files. */
  lostBytes: number
}

/** What a storage class holds. */
export interface ClassUsage {
  classId: number
  name: string
  /** As in ClassReport. */
  inodes: number | null
  /** Parts do not count, the chunks do that are made of them. */
  chunks: number
  /** Bytes that files refer to; what snapshots share counts for each. */
  logicalBytes: number
  /** Bytes of all copies and parts, on whatever disk. */
  rawBytes: number
}

export interface UsageReport {
  /** A store of before is still being counted: the numbers are too small. */
  counting: boolean
  /** On disks, of chunks that no file refers to any more: they are deleted soon. */
  deletedBytes: number
  classes: ClassUsage[]
}

/** What is done about copies that are missing, or not where they should be. */
export interface RepairReport {
  /** Chunks waiting, by why, most urgent first; queues have a bound, and what is beyond follows later. */
  waiting: { urgency: string; chunks: number }[]
  /** Being worked on. */
  running: number
  /** Chunks that need a copy for which there is no disk now. */
  nowhere: number
  /** Of the endangered chunks, those that are erasure-coded: as few parts left as are enough. */
  endangeredCoded: number
  /** Until no chunk lacks a copy or a part, by the rate seen of late; null while none can be told. */
  secondsLeft: number | null
}

/** What is sealed and not yet where its class wants it. */
export interface BehindReport {
  nowSec: number
  /** There is more than was counted. */
  atLeast: boolean
  rows: {
    classId: number
    class: string
    /** null: one of several sites, or no disk that there is. */
    site: string | null
    chunks: number
    bytes: number
    /** When the oldest data of it was written, in seconds since 1970. */
    oldestSec: number
  }[]
}

export interface StatusReport {
  cluster: string
  version: string
  uptimeSeconds: number
  changelogIndex: number
  settings: {
    copies: number
    graceMs: number
    trashRetentionMs: number
    sessionTimeoutMs: number
    backupLabels: string[]
    moving: {
      /** Disks are filled alike; begun where they differ by more than so many percent. */
      rebalance: boolean
      rebalancePercent: number
      /** Of what is moved in the background; 0: no bound. */
      diskBytesPerSecond: number
      nodeBytesPerSecond: number
      sitesBytesPerSecond: number
    }
  }
  files: number
  directories: number
  trashed: number
  sustained: number
  logicalBytes: number
  /** `exceeded`: over a soft limit or at a hard one. `counting`: not in force yet, or being taken away. */
  quotas: { set: number; exceeded: number; counting: number }
  totalBytes: number
  usedBytes: number
  availableBytes: number
  /** Kept aside, not part of `availableBytes`: for making room again and for copies of what is nearly lost. */
  reservedBytes: number
  chunks: HealthReport
  repair: RepairReport
  usage: UsageReport
  behind: BehindReport
  nodes: NodeReport[]
  disks: DiskReport[]
  sessions: SessionReport[]
  work: WorkReport[]
}

export interface CopyReport {
  disk: number
  nodeName: string
  path: string
  rack: string
  site: string
  connected: boolean
  /** It can be read now: connected, complete, and not known to be damaged beyond repair. */
  readable: boolean
}

export interface PartReport {
  kind: 'data' | 'parity'
  /** Counted from 1, data parts first. */
  part: number
  chunk: string
  length: number
  copies: CopyReport[]
}

export interface FileChunkReport {
  chunk: string
  state: string
  length: number
  liveBytes: number
  class: string
  /** Where in its class's life it is; `create` until it is sealed. */
  phase: 'create' | 'keep' | 'archive' | 'trash'
  /** What it is cut into, and what it is to be cut into; null: whole copies. */
  ec: { data: number; parity: number } | null
  ecWanted: { data: number; parity: number } | null
  /** Copies (or parts, once it is cut into them) that are to be, and those that can be read now. */
  wanted: number
  there: number
  /** Of the whole. */
  copies: CopyReport[]
  parts: PartReport[]
  /** What it lacks of what its class asks for, in words; empty: nothing. */
  missing: string[]
}

/** How much of a file can be read at a site without another one. */
export interface FileSiteReport {
  site: string
  /** Bytes of extents. */
  bytes: number
  /** What is not there. */
  missingBytes: number
  /** Its class puts something there, or may. */
  wanted: boolean
}

export interface FileReport {
  path: string
  ino: number
  type: string
  size: number
  used: number
  copiesWanted: number
  /** Its storage class. */
  class: string
  trashRetentionMs: number
  /** `lost`: so many bytes at its end are on no disk any more. */
  extents: { offset: number; length: number; chunk: string; chunkOffset: number; lost: number }[]
  /** By the extents above; empty where nobody has said what a site is. */
  sites: FileSiteReport[]
  chunks: FileChunkReport[]
}

export interface TrashEntry {
  ino: number
  /** The path it had, as a byte string. */
  path: string
  size: number
  uid: number
  /** Seconds since 1970, as is the next. */
  deletedAt: number
  expiresAt: number
}
export interface TrashPage {
  entries: TrashEntry[]
  /** Empty at the end. */
  cursor: string
}

export interface QuotaLimitReport {
  used: number
  /** 0: no limit. */
  soft: number
  hard: number
  /** Since when the soft limit has been exceeded, and from when on it acts as a hard one, in seconds since 1970; 0: it is not. */
  overSince: number
  refusesFrom: number
}
export interface QuotaReport {
  ino: number
  /** Byte string. */
  path: string
  state: 'active' | 'counting' | 'waiting' | 'leaving'
  /** While it is being counted or taken away: names looked at so far. */
  walked: number
  graceMs: number
  inodes: QuotaLimitReport
  length: QuotaLimitReport
  raw: QuotaLimitReport
  /** Something is over its soft limit, or at its hard one. */
  exceeded: boolean
}
export interface QuotaPage {
  quotas: QuotaReport[]
  /** 0 at the end. */
  cursor: number
}

export interface ChangelogRow {
  index: number
  time: { sec: number; nsec: number }
  session: number
  seq: number
  kind: string
  fields: Record<string, unknown>
  errno: string
}
export interface ChangelogPage {
  rows: ChangelogRow[]
  last: number
}

/** One finding of `holdfast check`: where and what, in a sentence. */
export interface Finding {
  severity: 'error' | 'warning'
  what: string
}
export interface CheckPage {
  cursor: string
  records: number
  findings: Finding[]
  /** Chunks seen on this page, for the comparison with the disks. */
  chunks: {
    chunk: number
    state: string
    length: number
    disks: number[]
    /** Of an erasure-coded one: its parts, which stand in the list as well, and how many of them are enough. */
    ec?: { data: number; parts: number[] }
    /** It is a part. */
    isPart?: boolean
  }[]
}

export interface ClassReport {
  classId: number
  name: string
  description: string
  /** Placings in the canonical form, '' where nothing is defined. */
  create: string
  keep: string
  archive: string
  trash: string
  defaultMode: 'loose' | 'std' | 'strict'
  archiveAfterMs: number
  archiveBy: string
  minBytes: number
  trashMinRetentionMs: number
  priority: number
  /** Files and directories that have it, those in the trash too. Of class 1 nobody counts them. */
  inodes: number | null
}

export interface PatternReport {
  number: number
  glob: string
  uid: number | null
  gid: number | null
  priority: number
  classId: number
}

export interface ClassesReport {
  classes: ClassReport[]
  patterns: PatternReport[]
  usage: UsageReport
  /** Copies that class 1 keeps while nothing else is said of it. */
  copies: number
}

/** A snapshot that is being made, a tree that is being deleted; or one of the last that were. */
export interface JobReport {
  job: number
  kind: 'snapshot' | 'delete'
  /** `clearing` of a snapshot: it is in its place, or given up, and what was needed to make it is thrown away. */
  phase: 'copying' | 'clearing' | 'over'
  source: string
  target: string
  /** Copied, or deleted, until now. */
  inodes: number
  bytes: number
  /** Seconds since 1970; 0: not over. */
  begunAt: number
  overAt: number
  /** Why it was given up; empty: it was not. */
  errno: string
  detail: string
}

export interface ClassMoves {
  /** Where the next page begins; null: this was the last. */
  after: number | null
  /** Chunks of the class in this page, and those of them of which something would be copied. */
  chunks: number
  moving: number
  /** Copies or parts that would find no place. */
  nowhere: number
  /** Bytes between sites ('' where none is known), and within. */
  links: { from: string; to: string; bytes: number }[]
}

/** Beyond what would be copied as things are. */
export interface LabelMoves extends ClassMoves {
  /** What the chunkserver's, or the disk's, own labels would be. */
  labels: string[]
}
