/* What two clients of one cluster see of each other. */

import { describe, expect, test, vi } from 'vitest'
import type { Invalidation } from '../../src/client/vfs.ts'
import type { Started } from './vfs.ts'
import { pattern } from './vfs-data.ts'
import { waits } from './vfs-locks.ts'
import { GONE, lockOf, Probe, refused, same } from './vfs-probe.ts'

const A = { owner: '00000000000000aa', pid: 100 } as const
const B = { owner: '00000000000000bb', pid: 200 } as const
/** The promise is one second; the rest is for a busy machine. */
const SOON = { timeout: 3_000, interval: 20 } as const

export function twoClientTests(started: () => Started): void {
  const both = async (title: string): Promise<[Probe, Probe]> => {
    const { vfs, second } = started()
    const one = await Probe.fresh(vfs, title)
    return [one, one.through(second!)]
  }

  describe('two clients', () => {
    test('what one has closed the other reads when it opens, every time', async () => {
      const [one, two] = await both('close to open')
      const file = await one.put('f', 'version 0')
      for (let i = 1; i <= 30; i++) {
        const [writer, reader] = i % 2 === 0 ? [one, two] : [two, one]
        await writer.open(file)
        await writer.write(file, 0, `version ${i}`)
        await writer.close(file)
        expect(await reader.get(file)).toBe(`version ${i}`)
      }
    })

    test('truncation, overwriting and appending of one are seen by the other at its open', async () => {
      const [one, two] = await both('grow and shrink')
      const file = await one.put('f', pattern(200_000, 1))
      expect((await two.open(file)).size).toBe(200_000)
      await two.read(file)
      await two.close(file)
      await one.open(file, { truncate: true })
      await one.write(file, 0, 'short')
      await one.close(file)
      expect((await two.open(file)).size).toBe(5)
      expect(await two.text(file)).toBe('short')
      await two.append(file, ' and long')
      await two.close(file)
      expect(await one.get(file)).toBe('short and long')
    })

    test('a reader that keeps the file open sees the new bytes within a second', async () => {
      const [one, two] = await both('kept open')
      const file = await one.put('f', 'old!')
      await two.open(file)
      expect(await two.text(file)).toBe('old!')
      await one.open(file)
      await one.write(file, 0, 'new!')
      await one.close(file)
      await vi.waitFor(async () => expect(await two.text(file)).toBe('new!'), SOON)
      await two.close(file)
    })

    test('who has made a file and keeps it open sees what another has written to it', async () => {
      const [one, two] = await both('made and kept open')
      const file = await one.create('f')
      await two.lookup('f')
      await two.open(file)
      await two.write(file, 0, 'not mine')
      await two.close(file)
      await vi.waitFor(async () => expect((await one.attr(file)).size).toBe(8), SOON)
      expect(await one.text(file)).toBe('not mine')
      await one.close(file)
    })

    test('names and attributes are at most a second old, also missing ones', async () => {
      const [one, two] = await both('one second')
      await refused(two.lookup('f'), 'ENOENT')
      const file = await one.put('f')
      await vi.waitFor(async () => expect((await two.lookup('f')).ino).toBe(file), SOON)
      expect(await two.names()).toEqual(['f'])
      await one.set(file, { mode: 0o600 })
      await vi.waitFor(async () => expect((await two.attr(file)).mode).toBe(0o600), SOON)
      await one.rename('f', 'g')
      await vi.waitFor(() => refused(two.lookup('f'), 'ENOENT'), SOON)
      await vi.waitFor(async () => expect(await two.names()).toEqual(['g']), SOON)
      await one.unlink('g')
      await vi.waitFor(() => refused(two.lookup('g'), 'ENOENT'), SOON)
      await vi.waitFor(async () => expect(await two.names()).toEqual([]), SOON)
    })

    test('changes are pushed to who has seen the old', async () => {
      const [one, two] = await both('pushed')
      const file = await one.put('f', 'old')
      await one.put('going')
      await two.get(file)
      await two.lookup('going')
      const heard: Invalidation[] = []
      two.vfs.onInvalidate((change) => void heard.push(change))
      try {
        await one.open(file)
        await one.write(file, 0, 'new')
        await one.close(file)
        await one.unlink('going')
        await vi.waitFor(() => {
          expect(heard).toContainEqual({ kind: 'inode', ino: file, data: true })
          expect(heard.some((it) => it.kind === 'entry' && it.parent === one.dir && it.name === 'going')).toBe(true)
        }, SOON)
      } finally {
        two.vfs.onInvalidate(() => undefined)
      }
    })

    test('locks of one hold the other, and waiting crosses from one to the other', async () => {
      const [one, two] = await both('locks')
      const file = await one.put('f')
      await one.lock(file, 'write', A)
      await refused(two.lock(file, 'read', B), 'EAGAIN')
      // The same owner number of another client is another owner.
      await refused(two.lock(file, 'read', A), 'EAGAIN')
      expect(await two.vfs.getLock(file, lockOf('read', B), two.caller)).toMatchObject({ kind: 'write' })
      const waiting = two.lock(file, 'write', { ...B, wait: true })
      expect(await waits(waiting)).toBe(true)
      await one.lock(file, 'unlock', A)
      await waiting
      await refused(one.lock(file, 'read', A), 'EAGAIN')
      await two.vfs.releaseLocks(file, 'posix', B.owner)
      await one.lock(file, 'write', { ...A, family: 'flock' })
      await refused(two.lock(file, 'write', { ...B, family: 'flock' }), 'EAGAIN')
      await one.vfs.releaseLocks(file, 'flock', A.owner)
      await two.lock(file, 'write', { ...B, family: 'flock' })
      await two.vfs.releaseLocks(file, 'flock', B.owner)
    })

    test('who takes a lock sees what was written under it before', async () => {
      const [one, two] = await both('counter')
      const file = await one.put('f', '00')
      await one.open(file)
      await two.open(file)
      for (let i = 1; i <= 20; i++) {
        const [p, owner] = i % 2 === 0 ? [one, A] : [two, B]
        await p.lock(file, 'write', { ...owner, wait: true })
        expect(Number(await p.text(file))).toBe(i - 1)
        await p.write(file, 0, String(i).padStart(2, '0'))
        // fcntl(2) users write out before they unlock; the kernel does it for a lock that is given back.
        await p.vfs.flush(file, p.caller)
        await p.lock(file, 'unlock', owner)
      }
      await one.close(file)
      await two.close(file)
    })

    test('a file that the other unlinks lives on while it is open here', async () => {
      const [one, two] = await both('unlinked elsewhere')
      const file = await one.put('f', 'content')
      await one.open(file)
      await two.unlink('f')
      await vi.waitFor(async () => expect((await one.attr(file)).nlink).toBe(0), SOON)
      expect(await one.text(file)).toBe('content')
      await one.write(file, 7, ' grows')
      await one.vfs.fsync(file, one.caller)
      expect(await one.text(file)).toBe('content grows')
      await one.close(file)
      await vi.waitFor(() => refused(one.attr(file), ...GONE), { timeout: 5_000 })
    })

    test('both writing different parts of one file lose nothing', async () => {
      const [one, two] = await both('two writers')
      const file = await one.put('f', Buffer.alloc(100_000))
      await one.open(file)
      await two.open(file)
      const model = Buffer.alloc(100_000)
      for (let i = 0; i < 10; i++) {
        const p = i % 2 === 0 ? one : two
        const piece = pattern(10_000, i)
        piece.copy(model, i * 10_000)
        await p.write(file, i * 10_000, Buffer.from(piece))
      }
      await one.close(file)
      await two.close(file)
      for (const p of [one, two]) {
        await p.open(file)
        same(await p.read(file), model)
        await p.close(file)
      }
    })

    test('one name made by both at once is made once', async () => {
      const [one, two] = await both('race')
      for (let i = 0; i < 10; i++) {
        const outcomes = await Promise.allSettled([one.mkdir(`d${i}`), two.mkdir(`d${i}`)])
        expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1)
      }
      expect(await one.names()).toEqual(Array.from({ length: 10 }, (_, i) => `d${i}`))
    })
  })
}
