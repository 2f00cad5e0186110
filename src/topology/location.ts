/*
 * Where a node or a mount stands, wherever that is known from: what it declares of itself comes first, each word for itself;
 * what it leaves out is looked up by its address, and what the map leaves out too is where it was measured to be. Whoever places, copies or reads sees only the Location.
 */

import type { AddressMap, Region } from './address-map.ts'
import type { Location } from './place.ts'

/** What somebody says of his own place. '' and left out both mean: not said. */
export interface DeclaredPlace {
  /** Where it is reached. */
  readonly host: string
  /** The machine it runs on, where addresses do not tell machines apart. */
  readonly machine?: string | undefined
  readonly rack?: string | undefined
  readonly site?: string | undefined
}

export function locate(declared: DeclaredPlace, map: AddressMap, measured: Region = {}): Location {
  const found = map.regionOf(declared.host)
  const rack = declared.rack || found.rack || measured.rack
  const site = declared.site || found.site || measured.site
  return {
    host: declared.machine || declared.host,
    ...(rack === undefined ? {} : { rack }),
    ...(site === undefined ? {} : { site }),
  }
}
