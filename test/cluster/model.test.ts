/*
 * Random operations on a cluster in memory and on the reference model: the same answers, the same files, also while links
 * break and servers are killed and started again, none of which a program may notice.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { compareRunners, operationsOf } from '../model/compare.ts'
import { VfsRunner } from '../model/vfs-runner.ts'
import { MemoryCluster, seededRandom } from '../support/memory-cluster.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'

const LONG = 600_000

describe('random operations on a cluster in memory', () => {
  let cluster: MemoryCluster
  let clients: Filesystem[]
  beforeAll(async () => {
    cluster = await MemoryCluster.start()
    clients = [await cluster.client(), await cluster.client()]
  })
  afterAll(async () => {
    await cluster?.stop()
  })
  const seed = seedOf()
  const model = (ways: number): VfsRunner => {
    const vfs = new MemoryVfs(realClock)
    return new VfsRunner(Array.from({ length: ways }, () => vfs))
  }

  test(`through one client answer as the model does (seed ${seed})`, { timeout: LONG }, async () => {
    const profile = { ways: 1, slots: true, setId: true } as const
    await compareRunners(model(1), new VfsRunner([clients[0]!]), { seed, operations: operationsOf(3000), profile })
    expect(await cluster.findings()).toEqual([])
  })

  test(`through two clients by turns answer as the model does (seed ${seed})`, { timeout: LONG }, async () => {
    const profile = { ways: 2, slots: false, setId: true } as const
    await compareRunners(model(2), new VfsRunner(clients), { seed, operations: operationsOf(3000), profile })
    expect(await cluster.findings()).toEqual([])
  })

  test(`answer the same while servers and links fail (seed ${seed})`, { timeout: LONG }, async () => {
    const dice = seededRandom(seed)
    const accident = async (): Promise<void> => {
      if (dice.below(40) !== 0) return
      const which = dice.below(4)
      if (which === 0) await cluster.restartMaster()
      else if (which === 1) cluster.cutMaster()
      else if (which === 2) await cluster.chunkserver(dice.below(3)).restart()
      else cluster.net.cut(cluster.chunkserver(dice.below(3)).port)
    }
    const profile = { ways: 1, slots: true, setId: true } as const
    const subject = new VfsRunner([clients[0]!], accident)
    await compareRunners(model(1), subject, { seed, operations: operationsOf(800), profile })
    await cluster.until('every chunk is safe', (status) => status.chunks.lost === 0 && status.chunks.under === 0)
    expect(await cluster.findings()).toEqual([])
  })
})
