/*
 * How fast a lost disk is made up for: a master and chunkservers as real processes on this machine, two copies of so many bytes,
 * one chunkserver killed for good. Measured by what the status says of repair, every 20 ms: from the kill to the first copy that has been
 * made (of which the settle time is waiting), and the rate from the end of the settle time to the last copy. Everything
 * stands on one disk and shares the processors, so the rate is that of the machine and not of a network.
 *
 *   npm run bench -- repair [--megabytes 512] [--chunkservers 4]
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ROOT_INO } from '../src/base/ids.ts'
import { callerOf } from '../test/conformance/vfs-probe.ts'
import { LocalCluster } from '../test/support/local-cluster.ts'

const { values: options } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '512' },
    chunkservers: { type: 'string', default: '4' },
    help: { type: 'boolean', default: false },
  },
})
const MiB = 2 ** 20
const SETTLE_MS = 2_000
/** A file is one chunk of this size, so that there is something to do at once. */
const FILE_BYTES = 16 * MiB
const LOOK_MS = 20
const PATIENCE_MS = 300_000

async function main(): Promise<void> {
  const root = callerOf({ uid: 0, gid: 0 })
  const cluster = await LocalCluster.start({
    chunkservers: Number(options.chunkservers),
    master: { copies: 2, settleMs: SETTLE_MS, heartbeatMs: 500 },
  })
  try {
    const piece = Buffer.alloc(MiB)
    for (let i = 0, x = 7; i < MiB; i++) {
      x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
      piece[i] = x >> 16
    }
    const files = Math.ceil((Number(options.megabytes) * MiB) / FILE_BYTES)
    for (let i = 0; i < files; i++) {
      const client = await cluster.client()
      const { ino } = await client.create(ROOT_INO, `f${i}`, 0o644, { exclusive: true, truncate: false }, root)
      for (let at = 0; at < FILE_BYTES; at += MiB)
        await client.write(ino, at, piece, { append: false, killSuidGid: false }, root)
      await client.fsync(ino, root)
      client.release(ino)
      await client.close()
    }
    await cluster.until(
      'all is sealed',
      ({ chunks }) => chunks.open === 0 && chunks.under === 0 && chunks.safe >= files,
    )
    const lost = (await cluster.status()).disks.find(({ nodeName }) => nodeName === 'chunkserver-1')!
    const done = async (): Promise<number> => {
      const { work } = await cluster.status()
      return Number(/(\d+) done/.exec(work.find(({ name }) => name === 'repair')?.progress ?? '')?.[1])
    }
    const before = await done()
    await cluster.kill('chunkserver-1')
    const atMs = performance.now()
    let firstMs: number | undefined
    for (;;) {
      const copied = (await done()) - before
      const nowMs = performance.now() - atMs
      if (copied > 0) firstMs ??= nowMs
      if (copied >= lost.chunks) {
        const seconds = (nowMs - SETTLE_MS) / 1000
        const figures = {
          chunks: lost.chunks,
          lostMiB: Math.round(lost.usedBytes / MiB),
          settleMs: SETTLE_MS,
          firstCopyMs: Math.round(firstMs ?? nowMs),
          allMs: Math.round(nowMs),
          mibPerSecond: Math.round(lost.usedBytes / MiB / seconds),
        }
        process.stdout.write(`${JSON.stringify({ bench: 'repair', ...figures })}\n`)
        return
      }
      if (nowMs > PATIENCE_MS) throw new Error(`${copied} of ${lost.chunks} chunks were copied in time`)
      await sleep(LOOK_MS)
    }
  } finally {
    await cluster.stop()
  }
}

if (options.help) process.stdout.write('npm run bench -- repair [--megabytes 512] [--chunkservers 4]\n')
else await main()
