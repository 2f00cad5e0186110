/*
 * Measured places: how far nodes are from each other comes in, once a minute it is found out who shares a rack and a site, and what
 * holds after five such evaluations becomes state by a command. Four times as often it is looked which site the mounts of nodes without
 * chunkservers are nearest to: a laptop that was carried elsewhere is near what it reads within a minute.
 *
 * What a person or a configuration has declared comes first and is never measured away; it enters the grouping as it is. What is
 * waited for and who moved lately is memory: after a restart of the master a change waits from the beginning.
 */

import { crc32 } from '../base/checksum.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Region } from '../topology/address-map.ts'
import {
  adopt,
  type ClusterNode,
  type ClusterState,
  type Evaluation,
  evaluate,
  NO_CLUSTERS,
} from '../topology/cluster.ts'
import { type ClientSite, readCostMs, siteOfClient } from '../topology/nearness.ts'
import type { Location } from '../topology/place.ts'
import { MEASURED_MAX, type MeasuredMap, type MeasuredRow } from '../wire/mesh-shapes.ts'
import type { Peer } from '../wire/peer.ts'
import type { KnownBy, TopologyNode, TopologyReport } from '../wire/reports-mesh.ts'
import type { DeclaredPlace } from '../wire/shapes.ts'
import type { MemberRecord } from './core/mesh-records.ts'
import type { NodeRecord } from './core/records.ts'
import type { State } from './core/state.ts'
import type { Loop } from './loop.ts'
import { MeasuredMatrix } from './measured-matrix.ts'
import type { Nodes } from './nodes.ts'
import { hostOf } from './parts.ts'
import type { Sessions } from './sessions.ts'

/** Looks at the sites of mounts for each evaluation. */
const LOOKS = 4

interface MeasuredParts {
  readonly state: State
  readonly loop: Loop
  readonly nodes: Nodes
  readonly sessions: Sessions
  readonly clock: Clock
  readonly log: Log
}

type Known = { readonly site: string; readonly rack: string; readonly siteBy: KnownBy; readonly rackBy: KnownBy }

export class MeasuredPlaces implements Work {
  readonly #parts: MeasuredParts
  readonly #everyMs: number
  readonly #matrix = new MeasuredMatrix()
  /** What is waited for, who moved lately, how often it was looked. */
  #memory: Pick<ClusterState, 'waiting' | 'moves' | 'evaluation'> = NO_CLUSTERS
  #latest: { readonly evaluation: Evaluation; readonly asOf: number } | undefined
  /** By node: the site of a mount without chunkservers on its machine. */
  #clients = new Map<string, ClientSite>()
  #looks = 0
  /** A person has said something: it is to be looked at. */
  onSaid: () => void = () => undefined
  #told: number

  constructor(parts: MeasuredParts, { everyMs }: { everyMs: number }) {
    this.#parts = parts
    this.#everyMs = everyMs
    this.#told = parts.state.measured.record.number
  }

  take(hub: string, rows: readonly MeasuredRow[]): void {
    this.#matrix.take(hub, rows, this.#nowMs())
  }

  /** After each commit: whoever places by the map has to look again when it is another. */
  committed(): void {
    const { number } = this.#parts.state.measured.record
    if (number === this.#told) return
    this.#told = number
    this.#parts.nodes.placesChanged()
  }

  // ---- evaluating

  async step(): Promise<WorkStep> {
    const { state } = this.#parts
    if (state.mesh.founded !== undefined) {
      if (this.#looks++ % LOOKS === 0) await this.#evaluate()
      this.#lookAtClients()
    }
    return { restMs: this.#everyMs / LOOKS, resting: 'idle' }
  }
  queued(): number {
    return 0
  }
  progress(): string {
    const { state } = this.#parts
    const placed = `${state.measured.places.size} nodes placed, ${this.#memory.waiting.size} changes waited for`
    const beyond = state.mesh.members.size - MEASURED_MAX
    return beyond > 0 ? `${placed}; ${beyond} more than are measured` : placed
  }

  async #evaluate(): Promise<void> {
    const { state, log } = this.#parts
    const { record } = state.measured
    const { auto, siteUs, rackUs } = record.measuring
    const nodes = this.#candidates()
    const { map, number } = record
    const before: ClusterState = {
      ...{ ...this.#memory, places: state.measured.places, own: new Set(map.own) },
      ...{ lastSite: map.lastSite, lastRack: map.lastRack },
    }
    const nowMs = this.#nowMs()
    const evaluation = evaluate(
      before,
      nodes,
      (a, b) => this.#matrix.distanceMs(nodes[a]!.name, nodes[b]!.name, nowMs),
      { siteMs: siteUs / 1000, rackMs: rackUs / 1000 },
    )
    this.#latest = { evaluation, asOf: number }
    const next = mapOf(evaluation.state)
    if (sameMap(next, map)) this.#memory = evaluation.state
    else if (!auto) this.#memory = { ...evaluation.state, moves: this.#memory.moves }
    else if (await this.#commit(next, number)) {
      this.#memory = evaluation.state
      log.info(
        { nodes: next.places.length, was: map.places.length, number: number + 1 },
        'nodes were placed by measuring',
      )
    }
  }

  /** False: the map was changed meanwhile; the next evaluation is made of what it is by then. */
  async #commit(map: MeasuredMap, after: number): Promise<boolean> {
    try {
      await this.#parts.loop.command(() => ({ ok: { kind: 'placesMeasured', after, map } }))
      return true
    } catch (error) {
      if (errnoOf(error) !== 'ESTALE') throw error
      return false
    }
  }

  /** With what is declared of them. */
  #candidates(): ClusterNode[] {
    return this.#members()
      .filter(([, { confirmedSec }]) => confirmedSec !== undefined)
      .map(([name, member]) => {
        const { site, rack } = this.#declared(name, member)
        const pinned = { site: site.name || undefined, rack: rack.name || undefined }
        return { name, pinned, rounds: this.#matrix.rounds(name) }
      })
  }

  /** As many as are measured, in order of their ids. Who is placed stays; of the others those that were there first. */
  #members(): [string, MemberRecord][] {
    const { mesh, measured } = this.#parts.state
    const { places } = measured
    const late = ([node, { joinedSec }]: [string, MemberRecord]): number => (places.has(node) ? 0 : joinedSec)
    const byId = ([x]: [string, MemberRecord], [y]: [string, MemberRecord]): number => (x < y ? -1 : 1)
    const all = [...mesh.members].sort(byId)
    if (all.length <= MEASURED_MAX) return all
    return all
      .sort((a, b) => late(a) - late(b))
      .slice(0, MEASURED_MAX)
      .sort(byId)
  }

  /** What is said of a node, the first that says anything: its chunkserver's configuration, its addresses, a person. */
  #declared(node: string, member: MemberRecord): { site: Said; rack: Said } {
    const { nodes } = this.#parts
    const server = this.#serverOf(node)
    const addresses = [server?.host, member.ip, ...member.statics.map((at) => at.slice(0, at.lastIndexOf(':')))]
    const found = addresses.filter((at) => at !== undefined).map((at) => nodes.regionAt(at))
    const of = (level: 'site' | 'rack'): Said => {
      const said = found.find((region) => region[level])?.[level]
      if (server?.[level]) return { name: server[level], by: 'declared' }
      if (said !== undefined) return { name: said, by: 'address' }
      return member[level] ? { name: member[level], by: 'node' } : { name: '', by: '' }
    }
    return { site: of('site'), rack: of('rack') }
  }

  #serverOf(node: string): NodeRecord | undefined {
    return this.#parts.state.nodes().find(({ record }) => this.#parts.nodes.members.of(record) === node)?.record
  }

  // ---- mounts

  /** Where whoever speaks on this connection stands. */
  whereIs(peer: Peer | undefined, declared: DeclaredPlace | undefined): Location {
    const { nodes } = this.#parts
    const host = hostOf(peer?.address ?? '')
    const node = this.nodeOf(peer)
    return nodes.locate({ host, ...declared }, node === undefined ? {} : this.#regionOfClient(node))
  }

  /** Where whoever has this address stands, as far as that follows from it. */
  whereIsHost(host: string): Location {
    const { nodes } = this.#parts
    const node = nodes.members.at(host)
    return nodes.locate({ host }, node === undefined ? {} : this.#regionOfClient(node))
  }

  /** Whether nodes with chunkservers at these sites know how far they are from each other. */
  isMeasured(a: string, b: string): boolean {
    const { state, nodes } = this.#parts
    if (state.mesh.founded === undefined) return false
    const at = (site: string): string[] =>
      state
        .nodes()
        .filter(({ node }) => nodes.location(node).site === site)
        .flatMap(({ record }) => nodes.members.of(record) ?? [])
    const nowMs = this.#nowMs()
    const others = at(b)
    return at(a).some((one) => others.some((other) => this.#matrix.distanceMs(one, other, nowMs) !== undefined))
  }

  /** The node of the mesh that a connection comes from: as it has proved, or by its address. */
  nodeOf(peer: Peer | undefined): string | undefined {
    if (peer === undefined) return undefined
    if (peer.identity !== undefined) return peer.identity.node
    const host = hostOf(peer.address)
    return isLoopback(host) ? this.#matrix.hub : this.#parts.nodes.members.at(host)
  }

  /** What a read between two nodes costs; undefined: one of them is not of the mesh. */
  readCostMs(from: string | undefined, to: string | undefined): number | undefined {
    if (from === undefined || to === undefined) return undefined
    return from === to ? 0 : readCostMs(this.#matrix.path(from, to, this.#nowMs()))
  }

  #regionOfClient(node: string): Region {
    const region = this.#parts.nodes.members.regionOf(node)
    const site = this.#clients.get(node)?.site
    return site === undefined || site === region.site ? region : { site }
  }

  #lookAtClients(): void {
    const { sessions, nodes, state } = this.#parts
    const servers = new Map<string, string[]>()
    const withServer = new Set<string>()
    for (const { node, record } of state.nodes()) {
      const member = nodes.members.of(record)
      const { site } = nodes.location(node)
      if (member === undefined) continue
      withServer.add(member)
      if (site !== undefined) servers.set(site, [...(servers.get(site) ?? []), member])
    }
    const clients = new Map<string, ClientSite>()
    const nowMs = this.#nowMs()
    for (const { peer } of sessions.all()) {
      const node = this.nodeOf(peer)
      const member = node === undefined ? undefined : state.mesh.members.get(node)
      // Who stores chunks, or is said to stand somewhere, is there.
      if (node === undefined || member === undefined || clients.has(node) || withServer.has(node)) continue
      if (this.#declared(node, member).site.name !== '') continue
      const toSites = new Map<string, number[]>()
      for (const [site, members] of servers)
        toSites.set(
          site,
          members.map((other) => this.#matrix.distanceMs(node, other, nowMs)).filter((ms) => ms !== undefined),
        )
      const own = nodes.members.regionOf(node).site
      const begin: ClientSite = {
        site: own !== undefined && servers.has(own) ? own : undefined,
        ...{ candidate: undefined, rounds: 0 },
      }
      clients.set(node, siteOfClient(this.#clients.get(node) ?? begin, toSites))
    }
    this.#clients = clients
  }

  // ---- what people ask and say

  /** Somebody has said where something is, or how near a site is. */
  said(): void {
    this.#looks = 0
    this.onSaid()
  }

  /** Takes the proposal that a person has seen. */
  async apply(version: number): Promise<void> {
    const proposal = this.#proposal()
    if (proposal === undefined) throw new FsError('ENOENT', 'nothing was measured yet')
    const { map, asOf } = proposal
    if (version !== proposal.version)
      throw new FsError('ESTALE', `the proposal is version ${proposal.version} by now; see holdfast topology diff`)
    if (!(await this.#commit(map, asOf)))
      throw new FsError('ESTALE', 'places were changed meanwhile; see holdfast topology diff')
    this.#memory = { ...this.#memory, waiting: new Map() }
    this.#latest = undefined
    await this.#evaluate()
  }

  /** A name that somebody has declared would be back with the next evaluation. */
  mayRename(level: 'site' | 'rack', name: string): void {
    for (const [node, member] of this.#parts.state.mesh.members) {
      const said = this.#declared(node, member)[level]
      if (said.name === name)
        throw new FsError('EBUSY', `${level} "${name}" is declared, by ${member.name} (${said.by}); change it there`)
    }
  }

  #proposal(): { readonly version: number; readonly map: MeasuredMap; readonly asOf: number } | undefined {
    const { record } = this.#parts.state.measured
    const latest = this.#latest
    if (latest === undefined) return undefined
    // Of another map than the one that it led to, nothing is proposed before the next evaluation.
    if (latest.asOf !== record.number && !sameMap(mapOf(latest.evaluation.state), record.map)) return undefined
    const map = mapOf(adopt(latest.evaluation))
    // The same for as long as it says the same of the same map, also after a restart.
    const version = crc32(Buffer.from(JSON.stringify([record.number, map.places])))
    return { version, map, asOf: record.number }
  }

  report(withMatrix: boolean): TopologyReport {
    const { state, sessions } = this.#parts
    const { number, measuring } = state.measured.record
    const members = this.#members()
    const proposal = this.#proposal()
    const nowMs = this.#nowMs()
    const ms = (a: string, b: string): number | null => (a === b ? 0 : (this.#matrix.distanceMs(a, b, nowMs) ?? null))
    return {
      ...{ number, auto: measuring.auto, siteMs: measuring.siteUs / 1000, rackMs: measuring.rackUs / 1000 },
      everyMs: this.#everyMs,
      nodes: [
        ...members.map(([node, member]) => ({
          ...{ node, name: member.name, ip: member.ip, roles: [...member.roles], rounds: this.#matrix.rounds(node) },
          ...this.#known(node, member),
        })),
        ...this.#outside(),
      ],
      mounts: [...sessions.all()].flatMap(({ peer, place, info }) => {
        const node = this.nodeOf(peer) ?? ''
        const { site = '', rack = '' } = this.whereIs(peer, place)
        if (peer === undefined || `${node}${site}${rack}` === '') return []
        return [{ session: info.session, mountpoint: `${info.host}:${info.mountpoint}`, node, site, rack }]
      }),
      proposal: {
        version: proposal?.version ?? 0,
        changes: proposal === undefined ? [] : this.#changes(proposal.map),
        waiting: [...this.#memory.waiting].map(([change, rounds]) => ({ change: this.#inNames(change), rounds })),
      },
      matrix: withMatrix ? members.map(([a]) => members.map(([b]) => ms(a, b))) : [],
    }
  }

  #known(node: string, member: MemberRecord): Known {
    const { site, rack } = this.#declared(node, member)
    const measured = this.#parts.state.measured.places.get(node)
    const by = (said: Said, found: string | undefined): [string, KnownBy] =>
      said.name !== '' ? [said.name, said.by] : found === undefined ? ['', ''] : [found, 'measured']
    const [siteName, siteBy] = by(site, measured?.site)
    const [rackName, rackBy] = by(rack, measured?.rack)
    return { site: siteName, siteBy, rack: rackName, rackBy }
  }

  /** Chunkservers that are no nodes of the mesh: nothing is measured of them. */
  #outside(): TopologyNode[] {
    const { state, nodes } = this.#parts
    return state.nodes().flatMap(({ record }) => {
      if (nodes.members.of(record) !== undefined) return []
      const found = nodes.regionAt(record.host)
      const known = (own: string | undefined, said: string | undefined): [string, KnownBy] =>
        own ? [own, 'declared'] : said === undefined ? ['', ''] : [said, 'address']
      const [site, siteBy] = known(record.site, found.site)
      const [rack, rackBy] = known(record.rack, found.rack)
      const what = { node: '', name: record.name, ip: record.host, roles: ['chunkserver'], rounds: 0 }
      return [{ ...what, site, siteBy, rack, rackBy }]
    })
  }

  #changes(map: MeasuredMap): TopologyReport['proposal']['changes'] {
    const { measured, mesh } = this.#parts.state
    return map.places.flatMap(({ node, site: toSite, rack: toRack }) => {
      const { site = '', rack = '' } = measured.places.get(node) ?? {}
      const name = mesh.members.get(node)?.name ?? node
      return site === toSite && rack === toRack ? [] : [{ node, name, site, rack, toSite, toRack }]
    })
  }

  /** Node ids of a change become names. */
  #inNames(change: string): string {
    return change.replace(/[0-9a-f]{32}/g, (node) => this.#parts.state.mesh.members.get(node)?.name ?? node)
  }

  #nowMs(): number {
    return this.#parts.clock.monotonicMs()
  }
}

interface Said {
  readonly name: string
  readonly by: KnownBy
}

const mapOf = ({ places, own, lastSite, lastRack }: ClusterState): MeasuredMap => ({
  places: [...places].sort(([x], [y]) => (x < y ? -1 : 1)).map(([node, place]) => ({ node, ...place })),
  own: [...own].sort(),
  ...{ lastSite, lastRack },
})

const sameMap = (a: MeasuredMap, b: MeasuredMap): boolean =>
  JSON.stringify([a.places.map(({ node, site, rack }) => [node, site, rack]), a.own, a.lastSite, a.lastRack]) ===
  JSON.stringify([b.places.map(({ node, site, rack }) => [node, site, rack]), b.own, b.lastSite, b.lastRack])

const isLoopback = (host: string): boolean => /^(?:::ffff:)?127\.|^(?:\[?::1\]?)$/.test(host)
