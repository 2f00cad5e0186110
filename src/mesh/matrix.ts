/*
 * What members have told their hub of how far they are from each other: the last that each has said. The hub only passes it on;
 * what follows from it is the master's to find out. All of it is memory: members say it again, all of it, every quarter
 * of a minute, so a hub or a master that has just started knows it soon.
 */

import { errnoOf } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import { FRESH_MS } from '../topology/rtt-filter.ts'
import { MEASURED_MAX, type MeasuredPath, type MeasuredRow, ROWS_MAX } from '../wire/mesh-shapes.ts'
import type { Registrar } from './hub.ts'

/** As often as members say it: what is new is with the master half a minute after it was measured. */
const TELL_EVERY_MS = 15_000

export class Matrix {
  readonly #clock: Clock
  /** The oldest first. */
  readonly #rows = new Map<string, { atMs: number; turn: number; paths: readonly MeasuredPath[] }>()
  #turn = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  take(node: string, paths: readonly MeasuredPath[]): void {
    const nowMs = this.#clock.monotonicMs()
    this.#rows.delete(node)
    for (const [other, { atMs }] of this.#rows)
      if (nowMs - atMs >= FRESH_MS || this.#rows.size >= MEASURED_MAX) this.#rows.delete(other)
      else break
    this.#rows.set(node, { atMs: nowMs, turn: ++this.#turn, paths })
  }

  /** The oldest rows of those that came after that turn, as many as one message takes, and up to which turn these are. */
  page(afterTurn: number): { rows: MeasuredRow[]; turn: number } {
    const nowMs = this.#clock.monotonicMs()
    const page = [...this.#rows].filter(([, { turn }]) => turn > afterTurn).slice(0, ROWS_MAX)
    return {
      rows: page.map(([node, { atMs, paths }]) => ({ node, ageMs: Math.round(nowMs - atMs), paths: [...paths] })),
      turn: page.at(-1)?.[1].turn ?? afterTurn,
    }
  }
}

/** Passes on to the master what has come, and what this node measures itself, until told to stop. */
export async function tellMatrix(
  matrix: Matrix,
  own: () => readonly MeasuredPath[],
  hub: string,
  registrar: Registrar,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  let told = 0
  while (!signal.aborted) {
    await clock.sleep(TELL_EVERY_MS, { signal }).catch(() => undefined)
    if (signal.aborted) return
    matrix.take(hub, own())
    try {
      for (let page = matrix.page(told); page.rows.length > 0; page = matrix.page(told)) {
        await registrar.call('meshMeasured', { hub, rows: page.rows })
        told = page.turn
      }
    } catch (error) {
      if (signal.aborted) return
      if (errnoOf(error) === undefined) throw error
      log.warn({ error: (error as Error).message }, 'the master does not take what was measured; trying again')
    }
  }
}
