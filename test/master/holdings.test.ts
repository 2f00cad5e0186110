import { describe, expect, test } from 'vitest'
import type { AttrChange } from '../../src/base/attr.ts'
import { FsError } from '../../src/base/fault.ts'
import type { Ino, SessionId } from '../../src/base/ids.ts'
import { ROOT_INO } from '../../src/base/ids.ts'
import { Holdings } from '../../src/master/holdings.ts'
import { Sessions } from '../../src/master/sessions.ts'
import type { Request } from '../../src/wire/protocol.ts'
import type { NameChange } from '../../src/wire/shapes.ts'
import { masterOfEachTest, settle, TestClock, TestMaster, TestMount, TestPeer } from './harness.ts'

const keep = masterOfEachTest()
const start = (): TestMaster => keep(new TestMaster())

async function two(): Promise<{ master: TestMaster; a: TestMount; b: TestMount }> {
  const master = start()
  return { master, a: await TestMount.open(master, 'a'), b: await TestMount.open(master, 'b') }
}

async function mkdir(mount: TestMount, name: string, parent: Ino = ROOT_INO): Promise<Ino> {
  const { attr } = await mount.make(name, parent)
  return attr.ino
}

/** Reserves numbers, and answers a function that says what the mount has changed, as it would. */
async function journal(mount: TestMount) {
  const { first } = await mount.master.call(mount.peer, 'inosReserve', { stamp: mount.stamp(), count: 100 })
  let next: number = first
  const time = mount.master.clock.now()
  const node = { type: 'file', mode: 0o644, uid: 0, gid: 0, rdev: 0, target: '', opened: true } as const
  return {
    make: (parent: Ino, name: string, type: 'file' | 'dir' = 'file'): NameChange => {
      const ino = next++ as Ino
      const made = { ...node, type, opened: type === 'file' }
      return { kind: 'make', parent, name, ino, time, node: made, change: undefined }
    },
    gone: (kind: 'unlink' | 'rmdir', parent: Ino, name: string, ino: Ino): NameChange => ({
      kind,
      parent,
      name,
      ino,
      time,
      node: undefined,
      change: undefined,
    }),
    setattr: (parent: Ino, change: AttrChange): NameChange => ({
      kind: 'setattr',
      parent,
      name: '',
      ino: parent,
      time,
      node: undefined,
      change,
    }),
    tell: (...changes: NameChange[]) =>
      mount.master.call(mount.peer, 'names', { stamp: mount.stamp(), changes: changes as never }),
  }
}

/** Answers recalls by telling what is pending then. */
function answersRecalls(mount: TestMount, tell: () => Promise<unknown> = async () => undefined): Request<'recall'>[] {
  const recalls: Request<'recall'>[] = []
  mount.peer.answers.recall = async (wanted) => {
    recalls.push(wanted)
    await tell()
    return {}
  }
  return recalls
}

describe('a directory', () => {
  test('is held by the session that makes it, and by the first that changes names in it', async () => {
    const { a } = await two()
    expect((await a.make('d', ROOT_INO)).held).toBe(true)
    expect((await a.create('f')).held).toBe(true)
  })

  test('is called in before another session looks up a name in it, and what its holder has changed is seen', async () => {
    const { a, b } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    const recalls = answersRecalls(a, () => log.tell(made))
    expect((await b.lookup('f', dir)).ino).toBe(made.ino)
    expect(recalls[0]).toMatchObject({ directories: [dir] })
    // Nobody holds it now; and the other has looked into it, so it is not given away again at once.
    await b.lookup('f', dir)
    expect(recalls.filter(({ directories }) => directories.includes(dir))).toHaveLength(1)
    expect((await a.create('g', dir)).held).toBe(false)
  })

  test('is not called in for its attributes: its holder only says what it has changed', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const recalls = answersRecalls(a, () => log.tell(log.make(dir, 'sub', 'dir')))
    const attr = await master.call(b.peer, 'getattr', { session: b.session, ino: dir })
    expect(attr.nlink).toBe(3)
    expect(recalls[0]).toMatchObject({ inos: [dir], directories: [] })
  })

  test('is given to nobody while another session may show something of it, and is once that one has forgotten it', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(b, 'd')
    answersRecalls(b)
    expect((await a.create('f', dir)).held).toBe(false)
    expect(b.invalidations().at(-1)).toMatchObject({ inodes: [{ ino: dir, data: true }] })
    await master.clock.pass(1_900)
    expect((await a.create('g', dir)).held).toBe(false)
    await master.clock.pass(200)
    expect((await a.create('h', dir)).held).toBe(true)
  })

  test('whose holder is not connected is waited for until its lease is over', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    a.peer.close()
    const looked = b.create('f', dir).then(() => 'done')
    await settle()
    expect(await Promise.race([looked, Promise.resolve('waiting')])).toBe('waiting')
    await master.clock.pass(1_000)
    expect(await looked).toBe('done')
  })

  test('whose holder hangs is waited for once, not for every directory', async () => {
    const { a, b, master } = await two()
    const dirs = [await mkdir(a, 'd'), await mkdir(a, 'e')]
    const hung = new FsError('ETIMEDOUT')
    a.peer.answers.recall = () => master.clock.sleep(10_000).then(() => Promise.reject(hung))
    const first = b.create('f', dirs[0]).then(() => 'done')
    await master.clock.pass(9_000)
    expect(await Promise.race([first, Promise.resolve('waiting')])).toBe('waiting')
    await master.clock.pass(2_000)
    expect(await first).toBe('done')
    await b.create('f', dirs[1])
    expect(a.peer.asked.filter(({ name }) => name === 'recall')).toHaveLength(1)
  })

  test('that is being called in is given back to nobody before that is over', async () => {
    const { a, b } = await two()
    const dir = await mkdir(a, 'd')
    let answer: () => void = () => undefined
    a.peer.answers.recall = () => new Promise((resolve) => (answer = () => resolve({})))
    const looked = b.lookup('nothing', dir).catch((error: unknown) => error)
    await settle()
    expect((await a.create('f', dir)).held).toBe(false)
    answer()
    expect(await looked).toMatchObject({ code: 'ENOENT' })
  })

  test('can be let go of', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const recalls = answersRecalls(a)
    await master.call(a.peer, 'letGo', { session: a.session, directories: [] })
    await b.create('f', dir)
    expect(recalls).toEqual([])
  })
})

describe('names that were changed first and told afterwards', () => {
  test('are there in their order, one refusal does not stop the others', async () => {
    const { a, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const [one, sub, lost] = [log.make(dir, 'one'), log.make(dir, 'sub', 'dir'), log.make(9999 as Ino, 'lost')]
    const below = log.make(sub.ino, 'below')
    const { errnos, parents } = await log.tell(one, sub, lost, below, log.gone('unlink', dir, 'one', one.ino))
    expect(errnos).toEqual([0, 0, 116, 0, 0])
    expect(parents.map(({ ino }) => ino).sort()).toEqual([dir, sub.ino].sort())
    expect((await a.lookup('below', sub.ino)).ino).toBe(below.ino)
    await expect(a.lookup('one', dir)).rejects.toMatchObject({ code: 'ENOENT' })
    expect(master.state.inode(dir)!.attr.nlink).toBe(3)
  })

  test('may be attributes of the directory itself', async () => {
    const { a } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const mtime = { sec: 5, nsec: 6 }
    const { errnos, parents } = await log.tell(log.make(dir, 'f'), log.setattr(dir, { mode: 0o700, uid: 3, mtime }))
    expect(errnos).toEqual([0, 0])
    expect(parents[0]).toMatchObject({ ino: dir, mode: 0o700, uid: 3, mtime, size: 32 })
  })

  test('do no harm when they are told again by another session', async () => {
    const { a, b } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const changes = [log.make(dir, 'x'), log.make(dir, 'y')]
    const rest = [log.gone('unlink', dir, 'x', changes[0]!.ino), log.make(dir, 'x')]
    await log.tell(...changes, ...rest)
    const again = await a.master.call(b.peer, 'names', { stamp: b.stamp(), changes: [...changes, ...rest] as never })
    // x stands for the second file: the first cannot be made again under it, and its unlink takes nothing.
    expect(again.errnos).toEqual([17, 0, 2, 0])
    expect((await a.lookup('x', dir)).ino).toBe(rest[1]!.ino)
  })

  test('never take a name from another inode than the one it was taken from', async () => {
    const { a } = await two()
    const { attr } = await a.create('f')
    const log = await journal(a)
    expect((await log.tell(log.gone('unlink', ROOT_INO, 'f', (attr.ino + 1) as Ino))).errnos).toEqual([2])
    expect((await a.lookup('f')).ino).toBe(attr.ino)
  })

  test('need numbers that were given to somebody, and the numbers are given only once', async () => {
    const { a, b } = await two()
    const mine = await a.master.call(a.peer, 'inosReserve', { stamp: a.stamp(), count: 10 })
    const other = await a.master.call(b.peer, 'inosReserve', { stamp: b.stamp(), count: 10 })
    expect(other.first).toBe(mine.first + 10)
    const log = await journal(a)
    const wild = { ...log.make(ROOT_INO, 'f'), ino: 1_000_000 as Ino }
    expect((await log.tell(wild)).errnos).toEqual([22])
  })

  test('are asked for when another session names an inode that nobody knows yet', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    const recalls = answersRecalls(a, () => log.tell(made))
    expect((await master.call(b.peer, 'getattr', { session: b.session, ino: made.ino })).type).toBe('file')
    expect(recalls).toHaveLength(1)
  })

  test('of a file that was removed while open leave it to its session until that has closed it', async () => {
    const { a, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    await log.tell(made, log.gone('unlink', dir, 'f', made.ino))
    expect((await master.call(a.peer, 'getattr', { session: a.session, ino: made.ino })).nlink).toBe(0)
    await master.call(a.peer, 'release', { session: a.session, inos: [made.ino] })
    await settle()
    await expect(master.call(a.peer, 'getattr', { session: a.session, ino: made.ino })).rejects.toMatchObject({
      code: 'ESTALE',
    })
  })
})

/** The same mount on a new connection, as it is when it has lost the old one. */
async function back(mount: TestMount, more: Partial<Request<'sessionResume'>> = {}): Promise<TestMount> {
  const again = new TestMount(mount.master, new TestPeer('mount', mount.peer.hello.name), mount.session)
  again.peer.answers.recall = () => ({})
  for (let i = 0; i < 100; i++) again.stamp()
  await mount.master.call(again.peer, 'sessionResume', {
    ...{ session: mount.session, client: mount.peer.hello.name, opens: [], made: [], directories: [], numbers: [] },
    ...more,
  })
  return again
}
const told = (mount: TestMount, ...changes: NameChange[]) =>
  mount.master.call(mount.peer, 'names', { stamp: mount.stamp(), changes: changes as never })
/** What the command line makes the master call in of a mount. */
async function calledIn(mount: TestMount): Promise<readonly Ino[]> {
  const recalls = answersRecalls(mount)
  await mount.master.call(new TestPeer('admin', 'cli'), 'fileInfo', { path: '/' })
  return recalls.flatMap(({ directories }) => directories)
}

describe('what is gone', () => {
  test('is held by nobody: a directory that was removed, or replaced by another', async () => {
    const { a } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const sub = log.make(dir, 'sub', 'dir')
    await log.tell(sub)
    const removed = [await mkdir(a, 'x', dir), await mkdir(a, 'y', dir)]
    const moved = await mkdir(a, 'z', dir)
    expect(await calledIn(a)).toEqual(expect.arrayContaining([dir, sub.ino, moved, ...removed]))
    const [kept, ...lost] = [await mkdir(a, 'e'), await mkdir(a, 'f'), await mkdir(a, 'g'), await mkdir(a, 'h')]
    const later = log.make(kept!, 'sub', 'dir')
    await log.tell(log.gone('rmdir', ROOT_INO, 'f', lost[0]!), later, log.gone('rmdir', kept!, 'sub', later.ino))
    await a.master.call(a.peer, 'rmdir', { stamp: a.stamp(), parent: ROOT_INO, name: 'g' })
    await a.master.call(a.peer, 'rename', {
      ...{ stamp: a.stamp(), parent: dir, name: 'z', newParent: ROOT_INO, newName: 'h' },
      ...{ noReplace: false, exchange: false },
    })
    expect((await calledIn(a)).filter((ino) => ino !== ROOT_INO)).toEqual([kept])
  })

  test('is kept for nobody: a symlink that was made and removed in one go', async () => {
    const { a, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'link')
    const link = { ...made, node: { ...made.node!, type: 'symlink' as const, target: 'x', opened: false } }
    await log.tell(link, log.gone('unlink', dir, 'link', made.ino))
    expect(master.state.sustained(a.session)).toEqual([])
    expect(master.state.inode(made.ino)).toBeUndefined()
  })
})

test('a directory that takes the place of the one that was waited for is waited for as well', async () => {
  const { a, b } = await two()
  await mkdir(a, 'target')
  const other = await mkdir(a, 'other')
  const source = await mkdir(b, 'source')
  const log = await journal(a)
  const made = log.make(other, 'f')
  let answer: () => void = () => undefined
  a.peer.answers.recall = () => new Promise((resolve) => (answer = () => resolve({})))
  const flags = { noReplace: false, exchange: false }
  const where = { parent: ROOT_INO, newParent: ROOT_INO, newName: 'target', ...flags }
  const moved = b.master.call(b.peer, 'rename', { stamp: b.stamp(), name: 'source', ...where }).catch((e) => e)
  await settle()
  await a.master.call(a.peer, 'rename', { stamp: a.stamp(), name: 'other', ...where })
  const recalls = answersRecalls(a, () => log.tell(made))
  answer()
  expect(await moved).toMatchObject({ code: 'ENOTEMPTY' })
  expect(recalls[0]).toMatchObject({ directories: [other] })
  expect((await b.lookup('f', other)).ino).toBe(made.ino)
  expect((await b.lookup('source')).ino).toBe(source)
})

/** One has made a file in a directory and was cut off before it told; the other holds the directory now. */
async function overtaken() {
  const { a, b } = await two()
  const dir = await mkdir(a, 'd')
  const late = (await journal(a)).make(dir, 'f')
  a.peer.close()
  const other = b.create('g', dir)
  await a.master.clock.pass(1_100)
  expect((await other).held).toBe(true)
  return { a, b, dir, late }
}

describe('a mount that was cut off', () => {
  test('comes second when it tells what another has changed since in the same directory', async () => {
    const { a, b, dir, late } = await overtaken()
    const theirs = await journal(b)
    const first = theirs.make(dir, 'f')
    answersRecalls(b, async () => expect((await theirs.tell(first)).errnos).toEqual([0]))
    const again = await back(a, { directories: [dir] })
    expect((await told(again, late)).errnos).toEqual([17])
    expect((await b.lookup('f', dir)).ino).toBe(first.ino)
  })

  test('hears of what happens to a directory whose attributes it was told with the answer', async () => {
    const { a, b, dir, late } = await overtaken()
    const again = await back(a, { directories: [dir] })
    await told(again, late)
    await b.master.call(b.peer, 'setattr', { stamp: b.stamp(), ino: dir, change: { mode: 0o700 } })
    expect(again.invalidations().flatMap(({ inodes }) => inodes.map(({ ino }) => ino))).toContain(dir)
  })

  test('and comes back with changes is waited for once more by who waited for it', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    a.peer.close()
    const looked = b.lookup('f', dir)
    await master.clock.pass(900)
    const again = await back(a, { directories: [dir] })
    const recalls = answersRecalls(again, () => told(again, made))
    await master.clock.pass(200)
    expect((await looked).ino).toBe(made.ino)
    expect(recalls[0]).toMatchObject({ directories: [dir] })
  })

  test('and tells at the same time as another tells it does not wait for that one for ever', async () => {
    const { a, b, master } = await two()
    const dirs = [await mkdir(a, 'd'), await mkdir(b, 'e')]
    const [mine, theirs] = [await journal(a), await journal(b)]
    // Each holds the directory in which the other has changed something.
    answersRecalls(a, () => theirs2)
    const ours = mine.make(dirs[1]!, 'f')
    const others = theirs.make(dirs[0]!, 'f')
    let theirs2: Promise<unknown> = Promise.resolve()
    answersRecalls(b, () => {
      theirs2 = theirs.tell(others)
      return theirs2
    })
    expect((await mine.tell(ours)).errnos).toEqual([0])
    expect((await a.lookup('f', dirs[0])).ino).toBe(others.ino)
    expect(master.clock.monotonicMs()).toBe(1_000_000)
  })

  test('does not hold what another knows by now, though it has changed something there', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    a.peer.close()
    const looked = b.lookup('g', dir).catch((error: unknown) => error)
    await master.clock.pass(1_100)
    expect(await looked).toMatchObject({ code: 'ENOENT' })
    const again = await back(a, { directories: [dir] })
    await told(again, made)
    expect((await again.create('h', dir)).held).toBe(false)
  })

  test('is not asked for files that it has closed meanwhile', async () => {
    const { a, b } = await two()
    const { attr } = await a.create('f')
    const again = await back(a)
    const recalls = answersRecalls(again)
    await b.lookup('f')
    expect(recalls.filter(({ inos }) => inos.includes(attr.ino))).toEqual([])
  })

  test('has nothing open because of a request that was asked on its old connection', async () => {
    const { a, b, master } = await two()
    const { attr } = await a.create('f')
    let answer: () => void = () => undefined
    a.peer.answers.recall = () => new Promise((resolve) => (answer = () => resolve({})))
    const opened = master.call(b.peer, 'open', { session: b.session, ino: attr.ino, write: false })
    await settle()
    const old = b.peer
    await back(b)
    expect(old.closed).toBe(true)
    answer()
    await expect(opened).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect([...master.master.sessions.find(b.session)!.opens!]).toEqual([])
  })
})

test('a session that holds very many directories is asked for the oldest, and never refused one', () => {
  const sessions = new Sessions(new TestClock())
  const peer = new TestPeer('mount', 'm')
  peer.answers.recall = () => ({})
  const info = { session: 1 as SessionId, client: 'c', host: 'h', mountpoint: '/m', version: '0' }
  const session = sessions.begin(info, peer)
  const holdings = new Holdings(
    sessions,
    () => true,
    () => true,
    new TestClock(),
    3,
  )
  for (let ino = 10; ino < 14; ino++) expect(holdings.hold(session, ino as Ino)).toBe(true)
  expect(peer.asked[0]).toMatchObject({ name: 'recall', request: { directories: [10, 11, 12] } })
  expect(holdings.heldBy(session)).toBe(1)
})

test('inode numbers whose range was given out long ago, or twice, are asked for where they belong', async () => {
  const clock = new TestClock()
  const sessions = new Sessions(clock)
  const [one, other] = [1, 2].map((id) => {
    const peer = new TestPeer('mount', `m${id}`)
    peer.answers.recall = () => ({})
    const info = { session: id as SessionId, client: `c${id}`, host: 'h', mountpoint: '/m', version: '0' }
    return { peer, session: sessions.begin(info, peer) }
  })
  const holdings = new Holdings(
    sessions,
    () => false,
    () => true,
    clock,
  )
  holdings.reserved(one!.session, 100, 50)
  holdings.reserved(other!.session, 100, 50)
  holdings.reserved(one!.session, 50, 20)
  holdings.reserved(other!.session, 300, 20)
  const asked = async (ino: number): Promise<string[]> => {
    one!.peer.asked.length = other!.peer.asked.length = 0
    await holdings.settle(99, { inos: [ino as Ino] })
    return [one!, other!].filter(({ peer }) => peer.asked.length > 0).map(({ peer }) => peer.hello.name)
  }
  expect(await asked(49)).toEqual([])
  expect(await asked(69)).toEqual(['m1'])
  expect(await asked(70)).toEqual([])
  expect(await asked(100)).toEqual(['m2'])
  expect(await asked(149)).toEqual(['m2'])
  expect(await asked(310)).toEqual(['m2'])
  expect(await asked(320)).toEqual([])
})

describe('after a restart of the master', () => {
  const resume = (mount: TestMount, more: Partial<Request<'sessionResume'>> = {}): Request<'sessionResume'> =>
    ({
      session: mount.session,
      client: mount.peer.hello.name,
      opens: [],
      made: [],
      directories: [],
      numbers: [],
      ...more,
    }) as const

  test('nobody is answered before the others have come back and said what they hold', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    const running = keep(await master.restarted())
    const peers = { a: new TestPeer('mount', 'a'), b: new TestPeer('mount', 'b') }
    await running.call(peers.b, 'sessionResume', resume(b))
    const looked = running.call(peers.b, 'lookup', { session: b.session, parent: dir, name: 'f' })
    await settle()
    const again = new TestMount(running, peers.a, a.session)
    const recalls = answersRecalls(again, () =>
      running.call(peers.a, 'names', { stamp: { session: a.session, seq: 50, acked: 50 }, changes: [made] as never }),
    )
    await running.call(peers.a, 'sessionResume', resume(a, { directories: [dir] }))
    expect((await looked).ino).toBe(made.ino)
    expect(recalls[0]).toMatchObject({ directories: [dir] })
  })

  test('who made a file is called in, not who came back first with it open', async () => {
    const { a, b, master } = await two()
    const { attr } = await a.create('f')
    const running = keep(await master.restarted())
    const peers = { a: new TestPeer('mount', 'a'), b: new TestPeer('mount', 'b') }
    const opens = [attr.ino]
    await running.call(peers.b, 'sessionResume', resume(b, { opens }))
    await running.call(peers.a, 'sessionResume', resume(a, { opens, made: opens }))
    const recalls = answersRecalls(new TestMount(running, peers.a, a.session))
    await running.call(peers.b, 'getattr', { session: b.session, ino: attr.ino })
    expect(recalls[0]).toMatchObject({ inos: opens })
    await running.call(peers.a, 'getattr', { session: a.session, ino: attr.ino })
    expect(peers.b.asked).toEqual([])
  })

  test('those who do not come back are waited for three seconds', async () => {
    const { b, master } = await two()
    const running = keep(await master.restarted())
    const peer = new TestPeer('mount', 'b')
    await running.call(peer, 'sessionResume', resume(b))
    let answered = false
    const looked = running.call(peer, 'getattr', { session: b.session, ino: ROOT_INO }).then(() => {
      answered = true
    })
    await running.clock.pass(2_900)
    expect(answered).toBe(false)
    await running.clock.pass(200)
    await looked
  })
})

test('the command line sees what mounts hold back', async () => {
  const { a, master } = await two()
  const dir = await mkdir(a, 'd')
  const log = await journal(a)
  const recalls = answersRecalls(a, () => log.tell(log.make(dir, 'f')))
  const admin = new TestPeer('admin', 'cli')
  expect(await master.call(admin, 'fileInfo', { path: '/d/f' })).toMatchObject({ path: '/d/f' })
  expect(recalls[0]).toMatchObject({ all: true })
})
