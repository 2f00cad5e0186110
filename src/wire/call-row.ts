/*
 * What a row of the call table is. The rows stand in the files of those who ask (`calls-mount.ts`, `calls-admin.ts`, `calls-mesh.ts`,
 * `calls-chunk.ts`); `protocol.ts` is the one table that they make together.
 */

import type { Errno } from '../base/errno.ts'
import type { Schema } from '../base/schema.ts'

/** What a process says that it is in its first words. A mount is also what gateways are; an admin is
 * the command line; mesh is the agent of a node. */
export const ROLES = ['mount', 'chunkserver', 'admin', 'master', 'mesh'] as const
export type Role = (typeof ROLES)[number]

type BulkDirection = 'none' | 'request' | 'reply'
export interface Row<Q, R> {
  readonly id: number
  readonly since: number
  readonly request: Schema<Q>
  readonly reply: Schema<R>
  readonly failures: readonly Errno[]
  /** Who may ask; others are refused with EPERM before their request is looked at. */
  readonly by: readonly Role[]
  readonly idempotent: boolean
  readonly bulk: BulkDirection
  readonly oneWay: boolean
  /** One sentence for the protocol page. */
  readonly says: string
}

interface Rest {
  /** When others than those of the table's part may ask. */
  by?: readonly Role[]
  failures?: readonly Errno[]
  idempotent?: boolean
  bulk?: BulkDirection
  oneWay?: boolean
  since?: number
}

/** Makes rows that these roles may ask. */
export function callsBy(...roles: readonly Role[]) {
  return <Q, R>(id: number, says: string, request: Schema<Q>, reply: Schema<R>, rest: Rest = {}): Row<Q, R> => ({
    id,
    since: rest.since ?? 1,
    request,
    reply,
    failures: rest.failures ?? [],
    by: rest.by ?? roles,
    idempotent: rest.idempotent ?? true,
    bulk: rest.bulk ?? 'none',
    oneWay: rest.oneWay ?? false,
    says,
  })
}
