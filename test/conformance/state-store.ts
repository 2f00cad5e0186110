/*
 * What every StateStore must do, as one suite over a factory.
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { StateStore } from '../../src/master/core/kv.ts'
import { chance } from '../master/core/support.ts'

export interface StoreFactory {
  readonly name: string
  make(): { store: StateStore; end(): Promise<void> }
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1')

export function describeStateStore({ name, make }: StoreFactory): void {
  describe(`${name} as a state store`, () => {
    let store: StateStore
    let end: () => Promise<void>
    beforeEach(() => {
      ;({ store, end } = make())
    })
    afterEach(() => end())

    const put = (...pairs: [string, string][]) =>
      store.transaction(() => {
        for (const [key, value] of pairs) store.put(key, bytes(value))
      })
    const walk = (from: string, to: string, reverse = false): string[] => {
      const seen: string[] = []
      store.scan({ from, to, reverse }, (key, value) => {
        seen.push(`${key}=${text(value)}`)
        return true
      })
      return seen
    }

    it('answers what was put, in the same transaction and after it', () => {
      store.transaction(() => {
        store.put('xa', bytes('1'))
        expect(text(store.get('xa'))).toBe('1')
        store.put('xa', bytes('2'))
        expect(text(store.get('xa'))).toBe('2')
      })
      expect(text(store.get('xa'))).toBe('2')
      expect(store.get('xb')).toBeUndefined()
    })

    it('keeps empty values apart from no value, and every byte of keys and values', () => {
      const every = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i))
      put(['x', ''], [`x${every}`, every], [`x${'\xff'.repeat(600)}`, 'long'])
      expect(store.get('x')).toHaveLength(0)
      expect(text(store.get(`x${every}`))).toBe(every)
      expect(walk('x\xff', 'y')).toEqual([`x${'\xff'.repeat(600)}=long`])
    })

    it('says whether a deleted key was there, and forgets it', () => {
      put(['xa', '1'])
      store.transaction(() => {
        expect(store.delete('xa')).toBe(true)
        expect(store.delete('xa')).toBe(false)
        expect(store.get('xa')).toBeUndefined()
      })
      expect(walk('x', 'y')).toEqual([])
    })

    it('walks in byte order, forwards and backwards, from inclusive to exclusive, until told to stop', () => {
      put(['xb', '2'], ['xa', '1'], ['xa\0', '1.5'], ['xc', '3'], ['x\xff', '4'])
      expect(walk('xa', 'xc')).toEqual(['xa=1', 'xa\0=1.5', 'xb=2'])
      expect(walk('xa', 'xc', true)).toEqual(['xb=2', 'xa\0=1.5', 'xa=1'])
      expect(walk('xb', 'y')).toEqual(['xb=2', 'xc=3', 'x\xff=4'])
      let visits = 0
      store.scan({ from: 'x', to: 'y' }, () => ++visits < 2)
      expect(visits).toBe(2)
    })

    it('walks over several tables in byte order', () => {
      put(['i1', 'i'], ['c1', 'c'], ['h1', 'h'], ['z1', 'z'], ['a1', 'a'], ['r1', 'r'])
      expect(walk('a', 'zz')).toEqual(['a1=a', 'c1=c', 'h1=h', 'i1=i', 'r1=r', 'z1=z'])
      expect(walk('a', 'zz', true)).toEqual(['z1=z', 'r1=r', 'i1=i', 'h1=h', 'c1=c', 'a1=a'])
    })

    it('takes everything of a transaction back when it throws', async () => {
      put(['xa', '1'], ['xb', '2'])
      await store.committed()
      expect(() =>
        store.transaction(() => {
          store.put('xa', bytes('changed'))
          store.delete('xb')
          store.put('xc', bytes('new'))
          throw new Error('no')
        }),
      ).toThrow('no')
      expect(walk('x', 'y')).toEqual(['xa=1', 'xb=2'])
    })

    it('refuses changes outside a transaction', () => {
      expect(() => store.put('xa', bytes('1'))).toThrow()
      expect(() => store.delete('xa')).toThrow()
    })

    it('agrees with a plain object over many random changes, whatever has been committed or flushed in between', async () => {
      const seed = Date.now() % 1_000_000
      const below = chance(seed)
      const model = new Map<string, string>()
      for (let round = 0; round < 60; round++) {
        store.transaction(() => {
          for (let n = 0; n < 40; n++) {
            const key = `${'xie'[below(3)]}${below(200)}`
            if (below(3) === 0) {
              expect(store.delete(key), `seed ${seed}`).toBe(model.delete(key))
            } else {
              const value = `${round}-${n}-${'v'.repeat(below(300))}`
              store.put(key, bytes(value))
              model.set(key, value)
            }
          }
        })
        if (below(4) === 0) await (below(2) === 0 ? store.committed() : store.flushed())
        if (below(3) === 0) await new Promise((resolve) => setImmediate(resolve))
        const rows = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
        expect(walk('a', 'z'), `seed ${seed}`).toEqual(rows)
        expect(walk('a', 'z', true), `seed ${seed}`).toEqual(rows.reverse())
        for (let i = 0; i < 200; i += 17)
          for (const table of 'xie')
            expect(text(store.get(`${table}${i}`)), `seed ${seed}`).toBe(model.get(`${table}${i}`))
      }
    })
  })
}
