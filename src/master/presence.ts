/*
 * Where files are complete: how much of a file can be read at a site without another one, and which files of many are not
 * complete at one. Each call looks at a bounded number of extents; whoever asks goes on from there. Changes nothing.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, Ino } from '../base/ids.ts'
import type { Request } from '../wire/protocol.ts'
import type { FileSiteReport } from '../wire/reports.ts'
import type { Extent } from '../wire/shapes.ts'
import { completeAt, mayBeAt, siteOf } from './core/behind.ts'
import type { DiskMap } from './core/repair.ts'
import { manyInodes, type ReportParts } from './reports.ts'

/** Extents looked at by one call: some milliseconds. */
const EXTENTS_MAX = 4_096
const NOWHERE: ReadonlySet<string> = new Set()

export function fileSites(
  parts: ReportParts,
  classId: number,
  extents: readonly Extent[],
  disks: DiskMap,
): FileSiteReport[] {
  const at = new Complete(parts, disks)
  const all = [...new Set([...disks.values()].map(siteOf))].sort()
  if (all.length === 1 && all[0] === '?') return []
  const cls = parts.state.classes.meaning(classId)
  let total = 0
  const there = new Map<string, number>()
  for (const { chunk, length } of extents) {
    total += length
    for (const site of at.sites(chunk)) there.set(site, (there.get(site) ?? 0) + length)
  }
  return all.map((site) => {
    const bytes = there.get(site) ?? 0
    return { site, bytes, missingBytes: total - bytes, wanted: mayBeAt(cls, site, disks) }
  })
}

type Asked = Request<'siteLack'>

/** Files that are not complete at the site, among those that are asked for. */
export function siteLack(parts: ReportParts, { site, path, ino, page, inos, offset }: Asked) {
  const { state } = parts
  const disks = parts.nodes.map()
  const sites = [...new Set([...disks.values()].map(siteOf))]
  if (!sites.includes(site))
    throw new FsError('ENOENT', `no disk is at a site "${site}"; there are ${sites.sort().join(', ') || 'none'}`)
  const asked = inos === undefined ? manyInodes(state, { path, ino, page }) : { inos, paged: false, cookie: undefined }
  const at = new Complete(parts, disks)
  const found = {
    files: 0,
    lacking: [] as Ino[],
    lackingBytes: 0,
    /** Lacking, and their class puts nothing there. */
    unwanted: 0,
    unwantedClass: '',
    directories: [] as Ino[],
    rest: [] as { ino: Ino; offset: number }[],
  }
  let budget = EXTENTS_MAX
  for (const one of asked.inos) {
    const record = state.inode(one)
    if (record === undefined || !state.visible(record)) continue
    if (record.attr.type === 'dir' && (asked.paged || page === undefined)) found.directories.push(one)
    if (record.attr.type !== 'file') continue
    if (budget === 0) {
      found.rest.push({ ino: one, offset })
      continue
    }
    if (offset === 0) found.files++
    const { extents, complete } = state.extents.from(one, offset, budget)
    budget -= extents.length
    const last = extents.at(-1)
    if (!complete && last !== undefined) found.rest.push({ ino: one, offset: last.offset + last.length })
    const missing = extents.filter(({ chunk }) => !at.sites(chunk).has(site))
    if (missing.length === 0) continue
    found.lacking.push(one)
    for (const { length } of missing) found.lackingBytes += length
    const cls = state.classes.meaning(record.attr.classId ?? 0)
    if (mayBeAt(cls, site, disks)) continue
    found.unwanted++
    found.unwantedClass = cls.name
  }
  return { ...found, cookie: asked.cookie }
}

/** Chunks are shared by many small files: each is looked at once. */
class Complete {
  readonly #parts: ReportParts
  readonly #disks: DiskMap
  readonly #known = new Map<ChunkId, ReadonlySet<string>>()

  constructor(parts: ReportParts, disks: DiskMap) {
    this.#parts = parts
    this.#disks = disks
  }

  sites(chunk: ChunkId): ReadonlySet<string> {
    let sites = this.#known.get(chunk)
    if (sites === undefined) {
      const record = this.#parts.state.chunk(chunk)
      sites = record === undefined ? NOWHERE : completeAt(this.#parts.watch.view(chunk, record), this.#disks)
      this.#known.set(chunk, sites)
    }
    return sites
  }
}
