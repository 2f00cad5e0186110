/* Waiting for something that may never come: a disk that hangs. */

import type { Clock } from '../base/world.ts'

/** What `work` answers, undefined when that takes longer; then it goes on by itself, and its error is its owner's. */
export async function patiently<T>(clock: Clock, patienceMs: number, work: Promise<T>): Promise<T | undefined> {
  const enough = new AbortController()
  const waited = clock.sleep(patienceMs, { signal: enough.signal }).then(
    () => undefined,
    (error: unknown) => {
      if (!enough.signal.aborted) throw error
      return undefined
    },
  )
  try {
    return await Promise.race([work, waited])
  } finally {
    enough.abort()
  }
}
