/*
 * The state store on disk: one LMDB environment, one tree, and a redo log in front of it.
 *
 * LMDB alone makes a lone commit wait: to keep its last flushed snapshot safe it flushes with every commit, which holds
 * either the event loop or a thread for a millisecond or more. So a transaction appends what it changed to the redo log
 * (one write into the page cache: from there it outlives the process) and is done; flushed() is an fdatasync of that
 * log. Changes gather in memory, and when there are enough, LMDB's own thread takes them over as one transaction and
 * flushes it; then that part of the log is deleted. Reads look at what has gathered, at what LMDB is taking over, then
 * into LMDB.
 *
 * After a killed process: every transaction that was made. After a power cut: every one that was flushed and maybe
 * later ones, never half of one: LMDB opens at its last flushed snapshot, which knows the number of the last log record
 * it contains, and the log is followed from there to the first record that is not whole.
 *
 * When the disk refuses the log, the transaction throws and has not happened. When it refuses LMDB, nothing is lost, but
 * transactions are refused until LMDB has taken over what gathered. When it refuses a flush, the kernel may have dropped
 * the pages: the store is done for and must be reopened.
 */

import { chmodSync, mkdirSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import type { Errno } from '../base/errno.ts'
import { assert, FsError } from '../base/fault.ts'
import type { StateStore } from './core/kv.ts'
import { OrderedMap } from './core/ordered-map.ts'
import { tables } from './core/tables.ts'
import { RedoLog, readRedo } from './redo-log.ts'

/** LMDB takes over at this size of the log: a tenth of a second to read at a start, some 20 MB of memory until then. */
const TAKE_OVER_BYTES = 8 * 1024 * 1024
/** Or at this many records, when they are small: handing them over is one turn of the event loop, half a microsecond each on a free processor. */
const TAKE_OVER_RECORDS = 32_768
/** Records that may gather while LMDB is still busy with the ones before. Beyond: EAGAIN. */
const GATHERED_MAX = 1_000_000
/** The number of the last log record that LMDB contains. No table has this prefix. */
const SEQ_KEY = '\0seq'
const DATA = 'data.mdb'
/**
 * Address space, not memory: 80 million files. No limit: when it is full LMDB makes a map of twice the size, but keeps the
 * old one with its pages, so that growing is left to the few that need it.
 */
const MAP_BYTES = 16 * 1024 * 1024 * 1024
/**
 * Tables that grow at their end have a tree of their own: LMDB fills pages to the brim when it appends at the end of a
 * tree, but leaves them half empty when another table's keys follow. That is a hundred bytes per file.
 */
const OWN_TREES: readonly string[] = [
  tables.chunk.prefix,
  tables.dentry.prefix,
  tables.extent.prefix,
  tables.changelog.prefix,
  tables.inode.prefix,
  tables.reverse.prefix,
].sort()
/** LMDB's own limit with 4 KiB pages. */
const KEY_BYTES_MAX = 1978

/** Keys are byte strings: one char, one byte. */
const keyEncoder = {
  writeKey(key: string, target: Buffer, start: number): number {
    const length = key.length
    if (length > KEY_BYTES_MAX) throw new RangeError('the key is too long')
    if (length > 48) return start + target.write(key, start, length, 'latin1')
    for (let i = 0; i < length; i++) target[start + i] = key.charCodeAt(i)
    return start + length
  },
  readKey(source: Buffer, start: number, end: number): string {
    return source.toString('latin1', start, end)
  },
}

const encodings = { encoding: 'binary', keyEncoder } as const

type Tree = Database<Uint8Array, string>

/** What is to be written: a value, or null for a key that is to go. */
type Pending = OrderedMap<Uint8Array | null>

/** What is in it lets whoever reads it join the mesh, and names every file there is: it is for its owner only. */
function ownDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o700)
}

export class LmdbStore implements StateStore {
  readonly #db: RootDatabase<Uint8Array, string>
  /** By the code of a key's first char; all others are in the root tree. */
  readonly #trees: (Tree | undefined)[] = []
  readonly #path: string
  readonly #takeOverBytes: number
  /** Absent when opened for reading only: then not a byte is written, and what the log holds is seen all the same. */
  readonly #log: RedoLog | undefined
  /** In the log, not yet handed to LMDB. */
  #gathered: Pending = new OrderedMap()
  /** What LMDB is taking over. */
  #taking: Pending | undefined
  #takeOver: Promise<void> | undefined
  /** What to put back when the running transaction throws; its keys are what it has changed. */
  #undo: Map<string, Uint8Array | null | undefined> | undefined
  /** LMDB could not take over: no further transactions until it can. */
  #refused: FsError | undefined
  #broken: FsError | undefined
  /** A flush that begins when the one under way ends, shared by all who ask meanwhile. */
  #flushing: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined

  private constructor(
    path: string,
    db: RootDatabase<Uint8Array, string>,
    { readOnly, takeOverBytes }: { readOnly: boolean; takeOverBytes: number },
  ) {
    this.#path = path
    this.#takeOverBytes = takeOverBytes
    this.#db = db
    for (const name of OWN_TREES)
      this.#trees[name.charCodeAt(0)] = db.openDB<Uint8Array, string>({ name, ...encodings } as { name: string })
    const seq = db.getBinary(SEQ_KEY)
    const { files, nextSeq } = readRedo(path, seq === undefined ? 0 : Number(seq.readBigUInt64BE(0)), (key, value) =>
      this.#gathered.set(key, value),
    )
    this.#log = readOnly ? undefined : new RedoLog(path, files, nextSeq)
  }

  /** `path` is a directory of its own. */
  static open(
    path: string,
    {
      readOnly = false,
      takeOverBytes = TAKE_OVER_BYTES,
      mapBytes = MAP_BYTES,
    }: { readOnly?: boolean; takeOverBytes?: number; mapBytes?: number } = {},
  ): LmdbStore {
    try {
      if (!readOnly) ownDirectory(path)
      const db = open<Uint8Array, string>({
        path: join(path, DATA),
        ...encodings,
        mapSize: mapBytes,
        // Reading ahead brings pages into memory that nobody asked for.
        noReadAhead: true,
        // Batches are explicit here; LMDB's own would be a second promise for each that nobody listens to.
        eventTurnBatching: false,
        maxDbs: OWN_TREES.length,
        readOnly,
      } as Parameters<typeof open>[0] & object) as RootDatabase<Uint8Array, string>
      return new LmdbStore(path, db, { readOnly, takeOverBytes })
    } catch (error) {
      if ((error as { code?: unknown }).code === undefined) throw error
      throw new FsError(errnoIn(error), `the metadata store in ${path} cannot be opened`, { cause: error })
    }
  }

  get(key: string): Uint8Array | undefined {
    let value = this.#gathered.get(key)
    if (value === undefined) value = this.#taking?.get(key)
    if (value !== undefined) return value ?? undefined
    return this.#stored(key)
  }
  #stored(key: string): Uint8Array | undefined {
    const lent = this.#treeOf(key).getBinaryFast(key)
    // The lent buffer is one large one whose `length` is set by hand; a view has the length that everybody sees.
    return lent === undefined ? undefined : new Uint8Array(lent.buffer, lent.byteOffset, lent.length)
  }
  #treeOf(key: string): Tree {
    return this.#trees[key.charCodeAt(0)] ?? this.#db
  }
  put(key: string, value: Uint8Array): void {
    this.#change(key, value)
  }
  delete(key: string): boolean {
    assert(this.#undo !== undefined, 'the state changes inside a transaction only')
    const existed = this.get(key) !== undefined
    if (existed) this.#change(key, null)
    return existed
  }
  #change(key: string, value: Uint8Array | null): void {
    assert(this.#undo !== undefined, 'the state changes inside a transaction only')
    if (!this.#undo.has(key)) this.#undo.set(key, this.#gathered.get(key))
    this.#gathered.set(key, value)
  }

  scan(
    range: { from: string; to: string; reverse?: boolean },
    visit: (key: string, value: Uint8Array) => boolean | undefined,
  ): void {
    const { from, to, reverse = false } = range
    const stored = this.#range(from, to, reverse)
    const waiting = this.#waiting(from, to, reverse)
    try {
      let a = stored.next()
      let b = waiting?.next()
      while (a.done !== true || (b !== undefined && b.done !== true)) {
        const stale = a.done !== true && b !== undefined && b.done !== true && a.value.key === b.value[0]
        const fromWaiting =
          b !== undefined &&
          b.done !== true &&
          (a.done === true || stale || (reverse ? b.value[0] > a.value.key : b.value[0] < a.value.key))
        if (fromWaiting) {
          const [key, value] = (b as IteratorYieldResult<[string, Uint8Array | null]>).value
          if (value !== null && visit(key, value) === false) return
          if (stale) a = stored.next()
          b = waiting?.next()
        } else {
          const { key, value } = (a as IteratorYieldResult<{ key: string; value: Uint8Array }>).value
          if (visit(key, value) === false) return
          a = stored.next()
        }
      }
    } finally {
      stored.return?.()
    }
  }
  #range(from: string, to: string, reverse: boolean): Iterator<{ key: string; value: Uint8Array }> {
    // Nearly every walk stays in one table: up to the first key of the next char at most.
    const first = from.charCodeAt(0)
    if (first === to.charCodeAt(0) || to === String.fromCharCode(first + 1))
      return rangeOf(this.#treeOf(from), from, to, reverse)
    return this.#acrossTrees(from, to, reverse)
  }
  *#acrossTrees(from: string, to: string, reverse: boolean): Generator<{ key: string; value: Uint8Array }> {
    const cuts = OWN_TREES.flatMap((name) => [name, String.fromCharCode(name.charCodeAt(0) + 1)])
    const inside = [...new Set([from, ...cuts.filter((cut) => cut > from && cut < to), to])]
    const parts = inside.slice(0, -1).map((start, i) => [start, inside[i + 1]!] as const)
    for (const [start, end] of reverse ? parts.reverse() : parts) {
      const walk = rangeOf(this.#treeOf(start), start, end, reverse)
      for (let step = walk.next(); step.done !== true; step = walk.next()) yield step.value
    }
  }
  /** What is not in LMDB yet, the newest of each key; undefined when there is nothing. */
  #waiting(from: string, to: string, reverse: boolean): Iterator<[string, Uint8Array | null]> | undefined {
    const gathered = this.#gathered.size === 0 ? undefined : this.#gathered.range(from, to, reverse)
    const taking = this.#taking === undefined ? undefined : this.#taking.range(from, to, reverse)
    if (gathered === undefined || taking === undefined) return gathered ?? taking
    return merged(gathered, taking, reverse)
  }

  transaction<T>(body: () => T): T {
    assert(this.#undo === undefined, 'transactions do not nest')
    assert(this.#log !== undefined, 'the store is open for reading only')
    if (this.#broken !== undefined) throw this.#broken
    if (this.#refused !== undefined) {
      const refused = this.#refused
      void this.#takeOverSoon()
      throw refused
    }
    if (this.#gathered.size > GATHERED_MAX) throw new FsError('EAGAIN', 'the metadata disk does not keep up')
    const undo = new Map<string, Uint8Array | null | undefined>()
    this.#undo = undo
    try {
      const value = body()
      if (undo.size > 0) this.#append(undo)
      return value
    } catch (error) {
      for (const [key, value] of undo) {
        if (value === undefined) this.#gathered.delete(key)
        else this.#gathered.set(key, value)
      }
      throw error
    } finally {
      this.#undo = undefined
      if (this.#log.bytes > this.#takeOverBytes || this.#gathered.size > TAKE_OVER_RECORDS) void this.#takeOverSoon()
    }
  }
  #append(changed: ReadonlyMap<string, unknown>): void {
    const gathered = this.#gathered
    try {
      this.#log?.append(
        (function* () {
          for (const key of changed.keys()) yield [key, gathered.get(key) ?? null] as const
        })(),
      )
    } catch (error) {
      throw new FsError(errnoIn(error), 'the metadata disk refused a write', { cause: error })
    }
  }

  /** What transaction() has returned from is in the log. */
  committed(): Promise<void> {
    return this.#broken === undefined ? Promise.resolve() : Promise.reject(this.#broken)
  }

  /** One at a time; never rejects: a failure is what the next transaction throws. */
  #takeOverSoon(): Promise<void> {
    this.#takeOver ??= this.#takeOverNow().finally(() => {
      this.#takeOver = undefined
    })
    return this.#takeOver
  }
  async #takeOverNow(): Promise<void> {
    const taking = this.#gathered
    const log = this.#log
    if (taking.size === 0 || log === undefined) {
      this.#refused = undefined
      return
    }
    let firstKept: number
    const seq = Buffer.alloc(8)
    try {
      seq.writeBigUInt64BE(BigInt(log.seq))
      firstKept = log.rotate()
    } catch (error) {
      this.#refused = new FsError(errnoIn(error), 'the metadata disk refused a new log', { cause: error })
      return
    }
    this.#taking = taking
    this.#gathered = new OrderedMap()
    try {
      await this.#db.batch(() => {
        for (const [key, value] of taking.entries()) {
          if (value === null) void this.#treeOf(key).remove(key)
          else void this.#treeOf(key).put(key, value)
        }
        void this.#db.put(SEQ_KEY, seq)
      })
      await this.#syncLmdb()
    } catch (error) {
      // Back under what has gathered since, to be tried again; the log still has it all.
      const newer = this.#gathered
      for (const [key, value] of newer.entries()) taking.set(key, value)
      this.#gathered = taking
      this.#taking = undefined
      this.#refused = await refusal(error, this.#path)
      return
    }
    // Readers must see the new snapshot before what LMDB took over is let go.
    this.#db.resetReadTxn()
    this.#taking = undefined
    this.#refused = undefined
    log.drop(firstKept)
  }
  #syncLmdb(): Promise<void> {
    return new Promise((resolve, reject) => {
      const db = this.#db as unknown as { sync(callback: (error?: Error | null) => void): void }
      db.sync((error) => (error === undefined || error === null ? resolve() : reject(error)))
    })
  }

  flushed(): Promise<void> {
    if (this.#flushing === undefined) {
      const flushing = this.#flush().finally(() => {
        this.#flushing = undefined
      })
      this.#flushing = flushing
      return flushing
    }
    // The one under way may have begun before the caller's transaction.
    this.#nextFlush ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#nextFlush = undefined
        return this.flushed()
      })
    return this.#nextFlush
  }
  async #flush(): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken
    try {
      await this.#log?.sync()
    } catch (error) {
      this.#broken = new FsError(
        errnoIn(error),
        'the metadata disk refused a flush; look at the disk, then restart the master',
        { cause: error },
      )
      throw this.#broken
    }
  }

  sizeBytes(): number {
    return statSync(join(this.#path, DATA)).size + (this.#log?.totalBytes() ?? 0)
  }
  async backup(path: string): Promise<void> {
    await this.#takeOverSoon()
    // The one that was under way may have begun before the last transactions.
    if (this.#gathered.size > 0) await this.#takeOverSoon()
    if (this.#refused !== undefined) throw this.#refused
    ownDirectory(path)
    await this.#db.backup(join(path, DATA), false)
  }
  async close(): Promise<void> {
    try {
      await this.flushed()
      await this.#takeOverSoon()
      if (this.#gathered.size > 0) await this.#takeOverSoon()
    } finally {
      this.#log?.close()
      await this.#db.close()
    }
  }
}

function rangeOf(tree: Tree, from: string, to: string, reverse: boolean): Iterator<{ key: string; value: Uint8Array }> {
  const range = reverse
    ? { start: to, exclusiveStart: true, end: from, inclusiveEnd: true, reverse }
    : { start: from, end: to }
  return tree.getRange(range)[Symbol.iterator]()
}

/** Two ordered walks as one; of a key in both, the newer. */
function* merged(
  newer: Iterator<[string, Uint8Array | null]>,
  older: Iterator<[string, Uint8Array | null]>,
  reverse: boolean,
): Generator<[string, Uint8Array | null]> {
  let a = newer.next()
  let b = older.next()
  while (a.done !== true || b.done !== true) {
    if (a.done !== true && b.done !== true && a.value[0] === b.value[0]) b = older.next()
    else if (b.done === true || (a.done !== true && a.value[0] < b.value[0] !== reverse)) {
      yield (a as IteratorYieldResult<[string, Uint8Array | null]>).value
      a = newer.next()
    } else {
      yield b.value
      b = older.next()
    }
  }
}

/** A disk with less than this is full for LMDB, which then writes a page in part and calls it EIO. */
const FULL_BYTES = 1024 * 1024

/** lmdb-js hides the reason of a failed commit behind a promise. */
async function refusal(error: unknown, path: string): Promise<FsError> {
  const hidden = (error as { commitError?: Promise<unknown> }).commitError
  let cause = error
  try {
    await hidden
  } catch (reason) {
    cause = reason
  }
  const { bavail, bsize } = statfsSync(path)
  const code = errnoIn(cause)
  const full = code === 'EIO' && bavail * bsize < FULL_BYTES
  return new FsError(full ? 'ENOSPC' : code, 'the metadata disk refused a commit', { cause })
}

function errnoIn(error: unknown): Errno {
  const text = String((error as Error)?.message ?? error)
  const code = (error as { code?: unknown })?.code
  if (code === 28 || /no space left|MDB_MAP_FULL/i.test(text)) return 'ENOSPC'
  if (code === 30 || /read-only file system/i.test(text)) return 'EROFS'
  return 'EIO'
}
