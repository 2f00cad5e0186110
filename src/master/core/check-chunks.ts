/* The part of the check that is about chunks, their copies and parts, and the lists that name them. */

import type { ChunkId, DiskId, Ino, SessionId } from '../../base/ids.ts'
import { type Checker, NESTED_MAX, type Visitors } from './checker.ts'
import { bytesBeyond, chunkClass, isSparse, needsAttention } from './chunks.ts'
import type { ChunkRecord } from './records.ts'
import { afterNum, key, numAt } from './tables.ts'

export const chunkVisitors: Visitors = {
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
