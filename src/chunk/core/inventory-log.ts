/*
 * What a disk holds, as a list of changes with growing numbers, so that the master asks "since N" and never for everything.
 * Pure: the records of the log, and the table they add up to. inventory.ts keeps the file.
 *
 * The numbers begin at the time of creation in ms, so that a log that had to be made anew continues above the old one. The
 * floor is the number below which this log cannot say what happened (it began there, or forgot tombstones up to there):
 * whoever knows less gets the full list.
 *
 * Record, 32 bytes: kind, version, state, 0, length (4), chunk (8), number (6), 0 (2), 0 (4), CRC (4). The first is the floor.
 */

import { crc32 } from '../../base/checksum.ts'
import { type ChunkId, chunkId } from '../../base/ids.ts'

export const RECORD_BYTES = 32
const VERSION = 1
const KIND_ENTRY = 0x49
const KIND_FLOOR = 0x46
const STATES = ['open', 'sealed', 'gone', 'damaged'] as const
export type CopyState = (typeof STATES)[number]

export interface Entry {
  readonly chunk: ChunkId
  readonly state: CopyState
  readonly length: number
  readonly seq: number
}

function record(kind: number, state: number, length: number, chunk: number, seq: number): Buffer {
  const out = Buffer.alloc(RECORD_BYTES)
  out[0] = kind
  out[1] = VERSION
  out[2] = state
  out.writeUInt32LE(length, 4)
  out.writeBigUInt64LE(BigInt(chunk), 8)
  out.writeUIntLE(seq, 16, 6)
  out.writeUInt32LE(crc32(out.subarray(0, RECORD_BYTES - 4)), RECORD_BYTES - 4)
  return out
}

export const encodeEntry = (entry: Entry): Buffer =>
  record(KIND_ENTRY, STATES.indexOf(entry.state), entry.length, entry.chunk, entry.seq)
export const encodeFloor = (seq: number): Buffer => record(KIND_FLOOR, 0, 0, 0, seq)

const whole = (raw: Buffer): boolean =>
  raw.length === RECORD_BYTES &&
  raw[1] === VERSION &&
  crc32(raw.subarray(0, RECORD_BYTES - 4)) === raw.readUInt32LE(RECORD_BYTES - 4)

export interface Replay {
  readonly floor: number
  readonly entries: Entry[]
  /** Bytes of the file that are good; a torn end is cut off there. */
  readonly goodBytes: number
}

/** undefined: damaged in the middle or not a log; it has to be made anew from what the disk holds. */
export function replay(bytes: Buffer): Replay | undefined {
  const at = (i: number): Buffer => bytes.subarray(i * RECORD_BYTES, (i + 1) * RECORD_BYTES)
  const first = at(0)
  if (!whole(first) || first[0] !== KIND_FLOOR) return undefined
  const entries: Entry[] = []
  const count = Math.ceil(bytes.length / RECORD_BYTES)
  let good = 1
  for (; good < count; good++) {
    const raw = at(good)
    if (!whole(raw) || raw[0] !== KIND_ENTRY) break
    const state = STATES[raw[2]!]
    if (state === undefined) return undefined
    const chunk = raw.readBigUInt64LE(8)
    if (chunk > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
    entries.push({ chunk: chunkId(Number(chunk)), state, length: raw.readUInt32LE(4), seq: raw.readUIntLE(16, 6) })
  }
  for (let later = good + 1; later < count; later++) if (whole(at(later))) return undefined
  return { floor: first.readUIntLE(16, 6), entries, goodBytes: good * RECORD_BYTES }
}

export class InventoryTable {
  #floor: number
  #seq: number
  /** Tombstones included, until the master has confirmed them and the log is rewritten. */
  readonly #entries = new Map<ChunkId, Entry>()
  #held = 0

  constructor(floor: number, entries: readonly Entry[] = []) {
    this.#floor = floor
    this.#seq = floor
    for (const entry of entries) this.#put(entry)
  }

  get seq(): number {
    return this.#seq
  }
  get floor(): number {
    return this.#floor
  }
  /** Chunks that are there. */
  get held(): number {
    return this.#held
  }
  get records(): number {
    return this.#entries.size + 1
  }

  get(chunk: ChunkId): Entry | undefined {
    const entry = this.#entries.get(chunk)
    return entry?.state === 'gone' ? undefined : entry
  }

  *heldEntries(): Generator<Entry> {
    for (const entry of this.#entries.values()) if (entry.state !== 'gone') yield entry
  }

  /** Notes a change; undefined when it is none. */
  set(chunk: ChunkId, state: CopyState, length: number): Entry | undefined {
    const known = this.#entries.get(chunk)
    if (known?.state === state && known.length === length) return undefined
    if (known === undefined && state === 'gone') return undefined
    const entry: Entry = { chunk, state, length, seq: this.#seq + 1 }
    this.#put(entry)
    return entry
  }

  #put(entry: Entry): void {
    const known = this.#entries.get(entry.chunk)
    if (known !== undefined && known.state !== 'gone') this.#held--
    if (entry.state !== 'gone') this.#held++
    // Deleted first, so that the map stays in the order of the numbers.
    this.#entries.delete(entry.chunk)
    this.#entries.set(entry.chunk, entry)
    this.#seq = Math.max(this.#seq, entry.seq)
  }

  /**
   * What changed after `known`, oldest first; when `known` is no number of this log, everything that is there, in the order
   * of the chunks: it may be told in pages, and what a page leaves out between its ends counts as gone.
   */
  since(known: number): { readonly full: boolean; readonly entries: Entry[] } {
    if (known < this.#floor || known > this.#seq)
      return { full: true, entries: [...this.heldEntries()].sort((a, b) => a.chunk - b.chunk) }
    const entries: Entry[] = []
    for (const entry of this.#entries.values()) if (entry.seq > known) entries.push(entry)
    return { full: false, entries }
  }

  /** Forgets tombstones up to `confirmed`; the floor rises with them. */
  forget(confirmed: number): void {
    for (const entry of [...this.#entries.values()]) {
      if (entry.state !== 'gone' || entry.seq > confirmed) continue
      this.#entries.delete(entry.chunk)
      this.#floor = Math.max(this.#floor, entry.seq)
    }
  }

  encode(): Buffer {
    return Buffer.concat([encodeFloor(this.#floor), ...[...this.#entries.values()].map(encodeEntry)])
  }
}
