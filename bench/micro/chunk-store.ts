/*
 * How fast one disk of a chunkserver is without a network: npx tsx bench/micro/chunk-store.ts [DIR]
 * Prints one JSON line per figure. DIR decides which device is measured; default: the system's temporary directory.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from '../../src/base/checksum.ts'
import { unwrap } from '../../src/base/fault.ts'
import { chunkId } from '../../src/base/ids.ts'
import type { Clock, Log } from '../../src/base/world.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { RealDiskIo } from '../../src/chunk/disk-io.ts'

const KiB = 1024
const MiB = 1024 * KiB
const clock: Clock = {
  now: () => ({ sec: Math.floor(Date.now() / 1000), nsec: 0 }),
  monotonicMs: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  timer: () => () => {},
}
const log: Log = { debug() {}, info() {}, warn: console.warn, error: console.error, child: () => log }

function say(name: string, value: number, unit: string): void {
  console.log(JSON.stringify({ name, value: Number(value.toPrecision(4)), unit }))
}
const seconds = async (work: () => void | Promise<void>): Promise<number> => {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

async function main(): Promise<void> {
  const root = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'holdfast-bench-'))
  const random = { below: () => 0, hex: (n: number) => process.pid.toString(16).padStart(n * 2, '0') }
  const disk = new Disk(
    new RealDiskIo(root),
    unwrap(parseDiskSpec(`${root} =`)),
    '',
    '',
    { clock, random, log },
    {
      changed: () => {},
      damaged: (_disk, chunk, blocks) => console.error('damaged', chunk, blocks),
    },
  )
  try {
    await disk.attach()
    let next = 1
    const small = Buffer.alloc(4 * KiB, 1)
    const big = Buffer.alloc(MiB, 2)
    const block = Buffer.alloc(64 * KiB, 3)

    const crcSeconds = await seconds(() => {
      for (let i = 0; i < 20_000; i++) crc32(block)
    })
    say('zlib.crc32 of 64 KiB', (20_000 * 64 * KiB) / crcSeconds / 1e6, 'MB/s')

    const fill = async (part: Buffer, total: number, sync: boolean): Promise<number> => {
      let chunk = chunkId(next++)
      let at = 0
      return seconds(async () => {
        for (let done = 0; done < total; done += part.length) {
          if (at + part.length > 64 * MiB) {
            chunk = chunkId(next++)
            at = 0
          }
          const answer = disk.chunks.append(chunk, at, [part], at === 0)
          if (typeof answer !== 'number') await answer
          at += part.length
          if (sync) await disk.chunks.sync(chunk, at)
        }
      })
    }
    say('append 4 KiB, no sync', (128 * MiB) / (4 * KiB) / (await fill(small, 128 * MiB, false)), '/s')
    say('append 4 KiB, sync each', 2000 / (await fill(small, 2000 * 4 * KiB, true)), '/s')
    const shared = chunkId(next++)
    const sharedSeconds = await seconds(async () => {
      let at = 0
      for (let round = 0; round < 250; round++) {
        const waits: Promise<number>[] = []
        for (let writer = 0; writer < 8; writer++) {
          await disk.chunks.append(shared, at, [small], at === 0)
          at += small.length
          waits.push(disk.chunks.sync(shared, at))
        }
        await Promise.all(waits)
      }
    })
    say('append 4 KiB, sync each, eight writers in one chunk', 2000 / sharedSeconds, '/s')
    say('append 1 MiB, no sync', 512 / ((await fill(big, 512 * MiB, false)) * 0.953674), 'MB/s')

    const source = chunkId(next++)
    for (let at = 0; at < 64 * MiB; at += MiB) await disk.chunks.append(source, at, [big], at === 0)
    const sealSeconds = await seconds(async () => void (await disk.chunks.seal(source, 64 * MiB)))
    say('seal 64 MiB (with its first sync)', sealSeconds * 1000, 'ms')
    const read = (bytes: number, jobs: number, count: number) =>
      seconds(async () => {
        let left = count
        await Promise.all(
          Array.from({ length: jobs }, async () => {
            while (left-- > 0)
              await disk.chunks.read(source, Math.floor(Math.random() * ((64 * MiB) / bytes)) * bytes, bytes)
          }),
        )
      })
    for (const jobs of [1, 8]) {
      say(`read 4 KiB random, warm, ${jobs} jobs`, 20_000 / (await read(4 * KiB, jobs, 20_000)), '/s')
      say(`read 64 KiB random, warm, ${jobs} jobs`, 20_000 / (await read(64 * KiB, jobs, 20_000)), '/s')
    }
    say('read 1 MiB, warm', (2000 * MiB) / 1e6 / (await read(MiB, 2, 2000)), 'MB/s')
  } finally {
    await disk.close()
    await rm(root, { recursive: true, force: true })
  }
}

void main()
