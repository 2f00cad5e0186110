/*
 * How much of one disk is ours and how much may still be written under its rule. What the disk said last is corrected by
 * what was written since, so that a disk that fills up is known at once and not a second later.
 */

import type { ChunkId } from '../base/ids.ts'
import { availableBytes, type SpaceRule } from './core/disk-spec.ts'
import type { DiskIo } from './disk-io.ts'

export class DiskSpace {
  readonly #io: DiskIo
  readonly #rule: SpaceRule
  #ownBytes = 0
  #availableBytes = 0
  /** What each chunk adds to #ownBytes; copies in the making are counted by whoever makes them. */
  readonly #bytes = new Map<ChunkId, number>()

  constructor(io: DiskIo, rule: SpaceRule) {
    this.#io = io
    this.#rule = rule
  }

  get ownBytes(): number {
    return this.#ownBytes
  }
  /** Below 0 when more was written since than there was. */
  get availableBytes(): number {
    return this.#availableBytes
  }

  async measure(): Promise<void> {
    this.#availableBytes = availableBytes(this.#rule, await this.#io.space(), this.#ownBytes)
  }

  count(chunk: ChunkId, length: number): void {
    const growth = length - (this.#bytes.get(chunk) ?? 0)
    if (growth === 0) return
    this.grow(growth)
    this.#bytes.set(chunk, length)
  }

  uncount(chunk: ChunkId): void {
    this.#ownBytes -= this.#bytes.get(chunk) ?? 0
    this.#bytes.delete(chunk)
  }

  /** Bytes of no chunk that is counted. */
  grow(bytes: number): void {
    this.#ownBytes += bytes
    this.#availableBytes -= bytes
  }

  /** Everything is about to be counted again. */
  forget(): void {
    this.#ownBytes = 0
    this.#bytes.clear()
  }
}
