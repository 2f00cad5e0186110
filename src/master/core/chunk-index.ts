/*
 * Which chunks there are, by what somebody looks for: on a disk, open in a session, dead, worth a repair or a rewrite. Pages
 * in the order of chunk ids after the one given, as the store has them: changes that are only held are not seen.
 */

import type { ChunkId, DiskId, SessionId } from '../../base/ids.ts'
import type { Kv } from './kv.ts'
import { afterNum, key, num, numAt, numbersIn, tables } from './tables.ts'

export class ChunkIndex {
  readonly #kv: Kv
  constructor(kv: Kv) {
    this.#kv = kv
  }

  /** Every chunk in order of its id after the given one (check, recount). */
  all(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return numbersIn(this.#kv, tables.chunk.prefix, num(afterChunk), limit) as ChunkId[]
  }
  ofDisk(disk: DiskId, afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return numbersIn(this.#kv, key.chunksOfDisk(disk), num(afterChunk), limit) as ChunkId[]
  }
  openOf(session: SessionId, afterChunk: ChunkId | 0 = 0, limit = Number.MAX_SAFE_INTEGER): ChunkId[] {
    return numbersIn(this.#kv, key.openChunksOf(session), num(afterChunk), limit) as ChunkId[]
  }
  /** Chunks that need repair to look at them: sealing, or copies other than wanted, or not all confirmed. */
  attention(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return numbersIn(this.#kv, tables.attention.prefix, num(afterChunk), limit) as ChunkId[]
  }
  /** Sealed chunks of which less than half is live (and something is). */
  sparse(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return numbersIn(this.#kv, tables.sparse.prefix, num(afterChunk), limit) as ChunkId[]
  }
  /** Sealed chunks without a live byte since before `sec`, longest dead first. */
  deadBefore(sec: number, limit: number): ChunkId[] {
    const dead: ChunkId[] = []
    if (limit <= 0) return dead
    this.#kv.scan({ from: tables.dead.prefix, to: tables.dead.prefix + num(Math.max(0, sec)) }, (at) => {
      dead.push(numAt(at, afterNum(at, 1)) as ChunkId)
      return dead.length < limit
    })
    return dead
  }
}
