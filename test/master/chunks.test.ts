import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { ChunkId } from '../../src/base/ids.ts'
import { REMOVED_AT_ONCE } from '../../src/master/core/disks.ts'
import { LASTING_BEATS } from '../../src/master/held-watch.ts'
import { ORDERS_MAX, Orders } from '../../src/master/orders.ts'
import type { DiskState, Settings } from '../../src/wire/shapes.ts'
import { diskReport, masterOfEachTest, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MINUTE = 60_000
const keep = masterOfEachTest()

async function cluster(
  count: number,
  settings: Partial<Settings> = {},
): Promise<{ master: TestMaster; mount: TestMount; servers: TestChunkserver[]; admin: TestPeer }> {
  // Mounts of these tests do not send heartbeats; the session must outlive hours of test time.
  const master = new TestMaster({ sessionTimeoutMs: 1_000 * MINUTE, ...settings })
  keep(master)
  const servers = Array.from({ length: count }, (_, i) => new TestChunkserver(`s${i + 1}`))
  for (const server of servers) await server.join(master)
  master.work()
  await master.clock.pass(100)
  return { master, mount: await TestMount.open(master, 'a'), servers, admin: new TestPeer('admin', 'cli') }
}
const disksOf = (master: TestMaster, chunk: ChunkId): number[] => [...master.state.chunk(chunk)!.disks].sort()
const health = async (master: TestMaster, admin: TestPeer) => (await master.call(admin, 'status', {})).chunks
const orders = (servers: readonly TestChunkserver[], name: Parameters<TestChunkserver['count']>[0]): number =>
  servers.reduce((sum, server) => sum + server.count(name), 0)
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }

describe('new chunks', () => {
  test('go to different chunkservers, to as many as there are when they are fewer than the copies', async () => {
    const { master, mount, admin } = await cluster(1, { copies: 2 })
    const { chunks } = await master.call(mount.peer, 'chunkOpen', {
      stamp: mount.stamp(),
      count: 2,
      kind: 'pack',
      avoid: [],
      classId: undefined,
    })
    expect(chunks.map((c) => c.places.length)).toEqual([1, 1])
    expect((await health(master, admin)).open).toBe(2)
  })

  test('are refused with a word that says whether waiting helps', async () => {
    const { master, mount, servers } = await cluster(1)
    const ask = () =>
      master.call(mount.peer, 'chunkOpen', {
        stamp: mount.stamp(),
        count: 1,
        kind: 'pack',
        avoid: [],
        classId: undefined,
      })
    const full = diskReport('disk-s1', { availableBytes: 0 })
    await master.call(servers[0]!.peer, 'nodeHeartbeat', { node: servers[0]!.node, disks: [full] })
    await expect(ask()).rejects.toMatchObject({ code: 'ENOSPC' })
    servers[0]!.peer.close()
    await expect(ask()).rejects.toMatchObject({ code: 'EAGAIN' })
  })

  test('are not refused for good while a disk that may have room is away and expected back', async () => {
    const { master, mount, servers } = await cluster(2)
    const ask = () =>
      master.call(mount.peer, 'chunkOpen', {
        stamp: mount.stamp(),
        count: 1,
        kind: 'pack',
        avoid: [],
        classId: undefined,
      })
    const [here, away] = servers
    const full = diskReport('disk-s1', { state: 'full', availableBytes: 0 })
    away!.peer.close()
    await master.call(here!.peer, 'nodeHeartbeat', { node: here!.node, disks: [full] })
    await expect(ask()).rejects.toMatchObject({ code: 'EAGAIN' })
    await master.clock.pass(11 * MINUTE)
    await expect(ask()).rejects.toMatchObject({ code: 'ENOSPC' })
    await away!.join(master)
    expect((await ask()).chunks[0]!.places).toHaveLength(1)
    const failed = diskReport('disk-s2', { state: 'failed' })
    await master.call(away!.peer, 'nodeHeartbeat', { node: away!.node, disks: [failed] })
    await expect(ask()).rejects.toMatchObject({ code: 'ENOSPC' })
    const readonly = diskReport('disk-s1', { state: 'readonly' })
    await master.call(here!.peer, 'nodeHeartbeat', { node: here!.node, disks: [readonly] })
    await expect(ask()).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  test('are no longer than what their disks keep aside, so that each can be rewritten whatever else is full', async () => {
    const { master, mount, servers } = await cluster(2)
    const ask = async () =>
      (
        await master.call(mount.peer, 'chunkOpen', {
          stamp: mount.stamp(),
          count: 1,
          kind: 'pack',
          avoid: [],
          classId: undefined,
        })
      ).bytesMax
    const [a, b] = servers
    const beat = (server: TestChunkserver, reservedBytes: number) =>
      master.call(server.peer, 'nodeHeartbeat', {
        node: server.node,
        disks: [diskReport(`disk-${server.name}`, { reservedBytes })],
      })
    await beat(a!, 64 * 2 ** 20)
    expect(await ask()).toBeUndefined()
    await beat(b!, 10 * 2 ** 20)
    expect(await ask()).toBe(10 * 2 ** 20)
  })

  test('avoid the disks that the client names, unless there are no others', async () => {
    const { master, mount } = await cluster(2)
    const ask = async (avoid: number[]) => {
      const { chunks } = await master.call(mount.peer, 'chunkOpen', {
        stamp: mount.stamp(),
        count: 1,
        kind: 'pack',
        avoid: avoid as never,
        classId: undefined,
      })
      return chunks[0]!.places.map((p) => p.disk).sort()
    }
    expect(await ask([1])).toEqual([2])
    expect(await ask([1, 2])).toEqual([1, 2])
  })
})

describe('sealing', () => {
  test('is ordered from every copy, and the chunk is safe when they have confirmed', async () => {
    const { master, mount, servers, admin } = await cluster(3)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', unsealed: [] })
    expect(orders(servers, 'orderSeal')).toBe(2)
    expect(await health(master, admin)).toMatchObject({ safe: 1, open: 0 })
  })

  test('goes on without a copy that is away, which confirms when it comes back', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000, () => servers[1]!.peer.close())
    await master.clock.pass(1_000)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', unsealed: [2] })
    await servers[1]!.join(master)
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', unsealed: [] })
    expect(disksOf(master, chunk)).toEqual([1, 2])
    expect(orders(servers, 'orderCopy')).toBe(0)
  })

  test('drops a copy that holds less than what was committed, and replaces it', async () => {
    const { master, mount, servers } = await cluster(3)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000, (written, disks) => {
      const short = servers.find((server) => server.disk === disks[0])!
      short.held.set(written, { length: 10, sealed: false })
    })
    await master.clock.pass(MINUTE)
    expect(disksOf(master, chunk)).toHaveLength(2)
    for (const server of servers)
      if (disksOf(master, chunk).includes(server.disk))
        expect(server.held.get(chunk)).toEqual({ length: 1000, sealed: true })
  })
})

describe('a chunk whose copies have all lost its end', () => {
  const [FULL, LONGER, SHORTER] = [1_000, 400, 300]
  /** Copies 1 and 2 hold less than the 1 000 bytes that are committed. */
  async function powerCut(count: number, lengths: readonly number[], before?: (servers: TestChunkserver[]) => void) {
    const it = await cluster(count)
    const file = await writeFile(it.master, it.mount, it.servers, 'f', FULL, (chunk, disks) => {
      for (const [i, disk] of disks.entries()) {
        const server = it.servers.find((s) => s.disk === disk)!
        if (lengths[i] === 0) server.held.delete(chunk)
        else server.held.set(chunk, { length: lengths[i]!, sealed: false })
      }
      before?.(disks.map((disk) => it.servers.find((s) => s.disk === disk)!))
    })
    return { ...it, ...file, holders: file.disks.map((disk) => it.servers.find((s) => s.disk === disk)!) }
  }
  const truncated = async ({ master, mount, ino }: Awaited<ReturnType<typeof powerCut>>, size: number) =>
    master.call(mount.peer, 'setattr', {
      stamp: mount.stamp(),
      ino,
      change: { size, mode: undefined, uid: undefined, gid: undefined, atime: undefined, mtime: undefined },
    } as never)

  test('ends where the longest does; what is lost is told, with the files, until nothing refers to it', async () => {
    const it = await powerCut(3, [SHORTER, LONGER])
    const { master, admin, chunk, servers } = it
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: LONGER, committed: FULL, lost: 600 })
    // Nobody was cut, the shorter copy has been replaced.
    expect(disksOf(master, chunk)).toHaveLength(2)
    for (const server of servers)
      if (disksOf(master, chunk).includes(server.disk))
        expect(server.held.get(chunk)).toEqual({ length: LONGER, sealed: true })
    expect(await health(master, admin)).toMatchObject({ lost: 1, lostBytes: 600, open: 0, safe: 0 })
    const { extents } = await master.call(admin, 'fileInfo', { path: '/f' })
    expect(extents).toMatchObject([{ length: FULL, lost: 600 }])
    const { findings } = await master.call(admin, 'checkPage', { cursor: '', limit: 10_000 })
    expect(findings).toMatchObject([
      { severity: 'error', what: expect.stringMatching(/600 bytes are lost, of "\/f"$/) },
    ])
    await truncated(it, LONGER)
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ length: LONGER, committed: undefined, lost: undefined })
    expect(await health(master, admin)).toMatchObject({ lost: 0, lostBytes: 0, safe: 1 })
  })

  test('waits for a copy that is away, and is whole when that one has it all', async () => {
    const { master, chunk, holders } = await powerCut(2, [LONGER, FULL], ([, away]) => away!.peer.close())
    await master.clock.pass(5 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealing', length: FULL })
    expect(holders[0]!.held.get(chunk)).toEqual({ length: LONGER, sealed: false })
    await holders[1]!.join(master)
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: FULL, lost: undefined })
  })

  test('and which nobody has seen since before it was sealed is lost past their grace, not being written', async () => {
    const it = await powerCut(2, [FULL, FULL], (both) => {
      for (const { peer } of both) peer.close()
    })
    const { master, admin, chunk, holders } = it
    await master.clock.pass(5 * MINUTE)
    expect(await health(master, admin)).toMatchObject({ open: 1, lost: 0 })
    await master.clock.pass(7 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealing' })
    expect(await health(master, admin)).toMatchObject({ open: 0, lost: 1, safe: 0 })
    for (const holder of holders) await holder.join(master)
    await master.clock.pass(MINUTE)
    expect(await health(master, admin)).toMatchObject({ open: 0, lost: 0, safe: 1 })
  })

  test.each([0, 1, 100])(
    'with very many extents is counted between other work, also when %d of them change',
    async (changesMax) => {
      const it = await powerCut(2, [LONGER, SHORTER], (both) => {
        for (const { peer } of both) peer.close()
      })
      const { master, mount, chunk, ino, holders } = it
      const pieces = 5_000
      await truncated(it, 0)
      const commit = (from: number, count: number) =>
        master.call(mount.peer, 'commit', {
          stamp: mount.stamp(),
          files: [
            {
              ino,
              // One byte each, shared by many: every second lies beyond what is left.
              extents: Array.from({ length: count }, (_, i) => ({
                offset: (from + i) * 10,
                length: 1,
                chunk,
                chunkOffset: (from + i) % 2 === 0 ? 10 : 900,
              })),
              minSize: undefined,
              mtime: undefined,
              change: undefined,
              ctime: undefined,
              answered: undefined,
            },
          ],
          sync: false,
        })
      for (let from = 0; from < pieces; from += 1_000) await commit(from, 1_000)
      // Something changes whenever the counting lets others go on.
      let asked = false
      let changes = 0
      const sleep = master.clock.sleep.bind(master.clock)
      master.clock.sleep = async (ms, options) => {
        if (asked && ms === 0 && changes < changesMax) await commit(pieces + changes++, 1)
        return sleep(ms, options)
      }
      for (const holder of holders) {
        await holder.join(master)
        const verify = holder.peer.answers.orderVerify!
        holder.peer.answers.orderVerify = (request) => {
          asked = true
          return verify(request)
        }
      }
      await master.clock.pass(2 * MINUTE)
      expect(changes).toBeGreaterThanOrEqual(Math.min(changesMax, 3))
      expect(master.state.chunk(chunk)).toMatchObject({
        state: 'sealed',
        length: LONGER,
        lost: 2_500 + Math.floor(changes / 2),
      })
      master.check()
    },
  )

  test('does not wait for one beyond its grace, which makes it whole if it comes back all the same', async () => {
    const { master, admin, chunk, holders, servers } = await powerCut(3, [LONGER, FULL], ([, away]) =>
      away!.peer.close(),
    )
    await master.clock.pass(12 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: LONGER, lost: 600 })
    await holders[1]!.join(master)
    await master.clock.pass(5 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: FULL, lost: undefined, unsealed: [] })
    expect(await health(master, admin)).toMatchObject({ lost: 0, lostBytes: 0, safe: 1 })
    for (const server of servers)
      if (disksOf(master, chunk).includes(server.disk))
        expect(server.held.get(chunk)).toEqual({ length: FULL, sealed: true })
  })

  test('or even a copy that was written off and reports again', async () => {
    const { master, chunk, holders, servers } = await powerCut(3, [LONGER, 0], () => undefined)
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: LONGER, lost: 600 })
    const back = servers.find((server) => !disksOf(master, chunk).includes(server.disk)) ?? holders[1]!
    back.held.set(chunk, { length: FULL, sealed: false })
    const entries = [{ chunk, state: 'open' as const, length: FULL }]
    const page = { node: back.node, disk: back.disk, full: false, first: true, last: true, seq: 1, entries }
    expect((await master.call(back.peer, 'inventory', page)).unwanted).toEqual([])
    await master.clock.pass(5 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: FULL, lost: undefined })
  })

  test('of which nothing is left is lost, and not asked for again and again', async () => {
    const { master, admin, chunk, servers } = await powerCut(2, [0, 0])
    await master.clock.pass(MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealed', length: 0, lost: FULL, disks: [] })
    expect(await health(master, admin)).toMatchObject({ lost: 1, lostBytes: FULL })
    const before = orders(servers, 'orderSeal')
    await master.clock.pass(10 * MINUTE)
    expect(orders(servers, 'orderSeal')).toBe(before)
  })

  test('is not shortened while a disk in trouble may still hold more', async () => {
    const { master, chunk, holders } = await powerCut(2, [LONGER, FULL], ([, sick]) => {
      sick!.peer.answers.orderSeal = () => {
        throw new FsError('EIO', 'the disk does not answer')
      }
    })
    await master.clock.pass(20 * MINUTE)
    expect(master.state.chunk(chunk)).toMatchObject({ state: 'sealing', length: FULL })
    expect(holders[0]!.held.get(chunk)).toEqual({ length: LONGER, sealed: false })
  })
})

describe('a chunkserver that is away', () => {
  test('for the time of a restart causes no copying', async () => {
    const { master, mount, servers, admin } = await cluster(3)
    const { disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const gone = servers.find((server) => server.disk === disks[0])!
    gone.peer.close()
    await master.clock.pass(10_000)
    expect(await health(master, admin)).toMatchObject({ safe: 0, endangered: 1 })
    await gone.join(master)
    await master.clock.pass(30 * MINUTE)
    expect(await health(master, admin)).toMatchObject({ safe: 1, endangered: 0 })
    expect(orders(servers, 'orderCopy')).toBe(0)
  })

  test('with the only other copy of something is not waited for longer than that', async () => {
    const { master, mount, servers, admin } = await cluster(3)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    servers.find((server) => server.disk === disks[0])!.peer.close()
    await master.clock.pass(MINUTE)
    expect(orders(servers, 'orderCopy')).toBe(1)
    expect(disksOf(master, chunk)).toHaveLength(3)
    expect(await health(master, admin)).toMatchObject({ safe: 1, endangered: 0 })
  })

  test('is waited for during its grace where two copies of three are left', async () => {
    const { master, mount, servers } = await cluster(4, { copies: 3 })
    const { disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    servers.find((server) => server.disk === disks[0])!.peer.close()
    await master.clock.pass(9 * MINUTE)
    expect(orders(servers, 'orderCopy')).toBe(0)
    await master.clock.pass(3 * MINUTE)
    expect(orders(servers, 'orderCopy')).toBe(1)
  })

  test('is counted again when it comes back before it was written off, and the copy too many goes', async () => {
    const { master, mount, servers } = await cluster(3)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const gone = servers.find((server) => server.disk === disks[0])!
    gone.peer.close()
    await master.clock.pass(2 * MINUTE)
    await gone.join(master)
    await master.clock.pass(2 * MINUTE)
    expect(disksOf(master, chunk)).toHaveLength(2)
    expect(servers.filter((server) => server.held.has(chunk))).toHaveLength(2)
    for (const server of servers) expect(server.held.has(chunk)).toBe(disksOf(master, chunk).includes(server.disk))
  })

  test('is written off after its grace; what it still holds is not wanted when it comes back', async () => {
    const { master, mount, servers } = await cluster(3)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const gone = servers.find((server) => server.disk === disks[0])!
    gone.peer.close()
    await master.clock.pass(15 * MINUTE)
    expect(disksOf(master, chunk)).not.toContain(gone.disk)
    await gone.join(master)
    await master.clock.pass(MINUTE)
    expect(gone.held.has(chunk)).toBe(false)
    expect(disksOf(master, chunk)).toHaveLength(2)
  })

  test('with the last copy makes the chunk lost, never forgotten', async () => {
    const { master, mount, servers, admin } = await cluster(2)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    for (const server of servers) server.peer.close()
    await master.clock.pass(60 * MINUTE)
    expect(await health(master, admin)).toMatchObject({ lost: 1, safe: 0 })
    expect(disksOf(master, chunk)).toEqual([1, 2])
    await servers[0]!.join(master)
    await servers[1]!.join(master)
    await master.clock.pass(MINUTE)
    expect(await health(master, admin)).toMatchObject({ lost: 0, safe: 1 })
  })

  test('a failed disk of a connected chunkserver counts as away', async () => {
    const { master, mount, servers } = await cluster(3)
    const { disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const server = servers.find((s) => s.disk === disks[0])!
    const failed = diskReport(`disk-${server.name}`, { state: 'failed', error: 'EIO' })
    await master.call(server.peer, 'nodeHeartbeat', { node: server.node, disks: [failed] })
    await master.clock.pass(MINUTE)
    expect(orders(servers, 'orderCopy')).toBe(1)
  })
})

describe('damage', () => {
  test('is mended in place from another copy', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const server = servers.find((s) => s.disk === disks[0])!
    const report = { node: server.node, disk: server.disk, chunk, blocks: [0], detail: 'crc' }
    await master.call(server.peer, 'damaged', report)
    await master.clock.pass(1_000)
    const asked = server.peer.asked.find((call) => call.name === 'orderRepair')!.request
    expect(asked).toMatchObject({ chunk, blocks: [0], sources: [{ disk: disks[1] }] })
  })

  test('beyond mending gets a new copy elsewhere first; only then the old one is dropped', async () => {
    const { master, mount, servers } = await cluster(3)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const bad = servers.find((s) => s.disk === disks[0])!
    bad.peer.answers.orderRepair = () => {
      throw new FsError('EIO')
    }
    const events: string[] = []
    for (const server of servers) {
      const copy = server.peer.answers.orderCopy!
      server.peer.answers.orderCopy = (request) => {
        events.push('copy')
        return copy(request)
      }
      const remove = server.peer.answers.orderDelete!
      server.peer.answers.orderDelete = (request) => {
        events.push('delete')
        return remove(request)
      }
    }
    const report = { node: bad.node, disk: bad.disk, chunk, blocks: [0], detail: 'crc' }
    await master.call(bad.peer, 'damaged', report)
    await master.clock.pass(2 * MINUTE)
    expect(events).toEqual(['copy', 'delete'])
    expect(disksOf(master, chunk)).not.toContain(bad.disk)
    expect(disksOf(master, chunk)).toHaveLength(2)
  })

  test('beyond mending with nowhere else to go makes room for a new copy on the same disk', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const bad = servers[0]!
    bad.peer.answers.orderRepair = () => {
      throw new FsError('EIO')
    }
    const report = { node: bad.node, disk: bad.disk, chunk, blocks: [], detail: 'unreadable' }
    await master.call(bad.peer, 'damaged', report)
    await master.clock.pass(2 * MINUTE)
    expect(bad.count('orderCopy')).toBe(1)
    expect(disksOf(master, chunk)).toEqual([1, 2])
  })

  for (const state of ['damaged', 'short'] as const)
    test(`of a copy (${state}) is waited with while the only other one is away, and mended when it is back`, async () => {
      const { master, mount, servers } = await cluster(3)
      const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
      await master.clock.pass(1_000)
      const bad = servers.find((s) => s.disk === disks[0])!
      const other = servers.find((s) => s.disk === disks[1])!
      other.peer.close()
      const entry =
        state === 'damaged' ? { chunk, state, length: 1000 } : { chunk, state: 'sealed' as const, length: 400 }
      const page = { node: bad.node, disk: bad.disk, full: false, first: true, last: true, seq: 5, entries: [entry] }
      const told = master.call(bad.peer, 'inventory', page)
      await master.clock.pass(10)
      expect((await told).unwanted).toEqual([])
      // Repair may have tried to copy what is damaged; that fails at a real source.
      for (const server of servers)
        server.peer.answers.orderCopy = () => {
          throw new FsError('EBADMSG')
        }
      await master.clock.pass(30 * MINUTE)
      expect(disksOf(master, chunk)).toContain(bad.disk)
      expect(bad.held.has(chunk)).toBe(true)
      expect(orders(servers, 'orderDelete')).toBe(0)
      const before = bad.count('orderRepair')
      await other.join(master)
      await master.clock.pass(1_000)
      expect(bad.count('orderRepair')).toBe(before + 1)
      const order = bad.peer.asked.find((call) => call.name === 'orderRepair')!.request
      expect(order).toMatchObject({ chunk, blocks: [], sources: [{ disk: other.disk }] })
    })

  test('of a copy that does not count any more: it stays until another copy can be read', async () => {
    const { master, mount, servers } = await cluster(3)
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const third = servers.find((s) => !disks.includes(s.disk))!
    const holders = servers.filter((s) => disks.includes(s.disk))
    for (const holder of holders) holder.peer.close()
    third.held.set(chunk, { length: 1000, sealed: true })
    const tell = async () => {
      const entries = [{ chunk, state: 'damaged' as const, length: 1000 }]
      const page = { node: third.node, disk: third.disk, full: true, first: true, last: true, seq: 9, entries }
      const told = master.call(third.peer, 'inventory', page)
      await master.clock.pass(10)
      return (await told).unwanted
    }
    expect(await tell()).toEqual([])
    await holders[0]!.join(master)
    expect(await tell()).toEqual([chunk])
  })

  test('a file that is to be deleted waits for that as well', async () => {
    const { master, mount, servers } = await cluster(3, { copies: 2 })
    const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const [first, second] = disks.map((disk) => servers.find((s) => s.disk === disk)!)
    // Dropped while the other one was there; before the order goes out it is away.
    await Promise.all([
      master.master.loop.command(() => {
        second!.peer.close()
        return { ok: { kind: 'copyDropped', chunk, disk: first!.disk, reason: 'over' } }
      }),
      master.clock.pass(10),
    ])
    await master.clock.pass(MINUTE)
    expect(first!.held.has(chunk)).toBe(true)
    await second!.join(master)
    await master.clock.pass(MINUTE)
    expect(disksOf(master, chunk)).toHaveLength(2)
    expect(first!.held.has(chunk)).toBe(disksOf(master, chunk).includes(first!.disk))
  })

  test('of the only copy is left as it is', async () => {
    const { master, mount, servers } = await cluster(1, { copies: 1 })
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const report = { node: servers[0]!.node, disk: servers[0]!.disk, chunk, blocks: [], detail: 'unreadable' }
    await master.call(servers[0]!.peer, 'damaged', report)
    await master.clock.pass(10 * MINUTE)
    expect(disksOf(master, chunk)).toEqual([1])
    expect(servers[0]!.held.has(chunk)).toBe(true)
  })
})

describe('disks', () => {
  test('a drained disk is emptied copy by copy, with progress, and can be removed then', async () => {
    const { master, mount, servers, admin } = await cluster(3)
    const files: Awaited<ReturnType<typeof writeFile>>[] = []
    for (let i = 0; i < 10; i++) files.push(await writeFile(master, mount, servers, `f${i}`, 1000))
    await master.clock.pass(1_000)
    const victim = servers.find((s) => s.disk === files[0]!.disks[0])!
    const before = master.state.disk(victim.disk)!.chunks
    await master.call(admin, 'diskDrain', { stamp: ADMIN, disk: victim.disk, drain: true, force: false })
    const report = (await master.call(admin, 'diskList', {})).find((d) => d.disk === victim.disk)!
    expect(report).toMatchObject({ draining: true, toMove: before, toMoveAtStart: before })
    await master.clock.pass(5 * MINUTE)
    expect(master.state.disk(victim.disk)!.chunks).toBe(0)
    expect(victim.held.size).toBe(0)
    const removed = master.call(admin, 'diskRemove', { stamp: ADMIN, disk: victim.disk, force: false })
    await master.clock.pass(100)
    await removed
    expect(victim.count('orderDiskRemove')).toBe(1)
    expect(await master.call(admin, 'diskList', {})).toHaveLength(2)
    expect(await health(master, admin)).toMatchObject({ safe: 10, under: 0, endangered: 0, over: 0 })
  })

  test('where the scrubber of a disk is shows with the disk and among the running work', async () => {
    const { master, servers, admin } = await cluster(2)
    const [server] = servers
    const scrub = { startedMs: 1_700_000_000_000, chunks: 3, bytes: 2 ** 20, damaged: 1, finished: false, days: 30 }
    const beat = (report: DiskState) =>
      master.call(server!.peer, 'nodeHeartbeat', { node: server!.node, disks: [report] })
    await beat(diskReport('disk-s1', { chunks: 5, scrub }))
    const disks = await master.call(admin, 'diskList', {})
    const nowSec = master.clock.now().sec
    const lateSeconds = Math.round(Math.max(0, nowSec - scrub.startedMs / 1000 - 30 * 86_400))
    expect(disks.map((disk) => disk.scrub)).toEqual([{ ...scrub, lateSeconds, secondsLeft: expect.anything() }, null])
    const lateBy = async (startedSec: number, finished = false) => {
      await beat(diskReport('disk-s1', { scrub: { ...scrub, startedMs: startedSec * 1000, finished } }))
      return (await master.call(admin, 'diskList', {}))[0]!.scrub
    }
    expect(await lateBy(nowSec - 29 * 86_400)).toMatchObject({ lateSeconds: 0, secondsLeft: 0 })
    expect(await lateBy(nowSec - 31 * 86_400)).toMatchObject({ lateSeconds: 86_400 })
    expect(await lateBy(nowSec - 31 * 86_400, true)).toMatchObject({ lateSeconds: 0, secondsLeft: null })
    await beat(diskReport('disk-s1', { chunks: 5, scrub }))
    const work = async () =>
      (await master.call(admin, 'status', {})).work.filter(({ name }) => name.startsWith('scrub '))
    expect(await work()).toMatchObject([
      { name: 'scrub s1:/disks/disk-s1', state: 'throttled', lastError: 'damaged in this round: 1' },
    ])
    await beat(diskReport('disk-s1', { scrub: { ...scrub, damaged: 0, finished: true } }))
    expect(await work()).toMatchObject([{ state: 'idle', queued: 0, lastError: '' }])
  })

  test('a disk with the only readable copy of something is not removed without force', async () => {
    const { master, mount, servers, admin } = await cluster(2)
    await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    servers[1]!.peer.close()
    await expect(
      master.call(admin, 'diskRemove', { stamp: ADMIN, disk: servers[0]!.disk, force: false }),
    ).rejects.toMatchObject({ code: 'EBUSY' })
  })

  test('a disk that a killed master was forgetting is forgotten by the next one, and its chunkserver is told', async () => {
    const { master, mount, servers } = await cluster(3)
    for (let i = 0; i < 30; i++)
      await master.call(mount.peer, 'chunkOpen', {
        stamp: mount.stamp(),
        count: 64,
        kind: 'pack',
        avoid: [],
        classId: undefined,
      })
    const victim = servers.find(({ disk }) => master.state.disk(disk)!.chunks > REMOVED_AT_ONCE)!
    await master.master.loop.command(() => ({ ok: { kind: 'diskRemove', disk: victim.disk, force: false } }))
    expect(master.state.disk(victim.disk)).toMatchObject({ leaving: false })
    const next = await master.restarted()
    keep(next)
    for (const server of servers) await server.join(next)
    expect(next.state.disk(victim.disk)).toBeDefined()
    next.work()
    await next.clock.pass(5_000)
    expect(next.state.disk(victim.disk)).toBeUndefined()
    expect(victim.count('orderDiskRemove')).toBe(1)
    expect(servers.filter(({ disk }) => next.state.disk(disk) !== undefined)).toHaveLength(2)
  })

  test('a drain that cannot end is refused unless forced', async () => {
    const { master, servers, admin } = await cluster(2)
    const drain = (force: boolean) =>
      master.call(admin, 'diskDrain', { stamp: ADMIN, disk: servers[0]!.disk, drain: true, force })
    await expect(drain(false)).rejects.toMatchObject({ code: 'ENOSPC' })
    await drain(true)
    expect(master.state.disk(servers[0]!.disk)!.draining).toBe(true)
  })

  test('a mark in the configuration drains, its removal ends that', async () => {
    const { master, servers } = await cluster(2)
    const [server] = servers
    const beat = (marked: boolean) =>
      master.call(server!.peer, 'nodeHeartbeat', { node: server!.node, disks: [diskReport('disk-s1', { marked })] })
    await beat(true)
    await master.clock.pass(10)
    expect(master.state.disk(server!.disk)!.draining).toBe(true)
    await beat(false)
    await master.clock.pass(10)
    expect(master.state.disk(server!.disk)!.draining).toBe(false)
  })

  test('a chunkserver that comes back has the numbers it had; a copy of its identity is refused', async () => {
    const { master, servers } = await cluster(1)
    const [server] = servers
    const { node, disk } = server!
    server!.peer.close()
    await server!.join(master)
    expect([server!.node, server!.disk]).toEqual([node, disk])
    const register = {
      uuid: 'node-s1',
      name: 'twin',
      host: '127.0.0.1',
      port: 9,
      version: '0',
      disks: [diskReport('disk-s1')],
      place: undefined,
      labels: undefined,
    }
    await expect(master.call(new TestPeer('chunkserver', 'twin'), 'nodeRegister', register)).rejects.toMatchObject({
      code: 'EEXIST',
    })
  })

  test('a heartbeat with a disk that the master does not know asks for a new registration', async () => {
    const { master, servers } = await cluster(1)
    const [server] = servers
    const disks = [diskReport('disk-s1'), diskReport('brand-new')]
    await expect(master.call(server!.peer, 'nodeHeartbeat', { node: server!.node, disks })).rejects.toMatchObject({
      code: 'ESTALE',
    })
  })
})

describe('what is not needed any more', () => {
  test('a chunk without live bytes is deleted after its grace, on every disk', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk, ino } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
    await mount.unlink('f')
    await master.clock.pass(50_000)
    expect(servers.every((server) => server.held.has(chunk))).toBe(true)
    await master.clock.pass(20_000)
    expect(master.state.chunk(chunk)).toBeUndefined()
    expect(servers.some((server) => server.held.has(chunk))).toBe(false)
  })

  test('a file on a chunkserver that was away while its chunk was forgotten goes when it is back', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk, ino } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    servers[1]!.peer.close()
    await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
    await mount.unlink('f')
    await master.clock.pass(2 * MINUTE)
    expect(master.state.chunk(chunk)).toBeUndefined()
    expect(servers[1]!.held.has(chunk)).toBe(true)
    await servers[1]!.join(master)
    await master.clock.pass(MINUTE)
    expect(servers[1]!.held.has(chunk)).toBe(false)
  })

  test('a file on a disk that came back, and does not know its number yet when it is told, goes a moment later', async () => {
    const { master, mount, servers } = await cluster(2)
    const { chunk, ino } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const [server] = servers
    const remove = server!.peer.answers.orderDelete!
    let asked = 0
    server!.peer.answers.orderDelete = (request) => {
      if (asked++ === 0) throw new FsError('ENODEV')
      return remove(request)
    }
    await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
    await mount.unlink('f')
    await master.clock.pass(MINUTE + 10_000)
    expect([asked, server!.held.has(chunk)]).toEqual([2, false])
  })

  test('a file that a killed master was to delete is found by the number of chunks, and goes', async () => {
    const { master, mount, servers } = await cluster(2)
    const kept = await writeFile(master, mount, servers, 'kept', 1000)
    const { chunk, ino } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    for (const server of servers)
      server.peer.answers.orderDelete = () => {
        throw new FsError('ENOTCONN')
      }
    await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
    await mount.unlink('f')
    await master.clock.pass(2 * MINUTE)
    expect(master.state.chunk(chunk)).toBeUndefined()
    const running = keep(await master.restarted())
    running.work()
    for (const server of servers) await server.join(running)
    const [server] = servers
    const beat = (chunks: number) =>
      running.call(server!.peer, 'nodeHeartbeat', { node: server!.node, disks: [diskReport('disk-s1', { chunks })] })
    // A moment's difference means nothing.
    for (let i = 1; i < LASTING_BEATS; i++) await beat(2)
    await beat(1)
    for (let i = 1; i < LASTING_BEATS; i++) await beat(2)
    await expect(beat(2)).rejects.toMatchObject({ code: 'ESTALE' })
    expect(await server!.register(running)).toBe(0)
    const entries = [...server!.held].map(([id, { length }]) => ({
      chunk: id as ChunkId,
      state: 'sealed' as const,
      length,
    }))
    const told = running.call(server!.peer, 'inventory', {
      node: server!.node,
      disk: server!.disk,
      full: true,
      first: true,
      last: true,
      seq: 50,
      entries,
    })
    await running.clock.pass(10)
    expect((await told).unwanted).toEqual([chunk])
    expect(disksOf(running, kept.chunk)).toEqual([1, 2])
    // Asked once: what goes on differing is asked again later, and the next registration is an ordinary one.
    for (let i = 0; i < 3 * LASTING_BEATS; i++) await beat(2)
    expect(await server!.register(running)).toBe(50)
    await running.clock.pass(11 * MINUTE)
    await expect(beat(2)).rejects.toMatchObject({ code: 'ESTALE' })
  })

  test('a file that nobody counts, told when it was all that could be read, goes when the copies that count are back', async () => {
    const { master, mount, servers } = await cluster(3, { copies: 2 })
    const { chunk } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const holders = disksOf(master, chunk)
    const third = servers.find(({ disk }) => !holders.includes(disk))!
    const running = keep(await master.restarted())
    running.work()
    // Cut short: it cannot count, but were the others lost it would be what is left.
    third.held.set(chunk, { length: 500, sealed: true })
    await third.join(running)
    const told = running.call(third.peer, 'inventory', {
      ...{ node: third.node, disk: third.disk, full: true, first: true, last: true, seq: 50 },
      entries: [{ chunk, state: 'sealed' as const, length: 500 }],
    })
    await running.clock.pass(10)
    expect((await told).unwanted).toEqual([])
    await running.clock.pass(MINUTE)
    expect(third.held.has(chunk)).toBe(true)
    for (const server of servers) if (server !== third) await server.join(running)
    await running.clock.pass(MINUTE)
    expect(disksOf(running, chunk)).toEqual(holders)
    expect(third.held.has(chunk)).toBe(false)
  })

  test('the trash is emptied when its time is over, and can be listed, restored and purged before', async () => {
    const { master, mount, servers, admin } = await cluster(2, { trashRetentionMs: 60 * MINUTE })
    for (const name of ['a', 'b', 'c']) {
      const { ino } = await writeFile(master, mount, servers, name, 1000)
      await master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
      await mount.unlink(name)
    }
    const list = await master.call(admin, 'trashList', { cursor: '', limit: 10, match: '' })
    expect(list.entries.map((entry) => entry.path).sort()).toEqual(['/a', '/b', '/c'])
    const first = await master.call(admin, 'trashList', { cursor: '', limit: 1, match: '' })
    const rest = await master.call(admin, 'trashList', { cursor: first.cursor, limit: 10, match: '' })
    expect(first.entries.length + rest.entries.length).toBe(3)
    const numberOf = (path: string) => list.entries.find((entry) => entry.path === path)!.ino as never
    const restored = await master.call(admin, 'trashRestore', {
      stamp: ADMIN,
      ino: numberOf('/a'),
      path: '/new/place/a',
      name: undefined,
    })
    expect(restored.path).toBe('/new/place/a')
    expect(await master.call(admin, 'fileInfo', { path: '/new/place/a' })).toMatchObject({ size: 1000, used: 1000 })
    expect((await master.call(admin, 'trashPurge', { stamp: ADMIN, inos: [numberOf('/b')] })).purged).toBe(1)
    await master.clock.pass(61 * MINUTE)
    expect(master.state.counters().trashed).toBe(0)
    expect(await master.call(admin, 'trashList', { cursor: '', limit: 10, match: '' })).toEqual({
      entries: [],
      cursor: '',
    })
  })

  test('what is left of half-dead chunks is moved together, and the old ones go', async () => {
    const { master, mount, servers } = await cluster(2)
    const size = 8 * 2 ** 20
    const file = await writeFile(master, mount, servers, 'f', size)
    await master.clock.pass(1_000)
    const change = { size: 2 ** 20 }
    await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino: file.ino, change })
    await master.clock.pass(3 * MINUTE)
    const { extents } = master.state.extents.from(file.ino, 0, 10)
    expect(extents).toHaveLength(1)
    expect(extents[0]!.chunk).not.toBe(file.chunk)
    expect(master.state.chunk(extents[0]!.chunk)).toMatchObject({ state: 'sealed', length: 2 ** 20, live: 2 ** 20 })
    expect(master.state.chunk(file.chunk)).toBeUndefined()
  })

  test('what is moved together is as old as the youngest of it', async () => {
    const { master, mount, servers } = await cluster(2)
    const size = 8 * 2 ** 20
    const change = { size: 2 ** 20 }
    const files = []
    for (const name of ['f', 'g', 'h']) {
      files.push(await writeFile(master, mount, servers, name, size))
      await master.clock.pass(5 * MINUTE)
    }
    const born = files.map(({ chunk }) => master.state.chunk(chunk)!.createdSec)
    expect(new Set(born).size).toBe(3)
    for (const { ino } of files.slice(0, 2))
      await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino, change })
    await master.clock.pass(3 * MINUTE)
    const moved = files.slice(0, 2).map(({ ino }) => master.state.extents.from(ino, 0, 10).extents[0]!.chunk)
    expect(moved[0]).toBe(moved[1])
    expect(files.map(({ chunk }) => chunk)).not.toContain(moved[0])
    expect(master.state.chunk(moved[0]!)!.createdSec).toBe(born[1])
  })

  describe('when room is short', () => {
    const MiB = 2 ** 20
    const UNCHANGED = { mode: undefined, uid: undefined, gid: undefined, atime: undefined, mtime: undefined }
    const beat = (master: TestMaster, server: TestChunkserver, rest: Partial<DiskState>) =>
      master.call(server.peer, 'nodeHeartbeat', {
        node: server.node,
        disks: [diskReport(`disk-${server.name}`, rest)],
      })
    const low = { state: 'full', usedBytes: 2 ** 30, availableBytes: 0, reservedBytes: 24 * MiB } as const
    /** Sealed chunks of which exactly half is live. */
    async function halfDead(count: number) {
      const { master, mount, servers } = await cluster(2)
      const chunks: ChunkId[] = []
      for (let i = 0; i < count; i++) {
        const { chunk, ino } = await writeFile(master, mount, servers, `f${i}`, 20 * MiB)
        chunks.push(chunk)
        await master.call(mount.peer, 'setattr', {
          stamp: mount.stamp(),
          ino,
          change: { ...UNCHANGED, size: 10 * MiB },
        } as never)
      }
      return { master, mount, servers, chunks }
    }

    test('chunks that are exactly half live are rewritten into what the disks keep aside, as far as they fit', async () => {
      const { master, servers, chunks } = await halfDead(4)
      await master.clock.pass(MINUTE)
      // There is room: nothing wins more than it costs.
      expect(orders(servers, 'orderCompact')).toBe(0)
      for (const server of servers) await beat(master, server, low)
      await master.clock.pass(9_000)
      expect(orders(servers, 'orderCompact')).toBe(1)
      const order = servers.flatMap(({ peer }) => peer.asked.filter(({ name }) => name === 'orderCompact'))[0]!
      const { ranges, targets } = order.request as { ranges: { length: number }[]; targets: unknown[] }
      expect(ranges.map(({ length }) => length)).toEqual([10 * MiB, 10 * MiB])
      expect(targets).toHaveLength(2)
      expect(chunks.map((chunk) => master.state.chunk(chunk)!.live)).toEqual([0, 0, 10 * MiB, 10 * MiB])
    })

    test('nothing is rewritten into fewer copies than it has', async () => {
      const { master, servers } = await halfDead(1)
      await beat(master, servers[0]!, low)
      await beat(master, servers[1]!, { ...low, reservedBytes: 0 })
      await master.clock.pass(MINUTE)
      expect(orders(servers, 'orderCompact')).toBe(0)
    })

    test('a rewrite that finds no room after all is tried again soon', async () => {
      const { master, servers, chunks } = await halfDead(1)
      const answers = servers.map(({ peer }) => peer.answers.orderCompact)
      for (const { peer } of servers)
        peer.answers.orderCompact = () => {
          throw new FsError('ENOSPC')
        }
      for (const server of servers) await beat(master, server, low)
      await master.clock.pass(5 * MINUTE)
      expect(master.state.chunk(chunks[0]!)!.live).toBe(10 * MiB)
      for (const [i, { peer }] of servers.entries()) peer.answers.orderCompact = answers[i]!
      await master.clock.pass(10_000)
      expect(master.state.chunk(chunks[0]!)!.live).toBe(0)
    })
  })

  test('a rewrite that fails moves nothing and leaves nothing behind', async () => {
    const { master, mount, servers } = await cluster(2)
    const file = await writeFile(master, mount, servers, 'f', 8 * 2 ** 20)
    for (const server of servers)
      server.peer.answers.orderCompact = () => {
        throw new FsError('EBADMSG')
      }
    await master.clock.pass(1_000)
    await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino: file.ino, change: { size: 2 ** 20 } })
    await master.clock.pass(3 * MINUTE)
    expect(master.state.extents.from(file.ino, 0, 10).extents[0]!.chunk).toBe(file.chunk)
    const { safe, open } = master.state.counters()
    expect({ safe, open }).toEqual({ safe: 1, open: 0 })
  })

  test('a rewrite whose extents could not be moved, because the metadata disk refused, leaves nothing behind', async () => {
    const { master, mount, servers } = await cluster(2)
    const file = await writeFile(master, mount, servers, 'f', 8 * 2 ** 20)
    await master.clock.pass(1_000)
    await master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino: file.ino, change: { size: 2 ** 20 } })
    const { store } = master
    const transaction = store.transaction.bind(store)
    let refuses = false
    store.transaction = (body) =>
      transaction(() => {
        const value = body()
        if (refuses) throw new FsError('ENOSPC', 'the metadata disk')
        return value
      })
    for (const { peer } of servers) {
      const compact = peer.answers.orderCompact!
      peer.answers.orderCompact = (request) => {
        refuses = true
        return compact(request)
      }
    }
    await master.clock.pass(MINUTE)
    expect(refuses).toBe(true)
    expect(master.state.counters().open).toBe(1)
    // A rewrite under way is nothing that a check finds fault with.
    master.check()
    for (const { peer } of servers)
      peer.answers.orderCompact = () => {
        throw new FsError('EBADMSG')
      }
    refuses = false
    await master.clock.pass(6 * MINUTE)
    expect(master.state.counters()).toMatchObject({ open: 0, dead: 0, safe: 1 })
    for (const { held } of servers) expect([...held.keys()]).toEqual([file.chunk])
  })

  test('a chunk that a killed master was filling is ended at the next start', async () => {
    const { master, servers } = await cluster(2)
    await master.master.loop.command(() => ({
      ok: {
        kind: 'compactBegun',
        chunk: master.state.nextIds().chunk,
        disks: servers.map((s) => s.disk),
        copies: 2,
        classId: undefined,
        createdSec: undefined,
      },
    }))
    const running = keep(await master.restarted())
    expect(running.state.counters().open).toBe(1)
    running.work()
    await running.clock.pass(1_000)
    expect(running.state.counters().open).toBe(0)
  })
})

describe('orders', () => {
  test('that wait for a site whose copies do not come on keep nobody from sealing and deleting', async () => {
    const master = new TestMaster({ sessionTimeoutMs: 1_000 * MINUTE })
    keep(master)
    const servers = Array.from({ length: 3 }, (_, i) => new TestChunkserver(`s${i + 1}`))
    for (const server of servers) await server.join(master)
    const orderer = new Orders(master.state, master.master.nodes)
    const stop = new AbortController()
    servers[2]!.peer.answers.orderCopy = () => new Promise(() => undefined)
    const copy = {
      disk: servers[2]!.disk,
      chunk: 1 as ChunkId,
      length: 1,
      sources: [],
      bytesPerSecond: 0,
      urgent: undefined,
    }
    for (let i = 0; i < 2 * ORDERS_MAX; i++) void orderer.give(copy.disk, 'orderCopy', copy, stop.signal)
    const [near] = servers
    await orderer.give(near!.disk, 'orderDelete', { disk: near!.disk, chunks: [1 as ChunkId] }, stop.signal)
    near!.held.set(1, { length: 5, sealed: false })
    await orderer.give(near!.disk, 'orderSeal', { disk: near!.disk, chunk: 1 as ChunkId, length: 5 }, stop.signal)
    expect(orderer.running).toBe(2 * ORDERS_MAX)
  })
})

describe('cost', () => {
  test('healthy chunks are not looked at again', async () => {
    const { master, mount, servers } = await cluster(2)
    for (let i = 0; i < 50; i++) await writeFile(master, mount, servers, `f${i}`, 1000)
    await master.clock.pass(10_000)
    let reads = 0
    const read = master.state.chunk.bind(master.state)
    master.state.chunk = (chunk) => {
      reads++
      return read(chunk)
    }
    await master.clock.pass(10 * MINUTE)
    expect(reads).toBe(0)
  })
})
