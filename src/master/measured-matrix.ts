/*
 * What the nodes of the mesh have told of how far they are from each other, as it came by their hub. Memory only: they say it
 * again every quarter of a minute, and until then nothing is known, which changes nothing.
 */

import type { ReadPath } from '../topology/nearness.ts'
import { FRESH_MS, pairMs, type Reported } from '../topology/rtt-filter.ts'
import { MEASURED_MAX, type MeasuredPath, type MeasuredRow } from '../wire/mesh-shapes.ts'

/** What data takes on a path is known for a minute; four reports of it were missing then. */
const PATH_FRESH_MS = 60_000

interface Row {
  readonly atMs: number
  readonly paths: ReadonlyMap<string, MeasuredPath>
}

export class MeasuredMatrix {
  readonly #rows = new Map<string, Row>()
  /** The hub that told it last, which is on the master's machine. */
  #hub: string | undefined

  get hub(): string | undefined {
    return this.#hub
  }

  take(hub: string, rows: readonly MeasuredRow[], nowMs: number): void {
    this.#hub = hub
    for (const { node, ageMs, paths } of rows) {
      // The last that came is the last of the map.
      this.#rows.delete(node)
      this.#rows.set(node, { atMs: nowMs - ageMs, paths: new Map(paths.map((path) => [path.peer, path])) })
    }
    for (const [node, { atMs }] of this.#rows)
      if (nowMs - atMs >= FRESH_MS || this.#rows.size > MEASURED_MAX) this.#rows.delete(node)
  }

  distanceMs(a: string, b: string, nowMs: number): number | undefined {
    return pairMs(this.#reported(a, b), this.#reported(b, a), nowMs)
  }
  #reported(from: string, to: string): Reported | undefined {
    const row = this.#rows.get(from)
    const baseUs = row?.paths.get(to)?.baseUs
    return row === undefined || baseUs === undefined ? undefined : { baseMs: baseUs / 1000, atMs: row.atMs }
  }

  /** Of data between two nodes now, by what the first says, or else the second. */
  path(from: string, to: string, nowMs: number): ReadPath | undefined {
    return this.#pathOf(from, to, nowMs) ?? this.#pathOf(to, from, nowMs)
  }
  #pathOf(from: string, to: string, nowMs: number): ReadPath | undefined {
    const row = this.#rows.get(from)
    if (row === undefined || nowMs - row.atMs >= PATH_FRESH_MS) return undefined
    const { srttUs, rttvarUs, lossPpm } = row.paths.get(to) ?? {}
    if (srttUs === undefined) return undefined
    return {
      srttMs: srttUs / 1000,
      rttvarMs: rttvarUs === undefined ? undefined : rttvarUs / 1000,
      lossRate: lossPpm === undefined ? undefined : lossPpm / 1e6,
    }
  }

  /** Rounds of probes that a node has had with the one of the others that it knows longest. */
  rounds(node: string): number {
    let most = 0
    for (const { rounds } of this.#rows.get(node)?.paths.values() ?? []) most = Math.max(most, rounds)
    return most
  }
}
