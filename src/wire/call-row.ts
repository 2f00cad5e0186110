/*
 * What a row of the call table is. The rows stand in the files of those who ask (`calls-mount.ts`, `calls-admin.ts`,
 * `calls-chunk.ts`); `protocol.ts` is the one table that they make together.
 */

import type { Errno } from '../base/errno.ts'
import type { Schema } from '../base/schema.ts'

type BulkDirection = 'none' | 'request' | 'reply'
export interface Row<Q, R> {
  readonly id: number
  readonly since: number
  readonly request: Schema<Q>
  readonly reply: Schema<R>
  readonly failures: readonly Errno[]
  readonly idempotent: boolean
  readonly bulk: BulkDirection
  readonly oneWay: boolean
  /** One sentence for the protocol page. */
  readonly says: string
}

export function call<Q, R>(
  id: number,
  says: string,
  request: Schema<Q>,
  reply: Schema<R>,
  rest: {
    failures?: readonly Errno[]
    idempotent?: boolean
    bulk?: BulkDirection
    oneWay?: boolean
    since?: number
  } = {},
): Row<Q, R> {
  return {
    id,
    since: rest.since ?? 1,
    request,
    reply,
    failures: rest.failures ?? [],
    idempotent: rest.idempotent ?? true,
    bulk: rest.bulk ?? 'none',
    oneWay: rest.oneWay ?? false,
    says,
  }
}
