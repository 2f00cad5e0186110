/* Lines of the disk list as operators write them, and the space they leave. */

import { describe, expect, test } from 'vitest'
import {
  availableBytes,
  LEAVE_FREE_BYTES_DEFAULT,
  parseDiskSpec,
  type SpaceRule,
} from '../../../src/chunk/core/disk-spec.ts'

const GiB = 2 ** 30
const good = (line: string) => {
  const parsed = parseDiskSpec(line)
  if ('errno' in parsed) throw new Error(parsed.detail)
  return parsed.ok
}
describe('a line of the disk list', () => {
  test.each([
    ['/mnt/a', { kind: 'leave', amount: { bytes: LEAVE_FREE_BYTES_DEFAULT } }],
    ['/mnt/a 100GiB', { kind: 'use', amount: { bytes: 100 * GiB } }],
    ['/mnt/a 1.5T', { kind: 'use', amount: { bytes: 1.5e12 } }],
    ['/mnt/a .5kB', { kind: 'use', amount: { bytes: 500 } }],
    ['/mnt/a 4096', { kind: 'use', amount: { bytes: 4096 } }],
    ['/mnt/a 4096B', { kind: 'use', amount: { bytes: 4096 } }],
    ['/mnt/a 10ki', { kind: 'use', amount: { bytes: 10240 } }, 'EINVAL'],
    ['/mnt/a 10Ki', { kind: 'use', amount: { bytes: 10240 } }],
    ['/mnt/a 80%', { kind: 'use', amount: { percent: 80 } }],
    ['/mnt/a -5GiB', { kind: 'leave', amount: { bytes: 5 * GiB } }],
    ['/mnt/a -10%', { kind: 'leave', amount: { percent: 10 } }],
    ['/mnt/a =', { kind: 'shared' }],
    ['/mnt/a =1T', { kind: 'sharedUse', amount: { bytes: 1e12 } }],
    ['/mnt/a =50%', { kind: 'sharedUse', amount: { percent: 50 } }],
    ['/mnt/a =-1M', { kind: 'sharedLeave', amount: { bytes: 1e6 } }],
    ['\t /mnt/a \t =-2.5% ', { kind: 'sharedLeave', amount: { percent: 2.5 } }],
  ])('%s', (line, space, refused?: string) => {
    if (refused !== undefined) {
      expect(parseDiskSpec(line)).toMatchObject({ errno: refused })
      return
    }
    expect(good(line)).toMatchObject({ path: '/mnt/a', space })
  })

  test('a disk is marked for removal, and a mark for what always holds changes nothing', () => {
    expect(good('/d').marked).toBe(false)
    expect(good('*/d').marked).toBe(true)
    expect(good('~*/d 1G')).toEqual(good('*~/d 1G'))
    expect(good('~/d')).toEqual(good('/d'))
  })

  test('marks for moving chunks without the master are refused with what to do instead', () => {
    for (const [line, column, instead] of [
      ['</d 1G', 1, 'holdfast disk drain'],
      ['*>/d', 2, 'leave it out'],
    ] as const) {
      const refused = parseDiskSpec(line)
      expect(refused).toMatchObject({ errno: 'EINVAL', detail: expect.stringContaining(`column ${column}: `) })
      expect(refused).toMatchObject({ detail: expect.stringMatching(`the master decides.*${instead}`) })
    }
  })

  test.each([
    ['', 'column 1'],
    ['mnt/a', 'column 1'],
    ['**/a', 'column 2'],
    ['~*~/a', 'column 3'],
    ['!/a', 'column 1'],
    ['/a 10X', 'column 6'],
    ['/a 10KB', 'column 6'],
    ['/a GiB', 'column 4'],
    ['/a -', 'column 5'],
    ['/a =-', 'column 6'],
    ['/a 101%', 'column 4'],
    ['/a 10G rw', 'column 8'],
    ['/a 1.2.3G', 'column 7'],
    ['/a 99999999E', 'column 4'],
  ])('%j is refused with the place of the mistake', (line, column) => {
    expect(parseDiskSpec(line)).toMatchObject({ errno: 'EINVAL', detail: expect.stringContaining(`${column}:`) })
  })
})

describe('space under a rule', () => {
  const space = { totalBytes: 1000, availableBytes: 400 }
  test.each<[SpaceRule, number, number]>([
    [{ kind: 'use', amount: { bytes: 500 } }, 200, 300],
    [{ kind: 'use', amount: { bytes: 900 } }, 200, 400],
    [{ kind: 'use', amount: { bytes: 100 } }, 200, 0],
    [{ kind: 'use', amount: { percent: 50 } }, 200, 300],
    [{ kind: 'leave', amount: { bytes: 150 } }, 200, 250],
    [{ kind: 'leave', amount: { percent: 10 } }, 200, 300],
    [{ kind: 'leave', amount: { bytes: 500 } }, 200, 0],
    [{ kind: 'shared' }, 200, 400],
    [{ kind: 'sharedUse', amount: { bytes: 300 } }, 200, 300],
    [{ kind: 'sharedUse', amount: { percent: 25 } }, 200, 100],
    [{ kind: 'sharedLeave', amount: { bytes: 300 } }, 200, 100],
    [{ kind: 'sharedLeave', amount: { percent: 25 } }, 200, 300],
  ])('%j with %d own bytes offers %d', (rule, own, expected) => {
    expect(availableBytes(rule, space, own)).toBe(expected)
  })
})
