/*
 * One disk: a directory with disk.json (who it is), inventory.log and chunks/HH/<16 hex>.chunk. It owns the open chunk files,
 * the space rule and what happens when the disk fails; what is inside a chunk file is chunk-file.ts.
 *
 * disk.json is written once, before anything else, and never again but to learn the cluster. A directory that is known to be
 * a disk and lacks it is `gone`, never made anew: an unmounted disk leaves an empty directory of another filesystem behind.
 * Files that are not ours are left alone. `<id>.copy` is a copy in the making: not counted, not served, resumed or deleted.
 *
 * After a crash the chunk files are the truth: attach() compares them with the inventory and opens those that were open.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../base/ids.ts'
import type { Clock, Log, Random } from '../base/world.ts'
import { ChunkFile, type ChunkHome, DamagedBlocks, type FetchedBlocks } from './chunk-file.ts'
import { availableBytes, type DiskSpec } from './core/disk-spec.ts'
import type { CopyState, Entry } from './core/inventory-log.ts'
import { DiskHealth, type DiskHealthState } from './disk-health.ts'
import {
  CHUNK_FILE,
  COPY_FILE,
  dirOf,
  IDENTITY,
  type Identity,
  initialise,
  pathOf,
  readIdentity,
  writeIdentity,
} from './disk-identity.ts'
import type { DiskIo, Space } from './disk-io.ts'
import { DiskSyncs } from './disk-syncs.ts'
import { Inventory } from './inventory.ts'
import { QuickReads } from './quick-reads.ts'
import { QuickWrites } from './quick-writes.ts'

export interface DiskWorld {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface DiskEvents {
  /** The state changed: tell the master now, not with the next heartbeat. */
  changed(disk: Disk): void
  /** Blocks of a copy failed their CRC; no blocks: the whole copy cannot be read. Told once until repaired. */
  damaged(disk: Disk, chunk: ChunkId, blocks: readonly number[], detail: string): void
}

interface Handle {
  readonly chunk: ChunkId
  readonly copy: boolean
  readonly opening: Promise<ChunkFile>
  file: ChunkFile | undefined
  users: number
  /** Bytes of a copy in the making as they are counted in #ownBytes; a chunk's are in #bytes. */
  counted: number
  /** Taken out of the table; closed when the last user is done. */
  doomed: boolean
}

const PROBE = 'probe'
/** Open files per disk: a descriptor and about 5 KiB each, so 256 are 1.3 MiB, enough for every writer and hot chunk. */
const OPEN_FILES_MAX = 256
/** Handles looked at when there are too many; those in use or not yet synced stay, the next call looks further. */
const EVICT_LOOKS = 8
/** How often a disk that is not ok is tried again. */
const RETRY_MS = 5_000
/** A copy that nobody went on with for this long is not wanted any more: its space is given back. */
const COPY_KEPT_MS = 3_600_000
/** A disk that has not answered a look at its free space for this long hangs. */
const HANGS_MS = 30_000
/** Below this a full disk is not called usable again: it would be full after a moment. */
const FULL_HYSTERESIS_BYTES = 16 * 1024 * 1024

export class Disk implements ChunkHome {
  readonly spec: DiskSpec
  readonly quick: QuickWrites
  readonly quickReads: QuickReads
  readonly health: DiskHealth
  readonly #io: DiskIo
  readonly #world: DiskWorld
  readonly #events: DiskEvents
  #uuid: string
  #cluster: string
  #inventory: Inventory | undefined
  #unlock: (() => Promise<void>) | undefined
  /** In order of use, oldest first. Copies in the making are beside them. */
  readonly #handles = new Map<ChunkId, Handle>()
  readonly #copies = new Map<ChunkId, Handle>()
  /** Copies in the making, and when they were last worked on. */
  readonly #unfinished = new Map<ChunkId, number>()
  readonly #damage = new Map<ChunkId, Set<number>>()
  #space: Space = { totalBytes: 0, availableBytes: 0 }
  #ownBytes = 0
  /** What each chunk adds to #ownBytes. */
  readonly #bytes = new Map<ChunkId, number>()
  #available = 0
  readonly #syncs: DiskSyncs
  #probeStarted: number | undefined
  #lastTry = Number.NEGATIVE_INFINITY
  #closed = false

  /** `uuid`: the disk that is known to be at this place, '' for a place that was never used. */
  constructor(io: DiskIo, spec: DiskSpec, uuid: string, cluster: string, world: DiskWorld, events: DiskEvents) {
    this.#io = io
    this.spec = spec
    this.#uuid = uuid
    this.#cluster = cluster
    this.#world = world
    this.#events = events
    this.quick = new QuickWrites(world.clock)
    this.quickReads = new QuickReads(world.clock)
    this.#syncs = new DiskSyncs(io)
    this.health = new DiskHealth(spec.path, world.clock, world.log, () => events.changed(this))
  }

  get uuid(): string {
    return this.#uuid
  }
  get state(): DiskHealthState {
    return this.health.state
  }
  /** The last inventory number the master may be told. */
  get seq(): number {
    return this.#inventory?.flushedSeq ?? 0
  }

  report(): {
    uuid: string
    path: string
    state: DiskHealthState
    error: string
    totalBytes: number
    usedBytes: number
    availableBytes: number
    chunks: number
    errors: number
    seq: number
    marked: boolean
  } {
    const usable = this.state === 'ok' || this.state === 'full'
    return {
      uuid: this.#uuid,
      path: this.spec.path,
      state: this.state,
      error: this.health.error,
      totalBytes: this.#ownBytes + this.#available,
      usedBytes: this.#ownBytes,
      availableBytes: usable ? Math.max(0, this.#available) : 0,
      chunks: this.#inventory?.table.held ?? 0,
      errors: this.health.errors,
      seq: this.seq,
      marked: this.spec.marked,
    }
  }

  // ---- coming and going

  /** Takes the disk into use. An FsError says why not; the disk stays `gone` or `failed` and is tried again by probe(). */
  async attach(): Promise<void> {
    this.#lastTry = this.#world.clock.monotonicMs()
    try {
      await this.#attach()
    } catch (error) {
      const failure = this.health.failure(error, 'opening the disk')
      await this.#release()
      if (this.state !== 'failed') this.health.set('gone', failure.message)
      throw failure
    }
  }

  async #attach(): Promise<void> {
    const identity = (await this.#io.exists(IDENTITY)) ? await readIdentity(this.#io) : await this.#initialise()
    if (this.#uuid !== '' && identity.uuid !== this.#uuid)
      throw new FsError('EEXIST', `${this.spec.path} is disk ${identity.uuid}, expected ${this.#uuid}`)
    if (this.#cluster !== '' && identity.cluster !== '' && identity.cluster !== this.#cluster)
      throw new FsError('EACCES', `${this.spec.path} belongs to cluster ${identity.cluster}`)
    this.#unlock = await this.#io.lock(`disk-${identity.uuid}`)
    this.#uuid = identity.uuid
    if (this.#cluster !== '' && identity.cluster === '')
      await writeIdentity(this.#io, { ...identity, cluster: this.#cluster })
    else if (this.#cluster === '') this.#cluster = identity.cluster
    const { inventory, rebuilt } = await Inventory.load(this.#io, this.#nowMs())
    this.#inventory = inventory
    if (rebuilt) this.#world.log.info({ disk: this.spec.path }, 'inventory is made anew from the chunk files')
    this.health.set('ok', '')
    await this.#reconcile(inventory)
    await this.#measure()
  }

  /** The master told which cluster this is: a disk of none belongs to it from now on. */
  async join(cluster: string): Promise<void> {
    if (this.#cluster === cluster || this.state !== 'ok') return
    if (this.#cluster !== '') {
      // The other disks go on; this one must not be told to delete what another cluster needs.
      this.health.set('failed', `belongs to cluster ${this.#cluster}, not to ${cluster}`)
      await this.#release()
      return
    }
    this.#cluster = cluster
    try {
      await writeIdentity(this.#io, { ...(await readIdentity(this.#io)), cluster })
    } catch (error) {
      throw this.health.failure(error, 'writing disk.json')
    }
  }

  async #initialise(): Promise<Identity> {
    if (this.#uuid !== '')
      throw new FsError(
        'ENODEV',
        `${this.spec.path} lacks ${IDENTITY}: the disk that belongs here is not mounted, or was deleted`,
      )
    return initialise(this.#io, this.#world.random.hex(16), this.#cluster, this.#nowMs())
  }

  async #reconcile(inventory: Inventory): Promise<void> {
    const there = new Set<ChunkId>()
    let foreign = 0
    for (let i = 0; i < 256; i++) {
      const dir = dirOf(chunkId(i))
      if (!(await this.#io.exists(dir))) {
        // Lost to a repair of the filesystem. Not made anew when it is the whole disk that has gone meanwhile.
        if (!(await this.#io.exists(IDENTITY))) throw new FsError('ENODEV', `${this.spec.path} vanished`)
        await this.#io.makeDir(dir)
      }
      for (const name of await this.#io.list(dir)) {
        const copy = COPY_FILE.exec(name)?.[1]
        if (copy !== undefined) {
          const begun = Number.parseInt(copy, 16)
          if (Number.isSafeInteger(begun) && begun % 256 === i)
            this.#unfinished.set(chunkId(begun), this.#world.clock.monotonicMs())
          continue
        }
        const hex = CHUNK_FILE.exec(name)?.[1]
        const id = hex === undefined ? undefined : Number.parseInt(hex, 16)
        if (id !== undefined && Number.isSafeInteger(id) && id % 256 === i) there.add(chunkId(id))
        else foreign++
      }
    }
    if (foreign > 0)
      this.#world.log.warn({ disk: this.spec.path, files: foreign }, 'files that are not chunks are left alone')
    const missing = [...inventory.table.heldEntries()].filter((entry) => !there.has(entry.chunk))
    for (const entry of missing) inventory.note(entry.chunk, 'gone', 0)
    this.#ownBytes = 0
    this.#bytes.clear()
    for (const chunk of there) {
      const known = inventory.table.get(chunk)
      if (known !== undefined && known.state !== 'open') {
        this.#count(chunk, known.length)
        continue
      }
      try {
        await this.#use(chunk, async () => {})
      } catch (error) {
        if (!(error instanceof FsError) || this.state !== 'ok') throw error
        this.#world.log.warn(
          { disk: this.spec.path, chunk: chunkName(chunk), error: error.message },
          'a chunk file cannot be used',
        )
      }
    }
    await inventory.flush()
  }

  /**
   * Once a second: free space, is the disk still there, may a disk in trouble be used again. A disk that does not answer
   * makes no second probe wait behind the first.
   */
  async probe(): Promise<void> {
    const now = this.#world.clock.monotonicMs()
    if (this.#closed) return
    if (this.#probeStarted !== undefined) {
      if (now - this.#probeStarted > HANGS_MS && this.state !== 'failed')
        this.health.set('failed', `does not answer for ${Math.round((now - this.#probeStarted) / 1000)} s`)
      return
    }
    this.#probeStarted = now
    try {
      await this.#probe(now)
    } catch (error) {
      this.health.failure(error, 'looking at the disk')
    } finally {
      this.#probeStarted = undefined
    }
  }

  async #probe(now: number): Promise<void> {
    if (this.state === 'failed') return
    if (this.state === 'gone' || this.#inventory === undefined) {
      if (now - this.#lastTry < RETRY_MS) return
      await this.#release()
      await this.attach()
      return
    }
    if (!(await this.#io.exists(IDENTITY))) {
      this.health.set('gone', `${IDENTITY} is no longer there`)
      await this.#release()
      return
    }
    await this.#measure()
    if (this.state === 'ok' && this.#available <= 0) this.health.set('full', 'no space left under its rule')
    if ((this.state === 'full' || this.state === 'readonly') && now - this.#lastTry >= RETRY_MS) {
      this.#lastTry = now
      if (this.state === 'full' && this.#available < FULL_HYSTERESIS_BYTES) return
      if (await this.#canWrite()) {
        // What was opened while it could not be written was opened for reading only.
        if (this.state === 'readonly') this.#closeHandles()
        this.health.set('ok', '')
      }
    }
    if (this.state !== 'ok') return
    await this.#inventory.flush()
    for (const [chunk, at] of this.#unfinished) {
      if (now - at < COPY_KEPT_MS || (this.#copies.get(chunk)?.users ?? 0) > 0) continue
      await this.dropCopy(chunk)
      break
    }
  }

  async #canWrite(): Promise<boolean> {
    try {
      const file = await this.#io.open(PROBE, 'ensure')
      try {
        await file.write([Buffer.alloc(512, 0x50)], 0)
        await file.datasync()
      } finally {
        await file.close()
      }
      await this.#io.unlink(PROBE)
      return true
    } catch (error) {
      this.health.failure(error, 'trying to write')
      return false
    }
  }

  async #measure(): Promise<void> {
    this.#space = await this.#io.space()
    this.#available = availableBytes(this.spec.space, this.#space, this.#ownBytes)
  }

  /** Closes everything; what was acknowledged as durable is, the rest is in the page cache. */
  async close(): Promise<void> {
    this.#closed = true
    try {
      await this.#inventory?.flush()
    } catch (error) {
      this.health.failure(error, 'closing the disk')
    }
    await this.#release()
    this.health.retire()
  }

  async #release(): Promise<void> {
    this.#closeHandles()
    const inventory = this.#inventory
    const unlock = this.#unlock
    this.#inventory = undefined
    this.#unlock = undefined
    this.#damage.clear()
    this.#unfinished.clear()
    await unlock?.()
    try {
      await inventory?.close()
    } catch (error) {
      this.health.failure(error, 'closing the inventory')
    }
  }

  #nowMs(): number {
    const { sec, nsec } = this.#world.clock.now()
    return sec * 1000 + Math.floor(nsec / 1_000_000)
  }

  // ---- what the chunk files need

  failure(error: unknown, doing: string): FsError {
    return this.health.failure(error, doing)
  }

  syncGate(work: () => Promise<void>): Promise<void> {
    return this.#syncs.gate(work)
  }

  syncDir(dir: string): Promise<void> {
    return this.#syncs.dir(dir)
  }

  // ---- handles

  #closeHandles(): void {
    for (const table of [this.#handles, this.#copies]) {
      for (const handle of table.values()) {
        if (handle.copy) this.#countHandle(handle, 0)
        this.#doom(handle)
      }
      table.clear()
    }
  }

  #doom(handle: Handle): void {
    handle.doomed = true
    if (handle.users === 0) this.#close(handle)
  }

  #close(handle: Handle): void {
    void handle.opening.then(
      (file) =>
        file.close().catch((error: unknown) => this.health.failure(error, `closing chunk ${chunkName(handle.chunk)}`)),
      () => {},
    )
  }

  #handle(chunk: ChunkId, copy: boolean, open: () => Promise<ChunkFile>): Handle {
    const table = copy ? this.#copies : this.#handles
    const known = table.get(chunk)
    if (known !== undefined) {
      table.delete(chunk)
      table.set(chunk, known)
      return known
    }
    const handle: Handle = { chunk, copy, opening: open(), file: undefined, users: 0, counted: 0, doomed: false }
    handle.opening.then(
      (file) => {
        handle.file = file
        this.#countHandle(handle, file.length)
      },
      () => {
        if (table.get(chunk) === handle) table.delete(chunk)
      },
    )
    table.set(chunk, handle)
    if (!copy) this.#evict()
    return handle
  }

  #count(chunk: ChunkId, length: number): void {
    const growth = length - (this.#bytes.get(chunk) ?? 0)
    if (growth === 0) return
    this.#ownBytes += growth
    this.#available -= growth
    this.#bytes.set(chunk, length)
  }

  #uncount(chunk: ChunkId): void {
    this.#ownBytes -= this.#bytes.get(chunk) ?? 0
    this.#bytes.delete(chunk)
  }

  #countHandle(handle: Handle, length: number): void {
    if (!handle.copy) {
      if (!handle.doomed) this.#count(handle.chunk, length)
      return
    }
    this.#ownBytes += length - handle.counted
    this.#available -= length - handle.counted
    handle.counted = length
  }

  #evict(): void {
    if (this.#handles.size <= OPEN_FILES_MAX) return
    let looks = EVICT_LOOKS
    for (const handle of this.#handles.values()) {
      if (looks-- === 0) return
      if (handle.users > 0 || handle.file === undefined) continue
      if (handle.file.idle) {
        this.#handles.delete(handle.chunk)
        this.#doom(handle)
        if (this.#handles.size <= OPEN_FILES_MAX) return
      } else if (handle.file.unsynced) {
        // Old and not durable yet: made so now, closed at a later look. The sync's failure is kept by the chunk file.
        const { file } = handle
        void this.#using(handle, () => file.sync(file.length)).catch((error: unknown) =>
          this.health.failure(error, 'syncing'),
        )
      }
    }
  }

  async #using<T>(handle: Handle, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    handle.users++
    try {
      const file = handle.file ?? (await handle.opening)
      const answer = await work(file)
      this.#countHandle(handle, file.length)
      return answer
    } catch (error) {
      if (error instanceof DamagedBlocks && !handle.copy) this.#damaged(handle.chunk, error.blocks, error.message)
      throw error
    } finally {
      handle.users--
      if (handle.doomed && handle.users === 0) this.#close(handle)
    }
  }

  #known(): Inventory {
    this.health.assertReadable()
    if (this.#inventory === undefined) throw new FsError('ENODEV', `${this.spec.path} is ${this.state}`)
    return this.#inventory
  }

  #use<T>(chunk: ChunkId, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    return this.#using(
      this.#handle(chunk, false, () => this.#open(chunk)),
      work,
    )
  }

  async #open(chunk: ChunkId): Promise<ChunkFile> {
    const inventory = this.#known()
    const before = inventory.table.get(chunk)
    try {
      const file = await this.#io.open(pathOf(chunk), this.state === 'readonly' ? 'read' : 'write')
      let opened: ChunkFile
      try {
        opened = await ChunkFile.open(file, chunk, this, dirOf(chunk))
      } catch (error) {
        await file.close()
        throw error
      }
      if (before === undefined || (before.state === 'open' && opened.sealed))
        inventory.note(chunk, opened.sealed ? 'sealed' : 'open', opened.sealed ? opened.length : 0)
      if (opened.damagedAtOpen.length > 0)
        this.#damaged(chunk, opened.damagedAtOpen, 'durable bytes of the chunk are cut off or do not match their CRC')
      return opened
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') {
        inventory.note(chunk, 'gone', 0)
        throw new FsError('ENOENT', `chunk ${chunkName(chunk)} on ${this.spec.path}`, { cause: error })
      }
      const failure = this.failure(error, `opening chunk ${chunkName(chunk)}`)
      if (failure.code === 'EBADMSG') this.#damaged(chunk, [], failure.message)
      throw failure
    }
  }

  #damaged(chunk: ChunkId, blocks: readonly number[], detail: string): void {
    let known = this.#damage.get(chunk)
    const news = known === undefined || blocks.some((block) => !known!.has(block))
    if (!news) return
    known ??= new Set()
    for (const block of blocks) known.add(block)
    this.#damage.set(chunk, known)
    this.#inventory?.note(
      chunk,
      'damaged',
      this.#handles.get(chunk)?.file?.length ?? this.#inventory.table.get(chunk)?.length ?? 0,
    )
    this.#world.log.warn(
      { disk: this.spec.path, chunk: chunkName(chunk), blocks, detail },
      'damage found; it is repaired from another copy',
    )
    this.#events.damaged(this, chunk, [...known], detail)
  }

  // ---- chunks

  /** Answers at once when the chunk is open and the append small. */
  append(chunk: ChunkId, offset: number, parts: readonly Uint8Array[], create: boolean): number | Promise<number> {
    this.health.assertWritable()
    const handle = this.#handles.get(chunk)
    if (handle?.file === undefined) return this.#appendOpening(chunk, offset, parts, create)
    const { file } = handle
    const answer = file.append(offset, parts)
    if (typeof answer === 'number') {
      this.#count(chunk, file.length)
      if (this.#available <= 0) this.health.set('full', 'no space left under its rule')
      return answer
    }
    return this.#using(handle, () => answer)
  }

  async #appendOpening(chunk: ChunkId, offset: number, parts: readonly Uint8Array[], create: boolean): Promise<number> {
    const known = this.#known().table.get(chunk)
    if (known === undefined && !create && !this.#handles.has(chunk)) throw this.#missing(chunk)
    const handle = this.#handle(chunk, false, () =>
      known === undefined ? this.#create(chunk) : this.#openForAppend(chunk, create && offset === 0),
    )
    return this.#using(handle, async (file) => file.append(offset, parts))
  }

  #missing(chunk: ChunkId): FsError {
    return new FsError('ENOENT', `chunk ${chunkName(chunk)} on ${this.spec.path}`)
  }

  async #create(chunk: ChunkId): Promise<ChunkFile> {
    const inventory = this.#known()
    try {
      const file = await this.#io.open(pathOf(chunk), 'create')
      const made = await ChunkFile.create(file, chunk, this, dirOf(chunk), this.#nowMs())
      inventory.note(chunk, 'open', 0)
      return made
    } catch (error) {
      if ((error as { code?: unknown }).code === 'EEXIST') return this.#open(chunk)
      throw this.failure(error, `creating chunk ${chunkName(chunk)}`)
    }
  }

  /** A creation that was cut off by a power cut leaves a file without a header; its writer begins again at 0. */
  async #openForAppend(chunk: ChunkId, fromStart: boolean): Promise<ChunkFile> {
    try {
      return await this.#open(chunk)
    } catch (error) {
      if (!fromStart || !(error instanceof FsError) || error.code !== 'EBADMSG') throw error
      await this.#io.unlink(pathOf(chunk))
      this.#damage.delete(chunk)
      return this.#create(chunk)
    }
  }

  async read(chunk: ChunkId, offset: number, length: number): Promise<Buffer> {
    this.#assertHeld(chunk)
    return this.#use(chunk, (file) => file.read(offset, length))
  }

  async fetch(chunk: ChunkId, block: number, count: number): Promise<FetchedBlocks> {
    this.#assertHeld(chunk)
    return this.#use(chunk, (file) => file.fetch(block, count))
  }

  #assertHeld(chunk: ChunkId): void {
    if (this.#known().table.get(chunk) === undefined && !this.#handles.has(chunk)) throw this.#missing(chunk)
  }

  async sync(chunk: ChunkId, length: number): Promise<number> {
    this.#assertHeld(chunk)
    return this.#use(chunk, async (file) => {
      await file.sync(length)
      return file.length
    })
  }

  async seal(chunk: ChunkId, length: number): Promise<string> {
    this.#assertHeld(chunk)
    if (this.state === 'readonly') throw new FsError('EROFS', this.spec.path)
    const digest = await this.#use(chunk, (file) => file.seal(length))
    if (this.#known().table.get(chunk)?.state !== 'damaged') this.#inventory?.note(chunk, 'sealed', length)
    return digest
  }

  /** Missing ones are no error. */
  async delete(chunk: ChunkId): Promise<void> {
    const inventory = this.#known()
    const handle = this.#handles.get(chunk)
    if (handle !== undefined) {
      this.#handles.delete(chunk)
      this.#doom(handle)
    }
    const known = inventory.table.get(chunk)
    if (known === undefined && handle === undefined) return
    try {
      await this.#io.unlink(pathOf(chunk))
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT')
        throw this.failure(error, `deleting chunk ${chunkName(chunk)}`)
    }
    this.#uncount(chunk)
    this.#damage.delete(chunk)
    inventory.note(chunk, 'gone', 0)
  }

  /** How a chunk is held; `deep` reads everything. */
  async verify(
    chunk: ChunkId,
    deep: boolean,
    onBytes?: (bytes: number) => Promise<void>,
  ): Promise<{ state: CopyState; length: number }> {
    const known = this.#known().table.get(chunk)
    if (known === undefined) return { state: 'gone', length: 0 }
    try {
      return await this.#use(chunk, async (file) => {
        if (deep) {
          const bad = await file.verify(onBytes)
          if (bad.length > 0) throw new DamagedBlocks(chunk, bad)
          if (!file.digestFits()) {
            this.#damaged(chunk, [], 'the CRC table does not fit the digest of the seal')
            return { state: 'damaged', length: file.length }
          }
        }
        const damaged = this.#inventory?.table.get(chunk)?.state === 'damaged' && !deep
        return { state: damaged ? 'damaged' : file.sealed ? 'sealed' : 'open', length: file.length }
      })
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      if (error.code === 'ENOENT') return { state: 'gone', length: 0 }
      this.health.assertReadable()
      return { state: 'damaged', length: known.length }
    }
  }

  /** Reads the chunk; `all` when the file cannot be read as this chunk, was never sealed, or only a new copy helps. */
  async damagedBlocks(chunk: ChunkId): Promise<number[] | 'all'> {
    this.#assertHeld(chunk)
    try {
      return await this.#use(chunk, async (file) => {
        const bad = await file.verify()
        return !file.sealed || (bad.length === 0 && !file.digestFits()) ? 'all' : bad
      })
    } catch (error) {
      if (error instanceof FsError && error.code === 'EBADMSG') return 'all'
      throw error
    }
  }

  /** Rewrites blocks with good ones; the copy counts as whole again only when all of it has been read back. */
  async repair(
    chunk: ChunkId,
    blocks: readonly number[],
    good: (block: number, length: number) => Promise<{ data: Uint8Array; crc: number }>,
  ): Promise<number> {
    this.health.assertWritable()
    this.#assertHeld(chunk)
    return this.#use(chunk, async (file) => {
      for (const block of blocks) {
        const { data, crc } = await good(block, file.length)
        await file.repairBlock(block, data, crc)
      }
      await file.repaired()
      const bad = await file.verify()
      if (bad.length > 0) throw new DamagedBlocks(chunk, bad)
      if (!file.digestFits()) throw new FsError('EBADMSG', `chunk ${chunkName(chunk)} still does not fit its digest`)
      this.#damage.delete(chunk)
      this.#inventory?.note(chunk, file.sealed ? 'sealed' : 'open', file.sealed ? file.length : 0)
      return blocks.length
    })
  }

  // ---- copies in the making

  /** The unfinished copy, resumed or begun. Not counted until `finishCopy`. */
  async copying<T>(chunk: ChunkId, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    this.health.assertWritable()
    this.#known()
    const handle = this.#handle(chunk, true, async () => {
      const path = pathOf(chunk, true)
      try {
        if (await this.#io.exists(path)) {
          const file = await this.#io.open(path, 'write')
          try {
            const begun = await ChunkFile.open(file, chunk, this, dirOf(chunk))
            if (begun.damagedAtOpen.length === 0) return begun
            await begun.close()
          } catch (error) {
            await file.close()
            if (!(error instanceof FsError) || error.code !== 'EBADMSG') throw error
          }
          await this.#io.unlink(path)
        }
        return await ChunkFile.create(await this.#io.open(path, 'create'), chunk, this, dirOf(chunk), this.#nowMs())
      } catch (error) {
        throw this.failure(error, `copying chunk ${chunkName(chunk)}`)
      }
    })
    this.#unfinished.set(chunk, this.#world.clock.monotonicMs())
    return this.#using(handle, work)
  }

  /** The copy is sealed and durable: it takes its place, over a damaged one if there was one. */
  async finishCopy(chunk: ChunkId, length: number): Promise<void> {
    const inventory = this.#known()
    const old = this.#handles.get(chunk)
    if (old !== undefined) {
      this.#handles.delete(chunk)
      this.#doom(old)
    }
    try {
      await this.#io.rename(pathOf(chunk, true), pathOf(chunk))
      await this.syncDir(dirOf(chunk))
    } catch (error) {
      throw this.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
    const copy = this.#copies.get(chunk)
    if (copy !== undefined) {
      this.#copies.delete(chunk)
      this.#countHandle(copy, 0)
      this.#doom(copy)
    }
    this.#count(chunk, length)
    this.#unfinished.delete(chunk)
    this.#damage.delete(chunk)
    inventory.note(chunk, 'sealed', length)
  }

  async dropCopy(chunk: ChunkId): Promise<void> {
    this.#unfinished.delete(chunk)
    const handle = this.#copies.get(chunk)
    if (handle !== undefined) {
      this.#copies.delete(chunk)
      this.#countHandle(handle, 0)
      this.#doom(handle)
    }
    try {
      await this.#io.unlink(pathOf(chunk, true))
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT')
        throw this.failure(error, `copying chunk ${chunkName(chunk)}`)
    }
  }

  // ---- inventory

  get readable(): boolean {
    return this.#inventory !== undefined && this.state !== 'failed' && this.state !== 'gone'
  }

  changedSince(seq: number): boolean {
    return this.#inventory !== undefined && this.#inventory.table.seq !== seq
  }

  /** Copies known to be damaged; without blocks when an earlier process found out. */
  damagedCopies(): { chunk: ChunkId; blocks: number[] }[] {
    if (this.#inventory === undefined) return []
    return [...this.#inventory.table.heldEntries()]
      .filter((entry) => entry.state === 'damaged')
      .map(({ chunk }) => ({ chunk, blocks: [...(this.#damage.get(chunk) ?? [])] }))
  }

  holds(chunk: ChunkId): boolean {
    return this.#inventory?.table.get(chunk) !== undefined
  }

  /** Chunks whose number is above `after`, in order of the number, for a walk that can be resumed. */
  sealedAfter(after: number, limit: number): Entry[] {
    if (this.#inventory === undefined) return []
    const all = [...this.#inventory.table.heldEntries()].filter(
      (entry) => entry.chunk > after && entry.state !== 'open',
    )
    return all.sort((a, b) => a.chunk - b.chunk).slice(0, limit)
  }

  heldBytes(): number {
    return this.#ownBytes
  }

  /** What changed since; durable before it is told. */
  async inventorySince(known: number): Promise<{ full: boolean; seq: number; entries: Entry[] }> {
    const inventory = this.#known()
    try {
      await inventory.flush()
    } catch (error) {
      throw this.failure(error, 'writing the inventory')
    }
    return { ...inventory.since(known), seq: inventory.table.seq }
  }

  inventoryConfirmed(seq: number): void {
    this.#inventory?.confirm(seq)
  }

  /** A small file of a background worker beside the chunks (where the scrubber is). */
  async readNote(name: string): Promise<string> {
    try {
      const file = await this.#io.open(name, 'read')
      try {
        const bytes = Buffer.alloc(Math.min(await file.size(), 4096))
        return bytes.toString('utf8', 0, await file.read(bytes, 0))
      } finally {
        await file.close()
      }
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') return ''
      throw this.failure(error, `reading ${name}`)
    }
  }

  /** Replaced whole; losing it in a power cut costs only work. */
  async writeNote(name: string, text: string): Promise<void> {
    try {
      const file = await this.#io.open(`${name}.new`, 'ensure')
      try {
        await file.truncate(0)
        await file.write([Buffer.from(text)], 0)
      } finally {
        await file.close()
      }
      await this.#io.rename(`${name}.new`, name)
    } catch (error) {
      throw this.failure(error, `writing ${name}`)
    }
  }
}
