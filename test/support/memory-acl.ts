/*
 * POSIX ACLs in their xattr form, as far as the reference model needs them: what an ACL means for the mode, what a chmod
 * means for an ACL, and what a new file inherits. Pure.
 */

export const ACL_ACCESS = 'system.posix_acl_access'
export const ACL_DEFAULT = 'system.posix_acl_default'

const USER_OBJ = 0x01
const GROUP_OBJ = 0x04
const MASK = 0x10
const OTHER = 0x20

interface AclEntry {
  tag: number
  perm: number
  id: number
}

export function parseAcl(value: Buffer): AclEntry[] | undefined {
  if (value.length < 4 || (value.length - 4) % 8 !== 0 || value.readUInt32LE(0) !== 2) return undefined
  const entries: AclEntry[] = []
  for (let at = 4; at < value.length; at += 8) {
    entries.push({ tag: value.readUInt16LE(at), perm: value.readUInt16LE(at + 2), id: value.readUInt32LE(at + 4) })
  }
  const has = (tag: number): boolean => entries.some((entry) => entry.tag === tag)
  // acl_valid(3): the three of a mode always, a mask as soon as anybody else is named.
  if (entries.length > 0 && ![USER_OBJ, GROUP_OBJ, OTHER].every(has)) return undefined
  return entries.length > 3 && !has(MASK) ? undefined : entries
}

export function formatAcl(entries: readonly AclEntry[]): Buffer {
  const out = Buffer.alloc(4 + entries.length * 8)
  out.writeUInt32LE(2, 0)
  entries.forEach((entry, i) => {
    out.writeUInt16LE(entry.tag, 4 + i * 8)
    out.writeUInt16LE(entry.perm, 6 + i * 8)
    out.writeUInt32LE(entry.id, 8 + i * 8)
  })
  return out
}

const perm = (entries: readonly AclEntry[], tag: number): number | undefined => entries.find((e) => e.tag === tag)?.perm

/** More than the three entries that a mode can say. */
export const isExtended = (entries: readonly AclEntry[]): boolean => entries.length > 3

export function modeOfAcl(entries: readonly AclEntry[], mode: number): number {
  const group = perm(entries, MASK) ?? perm(entries, GROUP_OBJ) ?? 0
  return (mode & ~0o777) | ((perm(entries, USER_OBJ) ?? 0) << 6) | (group << 3) | (perm(entries, OTHER) ?? 0)
}

/** chmod on a file with an ACL: the group bits are the mask's. */
export function aclAfterChmod(entries: readonly AclEntry[], mode: number): AclEntry[] {
  const hasMask = entries.some((e) => e.tag === MASK)
  return entries.map((e) => {
    if (e.tag === USER_OBJ) return { ...e, perm: (mode >> 6) & 7 }
    if (e.tag === OTHER) return { ...e, perm: mode & 7 }
    if (e.tag === MASK || (e.tag === GROUP_OBJ && !hasMask)) return { ...e, perm: (mode >> 3) & 7 }
    return e
  })
}

/** What a new file gets from its parent's default ACL: the wanted mode limits every class. */
export function inheritedAcl(defaults: readonly AclEntry[], mode: number): { entries: AclEntry[]; mode: number } {
  const hasMask = defaults.some((e) => e.tag === MASK)
  const entries = defaults.map((e) => {
    if (e.tag === USER_OBJ) return { ...e, perm: e.perm & (mode >> 6) & 7 }
    if (e.tag === OTHER) return { ...e, perm: e.perm & mode & 7 }
    if (e.tag === MASK || (e.tag === GROUP_OBJ && !hasMask)) return { ...e, perm: e.perm & (mode >> 3) & 7 }
    return e
  })
  return { entries, mode: modeOfAcl(entries, mode) }
}
