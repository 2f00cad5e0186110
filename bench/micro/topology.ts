/*
 * What one evaluation of the map costs the master each minute: npx tsx bench/micro/topology.ts
 * Prints one JSON line per figure: the median of some evaluations of a network that was placed before, with the noise of a
 * minute on every distance.
 */

import { evaluate, NO_CLUSTERS } from '../../src/topology/cluster.ts'
import { RttFilter } from '../../src/topology/rtt-filter.ts'
import { dice, network } from '../../test/topology/networks.ts'

const ROUNDS = 25
const SEED = 1
const say = (name: string, value: number, unit: string): void =>
  console.log(JSON.stringify({ name, value: Number(value.toPrecision(3)), unit }))

for (const nodes of [80, 200, 300]) {
  const random = dice(SEED)
  const world = network(random, { cities: nodes / 10, perHall: 4, homes: nodes / 5 })
  const list = world.nodes.map(({ name }) => ({ name, rounds: 60 }))
  let { state } = evaluate(NO_CLUSTERS, list, (a, b) => world.rttMs[a]![b]!)
  const took: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const noisy = world.rttMs.map((row) => row.map((ms) => ms + random() * 0.3))
    const start = performance.now()
    state = evaluate(state, list, (a, b) => noisy[Math.min(a, b)]![Math.max(a, b)]!).state
    took.push(performance.now() - start)
  }
  say(`evaluate ${world.nodes.length} nodes`, took.sort((a, b) => a - b)[ROUNDS >> 1]!, 'ms')
}

const filter = new RttFilter()
const start = performance.now()
const probes = 1_000_000
for (let i = 0; i < probes; i++) filter.round(i * 10_000, 0, [1 + (i % 7), 2, 3])
say('a round of probes', ((performance.now() - start) * 1e6) / probes, 'ns')
