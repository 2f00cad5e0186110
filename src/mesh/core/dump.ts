/*
 * What `wg show IF dump` says. Its first line begins with the interface's PRIVATE KEY: it is dropped here, before anything
 * else is looked at, and no message of this file repeats any text of the dump. Preshared keys are dropped likewise; only
 * that there is one is kept.
 *
 *   line 1   private key, public key, listen port, fwmark ("off" or 0x…)
 *   others   public key, preshared key, endpoint, allowed ips, latest handshake (unix seconds, 0 = never), received bytes,
 *            sent bytes, keepalive ("off" or seconds); "(none)" where there is nothing; separated by TAB
 */

import { type Result, refuse } from '../../base/fault.ts'
import { isKey32 } from '../../wire/mesh-shapes.ts'

export interface DevicePeer {
  readonly publicKey: string
  readonly hasPresharedKey: boolean
  readonly endpoint?: string
  /** `10.77.0.5/32`, in the order of the device. */
  readonly allowedIps: readonly string[]
  /** Unix seconds; 0: never. */
  readonly latestHandshakeS: number
  readonly rxBytes: number
  readonly txBytes: number
  /** 0: off. */
  readonly keepaliveS: number
}

export interface Device {
  /** undefined: the interface has no key yet. */
  readonly publicKey?: string
  readonly listenPort: number
  readonly fwmark: number
  readonly peers: readonly DevicePeer[]
}

const NONE = '(none)'

/**
 * `strict`: further fields of a line are an error, as in tests; else they are a newer tool's and are let be. A line that
 * lacks fields is an error always: it was cut, and what was cut off would look removed.
 */
export function parseDump(text: string, { strict = false }: { readonly strict?: boolean } = {}): Result<Device> {
  const lines = text.split('\n')
  const wrong = (line: number, what: string): Result<never> => refuse('EPROTO', `wg show dump, line ${line}: ${what}`)
  if (lines.pop() !== '') return wrong(lines.length + 1, 'it does not end with a line feed')
  const first = lines.shift()
  if (first === undefined) return wrong(1, 'there is none')
  const [publicKey, port, fwmark, ...moreOfFirst] = first.split('\t').slice(1)
  if (fwmark === undefined || (strict && moreOfFirst.length > 0)) return wrong(1, 'expected 4 fields')
  const ownKey = publicKey === NONE ? undefined : publicKey
  if (ownKey !== undefined && !isKey32(ownKey)) return wrong(1, 'the public key is none')
  const listenPort = integer(port!, 65_535)
  if (listenPort === undefined) return wrong(1, 'the listen port is none')
  const mark = fwmark === 'off' ? 0 : /^0x[0-9a-f]{1,8}$/.test(fwmark) ? Number(fwmark) : undefined
  if (mark === undefined) return wrong(1, 'the fwmark is neither off nor a number')
  const peers: DevicePeer[] = []
  const seen = new Set<string>()
  for (const [i, line] of lines.entries()) {
    const [key, preshared, endpoint, allowed, handshake, rx, tx, keepalive, ...more] = line.split('\t')
    if (keepalive === undefined || (strict && more.length > 0)) return wrong(i + 2, 'expected 8 fields')
    if (!isKey32(key!)) return wrong(i + 2, 'the public key is none')
    if (seen.has(key!)) return wrong(i + 2, 'the peer was listed before')
    seen.add(key!)
    const [latestHandshakeS, rxBytes, txBytes] = [handshake!, rx!, tx!].map((digits) => integer(digits))
    if (latestHandshakeS === undefined) return wrong(i + 2, 'the latest handshake is no time')
    if (rxBytes === undefined || txBytes === undefined) return wrong(i + 2, 'a counter of bytes is no number')
    const keepaliveS = keepalive === 'off' ? 0 : integer(keepalive, 65_535)
    if (keepaliveS === undefined) return wrong(i + 2, 'the keepalive is neither off nor seconds')
    peers.push({
      publicKey: key!,
      hasPresharedKey: preshared !== NONE,
      ...(endpoint === NONE ? {} : { endpoint: endpoint! }),
      allowedIps: allowed === NONE || allowed === '' ? [] : allowed!.split(','),
      latestHandshakeS,
      rxBytes,
      txBytes,
      keepaliveS,
    })
  }
  return { ok: { ...(ownKey === undefined ? {} : { publicKey: ownKey }), listenPort, fwmark: mark, peers } }
}

/** Counters are 64 bits wide; what is beyond 2^53 (9 PB) is no counter that anybody will see. */
function integer(digits: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
  const value = /^\d{1,16}$/.test(digits) ? Number(digits) : undefined
  return value === undefined || value > max ? undefined : value
}
