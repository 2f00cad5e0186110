/*
 * Which sites a sealed chunk has still to come to, by its class, and at which sites all of it can be read. Pure.
 *
 * A copy that is away counts as being where it is until its chunkserver is waited for no longer: a site that is cut off
 * has what it has. A place that its class leaves open between several sites is owed to none of them by name.
 */

import { assign } from '../../topology/assign.ts'
import { type LabelExpr, matches, type Unique } from '../../topology/labels.ts'
import type { StorageClass } from '../../topology/storage-class.ts'
import {
  type Copies,
  type DiskMap,
  isGone,
  liveOf,
  type Patience,
  type RepairChunk,
  type RepairDisk,
} from './repair.ts'
import { wishOf } from './wishes.ts'

/** What is owed. `site` undefined: to one of several, or to none that there is. */
export interface Owed {
  readonly site: string | undefined
  readonly bytes: number
}

/** '?' is where nobody has said. */
export const siteOf = (disk: RepairDisk): string => disk.location.site ?? '?'

export function owedOf(chunk: RepairChunk, disks: DiskMap, rules: Pick<Patience, 'graceMs'>): Owed[] {
  if (!chunk.sealed) return []
  const { ec, wish } = chunk
  if (ec === undefined || wish.code === undefined) {
    const held = thereOf(chunk, disks, rules)
    return owed(wish.slots, wish.unique, held, () => chunk.length, disks, rules)
  }
  const held = ec.parts.flatMap((part, slot) => thereOf(part, disks, rules).map((disk) => ({ ...disk, slot })))
  const bytesOf = (slot: number): number => ec.parts[slot]?.length ?? 0
  return owed(wish.code.slots, wish.code.unique, held, bytesOf, disks, rules)
}

/** Confirmed and good, and not away for too long. */
function thereOf(copies: Copies, disks: DiskMap, rules: Pick<Patience, 'graceMs'>): RepairDisk[] {
  return copies.disks.flatMap((id) => {
    const disk = disks.get(id)
    const counts = disk !== undefined && !copies.unsealed.includes(id) && !copies.bad.includes(id)
    return counts && !isGone(disk, rules) ? [disk] : []
  })
}

function owed(
  slots: readonly LabelExpr[],
  unique: Unique | undefined,
  held: readonly RepairDisk[],
  bytesOf: (slot: number) => number,
  disks: DiskMap,
  rules: Pick<Patience, 'graceMs'>,
): Owed[] {
  const fills = assign({ slots, unique, mode: 'std' }, held, []).slots
  const taken =
    unique?.by === 'site' ? fills.flatMap(({ held: one, fit }) => (one && fit === 'right' ? [siteOf(one)] : [])) : []
  const found: Owed[] = []
  for (const [i, { held: one, fit }] of fills.entries()) {
    if (one !== undefined && (fit === 'right' || fit === 'node')) continue
    const open = sitesFor(slots[i]!, disks, rules).filter((site) => !taken.includes(site))
    found.push({ site: open.length === 1 ? open[0] : undefined, bytes: bytesOf(i) })
  }
  return found
}

const known = new WeakMap<DiskMap, Map<LabelExpr, readonly string[]>>()

/** Sites with a disk that such a copy may lie on, for all chunks that are looked at over one map. */
function sitesFor(expr: LabelExpr, disks: DiskMap, rules: Pick<Patience, 'graceMs'>): readonly string[] {
  let ofMap = known.get(disks)
  if (ofMap === undefined) {
    ofMap = new Map()
    known.set(disks, ofMap)
  }
  let sites = ofMap.get(expr)
  if (sites === undefined) {
    const fitting = [...disks.values()].filter((d) => !d.draining && !isGone(d, rules) && matches(expr, d.labels))
    sites = [...new Set(fitting.map(siteOf))]
    ofMap.set(expr, sites)
  }
  return sites
}

/** Where all of it can be read now without another site: a whole copy, or enough parts; while it is written, a copy of that. */
export function completeAt(chunk: RepairChunk, disks: DiskMap): ReadonlySet<string> {
  // What is not sealed nobody has confirmed, but whoever writes it has heard from each of its disks.
  const copies = chunk.sealed
    ? liveOf(chunk, disks)
    : chunk.disks.flatMap((id) => (disks.get(id)?.live ? [disks.get(id)!] : []))
  const sites = new Set(copies.map(siteOf))
  const { ec } = chunk
  if (ec === undefined) return sites
  const parts = new Map<string, number>()
  for (const part of ec.parts)
    for (const site of new Set(liveOf(part, disks).map(siteOf))) parts.set(site, (parts.get(site) ?? 0) + 1)
  for (const [site, count] of parts) if (count >= ec.data) sites.add(site)
  return sites
}

/** Whether a class puts, or may put, anything at a site while its files are there. */
export function mayBeAt(cls: StorageClass, site: string, disks: DiskMap): boolean {
  const exprs = (['keep', 'archive'] as const).flatMap((phase) => {
    const { slots, code } = wishOf(cls, phase)
    return [...slots, ...(code?.slots ?? [])]
  })
  return [...disks.values()].some((d) => siteOf(d) === site && exprs.some((expr) => matches(expr, d.labels)))
}
