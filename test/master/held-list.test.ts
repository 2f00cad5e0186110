import { describe, expect, test } from 'vitest'
import type { ChunkId } from '../../src/base/ids.ts'
import { TOLD_AT_ONCE } from '../../src/master/held-list.ts'
import type { Request } from '../../src/wire/protocol.ts'
import { CountingStore } from './counting-store.ts'
import { masterOfEachTest, TestChunkserver, TestMaster } from './harness.ts'

const CHUNKS = 3 * TOLD_AT_ONCE + 100
/** Of each chunk the record and some keys of indexes. */
const FEW = 5 * TOLD_AT_ONCE + 50

const keep = masterOfEachTest()

/** Two chunkservers that both hold very many sealed chunks. */
async function full() {
  const store = new CountingStore()
  const master = new TestMaster({}, store)
  keep(master)
  const servers = [new TestChunkserver('s1'), new TestChunkserver('s2')]
  for (const server of servers) await server.join(master)
  const disks = servers.map(({ disk }) => disk)
  const chunks: ChunkId[] = []
  for (let i = 0; i < CHUNKS; i++) chunks.push((i * 2 + 1) as ChunkId)
  for (let at = 0; at < CHUNKS; at += 64) {
    const some = chunks.slice(at, at + 64)
    const opened = some.map((chunk) => ({ chunk, disks }))
    await master.master.loop.command(() => ({
      ok: { kind: 'chunkOpen', chunks: opened, copies: 2, bytesMax: undefined, classId: undefined },
    }))
    for (const chunk of some) {
      await master.master.loop.command(() => ({ ok: { kind: 'chunkSeal', chunk, length: 10, failed: [] } }))
      await master.master.loop.command(() => ({ ok: { kind: 'chunkSealed', chunk, disks } }))
    }
  }
  store.most = 0
  const [server] = servers
  const say = (held: readonly ChunkId[], rest: Partial<Request<'inventory'>> = {}) =>
    master.call(server!.peer, 'inventory', {
      node: server!.node,
      disk: server!.disk,
      full: true,
      first: true,
      last: true,
      seq: 77,
      entries: held.map((chunk) => ({ chunk, state: 'sealed' as const, length: 10 })),
      ...rest,
    })
  const counted = () => master.state.chunkIndex.ofDisk(server!.disk, 0, 2 * CHUNKS)
  return { store, master, server: server!, chunks, say, counted }
}

describe('a long list of what a disk holds', () => {
  test('is taken in by bounded commands, in whatever order it comes, and changes nothing that is as it was', async () => {
    const { store, master, server, chunks, say, counted } = await full()
    const writes = store.most
    expect(await say([...chunks].reverse())).toEqual({ unwanted: [] })
    expect(counted()).toEqual(chunks)
    expect(store.most).toBeLessThan(writes + 50)
    expect(master.state.disk(server.disk)).toMatchObject({ knownSeq: 77, walkedTo: undefined })
  })

  test('of a disk that lost everything takes its copies off the count in bounded commands', async () => {
    const { store, master, server, say, counted } = await full()
    await say([])
    expect(counted()).toEqual([])
    expect(store.most).toBeLessThan(FEW)
    expect(master.state.disk(server.disk)).toMatchObject({ knownSeq: 77, chunks: 0 })
  })

  test('that lacks some at its ends and in the middle says that those are gone, and what it has too much is unwanted', async () => {
    const { chunks, say, counted } = await full()
    const held = chunks.filter((_, i) => i > 5 && i < CHUNKS - 5 && (i < 1_000 || i > 2_500))
    const foreign = [2, 2 * CHUNKS + 100] as ChunkId[]
    expect(await say([...foreign, ...held])).toEqual({ unwanted: foreign })
    expect(counted()).toEqual(held)
  })

  test('in pages leaves alone what a later page is going to name, and refuses pages out of order', async () => {
    const { master, server, chunks, say, counted } = await full()
    const middle = 2_000
    await say(chunks.slice(0, middle), { last: false })
    expect(counted()).toEqual(chunks)
    expect(master.state.disk(server.disk)).toMatchObject({ knownSeq: 0 })
    await expect(say(chunks.slice(0, 10), { first: false })).rejects.toMatchObject({ code: 'EINVAL' })
    expect(counted()).toEqual(chunks)
    await say(chunks.slice(middle, -1), { first: false })
    expect(counted()).toEqual(chunks.slice(0, -1))
    expect(master.state.disk(server.disk)).toMatchObject({ knownSeq: 77 })
  })

  test('of changes counts as known only when all of it has been taken in', async () => {
    const { store, master, server, chunks, say, counted } = await full()
    const gone = chunks.slice(0, -1).map((chunk) => ({ chunk, state: 'gone' as const, length: 0 }))
    await say([], { full: false, first: true, entries: gone })
    expect(counted()).toEqual(chunks.slice(-1))
    expect(store.most).toBeLessThan(FEW)
    expect(master.state.disk(server.disk)).toMatchObject({ knownSeq: 77 })
  })
})
