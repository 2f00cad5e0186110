/*
 * What operators allow on the ways between sites: a limit for always and others by the time of day, per pair of sites. A pair
 * without a record has none of its own, and the setting for all pairs holds. Pure; what hour it is, and what is done with the
 * limit, is the shell's.
 *
 * All of it is one record, because every order that crosses sites looks at it and there are few.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import { type Infer, list, optional, struct, uint } from '../../base/schema.ts'
import { limitAt, NO_LIMIT, type RateLimit, WINDOWS_MAX, withWindow } from '../../topology/rate-windows.ts'
import { LINKS_MAX, linkWindow, siteName } from '../../wire/shapes.ts'
import type { CommandOf } from './commands.ts'
import type { Kv } from './kv.ts'
import { decodeRecord, encodeRecord } from './records.ts'
import type { State } from './state.ts'
import { key } from './tables.ts'
import type { Work } from './work.ts'

const linkRecord = struct({
  /** In order. */
  a: siteName,
  b: siteName,
  bytesPerS: optional(uint()),
  windows: list(struct({ ...linkWindow.fields, bytesPerS: uint() }), WINDOWS_MAX),
})
export type LinkRecord = Infer<typeof linkRecord>
/** By pairs. */
export const linksRecord = list(linkRecord, LINKS_MAX)

/** Both orders are one pair. */
export const pairOf = (a: string, b: string): readonly [string, string] => (a < b ? [a, b] : [b, a])

export class LinkTable {
  readonly #kv: Kv
  #links: readonly LinkRecord[] | undefined

  constructor(kv: Kv) {
    this.#kv = kv
  }

  all(): readonly LinkRecord[] {
    if (this.#links === undefined) {
      const value = this.#kv.get(key.meta('links'))
      this.#links = value === undefined ? [] : decodeRecord(linksRecord, value, 'links')
    }
    return this.#links
  }
  of(a: string, b: string): LinkRecord | undefined {
    const [first, second] = pairOf(a, b)
    return this.all().find((link) => link.a === first && link.b === second)
  }
  set(links: readonly LinkRecord[]): void {
    if (links.length === 0) this.#kv.delete(key.meta('links'))
    else this.#kv.put(key.meta('links'), encodeRecord(linksRecord, [...links]))
    this.#links = links
  }
  forget(): void {
    this.#links = undefined
  }
}

/** Without a rate: no longer. */
export function linkLimit(work: Work, { a, b, bytesPerS, window }: CommandOf<'linkLimit'>): Result<unknown> {
  const { links } = work.state
  if (a === '' || b === '') return refuse('EINVAL', 'a site has a name')
  if (a === b) return refuse('EINVAL', 'a limit is between two sites')
  const before = links.of(a, b)
  const changed = bytesPerS === undefined ? without(before, window) : withRate(before ?? NO_LIMIT, bytesPerS, window)
  if ('errno' in changed) return changed
  const others = links.all().filter((link) => link !== before)
  const [first, second] = pairOf(a, b)
  const limit = changed.ok
  if (limit.bytesPerS === undefined && limit.windows.length === 0) links.set(others)
  else {
    if (others.length >= LINKS_MAX) return refuse('ENOSPC', `there are limits for ${LINKS_MAX} pairs of sites`)
    const record = { a: first, b: second, bytesPerS: limit.bytesPerS, windows: [...limit.windows] }
    links.set([...others, record].sort((x, y) => compare(x.a, y.a) || compare(x.b, y.b)))
  }
  return ok({})
}

type Hours = CommandOf<'linkLimit'>['window']

function withRate(before: RateLimit, bytesPerS: number, window: Hours): Result<RateLimit> {
  return window === undefined ? ok({ ...before, bytesPerS }) : withWindow(before, { ...window, bytesPerS })
}

function without(before: RateLimit | undefined, window: Hours): Result<RateLimit> {
  if (before === undefined) return refuse('ENOENT', 'there is no limit between them')
  if (window === undefined) return ok(NO_LIMIT)
  const windows = before.windows.filter(({ from, to }) => from !== window.from || to !== window.to)
  if (windows.length === before.windows.length) return refuse('ENOENT', 'there is no limit for these hours')
  return ok({ ...before, windows })
}

const compare = (x: string, y: string): number => (x < y ? -1 : x > y ? 1 : 0)

/** What a pair's own limit says at this minute; undefined: nothing, the setting for all pairs holds. */
export const ownLimit = (state: State, a: string, b: string, minute: number): number | undefined => {
  const link = state.links.of(a, b)
  return link === undefined ? undefined : limitAt(link, minute)
}

// ---- for the check

export function wrongWithLinks(state: State): string[] {
  const found: string[] = []
  const links = state.links.all()
  for (const [i, { a, b, bytesPerS, windows }] of links.entries()) {
    const who = `the limit between ${a} and ${b}`
    if (a === '' || !(a < b)) found.push(`${who}: not two sites in order`)
    if (bytesPerS === undefined && windows.length === 0) found.push(`${who}: limits nothing`)
    const hours = new Set(windows.map(({ from, to }) => `${from}-${to}`))
    if (hours.size !== windows.length) found.push(`${who}: the same hours twice`)
    const next = links[i + 1]
    if (next !== undefined && (compare(a, next.a) || compare(b, next.b)) >= 0)
      found.push(`${who}: out of order, or twice`)
  }
  return found
}
