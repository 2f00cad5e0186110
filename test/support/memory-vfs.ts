/*
 * The whole Vfs contract in memory: the reference model that other implementations are compared with, and something to
 * mount where only a door is under test. Plain rather than fast; holes have the granularity of a page.
 */

import type { Attr, AttrChange, FileType, Time } from '../../src/base/attr.ts'
import { changedAttr, withoutSetId } from '../../src/base/attr.ts'
import { FsError } from '../../src/base/fault.ts'
import { type Ino, ino, ROOT_INO } from '../../src/base/ids.ts'
import { FILE_BYTES_MAX, LINK_MAX, NAME_BYTES_MAX, XATTR_LIST_BYTES_MAX } from '../../src/base/limits.ts'
import type { Clock } from '../../src/base/world.ts'
import type {
  Caller,
  Entry,
  FallocateMode,
  FileLock,
  Invalidation,
  NewNode,
  RenameFlags,
  StatFs,
  Vfs,
} from '../../src/client/vfs.ts'
import {
  ACL_ACCESS,
  ACL_DEFAULT,
  aclAfterChmod,
  formatAcl,
  inheritedAcl,
  isExtended,
  modeOfAcl,
  parseAcl,
} from './memory-acl.ts'
import { LockTable } from './memory-locks.ts'

const PAGE = 64 * 1024
const ZEROS = Buffer.alloc(PAGE)

interface Child {
  ino: Ino
  cookie: number
}

interface Node {
  attr: Attr
  target: string
  parent: Ino
  /** A page may be shorter than PAGE: the rest is zeros. */
  pages: Map<number, Buffer>
  children: Map<string, Child>
  /** Cookies ascending: the order of a listing. */
  order: string[]
  xattrs: Map<string, Buffer>
  locks: LockTable
  opens: number
}

export class MemoryVfs implements Vfs {
  readonly #clock: Clock
  readonly #nodes = new Map<Ino, Node>()
  #nextIno = 2
  #nextCookie = 3
  #version = 1
  #listener: ((change: Invalidation) => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#nodes.set(ROOT_INO, this.#blank(ROOT_INO, 'dir', 0o755, 0, 0, ROOT_INO))
  }

  /** As if another client had changed something. */
  tell(change: Invalidation): void {
    this.#listener?.(change)
  }

  async lookup(parent: Ino, name: string, _caller: Caller): Promise<Attr> {
    const dir = this.#dir(parent)
    if (name === '.') return dir.attr
    if (name === '..') return this.#node(dir.parent).attr
    return this.#node(this.#child(dir, name).ino).attr
  }

  async getattr(node: Ino, _caller: Caller): Promise<Attr> {
    return this.#node(node).attr
  }

  async setattr(target: Ino, change: AttrChange, _caller: Caller): Promise<Attr> {
    const node = this.#node(target)
    const now = this.#clock.now()
    if (change.size !== undefined) this.#truncate(node, change.size, now)
    node.attr = this.#newer(changedAttr(node.attr, change, now))
    if (change.mode !== undefined) {
      const acl = node.xattrs.get(ACL_ACCESS)
      if (acl !== undefined) node.xattrs.set(ACL_ACCESS, formatAcl(aclAfterChmod(parseAcl(acl)!, change.mode)))
    }
    if (change.uid !== undefined || change.gid !== undefined) this.#dropCapability(node)
    return node.attr
  }

  async readlink(target: Ino, _caller: Caller): Promise<string> {
    const node = this.#node(target)
    if (node.attr.type !== 'symlink') throw new FsError('EINVAL')
    return node.target
  }

  async make(parent: Ino, name: string, wanted: NewNode, caller: Caller): Promise<Attr> {
    return this.#make(parent, name, wanted, caller).attr
  }

  async create(
    parent: Ino,
    name: string,
    mode: number,
    flags: { exclusive: boolean; truncate: boolean },
    caller: Caller,
  ): Promise<Attr> {
    const taken = this.#dir(parent).children.get(name)
    if (taken !== undefined) {
      if (flags.exclusive) throw new FsError('EEXIST')
      return (await this.open(taken.ino, { write: true, truncate: flags.truncate }, caller)).attr
    }
    const node = this.#make(parent, name, { type: 'file', mode }, caller)
    node.opens++
    return node.attr
  }

  async unlink(parent: Ino, name: string, _caller: Caller): Promise<void> {
    const dir = this.#dir(parent)
    const node = this.#node(this.#child(dir, name).ino)
    if (node.attr.type === 'dir') throw new FsError('EISDIR')
    this.#removeEntry(dir, name)
    this.#unlinked(node)
  }

  async rmdir(parent: Ino, name: string, _caller: Caller): Promise<void> {
    const dir = this.#dir(parent)
    const node = this.#node(this.#child(dir, name).ino)
    if (node.attr.type !== 'dir') throw new FsError('ENOTDIR')
    if (node.children.size > 0) throw new FsError('ENOTEMPTY')
    this.#removeEntry(dir, name)
    this.#change(dir, { nlink: dir.attr.nlink - 1 })
    this.#gone(node)
  }

  async rename(
    parent: Ino,
    name: string,
    newParent: Ino,
    newName: string,
    flags: RenameFlags,
    _caller: Caller,
  ): Promise<void> {
    const from = this.#dir(parent)
    const to = this.#dir(newParent)
    const node = this.#node(this.#child(from, name).ino)
    checkName(newName)
    const taken = to.children.get(newName)
    const victim = taken === undefined ? undefined : this.#node(taken.ino)
    if (flags.exchange && victim === undefined) throw new FsError('ENOENT')
    if (flags.noReplace && victim !== undefined) throw new FsError('EEXIST')
    if (victim === node) return
    this.#refuseLoop(node, to)
    if (flags.exchange) {
      this.#refuseLoop(victim!, from)
      this.#repoint(from, name, victim!)
      this.#repoint(to, newName, node)
      this.#moved(node, from, to)
      this.#moved(victim!, to, from)
      return
    }
    if (victim !== undefined) {
      // As Linux has it: a directory on the way to the source is not empty, and that is what is said of it.
      if (victim.attr.type === 'dir' && this.#isWithin(from, victim)) throw new FsError('ENOTEMPTY')
      if (node.attr.type === 'dir' && victim.attr.type !== 'dir') throw new FsError('ENOTDIR')
      if (node.attr.type !== 'dir' && victim.attr.type === 'dir') throw new FsError('EISDIR')
      if (victim.children.size > 0) throw new FsError('ENOTEMPTY')
      this.#removeEntry(to, newName)
      if (victim.attr.type === 'dir') {
        this.#change(to, { nlink: to.attr.nlink - 1 })
        this.#gone(victim)
      } else {
        this.#unlinked(victim)
      }
    }
    this.#removeEntry(from, name)
    this.#addEntry(to, newName, node.attr.ino)
    this.#moved(node, from, to)
  }

  async link(target: Ino, newParent: Ino, newName: string, _caller: Caller): Promise<Attr> {
    const node = this.#node(target)
    const dir = this.#dir(newParent)
    if (node.attr.type === 'dir') throw new FsError('EPERM')
    if (node.attr.nlink === 0) throw new FsError('ENOENT')
    if (node.attr.nlink >= LINK_MAX) throw new FsError('EMLINK')
    checkName(newName)
    if (dir.children.has(newName)) throw new FsError('EEXIST')
    this.#addEntry(dir, newName, target)
    this.#change(node, { nlink: node.attr.nlink + 1 }, false)
    return node.attr
  }

  async readdir(target: Ino, cookie: number, limit: number, _caller: Caller): Promise<Entry[]> {
    const dir = this.#dir(target)
    const found: Entry[] = []
    for (let i = firstAfter(dir, cookie); i < dir.order.length && found.length < limit; i++) {
      const name = dir.order[i]!
      const child = dir.children.get(name)!
      const { attr } = this.#node(child.ino)
      found.push({ name, ino: child.ino, type: attr.type, cookie: child.cookie, attr })
    }
    return found
  }

  async open(
    target: Ino,
    flags: { write: boolean; truncate: boolean },
    _caller: Caller,
  ): Promise<{ attr: Attr; changed: boolean; stale: boolean }> {
    const node = this.#node(target)
    if (flags.truncate && node.attr.type === 'file') this.#truncate(node, 0, this.#clock.now())
    node.opens++
    return { attr: node.attr, changed: false, stale: false }
  }

  release(target: Ino): void {
    const node = this.#nodes.get(target)
    if (node === undefined) return
    node.opens--
    this.#forgetIfUnused(node)
  }

  async read(target: Ino, offset: number, length: number, _caller: Caller): Promise<Buffer[]> {
    const node = this.#file(target)
    const end = Math.min(offset + length, node.attr.size)
    const slices: Buffer[] = []
    for (let at = offset; at < end; ) {
      const inPage = at % PAGE
      const part = Math.min(PAGE - inPage, end - at)
      const page = node.pages.get(Math.floor(at / PAGE)) ?? ZEROS
      const there = Math.max(0, Math.min(part, page.length - inPage))
      if (there > 0) slices.push(page.subarray(inPage, inPage + there))
      if (there < part) slices.push(ZEROS.subarray(0, part - there))
      at += part
    }
    return slices
  }

  async write(
    target: Ino,
    offset: number,
    data: Buffer,
    options: { append: boolean; killSuidGid: boolean },
    _caller: Caller,
  ): Promise<void> {
    const node = this.#file(target)
    const start = options.append ? node.attr.size : offset
    if (start + data.length > FILE_BYTES_MAX) throw new FsError('EFBIG')
    for (let done = 0; done < data.length; ) {
      const at = start + done
      const inPage = at % PAGE
      const part = Math.min(PAGE - inPage, data.length - done)
      const index = Math.floor(at / PAGE)
      // Whole pages and the first bytes of a new one are taken over as they are, which the contract allows.
      if (part === PAGE || (inPage === 0 && !node.pages.has(index)))
        node.pages.set(index, data.subarray(done, done + part))
      else data.copy(ownPage(node, index), inPage, done, done + part)
      done += part
    }
    this.#dropCapability(node)
    const now = this.#clock.now()
    node.attr = this.#newer({
      ...node.attr,
      mode: options.killSuidGid ? withoutSetId(node.attr.mode) : node.attr.mode,
      size: Math.max(node.attr.size, start + data.length),
      used: node.pages.size * PAGE,
      mtime: now,
      ctime: now,
    })
  }

  async flush(_target: Ino, _caller: Caller): Promise<void> {}
  async fsync(_target: Ino, _caller: Caller): Promise<void> {}
  async syncfs(_caller: Caller): Promise<void> {}

  async fallocate(target: Ino, mode: FallocateMode, offset: number, length: number, caller: Caller): Promise<void> {
    const node = this.#file(target)
    const end = offset + length
    if (length <= 0) throw new FsError('EINVAL')
    if (end > FILE_BYTES_MAX) throw new FsError('EFBIG')
    if (mode.kind !== 'reserve') zero(node, offset, Math.min(end, node.attr.size))
    const now = this.#clock.now()
    const size = mode.keepSize ? node.attr.size : Math.max(node.attr.size, end)
    const bits = caller.uid === 0 ? node.attr.mode : withoutSetId(node.attr.mode)
    const used = node.pages.size * PAGE
    node.attr = this.#newer({ ...node.attr, mode: bits, size, used, mtime: now, ctime: now })
  }

  async copyRange(
    source: Ino,
    sourceOffset: number,
    target: Ino,
    targetOffset: number,
    length: number,
    caller: Caller,
  ): Promise<number> {
    const data = Buffer.concat(await this.read(source, sourceOffset, length, caller))
    if (data.length === 0) return 0
    await this.write(target, targetOffset, data, { append: false, killSuidGid: caller.uid !== 0 }, caller)
    return data.length
  }

  async seek(target: Ino, offset: number, whence: 'data' | 'hole', _caller: Caller): Promise<number> {
    const node = this.#file(target)
    const { size } = node.attr
    if (offset < 0 || offset >= size) throw new FsError('ENXIO')
    const isData = (at: number): boolean => node.pages.has(Math.floor(at / PAGE))
    if (whence === 'hole') {
      let at = offset
      while (at < size && isData(at)) at = (Math.floor(at / PAGE) + 1) * PAGE
      return Math.min(at, size)
    }
    if (isData(offset)) return offset
    const page = Math.floor(offset / PAGE)
    const next = Math.min(...[...node.pages.keys()].filter((index) => index > page))
    if (!Number.isFinite(next) || next * PAGE >= size) throw new FsError('ENXIO')
    return next * PAGE
  }

  async getxattr(target: Ino, name: string, _caller: Caller): Promise<Buffer> {
    const value = this.#node(target).xattrs.get(name)
    if (value === undefined) throw new FsError('ENODATA')
    return value
  }

  async setxattr(
    target: Ino,
    name: string,
    value: Buffer,
    flags: { create: boolean; replace: boolean; killSgid: boolean },
    _caller: Caller,
  ): Promise<void> {
    const node = this.#node(target)
    this.#mayHoldUserXattr(node, name)
    if (flags.create && node.xattrs.has(name)) throw new FsError('EEXIST')
    if (flags.replace && !node.xattrs.has(name)) throw new FsError('ENODATA')
    const names = [...node.xattrs.keys()].reduce((sum, each) => sum + each.length + 1, name.length + 1)
    if (names > XATTR_LIST_BYTES_MAX) throw new FsError('ENOSPC')
    let mode = flags.killSgid ? node.attr.mode & ~0o2000 : node.attr.mode
    if (name === ACL_ACCESS || name === ACL_DEFAULT) {
      const acl = parseAcl(value)
      if (acl === undefined) throw new FsError('EINVAL')
      if (name === ACL_ACCESS) mode = modeOfAcl(acl, mode)
      if (name === ACL_ACCESS && !isExtended(acl)) node.xattrs.delete(name)
      else node.xattrs.set(name, value)
    } else {
      node.xattrs.set(name, value)
    }
    this.#change(node, { mode, hasXattr: node.xattrs.size > 0 }, false)
  }

  async listxattr(target: Ino, _caller: Caller): Promise<string[]> {
    return [...this.#node(target).xattrs.keys()]
  }

  async removexattr(target: Ino, name: string, _caller: Caller): Promise<void> {
    const node = this.#node(target)
    this.#mayHoldUserXattr(node, name)
    if (!node.xattrs.delete(name)) {
      if (name.startsWith('system.posix_acl_')) return
      throw new FsError('ENODATA')
    }
    this.#change(node, { hasXattr: node.xattrs.size > 0 }, false)
  }

  /** xattr(7): user.* exists on files and directories only. */
  #mayHoldUserXattr(node: { attr: Attr }, name: string): void {
    if (name.startsWith('user.') && node.attr.type !== 'file' && node.attr.type !== 'dir') throw new FsError('EPERM')
  }

  async getLock(target: Ino, lock: FileLock, _caller: Caller): Promise<FileLock | undefined> {
    return this.#node(target).locks.conflict(lock)
  }

  async setLock(target: Ino, lock: FileLock, wait: boolean, caller: Caller): Promise<void> {
    await this.#node(target).locks.set(lock, wait, () => caller.signal)
  }

  async releaseLocks(target: Ino, family: 'posix' | 'flock', owner: string): Promise<void> {
    this.#nodes.get(target)?.locks.release(family, owner)
  }

  async statfs(_ino: Ino, _caller: Caller): Promise<StatFs> {
    let used = 0
    for (const node of this.#nodes.values()) used += node.attr.used
    const totalBytes = 1 << 30
    const freeBytes = Math.max(0, totalBytes - used)
    const files = 1_000_000
    const filesFree = files - this.#nodes.size
    return { blockSize: 4096, totalBytes, freeBytes, availableBytes: freeBytes, files, filesFree }
  }

  onInvalidate(listener: (change: Invalidation) => void): void {
    this.#listener = listener
  }

  async close(): Promise<void> {}

  /** Inodes that exist, for tests that look for leaks. */
  get inodeCount(): number {
    return this.#nodes.size
  }

  #blank(id: Ino, type: FileType, mode: number, uid: number, gid: number, parent: Ino): Node {
    const now = this.#clock.now()
    const dir = type === 'dir'
    const attr: Attr = {
      ...{ ino: id, type, mode, nlink: dir ? 2 : 1, uid, gid, rdev: 0, size: dir ? 4096 : 0, used: 0 },
      ...{ atime: now, mtime: now, ctime: now, hasXattr: false, version: this.#version++ },
    }
    const empty = { pages: new Map(), children: new Map(), order: [], xattrs: new Map() }
    return { attr, target: '', parent, ...empty, locks: new LockTable(), opens: 0 }
  }

  #make(parent: Ino, name: string, wanted: NewNode, caller: Caller): Node {
    const dir = this.#dir(parent)
    if (dir.attr.nlink === 0) throw new FsError('ENOENT')
    checkName(name)
    if (dir.children.has(name)) throw new FsError('EEXIST')
    const setgid = (dir.attr.mode & 0o2000) !== 0
    const isDir = wanted.type === 'dir'
    const defaults = wanted.type === 'symlink' ? undefined : dir.xattrs.get(ACL_DEFAULT)
    let mode = wanted.type === 'symlink' ? 0o777 : wanted.mode & 0o7777
    if (isDir && setgid) mode |= 0o2000
    const acl = defaults === undefined ? undefined : inheritedAcl(parseAcl(defaults)!, mode)
    if (acl !== undefined) mode = acl.mode
    else if (wanted.type !== 'symlink') mode &= ~caller.umask
    const gid = setgid ? dir.attr.gid : caller.gid
    const node = this.#blank(ino(this.#nextIno++), wanted.type, mode, caller.uid, gid, parent)
    if (acl !== undefined && isExtended(acl.entries)) node.xattrs.set(ACL_ACCESS, formatAcl(acl.entries))
    if (defaults !== undefined && isDir) node.xattrs.set(ACL_DEFAULT, defaults)
    node.target = wanted.target ?? ''
    const size = wanted.type === 'symlink' ? node.target.length : node.attr.size
    node.attr = { ...node.attr, rdev: wanted.rdev ?? 0, size, hasXattr: node.xattrs.size > 0 }
    this.#nodes.set(node.attr.ino, node)
    this.#addEntry(dir, name, node.attr.ino)
    if (isDir) this.#change(dir, { nlink: dir.attr.nlink + 1 })
    return node
  }

  #node(id: Ino): Node {
    const node = this.#nodes.get(id)
    if (node === undefined) throw new FsError('ENOENT', `inode ${id}`)
    return node
  }

  #dir(id: Ino): Node {
    const node = this.#node(id)
    if (node.attr.type !== 'dir') throw new FsError('ENOTDIR')
    return node
  }

  #file(id: Ino): Node {
    const node = this.#node(id)
    if (node.attr.type === 'dir') throw new FsError('EISDIR')
    if (node.attr.type !== 'file') throw new FsError('EINVAL')
    return node
  }

  #child(dir: Node, name: string): Child {
    if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
    const child = dir.children.get(name)
    if (child === undefined) throw new FsError('ENOENT', name)
    return child
  }

  #newer(attr: Attr): Attr {
    return { ...attr, version: this.#version++ }
  }

  /** Changes attributes at this moment; `data` also moves mtime. */
  #change(node: Node, change: Partial<Attr>, data = true): void {
    const now = this.#clock.now()
    node.attr = this.#newer({ ...node.attr, ...change, ctime: now, ...(data ? { mtime: now } : {}) })
  }

  #addEntry(dir: Node, name: string, child: Ino): void {
    dir.children.set(name, { ino: child, cookie: this.#nextCookie++ })
    dir.order.push(name)
    this.#change(dir, {})
  }

  #removeEntry(dir: Node, name: string): void {
    dir.order.splice(firstAfter(dir, dir.children.get(name)!.cookie - 1), 1)
    dir.children.delete(name)
    this.#change(dir, {})
  }

  #repoint(dir: Node, name: string, node: Node): void {
    dir.children.set(name, { ...dir.children.get(name)!, ino: node.attr.ino })
    this.#change(dir, {})
  }

  #moved(node: Node, from: Node, to: Node): void {
    this.#change(node, {}, false)
    if (node.attr.type !== 'dir' || from === to) return
    node.parent = to.attr.ino
    this.#change(from, { nlink: from.attr.nlink - 1 })
    this.#change(to, { nlink: to.attr.nlink + 1 })
  }

  #refuseLoop(node: Node, into: Node): void {
    if (node.attr.type === 'dir' && this.#isWithin(into, node)) throw new FsError('EINVAL')
  }

  #isWithin(inner: Node, outer: Node): boolean {
    for (let at = inner; ; at = this.#node(at.parent)) {
      if (at === outer) return true
      if (at.attr.ino === ROOT_INO) return false
    }
  }

  #unlinked(node: Node): void {
    this.#change(node, { nlink: node.attr.nlink - 1 }, false)
    this.#forgetIfUnused(node)
  }

  #gone(dir: Node): void {
    this.#change(dir, { nlink: 0 }, false)
    this.#forgetIfUnused(dir)
  }

  #forgetIfUnused(node: Node): void {
    if (node.attr.nlink === 0 && node.opens <= 0) this.#nodes.delete(node.attr.ino)
  }

  #dropCapability(node: Node): void {
    if (!node.xattrs.delete('security.capability')) return
    this.#change(node, { hasXattr: node.xattrs.size > 0 }, false)
  }

  #truncate(node: Node, size: number, now: Time): void {
    if (node.attr.type === 'dir') throw new FsError('EISDIR')
    if (node.attr.type !== 'file') throw new FsError('EINVAL')
    if (size > FILE_BYTES_MAX) throw new FsError('EFBIG')
    if (size < node.attr.size) zero(node, size, Math.ceil(node.attr.size / PAGE) * PAGE)
    this.#dropCapability(node)
    node.attr = this.#newer({ ...node.attr, size, used: node.pages.size * PAGE, mtime: now, ctime: now })
  }
}

function checkName(name: string): void {
  if (name === '' || name.includes('/') || name.includes('\0')) throw new FsError('EINVAL')
  if (name === '.' || name === '..') throw new FsError('EEXIST')
  if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG')
}

/** Index in the listing's order of the first entry whose cookie is larger. */
function firstAfter(dir: Node, cookie: number): number {
  let low = 0
  let high = dir.order.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (dir.children.get(dir.order[middle]!)!.cookie <= cookie) low = middle + 1
    else high = middle
  }
  return low
}

/** A page that may be written into: never a slice of somebody's read. */
function ownPage(node: Node, index: number): Buffer {
  const old = node.pages.get(index)
  if (old?.length === PAGE) return old
  const page = Buffer.alloc(PAGE)
  old?.copy(page)
  node.pages.set(index, page)
  return page
}

/** Zeros in [start, end): whole pages become holes. */
function zero(node: Node, start: number, end: number): void {
  if (end - start > node.pages.size * PAGE) {
    for (const index of [...node.pages.keys()]) zeroPage(node, index, start, end)
    return
  }
  for (let index = Math.floor(start / PAGE); index * PAGE < end; index++) zeroPage(node, index, start, end)
}

function zeroPage(node: Node, index: number, start: number, end: number): void {
  const page = node.pages.has(index) ? ownPage(node, index) : undefined
  const from = Math.max(start - index * PAGE, 0)
  const to = Math.min(end - index * PAGE, PAGE)
  if (page === undefined || from >= to) return
  if (from === 0 && to === PAGE) node.pages.delete(index)
  else page.fill(0, from, to)
}
