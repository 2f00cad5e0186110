/*
 * What a chunkserver says that a disk holds, taken in by bounded commands: a page of it may name 65 536 chunks, and a disk
 * that lost its files leaves out everything that is counted there.
 *
 * A full list is in the order of the chunks, and each command says which stretch of it is meant, so nothing is gone that
 * only has not been told yet. What the disk is known to have said grows with the last command: after a crash it says all
 * of it again.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { InventoryEntry } from '../wire/shapes.ts'
import type { State } from './core/state.ts'
import type { Loop } from './loop.ts'

/** Entries, or chunks that are counted and not named, of one command: 10 ms, several times that when records are not held. */
export const TOLD_AT_ONCE = 1_024

export interface HeldPage {
  readonly disk: DiskId
  readonly full: boolean
  readonly first: boolean
  readonly last: boolean
  readonly seq: number
  readonly entries: readonly InventoryEntry[]
}

/** Answers what nobody needs there. */
export async function takeIn(state: State, loop: Loop, page: HeldPage, signal: AbortSignal): Promise<ChunkId[]> {
  const { disk, full, first, last, seq } = page
  const unwanted: ChunkId[] = []
  let after = first ? 0 : (state.disk(disk)?.walkedTo ?? 0)
  const all = full ? [...page.entries].sort((a, b) => a.chunk - b.chunk) : page.entries
  if (full && all.length > 0 && all[0]!.chunk <= after)
    throw new FsError('EINVAL', 'the pages of a full list are told in the order of the chunks')
  for (let at = 0, done = false; !done; ) {
    // The chunkserver begins again on its next connection; two lists must not be taken in by turns.
    if (signal.aborted) throw new FsError('ECONNRESET', `the list of disk ${disk}`)
    let entries = all.slice(at, at + TOLD_AT_ONCE)
    let upTo: number | undefined
    if (full) {
      const counted = state.chunkIndex.ofDisk(disk, after as ChunkId | 0, TOLD_AT_ONCE)
      const more = at + entries.length < all.length
      const named = more || !last ? (entries.at(-1)?.chunk ?? after) : Number.MAX_SAFE_INTEGER
      upTo = counted.length < TOLD_AT_ONCE ? named : Math.min(named, counted.at(-1)!)
      const end = upTo
      entries = entries.filter(({ chunk }) => chunk <= end)
    }
    at += entries.length
    done = at === all.length && (upTo === undefined || !last || upTo === Number.MAX_SAFE_INTEGER)
    const told = { disk, full, first, last: last && done, seq: full || done ? seq : 0, entries }
    const range = { after: full ? after : undefined, upTo }
    const reply = await loop.command<{ unwanted: ChunkId[] }>(() => ({ ok: { kind: 'inventory', ...told, ...range } }))
    unwanted.push(...reply.unwanted)
    after = upTo ?? after
  }
  return unwanted
}
