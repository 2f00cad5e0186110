/*
 * A WireGuard interface without a machine: what wg(8) and ip(8) do to a device, by the words of their commands, and
 * nothing of the protocol. A test that needs handshakes says that they happened (`shake`). Judged by the same suite as the real one.
 */

import { FsError } from '../../src/base/fault.ts'
import { commandsOf, type DeviceChange } from '../../src/mesh/core/diff.ts'
import type { Device, DevicePeer } from '../../src/mesh/core/dump.ts'
import { isLiteral } from '../../src/mesh/core/endpoint.ts'
import type { Route } from '../../src/mesh/core/routes.ts'
import { readKeys } from '../../src/mesh/keys.ts'
import type { Backend, InterfaceSettings, WireGuard } from '../../src/mesh/wireguard.ts'
import { isKey32 } from '../../src/wire/mesh-shapes.ts'

/** What `wg set IF WORDS` makes of a device. `publicKey`: of the key file, where the words name one. */
export function wgSet(device: Device, words: readonly string[], publicKey?: string): Device {
  const queue = [...words]
  const peers = new Map(device.peers.map((peer) => [peer.publicKey, peer]))
  let { listenPort, publicKey: own } = device
  let current: string | undefined
  const change = (part: Partial<DevicePeer>): void => {
    peers.set(current!, { ...peers.get(current!)!, ...part })
  }
  const next = (): string => {
    const word = queue.shift()
    if (word === undefined) throw new Error(`the words end too early: ${words.join(' ')}`)
    return word
  }
  for (let word = queue.shift(); word !== undefined; word = queue.shift())
    switch (word) {
      case 'listen-port':
        listenPort = Number(next())
        break
      case 'private-key':
        next()
        own = publicKey!
        break
      case 'peer':
        current = next()
        if (!isKey32(current)) throw new FsError('EIO', 'Key is not the correct length or format')
        if (!peers.has(current))
          peers.set(current, {
            publicKey: current,
            hasPresharedKey: false,
            allowedIps: [],
            latestHandshakeS: 0,
            rxBytes: 0,
            txBytes: 0,
            keepaliveS: 0,
          })
        break
      case 'remove':
        peers.delete(current!)
        break
      case 'preshared-key':
        change({ hasPresharedKey: next() !== '/dev/null' })
        break
      case 'endpoint':
        change({ endpoint: next() })
        if (!isLiteral(peers.get(current!)!.endpoint!))
          throw new FsError('EIO', 'a name would be looked up for a minute')
        break
      case 'persistent-keepalive':
        change({ keepaliveS: Number(next()) })
        break
      case 'allowed-ips': {
        const ips = next()
          .split(',')
          .filter((ip) => ip !== '')
        for (const [key, peer] of peers)
          peers.set(key, { ...peer, allowedIps: peer.allowedIps.filter((ip) => !ips.includes(ip)) })
        change({ allowedIps: ips })
        break
      }
      default:
        throw new Error(`wg set does not know ${word}: ${words.join(' ')}`)
    }
  return { ...device, listenPort, ...(own === undefined ? {} : { publicKey: own }), peers: [...peers.values()] }
}

export class FakeWireGuard implements WireGuard {
  readonly name: string
  readonly backend: Backend = 'userspace'
  device: Device | undefined
  settings: InterfaceSettings | undefined
  /** Commands that changed something, for tests that count. */
  commands: string[][] = []
  readonly #keyFile: string
  readonly #controls: ReadonlySet<string>
  #routes: Route[] = []
  #gone: () => void = () => {}

  constructor(name: string, keyFile: string, controls: readonly string[] = ['cubic', 'reno', 'bbr']) {
    this.name = name
    this.#keyFile = keyFile
    this.#controls = new Set(controls)
  }

  async ensure() {
    const made = this.device === undefined
    this.device ??= { listenPort: 40_001, fwmark: 0, peers: [] }
    return { backend: this.backend, made }
  }

  async destroy(): Promise<void> {
    this.device = undefined
    this.settings = undefined
    this.#routes = []
  }

  async dump(): Promise<Device | undefined> {
    return this.device
  }

  async apply(change: DeviceChange): Promise<void> {
    const publicKey = change.privateKey ? (await readKeys(this.#keyFile)).publicKey : undefined
    for (const words of commandsOf(change, this.#keyFile)) {
      this.device = wgSet(this.#there(), words, publicKey)
      this.commands.push(words)
    }
  }

  async configure(settings: InterfaceSettings): Promise<string[]> {
    this.#there()
    this.settings = settings
    return []
  }

  async routes(): Promise<Route[]> {
    return this.#routes
  }

  async setRoutes(routes: readonly Route[]): Promise<string[]> {
    this.#there()
    const lacking = new Set<string>()
    this.#routes = routes.map(({ congestion, ...rest }) => {
      if (congestion === undefined || this.#controls.has(congestion))
        return { ...rest, ...(congestion === undefined ? {} : { congestion }) }
      lacking.add(congestion)
      return rest
    })
    return [...lacking]
  }

  onGone(callback: () => void): void {
    this.#gone = callback
  }

  /** As if the process behind it had been killed. */
  async die(): Promise<void> {
    await this.destroy()
    this.#gone()
  }

  /** As if the peer had shaken hands from there. */
  shake(publicKey: string, endpoint: string, atS: number): void {
    const device = this.#there()
    this.device = {
      ...device,
      peers: device.peers.map((peer) =>
        peer.publicKey === publicKey
          ? { ...peer, endpoint, latestHandshakeS: atS, rxBytes: peer.rxBytes + 92, txBytes: peer.txBytes + 148 }
          : peer,
      ),
    }
  }

  #there(): Device {
    if (this.device === undefined) throw new FsError('ENODEV', `${this.name} is not there`)
    return this.device
  }
}
