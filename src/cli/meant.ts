/*
 * Which command may have been meant by one that does not exist.
 */

import { Errors } from '@oclif/core'
import { COMMANDS } from './commands.ts'
import { closest } from './suggest.ts'

const typed = Object.keys(COMMANDS).map((id) => id.replaceAll(':', ' '))

/** The error with the nearest command by the table; the same when none is near, or when it is another kind of error. */
export function meant(error: unknown): unknown {
  const id = error instanceof Errors.CLIError ? /^command (.+) not found/.exec(error.message)?.[1] : undefined
  const command = id?.replaceAll(':', ' ')
  const near = command === undefined ? undefined : closest(command, typed)
  if (near === undefined) return error
  return new Errors.CLIError(`there is no command ${command}; did you mean ${near}?`)
}
