/*
 * A cluster of values for the proof of the planner: disks, chunks, and what an order would make of them. Every order is
 * checked for what may never happen before it is carried out; where it all ends is compared with what brute force finds.
 */

import { assert } from '../../src/base/fault.ts'
import { type ChunkId, chunkId, type DiskId } from '../../src/base/ids.ts'
import { codeFor } from '../../src/master/core/coding.ts'
import { type Order, plan } from '../../src/master/core/plan.ts'
import {
  type Copies,
  type DiskMap,
  isGone,
  type RepairChunk,
  type RepairDisk,
  type RepairRules,
} from '../../src/master/core/repair.ts'
import type { CodeWish } from '../../src/master/core/wishes.ts'
import { keyBy, type LabelledDisk } from '../../src/topology/assign.ts'
import { type LabelExpr, matches, type Unique } from '../../src/topology/labels.ts'
import { takes } from '../../src/topology/place.ts'

const MINUTE = 60_000
export const rules: RepairRules = { graceMs: 10 * MINUTE, settleMs: 15_000, readsPerDisk: 4, writesPerDisk: 2 }

export function dice(seed: number): (n: number) => number {
  let state = seed >>> 0
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

export interface Cluster {
  disks: Map<DiskId, RepairDisk>
  chunks: Map<ChunkId, RepairChunk>
  nextPart: number
}

export const partOf = (chunk: number, length: number, disks: readonly DiskId[]): Copies => ({
  chunk: chunkId(chunk),
  length,
  disks,
  unsealed: [],
  bad: [],
})

// ---- what a chunk has

export const goodOf = (copies: Copies, disks: DiskMap): RepairDisk[] =>
  copies.disks
    .map((id) => disks.get(id)!)
    .filter((d) => d.live && !copies.unsealed.includes(d.disk) && !copies.bad.includes(d.disk))

const steadyOf = (copies: Copies, disks: DiskMap): RepairDisk[] => goodOf(copies, disks).filter((d) => !d.draining)

/** Not there now, and waited for. */
const awaited = (copies: Copies, disks: DiskMap, patience: 'grace' | 'settle'): RepairDisk[] =>
  copies.disks
    .map((id) => disks.get(id)!)
    .filter(
      (d) =>
        !goodOf(copies, disks).includes(d) &&
        !copies.bad.includes(d.disk) &&
        !d.draining &&
        !isGone(d, rules) &&
        (patience === 'grace' || d.awayMs < rules.settleMs),
    )

export const readable = (chunk: RepairChunk, disks: DiskMap): boolean =>
  goodOf(chunk, disks).length > 0 || (chunk.ec !== undefined && livingParts(chunk, disks) >= chunk.ec.data)

const livingParts = (chunk: RepairChunk, disks: DiskMap): number =>
  chunk.ec?.parts.filter((part) => goodOf(part, disks).length > 0).length ?? 0

// ---- orders

/** Throws where it may not be done. */
export function carryOut(cluster: Cluster, order: Order): void {
  const { disks, chunks } = cluster
  const before = chunks.get(order.whole)!
  const after = changed(cluster, before, order)
  chunks.set(order.whole, after)
  assert(!readable(before, disks) || readable(after, disks), `${order.kind} takes away the last good copy`)
  if (order.kind !== 'drop' && order.kind !== 'uncode') return
  const wanted = after.wish.slots.length
  if (order.kind === 'uncode') {
    const wholes = goodOf(after, disks)
    const whole = wholes.length + awaited(after, disks, 'grace').length >= wanted
    assert(wholes.length > 0, 'parts are given up for copies that are there')
    const asSafe = steadyOf(after, disks).length > before.ec!.parity
    assert(whole || asSafe || livingParts(before, disks) < before.ec!.data, 'parts are given up for all copies')
    return
  }
  const lost = copiesOf(before, order.chunk)
  if (!goodOf(lost, disks).some((d) => d.disk === order.disk)) return
  const left = goodOf(copiesOf(after, order.chunk), disks).filter((d) => !d.draining).length
  if (order.chunk !== order.whole) assert(left >= 1, 'a copy of a part goes when there is another')
  else if (after.ec === undefined) assert(left >= wanted, 'a copy goes when enough others are live')
  else assert(livingParts(after, disks) === after.ec.parts.length, 'copies go when all parts are live')
}

const copiesOf = (chunk: RepairChunk, id: ChunkId): Copies =>
  chunk.chunk === id ? chunk : chunk.ec!.parts.find((part) => part.chunk === id)!

function changed(cluster: Cluster, chunk: RepairChunk, order: Order): RepairChunk {
  const { disks } = cluster
  const mayTake = (id: DiskId): void => {
    const d = disks.get(id)!
    const reserve = order.urgency === 'endangered' && d.full
    assert(d.live && !d.draining && (d.usable || reserve), 'data goes to disks that may take it')
  }
  const withCopies = (id: ChunkId, edit: (copies: Copies) => Copies): RepairChunk =>
    id === chunk.chunk
      ? { ...chunk, ...edit(chunk) }
      : {
          ...chunk,
          ec: { ...chunk.ec!, parts: chunk.ec!.parts.map((part) => (part.chunk === id ? edit(part) : part)) },
        }
  const added = (id: ChunkId, target: DiskId): RepairChunk =>
    withCopies(id, (copies) => {
      mayTake(target)
      assert(!copies.disks.includes(target), 'a disk holds one copy')
      return { ...copies, disks: [...copies.disks, target] }
    })
  switch (order.kind) {
    case 'copy':
      assert(
        order.sources.every((id) => goodOf(copiesOf(chunk, order.chunk), disks).includes(disks.get(id)!)),
        'sources are good copies',
      )
      return added(order.chunk, order.target)
    case 'rebuild':
      assert(livingParts(chunk, disks) >= chunk.ec!.data, 'enough parts are there to make another')
      return added(chunk.ec!.parts[order.index]!.chunk, order.target)
    case 'join':
      assert(livingParts(chunk, disks) >= chunk.ec!.data, 'enough parts are there to make a copy')
      return added(chunk.chunk, order.target)
    case 'encode': {
      assert(chunk.ec === undefined && codeFor(chunk.length, order) !== undefined, 'it can be cut')
      for (const target of order.targets) mayTake(target)
      const nodes = order.targets.map((id) => disks.get(id)!.node)
      assert(new Set(nodes).size === order.data + order.parity, 'every part has its own chunkserver')
      const length = Math.ceil(chunk.length / order.data)
      const parts = order.targets.map((target) => partOf(cluster.nextPart++, length, [target]))
      return { ...chunk, ec: { data: order.data, parity: order.parity, parts } }
    }
    case 'uncode':
      return { ...chunk, ec: undefined }
    case 'drop':
      return withCopies(order.chunk, (copies) => {
        assert(copies.disks.includes(order.disk), 'what is dropped is there')
        return {
          ...copies,
          disks: copies.disks.filter((id) => id !== order.disk),
          unsealed: copies.unsealed.filter((id) => id !== order.disk),
          bad: copies.bad.filter((id) => id !== order.disk),
        }
      })
  }
}

/** Far more than any chunk of these tests needs. */
const ROUNDS_MAX = 400

/** Plans and carries out until there is nothing to plan. `fails` says which orders fail on the way. */
export function settle(cluster: Cluster, seed: number, fails: (n: number) => boolean = () => false): number {
  const below = dice(seed)
  for (let round = 0, n = 0; ; round++) {
    assert(
      round < ROUNDS_MAX,
      `no end of it: ${JSON.stringify(plan([...cluster.chunks.values()], cluster.disks, rules, 8, dice(0)))}`,
    )
    const { orders, waiting, nowhere } = plan([...cluster.chunks.values()], cluster.disks, rules, 8, below)
    assert(new Set(orders.map((order) => order.whole)).size === orders.length, 'one order for a chunk at a time')
    const dropped = nowhere.filter((id) => dropsDamaged(cluster, id))
    if (orders.length === 0 && dropped.length === 0) {
      assert(waiting.length === 0, 'nothing is waited for when nothing is being done')
      return round
    }
    for (const order of orders) if (!fails(n++)) carryOut(cluster, order)
  }
}

/** As the shell does: a copy beyond repair makes way where it occupies the only disk. */
function dropsDamaged({ chunks, disks }: Cluster, id: ChunkId): boolean {
  const chunk = chunks.get(id)!
  const [bad] = chunk.bad
  if (bad === undefined || goodOf(chunk, disks).length === 0) return false
  chunks.set(id, { ...chunk, disks: chunk.disks.filter((d) => d !== bad), bad: chunk.bad.slice(1) })
  return true
}

// ---- brute force

interface Slots {
  readonly slots: readonly LabelExpr[]
  readonly unique: Unique | undefined
}

/** The most that fill slots rightly together, of all disks or of those that each slot may have. */
export function mostRight(
  { slots, unique }: Slots,
  disks: readonly LabelledDisk[] | readonly (readonly LabelledDisk[])[],
): number {
  const keyOf = keyBy(unique)
  const walk = (slot: number, used: readonly LabelledDisk[]): number => {
    if (slot === slots.length) return used.length
    let best = walk(slot + 1, used)
    const own = disks[slot]
    for (const d of Array.isArray(own) ? own : (disks as readonly LabelledDisk[]))
      if (matches(slots[slot]!, d.labels) && !used.some((u) => u.node === d.node || keyOf(u) === keyOf(d)))
        best = Math.max(best, walk(slot + 1, [...used, d]))
    return best
  }
  return walk(0, [])
}

const nodesOf = (disks: readonly RepairDisk[]): number => new Set(disks.map((d) => d.node)).size

function freeFor({ disks }: Cluster, bytes: number, avoid: readonly DiskId[]): RepairDisk[] {
  return [...disks.values()].filter(
    (d) => d.live && !d.draining && !avoid.includes(d.disk) && takes(d, { bytes, room: 'all' }),
  )
}

/** What is wrong with where a chunk has ended; undefined: nothing that could be better. */
export function wrongWith(cluster: Cluster, chunk: RepairChunk): string | undefined {
  const { disks } = cluster
  if (!readable(chunk, disks)) return undefined
  const { wish, ec } = chunk
  const { code } = wish
  const coded = ec !== undefined && code !== undefined && ec.data === code.data && ec.parity === code.parity
  if (coded && livingParts(chunk, disks) >= ec.data) return wrongWithParts(cluster, chunk, code)
  const copies = wrongWithCopies(cluster, chunk)
  if (copies !== undefined) return copies
  if (ec !== undefined) {
    if (coded) return undefined
    // A copy that is away is waited for, and the parts with it.
    if (awaited(chunk, disks, 'grace').length > 0) return undefined
    const free = freeFor(cluster, chunk.length, chunk.disks)
    const able = wish.mode === 'strict' ? mostRight(wish, free) : nodesOf(free)
    return able >= wish.slots.length ? 'it is in parts that nobody wants' : undefined
  }
  if (code === undefined || chunk.cut || chunk.length === 0) return undefined
  const free = freeFor(cluster, Math.ceil(chunk.length / code.data), [])
  const able = code.mode === 'strict' ? mostRight(code, free) : nodesOf(free)
  return able >= code.slots.length ? 'it could be cut and is not' : undefined
}

function wrongWithCopies(cluster: Cluster, chunk: RepairChunk): string | undefined {
  const { disks } = cluster
  const { slots, mode } = chunk.wish
  const good = goodOf(chunk, disks)
  // Before parts are put together nothing is missing.
  if (chunk.ec !== undefined) return undefined
  const steady = steadyOf(chunk, disks)
  const alone = good.length === 1 && slots.length > 1
  const held = [...steady, ...awaited(chunk, disks, alone ? 'settle' : 'grace')]
  const free = freeFor(cluster, chunk.length, chunk.disks)
  const right = mostRight(chunk.wish, held)
  if (right < mostRight(chunk.wish, [...held, ...free])) return 'more slots could be filled rightly'
  const filled = mode === 'strict' ? right : Math.min(slots.length, nodesOf(held))
  const able = mode === 'strict' ? right : Math.min(slots.length, nodesOf([...held, ...free]))
  if (filled < able) return 'more copies could be made'
  if (nodesOf(steady) < slots.length) return undefined
  if (steady.length > slots.length) return 'there are more copies than wanted'
  if (good.length > steady.length) return 'a disk that is to be emptied still has it'
  if (chunk.bad.length > 0) return 'a copy beyond repair is still there'
  const gone = chunk.disks.some((id) => isGone(disks.get(id)!, rules))
  return gone && !chunk.cut ? 'a copy that is gone still counts' : undefined
}

function wrongWithParts(cluster: Cluster, chunk: RepairChunk, code: CodeWish): string | undefined {
  const { disks } = cluster
  const { data, parts } = chunk.ec!
  const alone = livingParts(chunk, disks) === data && goodOf(chunk, disks).length === 0
  const held = parts.map((part) => [...steadyOf(part, disks), ...awaited(part, disks, alone ? 'settle' : 'grace')])
  const right = mostRight(code, held)
  /** The parts themselves stay apart, also where they are not right. */
  const isGain = (d: RepairDisk, slot: number): boolean =>
    !held.some((others, other) => other !== slot && others.some((o) => o.node === d.node)) &&
    mostRight(
      code,
      held.map((own, other) => (other === slot ? [d] : own)),
    ) > right
  for (const [i, part] of parts.entries()) {
    const free = freeFor(cluster, part.length, part.disks).filter(
      (d) => !held.some((others, other) => other !== i && others.some((o) => o.node === d.node)),
    )
    if (held[i]!.length === 0 && (code.mode === 'strict' ? free.some((d) => isGain(d, i)) : free.length > 0))
      return `part ${i} could be made anew`
    if (steadyOf(part, disks).length === 0) continue
    if (steadyOf(part, disks).length > 1) return `part ${i} is there twice`
    if (goodOf(part, disks).length > 1) return `part ${i} is still on a disk that is to be emptied`
    if (part.bad.length > 0) return `part ${i} has a copy beyond repair`
    if (part.disks.some((id) => isGone(disks.get(id)!, rules))) return `part ${i} counts a copy that is gone`
  }
  if (parts.some((part) => steadyOf(part, disks).length === 0)) return undefined
  if (chunk.disks.length > 0) return 'there are copies beside the parts'
  for (const [i, part] of parts.entries())
    if (freeFor(cluster, part.length, part.disks).some((d) => isGain(d, i)))
      return `part ${i} could be in a better place`
  return undefined
}
