/*
 * Deleted files that are kept, in the order in which their time is over, and inodes that are being taken down in steps.
 */

import type { Ino } from '../../base/ids.ts'
import type { Kv } from './kv.ts'
import { decodeRecord, type InodeRecord, type TrashRecord, trashRecord } from './records.ts'
import { after, afterNum, key, num, numAt, numbersIn, tables } from './tables.ts'

export class TrashTable {
  readonly #kv: Kv
  constructor(kv: Kv) {
    this.#kv = kv
  }

  /** What is remembered of a file that is in the trash. */
  of(file: InodeRecord | undefined): TrashRecord | undefined {
    if (file?.trashedUntil === undefined) return undefined
    const value = this.#kv.get(key.trash(file.trashedUntil, file.attr.ino))
    return value === undefined ? undefined : decodeRecord(trashRecord, value, 'trash')
  }
  /** Oldest expiry first, after the given one (undefined: from the start). */
  page(
    afterOne: { expirySec: number; ino: Ino } | undefined,
    limit: number,
  ): { ino: Ino; expirySec: number; record: TrashRecord }[] {
    const entries: { ino: Ino; expirySec: number; record: TrashRecord }[] = []
    const from = afterOne === undefined ? tables.trash.prefix : `${key.trash(afterOne.expirySec, afterOne.ino)}\0`
    this.#kv.scan({ from, to: after(tables.trash.prefix) }, (at, value) => {
      if (entries.length >= limit) return false
      const ino = numAt(at, afterNum(at, 1)) as Ino
      entries.push({ ino, expirySec: numAt(at, 1), record: decodeRecord(trashRecord, value, 'trash') })
      return true
    })
    return entries
  }
  /** Inodes that nobody can reach any more and that still have extents. */
  doomed(afterIno: Ino | 0, limit: number): Ino[] {
    return numbersIn(this.#kv, tables.doomed.prefix, num(afterIno), limit) as Ino[]
  }
}
