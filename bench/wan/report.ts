/*
 * From what was measured to the table of bench/README.md: a row for each line, a column for each case and system, and whether
 * the goals are reached. Pure.
 */

import { type Congestion, cases, type WanCase } from './cases.ts'
import type { LineName, Lines, Measured } from './lines.ts'
import type { SystemName } from './system.ts'

/** One system on one line between the sites. */
export interface Cell {
  readonly system: SystemName
  readonly case: WanCase['id']
  readonly congestion: Congestion
  /** It could not be measured at all: why. */
  readonly missing?: string
  readonly measured?: Measured
  /** Of the machine when it began; the bench is part of it. */
  readonly loadBefore: number
}

/** Of the line's rate, headers and what is sent again not counted. */
const SHARE_GOAL = 0.8
/** Of the LAN figure of the same system. */
const WRITE_GOAL = 0.9
const ECHO_GOAL_MS = 25

interface Row {
  readonly title: string
  readonly line: LineName
  readonly value: (lines: Lines, wan: WanCase) => number | null | undefined
  /** Which way better is; undefined: it is not compared. */
  readonly better?: 'higher' | 'lower'
}

const rows: readonly Row[] = [
  { title: 'write, MB/s', line: 'write', better: 'higher', value: (lines) => lines.write },
  { title: 'read by a new mount, MB/s', line: 'read', better: 'higher', value: (lines) => lines.read },
  { title: 'untar, files/s', line: 'untar', better: 'higher', value: (lines) => lines.untar },
  { title: 'find -ls by a new mount, entries/s', line: 'find', better: 'higher', value: (lines) => lines.findCold },
  { title: 'find -ls again, entries/s', line: 'find', better: 'higher', value: (lines) => lines.findWarm },
  { title: 'copy to the other site, Mbit/s', line: 'replication', better: 'higher', value: (l) => l.replication?.mbit },
  { title: '… share of the rate, %', line: 'replication', value: (lines, wan) => percent(share(lines, wan)) },
  { title: '… began after, s', line: 'replication', better: 'lower', value: (lines) => lines.replication?.waitedS },
  { title: '… bytes sent for each', line: 'replication', value: (lines) => lines.replication?.sentPerByte },
  { title: 'echo idle, 99 %, ms', line: 'replication', value: (lines) => lines.echoIdle?.p99Ms },
  { title: 'echo beside the copying, 99 %, ms', line: 'replication', better: 'lower', value: (l) => l.echoBusy?.p99Ms },
  { title: 'cut: write, s beside the cut', line: 'cut', better: 'lower', value: (lines) => lines.cut?.writeS },
  { title: 'cut: files untarred meanwhile', line: 'cut', value: (lines) => lines.cut?.untarFilesDuringCut },
  { title: 'cut: untar goes on after, s', line: 'cut', better: 'lower', value: (lines) => lines.cut?.untarResumedS },
  { title: 'cut: copying goes on after, s', line: 'cut', better: 'lower', value: (lines) => lines.cut?.copyResumedS },
  { title: 'cut: bytes sent for each', line: 'cut', value: (lines) => lines.cut?.copySentPerByte },
]

const percent = (value: number | undefined): number | undefined => (value === undefined ? undefined : value * 100)

/** What of the line's rate was the file; undefined where there is no rate. */
export function share(lines: Lines, wan: WanCase): number | undefined {
  return wan.mbit === null || lines.replication === undefined ? undefined : lines.replication.mbit / wan.mbit
}

/** Nobody asked for it. */
const NOTHING = '–'

export function number(value: number | null | undefined): string {
  if (value === null) return 'never'
  if (value === undefined || Number.isNaN(value)) return NOTHING
  return Math.abs(value) >= 100 ? String(Math.round(value)) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

export function table(cells: readonly Cell[], congestion: Congestion): string {
  const columns = cells.filter((cell) => cell.congestion === congestion)
  const head = ['', ...columns.map((cell) => `${caseOf(cell).title}: ${cell.system}`)]
  const all = rows.map((row) => [row.title, ...columns.map((cell) => entry(cell, row))])
  const text = all.filter(([, ...values]) => values.some((value) => value !== NOTHING))
  const line = (words: readonly string[]): string => `| ${words.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...text.map(line)].join('\n')
}

function entry({ measured, ...cell }: Cell, row: Row): string {
  if (measured === undefined) return 'not measured'
  if (measured.errors[row.line] !== undefined) return 'failed'
  return number(row.value(measured.lines, caseOf(cell)))
}

const caseOf = (cell: Pick<Cell, 'case'>): WanCase => cases.find(({ id }) => id === cell.case)!

/** In words, one by one: what was aimed at and not reached, what failed, what was not measured. */
export function misses(cells: readonly Cell[]): string[] {
  const found: string[] = []
  for (const cell of cells) {
    const where = `${cell.system}, ${caseOf(cell).title}, ${cell.congestion}`
    if (cell.measured === undefined) {
      found.push(`${where}: not measured: ${cell.missing ?? 'unknown why'}`)
      continue
    }
    for (const [line, error] of Object.entries(cell.measured.errors)) found.push(`${where}: ${line} failed: ${error}`)
    for (const failure of cell.measured.lines.cut?.failures ?? []) found.push(`${where}: cut: ${failure}`)
    if (cell.system === 'holdfast') found.push(...missed(cell, cells).map((words) => `${where}: ${words}`))
  }
  return found
}

function missed(cell: Cell, cells: readonly Cell[]): string[] {
  const { lines } = cell.measured!
  const wan = caseOf(cell)
  const found: string[] = []
  const part = share(lines, wan)
  if (part !== undefined && wan.lossRate > 0 && part < SHARE_GOAL)
    found.push(`the copy has ${number(part * 100)} % of the rate, wanted ${SHARE_GOAL * 100}`)
  const { echoIdle, echoBusy } = lines
  if (echoIdle !== undefined && echoBusy !== undefined && echoBusy.p99Ms - echoIdle.p99Ms > ECHO_GOAL_MS)
    found.push(`the echo is ${number(echoBusy.p99Ms - echoIdle.p99Ms)} ms later than idle, wanted ${ECHO_GOAL_MS}`)
  const same = (other: Cell): boolean => other.congestion === cell.congestion && other.measured !== undefined
  const lan = cells.find((other) => same(other) && other.system === cell.system && other.case === 'lan')
  const local = lan?.measured?.lines.write
  if (local !== undefined && lines.write !== undefined && lines.write < WRITE_GOAL * local)
    found.push(`write has ${number((100 * lines.write) / local)} % of the LAN figure, wanted ${WRITE_GOAL * 100}`)
  const theirs = cells.find((other) => same(other) && other.system === 'moosefs' && other.case === cell.case)
  if (theirs === undefined) return found
  for (const { title, value, better } of rows) {
    if (better === undefined) continue
    const [mine, other] = [value(lines, wan), value(theirs.measured!.lines, wan)]
    if (mine === undefined || other === undefined || other === null) continue
    if (mine === null || (better === 'higher' ? mine < other : mine > other))
      found.push(`${title}: ${number(mine)}, MooseFS ${number(other)}`)
  }
  return found
}
