/*
 * The bytes of an erasure-coded chunk, from any k of its parts: rows of wanted parts, read where they can be read and decoded where
 * not. It is made for one order and remembers which parts failed, so that a server that hangs is waited for once.
 *
 * Bytes are never taken on trust: parts arrive with their CRCs, and their lengths have to be what the chunk's length makes them.
 */

import { erasure } from '../base/erasure.ts'
import { FsError } from '../base/fault.ts'
import { chunkName } from '../base/ids.ts'
import { BLOCK_BYTES, EC_DATA_MIN, EC_PARITY_MIN } from '../base/limits.ts'
import { partLength } from '../topology/stripe.ts'
import type { ChunkPlaces, EcParts } from '../wire/shapes.ts'
import { asFsError, type BlockSource } from './block-source.ts'

const NOTHING = Buffer.alloc(0)

export class StripeSource {
  readonly #source: BlockSource
  readonly #name: string
  readonly #ec: EcParts
  /** The part that is being made anew: never read. */
  readonly #lost: number | undefined
  /** Read last. */
  readonly #failed = new Set<number>()

  constructor(source: BlockSource, whole: ChunkPlaces, lost?: number) {
    const { ec, length } = whole
    this.#name = chunkName(whole.chunk)
    if (ec === undefined) throw new FsError('EINVAL', `chunk ${this.#name} is not erasure-coded`)
    assertCode(ec.data, ec.parity, ec.parts.length)
    for (const [index, part] of ec.parts.entries()) {
      const expected = partLength(length, ec.data, index)
      if (part.length !== expected)
        throw new FsError(
          'EINVAL',
          `part ${index} of chunk ${this.#name} is said to have ${part.length} bytes, not ${expected}`,
        )
    }
    this.#source = source
    this.#ec = ec
    this.#lost = lost
  }

  get data(): number {
    return this.#ec.data
  }

  /** Of each wanted part the bytes of rows `row` … `row + count` − 1, as far as it reaches. */
  async rows(row: number, count: number, wanted: readonly number[], signal?: AbortSignal): Promise<Buffer[]> {
    try {
      return await this.#rows(row, count, wanted, signal)
    } catch (error) {
      // Damage in different rows of too many parts: each row by itself may still have k good blocks.
      if (count === 1 || !(error instanceof FsError) || error.code !== 'EBADMSG') throw error
      const rows: Buffer[][] = []
      for (let i = 0; i < count; i++) rows.push(await this.#rows(row + i, 1, wanted, signal))
      return wanted.map((_, i) => Buffer.concat(rows.map((parts) => parts[i]!)))
    }
  }

  async #rows(row: number, count: number, wanted: readonly number[], signal?: AbortSignal): Promise<Buffer[]> {
    const { data } = this.#ec
    const found = new Map<number, Buffer>()
    // What lies behind the end of the chunk is zeros, and known.
    for (let index = 0; index < data; index++) if (this.#bytes(index, row, count) === 0) found.set(index, NOTHING)
    const tried = new Set<number>()
    let worst: FsError | undefined
    const fetch = async (index: number): Promise<void> => {
      tried.add(index)
      try {
        found.set(index, await this.#fetch(index, row, count, signal))
        this.#failed.delete(index)
      } catch (error) {
        signal?.throwIfAborted()
        const failure = asFsError(error)
        this.#failed.add(index)
        if (worst?.code !== 'EBADMSG') worst = failure
      }
    }
    const missing = (): number[] => wanted.filter((index) => !found.has(index))
    await Promise.all(
      missing()
        .filter((index) => index !== this.#lost && !this.#failed.has(index))
        .map(fetch),
    )
    while (found.size < data && missing().length > 0) {
      const next = this.#preferred(row)
        .filter((index) => index !== this.#lost && !found.has(index) && !tried.has(index))
        .slice(0, data - found.size)
      if (next.length === 0)
        throw new FsError(
          worst?.code ?? 'ENOENT',
          `of chunk ${this.#name} only ${found.size} parts can be read and ${data} are needed${worst === undefined ? '' : ` (${worst.message})`}`,
          { cause: worst },
        )
      await Promise.all(next.map(fetch))
    }
    this.#decode(found, missing(), row, count)
    return wanted.map((index) => found.get(index)!)
  }

  #decode(found: Map<number, Buffer>, missing: readonly number[], row: number, count: number): void {
    const { data, parity } = this.#ec
    if (missing.length === 0) return
    const present = [...found].slice(0, data).map(([index, block]) => ({ index, block }))
    const length = this.#bytes(0, row, count)
    const into = missing.map(() => Buffer.allocUnsafeSlow(length))
    erasure(data, parity).recover(present, missing, into, length)
    for (const [i, index] of missing.entries()) found.set(index, into[i]!.subarray(0, this.#bytes(index, row, count)))
  }

  /** How many bytes of a part lie in these rows. */
  #bytes(index: number, row: number, count: number): number {
    const { length } = this.#ec.parts[index]!
    return Math.max(0, Math.min(length - row * BLOCK_BYTES, count * BLOCK_BYTES))
  }

  /** Those on our own disks first, those that failed last; of the others by turns, so that all disks share the work. */
  #preferred(row: number): number[] {
    const { parts } = this.#ec
    const n = parts.length
    const cost = (index: number): number =>
      (this.#failed.has(index) ? 2 * n : 0) +
      (parts[index]!.places.some((place) => this.#source.holds(place.disk)) ? 0 : n) +
      ((index + n - (row % n)) % n)
    return parts.map((_, index) => index).sort((a, b) => cost(a) - cost(b))
  }

  async #fetch(index: number, row: number, count: number, signal?: AbortSignal): Promise<Buffer> {
    const { chunk, places } = this.#ec.parts[index]!
    const expected = this.#bytes(index, row, count)
    return this.#source.firstOf(places, chunk, async (place) => {
      const { data } = await this.#source.fetch(place, chunk, row, count, signal)
      if (data.length < expected)
        throw new FsError('EIO', `part ${index} of chunk ${this.#name} is too short at the source`)
      return data.subarray(0, expected)
    })
  }
}

/** What the master says of a code is checked before anything is made of it. */
export function assertCode(data: number, parity: number, parts: number): void {
  if (data < EC_DATA_MIN || parity < EC_PARITY_MIN || parts !== data + parity)
    throw new FsError('EINVAL', `${parts} parts are no erasure code of ${data}+${parity}`)
}
