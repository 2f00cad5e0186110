/*
 * The losses that storage classes are made for, with real processes: twelve chunkservers in four racks on two sites, files of
 * every class, and a load that goes on writing while a disk, a node, a rack, a site is lost.
 *
 * What a class bears is read back byte by byte while the loss lasts. What it does not bear is reported as lost, answers EIO
 * and nothing else, and is there again with its disks. Then everything is back, whole, and takes as much room as the classes
 * say. Each test begins and ends with that.
 */

import { rename, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { errnoOf } from '../../src/base/fault.ts'
import { type ChunkId, chunkName, type Ino, ROOT_INO } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { ADMIN_STAMP } from '../../src/cli/admin.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { type ClassFlags, classWith, writeClass } from '../../src/topology/storage-class.ts'
import type { StatusReport } from '../../src/wire/reports.ts'
import { same } from '../conformance/vfs-probe.ts'
import { LocalCluster, spread } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'
import { bytesOf, read, root, write } from '../support/whole-files.ts'

const LONG = 300_000
const SERVERS = 12
/** Per rack one fast disk and two large ones. */
const labelsOf = (index: number): string[] => (index % 3 === 0 ? ['I', 'S'] : ['H'])
const LOSSES = ['disk', 'node', 'rack', 'site'] as const
type Loss = (typeof LOSSES)[number]

interface Kind {
  readonly flags: ClassFlags
  readonly bears: readonly Loss[]
  /** How many bytes on disks one byte of a file takes. */
  readonly copies: number
  readonly code?: { readonly data: number; readonly parity: number }
}
/** The delay of an hour is made a second below. */
const KINDS: Readonly<Record<string, Kind>> = {
  plain: { flags: { K: '2' }, bears: ['disk', 'node'], copies: 2 },
  ssdonly: { flags: { C: 'I', K: 'S,S/[RACK]' }, bears: ['disk', 'node', 'rack'], copies: 2 },
  hddonly: { flags: { C: 'I', K: 'H,H/[RACK]:s' }, bears: ['disk', 'node', 'rack'], copies: 2 },
  // Three of four racks are never on one site.
  hdd3x: { flags: { C: 'I', K: 'H,2H/[RACK]:s' }, bears: ['disk', 'node', 'rack', 'site'], copies: 3 },
  hddec: {
    flags: { C: '2I', K: 'H,H/[RACK]:s', A: '@4+1,H/[IP]:s', d: '1' },
    bears: ['disk', 'node'],
    copies: 2,
    code: { data: 4, parity: 1 },
  },
  // A rack has two of the eight large disks.
  wide: {
    flags: { C: '2I', K: 'H,H/[RACK]:s', A: '@4+2,H/[IP]:s', d: '1' },
    bears: ['disk', 'node', 'rack'],
    copies: 2,
    code: { data: 4, parity: 2 },
  },
}
const FILES_EACH = 3
/** Between two files of the load, of which every one is read back several times. */
const LOAD_REST_MS = 150
const LOAD_READ = 60

interface Kept {
  readonly kind: string
  readonly name: string
  readonly data: Buffer
}

describe('what each storage class bears', () => {
  const seed = seedOf()
  const dice = seededRandom(seed)
  let cluster: LocalCluster
  const dirs = new Map<string, Ino>()
  const kept: Kept[] = []
  let loads = 0

  beforeAll(async () => {
    const standing = spread(SERVERS, { racks: 4, sites: 2 })
    cluster = await LocalCluster.start({
      chunkservers: SERVERS,
      chunkserverOf: (i) => ({ ...standing(i), labels: labelsOf(i) }),
      master: { graceMs: 4_000, settleMs: 2_000, trashRetentionMs: 0, deadGraceMs: 0, sessionTimeoutMs: 5_000 },
    })
    const maker = await cluster.client()
    for (const [kind, { flags }] of Object.entries(KINDS)) {
      dirs.set(kind, (await maker.make(ROOT_INO, kind, { type: 'dir', mode: 0o755 }, root)).ino)
      const text = { ...writeClass(classWith(kind, flags)), archiveAfterMs: flags.d === undefined ? 0 : 1_000 }
      await cluster.ask(async (admin) => {
        const { classId } = await admin.call('classSet', { stamp: ADMIN_STAMP, classId: 0, text })
        const of = { ino: undefined, classId, onlyFrom: undefined, page: undefined }
        await admin.call('classOf', { stamp: ADMIN_STAMP, path: `/${kind}`, ...of })
      })
    }
    await maker.close()
    for (const kind of Object.keys(KINDS))
      for (let i = 0; i < FILES_EACH; i++) {
        const file = { kind, name: `base-${i}`, data: bytesOf(1 + dice.below(1e9), 700_000 + dice.below(900_000)) }
        await write(cluster, file.name, file.data, dirs.get(kind)!)
        kept.push(file)
      }
    await settled()
  }, LONG)
  afterAll(() => cluster?.stop(), LONG)

  /** Files of every class, one after the other, each fsynced before it counts; until stopped. */
  const load = (): { stop: () => Promise<Kept[]> } => {
    const stop = new AbortController()
    const generation = loads++
    const written: Kept[] = []
    const work = (async () => {
      const client = await cluster.client()
      for (let i = 0; !stop.signal.aborted; i++)
        for (const [kind, dir] of dirs) {
          const file = {
            kind,
            name: `load-${generation}-${i}`,
            data: bytesOf(1 + dice.below(1e9), dice.below(150_000)),
          }
          await put(client, dir, file)
          written.push(file)
          await realClock.sleep(LOAD_REST_MS)
        }
      await client.close()
    })()
    work.catch(() => undefined)
    return {
      stop: async () => {
        stop.abort()
        await work
        return written
      },
    }
  }
  const put = async (client: Filesystem, dir: Ino, { name, data }: Kept): Promise<void> => {
    const { ino } = await client.create(dir, name, 0o644, { exclusive: true, truncate: false }, root)
    await client.write(ino, 0, data, { append: false, killSuidGid: false }, root)
    await client.fsync(ino, root)
    client.release(ino)
  }

  const cold = async (file: Kept, client: Filesystem): Promise<void> =>
    same(await read(client, file.name, 0, undefined, dirs.get(file.kind)!), file.data)

  const chunksOf = async ({ kind, name }: Kept): Promise<{ chunk: string; length: number }[]> =>
    (await cluster.ask((admin) => admin.call('fileInfo', { path: `/${kind}/${name}` }))).chunks

  /** With nothing cached. What its class bears is there; the chunks of those files that answer EIO, beside the ones known. */
  const readBack = async (
    files: readonly Kept[],
    bears: (kind: Kind) => boolean,
    known: ReadonlySet<string> = new Set(),
  ): Promise<Set<string>> => {
    const client = await cluster.client({ onDisconnectMs: 1_500 })
    const lost = new Set<string>()
    for (const file of files) {
      const [first] = await chunksOf(file)
      // Of a chunk that cannot be read once is enough: each time takes as long as a reader waits.
      if (first !== undefined && (lost.has(first.chunk) || known.has(first.chunk))) continue
      try {
        await cold(file, client)
      } catch (error) {
        if (errnoOf(error) !== 'EIO') throw error
        if (bears(KINDS[file.kind]!)) throw new Error(`${file.kind}/${file.name} is lost`, { cause: error })
        if (first !== undefined) lost.add(first.chunk)
      }
    }
    await client.close()
    return lost
  }

  /** Chunk by chunk what its class makes of it; each chunk once, and bytes of files beside it. */
  const wanted = async (): Promise<{ atLeast: number; atMost: number }> => {
    const lengths = new Map<string, { length: number; kind: Kind }>()
    for (const file of kept)
      for (const { chunk, length } of await chunksOf(file)) lengths.set(chunk, { length, kind: KINDS[file.kind]! })
    let atLeast = 0
    let atMost = 0
    for (const { length, kind } of lengths.values()) {
      // A chunk of fewer blocks than there are data parts is not cut.
      const code = kind.code !== undefined && length > (kind.code.data - 1) * BLOCK_BYTES ? kind.code : undefined
      const files = code === undefined ? kind.copies : code.data + code.parity
      const bytes = length * (code === undefined ? kind.copies : files / code.data)
      atLeast += bytes
      // Beside the data of each file its head; parity is as long as the first data part, which has up to a block more.
      atMost += bytes + files * DATA_OFFSET + (code?.parity ?? 0) * BLOCK_BYTES
    }
    const logical = kept.reduce((sum, { data }) => sum + data.length, 0)
    const inChunks = [...lengths.values()].reduce((sum, { length }) => sum + length, 0)
    // What writers sent twice, because the first target had gone, is dead until the chunk is rewritten: a tenth at most.
    expect(inChunks).toBeGreaterThanOrEqual(logical)
    expect(inChunks).toBeLessThan(logical * 1.1)
    return { atLeast, atMost }
  }
  const raw = async (): Promise<number> => {
    let bytes = 0
    for (let i = 0; i < SERVERS; i++)
      for (const file of await cluster.chunkFiles(i)) bytes += (await stat(file).catch(missing))?.size ?? 0
    return bytes
  }

  /** Files that nobody counts, where they lie. */
  const strays = async (): Promise<string[]> => {
    const { chunks } = await cluster.ask((admin) => admin.call('checkPage', { cursor: '', limit: 65_536 }))
    const { disks } = await cluster.status()
    const counted = new Set<string>()
    for (const { chunk, disks: of } of chunks)
      for (const disk of of)
        counted.add(join(disks.find((one) => one.disk === disk)!.path, chunkName(chunk as ChunkId)))
    const found: string[] = []
    for (let i = 0; i < SERVERS; i++)
      for (const file of await cluster.chunkFiles(i))
        if (!counted.has(join(cluster.diskDir(i), basename(file, '.chunk')))) found.push(file)
    return found
  }

  const whole = ({ chunks, nodes, disks }: StatusReport): boolean =>
    chunks.under + chunks.endangered + chunks.lost + chunks.over + chunks.open === 0 &&
    nodes.every(({ connected }) => connected) &&
    disks.every(({ state }) => state === 'ok')

  /** Everything is back where its class wants it, and nothing else is there. */
  const settled = async (): Promise<void> => {
    await cluster.until('all is whole', whole)
    const deadline = realClock.monotonicMs() + 60_000
    for (;;) {
      const bounds = await wanted()
      const bytes = await raw()
      const left = await strays()
      if (bytes >= bounds.atLeast && bytes <= bounds.atMost && left.length === 0) break
      if (realClock.monotonicMs() > deadline)
        throw new Error(`${bytes} bytes on disks, wanted ${JSON.stringify(bounds)}; left over: ${left.join(' ')}`)
      await realClock.sleep(500)
    }
    await cluster.until('all is whole', whole)
    expect((await cluster.check(true)).findings).toEqual([])
  }
  /** One of each: the disk of a running chunkserver, a chunkserver, all of a rack, all of a site. */
  const victimsOf = (loss: Loss): number[] => {
    const share = { disk: 1, node: 1, rack: 3, site: 6 }[loss]
    const first = dice.below(SERVERS / share) * share
    return Array.from({ length: share }, (_, i) => first + i)
  }
  const takeAway = async (loss: Loss, index: number): Promise<void> => {
    if (loss === 'disk') await rename(cluster.diskDir(index), `${cluster.diskDir(index)}.away`)
    else await cluster.kill(cluster.chunkservers[index]!)
  }
  const giveBack = async (loss: Loss, index: number): Promise<void> => {
    if (loss === 'disk') await rename(`${cluster.diskDir(index)}.away`, cluster.diskDir(index))
    else await cluster.startChunkserver(cluster.chunkservers[index]!)
  }

  for (const loss of LOSSES)
    test(`with a ${loss} lost under load (seed ${seed})`, { timeout: LONG }, async () => {
      // Of the load before this one the last are enough; in the end all are read.
      const before = [...kept.slice(0, FILES_EACH * dirs.size), ...kept.slice(FILES_EACH * dirs.size).slice(-LOAD_READ)]
      const writing = load()
      await realClock.sleep(500)
      const victims = victimsOf(loss)
      try {
        await Promise.all(victims.map((index) => takeAway(loss, index)))
        const borne = ({ bears }: Kind): boolean => bears.includes(loss)
        const lost = await readBack(before, borne)
        if (lost.size > 0) await cluster.until('the loss is reported', ({ chunks }) => chunks.lost >= lost.size)
        // Longer than the grace: what can be made whole elsewhere has been begun, or done, when they come back.
        await realClock.sleep(5_000)
        expect([...(await readBack(before, borne, lost))]).toEqual([])
        expect((await cluster.check()).findings.filter(({ severity }) => severity === 'error')).toEqual([])
      } finally {
        await Promise.all(victims.map((index) => giveBack(loss, index)))
        kept.push(...(await writing.stop()))
      }
      await settled()
      expect([...(await readBack(kept, () => true))]).toEqual([])
    })

  test('and when it is all deleted nothing is left on any disk', { timeout: LONG }, async () => {
    const client = await cluster.client()
    for (const { kind, name } of kept) await client.unlink(dirs.get(kind)!, name, root)
    await client.close()
    await cluster.until('no chunk is left', ({ chunks }) => Object.values(chunks).every((n) => n === 0))
    const deadline = realClock.monotonicMs() + 60_000
    while ((await raw()) > 0) {
      if (realClock.monotonicMs() > deadline) expect(await raw()).toBe(0)
      await realClock.sleep(200)
    }
    expect((await cluster.check(true)).findings).toEqual([])
  })
})

function missing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error
}
