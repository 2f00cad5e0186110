/*
 * Rows of the call table: what a master answers to the hub of the mesh on its machine. The hub keeps nothing of its own: who may
 * join, who has, and who no longer may is the master's state. Answers say how it stands after the request, so all of
 * them may be repeated.
 */

import { bool, list, nothing, optional, report, struct, text, uint } from '../base/schema.ts'
import { callsBy } from './call-row.ts'
import {
  bytes32,
  founding,
  joined,
  joining,
  keyStep,
  LIMIT_US_MAX,
  measuredRow,
  memberCertificate,
  memberId,
  memberReport,
  meshToken,
  meshWord,
  placeLevel,
  REGISTRY_WAIT_MS_MAX,
  ROWS_MAX,
  registry,
  TOKENS_MAX,
  tokenId,
  tokenMaking,
} from './mesh-shapes.ts'
import type { TopologyReport } from './reports-mesh.ts'

const call = callsBy('admin')

export const meshCalls = {
  meshFound: call(
    200,
    'There is a mesh. Repeated for the same one, port, hubs and map key may differ.',
    founding,
    nothing,
    { failures: ['EINVAL', 'EEXIST'] },
  ),
  meshRegistry: call(
    201,
    'All that is known of the mesh but the keys of tokens, when its version is not `since`; else after a change, or without it when `waitMs` is over. Version 0: there is no mesh.',
    struct({ since: uint(), waitMs: uint(REGISTRY_WAIT_MS_MAX) }),
    struct({ version: uint(), registry: optional(registry) }),
    { failures: ['EUSERS'] },
  ),
  meshTokenMake: call(202, 'A token with which nodes can join.', tokenMaking, nothing, {
    failures: ['ENOENT', 'EINVAL', 'EEXIST', 'ENOSPC'],
  }),
  meshTokenList: call(
    203,
    'Tokens, also those that are over for a day.',
    nothing,
    struct({ tokens: list(meshToken, TOKENS_MAX) }),
  ),
  meshTokenRevoke: call(204, 'Nobody joins with this token any more.', struct({ tokenId }), nothing, {
    failures: ['ENOENT'],
  }),
  meshJoin: call(
    205,
    'A node has come with a token: what it is called and where it is in the mesh. Spends the token, unless it is repeated. What it is refused for begins with a word (src/wire/mesh-shapes.ts).',
    struct({
      /** What both ends of its TLS session with the hub have exported. */
      exporter: bytes32,
      /** See src/wire/mesh-proof.ts. */
      proof: bytes32,
      ...joining.fields,
    }),
    joined,
    { failures: ['ENOENT', 'EACCES', 'EEXIST', 'ENOSPC', 'EINVAL'] },
  ),
  meshConfirm: call(
    206,
    'A node has been heard over the mesh, with this certificate. Who is not within 10 minutes of joining is forgotten.',
    memberCertificate,
    nothing,
    { failures: ['ENOENT', 'EACCES', 'EEXIST', 'EINVAL', 'ENOSPC'] },
  ),
  meshCertified: call(
    207,
    'A node has this certificate. Asked before the node gets it: what the registry does not know cannot be denied.',
    memberCertificate,
    nothing,
    { failures: ['ENOENT', 'EACCES', 'EEXIST', 'EINVAL', 'ENOSPC'] },
  ),
  meshKey: call(208, "A step of changing a node's WireGuard key.", keyStep, nothing, {
    failures: ['ENOENT', 'EEXIST', 'EINVAL'],
  }),
  meshReport: call(209, 'Where a node says that it can be reached, and for whom.', memberReport, nothing, {
    failures: ['ENOENT', 'EINVAL'],
  }),
  meshRemove: call(
    210,
    'A node is of the mesh no more: its certificates are denied, its address rests for a day.',
    struct({ node: memberId }),
    nothing,
    { failures: ['ENOENT'] },
  ),
  meshMeasured: call(
    211,
    'What nodes have told this hub of how far they are from each other, since it said so last.',
    struct({ hub: memberId, rows: list(measuredRow, ROWS_MAX) }),
    nothing,
  ),
  topologyShow: call(
    212,
    'Where the nodes of the mesh stand and how that is known, what measuring proposes, and, when asked for, every distance.',
    struct({ matrix: bool }),
    report<TopologyReport>('TopologyReport'),
  ),
  topologySet: call(
    213,
    'Whether measured places hold by themselves, and how near a site and a rack are; absent things stay.',
    struct({ auto: optional(bool), siteUs: optional(uint(LIMIT_US_MAX)), rackUs: optional(uint(LIMIT_US_MAX)) }),
    nothing,
    { failures: ['EINVAL'] },
  ),
  topologyApply: call(
    214,
    'Takes what measuring proposes without waiting for it, if that is still the version that a person has seen.',
    struct({ version: uint() }),
    nothing,
    { failures: ['ENOENT', 'ESTALE', 'EINVAL'] },
  ),
  topologyRename: call(
    215,
    'Another name for a measured site or rack; it stays with the group that keeps most of its nodes.',
    struct({ level: placeLevel, from: text(64), to: text(64) }),
    nothing,
    { failures: ['ENOENT', 'EEXIST', 'EINVAL', 'EBUSY'] },
  ),
  topologyPin: call(
    216,
    'Says where a node stands, whatever is measured; without site and rack: measured again.',
    struct({ node: memberId, site: optional(meshWord), rack: optional(meshWord) }),
    nothing,
    { failures: ['ENOENT'] },
  ),
} as const
