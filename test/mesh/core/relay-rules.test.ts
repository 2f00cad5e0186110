import { describe, expect, test } from 'vitest'
import {
  admit,
  chooseRelay,
  FORGET_MS,
  freeSlot,
  newSlot,
  type Packet,
  relayPort,
  type Side,
  type SlotState,
  withEnds,
} from '../../../src/mesh/core/relay-rules.ts'
import fc from '../../support/properties.ts'

const A = '203.0.113.1'
const B = '203.0.113.2'
const at = (...addresses: string[]) => ({ addresses })
const packet = (address: string, port: number, type = 1, length = [0, 148, 92, 64, 96][type]!): Packet => ({
  from: { address, port },
  length,
  head: [type, 0, 0, 0],
})
/** Plays packets and says what became of each: the port it went to, or why it did not. */
function played(
  script: readonly (readonly [number, Side, Packet])[],
  slot = newSlot(at(A), at(B), 0),
): (number | string)[] {
  let state: SlotState = slot
  return script.map(([at, side, what]) => {
    const { slot: next, to, dropped } = admit(state, side, what, at)
    state = next
    return dropped ?? to!.port
  })
}

describe('a blind relay', () => {
  test('lets two nodes shake hands and then talk', () => {
    expect(
      played([
        [0, 'a', packet(A, 1000)],
        [1, 'b', packet(B, 2000)],
        [2, 'a', packet(A, 1000)],
        [3, 'b', packet(B, 2000, 2)],
        [4, 'a', packet(A, 1000, 4, 1456)],
        [5, 'b', packet(B, 2000, 3)],
      ]),
    ).toEqual(['nobody there', 1000, 2000, 1000, 2000, 1000])
  })

  test('tells two nodes behind one address apart by the port they send to', () => {
    expect(
      played(
        [
          [0, 'a', packet(A, 1)],
          [1, 'b', packet(A, 2)],
        ],
        newSlot(at(A), at(A), 0),
      ),
    ).toEqual(['nobody there', 1])
    expect([relayPort(0, 'a'), relayPort(0, 'b'), relayPort(499, 'b')]).toEqual([40_000, 40_001, 40_999])
  })

  test.each([
    ['from a stranger', packet('198.51.100.9', 1), 'stranger'],
    ["from the other node's address", packet(B, 1), 'stranger'],
    ['that is no message of WireGuard', packet(A, 1, 5, 148), 'form'],
    ['of a wrong length', packet(A, 1, 1, 149), 'form'],
    ['with reserved bytes', { ...packet(A, 1), head: [1, 0, 0, 9] as const }, 'form'],
    ['of data that is not padded', packet(A, 1, 4, 33), 'form'],
    ['of data that is too short', packet(A, 1, 4, 16), 'form'],
    ['of data from a port that never shook hands', packet(A, 1, 4), 'no handshake'],
    ['with a cookie from a port that never shook hands', packet(A, 1, 3), 'no handshake'],
  ] as const)('drops a packet %s', (_, what, reason) => expect(played([[0, 'a', what]])).toEqual([reason]))

  test('follows a node to a new port by a handshake, when the old one has fallen silent', () => {
    const before: [number, Side, Packet][] = [
      [0, 'a', packet(A, 1000)],
      [0, 'b', packet(B, 2000)],
    ]
    expect(played([...before, [100, 'a', packet(A, 6666)], [101, 'b', packet(B, 2000, 4)]]).slice(2)).toEqual([
      'port in use',
      1000,
    ])
    expect(
      played([
        ...before,
        [5000, 'a', packet(A, 1001, 4)],
        [5001, 'a', packet(A, 1001)],
        [5002, 'b', packet(B, 2000, 4)],
      ]).slice(2),
    ).toEqual(['no handshake', 2000, 1001])
  })

  test('forgets who was silent for 180 s', () => {
    const script: [number, Side, Packet][] = [
      [0, 'a', packet(A, 1000)],
      [0, 'b', packet(B, 2000)],
      [FORGET_MS, 'a', packet(A, 1000, 4)],
      [FORGET_MS, 'a', packet(A, 1000)],
      [FORGET_MS, 'b', packet(B, 2000)],
    ]
    expect(played(script)).toEqual(['nobody there', 1000, 'no handshake', 'nobody there', 1000])
  })

  test('knows a node where the hub sees it: a session goes on there without a handshake', () => {
    const seen = newSlot(
      { ...at(A), seen: { address: A, port: 1000 } },
      { ...at(B), seen: { address: B, port: 2000 } },
      0,
    )
    expect(
      played(
        [
          [0, 'a', packet(A, 1000, 4)],
          [1, 'b', packet(B, 2000, 4)],
          [2, 'a', packet(A, 1001, 4)],
          [3, 'a', packet(A, 1001)],
          [6000, 'a', packet(A, 1001)],
          [6001, 'b', packet(B, 2000, 4)],
          [6002, 'a', packet(A, 1000, 4)],
        ],
        seen,
      ),
    ).toEqual([2000, 1000, 'no handshake', 'port in use', 2000, 1001, 2000])
  })

  test('takes new addresses of a node from the hub, and what stays stays', () => {
    let slot = newSlot(at(A), at(B), 0)
    slot = admit(slot, 'a', packet(A, 1000), 0).slot
    slot = admit(slot, 'b', packet(B, 2000), 0).slot
    const moved = withEnds(slot, at('198.51.100.9'), at(B, '2001:db8::2'))
    expect(admit(moved, 'a', packet(A, 1000, 4), 1).dropped).toBe('stranger')
    expect(admit(moved, 'b', packet(B, 2000, 4), 1).dropped).toBe('nobody there')
    const there = admit(moved, 'a', packet('198.51.100.9', 5), 2)
    expect(there.to).toEqual({ address: B, port: 2000 })
    expect(admit(there.slot, 'b', packet(B, 2000, 4), 3).to).toEqual({ address: '198.51.100.9', port: 5 })
  })

  test('lets no more through than the rate and a burst, in each direction by itself', () => {
    const rate = 1_000_000
    let slot = newSlot(at(A), at(B), 0, rate)
    slot = admit(slot, 'a', packet(A, 1), 0, rate).slot
    slot = admit(slot, 'b', packet(B, 2), 0, rate).slot
    let passed = 0
    for (let ms = 0; ms < 10_000; ms++)
      for (let i = 0; i < 3; i++) {
        const { slot: next, to } = admit(slot, 'a', packet(A, 1, 4, 1440), ms, rate)
        slot = next
        if (to !== undefined) passed += 1440
      }
    expect(passed).toBeGreaterThan(10 * rate * 0.99)
    expect(passed).toBeLessThanOrEqual(10 * rate + 128 * 1024)
    expect(admit(slot, 'b', packet(B, 2, 4, 1440), 10_000, rate).to).toBeDefined()
    expect(admit(slot, 'a', packet(A, 1, 4, 1440), 9_999, rate).dropped).toBe('rate')
  })

  test('whatever comes: only to a place that shook hands from an address of the other side', () => {
    const address = fc.constantFrom(A, B, '198.51.100.9')
    const any = fc.tuple(
      fc.integer({ min: 0, max: 60_000 }),
      fc.constantFrom<Side>('a', 'b'),
      fc.tuple(
        address,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 5 }),
        fc.constantFrom(148, 92, 64, 96, 7),
      ),
    )
    fc.assert(
      fc.property(fc.array(any, { maxLength: 60 }), (script) => {
        let slot = newSlot(at(A), at(B), 0)
        let now = 0
        const shaken = { a: new Set<string>(), b: new Set<string>() }
        for (const [later, side, [from, port, type, length]] of script) {
          now += later
          const what = packet(from, port, type, length)
          if ((type === 1 && length === 148) || (type === 2 && length === 92)) shaken[side].add(`${from} ${port}`)
          const { slot: next, to, dropped } = admit(slot, side, what, now)
          expect((to === undefined) !== (dropped === undefined)).toBe(true)
          if (to !== undefined) {
            expect(from).toBe(side === 'a' ? A : B)
            expect(to.address).toBe(side === 'a' ? B : A)
            expect(shaken[side === 'a' ? 'b' : 'a']).toContain(`${to.address} ${to.port}`)
          }
          slot = next
        }
      }),
    )
  })
})

describe('the choice of a relay', () => {
  const one = (node: string, toA?: number, toB?: number) => ({ node, toA, toB })
  test.each([
    ['the shortest way', undefined, [one('x', 10, 20), one('y', 5, 5)], 'y'],
    ['the present one, unless it is a third worse', 'x', [one('x', 20, 20), one('y', 15, 15)], 'x'],
    ['another one that is a third and 10 ms better', 'x', [one('x', 30, 30), one('y', 15, 15)], 'y'],
    ['the present one where 10 ms are not at stake', 'x', [one('x', 2, 2), one('y', 1, 1)], 'x'],
    ['another one when the present one is gone', 'z', [one('x', 9, 9), one('y', 9, 9)], 'x'],
    ['a measured one', 'x', [one('x'), one('y', 100, 100)], 'y'],
    ['the present one where nothing was measured', 'y', [one('x'), one('y')], 'y'],
    ['none of none', 'x', [], undefined],
  ])('is %s', (_, present, choices, expected) => expect(chooseRelay(present, choices)).toBe(expected))

  test('takes the lowest free slot, and none when all are taken', () => {
    expect(freeSlot(new Set([0, 1, 3]))).toBe(2)
    expect(freeSlot(new Set(Array.from({ length: 500 }, (_, i) => i)))).toBeUndefined()
  })
})
