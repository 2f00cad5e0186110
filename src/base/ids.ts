/*
 * Every identifier of the system, each branded so that a chunk id cannot be passed where an inode number is meant.
 *
 * All ids stay within 0 … 2^53−1, so that msgpack, JSON, Map keys and LMDB keys agree on them. A maker function is the
 * only way to get a brand; it asserts the range, because an id out of range is a bug or hostile input that got past the
 * schema, never a thing to continue with.
 */

import { assert } from './fault.ts'

export type Ino = number & { readonly brand: 'Ino' }
export type ChunkId = number & { readonly brand: 'ChunkId' }
export type SessionId = number & { readonly brand: 'SessionId' }
/** A chunkserver process (one data directory set), numbered by the master when it first registers. */
export type NodeId = number & { readonly brand: 'NodeId' }
/** One disk of one chunkserver, numbered by the master when it first registers; its uuid is written on the disk. */
export type DiskId = number & { readonly brand: 'DiskId' }

export const ROOT_INO = 1 as Ino

function inRange(n: number, what: string): number {
  assert(Number.isSafeInteger(n) && n >= 0, `${what} must be an integer in 0 … 2^53-1, got ${n}`)
  return n
}

export const ino = (n: number): Ino => inRange(n, 'inode number') as Ino
export const chunkId = (n: number): ChunkId => inRange(n, 'chunk id') as ChunkId
export const sessionId = (n: number): SessionId => inRange(n, 'session id') as SessionId
export const nodeId = (n: number): NodeId => inRange(n, 'node id') as NodeId
export const diskId = (n: number): DiskId => inRange(n, 'disk id') as DiskId

/** Chunk ids as they appear in file names, logs and the CLI: 16 hex digits. */
export const chunkName = (id: ChunkId): string => id.toString(16).padStart(16, '0')
