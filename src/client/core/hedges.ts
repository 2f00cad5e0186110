/*
 * Which reads are asked of a second copy because the first is slow: when, how many of them, and which disk is not to be asked first
 * any more for a while. Pure: times are told.
 *
 * What is usual is known for each disk. How many reads may be done twice is bounded by how many there are, because when everything
 * is slow, more questions make it slower.
 */

import type { DiskId } from '../../base/ids.ts'
import { hedgeAfterMs } from '../../topology/nearness.ts'

/** Of a hundred reads five may be done twice, and so many at once: those of a readahead that all wait for one disk. */
const SHARE = 1 / 20
const HEDGES_MAX = 10
/** A disk that is overtaken so often without having answered in time is asked last: one that hangs, not one that hiccups. */
const STRIKES_MAX = 3
/** Enough to see one in twenty, and few enough that an evening's backup is over soon. */
const SAMPLES = 64
const SAMPLES_MIN = 20
const USUAL_SHARE = 0.95
/** How often what is usual is looked up anew. */
const LOOK_EVERY = 16

/** What all but one in twenty of the last reads of one disk took at most. */
class Usual {
  readonly #tookMs = new Float64Array(SAMPLES)
  #count = 0
  #usualMs: number | undefined

  add(ms: number): void {
    this.#tookMs[this.#count++ % SAMPLES] = ms
    if (this.#count < SAMPLES_MIN || (this.#usualMs !== undefined && this.#count % LOOK_EVERY !== 0)) return
    const sorted = this.#tookMs.slice(0, Math.min(this.#count, SAMPLES)).sort()
    this.#usualMs = sorted[Math.ceil(sorted.length * USUAL_SHARE) - 1]
  }
  get ms(): number | undefined {
    return this.#usualMs
  }
}

export class Hedges {
  /** For each disk of the cluster that was read from. */
  readonly #usual = new Map<DiskId, Usual>()
  readonly #strikes = new Map<DiskId, number>()
  #left = HEDGES_MAX

  /** A read is about to be asked of a first copy. */
  began(): void {
    this.#left = Math.min(HEDGES_MAX, this.#left + SHARE)
  }

  /** How long to wait for the disk before another is asked. */
  afterMs(disk: DiskId, srttMs: number | undefined): number {
    return hedgeAfterMs({ srttMs, rttvarMs: undefined, lossRate: undefined }, this.#usual.get(disk)?.ms)
  }

  /** Asks for leave to ask a second one. */
  granted(): boolean {
    // What is added is no binary fraction: twenty twentieths are a little less than one.
    if (this.#left < 1 - 1e-9) return false
    this.#left--
    return true
  }

  /** It answered, and `alone`: without another one having been asked. */
  answered(disk: DiskId, tookMs: number, alone: boolean): void {
    this.#add(disk, tookMs)
    if (alone && this.#strikes.size > 0) this.#strikes.delete(disk)
  }

  /** Another was asked later and answered first. Whether it is to be asked last for a while. */
  overtaken(disk: DiskId, waitedMs: number): boolean {
    // It would have taken at least that.
    this.#add(disk, waitedMs)
    const strikes = (this.#strikes.get(disk) ?? 0) + 1
    this.#strikes.set(disk, Math.min(strikes, STRIKES_MAX - 1))
    return strikes >= STRIKES_MAX
  }

  #add(disk: DiskId, ms: number): void {
    let usual = this.#usual.get(disk)
    if (usual === undefined) {
      usual = new Usual()
      this.#usual.set(disk, usual)
    }
    usual.add(ms)
  }
}
