/*
 * Whether disks could be emptied at all, and leave everything on them as safe as it is wanted: asked before a drain begins,
 * because one that cannot end leaves chunks waiting for a place that does not exist. What is known now is what counts; it
 * may change while the drain goes on, and `force` begins it anyway.
 */

import type { ChunkId, DiskId, NodeId } from '../base/ids.ts'
import type { Parts } from './parts.ts'

/** Chunks looked at between two turns of the event loop. */
const SLICE = 1_000

/** In a sentence; undefined: nothing speaks against it. */
export async function drainProblem(
  { state, nodes, clock }: Pick<Parts, 'state' | 'nodes' | 'clock'>,
  disks: readonly DiskId[],
): Promise<string | undefined> {
  const leaving = new Set(disks)
  const others = [...nodes.map().values()].filter((d) => d.usable && !leaving.has(d.disk))
  const servers = new Set<NodeId>(others.map((d) => d.node)).size
  const room = others.reduce((sum, d) => sum + d.availableBytes, 0)
  const used = disks.reduce((sum, disk) => sum + (nodes.disk(disk)?.report?.usedBytes ?? 0), 0)
  let wanted = 0
  let tooMany = 0
  for (const disk of disks)
    for (let after: ChunkId | 0 = 0; ; ) {
      const page: ChunkId[] = state.chunkIndex.ofDisk(disk, after, SLICE)
      for (const chunk of page) {
        const record = state.chunk(chunk)
        if (record === undefined || (record.state === 'sealed' && record.live === 0) || record.copies <= servers)
          continue
        wanted = Math.max(wanted, record.copies)
        tooMany++
      }
      const last = page.at(-1)
      if (last === undefined || page.length < SLICE) break
      after = last
      await clock.sleep(0)
    }
  if (tooMany > 0)
    return `${tooMany} chunks on it want up to ${wanted} copies, and only ${servers} other chunkservers could hold them; add one or use --force`
  const { copies } = state.settings()
  if (servers < copies) return `only ${servers} chunkservers could hold the ${copies} copies; add one or use --force`
  return used > room ? 'the other disks have not enough room; add some or use --force' : undefined
}
