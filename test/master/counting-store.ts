/* A store that knows how much one transaction changed. */

import { MemoryStore } from '../../src/master/memory-store.ts'

export class CountingStore extends MemoryStore {
  #changes = 0
  /** The most that one transaction has written. */
  most = 0
  override transaction<T>(body: () => T): T {
    this.#changes = 0
    const value = super.transaction(body)
    this.most = Math.max(this.most, this.#changes)
    return value
  }
  override put(key: string, value: Uint8Array): void {
    this.#changes++
    super.put(key, value)
  }
  override delete(key: string): boolean {
    this.#changes++
    return super.delete(key)
  }
}
