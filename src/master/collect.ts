/*
 * What is not needed any more goes: files of copies that do not count, chunks without a live byte after their grace,
 * extents of deleted files and what ended sessions left in steps, the trash and what is over in the mesh when its time has come.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock } from '../base/world.ts'
import { hasQuotaWork, WALKED_AT_ONCE } from './core/quotas.ts'
import { CLEARED_AT_ONCE } from './core/sessions.ts'
import type { State } from './core/state.ts'
import { ALL_COUNTED } from './core/usage.ts'
import type { Loop } from './loop.ts'
import { isAbsence } from './orders.ts'
import type { WorkParts } from './parts.ts'
import type { Spare } from './spare.ts'

/** Deletions remembered for disks that are away or slow, about 60 bytes each. */
const DELETES_MAX = 200_000
/** As many as one order holds. */
const PER_ORDER_MAX = 4_096
const IDLE_MS = 60_000
const AGAIN_MS = 1_000

/**
 * Files on disks that nobody counts. Remembered in memory only: a disk for which something was forgotten (too many, it was
 * away, or the master was restarted: see held-watch.ts) is asked for all it holds, and is told then what is not wanted.
 * A file whose chunk has no other copy that can be read now waits until there is one.
 */
export class Deletions implements Work {
  readonly #master: WorkParts
  readonly #spare: Spare
  readonly #byDisk = new Map<DiskId, Set<ChunkId>>()
  readonly #sent = new Map<DiskId, Set<ChunkId>>()
  readonly #incomplete = new Set<DiskId>()
  /** Disks that could not be asked a moment ago, and until when they are left alone. */
  readonly #resting = new Map<DiskId, number>()
  #size = 0
  #deleted = 0
  onWork: () => void = () => undefined

  constructor(master: WorkParts, spare: Spare) {
    this.#master = master
    this.#spare = spare
  }

  add(unwanted: readonly { readonly disk: DiskId; readonly chunk: ChunkId }[]): void {
    this.#remember(unwanted)
    this.onWork()
  }

  #remember(unwanted: readonly { readonly disk: DiskId; readonly chunk: ChunkId }[]): void {
    for (const { disk, chunk } of unwanted) {
      if (this.#size >= DELETES_MAX) {
        this.#incomplete.add(disk)
        continue
      }
      const chunks = this.#byDisk.get(disk) ?? new Set()
      if (chunks.has(chunk)) continue
      chunks.add(chunk)
      this.#byDisk.set(disk, chunks)
      this.#size++
    }
  }

  /** A new copy must not be made where the old one's file is still to be deleted. */
  pending(disk: DiskId, chunk: ChunkId): boolean {
    return this.#byDisk.get(disk)?.has(chunk) === true || this.#sent.get(disk)?.has(chunk) === true
  }

  /** Files of this disk that are still to be deleted. */
  pendingOn(disk: DiskId): number {
    return (this.#byDisk.get(disk)?.size ?? 0) + (this.#sent.get(disk)?.size ?? 0)
  }

  /** The disk has to say all it holds when it registers next. */
  askForAll(disk: DiskId): void {
    this.#incomplete.add(disk)
  }

  /** Whether the disk has to say all it holds; asked once, when it registers. */
  takeIncomplete(disk: DiskId): boolean {
    return this.#incomplete.delete(disk)
  }

  queued(): number {
    return this.#size
  }
  progress(): string {
    return `${this.#deleted} deleted`
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    const turns: Promise<boolean>[] = []
    const nowMs = this.#master.clock.monotonicMs()
    for (const [disk, until] of this.#resting) if (until <= nowMs) this.#resting.delete(disk)
    for (const [disk, chunks] of [...this.#byDisk]) {
      if (this.#resting.has(disk)) continue
      if (this.#master.state.disk(disk) === undefined) this.#take(disk, chunks, chunks.size)
      else if (this.#master.nodes.isLive(disk) && this.#master.nodes.peerOf(disk) !== undefined) {
        const due = this.#due(disk, this.#take(disk, chunks, PER_ORDER_MAX))
        if (due.length > 0) turns.push(this.#delete(disk, due, signal))
      }
    }
    const done = (await Promise.all(turns)).some((deleted) => deleted)
    return { restMs: done ? 0 : this.#size > 0 ? AGAIN_MS : IDLE_MS, resting: 'idle' }
  }

  #take(disk: DiskId, chunks: Set<ChunkId>, limit: number): ChunkId[] {
    const taken: ChunkId[] = []
    for (const chunk of chunks) {
      if (taken.length === limit) break
      taken.push(chunk)
    }
    for (const chunk of taken) chunks.delete(chunk)
    if (chunks.size === 0) this.#byDisk.delete(disk)
    this.#size -= taken.length
    return taken
  }

  /** What counts (again) stays; what may be needed goes to the end of the queue, so that the others are looked at. */
  #due(disk: DiskId, taken: ChunkId[]): ChunkId[] {
    const uncounted = taken.filter((chunk) => this.#master.state.chunk(chunk)?.disks.includes(disk) !== true)
    const due = uncounted.filter((chunk) => this.#spare.mayDelete(chunk, disk))
    if (due.length === uncounted.length) return due
    const waiting = this.#byDisk.get(disk) ?? new Set()
    this.#byDisk.set(disk, waiting)
    for (const chunk of uncounted) {
      if (this.#spare.mayDelete(chunk, disk)) continue
      waiting.add(chunk)
      this.#size++
    }
    return due
  }

  async #delete(disk: DiskId, chunks: ChunkId[], signal: AbortSignal): Promise<boolean> {
    this.#sent.set(disk, new Set(chunks))
    try {
      await this.#master.orders.give(disk, 'orderDelete', { disk, chunks }, signal)
      this.#deleted += chunks.length
      return true
    } catch (error) {
      if (signal.aborted) throw error
      if (!(error instanceof FsError)) throw error
      this.#master.log.warn(
        { disk, chunks: chunks.length, error: error.message },
        'unneeded copies could not be deleted',
      )
      // A chunkserver that has just registered may hear of this before it hears the number of its disk.
      if (isAbsence(error) || error.code === 'ENODEV') {
        this.#resting.set(disk, this.#master.clock.monotonicMs() + AGAIN_MS)
        this.#remember(chunks.map((chunk) => ({ disk, chunk })))
      } else this.#incomplete.add(disk)
      return false
    } finally {
      this.#sent.delete(disk)
    }
  }
}

export interface GarbageOptions {
  /** How long a chunk without live bytes is kept for those that still read it and for a commit that is on its way. */
  readonly deadGraceMs: number
}

/** Dead chunks, doomed inodes, ended sessions, expired trash, a changed number of copies, quotas to be
 * counted, what is over in the mesh: one command per step and kind, each bounded. */
export class Garbage implements Work {
  readonly #state: State
  readonly #loop: Loop
  readonly #clock: Clock
  readonly #deadGraceSec: number
  #forgotten = 0

  constructor(state: State, loop: Loop, clock: Clock, { deadGraceMs }: GarbageOptions) {
    this.#state = state
    this.#loop = loop
    this.#clock = clock
    this.#deadGraceSec = Math.ceil(deadGraceMs / 1000)
  }

  queued(): number {
    const { dead, doomed } = this.#state.counters()
    return dead + doomed
  }
  progress(): string {
    return `${this.#forgotten} chunks collected`
  }

  async step(): Promise<WorkStep> {
    let busy = false
    const now = this.#clock.now()
    if (this.#state.counters().doomed > 0) {
      await this.#loop.command(() => ({ ok: { kind: 'doomedFreed' } }))
      busy = true
    }
    if (this.#state.over() !== undefined) {
      await this.#loop.command(() => ({ ok: { kind: 'sessionCleared', limit: CLEARED_AT_ONCE } }))
      busy = true
    }
    if (this.#state.counters().copiesToldTo !== undefined) {
      await this.#loop.command(() => ({ ok: { kind: 'copiesTold', limit: TELL_AT_ONCE } }))
      busy = true
    }
    if (this.#state.counters().reclassing !== undefined) {
      await this.#loop.command(() => ({ ok: { kind: 'reclassed', limit: RECLASS_AT_ONCE } }))
      busy = true
    }
    if (this.#state.counters().usageTo !== ALL_COUNTED) {
      await this.#loop.command(() => ({ ok: { kind: 'usageCounted', limit: TELL_AT_ONCE } }))
      busy = true
    }
    if (hasQuotaWork(this.#state)) {
      await this.#loop.command(() => ({ ok: { kind: 'quotaWalked', limit: WALKED_AT_ONCE } }))
      busy = true
    }
    if (this.#state.mesh.dueSec() <= now.sec) {
      await this.#loop.command(() => ({ ok: { kind: 'meshExpired', limit: MESH_AT_ONCE } }))
      busy = true
    }
    const expiring = this.#state.trash.page(undefined, 1)[0]
    if (expiring !== undefined && expiring.expirySec <= now.sec) {
      const before = this.#state.counters().trashed
      await this.#loop.command(() => ({ ok: { kind: 'trashExpired', limit: EXPIRE_AT_ONCE } }))
      busy ||= this.#state.counters().trashed < before
    }
    // While a snapshot is made nothing is forgotten: it may contain what has been deleted since it began.
    const limit = this.#state.imaging() === undefined ? FORGET_AT_ONCE : 0
    const dead = this.#atOnce(this.#state.chunkIndex.deadBefore(now.sec - this.#deadGraceSec, limit))
    if (dead.length > 0) {
      await this.#loop.command(() => ({ ok: { kind: 'chunksForgotten', chunks: dead } }))
      this.#forgotten += dead.length
      busy = true
    }
    return busy ? { restMs: STEP_REST_MS, resting: 'throttled' } : { restMs: LOOK_MS, resting: 'idle' }
  }

  /** With the parts that are given up with them. */
  #atOnce(dead: readonly ChunkId[]): ChunkId[] {
    let left = FORGET_AT_ONCE
    const chunks: ChunkId[] = []
    for (const chunk of dead) {
      if (left <= 0) break
      left -= 1 + (this.#state.chunk(chunk)?.ec?.parts.length ?? 0)
      chunks.push(chunk)
    }
    return chunks
  }
}

/** Each frees a file's first extents within one command. */
const EXPIRE_AT_ONCE = 256
const FORGET_AT_ONCE = 1_024
const TELL_AT_ONCE = 1_024
/** Small records, each written by itself. */
const MESH_AT_ONCE = 256
const RECLASS_AT_ONCE = 4_096
/** Commands of this kind are as long as a turn may be; people's requests go between them. */
const STEP_REST_MS = 20
/** How late something may be collected. */
const LOOK_MS = 2_000
