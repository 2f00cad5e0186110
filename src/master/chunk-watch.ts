/*
 * Which chunks need something, found without ever walking the healthy ones. Three sources: chunks that a command has just
 * touched; the state's attention table (copies other than wanted, seals outstanding); and the chunks of disks that cannot
 * be read or are to be emptied, walked in rounds for as long as that is so. A round costs in proportion to what is wrong,
 * and rests ten times as long as it took, but never beyond the moment at which a disk has been waited for long enough.
 *
 * Everything here can be thrown away: the next round finds it again. That is also what happens when a queue is full.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock } from '../base/world.ts'
import { Behind } from './behind.ts'
import { owedOf } from './core/behind.ts'
import type { ChunkIndex } from './core/chunk-index.ts'
import { chunkClass } from './core/chunks.ts'
import type { ClassTable } from './core/class-table.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import type { ChunkRecord } from './core/records.ts'
import {
  type Copies,
  type DiskMap,
  type Health,
  judge,
  type RepairChunk,
  type RepairRules,
  URGENCIES,
  type Urgency,
} from './core/repair.ts'
import { wishFor } from './core/wishes.ts'
import type { Nodes } from './nodes.ts'

/** Chunks per urgency held in memory: minutes of work for the repair; more are found again by the next round. */
const QUEUE_MAX = 10_000
/** Chunks looked at in one step: about 15 ms. */
const STEP_CHUNKS = 1_000
/** Between steps of a round, so that a walk over a million chunks leaves most of the processor to others. */
const STEP_REST_MS = 50
const ROUND_REST_MS = 5_000
const ROUND_REST_FACTOR = 10
/** Copies known to be beyond repair; a disk with more is failing as a whole. */
const BAD_MAX = 10_000

/** `coded`: of the endangered ones, those that are erasure-coded. */
type Overlay = { -readonly [K in Health]: number } & { coded: number }
const emptyOverlay = (): Overlay => ({ safe: 0, under: 0, endangered: 0, lost: 0, over: 0, open: 0, coded: 0 })

type Table = 'attention' | DiskId

/** A walk over tables, and how far it has come in each. */
interface Round {
  readonly tables: { readonly table: Table; cursor: ChunkId | 0 }[]
  at: number
  readonly beganMs: number
  /** When a disk will have been away for so long that its chunks are judged otherwise. */
  readonly verdictMs: number
  readonly overlay: Overlay
}

/** What it reads of the state. */
export interface WatchedState {
  chunk(chunk: ChunkId): ChunkRecord | undefined
  readonly chunkIndex: Pick<ChunkIndex, 'attention' | 'ofDisk'>
  readonly classes: Pick<ClassTable, 'meaning'>
  counters(): Readonly<Record<Health, number>>
}

export class ChunkWatch implements Work {
  /** What is not yet where its class wants it. */
  readonly behind: Behind
  readonly #state: WatchedState
  readonly #nodes: Pick<Nodes, 'map'>
  readonly #clock: Clock
  readonly #rules: () => RepairRules
  readonly #queues = new Map<Urgency, Set<ChunkId>>(URGENCIES.map((urgency) => [urgency, new Set()]))
  readonly #sealing = new Set<ChunkId>()
  readonly #bad = new Map<ChunkId, DiskId[]>()
  #fresh = new Set<ChunkId>()
  #round: Round | undefined
  #livenessChanged = false
  #nextRoundMs = 0
  #missed = false
  #overlay = emptyOverlay()
  /** There is something in the queues. */
  onWork: () => void = () => undefined
  /** Something is to be looked at that no command has told of. */
  onFound: () => void = () => undefined

  constructor(state: WatchedState, nodes: Pick<Nodes, 'map'>, clock: Clock, rules: () => RepairRules) {
    this.#state = state
    this.#nodes = nodes
    this.#clock = clock
    this.#rules = rules
    this.behind = new Behind(clock)
  }

  /** A command has changed these. */
  touched(chunks: readonly ChunkId[]): void {
    for (const chunk of chunks)
      if (this.#fresh.size < QUEUE_MAX) this.#fresh.add(chunk)
      else this.#missed = true
  }

  /**
   * Whether something was left out that no round finds again, because it is only misplaced, and there is room for it by now;
   * told once.
   */
  takeMissed(): boolean {
    const queued = this.#queues.get('misplaced')!.size
    const room = this.#fresh.size < QUEUE_MAX / 2 && queued < QUEUE_MAX / 2 && this.behind.hasRoom
    const missed = this.#missed && room
    if (missed) this.#missed = false
    return missed
  }

  /** Disks came or went: what was judged before may be wrong now. */
  livenessChanged(): void {
    this.#livenessChanged = true
    this.#nextRoundMs = 0
  }

  /** A copy that cannot be repaired in place. */
  beyondRepair(chunk: ChunkId, disk: DiskId): void {
    if (this.#bad.size >= BAD_MAX) throw new FsError('EBUSY', 'too many damaged copies are waiting for replacement')
    const disks = this.#bad.get(chunk) ?? []
    if (!disks.includes(disk)) this.#bad.set(chunk, [...disks, disk])
    this.touched([chunk])
    this.onFound()
  }

  /** It could be mended after all. */
  mended(chunk: ChunkId, disk: DiskId): void {
    const disks = this.#bad.get(chunk)?.filter((other) => other !== disk)
    if (disks === undefined) return
    if (disks.length === 0) this.#bad.delete(chunk)
    else this.#bad.set(chunk, disks)
    this.touched([chunk])
    this.onFound()
  }

  isBeyondRepair(chunk: ChunkId, disk: DiskId): boolean {
    return this.#bad.get(chunk)?.includes(disk) === true
  }

  view(chunk: ChunkId, record: ChunkRecord): RepairChunk {
    const { ec } = record
    return {
      ...this.#copies(chunk, record),
      sealed: record.state === 'sealed',
      ending: record.state === 'sealing' && record.live > 0,
      cut: record.lost !== undefined,
      wish: wishFor(record, this.#state.classes.meaning(record.classId ?? 0)),
      ec: ec && { data: ec.data, parity: ec.parity, parts: ec.parts.map((part) => this.#part(part)) },
    }
  }

  #part(part: ChunkId): Copies {
    const record = this.#state.chunk(part)
    if (record === undefined) return { chunk: part, length: 0, disks: [], unsealed: [], bad: [] }
    const copies = this.#copies(part, record)
    // Until somebody has confirmed its end, nobody is known to have it.
    return record.state === 'sealed' ? copies : { ...copies, unsealed: copies.disks }
  }

  #copies(chunk: ChunkId, { length, disks, unsealed }: ChunkRecord): Copies {
    const bad = this.#bad.get(chunk)?.filter((disk) => disks.includes(disk)) ?? []
    if (bad.length === 0) this.#bad.delete(chunk)
    return { chunk, length, disks, unsealed, bad }
  }

  /** The most urgent chunks, leaving out what `busy` says. They stay queued until judged healthy. */
  next(limit: number, busy: (chunk: ChunkId, urgency: Urgency) => boolean): RepairChunk[] {
    const chunks: RepairChunk[] = []
    for (const [urgency, queue] of this.#queues) {
      for (const chunk of queue) {
        if (chunks.length >= limit) return chunks
        if (busy(chunk, urgency)) continue
        const record = this.#state.chunk(chunk)
        if (record === undefined) queue.delete(chunk)
        else chunks.push(this.view(chunk, record))
      }
    }
    return chunks
  }

  /** Chunks with copies that have to be sealed. */
  nextSealing(limit: number, busy: (chunk: ChunkId) => boolean): ChunkId[] {
    const chunks: ChunkId[] = []
    for (const chunk of this.#sealing) {
      if (chunks.length >= limit) break
      if (!busy(chunk)) chunks.push(chunk)
    }
    return chunks
  }

  forgetFor(chunk: ChunkId): void {
    for (const queue of this.#queues.values()) queue.delete(chunk)
  }

  /** Chunks by how safe they are: the state's counters, corrected by what cannot be read right now. */
  health(): Readonly<Record<Health, number>> & { readonly endangeredCoded: number } {
    const { safe, under, endangered, lost, over, open } = this.#state.counters()
    const now = this.#overlay
    return {
      safe: safe + now.safe,
      under: under + now.under,
      endangered: endangered + now.endangered,
      lost: lost + now.lost,
      over: over + now.over,
      open: open + now.open,
      endangeredCoded: now.coded,
    }
  }

  /** What waits, most urgent first. */
  queues(): { urgency: Urgency; chunks: number }[] {
    return [...this.#queues].map(([urgency, queue]) => ({ urgency, chunks: queue.size }))
  }

  get sealing(): number {
    return this.#sealing.size
  }
  get waiting(): number {
    let n = 0
    for (const queue of this.#queues.values()) n += queue.size
    return n
  }

  queued(): number {
    return this.#fresh.size
  }
  progress(): string {
    const counts = URGENCIES.map((urgency) => `${urgency} ${this.#queues.get(urgency)!.size}`)
    return `${counts.join(', ')}, sealing ${this.#sealing.size}`
  }

  async step(): Promise<WorkStep> {
    const disks = this.#nodes.map()
    const rules = this.#rules()
    let left = STEP_CHUNKS
    for (const chunk of this.#fresh) {
      if (left-- <= 0) break
      this.#fresh.delete(chunk)
      this.#look(chunk, disks, rules)
    }
    const nowMs = this.#clock.monotonicMs()
    if (this.#livenessChanged && this.#round !== undefined) insertLost(this.#round, disks)
    else if (this.#round === undefined && nowMs >= this.#nextRoundMs) this.#beginRound(disks, rules, nowMs)
    this.#livenessChanged = false
    if (this.#round !== undefined && left > 0) this.#walk(left, disks, rules)
    if (this.waiting > 0 || this.#sealing.size > 0) this.onWork()
    if (this.#fresh.size > 0 || this.#round !== undefined) return { restMs: STEP_REST_MS, resting: 'throttled' }
    return { restMs: Math.max(STEP_REST_MS, this.#nextRoundMs - this.#clock.monotonicMs()), resting: 'idle' }
  }

  #beginRound(disks: DiskMap, rules: RepairRules, nowMs: number): void {
    const draining = [...disks.values()].filter((d) => d.live && d.draining).map((d) => d.disk)
    const tables: Table[] = [...lostOf(disks), 'attention', ...draining]
    this.#round = {
      tables: tables.map((table) => ({ table, cursor: 0 })),
      at: 0,
      beganMs: nowMs,
      verdictMs: nowMs + nextVerdictMs(disks, rules),
      overlay: emptyOverlay(),
    }
    this.behind.roundBegins()
    // It will have seen all that has changed until now.
    this.#nextRoundMs = Number.POSITIVE_INFINITY
  }

  #walk(limit: number, disks: DiskMap, rules: RepairRules): void {
    const round = this.#round!
    let left = limit
    while (left > 0 && round.at < round.tables.length) {
      const now = round.tables[round.at]!
      const page =
        now.table === 'attention'
          ? this.#state.chunkIndex.attention(now.cursor, left)
          : this.#state.chunkIndex.ofDisk(now.table, now.cursor, left)
      for (const chunk of page) {
        const health = this.#look(chunk, disks, rules)
        if (health !== undefined) this.#count(chunk, now.table, health, round)
      }
      left -= page.length
      now.cursor = page.at(-1) ?? 0
      // A page is short only at the end of its table.
      if (left > 0) round.at++
    }
    if (round.at < round.tables.length) return
    // Of what was behind and is in no table any more: the disks that it was missing are back.
    const stale = this.behind.stale(left)
    for (const chunk of stale) this.#look(chunk, disks, rules)
    if (stale.length === left) return
    const nowMs = this.#clock.monotonicMs()
    this.#overlay = round.overlay
    const restMs = Math.max(ROUND_REST_MS, (nowMs - round.beganMs) * ROUND_REST_FACTOR)
    const dueMs = Math.min(nowMs + restMs, Math.max(nowMs + STEP_REST_MS, round.verdictMs))
    this.#nextRoundMs = Math.min(this.#nextRoundMs, dueMs)
    this.#round = undefined
  }

  /**
   * Each chunk once: one that is not sealed yet, and may have no copy left, where it needs attention; the others at the
   * first of the walked disks that they count on, with a copy or (erasure-coded) with a part.
   */
  #count(seen: ChunkId, table: Table, health: Health, { tables, overlay }: Round): void {
    const chunk = this.#state.chunk(seen)?.whole ?? seen
    const record = this.#state.chunk(chunk)
    if (record === undefined) return
    const counted = chunkClass(record)
    if (counted === undefined || counted === 'dead') return
    const first = record.state === 'sealing' ? undefined : this.#firstWalked(chunk, record, tables)
    const here = first === undefined ? table === 'attention' : first.disk === table && first.chunk === seen
    if (!here) return
    if (health === 'endangered' && record.ec !== undefined) overlay.coded++
    if (counted === health) return
    // What is on none of the walked disks is as safe as the state says.
    if (first === undefined && record.state !== 'sealing') return
    overlay[counted]--
    overlay[health]++
  }

  /** Where a round comes upon a chunk first, the attention table aside. */
  #firstWalked(
    chunk: ChunkId,
    record: ChunkRecord,
    tables: Round['tables'],
  ): { disk: DiskId; chunk: ChunkId } | undefined {
    const parts = record.ec?.parts ?? []
    for (const { table: disk } of tables) {
      if (disk === 'attention') continue
      if (record.disks.includes(disk)) return { disk, chunk }
      const part = parts.find((one) => this.#state.chunk(one)?.disks.includes(disk) === true)
      if (part !== undefined) return { disk, chunk: part }
    }
    return undefined
  }

  /** The health of the chunk, or of the one that it is a part of. */
  #look(chunk: ChunkId, disks: DiskMap, rules: RepairRules): Health | undefined {
    this.forgetFor(chunk)
    this.#sealing.delete(chunk)
    const record = this.#state.chunk(chunk)
    if (record === undefined) {
      this.#bad.delete(chunk)
      this.behind.forget(chunk)
      return undefined
    }
    if (record.state === 'sealing' || record.unsealed.some((disk) => disks.get(disk)?.live === true)) {
      if (this.#sealing.size < QUEUE_MAX) this.#sealing.add(chunk)
    }
    if (record.state === 'sealed' && record.live === 0) {
      this.behind.forget(chunk)
      return undefined
    }
    // What a part lacks, the chunk lacks that is made of it.
    if (record.whole !== undefined) {
      const whole = this.#state.chunk(record.whole)
      return whole?.ec?.parts.includes(chunk) === true ? this.#look(record.whole, disks, rules) : undefined
    }
    const seen = this.view(chunk, record)
    const { health, need } = judge(seen, disks, rules)
    if (need.kind !== 'none') {
      const queue = this.#queues.get(need.urgency)!
      if (queue.size < QUEUE_MAX) queue.add(chunk)
      else this.#missed ||= need.urgency === 'misplaced'
    }
    // What needs nothing is where it should be.
    const owed = need.kind === 'none' ? [] : owedOf(seen, disks, rules)
    const noted = this.behind.note(chunk, record.classId || DEFAULT_CLASS, record.createdSec, owed)
    if (!noted && need.kind !== 'none') this.#missed ||= need.urgency === 'misplaced'
    return health
  }
}

/** What was lost last comes first: everything else was looked at before, or can wait for it. */
const lostOf = (disks: DiskMap): DiskId[] =>
  [...disks.values()]
    .filter((d) => !d.live)
    .sort((a, b) => a.awayMs - b.awayMs)
    .map((d) => d.disk)

/** The round goes on after them: were it begun anew each time, many comings and goings would never let it come to its end. */
function insertLost({ tables, at }: Round, disks: DiskMap): void {
  const walked = new Set(tables.slice(0, at + 1).map(({ table }) => table))
  const ahead = new Map(tables.splice(at).map((one) => [one.table, one]))
  for (const table of lostOf(disks)) {
    if (walked.has(table)) continue
    tables.push(ahead.get(table) ?? { table, cursor: 0 })
    ahead.delete(table)
  }
  tables.push(...ahead.values())
}

/** In how many ms a disk will have been away for so long that its chunks are judged otherwise. */
function nextVerdictMs(disks: DiskMap, rules: RepairRules): number {
  let soonest = Number.POSITIVE_INFINITY
  for (const { live, awayMs, graceMs } of disks.values())
    if (!live)
      for (const patienceMs of [rules.settleMs, graceMs ?? rules.graceMs])
        if (patienceMs > awayMs) soonest = Math.min(soonest, patienceMs - awayMs)
  return soonest
}
