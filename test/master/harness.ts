/*
 * A master in memory for tests: its real parts over the in-memory store, a clock that the test turns, and peers that
 * note what they are told and answer what the test says. Every commit can be followed by a full check of the state.
 */

import { afterEach, expect } from 'vitest'
import type { Time } from '../../src/base/attr.ts'
import { FsError } from '../../src/base/fault.ts'
import type { Identity } from '../../src/base/identity.ts'
import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../src/base/ids.ts'
import type { Clock, Random } from '../../src/base/world.ts'
import { check } from '../../src/master/core/check.ts'
import { found } from '../../src/master/core/found.ts'
import type { StateStore } from '../../src/master/core/kv.ts'
import { State, transact } from '../../src/master/core/state.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'
import { Master, type MasterCalls, type MasterOptions } from '../../src/master/service.ts'
import type { Role } from '../../src/wire/call-row.ts'
import type { Answered, CallContext, CallOptions, Handler, Peer } from '../../src/wire/peer.ts'
import type { CallName, Hello, Reply, Request } from '../../src/wire/protocol.ts'
import { RoundTrip } from '../../src/wire/round-trip.ts'
import type { DeclaredPlace, DiskState, Settings } from '../../src/wire/shapes.ts'
import { quietLog } from '../support/quiet-log.ts'

export class TestClock implements Clock {
  #ms = 1_000_000
  #timers: { atMs: number; callback: () => void }[] = []
  now(): Time {
    return { sec: 1_700_000_000 + Math.floor(this.#ms / 1000), nsec: (this.#ms % 1000) * 1_000_000 }
  }
  monotonicMs(): number {
    return this.#ms
  }
  sleep(ms: number, options?: { signal?: AbortSignal }): Promise<void> {
    const signal = options?.signal
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const forget = this.timer(ms, resolve)
      signal?.addEventListener('abort', () => {
        forget()
        reject(signal.reason)
      })
    })
  }
  timer(ms: number, callback: () => void): () => void {
    const timer = { atMs: this.#ms + ms, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }
  /** Lets time pass in small steps, with everything that becomes due. */
  async pass(ms: number): Promise<void> {
    const until = this.#ms + ms
    for (;;) {
      await settle()
      const next = this.#timers.reduce((min, t) => Math.min(min, t.atMs), Number.POSITIVE_INFINITY)
      if (next > until) break
      this.#ms = Math.max(this.#ms, next)
      const due = this.#timers.filter((t) => t.atMs <= this.#ms)
      this.#timers = this.#timers.filter((t) => t.atMs > this.#ms)
      for (const { callback } of due) callback()
    }
    this.#ms = until
    await settle()
  }
  /** The machine was suspended: time passes, nothing runs. */
  jump(ms: number): void {
    this.#ms += ms
  }
}

/** Everything that is ready to run has run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await new Promise((resolve) => setImmediate(resolve))
}

export function testRandom(seed = 1): Random {
  let state = seed >>> 0
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  return {
    below,
    hex: (bytes) => Array.from({ length: bytes }, () => below(256).toString(16).padStart(2, '0')).join(''),
  }
}

type Answering = { [C in CallName]?: (request: Request<C>) => Reply<C> | Promise<Reply<C>> }

export class TestPeer implements Peer {
  readonly hello: Hello
  /** Who it has proved to be. */
  identity: Identity | undefined
  readonly address: string
  readonly roundTrip = new RoundTrip()
  closed = false
  /** One-way calls, in order. */
  readonly told: { name: CallName; request: unknown }[] = []
  /** Calls that the master made. */
  readonly asked: { name: CallName; request: unknown }[] = []
  /** Those of them that it gave up waiting for; whoever answers them may come too late. */
  readonly calledOff: { name: CallName; request: unknown }[] = []
  answers: Answering = {}
  readonly #closers: ((error?: Error) => void)[] = []
  readonly #aborts: AbortController[] = []

  constructor(role: Role, name: string, address = '127.0.0.1:4000') {
    this.hello = { version: 1, cluster: 'test', role, name }
    this.address = address
  }
  async call<C extends CallName>(name: C, request: Request<C>, options?: CallOptions): Promise<Answered<C>> {
    if (this.closed) throw new FsError('ECONNRESET')
    const { signal } = options ?? {}
    signal?.throwIfAborted()
    this.asked.push({ name, request })
    let off = (): void => undefined
    const called: Promise<never> = new Promise((_resolve, reject) => {
      off = () => {
        this.calledOff.push({ name, request })
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', off)
    })
    called.catch(() => undefined)
    return Promise.race([this.#answer(name, request), called]).finally(() => signal?.removeEventListener('abort', off))
  }
  async #answer<C extends CallName>(name: C, request: Request<C>): Promise<Answered<C>> {
    const answer = this.answers[name] as ((request: Request<C>) => Reply<C>) | undefined
    if (answer === undefined) throw new FsError('ENOSYS', name)
    return { reply: await answer(request), bulk: Buffer.alloc(0) }
  }
  tell<C extends CallName>(name: C, request: Request<C>): void {
    if (!this.closed) this.told.push({ name, request })
  }
  onClose(callback: (error?: Error) => void): void {
    this.#closers.push(callback)
  }
  close(error?: Error): void {
    if (this.closed) return
    this.closed = true
    for (const controller of this.#aborts) controller.abort(error)
    for (const callback of this.#closers) callback(error)
  }
  context(signal?: AbortSignal): CallContext {
    const controller = new AbortController()
    this.#aborts.push(controller)
    signal?.addEventListener('abort', () => controller.abort(signal.reason))
    return { peer: this, signal: controller.signal }
  }
}

export const SETTINGS: Settings = {
  copies: 2,
  graceMs: 600_000,
  trashRetentionMs: 0,
  sessionTimeoutMs: 30_000,
}
const OPTIONS: MasterOptions = {
  cluster: 'test',
  version: '0.0.0',
  heartbeatMs: 2000,
  settleMs: 20_000,
  deadGraceMs: 60_000,
  repairParallel: 4,
  repairBytesPerSecond: 0,
  compactBelowPercent: 50,
}

export class TestMaster {
  readonly store: StateStore
  readonly clock: TestClock
  state: State
  master: Master
  readonly #stop = new AbortController()
  #working: Promise<void> | undefined

  constructor(settings: Partial<Settings> = {}, store: StateStore = new MemoryStore(), clock = new TestClock()) {
    this.store = store
    this.clock = clock
    this.state = new State(store)
    if (!this.state.exists())
      transact(store, this.state, () =>
        found(this.state, {
          now: clock.now(),
          salt: [1, 2],
          settings: { ...SETTINGS, ...settings },
          uid: 0,
          gid: 0,
        }),
      )
    this.master = new Master(
      store,
      this.state,
      clock,
      testRandom(),
      quietLog,
      (callback) => setImmediate(callback),
      OPTIONS,
    )
  }

  /** Starts the background work. */
  work(): void {
    this.#working = this.master.work(this.#stop.signal)
  }

  /** As if the process had been killed: another one over the same store. */
  async restarted(): Promise<TestMaster> {
    await this.end()
    return new TestMaster({}, this.store, this.clock)
  }

  async end(): Promise<void> {
    this.#stop.abort()
    await settle()
    await this.#working
  }

  /** One call as if it had come from `peer`. A refusal is thrown. */
  async call<C extends MasterCalls>(
    peer: TestPeer,
    name: C,
    request: Request<C>,
    signal?: AbortSignal,
  ): Promise<Reply<C>> {
    const handler = this.master.handlers[name] as unknown as Handler<C>
    return (await handler(request, Buffer.alloc(0), peer.context(signal))).reply
  }

  check(): void {
    expect(check(this.state)).toEqual([])
  }
}

/** For a test file: what it answers notes the master of a test, which is checked and ended after it; the last one counts. */
export function masterOfEachTest(): (master: TestMaster) => TestMaster {
  let running: TestMaster | undefined
  afterEach(async () => {
    running?.check()
    await running?.end()
    running = undefined
  })
  return (master) => {
    running = master
    return master
  }
}

/** A mount: its session, and stamps in order. */
export class TestMount {
  readonly master: TestMaster
  readonly peer: TestPeer
  readonly session: SessionId
  #seq = 0

  constructor(master: TestMaster, peer: TestPeer, session: SessionId) {
    this.master = master
    this.peer = peer
    this.session = session
  }
  static async open(master: TestMaster, name: string): Promise<TestMount> {
    const peer = new TestPeer('mount', name)
    // It has nothing that others could want back, unless the test says otherwise.
    peer.answers.recall = () => ({})
    const { session } = await master.call(peer, 'sessionOpen', {
      client: name,
      host: name,
      mountpoint: `/mnt/${name}`,
      version: '0',
    })
    return new TestMount(master, peer, session)
  }
  stamp(): { session: SessionId; seq: number; acked: number } {
    this.#seq++
    return { session: this.session, seq: this.#seq, acked: this.#seq }
  }
  invalidations(): Request<'invalidate'>[] {
    return this.peer.told.filter((t) => t.name === 'invalidate').map((t) => t.request as Request<'invalidate'>)
  }
  create(name: string, parent = 1 as Ino): Promise<Reply<'create'>> {
    return this.master.call(this.peer, 'create', {
      stamp: this.stamp(),
      parent,
      name,
      mode: 0o644,
      umask: 0,
      uid: 0,
      gid: 0,
      exclusive: false,
      truncate: false,
      killSuidGid: undefined,
    })
  }
  make(name: string, parent: Ino): Promise<Reply<'make'>> {
    return this.master.call(this.peer, 'make', {
      stamp: this.stamp(),
      parent,
      name,
      type: 'dir',
      mode: 0o755,
      umask: 0,
      uid: 0,
      gid: 0,
      rdev: 0,
      target: '',
    })
  }
  unlink(name: string, parent = 1 as Ino): Promise<Reply<'unlink'>> {
    return this.master.call(this.peer, 'unlink', { stamp: this.stamp(), parent, name })
  }
  lookup(name: string, parent = 1 as Ino): Promise<Reply<'lookup'>> {
    return this.master.call(this.peer, 'lookup', { session: this.session, parent, name })
  }
}

export const diskReport = (uuid: string, rest: Partial<DiskState> = {}): DiskState => ({
  uuid,
  path: `/disks/${uuid}`,
  state: 'ok',
  error: '',
  totalBytes: 2 ** 40,
  usedBytes: 2 ** 30,
  availableBytes: 2 ** 39,
  chunks: 0,
  errors: 0,
  seq: 0,
  marked: false,
  scrub: undefined,
  reservedBytes: undefined,
  labels: undefined,
  ...rest,
})

/** A chunkserver with one disk that does what it is ordered and remembers which sealed chunks it holds. */
export class TestChunkserver {
  readonly name: string
  peer!: TestPeer
  node = 0 as NodeId
  disk = 0 as DiskId
  readonly held = new Map<number, { length: number; sealed: boolean }>()
  /** What its configuration says. */
  readonly place: DeclaredPlace | undefined
  readonly labels: string[] | undefined
  readonly diskLabels: string[] | undefined
  /** The node of the mesh that it proves to be. */
  member: string | undefined

  constructor(name: string, declared: { place?: DeclaredPlace; labels?: string[]; diskLabels?: string[] } = {}) {
    this.name = name
    this.place = declared.place
    this.labels = declared.labels
    this.diskLabels = declared.diskLabels
  }

  async join(master: TestMaster): Promise<void> {
    const port = 5000 + this.name.charCodeAt(this.name.length - 1)
    this.peer = new TestPeer('chunkserver', this.name, `127.0.0.1:${port}`)
    if (this.member !== undefined) this.peer.identity = { cluster: 'test', node: this.member, roles: ['chunkserver'] }
    this.peer.answers = {
      orderCopy: ({ chunk, length }) => {
        this.held.set(chunk, { length, sealed: true })
        return { bytes: length }
      },
      orderDelete: ({ chunks }) => {
        for (const chunk of chunks) this.held.delete(chunk)
        return {}
      },
      orderSeal: ({ chunk, length }) => {
        const held = this.held.get(chunk)
        if (held === undefined) throw new FsError('ENOENT')
        if (held.sealed ? held.length !== length : held.length < length) throw new FsError('ERANGE')
        this.held.set(chunk, { length, sealed: true })
        return { digest: 'same' }
      },
      orderVerify: ({ chunks }) => ({
        chunks: chunks.map((chunk) => {
          const { length, sealed } = this.held.get(chunk) ?? { length: 0, sealed: undefined }
          return { chunk, state: sealed === undefined ? 'gone' : sealed ? 'sealed' : 'open', length }
        }),
      }),
      orderCompact: ({ chunk, ranges }) => {
        const length = ranges.reduce((sum, range) => sum + range.length, 0)
        this.held.set(chunk, { length, sealed: false })
        return { length }
      },
      orderRepair: ({ blocks }) => ({ repaired: blocks.length }),
      orderDiskRemove: () => ({}),
    }
    await this.register(master)
  }

  /** Answers up to where the master knows the disk. */
  async register(master: TestMaster): Promise<number> {
    const port = 5000 + this.name.charCodeAt(this.name.length - 1)
    const reply = await master.call(this.peer, 'nodeRegister', {
      uuid: `node-${this.name}`,
      name: this.name,
      host: '127.0.0.1',
      port,
      version: '0',
      disks: [diskReport(`disk-${this.name}`, { labels: this.diskLabels })],
      place: this.place,
      labels: this.labels,
    })
    this.node = reply.node
    this.disk = reply.disks[0]!.disk
    return reply.disks[0]!.knownSeq
  }

  count(name: CallName): number {
    return this.peer.asked.filter((call) => call.name === name).length
  }
}

/** A file of `length` bytes in a new chunk that all its targets hold and that is sealed. */
export async function writeFile(
  master: TestMaster,
  mount: TestMount,
  servers: readonly TestChunkserver[],
  name: string,
  length: number,
  beforeSeal: (chunk: ChunkId, disks: DiskId[]) => void = () => undefined,
) {
  const { attr } = await mount.create(name)
  const { chunks } = await master.call(mount.peer, 'chunkOpen', {
    stamp: mount.stamp(),
    count: 1,
    kind: 'stream',
    avoid: [],
    classId: undefined,
  })
  const { chunk, places } = chunks[0]!
  for (const place of places)
    servers.find((server) => server.disk === place.disk)!.held.set(chunk, { length, sealed: false })
  beforeSeal(
    chunk,
    places.map((place) => place.disk),
  )
  await master.call(mount.peer, 'chunkSeal', { stamp: mount.stamp(), chunk, length, failed: [] })
  await master.call(mount.peer, 'commit', {
    stamp: mount.stamp(),
    files: [
      {
        ino: attr.ino,
        extents: [{ offset: 0, length, chunk, chunkOffset: 0 }],
        minSize: undefined,
        mtime: undefined,
        change: undefined,
        ctime: undefined,
        answered: undefined,
      },
    ],
    sync: false,
  })
  return { ino: attr.ino, chunk, disks: places.map((place) => place.disk) }
}
