/*
 * Carries out what core/repair.ts plans: copies are made by the chunkserver that gets them, counted when it says that they
 * are complete and verified; a copy is given up only after those that make it superfluous have been asked once more.
 *
 * An order that failed makes its chunk rest for a while; the next plan may choose another source or target.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Random } from '../base/world.ts'
import type { ChunkJobs } from './chunk-jobs.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { Deletions } from './collect.ts'
import { judge, type Order, plan, type RepairRules } from './core/repair.ts'
import type { WorkParts } from './parts.ts'
import type { Spare } from './spare.ts'

/** Chunks considered for one plan; more than can be ordered at once, so that busy disks do not hide idle ones. */
const CONSIDERED = 256
/** With something waiting for a busy disk or its rest to be over; the end of an order ends the wait early. */
const WAIT_MS = 1_000
const IDLE_MS = 60_000

export class Repair implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #jobs: ChunkJobs
  readonly #deletions: Deletions
  readonly #spare: Spare
  readonly #random: Random
  readonly #rules: () => RepairRules
  readonly #bytesPerSecond: number
  #nowhere = 0

  constructor(
    master: WorkParts,
    watch: ChunkWatch,
    jobs: ChunkJobs,
    deletions: Deletions,
    spare: Spare,
    random: Random,
    rules: () => RepairRules,
    { bytesPerSecond }: { bytesPerSecond: number },
  ) {
    this.#master = master
    this.#watch = watch
    this.#jobs = jobs
    this.#deletions = deletions
    this.#spare = spare
    this.#random = random
    this.#rules = rules
    this.#bytesPerSecond = bytesPerSecond
  }

  queued(): number {
    return this.#watch.waiting
  }
  progress(): string {
    const homeless = this.#nowhere > 0 ? `, ${this.#nowhere} find no disk` : ''
    return `${this.#jobs.progress()}${homeless}`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const room = this.#jobs.room()
    const chunks = this.#watch.next(CONSIDERED, this.#jobs.busy)
    if (chunks.length === 0) return { restMs: this.#jobs.waits ? WAIT_MS : IDLE_MS, resting: 'idle' }
    const disks = this.#master.nodes.map()
    const rules = this.#rules()
    const { orders, waiting, nowhere } = plan(chunks, disks, rules, room, (n) => this.#random.below(n))
    this.#nowhere = nowhere.length
    for (const chunk of chunks) if (judge(chunk, disks, rules).need.kind === 'none') this.#watch.forgetFor(chunk.chunk)
    for (const chunk of nowhere) this.#homeless(chunk, signal)
    for (const order of orders) this.#begin(order, signal)
    return orders.length > 0 || waiting.length > 0
      ? { restMs: WAIT_MS, resting: 'throttled' }
      : { restMs: WAIT_MS, resting: 'idle' }
  }

  #begin(order: Order, signal: AbortSignal): void {
    const disk = order.kind === 'copy' ? order.target : order.disk
    const failed = { says: 'repair order failed; trying again later', fields: { disk, order: order.kind } }
    this.#jobs.begin(order.chunk, signal, failed, async () => {
      if (order.kind === 'copy') await this.#copy(order, signal)
      else await this.#drop(order, signal)
      return true
    })
  }

  async #copy(order: Order & { kind: 'copy' }, signal: AbortSignal): Promise<void> {
    const { chunk, length, target } = order
    if (this.#deletions.pending(target, chunk)) throw new FsError('EBUSY', 'its old file there is still to be deleted')
    const sources = this.#master.orders.places(order.sources)
    await this.#master.orders.give(
      target,
      'orderCopy',
      { disk: target, chunk, length, sources, bytesPerSecond: this.#bytesPerSecond },
      signal,
      { reads: order.sources.slice(0, 1), writes: [target] },
    )
    await this.#master.loop.command(() => ({ ok: { kind: 'copyAdded', chunk, disk: target } }))
  }

  async #drop(order: Order & { kind: 'drop' }, signal: AbortSignal): Promise<void> {
    const { chunk, disk, reason, survivors } = order
    const record = this.#master.state.chunk(chunk)
    if (record === undefined) return
    for (const survivor of survivors) {
      const held = await this.#master.orders.give(
        survivor,
        'orderVerify',
        // What is left of a damaged copy goes only for one of which every byte was read.
        { disk: survivor, chunks: [chunk], deep: reason === 'damaged' },
        signal,
      )
      const copy = held.chunks.find((entry) => entry.chunk === chunk)
      if (copy?.state === 'sealed' && copy.length >= record.length) continue
      // What the state counts is not there: the chunk needs a new copy, and the one that was to go is needed itself.
      this.#master.log.error(
        { chunk, disk: survivor, found: copy?.state },
        'a copy that counted is not there; replacing it',
      )
      this.#watch.beyondRepair(chunk, survivor)
      return
    }
    await this.#master.loop.command(() => {
      // Judged again inside the transaction: another survivor may have gone meanwhile.
      const now = this.#master.state.chunk(chunk)
      const need = now && judge(this.#watch.view(chunk, now), this.#master.nodes.map(), this.#rules()).need
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
    const record = this.#master.state.chunk(chunk)
    if (record === undefined) return
    const { bad } = this.#watch.view(chunk, record)
    const survivor = record.disks.find(
      (d) => this.#master.nodes.isLive(d) && !bad.includes(d) && !record.unsealed.includes(d),
    )
    if (bad[0] === undefined || survivor === undefined) return
    this.#begin(
      { kind: 'drop', urgency: 'endangered', chunk, disk: bad[0], reason: 'damaged', survivors: [survivor] },
      signal,
    )
  }
}
