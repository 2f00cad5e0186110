/* Quotas: what counts where, what is refused, and what happens at their edges and while they are counted. */

import { describe, expect, it } from 'vitest'
import type { Ino } from '../../../src/base/ids.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { hasQuotaWork, spent } from '../../../src/master/core/quotas.ts'
import { transact } from '../../../src/master/core/state.ts'
import { MemoryStore } from '../../../src/master/memory-store.ts'
import { seedOf } from '../../support/seed.ts'
import { Bench, chance, create, make, rename, unlink } from './support.ts'

const NO = { soft: undefined, hard: undefined }
const quotaSet = (ino: Ino, limits: object = { inodes: { soft: undefined, hard: 100 } }): Command =>
  ({ kind: 'quotaSet', ino, inodes: NO, length: NO, raw: NO, graceMs: undefined, ...limits }) as Command
const hard = (n: number): object => ({ soft: undefined, hard: n })

class QuotaBench extends Bench {
  readonly writer: number
  chunkId: number
  #at = 0
  constructor() {
    super(new MemoryStore())
    this.disks()
    this.writer = this.session()
    this.chunkId = this.chunk(this.writer)
  }
  /** Sets a quota and counts it, the state checked at every step. */
  limit(ino: Ino, limits?: object, step = 2): void {
    this.ok(quotaSet(ino, limits))
    this.count(step)
  }
  count(step = 2): void {
    while (hasQuotaWork(this.state)) this.ok({ kind: 'quotaWalked', limit: step })
  }
  usage(ino: Ino): object | undefined {
    const usage = this.state.quotas.get(ino)?.usage
    if (usage === undefined) return undefined
    const { classes, ...rest } = usage
    return classes === undefined ? rest : usage
  }
  put(ino: Ino, offset: number, length: number, more: object = {}): string {
    const extent = { offset, length, chunk: this.chunkId, chunkOffset: this.#at }
    const { result } = this.apply(
      { kind: 'commit', files: [{ ino, extents: [extent], ...more }] } as unknown as Command,
      this.writer,
    )
    if ('errno' in result) return result.errno
    const [file] = (result.ok as { files: { errno: number }[] }).files
    const errno = file?.errno
    if (errno === 0) this.#at += length
    return errno === 0 ? 'carried out' : errno === 122 ? 'EDQUOT' : String(errno)
  }
}

describe('a quota', () => {
  it('of an empty directory counts what is made in it, at any depth, and what is taken away', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d)
    expect(b.usage(d)).toEqual({ inodes: 1, length: 0, used: 0 })
    const sub = b.dir('sub', d)
    const f = b.file('f', sub)
    expect(b.put(f, 10, 20)).toBe('carried out')
    expect(b.usage(d)).toEqual({ inodes: 3, length: 30, used: 20 })
    b.ok({ kind: 'setattr', ino: f, change: { size: 15 } })
    expect(b.usage(d)).toEqual({ inodes: 3, length: 15, used: 5 })
    b.ok(unlink(sub, 'f'))
    b.ok({ kind: 'rmdir', parent: d, name: 'sub' })
    expect(b.usage(d)).toEqual({ inodes: 1, length: 0, used: 0 })
  })

  it('refuses an inode, a byte of length or a byte on the disks too much, and never what makes less', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d, { inodes: hard(3), length: hard(100), raw: hard(120) })
    const f = b.file('f', d)
    b.file('g', d)
    expect(b.errno(create(b.next(), d, 'h'))).toBe('EDQUOT')
    expect(b.errno(make(b.next(), d, 'h', 'dir'))).toBe('EDQUOT')
    expect(b.ok(create(b.next(), d, 'g'))).toMatchObject({ created: false })
    expect(b.put(f, 0, 60)).toBe('carried out')
    expect(b.put(f, 60, 1)).toBe('EDQUOT')
    expect(b.put(f, 10, 50), 'bytes in place of others').toBe('carried out')
    expect(b.errno({ kind: 'setattr', ino: f, change: { size: 101 } })).toBe('EDQUOT')
    expect(b.errno({ kind: 'setattr', ino: f, change: { size: 100 } })).toBe('carried out')
    const grow = { kind: 'fallocate', ino: f, what: 'reserve', keepSize: false, offset: 0 } as const
    expect(b.errno({ ...grow, length: 101, killSuidGid: undefined })).toBe('EDQUOT')
    expect(b.errno({ ...grow, length: 100, killSuidGid: undefined })).toBe('carried out')
    const copy = { kind: 'copyRange', source: f, target: f, sourceOffset: 0, killSuidGid: undefined } as const
    expect(b.errno({ ...copy, targetOffset: 60, length: 1 })).toBe('EDQUOT')
    b.ok({ kind: 'setattr', ino: f, change: { size: 0 } })
    expect(b.put(f, 0, 60)).toBe('carried out')
    b.ok(unlink(d, 'g'))
    b.file('h', d)
    // Limits may be set below what is used: nothing is taken away, and nothing more comes in.
    b.ok(quotaSet(d, { length: hard(10) }))
    expect(b.put(f, 59, 2)).toBe('EDQUOT')
    b.ok({ kind: 'setattr', ino: f, change: { size: 50 } })
    expect(b.usage(d)).toMatchObject({ length: 50 })
  })

  it('refuses nothing that was answered as done: names changed first, and the close of a new file', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d, { inodes: hard(2), length: hard(10) })
    b.ok({ kind: 'inosReserve', count: 10 }, b.writer)
    const first = b.next() - 10
    const node = { type: 'file', mode: 0o644, uid: 0, gid: 0, rdev: 0, target: '', opened: true }
    const changes = [0, 1, 2].map((i) => {
      const ino = first + i
      return { kind: 'make', parent: d, name: `n${i}`, ino, time: { sec: 5, nsec: 0 }, node, change: undefined }
    })
    const told = { kind: 'names', changes, openIn: [] } as unknown as Command
    expect(b.ok(told, b.writer).errnos).toEqual([0, 0, 0])
    expect(b.usage(d)).toMatchObject({ inodes: 4 })
    expect(b.errno(create(b.next(), d, 'more'))).toBe('EDQUOT')
    expect(b.put(first as Ino, 0, 11)).toBe('EDQUOT')
    expect(b.put(first as Ino, 0, 11, { answered: true })).toBe('carried out')
  })

  it('may be exceeded beyond its soft limit for the grace, and is a hard one then', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d, { inodes: { soft: 2, hard: 5 }, graceMs: 10_000 })
    b.file('a', d)
    expect(b.state.quotas.get(d)?.inodes.overSec).toBe(undefined)
    b.file('b', d)
    expect(b.state.quotas.get(d)?.inodes.overSec).toBe(b.sec)
    b.sec += 5
    b.file('c', d)
    b.sec += 5
    expect(b.errno(create(b.next(), d, 'd'))).toBe('EDQUOT')
    b.ok(unlink(d, 'c'))
    b.ok(unlink(d, 'b'))
    expect(b.state.quotas.get(d)?.inodes.overSec).toBe(undefined)
    b.file('e', d)
    b.file('f', d)
    b.sec += 20
    b.ok(quotaSet(d, { inodes: { soft: 0, hard: undefined } }))
    b.file('g', d)
    expect(b.errno(create(b.next(), d, 'h'))).toBe('EDQUOT')
  })

  it('within another counts in both, and each refuses for itself', () => {
    const b = new QuotaBench()
    const outer = b.dir('outer')
    const inner = b.dir('inner', outer)
    b.limit(inner, { inodes: hard(3) })
    b.limit(outer, { inodes: hard(4) })
    b.file('a', inner)
    expect([b.usage(outer), b.usage(inner)]).toMatchObject([{ inodes: 3 }, { inodes: 2 }])
    b.file('b', outer)
    expect(b.errno(create(b.next(), inner, 'c'))).toBe('EDQUOT')
    b.ok(unlink(outer, 'b'))
    b.file('c', inner)
    expect(b.errno(create(b.next(), inner, 'd'))).toBe('EDQUOT')
    // From the one to the other: the outer one does not grow by it.
    b.ok(rename(inner, 'c', outer, 'c'))
    expect([b.usage(outer), b.usage(inner)]).toMatchObject([{ inodes: 4 }, { inodes: 2 }])
    b.ok(rename(outer, 'c', inner, 'c'))
    expect([b.usage(outer), b.usage(inner)]).toMatchObject([{ inodes: 4 }, { inodes: 3 }])
  })

  it('is left and entered by files, empty directories and directories with a quota of their own; others get EXDEV', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    const e = b.dir('e')
    b.limit(d, { inodes: hard(4), length: hard(50) })
    const f = b.file('f', b.root)
    b.put(f, 0, 40)
    b.ok(rename(b.root, 'f', d, 'f'))
    expect(b.usage(d)).toEqual({ inodes: 2, length: 40, used: 40 })
    const g = b.file('g', b.root)
    b.put(g, 0, 40)
    expect(b.errno(rename(b.root, 'g', d, 'g'))).toBe('EDQUOT')
    // In the place of another of its size there is room.
    b.ok(rename(b.root, 'g', d, 'f'))
    expect(b.usage(d)).toEqual({ inodes: 2, length: 40, used: 40 })
    b.ok(rename(b.root, 'e', d, 'e'))
    b.file('x', e)
    expect(b.usage(d)).toMatchObject({ inodes: 4 })
    expect(b.errno(rename(d, 'e', b.root, 'e'))).toBe('EXDEV')
    b.limit(e)
    b.ok(rename(d, 'e', b.root, 'e'))
    expect(b.usage(d)).toMatchObject({ inodes: 2 })
    b.file('y', e)
    expect(b.errno(rename(b.root, 'e', d, 'e'))).toBe('EDQUOT')
    expect(b.errno({ kind: 'link', ino: g, newParent: b.root, newName: 'g2' })).toBe('EXDEV')
    b.ok({ kind: 'link', ino: g, newParent: d, newName: 'g2' })
    expect(b.usage(d)).toMatchObject({ inodes: 2 })
    expect(b.errno(rename(d, 'g2', b.root, 'g2'))).toBe('EXDEV')
    b.file('z', b.root)
    expect(b.errno(rename(d, 'f', b.root, 'z', { exchange: true }))).toBe('EXDEV')
  })

  it('does not count the trash, nor what is unlinked and open; what is restored has to fit', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d, { inodes: hard(2) })
    const f = b.file('f', d)
    b.ok(unlink(d, 'f', [b.writer]))
    expect(b.usage(d)).toMatchObject({ inodes: 1 })
    b.file('g', d)
    const restore = { kind: 'trashRestore', ino: f, path: undefined, newInos: undefined } as Command
    expect(b.errno(restore)).toBe('EDQUOT')
    b.ok(unlink(d, 'g'))
    b.ok(restore)
    expect(b.usage(d)).toMatchObject({ inodes: 2 })
  })

  it('knows what it holds of each storage class, also when a file changes its class', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d)
    const aClass = (name: string, keep: string): number => {
      const classId = b.state.counters().nextClass ?? 2
      const text = { ...b.state.classes.record(1)!.text, name, keep }
      b.ok({ kind: 'classSet', classId, text })
      return classId
    }
    const [three, coded] = [aClass('three', '3A'), aClass('coded', '@4+2')]
    const inClass = (ino: Ino, classId: number): void => {
      b.ok({ kind: 'classOf', classId, onlyFrom: undefined, inos: [ino], paged: false, cookie: undefined })
    }
    const [f, g, h] = [b.file('f', d), b.file('g', d), b.file('h', d)]
    inClass(f, coded)
    for (const [i, ino] of [f, g, h].entries()) b.put(ino, 0, 10 * (i + 1))
    expect(b.usage(d)).toMatchObject({ used: 60, classes: [{ classId: coded, used: 10 }] })
    inClass(h, three)
    expect(b.usage(d)).toMatchObject({
      used: 60,
      classes: [
        { classId: three, used: 30 },
        { classId: coded, used: 10 },
      ],
    })
    // Two copies of what has no class of its own.
    expect(spent(b.state, b.state.quotas.get(d)!.usage).raw).toBe(30 * 3 + 10 * 1.5 + 20 * 2)
    b.ok(rename(d, 'f', b.root, 'f'))
    b.ok(unlink(d, 'h'))
    expect(b.usage(d)).toEqual({ inodes: 2, length: 20, used: 20 })
  })

  it('counts a snapshot where it is made, from the first copy on, and gives one up that does not fit', () => {
    const b = new QuotaBench()
    const source = b.dir('source')
    for (const name of ['x', 'y', 'z']) b.put(b.file(name, source), 0, 100)
    const d = b.dir('d')
    b.limit(d, { length: hard(350), inodes: hard(6) })
    const snapshot = (name: string): string => {
      const paths = { sourcePath: '/source', targetPath: `/d/${name}` }
      const { job } = b.ok({ kind: 'snapshotBegin', source, parent: d, name, ...paths })
      while (b.state.jobs.get(job)?.phase === 'copying' && b.state.jobs.lastUnfinished(job) !== undefined)
        b.ok({ kind: 'snapshotCopied', job, inodes: 1, rows: 1 })
      if (b.state.jobs.get(job)?.phase === 'copying') b.ok({ kind: 'snapshotShown', job })
      const { errno } = b.state.jobs.get(job)!
      while (b.state.jobs.get(job)?.phase === 'clearing') b.ok({ kind: 'jobCleared', job, limit: 3, openIn: [] })
      return errno === undefined ? 'shown' : errno === 122 ? 'EDQUOT' : String(errno)
    }
    expect(snapshot('first')).toBe('shown')
    expect(b.usage(d)).toEqual({ inodes: 5, length: 300, used: 300 })
    expect(snapshot('second')).toBe('EDQUOT')
    expect(b.usage(d)).toEqual({ inodes: 5, length: 300, used: 300 })
    b.ok({ kind: 'treeDetached', parent: d, name: 'first', path: '/d/first', openIn: [] })
    for (const { job } of b.state.jobs.all())
      while (b.state.jobs.get(job)?.phase === 'clearing') b.ok({ kind: 'jobCleared', job, limit: 3, openIn: [] })
    expect(b.usage(d)).toEqual({ inodes: 1, length: 0, used: 0 })
  })

  it('goes with its directory', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    b.limit(d)
    b.ok({ kind: 'rmdir', parent: b.root, name: 'd' })
    expect(b.state.quotas.all()).toMatchObject({ count: 0, root: 0 })
    const e = b.dir('e')
    b.ok(quotaSet(e))
    b.ok({ kind: 'rmdir', parent: b.root, name: 'e' })
    expect(b.state.quotas.all()).toMatchObject({ count: 0, root: 0 })
    expect(hasQuotaWork(b.state)).toBe(false)
  })

  it('does not go into a tree that was deleted whole out of its directory, and counts there until it is freed', () => {
    const b = new QuotaBench()
    b.limit(b.root)
    const d = b.dir('d')
    b.limit(d)
    const e = b.dir('e', d)
    b.file('f', e)
    b.ok({ kind: 'treeDetached', parent: d, name: 'e', path: '/d/e', openIn: [] })
    expect(b.errno(rename(b.root, 'd', e, 'd'))).toBe('ENOENT')
    expect(b.state.quotas.chain(d).map(({ quota }) => quota)).toEqual([d, b.root])
    expect(b.usage(d)).toMatchObject({ inodes: 3 })
    expect(check(b.state).filter(({ severity }) => severity === 'error')).toEqual([])
  })

  it('is refused where it makes no sense', () => {
    const b = new QuotaBench()
    const d = b.dir('d')
    expect(b.errno(quotaSet(b.file('f')))).toBe('ENOTDIR')
    expect(b.errno(quotaSet(99 as Ino))).toBe('ESTALE')
    expect(b.errno(quotaSet(d, {}))).toBe('EINVAL')
    expect(b.errno(quotaSet(d, { inodes: { soft: 10, hard: 5 } }))).toBe('EINVAL')
    expect(b.errno({ kind: 'quotaDelete', ino: d })).toBe('ENODATA')
    let at = b.root
    for (let i = 0; i < 16; i++) {
      b.limit(at)
      at = b.dir('in', at)
    }
    expect(b.errno(quotaSet(at))).toBe('EINVAL')
  })
})

describe('counting a quota', () => {
  /** Files f0 … in directories d0 … of `top`. */
  function tree(b: QuotaBench): { top: Ino; dirs: Ino[] } {
    const top = b.dir('top')
    const dirs = [0, 1, 2, 3].map((i) => b.dir(`d${i}`, top))
    for (const dir of dirs) for (let i = 0; i < 5; i++) b.file(`f${i}`, dir)
    return { top, dirs }
  }

  it('goes on in steps, refuses nothing before its end, and counts what comes and goes meanwhile once', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    b.ok(quotaSet(top, { inodes: hard(3) }))
    for (let i = 0; hasQuotaWork(b.state); i++) {
      b.ok({ kind: 'quotaWalked', limit: 3 })
      if (!hasQuotaWork(b.state)) break
      b.file(`new${i}`, dirs[i % 4]!)
      if (i % 3 === 0) b.ok(unlink(dirs[(i / 3) % 4]!, `f${i % 5}`))
    }
    expect(b.errno(create(b.next(), top, 'x'))).toBe('EDQUOT')
    expect(check(b.state)).toEqual([])
  })

  it('takes along whole directories that are moved from before the walk to behind it', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    const outside = b.dir('outside')
    b.file('o', outside)
    b.ok(quotaSet(top))
    b.ok({ kind: 'quotaWalked', limit: 1 })
    for (const [i] of dirs.entries()) {
      const { result } = b.apply(rename(top, `d${i}`, dirs[(i + 1) % 4]!, `moved${i}`))
      expect('errno' in result ? result.errno : 'ok').toMatch(/ok|EINVAL|ENOENT/)
      b.ok({ kind: 'quotaWalked', limit: 1 })
    }
    b.ok(rename(b.root, 'outside', top, 'outside'))
    b.count(1)
    expect(b.usage(top)).toEqual({ inodes: 27, length: 0, used: 0 })
  })

  it('lets nothing out that is counted already, and everything move about inside', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    b.ok(quotaSet(top))
    const passed = (): Ino[] => dirs.filter((dir) => b.state.inode(dir)!.quota === top)
    while (passed().length < 2) b.ok({ kind: 'quotaWalked', limit: 1 })
    const inside = passed()[0]!
    const [waiting] = dirs.filter((dir) => !passed().includes(dir))
    const nameOf = (ino: Ino): string => b.state.inode(ino)!.name
    expect(b.errno(rename(top, nameOf(inside), b.root, 'out'))).toBe('EXDEV')
    b.ok(rename(top, nameOf(inside), waiting!, 'in'))
    b.ok(rename(waiting!, 'f0', b.root, 'f0'))
    b.count(1)
    expect(b.usage(top)).toMatchObject({ inodes: 24 })
    expect(b.state.inode(inside)!.quota).toBe(top)
  })

  it('goes one after the other, whichever lies in which', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    b.ok(quotaSet(dirs[0]!))
    b.ok(quotaSet(top))
    b.ok(quotaSet(b.root))
    b.ok(quotaSet(dirs[3]!))
    b.count(1)
    expect([b.root, top, dirs[0]!, dirs[3]!].map((ino) => b.usage(ino))).toMatchObject([
      { inodes: 26 },
      { inodes: 25 },
      { inodes: 6 },
      { inodes: 6 },
    ])
    expect(b.state.quotas.chain(dirs[0]!).map(({ quota }) => quota)).toEqual([dirs[0], top, b.root])
  })

  it('is undone in steps when the quota is taken away, also when that is wished while it is counted', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    b.limit(b.root)
    b.limit(dirs[1]!)
    b.limit(top)
    b.ok({ kind: 'quotaDelete', ino: top })
    b.ok({ kind: 'quotaWalked', limit: 2 })
    expect(b.errno(quotaSet(top))).toBe('EBUSY')
    b.count(2)
    expect(b.state.quotas.chain(dirs[1]!).map(({ quota }) => quota)).toEqual([dirs[1], b.root])
    b.ok(quotaSet(top))
    b.ok({ kind: 'quotaWalked', limit: 2 })
    b.ok({ kind: 'quotaDelete', ino: top })
    b.count(2)
    expect(b.usage(top)).toBe(undefined)
    expect(b.usage(b.root)).toMatchObject({ inodes: 26 })
    expect(b.state.quotas.all()).toMatchObject({ count: 2, root: 0 })
  })

  it('leaves a file that is linked from elsewhere to the quota that found it, until it is moved or gone', () => {
    const b = new QuotaBench()
    const { top, dirs } = tree(b)
    const f = b.file('two', dirs[0]!)
    b.ok({ kind: 'link', ino: f, newParent: b.root, newName: 'two' })
    b.limit(top)
    expect(b.usage(top)).toMatchObject({ inodes: 26 })
    const { result } = b.apply(unlink(dirs[0]!, 'two'))
    expect(result).toHaveProperty('ok')
    expect(check(b.state)).toMatchObject([{ severity: 'warning', what: expect.stringContaining(`quota ${top}`) }])
    b.apply({ kind: 'quotaDelete', ino: top })
    while (hasQuotaWork(b.state)) b.apply({ kind: 'quotaWalked', limit: 100 })
    expect(b.usage(top)).toMatchObject({ inodes: 1 })
    b.ok(rename(b.root, 'two', b.root, 'one'))
    expect(b.usage(top)).toBe(undefined)
  })
})

describe('quotas under random commands', () => {
  const first = seedOf()
  let shown = 0
  let walked = 0
  for (let seed = first; seed < first + (Number(process.env.SEEDS) || 8); seed++)
    it(`count everything exactly once, whatever happens while they are counted (seed ${seed})`, () => {
      const below = chance(seed)
      const b = new QuotaBench()
      const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
      const dirs: Ino[] = [b.root]
      const files: Ino[] = []
      const name = (): string => `n${below(6)}`
      const quota = (): object => ({
        inodes: { soft: below(2) * 4, hard: 5 + below(60) },
        length: hard(100 + below(2_000)),
        raw: hard(below(3) * 500),
      })
      let steps = 0
      const job = (): number => pick(b.state.jobs.all().filter(({ record }) => record.phase !== 'over'))?.job ?? 1
      const begin = (): Command => {
        const paths = { sourcePath: '/s', targetPath: '/t' }
        return { kind: 'snapshotBegin', source: pick(dirs), parent: pick(dirs), name: name(), ...paths }
      }
      for (let n = 0; n < 1_500; n++) {
        const ino = b.next()
        const commands: (() => Command)[] = [
          () => make(ino, pick(dirs), name(), 'dir'),
          () => create(ino, pick(dirs), name()),
          () => create(ino, pick(dirs), name()),
          () => unlink(pick(dirs), name(), below(2) === 0 ? [b.writer] : []),
          () => ({ kind: 'rmdir', parent: pick(dirs), name: name() }),
          () => rename(pick(dirs), name(), pick(dirs), name(), { exchange: below(5) === 0 }),
          () => rename(pick(dirs), name(), pick(dirs), name()),
          () => ({ kind: 'link', ino: pick(files), newParent: pick(dirs), newName: name() }),
          () => ({ kind: 'setattr', ino: pick(files), change: { size: below(200) } }),
          () => quotaSet(pick(dirs), quota()),
          () => ({ kind: 'quotaDelete', ino: pick(dirs) }),
          () => ({ kind: 'trashRestore', ino: pick(files), path: undefined, newInos: undefined, name: undefined }),
          () => ({ kind: 'quotaWalked', limit: 1 + below(4) }),
          () => ({ kind: 'quotaWalked', limit: 1 + below(4) }),
          begin,
          () => ({ kind: 'snapshotCopied', job: job(), inodes: 1 + below(4), rows: 1 + below(4) }),
          () => ({ kind: 'snapshotCopied', job: job(), inodes: 1 + below(4), rows: 1 + below(4) }),
          () => ({ kind: 'snapshotShown', job: job() }),
          () => ({ kind: 'jobCleared', job: job(), limit: 1 + below(6), openIn: [] }),
          () => {
            if (below(3) > 0) return { kind: 'jobCleared', job: job(), limit: 1 + below(6), openIn: [] }
            return { kind: 'treeDetached', parent: pick(dirs), name: name(), path: '/x', openIn: [] }
          },
        ]
        if (files.length === 0) files.push(b.file('n0'))
        const command = pick(commands)()
        if (below(6) === 0) b.put(pick(files), below(100), 1 + below(50))
        else {
          if (command.kind === 'quotaWalked' && hasQuotaWork(b.state)) steps++
          const { result } = b.apply(command)
          if ('ok' in result && command.kind === 'make') dirs.push(ino)
          if ('ok' in result && command.kind === 'snapshotShown') {
            shown += 1
            dirs.push(b.state.jobs.get(command.job)!.root as Ino)
          }
          if ('ok' in result && command.kind === 'create' && (result.ok as { created: boolean }).created)
            files.push(ino)
        }
        const errors = check(b.state).filter(({ severity }) => severity === 'error')
        expect(errors, `${n}: ${JSON.stringify(command)}`).toEqual([])
      }
      walked += steps
      const imaging = b.state.imaging()
      if (imaging !== undefined)
        b.apply({ kind: 'jobCancelled', job: imaging.job, errno: undefined, detail: undefined })
      for (const { job } of b.state.jobs.all())
        while (b.state.jobs.get(job)?.phase === 'clearing') b.apply({ kind: 'jobCleared', job, limit: 50, openIn: [] })
      while (hasQuotaWork(b.state)) b.apply({ kind: 'quotaWalked', limit: 3 })
      // Now that nothing is under way: each directory counts in the nearest quota at or above it, and all is counted.
      const quotaAt = (ino: Ino): Ino | 0 => {
        const phase = b.state.quotas.get(ino)?.phase
        if (phase !== undefined && phase !== 'gone') return ino
        return ino === b.root ? 0 : quotaAt(b.state.inode(ino)!.parent)
      }
      for (const dir of dirs) {
        const record = b.state.inode(dir)
        if (record !== undefined) expect([dir, record.quota]).toEqual([dir, quotaAt(dir)])
      }
      expect(check(b.state).filter(({ severity }) => severity === 'error')).toEqual([])
    })

  it('have made snapshots that came to their end meanwhile, and have been counted in many steps', () => {
    expect(shown).toBeGreaterThan(0)
    expect(walked).toBeGreaterThan(100)
  })
})

describe('the check', () => {
  const found = (damage: (b: QuotaBench, d: Ino, sub: Ino) => void): string[] => {
    const b = new QuotaBench()
    const d = b.dir('d')
    const sub = b.dir('sub', d)
    b.limit(d)
    transact(b.store, b.state, () => damage(b, d, sub))
    return check(b.state).map(({ what }) => what)
  }
  it('finds usage that is wrong, a directory that counts elsewhere, a quota that is not there, and one that nobody counts', () => {
    const quota = (b: QuotaBench, d: Ino) => b.state.quotas.get(d)!
    expect(
      found((b, d) =>
        b.state.quotas.set(d, { ...quota(b, d), usage: { inodes: 3, length: 0, used: 0, classes: undefined } }),
      ),
    ).toEqual(['quota of directory 2: inodes 2 found, not 3'])
    expect(found((b, _, sub) => b.state.setInode(sub, { ...b.state.inode(sub)!, quota: 0 }))).toEqual([
      'directory 3: counts in quota 0, the one above it in 2',
    ])
    expect(found((b, _, sub) => b.state.setInode(sub, { ...b.state.inode(sub)!, quota: 77 as Ino }))[0]).toBe(
      'inode 3: counts in quota 77, which does not exist',
    )
    expect(found((b, d) => b.state.quotas.set(d, { ...quota(b, d), phase: 'counting' }))).toEqual([
      'quota of directory 2: nobody counts it',
    ])
    expect(found((b) => b.state.quotas.setAll({ count: 5 }))).toEqual(['quotas: 1 found, not 5'])
    expect(found((b, d) => b.state.quotas.setPending(d, 0))).toEqual(['directory 2: has not passed, or needs not'])
    expect(found((b, _, sub) => b.state.quotas.setWaiting(sub, true))).toEqual([
      'directory 3: waits for a quota that it has not',
    ])
  })
})
