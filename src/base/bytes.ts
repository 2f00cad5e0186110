/* Bytes that lie in several pieces, as they came, taken apart without copying. */

/** Bytes from … to of the row of parts; `to` may lie beyond the end. */
export function sliceParts<T extends Uint8Array>(
  parts: readonly T[],
  from: number,
  to = Number.POSITIVE_INFINITY,
): T[] {
  const out: T[] = []
  let at = 0
  for (const part of parts) {
    if (at >= to) break
    const start = Math.max(from - at, 0)
    const end = Math.min(to - at, part.length)
    if (end > start) out.push((start === 0 && end === part.length ? part : part.subarray(start, end)) as T)
    at += part.length
  }
  return out
}
