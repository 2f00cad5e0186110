/*
 * What waits for its time: by the second in which it is due, each thing with the earliest second that it waits for. One that is
 * put off again and again is held once a second at most, and what does not fit is refused: whoever fills this finds it again.
 */

export class DueTimes<Key> {
  readonly #max: number
  readonly #due = new Map<number, Key[]>()
  readonly #secondOf = new Map<Key, number>()
  #held = 0
  #takenTo: number | undefined

  /** At most `max` times are held. */
  constructor(max: number) {
    this.#max = max
  }

  /** How many times are held, also of things that wait for an earlier one by now. */
  get size(): number {
    return this.#held
  }

  /** Lets it wait for this second, if it does not wait for an earlier one already and there is room. */
  add(key: Key, second: number): void {
    if ((this.#secondOf.get(key) ?? Number.POSITIVE_INFINITY) <= second || this.#held >= this.#max) return
    this.#secondOf.set(key, second)
    const waiting = this.#due.get(second)
    if (waiting === undefined) this.#due.set(second, [key])
    else waiting.push(key)
    this.#held++
  }

  /** What is due by this second, in no order; it is held no longer. A second that has been taken already is not looked at again. */
  take(second: number): Key[] {
    const from = this.#takenTo
    this.#takenTo = second
    if (from === second) return []
    // Second by second, because there may be very many; after a clock has been set it may be less to look at all of them.
    const few = from !== undefined && from < second && second - from <= this.#due.size
    const seconds = few
      ? Array.from({ length: second - from }, (_, index) => from + 1 + index)
      : [...this.#due.keys()].filter((one) => one <= second)
    return seconds.flatMap((one) => this.#takeSecond(one))
  }

  #takeSecond(second: number): Key[] {
    const keys = this.#due.get(second)
    if (keys === undefined) return []
    this.#due.delete(second)
    this.#held -= keys.length
    // The others wait for an earlier second, or have been given out for it.
    const due = keys.filter((key) => this.#secondOf.get(key) === second)
    for (const key of due) this.#secondOf.delete(key)
    return due
  }
}
