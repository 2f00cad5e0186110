/*
 * Carries out what core/plan.ts plans of erasure coding: cutting a chunk into parts, making a lost part anew, putting a chunk
 * together again. The bytes are moved by chunkservers; what counts is written down here, when they have said that it is
 * durable.
 *
 * Order that matters: parts exist in the state before any byte is written, so that whatever a crash leaves on a disk has a
 * record that gives it up; a chunk counts as cut only when all of it has been written, and keeps its copies until every
 * part has been read back (repair.ts, drop). Parts of a try that failed are given up at once, or by the next start.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId } from '../base/ids.ts'
import type { ChunkPlaces } from '../wire/shapes.ts'
import { pacedMs, slower } from './bounds.ts'
import type { Deletions } from './collect.ts'
import type { Order } from './core/plan.ts'
import type { ChunkRecord } from './core/records.ts'
import { isUrgent } from './orders.ts'
import { placesOf, type WorkParts } from './parts.ts'

type OrderOf<K extends Order['kind']> = Order & { kind: K }
const MASTER = 0 as never

export class Coding {
  readonly #master: WorkParts
  readonly #deletions: Deletions
  readonly #bytesPerSecond: number
  /** Parts that are being made; others that are open and nobody's are left from before. */
  readonly #making = new Set<ChunkId>()
  #leftEnded = false

  constructor(master: WorkParts, deletions: Deletions, { bytesPerSecond }: { bytesPerSecond: number }) {
    this.#master = master
    this.#deletions = deletions
    this.#bytesPerSecond = bytesPerSecond
  }

  async encode(order: OrderOf<'encode'>, signal: AbortSignal): Promise<void> {
    const { whole, data, parity, targets, sources } = order
    let parts: { chunk: ChunkId; disk: DiskId }[] = []
    const { loop, state, orders, log } = this.#master
    const bytesPerSecond = slower(this.#bytesPerSecond, order.paid)
    try {
      const source = this.#source(whole)
      await loop.command(() => {
        const first = state.nextIds().chunk
        parts = targets.map((disk, i) => ({ chunk: (first + i) as ChunkId, disk }))
        for (const { chunk } of parts) this.#making.add(chunk)
        return { ok: { kind: 'encodeBegun', whole, parts } }
      })
      const { lengths } = await orders.give(
        sources[0]!,
        'orderEncode',
        {
          source,
          data,
          parity,
          parts: parts.map(({ chunk, disk }) => ({ chunk, target: this.#place(disk) })),
          bytesPerSecond,
        },
        signal,
        {
          ...{ reads: sources.slice(0, 1), writes: targets, urgency: order.urgency },
          pacedMs: pacedMs(source.length, bytesPerSecond),
        },
      )
      const ended = parts.map(({ chunk }, i) => ({ chunk, length: lengths[i]! }))
      await loop.command(() => ({ ok: { kind: 'encoded', whole, data, parity, parts: ended } }))
      log.info({ chunk: whole, data, parity }, 'chunk cut into parts')
    } catch (error) {
      // What cannot be given up now is by the next step that can, or by the next start.
      this.#leftEnded = false
      throw error
    } finally {
      for (const { chunk } of parts) this.#making.delete(chunk)
      if (!signal.aborted && loop.status().refusing === undefined) await this.endLeft()
    }
  }

  async rebuild(order: OrderOf<'rebuild'>, signal: AbortSignal): Promise<void> {
    const { whole, index, target, sources, urgency } = order
    const record = this.#record(whole)
    const chunk = record.ec?.parts[index]
    const part = chunk === undefined ? undefined : this.#master.state.chunk(chunk)
    if (chunk === undefined || part === undefined) throw new FsError('EAGAIN', 'it is made of something else by now')
    this.#assertFree(target, chunk)
    const bytesPerSecond = slower(this.#bytesPerSecond, order.paid)
    const { data } = record.ec!
    await this.#master.orders.give(
      target,
      'orderRebuild',
      {
        disk: target,
        chunk,
        index,
        length: part.length,
        whole: this.#source(whole),
        bytesPerSecond,
        urgent: isUrgent(urgency),
      },
      signal,
      {
        ...{ reads: sources.slice(0, data), writes: [target], urgency },
        pacedMs: pacedMs(data * part.length, bytesPerSecond),
      },
    )
    await this.#master.loop.command(() => ({ ok: { kind: 'copyAdded', chunk, disk: target } }))
  }

  async join(order: OrderOf<'join'>, signal: AbortSignal): Promise<void> {
    const { whole, target, sources, urgency } = order
    const record = this.#record(whole)
    this.#assertFree(target, whole)
    const bytesPerSecond = slower(this.#bytesPerSecond, order.paid)
    await this.#master.orders.give(
      target,
      'orderJoin',
      { disk: target, chunk: whole, whole: this.#source(whole), bytesPerSecond },
      signal,
      {
        ...{ reads: sources.slice(0, record.ec?.data ?? 1), writes: [target], urgency },
        pacedMs: pacedMs(record.length, bytesPerSecond),
      },
    )
    await this.#master.loop.command(() => ({ ok: { kind: 'copyAdded', chunk: whole, disk: target } }))
  }

  /** Parts that nothing was made of, by this process or the one before. */
  async endLeft(): Promise<void> {
    if (this.#leftEnded) return
    this.#leftEnded = true
    const { state, loop } = this.#master
    const parts = state.chunkIndex
      .openOf(MASTER)
      .filter((chunk) => state.chunk(chunk)?.whole !== undefined && !this.#making.has(chunk))
    try {
      for (const chunk of parts) await loop.command(() => ({ ok: { kind: 'partsEnded', parts: [chunk] } }))
    } catch (error) {
      this.#leftEnded = false
      throw error
    }
  }

  #record(whole: ChunkId): ChunkRecord {
    const record = this.#master.state.chunk(whole)
    if (record === undefined) throw new FsError('ENOENT', `chunk ${whole}`)
    return record
  }

  #source(whole: ChunkId): ChunkPlaces {
    const found = placesOf(this.#master.state, this.#master.nodes, whole)
    if (found === undefined) throw new FsError('ENOENT', `chunk ${whole}`)
    return found
  }

  #place(disk: DiskId) {
    const place = this.#master.state.place(disk)
    if (place === undefined) throw new FsError('ENODEV', `disk ${disk} is not known any more`)
    return place
  }

  #assertFree(disk: DiskId, chunk: ChunkId): void {
    if (this.#deletions.pending(disk, chunk)) throw new FsError('EBUSY', 'its old file there is still to be deleted')
  }
}
