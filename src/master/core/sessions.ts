/*
 * Sessions begin and end; locks of their owners.
 *
 * A session ends at once: it is asked nothing and answered nothing from then on. What it leaves (locks, unlinked inodes that
 * it held open, open chunks, remembered answers) may be a million records; what one command does not clear is marked, and
 * cleared by `sessionCleared` in steps, also by the master that is started after a crash. Locks go first: others wait.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino, SessionId } from '../../base/ids.ts'
import { seal } from './chunks.ts'
import type { CommandOf } from './commands.ts'
import { release } from './lifetime.ts'
import { conflict, granted, type LockWish, sameOwner } from './locks.ts'
import { EMPTY, encodeRecord, type HeldLock, LOCKS_PER_INODE_MAX, locksRecord } from './records.ts'
import { key, numbersIn } from './tables.ts'
import type { Work } from './work.ts'

/** Mounts at once. Each costs some kilobytes in the master; more than this is somebody opening sessions in a loop. */
const SESSIONS_MAX = 4096
/** Records of an ended session that one command clears: about 20 ms. */
export const CLEARED_AT_ONCE = 1_024

export function sessionOpen(work: Work, command: CommandOf<'sessionOpen'>): Result<unknown> {
  const { state } = work
  const settings = state.settings()
  const known = state.sessionOf(command.client)
  if (known !== undefined) return ok({ session: known, timeoutMs: settings.sessionTimeoutMs, settings })
  const counters = state.counters()
  if (counters.sessions >= SESSIONS_MAX) return refuse('EUSERS')
  if (command.session === 0 || command.session < counters.nextSession)
    return refuse('EIO', `session number ${command.session} has been used`)
  state.setSession(command.session, {
    version: 1,
    client: command.client,
    host: command.host,
    mountpoint: command.mountpoint,
    software: command.version,
    openedSec: Math.max(0, work.now.sec),
    acked: 0,
  })
  state.setSessionOf(command.client, command.session)
  state.setCounters({ sessions: counters.sessions + 1, nextSession: command.session + 1 })
  return ok({ session: command.session, timeoutMs: settings.sessionTimeoutMs, settings })
}

export function sessionEnd(work: Work, command: CommandOf<'sessionEnd'>): Result<unknown> {
  const { state } = work
  const { session } = command
  const record = state.session(session)
  if (record === undefined) return ok({})
  state.setSession(session, undefined)
  state.setSessionOf(record.client, undefined)
  state.setCounters({ sessions: state.counters().sessions - 1 })
  if (!clear(work, session, CLEARED_AT_ONCE)) state.kv.put(key.over(session), EMPTY)
  return ok({})
}

export function sessionCleared(work: Work, command: CommandOf<'sessionCleared'>): Result<unknown> {
  const session = work.state.over()
  if (session !== undefined && clear(work, session, Math.max(1, command.limit))) work.state.kv.delete(key.over(session))
  return ok({})
}

/** Clears up to `limit` of what a session left; true: that was all. */
function clear(work: Work, session: SessionId, limit: number): boolean {
  const { state } = work
  let left = limit
  for (const ino of state.lockedBy(session, 0, left)) {
    const kept = state.locksOf(ino).filter((lock) => lock.session !== session)
    store(work, ino, kept, session)
    work.touched.unlocked.push(ino)
    left--
  }
  for (const chunk of state.chunkIndex.openOf(session, 0, left)) {
    const open = state.chunk(chunk)
    if (open !== undefined) seal(work, chunk, open, open.length)
    left--
  }
  for (const ino of state.sustained(session, 0, left)) {
    release(work, ino, session)
    left--
  }
  const replies = numbersIn(state.kv, key.repliesOf(session), '', left)
  for (const seq of replies) state.kv.delete(key.reply(session, seq))
  return replies.length < left
}

// ---- locks

export function setLock(work: Work, command: CommandOf<'setLock'>): Result<unknown> {
  const found = work.inode(command.ino)
  if ('errno' in found) return found
  const { lock } = command
  if (lock.start > lock.end) return refuse('EINVAL')
  const whole = lock.family === 'flock' ? { start: 0, end: Number.MAX_SAFE_INTEGER } : {}
  const wish: LockWish = { ...lock, ...whole, session: work.session }
  const held = work.state.locksOf(command.ino)
  if (conflict(held, wish) !== undefined) return refuse('EAGAIN')
  const next = granted(held, wish)
  if (next.length > LOCKS_PER_INODE_MAX) return refuse('EAGAIN', 'too many locks on one file')
  store(work, command.ino, next, work.session)
  if (frees(held, wish)) work.touched.unlocked.push(command.ino)
  return ok({})
}

/** Whether what the owner had there was more than it has now. */
const frees = (held: readonly HeldLock[], wish: LockWish): boolean =>
  wish.kind !== 'write' &&
  held.some(
    (lock) =>
      sameOwner(lock, wish) &&
      lock.start <= wish.end &&
      lock.end >= wish.start &&
      (wish.kind === 'unlock' || lock.kind === 'write'),
  )

export function releaseLocks(work: Work, command: CommandOf<'releaseLocks'>): Result<unknown> {
  const owner = { session: work.session, family: command.family, owner: command.owner }
  const held = work.state.locksOf(command.ino)
  const next = held.filter((lock) => !sameOwner(lock, owner))
  if (next.length === held.length) return ok({})
  store(work, command.ino, next, work.session)
  work.touched.unlocked.push(command.ino)
  return ok({})
}

/** Writes the locks of an inode after a change of one session's, and where that session has locks. */
function store(work: Work, ino: Ino, locks: HeldLock[], session: SessionId): void {
  const { kv } = work.state
  if (locks.length === 0) kv.delete(key.locks(ino))
  else kv.put(key.locks(ino), encodeRecord(locksRecord, locks))
  if (locks.some((lock) => lock.session === session)) kv.put(key.locker(session, ino), EMPTY)
  else kv.delete(key.locker(session, ino))
}
