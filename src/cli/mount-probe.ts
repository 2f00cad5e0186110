/* Whether a mount answers, asked from another process: this one must outlive a mount that hangs. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { mountsAt } from '../fuse/mounts.ts'

const run = promisify(execFile)
/** How long a statfs may take before the mount counts as not answering. */
const STATFS_MS = 5_000

/** Mounted with FUSE, and a statfs from another process is answered. */
export async function answers(mountpoint: string): Promise<boolean> {
  const top = (await mountsAt(mountpoint)).at(-1)
  if (top === undefined || !top.type.startsWith('fuse')) return false
  try {
    await run('stat', ['-f', '--', mountpoint], { timeout: STATFS_MS, killSignal: 'SIGKILL' })
    return true
  } catch (error) {
    // A string is our own failure to run stat; a number is what stat says of the mount.
    if (typeof (error as { code?: unknown }).code === 'string') throw error
    return false
  }
}
