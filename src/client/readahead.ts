/*
 * Reading ahead of a sequential reader, in units of 1 MiB aligned in the file. The kernel asks for pieces of a unit, often
 * several at once and slightly out of order; each unit is fetched once and given out in pieces. The window doubles with
 * every unit the reader moves on, so a reader that stops early has cost little.
 */

import { sliceParts } from '../base/bytes.ts'

export const UNIT_BYTES = 1024 * 1024
/** 8 MiB ahead keep 100 Mbit/s × 600 ms busy, and both copies' disks. */
const WINDOW_MAX = 8
/** Units held: the window and what the kernel may still come back for. */
const UNITS_MAX = WINDOW_MAX + 3
/** A first read of this size or more looks like the start of a sequential one. */
const EAGER_BYTES = 64 * 1024

export class Readahead {
  readonly #fetch: (from: number, to: number) => Promise<Buffer[]>
  readonly #units = new Map<number, Promise<Buffer[]>>()
  #lastUnit = -2
  #nextOffset = 0
  #streak = 0

  constructor(fetch: (from: number, to: number) => Promise<Buffer[]>) {
    this.#fetch = fetch
  }

  /** The bytes, or undefined when this does not look sequential and the caller should read just what it needs. */
  async read(offset: number, end: number, size: number): Promise<Buffer[] | undefined> {
    const unit = Math.floor(offset / UNIT_BYTES)
    const near = unit === this.#lastUnit || unit === this.#lastUnit + 1
    const follows = offset === this.#nextOffset || (near && this.#units.has(unit))
    this.#nextOffset = end
    if (!follows && !this.#units.has(unit)) {
      this.#streak = 0
      this.#lastUnit = unit
      return undefined
    }
    if (this.#streak === 0 && end - offset < EAGER_BYTES) {
      // One small read is not yet a stream; the next one that follows it is.
      this.#streak = 1
      this.#lastUnit = unit
      return undefined
    }
    if (unit > this.#lastUnit || this.#streak <= 1) this.#streak = Math.max(2, this.#streak * 2)
    this.#lastUnit = Math.max(unit, this.#lastUnit)
    const window = Math.min(WINDOW_MAX, this.#streak)
    for (let ahead = unit; ahead <= unit + window && ahead * UNIT_BYTES < size; ahead++) this.#start(ahead)
    for (const held of this.#units.keys()) {
      if (this.#units.size <= UNITS_MAX) break
      this.#units.delete(held)
    }
    const out: Buffer[] = []
    for (let u = unit; u * UNIT_BYTES < end; u++) {
      const parts = await (this.#units.get(u) ?? this.#start(u))
      const from = Math.max(offset - u * UNIT_BYTES, 0)
      out.push(...sliceParts(parts, from, Math.min(end - u * UNIT_BYTES, UNIT_BYTES)))
      if (end >= (u + 1) * UNIT_BYTES) this.#units.delete(u - 1)
    }
    return out
  }

  #start(unit: number): Promise<Buffer[]> {
    let fetching = this.#units.get(unit)
    if (fetching === undefined) {
      fetching = this.#fetch(unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES)
      this.#units.set(unit, fetching)
      // A unit that failed is fetched anew by whoever needs it; nobody may be waiting for this one.
      fetching.catch(() => this.#units.delete(unit))
    }
    return fetching
  }
}
