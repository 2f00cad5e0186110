/* The conformance suite over both disks, and what only the one in memory can show. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { RealDiskIo } from '../../src/chunk/disk-io.ts'
import { diskConformance } from '../conformance/disk.ts'
import { MemoryDisk } from '../support/memory-disk.ts'

diskConformance('a directory', async () => {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-disk-'))
  return {
    io: new RealDiskIo(root),
    other: new RealDiskIo(root),
    close: () => rm(root, { recursive: true, force: true }),
  }
})

diskConformance('in memory', async () => {
  const locks = new Set<string>()
  return { io: new MemoryDisk('/m', locks), other: new MemoryDisk('/m', locks), close: async () => {} }
})

describe('the disk in memory, after a power cut', () => {
  test('keeps what was synced and of the rest only what chance keeps; names need their directory synced', async () => {
    const disk = new MemoryDisk()
    const file = await disk.open('f', 'create')
    await file.write([Buffer.alloc(1000, 1)], 0)
    await file.datasync()
    await file.write([Buffer.alloc(1000, 2)], 500)
    expect(disk.crash(() => false).names()).toEqual([])
    await disk.syncDir('.')
    const none = disk.crash(() => false).bytesOf('f')
    expect(none.equals(Buffer.alloc(1000, 1))).toBe(true)
    const all = disk.crash(() => true).bytesOf('f')
    expect(all.equals(Buffer.concat([Buffer.alloc(500, 1), Buffer.alloc(1000, 2)]))).toBe(true)
    let sector = 0
    const some = disk.crash(() => sector++ === 1).bytesOf('f')
    expect([some.length, some[511], some[512], some[1023]]).toEqual([1024, 1, 2, 2])
  })
})
