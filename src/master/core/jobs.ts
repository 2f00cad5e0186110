/*
 * Jobs begin and are forgotten: the numbers, the limits, how long what came of one is remembered.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { JobRecord } from './records.ts'
import { key } from './tables.ts'
import type { Work } from './work.ts'

/** Under way at once. Each is a command per turn of the worker; more than this is a script that went wrong. */
const UNFINISHED_MAX = 64
/** Remembered after they are over, for whoever began them and asks what came of it. */
const OVER_MAX = 16

type Beginning = Pick<JobRecord, 'kind' | 'phase' | 'source' | 'target' | 'parent' | 'name' | 'root'>

/** Writes the record of a new job; answers its number. */
export function newJob(work: Work, begun: Beginning): Result<number> {
  const all = work.state.jobs.all()
  if (all.filter(({ record }) => record.phase !== 'over').length >= UNFINISHED_MAX)
    return refuse('EBUSY', `${UNFINISHED_MAX} jobs are under way`)
  const job = (all.at(-1)?.job ?? 0) + 1
  work.state.jobs.put(job, {
    version: 1,
    inodes: 0,
    bytes: 0,
    begunSec: Math.max(0, work.now.sec),
    overSec: undefined,
    errno: undefined,
    detail: undefined,
    ...begun,
  })
  return ok(job)
}

/** Nothing is left of the work but its record, and that only while it is one of the last. */
export function jobIsOver(work: Work, job: number, record: JobRecord): void {
  const { jobs, kv } = work.state
  jobs.put(job, { ...record, phase: 'over', overSec: Math.max(0, work.now.sec) })
  const over = jobs.all().filter(({ record: { phase } }) => phase === 'over')
  // The newest stays, because the next number comes after it.
  for (const old of over.slice(0, Math.max(0, over.length - OVER_MAX))) kv.delete(key.job(old.job))
}
