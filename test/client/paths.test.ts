/*
 * Walking paths over a Vfs, against the reference model.
 */

import { beforeEach, expect, test } from 'vitest'
import { ROOT_INO } from '../../src/base/ids.ts'
import { walk, walkToParent } from '../../src/client/paths.ts'
import type { Caller } from '../../src/client/vfs.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { realClock } from '../support/real-clock.ts'

const caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0, signal: new AbortController().signal }
let vfs: MemoryVfs
let deep: number

beforeEach(async () => {
  vfs = new MemoryVfs(realClock)
  const a = await vfs.make(ROOT_INO, 'a', { type: 'dir', mode: 0o755 }, caller)
  const b = await vfs.make(a.ino, 'b', { type: 'dir', mode: 0o755 }, caller)
  deep = (await vfs.make(b.ino, 'f\xff', { type: 'file', mode: 0o644 }, caller)).ino
  const link = (name: string, target: string) =>
    vfs.make(ROOT_INO, name, { type: 'symlink', mode: 0o777, target }, caller)
  await link('relative', 'a/./b')
  await link('absolute', '/relative/../b')
  await link('loop', 'loop')
})

test('slashes, dots and parents lead where they always lead, and never above the root', async () => {
  for (const path of ['/a/b/f\xff', 'a//b/./f\xff', '/../../a/b/../b/f\xff']) {
    expect((await walk(vfs, path, caller)).ino).toBe(deep)
  }
  expect((await walk(vfs, '/', caller)).ino).toBe(ROOT_INO)
})

test('symlinks are named, or followed when that is asked for, up to a limit', async () => {
  expect((await walk(vfs, 'relative', caller)).type).toBe('symlink')
  expect((await walk(vfs, 'absolute/f\xff', caller, { follow: true })).ino).toBe(deep)
  await expect(walk(vfs, 'loop', caller, { follow: true })).rejects.toMatchObject({ code: 'ELOOP' })
  await expect(walk(vfs, 'relative/f\xff', caller)).rejects.toMatchObject({ code: 'ENOTDIR' })
})

test('what is missing, too long or under a file is refused by its name', async () => {
  await expect(walk(vfs, 'a/no', caller)).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(walk(vfs, `a/${'n'.repeat(256)}`, caller)).rejects.toMatchObject({ code: 'ENAMETOOLONG' })
  await expect(walk(vfs, 'a/b/f\xff/x', caller)).rejects.toMatchObject({ code: 'ENOTDIR' })
  await expect(walk(vfs, 'a/'.repeat(40_000), caller)).rejects.toMatchObject({ code: 'ENAMETOOLONG' })
})

test('the parent of a path is found though its last name is free', async () => {
  const parent = await walkToParent(vfs, '/a/b/new', caller)
  expect([parent.parent, parent.name]).toEqual([(await walk(vfs, 'a/b', caller)).ino, 'new'])
  await expect(walkToParent(vfs, '/', caller)).rejects.toMatchObject({ code: 'EBUSY' })
  await expect(walkToParent(vfs, 'a/b/f\xff/x', caller)).rejects.toMatchObject({ code: 'ENOTDIR' })
})

test('an aborted caller stops the walk', async () => {
  const stop = new AbortController()
  stop.abort(new Error('enough'))
  await expect(walk(vfs, '/a/b', { ...caller, signal: stop.signal })).rejects.toThrow('enough')
})
