/*
 * Damaged copies: blocks are rewritten from another copy by the chunkserver that has them; a copy that cannot be mended in
 * place is handed to repair, which makes a new one elsewhere before this one is given up.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log } from '../base/world.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { State } from './core/state.ts'
import type { Nodes } from './nodes.ts'
import { isAbsence, type Orders } from './orders.ts'
import type { DamageReport } from './service-nodes.ts'

/** Reports waiting; a disk that damages more at once is failing, and its scrubber reports them again. */
const WAITING_MAX = 10_000
/** Orders at once: mending reads a few blocks each. */
const AT_ONCE = 8
const AGAIN_MS = 10_000
const IDLE_MS = 60_000

interface Damaged {
  readonly disk: DiskId
  readonly chunk: ChunkId
  readonly blocks: Set<number>
  /** The whole copy cannot be read. */
  whole: boolean
  notBeforeMs: number
}

export class Damage implements Work {
  readonly #state: State
  readonly #nodes: Nodes
  readonly #orders: Orders
  readonly #watch: ChunkWatch
  readonly #clock: Clock
  readonly #log: Log
  readonly #waiting = new Map<string, Damaged>()
  #mended = 0
  onWork: () => void = () => undefined

  constructor(state: State, nodes: Nodes, orders: Orders, watch: ChunkWatch, clock: Clock, log: Log) {
    this.#state = state
    this.#nodes = nodes
    this.#orders = orders
    this.#watch = watch
    this.#clock = clock
    this.#log = log
  }

  add({ disk, chunk, blocks }: DamageReport): void {
    const at = `${disk}/${chunk}`
    const known = this.#waiting.get(at)
    if (known === undefined && this.#waiting.size >= WAITING_MAX) return
    const damaged = known ?? { disk, chunk, blocks: new Set(), whole: false, notBeforeMs: 0 }
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
    return `${this.#mended} mended`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const nowMs = this.#clock.monotonicMs()
    const due: [string, Damaged][] = []
    for (const entry of this.#waiting) {
      if (due.length === AT_ONCE) break
      if (entry[1].notBeforeMs <= nowMs) due.push(entry)
    }
    await Promise.all(due.map(([at, damaged]) => this.#mend(at, damaged, signal)))
    if (due.length > 0) return { restMs: 0, resting: 'idle' }
    return { restMs: this.#waiting.size > 0 ? AGAIN_MS : IDLE_MS, resting: 'idle' }
  }

  async #mend(at: string, damaged: Damaged, signal: AbortSignal): Promise<void> {
    const { disk, chunk } = damaged
    const record = this.#state.chunk(chunk)
    const counts = record?.disks.includes(disk) === true
    // Copies of an open chunk are the writer's business: it drops a target that fails.
    if (record === undefined || !counts || record.state === 'open') {
      this.#waiting.delete(at)
      return
    }
    const others = record.disks.filter((d) => d !== disk && this.#nodes.isLive(d) && !record.unsealed.includes(d))
    if (others.length === 0) {
      damaged.notBeforeMs = this.#clock.monotonicMs() + AGAIN_MS
      this.#log.error({ chunk, disk }, 'a damaged copy cannot be mended: no other copy can be read now')
      return
    }
    this.#waiting.delete(at)
    if (!damaged.whole) {
      const blocks = [...damaged.blocks].sort((a, b) => a - b)
      const sources = this.#orders.places(others)
      try {
        await this.#orders.give(disk, 'orderRepair', { disk, chunk, blocks, sources }, signal, {
          reads: others.slice(0, 1),
          writes: [disk],
        })
        this.#mended++
        this.#log.info({ chunk, disk, blocks: blocks.length }, 'damaged copy mended')
        return
      } catch (error) {
        if (signal.aborted) throw error
        if (!(error instanceof FsError)) throw error
        this.#log.warn({ chunk, disk, error: error.message }, 'a damaged copy could not be mended in place')
        if (isAbsence(error)) {
          this.#waiting.set(at, { ...damaged, notBeforeMs: this.#clock.monotonicMs() + AGAIN_MS })
          return
        }
      }
    }
    this.#watch.beyondRepair(chunk, disk)
  }
}
