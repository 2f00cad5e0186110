/*
 * Listings fetched before they are asked for. core/walk-plan.ts says which; what comes back goes where every listing goes,
 * and is used, aged and invalidated like every other. Losing a guess costs nothing but the guess: errors are left to
 * whoever asks for the directory in earnest.
 */

import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import { WalkPlan } from './core/walk-plan.ts'

/** Entries of a guess; a larger directory is listed by whoever wants it, page by page. */
const WALK_ENTRIES = 1_024
/** The same for one that is listed because names in it are looked up. */
const LOOKUP_ENTRIES = 256

/** Asks for the first entries of a directory and keeps what comes; answers how many came. */
export type FetchListing = (dir: Ino, limit: number) => Promise<number>

export class Walks {
  readonly #clock: Clock
  readonly #fetch: FetchListing
  readonly #directoriesIn: (dir: Ino) => readonly Ino[] | undefined
  readonly #plan = new WalkPlan()
  readonly #coming = new Map<Ino, Promise<void>>()
  /** Guesses that somebody has come to wait for. */
  readonly #wanted = new Set<Ino>()

  /** `directoriesIn`: the directories in one whose whole listing is known, undefined when it is not. */
  constructor(clock: Clock, fetch: FetchListing, directoriesIn: (dir: Ino) => readonly Ino[] | undefined) {
    this.#clock = clock
    this.#fetch = fetch
    this.#directoriesIn = directoriesIn
  }

  /** A listing that is on its way already; settles when it is there, or is not going to be. */
  coming(dir: Ino): Promise<void> | undefined {
    const coming = this.#coming.get(dir)
    if (coming !== undefined) this.#wanted.add(dir)
    return coming
  }

  /** Somebody begins to list this directory. */
  entered(dir: Ino): void {
    this.#plan.entered(dir, this.#clock.monotonicMs())
  }

  /** Somebody has been given the listing of this directory. */
  given(dir: Ino): void {
    const children = this.#directoriesIn(dir) ?? []
    this.#plan.found(
      dir,
      children.filter((child) => this.#directoriesIn(child) === undefined),
    )
    this.#pump()
  }

  /** A name in this directory is not known. Settles when it may be, undefined: ask for it. */
  missed(dir: Ino): Promise<void> | undefined {
    const coming = this.coming(dir)
    if (coming !== undefined) return coming
    if (!this.#plan.missed(dir, this.#clock.monotonicMs())) return undefined
    return this.#guess(dir, LOOKUP_ENTRIES).then(() => {
      this.#wanted.delete(dir)
    })
  }

  /** A name in this directory was known. */
  helped(dir: Ino): void {
    this.#plan.helped(dir)
  }

  clear(): void {
    this.#plan.clear()
  }

  #pump(): void {
    for (let dir = this.#next(); dir !== undefined; dir = this.#next()) {
      const next = dir
      void this.#guess(next, WALK_ENTRIES).then((entries) => {
        const used = this.#wanted.delete(next)
        if (entries === undefined) this.#plan.failed(next)
        else {
          this.#plan.fetched(next, entries, used, this.#clock.monotonicMs())
          this.#plan.found(next, this.#directoriesIn(next) ?? [])
        }
        this.#pump()
      })
    }
  }

  #next(): Ino | undefined {
    return this.#plan.next(this.#clock.monotonicMs())
  }

  /** How many entries came; undefined when the master refused. */
  #guess(dir: Ino, limit: number): Promise<number | undefined> {
    const guess = this.#fetch(dir, limit).catch((error: unknown) => {
      // Removed meanwhile, or the master is away: whoever asks for it in earnest is told.
      if (!(error instanceof FsError)) throw error
      return undefined
    })
    const settled = guess.then(() => {
      this.#coming.delete(dir)
    })
    this.#coming.set(dir, settled)
    return guess
  }
}
