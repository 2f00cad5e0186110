/*
 * The orders that move bytes, made once per chunkserver because they share a queue.
 */

import type { Clock, Log } from '../base/world.ts'
import { BlockSource } from './block-source.ts'
import { BlockTarget } from './block-target.ts'
import type { ChunkStore } from './chunk-store.ts'
import { Copier } from './copier.ts'
import { Encoder } from './encoder.ts'
import type { OrderParts } from './order-parts.ts'
import { OrderQueue } from './order-queue.ts'
import { Paces } from './pace.ts'
import type { Peers } from './peers.ts'
import { Rebuilder } from './rebuilder.ts'
import type { Ways } from './ways.ts'

export interface DataOrders {
  readonly copier: Copier
  readonly encoder: Encoder
  readonly rebuilder: Rebuilder
  readonly paces: Paces
}

export function dataOrders(store: ChunkStore, peers: Peers, ways: Ways, clock: Clock, log: Log): DataOrders {
  const source = new BlockSource(store, peers, ways, log)
  const target = new BlockTarget(store, peers, ways)
  const parts: OrderParts = { store, source, target, queue: new OrderQueue(), clock, paces: new Paces(clock) }
  return { copier: new Copier(parts), encoder: new Encoder(parts), rebuilder: new Rebuilder(parts), paces: parts.paces }
}
