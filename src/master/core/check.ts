/*
 * Does the state agree with itself? Every record is looked at once and compared with what it refers to and what refers to
 * it. Changes nothing, repairs nothing: a finding is a bug or a damaged disk, and a person decides.
 *
 * `checkPage` is a bounded step for a running master: it sees between two pages what commands changed, so it compares
 * only records that one command changes together. `check` goes over all of it at once and also compares the totals:
 * link counts of files and the counters.
 */

import { isRefusal } from '../../base/fault.ts'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../base/ids.ts'
import { labelNames } from '../../topology/label-names.ts'
import type { CheckPage, Finding } from '../../wire/reports.ts'
import { wrongWithClasses, wrongWithClassRecord } from './check-classes.ts'
import { bytesBeyond, type ChunkClass, chunkClass, isSparse, needsAttention } from './chunks.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import { BUCKET_SLOTS, nameHash } from './dentries.ts'
import { lossFindings } from './losses.ts'
import { checkQuota, checkQuotaOfInode, checkQuotaWalk, isElsewhere, QuotaRecount } from './quota-check.ts'
import {
  bucketRecord,
  type ChunkRecord,
  type Counters,
  type InodeRecord,
  type JobRecord,
  type NodeRecord,
  unpack,
} from './records.ts'
import type { State } from './state.ts'
import { after, afterNum, key, num48At, numAt, type TableName, tables } from './tables.ts'
import { UsageRecount } from './usage.ts'

interface Totals {
  readonly links: Map<Ino, number>
  readonly quotas: QuotaRecount
  readonly counted: {
    [K in ChunkClass | 'directories' | 'files' | 'trashed' | 'sustained' | 'doomed' | 'sessions']: number
  }
  logicalBytes: number
  lostBytes: number
  changelogBytes: number
  entries: number
  /** Inodes by class, without the default one. */
  readonly classed: Map<number, number>
  reclassing: number
  readonly usage: UsageRecount
}

/** What belongs to one record (names of a directory, extents of a file, extents in a chunk) and is walked within a page. */
const NESTED_MAX = 65_536
const ORDER: readonly TableName[] = (Object.keys(tables) as TableName[]).sort((a, b) =>
  tables[a].prefix < tables[b].prefix ? -1 : 1,
)

/** Not walked in pages: one is trimmed meanwhile, the other has keys too long for a cursor. */
const UNPAGED: ReadonlySet<TableName> = new Set(['changelog', 'image'])

class Checker {
  readonly state: State
  readonly totals: Totals | undefined
  readonly findings: Finding[] = []
  readonly chunks: CheckPage['chunks'] = []

  constructor(state: State, totals?: Totals) {
    this.state = state
    this.totals = totals
  }
  expect(holds: boolean, what: string): void {
    if (!holds) this.findings.push({ severity: 'error', what })
  }
  has(at: string): boolean {
    return this.state.kv.get(at) !== undefined
  }
  /** A session that is there, or over and not cleared yet. */
  isKnown(session: SessionId): boolean {
    return this.state.session(session) !== undefined || this.has(key.over(session))
  }
  keys(prefix: string): string[] {
    const keys: string[] = []
    this.state.kv.scan({ from: prefix, to: after(prefix) }, (at) => {
      keys.push(at)
      return keys.length <= NESTED_MAX || this.totals !== undefined
    })
    return keys
  }
  /** Labels stand as label-names.ts writes them: one set of labels is one list. */
  labels(who: string, record: Pick<NodeRecord, 'labels' | 'labelsSet'>): void {
    for (const labels of [record.labels, record.labelsSet]) {
      const written = labelNames(labels ?? [])
      this.expect(!isRefusal(written) && written.ok.join() === (labels ?? []).join(), `${who}: labels ${labels}`)
    }
  }
  /** Too much to walk in one page. */
  tooMany(found: number): boolean {
    return this.totals === undefined && found > NESTED_MAX
  }
}

const visitors: { readonly [T in TableName]?: (c: Checker, at: string, value: Uint8Array) => void } = {
  inode: (c, at) => {
    const ino = numAt(at, 1) as Ino
    const record = c.state.inode(ino)
    if (record !== undefined) checkInode(c, ino, record)
  },
  dentry: (c, at, value) => {
    const parent = numAt(at, 1) as Ino
    const hash = num48At(at, afterNum(at, 1))
    const bucket = bucketRecord.decode(unpack(value))
    c.expect(bucket.length > 0, `directory ${parent}: an empty bucket`)
    c.expect(new Set(bucket.map((e) => e.slot)).size === bucket.length, `directory ${parent}: a slot is used twice`)
    c.expect(c.state.inode(parent)?.attr.type === 'dir', `directory ${parent} of a name does not exist`)
    for (const { name, slot, ino, type } of bucket) {
      const who = `name ${JSON.stringify(name)} in directory ${parent}`
      c.expect(slot < BUCKET_SLOTS && nameHash(name, c.state.salt()) === hash, `${who}: in the wrong place`)
      const child = c.state.inode(ino)
      c.expect(child !== undefined && !child.doomed && child.attr.nlink > 0, `${who}: inode ${ino} does not exist`)
      c.expect(child === undefined || child.attr.type === type, `${who}: inode ${ino} has another type`)
      if (child?.attr.type === 'dir')
        c.expect(child.parent === parent && child.name === name, `${who}: directory ${ino} thinks it is elsewhere`)
      if (c.totals !== undefined && child !== undefined && isElsewhere(c.state, parent, child))
        c.findings.push({ severity: 'warning', what: `${who}: counts in quota ${child.quota}, where it had a name` })
      c.totals?.links.set(ino, (c.totals.links.get(ino) ?? 0) + 1)
    }
  },
  extent: (c, at) => {
    const ino = numAt(at, 1) as Ino
    c.expect(c.state.inode(ino) !== undefined, `extents of inode ${ino}, which does not exist`)
  },
  reverse: (c, at) => {
    const chunk = numAt(at, 1) as ChunkId
    const ino = numAt(at, afterNum(at, 1)) as Ino
    const offset = numAt(at, afterNum(at, afterNum(at, 1)))
    c.expect(
      c.state.extents.at(ino, offset)?.chunk === chunk,
      `chunk ${chunk} is said to hold inode ${ino} at ${offset}, but does not`,
    )
  },
  chunk: (c, at) => {
    const chunk = numAt(at, 1) as ChunkId
    const record = c.state.chunk(chunk)
    if (record !== undefined) checkChunk(c, chunk, record)
  },
  diskChunk: (c, at) => {
    const disk = numAt(at, 1) as DiskId
    const chunk = numAt(at, afterNum(at, 1)) as ChunkId
    c.expect(c.state.chunk(chunk)?.disks.includes(disk) === true, `disk ${disk} is said to hold chunk ${chunk}`)
  },
  openChunk: (c, at) => {
    const session = numAt(at, 1)
    const chunk = numAt(at, afterNum(at, 1)) as ChunkId
    const record = c.state.chunk(chunk)
    c.expect(record?.state === 'open' && record.session === session, `chunk ${chunk} is not open in session ${session}`)
    // Session 0 is the master itself, rewriting.
    const known = session === 0 || c.isKnown(session as SessionId)
    c.expect(known, `chunk ${chunk} is open in a session that is over`)
  },
  dead: (c, at) => {
    const chunk = numAt(at, afterNum(at, 1)) as ChunkId
    c.expect(c.state.chunk(chunk)?.deadSec === numAt(at, 1), `chunk ${chunk} is not dead since ${numAt(at, 1)}`)
  },
  attention: (c, at) => {
    const record = c.state.chunk(numAt(at, 1) as ChunkId)
    c.expect(record !== undefined && needsAttention(record), `chunk ${numAt(at, 1)} needs no attention`)
  },
  sparse: (c, at) => {
    const record = c.state.chunk(numAt(at, 1) as ChunkId)
    c.expect(record !== undefined && isSparse(record), `chunk ${numAt(at, 1)} is not sparse`)
  },
  session: (c, at) => {
    const session = numAt(at, 1) as SessionId
    const record = c.state.session(session)
    if (record === undefined) return
    c.expect(c.state.sessionOf(record.client) === session, `session ${session} is not found by its client`)
    if (c.totals !== undefined) c.totals.counted.sessions += 1
  },
  over: (c, at) => {
    const session = numAt(at, 1) as SessionId
    c.expect(c.state.session(session) === undefined, `session ${session} is cleared, but is not over`)
  },
  reply: (c, at) => {
    c.expect(c.isKnown(numAt(at, 1) as SessionId), `a reply of session ${numAt(at, 1)}, which is over`)
  },
  sustained: (c, at) => {
    const ino = numAt(at, 1) as Ino
    const session = numAt(at, afterNum(at, 1)) as SessionId
    const record = c.state.inode(ino)
    c.expect(record?.attr.nlink === 0 && !record.doomed, `inode ${ino} is held open but not unlinked`)
    c.expect(c.has(key.holds(session, ino)), `session ${session} does not know that it holds inode ${ino}`)
    c.expect(c.isKnown(session), `inode ${ino} is held open by a session that is over`)
    if (c.totals !== undefined && c.state.sustainedBy(ino)[0] === session) c.totals.counted.sustained += 1
  },
  holds: (c, at) => {
    const session = numAt(at, 1) as SessionId
    const ino = numAt(at, afterNum(at, 1)) as Ino
    c.expect(c.has(key.sustained(ino, session)), `inode ${ino} does not know that session ${session} holds it`)
  },
  locks: (c, at) => {
    const ino = numAt(at, 1) as Ino
    c.expect(c.state.inode(ino) !== undefined, `locks on inode ${ino}, which does not exist`)
    for (const { session } of c.state.locksOf(ino)) {
      c.expect(c.has(key.locker(session, ino)), `session ${session} does not know of its locks on inode ${ino}`)
      c.expect(c.isKnown(session), `inode ${ino} is locked by a session that is over`)
    }
  },
  locker: (c, at) => {
    const session = numAt(at, 1)
    const ino = numAt(at, afterNum(at, 1)) as Ino
    const known = c.state.locksOf(ino).some((lock) => lock.session === session)
    c.expect(known, `session ${session} has no lock on inode ${ino}`)
  },
  node: (c, at) => {
    const node = numAt(at, 1) as NodeId
    const record = c.state.node(node)
    if (record === undefined) return
    c.labels(`chunkserver ${node}`, record)
    c.expect(c.state.counters().nextNode > node, `chunkserver ${node}: its number may be given again`)
  },
  disk: (c, at) => {
    const disk = numAt(at, 1) as DiskId
    const record = c.state.disk(disk)
    if (record === undefined) return
    c.labels(`disk ${disk}`, record)
    c.expect(record.drainedFor === undefined || record.draining, `disk ${disk}: drained for a reason, but not drained`)
    c.expect(c.state.counters().nextDisk > disk, `disk ${disk}: its number may be given again`)
    c.expect(c.state.node(record.node) !== undefined, `disk ${disk}: its node does not exist`)
    const chunks = c.keys(key.chunksOfDisk(disk)).length
    c.expect(c.tooMany(chunks) || chunks === record.chunks, `disk ${disk}: ${chunks} chunks, not ${record.chunks}`)
  },
  xattr: (c, at) => {
    c.expect(
      c.state.inode(numAt(at, 1) as Ino) !== undefined,
      `attributes of inode ${numAt(at, 1)}, which does not exist`,
    )
  },
  trash: (c, at) => {
    const ino = numAt(at, afterNum(at, 1)) as Ino
    const record = c.state.inode(ino)
    c.expect(record?.trashedUntil === numAt(at, 1), `inode ${ino} is not in the trash until ${numAt(at, 1)}`)
    if (c.totals !== undefined) c.totals.counted.trashed += 1
  },
  doomed: (c, at) => {
    c.expect(c.state.inode(numAt(at, 1) as Ino)?.doomed === true, `inode ${numAt(at, 1)} is not doomed`)
    if (c.totals !== undefined) c.totals.counted.doomed += 1
  },
  class: (c, at) => {
    for (const what of wrongWithClassRecord(c.state, numAt(at, 1))) c.expect(false, what)
  },
  reclass: (c, at) => {
    const ino = numAt(at, 1) as Ino
    c.expect(
      c.state.inode(ino) !== undefined,
      `the chunks of inode ${ino} are told of its class, but it does not exist`,
    )
    if (c.totals !== undefined) c.totals.reclassing += 1
  },
  job: (c, at) => {
    const job = numAt(at, 1)
    const record = c.state.jobs.get(job)
    if (record === undefined) return
    const copying = record.kind === 'snapshot' && record.phase === 'copying'
    c.expect(copying === (c.state.imaging()?.job === job), `job ${job}: what changes leaves images for it, or not?`)
    if (!copying) return
    c.expect(c.state.inode(record.root as Ino) !== undefined, `job ${job}: its copy ${record.root} does not exist`)
    // It will get its name when it is complete.
    c.totals?.links.set(record.root as Ino, 1)
  },
  image: (c, at) => checkOfJob(c, at, 'an image', ['copying', 'clearing']),
  copied: (c, at, value) => {
    checkOfJob(c, at, 'a copied file', ['copying', 'clearing'])
    const copy = unpack(value) as Ino
    const copying = c.state.jobs.get(numAt(at, 2))?.phase === 'copying'
    c.expect(!copying || c.state.inode(copy) !== undefined, `the copy ${copy} of several names does not exist`)
  },
  unfinished: (c, at) => {
    checkOfJob(c, at, 'a copy that is not complete', ['copying', 'clearing'])
    const copy = numAt(at, afterNum(at, 2)) as Ino
    const copying = c.state.jobs.get(numAt(at, 2))?.phase === 'copying'
    c.expect(!copying || c.state.inode(copy) !== undefined, `the copy ${copy}, which is not complete, does not exist`)
  },
  detached: (c, at) => {
    checkOfJob(c, at, 'a tree to be freed', ['clearing'])
    const ino = numAt(at, afterNum(at, 2)) as Ino
    const record = c.state.inode(ino)
    c.expect(record !== undefined, `tree ${ino}, which is to be freed, does not exist`)
    c.expect(record?.attr.type !== 'dir' || record.parent === ino, `tree ${ino}, which is to be freed, has a place`)
    c.totals?.links.set(ino, 1)
  },
  quota: (c, at) => {
    checkQuota(c.state, numAt(at, 1) as Ino, (holds, what) => c.expect(holds, what))
    c.totals?.quotas.met()
  },
  quotaWalk: (c, at) => {
    const ino = numAt(at, afterNum(at, 1)) as Ino
    checkQuotaWalk(c.state, numAt(at, 1) === 0, ino, (holds, what) => c.expect(holds, what))
  },
  usage: (c, at) => {
    const classId = numAt(at, 1)
    const { chunks, live, raw } = c.state.usage.of(classId)
    c.expect(chunks + live + raw > 0, `usage of class ${classId}: a row of nothing`)
  },
  changelog: (c, _at, value) => {
    if (c.totals === undefined) return
    c.totals.changelogBytes += value.length
    c.totals.entries += 1
  },
}

function checkOfJob(c: Checker, at: string, what: string, phases: readonly JobRecord['phase'][]): void {
  const job = numAt(at, 2)
  const phase = c.state.jobs.get(job)?.phase
  c.expect(phase !== undefined && phases.includes(phase), `${what} of job ${job}, which is ${phase ?? 'unknown'}`)
}

function checkInode(c: Checker, ino: Ino, record: InodeRecord): void {
  const { state, totals } = c
  const { attr } = record
  const who = `inode ${ino}`
  if (totals !== undefined && attr.nlink > 0) totals.counted[attr.type === 'dir' ? 'directories' : 'files'] += 1
  if (attr.nlink === 0)
    c.expect(
      record.trashedUntil !== undefined || record.doomed || state.isSustained(ino),
      `${who}: no name, and nobody keeps it`,
    )
  c.expect(record.trashedUntil === undefined || attr.nlink === 0, `${who}: in the trash with a name`)
  if (record.trashedUntil !== undefined)
    c.expect(c.has(key.trash(record.trashedUntil, ino)), `${who}: not found in the trash`)
  c.expect(!record.doomed || c.has(key.doomed(ino)), `${who}: doomed, but nobody frees it`)
  const { classId } = attr
  if (classId !== undefined) {
    c.expect(state.classes.record(classId) !== undefined, `${who}: storage class ${classId} does not exist`)
    c.expect(classId > DEFAULT_CLASS, `${who}: says that it has the default class`)
    totals?.classed.set(classId, (totals.classed.get(classId) ?? 0) + 1)
  }
  const names = state.xattrs(ino)
  const bytes = names.reduce((sum, name) => sum + name.length + 1, 0)
  c.expect(bytes === record.xattrBytes, `${who}: ${bytes} bytes of attribute names, not ${record.xattrBytes}`)
  if (state.quotas.any || record.quota !== 0)
    checkQuotaOfInode(state, ino, record, (holds, what) => c.expect(holds, what))
  if (record.quota !== 0) totals?.quotas.add(state, record)
  if (attr.type === 'dir') checkDirectory(c, ino, record)
  else checkExtents(c, ino, record)
}

function checkDirectory(c: Checker, ino: Ino, record: InodeRecord): void {
  const { state } = c
  const who = `directory ${ino}`
  if (record.parent === ino) c.expect(ino === 1 || state.jobs.isDetached(ino), `${who}: it has no place`)
  else if (ino !== 1) {
    const entry = state.lookup(record.parent, record.name)
    c.expect(entry?.ino === ino, `${who}: not found in its parent ${record.parent}`)
  }
  c.expect(record.attr.used === 0, `${who}: has bytes`)
  if (c.tooMany(record.entries)) return
  let entries = 0
  let subdirectories = 0
  const prefix = key.dentriesOf(ino)
  state.kv.scan({ from: prefix, to: after(prefix) }, (_at, value) => {
    for (const { type } of bucketRecord.decode(unpack(value))) {
      entries += 1
      if (type === 'dir') subdirectories += 1
    }
    return true
  })
  c.expect(entries === record.entries, `${who}: ${entries} names, not ${record.entries}`)
  c.expect(record.attr.nlink === 2 + subdirectories, `${who}: ${record.attr.nlink} links, ${subdirectories} in it`)
}

function checkExtents(c: Checker, ino: Ino, record: InodeRecord): void {
  const { state } = c
  const who = `inode ${ino}`
  const { extents, complete } = state.extents.from(
    ino,
    0,
    c.totals === undefined ? NESTED_MAX : Number.MAX_SAFE_INTEGER,
  )
  let end = 0
  let used = 0
  for (const extent of extents) {
    c.expect(extent.length > 0 && extent.offset >= end, `${who}: extents overlap at ${extent.offset}`)
    end = extent.offset + extent.length
    used += extent.length
    const chunk = state.chunk(extent.chunk)
    c.expect(chunk !== undefined, `${who} at ${extent.offset}: chunk ${extent.chunk} does not exist`)
    c.expect(
      chunk === undefined || extent.chunkOffset + extent.length <= (chunk.committed ?? chunk.length),
      `${who} at ${extent.offset}: beyond the end of chunk ${extent.chunk}`,
    )
    c.expect(
      c.has(key.reverse(extent.chunk, ino, extent.offset)),
      `${who} at ${extent.offset}: chunk ${extent.chunk} does not know of it`,
    )
  }
  c.expect(end <= record.attr.size, `${who}: bytes beyond its size ${record.attr.size}`)
  c.expect(!complete || used === record.attr.used, `${who}: ${used} bytes used, not ${record.attr.used}`)
  c.expect(record.attr.type === 'file' || used === 0, `${who}: not a file, but has bytes`)
  if (c.totals !== undefined) c.totals.logicalBytes += used
}

function checkChunk(c: Checker, chunk: ChunkId, record: ChunkRecord): void {
  const { state } = c
  const who = `chunk ${chunk}`
  const { ec, whole, length, disks } = record
  c.chunks.push({
    ...{ chunk, state: record.state, length, disks: [...disks] },
    ...(ec === undefined ? {} : { ec: { data: ec.data, parts: [...ec.parts] } }),
    ...(whole === undefined ? {} : { isPart: true }),
  })
  const owners = state.extents.inChunk(chunk, undefined, c.totals === undefined ? NESTED_MAX : Number.MAX_SAFE_INTEGER)
  const live = sumOf(owners.map(({ extent }) => extent.length))
  if (record.whole === undefined)
    c.expect(c.tooMany(owners.length + 1) || live === record.live, `${who}: ${live} live bytes, not ${record.live}`)
  else checkPart(c, chunk, record.whole, record)
  if (record.ec !== undefined) checkParts(c, chunk, record.ec)
  const lost =
    record.committed === undefined ? 0 : sumOf(owners.map(({ extent }) => bytesBeyond(extent, record.length)))
  c.expect(
    c.tooMany(owners.length + 1) || lost === (record.lost ?? 0),
    `${who}: ${lost} bytes lost, not ${record.lost}`,
  )
  c.expect((record.committed === undefined) === (record.lost === undefined), `${who}: shortened or not?`)
  if (c.totals !== undefined) c.totals.lostBytes += record.lost ?? 0
  for (const disk of record.disks) {
    c.expect(c.has(key.diskChunk(disk, chunk)), `${who}: disk ${disk} does not know of it`)
    c.expect(state.disk(disk) !== undefined, `${who}: disk ${disk} does not exist`)
  }
  c.expect(
    record.unsealed.every((disk) => record.disks.includes(disk)),
    `${who}: waits for the seal of a copy that does not count`,
  )
  c.expect(needsAttention(record) === c.has(key.attention(chunk)), `${who}: wrong in the list of attention`)
  c.expect(isSparse(record) === c.has(key.sparse(chunk)), `${who}: wrong in the list of sparse chunks`)
  const open = record.state === 'open' && record.session !== 0
  c.expect(!open || c.has(key.openChunk(record.session, chunk)), `${who}: its session does not know of it`)
  c.expect((record.deadSec !== undefined) === (record.state === 'sealed' && record.live === 0), `${who}: dead or not?`)
  c.expect(
    record.deadSec === undefined || c.has(key.dead(record.deadSec, chunk)),
    `${who}: not in the list of the dead`,
  )
  c.totals?.usage.add(state, chunk, record)
  const counted = chunkClass(record)
  if (c.totals !== undefined && counted !== undefined) c.totals.counted[counted] += 1
}

function checkPart(c: Checker, chunk: ChunkId, whole: ChunkId, record: ChunkRecord): void {
  const who = `chunk ${chunk}`
  const of = c.state.chunk(whole)
  const listed = of?.ec?.parts.includes(chunk) === true
  c.expect(listed || record.state === 'open', `${who}: a part of chunk ${whole}, which is not made of it`)
  const live = record.state === 'open' ? 0 : record.length
  c.expect(record.live === live, `${who}: a part with ${record.live} live bytes, not ${live}`)
}

function checkParts(
  c: Checker,
  chunk: ChunkId,
  { data, parity, parts, present }: NonNullable<ChunkRecord['ec']>,
): void {
  const who = `chunk ${chunk}`
  c.expect(parts.length === data + parity, `${who}: ${parts.length} parts of ${data} and ${parity}`)
  c.expect(new Set(parts).size === parts.length, `${who}: a part stands twice among its parts`)
  let there = 0
  for (const part of parts) {
    const record = c.state.chunk(part)
    c.expect(record?.whole === chunk, `${who}: its part ${part} does not know of it`)
    if (record?.state === 'sealed' && record.disks.length > record.unsealed.length) there += 1
  }
  c.expect(there === present, `${who}: ${there} parts are there, not ${present}`)
}

const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0)

/** Everything at once, totals included. Everything changed must have been flushed. */
export function check(state: State): Finding[] {
  const zero = { open: 0, safe: 0, under: 0, endangered: 0, lost: 0, over: 0, dead: 0 }
  const totals: Totals = {
    links: new Map(),
    quotas: new QuotaRecount(),
    counted: { ...zero, directories: 0, files: 0, trashed: 0, sustained: 0, doomed: 0, sessions: 0 },
    logicalBytes: 0,
    lostBytes: 0,
    changelogBytes: 0,
    entries: 0,
    classed: new Map(),
    reclassing: 0,
    usage: new UsageRecount(),
  }
  const c = new Checker(state, totals)
  let cursor: string | undefined = ''
  while (cursor !== undefined) cursor = step(c, cursor, 65_536).next
  c.labels('settings', { labels: state.settings().backupLabels, labelsSet: undefined })
  const counters = state.counters()
  for (const [name, counted] of Object.entries(totals.counted))
    c.expect(
      counters[name as keyof Counters] === counted,
      `counter ${name}: ${counted} found, not ${counters[name as keyof Counters]}`,
    )
  c.expect(counters.logicalBytes === totals.logicalBytes, `counter logicalBytes: ${totals.logicalBytes} found`)
  c.expect((counters.lostBytes ?? 0) === totals.lostBytes, `counter lostBytes: ${totals.lostBytes} found`)
  c.expect(counters.changelogBytes === totals.changelogBytes, `counter changelogBytes: ${totals.changelogBytes} found`)
  c.expect(counters.index - counters.firstIndex + 1 === totals.entries, `changelog: ${totals.entries} entries`)
  c.expect((counters.reclassing ?? 0) === totals.reclassing, `counter reclassing: ${totals.reclassing} found`)
  for (const what of wrongWithClasses(state, totals.classed)) c.expect(false, what)
  totals.usage.compare(state, (holds, what) => c.expect(holds, what))
  totals.quotas.compare(state, (holds, what) => c.expect(holds, what))
  for (const [ino, links] of totals.links) {
    const record = state.inode(ino)
    if (record !== undefined && record.attr.type !== 'dir')
      c.expect(record.attr.nlink === links, `inode ${ino}: ${links} names, not ${record.attr.nlink}`)
  }
  return c.findings
}

/** A bounded step; begins with '' and is at the end when the cursor is '' again. */
export function checkPage(state: State, cursor: string, limit: number): CheckPage {
  const c = new Checker(state)
  const { next, records } = step(c, cursor, Math.max(1, limit))
  const losses = lossFindings(
    state,
    c.chunks.map(({ chunk }) => chunk as ChunkId),
  )
  return { cursor: next ?? '', records, findings: [...c.findings, ...losses], chunks: c.chunks }
}

/** Looks at up to `limit` records from a key on; `next`: where to go on, undefined at the end. */
function step(c: Checker, from: string, limit: number): { next: string | undefined; records: number } {
  let records = 0
  for (const table of ORDER) {
    const visit = visitors[table]
    const { prefix } = tables[table]
    const end = after(prefix)
    if (visit === undefined || from >= end || (UNPAGED.has(table) && c.totals === undefined)) continue
    const isRead = table === 'dentry' || table === 'changelog' || table === 'copied'
    const seen: { at: string; value: Uint8Array }[] = []
    c.state.kv.scan({ from: from > prefix ? from : prefix, to: end }, (at, value) => {
      if (records + seen.length >= limit) {
        seen.push({ at, value })
        return false
      }
      seen.push({ at, value: isRead ? value.slice() : value })
      return true
    })
    const more = records + seen.length > limit ? seen.pop() : undefined
    for (const { at, value } of seen) visit(c, at, value)
    records += seen.length
    if (more !== undefined) return { next: table === 'xattr' ? nextInode(more.at, seen.at(-1)?.at) : more.at, records }
  }
  return { next: undefined, records }
}

/** Names of attributes are too long for a cursor: a page ends between inodes, one visit per inode says enough. */
function nextInode(at: string, seen: string | undefined): string {
  const prefix = key.xattrsOf(numAt(at, 1) as Ino)
  return seen?.startsWith(prefix) === true ? after(prefix) : prefix
}
