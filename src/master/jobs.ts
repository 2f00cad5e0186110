/*
 * Goes on with the jobs that the state knows: snapshots being made, trees being deleted. One command per job and turn, each
 * bounded, and a rest as long as that took, so that people's requests go between them. What is to be done is state: a
 * master that starts goes on where the last one ended, whoever asked for it.
 *
 * A snapshot that cannot be made (its place is taken, the metadata disk is full) is given up; what was copied is freed.
 */

import { type Errno, errno } from '../base/errno.ts'
import { FsError, refuse } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Job } from './core/job-table.ts'
import { nextToFree } from './core/trees.ts'
import type { Parts } from './parts.ts'

/** Of one command: some 5 ms, 20 ms at worst, so that a machine with other things to do makes no long pause of it. */
const COPIED_AT_ONCE = { inodes: 128, rows: 1_024 } as const
const FREED_AT_ONCE = 128
const IDLE_MS = 60_000
/** A step that took longer has waited for a mount. */
const REST_MS_MAX = 100
/** After a refusal that passes by itself. */
const AGAIN_MS = 1_000

export class Jobs implements Work {
  readonly #parts: Parts
  /** Snapshots that must be given up, once the store takes that. */
  readonly #failed = new Map<number, { code: Errno; detail: string }>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  queued(): number {
    return this.#parts.state.jobs.unfinished().length
  }
  progress(): string {
    const now = this.#parts.state.jobs.unfinished().map(({ job, record: { kind, phase, inodes } }) => {
      const doing = kind === 'delete' ? 'deleted' : phase === 'copying' ? 'copied' : 'copied, clearing up'
      return `${kind} ${job}: ${inodes} ${doing}`
    })
    return now.join('; ')
  }

  async step(): Promise<WorkStep> {
    const { state, clock } = this.#parts
    const beganMs = clock.monotonicMs()
    const jobs = state.jobs.unfinished()
    if (jobs.length === 0) return { restMs: IDLE_MS, resting: 'idle' }
    let again = false
    for (const job of jobs) again = !(await this.#goOn(job)) || again
    const tookMs = Math.ceil(clock.monotonicMs() - beganMs)
    return { restMs: again ? AGAIN_MS : Math.min(REST_MS_MAX, tookMs), resting: 'throttled' }
  }

  /** False: not now. */
  async #goOn({ job, record }: Job): Promise<boolean> {
    const { state, loop, log } = this.#parts
    const failed = this.#failed.get(job)
    try {
      if (record.phase === 'clearing') await this.#clear(job)
      else if (failed !== undefined) {
        const { number } = errno[failed.code]
        await loop.command(() => ({ ok: { kind: 'jobCancelled', job, errno: number, detail: failed.detail } }))
        this.#failed.delete(job)
      } else if (state.jobs.lastUnfinished(job) !== undefined)
        await loop.command(() => ({ ok: { kind: 'snapshotCopied', job, ...COPIED_AT_ONCE } }))
      else await this.#show(job, record.parent as Ino)
      return true
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      // Cancelled by hand meanwhile.
      if (state.jobs.get(job)?.phase !== record.phase) return true
      if (record.phase === 'copying' && error.code !== 'EAGAIN' && failed === undefined) {
        log.warn({ job, error: error.message }, 'a snapshot is given up')
        this.#failed.set(job, { code: error.code, detail: error.message })
      }
      return false
    }
  }

  #clear(job: number): Promise<unknown> {
    const { state, loop, sessions, holdings } = this.#parts
    const gone: Ino[] = []
    return loop.run({
      prepare: () => {
        const openIn = nextToFree(state, job, FREED_AT_ONCE).flatMap(({ ino: tree, entries }) => {
          gone.push(tree)
          return entries.flatMap(({ ino, type }) => {
            if (type === 'dir' || state.inode(ino)?.attr.nlink !== 1) return []
            const open = sessions.openIn(ino)
            return open.length === 0 ? [] : [{ ino, sessions: open }]
          })
        })
        return { ok: { kind: 'jobCleared', job, limit: FREED_AT_ONCE, openIn } }
      },
      applied: () => {
        for (const ino of gone) if (state.inode(ino) === undefined) holdings.gone(ino)
      },
    })
  }

  /** Gives a complete copy its name. A mount that holds the directory has its own names there told first. */
  async #show(job: number, parent: Ino): Promise<void> {
    const { loop, holdings } = this.#parts
    for (;;) {
      await holdings.settle(0, { directories: [parent] })
      let held = false
      try {
        await loop.command(() => {
          held = holdings.isElsewhere(0, parent)
          return held ? refuse('EAGAIN', 'a mount holds the directory') : { ok: { kind: 'snapshotShown', job } }
        })
        return
      } catch (error) {
        if (!held) throw error
      }
    }
  }
}
