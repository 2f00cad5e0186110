/*
 * The mounts, as far as they live in memory: their connections, what each holds open, what each has been told, and when
 * it was last heard. That a session exists is state (core); everything here can be lost with the process and is won back
 * from the mounts themselves: until a session that the state knows has resumed after a restart, it counts as having
 * everything open, so that no file that it still uses is given up.
 *
 * The loss of a connection is not the end of a session; silence longer than the timeout is, whatever the connection says.
 */

import { errnoOf, FsError } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import type { Peer } from '../wire/peer.ts'
import type { Touched } from './core/outcome.ts'
import { Interest, inPages } from './interest.ts'

/** More mounts than one master serves well; each costs an interest set. */
export const SESSIONS_MAX = 4_096
/** A session that holds more inodes open than this is refused further ones: it is leaking them. */
export const OPENS_MAX = 1_000_000

export interface SessionInfo {
  readonly session: SessionId
  readonly client: string
  readonly host: string
  readonly mountpoint: string
  readonly version: string
}

export class Session {
  readonly info: SessionInfo
  readonly interest = new Interest()
  /** Unknown until the session has said it after a restart of the master. */
  opens: Set<Ino> | undefined
  heardMs: number
  peer: Peer | undefined

  constructor(info: SessionInfo, opens: Set<Ino> | undefined, nowMs: number) {
    this.info = info
    this.opens = opens
    this.heardMs = nowMs
  }

  get connected(): boolean {
    return this.peer !== undefined && !this.peer.closed
  }

  mayHaveOpen(ino: Ino): boolean {
    return this.opens === undefined || this.opens.has(ino)
  }

  /** The session is told about an inode or a directory, now. */
  told(ino: Ino): void {
    if (this.interest.has(ino)) return
    const evicted = this.interest.add(ino)
    if (evicted === undefined || !this.connected) return
    for (const page of inPages(
      evicted.map((old) => ({ ino: old, data: true })),
      [],
    ))
      this.peer!.tell('invalidate', page)
  }
}

/** How long a mount may take to commit what it holds of a file that another one opens. */
const RECALL_MS = 10_000

export class Sessions {
  readonly #byId = new Map<SessionId, Session>()
  /** Who made a file and has not released it since: it may have closed it and not committed yet. */
  readonly #makers = new Map<Ino, Session>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#byId.size
  }

  all(): IterableIterator<Session> {
    return this.#byId.values()
  }

  find(id: SessionId): Session | undefined {
    return this.#byId.get(id)
  }

  /** The session that asks, heard now. ESTALE: it is over (or never was). */
  heard(id: SessionId): Session {
    const session = this.#byId.get(id)
    if (session === undefined) throw new FsError('ESTALE', `session ${id} is over`)
    session.heardMs = this.#clock.monotonicMs()
    return session
  }

  /** From the state, when the master starts: its opens are not known yet. */
  restore(info: SessionInfo): void {
    this.#byId.set(info.session, new Session(info, undefined, this.#clock.monotonicMs()))
  }

  /** Just begun, or begun again by a repeated request. */
  begin(info: SessionInfo, peer: Peer): Session {
    let session = this.#byId.get(info.session)
    if (session === undefined) {
      session = new Session(info, new Set(), this.#clock.monotonicMs())
      this.#byId.set(info.session, session)
    }
    // A mount that asks for its number has not opened anything yet, even when an earlier answer to it got lost.
    session.opens ??= new Set()
    this.#attach(session, peer)
    return session
  }

  /** Back on a new connection with what it holds open. Its caches are empty, so nothing has been told. */
  resume(session: Session, opens: readonly Ino[], peer: Peer): void {
    session.opens = new Set(opens)
    // A restarted master does not know which of them were made there and are not committed.
    for (const ino of opens) if (!this.#makers.has(ino)) this.#makers.set(ino, session)
    this.#attach(session, peer)
  }

  end(id: SessionId): void {
    const session = this.#byId.get(id)
    if (session === undefined) return
    this.#byId.delete(id)
    for (const [ino, maker] of this.#makers) if (maker === session) this.#makers.delete(ino)
    session.interest.clear()
  }

  /** The session has made this file and holds it open. */
  made(id: SessionId, ino: Ino): void {
    const session = this.#byId.get(id)
    if (session === undefined) return
    session.opens?.add(ino)
    this.#makers.set(ino, session)
  }

  released(session: Session, ino: Ino): void {
    session.opens?.delete(ino)
    if (this.#makers.get(ino) === session) this.#makers.delete(ino)
  }

  /** Whether a listing may hold files that somebody else has still to commit; one mount alone never asks further. */
  anyMakerBut(id: number): boolean {
    return this.#makers.size > 0 && (this.#byId.size > 1 || !this.#byId.has(id as SessionId))
  }

  /**
   * Before somebody else looks at files, opens or changes them: whoever made them commits what it has closed. Undefined
   * when there is nothing to wait for. A mount that is away or does not answer in time is not waited for: what it holds
   * becomes visible when it is back, as with any other change of a mount that is cut off.
   */
  recall(by: number, inos: readonly Ino[]): Promise<void> | undefined {
    if (this.#makers.size === 0) return undefined
    const wanted = new Map<Session, Ino[]>()
    for (const ino of inos) {
      const maker = this.#makers.get(ino)
      if (maker === undefined || maker.info.session === by || !maker.connected) continue
      const theirs = wanted.get(maker)
      if (theirs === undefined) wanted.set(maker, [ino])
      else theirs.push(ino)
    }
    if (wanted.size === 0) return undefined
    const answers = [...wanted].map(async ([maker, theirs]) => {
      try {
        await maker.peer!.call('recall', { inos: theirs }, { timeoutMs: RECALL_MS })
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
      }
    })
    return Promise.all(answers).then(() => undefined)
  }

  /** Who may have this inode open, and so must keep it alive when its last name goes. */
  openIn(ino: Ino): SessionId[] {
    const holders: SessionId[] = []
    for (const session of this.#byId.values()) if (session.mayHaveOpen(ino)) holders.push(session.info.session)
    return holders
  }

  /** Tells everybody but the one who did it. The changes of one batch travel in one frame per session. */
  push(changes: readonly { readonly by: number; readonly touched: Touched }[]): void {
    for (const session of this.#byId.values()) {
      if (!session.connected || session.interest.size === 0) continue
      const others = changes.filter((change) => change.by !== session.info.session)
      if (others.length === 0) continue
      for (const page of session.interest.concerned(others.map((change) => change.touched)))
        session.peer!.tell('invalidate', page)
    }
  }

  /** Sessions not heard for `timeoutMs`. */
  silent(timeoutMs: number): Session[] {
    const before = this.#clock.monotonicMs() - timeoutMs
    return [...this.#byId.values()].filter((session) => session.heardMs < before)
  }

  /** This process did not run for `ms` (a suspended machine, a long stop): nobody could be heard meanwhile. */
  forgive(ms: number): void {
    for (const session of this.#byId.values()) session.heardMs += ms
  }

  #attach(session: Session, peer: Peer): void {
    session.heardMs = this.#clock.monotonicMs()
    session.interest.clear()
    session.peer = peer
    peer.onClose(() => {
      if (session.peer !== peer) return
      session.peer = undefined
      session.interest.clear()
    })
  }
}
