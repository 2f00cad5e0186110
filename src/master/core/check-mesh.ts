/*
 * The part of the check that is about the mesh: what a record says, and, over all of it, whether anything is had by two. Answers
 * findings as sentences. The version of the registry is not counted anew: it says only that something changed.
 */

import { belongsTo, overlapWith } from '../../topology/mesh-addresses.ts'
import { DENIED_MAX } from '../../wire/mesh-shapes.ts'
import { isEndpoint } from './mesh.ts'
import type { State } from './state.ts'

export function wrongWithMember({ mesh }: State, node: string): string[] {
  const member = mesh.members.get(node)
  if (member === undefined) return []
  const who = `node ${node} of the mesh`
  const found: string[] = []
  const { founded } = mesh
  if (founded === undefined) return [`${who}: there is no mesh`]
  if (!belongsTo(founded.prefix, member.ip)) found.push(`${who}: ${member.ip} is not of ${founded.prefix}`)
  if (member.keys.length === 0 || new Set(member.keys).size < member.keys.length)
    found.push(`${who}: ${member.keys.length} keys, not one or two`)
  if (mesh.buried.has(node)) found.push(`${who}: it was removed as well`)
  for (const { serial } of member.certificates)
    if (mesh.denied.has(serial)) found.push(`${who}: its certificate ${serial} is denied`)
  for (const at of [...member.candidates, ...member.statics])
    if (!isEndpoint(at)) found.push(`${who}: ${at} is no address and port`)
  return found
}

export function wrongWithToken({ mesh }: State, tokenId: string): string[] {
  const token = mesh.tokens.get(tokenId)
  if (token === undefined) return []
  const who = `token ${tokenId}`
  const found: string[] = []
  if (mesh.founded === undefined) found.push(`${who}: there is no mesh`)
  if (token.spent.length > token.uses) found.push(`${who}: spent ${token.spent.length} times, made for ${token.uses}`)
  if (token.rejoin !== undefined && token.uses !== 1) found.push(`${who}: ${token.uses} uses for one node`)
  for (const { node, closed } of token.spent)
    if (!closed && mesh.buried.has(node)) found.push(`${who}: lets node ${node} in again, which was removed`)
  return found
}

export function wrongWithBuried({ mesh }: State, node: string): string[] {
  const buried = mesh.buried.get(node)
  if (buried === undefined) return []
  const prefix = mesh.founded?.prefix
  if (prefix === undefined || !belongsTo(prefix, buried.ip))
    return [`removed node ${node}: ${buried.ip} is not of ${prefix ?? 'any mesh'}`]
  return []
}

/** What two have, and what the whole has to be. */
export function wrongWithMesh(state: State): string[] {
  const { mesh } = state
  const { founded } = mesh
  const found: string[] = []
  if ((founded === undefined) !== (state.meshVersion() === 0))
    found.push(`mesh: its version is ${state.meshVersion()}, and there is ${founded === undefined ? 'no' : 'a'} mesh`)
  if (founded !== undefined && 'errno' in overlapWith(founded.prefix, [])) found.push(`mesh: network ${founded.prefix}`)
  if (mesh.certificates() > DENIED_MAX) found.push(`mesh: ${mesh.certificates()} certificates to remember`)
  const owners = new Map<string, string>()
  const own = (what: string, node: string): void => {
    const other = owners.get(what)
    if (other !== undefined) found.push(`nodes ${other} and ${node} of the mesh have one ${what}`)
    owners.set(what, node)
  }
  for (const [node, { name, ip, keys, certificates }] of mesh.members) {
    own(`name ${name}`, node)
    own(`address ${ip}`, node)
    for (const key of keys) own(`key ${key}`, node)
    for (const { serial } of certificates) own(`certificate ${serial}`, node)
  }
  for (const [node, { ip }] of mesh.buried) own(`address ${ip}`, node)
  return found
}
