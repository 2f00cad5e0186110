/*
 * What metadata says a chunk should be against what a disk holds, as findings. Pure; online and offline check share it.
 *
 * A copy is good when the disk holds at least the committed length: bytes beyond it are scrap and no finding. What a copy
 * that is missing means depends on the others: with a good one left repair will make it whole (warning), without any the
 * data is lost (error).
 */

import { type ChunkId, chunkName } from '../../base/ids.ts'
import type { CheckPage, Finding } from '../../wire/reports.ts'

export type ExpectedChunk = CheckPage['chunks'][number]

/** What a disk answered about one chunk; undefined: it does not hold it. */
export interface HeldCopy {
  readonly state: 'open' | 'sealed' | 'gone' | 'damaged'
  readonly length: number
}

export interface DiskView {
  /** For messages: "disk 3 (chunkserver-1:/srv/disk)". */
  readonly name: string
  /** Could be asked. A disk that could not is neither for nor against a copy. */
  readonly asked: boolean
  readonly held: ReadonlyMap<number, HeldCopy>
}

export interface Comparison {
  readonly chunks: number
  readonly copies: number
  readonly goodCopies: number
  readonly findings: Finding[]
}

export function compareChunks(expected: readonly ExpectedChunk[], disks: ReadonlyMap<number, DiskView>): Comparison {
  const findings: Finding[] = []
  let copies = 0
  let goodCopies = 0
  for (const chunk of expected) {
    const complaints: string[] = []
    let good = 0
    let unknown = 0
    for (const number of chunk.disks) {
      copies++
      const disk = disks.get(number)
      if (disk === undefined || !disk.asked) {
        unknown++
        continue
      }
      const complaint = copyComplaint(chunk, disk.held.get(chunk.chunk))
      if (complaint === undefined) good++
      else complaints.push(`${disk.name} ${complaint}`)
    }
    goodCopies += good
    findings.push(...chunkFindings(chunk, good, unknown, complaints))
  }
  return { chunks: expected.length, copies, goodCopies, findings }
}

function copyComplaint(chunk: ExpectedChunk, held: HeldCopy | undefined): string | undefined {
  if (held === undefined || held.state === 'gone') return chunk.length === 0 ? undefined : 'does not hold it'
  if (held.state === 'damaged') return 'holds a damaged copy'
  if (held.length < chunk.length) return `holds ${held.length} of ${chunk.length} bytes`
  return undefined
}

function chunkFindings(chunk: ExpectedChunk, good: number, unknown: number, complaints: string[]): Finding[] {
  const name = `chunk ${chunkName(chunk.chunk as ChunkId)}`
  if (chunk.length === 0) return complaints.map((what) => ({ severity: 'warning', what: `${name}: ${what}` }))
  if (good > 0) return complaints.map((what) => ({ severity: 'warning', what: `${name}: ${what}; ${good} good left` }))
  const why = complaints.length > 0 ? `: ${complaints.join('; ')}` : ''
  if (unknown > 0)
    return [
      { severity: 'warning', what: `${name}: no copy can be reached now (${unknown} on disks that are away)${why}` },
    ]
  return [{ severity: 'error', what: `${name} (${chunk.length} bytes) is lost, no disk holds a good copy${why}` }]
}

/** A finding of a moment (a chunk that was just moved or written) is not there when looked at again. */
export function persisting(first: readonly Finding[], second: readonly Finding[]): Finding[] {
  const seen = new Set(first.map((finding) => finding.what))
  return second.filter((finding) => seen.has(finding.what))
}

export interface CheckReport {
  readonly mode: 'online' | 'offline'
  readonly deep: boolean
  readonly records: number
  readonly chunks: number
  readonly copies: number
  readonly goodCopies: number
  readonly errors: number
  readonly warnings: number
  readonly findings: Finding[]
}

export function checkReport(
  mode: CheckReport['mode'],
  deep: boolean,
  records: number,
  { chunks, copies, goodCopies }: Omit<Comparison, 'findings'>,
  findings: Finding[],
): CheckReport {
  const errors = findings.filter((finding) => finding.severity === 'error').length
  return { mode, deep, records, chunks, copies, goodCopies, errors, warnings: findings.length - errors, findings }
}
