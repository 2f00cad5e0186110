import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'
import type { Reply } from '../../src/wire/protocol.ts'
import { masterOfEachTest, settle, TestMaster, TestMount, TestPeer } from './harness.ts'

/** A store that can be told to refuse, and that counts transactions and flushes. */
class FailingStore extends MemoryStore {
  refuse: FsError | undefined
  refuseFlush: FsError | undefined
  transactions = 0
  flushes = 0
  holdFlush: Promise<void> | undefined
  override transaction<T>(body: () => T): T {
    this.transactions++
    const refuse = this.refuse
    return super.transaction(() => {
      const value = body()
      if (refuse !== undefined) throw refuse
      return value
    })
  }
  override async flushed(): Promise<void> {
    this.flushes++
    await this.holdFlush
    if (this.refuseFlush !== undefined) throw this.refuseFlush
  }
}

const keep = masterOfEachTest()
function start(store = new FailingStore()): { master: TestMaster; store: FailingStore } {
  const running = keep(new TestMaster({}, store))
  return { master: running, store }
}

describe('the loop', () => {
  test('carries out everything that arrived in one turn in one transaction, in order', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    const before = store.transactions
    const replies = await Promise.all(Array.from({ length: 100 }, (_, i) => mount.create(`file-${i}`)))
    expect(store.transactions - before).toBe(1)
    expect(replies.map((reply) => reply.attr.ino)).toEqual(replies.map((_, i) => replies[0]!.attr.ino + i))
  })

  test('a batch is bounded: more than it holds waits for the next turn', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    const before = store.transactions
    await Promise.all(Array.from({ length: 1300 }, (_, i) => mount.create(`file-${i}`)))
    expect(store.transactions - before).toBe(3)
  })

  test('a repeated request is answered, not executed again, also when both are in one batch', async () => {
    const { master } = start()
    const mount = await TestMount.open(master, 'a')
    const stamp = mount.stamp()
    const request = { stamp, parent: 1 as never, name: 'once', mode: 0o644, umask: 0, uid: 0, gid: 0 }
    const exclusive = { ...request, exclusive: true, truncate: false, killSuidGid: undefined }
    const [first, second] = await Promise.all([
      master.call(mount.peer, 'create', exclusive),
      master.call(mount.peer, 'create', exclusive),
    ])
    expect(second).toEqual(first)
    expect(await master.call(mount.peer, 'create', exclusive)).toEqual(first)
    expect(first.created).toBe(true)
  })

  test('a refusal is remembered like a success', async () => {
    const { master } = start()
    const mount = await TestMount.open(master, 'a')
    const stamp = mount.stamp()
    await expect(master.call(mount.peer, 'unlink', { stamp, parent: 1 as never, name: 'x' })).rejects.toThrow('no such')
    await (await TestMount.open(master, 'b')).create('x')
    await expect(master.call(mount.peer, 'unlink', { stamp, parent: 1 as never, name: 'x' })).rejects.toThrow('no such')
    expect((await mount.lookup('x')).nlink).toBe(1)
  })

  test('remembered replies survive a restart of the master', async () => {
    const { master } = start()
    const mount = await TestMount.open(master, 'a')
    const stamp = mount.stamp()
    const request = {
      stamp,
      parent: 1 as never,
      name: 'd',
      type: 'dir',
      mode: 0o755,
      umask: 0,
      uid: 0,
      gid: 0,
    } as const
    const first = await master.call(mount.peer, 'make', { ...request, rdev: 0, target: '' })
    const again = await master.restarted()
    keep(again)
    expect(await again.call(mount.peer, 'make', { ...request, rdev: 0, target: '' })).toEqual(first)
  })

  test('time in the changelog never goes back, whatever the wall clock does', async () => {
    const { master } = start()
    const mount = await TestMount.open(master, 'a')
    await mount.create('a')
    master.clock.jump(-5_000_000)
    await mount.create('b')
    const { rows } = await master.call(mount.peer, 'changelogPage', { from: 0, limit: 100 })
    const times = rows.map((row) => row.time.sec * 1e9 + row.time.nsec)
    expect(times).toEqual([...times].sort((x, y) => x - y))
    expect(rows.map((row) => row.kind)).toEqual(['sessionOpen', 'create', 'create'])
    expect(rows.map((row) => row.index)).toEqual([1, 2, 3])
  })

  test('a commit that asked for it is answered after the flush; the others do not wait', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    let release = (): void => undefined
    store.holdFlush = new Promise((resolve) => {
      release = resolve
    })
    const done: string[] = []
    const commit = (sync: boolean): Promise<unknown> =>
      master
        .call(mount.peer, 'commit', { stamp: mount.stamp(), files: [], sync })
        .then(() => done.push(sync ? 'synced' : 'plain'))
    const all = Promise.all([commit(true), commit(false)])
    await settle()
    expect(done).toEqual(['plain'])
    release()
    await all
    expect(done).toEqual(['plain', 'synced'])
  })

  test('many who wait for the disk share few flushes', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    const before = store.flushes
    await Promise.all(Array.from({ length: 200 }, () => master.call(mount.peer, 'sync', { session: mount.session })))
    expect(store.flushes - before).toBeLessThanOrEqual(2)
  })

  test('what nobody waits for is flushed within a second', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    await master.clock.pass(2000)
    const before = store.flushes
    await mount.create('a')
    expect(store.flushes).toBe(before)
    await master.clock.pass(1000)
    expect(store.flushes).toBe(before + 1)
  })

  test('a batch that cannot be committed is refused as a whole and leaves no trace; the master says that it is read-only until a write succeeds', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    await mount.create('kept')
    store.refuse = new FsError('ENOSPC', 'metadata disk')
    const failed = await Promise.allSettled([mount.create('x'), mount.create('y')])
    expect(failed.map((r) => r.status === 'rejected' && (r.reason as FsError).code)).toEqual(['ENOSPC', 'ENOSPC'])
    await expect(mount.create('z')).rejects.toMatchObject({ code: 'ENOSPC' })
    expect((await mount.lookup('kept')).type).toBe('file')
    await expect(mount.lookup('x')).rejects.toMatchObject({ code: 'ENOENT' })
    const status = await master.call(mount.peer, 'status', {})
    expect(status.work[0]).toMatchObject({ name: 'changes', state: 'failed' })
    await master.clock.pass(3000)
    await expect(mount.create('z')).rejects.toMatchObject({ code: 'ENOSPC' })
    store.refuse = undefined
    await master.clock.pass(1100)
    expect((await mount.create('z')).created).toBe(true)
    expect((await master.call(mount.peer, 'status', {})).work[0]).toMatchObject({ state: 'idle', lastError: '' })
  })

  test('a session whose beginning could not be committed is nobody’s: its number goes to the next', async () => {
    const { master, store } = start()
    store.refuse = new FsError('ENOSPC', 'metadata disk')
    await expect(TestMount.open(master, 'lost')).rejects.toMatchObject({ code: 'ENOSPC' })
    store.refuse = undefined
    await master.clock.pass(1_100)
    const mount = await TestMount.open(master, 'a')
    const resume = { session: mount.session, client: 'a', opens: [], made: [], directories: [], numbers: [] }
    expect(await master.call(new TestPeer('mount', 'a'), 'sessionResume', resume)).toMatchObject({ timeoutMs: 30_000 })
  })

  test('when the flush fails, nothing that waited for it is acknowledged', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    store.refuseFlush = new FsError('EIO', 'metadata disk')
    await expect(
      master.call(mount.peer, 'commit', { stamp: mount.stamp(), files: [], sync: true }),
    ).rejects.toMatchObject({ code: 'EIO' })
    await expect(master.call(mount.peer, 'sync', { session: mount.session })).rejects.toMatchObject({ code: 'EIO' })
    await expect(mount.create('x')).rejects.toMatchObject({ code: 'EIO' })
    const { work } = await master.call(mount.peer, 'status', {})
    expect(work[0]).toMatchObject({ name: 'changes', state: 'failed' })
    expect(work[0]!.lastError).toMatch(/read-only: .*metadata disk/)
  })

  test('an exception in a transaction is not an answer: it gets out', async () => {
    const { master } = start()
    const thrown: unknown[] = []
    const catcher = (error: unknown): void => void thrown.push(error)
    const before = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', catcher)
    try {
      const answered: unknown[] = []
      master.master.loop.submit({
        prepare: () => {
          throw new TypeError('a bug')
        },
        done: (result) => answered.push(result),
      })
      await settle()
      expect(thrown).toMatchObject([{ message: 'a bug' }])
      expect(answered).toEqual([])
    } finally {
      process.off('uncaughtException', catcher)
      for (const listener of before) process.on('uncaughtException', listener)
    }
  })

  test('stopping carries out what has arrived, flushes, and refuses what comes after', async () => {
    const { master, store } = start()
    const mount = await TestMount.open(master, 'a')
    const arrived: Promise<Reply<'create'>> = mount.create('last')
    const flushes = store.flushes
    await master.master.loop.stop()
    expect((await arrived).created).toBe(true)
    expect(store.flushes).toBeGreaterThan(flushes)
    await expect(mount.create('late')).rejects.toMatchObject({ code: 'EAGAIN' })
  })
})
