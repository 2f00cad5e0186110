import { describe, expect, test } from 'vitest'
import { roles } from '../../../src/base/mesh-roles.ts'
import {
  isNewer,
  nats,
  type PeerMap,
  pairOf,
  pairPaths,
  parseMap,
  textOf,
  trusted,
  without,
} from '../../../src/mesh/core/peer-map.ts'
import { idOf, keyOf, mapOf, peer } from '../../support/mesh-samples.ts'
import fc from '../../support/properties.ts'

const endpoint = fc.constantFrom('203.0.113.1:51820', '[2001:db8::7]:1', '192.168.1.4:65535')
const anyMap: fc.Arbitrary<PeerMap> = fc
  .uniqueArray(fc.integer({ min: 0, max: 200 }), { maxLength: 12 })
  .chain((numbers) =>
    fc.record({
      peers: fc.tuple(
        ...numbers.map((n) =>
          fc
            .record({
              hubSeen: fc.option(endpoint, { nil: undefined }),
              candidates: fc.array(endpoint, { maxLength: 10 }),
              nat: fc.constantFrom(...nats),
              roles: fc.subarray([...roles]),
              site: fc.option(fc.constantFrom('home', 'Zürich'), { nil: undefined }),
              keys: fc.constantFrom<string[]>([keyOf(n)], [keyOf(n), keyOf(n + 1000)]),
            })
            .map((change) => peer(n, change)),
        ),
      ),
      pairs: fc
        .uniqueArray(
          fc.record({
            x: fc.constantFrom(0, ...numbers),
            y: fc.constantFrom(0, ...numbers),
            via: fc.option(fc.constantFrom(0, ...numbers), { nil: undefined }),
            path: fc.constantFrom(...pairPaths),
            slot: fc.integer({ min: 0, max: 499 }),
          }),
          { selector: ({ x, y }) => Math.min(x, y) * 1000 + Math.max(x, y), maxLength: 10 },
        )
        .map((all) =>
          all
            .filter(({ x, y, via }) => [x, y, via ?? x].every((n) => numbers.includes(n)) && x !== y)
            .filter(({ x, y, via }) => via !== x && via !== y)
            .map(({ x, y, via, path, slot }) => ({
              ...pairOf(idOf(x), idOf(y)),
              path,
              ...(via === undefined ? {} : { via: idOf(via), slot }),
            })),
        ),
      denied: fc.uniqueArray(fc.constantFrom('1a', 'ff', '3')),
      version: fc.nat(),
    }),
  )
  .map(({ peers, ...rest }) => mapOf(peers, rest))

const sorted = (map: PeerMap): PeerMap => ({
  ...map,
  peers: [...map.peers].sort((x, y) => (x.id < y.id ? -1 : 1)),
  pairs: [...map.pairs].sort((x, y) => (x.a + x.b < y.a + y.b ? -1 : 1)),
  denied: [...map.denied].sort(),
})
/** What a map's text says after a change of its plain JSON. */
const changed = (map: PeerMap, change: (raw: unknown[]) => void): string => {
  const raw = JSON.parse(textOf(map)) as unknown[]
  change(raw)
  return JSON.stringify(raw)
}
const complaint = (text: string): string | undefined => {
  const result = parseMap(text)
  return 'errno' in result ? result.detail : undefined
}

describe('a peer map', () => {
  test('comes back from its text, and its text does not depend on the order of its lists', () => {
    fc.assert(
      fc.property(anyMap, (map) => {
        const text = textOf(map)
        expect(parseMap(text)).toEqual({ ok: sorted(map) })
        const reversed = { ...map, peers: [...map.peers].reverse(), pairs: [...map.pairs].reverse() }
        expect(textOf(reversed)).toBe(text)
      }),
    )
  })

  test('is the same text for ever', () => {
    const map = mapOf(
      [
        peer(1, { hubSeen: '203.0.113.1:51820', hubSeenAt: 900, nat: 'public', roles: ['master'], site: 'fra' }),
        peer(2, { keys: [keyOf(2), keyOf(7)], candidates: ['192.168.1.4:51820'], nat: 'cone' }),
        peer(3),
      ],
      { pairs: [{ a: idOf(2), b: idOf(3), path: 'relay', via: idOf(1), slot: 3 }], denied: ['1f'] },
    )
    expect(textOf(map)).toBe(GOLDEN)
    expect(parseMap(GOLDEN)).toEqual({ ok: map })
  })

  test('of a newer program is read as far as this one knows it', () => {
    const map = mapOf([peer(1)])
    const text = changed(map, (raw) => {
      raw.push('a field of the future')
      ;(raw[6] as unknown[][])[0]!.push(1, 2, 3)
    })
    expect(parseMap(text)).toEqual({ ok: map })
    expect(complaint(changed(map, (raw) => (raw[0] = 2)))).toBe(
      'peer map: its form is 2, this program knows 1: update it',
    )
  })

  test('of 200 nodes has some 40 kB', () => {
    const peers = Array.from({ length: 200 }, (_, n) =>
      peer(n, { hubSeen: '203.0.113.99:51820', candidates: ['192.168.1.99:51820'], site: 'frankfurt', rack: 'r12' }),
    )
    expect(textOf(mapOf(peers)).length).toBeLessThan(45_000)
  })

  // biome-ignore lint/suspicious/noExplicitAny: the plain JSON of a map, to be broken at will
  test.each<[string, (raw: any[]) => void, RegExp]>([
    ['no list', (raw) => raw.fill(null), /peer map\.form: expected an integer/],
    ['a key of 31 bytes', (raw) => (raw[6][0][2] = ['AAAA']), /peers\.keys: expected a key of 32 bytes/],
    ['no key', (raw) => (raw[6][0][2] = []), /has no key/],
    ['an id that is none', (raw) => (raw[6][0][0] = 'X'), /peers\.id: expected a node id/],
    ['a host name as endpoint', (raw) => (raw[6][0][6] = ['evil.example:1']), /candidates: expected an ADDRESS:PORT/],
    [
      '11 candidates',
      (raw) => (raw[6][0][6] = Array(11).fill('1.2.3.4:5')),
      /candidates: expected a list of at most 10/,
    ],
    [
      'an address of elsewhere',
      (raw) => (raw[6][0][3] = '10.78.0.1'),
      /has 10\.78\.0\.1, which is not of 10\.77\.0\.0\/16/,
    ],
    ['one address twice', (raw) => (raw[6][1][3] = raw[6][0][3]), /have one address or key/],
    ['one key twice', (raw) => (raw[6][1][2] = raw[6][0][2]), /have one address or key/],
    ['one id twice', (raw) => (raw[6][1][0] = raw[6][0][0]), /entry 1 is not in order of ids/],
    ['a pair of strangers', (raw) => (raw[7] = [[0, 9, 0, null, null]]), /a pair names entry 9, there are 2/],
    ['a pair with itself', (raw) => (raw[7] = [[1, 1, 0, null, null]]), /is not in order/],
    ['a slot without relay', (raw) => (raw[7] = [[0, 1, 0, null, 5]]), /has a slot and no relay/],
    ['a relay that is an end', (raw) => (raw[7] = [[0, 1, 0, 1, 5]]), /is relayed by one of the two/],
    ['a slot too high', (raw) => (raw[7] = [[0, 1, 0, 1, 500]]), /slot: expected an integer 0 … 499/],
  ])('with %s is refused', (_, change, reason) => {
    expect(complaint(changed(mapOf([peer(1), peer(2)]), change))).toMatch(reason)
  })

  test('that is no map at all gets an answer', () => {
    expect(complaint('')).toBe('peer map: not JSON')
    expect(complaint('{}')).toMatch(/^peer map: expected a tuple/)
    fc.assert(fc.property(fc.json(), (text) => 'errno' in parseMap(text)))
  })
})

describe('versions of a peer map', () => {
  test('a higher one of the same mesh takes the place of a lower', () => {
    const held = mapOf([], { version: 7 })
    expect(isNewer(mapOf([], { version: 8 }), held)).toBe(true)
    expect(isNewer(mapOf([], { version: 7 }), held)).toBe(false)
    expect(isNewer(mapOf([], { version: 9, meshId: '00000000000000bb' }), held)).toBe(false)
    expect(isNewer(held, undefined)).toBe(true)
  })

  test('after its time only hubs are kept', () => {
    const map = mapOf([peer(1, { roles: ['master', 'chunkserver'] }), peer(2)])
    expect(trusted(map, map.validUntil).map((p) => p.id)).toEqual([idOf(1), idOf(2)])
    expect(trusted(map, map.validUntil + 1).map((p) => p.id)).toEqual([idOf(1)])
  })

  test('a removed node leaves nothing behind but its certificates among those denied', () => {
    const pairs = [
      { ...pairOf(idOf(1), idOf(2)), path: 'relay' as const, via: idOf(3), slot: 1 },
      { ...pairOf(idOf(1), idOf(3)), path: 'direct' as const },
      { ...pairOf(idOf(1), idOf(4)), path: 'direct' as const, via: idOf(2), slot: 2 },
    ]
    const map = without(
      mapOf(
        [1, 2, 3, 4].map((n) => peer(n)),
        { pairs, denied: ['1'] },
      ),
      idOf(3),
      ['2', '1'],
    )
    expect(map.version).toBe(2)
    expect(map.peers.map((p) => p.id)).toEqual([idOf(1), idOf(2), idOf(4)])
    expect(map.pairs).toEqual([{ ...pairOf(idOf(1), idOf(2)), path: 'relay' }, pairs[2]])
    expect(map.denied).toEqual(['1', '2'])
    expect(parseMap(textOf(map))).toEqual({ ok: map })
  })
})

const GOLDEN =
  '[1,"00000000000000aa",1,1000,605800,"10.77.0.0/16",[["00000000000000000000000000000001","node-1",["AAAAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"10.77.0.2","203.0.113.1:51820",900,[],[],1,1,"fra",null,0,0,0],["00000000000000000000000000000002","node-2",["AAAAAwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","AAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"10.77.0.3",null,0,["192.168.1.4:51820"],[],2,2,null,null,0,0,0],["00000000000000000000000000000003","node-3",["AAAABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"10.77.0.4",null,0,[],[],0,2,null,null,0,0,0]],[[1,2,0,0,3]],["1f"]]'
