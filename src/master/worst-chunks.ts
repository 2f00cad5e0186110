/*
 * The chunks with most dead bytes, found by looking at every chunk, some at a time. The state has an index of those that are
 * less than half live and none of the others, which would cost a record per chunk and a write per deleted file; so this is
 * only done while room is short, and what it finds is used at once.
 */

import type { ChunkId } from '../base/ids.ts'
import { mostDead, type Partly } from './core/compaction.ts'
import type { State } from './core/state.ts'

/** Chunks looked at in one step: about 5 ms. */
const STEP_CHUNKS = 1_000
/** Remembered: as many as are rewritten together at most. */
const FOUND_MAX = 64

export class WorstChunks {
  readonly #state: State
  readonly #readable: (chunk: ChunkId) => boolean
  #found: Partly[] = []
  #cursor: ChunkId | 0 = 0
  #complete = false

  constructor(state: State, readable: (chunk: ChunkId) => boolean) {
    this.#state = state
    this.#readable = readable
  }

  /** Looks at the next ones; true: all have been looked at. */
  look(): boolean {
    if (this.#complete) return true
    const page = this.#state.chunkIndex.all(this.#cursor, STEP_CHUNKS)
    const partly = page.flatMap((chunk) => this.#partly(chunk) ?? [])
    this.#found = mostDead([...this.#found, ...partly], FOUND_MAX)
    this.#cursor = page.at(-1) ?? 0
    this.#complete = page.length < STEP_CHUNKS
    return this.#complete
  }

  /** As they are now, most dead bytes first. */
  found(): Partly[] {
    const now = this.#found.flatMap(({ chunk }) => this.#partly(chunk) ?? [])
    return mostDead(now, FOUND_MAX)
  }

  restart(): void {
    this.#found = []
    this.#cursor = 0
    this.#complete = false
  }

  #partly(chunk: ChunkId): Partly | undefined {
    const record = this.#state.chunk(chunk)
    return record?.state === 'sealed' && this.#readable(chunk)
      ? { chunk, length: record.length, live: record.live }
      : undefined
  }
}
