/*
 * From what a WireGuard device has to what it shall have, by the fewest changes. Never by replacing the configuration: that
 * ends every session. One `wg set` with only what differs disturbs no peer that is not in it.
 *
 * An allowed ip belongs to one peer of a device: giving it to one takes it from the other, in that moment and without a
 * packet lost. So who gains comes first, and who only loses to a gainer is not touched at all.
 *
 * THE ENDPOINT RULE: a peer that shook hands within 180 s (after which WireGuard itself gives a session up) is where the
 * device found it, and knows better than any map. Its endpoint is set only when it is new or silent, or when the plan insists
 * because it moves the peer to another path on purpose.
 */

import { assert } from '../../base/fault.ts'
import type { Device, DevicePeer } from './dump.ts'
import { sameEndpoint } from './endpoint.ts'

export interface WantedPeer {
  readonly publicKey: string
  /** Empty: a bare peer, which shakes hands and carries nothing. */
  readonly allowedIps: readonly string[]
  readonly endpoint?: { readonly at: string; readonly insist: boolean }
  /** 0: off. */
  readonly keepaliveS: number
  /** A bare peer whose next handshake shall prove a path: a session it has from before is given up. */
  readonly afresh?: boolean
}

export interface WantedDevice {
  /** The public half of the key that the key file holds. */
  readonly publicKey: string
  /** Left out: any will do, and the one it has stays. */
  readonly listenPort?: number
  readonly peers: readonly WantedPeer[]
}

export interface PeerChange {
  readonly publicKey: string
  /** `renew`: removed and added again in one step. */
  readonly kind: 'set' | 'renew' | 'remove'
  readonly endpoint?: string
  readonly allowedIps?: readonly string[]
  readonly keepaliveS?: number
  readonly clearPresharedKey?: boolean
}

export interface DeviceChange {
  /** The device has another private key than the key file. */
  readonly privateKey: boolean
  readonly listenPort?: number
  /** In the order in which they are to be made. */
  readonly peers: readonly PeerChange[]
}

/** REJECT_AFTER_TIME of the protocol: after that no packet of the session is taken. */
export const SESSION_S = 180
/** A peer takes some 120 bytes of arguments; a hundred are far from any limit and one turn of the device's lock. */
export const PEERS_PER_COMMAND = 100

/** Whether the device's own knowledge of where the peer is holds. A handshake in the future is a clock that was set back. */
export const isSettled = (peer: DevicePeer, nowS: number): boolean =>
  peer.latestHandshakeS > 0 && nowS - peer.latestHandshakeS < SESSION_S && peer.latestHandshakeS <= nowS + 1

/** The endpoint rule, in one place: where to point a peer, undefined to let it be. */
export function endpointToSet(wanted: WantedPeer, actual: DevicePeer | undefined, nowS: number): string | undefined {
  if (wanted.endpoint === undefined) return undefined
  const { at, insist } = wanted.endpoint
  if (actual === undefined) return at
  if (actual.endpoint !== undefined && sameEndpoint(actual.endpoint, at)) return undefined
  return insist || !isSettled(actual, nowS) || actual.endpoint === undefined ? at : undefined
}

export function diff(wanted: WantedDevice, actual: Device, nowS: number): DeviceChange {
  const has = new Map(actual.peers.map((peer) => [peer.publicKey, peer]))
  const wants = new Map(wanted.peers.map((peer) => [peer.publicKey, peer]))
  assert(wants.size === wanted.peers.length, 'a plan names every peer once')
  const taker = new Map<string, string>()
  for (const peer of wanted.peers)
    for (const ip of peer.allowedIps) {
      assert(!taker.has(ip), 'an allowed ip is wanted for one peer')
      taker.set(ip, peer.publicKey)
    }
  const gains = (peer: WantedPeer): boolean => {
    const own = has.get(peer.publicKey)?.allowedIps ?? []
    return peer.allowedIps.some((ip) => !own.includes(ip))
  }
  const gainers = new Set(wanted.peers.filter(gains).map((peer) => peer.publicKey))
  /** Whether the peer keeps an ip that it shall not have even when all gainers have taken theirs. */
  const keepsTooMuch = (peer: WantedPeer, own: DevicePeer): boolean =>
    own.allowedIps.some((ip) => !peer.allowedIps.includes(ip) && !gainers.has(taker.get(ip) ?? ''))

  const first: PeerChange[] = []
  const then: PeerChange[] = []
  for (const peer of wanted.peers) {
    const own = has.get(peer.publicKey)
    const renew = own !== undefined && peer.afresh === true && own.allowedIps.length > 0
    const before = renew ? undefined : own
    const endpoint = endpointToSet(peer, before, nowS)
    const ips = before === undefined || gainers.has(peer.publicKey) || keepsTooMuch(peer, before)
    const keepalive = (before?.keepaliveS ?? 0) !== peer.keepaliveS
    const preshared = before?.hasPresharedKey === true
    if (before !== undefined && endpoint === undefined && !ips && !keepalive && !preshared) continue
    const change: PeerChange = {
      publicKey: peer.publicKey,
      kind: renew ? 'renew' : 'set',
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(ips && (before !== undefined || peer.allowedIps.length > 0) ? { allowedIps: peer.allowedIps } : {}),
      ...(keepalive ? { keepaliveS: peer.keepaliveS } : {}),
      ...(preshared ? { clearPresharedKey: true } : {}),
    }
    if (gainers.has(peer.publicKey)) first.push(change)
    else then.push(change)
  }
  const removed = actual.peers
    .filter((peer) => !wants.has(peer.publicKey))
    .map((peer): PeerChange => ({ publicKey: peer.publicKey, kind: 'remove' }))
  return {
    privateKey: actual.publicKey !== wanted.publicKey,
    ...(wanted.listenPort === undefined || wanted.listenPort === actual.listenPort
      ? {}
      : { listenPort: wanted.listenPort }),
    peers: [...first, ...then, ...removed],
  }
}

export const isEmpty = (change: DeviceChange): boolean =>
  !change.privateKey && change.listenPort === undefined && change.peers.length === 0

/** What comes behind `wg set IF`, one list for each command. Keys are named by the file that holds them. */
export function commandsOf(change: DeviceChange, keyFile: string): string[][] {
  const device = [
    // Never without need: inside a container whose interface was made outside, the kernel refuses both.
    ...(change.listenPort === undefined ? [] : ['listen-port', String(change.listenPort)]),
    ...(change.privateKey ? ['private-key', keyFile] : []),
  ]
  const commands: string[][] = []
  for (let i = 0; i < change.peers.length; i += PEERS_PER_COMMAND)
    commands.push(change.peers.slice(i, i + PEERS_PER_COMMAND).flatMap(wordsOf))
  if (device.length > 0) commands[0] = [...device, ...(commands[0] ?? [])]
  return commands
}

function wordsOf(change: PeerChange): string[] {
  const peer = ['peer', change.publicKey]
  if (change.kind === 'remove') return [...peer, 'remove']
  return [
    ...(change.kind === 'renew' ? [...peer, 'remove'] : []),
    ...peer,
    // An empty file is "no key".
    ...(change.clearPresharedKey === true ? ['preshared-key', '/dev/null'] : []),
    ...(change.endpoint === undefined ? [] : ['endpoint', change.endpoint]),
    ...(change.keepaliveS === undefined ? [] : ['persistent-keepalive', String(change.keepaliveS)]),
    ...(change.allowedIps === undefined ? [] : ['allowed-ips', change.allowedIps.join(',')]),
  ]
}
