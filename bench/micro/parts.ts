/*
 * What erasure coding costs beside copies, over real disks and loopback: npx tsx bench/micro/parts.ts [DIR]
 * Prints one JSON line per figure. Two chunkservers as processes of their own, each with a copy and every other part; the first of them
 * cuts and joins; the reader is the client's, in a third. Everything is in the page cache. DIR: where the disks are
 * made; default: the system's temporary directory.
 */

import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { assert, unwrap } from '../../src/base/fault.ts'
import { chunkId, diskId, nodeId } from '../../src/base/ids.ts'
import { CHUNK_BYTES_MAX } from '../../src/base/limits.ts'
import { ChunkStore } from '../../src/chunk/chunk-store.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { dataOrders } from '../../src/chunk/data-orders.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { RealDiskIo } from '../../src/chunk/disk-io.ts'
import { Peers } from '../../src/chunk/peers.ts'
import { dataHandlers, orderHandlers } from '../../src/chunk/service.ts'
import { Ways } from '../../src/chunk/ways.ts'
import { BlockCache } from '../../src/client/block-cache.ts'
import { ChunkReader } from '../../src/client/chunk-reader.ts'
import { Chunkservers } from '../../src/client/chunkservers.ts'
import { Patience } from '../../src/client/patience.ts'
import type { MasterSession } from '../../src/client/session.ts'
import { hostClock, hostRandom } from '../../src/host/clock.ts'
import { hostLog } from '../../src/host/log.ts'
import { hostNet } from '../../src/host/net.ts'
import { partLengths } from '../../src/topology/stripe.ts'
import { connectLink, serveLinks } from '../../src/wire/connect.ts'
import type { Peer } from '../../src/wire/peer.ts'
import { type Hello, PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import type { ChunkPlaces, Place } from '../../src/wire/shapes.ts'

const MiB = 1024 * 1024
const HOST = '127.0.0.1'
const ROUNDS = 5
const CODES = [
  [4, 1],
  [4, 2],
  [8, 2],
] as const
const DISKS = 10
const SMALL_READS = 2_000
const log = hostLog({ component: 'bench', level: 'error' })
const hello: Hello = { version: PROTOCOL_VERSION, cluster: '', role: 'chunkserver', name: 'bench' }
const dial = (host: string, port: number): Promise<Peer> =>
  connectLink(hostNet, host, port, { hello, handlers: {}, clock: hostClock, log })

/** A chunkserver with disks numbered from `first` on, until its input ends. */
async function serve(root: string, first: number): Promise<void> {
  const store = new ChunkStore()
  const world = { clock: hostClock, random: hostRandom, log }
  for (let i = 0; i < DISKS; i++) {
    const path = join(root, `disk-${first + i}`)
    await mkdir(path)
    const events = { changed: () => {}, damaged: () => console.error('damaged') }
    const disk = new Disk(new RealDiskIo(path), unwrap(parseDiskSpec(`${path} =`)), '', '', world, events)
    await disk.attach()
    store.add(disk)
    store.number(disk, diskId(first + i))
  }
  const refuse = async (): Promise<never> => {
    throw new Error('fixed disks')
  }
  const admin = { addDisk: refuse, removeDisk: refuse }
  const ways = new Ways(hostClock, log, { master: () => undefined })
  const orders = orderHandlers(store, dataOrders(store, new Peers(dial), ways, hostClock, log), admin)
  const handlers = { ...dataHandlers(store, ways), ...orders }
  const listener = await serveLinks(hostNet, HOST, 0, { hello, handlers, clock: hostClock, log })
  console.log(listener.port)
  for await (const _ of process.stdin);
  process.exit(0)
}

interface Server {
  readonly places: readonly Place[]
  readonly peer: Peer
  readonly end: () => void
}

async function started(root: string, first: number): Promise<Server> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(import.meta.url), 'serve', root, String(first)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())))
    child.once('exit', () => reject(new Error('a chunkserver did not start')))
  })
  const places = Array.from({ length: DISKS }, (_, i) => ({
    disk: diskId(first + i),
    node: nodeId(first),
    host: HOST,
    port,
  }))
  return { places, peer: await dial(HOST, port), end: () => child.stdin.end() }
}

function say(name: string, value: number, unit = 'MB/s'): void {
  console.log(JSON.stringify({ name, value: Number(value.toPrecision(3)), unit }))
}

/** The best of some rounds; several things by turns, after one round that is not counted. `amount`: what one round does, per ms what `unit` says. */
async function best(
  things: Readonly<Record<string, (round: number) => Promise<void>>>,
  amount = CHUNK_BYTES_MAX / 1e3,
  unit = 'MB/s',
): Promise<number[]> {
  const most = Object.keys(things).map(() => 0)
  for (let round = 0; round <= ROUNDS; round++)
    for (const [i, work] of Object.values(things).entries()) {
      const start = performance.now()
      await work(round)
      if (round > 0) most[i] = Math.max(most[i]!, amount / (performance.now() - start))
    }
  for (const [i, name] of Object.keys(things).entries()) say(name, most[i]!, unit)
  return most
}

function readerOf(places: ChunkPlaces): ChunkReader {
  const world = { net: hostNet, clock: hostClock, random: hostRandom, log }
  const session = { askUnlessCut: async () => ({ chunks: [places] }) } as unknown as MasterSession
  const cache = new BlockCache({ limitBytes: 0 })
  const chunkservers = new Chunkservers(world, '', 'bench')
  return new ChunkReader(world, session, chunkservers, cache, new Patience(hostClock, 1_000), { ownHost: 'elsewhere' })
}

async function readAll(reader: ChunkReader, places: ChunkPlaces): Promise<void> {
  let next = 0
  // As far ahead as a sequential reader is read for.
  const job = async (): Promise<void> => {
    while (next < CHUNK_BYTES_MAX) {
      const at = next
      next += MiB
      await reader.read(places.chunk, at, MiB, false, undefined)
    }
  }
  await Promise.all(Array.from({ length: 8 }, job))
}

async function randomReads(reader: ChunkReader, places: ChunkPlaces): Promise<void> {
  for (let i = 0, x = 1; i < SMALL_READS; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
    await reader.read(places.chunk, ((x >> 8) % (CHUNK_BYTES_MAX / 4096)) * 4096, 4096, false, undefined)
  }
}

async function main(): Promise<void> {
  const root = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'holdfast-bench-'))
  const servers: Server[] = []
  try {
    const home = await started(root, 1)
    servers.push(home)
    const others = await started(root, 101)
    servers.push(others)
    const whole = chunkId(1)
    const bulk = Buffer.alloc(MiB)
    for (let i = 0; i < MiB; i++) bulk[i] = (i * 31 + (i >> 9)) & 255
    const [first, second] = [home.places[0]!, others.places[0]!]
    for (const { peer, places } of servers) {
      const { disk } = places[0]!
      for (let offset = 0; offset < CHUNK_BYTES_MAX; offset += MiB)
        await peer.call('append', { disk, chunk: whole, offset, create: offset === 0, sync: false }, { bulk: [bulk] })
      await peer.call('orderSeal', { disk, chunk: whole, length: CHUNK_BYTES_MAX })
    }
    const copies = { chunk: whole, sealed: true, length: CHUNK_BYTES_MAX, places: [first, second], ec: undefined }
    const copiesReader = readerOf(copies)
    const at = (place: Place): Peer => (place.disk > 100 ? others : home).peer
    let next = 10
    for (const [data, parity] of CODES) {
      const n = data + parity
      const code = `${data}+${parity}`
      const lengths = partLengths(CHUNK_BYTES_MAX, data, parity)
      let parts: { chunk: ReturnType<typeof chunkId>; target: Place }[] = []
      const cut = async (): Promise<void> => {
        for (const { chunk, target } of parts)
          await at(target).call('orderDelete', { disk: target.disk, chunks: [chunk] })
        parts = Array.from({ length: n }, (_, i) => ({
          chunk: chunkId(next++),
          target: servers[(i + 1) % 2]!.places[1 + (i >> 1)]!,
        }))
        const source = { ...copies, places: [first] }
        await home.peer.call('orderEncode', { source, data, parity, parts, bytesPerSecond: 0 })
      }
      await best({ [`cut into ${code}, durable and read back`]: cut })
      for (const [i, { chunk, target }] of parts.entries())
        await at(target).call('orderSeal', { disk: target.disk, chunk, length: lengths[i]! })
      const told = (lost: number): ChunkPlaces => ({
        ...copies,
        places: [],
        ec: {
          data,
          parity,
          parts: parts.map(({ chunk, target }, i) => ({
            chunk,
            length: lengths[i]!,
            places: i < lost ? [] : [target],
          })),
        },
      })
      const reader = readerOf(told(0))
      const degraded = readerOf(told(parity))
      const [all, whole, part] = await best({
        'read sequentially from two copies': () => readAll(copiesReader, copies),
        [`from ${code}`]: () => readAll(reader, told(0)),
        [`without ${parity} of its data parts`]: () => readAll(degraded, told(parity)),
      })
      say(`from ${code} beside copies`, whole! / all!, '')
      say(`without ${parity} of its data parts beside copies`, part! / all!, '')
      const small = await best(
        {
          'read 4 KiB at random from two copies, one job': () => randomReads(copiesReader, copies),
          [`4 KiB from ${code}`]: () => randomReads(reader, told(0)),
          [`4 KiB without ${parity} of its data parts`]: () => randomReads(degraded, told(parity)),
        },
        SMALL_READS * 1e3,
        '/s',
      )
      say(`4 KiB from ${code} beside copies`, small[1]! / small[0]!, '')
      say(`4 KiB without ${parity} of its data parts beside copies`, small[2]! / small[0]!, '')
      const together = async (): Promise<void> => {
        const chunk = chunkId(next++)
        const disk = home.places.at(-1)!.disk
        await home.peer.call('orderJoin', { disk, chunk, whole: { ...told(parity), chunk }, bytesPerSecond: 0 })
        await home.peer.call('orderDelete', { disk, chunks: [chunk] })
      }
      await best({ [`join ${code} without ${parity} of its data parts`]: together })
      const index = 0
      let bytes = 0
      const start = performance.now()
      for (let round = 0; round < ROUNDS; round++) {
        const { chunk } = parts[index]!
        const order = { disk: home.places.at(-1)!.disk, chunk, index, length: lengths[index]!, urgent: undefined }
        const { reply } = await home.peer.call('orderRebuild', { ...order, whole: told(1), bytesPerSecond: 0 })
        bytes += reply.bytes
        await home.peer.call('orderDelete', { disk: order.disk, chunks: [chunk] })
      }
      assert(bytes === ROUNDS * lengths[index]!, 'every round makes the part anew')
      say(`rebuild a part of ${code}, bytes of the part`, bytes / 1e3 / (performance.now() - start))
    }
  } finally {
    for (const { peer, end } of servers) {
      peer.close()
      end()
    }
    await rm(root, { recursive: true, force: true })
  }
  process.exit(0)
}

if (process.argv[2] === 'serve') void serve(process.argv[3]!, Number(process.argv[4]))
else void main()
