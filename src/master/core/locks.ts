/*
 * Advisory locks of one inode as values: what conflicts, what a new lock leaves of the owner's old ones, and whether
 * waiting would close a circle. An owner is (session, family, owner word); pid is only for F_GETLK to show.
 */

import type { Ino, SessionId } from '../../base/ids.ts'
import type { HeldLock } from './records.ts'

export interface LockOwner {
  readonly session: SessionId
  readonly family: 'posix' | 'flock'
  readonly owner: string
}
export interface LockWish extends LockOwner {
  readonly kind: 'read' | 'write' | 'unlock'
  readonly start: number
  /** Inclusive. */
  readonly end: number
  readonly pid: number
}

export const sameOwner = (a: LockOwner, b: LockOwner): boolean =>
  a.session === b.session && a.family === b.family && a.owner === b.owner

/** The first lock in the way. Locks of the two families do not see each other, as on a local Linux filesystem. */
export function conflict(held: readonly HeldLock[], wish: LockWish): HeldLock | undefined {
  if (wish.kind === 'unlock') return undefined
  let first: HeldLock | undefined
  for (const lock of held) {
    if (lock.family !== wish.family || sameOwner(lock, wish)) continue
    if (lock.start > wish.end || lock.end < wish.start) continue
    if (lock.kind === 'read' && wish.kind === 'read') continue
    if (first === undefined || lock.start < first.start) first = lock
  }
  return first
}

/** All locks after the wish is granted: it replaces what the owner had there, and joins neighbours of its kind. */
export function granted(held: readonly HeldLock[], wish: LockWish): HeldLock[] {
  const others = held.filter((lock) => !sameOwner(lock, wish))
  let { start, end } = wish
  const own: HeldLock[] = []
  for (const lock of held) {
    if (!sameOwner(lock, wish)) continue
    if (lock.kind === wish.kind && lock.start <= end + 1 && lock.end >= start - 1) {
      start = Math.min(start, lock.start)
      end = Math.max(end, lock.end)
      continue
    }
    if (lock.end < wish.start || lock.start > wish.end) {
      own.push(lock)
      continue
    }
    if (lock.start < wish.start) own.push({ ...lock, end: wish.start - 1 })
    if (lock.end > wish.end) own.push({ ...lock, start: wish.end + 1 })
  }
  if (wish.kind !== 'unlock') {
    const { session, family, owner, pid } = wish
    own.push({ session, family, kind: wish.kind, owner, start, end, pid })
  }
  return [...others, ...own.sort((a, b) => a.start - b.start)]
}

export interface Waiting {
  readonly ino: Ino
  readonly wish: LockWish
}

/**
 * Whether `wish` on `ino` would wait for itself: its blocker waits (directly or through others) for a lock that the
 * asking owner holds. POSIX locks only, as in Linux; an owner waits for one lock at a time per thread, so several
 * waiting wishes of one owner are all followed.
 */
export function deadlocks(
  ino: Ino,
  wish: LockWish,
  waiting: readonly Waiting[],
  locksOf: (ino: Ino) => readonly HeldLock[],
): boolean {
  if (wish.family !== 'posix') return false
  const seen = new Set<string>()
  const todo: Waiting[] = [{ ino, wish }]
  for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
    for (const blocker of blockers(locksOf(step.ino), step.wish)) {
      if (sameOwner(blocker, wish)) return true
      const word = `${blocker.session}/${blocker.owner}`
      if (seen.has(word)) continue
      seen.add(word)
      for (const other of waiting) if (sameOwner(other.wish, blocker)) todo.push(other)
    }
  }
  return false
}

const blockers = (held: readonly HeldLock[], wish: LockWish): HeldLock[] =>
  held.filter((lock) => conflict([lock], wish) !== undefined)
