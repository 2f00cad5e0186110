/*
 * What a node and a hub say to each other once: the request with which a node wants to become a member, the answer, and the
 * refusal. It happens before the node has a certificate, over TLS whose authority the token pins; afterwards everything goes
 * over the mesh. Both travel as JSON of the schema's tuples.
 *
 * The secret of a token is never sent. Both ends make the same key of it, and the proof covers the TLS session (its exporter
 * value, RFC 5705), so what was sent in one session is worth nothing in another, also to somebody who stands in between.
 */

import { type Infer, list, oneOf, optional, struct, text, uint } from '../../base/schema.ts'
import {
  type JoinRefusal as JoinRefusalOfMaster,
  joinRefusals,
  key32,
  memberId,
  signedMap,
} from '../../wire/mesh-shapes.ts'
import { endpointText, roleList } from './peer-map.ts'

export const JOIN_PATH = '/join'
/** A request is some 1 kB; anything larger is none. */
export const JOIN_BYTES_MAX = 16 * 1024
/** The answer carries the map. */
export const JOINED_BYTES_MAX = 8 * 1024 * 1024
const PEM_CHARS_MAX = 8_192
const WORD_CHARS_MAX = 64

export const joinRequest = struct({
  tokenId: text(16),
  /** HMAC-SHA256, hex. */
  proof: text(64),
  node: memberId,
  /** What it would like to be called. */
  name: text(WORD_CHARS_MAX),
  /** Its WireGuard key. */
  key: key32,
  /** PKCS #10, PEM. */
  request: text(PEM_CHARS_MAX),
  label: optional(text(WORD_CHARS_MAX)),
  site: optional(text(WORD_CHARS_MAX)),
  rack: optional(text(WORD_CHARS_MAX)),
  /** Where it may be found: own addresses, and what its operator advertises. */
  candidates: list(endpointText, 10),
  statics: list(endpointText, 4),
  program: text(WORD_CHARS_MAX),
})
export type JoinRequest = Infer<typeof joinRequest>

export const joined = struct({
  cluster: text(WORD_CHARS_MAX),
  meshId: text(16),
  name: text(WORD_CHARS_MAX),
  ip: text(15),
  /** A.B.0.0/16 */
  prefix: text(18),
  roles: roleList,
  label: optional(text(WORD_CHARS_MAX)),
  site: optional(text(WORD_CHARS_MAX)),
  rack: optional(text(WORD_CHARS_MAX)),
  certificate: text(PEM_CHARS_MAX),
  authority: text(PEM_CHARS_MAX),
  /** Ed25519 key with which hubs sign maps, SPKI in base64. */
  mapKey: text(100),
  map: signedMap,
  /** Where the master listens, in the mesh. */
  masterHost: text(64),
  masterPort: uint(65_535),
  /** Where agents listen, in the mesh. */
  agentPort: uint(65_535),
  /** Unix seconds at the hub: a clock that is far off will be a riddle later. */
  now: uint(),
})
export type Joined = Infer<typeof joined>

/** Why a join was refused, for programs: by the master for reasons of the token or the node, or by the hub before it asks. */
export const JOIN_REFUSALS = [
  ...(Object.keys(joinRefusals) as JoinRefusalOfMaster[]),
  'bad-request',
  'busy',
  'not-ready',
] as const
export const joinRefusal = struct({ why: oneOf(...JOIN_REFUSALS), sentence: text(1_000) })
export type JoinRefusal = Infer<typeof joinRefusal>
