import { describe, expect, test } from 'vitest'
import {
  interfaceMtu,
  MTU_LADDER,
  MTU_MIN,
  type MtuState,
  newMtu,
  nextEcho,
  onEcho,
  onNewWay,
  onTick,
  REPROBE_MS,
} from '../../../src/mesh/core/mtu.ts'
import fc from '../../support/properties.ts'

/** Echoes over a way that lets through packets of at most `limit`. */
function run(state: MtuState, limit: number, echoes: number, nowMs = 0): MtuState {
  for (let i = 0; i < echoes; i++) {
    const size = nextEcho(state)
    state = onEcho(state, size, size <= limit, true, nowMs)
  }
  return state
}

describe('the size of packets to a peer', () => {
  test('begins with what passes everywhere and climbs to the top in six echoes', () => {
    expect(newMtu().mtu).toBe(MTU_MIN)
    expect(run(newMtu(), 9000, 6).mtu).toBe(1420)
  })

  test('ends at the largest step that passes, whatever the limit of the way', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1280, max: 1500 }), fc.integer({ min: 1280, max: 1600 }), (limit, link) => {
        const state = run(newMtu(link), limit, 12)
        const top = interfaceMtu(link)
        expect(state.mtu).toBe(MTU_LADDER.findLast((step) => step <= limit && step <= top))
        expect(state.testing).toBeUndefined()
      }),
    )
  })

  test('takes three lost echoes for a sign, fewer for chance', () => {
    let state = newMtu()
    for (const answered of [false, false, true]) state = onEcho(state, 1328, answered, true, 0)
    expect(state).toMatchObject({ mtu: 1328, testing: 1360, lost: 0 })
  })

  test('learns nothing while the peer is away', () => {
    let state = run(newMtu(), 9000, 6)
    for (let i = 0; i < 50; i++) state = onEcho(state, nextEcho(state), false, false, 0)
    expect(state.mtu).toBe(1420)
  })

  test('goes down at once when the way has become smaller, and up again after an hour', () => {
    let state = run(newMtu(), 9000, 6)
    state = run(state, 1400, 3, 1000)
    expect(state.mtu).toBe(1408)
    state = run(state, 1400, 3, 2000)
    expect(state).toMatchObject({ mtu: 1392, testing: undefined })
    expect(run(state, 1400, 20, 3000).mtu).toBe(1392)
    state = onTick(state, 2000 + REPROBE_MS)
    expect(state.testing).toBe(1408)
    expect(run(state, 9000, 2, 0).mtu).toBe(1420)
  })

  test('does not ask again before the hour is over', () => {
    const state = run(newMtu(), 1300, 3, 5000)
    expect(onTick(state, 5000 + REPROBE_MS - 1).testing).toBeUndefined()
    expect(onTick(state, 5000 + REPROBE_MS).testing).toBe(1328)
  })

  test('begins anew on another way, and when a connection stalls', () => {
    const state = run(newMtu(), 9000, 6)
    expect(onNewWay(state)).toMatchObject({ mtu: MTU_MIN, testing: 1328 })
    expect(onTick(state, 1, { stalled: true })).toMatchObject({ mtu: MTU_MIN, testing: 1328 })
  })

  test('never leaves the ladder', () => {
    const step = fc.record({
      size: fc.constantFrom(...MTU_LADDER, undefined),
      answered: fc.boolean(),
      alive: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(1500, 1450, 1280), (steps, link) => {
        let state = newMtu(link)
        for (const [i, { size, answered, alive }] of steps.entries()) {
          state = onEcho(state, size ?? nextEcho(state), answered, alive, i * 1e6)
          state = onTick(state, i * 1e6)
          expect(MTU_LADDER).toContain(state.mtu)
          expect(state.mtu).toBeLessThanOrEqual(state.top)
          if (state.testing !== undefined) expect(state.testing).toBeGreaterThan(state.mtu)
        }
      }),
    )
  })
})

test('the interface leaves room for what WireGuard adds', () => {
  expect([1500, 1450, 9000, 1300].map(interfaceMtu)).toEqual([1420, 1370, 1420, 1280])
})
