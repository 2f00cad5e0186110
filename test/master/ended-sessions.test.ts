import { describe, expect, test } from 'vitest'
import type { ChunkId, Ino } from '../../src/base/ids.ts'
import { CLEARED_AT_ONCE } from '../../src/master/core/sessions.ts'
import { CountingStore } from './counting-store.ts'
import { masterOfEachTest, settle, TestChunkserver, TestMaster, TestMount } from './harness.ts'

const FILES = 2 * CLEARED_AT_ONCE + 10
/** Of each unlinked, locked file: its lock from both sides, its hold from both sides, the inode; and some records. */
const FEW = 5 * CLEARED_AT_ONCE + 50

const keep = masterOfEachTest()

/** A mount with very many locks and unlinked files that it holds open, and some chunks that it writes. */
async function crowded() {
  const store = new CountingStore()
  const master = new TestMaster({ sessionTimeoutMs: 3_600_000 }, store)
  keep(master)
  for (const name of ['s1', 's2']) await new TestChunkserver(name).join(master)
  const mount = await TestMount.open(master, 'a')
  const lock = (by: TestMount, ino: Ino, wait: boolean) =>
    master.call(by.peer, 'setLock', {
      stamp: by.stamp(),
      ino,
      lock: { family: 'flock', kind: 'write', owner: '1', start: 0, end: 0, pid: 1 },
      wait,
    })
  const inos: Ino[] = []
  for (let i = 0; i < FILES; i++) {
    const { attr } = await mount.create(`f${i}`)
    inos.push(attr.ino)
    await lock(mount, attr.ino, false)
    if (i < FILES - 1) await mount.unlink(`f${i}`)
  }
  const chunks: ChunkId[] = []
  for (let i = 0; i < 3; i++) {
    const wish = { count: 1, kind: 'pack' as const, avoid: [], classId: undefined }
    const opened = await master.call(mount.peer, 'chunkOpen', { stamp: mount.stamp(), ...wish })
    chunks.push(opened.chunks[0]!.chunk)
  }
  store.most = 0
  return { store, master, mount, inos, chunks, lock }
}
const left = (master: TestMaster, { session }: TestMount): number =>
  master.state.lockedBy(session).length +
  master.state.sustained(session).length +
  master.state.chunkIndex.openOf(session).length

describe('a session that leaves very much', () => {
  test('ends at once and is cleared in bounded commands; who waits for its locks gets them', async () => {
    const { store, master, mount, inos, chunks, lock } = await crowded()
    const other = await TestMount.open(master, 'b')
    let granted = false
    const waiting = lock(other, inos.at(-1)!, true).then(() => {
      granted = true
    })
    await settle()
    await master.call(mount.peer, 'sessionClose', { session: mount.session })
    expect(left(master, mount)).toBeGreaterThan(0)
    expect(granted).toBe(false)
    await expect(mount.create('x')).rejects.toMatchObject({ code: 'ESTALE' })
    master.check()
    master.work()
    await master.clock.pass(3_000)
    await waiting
    expect(left(master, mount)).toBe(0)
    expect(master.state.over()).toBeUndefined()
    for (const chunk of chunks) expect(master.state.chunk(chunk)!.state).toBe('sealed')
    for (const ino of inos.slice(0, -1)) expect(master.state.inode(ino)).toBeUndefined()
    expect(store.most).toBeLessThan(FEW)
  })

  test('is cleared by the next master when one is killed in between', async () => {
    const { master, mount, inos } = await crowded()
    await master.call(mount.peer, 'sessionClose', { session: mount.session })
    await master.master.loop.command(() => ({ ok: { kind: 'sessionCleared', limit: 100 } }))
    master.check()
    const before = left(master, mount)
    expect(before).toBeGreaterThan(0)
    const next = await master.restarted()
    keep(next)
    expect(left(next, mount)).toBe(before)
    expect(next.master.sessions.size).toBe(0)
    next.work()
    await next.clock.pass(3_000)
    expect(left(next, mount)).toBe(0)
    expect(next.state.over()).toBeUndefined()
    for (const ino of inos.slice(0, -1)) expect(next.state.inode(ino)).toBeUndefined()
  })

  test('is over for its mount, which begins a new one while the old is cleared', async () => {
    const { master, mount } = await crowded()
    await master.call(mount.peer, 'sessionClose', { session: mount.session })
    const again = await TestMount.open(master, 'a')
    expect(again.session).not.toBe(mount.session)
    master.work()
    await master.clock.pass(3_000)
    expect(left(master, mount)).toBe(0)
    await again.create('new')
  })
})
