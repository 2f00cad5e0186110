/*
 * The inventory of one disk, kept in `inventory.log` beside the chunks. Changes are noted at once in memory and written in
 * groups; `flush` makes them durable and must have returned before the master is told their numbers, because a number that
 * is lost in a power cut would be given again to another change.
 *
 * The log is an index, not the truth: the chunk files are. At every start disk.ts compares both; a log that is missing or
 * damaged is made anew from the files, and then the master gets the full list.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import {
  type CopyState,
  type Entry,
  encodeEntry,
  InventoryTable,
  RECORD_BYTES,
  type Replay,
  replay,
} from './core/inventory-log.ts'
import type { DiskFile, DiskIo } from './disk-io.ts'

const LOG = 'inventory.log'
const NEW_LOG = 'inventory.new'
/** The log is rewritten when it has this many records more than twice what it says: 128 KiB of slack. */
const SLACK_RECORDS = 4096

export class Inventory {
  readonly table: InventoryTable
  readonly #io: DiskIo
  #file: DiskFile
  #bytes: number
  #pending: Buffer[] = []
  #flushedSeq: number
  #confirmed = 0
  #flushing: Promise<void> | undefined
  #closed = false

  private constructor(io: DiskIo, table: InventoryTable, file: DiskFile, bytes: number) {
    this.#io = io
    this.table = table
    this.#file = file
    this.#bytes = bytes
    this.#flushedSeq = table.seq
  }

  static async load(io: DiskIo, nowMs: number): Promise<{ inventory: Inventory; rebuilt: boolean }> {
    const file = await io.open(LOG, 'ensure')
    let known: Replay | undefined
    try {
      const bytes = Buffer.alloc(await file.size())
      const there = await file.read(bytes, 0)
      known = replay(bytes.subarray(0, there))
    } catch (error) {
      await file.close()
      throw error
    }
    if (known === undefined) {
      await file.close()
      const table = new InventoryTable(nowMs)
      return { inventory: await Inventory.#write(io, table), rebuilt: true }
    }
    const table = new InventoryTable(known.floor, known.entries)
    return { inventory: new Inventory(io, table, file, known.goodBytes), rebuilt: false }
  }

  static async #write(io: DiskIo, table: InventoryTable): Promise<Inventory> {
    const { file, bytes } = await writeNew(io, table)
    return new Inventory(io, table, file, bytes)
  }

  /** The last number that may be told to the master. */
  get flushedSeq(): number {
    return this.#flushedSeq
  }

  note(chunk: ChunkId, state: CopyState, length: number): void {
    const entry = this.table.set(chunk, state, length)
    if (entry !== undefined) this.#pending.push(encodeEntry(entry))
  }

  /** Everything noted before is durable when this returns. */
  async flush(): Promise<void> {
    const until = this.table.seq
    while (this.#flushedSeq < until) {
      if (this.#closed) throw new FsError('ENODEV', 'the disk was let go before its inventory was flushed')
      this.#flushing ??= this.#flushOnce().finally(() => {
        this.#flushing = undefined
      })
      await this.#flushing
    }
  }

  async #flushOnce(): Promise<void> {
    const seq = this.table.seq
    const records = this.#pending
    this.#pending = []
    try {
      if (this.#bytes / RECORD_BYTES > 2 * this.table.records + SLACK_RECORDS) await this.#compact()
      else {
        await this.#file.write(records, this.#bytes)
        await this.#file.datasync()
        this.#bytes += records.length * RECORD_BYTES
      }
    } catch (error) {
      this.#pending = [...records, ...this.#pending]
      throw error
    }
    this.#flushedSeq = seq
  }

  async #compact(): Promise<void> {
    this.table.forget(this.#confirmed)
    const old = this.#file
    // What is noted while this waits is in #pending already and is written again behind: the same entry twice is harmless.
    const { file, bytes } = await writeNew(this.#io, this.table)
    this.#file = file
    this.#bytes = bytes
    await old.close()
  }

  /** The master has taken everything up to `seq`. */
  confirm(seq: number): void {
    this.#confirmed = Math.max(this.#confirmed, seq)
  }

  since(known: number): { readonly full: boolean; readonly entries: Entry[] } {
    return this.table.since(known)
  }

  /** Not under a flush that is on its way: it would meet a closed file, or another one with its number. */
  async close(): Promise<void> {
    this.#closed = true
    // Who waits for it hears what became of it.
    await this.#flushing?.catch(() => undefined)
    await this.#file.close()
  }
}

async function writeNew(io: DiskIo, table: InventoryTable): Promise<{ file: DiskFile; bytes: number }> {
  const image = table.encode()
  const file = await io.open(NEW_LOG, 'ensure')
  try {
    await file.truncate(0)
    await file.write([image], 0)
    await file.datasync()
    await io.rename(NEW_LOG, LOG)
    await io.syncDir('.')
  } catch (error) {
    await file.close()
    throw error
  }
  return { file, bytes: image.length }
}
