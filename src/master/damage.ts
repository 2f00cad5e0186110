/*
 * Damaged copies: the chunkserver that has one rewrites what is bad, or all of it, from another copy. While no other copy
 * can be read the damaged one stays as it is and counts: what it still holds may be all there is. A copy that cannot be
 * mended in place is handed to repair, which makes a new one elsewhere before this one is given up.
 *
 * Mending keeps to the bounds of what is moved. What one more loss would lose waits for nothing but its like: it is begun first,
 * and has places here that nothing else takes.
 *
 * Only memory: chunkservers tell what is damaged again when they register.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import { type Asking, type Bounds, pacedMs, slower } from './bounds.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { evenly, type Paid } from './core/lanes.ts'
import type { ChunkRecord } from './core/records.ts'
import type { RepairDisk } from './core/repair.ts'
import type { State } from './core/state.ts'
import { isAbsence, isUrgent } from './orders.ts'
import { placesOf, type WorkParts } from './parts.ts'
import type { DamageReport } from './service-nodes.ts'

/** Reports waiting; a disk that damages more at once is failing, and its scrubber reports them again. */
const WAITING_MAX = 10_000
/** Orders at once: mending reads a few blocks each. */
const AT_ONCE = 8
/** Beside them, for what is endangered. */
const URGENT_AT_ONCE = 8
const AGAIN_MS = 10_000
const IDLE_MS = 60_000
/** With a bound, so often the next ones are begun. */
const BOUND_WAIT_MS = 50

interface Damaged {
  readonly disk: DiskId
  readonly chunk: ChunkId
  readonly blocks: Set<number>
  /** The whole copy cannot be read. */
  whole: boolean
  /** One more loss would lose what is damaged; undefined: to be found out. */
  endangered: boolean | undefined
  notBeforeMs: number
  /** Whether people have been told that it cannot be mended now. */
  told: boolean
}

/** What a damaged copy can be mended from. */
interface Others {
  readonly record: ChunkRecord
  /** Disks with other copies of it that can be read. */
  readonly copies: readonly DiskId[]
  readonly part: { readonly whole: ChunkId; readonly index: number } | undefined
  /** One disk of each other part that can be read, and how many of them it takes. */
  readonly parts: readonly DiskId[]
  readonly data: number
}

export class Damage implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #bounds: Bounds
  readonly #bytesPerSecond: number
  readonly #waiting = new Map<string, Damaged>()
  /** Being mended; whether as one of the urgent. */
  readonly #mending = new Map<string, boolean>()
  #mended = 0
  #bound = ''
  /** There is something to do, or a place for it. */
  onWork: () => void = () => undefined

  constructor(
    master: WorkParts,
    watch: ChunkWatch,
    bounds: Bounds,
    { bytesPerSecond }: { readonly bytesPerSecond: number },
  ) {
    this.#master = master
    this.#watch = watch
    this.#bounds = bounds
    this.#bytesPerSecond = bytesPerSecond
  }

  /** The copy is known to be damaged: it waits to be mended or is being mended. */
  knows(disk: DiskId, chunk: ChunkId): boolean {
    const at = `${disk}/${chunk}`
    return this.#waiting.has(at) || this.#mending.has(at)
  }

  /** Disks came or went: what could not be mended for want of another copy may be now, and what was safe may not be. */
  livenessChanged(): void {
    for (const damaged of this.#waiting.values()) {
      damaged.notBeforeMs = 0
      damaged.endangered = undefined
    }
  }

  add({ disk, chunk, blocks }: DamageReport): void {
    const at = `${disk}/${chunk}`
    const known = this.#waiting.get(at)
    if (known === undefined && this.#waiting.size >= WAITING_MAX) return
    const damaged = known ?? {
      ...{ disk, chunk, blocks: new Set(), whole: false, endangered: undefined, notBeforeMs: 0, told: false },
    }
    for (const block of blocks) damaged.blocks.add(block)
    if (blocks.length === 0) damaged.whole = true
    damaged.notBeforeMs = 0
    this.#waiting.set(at, damaged)
    this.onWork()
  }

  queued(): number {
    return this.#waiting.size
  }
  progress(): string {
    return `${this.#mended} mended${this.#bound}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const nowMs = this.#master.clock.monotonicMs()
    const asking = this.#bounds.asking('damage')
    let asked = 0
    let soonestMs = nowMs + (this.#waiting.size > 0 ? AGAIN_MS : IDLE_MS)
    for (const urgent of [true, false])
      for (const [at, damaged] of this.#waiting) {
        if (this.#places(urgent) <= 0) break
        if (this.#mending.has(at) || this.#isEndangered(damaged) !== urgent) continue
        if (damaged.notBeforeMs <= nowMs) {
          this.#begin(at, damaged, asking, signal)
          asked++
        }
        if (this.#waiting.has(at)) soonestMs = Math.min(soonestMs, damaged.notBeforeMs)
      }
    // Of those that wait for a bound nothing is known anew before it is their time.
    if (asked > 0 || this.#waiting.size === 0) this.#bound = asking.says()
    return { restMs: Math.max(BOUND_WAIT_MS, soonestMs - nowMs), resting: this.#bound === '' ? 'idle' : 'throttled' }
  }

  #places(urgent: boolean): number {
    let lesser = 0
    for (const one of this.#mending.values()) if (!one) lesser++
    return urgent ? AT_ONCE + URGENT_AT_ONCE - this.#mending.size : AT_ONCE - lesser
  }

  #isEndangered(damaged: Damaged): boolean {
    damaged.endangered ??= this.#judge(damaged)
    return damaged.endangered
  }

  #judge({ disk, chunk }: Damaged): boolean {
    const others = this.#othersOf(disk, chunk)
    if (others === undefined) return false
    return others.copies.length === 0 ? others.parts.length <= others.data : others.copies.length === 1
  }

  /** undefined: nothing is missed, or it is the writer's business, which drops a target that fails. */
  #othersOf(disk: DiskId, chunk: ChunkId): Others | undefined {
    const { state, nodes } = this.#master
    const record = state.chunk(chunk)
    const dead = record?.state === 'sealed' && record.live === 0
    if (record === undefined || record.disks.includes(disk) !== true || dead || record.state === 'open')
      return undefined
    const readable = (of: ChunkRecord | undefined): DiskId[] =>
      of?.disks.filter((d) => d !== disk && nodes.isLive(d) && !of.unsealed.includes(d)) ?? []
    const part = partOf(state, chunk, record)
    const ec = part && state.chunk(part.whole)?.ec
    const parts = ec?.parts.flatMap((one) => (one === chunk ? [] : readable(state.chunk(one)).slice(0, 1))) ?? []
    return { record, copies: readable(record), part, parts, data: ec?.data ?? 0 }
  }

  #begin(at: string, damaged: Damaged, asking: Asking, signal: AbortSignal): void {
    const { disk, chunk } = damaged
    const others = this.#othersOf(disk, chunk)
    if (others === undefined) {
      this.#waiting.delete(at)
      return
    }
    const { copies, part, parts, data } = others
    const without = copies.length === 0 && (part === undefined || parts.length < data)
    if (without || !this.#master.nodes.isLive(disk)) {
      damaged.notBeforeMs = this.#master.clock.monotonicMs() + AGAIN_MS
      if (!damaged.told && without)
        this.#master.log.error(
          { chunk, disk },
          'a damaged copy is kept as it is until another copy can be read; bring the disks back that are away',
        )
      damaged.told ||= without
      return
    }
    const load = this.#load(damaged, others)
    const paid = asking.admit(load)
    if (paid === undefined) {
      damaged.notBeforeMs = this.#master.clock.monotonicMs() + Math.min(AGAIN_MS, asking.leastWaitMs)
      return
    }
    this.#waiting.delete(at)
    this.#mending.set(at, load.urgent)
    void this.#run(at, damaged, others, paid, load.pacedBytes, signal)
  }

  /** What is read and written where. Of a copy that is bad as a whole, all of it, and its own disk is read, too. */
  #load(damaged: Damaged, { record, copies, parts, data }: Others) {
    const map = this.#master.nodes.map()
    const disksOf = (ids: readonly DiskId[]): RepairDisk[] => ids.flatMap((d) => map.get(d) ?? [])
    const bytes = damaged.whole ? record.length : Math.min(record.length, damaged.blocks.size * BLOCK_BYTES)
    const via = map.get(damaged.disk)!
    const from = copies.length > 0 ? copies.slice(0, 1) : parts.slice(0, data)
    return {
      reads: evenly([...disksOf(from), ...(damaged.whole ? [via] : [])], bytes),
      writes: evenly([via], bytes),
      via,
      pacedBytes: bytes * from.length,
      urgent: this.#isEndangered(damaged),
    }
  }

  async #run(
    at: string,
    damaged: Damaged,
    others: Others,
    paid: Paid,
    pacedBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { disk, chunk } = damaged
    const { copies, part } = others
    const bytesPerSecond = slower(this.#bytesPerSecond, paid)
    // Without named blocks the chunkserver reads the copy and finds what is bad, or replaces all of it.
    const blocks = damaged.whole ? [] : [...damaged.blocks].sort((a, b) => a - b)
    const sources = this.#master.orders.places(copies)
    // Some blocks are little to move, and may be the ones that the only other copy lost, too; a whole file queues.
    const urgency = paid.urgent || !damaged.whole ? 'endangered' : 'under'
    let failed: unknown
    try {
      const whole = part && placesOf(this.#master.state, this.#master.nodes, part.whole)
      await this.#master.orders.give(
        disk,
        'orderRepair',
        {
          ...{ disk, chunk, blocks, sources, whole, index: part?.index, urgent: isUrgent(urgency) },
          bytesPerSecond,
        },
        signal,
        { reads: copies.slice(0, 1), writes: [disk], urgency, pacedMs: pacedMs(pacedBytes, bytesPerSecond) },
      )
      this.#mended++
      this.#watch.mended(chunk, disk)
      this.#master.log.info({ chunk, disk, blocks: blocks.length }, 'damaged copy mended')
    } catch (error) {
      failed = error
      if (signal.aborted) return
      if (!(error instanceof FsError)) throw error
      this.#master.log.warn({ chunk, disk, error: error.message }, 'a damaged copy could not be mended in place')
      if (isAbsence(error) || error.code === 'EAGAIN' || this.#haveGone(damaged, others)) this.#later(at, damaged)
      else this.#watch.beyondRepair(chunk, disk)
    } finally {
      this.#bounds.ended(paid, failed)
      this.#mending.delete(at)
      this.onWork()
    }
  }

  /** What it was to be mended from is not there any more: it may come back. */
  #haveGone({ disk, chunk }: Damaged, { copies, parts, data }: Others): boolean {
    const now = this.#othersOf(disk, chunk)
    if (now === undefined) return true
    return copies.some((d) => !now.copies.includes(d)) || (parts.length >= data && now.parts.length < data)
  }

  #later(at: string, damaged: Damaged): void {
    const again = this.#waiting.get(at)
    const notBeforeMs = this.#master.clock.monotonicMs() + AGAIN_MS
    if (again === undefined) {
      this.#waiting.set(at, { ...damaged, endangered: undefined, notBeforeMs })
      return
    }
    // Reported again meanwhile.
    for (const block of damaged.blocks) again.blocks.add(block)
    again.whole ||= damaged.whole
    again.notBeforeMs = notBeforeMs
  }
}

/** Which part of which chunk it is. */
function partOf(state: State, chunk: ChunkId, { whole }: ChunkRecord): { whole: ChunkId; index: number } | undefined {
  const index = whole === undefined ? -1 : (state.chunk(whole)?.ec?.parts.indexOf(chunk) ?? -1)
  return whole === undefined || index < 0 ? undefined : { whole, index }
}
