/*
 * Work that takes more than one command, with all that belongs to it: snapshots being made, trees being freed. What is
 * here is what a master that starts goes on with.
 */

import type { Ino } from '../../base/ids.ts'
import type { Kv } from './kv.ts'
import { decodeRecord, encodeRecord, type JobRecord, jobRecord, type Unfinished, unfinishedRecord } from './records.ts'
import { after, key, numAt, numbersIn, tables } from './tables.ts'

export interface Job {
  readonly job: number
  readonly record: JobRecord
}

export class JobTable {
  readonly #kv: Kv
  constructor(kv: Kv) {
    this.#kv = kv
  }

  get(job: number): JobRecord | undefined {
    const value = this.#kv.get(key.job(job))
    return value === undefined ? undefined : decodeRecord(jobRecord, value, 'job')
  }
  put(job: number, record: JobRecord): void {
    this.#kv.put(key.job(job), encodeRecord(jobRecord, record))
  }
  /** Oldest first; those that are over as well, which are kept for whoever asks what came of them. */
  all(): Job[] {
    const jobs: Job[] = []
    this.#kv.scan({ from: tables.job.prefix, to: after(tables.job.prefix) }, (at, value) => {
      jobs.push({ job: numAt(at, 1), record: decodeRecord(jobRecord, value, 'job') })
      return true
    })
    return jobs
  }
  unfinished(): Job[] {
    return this.all().filter(({ record }) => record.phase !== 'over')
  }

  /** The copy made last of those that are not complete. */
  lastUnfinished(job: number): (Unfinished & { readonly copy: Ino }) | undefined {
    let found: (Unfinished & { readonly copy: Ino }) | undefined
    const prefix = key.unfinishedOf(job)
    this.#kv.scan({ from: prefix, to: after(prefix), reverse: true }, (at, value) => {
      found = { copy: numAt(at, prefix.length) as Ino, ...decodeRecord(unfinishedRecord, value, 'unfinished') }
      return false
    })
    return found
  }
  setUnfinished(job: number, copy: Ino, rest: Unfinished | undefined): void {
    if (rest === undefined) this.#kv.delete(key.unfinished(job, copy))
    else this.#kv.put(key.unfinished(job, copy), encodeRecord(unfinishedRecord, rest))
  }

  /** The first of the trees that a job frees. */
  detached(job: number, limit: number): Ino[] {
    return numbersIn(this.#kv, key.detachedOf(job), '', limit) as Ino[]
  }
  isDetached(ino: Ino): boolean {
    return this.unfinished().some(
      ({ job, record: { kind, phase, root } }) =>
        (kind === 'snapshot' && phase === 'copying' && root === ino) ||
        this.#kv.get(key.detached(job, ino)) !== undefined,
    )
  }
}
