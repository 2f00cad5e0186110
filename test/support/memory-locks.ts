/*
 * Byte-range and whole-file locks of one inode, with waiting. One holder per owner: a new lock of the same owner replaces
 * what it covers (splitting at its edges), as fcntl(2) has it.
 */

import { FsError } from '../../src/base/fault.ts'
import type { FileLock } from '../../src/client/vfs.ts'

export class LockTable {
  #held: FileLock[] = []
  readonly #waiting = new Set<() => void>()

  get empty(): boolean {
    return this.#held.length === 0 && this.#waiting.size === 0
  }

  conflict(lock: FileLock): FileLock | undefined {
    return this.#held
      .filter((held) => held.family === lock.family && held.owner !== lock.owner)
      .filter((held) => held.start <= lock.end && lock.start <= held.end)
      .find((held) => held.kind === 'write' || lock.kind === 'write')
  }

  async set(lock: FileLock, wait: boolean, signal: () => AbortSignal): Promise<void> {
    if (lock.kind === 'unlock') {
      this.#replace(lock)
      this.#wake()
      return
    }
    // flock converts by giving up the old lock first, so two upgraders do not wait for each other.
    if (lock.family === 'flock' && this.conflict(lock) !== undefined && wait) {
      this.#replace({ ...lock, kind: 'unlock' })
      this.#wake()
    }
    while (this.conflict(lock) !== undefined) {
      if (!wait) throw new FsError('EAGAIN')
      await this.#changed(signal())
    }
    this.#replace(lock)
    this.#wake()
  }

  release(family: FileLock['family'], owner: string): void {
    this.#held = this.#held.filter((held) => held.family !== family || held.owner !== owner)
    this.#wake()
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const done = (): void => {
        this.#waiting.delete(done)
        signal.removeEventListener('abort', aborted)
        resolve()
      }
      const aborted = (): void => {
        this.#waiting.delete(done)
        reject(signal.reason)
      }
      this.#waiting.add(done)
      signal.addEventListener('abort', aborted, { once: true })
    })
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done()
  }

  #replace(lock: FileLock): void {
    const kept: FileLock[] = []
    for (const held of this.#held) {
      const other = held.family !== lock.family || held.owner !== lock.owner
      if (other || held.end < lock.start || lock.end < held.start) {
        kept.push(held)
        continue
      }
      if (held.start < lock.start) kept.push({ ...held, end: lock.start - 1 })
      if (held.end > lock.end) kept.push({ ...held, start: lock.end + 1 })
    }
    if (lock.kind !== 'unlock') kept.push(lock)
    this.#held = kept
  }
}
