/*
 * An hour of everything at once, on real processes: eight chunkservers in four racks on two sites, files written, appended,
 * deleted, taken back from the trash and copied by snapshots, in classes that change under them, while processes are killed,
 * disks vanish and are drained; beside it random operations compared with a model. What is known of every file is compared
 * byte by byte all the time. Every minute the accidents pause: then all must become whole, the deep check must be clean, and
 * nothing may lie on a disk that nobody counts.
 *
 * Whatever deviates ends it, with the seed: the dice of each of the three (load, model, accidents) are their own, so the same
 * seed does the same things, though not at the same moments. One JSON line per event; the last is the summary.
 *
 *   npm run soak -- [--minutes 60] [--seed N]
 */

import { rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { errnoOf, FsError } from '../../src/base/fault.ts'
import { type ChunkId, chunkName, type DiskId, type Ino, ROOT_INO } from '../../src/base/ids.ts'
import type { Random } from '../../src/base/world.ts'
import { ADMIN_STAMP } from '../../src/cli/admin.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { type ClassFlags, classWith, writeClass } from '../../src/topology/storage-class.ts'
import { compareRunners } from '../model/compare.ts'
import { VfsRunner } from '../model/vfs-runner.ts'
import { LocalCluster, spread } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { realClock } from '../support/real-clock.ts'
import { bytesOf, read, root } from '../support/whole-files.ts'

const SERVERS = 8
const SETTLE_EVERY_MS = 60_000
/** Everything is back by then: restarts, repair and the rounds in which the master looks. */
const SETTLED_MS = 180_000
/** Longer than the grace: some come back to chunks that were made whole without them. */
const AWAY_MS = 9_000
const BETWEEN_ACCIDENTS_MS = 6_000
const DRAINED_MS = 20_000
const FILES_MAX = 150
const SNAPSHOTS_MAX = 3
const MODEL_OPERATIONS = 150
const FILE_BYTES_MAX = 2_000_000
const RETENTION_MS = 120_000

const CLASSES: Readonly<Record<string, ClassFlags>> = {
  plain: { K: '2' },
  ssdonly: { C: 'I', K: 'S,S/[RACK]' },
  hddonly: { C: 'I', K: 'H,H/[RACK]:s' },
  hdd3x: { C: 'I', K: 'H,2H/[RACK]:s' },
  hddec: { C: '2I', K: 'H,H/[RACK]:s', A: '@4+1,H/[IP]:s', o: 'F' },
  turning: { K: '2' },
}
/** What `turning` is told to be, again and again: cut into parts, put together, cut otherwise. */
const TURNS: readonly ClassFlags[] = [
  { K: '2' },
  { K: '3' },
  { K: '2', A: '@2+1', o: 'F' },
  { K: '2', A: '@4+2', o: 'F' },
]

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
})
const minutes = Number(options.minutes)
const seed = Number(options.seed)
if (!(minutes > 0) || !Number.isSafeInteger(seed)) throw new Error('usage: [--minutes N] [--seed N]')

const begunMs = realClock.monotonicMs()
const counts: Record<string, number> = {}
function tell(event: string, fields: object = {}): void {
  counts[event] = (counts[event] ?? 0) + 1
  const seconds = Math.round((realClock.monotonicMs() - begunMs) / 100) / 10
  process.stdout.write(`${JSON.stringify({ seconds, event, ...fields })}\n`)
}

/** One after the other: whoever needs the master to stand still for a moment, and whoever kills it. */
class Turn {
  #last: Promise<unknown> = Promise.resolve()
  take<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work)
    this.#last = mine.catch(() => undefined)
    return mine
  }
}

interface Known {
  readonly dir: string
  readonly name: string
  data: Buffer
}

class Soak {
  readonly #cluster: LocalCluster
  readonly #classes: ReadonlyMap<string, number>
  readonly #stop: AbortSignal
  readonly #turn = new Turn()
  readonly #files = new Map<string, Known>()
  readonly #deleted: { known: Known; atMs: number }[] = []
  readonly #snapshots: { path: string; files: Known[] }[] = []
  #made = 0

  private constructor(cluster: LocalCluster, classes: ReadonlyMap<string, number>, stop: AbortSignal) {
    this.#cluster = cluster
    this.#classes = classes
    this.#stop = stop
  }

  static async prepare(cluster: LocalCluster, stop: AbortSignal): Promise<Soak> {
    const client = await cluster.client()
    const classes = new Map<string, number>()
    for (const [name, flags] of Object.entries(CLASSES)) {
      await client.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, root)
      await client.syncfs(root)
      const { classId } = await cluster.ask((admin) =>
        admin.call('classSet', { stamp: ADMIN_STAMP, classId: 0, text: writeClass(classWith(name, flags)) }),
      )
      classes.set(name, classId)
    }
    await client.close()
    const soak = new Soak(cluster, classes, stop)
    for (const [name, classId] of classes) await soak.#give(`/${name}`, classId)
    return soak
  }

  #give(path: string, classId: number): Promise<unknown> {
    const of = { ino: undefined, onlyFrom: undefined, page: undefined }
    return this.#cluster.askAgain((admin) => admin.call('classOf', { stamp: ADMIN_STAMP, path, classId, ...of }))
  }

  // ---- the load, and what is known of it

  async load(dice: Random): Promise<void> {
    const client = await this.#cluster.client()
    for (let i = 0; !this.#stop.aborted; i++) {
      await this.#change(client, dice)
      if (i % 10 === 9) await this.#compare(dice)
      await realClock.sleep(30)
    }
    await client.close()
  }

  async #change(client: Filesystem, dice: Random): Promise<void> {
    const known = [...this.#files.values()]
    const some = known[dice.below(known.length)]
    const what = dice.below(20)
    if (some === undefined || (what < 8 && known.length < FILES_MAX)) return this.#write(client, dice)
    if (what < 11) return this.#append(client, some, dice)
    if (what < 13) return this.#overwrite(client, some, dice)
    if (what < 16) return this.#delete(client, some)
    if (what === 16) return this.#restore(client)
    if (what === 17) return this.#snapshot(client, dice)
    const classIds = [...this.#classes.values()]
    await this.#turn.take(() => this.#give(`/${some.dir}/${some.name}`, classIds[dice.below(classIds.length)]!))
    tell('class of a file')
  }

  async #dir(client: Filesystem, name: string): Promise<Ino> {
    return (await client.lookup(ROOT_INO, name, root)).ino
  }

  async #write(client: Filesystem, dice: Random): Promise<void> {
    const dirs = [...this.#classes.keys()]
    const dir = dirs[dice.below(dirs.length)]!
    const name = `f${this.#made++}`
    const data = bytesOf(1 + dice.below(1e9), dice.below(dice.below(3) === 0 ? FILE_BYTES_MAX : 60_000))
    const { ino } = await client.create(
      await this.#dir(client, dir),
      name,
      0o644,
      { exclusive: true, truncate: false },
      root,
    )
    await this.#pour(client, ino, 0, data)
    this.#files.set(`${dir}/${name}`, { dir, name, data })
    tell('written', { bytes: data.length })
  }

  async #pour(client: Filesystem, ino: Ino, offset: number, data: Buffer): Promise<void> {
    for (let at = 0; at < data.length; at += 1 << 20)
      await client.write(
        ino,
        offset + at,
        data.subarray(at, at + (1 << 20)),
        { append: false, killSuidGid: false },
        root,
      )
    await client.fsync(ino, root)
    client.release(ino)
  }

  async #opened(client: Filesystem, { dir, name }: Known, truncate: boolean): Promise<Ino> {
    const { ino } = await client.lookup(await this.#dir(client, dir), name, root)
    await client.open(ino, { write: true, truncate }, root)
    return ino
  }

  async #append(client: Filesystem, known: Known, dice: Random): Promise<void> {
    const more = bytesOf(1 + dice.below(1e9), dice.below(100_000))
    await this.#pour(client, await this.#opened(client, known, false), known.data.length, more)
    known.data = Buffer.concat([known.data, more])
    tell('appended', { bytes: more.length })
  }

  async #overwrite(client: Filesystem, known: Known, dice: Random): Promise<void> {
    const offset = dice.below(known.data.length + 1)
    const fresh = bytesOf(1 + dice.below(1e9), dice.below(50_000))
    await this.#pour(client, await this.#opened(client, known, false), offset, fresh)
    const data = Buffer.alloc(Math.max(known.data.length, offset + fresh.length))
    known.data.copy(data)
    fresh.copy(data, offset)
    known.data = data
    tell('overwritten', { bytes: fresh.length })
  }

  async #delete(client: Filesystem, known: Known): Promise<void> {
    await client.unlink(await this.#dir(client, known.dir), known.name, root)
    this.#files.delete(`${known.dir}/${known.name}`)
    this.#deleted.push({ known, atMs: realClock.monotonicMs() })
    tell('deleted')
  }

  async #restore(client: Filesystem): Promise<void> {
    const last = this.#deleted.pop()
    if (last === undefined || realClock.monotonicMs() - last.atMs > RETENTION_MS / 2) return
    const path = `/${last.known.dir}/${last.known.name}`
    await client.syncfs(root)
    await this.#turn.take(() =>
      this.#cluster.askAgain(async (admin) => {
        const { entries } = await admin.call('trashList', { cursor: '', limit: 4096, match: path })
        const entry = entries.find((one) => one.path === path || `/${one.path}` === path)
        if (entry === undefined) throw new FsError('ENOENT', `${path} is not in the trash: ${JSON.stringify(entries)}`)
        await admin.call('trashRestore', {
          stamp: ADMIN_STAMP,
          ino: entry.ino as Ino,
          path: undefined,
          name: undefined,
        })
      }, 'ENOENT'),
    )
    this.#files.set(path.slice(1), last.known)
    tell('restored')
  }

  async #snapshot(client: Filesystem, dice: Random): Promise<void> {
    const job = (name: 'snapshotCreate' | 'treeDelete', source: string, target: string): Promise<void> =>
      this.#turn.take(async () => {
        if (name === 'treeDelete')
          await this.#cluster.askAgain((admin) => admin.call(name, { stamp: ADMIN_STAMP, path: source }), 'ENOENT')
        else await this.#cluster.askAgain((admin) => admin.call(name, { stamp: ADMIN_STAMP, source, target }), 'EEXIST')
        for (;;) {
          const jobs = await this.#cluster.askAgain((admin) => admin.call('snapshotList', {}))
          const now = jobs.find((one) => one.source === source && one.target === target)
          if (now === undefined) throw new Error(`nothing is known of ${name} ${source}: ${JSON.stringify(jobs)}`)
          if (now.errno !== '') throw new Error(`${name} ${source}: ${now.errno} ${now.detail}`)
          if (now.phase === 'over') return
          await realClock.sleep(20)
        }
      })
    if (this.#snapshots.length >= SNAPSHOTS_MAX) {
      const old = this.#snapshots.shift()!
      await job('treeDelete', `/${old.path}`, '')
      tell('snapshot deleted')
      return
    }
    const dirs = [...this.#classes.keys()]
    const dir = dirs[dice.below(dirs.length)]!
    const path = `snapshot-${this.#made++}`
    await client.syncfs(root)
    await job('snapshotCreate', `/${dir}`, `/${path}`)
    const files = [...this.#files.values()].filter((known) => known.dir === dir)
    // The bytes of a file are replaced when it changes, never changed themselves.
    this.#snapshots.push({ path, files: files.map(({ name, data }) => ({ dir: path, name, data })) })
    tell('snapshot', { files: files.length })
  }

  /** Through a client that has seen nothing before. */
  async #compare(dice: Random, all = false): Promise<void> {
    const client = await this.#cluster.client()
    const known = [...this.#files.values(), ...this.#snapshots.flatMap(({ files }) => files)]
    const chosen = all
      ? known
      : Array.from({ length: Math.min(5, known.length) }, () => known[dice.below(known.length)]!)
    for (const { dir, name, data } of chosen) {
      const found = await read(client, name, 0, undefined, await this.#dir(client, dir))
      if (!found.equals(data)) throw new Error(`${dir}/${name} has other bytes: ${found.length} of ${data.length}`)
    }
    await client.close()
    tell('compared', { files: chosen.length })
  }

  // ---- the model

  async model(): Promise<void> {
    const clients = [await this.#cluster.client(), await this.#cluster.client()]
    for (let round = 0; !this.#stop.aborted; round++) {
      const ways = 1 + (round % 2)
      const vfs = new MemoryVfs(realClock)
      const model = new VfsRunner(Array.from({ length: ways }, () => vfs))
      const subject = new VfsRunner(clients.slice(0, ways))
      await compareRunners(
        // Of two, one may show a moment late what the other has changed of a directory that it holds.
        ways === 1 ? model : model.late(),
        ways === 1 ? subject : subject.late(() => this.#cluster.client()),
        {
          seed: seed + round,
          operations: MODEL_OPERATIONS,
          profile: { ways: ways as 1 | 2, slots: ways === 1, setId: true },
        },
      )
      tell('model', { operations: MODEL_OPERATIONS, ways })
    }
    for (const client of clients) await client.close()
  }

  // ---- accidents, and the peace between them

  async accidents(dice: Random): Promise<void> {
    let nextMs = realClock.monotonicMs() + SETTLE_EVERY_MS
    while (!this.#stop.aborted) {
      await realClock.sleep(dice.below(BETWEEN_ACCIDENTS_MS))
      await this.#accident(dice)
      if (realClock.monotonicMs() < nextMs) continue
      await this.#settle()
      nextMs = realClock.monotonicMs() + SETTLE_EVERY_MS
    }
  }

  async #accident(dice: Random): Promise<void> {
    const index = dice.below(SERVERS)
    const name = this.#cluster.chunkservers[index]!
    const awayMs = dice.below(AWAY_MS)
    switch (dice.below(6)) {
      case 0:
      case 1:
        await this.#cluster.kill(name)
        await realClock.sleep(awayMs)
        await this.#cluster.startChunkserver(name)
        return tell('chunkserver killed', { name, awayMs })
      case 2:
        await this.#turn.take(async () => {
          await this.#cluster.kill('master')
          await realClock.sleep(Math.floor(awayMs / 4))
          await this.#cluster.startMaster()
        })
        return tell('master killed')
      case 3:
        await rename(this.#cluster.diskDir(index), `${this.#cluster.diskDir(index)}.away`)
        await realClock.sleep(awayMs)
        await rename(`${this.#cluster.diskDir(index)}.away`, this.#cluster.diskDir(index))
        await this.#cluster.until('the disk is back', ({ disks }) => disks.every(({ state }) => state === 'ok'))
        return tell('disk away', { name, awayMs })
      case 4:
        return this.#drain(index)
      default: {
        const flags = TURNS[dice.below(TURNS.length)]!
        const text = writeClass(classWith('turning', flags))
        const classId = this.#classes.get('turning')!
        await this.#turn.take(() =>
          this.#cluster.askAgain((admin) => admin.call('classSet', { stamp: ADMIN_STAMP, classId, text })),
        )
        return tell('class changed', { ...flags })
      }
    }
  }

  async #drain(index: number): Promise<void> {
    const { disks } = await this.#cluster.status()
    const { disk } = disks.find(({ nodeName }) => nodeName === this.#cluster.chunkservers[index])!
    const drain = (begin: boolean): Promise<unknown> =>
      this.#cluster.askAgain((admin) =>
        admin.call('diskDrain', { stamp: ADMIN_STAMP, disk: disk as DiskId, drain: begin, force: true }),
      )
    await drain(true)
    const deadlineMs = realClock.monotonicMs() + DRAINED_MS
    let left = -1
    while (left !== 0 && realClock.monotonicMs() < deadlineMs) {
      await realClock.sleep(500)
      left = (await this.#cluster.status()).disks.find((one) => one.disk === disk)!.toMove
    }
    await drain(false)
    tell('drained', { disk, left })
  }

  /** Everything is as its class wants it, and nothing else is there; what is being written is left out of account. */
  async #settle(): Promise<void> {
    await this.#cluster.until(
      'everything is whole',
      ({ chunks: { under, endangered, lost, over } }) => under + endangered + lost + over === 0,
      SETTLED_MS,
    )
    const { findings } = await this.#cluster.check(true)
    if (findings.length > 0) throw new Error(`check: ${JSON.stringify(findings.slice(0, 20))}`)
    const deadlineMs = realClock.monotonicMs() + SETTLED_MS
    let before = new Set<string>()
    for (;;) {
      // What is on its way is there for a moment.
      const now = await this.#strays()
      before = new Set(now.filter((file) => before.size === 0 || before.has(file)))
      if (before.size === 0) break
      if (realClock.monotonicMs() > deadlineMs) throw new Error(`nobody counts ${[...before].join(' ')}`)
      await realClock.sleep(1_000)
    }
    tell('whole', { ...(await this.#cluster.status()).chunks })
  }

  async #strays(): Promise<string[]> {
    const files: string[] = []
    for (let i = 0; i < SERVERS; i++) for (const file of await this.#cluster.chunkFiles(i)) files.push(file)
    const { chunks } = await this.#cluster.askAgain((admin) => admin.call('checkPage', { cursor: '', limit: 65_536 }))
    const paths = new Map((await this.#cluster.status()).disks.map(({ disk, path }) => [disk, path]))
    const counted = new Set(
      chunks.flatMap(({ chunk, disks }) => disks.map((disk) => `${paths.get(disk)} ${chunkName(chunk as ChunkId)}`)),
    )
    return files.filter((file) => {
      const disk = join(file, '..', '..', '..')
      return file.endsWith('.chunk') && !counted.has(`${disk} ${basename(file, '.chunk')}`)
    })
  }

  /** At the end, with nobody writing. */
  async finish(): Promise<void> {
    await this.#settle()
    await this.#compare(seededRandom(seed), true)
  }
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
const standing = spread(SERVERS, { racks: 4, sites: 2 })
tell('begun', { seed, minutes })
const cluster = await LocalCluster.start({
  chunkservers: SERVERS,
  chunkserverOf: (i) => ({ ...standing(i), labels: i % 2 === 0 ? ['I', 'S', 'H'] : ['H'] }),
  master: {
    graceMs: 4_000,
    settleMs: 2_000,
    deadGraceMs: 1_000,
    trashRetentionMs: RETENTION_MS,
    sessionTimeoutMs: 30_000,
  },
})
try {
  const soak = await Soak.prepare(cluster, stop.signal)
  const cancel = realClock.timer(minutes * 60_000, () => stop.abort())
  const works = [soak.load(seededRandom(seed)), soak.model(), soak.accidents(seededRandom(seed + 1))]
  // The first that deviates ends the others.
  for (const work of works) work.catch(() => stop.abort())
  const results = await Promise.allSettled(works)
  cancel()
  const wrong = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  if (wrong.length > 0) throw wrong.length === 1 ? wrong[0] : new AggregateError(wrong, wrong.map(String).join('; '))
  await soak.finish()
} catch (error) {
  const stack = error instanceof Error ? error.stack : String(error)
  tell('deviation', { seed, errno: errnoOf(error), error: stack })
  process.stderr.write(`${await cluster.logs()}\n`)
  process.exitCode = 1
} finally {
  await cluster.stop()
}
const ok = process.exitCode === undefined
process.stdout.write(`${JSON.stringify({ event: 'summary', ok, seed, minutes, ...counts })}\n`)
process.exit()
