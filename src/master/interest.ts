/*
 * What one session has been told about, so that it can be told when that changes: inodes (attributes, data) and
 * directories (their names, those that are missing too). An entry means "the session may have this cached".
 *
 * Pushes travel on the session's connection in order with the replies, so a mount that hears from the master knows
 * everything that was acknowledged to others before. A lost connection ends all trust: the mount drops its caches and
 * this set is cleared. What falls out of the set for want of room is pushed as changed, for safety.
 */

import type { Ino } from '../base/ids.ts'
import type { Request } from '../wire/protocol.ts'
import type { Touched } from './core/outcome.ts'

/** About 40 bytes each, so 10 MB for the busiest session; a mount's own caches hold fewer inodes than this. */
export const INTEREST_MAX = 262_144
/** Evicted together, so that the push costs one frame and not one per new inode. */
const EVICT_AT_ONCE = 4_096
/** As many as one `invalidate` holds. */
const PER_PUSH_MAX = 65_536

export type Push = Request<'invalidate'>

export class Interest {
  readonly #known = new Set<Ino>()
  readonly #max: number

  constructor(max = INTEREST_MAX) {
    this.#max = max
  }

  get size(): number {
    return this.#known.size
  }

  has(ino: Ino): boolean {
    return this.#known.has(ino)
  }

  /** The session is being told about it. Answers what has to be pushed because it is forgotten in turn. */
  add(ino: Ino): Ino[] | undefined {
    this.#known.add(ino)
    if (this.#known.size <= this.#max) return undefined
    const evicted: Ino[] = []
    for (const old of this.#known) {
      if (evicted.length === Math.min(EVICT_AT_ONCE, this.#max)) break
      if (old !== ino) evicted.push(old)
    }
    for (const old of evicted) this.#known.delete(old)
    return evicted
  }

  /** Whether it was known. */
  delete(ino: Ino): boolean {
    return this.#known.delete(ino)
  }

  clear(): void {
    this.#known.clear()
  }

  /** What of these changes the session has to hear. */
  concerned(changes: readonly Touched[]): Push[] {
    if (this.#known.size === 0) return []
    const inodes = new Map<Ino, boolean>()
    const entries: Push['entries'] = []
    for (const { inodes: changed, entries: renamed } of changes) {
      for (const { ino, data } of changed) if (this.#known.has(ino)) inodes.set(ino, data || (inodes.get(ino) ?? false))
      for (const { parent, name, child } of renamed) if (this.#known.has(parent)) entries.push({ parent, name, child })
    }
    if (inodes.size === 0 && entries.length === 0) return []
    return inPages(
      [...inodes].map(([ino, data]) => ({ ino, data })),
      entries,
    )
  }
}

export function inPages(inodes: Push['inodes'], entries: Push['entries']): Push[] {
  const pages: Push[] = []
  for (let at = 0; at < Math.max(inodes.length, entries.length); at += PER_PUSH_MAX)
    pages.push({ inodes: inodes.slice(at, at + PER_PUSH_MAX), entries: entries.slice(at, at + PER_PUSH_MAX) })
  return pages
}
