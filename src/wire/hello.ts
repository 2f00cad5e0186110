/*
 * Whether two sides may talk at all, from what each said of itself and what the other has proved to be. Both sides ask: the one
 * that accepts before it answers a hello, the one that connects when it has the answer. What a role may say afterwards is in
 * the call table.
 */

import type { Errno } from '../base/errno.ts'
import type { Identity } from '../base/identity.ts'
import { type Hello, PROTOCOL_VERSION } from './protocol.ts'

/** Why two sides must not talk, or undefined. An empty cluster id means "not a member yet": it goes with any. */
export function helloProblem(
  ours: Hello,
  theirs: Hello,
  identity: Identity | undefined,
): { code: Errno; detail: string } | undefined {
  if (identity !== undefined && !identity.roles.includes(theirs.role)) {
    const may = identity.roles.length === 0 ? 'no role' : `only ${identity.roles.join(', ')}`
    return {
      code: 'EPERM',
      detail: `node ${identity.node} says that it is a ${theirs.role}; its certificate allows ${may}`,
    }
  }
  if (theirs.version !== PROTOCOL_VERSION) {
    const detail = `protocol version ${theirs.version} here, ${PROTOCOL_VERSION} there: upgrade the older side`
    return { code: 'EPROTO', detail }
  }
  if (ours.cluster !== '' && theirs.cluster !== '' && ours.cluster !== theirs.cluster)
    return { code: 'EPROTO', detail: `belongs to another cluster (${theirs.cluster}, not ${ours.cluster})` }
  return undefined
}
