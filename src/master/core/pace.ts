/*
 * From how much was left when, how long the rest will take: the rate between the oldest sight that is remembered and now.
 * Sights are kept for some minutes, so that a pause shows, and one slow chunk does not.
 */

/** Long enough for chunks of 64 MiB over a slow line to be seen moving, … */
const WINDOW_MS = 300_000
/** … in so many sights at most. */
const SIGHTS_MAX = 64
/** Of less no rate is told. */
const LEAST_MS = 2_000

export class Pace {
  #sights: { readonly atMs: number; readonly left: number }[] = []

  seen(nowMs: number, left: number): void {
    const last = this.#sights.at(-1)
    // More than before: it began again, or something came; what was seen says nothing any more.
    if (last !== undefined && left > last.left) this.#sights = []
    this.#sights = this.#sights.filter(({ atMs }) => nowMs - atMs <= WINDOW_MS).slice(-(SIGHTS_MAX - 1))
    this.#sights.push({ atMs: nowMs, left })
  }

  /** Rounded up; undefined where nothing was seen moving. */
  secondsLeft(nowMs: number, left: number): number | undefined {
    if (left === 0) return 0
    const first = this.#sights[0]
    if (first === undefined || nowMs - first.atMs < LEAST_MS || left >= first.left) return undefined
    const perMs = (first.left - left) / (nowMs - first.atMs)
    return Math.ceil(left / perMs / 1000)
  }
}
