/*
 * Random command sequences over both stores and a naive model of a filesystem: trees of plain objects, files as arrays
 * that say for every byte which byte of which chunk it is. Replies, errnos, names and bytes must agree, and the state
 * with itself, after every command.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ChunkId, DiskId, Ino, NodeId } from '../../../src/base/ids.ts'
import { check, checkPage } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { hasQuotaWork } from '../../../src/master/core/quotas.ts'
import { labelsOf } from '../../../src/master/core/records.ts'
import { State } from '../../../src/master/core/state.ts'
import { numAt } from '../../../src/master/core/tables.ts'
import { LmdbStore } from '../../../src/master/lmdb-store.ts'
import { MemoryStore } from '../../../src/master/memory-store.ts'
import type { Finding } from '../../../src/wire/reports.ts'
import { seedOf } from '../../support/seed.ts'
import { MeshModel } from './mesh-model.ts'
import { Bench, chance, create, make, rename, unlink } from './support.ts'

interface Node {
  ino: number
  type: string
  nlink: number
  children: Map<string, Node>
  bytes: (string | undefined)[]
  /** The directory whose quota it counts in, 0 for none. */
  quota: number
}

/** The oracle. Every method answers an errno or undefined. */
class Model {
  readonly root: Node = { ino: 1, type: 'dir', nlink: 2, children: new Map(), bytes: [], quota: 0 }
  /** Inodes that may count in a directory. */
  readonly quotas = new Map<number, number>()
  /** Quotas that were: where what still names them counts. */
  readonly gone = new Map<number, number>()
  /** Inodes out of sight that count in a quota: of a snapshot that is being made, of a tree that is being freed. */
  hidden: (quota: number) => number = () => 0
  /** Names of a tree that is being freed count until they are reached. */
  linksNow: (node: Node) => number = (node) => node.nlink
  /** The quota that is being counted or taken away; it does not move meanwhile. */
  walking = 0
  /** Everything with a name. */
  readonly nodes = new Map<number, Node>([[1, this.root]])
  /** Storage class of everything that ever had a name. */
  readonly classOf = new Map<number, number>([[1, 0]])
  /** Storage classes, and what gives them by name: best first. */
  readonly classes = new Set<number>()
  patterns: { number: number; glob: string; classId: number }[] = []
  /** Limits of pairs of sites by "a b", those of hours by "a b from-to". */
  readonly links = new Map<string, number>()
  parentOf(dir: Node): Node | undefined {
    for (const node of this.nodes.values())
      if (node.type === 'dir') for (const child of node.children.values()) if (child === dir) return node
    return undefined
  }
  within(node: Node, top: Node): boolean {
    for (let at: Node | undefined = node; at !== undefined; at = this.parentOf(at)) if (at === top) return true
    return false
  }
  dir(ino: number): Node | string {
    const node = this.nodes.get(ino)
    return node === undefined ? 'ESTALE' : node.type === 'dir' ? node : 'ENOTDIR'
  }
  add(ino: number, parent: number, name: string, type: string): string | undefined {
    const dir = this.dir(parent)
    if (typeof dir === 'string') return dir
    if (dir.children.has(name)) return 'EEXIST'
    if (this.isFull(dir.quota, 1, 0)) return 'EDQUOT'
    const node: Node = { ino, type, nlink: type === 'dir' ? 2 : 1, children: new Map(), bytes: [], quota: dir.quota }
    const pattern = this.patterns.find(({ glob }) => type !== 'symlink' && (glob === '*' || glob === name))
    // What comes back from the trash is what it was.
    if (!this.classOf.has(ino)) this.classOf.set(ino, pattern?.classId ?? this.classOf.get(parent)!)
    dir.children.set(name, node)
    if (type === 'dir') dir.nlink += 1
    this.nodes.set(ino, node)
    return undefined
  }
  drop(dir: Node, name: string): void {
    const node = dir.children.get(name)!
    dir.children.delete(name)
    if (node.type === 'dir') dir.nlink -= 1
    this.lost(node, dir.quota)
  }
  lost(node: Node, outer: number): void {
    node.nlink -= node.type === 'dir' ? 2 : 1
    if (node.nlink !== 0) return
    this.nodes.delete(node.ino)
    if (this.quotas.delete(node.ino)) this.gone.set(node.ino, outer)
  }
  unlink(parent: number, name: string): string | undefined {
    const dir = this.dir(parent)
    if (typeof dir === 'string') return dir
    const node = dir.children.get(name)
    if (node === undefined) return 'ENOENT'
    if (node.type === 'dir') return 'EISDIR'
    this.drop(dir, name)
    return undefined
  }
  rmdir(parent: number, name: string): string | undefined {
    const dir = this.dir(parent)
    if (typeof dir === 'string') return dir
    const node = dir.children.get(name)
    if (node === undefined) return 'ENOENT'
    if (node.type !== 'dir') return 'ENOTDIR'
    if (node.children.size > 0) return 'ENOTEMPTY'
    this.drop(dir, name)
    return undefined
  }
  link(ino: number, parent: number, name: string): string | undefined {
    const node = this.nodes.get(ino)
    if (node === undefined) return 'ESTALE'
    const dir = this.dir(parent)
    if (typeof dir === 'string') return dir
    if (node.type === 'dir') return 'EPERM'
    if (dir.children.has(name)) return 'EEXIST'
    if (dir.quota !== node.quota) return 'EXDEV'
    dir.children.set(name, node)
    node.nlink += 1
    return undefined
  }
  // ---- quotas, each counted anew whenever it is asked for

  outer(node: Node): number {
    return this.quotas.has(node.ino) && node.quota === node.ino ? (this.parentOf(node)?.quota ?? 0) : node.quota
  }
  chain(quota: number): number[] {
    if (quota === 0) return []
    const outer = this.quotas.has(quota) ? this.outer(this.nodes.get(quota)!) : (this.gone.get(quota) ?? 0)
    return [quota, ...this.chain(outer)]
  }
  usage(quota: number): number {
    return [...this.nodes.values()].filter((node) => this.chain(node.quota).includes(quota)).length + this.hidden(quota)
  }
  isFull(quota: number, growth: number, instead: number): boolean {
    const before = this.chain(instead)
    const isOver = (q: number) =>
      growth > 0 && this.usage(q) + growth > (this.quotas.get(q) ?? Number.POSITIVE_INFINITY)
    return this.chain(quota).some((q) => !before.includes(q) && isOver(q))
  }
  crosses(moved: Node, from: Node, to: Node): boolean {
    return (
      this.outer(moved) !== to.quota && !(moved.type !== 'dir' && this.linksNow(moved) > 1 && from.quota === to.quota)
    )
  }
  /** Everything below that counts in the one counts in the other from now on. */
  recount(dir: Node, from: number, to: number): void {
    dir.quota = to
    for (const child of dir.children.values()) {
      if (child.quota !== from) continue
      if (child.type === 'dir') this.recount(child, from, to)
      else child.quota = to
    }
  }

  rename(
    parent: number,
    name: string,
    newParent: number,
    newName: string,
    noReplace: boolean,
    exchange: boolean,
  ): string | undefined {
    if (noReplace && exchange) return 'EINVAL'
    const from = this.dir(parent)
    if (typeof from === 'string') return from
    const to = this.dir(newParent)
    if (typeof to === 'string') return to
    const source = from.children.get(name)
    if (source === undefined) return 'ENOENT'
    const target = to.children.get(newName)
    if (target !== undefined && noReplace) return 'EEXIST'
    if (target === undefined && exchange) return 'ENOENT'
    if (source.type === 'dir' && this.within(to, source)) return 'EINVAL'
    if (target?.type === 'dir' && this.within(from, target)) return exchange ? 'EINVAL' : 'ENOTEMPTY'
    if (source === target) return undefined
    const crosses = this.crosses(source, from, to)
    if (exchange && target !== undefined && (crosses || this.crosses(target, to, from))) return 'EXDEV'
    if (target !== undefined && !exchange) {
      if (source.type === 'dir' && target.type !== 'dir') return 'ENOTDIR'
      if (source.type !== 'dir' && target.type === 'dir') return 'EISDIR'
      if (target.children.size > 0) return 'ENOTEMPTY'
    }
    if (crosses) {
      const own = this.quotas.has(source.ino)
      if (own && this.walking === source.ino) return 'EXDEV'
      const outer = this.outer(source)
      if (!own && (source.type === 'dir' ? source.children.size > 0 : this.linksNow(source) > 1)) return 'EXDEV'
      const last =
        target !== undefined && (target.type === 'dir' || this.linksNow(target) === 1) && target.quota === to.quota
      const growth = (own ? this.usage(source.ino) : 1) - (last ? 1 : 0)
      if (this.isFull(to.quota, growth, outer)) return 'EDQUOT'
      if (!own) source.quota = to.quota
    }
    if (target !== undefined && !exchange) this.drop(to, newName)
    from.children.delete(name)
    if (source.type === 'dir') from.nlink -= 1
    if (exchange && target !== undefined) {
      if (target.type === 'dir') to.nlink -= 1
      from.children.set(name, target)
      if (target.type === 'dir') from.nlink += 1
    }
    to.children.set(newName, source)
    if (source.type === 'dir') to.nlink += 1
    return undefined
  }
}

/** What a snapshot has to show: a part of the model as it was, with what only the state knows of it. */
interface Frozen {
  type: string
  links: number
  children: Map<string, Frozen>
  bytes: (string | undefined)[]
  kept: unknown
}

const keptOf = (state: State, ino: Ino): unknown => {
  const record = state.inode(ino)!
  const { mode, uid, gid, rdev, atime, mtime, ctime } = record.attr
  const attributes = state.xattrs(ino).map((name) => [name, state.xattr(ino, name)!.toString('hex')])
  return { mode, uid, gid, rdev, atime, mtime, ctime, target: record.target, attributes }
}

const NAMES = ['a', 'b', 'c', 'd', 'caf\xe9']

/** One bench per store gets the same commands; the model says what has to come of them. */
class Trial {
  readonly model = new Model()
  readonly mesh = new MeshModel()
  readonly benches: Bench[]
  readonly below: (n: number) => number
  readonly chunks: { chunk: number; length: number }[] = []
  /** What is said of the chunkserver and of the disk with the same number. */
  readonly labels = new Map<
    number,
    {
      node: string[]
      disk: string[]
      nodeSet?: string[] | undefined
      diskSet?: string[] | undefined
      graceMs?: number | undefined
      untilSec?: number | undefined
    }
  >([1, 2, 3].map((n) => [n, { node: [], disk: [] }]))
  session = 0
  /** The snapshot that is being made. */
  snapshot: { job: number; parent: number; name: string; frozen: Frozen; quota: number } | undefined
  shown = 0
  /** Where the bytes of rewritten chunks came from. */
  readonly origins = new Map<string, string>()
  constructor(benches: Bench[], seed: number) {
    this.benches = benches
    this.below = chance(seed)
    this.model.hidden = (quota) => this.hidden(quota)
    for (const bench of benches) {
      bench.disks()
      this.session = bench.session()
    }
  }
  /** Counted by looking at every inode. */
  hidden(quota: number): number {
    const { state } = this.bench
    let found = 0
    state.kv.scan({ from: 'i', to: 'j' }, (at) => {
      const record = state.inode(numAt(at, 1) as Ino)!
      const isHidden = !this.model.nodes.has(record.attr.ino)
      if (isHidden && state.quotas.chain(record.quota).some((above) => above.quota === quota)) found += 1
      return true
    })
    return found
  }
  get bench(): Bench {
    return this.benches[0]!
  }
  do(command: Command, expected: string | undefined | 'any'): void {
    const [first, ...others] = this.benches.map((bench) => bench.apply(command, this.session))
    for (const other of others) expect(other).toEqual(first)
    const { result } = first!
    if (expected !== 'any') expect('errno' in result ? result.errno : undefined, JSON.stringify(command)).toBe(expected)
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
  ino(type?: string): number {
    const nodes = [...this.model.nodes.values()].filter((node) => type === undefined || node.type === type)
    return nodes.length === 0 || this.below(40) === 0 ? 99_999 : this.pick(nodes).ino
  }
  parent(): Ino {
    return (this.below(12) === 0 ? this.ino() : this.ino('dir')) as Ino
  }

  step(): unknown {
    const { state } = this.bench
    this.model.walking = state.quotas.all().root
    this.model.linksNow = ({ ino }) => state.inode(ino as Ino)!.attr.nlink
    const { model, below } = this
    const name = this.pick(NAMES)
    const parent = this.parent()
    const next = this.bench.next()
    switch (below(27)) {
      case 0:
        return this.do(make(next, parent, name, 'dir'), model.add(next, parent, name, 'dir'))
      case 1:
      case 2: {
        const dir = model.dir(parent)
        const exclusive = below(3) === 0
        const truncate = below(2) === 0
        const old = typeof dir === 'string' ? undefined : dir.children.get(name)
        let expected = old === undefined || exclusive ? model.add(next, parent, name, 'file') : undefined
        if (old !== undefined && !exclusive) expected = old.type === 'dir' ? 'EISDIR' : undefined
        if (old?.type === 'file' && expected === undefined && truncate) old.bytes = []
        return this.do(create(next, parent, name, { exclusive, truncate }), expected)
      }
      case 3: {
        const made = make(next, parent, name, 'symlink', 0o777, { target: 'x/y' })
        return this.do(made, model.add(next, parent, name, 'symlink'))
      }
      case 4:
        return this.do(unlink(parent, name), model.unlink(parent, name))
      case 5:
        return this.do({ kind: 'rmdir', parent, name }, model.rmdir(parent, name))
      case 6:
      case 7: {
        const newParent = this.parent()
        const newName = this.pick(NAMES)
        const noReplace = below(4) === 0
        const exchange = below(4) === 0
        return this.do(
          rename(parent, name, newParent, newName, { noReplace, exchange }),
          model.rename(parent, name, newParent, newName, noReplace, exchange),
        )
      }
      case 8: {
        const ino = this.ino() as Ino
        return this.do({ kind: 'link', ino, newParent: parent, newName: name }, model.link(ino, parent, name))
      }
      case 9:
        return this.resize()
      case 10:
        return this.openOrSeal()
      case 11:
        return this.fallocate()
      case 12:
        return this.share()
      case 13:
        return this.collect()
      case 14:
        return this.label()
      case 15:
        return this.beginSnapshot(parent, name)
      case 16:
      case 17:
        return this.goOnWithSnapshot()
      case 18:
        return below(3) === 0 ? this.deleteTree(parent, name) : this.clear()
      case 19:
        return this.attribute()
      case 20:
        return this.classify()
      case 21:
        return this.limit()
      case 22:
      case 23: {
        const { command, expected } = this.mesh.step(this.bench.sec + 1, below)
        return this.asMaster(command, expected)
      }
      case 24:
        return this.limitLink()
      default:
        return this.write()
    }
  }

  /** Few sites and hours, so that they meet. */
  limitLink(): void {
    const { links } = this.model
    const [a, b] = [this.pick(['A', 'B', 'C', '']), this.pick(['A', 'B', 'C'])]
    const window = this.below(2) === 0 ? undefined : { from: this.below(3) * 60, to: this.below(3) * 60 }
    const bytesPerS = this.below(3) === 0 ? undefined : this.below(5)
    const pair = [a, b].sort().join(' ')
    const at = window === undefined ? pair : `${pair} ${window.from}-${window.to}`
    const gone = window === undefined ? [...links.keys()].filter((name) => name.startsWith(pair)) : [at]
    const known = gone.some((name) => links.has(name))
    const expected = a === '' || a === b ? 'EINVAL' : bytesPerS === undefined && !known ? 'ENOENT' : undefined
    this.asMaster({ kind: 'linkLimit', a, b, bytesPerS, window }, expected)
    if (expected !== undefined) return
    if (bytesPerS === undefined) for (const name of gone) links.delete(name)
    else links.set(at, bytesPerS)
  }

  /** Classes and patterns come and go, and things are given other classes. */
  classify(): unknown {
    const { model, below } = this
    const { state } = this.bench
    const classes = [...model.classes]
    const some = below(8) === 0 || classes.length === 0 ? 77_777 : this.pick(classes)
    const known = model.classes.has(some)
    switch (below(7)) {
      case 6:
        return this.wish(known ? some : undefined)
      case 0: {
        const classId = state.counters().nextClass ?? 2
        const make = below(2) === 0 || classes.length < 2
        const number = make ? classId : this.pick(classes)
        if (make) model.classes.add(number)
        const text = { ...state.classes.record(1)!.text, name: `class-${number}`, keep: `${1 + below(9)}A` }
        return this.do({ kind: 'classSet', classId: number, text }, undefined)
      }
      case 1: {
        const named = [...model.nodes.keys()].some((ino) => model.classOf.get(ino) === some)
        const given = model.patterns.some(({ classId }) => classId === some)
        // In the trash, in a snapshot being made, in a tree being freed.
        const outOfSight = (state.classes.record(some)?.inodes ?? 0) > 0
        if (known && !named && !given && outOfSight) return undefined
        if (known && !named && !given) model.classes.delete(some)
        return this.do(
          { kind: 'classDelete', classId: some },
          known ? (named || given ? 'EBUSY' : undefined) : 'ENOENT',
        )
      }
      case 2: {
        const number = state.counters().nextClass ?? 2
        const glob = this.pick(['*', ...NAMES])
        if (known) model.patterns.push({ number, glob, classId: some })
        const pattern = { glob, uid: undefined, gid: undefined, priority: 3, classId: some }
        return this.do({ kind: 'patternSet', number, pattern }, known ? undefined : 'ENOENT')
      }
      case 3: {
        const number = model.patterns[0]?.number
        model.patterns = model.patterns.slice(1)
        const wanted = { kind: 'patternDelete', number: number ?? 88_888 } as const
        return this.do(wanted, number === undefined ? 'ENOENT' : undefined)
      }
      default: {
        const inos = Array.from({ length: 1 + below(4) }, () => this.ino() as Ino)
        const classId = below(4) === 0 ? 1 : some
        const onlyFrom = below(3) === 0 ? some : undefined
        const there = classId === 1 || known
        for (const ino of there ? inos : []) {
          const node = model.nodes.get(ino)
          if (node === undefined || node.type === 'symlink') continue
          if (onlyFrom === undefined || onlyFrom === model.classOf.get(ino))
            model.classOf.set(ino, classId === 1 ? 0 : classId)
        }
        const wanted = { kind: 'classOf', classId, onlyFrom, inos, paged: false, cookie: undefined } as const
        return this.do(wanted, there ? undefined : 'ENOENT')
      }
    }
  }

  /** Any chunks, also some that are not there, open, or twice in the list: the last word counts, others are passed over. */
  wish(classId: number | undefined): void {
    const last = this.bench.state.nextIds().chunk
    const some = Array.from({ length: 1 + this.below(5) }, () => (1 + this.below(last)) as ChunkId)
    const wishes = some.map((chunk) => ({
      chunk,
      classId,
      phase: this.pick([undefined, 'archive', 'trash'] as const),
      copies: 1 + this.below(4),
      // What these chunks are too short for.
      code: this.below(2) === 0 ? undefined : { data: 2, parity: 1 },
    }))
    const sealed = some.map((chunk) => this.bench.state.chunk(chunk)?.state === 'sealed')
    if (this.below(2) === 0) this.do({ kind: 'chunkWishes', wishes }, undefined)
    else
      for (const [i, wished] of wishes.entries()) {
        const there = this.bench.state.chunk(wished.chunk) !== undefined
        this.do({ kind: 'chunkWish', ...wished }, sealed[i] ? undefined : there ? 'EINVAL' : 'ENOENT')
      }
    for (const [i, { chunk, phase, copies }] of wishes.entries())
      if (sealed[i] && !some.includes(chunk, i + 1))
        for (const { state } of this.benches)
          expect(state.chunk(chunk)).toMatchObject({ classId, phase, copies, code: undefined })
  }

  recount(dir: Node, from: number, to: number): void {
    this.model.recount(dir, from, to)
    const { snapshot } = this
    if (snapshot?.quota === from && this.model.nodes.get(snapshot.parent)?.quota === to) snapshot.quota = to
  }
  /** Sets a quota or takes one away, counted to the end; what happens meanwhile is tried in quotas.test.ts. */
  limit(): void {
    const { model } = this
    const dir = model.dir(this.parent())
    if (typeof dir === 'string') return
    const session = this.session
    this.session = 0
    const ino = dir.ino as Ino
    if (model.quotas.has(dir.ino)) {
      this.do({ kind: 'quotaDelete', ino }, undefined)
      const outer = model.outer(dir)
      model.quotas.delete(dir.ino)
      model.gone.set(dir.ino, outer)
      this.recount(dir, dir.ino, outer)
    } else {
      const hard = 3 + this.below(8)
      const no = { soft: undefined, hard: undefined }
      const inodes = { soft: undefined, hard }
      this.do({ kind: 'quotaSet', ino, inodes, length: no, raw: no, graceMs: undefined }, undefined)
      this.recount(dir, dir.quota, dir.ino)
      model.quotas.set(dir.ino, hard)
    }
    while (hasQuotaWork(this.bench.state)) this.do({ kind: 'quotaWalked', limit: 1 + this.below(9) }, undefined)
    this.session = session
  }

  file(): Node | undefined {
    const files = [...this.model.nodes.values()].filter((node) => node.type === 'file')
    return files.length === 0 ? undefined : this.pick(files)
  }
  resize(): void {
    const file = this.file()
    if (file === undefined) return
    const size = this.below(120)
    file.bytes.length = size
    this.do({ kind: 'setattr', ino: file.ino as Ino, change: { size } }, undefined)
  }
  openOrSeal(): void {
    const old = this.chunks.length > 3 ? this.chunks.shift() : undefined
    if (old !== undefined) {
      this.do({ kind: 'chunkSeal', chunk: old.chunk, length: old.length, failed: [] } as unknown as Command, undefined)
      const rest = { chunk: old.chunk, disks: [1] }
      if (old.length > 0 && this.below(4) === 0) {
        const shorten = (length: number): void =>
          this.do({ kind: 'chunkShortened', ...rest, length, gone: [] } as unknown as Command, undefined)
        shorten(1 + this.below(old.length))
        // A copy may come back that has it all.
        if (this.below(2) === 0 && this.bench.state.chunk(old.chunk as never)?.lost !== undefined) shorten(old.length)
      } else if (old.length > 0) this.do({ kind: 'chunkSealed', ...rest } as unknown as Command, undefined)
      return
    }
    const { chunk } = this.bench.state.nextIds()
    this.chunks.push({ chunk, length: 0 })
    const disks = [1, 2 + this.below(2)]
    this.do({ kind: 'chunkOpen', chunks: [{ chunk, disks }], copies: 2 } as unknown as Command, undefined)
  }
  write(): void {
    const file = this.file()
    if (file === undefined || this.chunks.length === 0) return
    const extents = Array.from({ length: 1 + this.below(3) }, () => {
      const target = this.pick(this.chunks)
      const extent = {
        offset: this.below(100),
        length: 1 + this.below(30),
        chunk: target.chunk,
        chunkOffset: this.below(3) === 0 ? this.below(target.length + 1) : target.length,
      }
      target.length = Math.max(target.length, extent.chunkOffset + extent.length)
      for (let i = 0; i < extent.length; i++)
        file.bytes[extent.offset + i] = `${extent.chunk}:${extent.chunkOffset + i}`
      return extent
    })
    const ino = file.ino
    this.do({ kind: 'commit', files: [{ ino, extents }] } as unknown as Command, undefined)
  }
  fallocate(): void {
    const file = this.file()
    if (file === undefined) return
    const what = this.pick(['reserve', 'punch', 'zero'] as const)
    const keepSize = what === 'punch' || this.below(2) === 0
    const offset = this.below(100)
    const length = 1 + this.below(60)
    const size = file.bytes.length
    if (what !== 'reserve') for (let i = offset; i < Math.min(offset + length, size); i++) file.bytes[i] = undefined
    if (!keepSize) file.bytes.length = Math.max(size, offset + length)
    this.do({ kind: 'fallocate', ino: file.ino as Ino, what, keepSize, offset, length, killSuidGid: true }, undefined)
  }
  share(): void {
    const source = this.file()
    const target = this.file()
    if (source === undefined || target === undefined) return
    const sourceOffset = this.below(100)
    const targetOffset = this.below(100)
    const wanted = this.below(80)
    const length = Math.max(0, Math.min(wanted, source.bytes.length - sourceOffset))
    const overlaps = source === target && sourceOffset < targetOffset + length && targetOffset < sourceOffset + length
    if (!overlaps && length > 0) {
      const copied = Array.from({ length }, (_, i) => source.bytes[sourceOffset + i])
      target.bytes.length = Math.max(target.bytes.length, targetOffset + length)
      for (let i = 0; i < length; i++) target.bytes[targetOffset + i] = copied[i]
    }
    this.do(
      {
        kind: 'copyRange',
        source: source.ino as Ino,
        sourceOffset,
        target: target.ino as Ino,
        targetOffset,
        length: wanted,
        killSuidGid: true,
      },
      overlaps ? 'EINVAL' : undefined,
    )
  }
  /** Chunkservers and disks say what they are called, and an admin says otherwise, and how long they are waited for. */
  label(): unknown {
    const some = (): string[] => ['B', 'H', 'usb'].filter(() => this.below(2) === 0)
    const set = (): string[] | undefined => (this.below(3) === 0 ? undefined : some())
    const n = 1 + this.below(4)
    const known = this.labels.get(n)
    const expected = known === undefined ? 'ENOENT' : undefined
    const node = n as NodeId
    switch (this.below(6)) {
      case 3: {
        const graceMs = this.below(2) === 0 ? undefined : this.below(100)
        if (known !== undefined) known.graceMs = graceMs
        return this.do({ kind: 'nodeGrace', node, graceMs }, expected)
      }
      case 4: {
        const untilSec = this.below(2) === 0 ? undefined : this.below(100)
        if (known !== undefined) known.untilSec = untilSec
        return this.do({ kind: 'nodeMaintenance', node, untilSec }, expected)
      }
      case 5:
        return this.do({ kind: 'nodeRemove', node }, expected ?? 'EBUSY')
      case 0: {
        if (known === undefined) return undefined
        Object.assign(known, { node: some(), disk: some() })
        const more = { labels: known.node, disks: [{ disk: n, uuid: `d${n}`, path: `/d${n}`, labels: known.disk }] }
        const who = { uuid: `n${n}`, name: `node${n}`, host: '127.0.0.1', port: 1000 + n, version: '1' }
        return this.do({ kind: 'nodeJoined', node: n, ...who, ...more } as unknown as Command, undefined)
      }
      case 1: {
        const labels = set()
        if (known !== undefined) known.nodeSet = labels
        return this.do({ kind: 'nodeLabel', node: n as NodeId, labels }, expected)
      }
      default: {
        const labels = set()
        if (known !== undefined) known.diskSet = labels
        return this.do({ kind: 'diskLabel', disk: n as DiskId, labels }, expected)
      }
    }
  }
  /** What the master does by itself. */
  collect(): void {
    const { state } = this.bench
    const session = this.session
    this.session = 0
    switch (this.below(5)) {
      case 4: {
        // No time at all would need a model of what is in the trash.
        const retentionMs = this.pick([undefined, 1000, 3_600_000])
        const inos = Array.from({ length: 3 }, () => this.ino() as Ino)
        this.do({ kind: 'retentionOf', retentionMs, inos, paged: this.below(2) === 0, cookie: undefined }, undefined)
        for (const ino of inos)
          if (['file', 'dir'].includes(this.model.nodes.get(ino)?.type ?? ''))
            expect(state.inode(ino)?.retentionMs).toBe(retentionMs)
        break
      }
      case 0:
        this.do({ kind: 'trashPurge', inos: state.trash.page(undefined, 3).map(({ ino }) => ino) }, undefined)
        break
      case 1:
        this.do({ kind: 'chunksForgotten', chunks: state.chunkIndex.deadBefore(10 ** 9, 2) }, undefined)
        for (const chunk of this.chunks)
          chunk.length = Math.max(chunk.length, state.chunk(chunk.chunk as never)!.length)
        break
      case 2: {
        const trashed = state.trash.page(undefined, 10)
        if (trashed.length === 0) break
        const { ino, record } = this.pick(trashed)
        const dir = this.model.nodes.get(record.parent)
        const parent = dir?.type === 'dir' ? dir : undefined
        // Without its directory the way depends on names that exist by chance: not the model's business.
        if (parent === undefined) break
        const name = this.below(2) === 0 ? undefined : this.pick(NAMES)
        const length = state.inode(ino)!.attr.size
        const bytes = bytesOf(state, ino, length)
        const expected = this.model.add(ino, parent.ino, name ?? record.name, 'file')
        const node = this.model.nodes.get(ino)
        if (expected === undefined && node !== undefined) node.bytes = bytes
        this.do({ kind: 'trashRestore', ino, path: undefined, newInos: undefined, name }, expected)
        break
      }
      default:
        this.compact()
    }
    this.session = session
  }
  attribute(): void {
    const ino = this.ino() as Ino
    const type = this.model.nodes.get(ino)?.type
    const command = {
      kind: 'setxattr',
      ino,
      name: `user.${this.pick(NAMES)}`,
      value: Buffer.alloc(1 + this.below(600)),
    }
    const expected = type === undefined ? 'ESTALE' : type === 'file' || type === 'dir' ? undefined : 'EPERM'
    this.do({ ...command, create: false, replace: false, killSgid: false } as Command, expected)
  }

  // ---- snapshots and trees

  asMaster(command: object, expected: string | undefined | 'any'): void {
    const session = this.session
    this.session = 0
    this.do(command as Command, expected)
    this.session = session
  }
  origin(byte: string | undefined): string | undefined {
    return byte === undefined ? undefined : (this.origins.get(byte) ?? byte)
  }
  freeze(node: Node, seen: Map<Node, Frozen> = new Map()): Frozen {
    const known = seen.get(node)
    if (known !== undefined) {
      known.links += 1
      return known
    }
    const { state } = this.bench
    const bytes = Array.from({ length: node.bytes.length }, (_, i) => this.origin(node.bytes[i]))
    const kept = keptOf(state, node.ino as Ino)
    const frozen: Frozen = { type: node.type, links: 1, children: new Map(), bytes, kept }
    seen.set(node, frozen)
    for (const [name, child] of node.children) frozen.children.set(name, this.freeze(child, seen))
    return frozen
  }
  beginSnapshot(parent: Ino, name: string): void {
    const { model } = this
    const source = this.ino() as Ino
    const node = model.nodes.get(source)
    const dir = model.dir(parent)
    const expected =
      node === undefined
        ? 'ESTALE'
        : node === model.root
          ? 'EINVAL'
          : typeof dir === 'string'
            ? dir
            : dir.children.has(name)
              ? 'EEXIST'
              : model.within(dir, node)
                ? 'EINVAL'
                : this.snapshot !== undefined
                  ? 'EBUSY'
                  : model.isFull(dir.quota, 1, 0)
                    ? 'EDQUOT'
                    : undefined
    const frozen = node === undefined || expected !== undefined ? undefined : this.freeze(node)
    this.asMaster({ kind: 'snapshotBegin', source, sourcePath: '/s', parent, name, targetPath: '/t' }, expected)
    const { state } = this.bench
    if (frozen !== undefined && typeof dir !== 'string')
      this.snapshot = { job: state.imaging()!.job, parent, name, frozen, quota: dir.quota }
  }
  goOnWithSnapshot(): void {
    const { snapshot, model } = this
    if (snapshot === undefined) return
    const { job, parent, name, frozen } = snapshot
    const { state } = this.bench
    if (this.below(40) === 0) {
      this.asMaster({ kind: 'jobCancelled', job }, undefined)
      this.snapshot = undefined
      return
    }
    if (state.jobs.lastUnfinished(job) !== undefined) {
      this.asMaster({ kind: 'snapshotCopied', job, inodes: 1 + this.below(3), rows: 1 + this.below(3) }, undefined)
      const isFull = model.chain(snapshot.quota).some((q) => model.usage(q) > (model.quotas.get(q) ?? 1_000))
      expect(state.jobs.get(job)?.phase).toBe(isFull ? 'clearing' : 'copying')
      if (isFull) this.snapshot = undefined
      return
    }
    const dir = model.dir(parent)
    expect(state.inode(state.jobs.get(job)!.root as Ino)?.quota).toBe(snapshot.quota)
    let expected = typeof dir === 'string' ? 'ENOENT' : dir.children.has(name) ? 'EEXIST' : undefined
    if (expected === undefined && typeof dir !== 'string' && dir.quota !== snapshot.quota) {
      const moves = frozen.type === 'dir' ? frozen.children.size === 0 : frozen.links === 1
      if (!moves) expected = 'EXDEV'
      else if (model.isFull(dir.quota, 1, snapshot.quota)) expected = 'EDQUOT'
    }
    this.asMaster({ kind: 'snapshotShown', job }, expected)
    this.snapshot = undefined
    if (expected !== undefined || typeof dir === 'string') this.asMaster({ kind: 'jobCancelled', job }, undefined)
    else {
      this.shown += 1
      const copy = this.thawed(state.lookup(parent as Ino, name)!.ino, frozen, new Map())
      dir.children.set(name, copy)
      if (copy.type === 'dir') dir.nlink += 1
    }
  }
  /** The copy as a part of the model, after everything in it has been compared with what was frozen. */
  thawed(ino: Ino, frozen: Frozen, seen: Map<number, { node: Node; frozen: Frozen }>): Node {
    const known = seen.get(ino)
    // One inode for several names exactly where it was one.
    expect(known?.frozen ?? frozen).toBe(frozen)
    expect([...seen.values()].filter((other) => other.frozen === frozen).length).toBe(known === undefined ? 0 : 1)
    if (known !== undefined) return known.node
    const { state } = this.bench
    const { attr, quota } = state.inode(ino)!
    expect(attr.type).toBe(frozen.type)
    expect(keptOf(state, ino)).toEqual(frozen.kept)
    if (attr.type === 'file') expect(attr.size).toBe(frozen.bytes.length)
    const bytes = attr.type === 'file' ? bytesOf(state, ino, attr.size) : []
    expect(bytes.map((byte) => this.origin(byte))).toEqual(frozen.bytes)
    const node: Node = { ino, type: attr.type, nlink: attr.nlink, children: new Map(), bytes, quota }
    if (attr.type !== 'dir') expect(attr.nlink).toBe(frozen.links)
    seen.set(ino, { node, frozen })
    this.model.nodes.set(ino, node)
    this.model.classOf.set(ino, attr.classId ?? 0)
    const { entries } = attr.type === 'dir' ? state.readdirPage(ino, 0, 1000) : { entries: [] }
    expect(entries.map(({ name }) => name).sort()).toEqual([...frozen.children.keys()].sort())
    for (const entry of entries)
      node.children.set(entry.name, this.thawed(entry.ino, frozen.children.get(entry.name)!, seen))
    return node
  }
  deleteTree(parent: Ino, name: string): void {
    const dir = this.model.dir(parent)
    const node = typeof dir === 'string' ? undefined : dir.children.get(name)
    const expected = typeof dir === 'string' ? dir : node === undefined ? 'ENOENT' : undefined
    this.asMaster({ kind: 'treeDetached', parent, name, path: '/t', openIn: [] }, expected)
    if (typeof dir === 'string' || node === undefined) return
    const lost = (tree: Node, outer: number): void => {
      for (const child of tree.children.values()) lost(child, tree.quota)
      this.model.lost(tree, outer)
    }
    dir.children.delete(name)
    if (node.type === 'dir') dir.nlink -= 1
    // A directory loses the links of those in it as well.
    const flatten = (tree: Node): void => {
      if (tree.type === 'dir') tree.nlink = 2
      for (const child of tree.children.values()) flatten(child)
    }
    flatten(node)
    lost(node, dir.quota)
  }
  /** One step of what is out of sight. */
  clear(): boolean {
    const { state } = this.bench
    const clearing = state.jobs.all().filter(({ record }) => record.phase === 'clearing')
    if (clearing.length === 0) return false
    this.asMaster({ kind: 'jobCleared', job: this.pick(clearing).job, limit: 2 + this.below(4), openIn: [] }, undefined)
    return true
  }
  /** Nothing is out of sight any more: links are counted as people see them. */
  clearAll(): void {
    while (this.clear());
  }

  compact(): void {
    const { state } = this.bench
    const old = state.chunkIndex.sparse(0, 10).find((chunk) => state.chunk(chunk)?.lost === undefined)
    if (old === undefined) return
    const { chunk } = state.nextIds()
    const owners = state.extents.inChunk(old, undefined, 100)
    let at = 0
    const moves = owners.map(({ ino, extent }) => {
      const move = {
        ino,
        offset: extent.offset,
        length: extent.length,
        oldChunk: old,
        oldOffset: extent.chunkOffset,
        newOffset: at,
      }
      at += extent.length
      for (let i = 0; i < extent.length; i++)
        this.origins.set(`${chunk}:${move.newOffset + i}`, this.origin(`${old}:${move.oldOffset + i}`)!)
      const node = this.model.nodes.get(ino)
      for (let i = 0; node !== undefined && i < extent.length; i++)
        node.bytes[extent.offset + i] = `${chunk}:${move.newOffset + i}`
      return move
    })
    // Old logs do not say it.
    const createdSec = this.below(2) === 0 ? undefined : this.below(1_000)
    this.do({ kind: 'compactBegun', chunk, disks: [1, 2], copies: 2, createdSec } as unknown as Command, undefined)
    if (createdSec !== undefined)
      for (const { state } of this.benches) expect(state.chunk(chunk as ChunkId)!.createdSec).toBe(createdSec)
    this.do({ kind: 'relocate', chunk, length: at, moves } as unknown as Command, undefined)
    this.do({ kind: 'chunkSealed', chunk, disks: [1, 2] } as unknown as Command, undefined)
  }

  compare(): void {
    this.clearAll()
    for (const bench of this.benches) {
      const { state } = bench
      this.mesh.compare(state)
      const limits = state.links
        .all()
        .flatMap(({ a, b, bytesPerS, windows }) => [
          ...(bytesPerS === undefined ? [] : [[`${a} ${b}`, bytesPerS] as const]),
          ...windows.map(({ from, to, bytesPerS: rate }) => [`${a} ${b} ${from}-${to}`, rate] as const),
        ])
      expect(new Map(limits)).toEqual(this.model.links)
      for (const [n, { node, disk, nodeSet, diskSet, graceMs, untilSec: maintenanceUntilSec }] of this.labels) {
        expect(state.node(n as NodeId)).toMatchObject({ graceMs, maintenanceUntilSec })
        expect(labelsOf(state.node(n as NodeId)!)).toEqual(nodeSet ?? node)
        expect(labelsOf(state.disk(n as DiskId)!)).toEqual(diskSet ?? disk)
      }
      for (const node of this.model.nodes.values()) {
        const attr = state.attr(node.ino as Ino)!
        expect(state.inode(node.ino as Ino)?.quota, `quota of inode ${node.ino}`).toBe(node.quota)
        if (this.model.quotas.has(node.ino))
          expect(state.quotas.get(node.ino as Ino)?.usage.inodes).toBe(this.model.usage(node.ino))
        expect(attr.nlink).toBe(node.nlink)
        expect(attr.type).toBe(node.type)
        expect(attr.classId ?? 0).toBe(this.model.classOf.get(node.ino))
        if (node.type === 'file') {
          expect(attr.size).toBe(node.bytes.length)
          const bytes = bytesOf(state, node.ino as Ino, attr.size)
          expect(bytes).toEqual(Array.from({ length: attr.size }, (_, i) => node.bytes[i]))
        }
        if (node.type !== 'dir') continue
        const { entries, end } = state.readdirPage(node.ino as Ino, 0, 1000)
        expect(end).toBe(true)
        expect(Object.fromEntries(entries.map((entry) => [entry.name, entry.ino]))).toEqual(
          Object.fromEntries([...node.children].map(([name, child]) => [name, child.ino])),
        )
      }
    }
  }
}

function bytesOf(state: State, ino: Ino, size: number): (string | undefined)[] {
  const bytes = new Array<string | undefined>(size).fill(undefined)
  for (const { offset, length, chunk, chunkOffset } of state.extents.from(ino, 0, 10_000).extents)
    for (let i = 0; i < length; i++) bytes[offset + i] = `${chunk}:${chunkOffset + i}`
  return bytes
}

/** A file that had a name in another quota once is worth a warning, and no more. */
const errorsOf = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter(({ severity }) => severity === 'error')

function dump(bench: Bench): [string, string][] {
  const rows: [string, string][] = []
  bench.store.scan({ from: 'A', to: 'z\xff' }, (key, value) => {
    rows.push([key, Buffer.from(value).toString('hex')])
    return true
  })
  return rows
}

describe('random commands', () => {
  let dir: string
  let lmdb: LmdbStore
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-core-'))
    lmdb = LmdbStore.open(dir, { takeOverBytes: 8192 })
  })
  afterEach(async () => {
    await lmdb.close()
    rmSync(dir, { recursive: true, force: true })
  })

  const base = seedOf()
  for (let i = 0; i < 6; i++) {
    const seed = base + i
    it(`agree with a naive model on both stores (seed ${seed})`, async () => {
      const trial = new Trial([new Bench(new MemoryStore()), new Bench(lmdb)], seed)
      for (let n = 0; n < 400; n++) {
        trial.step()
        // LMDB takes over in between, at every stage of which reads must be right.
        if (n % 5 === 4) await new Promise((resolve) => setImmediate(resolve))
        if (n % 10 === 9) expect(errorsOf(check(trial.bench.state))).toEqual([])
        if (n % 40 === 39) trial.compare()
      }
      trial.compare()
      const [memory, disk] = trial.benches
      expect(dump(disk!)).toEqual(dump(memory!))
      for (const bench of trial.benches) expect(errorsOf(check(bench.state))).toEqual([])
      // Decoded records that are held and the bytes in the store say the same.
      expect(errorsOf(check(new State(lmdb)))).toEqual([])
      let cursor = ''
      do {
        const page = checkPage(disk!.state, cursor, 7)
        // What was lost is told, and is in agreement with itself.
        expect(page.findings.filter(({ what }) => !what.includes(' bytes are lost, of '))).toEqual([])
        cursor = page.cursor
      } while (cursor !== '')
    })
  }

  it('replayed from the changelog give the same state', () => {
    const trial = new Trial([new Bench(new MemoryStore())], base)
    for (let n = 0; n < 300; n++) trial.step()
    const copy = new Bench(new MemoryStore())
    const { state } = trial.bench
    for (const { envelope, command, errno } of state.changelog(1, 100_000)) {
      copy.sec = envelope.sec - 1
      const { result } = copy.apply(command, envelope.session, envelope.seq, envelope.acked)
      expect('errno' in result ? result.errno : undefined).toBe(errno)
    }
    expect(dump(copy)).toEqual(dump(trial.bench))
  })
})
