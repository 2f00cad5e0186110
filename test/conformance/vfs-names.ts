/* What every Vfs must do with names: types, lookup, rename, links, listings. */

import { describe, expect, test, vi } from 'vitest'
import type { FileType } from '../../src/base/attr.ts'
import { ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Started } from './vfs.ts'
import { callerOf, GONE, Probe, refused } from './vfs-probe.ts'

export function nameTests(started: () => Started): void {
  const fresh = (title: string): Promise<Probe> => Probe.fresh(started().vfs, title)

  describe('names', () => {
    test('every type of file can be made, looked up and listed', async () => {
      const p = await fresh('types')
      const make = (name: string, type: FileType, over = {}) =>
        p.vfs.make(p.dir, name, { type, mode: 0o640, ...over }, p.caller)
      await make('dir', 'dir')
      await make('fifo', 'fifo')
      await make('socket', 'socket')
      await make('char', 'char', { rdev: 0x103 })
      await make('block', 'block', { rdev: 0xfff0_0001 })
      await make('link', 'symlink', { target: '../\xff\xfe target' })
      await make('file', 'file')
      for (const type of ['dir', 'fifo', 'socket', 'char', 'block', 'file'] as const)
        expect(await p.lookup(type)).toMatchObject({ type, mode: 0o640 & ~0o022 })
      expect((await p.lookup('char')).rdev).toBe(0x103)
      expect((await p.lookup('block')).rdev).toBe(0xfff0_0001)
      const link = await p.lookup('link')
      expect(link).toMatchObject({ type: 'symlink', mode: 0o777, size: 12 })
      expect(await p.vfs.readlink(link.ino, p.caller)).toBe('../\xff\xfe target')
      await refused(p.vfs.readlink((await p.lookup('file')).ino, p.caller), 'EINVAL')
      const listed = Object.fromEntries((await p.list()).map((entry) => [entry.name, entry.type]))
      expect(listed).toEqual({
        ...{ dir: 'dir', fifo: 'fifo', socket: 'socket', char: 'char', block: 'block' },
        ...{ link: 'symlink', file: 'file' },
      })
    })

    test('a new node belongs to its maker, and the umask counts', async () => {
      const p = (await fresh('owner')).as({ uid: 7, gid: 8, umask: 0o027 })
      const file = await p.put('file', '', 0o666)
      expect(await p.attr(file)).toMatchObject({ uid: 7, gid: 8, mode: 0o640, nlink: 1, size: 0 })
      expect(await p.attr(await p.mkdir('dir', 0o777))).toMatchObject({ uid: 7, gid: 8, mode: 0o750, nlink: 2 })
    })

    test('names are bytes: any but the slash and zero, up to 255 of them', async () => {
      const p = await fresh('bytes')
      const odd = ['\xff\xfe', ' ', '\n', '...', 'ä', '\xc3\xa4', 'x'.repeat(255), '-rf', '\\']
      for (const name of odd) await p.put(name)
      expect(await p.names()).toEqual([...odd].sort())
      for (const name of odd) expect((await p.lookup(name)).type).toBe('file')
      await refused(p.create('x'.repeat(256)), 'ENAMETOOLONG')
      await refused(p.lookup('x'.repeat(256)), 'ENAMETOOLONG')
      await refused(p.rename('...', 'x'.repeat(256)), 'ENAMETOOLONG')
    })

    test('"." and ".." are answered, also at the root', async () => {
      const p = await fresh('dots')
      const inner = await p.mkdir('inner')
      expect((await p.in(inner).lookup('.')).ino).toBe(inner)
      expect((await p.in(inner).lookup('..')).ino).toBe(p.dir)
      expect((await p.in(ROOT_INO).lookup('..')).ino).toBe(ROOT_INO)
    })

    test('what is missing, taken or of the wrong type is refused by its name', async () => {
      const p = await fresh('refusals')
      const file = await p.put('file')
      const full = await p.mkdir('full')
      await p.in(full).put('inner')
      await refused(p.lookup('missing'), 'ENOENT')
      await refused(p.unlink('missing'), 'ENOENT')
      await refused(p.rmdir('missing'), 'ENOENT')
      await refused(p.rename('missing', 'x'), 'ENOENT')
      await refused(p.create('file'), 'EEXIST')
      await refused(p.create('full'), 'EEXIST')
      await refused(p.mkdir('file'), 'EEXIST')
      await refused(p.unlink('full'), 'EISDIR')
      await refused(p.rmdir('file'), 'ENOTDIR')
      await refused(p.rmdir('full'), 'ENOTEMPTY')
      await refused(p.in(file).lookup('x'), 'ENOTDIR')
      await refused(p.in(file).create('x'), 'ENOTDIR')
      await refused(p.in(file).list(), 'ENOTDIR')
      await refused(p.attr(ino(2 ** 50)), ...GONE)
      await refused(p.in(ino(2 ** 50)).lookup('x'), ...GONE)
    })

    test('create opens an existing file unless it is exclusive, and truncates it when told', async () => {
      const p = await fresh('create')
      const file = await p.put('file', 'hello')
      const again = { exclusive: false, truncate: false }
      expect((await p.vfs.create(p.dir, 'file', 0o600, again, p.caller)).ino).toBe(file)
      expect(await p.text(file)).toBe('hello')
      await p.close(file)
      const truncated = await p.vfs.create(p.dir, 'file', 0o600, { ...again, truncate: true }, p.caller)
      expect(truncated).toMatchObject({ ino: file, size: 0, mode: 0o644 })
      await p.close(file)
      expect(await p.get(file)).toBe('')
    })

    test('a removed directory takes no more names and its parent has a link less', async () => {
      const p = await fresh('rmdir')
      const dir = await p.mkdir('dir')
      expect((await p.attr(p.dir)).nlink).toBe(3)
      await p.rmdir('dir')
      expect((await p.attr(p.dir)).nlink).toBe(2)
      await refused(p.in(dir).create('late'), ...GONE)
      await refused(p.lookup('dir'), 'ENOENT')
    })

    test('a change of names moves the times of the directory', async () => {
      const p = await fresh('dir times')
      const old = { sec: 1000, nsec: 1 }
      await p.set(p.dir, { mtime: old })
      await p.put('file')
      expect((await p.attr(p.dir)).mtime.sec).toBeGreaterThan(1000)
      await p.set(p.dir, { mtime: old })
      await p.unlink('file')
      expect((await p.attr(p.dir)).mtime.sec).toBeGreaterThan(1000)
    })
  })

  describe('rename', () => {
    test('replaces what is there, if it is of the same kind and empty', async () => {
      const p = await fresh('replace')
      const a = await p.put('a', 'of a')
      await p.put('b', 'of b')
      await p.rename('a', 'b')
      expect((await p.lookup('b')).ino).toBe(a)
      await refused(p.lookup('a'), 'ENOENT')
      const dir = await p.mkdir('dir')
      const full = await p.mkdir('full')
      await p.in(full).put('inner')
      await refused(p.rename('b', 'dir'), 'EISDIR')
      await refused(p.rename('dir', 'b'), 'ENOTDIR')
      await refused(p.rename('dir', 'full'), 'ENOTEMPTY')
      await p.rename('full', 'dir')
      expect((await p.lookup('dir')).ino).toBe(full)
      // Who stands in it may go on looking at it, and makes nothing in it.
      await refused(p.in(dir).create('late'), ...GONE)
      expect(await p.names()).toEqual(['b', 'dir'])
      expect((await p.attr(p.dir)).nlink).toBe(3)
    })

    test('moves directories with their parent and link counts, and never into themselves', async () => {
      const p = await fresh('move')
      const a = await p.mkdir('a')
      const b = await p.mkdir('b')
      const inner = await p.in(a).mkdir('inner')
      await p.in(a).rename('inner', 'moved', { to: b })
      expect((await p.in(inner).lookup('..')).ino).toBe(b)
      expect((await p.attr(a)).nlink).toBe(2)
      expect((await p.attr(b)).nlink).toBe(3)
      await refused(p.rename('b', 'x', { to: b }), 'EINVAL')
      await refused(p.rename('b', 'x', { to: inner }), 'EINVAL')
      expect(await p.names()).toEqual(['a', 'b'])
    })

    test('of two names of one file does nothing', async () => {
      const p = await fresh('same file')
      const file = await p.put('a')
      await p.link(file, 'b')
      await p.rename('a', 'b')
      expect(await p.names()).toEqual(['a', 'b'])
      expect((await p.lookup('a')).ino).toBe(file)
      expect((await p.attr(file)).nlink).toBe(2)
      await p.rename('a', 'a')
      expect((await p.lookup('a')).ino).toBe(file)
    })

    test('with NOREPLACE refuses a taken name, with EXCHANGE swaps any two', async () => {
      const p = await fresh('flags')
      const file = await p.put('file')
      const away = await p.mkdir('away')
      const dir = await p.in(away).mkdir('dir')
      await refused(p.rename('file', 'away', { noReplace: true }), 'EEXIST')
      await p.rename('file', 'free', { noReplace: true })
      await refused(p.rename('free', 'missing', { exchange: true }), 'ENOENT')
      await p.rename('free', 'dir', { to: away, exchange: true })
      expect((await p.lookup('free')).ino).toBe(dir)
      expect((await p.in(away).lookup('dir')).ino).toBe(file)
      expect((await p.in(dir).lookup('..')).ino).toBe(p.dir)
      expect((await p.attr(away)).nlink).toBe(2)
      expect((await p.attr(p.dir)).nlink).toBe(4)
      await refused(p.rename('away', 'free', { to: away, exchange: true }), 'EINVAL', 'ENOENT')
    })
  })

  describe('links', () => {
    test('a file has as many names as it was given, and dies with the last', async () => {
      const p = await fresh('links')
      const file = await p.put('a', 'content')
      expect((await p.link(file, 'b')).nlink).toBe(2)
      await refused(p.link(file, 'b'), 'EEXIST')
      await refused(p.link(await p.mkdir('dir'), 'c'), 'EPERM')
      await p.unlink('a')
      expect(await p.attr(file)).toMatchObject({ nlink: 1 })
      expect(await p.get((await p.lookup('b')).ino)).toBe('content')
      await p.unlink('b')
      await vi.waitFor(() => refused(p.attr(file), ...GONE), { timeout: 5_000 })
    })

    test('an unlinked open file lives on, nameless, until its last release', async () => {
      const p = await fresh('orphan')
      const file = await p.create('file')
      await p.write(file, 0, 'before')
      await p.open(file)
      await p.unlink('file')
      expect(await p.attr(file)).toMatchObject({ nlink: 0, size: 6 })
      await p.write(file, 6, ' and after')
      expect(await p.text(file)).toBe('before and after')
      await p.close(file)
      await p.vfs.fsync(file, p.caller)
      expect(await p.text(file)).toBe('before and after')
      await refused(p.link(file, 'back'), ...GONE)
      await p.close(file)
      await vi.waitFor(() => refused(p.attr(file), ...GONE), { timeout: 5_000 })
    })

    test('a file replaced by rename lives on while it is open', async () => {
      const p = await fresh('replaced')
      const old = await p.put('name', 'old')
      await p.open(old)
      await p.put('new', 'new')
      await p.rename('new', 'name')
      expect(await p.text(old)).toBe('old')
      expect(await p.get((await p.lookup('name')).ino)).toBe('new')
      await p.close(old)
    })

    test('a second name carries the same attributes', async () => {
      const p = await fresh('same attributes')
      const file = await p.put('a')
      await p.link(file, 'b')
      await p.set((await p.lookup('b')).ino, { mode: 0o600 })
      expect((await p.lookup('a')).mode).toBe(0o600)
    })
  })

  describe('listings', () => {
    test('every page goes on after its cookie, each entry once', async () => {
      const p = await fresh('pages')
      const names = Array.from({ length: 300 }, (_, i) => `entry ${i}`)
      await Promise.all(names.map((name) => p.mkdir(name)))
      for (const limit of [1, 7, 299, 300, 1000]) {
        const listed = await p.list(p.dir, limit)
        expect(listed.map((entry) => entry.name).sort()).toEqual([...names].sort())
        const cookies = listed.map((entry) => entry.cookie)
        expect(cookies).toEqual([...new Set(cookies)].sort((a, b) => a - b))
        expect(cookies[0]).toBeGreaterThanOrEqual(3)
        expect(cookies.at(-1)).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER)
      }
      const [entry] = await p.vfs.readdir(p.dir, 0, 1, p.caller)
      expect(entry!.attr).toEqual(await p.attr(entry!.ino))
    })

    test('what stays is listed exactly once while others come and go', async () => {
      const p = await fresh('coming and going')
      for (let i = 0; i < 60; i++) {
        await p.put(`stays ${i}`, '')
        await p.put(`goes ${i}`, '')
      }
      const seen: string[] = []
      let gone = 0
      for (let cookie = 0, page = 0; ; page++) {
        const entries = await p.vfs.readdir(p.dir, cookie, 10, p.caller)
        if (entries.length === 0) break
        for (const entry of entries) if (entry.name.startsWith('stays')) seen.push(entry.name)
        cookie = entries.at(-1)!.cookie
        for (let i = 0; i < 10 && gone < 60; i++) await p.unlink(`goes ${gone++}`)
        if (page < 10) await p.put(`comes ${page}`, '')
      }
      expect(seen.sort()).toEqual(Array.from({ length: 60 }, (_, i) => `stays ${i}`).sort())
    })

    test('a cookie outlives the entry it belonged to', async () => {
      const p = await fresh('cookie of the deleted')
      for (let i = 0; i < 20; i++) await p.put(`f${i}`, '')
      const before = await p.list()
      const middle = before[9]!
      await p.unlink(middle.name)
      const after = await p.vfs.readdir(p.dir, middle.cookie, 100, p.caller)
      expect(after.map((entry) => entry.name)).toEqual(before.slice(10).map((entry) => entry.name))
    })

    test('cookies are the same after a restart', async (context) => {
      const { restart } = started()
      if (restart === undefined) return context.skip('keeps nothing over a restart')
      const p = await fresh('restart')
      for (let i = 0; i < 50; i++) await p.put(`f${i}`, '')
      const before = (await p.list()).map(({ name, cookie, ino }) => ({ name, cookie, ino }))
      await restart()
      expect((await p.list()).map(({ name, cookie, ino }) => ({ name, cookie, ino }))).toEqual(before)
      const rest = await p.vfs.readdir(p.dir, before[20]!.cookie, 100, callerOf())
      expect(rest.map((entry) => entry.name)).toEqual(before.slice(21).map((entry) => entry.name))
    })
  })
}
