/*
 * Which command may have been meant by one that does not exist.
 */

import { Errors } from '@oclif/core'
import { COMMANDS } from './commands.ts'
import { closest } from './suggest.ts'

const typed = Object.keys(COMMANDS).map((id) => id.replaceAll(':', ' '))
const WORDS_MAX = Math.max(...typed.map((command) => command.split(' ').length))

/** The error with the nearest command by the table; the same when none is near, or when it is another kind of error. */
export function meant(error: unknown): unknown {
  const id = error instanceof Errors.CLIError ? /^command (.+) not found/.exec(error.message)?.[1] : undefined
  if (id === undefined) return error
  const words = id.split(':')
  // What follows the command's own words are its arguments, which are near to nothing.
  for (let count = Math.min(words.length, WORDS_MAX); count > 0; count--) {
    const command = words.slice(0, count).join(' ')
    const near = closest(command, typed)
    if (near !== undefined) return new Errors.CLIError(`there is no command ${command}; did you mean ${near}?`)
  }
  return error
}
