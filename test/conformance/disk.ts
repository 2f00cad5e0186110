/*
 * What every DiskIo must do, whoever implements it: the suite runs over the real one and over the one in memory, so that what
 * is proved on the one in memory (crashes, torn writes) holds for the real one as far as a test can see.
 */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { errnoOf } from '../../src/base/fault.ts'
import type { DiskIo } from '../../src/chunk/disk-io.ts'

export interface DiskFixture {
  readonly io: DiskIo
  /** A second DiskIo on the same disk, as another process has it. */
  readonly other: DiskIo
  close(): Promise<void>
}

export function diskConformance(name: string, make: () => Promise<DiskFixture>): void {
  describe(`a disk: ${name}`, () => {
    let fixture: DiskFixture
    let io: DiskIo
    beforeEach(async () => {
      fixture = await make()
      io = fixture.io
    })
    afterEach(() => fixture.close())

    const code = async (promise: Promise<unknown>): Promise<string | undefined> => {
      try {
        await promise
        return undefined
      } catch (error) {
        return errnoOf(error) ?? (error as { code?: string }).code
      }
    }

    test('what is written is read back, from any position, gathered or alone, at once or later', async () => {
      const file = await io.open('f', 'create')
      await file.write([Buffer.from('hello '), Buffer.alloc(0), Buffer.from('world')], 0)
      file.writeNow([Buffer.from('W')], 6)
      file.writeNow([Buffer.from('!'), Buffer.from('!')], 11)
      const into = Buffer.alloc(13)
      expect(await file.read(into, 0)).toBe(13)
      expect(into.toString()).toBe('hello World!!')
      expect(await file.read(into, 6)).toBe(7)
      expect(into.toString('latin1', 0, 7)).toBe('World!!')
      expect(await file.read(into, 13)).toBe(0)
      expect(await file.read(into, 1000)).toBe(0)
      expect(file.readNow(into, 6)).toBe(7)
      expect(into.toString('latin1', 0, 7)).toBe('World!!')
      expect(file.readNow(into, 1000)).toBe(0)
      await file.close()
    })

    test('more parts than one system call takes are all written', async () => {
      const file = await io.open('f', 'create')
      const parts = Array.from({ length: 3000 }, (_, i) => Buffer.from([i & 0xff, i >> 8]))
      await file.write(parts, 5)
      file.writeNow(parts, 6005)
      const into = Buffer.alloc(12_000)
      expect(await file.read(into, 5)).toBe(12_000)
      expect(into.subarray(0, 6000).equals(Buffer.concat(parts))).toBe(true)
      expect(into.subarray(6000).equals(Buffer.concat(parts))).toBe(true)
      await file.close()
    })

    test('a gap between writes reads as zeros and counts to the size; truncating cuts and extends', async () => {
      const file = await io.open('f', 'create')
      await file.write([Buffer.from('x')], 9000)
      expect(await file.size()).toBe(9001)
      const into = Buffer.alloc(9001, 1)
      await file.read(into, 0)
      expect(into.subarray(0, 9000).every((byte) => byte === 0)).toBe(true)
      await file.truncate(10)
      expect(await file.size()).toBe(10)
      await file.truncate(20)
      expect(await file.read(into, 0)).toBe(20)
      await file.datasync()
      await file.close()
    })

    test('opening knows the four modes', async () => {
      expect(await code(io.open('f', 'read'))).toBe('ENOENT')
      expect(await code(io.open('f', 'write'))).toBe('ENOENT')
      await (await io.open('f', 'ensure')).close()
      expect(await code(io.open('f', 'create'))).toBe('EEXIST')
      await (await io.open('f', 'ensure')).close()
      await (await io.open('f', 'read')).close()
      expect(await code(io.open('no/such/dir', 'create'))).toBe('ENOENT')
    })

    test('directories list their names; making one twice is fine; listing a missing one is not', async () => {
      await io.makeDir('a/b')
      await io.makeDir('a/b')
      await (await io.open('a/b/f', 'create')).close()
      await (await io.open('a/g', 'create')).close()
      expect((await io.list('a')).sort()).toEqual(['b', 'g'])
      expect(await io.list('a/b')).toEqual(['f'])
      expect(await code(io.list('a/c'))).toBe('ENOENT')
      await io.syncDir('a/b')
      expect([await io.exists('a/b/f'), await io.exists('a/b'), await io.exists('a/x')]).toEqual([true, true, false])
    })

    test('a rename replaces; a removed file is gone by name and readable through what is open', async () => {
      const f = await io.open('f', 'create')
      await f.write([Buffer.from('new')], 0)
      await (await io.open('g', 'create')).close()
      await io.rename('f', 'g')
      expect(await io.exists('f')).toBe(false)
      await io.unlink('g')
      expect(await code(io.unlink('g'))).toBe('ENOENT')
      const into = Buffer.alloc(3)
      expect(await f.read(into, 0)).toBe(3)
      expect(into.toString()).toBe('new')
      await f.close()
      expect(await code(f.read(into, 0))).toBe('EBADF')
    })

    test('a lock keeps another out until it is given back', async () => {
      const name = `test-${process.pid}-${Math.random()}`
      const unlock = await io.lock(name)
      expect(await code(fixture.other.lock(name))).toBe('EBUSY')
      await unlock()
      const again = await fixture.other.lock(name)
      await again()
    })

    test('space is a total and what of it is free', async () => {
      const { totalBytes, availableBytes } = await io.space()
      expect(totalBytes).toBeGreaterThan(0)
      expect(availableBytes).toBeLessThanOrEqual(totalBytes)
    })
  })
}
