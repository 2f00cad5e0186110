/*
 * Bytes of a chunk from its copies, in the order that the caller prefers: the next is asked when one fails, and also when one does
 * not answer within what is expected of it. Then the first answer counts and the other question is taken back. No more than two are
 * ever asked at once, and disks that are to be read last (backups) only when all else has failed.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import type { World } from '../base/world.ts'
import { isBackup } from '../topology/read-rank.ts'
import { CallHandle } from '../wire/call-handle.ts'
import type { Answered, Peer } from '../wire/peer.ts'
import type { Place } from '../wire/shapes.ts'
import type { Chunkservers } from './chunkservers.ts'
import { Hedges } from './core/hedges.ts'
import { aboutChunk, refuses, type Shunned, TooShort } from './shunned.ts'

/** What one read may take before it counts as failed; a server that hangs must not hang the reader. */
const READ_TIMEOUT_MS = 5_000

export interface Range {
  readonly chunk: ChunkId
  readonly offset: number
  readonly length: number
  /** A copy may end earlier than a whole block. */
  readonly atLeast: number
}

export interface NoCopy {
  /** That answered that they do not have it. */
  readonly refused: number
  readonly error: FsError | undefined
}

interface Asked {
  readonly place: Place
  readonly beganMs: number
  /** When another is to be asked as well. */
  readonly lateMs: number
  readonly handle: CallHandle
  readonly answer: Promise<Answered<'read'>>
}
type Outcome = { readonly asked: Asked; readonly bytes: Buffer } | { readonly asked: Asked; readonly error: FsError }

export class CopyReads {
  readonly #world: World
  readonly #chunkservers: Chunkservers
  readonly #shunned: Shunned
  readonly #hedges = new Hedges()

  constructor(world: World, chunkservers: Chunkservers, shunned: Shunned) {
    this.#world = world
    this.#chunkservers = chunkservers
    this.#shunned = shunned
  }

  /** `isWanted`: asked after each failure; false: nothing more is tried. */
  async read(places: readonly Place[], range: Range, isWanted: () => boolean): Promise<Buffer | NoCopy> {
    const [place, other] = places
    if (place === undefined) return { refused: 0, error: undefined }
    this.#hedges.began()
    const first = this.#ask(place, range)
    // Nearly always it answers soon, and then that is all there is to it.
    const bytes = await this.#soon(first, range, other !== undefined && this.#mayFollow(other, range.chunk))
    if (bytes === undefined) return this.#readOn(first, places.slice(1), range, isWanted)
    this.#hedges.answered(place.disk, this.#waitedMs(first), true)
    return bytes
  }

  /** The first is late, or has failed. */
  async #readOn(
    asked: Asked,
    others: readonly Place[],
    range: Range,
    isWanted: () => boolean,
  ): Promise<Buffer | NoCopy> {
    let running = [{ asked, outcome: this.#outcome(asked, range) }]
    let refused = 0
    let next = 0
    let mayHedge = true
    const ask = (place: Place): void => {
      next++
      const more = this.#ask(place, range)
      running.push({ asked: more, outcome: this.#outcome(more, range) })
    }
    for (;;) {
      const [first, second] = running
      const other = others[next]
      const hedges = mayHedge && second === undefined && other !== undefined && this.#mayFollow(other, range.chunk)
      const any = Promise.race(running.map(({ outcome }) => outcome))
      const settled = await this.#until(any, hedges ? first!.asked.lateMs : undefined)
      if (settled === undefined) {
        mayHedge = this.#hedges.granted()
        if (mayHedge && other !== undefined) ask(other)
        continue
      }
      running = running.filter((one) => one.asked !== settled.asked)
      const { disk } = settled.asked.place
      if ('bytes' in settled) {
        this.#hedges.answered(disk, this.#waitedMs(settled.asked), second === undefined)
        for (const late of running) this.#overtaken(late.asked, late === first)
        return settled.bytes
      }
      const { error } = settled
      if (refuses(error)) refused++
      this.#shunned.add(disk, aboutChunk(error) ? range.chunk : undefined)
      this.#world.log.warn(
        { chunk: range.chunk, disk, error: String(error) },
        'a copy could not be read; asking the next one',
      )
      if (running.length > 0) continue
      if (other === undefined || !isWanted()) return { refused, error }
      ask(other)
    }
  }

  /** Not one that failed a moment ago: that would be asked last anyway. */
  #mayFollow({ disk, rank }: Place, chunk: ChunkId): boolean {
    return !isBackup(rank) && !this.#shunned.has(disk, chunk)
  }

  #waitedMs({ beganMs }: Asked): number {
    return this.#world.clock.monotonicMs() - beganMs
  }

  #overtaken(asked: Asked, wasFirst: boolean): void {
    const { disk } = asked.place
    if (wasFirst && this.#hedges.overtaken(disk, this.#waitedMs(asked))) {
      this.#shunned.add(disk)
      this.#world.log.info({ disk }, 'a disk is slow again and again; for some seconds other copies are read')
    }
    asked.handle.cancel(new FsError('ECANCELED', 'another copy was quicker'))
  }

  #ask(place: Place, { chunk, offset, length }: Range): Asked {
    const { disk, host, port } = place
    const beganMs = this.#world.clock.monotonicMs()
    const handle = new CallHandle()
    const peer = this.#chunkservers.connected(host, port)
    const call = (one: Peer): Promise<Answered<'read'>> =>
      one.call('read', { disk, chunk, offset, length }, { timeoutMs: READ_TIMEOUT_MS, answerBytes: length, handle })
    return {
      place,
      beganMs,
      handle,
      lateMs: beganMs + this.#hedges.afterMs(disk, peer?.roundTrip.srttMs),
      answer: peer === undefined ? this.#chunkservers.peer(host, port).then(call) : call(peer),
    }
  }

  #outcome(asked: Asked, { chunk, atLeast }: Range): Promise<Outcome> {
    return asked.answer.then(
      ({ bulk }) =>
        bulk.length >= atLeast ? { asked, bytes: bulk } : { asked, error: new TooShort(chunk, asked.place.disk) },
      (error: unknown) => {
        const code = errnoOf(error)
        if (code === undefined) throw error
        return { asked, error: error instanceof FsError ? error : new FsError(code, String(error), { cause: error }) }
      },
    )
  }

  /** undefined: it has failed, or is late and that matters; what became of it is looked at again. */
  #soon({ answer, beganMs, lateMs }: Asked, { atLeast }: Range, hedges: boolean): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const forget = hedges ? this.#world.clock.timer(lateMs - beganMs, () => resolve(undefined)) : undefined
      answer.then(
        ({ bulk }) => {
          forget?.()
          resolve(bulk.length >= atLeast ? bulk : undefined)
        },
        () => {
          forget?.()
          resolve(undefined)
        },
      )
    })
  }

  /** undefined: none by then. Without a time it is waited for. */
  #until<T>(work: Promise<T>, atMs: number | undefined): Promise<T | undefined> {
    if (atMs === undefined) return work
    return new Promise((resolve, reject) => {
      const ms = Math.max(0, atMs - this.#world.clock.monotonicMs())
      const forget = this.#world.clock.timer(ms, () => resolve(undefined))
      work.then(resolve, reject).finally(forget)
    })
  }
}
