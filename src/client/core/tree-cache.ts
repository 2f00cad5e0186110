/*
 * What this client knows of the tree: attributes by inode, names by directory, listings. Pure: it does not know whether
 * what it holds is still true. That is the session's business (`fresh()`): the master pushes every change made elsewhere
 * before any later answer on the same connection, so everything here is true as of the last word heard from the master.
 *
 * A directory is `complete` when all its names are known (it was made here, or listed to the end at one version): then a
 * name that is not here does not exist, and no question is needed to say so.
 */

import type { Attr } from '../../base/attr.ts'
import type { Ino } from '../../base/ids.ts'
import { Generations } from './generations.ts'

/** About 300 bytes each in V8: 30 MB when full, bearable beside the block cache on a 1 GB VPS. */
const ATTRS_MAX = 100_000
const DIRECTORIES_MAX = 20_000
/** Names known of one directory; a larger one is asked about name by name. */
const NAMES_MAX = 200_000

export interface Listed {
  readonly name: string
  readonly cookie: number
  readonly ino: Ino
}

interface Directory {
  /** Name → inode; 0 = known not to exist. */
  readonly names: Map<string, number>
  complete: boolean
  /** All entries in cookie order, as of `version`; undefined after any change. */
  listing: Listed[] | undefined
}

export class TreeCache {
  readonly #attrs = new Generations<Ino, Attr>(ATTRS_MAX)
  readonly #directories = new Generations<Ino, Directory>(DIRECTORIES_MAX)
  /** Under which name a directory was found; true only while that name still stands for it. */
  readonly #places = new Generations<Ino, { parent: Ino; name: string }>(DIRECTORIES_MAX)

  /** Changed elsewhere a moment ago: inodes, and directories with names that were. */
  readonly #overtaken = new Set<Ino>()

  /**
   * An answer and the push that makes it worthless may arrive together, and the push is taken in first, because whoever
   * waits for an answer wakes up a little later. Until `tookIn` nothing is learned of the inode or of names in it.
   */
  overtake(ino: Ino): void {
    this.#overtaken.add(ino)
  }
  tookIn(): void {
    this.#overtaken.clear()
  }

  attr(ino: Ino): Attr | undefined {
    return this.#attrs.get(ino)
  }

  /** Newer than what is known, or as new. */
  learn(attr: Attr): void {
    if (this.#overtaken.has(attr.ino)) return
    const known = this.#attrs.get(attr.ino)
    if (known === undefined || known.version <= attr.version) this.#attrs.set(attr.ino, attr)
  }

  forget(ino: Ino): void {
    this.#attrs.delete(ino)
  }

  /** The inode of a name, 0 when there is certainly none, undefined when not known. */
  name(parent: Ino, name: string): number | undefined {
    const directory = this.#directories.get(parent)
    if (directory === undefined) return undefined
    const known = directory.names.get(name)
    if (known !== undefined) return known
    return directory.complete ? 0 : undefined
  }

  setName(parent: Ino, name: string, ino: number): void {
    if (this.#overtaken.has(parent)) {
      this.forgetName(parent, name)
      return
    }
    let directory = this.#directories.get(parent)
    if (directory === undefined) {
      directory = { names: new Map(), complete: false, listing: undefined }
      this.#directories.set(parent, directory)
    }
    if (directory.names.get(name) !== ino) directory.listing = undefined
    // In a complete directory absence says the same as a 0 and costs no memory.
    if (ino === 0 && directory.complete) directory.names.delete(name)
    else if (directory.names.size < NAMES_MAX) directory.names.set(name, ino)
    else directory.complete = false
  }

  /** A name that stands for a directory. */
  setDirectory(parent: Ino, name: string, ino: Ino): void {
    this.setName(parent, name, ino)
    this.#places.set(ino, { parent, name })
  }

  /** What ".." is in a directory, if that is known. */
  parent(ino: Ino): Ino | undefined {
    const place = this.#places.get(ino)
    return place !== undefined && this.name(place.parent, place.name) === ino ? place.parent : undefined
  }

  /** Something happened to this name elsewhere: nothing is known of it, so the directory is no longer complete. */
  forgetName(parent: Ino, name: string): void {
    const directory = this.#directories.get(parent)
    if (directory === undefined) return
    directory.names.delete(name)
    directory.complete = false
    directory.listing = undefined
  }

  /** A directory made by this client: empty, and every later name comes from here or is pushed. */
  madeDirectory(ino: Ino): void {
    if (this.#overtaken.has(ino)) return
    this.#directories.set(ino, { names: new Map(), complete: true, listing: [] })
  }

  /** Whether the directory certainly has no names. */
  isEmpty(ino: Ino): boolean {
    const directory = this.#directories.get(ino)
    return directory?.complete === true && directory.names.size === 0
  }

  forgetDirectory(ino: Ino): void {
    this.#directories.delete(ino)
  }

  /** A whole listing, read at one version of the directory. */
  learnListing(ino: Ino, listing: Listed[]): void {
    if (listing.length > NAMES_MAX || this.#overtaken.has(ino)) return
    const names = new Map<string, number>()
    for (const entry of listing) names.set(entry.name, entry.ino)
    this.#directories.set(ino, { names, complete: true, listing })
  }

  listing(ino: Ino): Listed[] | undefined {
    return this.#directories.get(ino)?.listing
  }

  clear(): void {
    this.#attrs.clear()
    this.#directories.clear()
    this.#places.clear()
  }
}
