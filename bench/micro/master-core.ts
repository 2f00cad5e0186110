/*
 * How fast the master's core is: reads and writes of the store by batch size, create + commit through `apply` on both
 * stores, and what a file costs on disk and in memory. One JSON line per figure.
 *
 *   npx tsx bench/micro/master-core.ts [files, default 200000] [--only-fill]
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { apply } from '../../src/master/core/apply.ts'
import type { Command } from '../../src/master/core/commands.ts'
import { found } from '../../src/master/core/found.ts'
import type { StateStore } from '../../src/master/core/kv.ts'
import { State, transact } from '../../src/master/core/state.ts'
import { num } from '../../src/master/core/tables.ts'
import { LmdbStore } from '../../src/master/lmdb-store.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'

const files = Number(process.argv[2] ?? 200_000)
const MB = 1024 * 1024
const say = (name: string, fields: object): void => console.log(JSON.stringify({ bench: name, ...fields }))
const perSecond = (count: number, startMs: number): number => Math.round((count / (performance.now() - startMs)) * 1000)
const rssMb = (): number => Math.round(process.memoryUsage().rss / MB)

/** What of the resident memory is the process's own, and what is LMDB's mapped file. */
function memory(): object {
  const status = readFileSync('/proc/self/status', 'latin1')
  const mb = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024)
  return { anonMb: mb('RssAnon'), fileMb: mb('RssFile') }
}

async function inDirectory(body: (store: LmdbStore, path: string) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
  const store = LmdbStore.open(path)
  try {
    await body(store, path)
  } finally {
    await store.close()
    rmSync(path, { recursive: true, force: true })
  }
}

async function rawStore(store: StateStore, name: string): Promise<void> {
  const value = Buffer.alloc(60, 7)
  for (const batch of [1, 10, 100]) {
    const count = 2000 * Math.min(batch, 50)
    const start = performance.now()
    for (let i = 0; i < count; i += batch) {
      store.transaction(() => {
        for (let j = 0; j < batch; j++) store.put(`x${num(batch * 1_000_000 + i + j)}`, Buffer.from(value))
      })
      await store.committed()
    }
    say('store put', { store: name, batch, perSecond: perSecond(count, start) })
  }
  const start = performance.now()
  let hits = 0
  for (let i = 0; i < 100_000; i++) if (store.get(`x${num(100 * 1_000_000 + ((i * 7919) % 100_000))}`)) hits++
  say('store get', { store: name, perSecond: perSecond(hits, start) })
  const flushStart = performance.now()
  await store.flushed()
  say('store flush', { store: name, ms: Math.round(performance.now() - flushStart) })
}

/** A master of its own with one session; hands out commands in batches. */
class Master {
  readonly store: StateStore
  readonly state: State
  #seq = 0
  #chunk = 0
  #chunkOffset = 0
  constructor(store: StateStore) {
    this.store = store
    this.state = new State(store)
    const settings = { copies: 2, graceMs: 600_000, trashRetentionMs: 86_400_000, sessionTimeoutMs: 60_000 }
    transact(store, this.state, () => {
      found(this.state, { now: { sec: 1_700_000_000, nsec: 0 }, salt: [11, 22], settings, uid: 0, gid: 0 })
      for (const n of [1, 2])
        this.apply({
          kind: 'nodeJoined',
          node: n,
          uuid: `n${n}`,
          name: '',
          host: '127.0.0.1',
          port: n,
          version: '1',
          disks: [{ disk: n, uuid: `d${n}`, path: '/d' }],
        })
      this.apply({ kind: 'sessionOpen', session: 1, client: 'c', host: 'h', mountpoint: '/m', version: '1' })
    })
  }
  apply(command: object, session = 0): unknown {
    const seq = session === 0 ? 0 : ++this.#seq
    const index = this.state.counters().index + 1
    const { result } = apply(
      this.state,
      {
        index,
        sec: 1_700_000_000 + Math.floor(index / 1000),
        nsec: (index * 7_919_333) % 1e9,
        session: session as never,
        seq,
        acked: Math.max(0, seq - 64),
      },
      command as Command,
    )
    if ('errno' in result) throw new Error(`${(command as Command).kind}: ${result.errno} ${result.detail ?? ''}`)
    return result.ok
  }
  mkdir(name: string): number {
    const ino = this.state.nextIds().ino
    this.apply(
      {
        kind: 'make',
        parent: 1,
        name,
        ino,
        type: 'dir',
        mode: 0o755,
        umask: 0,
        uid: 1000,
        gid: 1000,
        rdev: 0,
        target: '',
      },
      1,
    )
    return ino
  }
  create(parent: number, name: string): number {
    const ino = this.state.nextIds().ino
    this.apply(
      {
        kind: 'create',
        parent,
        name,
        ino,
        mode: 0o644,
        umask: 0,
        uid: 1000,
        gid: 1000,
        exclusive: false,
        truncate: false,
      },
      1,
    )
    return ino
  }
  commit(ino: number, length: number): void {
    if (this.#chunk === 0 || this.#chunkOffset + length > 64 * MB) {
      if (this.#chunk !== 0)
        this.apply({ kind: 'chunkSeal', chunk: this.#chunk, length: this.#chunkOffset, failed: [] }, 1)
      this.#chunk = this.state.nextIds().chunk
      this.#chunkOffset = 0
      this.apply({ kind: 'chunkOpen', chunks: [{ chunk: this.#chunk, disks: [1, 2] }], copies: 2 }, 1)
    }
    const extent = { offset: 0, length, chunk: this.#chunk, chunkOffset: this.#chunkOffset }
    this.#chunkOffset += length
    const { sec, nsec } = this.state.counters()
    this.apply({ kind: 'commit', files: [{ ino, extents: [extent], mtime: { sec, nsec: (nsec + 1) % 1e9 } }] }, 1)
  }
}

async function applied(store: StateStore, name: string): Promise<void> {
  const master = new Master(store)
  for (const batch of [1, 10, 100]) {
    const count = batch === 1 ? 5_000 : 20_000
    const dir = transact(store, master.state, () => master.mkdir(`batch${batch}`))
    const start = performance.now()
    for (let i = 0; i < count; ) {
      transact(store, master.state, () => {
        for (let j = 0; j < batch; j++, i++) master.commit(master.create(dir, `file-${i}.txt`), 4096)
      })
      await store.committed()
    }
    say('create+commit', { store: name, batch, pairsPerSecond: perSecond(count, start) })
  }
}

/** Files of one extent in directories of 1 000, in batches as a busy mount makes them. */
async function fill(store: LmdbStore): Promise<void> {
  const rssBefore = rssMb()
  const master = new Master(store)
  const start = performance.now()
  let dir = 0
  for (let i = 0; i < files; ) {
    transact(store, master.state, () => {
      for (let j = 0; j < 50 && i < files; j++, i++) {
        if (i % 1000 === 0) dir = master.mkdir(`directory-${i / 1000}`)
        master.commit(master.create(dir, `file-${i}.txt`), 1000 + (i % 9000))
      }
    })
    await store.committed()
    // Lets LMDB's thread report back, as the sockets of a real master do.
    if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  say('fill', { files, filesPerSecond: perSecond(files, start) })
  await store.flushed()
  const bytes = store.sizeBytes()
  say('size', {
    files,
    megabytes: Math.round(bytes / MB),
    bytesPerFile: Math.round(bytes / files),
    megabytesAtOneMillion: Math.round((bytes / files) * (1_000_000 / MB)),
    rssMb: rssMb(),
    rssGrownMb: rssMb() - rssBefore,
    ...memory(),
    heapMb: Math.round(process.memoryUsage().heapUsed / MB),
  })
  const lookups = 100_000
  const state = new State(store)
  const from = performance.now()
  for (let i = 0; i < lookups; i++) state.attr((3 + ((i * 7919) % files)) as never)
  say('getattr of random inodes', { perSecond: perSecond(lookups, from) })
}

if (!process.argv.includes('--only-fill')) {
  await inDirectory((store) => rawStore(store, 'lmdb'))
  await rawStore(new MemoryStore(), 'memory')
  await inDirectory((store) => applied(store, 'lmdb'))
  await applied(new MemoryStore(), 'memory')
}
await inDirectory(async (store, path) => {
  await fill(store)
  await store.close()
  const start = performance.now()
  const again = LmdbStore.open(path)
  const { files: counted } = new State(again).counters()
  say('reopen', { files: counted, ms: Math.round(performance.now() - start), ...memory() })
  await again.close()
})
