/*
 * Changing this node's WireGuard key while its tunnel is used. WireGuard has one private key for an interface, so the change
 * itself ends all sessions; what keeps it short is that everybody knows the new key before it is used.
 *
 * Order that matters: the new key is on the disk before it is announced, announced to all before it is used, used before the
 * old one is struck out. A crash in between leaves a key that others take, and `resume` ends what was begun.
 */

import { rename, rm } from 'node:fs/promises'
import type { Clock, Log } from '../base/world.ts'
import type { PeerMap } from './core/peer-map.ts'
import { newKeys, readKeys, writeSecret } from './keys.ts'
import type { Newest } from './map-keys.ts'

/** Others wait for maps: a new one is with them after a round trip, and on their devices after two commands. */
const SPREAD_MS = 3_000
/** The hub is asked again through the tunnel whose key was just changed: a handshake, and once more when that was lost. */
const TELL_AGAIN_MS = 1_000
const TELL_TRIES = 30

export interface KeyChangeParts {
  readonly node: string
  readonly keyFile: string
  readonly newest: Newest
  readonly clock: Clock
  readonly log: Log
  /** To a hub, whichever answers. */
  readonly tell: (key: string, moved: boolean, signal: AbortSignal) => Promise<void>
  /** The interface has the key of the key file when this resolves. */
  readonly use: (publicKey: string) => Promise<void>
}

export class KeyChange {
  readonly #parts: KeyChangeParts
  #used: string
  #running: Promise<string> | undefined

  /** `used`: the key that the interface has. */
  constructor(parts: KeyChangeParts, used: string) {
    this.#parts = parts
    this.#used = used
  }

  /** The public key that is used when it resolves. Who asks while one is being changed waits for that. */
  rotate(signal: AbortSignal): Promise<string> {
    this.#running ??= this.#rotate(signal).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #rotate(signal: AbortSignal): Promise<string> {
    const { keyFile, log } = this.#parts
    await this.resume(signal)
    const { privateKey, publicKey } = newKeys()
    await writeSecret(this.#next, `${privateKey}\n`)
    await this.#parts.tell(publicKey, false, signal)
    await this.#known(publicKey, signal)
    await this.#parts.clock.sleep(SPREAD_MS, { signal })
    await this.#take(publicKey, signal)
    log.info({ keyFile }, 'the WireGuard key of this node was changed')
    return publicKey
  }

  /** Ends what was begun before a crash, by what the map says of this node. */
  async resume(signal: AbortSignal): Promise<void> {
    const announced = this.#own(this.#parts.newest.map)?.[1]
    if (announced === undefined) return rm(this.#next, { force: true })
    if (announced === this.#used) return this.#moved(announced, signal)
    const next = await readKeys(this.#next).catch(() => undefined)
    // A key that nobody has any more does no harm; the next change takes its place.
    if (next?.publicKey === announced) await this.#take(announced, signal)
  }

  get #next(): string {
    return `${this.#parts.keyFile}.next`
  }

  #own(map: PeerMap | undefined): readonly string[] | undefined {
    return map?.peers.find(({ id }) => id === this.#parts.node)?.keys
  }

  /** The map that names the key is here. */
  async #known(publicKey: string, signal: AbortSignal): Promise<void> {
    const { newest } = this.#parts
    while (this.#own(newest.map)?.includes(publicKey) !== true) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        const stop = newest.onNewer(() => done())
        const done = (): void => {
          stop()
          signal.removeEventListener('abort', done)
          resolve()
        }
        signal.addEventListener('abort', done)
      })
    }
  }

  async #take(publicKey: string, signal: AbortSignal): Promise<void> {
    await rename(this.#next, this.#parts.keyFile)
    this.#used = publicKey
    await this.#parts.use(publicKey)
    await this.#moved(publicKey, signal)
  }

  async #moved(publicKey: string, signal: AbortSignal): Promise<void> {
    const { tell, clock } = this.#parts
    for (let tries = 1; ; tries++) {
      try {
        return await tell(publicKey, true, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (tries === TELL_TRIES) throw error
        await clock.sleep(TELL_AGAIN_MS, { signal })
      }
    }
  }
}
