/*
 * What this chunkserver sees of its ways to others: how many bytes of its orders were acknowledged there, how many of mounts went by,
 * and, while something is copied, how long the mesh agent's echoes take. It is told to the master, which knows what of it is a line
 * between two sites and sets the pace of the orders by it (orderPace). Nothing is decided here.
 *
 * Bytes count where they were asked for, when they have come, so each is told of by one side only. A master or an agent that is not
 * there, or does not want to know, changes nothing but that nobody measures.
 */

import { FsError } from '../base/fault.ts'
import type { NodeId } from '../base/ids.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Peer } from '../wire/peer.ts'
import type { Place, WayEchoes, WaySeen } from '../wire/shapes.ts'
import { WAYS_MAX } from '../wire/shapes.ts'

/** As often as the controller steps. */
const TELL_MS = 250
/** What only mounts use, or nobody measures, is told of so often. */
const SELDOM_MS = 1_000
/** A way is measured for so long after the last copy: between two orders the line is the same. */
const AFTER_MS = 2_000
/** Fewer bytes of mounts are no traffic that copies have to make room for. */
const FOREGROUND_BYTES = 16 * 1024
/** When the master has no use for what only mounts do, it is told again after so long. */
const UNWANTED_MS = 5_000
/** An agent that could not be asked is asked again after so long; a chunkserver without one asks in vain. */
const AGENT_AGAIN_MS = 10_000
/** Both answer at once, or are of no use for steering. */
const PATIENCE_MS = 2_000

interface Way {
  readonly host: string
  readonly port: number
  /** Connections of mounts. */
  peers: number
  /** Copies under way. */
  copying: number
  copiedMs: number
  backgroundBytes: number
  foregroundBytes: number
  /** As the agent counts its echoes. */
  since: number
}

export interface WayEnds {
  /** Where this chunkserver is registered. */
  readonly master: () => { readonly peer: Peer; readonly node: NodeId } | undefined
  /** Connects to the mesh agent of this node; absent: there is none. */
  readonly agent?: () => Promise<Peer>
}

export class Ways {
  readonly #clock: Clock
  readonly #log: Log
  readonly #ends: WayEnds
  readonly #ways = new Map<string, Way>()
  /** By connection, so that a read of a mount costs a look and a sum. */
  readonly #served = new WeakMap<Peer, Way>()
  #agent: Peer | undefined
  #agentTriedMs = Number.NEGATIVE_INFINITY
  #toldMs = Number.NEGATIVE_INFINITY
  #unwantedMs = Number.NEGATIVE_INFINITY
  #wake: (() => void) | undefined

  constructor(clock: Clock, log: Log, ends: WayEnds) {
    this.#clock = clock
    this.#log = log
    this.#ends = ends
  }

  /** Copies from or to another chunkserver; `moved` is told what was acknowledged. */
  async copying<T>({ host, port }: Place, work: (moved: (bytes: number) => void) => Promise<T>): Promise<T> {
    const way = this.#way(host, port)
    way.copying++
    this.#wake?.()
    try {
      return await work((bytes) => {
        way.backgroundBytes += bytes
      })
    } finally {
      way.copying--
      way.copiedMs = this.#clock.monotonicMs()
    }
  }

  /** Something of a mount has gone to it or come from it. */
  served(peer: Peer, bytes: number): void {
    if (peer.hello.role !== 'mount') return
    let way = this.#served.get(peer)
    if (way === undefined) {
      const made = this.#way(hostOf(peer.address), 0)
      way = made
      made.peers++
      this.#served.set(peer, made)
      peer.onClose(() => {
        if (--made.peers === 0) this.#ways.delete(keyOf(made.host, 0))
      })
    }
    way.foregroundBytes += bytes
    this.#wake?.()
  }

  /** Tells of it until told to stop. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#wake?.()
    signal.addEventListener('abort', stop)
    try {
      while (!signal.aborted) {
        await this.#somethingToTell(signal)
        await this.#clock.sleep(TELL_MS, { signal }).catch(() => undefined)
        if (!signal.aborted) await this.#tell()
      }
    } finally {
      signal.removeEventListener('abort', stop)
      this.#agent?.close()
    }
  }

  async #somethingToTell(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    const isBusy = [...this.#ways.values()].some(
      (way) => isCopied(way, nowMs) || way.foregroundBytes >= FOREGROUND_BYTES,
    )
    if (isBusy || signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = undefined
  }

  async #tell(): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    const copied = [...this.#ways.values()].filter((way) => isCopied(way, nowMs)).slice(0, WAYS_MAX)
    try {
      const echoes = await this.#echoes(copied)
      const isMeasured = copied.some(({ host }) => echoes.has(host))
      if (!isMeasured && nowMs - this.#toldMs < SELDOM_MS) return
      const others = [...this.#ways.values()]
        .filter((way) => way.foregroundBytes >= FOREGROUND_BYTES && !copied.includes(way))
        .sort((x, y) => y.foregroundBytes - x.foregroundBytes)
      const all = [...copied, ...others].slice(0, WAYS_MAX)
      if (isMeasured || nowMs - this.#unwantedMs >= UNWANTED_MS) await this.#sayTo(all, echoes)
      else {
        this.#toldMs = nowMs
        this.#countAnew(all)
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      this.#log.debug({ error: error.message }, 'what was seen of ways to others could not be told to the master')
    }
    this.#forget(nowMs)
  }

  async #sayTo(ways: readonly Way[], echoes: ReadonlyMap<string, WayEchoes>): Promise<void> {
    const registered = this.#ends.master()
    if (ways.length === 0 || registered === undefined) return
    const seen: WaySeen[] = ways.map(({ host, port, backgroundBytes, foregroundBytes }) => ({
      ...{ host, port, echoes: port === 0 ? undefined : echoes.get(host), backgroundBytes, foregroundBytes },
    }))
    this.#countAnew(ways)
    const { peer, node } = registered
    const nowMs = this.#clock.monotonicMs()
    this.#toldMs = nowMs
    const { reply } = await peer.call('waysSeen', { node, ways: seen }, { timeoutMs: PATIENCE_MS })
    this.#unwantedMs = reply.wanted ? Number.NEGATIVE_INFINITY : nowMs
  }

  #countAnew(ways: readonly Way[]): void {
    for (const way of ways) {
      way.backgroundBytes = 0
      way.foregroundBytes = 0
    }
  }

  /** What the agent has measured since the last time, by host. */
  async #echoes(ways: readonly Way[]): Promise<Map<string, WayEchoes>> {
    const byHost = new Map<string, WayEchoes>()
    const agent = ways.length === 0 ? undefined : await this.#connected()
    if (agent === undefined) return byHost
    try {
      // One of each host: what two would ask is the same.
      const asked = [...new Map(ways.map((way) => [way.host, way])).values()]
      const request = { ways: asked.map(({ host, since }) => ({ host, since })) }
      const { reply } = await agent.call('agentWays', request, { timeoutMs: PATIENCE_MS })
      for (const { host, at, echoes } of reply.ways) {
        byHost.set(host, echoes)
        for (const way of ways) if (way.host === host) way.since = at
      }
    } catch (error) {
      this.#agentFailed(error)
    }
    return byHost
  }

  async #connected(): Promise<Peer | undefined> {
    const { agent } = this.#ends
    if (this.#agent !== undefined && !this.#agent.closed) return this.#agent
    const nowMs = this.#clock.monotonicMs()
    if (agent === undefined || nowMs - this.#agentTriedMs < AGENT_AGAIN_MS) return undefined
    this.#agentTriedMs = nowMs
    try {
      this.#agent = await agent()
      return this.#agent
    } catch (error) {
      this.#agentFailed(error)
      return undefined
    }
  }

  #agentFailed(error: unknown): void {
    if (!(error instanceof FsError)) throw error
    this.#log.debug({ error: error.message }, 'the mesh agent of this node cannot be asked how long ways are')
  }

  #way(host: string, port: number): Way {
    const key = keyOf(host, port)
    const known = this.#ways.get(key)
    if (known !== undefined) return known
    const made = { host, port, peers: 0, copying: 0, copiedMs: Number.NEGATIVE_INFINITY, since: 0 }
    const way: Way = { ...made, backgroundBytes: 0, foregroundBytes: 0 }
    this.#ways.set(key, way)
    return way
  }

  /** Those to chunkservers that nothing was copied over for a while: at most as many stay as orders run. */
  #forget(nowMs: number): void {
    for (const [key, way] of this.#ways) if (way.port !== 0 && !isCopied(way, nowMs)) this.#ways.delete(key)
  }
}

const isCopied = ({ copying, copiedMs }: Way, nowMs: number): boolean => copying > 0 || nowMs - copiedMs < AFTER_MS

const keyOf = (host: string, port: number): string => `${host} ${port}`
const hostOf = (address: string): string =>
  address
    .slice(0, Math.max(0, address.lastIndexOf(':')))
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '')
