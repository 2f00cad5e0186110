/*
 * Complete linkage: things that are near each other become groups, and no two of one group are farther apart than the
 * limit. (Single linkage, which asks for the nearest pair only, makes one chain of all of Europe.)
 *
 * Always the two groups whose farthest pair is nearest are put together; among equals those with the smallest index, so
 * that the same distances give the same groups everywhere. Each group remembers its nearest, which merging others can only push
 * away, so most steps look at one row: a few million steps for 200 things.
 */

/** Farther than anything: such a pair is never in one group. */
export const APART = 1e9

/**
 * `distances[i * n + j]`, symmetric; destroyed. Groups as lists of indices, each in order, in the order of their first.
 */
export function completeLinkage(distances: Float64Array, n: number, limit: number): number[][] {
  const groups: (number[] | undefined)[] = Array.from({ length: n }, (_, i) => [i])
  // The nearest with a higher index: each pair is looked at from one side.
  const nearest = new Int32Array(n).fill(-1)
  const seek = (i: number): void => {
    let best = -1
    for (let j = i + 1; j < n; j++)
      if (groups[j] !== undefined && (best < 0 || distances[i * n + j]! < distances[i * n + best]!)) best = j
    nearest[i] = best
  }
  for (let i = 0; i < n; i++) seek(i)
  for (;;) {
    let a = -1
    for (let i = 0; i < n; i++) {
      if (groups[i] === undefined || nearest[i]! < 0) continue
      if (a < 0 || distances[i * n + nearest[i]!]! < distances[a * n + nearest[a]!]!) a = i
    }
    if (a < 0) break
    const b = nearest[a]!
    if (distances[a * n + b]! > limit) break
    groups[a] = [...groups[a]!, ...groups[b]!]
    groups[b] = undefined
    for (let k = 0; k < n; k++) {
      if (k === a || groups[k] === undefined) continue
      const far = Math.max(distances[a * n + k]!, distances[b * n + k]!)
      distances[a * n + k] = far
      distances[k * n + a] = far
    }
    seek(a)
    for (let k = 0; k < b; k++)
      if (groups[k] !== undefined && k !== a && (nearest[k] === a || nearest[k] === b)) seek(k)
  }
  return groups.filter((group) => group !== undefined).map((group) => group.sort((x, y) => x - y))
}
