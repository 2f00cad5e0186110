/* The real clock and the real dice; the only file that reads them. */

import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock, Random } from '../base/world.ts'

export const hostClock: Clock = {
  now() {
    // Date.now() has milliseconds only; timeOrigin + now() has microseconds but drifts from a stepped clock, so the
    // fraction below the millisecond is taken from the monotonic clock: it orders events, it does not date them.
    const ms = Date.now()
    const sub = Math.floor((performance.now() % 1) * 1e6)
    return { sec: Math.floor(ms / 1000), nsec: (ms % 1000) * 1_000_000 + sub }
  },
  monotonicMs: () => performance.now(),
  sleep: (ms, options) => sleep(ms, undefined, { ref: true, ...(options?.signal ? { signal: options.signal } : {}) }),
  timer(ms, callback) {
    const timer = setTimeout(callback, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/** Minutes since midnight at this second, by the time zone of this machine. */
export function localMinute(sec: number): number {
  const time = new Date(sec * 1000)
  return time.getHours() * 60 + time.getMinutes()
}
export const localZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone

export const hostRandom: Random = {
  below: (n) => randomInt(n),
  hex: (bytes) => randomBytes(bytes).toString('hex'),
}
