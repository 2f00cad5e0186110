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
  readonly handle: CallHandle
  readonly outcome: Promise<Outcome>
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
    this.#hedges.began()
    let refused = 0
    let error: FsError | undefined
    let next = 0
    let running: Asked[] = []
    let mayHedge = true
    for (;;) {
      if (running.length === 0) {
        const place = places[next++]
        if (place === undefined || (error !== undefined && !isWanted())) return { refused, error }
        running = [this.#ask(place, range)]
      }
      const [first, second] = running
      const other = places[next]
      const hedges = mayHedge && second === undefined && other !== undefined && this.#mayFollow(other, range.chunk)
      const settled = await this.#settled(running, hedges ? this.#patienceMs(first!) : undefined)
      if (settled === undefined) {
        mayHedge = this.#hedges.granted()
        if (mayHedge && other !== undefined) {
          running.push(this.#ask(other, range))
          next++
        }
        continue
      }
      running = running.filter((one) => one !== settled.asked)
      if ('bytes' in settled) {
        this.#hedges.answered(settled.asked.place.disk, this.#waitedMs(settled.asked), second === undefined)
        for (const late of running) this.#overtaken(late, late === first)
        return settled.bytes
      }
      error = settled.error
      if (refuses(error)) refused++
      this.#failed(settled.asked.place, range.chunk, error)
    }
  }

  #failed({ disk }: Place, chunk: ChunkId, error: FsError): void {
    this.#shunned.add(disk, aboutChunk(error) ? chunk : undefined)
    this.#world.log.warn({ chunk, disk, error: String(error) }, 'a copy could not be read; asking the next one')
  }

  /** Not one that failed a moment ago: that would be asked last anyway. */
  #mayFollow({ disk, rank }: Place, chunk: ChunkId): boolean {
    return !isBackup(rank) && !this.#shunned.has(disk, chunk)
  }

  #patienceMs({ place, beganMs }: Asked): number {
    const srttMs = this.#chunkservers.roundTripMs(place.host, place.port)
    return beganMs + this.#hedges.afterMs(place.disk, srttMs) - this.#world.clock.monotonicMs()
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

  #ask(place: Place, { chunk, offset, length, atLeast }: Range): Asked {
    const handle = new CallHandle()
    const read = async (): Promise<Buffer> => {
      const peer = await this.#chunkservers.peer(place.host, place.port)
      const { bulk } = await peer.call(
        'read',
        { disk: place.disk, chunk, offset, length },
        { timeoutMs: READ_TIMEOUT_MS, answerBytes: length, handle },
      )
      if (bulk.length < atLeast) throw new TooShort(chunk, place.disk)
      return bulk
    }
    const asked: Asked = {
      ...{ place, beganMs: this.#world.clock.monotonicMs(), handle },
      outcome: read().then(
        (bytes) => ({ asked, bytes }),
        (error: unknown) => {
          const code = errnoOf(error)
          if (code === undefined) throw error
          return { asked, error: error instanceof FsError ? error : new FsError(code, String(error), { cause: error }) }
        },
      ),
    }
    return asked
  }

  /** undefined: none within the time. Without a time it is waited for. */
  #settled(running: readonly Asked[], ms: number | undefined): Promise<Outcome | undefined> {
    const [only] = running
    const any = running.length === 1 ? only!.outcome : Promise.race(running.map(({ outcome }) => outcome))
    if (ms === undefined) return any
    return new Promise((resolve, reject) => {
      const forget = this.#world.clock.timer(Math.max(0, ms), () => resolve(undefined))
      any.then(
        (outcome) => {
          forget()
          resolve(outcome)
        },
        (error: unknown) => {
          forget()
          reject(error)
        },
      )
    })
  }
}
