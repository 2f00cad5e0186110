/*
 * The storage classes that a new cluster begins with, named and meant as MooseFS has them. They are made by ordinary commands,
 * once, in the transaction that founds the cluster: people change and delete them like their own, and what was deleted does
 * not come back. The default class is not among them.
 */

import type { Time } from '../../base/attr.ts'
import { assert, isRefusal } from '../../base/fault.ts'
import type { SessionId } from '../../base/ids.ts'
import { classWith, parseClassLine, writeClass } from '../../topology/storage-class.ts'
import { apply } from './apply.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import type { State } from './state.ts'

/** Parts only for what is large and a day old: of a small file each part would be a few blocks, for five or nine disks to seek. */
export const PREDEFINED_CLASSES: readonly string[] = [
  '-K 2 2CP',
  '-K 3 3CP',
  '-K 2 -A @4+1 -d 24 -o C -s 512KiB EC4+1',
  '-K 2 -A @8+1 -d 24 -o C -s 512KiB EC8+1',
]

const NOBODY = 0 as SessionId

/** Inside the transaction that has founded the filesystem. */
export function predefineClasses(state: State, now: Time): void {
  for (const [i, line] of PREDEFINED_CLASSES.entries()) {
    const { names, flags } = parseClassLine(line)
    const envelope = { index: state.counters().index + 1, ...now, session: NOBODY, seq: 0, acked: 0 }
    const text = writeClass(classWith(names[0]!, flags))
    const { result } = apply(state, envelope, { kind: 'classSet', classId: DEFAULT_CLASS + 1 + i, text })
    assert(!isRefusal(result), 'a predefined class is in order')
  }
}
