/*
 * Advisory locks. Taking and giving back are commands and never wait; waiting is this file's business: a request that is
 * in someone's way is parked inside its own transaction, so that no release can slip in between. One that would close a circle of waiting owners is refused (EDEADLK).
 */

import { FsError, isRefusal, refuse } from '../base/fault.ts'
import type { SessionId } from '../base/ids.ts'
import type { Answer, Handlers } from '../wire/peer.ts'
import type { Request } from '../wire/protocol.ts'
import { conflict, deadlocks, type LockWish } from './core/locks.ts'
import { LATER } from './loop.ts'
import { change, inodeOf, NOTHING, type Parts } from './parts.ts'
import { WAITING_MAX, type WaitingLock, type WaitingLocks } from './waiting-locks.ts'

type LockCalls = 'getLock' | 'setLock' | 'releaseLocks'

export function lockHandlers(parts: Parts, waiting: WaitingLocks): Handlers<LockCalls> {
  const { state, sessions, loop } = parts
  return {
    getLock: ({ session, ino, lock }) => {
      sessions.heard(session)
      inodeOf(state, ino)
      const held = conflict(state.locksOf(ino), wishOf(session, lock))
      if (held === undefined) return { reply: { lock: undefined } }
      // A pid means something only where it lives; other mounts' owners are answered as 0, as NFS does.
      const pid = held.session === session ? held.pid : 0
      const { family, kind, owner, start, end } = held
      return { reply: { lock: { family, kind, owner, start, end, pid } } }
    },

    setLock: ({ stamp, ino, lock, wait }, _bulk, context) => {
      const { session } = stamp
      if (!wait || lock.kind === 'unlock')
        return change<'setLock'>(parts, stamp, () => ({ kind: 'setLock', ino, lock }))
      sessions.heard(session)
      return new Promise<Answer<'setLock'>>((resolve, reject) => {
        const over = (error: unknown): void => {
          waiting.delete(place)
          reject(error)
        }
        const wish = wishOf(session, lock)
        const place: WaitingLock = {
          ino,
          wish,
          retry: () =>
            loop.submit({
              // Taking a lock that one has is no change, so the reply need not be remembered; and a request that may wait
              // for hours must not keep the replies of all later ones in memory.
              stamp: { session, seq: 0, acked: 0 },
              prepare: () => {
                if (context.signal.aborted) return refuse('EINTR')
                if (conflict(state.locksOf(ino), wish) === undefined) return { ok: { kind: 'setLock', ino, lock } }
                if (deadlocks(ino, wish, waiting.all(), (at) => state.locksOf(at))) return refuse('EDEADLK')
                if (!waiting.has(place) && waiting.ofSession(session) >= WAITING_MAX)
                  return refuse('EAGAIN', `${WAITING_MAX} locks of this mount are waiting already`)
                waiting.add(place)
                return LATER
              },
              // From here on it is granted, and a cancel comes too late.
              applied: () => waiting.delete(place),
              done: (result) => {
                if (isRefusal(result)) over(new FsError(result.errno, result.detail))
                else resolve(NOTHING)
              },
            }),
        }
        // A cancel ends it while it is parked; in the loop's hands `prepare` sees it. A lock that was granted as the cancel
        // came is given back by the mount, which knows that it asked.
        const onAbort = (): void => {
          if (waiting.has(place)) over(new FsError('EINTR'))
        }
        context.signal.addEventListener('abort', onAbort, { once: true })
        place.retry()
      })
    },

    releaseLocks: ({ stamp, ino, family, owner }) =>
      change<'releaseLocks'>(parts, stamp, () => ({ kind: 'releaseLocks', ino, family, owner })),
  }
}

/** flock has no ranges: it covers everything. */
const wishOf = (session: SessionId, lock: Request<'setLock'>['lock']): LockWish => ({
  ...lock,
  ...(lock.family === 'flock' ? { start: 0, end: Number.MAX_SAFE_INTEGER } : {}),
  session,
})
