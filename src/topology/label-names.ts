/*
 * What a label of a chunkserver or a disk may be called: one letter A … Z, or a long name of 2 to 32 characters. A letter is
 * kept in upper case, as expressions are read; a long name is written in braces there (`{usb-backup}`) and may be given so
 * here. Pure; knows nothing of expressions.
 */

import { isRefusal, type Result, refuse } from '../base/fault.ts'

export const LABEL_CHARS_MAX = 32
/** More than the alphabet has, for clusters that name things; every disk's set is held in memory. */
export const LABELS_MAX = 64

const LONG = /^[a-z0-9][a-z0-9._-]+$/

/** One name in the form in which it is kept. */
export function labelName(text: string): Result<string> {
  const braced = /^\{(.*)\}$/s.exec(text)
  const name = braced?.[1] ?? text
  if (/^[A-Za-z]$/.test(name)) return { ok: name.toUpperCase() }
  const shown = JSON.stringify(text)
  if (name.length < 2) return refuse('EINVAL', `${shown} is no label: a single character is a letter A to Z`)
  if (name.length > LABEL_CHARS_MAX)
    return refuse('EINVAL', `${shown} is no label: ${name.length} characters, at most ${LABEL_CHARS_MAX}`)
  if (!LONG.test(name))
    return refuse(
      'EINVAL',
      `${shown} is no label: a long name is of lower-case letters, digits, "-", "_" and ".", and begins with a letter or digit`,
    )
  return { ok: name }
}

/** Several names: each once, letters first, so that the same labels are always the same list. */
export function labelNames(texts: readonly string[]): Result<string[]> {
  const names = new Set<string>()
  for (const text of texts) {
    const name = labelName(text)
    if (isRefusal(name)) return name
    names.add(name.ok)
  }
  if (names.size > LABELS_MAX) return refuse('EINVAL', `${names.size} labels, at most ${LABELS_MAX}`)
  return { ok: [...names].sort((a, b) => (a < b ? -1 : 1)) }
}

/** As it stands in an expression: `H`, `{usb-backup}`. */
export const labelText = (name: string): string => (name.length === 1 ? name : `{${name}}`)
