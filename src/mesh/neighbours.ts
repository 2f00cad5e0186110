/*
 * What an agent hears from the others and says to them: newer maps from hubs, and from whoever has one while hubs are away;
 * to its hub where this node is, whom it sees and how far everybody is, at once and whenever that changes.
 *
 * Order that matters: a map is checked before it is kept, and kept on disk before it is followed.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import type { Clock, Log, Net } from '../base/world.ts'
import { connectLink } from '../wire/connect.ts'
import type { MeasuredPath, SignedMap } from '../wire/mesh-shapes.ts'
import type { Peer } from '../wire/peer.ts'
import { PROTOCOL_VERSION, type Request } from '../wire/protocol.ts'
import type { PathEvent } from './core/path.ts'
import { isHub, type PeerEntry, type PeerMap, trusted } from './core/peer-map.ts'
import type { MeshDir, NodeRecord } from './files.ts'
import { type Newest, readMap } from './map-keys.ts'

/** A map is asked for again after this long without a newer one. */
const WAIT_MS = 30_000
/** While no hub answers: what another node hears meanwhile is worth that much waiting, and then a hub is tried again. */
const MEMBER_WAIT_MS = 5_000
/** After a peer could not be asked: the next one, 1 s at first, then ever more slowly. */
const AGAIN_MS = 1_000
const AGAIN_MS_MAX = 30_000
/** How often a node looks whether it has other addresses than it said. */
const SAY_EVERY_MS = 15_000
/** A tunnel that has just come up answers within a handshake and two round trips. */
export const CONNECT_MS = 5_000

/** What this node says of itself, asked for each time. */
export interface OwnWords {
  readonly standing: () => Omit<Request<'memberHere'>, 'bootId'>
  readonly measured: () => MeasuredPath[]
  readonly bootId: number
}

export interface NeighbourParts {
  readonly own: NodeRecord
  readonly dir: MeshDir
  readonly net: Net
  readonly newest: Newest
  readonly clock: Clock
  readonly log: Log
}

export class Neighbours {
  readonly #parts: NeighbourParts
  readonly #words: OwnWords
  /** A newer map is on disk. */
  readonly #kept: () => void
  #mapFrom = 'its own disk'
  #sayProof: ((other: string, event: PathEvent) => void) | undefined

  constructor(parts: NeighbourParts, words: OwnWords, kept: () => void) {
    this.#parts = parts
    this.#words = words
    this.#kept = kept
  }

  /** Where the newest map came from. */
  get mapFrom(): string {
    return this.#mapFrom
  }

  /** What the device proves of a way that the map wants tried, to the hub that is listened to. */
  sayProof(other: string, event: PathEvent): void {
    this.#sayProof?.(other, event)
  }

  /** The map that was kept on disk, if there is one. */
  async begin(): Promise<void> {
    const kept = await this.#parts.dir.map()
    if (kept !== undefined) this.#take(kept, 'its own disk')
  }

  /** From hubs first, then from whoever answers. */
  async follow(signal: AbortSignal): Promise<void> {
    const { clock, log, newest } = this.#parts
    let restMs = AGAIN_MS
    for (let turn = 0; !signal.aborted; turn++) {
      const source = this.#source(turn)
      try {
        if (source !== undefined) await this.#hear(source, signal)
        restMs = AGAIN_MS
      } catch (error) {
        if (signal.aborted) return
        if (errnoOf(error) === undefined) throw error
        log.warn(
          { from: source?.name, error: (error as Error).message },
          'no newer map from there; asking another node',
        )
      }
      if (newest.map === undefined || source === undefined) restMs = AGAIN_MS
      await clock.sleep(restMs, { signal }).catch(() => undefined)
      restMs = Math.min(restMs * 2, AGAIN_MS_MAX)
    }
  }

  /** What this hub has just made. */
  async made(map: PeerMap, signed: SignedMap): Promise<void> {
    this.#mapFrom = 'itself'
    await this.#keep(signed, map)
  }

  /** What whichever hub answers says. */
  async atHub<T>(ask: (hub: Peer) => Promise<T>, signal: AbortSignal): Promise<T> {
    const failures: string[] = []
    for (const hub of this.#others().filter(isHub)) {
      try {
        const peer = await this.#connect(hub, signal)
        try {
          return await ask(peer)
        } finally {
          peer.close()
        }
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        failures.push(`${hub.name}: ${error.message}`)
      }
    }
    throw new FsError('EHOSTUNREACH', `no hub can be asked now: ${failures.join('; ') || 'none is known'}`)
  }

  /** A hub every second time: whoever comes back is soon heard, whatever the others are asked meanwhile. */
  #source(turn: number): PeerEntry | undefined {
    const others = this.#others()
    const hubs = others.filter(isHub)
    const members = others.filter((peer) => !isHub(peer))
    const [first, second] = turn % 2 === 0 ? [hubs, members] : [members, hubs]
    const from = first.length > 0 ? first : second
    return from[Math.floor(turn / 2) % Math.max(1, from.length)]
  }

  #others(): PeerEntry[] {
    const { newest, clock } = this.#parts
    if (newest.map === undefined) return []
    return trusted(newest.map, clock.now().sec).filter((peer) => peer.id !== this.#parts.own.node)
  }

  /** Checks, keeps and follows a map. Answers whether it was newer. */
  #take(signed: SignedMap, from: string): boolean {
    const { own } = this.#parts
    const map = readMap(own.mapKey, own.meshId, signed)
    if (!this.#parts.newest.offer(map, signed)) return false
    this.#mapFrom = from
    return true
  }

  /** A newer map is on disk, the list of denied certificates beside it, and the tunnel follows. */
  async #keep(signed: SignedMap, map: PeerMap): Promise<void> {
    const { dir } = this.#parts
    const denied = map.denied.map((serial) => `${serial.toUpperCase()}\n`).join('')
    // Every role of this node reads its identity again when a file of it has changed.
    if (denied !== ((await dir.read('denied')) ?? '')) await dir.write('denied', denied)
    await dir.writeMap(signed)
    this.#kept()
  }

  /** As long as the connection lives. */
  async #hear(source: PeerEntry, signal: AbortSignal): Promise<void> {
    const { newest } = this.#parts
    const peer = await this.#connect(source, signal)
    const end = (): void => peer.close()
    signal.addEventListener('abort', end, { once: true })
    const stopSaying = isHub(source) ? this.#say(peer) : () => undefined
    try {
      while (!peer.closed && !signal.aborted) {
        const since = newest.map?.version ?? 0
        const asked = { since, waitMs: isHub(source) ? WAIT_MS : MEMBER_WAIT_MS }
        const { reply } = await peer.call('memberMap', asked, { signal, timeoutMs: asked.waitMs + CONNECT_MS })
        if (reply.map !== undefined && this.#take(reply.map, source.name)) await this.#keep(reply.map, newest.map!)
        else if (reply.map === undefined && !isHub(source)) return
      }
    } finally {
      stopSaying()
      signal.removeEventListener('abort', end)
      peer.close()
    }
  }

  #connect(peer: PeerEntry, signal: AbortSignal): Promise<Peer> {
    const { own, net, clock, log } = this.#parts
    return connectLink(net, peer.ip, own.agentPort, {
      hello: { version: PROTOCOL_VERSION, cluster: own.cluster, role: 'mesh', name: own.name },
      ...{ handlers: {}, clock, log, signal, connectTimeoutMs: CONNECT_MS },
    })
  }

  /** Tells a hub where this node is, at once and whenever that changes. */
  #say(peer: Peer): () => void {
    const { clock, log } = this.#parts
    let said = ''
    let stop = (): void => undefined
    const say = async (): Promise<void> => {
      const standing = this.#words.standing()
      const text = JSON.stringify(standing)
      if (text !== said) {
        try {
          await peer.call('memberHere', { ...standing, bootId: this.#words.bootId })
          said = text
        } catch (error) {
          if (errnoOf(error) === undefined) throw error
          if (!peer.closed)
            log.warn({ error: (error as Error).message }, 'the hub does not take what this node says of itself')
        }
      }
      if (!peer.closed) await this.#sayMeasured(peer)
      if (!peer.closed) stop = clock.timer(SAY_EVERY_MS, () => void say())
    }
    void say()
    this.#sayProof = (other, event) => {
      if (!peer.closed)
        void peer.call('memberProved', { peer: other, event }).catch((error: unknown) => {
          if (errnoOf(error) === undefined) throw error
        })
    }
    return () => {
      stop()
      this.#sayProof = undefined
    }
  }
  async #sayMeasured(peer: Peer): Promise<void> {
    try {
      await peer.call('memberMeasured', { paths: this.#words.measured() })
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      if (!peer.closed)
        this.#parts.log.warn({ error: (error as Error).message }, 'the hub does not take what this node measures')
    }
  }
}
