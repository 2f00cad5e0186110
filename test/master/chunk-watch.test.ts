import { describe, expect, test } from 'vitest'
import { type ChunkId, chunkId, type DiskId } from '../../src/base/ids.ts'
import type { Clock } from '../../src/base/world.ts'
import { ChunkWatch, type WatchedState } from '../../src/master/chunk-watch.ts'
import type { ChunkRecord } from '../../src/master/core/records.ts'
import type { RepairDisk, RepairRules } from '../../src/master/core/repair.ts'
import { anywhere } from '../../src/topology/storage-class.ts'
import { chunkOn } from '../support/chunk-record.ts'
import { repairDisk } from '../support/repair-disk.ts'

const rules: RepairRules = { graceMs: 600_000, settleMs: 15_000, readsPerDisk: 4, writesPerDisk: 2 }

/** Disk n is on chunkserver n. Disks and chunks are what the test says; time is what it adds. */
function watched(disks: number, chunks: ReadonlyMap<number, ChunkRecord>) {
  let nowMs = 1_000_000
  const away = new Map<number, number>()
  const draining = new Set<number>()
  const walked: (DiskId | 'attention')[] = []
  const page = (ids: Iterable<number>, after: number, limit: number): ChunkId[] =>
    [...ids].filter((id) => id > after).slice(0, limit) as ChunkId[]
  const state: WatchedState = {
    chunk: (chunk) => chunks.get(chunk),
    classes: { meaning: () => anywhere('default', 2) },
    counters: () => ({ safe: chunks.size, under: 0, endangered: 0, lost: 0, over: 0, open: 0 }),
    chunkIndex: {
      attention: () => [],
      ofDisk: (disk, after, limit) => {
        walked.push(disk)
        return page(
          [...chunks].flatMap(([id, one]) => (one.disks.includes(disk) ? [id] : [])),
          after,
          limit,
        )
      },
    },
  }
  const map = (): Map<DiskId, RepairDisk> =>
    new Map(
      Array.from({ length: disks }, (_, i) => {
        const since = away.get(i + 1)
        const state = { usable: since === undefined, live: since === undefined, draining: draining.has(i + 1) }
        const one = repairDisk(i + 1, i + 1, { ...state, awayMs: since === undefined ? 0 : nowMs - since })
        return [one.disk, one]
      }),
    )
  const clock: Clock = {
    now: () => ({ sec: 0, nsec: 0 }),
    monotonicMs: () => nowMs,
    sleep: async () => undefined,
    timer: () => () => undefined,
  }
  const watch = new ChunkWatch(state, { map }, clock, () => rules)
  return {
    watch,
    walked,
    draining,
    lose: (disk: number) => {
      away.set(disk, nowMs)
      watch.livenessChanged()
    },
    back: (disk: number) => {
      away.delete(disk)
      watch.livenessChanged()
    },
    step: async () => {
      const { restMs } = await watch.step()
      nowMs += restMs
      return restMs
    },
    nowMs: () => nowMs,
  }
}

const pairs = (count: number, first: number, second: number): Map<number, ChunkRecord> =>
  new Map(Array.from({ length: count }, (_, i) => [i + 1, chunkOn([first, second])]))

describe('the watch over chunks', () => {
  test('looks at the chunks of a lost disk again as soon as the patience with it ends, however long the last round took', async () => {
    const cluster = watched(4, pairs(8_000, 1, 2))
    cluster.lose(2)
    const lostAtMs = cluster.nowMs()
    // A round takes half a second and would then rest for five: 15 s are over in the middle of such a rest.
    while (cluster.watch.waiting === 0 && cluster.nowMs() - lostAtMs < 60_000) await cluster.step()
    expect(cluster.watch.progress()).toContain('endangered 1000')
    expect(cluster.nowMs() - lostAtMs).toBeGreaterThanOrEqual(rules.settleMs)
    expect(cluster.nowMs() - lostAtMs).toBeLessThan(rules.settleMs + 1_000)
  })

  test('walks what was lost last before everything else, and then goes on where it was', async () => {
    const chunks = pairs(10_000, 1, 2)
    for (let i = 1; i <= 10; i++) chunks.set(20_000 + i, chunkOn([3, 4]))
    const cluster = watched(6, chunks)
    cluster.draining.add(1)
    for (let i = 0; i < 4; i++) await cluster.step()
    cluster.lose(3)
    cluster.walked.length = 0
    await cluster.step()
    expect(cluster.walked[0]).toBe(3)
    expect(cluster.watch.health().endangered).toBe(0)
    // A chunkserver that comes and goes with every step does not keep the round from its end.
    for (let i = 0; i < 12; i++) {
      if (i % 2 === 0) cluster.lose(5)
      else cluster.back(5)
      await cluster.step()
    }
    expect(cluster.watch.health().endangered).toBe(10)
    expect(cluster.walked.filter((disk) => disk === 1).length).toBeGreaterThan(5)
  })

  test('counts a chunk in parts once, by the disks that its parts are on', async () => {
    const parts = [11, 12, 13].map(chunkId)
    const ec = { data: 2, parity: 1, parts, present: 3 }
    const chunks = new Map([[1, chunkOn([], { ec, code: { data: 2, parity: 1 } })]])
    for (const [i, part] of parts.entries())
      chunks.set(part, chunkOn([i + 1], { copies: 1, whole: chunkId(1), length: 500_000, live: 500_000 }))
    const cluster = watched(5, chunks)
    cluster.lose(2)
    await cluster.step()
    expect(cluster.watch.health()).toMatchObject({ safe: 3, endangered: 1, lost: 0, endangeredCoded: 1 })
    cluster.lose(3)
    for (let i = 0; i < 3; i++) await cluster.step()
    expect(cluster.watch.health()).toMatchObject({ safe: 3, endangered: 0, lost: 1, endangeredCoded: 0 })
  })
})
