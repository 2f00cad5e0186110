/*
 * Keeps this machine's WireGuard interface as it is wanted: looks at it every five seconds, and at once when somebody pokes
 * its worker, and changes what differs. What is wanted is asked anew each round with the device as it is, because plans
 * depend on who has shaken hands. So a tunnel that died, was removed by hand or changed by another program is as it
 * was within a round, and a round in which nothing differs asks three questions and changes nothing.
 *
 * Order within a round: key and peers before address and routes, so that no packet is sent to a device that does not know
 * whom to send it to.
 */

import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log } from '../base/world.ts'
import { diff, isEmpty, type WantedDevice } from './core/diff.ts'
import type { Device } from './core/dump.ts'
import type { Route } from './core/routes.ts'
import type { Backend, InterfaceSettings, WireGuard } from './wireguard.ts'

export interface TunnelWish {
  readonly device: WantedDevice
  readonly settings: InterfaceSettings
  readonly routes: readonly Route[]
  /** When to look again: sooner than usual while a bare peer or a new key is to prove itself. */
  readonly restMs?: number
}

/** What a round found and did. */
export interface TunnelRound {
  readonly backend: Backend
  /** The interface was not there and was made. */
  readonly made: boolean
  /** As it was found, before the changes. */
  readonly device: Device
  readonly changedPeers: number
  /** What this kernel lacks: congestion controls by name, `ip rule` (then an echo's size proves nothing). */
  readonly lacking: readonly string[]
}

const ROUND_MS = 5_000
/** While something is to be proved: packets for a key that was changed wait no longer than that. */
export const QUICK_ROUND_MS = 250

export class Tunnel implements Work {
  readonly #wireguard: WireGuard
  readonly #clock: Clock
  readonly #log: Log
  readonly #wish: (device: Device, nowS: number) => TunnelWish | undefined
  readonly #told: (round: TunnelRound) => void
  #last = 'not begun'

  /** `wish` answers undefined while nothing is wanted yet: then the interface is made and left alone. */
  constructor(
    wireguard: WireGuard,
    clock: Clock,
    log: Log,
    wish: (device: Device, nowS: number) => TunnelWish | undefined,
    told: (round: TunnelRound) => void,
  ) {
    this.#wireguard = wireguard
    this.#clock = clock
    this.#log = log
    this.#wish = wish
    this.#told = told
  }

  async step(): Promise<WorkStep> {
    const { backend, made } = await this.#wireguard.ensure()
    const device = await this.#wireguard.dump()
    // It went away between the two questions: the next round makes it.
    if (device === undefined) return { restMs: 0, resting: 'idle' }
    const nowS = this.#clock.now().sec
    const wish = this.#wish(device, nowS)
    let changedPeers = 0
    let lacking: string[] = []
    if (wish !== undefined) {
      const change = diff(wish.device, device, nowS)
      if (!isEmpty(change)) await this.#wireguard.apply(change)
      changedPeers = change.peers.length
      const without = await this.#wireguard.configure(wish.settings)
      lacking = [...without, ...(await this.#wireguard.setRoutes(wish.routes))]
    }
    if (made)
      this.#log.info(
        { interface: this.#wireguard.name, backend, peers: changedPeers },
        'the WireGuard interface was made',
      )
    this.#last = `${device.peers.length} peers, ${changedPeers} changed`
    this.#told({ backend, made, device, changedPeers, lacking })
    return { restMs: wish?.restMs ?? ROUND_MS, resting: 'idle' }
  }

  progress(): string {
    return this.#last
  }

  queued(): number {
    return 0
  }
}
