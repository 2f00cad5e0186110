import { describe, expect, test } from 'vitest'
import { crc32 } from '../../../src/base/checksum.ts'
import { roles } from '../../../src/base/mesh-roles.ts'
import type { HostPort } from '../../../src/mesh/core/endpoint.ts'
import { encodeToken, type JoinToken, parseToken, TOKEN_CHARS_MAX } from '../../../src/mesh/core/token.ts'
import fc from '../../support/properties.ts'

const sample: JoinToken = {
  meshId: '0123456789abcdef',
  hubs: [
    { host: '203.0.113.9', port: 8443 },
    { host: 'hub.example', port: 443 },
  ],
  pin: new Uint8Array(32).fill(7),
  tokenId: 'fedcba9876543210',
  expiresAt: 1_800_000_000,
  roles: ['chunkserver'],
  site: 'home',
  secret: new Uint8Array(32).fill(9),
}
const encoded = (token: JoinToken): string => {
  const result = encodeToken(token)
  if (!('ok' in result)) throw new Error(result.detail)
  return result.ok
}
const complaint = (text: string): string | undefined => {
  const result = parseToken(text)
  return 'errno' in result ? result.detail : undefined
}
/** A token with any payload, its checksum right. */
const withPayload = (payload: Buffer): string => {
  const tail = Buffer.alloc(36, 9)
  tail.writeUInt32BE(crc32(tail.subarray(0, 32), crc32(payload)) >>> 0, 32)
  return `HF1.${payload.toString('base64url')}.${tail.toString('base64url')}`
}
const payloadOf = (text: string): Buffer => Buffer.from(text.split('.')[1]!, 'base64url')

const name = fc.constantFrom('hub.example', 'a', 'hub-1.some-provider.example', 'x'.repeat(20))
const four = fc.ipV4()
const six = fc.constantFrom('2001:db8::1', '2001:db8:0:1::', '::1', '1:2:3:4:5:6:7:8', '2001:0:0:1::2')
const hub = fc.record({ host: fc.oneof(name, four, six), port: fc.integer({ min: 1, max: 65_535 }) })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const hex16 = bytes(8).map((b) => Buffer.from(b).toString('hex'))
const hint = fc.option(fc.constantFrom('home', 'ssd', 'Bücher', 'a b', 'x'.repeat(32)), { nil: undefined })
const anyToken = fc
  .record({
    meshId: hex16,
    hubs: fc.array(hub, { minLength: 1, maxLength: 4 }),
    pin: bytes(32),
    tokenId: hex16,
    expiresAt: fc.integer({ min: 0, max: 0xffff_ffff }),
    roles: fc.subarray([...roles], { minLength: 1 }),
    label: hint,
    site: hint,
    secret: bytes(32),
  })
  .map(({ label, site, ...rest }): JoinToken => ({ ...rest, ...(label ? { label } : {}), ...(site ? { site } : {}) }))

describe('a join token', () => {
  test('is one line of the characters that survive a shell, and comes back as it was', () => {
    fc.assert(
      fc.property(anyToken, (token) => {
        const result = encodeToken(token)
        if (!('ok' in result)) {
          expect(result.detail).toMatch(/^join token: it would have \d+ characters, more than 240/)
          return
        }
        expect(result.ok).toMatch(/^HF1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{48}$/)
        expect(result.ok.length).toBeLessThanOrEqual(TOKEN_CHARS_MAX)
        expect(parseToken(`  ${result.ok}\n`)).toEqual({ ok: token })
      }),
    )
  })

  test('has some 160 characters with one or two hubs, and room for four of any kind', () => {
    expect(encoded(sample).length).toBe(163)
    const hubs: HostPort[] = [1, 2, 3, 4].map((n) => ({ host: `2001:db8::${n}`, port: 8443 }))
    expect(encoded({ ...sample, hubs, site: '' }).length).toBeLessThanOrEqual(TOKEN_CHARS_MAX)
  })

  test('is the same bytes for ever', () => {
    expect(encoded(sample)).toBe(GOLDEN)
    expect(parseToken(GOLDEN)).toEqual({ ok: sample })
  })

  test('that cannot be read back is not made', () => {
    const wrong = (change: Partial<JoinToken>): string | undefined => {
      const result = encodeToken({ ...sample, ...change })
      return 'errno' in result ? result.detail : undefined
    }
    expect(wrong({ meshId: 'x' })).toBe('join token: the mesh id has to be 16 hex digits')
    expect(wrong({ pin: new Uint8Array(31) })).toBe('join token: the pin has to be 32 bytes')
    expect(wrong({ secret: new Uint8Array(33) })).toBe('join token: the secret has to be 32 bytes')
    expect(wrong({ hubs: [] })).toBe('join token: 1 to 4 hubs are needed, there are 0')
    expect(wrong({ roles: [] })).toBe('join token: at least one role is needed')
    expect(wrong({ site: 'a\nb' })).toBe('join token: the site has characters that cannot be printed')
    expect(wrong({ label: 'ä'.repeat(17) })).toBe('join token: the label has more than 32 bytes')
    expect(wrong({ hubs: [{ host: 'no such host', port: 1 }] })).toMatch(/^join token: hub 1: /)
    expect(wrong({ hubs: [{ host: 'fe80::1%eth0', port: 1 }] })).toMatch(/a scope means nothing/)
    expect(wrong({ hubs: [{ host: 'a.example', port: 70_000 }] })).toMatch(/a port is 1 to 65535/)
    expect(wrong({ expiresAt: 1.5 })).toBe('join token: the expiry has to be in whole seconds since 1970')
    expect(wrong({ hubs: [1, 2, 3].map((n) => ({ host: `${'long-name.'.repeat(5)}${n}x`, port: 1 })) })).toMatch(
      /give fewer hubs or shorter names/,
    )
  })
})

describe('what is not a join token is refused with the reason', () => {
  const good = encoded(sample)
  test.each([
    ['', 'it is empty'],
    ['K10abc::server:x', 'it does not begin with HF1.'],
    ['x'.repeat(2000), 'it has 2000 characters; a token has at most 240'],
    [good.replace('HF1', 'HF2'), 'it is of version 2, this program knows version 1: update it'],
    [good.slice(0, 60), 'expected two parts after HF1., found 1; was it copied whole?'],
    [good.slice(0, -1), 'the second part is not a secret with its checksum; was it copied whole?'],
    [`${good}AAAA`, 'the second part is not a secret with its checksum; was it copied whole?'],
    [`${good.slice(0, 30)}\n${good.slice(30)}`, 'character 31 cannot be part of a token; was it broken into lines?'],
    [`${good}.x`, 'expected two parts after HF1., found 3; was it copied whole?'],
    [`HF1.B${good.slice(5)}`, 'the checksum is wrong; was it copied whole?'],
  ])('text %#', (text, reason) => expect(complaint(text)).toBe(`join token: ${reason}`))

  test.each([
    ['a newer version', (p: Buffer) => Buffer.from([2, ...p.subarray(1)]), /content is of version 2/],
    ['a role of the future', (p: Buffer) => p.fill(0x82, 53, 54), /a role that this program does not know/],
    ['no role', (p: Buffer) => p.fill(0, 53, 54), /it has no role/],
    ['no hub', (p: Buffer) => p.fill(0, 54, 55), /it has 0 hubs/],
    ['five hubs', (p: Buffer) => p.fill(5, 54, 55), /it has 5 hubs, 1 to 4/],
    ['a strange kind of hub', (p: Buffer) => p.fill(9, 55, 56), /hub 1 \(byte 55\): unknown kind of address 9/],
    ['port 0', (p: Buffer) => p.fill(0, 60, 62), /hub 1: .*a port is 1 to 65535/],
    ['more after the end', (p: Buffer) => Buffer.concat([p, Buffer.from([1])]), /1 bytes too many after the site/],
    ['a cut hub', (p: Buffer) => p.subarray(0, 58), /it ends within hub 1 \(byte 58\)/],
    ['half a letter', (p: Buffer) => p.fill(0xc3, p.length - 1), /the site has characters that cannot be printed/],
  ])('%s', (_, change, reason) => {
    const text = withPayload(change(Buffer.from(payloadOf(good))))
    expect(complaint(text)).toMatch(reason)
    expect(complaint(text)).toMatch(/^join token: /)
  })

  test('whatever the bytes: an answer, never an accident, and nothing of the secret in it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (random) => {
        const result = parseToken(withPayload(Buffer.from(random)))
        if ('errno' in result) expect(result.detail).toMatch(/^join token: /)
        else expect(parseToken(encoded(result.ok))).toEqual(result)
      }),
    )
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (text) => {
        expect('errno' in parseToken(text)).toBe(true)
      }),
    )
  })

  test('one character changed anywhere is noticed', () => {
    for (let i = 4; i < good.length; i++) {
      const other = good[i] === 'A' ? 'B' : 'A'
      const changed = good.slice(0, i) + other + good.slice(i + 1)
      expect(complaint(changed), `character ${i}`).toBeDefined()
    }
  })
})

const GOLDEN =
  'HF1.AQEjRWeJq83vBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwf-3LqYdlQyEGtJ0gACAgTLAHEJIPsbaHViLmV4YW1wbGUBuwAEaG9tZQ.CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkQkwPD'
