import { describe, expect, test } from 'vitest'
import {
  commandsOf,
  diff,
  endpointToSet,
  isEmpty,
  PEERS_PER_COMMAND,
  type WantedDevice,
  type WantedPeer,
} from '../../../src/mesh/core/diff.ts'
import type { Device, DevicePeer } from '../../../src/mesh/core/dump.ts'
import { sameEndpoint } from '../../../src/mesh/core/endpoint.ts'
import { wgSet } from '../../support/fake-wireguard.ts'
import { keyOf } from '../../support/mesh-samples.ts'
import fc from '../../support/properties.ts'

const NOW_S = 1_000_000
const KEY_FILE = '/etc/wireguard/hf0.key'
const OWN = keyOf(999)
const places = ['192.0.2.1:51820', '192.0.2.2:51820', '[2001:db8::1]:7', '[2001:db8:0:0::1]:7']

const has = (n: number, change: Partial<DevicePeer> = {}): DevicePeer => ({
  publicKey: keyOf(n),
  hasPresharedKey: false,
  allowedIps: [`10.77.0.${n + 1}/32`],
  latestHandshakeS: 0,
  rxBytes: 0,
  txBytes: 0,
  keepaliveS: 0,
  ...change,
})
const wants = (n: number, change: Partial<WantedPeer> = {}): WantedPeer => ({
  publicKey: keyOf(n),
  allowedIps: [`10.77.0.${n + 1}/32`],
  keepaliveS: 0,
  ...change,
})
const device = (...peers: DevicePeer[]): Device => ({ publicKey: OWN, listenPort: 51_820, fwmark: 0, peers })
const wanted = (...peers: WantedPeer[]): WantedDevice => ({ publicKey: OWN, peers })
const words = (want: WantedDevice, actual: Device): string[] =>
  commandsOf(diff(want, actual, NOW_S), KEY_FILE).map((command) => command.join(' '))
const carriedOut = (want: WantedDevice, actual: Device): Device =>
  commandsOf(diff(want, actual, NOW_S), KEY_FILE).reduce((now, command) => wgSet(now, command, want.publicKey), actual)

/** Each of twelve addresses belongs to at most one of eight peers. */
const owners = fc.array(fc.integer({ min: -1, max: 7 }), { minLength: 12, maxLength: 12 })
const ipsOf = (owner: number[], n: number): string[] =>
  owner.flatMap((of, i) => (of === n ? [`10.77.0.${i + 1}/32`] : []))
const peerNumbers = fc.uniqueArray(fc.integer({ min: 0, max: 7 }))
const anyDevice: fc.Arbitrary<Device> = fc
  .record({
    numbers: peerNumbers,
    owner: owners,
    rest: fc.array(
      fc.record({
        endpoint: fc.option(fc.constantFrom(...places), { nil: undefined }),
        latestHandshakeS: fc.constantFrom(0, NOW_S - 10, NOW_S - 200, NOW_S + 50),
        keepaliveS: fc.constantFrom(0, 25),
        hasPresharedKey: fc.boolean(),
      }),
      { minLength: 8, maxLength: 8 },
    ),
    publicKey: fc.constantFrom(OWN, keyOf(998), undefined),
    listenPort: fc.constantFrom(0, 51_820),
  })
  .map(({ numbers, owner, rest, publicKey, listenPort }) => ({
    ...(publicKey === undefined ? {} : { publicKey }),
    listenPort,
    fwmark: 0,
    peers: numbers.map((n) => {
      const { endpoint, ...more } = rest[n]!
      return has(n, { ...more, ...(endpoint === undefined ? {} : { endpoint }), allowedIps: ipsOf(owner, n) })
    }),
  }))
const anyWanted: fc.Arbitrary<WantedDevice> = fc
  .record({
    numbers: peerNumbers,
    owner: owners,
    rest: fc.array(
      fc.record({
        at: fc.option(fc.constantFrom(...places), { nil: undefined }),
        insist: fc.boolean(),
        keepaliveS: fc.constantFrom(0, 25),
        bare: fc.boolean(),
      }),
      { minLength: 8, maxLength: 8 },
    ),
    listenPort: fc.constantFrom(undefined, 51_820, 51_821),
  })
  .map(({ numbers, owner, rest, listenPort }) => ({
    publicKey: OWN,
    ...(listenPort === undefined ? {} : { listenPort }),
    peers: numbers.map((n) => {
      const { at, insist, keepaliveS, bare } = rest[n]!
      return wants(n, {
        allowedIps: bare ? [] : ipsOf(owner, n),
        keepaliveS,
        ...(at === undefined ? {} : { endpoint: { at, insist } }),
        ...(bare ? { afresh: true } : {}),
      })
    }),
  }))

describe('the difference between two devices', () => {
  test('carried out by wg set makes the one the other, and then nothing differs', () => {
    fc.assert(
      fc.property(anyDevice, anyWanted, (actual, want) => {
        const result = carriedOut(want, actual)
        expect(result.publicKey).toBe(OWN)
        expect(result.listenPort).toBe(want.listenPort ?? actual.listenPort)
        expect(result.peers.map((p) => p.publicKey).sort()).toEqual(want.peers.map((p) => p.publicKey).sort())
        for (const peer of want.peers) {
          const before = actual.peers.find((p) => p.publicKey === peer.publicKey)
          const after = result.peers.find((p) => p.publicKey === peer.publicKey)!
          expect(new Set(after.allowedIps)).toEqual(new Set(peer.allowedIps))
          expect(after.keepaliveS).toBe(peer.keepaliveS)
          expect(after.hasPresharedKey).toBe(false)
          const renewed = peer.afresh === true && before !== undefined && before.allowedIps.length > 0
          const kept = renewed ? undefined : before
          const endpoint = endpointToSet(peer, kept, NOW_S) ?? kept?.endpoint
          if (endpoint === undefined) expect(after.endpoint).toBeUndefined()
          else expect(sameEndpoint(after.endpoint!, endpoint)).toBe(true)
          expect(after.latestHandshakeS).toBe(kept?.latestHandshakeS ?? 0)
        }
        expect(isEmpty(diff(want, result, NOW_S))).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  test('names no peer that has what it shall have', () => {
    fc.assert(
      fc.property(anyDevice, anyWanted, fc.integer({ min: 0, max: 7 }), (actual, want, n) => {
        const changed = new Set(diff(want, actual, NOW_S).peers.map((peer) => peer.publicKey))
        const before = actual.peers.find((p) => p.publicKey === keyOf(n))
        const after = want.peers.find((p) => p.publicKey === keyOf(n))
        if (before === undefined || after === undefined) {
          expect(changed.has(keyOf(n))).toBe(before !== after)
          return
        }
        const same =
          new Set([...before.allowedIps, ...after.allowedIps]).size === after.allowedIps.length &&
          before.keepaliveS === after.keepaliveS &&
          !before.hasPresharedKey &&
          before.allowedIps.length === after.allowedIps.length &&
          endpointToSet(after, before, NOW_S) === undefined
        if (same) expect(changed.has(keyOf(n))).toBe(false)
      }),
    )
  })

  test('who only loses an address to another peer is left alone', () => {
    const hub = has(1, { allowedIps: ['10.77.0.2/32', '10.77.0.3/32'] })
    expect(words(wanted(wants(1), wants(2)), device(hub, has(2, { allowedIps: [] })))).toEqual([
      `peer ${keyOf(2)} allowed-ips 10.77.0.3/32`,
    ])
  })

  test('who gains comes before who is taken away, so that no packet is without a peer', () => {
    const hub = wants(1, { allowedIps: ['10.77.0.2/32', '10.77.0.3/32'] })
    const proving = wants(2, {
      allowedIps: [],
      keepaliveS: 25,
      afresh: true,
      endpoint: { at: places[0]!, insist: true },
    })
    expect(words(wanted(proving, hub), device(has(2), has(1), has(3)))).toEqual([
      [
        `peer ${keyOf(1)} allowed-ips 10.77.0.2/32,10.77.0.3/32`,
        `peer ${keyOf(2)} remove peer ${keyOf(2)} endpoint 192.0.2.1:51820 persistent-keepalive 25`,
        `peer ${keyOf(3)} remove`,
      ].join(' '),
    ])
  })

  test('key and port come first, and only when they differ: a container may not be allowed to set them', () => {
    const fresh: Device = { listenPort: 40_000, fwmark: 0, peers: [] }
    expect(words({ ...wanted(wants(1)), listenPort: 51_820 }, fresh)).toEqual([
      `listen-port 51820 private-key ${KEY_FILE} peer ${keyOf(1)} allowed-ips 10.77.0.2/32`,
    ])
    expect(words({ ...wanted(), listenPort: 51_820 }, device())).toEqual([])
    expect(words({ ...wanted(), publicKey: keyOf(5) }, device())).toEqual([`private-key ${KEY_FILE}`])
  })

  test('of many peers is several commands', () => {
    const many = Array.from({ length: 2 * PEERS_PER_COMMAND + 1 }, (_, n) =>
      wants(n, { allowedIps: [`10.77.${n >> 7}.${(n & 127) + 1}/32`] }),
    )
    expect(words(wanted(...many), device()).map((line) => line.split('peer ').length - 1)).toEqual([100, 100, 1])
  })

  test('of a peer with a preshared key that is not ours takes it away', () => {
    expect(words(wanted(wants(1)), device(has(1, { hasPresharedKey: true })))).toEqual([
      `peer ${keyOf(1)} preshared-key /dev/null`,
    ])
  })

  test('refuses a plan that gives one address to two', () => {
    expect(() => diff(wanted(wants(1), wants(2, { allowedIps: ['10.77.0.2/32'] })), device(), NOW_S)).toThrow(
      /an allowed ip is wanted for one peer/,
    )
  })
})

describe('the endpoint rule', () => {
  const [map, roamed] = places as [string, string]
  test.each([
    ['a new peer', undefined, false, map],
    ['one that was never heard and has none', has(1), false, map],
    ['one that is silent for 180 s', has(1, { endpoint: roamed, latestHandshakeS: NOW_S - 180 }), false, map],
    ['one that shook hands lately', has(1, { endpoint: roamed, latestHandshakeS: NOW_S - 179 }), false, undefined],
    ['one that shook hands in the future', has(1, { endpoint: roamed, latestHandshakeS: NOW_S + 60 }), false, map],
    ['one that has it', has(1, { endpoint: map }), true, undefined],
    ['one that shook hands lately, on purpose', has(1, { endpoint: roamed, latestHandshakeS: NOW_S }), true, map],
  ])('%s', (_, peer, insist, expected) =>
    expect(endpointToSet(wants(1, { endpoint: { at: map, insist } }), peer, NOW_S)).toBe(expected),
  )

  test('two texts of one IPv6 address are one', () => {
    const peer = has(1, { endpoint: '[2001:db8::1]:7' })
    expect(
      endpointToSet(wants(1, { endpoint: { at: '[2001:0DB8:0::1]:7', insist: true } }), peer, NOW_S),
    ).toBeUndefined()
  })
})
