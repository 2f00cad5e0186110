/* `holdfast class …`: storage classes, that is where the copies of files belong. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import type { Candidate } from '../../topology/assign.ts'
import { explain, type PlacingReport } from '../../topology/explain.ts'
import { LabelError, type LabelMode, parsePlacing, printPlacing } from '../../topology/labels.ts'
import {
  CLASS_MODES,
  ClassError,
  type ClassMode,
  classWith,
  inForce,
  parseClassLine,
} from '../../topology/storage-class.ts'
import type { DiskReport } from '../../wire/reports.ts'
import { ClusterCommand } from '../base.ts'
import { printable } from '../render.ts'

/** Bad labels and flags are the typist's, and the sentence says where. */
function typed<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof LabelError || error instanceof ClassError)
      throw new FsError('EINVAL', error.message, { cause: error })
    throw error
  }
}

/** A disk of the report as something that classes choose from. */
function candidateOf(report: DiskReport, host: string): Candidate {
  const state = report.state === 'ok' ? 'ready' : report.state === 'full' ? 'full' : 'away'
  return {
    disk: report.disk as Candidate['disk'],
    node: report.node as Candidate['node'],
    location: { host },
    labels: new Set(),
    state,
  }
}

interface Explained {
  readonly placing: string
  readonly mode: LabelMode
  readonly for: readonly ClassMode[]
  /** Absent with --dry-run. */
  readonly report?: PlacingReport
}

export class ClassExplain extends ClusterCommand {
  static override summary = 'What labels mean on the disks there are: who satisfies them, and what may be lost.'
  static override description =
    'Takes an expression (2H/[RACK]:s) or the flags of a class (-C I -K 2H). Says for each clause which disks it allows, ' +
    'whether all copies find a place now, and which single disk, node, rack or site could not be lost.'
  static override examples = [
    "<%= config.bin %> class explain '2H,S/[RACK]:s'",
    "<%= config.bin %> class explain -- '-C I -K S,S/[RACK]'",
    "<%= config.bin %> class explain '@4+1,H/[IP]' --dry-run",
  ]
  static override args = {
    what: Args.string({ required: true, description: 'An expression, or the flags of a class in quotes.' }),
  }
  static override flags = {
    'dry-run': Flags.boolean({ summary: 'Only read the labels and write them in full; no cluster is asked.' }),
  }

  async run(): Promise<Explained[]> {
    const { args, flags } = await this.parse(ClassExplain)
    const placings = typed(() => placingsIn(args.what))
    if (flags['dry-run']) {
      for (const one of placings) this.log(heading(one))
      return placings
    }
    return this.withMaster(flags, async (admin) => {
      const [disks, { nodes }] = await Promise.all([admin.call('diskList', {}), admin.call('status', {})])
      const hosts = new Map(nodes.map((node) => [node.node, node.host]))
      const candidates = disks
        .filter((disk) => !disk.draining)
        .map((disk) => candidateOf(disk, hosts.get(disk.node) ?? disk.nodeName))
      return placings.map((one) => {
        const report = explain(parsePlacing(one.placing)!, one.mode, candidates)
        this.log(render(heading(one), report, disks))
        return { ...one, report }
      })
    })
  }
}

/** The placings that a person asks about, each with the parts of a file's life that it is for. */
function placingsIn(text: string): Explained[] {
  if (!text.trim().startsWith('-') || /^\s*-\s*$/.test(text)) {
    const placing = parsePlacing(text)
    if (placing === undefined) throw new FsError('EINVAL', `'${text}' says that nothing is defined`)
    return [{ placing: printPlacing(placing), mode: placing.mode ?? 'std', for: [] }]
  }
  const { names, flags } = parseClassLine(text)
  const cls = classWith(names[0] ?? 'class', flags)
  const found = new Map<string, { placing: string; mode: LabelMode; for: ClassMode[] }>()
  for (const mode of CLASS_MODES) {
    const force = inForce(cls, mode)
    const placing = printPlacing(force.placing)
    const known = found.get(`${placing} ${force.mode}`)
    if (known === undefined) found.set(`${placing} ${force.mode}`, { placing, mode: force.mode, for: [mode] })
    else known.for.push(mode)
  }
  return [...found.values()]
}

const heading = (one: Explained): string =>
  `${one.for.length === 0 ? '' : `${one.for.join(', ')}: `}${one.placing} (${one.mode})`

function render(title: string, report: PlacingReport, disks: readonly DiskReport[]): string {
  const name = new Map(disks.map((disk) => [disk.disk, printable(`${disk.nodeName}:${disk.path}`)]))
  const nodeName = new Map(disks.map((disk) => [String(disk.node), printable(disk.nodeName)]))
  const named = (kind: string, which: string): string =>
    kind === 'disk' ? (name.get(Number(which)) ?? which) : kind === 'node' ? (nodeName.get(which) ?? which) : which
  const lines = [title]
  for (const { labels, wanted, disks: fitting, ready } of report.clauses) {
    const which = fitting.length === 0 ? 'no disk' : fitting.map((disk) => name.get(disk) ?? String(disk)).join(', ')
    const also = ready === fitting.length ? '' : ` (${ready} of ${fitting.length} may be written now)`
    lines.push(`  ${labels}, wanted ${wanted} times: ${which}${also}`)
  }
  lines.push(report.possible ? '  Every copy finds a place.' : `  No place for: ${report.missing.join(', ')}.`)
  if (report.possible)
    for (const { kind, of, fatal } of report.losses) {
      if (of === 0) continue
      const verdict =
        fatal.length === 0 ? 'any one may be lost' : `not after losing ${fatal.map((w) => named(kind, w)).join(' or ')}`
      lines.push(`  ${kind}s (${of}): ${verdict}`)
    }
  return lines.join('\n')
}
