/* Many waits at once: none of them is a leak, and one that is interrupted interrupts no other. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Ino } from '../../src/base/ids.ts'
import { callerOf, Probe, refused, same } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const MiB = 1024 * 1024
const CHUNKSERVERS = 3
/** More than the ten listeners of one signal that Node takes for a leak. */
const FILES = 12

describe('many waits at once', () => {
  let cluster: MemoryCluster
  const warnings: string[] = []
  const hear = ({ name, stack }: Error): void => void warnings.push(stack ?? name)
  beforeEach(async () => {
    cluster = await MemoryCluster.start({ chunkservers: CHUNKSERVERS })
    process.on('warning', hear)
  })
  afterEach(async () => {
    process.off('warning', hear)
    warnings.length = 0
    await cluster.stop()
  })
  const chunkservers = async (what: 'kill' | 'start'): Promise<void> => {
    for (let i = 0; i < CHUNKSERVERS; i++) await cluster.chunkserver(i)[what]()
  }
  const streams = async (): Promise<Ino[]> => {
    const writer = await cluster.client()
    const probe = await Probe.fresh(writer, 'streams')
    const inos = await Promise.all(
      Array.from({ length: FILES }, async (_, i) => {
        const ino = await probe.create(`f${i}`)
        for (let at = 0; at < 3; at++) await probe.write(ino, at * MiB, Buffer.alloc(MiB, i + 1))
        await probe.close(ino)
        return ino
      }),
    )
    await writer.close()
    return inos
  }

  it('sealing a dozen chunks at once is no leak of listeners', async () => {
    await streams()
    await cluster.until('all are sealed', ({ chunks }) => chunks.open === 0)
    expect(warnings).toEqual([])
  })

  it('reading ahead in a dozen files whose chunkservers are away is no leak of listeners', async () => {
    const inos = await streams()
    await cluster.until('all are sealed', ({ chunks }) => chunks.open === 0)
    warnings.length = 0
    const reader = await cluster.client()
    const callers = inos.map(() => callerOf())
    for (const [i, ino] of inos.entries()) await reader.open(ino, { write: false, truncate: false }, callers[i]!)
    await chunkservers('kill')
    const reads = inos.map((ino, i) => reader.read(ino, 0, 128 * 1024, callers[i]!))
    await realClock.sleep(300)
    await chunkservers('start')
    for (const [i, read] of reads.entries()) same(Buffer.concat(await read), Buffer.alloc(128 * 1024, i + 1))
    for (const ino of inos) reader.release(ino)
    expect(warnings).toEqual([])
  })

  it('who is interrupted while a block is fetched for two does not interrupt the other', async () => {
    const writer = await cluster.client()
    const probe = await Probe.fresh(writer, 'shared')
    const ino = await probe.put('f', Buffer.alloc(10_000, 7))
    await writer.close()
    await cluster.until('it is sealed', ({ chunks }) => chunks.open === 0)
    const reader = await cluster.client()
    const stop = new AbortController()
    const [first, second] = [callerOf({ signal: stop.signal }), callerOf()]
    await reader.open(ino, { write: false, truncate: false }, second)
    await chunkservers('kill')
    const impatient = refused(reader.read(ino, 0, 5_000, first), 'EINTR')
    const patient = reader.read(ino, 0, 5_000, second)
    patient.catch(() => undefined)
    await realClock.sleep(100)
    stop.abort()
    await impatient
    await chunkservers('start')
    same(Buffer.concat(await patient), Buffer.alloc(5_000, 7))
    reader.release(ino)
  })
})
