import { describe, expect, test } from 'vitest'
import { examine, type Machine, renderDoctor } from '../../src/cli/doctor.ts'
import type { MeshPeerReport, MeshReport } from '../../src/wire/reports-mesh.ts'

const NOW = 1_800_000_000
const peer = (change: Partial<MeshPeerReport> = {}): MeshPeerReport => ({
  ...{ node: 'b', name: 'nas', ip: '10.77.0.2', roles: ['chunkserver'], path: 'direct', health: 'up' },
  ...{ mtu: 1420, rxBytes: 1, txBytes: 1 },
  ...change,
})
const agent = (change: Partial<MeshReport> = {}): MeshReport => ({
  ...{ node: 'a', name: 'hub', meshId: 'm', ip: '10.77.0.1', prefix: '10.77.0.0/16', roles: ['master'] },
  ...{ interface: 'holdfast0', backend: 'kernel', listenPort: 51_820, mtu: 1420, mapVersion: 1, mapIssuedAt: NOW },
  ...{ mapValidUntil: NOW, mapFrom: 'itself', certificateUntil: NOW + 90 * 86_400, complaints: [], peers: [peer()] },
  ...change,
})
const machine = (change: Partial<Machine> = {}): Machine => ({
  ...{ root: true, tun: 'usable', kernelWireguard: true, controls: ['cubic', 'bbr'], dropsInput: false },
  programs: { ip: true, wg: true, 'wireguard-go': true, sysctl: true },
  disks: [{ path: '/var/lib/holdfast', freeBytes: 50e9, totalBytes: 100e9 }],
  member: { name: 'hub', port: 51_820, joinPort: undefined },
  ...{ agent: agent(), hubAheadSec: 0 },
  ...change,
})
const programs = machine().programs

describe('the doctor', () => {
  test('finds nothing at a machine that lacks nothing', () => {
    expect(examine(machine(), NOW).filter(({ verdict }) => verdict !== 'well')).toEqual([])
  })

  test.each<[string, Partial<Machine>, 'note' | 'bad', string, string]>([
    ['no rights', { root: false }, 'bad', 'made by root only', 'as root'],
    ['wireguard-go only', { kernelWireguard: false }, 'note', 'wireguard-go takes its place', 'modprobe wireguard'],
    ['no tun', { kernelWireguard: false, tun: 'missing' }, 'bad', '/dev/net/tun is missing', 'modprobe tun'],
    ['a closed tun', { kernelWireguard: false, tun: 'closed' }, 'bad', 'may not be opened', 'on its host'],
    [
      'no wireguard-go',
      { kernelWireguard: false, programs: { ...programs, 'wireguard-go': false } },
      'bad',
      'wireguard-go is not installed',
      'apt-get install wireguard-go',
    ],
    ['no wg', { programs: { ...programs, wg: false } }, 'bad', 'wg(8) is not installed', 'wireguard-tools'],
    ['no ip', { programs: { ...programs, ip: false } }, 'bad', 'ip(8) is not installed', 'iproute2'],
    ['no sysctl', { programs: { ...programs, sysctl: false } }, 'note', 'relays blindly only', 'procps'],
    ['a firewall', { dropsInput: true }, 'note', 'drops what comes in', 'lets in UDP 51820; with ufw'],
    [
      'a firewall at a hub',
      { dropsInput: true, member: { name: 'hub', port: 1, joinPort: 9463 } },
      'note',
      'drops',
      'TCP 9463 for joins',
    ],
    ['a firewall that nobody knows', { dropsInput: undefined }, 'note', 'nobody here could say', 'UDP 51820'],
    ['no BBR', { controls: ['cubic'] }, 'note', 'no BBR', 'modprobe tcp_bbr'],
    ['a full disk', { disks: [{ path: '/d', freeBytes: 1, totalBytes: 100 }] }, 'bad', '/d has', 'drain'],
    ['no mesh', { member: undefined }, 'note', 'in no mesh', 'holdfast mesh join'],
    ['no agent', { agent: 'connection refused' }, 'bad', 'does not answer: connection refused', 'holdfast run mesh'],
    ['a clock far behind', { hubAheadSec: 61 }, 'bad', '61 s behind', 'timedatectl'],
    ['a clock a little ahead', { hubAheadSec: -3 }, 'note', '3 s ahead of', 'timedatectl'],
    ['no hub', { hubAheadSec: 'timed out' }, 'note', 'was not asked for the time: timed out', ''],
    [
      'an old certificate',
      { agent: agent({ certificateUntil: NOW + 86_400 }) },
      'bad',
      'was not renewed',
      'see that a hub is reached',
    ],
    [
      'a peer that is away',
      { agent: agent({ peers: [peer({ health: 'down', advice: 'no answer' })] }) },
      'bad',
      'nas is not reached: no answer',
      'does nas run',
    ],
    ['a narrow way', { agent: agent({ peers: [peer({ mtu: 1280 })] }) }, 'note', 'packets of 1280 bytes', ''],
    [
      'a relayed peer',
      { agent: agent({ peers: [peer({ path: 'relayed', via: 'fra' })] }) },
      'note',
      'reached through fra',
      'advertise',
    ],
    ['a complaint', { agent: agent({ complaints: ['it was removed'] }) }, 'note', 'it was removed', ''],
  ])('%s', (_what, change, verdict, what, todo) => {
    const found = examine(machine(change), NOW).filter((finding) => finding.verdict !== 'well')
    expect(found).toHaveLength(1)
    expect(found[0]).toMatchObject({
      verdict,
      what: expect.stringContaining(what),
      todo: expect.stringContaining(todo),
    })
    expect(renderDoctor(found)).toContain(what)
  })
})
