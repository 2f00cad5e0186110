/*
 * The part of the check that is about storage classes: what a record says, and, over all of the state, whether the counts
 * agree, names are had once, and patterns give classes that exist. Answers findings as sentences.
 */

import { ClassError, readClass } from '../../topology/storage-class.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import type { State } from './state.ts'

export function wrongWithClassRecord(state: State, classId: number): string[] {
  const record = state.classes.record(classId)
  if (record === undefined) return []
  const who = `storage class ${classId}`
  const found: string[] = []
  const next = state.counters().nextClass ?? DEFAULT_CLASS + 1
  if (classId !== DEFAULT_CLASS && classId >= next) found.push(`${who}: its number was given to nobody`)
  if (classId !== DEFAULT_CLASS && record.text.keep === '') found.push(`${who}: keeps nothing`)
  try {
    readClass(record.text, 1)
  } catch (error) {
    if (!(error instanceof ClassError)) throw error
    found.push(`${who}: ${error.message}`)
  }
  return found
}

/** `inodes`: how many have each class but the default one. */
export function wrongWithClasses(state: State, inodes: ReadonlyMap<number, number>): string[] {
  const found: string[] = []
  const names = new Map<string, number>()
  for (const classId of state.classes.numbers()) {
    const record = state.classes.record(classId)
    if (record === undefined) continue
    const counted = classId === DEFAULT_CLASS ? 0 : (inodes.get(classId) ?? 0)
    if (record.inodes !== counted) found.push(`storage class ${classId}: ${counted} inodes, not ${record.inodes}`)
    const twin = names.get(record.text.name)
    if (twin !== undefined) found.push(`storage class ${classId}: called as class ${twin}`)
    names.set(record.text.name, classId)
  }
  for (const { number, pattern } of state.classes.patterns())
    if (state.classes.record(pattern.classId) === undefined) found.push(`pattern ${number} gives no storage class`)
  return found
}
