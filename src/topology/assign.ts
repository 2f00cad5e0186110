/*
 * Which disks fill which slots: the copies (or parts) that a chunk has, those it wants, and the disks that could take what
 * is missing, matched against one another. Pure; who asks gives candidates in the order of liking (nearest first), and
 * carries out what comes back.
 *
 * What holds for every answer: a copy fills a slot rightly only if its disk has the slot's labels, no other such copy is on
 * its chunkserver, and none shares what `unique` names. As many slots as possible are filled rightly; where held copies
 * and candidates do that equally well, by held copies (earlier ones first), so that nothing is moved without gain. A held copy
 * that fits nowhere still stands in for a slot that has none, so that nothing calls it surplus before something better
 * exists. What is not known of a place tells nothing apart: two chunkservers of unknown rack count as one rack.
 *
 * Where all disks of a chunkserver agree in what makes them unique (always so for IP, rack, site, and without `unique`)
 * this is matching in a graph of two sides, solved exactly by augmenting paths: at most slots² · groups steps. Where they
 * do not (labels of single disks), three sides meet, which nobody solves fast: the answer is the best of SEARCH_STEPS
 * steps of a search that begins with the obvious one.
 */

import { assert } from '../base/fault.ts'
import type { DiskId, NodeId } from '../base/ids.ts'
import { type LabelExpr, type LabelMode, matches, type Unique } from './labels.ts'
import type { Location } from './place.ts'

export interface LabelledDisk {
  readonly disk: DiskId
  readonly node: NodeId
  readonly location: Location
  readonly labels: ReadonlySet<string>
}

export interface HeldCopy extends LabelledDisk {
  /** Which part of an erasure-coded chunk this is: it fills that slot or none. */
  readonly slot?: number | undefined
}

/** ready: may be given data now. busy, away: may be later. full: has no room. */
export type CandidateState = 'ready' | 'busy' | 'full' | 'away'

export interface Candidate extends LabelledDisk {
  readonly state: CandidateState
}

export interface AssignWish {
  readonly slots: readonly LabelExpr[]
  readonly unique: Unique | undefined
  readonly mode: LabelMode
}

/**
 * How well a disk fills a slot, best first: rightly; without its labels; beside another that shares what is to be unique;
 * both; on the chunkserver of another part (only erasure-coded parts, each of which is worth keeping).
 */
export type Fit = 'right' | 'label' | 'unique' | 'both' | 'node'
const STAND_INS: readonly Fit[] = ['label', 'unique', 'both', 'node']

export interface Option<C extends Candidate> {
  readonly candidate: C
  readonly fit: Fit
}

export interface SlotFill<H extends HeldCopy, C extends Candidate> {
  readonly held: H | undefined
  /** Of `held`. */
  readonly fit: Fit | undefined
  /** Where a copy should be made, such that all planned ones can be made together. */
  readonly planned: Option<C> | undefined
  /** Why nothing is planned though `held` is not right: disks that fit are busy or away, full, or there are none. */
  readonly shortOf: 'nothing' | 'ready' | 'space' | 'disks'
}

export interface Assignment<H extends HeldCopy, C extends Candidate> {
  readonly slots: readonly SlotFill<H, C>[]
  /** Held copies that no slot has a use for. To be dropped only once every slot is filled. */
  readonly surplus: readonly H[]
  /** The disks that may fill this slot as things are, best fit first, then in the order of liking. */
  options(slot: number): Option<C>[]
}

/** Bits of a number. */
export const SLOTS_MAX = 20
/** Disks looked at: a few milliseconds. With few unlike disks in a chunkserver the best answer is found long before. */
export const SEARCH_STEPS = 30_000

interface Item<H, C> {
  readonly node: NodeId
  readonly key: string
  /** Bit i: it fills slot i rightly, as far as it alone goes. */
  readonly mask: number
  readonly held: H | undefined
  readonly candidate: C | undefined
}

export function assign<H extends HeldCopy, C extends Candidate>(
  wish: AssignWish,
  held: readonly H[],
  candidates: readonly C[],
): Assignment<H, C> {
  const { slots, unique, mode } = wish
  assert(slots.length <= SLOTS_MAX, 'a placing has no more slots than this can match')
  const all = 2 ** slots.length - 1
  const maskOf = maskBy(slots)
  const keyOf = keyBy(unique)
  const heldItems = held.map((one): Item<H, C> => {
    const only = one.slot === undefined ? all : 2 ** one.slot
    return { node: one.node, key: keyOf(one), mask: maskOf(one.labels) & only, held: one, candidate: undefined }
  })
  let filled = fill(heldItems, slots.length)
  const complete = filled.every((item) => item !== undefined)

  const heldDisks = new Set(held.map((one) => one.disk))
  /** Chunkservers with a part: the slot of that part, or of several parts none. */
  const partsOf = new Map<NodeId, number>()
  for (const one of held)
    if (one.slot !== undefined) {
      const bit = 2 ** one.slot
      partsOf.set(one.node, (partsOf.get(one.node) ?? bit) === bit ? bit : 0)
    }
  const free: Item<H, C>[] = []
  if (!complete)
    for (const candidate of candidates) {
      if (heldDisks.has(candidate.disk)) continue
      // A part's chunkserver takes no other part, only this one on a better disk.
      const mask = maskOf(candidate.labels) & (partsOf.get(candidate.node) ?? all)
      free.push({ node: candidate.node, key: keyOf(candidate), mask, held: undefined, candidate })
    }
  if (!complete) {
    const ready = free.filter((item) => item.mask !== 0 && item.candidate!.state === 'ready')
    const more = fill([...heldItems, ...ready], slots.length)
    // Moved is only for gain: else what is carried out would be planned again, the other way round.
    if (countOf(more) > countOf(filled)) filled = more
  }

  const holders = filled.map((item) => (item?.held === undefined ? undefined : item))
  const right = new Set(holders.filter((item) => item !== undefined))
  const left = new Set(heldItems.filter((item) => !right.has(item)))
  const planned = filled.map((item): Option<C> | undefined =>
    item?.candidate === undefined ? undefined : { candidate: item.candidate, fit: 'right' },
  )
  if (!complete) standIn(holders, planned, left)
  const fits = holders.map((holder, slot): Fit | undefined => {
    if (holder === undefined) return undefined
    if (right.has(holder)) return 'right'
    const fit = fitAmong(holder, slot, holders)
    if (fit !== 'right' || planned[slot] === undefined) return fit
    // It would be right, but for what is to come elsewhere; or what was to replace it is not needed.
    const inTheWay = planned.some((plan, at) => {
      return (
        at !== slot &&
        plan !== undefined &&
        (plan.candidate.node === holder.node || keyOf(plan.candidate) === holder.key)
      )
    })
    if (inTheWay) return 'unique'
    planned[slot] = undefined
    right.add(holder)
    return 'right'
  })

  const nodesHeld = new Set(held.map((one) => one.node))
  const short: SlotFill<H, C>['shortOf'][] = slots.map(() => 'nothing')
  for (let slot = 0; slot < slots.length; slot++) {
    const holder = holders[slot]
    if (planned[slot] !== undefined || (holder !== undefined && right.has(holder))) continue
    const taken = takenBy(slot)
    const waits = waitingFor(slot, taken)
    if (holder === undefined && maySitElsewhere(mode, waits)) planned[slot] = elsewhere(slot, taken, 1)[0]
    if (planned[slot] === undefined) short[slot] = waits === 'none' ? 'disks' : waits
  }

  /** Chunkservers and keys that a right copy in `slot` must keep away from: those of right holders and of what is planned. */
  function takenBy(slot: number, withPlanned = true): { nodes: Set<NodeId>; keys: Set<string> } {
    const nodes = new Set<NodeId>()
    const keys = new Set<string>()
    for (const [other, holder] of holders.entries()) {
      if (other === slot) continue
      const plan = withPlanned ? planned[other]?.candidate : undefined
      if (plan !== undefined) {
        nodes.add(plan.node)
        keys.add(keyOf(plan))
      }
      if (holder === undefined) continue
      nodes.add(holder.node)
      if (right.has(holder)) keys.add(holder.key)
    }
    return { nodes, keys }
  }

  type Taken = ReturnType<typeof takenBy>

  /** What keeps the disks that would fit from being used. */
  function waitingFor(slot: number, taken: Taken): 'ready' | 'space' | 'none' {
    let found: 'space' | 'none' = 'none'
    for (const item of free) {
      if ((item.mask & (2 ** slot)) === 0 || taken.nodes.has(item.node) || taken.keys.has(item.key)) continue
      if (item.candidate!.state === 'busy' || item.candidate!.state === 'away') return 'ready'
      if (item.candidate!.state === 'full') found = 'space'
    }
    return found
  }

  /** Ready disks on chunkservers that hold nothing of the chunk, whatever their labels and keys; at most `max` of each fit. */
  function elsewhere(slot: number, taken: Taken, max = Number.MAX_SAFE_INTEGER): Option<C>[] {
    const byFit = { label: [] as Option<C>[], unique: [] as Option<C>[], both: [] as Option<C>[] }
    for (const item of free) {
      if (byFit.label.length === max) break
      if (item.candidate!.state !== 'ready' || taken.nodes.has(item.node) || nodesHeld.has(item.node)) continue
      const fit = fitOf((item.mask & (2 ** slot)) !== 0, taken.keys.has(item.key))
      if (fit !== 'right' && byFit[fit].length < max) byFit[fit].push({ candidate: item.candidate!, fit })
    }
    return [...byFit.label, ...byFit.unique, ...byFit.both]
  }

  function options(slot: number): Option<C>[] {
    const holder = holders[slot]
    if (holder !== undefined && right.has(holder)) return []
    const taken = takenBy(slot, false)
    const found: Option<C>[] = []
    for (const item of free) {
      if (item.candidate!.state !== 'ready' || (item.mask & (2 ** slot)) === 0) continue
      if (!taken.nodes.has(item.node) && !taken.keys.has(item.key))
        found.push({ candidate: item.candidate!, fit: 'right' })
    }
    if (holder !== undefined || (found.length > 0 && mode !== 'loose')) return found
    return maySitElsewhere(mode, waitingFor(slot, taken)) ? [...found, ...elsewhere(slot, taken)] : found
  }

  return {
    slots: slots.map((_, slot): SlotFill<H, C> => {
      return { held: holders[slot]?.held, fit: fits[slot], planned: planned[slot], shortOf: short[slot]! }
    }),
    surplus: [...left].map((item) => item.held!),
    options,
  }
}

/** Full disks send copies elsewhere unless the class is strict; busy and absent ones are waited for unless it is loose. */
function maySitElsewhere(mode: LabelMode, waits: 'ready' | 'space' | 'none'): boolean {
  return mode === 'loose' || (mode === 'std' && waits !== 'ready')
}

const fitOf = (label: boolean, keyTaken: boolean): Exclude<Fit, 'node'> =>
  label ? (keyTaken ? 'unique' : 'right') : keyTaken ? 'both' : 'label'

function fitAmong<H, C>(item: Item<H, C>, slot: number, holders: readonly (Item<H, C> | undefined)[]): Fit {
  const others = holders.filter((other, at) => at !== slot && other !== undefined && other !== item)
  if (others.some((other) => other!.node === item.node)) return 'node'
  return fitOf(
    (item.mask & (2 ** slot)) !== 0,
    others.some((other) => other!.key === item.key),
  )
}

/** Gives slots without a holder one of the `left` copies, which it takes out. */
function standIn<H extends HeldCopy, C extends Candidate>(
  holders: (Item<H, C> | undefined)[],
  planned: readonly (Option<C> | undefined)[],
  left: Set<Item<H, C>>,
): void {
  const put = (slot: number, item: Item<H, C>): void => {
    holders[slot] = item
    left.delete(item)
  }
  const mayHold = (slot: number, item: Item<H, C>): boolean =>
    holders[slot] === undefined && (item.held!.slot === undefined || item.held!.slot === slot)
  // What is to move to another disk of its chunkserver stands in for what it becomes: nothing else of the chunk is there.
  for (const [slot, plan] of planned.entries())
    for (const item of left) if (plan?.candidate.node === item.node && mayHold(slot, item)) put(slot, item)
  for (const wanted of STAND_INS)
    for (const slot of holders.keys())
      for (const item of left) {
        if (!mayHold(slot, item) || fitAmong(item, slot, holders) !== wanted) continue
        if (wanted === 'node' && item.held!.slot === undefined) continue
        put(slot, item)
      }
}

const countOf = (filled: readonly unknown[]): number => filled.filter((item) => item !== undefined).length

/** Slot → what fills it rightly. Held items come before candidates in the list, and within each the liked ones. */
function fill<H, C>(items: readonly Item<H, C>[], slots: number): (Item<H, C> | undefined)[] {
  const keyOfNode = new Map<NodeId, string>()
  for (const { node, key } of items) {
    const known = keyOfNode.get(node)
    if (known === undefined) keyOfNode.set(node, key)
    else if (known !== key) return search(items, slots)
  }
  return augment(items, slots)
}

interface Group<H, C> {
  readonly held: Item<H, C>[]
  readonly free: Item<H, C>[]
  /** Of the items that may be used: the held ones; the candidates where none of those is of use, or as long as slots are left. */
  mask: number
}

/** A chunkserver belongs to one key, so that a key is all that has to be used once only. Kuhn's augmenting paths. */
function augment<H, C>(items: readonly Item<H, C>[], slots: number): (Item<H, C> | undefined)[] {
  const groups = new Map<string, Group<H, C>>()
  for (const item of items) {
    let group = groups.get(item.key)
    if (group === undefined) groups.set(item.key, (group = { held: [], free: [], mask: 0 }))
    ;(item.held === undefined ? group.free : group.held).push(item)
  }
  const inSlot: (Group<H, C> | undefined)[] = Array(slots).fill(undefined)
  let seen = 0
  const find = (group: Group<H, C>): boolean => {
    for (let slot = 0; slot < slots; slot++) {
      if ((group.mask & (2 ** slot)) === 0 || inSlot[slot] !== undefined) continue
      inSlot[slot] = group
      return true
    }
    for (let slot = 0; slot < slots; slot++) {
      const bit = 2 ** slot
      if ((group.mask & bit) === 0 || (seen & bit) !== 0) continue
      seen |= bit
      if (!find(inSlot[slot]!)) continue
      inSlot[slot] = group
      return true
    }
    return false
  }
  const seat = (group: Group<H, C>, from: readonly Item<H, C>[]): void => {
    group.mask = maskOfAll(from)
    seen = 0
    if (group.mask !== 0) find(group)
  }
  for (const group of groups.values()) if (group.held.length > 0) seat(group, group.held)
  const byHeld = new Set(inSlot)
  const complete = (): boolean => inSlot.every((sitting) => sitting !== undefined)
  for (const group of groups.values()) {
    if (complete()) break
    if (!byHeld.has(group) && group.free.length > 0) seat(group, group.free)
  }
  // Those who have a seat may take another by a candidate, so that one more finds a seat.
  if (!complete() && [...byHeld].some((group) => group !== undefined && group.free.length > 0)) {
    for (const group of byHeld) if (group !== undefined) group.mask = maskOfAll([...group.held, ...group.free])
    for (const group of groups.values()) {
      if (complete()) break
      if (!inSlot.includes(group)) seat(group, [...group.held, ...group.free])
    }
  }
  return inSlot.map((group, slot) =>
    group === undefined ? undefined : [...group.held, ...group.free].find((item) => (item.mask & (2 ** slot)) !== 0),
  )
}

const maskOfAll = (items: readonly Item<unknown, unknown>[]): number => items.reduce((mask, { mask: m }) => mask | m, 0)

/** Slots with the fewest items first; the most that SEARCH_STEPS steps fill, and of those the ones with most held items. */
function search<H, C>(items: readonly Item<H, C>[], slots: number): (Item<H, C> | undefined)[] {
  // Of items that are alike in all that counts, the first will do.
  const alike = new Map<string, Item<H, C>>()
  for (const item of items) {
    const kind = `${item.held === undefined ? 0 : 1}/${item.mask}/${item.node}/${item.key}`
    if (item.mask !== 0 && !alike.has(kind)) alike.set(kind, item)
  }
  const options = Array.from({ length: slots }, (_, slot) =>
    [...alike.values()].filter((item) => (item.mask & (2 ** slot)) !== 0),
  )
  const order = options.map((_, slot) => slot).sort((a, b) => options[a]!.length - options[b]!.length || a - b)
  const FILLED = SLOTS_MAX + 1
  const now: (Item<H, C> | undefined)[] = Array(slots).fill(undefined)
  const nodes = new Set<NodeId>()
  const keys = new Set<string>()
  let best = [...now]
  let bestScore = -1
  let steps = SEARCH_STEPS
  const descend = (depth: number, score: number): void => {
    if (score > bestScore) {
      bestScore = score
      best = [...now]
    }
    if (depth === slots || steps <= 0 || score + (slots - depth) * (FILLED + 1) <= bestScore) return
    const slot = order[depth]!
    for (const item of options[slot]!) {
      if (--steps < 0) return
      if (nodes.has(item.node) || keys.has(item.key)) continue
      nodes.add(item.node)
      keys.add(item.key)
      now[slot] = item
      descend(depth + 1, score + FILLED + (item.held === undefined ? 0 : 1))
      now[slot] = undefined
      nodes.delete(item.node)
      keys.delete(item.key)
    }
    steps--
    descend(depth + 1, score)
  }
  descend(0, 0)
  return best
}

/** Labels → the slots they fill. Disks share few sets of labels, and slots few expressions. */
function maskBy(slots: readonly LabelExpr[]): (labels: ReadonlySet<string>) => number {
  const known = new Map<ReadonlySet<string>, number>()
  const distinct = new Map<LabelExpr, number>()
  for (const [slot, expr] of slots.entries()) distinct.set(expr, (distinct.get(expr) ?? 0) | (2 ** slot))
  return (labels) => {
    let mask = known.get(labels)
    if (mask === undefined) {
      mask = 0
      for (const [expr, bits] of distinct) if (matches(expr, labels)) mask |= bits
      known.set(labels, mask)
    }
    return mask
  }
}

/** What two copies must not share, as text. The chunkserver where nothing else is asked for. */
export function keyBy(unique: Unique | undefined): (disk: LabelledDisk) => string {
  switch (unique?.by) {
    case undefined:
      return ({ node }) => String(node)
    case 'ip':
      return ({ location }) => location.host
    case 'rack':
      return ({ location }) => `${location.site ?? ''}/${location.rack ?? ''}`
    case 'site':
      return ({ location }) => location.site ?? ''
    case 'labels': {
      const { labels: listed } = unique
      return ({ labels }) => listed.filter((label) => labels.has(label)).join(' ')
    }
  }
}
