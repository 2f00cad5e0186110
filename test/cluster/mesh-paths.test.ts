/*
 * The ways of a pair on a real network: two homes behind routers with NAT, a hub with a public address, all with wireguard-go.
 * What the agents and the hub do with the pure parts (plan, diff, path, relay rules) is done here by hand.
 */

import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { candidateStep } from '../../src/mesh/core/candidates.ts'
import type { DevicePeer } from '../../src/mesh/core/dump.ts'
import {
  newPath,
  type PathEvent,
  type PathState,
  PUNCH_MS,
  pathOf,
  provedWay,
  stepPath,
} from '../../src/mesh/core/path.ts'
import { type Pair, type PeerEntry, type PeerMap, pairOf } from '../../src/mesh/core/peer-map.ts'
import { plan, relayedBy } from '../../src/mesh/core/plan.ts'
import { newKeys, type WireGuardKeys, writeSecret } from '../../src/mesh/keys.ts'
import { Tunnel } from '../../src/mesh/tunnel.ts'
import { HostWireGuard } from '../../src/mesh/wireguard.ts'
import { silentLog } from '../support/manual-clock.ts'
import { mapOf, peer } from '../support/mesh-samples.ts'
import { NetworkNamespace, noWireGuard, uniqueName } from '../support/network-namespace.ts'
import { realClock } from '../support/real-clock.ts'

const reason = noWireGuard('nft')
if (reason !== undefined) process.stderr.write(`The ways of the mesh are not tried here: ${reason}\n`)

const HUB = '198.51.100.1'
const PORT = 51_820
const built = fileURLToPath(new URL('../../dist/', import.meta.url))

interface Machine {
  readonly number: number
  readonly namespace: NetworkNamespace
  readonly keyFile: string
  keys: WireGuardKeys
  readonly wireguard: HostWireGuard
  readonly tunnel: Tunnel
}

class World {
  readonly #directory: string
  readonly #namespaces: NetworkNamespace[] = []
  readonly #children: ChildProcess[] = []
  machines: readonly Machine[] = []
  map: PeerMap = mapOf([])
  /** Homes whose direct way has failed, as their probes would say. */
  suspects = new Set<string>()
  /** Between the routers. */
  #inet!: NetworkNamespace
  changedMs = 0

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** `kind`: what the routers of the homes do with ports. */
  static async make(kind: 'cone' | 'symmetric'): Promise<World> {
    const world = new World(await mkdtemp(join(tmpdir(), 'holdfast-paths-')))
    const [inet, hub, routerA, routerB, homeA, homeB] = await Promise.all(
      Array.from({ length: 6 }, () => NetworkNamespace.make()),
    )
    world.#namespaces.push(inet!, hub!, routerA!, routerB!, homeA!, homeB!)
    world.#inet = inet!
    await inet!.connect(hub!, '198.51.100.254/24', `${HUB}/24`)
    await inet!.run('sysctl', '-qw', 'net.ipv4.ip_forward=1')
    await hub!.run('sysctl', '-qw', 'net.ipv4.ip_forward=1')
    await hub!.run('ip', 'route', 'add', 'default', 'via', '198.51.100.254')
    for (const [router, home, outside, inside] of [
      [routerA!, homeA!, '203.0.113', '192.168.1'],
      [routerB!, homeB!, '192.0.2', '192.168.7'],
    ] as const) {
      const [, wan] = await inet!.connect(router, `${outside}.254/24`, `${outside}.1/24`)
      const [lan] = await router.connect(home, `${inside}.1/24`, `${inside}.2/24`)
      await router.run('ip', 'route', 'add', 'default', 'via', `${outside}.254`)
      await home.run('ip', 'route', 'add', 'default', 'via', `${inside}.1`)
      await router.run('sysctl', '-qw', 'net.ipv4.ip_forward=1')
      await router.run(
        'nft',
        `table ip home {
          chain post { type nat hook postrouting priority 100; oifname "${wan}" masquerade ${kind === 'cone' ? '' : 'fully-random'}; }
          chain pass { type filter hook forward priority 0; policy drop; iifname "${lan}" accept; ct state established,related accept; }
          chain own { type filter hook input priority 0; policy drop; ct state established,related accept; }
        }`,
      )
    }
    world.machines = await Promise.all(
      [hub!, homeA!, homeB!].map((namespace, number) => world.#machine(number, namespace)),
    )
    world.publish({
      ...mapOf(world.machines.map((machine) => world.#entry(machine))),
      validUntil: Number.MAX_SAFE_INTEGER,
    })
    return world
  }

  async #machine(number: number, namespace: NetworkNamespace): Promise<Machine> {
    const machine = { number, namespace, keys: newKeys() }
    const keyFile = join(this.#directory, `key${number}`)
    await writeSecret(keyFile, `${machine.keys.privateKey}\n`)
    const wireguard = new HostWireGuard(uniqueName('hf'), realClock, silentLog, { keyFile, namespace: namespace.name })
    const id = peer(number).id
    const tunnel = new Tunnel(
      wireguard,
      realClock,
      silentLog,
      (device, nowS) => {
        const step = candidateStep(this.changedMs, realClock.monotonicMs())
        const steps = new Map(this.map.peers.map((other) => [other.id, step]))
        return {
          device: {
            publicKey: machine.keys.publicKey,
            listenPort: PORT,
            peers: plan(this.map, { id, steps, suspects: this.suspects }, device, nowS)!,
          },
          settings: { address: `10.77.0.${number + 1}/16`, mtu: 1420 },
          routes: [],
        }
      },
      () => {},
    )
    return Object.assign(machine, { keyFile, wireguard, tunnel })
  }

  #entry({ number, keys }: Machine): PeerEntry {
    return peer(number, {
      keys: [keys.publicKey],
      nat: number === 0 ? 'public' : 'cone',
      roles: number === 0 ? ['master'] : ['chunkserver'],
      relays: number === 0 ? 'blind-and-forward' : 'no',
      statics: number === 0 ? [`${HUB}:${PORT}`] : [],
      candidates: number === 0 ? [] : [`192.168.${number === 1 ? 1 : 7}.2:${PORT}`],
    })
  }

  publish(map: PeerMap): void {
    this.map = { ...map, version: this.map.version + 1 }
    this.changedMs = realClock.monotonicMs()
  }

  round(): Promise<unknown> {
    return Promise.all(this.machines.map(({ tunnel }) => tunnel.step()))
  }

  /** What the machine's device says of another one. */
  async peerAt(at: number, other: number): Promise<DevicePeer | undefined> {
    const key = this.machines[other]!.keys.publicKey
    return (await this.machines[at]!.wireguard.dump())?.peers.find((found) => found.publicKey === key)
  }

  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = realClock.monotonicMs() + 30_000
    while (!(await holds())) {
      if (realClock.monotonicMs() > deadline) throw new Error(`not within 30 s: ${what}`)
      await realClock.sleep(100)
    }
  }

  /** What the hub sees of the homes goes into the map. */
  async observe(): Promise<void> {
    await this.until('the hub sees both homes', async () =>
      (await Promise.all([1, 2].map((n) => this.peerAt(0, n)))).every((seen) => (seen?.latestHandshakeS ?? 0) > 0),
    )
    const peers = await Promise.all(
      this.map.peers.map(async (entry, n) =>
        n === 0 ? entry : { ...entry, hubSeen: (await this.peerAt(0, n))!.endpoint, hubSeenAt: 1 },
      ),
    )
    this.publish({ ...this.map, peers })
  }

  /** The machine changes its key: both are told to all, then it goes over to the new one, then the old one is forgotten. */
  async changeKey(number: number): Promise<void> {
    const machine = this.machines[number]!
    const [before, next] = [machine.keys.publicKey, newKeys()]
    const withKeys = (keys: string[]): void =>
      this.publish({
        ...this.map,
        peers: this.map.peers.map((entry, n) => (n === number ? { ...entry, keys } : entry)),
      })
    withKeys([before, next.publicKey])
    await this.round()
    await writeSecret(machine.keyFile, `${next.privateKey}\n`)
    machine.keys = next
    await machine.tunnel.step()
    await this.until('all others have its new key', async () => {
      await this.round()
      const carried = await Promise.all([0, 1, 2].filter((n) => n !== number).map((n) => this.peerAt(n, number)))
      return carried.every((found) => found!.allowedIps.includes(`10.77.0.${number + 1}/32`))
    })
    withKeys([next.publicKey])
    await this.round()
  }

  async say(path: Pair['path']): Promise<void> {
    const [hub, a, b] = this.map.peers
    this.publish({ ...this.map, pairs: [{ ...pairOf(a!.id, b!.id), path, via: hub!.id, slot: 0 }] })
    await this.round()
  }

  /** A program of the built code in a machine. */
  async start(number: number, source: string): Promise<ChildProcess> {
    const words = [
      'netns',
      'exec',
      this.machines[number]!.namespace.name,
      process.execPath,
      '--input-type=module',
      '-e',
      source,
    ]
    const child = execFile('ip', words)
    this.#children.push(child)
    await once(child.stdout!, 'data')
    return child
  }

  async startRelay(): Promise<void> {
    const slots = relayedBy(this.map, peer(0).id, 0)
    await this.start(
      0,
      `const { Relay } = await import('${built}mesh/relay.js')
       const { hostClock } = await import('${built}host/clock.js')
       const quiet = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet }
       const relay = new Relay(hostClock, quiet)
       await relay.setSlots(${JSON.stringify(slots)})
       console.log('up')`,
    )
  }

  async startEcho(): Promise<void> {
    await this.start(
      2,
      `import { createSocket } from 'node:dgram'
       const socket = createSocket('udp4')
       socket.on('message', (bytes, { port, address }) => socket.send(bytes, port, address))
       socket.bind(7, '10.77.0.3', () => console.log('up'))`,
    )
  }

  /** Asks the other home 100 times a second while `work` is done; says how many were asked and how many answered. */
  async echoes(work: () => Promise<void>): Promise<{ sent: number; answered: number }> {
    const child = await this.start(
      1,
      `import { createSocket } from 'node:dgram'
       const socket = createSocket('udp4')
       let sent = 0, answered = 0
       socket.on('message', () => answered++)
       console.log('up')
       const timer = setInterval(() => { sent++; socket.send('x', 7, '10.77.0.3') }, 10)
       process.on('SIGTERM', () => {
         clearInterval(timer)
         setTimeout(() => { console.log(JSON.stringify({ sent, answered })); process.exit(0) }, 300)
       })`,
    )
    await work()
    const said = once(child.stdout!, 'data')
    child.kill('SIGTERM')
    const [text] = (await said) as [string]
    return JSON.parse(text) as { sent: number; answered: number }
  }

  /** Nothing passes between the homes any more, everything between them and the hub does. */
  async cut(): Promise<void> {
    await this.#inet.run(
      'nft',
      `table ip cut {
        chain between {
          type filter hook forward priority 0;
          ip saddr 203.0.113.0/24 ip daddr 192.0.2.0/24 drop;
          ip saddr 192.0.2.0/24 ip daddr 203.0.113.0/24 drop;
        }
      }`,
    )
  }

  async remove(): Promise<void> {
    for (const child of this.#children) if (child.exitCode === null) child.kill('SIGKILL')
    for (const { wireguard } of this.machines) await wireguard.destroy()
    for (const namespace of this.#namespaces) await namespace.remove()
    await rm(this.#directory, { recursive: true })
  }
}

describe.skipIf(reason !== undefined)(`two homes behind NATs${reason === undefined ? '' : ` (${reason})`}`, () => {
  let world: World
  const begin = async (kind: 'cone' | 'symmetric'): Promise<void> => {
    world = await World.make(kind)
    await world.round()
    await world.observe()
    await world.say('relay')
    await world.startRelay()
    await world.startEcho()
    await world.until('they talk through the relay', async () => (await world.peerAt(1, 2))!.latestHandshakeS > 0)
  }
  afterEach(() => world.remove())

  /** The hub's part: takes an event in, and tells both when the map is to say something else. */
  const hub = () => {
    let state: PathState = newPath(0)
    const steps: string[] = []
    let saidS = 0
    return {
      steps,
      async event(what: PathEvent, atMs = realClock.monotonicMs()): Promise<void> {
        const before = pathOf(state)
        state = stepPath(state, what, atMs, { punchable: true, carried: true })
        if (pathOf(state) === before) return
        steps.push(pathOf(state))
        saidS = realClock.now().sec
        await world.say(pathOf(state))
      },
      async bothProved(way: 'direct' | 'relay'): Promise<boolean> {
        const ends = await Promise.all([world.peerAt(1, 2), world.peerAt(2, 1)])
        return ends.every((end) => provedWay(end!, saidS, new Set([HUB])) === way)
      },
    }
  }

  test('talk blindly through the relay, then directly as soon as that was proved, and lose next to nothing on the way', async () => {
    await begin('cone')
    expect((await world.peerAt(1, 2))!.endpoint).toMatch(/^198\.51\.100\.1:4000[01]$/)
    const { steps, event, bothProved } = hub()
    const { sent, answered } = await world.echoes(async () => {
      await realClock.sleep(1_000)
      await event('tick')
      await world.until('the direct way is proved', () => bothProved('direct'))
      await event('proved')
      await realClock.sleep(2_000)
    })
    expect(steps).toEqual(['punch', 'direct'])
    expect((await world.peerAt(1, 2))!.endpoint).toMatch(/^192\.0\.2\.1:/)
    expect((await world.peerAt(2, 1))!.endpoint).toMatch(/^203\.0\.113\.1:/)
    process.stderr.write(`relay, punch, direct: ${sent - answered} of ${sent} echoes lost\n`)
    // Packets are lost only while one end has changed over and the other has not: a fraction of a second in all.
    expect(sent - answered).toBeLessThan(60)
    expect(sent).toBeGreaterThan(200)
  })

  test('go on through the relay in the midst of their session when the direct way is cut', async () => {
    await begin('cone')
    const { event, bothProved } = hub()
    await event('tick')
    await world.until('the direct way is proved', () => bothProved('direct'))
    await event('proved')
    const before = (await world.peerAt(1, 2))!.latestHandshakeS
    const { sent, answered } = await world.echoes(async () => {
      await world.cut()
      await realClock.sleep(500)
      // What three lost probes would say.
      for (const { id } of world.map.peers.slice(1)) world.suspects.add(id)
      await world.round()
      await realClock.sleep(2_000)
    })
    const after = (await world.peerAt(1, 2))!
    expect(after.endpoint).toMatch(/^198\.51\.100\.1:4000[01]$/)
    expect(after.latestHandshakeS).toBe(before)
    process.stderr.write(`direct way cut for 0.5 s: ${sent - answered} of ${sent} echoes lost\n`)
    expect(sent - answered).toBeLessThan(150)
    expect(answered).toBeGreaterThan(100)
  })

  test('that nobody can connect stay on the relay, and trying costs next to nothing', async () => {
    await begin('symmetric')
    const { steps, event, bothProved } = hub()
    const { sent, answered } = await world.echoes(async () => {
      await event('tick')
      for (let i = 0; i < 3; i++) {
        await realClock.sleep(1_500)
        await world.round()
      }
      expect(await bothProved('direct')).toBe(false)
      await event('tick', realClock.monotonicMs() + PUNCH_MS)
      await world.until('they shake hands through the relay', () => bothProved('relay'))
      await event('settled')
      await realClock.sleep(1_000)
    })
    expect(steps).toEqual(['punch', 'settle', 'relay'])
    process.stderr.write(`relay, punch in vain, relay: ${sent - answered} of ${sent} echoes lost\n`)
    expect((await world.peerAt(1, 2))!.endpoint).toMatch(/^198\.51\.100\.1:4000[01]$/)
    expect(sent - answered).toBeLessThan(60)
    expect(sent).toBeGreaterThan(300)
  })

  test('go on talking while one of them changes its key', async () => {
    await begin('cone')
    const { sent, answered } = await world.echoes(async () => {
      await realClock.sleep(500)
      await world.changeKey(2)
      await realClock.sleep(1_500)
    })
    process.stderr.write(`a changed key: ${sent - answered} of ${sent} echoes lost\n`)
    const devices = await Promise.all(world.machines.map(({ wireguard }) => wireguard.dump()))
    expect(devices.map((device) => device!.peers.length)).toEqual([2, 2, 2])
    // One handshake, and the time until the others have seen it; what waits that long in a connection is sent again.
    expect(sent - answered).toBeLessThan(250)
    expect(answered).toBeGreaterThan(100)
  })
})
