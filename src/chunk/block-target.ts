/*
 * Where a chunk is written to by a chunkserver: a disk of this process, or one of another server, treated alike. The bytes of an
 * append belong to this until it has answered.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { InventoryEntry, Place } from '../wire/shapes.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { Peers } from './peers.ts'
import type { Ways } from './ways.ts'

/** An append or sync that takes longer: the target is of no use now. */
const TARGET_TIMEOUT_MS = 30_000
/** Reading 64 MiB back from a slow disk that has other work. */
const VERIFY_TIMEOUT_MS = 120_000

export class BlockTarget {
  readonly #store: ChunkStore
  readonly #peers: Peers
  readonly #ways: Ways

  constructor(store: ChunkStore, peers: Peers, ways: Ways) {
    this.#store = store
    this.#peers = peers
    this.#ways = ways
  }

  /** Makes the chunk when it is the first append. */
  async append(
    target: Place,
    chunk: ChunkId,
    offset: number,
    data: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<void> {
    const local = this.#store.find(target.disk)
    if (local !== undefined) {
      await local.chunks.append(chunk, offset, data, offset === 0, true)
      return
    }
    await this.#ways.copying(target, async (moved) => {
      const peer = await this.#peers.get(target.host, target.port)
      await peer.call(
        'append',
        { disk: target.disk, chunk, offset, create: offset === 0, sync: false },
        { bulk: data, order: chunk, ...within(TARGET_TIMEOUT_MS, signal) },
      )
      moved(data.reduce((sum, part) => sum + part.length, 0))
    })
  }

  async sync(target: Place, chunk: ChunkId, length: number, signal?: AbortSignal): Promise<void> {
    const local = this.#store.find(target.disk)
    if (local !== undefined) {
      await local.chunks.sync(chunk, length)
      return
    }
    const peer = await this.#peers.get(target.host, target.port)
    await peer.call('syncChunk', { disk: target.disk, chunk, length }, within(TARGET_TIMEOUT_MS, signal))
  }

  /** How the chunk is held there; `deep` reads all of it. */
  async verify(
    target: Place,
    chunk: ChunkId,
    deep: boolean,
    signal?: AbortSignal,
  ): Promise<Pick<InventoryEntry, 'state' | 'length'>> {
    const local = this.#store.find(target.disk)
    if (local !== undefined) return local.chunks.verify(chunk, deep)
    const peer = await this.#peers.get(target.host, target.port)
    const { reply } = await peer.call(
      'orderVerify',
      { disk: target.disk, chunks: [chunk], deep },
      within(VERIFY_TIMEOUT_MS, signal),
    )
    const [entry] = reply.chunks
    if (entry?.chunk !== chunk) throw new FsError('EPROTO', `no answer about chunk ${chunkName(chunk)}`)
    return entry
  }
}

const within = (timeoutMs: number, signal: AbortSignal | undefined): { timeoutMs: number; signal?: AbortSignal } =>
  signal === undefined ? { timeoutMs } : { timeoutMs, signal }
