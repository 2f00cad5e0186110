/*
 * Where a node is reached from outside the mesh: `host:port`, IPv6 in brackets. WireGuard itself is only ever given
 * literal addresses (a name would make wg(8) ask DNS for a minute); names stand in join tokens and in what an operator
 * advertises, and are resolved by whoever has a resolver. Texts of one address are compared by its number, because a
 * device prints IPv6 in a form of its own.
 */

import { type Result, refuse } from '../../base/fault.ts'
import { numberOf } from '../../topology/address-map.ts'

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** A DNS name (RFC 1123), at most 253 characters in labels of 63. */
const NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i
const ALL_DIGITS = /^[\d.]+$/

/** `1.2.3.4:51820`, `[2001:db8::1]:51820` or `hub.example:8443`. */
export function parseHostPort(text: string): Result<HostPort> {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text)
  if (match === null) return refuse('EINVAL', `"${shown(text)}": expected HOST:PORT, IPv6 as [ADDRESS]:PORT`)
  const [, six, other, digits] = match
  const port = Number(digits)
  if (port < 1 || port > 65_535) return refuse('EINVAL', `"${shown(text)}": a port is 1 to 65535, found ${port}`)
  if (six !== undefined) {
    if (!six.includes(':') || numberOf(six) === undefined)
      return refuse('EINVAL', `"${shown(text)}": what stands in brackets is no IPv6 address`)
    return { ok: { host: six, port } }
  }
  const host = other!
  if (numberOf(host) !== undefined) return { ok: { host, port } }
  if (ALL_DIGITS.test(host) || !NAME.test(host))
    return refuse('EINVAL', `"${shown(text)}": "${shown(host)}" is neither an address nor a host name`)
  return { ok: { host: host.toLowerCase(), port } }
}

export const formatHostPort = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`

/** Whether it can be given to WireGuard as it is. */
export function isLiteral(endpoint: string): boolean {
  const parsed = parseHostPort(endpoint)
  return 'ok' in parsed && numberOf(parsed.ok.host) !== undefined
}

/** Whether both mean one address and port, however they are written. */
export function sameEndpoint(a: string, b: string): boolean {
  if (a === b) return true
  const x = parseHostPort(a)
  const y = parseHostPort(b)
  if (!('ok' in x) || !('ok' in y) || x.ok.port !== y.ok.port) return false
  const m = numberOf(x.ok.host)
  const n = numberOf(y.ok.host)
  return (
    m !== undefined && n !== undefined && m.family === n.family && m.value === n.value && scope(x.ok) === scope(y.ok)
  )
}

const scope = ({ host }: HostPort): string => /%(.*)$/.exec(host)?.[1] ?? ''

/** The address of an endpoint, without its port. */
export function hostOf(endpoint: string): string | undefined {
  const parsed = parseHostPort(endpoint)
  return 'ok' in parsed ? parsed.ok.host : undefined
}

export function familyOf(address: string): 4 | 6 | undefined {
  return numberOf(address)?.family
}

const within = (value: bigint, width: bigint, base: bigint, bits: bigint): boolean =>
  value >> (width - bits) === base >> (width - bits)
const NETS_4 = {
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'],
  useless: ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'],
}
const NETS_6 = {
  private: ['fc00::/7'],
  /** Unspecified and loopback, link-local (means nothing on another machine), multicast. */
  useless: ['::/127', 'fe80::/10', 'ff00::/8'],
}

/** What an address is good for as a way in: from anywhere, from the same network, or not at all. */
export function scopeOf(address: string): 'public' | 'private' | 'useless' {
  const number = numberOf(address)
  if (number === undefined) return 'useless'
  const nets = number.family === 4 ? NETS_4 : NETS_6
  if (nets.useless.some((net) => inNet(address, net))) return 'useless'
  return nets.private.some((net) => inNet(address, net)) ? 'private' : 'public'
}

/** Whether the address lies in `base/bits`. */
export function inNet(address: string, net: string): boolean {
  const [base, bits] = net.split('/') as [string, string]
  const a = numberOf(address)
  const b = numberOf(base)
  if (a === undefined || b === undefined || a.family !== b.family) return false
  return within(a.value, a.family === 4 ? 32n : 128n, b.value, BigInt(bits))
}

/** What of a hostile text may stand in a message. */
export const shown = (text: string): string => {
  const clean = text.replaceAll(/[^\x20-\x7e]/g, '?')
  return clean.length > 60 ? `${clean.slice(0, 60)}…` : clean
}
