import { describe, expect, test } from 'vitest'
import { LABELS_MAX, labelName, labelNames, labelText } from '../../src/topology/label-names.ts'
import fc from '../support/properties.ts'

const refused = (text: string): string => {
  const name = labelName(text)
  return 'errno' in name ? `${name.errno}: ${name.detail}` : `taken: ${name.ok}`
}

describe('a label', () => {
  test.each([
    ['A', 'A'],
    ['z', 'Z'],
    ['{h}', 'H'],
    ['usb-backup', 'usb-backup'],
    ['{usb-backup}', 'usb-backup'],
    ['10gbit_v1.2', '10gbit_v1.2'],
    ['x'.repeat(32), 'x'.repeat(32)],
  ])('may be called %s', (text, name) => {
    expect(labelName(text)).toEqual({ ok: name })
  })

  test.each([
    ['', 'single character'],
    ['1', 'single character is a letter'],
    ['é', 'single character is a letter'],
    ['USB', 'lower-case'],
    ['usb backup', 'lower-case'],
    ['-usb', 'begins with'],
    ['{usb', 'lower-case'],
    ['usb|b', 'lower-case'],
    ['ü-disk', 'lower-case'],
    ['x'.repeat(33), '33 characters, at most 32'],
  ])('may not be called %j', (text, why) => {
    expect(refused(text)).toMatch(/^EINVAL: /)
    expect(refused(text)).toContain(why)
  })

  test('reads in an expression as it was given', () => {
    expect([labelText('H'), labelText('usb-backup')]).toEqual(['H', '{usb-backup}'])
    for (const name of ['H', 'usb-backup']) expect(labelName(labelText(name))).toEqual({ ok: name })
  })

  test('among several is named once, and the order of typing does not matter', () => {
    expect(labelNames(['b', 'usb', 'A', 'B'])).toEqual({ ok: ['A', 'B', 'usb'] })
    const some = fc.array(fc.constantFrom('a', 'B', 'b', 'ssd', 'usb', 'x1'), { maxLength: 12 })
    fc.assert(
      fc.property(some, (names) => {
        const once = labelNames(names)
        expect(once).toEqual(labelNames([...names].reverse()))
        expect('ok' in once && labelNames(once.ok)).toEqual(once)
      }),
    )
  })

  test('is one of at most as many as fit', () => {
    const names = Array.from({ length: LABELS_MAX + 1 }, (_, i) => `n${i}`)
    expect(labelNames(names.slice(1))).toMatchObject({ ok: { length: LABELS_MAX } })
    expect(labelNames(names)).toMatchObject({ errno: 'EINVAL' })
    expect(labelNames(['A', 'USB'])).toMatchObject({ errno: 'EINVAL' })
  })
})
