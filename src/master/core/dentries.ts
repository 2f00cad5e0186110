/*
 * Names within a directory: which key a name has, and which readdir cookie.
 *
 * A name's key is a salted 48-bit hash of it, so a directory is listed in hash order. Names of one hash share a bucket of
 * 16 slots; a name keeps its slot until it is removed. The cookie is hash × 16 + slot + 3: it depends on nothing but the
 * name (and, among names of one hash, on who came first), so it stays good over restarts, inserts and deletes. 3 is added
 * because 0 is the start and 1 and 2 are "." and "..".
 */

import type { Ino } from '../../base/ids.ts'
import type { Dentry } from './records.ts'
import { key, num48, num48At } from './tables.ts'

/** Names of one hash. Sixteen with one salted 48-bit hash do not happen by chance. */
export const BUCKET_SLOTS = 16
const FIRST_COOKIE = 3

export interface Found {
  readonly hash: number
  readonly bucket: readonly Dentry[]
  readonly entry: Dentry | undefined
}

/** 48 bits of two murmur3-style 32-bit lanes, each char mixed into both. */
export function nameHash(name: string, salt: readonly [number, number]): number {
  let a = salt[0] ^ name.length
  let b = salt[1] ^ (name.length * 0x9e37)
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i)
    a = Math.imul(a ^ c, 0xcc9e2d51)
    a = (a << 13) | (a >>> 19)
    b = Math.imul(b ^ c, 0x1b873593)
    b = (b << 15) | (b >>> 17)
    b = (b + a) | 0
  }
  a ^= b >>> 16
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b)
  a = Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  a ^= a >>> 16
  b ^= a
  b = Math.imul(b ^ (b >>> 16), 0x7feb352d)
  b = Math.imul(b ^ (b >>> 15), 0x846ca68b)
  b ^= b >>> 16
  return (a & 0xffff) * 0x1_0000_0000 + (b >>> 0)
}

export const cookieOf = {
  entry: (hash: number, slot: number): number => hash * BUCKET_SLOTS + slot + FIRST_COOKIE,
  /** The hash in a dentry key that begins with `prefixLength` chars of table and parent. */
  hashAt: (at: string, prefixLength: number): number => num48At(at, prefixLength),
  /** Where a listing goes on after `cookie`: the bucket of the cookie itself, which may have later slots. */
  startKey: (dir: Ino, cookie: number): string => {
    if (cookie < FIRST_COOKIE) return key.dentriesOf(dir)
    const hash = Math.min(Math.floor((cookie - FIRST_COOKIE) / BUCKET_SLOTS), 2 ** 48 - 1)
    return key.dentriesOf(dir) + num48(hash)
  },
} as const

/** The slot a new name gets; undefined: the bucket is full. */
export function freeSlot(bucket: readonly Dentry[]): number | undefined {
  for (let slot = 0; slot < BUCKET_SLOTS; slot++) if (!bucket.some((entry) => entry.slot === slot)) return slot
  return undefined
}
