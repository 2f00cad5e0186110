/*
 * The chunkserver's side of its one connection to the master: register, tell what changed on the disks, heartbeats, damage;
 * and again from the beginning whenever the connection is lost. Orders come in over the same connection (service.ts).
 *
 * Order matters: disks are numbered by the register call before anything is said about them; an inventory is durable on the
 * disk before it is told. What could not be told stays noted and is told after the next register. ESTALE as an answer means
 * that the master does not know us (any more) or wants to be told everything: registered again on the same connection.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, NodeId } from '../base/ids.ts'
import type { Clock, Log, Random } from '../base/world.ts'
import type { Peer } from '../wire/peer.ts'
import type { DeclaredPlace } from '../wire/shapes.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { Disk } from './disk.ts'
import { patiently } from './patience.ts'

/** Entries per inventory page: some 20 bytes each on the wire, far below the largest body. */
const PAGE_ENTRIES = 16_384
/** First pause before connecting again; doubled, with dice, up to the maximum: many servers do not come back at once. */
const BACKOFF_MS = 200
const BACKOFF_MS_MAX = 5_000
/** Registrations in a row that the next call answers with ESTALE; then a new connection is tried, after a pause. */
const REGISTER_TRIES = 3
/** What a disk may take of the time that belongs to all: half of a heartbeat. */
const DISK_PATIENCE_MS = 1_000
/** Damage reports that wait for a connection; above that the inventory's own "damaged" entries have to do. */
const DAMAGE_MAX = 10_000

export interface NodeIdentity {
  readonly uuid: string
  readonly name: string
  /** Where others reach the data port. */
  readonly host: string
  readonly port: number
  readonly version: string
  /** What the configuration says of where it stands, and its labels. */
  readonly place?: DeclaredPlace
  readonly labels?: readonly string[]
}

interface Damage {
  readonly disk: Disk
  readonly chunk: ChunkId
  readonly blocks: readonly number[]
  readonly detail: string
}

export class MasterLink {
  readonly #store: ChunkStore
  readonly #connect: () => Promise<Peer>
  readonly #identity: NodeIdentity
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #damage: Damage[] = []
  /** What the master is known to have, per disk. */
  readonly #told = new Map<Disk, number>()
  /** Disks that were asked for something and have not answered yet. */
  readonly #busy = new Set<Disk>()
  #node: NodeId | undefined
  #peer: Peer | undefined
  #wake: AbortController | undefined
  #pokes = 0
  #cluster = ''

  constructor(
    store: ChunkStore,
    connect: () => Promise<Peer>,
    identity: NodeIdentity,
    clock: Clock,
    random: Random,
    log: Log,
  ) {
    this.#store = store
    this.#connect = connect
    this.#identity = identity
    this.#clock = clock
    this.#random = random
    this.#log = log
  }

  get cluster(): string {
    return this.#cluster
  }

  /** Where it is registered now; undefined: nowhere. */
  get registered(): { readonly peer: Peer; readonly node: NodeId } | undefined {
    const [peer, node] = [this.#peer, this.#node]
    return peer === undefined || peer.closed || node === undefined ? undefined : { peer, node }
  }

  /** Something changed: tell the master now. */
  poke(): void {
    this.#pokes++
    this.#wake?.abort()
  }

  damaged(damage: Damage): void {
    if (this.#damage.length < DAMAGE_MAX) this.#damage.push(damage)
    this.poke()
  }

  async run(signal: AbortSignal): Promise<void> {
    let backoffMs = BACKOFF_MS
    while (!signal.aborted) {
      try {
        const peer = await this.#connect()
        const end = (): void => peer.close()
        signal.addEventListener('abort', end)
        try {
          await this.#serve(peer, signal, () => {
            backoffMs = BACKOFF_MS
          })
        } finally {
          signal.removeEventListener('abort', end)
          peer.close()
        }
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof FsError)) throw error
        this.#log.warn({ error: error.message, againInMs: backoffMs }, 'no connection to the master; trying again')
      }
      await this.#rest(backoffMs / 2 + this.#random.below(Math.ceil(backoffMs / 2) + 1), signal, false)
      backoffMs = Math.min(backoffMs * 2, BACKOFF_MS_MAX)
    }
  }

  async #serve(peer: Peer, signal: AbortSignal, registered: () => void): Promise<void> {
    let { heartbeatMs, node } = await this.#register(peer)
    registered()
    this.#log.info({ master: peer.address, node }, 'registered with the master')
    let stale = 0
    while (!peer.closed && !signal.aborted) {
      const pokes = this.#pokes
      if (stale > 0 || this.#known().some((disk) => this.#store.idOf(disk) === undefined))
        ({ heartbeatMs, node } = await this.#register(peer))
      try {
        await peer.call('nodeHeartbeat', { node, disks: this.#known().map((disk) => disk.report()) })
        // Damage first: it names the blocks, which the inventory does not.
        await this.#tellDamage(peer, node)
        for (const disk of this.#known()) await this.#tellInventory(peer, node, disk)
        stale = 0
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'ESTALE' || ++stale > REGISTER_TRIES) throw error
        this.#log.info({ master: peer.address, error: error.message }, 'registering with the master again')
        continue
      }
      if (pokes === this.#pokes) await this.#rest(heartbeatMs, signal, true)
    }
    if (!signal.aborted) throw new FsError('ECONNRESET', 'the connection to the master is lost')
  }

  /** Disks that have a uuid; one that was never seen cannot be spoken of. */
  #known(): Disk[] {
    return this.#store.disks.filter((disk) => disk.uuid !== '')
  }

  async #register(peer: Peer): Promise<{ heartbeatMs: number; node: NodeId }> {
    this.#cluster = peer.hello.cluster
    for (const disk of this.#known()) {
      if (this.#cluster !== '') await this.#ask(disk, () => disk.join(this.#cluster))
    }
    const { place, labels, ...identity } = this.#identity
    const { reply } = await peer.call('nodeRegister', {
      ...identity,
      place,
      labels: labels === undefined ? undefined : [...labels],
      disks: this.#known().map((disk) => disk.report()),
    })
    this.#node = reply.node
    this.#peer = peer
    for (const { uuid, disk: id, knownSeq } of reply.disks) {
      const disk = this.#store.disks.find((one) => one.uuid === uuid)
      if (disk === undefined) continue
      this.#store.number(disk, id)
      this.#told.set(disk, knownSeq)
      this.#recallDamage(disk)
    }
    return { heartbeatMs: reply.heartbeatMs, node: this.#node }
  }

  /** The master keeps in memory only what is damaged: a new one would not know. */
  #recallDamage(disk: Disk): void {
    const waiting = new Set(this.#damage.filter((one) => one.disk === disk).map((one) => one.chunk))
    for (const { chunk, blocks } of disk.holdings.damagedCopies())
      if (!waiting.has(chunk) && this.#damage.length < DAMAGE_MAX)
        this.#damage.push({ disk, chunk, blocks, detail: 'found before' })
  }

  async #tellInventory(peer: Peer, node: NodeId, disk: Disk): Promise<void> {
    const id = this.#store.idOf(disk)
    const told = this.#told.get(disk)
    if (id === undefined || told === undefined || !disk.holdings.complete || !disk.holdings.changedSince(told)) return
    const page = await this.#ask(disk, () => disk.holdings.since(told))
    if (page === undefined) return
    const { full, seq, entries } = page
    const pages = Math.max(1, Math.ceil(entries.length / PAGE_ENTRIES))
    for (let i = 0; i < pages; i++) {
      const part = entries.slice(i * PAGE_ENTRIES, (i + 1) * PAGE_ENTRIES)
      const last = i === pages - 1
      const { reply } = await peer.call('inventory', {
        node,
        disk: id,
        full,
        first: i === 0,
        last,
        // An incremental page may stand alone; a full list counts only when all of it has come.
        seq: last || full ? seq : part.at(-1)!.seq,
        entries: part.map(({ chunk, state, length }) => ({ chunk, state, length })),
      })
      if (reply.unwanted.length > 0) await this.#ask(disk, () => this.#drop(disk, reply.unwanted))
    }
    this.#told.set(disk, seq)
    disk.holdings.inventory?.confirm(seq)
  }

  async #drop(disk: Disk, unwanted: readonly ChunkId[]): Promise<void> {
    this.#log.info({ disk: disk.spec.path, chunks: unwanted.length }, 'deleting chunks that nobody needs')
    for (const chunk of unwanted) await disk.chunks.delete(chunk)
  }

  /**
   * What a disk answers; undefined when it is in trouble (its state goes with the heartbeat) or slow. A slow one goes on
   * with what it was asked, and until it is done it is not asked for more: no disk holds up what is said of the others.
   */
  async #ask<T>(disk: Disk, work: () => Promise<T>): Promise<T | undefined> {
    if (this.#busy.has(disk)) return undefined
    this.#busy.add(disk)
    const asked = work()
      .catch((error: unknown) => {
        if (!(error instanceof FsError)) throw error
        this.#log.warn(
          { disk: disk.spec.path, error: error.message },
          'a disk could not do what the master needs of it',
        )
        return undefined
      })
      .finally(() => this.#busy.delete(disk))
    return patiently(this.#clock, DISK_PATIENCE_MS, asked)
  }

  async #tellDamage(peer: Peer, node: NodeId): Promise<void> {
    for (let first = this.#damage[0]; first !== undefined; first = this.#damage[0]) {
      const id = this.#store.idOf(first.disk)
      if (id !== undefined && this.#store.find(id) === first.disk)
        await peer.call('damaged', {
          node,
          disk: id,
          chunk: first.chunk,
          blocks: [...first.blocks],
          detail: first.detail,
        })
      this.#damage.shift()
    }
  }

  async #rest(ms: number, signal: AbortSignal, wakeable: boolean): Promise<void> {
    if (signal.aborted) return
    const wake = new AbortController()
    if (wakeable) this.#wake = wake
    // Not AbortSignal.any: on Node 20 every call leaves something behind on a signal that lives as long as the process.
    const stop = (): void => wake.abort()
    signal.addEventListener('abort', stop)
    try {
      await this.#clock.sleep(ms, { signal: wake.signal })
    } catch (error) {
      if (!wake.signal.aborted) throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}
