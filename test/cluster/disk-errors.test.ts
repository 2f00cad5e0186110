/* A disk that makes errors, from the system call to what the master does about it: a whole cluster in one process. */

import { afterEach, expect, it } from 'vitest'
import type { DiskId, Ino } from '../../src/base/ids.ts'
import type { DiskReport } from '../../src/wire/reports.ts'
import { Probe } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { SystemError } from '../support/memory-disk.ts'

let cluster: MemoryCluster | undefined
afterEach(() => cluster?.stop())

it('a disk that makes errors again and again is emptied at once, long before its grace is over, and stays so', async () => {
  cluster = await MemoryCluster.start({ chunkservers: 3, copies: 2, graceMs: 3_600_000 })
  const client = await cluster.client()
  const probe = await Probe.fresh(client, 'errors')
  const files: Ino[] = []
  for (let i = 0; i < 6; i++) files.push(await probe.put(`f${i}`, Buffer.alloc(300_000, i + 1)))
  await client.close()
  await cluster.until('all is sealed', ({ chunks }) => chunks.open === 0 && chunks.safe > 0)
  const { disk: bad, nodeName, chunks: held } = (await cluster.status()).disks.find((d) => d.chunks > 0)!
  const isBad = (d: DiskReport): boolean => d.disk === bad
  const server = cluster.chunkserver(Number(nodeName.split('-')[1]) - 1)

  server.disk.onRead = (path) => {
    if (path.endsWith('.chunk')) throw new SystemError('EIO')
  }
  const reader = await cluster.client()
  const again = new Probe(reader, probe.dir)
  const readAll = async (): Promise<void> => {
    for (const [i, ino] of files.entries()) {
      await again.open(ino)
      expect((await again.read(ino, 0, 300_000)).equals(Buffer.alloc(300_000, i + 1))).toBe(true)
      await again.close(ino)
    }
  }
  await readAll()
  const drained = await cluster.until('the disk is drained', ({ disks }) => disks.find(isBad)!.drainedForErrors)
  expect(drained.disks.find(isBad)).toMatchObject({ draining: true })
  await cluster.until('its chunks are elsewhere', ({ disks, chunks }) => {
    const others = disks.filter((d) => !isBad(d)).reduce((sum, d) => sum + d.chunks, 0)
    return chunks.under === 0 && chunks.endangered === 0 && others >= 2 * held
  })

  await server.kill()
  server.disk.onRead = () => {}
  await server.start()
  const back = await cluster.until('it is back', ({ disks }) => disks.find(isBad)!.state === 'ok')
  expect(back.disks.find(isBad)).toMatchObject({ draining: true, drainedForErrors: true })
  const stamp = { session: 0 as never, seq: 0, acked: 0 }
  await cluster.call('diskDrain', { stamp, disk: bad as DiskId, drain: false, force: false })
  expect((await cluster.status()).disks.find(isBad)).toMatchObject({ draining: false, drainedForErrors: false })
  await readAll()
  expect(await cluster.findings()).toEqual([])
})
