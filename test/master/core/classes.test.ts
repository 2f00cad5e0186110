/* Storage classes in the state: making, changing and deleting them, who inherits them, and what their chunks hear. */

import { describe, expect, it } from 'vitest'
import type { Ino } from '../../../src/base/ids.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { encodeRecord, pack, patternsRecord } from '../../../src/master/core/records.ts'
import { transact } from '../../../src/master/core/state.ts'
import { key } from '../../../src/master/core/tables.ts'
import { printClass } from '../../../src/topology/storage-class.ts'
import { Bench, create, make, unlink } from './support.ts'

function textOf(b: Bench, name: string, rest: object = {}) {
  return { ...b.state.classes.record(1)!.text, name, keep: '2H', ...rest }
}
/** A new class; answers its number. */
const classMade = (b: Bench, name: string, rest: object = {}): number =>
  b.ok({ kind: 'classSet', classId: b.state.counters().nextClass ?? 2, text: textOf(b, name, rest) }).classId
const give = (classId: number, inos: number[], onlyFrom?: number): Command =>
  ({ kind: 'classOf', classId, onlyFrom, inos, paged: false, cookie: undefined }) as unknown as Command
const classOf = (b: Bench, ino: Ino): number | undefined => b.state.inode(ino)?.attr.classId
const counted = (b: Bench, classId: number): number | undefined => b.state.classes.record(classId)?.inodes
const patterned = (b: Bench, glob: string, classId: number, rest: object = {}): Command =>
  ({
    kind: 'patternSet',
    number: b.state.counters().nextClass ?? 2,
    pattern: { glob, uid: undefined, gid: undefined, priority: 0, classId, ...rest },
  }) as Command

describe('the default class', () => {
  it('is there without a record and keeps as many copies as the setting says', () => {
    const b = new Bench()
    expect(b.state.classes.numbers()).toEqual([1])
    expect(printClass(b.state.classes.meaning(1))).toBe('-K 2* default')
    b.ok({ kind: 'settingsSet', copies: 3 } as Command)
    expect(printClass(b.state.classes.meaning(0))).toBe('-K 3* default')
    expect(b.errno({ kind: 'classDelete', classId: 1 })).toBe('EINVAL')
  })
  it('can be given labels and another name, and taken them again', () => {
    const b = new Bench()
    expect(b.state.counters().nextClass).toBeUndefined()
    b.ok({ kind: 'classSet', classId: 1, text: textOf(b, 'normal') })
    // From now on there is something to look after.
    expect(b.state.counters().nextClass).toBe(2)
    expect(printClass(b.state.classes.meaning(1))).toBe('-K 2H normal')
    b.ok({ kind: 'classSet', classId: 1, text: textOf(b, 'normal', { keep: '' }) })
    expect(printClass(b.state.classes.meaning(1))).toBe('-K 2* normal')
  })
})

describe('a class', () => {
  it('has a number that is never given again', () => {
    const b = new Bench()
    const first = classMade(b, 'one')
    b.ok({ kind: 'classDelete', classId: first })
    expect(classMade(b, 'two')).toBe(first + 1)
    expect(b.errno({ kind: 'classSet', classId: first, text: textOf(b, 'three') })).toBe('ENOENT')
  })
  it('is refused when its text is wrong or its name is taken', () => {
    const b = new Bench()
    const one = classMade(b, 'one')
    const two = classMade(b, 'two')
    const set = (rest: object, classId = two) => b.errno({ kind: 'classSet', classId, text: textOf(b, 'two', rest) })
    expect(set({ name: 'one' })).toBe('EEXIST')
    expect(set({ name: 'default' })).toBe('EEXIST')
    expect(set({ keep: '' })).toBe('EINVAL')
    expect(set({ keep: '2H,' })).toBe('EINVAL')
    expect(set({ create: '@4+1' })).toBe('EINVAL')
    expect(set({ archiveBy: 'R' })).toBe('EINVAL')
    expect(b.errno({ kind: 'classRename', classId: one, name: 'two' })).toBe('EEXIST')
    expect(b.errno({ kind: 'classRename', classId: one, name: 'a/b' })).toBe('EINVAL')
    expect(b.errno({ kind: 'classRename', classId: 99, name: 'x' })).toBe('ENOENT')
    b.ok({ kind: 'classRename', classId: one, name: 'eins' })
    expect(printClass(b.state.classes.meaning(one))).toBe('-K 2H eins')
  })
  it('whose placing changes is told to all chunks; another name or description is not', () => {
    const b = new Bench()
    const one = classMade(b, 'one')
    b.ok({ kind: 'classSet', classId: one, text: textOf(b, 'uno', { description: 'for one' }) })
    expect(b.state.counters().copiesToldTo).toBeUndefined()
    b.ok({ kind: 'classSet', classId: one, text: textOf(b, 'uno', { archive: '@4+1,H' }) })
    expect(b.state.counters().copiesToldTo).toBe(0)
  })
  it('stays while anything has it: named, in the trash, held open, or given by a pattern', () => {
    const b = new Bench()
    const one = classMade(b, 'one')
    const file = b.file('f')
    b.ok(give(one, [file]))
    const gone = (): string => b.errno({ kind: 'classDelete', classId: one })
    expect([counted(b, one), gone()]).toEqual([1, 'EBUSY'])
    b.ok(unlink(b.root, 'f'))
    expect(gone()).toBe('EBUSY')
    b.ok({ kind: 'trashPurge', inos: [file] })
    b.ok(patterned(b, '*', one))
    expect(gone()).toBe('EBUSY')
    b.ok({ kind: 'patternDelete', number: one + 1 })
    expect(gone()).toBe('carried out')
  })
})

describe('what is made in a directory', () => {
  it('has its class, also when the session tells of it afterwards', () => {
    const b = new Bench()
    const one = classMade(b, 'one')
    const dir = b.dir('d')
    b.ok(give(one, [dir]))
    const below = b.dir('below', dir)
    const file = b.file('f', below)
    const session = b.session()
    const { first } = b.ok({ kind: 'inosReserve', count: 1 }, session)
    const node = { type: 'file', mode: 0o644, uid: 1, gid: 1, rdev: 0, target: '', opened: true }
    const made = { kind: 'make', parent: below, name: 'told', ino: first, time: { sec: 2, nsec: 0 }, node }
    b.ok({ kind: 'names', changes: [made], openIn: [[]] } as unknown as Command, session)
    expect([below, file, first].map((ino) => classOf(b, ino))).toEqual([one, one, one])
    expect(counted(b, one)).toBe(4)
    expect(classOf(b, b.file('elsewhere'))).toBeUndefined()
    // A directory that goes is counted out.
    b.dir('empty', dir)
    b.ok({ kind: 'rmdir', parent: dir, name: 'empty' })
    expect(counted(b, one)).toBe(4)
  })
  it('again, because a file comes back from the trash to a directory that is gone, has the class of where it is made', () => {
    const b = new Bench()
    const [one, top] = [classMade(b, 'one'), b.dir('top')]
    const gone = b.dir('gone', top)
    const file = b.file('f', gone)
    b.ok(give(one, [top]))
    b.ok(unlink(gone, 'f'))
    b.ok({ kind: 'rmdir', parent: top, name: 'gone' })
    const made = b.next()
    b.ok({ kind: 'trashRestore', ino: file, path: undefined, newInos: [made, made + 1] } as unknown as Command)
    expect([classOf(b, made), classOf(b, file), counted(b, one)]).toEqual([one, undefined, 2])
  })
  it('has the class of the first pattern that matches its name and owner', () => {
    const b = new Bench()
    const [films, mine, dir] = [classMade(b, 'films'), classMade(b, 'mine'), b.dir('d')]
    b.ok(patterned(b, '*.mp4', films))
    b.ok(patterned(b, '*', mine, { uid: 42 }))
    b.ok(patterned(b, 'special*', mine, { priority: 5, gid: 8 }))
    const made = (name: string, more: object = {}): number | undefined =>
      classOf(b, b.ok(create(b.next(), dir, name, more)).attr.ino)
    expect(made('a.mp4')).toBe(films)
    expect(made('a.txt')).toBeUndefined()
    expect(made('b.txt', { uid: 42 })).toBe(mine)
    expect(made('c.mp4', { uid: 42 })).toBe(films)
    expect(made('special.mp4')).toBe(mine)
    expect(made('special2.mp4', { gid: 9 })).toBe(films)
    expect(classOf(b, b.ok(make(b.next(), dir, 'x.mp4', 'symlink', 0o777, { target: 'y' })).attr.ino)).toBeUndefined()
    expect(classOf(b, b.ok(make(b.next(), dir, 'y.mp4', 'dir')).attr.ino)).toBe(films)
    expect(b.errno(patterned(b, 'a[', films))).toBe('EINVAL')
    expect(b.errno(patterned(b, 'a', 99))).toBe('ENOENT')
    expect(b.errno({ kind: 'patternDelete', number: 99 })).toBe('ENOENT')
  })
  it('is given the default class by a pattern in a directory of another', () => {
    const b = new Bench()
    const [one, dir] = [classMade(b, 'one'), b.dir('d')]
    b.ok(give(one, [dir]))
    b.ok(patterned(b, '*.tmp', 1))
    expect(classOf(b, b.file('x.tmp', dir))).toBeUndefined()
    expect(classOf(b, b.file('x', dir))).toBe(one)
  })
})

describe('giving a class', () => {
  it('answers what was changed and what was left, and the directories of a page', () => {
    const b = new Bench()
    const [one, two] = [classMade(b, 'one'), classMade(b, 'two')]
    const [f, g, d] = [b.file('f'), b.file('g'), b.dir('d')]
    const link = b.ok(make(b.next(), b.root, 's', 'symlink', 0o777, { target: 'f' })).attr.ino
    const page = {
      kind: 'classOf',
      classId: one,
      onlyFrom: undefined,
      inos: [f, g, d, link, 9999],
      paged: true,
      cookie: 7,
    }
    const reply = b.ok(page as Command)
    expect(reply).toEqual({ changed: 3, left: 0, directories: [d], cookie: 7 })
    expect(classOf(b, link)).toBeUndefined()
    expect(b.ok(give(one, [f, g]))).toMatchObject({ changed: 0, left: 2 })
    expect(b.ok(give(two, [f]))).toMatchObject({ changed: 1 })
    expect(b.ok(give(1, [f, g], one))).toMatchObject({ changed: 1, left: 1 })
    expect([counted(b, one), counted(b, two), classOf(b, g)]).toEqual([1, 1, undefined])
    expect(b.errno(give(99, [f]))).toBe('ENOENT')
  })
  it('tells the mounts, and leaves the times of the file alone', () => {
    const b = new Bench()
    const [one, f] = [classMade(b, 'one'), b.file('f')]
    const before = b.state.inode(f)!.attr
    const { touched } = b.apply(give(one, [f]))
    expect(touched.inodes).toEqual([{ ino: f, data: false }])
    const { ctime, mtime, version } = b.state.inode(f)!.attr
    expect({ ctime, mtime, version }).toEqual({ ctime: before.ctime, mtime: before.mtime, version: before.version + 1 })
  })
  it('tells the chunks of the file, of a long one in steps', () => {
    const b = new Bench()
    b.disks()
    const session = b.session()
    const one = classMade(b, 'one')
    const [f, short] = [b.file('f'), b.file('short')]
    const [chunk, other] = [b.chunk(session), b.chunk(session)]
    for (let i = 0; i < 3; i++) {
      const extents = Array.from({ length: 3000 }, (_, j) => {
        const n = i * 3000 + j
        return { offset: 2 * n, length: 1, chunk, chunkOffset: n }
      })
      b.apply({ kind: 'commit', files: [{ ino: f, extents }] } as unknown as Command, session)
    }
    b.write(session, short, other, 0, 10, 0)
    b.write(session, f, other, 20_000, 1, 10)
    const first = b.apply(give(one, [f, short]))
    expect(first.touched.chunks).toEqual([chunk])
    expect(b.state.counters().reclassing).toBe(2)
    expect(check(b.state)).toEqual([])
    const steps = [b.apply({ kind: 'reclassed', limit: 500 }), b.apply({ kind: 'reclassed', limit: 65_536 })]
    expect(steps.map(({ touched }) => touched.chunks)).toEqual([[chunk], [chunk, other]])
    expect(b.state.counters().reclassing).toBeUndefined()
    expect(check(b.state)).toEqual([])
  })
  it('of a file that goes before its chunks have been told leaves nothing behind', () => {
    const b = new Bench()
    const one = classMade(b, 'one')
    const inos = Array.from({ length: 9 }, (_, i) => b.file(`f${i}`))
    transact(b.store, b.state, () => {
      b.state.classes.setReclass(inos[0]!, 4)
      b.state.setCounters({ reclassing: 1 })
    })
    b.ok(give(one, inos.slice(1)))
    b.ok(unlink(b.root, 'f0'))
    b.ok({ kind: 'trashPurge', inos })
    expect(b.state.counters().reclassing).toBeUndefined()
  })
})

describe('the check', () => {
  const broken = (damage: (b: Bench, one: number) => void): string[] => {
    const b = new Bench()
    const one = classMade(b, 'one')
    b.ok(give(one, [b.file('f')]))
    expect(check(b.state)).toEqual([])
    transact(b.store, b.state, () => damage(b, one))
    b.state.forget()
    return check(b.state).map(({ what }) => what)
  }
  const text = (b: Bench, rest: object) => ({ version: 1, text: textOf(b, 'one', rest), inodes: 1 })
  it('finds what does not agree about classes', () => {
    expect(broken((b, one) => b.state.classes.set(one, { ...text(b, {}), inodes: 2 }))).toEqual([
      'storage class 2: 1 inodes, not 2',
    ])
    expect(broken((b, one) => b.state.classes.set(one, text(b, { keep: '' })))).toEqual([
      'storage class 2: keeps nothing',
    ])
    expect(broken((b, one) => b.state.classes.set(one, text(b, { keep: 'A,' })))[0]).toContain("-K 'A,': column 3")
    expect(broken((b, one) => b.state.classes.set(one, text(b, { name: 'default' })))).toEqual([
      'storage class 2: called as class 1',
    ])
    expect(broken((b) => b.state.classes.set(9, { ...text(b, {}), inodes: 0 }))).toEqual([
      'storage class 9: its number was given to nobody',
      'storage class 9: called as class 2',
    ])
    expect(broken((b, one) => b.state.classes.set(one, undefined))).toEqual(['inode 2: storage class 2 does not exist'])
    expect(
      broken((b) => {
        const record = b.state.inode(2 as Ino)!
        b.state.setInode(2 as Ino, { ...record, attr: { ...record.attr, classId: 1 } })
      }),
    ).toEqual(['inode 2: says that it has the default class', 'storage class 2: 0 inodes, not 1'])
    const pattern = { glob: '*', uid: undefined, gid: undefined, priority: 0, classId: 77 }
    expect(
      broken((b) => b.store.put(key.meta('patterns'), encodeRecord(patternsRecord, [{ number: 3, pattern }]))),
    ).toEqual(['pattern 3 gives no storage class'])
    expect(broken((b) => b.store.put(key.reclass(2 as Ino), pack(0)))).toEqual(['counter reclassing: 1 found'])
    expect(broken((b) => b.store.put(key.reclass(99 as Ino), pack(0)))[0]).toContain('inode 99')
  })
})
