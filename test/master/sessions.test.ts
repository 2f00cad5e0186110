import { describe, expect, test } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { Interest } from '../../src/master/interest.ts'
import type { Request } from '../../src/wire/protocol.ts'
import { masterOfEachTest, settle, TestChunkserver, TestMaster, TestMount, TestPeer } from './harness.ts'

const ROOT = 1 as Ino
const keep = masterOfEachTest()
const start = (): TestMaster => keep(new TestMaster())
const getattr = (mount: TestMount, ino: Ino) =>
  mount.master.call(mount.peer, 'getattr', { session: mount.session, ino })
const open = (mount: TestMount, ino: Ino) =>
  mount.master.call(mount.peer, 'open', { session: mount.session, ino, write: false })
const release = (mount: TestMount, ino: Ino) =>
  mount.master.call(mount.peer, 'release', { session: mount.session, inos: [ino] })
const chmod = (mount: TestMount, ino: Ino, mode: number) =>
  mount.master.call(mount.peer, 'setattr', { stamp: mount.stamp(), ino, change: { mode } })
const renew = (mount: TestMount) => mount.master.call(mount.peer, 'sessionRenew', { session: mount.session })

describe('a session', () => {
  test('is the same when its beginning is repeated', async () => {
    const master = start()
    const first = await TestMount.open(master, 'a')
    const again = await TestMount.open(master, 'a')
    const other = await TestMount.open(master, 'b')
    expect(again.session).toBe(first.session)
    expect(other.session).not.toBe(first.session)
  })

  test('outlives its connection and ends after the timeout without a word', async () => {
    const master = start()
    const mount = await TestMount.open(master, 'a')
    master.work()
    mount.peer.close()
    await master.clock.pass(20_000)
    await renew(mount)
    await master.clock.pass(20_000)
    await renew(mount)
    await master.clock.pass(40_000)
    await expect(renew(mount)).rejects.toMatchObject({ code: 'ESTALE' })
    await expect(mount.create('x')).rejects.toMatchObject({ code: 'ESTALE' })
  })

  test('that comes back while another is being ended goes on', async () => {
    const master = start()
    const [first, second] = [await TestMount.open(master, 'a'), await TestMount.open(master, 'b')]
    first.peer.onClose(() => void renew(second))
    master.work()
    await master.clock.pass(35_000)
    await expect(renew(first)).rejects.toMatchObject({ code: 'ESTALE' })
    await renew(second)
    expect(master.master.sessions.size).toBe(1)
  })

  test('does not pay for time in which the master itself stood still', async () => {
    const master = start()
    const mount = await TestMount.open(master, 'a')
    master.work()
    await master.clock.pass(5_000)
    master.clock.jump(3_600_000)
    await master.clock.pass(5_000)
    await renew(mount)
  })

  test('resumes after a restart of the master, and is told that it is over when it is', async () => {
    const master = start()
    const mount = await TestMount.open(master, 'a')
    const again = await master.restarted()
    keep(again)
    const peer = new TestPeer('mount', 'a')
    const request = { session: mount.session, client: 'a', opens: [], made: [], directories: [], numbers: [] }
    expect((await again.call(peer, 'sessionResume', request)).timeoutMs).toBe(30_000)
    await expect(again.call(peer, 'sessionResume', { ...request, client: 'b' })).rejects.toMatchObject({
      code: 'ESTALE',
    })
    await expect(again.call(peer, 'sessionResume', { ...request, session: 99 as never })).rejects.toMatchObject({
      code: 'ESTALE',
    })
  })

  test('when it ends, its locks are free and its open chunks are being sealed', async () => {
    const master = start()
    const servers = [new TestChunkserver('s1'), new TestChunkserver('s2')]
    for (const server of servers) await server.join(master)
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await a.create('f')
    await setLock(a, attr.ino, 'write', { wait: false })
    const { chunks } = await master.call(a.peer, 'chunkOpen', {
      stamp: a.stamp(),
      count: 1,
      kind: 'pack',
      avoid: [],
      classId: undefined,
    })
    expect(chunks[0]!.places.map((p) => p.disk).sort()).toEqual([1, 2])
    await master.call(a.peer, 'sessionClose', { session: a.session })
    await master.call(a.peer, 'sessionClose', { session: a.session })
    await setLock(b, attr.ino, 'write', { wait: false })
    expect(master.state.chunk(chunks[0]!.chunk)!.state).not.toBe('open')
  })
})

describe('an unlinked file', () => {
  test('lives while a session has it open, for that session and everybody who knows its number', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await a.create('f')
    await open(b, attr.ino)
    await release(a, attr.ino)
    await a.unlink('f')
    expect((await getattr(b, attr.ino)).nlink).toBe(0)
    await release(b, attr.ino)
    await settle()
    await expect(getattr(b, attr.ino)).rejects.toMatchObject({ code: 'ESTALE' })
  })

  test('is gone at once when nobody has it open', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const { attr } = await a.create('f')
    await release(a, attr.ino)
    await a.unlink('f')
    await expect(getattr(a, attr.ino)).rejects.toMatchObject({ code: 'ESTALE' })
  })

  test('is kept for a session that has not come back after a restart, until that says what it has open', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const kept = (await a.create('kept')).attr
    const closed = (await a.create('closed')).attr
    const running = keep(await master.restarted())
    await running.call(new TestPeer('mount', 'b'), 'sessionResume', {
      session: b.session,
      client: 'b',
      opens: [],
      made: [],
      directories: [],
      numbers: [],
    })
    const b2 = new TestMount(running, b.peer, b.session)
    // Nobody is answered while others may be on their way back.
    await running.clock.pass(3_000)
    await b2.unlink('kept')
    await b2.unlink('closed')
    expect((await getattr(b2, kept.ino)).nlink).toBe(0)
    await running.call(new TestPeer('mount', 'a'), 'sessionResume', {
      session: a.session,
      client: 'a',
      opens: [kept.ino],
      made: [],
      directories: [],
      numbers: [],
    })
    await settle()
    expect((await getattr(b2, kept.ino)).nlink).toBe(0)
    await expect(getattr(b2, closed.ino)).rejects.toMatchObject({ code: 'ESTALE' })
  })

  test('goes when the session that held it expires', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const { attr } = await a.create('f')
    await a.unlink('f')
    master.work()
    await master.clock.pass(40_000)
    expect(master.state.inode(attr.ino)).toBeUndefined()
  })
})

describe('what others changed', () => {
  test('is pushed before the one who did it gets the answer, and only to those who were told about it', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const c = await TestMount.open(master, 'c')
    const { attr } = await a.create('f')
    await b.lookup('f')
    b.peer.told.length = 0
    let toldAtAnswer = -1
    await chmod(a, attr.ino, 0o600).then(() => {
      toldAtAnswer = b.invalidations().length
    })
    expect(toldAtAnswer).toBe(1)
    expect(b.invalidations()[0]!.inodes).toEqual([{ ino: attr.ino, data: false }])
    expect(a.invalidations()).toEqual([])
    expect(c.invalidations()).toEqual([])
  })

  test('travels as one frame per batch and session', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    await master.call(b.peer, 'readdir', { session: b.session, ino: ROOT, cookie: 0, limit: 10 })
    await Promise.all(Array.from({ length: 50 }, (_, i) => a.create(`f${i}`)))
    const told = b.invalidations().filter(({ entries }) => entries.length > 0)
    expect(told).toHaveLength(1)
    expect(told[0]!.entries.map((e) => e.name).sort()).toEqual(Array.from({ length: 50 }, (_, i) => `f${i}`).sort())
  })

  test('reaches a mount that only knows that a name is missing', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    await expect(b.lookup('f')).rejects.toMatchObject({ code: 'ENOENT' })
    await a.create('f')
    expect(b.invalidations()[0]!.entries).toMatchObject([{ parent: ROOT, name: 'f' }])
  })

  test('reaches a mount that knows of a directory or a file only from its own changes', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await b.create('mine')
    await chmod(a, attr.ino, 0o600)
    await a.create('other')
    const pushes = b.invalidations()
    expect(pushes.flatMap((push) => push.inodes)).toContainEqual({ ino: attr.ino, data: false })
    expect(pushes.flatMap((push) => push.entries)).toMatchObject([{ parent: ROOT, name: 'other' }])
  })

  test('names the child when a name goes', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await a.create('f')
    await b.lookup('f')
    await a.unlink('f')
    expect(b.invalidations().flatMap((push) => push.entries)).toContainEqual({
      parent: ROOT,
      name: 'f',
      child: attr.ino,
    })
  })

  test('is not sent to a mount whose connection was lost: it has forgotten everything', async () => {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await a.create('f')
    await b.lookup('f')
    b.peer.close()
    const peer = new TestPeer('mount', 'b')
    await master.call(peer, 'sessionResume', {
      session: b.session,
      client: 'b',
      opens: [],
      made: [],
      directories: [],
      numbers: [],
    })
    await chmod(a, attr.ino, 0o600)
    expect(peer.told.filter(({ name }) => name === 'invalidate')).toEqual([])
  })

  test('what no longer fits into the memory of a session is pushed as changed', () => {
    const interest = new Interest(10)
    const evicted: number[] = []
    for (let i = 1; i <= 25; i++) evicted.push(...(interest.add(i as Ino) ?? []))
    expect(interest.size).toBeLessThanOrEqual(10)
    expect(interest.has(25 as Ino)).toBe(true)
    const known = Array.from({ length: 25 }, (_, i) => i + 1).filter((i) => interest.has(i as Ino))
    expect([...evicted, ...known].sort((x, y) => x - y)).toEqual(Array.from({ length: 25 }, (_, i) => i + 1))
  })
})

const setLock = (
  mount: TestMount,
  ino: Ino,
  kind: 'read' | 'write' | 'unlock',
  rest: {
    wait: boolean
    owner?: string
    start?: number
    end?: number
    family?: 'posix' | 'flock'
    signal?: AbortSignal
  },
) => {
  const { wait, owner = 'o', start = 0, end = 99, family = 'posix', signal } = rest
  const lock: Request<'setLock'>['lock'] = { family, kind, owner, start, end, pid: 1 }
  return mount.master.call(mount.peer, 'setLock', { stamp: mount.stamp(), ino, lock, wait }, signal)
}

describe('a lock', () => {
  async function two(): Promise<{ master: TestMaster; a: TestMount; b: TestMount; ino: Ino }> {
    const master = start()
    const a = await TestMount.open(master, 'a')
    const b = await TestMount.open(master, 'b')
    const { attr } = await a.create('f')
    return { master, a, b, ino: attr.ino }
  }

  test('that is taken is refused to others, and shown to them without a pid of another machine', async () => {
    const { master, a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false })
    await expect(setLock(b, ino, 'read', { wait: false })).rejects.toMatchObject({ code: 'EAGAIN' })
    const lock = { family: 'posix', kind: 'read', owner: 'x', start: 50, end: 60, pid: 7 } as const
    const found = await master.call(b.peer, 'getLock', { session: b.session, ino, lock })
    expect(found.lock).toEqual({ family: 'posix', kind: 'write', owner: 'o', start: 0, end: 99, pid: 0 })
  })

  test('is granted to those who wait in the order in which they came', async () => {
    const { a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false })
    const order: string[] = []
    const waiting = ['1', '2', '3'].map((owner) =>
      setLock(b, ino, 'write', { wait: true, owner }).then(async () => {
        order.push(owner)
        await setLock(b, ino, 'unlock', { wait: false, owner })
      }),
    )
    await settle()
    expect(order).toEqual([])
    await setLock(a, ino, 'unlock', { wait: false })
    await Promise.all(waiting)
    expect(order).toEqual(['1', '2', '3'])
  })

  test('given back in the very batch in which another asks for it is not missed', async () => {
    const { a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false })
    await Promise.all([setLock(b, ino, 'write', { wait: true }), setLock(a, ino, 'unlock', { wait: false })])
  })

  test('that waits ends with EINTR when it is cancelled or its connection is lost, and holds nothing', async () => {
    const { a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false })
    const cancel = new AbortController()
    const cancelled = setLock(b, ino, 'write', { wait: true, owner: '1', signal: cancel.signal })
    const cut = setLock(b, ino, 'write', { wait: true, owner: '2' })
    const ends = Promise.allSettled([cancelled, cut])
    await settle()
    cancel.abort()
    b.peer.close()
    for (const end of await ends) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'EINTR' } })
    await setLock(a, ino, 'unlock', { wait: false })
    await setLock(a, ino, 'write', { wait: false, owner: 'other' })
  })

  test('that would close a circle of waiting owners is refused with EDEADLK', async () => {
    const { a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false, start: 0, end: 9 })
    await setLock(b, ino, 'write', { wait: false, start: 10, end: 19 })
    const waits = setLock(a, ino, 'write', { wait: true, start: 10, end: 19 })
    await settle()
    await expect(setLock(b, ino, 'write', { wait: true, start: 0, end: 9 })).rejects.toMatchObject({ code: 'EDEADLK' })
    await setLock(b, ino, 'unlock', { wait: false, start: 0, end: 99 })
    await waits
  })

  test('that waits for long does not keep the replies of later requests in memory', async () => {
    const { master, a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false })
    const waits = setLock(b, ino, 'write', { wait: true })
    await settle()
    for (let i = 0; i < 50; i++) await b.create(`f${i}`)
    await setLock(a, ino, 'unlock', { wait: false })
    await waits
    expect(master.state.locksOf(ino)).toHaveLength(1)
  })

  test('of a session that expires goes to the next who waits', async () => {
    const { master, a, b, ino } = await two()
    await setLock(a, ino, 'write', { wait: false, family: 'flock' })
    const waits = setLock(b, ino, 'write', { wait: true, family: 'flock' })
    master.work()
    for (let i = 0; i < 4; i++) {
      await master.clock.pass(10_000)
      await renew(b)
    }
    await waits
    await expect(renew(a)).rejects.toMatchObject({ code: 'ESTALE' })
  })
})
