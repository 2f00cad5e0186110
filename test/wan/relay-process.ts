/*
 * The wide network between the sites of a test bed, as a process: every IP packet that leaves a site comes out of a TUN device
 * here and goes back into it when its link says so. Addresses stay as they are, so what runs on the bed sees what it would
 * see on the Internet, over UDP and TCP alike, and routers that translate addresses may stand anywhere.
 *
 * Started with the open device as descriptor argv[2], the bed's prefix as argv[3] and the seed as argv[4]. Requests
 * come on standard input, one JSON object per line, and are answered on standard output in the same order.
 *
 * It also outlives its parent for a moment: when standard input ends without a request to end, the parent has died, and
 * everything that belongs to the bed is removed from here.
 */

import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Worker } from 'node:worker_threads'
import { removeBed } from './leftovers.ts'
import { type LinkCount, LinkModel, type LinkShape } from './link-model.ts'
import { HEAD_BYTES, newRing, READ_AT, RING_SLOTS, SLOT_BYTES, WAKING, WRITTEN_AT } from './tun-ring.ts'

export type RelayRequest =
  | { readonly do: 'shape'; readonly from: number; readonly to: number; readonly shape: LinkShape }
  | { readonly do: 'count'; readonly from: number; readonly to: number }
export type RelayAnswer = { readonly count: LinkCount } | { readonly ready: true }

interface Flight {
  readonly dueMs: number
  /** Packets due at one time leave in the order they came. */
  readonly number: number
  readonly packet: Uint8Array
  readonly link: LinkModel
}

/** Two seconds of full packets at 400 Mbit/s, 100 MB; beyond that the newest is dropped. */
const FLIGHTS_MAX = 65_536
/** A timer of Node has steps of a millisecond: what is due by the middle of one goes with it. */
const EARLY_MS = 0.4

const [fd, prefix, seed] = [Number(process.argv[2]), process.argv[3]!, process.argv[4]!]
const links = new Map<number, LinkModel>()
const flights: Flight[] = []
let number = 0
let timer: NodeJS.Timeout | undefined
let timerDueMs = Number.POSITIVE_INFINITY
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6

function linkOf(from: number, to: number): LinkModel {
  const key = from * 65_536 + to
  let link = links.get(key)
  if (link === undefined) links.set(key, (link = new LinkModel(`${seed} ${from} ${to}`)))
  return link
}

/** 198.18.SITE.x and 2001:db8:SITE::x; undefined: no address of a site. */
function sitesOf(packet: Uint8Array): [number, number] | undefined {
  const at = (index: number): number => packet[index] ?? 0
  if (at(0) >> 4 === 4) {
    const ours = at(12) === 198 && at(13) === 18 && at(16) === 198 && at(17) === 18
    return ours ? [at(14), at(18)] : undefined
  }
  const ours = at(8) === 0x20 && at(24) === 0x20 && at(9) === 0x01 && at(25) === 0x01
  return ours ? [at(12) * 256 + at(13), at(28) * 256 + at(29)] : undefined
}

const before = (a: Flight, b: Flight): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.number < b.number)

function push(flight: Flight): void {
  let i = flights.push(flight) - 1
  while (i > 0) {
    const parent = (i - 1) >> 1
    if (!before(flight, flights[parent]!)) break
    flights[i] = flights[parent]!
    i = parent
  }
  flights[i] = flight
}

function pop(): Flight {
  const top = flights[0]!
  const last = flights.pop()!
  if (flights.length === 0) return top
  let i = 0
  for (;;) {
    let child = 2 * i + 1
    if (child >= flights.length) break
    if (child + 1 < flights.length && before(flights[child + 1]!, flights[child]!)) child++
    if (!before(flights[child]!, last)) break
    flights[i] = flights[child]!
    i = child
  }
  flights[i] = last
  return top
}

function send(): void {
  const until = nowMs() + EARLY_MS
  while (flights.length > 0 && flights[0]!.dueMs <= until) {
    const { packet, link } = pop()
    if (link.shape.cut) link.lostUnderWay()
    else writeSync(fd, packet)
  }
  schedule()
}

function schedule(): void {
  const dueMs = flights[0]?.dueMs ?? Number.POSITIVE_INFINITY
  if (timer !== undefined && timerDueMs <= dueMs) return
  clearTimeout(timer)
  timer = undefined
  if (dueMs === Number.POSITIVE_INFINITY) return
  timerDueMs = dueMs
  timer = setTimeout(
    () => {
      timer = undefined
      send()
    },
    Math.max(1, dueMs - nowMs()),
  )
}

const ring = newRing()
const state = new Int32Array(ring.state)
const slots = new Uint8Array(ring.slots)
const heads = new DataView(ring.slots)

function take(): void {
  // First: a packet written after this wakes us again.
  Atomics.store(state, WAKING, 0)
  let read = Atomics.load(state, READ_AT)
  while (read !== Atomics.load(state, WRITTEN_AT)) {
    const at = (read % RING_SLOTS) * SLOT_BYTES
    const packet = slots.slice(at + HEAD_BYTES, at + HEAD_BYTES + heads.getUint32(at))
    const cameMs = heads.getFloat64(at + 8)
    Atomics.store(state, READ_AT, ++read)
    const sites = sitesOf(packet)
    if (sites === undefined) continue
    const link = linkOf(...sites)
    const dueMs = link.offer(packet.length, cameMs)
    if (dueMs !== undefined && flights.length < FLIGHTS_MAX) push({ dueMs, number: number++, packet, link })
  }
  send()
}

function answer(request: RelayRequest): RelayAnswer {
  const link = linkOf(request.from, request.to)
  if (request.do === 'shape') link.reshape(request.shape)
  return { count: link.count }
}

const say = (words: RelayAnswer): void => void process.stdout.write(`${JSON.stringify(words)}\n`)
// A thread does not inherit tsx.
const START = `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(new URL('./tun-reader.ts', import.meta.url).href)})))`
const reader = new Worker(START, { eval: true, workerData: { fd, ring } })
reader.on('message', take)
reader.once('online', () => say({ ready: true }))
reader.once('error', (error) => {
  console.error(error)
  process.kill(process.pid, 'SIGKILL')
})

createInterface({ input: process.stdin })
  .on('line', (line) => say(answer(JSON.parse(line) as RelayRequest)))
  .on('close', () => {
    removeBed(prefix)
    // The reader waits in a system call: nothing gentler ends this process.
    process.kill(process.pid, 'SIGKILL')
  })
// What the terminal sends to all is for the parent to answer: it ends this process when it is done.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
