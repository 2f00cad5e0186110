/*
 * Links to chunkservers, one per address (of several connections where it is far), made when first needed and kept. A server that could not be reached is
 * not tried again before a short pause, so that a read which has another copy goes there at once.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import type { World } from '../base/world.ts'
import { connectBundle } from '../wire/connect.ts'
import type { Peer } from '../wire/peer.ts'
import { PROTOCOL_VERSION } from '../wire/protocol.ts'

const CONNECT_TIMEOUT_MS = 5_000
/** Short enough that a restarted server is used again at once, long enough that a dead one costs no time. */
const PAUSE_MS = 250

export class Chunkservers {
  readonly #world: World
  readonly #cluster: string
  readonly #name: string
  readonly #connections: number
  readonly #peers = new Map<string, Promise<Peer>>()
  readonly #connected = new Map<string, Peer>()
  readonly #failedAt = new Map<string, number>()

  /** `connections`: to each chunkserver; 0: as many as it takes. */
  constructor(world: World, cluster: string, name: string, connections = 0) {
    this.#world = world
    this.#cluster = cluster
    this.#name = name
    this.#connections = connections
  }

  /** Throws a transport FsError (retry elsewhere or later). */
  peer(host: string, port: number): Promise<Peer> {
    const address = `${host}:${port}`
    const known = this.#peers.get(address)
    if (known !== undefined) return known
    const failedAt = this.#failedAt.get(address)
    if (failedAt !== undefined && this.#world.clock.monotonicMs() - failedAt < PAUSE_MS)
      return Promise.reject(new FsError('ECONNREFUSED', `${address} was unreachable a moment ago`))
    const dialled = connectBundle(this.#world.net, host, port, {
      hello: { version: PROTOCOL_VERSION, cluster: this.#cluster, role: 'mount', name: this.#name },
      handlers: {},
      clock: this.#world.clock,
      log: this.#world.log,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      connections: this.#connections,
    }).then(
      (peer) => {
        this.#failedAt.delete(address)
        this.#connected.set(address, peer)
        peer.onClose(() => {
          this.#peers.delete(address)
          this.#connected.delete(address)
        })
        return peer
      },
      (error: unknown) => {
        this.#peers.delete(address)
        this.#failedAt.set(address, this.#world.clock.monotonicMs())
        throw error
      },
    )
    this.#peers.set(address, dialled)
    return dialled
  }

  connected(host: string, port: number): Peer | undefined {
    return this.#connected.get(`${host}:${port}`)
  }

  close(): void {
    for (const dialled of this.#peers.values()) {
      dialled.then(
        (peer) => peer.close(),
        // Was never connected: nothing to close.
        () => undefined,
      )
    }
    this.#peers.clear()
  }
}

/** The connection failed, as opposed to the server having refused: the same request may succeed on a new connection. */
export function isTransportFailure(error: unknown): boolean {
  const code = errnoOf(error)
  return code === 'ECONNRESET' || code === 'ECONNREFUSED' || code === 'ETIMEDOUT' || code === 'EHOSTUNREACH'
}
