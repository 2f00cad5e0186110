/* What every Vfs must do with locks: byte ranges as fcntl(2) has them, whole files as flock(2), waiting and giving up. */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { Started } from './vfs.ts'
import { lockOf, Probe, refused } from './vfs-probe.ts'

const A = { owner: '00000000000000aa', pid: 100 } as const
const B = { owner: '00000000000000bb', pid: 200 } as const
const END = Number.MAX_SAFE_INTEGER

/** Whether a promise is still open after other work has had its turn. */
export async function waits(promise: Promise<unknown>, ms = 60): Promise<boolean> {
  const open = Symbol('open')
  const first = await Promise.race([
    promise.catch(() => undefined),
    new Promise((done) => setTimeout(() => done(open), ms)),
  ])
  return first === open
}

export function lockTests(started: () => Started): void {
  const fresh = (title: string): Promise<Probe> => Probe.fresh(started().vfs, title)

  describe('locks', () => {
    test('readers share, a writer stands alone, ranges are apart', async () => {
      const p = await fresh('conflicts')
      const file = await p.put('f')
      await p.lock(file, 'read', { ...A, start: 0, end: 99 })
      await p.lock(file, 'read', { ...B, start: 50, end: 149 })
      await refused(p.lock(file, 'write', { ...B, start: 90, end: 90 }), 'EAGAIN')
      await p.lock(file, 'write', { ...B, start: 100, end: END })
      await refused(p.lock(file, 'read', { ...A, start: 0, end: END }), 'EAGAIN')
      expect(await p.vfs.getLock(file, lockOf('write', { ...A, start: 0, end: END }), p.caller)).toMatchObject({
        ...{ kind: 'read', pid: 200, start: 50, end: 99 },
      })
      expect(await p.vfs.getLock(file, lockOf('read', { ...A, start: 0, end: 99 }), p.caller)).toBeUndefined()
      await p.vfs.releaseLocks(file, 'posix', B.owner)
      await p.lock(file, 'write', { ...A })
      await p.vfs.releaseLocks(file, 'posix', A.owner)
    })

    test('unlocking the middle leaves both ends', async () => {
      const p = await fresh('split')
      const file = await p.put('f')
      await p.lock(file, 'write', { ...A, start: 0, end: 99 })
      await p.lock(file, 'unlock', { ...A, start: 40, end: 59 })
      await p.lock(file, 'write', { ...B, start: 40, end: 59 })
      await refused(p.lock(file, 'read', { ...B, start: 39, end: 39 }), 'EAGAIN')
      await refused(p.lock(file, 'read', { ...B, start: 60, end: 60 }), 'EAGAIN')
      await p.lock(file, 'read', { ...A, start: 0, end: 39 })
      await p.lock(file, 'read', { ...B, start: 0, end: 39 })
      for (const { owner } of [A, B]) await p.vfs.releaseLocks(file, 'posix', owner)
    })

    test('flock and byte ranges know nothing of each other', async () => {
      const p = await fresh('families')
      const file = await p.put('f')
      await p.lock(file, 'write', { ...A, family: 'flock' })
      await p.lock(file, 'write', { ...B })
      await refused(p.lock(file, 'read', { ...B, family: 'flock' }), 'EAGAIN')
      await p.vfs.releaseLocks(file, 'flock', A.owner)
      await p.lock(file, 'write', { ...B, family: 'flock' })
      await p.vfs.releaseLocks(file, 'flock', B.owner)
      await p.vfs.releaseLocks(file, 'posix', B.owner)
    })

    test('one who waits is served when the way is free', async () => {
      const p = await fresh('waiting')
      const file = await p.put('f')
      await p.lock(file, 'write', A)
      const waiting = p.lock(file, 'write', { ...B, wait: true })
      expect(await waits(waiting)).toBe(true)
      await p.lock(file, 'unlock', A)
      await waiting
      await refused(p.lock(file, 'read', A), 'EAGAIN')
      const two = p.lock(file, 'read', { ...A, wait: true })
      expect(await waits(two)).toBe(true)
      await p.vfs.releaseLocks(file, 'posix', B.owner)
      await two
      await p.vfs.releaseLocks(file, 'posix', A.owner)
    })

    test('one who is interrupted gets no lock, then or later', async () => {
      const p = await fresh('interrupt')
      const file = await p.put('f')
      await p.lock(file, 'write', A)
      const controller = new AbortController()
      const waiting = p.lock(file, 'write', { ...B, wait: true, signal: controller.signal })
      expect(await waits(waiting)).toBe(true)
      controller.abort(new FsError('EINTR'))
      await refused(waiting, 'EINTR')
      await p.lock(file, 'unlock', A)
      expect(await p.vfs.getLock(file, lockOf('write', A), p.caller)).toBeUndefined()
      await p.lock(file, 'write', A)
      await p.vfs.releaseLocks(file, 'posix', A.owner)
    })

    test('giving back what one never had is no error', async () => {
      const p = await fresh('nothing held')
      const file = await p.put('f')
      await p.lock(file, 'unlock', A)
      await p.vfs.releaseLocks(file, 'posix', A.owner)
      await p.vfs.releaseLocks(file, 'flock', A.owner)
    })
  })
}
