/* Ctrl-C and its kin as an AbortSignal. */

import { FsError } from '../base/fault.ts'

/** Aborts at SIGTERM, SIGINT or SIGHUP. A second signal changes nothing: stopping in order is already the fast way. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.on(name, () => controller.abort(new FsError('ECANCELED', name)))
  return controller.signal
}
