import { describe, expect, test } from 'vitest'
import { diskId, nodeId } from '../../src/base/ids.ts'
import { storableBytes } from '../../src/topology/capacity.ts'
import { distance, FULL_BELOW_BYTES, mostPerCopy, NO_LABELS, type PlaceDisk, place } from '../../src/topology/place.ts'
import fc from '../support/properties.ts'

const GiB = 2 ** 30

/** A small deterministic generator: tests name their seed in the failure that fast-check prints. */
function dice(seed: number): (n: number) => number {
  let state = seed >>> 0
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

const disk = (number: number, node: number, rest: Partial<PlaceDisk> = {}): PlaceDisk => ({
  disk: diskId(number),
  node: nodeId(node),
  location: { host: `host-${node}` },
  usable: true,
  availableBytes: 100 * GiB,
  full: false,
  reservedBytes: 0,
  writing: 0,
  labels: NO_LABELS,
  ...rest,
})

const anyDisk = fc.record({
  node: fc.integer({ min: 1, max: 5 }),
  usable: fc.boolean(),
  availableBytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1000 * GiB })),
  writing: fc.integer({ min: 0, max: 20 }),
})
const anyDisks = fc
  .array(anyDisk, { maxLength: 12 })
  .map((all) => all.map(({ node, ...rest }, i) => disk(i + 1, node, rest)))

describe('placing the copies of a chunk', () => {
  test('copies never share a chunkserver, a chosen disk is usable and has room, and what is missing is said', () => {
    fc.assert(
      fc.property(anyDisks, fc.integer({ min: 1, max: 4 }), fc.nat(), (disks, copies, seed) => {
        const result = place(disks, { copies, bytes: 64 * 2 ** 20, room: 'some' }, dice(seed))
        const chosen = result.disks.map((id) => disks.find((d) => d.disk === id)!)
        expect(new Set(chosen.map((d) => d.node)).size).toBe(chosen.length)
        expect(chosen.every((d) => d.usable && d.availableBytes >= FULL_BELOW_BYTES)).toBe(true)
        const possible = new Set(
          disks.filter((d) => d.usable && d.availableBytes >= FULL_BELOW_BYTES).map((d) => d.node),
        ).size
        expect(chosen.length).toBe(Math.min(copies, possible))
        expect(result.missing).toBe(copies - chosen.length)
        expect(result.shortOf === 'nothing').toBe(result.missing === 0)
      }),
    )
  })

  test('what is to be avoided is avoided', () => {
    const disks = [disk(1, 1), disk(2, 1), disk(3, 2), disk(4, 3)]
    const wish = {
      copies: 3,
      bytes: GiB,
      room: 'some' as const,
      avoidDisks: new Set([diskId(4)]),
      avoidNodes: new Set([nodeId(1)]),
    }
    expect(place(disks, wish, dice(1))).toEqual({ disks: [3], missing: 2, shortOf: 'servers' })
  })

  test('a copy goes only where all of it fits, and into what is kept aside only when it may, one at a time', () => {
    const MiB = 2 ** 20
    const full = { usable: false, full: true, availableBytes: 0, reservedBytes: 64 * MiB }
    const on = (disks: PlaceDisk[], bytes: number, room: 'some' | 'all' | 'reserve') =>
      place(disks, { copies: 2, bytes, room }, dice(1)).disks
    const low = disk(1, 1, { availableBytes: 10 * MiB, reservedBytes: 64 * MiB })
    expect(on([low], 20 * MiB, 'some')).toEqual([1])
    expect(on([low], 20 * MiB, 'all')).toEqual([])
    expect(on([low], 20 * MiB, 'reserve')).toEqual([1])
    expect(on([disk(1, 1, full)], 20 * MiB, 'all')).toEqual([])
    expect(on([disk(1, 1, full), low, disk(3, 3)], 60 * MiB, 'reserve')[0]).toBe(3)
    expect(on([disk(1, 1, full)], 64 * MiB, 'reserve')).toEqual([])
    expect(on([disk(1, 1, { ...full, writing: 1 })], MiB, 'reserve')).toEqual([])
  })

  test('what fits into every copy is found from the room of the chunkservers, not of the disks', () => {
    const of = (number: number, node: number, availableBytes: number) => disk(number, node, { availableBytes })
    const disks = [of(1, 1, 50 * 2 ** 20), of(2, 1, 40 * 2 ** 20), of(3, 2, 30 * 2 ** 20)]
    const most = mostPerCopy(disks, 2)
    expect(most).toBeGreaterThan(29 * 2 ** 20)
    expect(most).toBeLessThan(30 * 2 ** 20)
    expect(mostPerCopy(disks, 3)).toBe(most)
    expect(mostPerCopy([], 2)).toBe(0)
    expect(place(disks, { copies: 2, bytes: most, room: 'reserve' }, dice(1)).missing).toBe(0)
    expect(place(disks, { copies: 2, bytes: most + 1, room: 'reserve' }, dice(1)).missing).toBe(1)
  })

  test('the first copy is on the host of the writer', () => {
    const disks = [disk(1, 1), disk(2, 2), disk(3, 3)]
    for (let seed = 0; seed < 50; seed++) {
      const { disks: chosen } = place(
        disks,
        { copies: 2, bytes: GiB, room: 'some', near: { host: 'host-2' } },
        dice(seed),
      )
      expect(chosen[0]).toBe(2)
    }
  })

  test('a full disk near the writer is passed over for one with room', () => {
    const disks = [disk(1, 1, { availableBytes: 10 * 2 ** 20 }), disk(2, 2)]
    const wish = { copies: 1, bytes: 64 * 2 ** 20, room: 'some' as const, near: { host: 'host-1' } }
    expect(place(disks, wish, dice(3)).disks).toEqual([2])
  })

  test('lack of room and lack of chunkservers are told apart', () => {
    expect(place([disk(1, 1, { availableBytes: 100 })], { copies: 1, bytes: 1, room: 'some' }, dice(1)).shortOf).toBe(
      'space',
    )
    expect(place([], { copies: 1, bytes: 1, room: 'some' }, dice(1)).shortOf).toBe('servers')
  })

  test('disks of unlike size get new chunks in proportion to their room', () => {
    const disks = [disk(1, 1, { availableBytes: 100 * GiB }), disk(2, 2, { availableBytes: 300 * GiB })]
    const below = dice(42)
    let large = 0
    for (let i = 0; i < 4000; i++)
      if (place(disks, { copies: 1, bytes: 1, room: 'some' }, below).disks[0] === 2) large++
    expect(large / 4000).toBeGreaterThan(0.7)
    expect(large / 4000).toBeLessThan(0.8)
  })

  test('distance grows from host over rack and site', () => {
    const here = { host: 'a', rack: 'r', site: 's' }
    expect(distance(here, { host: 'a', rack: 'x', site: 'y' })).toBe(0)
    expect(distance(here, { host: 'b', rack: 'r', site: 's' })).toBe(1)
    expect(distance(here, { host: 'b', rack: 'x', site: 's' })).toBe(2)
    expect(distance(here, { host: 'b', rack: 'r', site: 'y' })).toBe(3)
  })
})

describe('what can be stored at a number of copies', () => {
  test('is bounded by what the other servers can hold of the copies', () => {
    expect(storableBytes([100, 100, 100], 2)).toBe(150)
    expect(storableBytes([1000, 100, 100], 2)).toBe(200)
    expect(storableBytes([1000, 10], 2)).toBe(10)
    expect(storableBytes([5, 5], 3)).toBe(5)
    expect(storableBytes([], 2)).toBe(0)
  })

  test('agrees with filling the servers greedily, one unit at a time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 4 }),
        (sizes, copies) => {
          const present = sizes.filter((size) => size > 0)
          const kept = Math.min(copies, present.length)
          const left = [...present]
          let units = 0
          // The fullest-first rule is optimal: it never leaves room on one server that has no partner.
          for (;;) {
            const order = left.map((_, i) => i).sort((a, b) => left[b]! - left[a]!)
            const use = order.slice(0, kept)
            if (kept === 0 || use.some((i) => left[i]! === 0)) break
            for (const i of use) left[i]!--
            units++
          }
          expect(Math.abs(storableBytes(sizes, copies) - units)).toBeLessThan(1)
        },
      ),
    )
  })
})
