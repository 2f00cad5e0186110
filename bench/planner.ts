/*
 * What repair costs the master of a large cluster: 200 chunkservers, 2 000 disks, up to 10 million chunks, without sockets.
 * What is real: the watch over chunks, the judgement of each, the plan. What stands in: the tables of the state that the
 * watch reads, as flat arrays of numbers, because 10 million records would not fit; and the map of disks. Orders are
 * carried out at once. Rests are not waited for, but added to the clock, so that times are those of a real master whose
 * other work costs nothing. One JSON line per figure.
 *
 *   npm run bench -- plan [--chunks 1000000,5000000,10000000]
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type ChunkId, chunkId, type DiskId, diskId, nodeId, type SessionId } from '../src/base/ids.ts'
import type { Clock } from '../src/base/world.ts'
import { ChunkWatch, type WatchedState } from '../src/master/chunk-watch.ts'
import { type Order, plan } from '../src/master/core/plan.ts'
import type { ChunkRecord } from '../src/master/core/records.ts'
import type { RepairDisk, RepairRules, Urgency } from '../src/master/core/repair.ts'
import { NO_LABELS } from '../src/topology/place.ts'
import { anywhere, classWith } from '../src/topology/storage-class.ts'

const { values: options } = parseArgs({
  options: {
    chunks: { type: 'string', default: '1000000,5000000,10000000' },
    help: { type: 'boolean', default: false },
  },
})

const NODES = 200
const DISKS_A_NODE = 10
const NODES_A_RACK = 5
const RACKS_A_SITE = 10
const DISKS = NODES * DISKS_A_NODE
/** Copies that have a place in the arrays; half of the chunks want so many, each in its own rack, the others two. */
const COPIES = 3
const LENGTH = 48 * 2 ** 20
/** As the shell of the repair does. */
const CONSIDERED = 256
const JOBS = 64
const rules: RepairRules = { graceMs: 600_000, settleMs: 15_000, readsPerDisk: 4, writesPerDisk: 2 }
const classes = [anywhere('default', 2), classWith('racks', { K: '3/[RACK]' })] as const

const say = (name: string, fields: object): void => console.log(JSON.stringify({ bench: name, ...fields }))
const round = (n: number): number => Number(n.toPrecision(3))

let random = 12345
function below(n: number): number {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0
  return Math.floor((random / 2 ** 32) * n)
}

/** How long this thread has had a processor: other work on the machine does not count. */
const ranMs = (): number =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6
/** Goes on while this thread works; rests are added. */
let skippedMs = 0
const clock: Clock = {
  now: () => ({ sec: 0, nsec: 0 }),
  monotonicMs: () => ranMs() + skippedMs,
  sleep: async () => undefined,
  timer: () => () => undefined,
}

const nodeOf = (disk: number): number => Math.floor((disk - 1) / DISKS_A_NODE) + 1
const rackOf = (disk: number): number => Math.floor((nodeOf(disk) - 1) / NODES_A_RACK) + 1

/** Chunk n's copies are at n · COPIES; an index from disk to chunks beside it; what has changed since in maps. */
class Store implements WatchedState {
  readonly #copies: Uint16Array
  readonly #ofDisk: Uint32Array
  readonly #begins: Uint32Array
  readonly #changed = new Map<ChunkId, readonly DiskId[]>()
  readonly #attention = new Set<ChunkId>()
  readonly chunks: number

  constructor(chunks: number) {
    this.chunks = chunks
    this.#copies = new Uint16Array((chunks + 1) * COPIES)
    this.#begins = new Uint32Array(DISKS + 2)
    for (let chunk = 1; chunk <= chunks; chunk++)
      for (let copy = 0; copy < wantedOf(chunk); copy++) {
        const disk = this.#draw(chunk, copy)
        this.#copies[chunk * COPIES + copy] = disk
        this.#begins[disk + 1]!++
      }
    for (let disk = 1; disk < this.#begins.length; disk++) this.#begins[disk]! += this.#begins[disk - 1]!
    this.#ofDisk = new Uint32Array(this.#begins.at(-1)!)
    const at = this.#begins.slice()
    for (let chunk = 1; chunk <= chunks; chunk++)
      for (let copy = 0; copy < wantedOf(chunk); copy++)
        this.#ofDisk[at[this.#copies[chunk * COPIES + copy]!]!++] = chunk
  }

  #draw(chunk: number, copy: number): number {
    for (;;) {
      const disk = 1 + below(DISKS)
      let alone = true
      for (let other = 0; other < copy; other++)
        if (rackOf(this.#copies[chunk * COPIES + other]!) === rackOf(disk)) alone = false
      if (alone) return disk
    }
  }

  bytes(): number {
    return this.#copies.byteLength + this.#ofDisk.byteLength + this.#begins.byteLength
  }

  /** Only what the watch adds to them is looked at. */
  counters() {
    return { safe: this.chunks, under: 0, endangered: 0, lost: 0, over: 0, open: 0 }
  }

  readonly classes = { meaning: (classId: number) => classes[classId === 1 ? 1 : 0] }

  chunk(chunk: ChunkId): ChunkRecord | undefined {
    if (chunk > this.chunks) return undefined
    const copies = wantedOf(chunk)
    const at = chunk * COPIES
    const disks = this.#changed.get(chunk) ?? (Array.from(this.#copies.subarray(at, at + copies)) as DiskId[])
    return {
      version: 1,
      state: 'sealed',
      session: 0 as SessionId,
      length: LENGTH,
      live: LENGTH,
      copies,
      createdSec: 0,
      disks: [...disks],
      unsealed: [],
      deadSec: undefined,
      committed: undefined,
      lost: undefined,
      classId: copies === COPIES ? 1 : undefined,
      phase: undefined,
      code: undefined,
      ec: undefined,
      whole: undefined,
    }
  }

  readonly chunkIndex = {
    attention: (after: ChunkId | 0, limit: number): ChunkId[] =>
      [...this.#attention]
        .filter((chunk) => chunk > after)
        .sort((a, b) => a - b)
        .slice(0, limit),
    ofDisk: (disk: DiskId, after: ChunkId | 0, limit: number): ChunkId[] => {
      let [from, to] = [this.#begins[disk]!, this.#begins[disk + 1]!]
      const end = to
      while (from < to) {
        const middle = (from + to) >> 1
        if (this.#ofDisk[middle]! <= after) from = middle + 1
        else to = middle
      }
      return Array.from(this.#ofDisk.subarray(from, Math.min(end, from + limit))) as ChunkId[]
    },
  }

  carryOut(order: Order): void {
    const { disks } = this.chunk(order.whole)!
    if (order.kind === 'copy') this.#put(order.whole, [...disks, order.target])
    else if (order.kind === 'drop')
      this.#put(
        order.whole,
        disks.filter((disk) => disk !== order.disk),
      )
    else throw new Error(`${order.kind} of a chunk without parts`)
  }

  #put(chunk: ChunkId, disks: readonly DiskId[]): void {
    this.#changed.set(chunk, disks)
    if (disks.length === wantedOf(chunk)) this.#attention.delete(chunk)
    else this.#attention.add(chunk)
  }
}

const wantedOf = (chunk: number): number => (chunk % 2 === 0 ? 2 : COPIES)

class Machines {
  readonly #awaySince = new Map<number, number>()

  map(): Map<DiskId, RepairDisk> {
    const nowMs = clock.monotonicMs()
    const map = new Map<DiskId, RepairDisk>()
    for (let i = 1; i <= DISKS; i++) {
      const since = this.#awaySince.get(nodeOf(i))
      const rack = rackOf(i)
      map.set(diskId(i), {
        disk: diskId(i),
        node: nodeId(nodeOf(i)),
        location: { host: `host-${nodeOf(i)}`, rack: `rack-${rack}`, site: `site-${Math.ceil(rack / RACKS_A_SITE)}` },
        usable: since === undefined,
        full: false,
        availableBytes: (1 + (i % 7)) * 2 ** 40,
        reservedBytes: 0,
        writing: 0,
        labels: NO_LABELS,
        live: since === undefined,
        draining: false,
        awayMs: since === undefined ? 0 : nowMs - since,
        reads: 0,
        writes: 0,
      })
    }
    return map
  }

  lose(node: number): void {
    this.#awaySince.set(node, clock.monotonicMs())
  }
}

const waits = (watch: ChunkWatch, wanted: Urgency): number =>
  watch.queues().find(({ urgency }) => urgency === wanted)!.chunks

interface Ticks {
  readonly steps: number
  readonly untilMs: number
  readonly busyMs: number
  readonly longestMs: number
}

/** Steps of the watch until something holds, or so long. */
async function steps(watch: ChunkWatch, most: number, until: () => boolean = () => false): Promise<Ticks> {
  const beganMs = clock.monotonicMs()
  let [count, busyMs, longestMs] = [0, 0, 0]
  while (!until()) {
    const before = ranMs()
    const { restMs } = await watch.step()
    const took = ranMs() - before
    busyMs += took
    longestMs = Math.max(longestMs, took)
    if (++count >= most || until()) break
    // The end of something that was waited for interrupts no rest here.
    skippedMs += restMs
  }
  return {
    steps: count,
    untilMs: Math.round(clock.monotonicMs() - beganMs),
    busyMs: round(busyMs),
    longestMs: round(longestMs),
  }
}

function timesOf(ms: readonly number[]): { medianMs: number; longestMs: number } {
  const sorted = [...ms].sort((a, b) => a - b)
  return { medianMs: round(sorted[sorted.length >> 1]!), longestMs: round(sorted.at(-1)!) }
}

async function measure(chunks: number): Promise<void> {
  const store = new Store(chunks)
  const machines = new Machines()
  const heapBefore = process.memoryUsage().heapUsed
  const watch = new ChunkWatch(store, machines, clock, () => rules)

  const healthy = await steps(watch, 50)
  say('plan.healthy', { chunks, msPerTick: round(healthy.busyMs / healthy.steps), longestMs: healthy.longestMs })

  const lost = 7
  const wanted = [2, COPIES].map((copies) => {
    let count = 0
    for (let d = 1; d <= DISKS_A_NODE; d++)
      for (let after: ChunkId | 0 = 0; ; ) {
        const page: ChunkId[] = store.chunkIndex.ofDisk(diskId((lost - 1) * DISKS_A_NODE + d), after, 10_000)
        count += page.filter((chunk) => wantedOf(chunk) === copies).length
        if (page.length < 10_000) break
        after = page.at(-1)!
      }
    return count
  })
  say('plan.lostNode', { chunks, endangered: wanted[0], under: wanted[1] })
  const lostAtMs = clock.monotonicMs()
  machines.lose(lost)
  watch.livenessChanged()
  const noticed = await steps(
    watch,
    1e6,
    () => watch.health().endangered === wanted[0] && watch.health().under === wanted[1],
  )
  say('plan.noticed', { chunks, ...noticed })
  await steps(watch, 1e6, () => waits(watch, 'endangered') > 0)
  say('plan.firstEndangeredQueued', { chunks, afterLossMs: Math.round(clock.monotonicMs() - lostAtMs) })
  await steps(watch, 1e6, () => waits(watch, 'endangered') >= Math.min(10_000, wanted[0]!))
  say('plan.queueFull', { chunks, afterLossMs: Math.round(clock.monotonicMs() - lostAtMs) })

  const busy: number[] = []
  const writing = new Map([...machines.map()].map(([id, d]) => [id, { ...d, writes: rules.writesPerDisk }]))
  for (let i = 0; i < 20; i++) {
    const considered = watch.next(CONSIDERED, () => false)
    const before = ranMs()
    plan(considered, writing, rules, JOBS, below)
    busy.push(ranMs() - before)
  }
  say('plan.stepAllBusy', { chunks, considered: CONSIDERED, ...timesOf(busy) })

  const took: number[] = []
  let made = 0
  for (let i = 0; i < 50; i++) {
    const considered = watch.next(CONSIDERED, () => false)
    const disks = machines.map()
    const before = ranMs()
    const { orders } = plan(considered, disks, rules, JOBS, below)
    took.push(ranMs() - before)
    made += orders.length
    for (const order of orders) store.carryOut(order)
    watch.touched(orders.map((order) => order.whole))
    await steps(watch, 1)
  }
  say('plan.step', { chunks, considered: CONSIDERED, orders: made / took.length, ...timesOf(took) })

  skippedMs += Math.max(0, rules.graceMs - (clock.monotonicMs() - lostAtMs))
  const grace = await steps(watch, 1e6, () => waits(watch, 'under') > 0)
  say('plan.firstUnderQueued', { chunks, afterGraceMs: grace.untilMs, longestMs: grace.longestMs })
  const { heapUsed } = process.memoryUsage()
  say('plan.memory', {
    chunks,
    standInMb: Math.round(store.bytes() / 1e6),
    heapGrewMb: Math.round((heapUsed - heapBefore) / 1e6),
    rssMb: Math.round(process.memoryUsage.rss() / 1e6),
  })
}

if (options.help) console.log('usage: npm run bench -- plan [--chunks 1000000,5000000,10000000]')
else for (const chunks of options.chunks.split(',').map(Number)) await measure(chunkId(chunks))
