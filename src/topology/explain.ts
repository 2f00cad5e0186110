/*
 * What a placing means on the disks there are: which of them each clause allows, whether all of it can be had now, and
 * whether it still could after any one disk, chunkserver, rack or site is gone. Pure; for people who write classes.
 */

import { assign, type Candidate } from './assign.ts'
import { type LabelExpr, type LabelMode, matches, type Placing, printExpr, slotsOf } from './labels.ts'

export interface ClauseReport {
  readonly labels: string
  /** How many copies or parts it asks for. */
  readonly wanted: number
  /** Disks that have its labels, whatever their state. */
  readonly disks: readonly number[]
  /** Of them, those that may be given data now. */
  readonly ready: number
}

export const LOSSES = ['disk', 'node', 'rack', 'site'] as const
export type LossKind = (typeof LOSSES)[number]

export interface LossReport {
  readonly kind: LossKind
  /** How many there are. Of racks and sites, only what is known counts. */
  readonly of: number
  /** Those whose loss leaves too few disks. */
  readonly fatal: readonly string[]
}

export interface PlacingReport {
  readonly clauses: readonly ClauseReport[]
  /** Every copy finds a disk that is right for it. */
  readonly possible: boolean
  /** The labels of copies that find none. */
  readonly missing: readonly string[]
  readonly losses: readonly LossReport[]
}

export function explain(placing: Placing, mode: LabelMode, disks: readonly Candidate[]): PlacingReport {
  const slots = slotsOf(placing)
  const wish = { slots, unique: placing.unique, mode }
  const plan = (without: (disk: Candidate) => boolean): { used: Candidate[]; missing: string[] } => {
    const found = assign(
      wish,
      [],
      disks.filter((disk) => !without(disk)),
    ).slots.map(({ planned }) => (planned?.fit === 'right' ? planned.candidate : undefined))
    return {
      used: found.filter((disk) => disk !== undefined),
      missing: found.flatMap((disk, slot) => (disk === undefined ? [printExpr(slots[slot]!)] : [])),
    }
  }
  const now = plan(() => false)
  const possible = now.missing.length === 0
  return {
    clauses: clausesOf(slots).map(({ expr, wanted }) => {
      const fitting = disks.filter((disk) => matches(expr, disk.labels))
      const ready = fitting.filter((disk) => disk.state === 'ready').length
      return { labels: printExpr(expr), wanted, disks: fitting.map((disk) => disk.disk), ready }
    }),
    possible,
    missing: now.missing,
    losses: LOSSES.map((kind) => {
      const nameOf = (disk: Candidate): string | undefined => lossName(kind, disk)
      const names = new Set(disks.map(nameOf).filter((name) => name !== undefined))
      // Only what the plan uses can break it; without a plan there is nothing to break.
      const tried = possible ? new Set(now.used.map(nameOf).filter((name) => name !== undefined)) : []
      const fatal = [...tried].filter((name) => plan((disk) => nameOf(disk) === name).missing.length > 0)
      return { kind, of: names.size, fatal }
    }),
  }
}

function lossName(kind: LossKind, { disk, node, location }: Candidate): string | undefined {
  switch (kind) {
    case 'disk':
      return String(disk)
    case 'node':
      return String(node)
    case 'rack':
      return location.rack === undefined ? undefined : `${location.site ?? ''}/${location.rack}`
    case 'site':
      return location.site
  }
}

function clausesOf(slots: readonly LabelExpr[]): { expr: LabelExpr; wanted: number }[] {
  const clauses = new Map<string, { expr: LabelExpr; wanted: number }>()
  for (const expr of slots) {
    const text = printExpr(expr)
    const clause = clauses.get(text)
    if (clause === undefined) clauses.set(text, { expr, wanted: 1 })
    else clause.wanted++
  }
  return [...clauses.values()]
}
