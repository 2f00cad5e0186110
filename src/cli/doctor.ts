/*
 * What this machine lacks to be a node of a mesh, or to be a good one, in sentences with what to do. Pure: from what was found
 * out about the machine. What could not be found out is said too: it is no reason to call something well.
 */

import { formatBytes, formatDuration } from '../base/units.ts'
import type { MeshReport } from '../wire/reports-mesh.ts'

export interface Machine {
  readonly root: boolean
  /** /dev/net/tun: `closed` is there and may not be opened. */
  readonly tun: 'missing' | 'closed' | 'usable'
  readonly kernelWireguard: boolean
  readonly programs: Readonly<Record<'ip' | 'wg' | 'wireguard-go' | 'sysctl', boolean>>
  /** Congestion controls of this kernel; undefined: not to be read here. */
  readonly controls: readonly string[] | undefined
  /** Whether a chain of the firewall drops what comes in unless a rule takes it; undefined: nobody could say. */
  readonly dropsInput: boolean | undefined
  readonly disks: readonly { readonly path: string; readonly freeBytes: number; readonly totalBytes: number }[]
  /** undefined: in no mesh. */
  readonly member: { readonly name: string; readonly port: number; readonly joinPort: number | undefined } | undefined
  /** What the agent says, or why it does not. */
  readonly agent: MeshReport | string
  /** The hub's clock less this one's, seconds; or why the hub was not asked. */
  readonly hubAheadSec: number | string
}

export type Verdict = 'well' | 'note' | 'bad'
export interface Finding {
  readonly of: string
  readonly verdict: Verdict
  readonly what: string
  /** '' where nothing is to be done. */
  readonly todo: string
}

/** Handshakes and certificates bear a minute; locks and times of files want less. */
const CLOCK_BAD_SEC = 60
const CLOCK_NOTE_SEC = 2
/** A chunkserver keeps a tenth free by default; below this other programs of the machine get into trouble. */
const DISK_FREE_SHARE = 0.05
/** Renewed 30 days before its end by any hub that answers. */
const CERTIFICATE_NOTE_SEC = 25 * 86_400

const well = (of: string, what: string): Finding => ({ of, verdict: 'well', what, todo: '' })
const note = (of: string, what: string, todo: string): Finding => ({ of, verdict: 'note', what, todo })
const bad = (of: string, what: string, todo: string): Finding => ({ of, verdict: 'bad', what, todo })

export function examine(machine: Machine, nowSec: number): Finding[] {
  return [
    ...tunnel(machine),
    ...programs(machine),
    firewall(machine),
    control(machine),
    ...machine.disks.map(disk),
    ...mesh(machine, nowSec),
  ]
}

function tunnel({ root, tun, kernelWireguard, programs }: Machine): Finding[] {
  const rights = root
    ? []
    : [bad('rights', 'network interfaces are made by root only', 'run this, and `holdfast run mesh`, as root')]
  if (kernelWireguard) return [...rights, well('WireGuard', "the kernel's own is there")]
  if (tun === 'usable' && programs['wireguard-go'])
    return [
      ...rights,
      note(
        'WireGuard',
        'the kernel has none: wireguard-go takes its place and costs processor time',
        'modprobe wireguard, on the host of a container',
      ),
    ]
  const lacks = [
    ...(tun === 'usable' ? [] : [tun === 'missing' ? '/dev/net/tun is missing' : '/dev/net/tun may not be opened']),
    ...(programs['wireguard-go'] ? [] : ['wireguard-go is not installed']),
  ]
  return [
    ...rights,
    bad(
      'WireGuard',
      `the kernel has none, and ${lacks.join(', and ')}`,
      tun === 'usable'
        ? 'modprobe wireguard, or apt-get install wireguard-go'
        : 'modprobe wireguard, or modprobe tun and apt-get install wireguard-go; in a container on its host, which has to hand on /dev/net/tun',
    ),
  ]
}

function programs({ programs }: Machine): Finding[] {
  const findings = [
    ...(programs.ip ? [] : [bad('programs', 'ip(8) is not installed', 'apt-get install iproute2')]),
    ...(programs.wg ? [] : [bad('programs', 'wg(8) is not installed', 'apt-get install wireguard-tools')]),
    ...(programs.sysctl
      ? []
      : [note('programs', 'sysctl(8) is not installed: this node relays blindly only', 'apt-get install procps')]),
  ]
  return findings.length > 0 ? findings : [well('programs', 'ip(8), wg(8) and sysctl(8) are there')]
}

function firewall({ dropsInput, member }: Machine): Finding {
  const udp = `UDP ${member?.port ?? 51_820}`
  const ports =
    member?.joinPort === undefined
      ? udp
      : `${udp}, UDP 40000 to 40999 for relaying and TCP ${member.joinPort} for joins`
  if (dropsInput === true)
    return note(
      'firewall',
      'it drops what comes in unless a rule takes it',
      `see that it lets in ${ports}; with ufw: ufw allow ${member?.port ?? 51_820}/udp`,
    )
  if (dropsInput === false)
    return well(
      'firewall',
      'nothing on this machine drops what comes in; routers before it have to let in the same ports',
    )
  return note('firewall', 'nobody here could say what it drops', `see that it lets in ${ports}`)
}

function control({ controls }: Machine): Finding {
  if (controls === undefined) return note('BBR', 'which congestion controls there are could not be read', '')
  return controls.includes('bbr')
    ? well('BBR', 'TCP does not take every lost packet for a full line')
    : note(
        'BBR',
        'this kernel has no BBR: on a lossy line TCP will use a hundredth of it',
        'modprobe tcp_bbr, on the host of a container',
      )
}

function disk({ path, freeBytes, totalBytes }: Machine['disks'][number]): Finding {
  const what = `${path} has ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`
  return freeBytes < totalBytes * DISK_FREE_SHARE
    ? bad('disk', what, 'make room, or drain the disk: holdfast disk drain')
    : well('disk', what)
}

function mesh({ member, agent, hubAheadSec }: Machine, nowSec: number): Finding[] {
  if (member === undefined)
    return [note('mesh', 'this machine is in no mesh', 'holdfast mesh join, with a token of a hub')]
  if (typeof agent === 'string')
    return [bad('agent', `it does not answer: ${agent}`, 'holdfast run mesh, or systemctl start its service')]
  const findings = [well('agent', `${member.name} is ${agent.ip}, interface ${agent.interface} (${agent.backend})`)]
  findings.push(...agent.complaints.map((complaint) => note('agent', complaint, '')))
  findings.push(clock(hubAheadSec))
  const leftSec = agent.certificateUntil - nowSec
  if (leftSec < CERTIFICATE_NOTE_SEC)
    findings.push(
      bad(
        'certificate',
        `it ends in ${formatDuration(Math.max(0, leftSec) * 1000)} and was not renewed`,
        'see that a hub is reached; after its end: holdfast mesh join --as-new',
      ),
    )
  for (const { name, health, advice, mtu, path, via } of agent.peers) {
    if (health === 'down' || health === 'stale')
      findings.push(
        bad(
          'peer',
          `${name} is not reached${advice === undefined ? '' : `: ${advice}`}`,
          `does ${name} run, and is UDP let through on the way?`,
        ),
      )
    else if (mtu > 0 && mtu < agent.mtu)
      findings.push(note('MTU', `to ${name} packets of ${mtu} bytes pass so far, the interface has ${agent.mtu}`, ''))
    if (path === 'relayed')
      findings.push(
        note(
          'way',
          `${name} is reached through ${via ?? 'nobody'}: routers stand between`,
          'send UDP on to one of the two and say so there: [mesh] advertise',
        ),
      )
  }
  return findings
}

function clock(hubAheadSec: number | string): Finding {
  if (typeof hubAheadSec === 'string') return note('clock', `the hub was not asked for the time: ${hubAheadSec}`, '')
  const off = Math.abs(hubAheadSec)
  const what = `this clock is ${off} s ${hubAheadSec > 0 ? 'behind' : 'ahead of'} the hub's`
  if (off >= CLOCK_BAD_SEC) return bad('clock', what, 'set it: timedatectl set-ntp true')
  return off > CLOCK_NOTE_SEC
    ? note('clock', what, 'timedatectl set-ntp true')
    : well('clock', "it agrees with the hub's")
}

const MARK: Readonly<Record<Verdict, string>> = { well: 'ok  ', note: 'note', bad: 'BAD ' }
export const renderDoctor = (findings: readonly Finding[]): string =>
  findings
    .map(({ of, verdict, what, todo }) => `${MARK[verdict]} ${of}: ${what}${todo === '' ? '' : `\n       → ${todo}`}`)
    .join('\n')
