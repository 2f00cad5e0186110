import { describe, expect, test } from 'vitest'
import { IdleWatch } from '../../src/host/idle-memory.ts'

describe('a role that was busy', () => {
  test('collects once, when it is idle', () => {
    const watch = new IdleWatch()
    for (let i = 0; i < 3; i++) expect(watch.look(4_000, 5_000)).toBe(false)
    expect(watch.look(10, 5_000)).toBe(true)
    expect(watch.look(10, 5_000)).toBe(false)
  })

  test('does not when there was too little work, until that adds up', () => {
    const watch = new IdleWatch()
    expect(watch.look(6_000, 6_000)).toBe(false)
    expect(watch.look(0, 5_000)).toBe(false)
    expect(watch.look(6_000, 6_000)).toBe(false)
    expect(watch.look(0, 5_000)).toBe(true)
  })
})
