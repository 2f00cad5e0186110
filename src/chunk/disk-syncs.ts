/*
 * The order in which one disk is asked to make things durable. Syncs of files are bounded, syncs of directories are shared:
 * a hundred new chunks in one directory cost one or two.
 */

import type { DiskIo } from './disk-io.ts'

/** Two syncs at a time: one in the disk, one being prepared. More would only take threads from the other disks. */
const SYNCS_MAX = 2

export class DiskSyncs {
  readonly #io: DiskIo
  #running = 0
  readonly #waiting: (() => void)[] = []
  readonly #dirs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>()

  constructor(io: DiskIo) {
    this.#io = io
  }

  /** Each chunk has at most one sync here and one behind it, so the queue is bounded by the open files. */
  async gate(work: () => Promise<void>): Promise<void> {
    if (this.#running >= SYNCS_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running++
    try {
      await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }

  /** Calls that come while one runs share the next: what they renamed may have missed the running one. */
  dir(dir: string): Promise<void> {
    const known = this.#dirs.get(dir)
    const start = (): Promise<void> => {
      const running = this.#io.syncDir(dir).finally(() => {
        if (this.#dirs.get(dir)?.running === running) this.#dirs.delete(dir)
      })
      this.#dirs.set(dir, { running, next: undefined })
      return running
    }
    if (known === undefined) return start()
    known.next ??= known.running.then(start, start)
    return known.next
  }
}
