/*
 * How much of one disk is ours and how much may still be written under its rule. What the disk said last is corrected by
 * what was written since, so that a disk that fills up is known at once and not a second later.
 *
 * A part of the room is kept aside. Writers may not use it: a disk that is full for them must still take what makes room
 * again (live bytes of half-dead chunks, written together elsewhere) and new copies of what is nearly lost. Without it a
 * full cluster could only get room back from chunks that died whole.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import { availableBytes, reserveBytes, type SpaceRule } from './core/disk-spec.ts'
import type { DiskIo } from './disk-io.ts'

export class DiskSpace {
  readonly #io: DiskIo
  readonly #rule: SpaceRule
  #ownBytes = 0
  /** What the rule still allows. */
  #roomBytes = 0
  #reserveBytes = 0
  /** Of the room, what copies under way are going to take. */
  #claimedBytes = 0
  /** What each chunk adds to #ownBytes; copies in the making are counted by whoever makes them. */
  readonly #bytes = new Map<ChunkId, number>()

  constructor(io: DiskIo, rule: SpaceRule) {
    this.#io = io
    this.#rule = rule
  }

  get ownBytes(): number {
    return this.#ownBytes
  }
  /** Everything: used, for writers, kept aside. */
  get totalBytes(): number {
    return this.#ownBytes + Math.max(0, this.#roomBytes)
  }
  /** For writers. Below 0 when more was written since than there was. */
  get availableBytes(): number {
    return this.#roomBytes - this.#reserveBytes
  }
  /** What is to be kept aside. */
  get reserveBytes(): number {
    return this.#reserveBytes
  }
  /** What is left of that. */
  get reservedBytes(): number {
    return Math.max(0, Math.min(this.#roomBytes, this.#reserveBytes))
  }

  async measure(): Promise<void> {
    this.#roomBytes = availableBytes(this.#rule, await this.#io.space(), this.#ownBytes)
    this.#reserveBytes = reserveBytes(this.#ownBytes + this.#roomBytes)
  }

  /** ENOSPC unless so many bytes fit, with what is kept aside. */
  assertRoom(bytes: number): void {
    const room = this.#roomBytes - this.#claimedBytes
    if (bytes > room) throw new FsError('ENOSPC', `${bytes} bytes on ${this.#io.root}, which has room for ${room}`)
  }

  /** Room for `bytes` that are written bit by bit; nobody else is promised it until then. */
  async claim<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    this.assertRoom(bytes)
    this.#claimedBytes += bytes
    try {
      return await work()
    } finally {
      this.#claimedBytes -= bytes
    }
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
    this.#roomBytes -= bytes
  }

  /** Everything is about to be counted again. */
  forget(): void {
    this.#ownBytes = 0
    this.#bytes.clear()
  }
}
