import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chunkId } from '../../src/base/ids.ts'
import { RealDiskIo } from '../../src/chunk/disk-io.ts'
import { Inventory } from '../../src/chunk/inventory.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-inventory-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

describe('an inventory that is let go', () => {
  test('ends the flush that is on its way first, which then holds', async () => {
    for (let turn = 1; turn <= 20; turn++) {
      const { inventory } = await Inventory.load(new RealDiskIo(dir), 0)
      inventory.note(chunkId(turn), 'sealed', turn)
      const flushed = inventory.flush()
      await inventory.close()
      await flushed
    }
    const { inventory } = await Inventory.load(new RealDiskIo(dir), 0)
    expect(inventory.since(0).entries.map(({ chunk }) => chunk)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    await inventory.close()
  })

  test('refuses a further flush as one of a disk that is not there', async () => {
    const { inventory } = await Inventory.load(new RealDiskIo(dir), 0)
    await inventory.close()
    inventory.note(chunkId(99), 'open', 0)
    await expect(inventory.flush()).rejects.toMatchObject({ code: 'ENODEV' })
  })
})
