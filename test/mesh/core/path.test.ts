import { describe, expect, test } from 'vitest'
import type { DevicePeer } from '../../../src/mesh/core/dump.ts'
import {
  newPath,
  nextTickMs,
  type PathEvent,
  type PathRules,
  type PathState,
  PUNCH_MS,
  pathOf,
  provedWay,
  SETTLE_MS,
  SUSPECT_MS,
  stepPath,
} from '../../../src/mesh/core/path.ts'
import { keyOf } from '../../support/mesh-samples.ts'
import fc from '../../support/properties.ts'

const MINUTE = 60_000
const usual: PathRules = { punchable: true, carried: true }

/** Plays `[ms later, event]` from a new pair on and says what the map said after each. */
function played(script: readonly (readonly [number, PathEvent])[], rules = usual): string[] {
  let state = newPath(0)
  let now = 0
  return script.map(([later, event]) => {
    now += later
    state = stepPath(state, event, now, rules)
    return state.kind
  })
}
const fail: [number, PathEvent][] = [
  [0, 'tick'],
  [PUNCH_MS, 'tick'],
  [0, 'settled'],
]

describe('the way of a pair', () => {
  test('begins on the relay, tries at once and is direct when it was proved', () => {
    expect(pathOf(newPath(0))).toBe('relay')
    expect(
      played([
        [0, 'tick'],
        [3000, 'proved'],
      ]),
    ).toEqual(['punching', 'direct'])
  })

  test('goes back to the relay after 60 s, and tries again after 10 min, 20 min, 40 min … 6 h', () => {
    let state = newPath(0)
    let now = 0
    const rests: number[] = []
    for (let i = 0; i < 10; i++) {
      state = stepPath(state, 'tick', now, usual)
      expect(state.kind).toBe('punching')
      expect(stepPath(state, 'tick', now + PUNCH_MS - 1, usual).kind).toBe('punching')
      now += PUNCH_MS
      state = stepPath(state, 'tick', now, usual)
      expect(pathOf(state)).toBe('settle')
      expect(stepPath(state, 'tick', now + SETTLE_MS - 1, usual)).toBe(state)
      state = stepPath(state, i % 2 === 0 ? 'settled' : 'tick', (now += SETTLE_MS), usual)
      expect(state.kind).toBe('relay')
      rests.push((nextTickMs(state) - now) / MINUTE)
      expect(stepPath(state, 'tick', nextTickMs(state) - 1, usual).kind).toBe('relay')
      now = nextTickMs(state)
    }
    expect(rests).toEqual([10, 20, 40, 80, 160, 320, 360, 360, 360, 360])
  })

  test('tries at once when an end is seen elsewhere, but not more often than every 30 s', () => {
    expect(played([...fail, [MINUTE, 'moved']]).at(-1)).toBe('punching')
    expect(played([...fail, [1000, 'moved'], [28_999, 'tick']]).slice(3)).toEqual(['relay', 'relay'])
    expect(played([...fail, [1000, 'moved'], [29_000, 'tick']]).slice(3)).toEqual(['relay', 'punching'])
  })

  test('a move in the midst of a try gives the new address its own 60 s', () => {
    expect(
      played([
        [0, 'tick'],
        [50_000, 'moved'],
        [59_999, 'tick'],
        [1, 'tick'],
      ]),
    ).toEqual(['punching', 'punching', 'punching', 'settling'])
  })

  test('that fails is suspect for 10 s before the map gives it up', () => {
    const direct: [number, PathEvent][] = [
      [0, 'tick'],
      [0, 'proved'],
    ]
    expect(played([...direct, [9, 'lost'], [SUSPECT_MS - 1, 'tick'], [0, 'answered']]).slice(2)).toEqual([
      'suspect',
      'suspect',
      'direct',
    ])
    expect(played([...direct, [9, 'lost'], [SUSPECT_MS, 'tick']]).at(-1)).toBe('relay')
  })

  test('that was proved at the last moment, while the relay is shaken hands with again, is taken', () => {
    expect(
      played([
        [0, 'tick'],
        [PUNCH_MS, 'tick'],
        [10, 'proved'],
      ]),
    ).toEqual(['punching', 'settling', 'direct'])
  })

  test('that breaks again and again is tried ever more seldom; one that held for long is tried soon', () => {
    const broken = (heldMs: number, times: number): PathState => {
      let state = newPath(0)
      let now = 0
      for (let i = 0; i < times; i++) {
        state = stepPath(state, 'tick', now, usual)
        state = stepPath(state, 'proved', now, usual)
        state = stepPath(state, 'lost', (now += heldMs), usual)
        state = stepPath(state, 'tick', (now += SUSPECT_MS), usual)
        if (i < times - 1) now = nextTickMs(state)
      }
      expect(state.kind).toBe('relay')
      return { ...state, retryAtMs: nextTickMs(state) - now } as PathState
    }
    expect(nextTickMs(broken(1000, 4))).toBe(80 * MINUTE)
    expect(nextTickMs(broken(3_600_000, 4))).toBe(10 * MINUTE)
  })

  test('is never tried where it cannot be had', () => {
    const rules = { punchable: false, carried: true }
    expect(
      played(
        [
          [0, 'tick'],
          [9e9, 'moved'],
        ],
        rules,
      ),
    ).toEqual(['relay', 'relay'])
    expect(stepPath({ kind: 'punching', sinceMs: 0, failures: 0 }, 'tick', 1, rules).kind).toBe('settling')
  })

  test('is tried once and after a move where trying it interrupts what goes over the relay', () => {
    const rules = { punchable: true, carried: false }
    expect(played([...fail.slice(0, 2), [9e9, 'tick'], [0, 'moved']], rules)).toEqual([
      'punching',
      'relay',
      'relay',
      'punching',
    ])
  })

  test('whatever happens: no more than one try in 30 s, and no packet on a way that was not proved', () => {
    const event = fc.constantFrom<PathEvent>('tick', 'proved', 'settled', 'moved', 'lost', 'answered')
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 40_000 }), event), { maxLength: 100 }), (script) => {
        let state = newPath(0)
        let now = 0
        let ended = Number.NEGATIVE_INFINITY
        for (const [later, what] of script) {
          now += later
          const next = stepPath(state, what, now, usual)
          if (next.kind === 'punching' && state.kind !== 'punching') expect(now - ended).toBeGreaterThanOrEqual(30_000)
          if (next.kind === 'direct' && ['punching', 'settling'].includes(state.kind)) expect(what).toBe('proved')
          if (next.kind === 'direct') expect(state.kind).not.toBe('relay')
          if (next.kind === 'relay' && state.kind !== 'relay') ended = now
          expect(nextTickMs(next)).toBeGreaterThanOrEqual(Math.min(now, nextTickMs(next)))
          state = next
        }
      }),
    )
  })
})

describe('what a bare peer proves', () => {
  const peer = (latestHandshakeS: number, endpoint?: string): DevicePeer => ({
    publicKey: keyOf(1),
    hasPresharedKey: false,
    allowedIps: [],
    latestHandshakeS,
    rxBytes: 0,
    txBytes: 0,
    keepaliveS: 25,
    ...(endpoint === undefined ? {} : { endpoint }),
  })
  test.each([
    ['no handshake', peer(0, '203.0.113.4:1'), undefined],
    ['one of before', peer(99, '203.0.113.4:1'), undefined],
    ['one since then', peer(100, '203.0.113.4:1'), 'direct'],
    ['one through a port of the relay', peer(100, '198.51.100.1:40015'), 'relay'],
    ['one from another port of the relay', peer(100, '198.51.100.1:51820'), 'direct'],
    ['one from such a port elsewhere', peer(100, '203.0.113.4:40015'), 'direct'],
    ['one from nowhere', peer(100), undefined],
  ])('%s', (_, device, expected) => expect(provedWay(device, 100, new Set(['198.51.100.1']))).toBe(expected))
})
