/*
 * Where the commands of a batch are kept in order, for followers and for people. The loop hands over every batch inside
 * the transaction that carries it out, before anything of it is acknowledged: what `append` throws undoes the batch.
 *
 * This is the seam for several masters: theirs puts the batch into the shared log first and throws when it no longer
 * leads. A single master's changelog is in the same store as the state and written by `apply` itself, record by record,
 * so that no state exists without its command; what is left to do is to hold the two together.
 */

import { assert } from '../base/fault.ts'
import type { ChangelogEntry } from './core/command-codec.ts'
import type { State } from './core/state.ts'

export interface Changelog {
  /** Answers the index of the last command of the batch. */
  append(batch: readonly ChangelogEntry[]): number
}

export class EmbeddedChangelog implements Changelog {
  readonly #state: State
  constructor(state: State) {
    this.#state = state
  }

  append(batch: readonly ChangelogEntry[]): number {
    const last = batch.at(-1)?.envelope.index ?? 0
    assert(last === this.#state.counters().index, 'every command applied has its own index in the changelog')
    return last
  }
}
