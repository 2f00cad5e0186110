/* The bytes of a chunk file, fixed: a change of any of them is a new format version. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { chunkId } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { ChunkFile } from '../../src/chunk/chunk-file.ts'
import { encodeEntry, encodeFloor } from '../../src/chunk/core/inventory-log.ts'
import { QuickReads } from '../../src/chunk/quick-reads.ts'
import { QuickWrites } from '../../src/chunk/quick-writes.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { MemoryDisk } from '../support/memory-disk.ts'

const golden = JSON.parse(readFileSync(join(import.meta.dirname, '../golden/chunk-file.json'), 'utf8')) as Record<
  string,
  string
>

/** Everything that is not zero below the data, as offset: hex. */
function written(bytes: Buffer): Record<string, string> {
  const out: Record<string, string> = {}
  for (let at = 0; at < 8192; at += 64) {
    const row = bytes.subarray(at, at + 64)
    if (row.some((byte) => byte !== 0)) out[`at ${at}`] = row.toString('hex')
  }
  return out
}

test('header, tail records, slots and seal of a chunk are these bytes', async () => {
  const disk = new MemoryDisk()
  const home = {
    quick: new QuickWrites(new ManualClock()),
    quickReads: new QuickReads(new ManualClock()),
    failure: (error: unknown) => {
      throw error
    },
    syncGate: (work: () => Promise<void>) => work(),
    syncDir: async () => {},
  }
  const file = await ChunkFile.create(
    await disk.open('c', 'create'),
    chunkId(0x1234_5678_9abc),
    home,
    '.',
    1_700_000_000_000,
  )
  await file.append(0, [Buffer.from('holdfast')])
  await file.sync(8)
  await file.append(8, [Buffer.alloc(BLOCK_BYTES, 0x61)])
  await file.append(8 + BLOCK_BYTES, [Buffer.from('end')])
  await file.seal(8 + BLOCK_BYTES)
  const { comment, inventory, ...expected } = golden
  expect(comment).toContain('format')
  expect(written(disk.bytesOf('c'))).toEqual(expected)
  const log = [
    encodeFloor(1_700_000_000_000),
    encodeEntry({ chunk: chunkId(7), state: 'sealed', length: 65_544, seq: 1_700_000_000_001 }),
  ]
  expect(Buffer.concat(log).toString('hex')).toBe(inventory)
})
