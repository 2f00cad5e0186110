/*
 * How a peer is doing, from what the device counts and what probes say. Handshakes are far too slow to tell that somebody
 * died (a healthy peer's last one may be two minutes old), so they only confirm; probes and received bytes decide.
 *
 *   up        a probe was answered or bytes came within 15 s
 *   stale     something was sent and nothing came for 30 s
 *   down      no session (180 s), although there was something to send
 *   degraded  up, and losing more than 2 % for two minutes
 *   idle      nothing was to be sent and nothing came
 *
 * The device is looked at every 5 s. A counter that went back is a device that was made anew.
 */

import { SESSION_S } from './diff.ts'
import type { DevicePeer } from './dump.ts'

export type PeerHealth = 'up' | 'stale' | 'down' | 'degraded' | 'idle'

const UP_MS = 15_000
const STALE_MS = 30_000
const LOSSY_SHARE = 0.02
const LOSSY_MS = 120_000
/** Lost in a row, at one a second after the first: then the peer is suspected after 3 to 4 s. */
export const SUSPECT_PROBES = 3
/** An initiation: what is sent every 5 s while nobody answers. */
const INITIATION_BYTES = 148
/** Two machines with one key make each other's endpoint flip. */
export const FLIPS_PER_MINUTE_MAX = 4

export interface PeerWatch {
  readonly rxBytes: number
  readonly txBytes: number
  readonly rxGrewMs: number
  readonly txGrewMs: number
  /** When sending began that was not answered yet; undefined: everything was. */
  readonly unansweredSinceMs: number | undefined
  /** Bytes received and sent since then. */
  readonly unansweredTxBytes: number
  readonly handshakeS: number
  readonly keepaliveS: number
  readonly endpoint: string | undefined
  /** When the endpoint changed, in the last minute. */
  readonly flipsMs: readonly number[]
  readonly probeAnsweredMs: number
  readonly probesLost: number
  readonly loss: number
  readonly lossySinceMs: number | undefined
}

const NEVER = Number.NEGATIVE_INFINITY

export const newWatch = (): PeerWatch => ({
  rxBytes: 0,
  txBytes: 0,
  rxGrewMs: NEVER,
  txGrewMs: NEVER,
  unansweredSinceMs: undefined,
  unansweredTxBytes: 0,
  handshakeS: 0,
  keepaliveS: 0,
  endpoint: undefined,
  flipsMs: [],
  probeAnsweredMs: NEVER,
  probesLost: 0,
  loss: 0,
  lossySinceMs: undefined,
})

/** What the device says now. */
export function onDevice(watch: PeerWatch, peer: DevicePeer, nowMs: number): PeerWatch {
  const anew = peer.rxBytes < watch.rxBytes || peer.txBytes < watch.txBytes
  const rxGrew = peer.rxBytes > (anew ? 0 : watch.rxBytes)
  const sent = peer.txBytes - (anew ? 0 : watch.txBytes)
  const waiting = sent > 0 || (watch.unansweredSinceMs !== undefined && !anew)
  const flipped = watch.endpoint !== undefined && peer.endpoint !== undefined && peer.endpoint !== watch.endpoint
  return {
    ...watch,
    rxBytes: peer.rxBytes,
    txBytes: peer.txBytes,
    rxGrewMs: rxGrew ? nowMs : watch.rxGrewMs,
    txGrewMs: sent > 0 ? nowMs : watch.txGrewMs,
    unansweredSinceMs: rxGrew || !waiting ? undefined : (watch.unansweredSinceMs ?? nowMs),
    unansweredTxBytes: rxGrew ? 0 : (anew ? 0 : watch.unansweredTxBytes) + sent,
    handshakeS: peer.latestHandshakeS,
    keepaliveS: peer.keepaliveS,
    endpoint: peer.endpoint ?? watch.endpoint,
    flipsMs: [...watch.flipsMs, ...(flipped ? [nowMs] : [])].filter((ms) => nowMs - ms < 60_000),
  }
}

/** What a round of probes said; `loss` is the share that its filter reports. */
export function onProbe(watch: PeerWatch, answered: boolean, loss: number, nowMs: number): PeerWatch {
  return {
    ...watch,
    probeAnsweredMs: answered ? nowMs : watch.probeAnsweredMs,
    probesLost: answered ? 0 : watch.probesLost + 1,
    loss,
    lossySinceMs: loss > LOSSY_SHARE ? (watch.lossySinceMs ?? nowMs) : undefined,
  }
}

export const isSuspect = (watch: PeerWatch): boolean => watch.probesLost >= SUSPECT_PROBES
/** Two machines answer to one key: a disk was cloned. */
export const isCloned = (watch: PeerWatch): boolean => watch.flipsMs.length > FLIPS_PER_MINUTE_MAX

export function healthOf(watch: PeerWatch, nowMs: number, nowS: number): PeerHealth {
  const heardMs = Math.max(watch.rxGrewMs, watch.probeAnsweredMs)
  if (nowMs - heardMs <= UP_MS && !isSuspect(watch))
    return watch.lossySinceMs !== undefined && nowMs - watch.lossySinceMs >= LOSSY_MS ? 'degraded' : 'up'
  const calls = watch.keepaliveS > 0 || watch.unansweredSinceMs !== undefined || watch.probesLost > 0
  if (!calls) return 'idle'
  // A handshake in the future is no sign of life but of a clock that was set back.
  const ageS = nowS - watch.handshakeS
  if (watch.handshakeS === 0 || ageS > SESSION_S || ageS < -1) return 'down'
  const waitingMs = watch.unansweredSinceMs === undefined ? 0 : nowMs - watch.unansweredSinceMs
  return waitingMs >= STALE_MS || isSuspect(watch) || nowMs - heardMs >= STALE_MS ? 'stale' : 'up'
}

/** What people should look at, in one sentence; undefined: nothing is known to be wrong. */
export function adviceFor(watch: PeerWatch, nowMs: number, nowS: number): string | undefined {
  if (isCloned(watch)) return 'its endpoint changes all the time: two machines use one key, was a disk cloned?'
  const health = healthOf(watch, nowMs, nowS)
  if (health === 'up' || health === 'idle') return undefined
  if (health === 'degraded') return `the link loses ${(watch.loss * 100).toFixed(1)} % of its packets`
  if (watch.handshakeS > nowS + 1)
    return 'the last handshake is in the future: the clock of this machine was set back, correct it'
  if (watch.endpoint === undefined) return 'no address of it is known: it has to call first'
  if (watch.handshakeS === 0) {
    if (watch.rxBytes === 0 && watch.txBytes >= INITIATION_BYTES)
      return 'nothing comes back: UDP is blocked on the way, its key is another one, or its clock was set back'
    if (watch.rxBytes > 0)
      return 'its handshakes arrive here and ours do not arrive there: look at the firewall of the other side'
    return 'nothing was sent yet'
  }
  return 'it answered before and no longer does: it is off, or the way to it has changed'
}
