/*
 * The workloads of `holdfast bench`. Only public file calls, one process; what it makes it removes, also when it fails.
 */

import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'

const MiB = 1024 * 1024
const SMALL_BYTES = 4096

export interface BenchSizes {
  readonly size: number
  readonly files: number
  readonly writers: number
}
interface Line {
  readonly name: string
  readonly value: number
  readonly unit: string
}

export async function runBench(path: string, sizes: BenchSizes, onStep: (name: string) => void): Promise<Line[]> {
  const dir = await mkdtemp(join(path, 'holdfast-bench-'))
  const lines: Line[] = []
  const measure = async (name: string, unit: string, amount: number, work: () => Promise<void>): Promise<void> => {
    onStep(name)
    const begun = performance.now()
    await work()
    const seconds = (performance.now() - begun) / 1000
    lines.push({ name, value: Number((amount / seconds).toPrecision(3)), unit })
  }
  try {
    const large = join(dir, 'large')
    await measure('write one file, fsync', 'MiB/s', sizes.size, () => writeLarge(large, sizes.size))
    await measure('read it', 'MiB/s', sizes.size, () => readLarge(large))
    const small = join(dir, 'small')
    await mkdir(small)
    const names = Array.from({ length: sizes.files }, (_, i) => join(small, `f${i}`))
    const data = Buffer.alloc(SMALL_BYTES, 'holdfast ')
    const all = (work: (name: string) => Promise<unknown>) => () => inParallel(names, sizes.writers, work)
    await measure(
      `create 4 KiB files, ${sizes.writers} at once`,
      'files/s',
      sizes.files,
      all((name) => writeSmall(name, data, false)),
    )
    await measure('list and stat them', 'files/s', sizes.files, () => listAndStat(small))
    await measure(
      'read them',
      'files/s',
      sizes.files,
      all((name) => readFile(name)),
    )
    await measure(
      'delete them',
      'files/s',
      sizes.files,
      all((name) => unlink(name)),
    )
    await measure(
      'create 4 KiB files with fsync each',
      'files/s',
      sizes.files,
      all((name) => writeSmall(name, data, true)),
    )
    return lines
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function writeLarge(file: string, mib: number): Promise<void> {
  const block = Buffer.alloc(MiB)
  for (let i = 0; i < block.length; i += 4) block.writeUInt32LE((i * 2654435761) >>> 0, i)
  const handle = await open(file, 'wx')
  try {
    for (let i = 0; i < mib; i++) {
      // Each block differs, so that nothing on the way can store it once.
      block.writeUInt32LE(i, 0)
      await handle.write(block)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function readLarge(file: string): Promise<void> {
  const block = Buffer.alloc(MiB)
  const handle = await open(file, 'r')
  try {
    while ((await handle.read(block)).bytesRead > 0);
  } finally {
    await handle.close()
  }
}

async function writeSmall(file: string, data: Buffer, sync: boolean): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    await handle.write(data)
    if (sync) await handle.sync()
  } finally {
    await handle.close()
  }
}

async function listAndStat(dir: string): Promise<void> {
  for (const name of await readdir(dir)) await stat(join(dir, name))
}

async function inParallel<T>(items: readonly T[], width: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < items.length) await work(items[next++]!)
    }),
  )
}
