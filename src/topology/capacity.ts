/*
 * How many bytes of files fit on chunkservers of unlike size, when every byte is kept `copies` times and never twice on one
 * chunkserver. A server larger than its share cannot be filled: there is nobody to hold the other copies.
 */

export function storableBytes(bytesPerServer: readonly number[], copies: number): number {
  const sizes = bytesPerServer.filter((size) => size > 0).sort((a, b) => b - a)
  const kept = Math.min(Math.max(1, copies), sizes.length)
  if (kept === 0) return 0
  let rest = sizes.reduce((sum, size) => sum + size, 0)
  // A server larger than an even share holds one copy of everything; the others have to hold what remains.
  for (let i = 0; i < kept - 1; i++) {
    const even = rest / (kept - i)
    if (sizes[i]! <= even) return Math.floor(even)
    rest -= sizes[i]!
  }
  return rest
}
