/*
 * What is under way, by key, as often as it is.
 */

export class Counted<K> {
  readonly #counts = new Map<K, number>()

  get size(): number {
    return this.#counts.size
  }

  has(key: K): boolean {
    return this.#counts.has(key)
  }

  /** The keys count for as long as the work takes, however it ends. */
  async during<T>(keys: readonly K[], work: () => Promise<T>): Promise<T> {
    for (const key of keys) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
    try {
      return await work()
    } finally {
      for (const key of keys) {
        const others = this.#counts.get(key)! - 1
        if (others === 0) this.#counts.delete(key)
        else this.#counts.set(key, others)
      }
    }
  }
}
