/*
 * What applying a command brings about, beside the new state: the reply, and what the shell has to tell others. Nothing
 * here is stored; a replaying follower throws it away.
 */

import type { Result } from '../../base/fault.ts'
import type { ChunkId, DiskId, Ino } from '../../base/ids.ts'

export interface Touched {
  /** Attributes (and with `data` the bytes) of these changed: other mounts are told. */
  readonly inodes: { readonly ino: Ino; readonly data: boolean }[]
  /** Names that now mean something else; `child` when the name was removed. */
  readonly entries: { readonly parent: Ino; readonly name: string; readonly child?: Ino }[]
  /** Chunks whose copies, state or live bytes changed: the repair queues look at them again. */
  readonly chunks: ChunkId[]
  /** Inodes where a lock was given back: waiting requests are tried again. */
  readonly unlocked: Ino[]
  /** Copies that the state no longer counts: their files are to be deleted. */
  readonly unwanted: { readonly disk: DiskId; readonly chunk: ChunkId }[]
  /** Quotas (by their directories) that changed, or in which something else counts now. */
  readonly quotas: Ino[]
}

export interface Outcome {
  /** In the shape of the reply of the wire call that the command answers; refusals are results like others. */
  readonly result: Result<unknown>
  readonly touched: Touched
}
