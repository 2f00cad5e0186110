/* Storage classes as the command line orders them: through the calls of a running master. */

import { describe, expect, it } from 'vitest'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../src/base/ids.ts'
import type { Command } from '../../src/master/core/commands.ts'
import { transact } from '../../src/master/core/state.ts'
import { masterOfEachTest, settle, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const ADMIN = { session: 0 as SessionId, seq: 0, acked: 0 }
const watched = masterOfEachTest()
const admin = new TestPeer('admin', 'cli')

async function classMade(master: TestMaster, name: string, rest: object = {}): Promise<number> {
  const text = { ...master.state.classes.record(1)!.text, name, keep: '2*', ...rest }
  return (await master.call(admin, 'classSet', { stamp: ADMIN, classId: 0, text })).classId
}
const patternOf = (classId: number, glob: string) => ({
  glob,
  uid: undefined,
  gid: undefined,
  priority: 0,
  classId,
})

/** Gives a whole tree a class as the command line does: directories as they are found. */
async function giveTree(master: TestMaster, path: string, classId: number, limit: number) {
  const wish = { stamp: ADMIN, classId, onlyFrom: undefined }
  let { changed } = await master.call(admin, 'classOf', { ...wish, path, ino: undefined, page: undefined })
  const queue: { path?: string; ino?: Ino }[] = [{ path }]
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    let cookie: number | undefined = 0
    while (cookie !== undefined) {
      const page: { changed: number; directories: Ino[]; cookie?: number | undefined } = await master.call(
        admin,
        'classOf',
        { ...wish, path: next.path, ino: next.ino, page: { cookie, limit } },
      )
      changed += page.changed
      queue.push(...page.directories.map((ino) => ({ ino })))
      cookie = page.cookie
    }
  }
  return changed
}

describe('classes through the calls', () => {
  it('are listed, changed, renamed and deleted', async () => {
    const master = watched(new TestMaster())
    const one = await classMade(master, 'one', { archive: '@4+1' })
    const text = { ...master.state.classes.record(one)!.text, description: 'the first' }
    await master.call(admin, 'classSet', { stamp: ADMIN, classId: one, text })
    await master.call(admin, 'classRename', { stamp: ADMIN, classId: one, name: 'eins' })
    const { classes, patterns, copies } = await master.call(admin, 'classList', {})
    expect(classes.map(({ classId, name, inodes, description }) => ({ classId, name, inodes, description }))).toEqual([
      { classId: 1, name: 'default', inodes: null, description: '' },
      { classId: one, name: 'eins', inodes: 0, description: 'the first' },
    ])
    expect({ patterns, copies }).toEqual({ patterns: [], copies: 2 })
    await master.call(admin, 'classDelete', { stamp: ADMIN, classId: one })
    await expect(master.call(admin, 'classDelete', { stamp: ADMIN, classId: one })).rejects.toThrow('no storage class')
    await expect(classMade(master, 'two', { keep: 'A!B' })).rejects.toThrow("-K 'A!B': column 2")
    const mount = await TestMount.open(master, 'm')
    await expect(master.call(mount.peer, 'classDelete', { stamp: ADMIN, classId: 5 })).rejects.toThrow('admin')
  })

  it('are given to a tree page by page, and mounts that know of the files are told', async () => {
    const master = watched(new TestMaster())
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one')
    const top = (await mount.make('top', 1 as Ino)).attr.ino
    const inner = (await mount.make('inner', top)).attr.ino
    const files: Ino[] = []
    for (let i = 0; i < 7; i++) files.push((await mount.create(`f${i}`, i < 4 ? top : inner)).attr.ino)
    await mount.lookup('f0', top)
    mount.peer.told.length = 0
    expect(await giveTree(master, '/top', one, 3)).toBe(9)
    expect([top, inner, ...files].map((ino) => master.state.inode(ino)?.attr.classId)).toEqual(Array(9).fill(one))
    expect(mount.invalidations().flatMap(({ inodes }) => inodes.map(({ ino }) => ino))).toContain(files[0])
    expect(await master.call(admin, 'classGet', { path: '/top/inner/f5' })).toMatchObject({ classId: one, name: 'one' })
    expect(await master.call(admin, 'classGet', { path: '/' })).toMatchObject({ classId: 1, name: 'default' })
    expect((await mount.create('new', inner)).attr.classId).toBe(one)
    const wish = { stamp: ADMIN, classId: one, onlyFrom: undefined, page: undefined }
    await expect(
      master.call(admin, 'classOf', { ...wish, path: '/no', ino: undefined, page: undefined }),
    ).rejects.toThrow('no such file')
    await expect(master.call(admin, 'classOf', { ...wish, path: undefined, ino: undefined })).rejects.toThrow('a path')
    const page = { cookie: 0, limit: 5 }
    await expect(master.call(admin, 'classOf', { ...wish, path: '/top/f0', ino: undefined, page })).rejects.toThrow(
      'not a directory',
    )
  })

  it('by patterns hold for what mounts make: they know them whenever they hold a directory', async () => {
    const master = watched(new TestMaster())
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one')
    const held = await mount.make('d', 1 as Ino)
    expect((await mount.create('before', held.attr.ino)).held).toBe(true)
    const known = () => mount.peer.told.filter(({ name }) => name === 'classPatterns').map(({ request }) => request)
    expect(known()).toEqual([{ patterns: [] }])
    // What was made before is told before: until then nothing is changed.
    mount.peer.answers.recall = async ({ directories }) => {
      expect([...directories].sort()).toEqual([1, held.attr.ino])
      expect(master.state.classes.patterns()).toEqual([])
      // Nobody is given one meanwhile.
      expect((await mount.create('meanwhile', held.attr.ino)).held).toBe(false)
      return {}
    }
    const { number } = await master.call(admin, 'patternSet', {
      stamp: ADMIN,
      number: 0,
      pattern: patternOf(one, '*.mp4'),
    })
    expect(mount.peer.asked.map(({ name }) => name)).toEqual(['recall'])
    expect(known().slice(1)).toEqual([{ patterns: [patternOf(one, '*.mp4')] }])
    const film = await mount.create('a.mp4', held.attr.ino)
    expect([film.attr.classId, film.held]).toEqual([one, true])
    expect((await mount.create('a.txt', held.attr.ino)).attr.classId).toBeUndefined()
    mount.peer.answers.recall = () => ({})
    await master.call(admin, 'patternDelete', { stamp: ADMIN, number })
    expect(known().slice(2)).toEqual([{ patterns: [] }])
    const after = await mount.create('b.mp4', held.attr.ino)
    expect([after.attr.classId, after.held]).toEqual([undefined, true])
  })

  it('are tried: what a changed one would have copied is summed up page by page', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b', 'c'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one')
    for (const name of ['f', 'g', 'h']) await writeFile(master, mount, servers, name, 1000)
    const text = { ...master.state.classes.record(1)!.text, keep: '3*' }
    const ask = (classId: number, after: number, limit: number) =>
      master.call(admin, 'classMoves', { classId, text, after, limit })
    const first = await ask(1, 0, 2)
    expect(first).toMatchObject({ chunks: 2, moving: 2, nowhere: 0, links: [{ from: '', to: '', bytes: 2000 }] })
    const second = await ask(1, first.after!, 2)
    expect(second).toMatchObject({ after: null, chunks: 1, moving: 1, links: [{ bytes: 1000 }] })
    expect(await ask(one, 0, 256)).toEqual({ after: null, chunks: 0, moving: 0, nowhere: 0, links: [] })
    await expect(ask(99, 0, 1)).rejects.toThrow('storage class 99')
    const wrong = { classId: 1, text: { ...text, keep: 'A,' }, after: 0, limit: 1 }
    await expect(master.call(admin, 'classMoves', wrong)).rejects.toThrow('column 3')
  })

  it('are tried for files: which would change, and in which chunks that is, however many extents a file has', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b', 'c'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one', { keep: '3*' })
    const f = await writeFile(master, mount, servers, 'f', 1000)
    const g = await writeFile(master, mount, servers, 'g', 2000)
    const had = await writeFile(master, mount, servers, 'had', 3000)
    const wish = { classId: one, onlyFrom: undefined, path: undefined, ino: undefined, page: undefined, offset: 0 }
    await master.call(admin, 'classOf', { ...wish, path: '/had', stamp: ADMIN })
    const page = { cookie: 0, limit: 100 }
    const tried = await master.call(admin, 'classTry', { ...wish, path: '/', page })
    expect(tried).toMatchObject({ changed: 2, left: 1, directories: [], cookie: undefined, rest: [] })
    expect(new Set(tried.chunks)).toEqual(new Set([f.chunk, g.chunk]))
    const none = await master.call(admin, 'classTry', { ...wish, path: '/', page, onlyFrom: one })
    expect(none).toMatchObject({ changed: 0, left: 3, chunks: [] })
    const sum = await master.call(admin, 'chunkMoves', { classId: one, chunks: [f.chunk, g.chunk, 99 as ChunkId] })
    expect(sum).toEqual({ after: null, chunks: 2, moving: 2, nowhere: 0, links: [{ from: '', to: '', bytes: 3000 }] })
    expect((await master.call(admin, 'chunkMoves', { classId: 1, chunks: [had.chunk] })).moving).toBe(0)
    // More extents than one call looks at: it goes on from there.
    const { chunks } = await master.call(mount.peer, 'chunkOpen', {
      ...{ stamp: mount.stamp(), count: 1, kind: 'stream', avoid: [], classId: undefined },
    })
    const long = (await mount.create('long')).attr.ino
    const [rest, COUNT] = [{ minSize: undefined, mtime: undefined, change: undefined, ctime: undefined }, 5_000]
    for (let at = 0; at < COUNT; at += 1_000) {
      const extents = Array.from({ length: 1_000 }, (_, i) => ({
        ...{ offset: (at + i) * 10, length: 1, chunk: chunks[0]!.chunk, chunkOffset: at + i },
      }))
      const files = [{ ino: long, extents, ...rest, answered: undefined }]
      await master.call(mount.peer, 'commit', { stamp: mount.stamp(), files, sync: false })
    }
    const begun = await master.call(admin, 'classTry', { ...wish, path: '/long' })
    expect(begun).toMatchObject({ changed: 1, chunks: [chunks[0]!.chunk], rest: [{ ino: long, offset: 40_951 }] })
    const ended = await master.call(admin, 'classTry', { ...wish, ...begun.rest[0]! })
    expect(ended).toMatchObject({ chunks: [chunks[0]!.chunk], rest: [] })
    expect(master.state.inode(f.ino)?.attr.classId).toBeUndefined()
  })

  it('are tried with other labels: what would be copied beside what is to be copied anyway', async () => {
    const master = watched(new TestMaster())
    const servers = [1, 2, 3, 4].map((n) => new TestChunkserver(`s${n}`, { labels: n < 3 ? ['H'] : ['S'] }))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one', { keep: '2H:STRICT', create: '2H' })
    await mount.make('d', 1 as Ino)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await writeFile(master, mount, servers, 'plain', 5000)
    const given = { stamp: ADMIN, path: '/f', ino: undefined, classId: one, onlyFrom: undefined, page: undefined }
    await master.call(admin, 'classOf', given)
    const [a, b, c] = servers as [TestChunkserver, TestChunkserver, TestChunkserver]
    const command = (ok: object) => master.master.loop.command(() => ({ ok: ok as Command }))
    const wishes = [{ chunk, classId: one, phase: undefined, copies: 2, code: undefined }]
    const { disks } = master.state.chunk(chunk)!
    await command({ kind: 'chunkSealed', chunk, disks: [...disks] })
    await command({ kind: 'chunkWishes', wishes })
    for (const { disk } of [a, b]) if (!disks.includes(disk)) await command({ kind: 'copyAdded', chunk, disk })
    for (const disk of disks)
      if (![a.disk, b.disk].includes(disk)) await command({ kind: 'copyDropped', chunk, disk, reason: 'over' })
    const ask = (what: { node?: NodeId; disk?: DiskId }, labels: string[] | undefined) =>
      master.call(admin, 'labelMoves', { node: undefined, disk: undefined, ...what, labels, after: 0, limit: 256 })
    expect(await ask({ node: a.node }, undefined)).toMatchObject({ chunks: 2, moving: 0, nowhere: 0, labels: ['H'] })
    // What has no class that asks for labels stays where it is.
    expect(await ask({ node: a.node }, ['S'])).toMatchObject({ chunks: 2, moving: 0, nowhere: 0, labels: ['S'] })
    await master.call(admin, 'nodeLabel', { stamp: ADMIN, node: c.node, labels: ['H', 'S'] })
    expect(await ask({ node: a.node }, ['S'])).toMatchObject({ moving: 1, links: [{ from: '', to: '', bytes: 1000 }] })
    expect(await ask({ node: a.node }, undefined)).toMatchObject({ moving: 0, links: [] })
    // A disk has the labels of its chunkserver beside its own.
    expect(await ask({ disk: a.disk }, ['S'])).toMatchObject({ moving: 0, labels: ['S'] })
    expect(await ask({ node: c.node }, undefined)).toMatchObject({ labels: ['S'] })
    await expect(ask({}, ['H'])).rejects.toThrow('name a chunkserver or a disk')
    await expect(ask({ node: 99 as NodeId }, ['H'])).rejects.toThrow('chunkserver 99')
    expect(master.state.node(a.node)?.labelsSet).toBeUndefined()
  })

  it('are followed by what is stored, also when the labels of chunkservers change', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b', 'c'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const label = (server: TestChunkserver, ...labels: string[]) =>
      master.call(admin, 'nodeLabel', { stamp: ADMIN, node: server.node, labels })
    const [a, b, c] = servers as [TestChunkserver, TestChunkserver, TestChunkserver]
    for (const server of [a, b]) await label(server, 'H')
    const one = await classMade(master, 'one', { keep: '2H:STRICT' })
    const mount = await TestMount.open(master, 'm')
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    master.work()
    await master.clock.pass(30_000)
    expect(new Set(master.state.chunk(chunk)?.disks)).toEqual(new Set(disks))
    const wish = { stamp: ADMIN, path: '/f', ino: undefined, onlyFrom: undefined, page: undefined }
    await master.call(admin, 'classOf', { ...wish, classId: one })
    await master.clock.pass(30_000)
    expect(new Set(master.state.chunk(chunk)?.disks)).toEqual(new Set([a.disk, b.disk]))
    await label(b, 'X')
    await label(c, 'H')
    await master.clock.pass(30_000)
    expect(new Set(master.state.chunk(chunk)?.disks)).toEqual(new Set([a.disk, c.disk]))
  })

  it('of long files are told to all their chunks by themselves', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const one = await classMade(master, 'one')
    const { ino } = await writeFile(master, mount, servers, 'f', 1000)
    // As if the command that gave the class had been at the end of its budget.
    await master.call(admin, 'classOf', {
      stamp: ADMIN,
      path: '/f',
      ino: undefined,
      classId: one,
      onlyFrom: undefined,
      page: undefined,
    })
    transact(master.store, master.state, () => {
      master.state.classes.setReclass(ino, 0)
      master.state.setCounters({ reclassing: 1 })
    })
    master.work()
    await master.clock.pass(30_000)
    await settle()
    expect(master.state.counters().reclassing).toBeUndefined()
  })
})
