import { describe, expect, it } from 'vitest'
import { isSameMachine, thisMachine } from '../../src/host/machine.ts'

describe('a machine', () => {
  it('is told by what it has: the same each time, and nothing of it in the clear', async () => {
    const [once, again] = [await thisMachine(), await thisMachine()]
    expect(again).toEqual(once)
    expect(once.machine).toMatch(/^[0-9a-f]{64}$/)
    for (const card of once.cards) expect(card).toMatch(/^[0-9a-f]{16}$/)
  })

  it.each([
    ['with a further card', ['a'], ['a', 'b'], true],
    ['with one card less', ['a', 'b'], ['b'], true],
    ['before its network is there', ['a'], [], true],
    ['that had no card when it joined', [], ['a'], true],
    ['with other cards only, as a copy has them', ['a'], ['b'], false],
  ])('%s is known again or not', (_, cards, found, same) => {
    expect(isSameMachine({ machine: 'm', cards }, { machine: 'm', cards: found })).toBe(same)
    expect(isSameMachine({ machine: 'm', cards }, { machine: 'other', cards: found })).toBe(false)
  })
})
