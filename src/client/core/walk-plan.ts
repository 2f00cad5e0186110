/*
 * What a program that goes through a tree will want to know next, from what it has asked so far. Pure: it decides, and
 * walks.ts asks the master.
 *
 * Two signs are read. Who lists a directory and then one of its children (find, du, rm, a backup) is walking, and will
 * list the other children too, depth first and in the order of the listing. Who looks up a second name that is not known
 * in one directory (git, a compiler, a package loader) will look up more: the whole listing costs hardly more than one
 * name, and says of every other name whether it is there.
 *
 * A guess costs the master work, so guesses pay their way: the window of unused ones grows with each that was used and
 * falls back when they lie unused; a directory whose listing did not help is left alone for a while.
 */

import type { Ino } from '../../base/ids.ts'
import { Generations } from './generations.ts'

/** Directories fetched and not yet used: at first, and when every guess has been right. 64 hide 40 ms at 1600 a second. */
const WINDOW_MIN = 4
const WINDOW_MAX = 64
/** Entries of those; about 400 bytes each here, so 3 MiB that nobody asked for at worst. */
const UNUSED_ENTRIES_MAX = 8_192
/**
 * Asked of the master at a time: few enough that a real question among them waits for a millisecond or two. They are asked
 * in batches, when half of what may be has been used: what leaves together costs one change of process, not one each.
 */
const IN_FLIGHT_MAX = 32
/** Directories whose place in the walk is remembered; beyond it those that come last are dropped. */
const PLACES_MAX = 4_096
/**
 * When none was used for this long the rest were wrong: whoever was walking has stopped. One by itself may lie for much longer: on a
 * long way a walk takes minutes, and what stands after a large directory is come to after all that is in it.
 */
const UNUSED_MS = 2_000
/** Directories of which lookups are counted. */
const LOOKED_MAX = 4_096
/** Misses in one directory before it is listed, until guessing has paid. */
const MISSES = 2
/** A directory listed for its lookups is not listed for them again so soon: it is too large, or others keep changing it. */
const AGAIN_MS = 2_000
/** What guessed listings have earned: each costs two answered lookups. With this much at hand the first miss suffices. */
const CREDIT_MAX = 32
const CREDIT_EAGER = 8

/** A directory in the order of the walk: depth first, a directory before what is in it. */
interface Place {
  readonly dir: Ino
  waiting: boolean
  before: Place | undefined
  after: Place | undefined
}

interface Looked {
  misses: number
  notBeforeMs: number
}

export class WalkPlan {
  readonly #places = new Map<Ino, Place>()
  #first: Place | undefined
  #last: Place | undefined
  readonly #inFlight = new Set<Ino>()
  /** Fetched and not used: entries, and since when. Insertion order is age. */
  readonly #unused = new Map<Ino, { readonly entries: number; readonly sinceMs: number }>()
  #unusedEntries = 0
  /** When one was used last. */
  #usedMs = Number.NEGATIVE_INFINITY
  #window = 0
  /** In the middle of a batch. */
  #filling = false
  readonly #looked = new Generations<Ino, Looked>(LOOKED_MAX)
  #credit = 0

  // ---- listings

  /** Somebody lists this directory from its beginning. */
  entered(dir: Ino, nowMs: number): void {
    const fetched = this.#unused.get(dir)
    const place = this.#places.get(dir)
    if (fetched !== undefined) {
      this.#unused.delete(dir)
      this.#unusedEntries -= fetched.entries
      this.#usedMs = nowMs
      this.#window = Math.min(WINDOW_MAX, this.#window * 2)
    } else if (place !== undefined) this.#window = Math.max(WINDOW_MIN, this.#window)
    if (place !== undefined) place.waiting = false
  }

  /** These are the directories in `dir`, in order. They come where it stands, or first of all when it has no place. */
  found(dir: Ino, children: readonly Ino[]): void {
    const own = this.#places.get(dir)
    let before = own
    for (const child of children) if (!this.#places.has(child)) before = this.#insert(child, before)
    if (own !== undefined && !own.waiting && !this.#inFlight.has(dir) && !this.#unused.has(dir)) this.#remove(own)
    while (this.#places.size > PLACES_MAX && this.#last?.waiting) this.#remove(this.#last)
  }

  /** The next directory worth fetching now; it counts as in flight until `fetched` or `failed`. */
  next(nowMs: number): Ino | undefined {
    if (this.#window === 0) return undefined
    for (const { sinceMs } of this.#unused.values()) {
      if (nowMs - Math.max(sinceMs, this.#usedMs) > UNUSED_MS) this.#stop()
      break
    }
    const asked = this.#inFlight.size
    const ahead = asked + this.#unused.size
    const share = this.#filling ? 1 : 0.5
    this.#filling = false
    if (asked >= IN_FLIGHT_MAX * share || ahead >= this.#window || ahead > this.#window * share) return undefined
    if (this.#unusedEntries >= UNUSED_ENTRIES_MAX) return undefined
    // What stands before the first waiting one is in flight or unused, so this looks at few.
    for (let place = this.#first; place !== undefined; place = place.after) {
      if (!place.waiting) continue
      place.waiting = false
      this.#inFlight.add(place.dir)
      this.#filling = true
      return place.dir
    }
    return undefined
  }

  /** `used`: somebody was waiting for it already. */
  fetched(dir: Ino, entries: number, used: boolean, nowMs: number): void {
    this.#inFlight.delete(dir)
    if (used) {
      this.#usedMs = nowMs
      this.#window = Math.min(WINDOW_MAX, this.#window * 2)
      return
    }
    this.#unused.set(dir, { entries, sinceMs: nowMs })
    this.#unusedEntries += entries
  }

  failed(dir: Ino): void {
    this.#inFlight.delete(dir)
    const place = this.#places.get(dir)
    if (place !== undefined) this.#remove(place)
  }

  #insert(dir: Ino, before: Place | undefined): Place {
    const after = before === undefined ? this.#first : before.after
    const place: Place = { dir, waiting: true, before, after }
    if (before === undefined) this.#first = place
    else before.after = place
    if (after === undefined) this.#last = place
    else after.before = place
    this.#places.set(dir, place)
    return place
  }

  #remove({ dir, before, after }: Place): void {
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    this.#places.delete(dir)
  }

  #stop(): void {
    this.#window = 0
    this.#places.clear()
    this.#first = undefined
    this.#last = undefined
    this.#unused.clear()
    this.#unusedEntries = 0
  }

  // ---- lookups

  /** A name of this directory is not known. True: list it. */
  missed(dir: Ino, nowMs: number): boolean {
    let looked = this.#looked.get(dir)
    if (looked === undefined) {
      looked = { misses: 0, notBeforeMs: 0 }
      this.#looked.set(dir, looked)
    }
    looked.misses++
    if (nowMs < looked.notBeforeMs || looked.misses < (this.#credit >= CREDIT_EAGER ? 1 : MISSES)) return false
    looked.misses = 0
    looked.notBeforeMs = nowMs + AGAIN_MS
    this.#credit = Math.max(0, this.#credit - 2)
    return true
  }

  /** A name was answered here that would have been a question without the guess. */
  helped(dir: Ino): void {
    if (this.#credit < CREDIT_MAX && this.#looked.get(dir) !== undefined) this.#credit++
  }

  // ---- the whole

  /** Nothing is known to be true any more. */
  clear(): void {
    this.#stop()
    this.#looked.clear()
    this.#credit = 0
  }
}
