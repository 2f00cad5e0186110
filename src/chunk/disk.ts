/*
 * One disk: a directory with disk.json (who it is), inventory.log and chunks/HH/<16 hex>.chunk. This file is about its coming
 * and going: taken into use, looked at every second, out of use when it fails or vanishes, and back. What is done with the
 * chunks on it is disk-chunks.ts, copies in the making disk-copies.ts.
 *
 * disk.json is written once, before anything else, and never again but to learn the cluster. A directory that is known to be
 * a disk and lacks it is `gone`, never made anew: an unmounted disk leaves an empty directory of another filesystem behind.
 *
 * After a crash the chunk files are the truth: attach() compares them with the inventory and opens those that were open.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { Clock, Log, Random } from '../base/world.ts'
import type { ScrubRound } from '../wire/shapes.ts'
import type { ChunkHome } from './chunk-home.ts'
import type { DiskSpec } from './core/disk-spec.ts'
import { DiskChunks, type DiskParts, NO_SPACE_LEFT } from './disk-chunks.ts'
import { DiskCopies } from './disk-copies.ts'
import { DiskHealth, type DiskHealthState } from './disk-health.ts'
import { DiskHoldings } from './disk-holdings.ts'
import { IDENTITY, type Identity, initialise, readIdentity, writeIdentity } from './disk-identity.ts'
import type { DiskIo } from './disk-io.ts'
import { scanDisk } from './disk-scan.ts'
import { DiskSpace } from './disk-space.ts'
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

const PROBE = 'probe'
/** How often a disk that is not ok is tried again. */
const RETRY_MS = 5_000
/** A disk that has not answered a look at its free space for this long hangs; one that has to spin up takes some 10 s. */
const PROBE_HANGS_MS = 30_000
/**
 * An operation of any kind that is not answered for this long: as the kernel's own complaint about hung tasks. A sync that
 * waits for all that was written to a slow stick takes a minute.
 */
const HANGS_MS = 120_000
/** Owes an answer for this long: no thread of ours shall wait for it but those of the pool. */
const SLOW_MS = 1_000
/** A full disk with less room than this share of what it keeps aside (16 MiB of large ones) would be full after a moment. */
const FULL_HYSTERESIS_SHARE = 1 / 4

export class Disk {
  readonly spec: DiskSpec
  readonly health: DiskHealth
  readonly holdings: DiskHoldings
  readonly space: DiskSpace
  readonly chunks: DiskChunks
  readonly copies: DiskCopies
  /** Where the scrubber is; set by it, told with everything else. */
  scrub: ScrubRound | undefined
  readonly #io: DiskIo
  readonly #home: ChunkHome
  readonly #world: DiskWorld
  #uuid: string
  #cluster: string
  #unlock: (() => Promise<void>) | undefined
  #probeStarted: number | undefined
  /** The operation that the disk owes an answer for longest, and since when that is known. */
  #owed: { readonly operation: number; readonly sinceMs: number } | undefined
  #attaching = false
  #lastTry = Number.NEGATIVE_INFINITY
  #closed = false

  /** `uuid`: the disk that is known to be at this place, '' for a place that was never used. */
  constructor(io: DiskIo, spec: DiskSpec, uuid: string, cluster: string, world: DiskWorld, events: DiskEvents) {
    this.#io = io
    this.spec = spec
    this.#uuid = uuid
    this.#cluster = cluster
    this.#world = world
    const { clock, log } = world
    const health = new DiskHealth(spec.path, clock, log, () => events.changed(this))
    const holdings = new DiskHoldings(spec.path, health, log, (...damage) => events.damaged(this, ...damage))
    const space = new DiskSpace(io, spec.space)
    const syncs = new DiskSyncs(io)
    const home: ChunkHome = {
      quick: new QuickWrites(clock),
      quickReads: new QuickReads(clock),
      failure: (error, doing) => health.failure(error, doing),
      syncGate: (work) => syncs.gate(work),
      syncDir: (dir) => syncs.dir(dir),
    }
    this.#home = home
    this.health = health
    this.holdings = holdings
    this.space = space
    const parts: DiskParts = { io, home, health, holdings, space, clock, nowMs: () => this.#nowMs() }
    this.chunks = new DiskChunks(parts)
    this.copies = new DiskCopies(parts, this.chunks)
  }

  get uuid(): string {
    return this.#uuid
  }
  get state(): DiskHealthState {
    return this.health.state
  }
  /** The last inventory number the master may be told. */
  get seq(): number {
    return this.holdings.inventory?.flushedSeq ?? 0
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
    scrub: ScrubRound | undefined
    reservedBytes: number
    labels: string[] | undefined
  } {
    const { ownBytes, availableBytes, reservedBytes, totalBytes } = this.space
    // A disk that is being read through holds more than it can say yet: nothing may be concluded from what it lacks.
    const coming = this.#attaching && this.state === 'ok'
    const usable = !coming && (this.state === 'ok' || this.state === 'full')
    return {
      uuid: this.#uuid,
      path: this.spec.path,
      state: coming ? 'gone' : this.state,
      error: coming ? 'is being taken into use' : this.health.error,
      totalBytes,
      usedBytes: ownBytes,
      availableBytes: usable ? Math.max(0, availableBytes) : 0,
      chunks: this.holdings.inventory?.table.held ?? 0,
      errors: this.health.errors,
      seq: this.seq,
      marked: this.spec.marked,
      scrub: this.scrub,
      reservedBytes: usable ? reservedBytes : 0,
      labels: this.spec.labels === undefined ? undefined : [...this.spec.labels],
    }
  }

  // ---- coming

  /** Takes the disk into use. An FsError says why not; the disk stays `gone` or `failed` and is tried again by probe(). */
  async attach(): Promise<void> {
    this.#lastTry = this.#world.clock.monotonicMs()
    this.#attaching = true
    try {
      await this.#attach()
    } catch (error) {
      const failure = this.health.failure(error, 'opening the disk')
      await this.#release()
      if (this.state !== 'failed') this.health.set('gone', failure.message)
      throw failure
    } finally {
      this.#attaching = false
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
    this.holdings.inventory = inventory
    if (rebuilt) this.#world.log.info({ disk: this.spec.path }, 'inventory is made anew from the chunk files')
    this.health.set('ok', '')
    await this.#reconcile(inventory)
    await this.space.measure()
    this.holdings.compared()
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
    const { log } = this.#world
    const { chunks, copies, foreign } = await scanDisk(this.#io)
    if (foreign > 0) log.warn({ disk: this.spec.path, files: foreign }, 'files that are not chunks are left alone')
    for (const copy of copies) this.copies.found(copy)
    const missing = [...inventory.table.heldEntries()].filter((entry) => !chunks.has(entry.chunk))
    for (const entry of missing) inventory.note(entry.chunk, 'gone', 0)
    this.space.forget()
    for (const chunk of chunks) {
      const known = inventory.table.get(chunk)
      if (known !== undefined && known.state !== 'open') {
        this.space.count(chunk, known.length)
        continue
      }
      try {
        await this.chunks.look(chunk)
      } catch (error) {
        if (!(error instanceof FsError) || this.state !== 'ok') throw error
        const fields = { disk: this.spec.path, chunk: chunkName(chunk), error: error.message }
        log.warn(fields, 'a chunk file cannot be used')
      }
    }
    await inventory.flush()
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
    try {
      await writeIdentity(this.#io, { ...(await readIdentity(this.#io)), cluster })
    } catch (error) {
      throw this.health.failure(error, 'writing disk.json')
    }
    this.#cluster = cluster
  }

  // ---- being looked at

  /**
   * Once a second: free space, is the disk still there, may a disk in trouble be used again. A disk that does not answer
   * makes no second probe wait behind the first. That it hangs is also seen from what others asked of it: where its files
   * are and how much is free the kernel may know without it.
   */
  async probe(): Promise<void> {
    const now = this.#world.clock.monotonicMs()
    if (this.#closed) return
    this.#listen(now)
    if (this.#attaching || this.#probeStarted !== undefined) return
    this.#probeStarted = now
    try {
      await this.#probe(now)
    } catch (error) {
      this.health.failure(error, 'looking at the disk')
    } finally {
      this.#probeStarted = undefined
    }
  }

  #listen(now: number): void {
    const operation = this.#io.owes()
    if (operation === undefined) this.#owed = undefined
    else if (this.#owed?.operation !== operation) this.#owed = { operation, sinceMs: now }
    const owedMs = this.#owed === undefined ? 0 : now - this.#owed.sinceMs
    this.#home.quick.slow = owedMs >= SLOW_MS
    this.#home.quickReads.slow = owedMs >= SLOW_MS
    // Taking a large disk into use takes long, though it answers.
    const probeMs = this.#attaching || this.#probeStarted === undefined ? 0 : now - this.#probeStarted
    if (owedMs <= HANGS_MS && probeMs <= PROBE_HANGS_MS) return
    const why = `does not answer for ${Math.round(Math.max(owedMs, probeMs) / 1000)} s`
    this.health.set('failed', why)
    this.#io.giveUp(why)
  }

  async #probe(now: number): Promise<void> {
    const { inventory } = this.holdings
    if (this.state === 'failed') return
    if (this.state === 'gone' || inventory === undefined) {
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
    await this.space.measure()
    if (this.state === 'ok' && this.space.availableBytes <= 0) this.health.set('full', NO_SPACE_LEFT)
    if ((this.state === 'full' || this.state === 'readonly') && now - this.#lastTry >= RETRY_MS) {
      this.#lastTry = now
      const stillFull =
        this.state === 'full' && this.space.availableBytes < this.space.reserveBytes * FULL_HYSTERESIS_SHARE
      if (!stillFull && (await this.#canWrite())) {
        // What was opened while it could not be written was opened for reading only.
        if (this.state === 'readonly') this.#closeFiles()
        this.health.set('ok', '')
      }
    }
    // Also of a full disk: what was deleted there is to be told, and what nobody goes on with is room.
    if (this.state !== 'ok' && this.state !== 'full') return
    await inventory.flush()
    await this.copies.dropOneOld()
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

  // ---- going

  /** Closes everything; what was acknowledged as durable is, the rest is in the page cache. */
  async close(): Promise<void> {
    this.#closed = true
    try {
      if (this.state !== 'failed') await this.holdings.inventory?.flush()
    } catch (error) {
      this.health.failure(error, 'closing the disk')
    }
    await this.#release()
    this.health.retire()
  }

  async #release(): Promise<void> {
    this.#closeFiles()
    this.copies.forgetAll()
    const { inventory } = this.holdings
    const unlock = this.#unlock
    this.holdings.inventory = undefined
    this.#unlock = undefined
    await unlock?.()
    try {
      await inventory?.close()
    } catch (error) {
      this.health.failure(error, 'closing the inventory')
    }
  }

  #closeFiles(): void {
    this.chunks.closeAll()
    this.copies.closeAll()
  }

  #nowMs(): number {
    const { sec, nsec } = this.#world.clock.now()
    return sec * 1000 + Math.floor(nsec / 1_000_000)
  }

  // ---- notes

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
      throw this.health.failure(error, `reading ${name}`)
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
      throw this.health.failure(error, `writing ${name}`)
    }
  }
}
