import { describe, expect, it } from 'vitest'
import type { Attr } from '../../src/base/attr.ts'
import type { Ino } from '../../src/base/ids.ts'
import { Generations } from '../../src/client/core/generations.ts'
import { TreeCache } from '../../src/client/core/tree-cache.ts'

const dir = 1 as Ino
const attrOf = (ino: number, version: number) => ({ ino: ino as Ino, version }) as Attr

describe('the tree cache', () => {
  it('knows that a name is missing from a directory made here, until somebody else touches it', () => {
    const tree = new TreeCache()
    expect(tree.name(dir, 'a')).toBe(undefined)
    tree.madeDirectory(dir)
    expect(tree.name(dir, 'a')).toBe(0)
    tree.setName(dir, 'a', 7)
    expect(tree.name(dir, 'a')).toBe(7)
    tree.setName(dir, 'a', 0)
    expect(tree.name(dir, 'a')).toBe(0)
    tree.forgetName(dir, 'b')
    expect(tree.name(dir, 'b')).toBe(undefined)
    expect(tree.name(dir, 'zzz')).toBe(undefined)
  })

  it('learns nothing of what was pushed a moment ago from answers that may be older', () => {
    const tree = new TreeCache()
    tree.madeDirectory(dir)
    tree.setName(dir, 'a', 7)
    tree.overtake(dir)
    tree.overtake(7 as Ino)
    tree.setName(dir, 'a', 0)
    expect(tree.name(dir, 'a')).toBe(undefined)
    tree.learn(attrOf(7, 1))
    tree.learnListing(dir, [])
    tree.madeDirectory(dir)
    expect(tree.attr(7 as Ino)).toBe(undefined)
    expect(tree.name(dir, 'b')).toBe(undefined)
    tree.tookIn()
    tree.learn(attrOf(7, 2))
    tree.learnListing(dir, [])
    expect(tree.attr(7 as Ino)!.version).toBe(2)
    expect(tree.name(dir, 'b')).toBe(0)
  })

  it('remembers a missing name in a directory of which not all names are known', () => {
    const tree = new TreeCache()
    tree.setName(dir, 'a', 0)
    expect(tree.name(dir, 'a')).toBe(0)
    expect(tree.name(dir, 'b')).toBe(undefined)
  })

  it('knows what ".." is for as long as the name stands for the directory', () => {
    const tree = new TreeCache()
    expect(tree.parent(9 as Ino)).toBe(undefined)
    tree.setDirectory(dir, 'sub', 9 as Ino)
    expect(tree.parent(9 as Ino)).toBe(dir)
    tree.forgetName(dir, 'sub')
    expect(tree.parent(9 as Ino)).toBe(undefined)
    tree.setDirectory(dir, 'moved', 9 as Ino)
    expect(tree.parent(9 as Ino)).toBe(dir)
    tree.setName(dir, 'moved', 0)
    expect(tree.parent(9 as Ino)).toBe(undefined)
  })

  it('gives up a listing as soon as a name of it changes', () => {
    const tree = new TreeCache()
    tree.learnListing(dir, [{ name: 'a', cookie: 5, ino: 9 as Ino }])
    expect(tree.listing(dir)).toHaveLength(1)
    tree.setName(dir, 'a', 9)
    expect(tree.listing(dir)).toHaveLength(1)
    tree.setName(dir, 'b', 10)
    expect(tree.listing(dir)).toBe(undefined)
    expect(tree.name(dir, 'c')).toBe(0)
  })

  it('does not let an older answer replace newer attributes', () => {
    const tree = new TreeCache()
    tree.learn(attrOf(5, 10))
    tree.learn(attrOf(5, 9))
    expect(tree.attr(5 as Ino)?.version).toBe(10)
    tree.forget(5 as Ino)
    tree.learn(attrOf(5, 9))
    expect(tree.attr(5 as Ino)?.version).toBe(9)
  })
})

describe('a generations map', () => {
  it('never holds more than its limit and keeps what is used', () => {
    const map = new Generations<number, number>(100)
    for (let i = 0; i < 1000; i++) {
      map.set(i, i)
      expect(map.get(0)).toBe(0)
    }
    let held = 0
    for (let i = 0; i < 1000; i++) if (map.get(i) !== undefined) held++
    expect(held).toBeLessThanOrEqual(100)
    expect(map.get(999)).toBe(999)
    expect(map.get(500)).toBe(undefined)
  })
})
