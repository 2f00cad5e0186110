/*
 * The real WireGuard: wireguard-go, wg(8) and ip(8) in network namespaces that the tests make.
 */

import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Worker } from '../../src/base/worker.ts'
import type { WantedPeer } from '../../src/mesh/core/diff.ts'
import { newKeys, publicKeyOf, readKeys, type WireGuardKeys, writeSecret } from '../../src/mesh/keys.ts'
import { Tunnel, type TunnelRound } from '../../src/mesh/tunnel.ts'
import { HostWireGuard } from '../../src/mesh/wireguard.ts'
import { wireGuardSuite } from '../conformance/wireguard.ts'
import { silentLog } from '../support/manual-clock.ts'
import { NetworkNamespace, noWireGuard, uniqueName } from '../support/network-namespace.ts'
import { realClock } from '../support/real-clock.ts'

const run = promisify(execFile)
const reason = noWireGuard()
if (reason !== undefined) process.stderr.write(`WireGuard is not tried here: ${reason}\n`)
const title = reason === undefined ? 'WireGuard' : `WireGuard (${reason})`

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = realClock.monotonicMs() + 20_000
  while (!(await holds())) {
    if (realClock.monotonicMs() > deadline) throw new Error(`not within 20 s: ${what}`)
    await realClock.sleep(50)
  }
}

describe.skipIf(reason !== undefined)(`${title} by the tools of this machine`, () => {
  let namespace: NetworkNamespace
  beforeAll(async () => {
    namespace = await NetworkNamespace.make()
  })
  afterAll(() => namespace.remove())
  wireGuardSuite(
    (keyFile) => new HostWireGuard(uniqueName('hf'), realClock, silentLog, { keyFile, namespace: namespace.name }),
  )

  test('says what to do on the host where there is no WireGuard at all', async () => {
    const wireguard = new HostWireGuard(uniqueName('hf'), realClock, silentLog, {
      keyFile: '/nonexistent',
      namespace: namespace.name,
      backends: [],
    })
    await expect(wireguard.ensure()).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: expect.stringContaining('no WireGuard here'),
    })
  })

  test('leaves an interface of somebody else alone', async () => {
    const name = uniqueName('hf')
    await namespace.run('ip', 'tuntap', 'add', 'dev', name, 'mode', 'tun')
    const wireguard = new HostWireGuard(name, realClock, silentLog, { keyFile: '/none', namespace: namespace.name })
    await expect(wireguard.ensure()).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(wireguard.destroy()).rejects.toMatchObject({ code: 'EEXIST' })
    await namespace.run('ip', 'link', 'delete', 'dev', name)
  })

  test('takes an interface whose process is about to end, or has just begun, for what it becomes', async () => {
    const options = { keyFile: '/none', namespace: namespace.name }
    const ending = uniqueName('hf')
    await namespace.run('ip', 'tuntap', 'add', 'dev', ending, 'mode', 'tun')
    const destroyed = new HostWireGuard(ending, realClock, silentLog, options).destroy()
    await realClock.sleep(300)
    await namespace.run('ip', 'link', 'delete', 'dev', ending)
    await destroyed
    const beginning = uniqueName('hf')
    const [first, second] = [0, 1].map(() => new HostWireGuard(beginning, realClock, silentLog, options))
    const made = first!.ensure()
    await until('it is there', async () => (await namespace.run('ip', 'link')).includes(beginning))
    expect(await second!.ensure()).toEqual({ backend: 'userspace', made: false })
    await made
    await first!.destroy()
  })

  test('leaves no rule of routing behind, also where an earlier process was killed', async () => {
    const name = uniqueName('hf')
    const rules = () => namespace.run('ip', '-4', 'rule')
    const before = await rules()
    const options = { keyFile: '/none', namespace: namespace.name }
    const [killed, next] = [0, 1].map(() => new HostWireGuard(name, realClock, silentLog, options))
    const settings = { address: '10.77.0.9/16', mtu: 1420, probePort: 51_821 }
    await killed!.ensure()
    await killed!.configure(settings)
    await namespace.run('ip', 'link', 'delete', 'dev', name)
    await until('it is gone', async () => (await next!.dump()) === undefined)
    expect(await next!.ensure()).toMatchObject({ made: true })
    await next!.configure(settings)
    await next!.configure(settings)
    expect((await rules()).split('\n').length).toBe(before.split('\n').length + 1)
    await next!.destroy()
    expect(await rules()).toBe(before)
  })

  test('another process takes over the interface that is there, and takes it away', async () => {
    const name = uniqueName('hf')
    const options = { keyFile: '/none', namespace: namespace.name }
    const first = new HostWireGuard(name, realClock, silentLog, options)
    const second = new HostWireGuard(name, realClock, silentLog, options)
    await first.ensure()
    expect(await second.ensure()).toMatchObject({ made: false })
    await second.destroy()
    await until('the interface is gone', async () => (await first.dump()) === undefined)
    expect(await second.ensure()).toMatchObject({ made: true })
    await second.destroy()
  })
})

describe.skipIf(reason !== undefined)(`${title} between two machines`, () => {
  let directory: string
  let namespaces: NetworkNamespace[]
  let devices: HostWireGuard[]
  let keys: WireGuardKeys[]
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-wg-'))
    namespaces = [await NetworkNamespace.make(), await NetworkNamespace.make()]
    await namespaces[0]!.connect(namespaces[1]!, '192.0.2.1/24', '192.0.2.2/24')
    keys = [newKeys(), newKeys()]
    devices = await Promise.all(
      namespaces.map(async (namespace, i) => {
        const keyFile = join(directory, `key${i}`)
        await writeSecret(keyFile, `${keys[i]!.privateKey}\n`)
        return new HostWireGuard(uniqueName('hf'), realClock, silentLog, {
          keyFile,
          namespace: namespace.name,
          logFile: join(directory, `log${i}`),
        })
      }),
    )
  })
  afterEach(async () => {
    for (const device of devices) await device.destroy()
    for (const namespace of namespaces) await namespace.remove()
    await rm(directory, { recursive: true })
  })

  const wish = (i: number, peer: Partial<WantedPeer> = {}) => ({
    device: {
      publicKey: keys[i]!.publicKey,
      listenPort: 51_820,
      peers: [
        {
          publicKey: keys[1 - i]!.publicKey,
          allowedIps: [`10.77.0.${2 - i}/32`],
          endpoint: { at: `192.0.2.${2 - i}:51820`, insist: false },
          keepaliveS: 25,
          ...peer,
        },
      ],
    },
    settings: { address: `10.77.0.${i + 1}/16`, mtu: 1420 },
    routes: [{ to: `10.77.0.${2 - i}/32`, mtu: 1280 }],
  })
  /** An echo from the first to the second through the tunnel. */
  const echo = async (): Promise<boolean> => {
    const script = `
      const d = require('node:dgram').createSocket('udp4')
      d.bind(7, '10.77.0.2', () => process.stdout.write('.'))
      d.on('message', (m, r) => d.send(m, r.port, r.address))`
    const ask = `
      const d = require('node:dgram').createSocket('udp4')
      d.on('message', () => process.exit(0))
      setInterval(() => d.send('x', 7, '10.77.0.2'), 100)
      setTimeout(() => process.exit(1), 5000)`
    const child = execFile('ip', ['netns', 'exec', namespaces[1]!.name, process.execPath, '-e', script])
    await new Promise((resolve) => child.stdout!.once('data', resolve))
    const answered = await run('ip', ['netns', 'exec', namespaces[0]!.name, process.execPath, '-e', ask]).then(
      () => true,
      () => false,
    )
    child.kill()
    return answered
  }

  test('two tunnels find each other, and one that is killed comes back by itself with all it had', async () => {
    const rounds: TunnelRound[][] = [[], []]
    const stop = new AbortController()
    const workers = devices.map((device, i) => {
      const tunnel = new Tunnel(
        device,
        realClock,
        silentLog,
        () => wish(i),
        (round) => rounds[i]!.push(round),
      )
      const worker = new Worker('tunnel', tunnel, realClock, silentLog)
      device.onGone(() => worker.poke())
      return worker
    })
    const running = workers.map((worker) => worker.run(stop.signal))
    try {
      await until('both are made', async () => rounds.every((all) => all.length > 0))
      expect(rounds.map(([first]) => first!.made)).toEqual([true, true])
      expect(await echo()).toBe(true)
      expect((await devices[0]!.dump())!.peers[0]).toMatchObject({
        endpoint: '192.0.2.2:51820',
        latestHandshakeS: expect.toSatisfy((s: number) => Math.abs(s - Date.now() / 1000) < 20),
      })
      const { stdout } = await run('pgrep', ['-f', `^wireguard-go -f ${devices[0]!.name}$`])
      process.kill(Number(stdout), 'SIGKILL')
      await until('it was made again', async () => rounds[0]!.filter(({ made }) => made).length === 2)
      expect(await devices[0]!.routes()).toEqual([{ to: '10.77.0.2/32', mtu: 1280 }])
      expect(await echo()).toBe(true)
    } finally {
      stop.abort()
      await Promise.all(running)
    }
    expect(rounds[0]!.at(-1)!.backend).toBe('userspace')
  })

  test('the size of packets is found where the way takes less and says nothing', async () => {
    for (const [i, device] of devices.entries()) {
      const { settings, routes, device: wanted } = wish(i)
      const [peer] = wanted.peers
      await device.ensure()
      await device.apply({
        privateKey: true,
        listenPort: 51_820,
        peers: [{ ...peer!, kind: 'set', endpoint: peer!.endpoint.at }],
      })
      expect(await device.configure({ ...settings, probePort: 51_821 })).toEqual([])
      // What a peer begins with: large packets are cut by it, and echoes must not be.
      await device.setRoutes(routes)
    }
    const built = fileURLToPath(new URL('../../dist/', import.meta.url))
    const prober = (i: number, script: string): ChildProcess => {
      const source = `
        const { Probe } = await import('${built}mesh/probe.js')
        const { newMtu, nextEcho, onEcho } = await import('${built}mesh/core/mtu.js')
        const { hostClock } = await import('${built}host/clock.js')
        const quiet = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet }
        let state = newMtu()
        const told = (round) => {
          const { packetBytes, answered } = round.full
          state = onEcho(state, packetBytes, answered, round.rttsMs.length > 0, 0)
          if (state.testing === undefined) { process.stdout.write('mtu ' + state.mtu + ' '); process.exit(0) }
          ask()
        }
        const options = { address: '10.77.0.${i + 1}', port: 51821, prefix: '10.77.0.0/16', boot: ${i + 1} }
        const probe = new Probe(hostClock, quiet, told, options)
        const ask = () => probe.setPeers([
          { id: 'other', address: '10.77.0.${2 - i}', epoch: 1, pace: 'busy', packetBytes: nextEcho(state) }])
        await probe.start()
        process.stdout.write('up ')
        setInterval(() => {}, 1000)
        ${script}`
      return execFile('ip', [
        'netns',
        'exec',
        namespaces[i]!.name,
        process.execPath,
        '--input-type=module',
        '-e',
        source,
      ])
    }
    const answering = prober(1, '')
    try {
      await new Promise((resolve) => answering.stdout!.once('data', resolve))
      /** Larger ones are thrown away by the far end of the cable, without a word; it takes four bytes more than it says. */
      const narrow = async (bytes: number): Promise<void> => {
        const links = JSON.parse(await namespaces[1]!.run('ip', '-json', 'link', 'show', 'type', 'veth')) as {
          ifname: string
        }[]
        await namespaces[1]!.run('ip', 'link', 'set', 'dev', links[0]!.ifname, 'mtu', String(bytes))
      }
      const found = async (): Promise<string> => {
        const asking = prober(0, 'ask()')
        let said = ''
        asking.stdout!.on('data', (text: string) => (said += text))
        await once(asking, 'exit')
        return said.trim()
      }
      expect(await found()).toBe('up mtu 1420')
      // 1376 + 60 fit, 1392 + 60 do not.
      await narrow(1440)
      expect(await found()).toBe('up mtu 1376')
    } finally {
      answering.kill()
    }
  })

  test('a bare peer shakes hands and carries nothing; a peer that begins anew proves its way again', async () => {
    for (const [i, device] of devices.entries()) {
      await device.ensure()
      const { settings, device: wanted } = wish(i, { allowedIps: [], afresh: true })
      await device.apply({ privateKey: true, listenPort: 51_820, peers: [] })
      await device.configure(settings)
      const [peer] = wanted.peers
      await device.apply({
        privateKey: false,
        peers: [{ publicKey: peer!.publicKey, kind: 'set', endpoint: peer!.endpoint!.at, keepaliveS: 25 }],
      })
    }
    const shaken = async (): Promise<number> => (await devices[0]!.dump())!.peers[0]!.latestHandshakeS
    await until('they shook hands', async () => (await shaken()) > 0)
    expect(await echo()).toBe(false)
    // Carrying, and then bare again: what it proved before counts for nothing.
    for (const [i, device] of devices.entries())
      await device.apply({
        privateKey: false,
        peers: [{ publicKey: keys[1 - i]!.publicKey, kind: 'set', allowedIps: wish(i).device.peers[0]!.allowedIps }],
      })
    expect(await echo()).toBe(true)
    await devices[0]!.apply({
      privateKey: false,
      peers: [{ publicKey: keys[1]!.publicKey, kind: 'renew', keepaliveS: 0, allowedIps: [] }],
    })
    expect(await shaken()).toBe(0)
  })
})

describe.skipIf(reason !== undefined)(`${title} keys`, () => {
  test('made here are those that wg(8) makes of them, in files that nobody else reads', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-wg-'))
    const path = join(directory, 'key')
    const keys = newKeys()
    await writeSecret(path, `${keys.privateKey}\n`)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const { stdout } = await run('sh', ['-c', `wg pubkey < ${path}`])
    expect(stdout.trim()).toBe(keys.publicKey)
    expect(publicKeyOf(keys.privateKey)).toBe(keys.publicKey)
    expect(await readKeys(path)).toEqual(keys)
    await writeSecret(path, 'not a key that anybody should see\n')
    await expect(readKeys(path)).rejects.toThrow(`${path}: expected a WireGuard key of 44 characters`)
    expect(await readFile(path, 'utf8')).toContain('not a key')
    await rm(directory, { recursive: true })
  })
})
