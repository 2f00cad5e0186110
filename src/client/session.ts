/*
 * The session with the master: one connection at a time, made again for as long as this client lives.
 *
 * Every state-changing request gets a stamp (session, seq) once and keeps it over reconnects, so the master answers it
 * exactly once. A request that finds no connection waits as long as there is patience (patience.ts), interruptible by its
 * signal; then it fails with EIO. When the master says that the session is over (it expired while we were away), a new one begins and
 * `onLost` is told: locks and opens are gone, open chunks were sealed at their committed length.
 *
 * fresh(): everything changed elsewhere until at most FRESH_MS ago has been pushed to us. Pushes and answers share one
 * connection in order, so any answer proves that; a heartbeat asks for one when nothing else does.
 */

import type { Time } from '../base/attr.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import { sessionId } from '../base/ids.ts'
import type { World } from '../base/world.ts'
import { connectLink } from '../wire/connect.ts'
import { RemoteError } from '../wire/link.ts'
import type { Answered, Peer } from '../wire/peer.ts'
import { type CallName, PROTOCOL_VERSION, type Request } from '../wire/protocol.ts'
import type { DeclaredPlace, Settings, Stamp } from '../wire/shapes.ts'
import { ClusterClock } from './core/cluster-clock.ts'
import type { Interruptible, Patience } from './patience.ts'

/** With the kernel's own cache (door) on top, nothing shown is more than a second behind. */
const FRESH_MS = 500
/** For how long after a request the master keeps for this session what it holds (master/holdings.ts, LEASE_OVER_MS). */
const LEASE_MS = 500
const HEARTBEAT_MS = 200
/** Heartbeats without an answer yet: on a long way one goes out before the last has come back. A second and a half of them. */
const HEARTBEATS_MAX = 8
/** After this long without use of any cache the heartbeat slows down to what keeps the session alive. */
const IDLE_AFTER_MS = 2_000
const IDLE_HEARTBEAT_MS = 3_000
const RETRY_MS = [20, 50, 100, 200, 400, 800, 1_500]
/** Whoever waits looks this often whether there is still patience: it may have ended with the mount. */
const LOOK_MS = 1_000

export interface SessionOptions {
  readonly host: string
  readonly port: number
  readonly cluster: string
  /** Unique per start of this mount. */
  readonly client: string
  readonly hostName: string
  readonly mountpoint: string
  readonly version: string
  /** Where this mount stands and what it reads from first, as configured. */
  readonly place?: MountPlace
}

export interface MountPlace {
  readonly place: DeclaredPlace
  /** Labels, the one to read from first at the front. */
  readonly prefer: readonly string[]
}

export interface SessionEvents {
  /** Pushed by the master. */
  invalidate(change: Request<'invalidate'>): void
  /** Somebody else is about to look at what is held back here. Must not throw. */
  recall(wanted: Request<'recall'>): Promise<void>
  /** How what is made here gets its storage class. */
  classPatterns(patterns: Request<'classPatterns'>['patterns']): void
  /** The connection is gone: nothing is told any more of what changes elsewhere. */
  disconnected(): void
  /** There is one again, and nothing has been answered on it yet: whatever was known may have changed meanwhile. */
  returned(): void
  /** The old session was over; a new one has begun. */
  lost(): void
  /** Inodes that are open here, for the master to know them again. */
  opens(): Ino[]
  /** Those of them that were made here and are not committed, or may be closed before they are. */
  made(): Ino[]
  /** Directories in which names were changed that the master has not been told of. */
  directories(): Ino[]
  /** Numbers that were reserved and may be given to new inodes, or were a moment ago. */
  numbers(): Request<'sessionResume'>['numbers']
}

type StampedName = { [C in CallName]: 'stamp' extends keyof Request<C> ? C : never }[CallName]
type SessionName = { [C in CallName]: 'session' extends keyof Request<C> ? C : never }[CallName]

export class MasterSession {
  readonly #world: World
  readonly #events: SessionEvents
  readonly #patience: Patience
  readonly #options: SessionOptions
  #peer: Peer | undefined
  #session: SessionId | undefined
  /** The name that the session was opened under. */
  #client: string
  #settings: Settings | undefined
  readonly #time = new ClusterClock()
  #seq = 0
  /** Seqs whose replies have not arrived; insertion order is ascending, so the first is the lowest. */
  readonly #outstanding = new Set<number>()
  readonly #waiters = new Set<() => void>()
  #heardMs = Number.NEGATIVE_INFINITY
  /** When the latest request was sent. */
  #askedMs = Number.NEGATIVE_INFINITY
  #heartbeatMs = Number.NEGATIVE_INFINITY
  #heartbeats = 0
  #stopHeartbeat: (() => void) | undefined
  /** When the latest request was sent that has been answered: the master has heard from us since. */
  #leaseMs = Number.NEGATIVE_INFINITY
  #usedMs = 0
  #closed = false
  #connecting = false
  /** While there is no connection. */
  #back: (() => void) | undefined
  #lostMs = 0
  /** Set when the master refused us for good (another cluster, another version): every request fails with it. */
  #refused: FsError | undefined

  constructor(world: World, events: SessionEvents, patience: Patience, options: SessionOptions) {
    this.#world = world
    this.#events = events
    this.#patience = patience
    this.#options = options
    this.#client = options.client
  }

  /** The first connection; throws when the master cannot be reached within `timeoutMs`. */
  async start(timeoutMs: number): Promise<void> {
    this.#connectLoop()
    const deadline = this.#world.clock.monotonicMs() + timeoutMs
    while (this.#peer === undefined) await this.#waitForPeer(deadline, undefined)
    this.#heartbeat()
  }

  get connected(): boolean {
    return this.#peer !== undefined
  }
  get closed(): boolean {
    return this.#closed
  }
  get id(): SessionId {
    return this.#session ?? sessionId(0)
  }
  get settings(): Settings | undefined {
    return this.#settings
  }

  /** By the master's clock. */
  now(): Time {
    return this.#time.at(this.#world.clock.now())
  }

  /** Whether what the caches hold may be shown. Also tells the heartbeat that somebody looks. */
  fresh(): boolean {
    const now = this.#world.clock.monotonicMs()
    const paused = now - this.#usedMs >= IDLE_AFTER_MS
    this.#usedMs = now
    if (paused) this.#heartbeat()
    return this.#peer !== undefined && now - this.#heardMs < FRESH_MS
  }

  /** Whether the master cannot have given away yet what this session holds. */
  leased(): boolean {
    return this.#peer !== undefined && this.#world.clock.monotonicMs() - this.#leaseMs < LEASE_MS
  }

  /** A request that changes nothing. */
  ask<C extends SessionName>(
    name: C,
    request: Omit<Request<C>, 'session'>,
    caller?: Interruptible,
    timeoutMs?: number,
  ): Promise<Answered<C>['reply']> {
    return this.#persist(name, () => ({ ...request, session: this.id }) as unknown as Request<C>, caller, timeoutMs)
  }

  /** As `ask`; while there is no connection, what `instead` answers, if it does. */
  askUnlessCut<C extends SessionName, T>(
    name: C,
    request: Omit<Request<C>, 'session'>,
    caller: Interruptible | undefined,
    instead: () => T | undefined,
  ): Promise<Answered<C>['reply'] | T> {
    const whole = (): Request<C> => ({ ...request, session: this.id }) as unknown as Request<C>
    return this.#persist(name, whole, caller, undefined, instead)
  }

  /**
   * A request that changes something, executed exactly once whatever the network does. One that speaks of what belongs to
   * a session names it in `of`: in a later one it is ESTALE, also when it was not sent before.
   */
  async change<C extends StampedName>(
    name: C,
    request: Omit<Request<C>, 'stamp'>,
    caller?: Interruptible,
    timeoutMs?: number,
    of?: SessionId,
  ): Promise<Answered<C>['reply']> {
    const seq = ++this.#seq
    // What waits for a lock may wait for hours; the memory of all replies since must not wait with it. Its own reply
    // needs no memory: a lock that is asked for again is granted again.
    if (timeoutMs !== 0) this.#outstanding.add(seq)
    let born = of
    try {
      return await this.#persist(
        name,
        () => {
          // A stamp belongs to the session it was made in; in another one the request is a new request.
          born ??= this.id
          if (born !== this.id) throw new FsError('ESTALE', 'the session ended before the request was answered')
          const stamp: Stamp = { session: this.id, seq, acked: this.#acked() }
          return { ...request, stamp } as unknown as Request<C>
        },
        caller,
        timeoutMs,
      )
    } finally {
      this.#outstanding.delete(seq)
    }
  }

  released(inos: Ino[]): void {
    this.#peer?.tell('release', { session: this.id, inos })
  }

  /** Directories are no longer held; none named: none at all. */
  letGo(directories: Ino[]): void {
    this.#peer?.tell('letGo', { session: this.id, directories })
  }

  async close(): Promise<void> {
    this.#closed = true
    const peer = this.#peer
    if (peer !== undefined && this.#session !== undefined) {
      try {
        await peer.call('sessionClose', { session: this.#session }, { timeoutMs: 2_000 })
      } catch (error) {
        // The master expires the session by itself; leaving must not depend on it.
        this.#world.log.info({ error: String(error) }, 'the master did not answer the goodbye')
      }
      peer.close()
    }
    this.#wake()
  }

  #acked(): number {
    for (const seq of this.#outstanding) return seq
    return this.#seq + 1
  }

  async #persist<C extends CallName, T = never>(
    name: C,
    request: () => Request<C>,
    caller: Interruptible | undefined,
    timeoutMs: number | undefined,
    instead?: () => T | undefined,
  ): Promise<Answered<C>['reply'] | T> {
    const deadline = this.#patience.deadline()
    for (;;) {
      const peer = this.#peer
      if (peer === undefined) {
        const known = instead?.()
        if (known !== undefined) return known
        await this.#waitForPeer(deadline, caller?.signal)
        continue
      }
      const askedMs = this.#world.clock.monotonicMs()
      this.#askedMs = askedMs
      try {
        const { reply } = await peer.call(name, request(), {
          // Only what may wait for ever is cancelled; the rest is answered, or times out, soon enough.
          ...(timeoutMs === 0 && caller !== undefined ? { signal: caller.signal, answersCancel: true } : {}),
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
        })
        this.#heard(askedMs)
        return reply
      } catch (error) {
        if (error instanceof RemoteError) throw error
        if (caller?.signal.aborted) throw new FsError('EINTR', undefined, { cause: error })
        const code = errnoOf(error)
        if (code !== 'ECONNRESET' && code !== 'ETIMEDOUT') throw error
        if (this.#patience.left(deadline) < 0)
          throw new FsError('EIO', `the master did not answer ${name}`, { cause: error })
        if (!peer.closed) peer.close(error as Error)
        if (this.#peer === peer) this.#dropped(peer)
      }
    }
  }

  async #waitForPeer(deadline: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#refused !== undefined) throw this.#refused
    if (this.#closed) throw new FsError('ENOTCONN', 'the client is closed')
    const left = this.#patience.left(deadline)
    if (left <= 0)
      throw new FsError('EIO', `no connection to the master at ${this.#options.host}:${this.#options.port}`)
    if (signal?.aborted) throw new FsError('EINTR')
    await new Promise<void>((resolve) => {
      const done = (): void => {
        stop()
        this.#waiters.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const stop = this.#world.clock.timer(Math.min(left, LOOK_MS), done)
      this.#waiters.add(done)
      signal?.addEventListener('abort', done, { once: true })
    })
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  #dropped(peer: Peer): void {
    if (this.#peer !== peer) return
    this.#peer = undefined
    if (this.#closed) return
    this.#back ??= this.#patience.away()
    this.#lostMs = this.#world.clock.monotonicMs()
    this.#events.disconnected()
    this.#world.log.warn({ master: peer.address }, 'lost the master; operations wait until it is back')
    this.#connectLoop()
  }

  #connectLoop(): void {
    if (this.#connecting || this.#closed) return
    this.#connecting = true
    void this.#connect().finally(() => {
      this.#connecting = false
    })
  }

  async #connect(): Promise<void> {
    for (let attempt = 0; !this.#closed; attempt++) {
      const askedMs = this.#world.clock.monotonicMs()
      try {
        const again = this.#session !== undefined
        const peer = await this.#dial()
        if (again) this.#events.returned()
        this.#peer = peer
        this.#back?.()
        this.#back = undefined
        if (again) {
          const awayMs = Math.round(this.#world.clock.monotonicMs() - this.#lostMs)
          this.#world.log.info({ master: peer.address, awayMs }, 'the master is back')
        }
        this.#heard(askedMs)
        peer.onClose(() => this.#dropped(peer))
        this.#wake()
        return
      } catch (error) {
        const code = errnoOf(error)
        if (code === undefined) throw error
        if (code === 'EPROTO' || code === 'EPERM') {
          this.#refused = error as FsError
          this.#wake()
          this.#world.log.error({ error: String(error) }, 'the master refuses this client')
          return
        }
        await this.#world.clock.sleep(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]!)
      }
    }
  }

  async #dial(): Promise<Peer> {
    const { host, port, cluster, hostName, mountpoint, version } = this.#options
    const peer = await connectLink(this.#world.net, host, port, {
      hello: { version: PROTOCOL_VERSION, cluster, role: 'mount', name: hostName },
      handlers: {
        invalidate: (change) => {
          this.#events.invalidate(change)
          return { reply: {} }
        },
        recall: async (wanted) => {
          await this.#events.recall(wanted)
          return { reply: {} }
        },
        classPatterns: ({ patterns }) => {
          this.#events.classPatterns(patterns)
          return { reply: {} }
        },
      },
      clock: this.#world.clock,
      log: this.#world.log,
    })
    try {
      if (this.#session !== undefined) {
        try {
          const asked = this.#world.clock.now()
          const { reply } = await peer.call('sessionResume', {
            session: this.#session,
            client: this.#client,
            opens: this.#events.opens(),
            made: this.#events.made(),
            directories: this.#events.directories(),
            numbers: this.#events.numbers(),
          })
          this.#settings = reply.settings
          this.#time.learn(reply.now, asked, this.#world.clock.now())
          await this.#declare(peer, this.#session)
          return peer
        } catch (error) {
          if (errnoOf(error) !== 'ESTALE') throw error
          this.#world.log.error(
            { session: this.#session },
            'the session had expired at the master; locks are lost, unwritten data is written again',
          )
        }
      }
      const again = this.#session !== undefined
      // A new session has its own sequence: the old client id would be answered with the old session.
      if (again) this.#client = `${this.#options.client}-${this.#world.random.hex(4)}`
      const asked = this.#world.clock.now()
      const { reply } = await peer.call('sessionOpen', { client: this.#client, host: hostName, mountpoint, version })
      this.#session = reply.session
      this.#settings = reply.settings
      this.#time.learn(reply.now, asked, this.#world.clock.now())
      if (again) {
        this.#events.lost()
        // What is open stays open. Directories are held and numbers reserved by a session, and that one is over.
        await peer.call('sessionResume', {
          ...{ session: reply.session, client: this.#client, directories: [], numbers: [] },
          ...{ opens: this.#events.opens(), made: this.#events.made() },
        })
      }
      await this.#declare(peer, this.#session)
      return peer
    } catch (error) {
      peer.close()
      throw error
    }
  }

  /** Most mounts have nothing to say. */
  async #declare(peer: Peer, session: SessionId): Promise<void> {
    const { place } = this.#options
    if (place !== undefined) await peer.call('sessionPlace', { session, place: place.place, prefer: [...place.prefer] })
  }

  /** An answer to what was asked then. */
  #heard(askedMs: number): void {
    this.#heardMs = this.#world.clock.monotonicMs()
    if (askedMs > this.#leaseMs) this.#leaseMs = askedMs
  }

  /**
   * Counted from the last question and not from its answer: what an answer says is as old as the way is long, and on a way of 160 ms
   * a heartbeat that waits for the answer before it comes too late for FRESH_MS and LEASE_MS.
   */
  #heartbeat(): void {
    this.#stopHeartbeat?.()
    if (this.#closed) return
    const now = this.#world.clock.monotonicMs()
    const busy = now - this.#usedMs < IDLE_AFTER_MS
    // What was asked may take long to be answered; then one goes out all the same.
    const lastMs = Math.min(this.#askedMs, Math.max(this.#heartbeatMs, this.#heardMs))
    const dueMs = lastMs + (busy ? HEARTBEAT_MS : IDLE_HEARTBEAT_MS)
    const due = now >= dueMs
    const again = busy ? (due ? HEARTBEAT_MS : dueMs - now) : IDLE_HEARTBEAT_MS / 2
    this.#stopHeartbeat = this.#world.clock.timer(again, () => this.#heartbeat())
    const peer = this.#peer
    if (peer === undefined || !due || this.#heartbeats >= HEARTBEATS_MAX) return
    this.#askedMs = now
    this.#heartbeatMs = now
    this.#heartbeats++
    const asked = this.#world.clock.now()
    const answered = peer.call('sessionRenew', { session: this.id }, { timeoutMs: 10_000 })
    void answered.finally(() => this.#heartbeats--).catch(() => undefined)
    answered.then(
      ({ reply }) => {
        this.#heard(now)
        this.#time.learn(reply.now, asked, this.#world.clock.now())
      },
      (error) => {
        // ESTALE: the session is over; a new connection sorts it out. Anything else is the connection's own end.
        if (!peer.closed) peer.close(error instanceof Error ? error : undefined)
        this.#dropped(peer)
      },
    )
  }
}
