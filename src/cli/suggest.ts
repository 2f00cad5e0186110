/*
 * What somebody may have meant by a word that is in no list. Pure.
 */

/** Of `known`, the one that is at most a third of its letters away; undefined: none is near. */
export function closest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const candidate of known) {
    const away = editDistance(word, candidate)
    if (away < least && away * 3 <= Math.max(word.length, candidate.length)) {
      best = candidate
      least = away
    }
  }
  return best
}

/** Letters to be inserted, taken away, replaced or swapped with their neighbour (Damerau 1964, restricted). */
export function editDistance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row[j] = Math.min(replaced, last[j]! + 1, row[j - 1]! + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j]!, before[j - 2]! + 1)
    }
    before = last
    last = row
  }
  return last[b.length]!
}
