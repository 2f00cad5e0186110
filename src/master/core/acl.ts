/*
 * POSIX access control lists in the form in which Linux passes them as extended attributes (version 2, little endian):
 * parsed, checked, written, set against the mode bits, changed by chmod, inherited at creation. Values in, values out.
 */

export const ACL_ACCESS = 'system.posix_acl_access'
export const ACL_DEFAULT = 'system.posix_acl_default'

const VERSION = 2
const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const NO_ID = 0xffff_ffff

const TAG = { userObj: 0x01, user: 0x02, groupObj: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const

export interface AclEntry {
  readonly tag: number
  /** rwx as 4, 2, 1 */
  readonly perm: number
  /** Of a named user or group, else 0xffffffff. */
  readonly id: number
}
export type Acl = readonly AclEntry[]

/** The list in a value; 'empty' for one without entries (it removes the ACL), undefined when it is not a valid ACL. */
export function parseAcl(value: Uint8Array): Acl | 'empty' | undefined {
  if (value.length < HEADER_BYTES || (value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) return undefined
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  if (view.getUint32(0, true) !== VERSION) return undefined
  if (value.length === HEADER_BYTES) return 'empty'
  const acl: AclEntry[] = []
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = view.getUint16(at, true)
    const named = tag === TAG.user || tag === TAG.group
    acl.push({ tag, perm: view.getUint16(at + 2, true), id: named ? view.getUint32(at + 4, true) : NO_ID })
  }
  return isValid(acl) ? acl : undefined
}

/** Owner, named users, owning group, named groups, mask, others, in this order; a mask as soon as anyone is named. */
function isValid(acl: Acl): boolean {
  const order = [TAG.userObj, TAG.user, TAG.groupObj, TAG.group, TAG.mask, TAG.other] as number[]
  let at = 0
  const seen = new Map<number, number>()
  for (const { tag, perm, id } of acl) {
    const place = order.indexOf(tag)
    if (place < at || perm > 7) return false
    const named = tag === TAG.user || tag === TAG.group
    if (named && id === NO_ID) return false
    if (!named && seen.has(tag)) return false
    at = place
    seen.set(tag, (seen.get(tag) ?? 0) + 1)
  }
  if (!seen.has(TAG.userObj) || !seen.has(TAG.groupObj) || !seen.has(TAG.other)) return false
  return seen.has(TAG.mask) || !(seen.has(TAG.user) || seen.has(TAG.group))
}

export function serializeAcl(acl: Acl): Buffer {
  const value = Buffer.alloc(HEADER_BYTES + acl.length * ENTRY_BYTES)
  value.writeUInt32LE(VERSION, 0)
  acl.forEach(({ tag, perm, id }, i) => {
    const at = HEADER_BYTES + i * ENTRY_BYTES
    value.writeUInt16LE(tag, at)
    value.writeUInt16LE(perm, at + 2)
    value.writeUInt32LE(id, at + 4)
  })
  return value
}

const permOf = (acl: Acl, tag: number): number | undefined => acl.find((entry) => entry.tag === tag)?.perm

/** The nine permission bits that an ACL shows in the mode: the mask stands in the place of the group. */
export function modeOfAcl(acl: Acl): number {
  const group = permOf(acl, TAG.mask) ?? permOf(acl, TAG.groupObj) ?? 0
  return ((permOf(acl, TAG.userObj) ?? 0) << 6) | (group << 3) | (permOf(acl, TAG.other) ?? 0)
}

/** Whether the mode says all that the ACL says, so that nothing has to be stored. */
export const isMerelyMode = (acl: Acl): boolean =>
  acl.every(({ tag }) => tag === TAG.userObj || tag === TAG.groupObj || tag === TAG.other)

/** The ACL after chmod: owner, others, and the mask (without one the owning group) follow the mode. */
export function chmodAcl(acl: Acl, mode: number): Acl {
  const hasMask = acl.some(({ tag }) => tag === TAG.mask)
  return acl.map((entry) => {
    if (entry.tag === TAG.userObj) return { ...entry, perm: (mode >> 6) & 7 }
    if (entry.tag === TAG.other) return { ...entry, perm: mode & 7 }
    if (entry.tag === (hasMask ? TAG.mask : TAG.groupObj)) return { ...entry, perm: (mode >> 3) & 7 }
    return entry
  })
}

/**
 * What something made in a directory with a default ACL gets: the mode asked for and the ACL limit each other; the umask
 * plays no part. `acl` is undefined when the mode says it all.
 */
export function inheritAcl(defaultAcl: Acl, mode: number): { mode: number; acl: Acl | undefined } {
  const hasMask = defaultAcl.some(({ tag }) => tag === TAG.mask)
  const limited = defaultAcl.map((entry) => {
    const asked =
      entry.tag === TAG.userObj
        ? mode >> 6
        : entry.tag === TAG.other
          ? mode
          : entry.tag === (hasMask ? TAG.mask : TAG.groupObj)
            ? mode >> 3
            : 7
    return { ...entry, perm: entry.perm & asked & 7 }
  })
  const bits = modeOfAcl(limited)
  return { mode: (mode & ~0o777) | bits, acl: isMerelyMode(limited) ? undefined : limited }
}
