/* One disk as the chunkserver uses it: identity, what it holds across restarts and crashes, space, faults, deletion. */

import { beforeEach, describe, expect, test } from 'vitest'
import { crc32 } from '../../src/base/checksum.ts'
import { unwrap } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { countingRandom, ManualClock, silentLog } from '../support/manual-clock.ts'
import { MemoryDisk, SystemError } from '../support/memory-disk.ts'

let clock: ManualClock
let random: ReturnType<typeof countingRandom>
let changes: string[]
let damages: { chunk: ChunkId; blocks: readonly number[] }[]
beforeEach(() => {
  clock = new ManualClock()
  random = countingRandom()
  changes = []
  damages = []
})

const on = (io: MemoryDisk, { uuid = '', cluster = '', line = '/memory -0' } = {}) =>
  new Disk(
    io,
    unwrap(parseDiskSpec(line)),
    uuid,
    cluster,
    { clock, random, log: silentLog },
    {
      changed: (disk) => changes.push(disk.state),
      damaged: (_disk, chunk, blocks) => damages.push({ chunk, blocks }),
    },
  )
const attached = async (io: MemoryDisk, options = {}) => {
  const disk = on(io, options)
  await disk.attach()
  return disk
}
const A = chunkId(0xabc01)
const B = chunkId(0xabc02)
const pathOf = (chunk: ChunkId) => `chunks/${(chunk % 256).toString(16).padStart(2, '0')}/${chunkName(chunk)}.chunk`
const data = (bytes: number, seed = 1) =>
  Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31 + seed + (i >> 8)) & 0xff))
const code = (code: string) => ({ code })

describe('identity', () => {
  test('an empty directory becomes a disk once and is the same disk ever after', async () => {
    const io = new MemoryDisk()
    const first = await attached(io)
    const { uuid } = first
    await first.close()
    expect((await attached(io, { uuid })).uuid).toBe(uuid)
  })

  test('a directory with something else in it is refused and left as it is', async () => {
    const io = new MemoryDisk()
    io.setBytes('holiday.jpg', Buffer.from('x'))
    await expect(on(io).attach()).rejects.toMatchObject(code('EINVAL'))
    expect(io.names()).toEqual(['holiday.jpg'])
  })

  test('a place where a disk is known but not mounted is gone, never a new disk, and is used again when it is back', async () => {
    const real = new MemoryDisk()
    const { uuid } = await attached(real)
    const empty = new MemoryDisk()
    await expect(on(empty, { uuid }).attach()).rejects.toMatchObject(code('ENODEV'))
    expect(empty.names()).toEqual([])
  })

  test('another disk at a known place, and a disk of another cluster, are refused', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io, { cluster: 'one' })
    await disk.close()
    await expect(on(io, { uuid: 'ffffffffffff' }).attach()).rejects.toMatchObject(code('EEXIST'))
    await expect(on(io, { cluster: 'two' }).attach()).rejects.toMatchObject(code('EACCES'))
    expect((await attached(io, { cluster: 'one' })).state).toBe('ok')
  })

  test('a master of another cluster gets nothing of the disk, and nothing deletes from it', async () => {
    const io = new MemoryDisk()
    const first = await attached(io, { cluster: 'one' })
    await first.chunks.append(A, 0, [data(10)], true)
    await first.close()
    const disk = await attached(io)
    await disk.join('two')
    expect(disk.report()).toMatchObject({ state: 'failed', error: 'belongs to cluster one, not to two' })
    await expect(disk.chunks.delete(A)).rejects.toMatchObject(code('ENODEV'))
  })

  test('two processes cannot use one disk', async () => {
    const locks = new Set<string>()
    const io = new MemoryDisk('/m', locks)
    await attached(io)
    await expect(on(io).attach()).rejects.toMatchObject(code('EBUSY'))
  })

  test('a start that was cut off before disk.json begins again', async () => {
    const io = new MemoryDisk()
    io.fail = (operation, path) => {
      if (operation === 'rename' && path.startsWith('disk.json')) throw new SystemError('EIO')
    }
    await expect(on(io).attach()).rejects.toMatchObject(code('EIO'))
    io.fail = () => {}
    expect((await attached(io)).state).toBe('ok')
  })
})

describe('chunks', () => {
  test('append without create is ENOENT, with create it makes the chunk, and again is fine', async () => {
    const disk = await attached(new MemoryDisk())
    await expect(disk.chunks.append(A, 0, [data(10)], false)).rejects.toMatchObject(code('ENOENT'))
    expect(await disk.chunks.append(A, 0, [data(10)], true)).toBe(10)
    expect(await disk.chunks.append(A, 0, [data(10)], true)).toBe(10)
    expect(await disk.chunks.append(A, 10, [data(5)], false)).toBe(15)
    await expect(disk.chunks.read(B, 0, 1)).rejects.toMatchObject(code('ENOENT'))
    expect(await disk.chunks.sync(A, 15)).toBe(15)
  })

  test('appends sent before the chunk is open arrive in their order', async () => {
    const disk = await attached(new MemoryDisk())
    const all = data(5000)
    const sent = Array.from({ length: 50 }, (_, i) =>
      disk.chunks.append(A, i * 100, [all.subarray(i * 100, (i + 1) * 100)], i === 0),
    )
    expect(await Promise.all(sent)).toEqual(sent.map((_, i) => (i + 1) * 100))
    expect((await disk.chunks.read(A, 0, 5000)).equals(all)).toBe(true)
  })

  test('after a restart it holds what it held, says so, and open chunks go on', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(1000)], true)
    await disk.chunks.seal(A, 900)
    await disk.chunks.append(B, 0, [data(500)], true)
    await disk.chunks.sync(B, 500)
    const again = await attached(io.killed())
    expect(await again.chunks.verify(A, true)).toEqual({ state: 'sealed', length: 900 })
    expect(await again.chunks.verify(B, true)).toEqual({ state: 'open', length: 500 })
    expect(await again.chunks.append(B, 500, [data(1)], false)).toBe(501)
    expect(() => again.chunks.append(A, 900, [data(1)], false)).toThrow(expect.objectContaining(code('EPERM')))
    expect(again.report()).toMatchObject({ chunks: 2, usedBytes: 1401, state: 'ok' })
  })

  test('more chunks than files may be open are all readable, and counted once', async () => {
    const disk = await attached(new MemoryDisk())
    for (let i = 1; i <= 400; i++) await disk.chunks.append(chunkId(i), 0, [data(100, i)], true)
    for (let i = 1; i <= 400; i++) expect((await disk.chunks.read(chunkId(i), 0, 100)).equals(data(100, i))).toBe(true)
    expect(disk.report()).toMatchObject({ chunks: 400, usedBytes: 40_000 })
    for (let i = 1; i <= 400; i++) await disk.chunks.delete(chunkId(i))
    expect(disk.report()).toMatchObject({ chunks: 0, usedBytes: 0 })
  })

  test('foreign files are left alone; a file that is no chunk is damaged, not deleted', async () => {
    const io = new MemoryDisk()
    const first = await attached(io)
    await first.close()
    io.setBytes('chunks/01/README', Buffer.from('mine'))
    io.setBytes(pathOf(A), Buffer.alloc(20_000, 3))
    const disk = await attached(io)
    expect(await disk.chunks.verify(A, false)).toMatchObject({ state: 'damaged' })
    expect(damages).toEqual([{ chunk: A, blocks: [] }])
    expect(io.names()).toContain('chunks/01/README')
    expect(io.names()).toContain(pathOf(A))
  })

  test('a creation whose header did not reach the disk is begun again by its writer', async () => {
    const io = new MemoryDisk()
    const first = await attached(io)
    await first.close()
    io.setBytes(pathOf(A), Buffer.alloc(0))
    const disk = await attached(io)
    await expect(disk.chunks.append(A, 10, [data(10)], true)).rejects.toThrow()
    expect(await disk.chunks.append(A, 0, [data(10)], true)).toBe(10)
    expect((await disk.chunks.read(A, 0, 10)).equals(data(10))).toBe(true)
  })

  test('a deleted chunk is gone by name; a reader that has begun finishes', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(1000)], true)
    const reading = disk.chunks.read(A, 0, 1000)
    await disk.chunks.delete(A)
    expect((await reading).length).toBe(1000)
    expect(io.names()).not.toContain(pathOf(A))
    await disk.chunks.delete(A)
    await expect(disk.chunks.read(A, 0, 1)).rejects.toMatchObject(code('ENOENT'))
    expect(disk.report()).toMatchObject({ chunks: 0, usedBytes: 0 })
  })
})

describe('damage', () => {
  test('is told once per block and again after a repair', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    const all = data(200_000)
    await disk.chunks.append(A, 0, [all], true)
    await disk.chunks.seal(A, 200_000)
    io.flip(pathOf(A), DATA_OFFSET + BLOCK_BYTES)
    for (let i = 0; i < 3; i++)
      await expect(disk.chunks.read(A, BLOCK_BYTES, 10)).rejects.toMatchObject(code('EBADMSG'))
    expect(damages).toEqual([{ chunk: A, blocks: [1] }])
    expect((await disk.chunks.read(A, 0, 10)).equals(all.subarray(0, 10))).toBe(true)
    expect(await disk.chunks.verify(A, false)).toMatchObject({ state: 'damaged' })
    io.flip(pathOf(A), DATA_OFFSET + BLOCK_BYTES)
    expect(await disk.chunks.damagedBlocks(A)).toEqual([])
    await disk.chunks.repair(A, [], async () => {
      throw new Error('no block is needed')
    })
    expect(await disk.chunks.verify(A, false)).toMatchObject({ state: 'sealed' })
    io.flip(pathOf(A), DATA_OFFSET + BLOCK_BYTES)
    await expect(disk.chunks.read(A, BLOCK_BYTES, 10)).rejects.toMatchObject(code('EBADMSG'))
    expect(damages.length).toBe(2)
  })
})

describe('faults', () => {
  test('no space fails that append, makes the disk full, and it is used again when there is space', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    io.fail = (operation) => {
      if (operation === 'write') throw new SystemError('ENOSPC')
    }
    expect(() => disk.chunks.append(A, 100, [data(100)], false)).toThrow(expect.objectContaining(code('ENOSPC')))
    expect(disk.state).toBe('full')
    expect((await disk.chunks.read(A, 0, 100)).length).toBe(100)
    expect(() => disk.chunks.append(A, 100, [data(100)], false)).toThrow(expect.objectContaining(code('ENOSPC')))
    clock.ms += 10_000
    await disk.probe()
    expect(disk.state).toBe('full')
    io.fail = () => {}
    clock.ms += 10_000
    await disk.probe()
    expect(disk.state).toBe('ok')
    expect(await disk.chunks.append(A, 100, [data(100)], false)).toBe(200)
    expect(changes).toEqual(['ok', 'full', 'ok'])
  })

  test('the space rule makes a disk full before the filesystem is', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io, { line: '/memory 1000' })
    await disk.chunks.append(A, 0, [data(874)], true)
    expect(disk.state).toBe('ok')
    expect(disk.report()).toMatchObject({ totalBytes: 1000, usedBytes: 874, availableBytes: 1, reservedBytes: 125 })
    await disk.chunks.append(A, 874, [data(10)], false)
    expect(disk.state).toBe('full')
    expect(disk.report()).toMatchObject({ totalBytes: 1000, availableBytes: 0, reservedBytes: 116 })
  })

  test('what a full disk keeps aside is for rewritten chunks and copies, as far as it goes, and not for writers', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io, { line: '/memory 800000' })
    await disk.chunks.append(A, 0, [data(700_000)], true)
    expect(disk.state).toBe('full')
    expect(() => disk.chunks.append(A, 700_000, [data(1)], false)).toThrow(expect.objectContaining(code('ENOSPC')))
    expect(await disk.chunks.append(B, 0, [data(60_000)], true, true)).toBe(60_000)
    expect(() => disk.chunks.append(B, 60_000, [data(40_001)], false, true)).toThrow(
      expect.objectContaining(code('ENOSPC')),
    )
    const copied = chunkId(0xabc03)
    const copy = (length: number) => disk.copies.make(copied, length, async (file) => file.append(0, [data(length)]))
    await expect(copy(40_001)).rejects.toMatchObject(code('ENOSPC'))
    expect(await copy(30_000)).toBe(30_000)
    expect(disk.report()).toMatchObject({ availableBytes: 0, reservedBytes: 10_000 })
    await disk.chunks.delete(B)
    clock.ms += 10_000
    await disk.probe()
    expect(disk.report()).toMatchObject({ state: 'full', availableBytes: 0, reservedBytes: 70_000 })
    // Also of a full disk it is told what was deleted.
    expect(disk.seq).toBe(disk.holdings.inventory!.table.seq)
    await disk.chunks.delete(A)
    clock.ms += 10_000
    await disk.probe()
    expect(disk.report()).toMatchObject({ state: 'ok', availableBytes: 670_000, reservedBytes: 100_000 })
  })

  test('appends that wait for the disk count: a window of them does not use up what is kept aside', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io, { line: '/memory 80MiB' })
    await disk.chunks.append(A, 0, [data(1)], true)
    const piece = Buffer.alloc(1024 * 1024)
    await disk.chunks.append(B, 0, [data(1)], true)
    const sent: (number | Promise<number>)[] = []
    const sendAll = (chunk: ChunkId) => {
      for (let i = 0; i < 50; i++) sent.push(disk.chunks.append(chunk, 1 + i * piece.length, [piece], false))
    }
    sendAll(A)
    expect(() => sendAll(B)).toThrow(expect.objectContaining(code('ENOSPC')))
    await Promise.all(sent)
    expect(disk.report().reservedBytes).toBeGreaterThan(8 * piece.length)
  })

  test('damage on a full disk is mended in place: that takes no room', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io, { line: '/memory 800000' })
    await disk.chunks.append(A, 0, [data(700_000)], true)
    await disk.chunks.seal(A, 700_000)
    expect(disk.state).toBe('full')
    io.flip(pathOf(A), DATA_OFFSET + 5)
    expect(await disk.chunks.damagedBlocks(A)).toEqual([0])
    const good = data(700_000).subarray(0, BLOCK_BYTES)
    await disk.chunks.repair(A, [0], async () => ({ data: good, crc: crc32(good) }))
    expect((await disk.chunks.read(A, 0, 10)).equals(data(10))).toBe(true)
  })

  test('what is read at once is what is read the long way, and what is wrong is told by that', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    expect(() => disk.chunks.readNow(A, 0, 10)).toThrow(expect.objectContaining(code('ENOENT')))
    await disk.chunks.append(A, 0, [data(BLOCK_BYTES + 100)], true)
    const read = async (offset: number, length: number) => disk.chunks.readNow(A, offset, length)
    for (const [offset, length] of [
      [0, 10],
      [BLOCK_BYTES - 5, 5],
      [BLOCK_BYTES + 90, 50],
    ] as const)
      expect(await read(offset, length)).toEqual(await disk.chunks.read(A, offset, length))
    // Two blocks, and nothing: not at once.
    expect(await read(BLOCK_BYTES - 5, 10)).toBeUndefined()
    expect(await read(BLOCK_BYTES + 100, 10)).toBeUndefined()
    let fails = 1
    io.fail = (operation) => {
      if (operation === 'read' && fails-- > 0) throw new SystemError('EIO')
    }
    expect((await read(0, 10))?.equals(data(100).subarray(0, 10))).toBe(true)
    expect(disk.report()).toMatchObject({ errors: 1, state: 'ok' })
    io.flip(pathOf(A), DATA_OFFSET + 3)
    expect(await read(0, 10)).toBeUndefined()
    await expect(disk.chunks.read(A, 0, 10)).rejects.toMatchObject(code('EBADMSG'))
  })

  test('an input/output error that passes costs nothing but the count; the second within ten minutes fails the disk', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    let fails = 0
    io.fail = (operation) => {
      if (operation === 'read' && fails-- > 0) throw new SystemError('EIO')
    }
    const expectTried = async (errors: number, state: string) => {
      fails = 1
      expect((await disk.chunks.read(A, 0, 10)).equals(data(100).subarray(0, 10))).toBe(true)
      expect(disk.report()).toMatchObject({ errors, state })
    }
    await expectTried(1, 'ok')
    clock.ms += 700_000
    await expectTried(2, 'ok')
    await expectTried(3, 'failed')
    await expect(disk.chunks.read(A, 0, 10)).rejects.toMatchObject(code('ENODEV'))
    expect(() => disk.chunks.append(A, 100, [data(1)], false)).toThrow(expect.objectContaining(code('ENODEV')))
    expect(disk.report()).toMatchObject({ state: 'failed', errors: 3, availableBytes: 0 })
    clock.ms += 100_000
    await disk.probe()
    expect(disk.state).toBe('failed')
  })

  test('a read-only disk goes on reading and is written again when it can be', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    io.fail = (operation) => {
      if (operation === 'write') throw new SystemError('EROFS')
    }
    expect(() => disk.chunks.append(A, 100, [data(1)], false)).toThrow(expect.objectContaining(code('EROFS')))
    expect(disk.state).toBe('readonly')
    await expect(disk.chunks.seal(A, 100)).rejects.toMatchObject(code('EROFS'))
    expect((await disk.chunks.read(A, 0, 100)).length).toBe(100)
    io.fail = () => {}
    clock.ms += 10_000
    await disk.probe()
    expect(disk.state).toBe('ok')
    expect(await disk.chunks.append(A, 100, [data(10)], false)).toBe(110)
    await disk.chunks.seal(A, 110)
  })

  test('a disk whose directory vanished is gone and comes back with what it holds', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    await disk.chunks.sync(A, 100)
    const { uuid } = disk
    await io.rename('disk.json', 'elsewhere')
    await disk.probe()
    expect(disk.state).toBe('gone')
    await expect(disk.chunks.read(A, 0, 10)).rejects.toMatchObject(code('ENODEV'))
    clock.ms += 6_000
    await disk.probe()
    expect(disk.state).toBe('gone')
    await io.rename('elsewhere', 'disk.json')
    clock.ms += 6_000
    await disk.probe()
    expect([disk.state, disk.uuid]).toEqual(['ok', uuid])
    expect((await disk.chunks.read(A, 0, 100)).equals(data(100))).toBe(true)
  })

  test('a disk that does not answer is failed after half a minute, and no probe waits behind another', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    io.hangs = (operation) => operation === 'space'
    const hanging = disk.probe()
    await new Promise((resolve) => setImmediate(resolve))
    await disk.probe()
    expect(disk.state).toBe('ok')
    clock.ms += 31_000
    await disk.probe()
    expect(disk.state).toBe('failed')
    await hanging
  })

  test('a disk that answers looks at it and nothing else is failed in time, and who waits is told', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    io.hangs = (operation, path) => operation === 'datasync' && path === pathOf(A)
    const waiting = expect(disk.chunks.sync(A, 100)).rejects.toMatchObject(code('EIO'))
    for (let second = 0; second <= 125 && disk.state === 'ok'; second++) {
      await new Promise((resolve) => setImmediate(resolve))
      await disk.probe()
      clock.ms += 1000
    }
    expect(disk.report()).toMatchObject({ state: 'failed', error: 'does not answer for 121 s' })
    await waiting
  })

  test('nothing is asked synchronously of a disk that owes an answer', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    await disk.chunks.append(B, 0, [data(100)], true)
    io.hangs = (operation, path) => operation === 'datasync' && path === pathOf(A)
    const waiting = disk.chunks.sync(A, 100).catch((error: unknown) => error)
    expect(typeof disk.chunks.append(B, 100, [data(100)], false)).toBe('number')
    for (let second = 0; second < 3; second++) {
      await new Promise((resolve) => setImmediate(resolve))
      await disk.probe()
      clock.ms += 1000
    }
    const appended = disk.chunks.append(B, 200, [data(100)], false)
    expect(typeof appended).toBe('object')
    expect(await appended).toBe(300)
    io.giveUp('the test is over')
    await waiting
  })
})

describe('what goes on at the same time', () => {
  /** Lets everything that waits go on as far as it can. */
  const settle = async () => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  /** The disk's own operation, held until `go`. */
  const held = (io: MemoryDisk, operation: 'unlink' | 'rename') => {
    let go: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    const own = io[operation].bind(io) as (...paths: string[]) => Promise<void>
    const late = async (...paths: string[]) => {
      await gate
      await own(...paths)
    }
    Object.assign(io, { [operation]: late })
    return () => go()
  }

  test('a chunk that is read while it is deleted is gone afterwards, and its file is closed', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    await disk.chunks.append(B, 0, [data(100)], true)
    const before = io.openFiles
    const go = held(io, 'unlink')
    const deleting = disk.chunks.delete(A)
    await disk.chunks.read(A, 0, 100).catch((error: unknown) => expect(error).toMatchObject(code('ENOENT')))
    go()
    await deleting
    await settle()
    await expect(disk.chunks.read(A, 0, 100)).rejects.toMatchObject(code('ENOENT'))
    expect(io.openFiles).toBe(before - 1)
    expect(disk.report()).toMatchObject({ chunks: 1, usedBytes: 100 })
  })

  test('a read that opens the damaged file while its new copy takes the place leaves no damage behind', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(70_000)], true)
    await disk.chunks.seal(A, 70_000)
    io.flip(pathOf(A), DATA_OFFSET + 5)
    await expect(disk.chunks.read(A, 0, 10)).rejects.toMatchObject(code('EBADMSG'))
    await disk.copies.make(A, 70_000, async (file) => {
      await file.append(0, [data(70_000)])
      await file.seal(70_000)
    })
    const go = held(io, 'rename')
    const finishing = disk.copies.finish(A, 70_000)
    const during = disk.chunks.read(A, 0, 10).catch((error: unknown) => error)
    await settle()
    go()
    await finishing
    await during
    expect((await disk.chunks.read(A, 0, 10)).equals(data(70_000).subarray(0, 10))).toBe(true)
    expect(await disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: 70_000 })
    expect(disk.holdings.damagedCopies()).toEqual([])
  })

  test('chunks that may not be closed do not keep the others open', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    for (let i = 1; i <= 20; i++) await disk.chunks.append(chunkId(i), 0, [data(100)], true)
    io.fail = (operation) => {
      if (operation === 'datasync') throw new SystemError('ENOMEM')
    }
    for (let i = 1; i <= 20; i++) await expect(disk.chunks.sync(chunkId(i), 100)).rejects.toThrow()
    io.fail = () => {}
    for (let i = 21; i <= 700; i++) {
      await disk.chunks.append(chunkId(i), 0, [data(100)], true)
      await disk.chunks.sync(chunkId(i), 100)
    }
    await settle()
    expect(io.openFiles).toBeLessThan(300)
  })
})

describe('errors in the middle', () => {
  test("an error of the system that nobody has heard of is the disk's, one of ours is ours", async () => {
    const disk = await attached(new MemoryDisk())
    const strange = Object.assign(new Error('EHOSTDOWN: host is down, read'), { code: 'EHOSTDOWN', syscall: 'read' })
    expect(disk.health.failure(strange, 'reading')).toMatchObject(code('EIO'))
    expect(disk.report()).toMatchObject({ errors: 1, state: 'ok' })
    const closed = Object.assign(new Error('EBADF: bad file descriptor, read'), { code: 'EBADF', syscall: 'read' })
    expect(() => disk.health.failure(closed, 'reading')).toThrow(closed)
    const argument = Object.assign(new Error('out of range'), { code: 'ERR_OUT_OF_RANGE' })
    expect(() => disk.health.failure(argument, 'reading')).toThrow(argument)
    expect(disk.report()).toMatchObject({ errors: 1, state: 'ok' })
  })

  test('a chunk that could not be made leaves neither an open file nor a chunk to complain of', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    const before = io.openFiles
    io.fail = (operation, path) => {
      if (operation === 'write' && path === pathOf(A)) throw new SystemError('ENOMEM')
    }
    await expect(disk.chunks.append(A, 0, [data(100)], true)).rejects.toThrow()
    expect(io.openFiles).toBe(before)
    io.fail = () => {}
    expect(await disk.chunks.append(A, 0, [data(100)], true)).toBe(100)
    expect(damages).toEqual([])
  })

  test('a file without a header that cannot be removed either is an error of the disk, not the end of the process', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(100)], true)
    await disk.close()
    io.setBytes(pathOf(A), Buffer.alloc(0))
    const again = await attached(io)
    io.fail = (operation) => {
      if (operation === 'unlink') throw new SystemError('EIO')
    }
    await expect(again.chunks.append(A, 0, [data(100)], true)).rejects.toMatchObject(code('EIO'))
    expect(again.report().errors).toBe(1)
  })

  test('a disk that cannot be taken into use, again and again, keeps no file open', async () => {
    const io = new MemoryDisk()
    const { uuid } = await attached(io)
    const fresh = io.killed()
    fresh.fail = (operation, path) => {
      if (operation === 'read' && path === 'inventory.log') throw new SystemError('ENODEV')
    }
    const disk = on(fresh, { uuid })
    for (let i = 0; i < 5; i++) await expect(disk.attach()).rejects.toMatchObject(code('ENODEV'))
    expect(fresh.openFiles).toBe(0)
  })

  test('a sector that cannot be read is damage like any other: found with its block, told, and mended by writing it', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    const all = data(5 * BLOCK_BYTES + 100)
    await disk.chunks.append(A, 0, [all], true)
    await disk.chunks.seal(A, all.length)
    const lost = DATA_OFFSET + 2 * BLOCK_BYTES + 4096
    let mended = false
    io.onRead = (path, at, bytes) => {
      if (!mended && path === pathOf(A) && at <= lost && lost < at + bytes) throw new SystemError('EIO')
    }
    expect(await disk.chunks.verify(A, true)).toMatchObject({ state: 'damaged' })
    expect(damages).toEqual([{ chunk: A, blocks: [2] }])
    expect((await disk.chunks.read(A, 0, 2 * BLOCK_BYTES)).length).toBe(2 * BLOCK_BYTES)
    expect(disk.report()).toMatchObject({ state: 'ok', errors: 1 })
    io.onWrite = (_path, at, bytes) => {
      if (at <= lost && lost < at + bytes) mended = true
      return undefined
    }
    const good = async (block: number) => {
      const bytes = all.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
      return { data: bytes, crc: crc32(bytes) }
    }
    expect(await disk.chunks.repair(A, [2], good)).toBe(1)
    expect(await disk.chunks.verify(A, true)).toEqual({ state: 'sealed', length: all.length })
  })
})

describe('inventory', () => {
  const since = async (disk: Disk, seq: number) => {
    const { full, entries } = await disk.holdings.since(seq)
    return { full, entries: entries.map(({ chunk, state }) => [chunk, state]) }
  }

  test('says nothing that is not durable, whatever is noted while it becomes so', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(10)], true)
    const { inventory } = disk.holdings
    for (let depth = 0; depth < 8; depth++) {
      const chunk = chunkId(100 + depth)
      inventory!.note(A, depth % 2 === 0 ? 'sealed' : 'damaged', 10)
      const flushing = inventory!.flush()
      const asked = disk.holdings.since(inventory!.table.floor)
      let chain: Promise<unknown> = flushing
      for (let i = 0; i < depth; i++) chain = chain.then(() => {})
      void chain.then(() => inventory!.note(chunk, 'open', 0))
      const { seq, entries } = await asked
      expect(seq).toBeLessThanOrEqual(inventory!.flushedSeq)
      expect(entries.every((entry) => entry.seq <= inventory!.flushedSeq)).toBe(true)
    }
  })

  test('says everything in the order of the chunks, so that pages of it leave nothing out', async () => {
    const disk = await attached(new MemoryDisk())
    const made = [B, A, chunkId(7), chunkId(0xabc00)]
    for (const chunk of made) await disk.chunks.append(chunk, 0, [data(10)], true)
    const { full, entries } = await since(disk, 0)
    expect(full).toBe(true)
    expect(entries.map(([chunk]) => chunk)).toEqual([...made].sort((a, b) => a - b))
  })

  test('says what changed since a number, across restarts, and everything to who knows nothing', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(10)], true)
    await disk.chunks.append(B, 0, [data(10)], true)
    const { seq } = await disk.holdings.since(0)
    await disk.chunks.seal(B, 10)
    await disk.chunks.delete(A)
    expect(await since(disk, seq)).toEqual({
      full: false,
      entries: [
        [B, 'sealed'],
        [A, 'gone'],
      ],
    })
    const again = await attached(io.killed())
    expect(await since(again, seq)).toEqual({
      full: false,
      entries: [
        [B, 'sealed'],
        [A, 'gone'],
      ],
    })
    expect(await since(again, 0)).toEqual({ full: true, entries: [[B, 'sealed']] })
    expect(await since(again, (await again.holdings.since(0)).seq)).toEqual({ full: false, entries: [] })
  })

  test('a log that is missing, garbage or damaged in the middle is made anew, and everybody gets the full list', async () => {
    for (const spoil of [
      () => Buffer.alloc(0),
      () => Buffer.alloc(777, 9),
      (log: Buffer) => Buffer.from(log.map((byte, i) => (i === 40 ? byte ^ 1 : byte))),
    ]) {
      const io = new MemoryDisk()
      const disk = await attached(io)
      for (let i = 1; i < 5; i++) await disk.chunks.append(chunkId(i), 0, [data(10)], true)
      const { seq } = await disk.holdings.since(0)
      await disk.close()
      io.setBytes('inventory.log', spoil(io.bytesOf('inventory.log')))
      clock.ms += 1000
      const again = await attached(io)
      const answer = await since(again, seq)
      expect([answer.full, answer.entries.length]).toEqual([true, 4])
    }
  })

  test('a torn last record is cut off and what it said is found again on the disk', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    for (let i = 1; i < 5; i++) await disk.chunks.append(chunkId(i), 0, [data(10)], true)
    await disk.holdings.since(0)
    await disk.close()
    const log = io.bytesOf('inventory.log')
    io.setBytes('inventory.log', Buffer.from(log.subarray(0, log.length - 7)))
    const again = await attached(io)
    expect((await again.holdings.since(0)).entries.length).toBe(4)
  })

  test('numbers that were told are never given again after a power cut', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(A, 0, [data(10)], true)
    await disk.chunks.sync(A, 10)
    const told = await disk.holdings.since(0)
    await disk.chunks.append(B, 0, [data(10)], true)
    const again = await attached(io.crash(() => false))
    const now = await again.holdings.since(told.seq)
    expect([now.full, now.entries]).toEqual([false, []])
    await again.chunks.append(B, 0, [data(10)], true)
    expect((await again.holdings.since(told.seq)).entries).toMatchObject([{ chunk: B }])
  })

  test('the log is rewritten before it is mostly history, and confirmed deletions are forgotten', async () => {
    const io = new MemoryDisk()
    const disk = await attached(io)
    await disk.chunks.append(B, 0, [data(10)], true)
    for (let i = 0; i < 3000; i++) {
      await disk.chunks.append(A, 0, [data(10)], true)
      await disk.chunks.delete(A)
      if (i % 500 === 0) {
        const { seq } = await disk.holdings.since(0)
        disk.holdings.inventory?.confirm(seq)
      }
    }
    await disk.holdings.since(0)
    await disk.chunks.append(chunkId(77), 0, [data(10)], true)
    const { seq } = await disk.holdings.since(0)
    expect(io.bytesOf('inventory.log').length).toBeLessThan(32 * 4200)
    const again = await attached(io.killed())
    expect(await since(again, seq)).toEqual({ full: false, entries: [] })
    expect((await since(again, 0)).entries.length).toBe(2)
  })
})
