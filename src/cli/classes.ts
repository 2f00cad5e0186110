/*
 * What the commands about storage classes share: the flags as mfsscadmin has them, finding a class by its name, disks as
 * something that classes choose from, and how a placing is explained to people.
 */

import { Flags } from '@oclif/core'
import { FsError } from '../base/fault.ts'
import { diskId, nodeId } from '../base/ids.ts'
import type { Candidate } from '../topology/assign.ts'
import { explain, type PlacingReport } from '../topology/explain.ts'
import { LabelError, type LabelMode, type Placing, printPlacing } from '../topology/labels.ts'
import {
  CLASS_MODES,
  ClassError,
  type ClassFlags,
  type ClassMode,
  inForce,
  readClass,
  type StorageClass,
} from '../topology/storage-class.ts'
import type { ClassesReport, ClassReport, DiskReport, NodeReport } from '../wire/reports.ts'
import type { Admin } from './admin.ts'
import { count, printable } from './render.ts'

const labels = 'LABELS'
/** The letters are MooseFS's. */
export const classFlags = {
  create: Flags.string({
    char: 'C',
    summary: 'Where files are while they are written; - for like --keep.',
    helpValue: labels,
  }),
  keep: Flags.string({ char: 'K', summary: 'Where they go as soon as nobody writes.', helpValue: labels }),
  archive: Flags.string({
    char: 'A',
    summary: 'Where they go after --delay; - for nowhere else. @4+1 is erasure coding.',
    helpValue: labels,
  }),
  trash: Flags.string({
    char: 'T',
    summary: 'Where they are while in the trash; - for nowhere else.',
    helpValue: labels,
  }),
  delay: Flags.string({
    char: 'd',
    summary: 'When to archive: hours (36), 1.5d, 1w2d3h. A bare number is hours, as in MooseFS 4; in 3 it was days.',
    helpValue: 'TIME',
  }),
  'min-size': Flags.string({ char: 's', summary: 'Shorter files are not archived.', helpValue: 'SIZE' }),
  'min-retention': Flags.string({
    char: 't',
    summary: 'Files that leave the trash sooner are not moved to the disks of --trash.',
    helpValue: 'TIME',
  }),
  mode: Flags.string({
    char: 'm',
    summary: 'When the disks asked for cannot: s(trict), d (std: others when they are full), l(oose: others).',
    helpValue: 'MODE',
  }),
  'archive-by': Flags.string({
    char: 'o',
    summary: 'What the delay counts from: C(time), M, A, R(eversible) with one of those; F(ast); P(er chunk).',
    helpValue: 'LETTERS',
  }),
  priority: Flags.string({
    char: 'p',
    summary: 'Which class counts for a chunk that files of several share: the higher.',
    helpValue: 'N',
  }),
  description: Flags.string({ char: 'c', summary: 'What it is for.', helpValue: 'TEXT' }),
}

type TypedFlags = { readonly [F in keyof typeof classFlags]?: string | undefined }

export const flagsTyped = (flags: TypedFlags): ClassFlags => ({
  C: flags.create,
  K: flags.keep,
  A: flags.archive,
  T: flags.trash,
  d: flags.delay,
  s: flags['min-size'],
  t: flags['min-retention'],
  m: flags.mode,
  o: flags['archive-by'],
  p: flags.priority,
  c: flags.description,
})

/** Bad labels and flags are the typist's, and the sentence says where. */
export function typed<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof LabelError || error instanceof ClassError)
      throw new FsError('EINVAL', error.message, { cause: error })
    throw error
  }
}

export function findClass(name: string, { classes }: ClassesReport): ClassReport {
  const found = classes.find((one) => one.name === name)
  if (found === undefined)
    throw new FsError('ENOENT', `no storage class "${name}"; there are ${classes.map((one) => one.name).join(', ')}`)
  return found
}

export const meaningOf = (report: ClassReport, { copies }: ClassesReport): StorageClass => readClass(report, copies)

// ---- disks that classes choose from

export interface Places {
  readonly disks: readonly DiskReport[]
  readonly nodes: readonly NodeReport[]
  readonly candidates: readonly Candidate[]
}

export async function placesOf(admin: Admin): Promise<Places> {
  return placesFrom(...(await Promise.all([admin.call('diskList', {}), admin.call('nodeList', {})])))
}

export function placesFrom(disks: readonly DiskReport[], nodes: readonly NodeReport[]): Places {
  const byNumber = new Map(nodes.map((node) => [node.node, node]))
  const candidates = disks.filter((disk) => !disk.draining).map((disk) => candidateOf(disk, byNumber.get(disk.node)))
  return { disks, nodes, candidates }
}

function candidateOf(disk: DiskReport, node: NodeReport | undefined): Candidate {
  return {
    disk: diskId(disk.disk),
    node: nodeId(disk.node),
    location: {
      host: node?.machine || node?.host || disk.nodeName,
      ...(node?.rack ? { rack: node.rack } : {}),
      ...(node?.site ? { site: node.site } : {}),
    },
    labels: new Set([...(node?.labels ?? []), ...disk.labels]),
    state: disk.state === 'ok' ? 'ready' : disk.state === 'full' ? 'full' : 'away',
  }
}

// ---- explaining

export interface Explained {
  readonly placing: string
  readonly mode: LabelMode
  /** The parts of a file's life that it is for; none of a bare expression. */
  readonly for: readonly ClassMode[]
  /** Absent where no cluster was asked. */
  readonly report?: PlacingReport
}

/** Each placing of a class once. What archive and trash fall back to depends on where a file was: only what is said. */
export function placingsOf(cls: StorageClass): { placing: Placing; mode: LabelMode; for: ClassMode[] }[] {
  const found = new Map<string, { placing: Placing; mode: LabelMode; for: ClassMode[] }>()
  for (const mode of CLASS_MODES) {
    if ((mode === 'archive' || mode === 'trash') && cls[mode] === undefined) continue
    const force = inForce(cls, mode)
    const name = `${printPlacing(force.placing)} ${force.mode}`
    const known = found.get(name)
    if (known === undefined) found.set(name, { placing: force.placing, mode: force.mode, for: [mode] })
    else known.for.push(mode)
  }
  return [...found.values()]
}

export function explained(
  placings: readonly { placing: Placing; mode: LabelMode; for: readonly ClassMode[] }[],
  places: Places | undefined,
): Explained[] {
  return placings.map(({ placing, mode, for: parts }) => ({
    placing: printPlacing(placing),
    mode,
    for: parts,
    ...(places === undefined ? {} : { report: explain(placing, mode, places.candidates) }),
  }))
}

export function renderExplained(one: Explained, places: Places | undefined): string {
  const title = `${one.for.length === 0 ? '' : `${one.for.join(', ')}: `}${one.placing} (${one.mode})`
  const { report } = one
  if (report === undefined || places === undefined) return title
  const disks = new Map(places.disks.map((disk) => [disk.disk, printable(`${disk.nodeName}:${disk.path}`)]))
  const nodes = new Map(places.nodes.map((node) => [String(node.node), printable(node.name)]))
  const named = (kind: string, which: string): string =>
    kind === 'disk'
      ? (disks.get(Number(which)) ?? which)
      : kind === 'node'
        ? (nodes.get(which) ?? which)
        : printable(which)
  const lines = [title]
  for (const clause of report.clauses) {
    const which = clause.disks.map((disk) => disks.get(disk) ?? String(disk)).join(', ') || 'no disk'
    const some =
      clause.ready === clause.disks.length ? '' : ` (${clause.ready} of ${clause.disks.length} can take data now)`
    lines.push(`  ${clause.labels}, wanted ${count(clause.wanted, 'time')}: ${which}${some}`)
  }
  if (!report.possible) return [...lines, `  No place now for ${report.missing.join(', ')}.`].join('\n')
  lines.push('  Every copy finds a place now.')
  for (const { kind, of, fatal } of report.losses) {
    if (of === 0) continue
    const any = `any one of ${count(of, kind)}`
    const which = fatal.length === of && of > 1 ? any : fatal.map((name) => `${kind} ${named(kind, name)}`).join(' or ')
    lines.push(fatal.length === 0 ? `  Also after losing ${any}.` : `  Not after losing ${which}.`)
  }
  return lines.join('\n')
}
