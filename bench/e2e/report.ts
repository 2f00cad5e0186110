/*
 * From measured numbers to a table: medians, the ratio to the peer with the same fsync behaviour, the goal, and whether a
 * line was too noisy to be believed. Pure.
 */

import type { PeerName } from './peers.ts'
import type { Workload } from './workloads.ts'

export interface Line {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** Every run's value, in the order of the runs. */
  readonly values: Partial<Record<PeerName, number[]>>
  readonly errors: Partial<Record<PeerName, string>>
  readonly median: Partial<Record<PeerName, number>>
  /** (max − min) / median. */
  readonly spread: Partial<Record<PeerName, number>>
  readonly goal: number
  /** Which column Holdfast is divided by. */
  readonly against: PeerName | undefined
  readonly ratio: number | undefined
  readonly reached: boolean | undefined
}

/** Above this spread a line says more about the machine's other work than about the peer. */
const noisySpread = 0.3

export function line(workload: Workload, values: Line['values'], errors: Line['errors']): Line {
  const median: Partial<Record<PeerName, number>> = {}
  const spread: Partial<Record<PeerName, number>> = {}
  for (const [name, list] of Object.entries(values) as [PeerName, number[]][]) {
    if (list.length === 0) continue
    const sorted = [...list].sort((a, b) => a - b)
    const middle = (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2
    median[name] = middle
    spread[name] = (sorted.at(-1)! - sorted[0]!) / middle
  }
  const against = workload.fsync && median['moosefs-sync'] !== undefined ? 'moosefs-sync' : 'moosefs'
  const [ours, theirs] = [median.holdfast, median[against]]
  const ratio = ours && theirs ? (workload.better === 'higher' ? ours / theirs : theirs / ours) : undefined
  const goal = workload.small ? 3 : 1
  return {
    id: workload.id,
    title: workload.title,
    unit: workload.unit,
    better: workload.better,
    values,
    errors,
    median,
    spread,
    goal,
    against: ratio === undefined ? undefined : against,
    ratio,
    reached: ratio === undefined ? undefined : ratio >= goal,
  }
}

export function number(value: number | undefined): string {
  if (value === undefined) return '–'
  return value >= 100 ? String(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2)
}

export function table(lines: readonly Line[], names: readonly PeerName[]): string {
  const head = ['workload', 'unit', ...names, 'ratio', 'goal', '']
  const rows = lines.map((each) => [
    each.title,
    each.unit,
    ...names.map((name) => (each.errors[name] === undefined ? number(each.median[name]) : 'failed')),
    each.ratio === undefined ? '–' : `${each.ratio.toFixed(2)}${each.against === 'moosefs-sync' ? ' (sync)' : ''}`,
    `≥ ${each.goal}`,
    each.reached === undefined ? '' : each.reached ? 'ok' : 'not reached',
  ])
  const widths = head.map((title, n) => Math.max(title.length, ...rows.map((row) => row[n]?.length ?? 0)))
  const text = (cells: readonly string[]) => `| ${cells.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [text(head), rule, ...rows.map(text)].join('\n')
}

export function warnings(lines: readonly Line[]): string[] {
  const found: string[] = []
  for (const each of lines) {
    for (const [name, spread] of Object.entries(each.spread) as [PeerName, number][]) {
      const list = each.values[name] ?? []
      if (list.length < 2 || spread <= noisySpread) continue
      const range = `${number(Math.min(...list))} to ${number(Math.max(...list))}`
      found.push(`noisy: ${each.title} on ${name}: ${range} ${each.unit} over ${list.length} runs`)
    }
    for (const [name, error] of Object.entries(each.errors)) found.push(`failed: ${each.title} on ${name}: ${error}`)
  }
  return found
}
