/*
 * What a blind relay lets through. A relay copies datagrams between two nodes that cannot reach each other; they stay encrypted
 * from end to end, it has no key and can read nothing. Anybody may send to its ports, so it goes by four rules:
 *
 *   - a packet has the form of a WireGuard message;
 *   - it comes from an address at which the hub sees that node (any port: a NAT shows every stranger another one);
 *   - it comes from the port at which the hub sees the node, or from one that has shaken hands here; a handshake from another port
 *     is taken only when the one known so far is silent: it takes a neighbour behind the same address more than one forged
 *     packet to draw somebody's traffic to himself;
 *   - no more than so many bytes a second pass for one pair: a machine at home must not use up a rented one's traffic.
 *
 * Most NATs show one port to everybody, so where the hub sees a node the relay finds it too: two nodes whose direct way breaks
 * go over to the relay in the midst of their session.
 *
 * Each pair has two ports, one for each of its nodes: two nodes behind one address are told apart by the port they send to.
 * Pure: `admit` says what becomes of a packet and what the slot has learned, sockets and clock are the caller's.
 */

import { RELAY_SLOTS } from './peer-map.ts'

export const RELAY_PORT_FIRST = 40_000
export type Side = 'a' | 'b'
export const otherSide = (side: Side): Side => (side === 'a' ? 'b' : 'a')

/** The port to which that node of the pair sends. */
export const relayPort = (slot: number, side: Side): number => RELAY_PORT_FIRST + 2 * slot + (side === 'a' ? 0 : 1)

/** Nobody spoke for as long as a session lives: what was learned is forgotten. */
export const FORGET_MS = 180_000
/** A handshake that is not answered is repeated after 5 s and a bit: the next one from the new port is taken. */
const QUIET_MS = 5_000
/** 100 Mbit/s for each pair and direction, unless the relay's operator says otherwise. */
export const PAIR_BYTES_PER_SECOND = 12_500_000
/** What may come at once: 50 ms of the rate, as a router's queue. */
const BURST_S = 0.05
/** The largest UDP datagram. One of the size below always passes an idle slot. */
const BURST_BYTES_MIN = 128 * 1024

export interface Place {
  readonly address: string
  readonly port: number
}
/** What the hub knows of an end. */
export interface RelayedEnd {
  /** From which it may send. */
  readonly addresses: readonly string[]
  /** Where the hub sees it, port included. */
  readonly seen?: Place
}
interface SideState {
  readonly addresses: ReadonlySet<string>
  readonly seen?: Place
  /** Heard here. */
  readonly place?: Place
  readonly heardMs: number
}
export interface SlotState {
  readonly a: SideState
  readonly b: SideState
  /** Bytes that may pass, by the side they come from. */
  readonly room: { readonly a: number; readonly b: number }
  readonly roomAtMs: number
}

export interface Packet {
  readonly from: Place
  readonly length: number
  /** Its first four bytes. */
  readonly head: readonly [number, number, number, number]
}

export const drops = ['form', 'stranger', 'no handshake', 'port in use', 'nobody there', 'rate'] as const
export type Drop = (typeof drops)[number]
export interface Admission {
  readonly slot: SlotState
  readonly to?: Place
  readonly dropped?: Drop
}

const burstOf = (bytesPerSecond: number): number => Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_S)

const sideOf = ({ addresses, seen }: RelayedEnd, heardMs: number): SideState => ({
  addresses: new Set(addresses),
  ...(seen === undefined ? {} : { seen }),
  heardMs,
})

export function newSlot(
  a: RelayedEnd,
  b: RelayedEnd,
  nowMs: number,
  bytesPerSecond: number = PAIR_BYTES_PER_SECOND,
): SlotState {
  const burst = burstOf(bytesPerSecond)
  return {
    a: sideOf(a, nowMs),
    b: sideOf(b, nowMs),
    room: { a: burst, b: burst },
    roomAtMs: nowMs,
  }
}

/** The slot with what the hub knows now. A place that was heard at an address which is no longer the node's is forgotten. */
export function withEnds(slot: SlotState, a: RelayedEnd, b: RelayedEnd): SlotState {
  const side = ({ place, heardMs }: SideState, end: RelayedEnd): SideState => ({
    ...sideOf(end, heardMs),
    ...(place === undefined || !end.addresses.includes(place.address) ? {} : { place }),
  })
  return { ...slot, a: side(slot.a, a), b: side(slot.b, b) }
}

/** Where a node is: where it was heard lately, else where the hub sees it. */
const placeOf = ({ place, seen, heardMs }: SideState, nowMs: number): Place | undefined =>
  place !== undefined && nowMs - heardMs < FORGET_MS ? place : seen
const isAt = (place: Place | undefined, from: Place): boolean =>
  place !== undefined && place.address === from.address && place.port === from.port

const HANDSHAKE_INIT = 1
const HANDSHAKE_RESPONSE = 2
/** Lengths of WireGuard's messages: initiation 148, response 92, cookie 64, data at least 32 in steps of 16. */
function isMessage({ head, length }: Packet): boolean {
  const [type, ...reserved] = head
  if (reserved.some((byte) => byte !== 0)) return false
  if (type === HANDSHAKE_INIT) return length === 148
  if (type === HANDSHAKE_RESPONSE) return length === 92
  if (type === 3) return length === 64
  return type === 4 && length >= 32 && length % 16 === 0
}

export function admit(
  slot: SlotState,
  side: Side,
  packet: Packet,
  nowMs: number,
  bytesPerSecond: number = PAIR_BYTES_PER_SECOND,
): Admission {
  if (!isMessage(packet)) return { slot, dropped: 'form' }
  const from = slot[side]
  if (!from.addresses.has(packet.from.address)) return { slot, dropped: 'stranger' }
  if (!isAt(placeOf(from, nowMs), packet.from) && !isAt(from.seen, packet.from)) {
    if (packet.head[0] !== HANDSHAKE_INIT && packet.head[0] !== HANDSHAKE_RESPONSE)
      return { slot, dropped: 'no handshake' }
    if (from.place !== undefined && nowMs - from.heardMs < QUIET_MS) return { slot, dropped: 'port in use' }
  }
  const heard: SlotState = { ...slot, [side]: { ...from, place: packet.from, heardMs: nowMs } }
  const to = placeOf(heard[otherSide(side)], nowMs)
  if (to === undefined) return { slot: heard, dropped: 'nobody there' }
  const burst = burstOf(bytesPerSecond)
  const grown = (Math.max(0, nowMs - heard.roomAtMs) / 1000) * bytesPerSecond
  const room = { a: Math.min(burst, heard.room.a + grown), b: Math.min(burst, heard.room.b + grown) }
  const filled: SlotState = { ...heard, room, roomAtMs: nowMs }
  if (room[side] < packet.length) return { slot: filled, dropped: 'rate' }
  return { slot: { ...filled, room: { ...room, [side]: room[side] - packet.length } }, to }
}

/** Round-trip times of a pair to one node that relays; undefined: not measured. */
export interface RelayChoice {
  readonly node: string
  readonly toA: number | undefined
  readonly toB: number | undefined
}

/** A change of the relay makes every packet take another way: worth it only for a third and this much. */
const BETTER_SHARE = 2 / 3
const BETTER_MS = 10

/** The relay with the shortest way; the present one stays unless another is better by a third and 10 ms. Ties by id. */
export function chooseRelay(present: string | undefined, choices: readonly RelayChoice[]): string | undefined {
  const cost = ({ toA, toB }: RelayChoice): number =>
    toA === undefined || toB === undefined ? Number.POSITIVE_INFINITY : toA + toB
  const best = choices.toSorted((x, y) => cost(x) - cost(y) || (x.node < y.node ? -1 : 1))[0]
  const held = choices.find((choice) => choice.node === present)
  if (best === undefined || held === undefined) return best?.node
  const [now, then] = [cost(held), cost(best)]
  // A way that nobody measured yet is not left for one that nobody measured either.
  if (now === then) return held.node
  return then <= now * BETTER_SHARE && now - then >= BETTER_MS ? best.node : held.node
}

/** The lowest slot of a relay that no pair has. */
export function freeSlot(used: ReadonlySet<number>): number | undefined {
  for (let slot = 0; slot < RELAY_SLOTS; slot++) if (!used.has(slot)) return slot
  return undefined
}
