/*
 * The link to another node, from the side that connects: a Peer over one or more connections to it. Near by it is one, and then this
 * passes calls on. Far away bulk goes over several (lane-count.ts says how many), made when there is work for them and closed
 * when there was none for a while.
 *
 * Order: calls may overtake each other, as they travel on different connections; those that name the same `order` (appends to one
 * chunk) travel on one, in the order of call(), for as long as any of them is under way.
 *
 * A connection that breaks takes nothing with it: what was asked on it is asked again on another one, but for calls with an order,
 * which only their caller knows how to go on with. The link is closed when no connection is left.
 */

import { assert, errnoOf, FsError } from '../base/fault.ts'
import type { Identity } from '../base/identity.ts'
import type { Clock, Log } from '../base/world.ts'
import { LANES_MAX, LaneCount } from './lane-count.ts'
import { type Link, RemoteError } from './link.ts'
import type { Answered, CallOptions, Peer } from './peer.ts'
import { type CallName, calls, type Hello, type Request } from './protocol.ts'
import type { RoundTrip } from './round-trip.ts'

/** A further connection without work is closed: as long as a mount pauses between two files, and longer than a copy does. */
const IDLE_MS = 30_000
/** After a further connection could not be made. */
const PAUSE_MS = 5_000
const SAMPLE_MS = 1_000
/** For calls that name no time-out, as in link.ts: asking again does not make it longer. */
const TIMEOUT_MS = 30_000

/** A connection with less under way takes more: small answers must not wait for each other over a long way. */
const FILL_BYTES = 256 * 1024
/**
 * And a call as large as it may be while another is under way, if they are over soon: else the way there and back in which nothing
 * is carried is nothing beside the time that a call takes, and what waits behind a slow one could be done by another connection.
 */
const QUICK_TRIPS = 16

interface Lane {
  readonly link: Link
  /** Bulk under way, there or back, and the calls that carry it. */
  bytes: number
  bulkCalls: number
  /** The last call was over within QUICK_TRIPS. */
  isQuick: boolean
  usedMs: number
  carriedBytes: number
}

interface Waiting {
  readonly bytes: number
  readonly deadlineMs: number
  take(lane: Lane): void
  fail(error: Error): void
}

interface Order {
  readonly lane: Lane
  calls: number
}

export class Bundle implements Peer {
  readonly hello: Hello
  readonly identity: Identity | undefined
  readonly address: string
  readonly #dial: () => Promise<Link>
  readonly #clock: Clock
  readonly #log: Log
  readonly #count: LaneCount
  /** At most LANES_MAX; the oldest first. */
  #lanes: Lane[] = []
  /** Bulk calls without a connection that takes them; as many as the windows of those who call allow. */
  #queue: Waiting[] = []
  #dialling = 0
  #pauseUntilMs = Number.NEGATIVE_INFINITY
  /** As long as a call of the order is under way. */
  readonly #orders = new Map<number, Order>()
  /** Of the oldest connection that is left. */
  #nearest: RoundTrip
  #closed = false
  #closeError: Error | undefined
  readonly #closers: ((error?: Error) => void)[] = []
  /** Since the last sample: the time integrals of lanes and calls with bulk. */
  #stopSampling: (() => void) | undefined
  #sampledMs = 0
  #changedMs = 0
  #busyLaneMs = 0
  #callMs = 0

  /** `connections`: so many; 0: as many as it takes. `dial` makes a further one to the same place. */
  constructor(first: Link, dial: () => Promise<Link>, clock: Clock, log: Log, connections: number) {
    this.hello = first.hello
    this.identity = first.identity
    this.address = first.address
    this.#nearest = first.roundTrip
    this.#dial = dial
    this.#clock = clock
    this.#log = log
    this.#count = new LaneCount(connections)
    this.#add(first)
    first.onMeasured(() => {
      if (this.#queue.length > 0) this.#grow()
      this.#serve()
    })
  }

  get closed(): boolean {
    return this.#closed
  }
  get roundTrip(): RoundTrip {
    return this.#nearest
  }
  get connections(): number {
    return this.#lanes.length
  }

  call<C extends CallName>(name: C, request: Request<C>, options: CallOptions = {}): Promise<Answered<C>> {
    const first = this.#lanes[0]
    if (first === undefined) return Promise.reject(this.#closeError ?? new FsError('ECONNRESET', this.address))
    if (options.order !== undefined) return this.#ordered(name, request, options, options.order)
    if (this.#isSingle) return first.link.call(name, request, options)
    return this.#asked(name, request, options)
  }

  tell<C extends CallName>(name: C, request: Request<C>): void {
    this.#lanes[0]?.link.tell(name, request)
  }

  onClose(callback: (error?: Error) => void): void {
    if (this.#closed) callback(this.#closeError)
    else this.#closers.push(callback)
  }

  close(error?: Error): void {
    if (this.#closed) return
    const lanes = this.#lanes
    this.#lanes = []
    this.#ended(error)
    for (const { link } of lanes) link.close(error)
  }

  get #isSingle(): boolean {
    return this.#lanes.length === 1 && this.#queue.length === 0 && this.#isNear
  }
  /** Until that is known there is little under way at a time: what was asked on the first connection stays there. */
  get #isNear(): boolean {
    return this.#nearest.isKnown && this.#wanted === 1
  }
  get #wanted(): number {
    return this.#count.wanted(this.#nearest.isFar)
  }

  async #asked<C extends CallName>(name: C, request: Request<C>, options: CallOptions): Promise<Answered<C>> {
    const bytes = calls[name].bulk === 'none' ? undefined : bytesOf(options)
    for (let left = LANES_MAX; ; left--) {
      const lane = bytes === undefined ? this.#leastBusy() : (this.#take(bytes) ?? (await this.#turn(bytes, options)))
      try {
        return await this.#on(lane, bytes, name, request, options)
      } catch (error) {
        // Only what broke with its connection can be had from another one.
        if (!(error instanceof FsError) || error instanceof RemoteError || !lane.link.closed) throw error
        const isOver = options.signal?.aborted || options.handle?.reason !== undefined || this.#lanes.length === 0
        if (!calls[name].idempotent || left === 1 || isOver) throw error
      }
    }
  }

  async #ordered<C extends CallName>(
    name: C,
    request: Request<C>,
    options: CallOptions,
    key: number,
  ): Promise<Answered<C>> {
    let order = this.#orders.get(key)
    if (order === undefined || order.lane.link.closed) {
      order = { lane: this.#leastBusy(), calls: 0 }
      this.#orders.set(key, order)
    }
    order.calls++
    const bytes = this.#isSingle ? undefined : bytesOf(options)
    if (bytes !== undefined) this.#begin(order.lane, bytes)
    try {
      return await this.#on(order.lane, bytes, name, request, options)
    } finally {
      order.calls--
      if (order.calls === 0 && this.#orders.get(key) === order) this.#orders.delete(key)
    }
  }

  #leastBusy(): Lane {
    let best = this.#lanes[0]
    assert(best !== undefined, 'a link without connections is closed, and answers no calls')
    for (const lane of this.#lanes) if (lane.bytes < best.bytes) best = lane
    return best
  }

  /** A connection that carries so much more at once, if nobody waits for one; begun. */
  #take(bytes: number): Lane | undefined {
    const lane = this.#leastBusy()
    if (this.#queue.length > 0 || !(this.#isNear || hasRoom(lane))) return undefined
    this.#begin(lane, bytes)
    return lane
  }

  /** Calls wait here and not in a connection: the one that is done first takes the next, whatever holds up the others. Begun. */
  #turn(bytes: number, { timeoutMs = TIMEOUT_MS, signal, handle }: CallOptions): Promise<Lane> {
    return new Promise((resolve, reject) => {
      const ahead = this.#queue.reduce((sum, waiting) => sum + waiting.bytes, bytes) / this.#lanes.length
      const patienceMs = this.#nearest.timeoutMs(timeoutMs, ahead)
      const takeBack = (reason: unknown): void => {
        this.#queue = this.#queue.filter((one) => one !== waiting)
        reject(reason)
      }
      const onAbort = (): void => takeBack(signal?.reason)
      const settled = (): void => {
        signal?.removeEventListener('abort', onAbort)
        handle?.carried(undefined)
      }
      const waiting: Waiting = {
        bytes,
        deadlineMs: patienceMs === 0 ? Number.POSITIVE_INFINITY : this.#clock.monotonicMs() + patienceMs,
        take: (lane) => {
          settled()
          resolve(lane)
        },
        fail: (error) => {
          settled()
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      handle?.carried(takeBack)
      this.#queue.push(waiting)
      this.#grow()
      this.#sampleLater()
    })
  }

  #serve(): void {
    while (this.#queue.length > 0 && this.#lanes.length > 0) {
      const lane = this.#leastBusy()
      if (!this.#isNear && !hasRoom(lane)) return
      const next = this.#queue.shift()
      if (next === undefined) return
      this.#begin(lane, next.bytes)
      next.take(lane)
    }
  }

  #begin(lane: Lane, bytes: number): void {
    this.#changed()
    lane.bytes += bytes
    lane.bulkCalls++
    this.#grow()
    this.#sampleLater()
  }

  /** `bytes`: what was begun with. */
  async #on<C extends CallName>(
    lane: Lane,
    bytes: number | undefined,
    name: C,
    request: Request<C>,
    options: CallOptions,
  ): Promise<Answered<C>> {
    if (bytes === undefined) return lane.link.call(name, request, options)
    const beganMs = this.#clock.monotonicMs()
    try {
      const answered = await lane.link.call(name, request, options)
      lane.isQuick = this.#clock.monotonicMs() - beganMs < QUICK_TRIPS * (this.#nearest.leastMs ?? 0)
      return answered
    } finally {
      this.#changed()
      lane.bytes -= bytes
      lane.bulkCalls--
      lane.usedMs = this.#clock.monotonicMs()
      this.#serve()
    }
  }

  #add(link: Link): void {
    const { carriedBytes } = link
    const usedMs = this.#clock.monotonicMs()
    const lane: Lane = { link, bytes: 0, bulkCalls: 0, isQuick: false, usedMs, carriedBytes }
    this.#changed()
    this.#lanes.push(lane)
    link.onClose((error) => {
      this.#changed()
      this.#lanes = this.#lanes.filter((one) => one !== lane)
      const next = this.#lanes[0]
      if (next === undefined) this.#ended(error)
      else this.#nearest = next.link.roundTrip
    })
    this.#serve()
  }

  #ended(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#closeError = error
    this.#stopSampling?.()
    for (const waiting of this.#queue.splice(0)) waiting.fail(error ?? new FsError('ECONNRESET', this.address))
    for (const callback of this.#closers) callback(error)
  }

  /** One more at a time for each call that would otherwise wait behind another. */
  #grow(): void {
    const lanes = this.#lanes.length + this.#dialling
    if (lanes >= this.#wanted || this.#clock.monotonicMs() < this.#pauseUntilMs) return
    // Calls of one order travel on one connection, however many.
    let together = 0
    for (const order of this.#orders.values()) together += order.calls - 1
    if (this.#bulkCalls() - together <= lanes) return
    this.#dialling++
    this.#dial().then(
      (link) => {
        this.#dialling--
        if (this.#closed) link.close()
        else this.#add(link)
      },
      (error: unknown) => {
        this.#dialling--
        if (errnoOf(error) === undefined) throw error
        this.#pauseUntilMs = this.#clock.monotonicMs() + PAUSE_MS
        this.#log.debug({ peer: this.address, error: String(error) }, 'a further connection could not be made')
      },
    )
  }

  #bulkCalls(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.bulkCalls, this.#queue.length)
  }

  /** To be told before it changes how much is under way. */
  #changed(): void {
    const now = this.#clock.monotonicMs()
    const passed = now - this.#changedMs
    this.#changedMs = now
    if (passed <= 0) return
    for (const { bulkCalls } of this.#lanes) {
      if (bulkCalls > 0) this.#busyLaneMs += passed
      this.#callMs += passed * bulkCalls
    }
    this.#callMs += passed * this.#queue.length
  }

  /** While there is bulk, and while there are connections to be closed. */
  #sampleLater(): void {
    if (this.#stopSampling !== undefined || this.#closed) return
    this.#sampledMs = this.#clock.monotonicMs()
    this.#changedMs = this.#sampledMs
    this.#busyLaneMs = 0
    this.#callMs = 0
    for (const lane of this.#lanes) lane.carriedBytes = lane.link.carriedBytes
    this.#stopSampling = this.#clock.timer(SAMPLE_MS, () => {
      this.#stopSampling = undefined
      this.#sample()
      if (this.#lanes.length > 1 || this.#bulkCalls() > 0) this.#sampleLater()
    })
  }

  #sample(): void {
    this.#changed()
    const nowMs = this.#clock.monotonicMs()
    const late = this.#queue.filter(({ deadlineMs }) => deadlineMs <= nowMs)
    this.#queue = this.#queue.filter(({ deadlineMs }) => deadlineMs > nowMs)
    for (const waiting of late) waiting.fail(new FsError('ETIMEDOUT', `waiting for a connection to ${this.address}`))
    const overMs = Math.max(1, nowMs - this.#sampledMs)
    const bytes = this.#lanes.reduce((sum, { link, carriedBytes }) => sum + link.carriedBytes - carriedBytes, 0)
    const before = this.#wanted
    this.#count.sample({
      ...{ nowMs, overMs, bytes },
      lanes: this.#lanes.length,
      busyLanes: this.#busyLaneMs / overMs,
      calls: this.#callMs / overMs,
    })
    const wanted = this.#wanted
    if (wanted !== before)
      this.#log.debug({ peer: this.address, wanted, bytesPerMs: bytes / overMs }, 'another number of connections')
    const [, ...further] = this.#lanes
    const idle = (lane: Lane): boolean => lane.bulkCalls === 0 && nowMs - lane.usedMs > IDLE_MS && !this.#ordersOn(lane)
    for (const lane of further) if (idle(lane)) lane.link.close()
    // One that is too many ends as soon as it has nothing under way.
    const tooMany = further
      .slice(Math.max(0, wanted - 1))
      .filter((lane) => lane.bulkCalls === 0 && !this.#ordersOn(lane))
    for (const lane of tooMany) lane.link.close()
  }

  #ordersOn(lane: Lane): boolean {
    for (const order of this.#orders.values()) if (order.lane === lane) return true
    return false
  }
}

const hasRoom = ({ bytes, bulkCalls, isQuick }: Lane): boolean => bytes < FILL_BYTES || bulkCalls < (isQuick ? 2 : 1)

const bytesOf = ({ bulk = [], answerBytes = 0 }: CallOptions): number =>
  bulk.reduce((sum, part) => sum + part.length, answerBytes)
