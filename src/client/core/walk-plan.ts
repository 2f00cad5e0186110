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
/** Asked of the master at a time: few enough that a real question among them waits for a millisecond or two. */
const IN_FLIGHT_MAX = 16
/** Directories seen in listings and waiting to be fetched; beyond it those found first, which come last, are dropped. */
const STACK_MAX = 4_096
/** Guesses that lie unused this long were wrong: whoever was walking has stopped. */
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

interface Looked {
  misses: number
  notBeforeMs: number
}

export class WalkPlan {
  /** Directories to fetch, the next one last. What has left `#waiting` meanwhile is skipped. */
  #stack: Ino[] = []
  readonly #waiting = new Set<Ino>()
  readonly #inFlight = new Set<Ino>()
  /** Fetched and not used: entries, and since when. Insertion order is age. */
  readonly #unused = new Map<Ino, { readonly entries: number; readonly sinceMs: number }>()
  #unusedEntries = 0
  #window = 0
  readonly #looked = new Generations<Ino, Looked>(LOOKED_MAX)
  #credit = 0

  // ---- listings

  /** Somebody lists this directory from its beginning. */
  entered(dir: Ino): void {
    const fetched = this.#unused.get(dir)
    const child = this.#waiting.delete(dir) || this.#inFlight.has(dir)
    if (fetched !== undefined) {
      this.#unused.delete(dir)
      this.#unusedEntries -= fetched.entries
      this.#window = Math.min(WINDOW_MAX, this.#window * 2)
    } else if (child) this.#window = Math.max(WINDOW_MIN, this.#window)
  }

  /** These are the directories in it, in order. They come before everything found earlier. */
  found(children: readonly Ino[]): void {
    for (let i = children.length - 1; i >= 0; i--) {
      const child = children[i]!
      if (this.#unused.has(child) || this.#inFlight.has(child)) continue
      this.#waiting.add(child)
      this.#stack.push(child)
    }
    if (this.#stack.length <= 2 * STACK_MAX) return
    for (const dropped of this.#stack.splice(0, this.#stack.length - STACK_MAX)) this.#waiting.delete(dropped)
  }

  /** The next directory worth fetching now; it counts as in flight until `fetched` or `failed`. */
  next(nowMs: number): Ino | undefined {
    if (this.#window === 0) return undefined
    for (const { sinceMs } of this.#unused.values()) {
      if (nowMs - sinceMs > UNUSED_MS) this.#stop()
      break
    }
    if (this.#inFlight.size >= IN_FLIGHT_MAX || this.#inFlight.size + this.#unused.size >= this.#window)
      return undefined
    if (this.#unusedEntries >= UNUSED_ENTRIES_MAX) return undefined
    for (let dir = this.#stack.pop(); dir !== undefined; dir = this.#stack.pop()) {
      if (!this.#waiting.delete(dir)) continue
      this.#inFlight.add(dir)
      return dir
    }
    return undefined
  }

  /** `used`: somebody was waiting for it already. */
  fetched(dir: Ino, entries: number, used: boolean, nowMs: number): void {
    this.#inFlight.delete(dir)
    if (used) {
      this.#window = Math.min(WINDOW_MAX, this.#window * 2)
      return
    }
    this.#unused.set(dir, { entries, sinceMs: nowMs })
    this.#unusedEntries += entries
  }

  failed(dir: Ino): void {
    this.#inFlight.delete(dir)
  }

  #stop(): void {
    this.#window = 0
    this.#stack = []
    this.#waiting.clear()
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
