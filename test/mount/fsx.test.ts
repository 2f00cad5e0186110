/*
 * One file under random reads, writes, mapped writes, holes and copies: it must at every moment hold what a buffer in memory
 * holds that went through the same, and another mount that never saw the writer must read the same in the end.
 */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { same } from '../conformance/vfs-probe.ts'
import { operationsOf } from '../model/compare.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'
import { seedOf } from '../support/seed.ts'

const run = promisify(execFile)
const PROGRAM = fileURLToPath(new URL('./fsx.py', import.meta.url))
const LONG = 900_000

describe.skipIf(!canMount())('one file under random work', () => {
  let cluster: LocalCluster
  beforeAll(async () => {
    cluster = await LocalCluster.start({ mounts: 2 })
  })
  afterAll(() => cluster?.stop())
  const seed = seedOf()

  const work = async (which: number, ...paths: string[]): Promise<Buffer> => {
    const words = [PROGRAM, String(seed + which), String(operationsOf(2500)), ...paths]
    return (await run('python3', words, { encoding: 'buffer', maxBuffer: 1 << 26, timeout: LONG })).stdout
  }

  test(`holds what was put into it through one mount (seed ${seed})`, { timeout: LONG }, async () => {
    const held = await work(0, join(cluster.path(0), 'one'))
    same(await readFile(join(cluster.path(1), 'one')), held)
    expect((await cluster.check()).findings).toEqual([])
  })

  test(`holds what was put into it through two mounts by turns (seed ${seed + 1})`, { timeout: LONG }, async () => {
    await work(1, join(cluster.path(0), 'two'), join(cluster.path(1), 'two'))
    expect((await cluster.check()).findings).toEqual([])
  })
})
