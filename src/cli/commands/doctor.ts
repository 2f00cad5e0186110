/* `holdfast doctor`: what this machine lacks for the mesh, and what to do about it. Changes nothing. */

import { existsSync } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'
import { Flags } from '@oclif/core'
import { execa } from 'execa'
import { errnoOf } from '../../base/fault.ts'
import { AGENT_PORT, JOIN_PORT } from '../../config/tables.ts'
import { hostClock } from '../../host/clock.ts'
import { MeshDir, type NodeRecord } from '../../mesh/files.ts'
import { tunState } from '../../mesh/wireguard.ts'
import type { MeshReport } from '../../wire/reports-mesh.ts'
import { connectPeer } from '../admin.ts'
import { BaseCommand } from '../base.ts'
import { examine, type Finding, type Machine, renderDoctor } from '../doctor.ts'

/** Long for a program that only says what it knows. */
const COMMAND_MS = 5_000
const PATH = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`

export class Doctor extends BaseCommand {
  static override summary = 'What this machine lacks for the mesh, and what to do about it.'
  static override description =
    'Looks at WireGuard, /dev/net/tun, programs, the firewall, BBR, disks, the clock against the hub, the size of packets and every peer. ' +
    'Changes nothing. The exit code is 1 when something is bad.'
  static override examples = ['<%= config.bin %> doctor', '<%= config.bin %> doctor --json']
  static override flags = {
    'mesh-dir': Flags.string({ summary: 'Where the node keeps who it is.', default: '/etc/holdfast/mesh' }),
    'data-dir': Flags.string({
      summary: 'A directory whose disk is looked at (repeatable).',
      multiple: true,
      default: ['/var/lib/holdfast'],
    }),
  }

  async run(): Promise<Finding[]> {
    const { flags } = await this.parse(Doctor)
    const findings = examine(await machineHere(flags['mesh-dir'], flags['data-dir']), hostClock.now().sec)
    this.log(renderDoctor(findings))
    if (findings.some(({ verdict }) => verdict === 'bad')) process.exitCode = 1
    return findings
  }
}

async function machineHere(meshDir: string, dataDirs: readonly string[]): Promise<Machine> {
  const own = await new MeshDir(meshDir).node()
  const isHub = own?.joins !== undefined
  const [tun, dropsInput, agent, hub] = await Promise.all([
    tunState(),
    inputDrops(),
    own === undefined ? 'this machine is in no mesh' : reportOf(own, own.ip, meshDir),
    own === undefined || isHub ? 'there is none but this machine' : reportOf(own, own.masterHost, meshDir),
  ])
  const has = (program: string): boolean => PATH.split(':').some((dir) => dir !== '' && existsSync(`${dir}/${program}`))
  const disks = await Promise.all(
    dataDirs.filter(existsSync).map(async (path) => {
      const { bavail, blocks, bsize } = await statfs(path)
      return { path, freeBytes: bavail * bsize, totalBytes: blocks * bsize }
    }),
  )
  return {
    ...{ root: process.getuid?.() === 0, tun, dropsInput, disks, agent, controls: await controls() },
    kernelWireguard: existsSync('/sys/module/wireguard') || (typeof agent !== 'string' && agent.backend === 'kernel'),
    programs: { ip: has('ip'), wg: has('wg'), 'wireguard-go': has('wireguard-go'), sysctl: has('sysctl') },
    member: own === undefined ? undefined : { name: own.name, port: own.port, joinPort: isHub ? JOIN_PORT : undefined },
    hubAheadSec: typeof hub === 'string' ? hub : (hub.now ?? 0) - hostClock.now().sec,
  }
}

async function reportOf(own: NodeRecord, host: string, identityDir: string): Promise<MeshReport | string> {
  try {
    const identity = { cluster: own.cluster, identityDir, runDir: '/run/holdfast' }
    const peer = await connectPeer({ host, port: AGENT_PORT }, identity, undefined, 'mesh')
    try {
      return (await peer.call('agentStatus', {})).reply
    } finally {
      peer.close()
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return (error as Error).message
  }
}

async function controls(): Promise<string[] | undefined> {
  try {
    return (await readFile('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8')).trim().split(/\s+/)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return undefined
  }
}

/** As nft tells it, which shows what iptables has made as well. */
async function inputDrops(): Promise<boolean | undefined> {
  const { exitCode, stdout } = await execa('nft', ['-j', 'list', 'chains'], {
    ...{ reject: false, timeout: COMMAND_MS, stdin: 'ignore', env: { PATH } },
  })
  if (exitCode !== 0) return undefined
  const { nftables } = JSON.parse(stdout) as { nftables: { chain?: { hook?: string; policy?: string } }[] }
  return nftables.some(({ chain }) => chain?.hook === 'input' && chain.policy === 'drop')
}
