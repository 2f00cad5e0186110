/*
 * What every node of the mesh runs: it keeps the tunnel as the peer map says, hears newer maps and tells its hub where it is
 * (neighbours.ts), and measures the way to every peer. It needs no hub for any of that but news: it begins with the map on
 * its disk.
 *
 * A map that no longer names this node ends nothing at once: a hub that came back from an old copy would otherwise take
 * everybody's tunnel down.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import { Worker, type WorkStep } from '../base/worker.ts'
import type { Clock, Listener, Log, Net } from '../base/world.ts'
import { serveLinks } from '../wire/connect.ts'
import type { MeasuredPath, SignedMap } from '../wire/mesh-shapes.ts'
import type { Handlers } from '../wire/peer.ts'
import { type CallName, PROTOCOL_VERSION, type Reply, type Request } from '../wire/protocol.ts'
import type { MeshPeerReport, MeshReport } from '../wire/reports-mesh.ts'
import { CloseWatch } from './close-watch.ts'
import type { Device } from './core/dump.ts'
import { interfaceMtu, MTU_MIN } from './core/mtu.ts'
import { type PathEvent, provedWay, relayHosts } from './core/path.ts'
import { type Pair, type PeerEntry, type PeerMap, pairOf, trusted } from './core/peer-map.ts'
import { plan, relayedBy } from './core/plan.ts'
import { routesFor } from './core/routes.ts'
import { seenNow } from './core/seen.ts'
import type { MeshDir, NodeRecord } from './files.ts'
import type { Hub } from './hub.ts'
import { KeyChange } from './key-change.ts'
import type { Newest } from './map-keys.ts'
import { CONNECT_MS, Neighbours } from './neighbours.ts'
import { PeersView } from './peers-view.ts'
import type { Probe } from './probe.ts'
import type { Relay } from './relay.ts'
import { QUICK_ROUND_MS, Tunnel, type TunnelRound, type TunnelWish } from './tunnel.ts'
import type { WireGuard } from './wireguard.ts'

/** Beside the one of the echoes, which has the number of their port. */
const FORWARD_TABLE = 9466
/** The end of an agent takes no longer. */
const LEFT_REST_MS = 60_000

const REMOVED = 'the newest map does not name this node: it was removed. Join again, or stop the agent'

export interface AgentOptions {
  readonly own: NodeRecord
  /** Of the key that WireGuard has. */
  readonly publicKey: string
  readonly keyFile: string
  /** MTU of the way to the internet. */
  readonly linkMtu: number
  /** Another one after each start. */
  readonly bootId: number
  readonly probePort: number
  /** Whether it passes packets of others on when it is public. */
  readonly relays: boolean
  /** TCP's congestion control on the mesh's routes; undefined: the kernel's own. */
  readonly congestion: string | undefined
  /** Where this node may be found now. */
  readonly standing: () => Pick<Request<'memberHere'>, 'candidates' | 'statics'>
  /** When the certificate ends, unix seconds. */
  readonly certificateUntil: () => number
}

export interface AgentParts {
  readonly dir: MeshDir
  readonly net: Net
  readonly wireguard: WireGuard
  readonly probe: Probe
  readonly relay: Relay | undefined
  readonly newest: Newest
  readonly clock: Clock
  readonly log: Log
}

export class Agent {
  readonly #parts: AgentParts
  readonly #options: AgentOptions
  readonly #view: PeersView
  readonly #closely = new CloseWatch()
  readonly #tunnel: Tunnel
  readonly #worker: Worker
  readonly #keyChange: KeyChange
  readonly #neighbours: Neighbours
  /** Aborted when this machine is of the mesh no more. */
  readonly #left = new AbortController()
  #publicKey: string
  #hub: Hub | undefined
  #round: TunnelRound | undefined
  #isRemoved = false
  /** By peer: the way that the map wants now, since when, and whether the hub was told what came of it. */
  readonly #tried = new Map<string, { path: Pair['path']; sinceS: number; told: boolean }>()

  constructor(parts: AgentParts, options: AgentOptions) {
    this.#parts = parts
    this.#options = options
    this.#view = new PeersView(options.linkMtu)
    const { wireguard, clock, log } = parts
    this.#tunnel = new Tunnel(
      wireguard,
      clock,
      log,
      (device, nowS) => this.#wish(device, nowS),
      (round) => this.#seen(round),
    )
    this.#worker = new Worker(
      'tunnel',
      { step: () => this.#step(), progress: () => this.#tunnel.progress(), queued: () => 0 },
      clock,
      log,
    )
    this.#neighbours = new Neighbours(
      { ...parts, own: options.own },
      {
        standing: () => ({ ...options.standing(), relays: this.relaying, sees: this.#sees() }),
        measured: () => this.measured(),
        bootId: options.bootId,
      },
      () => this.#worker.poke(),
    )
    this.#publicKey = options.publicKey
    this.#keyChange = new KeyChange(
      {
        ...{ node: options.own.node, keyFile: options.keyFile, newest: parts.newest, clock, log },
        tell: (key, moved, signal) => this.#tellKey(key, moved, signal),
        use: (key) => {
          this.#publicKey = key
          return this.applyNow()
        },
      },
      options.publicKey,
    )
    wireguard.onGone(() => this.#worker.poke())
  }

  /** The work of a hub, on a master's node. */
  becomeHub(hub: Hub): void {
    this.#hub = hub
  }

  /** Of this node to another, ms; a hub chooses relays by it. */
  rttTo(node: string): number | undefined {
    return this.#view.rttOf(node, this.#parts.clock.monotonicMs())
  }

  /** How far this node is from the others. */
  measured(): MeasuredPath[] {
    return this.#view.measured(this.#parts.clock.monotonicMs())
  }

  /** For whom it passes packets on. Blindly always; in its own tunnel where the kernel lets it, so that a try costs nothing. */
  get relaying(): Request<'memberHere'>['relays'] {
    if (!this.#options.relays) return 'no'
    return this.#round === undefined || this.#round.lacking.includes('forwarding') ? 'blind' : 'blind-and-forward'
  }

  /** Where others are as this node sees it, when it has a public address itself. */
  #sees(): Request<'memberHere'>['sees'] {
    const { newest, clock } = this.#parts
    const map = newest.map
    const device = this.#round?.device
    if (map === undefined || device === undefined) return undefined
    if (map.peers.find(({ id }) => id === this.#options.own.node)?.nat !== 'public') return undefined
    return [...seenNow(map, device, clock.now().sec)].map(([node, at]) => ({ node, at }))
  }

  /** What this hub has just made is on disk and in the interface when this resolves. */
  async follow(map: PeerMap, signed: SignedMap): Promise<void> {
    await this.#neighbours.made(map, signed)
    await this.applyNow()
  }

  /** One round of the tunnel now: what the map says holds when this resolves. */
  async applyNow(): Promise<void> {
    await this.#tunnel.step()
    this.#worker.poke()
  }

  /** A round of the tunnel, unless who this machine is was deleted: then the interface goes, and the agent ends. */
  async #step(): Promise<WorkStep> {
    const { dir, wireguard, log } = this.#parts
    if (this.#left.signal.aborted) return { restMs: LEFT_REST_MS, resting: 'idle' }
    if ((await dir.node()) !== undefined) return this.#tunnel.step()
    log.warn({ dir: dir.dir }, 'this machine has left the mesh; its interface is taken away and the agent ends')
    await wireguard.destroy()
    this.#left.abort()
    return { restMs: LEFT_REST_MS, resting: 'idle' }
  }

  /**
   * Until told to stop, or until this machine leaves the mesh. The interface stays as it is in the first case: who restarts an
   * agent does not mean to cut anybody off.
   */
  async run(stopped: AbortSignal): Promise<void> {
    const { log } = this.#parts
    const signal = AbortSignal.any([stopped, this.#left.signal])
    await this.#neighbours.begin()
    await this.#tunnel.step()
    const worker = this.#worker.run(signal)
    const listener = await this.#listen(signal)
    await this.#parts.probe.start()
    log.info({ node: this.#options.own.name, ip: this.#options.own.ip }, 'the mesh agent is ready')
    const works = [
      worker,
      this.#resumeKey(signal),
      ...(this.#hub === undefined ? [this.#neighbours.follow(signal)] : [this.#hub.run(signal)]),
    ]
    try {
      await Promise.all(works)
    } finally {
      await listener.close()
      await this.#parts.probe.close()
      await this.#parts.relay?.close()
    }
  }

  /** A new certificate from whichever hub answers, PEM. */
  async renew(request: string, signal: AbortSignal): Promise<string> {
    if (this.#hub !== undefined) return (await this.#hub.renew(this.#options.own.node, request)).certificate
    return this.#neighbours.atHub(
      async (hub) => (await hub.call('memberRenew', { request }, { signal })).reply.certificate,
      signal,
    )
  }

  async #tellKey(key: string, moved: boolean, signal: AbortSignal): Promise<void> {
    if (this.#hub !== undefined) return this.#hub.changeKey(this.#options.own.node, key, moved)
    await this.#neighbours.atHub(
      (hub) => hub.call('memberKey', { key, moved }, { signal, timeoutMs: CONNECT_MS }),
      signal,
    )
  }

  async #resumeKey(signal: AbortSignal): Promise<void> {
    try {
      await this.#keyChange.resume(signal)
    } catch (error) {
      if (signal.aborted) return
      if (errnoOf(error) === undefined) throw error
      this.#parts.log.warn(
        { error: (error as Error).message },
        'the change of the WireGuard key could not be ended yet',
      )
    }
  }

  // ---- the tunnel

  #wish(device: Device, nowS: number): TunnelWish | undefined {
    const { newest, clock, log } = this.#parts
    const { own, linkMtu, probePort, relays, congestion } = this.#options
    const publicKey = this.#publicKey
    const map = newest.map
    const settings = {
      ...{ address: `${own.ip}/16`, mtu: interfaceMtu(linkMtu), probePort },
      ...(relays ? { forwardTable: FORWARD_TABLE } : {}),
    }
    // A hub whose master has to listen on this address before there can be a map.
    if (map === undefined) return { device: { publicKey, listenPort: own.port, peers: [] }, settings, routes: [] }
    const nowMs = clock.monotonicMs()
    const facts = { id: own.node, steps: this.#view.steps(nowMs), suspects: this.#view.suspects() }
    const peers = plan(map, facts, device, nowS)
    if (peers === undefined) {
      if (!this.#isRemoved) log.error({ version: map.version }, REMOVED)
      this.#isRemoved = true
      return undefined
    }
    this.#isRemoved = false
    const others = trusted(map, nowS).filter((peer) => peer.id !== own.node)
    this.#view.keep(
      others.map(({ id }) => id),
      nowMs,
    )
    const mtus = new Map(others.map(({ id }) => [id, this.#view.mtuOf(id) ?? MTU_MIN]))
    const routes = routesFor(map, own.node, mtus, interfaceMtu(linkMtu), congestion)
    const isTrying =
      others.some(({ keys }) => keys.length > 1) ||
      map.pairs.some(({ a, b, path }) => (a === own.node || b === own.node) && (path === 'punch' || path === 'settle'))
    return {
      ...{ device: { publicKey, listenPort: own.port, peers }, settings, routes },
      ...(isTrying ? { restMs: QUICK_ROUND_MS } : {}),
    }
  }

  #seen(round: TunnelRound): void {
    this.#round = round
    const { newest, clock, relay, log } = this.#parts
    const { own } = this.#options
    const map = newest.map
    if (map === undefined) return
    const now = clock.now()
    const nowMs = clock.monotonicMs()
    const others = trusted(map, now.sec).filter((peer) => peer.id !== own.node)
    this.#view.onDevice(round.device, others, (peer) => wayOf(map, own.node, peer.id), nowMs)
    this.#askPeers(others)
    this.#lookForProofs(map, round.device, others, now.sec)
    this.#hub?.look(round.device)
    relay?.setSlots(relayedBy(map, own.node, now.sec)).catch((error: unknown) => {
      if (errnoOf(error) === undefined) throw error
      log.error({ error: (error as Error).message }, 'this node cannot relay for others')
    })
  }

  #askPeers(others: readonly PeerEntry[]): void {
    const { clock, probe } = this.#parts
    probe.setPeers(this.#view.asked(others, (id) => this.#closely.isWatched(id, clock.monotonicMs())))
  }

  /** Tells the hub what the device proves of the ways that the map wants tried, and that a way was lost. */
  #lookForProofs(map: PeerMap, device: Device, others: readonly PeerEntry[], nowS: number): void {
    const byId = new Map(others.map((peer) => [peer.id, peer]))
    const suspects = this.#view.suspects()
    const hosts = relayHosts(map)
    for (const { a, b, path } of map.pairs) {
      const otherId = a === this.#options.own.node ? b : b === this.#options.own.node ? a : undefined
      const other = otherId === undefined ? undefined : byId.get(otherId)
      if (other === undefined) continue
      const tried = this.#tried.get(other.id)
      if (tried?.path !== path) this.#tried.set(other.id, { path, sinceS: nowS, told: false })
      const { sinceS, told } = this.#tried.get(other.id)!
      const seen = device.peers.find(({ publicKey }) => other.keys.includes(publicKey))
      const way = seen === undefined ? undefined : provedWay(seen, sinceS, hosts)
      const event = eventOf(path, way, suspects.has(other.id))
      if (event === undefined || told) continue
      this.#neighbours.sayProof(other.id, event)
      this.#tried.set(other.id, { path, sinceS, told: true })
    }
  }

  /** What became of an echo. */
  heard(round: Parameters<PeersView['onRound']>[0]): void {
    const nowMs = this.#parts.clock.monotonicMs()
    if (this.#closely.heard(round, nowMs)) this.#view.onRound(round, nowMs)
  }

  // ---- answering

  async #listen(signal: AbortSignal): Promise<Listener> {
    const { net, clock, log } = this.#parts
    const { own } = this.#options
    const handlers: Partial<Handlers<CallName>> = {
      memberMap: ({ since, waitMs }, _bulk, context) => this.#answerMap(since, waitMs, context.signal, signal),
      agentStatus: () => ({ reply: this.report() }),
      agentRotate: async (_request, _bulk, { peer, signal: caller }) => {
        if (peer.identity?.node !== own.node)
          throw new FsError('EPERM', 'the key of a node is changed on that node only')
        return { reply: { key: await this.#keyChange.rotate(AbortSignal.any([signal, caller])) } }
      },
      agentWays: ({ ways }, _bulk, { peer }) => {
        if (peer.identity !== undefined && peer.identity.node !== own.node)
          throw new FsError('EPERM', 'ways are measured closely for chunkservers of this node only')
        return { reply: { ways: this.#watchClosely(ways) } }
      },
      ...this.#hub?.handlers(),
    }
    return serveLinks(net, own.ip, own.agentPort, {
      hello: { version: PROTOCOL_VERSION, cluster: own.cluster, role: 'mesh', name: own.name },
      ...{ handlers, clock, log },
    })
  }

  #watchClosely(ways: Request<'agentWays'>['ways']): Reply<'agentWays'>['ways'] {
    const { newest, clock } = this.#parts
    const nowMs = clock.monotonicMs()
    const others = newest.map === undefined ? [] : trusted(newest.map, clock.now().sec)
    const byIp = new Map(others.map((peer) => [peer.ip, peer]))
    let isNew = false
    const answer = ways.flatMap(({ host, since }) => {
      const peer = byIp.get(host)
      if (peer === undefined || peer.id === this.#options.own.node) return []
      isNew ||= !this.#closely.isWatched(peer.id, nowMs)
      return [{ host, ...this.#closely.ask(peer.id, since, this.#view.rttOf(peer.id, nowMs), nowMs) }]
    })
    if (isNew) this.#askPeers(others.filter(({ id }) => id !== this.#options.own.node))
    return answer
  }

  async #answerMap(since: number, waitMs: number, caller: AbortSignal, signal: AbortSignal) {
    const { newest, clock } = this.#parts
    const answer = () => ({ reply: { map: (newest.map?.version ?? 0) > since ? newest.signed : undefined } })
    if ((newest.map?.version ?? 0) > since || waitMs === 0) return answer()
    await new Promise<void>((resolve) => {
      const stops = [newest.onNewer(() => done()), clock.timer(waitMs, () => done())]
      const done = (): void => {
        for (const stop of stops) stop()
        caller.removeEventListener('abort', done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      caller.addEventListener('abort', done)
      signal.addEventListener('abort', done)
    })
    if (caller.aborted) throw new FsError('EINTR')
    return answer()
  }

  report(): MeshReport {
    const { newest, clock } = this.#parts
    const { own, linkMtu, certificateUntil } = this.#options
    const now = clock.now().sec
    const map = newest.map
    return {
      ...{ node: own.node, name: own.name, meshId: own.meshId, ip: own.ip, prefix: own.prefix, roles: own.roles },
      ...{ interface: own.interface, backend: this.#round?.backend ?? 'none' },
      ...{ listenPort: this.#round?.device.listenPort ?? own.port, mtu: interfaceMtu(linkMtu) },
      ...{ mapVersion: map?.version ?? 0, mapIssuedAt: map?.issuedAt ?? 0, mapValidUntil: map?.validUntil ?? 0 },
      ...{ mapFrom: this.#neighbours.mapFrom, certificateUntil: certificateUntil(), now },
      complaints: [...(this.#isRemoved ? [REMOVED] : []), ...(this.#round?.lacking ?? []).map(lacks)],
      peers: (map?.peers ?? []).filter(({ id }) => id !== own.node).map((peer) => this.#reportOf(map!, peer, now)),
    }
  }

  #reportOf(map: PeerMap, peer: PeerEntry, nowS: number): MeshPeerReport {
    const { own } = this.#options
    const { a, b } = pairOf(own.node, peer.id)
    const pair = map.pairs.find((one) => one.a === a && one.b === b)
    const sight = this.#view.sight(peer.id, this.#parts.clock.monotonicMs(), nowS)
    const path =
      pair === undefined || pair.path === 'direct' ? 'direct' : pair.path === 'punch' ? 'punching' : 'relayed'
    return whatIsKnown({
      ...{ node: peer.id, name: peer.name, ip: peer.ip, roles: peer.roles, site: peer.site, rack: peer.rack },
      path: sight === undefined ? 'none' : path,
      via: path === 'direct' ? undefined : map.peers.find(({ id }) => id === pair?.via)?.name,
      ...{ endpoint: sight?.endpoint, health: sight?.health ?? 'down' },
      handshakeAgeS: sight === undefined || sight.handshakeS === 0 ? undefined : nowS - sight.handshakeS,
      ...{ rttMs: sight?.rttMs, loss: sight?.loss, mtu: sight?.mtu ?? 0 },
      ...{ rxBytes: sight?.rxBytes ?? 0, txBytes: sight?.txBytes ?? 0, advice: sight?.advice },
    })
  }
}

/** On the wire what is undefined would become null, which is something else to whoever reads the report. */
const whatIsKnown = <T extends object>(report: T): T =>
  Object.fromEntries(Object.entries(report).filter(([, value]) => value !== undefined)) as T

function lacks(what: string): string {
  switch (what) {
    case 'ip rule':
      return 'this kernel has no routing rules: how large a packet may be is not measured'
    case 'forwarding':
      return 'this machine may not forward packets: while two others try to reach each other directly, nothing passes between them'
    default:
      return `this kernel has no congestion control ${what}: on its host, modprobe tcp_${what}`
  }
}

function eventOf(path: Pair['path'], way: 'direct' | 'relay' | undefined, isSuspect: boolean): PathEvent | undefined {
  if (path === 'punch' && way === 'direct') return 'proved'
  if (path === 'settle' && way !== undefined) return way === 'direct' ? 'proved' : 'settled'
  return path === 'direct' && isSuspect ? 'lost' : undefined
}

/** Names the way to a peer, so that a change of it is seen. */
function wayOf(map: PeerMap, own: string, other: string): string {
  const { a, b } = pairOf(own, other)
  const pair = map.pairs.find((one) => one.a === a && one.b === b)
  return pair === undefined ? 'straight' : `${pair.path} ${pair.via ?? ''} ${pair.slot ?? ''}`
}
