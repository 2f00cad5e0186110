/*
 * When measured groups replace those that hold. A change counts only when the same one has been proposed several times in a row,
 * and each change is waited for by itself: nodes that no old or proposed group connects do not hold each other up, so one
 * pair of nodes on the edge of a limit cannot keep the rest of the map from following a real move.
 *
 * New nodes do not wait: where they change nothing for the others they are where they were proposed, else with the
 * nearest group that they fit into, else by themselves.
 *
 * Nodes that were moved lately have to wait longer, twice as long each time: a path that changes back and forth for hours
 * moves a node a few times, not all day.
 */

/** Evaluations with the same proposal before it holds; one is made each minute. */
export const ROUNDS = 5
/** The longest wait: an hour. */
export const ROUNDS_MAX = 60
/** For how many evaluations a move is remembered: a day. */
const REMEMBERED = 1440

export interface Move {
  readonly at: number
  /** Rounds that the next one has to wait. */
  readonly rounds: number
}

export interface Waiting {
  /** How often in a row each change has been proposed. */
  readonly counts: ReadonlyMap<string, number>
  readonly moves: ReadonlyMap<string, Move>
  readonly evaluation: number
}

export interface Groups {
  /** Indices of all nodes that are in groups. */
  readonly nodes: readonly number[]
  readonly nameOf: (node: number) => string
  /** The group that holds; undefined: the node is new. */
  readonly held: (node: number) => string | undefined
  readonly proposed: readonly (readonly number[])[]
  /** Whether a new node may be put into a group of others. */
  readonly mayJoin: (node: number, group: readonly number[]) => boolean
  /** undefined: not known. */
  readonly distanceMs: (a: number, b: number) => number | undefined
  readonly limitMs: number
  /** Before the proposals of this level, among those of others. */
  readonly level: string
}

export interface Settled {
  readonly groups: number[][]
  /** Changes that are waited for, with how often they were proposed. */
  readonly waiting: Map<string, number>
}

export function settle(groups: Groups, { counts, moves, evaluation }: Waiting): Settled {
  const proposedOf = new Map<number, number>()
  for (const [g, nodes] of groups.proposed.entries()) for (const node of nodes) proposedOf.set(node, g)
  const settled: number[][] = []
  const waiting = new Map<string, number>()
  for (const part of parts(groups, proposedOf)) {
    const proposed = split(part, (node) => proposedOf.get(node)!)
    const old = part.filter((node) => groups.held(node) !== undefined)
    const held = split(old, (node) => groups.held(node)!)
    if (sameGroups(old, held, proposed)) {
      settled.push(...proposed)
      continue
    }
    const key = `${groups.level} ${proposed.map((group) => named(group, old, groups.nameOf)).join(' | ')}`
    const count = (counts.get(key) ?? 0) + 1
    const needed = Math.max(...old.map((node) => roundsOf(moves.get(groups.nameOf(node)), evaluation)))
    if (count >= needed) {
      settled.push(...proposed)
      continue
    }
    waiting.set(key, count)
    for (const node of part) if (groups.held(node) === undefined) admit(node, held, groups)
    settled.push(...held)
  }
  for (const group of settled) group.sort((a, b) => a - b)
  return { groups: settled.sort((a, b) => a[0]! - b[0]!), waiting }
}

/** Kept of the moves so far, and those made now. */
export function remember(
  moves: ReadonlyMap<string, Move>,
  moved: readonly string[],
  evaluation: number,
): Map<string, Move> {
  const kept = new Map([...moves].filter(([, move]) => evaluation - move.at < REMEMBERED))
  for (const name of moved) {
    const rounds = Math.min(ROUNDS_MAX, 2 * roundsOf(kept.get(name), evaluation))
    kept.set(name, { at: evaluation, rounds })
  }
  return kept
}

const roundsOf = (move: Move | undefined, evaluation: number): number =>
  move !== undefined && evaluation - move.at < REMEMBERED ? move.rounds : ROUNDS

/** Nodes that a held or a proposed group puts together, directly or through others. */
function parts({ nodes, held }: Groups, proposedOf: ReadonlyMap<number, number>): number[][] {
  const above = new Map<string | number, string | number>()
  const top = (at: string | number): string | number => {
    let now = at
    for (let up = above.get(now); up !== undefined; up = above.get(now)) now = up
    return now
  }
  const join = (a: string | number, b: string | number): void => {
    const [x, y] = [top(a), top(b)]
    if (x !== y) above.set(x, y)
  }
  for (const node of nodes) {
    join(node, `proposed ${proposedOf.get(node)}`)
    const group = held(node)
    if (group !== undefined) join(node, `held ${group}`)
  }
  return split(nodes, top)
}

function split<K>(nodes: readonly number[], keyOf: (node: number) => K): number[][] {
  const groups = new Map<K, number[]>()
  for (const node of nodes) {
    const key = keyOf(node)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [node])
    else group.push(node)
  }
  return [...groups.values()]
}

function sameGroups(old: readonly number[], held: readonly number[][], proposed: readonly number[][]): boolean {
  const before = new Set(old)
  const left = proposed.map((group) => group.filter((node) => before.has(node))).filter((group) => group.length > 0)
  const key = (group: readonly number[]): string => [...group].sort((a, b) => a - b).join()
  const keys = new Set(held.map(key))
  return left.length === held.length && left.every((group) => keys.has(key(group)))
}

function named(group: readonly number[], old: readonly number[], nameOf: (node: number) => string): string {
  return group
    .filter((node) => old.includes(node))
    .map(nameOf)
    .sort()
    .join(' ')
}

/** Puts a new node where it fits without changing anything for others. */
function admit(node: number, held: number[][], { distanceMs, limitMs, mayJoin }: Groups): void {
  let best: number[] | undefined
  let bestMs = limitMs
  for (const group of held) {
    if (!mayJoin(node, group)) continue
    const known = group.map((other) => distanceMs(node, other)).filter((ms) => ms !== undefined)
    // Some may be away; most have to agree.
    if (known.length * 2 < group.length || known.length === 0) continue
    const farMs = Math.max(...known)
    if (farMs <= bestMs && (best === undefined || farMs < bestMs)) {
      best = group
      bestMs = farMs
    }
  }
  if (best === undefined) held.push([node])
  else best.push(node)
}
