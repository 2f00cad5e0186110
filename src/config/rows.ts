/*
 * What a row of configuration is: type, default, unit, one sentence of meaning, one of danger. The TypeScript type of a
 * section, the checks of the TOML file and the documentation page all come from the rows, so they cannot disagree.
 *
 * This file knows kinds of values, not their names; it reads no files.
 */

import { formatBytes, formatDuration, parseBytes, parseDuration } from '../base/units.ts'

export interface ConfigRow<T> {
  /** As the page shows it: "text", "path", "integer", … */
  readonly type: string
  readonly unit: string
  /** undefined: the key must be given. */
  readonly default: T | undefined
  readonly means: string
  /** What goes wrong when it is set badly; empty when nothing can. */
  readonly danger: string
  /** The value, or a sentence about what was expected. `resolve` makes a path absolute (from the file's directory). */
  readonly read: (raw: unknown, resolve: (path: string) => string) => { readonly ok: T } | { readonly expected: string }
  readonly show: (value: T) => string
}
// biome-ignore lint/suspicious/noExplicitAny: a row is invariant in T; only `any` lets a table hold all of them
export type ConfigRows = Readonly<Record<string, ConfigRow<any>>>
export type SectionOf<R extends ConfigRows> = {
  readonly [K in keyof R]: R[K] extends ConfigRow<infer T> ? T : never
}

interface Words {
  readonly means: string
  readonly danger?: string
}

function row<T>(
  type: string,
  unit: string,
  fallback: T | undefined,
  words: Words,
  read: ConfigRow<T>['read'],
  show: (value: T) => string = (value) => JSON.stringify(value),
): ConfigRow<T> {
  return { type, unit, default: fallback, means: words.means, danger: words.danger ?? '', read, show }
}

export const text = (fallback: string | undefined, words: Words): ConfigRow<string> =>
  row('text', '', fallback, words, (raw) => (typeof raw === 'string' ? { ok: raw } : { expected: 'text in quotes' }))

/** Relative paths count from the directory of the file, so that a cluster's directory can be moved. '' = none. */
export const path = (fallback: string | undefined, words: Words): ConfigRow<string> =>
  row('path', '', fallback, words, (raw, resolve) =>
    typeof raw !== 'string' || raw.includes('\0')
      ? { expected: 'a path in quotes' }
      : { ok: raw === '' ? '' : resolve(raw) },
  )

export const bool = (fallback: boolean, words: Words): ConfigRow<boolean> =>
  row('boolean', '', fallback, words, (raw) =>
    typeof raw === 'boolean' ? { ok: raw } : { expected: 'true or false (without quotes)' },
  )

export const choice = <const W extends readonly string[]>(
  choices: W,
  fallback: W[number],
  words: Words,
): ConfigRow<W[number]> =>
  row(choices.map((word) => `"${word}"`).join(' | '), '', fallback, words, (raw) =>
    typeof raw === 'string' && choices.includes(raw)
      ? { ok: raw }
      : { expected: `one of ${choices.map((word) => `"${word}"`).join(', ')}` },
  )

interface Range {
  readonly min?: number
  readonly max?: number
}
const inRange = (n: number, { min = 0, max = Number.MAX_SAFE_INTEGER }: Range): boolean =>
  Number.isSafeInteger(n) && n >= min && n <= max

const rangeText = ({ min = 0, max }: Range): string => (max === undefined ? `${min} or more` : `${min} … ${max}`)

export const integer = (unit: string, fallback: number | undefined, range: Range, words: Words): ConfigRow<number> =>
  row('integer', unit, fallback, words, (raw) =>
    typeof raw === 'number' && inRange(raw, range)
      ? { ok: raw }
      : { expected: `an integer, ${rangeText(range)}${unit === '' ? '' : ` (${unit})`}` },
  )

export const port = (fallback: number, words: Words): ConfigRow<number> =>
  integer('', fallback, { min: 0, max: 65535 }, words)

/** Bytes as an integer, or as "64 MiB" in quotes. */
export const sizeBytes = (fallback: number, range: Range, words: Words): ConfigRow<number> =>
  row(
    'integer or text',
    'bytes',
    fallback,
    words,
    (raw) => {
      const n = typeof raw === 'string' ? parseBytes(raw) : raw
      return typeof n === 'number' && inRange(n, range)
        ? { ok: n }
        : { expected: `a size in bytes (${rangeText(range)}) or like "64 MiB"` }
    },
    (value) => (value === 0 ? '0' : `${value} (${formatBytes(value)})`),
  )

/** Milliseconds as an integer, or as "10 min" in quotes. */
export const durationMs = (fallback: number, range: Range, words: Words): ConfigRow<number> =>
  row(
    'integer or text',
    'ms',
    fallback,
    words,
    (raw) => {
      const n = typeof raw === 'string' ? parseDuration(raw) : raw
      return typeof n === 'number' && inRange(n, range)
        ? { ok: n }
        : { expected: `milliseconds (${rangeText(range)}) or a duration like "10 min"` }
    },
    (value) => (value === 0 ? '0' : `${value} (${formatDuration(value)})`),
  )

/** A disk of which more is said than its line can. */
export interface Labelled {
  readonly disk: string
  readonly labels: readonly string[]
}

export const diskLine = (entry: string | Labelled): string => (typeof entry === 'string' ? entry : entry.disk)

const isTexts = (raw: unknown, maxLength: number): raw is string[] =>
  Array.isArray(raw) && raw.length <= maxLength && raw.every((item) => typeof item === 'string')

const isLabelled = (raw: unknown, labelsMax: number): raw is Labelled => {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return false
  const { disk, labels, ...rest } = raw as Record<string, unknown>
  return typeof disk === 'string' && isTexts(labels, labelsMax) && Object.keys(rest).length === 0
}

/** Disks: each a line in quotes, or the line and its labels. */
export const diskList = (
  fallback: readonly (string | Labelled)[] | undefined,
  { maxLength, labelsMax }: { maxLength: number; labelsMax: number },
  words: Words,
): ConfigRow<readonly (string | Labelled)[]> =>
  row(`list of text or { disk, labels }, at most ${maxLength}`, '', fallback, words, (raw) =>
    Array.isArray(raw) &&
    raw.length <= maxLength &&
    raw.every((item) => typeof item === 'string' || isLabelled(item, labelsMax))
      ? { ok: raw as (string | Labelled)[] }
      : {
          expected: `a list of at most ${maxLength} disks, each a text in quotes or { disk = "PATH SPACE", labels = ["B"] } with at most ${labelsMax} labels`,
        },
  )

export const textList = (
  fallback: readonly string[] | undefined,
  { maxLength }: { maxLength: number },
  words: Words,
): ConfigRow<readonly string[]> =>
  row(`list of text, at most ${maxLength}`, '', fallback, words, (raw) =>
    isTexts(raw, maxLength) ? { ok: raw } : { expected: `a list of at most ${maxLength} texts in quotes` },
  )
