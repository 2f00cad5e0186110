/*
 * Chunkservers that are away, in maintenance, drained, forgotten, and disks that make errors: what the master waits for,
 * what it moves, what it refuses.
 */

import { afterEach, describe, expect, test } from 'vitest'
import { drainProblem } from '../../src/master/drain-check.ts'
import { classWith, writeClass } from '../../src/topology/storage-class.ts'
import type { NodeReport } from '../../src/wire/reports.ts'
import { diskReport, TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MINUTE = 60_000
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const running: TestMaster[] = []
afterEach(async () => {
  for (const master of running.splice(0)) await master.end()
})

async function cluster(n: number, copies = 2) {
  const master = new TestMaster({ copies })
  running.push(master)
  const servers = Array.from({ length: n }, (_, i) => new TestChunkserver(`s${i + 1}`))
  for (const server of servers) await server.join(master)
  const mount = await TestMount.open(master, 'm')
  master.work()
  return { master, servers, mount }
}
type Cluster = Awaited<ReturnType<typeof cluster>>

const nodeOf = async (master: TestMaster, server: TestChunkserver): Promise<NodeReport> =>
  (await master.call(admin, 'nodeList', {})).find((n) => n.node === server.node)!
const copiesMade = (servers: readonly TestChunkserver[]): number =>
  servers.reduce((sum, server) => sum + server.count('orderCopy'), 0)

/** A chunk of three copies, one chunkserver of which goes away. */
async function oneAway({ master, servers, mount }: Cluster) {
  const { chunk, disks } = await writeFile(master, mount, servers, 'f', 1000)
  await master.clock.pass(1_000)
  const victim = servers.find((s) => s.disk === disks[0])!
  return { chunk, victim, leave: () => victim.peer.close() }
}

describe('a chunkserver with a grace of its own', () => {
  test('is waited for as long as that says, whatever holds for the others, and it shows how long that still is', async () => {
    const all = await cluster(4, 3)
    const { master, servers } = all
    const { victim, leave } = await oneAway(all)
    await master.call(admin, 'nodeGrace', { stamp: ADMIN, node: victim.node, graceMs: 30 * MINUTE })
    leave()
    await master.clock.pass(20 * MINUTE)
    expect(copiesMade(servers)).toBe(0)
    expect(await nodeOf(master, victim)).toMatchObject({
      ...{ connected: false, graceSeconds: 1800, graceSet: true },
      ...{ awaySeconds: 1200, graceLeftSeconds: 600 },
    })
    await master.clock.pass(11 * MINUTE)
    expect(copiesMade(servers)).toBe(1)
    expect(await nodeOf(master, victim)).toMatchObject({ graceLeftSeconds: 0 })
  })

  test('may be missed sooner than others, and as soon as others when it has none any more', async () => {
    const all = await cluster(4, 3)
    const { master, servers } = all
    const { victim, leave } = await oneAway(all)
    const grace = (graceMs: number | undefined) =>
      master.call(admin, 'nodeGrace', { stamp: ADMIN, node: victim.node, graceMs })
    await grace(MINUTE)
    await grace(undefined)
    leave()
    await master.clock.pass(5 * MINUTE)
    expect(copiesMade(servers)).toBe(0)
    await grace(MINUTE)
    await master.clock.pass(10_000)
    expect(copiesMade(servers)).toBe(1)
  })
})

describe('maintenance', () => {
  const maintain = (master: TestMaster, server: TestChunkserver, forMs: number) =>
    master.call(admin, 'nodeMaintenance', { stamp: ADMIN, node: server.node, forMs })

  test('lets a chunkserver be away, and is over by itself', async () => {
    const all = await cluster(4, 3)
    const { master, servers } = all
    const { victim, leave } = await oneAway(all)
    await maintain(master, victim, 120 * MINUTE)
    leave()
    await master.clock.pass(90 * MINUTE)
    expect(copiesMade(servers)).toBe(0)
    expect(await nodeOf(master, victim)).toMatchObject({ maintenanceLeftSeconds: 1800, graceLeftSeconds: 1800 })
    await master.clock.pass(31 * MINUTE)
    expect(await nodeOf(master, victim)).toMatchObject({ maintenanceLeftSeconds: 0 })
    expect(copiesMade(servers)).toBe(1)
  })

  test('ends when it is told to, and is known to a master that was started again', async () => {
    const all = await cluster(4, 3)
    const { master, servers } = all
    const { victim, leave } = await oneAway(all)
    await maintain(master, victim, 120 * MINUTE)
    leave()
    const next = await master.restarted()
    running.push(next)
    for (const server of servers) if (server !== victim) await server.join(next)
    next.work()
    await next.clock.pass(60 * MINUTE)
    expect(copiesMade(servers)).toBe(0)
    await maintain(next, victim, 0)
    await next.clock.pass(10_000)
    expect(copiesMade(servers)).toBe(1)
  })

  test('keeps nothing from being copied that has one copy left of several', async () => {
    const all = await cluster(3, 2)
    const { master, servers } = all
    const { victim, leave } = await oneAway(all)
    await maintain(master, victim, 120 * MINUTE)
    leave()
    await master.clock.pass(MINUTE)
    expect(copiesMade(servers)).toBe(1)
  })

  test('has an end', async () => {
    const { master, servers } = await cluster(1, 1)
    await expect(maintain(master, servers[0]!, 31 * 24 * 60 * MINUTE)).rejects.toMatchObject({ code: 'EINVAL' })
  })
})

describe('draining a chunkserver', () => {
  const drain = (master: TestMaster, server: TestChunkserver, wish: { drain?: boolean; force?: boolean } = {}) =>
    master.call(admin, 'nodeDrain', { stamp: ADMIN, node: server.node, drain: true, force: false, ...wish })

  test('empties all of its disks, tells how long that will take, and lets it be forgotten then', async () => {
    const { master, servers, mount } = await cluster(3)
    for (let i = 0; i < 40; i++) await writeFile(master, mount, servers, `f${i}`, 1000)
    await master.clock.pass(1_000)
    const [victim] = servers
    for (const { peer } of servers) {
      const copy = peer.answers.orderCopy!
      peer.answers.orderCopy = async (order) => {
        await master.clock.sleep(3_000)
        return copy(order)
      }
    }
    await drain(master, victim!)
    const report = async () => (await master.call(admin, 'diskList', {})).find((d) => d.disk === victim!.disk)!
    expect(await report()).toMatchObject({ draining: true, drainSecondsLeft: null, drainedForErrors: false })
    const seen: (number | null)[] = []
    for (let i = 0; i < 200 && (await report()).toMove > 0; i++) {
      await master.clock.pass(2_000)
      seen.push((await report()).drainSecondsLeft)
    }
    expect(await report()).toMatchObject({ toMove: 0, drainSecondsLeft: 0 })
    expect(seen.some((seconds) => seconds !== null && seconds > 0)).toBe(true)
    const remove = async () => {
      const removed = master.call(admin, 'nodeRemove', { stamp: ADMIN, node: victim!.node, force: false })
      removed.catch(() => undefined)
      await master.clock.pass(1_000)
      return removed
    }
    await expect(remove()).rejects.toMatchObject({ code: 'EBUSY' })
    victim!.peer.close()
    await remove()
    expect(await master.call(admin, 'nodeList', {})).toHaveLength(2)
    expect(await master.call(admin, 'diskList', {})).toHaveLength(2)
    expect(await nodeOf(master, victim!)).toBeUndefined()
    await victim!.join(master)
    expect(victim!.node).toBe(4)
  })

  test('is refused when the others could not keep as many copies, by what its chunks want and not by the setting', async () => {
    const { master, servers, mount } = await cluster(3, 3)
    await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    await master.call(admin, 'settingsSet', {
      stamp: ADMIN,
      ...{ copies: 1, graceMs: undefined, trashRetentionMs: undefined, sessionTimeoutMs: undefined },
    } as never)
    const refused = {
      code: 'ENOSPC',
      message: expect.stringContaining('one chunk on it would want 3 copies and find right places for only 2'),
    }
    await expect(drain(master, servers[0]!)).rejects.toMatchObject(refused)
    const ofDisk = { stamp: ADMIN, disk: servers[0]!.disk, drain: true, force: false }
    await expect(master.call(admin, 'diskDrain', ofDisk)).rejects.toMatchObject(refused)
    await drain(master, servers[0]!, { force: true })
    expect(master.state.disk(servers[0]!.disk)!.draining).toBe(true)
    await drain(master, servers[0]!, { drain: false })
    expect(master.state.disk(servers[0]!.disk)!.draining).toBe(false)
  })
})

describe('draining where classes want certain disks', () => {
  test('is refused when a class loses a right place, and not for disks that are none now', async () => {
    const master = new TestMaster({ copies: 1 })
    running.push(master)
    const at = (site: string) => ({ place: { machine: undefined, rack: 'r', site }, labels: ['A'] })
    const servers = [at('s1'), at('s2'), at('s2')].map((one, i) => new TestChunkserver(`s${i + 1}`, one))
    for (const server of servers) await server.join(master)
    const problem = (...which: number[]) =>
      drainProblem(
        { state: master.state, nodes: master.master.nodes, clock: master.clock },
        which.map((i) => servers[i]!.disk),
      )
    const text = writeClass(classWith('two-sites', { K: 'A,A/[SITE]' }))
    await master.master.loop.command(() => ({ ok: { kind: 'classSet', classId: 2, text } }))
    const mount = await TestMount.open(master, 'm')
    const opened = await master.call(mount.peer, 'chunkOpen', {
      ...{ stamp: mount.stamp(), count: 1, kind: 'pack', avoid: [], classId: 2 },
    })
    expect(opened.chunks[0]!.places.map(({ disk }) => disk)).toContain(servers[0]!.disk)
    expect(await problem(0)).toMatch(/class "two-sites": one chunk on it would want 2 copies .* only 1/)
    expect(await problem(1)).toBeUndefined()
    expect(await problem(1, 2)).toMatch(/class "two-sites"/)
    servers[0]!.peer.close()
    expect(await problem(0)).toBeUndefined()
  })
})

describe('a chunkserver that is forgotten', () => {
  test('leaves with nothing that is only there, unless forced', async () => {
    const { master, servers, mount } = await cluster(2, 2)
    await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    for (const server of servers) server.peer.close()
    const remove = async (force: boolean) => {
      const removed = master.call(admin, 'nodeRemove', { stamp: ADMIN, node: servers[0]!.node, force })
      removed.catch(() => undefined)
      await master.clock.pass(1_000)
      return removed
    }
    await expect(remove(false)).rejects.toMatchObject({ code: 'EBUSY' })
    expect(await master.call(admin, 'nodeList', {})).toHaveLength(2)
    await remove(true)
    expect(await master.call(admin, 'nodeList', {})).toHaveLength(1)
  })
})

describe('a disk with errors', () => {
  const beat = async (master: TestMaster, server: TestChunkserver, errors: number, state: 'ok' | 'failed' = 'ok') => {
    const report = diskReport(`disk-${server.name}`, { errors, state })
    await master.call(server.peer, 'nodeHeartbeat', { node: server.node, disks: [report] })
    await master.clock.pass(100)
  }
  const report = async (master: TestMaster, server: TestChunkserver) =>
    (await master.call(admin, 'diskList', {})).find((d) => d.disk === server.disk)!

  test('is emptied after the second within ten minutes, and given back by an admin alone', async () => {
    const { master, servers } = await cluster(3)
    const [bad] = servers
    await beat(master, bad!, 0)
    await beat(master, bad!, 1)
    expect(await report(master, bad!)).toMatchObject({ draining: false })
    await master.clock.pass(11 * MINUTE)
    await beat(master, bad!, 2)
    expect(await report(master, bad!)).toMatchObject({ draining: false })
    await beat(master, bad!, 3)
    expect(await report(master, bad!)).toMatchObject({ draining: true, drainedForErrors: true })
    // A restart of its process makes the disk no better.
    await beat(master, bad!, 0)
    expect(await report(master, bad!)).toMatchObject({ draining: true, drainedForErrors: true })
    const give = { stamp: ADMIN, disk: bad!.disk, drain: false, force: false }
    await master.call(admin, 'diskDrain', give)
    await beat(master, bad!, 1)
    expect(await report(master, bad!)).toMatchObject({ draining: false, drainedForErrors: false })
    await beat(master, bad!, 2)
    expect(await report(master, bad!)).toMatchObject({ draining: true })
  })

  test('is not waited for: what was on it is copied from the others at once', async () => {
    const { master, servers, mount } = await cluster(4, 3)
    const { disks } = await writeFile(master, mount, servers, 'f', 1000)
    await master.clock.pass(1_000)
    const bad = servers.find((s) => s.disk === disks[0])!
    await beat(master, bad, 2, 'failed')
    await master.clock.pass(10_000)
    expect(copiesMade(servers)).toBe(1)
  })

  test('is known to a master that was started after the errors, when it is out of use because of them', async () => {
    const { master, servers } = await cluster(3)
    const next = await master.restarted()
    running.push(next)
    for (const server of servers) await server.join(next)
    await beat(next, servers[0]!, 5)
    expect(await report(next, servers[0]!)).toMatchObject({ draining: true })
    const last = await next.restarted()
    running.push(last)
    await last.call(new TestPeer('admin', 'x'), 'diskDrain', {
      ...{ stamp: ADMIN, disk: servers[0]!.disk, drain: false, force: false },
    })
    const register = { uuid: 'node-s1', name: 's1', host: '127.0.0.1', port: 5001, version: '0' }
    const failed = diskReport('disk-s1', { errors: 2, state: 'failed' })
    const peer = new TestPeer('chunkserver', 's1')
    await last.call(peer, 'nodeRegister', { ...register, disks: [failed], place: undefined, labels: undefined })
    await last.clock.pass(100)
    expect(await report(last, servers[0]!)).toMatchObject({ draining: true, drainedForErrors: true })
  })
})
