/*
 * What a chunk writer works on: segments of bytes on their way into chunks, and chunks that are open for them. Data and
 * promises only; chunk-writer.ts moves them.
 */

import { sliceParts } from '../base/bytes.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { Place } from '../wire/shapes.ts'

export class Segment {
  readonly parts: readonly Buffer[]
  readonly length: number
  /** Where it went; valid from `appended` on. */
  chunk: OpenChunk | undefined
  chunkOffset = 0
  /** Every target has it (`chunk` and `chunkOffset` are set). */
  arrived = false
  #promise!: Promise<void>
  #resolve!: () => void
  #reject!: (error: unknown) => void

  /** Called (before `appended` rejects) when no chunk could take it, however often it was sent on its way. */
  readonly #onFailed: (error: unknown) => void

  constructor(parts: readonly Buffer[], length: number, onFailed: (error: unknown) => void) {
    this.parts = parts
    this.length = length
    this.#onFailed = onFailed
    this.#arm()
  }

  /** Resolves when every target has it. Rejects when no chunk could take it. After again() it is another promise. */
  get appended(): Promise<void> {
    return this.#promise
  }

  succeed(): void {
    this.arrived = true
    this.#resolve()
  }
  fail(error: unknown): void {
    this.#onFailed(error)
    this.#reject(error)
  }
  /** Where it went is no more; it is on its way to another chunk. */
  again(): void {
    this.chunk = undefined
    if (!this.arrived) return
    this.arrived = false
    this.#arm()
  }

  #arm(): void {
    this.#promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever waits for the segment hears of it; a failure before anyone waits must not end the process.
    this.#promise.catch(() => undefined)
  }

  /** Bytes from … to of the segment, without copying. */
  slice(from: number, to: number): Buffer[] {
    return sliceParts(this.parts, from, to)
  }
}

export interface OpenChunk {
  readonly id: ChunkId
  readonly kind: 'pack' | 'stream'
  /** Storage class of the files that are written to it. */
  readonly classId: number
  /** How long it may become. */
  readonly bytesMax: number
  targets: Place[]
  /** Bytes assigned to segments. */
  assigned: number
  /** Bytes that every target has. */
  acked: number
  /** Bytes that are durable on every target. */
  synced: number
  /** No further segments: full, failed or idle. */
  ended: boolean
  inFlight: number
  readonly queue: { segment: Segment; sync: boolean }[]
  /** Appended and not yet committed; these are written again when the chunk is lost. */
  readonly uncommitted: Set<Segment>
  usedMs: number
  /** Since when `acked` has been ahead of `synced`. */
  unsyncedMs: number
  /** Why the last target that failed did. */
  refusal: 'ENOSPC' | 'EIO' | undefined
  /** Targets that were dropped. */
  readonly failed: Set<DiskId>
}

/** One segment fits into any chunk: they are smaller than the smallest. */
export const fits = ({ assigned, bytesMax }: OpenChunk, length: number): boolean =>
  assigned === 0 || assigned + length <= bytesMax
