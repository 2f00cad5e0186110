/*
 * The shapes that the calls of the mesh, and its commands in the changelog, are made of; how many of each there may be; and by
 * which words the refusals of a join are told apart. Ids and keys are text in one form each, so equal text is equal.
 */

import type { Errno } from '../base/errno.ts'
import { type Role, roleBits, rolesOf } from '../base/mesh-roles.ts'
import {
  bool,
  bytes,
  type Infer,
  list,
  matching,
  oneOf,
  optional,
  type Schema,
  struct,
  text,
  uint,
  wrong,
} from '../base/schema.ts'

/** The full matrix of probes is kept up to 300 nodes; twice that leaves room for what has just been removed and added. */
export const MEMBERS_MAX = 600
/** Tokens live for a week at most: that is one every ten minutes. */
export const TOKENS_MAX = 1_024
/** Removed nodes whose addresses rest for a day; joins wait when there are more, so that a removal never has to. */
export const BURIED_MAX = 2_048
/** Every certificate that may have to be denied has its place from the beginning; each of 600 nodes has some. */
export const DENIED_MAX = 10_000
/** Of one node and not expired: it renews every 60 days what lives 90, so a ninth is a loop, and the oldest counts no more. */
export const CERTIFICATES_MAX = 8
/** Where places are measured: 300 × 299 probes in ten seconds, some 15 ms of grouping a minute. Beyond it nodes would spend themselves. */
export const MEASURED_MAX = 300
/** More than any machine needs; each costs whoever tries it five seconds. */
export const CANDIDATES_MAX = 10
export const STATICS_MAX = 4
export const HUBS_MAX = 4
/** What a token may live: whoever sets up a fleet does it within a week. */
export const TOKEN_LIVES_SEC: number = 7 * 24 * 3600
/** A hub asks again; whoever has gone away without a word is forgotten by then. */
export const REGISTRY_WAIT_MS_MAX = 60_000

export const meshId: Schema<string> = matching(/^[0-9a-f]{16}$/, 16, 'a mesh id of 16 hex digits', '0'.repeat(16))
export const tokenId: Schema<string> = matching(/^[0-9a-f]{16}$/, 16, 'a token id of 16 hex digits', '0'.repeat(16))
export const memberId: Schema<string> = matching(/^[0-9a-f]{32}$/, 32, 'a node id of 32 hex digits', '0'.repeat(32))
/** 32 bytes in base64; the last of 43 characters carries four bits only. */
const KEY32 = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/
/** WireGuard's, and others as long. */
export const key32: Schema<string> = matching(KEY32, 44, 'a key of 32 bytes in base64', `${'A'.repeat(43)}=`)
export const hash32: Schema<string> = matching(/^[0-9a-f]{64}$/, 64, '32 bytes in hex', '0'.repeat(64))
export const serial: Schema<string> = matching(/^[0-9a-f]{1,40}$/, 40, 'a serial number in hex', '01')
export const isKey32 = (value: string): boolean => KEY32.test(value)
/** Whether the address is one is looked at by whoever takes it in. */
export const endpoint: Schema<string> = matching(
  /^(?:[0-9.]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$/,
  64,
  'an ADDRESS:PORT',
  '192.0.2.1:51820',
)
/** What a machine or a place is called; a word for people as well. */
export const meshName: Schema<string> = matching(
  /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})$/,
  63,
  'a name of at most 63 letters, digits, ".", "_" and "-"',
  'node',
)
/** One line without what a terminal would take for an order. */
export const meshWord: Schema<string> = matching(
  /^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,64}$/,
  64,
  'a word of at most 64 characters that can be printed',
  'home',
)

const ALL_ROLES = Object.values(roleBits).reduce((sum, bit) => sum | bit, 0)
export const nodeRoles: Schema<Role[]> = {
  encode: (list) => list.reduce((sum, role) => sum | roleBits[role], 0),
  decode: (raw, path) => {
    const found = rolesOf(uint(255).decode(raw, path))
    return found === undefined || found.length === 0 ? wrong(path, 'roles of a node', raw) : found
  },
  describe: `bits: ${Object.entries(roleBits)
    .map(([role, bit]) => `${role} ${bit}`)
    .join(', ')}`,
  sample: (below) => rolesOf(1 + below(ALL_ROLES))!,
}

const exactly32 = bytes(32)
export const bytes32: Schema<Buffer> = {
  encode: (value) => value,
  decode: (raw, path) => {
    const value = exactly32.decode(raw, path)
    return value.length === 32 ? value : wrong(path, '32 bytes', raw)
  },
  describe: '32 bytes',
  sample: (below) => Buffer.from(Array.from({ length: 32 }, () => below(256))),
}

/** Passes packets of others on: blindly between its relay ports, and for the network of the mesh. */
export const relaying = oneOf('no', 'blind', 'blind-and-forward')

// ---- what the mesh is, who is in it

export const founding = struct({
  id: meshId,
  /** A.B.0.0/16 */
  prefix: text(18),
  port: uint(65_535),
  /** The certificate of the authority, PEM. */
  authority: text(16_384),
  /** HOST:PORT of those that answer joins. */
  hubs: list(text(300), HUBS_MAX),
  /** Ed25519: the peer map is signed with what belongs to it. */
  mapKey: key32,
})
export type Founding = Infer<typeof founding>

export const tokenMaking = struct({
  tokenId,
  /** With it a proof is made; what is derived of the token's secret, never the secret. */
  key: hash32,
  roles: nodeRoles,
  label: optional(meshWord),
  site: optional(meshWord),
  uses: uint(MEMBERS_MAX),
  expiresSec: uint(),
  /** Only for this node, which is known and has lost its keys. */
  rejoin: optional(memberId),
})
export type TokenMaking = Infer<typeof tokenMaking>

/** What everybody may see of a token. */
export const meshToken = struct({
  tokenId,
  roles: nodeRoles,
  label: optional(meshWord),
  site: optional(meshWord),
  uses: uint(MEMBERS_MAX),
  usesLeft: uint(MEMBERS_MAX),
  expiresSec: uint(),
  rejoin: optional(memberId),
  revoked: bool,
})
export type MeshToken = Infer<typeof meshToken>

export const joining = struct({
  tokenId,
  node: memberId,
  name: meshName,
  /** WireGuard's. */
  key: key32,
  /** SHA-256 of what is to be certified: of the public key (SPKI) in the certificate request. */
  request: hash32,
  label: optional(meshWord),
  site: optional(meshWord),
  rack: optional(meshWord),
})
export type Joining = Infer<typeof joining>

export const joined = struct({
  /** With a number when another node is called so. */
  name: meshName,
  ip: text(15),
  prefix: text(18),
  roles: nodeRoles,
  label: optional(meshWord),
  site: optional(meshWord),
  rack: optional(meshWord),
  /** It had joined before; nothing was spent or changed. */
  again: bool,
})
export type Joined = Infer<typeof joined>

export const certificate = struct({ serial, expiresSec: uint() })
export type Certificate = Infer<typeof certificate>
export const memberCertificate = struct({ node: memberId, serial, expiresSec: uint() })

export const keyStep = struct({
  node: memberId,
  key: key32,
  /** `next`: will be used; `moved`: is used; `dropped`: will not be used after all. */
  step: oneOf('next', 'moved', 'dropped'),
})

export const memberReport = struct({
  node: memberId,
  /** Its own addresses. */
  candidates: list(endpoint, CANDIDATES_MAX),
  /** What its operator advertises, most wanted first. */
  statics: list(endpoint, STATICS_MAX),
  relays: relaying,
})

/** Microseconds, and lost packets in a million: whole numbers are half as long, and finer nobody can measure. */
export const measuredPath = struct({
  peer: memberId,
  /** Rounds of probes with an answer. */
  rounds: uint(),
  /** See src/topology/rtt-filter.ts. */
  baseUs: optional(uint()),
  srttUs: optional(uint()),
  rttvarUs: optional(uint()),
  lossPpm: optional(uint(1_000_000)),
})
export type MeasuredPath = Infer<typeof measuredPath>

/** What a node has measured of all others, and how long ago it said so. */
export const measuredRow = struct({ node: memberId, ageMs: uint(), paths: list(measuredPath, MEASURED_MAX) })
export type MeasuredRow = Infer<typeof measuredRow>
/** Of one message: 32 × 300 paths are half a megabyte and some ten milliseconds of a master's time. */
export const ROWS_MAX = 32

/** A rack or site may be called as a person has declared it. */
const placeName = text(64)
export const measuredPlace = struct({ node: memberId, site: placeName, rack: placeName })
export type MeasuredPlace = Infer<typeof measuredPlace>

export const PLACE_LEVELS = ['site', 'rack'] as const
export const placeLevel = oneOf(...PLACE_LEVELS)

/** What `evaluate` (src/topology/cluster.ts) has to remember for good. */
export const measuredMap = struct({
  /** In order of the nodes. */
  places: list(measuredPlace, MEASURED_MAX),
  /** `site NAME` and `rack NAME`: names that groups have of themselves. */
  own: list(text(80), 2 * MEASURED_MAX),
  /** The highest numbers that names were made of. */
  lastSite: uint(),
  lastRack: uint(),
})
export type MeasuredMap = Infer<typeof measuredMap>

/** Less than any line has, more than any has. */
export const LIMIT_US_MAX = 1_000_000
export const measuring = struct({
  /** Whether what was measured holds without being asked. */
  auto: bool,
  siteUs: uint(LIMIT_US_MAX),
  rackUs: uint(LIMIT_US_MAX),
})

export const meshMember = struct({
  node: memberId,
  name: meshName,
  /** The one that is used, and while it is being changed the one that comes next. */
  keys: list(key32, 2),
  ip: text(15),
  roles: nodeRoles,
  label: optional(meshWord),
  site: optional(meshWord),
  rack: optional(meshWord),
  tokenId,
  joinedSec: uint(),
  /** Since when it has been heard over the mesh; without it others need not know it yet. */
  confirmedSec: optional(uint()),
  /** Oldest first. */
  certificates: list(certificate, CERTIFICATES_MAX),
  candidates: list(endpoint, CANDIDATES_MAX),
  statics: list(endpoint, STATICS_MAX),
  relays: relaying,
})
export type MeshMember = Infer<typeof meshMember>

export const registry = struct({
  mesh: founding,
  /** This and the other lists are in order of their ids. */
  members: list(meshMember, MEMBERS_MAX),
  tokens: list(meshToken, TOKENS_MAX),
  /** Addresses that rest, because their nodes were removed within a day. */
  buried: list(struct({ node: memberId, name: meshName, ip: text(15), removedSec: uint() }), BURIED_MAX + MEMBERS_MAX),
  /** Certificates that count no longer, until they expire. */
  denied: list(certificate, DENIED_MAX),
})
export type Registry = Infer<typeof registry>

// ---- the map that all members have

/** Far beyond the largest: 600 nodes of 1 kB and all pairs. */
export const MAP_CHARS_MAX = 4_000_000
/** A peer map (mesh/core/peer-map.ts) as it is kept and passed on. */
export const signedMap = struct({ text: text(MAP_CHARS_MAX), signature: text(200) })
export type SignedMap = Infer<typeof signedMap>

// ---- why a join is refused

/** Each begins the detail of its refusal, so that whoever asked can tell them apart whatever the sentence says. */
export const joinRefusals = {
  'unknown-token': 'ENOENT',
  'wrong-proof': 'EACCES',
  'revoked-token': 'EACCES',
  'expired-token': 'EACCES',
  'spent-token': 'EACCES',
  /** The token is for another node, which has lost its keys. */
  'other-node': 'EACCES',
  /** The node id is known with another key: a cloned disk, or a node that has lost its keys. */
  'known-node': 'EEXIST',
  /** The key is that of another node. */
  'other-key': 'EEXIST',
  /** No room for a further node, address or certificate. */
  full: 'ENOSPC',
} as const satisfies Record<string, Errno>
export type JoinRefusal = keyof typeof joinRefusals

/** From the message of the error that meshJoin ended with; undefined: it was refused for none of these reasons. */
export function joinRefusalOf(message: string): JoinRefusal | undefined {
  // Behind the sentence of the errno, if that is there; names and labels that the rest repeats are not asked.
  const word = /^(?:[^:]*: )?([a-z-]+): /.exec(message)?.[1]
  return word !== undefined && Object.hasOwn(joinRefusals, word) ? (word as JoinRefusal) : undefined
}
