/* Directories that a client holds, where it must not be sure of too much. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Log } from '../../src/base/world.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { classWith, writeClass } from '../../src/topology/storage-class.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { MASTER_PORT, MemoryCluster } from '../support/memory-cluster.ts'
import { fastClock, realClock } from '../support/real-clock.ts'

const caller = callerOf({ uid: 0, gid: 0 })
const NEW = { exclusive: true, truncate: false }
const TIMES = 8

describe('a client that holds directories', () => {
  let cluster: MemoryCluster
  let clients: Filesystem[]
  const errors: string[] = []
  beforeEach(async () => {
    errors.length = 0
    const quiet = (): void => undefined
    const log: Log = {
      ...{ debug: quiet, info: quiet, warn: quiet, child: () => log },
      error: (_, m) => errors.push(m),
    }
    cluster = await MemoryCluster.start({ clock: fastClock(TIMES), log })
    clients = [await cluster.client(), await cluster.client()]
  })
  afterEach(() => cluster.stop())

  const mkdir = async (client: Filesystem, parent: Ino, name: string): Promise<Ino> =>
    (await client.make(parent, name, { type: 'dir', mode: 0o755 }, caller)).ino
  const touch = async (client: Filesystem, parent: Ino, name: string): Promise<Ino> => {
    const { ino } = await client.create(parent, name, 0o644, NEW, caller)
    await client.flush(ino, caller)
    client.release(ino)
    return ino
  }
  const names = async (client: Filesystem, ino: Ino): Promise<string[]> =>
    (await client.readdir(ino, 0, 100, caller)).map(({ name }) => name)
  /** What is in it changes first from then on: the numbers for new inodes have come. */
  const held = async (client: Filesystem, name: string): Promise<Ino> => {
    const ino = await mkdir(client, ROOT_INO, name)
    await client.syncfs(caller)
    return ino
  }

  it('closes a small file without asking, also after a close that had nothing to say', async () => {
    const [a] = clients as [Filesystem]
    const dir = await held(a, 'd')
    const written = async (name: string): Promise<Ino> => {
      const { ino } = await a.create(dir, name, 0o644, NEW, caller)
      // What a shell does for "> name", before the program begins that writes.
      await a.flush(ino, caller)
      await a.write(ino, 0, Buffer.from(name), { append: false, killSuidGid: false }, caller)
      return ino
    }
    const first = await written('first')
    await a.fsync(first, caller)
    a.release(first)
    const second = await written('second')
    cluster.branch(0).hang({ there: true, back: true })
    await a.flush(second, caller)
    cluster.branch(0).hang({ there: false, back: false })
    a.release(second)
    await a.syncfs(caller)
    expect((await clients[1]!.lookup(dir, 'second', caller)).size).toBe('second'.length)
  })

  it('lets go of the oldest when it has made very many', async () => {
    const [a] = clients as [Filesystem]
    const dir = await held(a, 'd')
    for (let i = 0; i < 8_300; i++) await mkdir(a, dir, `sub-${i}`)
    await a.syncfs(caller)
    await realClock.sleep(50)
    expect(cluster.heldBy(0)).toBeLessThanOrEqual(8_192)
  })

  it('finds a directory again whose removal was refused, because another had put something there', async () => {
    const [a, b] = clients as [Filesystem, Filesystem]
    const dir = await held(a, 'd')
    const sub = await mkdir(a, dir, 'sub')
    await a.syncfs(caller)
    await a.lookup(dir, 'sub', caller)
    cluster.branch(0).hang({ there: true, back: true })
    await a.rmdir(dir, 'sub', caller)
    expect(await names(a, sub)).toEqual([])
    cluster.branch(0).cut()
    await touch(b, sub, 'theirs')
    cluster.branch(0).hang({ there: false, back: false })
    await a.syncfs(caller)
    expect(errors).toEqual(['the master refused what was answered as done: rmdir'])
    expect(await names(a, sub)).toEqual(['theirs'])
    expect((await a.lookup(dir, 'sub', caller)).ino).toBe(sub)
  })

  it('gives what it makes the class that the master gives it by its patterns, also while these change', async () => {
    const [a, b] = clients as [Filesystem, Filesystem]
    const stamp = { session: 0 as never, seq: 0, acked: 0 }
    const classOf = async (name: string) =>
      (await cluster.call('classSet', { stamp, classId: 0, text: writeClass(classWith(name, { K: '2' })) })).classId
    const [films, mine] = [await classOf('films'), await classOf('mine')]
    const set = (number: number, glob: string, classId: number, rest: { uid?: number; priority?: number } = {}) =>
      cluster.call('patternSet', {
        ...{ stamp, number },
        pattern: { glob, uid: undefined, gid: undefined, priority: 0, classId, ...rest },
      })
    await set(0, '*.mp4', films)
    const { number } = await set(0, 'mine-*', mine, { uid: 0, priority: 5 })
    const dir = await held(a, 'd')
    const classIds = async (client: Filesystem, names: readonly string[]) => {
      const found: Record<string, number> = {}
      for (const name of names) found[name] = (await client.lookup(dir, name, caller)).classId ?? 0
      return found
    }
    await touch(a, dir, 'first')
    await mkdir(a, dir, 'mine-d')
    for (const name of ['a.mp4', 'b.txt', 'mine-c.mp4']) await touch(a, dir, name)
    const heldNow = cluster.heldBy(0)
    expect(heldNow).toBeGreaterThan(0)
    const wanted = { 'a.mp4': films, 'b.txt': 0, 'mine-c.mp4': mine, 'mine-d': mine }
    expect(await classIds(a, Object.keys(wanted))).toEqual(wanted)
    expect(await classIds(b, Object.keys(wanted))).toEqual(wanted)

    // Looking has called it in; from a directory of its own it is held again.
    const made: string[] = []
    let changing = true
    const change = (async () => {
      for (let i = 0; i < 8; i++) {
        await set(number, i % 2 === 0 ? 'x-[0-4]*' : 'x-[5-9]*', i % 3 === 0 ? films : mine)
        await realClock.sleep(5)
      }
      changing = false
    })()
    for (let i = 0; changing || i < 50; i++) {
      const name = `x-${i % 10}-${i}`
      await touch(a, dir, name)
      made.push(name)
    }
    await change
    const shown = await classIds(a, made)
    await a.syncfs(caller)
    expect(await classIds(b, made)).toEqual(shown)
    expect(new Set(Object.values(shown)).size).toBeGreaterThan(1)
    expect(errors).toEqual([])
  })

  it('makes nothing by itself where the master is being asked for something', async () => {
    const [a] = clients as [Filesystem]
    const dir = await held(a, 'd')
    await touch(a, dir, 'x')
    await a.syncfs(caller)
    const moved = a.rename(dir, 'x', dir, 'y', { noReplace: false, exchange: false }, caller)
    await new Promise((resolve) => setImmediate(resolve))
    const made = await a.create(dir, 'y', 0o644, NEW, caller).then(
      ({ ino }) => a.release(ino),
      (error: unknown) => error,
    )
    await moved
    await a.syncfs(caller)
    expect(errors).toEqual([])
    expect(made === undefined || (made as { code: string }).code === 'EEXIST').toBe(true)
  })

  it('does not answer for a symlink that the master would not take', async () => {
    const [a] = clients as [Filesystem]
    const dir = await held(a, 'd')
    const link = { type: 'symlink', mode: 0o777, target: 'x'.repeat(5_000) } as const
    await expect(a.make(dir, 'long', link, caller)).rejects.toMatchObject({ code: expect.any(String) })
    await touch(a, dir, 'f')
    await a.syncfs(caller)
    expect(await names(a, dir)).toEqual(['f'])
  })

  it('opens nothing but files by creating them', async () => {
    const [a, b] = clients as [Filesystem, Filesystem]
    const dir = await mkdir(a, ROOT_INO, 'd')
    await names(b, dir)
    await a.make(dir, 'fifo', { type: 'fifo', mode: 0o644 }, caller)
    const opened = b.create(dir, 'fifo', 0o644, { exclusive: false, truncate: false }, caller)
    await expect(opened).rejects.toMatchObject({ code: 'ESTALE' })
    expect((await cluster.kept()).opens).toEqual({})
  })
})

describe('an answer that arrives together with news that it is out of date', () => {
  it('is not remembered, neither an attribute nor a name', async () => {
    const cluster = await MemoryCluster.start()
    try {
      const [a, b] = [await cluster.client(), await cluster.client()]
      const dir = await mkdir(b, 'd')
      const file = (await b.create(dir, 'f', 0o600, NEW, caller)).ino
      b.release(file)
      await a.lookup(ROOT_INO, 'd', caller)
      await b.syncfs(caller)
      cluster.branch(0).hang({ there: false, back: true })
      const answers = [a.getattr(file, caller), a.lookup(dir, 'f', caller)]
      await realClock.sleep(20)
      await b.setattr(file, { mode: 0o640 }, caller)
      await b.unlink(dir, 'f', caller)
      await b.syncfs(caller)
      await realClock.sleep(20)
      cluster.branch(0).hang({ there: false, back: false })
      expect((await Promise.all(answers)).map(({ mode }) => mode)).toEqual([0o600, 0o600])
      await expect(a.lookup(dir, 'f', caller)).rejects.toMatchObject({ code: 'ENOENT' })
    } finally {
      await cluster.stop()
    }
  })

  it('is not remembered, nor is where the bytes are that one has written oneself', async () => {
    const cluster = await MemoryCluster.start()
    try {
      const [a, b] = [await cluster.client(), await cluster.client()]
      const { ino } = await b.create(ROOT_INO, 'f', 0o600, NEW, caller)
      await write(b, ino, 'first')
      await a.open(ino, { write: true, truncate: false }, caller)
      // It has a chunk to write to from then on.
      await write(a, ino, 'early')
      await b.syncfs(caller)
      await a.write(ino, 0, Buffer.from('ours!'), { append: false, killSuidGid: false }, caller)
      cluster.branch(0).hang({ there: false, back: true, port: MASTER_PORT })
      const flushed = a.flush(ino, caller)
      await realClock.sleep(50)
      await write(b, ino, 'other')
      cluster.branch(0).hang({ there: false, back: false })
      await flushed
      await realClock.sleep(50)
      expect(Buffer.concat(await a.read(ino, 0, 100, caller)).toString()).toBe('other')
      a.release(ino)
      b.release(ino)
    } finally {
      await cluster.stop()
    }
  })

  const write = async (client: Filesystem, ino: Ino, text: string): Promise<void> => {
    await client.write(ino, 0, Buffer.from(text), { append: false, killSuidGid: false }, caller)
    await client.fsync(ino, caller)
  }
  const mkdir = async (client: Filesystem, name: string): Promise<Ino> =>
    (await client.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, caller)).ino
})
