/*
 * What a change of a storage class, or of labels, makes worse for data that is there: copies that find no place any more, so
 * that what is lost cannot be made again, or data that was kept twice and would be kept once. Pure; in sentences for people.
 */

import { assign, type Candidate } from './assign.ts'
import { type Placing, printExpr, slotsOf } from './labels.ts'
import { type ClassMode, type InForce, inForce, type StorageClass } from './storage-class.ts'

/** A class and the disks that it chooses from. */
export interface Situation {
  readonly meaning: StorageClass
  readonly disks: readonly Candidate[]
}

/** What was bad before is no danger of the change. */
export function dangersOf(before: Situation, after: Situation): string[] {
  const found: string[] = []
  const say = (mode: ClassMode, what: string): void => {
    const sentence = `${mode}: ${what}`
    if (!found.includes(sentence)) found.push(sentence)
  }
  for (const mode of ['keep', 'archive', 'trash'] as const) {
    const [was, is] = [inForce(before.meaning, mode), inForce(after.meaning, mode)]
    // What falls back to another part of the life is told there.
    if (is.of !== mode) continue
    const missing = homeless(is, after.disks)
    if (missing.length > 0 && homeless(was, before.disks).length === 0)
      say(mode, `no place for ${[...new Set(missing)].join(', ')}`)
    // What is deleted may be kept with less care.
    if (mode !== 'trash' && losable(is.placing) === 0 && losable(was.placing) > 0)
      say(mode, 'one copy, of data that was kept so that a disk may be lost')
  }
  return found
}

/** The labels of copies that no disk takes, such as the mode allows. */
function homeless({ placing, unique, mode }: InForce, disks: readonly Candidate[]): string[] {
  const slots = slotsOf(placing)
  const found = assign({ slots, unique, mode }, [], disks).slots
  return found.flatMap(({ planned }, i) => (planned === undefined ? [printExpr(slots[i]!)] : []))
}

/** Disks that may be lost at once. */
const losable = (placing: Placing): number => (placing.kind === 'ec' ? placing.parity : slotsOf(placing).length - 1)
