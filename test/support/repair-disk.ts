/* Disks and chunks as repair and planning see them: well, with room and nothing under way, but for what a test says. */

import { chunkId, type DiskId, diskId, nodeId } from '../../src/base/ids.ts'
import type { Copies, RepairChunk, RepairDisk } from '../../src/master/core/repair.ts'
import { plainWish } from '../../src/master/core/wishes.ts'
import { NO_LABELS } from '../../src/topology/place.ts'

/** What is away or to be emptied takes nothing. */
export const repairDisk = (number: number, node: number = number, rest: Partial<RepairDisk> = {}): RepairDisk => ({
  disk: diskId(number),
  node: nodeId(node),
  location: { host: `host-${node}` },
  usable: rest.live !== false && rest.draining !== true,
  full: false,
  availableBytes: 2 ** 36,
  reservedBytes: 0,
  writing: 0,
  labels: NO_LABELS,
  live: true,
  draining: false,
  awayMs: 0,
  reads: 0,
  writes: 0,
  ...rest,
})

export const mapOf = (...disks: readonly RepairDisk[]): Map<DiskId, RepairDisk> =>
  new Map(disks.map((one) => [one.disk, one]))

export const copiesOn = (chunk: number, disks: readonly number[], length = 1_000): Copies => ({
  ...{ chunk: chunkId(chunk), length, disks: disks.map(diskId), unsealed: [], bad: [] },
})

/** Chunk 7, sealed, of which two copies are wanted. */
export const repairChunk = (disks: readonly number[], rest: Partial<RepairChunk> = {}): RepairChunk => ({
  ...copiesOn(7, disks),
  ...{ sealed: true, ending: false, cut: false, wish: plainWish(2), ec: undefined },
  ...rest,
})
