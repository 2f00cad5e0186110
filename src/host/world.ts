/* The real world of a process, and its boundary: what nobody could name ends the process here, with a line in the log. */

import type { Log, Net, World } from '../base/world.ts'
import { hostClock, hostRandom } from './clock.ts'
import { hostNet } from './net.ts'

export const hostWorld = (log: Log, net: Net): World => ({ clock: hostClock, random: hostRandom, net, log })

/** How processes of a node reach others: with its certificate, where it has one. */
export async function netOf(
  identity: { readonly identityDir: string; readonly runDir: string },
  log: Log,
): Promise<Net> {
  if (identity.identityDir === '') return hostNet
  // OpenSSL's part of Node costs a role without an identity nothing.
  const { TlsNet } = await import('./tls-net.ts')
  return new TlsNet(identity.identityDir, identity.runDir, hostClock, log)
}

/** A process that broke an assertion must not go on answering: log, exit 70 (EX_SOFTWARE); the supervisor restarts it. */
export function exitOnImpossible(log: Log): void {
  const die = (error: unknown): void => {
    log.error(
      { error: error instanceof Error ? (error.stack ?? error.message) : String(error), cause: causeOf(error) },
      'this must not happen; ending the process',
    )
    process.exit(70)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
}

const causeOf = (error: unknown): string | undefined => {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error ? (cause.stack ?? cause.message) : cause === undefined ? undefined : String(cause)
}
