/*
 * Carries out what core/repair.ts plans: copies are made by the chunkserver that gets them, counted when it says that they
 * are complete and verified; a copy is given up only after those that make it superfluous have been asked once more.
 *
 * An order that failed makes its chunk rest for a while; the next plan may choose another source or target.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log, Random } from '../base/world.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { Deletions } from './collect.ts'
import { judge, type Order, plan, type RepairRules } from './core/repair.ts'
import type { State } from './core/state.ts'
import type { Loop } from './loop.ts'
import type { Nodes } from './nodes.ts'
import { ORDERS_MAX, type Orders } from './orders.ts'
import type { Spare } from './spare.ts'

/** Chunks considered for one plan; more than can be ordered at once, so that busy disks do not hide idle ones. */
const CONSIDERED = 256
const PENALTY_MS = 10_000
const PENALTIES_MAX = 10_000
/** With something waiting for a busy disk or a penalty; the end of an order ends the rest early. */
const WAIT_MS = 1_000
const IDLE_MS = 60_000

export class Repair implements Work {
  readonly #state: State
  readonly #loop: Loop
  readonly #nodes: Nodes
  readonly #orders: Orders
  readonly #watch: ChunkWatch
  readonly #deletions: Deletions
  readonly #spare: Spare
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #rules: () => RepairRules
  readonly #bytesPerSecond: number
  readonly #running = new Set<ChunkId>()
  readonly #penalty = new Map<ChunkId, number>()
  #done = 0
  #nowhere = 0
  /** An order has ended. */
  onDone: () => void = () => undefined

  constructor(
    state: State,
    loop: Loop,
    nodes: Nodes,
    orders: Orders,
    watch: ChunkWatch,
    deletions: Deletions,
    spare: Spare,
    clock: Clock,
    random: Random,
    log: Log,
    rules: () => RepairRules,
    { bytesPerSecond }: { bytesPerSecond: number },
  ) {
    this.#state = state
    this.#loop = loop
    this.#nodes = nodes
    this.#orders = orders
    this.#watch = watch
    this.#deletions = deletions
    this.#spare = spare
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#rules = rules
    this.#bytesPerSecond = bytesPerSecond
  }

  queued(): number {
    return this.#watch.waiting
  }
  progress(): string {
    const homeless = this.#nowhere > 0 ? `, ${this.#nowhere} find no disk` : ''
    return `${this.#running.size} running, ${this.#done} done${homeless}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const nowMs = this.#clock.monotonicMs()
    for (const [chunk, untilMs] of this.#penalty) if (untilMs <= nowMs) this.#penalty.delete(chunk)
    const room = ORDERS_MAX - this.#running.size
    const chunks = this.#watch.next(CONSIDERED, (chunk) => this.#running.has(chunk) || this.#penalty.has(chunk))
    if (chunks.length === 0) return { restMs: this.#penalty.size > 0 ? WAIT_MS : IDLE_MS, resting: 'idle' }
    const disks = this.#nodes.map()
    const rules = this.#rules()
    const { orders, waiting, nowhere } = plan(chunks, disks, rules, room, (n) => this.#random.below(n))
    this.#nowhere = nowhere.length
    for (const chunk of chunks) if (judge(chunk, disks, rules).need.kind === 'none') this.#watch.forgetFor(chunk.chunk)
    for (const chunk of nowhere) this.#homeless(chunk, signal)
    for (const order of orders) void this.#carryOut(order, signal)
    return orders.length > 0 || waiting.length > 0
      ? { restMs: WAIT_MS, resting: 'throttled' }
      : { restMs: WAIT_MS, resting: 'idle' }
  }

  async #carryOut(order: Order, signal: AbortSignal): Promise<void> {
    const { chunk } = order
    this.#running.add(chunk)
    try {
      if (order.kind === 'copy') await this.#copy(order, signal)
      else await this.#drop(order, signal)
      this.#done++
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof FsError)) throw error
      const disk = order.kind === 'copy' ? order.target : order.disk
      this.#log.warn(
        { chunk, disk, order: order.kind, error: error.message },
        'repair order failed; trying again later',
      )
      if (this.#penalty.size < PENALTIES_MAX) this.#penalty.set(chunk, this.#clock.monotonicMs() + PENALTY_MS)
    } finally {
      this.#running.delete(chunk)
      this.#watch.touched([chunk])
      this.onDone()
    }
  }

  async #copy(order: Order & { kind: 'copy' }, signal: AbortSignal): Promise<void> {
    const { chunk, length, target } = order
    if (this.#deletions.pending(target, chunk)) throw new FsError('EBUSY', 'its old file there is still to be deleted')
    const sources = this.#orders.places(order.sources)
    await this.#orders.give(
      target,
      'orderCopy',
      { disk: target, chunk, length, sources, bytesPerSecond: this.#bytesPerSecond },
      signal,
      { reads: order.sources.slice(0, 1), writes: [target] },
    )
    await this.#loop.command(() => ({ ok: { kind: 'copyAdded', chunk, disk: target } }))
  }

  async #drop(order: Order & { kind: 'drop' }, signal: AbortSignal): Promise<void> {
    const { chunk, disk, reason, survivors } = order
    const record = this.#state.chunk(chunk)
    if (record === undefined) return
    for (const survivor of survivors) {
      const held = await this.#orders.give(
        survivor,
        'orderVerify',
        // What is left of a damaged copy goes only for one of which every byte was read.
        { disk: survivor, chunks: [chunk], deep: reason === 'damaged' },
        signal,
      )
      const copy = held.chunks.find((entry) => entry.chunk === chunk)
      if (copy?.state === 'sealed' && copy.length >= record.length) continue
      // What the state counts is not there: the chunk needs a new copy, and the one that was to go is needed itself.
      this.#log.error({ chunk, disk: survivor, found: copy?.state }, 'a copy that counted is not there; replacing it')
      this.#watch.beyondRepair(chunk, survivor)
      return
    }
    await this.#loop.command(() => {
      // Judged again inside the transaction: another survivor may have gone meanwhile.
      const now = this.#state.chunk(chunk)
      const need = now && judge(this.#watch.view(chunk, now), this.#nodes.map(), this.#rules()).need
      const still = need?.kind === 'drop' && need.disk === disk
      return (still || reason === 'damaged') && this.#spare.hasOther(chunk, disk)
        ? { ok: { kind: 'copyDropped', chunk, disk, reason } }
        : { errno: 'EAGAIN', detail: 'the copy is needed again' }
    })
  }

  /**
   * No disk may take the copy that a chunk needs. Where the cause is a copy beyond repair that keeps the only other
   * chunkserver occupied, that copy goes first, provided another one is there.
   */
  #homeless(chunk: ChunkId, signal: AbortSignal): void {
    this.#watch.forgetFor(chunk)
    const record = this.#state.chunk(chunk)
    if (record === undefined) return
    const { bad } = this.#watch.view(chunk, record)
    const survivor = record.disks.find((d) => this.#nodes.isLive(d) && !bad.includes(d) && !record.unsealed.includes(d))
    if (bad[0] === undefined || survivor === undefined) return
    void this.#carryOut(
      { kind: 'drop', urgency: 'endangered', chunk, disk: bad[0], reason: 'damaged', survivors: [survivor] },
      signal,
    )
  }
}
