/*
 * The measured places as state: which site and rack each node of the mesh was found to be in, what these are called, and whether
 * measuring may change that by itself. What is measured and compared is memory (measured-matrix.ts, measured-places.ts); here is
 * only what came of it, so that a master that starts places everything as before.
 *
 * The number of the map grows with every change of it. Who brings a new one says which it was made from: when others have
 * changed that meanwhile (a node was removed, a site renamed) it is to be made again, not written over.
 */

import { isRefusal, ok, type Result, refuse } from '../../base/fault.ts'
import { NO_CLUSTERS, rename } from '../../topology/cluster.ts'
import type { MeasuredMap } from '../../wire/mesh-shapes.ts'
import type { CommandOf } from './commands.ts'
import { placesOf } from './measured-table.ts'
import type { Work } from './work.ts'

function changed({ state }: Work, map: MeasuredMap): void {
  const { record } = state.measured
  const { places } = map
  const names = new Set(places.flatMap(({ site, rack }) => [`site ${site}`, `rack ${rack}`]))
  const own = map.own.filter((name) => names.has(name))
  state.measured.set({ ...record, number: record.number + 1, map: { ...map, own } })
}

export function placesMeasured(work: Work, { after, map }: CommandOf<'placesMeasured'>): Result<unknown> {
  const { mesh, measured } = work.state
  const { number } = measured.record
  if (after !== number) return refuse('ESTALE', `the map of places is number ${number} by now, not ${after}`)
  if (map.places.some(({ site, rack }) => site === '' || rack === ''))
    return refuse('EINVAL', 'who is placed is in a site and a rack')
  const places = map.places.filter(({ node }) => mesh.members.has(node))
  if (places.some(({ node }, i) => i > 0 && node <= places[i - 1]!.node))
    return refuse('EINVAL', 'places are in order of their nodes, each once')
  changed(work, { ...map, places })
  return ok({})
}

export function measuringSet(work: Work, { auto, siteUs, rackUs }: CommandOf<'measuringSet'>): Result<unknown> {
  const { measured } = work.state
  const { record } = measured
  const measuring = {
    auto: auto ?? record.measuring.auto,
    siteUs: siteUs ?? record.measuring.siteUs,
    rackUs: rackUs ?? record.measuring.rackUs,
  }
  if (measuring.rackUs === 0) return refuse('EINVAL', 'nodes of one rack are some time apart')
  if (measuring.rackUs > measuring.siteUs) return refuse('EINVAL', 'a rack is not larger than its site')
  measured.set({ ...record, measuring })
  return ok({})
}

/** The new name stays with the group that keeps most of the nodes. */
export function placeRenamed(work: Work, { level, from, to }: CommandOf<'placeRenamed'>): Result<unknown> {
  const { map } = work.state.measured.record
  const renamed = rename({ ...NO_CLUSTERS, places: placesOf(map), own: new Set(map.own) }, level, from, to)
  if (isRefusal(renamed)) return renamed
  const { places, own } = renamed.ok
  const sorted = [...places].sort(([x], [y]) => (x < y ? -1 : 1)).map(([node, place]) => ({ node, ...place }))
  changed(work, { ...map, places: sorted, own: [...own].sort() })
  return ok({})
}

/** A member that has gone stands nowhere. */
export function forgetPlace(work: Work, node: string): void {
  const { map } = work.state.measured.record
  const places = map.places.filter((place) => place.node !== node)
  if (places.length < map.places.length) changed(work, { ...map, places })
}

/** What a person says of where a member stands comes before what is measured; undefined: nothing any more. */
export function memberPlaced(work: Work, { node, site, rack }: CommandOf<'memberPlaced'>): Result<unknown> {
  const { state } = work
  const member = state.mesh.members.get(node)
  if (member === undefined) return refuse('ENOENT', `node ${node} is not of the mesh`)
  if (member.site === site && member.rack === rack) return ok({})
  state.mesh.setMember(node, { ...member, site, rack })
  state.setCounters({ meshVersion: state.meshVersion() + 1 })
  return ok({})
}
