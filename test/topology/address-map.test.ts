import { describe, expect, test } from 'vitest'
import { type AddressMap, EMPTY_MAP, numberOf, parseAddressMap } from '../../src/topology/address-map.ts'
import { locate } from '../../src/topology/location.ts'
import fc from '../support/properties.ts'

const map = (...lines: string[]): AddressMap => {
  const parsed = parseAddressMap(lines.join('\n'))
  if ('errno' in parsed) throw new Error(parsed.detail)
  return parsed.ok
}
const refusal = (...lines: string[]): string => {
  const parsed = parseAddressMap(lines.join('\n'))
  return 'errno' in parsed ? `${parsed.errno} ${parsed.detail}` : 'taken'
}

describe('a topology file', () => {
  test('says rack, or site and rack, of an address', () => {
    const file = map('# two rooms', '', '192.168.1.0/24   r1', '10.0.0.7 home|shelf # the NAS', '10.0.0.8 a|b|c')
    expect(file.rules).toBe(3)
    expect(file.regionOf('192.168.1.200')).toEqual({ rack: 'r1' })
    expect(file.regionOf('10.0.0.7')).toEqual({ site: 'home', rack: 'shelf' })
    expect(file.regionOf('10.0.0.8')).toEqual({ site: 'a', rack: 'b|c' })
    expect(file.regionOf('10.0.0.9')).toEqual({})
  })

  test('takes every form of addresses', () => {
    const file = map('1.2.3.0/255.255.255.128 mask', '1.2.4.10-1.2.5.20 range', '1.2.6.9/28 bits', '1.2.7.1 one')
    const rackOf = (address: string) => file.regionOf(address).rack
    expect([rackOf('1.2.3.127'), rackOf('1.2.3.128')]).toEqual(['mask', undefined])
    expect(['1.2.4.9', '1.2.4.10', '1.2.5.20', '1.2.5.21'].map(rackOf)).toEqual([
      undefined,
      'range',
      'range',
      undefined,
    ])
    expect(['1.2.6.0', '1.2.6.15', '1.2.6.16'].map(rackOf)).toEqual(['bits', 'bits', undefined])
    expect(['1.2.7.1', '1.2.7.2'].map(rackOf)).toEqual(['one', undefined])
  })

  test('knows IPv6, and IPv4 in the form of IPv6', () => {
    const file = map('fd00::/8 mesh', 'fd00::a-fd00::ff near', '10.0.0.0/8 four')
    expect(file.regionOf('fd12:3456::1')).toEqual({ rack: 'mesh' })
    expect(file.regionOf('fd00:0:0:0:0:0:0:20')).toEqual({ rack: 'near' })
    expect(file.regionOf('::ffff:10.1.2.3')).toEqual({ rack: 'four' })
    expect(file.regionOf('[fd00::b%eth0]')).toEqual({ rack: 'near' })
    expect(file.regionOf('fe80::1')).toEqual({})
    expect(map('::/0 all').regionOf('10.0.0.1')).toEqual({})
  })

  test('lets the last rule that matches hold, as MooseFS does', () => {
    const file = map('* elsewhere', '10.0.0.0/8 ten', '10.1.0.0/16 eleven', '10.0.0.0/9 again')
    expect(['9.9.9.9', '10.200.0.1', '10.1.0.1', 'a-name'].map((a) => file.regionOf(a).rack)).toEqual([
      'elsewhere',
      'ten',
      'again',
      'elsewhere',
    ])
  })

  test.each([
    [['1.2.3.4'], 'line 1: expected ADDRESS PATH'],
    [['', '1.2.3.4 a b'], 'line 2: expected ADDRESS PATH'],
    [['1.2.3 a'], 'expected *, an address'],
    [['1.2.3.256 a'], 'expected *, an address'],
    [['1.2.3.4/33 a'], '0 to 32 bits'],
    [['::1/129 a'], '0 to 128 bits'],
    [['1.2.3.4/255.0.255.0 a'], '0 to 32 bits'],
    [['1.2.3.4/8/9 a'], 'expected *, an address'],
    [['1.2.3.4-1.2.3.3 a'], 'ends before it begins'],
    [['1.2.3.4-::1 a'], 'IPv4 and IPv6'],
    [['1.2.3.4-x a'], 'two addresses'],
    [['* a||b'], 'empty element'],
    [['* |'], 'empty element'],
    [[`* ${'x'.repeat(65)}`], 'more than 64'],
    [['1::2::3 a'], 'expected *, an address'],
    [['12345::1 a'], 'expected *, an address'],
  ])('%j is refused: %s', (lines, why) => {
    expect(refusal(...lines)).toMatch(/^EINVAL line \d+: /)
    expect(refusal(...lines)).toContain(why)
  })

  test('counts addresses as numbers do', () => {
    const part = fc.integer({ min: 0, max: 255 })
    fc.assert(
      fc.property(part, part, part, part, fc.integer({ min: 0, max: 32 }), (a, b, c, d, bits) => {
        const address = `${a}.${b}.${c}.${d}`
        const value = BigInt(((a * 256 + b) * 256 + c) * 256 + d)
        expect(numberOf(address)).toEqual({ family: 4, value })
        const file = map(`${address}/${bits} in`)
        const last = value | ((1n << BigInt(32 - bits)) - 1n)
        const text = (n: bigint) => [24n, 16n, 8n, 0n].map((shift) => (n >> shift) & 255n).join('.')
        expect(file.regionOf(text(last)).rack).toBe('in')
        if (last < 2n ** 32n - 1n) expect(file.regionOf(text(last + 1n)).rack).toBeUndefined()
      }),
    )
  })
})

describe('a place', () => {
  const addresses = map('10.0.0.0/8 home|shelf')
  test('is what is declared, word for word, and what the address says for the rest', () => {
    expect(locate({ host: '10.0.0.1' }, addresses)).toEqual({ host: '10.0.0.1', site: 'home', rack: 'shelf' })
    expect(locate({ host: '10.0.0.1', rack: 'cellar', site: '' }, addresses)).toEqual({
      host: '10.0.0.1',
      site: 'home',
      rack: 'cellar',
    })
    expect(locate({ host: '10.0.0.1', machine: 'nas', rack: 'r', site: 's' }, addresses)).toEqual({
      host: 'nas',
      site: 's',
      rack: 'r',
    })
    const measured = { site: 's1', rack: 'r7' }
    expect(locate({ host: '10.0.0.1', rack: 'cellar' }, addresses, measured)).toMatchObject({
      site: 'home',
      rack: 'cellar',
    })
    expect(locate({ host: '10.0.0.1', rack: 'cellar' }, EMPTY_MAP, measured)).toMatchObject({
      site: 's1',
      rack: 'cellar',
    })
    expect(locate({ host: '10.0.0.1' }, EMPTY_MAP, measured)).toMatchObject(measured)
    expect(locate({ host: '10.0.0.1' }, EMPTY_MAP)).toEqual({ host: '10.0.0.1' })
  })
})
