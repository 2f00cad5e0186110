/*
 * Who is in the mesh: founding it, tokens, joining, keys, certificates, leaving. Nothing secret is decided here: whether a node
 * has proved that it holds a token is found out before (service-mesh.ts), and the signing is the hub's.
 *
 * A token is spent by the command that takes the node in, and stays spent whatever becomes of the node. Whoever asks for
 * exactly the same again (node, key, what is to be certified) is answered again: its first answer may have been lost. With
 * anything else a node that is known gets in with a token made for that node only, because node ids and WireGuard keys
 * are no secrets and the answer is worth a certificate.
 */

import { isRefusal, ok, type Result, refuse } from '../../base/fault.ts'
import { numberOf } from '../../topology/address-map.ts'
import { allot, overlapWith, TOMBSTONE_S } from '../../topology/mesh-addresses.ts'
import {
  BURIED_MAX,
  CERTIFICATES_MAX,
  type Certificate,
  DENIED_MAX,
  type Joined,
  type JoinRefusal,
  joinRefusals,
  MEMBERS_MAX,
  TOKEN_LIVES_SEC,
  TOKENS_MAX,
} from '../../wire/mesh-shapes.ts'
import type { CommandOf } from './commands.ts'
import { forgetPlace } from './measured.ts'
import type { MemberRecord, MeshRecord, TokenRecord } from './mesh-records.ts'
import { lapsesSec, TOKEN_KEPT_SEC } from './mesh-table.ts'
import type { State } from './state.ts'
import type { Work } from './work.ts'

/** The word comes first, so that callers can tell refusals apart. */
export const refuseJoin = (why: JoinRefusal, says: string): Result<never> =>
  refuse(joinRefusals[why], `${why}: ${says}`)

const changed = ({ state }: Work): void => state.setCounters({ meshVersion: state.meshVersion() + 1 })
const noMesh = (): Result<never> => refuse('ENOENT', 'there is no mesh: holdfast mesh init makes one')
const noMember = (node: string): Result<never> => refuse('ENOENT', `node ${node} is not of the mesh`)

export function meshFounded(work: Work, { kind: _, ...wanted }: CommandOf<'meshFounded'>): Result<unknown> {
  const { mesh } = work.state
  const fits = overlapWith(wanted.prefix, [])
  if (isRefusal(fits)) return fits
  if (wanted.port === 0) return refuse('EINVAL', 'WireGuard needs a port')
  if (wanted.hubs.length === 0) return refuse('EINVAL', 'a mesh needs a hub that answers joins')
  const known = mesh.founded
  if (known !== undefined) {
    if (known.id !== wanted.id) return refuse('EEXIST', `there is a mesh already: ${known.id}`)
    if (known.prefix !== wanted.prefix || known.authority !== wanted.authority)
      return refuse('EEXIST', `mesh ${known.id} has another network or authority, and keeps them`)
    const same = known.port === wanted.port && known.mapKey === wanted.mapKey && `${known.hubs}` === `${wanted.hubs}`
    if (same) return ok({})
  }
  mesh.found({ version: 1, ...wanted, foundedSec: known?.foundedSec ?? work.now.sec })
  changed(work)
  return ok({})
}

// ---- tokens

export function tokenMade(work: Work, { kind: _, tokenId, ...made }: CommandOf<'tokenMade'>): Result<unknown> {
  const { mesh } = work.state
  if (mesh.founded === undefined) return noMesh()
  const known = mesh.tokens.get(tokenId)
  if (known !== undefined)
    return isSame(known, made) ? ok({}) : refuse('EEXIST', `token ${tokenId} is there and says something else`)
  if (made.uses === 0) return refuse('EINVAL', 'a token has at least one use')
  if (made.expiresSec <= work.now.sec) return refuse('EINVAL', 'the token would be over already')
  if (made.expiresSec > work.now.sec + TOKEN_LIVES_SEC) return refuse('EINVAL', 'a token lives for 7 days at most')
  if (made.rejoin !== undefined) {
    if (!mesh.members.has(made.rejoin)) return noMember(made.rejoin)
    if (made.uses !== 1) return refuse('EINVAL', 'a token for one node has one use')
  }
  if (mesh.tokens.size >= TOKENS_MAX) return refuse('ENOSPC', `there are ${TOKENS_MAX} tokens`)
  mesh.setToken(tokenId, { version: 1, ...made, revoked: false, spent: [] })
  changed(work)
  return ok({})
}

const isSame = (known: TokenRecord, made: Omit<CommandOf<'tokenMade'>, 'kind' | 'tokenId'>): boolean =>
  known.key === made.key &&
  `${known.roles}` === `${made.roles}` &&
  known.uses === made.uses &&
  known.expiresSec === made.expiresSec &&
  known.label === made.label &&
  known.site === made.site &&
  known.rejoin === made.rejoin

export function tokenRevoked(work: Work, { tokenId }: CommandOf<'tokenRevoked'>): Result<unknown> {
  const { mesh } = work.state
  const token = mesh.tokens.get(tokenId)
  if (token === undefined) return refuse('ENOENT', `token ${tokenId}`)
  if (token.revoked) return ok({})
  mesh.setToken(tokenId, { ...token, revoked: true })
  changed(work)
  return ok({})
}

// ---- joining

export function memberJoined(work: Work, command: CommandOf<'memberJoined'>): Result<Joined> {
  const { state, now } = work
  const { mesh } = state
  const { tokenId, node, key, request } = command
  const { founded } = mesh
  if (founded === undefined) return noMesh()
  const token = mesh.tokens.get(tokenId)
  if (token === undefined)
    return refuseJoin('unknown-token', `token ${tokenId} was not made here, or has been over for days`)
  if (token.revoked) return refuseJoin('revoked-token', `token ${tokenId} was revoked`)
  if (now.sec >= token.expiresSec)
    return refuseJoin('expired-token', `token ${tokenId} has been over for ${now.sec - token.expiresSec} s`)
  const known = mesh.members.get(node)
  const before = token.spent.find((s) => s.node === node && s.key === key && s.request === request && !s.closed)
  if (known !== undefined && before !== undefined && known.tokenId === tokenId && known.keys[0] === key)
    return ok(answer(founded, known, true))
  if (token.rejoin !== undefined && (token.rejoin !== node || known === undefined))
    return refuseJoin('other-node', `token ${tokenId} is for node ${token.rejoin} only`)
  if (known !== undefined && token.rejoin === undefined)
    return refuseJoin(
      'known-node',
      `node ${node} is ${known.name} (${known.ip}): if this disk is a copy of that one's, join as a new node; if the node has lost its keys, make a token for it (rejoin)`,
    )
  const owner = mesh.ownerOf(key)
  if (owner !== undefined && owner !== node) return refuseJoin('other-key', `the key is that of node ${owner}`)
  // For what it spent once a node that has been forgotten comes back, not one that has gone on since.
  if ((before === undefined || known !== undefined) && token.spent.length >= token.uses)
    return refuseJoin('spent-token', `token ${tokenId} was used ${token.uses} times, and was made for as many`)
  const ip = known === undefined ? placeFor(state, founded, node, now.sec) : ok(known.ip)
  if (isRefusal(ip)) return ip
  const member: MemberRecord = {
    version: 1,
    name: known?.name ?? freeName(state, command.name),
    keys: [key],
    ip: ip.ok,
    roles: token.roles,
    label: command.label ?? token.label ?? known?.label,
    site: command.site ?? token.site ?? known?.site,
    rack: command.rack ?? known?.rack,
    tokenId,
    joinedSec: now.sec,
    // A node that was there comes back by the same name and address; it is not forgotten if it fails.
    confirmedSec: known?.confirmedSec,
    certificates: [],
    candidates: known?.candidates ?? [],
    statics: known?.statics ?? [],
    relays: known?.relays ?? 'no',
    request,
  }
  // What it had may be in other hands.
  if (known !== undefined) deny(work, known.certificates)
  for (const [other, { ip: rests }] of mesh.buried)
    if (other === node || rests === ip.ok) mesh.setBuried(other, undefined)
  mesh.setMember(node, member)
  if (before === undefined)
    mesh.setToken(tokenId, { ...token, spent: [...token.spent, { node, key, request, closed: undefined }] })
  changed(work)
  return ok(answer(founded, member, false))
}

const answer = ({ prefix }: MeshRecord, member: MemberRecord, again: boolean): Joined => ({
  name: member.name,
  ip: member.ip,
  prefix,
  roles: member.roles,
  label: member.label,
  site: member.site,
  rack: member.rack,
  again,
})

/** An address for a node that has none, if there is room for one node more. One that was removed finds its own again. */
function placeFor({ mesh }: State, { prefix }: MeshRecord, node: string, nowSec: number): Result<string> {
  if (mesh.members.size >= MEMBERS_MAX) return refuseJoin('full', `the mesh has ${MEMBERS_MAX} nodes`)
  if (mesh.buried.size >= BURIED_MAX)
    return refuseJoin('full', `${BURIED_MAX} nodes were removed within a day; their addresses rest`)
  if (mesh.certificates() >= DENIED_MAX) return refuseJoin('full', `there are ${DENIED_MAX} certificates to remember`)
  const leases = [...mesh.members].map(([other, { ip }]) => ({ node: other, ip }))
  const own = mesh.buried.get(node)
  if (own !== undefined) leases.push({ node, ip: own.ip })
  const tombstones = [...mesh.buried.values()].map(({ ip, removedSec }) => ({ ip, removedAt: removedSec }))
  const ip = allot(prefix, leases, tombstones, node, nowSec)
  return isRefusal(ip) ? refuseJoin('full', ip.detail ?? prefix) : ip
}

/** Machines made from one image are all called the same: the second one gets a number. */
function freeName({ mesh }: State, wanted: string): string {
  const taken = new Set([...mesh.members.values()].map(({ name }) => name))
  let name = wanted
  for (let n = 2; taken.has(name); n++) name = `${wanted.slice(0, NUMBERED_CHARS)}-${n}`
  return name
}
/** What is left of 63 characters beside "-600". */
const NUMBERED_CHARS = 59

// ---- members

export function memberConfirmed(work: Work, command: CommandOf<'memberConfirmed'>): Result<unknown> {
  return certified(work, command, true)
}

export function memberCertified(work: Work, command: CommandOf<'memberCertified'>): Result<unknown> {
  return certified(work, command, false)
}

function certified(
  work: Work,
  { node, serial, expiresSec }: Omit<CommandOf<'memberCertified'>, 'kind'>,
  confirms: boolean,
): Result<unknown> {
  const { mesh } = work.state
  const member = mesh.members.get(node)
  if (member === undefined) return noMember(node)
  if (mesh.denied.has(serial)) return refuse('EACCES', `certificate ${serial} was taken back`)
  if (expiresSec <= work.now.sec) return refuse('EINVAL', `certificate ${serial} has expired`)
  const owner = [...mesh.members].find(([, { certificates }]) => certificates.some((c) => c.serial === serial))?.[0]
  if (owner !== undefined && owner !== node) return refuse('EEXIST', `certificate ${serial} is that of node ${owner}`)
  const confirmedSec = member.confirmedSec ?? (confirms ? work.now.sec : undefined)
  if (owner === node) {
    if (confirmedSec === member.confirmedSec) return ok({})
    mesh.setMember(node, { ...member, confirmedSec })
    changed(work)
    return ok({})
  }
  if (mesh.certificates() >= DENIED_MAX) return refuse('ENOSPC', `there are ${DENIED_MAX} certificates to remember`)
  const valid = [...member.certificates.filter((c) => c.expiresSec > work.now.sec), { serial, expiresSec }]
  const tooMany = valid.splice(0, Math.max(0, valid.length - CERTIFICATES_MAX))
  deny(work, tooMany)
  mesh.setMember(node, { ...member, confirmedSec, certificates: valid })
  changed(work)
  return ok({})
}

function deny({ state, now }: Work, certificates: readonly Certificate[]): void {
  for (const { serial, expiresSec } of certificates)
    if (expiresSec > now.sec) state.mesh.setDenied(serial, { version: 1, expiresSec })
}

export function memberKey(work: Work, { node, key, step }: CommandOf<'memberKey'>): Result<unknown> {
  const { mesh } = work.state
  const member = mesh.members.get(node)
  if (member === undefined) return noMember(node)
  const [current, next] = member.keys
  const owner = mesh.ownerOf(key)
  if (owner !== undefined && owner !== node) return refuse('EEXIST', `the key is that of node ${owner}`)
  if (step === 'next' && key === current) return refuse('EINVAL', 'the key that is used cannot come next')
  if (step === 'moved' && key !== next && (key !== current || next !== undefined))
    return refuse('EINVAL', 'a node moves to the key that it has announced')
  const keys = step === 'next' ? [current!, key] : step === 'moved' ? [key] : key === next ? [current!] : member.keys
  if (`${keys}` === `${member.keys}`) return ok({})
  mesh.setMember(node, { ...member, keys })
  changed(work)
  return ok({})
}

export function memberReported(work: Work, command: CommandOf<'memberReported'>): Result<unknown> {
  const { mesh } = work.state
  const { node, candidates, statics, relays } = command
  const member = mesh.members.get(node)
  if (member === undefined) return noMember(node)
  const wrong = [...candidates, ...statics].find((at) => !isEndpoint(at))
  if (wrong !== undefined) return refuse('EINVAL', `${wrong}: no address and port`)
  if (saysTheSame(member, command)) return ok({})
  mesh.setMember(node, { ...member, candidates, statics, relays })
  changed(work)
  return ok({})
}

/** Whether a report changes nothing. */
export const saysTheSame = (
  member: MemberRecord,
  { candidates, statics, relays }: Omit<CommandOf<'memberReported'>, 'kind'>,
): boolean =>
  `${member.candidates}` === `${candidates}` && `${member.statics}` === `${statics}` && member.relays === relays

/** One that is none would make everybody refuse the map that it stands in. */
export function isEndpoint(text: string): boolean {
  const match = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(text)
  const family = match === null ? undefined : numberOf(match[1] ?? match[2]!)?.family
  return family === (match?.[1] === undefined ? 4 : 6) && Number(match![3]) <= 65_535
}

export function memberRemoved(work: Work, { node }: CommandOf<'memberRemoved'>): Result<unknown> {
  const { mesh } = work.state
  const member = mesh.members.get(node)
  if (member === undefined) return mesh.buried.has(node) ? ok({}) : noMember(node)
  forgetMember(work, node, member)
  mesh.setBuried(node, { version: 1, name: member.name, ip: member.ip, removedSec: work.now.sec })
  // It does not come back by repeating what it asked for once.
  for (const [tokenId, token] of mesh.tokens)
    if (token.spent.some((s) => s.node === node && !s.closed))
      mesh.setToken(tokenId, {
        ...token,
        spent: token.spent.map((s) => (s.node === node ? { ...s, closed: true } : s)),
      })
  changed(work)
  return ok({})
}

function forgetMember(work: Work, node: string, { certificates }: MemberRecord): void {
  deny(work, certificates)
  work.state.mesh.setMember(node, undefined)
  forgetPlace(work, node)
}

/** At most so many things whose time is over: unconfirmed members, tokens, addresses that rested, denied certificates. */
export function meshExpired(work: Work, { limit }: CommandOf<'meshExpired'>): Result<unknown> {
  const { mesh } = work.state
  const { sec } = work.now
  let left = limit
  // By their ids: what is held is in another order than what was read from the store.
  const over = <T>(rows: ReadonlyMap<string, T>, untilSec: (row: T) => number): [string, T][] => {
    const due = [...rows].filter(([, row]) => untilSec(row) <= sec).sort(([x], [y]) => (x < y ? -1 : 1))
    const taken = due.slice(0, left)
    left -= taken.length
    return taken
  }
  for (const [node, member] of over(mesh.members, lapsesSec)) forgetMember(work, node, member)
  for (const [id] of over(mesh.tokens, ({ expiresSec }) => expiresSec + TOKEN_KEPT_SEC)) mesh.setToken(id, undefined)
  for (const [node] of over(mesh.buried, ({ removedSec }) => removedSec + TOMBSTONE_S)) mesh.setBuried(node, undefined)
  for (const [serial] of over(mesh.denied, ({ expiresSec }) => expiresSec)) mesh.setDenied(serial, undefined)
  if (left < limit) changed(work)
  return ok({})
}
