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
  const all = new Map(expected.map((chunk) => [chunk.chunk, lookAt(chunk, disks)]))
  const looks = [...all.values()]
  return {
    chunks: expected.length,
    copies: looks.reduce((sum, { chunk }) => sum + chunk.disks.length, 0),
    goodCopies: looks.reduce((sum, { good }) => sum + good, 0),
    findings: looks.flatMap((look) => {
      // What is wrong with a part is said of the chunk that is made of it.
      if (look.chunk.isPart === true) return []
      return look.chunk.ec === undefined ? chunkFindings(look) : codedFindings(look, look.chunk.ec, all)
    }),
  }
}

interface Look {
  readonly chunk: ExpectedChunk
  readonly good: number
  /** On disks that could not be asked. */
  readonly unknown: number
  readonly complaints: readonly string[]
}

function lookAt(chunk: ExpectedChunk, disks: ReadonlyMap<number, DiskView>): Look {
  const complaints: string[] = []
  let good = 0
  let unknown = 0
  for (const number of chunk.disks) {
    const disk = disks.get(number)
    if (disk === undefined || !disk.asked) {
      unknown++
      continue
    }
    const complaint = copyComplaint(chunk, disk.held.get(chunk.chunk))
    if (complaint === undefined) good++
    else complaints.push(`${disk.name} ${complaint}`)
  }
  return { chunk, good, unknown, complaints }
}

/** As long as a copy, or enough parts, are good, what else is wrong is repair's work. */
function codedFindings(
  whole: Look,
  { data, parts }: { data: number; parts: number[] },
  all: ReadonlyMap<number, Look>,
): Finding[] {
  const name = `chunk ${chunkName(whole.chunk.chunk as ChunkId)}`
  const looks = parts.map((part) => all.get(part))
  const good = looks.filter((look) => (look?.good ?? 0) > 0).length
  const hoped = looks.filter((look) => look?.good === 0 && look.unknown > 0).length
  const complaints = looks.flatMap((look, i) => {
    const missing = look === undefined || (look.good === 0 && look.unknown === 0 && look.complaints.length === 0)
    return missing ? [`part ${i + 1} is on no disk`] : look.complaints.map((what) => `part ${i + 1}: ${what}`)
  })
  const said = [...whole.complaints, ...complaints]
  if (whole.good > 0 || good >= data)
    return said.map((what) => ({
      severity: 'warning',
      what: `${name}: ${what}; ${good} good parts left, ${data} are enough`,
    }))
  const why = said.length > 0 ? `: ${said.join('; ')}` : ''
  if (good + hoped >= data || whole.unknown > 0)
    return [
      {
        severity: 'warning',
        what: `${name}: ${good} of ${data} parts can be reached now (${hoped} on disks that are away)${why}`,
      },
    ]
  return [
    {
      severity: 'error',
      what: `${name} (${whole.chunk.length} bytes) is lost, ${good} of the ${data} parts that are needed are good${why}`,
    },
  ]
}

function copyComplaint(chunk: ExpectedChunk, held: HeldCopy | undefined): string | undefined {
  if (held === undefined || held.state === 'gone') return chunk.length === 0 ? undefined : 'does not hold it'
  if (held.state === 'damaged') return 'holds a damaged copy'
  if (held.length < chunk.length) return `holds ${held.length} of ${chunk.length} bytes`
  return undefined
}

function chunkFindings({ chunk, good, unknown, complaints }: Look): Finding[] {
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
