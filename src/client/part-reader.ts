/*
 * Bytes of an erasure-coded chunk, from its parts. Each range is asked of the data parts that hold it, all at once; a small file
 * in a pack is one question to one disk, as with copies. A part that fails, or is slow, is not waited for: what it would have
 * answered is decoded from the same range of any k others, and what those were asked for anyway is not asked again.
 *
 * Parts on disks that are to be read last (backup disks, what is not preferred, another site) are decoded as long as there are
 * enough others, and not asked because another one is slow.
 *
 * Whether to ask the master where the parts are now is the caller's decision (chunk-reader.ts).
 */

import { erasure, type Part } from '../base/erasure.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import { type ChunkId, chunkName, type DiskId } from '../base/ids.ts'
import type { World } from '../base/world.ts'
import { readTier } from '../topology/read-rank.ts'
import { inOrder, type Piece, piecesOf } from '../topology/stripe.ts'
import type { EcParts, Place } from '../wire/shapes.ts'
import type { Chunkservers } from './chunkservers.ts'
import { aboutChunk, refuses, type Shunned, TooShort } from './shunned.ts'

/** What one part may take before it counts as failed; the others are asked long before. */
const READ_TIMEOUT_MS = 5_000
/**
 * A part is slow when it takes so many times what the disks of the other parts took lately (the one in their middle), or what
 * its own disk took: far away is not slow.
 */
const OTHERS_FACTOR = 4
const OWN_FACTOR = 2
/** But not before: a pause of garbage collection, a disk that seeks. */
const HEDGE_MIN_MS = 25
/** While nothing is known of the others. */
const HEDGE_FIRST_MS = 250
/**
 * Of a hundred reads ten may be done twice because one is slow, and so many at once: when everything is slow, more questions make it
 * slower.
 */
const HEDGE_SHARE = 1 / 10
const HEDGES_MAX = 10
/** How much the last answer counts in what a disk takes as a rule. */
const USUAL_SHARE = 1 / 8

const NOTHING = Buffer.alloc(0)
/** More than every rank. */
const SHUNNED_COST = 16_384

/** Too few parts could be read. `refused`: the servers answered, so waiting alone brings nothing back. */
export class PartsUnreadable extends FsError {
  readonly refused: boolean
  constructor(detail: string, refused: boolean, cause: unknown) {
    super('EIO', detail, { cause })
    this.name = 'PartsUnreadable'
    this.refused = refused
  }
}

export interface PartedChunk {
  readonly chunk: ChunkId
  readonly length: number
  readonly ec: EcParts
}

export class PartReader {
  readonly world: World
  readonly shunned: Shunned
  readonly ownHost: string
  readonly #chunkservers: Chunkservers
  /** What a read takes as a rule, by disk: a number for each disk of the cluster. */
  readonly #usualMs = new Map<DiskId, number>()
  #hedges = HEDGES_MAX

  constructor(world: World, chunkservers: Chunkservers, shunned: Shunned, ownHost: string) {
    this.world = world
    this.#chunkservers = chunkservers
    this.shunned = shunned
    this.ownHost = ownHost
  }

  /**
   * The bytes of offset … offset+length that there are, in order, at most a block in each buffer. `decoded`: not all of them came
   * from where they were to be read.
   */
  async read(parted: PartedChunk, offset: number, length: number): Promise<{ blocks: Buffer[]; decoded: boolean }> {
    const { data } = parted.ec
    const bytes = Math.min(length, parted.length - offset)
    if (bytes <= 0) return { blocks: [], decoded: false }
    const pieces = piecesOf(offset, bytes, data)
    const request = new StripeRead(this, parted)
    const got = await request.pieces(pieces)
    const parts = pieces.map((piece, i) => ({ index: piece.index, offset: piece.offset, bytes: got[i]! }))
    return { blocks: inOrder(offset, bytes, data, parts), decoded: request.decoded }
  }

  /**
   * The worst tier of what has to be read of it; Infinity: too few parts are where they can be read. `offset`: parts that end before
   * need not be read.
   */
  tier({ ec }: PartedChunk, offset = 0): number {
    const tiers = ec.parts
      .map((part) => (part.length <= offset ? Number.NEGATIVE_INFINITY : this.tierOf(part)))
      .sort((a, b) => a - b)
    return tiers[ec.data - 1] ?? Number.POSITIVE_INFINITY
  }

  /** The parts are to be read before these copies of the whole. */
  isBetter(parted: PartedChunk, copies: readonly Place[]): boolean {
    const best = Math.min(...copies.map(({ rank }) => readTier(rank)))
    return this.tier(parted) < best
  }

  /** Infinity: not to be had, or it failed a moment ago. */
  tierOf({ chunk, places }: EcParts['parts'][number]): number {
    return Math.min(
      ...places.map(({ disk, rank }) => (this.shunned.has(disk, chunk) ? Number.POSITIVE_INFINITY : readTier(rank))),
      Number.POSITIVE_INFINITY,
    )
  }

  /** Exactly these bytes of one part, from one place. */
  async ask(place: Place, chunk: ChunkId, offset: number, length: number): Promise<Buffer> {
    const { clock } = this.world
    const startedMs = clock.monotonicMs()
    this.#hedges = Math.min(HEDGES_MAX, this.#hedges + HEDGE_SHARE)
    const peer = await this.#chunkservers.peer(place.host, place.port)
    const { bulk } = await peer.call(
      'read',
      { disk: place.disk, chunk, offset, length },
      { timeoutMs: READ_TIMEOUT_MS, answerBytes: length },
    )
    const tookMs = clock.monotonicMs() - startedMs
    const usual = this.#usualMs.get(place.disk) ?? tookMs
    this.#usualMs.set(place.disk, usual + (tookMs - usual) * USUAL_SHARE)
    if (bulk.length < length) throw new TooShort(chunk, place.disk)
    return bulk
  }

  /** Asks for leave to read something a second time because it is slow. */
  mayHedge(): boolean {
    if (this.#hedges < 1) return false
    this.#hedges--
    return true
  }

  /** How long to wait for part `index` before the others are asked in its place. */
  patienceMs({ parts }: EcParts, index: number): number {
    const usual = (part: EcParts['parts'][number] | undefined): number | undefined => {
      const place = part?.places[0]
      return place === undefined ? undefined : this.#usualMs.get(place.disk)
    }
    const others = parts
      .filter((_, other) => other !== index)
      .map(usual)
      .filter((ms) => ms !== undefined)
      .sort((a, b) => a - b)
    const middle = others[others.length >> 1]
    const own = usual(parts[index]) ?? 0
    return Math.max(HEDGE_MIN_MS, middle === undefined ? HEDGE_FIRST_MS : OTHERS_FACTOR * middle, OWN_FACTOR * own)
  }
}

interface Asked {
  readonly offset: number
  readonly end: number
  readonly bytes: Promise<Buffer>
}

type Outcome = { readonly index: number; readonly bytes: Buffer } | { readonly index: number; readonly error: FsError }

/**
 * One read: what has been asked of which part, and what failed. A question that is no longer needed is not taken back: that it
 * fails in the end says something about its disk, and a signal for each read costs more than the answers that come too late.
 */
class StripeRead {
  readonly #reader: PartReader
  readonly #parted: PartedChunk
  readonly #asked = new Map<number, Asked[]>()
  readonly #failed = new Set<number>()
  /** Parts are asked for all of this when it is known beforehand that one has to be decoded: the others serve both then. */
  #span: { readonly from: number; readonly to: number } | undefined
  /** Where nothing is said of the order, all parts are alike. */
  readonly #ranked: boolean
  /** Of what has to be read for bytes at this offset of the parts. */
  #worst: { readonly offset: number; readonly tier: number } | undefined
  #refusals = true
  decoded = false

  constructor(reader: PartReader, parted: PartedChunk) {
    this.#reader = reader
    this.#parted = parted
    this.#ranked = parted.ec.parts.some(({ places }) => places.some(({ rank }) => rank !== undefined))
  }

  pieces(pieces: readonly Piece[]): Promise<Buffer[]> {
    if (pieces.length > 1 && pieces.some((piece) => this.#isLast(piece)))
      this.#span = {
        from: Math.min(...pieces.map((piece) => piece.offset)),
        to: Math.max(...pieces.map((piece) => piece.offset + piece.length)),
      }
    return Promise.all(pieces.map((piece) => this.#piece(piece)))
  }

  async #piece(piece: Piece): Promise<Buffer> {
    const { index } = piece
    if (this.#isLast(piece)) {
      try {
        return await this.#decode(piece)
      } catch (error) {
        if (!(error instanceof PartsUnreadable)) throw error
        // It failed a moment ago, and may be back; or it is all that is left.
      }
    }
    const own = outcome(index, this.#ask(piece))
    const hedges = this.#others(piece)
    const soon = await this.#until(own, hedges ? this.#reader.patienceMs(this.#parted.ec, index) : undefined)
    const first = soon === undefined && !this.#reader.mayHedge() ? await own : soon
    if (first !== undefined && 'bytes' in first) return first.bytes
    const decoded = this.#decode(piece)
    if (first !== undefined) return decoded
    // Slow: whichever comes first.
    const quickest = await Promise.race([own, outcome(-1, decoded)])
    if ('bytes' in quickest) {
      if (quickest.index !== index) this.#slow(index)
      return quickest.bytes
    }
    const last = quickest.index === index ? await outcome(-1, decoded) : await own
    if ('bytes' in last) return last.bytes
    throw quickest.index === index ? last.error : quickest.error
  }

  #slow(index: number): void {
    const { chunk } = this.#parted
    const [place] = this.#places(index)
    if (place === undefined) return
    this.#reader.shunned.add(place.disk)
    this.#reader.world.log.info(
      { chunk, disk: place.disk },
      'a part is slow; for some seconds its bytes are decoded from the other parts',
    )
  }

  /** Where to ask for the part, in order: one place as a rule, more while it is moved. */
  #places(index: number): readonly Place[] {
    const { chunk, places } = this.#parted.ec.parts[index]!
    if (places.length < 2) return places
    const cost = (place: Place): number =>
      (this.#reader.shunned.has(place.disk, chunk) ? SHUNNED_COST : 0) + costOf(place, this.#reader.ownHost)
    return places.toSorted((a, b) => cost(a) - cost(b))
  }

  #shunned(index: number): boolean {
    const { chunk, places } = this.#parted.ec.parts[index]!
    return places.every((place) => this.#reader.shunned.has(place.disk, chunk))
  }

  /** Decoded rather than read: it failed a moment ago, or there are enough that are to be read before it. */
  #isLast({ index, offset }: Piece): boolean {
    return this.#shunned(index) || this.#avoided(index, offset)
  }

  #avoided(index: number, offset: number): boolean {
    if (!this.#ranked) return false
    if (this.#worst?.offset !== offset) this.#worst = { offset, tier: this.#reader.tier(this.#parted, offset) }
    const tier = this.#reader.tierOf(this.#parted.ec.parts[index]!)
    return Number.isFinite(tier) && tier > this.#worst.tier
  }

  /** Whether it can be decoded without any that is to be read last. */
  #others({ index, offset }: Piece): boolean {
    if (!this.#ranked) return true
    const { data, parts } = this.#parted.ec
    const usable = parts.filter((part, other) => {
      if (other === index || this.#failed.has(other)) return false
      return part.length <= offset || (!this.#shunned(other) && !this.#avoided(other, offset))
    })
    return usable.length >= data
  }

  /** The range of the part out of the same range of any k others. */
  async #decode({ index: lost, offset, length }: Piece): Promise<Buffer> {
    const { chunk, ec } = this.#parted
    const { data, parity, parts } = ec
    // By choice as long as the part is one to be read last.
    const byChoice = this.#avoided(lost, offset)
    this.decoded ||= !byChoice
    const present: Part[] = []
    const candidates: number[] = []
    for (const [index, part] of parts.entries()) {
      if (index === lost) continue
      // Behind the end of the chunk there are zeros; nobody needs to be asked for them.
      if (part.length <= offset) present.push({ index, block: NOTHING })
      // Instead of another that is to be read last it can be read itself.
      else if (part.places.length > 0 && !this.#failed.has(index) && !(byChoice && this.#avoided(index, offset)))
        candidates.push(index)
    }
    candidates.sort((a, b) => this.#cost(a, offset, length) - this.#cost(b, offset, length))
    const running = new Map<number, Promise<Outcome>>()
    const launch = (): void => {
      const index = candidates.shift()
      if (index !== undefined) running.set(index, outcome(index, this.#ask({ index, offset, length })))
    }
    let cause: FsError | undefined
    while (present.length < data) {
      while (present.length + running.size < data && candidates.length > 0) launch()
      if (present.length + running.size < data)
        throw new PartsUnreadable(
          `of chunk ${chunkName(chunk)} only ${present.length} parts could be read and ${data} are needed`,
          // Who holds a part that has no place now may only be away, and be back.
          this.#refusals && parts.every((part) => part.places.length > 0),
          cause,
        )
      const patienceMs = Math.max(...[...running.keys()].map((index) => this.#reader.patienceMs(ec, index)))
      const any = Promise.race(running.values())
      const hedges = candidates[0] !== undefined && !this.#avoided(candidates[0], offset)
      let settled = await this.#until(any, hedges ? patienceMs : undefined)
      if (settled === undefined && this.#reader.mayHedge()) {
        launch()
        continue
      }
      settled ??= await any
      running.delete(settled.index)
      if ('bytes' in settled) present.push({ index: settled.index, block: settled.bytes })
      else cause = settled.error
    }
    const into = Buffer.allocUnsafeSlow(length)
    erasure(data, parity).recover(present.slice(0, data), [lost], [into], length)
    return into
  }

  /** What is asked already costs nothing, then the best rank, this machine's disks, those that failed lately last. */
  #cost(index: number, offset: number, length: number): number {
    const { places } = this.#parted.ec.parts[index]!
    if (this.#covering(index, offset, offset + length) !== undefined) return 0
    if (this.#shunned(index)) return Number.POSITIVE_INFINITY
    return 1 + Math.min(...places.map((place) => costOf(place, this.#reader.ownHost)))
  }

  #covering(index: number, offset: number, end: number): Asked | undefined {
    const to = Math.min(end, this.#parted.ec.parts[index]!.length)
    return this.#asked.get(index)?.find((asked) => asked.offset <= offset && asked.end >= to)
  }

  /** The range of the part as far as the part reaches; what was asked before is shared. */
  #ask({ index, offset, length }: Piece): Promise<Buffer> {
    const part = this.#parted.ec.parts[index]!
    const end = Math.min(offset + length, part.length)
    let asked = this.#covering(index, offset, end)
    if (asked === undefined) {
      const from = Math.min(offset, this.#span?.from ?? offset)
      const to = Math.min(Math.max(end, this.#span?.to ?? end), part.length)
      asked = { offset: from, end: to, bytes: this.#fromPlaces(index, from, to - from) }
      // Who waits for it may have got its bytes otherwise by then.
      asked.bytes.catch(() => {})
      const before = this.#asked.get(index)
      if (before === undefined) this.#asked.set(index, [asked])
      else before.push(asked)
    }
    const { offset: from, bytes } = asked
    return from === offset && asked.end === end ? bytes : bytes.then((wide) => wide.subarray(offset - from, end - from))
  }

  async #fromPlaces(index: number, offset: number, length: number): Promise<Buffer> {
    const { chunk } = this.#parted.ec.parts[index]!
    const { shunned, world } = this.#reader
    let last: FsError | undefined
    for (const place of this.#places(index)) {
      try {
        return await this.#reader.ask(place, chunk, offset, length)
      } catch (error) {
        const code = errnoOf(error)
        if (code === undefined) throw error
        last = error instanceof FsError ? error : new FsError(code, String(error), { cause: error })
        if (!refuses(last)) this.#refusals = false
        shunned.add(place.disk, aboutChunk(last) ? chunk : undefined)
        world.log.warn(
          { chunk: this.#parted.chunk, part: index, disk: place.disk, error: String(error) },
          'a part could not be read; its bytes are decoded from the other parts',
        )
      }
    }
    this.#failed.add(index)
    throw last ?? new FsError('ENOENT', `part ${index} of chunk ${chunkName(this.#parted.chunk)} is nowhere`)
  }

  /** undefined: it took longer. Without a time it is waited for. */
  #until<T>(work: Promise<T>, ms: number | undefined): Promise<T | undefined> {
    if (ms === undefined) return work
    let forget = (): void => {}
    const overdue = new Promise<undefined>((resolve) => {
      forget = this.#reader.world.clock.timer(ms, () => resolve(undefined))
    })
    return Promise.race([work, overdue]).finally(() => forget())
  }
}

/** The better rank, then this machine's disks. */
const costOf = ({ host, rank = 0 }: Place, ownHost: string): number => 2 * rank + (host === ownHost ? 0 : 1)

async function outcome(index: number, bytes: Promise<Buffer>): Promise<Outcome> {
  try {
    return { index, bytes: await bytes }
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    return { index, error }
  }
}
