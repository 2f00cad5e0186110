/*
 * Watching disks become empty, for `disk drain` and `node drain`. The master does the work; ending the watching ends
 * nothing else.
 */

import { Flags } from '@oclif/core'
import { FsError } from '../base/fault.ts'
import { formatBytes, formatDuration } from '../base/units.ts'
import { hostClock } from '../host/clock.ts'
import type { DiskReport } from '../wire/reports.ts'
import type { Admin } from './admin.ts'
import { ProgressLine } from './progress.ts'
import { bar, count } from './render.ts'
import { stopSignal } from './stop-signal.ts'

const WATCH_EVERY_MS = 500

export interface DrainResult {
  readonly draining: boolean
  readonly toMove: number
}

/** What `drain` commands take. */
export const drainFlags = {
  stop: Flags.boolean({ summary: 'Stop draining; what has moved stays moved.', default: false, aliases: ['cancel'] }),
  watch: Flags.boolean({ summary: 'Wait until nothing is left.', default: true, allowNo: true }),
  force: Flags.boolean({
    summary: 'Start although the other disks seem too few or too small to keep everything as safe as it is wanted.',
    default: false,
  }),
}

/** "12 of 300 chunks left, 700 MiB on it, 4 min left" */
export function drainSentence(disks: readonly DiskReport[]): string {
  const { left, start, seconds } = totals(disks)
  const bytes = formatBytes(disks.reduce((sum, d) => sum + d.usedBytes, 0))
  const time = seconds === null || left === 0 ? '' : `, ${formatDuration(seconds * 1000)} left`
  return `${bar(start === 0 ? 1 : (start - left) / start)}  ${left} of ${count(start, 'chunk')} left, ${bytes} on it${time}`
}

function totals(disks: readonly DiskReport[]): { left: number; start: number; seconds: number | null } {
  const known = disks.map((d) => d.drainSecondsLeft).filter((seconds) => seconds !== null)
  return {
    left: disks.reduce((sum, d) => sum + d.toMove, 0),
    start: disks.reduce((sum, d) => sum + d.toMoveAtStart, 0),
    // They drain side by side: the slowest one says when all are empty.
    seconds: known.length === 0 ? null : Math.max(...known),
  }
}

export interface DrainWords {
  /** "disk 3", "chunkserver-1" */
  readonly what: string
  /** The command that began it. */
  readonly command: string
  /** What to do when nothing is left. */
  readonly then: string
}

/** Returns when nothing is left on the disks, which `find` picks out of all. */
export async function watchDrain(
  admin: Admin,
  find: (disks: DiskReport[]) => DiskReport[],
  { what, command, then }: DrainWords,
  { show }: { show: boolean },
): Promise<void> {
  const signal = stopSignal()
  const line = new ProgressLine(show)
  for (;;) {
    const disks = find(await admin.call('diskList', {}))
    line.show(drainSentence(disks))
    const { left } = totals(disks)
    if (disks.some((d) => !d.draining)) {
      line.end()
      throw new FsError('ECANCELED', `somebody else ended the draining of ${what}`)
    }
    if (left === 0) {
      line.end()
      return
    }
    if (signal.aborted) {
      line.end()
      throw new FsError(
        'EINTR',
        `${what} is still being drained by the master, ${count(left, 'chunk')} left; watch again with "${command}", end it with --stop; ${then} when it is empty`,
      )
    }
    await hostClock.sleep(WATCH_EVERY_MS, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
  }
}
