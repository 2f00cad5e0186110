/* A chunk on one node, cut into parts on the others: what tests of erasure coding begin with. */

import { type ChunkId, chunkId } from '../../src/base/ids.ts'
import type { ChunkPlaces, Place } from '../../src/wire/shapes.ts'
import { ChunkNode } from './chunk-node.ts'
import type { ManualClock } from './manual-clock.ts'

const MiB = 1024 * 1024
export const WHOLE: ChunkId = chunkId(0x900)
export const partId = (index: number): ChunkId => chunkId(0xa00 + index)

/** Every byte depends on where it is, so that none can take another's place. */
export function patterned(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0, x = 7 + length; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
    bytes[i] = x >> 16
  }
  return bytes
}

/** Every choice of `count` out of 0 … n−1. */
export function choices(n: number, count: number, from = 0): number[][] {
  if (count === 0) return [[]]
  const out: number[][] = []
  for (let first = from; first <= n - count; first++)
    for (const rest of choices(n, count - 1, first + 1)) out.push([first, ...rest])
  return out
}

export async function fillChunk(node: ChunkNode, chunk: ChunkId, bytes: Buffer): Promise<string> {
  if (bytes.length === 0) await node.disk.chunks.append(chunk, 0, [], true)
  for (let at = 0; at < bytes.length; at += MiB)
    await node.disk.chunks.append(chunk, at, [bytes.subarray(at, at + MiB)], at === 0)
  return node.disk.chunks.seal(chunk, bytes.length)
}

export async function contentOf(node: ChunkNode, chunk: ChunkId, length: number): Promise<Buffer> {
  const out: Buffer[] = []
  for (let at = 0; at < length; at += MiB) out.push(await node.disk.chunks.read(chunk, at, Math.min(MiB, length - at)))
  return Buffer.concat(out)
}

export class Striped {
  readonly net = new Map<number, ChunkNode>()
  readonly bytes: Buffer
  readonly data: number
  readonly parity: number
  readonly #clock: ManualClock
  /** Holds the whole chunk, and part i is on node i of `nodes`. */
  home!: ChunkNode
  nodes: ChunkNode[] = []
  digest = ''
  digests: string[] = []
  lengths: number[] = []

  constructor(clock: ManualClock, length: number, data: number, parity: number) {
    this.#clock = clock
    this.bytes = patterned(length)
    this.data = data
    this.parity = parity
  }

  /** The nodes and the chunk; nothing is cut yet. */
  async begin(): Promise<this> {
    const node = (n: number) => new ChunkNode(n, this.net, this.#clock).start()
    this.home = await node(100)
    for (let i = 0; i < this.data + this.parity; i++) this.nodes.push(await node(1 + i))
    this.digest = await fillChunk(this.home, WHOLE, this.bytes)
    return this
  }

  /** One more that holds nothing. */
  further(n = 101): Promise<ChunkNode> {
    return new ChunkNode(n, this.net, this.#clock).start()
  }

  get source(): ChunkPlaces {
    return { chunk: WHOLE, sealed: true, length: this.bytes.length, places: [this.home.place], ec: undefined }
  }
  get targets(): { chunk: ChunkId; target: Place }[] {
    return this.nodes.map((node, i) => ({ chunk: partId(i), target: node.place }))
  }

  encode(signal?: AbortSignal, bytesPerSecond = 0): Promise<number[]> {
    return this.home.encoder.encode(this.source, this.data, this.parity, this.targets, bytesPerSecond, signal)
  }

  /** Cuts the chunk, seals the parts, and deletes the whole. */
  async cut(): Promise<this> {
    this.lengths = await this.encode()
    this.digests = []
    for (const [i, node] of this.nodes.entries())
      this.digests.push(await node.disk.chunks.seal(partId(i), this.lengths[i]!))
    await this.home.disk.chunks.delete(WHOLE)
    return this
  }

  /** As the master would tell; the `lost` parts are nowhere. */
  whole(lost: readonly number[] = []): ChunkPlaces {
    const parts = this.nodes.map((node, i) => ({
      chunk: partId(i),
      length: this.lengths[i]!,
      places: lost.includes(i) ? [] : [node.place],
    }))
    const ec = { data: this.data, parity: this.parity, parts }
    return { chunk: WHOLE, sealed: true, length: this.bytes.length, places: [], ec }
  }
}
