/*
 * The blocks of a sealed chunk, wherever it is: from one of its copies while there are any, else from its parts. Made for one
 * order.
 */

import { FsError } from '../base/fault.ts'
import { chunkName } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { inOrder, piecesOf } from '../topology/stripe.ts'
import type { ChunkPlaces } from '../wire/shapes.ts'
import { asFsError, type BlockSource } from './block-source.ts'
import { StripeSource } from './stripe-source.ts'

export class WholeSource {
  readonly #source: BlockSource
  readonly #whole: ChunkPlaces
  readonly #parts: StripeSource | undefined

  constructor(source: BlockSource, whole: ChunkPlaces) {
    this.#source = source
    this.#whole = whole
    this.#parts = whole.ec === undefined ? undefined : new StripeSource(source, whole)
  }

  /** One buffer for each block from `block` on, at most `count` and to the end of the chunk. */
  async blocks(block: number, count: number, signal?: AbortSignal): Promise<Buffer[]> {
    const { places, length } = this.#whole
    const bytes = Math.min(count * BLOCK_BYTES, length - block * BLOCK_BYTES)
    if (bytes <= 0) return []
    if (this.#parts === undefined) return this.#fromCopies(block, bytes, signal)
    if (places.length === 0) return this.#fromParts(this.#parts, block, bytes, signal)
    try {
      return await this.#fromCopies(block, bytes, signal)
    } catch (error) {
      signal?.throwIfAborted()
      if (asFsError(error).code === 'ECANCELED') throw error
      return this.#fromParts(this.#parts, block, bytes, signal)
    }
  }

  async #fromCopies(block: number, bytes: number, signal?: AbortSignal): Promise<Buffer[]> {
    const { chunk, places } = this.#whole
    const data = await this.#source.firstOf(places, chunk, async (place) => {
      const got = await this.#source.fetch(place, chunk, block, Math.ceil(bytes / BLOCK_BYTES), signal)
      if (got.data.length < bytes)
        throw new FsError(
          'EIO',
          `chunk ${chunkName(chunk)} ends at ${got.length} at the source, expected ${this.#whole.length}`,
        )
      return got.data
    })
    const out: Buffer[] = []
    for (let at = 0; at < bytes; at += BLOCK_BYTES) out.push(data.subarray(at, Math.min(at + BLOCK_BYTES, bytes)))
    return out
  }

  async #fromParts(parts: StripeSource, block: number, bytes: number, signal?: AbortSignal): Promise<Buffer[]> {
    const { data } = parts
    const offset = block * BLOCK_BYTES
    const first = Math.floor(block / data)
    const rows = Math.ceil((offset + bytes) / (data * BLOCK_BYTES)) - first
    const wanted = piecesOf(offset, bytes, data).map((piece) => piece.index)
    const got = await parts.rows(first, rows, wanted, signal)
    const pieces = wanted.map((index, i) => ({ index, offset: first * BLOCK_BYTES, bytes: got[i]! }))
    return inOrder(offset, bytes, data, pieces)
  }
}
