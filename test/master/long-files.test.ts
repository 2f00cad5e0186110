import { describe, expect, test } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { CUT_AT_ONCE } from '../../src/master/long-files.ts'
import { CountingStore } from './counting-store.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount } from './harness.ts'

const EXTENTS = 3 * CUT_AT_ONCE + 10
/** Two keys for each extent, the changelog's entry, and some records. */
const FEW = 2 * CUT_AT_ONCE + 50
const CHANGE = { mode: undefined, uid: undefined, gid: undefined, atime: undefined, mtime: undefined }

const keep = masterOfEachTest()

/** A file with one byte at every tenth offset. */
async function longFile() {
  const store = new CountingStore()
  const master = new TestMaster({}, store)
  keep(master)
  for (const name of ['s1', 's2']) await new TestChunkserver(name).join(master)
  const mount = await TestMount.open(master, 'a')
  const write = async (name: string): Promise<Ino> => {
    const { attr } = await mount.create(name)
    const { chunks } = await master.call(mount.peer, 'chunkOpen', {
      stamp: mount.stamp(),
      count: 1,
      kind: 'stream',
      avoid: [],
      classId: undefined,
    })
    const { chunk } = chunks[0]!
    for (let from = 0; from < EXTENTS; from += 1_000) {
      const count = Math.min(1_000, EXTENTS - from)
      const extents = Array.from({ length: count }, (_, i) => ({
        offset: (from + i) * 10,
        length: 1,
        chunk,
        chunkOffset: (from + i) * 2,
      }))
      const file = {
        ino: attr.ino,
        extents,
        minSize: undefined,
        mtime: undefined,
        change: undefined,
        ctime: undefined,
        answered: undefined,
      }
      await master.call(mount.peer, 'commit', { stamp: mount.stamp(), files: [file], sync: false })
    }
    return attr.ino
  }
  const ino = await write('f')
  store.most = 0
  const truncate = (size: number, stamp = mount.stamp()) =>
    master.call(mount.peer, 'setattr', { stamp, ino, change: { ...CHANGE, size } } as never)
  return { store, master, mount, ino, write, truncate }
}

describe('a file of very many extents', () => {
  test('is truncated in bounded commands', async () => {
    const { store, master, ino, truncate } = await longFile()
    const attr = await truncate(25)
    expect(attr).toMatchObject({ size: 25, used: 3 })
    expect(master.state.extents.from(ino, 0, 10).extents.map(({ offset }) => offset)).toEqual([0, 10, 20])
    expect(store.most).toBeLessThan(FEW)
  })

  test('is emptied in bounded commands when it is created again', async () => {
    const { store, master, mount, ino } = await longFile()
    const again = { mode: 0o644, umask: 0, uid: 0, gid: 0, exclusive: false, truncate: true, killSuidGid: undefined }
    const parent = 1 as Ino
    const reply = await master.call(mount.peer, 'create', { stamp: mount.stamp(), parent, name: 'f', ...again })
    expect(reply).toMatchObject({ created: false, attr: { ino, size: 0, used: 0 } })
    expect(store.most).toBeLessThan(FEW)
  })

  test('that a crash leaves truncated in part has lost nothing but its end', async () => {
    const { master, ino } = await longFile()
    await master.master.loop.command(() => ({ ok: { kind: 'shrunk', ino, size: 25, limit: CUT_AT_ONCE } }))
    const left = EXTENTS - CUT_AT_ONCE
    const next = await master.restarted()
    keep(next)
    expect(next.state.inode(ino)?.attr).toMatchObject({ size: left * 10, used: left })
    expect(next.state.extents.from(ino, 0, EXTENTS).extents).toHaveLength(left)
  })

  test('gets its holes in bounded commands, just where they were asked for', async () => {
    const { store, master, mount, ino } = await longFile()
    const [offset, end] = [15, (EXTENTS - 2) * 10]
    const wish = { ino, kind: 'punch' as const, keepSize: true, offset, length: end - offset, killSuidGid: undefined }
    const attr = await master.call(mount.peer, 'fallocate', { stamp: mount.stamp(), ...wish })
    expect(attr).toMatchObject({ size: (EXTENTS - 1) * 10 + 1, used: 4 })
    expect(master.state.extents.from(ino, 0, 10).extents.map((e) => e.offset)).toEqual([0, 10, end, end + 10])
    expect(store.most).toBeLessThan(FEW)
  })

  test('is not truncated again by a request that is repeated', async () => {
    const { master, ino, write, mount, truncate } = await longFile()
    const stamp = mount.stamp()
    await truncate(0, stamp)
    const other = await write('g')
    const length = EXTENTS * 10
    const range = { source: other, sourceOffset: 0, target: ino, targetOffset: 0, killSuidGid: undefined }
    for (let at = 0; at < length - 10; ) {
      const step = { ...range, sourceOffset: at, targetOffset: at, length: length - at }
      at += (await master.call(mount.peer, 'copyRange', { stamp: mount.stamp(), ...step })).copied
    }
    await expect(truncate(0, stamp)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(master.state.inode(ino)?.attr.used).toBe(EXTENTS)
  })

  test('is written over by copied ranges in bounded commands', async () => {
    const { store, master, mount, ino } = await longFile()
    const { attr } = await mount.create('hole')
    await master.call(mount.peer, 'setattr', {
      stamp: mount.stamp(),
      ino: attr.ino,
      change: { ...CHANGE, size: EXTENTS * 10 },
    } as never)
    let copied = 0
    let steps = 0
    while (copied < EXTENTS * 10) {
      const range = { source: attr.ino, sourceOffset: copied, target: ino, targetOffset: copied }
      const wish = { ...range, length: EXTENTS * 10 - copied, killSuidGid: undefined }
      copied += (await master.call(mount.peer, 'copyRange', { stamp: mount.stamp(), ...wish })).copied
      steps++
    }
    expect(steps).toBe(4)
    expect(master.state.inode(ino)?.attr).toMatchObject({ size: EXTENTS * 10, used: 0 })
    expect(store.most).toBeLessThan(FEW)
  })
})
