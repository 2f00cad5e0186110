/* A chunkserver without a process: real disks' code over disks in memory, answering over direct peers. */

import { unwrap } from '../../src/base/fault.ts'
import { type ChunkId, type DiskId, diskId, nodeId } from '../../src/base/ids.ts'
import { ChunkStore } from '../../src/chunk/chunk-store.ts'
import { Copier } from '../../src/chunk/copier.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { Peers } from '../../src/chunk/peers.ts'
import { dataHandlers } from '../../src/chunk/service.ts'
import type { Place } from '../../src/wire/shapes.ts'
import { DirectPeer } from './direct-peer.ts'
import { type ManualClock, silentLog } from './manual-clock.ts'
import { MemoryDisk } from './memory-disk.ts'

export class ChunkNode {
  readonly clock: ManualClock
  readonly store = new ChunkStore()
  readonly io: MemoryDisk
  readonly copier: Copier
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
    this.peer = new DirectPeer(dataHandlers(this.store))
    this.copier = new Copier(this.store, new Peers(async (_host, port) => net.get(port)!.peer), clock, silentLog)
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
