/*
 * How near quotas are to their ends, for those who answer before the master has agreed: a mount changes names first in
 * directories that it holds, and answers the close of a small new file before its commit. What was answered as done is
 * never refused, so while a quota has not room for all that mounts may hold back of it, none is given the right to.
 */

import type { Ino } from '../base/ids.ts'
import { endOfLimit, isCounted, KINDS, shareOfDisks, spent } from './core/quotas.ts'
import type { State } from './core/state.ts'
import type { Sessions } from './sessions.ts'

/** Names of one mount that it has changed and not told of (client/name-journal.ts, PENDING_MAX), twice: it goes on while it is called in. */
const NAMES_HELD_BACK = 8_192
/** Bytes of closed files that one mount has not committed: LAG_FILES of SMALL_BYTES each (client/file-writer.ts), twice. */
const BYTES_HELD_BACK = 64 * 1024 * 1024

export class QuotaRoom {
  readonly #state: State
  readonly #sessions: Sessions
  /** Those in force whose directories have been called in since they came near their ends. */
  readonly #near = new Set<Ino>()

  constructor(state: State, sessions: Sessions) {
    this.#state = state
    this.#sessions = sessions
  }

  /** Whether what counts where this inode does may soon find no room. */
  isNear(ino: Ino): boolean {
    if (!this.#state.quotas.any) return false
    const quota = this.#state.inode(ino)?.quota ?? 0
    return this.#state.quotas.chain(quota).some((above) => this.isQuotaNear(above.quota))
  }

  isQuotaNear(quota: Ino): boolean {
    const record = this.#state.quotas.get(quota)
    // What is being counted may be full in the moment in which that is over.
    if (record === undefined || record.phase === 'gone' || record.phase === 'leaving') return false
    const mounts = Math.max(1, this.#sessions.size)
    const bytes = BYTES_HELD_BACK * mounts
    const least = { inodes: NAMES_HELD_BACK * mounts, length: bytes, raw: bytes * shareOfDisks(this.#state, 0) }
    const has = spent(this.#state, record.usage)
    return KINDS.some((kind) => {
      const { soft, hard } = record[kind]
      // A soft limit may turn into a hard one at any moment.
      const end = Math.min(soft ?? Number.POSITIVE_INFINITY, hard ?? Number.POSITIVE_INFINITY)
      return end - has[kind] < least[kind]
    })
  }

  /** Of those that changed, the ones that have come near to their ends since. */
  takeNear(touched: readonly Ino[]): Ino[] {
    return touched.filter((quota) => {
      const record = this.#state.quotas.get(quota)
      // When all is counted, everything is called in that came to count in it.
      if (record?.phase !== 'active' || !this.isQuotaNear(quota)) {
        this.#near.delete(quota)
        return false
      }
      const is = this.#near.has(quota)
      this.#near.add(quota)
      return !is
    })
  }

  /** Whether what is in the directory counts in one of these. */
  countsIn(directory: Ino, quotas: ReadonlySet<Ino>): boolean {
    const quota = this.#state.inode(directory)?.quota ?? 0
    return quota !== 0 && this.#state.quotas.chain(quota).some((above) => quotas.has(above.quota))
  }
}

/** What is left to an inode by the quotas in which it counts; undefined: no quota says anything of that kind. */
export function quotaSpace(state: State, ino: Ino, nowSec: number): { bytes?: Space; inodes?: Space } {
  const space: { bytes?: Space; inodes?: Space } = {}
  const take = (kind: 'bytes' | 'inodes', total: number, used: number): void => {
    const free = Math.max(0, total - used)
    if (free < (space[kind]?.free ?? Number.POSITIVE_INFINITY)) space[kind] = { total, free }
  }
  const inode = state.inode(ino)
  for (const { record } of state.quotas.chain(inode?.quota ?? 0)) {
    if (!isCounted(record)) continue
    const has = spent(state, record.usage)
    const end = (kind: (typeof KINDS)[number]): number | undefined =>
      endOfLimit(record[kind], record.graceMs, nowSec) ?? record[kind].soft
    const inodes = end('inodes')
    if (inodes !== undefined) take('inodes', inodes, has.inodes)
    const length = end('length')
    if (length !== undefined) take('bytes', length, has.length)
    const raw = end('raw')
    if (raw !== undefined) {
      // Told in bytes of files, as the space of the whole filesystem is, and of such files as will be made there.
      const share = shareOfDisks(state, inode?.attr.classId ?? 0)
      take('bytes', Math.floor(raw / share), Math.ceil(has.raw / share))
    }
  }
  return space
}

interface Space {
  readonly total: number
  readonly free: number
}
