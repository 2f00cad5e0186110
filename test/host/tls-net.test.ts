import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect as plainConnect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { serialOf } from '../../src/host/certificates.ts'
import { hostClock } from '../../src/host/clock.ts'
import { TlsNet } from '../../src/host/tls-net.ts'
import type { Role } from '../../src/wire/call-row.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import type { Peer } from '../../src/wire/peer.ts'
import { PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { Identities } from '../support/identities.ts'
import { quietLog } from '../support/quiet-log.ts'

const HOST = '127.0.0.1'
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function identities(cluster?: string): Promise<Identities> {
  const made = await Identities.make(cluster)
  cleanups.push(() => made.remove())
  return made
}

/** A process of a node. Each has a directory of sockets of its own, as on different machines, unless `runDir` is given. */
async function net(identityDir: string, runDir?: string): Promise<TlsNet> {
  const own = runDir ?? (await mkdtemp(join(tmpdir(), 'holdfast-run-')))
  const made = new TlsNet(identityDir, own, hostClock, quietLog)
  cleanups.push(async () => {
    made.close()
    await rm(own, { recursive: true, force: true })
  })
  return made
}

const options = (role: Role) => ({
  ...{ hello: { version: PROTOCOL_VERSION, cluster: '', role, name: role }, clock: hostClock, log: quietLog },
})

/** A master that answers statfs with how much it was sent, and everybody that came. */
async function master(on: TlsNet) {
  const peers: Peer[] = []
  const server = await serveLinks(on, HOST, 0, {
    ...options('master'),
    handlers: {
      append: (_request, bulk) => ({ reply: { length: bulk.length } }),
      read: ({ length }) => ({ reply: {}, bulk: [Buffer.alloc(length, 7)] }),
    },
    onPeer: (peer) => peers.push(peer),
  })
  cleanups.push(() => server.close())
  return { port: server.port, peers }
}

const connect = async (from: TlsNet, port: number, role: Role): Promise<Peer> => {
  const peer = await connectLink(from, HOST, port, { ...options(role), handlers: {} })
  cleanups.push(() => peer.close())
  return peer
}

describe('connections between nodes with certificates', () => {
  it('carry calls both ways, and each side knows which node the other is', async () => {
    const ids = await identities()
    const { port, peers } = await master(await net(await ids.node('m1', ['master', 'admin'])))
    const peer = await connect(await net(await ids.node('c1', ['mount'])), port, 'mount')
    expect(peer.identity).toEqual({ cluster: 'c1', node: 'm1', roles: ['master', 'admin'] })
    expect(peers[0]!.identity).toEqual({ cluster: 'c1', node: 'c1', roles: ['mount'] })
    const at = { disk: 1 as never, chunk: 1 as never, offset: 0 }
    const bytes = Buffer.alloc(3_000_000, 1)
    const sent = await peer.call('append', { ...at, create: true, sync: false }, { bulk: [bytes] })
    expect(sent.reply.length).toBe(bytes.length)
    const { bulk } = await peer.call('read', { ...at, length: 1_000_000 })
    expect(bulk.equals(Buffer.alloc(1_000_000, 7))).toBe(true)
  })

  it('are refused to a role that the certificate does not give', async () => {
    const ids = await identities()
    const { port, peers } = await master(await net(await ids.node('m1', ['master'])))
    const client = await net(await ids.node('c1', ['mount']))
    for (const role of ['chunkserver', 'admin', 'master'] as const)
      await expect(connect(client, port, role)).rejects.toMatchObject({ code: 'EPERM' })
    expect(peers).toEqual([])
    // And nobody takes a client for a master.
    const false1 = await master(client)
    await expect(connect(await net(await ids.node('c2', ['mount'])), false1.port, 'mount')).rejects.toMatchObject({
      code: 'EPERM',
    })
  })

  it('are refused to who has no certificate, or one of another cluster', async () => {
    const ids = await identities()
    const others = await identities()
    const { port, peers } = await master(await net(await ids.node('m1', ['master'])))
    const stranger = await net(await others.node('m1', ['mount', 'master']))
    await expect(connect(stranger, port, 'mount')).rejects.toThrow()
    const answer = await new Promise<string>((resolve) => {
      const socket = plainConnect(port, HOST, () => socket.write('HFST not a hello'))
      let got = Buffer.alloc(0)
      socket.on('data', (data) => (got = Buffer.concat([got, data])))
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(got.toString('latin1')))
    })
    // At most a TLS alert.
    expect(answer.length).toBeLessThan(16)
    expect(peers).toEqual([])
  })

  it('are refused when the certificate is for another address, or has expired', async () => {
    const ids = await identities()
    const { port } = await master(await net(await ids.node('m1', ['master'])))
    const elsewhere = await net(await ids.node('c1', ['mount'], ['10.77.0.9', '::2']))
    await expect(connect(elsewhere, port, 'mount')).rejects.toThrow()
    const old = await net(await ids.node('c2', ['mount'], [HOST], { livesMs: -1_000 }))
    await expect(connect(old, port, 'mount')).rejects.toThrow()
    const stolen = await master(await net(await ids.node('m2', ['master'], ['10.77.0.1'])))
    const client = await net(await ids.node('c3', ['mount']))
    await expect(connect(client, stolen.port, 'mount')).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringContaining('the certificate of node m2 is not for 127.0.0.1'),
    })
  })

  it('end when the node is removed, and cannot be made again', async () => {
    const ids = await identities()
    const dir = await ids.node('m1', ['master'])
    const hub = await net(dir)
    const { port } = await master(hub)
    const goneDir = await ids.node('gone', ['mount'])
    const gone = await net(goneDir)
    const peer = await connect(gone, port, 'mount')
    const stays = await connect(await net(await ids.node('stays', ['mount'])), port, 'mount')
    await writeFile(join(dir, 'denied'), `${serialOf(await readFile(join(goneDir, 'node.crt'), 'utf8'))}\n`)
    hub.look()
    await vi.waitFor(() => expect(peer.closed).toBe(true))
    expect(stays.closed).toBe(false)
    await expect(connect(gone, port, 'mount')).rejects.toThrow()
    await connect(await net(await ids.node('new', ['mount'])), port, 'mount')
  })

  it('use a renewed certificate from the next look on, and keep the one in use when the new one is broken', async () => {
    const ids = await identities()
    const dir = await ids.node('c1', ['mount'])
    const { port, peers } = await master(await net(await ids.node('m1', ['master', 'admin'])))
    const client = await net(dir)
    await ids.node('c1', ['mount', 'chunkserver'])
    client.look()
    await connect(client, port, 'chunkserver')
    await writeFile(join(dir, 'node.crt'), 'nothing')
    client.look()
    await connect(client, port, 'chunkserver')
    expect(peers.map(({ identity }) => identity?.roles)).toEqual([
      ['mount', 'chunkserver'],
      ['mount', 'chunkserver'],
    ])
  })

  it('go through a Unix socket between processes of one user on one machine', async () => {
    const ids = await identities()
    const runDir = await mkdtemp(join(tmpdir(), 'holdfast-run-'))
    const dir = await ids.node('m1', ['master', 'mount'])
    const server = await net(dir, runDir)
    const { port, peers } = await master(server)
    const near = await connect(await net(dir, runDir), port, 'mount')
    expect(peers[0]!.address).toBe(`${HOST}:0`)
    expect(near.identity?.node).toBe('m1')
    // Its roles are those of the node.
    await expect(connect(await net(dir, runDir), port, 'chunkserver')).rejects.toMatchObject({ code: 'EPERM' })
  })
})

describe('an identity that cannot be used', () => {
  it('is refused with the file and the reason', async () => {
    const ids = await identities()
    const dir = await ids.node('n', ['mount'])
    const other = await ids.node('o', ['mount'])
    const broken = async (change: (into: string) => Promise<unknown>): Promise<string> => {
      const into = await mkdtemp(join(ids.dir, 'broken-'))
      for (const file of ['ca.crt', 'node.crt', 'node.key']) await copyFile(join(dir, file), join(into, file))
      await chmod(join(into, 'node.key'), 0o600)
      await change(into)
      return net(into).then(
        () => 'nothing',
        (error: Error) => error.message.replaceAll(into, 'DIR'),
      )
    }
    expect(await broken((into) => chmod(join(into, 'node.key'), 0o640))).toContain(
      'DIR/node.key: others may read it; it must have mode 0600',
    )
    expect(await broken((into) => copyFile(join(other, 'node.key'), join(into, 'node.key')))).toContain(
      'DIR/node.crt: node.key does not belong to it',
    )
    expect(await broken((into) => rm(join(into, 'ca.crt')))).toContain("open 'DIR/ca.crt'")
    expect(await broken((into) => writeFile(join(into, 'node.crt'), 'x'))).toContain('DIR/node.crt: ')
    const strangers = await identities('c2')
    await strangers.node('n', ['mount'])
    expect(await broken((into) => writeFile(join(into, 'ca.crt'), strangers.authority.certificate))).toContain(
      'DIR/node.crt: it is not signed by ca.crt',
    )
    const open = join(ids.dir, 'open')
    await mkdir(open, { mode: 0o755 })
    await expect(net(dir, open)).rejects.toThrow('can be entered by others')
  })
})
