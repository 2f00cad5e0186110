/*
 * A disk that makes errors again and again is emptied before it dies: its copies are made elsewhere while it can still be
 * read, and what cannot be read is made from the others without waiting for it. The chunkserver counts its input/output
 * errors and takes it out of use by the same measure (chunk/disk-health.ts); a restart would put it back, this does not:
 * the mark is state, and only an admin gives the disk back.
 *
 * Counted from what reports say, in memory: errors of before the master's start are not held against a disk, unless it is
 * out of use because of them.
 */

import { isRefusal } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import type { DiskState } from '../wire/shapes.ts'
import type { Parts } from './parts.ts'

export interface DiskErrorRules {
  /** So many in the period; 0: never. */
  readonly errors: number
  readonly periodMs: number
}

type Needs = Pick<Parts, 'state' | 'loop' | 'nodes' | 'clock' | 'log'>

export class DiskErrors {
  readonly #master: Needs
  readonly #rules: DiskErrorRules
  /** The last count, and when it grew: one entry per error, no more than are needed for the judgement. */
  readonly #known = new Map<DiskId, { count: number; atMs: number[] }>()

  constructor(master: Needs, rules: DiskErrorRules) {
    this.#master = master
    this.#rules = rules
  }

  heard(disk: DiskId, report: DiskState): void {
    const { errors: limit, periodMs } = this.#rules
    if (limit === 0) return
    const nowMs = this.#master.clock.monotonicMs()
    const known = this.#known.get(disk)
    const before = known?.count ?? (report.state === 'failed' ? 0 : report.errors)
    // A count that fell is that of a process that was started anew.
    const more = report.errors >= before ? report.errors - before : report.errors
    if (known !== undefined && more === 0) {
      known.count = report.errors
      return
    }
    const fresh = Array.from({ length: Math.min(more, limit) }, () => nowMs)
    const atMs = [...(known?.atMs ?? []).filter((at) => nowMs - at < periodMs), ...fresh].slice(-limit)
    this.#known.set(disk, { count: report.errors, atMs })
    if (atMs.length < limit) return
    // Given back by an admin, it is judged by what happens from then on.
    this.#known.set(disk, { count: report.errors, atMs: [] })
    const record = this.#master.state.disk(disk)
    if (record === undefined) this.#known.delete(disk)
    if (record === undefined || record.draining || record.leaving !== undefined) return
    this.#master.log.error(
      { disk, path: record.path, errors: report.errors, error: report.error },
      'a disk makes errors again and again and is being emptied; replace it, or give it back with "holdfast disk drain DISK --stop"',
    )
    this.#master.loop.submit({
      prepare: () => ({ ok: { kind: 'diskDrain', disk, drain: true, why: 'errors' } }),
      // Refused in a rush: the next report brings it up again.
      done: (result) => {
        if (isRefusal(result)) this.#known.set(disk, { count: Math.max(0, report.errors - limit), atMs: [] })
        else this.#master.nodes.changed()
      },
    })
  }
}
