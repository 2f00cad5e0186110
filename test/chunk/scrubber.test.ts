/* The scrubber reads everything once per period, at its pace, finds rot, and goes on where it was after a restart. */

import { beforeEach, describe, expect, test } from 'vitest'
import { chunkId, chunkName } from '../../src/base/ids.ts'
import { Worker } from '../../src/base/worker.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { QuickWrites } from '../../src/chunk/quick-writes.ts'
import { Scrubber } from '../../src/chunk/scrubber.ts'
import { ChunkNode } from '../support/chunk-node.ts'
import { ManualClock, silentLog } from '../support/manual-clock.ts'

const DAY = 86_400_000
let clock: ManualClock
let node: ChunkNode
const never = new AbortController().signal
beforeEach(async () => {
  clock = new ManualClock()
  node = await new ChunkNode(1, new Map(), clock).start()
  for (let i = 1; i <= 5; i++) {
    await node.disk.chunks.append(chunkId(i), 0, [Buffer.alloc(200_000, i)], true)
    await node.disk.chunks.seal(chunkId(i), 200_000)
  }
})
const wallMs = () => clock.now().sec * 1000 + clock.now().nsec / 1_000_000
const rot = (i: number) => node.io.flip(`chunks/0${i}/${chunkName(chunkId(i))}.chunk`, DATA_OFFSET + 70_000)

describe('the scrubber', () => {
  test('finds what rotted, and only that', async () => {
    rot(2)
    rot(5)
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    for (let i = 0; i < 5; i++) await scrubber.step(never)
    expect(node.damages).toEqual([
      { chunk: chunkId(2), blocks: [1] },
      { chunk: chunkId(5), blocks: [1] },
    ])
  })

  test('rests until the period is over, then begins again', async () => {
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    for (let i = 0; i < 5; i++) expect((await scrubber.step(never)).restMs).toBe(0)
    const rest = await scrubber.step(never)
    expect(rest).toEqual({ restMs: 3_600_000, resting: 'idle' })
    clock.ms += 30 * DAY
    rot(1)
    await scrubber.step(never)
    await scrubber.step(never)
    expect(node.damages).toEqual([{ chunk: chunkId(1), blocks: [1] }])
  })

  test('keeps its pace: what the disk holds in the period, and not slower than the minimum', async () => {
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    expect(scrubber.bytesPerSecond()).toBe(64 * 1024)
    expect(new Scrubber(node.disk, clock, { days: 1 / 86_400 }).bytesPerSecond()).toBe(1_250_000)
    const before = clock.ms
    for (let i = 0; i < 5; i++) await scrubber.step(never)
    expect((clock.ms - before) / 1000).toBeGreaterThan(14)
  })

  test('says how far its round is, what it found, and when it is through, over restarts', async () => {
    rot(2)
    const began = wallMs()
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    expect(node.disk.report().scrub).toBeUndefined()
    for (let i = 0; i < 3; i++) await scrubber.step(never)
    const said = { startedMs: began, chunks: 3, bytes: 600_000, damaged: 1, finished: false, days: 30 }
    expect(node.disk.report().scrub).toEqual(said)
    await scrubber.save()
    const again = await new ChunkNode(1, new Map(), clock, node.io.killed()).start()
    const next = new Scrubber(again.disk, clock, { days: 30 })
    await next.step(never)
    expect(again.disk.report().scrub).toEqual({ ...said, chunks: 4, bytes: 800_000 })
    for (let i = 0; i < 2; i++) await next.step(never)
    expect(again.disk.report().scrub).toEqual({ ...said, chunks: 5, bytes: 1_000_000, finished: true })
    clock.ms += 30 * DAY
    const now = wallMs()
    await next.step(never)
    expect(again.disk.report().scrub).toEqual({
      startedMs: now,
      chunks: 0,
      bytes: 0,
      damaged: 0,
      finished: false,
      days: 30,
    })
  })

  test('a note of the first version, which says only the place, is gone on from', async () => {
    const note = { position: 3, passStartedMs: wallMs() - DAY }
    await node.disk.writeNote('scrubber.json', JSON.stringify(note))
    await new Scrubber(node.disk, clock, { days: 30 }).step(never)
    expect(node.disk.report().scrub).toMatchObject({ startedMs: note.passStartedMs, chunks: 1, bytes: 200_000 })
  })

  test('what is read of a large chunk shows before all of it is read', async () => {
    const seen: number[] = []
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    await node.disk.chunks.append(chunkId(6), 0, [Buffer.alloc(3_000_000, 6)], true)
    await node.disk.chunks.seal(chunkId(6), 3_000_000)
    for (let i = 0; i < 5; i++) await scrubber.step(never)
    const sleep = clock.sleep.bind(clock)
    clock.sleep = (...rest) => {
      seen.push(node.disk.report().scrub!.bytes)
      return sleep(...rest)
    }
    await scrubber.step(never)
    // A long rest is taken in pieces.
    expect([...new Set(seen)].slice(0, 2)).toEqual([1_000_000 + 1_048_576, 1_000_000 + 2_097_152])
    expect(node.disk.report().scrub!.bytes).toBe(4_000_000)
  })

  test('goes on after a restart where it was', async () => {
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    for (let i = 0; i < 3; i++) await scrubber.step(never)
    await scrubber.save()
    rot(2)
    rot(4)
    const again = await new ChunkNode(1, new Map(), clock, node.io.killed()).start()
    const next = new Scrubber(again.disk, clock, { days: 30 })
    for (let i = 0; i < 2; i++) await next.step(never)
    expect(again.damages).toEqual([{ chunk: chunkId(4), blocks: [1] }])
  })

  test('as a worker it can be paused, goes on when told, and ends with its signal', async () => {
    const scrubber = new Scrubber(node.disk, clock, { days: 30 })
    const worker = new Worker('scrub', scrubber, clock, silentLog)
    const stop = new AbortController()
    worker.pause()
    const running = worker.run(stop.signal)
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(worker.report()).toMatchObject({ state: 'paused', progress: '0 chunks checked since the start' })
    worker.resume()
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(worker.report().progress).toBe('5 chunks checked since the start')
    stop.abort()
    await running
    expect(worker.report().state).toBe('stopped')
  })
})

describe('quick writes', () => {
  test('a slow write sends a disk to the threads for 25 times as long as it took', () => {
    const slow = new ManualClock()
    const quick = new QuickWrites(slow)
    expect(quick.allowed()).toBe(true)
    quick.run(() => {
      slow.ms += 200
    })
    expect(quick.allowed()).toBe(false)
    slow.ms += 4_999
    expect(quick.allowed()).toBe(false)
    slow.ms += 1
    expect(quick.allowed()).toBe(true)
    quick.run(() => {
      slow.ms += 4
    })
    expect(quick.allowed()).toBe(true)
  })

  test('a sync that runs for long does the same until it ends', () => {
    const slow = new ManualClock()
    const quick = new QuickWrites(slow)
    quick.syncBegins()
    expect(quick.allowed()).toBe(true)
    slow.ms += 300
    expect(quick.allowed()).toBe(false)
    quick.syncEnds()
    expect(quick.allowed()).toBe(true)
  })
})
