/* Rows of the table of commands: the mesh, the places of its nodes, and the ways between sites. */

import { bool, optional, struct, text, uint } from '../../base/schema.ts'
import {
  founding,
  joining,
  keyStep,
  LIMIT_US_MAX,
  measuredMap,
  memberCertificate,
  memberId,
  memberReport,
  meshWord,
  placeLevel,
  tokenId,
  tokenMaking,
} from '../../wire/mesh-shapes.ts'
import { linkWindow, siteName } from '../../wire/shapes.ts'
import { command } from './command-row.ts'

export const meshCommands = {
  // ---- the mesh
  meshFounded: command(200, undefined, 'There is a mesh; or its port, hubs or map key are others now.', founding),
  tokenMade: command(201, undefined, 'A token with which nodes can join the mesh.', tokenMaking),
  tokenRevoked: command(202, undefined, 'Nobody joins with this token any more.', struct({ tokenId })),
  /** Spends the token. That the node has its key was found out before. */
  memberJoined: command(203, undefined, 'A node joins the mesh, or comes back to it with new keys.', joining),
  memberConfirmed: command(204, undefined, 'A node was heard over the mesh.', memberCertificate),
  memberCertified: command(205, undefined, 'A node has a further certificate.', memberCertificate),
  memberKey: command(206, undefined, "A step of changing a node's WireGuard key.", keyStep),
  memberReported: command(
    207,
    undefined,
    'Where a node can be reached, and whether it passes packets on.',
    memberReport,
  ),
  memberRemoved: command(
    208,
    undefined,
    'A node is of the mesh no more: its certificates are denied, its address rests.',
    struct({ node: memberId }),
  ),
  /** While mesh.dueSec() has come. */
  meshExpired: command(
    209,
    undefined,
    'What is over in the mesh goes: members never heard of, tokens, rests of addresses, expired certificates.',
    struct({ limit: uint(65536) }),
  ),
  /** Made from map number `after`. Of nodes that are no members nothing is kept. */
  placesMeasured: command(
    210,
    undefined,
    'Nodes of the mesh stand where they were measured to be.',
    struct({ after: uint(), map: measuredMap }),
  ),
  measuringSet: command(
    211,
    undefined,
    'Whether places are measured by themselves, and how near a site and a rack are; absent things stay.',
    struct({ auto: optional(bool), siteUs: optional(uint(LIMIT_US_MAX)), rackUs: optional(uint(LIMIT_US_MAX)) }),
  ),
  placeRenamed: command(
    212,
    undefined,
    'A measured site or rack is called otherwise.',
    struct({ level: placeLevel, from: text(64), to: text(64) }),
  ),
  memberPlaced: command(
    213,
    undefined,
    'Where a node of the mesh stands is said by a person; without site or rack: is measured.',
    struct({ node: memberId, site: optional(meshWord), rack: optional(meshWord) }),
  ),
  // ---- ways between sites
  linkLimit: command(
    230,
    'linkLimit',
    'What may be copied between two sites, always or at these hours; without a rate, no longer.',
    struct({ a: siteName, b: siteName, bytesPerS: optional(uint()), window: optional(linkWindow) }),
  ),
}
