import { describe, expect, test } from 'vitest'
import type { Device } from '../../../src/mesh/core/dump.ts'
import { natOf, seenNow } from '../../../src/mesh/core/seen.ts'
import { idOf, keyOf, mapOf, peer } from '../../support/mesh-samples.ts'

const NOW_S = 10_000
const device = (...peers: [string, number, string?][]): Device => ({
  listenPort: 1,
  fwmark: 0,
  peers: peers.map(([publicKey, latestHandshakeS, endpoint]) => ({
    publicKey,
    hasPresharedKey: false,
    allowedIps: [],
    latestHandshakeS,
    rxBytes: 0,
    txBytes: 0,
    keepaliveS: 0,
    ...(endpoint === undefined ? {} : { endpoint }),
  })),
})

describe('what a hub sees', () => {
  const map = mapOf([
    peer(1),
    peer(2, { keys: [keyOf(2), keyOf(20)] }),
    peer(3),
    peer(4),
    peer(5, { relays: 'blind', statics: ['198.51.100.1:51820'] }),
    peer(6),
  ])
  const now = device(
    [keyOf(1), NOW_S - 100, '203.0.113.1:1000'],
    [keyOf(2), NOW_S - 100, '203.0.113.2:1'],
    [keyOf(20), NOW_S - 5, '203.0.113.2:2'],
    [keyOf(3), NOW_S - 200, '203.0.113.3:1'],
    [keyOf(4), 0, '203.0.113.4:1'],
    [keyOf(6), NOW_S - 5, '198.51.100.1:40017'],
    [keyOf(99), NOW_S - 5, '203.0.113.9:1'],
  )
  test('is where those who shook hands lately are, by the key they use now, and never a relay', () => {
    expect(seenNow(map, now, NOW_S)).toEqual(
      new Map([
        [idOf(1), '203.0.113.1:1000'],
        [idOf(2), '203.0.113.2:2'],
      ]),
    )
  })
})

describe('the kind of a NAT', () => {
  const own = ['192.168.1.2:51820', '203.0.113.7:51820']
  test.each([
    ['nobody has seen it', own, undefined, undefined, 'unknown'],
    ['the hub stands in its network', own, '192.168.1.2:51820', undefined, 'unknown'],
    ['its own address and port', own, '203.0.113.7:51820', undefined, 'public'],
    ['another port of its own address', own, '203.0.113.7:9', '203.0.113.7:9', 'cone'],
    ['one observer', own, '203.0.113.9:4000', undefined, 'unknown'],
    ['two who see the same', own, '203.0.113.9:4000', '203.0.113.9:4000', 'cone'],
    ['two who see two ports', own, '203.0.113.9:4000', '203.0.113.9:4001', 'symmetric'],
    ['one sees it by IPv4, one by IPv6', own, '203.0.113.9:4000', '[2001:db8::1]:4000', 'unknown'],
    ['two who see two addresses', own, '203.0.113.9:4000', '203.0.113.10:4000', 'symmetric'],
  ])('%s', (_, candidates, hub, other, expected) => expect(natOf(candidates, hub, other)).toBe(expected))
})
