/* `holdfast mesh init | join | status | leave | remove | rotate-keys`. */

import { rm } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { Args, Flags } from '@oclif/core'
import { execa } from 'execa'
import { FsError, unwrap } from '../../base/fault.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { AGENT_PORT, JOIN_PORT } from '../../config/tables.ts'
import { hostClock } from '../../host/clock.ts'
import { ownCandidates } from '../../mesh/core/candidates.ts'
import { type HostPort, parseHostPort } from '../../mesh/core/endpoint.ts'
import { MeshDir, type NodeRecord } from '../../mesh/files.ts'
import { HostWireGuard } from '../../mesh/wireguard.ts'
import type { MeshReport } from '../../wire/reports-mesh.ts'
import { connectPeer, quiet } from '../admin.ts'
import { BaseCommand, ClusterCommand } from '../base.ts'
import { nodeConfigFile } from '../find.ts'
import { foundMesh, joinMesh, readToken, type SetUp, type Where } from '../mesh-setup.ts'
import { table } from '../render.ts'

const whereFlags = {
  config: Flags.string({
    summary: "The node's configuration (default: HOLDFAST_CONFIG, then /etc/holdfast/holdfast.toml).",
  }),
  'mesh-dir': Flags.string({ summary: 'Where the node keeps who it is.', default: '/etc/holdfast/mesh' }),
  'key-file': Flags.string({ summary: "WireGuard's private key.", default: '/etc/wireguard/holdfast0.key' }),
  'data-dir': Flags.string({ summary: 'Below it each role keeps what is its own.', default: '/var/lib/holdfast' }),
  interface: Flags.string({ summary: 'The WireGuard interface.', default: 'holdfast0' }),
  port: Flags.integer({ summary: "WireGuard's UDP port.", default: 51_820, min: 1, max: 65_535 }),
  advertise: Flags.string({
    summary: 'Where this node is reached from outside by WireGuard, ADDRESS:PORT (repeatable).',
    multiple: true,
    default: [],
  }),
} as const
/** A hub that is just coming back is waited for. */
const ROTATE_MS = 60_000
const placeFlags = {
  name: Flags.string({ summary: 'What the node is called (default: the name of the machine).' }),
  site: Flags.string({ summary: 'Its site, when it is not to be measured.' }),
  rack: Flags.string({ summary: 'Its rack.' }),
} as const

interface WhereFlags {
  config: string | undefined
  'mesh-dir': string
  'key-file': string
  'data-dir': string
  interface: string
  port: number
  advertise: string[]
}

function whereOf(flags: WhereFlags): Where {
  for (const at of flags.advertise) unwrap(parseHostPort(at))
  return {
    config: flags.config ?? nodeConfigFile(),
    ...{ meshDir: flags['mesh-dir'], keyFile: flags['key-file'], dataDir: flags['data-dir'] },
    ...{ interface: flags.interface, port: flags.port, advertise: flags.advertise },
  }
}

/** The networks that this machine reaches now otherwise than by `interface`, so that the mesh does not take one of them. */
async function ownRoutes(meshInterface: string): Promise<string[]> {
  const { stdout } = await execa('ip', ['-j', '-4', 'route', 'show', 'table', 'all'], { timeout: 5_000 })
  const routes = JSON.parse(stdout) as { dst?: string; dev?: string }[]
  return routes.flatMap(({ dst, dev }) =>
    dst === undefined || dst === 'default' || dev === meshInterface ? [] : [dst.includes('/') ? dst : `${dst}/32`],
  )
}

function say(log: (line: string) => void, { name, ip, roles, config, written, toAdd, warnings }: SetUp): void {
  for (const warning of warnings) log(`WARNING: ${warning}`)
  log(`${name} is ${ip} in the mesh (${roles.join(', ')}).`)
  if (!written) log(`${config} was there and is left as it is. It has to say:\n\n${toAdd}\n`)
  log('Now run, or let systemd run:')
  for (const role of [
    'mesh',
    ...(roles.includes('master') ? ['master'] : []),
    ...(toAdd.includes('[chunkserver]') ? ['chunkserver'] : []),
  ])
    log(`  holdfast run ${role} --config ${config}`)
}

export class MeshInit extends BaseCommand {
  static override summary = 'Founds a mesh: this machine becomes its first hub and master.'
  static override description =
    'Makes the authority of the cluster, the keys of this node and, where there is none, its configuration. Nothing is sent anywhere. The private network is chosen so that it overlaps none that this machine reaches.'
  static override examples = ['<%= config.bin %> mesh init --endpoint hub.example.org --advertise 203.0.113.9:51820']
  static override flags = {
    ...whereFlags,
    ...placeFlags,
    endpoint: Flags.string({
      summary: `Where nodes reach this hub to join, HOST[:PORT] (port ${JOIN_PORT}; repeatable, at most 4).`,
      multiple: true,
      required: true,
    }),
    prefix: Flags.string({ summary: 'The private network, A.B.0.0/16.' }),
  }

  async run(): Promise<SetUp> {
    const { flags } = await this.parse(MeshInit)
    const joins = flags.endpoint.map(
      (text): HostPort => unwrap(parseHostPort(/:\d+$/.test(text) ? text : `${text}:${JOIN_PORT}`)),
    )
    const place = { name: flags.name, label: undefined, site: flags.site, rack: flags.rack }
    const done = await foundMesh(whereOf(flags), place, {
      prefix: flags.prefix,
      joins,
      routes: await ownRoutes(flags.interface),
    })
    say((line) => this.log(line), done)
    this.log('Then `holdfast mesh token create` lets other machines in.')
    return done
  }
}

export class MeshJoin extends BaseCommand {
  static override summary = 'Joins a mesh with a token, which is read from HOLDFAST_TOKEN or standard input.'
  static override description =
    'Repeating it after it broke off is safe: keys are kept, and the token is spent once. Give --disk to store chunks here.'
  static override examples = [
    "HOLDFAST_TOKEN='HF1.…' <%= config.bin %> mesh join --disk '/var/lib/holdfast/disk =-10%'",
  ]
  static override flags = {
    ...whereFlags,
    ...placeFlags,
    'token-stdin': Flags.boolean({ summary: 'Read the token from standard input.' }),
    label: Flags.string({ summary: 'The label of its disks, when the token says none.' }),
    disk: Flags.string({
      summary: 'A disk for chunks, as in the configuration of a chunkserver (repeatable).',
      multiple: true,
      default: [],
    }),
    'as-new': Flags.boolean({
      summary: 'Forget who this machine was: for a disk that was cloned, or a mesh that is gone.',
    }),
  }

  async run(): Promise<SetUp> {
    const { flags } = await this.parse(MeshJoin)
    const token = await readToken(flags['token-stdin'])
    const where = whereOf(flags)
    const place = { name: flags.name, label: flags.label, site: flags.site, rack: flags.rack }
    const addresses = Object.entries(networkInterfaces()).flatMap(([name, all]) =>
      (all ?? []).map(({ address }) => ({ name, address })),
    )
    // The network of the mesh is not known yet; nothing of it is on another interface, or the join is refused.
    const candidates = ownCandidates(addresses, {
      ...{ meshInterface: where.interface, prefix: '255.255.0.0/16', port: where.port },
    })
    const routes = await ownRoutes(where.interface)
    const done = await joinMesh(token, where, place, { disks: flags.disk, asNew: flags['as-new'], candidates, routes })
    say((line) => this.log(line), done)
    return done
  }
}

/** Who this machine is; commands of a node that is in no mesh say how it gets into one. */
async function memberHere(dir: string): Promise<NodeRecord> {
  const own = await new MeshDir(dir).node()
  if (own === undefined) throw new FsError('ENOENT', `${dir}: this machine is in no mesh; see holdfast mesh join`)
  return own
}
const agentOf = (own: NodeRecord, host: string, identityDir: string) =>
  connectPeer(
    { host, port: AGENT_PORT },
    { cluster: own.cluster, identityDir, runDir: '/run/holdfast' },
    undefined,
    'mesh',
  )

export class MeshStatus extends BaseCommand {
  static override summary = 'Every peer: how it is reached, handshake age, RTT, loss, MTU, bytes.'
  static override examples = ['<%= config.bin %> mesh status', '<%= config.bin %> mesh status --json']
  static override flags = { 'mesh-dir': whereFlags['mesh-dir'] }

  async run(): Promise<MeshReport> {
    const { flags } = await this.parse(MeshStatus)
    const own = await memberHere(flags['mesh-dir'])
    const peer = await agentOf(own, own.ip, flags['mesh-dir'])
    try {
      const { reply } = await peer.call('agentStatus', {})
      this.log(renderMesh(reply, hostClock.now().sec))
      return reply
    } finally {
      peer.close()
    }
  }
}

function renderMesh(report: MeshReport, nowSec: number): string {
  const ms = (value: number | undefined): string => (value === undefined ? '-' : `${value.toFixed(1)} ms`)
  const percent = (value: number | undefined): string => (value === undefined ? '-' : `${(value * 100).toFixed(1)} %`)
  const peers = table(report.peers, [
    { title: 'NAME', value: (p) => p.name },
    { title: 'ADDRESS', value: (p) => p.ip },
    { title: 'SITE', value: (p) => p.site ?? '-' },
    { title: 'WAY', value: (p) => (p.via === undefined ? p.path : `${p.path} by ${p.via}`) },
    { title: 'ENDPOINT', value: (p) => p.endpoint ?? '-' },
    {
      title: 'HANDSHAKE',
      value: (p) => (p.handshakeAgeS === undefined ? 'never' : `${formatDuration(p.handshakeAgeS * 1000)} ago`),
    },
    { title: 'RTT', value: (p) => ms(p.rttMs), right: true },
    { title: 'LOSS', value: (p) => percent(p.loss), right: true },
    { title: 'MTU', value: (p) => p.mtu, right: true },
    { title: 'IN', value: (p) => formatBytes(p.rxBytes), right: true },
    { title: 'OUT', value: (p) => formatBytes(p.txBytes), right: true },
    { title: 'STATE', value: (p) => p.health },
  ])
  const advice = report.peers.flatMap((p) => (p.advice === undefined ? [] : [`${p.name}: ${p.advice}`]))
  return [
    `${report.name} is ${report.ip} of mesh ${report.meshId} (${report.roles.join(', ')}), interface ${report.interface} (${report.backend}), UDP ${report.listenPort}`,
    `map ${report.mapVersion} from ${report.mapFrom}, ${formatDuration((nowSec - report.mapIssuedAt) * 1000)} old; certificate for ${formatDuration((report.certificateUntil - nowSec) * 1000)} more`,
    ...(report.peers.length === 0 ? ['no other node is known'] : [peers]),
    ...report.complaints,
    ...advice,
  ].join('\n')
}

export class MeshLeave extends BaseCommand {
  static override summary =
    'This machine leaves the mesh: its hub forgets it, its identity is deleted. Chunks stay on the disks.'
  static override examples = ['<%= config.bin %> mesh leave']
  static override flags = {
    ...whereFlags,
    force: Flags.boolean({ summary: 'Delete the identity although no hub could be told.' }),
  }

  async run(): Promise<{ node: string; told: boolean }> {
    const { flags } = await this.parse(MeshLeave)
    const dir = new MeshDir(flags['mesh-dir'])
    const own = await memberHere(flags['mesh-dir'])
    if (own.roles.includes('master'))
      throw new FsError('EPERM', `${own.name} is a master: the mesh would be without a hub. Nothing was changed`)
    let told = false
    try {
      const hub = await agentOf(own, own.masterHost, flags['mesh-dir'])
      try {
        await hub.call('memberLeave', {})
        told = true
      } finally {
        hub.close()
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      if (!flags.force)
        throw new FsError(
          error.code,
          `the hub could not be told: ${error.message}. With --force this machine forgets the mesh all the same`,
          {
            cause: error,
          },
        )
    }
    // The agent takes the first one's absence for the end, and the interface with it; without an agent it is taken away here.
    for (const file of ['node.json', 'node-id', 'node.key', 'node.crt', 'ca.crt', 'map.json', 'denied'])
      await rm(dir.path(file), { force: true })
    await new HostWireGuard(own.interface, hostClock, quiet, { keyFile: flags['key-file'] }).destroy()
    for (const file of [flags['key-file'], `${flags['key-file']}.next`]) await rm(file, { force: true })
    this.log(`${own.name} has left the mesh. Stop its roles; ${flags.config ?? nodeConfigFile()} still names them.`)
    return { node: own.node, told }
  }
}

export class MeshRotateKeys extends BaseCommand {
  static override summary = "Changes this node's WireGuard key while the tunnel is used."
  static override description =
    'The new key is made here and known to every node before it is used, so connections live on: a handshake later packets flow again.'
  static override examples = ['<%= config.bin %> mesh rotate-keys']
  static override flags = { 'mesh-dir': whereFlags['mesh-dir'] }

  async run(): Promise<{ node: string; key: string }> {
    const { flags } = await this.parse(MeshRotateKeys)
    const own = await memberHere(flags['mesh-dir'])
    const peer = await agentOf(own, own.ip, flags['mesh-dir'])
    try {
      const { key } = (await peer.call('agentRotate', {}, { timeoutMs: ROTATE_MS })).reply
      this.log(`${own.name} uses a new WireGuard key: ${key}`)
      return { node: own.node, key }
    } finally {
      peer.close()
    }
  }
}

export class MeshRemove extends ClusterCommand {
  static override summary =
    'Takes a node out of the mesh: its certificate counts no longer, its address rests for a day.'
  static override examples = ['<%= config.bin %> mesh remove nas-2']
  static override args = { node: Args.string({ required: true, description: 'Name or id of the node.' }) }

  async run(): Promise<{ node: string; name: string }> {
    const { args, flags } = await this.parse(MeshRemove)
    return this.withMaster(flags, async (admin) => {
      const { registry } = await admin.call('meshRegistry', { since: 0, waitMs: 0 })
      const member = registry?.members.find(({ name, node }) => name === args.node || node === args.node)
      if (member === undefined) {
        const names = registry?.members.map(({ name }) => name).join(', ') ?? ''
        throw new FsError('ENOENT', `no node "${args.node}" in the mesh; there are ${names || 'none'}`)
      }
      await admin.call('meshRemove', { node: member.node })
      this.log(`${member.name} (${member.ip}) is of the mesh no more.`)
      return { node: member.node, name: member.name }
    })
  }
}
