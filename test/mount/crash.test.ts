/*
 * SIGKILL of real processes at random moments while programs write, fsync and note what they were promised. After every
 * round: each promise is kept, the check of metadata and disks is clean, no chunk is lost. At the end nothing is left
 * behind: no session, no lock, no open chunk, no process, no mount.
 *
 * HOLDFAST_CRASH_ROUNDS sets the number of rounds, HOLDFAST_SEED repeats the dice.
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { mountsAt } from '../../src/fuse/mounts.ts'
import { Writer } from '../support/crash-load.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { canMount } from '../support/mount-child.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'

const LONG = 1_800_000
const rounds = (usual: number): number => Number(process.env.HOLDFAST_CRASH_ROUNDS ?? usual)

describe.skipIf(!canMount())('killed under load', () => {
  let cluster: LocalCluster | undefined
  let writers: Writer[] = []
  afterEach(async () => {
    for (const writer of writers) await writer.stop()
    writers = []
    await cluster?.stop()
    cluster = undefined
  })
  const seed = seedOf()

  const write = async (path: string, count: number, generation: number): Promise<void> => {
    await mkdir(path, { recursive: true })
    for (let i = 0; i < count; i++)
      writers.push(new Writer(path, join(cluster!.dir, `writer-${generation}-${i}.log`), generation * 100 + i))
  }
  const stopWriters = async (): Promise<Writer[]> => {
    const stopped = writers
    writers = []
    for (const writer of stopped) await writer.stop()
    return stopped
  }
  const promises = async (of: Writer[]): Promise<number> =>
    (await Promise.all(of.map((writer) => writer.promises()))).reduce((sum, n) => sum + n, 0)

  for (const victim of ['mount-1', 'chunkserver', 'master', 'anything'] as const)
    test(`${victim}: every fsynced byte is there and the check is clean (seed ${seed})`, {
      timeout: LONG,
    }, async () => {
      const dice = seededRandom(seed)
      cluster = await LocalCluster.start({
        mounts: 2,
        master: { sessionTimeoutMs: 3_000, trashRetentionMs: 0, deadGraceMs: 0 },
      })
      const all = ['mount-1', 'mount-2', 'master', ...cluster.chunkservers]
      const pick = (): string => {
        if (victim === 'anything') return all[dice.below(all.length)]!
        return victim === 'chunkserver' ? cluster!.chunkservers[dice.below(3)]! : victim
      }
      let kept = 0
      for (let round = 0; round < rounds(4); round++) {
        const where = join(cluster.path(0), `round-${round}`)
        await write(where, 3, round)
        for (let kill = 0; kill < 3; kill++) {
          await realClock.sleep(200 + dice.below(800))
          const name = pick()
          await cluster.kill(name)
          await realClock.sleep(dice.below(300))
          await cluster.startRole(name)
        }
        await realClock.sleep(300)
        const stopped = await stopWriters()
        for (const writer of stopped) expect(await writer.broken(where)).toEqual([])
        // The other mount sees the same.
        const other = join(cluster.path(1), `round-${round}`)
        for (const writer of stopped) expect(await writer.broken(other)).toEqual([])
        kept += await promises(stopped)
        await cluster.until('no chunk is lost', (status) => status.chunks.lost === 0)
        expect((await cluster.check()).findings.filter((finding) => finding.severity === 'error')).toEqual([])
      }
      expect(kept).toBeGreaterThan(10)
      await cluster.until('sessions of killed mounts are over', (status) => status.sessions.length === 2)
      for (const path of [cluster.path(0), cluster.path(1)])
        for (let round = 0; round < rounds(4); round++)
          await rm(join(path, `round-${round}`), { recursive: true, force: true })
      await cluster.end('mount-1')
      await cluster.end('mount-2')
      expect(await mountsAt(cluster.path(0))).toEqual([])
      const status = await cluster.until(
        'nothing is left',
        ({ sessions, chunks, sustained, files }) =>
          sessions.length === 0 && sustained === 0 && files === 0 && Object.values(chunks).every((n) => n === 0),
        120_000,
      )
      expect(status).toMatchObject({ files: 0, sustained: 0, logicalBytes: 0 })
      expect((await cluster.check()).findings).toEqual([])
      for (const [i] of cluster.chunkservers.entries())
        await vi.waitFor(async () => expect(await cluster!.chunkFiles(i)).toEqual([]), {
          timeout: 60_000,
          interval: 500,
        })
    })

  test("a chunkserver's directory can be deleted under load: nothing is lost, everything is copied again", {
    timeout: LONG,
  }, async () => {
    cluster = await LocalCluster.start({ mounts: 1, master: { graceMs: 2_000, trashRetentionMs: 0, deadGraceMs: 0 } })
    const where = join(cluster.path(0), 'data')
    await write(where, 3, 1)
    await realClock.sleep(2_000)
    await rm(cluster.diskDir(1), { recursive: true, force: true })
    await realClock.sleep(3_000)
    const stopped = await stopWriters()
    for (const writer of stopped) expect(await writer.broken(where)).toEqual([])
    await cluster.until(
      'every chunk has two copies again',
      ({ chunks }) => chunks.under === 0 && chunks.endangered === 0 && chunks.lost === 0,
      120_000,
    )
    expect((await cluster.check(true)).findings.filter((finding) => finding.severity === 'error')).toEqual([])
    // Cold, from what is left: the client that wrote it is gone.
    await cluster.end('mount-1')
    await cluster.startMount('mount-1')
    for (const writer of stopped) expect(await writer.broken(where)).toEqual([])
  })
})
