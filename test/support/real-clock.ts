/*
 * The machine's clock and a log that writes lines to stderr, for tests that run against real processes and mounts.
 */

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Time } from '../../src/base/attr.ts'
import type { Clock, Log } from '../../src/base/world.ts'

export const realClock: Clock = {
  now(): Time {
    const us = Math.round((performance.timeOrigin + performance.now()) * 1000)
    return { sec: Math.floor(us / 1_000_000), nsec: (us % 1_000_000) * 1000 }
  },
  monotonicMs: () => performance.now(),
  sleep: (ms, options) => sleep(ms, undefined, options?.signal === undefined ? {} : { signal: options.signal }),
  timer(ms, callback) {
    const timer = setTimeout(callback, ms).unref()
    return () => clearTimeout(timer)
  },
}

/** A clock on which time passes `times` as fast, for what waits for seconds. */
export const fastClock = (times: number): Clock => ({
  now: realClock.now,
  monotonicMs: () => performance.now() * times,
  sleep: (ms, options) => realClock.sleep(ms / times, options),
  timer: (ms, callback) => realClock.timer(ms / times, callback),
})

export function lineLog(write: (line: string) => void): Log {
  const at =
    (level: string) =>
    (fields: object, message: string): void => {
      const plain = Object.entries(fields).map(([k, v]) => `${k}=${v instanceof Error ? v.stack : JSON.stringify(v)}`)
      write(`${level} ${message} ${plain.join(' ')}`)
    }
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => log }
  return log
}

/** Discards everything below a warning. */
export const stderrLog: Log = lineLog((line) => {
  if (!line.startsWith('debug') && !line.startsWith('info')) process.stderr.write(`${line}\n`)
})
