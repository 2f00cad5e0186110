/*
 * How far sites are behind: sealed chunks that are not yet everywhere their class wants them, remembered one by one as the
 * chunk watch looks at them, and forgotten when they are. So it costs what is behind, never what is well. All of it is found
 * again after a restart, by the watch's first round and, of what only stands in the wrong place, by the first survey of the
 * classes.
 */

import type { ChunkId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import type { BehindReport } from '../wire/reports.ts'
import type { Owed } from './core/behind.ts'

/** Some 20 MB. Beyond it, more is behind than is told, and the report says so. */
const BEHIND_MAX = 100_000
/** Adding up takes as long as 20 ms then. */
const REPORT_MS = 1_000

interface Entry {
  readonly classId: number
  readonly sinceSec: number
  readonly owed: readonly Owed[]
  /** In which round it was looked at last. */
  readonly round: number
}

export class Behind {
  readonly #clock: Clock
  /** Those looked at longest ago first. */
  readonly #chunks = new Map<ChunkId, Entry>()
  #round = 0
  /** Something did not fit since there was room again. */
  #full = false
  #report: { readonly atMs: number; readonly rows: BehindReport } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `sinceSec`: when it was written. Answers false when there is no room for it. */
  note(chunk: ChunkId, classId: number, sinceSec: number, owed: readonly Owed[]): boolean {
    this.#chunks.delete(chunk)
    if (owed.length === 0) return true
    if (this.#chunks.size >= BEHIND_MAX) {
      this.#full = true
      return false
    }
    this.#chunks.set(chunk, { classId, sinceSec, owed, round: this.#round })
    return true
  }
  forget(chunk: ChunkId): void {
    this.#chunks.delete(chunk)
  }
  get hasRoom(): boolean {
    return this.#chunks.size < BEHIND_MAX / 2
  }

  /** From now on `stale` answers what has not been looked at since. */
  roundBegins(): void {
    this.#round++
    if (this.hasRoom) this.#full = false
  }
  stale(limit: number): ChunkId[] {
    const found: ChunkId[] = []
    for (const [chunk, { round }] of this.#chunks) {
      if (found.length >= limit || round === this.#round) break
      found.push(chunk)
    }
    return found
  }

  /** `names` of classes by number. */
  report(names: (classId: number) => string): BehindReport {
    const nowMs = this.#clock.monotonicMs()
    if (this.#report === undefined || nowMs - this.#report.atMs >= REPORT_MS)
      this.#report = { atMs: nowMs, rows: this.#summed(names) }
    return this.#report.rows
  }

  #summed(names: (classId: number) => string): BehindReport {
    const rows = new Map<string, BehindReport['rows'][number]>()
    for (const { classId, sinceSec, owed } of this.#chunks.values()) {
      const counted = new Set<string>()
      for (const { site, bytes } of owed) {
        const at = `${classId}/${site ?? ''}`
        const row = rows.get(at) ?? {
          ...{ classId, class: names(classId), site: site ?? null },
          ...{ chunks: 0, bytes: 0, oldestSec: sinceSec },
        }
        row.bytes += bytes
        row.oldestSec = Math.min(row.oldestSec, sinceSec)
        if (!counted.has(at)) row.chunks++
        counted.add(at)
        rows.set(at, row)
      }
    }
    const sorted = [...rows.values()].sort(
      (a, b) => a.classId - b.classId || ((a.site ?? '') < (b.site ?? '') ? -1 : 1),
    )
    return { nowSec: this.#clock.now().sec, atLeast: this.#full, rows: sorted }
  }
}
