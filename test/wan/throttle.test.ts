/*
 * The throttle over TCP, WireGuard and a narrow line, with real clocks. What it does exactly is held by its model
 * (test/topology/throttle.test.ts); here the bounds are wide enough for a machine that has other things to do.
 */

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Bed } from './bed.ts'
import { describeOnBed } from './with-bed.ts'

const PROGRAM = fileURLToPath(new URL('./throttle-child.ts', import.meta.url))
const words = (...rest: (string | number)[]): string[] => ['--import', 'tsx', PROGRAM, ...rest.map(String)]
/** Without it four connections together still reach the rate, at this loss. */
const BBR = readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').includes('bbr')
interface Second {
  readonly second: number
  readonly mbit: number
  readonly queueMs: number | null
}

describeOnBed('background work over a line of 40 Mbit/s that loses packets', () => {
  let bed: Bed
  beforeAll(async () => {
    bed = await Bed.start({
      seed: 1,
      sites: { home: { nodes: 1 }, fra: { nodes: 1 } },
      link: { delayMs: 15, mbit: 40, queueMs: 80, lossRate: 0.001 },
      ...(BBR ? { congestion: 'bbr' } : {}),
    })
  })
  afterAll(() => bed?.stop())

  test('fills it and leaves no standing queue', async () => {
    const sink = bed.spawn('fra1', process.execPath, words('sink'), { stdio: ['pipe', 'pipe', 'inherit'] })
    const { value } = await createInterface({ input: sink.stdout! })[Symbol.asyncIterator]().next()
    const { tcp, udp } = JSON.parse(value) as { tcp: number; udp: number }
    const to = bed.node('fra1').meshAddress
    const { stdout } = await bed.run('home1', process.execPath, words('push', to, tcp, udp, 18, 4))
    sink.stdin!.end()
    const seconds = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Second)
      .filter(({ second }) => second > 8)
    // 36.6 Mbit/s are what is left of 40 after the headers.
    expect(seconds.reduce((sum, { mbit }) => sum + mbit, 0) / seconds.length).toBeGreaterThan(0.55 * 36.6)
    const queues = seconds.map(({ queueMs }) => queueMs ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b)
    expect(queues[queues.length >> 1]).toBeLessThan(25)
  })
})
