/*
 * Networks to measure, with the truth beside them: cities, two providers in each, homes behind their lines, routes that are
 * longer than the way, so that the direct way is often not the shortest. And what probes see of them.
 */

export type Dice = () => number

/** mulberry32. */
export function dice(seed: number): Dice {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface NetworkNode {
  readonly name: string
  readonly city: number
  /** The hall it stands in; a home is one of its own. */
  readonly rack: string
  readonly home: boolean
  /** Of its own line. */
  readonly accessMs: number
}

export interface Network {
  readonly nodes: NetworkNode[]
  /** True round trips without queues; a row and column for each node. */
  readonly rttMs: number[][]
}

/** Cities on a map of milliseconds; each provider of each city has a hall with `perHall` nodes. */
export function network(
  random: Dice,
  { cities = 12, perHall = 3, homes = 8 }: { cities?: number; perHall?: number; homes?: number } = {},
): Network {
  const between = (low: number, high: number): number => low + random() * (high - low)
  const at = Array.from({ length: cities }, () => [between(0, 60), between(0, 35)] as const)
  const nodes: NetworkNode[] = []
  for (let city = 0; city < cities; city++)
    for (const provider of ['p', 'q'])
      for (let i = 0; i < perHall; i++)
        nodes.push({ name: `c${city}${provider}${i}`, city, rack: `c${city}${provider}`, home: false, accessMs: 0 })
  for (let i = 0; i < homes; i++) {
    const city = Math.floor(random() * cities)
    nodes.push({ name: `home${i}`, city, rack: `home${i}`, home: true, accessMs: between(5, 13) })
  }
  // One detour for each pair of halls, as a provider has one route.
  const routes = new Map<string, number>()
  const routeMs = (a: NetworkNode, b: NetworkNode): number => {
    const key = [a.rack, b.rack].sort().join()
    let ms = routes.get(key)
    if (ms === undefined) {
      const [p, q] = [at[a.city]!, at[b.city]!]
      ms =
        a.city === b.city
          ? a.rack === b.rack
            ? 0
            : between(2.8, 4)
          : 3 + Math.hypot(p[0] - q[0], p[1] - q[1]) * between(1.25, 2.15)
      routes.set(key, ms)
    }
    return ms
  }
  const rttMs = nodes.map(() => nodes.map(() => 0))
  for (const [i, a] of nodes.entries()) {
    for (const [j, b] of nodes.entries()) {
      if (j <= i) continue
      const ms = routeMs(a, b) + a.accessMs + b.accessMs + between(0.15, 0.5)
      rttMs[i]![j] = ms
      rttMs[j]![i] = ms
    }
  }
  return { nodes, rttMs }
}

/** Of all triples, the share in which going through the third is shorter by more than 10 ms. */
export function detours({ nodes, rttMs }: Network): number {
  let triples = 0
  let violated = 0
  for (let i = 0; i < nodes.length; i++)
    for (let j = i + 1; j < nodes.length; j++)
      for (let k = 0; k < nodes.length; k++) {
        if (k === i || k === j) continue
        triples++
        if (rttMs[i]![j]! > rttMs[i]![k]! + rttMs[k]![j]! + 10) violated++
      }
  return violated / triples
}
