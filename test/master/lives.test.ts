/* What chunks are to be from now on: found out for many at once, and for one of very many files. */

import { describe, expect, it } from 'vitest'
import type { ChunkId, Ino, SessionId } from '../../src/base/ids.ts'
import { classWith, writeClass } from '../../src/topology/storage-class.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer } from './harness.ts'

const ADMIN = { session: 0 as SessionId, seq: 0, acked: 0 }
const watched = masterOfEachTest()
const admin = new TestPeer('admin', 'cli')

async function start(): Promise<{ master: TestMaster; mount: TestMount }> {
  const master = watched(new TestMaster())
  for (const name of ['a', 'b']) await new TestChunkserver(name).join(master)
  await master.call(admin, 'settingsSet', { stamp: ADMIN, trashRetentionMs: 86_400_000 } as never)
  return { master, mount: await TestMount.open(master, 'm') }
}
async function classMade(master: TestMaster, flags: Record<string, string>, name = 'one', classId = 0) {
  const text = writeClass(classWith(name, flags))
  return (await master.call(admin, 'classSet', { stamp: ADMIN, classId, text })).classId
}
const give = (master: TestMaster, path: string, classId: number) =>
  master.call(admin, 'classOf', { stamp: ADMIN, path, ino: undefined, classId, onlyFrom: undefined, page: undefined })

async function opened(master: TestMaster, mount: TestMount, count: number): Promise<ChunkId[]> {
  const wanted = { stamp: mount.stamp(), count, kind: 'stream' as const, avoid: [], classId: undefined }
  const { chunks } = await master.call(mount.peer, 'chunkOpen', wanted)
  return chunks.map(({ chunk }) => chunk)
}
async function sealed(master: TestMaster, mount: TestMount, chunk: ChunkId, length: number): Promise<void> {
  await master.call(mount.peer, 'chunkSeal', { stamp: mount.stamp(), chunk, length, failed: [] })
  const { disks } = master.state.chunk(chunk)!
  await master.master.loop.command(() => ({ ok: { kind: 'chunkSealed', chunk, disks: [...disks] } }))
}
/** One byte each, at so many offsets from `from` on. */
async function write(master: TestMaster, mount: TestMount, ino: Ino, chunk: ChunkId, from: number, count: number) {
  const extents = Array.from({ length: count }, (_, i) => ({
    ...{ offset: (from + i) * 10, length: 1, chunk, chunkOffset: from + i },
  }))
  const rest = { minSize: undefined, mtime: undefined, change: undefined, ctime: undefined, answered: undefined }
  const files = [{ ino, extents, ...rest }]
  await master.call(mount.peer, 'commit', { stamp: mount.stamp(), files, sync: false })
}
const commandsOf = (master: TestMaster): string[] =>
  [...master.state.changelog(1, 1_000_000)].map(({ command }) => command.kind)

describe('what chunks are to be', () => {
  it('is asked only while something has a class of its own, or a chunk is still as one said', async () => {
    const { master, mount } = await start()
    const one = await classMade(master, { K: '1*' })
    const [chunk] = await opened(master, mount, 1)
    const { ino } = (await mount.create('f')).attr
    await write(master, mount, ino, chunk!, 0, 1)
    await sealed(master, mount, chunk!, 1)
    const lives = master.master.workers.find(({ name }) => name === 'storage classes')!
    expect(lives.report().queued).toBe(0)
    await give(master, '/f', one)
    expect(lives.report().queued).toBeGreaterThan(0)
    master.work()
    await master.clock.pass(5_000)
    expect(master.state.chunk(chunk!)).toMatchObject({ classId: one, copies: 1 })
    await give(master, '/f', 1)
    await master.clock.pass(5_000)
    expect(master.state.chunk(chunk!)?.classId).toBeUndefined()
    expect(master.state.chunk(chunk!)?.copies).toBe(2)
    await mount.make('d', 1 as Ino)
    await mount.unlink('f')
    expect(lives.report()).toMatchObject({ queued: 0, state: 'idle' })
  })

  it('is told to many with one command', async () => {
    const { master, mount } = await start()
    const one = await classMade(master, { K: '2*' })
    const { ino: dir } = (await mount.make('d', 1 as Ino)).attr
    await give(master, '/d', one)
    const chunks: ChunkId[] = []
    for (let at = 0; at < 20; at++) chunks.push(...(await opened(master, mount, 15)))
    for (const [i, chunk] of chunks.entries()) {
      const { ino } = (await mount.create(`f${i}`, dir)).attr
      await write(master, mount, ino, chunk, 0, 1)
      await sealed(master, mount, chunk, 1)
    }
    master.work()
    await master.clock.pass(30_000)
    expect(chunks.every((chunk) => master.state.chunk(chunk)?.classId === one)).toBe(true)
    await classMade(master, { K: '3*' }, 'one', one)
    const before = commandsOf(master).filter((kind) => kind === 'chunkWishes').length
    await master.clock.pass(30_000)
    expect(chunks.every((chunk) => master.state.chunk(chunk)?.copies === 3)).toBe(true)
    const kinds = commandsOf(master)
    expect(kinds).not.toContain('chunkWish')
    expect(kinds.filter((kind) => kind === 'chunkWishes').length - before).toBeLessThanOrEqual(4)
  })

  it('hangs on all files in a chunk, however many extents come before the last of them', {
    timeout: 60_000,
  }, async () => {
    const { master, mount } = await start()
    const one = await classMade(master, { K: '2*', T: '1*' })
    const [chunk] = await opened(master, mount, 1)
    const many = (await mount.create('many')).attr.ino
    const last = (await mount.create('last')).attr.ino
    for (const name of ['many', 'last']) await give(master, `/${name}`, one)
    const COUNT = 70_000
    for (let from = 0; from < COUNT; from += 1_000) await write(master, mount, many, chunk!, from, 1_000)
    await write(master, mount, last, chunk!, COUNT, 1)
    await sealed(master, mount, chunk!, COUNT + 1)
    await mount.unlink('many')
    // Compaction would not leave such a file as it is.
    const stop = new AbortController()
    const working = master.master.workers.find(({ name }) => name === 'storage classes')!.run(stop.signal)
    await master.clock.pass(60_000)
    expect(master.state.extents.inChunk(chunk!, undefined, 100_000)).toHaveLength(COUNT + 1)
    const phase = () => [master.state.chunk(chunk!)?.classId, master.state.chunk(chunk!)?.phase]
    expect(phase()).toEqual([one, undefined])
    await mount.unlink('last')
    await master.clock.pass(60_000)
    expect(phase()).toEqual([one, 'trash'])
    stop.abort()
    await working
  })
})
