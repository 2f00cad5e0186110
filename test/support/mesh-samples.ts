/* Nodes of a mesh for tests: ids, keys and entries that differ by a number only. */

import type { PeerEntry, PeerMap } from '../../src/mesh/core/peer-map.ts'

export const idOf = (n: number): string => n.toString(16).padStart(32, '0')
/** 32 bytes that begin with the number; not a point of the curve that anybody holds the secret of. */
export const keyOf = (n: number): string => {
  const bytes = Buffer.alloc(32)
  bytes.writeUInt32BE(n + 1)
  return bytes.toString('base64')
}

export const peer = (n: number, change: Partial<PeerEntry> = {}): PeerEntry => ({
  id: idOf(n),
  name: `node-${n}`,
  keys: [keyOf(n)],
  ip: `10.77.0.${n + 1}`,
  hubSeen: undefined,
  hubSeenAt: 0,
  candidates: [],
  statics: [],
  nat: 'unknown',
  roles: ['chunkserver'],
  site: undefined,
  rack: undefined,
  relays: 'no',
  mtuHint: 0,
  bootId: 0,
  ...change,
})

export const mapOf = (peers: readonly PeerEntry[], change: Partial<PeerMap> = {}): PeerMap => ({
  meshId: '00000000000000aa',
  version: 1,
  issuedAt: 1000,
  validUntil: 1000 + 7 * 24 * 3600,
  prefix: '10.77.0.0/16',
  peers,
  pairs: [],
  denied: [],
  ...change,
})
