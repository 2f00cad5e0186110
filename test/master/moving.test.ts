/*
 * Data is moved politely: what is endangered overtakes everything else, what is only away for a moment is not copied, and
 * what is moved without need stops as soon as there is a need. The clock is turned by the test; links are as slow as it says.
 */

import { afterEach, describe, expect, test } from 'vitest'
import type { ChunkId, DiskId } from '../../src/base/ids.ts'
import { TestChunkserver, TestMaster, TestMount, TestPeer, writeFile } from './harness.ts'

const MiB = 2 ** 20
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
const admin = new TestPeer('admin', 'holdfast')
const running: TestMaster[] = []
afterEach(async () => {
  for (const master of running.splice(0)) {
    master.check()
    await master.end()
  }
})

async function cluster(n: number, copies = 2) {
  const master = new TestMaster({ copies })
  running.push(master)
  const servers = Array.from({ length: n }, (_, i) => new TestChunkserver(`s${String.fromCharCode(65 + i)}`))
  for (const server of servers) await server.join(master)
  const mount = await TestMount.open(master, 'm')
  master.work()
  return { master, servers, mount }
}

interface Asked {
  readonly chunk: ChunkId
  readonly target: DiskId
  readonly urgent: boolean
  readonly atMs: number
}

/** From now on every copy takes as long as its bytes need at this rate; answers what was ordered, and when. */
function paced({ master, servers }: Awaited<ReturnType<typeof cluster>>, bytesPerSecond: number): Asked[] {
  const asked: Asked[] = []
  for (const server of servers)
    server.peer.answers.orderCopy = async ({ chunk, length, disk, urgent }) => {
      asked.push({ chunk, target: disk, urgent: urgent === true, atMs: master.clock.monotonicMs() })
      await master.clock.sleep((length * 1000) / bytesPerSecond)
      server.held.set(chunk, { length, sealed: true })
      return { bytes: length }
    }
  return asked
}

describe('new damage', () => {
  test('is copied within a second of the settle time while every place is taken by older, slower work', async () => {
    const all = await cluster(21)
    const { master, servers, mount } = all
    const files: Awaited<ReturnType<typeof writeFile>>[] = []
    for (let i = 0; i < 260; i++) files.push(await writeFile(master, mount, servers, `f${i}`, 60 * MiB))
    await master.clock.pass(2_000)
    const asked = paced(all, MiB / 16)
    const [victim, ...others] = servers as [TestChunkserver, ...TestChunkserver[]]
    // Half of the disks are to be emptied: hours of work for this line.
    for (const server of others.slice(0, 9))
      await master.call(admin, 'diskDrain', { stamp: ADMIN, disk: server.disk, drain: true, force: true })
    await master.clock.pass(10_000)
    const older = asked.length
    expect(older).toBeGreaterThanOrEqual(40)
    expect(asked.some(({ urgent }) => urgent)).toBe(false)
    victim.peer.close()
    const lostAtMs = master.clock.monotonicMs()
    const drained = new Set(others.slice(0, 9).map(({ disk }) => disk))
    const endangered = files.filter(({ disks }) => disks.includes(victim.disk))
    // What would be copied anyway does not wait for the victim to come back.
    const waited = endangered.filter(({ disks }) => !disks.some((disk) => drained.has(disk)))
    const isWaited = ({ chunk }: Asked) => waited.some((file) => file.chunk === chunk)
    expect(waited.length).toBeGreaterThanOrEqual(8)
    await master.clock.pass(19_900)
    expect(asked.filter(isWaited)).toEqual([])
    await master.clock.pass(1_100)
    const copied = asked.filter(isWaited)
    expect(copied.length).toBeGreaterThanOrEqual(Math.min(8, waited.length))
    for (const { urgent, atMs } of copied) {
      expect(urgent).toBe(true)
      expect(atMs - lostAtMs).toBeLessThan(21_000)
    }
    const isEndangered = ({ chunk }: Asked) => endangered.some((file) => file.chunk === chunk)
    for (const one of asked) if (one.urgent) expect(isEndangered(one)).toBe(true)
  }, 60_000)
})
