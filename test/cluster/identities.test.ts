/*
 * A cluster whose processes prove who they are, each as if on a machine of its own: what they say to each other goes through
 * TLS. And what those get who may not do what they ask for.
 */

import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { configToml } from '../../src/config/write.ts'
import { hostNet } from '../../src/host/net.ts'
import { netOf } from '../../src/host/world.ts'
import type { Role } from '../../src/wire/call-row.ts'
import { connectLink } from '../../src/wire/connect.ts'
import { PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { HOLDFAST, holdfast } from '../support/holdfast-program.ts'
import { Identities } from '../support/identities.ts'
import { CLUSTER, LocalCluster } from '../support/local-cluster.ts'
import { quietLog } from '../support/quiet-log.ts'
import { realClock } from '../support/real-clock.ts'
import { bytesOf, read, write } from '../support/whole-files.ts'

/** What the certificate of each allows. */
const ALLOWED: Readonly<Record<string, readonly Role[]>> = {
  master: ['master'],
  admin: ['admin'],
  client: ['mount'],
  'chunkserver-1': ['chunkserver'],
  'chunkserver-2': ['chunkserver'],
  'mount-1': ['mount'],
}

let ids: Identities
let cluster: LocalCluster
let runDirs: string
/** Sockets of its own, as on another machine: everything goes through TLS. */
const identityOf = (name: string) => ({ identityDir: join(ids.dir, name), runDir: join(runDirs, name) })

beforeAll(async () => {
  ids = await Identities.make(CLUSTER)
  runDirs = await mkdtemp(join(tmpdir(), 'holdfast-run-'))
  for (const [name, roles] of Object.entries(ALLOWED)) await ids.node(name, roles)
  cluster = await LocalCluster.start({ chunkservers: 2, mounts: 1, identityOf })
}, 60_000)
afterAll(async () => {
  await cluster?.stop()
  await ids?.remove()
  await rm(runDirs, { recursive: true, force: true })
})

/** A chunkserver of its own, started by hand; what it logged within two seconds, and whether the master knows it. */
async function intruder(name: string, identity: { identityDir: string; runDir: string }) {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-intruder-'))
  await mkdir(join(dir, 'disk'))
  const values = { name, dataDir: dir, disks: [`${join(dir, 'disk')} =-64MiB`], listenPort: 0 }
  const master = { masterHost: '127.0.0.1', masterPort: cluster.masterPort }
  const log = { file: join(dir, 'log') }
  const toml = configToml('chunkserver', { ...values, ...master }, { cluster: { id: CLUSTER, ...identity }, log })
  await writeFile(join(dir, 'c.toml'), toml)
  const child = spawn(process.execPath, [HOLDFAST, 'run', 'chunkserver', '--config', join(dir, 'c.toml')])
  try {
    await sleep(3_000)
    return { log: await readFile(join(dir, 'log'), 'utf8'), nodes: (await cluster.status()).nodes.map((n) => n.name) }
  } finally {
    const gone = new Promise((done) => child.once('exit', done))
    child.kill('SIGKILL')
    await gone
    await rm(dir, { recursive: true, force: true })
  }
}

describe('a cluster whose processes prove who they are', () => {
  it('stores and returns files, through a mount and through clients', async () => {
    const data = bytesOf(1, 5_000_000)
    await write(cluster, 'by-client', data)
    await writeFile(join(cluster.path(), 'by-mount'), data)
    expect((await read(await cluster.client(), 'by-mount')).equals(data)).toBe(true)
    expect((await readFile(join(cluster.path(), 'by-client'))).equals(data)).toBe(true)
  })

  it('has no chunkserver with the certificate of a client', async () => {
    const { log, nodes } = await intruder('evil', {
      identityDir: join(ids.dir, 'client'),
      runDir: join(runDirs, 'evil'),
    })
    expect(log).toContain('its certificate allows only mount')
    expect(nodes).not.toContain('evil')
  })

  it('has no chunkserver without a certificate, or of another authority', async () => {
    const none = await intruder('evil', { identityDir: '', runDir: '' })
    expect(none.log).toContain('no connection to the master')
    const others = await Identities.make(CLUSTER)
    try {
      await others.node('evil', ['chunkserver', 'admin', 'master'])
      const foreign = await intruder('evil', { identityDir: join(others.dir, 'evil'), runDir: join(runDirs, 'evil') })
      expect(foreign.log).toContain('no connection to the master')
      expect([...none.nodes, ...foreign.nodes]).not.toContain('evil')
    } finally {
      await others.remove()
    }
  })

  it('answers an admin only to whom the certificate makes one', async () => {
    const link = async (name: string, role: Role) => {
      const net = name === '' ? hostNet : await netOf(identityOf(name), quietLog)
      const hello = { version: PROTOCOL_VERSION, cluster: CLUSTER, role, name: 'test' }
      const options = { hello, handlers: {}, clock: realClock, log: quietLog }
      const peer = await connectLink(net, '127.0.0.1', cluster.masterPort, options)
      try {
        return (await peer.call('status', {})).reply.cluster
      } finally {
        peer.close()
      }
    }
    expect(await link('admin', 'admin')).toBe(CLUSTER)
    for (const [name, role] of [
      ['client', 'admin'],
      ['chunkserver-1', 'admin'],
      ['client', 'mount'],
    ] as const)
      await expect(link(name, role), `${name} as ${role}`).rejects.toMatchObject({ code: 'EPERM' })
    await expect(link('', 'admin')).rejects.toThrow()
  })

  it('is not begun where others could reach it and nobody would have to prove anything', async () => {
    const file = join(runDirs, 'open.toml')
    await writeFile(file, `[master]\ndataDir = "${runDirs}/open"\nlistenHost = "0.0.0.0"\n`)
    const { code, stderr } = await holdfast('run', 'master', '--config', file)
    expect(code).not.toBe(0)
    expect(stderr).toContain('listenHost \\"0.0.0.0\\" is reached from other machines')
  })
})
