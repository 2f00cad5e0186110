/* What every Vfs must do with bytes: reading, writing, holes, truncation, allocation, copies by reference. */

import { describe, expect, test } from 'vitest'
import { FILE_BYTES_MAX } from '../../src/base/limits.ts'
import type { Started } from './vfs.ts'
import { Probe, refused, same } from './vfs-probe.ts'

const MiB = 1024 * 1024

/** Bytes that tell where they belong, so that a misplaced block shows. */
export function pattern(length: number, seed: number): Buffer {
  const out = Buffer.alloc(length)
  for (let i = 0; i + 4 <= length; i += 4) out.writeUInt32LE((seed * 0x9e37_79b1 + i) >>> 0, i)
  return out
}

export function dataTests(started: () => Started): void {
  const fresh = (title: string): Promise<Probe> => Probe.fresh(started().vfs, title)

  describe('data', () => {
    test('what is written is read, before and after it is closed', async () => {
      const p = await fresh('write and read')
      const file = await p.create('f')
      await p.write(file, 0, 'hello world')
      expect(await p.text(file)).toBe('hello world')
      expect(await p.attr(file)).toMatchObject({ size: 11 })
      expect(await p.text(file, 6, 3)).toBe('wor')
      expect(await p.text(file, 11)).toBe('')
      expect(await p.text(file, 1000)).toBe('')
      await p.close(file)
      expect(await p.get(file)).toBe('hello world')
      expect((await p.attr(file)).used).toBeGreaterThanOrEqual(11)
    })

    test('overwriting changes exactly what was overwritten', async () => {
      const p = await fresh('overwrite')
      const file = await p.create('f')
      const model = pattern(300_000, 1)
      await p.write(file, 0, Buffer.from(model))
      for (const [i, [at, length]] of [
        [0, 10],
        [65_530, 12],
        [100_000, 70_000],
        [299_990, 10],
        [1, 1],
      ].entries()) {
        if (i % 2 === 0) await p.vfs.flush(file, p.caller)
        const piece = pattern(length!, i + 2)
        await p.write(file, at!, Buffer.from(piece))
        piece.copy(model, at)
        same(await p.read(file), model)
      }
      await p.close(file)
      await p.open(file)
      same(await p.read(file), model)
      await p.close(file)
    })

    test('many files written at once keep to themselves', async () => {
      const p = await fresh('many')
      const files = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => ({ i, ino: await p.put(`f${i}`, pattern(1 + i * 97, i)) })),
      )
      for (const { i, ino } of files) {
        await p.open(ino)
        same(await p.read(ino), pattern(1 + i * 97, i))
        await p.close(ino)
      }
    })

    test('a file larger than one chunk is read whole and in parts', async () => {
      const p = await fresh('large')
      const file = await p.create('f')
      const piece = 1 * MiB
      for (let i = 0; i < 70; i++) await p.write(file, i * piece, pattern(piece, i))
      await p.vfs.fsync(file, p.caller)
      expect((await p.attr(file)).size).toBe(70 * piece)
      for (const i of [0, 31, 63, 64, 69]) same(await p.read(file, i * piece, piece), pattern(piece, i))
      const over = await p.read(file, 64 * piece - 100, 200)
      same(over, Buffer.concat([pattern(piece, 63).subarray(-100), pattern(piece, 64).subarray(0, 100)]))
      await p.close(file)
      await p.unlink('f')
    })

    test('appending goes to the end, wherever that is', async () => {
      const p = await fresh('append')
      const file = await p.put('f', 'one')
      await p.open(file)
      await p.append(file, ' two')
      await p.append(file, ' three')
      expect(await p.text(file)).toBe('one two three')
      await p.close(file)
    })

    test('a hole reads as zeros and takes no space', async () => {
      const p = await fresh('hole')
      const file = await p.create('f')
      await p.write(file, 10 * MiB, 'end')
      expect((await p.attr(file)).size).toBe(10 * MiB + 3)
      same(await p.read(file, 10 * MiB - 5, 100), Buffer.from('\0\0\0\0\0end'))
      same(await p.read(file, 0, 100), Buffer.alloc(100))
      await p.close(file)
      expect((await p.attr(file)).used).toBeLessThanOrEqual(64 * 1024)
    })

    test('a file reaches to 16 TiB and no further', async () => {
      const p = await fresh('huge')
      const file = await p.create('f')
      await p.write(file, FILE_BYTES_MAX - 4, 'last')
      expect(await p.text(file, FILE_BYTES_MAX - 4, 100)).toBe('last')
      await refused(p.write(file, FILE_BYTES_MAX - 3, 'over'), 'EFBIG')
      await refused(p.set(file, { size: FILE_BYTES_MAX + 1 }), 'EFBIG', 'EINVAL')
      await p.close(file)
      await p.open(file)
      expect((await p.attr(file)).size).toBe(FILE_BYTES_MAX)
      expect(await p.text(file, FILE_BYTES_MAX - 4, 100)).toBe('last')
      expect(await p.vfs.seek(file, 0, 'data', p.caller)).toBeGreaterThanOrEqual(FILE_BYTES_MAX - 64 * 1024)
      await p.close(file)
    })

    test('writing to what is not a file is refused', async () => {
      const p = await fresh('not files')
      const dir = await p.mkdir('d')
      await refused(p.write(dir, 0, 'x'), 'EISDIR', 'EINVAL', 'EBADF')
      await refused(p.read(dir), 'EISDIR', 'EINVAL', 'EBADF')
      await refused(p.set(dir, { size: 0 }), 'EISDIR')
    })

    test('two descriptors of one file see each other at once', async () => {
      const p = await fresh('two descriptors')
      const file = await p.create('f')
      await p.open(file)
      await p.write(file, 0, 'first')
      expect(await p.text(file)).toBe('first')
      await p.close(file)
      await p.write(file, 5, ' second')
      expect(await p.text(file)).toBe('first second')
      await p.close(file)
      expect(await p.get(file)).toBe('first second')
    })

    test('fsync, flush and syncfs keep what was written, and an unknown or clean file is no error', async () => {
      const p = await fresh('sync')
      const file = await p.create('f')
      await p.write(file, 0, 'a')
      await p.vfs.fsync(file, p.caller)
      await p.vfs.fsync(file, p.caller)
      await p.write(file, 1, 'b')
      await p.vfs.syncfs(p.caller)
      await p.write(file, 2, 'c')
      await p.vfs.flush(file, p.caller)
      await p.vfs.flush(file, p.caller)
      await p.close(file)
      await p.vfs.fsync(file, p.caller)
      await p.vfs.fsync(p.dir, p.caller)
      expect(await p.get(file)).toBe('abc')
    })

    test('writes at once from many sides all arrive', async () => {
      const p = await fresh('parallel writes')
      const file = await p.create('f')
      const part = 10_000
      await Promise.all(Array.from({ length: 64 }, (_, i) => p.write(file, i * part, pattern(part, i))))
      await p.close(file)
      await p.open(file)
      for (let i = 0; i < 64; i++) same(await p.read(file, i * part, part), pattern(part, i))
      await p.close(file)
    })
  })

  describe('truncation', () => {
    test('cuts for good: what grows again reads as zeros', async () => {
      const p = await fresh('truncate')
      const file = await p.put('f', pattern(200_000, 5))
      await p.open(file)
      await p.set(file, { size: 70_001 })
      expect((await p.attr(file)).size).toBe(70_001)
      same(await p.read(file), pattern(200_000, 5).subarray(0, 70_001))
      await p.set(file, { size: 150_000 })
      const read = await p.read(file)
      expect(read.length).toBe(150_000)
      same(read.subarray(0, 70_001), pattern(200_000, 5).subarray(0, 70_001))
      same(read.subarray(70_001), Buffer.alloc(150_000 - 70_001))
      await p.set(file, { size: 0 })
      expect(await p.attr(file)).toMatchObject({ size: 0, used: 0 })
      await p.close(file)
    })

    test('of unwritten data forgets it, and what is written afterwards stays', async () => {
      const p = await fresh('truncate dirty')
      const file = await p.create('f')
      await p.write(file, 0, 'abcdefgh')
      await p.set(file, { size: 3 })
      await p.write(file, 5, 'X')
      expect(await p.text(file)).toBe('abc\0\0X')
      await p.close(file)
      expect(await p.get(file)).toBe('abc\0\0X')
    })

    test('at open empties the file', async () => {
      const p = await fresh('open truncate')
      const file = await p.put('f', 'content')
      expect((await p.open(file, { truncate: true })).size).toBe(0)
      await p.write(file, 0, 'new')
      await p.close(file)
      expect(await p.get(file)).toBe('new')
    })

    test('moves mtime, even when the size stays', async () => {
      const p = await fresh('truncate times')
      const file = await p.put('f', 'content')
      await p.set(file, { mtime: { sec: 5, nsec: 5 } })
      await p.set(file, { size: 3 })
      expect((await p.attr(file)).mtime.sec).toBeGreaterThan(5)
    })
  })

  describe('allocation', () => {
    const RESERVE = { kind: 'reserve', keepSize: false } as const
    const PUNCH = { kind: 'punch', keepSize: true } as const
    const ZERO = { kind: 'zero', keepSize: true } as const

    test('reserving grows the file unless its size is kept, and never changes bytes', async () => {
      const p = await fresh('reserve')
      const file = await p.put('f', 'abc')
      await p.open(file)
      await p.vfs.fallocate(file, { ...RESERVE, keepSize: true }, 0, 1000, p.caller)
      expect((await p.attr(file)).size).toBe(3)
      await p.vfs.fallocate(file, RESERVE, 0, 1000, p.caller)
      expect((await p.attr(file)).size).toBe(1000)
      same(await p.read(file), Buffer.concat([Buffer.from('abc'), Buffer.alloc(997)]))
      await refused(p.vfs.fallocate(file, RESERVE, FILE_BYTES_MAX, 1, p.caller), 'EFBIG')
      await p.close(file)
    })

    test('punching and zeroing leave zeros, the rest and the size stay', async () => {
      const p = await fresh('punch')
      const file = await p.create('f')
      const model = pattern(400_000, 9)
      await p.write(file, 0, Buffer.from(model))
      for (const [mode, at, length] of [
        [PUNCH, 65_536, 131_072],
        [PUNCH, 10, 20],
        [ZERO, 300_000, 50_001],
        [PUNCH, 399_999, 1000],
      ] as const) {
        await p.vfs.fallocate(file, mode, at, length, p.caller)
        model.fill(0, at, Math.min(at + length, model.length))
        same(await p.read(file), model)
      }
      await p.vfs.fallocate(file, { ...ZERO, keepSize: false }, 399_000, 2_000, p.caller)
      expect((await p.attr(file)).size).toBe(401_000)
      await p.close(file)
      expect((await p.attr(file)).used).toBeLessThan(400_000 - 131_072 + 65_536)
    })

    test('SEEK_DATA and SEEK_HOLE find islands and the implicit hole at the end', async () => {
      const p = await fresh('seek')
      const file = await p.create('f')
      await p.write(file, 1 * MiB, pattern(MiB, 1))
      await p.write(file, 4 * MiB, pattern(MiB, 2))
      await p.set(file, { size: 8 * MiB })
      const seek = (at: number, whence: 'data' | 'hole') => p.vfs.seek(file, at, whence, p.caller)
      expect(await seek(0, 'data')).toBe(1 * MiB)
      expect(await seek(1 * MiB + 5, 'data')).toBe(1 * MiB + 5)
      expect(await seek(0, 'hole')).toBe(0)
      expect(await seek(1 * MiB, 'hole')).toBe(2 * MiB)
      expect(await seek(2 * MiB, 'data')).toBe(4 * MiB)
      expect(await seek(4 * MiB, 'hole')).toBe(5 * MiB)
      await refused(seek(5 * MiB, 'data'), 'ENXIO')
      await refused(seek(8 * MiB, 'data'), 'ENXIO')
      await refused(seek(8 * MiB, 'hole'), 'ENXIO')
      await p.set(file, { size: 5 * MiB })
      expect(await seek(4 * MiB + 1, 'hole')).toBe(5 * MiB)
      await p.close(file)
    })
  })

  describe('copies by reference', () => {
    test('the copy reads the same and the two live apart', async () => {
      const p = await fresh('copy')
      const data = pattern(300_000, 3)
      const source = await p.put('source', data)
      const target = await p.put('target', 'head')
      await p.open(source)
      await p.open(target)
      expect(await p.vfs.copyRange(source, 1000, target, 4, 200_000, p.caller)).toBe(200_000)
      const model = Buffer.concat([Buffer.from('head'), data.subarray(1000, 201_000)])
      same(await p.read(target), model)
      await p.write(source, 1000, Buffer.alloc(5000, 1))
      await p.vfs.flush(source, p.caller)
      same(await p.read(target), model)
      await p.write(target, 100_000, 'mine')
      model.write('mine', 100_000)
      same(await p.read(target), model)
      same((await p.read(source)).subarray(6000), data.subarray(6000))
      await p.close(source)
      await p.close(target)
      await p.unlink('source')
      expect(await p.get(target)).toBe(model.toString('latin1'))
    })

    test('is short at the end of the source, carries holes, and copies unwritten data too', async () => {
      const p = await fresh('short copy')
      const source = await p.create('source')
      await p.write(source, 0, 'abc')
      await p.write(source, 200_000, 'end')
      const target = await p.put('target', pattern(250_000, 4))
      await p.open(target)
      expect(await p.vfs.copyRange(source, 0, target, 10, 1_000_000, p.caller)).toBe(200_003)
      const model = pattern(250_000, 4)
      model.fill(0, 10, 200_013)
      model.write('abc', 10)
      model.write('end', 200_010)
      same(await p.read(target), model)
      expect(await p.vfs.copyRange(source, 200_003, target, 0, 10, p.caller)).toBe(0)
      await p.close(source)
      await p.close(target)
    })

    test('within one file', async () => {
      const p = await fresh('copy within')
      const file = await p.put('f', '0123456789')
      await p.open(file)
      expect(await p.vfs.copyRange(file, 0, file, 10, 10, p.caller)).toBe(10)
      expect(await p.text(file)).toBe('01234567890123456789')
      await p.close(file)
    })
  })
}
