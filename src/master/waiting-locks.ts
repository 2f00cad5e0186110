/*
 * Lock requests that wait for others to give way. They are not state: a master that restarts forgets them and the mounts
 * ask again. Per inode first come, first tried; every time a lock is given back there, those waiting are submitted again
 * in order. A request leaves the queue when it is granted, cancelled (EINTR), its connection is lost, or its session ends.
 */

import type { Ino, SessionId } from '../base/ids.ts'
import type { LockWish, Waiting } from './core/locks.ts'

/** Waiting requests of one session. Each takes one of the link's 1 024 places; the unlock must still get through. */
export const WAITING_MAX = 512

export interface WaitingLock extends Waiting {
  readonly ino: Ino
  readonly wish: LockWish
  /** Submits it to the loop again. */
  retry(): void
}

export class WaitingLocks {
  readonly #byIno = new Map<Ino, Set<WaitingLock>>()
  readonly #bySession = new Map<SessionId, number>()
  get size(): number {
    let n = 0
    for (const queue of this.#byIno.values()) n += queue.size
    return n
  }

  ofSession(session: SessionId): number {
    return this.#bySession.get(session) ?? 0
  }

  has(waiting: WaitingLock): boolean {
    return this.#byIno.get(waiting.ino)?.has(waiting) ?? false
  }

  /** A repeated try keeps its place in the queue. */
  add(waiting: WaitingLock): void {
    const queue = this.#byIno.get(waiting.ino) ?? new Set()
    if (queue.has(waiting)) return
    queue.add(waiting)
    this.#byIno.set(waiting.ino, queue)
    const { session } = waiting.wish
    this.#bySession.set(session, this.ofSession(session) + 1)
  }

  delete(waiting: WaitingLock): void {
    const queue = this.#byIno.get(waiting.ino)
    if (queue === undefined || !queue.delete(waiting)) return
    if (queue.size === 0) this.#byIno.delete(waiting.ino)
    const { session } = waiting.wish
    const left = this.ofSession(session) - 1
    if (left === 0) this.#bySession.delete(session)
    else this.#bySession.set(session, left)
  }

  /** Something was given back on this inode. */
  unlocked(ino: Ino): void {
    for (const waiting of [...(this.#byIno.get(ino) ?? [])]) waiting.retry()
  }

  all(): WaitingLock[] {
    return [...this.#byIno.values()].flatMap((queue) => [...queue])
  }
}
