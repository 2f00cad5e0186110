/*
 * Which copies a mount reads first: those on disks with the labels that it prefers, in that order; among these the nearest to
 * it; those on backup disks after all others. Near is by racks and sites, and by what is measured between nodes of the mesh where a copy is
 * clearly quicker or slower than its place says. The master says so by a rank beside each place, smaller is better, and the mount
 * sorts by it (client/chunk-reader.ts): only the mount knows which copies failed a moment ago.
 *
 * A cluster that knows no racks, sites, preferences, backup labels and distances pays for none of this: its places have no
 * ranks, nor have those that would all have the same.
 */

import { readSteps } from '../topology/nearness.ts'
import { distance } from '../topology/place.ts'
import { readRank } from '../topology/read-rank.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import type { Parts } from './parts.ts'
import type { Session } from './sessions.ts'

type Needs = Pick<Parts, 'state' | 'nodes' | 'measured'>

export function ranked(parts: Needs, asking: Session | undefined, chunks: ChunkPlaces[]): ChunkPlaces[] {
  const { state, nodes, measured } = parts
  const backup = state.settings().backupLabels ?? []
  if (asking === undefined) return chunks
  // In a mesh whose nodes are not placed yet, distances are known all the same.
  const from = state.mesh.founded === undefined ? undefined : measured.nodeOf(asking.peer)
  if (asking.prefer.length === 0 && backup.length === 0 && !nodes.hasRegions && from === undefined) return chunks
  const own = measured.whereIs(asking.peer, asking.place)
  const costMs = (place: Place): number | undefined => {
    const record = from === undefined ? undefined : state.node(place.node)
    return record === undefined ? undefined : measured.readCostMs(from, nodes.members.of(record))
  }
  const ranksOf = (all: readonly Place[]): number[] => {
    const costs = all.map(costMs)
    const known = costs.every((cost) => cost !== undefined)
    const groups = new Map<string, number[]>()
    const wished = all.map(({ disk }, i) => {
      const labels = nodes.labels(disk)
      const preferred = asking.prefer.findIndex((label) => labels.has(label))
      const preference = preferred < 0 ? asking.prefer.length : preferred
      const isBackup = backup.some((label) => labels.has(label))
      // What somebody wishes comes before what is near.
      const group = `${isBackup} ${preference}`
      groups.set(group, [...(groups.get(group) ?? []), i])
      return { isBackup, preference }
    })
    const ranks: number[] = []
    for (const group of groups.values()) {
      const copies = group.map((i) => ({
        distance: distance(nodes.location(all[i]!.node), own),
        costMs: known ? costs[i]! : 0,
      }))
      for (const [n, { distance: far, step }] of readSteps(copies).entries()) {
        const { isBackup, preference } = wished[group[n]!]!
        ranks[group[n]!] = readRank(isBackup, preference, far, step)
      }
    }
    return ranks
  }
  return chunks.map((chunk) => {
    const { places, ec } = chunk
    const all = ec === undefined ? places : [...places, ...ec.parts.flatMap((part) => part.places)]
    if (all.length < 2) return chunk
    const ranks = ranksOf(all)
    if (ranks.every((rank) => rank === ranks[0])) return chunk
    let next = 0
    const rank = (place: Place): Place => ({ ...place, rank: ranks[next++]! })
    // In the order in which they were ranked.
    const whole = { ...chunk, places: places.map(rank) }
    if (ec === undefined) return whole
    return { ...whole, ec: { ...ec, parts: ec.parts.map((part) => ({ ...part, places: part.places.map(rank) })) } }
  })
}
