/*
 * What each storage class holds: chunks, bytes that files refer to, bytes on disks. Every change of a chunk record (putChunk,
 * and nothing else) moves the difference, so no report walks the chunks. A part counts where the chunk does that is made of
 * it; what is dead, and parts of nothing, count as nobody's until their files are deleted.
 *
 * A store of before this was counted has no numbers: `usageCounted` takes the next chunks in, page by page. Those beyond
 * `counters.usageTo` are not counted, whatever is done to them, until it has come to them.
 */

import { ok, type Result } from '../../base/fault.ts'
import type { ChunkId } from '../../base/ids.ts'
import { CLASSES_MAX } from '../../wire/shapes.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import type { CommandOf } from './commands.ts'
import { Held } from './held.ts'
import type { Kv } from './kv.ts'
import { type ChunkRecord, decodeRecord, encodeRecord, type UsageRecord, usageRecord } from './records.ts'
import type { State } from './state.ts'
import { key, numbersIn, tables } from './tables.ts'
import type { Work } from './work.ts'

/** The number under which stands what belongs to no class any more. */
export const NOBODYS = 0
/** counters.usageTo when every chunk is counted. */
export const ALL_COUNTED: number = Number.MAX_SAFE_INTEGER

export type Amount = Omit<UsageRecord, 'version'>
const NONE: UsageRecord = { version: 1, chunks: 0, live: 0, raw: 0 }

export class UsageTable {
  readonly #kv: Kv
  readonly #rows = new Held<number, UsageRecord>(CLASSES_MAX + 1)

  constructor(kv: Kv) {
    this.#kv = kv
  }

  of(classId: number): UsageRecord {
    return this.#rows.get(classId, this.#read) ?? NONE
  }
  readonly #read = (classId: number): UsageRecord | undefined => {
    const value = this.#kv.get(key.usage(classId))
    return value === undefined ? undefined : decodeRecord(usageRecord, value, `usage of class ${classId}`)
  }

  add(classId: number, { chunks, live, raw }: Amount, sign: 1 | -1): void {
    const before = this.of(classId)
    // A wrong count is for `check` to find, and no reason to stop.
    const sum = (a: number, b: number): number => Math.max(0, a + sign * b)
    const row = {
      version: 1,
      chunks: sum(before.chunks, chunks),
      live: sum(before.live, live),
      raw: sum(before.raw, raw),
    }
    this.#rows.set(classId, row.chunks + row.live + row.raw === 0 ? undefined : row)
  }

  /** Numbers with anything in them. Between transactions. */
  numbers(): number[] {
    return numbersIn(this.#kv, tables.usage.prefix, '', Number.MAX_SAFE_INTEGER)
  }

  flush(): void {
    this.#rows.flush((classId, row) => {
      if (row === undefined) this.#kv.delete(key.usage(classId))
      else this.#kv.put(key.usage(classId), encodeRecord(usageRecord, row))
    })
  }
  get changed(): number {
    return this.#rows.changed
  }
  forget(): void {
    this.#rows.forget()
  }
}

/** Which row a chunk stands in. */
export function usedBy(state: State, chunk: ChunkId, record: ChunkRecord): number {
  if (record.whole !== undefined) {
    const whole = state.chunk(record.whole)
    return whole?.ec?.parts.includes(chunk) === true ? ownRow(whole) : NOBODYS
  }
  return ownRow(record)
}

const ownRow = (record: ChunkRecord): number =>
  record.state === 'sealed' && record.live === 0 ? NOBODYS : (record.classId ?? DEFAULT_CLASS)

/** Parts are bytes on disks and nothing else. */
export function amountOf(record: ChunkRecord): Amount {
  const raw = record.length * record.disks.length
  return record.whole === undefined ? { chunks: 1, live: record.live, raw } : { chunks: 0, live: 0, raw }
}

/** A chunk record has changed; the state has the new one already, and the parts as they were. */
export function countUsage(
  state: State,
  chunk: ChunkId,
  before: ChunkRecord | undefined,
  after: ChunkRecord | undefined,
): void {
  const to = state.counters().usageTo ?? 0
  const was = before === undefined ? NOBODYS : usedBy(state, chunk, before)
  const is = after === undefined ? NOBODYS : usedBy(state, chunk, after)
  if (chunk <= to && !isSame(before, after, was === is)) {
    if (before !== undefined) state.usage.add(was, amountOf(before), -1)
    if (after !== undefined) state.usage.add(is, amountOf(after), 1)
  }
  if (was === is && before?.ec?.parts === after?.ec?.parts) return
  // Its parts go where it goes.
  const move = (parts: readonly ChunkId[], row: number, sign: 1 | -1): void => {
    for (const part of parts) {
      const record = part <= to ? state.chunk(part) : undefined
      if (record?.whole !== chunk) continue
      state.usage.add(row, amountOf(record), sign)
      state.usage.add(NOBODYS, amountOf(record), sign === 1 ? -1 : 1)
    }
  }
  move(before?.ec?.parts ?? [], was, -1)
  move(after?.ec?.parts ?? [], is, 1)
}

function isSame(before: ChunkRecord | undefined, after: ChunkRecord | undefined, sameRow: boolean): boolean {
  if (!sameRow || before === undefined || after === undefined) return false
  const [a, b] = [amountOf(before), amountOf(after)]
  return a.chunks === b.chunks && a.live === b.live && a.raw === b.raw
}

export function usageCounted(work: Work, { limit }: CommandOf<'usageCounted'>): Result<unknown> {
  const { state } = work
  const to = state.counters().usageTo ?? 0
  if (to === ALL_COUNTED) return ok({})
  // The list of chunks is read from the store.
  state.flush()
  const wanted = Math.max(1, limit)
  const page = state.chunkIndex.all(to as ChunkId | 0, wanted)
  for (const chunk of page) {
    const record = state.chunk(chunk)
    if (record !== undefined) state.usage.add(usedBy(state, chunk, record), amountOf(record), 1)
  }
  state.setCounters({ usageTo: page.length < wanted ? ALL_COUNTED : page.at(-1)! })
  return ok({})
}

// ---- for the check

export class UsageRecount {
  readonly #rows = new Map<number, Amount>()

  add(state: State, chunk: ChunkId, record: ChunkRecord): void {
    if (chunk > (state.counters().usageTo ?? 0)) return
    const row = usedBy(state, chunk, record)
    const { chunks, live, raw } = this.#rows.get(row) ?? NONE
    const more = amountOf(record)
    this.#rows.set(row, { chunks: chunks + more.chunks, live: live + more.live, raw: raw + more.raw })
  }

  compare(state: State, expect: (holds: boolean, what: string) => void): void {
    for (const row of new Set([...this.#rows.keys(), ...state.usage.numbers()])) {
      const found = this.#rows.get(row) ?? NONE
      const kept = state.usage.of(row)
      for (const what of ['chunks', 'live', 'raw'] as const)
        expect(found[what] === kept[what], `usage of class ${row}: ${found[what]} ${what} found, not ${kept[what]}`)
    }
  }
}
