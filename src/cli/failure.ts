/*
 * Any error as one clear sentence on stderr, with --json also as an object on stdout, and an exit code of the errno table.
 * What the table does not know is a bug of ours: it is shown with its stack and exits 70 (EX_SOFTWARE).
 */

import { Errors } from '@oclif/core'
import { errno } from '../base/errno.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import { closest } from './suggest.ts'

/** EX_USAGE of sysexits, as EINVAL's row has it. */
const EXIT_USAGE = errno.EINVAL.exit
const EXIT_SOFTWARE = 70

export interface Failure {
  readonly code: string
  readonly message: string
  readonly exit: number
}

export function failureOf(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof FsError) return { code: error.code, message, exit: errno[error.code].exit }
  if (error instanceof Errors.CLIError)
    return { code: 'EINVAL', message: usage(message) + nearestOption(error), exit: EXIT_USAGE }
  const code = errnoOf(error)
  if (code !== undefined)
    return { code, message: systemSentence(error as NodeJS.ErrnoException), exit: errno[code].exit }
  return { code: 'BUG', message: error instanceof Error ? (error.stack ?? message) : message, exit: EXIT_SOFTWARE }
}

/** Reports and returns the exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  if (error instanceof Errors.ExitError) return error.oclif.exit ?? 0
  const failure = failureOf(error)
  process.stderr.write(`holdfast: ${failure.message}\n`)
  if (json) process.stdout.write(`${JSON.stringify({ error: failure }, undefined, 2)}\n`)
  return failure.exit
}

/** oclif's sentences end in several lines of hints; the first says what is wrong, the last where to read on. */
const usage = (message: string): string => message.replaceAll(/\s*\n\s*/g, ' ').trim()

/** oclif's error of an unknown option carries the options that there are. */
function nearestOption(error: unknown): string {
  const { flags, parse } = error as { flags?: unknown; parse?: { input?: { flags?: object } } }
  const option = Array.isArray(flags) ? flags[0] : undefined
  if (typeof option !== 'string' || parse?.input?.flags === undefined) return ''
  const known = Object.keys(parse.input.flags).map((name) => `--${name}`)
  const near = closest(option, known)
  return near === undefined ? '' : ` (did you mean ${near}?)`
}

/** "ENOENT: no such file or directory, open '/x'" → "no such file or directory: /x (open)". */
function systemSentence(error: NodeJS.ErrnoException): string {
  const code = errnoOf(error)
  if (code === undefined || error.path === undefined) return error.message
  return `${errno[code].text}: ${error.path}${error.syscall === undefined ? '' : ` (${error.syscall})`}`
}
