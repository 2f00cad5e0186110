/*
 * Fills disks alike, as the least of all work: while any chunk waits for repair nothing is begun, and a disk takes part in one
 * move at a time, and only when no other order reads from it or writes to it. core/rebalance.ts says what moves where; the copy is
 * made by repair's path, and repair gives up the one that is surplus then.
 *
 * Only chunks of disks that are fuller than another are looked at, by the index of disks, a page at a time. A disk of which no
 * chunk can move rests. Everything held here can be thrown away.
 */

import type { ChunkId, DiskId } from '../base/ids.ts'
import { formatBytes } from '../base/units.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Asking, Bounds } from './bounds.ts'
import type { ChunkJobs } from './chunk-jobs.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { evenly, type Paid } from './core/lanes.ts'
import { balanceOf, movingRules } from './core/moving.ts'
import { type Move, moveOf, type Slope, slopes } from './core/rebalance.ts'
import {
  type Copies,
  type DiskMap,
  type RepairChunk,
  type RepairDisk,
  type RepairRules,
  usedShare,
} from './core/repair.ts'
import type { WorkParts } from './parts.ts'
import type { Repair } from './repair.ts'

/** Of one disk in one step, and disks in one step: some milliseconds. */
const PAGE_CHUNKS = 64
const STEP_DISKS = 8
/** Moves whose bytes are not in the reports yet. Beyond it, reports are waited for. */
const UNREPORTED_MAX = 256
/** A disk that has nothing to give: its chunks stand where they have to, or are on all the others. */
const STUCK_REST_MS = 600_000
const STEP_REST_MS = 100
/** While something more urgent goes on, or disks are busy. */
const PAUSE_MS = 1_000
const IDLE_MS = 5_000

/** What reports do not say yet. */
interface Unreported {
  readonly disk: DiskId
  readonly bytes: number
  readonly move: Move
  report: unknown
  /** Reports to come before it counts as told. */
  left: number
}

export class Rebalance implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #jobs: ChunkJobs
  readonly #repair: Repair
  readonly #rules: () => RepairRules
  readonly #bounds: Bounds
  readonly #falling = new Set<DiskId>()
  readonly #stuck = new Map<DiskId, number>()
  readonly #walks = new Map<DiskId, { cursor: ChunkId | 0; found: boolean }>()
  readonly #running = new Set<Move>()
  #unreported: Unreported[] = []
  #moved = 0
  #bytes = 0
  #says = ''

  constructor(
    master: WorkParts,
    watch: ChunkWatch,
    jobs: ChunkJobs,
    repair: Repair,
    rules: () => RepairRules,
    bounds: Bounds,
  ) {
    this.#master = master
    this.#watch = watch
    this.#jobs = jobs
    this.#repair = repair
    this.#rules = rules
    this.#bounds = bounds
  }

  queued(): number {
    return this.#running.size
  }
  progress(): string {
    return `${this.#moved} moved, ${formatBytes(this.#bytes)}${this.#says}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const rules = movingRules(this.#master.state.settings().moving)
    if (!rules.rebalance) {
      this.#says = ', switched off'
      this.#falling.clear()
      return { restMs: IDLE_MS, resting: 'idle' }
    }
    const disks = this.#disks()
    this.#says = rangeOf(disks)
    const balance = balanceOf(rules)
    const found = slopes(disks, balance, this.#falling)
    this.#ended(found)
    if (found.length === 0) return { restMs: IDLE_MS, resting: 'idle' }
    if (this.#watch.next(1, this.#jobs.busy).length > 0 || this.#jobs.room() <= 0) {
      this.#says += ', waiting for more urgent work'
      return { restMs: PAUSE_MS, resting: 'throttled' }
    }
    const nowMs = this.#master.clock.monotonicMs()
    const open = found.filter(({ from }) => (this.#stuck.get(from.disk) ?? 0) <= nowMs)
    if (open.length === 0) return { restMs: IDLE_MS, resting: 'idle' }
    const asking = this.#bounds.asking('rebalance')
    let looked = 0
    for (const { from, targets } of open) {
      if (looked >= STEP_DISKS || this.#unreported.length >= UNREPORTED_MAX) break
      const slope = { from, targets: targets.filter((d) => this.#isIdle(d)) }
      if (!this.#isIdle(from) || slope.targets.length === 0) continue
      looked++
      const move = this.#find(slope, targets.length, disks, balance)
      if (move !== undefined) this.#beginWithin(asking, move, disks, signal)
    }
    this.#says += asking.says()
    const waitMs = Number.isFinite(asking.leastWaitMs) ? asking.leastWaitMs : STEP_REST_MS
    const restMs = looked > 0 ? Math.min(PAUSE_MS, Math.max(STEP_REST_MS, waitMs)) : PAUSE_MS
    return { restMs, resting: 'throttled' }
  }

  /** With what is under way, or done and not reported yet. */
  #disks(): DiskMap {
    const map = new Map(this.#master.nodes.map())
    for (const one of this.#unreported) {
      const report = this.#master.nodes.disk(one.disk)?.report
      if (this.#running.has(one.move) || report === one.report) continue
      one.report = report
      one.left--
    }
    this.#unreported = this.#unreported.filter(({ left }) => left > 0)
    for (const { disk, bytes } of this.#unreported) {
      const d = map.get(disk)
      if (d !== undefined) map.set(disk, { ...d, usedBytes: (d.usedBytes ?? 0) + bytes })
    }
    return map
  }

  /** Disks that are as full as the others by now need a large difference to begin again. */
  #ended(found: readonly Slope[]): void {
    const still = new Set(found.map(({ from }) => from.disk))
    for (const disk of this.#falling) if (!still.has(disk)) this.#falling.delete(disk)
    for (const disk of this.#walks.keys()) if (!still.has(disk)) this.#walks.delete(disk)
    for (const disk of this.#stuck.keys()) if (!still.has(disk)) this.#stuck.delete(disk)
  }

  #isIdle({ disk, reads, writes }: RepairDisk): boolean {
    if (reads > 0 || writes > 0) return false
    for (const move of this.#running) if (move.from === disk || move.target === disk) return false
    return true
  }

  #find(slope: Slope, targets: number, disks: DiskMap, balance: ReturnType<typeof balanceOf>): Move | undefined {
    const { disk } = slope.from
    const { state } = this.#master
    const walk = this.#walks.get(disk) ?? { cursor: 0 as const, found: false }
    const page = state.chunkIndex.ofDisk(disk, walk.cursor, PAGE_CHUNKS)
    for (const id of page) {
      const record = state.chunk(id)
      if (record === undefined || record.state !== 'sealed' || record.live === 0 || this.#jobs.busy(id)) continue
      const whole = record.whole ?? id
      const seen = this.#view(whole)
      if (seen === undefined || this.#jobs.busy(whole)) continue
      const of: Copies | undefined = whole === id ? seen : seen.ec?.parts.find((part) => part.chunk === id)
      const move = of && moveOf(seen, of, slope, disks, this.#rules(), balance, this.#falling)
      if (move === undefined || !this.#mayRead(move)) continue
      this.#falling.add(disk)
      this.#walks.set(disk, { cursor: id, found: true })
      return move
    }
    const ended = page.length < PAGE_CHUNKS
    // With some of the targets busy, nothing is known of the rest.
    if (ended && !walk.found && slope.targets.length === targets) {
      this.#falling.delete(disk)
      this.#stuck.set(disk, this.#master.clock.monotonicMs() + STUCK_REST_MS)
    }
    this.#walks.set(disk, ended ? { cursor: 0, found: false } : { ...walk, cursor: page.at(-1) ?? 0 })
    return undefined
  }

  #view(whole: ChunkId): RepairChunk | undefined {
    const record = this.#master.state.chunk(whole)
    return record?.state === 'sealed' ? this.#watch.view(whole, record) : undefined
  }

  /** Nobody else reads from the disk that it would be read from. */
  #mayRead({ from, sources }: Move): boolean {
    const source = sources[0]
    const disk = source === undefined ? undefined : this.#master.nodes.disk(source)
    return disk !== undefined && (source === from || (disk.reads === 0 && disk.writes === 0))
  }

  #beginWithin(asking: Asking, move: Move, disks: DiskMap, signal: AbortSignal): void {
    const reads = move.sources.slice(0, 1).flatMap((disk) => disks.get(disk) ?? [])
    const target = disks.get(move.target)!
    const { length } = move
    const paid = asking.admit({
      ...{ reads: evenly(reads, length), writes: evenly([target], length), via: target, pacedBytes: length },
      urgent: false,
      lazy: true,
    })
    if (paid !== undefined) this.#begin(move, paid, signal)
  }

  #begin(move: Move, paid: Paid, signal: AbortSignal): void {
    const { whole, chunk, length, from, target } = move
    this.#running.add(move)
    const failed = {
      says: 'a chunk could not be moved to a disk with more room; trying again later',
      fields: { target },
    }
    const reportOf = (disk: DiskId): unknown => this.#master.nodes.disk(disk)?.report
    // The one that gives is told of the copy's end later than the one that takes of its beginning.
    this.#unreported.push({ disk: target, bytes: length, move, report: reportOf(target), left: 1 })
    this.#unreported.push({ disk: from, bytes: -length, move, report: reportOf(from), left: 2 })
    const job = async (own: AbortSignal): Promise<boolean> => {
      let done = false
      let error: unknown
      try {
        await this.#repair.copy({ ...move, paid }, undefined, own)
        this.#moved++
        this.#bytes += length
        done = true
        this.#master.log.debug({ chunk, from, target, bytes: length }, 'copy moved to a disk with more room')
      } catch (failure) {
        error = failure
        throw failure
      } finally {
        this.#running.delete(move)
        this.#bounds.ended(paid, error)
        if (!done) this.#unreported = this.#unreported.filter((one) => one.move !== move)
      }
      return true
    }
    const paced = this.#repair.pacedAt(target, chunk, paid)
    this.#jobs.begin(whole, undefined, signal, failed, job, paced)
  }
}

function rangeOf(disks: DiskMap): string {
  const shares = [...disks.values()].filter((d) => d.usable).map(usedShare)
  if (shares.length === 0) return ''
  const percent = (share: number): string => (share * 100).toFixed(1)
  return `, disks are ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))} % full`
}
