/*
 * A name comes into a directory, goes from it, or comes to mean something else. Counts entries and links of the
 * directory, its times, and where the inode is linked; the rules about who may are in namespace.ts.
 */

import { DIRECTORY_ENTRY_BYTES } from '../../base/attr.ts'
import { refuse } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import { freeSlot } from './dentries.ts'
import type { InodeRecord } from './records.ts'
import type { Work } from './work.ts'

/** Adds a name that does not exist yet for a stored inode. Refused only when the bucket of its hash is full. */
export function addName(
  work: Work,
  parent: Ino,
  name: string,
  child: InodeRecord,
): ReturnType<typeof refuse> | undefined {
  const { state } = work
  const { hash, bucket } = state.find(parent, name)
  const slot = freeSlot(bucket)
  if (slot === undefined) return refuse('ENOSPC', 'too many names with one hash')
  const { ino, type } = child.attr
  state.setBucket(parent, hash, [...bucket, { slot, name, ino, type }])
  countEntry(work, parent, 1, type === 'dir' ? 1 : 0)
  linkedIn(work, ino, parent, name)
  work.touchEntry(parent, name)
  return undefined
}

export function removeName(work: Work, parent: Ino, name: string): void {
  const { state } = work
  const { hash, bucket, entry } = state.find(parent, name)
  if (entry === undefined) return
  state.setBucket(
    parent,
    hash,
    bucket.filter((other) => other !== entry),
  )
  countEntry(work, parent, -1, entry.type === 'dir' ? -1 : 0)
  work.touchEntry(parent, name, entry.ino)
}

/** An existing name means another inode from now on; it keeps its slot, so a listing under way misses nothing. */
export function replaceName(work: Work, parent: Ino, name: string, child: InodeRecord): void {
  const { state } = work
  const { hash, bucket, entry } = state.find(parent, name)
  if (entry === undefined) return
  const { ino, type } = child.attr
  state.setBucket(
    parent,
    hash,
    bucket.map((other) => (other === entry ? { ...other, ino, type } : other)),
  )
  countEntry(work, parent, 0, (type === 'dir' ? 1 : 0) - (entry.type === 'dir' ? 1 : 0))
  linkedIn(work, ino, parent, name)
  work.touchEntry(parent, name)
}

function countEntry(work: Work, parent: Ino, entries: number, subdirectories: number): void {
  const record = work.state.inode(parent)
  if (record === undefined) return
  const count = record.entries + entries
  work.put(
    record,
    {
      nlink: record.attr.nlink + subdirectories,
      size: count * DIRECTORY_ENTRY_BYTES,
      mtime: work.now,
      ctime: work.now,
    },
    { entries: count },
  )
  work.touchInode(parent, true)
}

function linkedIn(work: Work, ino: Ino, parent: Ino, name: string): void {
  const record = work.state.inode(ino)
  if (record === undefined) return
  const own = record.attr.type === 'dir' ? name : ''
  if (record.parent !== parent || record.name !== own) work.state.setInode(ino, { ...record, parent, name: own })
}
