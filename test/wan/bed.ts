/*
 * Machines at several sites, on this machine: a network namespace each, one for the network between the sites, WireGuard in
 * userspace between all of them. Within a site nodes reach each other directly; from site to site there is no way but
 * through the relay, which makes the way long, narrow and lossy as told, at any time.
 *
 *   site with public addresses      198.18.SITE.NODE/24   2001:db8:SITE::NODE/64   gateway .254, ::fe
 *   site behind a router            192.168.SITE.NODE/24  the router is .254 there and 198.18.SITE.253 outside
 *   in the mesh                     10.77.0.N/16          N counts all nodes from 1
 *
 * SITE counts from 1 in the order of the options, NODE from 1 in its site. Nodes are called after their site and number: "home1".
 *
 * Everything goes when stop() is called and when the process ends, whatever ends it: on its own way out and by
 * signal it is done here, by SIGKILL the relay does it, and what even that left is removed by the next bed.
 */

import { type ChildProcess, execFile, execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { bedPrefix, NETNS_DIR, removeBed, sweep, wireguardTag } from './leftovers.ts'
import { type LinkCount, type LinkShape, PLAIN_LINK } from './link-model.ts'
import { Relay } from './relay.ts'
import { addPeers, type KeyPair, newKeyPair, startWireguard, type WireguardPeer } from './userspace-wireguard.ts'

export interface SiteOptions {
  readonly nodes: number
  /**
   * All nodes of the site behind a router that translates addresses and lets nothing in that was not asked for. cone: the port
   * stays what it is where that is possible; symmetric: another one for each destination. IPv4 only.
   */
  readonly nat?: 'cone' | 'symmetric'
}

export interface BedOptions {
  /** Of what is lost and delayed. Print it where it is chosen by chance. */
  readonly seed: number
  readonly sites: Readonly<Record<string, SiteOptions>>
  /** Every link that `links` does not name. */
  readonly link?: Partial<LinkShape>
  /** "SITE-SITE", for both directions. */
  readonly links?: Readonly<Record<string, Partial<LinkShape>>>
  /** false: the nodes have addresses of the underlay only, and what runs on them makes the tunnels. */
  readonly wireguard?: boolean
  /** Congestion control of the route into the mesh; default: what the kernel is set to. */
  readonly congestion?: string
  /** Which addresses the nodes have outside the mesh. */
  readonly underlay?: 'both' | 'ipv4' | 'ipv6'
}

export interface BedNode {
  readonly name: string
  readonly site: string
  readonly namespace: string
  /** Its own address outside the mesh; '' where the underlay has none of that family. */
  readonly address: string
  readonly address6: string
  /** Where packets of it seem to come from, beyond its site. */
  readonly publicAddress: string
  /** '' without WireGuard. */
  readonly meshAddress: string
  /** Names for interfaces with sockets of their own, as userspace WireGuard's, must not meet another bed's: use this one. */
  readonly wireguardName: string
}

export interface Output {
  readonly stdout: string
  readonly stderr: string
}

export const WIREGUARD_PORT = 51_820
export const MESH_NETWORK = '10.77.0.0/16'
/** 1500 less the headers around a packet in the tunnel: IPv6 40, UDP 8, WireGuard 32. */
const MESH_MTU = 1420
/** Site and node are one byte each of an address, and .253, .254 are taken. */
const SITES_MAX = 200
const NODES_MAX = 200
/** Of a program whose output is gathered. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

const PROGRAMS = ['ip', 'nsenter', 'perl', 'nft', 'wireguard-go'] as const
const live = new Set<Bed>()
let beds = 0

/** Why there can be no bed on this machine; undefined: there can. */
export function whyNoBed(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun is missing'
  }
  const dirs = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`.split(':').filter((dir) => dir !== '')
  const missing = PROGRAMS.filter((name) => !dirs.some((dir) => existsSync(`${dir}/${name}`)))
  if (missing.length > 0) return `not installed: ${missing.join(', ')}`
  const probe = `${bedPrefix(beds++)}-probe`
  try {
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'pipe' })
    execFileSync('ip', ['netns', 'del', probe], { stdio: 'pipe' })
  } catch (error) {
    return `no network namespaces here: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`
  }
  return undefined
}

interface Site {
  readonly name: string
  readonly number: number
  readonly nat: SiteOptions['nat']
  readonly nodes: BedNode[]
}

export class Bed {
  readonly nodes: readonly BedNode[]
  readonly #prefix: string
  readonly #sites: readonly Site[]
  readonly #options: BedOptions
  readonly #shapes = new Map<string, LinkShape>()
  #relay: Relay | undefined

  private constructor(prefix: string, options: BedOptions) {
    this.#prefix = prefix
    this.#options = options
    this.#sites = sitesFrom(prefix, options)
    this.nodes = this.#sites.flatMap((site) => site.nodes)
  }

  /** Everything is there and every node of the mesh can be asked for when this returns; handshakes happen with the first packets. */
  static async start(options: BedOptions): Promise<Bed> {
    const why = whyNoBed()
    if (why !== undefined) throw new Error(`no test bed on this machine: ${why}`)
    sweep()
    const bed = new Bed(bedPrefix(beds++), options)
    live.add(bed)
    watchForTheEnd()
    try {
      await bed.#build()
    } catch (error) {
      await bed.stop()
      throw error
    }
    return bed
  }

  node(name: string): BedNode {
    const found = this.nodes.find((node) => node.name === name)
    if (found === undefined)
      throw new Error(`no node ${name}; there are ${this.nodes.map((node) => node.name).join(', ')}`)
    return found
  }

  /** Changes what is named of both directions and leaves the rest as it is. */
  async link(a: string, b: string, change: Partial<LinkShape>): Promise<void> {
    await this.direction(a, b, change)
    await this.direction(b, a, change)
  }

  async direction(from: string, to: string, change: Partial<LinkShape>): Promise<void> {
    const key = `${from}-${to}`
    const shape = { ...(this.#shapes.get(key) ?? PLAIN_LINK), ...change }
    await this.#relay!.shape(this.#site(from).number, this.#site(to).number, shape)
    this.#shapes.set(key, shape)
  }

  async cut(a: string, b: string): Promise<void> {
    await this.link(a, b, { cut: true })
  }
  async heal(a: string, b: string): Promise<void> {
    await this.link(a, b, { cut: false })
  }
  /** Cuts or heals every link of a site. */
  async isolate(site: string, cut: boolean): Promise<void> {
    for (const { name } of this.#sites) if (name !== site) await this.link(site, name, { cut })
  }

  count(from: string, to: string): Promise<LinkCount> {
    return this.#relay!.count(this.#site(from).number, this.#site(to).number)
  }

  /** Words for spawn() that run a program in a node's namespace. Its pid is the program's own. */
  within(node: string, command: string, args: readonly string[]): [string, string[]] {
    return ['nsenter', [`--net=${NETNS_DIR}/${this.node(node).namespace}`, '--', command, ...args]]
  }

  spawn(node: string, command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawn(...this.within(node, command, args), options)
  }

  /** Rejects with its words when the program ends with another code than 0. */
  run(node: string, command: string, args: readonly string[], options: { timeoutMs?: number } = {}): Promise<Output> {
    return gathered(...this.within(node, command, args), options.timeoutMs ?? 60_000)
  }

  /** As `run`, on the router of a site with `nat`. */
  runOnRouter(site: string, command: string, args: readonly string[]): Promise<Output> {
    if (this.#site(site).nat === undefined) throw new Error(`${site} has no router`)
    return gathered(
      'nsenter',
      [`--net=${NETNS_DIR}/${this.#routerOf(this.#site(site))}`, '--', command, ...args],
      60_000,
    )
  }

  /** Safe to call again. */
  async stop(): Promise<void> {
    this.stopNow()
    await this.#relay?.ended()
  }

  /** For handlers that cannot wait. */
  stopNow(): void {
    this.#relay?.kill()
    removeBed(this.#prefix)
    live.delete(this)
  }

  #site(name: string): Site {
    const found = this.#sites.find((site) => site.name === name)
    if (found === undefined)
      throw new Error(`no site ${name}; there are ${this.#sites.map((site) => site.name).join(', ')}`)
    return found
  }
  get #wan(): string {
    return `${this.#prefix}-wan`
  }
  #routerOf(site: Site): string {
    return `${this.#prefix}-router-${site.name}`
  }

  async #build(): Promise<void> {
    await this.#wire()
    this.#relay = await Relay.start(this.#wan, 'wan0', this.#prefix, String(this.#options.seed))
    // The device is there only now.
    await ip(
      this.#wan,
      'link set wan0 txqueuelen 2000 up',
      ...this.#sites.flatMap(({ number }) => [
        `route add default dev wan0 table ${100 + number}`,
        `route add ::/0 dev wan0 table ${100 + number}`,
        // When the relay is gone its routes are too, and the next table would lead straight to the other site.
        `route add blackhole default metric 9999 table ${100 + number}`,
        `route add blackhole ::/0 metric 9999 table ${100 + number}`,
      ]),
    )
    const rules = this.#sites.map(({ number }) => `rule add iif br${number} lookup ${100 + number}`)
    await ip(this.#wan, ...rules)
    await run('ip', ['-6', '-n', this.#wan, '-batch', '-'], rules)
    for (const [name, change] of Object.entries(this.#options.links ?? {})) {
      const [a, b, more] = name.split('-')
      if (b === undefined || more !== undefined) throw new Error(`the link "${name}" is not written SITE-SITE`)
      this.#shapes.set(`${a}-${b}`, { ...PLAIN_LINK, ...change }).set(`${b}-${a}`, { ...PLAIN_LINK, ...change })
    }
    for (const a of this.#sites)
      for (const b of this.#sites)
        if (a !== b)
          await this.direction(
            a.name,
            b.name,
            this.#shapes.has(`${a.name}-${b.name}`) ? {} : (this.#options.link ?? {}),
          )
    if (this.#options.wireguard !== false) await this.#tunnel()
  }

  /** Namespaces, interfaces, addresses. In the wide network every site has a bridge; nothing leads from one to another yet. */
  async #wire(): Promise<void> {
    const routers = this.#sites.filter((site) => site.nat !== undefined)
    const namespaces = [
      this.#wan,
      ...routers.map((site) => this.#routerOf(site)),
      ...this.nodes.map((n) => n.namespace),
    ]
    await ip(undefined, ...namespaces.map((name) => `netns add ${name}`))
    await ip(
      this.#wan,
      'link set lo up',
      ...this.#sites.flatMap((site) => [
        `link add br${site.number} type bridge`,
        `addr add 198.18.${site.number}.254/24 dev br${site.number}`,
        `addr add 2001:db8:${site.number.toString(16)}::fe/64 dev br${site.number} nodad`,
        `link set br${site.number} up`,
        ...(site.nat === undefined
          ? site.nodes.flatMap((node, i) => port(`p${site.number}n${i + 1}`, 'eth0', node.namespace, site.number))
          : port(`p${site.number}r`, 'eth0', this.#routerOf(site), site.number)),
      ]),
    )
    await inNamespace(this.#wan, FORWARD)
    await Promise.all(routers.map((site) => this.#route(site)))
    await Promise.all(this.#sites.flatMap((site) => site.nodes.map((node, i) => this.#address(site, node, i + 1))))
  }

  /** The router of a site: its nodes on one bridge, translation towards outside, and nothing new comes in. */
  async #route(site: Site): Promise<void> {
    const router = this.#routerOf(site)
    await ip(
      router,
      'link set lo up',
      'link add lan0 type bridge',
      `addr add 192.168.${site.number}.254/24 dev lan0`,
      'link set lan0 up',
      ...site.nodes.flatMap((node, i) => [
        `link add p${i + 1} type veth peer name eth0 netns ${node.namespace}`,
        `link set p${i + 1} master lan0 up`,
      ]),
      `addr add 198.18.${site.number}.253/24 dev eth0`,
      'link set eth0 up',
      `route add default via 198.18.${site.number}.254`,
    )
    const rules = `table ip router {
      chain translate {
        type nat hook postrouting priority srcnat
        oifname "eth0" masquerade${site.nat === 'symmetric' ? ' fully-random' : ''}
      }
      chain into {
        type filter hook input priority filter
        iifname "eth0" ct state new drop
      }
      chain through {
        type filter hook forward priority filter
        iifname "eth0" ct state != { established, related } drop
      }
    }`
    await inNamespace(router, `${FORWARD}; printf '%s' '${rules}' | nft -f -`)
  }

  async #address(site: Site, node: BedNode, number: number): Promise<void> {
    const hex = site.number.toString(16)
    await ip(
      node.namespace,
      'link set lo up',
      ...(node.address === '' ? [] : [`addr add ${node.address}/24 dev eth0`]),
      ...(node.address6 === '' ? [] : [`addr add 2001:db8:${hex}::${number.toString(16)}/64 dev eth0 nodad`]),
      'link set eth0 up',
      ...(node.address === '' ? [] : [`route add default via ${node.address.replace(/\d+$/, '254')}`]),
      ...(node.address6 === '' ? [] : [`route add ::/0 via 2001:db8:${hex}::fe`]),
    )
  }

  async #tunnel(): Promise<void> {
    const keys = new Map<BedNode, KeyPair>()
    await Promise.all(
      this.nodes.map(async (node) => {
        const pair = newKeyPair()
        keys.set(node, pair)
        await startWireguard(node.namespace, node.wireguardName, WIREGUARD_PORT, pair.privateKey)
      }),
    )
    await Promise.all(
      this.nodes.map(async (node) => {
        const peers = this.nodes.filter((peer) => peer !== node).map((peer) => this.#peer(node, peer, keys.get(peer)!))
        await addPeers(node.wireguardName, peers)
        const { congestion } = this.#options
        await ip(
          node.namespace,
          `addr add ${node.meshAddress}/16 dev ${node.wireguardName}`,
          `link set ${node.wireguardName} mtu ${MESH_MTU} up`,
          `route replace ${MESH_NETWORK} dev ${node.wireguardName} src ${node.meshAddress}${congestion === undefined ? '' : ` congctl ${congestion}`}`,
        )
      }),
    )
  }

  #peer(node: BedNode, peer: BedNode, keys: KeyPair): WireguardPeer {
    const hidden = (one: BedNode): boolean => this.#site(one.site).nat !== undefined
    const address = peer.address === '' ? `[${peer.address6}]` : peer.address
    return {
      publicKey: keys.publicKey,
      endpoint: hidden(peer) && peer.site !== node.site ? undefined : `${address}:${WIREGUARD_PORT}`,
      allowedIps: [`${peer.meshAddress}/32`],
      // A node behind a router has to speak first, and again before the router forgets it.
      keepaliveSeconds: hidden(node) && !hidden(peer) ? 25 : 0,
    }
  }
}

const FORWARD = [
  'echo 1 > /proc/sys/net/ipv4/ip_forward',
  'echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter',
  'echo 0 > /proc/sys/net/ipv4/conf/default/rp_filter',
  'echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects',
  'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
].join('; ')

const port = (name: string, peer: string, namespace: string, bridge: number): string[] => [
  `link add ${name} type veth peer name ${peer} netns ${namespace}`,
  `link set ${name} master br${bridge} up`,
]

function sitesFrom(prefix: string, { sites, underlay = 'both', wireguard = true }: BedOptions): Site[] {
  if (Object.keys(sites).length > SITES_MAX) throw new Error(`a bed has at most ${SITES_MAX} sites`)
  let count = 0
  return Object.entries(sites).map(([name, { nodes, nat }], i) => {
    if (!/^[a-z]+$/.test(name)) throw new Error(`"${name}" is no name for a site: small letters only`)
    if (nodes < 1 || nodes > NODES_MAX) throw new Error(`${name}: a site has 1 to ${NODES_MAX} nodes`)
    if (nat !== undefined && underlay === 'ipv6') throw new Error(`${name}: a router that translates needs IPv4`)
    const number = i + 1
    const hex = number.toString(16)
    const node = (index: number): BedNode => {
      count++
      const four = underlay === 'ipv6' ? '' : `${nat === undefined ? '198.18' : '192.168'}.${number}.${index}`
      const six = underlay === 'ipv4' || nat !== undefined ? '' : `2001:db8:${hex}::${index.toString(16)}`
      return {
        name: `${name}${index}`,
        site: name,
        namespace: `${prefix}-${name}${index}`,
        address: four,
        address6: six,
        publicAddress: nat === undefined ? four || six : `198.18.${number}.253`,
        meshAddress: wireguard ? `10.77.0.${count}` : '',
        wireguardName: `${wireguardTag(prefix)}${count.toString(36)}`,
      }
    }
    return { name, number, nat, nodes: Array.from({ length: nodes }, (_, k) => node(k + 1)) }
  })
}

/** One process for many commands; the first that fails ends it. */
async function ip(namespace: string | undefined, ...commands: string[]): Promise<void> {
  await run('ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'], commands)
}

async function run(program: string, args: readonly string[], lines: readonly string[]): Promise<void> {
  const child = spawn(program, args)
  let words = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words += text))
  child.stdin.end(`${lines.join('\n')}\n`)
  const code = await new Promise((done, fail) => child.once('close', done).once('error', fail))
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${words.trim()}\n${lines.join('\n')}`)
}

async function inNamespace(namespace: string, script: string): Promise<void> {
  await gathered('nsenter', [`--net=${NETNS_DIR}/${namespace}`, '--', 'sh', '-ec', script], 60_000)
}

function gathered(command: string, args: readonly string[], timeoutMs: number): Promise<Output> {
  return new Promise((resolve, reject) =>
    execFile(command, args, { timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX }, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr })
      else reject(new Error(`${[command, ...args].join(' ')}: ${error.message}\n${stderr}`, { cause: error }))
    }),
  )
}

let watching = false
function watchForTheEnd(): void {
  if (watching) return
  watching = true
  const end = (): void => {
    for (const bed of [...live]) bed.stopNow()
  }
  process.on('exit', end)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const handler = (): void => {
      end()
      process.off(signal, handler)
      // Others who listen have their own end in mind; alone, we end as we would have without listening.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
    }
    process.on(signal, handler)
  }
}
