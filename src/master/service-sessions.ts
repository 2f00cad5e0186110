/*
 * The life of a session: begun, resumed after a lost connection or a restarted master, renewed, ended.
 */

import { FsError, unwrap } from '../base/fault.ts'
import type { SessionId } from '../base/ids.ts'
import { labelName } from '../topology/label-names.ts'
import type { Handlers } from '../wire/peer.ts'
import { NOTHING, type Parts } from './parts.ts'
import { tellPatterns } from './service-classes.ts'
import { giveUp } from './service-namespace.ts'
import { SESSIONS_MAX, type SessionInfo } from './sessions.ts'

type SessionCalls = 'sessionOpen' | 'sessionResume' | 'sessionClose' | 'sessionRenew' | 'sessionPlace'

export function sessionHandlers(parts: Parts): Handlers<SessionCalls> {
  const { state, sessions, holdings, loop, clock, log } = parts
  return {
    sessionOpen: async ({ client, host, mountpoint, version }, _bulk, { peer }) => {
      if (sessions.size >= SESSIONS_MAX) throw new FsError('EUSERS')
      await loop.run({
        prepare: () => {
          const session = state.sessionOf(client) ?? state.nextIds().session
          return { ok: { kind: 'sessionOpen', session, client, host, mountpoint, version } }
        },
      })
      const session = state.sessionOf(client)
      if (session === undefined) throw new FsError('ESTALE', 'the session was ended while it began')
      // Not before it is committed: a number that was given in vain is given again, to another mount.
      sessions.begin({ session, client, host, mountpoint, version }, peer)
      tellPatterns(state, peer)
      log.info({ session, host, mountpoint, version }, 'session opened')
      const settings = state.settings()
      return { reply: { session, timeoutMs: settings.sessionTimeoutMs, settings, now: clock.now() } }
    },

    sessionResume: (request, _bulk, { peer }) => {
      const { session, client, opens } = request
      const known = sessions.heard(session)
      if (known.info.client !== client) throw new FsError('ESTALE', `session ${session} belongs to another mount`)
      sessions.resume(known, opens, peer)
      tellPatterns(state, peer)
      holdings.resumed(known, request)
      // What the state keeps alive for this session although it is not open there (any more) is given up now.
      const open = known.opens!
      const over = state.sustained(session).filter((ino) => !open.has(ino))
      if (over.length > 0) giveUp(loop, session, over)
      log.info({ session, host: known.info.host, opens: opens.length }, 'session resumed')
      const settings = state.settings()
      return { reply: { timeoutMs: settings.sessionTimeoutMs, settings, now: clock.now() } }
    },

    sessionClose: async ({ session }) => {
      // Closing twice (a repeated request) is no failure: what was wanted is so.
      if (sessions.find(session) !== undefined) await endSession(parts, session, 'closed')
      return NOTHING
    },

    sessionRenew: ({ session }) => {
      sessions.heard(session)
      return { reply: { now: clock.now() } }
    },

    sessionPlace: ({ session, place, prefer }) => {
      const asking = sessions.heard(session)
      asking.place = place
      asking.prefer = prefer.map((label) => unwrap(labelName(label)))
      return NOTHING
    },
  }
}

/** Locks, opens and open chunks of the session are cleaned up; its mount, if it still lives, gets ESTALE. */
export async function endSession(parts: Parts, session: SessionId, reason: 'closed' | 'expired'): Promise<void> {
  const { loop, sessions, holdings, log } = parts
  const ending = sessions.find(session)
  const info = ending?.info
  await loop.run({
    prepare: () => ({ ok: { kind: 'sessionEnd', session, reason } }),
    applied: () => {
      sessions.end(session)
      if (ending !== undefined) holdings.ended(ending)
    },
  })
  log.info({ session, reason, host: info?.host, mountpoint: info?.mountpoint }, 'session ended')
}

/** The sessions that the state knows, when the master starts. */
export function restoreSessions({ state, sessions }: Pick<Parts, 'state' | 'sessions'>): void {
  for (const { session, record } of state.sessions()) {
    const info: SessionInfo = {
      session,
      client: record.client,
      host: record.host,
      mountpoint: record.mountpoint,
      version: record.software,
    }
    sessions.restore(info)
  }
}
