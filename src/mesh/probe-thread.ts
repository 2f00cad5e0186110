/*
 * The thread that measures. It does nothing else, so that nothing else is taken for a slow network: on the main thread a
 * garbage collection or a large reply would be latency. It asks the peers that it is told of and answers those who ask,
 * on one socket at this node's address in the mesh. Times are this thread's own: asking another thread for the time would
 * take as long as what is measured.
 */

import { createSocket, type RemoteInfo } from 'node:dgram'
import { parentPort, workerData } from 'node:worker_threads'
import { crc32 } from '../base/checksum.ts'
import { inNet } from './core/endpoint.ts'
import { ECHO_HEADER_BYTES } from './core/mtu.ts'
import {
  ECHO_GAP_MS,
  ECHO_LOST_MS,
  makeAnswer,
  PROBE_BYTES_MIN,
  type ProbeNews,
  type ProbeOptions,
  type ProbeOrder,
  type ProbePeer,
  type ProbeRound,
  paces,
  readProbe,
  roundTripMs,
  writeProbe,
} from './core/probe-packet.ts'

/** Rounds of 100 ms that last a second at most, of 300 peers, of two echoes: what can be under way. */
const WAITING_MAX = 20_000

interface Round {
  readonly peer: ProbePeer
  /** By place in the round; undefined: not back. */
  readonly rttsMs: (number | undefined)[]
  full: boolean | undefined
  /** Echoes not yet back. */
  away: number
  told: boolean
}
interface Waiting {
  readonly round: Round
  readonly sentNs: bigint
  /** undefined: the one of full size. */
  readonly place: number | undefined
}

const { address, port, prefix, boot } = workerData as ProbeOptions
const main = parentPort!
const tell = (news: ProbeNews): void => main.postMessage(news)
const now = (): bigint => process.hrtime.bigint()

const socket = createSocket({
  type: 'udp4',
  // Addresses only, and they are known: no turn through the resolver for each packet.
  lookup: (host, _, found) => found(null, host, 4),
})
let sequence = 0
const waiting = new Map<number, Waiting>()
const timers = new Map<string, { readonly peer: ProbePeer; timer: NodeJS.Timeout }>()

function finish(round: Round): void {
  if (round.told) return
  round.told = true
  const { id, epoch, packetBytes } = round.peer
  const told: ProbeRound = {
    id,
    epoch,
    sent: round.rttsMs.length,
    rttsMs: round.rttsMs.filter((rtt) => rtt !== undefined),
    ...(packetBytes === undefined ? {} : { full: { packetBytes, answered: round.full === true } }),
  }
  tell({ kind: 'round', round: told })
}

function ask(round: Round, place: number | undefined): void {
  sequence = (sequence + 1) % 2 ** 32
  const own = sequence
  const { peer } = round
  const sizeBytes = place === undefined ? peer.packetBytes! - ECHO_HEADER_BYTES : PROBE_BYTES_MIN
  if (waiting.size >= WAITING_MAX) waiting.delete(waiting.keys().next().value!)
  const sentNs = now()
  waiting.set(own, { round, sentNs, place })
  // What the kernel refuses (no route yet, too large for the interface) did not come back, and that is all there is to say.
  socket.send(writeProbe({ sequence: own, sentNs, boot, epoch: peer.epoch }, sizeBytes), port, peer.address, () => {})
  setTimeout(() => {
    if (waiting.delete(own) && --round.away === 0) finish(round)
  }, ECHO_LOST_MS)
}

function begin(peer: ProbePeer): void {
  const { echoes } = paces[peer.pace]
  const places: (number | undefined)[] = Array.from({ length: echoes }, (_, i) => i)
  if (peer.packetBytes !== undefined) places.push(undefined)
  const round: Round = {
    peer,
    rttsMs: new Array<number | undefined>(echoes).fill(undefined),
    full: undefined,
    away: places.length,
    told: false,
  }
  for (const [i, place] of places.entries()) {
    if (i === 0) ask(round, place)
    else setTimeout(() => ask(round, place), i * ECHO_GAP_MS)
  }
}

function heard(bytes: Buffer, from: RemoteInfo): void {
  const atNs = now()
  const packet = readProbe(bytes)
  if (packet === undefined || from.port !== port || !inNet(from.address, prefix)) return
  if (!packet.answer) {
    makeAnswer(bytes, Number(now() - atNs) / 1000)
    socket.send(bytes, from.port, from.address, () => {})
    return
  }
  const asked = waiting.get(packet.sequence)
  if (asked === undefined || packet.boot !== boot || packet.sentNs !== asked.sentNs) return
  if (asked.round.peer.address !== from.address) return
  const rttMs = roundTripMs(packet, atNs)
  if (rttMs === undefined) return
  waiting.delete(packet.sequence)
  if (asked.place === undefined) asked.round.full = true
  else asked.round.rttsMs[asked.place] = rttMs
  if (--asked.round.away === 0) finish(asked.round)
}

/** Each peer begins at its own moment of the period, so that rounds do not come in bursts. */
function schedule(peer: ProbePeer): void {
  const { everyMs } = paces[peer.pace]
  const offsetMs = crc32(Buffer.from(peer.id + address)) % everyMs
  const again = (): void => {
    const entry = timers.get(peer.id)
    if (entry === undefined || entry.peer !== peer) return
    begin(peer)
    entry.timer = setTimeout(again, everyMs)
  }
  timers.set(peer.id, { peer, timer: setTimeout(again, offsetMs) })
}

const same = (x: ProbePeer, y: ProbePeer): boolean =>
  x.address === y.address && x.epoch === y.epoch && x.pace === y.pace && x.packetBytes === y.packetBytes

function follow(peers: readonly ProbePeer[]): void {
  const wanted = new Map(peers.map((peer) => [peer.id, peer]))
  for (const [id, entry] of timers) {
    const peer = wanted.get(id)
    if (peer !== undefined && same(peer, entry.peer)) continue
    clearTimeout(entry.timer)
    timers.delete(id)
  }
  for (const peer of wanted.values()) if (!timers.has(peer.id)) schedule(peer)
}

main.on('message', (order: ProbeOrder) => {
  switch (order.kind) {
    case 'peers':
      follow(order.peers)
      return
    case 'stop':
      // Ends the thread: nothing of it is owed to anybody.
      process.exit(0)
  }
})
socket.on('message', heard)
socket.on('error', (error) => {
  tell({ kind: 'failed', message: error.message })
  process.exit(1)
})
socket.bind(port, address, () => tell({ kind: 'ready', port: socket.address().port }))
