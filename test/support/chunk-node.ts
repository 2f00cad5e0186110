/* A chunkserver without a process: real disks' code over disks in memory, answering over direct peers. */

import { unwrap } from '../../src/base/fault.ts'
import { type ChunkId, type DiskId, diskId, nodeId } from '../../src/base/ids.ts'
import { ChunkStore } from '../../src/chunk/chunk-store.ts'
import type { Copier } from '../../src/chunk/copier.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { dataOrders } from '../../src/chunk/data-orders.ts'
import { Disk } from '../../src/chunk/disk.ts'
import type { Encoder } from '../../src/chunk/encoder.ts'
import { Peers } from '../../src/chunk/peers.ts'
import type { Rebuilder } from '../../src/chunk/rebuilder.ts'
import { dataHandlers, orderHandlers } from '../../src/chunk/service.ts'
import { Ways } from '../../src/chunk/ways.ts'
import type { Place } from '../../src/wire/shapes.ts'
import { DirectPeer } from './direct-peer.ts'
import { type ManualClock, silentLog } from './manual-clock.ts'
import { MemoryDisk } from './memory-disk.ts'

export class ChunkNode {
  readonly clock: ManualClock
  readonly store = new ChunkStore()
  readonly io: MemoryDisk
  readonly copier: Copier
  readonly encoder: Encoder
  readonly rebuilder: Rebuilder
  readonly place: Place
  readonly id: DiskId
  readonly peer: DirectPeer
  disk!: Disk
  readonly damages: { chunk: ChunkId; blocks: readonly number[] }[] = []

  /** `net` holds every node by its port. */
  constructor(n: number, net: Map<number, ChunkNode>, clock: ManualClock, io = new MemoryDisk(`/disk-${n}`)) {
    this.clock = clock
    this.io = io
    this.id = diskId(n)
    this.place = { disk: this.id, node: nodeId(n), host: 'node', port: n }
    const peers = new Peers(async (_host, port) => net.get(port)!.peer)
    const ways = new Ways(clock, silentLog, { master: () => undefined })
    const orders = dataOrders(this.store, peers, ways, clock, silentLog)
    const refuse = async (): Promise<never> => {
      throw new Error('one disk, for good')
    }
    const { orderVerify } = orderHandlers(this.store, orders, { addDisk: refuse, removeDisk: refuse })
    this.peer = new DirectPeer({ ...dataHandlers(this.store, ways), orderVerify })
    this.copier = orders.copier
    this.encoder = orders.encoder
    this.rebuilder = orders.rebuilder
    net.set(n, this)
  }

  async start(): Promise<this> {
    const random = { below: () => 0, hex: () => `00000000${this.id}` }
    const world = { clock: this.clock, random, log: silentLog }
    this.disk = new Disk(this.io, unwrap(parseDiskSpec('/memory -0')), '', '', world, {
      changed: () => {},
      damaged: (_disk, chunk, blocks) => this.damages.push({ chunk, blocks }),
    })
    await this.disk.attach()
    this.store.add(this.disk)
    this.store.number(this.disk, this.id)
    return this
  }
}
