/*
 * What a chunkserver answers: data calls of mounts and other chunkservers, orders of the master. Short on purpose: a call is
 * one call of the disk or of an order's worker.
 */

import { setMaxListeners } from 'node:events'
import { FsError } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import { EC_DATA_MAX, EC_PARTS_MAX } from '../base/limits.ts'
import type { CallContext, Handlers } from '../wire/peer.ts'
import type { InventoryEntry } from '../wire/shapes.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { DataOrders } from './data-orders.ts'
import type { Ways } from './ways.ts'

type DataCalls = 'append' | 'read' | 'syncChunk' | 'fetch'
type OrderCalls =
  | 'orderCopy'
  | 'orderDelete'
  | 'orderSeal'
  | 'orderRepair'
  | 'orderCompact'
  | 'orderVerify'
  | 'orderDiskAdd'
  | 'orderDiskRemove'
  | 'orderEncode'
  | 'orderRebuild'
  | 'orderJoin'
  | 'orderPace'

export interface DiskAdmin {
  /** Takes a directory into use and answers its uuid. */
  addDisk(spec: string): Promise<string>
  removeDisk(disk: DiskId): Promise<void>
}

/**
 * Calls of one order that wait at a time, each listening for its cancel: four windows read from sixteen parts, four more on their
 * way to twenty. Node warns of a leak beyond it.
 */
const CALLS_OF_ORDER_MAX = 4 * EC_DATA_MAX + 4 * EC_PARTS_MAX
const ofOrder = ({ signal }: CallContext): AbortSignal => {
  setMaxListeners(CALLS_OF_ORDER_MAX, signal)
  return signal
}

const NOTHING: { readonly reply: Record<string, never> } = { reply: {} }

export function dataHandlers(store: ChunkStore, ways: Ways): Handlers<DataCalls> {
  return {
    append: ({ disk: id, chunk, offset, create, sync }, bulk, { peer }) => {
      ways.served(peer, bulk.length)
      const disk = store.get(id)
      // Another chunkserver appends what it rewrites, to make room; mounts append what is new.
      const fromReserve = peer.hello.role === 'chunkserver'
      const appended = disk.chunks.append(chunk, offset, [bulk], create, fromReserve)
      if (!sync) return typeof appended === 'number' ? { reply: { length: appended } } : appended.then(lengthReply)
      return (async () => {
        await appended
        return lengthReply(await disk.chunks.sync(chunk, offset + bulk.length))
      })()
    },
    read: ({ disk: id, chunk, offset, length }, _bulk, { peer }) => {
      ways.served(peer, length)
      const { chunks } = store.get(id)
      const data = chunks.readNow(chunk, offset, length) ?? chunks.read(chunk, offset, length)
      return data instanceof Promise ? data.then(bulkReply) : bulkReply(data)
    },
    syncChunk: async ({ disk, chunk, length }) => lengthReply(await store.get(disk).chunks.sync(chunk, length)),
    fetch: async ({ disk, chunk, block, count }) => {
      const { data, length, sealed, crcs } = await store.get(disk).chunks.fetch(chunk, block, count)
      return { reply: { length, sealed, crcs }, bulk: [data] }
    },
  }
}

const bulkReply = (data: Buffer): { reply: Record<string, never>; bulk: Buffer[] } => ({ reply: {}, bulk: [data] })
const lengthReply = (length: number): { reply: { length: number } } => ({ reply: { length } })

export function orderHandlers(store: ChunkStore, orders: DataOrders, admin: DiskAdmin): Handlers<OrderCalls> {
  const { copier, encoder, rebuilder, paces } = orders
  return {
    orderCopy: async ({ disk, chunk, length, sources, bytesPerSecond, urgent }, _bulk, context) => ({
      reply: { bytes: await copier.copy(disk, chunk, length, sources, bytesPerSecond, ofOrder(context), urgent) },
    }),
    orderDelete: async ({ disk: id, chunks }) => {
      const disk = store.get(id)
      for (const chunk of chunks) await disk.chunks.delete(chunk)
      return NOTHING
    },
    orderSeal: async ({ disk, chunk, length }) => ({
      reply: { digest: await store.get(disk).chunks.seal(chunk, length) },
    }),
    orderRepair: async ({ disk, chunk, blocks, sources, whole, index, urgent, bytesPerSecond }, _bulk, context) => {
      const lost = whole === undefined || index === undefined ? undefined : { whole, index }
      const pace = bytesPerSecond ?? 0
      const repaired = await copier.repair(disk, chunk, blocks, sources, pace, lost, ofOrder(context), urgent)
      return { reply: { repaired } }
    },
    orderCompact: async ({ ranges, chunk, targets, bytesPerSecond }, _bulk, context) => {
      if (targets.length === 0) throw new FsError('EINVAL', 'no target to compact to')
      return { reply: { length: await copier.compact(ranges, chunk, targets, bytesPerSecond ?? 0, ofOrder(context)) } }
    },
    orderVerify: async ({ disk: id, chunks, deep }, _bulk, { signal }) => {
      const disk = store.get(id)
      const out: InventoryEntry[] = []
      for (const chunk of chunks) {
        signal.throwIfAborted()
        out.push({ chunk, ...(await disk.chunks.verify(chunk, deep)) })
      }
      return { reply: { chunks: out } }
    },
    orderEncode: async ({ source, data, parity, parts, bytesPerSecond }, _bulk, context) => ({
      reply: { lengths: await encoder.encode(source, data, parity, parts, bytesPerSecond, ofOrder(context)) },
    }),
    orderRebuild: async ({ disk, chunk, index, length, whole, bytesPerSecond, urgent }, _bulk, context) => ({
      reply: {
        bytes: await rebuilder.rebuild(disk, chunk, length, { whole, index }, bytesPerSecond, ofOrder(context), urgent),
      },
    }),
    orderJoin: async ({ disk, chunk, whole, bytesPerSecond }, _bulk, context) => ({
      reply: { bytes: await rebuilder.join(disk, chunk, whole, bytesPerSecond, ofOrder(context)) },
    }),
    orderPace: ({ chunk, bytesPerSecond }) => ({ reply: { found: paces.set(chunk, bytesPerSecond) } }),
    orderDiskAdd: async ({ spec }) => ({ reply: { uuid: await admin.addDisk(spec) } }),
    orderDiskRemove: async ({ disk }) => {
      await admin.removeDisk(disk)
      return NOTHING
    },
  }
}
