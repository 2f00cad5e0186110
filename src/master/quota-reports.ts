/*
 * What is told of quotas: by `holdfast quota get | list`, and in one line of `holdfast status`.
 */

import type { Ino } from '../base/ids.ts'
import type { QuotaLimitReport, QuotaReport, StatusReport } from '../wire/reports.ts'
import { dirPath } from './core/paths.ts'
import { endOfLimit, isCounted, KINDS, spent } from './core/quotas.ts'
import type { QuotaLimit, QuotaRecord } from './core/records.ts'
import type { State } from './core/state.ts'
import type { Parts } from './parts.ts'

/** Quotas whose keys are read at a time. */
const PAGE = 1_000

export function quotaReport({ state, clock }: Pick<Parts, 'state' | 'clock'>, ino: Ino): QuotaReport | undefined {
  const record = state.quotas.get(ino)
  if (record === undefined || record.phase === 'gone') return undefined
  const walk = state.quotas.all()
  const has = spent(state, record.usage)
  const of = (kind: (typeof KINDS)[number]): QuotaLimitReport => limitReport(record[kind], has[kind], record.graceMs)
  return {
    ino,
    path: dirPath(state, ino) ?? '...',
    state: record.leaves ? 'leaving' : record.phase,
    walked: walk.root === ino ? walk.walked : 0,
    graceMs: record.graceMs,
    inodes: of('inodes'),
    length: of('length'),
    raw: of('raw'),
    exceeded: isExceeded(state, record, clock.now().sec),
  }
}

const limitReport = ({ soft = 0, hard = 0, overSec }: QuotaLimit, used: number, graceMs: number): QuotaLimitReport => ({
  used,
  soft,
  hard,
  overSince: overSec ?? 0,
  refusesFrom: overSec === undefined ? 0 : overSec + Math.ceil(graceMs / 1000),
})

/** Over a soft limit, or so far that nothing more comes in. */
function isExceeded(state: State, record: QuotaRecord, nowSec: number): boolean {
  if (!isCounted(record)) return false
  const has = spent(state, record.usage)
  return KINDS.some((kind) => {
    const { soft } = record[kind]
    const end = endOfLimit(record[kind], record.graceMs, nowSec)
    return (soft !== undefined && has[kind] > soft) || (end !== undefined && has[kind] >= end)
  })
}

export function quotaStatus({ state, clock }: Pick<Parts, 'state' | 'clock'>): StatusReport['quotas'] {
  const status = { set: 0, exceeded: 0, counting: 0 }
  if (!state.quotas.any) return status
  const nowSec = clock.now().sec
  for (let after: Ino | 0 = 0; ; ) {
    const page: Ino[] = state.quotas.page(after, PAGE)
    for (const ino of page) {
      const record = state.quotas.get(ino)
      if (record === undefined || record.phase === 'gone') continue
      status.set += 1
      if (isExceeded(state, record, nowSec)) status.exceeded += 1
      if (!isCounted(record)) status.counting += 1
    }
    const last = page.at(-1)
    if (last === undefined) return status
    after = last
  }
}
