/* Random commands of the mesh alone, with hours and days between them, against the naive model; states that forget go the same way. */

import { describe, expect, it } from 'vitest'
import { check } from '../../../src/master/core/check.ts'
import { seedOf } from '../../support/seed.ts'
import { MeshModel } from './mesh-model.ts'
import { Bench, chance } from './support.ts'

describe('random commands of the mesh', () => {
  const base = seedOf()
  for (let i = 0; i < 10; i++) {
    const seed = base + i
    it(`over days agree with a naive model (seed ${seed})`, () => {
      const below = chance(seed)
      const model = new MeshModel()
      const bench = new Bench()
      const forgetful = new Bench()
      let done = 0
      let joins = 0
      for (let n = 0; n < 600; n++) {
        if (below(6) === 0) bench.sec += [30, 700, 7_000, 86_400][below(4)]!
        forgetful.sec = bench.sec
        const { command, expected } = model.step(bench.sec + 1, below)
        const { result } = bench.apply(command, 0, 0)
        expect('errno' in result ? result.errno : undefined, JSON.stringify(command)).toBe(expected)
        // As after a restart, or on a standby: what is held must not decide anything.
        forgetful.state.forget()
        expect(forgetful.apply(command, 0, 0).result).toEqual(result)
        if (expected === undefined) done += 1
        if (expected === undefined && command.kind === 'memberJoined') joins += 1
        expect(check(bench.state)).toEqual([])
        model.compare(bench.state)
      }
      model.compare(forgetful.state)
      // The commands are not mostly refused, or the test would show little.
      expect(done).toBeGreaterThan(150)
      expect(joins).toBeGreaterThan(10)
      expect(rows(forgetful)).toEqual(rows(bench))
    })
  }
})

function rows(bench: Bench): [string, string][] {
  const found: [string, string][] = []
  bench.store.scan({ from: 'A', to: 'z\xff' }, (key, value) => {
    found.push([key, Buffer.from(value).toString('hex')])
    return true
  })
  return found
}
