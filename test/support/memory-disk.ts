/*
 * A disk in memory that can lose power. Every write is remembered until a sync; `crash` makes the disk as it is found
 * afterwards: what was synced, and of the rest whatever `keeps` says, sector by sector and in any combination, which is all
 * that a real disk promises. `killed` is what a killed process leaves: everything it wrote.
 *
 * Faults: `fail` is asked before every operation and may throw; `hangs` may leave reads, syncs and the look at the free
 * space unanswered; `onWrite` may cut a write short (a torn write that is also
 * the last thing that happens); `flip` turns a bit.
 */

import { FsError } from '../../src/base/fault.ts'
import type { DiskFile, DiskIo, OpenMode, Space } from '../../src/chunk/disk-io.ts'

const SECTOR = 512

interface Write {
  readonly at: number
  readonly bytes: Buffer
}

interface Node {
  live: Buffer
  durable: Buffer
  pending: Write[]
  truncatedTo: number | undefined
}

export type Operation =
  | 'open'
  | 'read'
  | 'write'
  | 'datasync'
  | 'truncate'
  | 'list'
  | 'unlink'
  | 'rename'
  | 'syncDir'
  | 'space'

export class SystemError extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

const dirOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.')

function put(target: Buffer, write: Write): Buffer {
  const end = write.at + write.bytes.length
  let out = target
  if (end > out.length) {
    out = Buffer.alloc(end)
    target.copy(out)
  }
  write.bytes.copy(out, write.at)
  return out
}

export class MemoryDisk implements DiskIo {
  readonly root: string
  fail: (operation: Operation, path: string) => void = () => {}
  /** How many bytes of this write happen before the power goes; undefined: all, and it goes on. */
  onWrite: (path: string, at: number, bytes: number) => number | undefined = () => undefined
  /** Asked before every read, may throw: a sector that cannot be read. */
  onRead: (path: string, at: number, bytes: number) => void = () => {}
  /** Asked before an asynchronous operation is answered; true: it never is, until the disk is given up. */
  hangs: (operation: Operation, path: string) => boolean = () => false
  spaceNow: Space = { totalBytes: 2 ** 40, availableBytes: 2 ** 39 }
  /** Set after a write was cut short: nothing works any more. */
  dead = false
  readonly syncs: string[] = []
  /** Files that are open now. */
  openFiles = 0

  #names = new Map<string, Node>()
  #durableNames = new Map<string, Node>()
  #dirs = new Set<string>(['.'])
  readonly #hanging = new Map<number, (error: FsError) => void>()
  #asked = 0
  readonly #locks: Set<string>

  constructor(root = '/memory', locks: Set<string> = new Set()) {
    this.root = root
    this.#locks = locks
  }

  check(operation: Operation, path: string): void {
    if (this.dead) throw new SystemError('EIO')
    this.fail(operation, path)
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    this.check('open', path)
    let node = this.#names.get(path)
    if (mode === 'create' && node !== undefined) throw new SystemError('EEXIST')
    if (node === undefined) {
      if (mode === 'read' || mode === 'write') throw new SystemError('ENOENT')
      if (!this.#dirs.has(dirOf(path))) throw new SystemError('ENOENT')
      node = { live: Buffer.alloc(0), durable: Buffer.alloc(0), pending: [], truncatedTo: undefined }
      this.#names.set(path, node)
    }
    this.openFiles++
    return new MemoryFile(this, path, node)
  }

  async list(path: string): Promise<string[]> {
    this.check('list', path)
    if (!this.#dirs.has(path)) throw new SystemError('ENOENT')
    const out = new Set<string>()
    for (const name of [...this.#names.keys(), ...this.#dirs]) {
      if (name !== '.' && dirOf(name) === path) out.add(name.slice(path === '.' ? 0 : path.length + 1))
    }
    return [...out]
  }

  async makeDir(path: string): Promise<void> {
    this.check('open', path)
    const parts = path.split('/')
    for (let i = 1; i <= parts.length; i++) this.#dirs.add(parts.slice(0, i).join('/'))
  }

  async unlink(path: string): Promise<void> {
    this.check('unlink', path)
    if (!this.#names.delete(path)) throw new SystemError('ENOENT')
  }

  async rename(from: string, to: string): Promise<void> {
    this.check('rename', from)
    const node = this.#names.get(from)
    if (node === undefined) throw new SystemError('ENOENT')
    this.#names.delete(from)
    this.#names.set(to, node)
  }

  async exists(path: string): Promise<boolean> {
    this.check('open', path)
    return this.#names.has(path) || this.#dirs.has(path)
  }

  async syncDir(path: string): Promise<void> {
    this.check('syncDir', path)
    this.syncs.push(path)
    for (const name of [...this.#durableNames.keys()])
      if (dirOf(name) === path && !this.#names.has(name)) this.#durableNames.delete(name)
    for (const [name, node] of this.#names) if (dirOf(name) === path) this.#durableNames.set(name, node)
  }

  async space(): Promise<Space> {
    this.check('space', '.')
    await this.answer('space', '.')
    return this.spaceNow
  }

  async lock(name: string): Promise<() => Promise<void>> {
    if (this.#locks.has(name)) throw new FsError('EBUSY', `${this.root} is in use`)
    this.#locks.add(name)
    return async () => {
      this.#locks.delete(name)
    }
  }

  owes(): number | undefined {
    const [oldest] = this.#hanging.keys()
    return oldest
  }

  giveUp(why: string): void {
    for (const fail of this.#hanging.values()) fail(new FsError('EIO', why))
    this.#hanging.clear()
  }

  /** Returns when the disk has answered, which it does not while it hangs. */
  async answer(operation: Operation, path: string): Promise<void> {
    if (this.hangs(operation, path))
      await new Promise<never>((_done, failed) => this.#hanging.set(++this.#asked, failed))
  }

  /** What a power cut leaves. `keeps` decides for every sector (and name) that was not synced. */
  crash(keeps: () => boolean): MemoryDisk {
    const after = new MemoryDisk(this.root)
    after.spaceNow = this.spaceNow
    after.#dirs = new Set(this.#dirs)
    const names = new Map(this.#durableNames)
    for (const [name, node] of this.#names) if (!names.has(name) && keeps()) names.set(name, node)
    for (const [name, node] of names) {
      let bytes: Buffer = Buffer.from(node.durable)
      for (const write of node.pending) {
        for (let at = write.at; at < write.at + write.bytes.length; ) {
          const end = Math.min((Math.floor(at / SECTOR) + 1) * SECTOR, write.at + write.bytes.length)
          if (keeps()) bytes = put(bytes, { at, bytes: write.bytes.subarray(at - write.at, end - write.at) })
          at = end
        }
      }
      if (node.truncatedTo !== undefined && bytes.length > node.truncatedTo && keeps())
        bytes = bytes.subarray(0, node.truncatedTo)
      const copy: Node = { live: bytes, durable: Buffer.from(bytes), pending: [], truncatedTo: undefined }
      after.#names.set(name, copy)
      after.#durableNames.set(name, copy)
    }
    return after
  }

  /** What a killed process leaves: everything it wrote, as the page cache has it; a power cut may still follow. */
  killed(): MemoryDisk {
    const after = new MemoryDisk(this.root)
    after.spaceNow = this.spaceNow
    after.#dirs = new Set(this.#dirs)
    const copies = new Map<Node, Node>()
    const copy = (node: Node): Node => {
      let known = copies.get(node)
      if (known === undefined) {
        known = {
          ...node,
          live: Buffer.from(node.live),
          durable: Buffer.from(node.durable),
          pending: [...node.pending],
        }
        copies.set(node, known)
      }
      return known
    }
    for (const [name, node] of this.#names) after.#names.set(name, copy(node))
    for (const [name, node] of this.#durableNames) after.#durableNames.set(name, copy(node))
    return after
  }

  flip(path: string, byte: number, bit = 0): void {
    const node = this.#names.get(path)
    if (node === undefined) throw new SystemError('ENOENT')
    node.live = Buffer.from(node.live)
    node.live[byte]! ^= 1 << bit
    if (byte < node.durable.length) node.durable[byte]! ^= 1 << bit
  }

  bytesOf(path: string): Buffer {
    const node = this.#names.get(path)
    if (node === undefined) throw new SystemError('ENOENT')
    return node.live
  }

  setBytes(path: string, bytes: Buffer): void {
    const node: Node = { live: Buffer.from(bytes), durable: Buffer.from(bytes), pending: [], truncatedTo: undefined }
    this.#names.set(path, node)
    this.#durableNames.set(path, node)
  }

  names(): string[] {
    return [...this.#names.keys()]
  }
}

class MemoryFile implements DiskFile {
  readonly #disk: MemoryDisk
  readonly #path: string
  readonly #node: Node
  #closed = false

  constructor(disk: MemoryDisk, path: string, node: Node) {
    this.#disk = disk
    this.#path = path
    this.#node = node
  }

  #check(operation: Operation): void {
    if (this.#closed) throw new SystemError('EBADF')
    this.#disk.check(operation, this.#path)
  }

  async read(into: Buffer, position: number): Promise<number> {
    await this.#disk.answer('read', this.#path)
    return this.readNow(into, position)
  }

  readNow(into: Buffer, position: number): number {
    this.#check('read')
    this.#disk.onRead(this.#path, position, into.length)
    return this.#node.live.copy(into, 0, Math.min(position, this.#node.live.length))
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    this.#check('write')
    const bytes = Buffer.concat(parts)
    await Promise.resolve()
    this.#write(bytes, position)
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    this.#check('write')
    this.#write(Buffer.concat(parts), position)
  }

  #write(bytes: Buffer, position: number): void {
    const cut = this.#disk.onWrite(this.#path, position, bytes.length)
    const done = cut === undefined ? bytes : bytes.subarray(0, cut)
    const write: Write = { at: position, bytes: done }
    if (done.length > 0) {
      this.#node.live = put(this.#node.live, write)
      this.#node.pending.push(write)
    }
    if (cut !== undefined) {
      this.#disk.dead = true
      throw new SystemError('EIO')
    }
  }

  async datasync(): Promise<void> {
    this.#check('datasync')
    const covered = this.#node.pending.length
    await this.#disk.answer('datasync', this.#path)
    this.#check('datasync')
    let durable = this.#node.durable
    for (const write of this.#node.pending.splice(0, covered)) durable = put(durable, write)
    if (this.#node.truncatedTo !== undefined && durable.length > this.#node.live.length)
      durable = durable.subarray(0, this.#node.live.length)
    this.#node.truncatedTo = undefined
    this.#node.durable = durable
  }

  async truncate(length: number): Promise<void> {
    this.#check('truncate')
    const out = Buffer.alloc(length)
    this.#node.live.copy(out)
    this.#node.live = out
    this.#node.truncatedTo = length
  }

  async size(): Promise<number> {
    this.#check('read')
    return this.#node.live.length
  }

  async close(): Promise<void> {
    if (!this.#closed) this.#disk.openFiles--
    this.#closed = true
  }
}
