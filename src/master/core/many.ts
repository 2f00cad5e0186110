/*
 * The same change to many inodes, a page of a directory at a time, as a tree is walked from outside: the directories among
 * them are named, so that whoever walks goes on there.
 */

import { ok, type Result } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import type { CommandOf } from './commands.ts'
import type { InodeRecord } from './records.ts'
import type { Work } from './work.ts'

/** `paged`: they are entries of a directory that is walked, and `cookie` says where its next page begins. */
export type ManyInodes = Pick<CommandOf<'classOf' | 'retentionOf'>, 'inos' | 'paged' | 'cookie'>

/** Files and directories are changed; `alter` says whether it changed this one, or left it as it is. */
export function changeMany(
  work: Work,
  { inos, paged, cookie }: ManyInodes,
  alter: (record: InodeRecord) => boolean,
): Result<unknown> {
  let changed = 0
  let left = 0
  const directories: Ino[] = []
  for (const ino of inos) {
    const record = work.state.inode(ino)
    if (record === undefined || record.doomed) continue
    const { type } = record.attr
    if (type === 'dir' && paged) directories.push(ino)
    if (type !== 'dir' && type !== 'file') continue
    if (alter(record)) changed += 1
    else left += 1
  }
  return ok({ changed, left, directories, cookie })
}
