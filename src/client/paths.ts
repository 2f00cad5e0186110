/*
 * From paths to inodes over any Vfs, for those who are given paths: a door whose library speaks paths, gateways, tools.
 *
 * Paths are byte strings, absolute from the root of the filesystem; no component is ever taken apart by a text encoding.
 * Nothing is remembered here: the vfs below knows which names it may still believe.
 */

import type { Attr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import { type Ino, ROOT_INO } from '../base/ids.ts'
import { NAME_BYTES_MAX } from '../base/limits.ts'
import type { Caller, Vfs } from './vfs.ts'

/** Symlinks followed in one walk before it is called a loop (Linux's own number). */
const SYMLINKS_MAX = 40

export interface WalkOptions {
  /** Follow symlinks, also the last one. A kernel does this itself before it asks, so a door leaves it off. */
  readonly follow?: boolean
  readonly root?: Ino
}

/**
 * Bytes of one path taken. Longer than PATH_MAX on purpose: that bounds what one system call names, while a library that
 * always counts from the root builds longer ones for deep trees.
 */
const WALK_BYTES_MAX = 64 * 1024

const components = (path: string): string[] => {
  if (path.length > WALK_BYTES_MAX) throw new FsError('ENAMETOOLONG')
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

/** The attributes of what a path names. */
export async function walk(vfs: Vfs, path: string, caller: Caller, options: WalkOptions = {}): Promise<Attr> {
  const root = options.root ?? ROOT_INO
  const rest = components(path).reverse()
  let at = await vfs.getattr(root, caller)
  let followed = 0
  while (rest.length > 0) {
    caller.signal.throwIfAborted()
    const name = rest.pop()!
    if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
    if (at.type !== 'dir') throw new FsError('ENOTDIR')
    // The root is its own parent: no path leaves it.
    const next = name === '..' && at.ino === root ? at : await vfs.lookup(at.ino, name, caller)
    if (next.type !== 'symlink' || options.follow !== true) {
      at = next
      continue
    }
    if (++followed > SYMLINKS_MAX) throw new FsError('ELOOP', path)
    const target = await vfs.readlink(next.ino, caller)
    if (target.startsWith('/')) at = await vfs.getattr(root, caller)
    rest.push(...components(target).reverse())
  }
  return at
}

/** The directory that a path's last name lies in, and that name. The name itself need not exist. */
export async function walkToParent(
  vfs: Vfs,
  path: string,
  caller: Caller,
  options: WalkOptions = {},
): Promise<{ parent: Ino; name: string }> {
  const parts = components(path)
  const name = parts.pop()
  if (name === undefined) throw new FsError('EBUSY', 'the root has no name')
  if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
  const parent = await walk(vfs, parts.join('/'), caller, options)
  if (parent.type !== 'dir') throw new FsError('ENOTDIR')
  return { parent: parent.ino, name }
}
