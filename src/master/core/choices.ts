/*
 * The disks that a plan may write to, in the order in which a chunk would like them: by room, distance, and chance. Pure.
 *
 * A plan asks for hundreds of chunks over thousands of disks, so what is the same for all of them is worked out once: which
 * disks there are, and chance. Each disk has a clock that rings at the rate of its weight (its room, less what is being
 * written to it), and who rings first is liked best; a disk that was chosen is wound up for its next ring. So disks are
 * chosen as often as they have room, as if each chunk had drawn for itself.
 */

import type { DiskId } from '../../base/ids.ts'
import {
  type Assignment,
  type AssignWish,
  assign,
  type Candidate,
  type CandidateState,
  type HeldCopy,
} from '../../topology/assign.ts'
import { type LabelExpr, matches } from '../../topology/labels.ts'
import { distance, drawOf, type Location, RANKS, rankOf, takes } from '../../topology/place.ts'
import type { RepairDisk, RepairRules } from './repair.ts'

export interface Asked {
  readonly bytes: number
  /** It may use what disks keep aside. */
  readonly endangered: boolean
  readonly near: Location
  readonly avoid: readonly DiskId[]
}

export type Choice = RepairDisk & Candidate

interface Entry {
  readonly d: RepairDisk
  /** With what is planned. */
  now: RepairDisk
  writes: number
  rings: number
  /** As it was offered last. */
  choice: Choice | undefined
}

/** Of each rank. Enough for one on each of several chunkservers, racks and sites; where it is not, all are asked. */
const FEW = 24

export class Choices {
  /** In the order in which they ring: of one host, rack, site, and all. */
  readonly #lists = new Map<string, Entry[]>()
  readonly #rules: RepairRules
  readonly #below: (n: number) => number
  readonly #useful = new Map<readonly LabelExpr[], Map<ReadonlySet<string>, boolean>>()

  constructor(disks: Iterable<RepairDisk>, rules: RepairRules, below: (n: number) => number) {
    this.#rules = rules
    this.#below = below
    const entries: Entry[] = []
    for (const d of disks)
      if (d.live && !d.draining)
        entries.push({ d, now: d, writes: d.writes, rings: drawOf(d, below), choice: undefined })
    entries.sort(byRing)
    for (const entry of entries)
      for (const key of aroundOf(entry.d.location)) {
        const list = this.#lists.get(key)
        if (list === undefined) this.#lists.set(key, [entry])
        else list.push(entry)
      }
  }

  /** The held copies and the disks there are, matched with what is wished for. */
  match<H extends HeldCopy>(wish: AssignWish, held: readonly H[], asked: Asked): Assignment<H, Choice> {
    // Nearly always the first few will do, and those behind them would not have been taken.
    const { choices, more } = this.#liked(asked, wish.slots, FEW)
    const few = assign<H, Choice>(wish, held, choices)
    const waits = !more && wish.mode !== 'loose'
    const enough = few.slots.every(
      (slot) => slot.fit === 'right' || slot.planned?.fit === 'right' || (waits && slot.shortOf === 'ready'),
    )
    return enough ? few : assign<H, Choice>(wish, held, this.#liked(asked).choices)
  }

  /** A write is planned. */
  taken(disk: RepairDisk): void {
    const around = aroundOf(disk.location)
    const entry = this.#lists.get(around[0])?.find(({ d }) => d.disk === disk.disk)
    if (entry === undefined) return
    const lists = around.map((key) => this.#lists.get(key)!)
    for (const list of lists) list.splice(list.indexOf(entry), 1)
    entry.writes++
    entry.now = { ...entry.now, writing: entry.now.writing + 1 }
    entry.rings += drawOf(entry.now, this.#below)
    entry.choice = undefined
    for (const list of lists) {
      const later = list.findIndex((other) => byRing(entry, other) < 0)
      list.splice(later < 0 ? list.length : later, 0, entry)
    }
  }

  /**
   * The best first; behind them those that are busy, and will be waited for, or full. With `slots` only disks that have the
   * labels for one, and about `most` of each distance; `more`: there are others that are ready.
   */
  #liked(
    asked: Asked,
    slots?: readonly LabelExpr[],
    most = Number.POSITIVE_INFINITY,
  ): { choices: Choice[]; more: boolean } {
    const wish = roomFor(asked)
    const ranks: Choice[][] = Array.from({ length: RANKS }, () => [])
    const others: Choice[] = []
    let more = false
    for (const [far, key] of aroundOf(asked.near).entries())
      for (const entry of this.#lists.get(key) ?? []) {
        const { d, now } = entry
        if (distance(d.location, asked.near) !== far || asked.avoid.includes(d.disk)) continue
        if (slots !== undefined && !this.#isUseful(slots, d.labels)) continue
        const state = this.#stateOf(entry, wish)
        if (state === 'ready') {
          const rank = rankOf(now, wish)
          ranks[rank]!.push(offered(entry, state))
          if (rank === far && ranks[rank]!.length >= most) {
            more = true
            break
          }
        } else if (others.length < most) others.push(offered(entry, state))
      }
    return { choices: [...ranks.flat(), ...others], more }
  }

  #isUseful(slots: readonly LabelExpr[], labels: ReadonlySet<string>): boolean {
    let known = this.#useful.get(slots)
    if (known === undefined) this.#useful.set(slots, (known = new Map()))
    let useful = known.get(labels)
    if (useful === undefined) known.set(labels, (useful = slots.some((slot) => matches(slot, labels))))
    return useful
  }

  #stateOf({ d, now, writes }: Entry, wish: Room): CandidateState {
    const mayTake = d.usable || (wish.room === 'reserve' && d.full)
    if (!mayTake) return 'full'
    const most = this.#rules.writesPerDisk + (wish.room === 'reserve' ? (this.#rules.urgentPerDisk ?? 0) : 0)
    if (takes(now, wish)) return writes >= most ? 'busy' : 'ready'
    // What it keeps aside is for one at a time.
    return takes({ ...now, writing: 0 }, wish) ? 'busy' : 'full'
  }
}

/** Hosts, racks and sites that have no disks in common, nearest first: what `distance` tells apart. */
const aroundOf = ({ host, rack, site }: Location) =>
  [`host ${host}`, `rack ${site}/${rack}`, `site ${site}`, 'all'] as const

type Room = ReturnType<typeof roomFor>

const roomFor = ({ bytes, endangered, near }: Asked) => ({
  bytes,
  near,
  room: endangered ? ('reserve' as const) : ('all' as const),
})

const byRing = (a: Entry, b: Entry): number => a.rings - b.rings || a.d.disk - b.d.disk

function offered(entry: Entry, state: CandidateState): Choice {
  if (entry.choice?.state !== state) entry.choice = { ...entry.now, state }
  return entry.choice
}
