/*
 * What every order that moves bytes works with.
 */

import type { Clock } from '../base/world.ts'
import type { BlockSource } from './block-source.ts'
import type { BlockTarget } from './block-target.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { OrderQueue } from './order-queue.ts'
import type { Paces } from './pace.ts'

export interface OrderParts {
  readonly store: ChunkStore
  readonly source: BlockSource
  readonly target: BlockTarget
  readonly queue: OrderQueue
  readonly clock: Clock
  readonly paces: Paces
}
