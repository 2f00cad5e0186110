import { describe, expect, test } from 'vitest'
import type { DevicePeer } from '../../../src/mesh/core/dump.ts'
import {
  adviceFor,
  healthOf,
  isCloned,
  isSuspect,
  newWatch,
  onDevice,
  onProbe,
  type PeerWatch,
} from '../../../src/mesh/core/peer-state.ts'
import { keyOf } from '../../support/mesh-samples.ts'

const START_S = 1_000_000
const device = (change: Partial<DevicePeer> = {}): DevicePeer => ({
  publicKey: keyOf(1),
  hasPresharedKey: false,
  allowedIps: [],
  latestHandshakeS: 0,
  rxBytes: 0,
  txBytes: 0,
  keepaliveS: 25,
  endpoint: '203.0.113.1:51820',
  ...change,
})
/** Looks at the device every 5 s from second 0 on. */
const watched = (seconds: number, at: (second: number) => Partial<DevicePeer>, watch = newWatch()): PeerWatch => {
  for (let s = 0; s <= seconds; s += 5) watch = onDevice(watch, device(at(s)), s * 1000)
  return watch
}
const health = (watch: PeerWatch, second: number) => healthOf(watch, second * 1000, START_S + second)
const advice = (watch: PeerWatch, second: number) => adviceFor(watch, second * 1000, START_S + second)

describe('how a peer is doing', () => {
  test('up while bytes come or probes are answered, stale 30 s later, down when the session has ended', () => {
    let watch = watched(20, (s) => ({ latestHandshakeS: START_S, rxBytes: 92 + s, txBytes: 148 + s }))
    expect(health(watch, 20)).toBe('up')
    watch = watched(400, (s) => ({ latestHandshakeS: START_S, rxBytes: 112, txBytes: 200 + s * 10 }), watch)
    expect([30, 60, 170, 181].map((s) => health(watch, s))).toEqual(['up', 'stale', 'stale', 'down'])
    expect(health(onProbe(watch, true, 0, 400_000), 410)).toBe('up')
  })

  test('down from the beginning while nobody answers', () => {
    const watch = watched(60, (s) => ({ txBytes: 148 * (1 + s / 5) }))
    expect(health(watch, 60)).toBe('down')
    expect(advice(watch, 60)).toMatch(/^nothing comes back: UDP is blocked/)
  })

  test('idle where nobody calls and nothing is to be said', () => {
    const watch = watched(600, () => ({ keepaliveS: 0 }))
    expect(health(watch, 600)).toBe('idle')
    expect(advice(watch, 600)).toBeUndefined()
  })

  test('suspect after three probes in a row, whatever was heard shortly before', () => {
    let watch = watched(10, (s) => ({ latestHandshakeS: START_S, rxBytes: s + 1, txBytes: s + 1 }))
    for (let i = 0; i < 3; i++) {
      expect(isSuspect(watch)).toBe(false)
      watch = onProbe(watch, false, 0.01, 11_000 + i * 1000)
    }
    expect(isSuspect(watch)).toBe(true)
    expect(health(watch, 14)).toBe('stale')
    expect(isSuspect(onProbe(watch, true, 0, 14_000))).toBe(false)
  })

  test('degraded when more than 2 % are lost for two minutes', () => {
    let watch = newWatch()
    for (let s = 0; s <= 130; s += 10) {
      watch = onDevice(watch, device({ latestHandshakeS: START_S, rxBytes: s + 1 }), s * 1000)
      watch = onProbe(watch, true, 0.05, s * 1000)
      expect(health(watch, s)).toBe(s < 120 ? 'up' : 'degraded')
    }
    expect(advice(watch, 130)).toBe('the link loses 5.0 % of its packets')
    expect(health(onProbe(watch, true, 0.01, 130_000), 130)).toBe('up')
  })

  test('says what to look at', () => {
    const oneWay = watched(60, (s) => ({ txBytes: 148 + s, rxBytes: 148 }))
    expect(advice(oneWay, 60)).toMatch(/look at the firewall of the other side/)
    const future = watched(60, (s) => ({ latestHandshakeS: START_S + 5000, txBytes: 148 + s, rxBytes: 148 }))
    expect(advice(future, 60)).toMatch(/the clock of this machine was set back/)
    const { endpoint: _, ...nowhere } = device()
    expect(advice(onDevice(newWatch(), nowhere, 0), 60)).toMatch(/it has to call first/)
    const off = watched(400, (s) => ({ latestHandshakeS: START_S, rxBytes: 92, txBytes: 148 + s }))
    expect(advice(off, 400)).toMatch(/it is off, or the way to it has changed/)
  })

  test('a device that was made anew begins to count anew', () => {
    let watch = watched(100, (s) => ({ latestHandshakeS: START_S, rxBytes: 1000 + s, txBytes: 1000 + s }))
    watch = onDevice(watch, device({ rxBytes: 0, txBytes: 0 }), 105_000)
    watch = onDevice(watch, device({ rxBytes: 92, txBytes: 148, latestHandshakeS: START_S + 110 }), 110_000)
    expect(watch).toMatchObject({ rxGrewMs: 110_000, unansweredSinceMs: undefined })
    expect(health(watch, 120)).toBe('up')
  })

  test('an endpoint that flips all the time is a cloned disk, one that moves is none', () => {
    const flipping = watched(60, (s) => ({ endpoint: `203.0.113.${(s / 5) % 2}:1` }))
    expect(isCloned(flipping)).toBe(true)
    expect(advice(flipping, 60)).toMatch(/was a disk cloned/)
    expect(isCloned(watched(60, (s) => ({ endpoint: s < 30 ? '203.0.113.1:1' : '203.0.113.2:1' })))).toBe(false)
    expect(isCloned(watched(600, () => ({ endpoint: '203.0.113.1:1' }), flipping))).toBe(false)
  })
})
