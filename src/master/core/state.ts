/*
 * The master's state as values: every read that the shell, `apply` and `check` need, over any Kv. It knows the tables and
 * nothing about rules. Tables that are only read by range are parts of their own: extents, chunkIndex, trash, jobs;
 * and so are quotas, which follow every change of an inode.
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
import { assert, type Result } from '../../base/fault.ts'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../base/ids.ts'
import type { ChunkPlaces, EcParts, Place, Settings } from '../../wire/shapes.ts'
import { ChunkIndex } from './chunk-index.ts'
import { ClassTable } from './class-table.ts'
import { type ChangelogEntry, decodeChangelog, decodeReply, encodeReply } from './command-codec.ts'
import type { CommandName } from './commands.ts'
import { cookieOf, type Found, nameHash } from './dentries.ts'
import { ExtentTable } from './extent-table.ts'
import { Held } from './held.ts'
import { type Imaging, ImagingKv } from './imaging-kv.ts'
import { JobTable } from './job-table.ts'
import type { Kv, StateStore } from './kv.ts'
import { LinkTable } from './links.ts'
import { MeasuredTable } from './measured-table.ts'
import { MeshTable } from './mesh-table.ts'
import { QuotaTable } from './quota-table.ts'
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
  unpack,
} from './records.ts'
import { after, key, num, numAt, numbersIn, tables } from './tables.ts'
import { TrashTable } from './trash-table.ts'
import { UsageTable } from './usage.ts'

export interface DirEntry extends Dentry {
  /** Continues a listing after this entry; 3 … 2^53−1. */
  readonly cookie: number
}

/**
 * What the changelog keeps: a follower that is further behind starts from a hot copy of the store. The only thing in the
 * store that is each process's own to choose; nothing is ever decided by it.
 */
export interface ChangelogBounds {
  readonly entries: number
  readonly bytes: number
}
const CHANGELOG_BOUNDS: ChangelogBounds = { entries: 65_536, bytes: 64 * 1024 * 1024 }

/** Decoded records held between transactions: 16 K inodes are about 10 MB and cover the directories in use. */
const HELD_INODES_MAX = 16_384
const HELD_CHUNKS_MAX = 8_192

export class State {
  readonly kv: Kv
  readonly extents: ExtentTable
  readonly chunkIndex: ChunkIndex
  readonly trash: TrashTable
  readonly classes: ClassTable
  readonly jobs: JobTable
  readonly quotas: QuotaTable
  readonly usage: UsageTable
  readonly mesh: MeshTable
  readonly measured: MeasuredTable
  readonly links: LinkTable
  readonly keeps: ChangelogBounds
  readonly #inodes = new Held<Ino, InodeRecord>(HELD_INODES_MAX)
  readonly #chunks = new Held<ChunkId, ChunkRecord>(HELD_CHUNKS_MAX)
  readonly #sessions = new Held<SessionId, SessionRecord>(4096)
  readonly #disks = new Held<DiskId, DiskRecord>(4096)
  readonly #nodes = new Map<NodeId, NodeRecord>()
  #counters: Counters | undefined
  #countersChanged = false
  #settings: Settings | undefined
  #salt: readonly [number, number] | undefined

  constructor(kv: Kv, keeps: ChangelogBounds = CHANGELOG_BOUNDS) {
    this.kv = new ImagingKv(kv, () => this.imaging())
    this.keeps = keeps
    this.extents = new ExtentTable(this.kv)
    this.chunkIndex = new ChunkIndex(this.kv)
    this.trash = new TrashTable(this.kv)
    this.jobs = new JobTable(this.kv)
    this.classes = new ClassTable(this.kv, () => this.settings().copies)
    this.quotas = new QuotaTable(this.kv)
    this.usage = new UsageTable(this.kv)
    this.mesh = new MeshTable(this.kv)
    this.measured = new MeasuredTable(this.kv)
    this.links = new LinkTable(this.kv)
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
    this.classes.flush()
    this.quotas.flush()
    this.usage.flush()
    if (this.#countersChanged) {
      this.kv.put(key.meta('counters'), encodeRecord(countersRecord, this.counters()))
      this.#countersChanged = false
    }
  }

  /** Whether everything changed has been flushed. */
  get clean(): boolean {
    return (
      !this.#countersChanged &&
      this.classes.clean &&
      this.#inodes.changed + this.#chunks.changed + this.#sessions.changed + this.#disks.changed === 0 &&
      this.quotas.changed + this.usage.changed === 0
    )
  }

  /** Drops all that is held, changes included: the store is the truth again. */
  forget(): void {
    this.#inodes.forget()
    this.#chunks.forget()
    this.#sessions.forget()
    this.#disks.forget()
    this.classes.forget()
    this.quotas.forget()
    this.usage.forget()
    this.mesh.forget()
    this.measured.forget()
    this.links.forget()
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
  /** The snapshot that is being made, if there is one. */
  imaging(): Imaging | undefined {
    return this.exists() ? this.counters().imaging : undefined
  }
  /** 0: there is no mesh. */
  meshVersion(): number {
    return this.counters().meshVersion ?? 0
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
    if (this.quotas.any) this.quotas.recharge(this.inode(ino), record)
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
    return { chunk, sealed, length: record.length, places, ec: record.ec && this.#partPlaces(record.ec) }
  }
  #partPlaces({ data, parity, parts }: NonNullable<ChunkRecord['ec']>): EcParts {
    return {
      data,
      parity,
      parts: parts.map((part) => {
        const record = this.chunk(part)
        const confirmed = record?.disks.filter((disk) => !record.unsealed.includes(disk)) ?? []
        return { chunk: part, length: record?.length ?? 0, places: confirmed.flatMap((disk) => this.place(disk) ?? []) }
      }),
    }
  }
  place(disk: DiskId): Place | undefined {
    const record = this.disk(disk)
    const node = record === undefined ? undefined : this.node(record.node)
    if (record === undefined || node === undefined) return undefined
    return { disk, node: record.node, host: node.host, port: node.port }
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
  setNode(node: NodeId, record: NodeRecord | undefined): void {
    this.#write(key.node(node), nodeRecord, record)
    if (record === undefined) this.#nodes.delete(node)
    else this.#nodes.set(node, record)
  }
  nodes(): { node: NodeId; record: NodeRecord }[] {
    return (numbersIn(this.kv, tables.node.prefix, '', Number.MAX_SAFE_INTEGER) as NodeId[]).flatMap((node) => {
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
    return (numbersIn(this.kv, tables.disk.prefix, '', Number.MAX_SAFE_INTEGER) as DiskId[]).flatMap((disk) => {
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
    return (numbersIn(this.kv, tables.session.prefix, '', Number.MAX_SAFE_INTEGER) as SessionId[]).flatMap(
      (session) => {
        const record = this.session(session)
        return record === undefined ? [] : [{ session, record }]
      },
    )
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
  /** The first session that has ended and left something that is still to be cleared. */
  over(): SessionId | undefined {
    return numbersIn(this.kv, tables.over.prefix, '', 1)[0] as SessionId | undefined
  }
  /** The remembered answer of a stamp, in the shape of its call. */
  reply(session: SessionId, seq: number): Result<unknown> | undefined {
    const value = this.kv.get(key.reply(session, seq))
    return value === undefined ? undefined : decodeReply(value)
  }
  setReply(session: SessionId, seq: number, kind: CommandName, result: Result<unknown>): void {
    this.kv.put(key.reply(session, seq), encodeReply(kind, result))
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
    return numbersIn(this.kv, key.sustainedOf(ino), '', Number.MAX_SAFE_INTEGER) as SessionId[]
  }
  /** Unlinked inodes that anybody holds open, from the given one on. */
  sustainedFrom(from: Ino | 0, limit: number): Ino[] {
    const found: Ino[] = []
    const prefix = tables.sustained.prefix
    this.kv.scan({ from: `${prefix}${num(from)}`, to: after(prefix) }, (at) => {
      const ino = numAt(at, 1) as Ino
      if (found.at(-1) === ino) return true
      if (found.length >= limit) return false
      found.push(ino)
      return true
    })
    return found
  }
  /** Unlinked inodes that a session holds open. */
  sustained(session: SessionId, afterIno: Ino | 0 = 0, limit = Number.MAX_SAFE_INTEGER): Ino[] {
    return numbersIn(this.kv, key.holdsOf(session), num(afterIno), limit) as Ino[]
  }
  locksOf(ino: Ino): HeldLock[] {
    const value = this.kv.get(key.locks(ino))
    return value === undefined ? [] : decodeRecord(locksRecord, value, 'locks')
  }
  /** Inodes on which a session has locks. */
  lockedBy(session: SessionId, afterIno: Ino | 0 = 0, limit = Number.MAX_SAFE_INTEGER): Ino[] {
    return numbersIn(this.kv, key.lockerOf(session), num(afterIno), limit) as Ino[]
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
}

/** Client words are text; keys are bytes. */
const clientKey = (client: string): string => unescape(encodeURIComponent(client))

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
