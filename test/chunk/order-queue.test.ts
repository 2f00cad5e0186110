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

test('one that was called off is gone while it waits, and is not joined: the same order waits until it has ended', async () => {
  const queue = new OrderQueue()
  const stop = new AbortController()
  let end = () => {}
  const first = queue.run('a', () => new Promise<number>((resolve) => (end = () => resolve(1))), false, stop.signal)
  const joined = queue.run('a', async () => 2)
  await tick()
  stop.abort(new Error('not wanted'))
  let begun = 0
  const again = queue.run('a', async () => ++begun, true)
  await tick()
  expect(begun).toBe(0)
  end()
  expect([await first, await joined, await again]).toEqual([1, 1, 1])

  for (let i = 0; i < 4; i++) void queue.run(`slow ${i}`, never)
  const other = new AbortController()
  const waits = queue.run('b', async () => ++begun, false, other.signal)
  await tick()
  expect(queue.queued).toBe(5)
  other.abort(new Error('not wanted'))
  await expect(waits).rejects.toThrow('not wanted')
  expect(queue.queued).toBe(4)
  expect(begun).toBe(1)
})

test('an urgent order that waits for its like begins when one of them ends, not when older work does', async () => {
  const queue = new OrderQueue()
  for (let i = 0; i < 4; i++) void queue.run(`slow ${i}`, never)
  const ends: (() => void)[] = []
  const begun: string[] = []
  for (const name of ['a', 'b', 'c'])
    void queue.run(name, () => new Promise<void>((resolve) => ends.push(resolve) && begun.push(name)), true)
  await tick()
  expect(begun).toEqual(['a', 'b'])
  ends[0]!()
  await tick()
  expect(begun).toEqual(['a', 'b', 'c'])
})

test('as many wait as there is room for, the next is refused; an urgent one finds its own place all the same', async () => {
  const queue = new OrderQueue()
  for (let i = 0; i < 260; i++) void queue.run(`slow ${i}`, never)
  await expect(queue.run('one more', never)).rejects.toMatchObject({ code: 'EAGAIN' })
  await expect(queue.run('urgent', async () => 7, true)).resolves.toBe(7)
})
