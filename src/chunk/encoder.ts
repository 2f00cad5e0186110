/*
 * A sealed chunk cut into data and parity parts, each appended to a new chunk on a disk of its own, like a compaction with as many
 * targets. Rows are read, coded and sent in windows, so that neither the chunk nor its parts are ever in memory as a whole.
 *
 * The same order again makes the same bytes, so what the parts hold already is gone on with. When it is answered, every part is
 * durable and was read back by the server that holds it; sealing the parts and giving up the copies is the master's decision. A target
 * that fails, fails the order: which disk is to take its place is not known here.
 */

import { erasure } from '../base/erasure.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import { BLOCK_BYTES } from '../base/limits.ts'
import { partLengths } from '../topology/stripe.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import { blockCount, blockOf } from './core/chunk-format.ts'
import type { OrderParts } from './order-parts.ts'
import type { Pace } from './pace.ts'
import { pipelined } from './pipeline.ts'
import { rowsAtOnce } from './rebuilder.ts'
import { assertCode } from './stripe-source.ts'
import { WholeSource } from './whole-source.ts'

/** Windows of 1 MiB that are read ahead, and as many that are on their way to the targets: 8 MiB and their parity in memory. */
const WINDOW = 4

export interface PartTarget {
  readonly chunk: ChunkId
  readonly target: Place
}

interface PartWriter extends PartTarget {
  readonly index: number
  readonly length: number
  /** What it held when the order began. */
  held: number
}

export class Encoder {
  readonly #parts: OrderParts

  constructor(parts: OrderParts) {
    this.#parts = parts
  }

  /** Answers the length of each part. */
  encode(
    source: ChunkPlaces,
    data: number,
    parity: number,
    targets: readonly PartTarget[],
    bytesPerSecond: number,
    signal?: AbortSignal,
  ): Promise<number[]> {
    const { queue, paces } = this.#parts
    const key = `encode ${source.chunk} ${targets.map(({ chunk }) => chunk).join()}`
    const work = async (): Promise<number[]> => {
      assertCode(data, parity, targets.length)
      if (!source.sealed) throw new FsError('EINVAL', `chunk ${chunkName(source.chunk)} is still open`)
      const lengths = partLengths(source.length, data, parity)
      const writers = targets.map((part, index) => ({ ...part, index, length: lengths[index]!, held: 0 }))
      await each(writers, (writer) => this.#look(writer, signal))
      await paces.during(source.chunk, bytesPerSecond, (pace) =>
        this.#encode(source, data, parity, writers, pace, signal),
      )
      await each(writers, (writer) => this.#finish(writer, signal))
      return lengths
    }
    return queue.run(key, work, false, signal)
  }

  /** What an earlier try left at the target. */
  async #look(writer: PartWriter, signal?: AbortSignal): Promise<void> {
    const { chunk, target, length } = writer
    const { state, length: held } = await this.#parts.target.verify(target, chunk, false, signal)
    if (state === 'damaged') throw new FsError('EBADMSG', 'what an earlier try left is damaged')
    if (held > length || (state === 'sealed' && held !== length))
      throw new FsError('ERANGE', `it holds ${held} bytes already, ${length} are to be written`)
    writer.held = state === 'gone' ? 0 : held
    // A part that gets no byte exists all the same.
    if (state === 'gone' && length === 0) await this.#parts.target.append(target, chunk, 0, [], signal)
  }

  async #encode(
    source: ChunkPlaces,
    data: number,
    parity: number,
    writers: readonly PartWriter[],
    pace: Pace,
    signal?: AbortSignal,
  ): Promise<void> {
    const unfinished = writers.filter(({ held, length }) => held < length)
    if (unfinished.length === 0) return
    const whole = new WholeSource(this.#parts.source, source)
    const rows = Math.ceil(blockCount(source.length) / data)
    const step = rowsAtOnce(data)
    let next = Math.min(...unfinished.map(({ held }) => blockOf(held)))
    const ask = async (row: number, count: number): Promise<{ row: number; parts: Uint8Array[][] }> => {
      await pace.take(count * data * BLOCK_BYTES, signal)
      return { row, parts: coded(await whole.blocks(row * data, count * data, signal), data, parity) }
    }
    const begin = (): ReturnType<typeof ask> | undefined => {
      if (next >= rows) return undefined
      const row = next
      next += Math.min(step, rows - next)
      return ask(row, next - row)
    }
    const sending: Promise<void>[] = []
    try {
      await pipelined(WINDOW, begin, async ({ row, parts }) => {
        const sent = each(unfinished, (writer) => this.#send(writer, row, parts[writer.index]!, signal))
        // It is looked at when its turn comes, which may be after another one failed.
        sent.catch(() => {})
        sending.push(sent)
        if (sending.length >= WINDOW) await sending.shift()
      })
      while (sending.length > 0) await sending.shift()
    } finally {
      await Promise.allSettled(sending)
    }
  }

  async #send(writer: PartWriter, row: number, blocks: Uint8Array[], signal?: AbortSignal): Promise<void> {
    const offset = row * BLOCK_BYTES
    const end = offset + blocks.reduce((bytes, block) => bytes + block.length, 0)
    // What the target has of them it skips; what it has all of need not travel.
    if (end <= writer.held || blocks.length === 0) return
    await this.#parts.target.append(writer.target, writer.chunk, offset, blocks, signal)
  }

  async #finish({ chunk, target, length }: PartWriter, signal?: AbortSignal): Promise<void> {
    await this.#parts.target.sync(target, chunk, length, signal)
    const held = await this.#parts.target.verify(target, chunk, true, signal)
    if ((held.state !== 'open' && held.state !== 'sealed') || held.length !== length)
      throw new FsError('EBADMSG', `read back it is ${held.state} with ${held.length} bytes of ${length}`)
  }
}

/** Of each part, data parts first, the blocks of some whole rows. */
function coded(blocks: readonly Buffer[], data: number, parity: number): Uint8Array[][] {
  const parts = Array.from({ length: data + parity }, () => [] as Uint8Array[])
  const nothing = new Uint8Array(0)
  for (let first = 0; first < blocks.length; first += data) {
    const row = Array.from({ length: data }, (_, i) => blocks[first + i] ?? nothing)
    const { length } = row[0]!
    const made = Array.from({ length: parity }, () => new Uint8Array(length))
    erasure(data, parity).encode(row, made, length)
    for (const [index, block] of [...row, ...made].entries()) if (block.length > 0) parts[index]!.push(block)
  }
  return parts
}

/** The same of all parts at once; what fails is said with the part and the place that it failed at. */
async function each(writers: readonly PartWriter[], work: (writer: PartWriter) => Promise<void>): Promise<void> {
  await Promise.all(
    writers.map(async (writer) => {
      try {
        await work(writer)
      } catch (error) {
        const code = errnoOf(error)
        if (!(error instanceof FsError) || code === undefined) throw error
        const { index, chunk, target } = writer
        throw new FsError(
          code,
          `part ${index}, chunk ${chunkName(chunk)}, cannot be written to disk ${target.disk} at ${target.host}:${target.port}: ${error.message}`,
          { cause: error },
        )
      }
    }),
  )
}
