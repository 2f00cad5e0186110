/*
 * What the agent of a master's node does for the whole mesh: it lets nodes in, keeps the map, and hands both on. All that must
 * outlive it is in the master's state (the registry); what it sees itself (where members are, how pairs stand) it sees
 * again after a restart.
 *
 * Order that matters: a certificate is told to the registry before it is handed out, so that it can be taken back; a member is a
 * peer of the hub's own interface before its answer leaves, so that its first packet finds somebody.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import { wireRolesOf } from '../base/mesh-roles.ts'
import type { Clock, Log } from '../base/world.ts'
import type { SignedMap } from '../wire/mesh-shapes.ts'
import { joinRefusalOf, type MeshMember, type Registry } from '../wire/mesh-shapes.ts'
import type { Handlers } from '../wire/peer.ts'
import type { CallName, Reply, Request } from '../wire/protocol.ts'
import type { Device } from './core/dump.ts'
import { sameEndpoint } from './core/endpoint.ts'
import type { Joined, JoinRefusal, JoinRequest } from './core/join.ts'
import { essence, makeMap, type Seen } from './core/make-map.ts'
import { Pairs, type RttTo } from './core/pairs.ts'
import type { PathEvent } from './core/path.ts'
import { type PeerMap, textOf } from './core/peer-map.ts'
import { seenNow } from './core/seen.ts'
import type { NodeRecord } from './files.ts'
import { type Newest, signMap } from './map-keys.ts'
import type { Matrix } from './matrix.ts'

/** The registry is asked for again after this long without a change. */
const WAIT_MS = 30_000
const AGAIN_MS = 1_000
/** A map is made anew in time for whoever hears from hubs only now and then. */
const REISSUE_S = 24 * 3600
/** Relayed pairs and reports that come together make one map. */
const GATHER_MS = 50

/** The master of this node, as the command line has it. */
export interface Registrar {
  call<C extends CallName>(name: C, request: Request<C>): Promise<Reply<C>>
}

/** Who signs certificates; the answer is PEM with its serial number and end. */
export interface Authority {
  readonly certificate: string
  sign(request: string, node: string, roles: readonly string[], ip: string): Promise<SignedCertificate>
  /** SHA-256 (hex) of the public key in a request. Throws FsError EINVAL for what is none. */
  hashOf(request: string): Promise<string>
}
export interface SignedCertificate {
  readonly certificate: string
  /** Hex, lower case. */
  readonly serial: string
  readonly expiresSec: number
}

type HubCalls = 'memberHere' | 'memberRenew' | 'memberKey' | 'memberLeave' | 'memberProved' | 'memberMeasured'

export interface HubParts {
  readonly own: NodeRecord
  readonly registrar: Registrar
  readonly authority: Authority
  /** PEM of the key that signs maps. */
  readonly mapSecret: string
  readonly newest: Newest
  /** Called with each new map: the hub's own interface has what it names when this resolves. */
  readonly follow: (map: PeerMap, signed: SignedMap) => Promise<void>
  readonly rtt: RttTo
  readonly matrix: Matrix
  readonly clock: Clock
  readonly log: Log
}

export class Hub {
  readonly #parts: HubParts
  readonly #pairs = new Pairs()
  readonly #seen = new Map<string, Seen>()
  #registry: Registry | undefined
  #version = 0
  #essence = ''
  #issuedS = 0
  /** One map is made at a time. */
  #making: Promise<void> = Promise.resolve()
  #gathering = false

  constructor(parts: HubParts) {
    this.#parts = parts
  }

  /**
   * Follows the registry until told to stop. What the last map says of where members are and how pairs stand holds until it is
   * seen otherwise: a hub that is started again changes nobody's way.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { registrar, clock, log, newest } = this.#parts
    for (const { id, hubSeen, hubSeenAt, bootId } of newest.map?.peers ?? [])
      this.#seen.set(id, { bootId, atS: hubSeenAt, ...(hubSeen === undefined ? {} : { endpoint: hubSeen }) })
    this.#pairs.restore(newest.map?.pairs ?? [], this.#nowMs())
    while (!signal.aborted) {
      try {
        const { version, registry } = await registrar.call('meshRegistry', { since: this.#version, waitMs: WAIT_MS })
        this.#version = version
        if (registry !== undefined) this.#registry = registry
        await this.publish()
      } catch (error) {
        if (signal.aborted) return
        if (errnoOf(error) === undefined) throw error
        log.warn(
          { error: (error as Error).message },
          'the registry of the mesh cannot be read from the master; trying again',
        )
        await clock.sleep(AGAIN_MS, { signal }).catch(() => undefined)
      }
    }
  }

  /** What the device of this node says of its peers, after each round. */
  look(device: Device): void {
    const nowS = this.#parts.clock.now().sec
    const map = this.#parts.newest.map
    if (map === undefined) return
    let changed = false
    for (const [node, endpoint] of seenNow(map, device, nowS)) {
      const before = this.#seen.get(node)
      if (before?.endpoint !== undefined && sameEndpoint(before.endpoint, endpoint)) {
        this.#seen.set(node, { ...before, endpoint, atS: nowS })
        continue
      }
      // Where another saw it before says nothing about the new place.
      this.#seen.set(node, { bootId: before?.bootId ?? 0, endpoint, atS: nowS })
      changed = true
      this.#pairs.moved(node, map.peers, this.#nowMs())
    }
    const due = nowS - this.#issuedS > REISSUE_S || this.#pairs.nextMs() <= this.#nowMs()
    if (changed || due) this.#publishSoon()
  }

  #nowMs(): number {
    return this.#parts.clock.monotonicMs()
  }

  #publishSoon(): void {
    if (this.#gathering) return
    this.#gathering = true
    this.#parts.clock.timer(GATHER_MS, () => {
      this.#gathering = false
      void this.publish()
    })
  }

  /** Makes, signs and hands on a new map when anything in it is new. */
  publish(): Promise<void> {
    const mine = this.#making.then(() => this.#publish())
    this.#making = mine.catch(() => undefined)
    return mine
  }

  async #publish(): Promise<void> {
    const { newest, clock, mapSecret, follow, rtt } = this.#parts
    if (this.#registry === undefined) return
    const now = clock.now()
    const before = newest.map
    const bare = makeMap(this.#registry, this.#seen, [], 0, now.sec)
    const pairs = this.#pairs.update(bare.peers, rtt, this.#nowMs())
    // In milliseconds, so that a hub that was set up anew on another machine does not begin before the old one ended.
    const version = Math.max((before?.version ?? 0) + 1, now.sec * 1000 + Math.floor(now.nsec / 1e6))
    const map = makeMap(this.#registry, this.#seen, pairs, version, now.sec)
    const is = essence(map)
    if (is === this.#essence && now.sec - this.#issuedS <= REISSUE_S) return
    this.#essence = is
    this.#issuedS = now.sec
    const signed = signMap(mapSecret, textOf(map))
    newest.offer(map, signed)
    await follow(map, signed)
  }

  // ---- letting in

  async admit(asked: JoinRequest, exported: Buffer): Promise<{ ok: Joined } | { refused: JoinRefusal }> {
    const { own, registrar, authority, clock, newest, log } = this.#parts
    try {
      const { node, name, key, label, site, rack, tokenId } = asked
      const request = await authority.hashOf(asked.request)
      const proof = Buffer.from(asked.proof, 'hex')
      const member = await registrar.call('meshJoin', {
        ...{ tokenId, node, name, key, request, label, site, rack },
        ...{ exporter: exported, proof },
      })
      const signed = await authority.sign(asked.request, node, wireRolesOf(member.roles), member.ip)
      await registrar.call('meshCertified', { node, serial: signed.serial, expiresSec: signed.expiresSec })
      await registrar.call('meshReport', { node, candidates: asked.candidates, statics: asked.statics, relays: 'no' })
      await this.#catchUp()
      const map = newest.signed
      if (map === undefined) return { refused: { why: 'not-ready', sentence: 'the hub has no map yet: try again' } }
      return {
        ok: {
          ...{ cluster: own.cluster, meshId: own.meshId, name: member.name, ip: member.ip, prefix: member.prefix },
          ...{ roles: member.roles, label: member.label, site: member.site, rack: member.rack },
          ...{ certificate: signed.certificate, authority: authority.certificate },
          ...{ mapKey: own.mapKey, map, masterHost: own.masterHost, masterPort: own.masterPort },
          ...{ agentPort: own.agentPort, now: clock.now().sec },
        },
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      const why = joinRefusalOf(error.message)
      const sentence =
        why === undefined ? error.message : error.message.slice(error.message.indexOf(`${why}: `) + why.length + 2)
      if (why !== undefined) return { refused: { why, sentence } }
      if (error.code === 'EINVAL') return { refused: { why: 'bad-request', sentence } }
      log.error({ error: error.message }, 'a join failed here, not at the node that asked')
      return { refused: { why: 'not-ready', sentence: `the hub cannot do it now: ${sentence}` } }
    }
  }

  /** What was just changed in the registry is in the map, and in the hub's own interface, when this resolves. */
  async #catchUp(): Promise<void> {
    const { version, registry } = await this.#parts.registrar.call('meshRegistry', { since: 0, waitMs: 0 })
    if (registry !== undefined && version >= this.#version) {
      this.#version = version
      this.#registry = registry
    }
    await this.publish()
  }

  // ---- what members say of themselves

  handlers(): Handlers<HubCalls> {
    const { registrar, clock } = this.#parts
    return {
      memberHere: async ({ candidates, statics, relays, bootId, sees }, _bulk, { peer }) => {
        const member = this.#memberOf(peer.identity?.node)
        this.#seen.set(member.node, { atS: 0, ...this.#seen.get(member.node), bootId })
        for (const { node, at } of sees ?? []) {
          const before = this.#seen.get(node)
          if (before !== undefined && node !== member.node) this.#seen.set(node, { ...before, elsewhere: at })
        }
        if (sees !== undefined) this.#publishSoon()
        if (member.confirmedSec === undefined) {
          const last = member.certificates.at(-1)
          if (last !== undefined) await registrar.call('meshConfirm', { node: member.node, ...last })
        }
        const said = { node: member.node, candidates, statics, relays }
        if (differs(member, said)) await registrar.call('meshReport', said)
        return { reply: {} }
      },
      memberRenew: async ({ request }, _bulk, { peer }) => ({
        reply: await this.renew(peer.identity?.node ?? '', request),
      }),
      memberKey: async ({ key, moved }, _bulk, { peer }) => {
        await this.changeKey(this.#memberOf(peer.identity?.node).node, key, moved)
        return { reply: {} }
      },
      memberLeave: async (_request, _bulk, { peer }) => {
        const { node } = this.#memberOf(peer.identity?.node)
        await registrar.call('meshRemove', { node })
        // The answer goes through the tunnel that this takes away.
        clock.timer(GATHER_MS, () => void this.#catchUp().catch(() => undefined))
        return { reply: {} }
      },
      memberMeasured: ({ paths }, _bulk, { peer }) => {
        this.#parts.matrix.take(this.#memberOf(peer.identity?.node).node, paths)
        return { reply: {} }
      },
      memberProved: async ({ peer: other, event }, _bulk, { peer }) => {
        const { node } = this.#memberOf(peer.identity?.node)
        this.#pairs.event(node, other, event as PathEvent, this.#parts.newest.map?.peers ?? [], this.#nowMs())
        this.#publishSoon()
        return { reply: {} }
      },
    }
  }

  /** A step of the change of a member's WireGuard key; it is in the map when this resolves. */
  async changeKey(node: string, key: string, moved: boolean): Promise<void> {
    await this.#parts.registrar.call('meshKey', { node, key, step: moved ? 'moved' : 'next' })
    await this.#catchUp()
  }

  /** The same identity, another date. */
  async renew(node: string, request: string): Promise<{ certificate: string; authority: string }> {
    const { registrar, authority } = this.#parts
    const member = this.#memberOf(node)
    const signed = await authority.sign(request, member.node, wireRolesOf(member.roles), member.ip)
    await registrar.call('meshCertified', { node: member.node, serial: signed.serial, expiresSec: signed.expiresSec })
    return { certificate: signed.certificate, authority: authority.certificate }
  }

  #memberOf(node: string | undefined): MeshMember {
    const member = this.#registry?.members.find((one) => one.node === node)
    if (member === undefined) throw new FsError('ENOENT', `node ${node ?? 'without an identity'} is not of this mesh`)
    return member
  }
}

function differs(member: MeshMember, said: Pick<MeshMember, 'candidates' | 'statics' | 'relays'>): boolean {
  const of = ({ candidates, statics, relays }: typeof said): string => JSON.stringify([candidates, statics, relays])
  return of(member) !== of(said)
}
