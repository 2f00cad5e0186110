/* What every storage class holds, for people: from the state's counts, without looking at a chunk. */

import type { UsageReport } from '../wire/reports.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import type { State } from './core/state.ts'
import { ALL_COUNTED, NOBODYS } from './core/usage.ts'

/** Between transactions: lists are read from the store. */
export function usageReport(state: State): UsageReport {
  const numbers = state.classes.numbers()
  const rows = new Map(numbers.map((classId) => [classId, { chunks: 0, logicalBytes: 0, rawBytes: 0 }]))
  for (const number of state.usage.numbers()) {
    if (number === NOBODYS) continue
    // What a class left behind that is gone is of the default class from now on, as its files are.
    const row = rows.get(number) ?? rows.get(DEFAULT_CLASS)!
    const { chunks, live, raw } = state.usage.of(number)
    row.chunks += chunks
    row.logicalBytes += live
    row.rawBytes += raw
  }
  return {
    counting: state.counters().usageTo !== ALL_COUNTED,
    deletedBytes: state.usage.of(NOBODYS).raw,
    classes: numbers.flatMap((classId) => {
      const record = state.classes.record(classId)
      if (record === undefined) return []
      const inodes = classId === DEFAULT_CLASS ? null : record.inodes
      return [{ classId, name: record.text.name, inodes, ...rows.get(classId)! }]
    }),
  }
}
