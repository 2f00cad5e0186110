/* Appends to chunk 1 of the disk in its first argument until it is killed; prints the length after each answer. */

import { chunkId } from '../../src/base/ids.ts'
import { hostRandom } from '../../src/host/clock.ts'
import { attachedDisk } from './real-disk.ts'

export const appendedByte = (at: number): number => (at * 31 + (at >> 8) + (at >> 16)) & 0xff

async function main(root: string): Promise<void> {
  const disk = await attachedDisk(root)
  const chunk = chunkId(1)
  await disk.chunks.append(chunk, 0, [Buffer.alloc(0)], true)
  let { length } = await disk.chunks.verify(chunk, false)
  for (;;) {
    // Small ones go the synchronous way, large ones the other; some are synced.
    const bytes = hostRandom.below(3) === 0 ? 70_000 + hostRandom.below(70_000) : 1 + hostRandom.below(5000)
    const data = Buffer.alloc(bytes)
    for (let i = 0; i < bytes; i++) data[i] = appendedByte(length + i)
    length = await disk.chunks.append(chunk, length, [data], false)
    if (hostRandom.below(8) === 0) await disk.chunks.sync(chunk, length)
    process.stdout.write(`${length}\n`)
    if (length > 60 * 1024 * 1024) await new Promise(() => setInterval(() => {}, 1000))
  }
}

if (process.argv[1]?.endsWith('append-child.ts') === true) void main(process.argv[2]!)
