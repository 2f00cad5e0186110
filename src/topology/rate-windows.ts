/*
 * What an operator allows on the way between two sites, by the time of day: one limit for always, others for hours that may go
 * over midnight. Where several hold, the lowest does. Pure: the minute of the day is an argument, of whatever clock people mean.
 */

import { type Result, refuse } from '../base/fault.ts'

export const MINUTES_PER_DAY = 24 * 60
/** Somebody who says more than one an hour wants something else. */
export const WINDOWS_MAX = 24

export interface RateWindow {
  /** Minutes of the day; from 23:00 to 08:00 goes over midnight, from 08:00 to 08:00 is the whole day. */
  readonly from: number
  /** Belongs to the time after it. */
  readonly to: number
  readonly bytesPerS: number
}

export interface RateLimit {
  /** At all hours. undefined: none. */
  readonly bytesPerS?: number | undefined
  readonly windows: readonly RateWindow[]
}

export const NO_LIMIT: RateLimit = { windows: [] }

/** undefined: whatever goes. 0: nothing. */
export function limitAt({ bytesPerS, windows }: RateLimit, minute: number): number | undefined {
  const rates = windows.filter((window) => holds(window, minute)).map((window) => window.bytesPerS)
  if (bytesPerS !== undefined) rates.push(bytesPerS)
  return rates.length === 0 ? undefined : Math.min(...rates)
}

function holds({ from, to }: RateWindow, minute: number): boolean {
  if (from === to) return true
  return from < to ? from <= minute && minute < to : minute >= from || minute < to
}

/** A window of the same hours is replaced. */
export function withWindow(limit: RateLimit, window: RateWindow): Result<RateLimit> {
  const others = limit.windows.filter((one) => one.from !== window.from || one.to !== window.to)
  if (others.length >= WINDOWS_MAX) return refuse('EINVAL', `more than ${WINDOWS_MAX} windows`)
  return { ok: { ...limit, windows: [...others, window].sort((a, b) => a.from - b.from || a.to - b.to) } }
}

/** "08:00", "8:05", "24:00" (the end of the day) → minutes. */
export function parseTimeOfDay(text: string): Result<number> {
  const [, hours, minutes] = /^(\d{1,2}):(\d{2})$/.exec(text.trim()) ?? []
  const minute = Number(hours) * 60 + Number(minutes)
  if (hours === undefined || Number(minutes) > 59 || minute > MINUTES_PER_DAY)
    return refuse('EINVAL', `"${text}" is no time of day; expected HH:MM`)
  return { ok: minute % MINUTES_PER_DAY }
}

export const formatTimeOfDay = (minute: number): string =>
  `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`

const BITS: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9 }
const BYTES: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 }

/** Lines are sold in bits, disks in bytes: "40Mbit", "5 MB/s", "5MiB/s", "512 kB/s" → bytes per second. */
export function parseRate(text: string): Result<number> {
  const [, count, bits, bytes] =
    /^\s*(\d+(?:\.\d+)?)\s*(?:([kMG])bit(?:\/s)?|((?:[kMG]i?)?)B(?:\/s)?)\s*$/.exec(text) ?? []
  if (count === undefined) return refuse('EINVAL', `"${text}" is no rate; expected for example 40Mbit or 5MB/s`)
  const factor = bits === undefined ? BYTES[bytes!]! : BITS[bits]! / 8
  const rate = Math.round(Number(count) * factor)
  return Number.isSafeInteger(rate) ? { ok: rate } : refuse('EINVAL', `"${text}" is more than any line carries`)
}

/** As lines are sold: 5 000 000 → "40 Mbit/s", three digits. */
export function formatRate(bytesPerS: number): string {
  const bits = bytesPerS * 8
  const [factor, unit] = bits >= 1e9 ? [1e9, 'Gbit/s'] : bits >= 1e6 ? [1e6, 'Mbit/s'] : [1e3, 'kbit/s']
  return `${Number((bits / factor).toPrecision(3))} ${unit}`
}
