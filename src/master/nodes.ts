/*
 * The chunkservers and their disks as they are right now: connections, last reports, how long something has been away,
 * how much is being read from and written to each disk by orders. That they exist is state (core); this is memory, and
 * starts with everything away since the start of the master.
 */

import type { DiskId, NodeId } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'
import type { Clock, Random } from '../base/world.ts'
import { type AddressMap, EMPTY_MAP, type Region } from '../topology/address-map.ts'
import { SLOTS_MAX } from '../topology/assign.ts'
import { storableBytes } from '../topology/capacity.ts'
import { fillSlots } from '../topology/fill.ts'
import { slotsOf } from '../topology/labels.ts'
import { type DeclaredPlace, locate } from '../topology/location.ts'
import {
  FULL_BELOW_BYTES,
  type Location,
  mostPerCopy,
  NO_LABELS,
  type Placement,
  type PlaceWish,
  place,
} from '../topology/place.ts'
import type { InForce } from '../topology/storage-class.ts'
import type { Peer } from '../wire/peer.ts'
import type { DiskState, Place } from '../wire/shapes.ts'
import { type DiskRecord, labelsOf, type NodeRecord } from './core/records.ts'
import type { RepairDisk } from './core/repair.ts'
import type { State } from './core/state.ts'
import { MeshMembers } from './mesh-members.ts'

export interface LiveDisk {
  readonly disk: DiskId
  node: NodeId
  report: DiskState | undefined
  /** Monotonic ms since it cannot be read; undefined while it can. */
  awaySinceMs: number | undefined
  /** When it was last seen to come back. */
  backAtMs?: number
  /** Orders reading and writing. */
  reads: number
  writes: number
  /** New chunks given to clients since the last report; they are not in its figures yet. */
  opened: number
}

interface LiveNode {
  readonly node: NodeId
  peer: Peer | undefined
  awaySinceMs: number | undefined
}

const NOWHERE: Location = { host: '' }
const READABLE = new Set(['ok', 'full', 'readonly'])
/** Smaller chunks would cost more in records than they win; a client's largest piece fits twice. */
const CHUNK_BYTES_LEAST = 4 * 1024 * 1024
/** So long a disk that was away is the first to lose a copy too many: a server that reboots every half hour is not relied on. */
const UNSTEADY_MS = 3_600_000

export class Nodes {
  readonly #state: State
  readonly #clock: Clock
  readonly #random: Random
  /** Something became readable or unreadable. */
  readonly #onChange: () => void
  readonly #nodes = new Map<NodeId, LiveNode>()
  readonly #disks = new Map<DiskId, LiveDisk>()
  #addresses: AddressMap = EMPTY_MAP
  #regions: boolean | undefined
  /** Those that are nodes of the mesh. */
  readonly members: MeshMembers
  /** Known for as long as the records that they were made of stand: those are never changed in place. */
  readonly #locations = new Map<NodeId, { readonly record: NodeRecord; readonly location: Location }>()
  /** The registry of the mesh by which they were made. */
  #meshVersion = 0
  readonly #labels = new Map<
    DiskId,
    { readonly ofNode: readonly string[]; readonly own: readonly string[]; readonly labels: ReadonlySet<string> }
  >()

  constructor(state: State, clock: Clock, random: Random, onChange: () => void) {
    this.#state = state
    this.#clock = clock
    this.#random = random
    this.#onChange = onChange
    this.members = new MeshMembers(state)
    const nowMs = clock.monotonicMs()
    for (const { node } of state.nodes()) this.#nodes.set(node, { node, peer: undefined, awaySinceMs: nowMs })
    for (const { disk, record } of state.disks()) this.#disks.set(disk, newDisk(disk, record.node, nowMs))
  }

  peer(node: NodeId): Peer | undefined {
    const peer = this.#nodes.get(node)?.peer
    return peer?.closed ? undefined : peer
  }

  /** The connection over which orders for a disk go. */
  peerOf(disk: DiskId): Peer | undefined {
    const live = this.#disks.get(disk)
    return live === undefined ? undefined : this.peer(live.node)
  }

  disk(disk: DiskId): LiveDisk | undefined {
    return this.#disks.get(disk)
  }

  disks(): IterableIterator<LiveDisk> {
    return this.#disks.values()
  }

  awayMsOfNode(node: NodeId): number {
    const since = this.#nodes.get(node)?.awaySinceMs
    return since === undefined ? 0 : this.#clock.monotonicMs() - since
  }

  /** How long a chunkserver that is away is waited for before its chunks are copied elsewhere. */
  graceMs(node: NodeId): number {
    return this.maintenanceLeftSec(node) > 0
      ? Number.POSITIVE_INFINITY
      : (this.#state.node(node)?.graceMs ?? this.#state.settings().graceMs)
  }

  /** How much longer it is in maintenance; 0: it is not. */
  maintenanceLeftSec(node: NodeId): number {
    const until = this.#state.node(node)?.maintenanceUntilSec
    return until === undefined ? 0 : Math.max(0, until - this.#clock.now().sec)
  }

  isLive(disk: DiskId): boolean {
    return this.#disks.get(disk)?.awaySinceMs === undefined && this.#disks.has(disk)
  }

  /** A registered chunkserver speaks on this connection. */
  joined(node: NodeId, peer: Peer, reports: readonly { disk: DiskId; report: DiskState }[]): void {
    const live: LiveNode = this.#nodes.get(node) ?? { node, peer: undefined, awaySinceMs: undefined }
    const again = live.peer === peer
    this.#nodes.set(node, live)
    live.peer = peer
    live.awaySinceMs = undefined
    this.#regions = undefined
    for (const { disk, report } of reports) {
      const known = this.#disks.get(disk) ?? newDisk(disk, node, this.#clock.monotonicMs())
      known.node = node
      this.#disks.set(disk, known)
      this.#report(known, report)
    }
    // Disks of the node that it does not know any more are gone, whatever was last said of them.
    const present = new Set(reports.map((r) => r.disk))
    for (const known of this.#disks.values())
      if (known.node === node && !present.has(known.disk)) known.awaySinceMs ??= this.#clock.monotonicMs()
    if (!again) this.#watchEnd(live, peer)
    this.#onChange()
  }

  #watchEnd(live: LiveNode, peer: Peer): void {
    peer.onClose(() => {
      if (live.peer !== peer) return
      live.peer = undefined
      const nowMs = this.#clock.monotonicMs()
      live.awaySinceMs = nowMs
      for (const known of this.#disks.values()) if (known.node === live.node) known.awaySinceMs ??= nowMs
      this.#onChange()
    })
  }

  /** Answers false when a disk is unknown or the node did not register on this connection: it has to register again. */
  heartbeat(node: NodeId, peer: Peer, reports: readonly DiskState[]): boolean {
    if (this.#nodes.get(node)?.peer !== peer) return false
    const byUuid = this.#byUuid(node)
    let known = true
    for (const report of reports) {
      const live = byUuid.get(report.uuid)
      if (live === undefined) known = false
      else this.#report(live, report)
    }
    return known
  }

  /** The disk is no longer part of the cluster. */
  forget(disk: DiskId): void {
    this.#disks.delete(disk)
    this.#labels.delete(disk)
  }

  /** The chunkserver is no longer part of the cluster; it has no disks. */
  forgetNode(node: NodeId): void {
    this.#nodes.delete(node)
    this.#locations.delete(node)
    this.#regions = undefined
  }

  /** What is to be emptied, or how long something is waited for, has changed: chunks are looked at anew. */
  changed(): void {
    this.#onChange()
  }

  /** The map that repair judges by. */
  map(): ReadonlyMap<DiskId, RepairDisk> {
    const nowMs = this.#clock.monotonicMs()
    const map = new Map<DiskId, RepairDisk>()
    for (const live of this.#disks.values()) {
      const record = this.#state.disk(live.disk)
      if (record === undefined) continue
      map.set(live.disk, {
        disk: live.disk,
        node: live.node,
        location: this.location(live.node),
        usable: this.#usable(live) && !isToEmpty(record),
        full: live.awaySinceMs === undefined && live.report?.state === 'full' && !isToEmpty(record),
        availableBytes: live.report?.availableBytes ?? 0,
        reservedBytes: live.report?.reservedBytes ?? 0,
        writing: live.writes + live.opened,
        labels: this.labels(live.disk),
        live: live.awaySinceMs === undefined,
        draining: isToEmpty(record),
        usedBytes: live.report?.usedBytes ?? 0,
        totalBytes: live.report?.totalBytes ?? 0,
        unsteady: live.backAtMs !== undefined && nowMs - live.backAtMs < UNSTEADY_MS,
        awayMs: live.awaySinceMs === undefined ? 0 : nowMs - live.awaySinceMs,
        graceMs: this.graceMs(live.node),
        reads: live.reads,
        writes: live.writes,
      })
    }
    return map
  }

  /** Disks for a new chunk. */
  choose(wish: PlaceWish): Placement {
    return place([...this.map().values()], wish, (n) => this.#random.below(n))
  }

  /** Disks for a new chunk, where its class wants it. */
  chooseFor(wanted: InForce, wish: Omit<PlaceWish, 'copies'>): Placement {
    const slots = slotsOf(wanted.placing).slice(0, SLOTS_MAX)
    const plain = wanted.unique === undefined && slots.every(({ op }) => op === 'any')
    if (plain) return this.choose({ ...wish, copies: slots.length })
    const { unique, mode } = wanted
    return fillSlots([...this.map().values()], { slots, unique, mode }, wish, (n) => this.#random.below(n))
  }

  /** How long a chunk on these disks may become, so that what they keep aside is enough to write it anew. */
  bytesMax(disks: readonly DiskId[]): number {
    return disks.reduce((least, disk) => {
      const { reservedBytes = 0, availableBytes = 0 } = this.#disks.get(disk)?.report ?? {}
      // Of a disk that keeps nothing aside, or is down to it, this says nothing.
      return reservedBytes === 0 || availableBytes === 0
        ? least
        : Math.min(least, Math.max(reservedBytes, CHUNK_BYTES_LEAST))
    }, CHUNK_BYTES_MAX)
  }

  /** The most that can be written in so many copies with what disks keep aside. */
  mostPerCopy(copies: number): number {
    return mostPerCopy([...this.map().values()], copies)
  }

  /**
   * Whether a writer who finds no room is served by waiting: a disk that may have some is away and still expected, or no
   * disk is there at all. Those that are there and full, read-only or to be emptied are not going to take anything, and
   * failed ones are not expected back.
   */
  waitingHelps(): boolean {
    const nowMs = this.#clock.monotonicMs()
    let there = 0
    for (const live of this.#disks.values()) {
      if (this.#state.disk(live.disk) === undefined) continue
      if (live.awaySinceMs === undefined) {
        there++
        continue
      }
      const away = this.peer(live.node) === undefined && nowMs - live.awaySinceMs < this.graceMs(live.node)
      const wasFull = live.report !== undefined && live.report.availableBytes < FULL_BELOW_BYTES
      const wasBroken = live.report !== undefined && !READABLE.has(live.report.state)
      if (away && !wasFull && !wasBroken) return true
    }
    return there === 0
  }

  /** Where copies can be read now. */
  readable(places: readonly Place[]): Place[] {
    return places.filter((p) => this.isLive(p.disk))
  }

  /** What files can hold at this number of copies. Disks that are away count with their last known figures. */
  capacity(copies: number): {
    totalBytes: number
    usedBytes: number
    availableBytes: number
    rawTotal: number
    rawUsed: number
    rawAvailable: number
    rawReserved: number
  } {
    const total = new Map<NodeId, number>()
    const available = new Map<NodeId, number>()
    let rawTotal = 0
    let rawUsed = 0
    let rawAvailable = 0
    let rawReserved = 0
    for (const live of this.#disks.values()) {
      const report = live.report
      if (report === undefined || !READABLE.has(report.state)) continue
      rawTotal += report.totalBytes
      rawUsed += report.usedBytes
      rawAvailable += report.availableBytes
      rawReserved += report.reservedBytes ?? 0
      total.set(live.node, (total.get(live.node) ?? 0) + report.usedBytes + report.availableBytes)
      if (this.#usable(live) && !isToEmpty(this.#state.disk(live.disk)))
        available.set(live.node, (available.get(live.node) ?? 0) + report.availableBytes)
    }
    const totalBytes = storableBytes([...total.values()], copies)
    const availableBytes = Math.min(totalBytes, storableBytes([...available.values()], copies))
    const usedBytes = totalBytes - availableBytes
    return { totalBytes, availableBytes, usedBytes, rawTotal, rawUsed, rawAvailable, rawReserved }
  }

  #usable(live: LiveDisk): boolean {
    return live.awaySinceMs === undefined && live.report?.state === 'ok'
  }

  /** Where a chunkserver stands. Made anew only when what is known of it has changed. */
  location(node: NodeId): Location {
    const record = this.#state.node(node)
    if (record === undefined) return NOWHERE
    this.#followMesh()
    const known = this.#locations.get(node)
    if (known?.record === record) return known.location
    const member = this.members.of(record)
    const location = locate(record, this.#addresses, member === undefined ? {} : this.members.regionOf(member))
    this.#locations.set(node, { record, location })
    return location
  }

  /** What the registry says of a node may be something else now. */
  #followMesh(): void {
    const version = this.#state.meshVersion()
    if (version === this.#meshVersion) return
    this.#meshVersion = version
    this.#locations.clear()
    this.#regions = undefined
  }

  /** Whether anything is known of racks and sites. */
  get hasRegions(): boolean {
    this.#followMesh()
    if (this.#regions === undefined) {
      const places = [...this.#nodes.keys()].map((node) => this.location(node))
      this.#regions = places.some(({ rack, site }) => rack !== undefined || site !== undefined)
    }
    return this.#regions
  }

  /** Where somebody else stands, by what he says of himself, by his address, and by what was measured. */
  locate(declared: DeclaredPlace, measured: Region = {}): Location {
    return locate(declared, this.#addresses, measured)
  }

  regionAt(address: string): Region {
    return this.#addresses.regionOf(address)
  }

  /** The map of measured places, or what people say of nodes, is another. */
  placesChanged(): void {
    this.#locations.clear()
    this.#regions = undefined
    this.#onChange()
  }

  /** The labels of a disk and its chunkserver together: one set for as long as they stay the same. */
  labels(disk: DiskId): ReadonlySet<string> {
    const record = this.#state.disk(disk)
    const node = record && this.#state.node(record.node)
    if (record === undefined || node === undefined) return NO_LABELS
    const ofNode = labelsOf(node)
    const own = labelsOf(record)
    if (ofNode.length === 0 && own.length === 0) return NO_LABELS
    const known = this.#labels.get(disk)
    if (known?.ofNode === ofNode && known.own === own) return known.labels
    const labels = new Set([...ofNode, ...own])
    this.#labels.set(disk, { ofNode, own, labels })
    return labels
  }

  /** What addresses say of where their owners stand. */
  setAddresses(addresses: AddressMap): void {
    this.#addresses = addresses
    this.placesChanged()
  }

  #byUuid(node: NodeId): Map<string, LiveDisk> {
    const map = new Map<string, LiveDisk>()
    for (const live of this.#disks.values()) {
      const record = this.#state.disk(live.disk)
      if (live.node === node && record !== undefined) map.set(record.uuid, live)
    }
    return map
  }

  #report(live: LiveDisk, report: DiskState): void {
    const known = live.report !== undefined
    live.report = report
    live.opened = 0
    const away = !READABLE.has(report.state)
    if (away === (live.awaySinceMs !== undefined)) return
    // One that this master has not seen before comes; it does not come back.
    if (!away && known) live.backAtMs = this.#clock.monotonicMs()
    live.awaySinceMs = away ? this.#clock.monotonicMs() : undefined
    this.#onChange()
  }
}

/** Nothing new goes there, and what it holds is not counted on. */
const isToEmpty = (record: DiskRecord | undefined): boolean =>
  record?.draining === true || record?.leaving !== undefined

const newDisk = (disk: DiskId, node: NodeId, nowMs: number): LiveDisk => ({
  disk,
  node,
  report: undefined,
  awaySinceMs: nowMs,
  reads: 0,
  writes: 0,
  opened: 0,
})
