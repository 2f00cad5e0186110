import { afterEach, describe, expect, test } from 'vitest'
import type { AttrChange } from '../../src/base/attr.ts'
import { FsError } from '../../src/base/fault.ts'
import type { Ino } from '../../src/base/ids.ts'
import { ROOT_INO } from '../../src/base/ids.ts'
import type { NameChange, Request } from '../../src/wire/protocol.ts'
import { settle, TestMaster, TestMount, TestPeer } from './harness.ts'

let running: TestMaster | undefined
afterEach(async () => {
  running?.check()
  await running?.end()
  running = undefined
})

function start(): TestMaster {
  running = new TestMaster()
  return running
}

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

describe('after a restart of the master', () => {
  const resume = (mount: TestMount, more: Partial<Request<'sessionResume'>> = {}): Request<'sessionResume'> =>
    ({
      session: mount.session,
      client: mount.peer.hello.name,
      opens: [],
      directories: [],
      numbers: [],
      ...more,
    }) as const

  test('nobody is answered before the others have come back and said what they hold', async () => {
    const { a, b, master } = await two()
    const dir = await mkdir(a, 'd')
    const log = await journal(a)
    const made = log.make(dir, 'f')
    running = await master.restarted()
    const peers = { a: new TestPeer('mount', 'a'), b: new TestPeer('mount', 'b') }
    await running.call(peers.b, 'sessionResume', resume(b))
    const looked = running.call(peers.b, 'lookup', { session: b.session, parent: dir, name: 'f' })
    await settle()
    const again = new TestMount(running, peers.a, a.session)
    const recalls = answersRecalls(again, () =>
      running!.call(peers.a, 'names', { stamp: { session: a.session, seq: 50, acked: 50 }, changes: [made] as never }),
    )
    await running.call(peers.a, 'sessionResume', resume(a, { directories: [dir] }))
    expect((await looked).ino).toBe(made.ino)
    expect(recalls[0]).toMatchObject({ directories: [dir] })
  })

  test('those who do not come back are waited for three seconds', async () => {
    const { b, master } = await two()
    running = await master.restarted()
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
