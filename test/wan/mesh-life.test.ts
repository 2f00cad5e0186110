/*
 * What happens to a mesh: its hub ends and comes back, or is away; keys and certificates change while packets flow; nodes are
 * removed and leave; strangers knock. One bed, in the order of a mesh's life.
 */

import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Finding } from '../../src/cli/doctor.ts'
import { endOf, makeRequest, signRequest } from '../../src/host/certificates.ts'
import type { NodeRecord } from '../../src/mesh/files.ts'
import type { StatusReport } from '../../src/wire/reports.ts'
import type { MeshPeerReport } from '../../src/wire/reports-mesh.ts'
import { Identities } from '../support/identities.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { ask, type Serving, serve } from './traffic.ts'
import { describeOnBed } from './with-bed.ts'

const STRANGER = fileURLToPath(new URL('./stranger-child.ts', import.meta.url))
const DAY_S = 86_400

describeOnBed('the life of a mesh', () => {
  let bed: Bed
  let machines: Machines
  let echo: Serving
  const own = async (node: string): Promise<NodeRecord> =>
    JSON.parse(await machines.file(node, 'mesh/node.json')) as NodeRecord
  const ipOf = async (node: string): Promise<string> => (await own(node)).ip
  const peerOf = async (node: string, other: string): Promise<MeshPeerReport | undefined> =>
    (await machines.meshStatus(node)).peers.find(({ name }) => name === other)
  const hears = (node: string, other: string, ms = 40_000): Promise<MeshPeerReport> =>
    eventually(`${node} hears ${other}`, ms, async () => {
      const peer = await peerOf(node, other)
      return peer?.handshakeAgeS !== undefined && peer.health === 'up' ? peer : undefined
    })
  /** From home1 to lab1, which are not the hub, for so many seconds. */
  const traffic = async (seconds: number) =>
    ask(bed, 'home1', await ipOf('lab1'), echo.port, { count: seconds * 50, everyMs: 20 })
  const longestGapMs = (rttMs: readonly (number | null)[]): number => {
    let [gap, longest] = [0, 0]
    for (const ms of rttMs) {
      gap = ms === null ? gap + 1 : 0
      longest = Math.max(longest, gap)
    }
    return longest * 20
  }

  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 12, wireguard: false, sites: { fra: { nodes: 1 }, home: { nodes: 4 }, lab: { nodes: 1 } } },
      link: { delayMs: 5 },
    })
    machines = await Machines.on(bed)
    await machines.found('fra1')
    await machines.join('fra1', 'home1', { words: ['--disk', `${machines.dir('home1')}/disk =-64MiB`] })
    machines.start('home1', 'mesh')
    machines.start('home1', 'chunkserver')
    for (const node of ['home2', 'lab1']) {
      await machines.join('fra1', node)
      machines.start(node, 'mesh')
    }
    await hears('home1', 'lab1')
    await hears('home1', 'fra1')
    await hears('lab1', 'fra1')
    echo = await serve(bed, 'lab1', 'echo')
  }, 120_000)
  afterAll(async () => {
    await echo?.stop()
    await machines?.close()
    await bed?.stop()
  })

  test('when the agent or the master of the hub is killed, packets of others flow on and the hub comes back as it was', async () => {
    const before = await machines.meshStatus('home1')
    const flow = traffic(6)
    await machines.kill('fra1', 'mesh')
    await machines.kill('fra1', 'master')
    const { lossRate } = await flow
    expect(lossRate).toBe(0)
    await eventually('the chunkserver is back', 30_000, async () => {
      const { nodes } = await machines.json<StatusReport>('fra1', ['status'])
      return nodes.some(({ name, connected }) => name === 'home1' && connected) ? true : undefined
    })
    const after = await machines.meshStatus('home1')
    expect(after.mapVersion).toBeGreaterThanOrEqual(before.mapVersion)
    for (const { path } of after.peers) expect(path).toBe('direct')
  })

  test('the doctor finds a node well, and says what to do about one whose agent does not run', async () => {
    const words = (node: string): string[] => [
      'doctor',
      '--mesh-dir',
      join(machines.dir(node), 'mesh'),
      '--data-dir',
      machines.dir(node),
    ]
    const findings = await machines.json<Finding[]>('home1', words('home1'))
    for (const of of ['agent', 'clock', 'programs', 'disk'])
      expect(findings).toContainEqual(expect.objectContaining({ of, verdict: 'well' }))
    await machines.stop('home2', 'mesh')
    expect((await machines.failure('home2', words('home2'))).exit).toBe(1)
    machines.start('home2', 'mesh')
  })

  test('a certificate that ends soon is renewed by the hub', async () => {
    await machines.stop('home2', 'mesh')
    const { cluster, node, ip } = await own('home2')
    const authority = {
      certificate: await machines.file('fra1', 'mesh/ca.crt'),
      key: await machines.file('fra1', 'mesh/ca.key'),
    }
    const { request } = await makeRequest(node, await machines.file('home2', 'mesh/node.key'))
    const identity = { cluster, node, roles: ['chunkserver', 'mesh'] }
    const short = await signRequest(authority, request, identity, [ip], { livesMs: 10 * DAY_S * 1000 })
    await writeFile(join(machines.dir('home2'), 'mesh/node.crt'), short, { mode: 0o600 })
    machines.start('home2', 'mesh')
    await eventually('a new certificate', 20_000, async () => {
      const days = (endOf(await machines.file('home2', 'mesh/node.crt')) - Date.now() / 1000) / DAY_S
      return days > 80 ? true : undefined
    })
    expect((await machines.meshStatus('home2')).certificateUntil - Date.now() / 1000).toBeGreaterThan(80 * DAY_S)
  })

  test('a key is changed under traffic with nothing lost but a handshake, at a node and at the hub', async () => {
    for (const node of ['home1', 'fra1']) {
      const flow = traffic(10)
      const before = await machines.file(node, 'wireguard/key')
      const { key } = await machines.json<{ key: string }>(node, [
        'mesh',
        'rotate-keys',
        '--mesh-dir',
        join(machines.dir(node), 'mesh'),
      ])
      expect(await machines.file(node, 'wireguard/key')).not.toBe(before)
      expect(existsSync(join(machines.dir(node), 'wireguard/key.next'))).toBe(false)
      const { stdout } = await bed.run('lab1', 'wg', ['show', bed.node('lab1').wireguardName, 'peers'])
      expect(stdout).toContain(key)
      const { rttMs } = await flow
      expect(longestGapMs(rttMs), `${node}: ${rttMs.map((ms) => ms?.toFixed(0) ?? '-').join(' ')}`).toBeLessThan(1_500)
    }
    await eventually('the hub and the chunkserver still know each other', 20_000, async () => {
      const { nodes } = await machines.json<StatusReport>('fra1', ['status'])
      return nodes.some(({ name, connected }) => name === 'home1' && connected) ? true : undefined
    })
  }, 90_000)

  test('only WireGuard, and at a hub the joins, listen on addresses that strangers reach', async () => {
    for (const node of ['fra1', 'home1']) {
      const ip = await ipOf(node)
      const { stdout } = await bed.run(node, 'ss', ['-lntuH'])
      const sockets = stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/))
      const open = sockets
        .map(([protocol, , , , local]) => ({
          protocol: protocol!,
          at: local!.replace(/:\d+$/, ''),
          port: Number(/:(\d+)$/.exec(local!)![1]),
        }))
        .filter(({ at }) => at !== ip && at !== '127.0.0.1' && at !== '[::1]')
        // Of the relay, while two nodes need it.
        .filter(({ protocol, port }) => node !== 'fra1' || protocol !== 'udp' || port < 40_000 || port > 40_999)
      const ports = [...new Set(open.map(({ protocol, port }) => `${protocol} ${port}`))].sort()
      expect(ports, stdout).toEqual(node === 'fra1' ? ['tcp 9463', 'udp 51820'] : ['udp 51820'])
    }
  })

  const knock = async (node: string, identity: string, host: string, port: number, role: string) => {
    const { cluster } = await own('fra1')
    const { stdout } = await bed.run(node, process.execPath, [
      '--import',
      'tsx',
      STRANGER,
      identity,
      host,
      String(port),
      cluster,
      role,
    ])
    return JSON.parse(stdout) as { greeted: boolean; got?: boolean; why?: string }
  }

  test('a neighbour on the same network gets nothing: not with a certificate of another cluster, not with the address of a member', async () => {
    const target = await ipOf('home1')
    const { cluster } = await own('fra1')
    const others = await Identities.make(cluster)
    try {
      const identity = await others.node('a'.repeat(32), ['mesh', 'admin', 'master'], [await ipOf('lab1')])
      // Linux answers for all its addresses on every interface.
      await bed.run('home4', 'ip', ['route', 'add', `${target}/32`, 'via', bed.node('home1').address])
      expect(await knock('home4', identity, target, 9464, 'mesh')).toMatchObject({ greeted: false })
      await bed.run('home4', 'ip', ['address', 'add', `${await ipOf('lab1')}/32`, 'dev', 'eth0'])
      await bed.run('home4', 'ip', [
        'route',
        'replace',
        `${target}/32`,
        'via',
        bed.node('home1').address,
        'src',
        await ipOf('lab1'),
      ])
      expect(await knock('home4', identity, target, 9464, 'mesh')).toMatchObject({ greeted: false })
      // The same words with the identity of a member, in its place: it is not the test that fails.
      expect(await knock('lab1', join(machines.dir('lab1'), 'mesh'), target, 9464, 'mesh')).toEqual({
        greeted: true,
        got: true,
      })
    } finally {
      await bed.run('home4', 'ip', ['route', 'delete', `${target}/32`])
      await bed.run('home4', 'ip', ['address', 'flush', 'dev', 'eth0', 'to', await ipOf('lab1')])
      await others.remove()
    }
  })

  test('a client cannot be a chunkserver, an admin or a master', async () => {
    await machines.join('fra1', 'home3', { role: ['client'] })
    machines.start('home3', 'mesh')
    await hears('home3', 'fra1')
    const identity = join(machines.dir('home3'), 'mesh')
    const master = await ipOf('fra1')
    for (const role of ['chunkserver', 'admin', 'master'])
      expect(await knock('home3', identity, master, 9460, role), role).toMatchObject({ greeted: false })
    expect(await knock('home3', identity, master, 9460, 'mount')).toMatchObject({ greeted: true })
    // Nor does the command line of such a machine make tokens.
    const { said } = await machines.failure('home3', ['mesh', 'token', 'create'])
    expect(said).not.toBe('')
  })

  test('with the hub away tunnels go on, an agent starts from its disk, and a node that missed a map gets it from others', async () => {
    await machines.stop('home2', 'mesh')
    const missed = (await machines.meshStatus('home1')).mapVersion
    await machines.holdfast('fra1', ['mesh', 'remove', 'home3'])
    const newest = await eventually('a map without home3', 10_000, async () => {
      const { mapVersion, peers } = await machines.meshStatus('home1')
      return mapVersion > missed && !peers.some(({ name }) => name === 'home3') ? mapVersion : undefined
    })
    await machines.stop('fra1', 'master', 'SIGKILL')
    await machines.stop('fra1', 'mesh', 'SIGKILL')
    await bed.isolate('fra', true)
    machines.start('home2', 'mesh')
    await eventually('home2 has it from another', 40_000, async () => {
      const { mapVersion, mapFrom } = await machines.meshStatus('home2')
      return mapVersion === newest && mapFrom !== 'its own disk' ? true : undefined
    })
    const flow = traffic(5)
    await machines.kill('home1', 'mesh')
    expect((await flow).lossRate).toBe(0)
    await hears('home1', 'lab1')
    expect(await machines.meshStatus('home1')).toMatchObject({ mapVersion: newest })
    await bed.isolate('fra', false)
    machines.start('fra1', 'mesh')
    machines.start('fra1', 'master')
    await hears('home1', 'fra1')
  }, 120_000)

  test('who was removed reaches nobody, and comes back with a new token only', async () => {
    const target = await ipOf('home1')
    const identity = join(machines.dir('home3'), 'mesh')
    expect(await knock('home3', identity, target, 9464, 'mesh')).toMatchObject({ greeted: false })
    // Its certificate on a way that is there: over the underlay, where its key is of no matter.
    await bed.run('home3', 'ip', ['route', 'replace', `${target}/32`, 'via', bed.node('home1').address])
    await machines.stop('home3', 'mesh')
    expect(await knock('home3', identity, target, 9464, 'mesh')).toMatchObject({ greeted: false })
    await bed.run('home3', 'ip', ['route', 'delete', `${target}/32`])
    const again = await machines.failure('home3', machines.joinWords('home3'), { HOLDFAST_TOKEN: 'HF1.none' })
    expect(again.exit).not.toBe(0)
    await eventually('the hub makes tokens', 30_000, async () => {
      const { token } = await machines.token('fra1')
      await machines.joinWith('home3', token, ['--as-new'])
      return true
    })
    machines.start('home3', 'mesh')
    await hears('home3', 'home1')
  }, 90_000)

  test('a node that leaves takes its interface and its identity along, and the others forget it', async () => {
    const words = [
      '--mesh-dir',
      join(machines.dir('home3'), 'mesh'),
      '--key-file',
      join(machines.dir('home3'), 'wireguard/key'),
    ]
    await machines.holdfast('home3', ['mesh', 'leave', ...words])
    await machines.stop('home3', 'mesh')
    expect(existsSync(join(machines.dir('home3'), 'mesh/node.json'))).toBe(false)
    expect(existsSync(join(machines.dir('home3'), 'wireguard/key'))).toBe(false)
    const { stdout } = await bed.run('home3', 'ip', ['-o', 'link'])
    expect(stdout).not.toContain(bed.node('home3').wireguardName)
    await eventually('home1 forgets it', 20_000, async () =>
      (await peerOf('home1', 'home3')) === undefined ? true : undefined,
    )
    await mkdir(machines.dir('home3'), { recursive: true })
    const { token } = await machines.token('fra1')
    await machines.joinWith('home3', token)
    expect(await readFile(machines.config('home3'), 'utf8')).toContain('[mesh]')
  })
})
