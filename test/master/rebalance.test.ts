/* Disks of a whole cluster in memory are filled alike: the real master, real chunkservers, copies that are made and dropped. */

import { afterEach, expect, test } from 'vitest'
import type { StatusReport } from '../../src/wire/reports.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'
import { bytesOf, read, write } from '../support/whole-files.ts'

const MiB = 2 ** 20
const FILES = 24
const ADMIN = { session: 0 as never, seq: 0, acked: 0 }
let cluster: MemoryCluster | undefined
afterEach(async () => {
  await cluster?.stop()
  cluster = undefined
})

const UNCHANGED = {
  ...{ copies: undefined, graceMs: undefined, trashRetentionMs: undefined },
  ...{ sessionTimeoutMs: undefined, backupLabels: undefined },
}
const setting = (rebalance: boolean) =>
  cluster!.call('settingsSet', {
    ...{ stamp: ADMIN, ...UNCHANGED },
    moving: {
      ...{ rebalance, rebalancePercent: undefined },
      ...{ diskBytesPerSecond: undefined, nodeBytesPerSecond: undefined, sitesBytesPerSecond: undefined },
    },
  })
const shares = ({ disks }: StatusReport): number[] =>
  disks.map(({ usedBytes, totalBytes }) => (100 * usedBytes) / totalBytes)
/** What the disks may differ by in the end: where nothing begins any more, and one chunk, which is a fortieth of a disk. */
const ALIKE_PERCENT = 7.5
const spread = (status: StatusReport): number => Math.max(...shares(status)) - Math.min(...shares(status))
const moved = (status: StatusReport): string =>
  status.work.find(({ name }) => name === 'rebalance')!.progress.split(' moved')[0]!

test('a fourth chunkserver joins three fuller ones: copies move until all are alike, and then nothing moves any more', async () => {
  cluster = await MemoryCluster.start({ chunkservers: 3, roomBytes: 20 * MiB })
  await setting(false)
  for (let i = 0; i < FILES; i++) await write(cluster, `f${i}`, bytesOf(i + 1, MiB / 2))
  await cluster.until('all are sealed', ({ chunks }) => chunks.safe >= FILES && chunks.open === 0)
  await cluster.addChunkserver()
  const before = await cluster.until('the fourth is known', ({ disks }) => disks.length === 4)
  expect(spread(before)).toBeGreaterThan(20)
  expect(moved(before)).toBe('0')
  await setting(true)
  await cluster.until('all are alike', (status) => spread(status) <= ALIKE_PERCENT, 120_000)
  let last = ''
  await cluster.until(
    'it has come to rest',
    (status) => {
      const still = last === moved(status) && status.work.find(({ name }) => name === 'rebalance')!.state === 'idle'
      last = moved(status)
      return still && status.chunks.over === 0
    },
    60_000,
  )
  const status = await cluster.status()
  expect(spread(status)).toBeLessThanOrEqual(ALIKE_PERCENT)
  expect(status.chunks).toMatchObject({ under: 0, endangered: 0, lost: 0, over: 0 })
  await realClock.sleep(6_000)
  expect(moved(await cluster.status())).toBe(moved(status))
  expect(Number(moved(status))).toBeLessThan(FILES)
  const client = await cluster.client()
  for (let i = 0; i < FILES; i++) expect((await read(client, `f${i}`)).equals(bytesOf(i + 1, MiB / 2))).toBe(true)
  expect(await cluster.findings()).toEqual([])
}, 120_000)
