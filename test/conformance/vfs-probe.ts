/*
 * A filesystem in the hands of a test: short words for what a door does with a Vfs (open, write, flush, release in the
 * right order), as one caller, below one directory of its own.
 */

import { setMaxListeners } from 'node:events'
import { expect } from 'vitest'
import type { Attr } from '../../src/base/attr.ts'
import { errnoOf, FsError } from '../../src/base/fault.ts'
import { type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Caller, Entry, FileLock, LockKind, Vfs } from '../../src/client/vfs.ts'

export function callerOf(over: Partial<Caller> = {}): Caller {
  const { signal } = new AbortController()
  // A door has a signal for each request; here one stands for hundreds that run at once.
  setMaxListeners(0, signal)
  return { uid: 1000, gid: 1000, pid: 4711, umask: 0o022, signal, ...over }
}

const PLAIN = { append: false, killSuidGid: false } as const
const NO_FLAGS = { noReplace: false, exchange: false } as const

export class Probe {
  readonly vfs: Vfs
  readonly caller: Caller
  readonly dir: Ino

  constructor(vfs: Vfs, dir: Ino, caller: Caller = callerOf()) {
    this.vfs = vfs
    this.dir = dir
    this.caller = caller
  }

  /** A new, empty directory below the root, for one test. */
  static async fresh(vfs: Vfs, title: string): Promise<Probe> {
    const caller = callerOf()
    const name = `${title.replaceAll(/[^a-z0-9]+/gi, '-').slice(0, 60)}-${freshNames++}-${Date.now()}`
    const { ino } = await vfs.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, caller)
    return new Probe(vfs, ino, caller)
  }

  /** The same directory through another client, or as another caller. */
  through(vfs: Vfs): Probe {
    return new Probe(vfs, this.dir, this.caller)
  }
  as(over: Partial<Caller>): Probe {
    return new Probe(this.vfs, this.dir, { ...this.caller, ...over })
  }
  in(dir: Ino): Probe {
    return new Probe(this.vfs, dir, this.caller)
  }

  lookup(name: string): Promise<Attr> {
    return this.vfs.lookup(this.dir, name, this.caller)
  }
  attr(ino: Ino): Promise<Attr> {
    return this.vfs.getattr(ino, this.caller)
  }
  async mkdir(name: string, mode = 0o755): Promise<Ino> {
    return (await this.vfs.make(this.dir, name, { type: 'dir', mode }, this.caller)).ino
  }
  unlink(name: string): Promise<void> {
    return this.vfs.unlink(this.dir, name, this.caller)
  }
  rmdir(name: string): Promise<void> {
    return this.vfs.rmdir(this.dir, name, this.caller)
  }
  rename(name: string, newName: string, over: { to?: Ino; noReplace?: boolean; exchange?: boolean } = {}) {
    const { to, ...flags } = over
    return this.vfs.rename(this.dir, name, to ?? this.dir, newName, { ...NO_FLAGS, ...flags }, this.caller)
  }
  link(ino: Ino, name: string): Promise<Attr> {
    return this.vfs.link(ino, this.dir, name, this.caller)
  }

  /** Made and opened; whoever calls this calls release(). */
  async create(name: string, mode = 0o644): Promise<Ino> {
    const flags = { exclusive: true, truncate: false }
    return (await this.vfs.create(this.dir, name, mode, flags, this.caller)).ino
  }
  async open(ino: Ino, over: { truncate?: boolean } = {}): Promise<Attr> {
    const flags = { write: true, truncate: over.truncate ?? false }
    return (await this.vfs.open(ino, flags, this.caller)).attr
  }
  write(ino: Ino, offset: number, data: string | Buffer): Promise<void> {
    return this.vfs.write(ino, offset, Buffer.from(data as string), PLAIN, this.caller)
  }
  append(ino: Ino, data: string): Promise<void> {
    return this.vfs.write(ino, 0, Buffer.from(data), { ...PLAIN, append: true }, this.caller)
  }
  async read(ino: Ino, offset = 0, length = 1 << 20): Promise<Buffer> {
    return Buffer.concat(await this.vfs.read(ino, offset, length, this.caller))
  }
  async text(ino: Ino, offset = 0, length = 1 << 20): Promise<string> {
    return (await this.read(ino, offset, length)).toString('latin1')
  }
  /** close(2). */
  async close(ino: Ino): Promise<void> {
    await this.vfs.flush(ino, this.caller)
    this.vfs.release(ino)
  }
  async put(name: string, data: string | Buffer = 'x', mode = 0o644): Promise<Ino> {
    const ino = await this.create(name, mode)
    if (data.length > 0) await this.write(ino, 0, data)
    await this.close(ino)
    return ino
  }
  /** What somebody reads who opens the file now. */
  async get(ino: Ino): Promise<string> {
    await this.open(ino)
    const data = await this.text(ino)
    await this.close(ino)
    return data
  }
  set(ino: Ino, change: Parameters<Vfs['setattr']>[1]): Promise<Attr> {
    return this.vfs.setattr(ino, change, this.caller)
  }

  /** Every entry, in pages of `limit`. */
  async list(dir: Ino = this.dir, limit = 100): Promise<Entry[]> {
    const all: Entry[] = []
    for (let cookie = 0; ; ) {
      const page = await this.vfs.readdir(dir, cookie, limit, this.caller)
      if (page.length === 0) return all
      expect(page.length).toBeLessThanOrEqual(limit)
      all.push(...page)
      cookie = page.at(-1)!.cookie
    }
  }
  async names(dir: Ino = this.dir): Promise<string[]> {
    return (await this.list(dir)).map((entry) => entry.name).sort()
  }

  lock(ino: Ino, kind: LockKind, over: Partial<FileLock> & { wait?: boolean; signal?: AbortSignal } = {}) {
    const { wait, signal, ...rest } = over
    const caller = signal === undefined ? this.caller : { ...this.caller, signal }
    return this.vfs.setLock(ino, lockOf(kind, rest), wait ?? false, caller)
  }
}
let freshNames = 0

export const lockOf = (kind: LockKind, over: Partial<FileLock> = {}): FileLock => ({
  family: 'posix',
  kind,
  owner: '00000000000000aa',
  start: 0,
  end: Number.MAX_SAFE_INTEGER,
  pid: 4711,
  ...over,
})

/** Fails unless the promise is refused with one of the codes. */
export async function refused(promise: Promise<unknown>, ...codes: string[]): Promise<void> {
  let outcome: unknown
  try {
    outcome = await promise
  } catch (error) {
    if (!(error instanceof FsError) && errnoOf(error) === undefined) throw error
    expect(codes).toContain(errnoOf(error))
    return
  }
  expect.fail(`wanted ${codes.join(' or ')}, got ${JSON.stringify(outcome) ?? 'success'}`)
}

/** The same bytes, compared as bytes: a test framework's own comparison of a megabyte takes seconds. */
export function same(actual: Buffer, wanted: Buffer): void {
  if (actual.equals(wanted)) return
  const common = Math.min(actual.length, wanted.length)
  let at = 0
  while (at < common && actual[at] === wanted[at]) at++
  const near = (bytes: Buffer): string => bytes.subarray(at, at + 16).toString('hex')
  expect.fail(
    `${actual.length} bytes, wanted ${wanted.length}; they part at ${at}: ${near(actual)}, wanted ${near(wanted)}`,
  )
}

/** An inode that is no more: the cluster says stale, a plain table of inodes says missing. */
export const GONE = ['ESTALE', 'ENOENT'] as const
