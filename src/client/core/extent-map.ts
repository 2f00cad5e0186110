/*
 * Where the bytes of a file are, as a sorted list of pieces that do not overlap. The same structure holds what the master
 * has told (source: chunk and offset), what this client wrote and has not committed (source: a segment in memory), and
 * which ranges are known at all (source: nothing). What is not covered is a hole, or unknown; the owner knows which.
 */

export interface Piece<S> {
  readonly offset: number
  readonly length: number
  readonly source: S
  /** Where in the source this piece begins; cutting a piece moves it. */
  readonly sourceOffset: number
}

export class ExtentMap<S> {
  #pieces: Piece<S>[] = []

  get size(): number {
    return this.#pieces.length
  }

  clear(): void {
    this.#pieces = []
  }

  /** The new piece replaces whatever it covers. */
  put(piece: Piece<S>): void {
    if (piece.length === 0) return
    const last = this.#pieces[this.#pieces.length - 1]
    if (last === undefined || last.offset + last.length <= piece.offset) {
      this.#pieces.push(piece)
      return
    }
    this.#replace(piece.offset, piece.offset + piece.length, piece)
  }

  /** Nothing is left in start … end. */
  cut(start: number, end: number): void {
    if (end > start) this.#replace(start, end, undefined)
  }

  /** The pieces that touch start … end, cut to it, in order. */
  within(start: number, end: number): Piece<S>[] {
    const out: Piece<S>[] = []
    for (let i = this.#firstEndingAfter(start); i < this.#pieces.length; i++) {
      const piece = this.#pieces[i]!
      if (piece.offset >= end) break
      out.push(cutTo(piece, start, end))
    }
    return out
  }

  /** Whether start … end is covered without a gap. */
  covers(start: number, end: number): boolean {
    let at = start
    for (let i = this.#firstEndingAfter(start); at < end; i++) {
      const piece = this.#pieces[i]
      if (piece === undefined || piece.offset > at) return false
      at = piece.offset + piece.length
    }
    return true
  }

  /** Removes the pieces of one source (all of them, wherever they are). */
  removeSource(source: S): void {
    this.#pieces = this.#pieces.filter((piece) => piece.source !== source)
  }

  all(): readonly Piece<S>[] {
    return this.#pieces
  }

  /** Index of the first piece that ends after `at`. */
  #firstEndingAfter(at: number): number {
    let low = 0
    let high = this.#pieces.length
    while (low < high) {
      const middle = (low + high) >> 1
      const piece = this.#pieces[middle]!
      if (piece.offset + piece.length <= at) low = middle + 1
      else high = middle
    }
    return low
  }

  #replace(start: number, end: number, piece: Piece<S> | undefined): void {
    const from = this.#firstEndingAfter(start)
    let to = from
    const fresh: Piece<S>[] = []
    while (to < this.#pieces.length && this.#pieces[to]!.offset < end) to++
    const first = this.#pieces[from]
    if (from < to && first!.offset < start) fresh.push(cutTo(first!, first!.offset, start))
    if (piece !== undefined) fresh.push(piece)
    const last = this.#pieces[to - 1]
    if (from < to && last!.offset + last!.length > end) fresh.push(cutTo(last!, end, last!.offset + last!.length))
    this.#pieces.splice(from, to - from, ...fresh)
  }
}

function cutTo<S>(piece: Piece<S>, start: number, end: number): Piece<S> {
  const offset = Math.max(piece.offset, start)
  const stop = Math.min(piece.offset + piece.length, end)
  if (offset === piece.offset && stop - offset === piece.length) return piece
  return {
    offset,
    length: stop - offset,
    source: piece.source,
    sourceOffset: piece.sourceOffset + offset - piece.offset,
  }
}
