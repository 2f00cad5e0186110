import { expect, test } from 'vitest'
import { evenly, Lanes, type Load, type Paid, repaced } from '../../../src/master/core/lanes.ts'
import type { RepairDisk } from '../../../src/master/core/repair.ts'
import fc from '../../support/properties.ts'
import { repairDisk } from '../../support/repair-disk.ts'

const MiB = 2 ** 20
const disk = (number: number, node: number, site?: string): RepairDisk => {
  const host = `h${node}`
  return repairDisk(number, node, { location: site === undefined ? { host } : { host, site } })
}
const copy = (from: RepairDisk, to: RepairDisk, bytes: number, urgent = false): Load => ({
  ...{ reads: evenly([from], bytes), writes: evenly([to], bytes), via: to, pacedBytes: bytes, urgent },
})
const rates = (disk: number, node: number, sites: number) => ({
  ...{ diskBytesPerSecond: disk, nodeBytesPerSecond: node },
  betweenSites: () => (sites === 0 ? Number.POSITIVE_INFINITY : sites),
})

test('without a bound everything goes at once, as fast as it goes', () => {
  const lanes = new Lanes()
  for (let i = 0; i < 100; i++)
    expect(lanes.admit(copy(disk(1, 1), disk(2, 2), MiB), rates(0, 0, 0), 0)).toMatchObject({ bytesPerSecond: 0 })
})

test('the slowest of what it uses gives the pace, and names what the next one waits for', () => {
  const lanes = new Lanes()
  const between = copy(disk(1, 1, 'A'), disk(2, 2, 'B'), 10 * MiB)
  expect(lanes.admit(between, rates(5 * MiB, 4 * MiB, 2 * MiB), 0)).toMatchObject({ bytesPerSecond: 2 * MiB })
  const others = copy(disk(3, 3, 'B'), disk(4, 4, 'A'), MiB)
  expect(lanes.admit(others, rates(5 * MiB, 4 * MiB, 2 * MiB), 1_000)).toEqual({
    waitsFor: 'sites A and B',
    waitMs: 4_000,
    crossing: { pair: { a: 'A', b: 'B' }, bytes: MiB, rate: 2 * MiB },
  })
  const within = copy(disk(1, 1, 'A'), disk(5, 5, 'A'), MiB)
  expect(lanes.admit(within, rates(5 * MiB, 4 * MiB, 2 * MiB), 1_000)).toEqual({ waitsFor: 'disk 1', waitMs: 1_000 })
  expect(lanes.admit(others, rates(5 * MiB, 4 * MiB, 2 * MiB), 5_000)).toMatchObject({ bytesPerSecond: 2 * MiB })
})

test('what is endangered waits only for its like, and the rest waits for both', () => {
  const lanes = new Lanes()
  const of = (urgent: boolean, nowMs: number) =>
    lanes.admit(copy(disk(1, 1), disk(2, 2), 10 * MiB, urgent), rates(MiB, 0, 0), nowMs)
  expect(of(false, 0)).toMatchObject({ bytesPerSecond: MiB })
  expect(of(true, 1_000)).toMatchObject({ bytesPerSecond: MiB })
  expect(of(true, 2_000)).toMatchObject({ waitMs: 9_000 })
  expect(of(false, 11_000)).toMatchObject({ waitMs: 9_000 })
  expect(of(false, 20_000)).toMatchObject({ bytesPerSecond: MiB })
})

test('what an order that ends early cannot have used is given back, also to those that wait for it', () => {
  const lanes = new Lanes()
  const load = (urgent: boolean) => copy(disk(1, 1), disk(2, 2), 10 * MiB, urgent)
  const bounds = rates(MiB, 0, 0)
  for (const urgent of [true, false]) {
    const beganMs = urgent ? 0 : 100_000
    const paid = lanes.admit(load(urgent), bounds, beganMs) as Paid
    expect(lanes.admit(load(urgent), bounds, beganMs + 2_000)).toMatchObject({ waitMs: 8_000 })
    lanes.ended(paid, beganMs + 2_000)
    // What may have gone at once at the beginning counts.
    expect(lanes.admit(load(urgent), bounds, beganMs + 2_000)).toMatchObject({ waitMs: 250 })
    const next = lanes.admit(load(urgent), bounds, beganMs + 2_250) as Paid
    lanes.ended(next, beganMs + 20_000)
    expect(lanes.admit(load(urgent), bounds, beganMs + 12_000)).toMatchObject({ waitMs: 250 })
  }
})

test('what is collected at several places and written to several crosses between sites where it is carried out', () => {
  const lanes = new Lanes()
  const [near, far, other] = [disk(1, 1, 'A'), disk(2, 2, 'B'), disk(3, 3, 'A')]
  const load: Load = {
    reads: [
      { disk: far, bytes: 3 * MiB },
      { disk: other, bytes: 5 * MiB },
    ],
    ...{ writes: evenly([near, far], MiB), via: near, pacedBytes: 8 * MiB, urgent: false },
  }
  // 3 MiB come from there, one goes there.
  expect(lanes.admit(load, rates(0, 0, MiB), 0)).toMatchObject({ bytesPerSecond: 2 * MiB })
  expect(lanes.admit(load, rates(0, 0, MiB), 1_000)).toMatchObject({ waitsFor: 'sites A and B', waitMs: 3_000 })
  expect(lanes.admit(load, rates(MiB, 0, 0), 1_000)).toMatchObject({ bytesPerSecond: Math.floor((8 * MiB) / 5) })
})

test('between two sites where nothing goes nothing is admitted, urgent or not, and all else is', () => {
  const lanes = new Lanes()
  const shut = { ...rates(0, 0, 0), betweenSites: (a: string, b: string) => (a === 'A' && b === 'B' ? 0 : MiB) }
  for (const urgent of [true, false])
    expect(lanes.admit(copy(disk(1, 1, 'B'), disk(2, 2, 'A'), 5, urgent), shut, 0)).toMatchObject({
      waitsFor: 'sites A and B',
      crossing: { pair: { a: 'A', b: 'B' }, bytes: 5, rate: 0 },
    })
  expect(lanes.admit(copy(disk(1, 1, 'C'), disk(2, 2, 'A'), MiB), shut, 0)).toMatchObject({ bytesPerSecond: MiB })
  expect(lanes.admit(copy(disk(1, 1, 'A'), disk(2, 2, 'A'), MiB), shut, 0)).toMatchObject({ bytesPerSecond: 0 })
})

test('orders under way share another rate by what each has left, and pay for no more than that', () => {
  const lanes = new Lanes()
  const between = copy(disk(1, 1, 'A'), disk(2, 2, 'B'), 40 * MiB)
  const old = rates(0, 0, 4 * MiB)
  const first = lanes.admit(between, old, 0) as Paid
  const second = lanes.admit({ ...between, urgent: true }, old, 5_000) as Paid
  expect([first.bytesPerSecond, second.bytesPerSecond]).toEqual([4 * MiB, 4 * MiB])
  // 20 MiB and 40 MiB are left.
  const [a, b] = [first, second].map((one) => repaced(one, rates(0, 0, 2 * MiB), [first, second], 5_000))
  expect([a!.forMs, b!.forMs]).toEqual([30_000, 30_000])
  expect(a!.bytesPerSecond + b!.bytesPerSecond).toBe(2 * MiB - 1)
  lanes.paced(first, a!)
  lanes.paced(second, b!)
  expect(lanes.admit(between, rates(0, 0, 2 * MiB), 10_000)).toMatchObject({ waitMs: 25_000 })
  lanes.ended(a!, 35_000)
  lanes.ended(b!, 35_000)
  expect(lanes.admit(between, rates(0, 0, 2 * MiB), 35_000)).toMatchObject({ bytesPerSecond: 2 * MiB })
})

test('an order that takes longer than it has paid for still has a pace, at whatever rate may go', () => {
  const lanes = new Lanes()
  const order = lanes.admit(copy(disk(1, 1, 'A'), disk(2, 2, 'B'), 40 * MiB), rates(0, 0, 4 * MiB), 0) as Paid
  for (const [rate, atMs] of [
    [2 * MiB, 10_000],
    [MiB, 500_000],
  ] as const) {
    const after = repaced(order, rates(0, 0, rate), [order], atMs)
    expect(after.bytesPerSecond).toBe(rate)
    expect(after.forMs).toBeGreaterThan(0)
  }
})

test('whatever is asked for: over any time a lane lets through its rate, and one order more of either kind', () => {
  const orders = fc.array(
    fc.record({
      from: fc.integer({ min: 1, max: 3 }),
      to: fc.integer({ min: 4, max: 6 }),
      bytes: fc.integer({ min: 1, max: 64 * MiB }),
      urgent: fc.boolean(),
      afterMs: fc.integer({ min: 0, max: 5_000 }),
    }),
    { maxLength: 200 },
  )
  fc.assert(
    fc.property(orders, (list) => {
      const lanes = new Lanes()
      const through = new Map<number, number>()
      const largest = new Map<number, number>()
      let nowMs = 0
      for (const { from, to, bytes, urgent, afterMs } of list) {
        nowMs += afterMs
        const load = copy(disk(from, from), disk(to, to), bytes, urgent)
        if (!('bytesPerSecond' in lanes.admit(load, rates(4 * MiB, 0, 0), nowMs))) continue
        for (const one of [from, to]) {
          through.set(one, (through.get(one) ?? 0) + bytes)
          largest.set(one, Math.max(largest.get(one) ?? 0, bytes))
          const slack = 0.2 * 4 * MiB
          expect(through.get(one)! - 2 * largest.get(one)!).toBeLessThanOrEqual(4 * MiB * (nowMs / 1000) + slack)
        }
      }
    }),
    { numRuns: 200, seed: 20261121 },
  )
})
