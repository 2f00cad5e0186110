/*
 * The join token: all that a node needs to know of a mesh before it has spoken to it, on one line that people paste.
 *
 *   HF1.<base64url of payload>.<base64url of secret and checksum>
 *   payload  version u8, mesh id 8, pin 32, token id 8, expiry u32, roles u8, hubs, label, site
 *            hubs: count u8, each: kind u8 (4, 6 or the length of a name + 16), address or name, port u16
 *            label, site: length u8, text; empty when not given
 *   secret   32 bytes, then CRC-32 of payload and secret
 *
 * The pin is the SHA-256 of the public key (SPKI) of the mesh's certificate authority: the hub's own certificate may be
 * renewed and the hub may move. The checksum tells a token that was not copied whole from one that is wrong; it protects
 * nothing, the secret does. Nothing of a token but its id may be logged, so no message here repeats any of the text.
 *
 * A new field makes a new version: a token lives for hours, so no reader has to know two of them for long.
 */

import { crc32 } from '../../base/checksum.ts'
import { FsError, type Result, refuse } from '../../base/fault.ts'
import { bitsOf, type Role, rolesOf } from '../../base/mesh-roles.ts'
import { numberOf } from '../../topology/address-map.ts'
import { HUBS_MAX } from '../../wire/mesh-shapes.ts'
import { formatHostPort, type HostPort, parseHostPort } from './endpoint.ts'

export interface JoinToken {
  /** 16 hex digits. */
  readonly meshId: string
  /** 1 to 4; the first that answers is asked. */
  readonly hubs: readonly HostPort[]
  /** SHA-256 of the SPKI of the certificate authority, 32 bytes. */
  readonly pin: Uint8Array
  /** 16 hex digits: which row of the hub's table; may be logged. */
  readonly tokenId: string
  /** Unix seconds. */
  readonly expiresAt: number
  /** What the node may become; the hub goes by its own copy. */
  readonly roles: readonly Role[]
  /** What the node is to be called and where it stands, unless it is told otherwise. */
  readonly label?: string
  readonly site?: string
  readonly secret: Uint8Array
}

export const TOKEN_PREFIX = 'HF1.'
const VERSION = 1
export const PIN_BYTES = 32
export const SECRET_BYTES = 32
const ID_BYTES = 8
/** A hint is one word for people; 32 bytes of each keep the whole on one line. */
export const HINT_BYTES_MAX = 32
/** About three lines of a narrow terminal, one of a wide one: four IPv6 hubs without hints take 224. */
export const TOKEN_CHARS_MAX = 240
/** What is read at all: whoever pastes a file instead of a token is told so before anything is decoded. */
const TEXT_CHARS_MAX = 1_000
const KIND_NAME = 16
/** A kind is one byte. */
const NAME_BYTES_MAX = 255 - KIND_NAME

const bad = (what: string): Result<never> => refuse('EINVAL', `join token: ${what}`)

/** Refuses what could not be read back, and what would not fit on a line. */
export function encodeToken(token: JoinToken): Result<string> {
  if (!/^[0-9a-f]{16}$/.test(token.meshId)) return bad('the mesh id has to be 16 hex digits')
  if (!/^[0-9a-f]{16}$/.test(token.tokenId)) return bad('the token id has to be 16 hex digits')
  if (token.pin.length !== PIN_BYTES) return bad(`the pin has to be ${PIN_BYTES} bytes`)
  if (token.secret.length !== SECRET_BYTES) return bad(`the secret has to be ${SECRET_BYTES} bytes`)
  if (token.hubs.length < 1 || token.hubs.length > HUBS_MAX)
    return bad(`1 to ${HUBS_MAX} hubs are needed, there are ${token.hubs.length}`)
  if (!Number.isInteger(token.expiresAt) || token.expiresAt < 0 || token.expiresAt > 0xffff_ffff)
    return bad('the expiry has to be in whole seconds since 1970')
  if (token.roles.length === 0) return bad('at least one role is needed')
  const parts = [Buffer.from([VERSION]), Buffer.from(token.meshId, 'hex'), token.pin, Buffer.from(token.tokenId, 'hex')]
  const fixed = Buffer.alloc(6)
  fixed.writeUInt32BE(token.expiresAt, 0)
  fixed[4] = bitsOf(token.roles)
  fixed[5] = token.hubs.length
  parts.push(fixed)
  for (const [i, hub] of token.hubs.entries()) {
    const parsed = parseHostPort(formatHostPort(hub))
    if (!('ok' in parsed)) return bad(`hub ${i + 1}: ${parsed.detail}`)
    if (hub.host.includes('%')) return bad(`hub ${i + 1}: an address with a scope means nothing on another machine`)
    if (hub.host.length > NAME_BYTES_MAX) return bad(`hub ${i + 1}: a name of more than ${NAME_BYTES_MAX} characters`)
    parts.push(hubBytes(parsed.ok))
  }
  for (const [what, text] of [
    ['label', token.label ?? ''],
    ['site', token.site ?? ''],
  ] as const) {
    const bytes = Buffer.from(text, 'utf8')
    if (bytes.length > HINT_BYTES_MAX) return bad(`the ${what} has more than ${HINT_BYTES_MAX} bytes`)
    if (!isHint(text) || bytes.toString('utf8') !== text)
      return bad(`the ${what} has characters that cannot be printed`)
    parts.push(Buffer.from([bytes.length]), bytes)
  }
  const payload = Buffer.concat(parts)
  const tail = Buffer.alloc(SECRET_BYTES + 4)
  tail.set(token.secret)
  tail.writeUInt32BE(checksum(payload, token.secret), SECRET_BYTES)
  const text = `${TOKEN_PREFIX}${payload.toString('base64url')}.${tail.toString('base64url')}`
  return text.length <= TOKEN_CHARS_MAX
    ? { ok: text }
    : bad(`it would have ${text.length} characters, more than ${TOKEN_CHARS_MAX}: give fewer hubs or shorter names`)
}

/** Says what is wrong and where, never what stands there. Expiry is the caller's business: here is no clock. */
export function parseToken(text: string): Result<JoinToken> {
  const line = text.trim()
  if (line === '') return bad('it is empty')
  if (line.length > TEXT_CHARS_MAX)
    return bad(`it has ${line.length} characters; a token has at most ${TOKEN_CHARS_MAX}`)
  const newer = /^HF(\d+)\./.exec(line)
  if (newer === null) return bad(`it does not begin with ${TOKEN_PREFIX}`)
  if (newer[1] !== '1') return bad(`it is of version ${newer[1]!.slice(0, 9)}, this program knows version 1: update it`)
  const strange = /[^A-Za-z0-9_.-]/.exec(line)
  if (strange !== null)
    return bad(`character ${strange.index + 1} cannot be part of a token; was it broken into lines?`)
  const pieces = line.slice(TOKEN_PREFIX.length).split('.')
  if (pieces.length !== 2)
    return bad(`expected two parts after ${TOKEN_PREFIX}, found ${pieces.length}; was it copied whole?`)
  const payload = fromBase64(pieces[0]!)
  const tail = fromBase64(pieces[1]!)
  if (payload === undefined) return bad('the first part is not base64url; was it copied whole?')
  if (tail === undefined || tail.length !== SECRET_BYTES + 4)
    return bad('the second part is not a secret with its checksum; was it copied whole?')
  const secret = tail.subarray(0, SECRET_BYTES)
  if (tail.readUInt32BE(SECRET_BYTES) !== checksum(payload, secret))
    return bad('the checksum is wrong; was it copied whole?')
  try {
    return { ok: readPayload(payload, new Uint8Array(secret)) }
  } catch (error) {
    if (error instanceof FsError) return { errno: error.code, detail: error.message.replace(/^[^:]*: /, '') }
    throw error
  }
}

const checksum = (payload: Uint8Array, secret: Uint8Array): number => crc32(secret, crc32(payload)) >>> 0
const isHint = (text: string): boolean => !/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text)

/** One text for each bytes: what does not come back the same was not written by us. */
function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

function hubBytes({ host, port }: HostPort): Buffer {
  const number = numberOf(host)
  const portBytes = [port >> 8, port & 0xff]
  if (number === undefined) {
    const name = Buffer.from(host, 'latin1')
    return Buffer.concat([Buffer.from([KIND_NAME + name.length]), name, Buffer.from(portBytes)])
  }
  const length = number.family === 4 ? 4 : 16
  const bytes = Buffer.from(number.value.toString(16).padStart(length * 2, '0'), 'hex')
  return Buffer.concat([Buffer.from([number.family]), bytes, Buffer.from(portBytes)])
}

function readPayload(payload: Buffer, secret: Uint8Array): JoinToken {
  let at = 0
  const fail = (what: string): never => {
    throw new FsError('EINVAL', `join token: ${what}`)
  }
  const take = (length: number, what: string): Buffer => {
    if (at + length > payload.length) fail(`it ends within ${what} (byte ${payload.length})`)
    at += length
    return payload.subarray(at - length, at)
  }
  const byte = (what: string): number => take(1, what)[0]!
  const version = byte('the version')
  if (version !== VERSION)
    fail(`its content is of version ${version}, this program knows version ${VERSION}: update it`)
  const meshId = take(ID_BYTES, 'the mesh id').toString('hex')
  const pin = new Uint8Array(take(PIN_BYTES, 'the pin'))
  const tokenId = take(ID_BYTES, 'the token id').toString('hex')
  const expiresAt = take(4, 'the expiry').readUInt32BE(0)
  const bits = byte('the roles')
  const roles = rolesOf(bits) ?? fail('it has a role that this program does not know: update it')
  if (roles.length === 0) fail('it has no role')
  const count = byte('the number of hubs')
  if (count < 1 || count > HUBS_MAX) fail(`it has ${count} hubs, 1 to ${HUBS_MAX} are possible`)
  const hubs: HostPort[] = []
  for (let i = 1; i <= count; i++) {
    const what = `hub ${i}`
    const kind = byte(what)
    if (kind !== 4 && kind !== 6 && kind <= KIND_NAME) fail(`${what} (byte ${at - 1}): unknown kind of address ${kind}`)
    const bytes = take(kind === 4 ? 4 : kind === 6 ? 16 : kind - KIND_NAME, what)
    const host = kind === 4 ? [...bytes].join('.') : kind === 6 ? sixOf(bytes) : bytes.toString('latin1')
    const port = take(2, what).readUInt16BE(0)
    const parsed = parseHostPort(formatHostPort({ host, port }))
    if (!('ok' in parsed)) return fail(`${what}: ${parsed.detail}`)
    if (kind > KIND_NAME && numberOf(host) !== undefined) fail(`${what}: an address written as a name`)
    hubs.push(parsed.ok)
  }
  const hint = (what: string): string => {
    const length = byte(what)
    if (length > HINT_BYTES_MAX) fail(`${what} has ${length} bytes, more than ${HINT_BYTES_MAX}`)
    const bytes = take(length, what)
    const text = bytes.toString('utf8')
    if (!Buffer.from(text, 'utf8').equals(bytes) || !isHint(text)) fail(`${what} has characters that cannot be printed`)
    return text
  }
  const label = hint('the label')
  const site = hint('the site')
  if (at !== payload.length) fail(`${payload.length - at} bytes too many after the site`)
  return {
    meshId,
    hubs,
    pin,
    tokenId,
    expiresAt,
    roles,
    ...(label === '' ? {} : { label }),
    ...(site === '' ? {} : { site }),
    secret,
  }
}

/** As RFC 5952 wants it: lower case, the first longest run of two or more zero groups as `::`. */
function sixOf(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16))
  const runs = [
    ...groups
      .map((g) => (g === '0' ? '0' : '-'))
      .join('')
      .matchAll(/0{2,}/g),
  ]
  const longest = runs.reduce<RegExpMatchArray | undefined>(
    (a, b) => (a && a[0].length >= b[0].length ? a : b),
    undefined,
  )
  if (longest === undefined) return groups.join(':')
  const from = longest.index!
  return `${groups.slice(0, from).join(':')}::${groups.slice(from + longest[0].length).join(':')}`
}
