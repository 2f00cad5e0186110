/*
 * Whole directory listings, put together from the pages that the master answers, and given out again in pages of whatever
 * size a door wants. Pages belong together when they continue each other and are of one version of the directory.
 */

import type { Attr } from '../base/attr.ts'
import type { Ino } from '../base/ids.ts'
import type { Listed, TreeCache } from './core/tree-cache.ts'
import type { Entry } from './vfs.ts'

/** Listings being put together at a time; one more drops the oldest, which is then only not remembered. */
const COLLECTING_MAX = 16

interface Collecting {
  readonly version: number
  /** Where the next page must begin. */
  readonly next: number
  readonly entries: Listed[]
}

export class Listings {
  readonly #tree: TreeCache
  readonly #view: (ino: Ino) => Attr | undefined
  readonly #collecting = new Map<Ino, Collecting>()

  /** `view`: this client's own view of an inode, if it may be shown. */
  constructor(tree: TreeCache, view: (ino: Ino) => Attr | undefined) {
    this.#tree = tree
    this.#view = view
  }

  /** Entries after `cookie`, or undefined when not all of them are known with their attributes. */
  page(ino: Ino, cookie: number, limit: number): Entry[] | undefined {
    const listing = this.#tree.listing(ino)
    if (listing === undefined) return undefined
    const out: Entry[] = []
    for (let i = after(listing, cookie); i < listing.length && out.length < limit; i++) {
      const { name, cookie, ino } = listing[i]!
      const attr = this.#view(ino)
      if (attr === undefined) return undefined
      out.push({ name, cookie, ino, type: attr.type, attr })
    }
    return out
  }

  /** A page of the master's, asked for after `cookie`; `end`: the last one. */
  collect(ino: Ino, cookie: number, page: Listed[], end: boolean, version: number): void {
    const before = cookie === 0 ? { version, next: 0, entries: [] } : this.#collecting.get(ino)
    this.#collecting.delete(ino)
    if (before === undefined || before.version !== version || before.next !== cookie) return
    const entries = before.entries.concat(page)
    if (end) {
      this.#tree.learnListing(ino, entries)
      return
    }
    this.#collecting.set(ino, { version, next: page[page.length - 1]?.cookie ?? cookie, entries })
    for (const oldest of this.#collecting.keys()) {
      if (this.#collecting.size <= COLLECTING_MAX) break
      this.#collecting.delete(oldest)
    }
  }

  forget(ino: Ino): void {
    this.#collecting.delete(ino)
  }

  clear(): void {
    this.#collecting.clear()
  }
}

/** Index of the first entry after a cookie. */
function after(listing: readonly Listed[], cookie: number): number {
  let low = 0
  let high = listing.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (listing[middle]!.cookie <= cookie) low = middle + 1
    else high = middle
  }
  return low
}
