/*
 * Which copies a mount reads first: those on disks with the labels that it prefers, in that order; among these the nearest to
 * it; those on backup disks after all others. The master says so by a rank beside each place, smaller is better, and the mount
 * sorts by it (client/chunk-reader.ts): only the mount knows which copies failed a moment ago.
 *
 * A cluster that knows no racks, sites, preferences and backup labels pays for none of this: its places have no ranks, nor
 * have those that would all have the same.
 */

import { distance } from '../topology/place.ts'
import { readRank } from '../topology/read-rank.ts'
import type { ChunkPlaces, Place } from '../wire/shapes.ts'
import { hostOf, type Parts } from './parts.ts'
import type { Session } from './sessions.ts'

type Needs = Pick<Parts, 'state' | 'nodes'>

export function ranked(parts: Needs, asking: Session | undefined, chunks: ChunkPlaces[]): ChunkPlaces[] {
  const { state, nodes } = parts
  const backup = state.settings().backupLabels ?? []
  if (asking === undefined || (asking.prefer.length === 0 && backup.length === 0 && !nodes.hasRegions)) return chunks
  const own = nodes.locate({ host: hostOf(asking.peer?.address ?? ''), ...asking.place })
  const rankOf = ({ disk, node }: Place): number => {
    const labels = nodes.labels(disk)
    const preferred = asking.prefer.findIndex((label) => labels.has(label))
    const preference = preferred < 0 ? asking.prefer.length : preferred
    const isBackup = backup.some((label) => labels.has(label))
    return readRank(isBackup, preference, distance(nodes.location(node), own))
  }
  return chunks.map((chunk) => {
    const { places, ec } = chunk
    const all = ec === undefined ? places : [...places, ...ec.parts.flatMap((part) => part.places)]
    if (all.length < 2) return chunk
    const ranks = all.map(rankOf)
    if (ranks.every((rank) => rank === ranks[0])) return chunk
    let next = 0
    const rank = (place: Place): Place => ({ ...place, rank: ranks[next++] })
    // In the order in which they were ranked.
    const whole = { ...chunk, places: places.map(rank) }
    if (ec === undefined) return whole
    return { ...whole, ec: { ...ec, parts: ec.parts.map((part) => ({ ...part, places: part.places.map(rank) })) } }
  })
}
