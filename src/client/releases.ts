/*
 * Telling the master which inodes are no longer open here. Releases gather for a moment and travel together; one is never
 * sent while an open of the same inode is under way, because it would arrive after that open and undo it.
 */

import type { Ino } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import { Counted } from './counted.ts'

/** A file that is opened again within this time costs no message at all. */
const RELEASE_MS = 50

export class Releases {
  readonly #clock: Clock
  readonly #isOpen: (ino: Ino) => boolean
  readonly #mayGo: (ino: Ino) => boolean
  readonly #tell: (inos: Ino[]) => void
  readonly #waiting = new Set<Ino>()
  /** Opens under way. */
  readonly #opening = new Counted<Ino>()

  /** `mayGo`: the master can hear it, and nothing is on its way there that must be there first. */
  constructor(clock: Clock, isOpen: (ino: Ino) => boolean, mayGo: (ino: Ino) => boolean, tell: (inos: Ino[]) => void) {
    this.#clock = clock
    this.#isOpen = isOpen
    this.#mayGo = mayGo
    this.#tell = tell
  }

  add(ino: Ino): void {
    if (this.#waiting.size === 0) this.#clock.timer(RELEASE_MS, () => this.#send())
    this.#waiting.add(ino)
  }

  whileOpening<T>(ino: Ino, open: () => Promise<T>): Promise<T> {
    return this.#opening.during([ino], open)
  }

  #send(): void {
    const over: Ino[] = []
    for (const ino of this.#waiting) {
      if (this.#opening.has(ino) || !this.#mayGo(ino)) continue
      this.#waiting.delete(ino)
      if (!this.#isOpen(ino)) over.push(ino)
    }
    if (over.length > 0) this.#tell(over)
    if (this.#waiting.size > 0) this.#clock.timer(RELEASE_MS, () => this.#send())
  }
}
