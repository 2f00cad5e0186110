/*
 * Which files miss bytes: those with extents beyond the end of a chunk whose copies have all lost it.
 */

import { type ChunkId, chunkName, type Ino } from '../../base/ids.ts'
import type { Finding } from '../../wire/reports.ts'
import { bytesBeyond } from './chunks.ts'
import { pathOf } from './paths.ts'
import type { State } from './state.ts'

/** Extents of one chunk that are looked at: a 64 MiB chunk of 1 KiB files. */
const EXTENTS_MAX = 65_536

/** Files named in one finding. */
const FILES_NAMED = 100

export interface LostRange {
  readonly ino: Ino
  readonly offset: number
  readonly length: number
}

/** What files have lost with this chunk, at most `limit` ranges. */
export function lostRanges(state: State, chunk: ChunkId, limit: number): LostRange[] {
  const record = state.chunk(chunk)
  if (record?.lost === undefined) return []
  const ranges: LostRange[] = []
  for (const { ino, extent } of state.extents.inChunk(chunk, undefined, EXTENTS_MAX)) {
    const length = bytesBeyond(extent, record.length)
    if (length > 0) ranges.push({ ino, offset: extent.offset + extent.length - length, length })
    if (ranges.length >= limit) break
  }
  return ranges
}

/** The files in words, for people: a path where there is one. */
export function lostFiles(state: State, chunk: ChunkId, limit: number): string[] {
  const inos = new Set(lostRanges(state, chunk, EXTENTS_MAX).map((range) => range.ino))
  return [...inos].slice(0, limit).map((ino) => {
    const path = pathOf(state, ino) ?? state.trash.of(state.inode(ino))?.path
    return path === undefined ? `inode ${ino}` : path
  })
}

/** Nothing that disagrees: what the state knows to be lost. */
export function lossFindings(state: State, chunks: readonly ChunkId[]): Finding[] {
  return chunks.flatMap((chunk) => {
    const lost = state.chunk(chunk)?.lost
    if (lost === undefined) return []
    const files = lostFiles(state, chunk, FILES_NAMED).map((path) => JSON.stringify(path))
    return [{ severity: 'error', what: `chunk ${chunkName(chunk)}: ${lost} bytes are lost, of ${files.join(', ')}` }]
  })
}
