/*
 * The master's state as values: every read that the shell, `apply` and `check` need, over any Kv. It knows the tables and
 * nothing about rules.
 *
 * Hot records (inodes, chunks, sessions, disks, the counters) are held decoded and written back once per transaction:
 * a thousand creates in one directory write the directory once. So changes reach the store when `flush()` runs, inside
 * the same transaction; `transact()` is the only door that the shell uses, and does it right. After a transaction that
 * threw, `forget()` drops everything held. Records are never changed in place: a changed record is a new object.
 *
 * Scans of the tables inode, chunk, session and disk see the store, not what is held: they are for use between
 * transactions (or after flush()).
 */

import type { Attr } from '../../base/attr.ts'
import { type Errno, errno, errnoFromNumber } from '../../base/errno.ts'
import { assert, type Result } from '../../base/fault.ts'
import { type ChunkId, type DiskId, type Ino, type NodeId, ROOT_INO, type SessionId } from '../../base/ids.ts'
import type { ChunkPlaces, Extent, Place, Settings } from '../../wire/protocol.ts'
import { calls } from '../../wire/protocol.ts'
import { type Command, type CommandName, commands, envelope as envelopeSchema } from './commands.ts'
import { cookieOf, type Found, nameHash } from './dentries.ts'
import type { Kv, StateStore } from './kv.ts'
import {
  bucketRecord,
  type ChunkRecord,
  type Counters,
  chunkRecord,
  countersRecord,
  type Dentry,
  type DiskRecord,
  decodeRecord,
  diskRecord,
  EMPTY,
  encodeRecord,
  type HeldLock,
  type InodeRecord,
  inodeRecord,
  locksRecord,
  type NextIds,
  type NodeRecord,
  nodeRecord,
  pack,
  type SessionRecord,
  sessionRecord,
  settingsRecord,
  type TrashRecord,
  trashRecord,
  unpack,
} from './records.ts'
import { after, afterNum, key, num, numAt, tables } from './tables.ts'

/** What stands around a command: see commands.ts. */
export interface Envelope {
  readonly index: number
  readonly sec: number
  readonly nsec: number
  readonly session: SessionId
  readonly seq: number
  readonly acked: number
}

export interface ChangelogEntry {
  readonly envelope: Envelope
  readonly command: Command
  /** undefined: it was carried out. */
  readonly errno: Errno | undefined
}

export interface DirEntry extends Dentry {
  /** Continues a listing after this entry; 3 … 2^53−1. */
  readonly cookie: number
}

/** Decoded records held between transactions: 16 K inodes are about 10 MB and cover the directories in use. */
const HELD_INODES_MAX = 16_384
const HELD_CHUNKS_MAX = 8_192

/** A table of records held decoded and written back. Oldest out first, never a changed one. */
class Held<K, R> {
  readonly #records = new Map<K, R | undefined>()
  readonly #changed = new Set<K>()
  readonly #max: number
  constructor(max: number) {
    this.#max = max
  }
  get(id: K, read: (id: K) => R | undefined): R | undefined {
    const held = this.#records.get(id)
    if (held !== undefined || this.#changed.has(id)) return held
    const record = read(id)
    if (record !== undefined) {
      if (this.#records.size >= this.#max) this.#makeRoom()
      this.#records.set(id, record)
    }
    return record
  }
  set(id: K, record: R | undefined): void {
    this.#records.set(id, record)
    this.#changed.add(id)
  }
  flush(write: (id: K, record: R | undefined) => void): void {
    for (const id of this.#changed) {
      const record = this.#records.get(id)
      write(id, record)
      if (record === undefined) this.#records.delete(id)
    }
    this.#changed.clear()
    if (this.#records.size > this.#max) this.#makeRoom()
  }
  get changed(): number {
    return this.#changed.size
  }
  forget(): void {
    this.#records.clear()
    this.#changed.clear()
  }
  /** A quarter goes at once, so that a walk over everything does not pay per record. */
  #makeRoom(): void {
    let goal = this.#records.size - Math.floor((this.#max * 3) / 4)
    for (const id of this.#records.keys()) {
      if (goal-- <= 0) break
      if (!this.#changed.has(id)) this.#records.delete(id)
    }
  }
}

export class State {
  readonly kv: Kv
  readonly #inodes = new Held<Ino, InodeRecord>(HELD_INODES_MAX)
  readonly #chunks = new Held<ChunkId, ChunkRecord>(HELD_CHUNKS_MAX)
  readonly #sessions = new Held<SessionId, SessionRecord>(4096)
  readonly #disks = new Held<DiskId, DiskRecord>(4096)
  readonly #nodes = new Map<NodeId, NodeRecord>()
  #counters: Counters | undefined
  #countersChanged = false
  #settings: Settings | undefined
  #salt: readonly [number, number] | undefined

  constructor(kv: Kv) {
    this.kv = kv
  }

  // ---- write-back

  /** Writes every held change to the store. Inside the transaction that made them. */
  flush(): void {
    this.#inodes.flush((ino, record) =>
      record === undefined
        ? this.kv.delete(key.inode(ino))
        : this.kv.put(key.inode(ino), pack(inodeRecord.encode(record))),
    )
    this.#chunks.flush((chunk, record) => this.#write(key.chunk(chunk), chunkRecord, record))
    this.#sessions.flush((session, record) => this.#write(key.session(session), sessionRecord, record))
    this.#disks.flush((disk, record) => this.#write(key.disk(disk), diskRecord, record))
    if (this.#countersChanged) {
      this.kv.put(key.meta('counters'), encodeRecord(countersRecord, this.counters()))
      this.#countersChanged = false
    }
  }

  /** Whether everything changed has been flushed. */
  get clean(): boolean {
    return (
      !this.#countersChanged &&
      this.#inodes.changed + this.#chunks.changed + this.#sessions.changed + this.#disks.changed === 0
    )
  }

  /** Drops all that is held, changes included: the store is the truth again. */
  forget(): void {
    this.#inodes.forget()
    this.#chunks.forget()
    this.#sessions.forget()
    this.#disks.forget()
    this.#nodes.clear()
    this.#counters = undefined
    this.#countersChanged = false
    this.#settings = undefined
    this.#salt = undefined
  }

  #write<T>(at: string, schema: { encode: (value: T) => unknown }, record: T | undefined): void {
    if (record === undefined) this.kv.delete(at)
    else this.kv.put(at, pack(schema.encode(record)))
  }

  // ---- cluster-wide

  /** Whether this store holds a filesystem at all (see found.ts). */
  exists(): boolean {
    return this.#counters !== undefined || this.kv.get(key.meta('counters')) !== undefined
  }
  /** The first record of counters, of a store without one. */
  begin(counters: Counters): void {
    assert(!this.exists(), 'the store is empty')
    this.#counters = counters
    this.#countersChanged = true
  }
  counters(): Counters {
    if (this.#counters === undefined) {
      const value = this.kv.get(key.meta('counters'))
      assert(value !== undefined, 'the store was founded before it is used')
      this.#counters = decodeRecord(countersRecord, value, 'counters')
    }
    return this.#counters
  }
  setCounters(change: Partial<Counters>): void {
    // In place: every command changes several, and nobody keeps the object.
    Object.assign(this.counters(), change)
    this.#countersChanged = true
  }
  settings(): Settings {
    if (this.#settings === undefined) {
      const value = this.kv.get(key.meta('settings'))
      assert(value !== undefined, 'the store was founded before it is used')
      this.#settings = decodeRecord(settingsRecord, value, 'settings')
    }
    return this.#settings
  }
  setSettings(value: Settings): void {
    this.kv.put(key.meta('settings'), encodeRecord(settingsRecord, value))
    this.#settings = value
  }
  /** Two random words that name hashes of this cluster are salted with. */
  salt(): readonly [number, number] {
    if (this.#salt === undefined) {
      const value = this.kv.get(key.meta('salt'))
      assert(value !== undefined, 'the store was founded before it is used')
      const [a, b] = unpack(value) as [number, number]
      this.#salt = [a, b]
    }
    return this.#salt
  }
  nextIds(): NextIds {
    const c = this.counters()
    return {
      ino: c.nextIno as Ino,
      chunk: c.nextChunk as ChunkId,
      session: c.nextSession as SessionId,
      node: c.nextNode as NodeId,
      disk: c.nextDisk as DiskId,
    }
  }

  // ---- inodes and names

  /** The record, also of an inode without a name (trash, sustained) and of a doomed one. */
  inode(ino: Ino): InodeRecord | undefined {
    return this.#inodes.get(ino, this.#readInode)
  }
  readonly #readInode = (ino: Ino): InodeRecord | undefined => {
    const value = this.kv.get(key.inode(ino))
    return value === undefined ? undefined : inodeRecord.decode(unpack(value), ino)
  }
  setInode(ino: Ino, record: InodeRecord | undefined): void {
    this.#inodes.set(ino, record)
  }
  /** Attributes of an inode that mounts may see: named or held open, not doomed, not merely in the trash. */
  attr(ino: Ino): Attr | undefined {
    const record = this.inode(ino)
    return record === undefined || !this.visible(record) ? undefined : record.attr
  }
  /** An inode that mounts may work on. What is only in the trash is stale for them. */
  visible(record: InodeRecord): boolean {
    return !record.doomed && (record.attr.nlink > 0 || this.isSustained(record.attr.ino))
  }
  /** The entry of a name; not "." and "..". */
  lookup(parent: Ino, name: string): Dentry | undefined {
    return this.find(parent, name).entry
  }
  /** The entry and the bucket it is in (or would be in). */
  find(parent: Ino, name: string): Found {
    const hash = nameHash(name, this.salt())
    const value = this.kv.get(key.dentry(parent, hash))
    const bucket = value === undefined ? [] : bucketRecord.decode(unpack(value))
    return { hash, bucket, entry: bucket.find((entry) => entry.name === name) }
  }
  setBucket(parent: Ino, hash: number, bucket: readonly Dentry[]): void {
    if (bucket.length === 0) this.kv.delete(key.dentry(parent, hash))
    else this.kv.put(key.dentry(parent, hash), pack(bucketRecord.encode(bucket)))
  }
  /** Entries after `cookie` in cookie order, at most `limit`; `end`: there are no more. */
  readdirPage(dir: Ino, cookie: number, limit: number): { entries: DirEntry[]; end: boolean } {
    const entries: DirEntry[] = []
    let end = true
    const prefix = key.dentriesOf(dir)
    this.kv.scan({ from: cookieOf.startKey(dir, cookie), to: after(prefix) }, (at, value) => {
      const hash = cookieOf.hashAt(at, prefix.length)
      const bucket = bucketRecord.decode(unpack(value)).sort((a, b) => a.slot - b.slot)
      for (const entry of bucket) {
        const own = cookieOf.entry(hash, entry.slot)
        if (own <= cookie) continue
        if (entries.length === limit) {
          end = false
          return false
        }
        entries.push({ ...entry, cookie: own })
      }
      return true
    })
    return { entries, end }
  }
  /**
   * A path of the inode, from the root: exact for directories; for other files through the parent they were last linked
   * in (that directory is searched, at most 100 000 entries: this is for reports). undefined when it has no name there.
   */
  pathOf(ino: Ino): string | undefined {
    const record = this.inode(ino)
    if (record === undefined || record.doomed) return undefined
    if (record.attr.type === 'dir') return this.dirPath(ino)
    let name: string | undefined
    let left = 100_000
    const prefix = key.dentriesOf(record.parent)
    this.kv.scan({ from: prefix, to: after(prefix) }, (_at, value) => {
      name = bucketRecord.decode(unpack(value)).find((entry) => entry.ino === ino)?.name
      return name === undefined && left-- > 0
    })
    const dir = name === undefined ? undefined : this.dirPath(record.parent)
    return dir === undefined ? undefined : dir === '/' ? `/${name}` : `${dir}/${name}`
  }
  /** The path of a directory; one longer than 4 095 bytes is cut on the left and begins with "...". */
  dirPath(ino: Ino): string | undefined {
    if (ino === ROOT_INO) return '/'
    let path = ''
    let at = ino
    while (at !== ROOT_INO) {
      const record = this.inode(at)
      if (record === undefined || record.attr.nlink === 0) return undefined
      path = `/${record.name}${path}`
      if (path.length > 4095) return `...${path}`
      at = record.parent
    }
    return path
  }

  // ---- extents

  /** Extents that end after `offset`, in order, at most `maxCount`; `complete`: there are no more before `end`. */
  extentsFrom(
    ino: Ino,
    offset: number,
    maxCount: number,
    end: number = Number.MAX_SAFE_INTEGER,
  ): { extents: Extent[]; complete: boolean } {
    const extents: Extent[] = []
    let complete = true
    const prefix = key.extentsOf(ino)
    const first = this.extentBefore(ino, offset)
    if (first !== undefined && first.offset + first.length > offset && first.offset < end) extents.push(first)
    this.kv.scan({ from: prefix + num(offset), to: after(prefix) }, (at, value) => {
      const start = numAt(at, prefix.length)
      if (start >= end) return false
      if (extents.length >= maxCount) {
        complete = false
        return false
      }
      extents.push(decodeExtent(start, value))
      return true
    })
    return { extents, complete }
  }
  /** The extent that begins last before `offset`. */
  extentBefore(ino: Ino, offset: number): Extent | undefined {
    let found: Extent | undefined
    const prefix = key.extentsOf(ino)
    this.kv.scan({ from: prefix, to: prefix + num(offset), reverse: true }, (at, value) => {
      found = decodeExtent(numAt(at, prefix.length), value)
      return false
    })
    return found
  }
  extentAt(ino: Ino, offset: number): Extent | undefined {
    const value = this.kv.get(key.extent(ino, offset))
    return value === undefined ? undefined : decodeExtent(offset, value)
  }
  putExtent(ino: Ino, extent: Extent): void {
    this.kv.put(key.extent(ino, extent.offset), pack([extent.length, extent.chunk, extent.chunkOffset]))
    this.kv.put(key.reverse(extent.chunk, ino, extent.offset), EMPTY)
  }
  deleteExtent(ino: Ino, extent: Extent): void {
    this.kv.delete(key.extent(ino, extent.offset))
    this.kv.delete(key.reverse(extent.chunk, ino, extent.offset))
  }
  /** Which extents live in a chunk, in (ino, offset) order after the given one. For compaction. */
  extentsInChunk(
    chunk: ChunkId,
    afterOne: { ino: Ino; offset: number } | undefined,
    limit: number,
  ): { ino: Ino; extent: Extent }[] {
    const prefix = key.reverseOf(chunk)
    const from = afterOne === undefined ? prefix : `${key.reverse(chunk, afterOne.ino, afterOne.offset)}\0`
    const owners: { ino: Ino; offset: number }[] = []
    this.kv.scan({ from, to: after(prefix) }, (at) => {
      if (owners.length >= limit) return false
      owners.push({ ino: numAt(at, prefix.length) as Ino, offset: numAt(at, afterNum(at, prefix.length)) })
      return true
    })
    return owners.flatMap(({ ino, offset }) => {
      const extent = this.extentAt(ino, offset)
      return extent === undefined ? [] : [{ ino, extent }]
    })
  }

  // ---- chunks, disks, nodes

  chunk(chunk: ChunkId): ChunkRecord | undefined {
    return this.#chunks.get(chunk, this.#readChunk)
  }
  readonly #readChunk = (chunk: ChunkId): ChunkRecord | undefined => {
    const value = this.kv.get(key.chunk(chunk))
    return value === undefined ? undefined : decodeRecord(chunkRecord, value, 'chunk')
  }
  setChunk(chunk: ChunkId, record: ChunkRecord | undefined): void {
    this.#chunks.set(chunk, record)
  }
  /** With the addresses of its copies, as clients get it; copies that have not confirmed the seal come last. */
  chunkPlaces(chunk: ChunkId): ChunkPlaces | undefined {
    const record = this.chunk(chunk)
    if (record === undefined) return undefined
    const sealed = record.state === 'sealed'
    const confirmed = record.disks.filter((disk) => !record.unsealed.includes(disk))
    const late = record.disks.filter((disk) => record.unsealed.includes(disk))
    const places = [...confirmed, ...late].flatMap((disk) => this.place(disk) ?? [])
    return { chunk, sealed, length: record.length, places }
  }
  place(disk: DiskId): Place | undefined {
    const record = this.disk(disk)
    const node = record === undefined ? undefined : this.node(record.node)
    if (record === undefined || node === undefined) return undefined
    return { disk, node: record.node, host: node.host, port: node.port }
  }
  /** Every chunk in order of its id after the given one (check, recount). */
  chunksPage(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return this.#page(tables.chunk.prefix, num(afterChunk), limit) as ChunkId[]
  }
  chunksOfDisk(disk: DiskId, afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return this.#page(key.chunksOfDisk(disk), num(afterChunk), limit) as ChunkId[]
  }
  openChunksOf(session: SessionId, afterChunk: ChunkId | 0 = 0, limit = Number.MAX_SAFE_INTEGER): ChunkId[] {
    return this.#page(key.openChunksOf(session), num(afterChunk), limit) as ChunkId[]
  }
  /** Chunks that need repair to look at them: sealing, or copies other than wanted, or not all confirmed. */
  attentionPage(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return this.#page(tables.attention.prefix, num(afterChunk), limit) as ChunkId[]
  }
  /** Sealed chunks of which less than half is live (and something is). */
  sparsePage(afterChunk: ChunkId | 0, limit: number): ChunkId[] {
    return this.#page(tables.sparse.prefix, num(afterChunk), limit) as ChunkId[]
  }
  /** Sealed chunks without a live byte since before `sec`, longest dead first. */
  deadBefore(sec: number, limit: number): ChunkId[] {
    const dead: ChunkId[] = []
    if (limit <= 0) return dead
    this.kv.scan({ from: tables.dead.prefix, to: tables.dead.prefix + num(Math.max(0, sec)) }, (at) => {
      dead.push(numAt(at, afterNum(at, 1)) as ChunkId)
      return dead.length < limit
    })
    return dead
  }
  node(node: NodeId): NodeRecord | undefined {
    const held = this.#nodes.get(node)
    if (held !== undefined) return held
    const value = this.kv.get(key.node(node))
    if (value === undefined) return undefined
    const record = decodeRecord(nodeRecord, value, 'node')
    this.#nodes.set(node, record)
    return record
  }
  setNode(node: NodeId, record: NodeRecord): void {
    this.kv.put(key.node(node), encodeRecord(nodeRecord, record))
    this.#nodes.set(node, record)
  }
  nodes(): { node: NodeId; record: NodeRecord }[] {
    return (this.#page(tables.node.prefix, '', Number.MAX_SAFE_INTEGER) as NodeId[]).flatMap((node) => {
      const record = this.node(node)
      return record === undefined ? [] : [{ node, record }]
    })
  }
  disk(disk: DiskId): DiskRecord | undefined {
    return this.#disks.get(disk, this.#readDisk)
  }
  readonly #readDisk = (disk: DiskId): DiskRecord | undefined => {
    const value = this.kv.get(key.disk(disk))
    return value === undefined ? undefined : decodeRecord(diskRecord, value, 'disk')
  }
  setDisk(disk: DiskId, record: DiskRecord | undefined): void {
    this.#disks.set(disk, record)
  }
  /** All disks that the store knows. */
  disks(): { disk: DiskId; record: DiskRecord }[] {
    return (this.#page(tables.disk.prefix, '', Number.MAX_SAFE_INTEGER) as DiskId[]).flatMap((disk) => {
      const record = this.disk(disk)
      return record === undefined ? [] : [{ disk, record }]
    })
  }

  // ---- sessions, replies, holds, locks

  session(session: SessionId): SessionRecord | undefined {
    return this.#sessions.get(session, this.#readSession)
  }
  readonly #readSession = (session: SessionId): SessionRecord | undefined => {
    const value = this.kv.get(key.session(session))
    return value === undefined ? undefined : decodeRecord(sessionRecord, value, 'session')
  }
  setSession(session: SessionId, record: SessionRecord | undefined): void {
    this.#sessions.set(session, record)
  }
  sessions(): { session: SessionId; record: SessionRecord }[] {
    return (this.#page(tables.session.prefix, '', Number.MAX_SAFE_INTEGER) as SessionId[]).flatMap((session) => {
      const record = this.session(session)
      return record === undefined ? [] : [{ session, record }]
    })
  }
  /** The session that a mount with this client word opened. */
  sessionOf(client: string): SessionId | undefined {
    const value = this.kv.get(key.client(clientKey(client)))
    return value === undefined ? undefined : (unpack(value) as SessionId)
  }
  setSessionOf(client: string, session: SessionId | undefined): void {
    if (session === undefined) this.kv.delete(key.client(clientKey(client)))
    else this.kv.put(key.client(clientKey(client)), pack(session))
  }
  /** The remembered answer of a stamp, in the shape of its call. */
  reply(session: SessionId, seq: number): Result<unknown> | undefined {
    const value = this.kv.get(key.reply(session, seq))
    if (value === undefined) return undefined
    const [id, number, rest] = unpack(value) as [number, number, unknown]
    if (number !== 0) {
      const code = errnoFromNumber(number)
      return typeof rest === 'string' ? { errno: code, detail: rest } : { errno: code }
    }
    const from = commands[commandById.get(id)!].from
    return { ok: from === undefined ? {} : calls[from].reply.decode(rest, 'reply') }
  }
  setReply(session: SessionId, seq: number, kind: CommandName, result: Result<unknown>): void {
    const { id, from } = commands[kind]
    const schema = from === undefined ? undefined : (calls[from].reply as { encode: (value: unknown) => unknown })
    this.kv.put(
      key.reply(session, seq),
      pack(
        'errno' in result
          ? [id, errno[result.errno].number, result.detail ?? null]
          : [id, 0, schema === undefined ? [] : schema.encode(result.ok)],
      ),
    )
  }
  isSustained(ino: Ino): boolean {
    let found = false
    const prefix = key.sustainedOf(ino)
    this.kv.scan({ from: prefix, to: after(prefix) }, () => {
      found = true
      return false
    })
    return found
  }
  /** Sessions that hold an unlinked inode open. */
  sustainedBy(ino: Ino): SessionId[] {
    return this.#page(key.sustainedOf(ino), '', Number.MAX_SAFE_INTEGER) as SessionId[]
  }
  /** Unlinked inodes that a session holds open. */
  sustained(session: SessionId, afterIno: Ino | 0 = 0, limit = Number.MAX_SAFE_INTEGER): Ino[] {
    return this.#page(key.holdsOf(session), num(afterIno), limit) as Ino[]
  }
  locksOf(ino: Ino): HeldLock[] {
    const value = this.kv.get(key.locks(ino))
    return value === undefined ? [] : decodeRecord(locksRecord, value, 'locks')
  }
  /** Inodes on which a session has locks. */
  lockedBy(session: SessionId, afterIno: Ino | 0 = 0, limit = Number.MAX_SAFE_INTEGER): Ino[] {
    return this.#page(key.lockerOf(session), num(afterIno), limit) as Ino[]
  }

  // ---- extended attributes

  /** A copy of the value. */
  xattr(ino: Ino, name: string): Buffer | undefined {
    const value = this.kv.get(key.xattr(ino, name))
    return value === undefined ? undefined : Buffer.from(value)
  }
  xattrs(ino: Ino): string[] {
    const names: string[] = []
    const prefix = key.xattrsOf(ino)
    this.kv.scan({ from: prefix, to: after(prefix) }, (at) => {
      names.push(at.slice(prefix.length))
      return true
    })
    return names
  }

  // ---- trash, doomed, changelog

  trash(ino: Ino): TrashRecord | undefined {
    const until = this.inode(ino)?.trashedUntil
    if (until === undefined) return undefined
    const value = this.kv.get(key.trash(until, ino))
    return value === undefined ? undefined : decodeRecord(trashRecord, value, 'trash')
  }
  /** Oldest expiry first, after the given one (undefined: from the start). */
  trashPage(
    afterOne: { expirySec: number; ino: Ino } | undefined,
    limit: number,
  ): { ino: Ino; expirySec: number; record: TrashRecord }[] {
    const page: { ino: Ino; expirySec: number; record: TrashRecord }[] = []
    const from = afterOne === undefined ? tables.trash.prefix : `${key.trash(afterOne.expirySec, afterOne.ino)}\0`
    this.kv.scan({ from, to: after(tables.trash.prefix) }, (at, value) => {
      if (page.length >= limit) return false
      const ino = numAt(at, afterNum(at, 1)) as Ino
      page.push({ ino, expirySec: numAt(at, 1), record: decodeRecord(trashRecord, value, 'trash') })
      return true
    })
    return page
  }
  doomedPage(afterIno: Ino | 0, limit: number): Ino[] {
    return this.#page(tables.doomed.prefix, num(afterIno), limit) as Ino[]
  }
  /** Entries from an index on, oldest first; what has been trimmed is not there. */
  changelog(from: number, limit: number): ChangelogEntry[] {
    const entries: ChangelogEntry[] = []
    if (limit <= 0) return entries
    this.kv.scan({ from: key.changelog(from), to: after(tables.changelog.prefix) }, (_at, value) => {
      entries.push(decodeChangelog(value))
      return entries.length < limit
    })
    return entries
  }
  /** The number that keys of a table begin with after `prefix`, after `afterNumber` (encoded; '' = from the start). */
  #page(prefix: string, afterNumber: string, limit: number): number[] {
    const found: number[] = []
    if (limit <= 0) return found
    const from = afterNumber === '' ? prefix : `${prefix}${afterNumber}\0`
    this.kv.scan({ from, to: after(prefix) }, (at) => {
      found.push(numAt(at, prefix.length))
      return found.length < limit
    })
    return found
  }
}

/** Client words are text; keys are bytes. */
const clientKey = (client: string): string => unescape(encodeURIComponent(client))

const commandById: ReadonlyMap<number, CommandName> = new Map(
  (Object.keys(commands) as CommandName[]).map((kind) => [commands[kind].id, kind]),
)

function decodeExtent(offset: number, value: Uint8Array): Extent {
  const [length, chunk, chunkOffset] = unpack(value) as [number, ChunkId, number]
  return { offset, length, chunk, chunkOffset }
}

/** A command as it stands in the changelog: [envelope, kind id, fields, errno]. */
export function encodeChangelog(envelope: Envelope, command: Command, code: Errno | undefined): Uint8Array {
  const row = commands[command.kind] as { id: number; fields: { encode: (value: unknown) => unknown } }
  const number = code === undefined ? 0 : errno[code].number
  return pack([envelopeSchema.encode(envelope), row.id, row.fields.encode(command), number])
}

export function decodeChangelog(value: Uint8Array): ChangelogEntry {
  const [around, id, fields, number] = unpack(value) as [unknown, number, unknown, number]
  const kind = commandById.get(id)
  assert(kind !== undefined, `command ${id} of the changelog is known`)
  return {
    envelope: envelopeSchema.decode(around, 'envelope'),
    command: { kind, ...(commands[kind].fields.decode(fields, kind) as object) } as Command,
    errno: number === 0 ? undefined : errnoFromNumber(number),
  }
}

/** Runs `body` in one transaction of the store, with all held changes written back at its end: all of it or nothing. */
export function transact<T>(store: StateStore, state: State, body: () => T): T {
  try {
    return store.transaction(() => {
      const value = body()
      state.flush()
      return value
    })
  } catch (error) {
    state.forget()
    throw error
  }
}
