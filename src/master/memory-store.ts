/*
 * The state store without a disk, for unit tests and simulation. What is committed is there until the object is gone;
 * `flushed` is true at once.
 */

import { assert } from '../base/fault.ts'
import type { StateStore } from './core/kv.ts'
import { OrderedMap } from './core/ordered-map.ts'

export class MemoryStore implements StateStore {
  #map = new OrderedMap<Uint8Array>()
  /** What to put back when the running transaction throws, newest last. */
  #undo: { key: string; value: Uint8Array | undefined }[] | undefined

  get(key: string): Uint8Array | undefined {
    return this.#map.get(key)
  }
  put(key: string, value: Uint8Array): void {
    assert(this.#undo !== undefined, 'the state changes inside a transaction only')
    this.#undo.push({ key, value: this.#map.get(key) })
    // An own copy: encoders hand out slices of large shared buffers, which one small record would keep alive.
    this.#map.set(key, value.slice())
  }
  delete(key: string): boolean {
    assert(this.#undo !== undefined, 'the state changes inside a transaction only')
    const value = this.#map.get(key)
    if (value === undefined) return false
    this.#undo.push({ key, value })
    return this.#map.delete(key)
  }
  scan(
    range: { from: string; to: string; reverse?: boolean },
    visit: (key: string, value: Uint8Array) => boolean | undefined,
  ): void {
    for (const [key, value] of this.#map.range(range.from, range.to, range.reverse))
      if (visit(key, value) === false) return
  }
  transaction<T>(body: () => T): T {
    assert(this.#undo === undefined, 'transactions do not nest')
    this.#undo = []
    try {
      return body()
    } catch (error) {
      for (const { key, value } of this.#undo.reverse()) {
        if (value === undefined) this.#map.delete(key)
        else this.#map.set(key, value)
      }
      throw error
    } finally {
      this.#undo = undefined
    }
  }
  async committed(): Promise<void> {}
  async flushed(): Promise<void> {}
  sizeBytes(): number {
    let bytes = 0
    for (const [key, value] of this.#map.entries()) bytes += key.length + value.length
    return bytes
  }
  async backup(): Promise<void> {
    assert(false, 'a memory store has no files to copy')
  }
  async close(): Promise<void> {
    this.#map = new OrderedMap()
  }
}
