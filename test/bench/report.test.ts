/* The benchmark's arithmetic: which column a line is divided by, which way round, and what counts as reached or noisy. */

import { describe, expect, test } from 'vitest'
import { type Line, line, table, warnings } from '../../bench/e2e/report.ts'
import { workloads } from '../../bench/e2e/workloads.ts'

const workload = (id: string) => workloads.find((each) => each.id === id)!

const measured = (id: string, values: Line['values'], errors: Line['errors'] = {}): Line =>
  line(workload(id), values, errors)

describe('a line of the benchmark', () => {
  test('takes the median of its runs and divides ours by theirs', () => {
    const result = measured('read', { holdfast: [300, 900, 600], moosefs: [400, 400, 100] })
    expect(result.median).toEqual({ holdfast: 600, moosefs: 400 })
    expect(result).toMatchObject({ ratio: 1.5, goal: 1, reached: true, against: 'moosefs' })
  })

  test('takes the mean of the two middle runs when their number is even', () => {
    expect(measured('read', { holdfast: [1, 2, 4, 100] }).median.holdfast).toBe(3)
  })

  test('turns the ratio round where less is better', () => {
    const result = measured('git-clone', { holdfast: [2], moosefs: [6] })
    expect(result).toMatchObject({ better: 'lower', ratio: 3, reached: true })
  })

  test('compares fsync lines with the peer that flushes, when it was measured', () => {
    const values = { holdfast: [900], moosefs: [600], 'moosefs-sync': [300] }
    expect(measured('create-fsync-1', values)).toMatchObject({ ratio: 3, against: 'moosefs-sync' })
    expect(measured('create-fsync-1', { holdfast: [900], moosefs: [600] })).toMatchObject({ ratio: 1.5 })
  })

  test('wants three times the peer from a small-file line', () => {
    expect(measured('untar', { holdfast: [299], moosefs: [100] })).toMatchObject({ goal: 3, reached: false })
  })

  test('has no ratio and shows a failure when one side failed', () => {
    const failed = measured('untar', { moosefs: [100] }, { holdfast: 'tar ended with 2' })
    expect(failed.ratio).toBeUndefined()
    expect(failed.reached).toBeUndefined()
    expect(table([failed], ['holdfast', 'moosefs'])).toContain('| failed ')
    expect(warnings([failed])).toEqual(['failed: untar on holdfast: tar ended with 2'])
  })

  test('warns when its runs lie far apart, and not when they do not', () => {
    expect(warnings([measured('read', { holdfast: [100, 140, 100] })])).toEqual([
      'noisy: sequential read, cold on holdfast: 100 to 140 MB/s over 3 runs',
    ])
    expect(warnings([measured('read', { holdfast: [100, 120, 100] })])).toEqual([])
  })
})

test('every workload has an id of its own', () => {
  expect(new Set(workloads.map((each) => each.id)).size).toBe(workloads.length)
})
