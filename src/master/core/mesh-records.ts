/*
 * Records of the mesh: what it is, its members, tokens, the addresses that rest and the certificates that count no longer. As all
 * records they begin with their version and only grow at their end: there stand the shapes that others see as well, which
grow in their turn, so what is only the record's own comes before them.
 */

import { bool, type Infer, list, optional, struct, text, uint } from '../../base/schema.ts'
import {
  founding,
  hash32,
  key32,
  MEMBERS_MAX,
  memberId,
  meshMember,
  meshName,
  tokenMaking,
} from '../../wire/mesh-shapes.ts'

export const meshRecord = struct({ version: uint(), foundedSec: uint(), ...founding.fields })
export type MeshRecord = Infer<typeof meshRecord>

const { node: _, ...ofMember } = meshMember.fields
/** Under its node id. */
export const memberRecord = struct({
  version: uint(),
  /** What it wanted certified when it joined last: only who asks for the same is the one who repeats it. */
  request: hash32,
  ...ofMember,
})
export type MemberRecord = Infer<typeof memberRecord>

const { tokenId: __, ...ofToken } = tokenMaking.fields
/** Under its id. */
export const tokenRecord = struct({
  version: uint(),
  revoked: bool,
  /**
   * For whom it was spent: who asks for the same again is answered, as long as the token lives, also when it has been forgotten
   * meanwhile. `closed`: no longer, because it was removed.
   */
  spent: list(struct({ node: memberId, key: key32, request: hash32, closed: optional(bool) }), MEMBERS_MAX),
  ...ofToken,
})
export type TokenRecord = Infer<typeof tokenRecord>

/** Under the id of the removed node. */
export const buriedRecord = struct({ version: uint(), name: meshName, ip: text(15), removedSec: uint() })
export type BuriedRecord = Infer<typeof buriedRecord>

/** Under the serial number, in hex. */
export const deniedRecord = struct({ version: uint(), expiresSec: uint() })
export type DeniedRecord = Infer<typeof deniedRecord>
