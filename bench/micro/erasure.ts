/*
 * Erasure coding on one core: npx tsx bench/micro/erasure.ts
 * Prints one JSON line per figure, in MB of the chunk's data per second. Rows of 64 KiB blocks out of 64 MiB of data, so that
 * memory takes part as it does in a chunkserver. Decoding has lost the first m data parts. For comparison, the same with tables
 * and loops in JavaScript.
 */

import { erasure } from '../../src/base/erasure.ts'
import { over, times } from '../../src/base/galois.ts'
import { BLOCK_BYTES, CHUNK_BYTES_MAX } from '../../src/base/limits.ts'

const ROUND_MS = 300
const ROUNDS = 5

const chunk = new Uint8Array(CHUNK_BYTES_MAX)
for (let i = 0, x = 7; i < chunk.length; i++) {
  x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
  chunk[i] = x >> 16
}

/** The best of some rounds: what else the machine does makes it slower, never faster. */
function say(name: string, rowBytes: number, row: (data: Uint8Array[]) => void, k: number): void {
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now()
    let bytes = 0
    let at = 0
    while (performance.now() - start < ROUND_MS) {
      for (let i = 0; i < 8; i++) {
        if (at + rowBytes > chunk.length) at = 0
        const from = at
        row(Array.from({ length: k }, (_, p) => chunk.subarray(from + p * BLOCK_BYTES, from + (p + 1) * BLOCK_BYTES)))
        at += rowBytes
        bytes += rowBytes
      }
    }
    best = Math.max(best, bytes / 1e3 / (performance.now() - start))
  }
  console.log(JSON.stringify({ name, value: Number(best.toPrecision(3)), unit: 'MB/s' }))
}

for (const [k, m] of [
  [2, 1],
  [4, 1],
  [4, 2],
  [8, 2],
  [16, 4],
] as const) {
  const code = erasure(k, m)
  const parity = Array.from({ length: m }, () => new Uint8Array(BLOCK_BYTES))
  say(`encode ${k}+${m}`, k * BLOCK_BYTES, (data) => code.encode(data, parity, BLOCK_BYTES), k)
  const lost = Array.from({ length: m }, (_, index) => index)
  const into = lost.map(() => new Uint8Array(BLOCK_BYTES))
  const decode = (data: Uint8Array[]): void => {
    const blocks = [...data, ...parity]
    const present = blocks.slice(m, m + k).map((block, i) => ({ index: m + i, block }))
    code.recover(present, lost, into, BLOCK_BYTES)
  }
  say(`decode ${k}+${m}`, k * BLOCK_BYTES, decode, k)
}

const tables = Array.from({ length: 256 }, (_, a) => Uint8Array.from({ length: 256 }, (_, b) => times(a, b)))
for (const [k, m] of [
  [4, 1],
  [4, 2],
  [8, 2],
] as const) {
  const parity = Array.from({ length: m }, () => new Uint8Array(BLOCK_BYTES))
  const plain = (data: Uint8Array[]): void => {
    for (let j = 0; j < m; j++) {
      const into = parity[j]!.fill(0)
      for (let i = 0; i < k; i++) {
        const table = tables[over(i + 4, (i + 4) ^ j)]!
        const block = data[i]!
        for (let p = 0; p < BLOCK_BYTES; p++) into[p]! ^= table[block[p]!]!
      }
    }
  }
  say(`encode ${k}+${m}, tables in JavaScript`, k * BLOCK_BYTES, plain, k)
}
