/* A disk holds its share of the threads and no more, whatever happens to it. */

import { expect, test } from 'vitest'
import { DISK_THREADS, DiskThreads } from '../../src/chunk/disk-threads.ts'

type Answer = (error: Error | null, value: number) => void

/** Operations that the kernel was asked and has not answered. */
function kernel(): { asked: Answer[]; ask: (answer: Answer) => void } {
  const asked: Answer[] = []
  return { asked, ask: (answer) => void asked.push(answer) }
}
const outcome = (work: Promise<number>): Promise<number | string> => work.catch((error: Error) => error.message)

test('only its share is asked at a time; the rest follows in order as answers come', async () => {
  const threads = new DiskThreads()
  const { asked, ask } = kernel()
  const work = Array.from({ length: DISK_THREADS + 2 }, () => threads.run(ask))
  expect(asked).toHaveLength(DISK_THREADS)
  expect(threads.oldest).toBe(1)
  asked[0]!(null, 7)
  expect(await work[0]).toBe(7)
  expect(asked).toHaveLength(DISK_THREADS + 1)
  expect(threads.oldest).toBe(2)
  for (let i = 1; i < asked.length; i++) asked[i]!(i === 2 ? new Error('EIO') : null, i)
  const answers = Array.from({ length: DISK_THREADS + 1 }, (_, i) => (i === 1 ? 'EIO' : i + 1))
  expect(await Promise.all(work.slice(1).map(outcome))).toEqual(answers)
  expect(threads.oldest).toBeUndefined()
})

test('an operation that cannot even be asked gives its place back', async () => {
  const threads = new DiskThreads()
  const wrong = (): never => {
    throw new Error('bad argument')
  }
  for (let i = 0; i < DISK_THREADS + 1; i++) await expect(threads.run(wrong)).rejects.toThrow('bad argument')
  expect(await threads.run<number>((answer) => answer(null, 1))).toBe(1)
})

test('given up, it fails what was asked and what is asked; files are closed when their turn comes', async () => {
  const threads = new DiskThreads()
  const { asked, ask } = kernel()
  const late: number[] = []
  const work = Array.from({ length: DISK_THREADS }, () => threads.run(ask, { late: (value) => late.push(value) }))
  work.push(threads.run(ask))
  const closing = kernel()
  work.push(threads.run(closing.ask, { always: true }))
  threads.giveUp(new Error('it hangs'))
  expect(await Promise.all(work.map(outcome))).toEqual(work.map(() => 'it hangs'))
  expect(await outcome(threads.run(ask))).toBe('it hangs')
  expect(await outcome(threads.run(closing.ask, { always: true }))).toBe('it hangs')
  expect([asked.length, closing.asked.length]).toEqual([DISK_THREADS, 0])
  asked[0]!(null, 42)
  expect(late).toEqual([42])
  expect(closing.asked).toHaveLength(1)
  closing.asked[0]!(null, 0)
  expect(closing.asked).toHaveLength(2)
  expect(asked).toHaveLength(DISK_THREADS)
})
