/*
 * Quotas as values, and the one rule that keeps their usage right: whatever an inode adds to a quota follows from its
 * record alone, so every change of a record (State.setInode, and nothing else) charges the difference to the quota that
 * the record names and to those above it. No operation counts by itself, and none can forget to.
 *
 * Costs nothing while there are no quotas, and one record per level of nesting where there are. Who may grow how far, and
 * how the inodes of a directory come to name its quota, is quotas.ts.
 */

import type { Ino } from '../../base/ids.ts'
import { Held } from './held.ts'
import type { Kv } from './kv.ts'
import {
  decodeRecord,
  EMPTY,
  encodeRecord,
  type InodeRecord,
  pack,
  type QuotaRecord,
  type QuotasRecord,
  quotaRecord,
  quotasRecord,
  unpack,
} from './records.ts'
import { after, key, num, numAt, numbersIn, tables } from './tables.ts'

/** What something adds to the quotas in which it counts; negative when it goes. */
export interface Usage {
  readonly inodes: number
  readonly length: number
  readonly used: number
  /** Of `used`, what is not of the default class. */
  readonly classes?: readonly UsedByClass[] | undefined
}
interface UsedByClass {
  readonly classId: number
  readonly used: number
}

export const NOTHING: Usage = { inodes: 0, length: 0, used: 0 }
const HELD_MAX = 4_096
const NO_QUOTAS: QuotasRecord = { version: 1, count: 0, root: 0 as Ino, from: 0 as Ino, to: 0 as Ino, walked: 0 }

/** Directories count as inodes only: their size is made up. */
export const usageOf = ({ attr }: InodeRecord): Usage => ({
  inodes: 1,
  length: attr.type === 'file' ? attr.size : 0,
  used: attr.used,
  classes: ofClass(attr.classId, attr.used),
})

export const ofClass = (classId: number | undefined, used: number): readonly UsedByClass[] | undefined =>
  classId === undefined || used === 0 ? undefined : [{ classId, used }]

/** As a record has it. */
export const stored = ({ inodes, length, used, classes }: Usage): QuotaRecord['usage'] => ({
  inodes,
  length,
  used,
  classes: classes === undefined ? undefined : [...classes],
})

export const plus = (a: Usage, b: Usage, times = 1): Usage => ({
  inodes: a.inodes + b.inodes * times,
  length: a.length + b.length * times,
  used: a.used + b.used * times,
  classes: classesPlus(a.classes, b.classes, times),
})
export const minus = (a: Usage, b: Usage): Usage => plus(a, b, -1)

/** In the order of their numbers, so that the same usage is always written the same way. */
function classesPlus(
  a: readonly UsedByClass[] | undefined,
  b: readonly UsedByClass[] | undefined,
  times: number,
): UsedByClass[] | undefined {
  if (a === undefined && b === undefined) return undefined
  const used = new Map(a?.map((of) => [of.classId, of.used]))
  for (const of of b ?? []) used.set(of.classId, (used.get(of.classId) ?? 0) + of.used * times)
  const sums = [...used].flatMap(([classId, sum]) => (sum === 0 ? [] : [{ classId, used: sum }]))
  return sums.length === 0 ? undefined : sums.sort((x, y) => x.classId - y.classId)
}

export class QuotaTable {
  readonly #kv: Kv
  readonly #quotas = new Held<Ino, QuotaRecord>(HELD_MAX)
  #all: QuotasRecord | undefined
  /** Changed since `settle`. */
  readonly #touched = new Set<Ino>()

  constructor(kv: Kv) {
    this.#kv = kv
  }

  // ---- write-back, with the rest of the state

  flush(): void {
    this.#quotas.flush((directory, record) => {
      if (record === undefined) this.#kv.delete(key.quota(directory))
      else this.#kv.put(key.quota(directory), encodeRecord(quotaRecord, record))
    })
  }
  get changed(): number {
    return this.#quotas.changed
  }
  forget(): void {
    this.#quotas.forget()
    this.#all = undefined
    this.#touched.clear()
  }

  // ---- all of them

  all(): QuotasRecord {
    if (this.#all === undefined) {
      const value = this.#kv.get(key.meta('quotas'))
      this.#all = value === undefined ? NO_QUOTAS : decodeRecord(quotasRecord, value, 'quotas')
    }
    return this.#all
  }
  setAll(change: Partial<QuotasRecord>): void {
    this.#all = { ...this.all(), ...change }
    this.#kv.put(key.meta('quotas'), encodeRecord(quotasRecord, this.#all))
  }
  /** Whether there is any: most filesystems have none, and pay nothing. */
  get any(): boolean {
    return this.all().count > 0
  }
  /** Directories with a quota after the given one. Sees the store: for use between transactions. */
  page(afterOne: Ino | 0, limit: number): Ino[] {
    return numbersIn(this.#kv, tables.quota.prefix, num(afterOne), limit) as Ino[]
  }

  // ---- one of them

  get(directory: Ino): QuotaRecord | undefined {
    return this.#quotas.get(directory, this.#read)
  }
  readonly #read = (directory: Ino): QuotaRecord | undefined => {
    const value = this.#kv.get(key.quota(directory))
    return value === undefined ? undefined : decodeRecord(quotaRecord, value, 'quota')
  }
  set(directory: Ino, record: QuotaRecord | undefined): void {
    const by = (record === undefined ? 0 : 1) - (this.get(directory) === undefined ? 0 : 1)
    if (by !== 0) this.setAll({ count: this.all().count + by })
    this.#quotas.set(directory, record)
    this.#touched.add(directory)
  }
  /** The quota itself and those above it, the nearest first. */
  chain(quota: Ino | 0): { quota: Ino; record: QuotaRecord }[] {
    const chain: { quota: Ino; record: QuotaRecord }[] = []
    for (let at = quota; at !== 0; ) {
      const record = this.get(at)
      if (record === undefined) break
      chain.push({ quota: at, record })
      at = record.parent
    }
    return chain
  }

  // ---- what counts

  /** The record of an inode changes. */
  recharge(before: InodeRecord | undefined, after: InodeRecord | undefined): void {
    const from = before?.quota ?? 0
    const to = after?.quota ?? 0
    if (from === 0 && to === 0) return
    const was = before === undefined || from === 0 ? NOTHING : usageOf(before)
    const is = after === undefined || to === 0 ? NOTHING : usageOf(after)
    if (from === to) this.#charge(to, minus(is, was))
    else {
      // What comes first: a quota above both that is only waiting to be empty must not seem so for a moment.
      this.#charge(to, is)
      this.#charge(from, minus(NOTHING, was))
    }
  }

  /** A quota with everything in it comes under another one. */
  setParent(quota: Ino, parent: Ino | 0): void {
    const record = this.get(quota)
    if (record === undefined || record.parent === parent) return
    this.#charge(parent, record.usage)
    this.set(quota, { ...record, parent: parent as Ino })
    this.#charge(record.parent, minus(NOTHING, record.usage))
  }

  #charge(quota: Ino | 0, by: Usage): void {
    if (by.inodes === 0 && by.length === 0 && by.used === 0 && by.classes === undefined) return
    for (const { quota: at, record } of this.chain(quota)) {
      const usage = stored(plus(record.usage, by))
      const isEmpty = usage.inodes === 0
      if (record.phase === 'gone' && isEmpty) this.set(at, undefined)
      // Not even its directory counts in it: it has no place among the others, which may go.
      else this.set(at, isEmpty ? { ...record, usage, parent: 0 as Ino } : { ...record, usage })
    }
  }

  /** What changed since this was asked last. */
  takeTouched(): Ino[] {
    if (this.#touched.size === 0) return []
    const touched = [...this.#touched]
    this.#touched.clear()
    return touched
  }

  // ---- the walk

  /** The first that waits to be counted or taken away; 0: none does. */
  waiting(): Ino | 0 {
    return (numbersIn(this.#kv, key.quotasWaiting, '', 1)[0] ?? 0) as Ino | 0
  }
  isWaiting(directory: Ino): boolean {
    return this.#kv.get(key.quotaWaiting(directory)) !== undefined
  }
  setWaiting(directory: Ino, waits: boolean): void {
    if (waits) this.#kv.put(key.quotaWaiting(directory), EMPTY)
    else this.#kv.delete(key.quotaWaiting(directory))
  }
  /** A directory that the walk has still to look at, and after which name. */
  pending(): { directory: Ino; cookie: number } | undefined {
    let found: { directory: Ino; cookie: number } | undefined
    const prefix = key.quotaPendings
    this.#kv.scan({ from: prefix, to: after(prefix) }, (at, value) => {
      found = { directory: numAt(at, prefix.length) as Ino, cookie: unpack(value) as number }
      return false
    })
    return found
  }
  isPending(directory: Ino): boolean {
    return this.#kv.get(key.quotaPending(directory)) !== undefined
  }
  /** Undefined: there is nothing more to look at. */
  setPending(directory: Ino, cookie: number | undefined): void {
    if (cookie === undefined) this.#kv.delete(key.quotaPending(directory))
    else this.#kv.put(key.quotaPending(directory), pack(cookie))
  }
}
