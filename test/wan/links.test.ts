/*
 * The link of a node pair over a long line that loses packets, with the congestion control that most machines have. What it decides
 * is held by test/wire/lane-count.test.ts; here, that it carries more.
 */

import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Bed } from './bed.ts'
import { describeOnBed } from './with-bed.ts'

const PROGRAM = fileURLToPath(new URL('./bundle-child.ts', import.meta.url))
const words = (...rest: (string | number)[]): string[] => ['--import', 'tsx', PROGRAM, ...rest.map(String)]
const MiB = 1024 * 1024
const RANGE = MiB / 4
const WIDTH = 32

interface Moved {
  readonly mbit: number
  /** The most there were. */
  readonly connections: number
  readonly leastMs: number
}

describeOnBed('a node pair 40 ms apart, with CUBIC and 1 % loss', () => {
  let bed: Bed
  let port = 0
  beforeAll(async () => {
    bed = await Bed.start({
      seed: 1,
      sites: { home: { nodes: 1 }, fra: { nodes: 1 } },
      link: { delayMs: 20, mbit: 100, queueMs: 80, lossRate: 0.005 },
      congestion: 'cubic',
    })
    const server = bed.spawn('fra1', process.execPath, words('serve', bed.node('fra1').meshAddress), {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const { value } = await createInterface({ input: server.stdout! })[Symbol.asyncIterator]().next()
    port = (JSON.parse(value) as { port: number }).port
  })
  afterAll(() => bed?.stop())

  const move = async (mode: 'pull' | 'push', connections: number, bytes: number): Promise<Moved> => {
    const args = words(mode, bed.node('fra1').meshAddress, port, connections, bytes, RANGE, WIDTH)
    const { stdout } = await bed.run('home1', process.execPath, args)
    return JSON.parse(stdout) as Moved
  }

  test('carries several times what one connection does, over as many as it takes', async () => {
    const one = await move('pull', 1, 2 * MiB)
    expect(one.connections).toBe(1)
    const many = await move('pull', 0, 12 * MiB)
    expect(many.leastMs).toBeGreaterThan(35)
    expect(many.connections).toBeGreaterThanOrEqual(4)
    expect(many.mbit).toBeGreaterThan(1.8 * one.mbit)
  })

  test('takes appends of one chunk in order, whatever is lost', async () => {
    // The server refuses a gap, and that ends the program.
    const { connections } = await move('push', 0, 2 * MiB)
    expect(connections).toBe(1)
  })
})
