/*
 * What one node pair carries over a long, lossy line, by the number of connections and what controls their congestion. On the
 * test bed (needs root and wireguard-go): npx tsx bench/links.ts [--mb 60] [--ms 20] [--loss 0.005] [--mbit 100] [--connections 1,2,4,8,0]
 * [--congestion cubic,bbr] [--range KIB] [--width N]. 0 connections: as many as it takes. One JSON line for each.
 */

import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Bed } from '../test/wan/bed.ts'

const text = (value: string): { type: 'string'; default: string } => ({ type: 'string', default: value })
const { values } = parseArgs({
  options: {
    mb: text('60'),
    ms: text('20'),
    loss: text('0.005'),
    mbit: text('100'),
    connections: text('1,2,4,8,0'),
    congestion: text('cubic,bbr'),
    range: text('1024'),
    width: text('8'),
  },
})
const PROGRAM = fileURLToPath(new URL('../test/wan/bundle-child.ts', import.meta.url))
const words = (...rest: (string | number)[]): string[] => ['--import', 'tsx', PROGRAM, ...rest.map(String)]
const [mb, ms, loss, mbit, range, width] = [
  values.mb,
  values.ms,
  values.loss,
  values.mbit,
  values.range,
  values.width,
].map(Number) as [number, number, number, number, number, number]

for (const congestion of values.congestion.split(',')) {
  const bed = await Bed.start({
    seed: 1,
    sites: { home: { nodes: 1 }, fra: { nodes: 1 } },
    link: { delayMs: ms, mbit, lossRate: loss, queueMs: 80 },
    congestion,
  })
  try {
    const to = bed.node('fra1').meshAddress
    const server = bed.spawn('fra1', process.execPath, words('serve', to), { stdio: ['pipe', 'pipe', 'inherit'] })
    const { value } = await createInterface({ input: server.stdout! })[Symbol.asyncIterator]().next()
    const { port } = JSON.parse(value) as { port: number }
    for (const connections of values.connections.split(',').map(Number)) {
      const bytes = mb * 1024 * 1024
      const args = words('pull', to, port, connections, bytes, range * 1024, width)
      const { stdout, stderr } = await bed.run('home1', process.execPath, args, { timeoutMs: 600_000 })
      process.stderr.write(stderr)
      const line = {
        congestion,
        ms,
        loss,
        mbit,
        mb,
        range,
        width,
        asked: connections,
        ...(JSON.parse(stdout) as object),
      }
      process.stdout.write(`${JSON.stringify(line)}\n`)
    }
    server.stdin!.end()
  } finally {
    await bed.stop()
  }
}
