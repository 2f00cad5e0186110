import { expect, test } from 'vitest'
import { OrderQueue } from '../../src/chunk/order-queue.ts'

const tick = () => new Promise((resolve) => setImmediate(resolve))
const never = () => new Promise<void>(() => undefined)

test('an urgent order begins at once while slow ones have all places and others wait', async () => {
  const queue = new OrderQueue()
  for (let i = 0; i < 40; i++) void queue.run(`slow ${i}`, never)
  const begun: string[] = []
  for (const name of ['a', 'b']) void queue.run(name, async () => void begun.push(name), true)
  await tick()
  expect(begun).toEqual(['a', 'b'])
})

test('of those that wait, urgent orders come first, and they do not wait beyond the places that are kept for them', async () => {
  const queue = new OrderQueue()
  const begun: string[] = []
  const ends: (() => void)[] = []
  const slow = (name: string, urgent: boolean) =>
    void queue.run(name, () => new Promise<void>((resolve) => ends.push(resolve) && begun.push(name)), urgent)
  for (const name of ['1', '2', '3', '4', '5']) slow(name, false)
  for (const name of ['a', 'b', 'c']) slow(name, true)
  await tick()
  expect(begun).toEqual(['1', '2', '3', '4', 'a', 'b'])
  ends[0]!()
  await tick()
  await tick()
  expect(begun.slice(6)).toEqual(['c'])
  expect(queue.queued).toBe(7)
})

test('as many wait as there is room for, the next is refused; an urgent one finds its own place all the same', async () => {
  const queue = new OrderQueue()
  for (let i = 0; i < 260; i++) void queue.run(`slow ${i}`, never)
  await expect(queue.run('one more', never)).rejects.toMatchObject({ code: 'EAGAIN' })
  await expect(queue.run('urgent', async () => 7, true)).resolves.toBe(7)
})
