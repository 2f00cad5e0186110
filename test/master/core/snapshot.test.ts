/*
 * Snapshots and deleted trees, rule by rule. What happens between any two steps is tried in random-commands.test.ts.
 */

import { describe, expect, it } from 'vitest'
import type { ChunkId, Ino, SessionId } from '../../../src/base/ids.ts'
import { ACL_ACCESS } from '../../../src/master/core/acl.ts'
import { apply } from '../../../src/master/core/apply.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { EMPTY, encodeRecord, pack, unfinishedRecord } from '../../../src/master/core/records.ts'
import { transact } from '../../../src/master/core/state.ts'
import { key, tables } from '../../../src/master/core/tables.ts'
import { nextToFree } from '../../../src/master/core/trees.ts'
import { Bench, create, make, unlink } from './support.ts'

const STEP = { inodes: 2, rows: 3 }

const begin = (source: Ino, parent: Ino, name: string): Command =>
  ({ kind: 'snapshotBegin', source, sourcePath: '/source', parent, name, targetPath: '/target' }) as Command
const detach = (parent: Ino, name: string): Command => ({
  kind: 'treeDetached',
  parent,
  name,
  path: `/${name}`,
  openIn: [],
})

/** A file in a directory, with the only copy of its ended chunk; what is deleted is gone at once. */
function withoutTrash(copies: number): { bench: Bench; source: Ino; chunk: ChunkId } {
  const bench = new Bench(undefined, { copies, graceMs: 0, trashRetentionMs: 0, sessionTimeoutMs: 1 })
  bench.disks()
  const session = bench.session()
  const source = bench.dir('source')
  const chunk = bench.chunk(session, [1]) as ChunkId
  bench.write(session, bench.file('file', source), chunk, 0, 100, 0)
  bench.ok({ kind: 'chunkSeal', chunk, length: 100, failed: [] }, session)
  return { bench, source, chunk }
}

function copyAll(bench: Bench, job: number, step = STEP): number {
  let steps = 0
  while (bench.state.jobs.lastUnfinished(job) !== undefined) {
    bench.ok({ kind: 'snapshotCopied', job, ...step })
    steps++
  }
  return steps
}
function clearAll(bench: Bench, job: number, openIn: { ino: Ino; sessions: SessionId[] }[] = []): number {
  let steps = 0
  for (; bench.state.jobs.get(job)?.phase === 'clearing'; steps++)
    bench.ok({ kind: 'jobCleared', job, limit: 3, openIn })
  return steps
}
function snapshot(bench: Bench, source: Ino, parent: Ino, name: string): Ino {
  const { job } = bench.ok(begin(source, parent, name))
  copyAll(bench, job)
  bench.ok({ kind: 'snapshotShown', job })
  clearAll(bench, job)
  return bench.state.lookup(parent, name)!.ino
}
const rowsOf = (bench: Bench, ...prefixes: string[]): number => {
  let rows = 0
  for (const prefix of prefixes)
    bench.store.scan({ from: prefix, to: `${prefix}\xff` }, () => {
      rows++
      return true
    })
  return rows
}
const JOB_ROWS = ['ji', 'jl', 'jq', 'jt']
const at = (bench: Bench, ...path: string[]): Ino =>
  path.reduce((dir, name) => bench.state.lookup(dir, name)!.ino, bench.root)

describe('a snapshot', () => {
  it('keeps modes, owners, times, attributes, ACLs, symlinks, devices, and cookies of listings', () => {
    const bench = new Bench()
    const source = bench.dir('source', bench.root, 0o2750)
    bench.dir('empty', source, 0o1777)
    const file = bench.file('file', source)
    const times = { atime: { sec: 5, nsec: 6 }, mtime: { sec: -7, nsec: 8 } }
    bench.ok({ kind: 'setattr', ino: file, change: { mode: 0o4711, uid: 11, gid: 12, ...times } })
    bench.ok(make(bench.next(), source, 'link', 'symlink', 0o777, { target: 'caf\xe9/../x' }))
    bench.ok(make(bench.next(), source, 'tape', 'char', 0o600, { rdev: 0x901 }))
    for (const name of ['user.long', 'user.a', 'security.capability'])
      bench.ok({
        kind: 'setxattr',
        ino: file,
        name,
        value: Buffer.alloc(name.length * 900, 7),
        create: false,
        replace: false,
        killSgid: false,
      })
    const acl = Buffer.from(
      '0200000001000700ffffffff02000500150000000400050' + '0ffffffff10000700ffffffff20000100ffffffff',
      'hex',
    )
    bench.ok({
      kind: 'setxattr',
      ino: file,
      name: ACL_ACCESS,
      value: acl,
      create: false,
      replace: false,
      killSgid: false,
    })
    const copy = snapshot(bench, source, bench.root, 'copy')

    const { state } = bench
    for (const name of ['empty', 'file', 'link', 'tape']) {
      const before = state.inode(at(bench, 'source', name))!
      const after = state.inode(at(bench, 'copy', name))!
      expect({ ...after, attr: { ...after.attr, ino: 0 }, parent: 0 }).toEqual({
        ...before,
        attr: { ...before.attr, ino: 0 },
        parent: 0,
      })
    }
    const { nlink, mode, mtime, size } = state.attr(source)!
    expect(state.attr(copy)).toMatchObject({ nlink, mode, mtime, size })
    const copied = at(bench, 'copy', 'file')
    expect(state.xattrs(copied)).toEqual(state.xattrs(file))
    for (const name of state.xattrs(file)) expect(state.xattr(copied, name)).toEqual(state.xattr(file, name))
    const cookies = (dir: Ino) => state.readdirPage(dir, 0, 10).entries.map(({ name, cookie }) => ({ name, cookie }))
    expect(cookies(copy)).toEqual(cookies(source))
  })

  it('has one inode where two names of one were inside, and one name for a file of which the other is outside', () => {
    const bench = new Bench()
    const source = bench.dir('source')
    const deep = bench.dir('deep', source)
    const twice = bench.file('a', source)
    bench.ok({ kind: 'link', ino: twice, newParent: deep, newName: 'b' })
    const half = bench.file('c', source)
    bench.ok({ kind: 'link', ino: half, newParent: bench.root, newName: 'outside' })
    snapshot(bench, source, bench.root, 'copy')
    expect(at(bench, 'copy', 'deep', 'b')).toBe(at(bench, 'copy', 'a'))
    expect(bench.state.attr(at(bench, 'copy', 'a'))!.nlink).toBe(2)
    expect(bench.state.attr(at(bench, 'copy', 'c'))!.nlink).toBe(1)
  })

  it('is not to be seen before it is complete, and shows nothing that happened after it began', () => {
    const bench = new Bench()
    const source = bench.dir('source')
    for (const name of ['a', 'b', 'c', 'd', 'e']) bench.file(name, bench.dir(`in-${name}`, source))
    const outside = bench.dir('outside')
    const { job } = bench.ok(begin(source, bench.root, 'copy'))
    bench.ok({ kind: 'snapshotCopied', job, ...STEP })
    bench.file('late', source)
    bench.ok(unlink(at(bench, 'source', 'in-c'), 'c'))
    // Out of the tree, into the tree, and one in the place of another.
    const move = { noReplace: false, exchange: false, openIn: [] }
    bench.ok({ kind: 'rename', parent: source, name: 'in-a', newParent: outside, newName: 'in-a', ...move })
    bench.ok({ kind: 'rename', parent: bench.root, name: 'outside', newParent: source, newName: 'outside', ...move })
    bench.ok({
      kind: 'rename',
      parent: source,
      name: 'in-d',
      newParent: source,
      newName: 'in-e',
      ...move,
      exchange: true,
    })
    bench.ok(detach(source, 'in-b'))
    clearAll(bench, job + 1)
    expect(bench.state.lookup(bench.root, 'copy')).toBeUndefined()
    copyAll(bench, job)
    expect(bench.state.lookup(bench.root, 'copy')).toBeUndefined()
    bench.ok({ kind: 'snapshotShown', job })
    const copy = at(bench, 'copy')
    const names = (dir: Ino) => bench.state.readdirPage(dir, 0, 10).entries.map(({ name }) => name)
    expect(names(copy).sort()).toEqual(['in-a', 'in-b', 'in-c', 'in-d', 'in-e'])
    for (const name of ['a', 'b', 'c', 'd', 'e']) expect(names(at(bench, 'copy', `in-${name}`))).toEqual([name])
    clearAll(bench, job)
    expect(rowsOf(bench, ...JOB_ROWS)).toBe(0)
  })

  it('has what came before it in the same transaction, and nothing of what came after', () => {
    const bench = new Bench()
    const source = bench.dir('source')
    const file = bench.file('file', source)
    const mode = (bits: number): Command => ({ kind: 'setattr', ino: file, change: { mode: bits } })
    transact(bench.store, bench.state, () => {
      for (const command of [
        mode(0o601),
        create(bench.next(), source, 'before'),
        begin(source, bench.root, 'copy'),
        mode(0o602),
        unlink(source, 'before'),
      ]) {
        const { index } = bench.state.counters()
        const around = { index: index + 1, sec: 2000, nsec: 0, session: 0 as SessionId, seq: 0, acked: 0 }
        expect(apply(bench.state, around, command).result).toHaveProperty('ok')
      }
    })
    copyAll(bench, 1)
    bench.ok({ kind: 'snapshotShown', job: 1 })
    expect(bench.state.attr(at(bench, 'copy', 'file'))!.mode).toBe(0o601)
    expect(bench.state.lookup(at(bench, 'copy'), 'before')).toBeDefined()
  })

  it('shares the bytes: what is written afterwards goes to new places, and the chunk counts both files', () => {
    const bench = new Bench()
    bench.disks()
    const session = bench.session()
    const source = bench.dir('source')
    const file = bench.file('file', source)
    const chunk = bench.chunk(session) as ChunkId
    bench.write(session, file, chunk, 0, 1000, 0)
    snapshot(bench, source, bench.root, 'copy')
    const copy = at(bench, 'copy', 'file')
    expect(bench.state.extents.from(copy, 0, 9).extents).toEqual(bench.state.extents.from(file, 0, 9).extents)
    expect(bench.state.chunk(chunk)).toMatchObject({ length: 1000, live: 2000 })
    bench.write(session, file, chunk, 0, 10, 1000)
    expect(bench.state.chunk(chunk)).toMatchObject({ length: 1010, live: 2000 })
    expect(bench.state.extents.from(copy, 0, 9).extents).toEqual([{ offset: 0, length: 1000, chunk, chunkOffset: 0 }])
    bench.ok(detach(bench.root, 'source'))
    clearAll(bench, 2)
    expect(bench.state.chunk(chunk)!.live).toBe(1000)
    bench.ok(detach(bench.root, 'copy'))
    clearAll(bench, 3)
    expect(bench.state.chunk(chunk)!.live).toBe(0)
  })

  it('keeps what was deleted meanwhile: no chunk is forgotten and no last copy given up while it is made', () => {
    const { bench, source, chunk } = withoutTrash(2)
    bench.ok({ kind: 'chunkSealed', chunk, disks: [1] } as unknown as Command)
    const { job } = bench.ok(begin(source, bench.root, 'copy'))
    bench.ok(unlink(source, 'file'))
    expect(bench.state.chunk(chunk)!.live).toBe(0)
    bench.ok({ kind: 'chunksForgotten', chunks: [chunk] })
    expect(bench.errno({ kind: 'copyDropped', chunk, disk: 1, reason: 'lost' } as unknown as Command)).toBe('EBUSY')
    expect(bench.errno({ kind: 'diskRemove', disk: 1, force: false } as unknown as Command)).toBe('EBUSY')
    copyAll(bench, job)
    bench.ok({ kind: 'snapshotShown', job })
    expect(bench.state.chunk(chunk)).toMatchObject({ live: 100, disks: [1], deadSec: undefined })
    clearAll(bench, job)
    bench.ok(unlink(at(bench, 'copy'), 'file'))
    bench.ok({ kind: 'chunksForgotten', chunks: [chunk] })
    expect(bench.state.chunk(chunk)).toBeUndefined()
  })

  it('says what is missing when a deleted file had lost bytes that it brings back', () => {
    const { bench, source, chunk } = withoutTrash(1)
    const { job } = bench.ok(begin(source, bench.root, 'copy'))
    bench.ok(unlink(source, 'file'))
    bench.ok({ kind: 'chunkShortened', chunk, length: 60, disks: [1], gone: [] } as unknown as Command)
    expect(bench.state.chunk(chunk)!.lost).toBeUndefined()
    copyAll(bench, job)
    expect(bench.state.chunk(chunk)).toMatchObject({ live: 100, length: 60, committed: 100, lost: 40 })
  })

  it('copies a file of many extents in steps, and does not see what is written to it meanwhile', () => {
    const bench = new Bench()
    bench.disks()
    const session = bench.session()
    const file = bench.file('file')
    const chunk = bench.chunk(session) as ChunkId
    for (let i = 0; i < 200; i++) bench.write(session, file, chunk, i * 10, 10, (199 - i) * 10)
    const before = bench.state.extents.from(file, 0, 999).extents
    expect(before.length).toBe(200)
    const { job } = bench.ok(begin(file, bench.root, 'copy'))
    for (let i = 0; i < 5; i++) bench.ok({ kind: 'snapshotCopied', job, inodes: 10, rows: 7 })
    bench.write(session, file, chunk, 55, 1500, 2000)
    bench.ok({ kind: 'setattr', ino: file, change: { size: 1900 } })
    expect(copyAll(bench, job, { inodes: 10, rows: 7 })).toBeGreaterThan(20)
    bench.ok({ kind: 'snapshotShown', job })
    const copy = at(bench, 'copy')
    expect(bench.state.extents.from(copy, 0, 999).extents).toEqual(before)
    expect(bench.state.attr(copy)).toMatchObject({ size: 2000, used: 2000, nlink: 1 })
  })

  it('is refused with a reason: of everything, into itself, onto something, of nothing, two at a time', () => {
    const bench = new Bench()
    const source = bench.dir('source')
    const inside = bench.dir('inside', source)
    const file = bench.file('file')
    expect(bench.errno(begin(bench.root, source, 'copy'))).toBe('EINVAL')
    expect(bench.errno(begin(source, inside, 'copy'))).toBe('EINVAL')
    expect(bench.errno(begin(source, source, 'copy'))).toBe('EINVAL')
    expect(bench.errno(begin(source, bench.root, 'file'))).toBe('EEXIST')
    expect(bench.errno(begin(source, file, 'copy'))).toBe('ENOTDIR')
    expect(bench.errno(begin(source, bench.root, 'x'.repeat(256)))).toBe('ENAMETOOLONG')
    expect(bench.errno(begin(99_999 as Ino, bench.root, 'copy'))).toBe('ESTALE')
    expect(rowsOf(bench, 'J', ...JOB_ROWS)).toBe(0)
    bench.ok(begin(source, bench.root, 'copy'))
    expect(bench.errno(begin(file, bench.root, 'other'))).toBe('EBUSY')
  })

  it('whose place is taken or gone when it is complete is refused it; cancelled, it leaves nothing behind', () => {
    const bench = new Bench()
    bench.disks()
    const session = bench.session()
    const source = bench.dir('source')
    const chunk = bench.chunk(session) as ChunkId
    for (let i = 0; i < 5; i++)
      bench.write(session, bench.file(`f${i}`, bench.dir(`d${i}`, source)), chunk, 0, 10, i * 10)
    bench.ok({ kind: 'link', ino: at(bench, 'source', 'd0', 'f0'), newParent: source, newName: 'again' })
    const { files, directories, logicalBytes } = bench.state.counters()
    const { job } = bench.ok(begin(source, bench.root, 'copy'))
    expect(bench.errno({ kind: 'snapshotShown', job })).toBe('EAGAIN')
    copyAll(bench, job)
    bench.file('copy')
    expect(bench.errno({ kind: 'snapshotShown', job })).toBe('EEXIST')
    bench.ok({ kind: 'jobCancelled', job, errno: 17, detail: 'it exists' })
    expect(bench.errno({ kind: 'jobCancelled', job, errno: undefined, detail: undefined })).toBe('EINVAL')
    clearAll(bench, job)
    expect(bench.state.counters()).toMatchObject({ files: files + 1, directories, logicalBytes, imaging: undefined })
    expect(bench.state.chunk(chunk)!.live).toBe(50)
    expect(rowsOf(bench, ...JOB_ROWS)).toBe(0)
    expect(bench.state.jobs.get(job)).toMatchObject({ phase: 'over', errno: 17, detail: 'it exists' })

    const place = bench.dir('place')
    const { job: second } = bench.ok(begin(source, place, 'copy'))
    copyAll(bench, second)
    bench.ok({ kind: 'rmdir', parent: bench.root, name: 'place' })
    expect(bench.errno({ kind: 'snapshotShown', job: second })).toBe('ENOENT')
  })

  it('that meets a broken record is given up and says so', () => {
    const bench = new Bench()
    const source = bench.dir('source')
    const file = bench.file('file', source)
    const { job } = bench.ok(begin(source, bench.root, 'copy'))
    bench.store.transaction(() => bench.store.delete(key.inode(file)))
    bench.apply({ kind: 'snapshotCopied', job, inodes: 9, rows: 9 })
    const record = bench.state.jobs.get(job)!
    expect(record).toMatchObject({ phase: 'clearing', errno: 5, detail: expect.stringContaining(`inode ${file}`) })
  })
})

describe('a deleted tree', () => {
  it('is gone at once and freed in steps, whatever its depth; the trash gets nothing', () => {
    const bench = new Bench()
    let dir = bench.dir('tree')
    for (let i = 0; i < 30; i++) {
      bench.file('file', dir)
      dir = bench.dir('deeper', dir)
    }
    const { job } = bench.ok(detach(bench.root, 'tree'))
    expect(bench.state.lookup(bench.root, 'tree')).toBeUndefined()
    expect(clearAll(bench, job)).toBeGreaterThan(20)
    expect(bench.state.counters()).toMatchObject({ files: 0, directories: 1, trashed: 0 })
    expect(bench.state.jobs.get(job)).toMatchObject({ phase: 'over', inodes: 61, errno: undefined })
    expect(rowsOf(bench, tables.inode.prefix)).toBe(1)
  })

  it('leaves what has other names, what is open, and what was moved out in time', () => {
    const bench = new Bench()
    const session = bench.session() as SessionId
    const tree = bench.dir('tree')
    const open = bench.file('open', tree)
    const twice = bench.file('twice', tree)
    bench.ok({ kind: 'link', ino: twice, newParent: bench.root, newName: 'kept' })
    const rescued = bench.dir('rescued', tree)
    bench.file('in it', rescued)
    const { job } = bench.ok(detach(bench.root, 'tree'))
    bench.ok({
      kind: 'rename',
      parent: tree,
      name: 'rescued',
      newParent: bench.root,
      newName: 'rescued',
      noReplace: false,
      exchange: false,
      openIn: [],
    })
    expect(
      nextToFree(bench.state, job, 10)
        .flatMap(({ entries }) => entries.map(({ ino }) => ino))
        .sort(),
    ).toEqual([open, twice].sort())
    clearAll(bench, job, [{ ino: open, sessions: [session] }])
    expect(bench.state.attr(open)!.nlink).toBe(0)
    expect(bench.state.attr(twice)!.nlink).toBe(1)
    expect(at(bench, 'rescued', 'in it')).toBeGreaterThan(0)
    bench.ok({ kind: 'released', session, inos: [open] })
    expect(bench.state.inode(open)).toBeUndefined()
  })

  it('takes no restored file: its directory has no path any more', () => {
    const bench = new Bench()
    const tree = bench.dir('tree')
    bench.file('other', tree)
    const file = bench.file('file', tree)
    bench.ok(unlink(tree, 'file'))
    bench.ok(detach(bench.root, 'tree'))
    const newInos = [bench.next()]
    bench.ok({ kind: 'trashRestore', ino: file, path: undefined, newInos, name: undefined })
    expect(at(bench, 'tree', 'file')).toBe(file)
    clearAll(bench, 1)
    expect(at(bench, 'tree', 'file')).toBe(file)
  })

  it('of very many jobs: only so many at once, and the last that are over are remembered', () => {
    const bench = new Bench()
    for (let i = 0; i < 65; i++) bench.file('file', bench.dir(`d${i}`))
    for (let i = 0; i < 64; i++) bench.ok(detach(bench.root, `d${i}`))
    expect(bench.errno(detach(bench.root, 'd64'))).toBe('EBUSY')
    for (let job = 1; job <= 64; job++) clearAll(bench, job)
    expect(bench.state.jobs.all().map(({ job }) => job)).toEqual(Array.from({ length: 16 }, (_, i) => 49 + i))
    expect(bench.ok(detach(bench.root, 'd64')).job).toBe(65)
  })
})

describe('the check', () => {
  const broken = (put: (bench: Bench) => [string, Uint8Array | undefined]): string[] => {
    const bench = new Bench()
    const source = bench.dir('source')
    bench.file('a', bench.dir('d', source))
    bench.ok(begin(source, bench.root, 'copy'))
    bench.ok({ kind: 'snapshotCopied', job: 1, inodes: 1, rows: 1 })
    const [where, value] = put(bench)
    bench.store.transaction(() => (value === undefined ? bench.store.delete(where) : bench.store.put(where, value)))
    bench.state.forget()
    return check(bench.state).map(({ what }) => what)
  }
  const copy = (bench: Bench): Ino => bench.state.jobs.get(1)!.root as Ino

  it('finds nothing wrong with a snapshot that is being made', () => {
    expect(broken((bench) => [key.image(1, 'i\x01\x02'), bench.store.get(key.image(1, 'i\x01\x02'))])).toEqual([])
  })
  it('finds rows of a job that there is not', () => {
    expect(broken(() => [key.image(7, 'i\x01\x02'), EMPTY])).toEqual(['an image of job 7, which is unknown'])
    expect(broken(() => [key.copied(7, 2 as Ino), pack(2)])).toEqual(['a copied file of job 7, which is unknown'])
    expect(
      broken(() => [key.unfinished(7, 2 as Ino), encodeRecord(unfinishedRecord, { source: 2 as Ino, after: '' })]),
    ).toEqual(['a copy that is not complete of job 7, which is unknown'])
    expect(broken(() => [key.detached(7, 2 as Ino), EMPTY])).toContain('a tree to be freed of job 7, which is unknown')
  })
  it('finds copies that do not exist, and trees with a place', () => {
    expect(
      broken(() => [key.unfinished(1, 999 as Ino), encodeRecord(unfinishedRecord, { source: 2 as Ino, after: '' })]),
    ).toEqual(['the copy 999, which is not complete, does not exist'])
    expect(broken(() => [key.copied(1, 2 as Ino), pack(999)])).toEqual(['the copy 999 of several names does not exist'])
    expect(broken(() => [key.detached(1, 2 as Ino), EMPTY])).toEqual([
      'a tree to be freed of job 1, which is copying',
      'tree 2, which is to be freed, has a place',
    ])
    expect(broken((bench) => [key.inode(copy(bench)), undefined])).toContain(
      `job 1: its copy ${4} does not exist`.replace('4', '5'),
    )
  })
  it('finds a job whose images nobody makes, and a directory that is nowhere', () => {
    expect(broken(() => [key.job(1), undefined]).some((what) => what.endsWith('it has no place'))).toBe(true)
    const bench = new Bench()
    bench.ok(begin(bench.dir('source'), bench.root, 'copy'))
    bench.store.transaction(() => {
      bench.state.setCounters({ imaging: undefined })
      bench.state.flush()
    })
    expect(check(bench.state).map(({ what }) => what)).toEqual(['job 1: what changes leaves images for it, or not?'])
  })
})
