import { describe, expect, test } from 'vitest'
import {
  candidateStep,
  endpointsTo,
  isPunchable,
  needsHelp,
  ownCandidates,
  shareNetwork,
} from '../../../src/mesh/core/candidates.ts'
import { hostOf, isLiteral, parseHostPort, sameEndpoint, scopeOf } from '../../../src/mesh/core/endpoint.ts'
import { peer } from '../../support/mesh-samples.ts'

const home = (n: number, seen: string, ...candidates: string[]) => peer(n, { nat: 'cone', hubSeen: seen, candidates })

describe('the candidates that a node reports', () => {
  const options = { meshInterface: 'hf0', prefix: '10.77.0.0/16', port: 51_820 }
  test('are its addresses that others may reach, those of the internet first', () => {
    const addresses = [
      { name: 'lo', address: '127.0.0.1' },
      { name: 'eth0', address: '192.168.1.4' },
      { name: 'eth0', address: 'fe80::1' },
      { name: 'eth0', address: 'fd12::4' },
      { name: 'eth0', address: '2001:db8::4' },
      { name: 'eth1', address: '203.0.113.4' },
      { name: 'docker0', address: '172.17.0.1' },
      { name: 'br-1a2b', address: '172.18.0.1' },
      { name: 'virbr0', address: '192.168.122.1' },
      { name: 'hf0', address: '10.77.0.5' },
      { name: 'vmbr0', address: '10.77.9.9' },
      { name: 'vmbr1', address: '10.1.2.3' },
      { name: 'eth2', address: '169.254.1.1' },
    ]
    expect(ownCandidates(addresses, options)).toEqual([
      '[2001:db8::4]:51820',
      '203.0.113.4:51820',
      '192.168.1.4:51820',
      '10.1.2.3:51820',
    ])
  })
  test('are ten at most', () => {
    const many = Array.from({ length: 30 }, (_, i) => ({ name: 'eth0', address: `192.168.1.${i + 1}` }))
    expect(ownCandidates(many, options)).toHaveLength(10)
  })
})

describe('the ways to a node', () => {
  const a = home(1, '203.0.113.1:1000', '192.168.1.10:51820')
  test('behind the same router: by the network they share first', () => {
    const b = home(2, '203.0.113.1:2000', '192.168.1.11:51820')
    expect(endpointsTo(a, b)).toEqual(['192.168.1.11:51820', '203.0.113.1:2000'])
    expect(shareNetwork(a, b)).toBe(true)
  })
  test('behind another router: never by its private addresses, which may be a stranger here', () => {
    expect(endpointsTo(a, home(2, '203.0.113.2:2000', '192.168.1.11:51820'))).toEqual(['203.0.113.2:2000'])
  })
  test('by IPv6 before IPv4 when both have it, not at all when one lacks it', () => {
    const six = home(2, '203.0.113.2:2000', '[2001:db8::2]:51820')
    expect(endpointsTo(home(1, '203.0.113.1:1', '[2001:db8::1]:51820'), six)).toEqual([
      '[2001:db8::2]:51820',
      '203.0.113.2:2000',
    ])
    expect(endpointsTo(a, six)).toEqual(['203.0.113.2:2000'])
  })
  test('where its operator says before where the hub sees it', () => {
    const advertised = { ...home(2, '203.0.113.2:2000'), statics: ['198.51.100.7:51820', '[2001:db8::7]:51820'] }
    expect(endpointsTo(a, advertised)).toEqual(['198.51.100.7:51820', '203.0.113.2:2000'])
  })
  test('what a hub in the same network sees is of use there only', () => {
    const inside = home(2, '192.168.5.20:51820', '192.168.5.20:51820')
    expect(endpointsTo(a, inside)).toEqual([])
    expect(endpointsTo(home(1, '192.168.5.30:51820'), inside)).toEqual(['192.168.5.20:51820'])
    expect(endpointsTo(home(1, '192.168.6.30:51820'), inside)).toEqual([])
  })
})

describe('whether two nodes behind NATs may find each other', () => {
  const cone = home(1, '203.0.113.1:1')
  const other = home(2, '203.0.113.2:2')
  const symmetric = { ...other, nat: 'symmetric' as const }
  test.each([
    ['two cones', cone, other, true],
    ['one symmetric', cone, symmetric, false],
    ['one that nobody sees', cone, peer(2), false],
    [
      'symmetric, in one network',
      { ...symmetric, candidates: ['192.168.1.2:1'] },
      home(3, '203.0.113.2:9', '192.168.1.3:1'),
      true,
    ],
    [
      'symmetric, with IPv6',
      { ...symmetric, candidates: ['[2001:db8::2]:1'] },
      { ...cone, candidates: ['[2001:db8::1]:1'] },
      true,
    ],
  ])('%s', (_, x, y, expected) => expect([isPunchable(x, y), isPunchable(y, x)]).toEqual([expected, expected]))

  test('a public one needs no help', () => {
    expect(needsHelp(cone, other)).toBe(true)
    expect(needsHelp(cone, peer(3, { nat: 'public' }))).toBe(false)
  })
})

test('candidates change every 5 s for two rounds, then once a minute', () => {
  expect([0, 4_999, 5_000, 99_999, 100_000, 159_999, 160_000].map((ms) => candidateStep(1000, 1000 + ms))).toEqual([
    0, 0, 1, 19, 20, 20, 21,
  ])
  expect(candidateStep(1000, 0)).toBe(0)
})

describe('an endpoint', () => {
  test.each([
    ['1.2.3.4:5', { host: '1.2.3.4', port: 5 }],
    ['[::1]:65535', { host: '::1', port: 65_535 }],
    ['Hub.Example:443', { host: 'hub.example', port: 443 }],
  ])('%s is one', (text, parsed) => expect(parseHostPort(text)).toEqual({ ok: parsed }))
  test.each([
    '',
    ':1',
    '1.2.3.4',
    '1.2.3.4:0',
    '1.2.3.4:65536',
    '::1:5',
    '[1.2.3.4]:5',
    '1.2.3.400:5',
    '-a.example:1',
    'a b:1',
  ])('%j is none', (text) => expect('errno' in parseHostPort(text)).toBe(true))
  test('is compared by its number and its scope', () => {
    expect(sameEndpoint('[2001:db8::1]:5', '[2001:DB8:0:0:0:0:0:1]:5')).toBe(true)
    expect(sameEndpoint('[fe80::1%eth0]:5', '[fe80::1%eth1]:5')).toBe(false)
    expect(sameEndpoint('1.2.3.4:5', '1.2.3.4:6')).toBe(false)
    expect(sameEndpoint('a.example:5', 'b.example:5')).toBe(false)
  })
  test('is literal or a name', () => {
    expect([isLiteral('1.2.3.4:5'), isLiteral('[::1]:5'), isLiteral('a.example:5')]).toEqual([true, true, false])
    expect(hostOf('[::1]:5')).toBe('::1')
  })
  test('has a scope', () => {
    const scopes = ['8.8.8.8', '10.1.1.1', '100.64.0.1', '127.0.0.1', 'fe80::1', 'fd00::1', '2001:db8::1', 'name', '::']
    expect(scopes.map(scopeOf)).toEqual([
      'public',
      'private',
      'private',
      'useless',
      'useless',
      'private',
      'public',
      'useless',
      'useless',
    ])
  })
})
