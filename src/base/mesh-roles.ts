/*
 * What a node of the mesh may be, and as what its processes may speak to others. A master is a hub as well: it answers joins,
 * signs the peer map and is kept by every node however old its map is. The bit of a role is part of tokens that are about
 * in the world, so a bit is never given to another role.
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

/**
 * What a node's certificate lets its processes say that they are (ROLES in wire/call-row.ts). Whoever holds the masters'
 * disks can do everything anyway, and the command line is run there; the others get what they need and no more.
 */
const wireRoles = {
  master: ['mount', 'chunkserver', 'admin', 'master', 'mesh'],
  chunkserver: ['chunkserver', 'mesh'],
  client: ['mount', 'mesh'],
  gateway: ['mount', 'mesh'],
} as const satisfies Record<Role, readonly string[]>
export type WireRole = (typeof wireRoles)[Role][number]

/** Each once, in the order of the table. */
export const wireRolesOf = (list: readonly Role[]): WireRole[] => [
  ...new Set(roles.filter((role) => list.includes(role)).flatMap((role) => wireRoles[role])),
]
