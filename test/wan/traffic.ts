/*
 * What is measured on a bed from node to node: round trips, loss, rates. The programs are in traffic-child.ts.
 */

import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Bed } from './bed.ts'

const PROGRAM = fileURLToPath(new URL('./traffic-child.ts', import.meta.url))
const words = (mode: string, ...rest: (string | number)[]): string[] => [
  '--import',
  'tsx',
  PROGRAM,
  mode,
  ...rest.map(String),
]

export interface Serving {
  readonly port: number
  /** What it prints next. */
  line(): Promise<unknown>
  stop(): Promise<void>
}

export async function serve(
  bed: Bed,
  node: string,
  mode: 'echo' | 'mirror' | 'drain' | 'count',
  ms?: number,
): Promise<Serving> {
  const child = bed.spawn(node, process.execPath, words(mode, ...(ms === undefined ? [] : [ms])), {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const line = async (): Promise<unknown> => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${mode} on ${node} has ended`)
    return JSON.parse(value)
  }
  const { port } = (await line()) as { port: number }
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.stdin!.end()
    await once(child, 'close')
  }
  return { port, line, stop }
}

export interface RoundTrips {
  /** In the order they were sent; null: no answer. */
  readonly rttMs: readonly (number | null)[]
  readonly minMs: number
  readonly medianMs: number
  readonly p99Ms: number
  readonly lossRate: number
}

export async function ask(
  bed: Bed,
  node: string,
  address: string,
  port: number,
  options: { count: number; everyMs: number; bytes?: number },
): Promise<RoundTrips> {
  const { count, everyMs, bytes = 64 } = options
  const { stdout } = await bed.run(node, process.execPath, words('ask', address, port, count, everyMs, bytes))
  const { rttMs } = JSON.parse(stdout) as { rttMs: (number | null)[] }
  const came = rttMs.filter((ms) => ms !== null).sort((a, b) => a - b)
  const at = (share: number): number => came[Math.min(came.length - 1, Math.floor(came.length * share))] ?? Number.NaN
  return { rttMs, minMs: at(0), medianMs: at(0.5), p99Ms: at(0.99), lossRate: 1 - came.length / count }
}

/** Mbit per second over one TCP connection to a `drain`. */
export async function pour(bed: Bed, node: string, address: string, port: number, ms: number): Promise<number> {
  const { stdout } = await bed.run(node, process.execPath, words('pour', address, port, ms))
  const result = JSON.parse(stdout) as { bytes: number; ms: number }
  return (result.bytes * 8) / 1000 / result.ms
}

export async function send(
  bed: Bed,
  node: string,
  address: string,
  port: number,
  options: { count: number; bytes: number; mbit: number },
): Promise<void> {
  await bed.run(node, process.execPath, words('send', address, port, options.count, options.bytes, options.mbit))
}

/** "address port" as each mirror sees it, from one socket; null: no answer. */
export async function look(
  bed: Bed,
  node: string,
  ownPort: number,
  mirrors: readonly { address: string; port: number }[],
): Promise<(string | null)[]> {
  const list = mirrors.map(({ address, port }) => `${address}:${port}`)
  const { stdout } = await bed.run(node, process.execPath, words('look', ownPort, ...list))
  return (JSON.parse(stdout) as { seen: (string | null)[] }).seen
}
