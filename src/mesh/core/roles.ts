/*
 * What a node may be. A master is a hub as well: it answers joins, signs the peer map and is kept by every node however old
 * its map is. The bit of a role is part of tokens that are about in the world, so a bit is never given to another role.
 */

export const roleBits = { master: 1, chunkserver: 2, client: 4, gateway: 8 } as const
export type Role = keyof typeof roleBits
export const roles = Object.keys(roleBits) as readonly Role[]

export const bitsOf = (list: readonly Role[]): number => list.reduce((sum, role) => sum | roleBits[role], 0)
/** In the order of the table; undefined where a bit is set that no role has. */
export function rolesOf(bits: number): Role[] | undefined {
  const list = roles.filter((role) => (bits & roleBits[role]) !== 0)
  return bitsOf(list) === bits ? list : undefined
}
