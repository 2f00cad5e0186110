/*
 * How far a site is behind, told from what the chunk watch sees: while copies are made slowly, while a disk is away, over a
 * restart of the master; and which files are complete where.
 */

import { describe, expect, test } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const ends = masterOfEachTest()

async function cluster() {
  const master = ends(new TestMaster({ copies: 2 }))
  const servers = ['home', 'home', 'cabin'].map((site, i) => {
    const place = { site, rack: undefined, machine: `m${i}` }
    return new TestChunkserver(`s${String.fromCharCode(65 + i)}`, { place, diskLabels: [site === 'home' ? 'H' : 'C'] })
  })
  for (const server of servers) await server.join(master)
  const mount = await TestMount.open(master, 'm')
  const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: 'H,C' }
  await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
  const cabin = servers[2]!
  /** How long a copy takes. */
  const slow = { ms: 10_000 }
  cabin.peer.answers.orderCopy = async ({ chunk, length }) => {
    await master.clock.sleep(slow.ms)
    cabin.held.set(chunk, { length, sealed: true })
    return { bytes: length }
  }
  master.work()
  return { master, servers, mount, cabin, slow }
}

const behind = async (master: TestMaster) => (await master.call(admin, 'status', {})).behind.rows
const LACK = { path: undefined, ino: undefined, page: undefined, inos: undefined, offset: 0 }

describe('a site that is behind', () => {
  test('is told of with class, bytes and the age of the oldest, until all is there', async () => {
    const { master, servers, mount, slow } = await cluster()
    slow.ms = 60_000
    const beganSec = master.clock.now().sec
    for (let i = 0; i < 3; i++) await writeFile(master, mount, servers, `f${i}`, MiB)
    await master.clock.pass(5_000)
    expect(await behind(master)).toEqual([
      { classId: 1, class: 'default', site: 'cabin', chunks: 3, bytes: 3 * MiB, oldestSec: beganSec },
    ])
    await master.clock.pass(70_000)
    expect(await behind(master)).toEqual([])
  })

  test('is found again by a master that starts', async () => {
    const { master, servers, mount, slow } = await cluster()
    slow.ms = 3_600_000
    await writeFile(master, mount, servers, 'f', MiB)
    await master.clock.pass(3_000)
    expect(await behind(master)).toHaveLength(1)
    const next = ends(await master.restarted())
    for (const server of servers) await server.register(next)
    next.work()
    // Two copies are wanted and there: only the survey of classes sees that one stands at the wrong site.
    await next.clock.pass(30_000)
    expect(await behind(next)).toMatchObject([{ site: 'cabin', bytes: MiB }])
  })

  test('is not behind because it is away, is when it is waited for no longer, and no longer when it is back', async () => {
    const { master, servers, mount, cabin, slow } = await cluster()
    slow.ms = 100
    await writeFile(master, mount, servers, 'f', MiB)
    await master.clock.pass(5_000)
    expect(await behind(master)).toEqual([])
    cabin.peer.close()
    await master.clock.pass(60_000)
    expect(await behind(master)).toEqual([])
    await master.clock.pass(600_000)
    // No disk is left that could take it.
    expect(await behind(master)).toMatchObject([{ site: null, bytes: MiB }])
    const { answers } = cabin.peer
    cabin.peer = new TestPeer('chunkserver', cabin.name, '127.0.0.1:5067')
    cabin.peer.answers = answers
    await cabin.register(master)
    await master.clock.pass(60_000)
    expect(await behind(master)).toEqual([])
  })

  test('forgets what is deleted', async () => {
    const { master, servers, mount, slow } = await cluster()
    slow.ms = 3_600_000
    const { ino } = await writeFile(master, mount, servers, 'f', MiB)
    await master.clock.pass(3_000)
    expect(await behind(master)).toHaveLength(1)
    await mount.unlink('f')
    await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
    await master.clock.pass(5_000)
    expect(await behind(master)).toEqual([])
  })
})

describe('files that are not complete at a site', () => {
  test('are named, one by one, by page and by number, until they are; file info says how far each site is', async () => {
    const { master, servers, mount } = await cluster()
    const { attr } = await mount.make('d', 1 as Ino)
    const { ino } = await writeFile(master, mount, servers, 'f', MiB)
    await master.clock.pass(1_000)
    const ask = (more: object) => master.call(admin, 'siteLack', { site: 'cabin', ...LACK, ...more })
    expect(await ask({ path: '/f' })).toMatchObject({ files: 1, lacking: [ino], lackingBytes: MiB, unwanted: 0 })
    const page = await ask({ ino: 1 as Ino, page: { cookie: 0, limit: 10 } })
    expect(page).toMatchObject({ files: 1, lacking: [ino], directories: [attr.ino], cookie: undefined })
    expect(await ask({ path: '/' })).toMatchObject({ files: 0, directories: [1] })
    expect(await ask({ inos: [ino, 99 as Ino] })).toMatchObject({ lacking: [ino] })
    expect((await master.call(admin, 'siteLack', { site: 'home', ...LACK, path: '/f' })).lacking).toEqual([])
    const { sites } = await master.call(admin, 'fileInfo', { path: '/f' })
    expect(sites).toEqual([
      { site: 'cabin', bytes: 0, missingBytes: MiB, wanted: true },
      { site: 'home', bytes: MiB, missingBytes: 0, wanted: true },
    ])
    await master.clock.pass(15_000)
    expect(await ask({ path: '/f' })).toMatchObject({ files: 1, lacking: [], lackingBytes: 0 })
    expect((await master.call(admin, 'fileInfo', { path: '/f' })).sites[0]).toMatchObject({ missingBytes: 0 })
  })

  test('are said to be unwanted there when their class puts nothing there', async () => {
    const { master, servers, mount } = await cluster()
    const text = { ...master.state.classes.record(1)!.text, create: '2H', keep: '2H' }
    await master.call(admin, 'classSet', { stamp: ADMIN, classId: 1, text })
    await writeFile(master, mount, servers, 'f', MiB)
    await master.clock.pass(1_000)
    const lack = await master.call(admin, 'siteLack', { site: 'cabin', ...LACK, path: '/f' })
    expect(lack).toMatchObject({ unwanted: 1, unwantedClass: 'default' })
    await expect(master.call(admin, 'siteLack', { site: 'moon', ...LACK, path: '/f' })).rejects.toThrow(
      'no disk is at a site "moon"; there are cabin, home',
    )
  })
})
