/*
 * How deleted files and the hours in which their time is over are called on a meta mount. A name is a byte string of at
 * most 255 bytes and says which file is meant whatever bytes the path has:
 *
 *   4711|docs|plan.txt    inode 4711, was /docs/plan.txt: a slash is a bar
 *   4711|a%7Cb|50%25      a bar and a per cent sign of the path are escaped
 *   4711%.|deep|plan.txt  the beginning of the path did not fit and is left out
 *   4711%-...|plan.txt    the path does not begin with a slash (the master has not got all of it)
 *
 * The number alone makes a name unique; it is never given to another file.
 */

import { NAME_BYTES_MAX } from '../../base/limits.ts'

export interface TrashName {
  readonly ino: number
  /** What there is of the path in the name. Undefined: nothing, the name is a number. */
  readonly path: string | undefined
  /** `path` is only the end of it. */
  readonly cut: boolean
}

const CUT = '%.'
const RELATIVE = '%-'

const escaped = (path: string): string[] =>
  Array.from(path, (char) => (char === '/' ? '|' : char === '|' ? '%7C' : char === '%' ? '%25' : char))

export function trashName(ino: number, path: string): string {
  const number = String(ino)
  const pieces = escaped(path)
  const whole = `${number}${path.startsWith('/') ? '' : RELATIVE}${pieces.join('')}`
  if (whole.length <= NAME_BYTES_MAX) return whole
  let room = NAME_BYTES_MAX - number.length - CUT.length
  let from = pieces.length
  while (from > 0 && pieces[from - 1]!.length <= room) room -= pieces[--from]!.length
  return `${number}${CUT}${pieces.slice(from).join('')}`
}

/** Undefined: no file is called so. */
export function parseTrashName(name: string): TrashName | undefined {
  const match = /^([1-9]\d{0,15})(%[.-]|(?=\|)|$)([\s\S]*)$/.exec(name)
  if (match === null || !Number.isSafeInteger(Number(match[1]))) return undefined
  const [, number, mark, rest] = match as unknown as [string, string, string, string]
  if (!/^(?:[^%/]|%7C|%25)*$/.test(rest)) return undefined
  if (mark === '' && rest === '') return { ino: Number(number), path: undefined, cut: false }
  const path = rest.replaceAll(/\||%7C|%25/g, (piece) => (piece === '|' ? '/' : piece === '%7C' ? '|' : '%'))
  return { ino: Number(number), path, cut: mark === CUT }
}

// ---- hours, counted from 1970, in UTC: 2026-11-22T15Z

const HOURS_PER_DAY = 24
/** Four hundred years after which the calendar repeats, and the days from 0000-03-01 to 1970-01-01. */
const ERA_DAYS = 146_097
const EPOCH_DAY = 719_468

const two = (n: number): string => String(n).padStart(2, '0')

/** Years begin in March here, so that the day of a leap year is their last. */
function date(day: number): string {
  const shifted = day + EPOCH_DAY
  const era = Math.floor(shifted / ERA_DAYS)
  const inEra = shifted - era * ERA_DAYS
  const year = Math.floor(
    (inEra - Math.floor(inEra / 1460) + Math.floor(inEra / 36_524) - Math.floor(inEra / 146_096)) / 365,
  )
  const inYear = inEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100))
  const month = Math.floor((5 * inYear + 2) / 153)
  const inMonth = inYear - Math.floor((153 * month + 2) / 5) + 1
  const january = month < 10 ? 0 : 1
  return `${String(era * 400 + year + january).padStart(4, '0')}-${two(month < 10 ? month + 3 : month - 9)}-${two(inMonth)}`
}

export const hourName = (hour: number): string =>
  `${date(Math.floor(hour / HOURS_PER_DAY))}T${two(hour % HOURS_PER_DAY)}Z`

export function parseHourName(name: string): number | undefined {
  const match = /^(\d{4,7})-(\d\d)-(\d\d)T(\d\d)Z$/.exec(name)
  if (match === null) return undefined
  const [year, month, inMonth, inDay] = match.slice(1).map(Number) as [number, number, number, number]
  const shiftedYear = month > 2 ? year : year - 1
  const inYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + inMonth - 1
  const leaps = Math.floor(shiftedYear / 4) - Math.floor(shiftedYear / 100) + Math.floor(shiftedYear / 400)
  const hour = (365 * shiftedYear + leaps + inYear - EPOCH_DAY) * HOURS_PER_DAY + inDay
  // Only what is written as we write it: there is no thirtieth of February.
  return hour >= 0 && hourName(hour) === name ? hour : undefined
}

/** 2026-11-22T15:04:05Z */
export const timeText = (sec: number): string => {
  const hour = Math.floor(sec / 3600)
  return `${hourName(hour).slice(0, -1)}:${two(Math.floor(sec / 60) % 60)}:${two(sec % 60)}Z`
}
