/*
 * One direction of a link between two sites: when a packet arrives at the other end, or that it never does. Knows nothing of
 * sockets and clocks: time is an argument. Each cause of loss has dice of its own, thrown once per packet, so what is lost
 * depends on the seed and on which packet it is in the row, not on when it came nor on what else is switched on.
 */

export interface LinkShape {
  /** One way. */
  readonly delayMs: number
  /** Up to so much more, evenly spread. Packets keep their order. */
  readonly jitterMs: number
  /** Share of the packets that are lost by chance, each for itself. */
  readonly lossRate: number
  /** Gilbert and Elliott: chance per packet to enter and to leave a bad time, and the share that is lost in it. */
  readonly burst: { readonly enterRate: number; readonly leaveRate: number; readonly lossRate: number } | null
  /** Of whole IP packets; null: as fast as it goes. */
  readonly mbit: number | null
  /** How long a packet waits at most before a link that is full; what would wait longer is dropped. */
  readonly queueMs: number
  /** Share of the packets that are held back by `reorderMs` while those behind them go on. */
  readonly reorderRate: number
  readonly reorderMs: number
  /** IP packets longer than this vanish without a word. */
  readonly packetBytesMax: number
  readonly cut: boolean
}

export const PLAIN_LINK: LinkShape = {
  delayMs: 0,
  jitterMs: 0,
  lossRate: 0,
  burst: null,
  mbit: null,
  queueMs: 100,
  reorderRate: 0,
  reorderMs: 5,
  packetBytesMax: 65_535,
  cut: false,
}

export interface LinkCount {
  readonly packets: number
  readonly bytes: number
  /** By chance, single and in bursts. */
  readonly lost: number
  /** The queue was full. */
  readonly queueDrops: number
  /** Longer than the link carries. */
  readonly tooLong: number
  /** Sent into, or on the way through, a cut link. */
  readonly cut: number
}

/** mulberry32: small, fast, and good enough to lose packets with. */
export function dice(seed: string): () => number {
  let state = 0x811c9dc5
  for (const char of seed) state = Math.imul(state ^ char.charCodeAt(0), 0x01000193)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export class LinkModel {
  shape: LinkShape = PLAIN_LINK
  readonly count: { -readonly [K in keyof LinkCount]: LinkCount[K] } = {
    packets: 0,
    bytes: 0,
    lost: 0,
    queueDrops: 0,
    tooLong: 0,
    cut: 0,
  }
  readonly #loss: () => number
  readonly #burst: () => number
  readonly #jitter: () => number
  readonly #reorder: () => number
  #bad = false
  /** When the last packet in the queue will have left. */
  #freeAtMs = 0
  #lastDueMs = 0

  constructor(seed: string) {
    this.#loss = dice(`${seed} loss`)
    this.#burst = dice(`${seed} burst`)
    this.#jitter = dice(`${seed} jitter`)
    this.#reorder = dice(`${seed} reorder`)
  }

  /** When a packet that comes now arrives; undefined: never. */
  offer(bytes: number, nowMs: number): number | undefined {
    const { shape, count } = this
    count.packets++
    count.bytes += bytes
    const lost = this.#loss() < shape.lossRate
    const burst = this.#lostInBurst()
    const jitterMs = this.#jitter() * shape.jitterMs
    const heldBack = this.#reorder() < shape.reorderRate
    if (shape.cut) return this.#drop('cut')
    if (bytes > shape.packetBytesMax) return this.#drop('tooLong')
    if (lost || burst) return this.#drop('lost')
    let leavesMs = nowMs
    if (shape.mbit !== null) {
      if (this.#freeAtMs - nowMs > shape.queueMs) return this.#drop('queueDrops')
      leavesMs = Math.max(nowMs, this.#freeAtMs) + (bytes * 8) / (shape.mbit * 1000)
      this.#freeAtMs = leavesMs
    }
    const dueMs = leavesMs + shape.delayMs + jitterMs
    if (heldBack) return dueMs + shape.reorderMs
    this.#lastDueMs = Math.max(this.#lastDueMs, dueMs)
    return this.#lastDueMs
  }

  /** A packet under way when the link was cut. */
  lostUnderWay(): void {
    this.count.cut++
  }

  /** A link that was changed to a shorter way may be overtaken. */
  reshape(shape: LinkShape): void {
    this.shape = shape
    this.#lastDueMs = 0
  }

  #lostInBurst(): boolean {
    const turn = this.#burst()
    const loss = this.#burst()
    const { burst } = this.shape
    if (burst === null) {
      this.#bad = false
      return false
    }
    this.#bad = this.#bad ? turn >= burst.leaveRate : turn < burst.enterRate
    return this.#bad && loss < burst.lossRate
  }

  #drop(why: 'lost' | 'queueDrops' | 'tooLong' | 'cut'): undefined {
    this.count[why]++
    return undefined
  }
}
