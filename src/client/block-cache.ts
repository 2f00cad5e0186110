/*
 * Bytes of chunks by block. Committed bytes of a chunk never change, so nothing here is ever stale: no invalidation, only
 * a bound. Packs make this the cure for small files: the block that holds one file holds its neighbours too.
 */

import type { ChunkId } from '../base/ids.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../base/limits.ts'

const BLOCKS_PER_CHUNK = CHUNK_BYTES_MAX / BLOCK_BYTES

export class BlockCache {
  readonly #limitBytes: number
  readonly #blocks = new Map<number, Buffer>()
  #bytes = 0

  constructor(options: { limitBytes: number }) {
    this.#limitBytes = options.limitBytes
  }

  /** The block's bytes as far as they were known when it was put (the last block of an open chunk may have grown). */
  get(chunk: ChunkId, block: number): Buffer | undefined {
    const key = chunk * BLOCKS_PER_CHUNK + block
    const found = this.#blocks.get(key)
    if (found !== undefined) {
      // Re-inserted at the young end of the Map's order.
      this.#blocks.delete(key)
      this.#blocks.set(key, found)
    }
    return found
  }

  put(chunk: ChunkId, block: number, data: Buffer): void {
    const key = chunk * BLOCKS_PER_CHUNK + block
    const old = this.#blocks.get(key)
    if (old !== undefined) {
      if (old.length >= data.length) return
      this.#bytes -= old.length
      this.#blocks.delete(key)
    }
    this.#blocks.set(key, data)
    this.#bytes += data.length
    for (const [oldest, block] of this.#blocks) {
      if (this.#bytes <= this.#limitBytes) break
      this.#blocks.delete(oldest)
      this.#bytes -= block.length
    }
  }
}
