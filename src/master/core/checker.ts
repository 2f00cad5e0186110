/*
 * What looks of the check share: the state, what was found, and, when all of it is walked at once, the totals to compare.
 */

import { isRefusal } from '../../base/fault.ts'
import type { Ino, SessionId } from '../../base/ids.ts'
import { labelNames } from '../../topology/label-names.ts'
import type { CheckPage, Finding } from '../../wire/reports.ts'
import type { ChunkClass } from './chunks.ts'
import type { QuotaRecount } from './quota-check.ts'
import type { NodeRecord } from './records.ts'
import type { State } from './state.ts'
import { after, key, type TableName } from './tables.ts'
import type { UsageRecount } from './usage.ts'

export interface Totals {
  readonly links: Map<Ino, number>
  readonly quotas: QuotaRecount
  readonly counted: {
    [K in ChunkClass | 'directories' | 'files' | 'trashed' | 'sustained' | 'doomed' | 'sessions']: number
  }
  logicalBytes: number
  lostBytes: number
  changelogBytes: number
  entries: number
  /** Inodes by class, without the default one. */
  readonly classed: Map<number, number>
  reclassing: number
  readonly usage: UsageRecount
}

/** What belongs to one record (names of a directory, extents of a file, extents in a chunk) and is walked within a page. */
export const NESTED_MAX = 65_536

export class Checker {
  readonly state: State
  readonly totals: Totals | undefined
  readonly findings: Finding[] = []
  readonly chunks: CheckPage['chunks'] = []

  constructor(state: State, totals?: Totals) {
    this.state = state
    this.totals = totals
  }
  expect(holds: boolean, what: string): void {
    if (!holds) this.findings.push({ severity: 'error', what })
  }
  has(at: string): boolean {
    return this.state.kv.get(at) !== undefined
  }
  /** A session that is there, or over and not cleared yet. */
  isKnown(session: SessionId): boolean {
    return this.state.session(session) !== undefined || this.has(key.over(session))
  }
  keys(prefix: string): string[] {
    const keys: string[] = []
    this.state.kv.scan({ from: prefix, to: after(prefix) }, (at) => {
      keys.push(at)
      return keys.length <= NESTED_MAX || this.totals !== undefined
    })
    return keys
  }
  /** Labels stand as label-names.ts writes them: one set of labels is one list. */
  labels(who: string, record: Pick<NodeRecord, 'labels' | 'labelsSet'>): void {
    for (const labels of [record.labels, record.labelsSet]) {
      const written = labelNames(labels ?? [])
      this.expect(!isRefusal(written) && written.ok.join() === (labels ?? []).join(), `${who}: labels ${labels}`)
    }
  }
  /** Too much to walk in one page. */
  tooMany(found: number): boolean {
    return this.totals === undefined && found > NESTED_MAX
  }
}

/** How a record of a table is looked at. */
export type Visitors = { readonly [T in TableName]?: (c: Checker, at: string, value: Uint8Array) => void }
