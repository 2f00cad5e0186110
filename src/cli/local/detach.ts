/*
 * `local start --detach`: the supervisor as a process of its own session, whose output goes to a log. The parent stays
 * until it hears over the IPC channel that the mount answers, or why it will not.
 */

import { fork } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errno, errnoFromNumber } from '../../base/errno.ts'
import { FsError } from '../../base/fault.ts'
import { paths } from './state.ts'

/** What the supervisor tells the parent that waits for it; exactly one of these. */
export type DetachedMessage =
  | { readonly ready: true }
  | { readonly failed: { readonly number: number; readonly message: string } }

/** Words after `local start`, without --detach and --json. */
export async function startDetached(dir: string, words: readonly string[]): Promise<void> {
  const logFile = paths(dir).log('supervisor')
  await mkdir(dirname(logFile), { recursive: true })
  const log = await open(logFile, 'a')
  const child = fork(process.argv[1]!, ['local', 'start', '--dir', dir, ...words], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
    cwd: process.cwd(),
  })
  await log.close()
  const message = await new Promise<DetachedMessage>((done, failed) => {
    child.on('error', failed)
    child.on('message', (received) => done(received as DetachedMessage))
    child.on('exit', (code, signal) =>
      failed(new FsError('EIO', `the supervisor ended at once (${signal ?? `exit ${code}`}); see ${logFile}`)),
    )
  })
  child.removeAllListeners('exit')
  if (child.connected) child.disconnect()
  child.unref()
  if ('failed' in message) {
    const code = errnoFromNumber(message.failed.number)
    throw new FsError(code, message.failed.message.replace(`${errno[code].text}: `, ''))
  }
}

/** The other end, in the supervisor: tells a waiting parent, if there is one, and lets it go. */
export async function tellParent(message: DetachedMessage): Promise<void> {
  const send = process.send?.bind(process)
  if (send === undefined || !process.connected) return
  await new Promise<void>((sent) => {
    // A parent that was killed meanwhile is no reason to stop: the cluster was asked for.
    send(message, undefined, {}, () => sent())
  })
  if (process.connected) process.disconnect()
}
