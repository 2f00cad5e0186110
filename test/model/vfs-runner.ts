/*
 * Operations carried out on a Vfs, without a kernel between: paths are walked by lookup, symlinks are not followed. Before
 * the way changes, a file is opened through the new one, after which nothing that was closed before may be stale.
 */

import { createHash } from 'node:crypto'
import { type Attr, FILE_TYPES } from '../../src/base/attr.ts'
import { errno } from '../../src/base/errno.ts'
import { errnoOf, FsError } from '../../src/base/fault.ts'
import { type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Vfs } from '../../src/client/vfs.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import type { Ran, Runner } from './compare.ts'
import { bytesOf, type Operation, type Outcome } from './operations.ts'

const caller = callerOf({ uid: 0, gid: 0 })
const BARRIER = 'barrier'
/** Several runners may share one filesystem. */
let runs = 0

const digest = (data: Buffer): unknown => [data.length, createHash('sha1').update(data).digest('hex')]
const told = (a: Attr): unknown => [
  ...[FILE_TYPES[a.type], a.mode, a.nlink, a.uid, a.gid],
  a.type === 'dir' ? 0 : a.size,
]
/** What one client may show of another's work a moment late, as with any cached attribute, is left out. */
const toldLate = (a: Attr): unknown => [FILE_TYPES[a.type], a.uid, a.gid, a.type === 'dir' ? 0 : a.size]
const latin1 = (name: string): string => Buffer.from(name, 'utf8').toString('latin1')

interface Slot {
  readonly ino: Ino
  readonly write: boolean
  readonly via: number
}

export class VfsRunner implements Runner {
  readonly #ways: readonly Vfs[]
  readonly #before: (index: number) => Promise<void>
  readonly #slots = new Map<number, Slot>()
  #last = 0
  #root: Ino = ROOT_INO
  #fresh: (() => Promise<Vfs & { close(): Promise<void> }>) | undefined
  #told = told

  /** `before` is called before each operation: the place for accidents that must not be noticed. */
  constructor(ways: readonly Vfs[], before: (index: number) => Promise<void> = async () => undefined) {
    this.#ways = ways
    this.#before = before
  }

  /** Attributes are compared in the end only, and then through one more client as well, which has seen nothing before. */
  late(fresh?: () => Promise<Vfs & { close(): Promise<void> }>): this {
    this.#told = toldLate
    this.#fresh = fresh
    return this
  }

  async run(operations: readonly Operation[]): Promise<Ran> {
    const first = this.#ways[0]!
    const name = `run-${runs++}`
    const flags = { exclusive: false, truncate: false }
    first.release((await first.create(ROOT_INO, BARRIER, 0o644, flags, caller)).ino)
    this.#root = (await first.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, caller)).ino
    this.#last = 0
    const outcomes: Outcome[] = []
    for (const [i, operation] of operations.entries()) {
      await this.#before(i)
      try {
        const vfs = await this.#way(operation.via)
        outcomes.push({ ok: (await this.#do(vfs, operation)) ?? null })
      } catch (error) {
        const code = errnoOf(error)
        if (code === undefined) throw error
        outcomes.push({ errno: errno[code].number })
      }
    }
    for (const [number, { ino, via }] of this.#slots) {
      await this.#close(this.#ways[via]!, ino)
      this.#slots.delete(number)
    }
    const trees: Record<string, unknown>[] = []
    if (this.#told !== told) for (const vfs of this.#ways) await vfs.syncfs(caller)
    for (const via of this.#ways.keys()) trees.push(await this.#tree(await this.#way(via)))
    const fresh = await this.#fresh?.()
    if (fresh !== undefined) trees.push(await this.#tree(fresh))
    await fresh?.close()
    return { outcomes, trees }
  }

  /** Goes through one way below a directory that others work in as well; what is answered is nobody's business. */
  async jostle(root: Ino, operations: readonly Operation[]): Promise<void> {
    this.#root = root
    for (const [i, { via: _, ...operation }] of operations.entries()) {
      await this.#before(i)
      try {
        await this.#do(this.#ways[0]!, { ...operation, via: 0 } as Operation)
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
      }
    }
    for (const { ino } of this.#slots.values()) await this.#close(this.#ways[0]!, ino)
    this.#slots.clear()
  }

  /** All that is below the directory that it has worked in, as seen there. */
  seen(vfs: Vfs): Promise<Record<string, unknown>> {
    return this.#tree(vfs)
  }

  async stop(): Promise<void> {}

  async #way(via: number): Promise<Vfs> {
    const vfs = this.#ways[via]!
    if (via !== this.#last) {
      const { ino } = await vfs.lookup(ROOT_INO, BARRIER, caller)
      await vfs.open(ino, { write: false, truncate: false }, caller)
      vfs.release(ino)
    }
    this.#last = via
    return vfs
  }

  async #parent(vfs: Vfs, path: string): Promise<{ dir: Ino; name: string }> {
    const parts = path.split('/').map(latin1)
    const name = parts.pop()!
    let dir = this.#root
    for (const part of parts) {
      const attr = await vfs.lookup(dir, part, caller)
      if (attr.type !== 'dir') throw new FsError('ENOTDIR')
      dir = attr.ino
    }
    return { dir, name }
  }
  async #at(vfs: Vfs, path: string): Promise<Attr> {
    const { dir, name } = await this.#parent(vfs, path)
    return vfs.lookup(dir, name, caller)
  }
  async #close(vfs: Vfs, ino: Ino): Promise<void> {
    try {
      await vfs.flush(ino, caller)
    } finally {
      vfs.release(ino)
    }
  }

  /** An open file for the time of `work`. */
  async #with<T>(
    vfs: Vfs,
    path: string,
    how: { create?: boolean; truncate?: boolean },
    work: (ino: Ino) => Promise<T>,
  ) {
    const ino = await this.#open(vfs, path, how)
    try {
      return await work(ino)
    } finally {
      await this.#close(vfs, ino)
    }
  }
  async #open(vfs: Vfs, path: string, { create = false, truncate = false }): Promise<Ino> {
    const { dir, name } = await this.#parent(vfs, path)
    let attr: Attr
    try {
      attr = await vfs.lookup(dir, name, caller)
    } catch (error) {
      if (!create || errnoOf(error) !== 'ENOENT') throw error
      return (await vfs.create(dir, name, 0o644, { exclusive: false, truncate }, caller)).ino
    }
    if (attr.type !== 'file') throw new FsError(attr.type === 'dir' ? 'EISDIR' : 'ELOOP')
    return (await vfs.open(attr.ino, { write: true, truncate }, caller)).attr.ino
  }
  async #readAll(vfs: Vfs, ino: Ino): Promise<Buffer> {
    const pieces: Buffer[] = []
    for (let at = 0; ; ) {
      const piece = Buffer.concat(await vfs.read(ino, at, 1 << 18, caller))
      if (piece.length === 0) return Buffer.concat(pieces)
      pieces.push(piece)
      at += piece.length
    }
  }
  async #write(vfs: Vfs, ino: Ino, offset: number, data: Buffer, append = false): Promise<number> {
    if (data.length > 0) await vfs.write(ino, offset, data, { append, killSuidGid: false }, caller)
    return data.length
  }

  async #do(vfs: Vfs, o: Operation): Promise<unknown> {
    switch (o.op) {
      case 'create': {
        const { dir, name } = await this.#parent(vfs, o.path)
        const { ino } = await vfs.create(dir, name, o.mode, { exclusive: true, truncate: false }, caller)
        return this.#close(vfs, ino)
      }
      case 'write':
        return this.#with(vfs, o.path, { create: true }, (ino) => this.#write(vfs, ino, o.offset, bytesOf(o.data)))
      case 'rewrite':
        return this.#with(vfs, o.path, { create: true, truncate: true }, (ino) =>
          this.#write(vfs, ino, o.offset, bytesOf(o.data)),
        )
      case 'append':
        return this.#with(vfs, o.path, {}, async (ino) => {
          const { size } = await vfs.getattr(ino, caller)
          return this.#write(vfs, ino, size, bytesOf(o.data), true)
        })
      case 'truncate':
        return this.#with(vfs, o.path, {}, async (ino) => void (await vfs.setattr(ino, { size: o.size }, caller)))
      case 'read':
        return this.#with(vfs, o.path, {}, async (ino) => digest(await this.#readAll(vfs, ino)))
      case 'stat':
        return this.#told(await this.#at(vfs, o.path))
      case 'readdir':
        return (await this.#list(vfs, (await this.#at(vfs, o.path)).ino)).map(([name]) => name)
      case 'unlink':
      case 'rmdir': {
        const { dir, name } = await this.#parent(vfs, o.path)
        return vfs[o.op](dir, name, caller)
      }
      case 'mkdir':
      case 'mkfifo': {
        const { dir, name } = await this.#parent(vfs, o.path)
        await vfs.make(dir, name, { type: o.op === 'mkdir' ? 'dir' : 'fifo', mode: o.mode }, caller)
        return null
      }
      case 'symlink': {
        const { dir, name } = await this.#parent(vfs, o.path)
        await vfs.make(dir, name, { type: 'symlink', mode: 0o777, target: latin1(o.target) }, caller)
        return null
      }
      case 'readlink':
        return vfs.readlink((await this.#at(vfs, o.path)).ino, caller)
      case 'rename': {
        const from = await this.#parent(vfs, o.path)
        const to = await this.#parent(vfs, o.to)
        const flags = { noReplace: o.flags === 1, exchange: o.flags === 2 }
        return vfs.rename(from.dir, from.name, to.dir, to.name, flags, caller)
      }
      case 'link': {
        const { ino } = await this.#at(vfs, o.path)
        const { dir, name } = await this.#parent(vfs, o.to)
        const { nlink } = await vfs.link(ino, dir, name, caller)
        return this.#told === told ? nlink : null
      }
      case 'chmod': {
        const { ino, type } = await this.#at(vfs, o.path)
        if (type === 'symlink') throw new FsError('EOPNOTSUPP')
        return this.#told(await vfs.setattr(ino, { mode: o.mode }, caller))
      }
      case 'chown':
        return told(await vfs.setattr((await this.#at(vfs, o.path)).ino, { uid: o.uid, gid: o.gid }, caller))
      case 'utimens': {
        const [atime, mtime] = [o.atimeNs, o.mtimeNs].map(([sec, nsec]) => ({ sec, nsec }))
        const attr = await vfs.setattr((await this.#at(vfs, o.path)).ino, { atime, mtime }, caller)
        return [attr.atime, attr.mtime]
      }
      case 'setxattr': {
        const { ino, type } = await this.#at(vfs, o.path)
        if (o.name.startsWith('user.') && type !== 'file' && type !== 'dir') throw new FsError('EPERM')
        const flags = { create: o.flags === 1, replace: o.flags === 2, killSgid: false }
        return vfs.setxattr(ino, o.name, bytesOf(o.data), flags, caller)
      }
      case 'getxattr':
        return digest(await vfs.getxattr((await this.#at(vfs, o.path)).ino, o.name, caller))
      case 'listxattr':
        return (await vfs.listxattr((await this.#at(vfs, o.path)).ino, caller)).sort()
      case 'removexattr':
        return vfs.removexattr((await this.#at(vfs, o.path)).ino, o.name, caller)
      case 'reserve':
      case 'punch':
      case 'zero':
        return this.#with(vfs, o.path, {}, (ino) =>
          vfs.fallocate(ino, { kind: o.op, keepSize: o.keepSize }, o.offset, o.length, caller),
        )
      case 'copy':
        return this.#with(vfs, o.path, {}, (source) =>
          this.#with(vfs, o.to, {}, async (target) => {
            // The kernel refuses copies that overlap, and cuts them at the source's end.
            if (source === target && Math.abs(o.offset - o.toOffset) < o.length) throw new FsError('EINVAL')
            return vfs.copyRange(source, o.offset, target, o.toOffset, o.length, caller)
          }),
        )
      case 'fsync':
        return this.#with(vfs, o.path, {}, (ino) => vfs.fsync(ino, caller))
      case 'open': {
        if (this.#slots.has(o.slot)) throw new FsError('EBUSY')
        const ino = await this.#open(vfs, o.path, { create: o.how === 'create', truncate: o.how === 'truncate' })
        this.#slots.set(o.slot, { ino, write: o.how !== 'read', via: o.via })
        return null
      }
      default:
        return this.#slot(vfs, o)
    }
  }

  async #slot(vfs: Vfs, o: Extract<Operation, { op: `slot${string}` }>): Promise<unknown> {
    const slot = this.#slots.get(o.slot)
    if (slot === undefined) throw new FsError('EBADF')
    const { ino, write } = slot
    switch (o.op) {
      case 'slotWrite':
        if (!write) throw new FsError('EBADF')
        return this.#write(vfs, ino, o.offset, bytesOf(o.data))
      case 'slotTruncate':
        if (!write) throw new FsError('EINVAL')
        return void (await vfs.setattr(ino, { size: o.size }, caller))
      case 'slotRead':
        return digest(await this.#readAll(vfs, ino))
      case 'slotStat':
        return told(await vfs.getattr(ino, caller))
      case 'slotSync':
        return vfs.fsync(ino, caller)
      case 'slotClose':
        this.#slots.delete(o.slot)
        return this.#close(this.#ways[slot.via]!, ino)
    }
  }

  async #list(vfs: Vfs, dir: Ino): Promise<[string, Ino][]> {
    const all: [string, Ino][] = []
    for (let cookie = 0; ; ) {
      const page = await vfs.readdir(dir, cookie, 5, caller)
      if (page.length === 0) return all.sort(([a], [b]) => (a < b ? -1 : 1))
      for (const entry of page) all.push([entry.name, entry.ino])
      cookie = page.at(-1)!.cookie
    }
  }

  async #tree(vfs: Vfs): Promise<Record<string, unknown>> {
    const found: Record<string, unknown> = {}
    const visit = async (ino: Ino, name: string): Promise<void> => {
      const attr = await vfs.getattr(ino, caller)
      const row = [told(attr)]
      if (attr.type === 'file') {
        await vfs.open(ino, { write: false, truncate: false }, caller)
        row.push(digest(await this.#readAll(vfs, ino)))
        await this.#close(vfs, ino)
      }
      if (attr.type === 'symlink') row.push(await vfs.readlink(ino, caller))
      for (const key of (await vfs.listxattr(ino, caller)).sort())
        row.push([key, digest(await vfs.getxattr(ino, key, caller))])
      found[name] = row
      if (attr.type !== 'dir') return
      for (const [entry, child] of await this.#list(vfs, ino)) await visit(child, `${name}/${entry}`)
    }
    await visit(this.#root, '.')
    return found
  }
}
