/*
 * Making a machine a node of a mesh: founding one, and joining one. Both end with the same files: who this node is (src/mesh/files.ts),
 * WireGuard's key, and the node's configuration, which is written only where there is none.
 *
 * Order that matters: keys are made and kept before anybody is asked, so that a join that broke off is repeated as the same node
 * and not as a second one. Secrets are never in arguments; they are in files of mode 0600 from their first byte.
 */

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join as joinPath } from 'node:path'
import { FsError, unwrap } from '../base/fault.ts'
import { type Role, wireRolesOf } from '../base/mesh-roles.ts'
import { parseClusterSection, readText } from '../config/load.ts'
import { AGENT_PORT, CHUNKSERVER_PORT, MASTER_PORT } from '../config/tables.ts'
import { configToml } from '../config/write.ts'
import { hashOfRequest, makeAuthority, makeRequest, signRequest } from '../host/certificates.ts'
import { hostClock } from '../host/clock.ts'
import { type Machine, thisMachine } from '../host/machine.ts'
import { formatHostPort, type HostPort } from '../mesh/core/endpoint.ts'
import type { Joined } from '../mesh/core/join.ts'
import { parseToken } from '../mesh/core/token.ts'
import { MeshDir, type NodeRecord } from '../mesh/files.ts'
import { JoinRefused, join } from '../mesh/join-client.ts'
import { newKeys, readKeys, type WireGuardKeys, writeSecret } from '../mesh/keys.ts'
import { newMapKey, readMap } from '../mesh/map-keys.ts'
import { choosePrefix, overlapWith } from '../topology/mesh-addresses.ts'

/** A clock that is further off than this is a riddle later: certificates that do not count yet, handshakes that are refused. */
const CLOCK_OFF_SEC = 60

/** What the command line knows to do about a refusal, beside what the master says. */
const HELP: Partial<Record<JoinRefused['why'], string>> = {
  'known-node': '. As a new node: holdfast mesh join --as-new',
  'other-key': '. With keys of its own: holdfast mesh join --as-new',
  'spent-token': '. Ask for a new one: holdfast mesh token create, at a hub',
  'expired-token': '. Ask for a new one: holdfast mesh token create, at a hub',
  'revoked-token': '. Ask for a new one: holdfast mesh token create, at a hub',
}

export interface Where {
  /** The node's configuration. */
  readonly config: string
  readonly meshDir: string
  readonly keyFile: string
  readonly interface: string
  /** WireGuard's UDP port. */
  readonly port: number
  /** Below it each role keeps what is its own. */
  readonly dataDir: string
  /** Where this node is reached from outside, ADDRESS:PORT. */
  readonly advertise: readonly string[]
}

export interface Place {
  readonly name: string | undefined
  readonly label: string | undefined
  readonly site: string | undefined
  readonly rack: string | undefined
}

export interface SetUp {
  readonly node: string
  readonly name: string
  readonly ip: string
  readonly roles: readonly Role[]
  readonly config: string
  /** Whether the configuration was written; else it was there, and has to say what `toAdd` says. */
  readonly written: boolean
  readonly toAdd: string
  readonly warnings: readonly string[]
}

/** A name that a mesh takes, of this machine. */
const ownName = (wanted: string | undefined): string =>
  (wanted ?? hostname()).replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'node'

/** Founds a mesh on this machine, which becomes its first hub. `routes`: what the machine reaches now (`10.0.0.0/24`). */
export async function foundMesh(
  where: Where,
  place: Place,
  { prefix, joins, routes }: { prefix: string | undefined; joins: readonly HostPort[]; routes: readonly string[] },
): Promise<SetUp> {
  const dir = new MeshDir(where.meshDir)
  await refuseMember(dir)
  const network = prefix ?? unwrap(choosePrefix(routes, (n) => randomBytes(4).readUInt32BE(0) % n))
  unwrap(overlapWith(network, routes))
  await dir.make()
  const { node, tlsKey } = await ownKeys(dir, where)
  const cluster = (await clusterOf(where.config)) || randomBytes(8).toString('hex')
  const meshId = randomBytes(8).toString('hex')
  const ip = network.replace(/\.0\/16$/, '.1')
  const authority = await makeAuthority(cluster)
  const { request } = await makeRequest(node, tlsKey)
  const roles: Role[] = ['master', 'chunkserver', 'client']
  const certificate = await signRequest(authority, request, { cluster, node, roles: wireRolesOf(roles) }, [ip])
  const mapKey = newMapKey()
  await dir.write('ca.key', authority.key)
  await dir.write('map.key', mapKey.secret)
  await writeIdentity(dir, authority.certificate, certificate, tlsKey)
  const name = ownName(place.name)
  await dir.writeNode({
    ...{ node, name, cluster, meshId, ip, prefix: network, interface: where.interface, port: where.port, roles },
    ...{ label: place.label, site: place.site, rack: place.rack, mapKey: mapKey.publicKey, agentPort: AGENT_PORT },
    ...{ masterHost: ip, masterPort: MASTER_PORT, joins: joins.map(formatHostPort) },
    ...machineOf(await thisMachine()),
  })
  const common = { cluster: { id: cluster, identityDir: where.meshDir } }
  const sections = [
    configToml('master', { dataDir: joinPath(where.dataDir, 'master'), listenHost: ip }, common),
    meshSection(where, ip, MASTER_PORT),
  ]
  return { ...(await configure(where.config, sections)), node, name, ip, roles, warnings: [] }
}

export interface Joining {
  /** Lines as in the configuration of a chunkserver. */
  readonly disks: readonly string[]
  readonly asNew: boolean
  readonly candidates: readonly string[]
  /** What the machine reaches now without the mesh (`10.0.0.0/24`). */
  readonly routes: readonly string[]
}

/** Becomes a member with a token. */
export async function joinMesh(
  tokenText: string,
  where: Where,
  place: Place,
  { disks, asNew, candidates, routes }: Joining,
): Promise<SetUp> {
  const token = unwrap(parseToken(tokenText))
  const nowSec = hostClock.now().sec
  if (token.expiresAt <= nowSec)
    throw new FsError(
      'EPERM',
      `this token expired ${nowSec - token.expiresAt} s ago by the clock of this machine: ask for a new one`,
    )
  const dir = new MeshDir(where.meshDir)
  if (asNew)
    for (const file of ['node.json', 'node-id', 'node.key', 'node.crt', 'map.json', 'denied'])
      await rm(dir.path(file), { force: true })
  if (asNew) await rm(where.keyFile, { force: true })
  await refuseMember(dir)
  await dir.make()
  const { keys, node, tlsKey } = await ownKeys(dir, where)
  const { request } = await makeRequest(node, tlsKey)
  const wish = {
    ...{ node, name: ownName(place.name), key: keys.publicKey, request, program: 'holdfast' },
    ...{ label: place.label ?? token.label, site: place.site ?? token.site, rack: place.rack },
    ...{ candidates: [...candidates], statics: [...where.advertise] },
  }
  const joined = await join(token, wish, hashOfRequest(request), hostClock).catch((error: unknown) => {
    if (!(error instanceof JoinRefused)) throw error
    throw new FsError('EPERM', `${error.sentence}${HELP[error.why] ?? ''}`, { cause: error })
  })
  const map = readMap(joined.mapKey, joined.meshId, joined.map)
  if (!map.peers.some(({ id }) => id === node))
    throw new FsError('EPROTO', 'the hub took this node in, but its map does not name it')
  unwrap(overlapWith(joined.prefix, routes))
  await writeIdentity(dir, joined.authority, joined.certificate, tlsKey)
  await dir.writeMap(joined.map)
  const common = { cluster: { id: joined.cluster, identityDir: where.meshDir } }
  const sections = [meshSection(where, joined.masterHost, joined.masterPort, common)]
  if (joined.roles.includes('chunkserver') && disks.length > 0)
    sections.push(chunkserverSection(joined, disks, joinPath(where.dataDir, 'chunkserver')))
  const offSec = Math.abs(joined.now - nowSec)
  const warnings =
    offSec > CLOCK_OFF_SEC ? [`the clock of this machine and the hub's differ by ${offSec} s: set it`] : []
  const configured = await configure(where.config, sections)
  // What makes this machine a member is written last: a join that broke off before can be repeated.
  await dir.writeNode(recordOf(joined, node, where, await thisMachine()))
  return { ...configured, node, name: joined.name, ip: joined.ip, roles: joined.roles, warnings }
}

const machineOf = ({ machine, cards }: Machine) => ({ machine, cards: [...cards] })

const recordOf = (joined: Joined, node: string, where: Where, machine: Machine): NodeRecord => ({
  ...{ node, name: joined.name, cluster: joined.cluster, meshId: joined.meshId, ip: joined.ip, prefix: joined.prefix },
  ...{ interface: where.interface, port: where.port, roles: joined.roles, mapKey: joined.mapKey },
  ...machineOf(machine),
  ...{ label: joined.label, site: joined.site, rack: joined.rack, agentPort: joined.agentPort },
  ...{ masterHost: joined.masterHost, masterPort: joined.masterPort, joins: undefined },
})

async function refuseMember(dir: MeshDir): Promise<void> {
  const member = await dir.node()
  if (member !== undefined)
    throw new FsError(
      'EEXIST',
      `this machine is ${member.name} (${member.ip}) of mesh ${member.meshId}: holdfast mesh leave comes first`,
    )
}

/** Those that an earlier try has left, or new ones. */
async function ownKeys(dir: MeshDir, where: Where): Promise<{ keys: WireGuardKeys; node: string; tlsKey: string }> {
  await mkdir(dirname(where.keyFile), { recursive: true, mode: 0o700 })
  if (!existsSync(where.keyFile)) await writeSecret(where.keyFile, `${newKeys().privateKey}\n`)
  const node = (await dir.read('node-id'))?.trim() ?? randomBytes(16).toString('hex')
  await dir.write('node-id', `${node}\n`)
  const tlsKey = (await dir.read('node.key')) ?? (await makeRequest(node)).key
  await dir.write('node.key', tlsKey)
  return { keys: await readKeys(where.keyFile), node, tlsKey }
}

async function writeIdentity(dir: MeshDir, authority: string, certificate: string, key: string): Promise<void> {
  await dir.write('ca.crt', authority)
  await dir.write('node.key', key)
  await dir.write('node.crt', certificate)
}

/** Of a configuration that is there already. */
async function clusterOf(file: string): Promise<string> {
  if (!existsSync(file)) return ''
  return parseClusterSection(await readText(file), file).id
}

const meshSection = (where: Where, masterHost: string, masterPort: number, common: object = {}): string =>
  configToml(
    'mesh',
    { dir: where.meshDir, keyFile: where.keyFile, advertise: [...where.advertise], masterHost, masterPort },
    common,
  )

const chunkserverSection = (
  { name, ip, masterHost, masterPort, label, site, rack }: Joined,
  disks: readonly string[],
  dataDir: string,
): string =>
  configToml('chunkserver', {
    ...{ name, dataDir, disks: [...disks], listenHost: ip, listenPort: CHUNKSERVER_PORT, masterHost, masterPort },
    ...(label === undefined ? {} : { labels: [label] }),
    ...(site === undefined ? {} : { site }),
    ...(rack === undefined ? {} : { rack }),
  })

async function configure(
  file: string,
  sections: readonly string[],
): Promise<{ config: string; written: boolean; toAdd: string }> {
  const toAdd = sections.map((section) => section.trim()).join('\n\n')
  // By this, or by a try that broke off after it.
  if (existsSync(file)) return { config: file, written: (await readText(file)) === `${toAdd}\n`, toAdd }
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `${toAdd}\n`, { mode: 0o644 })
  await chmod(file, 0o644)
  return { config: file, written: true, toAdd }
}

/** From standard input, or from HOLDFAST_TOKEN; never an argument, which every user of the machine could read. */
export async function readToken(fromStdin: boolean): Promise<string> {
  if (!fromStdin) {
    const token = process.env.HOLDFAST_TOKEN
    if (token === undefined || token === '')
      throw new FsError('EINVAL', 'no token: set HOLDFAST_TOKEN, or give it on standard input with --token-stdin')
    // Children have no use for it.
    delete process.env.HOLDFAST_TOKEN
    return token
  }
  return readFile('/dev/stdin', 'utf8')
}
