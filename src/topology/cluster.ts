/*
 * Which nodes share a rack and which a site, from how far they are apart: groups by complete linkage, sites first and racks
 * within each site, so that racks always nest. Whatever is decided here moves data, so nothing changes that need not: what
 * holds is favoured, changes have to be proposed several times in a row (settling.ts), names stay (site-names.ts), and where
 * nothing is known of two nodes nothing changes between them: a cut link or a node that is away moves nobody.
 *
 * What an operator has declared of a node holds at once. Nodes declared to be in one group are in it however far apart they
 * are; others join them by being near to some of them, and then have their name.
 *
 * Pure and deterministic: nodes, distances and the state so far give the next state, the same everywhere. It knows nothing of how
 * distances come about, nor who acts on places.
 */

import { type Result, refuse } from '../base/fault.ts'
import { APART, completeLinkage } from './linkage.ts'
import { type Move, remember, settle } from './settling.ts'
import { checkName, nameGroups } from './site-names.ts'

export interface ClusterNode {
  /** What it is known by for good; not its place in a list. */
  readonly name: string
  /** What is declared of it, by name or address. */
  readonly pinned?: { readonly site?: string | undefined; readonly rack?: string | undefined }
  /** Rounds of probes that it has had with the others. */
  readonly rounds: number
}

export interface NodePlace {
  readonly site: string
  readonly rack: string
}

export interface ClusterLimits {
  readonly siteMs: number
  readonly rackMs: number
}

/**
 * Round trips: on one LAN, also through two userspace tunnels, below 1 ms; two providers of one city 1 to 4; the next
 * city 6 and more. Below 1 ms the probes measure themselves.
 */
export const DEFAULT_LIMITS: ClusterLimits = { siteMs: 10, rackMs: 2 }
/** A new node gets its place after a minute: the least of fewer rounds is not the least yet. */
export const ROUNDS_BEFORE_PLACED = 6
/** What is together now may drift apart by a third before it is too far: nothing sits on the edge. */
const TOGETHER = 0.75

export interface ClusterState {
  readonly places: ReadonlyMap<string, NodePlace>
  /** Changes that are waited for, with how often in a row they were proposed. */
  readonly waiting: ReadonlyMap<string, number>
  readonly moves: ReadonlyMap<string, Move>
  readonly evaluation: number
  /** Names, after "site " or "rack ", that groups have without any node that was declared to be there. */
  readonly own: ReadonlySet<string>
  /** The highest numbers that names were made of. */
  readonly lastSite: number
  readonly lastRack: number
}

export const NO_CLUSTERS: ClusterState = {
  places: new Map(),
  waiting: new Map(),
  moves: new Map(),
  evaluation: 0,
  own: new Set(),
  lastSite: 0,
  lastRack: 0,
}

export interface Evaluation {
  readonly state: ClusterState
  /** Where everything would be if nothing were waited for. */
  readonly proposed: ReadonlyMap<string, NodePlace>
}

/** Milliseconds there and back between two nodes of the list, the same both ways; undefined: not known. */
export type DistanceMs = (a: number, b: number) => number | undefined

interface World {
  readonly nodes: readonly ClusterNode[]
  readonly distanceMs: DistanceMs
  readonly limits: ClusterLimits
  readonly state: ClusterState
}

/** One evaluation, to be made each minute. Nodes that are not in the list are forgotten. */
export function evaluate(
  state: ClusterState,
  given: readonly ClusterNode[],
  givenMs: DistanceMs,
  limits: ClusterLimits = DEFAULT_LIMITS,
): Evaluation {
  const order = given.map((_, i) => i).sort((a, b) => (given[a]!.name < given[b]!.name ? -1 : 1))
  const nodes = order.map((i) => given[i]!)
  const distanceMs: DistanceMs = (a, b) => givenMs(order[a]!, order[b]!)
  const world: World = { nodes, distanceMs, limits, state }
  const placed = nodes.map((_, i) => i).filter((i) => mayBePlaced(world, i))

  const proposedSites = nameSites(world, groupSites(world, placed))
  const proposedRacks = nameRacks(world, groupRacks(world, placed, proposedSites.of), proposedSites.of)

  const { moves } = state
  const evaluation = state.evaluation + 1
  const before = { counts: state.waiting, moves, evaluation }
  const siteGroups = settle(
    {
      nodes: placed,
      nameOf: (i) => nodes[i]!.name,
      held: (i) => heldSite(world, i),
      proposed: proposedSites.groups,
      mayJoin: (i, group) => agree([i, ...group].map((one) => nodes[one]!.pinned?.site)),
      distanceMs,
      limitMs: limits.siteMs,
      level: 'site',
    },
    before,
  )
  const sites = nameSites(world, siteGroups.groups)
  const rackGroups = settle(
    {
      nodes: placed,
      nameOf: (i) => nodes[i]!.name,
      held: (i) => heldRack(world, i, sites.of),
      proposed: groupRacks(world, placed, sites.of),
      mayJoin: (i, group) =>
        sites.of(i) === sites.of(group[0]!) && agree([i, ...group].map((one) => nodes[one]!.pinned?.rack)),
      distanceMs,
      limitMs: limits.rackMs,
      level: 'rack',
    },
    before,
  )
  const racks = nameRacks(world, rackGroups.groups, sites.of)
  const places = placesOf(world, placed, sites.of, racks.of)
  const moved = [...places]
    .filter(([name, place]) => {
      const old = state.places.get(name)
      return old !== undefined && (old.site !== place.site || old.rack !== place.rack)
    })
    .map(([name]) => name)
  return {
    proposed: placesOf(world, placed, proposedSites.of, proposedRacks.of),
    state: {
      places,
      waiting: new Map([...siteGroups.waiting, ...rackGroups.waiting]),
      moves: remember(moves, moved, evaluation),
      evaluation,
      own: ownNames(world, places),
      lastSite: sites.last,
      lastRack: racks.last,
    },
  }
}

/** Takes what was proposed without waiting for it. */
export function adopt({ state, proposed }: Evaluation): ClusterState {
  const numbers = (names: string[], letter: string): number[] =>
    names.flatMap((name) => (name.startsWith(letter) && /^.\d{1,9}$/.test(name) ? [Number(name.slice(1))] : []))
  const places = [...proposed.values()]
  return {
    ...state,
    places: proposed,
    waiting: new Map(),
    lastSite: Math.max(
      state.lastSite,
      ...numbers(
        places.map((place) => place.site),
        's',
      ),
    ),
    lastRack: Math.max(
      state.lastRack,
      ...numbers(
        places.map((place) => place.rack),
        'r',
      ),
    ),
  }
}

function ownNames({ nodes, state }: World, places: ReadonlyMap<string, NodePlace>): Set<string> {
  const declared = new Set(nodes.flatMap(({ pinned }) => [`site ${pinned?.site ?? ''}`, `rack ${pinned?.rack ?? ''}`]))
  const names = [...places.values()].flatMap(({ site, rack }) => [`site ${site}`, `rack ${rack}`])
  return new Set(names.filter((name) => state.own.has(name) || !declared.has(name)))
}

/** Another name for a measured site or rack; it stays with the group that keeps most of its nodes. */
export function rename(state: ClusterState, level: 'site' | 'rack', from: string, to: string): Result<ClusterState> {
  const names = new Set([...state.places.values()].map((place) => place[level]))
  if (!names.has(from)) return refuse('ENOENT', `there is no ${level} "${from}"`)
  const checked = checkName(to, (name) => name !== from && names.has(name))
  if ('errno' in checked) return checked
  const places = new Map(
    [...state.places].map(([node, place]) => [node, place[level] === from ? { ...place, [level]: to } : place]),
  )
  return { ok: { ...state, places, own: new Set([...state.own, `${level} ${to}`]) } }
}

function mayBePlaced({ nodes, state }: World, i: number): boolean {
  const { name, rounds, pinned } = nodes[i]!
  return state.places.has(name) || rounds >= ROUNDS_BEFORE_PLACED || Boolean(pinned?.site)
}

const heldSite = ({ nodes, state }: World, i: number): string | undefined =>
  nodes[i]!.pinned?.site || state.places.get(nodes[i]!.name)?.site

/** Within its site: who has come to another one is new to its racks. */
function heldRack({ nodes, state }: World, i: number, siteOf: (i: number) => string): string | undefined {
  const { name, pinned } = nodes[i]!
  const old = state.places.get(name)
  if (pinned?.rack) return `${siteOf(i)}|${pinned.rack}`
  return old === undefined || old.site !== siteOf(i) ? undefined : `${old.site}|${old.rack}`
}

/** Declared to be in different groups is no group; of what is not declared nothing is said. */
const agree = (pins: readonly (string | undefined)[]): boolean => new Set(pins.filter((pin) => pin)).size < 2

const groupSites = (world: World, placed: readonly number[]): number[][] =>
  group(
    world,
    placed,
    'site',
    world.limits.siteMs,
    (i) => world.nodes[i]!.pinned?.site,
    (i) => heldSite(world, i),
  )

function groupRacks(world: World, placed: readonly number[], siteOf: (i: number) => string): number[][] {
  const members = new Map<string, number[]>()
  for (const i of placed) members.set(siteOf(i), [...(members.get(siteOf(i)) ?? []), i])
  return [...members.values()].flatMap((nodes) =>
    group(
      world,
      nodes,
      'rack',
      world.limits.rackMs,
      (i) => world.nodes[i]!.pinned?.rack,
      (i) => world.nodes[i]!.pinned?.rack || world.state.places.get(world.nodes[i]!.name)?.rack,
    ),
  )
}

/**
 * What is declared to be apart stays apart; groups with nodes that are declared to be together become one. Who is declared to
 * be in a group that had its name before anybody was is in that group.
 */
function group(
  { distanceMs, state }: World,
  nodes: readonly number[],
  level: 'site' | 'rack',
  limitMs: number,
  pinned: (i: number) => string | undefined,
  held: (i: number) => string | undefined,
): number[][] {
  const n = nodes.length
  const pins = nodes.map((i) => pinned(i) || undefined)
  const groups = nodes.map(held)
  const distances = new Float64Array(n * n)
  for (let a = 0; a < n; a++) {
    for (let b = a + 1; b < n; b++) {
      let ms = APART
      if (pins[a] === undefined || pins[b] === undefined || pins[a] === pins[b]) {
        const together = groups[a] !== undefined && groups[a] === groups[b]
        ms = distanceMs(nodes[a]!, nodes[b]!) ?? (together ? limitMs : APART)
        if (together) ms *= TOGETHER
      }
      distances[a * n + b] = ms
      distances[b * n + a] = ms
    }
  }
  const made: number[][] = []
  const byPin = new Map<string, number[]>()
  const linked = completeLinkage(distances, n, limitMs)
  const heirs = new Map<number, string>()
  for (const pin of new Set(pins.filter((name) => name !== undefined && state.own.has(`${level} ${name}`)))) {
    const left = linked.map((indices) =>
      indices.some((a) => pins[a] !== undefined) ? 0 : indices.filter((a) => groups[a] === pin).length,
    )
    const most = Math.max(...left)
    if (most > 0) heirs.set(left.indexOf(most), pin!)
  }
  for (const [index, indices] of linked.entries()) {
    const pin = indices.map((a) => pins[a]).find((name) => name !== undefined) ?? heirs.get(index)
    const own = pin === undefined ? undefined : byPin.get(pin)
    const members = own ?? []
    members.push(...indices.map((a) => nodes[a]!))
    if (own !== undefined) continue
    made.push(members)
    if (pin !== undefined) byPin.set(pin, members)
  }
  return made
}

interface Named {
  readonly groups: readonly (readonly number[])[]
  readonly of: (i: number) => string
  readonly last: number
}

function nameSites({ nodes, state }: World, groups: readonly (readonly number[])[]): Named {
  return named(groups, {
    old: (i) => state.places.get(nodes[i]!.name)?.site,
    pinned: (i) => nodes[i]!.pinned?.site || undefined,
    letter: 's',
    last: state.lastSite,
  })
}

function nameRacks(
  { nodes, state }: World,
  groups: readonly (readonly number[])[],
  siteOf: (i: number) => string,
): Named {
  return named(groups, {
    // Names of racks are declared within a site; measured ones differ everywhere.
    old: (i) => {
      const old = state.places.get(nodes[i]!.name)
      return old?.site === siteOf(i) || /^r\d+$/.test(old?.rack ?? '') ? old?.rack : undefined
    },
    pinned: (i) => nodes[i]!.pinned?.rack || undefined,
    letter: 'r',
    last: state.lastRack,
  })
}

function named(groups: readonly (readonly number[])[], naming: Parameters<typeof nameGroups>[1]): Named {
  const { names, last } = nameGroups(groups, naming)
  const of = new Map(groups.flatMap((nodes, g) => nodes.map((i): [number, string] => [i, names[g]!])))
  return { groups, of: (i) => of.get(i)!, last }
}

const placesOf = (
  { nodes }: World,
  placed: readonly number[],
  siteOf: (i: number) => string,
  rackOf: (i: number) => string,
): Map<string, NodePlace> => new Map(placed.map((i) => [nodes[i]!.name, { site: siteOf(i), rack: rackOf(i) }]))
