/* Snapshots, deleted trees and appended files as the command line asks for them, and how the master goes on with them. */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { type ChunkId, type Ino, ROOT_INO, type SessionId } from '../../src/base/ids.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'
import type { JobReport } from '../../src/wire/reports.ts'
import { CountingStore } from './counting-store.ts'
import { masterOfEachTest, settle, TestMaster, TestMount, TestPeer } from './harness.ts'

const keep = masterOfEachTest()
const admin = new TestPeer('admin', 'holdfast')
const stamp = { session: 0 as SessionId, seq: 0, acked: 0 }

async function start(store = new MemoryStore()): Promise<{ master: TestMaster; mount: TestMount }> {
  const master = keep(new TestMaster({}, store))
  return { master, mount: await TestMount.open(master, 'a') }
}
const create = async (master: TestMaster, source: string, target: string): Promise<number> =>
  (await master.call(admin, 'snapshotCreate', { stamp, source, target })).job
const jobOf = async (master: TestMaster, job: number): Promise<JobReport> =>
  (await master.call(admin, 'snapshotList', {})).find((one) => one.job === job)!
const at = (master: TestMaster, path: string): Ino | undefined =>
  path
    .split('/')
    .reduce<Ino | undefined>(
      (dir, name) => (dir === undefined || name === '' ? dir : master.state.lookup(dir, name)?.ino),
      ROOT_INO,
    )
const names = (master: TestMaster, path: string): string[] =>
  master.state
    .readdirPage(at(master, path)!, 0, 10_000)
    .entries.map(({ name }) => name)
    .sort()

/** /source with directories of files. */
async function tree(mount: TestMount, directories: number, files: number): Promise<void> {
  const { attr } = await mount.make('source', ROOT_INO)
  for (let d = 0; d < directories; d++) {
    const dir = await mount.make(`d${d}`, attr.ino)
    for (let f = 0; f < files; f++) await mount.create(`f${f}`, dir.attr.ino)
  }
}
async function write(master: TestMaster, mount: TestMount, ino: Ino, extents: number, each = 10): Promise<void> {
  const chunk = master.state.nextIds().chunk
  for (const command of [
    {
      ...{ kind: 'nodeJoined', node: 1, uuid: 'n', name: 'n', host: 'h', port: 1, version: '1' },
      disks: [{ disk: 1, uuid: 'd', path: '/d' }],
    },
  ])
    await master.master.loop.command(() => ({ ok: command as never }))
  await master.master.loop.run({
    stamp: mount.stamp(),
    prepare: () => ({
      ok: {
        kind: 'chunkOpen',
        chunks: [{ chunk, disks: [1 as never] }],
        copies: 1,
        bytesMax: undefined,
        classId: undefined,
      },
    }),
  })
  for (let i = 0; i < extents; i += 1000) {
    const page = Array.from({ length: Math.min(1000, extents - i) }, (_, k) => ({
      offset: (i + k) * each,
      length: each,
      chunk: chunk as ChunkId,
      // Backwards, so that no two extents become one.
      chunkOffset: (extents - 1 - i - k) * each,
    }))
    await master.call(mount.peer, 'commit', {
      stamp: mount.stamp(),
      files: [
        {
          ino,
          extents: page,
          minSize: undefined,
          mtime: undefined,
          change: undefined,
          ctime: undefined,
          answered: undefined,
        },
      ],
      sync: false,
    })
  }
}

describe('a snapshot', () => {
  test('appears at once, and mounts that know the directory are told of one name', async () => {
    const { master, mount } = await start()
    await tree(mount, 3, 100)
    await mount.lookup('source')
    master.work()
    const job = await create(master, '/source', 'copy')
    expect((await jobOf(master, job)).phase).toBe('copying')
    await master.clock.pass(2_000)
    expect(await jobOf(master, job)).toMatchObject({ phase: 'over', inodes: 304, errno: '', source: '/source' })
    for (const d of [0, 1, 2]) expect(names(master, `/copy/d${d}`)).toEqual(names(master, `/source/d${d}`))
    const told = mount.invalidations().flatMap(({ entries }) => entries)
    expect(told).toEqual([{ parent: ROOT_INO, name: 'copy', child: undefined }])
  })

  test('is made in commands that write a bounded number of records each, and so is one of a file in many pieces', async () => {
    const store = new CountingStore()
    const { master, mount } = await start(store)
    await tree(mount, 2, 700)
    const { attr } = await mount.create('image')
    await write(master, mount, attr.ino, 9_000)
    master.work()
    await settle()
    store.most = 0
    const first = await create(master, '/source', '/copy')
    await master.clock.pass(3_000)
    const second = await create(master, '/image', '/image-copy')
    await master.clock.pass(3_000)
    expect(await jobOf(master, first)).toMatchObject({ phase: 'over', errno: '', inodes: 1_403 })
    expect(await jobOf(master, second)).toMatchObject({ phase: 'over', errno: '', inodes: 1, bytes: 90_000 })
    expect(store.most).toBeLessThan(3_000)
  })

  test('contains what a mount has changed and not told yet when it is asked for', async () => {
    const { master, mount } = await start()
    const { attr: source } = await mount.make('source', ROOT_INO)
    const { first } = await master.call(mount.peer, 'inosReserve', { stamp: mount.stamp(), count: 10 })
    const other = await TestMount.open(master, 'b')
    const asked: boolean[] = []
    const node = { type: 'file', mode: 0o600, uid: 0, gid: 0, rdev: 0, target: '', opened: false } as const
    const time = master.clock.now()
    mount.peer.answers.recall = async ({ all }) => {
      asked.push(all)
      const made = {
        kind: 'make',
        parent: source.ino,
        name: 'late',
        ino: first,
        time,
        node,
        change: undefined,
      } as const
      await master.call(mount.peer, 'names', { stamp: mount.stamp(), changes: [made] as never })
      return {}
    }
    master.work()
    await create(master, '/source', '/copy')
    await master.clock.pass(1_000)
    expect(asked).toEqual([true])
    expect(other.peer.asked.filter(({ name }) => name === 'recall')).toHaveLength(1)
    expect(names(master, '/copy')).toEqual(['late'])
  })

  test('waits for the mount that holds the directory in which it appears', async () => {
    const { master, mount } = await start()
    await tree(mount, 1, 3)
    const other = await TestMount.open(master, 'b')
    const { attr: place } = await other.make('place', ROOT_INO)
    other.peer.answers.recall = () => ({})
    const job = await create(master, '/source', '/place/copy')
    // Held again, as by the first change in it.
    expect(master.master.holdings.hold(master.master.sessions.find(other.session)!, place.ino)).toBe(true)
    let over: () => void = () => undefined
    other.peer.answers.recall = () =>
      new Promise((resolve) => {
        over = () => resolve({})
      })
    master.work()
    await master.clock.pass(1_000)
    expect((await jobOf(master, job)).phase).toBe('copying')
    expect(at(master, '/place/copy')).toBeUndefined()
    over()
    await master.clock.pass(1_000)
    expect((await jobOf(master, job)).phase).toBe('over')
    expect(names(master, '/place/copy')).toEqual(['d0'])
  })

  test('goes on after a restart of the master, and shows what was there when it began', async () => {
    const { master, mount } = await start()
    await tree(mount, 4, 200)
    const job = await create(master, '/source', '/copy')
    master.work()
    for (let i = 0; i < 3; i++) await settle()
    const { inodes } = await jobOf(master, job)
    expect(inodes).toBeGreaterThan(0)
    expect(inodes).toBeLessThan(805)
    await mount.unlink('f7', at(master, '/source/d2')!)
    const next = keep(await master.restarted())
    next.work()
    await next.clock.pass(5_000)
    expect(await jobOf(next, job)).toMatchObject({ phase: 'over', inodes: 805, errno: '' })
    expect(names(next, '/copy/d2')).toHaveLength(200)
    expect(names(next, '/source/d2')).toHaveLength(199)
  })

  test('that is cancelled, or whose place is taken meanwhile, leaves nothing behind and says why', async () => {
    const { master, mount } = await start()
    await tree(mount, 4, 100)
    const files = () => master.state.counters().files
    const before = files()
    const first = await create(master, '/source', '/copy')
    master.work()
    await settle()
    expect(files()).toBeGreaterThan(before)
    await master.call(admin, 'snapshotCancel', { stamp, job: first })
    await master.clock.pass(2_000)
    expect(await jobOf(master, first)).toMatchObject({ phase: 'over', errno: 'ECANCELED' })
    expect(files()).toBe(before)
    await expect(master.call(admin, 'snapshotCancel', { stamp, job: first })).rejects.toThrow('given up already')
    await expect(master.call(admin, 'snapshotCancel', { stamp, job: 99 })).rejects.toThrow('no job 99')

    const second = await create(master, '/source', '/taken')
    await mount.create('taken')
    await master.clock.pass(3_000)
    expect(await jobOf(master, second)).toMatchObject({ phase: 'over', errno: 'EEXIST' })
    expect(files()).toBe(before + 1)
  })

  test('is given up when the metadata disk is full, as soon as that takes writes again', async () => {
    class FullStore extends MemoryStore {
      full = false
      override transaction<T>(body: () => T): T {
        if (this.full) throw new FsError('ENOSPC', 'metadata disk')
        return super.transaction(body)
      }
    }
    const store = new FullStore()
    const { master, mount } = await start(store)
    await tree(mount, 4, 100)
    const before = master.state.counters().files
    const job = await create(master, '/source', '/copy')
    master.work()
    await settle()
    store.full = true
    await master.clock.pass(5_000)
    expect(await jobOf(master, job)).toMatchObject({ phase: 'copying' })
    store.full = false
    await master.clock.pass(20_000)
    expect(await jobOf(master, job)).toMatchObject({ phase: 'over', errno: 'ENOSPC' })
    expect(master.state.counters().files).toBe(before)
  })

  test('is refused with a clear reason, and mounts may not ask for one', async () => {
    const { master, mount } = await start()
    await tree(mount, 1, 1)
    const refusal = (source: string, target: string) =>
      create(master, source, target).then(
        () => 'done',
        (error: FsError) => error.message,
      )
    expect(await refusal('/', '/copy')).toContain('the copy would have to be inside it')
    expect(await refusal('/nothing', '/copy')).toContain('/nothing')
    expect(await refusal('/source', '/source/d0/copy')).toContain('inside the source')
    expect(await refusal('/source', '/source/d0')).toContain('the target exists')
    expect(await refusal('/source', '/nowhere/copy')).toContain('/nowhere')
    expect(await refusal('/source', '/')).toContain('names no place')
    await expect(
      master.call(mount.peer, 'snapshotCreate', { stamp, source: '/source', target: '/copy' }),
    ).rejects.toThrow('only an admin connection')
    await create(master, '/source', '/copy')
    expect(await refusal('/source', '/other')).toContain('snapshot 1 is being made')
  })
})

describe('a deleted tree', () => {
  test('is gone at once; a file that is open in it lives until it is closed', async () => {
    const { master, mount } = await start()
    await tree(mount, 3, 100)
    const open = at(master, '/source/d1/f5')!
    for (const d of [0, 1, 2]) {
      const files = master.state.readdirPage(at(master, `/source/d${d}`)!, 0, 1000).entries.map(({ ino }) => ino)
      await master.call(mount.peer, 'release', { session: mount.session, inos: files.filter((ino) => ino !== open) })
    }
    const { job } = await master.call(admin, 'treeDelete', { stamp, path: '/source' })
    expect(at(master, '/source')).toBeUndefined()
    master.work()
    await master.clock.pass(3_000)
    expect(await jobOf(master, job)).toMatchObject({ kind: 'delete', phase: 'over', inodes: 304 })
    expect(master.state.counters()).toMatchObject({ files: 0, directories: 1, sustained: 1 })
    await master.call(mount.peer, 'release', { session: mount.session, inos: [open] })
    await settle()
    expect(master.state.inode(open)).toBeUndefined()
    await expect(master.call(admin, 'treeDelete', { stamp, path: '/' })).rejects.toThrow('names no place')
    await expect(master.call(admin, 'treeDelete', { stamp, path: '/source' })).rejects.toThrow('directory: /source')
  })
})

describe('appending', () => {
  test('shares the bytes of one file after those of another, in several commands when it is in many pieces', async () => {
    const store = new CountingStore()
    const { master, mount } = await start(store)
    const part = (await mount.create('part')).attr.ino
    const whole = (await mount.create('whole')).attr.ino
    await write(master, mount, part, 10_000)
    await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino: part, change: { size: 100_500 } })
    const { chunk } = master.state.extents.at(part, 0)!
    const append = (offset: number) =>
      master.call(admin, 'fileAppend', { stamp, source: '/part', target: '/whole', offset })
    store.most = 0
    expect(await append(0)).toEqual({ size: 100_500 })
    expect(await append(100_500)).toEqual({ size: 201_000 })
    expect(store.most).toBeLessThan(15_000)
    await expect(append(100_500)).rejects.toThrow('is 201000 bytes long, not 100500')
    expect(master.state.attr(whole)).toMatchObject({ size: 201_000, used: 200_000 })
    expect(master.state.extents.from(whole, 100_500, 3).extents[0]).toMatchObject({ offset: 100_500, chunk })
    expect(master.state.chunk(chunk)!.live).toBe(300_000)
    await expect(master.call(admin, 'fileAppend', { stamp, source: '/', target: '/whole', offset: 0 })).rejects.toThrow(
      'not a regular file',
    )
  })
})
