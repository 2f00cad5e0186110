/* What every Vfs must do with attributes: modes, owners, times, set-id bits, extended attributes, ACLs, space. */

import { describe, expect, test } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { ROOT_INO } from '../../src/base/ids.ts'
import { XATTR_VALUE_BYTES_MAX } from '../../src/base/limits.ts'
import type { Started } from './vfs.ts'
import { Probe, refused } from './vfs-probe.ts'

const SET = { create: false, replace: false, killSgid: false } as const

/** Linux's xattr form of an ACL: version 2, then (tag, permissions, id). */
const TAGS = { user: 1, namedUser: 2, group: 4, namedGroup: 8, mask: 16, other: 32 } as const
type AclRow = readonly [keyof typeof TAGS, number, number?]
function acl(...rows: AclRow[]): Buffer {
  const out = Buffer.alloc(4 + rows.length * 8)
  out.writeUInt32LE(2, 0)
  for (const [i, [tag, permissions, id]] of rows.entries()) {
    out.writeUInt16LE(TAGS[tag], 4 + i * 8)
    out.writeUInt16LE(permissions, 6 + i * 8)
    out.writeUInt32LE(id ?? 0xffff_ffff, 8 + i * 8)
  }
  return out
}
const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'

export function attributeTests(started: () => Started): void {
  const fresh = (title: string): Promise<Probe> => Probe.fresh(started().vfs, title)

  describe('attributes', () => {
    test('mode, owner and group change and stay, each alone', async () => {
      const p = await fresh('chmod')
      const file = await p.put('f')
      expect((await p.set(file, { mode: 0o4711 })).mode).toBe(0o4711)
      expect(await p.set(file, { uid: 0xffff_fffe, gid: 3 })).toMatchObject({ uid: 0xffff_fffe, gid: 3, mode: 0o4711 })
      expect(await p.set(file, { gid: 4 })).toMatchObject({ uid: 0xffff_fffe, gid: 4 })
      expect(await p.attr(file)).toMatchObject({ uid: 0xffff_fffe, gid: 4, mode: 0o4711 })
    })

    test('a time that was shown does not move by itself when the bytes become durable', async () => {
      const p = await fresh('shown times')
      const file = await p.create('f')
      await p.write(file, 0, 'some bytes')
      const open = await p.attr(file)
      await p.vfs.fsync(file, p.caller)
      expect(await p.attr(file)).toMatchObject({ ctime: open.ctime, mtime: open.mtime })
      await p.write(file, 0, 'others')
      await p.close(file)
      const { ctime } = await p.set(file, { mtime: { sec: 5, nsec: 6 } })
      await p.open(file)
      await p.vfs.fsync(file, p.caller)
      await p.close(file)
      expect(await p.attr(file)).toMatchObject({ ctime, mtime: { sec: 5, nsec: 6 } })
    })

    test('times are kept to the nanosecond, also before 1970 and far away', async () => {
      const p = await fresh('times')
      const file = await p.put('f')
      const times = [
        { sec: 0, nsec: 0 },
        { sec: 1_234_567_890, nsec: 123_456_789 },
        { sec: -1, nsec: 999_999_999 },
        { sec: -2_208_988_800, nsec: 1 },
        { sec: 4_102_444_800, nsec: 999_999_999 },
      ]
      for (const time of times) {
        await p.set(file, { atime: time, mtime: time })
        expect(await p.attr(file)).toMatchObject({ atime: time, mtime: time })
      }
      const before = await p.attr(file)
      await p.set(file, { atime: { sec: 7, nsec: 7 } })
      expect(await p.attr(file)).toMatchObject({ atime: { sec: 7, nsec: 7 }, mtime: before.mtime })
      await p.set(file, { mtime: 'now' })
      const now = Date.now() / 1000
      expect(Math.abs((await p.attr(file)).mtime.sec - now)).toBeLessThan(120)
    })

    test('every change moves ctime and the version', async () => {
      const p = await fresh('ctime')
      const file = await p.put('f')
      const changes: ((file: Ino) => Promise<unknown>)[] = [
        (it) => p.set(it, { mode: 0o600 }),
        (it) => p.link(it, 'second'),
        () => p.unlink('second'),
        (it) => p.vfs.setxattr(it, 'user.a', Buffer.from('x'), SET, p.caller),
        () => p.rename('f', 'g'),
      ]
      for (const change of changes) {
        const before = await p.attr(file)
        await change(file)
        // A change of a file that was just written may be held back; it counts when it is committed.
        await p.vfs.fsync(file, p.caller)
        const after = await p.attr(file)
        expect(after.version).toBeGreaterThan(before.version)
        expect(after.ctime.sec * 1e9 + after.ctime.nsec).toBeGreaterThanOrEqual(
          before.ctime.sec * 1e9 + before.ctime.nsec,
        )
      }
    })

    test('writing moves mtime; setting a time on an open, unwritten-out file wins over the write before it', async () => {
      const p = await fresh('mtime')
      const file = await p.create('f')
      await p.set(file, { mtime: { sec: 1, nsec: 1 } })
      await p.write(file, 0, 'x')
      expect((await p.attr(file)).mtime.sec).toBeGreaterThan(1)
      await p.set(file, { mtime: { sec: 42, nsec: 42 }, atime: { sec: 43, nsec: 43 } })
      await p.close(file)
      expect(await p.attr(file)).toMatchObject({ mtime: { sec: 42, nsec: 42 }, atime: { sec: 43, nsec: 43 } })
      expect((await p.lookup('f')).mtime).toEqual({ sec: 42, nsec: 42 })
    })

    test('attributes changed while a file is written are there after its close', async () => {
      const p = await fresh('held back')
      const file = await p.create('f')
      await p.write(file, 0, 'x')
      await p.set(file, { mode: 0o400, uid: 5, gid: 6 })
      expect(await p.attr(file)).toMatchObject({ mode: 0o400, uid: 5, gid: 6, size: 1 })
      await p.close(file)
      expect(await p.attr(file)).toMatchObject({ mode: 0o400, uid: 5, gid: 6, size: 1 })
    })

    test('set-id bits fall when a write, truncation or change of owner says so', async () => {
      const p = await fresh('set-id')
      const file = await p.put('f', 'x', 0o777)
      await p.set(file, { mode: 0o6755 })
      await p.open(file)
      await p.vfs.write(file, 0, Buffer.from('y'), { append: false, killSuidGid: true }, p.caller)
      await p.close(file)
      expect((await p.attr(file)).mode).toBe(0o755)
      await p.set(file, { mode: 0o6755 })
      await p.set(file, { size: 0, killSuidGid: true })
      expect((await p.attr(file)).mode).toBe(0o755)
      await p.set(file, { mode: 0o6745 })
      await p.set(file, { uid: 9, killSuidGid: true })
      expect((await p.attr(file)).mode).toBe(0o2745)
    })

    test('set-id bits stay when root allocates, shares or truncates, and fall when another does', async () => {
      const p = await fresh('set-id of root')
      const root = p.as({ uid: 0, gid: 0 })
      const source = await p.put('source', 'some bytes')
      const file = await p.put('f', 'x', 0o777)
      await p.open(file)
      await p.open(source)
      const allocate = async (by: Probe) =>
        by.vfs.fallocate(file, { kind: 'reserve', keepSize: false }, 0, 100, by.caller)
      const share = async (by: Probe) => by.vfs.copyRange(source, 0, file, 0, 5, by.caller)
      for (const change of [allocate, share]) {
        await p.set(file, { mode: 0o6755 })
        await change(root)
        expect((await p.attr(file)).mode).toBe(0o6755)
        await change(p)
        expect((await p.attr(file)).mode).toBe(0o755)
      }
      await p.close(file)
      await p.close(source)
    })

    test('a set-gid directory hands its group down, and the bit to directories', async () => {
      const p = await fresh('set-gid directory')
      await p.set(p.dir, { gid: 77, mode: 0o2775 })
      expect(await p.attr(await p.put('file'))).toMatchObject({ gid: 77, mode: 0o644 })
      expect(await p.attr(await p.mkdir('dir'))).toMatchObject({ gid: 77, mode: 0o2755 })
    })

    test('statfs tells of space', async () => {
      const p = await fresh('statfs')
      const space = await p.vfs.statfs(ROOT_INO, p.caller)
      expect(space.blockSize).toBeGreaterThanOrEqual(512)
      expect(space.totalBytes).toBeGreaterThan(0)
      expect(space.freeBytes).toBeLessThanOrEqual(space.totalBytes)
      expect(space.availableBytes).toBeLessThanOrEqual(space.freeBytes)
      expect(space.filesFree).toBeGreaterThan(0)
      expect((await p.attr(ROOT_INO)).type).toBe('dir')
    })
  })

  describe('extended attributes', () => {
    test('are set, read, listed and removed; values and names are bytes', async () => {
      const p = await fresh('xattr')
      const file = await p.put('f')
      const set = (name: string, value: Buffer, flags = {}) =>
        p.vfs.setxattr(file, name, value, { ...SET, ...flags }, p.caller)
      const get = (name: string) => p.vfs.getxattr(file, name, p.caller)
      expect(await p.vfs.listxattr(file, p.caller)).toEqual([])
      await refused(get('user.a'), 'ENODATA')
      const value = Buffer.from([0, 255, 10, 0])
      await set('user.a', value)
      await set('user.\xff', Buffer.alloc(0))
      await set('trusted.big', Buffer.alloc(XATTR_VALUE_BYTES_MAX, 7))
      await set('security.x', Buffer.from('s'))
      expect(await get('user.a')).toEqual(value)
      expect(await get('user.\xff')).toEqual(Buffer.alloc(0))
      expect((await get('trusted.big')).length).toBe(XATTR_VALUE_BYTES_MAX)
      expect((await p.vfs.listxattr(file, p.caller)).sort()).toEqual(
        ['security.x', 'trusted.big', 'user.a', 'user.\xff'].sort(),
      )
      await refused(set('user.a', value, { create: true }), 'EEXIST')
      await refused(set('user.b', value, { replace: true }), 'ENODATA')
      await set('user.a', Buffer.from('new'), { replace: true })
      await set('user.b', Buffer.from('b'), { create: true })
      expect((await get('user.a')).toString()).toBe('new')
      expect((await p.attr(file)).hasXattr).toBe(true)
      for (const name of ['user.a', 'user.b', 'user.\xff', 'trusted.big', 'security.x'])
        await p.vfs.removexattr(file, name, p.caller)
      await refused(p.vfs.removexattr(file, 'user.a', p.caller), 'ENODATA')
      expect((await p.attr(file)).hasXattr).toBe(false)
      expect(await p.vfs.listxattr(file, p.caller)).toEqual([])
    })

    test('belong to directories and symlinks too', async () => {
      const p = await fresh('xattr of others')
      const link = await p.vfs.make(p.dir, 'l', { type: 'symlink', mode: 0o777, target: 'x' }, p.caller)
      for (const at of [p.dir, link.ino]) {
        await p.vfs.setxattr(at, 'trusted.t', Buffer.from('v'), SET, p.caller)
        expect((await p.vfs.getxattr(at, 'trusted.t', p.caller)).toString()).toBe('v')
      }
    })

    test("a program's capabilities end with a write, a truncation and a change of owner", async () => {
      const p = await fresh('capabilities')
      const file = await p.put('f', 'program')
      const set = () => p.vfs.setxattr(file, 'security.capability', Buffer.from('caps'), SET, p.caller)
      const gone = () => refused(p.vfs.getxattr(file, 'security.capability', p.caller), 'ENODATA')
      await set()
      await p.open(file)
      await p.vfs.write(file, 0, Buffer.from('y'), { append: false, killSuidGid: true }, p.caller)
      await p.close(file)
      await gone()
      await set()
      await p.set(file, { size: 1, killSuidGid: true })
      await gone()
      await set()
      await p.set(file, { uid: 12, killSuidGid: true })
      await gone()
    })
  })

  describe('access control lists', () => {
    test('an access ACL is the mode and the mode is the ACL', async () => {
      const p = await fresh('acl')
      const file = await p.put('f')
      const list = acl(['user', 7], ['namedUser', 6, 12], ['group', 5], ['mask', 4], ['other', 1])
      await p.vfs.setxattr(file, ACCESS, list, SET, p.caller)
      expect((await p.attr(file)).mode).toBe(0o741)
      expect(await p.vfs.getxattr(file, ACCESS, p.caller)).toEqual(list)
      await p.set(file, { mode: 0o670 })
      const after = acl(['user', 6], ['namedUser', 6, 12], ['group', 5], ['mask', 7], ['other', 0])
      expect(await p.vfs.getxattr(file, ACCESS, p.caller)).toEqual(after)
      await p.vfs.removexattr(file, ACCESS, p.caller)
      // There is always one to take away: the mode.
      await p.vfs.removexattr(file, ACCESS, p.caller)
      await refused(p.vfs.getxattr(file, ACCESS, p.caller), 'ENODATA')
    })

    test('an ACL that says no more than a mode is only a mode', async () => {
      const p = await fresh('minimal acl')
      const file = await p.put('f')
      await p.vfs.setxattr(file, ACCESS, acl(['user', 6], ['group', 0], ['other', 4]), SET, p.caller)
      expect((await p.attr(file)).mode).toBe(0o604)
      await refused(p.vfs.getxattr(file, ACCESS, p.caller), 'ENODATA')
    })

    test('a default ACL is inherited in place of the umask, by files as access, by directories as both', async () => {
      const p = await fresh('default acl')
      const list = acl(['user', 7], ['namedGroup', 7, 31], ['group', 5], ['mask', 7], ['other', 0])
      // Rows must be sorted by tag.
      const sorted = acl(['user', 7], ['group', 5], ['namedGroup', 7, 31], ['mask', 7], ['other', 0])
      await p.vfs.setxattr(p.dir, DEFAULT, list.equals(sorted) ? list : sorted, SET, p.caller)
      const file = await p.as({ umask: 0o077 }).put('file', '', 0o664)
      expect((await p.attr(file)).mode).toBe(0o660)
      const inherited = acl(['user', 6], ['group', 5], ['namedGroup', 7, 31], ['mask', 6], ['other', 0])
      expect(await p.vfs.getxattr(file, ACCESS, p.caller)).toEqual(inherited)
      await refused(p.vfs.getxattr(file, DEFAULT, p.caller), 'ENODATA')
      const dir = await p.mkdir('dir', 0o777)
      expect(await p.vfs.getxattr(dir, DEFAULT, p.caller)).toEqual(sorted)
      expect(await p.vfs.getxattr(dir, ACCESS, p.caller)).toEqual(sorted)
      expect((await p.attr(dir)).mode).toBe(0o770)
    })

    test('what is no ACL is refused', async () => {
      const p = await fresh('bad acl')
      const file = await p.put('f')
      const bad = [
        Buffer.from('junk'),
        acl(['user', 7]),
        acl(['user', 7], ['namedUser', 1, 3], ['group', 1], ['other', 1]),
      ]
      for (const value of bad) await refused(p.vfs.setxattr(file, ACCESS, value, SET, p.caller), 'EINVAL')
    })
  })
}
