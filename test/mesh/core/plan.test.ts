import { describe, expect, test } from 'vitest'
import { diff } from '../../../src/mesh/core/diff.ts'
import type { Device, DevicePeer } from '../../../src/mesh/core/dump.ts'
import { type Pair, type PeerEntry, type PeerMap, pairOf, pairPaths } from '../../../src/mesh/core/peer-map.ts'
import { KEEPALIVE_S, type OwnFacts, plan } from '../../../src/mesh/core/plan.ts'
import { idOf, keyOf, mapOf, peer } from '../../support/mesh-samples.ts'
import fc from '../../support/properties.ts'

const NOW_S = 2000
const hub = peer(1, {
  nat: 'public',
  roles: ['master'],
  relays: 'blind-and-forward',
  hubSeen: undefined,
  statics: ['198.51.100.1:51820'],
})
const vps = peer(2, { nat: 'public', statics: ['198.51.100.2:51820'] })
const home = peer(3, { nat: 'cone', hubSeen: '203.0.113.3:1024', candidates: ['192.168.1.3:51820'] })
const office = peer(4, { nat: 'cone', hubSeen: '203.0.113.4:2048', candidates: ['192.168.7.4:51820'] })
const own = (n: number, change: Partial<OwnFacts> = {}): OwnFacts => ({
  id: idOf(n),
  steps: new Map(),
  suspects: new Set(),
  ...change,
})
const map = (...pairs: Pair[]): PeerMap => mapOf([hub, vps, home, office], { pairs })
const pair = (path: Pair['path'], change: Partial<Pair> = {}): Pair => ({
  ...pairOf(home.id, office.id),
  path,
  ...change,
})
const through = { via: hub.id, slot: 7 }
const planned = (m: PeerMap, facts: OwnFacts, device?: Device, nowS = NOW_S) => plan(m, facts, device, nowS)!
const of = (m: PeerMap, facts: OwnFacts, n: number, device?: Device) =>
  planned(m, facts, device).find((wanted) => wanted.publicKey === keyOf(n))
const shaken = (...list: [number, number][]): Device => ({
  listenPort: 0,
  fwmark: 0,
  peers: list.map(
    ([n, latestHandshakeS]): DevicePeer => ({
      publicKey: keyOf(n),
      hasPresharedKey: false,
      allowedIps: [],
      latestHandshakeS,
      rxBytes: 0,
      txBytes: 0,
      keepaliveS: 0,
    }),
  ),
})

describe('the plan of peers', () => {
  test('of a public node: everyone at his place, calls to hubs only', () => {
    expect(planned(map(), own(2))).toEqual([
      {
        publicKey: keyOf(1),
        allowedIps: ['10.77.0.2/32'],
        keepaliveS: KEEPALIVE_S,
        endpoint: { at: '198.51.100.1:51820', insist: false },
      },
      {
        publicKey: keyOf(3),
        allowedIps: ['10.77.0.4/32'],
        keepaliveS: 0,
        endpoint: { at: '203.0.113.3:1024', insist: false },
      },
      {
        publicKey: keyOf(4),
        allowedIps: ['10.77.0.5/32'],
        keepaliveS: 0,
        endpoint: { at: '203.0.113.4:2048', insist: false },
      },
    ])
  })

  test('of a node behind a NAT keeps every mapping open', () => {
    expect(planned(map(), own(3)).map((wanted) => wanted.keepaliveS)).toEqual([25, 25, 25])
  })

  test('of a node that the map does not know is none', () => {
    expect(plan(map(), own(9), undefined, NOW_S)).toBeUndefined()
  })

  test('of an old map has hubs only', () => {
    const old = map()
    expect(planned(old, own(3), undefined, old.validUntil + 1).map((wanted) => wanted.publicKey)).toEqual([keyOf(1)])
  })

  test('tries one candidate after the other while a peer is not reached', () => {
    const six = peer(3, { nat: 'cone', hubSeen: '203.0.113.3:1024', candidates: ['[2001:db8::3]:51820'] })
    const asker = peer(2, { nat: 'public', candidates: ['[2001:db8::2]:51820'] })
    const m = mapOf([asker, six])
    const at = (step: number) => of(m, own(2, { steps: new Map([[six.id, step]]) }), 3)!.endpoint!.at
    expect([0, 1, 2].map(at)).toEqual(['[2001:db8::3]:51820', '203.0.113.3:1024', '[2001:db8::3]:51820'])
  })
})

describe('a pair that a relay helps', () => {
  test('blindly: both send to their own port of the slot, whatever the device believes', () => {
    expect(of(map(pair('relay', through)), own(3), 4)).toEqual({
      publicKey: keyOf(4),
      allowedIps: ['10.77.0.5/32'],
      keepaliveS: 25,
      endpoint: { at: '198.51.100.1:40014', insist: true },
    })
    expect(of(map(pair('relay', through)), own(4), 3)!.endpoint).toEqual({ at: '198.51.100.1:40015', insist: true })
  })

  test('through the tunnel of the relay, where there is no slot', () => {
    const m = map(pair('relay', { via: hub.id }))
    expect(of(m, own(3), 4)).toBeUndefined()
    expect(of(m, own(3), 1)!.allowedIps).toEqual(['10.77.0.2/32', '10.77.0.5/32'])
  })

  test('while punching: bare, one candidate after the other, and its packets in the tunnel of the relay', () => {
    const m = map(pair('punch', through))
    expect(of(m, own(3), 4)).toEqual({
      publicKey: keyOf(4),
      allowedIps: [],
      keepaliveS: 25,
      endpoint: { at: '203.0.113.4:2048', insist: true },
      afresh: true,
    })
    expect(of(m, own(3), 1)!.allowedIps).toEqual(['10.77.0.2/32', '10.77.0.5/32'])
  })

  test('before it goes back to the ports of the relay: bare there, until it has shaken hands', () => {
    const m = map(pair('settle', through))
    expect(of(m, own(3), 4)).toMatchObject({ allowedIps: [], endpoint: { at: '198.51.100.1:40014', insist: true } })
    expect(of(m, own(3), 1)!.allowedIps).toEqual(['10.77.0.2/32', '10.77.0.5/32'])
    expect(of(map(pair('settle', { via: hub.id })), own(3), 4)!.allowedIps).toEqual(['10.77.0.5/32'])
  })

  test('a bare peer that has shaken hands is left where it was found', () => {
    expect(of(map(pair('punch', through)), own(3), 4, shaken([4, 1990]))!.endpoint!.insist).toBe(false)
  })

  test('punching without anybody who forwards does not make the peer bare', () => {
    const blind = { ...hub, relays: 'blind' as const }
    const m = mapOf([blind, vps, home, office], { pairs: [pair('punch', through)] })
    expect(of(m, own(3), 4)).toMatchObject({ allowedIps: ['10.77.0.5/32'], endpoint: { at: '203.0.113.4:2048' } })
  })

  test('directly: where the device found it; when that fails, to the relay at once', () => {
    const m = map(pair('direct', through))
    expect(of(m, own(3), 4)!.endpoint).toEqual({ at: '203.0.113.4:2048', insist: false })
    const suspects = new Set([office.id])
    expect(of(m, own(3, { suspects }), 4)!.endpoint).toEqual({ at: '198.51.100.1:40014', insist: true })
  })

  test('from relay to punching to direct and back: each node stays reachable, and the device does what is meant', () => {
    const step = (path: Pair['path'], device: Device): string[] =>
      diff({ publicKey: keyOf(3), peers: planned(map(pair(path, through)), own(3), device) }, device, NOW_S).peers.map(
        (change) => `${change.kind} ${change.publicKey === keyOf(4) ? 'peer' : 'other'} ${change.allowedIps ?? ''}`,
      )
    const carrying = shaken([1, 1990], [2, 1990], [4, 1990])
    const on = (ips: Record<number, string[]>): Device => ({
      ...carrying,
      publicKey: keyOf(3),
      peers: carrying.peers.map((p) => ({
        ...p,
        keepaliveS: 25,
        endpoint: '198.51.100.1:40014',
        allowedIps: [1, 2, 4].flatMap((n) => (p.publicKey === keyOf(n) ? (ips[n] ?? []) : [])),
      })),
    })
    const direct = on({ 1: ['10.77.0.2/32'], 2: ['10.77.0.3/32'], 4: ['10.77.0.5/32'] })
    expect(step('relay', direct)).toEqual([])
    expect(step('punch', direct)).toEqual(['set other 10.77.0.2/32,10.77.0.5/32', 'renew peer '])
    const bare = on({ 1: ['10.77.0.2/32', '10.77.0.5/32'], 2: ['10.77.0.3/32'], 4: [] })
    expect(step('direct', bare)).toEqual(['set peer 10.77.0.5/32'])
    expect(step('relay', bare)).toEqual(['set peer 10.77.0.5/32'])
  })
})

describe('a key that is being changed', () => {
  const both = mapOf([hub, peer(2, { nat: 'public', keys: [keyOf(2), keyOf(20)], statics: ['198.51.100.2:51820'] })])
  test('the new one is a bare peer until it has shaken hands, then it has the address', () => {
    const before = [of(both, own(1), 2), of(both, own(1), 20)]
    expect(before.map((p) => p!.allowedIps)).toEqual([['10.77.0.3/32'], []])
    const then = shaken([2, 1000], [20, 1990])
    expect([of(both, own(1), 2, then), of(both, own(1), 20, then)].map((p) => p!.allowedIps)).toEqual([
      [],
      ['10.77.0.3/32'],
    ])
    const still = shaken([2, 1990], [20, 0])
    expect(of(both, own(1), 2, still)!.allowedIps).toEqual(['10.77.0.3/32'])
  })

  test('of a relay takes along those whom it carries', () => {
    const turning = { ...hub, keys: [keyOf(1), keyOf(10)] }
    const m = mapOf([turning, vps, home, office], { pairs: [pair('relay', { via: hub.id })] })
    expect(of(m, own(3), 10, shaken([1, 5], [10, 6]))!.allowedIps).toEqual(['10.77.0.2/32', '10.77.0.5/32'])
  })
})

describe('whatever the map', () => {
  const node = fc.record({
    nat: fc.constantFrom('public' as const, 'cone' as const, 'symmetric' as const, 'unknown' as const),
    relays: fc.constantFrom(
      'no' as const,
      'blind' as const,
      'blind-and-forward' as const,
      'blind-and-forward' as const,
    ),
    hubSeen: fc.constantFrom(undefined, '203.0.113.3:1', '203.0.113.4:2', '192.168.1.9:3'),
    statics: fc.constantFrom<string[]>([], ['198.51.100.1:5']),
    turning: fc.boolean(),
  })
  const anyMap = fc
    .record({
      nodes: fc.array(node, { minLength: 2, maxLength: 7 }),
      pairs: fc.array(
        fc.record({
          x: fc.nat(6),
          y: fc.nat(6),
          via: fc.nat(6),
          path: fc.constantFrom(...pairPaths),
          slot: fc.constantFrom(undefined, undefined, 3, 499),
        }),
        { maxLength: 12 },
      ),
      shaken: fc.array(fc.tuple(fc.nat(6), fc.nat(3000)), { maxLength: 7 }),
    })
    .map(({ nodes, pairs, shaken: list }) => {
      const peers = nodes.map(
        ({ turning, ...change }, n): PeerEntry =>
          peer(n, { ...change, keys: turning ? [keyOf(n), keyOf(n + 50)] : [keyOf(n)] }),
      )
      const used = new Map<string, Pair>()
      for (const { x, y, via, path, slot } of pairs) {
        const [p, q, r] = [peers[x], peers[y], peers[via]]
        if (p === undefined || q === undefined || r === undefined || new Set([x, y, via]).size < 3) continue
        const ends = pairOf(p.id, q.id)
        used.set(ends.a + ends.b, { ...ends, path, via: r.id, ...(slot === undefined ? {} : { slot }) })
      }
      return { map: mapOf(peers, { pairs: [...used.values()] }), device: shaken(...list) }
    })

  test('every other node is reached by exactly one peer, and a device can be made of it', () => {
    fc.assert(
      fc.property(anyMap, ({ map: m, device }) => {
        const wanted = planned(m, own(0), device)
        const ips = wanted.flatMap((p) => p.allowedIps).sort()
        expect(ips).toEqual(
          m.peers
            .slice(1)
            .map((p) => `${p.ip}/32`)
            .sort(),
        )
        expect(() => diff({ publicKey: keyOf(0), peers: wanted }, device, NOW_S)).not.toThrow()
      }),
      { numRuns: 1000 },
    )
  })
})
