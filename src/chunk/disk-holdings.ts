/*
 * What one disk is known to hold, and what of it is damaged: the inventory while the disk is in use, nothing while it is
 * not. Damage is told once until it is repaired; the inventory remembers over restarts that there is some, not where.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { Log } from '../base/world.ts'
import type { Entry } from './core/inventory-log.ts'
import type { DiskHealth } from './disk-health.ts'
import type { Inventory } from './inventory.ts'

export class DiskHoldings {
  readonly #path: string
  readonly #health: DiskHealth
  readonly #log: Log
  readonly #tell: (chunk: ChunkId, blocks: readonly number[], detail: string) => void
  #inventory: Inventory | undefined
  #complete = false
  readonly #damage = new Map<ChunkId, Set<number>>()

  constructor(
    path: string,
    health: DiskHealth,
    log: Log,
    tell: (chunk: ChunkId, blocks: readonly number[], detail: string) => void,
  ) {
    this.#path = path
    this.#health = health
    this.#log = log
    this.#tell = tell
  }

  /** undefined while the disk is not in use. */
  get inventory(): Inventory | undefined {
    return this.#inventory
  }
  set inventory(inventory: Inventory | undefined) {
    this.#inventory = inventory
    this.#complete = false
    if (inventory === undefined) this.#damage.clear()
  }

  /** The inventory has been compared with the files: from now on what it lacks is not there. */
  compared(): void {
    this.#complete = true
  }

  /** The inventory of a disk that can be read. */
  known(): Inventory {
    this.#health.assertReadable()
    if (this.#inventory === undefined) throw new FsError('ENODEV', `${this.#path} is ${this.#health.state}`)
    return this.#inventory
  }

  /** May be told to the master. */
  get complete(): boolean {
    return this.#complete && this.#health.state !== 'failed' && this.#health.state !== 'gone'
  }

  /** `length`: of the file where it is open; an open chunk's is not in the inventory. */
  damaged(chunk: ChunkId, blocks: readonly number[], detail: string, length?: number): void {
    let known = this.#damage.get(chunk)
    const news = known === undefined || blocks.some((block) => !known!.has(block))
    if (!news) return
    known ??= new Set()
    for (const block of blocks) known.add(block)
    this.#damage.set(chunk, known)
    this.#inventory?.note(chunk, 'damaged', length ?? this.#inventory.table.get(chunk)?.length ?? 0)
    this.#log.warn(
      { disk: this.#path, chunk: chunkName(chunk), blocks, detail },
      'damage found; it is repaired from another copy',
    )
    this.#tell(chunk, [...known], detail)
  }

  /** The copy was mended, replaced or deleted. */
  whole(chunk: ChunkId): void {
    this.#damage.delete(chunk)
  }

  /** Copies known to be damaged; without blocks when an earlier process found out. */
  damagedCopies(): { chunk: ChunkId; blocks: number[] }[] {
    if (this.#inventory === undefined) return []
    return [...this.#inventory.table.heldEntries()]
      .filter((entry) => entry.state === 'damaged')
      .map(({ chunk }) => ({ chunk, blocks: [...(this.#damage.get(chunk) ?? [])] }))
  }

  /** The sealed chunk with the lowest number above `after`, for a walk that can be resumed. */
  nextSealed(after: number): Entry | undefined {
    let next: Entry | undefined
    for (const entry of this.#inventory?.table.heldEntries() ?? [])
      if (entry.state !== 'open' && entry.chunk > after && (next === undefined || entry.chunk < next.chunk))
        next = entry
    return next
  }

  changedSince(seq: number): boolean {
    return this.#inventory !== undefined && this.#inventory.table.seq !== seq
  }

  /** What changed since; durable before it is told. */
  async since(known: number): Promise<{ full: boolean; seq: number; entries: Entry[] }> {
    const inventory = this.known()
    try {
      await inventory.flush()
    } catch (error) {
      throw this.#health.failure(error, 'writing the inventory')
    }
    const seq = inventory.flushedSeq
    const { full, entries } = inventory.since(known)
    // What was noted since the flush is told next time. A full list lacks nothing: what it does not name counts as gone.
    return { full, seq, entries: full ? entries : entries.filter((entry) => entry.seq <= seq) }
  }
}
