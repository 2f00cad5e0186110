/*
 * The address registry of a mesh: which node has which IPv4 address out of one /16. Values in, values out, so that the
 * commands that carry it out give the same answer wherever they are applied.
 *
 * The lowest free address is given (hashing 200 nodes into a /16 would collide one time in four), a node that comes back has
 * the one it had, and what a removed node leaves is not given to another for a day: maps, caches and open connections of
 * peers that were away still mean the old node by it.
 */

import { type Result, refuse } from '../base/fault.ts'
import { numberOf } from './address-map.ts'

export interface Lease {
  /** The mesh's id of the node, not its number as a chunkserver. */
  readonly node: string
  readonly ip: string
}
/** An address whose node was removed. */
export interface Tombstone {
  readonly ip: string
  /** Unix seconds. */
  readonly removedAt: number
}

/** Longer than a peer that sleeps over night goes on with what it knew. */
export const TOMBSTONE_S: number = 24 * 3600
const PREFIX_BITS = 16
/** 10.64.0.0 to 10.127.255.255: in none of the ranges that home routers, clouds' examples, Docker or Tailscale begin with. */
const FIRST_SECOND_OCTET = 64
const SECOND_OCTETS = 64

/** `10.77.0.0/16` as the number of its first address. */
function baseOf(prefix: string): Result<number> {
  const match = /^(.*)\/16$/.exec(prefix)
  const number = match === null ? undefined : numberOf(match[1]!)
  if (number === undefined || number.family !== 4 || (number.value & 0xffffn) !== 0n)
    return refuse('EINVAL', `mesh network "${prefix}": expected A.B.0.0/16`)
  return { ok: Number(number.value) }
}

const addressOf = (value: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.')

/**
 * The address of a node: the one it has, else the lowest that nobody has and none had within a day. The first and the last
 * of the network are never given; nor is an address that ends in 0 or 255, which old routers and careless tools take for
 * a network or a broadcast.
 */
export function allot(
  prefix: string,
  leases: Iterable<Lease>,
  tombstones: Iterable<Tombstone>,
  node: string,
  nowS: number,
): Result<string> {
  const base = baseOf(prefix)
  if (!('ok' in base)) return base
  const taken = new Set<string>()
  for (const lease of leases) {
    if (lease.node === node) return { ok: lease.ip }
    taken.add(lease.ip)
  }
  for (const tombstone of tombstones) if (isBuried(tombstone, nowS)) taken.add(tombstone.ip)
  for (let host = 1; host < 2 ** PREFIX_BITS - 1; host++) {
    if (host % 256 === 0 || host % 256 === 255) continue
    const ip = addressOf(base.ok + host)
    if (!taken.has(ip)) return { ok: ip }
  }
  return refuse('ENOSPC', `every address of ${prefix} is taken or was within a day`)
}

/** Whether the address may not be given yet. A clock that was set back makes it wait longer, never shorter. */
export const isBuried = (tombstone: Tombstone, nowS: number): boolean => nowS < tombstone.removedAt + TOMBSTONE_S

/** Whether a node may have this address: in the network and one that could have been given. */
export function belongsTo(prefix: string, ip: string): boolean {
  const base = baseOf(prefix)
  const number = numberOf(ip)
  if (!('ok' in base) || number === undefined || number.family !== 4) return false
  const host = Number(number.value) - base.ok
  return host > 0 && host < 2 ** PREFIX_BITS - 1 && host % 256 !== 0 && host % 256 !== 255
}

/**
 * Whether the mesh can use this network beside the routes that a machine has (`10.0.0.0/8`, `192.168.1.0/24`, `default`,
 * a lone address). A wider route does not matter, the narrower one wins and that is ours; an equal or narrower one would
 * take packets of the mesh elsewhere, or lose its own.
 */
export function overlapWith(prefix: string, routes: Iterable<string>): Result<undefined> {
  const base = baseOf(prefix)
  if (!('ok' in base)) return base
  for (const route of routes) {
    const [address, bits = '32'] = route.split('/') as [string, string?]
    const number = numberOf(address)
    if (number === undefined || number.family !== 4 || Number(bits) < PREFIX_BITS) continue
    if (number.value >> 16n === BigInt(base.ok) >> 16n)
      return refuse('EEXIST', `the mesh's network ${prefix} overlaps the route to ${route} that this machine has`)
  }
  return { ok: undefined }
}

/** A network for a new mesh, chosen by chance among those that no route of this machine overlaps. */
export function choosePrefix(routes: readonly string[], below: (n: number) => number): Result<string> {
  const free = Array.from({ length: SECOND_OCTETS }, (_, i) => `10.${FIRST_SECOND_OCTET + i}.0.0/16`).filter(
    (prefix) => 'ok' in overlapWith(prefix, routes),
  )
  return free.length === 0
    ? refuse('EEXIST', 'routes of this machine overlap every network from 10.64.0.0/16 to 10.127.0.0/16')
    : { ok: free[below(free.length)]! }
}
