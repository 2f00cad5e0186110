import { expect, test } from 'vitest'
import { Places } from '../../src/base/places.ts'
import fc from '../support/properties.ts'

const tick = () => new Promise((resolve) => setImmediate(resolve))

test('whatever comes, ends or is called off: places are never exceeded, kept ones are for the urgent, nobody waits beside a free one', async () => {
  const acts = fc.array(
    fc.oneof(
      fc.record({ come: fc.integer({ min: 0, max: 3 }) }),
      fc.record({ end: fc.nat() }),
      fc.record({ off: fc.nat() }),
    ),
    { maxLength: 60 },
  )
  await fc.assert(
    fc.asyncProperty(acts, async (list) => {
      const places = new Places({ places: 3, kept: 2 })
      const running: { rank: number; end: () => void }[] = []
      const begun: number[] = []
      let waiting: { id: number; rank: number; stop: AbortController }[] = []
      let id = 0
      for (const act of list) {
        if ('come' in act) {
          const one = { id: id++, rank: act.come, stop: new AbortController() }
          waiting.push(one)
          const work = () => {
            waiting = waiting.filter((other) => other !== one)
            begun.push(one.id)
            return new Promise<void>((resolve) => running.push({ rank: one.rank, end: resolve }))
          }
          places.run(one.rank, work, one.stop.signal).catch((error) => expect(error.message).toBe('off'))
        } else if ('end' in act && running.length > 0) running.splice(act.end % running.length, 1)[0]!.end()
        else if ('off' in act && waiting.length > 0)
          waiting.splice(act.off % waiting.length, 1)[0]!.stop.abort(new Error('off'))
        await tick()
        const lesser = running.filter(({ rank }) => rank > 0).length
        expect(running.length).toBeLessThanOrEqual(5)
        expect(lesser).toBeLessThanOrEqual(3)
        expect([places.running, places.waiting]).toEqual([running.length, waiting.length])
        if (running.length < 5) expect(waiting.some(({ rank }) => rank === 0)).toBe(false)
        if (running.length < 5 && lesser < 3) expect(waiting).toEqual([])
      }
    }),
    { numRuns: 200, seed: 20261121 },
  )
})

test('of what waits the more urgent begins first, and of the same rank what came first', async () => {
  const places = new Places({ places: 1 })
  const begun: string[] = []
  const work = (name: string) => async () => {
    begun.push(name)
    await tick()
  }
  await Promise.all([
    places.run(3, work('first')),
    ...['a', 'b'].map((name) => places.run(3, work(name))),
    ...['c', 'd'].map((name) => places.run(1, work(name))),
    places.run(0, work('e')),
  ])
  expect(begun).toEqual(['first', 'e', 'c', 'd', 'a', 'b'])
})
