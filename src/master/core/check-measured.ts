/* The part of the check that is about measured places. Answers findings as sentences. */

import type { State } from './state.ts'

export function wrongWithMeasured({ measured, mesh }: State): string[] {
  const { number, map, measuring } = measured.record
  const found: string[] = []
  const { places, own } = map
  if (number === 0 && places.length > 0) found.push(`measured places: ${places.length} before the first map`)
  if (measuring.rackUs === 0 || measuring.rackUs > measuring.siteUs)
    found.push(`measured places: racks of ${measuring.rackUs} µs in sites of ${measuring.siteUs} µs`)
  for (const [i, { node, site, rack }] of places.entries()) {
    const who = `measured place of node ${node}`
    if (i > 0 && node <= places[i - 1]!.node) found.push(`${who}: not in order, or twice`)
    if (!mesh.members.has(node)) found.push(`${who}: it is not of the mesh`)
    if (site === '' || rack === '') found.push(`${who}: without a name`)
  }
  const names = new Set(places.flatMap(({ site, rack }) => [`site ${site}`, `rack ${rack}`]))
  for (const name of own) if (!names.has(name)) found.push(`measured places: nothing is ${name}`)
  return found
}
