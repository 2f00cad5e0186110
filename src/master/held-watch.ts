/*
 * Files that nobody counts and nobody remembers: what was still to be deleted is only in memory, so a killed master leaves
 * files of forgotten chunks on the disks. Every heartbeat says how many chunks a disk holds; where that stays different from
 * what the state counts there, the disk is asked once for all that it holds, and the answer says what is not wanted.
 *
 * A difference of a moment means nothing: copies are made before they are counted, new chunks are counted before they are
 * made. Only one that every heartbeat of a while has shown is acted on, and a disk that goes on differing is asked ever
 * more rarely.
 */

import type { DiskId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'

/** Heartbeats in a row that must differ: longer than any copy is made but not counted. */
export const LASTING_BEATS = 8
/** The list of a disk with 125 000 chunks is 2.5 MB and takes about a second of the master in all. */
const AGAIN_MS = 600_000
const AGAIN_MS_MAX = 86_400_000

export interface Held {
  /** What the disk says that it holds. */
  readonly held: number
  /** What the state counts there. */
  readonly counted: number
  /** May be there without being counted: to be deleted, or just being made. */
  readonly mayBeMore: number
  /** May be counted without being there: not written to yet, or dead. */
  readonly mayBeLess: number
}

interface Differing {
  beats: number
  againMs: number
  notBeforeMs: number
}

export class HeldWatch {
  readonly #clock: Clock
  /** One per disk. */
  readonly #disks = new Map<DiskId, Differing>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** One heartbeat; true: ask this disk for all that it holds. */
  heard(disk: DiskId, { held, counted, mayBeMore, mayBeLess }: Held): boolean {
    const known = this.#disks.get(disk) ?? { beats: 0, againMs: AGAIN_MS, notBeforeMs: 0 }
    this.#disks.set(disk, known)
    const differs = held > counted + mayBeMore || held + mayBeLess < counted
    known.beats = differs ? known.beats + 1 : 0
    if (!differs) known.againMs = AGAIN_MS
    const nowMs = this.#clock.monotonicMs()
    if (known.beats < LASTING_BEATS || nowMs < known.notBeforeMs) return false
    known.beats = 0
    known.notBeforeMs = nowMs + known.againMs
    known.againMs = Math.min(known.againMs * 2, AGAIN_MS_MAX)
    return true
  }

  forget(disk: DiskId): void {
    this.#disks.delete(disk)
  }
}
