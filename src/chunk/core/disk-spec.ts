/*
 * One line of the disk list, in the grammar of MooseFS's mfshdd.cfg, and what it means for the space a disk may offer.
 *
 *   [*~]PATH [SPACE]
 *   *  marked for removal: the master drains it
 *   ~  a sudden change of its size is no sign of damage: it never is one here, so the mark is taken and says nothing new
 *
 *   < and > (drain to, fill from the other disks of this machine) are refused: on which disk a chunk lies is the master's
 *   decision alone. A chunkserver that moved chunks by itself would be undone, or would undo what labels and rules ask for.
 *
 *   SPACE   X, X%     use at most that much of the disk        -X, -X%   leave that much of the disk free
 *           =         shared with others: offer what is free   =X        of what is free, at most X
 *           =X%       that share of what is free               =-X, =-X% what is free minus that (share)
 *   X is a number with k M G T P E (1000s) or Ki Mi Gi Ti Pi Ei (1024s), and an optional B.
 *
 * Pure: it neither looks at the path nor at the disk. Columns in messages count from 1, as editors do.
 */

import { type Result, refuse } from '../../base/fault.ts'
import { CHUNK_BYTES_MAX } from '../../base/limits.ts'

export type Amount = { readonly bytes: number } | { readonly percent: number }

export type SpaceRule =
  | { readonly kind: 'leave'; readonly amount: Amount }
  | { readonly kind: 'use'; readonly amount: Amount }
  | { readonly kind: 'shared' }
  | { readonly kind: 'sharedUse'; readonly amount: Amount }
  | { readonly kind: 'sharedLeave'; readonly amount: Amount }

export interface DiskSpec {
  readonly path: string
  readonly marked: boolean
  readonly space: SpaceRule
  /** Beside those of the node; they stand beside the line, not in it. */
  readonly labels?: readonly string[]
}

export interface DiskSpace {
  readonly totalBytes: number
  /** What an unprivileged writer could still get (statfs f_bavail). */
  readonly availableBytes: number
}

/** A disk filled to the last byte makes everything else on it fail, too; 256 MiB is MooseFS's own default. */
export const LEAVE_FREE_BYTES_DEFAULT: number = 256 * 1024 * 1024

/** One chunk of the largest size, so that each can be rewritten where nothing else has room, … */
const RESERVE_BYTES_MAX = CHUNK_BYTES_MAX
/** … and on disks so small that a chunk is much of them this share; the chunks that are begun there are smaller, too. */
const RESERVE_SHARE = 8

const UNITS = 'kMGTPE'
const BLANK = /\s/
/** Number, unit, "B", percent; each part may be missing and is judged one by one, so that an error can name its column. */
const AMOUNT = /^([0-9]*(?:\.[0-9]*)?)(.*)$/s

/** What the operator of a MooseFS disk list can do instead. */
const MOVES_ITSELF = {
  '<': '"<" (drain to the other disks of this machine) is not supported, the master decides where chunks lie; "*" or "holdfast disk drain" empties a disk to wherever there is room',
  '>': '">" (fill from the other disks of this machine) is not supported, the master decides where chunks lie; leave it out, new chunks go where there is most room',
} as const

function parseAmount(text: string, column: number): Result<Amount> {
  const [, digits = '', rest = ''] = AMOUNT.exec(text) ?? []
  if (!/[0-9]/.test(digits)) return refuse('EINVAL', `column ${column}: expected a number, found "${text}"`)
  const value = Number(digits)
  const restColumn = column + digits.length
  if (rest === '%') {
    if (value > 100) return refuse('EINVAL', `column ${column}: a share of a disk is at most 100 %, found ${value} %`)
    return { ok: { percent: value } }
  }
  const unit = /^(?:([kMGTPE])|([KMGTPE])i)?B?$/.exec(rest)
  if (unit === null)
    return refuse('EINVAL', `column ${restColumn}: expected k, M, G, T, P, E, Ki … Ei, B or %, found "${rest}"`)
  const [, decimal, binary] = unit
  const factor =
    decimal !== undefined
      ? 1000 ** (UNITS.indexOf(decimal) + 1)
      : binary !== undefined
        ? 1024 ** (UNITS.toUpperCase().indexOf(binary) + 1)
        : 1
  const bytes = Math.floor(value * factor)
  if (!Number.isSafeInteger(bytes)) return refuse('EINVAL', `column ${column}: "${text}" is more than any disk has`)
  return { ok: { bytes } }
}

function parseSpace(text: string, column: number): Result<SpaceRule> {
  const shared = text.startsWith('=')
  let rest = shared ? text.slice(1) : text
  let at = shared ? column + 1 : column
  if (shared && rest === '') return { ok: { kind: 'shared' } }
  const leave = rest.startsWith('-')
  if (leave) {
    rest = rest.slice(1)
    at++
  }
  const amount = parseAmount(rest, at)
  if ('errno' in amount) return amount
  const kind = shared ? (leave ? 'sharedLeave' : 'sharedUse') : leave ? 'leave' : 'use'
  return { ok: { kind, amount: amount.ok } }
}

export function parseDiskSpec(line: string, leaveFreeBytes: number = LEAVE_FREE_BYTES_DEFAULT): Result<DiskSpec> {
  let at = 0
  while (at < line.length && BLANK.test(line[at]!)) at++
  const flags = new Set<string>()
  while ('*<>~'.includes(line[at] ?? '?')) {
    const flag = line[at]!
    if (flag === '<' || flag === '>') return refuse('EINVAL', `column ${at + 1}: ${MOVES_ITSELF[flag]}`)
    if (flags.has(flag)) return refuse('EINVAL', `column ${at + 1}: "${flag}" is there twice`)
    flags.add(flag)
    at++
  }
  if (line[at] !== '/')
    return refuse('EINVAL', `column ${at + 1}: expected an absolute path, found "${line.slice(at)}"`)
  const pathStart = at
  while (at < line.length && !BLANK.test(line[at]!)) at++
  const path = line.slice(pathStart, at)
  if (path.includes('\0')) return refuse('EINVAL', `column ${pathStart + 1}: a path has no NUL bytes`)
  while (at < line.length && BLANK.test(line[at]!)) at++
  const spaceStart = at
  while (at < line.length && !BLANK.test(line[at]!)) at++
  const spaceText = line.slice(spaceStart, at)
  while (at < line.length && BLANK.test(line[at]!)) at++
  if (at < line.length) return refuse('EINVAL', `column ${at + 1}: nothing may follow here, found "${line.slice(at)}"`)
  let space: SpaceRule = { kind: 'leave', amount: { bytes: leaveFreeBytes } }
  if (spaceText !== '') {
    const parsed = parseSpace(spaceText, spaceStart + 1)
    if ('errno' in parsed) return parsed
    space = parsed.ok
  }
  return {
    ok: {
      path,
      marked: flags.has('*'),
      space,
    },
  }
}

const of = (amount: Amount, whole: number): number =>
  'bytes' in amount ? amount.bytes : Math.floor((whole * amount.percent) / 100)

/** What is kept aside of all that the rule gives us, used or not. */
export const reserveBytes = (budgetBytes: number): number =>
  Math.min(RESERVE_BYTES_MAX, Math.floor(budgetBytes / RESERVE_SHARE))

/** What may still be written under the rule, never below 0 and never more than is there. */
export function availableBytes(rule: SpaceRule, space: DiskSpace, ownBytes: number): number {
  const free = space.availableBytes
  const allowed = (): number => {
    switch (rule.kind) {
      case 'use':
        return of(rule.amount, space.totalBytes) - ownBytes
      case 'leave':
        return free - of(rule.amount, space.totalBytes)
      case 'shared':
        return free
      case 'sharedUse':
        return of(rule.amount, free)
      case 'sharedLeave':
        return free - of(rule.amount, free)
    }
  }
  return Math.max(0, Math.min(free, allowed()))
}
