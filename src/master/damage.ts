/*
 * Damaged copies: the chunkserver that has one rewrites what is bad, or all of it, from another copy. While no other copy
 * can be read the damaged one stays as it is and counts: what it still holds may be all there is. A copy that cannot be
 * mended in place is handed to repair, which makes a new one elsewhere before this one is given up.
 *
 * Only memory: chunkservers tell what is damaged again when they register.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { ChunkRecord } from './core/records.ts'
import type { State } from './core/state.ts'
import { isAbsence } from './orders.ts'
import { placesOf, type WorkParts } from './parts.ts'
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
  /** Whether people have been told that it cannot be mended now. */
  told: boolean
}

export class Damage implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #waiting = new Map<string, Damaged>()
  readonly #mending = new Set<string>()
  #mended = 0
  onWork: () => void = () => undefined

  constructor(master: WorkParts, watch: ChunkWatch) {
    this.#master = master
    this.#watch = watch
  }

  /** The copy is known to be damaged: it waits to be mended or is being mended. */
  knows(disk: DiskId, chunk: ChunkId): boolean {
    const at = `${disk}/${chunk}`
    return this.#waiting.has(at) || this.#mending.has(at)
  }

  /** Disks came or went: what could not be mended for want of another copy may be now. */
  livenessChanged(): void {
    for (const damaged of this.#waiting.values()) damaged.notBeforeMs = 0
  }

  add({ disk, chunk, blocks }: DamageReport): void {
    const at = `${disk}/${chunk}`
    const known = this.#waiting.get(at)
    if (known === undefined && this.#waiting.size >= WAITING_MAX) return
    const damaged = known ?? { disk, chunk, blocks: new Set(), whole: false, notBeforeMs: 0, told: false }
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
    const nowMs = this.#master.clock.monotonicMs()
    const due: [string, Damaged][] = []
    for (const entry of this.#waiting) {
      if (due.length === AT_ONCE) break
      if (entry[1].notBeforeMs <= nowMs && !this.#mending.has(entry[0])) due.push(entry)
    }
    await Promise.all(
      due.map(async ([at, damaged]) => {
        this.#mending.add(at)
        try {
          await this.#mend(at, damaged, signal)
        } finally {
          this.#mending.delete(at)
        }
      }),
    )
    if (due.length > 0) return { restMs: 0, resting: 'idle' }
    return { restMs: this.#waiting.size > 0 ? AGAIN_MS : IDLE_MS, resting: 'idle' }
  }

  async #mend(at: string, damaged: Damaged, signal: AbortSignal): Promise<void> {
    const { disk, chunk } = damaged
    const record = this.#master.state.chunk(chunk)
    const counts = record?.disks.includes(disk) === true
    // Copies of an open chunk are the writer's business: it drops a target that fails.
    const dead = record?.state === 'sealed' && record.live === 0
    if (record === undefined || !counts || dead || record.state === 'open') {
      this.#waiting.delete(at)
      return
    }
    const others = record.disks.filter(
      (d) => d !== disk && this.#master.nodes.isLive(d) && !record.unsealed.includes(d),
    )
    const of = partOf(this.#master.state, chunk, record)
    if ((others.length === 0 && of === undefined) || !this.#master.nodes.isLive(disk)) {
      damaged.notBeforeMs = this.#master.clock.monotonicMs() + AGAIN_MS
      if (!damaged.told && others.length === 0 && of === undefined)
        this.#master.log.error(
          { chunk, disk },
          'a damaged copy is kept as it is until another copy can be read; bring the disks back that are away',
        )
      damaged.told ||= others.length === 0
      return
    }
    this.#waiting.delete(at)
    // Without named blocks the chunkserver reads the copy and finds what is bad, or replaces all of it.
    const blocks = damaged.whole ? [] : [...damaged.blocks].sort((a, b) => a - b)
    const sources = this.#master.orders.places(others)
    // Some blocks are little to move, and may be the ones that the only other copy lost, too; a whole file queues.
    const urgent = !damaged.whole
    try {
      const whole = of && placesOf(this.#master.state, this.#master.nodes, of.whole)
      const order = { disk, chunk, blocks, sources, whole, index: of?.index, urgent }
      await this.#master.orders.give(disk, 'orderRepair', order, signal, {
        reads: others.slice(0, 1),
        writes: [disk],
        urgency: urgent ? 'endangered' : 'under',
      })
      this.#mended++
      this.#watch.mended(chunk, disk)
      this.#master.log.info({ chunk, disk, blocks: blocks.length }, 'damaged copy mended')
    } catch (error) {
      if (signal.aborted) throw error
      if (!(error instanceof FsError)) throw error
      this.#master.log.warn({ chunk, disk, error: error.message }, 'a damaged copy could not be mended in place')
      const later = isAbsence(error) || error.code === 'EAGAIN' || others.some((d) => !this.#master.nodes.isLive(d))
      if (later) this.#waiting.set(at, { ...damaged, notBeforeMs: this.#master.clock.monotonicMs() + AGAIN_MS })
      else this.#watch.beyondRepair(chunk, disk)
    }
  }
}

/** Which part of which chunk it is. */
function partOf(state: State, chunk: ChunkId, { whole }: ChunkRecord): { whole: ChunkId; index: number } | undefined {
  const index = whole === undefined ? -1 : (state.chunk(whole)?.ec?.parts.indexOf(chunk) ?? -1)
  return whole === undefined || index < 0 ? undefined : { whole, index }
}
