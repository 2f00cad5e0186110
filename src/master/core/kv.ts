/*
 * The ordered key-value store that the master's state lives in: LMDB in the field, an in-memory one in unit tests and
 * simulation, one conformance suite over both. Synchronous, because `apply` is.
 *
 * Keys are byte strings (one char = one byte); order is byte order, which is also the order of JavaScript's `<` on them.
 * The first byte names the table (core/tables.ts), so one tree holds everything and one transaction covers everything.
 */

export interface Kv {
  /** The value, or undefined. The buffer is only lent: decode it before the next call. */
  get(key: string): Uint8Array | undefined
  /** The store keeps `value` and reads it later: it must not be changed afterwards. */
  put(key: string, value: Uint8Array): void
  /** Whether there was one. */
  delete(key: string): boolean
  /**
   * Visits entries with from ≤ key < to in order (reverse: from the end) until `visit` answers false. The store must not
   * be changed while visiting. Values are only lent.
   */
  scan(
    range: { from: string; to: string; reverse?: boolean },
    visit: (key: string, value: Uint8Array) => boolean | undefined,
  ): void
}

/** A Kv with transactions and durability: what the loop needs. */
export interface StateStore extends Kv {
  /**
   * Runs `body` in one write transaction: all of it or nothing (when it throws, nothing). Visible to readers afterwards;
   * it outlives this process when the promise of committed() that is asked for afterwards resolves (answer then), and
   * the machine when that of flushed() does. Throws when the disk has refused for good, or too much waits to be written.
   */
  transaction<T>(body: () => T): T
  /**
   * Resolves when everything before this call would be found by another process. Rejects when the disk refused: then
   * the store is back at the last transaction that was committed, nothing later happened, and what the caller holds of
   * the state must be forgotten (State.forget).
   */
  committed(): Promise<void>
  /** Resolves when everything before this call is on disk. Rejects when the disk refused: then nothing may be acknowledged. */
  flushed(): Promise<void>
  /** Bytes on disk. */
  sizeBytes(): number
  /** A consistent copy of the whole store while it is in use (LMDB hot copy). */
  backup(path: string): Promise<void>
  close(): Promise<void>
}
