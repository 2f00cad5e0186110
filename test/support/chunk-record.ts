/* The record of a chunk: sealed, in one piece, of the default class, but for what a test says. */

import { diskId, type SessionId } from '../../src/base/ids.ts'
import type { ChunkRecord } from '../../src/master/core/records.ts'

export const chunkOn = (disks: readonly number[], rest: Partial<ChunkRecord> = {}): ChunkRecord => ({
  version: 1,
  state: 'sealed',
  session: 0 as SessionId,
  length: 1_000_000,
  live: 1_000_000,
  copies: 2,
  createdSec: 0,
  disks: disks.map(diskId),
  unsealed: [],
  deadSec: undefined,
  committed: undefined,
  lost: undefined,
  classId: undefined,
  phase: undefined,
  code: undefined,
  ec: undefined,
  whole: undefined,
  ...rest,
})
