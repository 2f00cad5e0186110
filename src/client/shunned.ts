/*
 * Copies that failed a moment ago, to be asked last: a whole disk when it was the disk or the way there, one chunk of it when
 * only that is missing or damaged.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import { RemoteError } from '../wire/link.ts'

/** Long enough that a dead server costs a read now and then, short enough that one that is back is used again. */
const SHUN_MS = 5_000
/** With more failures than that at one time everything is tried again. */
const SHUNNED_MAX = 65_536

/** A copy ends before what was committed. */
export class TooShort extends FsError {
  constructor(chunk: ChunkId, disk: DiskId) {
    super('EIO', `chunk ${chunkName(chunk)} on disk ${disk} is shorter than committed`)
    this.name = 'TooShort'
  }
}

/** The server answered, and not that its disk is away: waiting alone brings nothing back. */
export const refuses = (error: unknown): boolean =>
  error instanceof TooShort || (error instanceof RemoteError && error.code !== 'ENODEV')

/** It says nothing about other chunks on the same disk. */
export const aboutChunk = (error: unknown): boolean =>
  error instanceof TooShort || (error instanceof RemoteError && (error.code === 'ENOENT' || error.code === 'EBADMSG'))

export class Shunned {
  readonly #clock: Clock
  readonly #until = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get none(): boolean {
    this.#forget()
    return this.#until.size === 0
  }

  has(disk: DiskId, chunk: ChunkId): boolean {
    this.#forget()
    return this.#until.size > 0 && (this.#until.has(`${disk}`) || this.#until.has(`${disk} ${chunk}`))
  }

  /** Without a chunk: everything on the disk. */
  add(disk: DiskId, chunk?: ChunkId): void {
    const key = chunk === undefined ? `${disk}` : `${disk} ${chunk}`
    if (this.#until.size >= SHUNNED_MAX) this.#until.clear()
    // To the end of the order, which is that of time.
    this.#until.delete(key)
    this.#until.set(key, this.#clock.monotonicMs() + SHUN_MS)
  }

  #forget(): void {
    if (this.#until.size === 0) return
    const now = this.#clock.monotonicMs()
    for (const [key, until] of this.#until) {
      if (until > now) return
      this.#until.delete(key)
    }
  }
}
