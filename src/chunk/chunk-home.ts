/* What a chunk file needs of the disk it lies on. The disk gives it to every chunk file; tests give one of their own. */

import type { FsError } from '../base/fault.ts'
import type { QuickReads } from './quick-reads.ts'
import type { QuickWrites } from './quick-writes.ts'

export interface ChunkHome {
  readonly quick: QuickWrites
  readonly quickReads: QuickReads
  /** What this error means for the disk, and the error to answer with. */
  failure(error: unknown, doing: string): FsError
  /** Runs a sync when it is its turn: the disk bounds how many run at once. */
  syncGate(work: () => Promise<void>): Promise<void>
  /** Makes the names in the directory durable; calls that come while one runs share the next. */
  syncDir(dir: string): Promise<void>
}
