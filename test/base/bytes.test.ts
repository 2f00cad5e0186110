import { describe, expect, it } from 'vitest'
import { sliceParts } from '../../src/base/bytes.ts'
import fc from '../support/properties.ts'

describe('bytes in parts', () => {
  it('are sliced as the same bytes in one piece would be, without empty parts', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9 })), fc.nat(40), fc.option(fc.nat(40)), (parts, from, to) => {
        const sliced = to === null ? sliceParts(parts, from) : sliceParts(parts, from, to)
        const whole = Buffer.concat(parts)
        expect(Buffer.concat(sliced)).toEqual(whole.subarray(from, to === null ? undefined : Math.max(from, to)))
        expect(sliced.every((part) => part.length > 0)).toBe(true)
      }),
    )
  })
})
