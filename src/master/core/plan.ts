/*
 * What is to be done for many chunks, with which disks: the needs that repair.ts finds, most urgent first, matched with
 * disks that have room, are idle, and fill the slots of the chunk's class. Pure: the same snapshot and the same chance give
 * the same plan, and a chunk that is being worked on is not planned again. It knows nothing of orders, connections or time.
 *
 * A copy that is missing may go where its class would rather not have it (mode std when what it asks for is full, loose);
 * one that is only misplaced moves for a better place or not at all, so that a plan once carried out leaves nothing to plan.
 */

import type { ChunkId, DiskId } from '../../base/ids.ts'
import type { Assignment, Option } from '../../topology/assign.ts'
import { distance, type Location } from '../../topology/place.ts'
import { type Choice, Choices } from './choices.ts'
import { evenly, FREE, type Load, type Paid } from './lanes.ts'
import {
  type DiskMap,
  type Drop,
  type DropReason,
  judge,
  type Need,
  type RepairChunk,
  type RepairDisk,
  type RepairRules,
  type Survivor,
  URGENCIES,
  type Urgency,
} from './repair.ts'

interface OrderBase {
  readonly urgency: Urgency
  /** The whole chunk that is worked on: one order for it at a time. */
  readonly whole: ChunkId
  /** By the bounds of what it uses; undefined: there are none, or it moves nothing. */
  readonly paid?: Paid
}

/** Whether the bounds of its disks and links let an order begin now. Asked once, for what begins. */
export type Admit = (load: Load) => Paid | undefined

export type Order = OrderBase &
  (
    | {
        readonly kind: 'copy'
        /** The whole or one of its parts. */
        readonly chunk: ChunkId
        readonly length: number
        readonly target: DiskId
        /** The best first; the rest in case it fails. */
        readonly sources: readonly DiskId[]
      }
    | { readonly kind: 'rebuild'; readonly index: number; readonly target: DiskId; readonly sources: readonly DiskId[] }
    | { readonly kind: 'join'; readonly target: DiskId; readonly sources: readonly DiskId[] }
    | {
        readonly kind: 'encode'
        readonly data: number
        readonly parity: number
        /** Where each part goes, data first. */
        readonly targets: readonly DiskId[]
        readonly sources: readonly DiskId[]
      }
    | { readonly kind: 'uncode'; readonly survivors: readonly Survivor[] }
    | {
        readonly kind: 'drop'
        readonly chunk: ChunkId
        readonly disk: DiskId
        readonly reason: DropReason
        readonly survivors: readonly Survivor[]
      }
  )

export interface Plan {
  readonly orders: readonly Order[]
  /** Chunks that need something, but every disk it could be done with is busy: ask again when an order has ended. */
  readonly waiting: readonly ChunkId[]
  /** Chunks that want a copy or a part for which there is no disk at all now. */
  readonly nowhere: readonly ChunkId[]
  /** Chunks that need nothing, or nothing that any disk there is could better. */
  readonly settled: readonly ChunkId[]
}

/**
 * Orders for these chunks, most urgent first, no more than `room` of them (and `urgentRoom`, for what is endangered) and never
 * more per disk than the rules say. `room` may be below zero while what is endangered has taken more.
 */
export function plan(
  chunks: readonly RepairChunk[],
  disks: DiskMap,
  rules: RepairRules,
  room: number,
  below: (n: number) => number,
  urgentRoom = 0,
  admit: Admit = () => FREE,
): Plan {
  const planner = new Planner(disks, rules, below, admit)
  const due = chunks
    .map((chunk) => ({ chunk, need: judge(chunk, disks, rules).need }))
    .sort((a, b) => urgencyOf(a.need) - urgencyOf(b.need))
  const orders: Order[] = []
  const waiting: ChunkId[] = []
  const nowhere: ChunkId[] = []
  const settled: ChunkId[] = []
  for (const { chunk, need } of due) {
    const places = isEndangered(need) ? room + urgentRoom : room
    const found = orders.length >= places && need.kind !== 'none' ? 'waiting' : planner.order(chunk, need)
    if (found === 'waiting') waiting.push(chunk.chunk)
    else if (found === 'nowhere') nowhere.push(chunk.chunk)
    else if (found === 'nothing') settled.push(chunk.chunk)
    else orders.push(found)
  }
  return { orders, waiting, nowhere, settled }
}

const urgencyOf = (need: Need): number => (need.kind === 'none' ? URGENCIES.length : URGENCIES.indexOf(need.urgency))

const isEndangered = (need: Need): boolean => need.kind !== 'none' && need.urgency === 'endangered'

type Found = Order | 'waiting' | 'nowhere' | 'nothing'
interface PartChoice {
  readonly index: number
  /** Such that all parts can have their places together. */
  readonly planned?: Option<Choice>
  readonly possible?: Option<Choice>
  readonly from: readonly RepairDisk[]
  readonly waits: boolean
}

class Planner {
  readonly #rules: RepairRules
  readonly #choices: Choices
  readonly #admit: Admit
  /** Reads planned here. */
  readonly #reads = new Map<DiskId, number>()

  constructor(disks: DiskMap, rules: RepairRules, below: (n: number) => number, admit: Admit) {
    this.#rules = rules
    this.#choices = new Choices(disks.values(), rules, below)
    this.#admit = admit
  }

  order(chunk: RepairChunk, need: Need): Found {
    const whole = chunk.chunk
    switch (need.kind) {
      case 'none':
        return 'nothing'
      case 'drop':
        return dropOrder(whole, need)
      case 'uncode':
        return { kind: 'uncode', urgency: need.urgency, whole, survivors: need.survivors }
      case 'copy':
        return this.#copy(chunk, need)
      case 'encode':
        return this.#encode(chunk, need)
      case 'rebuild':
      case 'move':
        return this.#parts(chunk, need)
      case 'join':
        return this.#join(chunk, need)
    }
  }

  #copy(chunk: RepairChunk, need: Need & { kind: 'copy' }): Found {
    const { of, urgency, held } = need
    const source = this.#idle(need.sources, urgency)
    if (source === undefined) return 'waiting'
    const wish = { slots: need.slots, unique: chunk.wish.unique, mode: chunk.wish.mode }
    const asked = { bytes: of.length, endangered: urgency === 'endangered', near: source.location, avoid: of.disks }
    const { slots } = this.#choices.match(wish, held, asked)
    // First what is missing; where that finds no disk, what stands where it should not may still be bettered.
    const missing = slots.find((slot) => slot.held === undefined && slot.planned !== undefined)
    const awaited = missing === undefined && slots.some((slot) => slot.shortOf === 'ready')
    const chosen = missing ?? (awaited ? undefined : slots.find((slot) => slot.planned !== undefined))
    if (chosen?.planned === undefined) {
      return awaited ? 'waiting' : this.#orElse(chunk, need)
    }
    return this.#copyTo(chunk.chunk, urgency, of, chosen.planned.candidate, need.sources)
  }

  #copyTo(
    whole: ChunkId,
    urgency: Urgency,
    { chunk, length }: { chunk: ChunkId; length: number },
    target: RepairDisk,
    from: readonly RepairDisk[],
  ): Found {
    const sources = this.#nearest(from, target.location)
    if (urgency !== 'endangered' && isDetour(sources, target.location)) return 'waiting'
    const reads = sources.slice(0, 1)
    return this.#take(
      { kind: 'copy', urgency, whole, chunk, length, target: target.disk, sources: sources.map((d) => d.disk) },
      { reads: evenly(reads, length), writes: evenly([target], length), via: target, pacedBytes: length },
    )
  }

  /** The first of the parts that a disk can be found for: one that suits all of them together, or at least this one. */
  #parts(chunk: RepairChunk, need: Need & { kind: 'rebuild' | 'move' }): Found {
    const { indexes, urgency } = need
    const found: PartChoice[] = []
    for (const index of indexes) {
      found.push(this.#part(chunk, need, index))
      if (found.at(-1)!.planned !== undefined) break
    }
    const together = found.findIndex((one) => one.planned !== undefined)
    const alone =
      together >= 0 || urgency === 'misplaced' ? together : found.findIndex((one) => one.possible !== undefined)
    if (alone < 0) return found.some((one) => one.waits) ? 'waiting' : this.#orElse(chunk, need)
    const { planned, possible, from } = found[alone]!
    const index = found[alone]!.index
    const target = (planned ?? possible!).candidate
    if (need.kind === 'move') return this.#copyTo(chunk.chunk, urgency, chunk.ec!.parts[index]!, target, from)
    const sources = this.#nearest(from, target.location)
    const { data } = chunk.ec!
    const { length } = chunk.ec!.parts[index]!
    return this.#take(
      {
        kind: 'rebuild',
        urgency,
        whole: chunk.chunk,
        index,
        target: target.disk,
        sources: sources.map((d) => d.disk),
      },
      {
        reads: evenly(sources.slice(0, data), length),
        writes: evenly([target], length),
        via: target,
        pacedBytes: data * length,
      },
    )
  }

  #part(
    chunk: RepairChunk,
    { kind, urgency, code, held, sources }: Need & { kind: 'rebuild' | 'move' },
    index: number,
  ): PartChoice {
    const part = chunk.ec!.parts[index]!
    const from = kind === 'move' ? sources[index]! : sources
    const source = this.#idle(from, urgency)
    if (source === undefined) return { index, from, waits: true }
    const endangered = urgency === 'endangered'
    const asked = { bytes: part.length, endangered, near: source.location, avoid: part.disks }
    const { slots, options } = this.#choices.match(code, held, asked)
    const { planned, shortOf } = slots[index]!
    const [possible] = options(index)
    // Seen from each part, another one might be the one to move: then that one is moved.
    const other = slots.findIndex(
      ({ planned: plan }, at) => plan?.fit === 'right' && !chunk.ec!.parts[at]!.disks.includes(plan.candidate.disk),
    )
    if (kind === 'move' && urgency === 'misplaced' && planned === undefined && other >= 0)
      return { index: other, planned: slots[other]!.planned!, from: sources[other]!, waits: false }
    const useful = planned !== undefined && (urgency !== 'misplaced' || planned.fit === 'right')
    return {
      index,
      ...(useful ? { planned } : {}),
      ...(possible === undefined ? {} : { possible }),
      from,
      waits: shortOf === 'ready',
    }
  }

  /** What is left to do where no disk can take what is needed first. */
  #orElse(chunk: RepairChunk, need: Extract<Need, { otherwise: Need }>): Found {
    const found = this.order(chunk, need.otherwise)
    return found === 'nothing' && need.urgency !== 'misplaced' ? 'nowhere' : found
  }

  #encode(chunk: RepairChunk, need: Need & { kind: 'encode' }): Found {
    const { data, parity, ...wish } = chunk.wish.code!
    const source = this.#idle(need.sources)
    if (source === undefined) return 'waiting'
    const bytes = Math.ceil(chunk.length / data)
    const found = this.#choices.match<RepairDisk>(wish, [], {
      bytes,
      endangered: false,
      near: source.location,
      avoid: [],
    })
    const targets = chosenOf(found)
    if (targets === undefined)
      return found.slots.some((slot) => slot.shortOf === 'ready') ? 'waiting' : this.order(chunk, need.otherwise)
    const sources = this.#nearest(need.sources, source.location)
    const { length } = chunk
    return this.#take(
      {
        kind: 'encode',
        urgency: need.urgency,
        whole: chunk.chunk,
        data,
        parity,
        targets: targets.map((d) => d.disk),
        sources: sources.map((d) => d.disk),
      },
      {
        reads: evenly(sources.slice(0, 1), length),
        writes: evenly(targets, Math.ceil(length / data)),
        via: sources[0]!,
        pacedBytes: length,
      },
    )
  }

  #join(chunk: RepairChunk, need: Need & { kind: 'join' }): Found {
    const source = this.#idle(need.sources)
    if (source === undefined) return 'waiting'
    const asked = { bytes: chunk.length, endangered: false, near: source.location, avoid: chunk.disks }
    const { slots } = this.#choices.match(chunk.wish, need.held, asked)
    const target = slots.find((slot) => slot.held === undefined && slot.planned !== undefined)?.planned?.candidate
    if (target === undefined) return slots.some((slot) => slot.shortOf === 'ready') ? 'waiting' : 'nowhere'
    const sources = this.#nearest(need.sources, target.location)
    const { data } = chunk.ec!
    const { length } = chunk
    return this.#take(
      {
        kind: 'join',
        urgency: need.urgency,
        whole: chunk.chunk,
        target: target.disk,
        sources: sources.map((d) => d.disk),
      },
      {
        reads: evenly(sources.slice(0, data), Math.ceil(length / data)),
        writes: evenly([target], length),
        via: target,
        pacedBytes: length,
      },
    )
  }

  /** One that may read, the least busy first. */
  #idle(sources: readonly RepairDisk[], urgency?: Urgency): RepairDisk | undefined {
    const most = this.#rules.readsPerDisk + (urgency === 'endangered' ? (this.#rules.urgentPerDisk ?? 0) : 0)
    const free = sources.filter((d) => this.#readsOf(d) < most)
    return [...free].sort((a, b) => this.#readsOf(a) - this.#readsOf(b) || a.disk - b.disk)[0]
  }

  /** What is at the same site comes before what is idle: across sites a chunk travels once, and is copied on from there. */
  #nearest(sources: readonly RepairDisk[], at: Location): RepairDisk[] {
    const isBusy = (d: RepairDisk): boolean => this.#readsOf(d) >= this.#rules.readsPerDisk
    return [...sources].sort(
      (a, b) =>
        Number(isBusy(a)) - Number(isBusy(b)) ||
        Number(isFar(a.location, at)) - Number(isFar(b.location, at)) ||
        this.#readsOf(a) - this.#readsOf(b) ||
        distance(a.location, at) - distance(b.location, at) ||
        a.disk - b.disk,
    )
  }

  #readsOf(d: RepairDisk): number {
    return d.reads + (this.#reads.get(d.disk) ?? 0)
  }

  /** The order, if the bounds of what it uses let it begin. */
  #take(order: Order, load: Omit<Load, 'urgent'>): Found {
    const paid = this.#admit({ ...load, urgent: order.urgency === 'endangered' })
    if (paid === undefined) return 'waiting'
    const { reads, writes } = load
    for (const { disk } of reads) this.#reads.set(disk.disk, (this.#reads.get(disk.disk) ?? 0) + 1)
    for (const { disk } of writes) this.#choices.taken(disk)
    return paid.costs.length + paid.crossings.length === 0 ? order : { ...order, paid }
  }
}

/** The one that it would be read from is at another site although there is one at this site, which is busy. */
const isDetour = ([first, ...others]: readonly RepairDisk[], at: Location): boolean =>
  first !== undefined && isFar(first.location, at) && others.some((d) => !isFar(d.location, at))

const isFar = (a: Location, b: Location): boolean => distance(a, b) === 3

/** A disk for every slot, or nothing. */
function chosenOf({ slots }: Assignment<RepairDisk, Choice>): RepairDisk[] | undefined {
  const chosen = slots.map((slot) => slot.planned?.candidate)
  return chosen.some((d) => d === undefined) ? undefined : (chosen as RepairDisk[])
}

const dropOrder = (whole: ChunkId, { urgency, chunk, disk, reason, survivors }: Drop): Order => ({
  kind: 'drop',
  urgency,
  whole,
  chunk,
  disk,
  reason,
  survivors,
})
