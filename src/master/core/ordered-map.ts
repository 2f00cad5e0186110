/*
 * A map from byte strings to values that can also be walked in key order: the memory store, and what the LMDB store has
 * not written yet. Point reads and writes cost what a Map costs; the order is made when somebody asks for it: new keys
 * wait unsorted and are put into the sorted leaves by the next walk.
 */

/** Keys of one leaf: an insert moves half of them on average, a search halves the list of leaves. */
const LEAF_KEYS_MAX = 256

export class OrderedMap<V> {
  readonly #values = new Map<string, V>()
  #leaves: string[][] = []
  /** Keys set since the last walk; may name a key twice, or one that has been deleted again. */
  #fresh: string[] = []

  get size(): number {
    return this.#values.size
  }
  get(key: string): V | undefined {
    return this.#values.get(key)
  }
  has(key: string): boolean {
    return this.#values.has(key)
  }
  set(key: string, value: V): void {
    if (!this.#values.has(key)) this.#fresh.push(key)
    this.#values.set(key, value)
  }
  delete(key: string): boolean {
    if (!this.#values.delete(key)) return false
    const at = this.#leafOf(key)
    const leaf = this.#leaves[at]
    if (leaf === undefined) return true
    const index = lowerBound(leaf, key)
    if (leaf[index] === key) {
      leaf.splice(index, 1)
      if (leaf.length === 0) this.#leaves.splice(at, 1)
    }
    return true
  }
  /** In no order. */
  entries(): IterableIterator<[string, V]> {
    return this.#values.entries()
  }

  /** from ≤ key < to, in order or backwards. The map must not be changed meanwhile. */
  *range(from: string, to: string, reverse = false): Generator<[string, V]> {
    this.#sort()
    if (!reverse) {
      for (let at = this.#leafOf(from); at < this.#leaves.length; at++) {
        const leaf = this.#leaves[at]!
        for (let i = lowerBound(leaf, from); i < leaf.length; i++) {
          const key = leaf[i]!
          if (key >= to) return
          yield [key, this.#values.get(key) as V]
        }
      }
      return
    }
    for (let at = Math.min(this.#leafOf(to), this.#leaves.length - 1); at >= 0; at--) {
      const leaf = this.#leaves[at]!
      for (let i = lowerBound(leaf, to) - 1; i >= 0; i--) {
        const key = leaf[i]!
        if (key < from) return
        yield [key, this.#values.get(key) as V]
      }
    }
  }

  #sort(): void {
    if (this.#fresh.length === 0) return
    const fresh = this.#fresh
    this.#fresh = []
    if (fresh.length > LEAF_KEYS_MAX && fresh.length * 8 > this.#values.size) {
      const keys = [...this.#values.keys()].sort(byBytes)
      this.#leaves = []
      for (let i = 0; i < keys.length; i += LEAF_KEYS_MAX / 2) this.#leaves.push(keys.slice(i, i + LEAF_KEYS_MAX / 2))
      return
    }
    for (const key of fresh) if (this.#values.has(key)) this.#insert(key)
  }
  #insert(key: string): void {
    const at = this.#leafOf(key)
    const leaf = this.#leaves[at]
    if (leaf === undefined) {
      this.#leaves.push([key])
      return
    }
    const index = lowerBound(leaf, key)
    if (leaf[index] === key) return
    leaf.splice(index, 0, key)
    if (leaf.length > LEAF_KEYS_MAX) this.#leaves.splice(at + 1, 0, leaf.splice(LEAF_KEYS_MAX / 2))
  }
  /** The last leaf that begins at or before `key`, else the first. */
  #leafOf(key: string): number {
    let low = 0
    let high = this.#leaves.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#leaves[middle]![0]! <= key) low = middle + 1
      else high = middle
    }
    return Math.max(0, low - 1)
  }
}

const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}
