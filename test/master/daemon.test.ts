import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Log } from '../../src/base/world.ts'
import type { MasterConfig } from '../../src/config/tables.ts'
import { hostClock, hostRandom } from '../../src/host/clock.ts'
import { hostNet } from '../../src/host/net.ts'
import { run } from '../../src/master/daemon.ts'
import { printClass, readClass } from '../../src/topology/storage-class.ts'
import type { Role } from '../../src/wire/call-row.ts'
import { connectLink } from '../../src/wire/connect.ts'
import { joinRefusalOf } from '../../src/wire/mesh-shapes.ts'
import type { Peer } from '../../src/wire/peer.ts'
import { joining, mesh, meshHash, proved, token } from '../support/mesh.ts'

const dirs: string[] = []
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true })
})

async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-master-'))
  dirs.push(dir)
  return dir
}

interface Running {
  readonly port: number
  readonly cluster: string
  connect(cluster?: string, role?: Role): Promise<Peer>
  stop(): Promise<void>
}

async function start(dataDir: string, id = ''): Promise<Running> {
  const config: MasterConfig = {
    cluster: { id, identityDir: '', runDir: '', trustNetwork: false },
    log: { level: 'info', file: '' },
    dataDir,
    listenHost: '127.0.0.1',
    listenPort: 0,
    topologyFile: '',
    topologyEveryMs: 60_000,
    diskErrors: 2,
    diskErrorsPeriodMs: 600_000,
    copies: 2,
    graceMs: 600_000,
    trashRetentionMs: 86_400_000,
    sessionTimeoutMs: 30_000,
    deadGraceMs: 60_000,
    settleMs: 20_000,
    changelogEntries: 65_536,
    changelogBytes: 64 * 1024 * 1024,
    heartbeatMs: 2000,
    repairParallel: 4,
    repairBytesPerSecond: 0,
    compactBelowPercent: 50,
  }
  const controller = new AbortController()
  let ready: (fields: { port: number; cluster: string }) => void = () => undefined
  const isReady = new Promise<{ port: number; cluster: string }>((resolve) => {
    ready = resolve
  })
  const ignore = (): void => undefined
  const log: Log = {
    debug: ignore,
    info: (fields, message) => {
      if (message === 'master is ready') ready(fields as { port: number; cluster: string })
    },
    warn: ignore,
    error: ignore,
    child: () => log,
  }
  const world = { clock: hostClock, random: hostRandom, net: hostNet, log }
  const ended = run(config, world, controller.signal)
  const { port, cluster } = await Promise.race([isReady, ended.then(() => Promise.reject(new Error('ended at once')))])
  const peers: Peer[] = []
  const stop = async (): Promise<void> => {
    controller.abort()
    await ended
    for (const peer of peers) peer.close()
  }
  stops.push(stop)
  return {
    port,
    cluster,
    stop,
    connect: async (expected = cluster, role: Role = 'mount') => {
      const hello = { version: 1, cluster: expected, role, name: 'test' }
      const peer = await connectLink(hostNet, '127.0.0.1', port, { hello, handlers: {}, clock: hostClock, log })
      peers.push(peer)
      return peer
    },
  }
}

describe('the master as a process', () => {
  test('founds a filesystem at its first start and finds it again at the next, with all that was acknowledged', async () => {
    const dir = await newDir()
    const first = await start(dir)
    const peer = await first.connect()
    const { session } = (await peer.call('sessionOpen', { client: 'c', host: 'h', mountpoint: '/m', version: '0' }))
      .reply
    const root = (await peer.call('getattr', { session, ino: 1 as never })).reply
    expect(root).toMatchObject({ type: 'dir', mode: 0o755, nlink: 2 })
    const made = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        peer.call('make', {
          stamp: { session, seq: i + 1, acked: 0 },
          parent: 1 as never,
          name: `dir-${i}`,
          type: 'dir',
          mode: 0o755,
          umask: 0,
          uid: 1,
          gid: 1,
          rdev: 0,
          target: '',
        }),
      ),
    )
    expect(made).toHaveLength(300)
    await first.stop()

    const second = await start(dir)
    expect(second.cluster).toBe(first.cluster)
    const again = await second.connect()
    await again.call('sessionResume', { session, client: 'c', opens: [], made: [], directories: [], numbers: [] })
    const page = (await again.call('readdir', { session, ino: 1 as never, cookie: 0, limit: 4096 })).reply
    expect(page.entries).toHaveLength(300)
    expect(page.end).toBe(true)
    const { work } = (await (await second.connect(first.cluster, 'admin')).call('status', {})).reply
    expect(work.map((w) => w.name)).toContain('repair')
  })

  test('begins with classes as MooseFS has them, made by commands once: what is deleted stays so', async () => {
    const dir = await newDir()
    const first = await start(dir)
    const admin = await first.connect(first.cluster, 'admin')
    const lines = async (peer: Peer): Promise<string[]> => {
      const { classes, copies } = (await peer.call('classList', {})).reply
      return classes.map((one) => printClass(readClass(one, copies)))
    }
    const begun = ['-K 2* default', '-K 2* 2CP', '-K 3* 3CP']
    const coded = ['-K 2* -A @4+1,* -s 512KiB EC4+1', '-K 2* -A @8+1,* -s 512KiB EC8+1']
    expect(await lines(admin)).toEqual([...begun, ...coded])
    const { classes } = (await admin.call('classList', {})).reply
    const { archiveAfterMs, archiveBy, minBytes } = classes.find(({ name }) => name === 'EC8+1')!
    expect({ archiveAfterMs, archiveBy, minBytes }).toEqual({
      ...{ archiveAfterMs: 86_400_000, archiveBy: 'C', minBytes: 512 * 1024 },
    })
    const { rows } = (await admin.call('changelogPage', { from: 1, limit: 10 })).reply
    expect(rows.map(({ index, kind }) => [index, kind])).toEqual([1, 2, 3, 4].map((index) => [index, 'classSet']))
    const stamp = { session: 0 as never, seq: 0, acked: 0 }
    for (const { classId, name } of classes)
      if (name.startsWith('EC')) await admin.call('classDelete', { stamp, classId })
    const text = { ...classes.find(({ name }) => name === '3CP')!, keep: '4*' }
    await admin.call('classSet', { stamp, classId: 3, text })
    await first.stop()
    const again = await start(dir)
    const changed = ['-K 2* default', '-K 2* 2CP', '-K 4* 3CP']
    expect(await lines(await again.connect(again.cluster, 'admin'))).toEqual(changed)
  })

  test('refuses a mount of another cluster, and a directory of another cluster', async () => {
    const dir = await newDir()
    const master = await start(dir)
    await expect(master.connect('ffff')).rejects.toMatchObject({ code: 'EPROTO' })
    await master.stop()
    await expect(start(dir, 'ffff')).rejects.toMatchObject({ code: 'EINVAL' })
  })

  test('takes over a directory whose owner was killed', async () => {
    const dir = await newDir()
    // No process has this number: the highest that Linux gives is 2^22.
    await writeFile(join(dir, 'master.pid'), '99999999\n')
    const master = await start(dir)
    expect(master.port).toBeGreaterThan(0)
  })

  test('keeps the registry of the mesh: a hub joins nodes over the wire, nobody else may, and a restart changes nothing', async () => {
    const dir = await newDir()
    const first = await start(dir)
    const hub = await first.connect(first.cluster, 'admin')
    await hub.call('meshFound', mesh)
    const { sec } = hostClock.now()
    const waiting = hub.call('meshRegistry', { since: 1, waitMs: 60_000 }, { timeoutMs: 70_000 })
    await hub.call('meshTokenMake', token(1, sec + 3600))
    expect((await waiting).reply.registry?.tokens).toHaveLength(1)
    const asked = proved(joining(1, 1), meshHash(1))
    for (const role of ['mount', 'chunkserver'] as const)
      await expect((await first.connect(first.cluster, role)).call('meshJoin', asked)).rejects.toMatchObject({
        code: 'EPERM',
      })
    const joined = (await hub.call('meshJoin', asked)).reply
    expect(joined).toMatchObject({ ip: '10.77.0.1', again: false })
    const refused = await hub.call('meshJoin', { ...asked, exporter: Buffer.alloc(32) }).catch((error: Error) => error)
    expect(joinRefusalOf((refused as Error).message)).toBe('wrong-proof')
    // Who waits does not keep the master from stopping.
    const last = hub.call('meshRegistry', { since: 3, waitMs: 60_000 }, { timeoutMs: 70_000 })
    last.catch(() => undefined)
    await first.stop()
    await expect(last).rejects.toMatchObject({ code: 'ECONNRESET' })

    const second = await start(dir)
    const again = await second.connect(first.cluster, 'admin')
    expect((await again.call('meshJoin', asked)).reply).toEqual({ ...joined, again: true })
    const { version, registry } = (await again.call('meshRegistry', { since: 0, waitMs: 0 })).reply
    expect([version, registry?.members.length, registry?.tokens[0]?.usesLeft]).toEqual([3, 1, 0])
  })
})
