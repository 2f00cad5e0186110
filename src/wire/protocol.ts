/*
 * THE call table: everything two processes of Holdfast can say to each other. Client methods, handler types, metric names,
 * the protocol page and the golden tests derive from it; there is no second list.
 *
 * A row: `id` (never reused), `since` (protocol version), request and reply shapes, who may ask (`by`), the failures a
 * caller must expect beside transport failures, `idempotent` (may be sent again after a lost link without more ado), `bulk` (raw bytes ride
 * beside the body, in which direction), `oneWay` (no reply).
 *
 * Calls that change the master's state begin with a `stamp`: (session, seq) names the request once and for all. The master
 * remembers the reply of every stamp until a later request of the session says `acked` above it, so a repeated request is
 * answered, not executed again. All such calls are therefore idempotent on the wire.
 */

import { type Infer, oneOf, struct, text, uint } from '../base/schema.ts'
import { callsBy, ROLES, type Row } from './call-row.ts'
import { adminCalls } from './calls-admin.ts'
import { chunkCalls } from './calls-chunk.ts'
import { memberCalls } from './calls-member.ts'
import { meshCalls } from './calls-mesh.ts'
import { mountCalls } from './calls-mount.ts'

export const PROTOCOL_VERSION = 1

export const calls = {
  hello: callsBy(...ROLES)(
    1,
    'First on every connection, from the side that connected: who am I, which cluster do I expect.',
    struct({
      version: uint(),
      cluster: text(64),
      role: oneOf(...ROLES),
      name: text(255),
    }),
    struct({
      version: uint(),
      cluster: text(64),
      role: oneOf(...ROLES),
      name: text(255),
    }),
    { failures: ['EPROTO', 'EPERM'] },
  ),

  ...mountCalls,
  ...adminCalls,
  ...chunkCalls,
  ...meshCalls,
  ...memberCalls,
} as const

export type Calls = typeof calls
export type CallName = keyof Calls
export type Request<C extends CallName> = Infer<Calls[C]['request']>
export type Reply<C extends CallName> = Infer<Calls[C]['reply']>

export const callNames = Object.keys(calls) as CallName[]
/** Rows by id, for decoding frames. */
export const callById: ReadonlyMap<number, CallName> = new Map(callNames.map((name) => [calls[name].id, name]))
export type CallRow = Row<unknown, unknown>

export type Hello = Request<'hello'>
