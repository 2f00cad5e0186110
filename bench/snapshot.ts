/*
 * What a snapshot of very many files costs, and what others feel of it: a real master over LMDB in this process, without
 * chunkservers. Two users go on meanwhile, one looking files up, one changing them all over the tree, and wait for their
 * answers; the longest wait of each, and the longest time in which the event loop did not turn, are what a pause is. Then
 * the same for the deletion of the snapshot; and before both for nothing, to know the machine's own pauses. One JSON line per
 * figure. `longestTurnMs` (the commands) and `longestBusyMs` (all) are processor time; the others are waiting times.
 *
 *   npm run bench -- snapshot [--files 100000] [--dir DIR]
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Ino, SessionId } from '../src/base/ids.ts'
import type { Log } from '../src/base/world.ts'
import { hostClock, hostRandom } from '../src/host/clock.ts'
import { apply } from '../src/master/core/apply.ts'
import type { Command } from '../src/master/core/commands.ts'
import { found } from '../src/master/core/found.ts'
import { State, transact } from '../src/master/core/state.ts'
import { LmdbStore } from '../src/master/lmdb-store.ts'
import { Master } from '../src/master/service.ts'
import type { CallContext, Handler } from '../src/wire/peer.ts'
import type { CallName, Reply, Request } from '../src/wire/protocol.ts'

const { values: options } = parseArgs({
  options: {
    files: { type: 'string', default: '100000' },
    dir: { type: 'string', default: tmpdir() },
    help: { type: 'boolean', default: false },
  },
})
const files = Number(options.files)
const PER_DIRECTORY = 1000
const BASELINE_MS = 5_000
const SETTINGS = { copies: 2, graceMs: 600_000, trashRetentionMs: 0, sessionTimeoutMs: 3_600_000 }
/** What nothing that goes on behind the calls may cost anybody. */
const PAUSE_GOAL_MS = 100

const quiet: Log = { debug() {}, info() {}, warn: console.warn, error: console.error, child: () => quiet }
/** How long this thread has had a processor: other work on the machine does not count. */
const ranMs = (): number =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6
/** The longest turn of the master's loop since it was last asked. */
let longestTurnMs = 0
const soon = (turn: () => void): void => {
  setImmediate(() => {
    const before = ranMs()
    turn()
    longestTurnMs = Math.max(longestTurnMs, ranMs() - before)
  })
}
/** The longest that the loop did not turn, in processor time: commands, what follows them, the store, collection of garbage. */
let longestBusyMs = 0
let ranAtMs = 0
const watchBusy = (): NodeJS.Timeout =>
  setInterval(() => {
    const now = ranMs()
    longestBusyMs = Math.max(longestBusyMs, now - ranAtMs)
    ranAtMs = now
  }, 1)
const say = (name: string, fields: object): void => console.log(JSON.stringify({ bench: name, ...fields }))
const round = (n: number): number => Number(n.toPrecision(3))

/** Directories of a thousand files, each with one extent of 4 KiB in a shared chunk, as a client packs them. */
async function fill(store: LmdbStore, state: State): Promise<Ino> {
  let seq = 0
  const run = (command: object, session = 0): void => {
    const { result } = apply(
      state,
      {
        index: state.counters().index + 1,
        ...hostClock.now(),
        session: session as SessionId,
        seq: session === 0 ? 0 : ++seq,
        acked: seq,
      },
      command as Command,
    )
    if ('errno' in result) throw new Error(`${(command as Command).kind}: ${result.errno} ${result.detail ?? ''}`)
  }
  const owner = { umask: 0, uid: 1000, gid: 1000 }
  const mkdir = (parent: number, name: string): Ino => {
    const { ino } = state.nextIds()
    run({ kind: 'make', parent, name, ino, type: 'dir', mode: 0o755, rdev: 0, target: '', ...owner }, 1)
    return ino
  }
  let source = 0 as Ino
  let directory = 0 as Ino
  let chunk = 0
  let used = Number.POSITIVE_INFINITY
  transact(store, state, () => {
    found(state, { now: hostClock.now(), salt: [11, 22], settings: SETTINGS, uid: 0, gid: 0 })
    for (const n of [1, 2])
      run({
        ...{ kind: 'nodeJoined', node: n, uuid: `n${n}`, name: '', host: '127.0.0.1', port: n, version: '1' },
        disks: [{ disk: n, uuid: `d${n}`, path: '/d' }],
      })
    run({ kind: 'sessionOpen', session: 1, client: 'c', host: 'h', mountpoint: '/m', version: '1' })
    source = mkdir(1, 'source')
  })
  for (let n = 0; n < files; ) {
    transact(store, state, () => {
      for (let i = 0; i < 500 && n < files; i++, n++) {
        if (n % PER_DIRECTORY === 0) directory = mkdir(source, `directory-${n / PER_DIRECTORY}`)
        if (used + 4096 > 64 * 1024 * 1024) {
          if (chunk > 0) run({ kind: 'chunkSeal', chunk, length: used, failed: [] }, 1)
          chunk = state.nextIds().chunk
          run({ kind: 'chunkOpen', chunks: [{ chunk, disks: [1, 2] }], copies: 2 }, 1)
          used = 0
        }
        const { ino } = state.nextIds()
        const file = { kind: 'create', parent: directory, name: `file-${n}`, ino, mode: 0o644, ...owner }
        run({ ...file, exclusive: false, truncate: false }, 1)
        run({ kind: 'commit', files: [{ ino, extents: [{ offset: 0, length: 4096, chunk, chunkOffset: used }] }] }, 1)
        used += 4096
      }
    })
    // LMDB takes over what has gathered.
    await sleep(0)
  }
  return source
}

type Call = <C extends CallName>(name: C, request: Request<C>) => Promise<Reply<C>>

/** Above all that filling used. */
let lastSeq = 1_000_000_000

class Users {
  readonly #call: Call
  readonly #source: Ino
  readonly #state: State
  stopped = false
  longestLookMs = 0
  longestChangeMs = 0
  looks = 0
  changes = 0

  constructor(state: State, source: Ino, call: Call) {
    this.#state = state
    this.#source = source
    this.#call = call
  }
  #file(): { parent: Ino; name: string } {
    const n = Math.floor(Math.random() * files)
    const parent = this.#state.lookup(this.#source, `directory-${Math.floor(n / PER_DIRECTORY)}`)!.ino
    return { parent, name: `file-${n}` }
  }
  async look(): Promise<void> {
    while (!this.stopped) {
      const start = performance.now()
      await this.#call('lookup', { session: 1 as SessionId, ...this.#file() })
      this.longestLookMs = Math.max(this.longestLookMs, performance.now() - start)
      this.looks++
      await sleep(2)
    }
  }
  async change(): Promise<void> {
    while (!this.stopped) {
      const { parent, name } = this.#file()
      const { ino } = this.#state.lookup(parent, name)!
      const seq = ++lastSeq
      const start = performance.now()
      const stamp = { session: 1 as SessionId, seq, acked: seq }
      await this.#call('setattr', { stamp, ino, change: { mode: 0o600 + (seq % 8) } })
      this.longestChangeMs = Math.max(this.longestChangeMs, performance.now() - start)
      this.changes++
      await sleep(2)
    }
  }
}

async function main(): Promise<void> {
  const path = mkdtempSync(join(options.dir, 'holdfast-bench-'))
  const store = LmdbStore.open(path)
  const stop = new AbortController()
  let work: Promise<void> | undefined
  try {
    const state = new State(store)
    const fillStart = performance.now()
    const source = await fill(store, state)
    await store.flushed()
    say('filled', { files, seconds: round((performance.now() - fillStart) / 1000), bytes: store.sizeBytes() })

    const master = new Master(store, state, hostClock, hostRandom, quiet, soon, {
      cluster: 'bench',
      version: '0',
      heartbeatMs: 2000,
      settleMs: 20_000,
      deadGraceMs: 60_000,
      repairParallel: 4,
      repairBytesPerSecond: 0,
      compactBelowPercent: 0,
    })
    const peer = {
      hello: { version: 1, cluster: 'bench', role: 'admin', name: '' },
      address: '127.0.0.1:1',
      closed: false,
      call: async () => ({ reply: {}, bulk: Buffer.alloc(0) }),
      tell: () => {},
      onClose: () => {},
      close: () => {},
    }
    const context = { peer, signal: stop.signal } as unknown as CallContext
    const call = async <C extends CallName>(name: C, request: Request<C>): Promise<Reply<C>> => {
      const handler = (master.handlers as unknown as Record<string, Handler<C>>)[name]!
      return (await handler(request, Buffer.alloc(0), context)).reply
    }
    await call('sessionResume', {
      ...{ session: 1 as SessionId, client: 'c', opens: [], made: [], directories: [], numbers: [] },
    })
    work = master.work(stop.signal)

    const measured = async (name: string, begin: () => Promise<{ job: number } | undefined>): Promise<void> => {
      const users = new Users(state, source, call)
      const delay = monitorEventLoopDelay({ resolution: 1 })
      delay.enable()
      longestTurnMs = 0
      longestBusyMs = 0
      const ranBeforeMs = ranMs()
      ranAtMs = ranBeforeMs
      const watching = watchBusy()
      const using = [users.look(), users.change()]
      const start = performance.now()
      const job = (await begin())?.job
      let shownMs = 0
      while (job !== undefined) {
        const record = state.jobs.get(job)
        if (record === undefined || record.errno !== undefined) throw new Error(`${name}: ${record?.detail}`)
        if (shownMs === 0 && record.phase !== 'copying') shownMs = performance.now() - start
        if (record.phase === 'over') break
        await sleep(5)
      }
      const allMs = performance.now() - start
      users.stopped = true
      await Promise.all(using)
      delay.disable()
      clearInterval(watching)
      const longestMs = Math.max(users.longestLookMs, users.longestChangeMs, delay.max / 1e6)
      say(name, {
        files,
        seconds: round((name === 'snapshot' ? shownMs : allMs) / 1000),
        clearedSeconds: round(allMs / 1000),
        cpuSeconds: round((ranMs() - ranBeforeMs) / 1000),
        longestTurnMs: round(longestTurnMs),
        longestBusyMs: round(longestBusyMs),
        loopPauseMs: round(delay.max / 1e6),
        loopPause99Ms: round(delay.percentile(99) / 1e6),
        longestLookMs: round(users.longestLookMs),
        longestChangeMs: round(users.longestChangeMs),
        looks: users.looks,
        changes: users.changes,
        goalMs: PAUSE_GOAL_MS,
        reached: longestMs <= PAUSE_GOAL_MS,
      })
    }
    const stamp = { session: 0 as SessionId, seq: 0, acked: 0 }
    // What the machine does to the same users when nothing else goes on.
    await measured('without', async () => {
      await sleep(BASELINE_MS)
      return undefined
    })
    await measured('snapshot', () => call('snapshotCreate', { stamp, source: '/source', target: '/copy' }))
    await measured('delete', () => call('treeDelete', { stamp, path: '/copy' }))
    say('after', { rssMb: Math.round(process.memoryUsage().rss / 2 ** 20), bytes: store.sizeBytes() })
    await master.loop.flushed()
  } finally {
    stop.abort()
    await work
    await store.close()
    rmSync(path, { recursive: true, force: true })
  }
}

if (options.help) console.log('usage: npm run bench -- snapshot [--files N] [--dir DIR]')
else await main()
