/*
 * Random operations on real mounts and on a directory of this machine's own disk: the same answers and the same files,
 * through one mount, and through two mounts of one cluster by turns, where each file is closed before the other side
 * looks.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareRunners, operationsOf } from '../model/compare.ts'
import { PathRunner } from '../model/path-runner.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'
import { seedOf } from '../support/seed.ts'

const LONG = 900_000

describe.skipIf(!canMount())('random operations on mounts', () => {
  let cluster: LocalCluster
  let plain: string
  const runners: PathRunner[] = []
  beforeAll(async () => {
    plain = await mkdtemp(join(tmpdir(), 'holdfast-plain-'))
    cluster = await LocalCluster.start({ mounts: 2 })
  })
  afterAll(async () => {
    try {
      for (const runner of runners) await runner.stop()
    } finally {
      await cluster?.stop()
      await rm(plain, { recursive: true, force: true })
    }
  })
  /** On the plain side every way is the same directory. */
  const runner = (...ways: string[]): PathRunner => {
    const made = new PathRunner(...ways)
    runners.push(made)
    return made
  }
  const seed = seedOf()

  test(`through one mount answer as a local disk does (seed ${seed})`, { timeout: LONG }, async () => {
    const profile = { ways: 1, slots: true, setId: false } as const
    const options = { seed, operations: operationsOf(3000), profile }
    await compareRunners(runner(plain), runner(cluster.path(0)), options)
    expect((await cluster.check()).findings).toEqual([])
  })

  test(`through two mounts by turns answer as a local disk does (seed ${seed})`, { timeout: LONG }, async () => {
    const profile = { ways: 2, slots: false, setId: false } as const
    const options = { seed: seed + 1, operations: operationsOf(2000), profile }
    await compareRunners(runner(plain, plain), runner(cluster.path(0), cluster.path(1)), options)
    expect((await cluster.check()).findings).toEqual([])
  })
})
