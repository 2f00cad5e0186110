/*
 * A bounded map that forgets what was not used lately, at the price of two Map lookups and nothing per hit but a move.
 * Two generations: what is found in the old one moves to the young one; when the young one is full it becomes the old
 * one and the old one is dropped. An entry therefore survives at least `limit / 2` insertions after its last use.
 */

export class Generations<K, V> {
  readonly #half: number
  #young = new Map<K, V>()
  #old = new Map<K, V>()

  /** Holds at most `limit` entries. */
  constructor(limit: number) {
    this.#half = Math.max(1, limit >> 1)
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.#put(key, old)
    }
    return old
  }

  set(key: K, value: V): void {
    this.#old.delete(key)
    this.#put(key, value)
  }

  delete(key: K): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young.clear()
    this.#old.clear()
  }

  #put(key: K, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }
}
