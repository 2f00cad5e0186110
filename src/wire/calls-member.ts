/*
 * Rows of the call table: what mesh agents say to each other. A member asks its hub for the map and tells it of itself; the map
 * any agent has, so that it goes round also while every hub is away: it is signed, and the newest counts.
 */

import { bool, list, nothing, optional, report, struct, text, uint } from '../base/schema.ts'
import { callsBy } from './call-row.ts'
import {
  CANDIDATES_MAX,
  endpoint,
  key32,
  MEASURED_MAX,
  MEMBERS_MAX,
  measuredPath,
  memberId,
  REGISTRY_WAIT_MS_MAX,
  relaying,
  STATICS_MAX,
  signedMap,
} from './mesh-shapes.ts'
import type { MeshReport } from './reports-mesh.ts'
import { WAYS_MAX, wayEchoes } from './shapes.ts'

const call = callsBy('mesh')

const PEM_CHARS_MAX = 8_192

export const memberCalls = {
  memberMap: call(
    220,
    'The newest peer map that this agent has, when it is newer than `since`; else as soon as there is one, or nothing when `waitMs` is over.',
    struct({ since: uint(), waitMs: uint(REGISTRY_WAIT_MS_MAX) }),
    struct({ map: optional(signedMap) }),
    { failures: ['ENOENT'] },
  ),
  memberHere: call(
    221,
    'The node that asks is there, heard over the mesh: where it may be found, and what it does for others.',
    struct({
      candidates: list(endpoint, CANDIDATES_MAX),
      statics: list(endpoint, STATICS_MAX),
      relays: relaying,
      bootId: uint(0xffff_ffff),
      /** Of a node with a public address: where it sees others. Two who see a node at two ports know its NAT. */
      sees: optional(list(struct({ node: memberId, at: endpoint }), MEMBERS_MAX)),
    }),
    nothing,
    { failures: ['ENOENT', 'EAGAIN'] },
  ),
  memberRenew: call(
    222,
    'A new certificate for the node that asks: the same identity, another date.',
    /** PKCS #10, PEM. */
    struct({ request: text(PEM_CHARS_MAX) }),
    struct({ certificate: text(PEM_CHARS_MAX), authority: text(PEM_CHARS_MAX) }),
    { failures: ['ENOENT', 'EINVAL', 'EAGAIN'] },
  ),
  memberKey: call(
    223,
    'The WireGuard key of the node that asks is being changed: this one comes next, or is used from now on.',
    struct({ key: key32, moved: bool }),
    nothing,
    { failures: ['ENOENT', 'EEXIST', 'EINVAL', 'EAGAIN'] },
  ),
  memberLeave: call(224, 'The node that asks leaves the mesh.', nothing, nothing, { failures: ['ENOENT', 'EAGAIN'] }),
  memberProved: call(
    225,
    'The node that asks has shaken hands with another directly, or has lost it, on the way that the map told them to try.',
    struct({ peer: text(32), event: text(16) }),
    nothing,
    { failures: ['ENOENT', 'EINVAL'] },
  ),
  agentStatus: call(
    226,
    'What an agent knows: itself, its interface, and every peer with how it is reached.',
    nothing,
    report<MeshReport>('MeshReport'),
    { by: ['mesh', 'admin'] },
  ),
  memberMeasured: call(
    227,
    'How far the node that asks has measured the others to be, all of them each time.',
    struct({ paths: list(measuredPath, MEASURED_MAX) }),
    nothing,
    { failures: ['ENOENT'] },
  ),
  agentRotate: call(
    228,
    'A new WireGuard key for the node of this agent, asked from that node only. Answers when it is used.',
    nothing,
    struct({ key: key32 }),
    { failures: ['EPERM', 'EHOSTUNREACH', 'EAGAIN'] },
  ),
  agentWays: call(
    229,
    'What the echoes to these addresses of the mesh have said after `since` (0: from now on), asked by a chunkserver of this node, which is about to copy over them: they are measured closely for as long as somebody asks. Addresses that are not measured are left out.',
    struct({ ways: list(struct({ host: text(255), since: uint() }), WAYS_MAX) }),
    struct({ ways: list(struct({ host: text(255), at: uint(), echoes: wayEchoes }), WAYS_MAX) }),
    { by: ['chunkserver'], failures: ['EPERM'] },
  ),
} as const
