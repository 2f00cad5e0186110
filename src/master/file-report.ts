/*
 * The report behind `holdfast file info`: what a file is made of, where every copy and part of it lies and whether that
 * can be read now, and what each chunk still lacks of what its class asks for. Nothing here changes anything.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import type { CopyReport, FileChunkReport, FileReport, PartReport } from '../wire/reports.ts'
import { bytesBeyond } from './core/chunks.ts'
import type { ChunkRecord } from './core/records.ts'
import type { DiskMap } from './core/repair.ts'
import { wanting } from './core/wanting.ts'
import { wishedCopies, wishOf } from './core/wishes.ts'
import { fileSites } from './presence.ts'
import { type ReportParts, resolvePath } from './reports.ts'

/** Extents of one file in a report; more are left out, the report is for people. */
const REPORT_EXTENTS_MAX = 10_000

export function fileReport(parts: ReportParts, path: string): FileReport {
  const { state, nodes } = parts
  const ino = resolvePath(state, path)
  const record = state.inode(ino)
  if (record === undefined) throw new FsError('ENOENT', path)
  const { extents } = state.extents.from(ino, 0, REPORT_EXTENTS_MAX)
  const cls = state.classes.meaning(record.attr.classId ?? 0)
  const disks = nodes.map()
  return {
    path,
    ino,
    type: record.attr.type,
    size: record.attr.size,
    used: record.attr.used,
    copiesWanted: record.copies === 0 ? wishedCopies(wishOf(cls, 'keep')) : record.copies,
    class: cls.name,
    trashRetentionMs: record.retentionMs ?? state.settings().trashRetentionMs,
    extents: extents.map((extent) => {
      const { committed, length = 0 } = state.chunk(extent.chunk) ?? {}
      const lost = committed === undefined ? 0 : bytesBeyond(extent, length)
      return { ...extent, chunk: chunkName(extent.chunk), lost }
    }),
    sites: fileSites(parts, record.attr.classId ?? 0, extents, disks),
    chunks: [...new Set(extents.map((extent) => extent.chunk))].flatMap((chunk) => {
      const found = state.chunk(chunk)
      return found === undefined ? [] : [chunkReport(parts, chunk, found, disks)]
    }),
  }
}

function chunkReport(parts: ReportParts, chunk: ChunkId, record: ChunkRecord, disks: DiskMap): FileChunkReport {
  const { state, watch } = parts
  const { ec, code } = record
  const { wanted, there, missing } = wanting(watch.view(chunk, record), disks)
  return {
    chunk: chunkName(chunk),
    state: record.state,
    length: record.length,
    liveBytes: record.live,
    class: state.classes.meaning(record.classId ?? 0).name,
    phase: record.state === 'sealed' ? (record.phase ?? 'keep') : 'create',
    ec: ec === undefined ? null : { data: ec.data, parity: ec.parity },
    ecWanted: code ?? null,
    wanted,
    there,
    copies: record.disks.map((disk) => copyReport(parts, chunk, record, disk)),
    parts: ec?.parts.map((part, i) => partReport(parts, part, i, ec.data)) ?? [],
    missing: [...missing],
  }
}

function partReport(parts: ReportParts, part: ChunkId, index: number, data: number): PartReport {
  const record = parts.state.chunk(part)
  return {
    kind: index < data ? 'data' : 'parity',
    part: index + 1,
    chunk: chunkName(part),
    length: record?.length ?? 0,
    copies: record?.disks.map((disk) => copyReport(parts, part, record, disk)) ?? [],
  }
}

function copyReport(
  { state, nodes, watch }: ReportParts,
  chunk: ChunkId,
  record: ChunkRecord,
  disk: DiskId,
): CopyReport {
  const { node, path = '' } = state.disk(disk) ?? {}
  const { rack = '', site = '' } = node === undefined ? {} : nodes.location(node)
  const connected = nodes.isLive(disk)
  const complete = record.state !== 'sealed' || !record.unsealed.includes(disk)
  return {
    disk,
    nodeName: node === undefined ? '' : (state.node(node)?.name ?? ''),
    path,
    rack,
    site,
    connected,
    readable: connected && complete && !watch.isBeyondRepair(chunk, disk),
  }
}
