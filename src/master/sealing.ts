/*
 * Sealing: every copy that can be reached is told the committed length, cuts what is beyond, and counts as sealed when it
 * has confirmed. One confirmation makes the chunk sealed; copies that were away confirm when they come back.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log } from '../base/world.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import type { State } from './core/state.ts'
import type { Loop } from './loop.ts'
import type { Nodes } from './nodes.ts'
import { isAbsence, ORDERS_MAX, type Orders } from './orders.ts'
import type { Spare } from './spare.ts'

const PENALTY_MS = 10_000
const PENALTIES_MAX = 10_000
/** With something waiting for a penalty; the end of an order ends the rest early. */
const WAIT_MS = 1_000
const IDLE_MS = 60_000

export class Sealing implements Work {
  readonly #state: State
  readonly #loop: Loop
  readonly #nodes: Nodes
  readonly #orders: Orders
  readonly #watch: ChunkWatch
  readonly #spare: Spare
  readonly #clock: Clock
  readonly #log: Log
  readonly #running = new Set<ChunkId>()
  readonly #penalty = new Map<ChunkId, number>()
  #done = 0
  onDone: () => void = () => undefined

  constructor(
    state: State,
    loop: Loop,
    nodes: Nodes,
    orders: Orders,
    watch: ChunkWatch,
    spare: Spare,
    clock: Clock,
    log: Log,
  ) {
    this.#state = state
    this.#loop = loop
    this.#nodes = nodes
    this.#orders = orders
    this.#watch = watch
    this.#spare = spare
    this.#clock = clock
    this.#log = log
  }

  queued(): number {
    return this.#watch.sealing
  }
  progress(): string {
    return `${this.#running.size} running, ${this.#done} done`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const nowMs = this.#clock.monotonicMs()
    for (const [chunk, untilMs] of this.#penalty) if (untilMs <= nowMs) this.#penalty.delete(chunk)
    const room = ORDERS_MAX - this.#running.size
    const chunks = this.#watch.nextSealing(room, (chunk) => this.#running.has(chunk) || this.#penalty.has(chunk))
    for (const chunk of chunks) void this.#seal(chunk, signal)
    const waits = this.#penalty.size > 0 || this.#running.size > 0
    return { restMs: waits ? WAIT_MS : IDLE_MS, resting: 'idle' }
  }

  async #seal(chunk: ChunkId, signal: AbortSignal): Promise<void> {
    this.#running.add(chunk)
    try {
      if (await this.#confirm(chunk, signal)) this.#done++
      else if (this.#penalty.size < PENALTIES_MAX) this.#penalty.set(chunk, this.#clock.monotonicMs() + PENALTY_MS)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof FsError)) throw error
      this.#log.warn({ chunk, error: error.message }, 'sealing failed; trying again later')
      if (this.#penalty.size < PENALTIES_MAX) this.#penalty.set(chunk, this.#clock.monotonicMs() + PENALTY_MS)
    } finally {
      this.#running.delete(chunk)
      this.#watch.touched([chunk])
      this.onDone()
    }
  }

  /** Whether everybody who can be reached has answered for good. */
  async #confirm(chunk: ChunkId, signal: AbortSignal): Promise<boolean> {
    const record = this.#state.chunk(chunk)
    if (record === undefined || record.state === 'open') return true
    const { length } = record
    const pending = record.state === 'sealing' ? record.disks : record.unsealed
    const present = pending.filter((disk) => this.#nodes.isLive(disk))
    const digests = new Map<string, number>()
    const short: number[] = []
    let absent = 0
    const confirmed = (
      await Promise.all(
        present.map(async (disk) => {
          try {
            const { digest } = await this.#orders.give(disk, 'orderSeal', { disk, chunk, length }, signal, {
              writes: [disk],
            })
            digests.set(digest, disk)
            return [disk]
          } catch (error) {
            if (!(error instanceof FsError)) throw error
            this.#log.warn({ chunk, disk, length, error: error.message }, 'a copy could not be sealed')
            if (isAbsence(error)) absent++
            else short.push(disk)
            return []
          }
        }),
      )
    ).flat()
    if (digests.size > 1)
      this.#log.error(
        { chunk, disks: [...digests.values()] },
        'copies of one chunk differ although their checksums are good',
      )
    if (confirmed.length > 0) {
      await this.#loop.command(() => ({ ok: { kind: 'chunkSealed', chunk, disks: confirmed } }))
    }
    // A copy that does not hold what was committed is none. Without one that does and can be read now it is kept all the
    // same: part of the data is better than nothing.
    let kept = 0
    for (const disk of present.filter((d) => short.includes(d))) {
      if (this.#state.chunk(chunk)?.state === 'sealed' && this.#spare.hasOther(chunk, disk))
        await this.#loop.command(() =>
          this.#spare.hasOther(chunk, disk)
            ? { ok: { kind: 'copyDropped', chunk, disk, reason: 'damaged' } }
            : { errno: 'EAGAIN', detail: 'the copy may be needed' },
        )
      else kept++
    }
    return absent === 0 && kept === 0 && (confirmed.length > 0 || short.length > 0)
  }
}
