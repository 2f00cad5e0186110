/*
 * Which storage class a new file or directory has by its name and owner: that of the first pattern that matches. The master
 * asks for what it makes, and mounts for what they make first and tell of afterwards, so both have to come to the same.
 */

import type { Attr } from '../base/attr.ts'
import { matchesGlob } from '../base/glob.ts'

export interface ClassRule {
  readonly glob: string
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly classId: number
}

/** undefined: none matches, and it has the class of its directory. `rules` in the order in which they count. */
export function classByRules(
  rules: readonly ClassRule[],
  name: string,
  { type, uid, gid }: Pick<Attr, 'type' | 'uid' | 'gid'>,
): number | undefined {
  if (type !== 'file' && type !== 'dir') return undefined
  for (const rule of rules) {
    if (rule.uid !== undefined && rule.uid !== uid) continue
    if (rule.gid !== undefined && rule.gid !== gid) continue
    if (matchesGlob(rule.glob, name)) return rule.classId
  }
  return undefined
}
