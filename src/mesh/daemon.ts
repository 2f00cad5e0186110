/*
 * The mesh role: the agent of this node, and on a master's node the hub of the mesh. Here the parts meet the machine: files,
 * certificates, the network's interfaces.
 */

import { randomInt } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { FsError } from '../base/fault.ts'
import type { Log, World } from '../base/world.ts'
import type { MeshConfig } from '../config/tables.ts'
import { type CertifiedKey, endOf, hashOfRequest, makeRequest, serialOf, signRequest } from '../host/certificates.ts'
import { isSameMachine, thisMachine } from '../host/machine.ts'
import { connectLink } from '../wire/connect.ts'
import type { Peer } from '../wire/peer.ts'
import { type CallName, PROTOCOL_VERSION, type Reply, type Request } from '../wire/protocol.ts'
import { Agent } from './agent.ts'
import { ownCandidates } from './core/candidates.ts'
import { MeshDir, type NodeRecord } from './files.ts'
import { found } from './found.ts'
import { type Authority, Hub, type Registrar } from './hub.ts'
import { serveJoins } from './join-server.ts'
import { readKeys } from './keys.ts'
import { Newest } from './map-keys.ts'
import { Matrix, tellMatrix } from './matrix.ts'
import { Probe } from './probe.ts'
import { Relay } from './relay.ts'
import { HostWireGuard } from './wireguard.ts'

/** Echoes are answered here, on the mesh address only. */
const PROBE_PORT = 9465
const RENEW_BEFORE_SEC = 30 * 24 * 3600
const LOOK_EVERY_MS = 3_600_000
/** Ethernet's; what is smaller on the way is found by echoes. */
const LINK_MTU = 1500

export async function run(config: MeshConfig, world: World, stopped: AbortSignal): Promise<void> {
  const { clock, net } = world
  // The agent ends by itself when this machine leaves the mesh, and everything else with it.
  const over = new AbortController()
  const signal = AbortSignal.any([stopped, over.signal])
  const log = world.log.child({ component: 'mesh' })
  const dir = new MeshDir(config.dir)
  const own = await dir.node()
  if (own === undefined)
    throw new FsError(
      'ENOENT',
      `${config.dir}: this machine is in no mesh; see holdfast mesh init and holdfast mesh join`,
    )
  const machine = await thisMachine()
  if (!isSameMachine(own, machine))
    throw new FsError(
      'EPERM',
      `${config.dir} belongs to another machine, or all its network cards were changed: this disk is a clone of ${own.name}. ` +
        'Run holdfast mesh join --as-new with a new token',
    )
  // Cards that came and went: it is to be known by the ones that it has now. One that starts before its network keeps what it knew.
  if (machine.cards.length > 0 && machine.cards.join() !== own.cards.join())
    await dir.writeNode({ ...own, cards: [...machine.cards] })
  const keys = await readKeys(config.keyFile)
  const newest = new Newest()
  const wireguard = new HostWireGuard(own.interface, clock, log, { keyFile: config.keyFile })
  const bootId = randomInt(1, 2 ** 32 - 1)
  const probe = new Probe(clock, log, (round) => agent.heard(round), {
    ...{ address: own.ip, port: PROBE_PORT, prefix: own.prefix, boot: bootId },
  })
  const relay = config.relay ? new Relay(clock, log) : undefined
  let certificate = await dir.must('node.crt')
  const agent: Agent = new Agent(
    { dir, net, wireguard, probe, relay, newest, clock, log },
    {
      ...{ own, publicKey: keys.publicKey, keyFile: config.keyFile, linkMtu: LINK_MTU, bootId, probePort: PROBE_PORT },
      standing: () => ({
        candidates: ownCandidates(localAddresses(), {
          meshInterface: own.interface,
          prefix: own.prefix,
          port: own.port,
        }),
        statics: [...config.advertise],
      }),
      relays: config.relay,
      congestion: config.congestion === 'kernel' ? undefined : config.congestion,
      certificateUntil: () => endOf(certificate),
    },
  )
  const works: Promise<unknown>[] = []
  if (own.roles.includes('master')) {
    const authority = await authorityOf(dir)
    const registrar = new MasterLink(own, world, log, signal)
    const matrix = new Matrix(clock)
    const hub = new Hub({
      ...{ own, registrar, authority, newest, clock, log, mapSecret: await dir.must('map.key'), matrix },
      follow: (map, signed) => agent.follow(map, signed),
      // Only the hub's own measurements: good enough to tell near relays from far ones.
      rtt: (node, via) => (via === own.node ? agent.rttTo(node) : undefined),
    })
    agent.becomeHub(hub)
    works.push(tellMatrix(matrix, () => agent.measured(), own.node, registrar, clock, log, signal))
    const relaying = () => agent.relaying
    works.push(lead(config, own, dir, hub, registrar, authority, keys.publicKey, relaying, world, log, signal))
  }
  const renew = async (): Promise<void> => {
    if (endOf(certificate) - clock.now().sec > RENEW_BEFORE_SEC) return
    const { request } = await makeRequest(own.node, await dir.must('node.key'))
    certificate = await agent.renew(request, signal)
    await dir.write('node.crt', certificate)
    log.info({ until: endOf(certificate) }, 'the certificate of this node was renewed')
  }
  works.push(
    every(LOOK_EVERY_MS, renew, world, log, signal),
    agent.run(signal).finally(() => over.abort()),
  )
  await Promise.all(works)
}

/** The interface is up by then: founds the mesh at the master when it is new there, and takes joins. */
async function lead(
  config: MeshConfig,
  own: NodeRecord,
  dir: MeshDir,
  hub: Hub,
  registrar: Registrar,
  authority: Authority,
  publicKey: string,
  relaying: () => Request<'memberHere'>['relays'],
  { clock }: World,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await found(own, { registrar, authority, publicKey, certificate: await dir.must('node.crt') }, { clock, log, signal })
  await registrar.call('meshReport', {
    node: own.node,
    candidates: [],
    statics: [...config.advertise],
    relays: relaying(),
  })
  if (config.joinPort === 0) return
  const identity = { chain: `${await dir.must('node.crt')}${authority.certificate}`, key: await dir.must('node.key') }
  const where = { host: config.joinHost, port: config.joinPort }
  const listener = await serveJoins(identity, (asked, exported) => hub.admit(asked, exported), clock, log, where)
  log.info({ ...where, port: listener.port }, 'taking joins')
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  await listener.close()
}

async function authorityOf(dir: MeshDir): Promise<Authority> {
  const own: CertifiedKey = { certificate: await dir.must('ca.crt'), key: await dir.must('ca.key') }
  const cluster = (await dir.node())!.cluster
  return {
    certificate: own.certificate,
    hashOf: async (request) => hashOfRequest(request),
    sign: async (request, node, roles, ip) => {
      const certificate = await signRequest(own, request, { cluster, node, roles }, [ip])
      return { certificate, serial: serialOf(certificate).toLowerCase(), expiresSec: endOf(certificate) }
    },
  }
}

/** The master as an admin has it; connects when asked, and again when the connection is lost. */
class MasterLink implements Registrar {
  readonly #own: NodeRecord
  readonly #world: World
  readonly #log: Log
  readonly #signal: AbortSignal
  #peer: Promise<Peer> | undefined

  constructor(own: NodeRecord, world: World, log: Log, signal: AbortSignal) {
    this.#own = own
    this.#world = world
    this.#log = log
    this.#signal = signal
    signal.addEventListener('abort', () => void this.#peer?.then((peer) => peer.close()).catch(() => undefined))
  }

  async call<C extends CallName>(name: C, request: Request<C>): Promise<Reply<C>> {
    this.#peer ??= this.#connect()
    const dialled = this.#peer
    try {
      const peer = await dialled
      if (peer.closed && this.#peer === dialled) this.#peer = this.#connect()
      return (await (await this.#peer!).call(name, request, { signal: this.#signal, timeoutMs: 60_000 })).reply
    } catch (error) {
      if (this.#peer === dialled && !(await isOpen(dialled))) this.#peer = undefined
      throw error
    }
  }

  #connect(): Promise<Peer> {
    const { masterHost, masterPort, cluster, name } = this.#own
    return connectLink(this.#world.net, masterHost, masterPort, {
      hello: { version: PROTOCOL_VERSION, cluster, role: 'admin', name },
      ...{ handlers: {}, clock: this.#world.clock, log: this.#log, signal: this.#signal },
    })
  }
}

const isOpen = (dialled: Promise<Peer>): Promise<boolean> =>
  dialled.then(
    (peer) => !peer.closed,
    () => false,
  )

const localAddresses = (): { name: string; address: string }[] =>
  Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map(({ address }) => ({ name, address })),
  )

async function every(
  ms: number,
  work: () => Promise<void>,
  { clock }: World,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      log.warn({ error: error.message }, 'the certificate of this node could not be renewed; trying again in an hour')
    }
    await clock.sleep(ms, { signal }).catch(() => undefined)
  }
}
