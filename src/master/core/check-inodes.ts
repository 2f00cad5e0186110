/* The part of the check that is about inodes: names, extents, attributes, the trash, who holds and locks them. */

import type { Ino, SessionId } from '../../base/ids.ts'
import { type Checker, NESTED_MAX, type Visitors } from './checker.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import { BUCKET_SLOTS, nameHash } from './dentries.ts'
import { checkQuotaOfInode, isElsewhere } from './quota-check.ts'
import { bucketRecord, type InodeRecord, unpack } from './records.ts'
import { after, afterNum, key, num48At, numAt } from './tables.ts'

export const inodeVisitors: Visitors = {
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
