/*
 * Paths of inodes, for what is remembered of a deleted file and for reports: names lead from directories to inodes, so a
 * path is put together backwards.
 */

import { type Ino, ROOT_INO } from '../../base/ids.ts'
import { bucketRecord, unpack } from './records.ts'
import type { State } from './state.ts'
import { after, key } from './tables.ts'

/**
 * A path of the inode, from the root: exact for directories; for other files through the parent they were last linked
 * in (that directory is searched, at most 100 000 entries: this is for reports). undefined when it has no name there.
 */
export function pathOf(state: State, ino: Ino): string | undefined {
  const record = state.inode(ino)
  if (record === undefined || record.doomed) return undefined
  if (record.attr.type === 'dir') return dirPath(state, ino)
  let name: string | undefined
  let left = 100_000
  const prefix = key.dentriesOf(record.parent)
  state.kv.scan({ from: prefix, to: after(prefix) }, (_at, value) => {
    name = bucketRecord.decode(unpack(value)).find((entry) => entry.ino === ino)?.name
    return name === undefined && left-- > 0
  })
  const dir = name === undefined ? undefined : dirPath(state, record.parent)
  return dir === undefined ? undefined : dir === '/' ? `/${name}` : `${dir}/${name}`
}

/** The path of a directory; one longer than 4 095 bytes is cut on the left and begins with "...". */
export function dirPath(state: State, ino: Ino): string | undefined {
  if (ino === ROOT_INO) return '/'
  let path = ''
  let at = ino
  while (at !== ROOT_INO) {
    const record = state.inode(at)
    if (record === undefined || record.attr.nlink === 0) return undefined
    // Out of sight: a snapshot that is being made, a tree that is being deleted.
    if (record.parent === at) return undefined
    path = `/${record.name}${path}`
    if (path.length > 4095) return `...${path}`
    at = record.parent
  }
  return path
}
