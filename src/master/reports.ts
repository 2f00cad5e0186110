/*
 * The reports behind `holdfast status`, `disk list`, `trash list` and `changelog tail`, put together from the state and
 * from what is in memory. Nothing here changes anything.
 */

import { FsError } from '../base/fault.ts'
import { type Ino, ROOT_INO } from '../base/ids.ts'
import { BODY_BYTES_MAX } from '../base/limits.ts'
import { formatBytes } from '../base/units.ts'
import type { Worker } from '../base/worker.ts'
import type { Location } from '../topology/place.ts'
import type { Request } from '../wire/protocol.ts'
import type {
  ChangelogPage,
  DiskReport,
  HealthReport,
  NodeReport,
  RepairReport,
  ScrubReport,
  SessionReport,
  StatusReport,
  TrashEntry,
  TrashPage,
  WorkReport,
} from '../wire/reports.ts'
import type { ScrubRound } from '../wire/shapes.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { Command } from './core/commands.ts'
import type { ManyInodes } from './core/many.ts'
import { movingRules } from './core/moving.ts'
import { labelsOf } from './core/records.ts'
import type { State } from './core/state.ts'
import type { DrainWatch } from './drain-watch.ts'
import type { Parts } from './parts.ts'
import { quotaStatus } from './quota-reports.ts'
import { usageReport } from './usage-report.ts'

/** Trash entries that one page looks at when most of them do not match. */
const TRASH_LOOKED_AT_MAX = 20_000
/** Paths on one page: a quarter of what one message may have, however long they are. */
export const TRASH_PATH_BYTES_MAX: number = BODY_BYTES_MAX / 4

export interface ReportParts extends Parts {
  readonly watch: ChunkWatch
  readonly workers: readonly Worker[]
  readonly drains: DrainWatch
  readonly repair: RepairSight
  /** A drain began or ended. */
  readonly onDrain: () => void
  readonly cluster: string
  readonly version: string
  readonly startedMs: number
}

/** What is seen of the repair from outside. */
export interface RepairSight {
  secondsLeft(): number | null
  running(): number
  nowhere(): number
}

export function statusReport(parts: ReportParts): StatusReport {
  const { state, loop, nodes, clock } = parts
  const counters = state.counters()
  const settings = state.settings()
  const { rawTotal, rawUsed, rawAvailable, rawReserved } = nodes.capacity(settings.copies)
  const { refusing, reason, queued } = loop.status()
  const work: WorkReport[] = parts.workers.map(workReport)
  work.unshift({
    name: 'changes',
    state: refusing === undefined ? 'idle' : 'failed',
    progress: `${counters.index} commands`,
    queued,
    lastError: refusing === undefined ? '' : `read-only: the metadata disk takes no writes: ${reason}`,
  })
  const disks = diskReports(parts)
  return {
    cluster: parts.cluster,
    version: parts.version,
    uptimeSeconds: Math.round((clock.monotonicMs() - parts.startedMs) / 1000),
    changelogIndex: counters.index,
    settings: { ...settings, backupLabels: settings.backupLabels ?? [], moving: movingRules(settings.moving) },
    files: counters.files,
    directories: counters.directories,
    trashed: counters.trashed,
    sustained: counters.sustained,
    logicalBytes: counters.logicalBytes,
    quotas: quotaStatus(parts),
    totalBytes: rawTotal,
    usedBytes: rawUsed,
    availableBytes: rawAvailable,
    reservedBytes: rawReserved,
    chunks: healthReport(parts),
    repair: repairReport(parts),
    usage: usageReport(state),
    behind: parts.watch.behind.report((classId) => state.classes.meaning(classId).name),
    nodes: nodeReports(parts),
    disks,
    sessions: sessionReports(parts),
    work: [...work, ...disks.flatMap(scrubWork)],
  }
}

function workReport(worker: Worker): WorkReport {
  const { name, state, progress, queued, lastError } = worker.report()
  return { name, state: state === 'paused' || state === 'stopped' ? 'idle' : state, progress, queued, lastError }
}

/** What the scrubber of a disk is doing, in the words of the master's own work. */
function scrubWork({ nodeName, path, state, chunks, scrub }: DiskReport): WorkReport[] {
  if (scrub === null || state === 'away') return []
  const read = `${scrub.chunks} of ${Math.max(chunks, scrub.chunks)} chunks, ${formatBytes(scrub.bytes)} read`
  return [
    {
      name: `scrub ${nodeName}:${path}`,
      state: scrub.finished || state === 'failed' || state === 'gone' ? 'idle' : 'throttled',
      progress: read,
      queued: scrub.finished ? 0 : Math.max(0, chunks - scrub.chunks),
      lastError: scrub.damaged === 0 ? '' : `damaged in this round: ${scrub.damaged}`,
    },
  ]
}

function healthReport({ state, watch }: ReportParts): HealthReport {
  const { endangeredCoded: _coded, ...chunks } = watch.health()
  return { ...chunks, lostBytes: state.counters().lostBytes ?? 0 }
}

function repairReport({ watch, repair }: ReportParts): RepairReport {
  return {
    waiting: watch.queues(),
    running: repair.running(),
    nowhere: repair.nowhere(),
    endangeredCoded: watch.health().endangeredCoded,
    secondsLeft: repair.secondsLeft(),
  }
}

export function nodeReports({ state, nodes }: ReportParts): NodeReport[] {
  const settings = state.settings()
  return state.nodes().map(({ node, record }) => {
    const awayMs = nodes.awayMsOfNode(node)
    const ownMs = record.graceMs ?? settings.graceMs
    const maintenanceLeftSeconds = nodes.maintenanceLeftSec(node)
    const graceLeft = Math.max(maintenanceLeftSeconds, Math.round((ownMs - awayMs) / 1000), 0)
    return {
      node,
      name: record.name,
      host: record.host,
      port: record.port,
      version: record.software,
      ...placeOf(nodes.location(node)),
      labels: [...labelsOf(record)],
      labelsSet: record.labelsSet !== undefined,
      connected: nodes.peer(node) !== undefined,
      awaySeconds: Math.round(awayMs / 1000),
      graceLeftSeconds: awayMs === 0 ? 0 : graceLeft,
      graceSeconds: Math.round(ownMs / 1000),
      graceSet: record.graceMs !== undefined,
      maintenanceLeftSeconds,
    }
  })
}

const placeOf = ({ host, rack = '', site = '' }: Location): { machine: string; rack: string; site: string } => ({
  machine: host,
  rack,
  site,
})

export function diskReports({ state, nodes, drains, clock }: ReportParts): DiskReport[] {
  const nowSec = clock.now().sec
  return state.disks().map(({ disk, record }) => {
    const report = nodes.disk(disk)?.report
    const connected = nodes.peer(record.node) !== undefined
    return {
      disk,
      node: record.node,
      nodeName: state.node(record.node)?.name ?? '',
      path: record.path,
      state: connected && report !== undefined ? report.state : 'away',
      error: report?.error ?? '',
      draining: record.draining,
      totalBytes: report?.totalBytes ?? 0,
      usedBytes: report?.usedBytes ?? 0,
      availableBytes: report?.availableBytes ?? 0,
      reservedBytes: report?.reservedBytes ?? 0,
      chunks: record.chunks,
      errors: report?.errors ?? 0,
      toMove: record.draining ? record.chunks : 0,
      toMoveAtStart: record.draining ? Math.max(record.chunksAtDrain, record.chunks) : 0,
      drainSecondsLeft: drains.secondsLeft(disk),
      drainedForErrors: record.drainedFor === 'errors',
      scrub: report?.scrub === undefined ? null : scrubReport(report.scrub, record.chunks, nowSec),
      labels: [...labelsOf(record)],
      labelsSet: record.labelsSet !== undefined,
    }
  })
}

const DAY_SEC = 86_400
/** Before that, a round has not shown its pace. */
const SCRUB_PACE_SEC = 60

function scrubReport({ days = 0, ...round }: ScrubRound, held: number, nowSec: number): ScrubReport {
  const lasted = nowSec - round.startedMs / 1000
  const late = days > 0 && !round.finished ? Math.max(0, Math.round(lasted - days * DAY_SEC)) : 0
  const told = !round.finished && round.chunks > 0 && lasted >= SCRUB_PACE_SEC
  const left = told ? Math.ceil((lasted / round.chunks) * Math.max(0, held - round.chunks)) : null
  return { ...round, days, lateSeconds: late, secondsLeft: left }
}

function sessionReports({ state, sessions, clock }: ReportParts): SessionReport[] {
  const nowMs = clock.monotonicMs()
  return [...sessions.all()].map(({ info, connected, opens, heardMs }) => ({
    session: info.session,
    host: info.host,
    mountpoint: info.mountpoint,
    version: info.version,
    connected,
    openFiles: opens?.size ?? 0,
    openChunks: state.chunkIndex.openOf(info.session).length,
    locks: state.lockedBy(info.session).length,
    idleSeconds: Math.max(0, Math.round((nowMs - heardMs) / 1000)),
  }))
}

/** The inode at a path from the root of the filesystem. Symlinks are not followed: the path names the thing itself. */
export function resolvePath(state: State, path: string): Ino {
  let at: Ino = ROOT_INO
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue
    const record = state.inode(at)
    if (record?.attr.type !== 'dir') throw new FsError('ENOTDIR', path)
    const next = part === '..' ? record.parent : state.lookup(at, part)?.ino
    if (next === undefined) throw new FsError('ENOENT', path)
    at = next
  }
  return at
}

/** What a change of many inodes is for: the one that is named, or a page of the entries of that directory. */
export function manyInodes(state: State, { path, ino, page }: AskedInodes): ManyInodes {
  if ((path === undefined) === (ino === undefined)) throw new FsError('EINVAL', 'name a path or an inode')
  const at = ino ?? resolvePath(state, path ?? '')
  if (page === undefined) return { inos: [at], paged: false, cookie: undefined }
  const directory = state.inode(at)
  if (directory === undefined || directory.doomed) throw new FsError('ESTALE', `inode ${at}`)
  if (directory.attr.type !== 'dir') throw new FsError('ENOTDIR', path ?? `inode ${at}`)
  const { entries, end } = state.readdirPage(at, page.cookie, Math.max(1, page.limit))
  const cookie = end ? undefined : entries.at(-1)?.cookie
  return { inos: entries.map((entry) => entry.ino), paged: true, cookie }
}
type AskedInodes = Pick<Request<'retentionOf'>, 'path' | 'ino' | 'page'>

/** The cursor is the last entry looked at: "expiry second.inode". */
export function trashReport(state: State, cursor: string, limit: number, match: string): TrashPage {
  const entries: TrashEntry[] = []
  let after = cursorOf(cursor)
  let bytes = 0
  for (let looked = 0; looked < TRASH_LOOKED_AT_MAX; ) {
    const page = state.trash.page(after, 1_000)
    for (const { ino, expirySec, record } of page) {
      after = { expirySec, ino }
      if (match !== '' && !record.path.includes(match)) continue
      const attr = state.inode(ino)?.attr
      entries.push({
        ino,
        path: record.path,
        size: attr?.size ?? 0,
        uid: attr?.uid ?? 0,
        deletedAt: record.deletedSec,
        expiresAt: expirySec,
      })
      bytes += record.path.length
      if (entries.length >= limit || bytes > TRASH_PATH_BYTES_MAX) return { entries, cursor: `${expirySec}.${ino}` }
    }
    looked += page.length
    if (page.length < 1_000) return { entries, cursor: '' }
  }
  return { entries, cursor: after === undefined ? '' : `${after.expirySec}.${after.ino}` }
}

function cursorOf(cursor: string): { expirySec: number; ino: Ino } | undefined {
  if (cursor === '') return undefined
  const [expirySec, ino] = cursor.split('.').map(Number)
  if (!Number.isSafeInteger(expirySec) || !Number.isSafeInteger(ino)) throw new FsError('EINVAL', `cursor ${cursor}`)
  return { expirySec: expirySec!, ino: ino as Ino }
}

export function changelogReport(state: State, from: number, limit: number): ChangelogPage {
  const last = state.counters().index
  const start = from === 0 ? Math.max(1, last - limit + 1) : from
  const rows = state.changelog(start, limit).map(({ envelope, command, errno }) => ({
    index: envelope.index,
    time: { sec: envelope.sec, nsec: envelope.nsec },
    session: envelope.session,
    seq: envelope.seq,
    kind: command.kind,
    fields: shownFields(command),
    errno: errno ?? '',
  }))
  return { rows, last }
}

/** A token's key lets whoever has it join the mesh: it is in the state and its changelog, and is shown to nobody. */
function shownFields({ kind, ...fields }: Command): Record<string, unknown> {
  return kind === 'tokenMade' ? { ...fields, key: '(secret)' } : fields
}
