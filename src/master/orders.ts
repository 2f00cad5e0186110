/*
 * Orders to chunkservers, bounded: so many at once in all, and a count per disk of what reads from it and writes to it,
 * which the planners look at before they plan more. Those that move data have places of their own: when all of them wait
 * for a slow or hanging site, chunks elsewhere are sealed, deleted and looked at all the same. Of those that wait, the more
 * urgent goes first, and what is endangered has places that nothing else takes: new damage waits for no older work. One that
 * is called off is called off at its chunkserver, too.
 */

import PQueue from 'p-queue'
import { FsError } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import { Places } from '../base/places.ts'
import type { CallName, Reply, Request } from '../wire/protocol.ts'
import type { Place } from '../wire/shapes.ts'
import { URGENCIES, type Urgency } from './core/repair.ts'
import type { State } from './core/state.ts'
import type { Nodes } from './nodes.ts'

/** Orders of either kind being carried out by all chunkservers together: each holds a frame and a promise here, nothing more. */
export const ORDERS_MAX = 64
/** Beside them, only for what is endangered. */
export const URGENT_ORDERS_MAX = 16
/** A whole chunk over 1 Mbit/s takes nine minutes; an order that fails later than this is begun again and resumes. */
const LONG_ORDER_MS = 900_000
/** Orders that move no data. */
const SHORT_ORDER_MS = 60_000

type OrderName = Extract<CallName, `order${string}`>
const BULK: ReadonlySet<OrderName> = new Set([
  'orderCopy',
  'orderRepair',
  'orderCompact',
  'orderEncode',
  'orderRebuild',
  'orderJoin',
])
/** A seal syncs what was written, which takes long on a slow disk. */
const LONG: ReadonlySet<OrderName> = new Set([...BULK, 'orderSeal'])

export interface OrderLoad {
  readonly reads?: readonly DiskId[]
  readonly writes?: readonly DiskId[]
  readonly urgency?: Urgency | undefined
  /** How long its own pace makes it take, at the least. */
  readonly pacedMs?: number
}

export class Orders {
  readonly #state: State
  readonly #nodes: Nodes
  readonly #bulk = new Places({ places: ORDERS_MAX, kept: URGENT_ORDERS_MAX })
  readonly #others = new PQueue({ concurrency: ORDERS_MAX })

  constructor(state: State, nodes: Nodes) {
    this.#state = state
    this.#nodes = nodes
  }

  get running(): number {
    return this.#bulk.running + this.#bulk.waiting + this.#others.pending + this.#others.size
  }

  /** Throws FsError: what the chunkserver answered, or ENOTCONN / ECONNRESET / ETIMEDOUT of the connection. */
  async give<C extends OrderName>(
    to: DiskId,
    name: C,
    request: Request<C>,
    signal: AbortSignal,
    load: OrderLoad = {},
  ): Promise<Reply<C>> {
    const reads = (load.reads ?? []).flatMap((disk) => this.#nodes.disk(disk) ?? [])
    const writes = (load.writes ?? []).flatMap((disk) => this.#nodes.disk(disk) ?? [])
    for (const disk of reads) disk.reads++
    for (const disk of writes) disk.writes++
    try {
      return await this.#add(name, load.urgency, signal, async () => {
        signal.throwIfAborted()
        const peer = this.#nodes.peerOf(to)
        if (peer === undefined) throw new FsError('ENOTCONN', `the chunkserver of disk ${to}`)
        const timeoutMs = LONG.has(name) ? LONG_ORDER_MS + (load.pacedMs ?? 0) : SHORT_ORDER_MS
        return (await peer.call(name, request, { signal, timeoutMs })).reply
      })
    } finally {
      for (const disk of reads) disk.reads--
      for (const disk of writes) disk.writes--
    }
  }

  #add<T>(name: OrderName, urgency: Urgency | undefined, signal: AbortSignal, order: () => Promise<T>): Promise<T> {
    if (!BULK.has(name)) return this.#others.add(order)
    const rank = urgency === undefined ? URGENCIES.length : URGENCIES.indexOf(urgency)
    return this.#bulk.run(rank, order, signal)
  }

  places(disks: readonly DiskId[]): Place[] {
    return disks.flatMap((disk) => this.#state.place(disk) ?? [])
  }
}

/** Orders of this kind use the places that are kept for them, here and at the chunkservers. */
export const isUrgent = (urgency: Urgency | undefined): boolean => urgency === 'endangered'

/** Failures of the connection rather than of the disk: the same order makes sense again when the server is back. */
export const isAbsence = (error: FsError): boolean =>
  error.code === 'ENOTCONN' ||
  error.code === 'ECONNRESET' ||
  error.code === 'ETIMEDOUT' ||
  error.code === 'ECONNREFUSED'
