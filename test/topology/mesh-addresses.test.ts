import { describe, expect, test } from 'vitest'
import {
  allot,
  belongsTo,
  choosePrefix,
  isBuried,
  type Lease,
  overlapWith,
  TOMBSTONE_S,
  type Tombstone,
} from '../../src/topology/mesh-addresses.ts'
import fc from '../support/properties.ts'

const PREFIX = '10.77.0.0/16'
const given = (leases: Lease[], tombstones: Tombstone[], node: string, nowS = 0): string => {
  const result = allot(PREFIX, leases, tombstones, node, nowS)
  if (!('ok' in result)) throw new Error(result.detail)
  return result.ok
}

describe('the address registry', () => {
  test('gives the lowest free address and leaves out those that end in 0 or 255', () => {
    expect(given([], [], 'a')).toBe('10.77.0.1')
    expect(given([{ node: 'a', ip: '10.77.0.1' }], [], 'b')).toBe('10.77.0.2')
    const first = Array.from({ length: 254 }, (_, i) => ({ node: `n${i}`, ip: `10.77.0.${i + 1}` }))
    expect(given(first, [], 'x')).toBe('10.77.1.1')
    expect(given(first.slice(1), [], 'x')).toBe('10.77.0.1')
  })

  test('gives a node the one it has', () => {
    expect(given([{ node: 'a', ip: '10.77.9.9' }], [], 'a')).toBe('10.77.9.9')
  })

  test('keeps what a removed node leaves for a day', () => {
    const tombstone = { ip: '10.77.0.1', removedAt: 1000 }
    expect(given([], [tombstone], 'a', 1000 + TOMBSTONE_S - 1)).toBe('10.77.0.2')
    expect(given([], [tombstone], 'a', 1000 + TOMBSTONE_S)).toBe('10.77.0.1')
    expect(isBuried(tombstone, 0)).toBe(true)
  })

  test('says when there is none left', () => {
    const all = Array.from({ length: 65_534 }, (_, i) => i + 1)
      .filter((host) => host % 256 !== 0 && host % 256 !== 255)
      .map((host) => ({ node: `n${host}`, ip: `10.77.${host >> 8}.${host & 255}` }))
    expect(all).toHaveLength(256 * 254)
    expect(allot(PREFIX, all, [], 'x', 0)).toMatchObject({ errno: 'ENOSPC' })
  })

  test('never gives one address twice, nor one of a removed node within a day, whatever happens', () => {
    const step = fc.record({
      node: fc.integer({ min: 0, max: 12 }),
      remove: fc.boolean(),
      waitS: fc.constantFrom(0, 3600, TOMBSTONE_S),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const leases = new Map<string, string>()
        const tombstones: Tombstone[] = []
        let now = 0
        for (const { node, remove, waitS } of steps) {
          now += waitS
          const name = `n${node}`
          if (remove) {
            const ip = leases.get(name)
            if (ip !== undefined) tombstones.push({ ip, removedAt: now })
            leases.delete(name)
            continue
          }
          const had = leases.get(name)
          const ip = given(
            [...leases].map(([of, at]) => ({ node: of, ip: at })),
            tombstones,
            name,
            now,
          )
          if (had !== undefined) expect(ip).toBe(had)
          else {
            expect([...leases.values()]).not.toContain(ip)
            expect(tombstones.filter((t) => t.ip === ip && now < t.removedAt + TOMBSTONE_S)).toEqual([])
          }
          expect(belongsTo(PREFIX, ip)).toBe(true)
          leases.set(name, ip)
        }
      }),
    )
  })

  test.each([['10.77.0.0/15'], ['10.77.1.0/16'], ['fd00::/16'], [''], ['10.77.0.0']])(
    '%j is no network of a mesh',
    (p) =>
      expect(allot(p, [], [], 'a', 0)).toEqual({ errno: 'EINVAL', detail: `mesh network "${p}": expected A.B.0.0/16` }),
  )

  test('knows which addresses belong to it', () => {
    expect(['10.77.0.1', '10.77.255.254'].map((ip) => belongsTo(PREFIX, ip))).toEqual([true, true])
    expect(
      ['10.77.0.0', '10.77.3.0', '10.77.255.255', '10.78.0.1', '::1', 'x'].some((ip) => belongsTo(PREFIX, ip)),
    ).toBe(false)
  })
})

describe('a network beside the routes of a machine', () => {
  test.each([
    ['default', true],
    ['10.0.0.0/8', true],
    ['192.168.1.0/24', true],
    ['fd00::/8', true],
    ['10.76.0.0/15', true],
    ['10.77.0.0/16', false],
    ['10.77.3.0/24', false],
    ['10.77.9.9', false],
  ])('a route to %s: usable %s', (route, usable) => expect('ok' in overlapWith(PREFIX, [route])).toBe(usable))

  test('says which route is in the way', () => {
    expect(overlapWith(PREFIX, ['10.0.0.0/8', '10.77.3.0/24'])).toEqual({
      errno: 'EEXIST',
      detail: "the mesh's network 10.77.0.0/16 overlaps the route to 10.77.3.0/24 that this machine has",
    })
  })

  test('is chosen among the free ones', () => {
    expect(choosePrefix([], (n) => n - 1)).toEqual({ ok: '10.127.0.0/16' })
    expect(choosePrefix(['10.64.5.0/24'], () => 0)).toEqual({ ok: '10.65.0.0/16' })
    const all = Array.from({ length: 64 }, (_, i) => `10.${64 + i}.1.0/24`)
    expect(choosePrefix(all, () => 0)).toMatchObject({ errno: 'EEXIST' })
  })
})
