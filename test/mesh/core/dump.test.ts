import { describe, expect, test } from 'vitest'
import { parseDump } from '../../../src/mesh/core/dump.ts'
import { keyOf } from '../../support/mesh-samples.ts'
import fc from '../../support/properties.ts'

const PRIVATE = 'cHJpdmF0ZSBrZXkgdGhhdCBub2JvZHkgbWF5IHNlZSE='
const PRESHARED = 'cHJlc2hhcmVkIGtleSB0aGF0IG5vYm9keSBtYXkgc2U='
const line = (...fields: (string | number)[]): string => `${fields.join('\t')}\n`
const head = line(PRIVATE, keyOf(0), 51820, 'off')
const complaint = (text: string, strict = true): string | undefined => {
  const result = parseDump(text, { strict })
  return 'errno' in result ? result.detail : undefined
}

describe('wg show dump', () => {
  test('is read field by field', () => {
    const text =
      head +
      line(keyOf(1), '(none)', '203.0.113.5:51820', '10.77.0.2/32,10.77.0.9/32', 1_700_000_000, 148, 92, 25) +
      line(keyOf(2), PRESHARED, '[fe80::1%eth0]:51820', '(none)', 0, 0, 9_007_199_254_740_991, 'off') +
      line(keyOf(3), '(none)', '(none)', '(none)', 0, 0, 0, 'off')
    expect(parseDump(text, { strict: true })).toEqual({
      ok: {
        publicKey: keyOf(0),
        listenPort: 51820,
        fwmark: 0,
        peers: [
          {
            publicKey: keyOf(1),
            hasPresharedKey: false,
            endpoint: '203.0.113.5:51820',
            allowedIps: ['10.77.0.2/32', '10.77.0.9/32'],
            latestHandshakeS: 1_700_000_000,
            rxBytes: 148,
            txBytes: 92,
            keepaliveS: 25,
          },
          {
            publicKey: keyOf(2),
            hasPresharedKey: true,
            endpoint: '[fe80::1%eth0]:51820',
            allowedIps: [],
            latestHandshakeS: 0,
            rxBytes: 0,
            txBytes: 9_007_199_254_740_991,
            keepaliveS: 0,
          },
          {
            publicKey: keyOf(3),
            hasPresharedKey: false,
            allowedIps: [],
            latestHandshakeS: 0,
            rxBytes: 0,
            txBytes: 0,
            keepaliveS: 0,
          },
        ],
      },
    })
  })

  test('of a new interface has no key', () => {
    expect(parseDump(line('(none)', '(none)', 0, 'off'))).toEqual({ ok: { listenPort: 0, fwmark: 0, peers: [] } })
    expect(parseDump(line('(none)', '(none)', 0, '0x1f'))).toMatchObject({ ok: { fwmark: 31 } })
  })

  test('gives no secret away, neither as value nor in what it complains of', () => {
    const good = head + line(keyOf(1), PRESHARED, '(none)', '(none)', 0, 0, 0, 'off')
    for (let cut = 0; cut <= good.length; cut++)
      for (const text of [good.slice(0, cut), `${good.slice(0, cut)}\n`, good.slice(cut), good.replaceAll('\t', ' ')])
        for (const strict of [true, false]) {
          const said = JSON.stringify(parseDump(text, { strict }))
          // The secret as the first field of the first line, where it always stands.
          if (text.startsWith(PRIVATE)) expect(said).not.toContain(PRIVATE.slice(0, 8))
          if (cut <= head.length) expect(said).not.toContain(PRESHARED.slice(0, 8))
        }
  })

  test.each([
    ['', 'line 1: there is none'],
    ['\n', 'line 1: expected 4 fields'],
    [head.slice(0, -1), 'line 1: it does not end with a line feed'],
    [line('x', 'no key', 0, 'off'), 'line 1: the public key is none'],
    [line('x', keyOf(1), 65_536, 'off'), 'line 1: the listen port is none'],
    [line('x', keyOf(1), 1, 'on'), 'line 1: the fwmark is neither off nor a number'],
    [line('x', keyOf(1), 1, 'off', 1), 'line 1: expected 4 fields'],
    [head + line(keyOf(1), '(none)', '(none)'), 'line 2: expected 8 fields'],
    [head + line('x', '(none)', '(none)', '(none)', 0, 0, 0, 'off'), 'line 2: the public key is none'],
    [head + line(keyOf(1), '(none)', '(none)', '(none)', -1, 0, 0, 'off'), 'line 2: the latest handshake is no time'],
    [head + line(keyOf(1), '(none)', '(none)', '(none)', 0, 'x', 0, 'off'), 'line 2: a counter of bytes is no number'],
    [
      head + line(keyOf(1), '(none)', '(none)', '(none)', 0, 0, 0, 'x'),
      'line 2: the keepalive is neither off nor seconds',
    ],
    [
      head + line(keyOf(1), '(none)', '(none)', '(none)', 0, 0, 0, 'off').repeat(2),
      'line 3: the peer was listed before',
    ],
  ])('number %# of those that are none is refused', (text, reason) =>
    expect(complaint(text)).toBe(`wg show dump, ${reason}`),
  )

  test('of a newer tool may have more fields, outside of tests', () => {
    const text = head.replace('\n', '\tmore\n') + line(keyOf(1), '(none)', '(none)', '(none)', 0, 0, 0, 'off', 'more')
    expect(complaint(text)).toBeDefined()
    expect(complaint(text, false)).toBeUndefined()
  })

  test('whatever the text: an answer, never an accident', () => {
    fc.assert(fc.property(fc.string(), (text) => parseDump(text) !== undefined))
  })
})
