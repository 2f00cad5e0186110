/*
 * Does the state agree with itself? Every record is looked at once and compared with what it refers to and what refers to
 * it. Changes nothing, repairs nothing: a finding is a bug or a damaged disk, and a person decides.
 *
 * `checkPage` is a bounded step for a running master: it sees between two pages what commands changed, so it compares
 * only records that one command changes together. `check` goes over all of it at once and also compares the totals:
 * link counts of files and the counters.
 */

import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../base/ids.ts'
import type { CheckPage, Finding } from '../../wire/reports.ts'
import { chunkVisitors } from './check-chunks.ts'
import { wrongWithClasses, wrongWithClassRecord } from './check-classes.ts'
import { inodeVisitors } from './check-inodes.ts'
import { wrongWithMeasured } from './check-measured.ts'
import { wrongWithBuried, wrongWithMember, wrongWithMesh, wrongWithToken } from './check-mesh.ts'
import { Checker, type Totals, type Visitors } from './checker.ts'
import { wrongWithLinks } from './links.ts'
import { lossFindings } from './losses.ts'
import { checkQuota, checkQuotaWalk, QuotaRecount } from './quota-check.ts'
import { type Counters, type JobRecord, unpack } from './records.ts'
import type { State } from './state.ts'
import { after, afterNum, key, numAt, type TableName, tables } from './tables.ts'
import { UsageRecount } from './usage.ts'

const ORDER: readonly TableName[] = (Object.keys(tables) as TableName[]).sort((a, b) =>
  tables[a].prefix < tables[b].prefix ? -1 : 1,
)

/** Not walked in pages: one is trimmed meanwhile, the other has keys too long for a cursor. */
const UNPAGED: ReadonlySet<TableName> = new Set(['changelog', 'image'])

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
  for (const what of wrongWithMesh(state)) c.expect(false, what)
  for (const what of wrongWithMeasured(state)) c.expect(false, what)
  for (const what of wrongWithLinks(state)) c.expect(false, what)
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

const visitors: Visitors = {
  ...inodeVisitors,
  ...chunkVisitors,
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
  member: (c, at) => {
    for (const what of wrongWithMember(c.state, at.slice(tables.member.prefix.length))) c.expect(false, what)
  },
  meshToken: (c, at) => {
    for (const what of wrongWithToken(c.state, at.slice(tables.meshToken.prefix.length))) c.expect(false, what)
  },
  buried: (c, at) => {
    for (const what of wrongWithBuried(c.state, at.slice(tables.buried.prefix.length))) c.expect(false, what)
  },
  denied: (c, at) => {
    const serial = at.slice(tables.denied.prefix.length)
    c.expect(c.state.mesh.denied.has(serial), `denied certificate ${serial}: written, and not known`)
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
