/*
 * Forgetting a disk, in steps: from the first on nothing new comes to it, and each step takes some of its chunks off it, so
 * that the master does other things between them. The mark that it is to go is state: what a killed master or an impatient
 * admin left is finished by itself.
 *
 * The chunkserver is told last. Should the disk come back, it registers as a new one, and its files are looked at then.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import { isDispensable } from './core/chunks.ts'
import { REMOVED_AT_ONCE } from './core/disks.ts'
import { isAbsence } from './orders.ts'
import type { WorkParts } from './parts.ts'
import type { Spare } from './spare.ts'

/** Chunks looked at between two turns of the event loop. */
const SLICE = 1_000
/** People's requests go between the steps. */
const STEP_REST_MS = 20
const IDLE_MS = 60_000

export class DiskRemoval implements Work {
  readonly #master: WorkParts
  readonly #spare: Spare
  /** An admin waits for these; the others are the worker's. */
  readonly #awaited = new Set<DiskId>()
  /** Something was left to be finished. */
  onWork: () => void = () => undefined

  constructor(master: WorkParts, spare: Spare) {
    this.#master = master
    this.#spare = spare
  }

  queued(): number {
    return this.#leaving().length
  }
  progress(): string {
    const left = this.#leaving().reduce((sum, disk) => sum + (this.#master.state.disk(disk)?.chunks ?? 0), 0)
    return left === 0 ? '' : `${left} copies to forget`
  }

  /** Returns when the disk is forgotten; EBUSY: it holds the only copy of something. */
  async remove(disk: DiskId, force: boolean, signal: AbortSignal): Promise<void> {
    if (this.#master.state.disk(disk) === undefined) throw new FsError('ENOENT', `disk ${disk}`)
    if (!force) await this.#refuseIfOnly(disk)
    this.#awaited.add(disk)
    try {
      await this.#master.loop.command(() => ({ ok: { kind: 'diskRemove', disk, force } }))
      await this.#finish(disk, signal)
    } finally {
      this.#awaited.delete(disk)
      this.onWork()
    }
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    for (const disk of this.#leaving()) if (!this.#awaited.has(disk)) await this.#finish(disk, signal)
    return { restMs: IDLE_MS, resting: 'idle' }
  }

  #leaving(): DiskId[] {
    return this.#master.state.disks().flatMap(({ disk, record }) => (record.leaving === undefined ? [] : [disk]))
  }

  async #finish(disk: DiskId, signal: AbortSignal): Promise<void> {
    while (this.#master.state.disk(disk)?.leaving !== undefined) {
      await this.#master.loop.command(() => ({ ok: { kind: 'diskLeft', disk, limit: REMOVED_AT_ONCE } }))
      await this.#master.clock.sleep(STEP_REST_MS, { signal })
    }
    // What was taken off it until then is counted again when it says what it holds.
    if (this.#master.state.disk(disk) !== undefined)
      throw new FsError('EBUSY', 'it holds what has become the only copy of something; it stays')
    try {
      await this.#master.orders.give(disk, 'orderDiskRemove', { disk }, signal)
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      // Away, or the disk is gone there as well.
      if (!isAbsence(error))
        this.#master.log.warn({ disk, error: error.message }, 'the chunkserver could not let go of a disk')
    }
    this.#master.nodes.forget(disk)
  }

  /** EBUSY when the disk holds the only good copy that can be read of anything. In slices: the disk may hold a million chunks. */
  async #refuseIfOnly(disk: DiskId): Promise<void> {
    for (let after: ChunkId | 0 = 0; ; ) {
      const page: ChunkId[] = this.#master.state.chunkIndex.ofDisk(disk, after, SLICE)
      for (const chunk of page) {
        const record = this.#master.state.chunk(chunk)
        if (record === undefined || isDispensable(this.#master.state, record)) continue
        if (!this.#spare.hasOther(chunk, disk))
          throw new FsError('EBUSY', 'it holds the only copy of something that can be read; drain it first')
      }
      const last = page.at(-1)
      if (last === undefined) return
      after = last
      await this.#master.clock.sleep(0)
    }
  }
}
