/* Quotas as clients meet them: what was answered as done stays, and a limit is heard of by who runs into it. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SessionId } from '../../src/base/ids.ts'
import { type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Log } from '../../src/base/world.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import type { QuotaReport } from '../../src/wire/reports.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const caller = callerOf({ uid: 0, gid: 0 })
const NEW = { exclusive: true, truncate: false }
const ADMIN = { session: 0 as SessionId, seq: 0, acked: 0 }
const NO = { soft: undefined, hard: undefined }
const MiB = 1 << 20

describe('clients under a quota', () => {
  let cluster: MemoryCluster
  let clients: [Filesystem, Filesystem]
  const errors: string[] = []
  beforeEach(async () => {
    errors.length = 0
    const quiet = (): void => undefined
    const log: Log = {
      ...{ debug: quiet, info: quiet, warn: quiet, child: () => log },
      error: (_, message) => errors.push(message),
    }
    cluster = await MemoryCluster.start({ log })
    clients = [await cluster.client(), await cluster.client()]
  })
  afterEach(() => cluster.stop())

  const mkdir = async (client: Filesystem, parent: Ino, name: string): Promise<Ino> =>
    (await client.make(parent, name, { type: 'dir', mode: 0o755 }, caller)).ino
  const quota = (path: string): Promise<QuotaReport[]> => cluster.call('quotaGet', { path })
  /** Set and counted. */
  const limit = async (path: string, limits: object): Promise<void> => {
    const request = { stamp: ADMIN, path, inodes: NO, length: NO, raw: NO, graceMs: undefined, ...limits }
    await cluster.call('quotaSet', request)
    for (;;) {
      const [first] = await quota(path)
      if (first?.path === path && first.state === 'active') return
      await realClock.sleep(50)
    }
  }
  const write = async (client: Filesystem, ino: Ino, offset: number, length: number): Promise<void> =>
    client.write(ino, offset, Buffer.alloc(length, 7), { append: false, killSuidGid: false }, caller)
  /** Makes files until one is refused: how many there are, and why. */
  const fill = async (client: Filesystem, dir: Ino, prefix: string, most: number): Promise<[number, unknown]> => {
    for (let n = 0; n < most; n++) {
      try {
        const { ino } = await client.create(dir, `${prefix}${n}`, 0o644, NEW, caller)
        await client.flush(ino, caller)
        client.release(ino)
      } catch (error) {
        return [n, (error as { code?: string }).code]
      }
    }
    return [most, undefined]
  }

  it('change names first while there is room for all that they hold back, and ask from then on: no name is lost', async () => {
    const [a, b] = clients
    const mine = await mkdir(a, ROOT_INO, 'mine')
    const dir = await mkdir(a, mine, 'a')
    await a.syncfs(caller)
    const other = await mkdir(b, mine, 'b')
    await b.syncfs(caller)
    // Two mounts may hold back twice 8 192 names; beyond that there is room for 700 that are changed first.
    await limit('/mine', { inodes: { soft: undefined, hard: 2 * 8_192 + 700 } })
    const before = await mkdir(a, dir, 'held')
    await a.syncfs(caller)
    expect(cluster.heldBy(0)).toBeGreaterThan(0)
    expect(await fill(a, before, 'f', 600)).toEqual([600, undefined])
    await a.syncfs(caller)
    expect(cluster.heldBy(0)).toBeGreaterThan(0)
    expect(await fill(a, before, 'g', 300)).toEqual([300, undefined])
    await a.syncfs(caller)
    expect([cluster.heldBy(0), cluster.heldBy(1)]).toEqual([0, 0])
    // What is made now is asked for, and a new directory is not held.
    const late = await mkdir(b, other, 'late')
    await b.syncfs(caller)
    expect(cluster.heldBy(1)).toBe(0)
    const { used } = (await quota('/mine'))[0]!.inodes
    await limit('/mine', { inodes: { soft: undefined, hard: used + 40 } })
    const [x, y] = await Promise.all([fill(a, before, 'x', 60), fill(b, late, 'y', 60)])
    expect([x[0] + y[0], x[1], y[1]]).toEqual([40, 'EDQUOT', 'EDQUOT'])
    await Promise.all([a.syncfs(caller), b.syncfs(caller)])
    expect(errors).toEqual([])
    expect((await quota('/mine'))[0]).toMatchObject({ inodes: { used: used + 40 }, exceeded: true })
    expect(await cluster.findings()).toEqual([])
  })

  it('are refused nothing that they changed first before the limit was there, and give up what they hold', async () => {
    const [a] = clients
    const dir = await mkdir(a, ROOT_INO, 'd')
    await a.syncfs(caller)
    expect(await fill(a, dir, 'f', 50)).toEqual([50, undefined])
    await limit('/d', { inodes: { soft: undefined, hard: 10 } })
    expect(cluster.heldBy(0)).toBe(0)
    expect(await fill(a, dir, 'g', 5)).toEqual([0, 'EDQUOT'])
    await a.syncfs(caller)
    expect(errors).toEqual([])
    expect((await quota('/d'))[0]).toMatchObject({ inodes: { used: 51, hard: 10 } })
  })

  it('give up an empty directory that is moved to where there is little room', async () => {
    const [a] = clients
    await mkdir(a, ROOT_INO, 'd')
    await limit('/d', { inodes: { soft: undefined, hard: 5 } })
    const dir = (await a.lookup(ROOT_INO, 'd', caller)).ino
    const moved = await mkdir(a, ROOT_INO, 'moved')
    await a.syncfs(caller)
    await a.rename(ROOT_INO, 'moved', dir, 'moved', { noReplace: false, exchange: false }, caller)
    expect(await fill(a, moved, 'f', 10)).toEqual([3, 'EDQUOT'])
    expect(errors).toEqual([])
  })

  it('hear at the close of a small file that it did not fit, and at a later write of a large one', async () => {
    const [a] = clients
    const dir = await mkdir(a, ROOT_INO, 'd')
    await limit('/d', { length: { soft: undefined, hard: 20 * MiB } })
    const large = (await a.create(dir, 'large', 0o644, NEW, caller)).ino
    let written = 0
    const writing = (async () => {
      for (; written < 64; written++) await write(a, large, written * MiB, MiB)
    })()
    await expect(writing).rejects.toMatchObject({ code: 'EDQUOT' })
    await a.flush(large, caller).catch(() => undefined)
    a.release(large)
    const { size } = await a.getattr(large, caller)
    // As much as there was room for; whatever was written behind the refused bytes is not there.
    expect(size).toBe(20 * MiB)
    await a.setattr(large, { size: 20 * MiB - 1000 }, caller)
    const small = (await a.create(dir, 'small', 0o644, NEW, caller)).ino
    await write(a, small, 0, 1001)
    await expect(a.flush(small, caller)).rejects.toMatchObject({ code: 'EDQUOT' })
    a.release(small)
    const fits = (await a.create(dir, 'fits', 0o644, NEW, caller)).ino
    await write(a, fits, 0, 1000)
    await a.flush(fits, caller)
    a.release(fits)
    expect((await quota('/d'))[0]).toMatchObject({ length: { used: 20 * MiB } })
    expect(await cluster.findings()).toEqual([])
  })

  it('see in the space of the filesystem what a quota leaves of it', async () => {
    const [a] = clients
    const dir = await mkdir(a, ROOT_INO, 'd')
    const whole = await a.statfs(ROOT_INO, caller)
    await limit('/d', { raw: { soft: undefined, hard: 10 * MiB }, inodes: { soft: 8, hard: undefined } })
    const file = (await a.create(dir, 'f', 0o644, NEW, caller)).ino
    await write(a, file, 0, MiB)
    await a.fsync(file, caller)
    a.release(file)
    // Two copies of everything.
    expect(await a.statfs(dir, caller)).toMatchObject({
      totalBytes: 5 * MiB,
      freeBytes: 4 * MiB,
      availableBytes: 4 * MiB,
      files: 8,
      filesFree: 6,
    })
    expect(await a.statfs(file, caller)).toMatchObject({ totalBytes: 5 * MiB })
    expect((await a.statfs(ROOT_INO, caller)).files).toBeGreaterThanOrEqual(whole.files)
  })
})
