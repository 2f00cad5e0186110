/*
 * Carries out what core/plan.ts plans: copies are made by the chunkserver that gets them, counted when it says that they
 * are complete and verified; a copy is given up only after those that make it superfluous have been asked once more.
 *
 * An order that failed makes its chunk rest for a while; the next plan may choose another source or target.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Random } from '../base/world.ts'
import { type Bounds, pacedMs, slower } from './bounds.ts'
import type { ChunkJobs, Paced } from './chunk-jobs.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { Coding } from './coding.ts'
import type { Deletions } from './collect.ts'
import type { Load, Paid } from './core/lanes.ts'
import { type Order, plan } from './core/plan.ts'
import { dropIn, judge, mayUncode, type RepairRules, type Survivor, type Urgency } from './core/repair.ts'
import { isUrgent, URGENT_ORDERS_MAX } from './orders.ts'
import type { WorkParts } from './parts.ts'
import type { Spare } from './spare.ts'

/** Chunks considered for one plan; more than can be ordered at once, so that busy disks do not hide idle ones. */
const CONSIDERED = 256
/** With something waiting for a busy disk or its rest to be over; the end of an order ends the wait early. */
const WAIT_MS = 1_000
const IDLE_MS = 60_000
/** With small chunks and a bound, so often the next ones begin. */
const BOUND_WAIT_MS = 50
/** Those told of; more than that says the same. */
const HOMELESS_MAX = 10_000

const NOT_BEGUN: FsError = new FsError('ECANCELED', 'its chunk is being worked on')

type CopyOrder = Pick<Order & { kind: 'copy' }, 'chunk' | 'length' | 'target' | 'sources' | 'paid'>

export class Repair implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #jobs: ChunkJobs
  readonly #deletions: Deletions
  readonly #coding: Coding
  readonly #spare: Spare
  readonly #random: Random
  readonly #rules: () => RepairRules
  readonly #bounds: Bounds
  readonly #bytesPerSecond: number
  /** For which there was no disk at the last try; they are tried again with every round of the watch. */
  readonly #homeless = new Set<ChunkId>()
  /** What waits for which bound, in words. */
  #bound = ''

  constructor(
    master: WorkParts,
    watch: ChunkWatch,
    jobs: ChunkJobs,
    deletions: Deletions,
    coding: Coding,
    spare: Spare,
    random: Random,
    rules: () => RepairRules,
    bounds: Bounds,
    { bytesPerSecond }: { bytesPerSecond: number },
  ) {
    this.#master = master
    this.#watch = watch
    this.#jobs = jobs
    this.#deletions = deletions
    this.#coding = coding
    this.#spare = spare
    this.#random = random
    this.#rules = rules
    this.#bounds = bounds
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Chunks that found no disk for a copy at the last try. */
  get nowhere(): number {
    for (const chunk of this.#homeless) if (this.#master.state.chunk(chunk) === undefined) this.#homeless.delete(chunk)
    return this.#homeless.size
  }

  queued(): number {
    return this.#watch.waiting
  }
  progress(): string {
    const homeless = this.nowhere > 0 ? `, ${this.nowhere} find no disk` : ''
    return `${this.#jobs.progress()}${homeless}${this.#bound}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    await this.#coding.endLeft()
    this.#jobs.pace(this.#bounds, this.#master.log)
    const room = this.#jobs.room()
    const chunks = this.#watch.next(CONSIDERED, this.#jobs.busy)
    this.#bound = ''
    if (chunks.length === 0) return { restMs: this.#jobs.waits ? WAIT_MS : IDLE_MS, resting: 'idle' }
    const disks = this.#master.nodes.map()
    const rules = this.#rules()
    const below = (n: number): number => this.#random.below(n)
    const asking = this.#bounds.asking('repair')
    const admit = (load: Load): Paid | undefined => asking.admit(load)
    const { orders, waiting, nowhere, settled } = plan(chunks, disks, rules, room, below, URGENT_ORDERS_MAX, admit)
    this.#bound = asking.says()
    // Else what cannot be bettered now would stand before what can.
    for (const chunk of settled) {
      this.#watch.forgetFor(chunk)
      this.#homeless.delete(chunk)
    }
    for (const { whole } of orders) this.#homeless.delete(whole)
    for (const chunk of nowhere) this.#hasNoHome(chunk, signal)
    for (const order of orders) this.#begin(order, signal)
    return orders.length > 0 || waiting.length > 0
      ? { restMs: Math.min(WAIT_MS, Math.max(BOUND_WAIT_MS, asking.leastWaitMs)), resting: 'throttled' }
      : { restMs: WAIT_MS, resting: 'idle' }
  }

  #begin(order: Order, signal: AbortSignal): void {
    const failed = { says: 'repair order failed; trying again later', fields: { order: order.kind } }
    const { paid } = order
    const job = async (own: AbortSignal): Promise<boolean> => {
      let error: unknown
      try {
        await this.#carryOut(order, own)
      } catch (failure) {
        error = failure
        throw failure
      } finally {
        if (paid !== undefined) this.#bounds.ended(paid, error)
      }
      return true
    }
    const begun = this.#jobs.begin(order.whole, order.urgency, signal, failed, job, this.#pacedOf(order))
    if (!begun && paid !== undefined) this.#bounds.ended(paid, NOT_BEGUN)
  }

  #pacedOf(order: Order): Paced | undefined {
    const { paid } = order
    if (paid === undefined) return undefined
    switch (order.kind) {
      case 'copy':
        return this.pacedAt(order.target, order.chunk, paid)
      case 'join':
        return this.pacedAt(order.target, order.whole, paid)
      case 'encode':
        return this.pacedAt(order.sources[0]!, order.whole, paid)
      case 'rebuild': {
        const part = this.#master.state.chunk(order.whole)?.ec?.parts[order.index]
        return part === undefined ? undefined : this.pacedAt(order.target, part, paid)
      }
      default:
        return undefined
    }
  }

  /** `at`: whose chunkserver carries the order about the chunk out. */
  pacedAt(at: DiskId, chunk: ChunkId, paid: Paid): Paced {
    const { orders, log } = this.#master
    const tell = async (signal: AbortSignal): Promise<void> => {
      try {
        const after = this.#bounds.repaced(paid)
        const bytesPerSecond = slower(this.#bytesPerSecond, after)
        // What waits at its chunkserver for its turn has no pace yet that could be changed.
        const { found } = await orders.give(at, 'orderPace', { chunk, bytesPerSecond }, signal)
        if (found) this.#bounds.paced(paid, after)
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        log.debug({ chunk, disk: at, error: error.message }, 'an order could not be told its new pace')
      }
    }
    return { paid, tell }
  }

  #carryOut(order: Order, signal: AbortSignal): Promise<void> {
    switch (order.kind) {
      case 'copy':
        return this.copy(order, order.urgency, signal)
      case 'drop':
        return this.#drop(order, signal)
      case 'encode':
        return this.#coding.encode(order, signal)
      case 'rebuild':
        return this.#coding.rebuild(order, signal)
      case 'join':
        return this.#coding.join(order, signal)
      case 'uncode':
        return this.#uncode(order, signal)
    }
  }

  /** `urgency`: undefined is less urgent than all that repair does. */
  async copy(order: CopyOrder, urgency: Urgency | undefined, signal: AbortSignal): Promise<void> {
    const { chunk, length, target } = order
    if (this.#deletions.pending(target, chunk)) throw new FsError('EBUSY', 'its old file there is still to be deleted')
    const sources = this.#master.orders.places(order.sources)
    const bytesPerSecond = slower(this.#bytesPerSecond, order.paid)
    await this.#master.orders.give(
      target,
      'orderCopy',
      {
        disk: target,
        chunk,
        length,
        sources,
        bytesPerSecond,
        urgent: isUrgent(urgency),
      },
      signal,
      { reads: order.sources.slice(0, 1), writes: [target], urgency, pacedMs: pacedMs(length, bytesPerSecond) },
    )
    await this.#master.loop.command(() => ({ ok: { kind: 'copyAdded', chunk, disk: target } }))
  }

  async #drop(order: Order & { kind: 'drop' }, signal: AbortSignal): Promise<void> {
    const { whole, chunk, disk, reason, survivors } = order
    const record = this.#master.state.chunk(chunk)
    if (record === undefined) return
    // What is left of a damaged copy goes only for one of which every byte was read, copies only for parts of which it was.
    const deep = reason === 'damaged' || record.ec !== undefined
    const found = await Promise.all(survivors.map((survivor) => this.#isThere(survivor, deep, signal)))
    if (found.includes(false)) return
    await this.#master.loop.command(() => {
      // Judged again inside the transaction: another survivor may have gone meanwhile.
      const now = this.#master.state.chunk(whole)
      const need = now && judge(this.#watch.view(whole, now), this.#master.nodes.map(), this.#rules()).need
      const drop = need && dropIn(need)
      const still = drop?.disk === disk && drop.chunk === chunk
      return (still || reason === 'damaged') && this.#spare.hasOther(chunk, disk)
        ? { ok: { kind: 'copyDropped', chunk, disk, reason } }
        : { errno: 'EAGAIN', detail: 'the copy is needed again' }
    })
  }

  /** The copies that replace the parts are read once more before those are given up. */
  async #uncode({ whole, survivors }: Order & { kind: 'uncode' }, signal: AbortSignal): Promise<void> {
    const found = await Promise.all(survivors.map((survivor) => this.#isThere(survivor, true, signal)))
    if (found.includes(false)) return
    await this.#master.loop.command(() => {
      const now = this.#master.state.chunk(whole)
      const need = now && judge(this.#watch.view(whole, now), this.#master.nodes.map(), this.#rules()).need
      return need !== undefined && mayUncode(need)
        ? { ok: { kind: 'uncoded', whole } }
        : { errno: 'EAGAIN', detail: 'its parts are needed again' }
    })
  }

  async #isThere({ chunk, disk, length }: Survivor, deep: boolean, signal: AbortSignal): Promise<boolean> {
    const held = await this.#master.orders.give(disk, 'orderVerify', { disk, chunks: [chunk], deep }, signal)
    const copy = held.chunks.find((entry) => entry.chunk === chunk)
    if (copy?.state === 'sealed' && copy.length >= length) return true
    // What the state counts is not there: the chunk needs a new copy, and the one that was to go is needed itself.
    this.#master.log.error({ chunk, disk, found: copy?.state }, 'a copy that counted is not there; replacing it')
    this.#watch.beyondRepair(chunk, disk)
    return false
  }

  /**
   * No disk may take the copy that a chunk needs. Where the cause is a copy beyond repair that keeps the only other
   * chunkserver occupied, that copy goes first, provided another one is there.
   */
  #hasNoHome(chunk: ChunkId, signal: AbortSignal): void {
    if (this.#homeless.size < HOMELESS_MAX) this.#homeless.add(chunk)
    this.#watch.forgetFor(chunk)
    const record = this.#master.state.chunk(chunk)
    if (record === undefined) return
    const { bad } = this.#watch.view(chunk, record)
    const survivor = record.disks.find(
      (d) => this.#master.nodes.isLive(d) && !bad.includes(d) && !record.unsealed.includes(d),
    )
    if (bad[0] === undefined || survivor === undefined) return
    this.#begin(
      {
        kind: 'drop',
        urgency: 'endangered',
        whole: chunk,
        chunk,
        disk: bad[0],
        reason: 'damaged',
        survivors: [{ chunk, disk: survivor, length: record.length }],
      },
      signal,
    )
  }
}
