/*
 * What this node knows of its way to each peer: how the device counts it, what the echoes say, how large a packet passes. Fed by
 * the rounds of the tunnel and of the probes; asked by the plan (which routes), by the status, and by whoever has to know
 * that a way is lost.
 */

import { RttFilter } from '../topology/rtt-filter.ts'
import { MEASURED_MAX, type MeasuredPath } from '../wire/mesh-shapes.ts'
import { candidateStep } from './core/candidates.ts'
import type { Device } from './core/dump.ts'
import { type MtuState, newMtu, nextEcho, onEcho, onNewWay, onTick } from './core/mtu.ts'
import type { PeerEntry } from './core/peer-map.ts'
import {
  adviceFor,
  healthOf,
  isSuspect,
  newWatch,
  onDevice,
  onProbe,
  type PeerHealth,
  type PeerWatch,
} from './core/peer-state.ts'
import type { ProbePeer, ProbeRound } from './core/probe-packet.ts'

/** After three rounds without an answer what data takes there is not known. */
const ANSWERED_WITHIN_MS = 30_000

interface Known {
  readonly id: string
  watch: PeerWatch
  mtu: MtuState
  readonly rtt: RttFilter
  /** Counts the ways that the pair has had, as the probes do. */
  epoch: number
  way: string
  /** When it was last reached, or first asked for. */
  reachedMs: number
}

export interface PeerSight {
  readonly health: PeerHealth
  readonly endpoint: string | undefined
  readonly handshakeS: number
  readonly rttMs: number | undefined
  readonly loss: number | undefined
  readonly mtu: number
  readonly rxBytes: number
  readonly txBytes: number
  readonly advice: string | undefined
}

export class PeersView {
  readonly #linkMtu: number
  readonly #known = new Map<string, Known>()

  constructor(linkMtu: number) {
    this.#linkMtu = linkMtu
  }

  /** These and no others. */
  keep(ids: readonly string[], nowMs: number): void {
    const wanted = new Set(ids)
    for (const id of this.#known.keys()) if (!wanted.has(id)) this.#known.delete(id)
    for (const id of ids)
      if (!this.#known.has(id))
        this.#known.set(id, {
          ...{ id, watch: newWatch(), mtu: newMtu(this.#linkMtu), rtt: new RttFilter() },
          ...{ epoch: 0, way: '', reachedMs: nowMs },
        })
  }

  /** What the device says; `wayOf` names the way of a peer, so that a change of it is seen. */
  onDevice(device: Device, peers: readonly PeerEntry[], wayOf: (peer: PeerEntry) => string, nowMs: number): void {
    const byKey = new Map(device.peers.map((peer) => [peer.publicKey, peer]))
    for (const peer of peers) {
      const known = this.#known.get(peer.id)
      const seen = peer.keys.map((key) => byKey.get(key)).find((one) => one !== undefined)
      if (known === undefined || seen === undefined) continue
      known.watch = onDevice(known.watch, seen, nowMs)
      known.mtu = onTick(known.mtu, nowMs)
      if (known.watch.rxGrewMs > known.reachedMs) known.reachedMs = known.watch.rxGrewMs
      const way = `${wayOf(peer)} ${seen.endpoint ?? ''}`
      if (way === known.way) continue
      if (known.way !== '') known.mtu = onNewWay(known.mtu)
      known.way = way
      known.epoch = (known.epoch + 1) & 0xffff
    }
  }

  onRound({ id, epoch, sent, rttsMs, full }: ProbeRound, nowMs: number): void {
    const known = this.#known.get(id)
    if (known === undefined || epoch !== known.epoch) return
    const lost = Array.from<undefined>({ length: sent - rttsMs.length })
    known.rtt.round(nowMs, epoch, [...rttsMs, ...lost])
    const answered = rttsMs.length > 0
    known.watch = onProbe(known.watch, answered, known.rtt.view(nowMs).lossRate ?? 0, nowMs)
    if (answered) known.reachedMs = nowMs
    if (full !== undefined) known.mtu = onEcho(known.mtu, full.packetBytes, full.answered, answered, nowMs)
  }

  /** Whom to ask, and how; `isBusy`: somebody steers by what is measured there. */
  asked(peers: readonly PeerEntry[], isBusy: (id: string) => boolean): ProbePeer[] {
    return peers.flatMap(({ id, ip }) => {
      const known = this.#known.get(id)
      if (known === undefined) return []
      const isQuick = known.watch.probesLost > 0 || known.mtu.testing !== undefined
      const pace = isBusy(id) ? 'busy' : isQuick ? 'quick' : 'usual'
      return [{ id, address: ip, epoch: known.epoch, pace, packetBytes: nextEcho(known.mtu) }]
    })
  }

  steps(nowMs: number): Map<string, number> {
    return new Map([...this.#known.values()].map(({ id, reachedMs }) => [id, candidateStep(reachedMs, nowMs)]))
  }
  suspects(): Set<string> {
    return new Set([...this.#known.values()].filter(({ watch }) => isSuspect(watch)).map(({ id }) => id))
  }
  mtuOf(id: string): number | undefined {
    return this.#known.get(id)?.mtu.mtu
  }
  rttOf(id: string, nowMs: number): number | undefined {
    return this.#known.get(id)?.rtt.view(nowMs).baseMs
  }

  /** What is told of all peers, as many as fit. */
  measured(nowMs: number): MeasuredPath[] {
    const paths: MeasuredPath[] = []
    for (const { id, rtt } of this.#known.values()) {
      const { baseMs, srttMs, rttvarMs, lossRate, rounds, answeredAtMs } = rtt.view(nowMs)
      if (rounds === 0 || paths.length === MEASURED_MAX) continue
      const answers = answeredAtMs !== undefined && nowMs - answeredAtMs < ANSWERED_WITHIN_MS
      paths.push({
        ...{ peer: id, rounds, baseUs: thousandths(baseMs) },
        ...{ srttUs: answers ? thousandths(srttMs) : undefined, rttvarUs: answers ? thousandths(rttvarMs) : undefined },
        lossPpm: lossRate === undefined ? undefined : Math.round(lossRate * 1e6),
      })
    }
    return paths
  }

  sight(id: string, nowMs: number, nowS: number): PeerSight | undefined {
    const known = this.#known.get(id)
    if (known === undefined) return undefined
    const { watch } = known
    const { baseMs, lossRate } = known.rtt.view(nowMs)
    return {
      ...{ health: healthOf(watch, nowMs, nowS), endpoint: watch.endpoint, handshakeS: watch.handshakeS },
      ...{ rttMs: baseMs, loss: lossRate, mtu: known.mtu.mtu, rxBytes: watch.rxBytes, txBytes: watch.txBytes },
      advice: adviceFor(watch, nowMs, nowS),
    }
  }
}

const thousandths = (ms: number | undefined): number | undefined =>
  ms === undefined ? undefined : Math.round(ms * 1000)
