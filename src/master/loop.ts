/*
 * The heart of the master: requests that change something queue up, and once per turn of the event loop everything that
 * has arrived is carried out in one transaction, in the order of arrival. So batches form by themselves under load and a
 * lone request waits for nothing.
 *
 * For each request: is it known (session, seq)? Then it is answered from memory. Else it is prepared (time, ids, chosen
 * disks) and applied; the record in the changelog and the remembered reply are part of the same transaction. When that is
 * committed, others are told (`committed`), then the replies go out; those that asked for durability wait for the flush.
 *
 * After a crash: all of a batch or nothing of it is there, and nothing was acknowledged before it was committed. A store
 * that cannot commit refuses the whole batch; the master then refuses everything that would change something, until a
 * write to the store has succeeded again. Anything else thrown in a transaction is a bug and ends the process.
 */

import type { Time } from '../base/attr.ts'
import { timeCompare } from '../base/attr.ts'
import type { Errno } from '../base/errno.ts'
import { assert, FsError, isRefusal, type Result, refuse } from '../base/fault.ts'
import type { SessionId } from '../base/ids.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Stamp } from '../wire/shapes.ts'
import type { Changelog } from './changelog.ts'
import { apply } from './core/apply.ts'
import type { ChangelogEntry } from './core/command-codec.ts'
import type { Command } from './core/commands.ts'
import type { StateStore } from './core/kv.ts'
import type { Touched } from './core/outcome.ts'
import { type State, transact } from './core/state.ts'
import { key } from './core/tables.ts'
import { Flusher } from './flusher.ts'

/** Commands in one transaction: at about 30 µs each a turn stays below 20 ms, and reads are answered between turns. */
export const BATCH_MAX = 512
/** Batches handed to the store that are not committed yet; while they are, requests gather for a larger batch. */
const UNCOMMITTED_MAX = 2
/** Requests waiting for their turn; a link has at most 1 024 in flight, so this is 64 busy mounts. Beyond: EAGAIN. */
export const QUEUE_MAX = 65_536
/** How often a store that could not commit is tried again. */
const PROBE_MS = 1_000
/** A record that needs new pages, so that a store which merely has room in old ones does not pass for writable. */
const PROBE_KEY = key.meta('probe')
const PROBE_BYTES = 64 * 1024

/** Runs a callback after everything that has arrived was handled (setImmediate). */
export type Soon = (callback: () => void) => void

/** Not now: the request has been put where something will submit it again (a lock that waits). */
export const LATER = 'later'

export interface Call {
  /** Whose request it is; without one the master's own. */
  readonly stamp?: Stamp | undefined
  /** Answer only when it is on disk. */
  readonly sync?: boolean
  /** Inside the transaction: sees everything before it in the batch. May throw FsError as a refusal. */
  prepare(now: Time): Result<Command> | typeof LATER
  /**
   * Inside the transaction, right after it was carried out or found in memory; for what the shell remembers and later
   * requests of the same batch must see. When the commit fails it has remembered too much, which must be harmless.
   */
  applied?(reply: unknown): void
  done(result: Result<unknown>): void
}

export interface Change {
  /** The session that did it; 0 = the master. */
  readonly by: SessionId | 0
  readonly touched: Touched
}

export interface LoopStatus {
  readonly queued: number
  readonly batches: number
  readonly commands: number
  /** Why nothing can be changed now, or undefined. */
  readonly refusing: Errno | undefined
  /** What the disk said, in words, when it is refusing. */
  readonly reason: string
}

export class Loop {
  readonly #store: StateStore
  readonly #state: State
  readonly #changelog: Changelog
  readonly #clock: Clock
  readonly #log: Log
  readonly #soon: Soon
  /** After each commit, before its replies go out. */
  readonly #committed: (changes: readonly Change[]) => void
  readonly #flusher: Flusher
  #queue: Call[] = []
  #scheduled = false
  #stopped = false
  #uncommitted = 0
  #lastBatch: Promise<void> = Promise.resolve()
  #refusing: { code: Errno; error: FsError } | undefined
  #batches = 0
  #commands = 0

  constructor(
    store: StateStore,
    state: State,
    changelog: Changelog,
    clock: Clock,
    log: Log,
    soon: Soon,
    committed: (changes: readonly Change[]) => void,
  ) {
    this.#store = store
    this.#state = state
    this.#changelog = changelog
    this.#clock = clock
    this.#log = log
    this.#soon = soon
    this.#committed = committed
    this.#flusher = new Flusher(
      () => store.flushed(),
      clock,
      (error) => this.#cannotCommit(error),
    )
  }

  submit(call: Call): void {
    if (this.#stopped) call.done(refuse('EAGAIN', 'the master is stopping'))
    else if (this.#refusing !== undefined) call.done(this.#refusal())
    else if (this.#queue.length >= QUEUE_MAX) call.done(refuse('EAGAIN', 'the master is overloaded'))
    else {
      this.#queue.push(call)
      this.#schedule()
    }
  }

  /** As a promise; a refusal is thrown as FsError. */
  run<R>(call: Omit<Call, 'done'>): Promise<R> {
    return new Promise((resolve, reject) => {
      this.submit({
        ...call,
        done: (result) =>
          isRefusal(result) ? reject(new FsError(result.errno, result.detail)) : resolve(result.ok as R),
      })
    })
  }

  /** One of the master's own commands. */
  command<R>(prepare: (now: Time) => Result<Command>): Promise<R> {
    return this.run<R>({ prepare })
  }

  /** Resolves when everything committed until now is on disk. */
  flushed(): Promise<void> {
    if (this.#refusing !== undefined) return Promise.reject(this.#refusing.error)
    return this.#flusher.wait()
  }

  status(): LoopStatus {
    return {
      queued: this.#queue.length,
      batches: this.#batches,
      commands: this.#commands,
      refusing: this.#refusing?.code,
      reason: this.#refusing?.error.message ?? '',
    }
  }

  /** Carries out what has arrived, puts it on disk, and refuses everything from then on. */
  async stop(): Promise<void> {
    while (this.#queue.length > 0 && this.#refusing === undefined) {
      this.#turn()
      await this.#lastBatch
    }
    this.#stopped = true
    await this.#lastBatch
    this.#refuseQueue(refuse('EAGAIN', 'the master is stopping'))
    if (this.#refusing === undefined) await this.#flusher.wait()
    this.#flusher.stop()
  }

  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0 || this.#uncommitted >= UNCOMMITTED_MAX) return
    this.#scheduled = true
    this.#soon(() => {
      this.#scheduled = false
      this.#turn()
      this.#schedule()
    })
  }

  #turn(): void {
    if (this.#queue.length === 0) return
    const batch = this.#queue.length <= BATCH_MAX ? this.#queue : this.#queue.slice(0, BATCH_MAX)
    this.#queue = this.#queue.length <= BATCH_MAX ? [] : this.#queue.slice(BATCH_MAX)
    const changes: Change[] = []
    let results: (Result<unknown> | typeof LATER)[]
    try {
      results = transact(this.#store, this.#state, () => {
        const entries: ChangelogEntry[] = []
        const all = batch.map((call) => this.#one(call, changes, entries))
        if (entries.length > 0) this.#changelog.append(entries)
        return all
      })
    } catch (error) {
      // The store's own failures are FsErrors; prepare's have become refusals before they could get here.
      if (!(error instanceof FsError)) throw error
      if (error.code !== 'EAGAIN') this.#cannotCommit(error)
      const result =
        this.#refusing === undefined ? refuse('EAGAIN', 'the metadata disk does not keep up') : this.#refusal()
      for (const call of batch) call.done(result)
      return
    }
    this.#batches++
    this.#commands += changes.length
    if (changes.length === 0) {
      // Only echoes and refusals: what they answer from may still be on its way, so they keep their place in the order.
      this.#settle(batch, results, changes, this.#lastBatch)
      return
    }
    this.#settle(batch, results, changes, this.#store.committed())
    this.#flusher.later()
  }

  /** Once the batch outlives this process: others are told, then the answers go out. */
  #settle(
    batch: readonly Call[],
    results: readonly (Result<unknown> | typeof LATER)[],
    changes: readonly Change[],
    committed: Promise<void>,
  ): void {
    const syncing: { call: Call; result: Result<unknown> }[] = []
    for (let i = 0; i < batch.length; i++) {
      const result = results[i]!
      if (result !== LATER && batch[i]!.sync && !isRefusal(result)) syncing.push({ call: batch[i]!, result })
    }
    // Begun now, so that the flush does not come after the commit but with it.
    const flushed = syncing.length === 0 ? undefined : this.#flusher.wait()
    this.#uncommitted++
    const settled = committed.then(
      () => {
        this.#uncommitted--
        if (changes.length > 0) this.#committed(changes)
        for (let i = 0; i < batch.length; i++) {
          const result = results[i]!
          if (result === LATER || (batch[i]!.sync && !isRefusal(result))) continue
          batch[i]!.done(result)
        }
        this.#schedule()
        return true
      },
      (error: unknown) => {
        this.#uncommitted--
        if (!(error instanceof FsError)) throw error
        this.#state.forget()
        this.#cannotCommit(error)
        for (let i = 0; i < batch.length; i++) if (results[i] !== LATER) batch[i]!.done(this.#refusal())
        return false
      },
    )
    this.#lastBatch = settled.then(() => undefined)
    if (flushed === undefined) return
    void flushed.then(
      async () => {
        if (await settled) for (const { call, result } of syncing) call.done(result)
      },
      async (error: FsError) => {
        if (!(await settled)) return
        for (const { call } of syncing) call.done(refuse(error.code, 'the master could not write to its disk'))
      },
    )
  }

  #one(call: Call, changes: Change[], entries: ChangelogEntry[]): Result<unknown> | typeof LATER {
    const stamp = call.stamp
    if (stamp !== undefined && stamp.session !== 0) {
      const session = this.#state.session(stamp.session)
      if (session === undefined) return refuse('ESTALE', `session ${stamp.session} is over`)
      const known = stamp.seq === 0 ? undefined : this.#state.reply(stamp.session, stamp.seq)
      if (known !== undefined) {
        if (!isRefusal(known)) call.applied?.(known.ok)
        return known
      }
      // Its reply was received, so this is an echo that nobody listens to; executing it would do the thing twice.
      if (stamp.seq !== 0 && stamp.seq < session.acked)
        return refuse('EINVAL', `request ${stamp.seq} was answered and acknowledged before`)
    }
    const now = this.#now()
    const command = prepared(call, now)
    if (command === LATER || isRefusal(command)) return command
    const envelope = {
      index: this.#state.counters().index + 1,
      sec: now.sec,
      nsec: now.nsec,
      session: stamp?.session ?? NOBODY,
      seq: stamp?.seq ?? 0,
      acked: stamp?.acked ?? 0,
    }
    const { result, touched } = apply(this.#state, envelope, command.ok)
    entries.push({ envelope, command: command.ok, errno: isRefusal(result) ? result.errno : undefined })
    changes.push({ by: stamp?.session ?? 0, touched })
    if (!isRefusal(result)) call.applied?.(result.ok)
    return result
  }

  /** The wall clock, but never before the last command: times in the changelog only grow. */
  #now(): Time {
    const now = this.#clock.now()
    const { sec, nsec } = this.#state.counters()
    const last = { sec, nsec }
    return timeCompare(now, last) < 0 ? last : now
  }

  #refusal(): Result<unknown> {
    assert(this.#refusing !== undefined, 'there is a reason to refuse')
    return refuse(this.#refusing.code, "the master's disk takes no writes")
  }

  #cannotCommit(error: FsError): void {
    const first = this.#refusing === undefined
    this.#refusing = { code: error.code === 'ENOSPC' ? 'ENOSPC' : 'EIO', error }
    this.#refuseQueue(this.#refusal())
    if (!first) return
    this.#log.error(
      { error: error.message },
      'the metadata disk takes no writes: refusing all changes; free space on it, or repair it and restart the master',
    )
    this.#probeLater()
  }

  #refuseQueue(result: Result<unknown>): void {
    const queue = this.#queue
    this.#queue = []
    for (const call of queue) call.done(result)
  }

  #probeLater(): void {
    this.#clock.timer(PROBE_MS, () => {
      if (!this.#stopped) void this.#probe()
    })
  }

  async #probe(): Promise<void> {
    try {
      this.#store.transaction(() => this.#store.put(PROBE_KEY, new Uint8Array(PROBE_BYTES)))
      await this.#store.flushed()
      this.#store.transaction(() => this.#store.delete(PROBE_KEY))
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      this.#refusing = { code: error.code === 'ENOSPC' ? 'ENOSPC' : 'EIO', error }
      this.#probeLater()
      return
    }
    this.#refusing = undefined
    this.#log.info({}, 'the metadata disk takes writes again')
  }
}

const NOBODY = 0 as SessionId

function prepared(call: Call, now: Time): Result<Command> | typeof LATER {
  try {
    return call.prepare(now)
  } catch (error) {
    if (error instanceof FsError) return refuse(error.code, detailOf(error))
    throw error
  }
}

/** A refusal gets its errno's sentence again when it is thrown; it is not said twice. */
function detailOf(error: FsError): string | undefined {
  const at = error.message.indexOf(': ')
  return at < 0 ? undefined : error.message.slice(at + 2)
}
