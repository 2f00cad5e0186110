/*
 * What a hub asks of the registry of the mesh. Every change is answered when it is on disk: a token that was spent, a node that
 * was removed and an address that was given must be so after a power cut as well. For the same reason nothing is told of a
 * registry that is not on disk yet.
 *
 * Here, and only here, it is found out whether a joining node has the key of its token. The key itself leaves the state by no
 * call, and no part of a proof is ever logged.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { FsError, type Result } from '../base/fault.ts'
import { bytesToProve } from '../wire/mesh-proof.ts'
import type { Joined, MeshToken, Registry } from '../wire/mesh-shapes.ts'
import type { Handlers } from '../wire/peer.ts'
import type { Request } from '../wire/protocol.ts'
import type { Command } from './core/commands.ts'
import { refuseJoin, saysTheSame } from './core/mesh.ts'
import type { State } from './core/state.ts'
import type { MeshWatch } from './mesh-watch.ts'
import { NOTHING, type Parts } from './parts.ts'

type MeshCalls =
  | 'meshFound'
  | 'meshRegistry'
  | 'meshTokenMake'
  | 'meshTokenList'
  | 'meshTokenRevoke'
  | 'meshJoin'
  | 'meshConfirm'
  | 'meshCertified'
  | 'meshKey'
  | 'meshReport'
  | 'meshRemove'

export function meshHandlers({ state, loop, log }: Parts, watch: MeshWatch): Handlers<MeshCalls> {
  const change = <R>(prepare: () => Result<Command>): Promise<R> => loop.run<R>({ sync: true, prepare })
  const done = async (command: Command): Promise<typeof NOTHING> => {
    await change(() => ({ ok: command }))
    return NOTHING
  }
  return {
    meshFound: (founding) => done({ kind: 'meshFounded', ...founding }),

    meshRegistry: async ({ since, waitMs }, _bulk, { signal }) => {
      await watch.wait(since, waitMs, signal)
      const version = state.meshVersion()
      if (version === since) return { reply: { version, registry: undefined } }
      const registry = registryOf(state)
      await loop.flushed()
      return { reply: { version, registry } }
    },

    meshTokenMake: async (making) => {
      await done({ kind: 'tokenMade', ...making })
      const { tokenId, roles, uses, expiresSec, rejoin } = making
      log.info({ token: tokenId, roles, uses, expiresSec, rejoin }, 'token made for the mesh')
      return NOTHING
    },
    meshTokenList: () => ({ reply: { tokens: tokensOf(state) } }),
    meshTokenRevoke: ({ tokenId }) => done({ kind: 'tokenRevoked', tokenId }),

    meshJoin: async (request, _bulk, { peer }) => {
      const { exporter: _, proof: __, ...asked } = request
      const who = { token: asked.tokenId, node: asked.node, name: asked.name, hub: peer.hello.name }
      try {
        const reply = await change<Joined>(() => {
          return unproved(state, request) ?? { ok: { kind: 'memberJoined', ...asked } }
        })
        log.info({ ...who, ip: reply.ip, roles: reply.roles, again: reply.again }, 'node joined the mesh')
        return { reply }
      } catch (error) {
        if (error instanceof FsError) log.warn({ ...who, error: error.message }, 'node was not let into the mesh')
        throw error
      }
    },

    meshConfirm: (certificate) => done({ kind: 'memberConfirmed', ...certificate }),
    meshCertified: (certificate) => done({ kind: 'memberCertified', ...certificate }),
    meshKey: (step) => done({ kind: 'memberKey', ...step }),
    meshReport: async (report) => {
      const member = state.mesh.members.get(report.node)
      // Nodes report whenever they connect; what changes nothing is no entry in the changelog.
      if (member !== undefined && saysTheSame(member, report)) return NOTHING
      return done({ kind: 'memberReported', ...report })
    },
    meshRemove: async ({ node }) => {
      const name = state.mesh.members.get(node)?.name
      await done({ kind: 'memberRemoved', node })
      log.info({ node, name }, 'node removed from the mesh')
      return NOTHING
    },
  }
}

/** Before anything is said of the token: whoever does not have it learns no more than that. */
function unproved({ mesh }: State, { tokenId, proof, ...proved }: Request<'meshJoin'>): Result<never> | undefined {
  const token = mesh.tokens.get(tokenId)
  if (token === undefined)
    return refuseJoin('unknown-token', `token ${tokenId} was not made here, or has been over for days`)
  const expected = createHmac('sha256', Buffer.from(token.key, 'hex')).update(bytesToProve(proved)).digest()
  return timingSafeEqual(expected, proof)
    ? undefined
    : refuseJoin('wrong-proof', `what came with token ${tokenId} was not made with its secret`)
}

function tokensOf({ mesh }: State): MeshToken[] {
  return [...mesh.tokens]
    .sort(byId)
    .map(([tokenId, { roles, label, site, uses, expiresSec, rejoin, revoked, spent }]) => ({
      tokenId,
      roles,
      label,
      site,
      uses,
      usesLeft: Math.max(0, uses - spent.length),
      expiresSec,
      rejoin,
      revoked,
    }))
}

function registryOf(state: State): Registry | undefined {
  const { mesh } = state
  if (mesh.founded === undefined) return undefined
  const { id, prefix, port, authority, hubs, mapKey } = mesh.founded
  return {
    mesh: { id, prefix, port, authority, hubs, mapKey },
    members: [...mesh.members]
      .sort(byId)
      .map(([node, { version: _, request: __, ...member }]) => ({ node, ...member })),
    tokens: tokensOf(state),
    buried: [...mesh.buried].sort(byId).map(([node, { name, ip, removedSec }]) => ({ node, name, ip, removedSec })),
    denied: [...mesh.denied].sort(byId).map(([serial, { expiresSec }]) => ({ serial, expiresSec })),
  }
}

const byId = ([x]: readonly [string, unknown], [y]: readonly [string, unknown]): number => (x < y ? -1 : 1)
