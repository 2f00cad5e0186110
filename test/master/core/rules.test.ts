/*
 * The rules that the naive model of the random test does not know: times, set-id bits, ACLs, limits, locks, what is kept
 * after the last name is gone, sessions, replies, chunks and their copies.
 */

import { describe, expect, it } from 'vitest'
import type { ChunkId, DiskId, Ino, SessionId } from '../../../src/base/ids.ts'
import { LINK_MAX } from '../../../src/base/limits.ts'
import {
  ACL_ACCESS,
  ACL_DEFAULT,
  type AclEntry,
  chmodAcl,
  inheritAcl,
  modeOfAcl,
  parseAcl,
  serializeAcl,
} from '../../../src/master/core/acl.ts'
import { REPLIES_MAX } from '../../../src/master/core/apply.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command, CommandOf } from '../../../src/master/core/commands.ts'
import { REMOVED_AT_ONCE } from '../../../src/master/core/disks.ts'
import { conflict, deadlocks, granted, type LockWish } from '../../../src/master/core/locks.ts'
import { pathOf } from '../../../src/master/core/paths.ts'
import type { HeldLock } from '../../../src/master/core/records.ts'
import { State } from '../../../src/master/core/state.ts'
import { MemoryStore } from '../../../src/master/memory-store.ts'
import { Bench, create, DAY_MS, make, rename, SETTINGS, unlink } from './support.ts'

const setxattr = (ino: Ino, name: string, value: Buffer, more: object = {}): Command =>
  ({ kind: 'setxattr', ino, name, value, create: false, replace: false, killSgid: false, ...more }) as Command
const NO = 0xffff_ffff
const acl = (...entries: [number, number, number?][]): AclEntry[] =>
  entries.map(([tag, perm, id = NO]) => ({ tag, perm, id }))

/** Counts what a command writes. */
class CountingStore extends MemoryStore {
  changes = 0
  override put(key: string, value: Uint8Array): void {
    this.changes++
    super.put(key, value)
  }
  override delete(key: string): boolean {
    this.changes++
    return super.delete(key)
  }
}

describe('names', () => {
  it('change the times of the directories they come to and go from, and the ctime of what is renamed', () => {
    const b = new Bench()
    const from = b.dir('from')
    const to = b.dir('to')
    const file = b.file('f', from)
    const before = b.state.attr(file)!
    b.ok(rename(from, 'f', to, 'g'))
    const now = { sec: b.sec, nsec: 5 }
    for (const dir of [from, to]) {
      expect(b.state.attr(dir)!.mtime).toEqual(now)
      expect(b.state.attr(dir)!.ctime).toEqual(now)
    }
    expect(b.state.attr(file)).toMatchObject({ mtime: before.mtime, ctime: now })
  })

  it('of moved directories lead to the right paths', () => {
    const b = new Bench()
    const a = b.dir('a')
    const c = b.dir('c', b.dir('b', a))
    const file = b.file('f', c)
    b.ok(rename(a, 'b', b.root, 'x'))
    expect(pathOf(b.state, c)).toBe('/x/c')
    expect(pathOf(b.state, file)).toBe('/x/c/f')
    expect(b.state.attr(a)!.nlink).toBe(2)
  })

  it('are refused when they cannot be names, and "." and ".." as Linux does', () => {
    const b = new Bench()
    for (const name of ['', '.', '..', 'a/b', 'a\0'])
      expect(b.errno(make(b.next(), b.root, name, 'dir'))).toBe('EINVAL')
    expect(b.errno(make(b.next(), b.root, 'n'.repeat(256), 'dir'))).toBe('ENAMETOOLONG')
    expect(b.errno({ kind: 'rmdir', parent: b.root, name: '.' })).toBe('EINVAL')
    expect(b.errno({ kind: 'rmdir', parent: b.root, name: '..' })).toBe('ENOTEMPTY')
  })

  it('cannot be made in a directory that has been removed', () => {
    const b = new Bench()
    const dir = b.dir('d')
    b.ok({ kind: 'rmdir', parent: b.root, name: 'd' })
    expect(b.errno(create(b.next(), dir, 'f'))).toBe('ESTALE')
  })

  it('of one file are limited in number', () => {
    const b = new Bench()
    const file = b.file('f')
    const record = b.state.inode(file)!
    b.store.transaction(() => {
      b.state.setInode(file, { ...record, attr: { ...record.attr, nlink: LINK_MAX } })
    })
    const { result } = b.apply({ kind: 'link', ino: file, newParent: b.root, newName: 'g' })
    expect(result).toMatchObject({ errno: 'EMLINK' })
  })

  it('keep their cookies while others come and go, so that a listing misses nothing and repeats nothing', () => {
    const b = new Bench()
    for (let i = 0; i < 200; i++) b.file(`f${i}`)
    const seen: string[] = []
    let cookie = 0
    for (let round = 0; ; round++) {
      const { entries, end } = b.state.readdirPage(b.root, cookie, 7)
      for (const entry of entries) {
        expect(entry.cookie).toBeGreaterThanOrEqual(3)
        if (entry.name.startsWith('f')) seen.push(entry.name)
        cookie = entry.cookie
      }
      if (end) break
      b.apply(create(b.next(), b.root, `new${round}`))
      if (entries[0]!.name.startsWith('f')) b.apply(unlink(b.root, entries[0]!.name))
    }
    expect(seen.sort()).toEqual(Array.from({ length: 200 }, (_, i) => `f${i}`).sort())
  })
})

describe('attributes', () => {
  it('of new things follow a set-gid directory', () => {
    const b = new Bench()
    const dir = b.dir('d', b.root, 0o2775)
    expect(b.ok(make(b.next(), dir, 'sub', 'dir')).attr).toMatchObject({ gid: 8, mode: 0o2755 })
    b.ok({ kind: 'setattr', ino: dir, change: { gid: 77 } })
    expect(b.ok(create(b.next(), dir, 'f')).attr).toMatchObject({ gid: 77, mode: 0o644 })
    expect(b.ok(make(b.next(), dir, 'sub2', 'dir')).attr).toMatchObject({ gid: 77, mode: 0o2755 })
  })

  it('lose set-id bits where the door says so, but never on directories', () => {
    const b = new Bench()
    const file = b.file('f')
    const dir = b.dir('d', b.root, 0o2775)
    b.ok({ kind: 'setattr', ino: file, change: { mode: 0o6755 } })
    expect(b.ok({ kind: 'setattr', ino: file, change: { uid: 5, killSuidGid: true } }).mode).toBe(0o755)
    const grow = (killSuidGid: boolean | undefined) =>
      b.ok({ kind: 'fallocate', ino: file, what: 'reserve', keepSize: false, offset: 0, length: 10, killSuidGid }).mode
    const empty = (killSuidGid: boolean | undefined) =>
      b.ok({ ...(create(999 as Ino, 1 as Ino, 'f') as CommandOf<'create'>), truncate: true, killSuidGid }).attr.mode
    for (const change of [grow, empty]) {
      b.ok({ kind: 'setattr', ino: file, change: { mode: 0o6755 } })
      expect(change(undefined)).toBe(0o6755)
      expect(change(true)).toBe(0o755)
    }
    expect(b.ok({ kind: 'setattr', ino: dir, change: { uid: 5, killSuidGid: true } }).mode).toBe(0o2775)
  })

  it('of a symlink show its target as size; a directory has no size to set', () => {
    const b = new Bench()
    expect(b.ok(make(b.next(), b.root, 'l', 'symlink', 0o777, { target: 'abc' })).attr).toMatchObject({
      size: 3,
      mode: 0o777,
    })
    expect(b.errno({ kind: 'setattr', ino: b.dir('d'), change: { size: 0 } })).toBe('EISDIR')
  })

  it('beyond the usual are kept within the limits of Linux', () => {
    const b = new Bench()
    const file = b.file('f')
    expect(b.ok(setxattr(file, 'user.a', Buffer.from('1'))).hasXattr).toBe(true)
    expect(b.errno(setxattr(file, 'user.a', Buffer.from('1'), { create: true }))).toBe('EEXIST')
    expect(b.errno(setxattr(file, 'user.b', Buffer.from('1'), { replace: true }))).toBe('ENODATA')
    expect(b.errno(setxattr(file, 'user.', Buffer.from('1')))).toBe('EINVAL')
    expect(b.errno(setxattr(file, 'system.other', Buffer.from('1')))).toBe('EOPNOTSUPP')
    const link = b.ok(make(b.next(), b.root, 'l', 'symlink', 0o777, { target: 'abc' })).attr.ino
    expect(b.errno(setxattr(link, 'user.a', Buffer.from('1')))).toBe('EPERM')
    for (let i = 0; i < 257; i++) b.apply(setxattr(file, `trusted.${String(i).padStart(240, '0')}`, Buffer.alloc(0)))
    expect(b.errno(setxattr(file, `trusted.${'9'.repeat(247)}`, Buffer.alloc(0)))).toBe('carried out')
    for (let i = 0; i < 10; i++) b.apply(setxattr(file, `trusted.x${i}${'8'.repeat(245)}`, Buffer.alloc(0)))
    expect(b.errno(setxattr(file, `trusted.${'7'.repeat(247)}`, Buffer.alloc(0)))).toBe('ENOSPC')
    expect(b.ok({ kind: 'removexattr', ino: file, name: 'user.a' }).hasXattr).toBe(true)
    expect(b.errno({ kind: 'removexattr', ino: file, name: 'user.a' })).toBe('ENODATA')
  })
})

describe('access control lists', () => {
  const full = acl([1, 7], [2, 5, 1000], [4, 5], [0x10, 7], [0x20, 0])

  it('are read and written in the form of Linux, and refused when they are none', () => {
    const value = Buffer.from(
      '0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff20000000ffffffff',
      'hex',
    )
    expect(parseAcl(value)).toEqual(full)
    expect(serializeAcl(full).equals(value)).toBe(true)
    expect(parseAcl(value.subarray(0, value.length - 1))).toBeUndefined()
    expect(parseAcl(Buffer.from('01000000', 'hex'))).toBeUndefined()
    expect(parseAcl(Buffer.from('02000000', 'hex'))).toBe('empty')
    expect(parseAcl(serializeAcl(acl([1, 7], [2, 5, 1000], [4, 5], [0x20, 0])))).toBeUndefined()
    expect(parseAcl(serializeAcl(acl([4, 5], [1, 7], [0x20, 0])))).toBeUndefined()
  })

  it('show their mask as the group of the mode, and follow chmod', () => {
    expect(modeOfAcl(full)).toBe(0o770)
    expect(chmodAcl(full, 0o640).map((e) => e.perm)).toEqual([6, 5, 5, 4, 0])
    expect(inheritAcl(full, 0o664)).toEqual({
      mode: 0o660,
      acl: acl([1, 6], [2, 5, 1000], [4, 5], [0x10, 6], [0x20, 0]),
    })
    expect(inheritAcl(acl([1, 7], [4, 5], [0x20, 5]), 0o666)).toEqual({ mode: 0o644, acl: undefined })
  })

  it('change the mode, are not stored when the mode says it all, and are inherited instead of the umask', () => {
    const b = new Bench()
    const file = b.file('f')
    expect(b.ok(setxattr(file, ACL_ACCESS, serializeAcl(full))).mode).toBe(0o770)
    b.ok({ kind: 'setattr', ino: file, change: { mode: 0o640 } })
    expect(parseAcl(b.state.xattr(file, ACL_ACCESS)!)).toEqual(chmodAcl(full, 0o640))
    expect(b.ok(setxattr(file, ACL_ACCESS, serializeAcl(acl([1, 6], [4, 4], [0x20, 0])))).hasXattr).toBe(false)
    expect(b.errno(setxattr(file, ACL_DEFAULT, serializeAcl(full)))).toBe('EACCES')
    const dir = b.dir('d')
    b.ok(setxattr(dir, ACL_DEFAULT, serializeAcl(full)))
    const { attr } = b.ok(create(b.next(), dir, 'f', { umask: 0o777, mode: 0o666 }))
    expect(attr).toMatchObject({ mode: 0o660, hasXattr: true })
    const sub = b.ok(make(b.next(), dir, 'sub', 'dir', 0o755)).attr.ino
    expect(parseAcl(b.state.xattr(sub, ACL_DEFAULT)!)).toEqual(full)
  })
})

describe('locks', () => {
  const wish = (owner: string, kind: LockWish['kind'], start: number, end: number): LockWish => ({
    session: 1 as SessionId,
    family: 'posix',
    owner,
    kind,
    start,
    end,
    pid: 1,
  })
  const short = (locks: HeldLock[]) => locks.map((l) => `${l.owner}${l.kind[0]}${l.start}-${l.end}`)

  it('of one owner split, shrink, change and join', () => {
    let held = granted([], wish('a', 'read', 0, 99))
    held = granted(held, wish('a', 'write', 40, 59))
    expect(short(held)).toEqual(['ar0-39', 'aw40-59', 'ar60-99'])
    held = granted(held, wish('a', 'unlock', 50, 69))
    expect(short(held)).toEqual(['ar0-39', 'aw40-49', 'ar70-99'])
    expect(short(granted(held, wish('a', 'read', 40, 69)))).toEqual(['ar0-99'])
  })

  it('conflict with those of others where one of them writes', () => {
    const held = granted([], wish('a', 'read', 0, 9))
    expect(conflict(held, wish('b', 'read', 0, 9))).toBeUndefined()
    expect(conflict(held, wish('b', 'write', 9, 9))?.owner).toBe('a')
    expect(conflict(held, wish('b', 'write', 10, 12))).toBeUndefined()
    expect(conflict(held, wish('a', 'write', 0, 9))).toBeUndefined()
    expect(conflict(held, { ...wish('b', 'write', 0, 9), family: 'flock' })).toBeUndefined()
  })

  it('that would wait in a circle are recognized, over any number of owners', () => {
    const held = ['a', 'b', 'c'].flatMap((owner, i) => granted([], wish(owner, 'write', i, i)))
    const waiting = [
      { ino: 1 as Ino, wish: wish('a', 'write', 1, 1) },
      { ino: 1 as Ino, wish: wish('b', 'write', 2, 2) },
    ]
    expect(deadlocks(1 as Ino, wish('c', 'write', 0, 0), waiting, () => held)).toBe(true)
    expect(deadlocks(1 as Ino, wish('d', 'write', 0, 0), waiting, () => held)).toBe(false)
  })

  it('are given back with their session, and whoever waits is told', () => {
    const b = new Bench()
    const one = b.session('one')
    const two = b.session('two')
    const file = b.file('f')
    const lock = { family: 'posix', kind: 'write', owner: 'a', start: 0, end: 9, pid: 1 } as const
    b.ok({ kind: 'setLock', ino: file, lock }, one)
    expect(b.errno({ kind: 'setLock', ino: file, lock }, two)).toBe('EAGAIN')
    const { touched } = b.apply({ kind: 'sessionEnd', session: one as SessionId, reason: 'expired' })
    expect(touched.unlocked).toEqual([file])
    expect(b.errno({ kind: 'setLock', ino: file, lock }, two)).toBe('carried out')
  })
})

describe('what has lost its last name', () => {
  it('is in the trash with its path until its time is over, and can come back with its directories', () => {
    const b = new Bench()
    const dir = b.dir('b', b.dir('a'))
    const file = b.file('f', dir)
    b.ok(unlink(dir, 'f'))
    expect(b.state.attr(file)).toBeUndefined()
    expect(b.state.trash.of(b.state.inode(file))).toMatchObject({ path: '/a/b/f' })
    b.ok({ kind: 'rmdir', parent: b.state.lookup(b.root, 'a')!.ino, name: 'b' })
    b.ok({ kind: 'rmdir', parent: b.root, name: 'a' })
    expect(b.errno({ kind: 'trashRestore', ino: file, path: undefined, newInos: undefined, name: undefined })).toBe(
      'ENOENT',
    )
    const newInos = [b.next(), (b.next() + 1) as Ino]
    expect(b.ok({ kind: 'trashRestore', ino: file, path: undefined, newInos, name: undefined })).toEqual({
      path: '/a/b/f',
    })
    expect(pathOf(b.state, file)).toBe('/a/b/f')
    b.ok(unlink(newInos[1]!, 'f'))
    b.sec += DAY_MS / 1000 - 10
    b.ok({ kind: 'trashExpired', limit: 10 })
    expect(b.state.inode(file)).toBeDefined()
    b.sec += 20
    b.ok({ kind: 'trashExpired', limit: 10 })
    expect(b.state.inode(file)).toBeUndefined()
  })

  it('can come back under another name, where it was or where that used to be', () => {
    const b = new Bench()
    const dir = b.dir('a')
    const file = b.file('f', dir)
    const restore = (name: string, newInos?: Ino[]) =>
      ({ kind: 'trashRestore', ino: file, path: undefined, newInos, name }) as const
    b.ok(unlink(dir, 'f'))
    b.file('f', dir)
    expect(b.errno(restore('f'))).toBe('EEXIST')
    expect(b.errno(restore('a/g'))).toBe('EINVAL')
    b.ok(rename(b.root, 'a', b.root, 'moved'))
    expect(b.ok(restore('g'))).toEqual({ path: '/moved/g' })
    b.ok(unlink(dir, 'g'))
    b.ok(unlink(dir, 'f'))
    b.ok({ kind: 'rmdir', parent: b.root, name: 'moved' })
    expect(b.ok(restore('h', [b.next()]))).toEqual({ path: '/moved/h' })
  })

  it('is kept as long as is said of it, for many at once and back to the setting', () => {
    const b = new Bench()
    const dir = b.dir('a')
    const file = b.file('f', dir)
    const link = b.next()
    b.ok(make(link, dir, 'l', 'symlink', 0o777, { target: 'x' }))
    const retentionOf = (retentionMs: number | undefined, paged: boolean) => ({
      kind: 'retentionOf' as const,
      retentionMs,
      inos: [dir, file, link, 99_999 as Ino],
      paged,
      cookie: 7,
    })
    expect(b.ok(retentionOf(1000, true))).toEqual({ changed: 2, left: 0, directories: [dir], cookie: 7 })
    expect(b.ok(retentionOf(1000, false))).toEqual({ changed: 0, left: 2, directories: [], cookie: 7 })
    const heir = b.file('heir', dir)
    b.ok(unlink(dir, 'heir'))
    const until = b.state.inode(heir)!.trashedUntil!
    // Up to the next whole second.
    expect(until - b.state.trash.of(b.state.inode(heir))!.deletedSec).toBeLessThanOrEqual(2)
    b.ok(retentionOf(undefined, false))
    expect([dir, file].map((ino) => b.state.inode(ino)?.retentionMs)).toEqual([undefined, undefined])
  })

  it('lives on while a session holds it open, and no longer', () => {
    const b = new Bench(undefined, { ...SETTINGS, trashRetentionMs: 0 })
    b.disks()
    const session = b.session()
    const file = b.file('f')
    const chunk = b.chunk(session)
    b.ok(unlink(b.root, 'f', [session]))
    expect(b.state.attr(file)).toMatchObject({ nlink: 0 })
    expect(b.write(session, file, chunk, 0, 10, 0).result).toMatchObject({ ok: { files: [{ errno: 0 }] } })
    expect(b.errno({ kind: 'link', ino: file, newParent: b.root, newName: 'again' })).toBe('ENOENT')
    b.ok({ kind: 'released', session: session as SessionId, inos: [file] })
    expect(b.state.inode(file)).toBeUndefined()
    expect(b.state.chunk(chunk as ChunkId)?.live).toBe(0)
  })

  it('is freed in steps when it has very many extents', () => {
    const b = new Bench(undefined, { ...SETTINGS, trashRetentionMs: 0 })
    b.disks()
    const session = b.session()
    const file = b.file('f')
    const chunk = b.chunk(session)
    const extents = Array.from({ length: 9000 }, (_, i) => ({ offset: i * 10, length: 1, chunk, chunkOffset: i * 2 }))
    b.apply({ kind: 'commit', files: [{ ino: file, extents }] } as unknown as Command, session)
    b.ok(unlink(b.root, 'f'))
    expect(b.state.counters().doomed).toBe(1)
    expect(b.state.attr(file)).toBeUndefined()
    b.ok({ kind: 'doomedFreed' })
    expect(b.state.counters().doomed).toBe(1)
    b.ok({ kind: 'doomedFreed' })
    expect(b.state.counters()).toMatchObject({ doomed: 0, logicalBytes: 0 })
  })
})

describe('the changelog', () => {
  it('keeps as much as it is told to, and comes back into smaller bounds with the next commands', () => {
    const b = new Bench()
    const entries = (): number => b.state.counters().index - b.state.counters().firstIndex + 1
    for (let i = 0; i < 100; i++) b.file(`f${i}`)
    expect(entries()).toBe(100)
    b.state = new State(b.store, { entries: 10, bytes: 1 << 20 })
    for (let i = 100; i < 140; i++) b.file(`f${i}`)
    expect(entries()).toBe(10)
    const bytes = Math.ceil(b.state.counters().changelogBytes / 10)
    b.state = new State(b.store, { entries: 100, bytes: bytes * 5 })
    for (let i = 140; i < 160; i++) b.file(`f${i}`)
    expect(b.state.counters().changelogBytes).toBeLessThanOrEqual(bytes * 5)
    expect(entries()).toBeGreaterThan(3)
    expect(b.state.changelog(1, 1000).at(0)?.envelope.index).toBe(b.state.counters().firstIndex)
  })
})

describe('requests', () => {
  it('that are repeated are answered and not carried out again, until their answer is acknowledged', () => {
    const b = new Bench()
    const session = b.session()
    const first = b.apply(create(b.next(), b.root, 'f', { exclusive: true }), session, 1, 0)
    const again = b.apply(create(b.next(), b.root, 'f', { exclusive: true }), session, 1, 0)
    expect(again.result).toEqual(first.result)
    expect(again.touched.inodes).toEqual([])
    b.apply(create(b.next(), b.root, 'g'), session, 2, 2)
    expect(b.state.reply(session as SessionId, 1)).toBeUndefined()
    expect(b.apply(unlink(b.root, 'f'), session, 1, 0).result).toMatchObject({ errno: 'EINVAL' })
    expect(b.apply(unlink(b.root, 'f'), session, REPLIES_MAX + 2, 2).result).toMatchObject({ errno: 'EINVAL' })
    expect(b.apply(unlink(b.root, 'f'), 99, 1, 0).result).toMatchObject({ errno: 'ESTALE' })
    expect(check(b.state)).toEqual([])
  })
})

describe('chunks', () => {
  const attention = (b: Bench) => b.state.chunkIndex.attention(0, 100)
  const prepared = () => {
    const b = new Bench()
    b.disks()
    const session = b.session()
    const file = b.file('f')
    const chunk = b.chunk(session) as ChunkId
    b.write(session, file, chunk, 0, 100, 0)
    return { b, session, file, chunk }
  }

  it('are written by one session only, and only as far as they go', () => {
    const { b, session, file, chunk } = prepared()
    const other = b.session('other')
    expect(b.write(other, file, chunk, 0, 10, 0).result).toMatchObject({ ok: { files: [{ errno: 5 }] } })
    b.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [] }, session)
    expect(b.write(session, file, chunk, 0, 101, 0).result).toMatchObject({ ok: { files: [{ errno: 5 }] } })
    expect(b.write(session, file, chunk, 200, 10, 90).result).toMatchObject({ ok: { files: [{ errno: 0 }] } })
    expect(b.errno({ kind: 'chunkSeal', chunk, length: 50, failed: [] }, session)).toBe('EINVAL')
  })

  it('are sealed at the committed length when their session ends, and confirmed copy by copy', () => {
    const { b, session, chunk } = prepared()
    b.ok({ kind: 'sessionEnd', session: session as SessionId, reason: 'expired' })
    expect(b.state.chunk(chunk)).toMatchObject({ state: 'sealing', length: 100 })
    expect(attention(b)).toEqual([chunk])
    b.ok({ kind: 'chunkSealed', chunk, disks: [1 as DiskId] })
    expect(b.state.chunk(chunk)).toMatchObject({ state: 'sealed', unsealed: [2] })
    expect(b.errno({ kind: 'copyDropped', chunk, disk: 1 as DiskId, reason: 'over' })).toBe('EBUSY')
    b.ok({ kind: 'copyAdded', chunk, disk: 2 as DiskId })
    expect(attention(b)).toEqual([])
    b.ok({ kind: 'copyAdded', chunk, disk: 3 as DiskId })
    expect(b.state.counters()).toMatchObject({ over: 1, safe: 0 })
    b.ok({ kind: 'copyDropped', chunk, disk: 1 as DiskId, reason: 'over' })
    expect(b.state.counters()).toMatchObject({ over: 0, safe: 1 })
  })

  it('that returning disks report are counted when whole, and given up when nobody needs them', () => {
    const { b, session, chunk } = prepared()
    b.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [2 as DiskId] }, session)
    b.ok({ kind: 'chunkSealed', chunk, disks: [1 as DiskId] })
    expect(b.state.counters().endangered).toBe(1)
    const report = (disk: number, state: string, length: number, more: object = {}): Command =>
      ({
        kind: 'inventory',
        disk,
        full: false,
        first: false,
        last: false,
        seq: 7,
        entries: [{ chunk, state, length }],
        ...more,
      }) as unknown as Command
    expect(b.ok(report(2, 'open', 50))).toEqual({ unwanted: [chunk] })
    expect(b.ok(report(2, 'sealed', 100))).toEqual({ unwanted: [] })
    expect(b.state.counters().safe).toBe(1)
    expect(b.ok(report(3, 'sealed', 100, { entries: [{ chunk: 99, state: 'sealed', length: 1 }] }))).toEqual({
      unwanted: [99],
    })
    b.ok(report(2, 'gone', 0))
    expect(b.state.counters().endangered).toBe(1)
    // The last copy is kept even when it is damaged, but known to be gone when it is gone.
    b.ok(report(1, 'damaged', 0))
    expect(b.state.counters().endangered).toBe(1)
    expect(b.errno({ kind: 'copyDropped', chunk, disk: 1 as DiskId, reason: 'lost' })).toBe('EBUSY')
    // Nor does another one that counts make a damaged or short one superfluous: it may be away.
    b.ok({ kind: 'copyAdded', chunk, disk: 2 as DiskId })
    expect(b.ok(report(1, 'damaged', 0))).toEqual({ unwanted: [] })
    expect(b.ok(report(1, 'sealed', 50))).toEqual({ unwanted: [] })
    expect(b.state.counters().safe).toBe(1)
    b.ok(report(2, 'gone', 0))
    b.ok(report(1, '', 0, { full: true, first: true, last: true, entries: [] }))
    expect(b.state.counters()).toMatchObject({ lost: 1, endangered: 0 })
  })

  it('without a live byte are dead, and forgotten unless something refers to them again', () => {
    const { b, session, file, chunk } = prepared()
    b.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [] }, session)
    b.ok({ kind: 'chunkSealed', chunk, disks: [1, 2] as DiskId[] })
    b.ok({ kind: 'setattr', ino: file, change: { size: 0 } })
    expect(b.state.chunkIndex.deadBefore(b.sec + 1, 10)).toEqual([chunk])
    b.write(session, file, chunk, 0, 40, 0)
    expect(b.state.chunkIndex.deadBefore(b.sec + 1, 10)).toEqual([])
    expect(b.state.chunkIndex.sparse(0, 10)).toEqual([chunk])
    b.ok({ kind: 'chunksForgotten', chunks: [chunk] })
    expect(b.state.chunk(chunk)).toBeDefined()
    b.ok({ kind: 'setattr', ino: file, change: { size: 0 } })
    const { touched } = b.apply({ kind: 'chunksForgotten', chunks: [chunk] })
    expect(touched.unwanted).toEqual([1, 2].map((disk) => ({ disk, chunk })))
    expect(check(b.state)).toEqual([])
  })

  it('learn a changed number of copies step by step', () => {
    const { b, session, chunk } = prepared()
    b.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [] }, session)
    b.ok({ kind: 'chunkSealed', chunk, disks: [1, 2] as DiskId[] })
    b.ok({
      kind: 'settingsSet',
      copies: 3,
      graceMs: undefined,
      trashRetentionMs: undefined,
      sessionTimeoutMs: undefined,
      backupLabels: undefined,
      moving: undefined,
    })
    while (b.state.counters().copiesToldTo !== undefined) b.ok({ kind: 'copiesTold', limit: 1 })
    expect(b.state.counters().under).toBe(1)
    expect(attention(b)).toEqual([chunk])
  })

  it('are taken off a disk that is removed in bounded steps, which go on after a crash', () => {
    const store = new CountingStore()
    const b = new Bench(store)
    b.disks()
    const session = b.session()
    const first = b.chunk(session) as ChunkId
    for (let i = 1; i < 3_000; i += 50) {
      const chunks = Array.from({ length: 50 }, (_, j) => ({ chunk: first + i + j, disks: [1, 2] }))
      b.apply({ kind: 'chunkOpen', chunks, copies: 2 } as unknown as Command, session)
    }
    const held = (): number => b.state.disk(1 as DiskId)?.chunks ?? 0
    const before = held()
    expect(before).toBeGreaterThan(2_000)
    store.changes = 0
    b.ok({ kind: 'diskRemove', disk: 1 as DiskId, force: false })
    for (let steps = 0; b.state.disk(1 as DiskId) !== undefined; steps++) {
      expect(store.changes).toBeLessThan(REMOVED_AT_ONCE * 4)
      expect(held()).toBe(before - (steps + 1) * REMOVED_AT_ONCE)
      expect(b.errno({ kind: 'copyAdded', chunk: first, disk: 1 as DiskId })).toBe('ENOENT')
      b.state = new State(store)
      store.changes = 0
      b.ok({ kind: 'diskLeft', disk: 1 as DiskId, limit: REMOVED_AT_ONCE })
    }
    expect(b.state.chunkIndex.ofDisk(1 as DiskId, 0, 10)).toEqual([])
    expect(b.state.chunk(first)?.disks).toEqual([2])
  })

  it('keep a disk that is to be removed when one becomes the only copy meanwhile', () => {
    const b = new Bench()
    b.disks()
    const session = b.session()
    const first = b.chunk(session) as ChunkId
    for (let i = 1; i < 1_500; i += 50) {
      const chunks = Array.from({ length: 50 }, (_, j) => ({ chunk: first + i + j, disks: [1, 2] }))
      b.apply({ kind: 'chunkOpen', chunks, copies: 2 } as unknown as Command, session)
    }
    b.ok({ kind: 'diskRemove', disk: 1 as DiskId, force: false })
    const last = b.state.chunkIndex.ofDisk(1 as DiskId, 0, 10).at(-1)!
    b.ok({ kind: 'copyDropped', chunk: last, disk: 2 as DiskId, reason: 'damaged' })
    const left = b.state.disk(1 as DiskId)!.chunks
    b.ok({ kind: 'diskLeft', disk: 1 as DiskId, limit: REMOVED_AT_ONCE })
    expect(b.state.disk(1 as DiskId)).toMatchObject({ leaving: undefined, chunks: left })
  })

  it('keep a disk from being removed while it holds the only copy', () => {
    const { b, session, chunk } = prepared()
    b.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [2 as DiskId] }, session)
    b.ok({ kind: 'chunkSealed', chunk, disks: [1 as DiskId] })
    expect(b.errno({ kind: 'diskRemove', disk: 1 as DiskId, force: false })).toBe('EBUSY')
    b.ok({ kind: 'diskRemove', disk: 1 as DiskId, force: true })
    expect(b.state.counters().lost).toBe(1)
  })
})
