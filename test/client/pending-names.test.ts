import { describe, expect, test } from 'vitest'
import type { Attr } from '../../src/base/attr.ts'
import type { Ino } from '../../src/base/ids.ts'
import { PendingNames } from '../../src/client/core/pending-names.ts'
import fc from '../support/properties.ts'

const AT = { sec: 1000, nsec: 5 }
const LATER = { sec: 2000, nsec: 0 }
const FILE = { type: 'file', mode: 0o640, uid: 1, gid: 2, rdev: 0, target: '', opened: true } as const

const directory = (ino: number, more: Partial<Attr> = {}): Attr => ({
  ino: ino as Ino,
  type: 'dir',
  mode: 0o755,
  nlink: 2,
  uid: 0,
  gid: 7,
  rdev: 0,
  size: 0,
  used: 0,
  atime: AT,
  mtime: AT,
  ctime: AT,
  hasXattr: false,
  version: 4,
  ...more,
})

describe('names that are not told yet', () => {
  test('show the new inode and its directory as the master will have them', () => {
    const pending = new PendingNames()
    const made = pending.make(directory(1), 'f', 10 as Ino, FILE, LATER)
    expect(made).toMatchObject({ ino: 10, mode: 0o640, nlink: 1, uid: 1, gid: 2, ctime: LATER, version: 1 })
    expect(pending.attr(1 as Ino)).toMatchObject({ nlink: 2, size: 32, mtime: LATER, version: 5 })
    const sub = pending.make(pending.attr(1 as Ino)!, 'd', 11 as Ino, { ...FILE, type: 'dir' }, LATER)
    expect(sub).toMatchObject({ nlink: 2, type: 'dir' })
    expect(pending.attr(1 as Ino)).toMatchObject({ nlink: 3, size: 64, version: 6 })
    pending.remove('rmdir', pending.attr(1 as Ino)!, 'd', 11 as Ino, LATER)
    expect(pending.attr(1 as Ino)).toMatchObject({ nlink: 2, size: 32, version: 7 })
  })

  test("never turn a directory's times back, and pass on the group of a set-gid directory", () => {
    const pending = new PendingNames()
    const dir = directory(1, { mode: 0o2755, ctime: LATER, mtime: LATER })
    expect(pending.make(dir, 'd', 10 as Ino, { ...FILE, type: 'dir' }, AT)).toMatchObject({
      gid: 7,
      mode: 0o2640,
      ctime: LATER,
    })
    expect(pending.attr(1 as Ino)!.mtime).toEqual(LATER)
    expect(pending.oldest(1)[0]!.time).toEqual(LATER)
  })

  test('show attributes of a directory that were changed here, between its changes of names', () => {
    const pending = new PendingNames()
    pending.make(directory(1), 'f', 10 as Ino, FILE, LATER)
    const mtime = { sec: 7, nsec: 8 }
    const attr = pending.setattr(pending.attr(1 as Ino)!, { mtime, mode: 0o2700, killSuidGid: true }, LATER)
    expect(attr).toMatchObject({ mode: 0o2700, mtime, ctime: LATER, size: 32, version: 6 })
    pending.done()
    expect(pending.attr(1 as Ino)).toEqual(attr)
    expect(pending.parents()).toEqual([1])
    pending.done()
    expect(pending.involves(1 as Ino)).toBe(false)
  })

  test('tell which directories the master knows of them', () => {
    const pending = new PendingNames()
    const sub = pending.make(directory(1), 'd', 10 as Ino, { ...FILE, type: 'dir' }, LATER)
    pending.make(sub, 'f', 11 as Ino, FILE, LATER)
    expect(pending.parents()).toEqual([1])
    pending.done()
    expect(pending.parents()).toEqual([10])
    expect(pending.involves(1 as Ino)).toBe(false)
    expect(pending.unborn(10 as Ino)).toBe(false)
    expect(pending.unborn(11 as Ino)).toBe(true)
  })

  test('show the latest of several changes of one name until the last is told, then nothing', () => {
    const kinds = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.boolean()), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(kinds, fc.infiniteStream(fc.boolean()), (steps, when) => {
        const pending = new PendingNames()
        /** What is there by name, and the changes not told yet, oldest first. */
        const there = new Map<string, number>()
        const untold: string[] = []
        let next = 100
        let dir = directory(1)
        for (const [which, tell] of steps) {
          const name = `n${which}`
          const ino = there.get(name)
          dir = pending.attr(1 as Ino) ?? dir
          if (ino === undefined) {
            pending.make(dir, name, next as Ino, FILE, LATER)
            there.set(name, next++)
          } else {
            pending.remove('unlink', dir, name, ino as Ino, LATER)
            there.delete(name)
          }
          untold.push(name)
          dir = pending.attr(1 as Ino)!
          if (tell && when.next().value) {
            pending.done()
            untold.shift()
          }
          for (const each of ['n0', 'n1', 'n2', 'n3'])
            expect(pending.name(1 as Ino, each)).toBe(untold.includes(each) ? (there.get(each) ?? 0) : undefined)
          expect(pending.size).toBe(untold.length)
        }
        expect(dir.size).toBe(there.size * 32)
        while (pending.size > 0) pending.done()
        expect(pending.involves(1 as Ino)).toBe(false)
        for (const ino of there.values()) expect(pending.involves(ino as Ino)).toBe(false)
      }),
    )
  })
})
