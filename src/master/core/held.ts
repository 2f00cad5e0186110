/*
 * A table of records held decoded and written back: what is read is kept, what is changed is kept until flush(). Oldest
 * out first, never a changed one; so it holds at most `max` records and those that one transaction changes.
 */

export class Held<K, R> {
  readonly #records = new Map<K, R | undefined>()
  readonly #changed = new Set<K>()
  readonly #max: number
  constructor(max: number) {
    this.#max = max
  }
  get(id: K, read: (id: K) => R | undefined): R | undefined {
    const held = this.#records.get(id)
    if (held !== undefined || this.#changed.has(id)) return held
    const record = read(id)
    if (record !== undefined) {
      if (this.#records.size >= this.#max) this.#makeRoom()
      this.#records.set(id, record)
    }
    return record
  }
  set(id: K, record: R | undefined): void {
    this.#records.set(id, record)
    this.#changed.add(id)
  }
  flush(write: (id: K, record: R | undefined) => void): void {
    for (const id of this.#changed) {
      const record = this.#records.get(id)
      write(id, record)
      if (record === undefined) this.#records.delete(id)
    }
    this.#changed.clear()
    if (this.#records.size > this.#max) this.#makeRoom()
  }
  get changed(): number {
    return this.#changed.size
  }
  forget(): void {
    this.#records.clear()
    this.#changed.clear()
  }
  /** A quarter goes at once, so that a walk over everything does not pay per record. */
  #makeRoom(): void {
    let goal = this.#records.size - Math.floor((this.#max * 3) / 4)
    for (const id of this.#records.keys()) {
      if (goal-- <= 0) break
      if (!this.#changed.has(id)) this.#records.delete(id)
    }
  }
}
