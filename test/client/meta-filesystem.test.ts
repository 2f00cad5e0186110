/* The meta mount over a whole cluster in memory: what is deleted is there to be read, restored and purged. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ino as inoOf, ROOT_INO } from '../../src/base/ids.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import type { MetaFilesystem } from '../../src/client/meta-filesystem.ts'
import type { Entry, Invalidation } from '../../src/client/vfs.ts'
import { callerOf, GONE, Probe, refused } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const READ = { write: false, truncate: false }
const NO_FLAGS = { noReplace: false, exchange: false }
const root = callerOf({ uid: 0, gid: 0 })

describe('a meta mount', () => {
  let cluster: MemoryCluster
  let filesystem: Filesystem
  let meta: MetaFilesystem
  let files: Probe
  let top: Probe
  let trash: Probe
  const told: Invalidation[] = []
  beforeEach(async () => {
    cluster = await MemoryCluster.start({ chunkservers: 2, trashRetentionMs: 3_600_000 })
    filesystem = await cluster.client()
    meta = await cluster.meta()
    told.length = 0
    meta.onInvalidate((change) => told.push(change))
    top = new Probe(meta, ROOT_INO, root)
    trash = new Probe(meta, (await top.lookup('trash')).ino, root)
    files = new Probe(
      filesystem,
      (await filesystem.make(ROOT_INO, 'docs', { type: 'dir', mode: 0o755 }, callerOf())).ino,
    )
  })
  afterEach(() => cluster.stop())

  /** Everything in the trash, with the hour that it is in. */
  const deleted = async (limit = 100): Promise<(Entry & { hour: Probe })[]> => {
    const found: (Entry & { hour: Probe })[] = []
    for (const { name, ino } of await trash.list(trash.dir, limit)) {
      if (name === 'undel') continue
      const hour = trash.in(ino)
      for (const entry of await hour.list(ino, limit)) found.push({ ...entry, hour })
    }
    return found
  }
  const one = async (): Promise<Entry & { hour: Probe }> => {
    const all = await deleted()
    expect(all).toHaveLength(1)
    return all[0]!
  }
  const bytes = async (ino: Entry['ino']): Promise<string> => {
    const { attr } = await meta.open(ino, READ, root)
    const text = Buffer.concat(await meta.read(ino, 0, attr.size + 100, root)).toString('latin1')
    meta.release(ino)
    return text
  }
  /** The master hears of a close a moment later. */
  const nobodyHolds = () => cluster.until('no deleted file is held open', (status) => status.sustained === 0)
  const undel = async (): Promise<Entry['ino']> => (await trash.lookup('undel')).ino

  it('shows its tree, closed to all but root', async () => {
    expect(await top.names()).toEqual(['info', 'sustained', 'trash'])
    expect(await trash.names()).toEqual(['undel'])
    for (const name of ['trash', 'sustained'])
      expect(await top.lookup(name)).toMatchObject({ type: 'dir', mode: 0o700, uid: 0 })
    expect(await top.lookup('info')).toMatchObject({ type: 'file', mode: 0o400, uid: 0 })
    expect((await trash.lookup('..')).ino).toBe(ROOT_INO)
    await refused(top.lookup('elsewhere'), 'ENOENT')
  })

  it('shows a deleted file as it was, to be read', async () => {
    const ino = await files.put('plan|50%', 'the plan', 0o640)
    await files.unlink('plan|50%')
    const entry = await one()
    expect(entry.name).toBe(`${ino}|docs|plan%7C50%25`)
    expect(entry.attr).toMatchObject({ ino, type: 'file', mode: 0o640, uid: 1000, gid: 1000, size: 8, nlink: 1 })
    expect(await bytes(ino)).toBe('the plan')
    expect(await entry.hour.lookup(entry.name)).toMatchObject({ ino, size: 8 })
    expect(await trash.lookup(String(ino))).toMatchObject({ ino, size: 8 })
    await refused(entry.hour.lookup(`${ino}|docs|else`), 'ENOENT')
    await nobodyHolds()
    await refused(trash.in(inoOf(entry.hour.dir - 1)).lookup(entry.name), 'ENOENT')
    expect(await meta.listxattr(ino, root)).toEqual([
      'user.holdfast.path',
      'user.holdfast.deleted',
      'user.holdfast.expires',
    ])
    expect((await meta.getxattr(ino, 'user.holdfast.path', root)).toString()).toBe('/docs/plan|50%')
    await refused(meta.getxattr(ino, 'system.posix_acl_access', root), 'ENODATA')
  })

  it('shows what a mount has deleted and not told the master yet', async () => {
    for (let i = 0; i < 20; i++) await files.put(`f${i}`)
    await Promise.all(Array.from({ length: 20 }, (_, i) => files.unlink(`f${i}`)))
    expect(await deleted()).toHaveLength(20)
  })

  it('reads a large file with holes, and finds them', async () => {
    const ino = await files.create('large')
    const piece = Buffer.alloc(1 << 20, 'p')
    await files.write(ino, 0, piece)
    await files.write(ino, 5 << 20, piece)
    await files.close(ino)
    await files.unlink('large')
    await one()
    await meta.open(ino, READ, root)
    expect(Buffer.concat(await meta.read(ino, (1 << 20) - 3, 6, root)).toString('latin1')).toBe('ppp\0\0\0')
    expect(Buffer.concat(await meta.read(ino, 5 << 20, 2 << 20, root)).equals(piece)).toBe(true)
    expect(await meta.seek(ino, 0, 'hole', root)).toBe(1 << 20)
    expect(await meta.seek(ino, 1 << 20, 'data', root)).toBe(5 << 20)
    await refused(meta.seek(ino, 6 << 20, 'data', root), 'ENXIO')
    meta.release(ino)
  })

  it('restores what is moved to undel, to where it was', async () => {
    const ino = await files.put('plan', 'the plan')
    await files.unlink('plan')
    await filesystem.rename(ROOT_INO, 'docs', ROOT_INO, 'papers', NO_FLAGS, callerOf())
    const { hour, name } = await one()
    const to = await undel()
    await hour.rename(name, name, { to, noReplace: true })
    // mv looks at what it has moved.
    expect(await trash.in(to).lookup(name)).toMatchObject({ ino })
    expect(await top.attr(ino)).toMatchObject({ ino })
    expect(await files.lookup('plan')).toMatchObject({ ino, nlink: 1 })
    expect(await files.get(ino)).toBe('the plan')
    expect(await deleted()).toEqual([])
    await refused(trash.lookup(String(ino)), 'ENOENT')
    expect(await trash.names(to)).toEqual([])
    await realClock.sleep(400)
    expect(told).toContainEqual({ kind: 'entry', parent: to, name })
    await refused(trash.in(to).lookup(name), 'ENOENT')
    await refused(top.attr(ino), 'ESTALE')
    expect(await cluster.findings()).toEqual([])
  })

  it('restores beside it where the old name is taken, and makes directories again that have gone', async () => {
    const ino = await files.put('plan', 'old')
    await files.unlink('plan')
    await files.put('plan', 'new')
    const { hour, name } = await one()
    const to = await undel()
    await refused(hour.rename(name, name, { to }), 'EEXIST')
    expect(await deleted()).toHaveLength(1)
    await hour.rename(name, 'plan.old', { to })
    expect((await files.lookup('plan.old')).ino).toBe(ino)

    await files.unlink('plan.old')
    await files.unlink('plan')
    await filesystem.rmdir(ROOT_INO, 'docs', callerOf())
    await trash.rename(String(ino), 'again', { to })
    const docs = await filesystem.lookup(ROOT_INO, 'docs', callerOf())
    expect(await files.names(docs.ino)).toEqual(['again'])
    expect(await cluster.findings()).toEqual([])
  })

  it('purges what is removed; an hour can be emptied as a directory', async () => {
    for (const name of ['a', 'b', 'c']) await files.put(name)
    for (const name of ['a', 'b', 'c']) await files.unlink(name)
    const all = await deleted()
    const hours = new Map(all.map(({ hour }) => [hour.dir, hour]))
    const names = await trash.list()
    await refused(trash.rmdir(names.find(({ ino }) => ino === all[0]!.hour.dir)!.name), 'ENOTEMPTY')
    for (const { hour, name } of all) await hour.unlink(name)
    await refused(all[0]!.hour.unlink(all[0]!.name), 'ENOENT')
    for (const dir of hours.keys()) await trash.rmdir(names.find(({ ino }) => ino === dir)!.name)
    expect(await trash.names()).toEqual(['undel'])
    expect((await cluster.status()).trashed).toBe(0)
    await nobodyHolds()
    await refused(top.attr(all[0]!.ino), 'ESTALE')
    expect(await cluster.findings()).toEqual([])
  })

  it('lists thousands page by page, also while they are purged', async () => {
    const count = 3_000
    const made = await Promise.all(Array.from({ length: count }, (_, i) => files.put(`f${i}`, '')))
    await Promise.all(made.map((_, i) => files.unlink(`f${i}`)))
    const all = await deleted(97)
    expect(all.map(({ ino }) => ino).sort((a, b) => a - b)).toEqual([...made].sort((a, b) => a - b))
    // As rm -r: what is listed goes before the next page is asked for.
    for (const hour of new Map(all.map(({ hour }) => [hour.dir, hour])).values()) {
      for (let cookie = 0; ; ) {
        const page = await meta.readdir(hour.dir, cookie, 128, root)
        if (page.length === 0) break
        await Promise.all(page.map(({ name }) => hour.unlink(name)))
        cookie = page.at(-1)!.cookie
      }
    }
    expect((await cluster.status()).trashed).toBe(0)
  })

  it('lists the longest paths, as many as one message has room for', async () => {
    let dir = files.dir
    for (let i = 0; i < 15; i++) dir = await files.in(dir).mkdir(String(i).padEnd(255, 'd'))
    const deep = files.in(dir)
    const count = 600
    await Promise.all(Array.from({ length: count }, (_, i) => deep.put(`${i}-`.padEnd(240, 'f'), '')))
    await Promise.all(Array.from({ length: count }, (_, i) => deep.unlink(`${i}-`.padEnd(240, 'f'))))
    const all = await deleted(1024)
    expect(new Set(all.map(({ name }) => name)).size).toBe(count)
    expect(Math.max(...all.map(({ name }) => name.length))).toBe(255)
    const { name, ino, hour } = all[0]!
    expect((await hour.lookup(name)).ino).toBe(ino)
    const path = (await meta.getxattr(ino, 'user.holdfast.path', root)).toString()
    expect(path).toMatch(/^\/docs\/0d{254}\/1d/)
    const pages: number[] = []
    for (let cursor = ''; pages.length === 0 || cursor !== ''; ) {
      const page = await cluster.call('trashList', { cursor, limit: 4096, match: '' })
      pages.push(page.entries.length)
      cursor = page.cursor
    }
    expect(pages.reduce((sum, n) => sum + n, 0)).toBe(count)
    expect(Math.max(...pages)).toBeLessThan(count)
  })

  it('shows files that are deleted and held open, and who holds them', async () => {
    const ino = await files.put('log', 'first ')
    await files.open(ino)
    await files.unlink('log')
    const sustained = trash.in((await top.lookup('sustained')).ino)
    // Kept by both: by the trash and by who has it open.
    const { name } = await one()
    expect(name).toBe(`${ino}|docs|log`)
    expect(await sustained.names()).toEqual([String(ino)])
    await trash.unlink(String(ino))
    expect(await deleted()).toEqual([])
    expect(await sustained.lookup(String(ino))).toMatchObject({ ino, size: 6 })
    const [session] = (await cluster.status()).sessions.filter((one) => one.host === 'client-0')
    expect((await meta.getxattr(ino, 'user.holdfast.holders', root)).toString()).toBe(String(session!.session))

    await meta.open(ino, READ, root)
    expect(Buffer.concat(await meta.read(ino, 0, 100, root)).toString()).toBe('first ')
    await files.write(ino, 6, 'second')
    await files.vfs.fsync(ino, files.caller)
    expect(await top.attr(ino)).toMatchObject({ size: 12 })
    expect(Buffer.concat(await meta.read(ino, 0, 100, root)).toString()).toBe('first second')
    meta.release(ino)

    await refused(sustained.unlink(String(ino)), 'EPERM')
    await files.close(ino)
    await nobodyHolds()
    expect(await sustained.names()).toEqual([])
    await refused(sustained.lookup(String(ino)), 'ENOENT')
  })

  it('tells of itself in info', async () => {
    await files.put('plan', 'the plan')
    await files.unlink('plan')
    await deleted()
    await nobodyHolds()
    const info = await top.lookup('info')
    const text = await bytes(info.ino)
    expect(text).toMatch(/^cluster {4}memory-cluster\n/)
    expect(text).toMatch(/\ntrash {6}1 file, 8 B\n/)
    expect(text).toMatch(/\nsustained {2}0 files\n/)
    expect(text).toMatch(/\nsessions {3}2\n {2}\d+ {2}client-0:\/memory {2}0 open\n/)
    expect((await top.attr(info.ino)).size).toBe(text.length)
  })

  it('refuses everything else', async () => {
    const ino = await files.put('plan', 'the plan')
    await files.unlink('plan')
    const { hour, name } = await one()
    const info = (await top.lookup('info')).ino
    const to = await undel()
    for (const at of [ino, info]) {
      await refused(meta.open(at, { write: true, truncate: false }, root), 'EROFS')
      await refused(meta.setattr(at, { mode: 0o777 }), 'EROFS')
      await refused(meta.lookup(at, 'x', root), 'ENOTDIR')
      await refused(meta.readdir(at, 0, 10, root), 'ENOTDIR')
      await refused(meta.readlink(), 'EINVAL')
    }
    for (const dir of [ROOT_INO, trash.dir, hour.dir, to]) {
      await refused(meta.open(dir, READ, root), 'EISDIR')
      await refused(new Probe(meta, dir, root).create('new'), 'EROFS')
      await refused(new Probe(meta, dir, root).mkdir('new'), 'EROFS')
    }
    await refused(hour.rename(name, 'other'), 'EPERM')
    await refused(hour.rename(name, name, { to: trash.dir }), 'EPERM')
    await refused(hour.rename(name, name, { to, exchange: true }), 'EINVAL')
    await refused(hour.rename('4711|x', 'x', { to }), 'ENOENT')
    await refused(top.rename('info', 'info', { to }), 'EPERM')
    await refused(top.unlink('info'), 'EPERM')
    await refused(top.rmdir('trash'), 'EPERM')
    await refused(trash.rmdir('undel'), 'EPERM')
    await refused(trash.unlink('undel'), 'ENOENT')
    await refused(top.lock(ino, 'read'), 'EOPNOTSUPP')
    await refused(top.attr(inoOf(ino + 1_000_000)), ...GONE)
    expect(await bytes(ino)).toBe('the plan')
  })

  it('goes on over a restart of the master', async () => {
    const ino = await files.put('plan', 'the plan')
    await files.unlink('plan')
    await one()
    await meta.open(ino, READ, root)
    await cluster.restartMaster()
    expect(Buffer.concat(await meta.read(ino, 0, 100, root)).toString()).toBe('the plan')
    meta.release(ino)
    const { hour, name } = await one()
    await hour.rename(name, name, { to: await undel() })
    expect((await files.lookup('plan')).ino).toBe(ino)
  })
})
