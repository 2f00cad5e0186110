/*
 * The peer map: everything that every node of a mesh has to know of every other. A hub makes it and signs it; nodes fetch it
 * from hubs or from each other, keep the newest on disk and start from that, so the mesh works with every hub gone.
 *
 * A version is one more than the last at any change. What is signed is the text of a map, byte for byte as the hub made it:
 * who reads it checks the signature over the text it got, keeps and passes on that text, and may be older than the map's
 * newest fields. The text is JSON of the schema's tuples with entries in order of their ids: one map, one text.
 *
 * A hub derives what a node can reach from its own registry: nothing in an entry but candidates comes from the node itself.
 */

import { FsError, type Result, refuse } from '../../base/fault.ts'
import { type Role, roleBits, bitsOf as roleBitsOf, rolesOf } from '../../base/mesh-roles.ts'
import {
  type Infer,
  list,
  matching,
  oneOf,
  optional,
  type Schema,
  type Struct,
  struct,
  text,
  uint,
} from '../../base/schema.ts'
import { numberOf } from '../../topology/address-map.ts'
import { belongsTo } from '../../topology/mesh-addresses.ts'
import {
  CANDIDATES_MAX,
  DENIED_MAX,
  key32,
  MAP_CHARS_MAX,
  MEMBERS_MAX,
  memberId,
  meshId,
  relaying,
  STATICS_MAX,
  serial,
} from '../../wire/mesh-shapes.ts'
import { isLiteral } from './endpoint.ts'

/** Pairs that are neither direct nor unknown; among 300 nodes behind NATs there are 44 850. */
const PAIRS_MAX = 50_000
const NAME_CHARS_MAX = 64

export const endpointText: Schema<string> = matching(isLiteral, 64, 'an ADDRESS:PORT', '192.0.2.1:51820')
const ipv4: Schema<string> = matching((value) => numberOf(value)?.family === 4, 15, 'an IPv4 address', '10.77.0.1')
const name = text(NAME_CHARS_MAX)

export const roleList: Schema<Role[]> = {
  encode: roleBitsOf,
  // A role of the future is left out: an older node has nothing to do with it.
  decode: (raw, path) => rolesOf(uint(255).decode(raw, path) & roleBitsOf(Object.keys(roleBits) as Role[]))!,
  describe: `bits: ${Object.entries(roleBits)
    .map(([role, bit]) => `${role} ${bit}`)
    .join(', ')}`,
  sample: (below) => rolesOf(below(16))!,
}

/** What is known of a node's way to the internet. */
export const nats = ['unknown', 'public', 'cone', 'symmetric'] as const
export type Nat = (typeof nats)[number]

export const peerEntry = struct({
  id: memberId,
  name,
  /** The key that traffic uses, and while it is being changed the one that comes next. */
  keys: list(key32, 2),
  ip: ipv4,
  /** Where the hub last had an authenticated packet from, and when (unix seconds). */
  hubSeen: optional(endpointText),
  hubSeenAt: uint(),
  /** The node's own addresses as it reported them. */
  candidates: list(endpointText, CANDIDATES_MAX),
  /** What its operator advertises, most wanted first. */
  statics: list(endpointText, STATICS_MAX),
  nat: oneOf(...nats),
  roles: roleList,
  site: optional(name),
  rack: optional(name),
  relays: relaying,
  mtuHint: uint(65_535),
  bootId: uint(0xffff_ffff),
})
export type PeerEntry = Infer<typeof peerEntry>

/**
 * How two nodes that cannot simply talk do. `relay`: over `via`, blindly by ports of `slot`, or where no slot is given through
 * its tunnel. `punch`: through the tunnel of `via`, if there is one, while both try to reach each other directly. `direct`:
 * proved by a handshake, with the slot kept in reserve. `settle`: still through the tunnel, while both shake hands by the
 * ports of the slot.
 */
export const pairPaths = ['relay', 'punch', 'direct', 'settle'] as const
export interface Pair {
  /** Of two ids the smaller one is `a`. */
  readonly a: string
  readonly b: string
  readonly path: (typeof pairPaths)[number]
  readonly via?: string | undefined
  readonly slot?: number | undefined
}

export interface PeerMap {
  readonly meshId: string
  readonly version: number
  /** Unix seconds. */
  readonly issuedAt: number
  readonly validUntil: number
  /** `10.77.0.0/16`. */
  readonly prefix: string
  /** In order of their ids. */
  readonly peers: readonly PeerEntry[]
  /** In order of their ids. */
  readonly pairs: readonly Pair[]
  /** Serial numbers of certificates that count no longer, as hex. */
  readonly denied: readonly string[]
}

/** How long a node that hears from nobody trusts what it knew: a removed node is gone from the last of them by then. */
export const VALID_S: number = 7 * 24 * 3600
/** Relay ports 40000 to 40999, two for each pair. */
export const RELAY_SLOTS = 500

/** Pairs name peers by their place in the list: a pair costs some ten bytes instead of eighty. */
const wirePair = struct({
  a: uint(MEMBERS_MAX - 1),
  b: uint(MEMBERS_MAX - 1),
  path: oneOf(...pairPaths),
  via: optional(uint(MEMBERS_MAX - 1)),
  slot: optional(uint(RELAY_SLOTS - 1)),
})
const fields = {
  form: uint(255),
  meshId,
  version: uint(),
  issuedAt: uint(),
  validUntil: uint(),
  prefix: text(18),
  peers: list(peerEntry, MEMBERS_MAX),
  pairs: list(wirePair, PAIRS_MAX),
  denied: list(serial, DENIED_MAX),
}
const wireMap: Schema<Struct<typeof fields>> = struct(fields)
const FORM = 1
/** Stands before the text when it is signed, so that the signature can be taken for nothing else. */
const SIGNED_AS = 'holdfast peer map 1\n'
export const bytesToSign = (mapText: string): Buffer => Buffer.from(SIGNED_AS + mapText, 'utf8')

const byId = <T extends { readonly id: string }>(x: T, y: T): number => (x.id < y.id ? -1 : x.id > y.id ? 1 : 0)
const pairKey = (pair: Pair): string => pair.a + pair.b

/** The one text of a map, whatever the order of its lists. */
export function textOf(map: PeerMap): string {
  const peers = [...map.peers].sort(byId)
  const at = new Map(peers.map((peer, i) => [peer.id, i]))
  const place = (id: string): number => {
    const i = at.get(id)
    if (i === undefined) throw new FsError('EINVAL', `peer map: a pair names ${id}, which is not in the map`)
    return i
  }
  const pairs = [...map.pairs]
    .sort((x, y) => (pairKey(x) < pairKey(y) ? -1 : 1))
    .map(({ a, b, path, via, slot }) => ({
      a: place(a),
      b: place(b),
      path,
      via: via === undefined ? undefined : place(via),
      slot,
    }))
  return JSON.stringify(wireMap.encode({ ...map, form: FORM, peers, pairs, denied: [...map.denied].sort() }))
}

/** Refuses with EPROTO, naming what is wrong where. The signature is to be checked before. */
export function parseMap(mapText: string): Result<PeerMap> {
  if (mapText.length > MAP_CHARS_MAX) return refuse('EPROTO', `peer map: more than ${MAP_CHARS_MAX} characters`)
  let raw: unknown
  try {
    raw = JSON.parse(mapText)
  } catch {
    return refuse('EPROTO', 'peer map: not JSON')
  }
  if (Array.isArray(raw) && typeof raw[0] === 'number' && raw[0] > FORM)
    return refuse('EPROTO', `peer map: its form is ${raw[0]}, this program knows ${FORM}: update it`)
  try {
    return { ok: fromWire(wireMap.decode(raw, 'peer map')) }
  } catch (error) {
    if (error instanceof FsError) return refuse(error.code, error.message.replace(/^[^:]*: /, ''))
    throw error
  }
}

function fromWire(wire: Struct<typeof fields>): PeerMap {
  const { form: _, peers, pairs, ...rest } = wire
  const fail = (what: string): never => {
    throw new FsError('EPROTO', `peer map: ${what}`)
  }
  const seen = new Map<string, string>()
  for (const [i, peer] of peers.entries()) {
    if (i > 0 && peers[i - 1]!.id >= peer.id) fail(`entry ${i} is not in order of ids`)
    if (peer.keys.length === 0) fail(`node ${peer.id} has no key`)
    if (!belongsTo(rest.prefix, peer.ip)) fail(`node ${peer.id} has ${peer.ip}, which is not of ${rest.prefix}`)
    for (const own of [peer.ip, ...peer.keys]) {
      const other = seen.get(own)
      // Two nodes with one key or address take each other's packets.
      if (other !== undefined) fail(`nodes ${other} and ${peer.id} have one address or key`)
      seen.set(own, peer.id)
    }
  }
  const id = (i: number): string => peers[i]?.id ?? fail(`a pair names entry ${i}, there are ${peers.length}`)
  let last = -1
  const named = pairs.map(({ a, b, path, via, slot }): Pair => {
    if (a >= b || a * MEMBERS_MAX + b <= last) fail(`the pair of entries ${a} and ${b} is not in order`)
    last = a * MEMBERS_MAX + b
    if (slot !== undefined && via === undefined) fail(`the pair of entries ${a} and ${b} has a slot and no relay`)
    if (via === a || via === b) fail(`the pair of entries ${a} and ${b} is relayed by one of the two`)
    return {
      a: id(a),
      b: id(b),
      path,
      ...(via === undefined ? {} : { via: id(via) }),
      ...(slot === undefined ? {} : { slot }),
    }
  })
  return { ...rest, peers, pairs: named }
}

/** Whether `fetched` takes the place of `held`. Another mesh's map never does; an equal version brings nothing. */
export const isNewer = (fetched: PeerMap, held: PeerMap | undefined): boolean =>
  held === undefined || (fetched.meshId === held.meshId && fetched.version > held.version)

export const isHub = (peer: PeerEntry): boolean => peer.roles.includes('master')

/**
 * Whom a node keeps as a peer. A map that nobody has renewed for its time may name nodes that were removed long ago: of it
 * only hubs are kept, which is enough to ask for a new one.
 */
export function trusted(map: PeerMap, nowS: number): readonly PeerEntry[] {
  return nowS <= map.validUntil ? map.peers : map.peers.filter(isHub)
}

/** The map without a node: its entry and pairs go, what was relayed by it is left without a relay, its certificates count no longer. */
export function without(map: PeerMap, node: string, serials: readonly string[]): PeerMap {
  const pairs = map.pairs
    .filter((pair) => pair.a !== node && pair.b !== node)
    .map(({ via, slot, ...rest }) =>
      via === node || via === undefined ? rest : { ...rest, via, ...(slot === undefined ? {} : { slot }) },
    )
  return {
    ...map,
    version: map.version + 1,
    peers: map.peers.filter((peer) => peer.id !== node),
    pairs,
    denied: [...new Set([...map.denied, ...serials])],
  }
}

export const pairOf = (x: string, y: string): { readonly a: string; readonly b: string } =>
  x < y ? { a: x, b: y } : { a: y, b: x }
