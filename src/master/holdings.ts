/*
 * What mounts hold back from the master with its knowledge, and how it is called in before anybody else looks.
 *
 * Makers: who made a file and has not released it may have closed it and not committed it yet. Holders: who holds a
 * directory may have changed names in it and not said so yet. Before another session is answered about such a file, the
 * maker commits it; before another session looks up or changes a name in such a directory, its holder says what it has
 * changed and holds it no more. So nobody can tell that anything was held back.
 *
 * A directory is given to a session only while no other may show anything of it from its cache. One that looked at it
 * once and never again must not keep it for ever: it is told to forget the directory, and once its kernel has forgotten
 * it as well, the directory can be given away.
 *
 * All of this lives in memory. After a restart of the master nobody is answered before the sessions of before have
 * resumed and said what they hold, GRACE_MS at most.
 */

import { errnoOf } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import type { Request } from '../wire/protocol.ts'
import type { Session, Sessions } from './sessions.ts'

/** How long a mount may take to say and commit what it holds. */
const RECALL_MS = 10_000
/**
 * A mount that is not connected cannot be asked. It changes nothing by itself after half a second without an answer
 * (client/session.ts, LEASE_MS), counted from when it asked; this leaves as much again for clocks that run unevenly.
 */
const LEASE_OVER_MS = 1_000
/** A mount tries to come back every 1.5 s at most (client/session.ts); a master that starts waits for twice that. */
const GRACE_MS = 3_000
/**
 * Directories one session may hold; a mount lets go of old ones well before (client/name-journal.ts). Beyond it the oldest
 * are called in: a hold that the mount knows of and the master does not would be worse than any limit.
 */
const HELD_MAX = 65_536
const RECALL_AT_ONCE = 4_096
/** Ranges of inode numbers that are remembered, of all sessions; each works on its last four (client/name-journal.ts). */
const RESERVED_MAX = 256

/** What a session holds back. */
interface Kept {
  readonly made: Set<Ino>
  /** Longest held first. */
  readonly held: Set<Ino>
}

export interface Wanted {
  /** Inodes whose attributes or bytes are asked for. */
  readonly inos?: readonly Ino[]
  /** Directories whose names are looked at or changed. */
  readonly directories?: readonly Ino[]
}

export class Holdings {
  readonly #sessions: Sessions
  readonly #exists: (ino: Ino) => boolean
  readonly #hasRoom: (directory: Ino) => boolean
  readonly #clock: Clock
  readonly #makers = new Map<Ino, Session>()
  readonly #holders = new Map<Ino, Session>()
  readonly #kept = new Map<Session, Kept>()
  /** Being called in: given to nobody, and whoever wants it waits for the same answer. */
  readonly #recalled = new Map<Ino, { from: Session; over: Promise<void> }>()
  /** The latest numbers given out for new inodes, lowest first: one of them may have been made and not told of. */
  #reserved: { session: Session; first: number; end: number }[] = []
  readonly #startedMs: number
  readonly #heldMax: number
  #graceWaiters: (() => void)[] = []
  /** While what mounts make by is changed, nobody is given a directory. */
  #closed = 0

  /**
   * `exists`: whether the master knows an inode. `hasRoom`: whether no quota stands in the way of what a session may
   * change in a directory before it says so (quota-room.ts).
   */
  constructor(
    sessions: Sessions,
    exists: (ino: Ino) => boolean,
    hasRoom: (directory: Ino) => boolean,
    clock: Clock,
    heldMax: number = HELD_MAX,
  ) {
    this.#sessions = sessions
    this.#exists = exists
    this.#hasRoom = hasRoom
    this.#clock = clock
    this.#heldMax = heldMax
    this.#startedMs = clock.monotonicMs()
  }

  /** The session has made this file and holds it open. */
  made(session: Session, ino: Ino): void {
    session.opens?.add(ino)
    this.#unmade(ino)
    this.#makers.set(ino, session)
    this.#keptBy(session).made.add(ino)
  }

  released(session: Session, ino: Ino): void {
    session.opens?.delete(ino)
    if (this.#makers.get(ino) === session) this.#unmade(ino)
  }

  /** There is no such inode: what may be remembered of it is of one removed, or of a change that the disk refused. */
  gone(ino: Ino): void {
    this.#unmade(ino)
    const holder = this.#holders.get(ino)
    if (holder !== undefined) this.#drop(holder, ino)
  }

  /** These numbers are the session's to give to inodes that it makes. */
  reserved(session: Session, first: number, count: number): void {
    const end = first + count
    // Given out twice: the disk refused the first time.
    const others = this.#reserved.filter((range) => range.end <= first || range.first >= end)
    const at = others.findIndex((range) => range.first > first)
    others.splice(at < 0 ? others.length : at, 0, { session, first, end })
    this.#reserved = others.slice(-RESERVED_MAX)
  }

  /** Whether the session holds the directory from now on. */
  grant(session: Session | undefined, directory: Ino): boolean {
    if (session === undefined || this.#closed > 0 || this.#recalled.has(directory)) return false
    const holder = this.#holders.get(directory)
    if (holder !== undefined && holder !== session) return false
    if (!this.#hasRoom(directory)) return false
    // Also what it holds already: it may do so only because it came back with changes.
    return this.#forgotten(session, directory) && this.hold(session, directory)
  }

  /** Whether another session holds the directory, or is being asked for it. */
  isElsewhere(by: number, directory: Ino): boolean {
    const holder = this.#holders.get(directory) ?? this.#recalled.get(directory)?.from
    return holder !== undefined && holder.info.session !== by
  }

  /** How many directories a session holds. */
  heldBy(session: Session): number {
    return this.#kept.get(session)?.held.size ?? 0
  }

  /** Of a directory that nobody else can know: the session has just made it. */
  hold(session: Session, directory: Ino): boolean {
    const holder = this.#holders.get(directory)
    if (holder !== undefined) return holder === session
    const { held } = this.#keptBy(session)
    if (held.size >= this.#heldMax) void this.#recall(session, [], [...held].slice(0, RECALL_AT_ONCE), false)
    this.#holders.set(directory, session)
    held.add(directory)
    session.told(directory)
    // A mount takes it that it holds what it has made. This reaches it before the answer that says that it was made.
    if (this.#closed > 0 || !this.#hasRoom(directory)) void this.#recall(session, [], [directory], false)
    return true
  }

  /** The session says that it no longer holds these; none named: any. */
  letGo(session: Session, directories: readonly Ino[]): void {
    for (const ino of directories.length > 0 ? directories : this.#keptBy(session).held) this.#drop(session, ino)
  }

  /** Back after a lost connection or a restart of the master, with files that are open and directories that it changed. */
  resumed(session: Session, { made, directories, numbers }: Request<'sessionResume'>): void {
    this.#forget(session)
    for (const { first, count } of numbers) this.reserved(session, first, count)
    for (const ino of made) this.made(session, ino)
    // What it held and did not change it has given up by itself when it lost us.
    for (const ino of directories) if (!this.#holders.has(ino)) this.hold(session, ino)
    if (!this.#sessions.anyAwaited()) this.#endGrace()
  }

  ended(session: Session): void {
    this.#forget(session)
    if (!this.#sessions.anyAwaited()) this.#endGrace()
  }

  /**
   * Before `by` is answered: whoever holds something back of what is wanted has said and committed it. Undefined when
   * there is nothing to wait for. A mount that does not answer in time is not waited for longer: what it holds becomes
   * visible when it is back, as with any change of a mount that is cut off.
   */
  settle(by: number, wanted: Wanted): Promise<void> | undefined {
    const grace = this.#grace(by)
    if (grace !== undefined) return grace.then(() => this.settle(by, wanted))
    if (this.#sessions.isAlone(by)) return undefined
    // From now on the directory is known to it, so that nobody is given it before the request has been carried out.
    for (const ino of wanted.directories ?? []) this.#sessions.find(by as SessionId)?.told(ino)
    const inos = new Map<Session, Ino[]>()
    const directories = new Map<Session, Ino[]>()
    const underWay: Promise<void>[] = []
    for (const ino of wanted.inos ?? []) {
      const keeper = this.#makers.get(ino) ?? this.#holders.get(ino) ?? this.#mayHaveMade(ino)
      if (keeper !== undefined && keeper.info.session !== by) gather(inos, keeper, ino)
    }
    for (const ino of wanted.directories ?? []) {
      const recalled = this.#recalled.get(ino)
      if (recalled !== undefined && recalled.from.info.session !== by) underWay.push(recalled.over)
      const holder = this.#holders.get(ino)
      if (holder !== undefined && holder.info.session !== by) gather(directories, holder, ino)
    }
    if (inos.size === 0 && directories.size === 0 && underWay.length === 0) return undefined
    for (const session of new Set([...inos.keys(), ...directories.keys()]))
      underWay.push(this.#recall(session, inos.get(session) ?? [], directories.get(session) ?? [], false))
    const over = Promise.all(underWay)
    // A holder that was away has come back meanwhile, perhaps, and holds the directories that it has changed.
    return over.then(() =>
      wanted.directories === undefined ? undefined : this.settle(by, { directories: wanted.directories }),
    )
  }

  /**
   * Everything that anybody holds back, for those who look at paths and not at inodes (the command line). `everybody`: also
   * what is written to files that are still open and not committed, of which the master knows nothing.
   */
  async settleAll(of: 'keepers' | 'everybody' = 'keepers'): Promise<void> {
    await this.#grace(0)
    const recalled = [...this.#recalled.values()].map(({ over }) => over)
    const asked = [...this.#sessions.all()].filter((session) => {
      const kept = this.#kept.get(session)
      return of === 'everybody' || (kept !== undefined && (kept.made.size > 0 || kept.held.size > 0))
    })
    await Promise.all([
      ...recalled,
      ...asked.map((session) => this.#recall(session, [], [...(this.#kept.get(session)?.held ?? [])], true)),
    ])
  }

  /** Nobody holds a directory while the work goes on, and what was changed in one before has been told when it begins. */
  async whileNobodyHolds<T>(work: () => Promise<T>): Promise<T> {
    this.#closed++
    try {
      await this.settleAll()
      return await work()
    } finally {
      this.#closed--
    }
  }

  /** These directories are held by nobody any more, and what has been changed in them is told soon. */
  callIn(which: (directory: Ino) => boolean): void {
    for (const [session, { held }] of this.#kept) {
      const some = [...held].filter(which)
      if (some.length > 0) void this.#recall(session, [], some, false)
    }
  }

  /**
   * Before names are changed that a session had changed first, in directories that somebody else holds by now because it
   * was cut off: what the other has changed comes first. Unless somebody waits for this session as well: two that wait
   * for each other would do so until the recall is given up.
   */
  takeOver(session: number, directories: Iterable<Ino>): Promise<void> | undefined {
    const from = new Map<Session, Ino[]>()
    for (const directory of directories) {
      const holder = this.#holders.get(directory)
      if (holder !== undefined && holder.info.session !== session) gather(from, holder, directory)
    }
    if (from.size === 0) return undefined
    const over = [...from].map(([holder, lost]) => this.#recall(holder, [], lost, false))
    for (const { from: asked } of this.#recalled.values()) if (asked.info.session === session) return undefined
    return Promise.all(over).then(() => undefined)
  }

  #recall(session: Session, inos: readonly Ino[], directories: readonly Ino[], all: boolean): Promise<void> {
    for (const ino of directories) this.#drop(session, ino)
    const over = this.#ask(session, inos, directories, all).finally(() => {
      for (const ino of directories) if (this.#recalled.get(ino)?.over === over) this.#recalled.delete(ino)
    })
    for (const ino of directories) this.#recalled.set(ino, { from: session, over })
    return over
  }

  async #ask(session: Session, inos: readonly Ino[], directories: readonly Ino[], all: boolean): Promise<void> {
    const peer = session.peer
    const sinceMs = this.#clock.monotonicMs() - session.heardMs
    // Hung: whoever waited for it once need not wait for the next of its directories.
    if (peer === undefined || peer.closed || sinceMs > RECALL_MS) {
      if (directories.length > 0 && sinceMs < LEASE_OVER_MS) await this.#clock.sleep(LEASE_OVER_MS - sinceMs)
      return
    }
    try {
      for (let at = 0; at === 0 || at < Math.max(inos.length, directories.length); at += RECALL_AT_ONCE) {
        const page = {
          inos: inos.slice(at, at + RECALL_AT_ONCE),
          directories: directories.slice(at, at + RECALL_AT_ONCE),
          all,
        }
        await peer.call('recall', page, { timeoutMs: RECALL_MS })
      }
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      // Its connection may have ended a moment after it was last heard.
      if (directories.length > 0) await this.#clock.sleep(LEASE_OVER_MS)
    }
  }

  /** Whether no other session can show anything of the directory; those who might are told to forget it. */
  #forgotten(session: Session, directory: Ino): boolean {
    const nowMs = this.#clock.monotonicMs()
    let forgotten = true
    for (const other of this.#sessions.all())
      if (other !== session && other.mayShow(directory, nowMs)) forgotten = false
    return forgotten
  }

  /** Who was given the number of an inode that the master does not know: another mount may have heard of it by other ways. */
  #mayHaveMade(ino: Ino): Session | undefined {
    let low = 0
    let high = this.#reserved.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#reserved[middle]!.end <= ino) low = middle + 1
      else high = middle
    }
    const range = this.#reserved[low]
    return range === undefined || ino < range.first || this.#exists(ino) ? undefined : range.session
  }

  #keptBy(session: Session): Kept {
    let kept = this.#kept.get(session)
    if (kept === undefined) {
      kept = { made: new Set(), held: new Set() }
      this.#kept.set(session, kept)
    }
    return kept
  }

  #drop(session: Session, directory: Ino): void {
    if (this.#holders.get(directory) !== session) return
    this.#holders.delete(directory)
    this.#kept.get(session)?.held.delete(directory)
  }

  #unmade(ino: Ino): void {
    const maker = this.#makers.get(ino)
    if (maker === undefined) return
    this.#makers.delete(ino)
    this.#kept.get(maker)?.made.delete(ino)
  }

  /** The session holds nothing back. */
  #forget(session: Session): void {
    const { made, held } = this.#keptBy(session)
    for (const ino of made) this.#unmade(ino)
    for (const ino of held) this.#drop(session, ino)
    this.#kept.delete(session)
    this.#reserved = this.#reserved.filter((range) => range.session !== session)
  }

  /** While sessions of before the restart are missing: until they are back. */
  #grace(by: number): Promise<void> | undefined {
    if (!this.#sessions.anyAwaited(by)) return undefined
    const left = this.#startedMs + GRACE_MS - this.#clock.monotonicMs()
    if (left <= 0) return undefined
    return new Promise((resolve) => {
      const done = (): void => {
        stop()
        resolve()
      }
      const stop = this.#clock.timer(left, done)
      this.#graceWaiters.push(done)
    })
  }

  #endGrace(): void {
    const waiters = this.#graceWaiters
    this.#graceWaiters = []
    for (const wake of waiters) wake()
  }
}

function gather(into: Map<Session, Ino[]>, session: Session, ino: Ino): void {
  const already = into.get(session)
  if (already === undefined) into.set(session, [ino])
  else already.push(ino)
}
