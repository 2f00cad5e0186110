/*
 * The measured places as the state keeps them: one record, because it is small and is read and changed as a whole. Held decoded
 * once somebody has asked; the store is the truth again after forget(). It knows no rules; those are in measured.ts.
 */

import { type Infer, struct, uint } from '../../base/schema.ts'
import { DEFAULT_LIMITS, type NodePlace } from '../../topology/cluster.ts'
import { type MeasuredMap, measuredMap, measuring } from '../../wire/mesh-shapes.ts'
import type { Kv } from './kv.ts'
import { decodeRecord, encodeRecord } from './records.ts'
import { key } from './tables.ts'

export const measuredRecord = struct({
  version: uint(),
  /** Grows with every change of the map. */
  number: uint(),
  measuring,
  map: measuredMap,
})
export type MeasuredRecord = Infer<typeof measuredRecord>

/** Nothing was ever measured or set. */
export const UNMEASURED: MeasuredRecord = {
  version: 1,
  number: 0,
  measuring: { auto: true, siteUs: DEFAULT_LIMITS.siteMs * 1000, rackUs: DEFAULT_LIMITS.rackMs * 1000 },
  map: { places: [], own: [], lastSite: 0, lastRack: 0 },
}

export class MeasuredTable {
  readonly #kv: Kv
  #record: MeasuredRecord | undefined
  #places: ReadonlyMap<string, NodePlace> | undefined

  constructor(kv: Kv) {
    this.#kv = kv
  }

  forget(): void {
    this.#record = undefined
    this.#places = undefined
  }

  get record(): MeasuredRecord {
    if (this.#record === undefined) {
      const value = this.#kv.get(key.meta('measured'))
      this.#record = value === undefined ? UNMEASURED : decodeRecord(measuredRecord, value, 'measured places')
    }
    return this.#record
  }
  set(record: MeasuredRecord): void {
    this.#kv.put(key.meta('measured'), encodeRecord(measuredRecord, record))
    this.forget()
    this.#record = record
  }

  /** By the id of the node. */
  get places(): ReadonlyMap<string, NodePlace> {
    this.#places ??= placesOf(this.record.map)
    return this.#places
  }
}

export const placesOf = ({ places }: MeasuredMap): Map<string, NodePlace> =>
  new Map(places.map(({ node, site, rack }) => [node, { site, rack }]))
