/* What a chunkserver tells when it comes back: what has changed since it was last heard, not all that it holds. */

import { afterEach, expect, test } from 'vitest'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { bytesOf, write } from '../support/whole-files.ts'

const FILES = 24
let cluster: MemoryCluster | undefined
afterEach(async () => {
  await cluster?.stop()
  cluster = undefined
})

test('a returning chunkserver is reconciled by what changed, however much it holds and however often it comes', async () => {
  cluster = await MemoryCluster.start({ chunkservers: 2, copies: 2 })
  const server = cluster.chunkserver(0)
  const settled = (files: number) =>
    cluster!.until('all is sealed', ({ chunks }) => chunks.safe === files && chunks.open === 0)
  const returned = async (files: number): Promise<number> => {
    const before = server.told
    await server.restart()
    await cluster!.until('it is back', ({ nodes }) => nodes.every(({ connected }) => connected))
    await settled(files)
    return server.told - before
  }
  for (let i = 0; i < FILES; i++) await write(cluster, `f${i}`, bytesOf(i, 4_096))
  await settled(FILES)
  // The first time it may still have to say what was sealed last.
  await returned(FILES)
  for (let i = 0; i < 5; i++) expect(await returned(FILES)).toBe(0)
  for (let i = 0; i < 3; i++) await write(cluster, `g${i}`, bytesOf(100 + i, 4_096))
  await settled(FILES + 3)
  // Each is told when it is made and when it is sealed, at most.
  expect(await returned(FILES + 3)).toBeLessThanOrEqual(6)
  expect(await returned(FILES + 3)).toBe(0)
}, 60_000)
