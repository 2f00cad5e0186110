/* `holdfast mesh token create | list | revoke`. */

import { randomBytes } from 'node:crypto'
import { Args, Flags } from '@oclif/core'
import { FsError, unwrap } from '../../base/fault.ts'
import { roles as ROLES, type Role } from '../../base/mesh-roles.ts'
import { formatDuration } from '../../base/units.ts'
import { pinOf } from '../../host/certificates.ts'
import { hostClock } from '../../host/clock.ts'
import { parseHostPort } from '../../mesh/core/endpoint.ts'
import { encodeToken } from '../../mesh/core/token.ts'
import { tokenKey } from '../../mesh/keys.ts'
import type { MeshToken } from '../../wire/mesh-shapes.ts'
import { ClusterCommand } from '../base.ts'
import { table } from '../render.ts'
import { durationOf } from './trash.ts'

export class TokenCreate extends ClusterCommand {
  static override summary = 'Makes a token and prints the one line that lets a machine in.'
  static override examples = [
    '<%= config.bin %> mesh token create --role chunkserver --label H --site home',
    '<%= config.bin %> mesh token create --role chunkserver --role client --uses 20 --ttl 24h',
  ]
  static override flags = {
    role: Flags.string({
      summary: 'What the node may be (repeatable).',
      // There is one master, and the machine that founded the mesh is its node: nothing would run on another.
      options: ROLES.filter((role) => role !== 'master'),
      multiple: true,
      default: ['chunkserver'],
    }),
    label: Flags.string({ summary: 'The label of its disks.' }),
    site: Flags.string({ summary: 'Its site, when it is not to be measured.' }),
    uses: Flags.integer({ summary: 'How many nodes may join with it.', default: 1, min: 1, max: 600 }),
    ttl: Flags.string({ summary: 'How long it counts (at most 7 days).', default: '1h' }),
    rejoin: Flags.string({ summary: 'Only for this node, which is known and has lost its keys.' }),
  }

  async run(): Promise<{ tokenId: string; token: string; expiresAt: number }> {
    const { flags } = await this.parse(TokenCreate)
    return this.withMaster(flags, async (admin) => {
      const { registry } = await admin.call('meshRegistry', { since: 0, waitMs: 0 })
      if (registry === undefined)
        throw new FsError(
          'ENOENT',
          'this cluster has no mesh yet: holdfast mesh init founds one, and the agent of that machine (holdfast run mesh) tells the master',
        )
      const hubs = registry.mesh.hubs.map((hub) => unwrap(parseHostPort(hub)))
      const secret = randomBytes(32)
      const tokenId = randomBytes(8).toString('hex')
      const expiresAt = hostClock.now().sec + Math.floor(durationOf(flags.ttl) / 1000)
      const rejoin =
        flags.rejoin === undefined
          ? undefined
          : registry.members.find(({ name, node }) => name === flags.rejoin || node === flags.rejoin)?.node
      if (flags.rejoin !== undefined && rejoin === undefined)
        throw new FsError('ENOENT', `no node "${flags.rejoin}" in the mesh`)
      const roles = flags.role as Role[]
      const hints = {
        ...(flags.label === undefined ? {} : { label: flags.label }),
        ...(flags.site === undefined ? {} : { site: flags.site }),
      }
      const pin = pinOf(registry.mesh.authority)
      const token = unwrap(
        encodeToken({ meshId: registry.mesh.id, hubs, pin, tokenId, expiresAt, roles, secret, ...hints }),
      )
      await admin.call('meshTokenMake', {
        ...{ tokenId, key: tokenKey(secret), roles, uses: flags.uses, expiresSec: expiresAt, rejoin },
        ...{ label: flags.label, site: flags.site },
      })
      const disk = roles.includes('chunkserver') ? " --disk '/var/lib/holdfast/disk =-10%'" : ''
      this.log(`HOLDFAST_TOKEN='${token}' holdfast mesh join${disk}`)
      return { tokenId, token, expiresAt }
    })
  }
}

export class TokenList extends ClusterCommand {
  static override summary = 'Every token, without its secret.'
  static override examples = ['<%= config.bin %> mesh token list']

  async run(): Promise<MeshToken[]> {
    const { flags } = await this.parse(TokenList)
    return this.withMaster(flags, async (admin) => {
      const { tokens } = await admin.call('meshTokenList', {})
      const nowSec = hostClock.now().sec
      this.log(
        table(tokens, [
          { title: 'TOKEN', value: (t) => t.tokenId },
          { title: 'ROLES', value: (t) => t.roles.join(', ') },
          { title: 'LABEL', value: (t) => t.label ?? '-' },
          { title: 'SITE', value: (t) => t.site ?? '-' },
          { title: 'USES LEFT', value: (t) => `${t.usesLeft} of ${t.uses}`, right: true },
          {
            title: 'STATE',
            value: (t) =>
              t.revoked
                ? 'revoked'
                : t.expiresSec <= nowSec
                  ? 'expired'
                  : t.usesLeft === 0
                    ? 'spent'
                    : `for ${formatDuration((t.expiresSec - nowSec) * 1000)} more`,
          },
        ]),
      )
      return tokens
    })
  }
}

export class TokenRevoke extends ClusterCommand {
  static override summary = 'Nobody joins with this token any more. Who has joined stays.'
  static override examples = ['<%= config.bin %> mesh token revoke 0123456789abcdef']
  static override args = {
    token: Args.string({ required: true, description: 'Id of the token (holdfast mesh token list).' }),
  }

  async run(): Promise<{ tokenId: string }> {
    const { args, flags } = await this.parse(TokenRevoke)
    return this.withMaster(flags, async (admin) => {
      await admin.call('meshTokenRevoke', { tokenId: args.token })
      this.log(`token ${args.token} is revoked`)
      return { tokenId: args.token }
    })
  }
}
