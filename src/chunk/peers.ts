/*
 * Links to other chunkservers: one each (of several connections where it is far), made on demand, kept until it breaks. At most as many as there are
 * chunkservers that this one copies from or compacts to.
 */

import type { Peer } from '../wire/peer.ts'

export type Connect = (host: string, port: number) => Promise<Peer>

export class Peers {
  readonly #connect: Connect
  readonly #peers = new Map<string, Promise<Peer>>()

  constructor(connect: Connect) {
    this.#connect = connect
  }

  get(host: string, port: number): Promise<Peer> {
    const key = `${host} ${port}`
    const known = this.#peers.get(key)
    if (known !== undefined) return known
    const forget = (): void => {
      if (this.#peers.get(key) === made) this.#peers.delete(key)
    }
    const made = this.#connect(host, port)
    this.#peers.set(key, made)
    made.then((peer) => peer.onClose(forget), forget)
    return made
  }

  async close(): Promise<void> {
    for (const peer of await Promise.allSettled(this.#peers.values()))
      if (peer.status === 'fulfilled') peer.value.close()
  }
}
