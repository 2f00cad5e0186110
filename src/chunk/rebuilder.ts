/*
 * A lost part of an erasure-coded chunk made anew, and a whole chunk put together from its parts: copies whose source is a
 * decoder. Like every copy they lie in `<id>.copy` until they are complete, what an earlier try left is gone on with, and they
 * take their place only when they are sealed, durable and have been read back.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import { BLOCK_BYTES, MOVE_BYTES } from '../base/limits.ts'
import type { ChunkPlaces } from '../wire/shapes.ts'
import type { BlockSource } from './block-source.ts'
import type { ChunkFile } from './chunk-file.ts'
import { blockCount, blockOf } from './core/chunk-format.ts'
import type { Disk } from './disk.ts'
import type { OrderParts } from './order-parts.ts'
import type { Pace } from './pace.ts'
import { pipelined } from './pipeline.ts'
import { StripeSource } from './stripe-source.ts'

/** One range takes so many blocks of all parts together as one of a copy, whatever the code. */
export const WINDOW_BLOCKS: number = MOVE_BYTES / BLOCK_BYTES
/** Ranges in flight, and so 8 MiB in memory. */
const WINDOW = 8

export const rowsAtOnce = (data: number): number => Math.max(1, Math.floor(WINDOW_BLOCKS / data))

/** Part `index` of the chunk. */
export interface LostPart {
  readonly whole: ChunkPlaces
  readonly index: number
}

export class Rebuilder {
  readonly #parts: OrderParts

  constructor(parts: OrderParts) {
    this.#parts = parts
  }

  /** Answers the bytes of the part that were missing. The pace is that of the bytes read, k times as many. */
  rebuild(
    diskId: DiskId,
    chunk: ChunkId,
    length: number,
    lost: LostPart,
    bytesPerSecond: number,
    signal?: AbortSignal,
    urgent = false,
  ): Promise<number> {
    const work = (disk: Disk): Promise<number> => {
      const expected = lost.whole.ec?.parts[lost.index]
      if (expected?.chunk !== chunk || expected.length !== length)
        throw new FsError(
          'EINVAL',
          `chunk ${chunkName(chunk)} of ${length} bytes is not part ${lost.index} of chunk ${chunkName(lost.whole.chunk)}`,
        )
      const { source, paces } = this.#parts
      return paces.during(chunk, bytesPerSecond, (pace) => rebuildPart(disk, chunk, lost, source, pace, signal))
    }
    return this.#unlessHeld(diskId, chunk, length, work, urgent, signal)
  }

  /** Answers the bytes of the whole chunk that were missing. */
  join(
    diskId: DiskId,
    chunk: ChunkId,
    whole: ChunkPlaces,
    bytesPerSecond: number,
    signal?: AbortSignal,
  ): Promise<number> {
    const { length } = whole
    const work = (disk: Disk): Promise<number> => {
      if (whole.chunk !== chunk)
        throw new FsError('EINVAL', `chunk ${chunkName(chunk)} is not ${chunkName(whole.chunk)}`)
      const { source, paces } = this.#parts
      const parts = new StripeSource(source, whole)
      const wanted = Array.from({ length: parts.data }, (_, index) => index)
      return paces.during(chunk, bytesPerSecond, (pace) =>
        disk.copies.complete(chunk, length, filling(parts, wanted, length, pace, signal), true),
      )
    }
    return this.#unlessHeld(diskId, chunk, length, work, false, signal)
  }

  #unlessHeld(
    diskId: DiskId,
    chunk: ChunkId,
    length: number,
    work: (disk: Disk) => Promise<number>,
    urgent: boolean,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { queue, store } = this.#parts
    const unlessHeld = async (): Promise<number> => {
      const disk = store.get(diskId)
      const held = await disk.chunks.verify(chunk, false)
      return held.state === 'sealed' && held.length === length ? 0 : work(disk)
    }
    // The key of a copy: both write the same file.
    return queue.run(`copy ${diskId} ${chunk}`, unlessHeld, urgent, signal)
  }
}

export function rebuildPart(
  disk: Disk,
  chunk: ChunkId,
  lost: LostPart,
  source: BlockSource,
  pace: Pace,
  signal?: AbortSignal,
): Promise<number> {
  const parts = new StripeSource(source, lost.whole, lost.index)
  const { length } = lost.whole.ec!.parts[lost.index]!
  return disk.copies.complete(chunk, length, filling(parts, [lost.index], length, pace, signal), true)
}

/** Appends the blocks of the wanted parts, taken by turns, until the file has `length` bytes. */
function filling(
  parts: StripeSource,
  wanted: readonly number[],
  length: number,
  pace: Pace,
  signal?: AbortSignal,
): (file: ChunkFile) => Promise<void> {
  const rows = Math.ceil(blockCount(length) / wanted.length)
  const step = rowsAtOnce(parts.data)
  return async (file) => {
    let next = Math.floor(blockOf(file.length) / wanted.length)
    const ask = async (row: number, count: number): Promise<{ row: number; count: number; got: Buffer[] }> => {
      await pace.take(count * parts.data * BLOCK_BYTES, signal)
      return { row, count, got: await parts.rows(row, count, wanted, signal) }
    }
    const begin = (): ReturnType<typeof ask> | undefined => {
      if (next >= rows) return undefined
      const row = next
      next += Math.min(step, rows - next)
      return ask(row, next - row)
    }
    await pipelined(WINDOW, begin, async ({ row, count, got }) => {
      const blocks: Buffer[] = []
      for (let i = 0; i < count; i++)
        for (const part of got) {
          const block = part.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
          if (block.length > 0) blocks.push(block)
        }
      // What an earlier try left of them is skipped.
      await file.append(row * wanted.length * BLOCK_BYTES, blocks)
    })
    if (file.length < length) throw new FsError('EIO', `chunk ${chunkName(file.chunk)} came short`)
  }
}
