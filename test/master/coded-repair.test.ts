/* Chunks in parts, and chunks that are to be cut, when things are not as they should be. */

import { describe, expect, it, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, type DiskId, type Ino, type SessionId } from '../../src/base/ids.ts'
import { ChunkWatch } from '../../src/master/chunk-watch.ts'
import { plan } from '../../src/master/core/plan.ts'
import { dropIn, judge, type RepairChunk, type RepairDisk, type RepairRules } from '../../src/master/core/repair.ts'
import { anyCode, plainWish } from '../../src/master/core/wishes.ts'
import { partLengths } from '../../src/topology/stripe.ts'
import { copiesOn, mapOf, repairChunk, repairDisk } from '../support/repair-disk.ts'
import { Bench } from './core/support.ts'
import { masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MINUTE = 60_000
const rules: RepairRules = { graceMs: 10 * MINUTE, settleMs: 15_000, readsPerDisk: 4, writesPerDisk: 2 }
const dice = () => 0

const disk = (number: number, rest: Partial<RepairDisk> = {}): RepairDisk => repairDisk(number, number, rest)
const away = (number: number, awayMs: number): RepairDisk => disk(number, { live: false, awayMs })
const whole = (disks: number[], rest: Partial<RepairChunk> = {}): RepairChunk =>
  repairChunk(disks, { length: 3_000_000, ...rest })
/** Two data parts and one of parity, where they are. */
const ec = (...on: number[][]): RepairChunk['ec'] => ({
  data: 2,
  parity: 1,
  parts: on.map((disks, i) => copiesOn(20 + i, disks)),
})
const CODE = anyCode({ data: 2, parity: 1 })

describe('judging what is in parts', () => {
  test('the parts stay until all copies that replace them can be read, also of one that is expected back', () => {
    const chunk = whole([4, 5], { ec: ec([1], [2], [3]) })
    const map = (fifth: RepairDisk) => mapOf(disk(1), disk(2), disk(3), disk(4), fifth)
    expect(judge(chunk, map(away(5, MINUTE)), rules).need).toEqual({ kind: 'none' })
    expect(judge(chunk, map(disk(5, { draining: true })), rules).need).toMatchObject({ kind: 'copy' })
    expect(judge(chunk, map(disk(5)), rules).need).toMatchObject({ kind: 'uncode' })
  })

  test('a lost part is made anew also when the chunk is to be put together, which may find no disk', () => {
    const chunk = whole([], { ec: ec([1], [2], [3]) })
    const disks = mapOf(disk(1), disk(2), away(3, 20 * MINUTE), disk(4, { availableBytes: 4_000_000 }))
    const { health, need } = judge(chunk, disks, rules)
    expect({ health, need }).toMatchObject({
      health: 'endangered',
      need: { kind: 'rebuild', urgency: 'endangered', indexes: [2] },
    })
    expect(plan([chunk], disks, rules, 9, dice).orders).toMatchObject([{ kind: 'rebuild', target: 4 }])
  })

  test('where no disk can take the part, what holds the others can take the whole', () => {
    const chunk = whole([], { ec: ec([1], [2], [3]) })
    const disks = mapOf(disk(1), disk(2), away(3, 20 * MINUTE))
    expect(plan([chunk], disks, rules, 9, dice).orders).toMatchObject([{ kind: 'join' }])
  })

  test('with one copy left and parts that are away, nobody waits longer than a restart takes', () => {
    const chunk = whole([4], { ec: ec([1], [2], [3]), wish: { ...plainWish(2), code: CODE } })
    const disks = (ms: number) => mapOf(disk(1), away(2, ms), away(3, ms), disk(4))
    expect(judge(chunk, disks(10_000), rules).need).toEqual({ kind: 'none' })
    expect(judge(chunk, disks(MINUTE), rules).need).toMatchObject({ kind: 'uncode' })
  })

  test('a copy of what has lost its end is not dropped for parts, which lack it as well', () => {
    const chunk = whole([4], { ec: ec([1], [2], [3]), wish: { ...plainWish(2), code: CODE } })
    const disks = mapOf(disk(1), disk(2), disk(3), disk(4))
    expect(judge(chunk, disks, rules).need).toMatchObject({ kind: 'drop', disk: 4 })
    expect(judge({ ...chunk, cut: true }, disks, rules).need).toEqual({ kind: 'none' })
  })

  test('a drop that is planned because the chunk cannot be cut now is still what is needed when it is carried out', () => {
    const chunk = whole([1, 2, 3], { wish: { ...plainWish(2), code: anyCode({ data: 8, parity: 1 }) } })
    const disks = mapOf(disk(1), disk(2), disk(3))
    const [order] = plan([chunk], disks, rules, 9, dice).orders
    expect(order).toMatchObject({ kind: 'drop', reason: 'over' })
    expect(dropIn(judge(chunk, disks, rules).need)).toMatchObject({ disk: order?.kind === 'drop' && order.disk })
  })

  test('a chunk that no disk makes better off is told apart from those that wait', () => {
    const nothing = whole([1, 2], { wish: { ...plainWish(2), code: anyCode({ data: 8, parity: 1 }) } })
    expect(plan([nothing], mapOf(disk(1), disk(2)), rules, 9, dice)).toMatchObject({
      orders: [],
      waiting: [],
      nowhere: [],
      settled: [7],
    })
  })
})

describe('parts in the state', () => {
  /** A chunk of 200 kB on disks 1 and 2, cut into parts 2, 3 and 4, which have not confirmed their ends. */
  function coded(): { bench: Bench; chunk: number; ino: number } {
    const bench = new Bench()
    bench.disks()
    const session = bench.session()
    const chunk = bench.chunk(session)
    const ino = bench.file('f')
    bench.write(session, ino, chunk, 0, 200_000, 0)
    bench.ok({ kind: 'chunkSeal', chunk: chunk as ChunkId, length: 200_000, failed: [] }, session)
    bench.ok({ kind: 'chunkSealed', chunk: chunk as ChunkId, disks: [1, 2] as DiskId[] })
    const parts = [1, 2, 3].map((n) => ({ chunk: (chunk + n) as ChunkId, disk: n as DiskId }))
    bench.ok({ kind: 'encodeBegun', whole: chunk as ChunkId, parts })
    const lengths = [131_072, 68_928, 131_072]
    const ended = parts.map((part, i) => ({ chunk: part.chunk, length: lengths[i]! }))
    bench.ok({ kind: 'encoded', whole: chunk as ChunkId, data: 2, parity: 1, parts: ended })
    return { bench, chunk, ino }
  }

  it('do not become shorter: nobody has the part, and it is made as long as it was', () => {
    const { bench, chunk } = coded()
    const part = (chunk + 1) as ChunkId
    const disks = [1] as DiskId[]
    const shorter = { kind: 'chunkShortened', chunk: part, length: 65_536, disks, gone: [], lost: 0 } as const
    expect(bench.errno({ ...shorter, disks: [...disks], gone: [] })).toBe('EINVAL')
    const none = { kind: 'chunkShortened', chunk: part, length: 0, disks: [], gone: disks, lost: 0 } as const
    expect(bench.errno({ ...none, disks: [], gone: [...disks] })).toBe('EINVAL')
    bench.ok({ kind: 'chunkShortened', chunk: part, length: 131_072, disks: [], gone: [...disks], lost: 0 })
    expect(bench.state.chunk(part)).toMatchObject({ state: 'sealed', length: 131_072, disks: [], unsealed: [] })
    expect(bench.state.chunk(chunk as ChunkId)?.ec?.present).toBe(0)
  })

  it('are looked at when their class says something else, also when the chunk is as safe as before', () => {
    const { bench, chunk } = coded()
    for (const n of [1, 2, 3]) bench.ok({ kind: 'chunkSealed', chunk: (chunk + n) as ChunkId, disks: [n] as DiskId[] })
    for (const n of [1, 2])
      bench.ok({ kind: 'copyDropped', chunk: chunk as ChunkId, disk: n as DiskId, reason: 'over' })
    const settings = { copies: 3, graceMs: undefined, trashRetentionMs: undefined, sessionTimeoutMs: undefined }
    bench.ok({ kind: 'settingsSet', ...settings, backupLabels: undefined, moving: undefined })
    const { touched } = bench.apply({ kind: 'copiesTold', limit: 100 })
    expect(touched.chunks).toContain(chunk)
  })

  it('that are given up before they confirmed are dead at once, also when their disk is never seen again', () => {
    const { bench, chunk } = coded()
    bench.ok({ kind: 'uncoded', whole: chunk as ChunkId })
    for (const n of [1, 2, 3])
      expect(bench.state.chunk((chunk + n) as ChunkId)).toMatchObject({ state: 'sealed', live: 0, whole: undefined })
    expect(bench.state.counters().dead).toBe(3)
  })
})

describe('a master', () => {
  const watched = masterOfEachTest()
  const admin = new TestPeer('admin', 'cli')
  const ADMIN = { session: 0 as SessionId, seq: 0, acked: 0 }

  async function classOfAll(master: TestMaster, name: string, keep: string, files: readonly string[], rest = {}) {
    const text = { ...master.state.classes.record(1)!.text, name, keep, ...rest }
    const { classId } = await master.call(admin, 'classSet', { stamp: ADMIN, classId: 0, text })
    const wish = { stamp: ADMIN, ino: undefined, onlyFrom: undefined, page: undefined, classId }
    for (const path of files) await master.call(admin, 'classOf', { ...wish, path })
  }

  /** Five chunkservers, and a chunk of 200 kB in two data parts and one of parity. */
  async function codedIn(master: TestMaster, more: readonly string[] = []) {
    const servers = ['a', 'b', 'c', 'd', 'e'].map((name) => new TestChunkserver(name))
    const on = (at: DiskId) => servers.find((server) => server.disk === at)!
    for (const server of servers) {
      await server.join(master)
      server.peer.answers.orderEncode = ({ source, data, parity, parts }) => {
        const lengths = partLengths(source.length, data, parity)
        for (const [i, { chunk, target }] of parts.entries())
          on(target.disk).held.set(chunk, { length: lengths[i]!, sealed: false })
        return { lengths }
      }
      server.peer.answers.orderRebuild = ({ chunk, length }) => {
        server.held.set(chunk, { length, sealed: true })
        return { bytes: length }
      }
      server.peer.answers.orderJoin = ({ chunk, whole }) => {
        server.held.set(chunk, { length: whole.length, sealed: true })
        return { bytes: whole.length }
      }
    }
    const mount = await TestMount.open(master, 'm')
    const { chunk } = await writeFile(master, mount, servers, 'f', 200_000)
    for (const name of more) await writeFile(master, mount, servers, name, 200_000)
    const names = ['f', ...more].map((name) => `/${name}`)
    await classOfAll(master, 'coded', '@2+1', names)
    return { servers, on, mount, chunk, part: (i: number) => master.state.chunk(chunk)!.ec!.parts[i]! }
  }

  it('makes a part anew that was lost before it had confirmed its end, as long as it was', async () => {
    const master = watched(new TestMaster())
    const { servers, on, chunk, part } = await codedIn(master)
    for (const { peer, held } of servers) {
      const seal = peer.answers.orderSeal!
      peer.answers.orderSeal = (order) => {
        // The disk forgets one of the parts, as after a crash.
        const first = master.state.chunk(chunk)?.ec?.parts[0] === order.chunk
        if (first && !held.get(order.chunk)?.sealed) held.delete(order.chunk)
        return seal(order)
      }
    }
    master.work()
    await master.clock.pass(60_000)
    expect(master.state.chunk(chunk)).toMatchObject({ disks: [], ec: { present: 3 } })
    const record = master.state.chunk(part(0))!
    expect(record.length).toBe(partLengths(200_000, 2, 1)[0])
    expect(on(record.disks[0]!).held.get(part(0))).toEqual({ length: record.length, sealed: true })
  })

  it('keeps the parts when a copy that was to replace them is damaged, and makes another', async () => {
    const master = watched(new TestMaster())
    const { servers, chunk } = await codedIn(master)
    master.work()
    await master.clock.pass(60_000)
    expect(master.state.chunk(chunk)).toMatchObject({ disks: [], ec: { present: 3 } })
    let bad: DiskId | undefined
    for (const { peer, disk: own } of servers) {
      const verify = peer.answers.orderVerify!
      peer.answers.orderVerify = async (order) => {
        const reply = await verify(order)
        if (order.chunks[0] === chunk) bad ??= own
        if (own !== bad) return reply
        const damaged = (entry: (typeof reply.chunks)[number]) =>
          entry.chunk === chunk ? { ...entry, state: 'damaged' as const } : entry
        return { chunks: reply.chunks.map(damaged) }
      }
    }
    await classOfAll(master, 'copies', '2*', ['/f'])
    await master.clock.pass(120_000)
    expect(bad).toBeDefined()
    const record = master.state.chunk(chunk)!
    expect(record.ec).toBeUndefined()
    expect(record.disks).toHaveLength(2)
    expect(record.disks).not.toContain(bad)
  })

  it('gives up at its start what was left of a chunk that was being cut', async () => {
    const master = watched(new TestMaster())
    const { chunk, servers } = await codedIn(master)
    await classOfAll(master, 'copies', '2*', ['/f'])
    master.work()
    await master.clock.pass(30_000)
    const left = master.state.nextIds().chunk
    await master.master.loop.command(() => {
      const parts = [{ chunk: left, disk: servers[0]!.disk }]
      return { ok: { kind: 'encodeBegun', whole: chunk, parts } }
    })
    const next = watched(await master.restarted())
    expect(next.state.chunk(left)).toMatchObject({ state: 'open', whole: chunk })
    next.work()
    await next.clock.pass(5_000)
    expect(next.state.chunk(left)).toBeUndefined()
  })

  it('forgets very many dead chunks in commands that are bounded with the parts', async () => {
    const master = watched(new TestMaster())
    const names = Array.from({ length: 300 }, (_, i) => `g${i}`)
    const { chunk } = await codedIn(master, names)
    master.work()
    await master.clock.pass(60_000)
    expect(master.state.counters()).toMatchObject({ safe: 301, dead: 0 })
    const mount = await TestMount.open(master, 'later')
    for (const name of ['f', ...names]) await mount.unlink(name)
    const from = master.state.counters().index + 1
    await master.clock.pass(130_000)
    expect(master.state.chunk(chunk)).toBeUndefined()
    const forgotten = master.state
      .changelog(from, 100_000)
      .flatMap(({ command }) => (command.kind === 'chunksForgotten' ? [command.chunks.length] : []))
    // The first are chunks with three parts each.
    expect(forgotten[0]).toBe(256)
    expect(master.state.counters().dead).toBe(0)
  })

  it('tells that a chunk lacks parts while their chunkserver is away', async () => {
    const master = watched(new TestMaster())
    const { chunk, part, on } = await codedIn(master)
    master.work()
    await master.clock.pass(60_000)
    expect(master.state.chunk(chunk)).toMatchObject({ disks: [], ec: { present: 3 } })
    on(master.state.chunk(part(1))!.disks[0]!).peer.close()
    await master.clock.pass(10_000)
    const status = await master.call(admin, 'status', {} as never)
    expect(status.chunks).toMatchObject({ safe: 0, endangered: 1 })
  })

  it('waits with a damaged part for the others that it is mended from, and does not take it for lost', async () => {
    const master = watched(new TestMaster())
    const { chunk, part, on } = await codedIn(master)
    master.work()
    await master.clock.pass(60_000)
    const [bad, away] = [0, 1].map((i) => on(master.state.chunk(part(i))!.disks[0]!))
    bad!.peer.answers.orderRepair = () => {
      throw new FsError('EIO', 'no others')
    }
    const damaged = { node: bad!.node, disk: bad!.disk, chunk: part(0), blocks: [0], detail: 'crc' }
    away!.peer.close()
    await master.call(bad!.peer, 'damaged', damaged)
    await master.clock.pass(15_000)
    expect(bad!.count('orderRepair')).toBe(0)
    expect((await master.call(admin, 'status', {} as never)).chunks).toMatchObject({ endangered: 1, lost: 0 })
    // An order under way when the others go is not the part's fault either.
    bad!.peer.answers.orderRepair = () => {
      away!.peer.close()
      throw new FsError('EIO', 'no others')
    }
    await away!.join(master)
    await master.clock.pass(15_000)
    expect(bad!.count('orderRepair')).toBe(1)
    expect((await master.call(admin, 'status', {} as never)).chunks).toMatchObject({ endangered: 1, lost: 0 })
    bad!.peer.answers.orderRepair = ({ blocks }) => ({ repaired: blocks.length })
    await away!.join(master)
    await master.clock.pass(30_000)
    expect((await master.call(admin, 'status', {} as never)).chunks).toMatchObject({ safe: 1, lost: 0 })
    expect(bad!.count('orderRepair')).toBe(2)
    expect(master.state.chunk(chunk)).toMatchObject({ ec: { present: 3 } })
  })

  it('waits once for the time of a chunk, however often its file changes meanwhile', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const { ino, chunk } = await writeFile(master, mount, servers, 'f', 1_000)
    await classOfAll(master, 'later', '2*', ['/f'], { archive: '1*', archiveAfterMs: 60_000 })
    master.work()
    const change = { mode: 0o600, uid: undefined, gid: undefined, size: undefined, atime: undefined, mtime: undefined }
    for (let i = 0; i < 10; i++) {
      await master.clock.pass(5_000)
      await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino, change })
    }
    await master.clock.pass(5_000)
    const lives = master.master.workers.map((worker) => worker.report()).find(({ name }) => name === 'storage classes')
    expect(lives?.progress).toContain(' 1 waiting')
    expect(master.state.chunk(chunk)?.phase).toBeUndefined()
    await master.clock.pass(60_000)
    expect(master.state.chunk(chunk)?.phase).toBe('archive')
  })

  it('finds after a restart what is due meanwhile, also when files change all the time', async () => {
    const before = watched(new TestMaster())
    const servers = ['a', 'b'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(before)
    const writer = await TestMount.open(before, 'm')
    const { chunk } = await writeFile(before, writer, servers, 'f', 1_000)
    const { ino } = await writeFile(before, writer, servers, 'g', 1_000)
    await classOfAll(before, 'later', '2*', ['/f'], { archive: '1*', archiveAfterMs: 60_000 })
    before.work()
    await before.clock.pass(5_000)
    before.clock.jump(100_000)
    const master = watched(await before.restarted())
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'later')
    master.work()
    await master.clock.pass(14_000)
    for (let i = 0; i < 120; i++) {
      await master.clock.pass(20)
      const change = { mode: i % 2 === 0 ? 0o600 : 0o644 }
      await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino, change })
    }
    expect(master.state.chunk(chunk)?.phase).toBe('archive')
  })

  it('looks at all files of a chunk that very many share, in pages between which others have their turn', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const { chunk } = await writeFile(master, mount, servers, 'f0', 3_000)
    const inos: Ino[] = []
    const fields = { minSize: undefined, mtime: undefined, change: undefined, ctime: undefined, answered: undefined }
    for (let i = 1; i <= 1_500; i++) {
      const { attr } = await mount.create(`f${i}`)
      inos.push(attr.ino)
    }
    master.work()
    await master.clock.pass(10_000)
    const commit = (ino: Ino, length: number) => {
      const extents = [{ offset: 0, length, chunk, chunkOffset: 0 }]
      const files = [{ ino, extents, ...fields }]
      return master.call(mount.peer, 'commit', { stamp: mount.stamp(), files, sync: false })
    }
    for (const ino of inos.slice(0, -1)) await commit(ino, 2)
    await commit(inos.at(-1)!, 1)
    const names = Array.from({ length: 1_501 }, (_, i) => `/f${i}`)
    await classOfAll(master, 'large', '2*', names, { archive: '1*', archiveBy: 'F', minBytes: 2 })
    await master.clock.pass(10_000)
    expect(master.state.chunk(chunk)).toMatchObject({ phase: undefined, copies: 2 })
    await commit(inos.at(-1)!, 2)
    await master.clock.pass(10_000)
    expect(master.state.chunk(chunk)).toMatchObject({ phase: 'archive', copies: 1 })
  })

  it('knows that chunks were left out that are only misplaced, and tells it when there is room', async () => {
    const master = watched(new TestMaster())
    const watch = new ChunkWatch(master.state, master.master.nodes, master.clock, () => rules)
    watch.touched(Array.from({ length: 10_000 }, (_, i) => chunkId(i + 1)))
    expect(watch.takeMissed()).toBe(false)
    watch.touched([chunkId(10_001)])
    expect(watch.takeMissed()).toBe(false)
    for (let i = 0; i < 10; i++) await watch.step()
    expect([watch.takeMissed(), watch.takeMissed()]).toEqual([true, false])
  })

  it('goes on with what can be done when very many chunks want labels that no disk has', async () => {
    const master = watched(new TestMaster())
    const servers = ['a', 'b', 'c'].map((name) => new TestChunkserver(name))
    for (const server of servers) await server.join(master)
    const mount = await TestMount.open(master, 'm')
    const names = Array.from({ length: 300 }, (_, i) => `f${i}`)
    for (const name of names) await writeFile(master, mount, servers, name, 1_000)
    const { chunk } = await writeFile(master, mount, servers, 'last', 1_000)
    master.work()
    await master.clock.pass(30_000)
    await classOfAll(
      master,
      'none',
      '2SSD',
      names.map((name) => `/${name}`),
    )
    await master.clock.pass(30_000)
    await classOfAll(master, 'one', '1*', ['/last'])
    await master.clock.pass(30_000)
    expect(master.state.chunk(chunk)?.disks).toHaveLength(1)
  })
})
