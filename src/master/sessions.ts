/*
 * The mounts, as far as they live in memory: their connections, what each holds open, what each has been told, and when
 * it was last heard. That a session exists is state (core); everything here can be lost with the process and is won back
 * from the mounts themselves: until a session that the state knows has resumed after a restart, it counts as having
 * everything open, so that no file that it still uses is given up.
 *
 * The loss of a connection is not the end of a session; silence longer than the timeout is, whatever the connection says.
 */

import { FsError } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import type { Peer } from '../wire/peer.ts'
import type { DeclaredPlace } from '../wire/shapes.ts'
import type { Touched } from './core/outcome.ts'
import { Interest, inPages } from './interest.ts'

/** More mounts than one master serves well; each costs an interest set. */
export const SESSIONS_MAX = 4_096
/** A session that holds more inodes open than this is refused further ones: it is leaking them. */
export const OPENS_MAX = 1_000_000

/** What a kernel shows of a name without asking: a second (fuse/door.ts), and as much again for the way to the mount. */
const FORGOTTEN_AFTER_MS = 2_000

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
  /** What it says of where it stands; what it leaves out follows from its address. */
  place: DeclaredPlace | undefined
  /** Labels of the disks that it reads from first, in this order. */
  prefer: readonly string[] = []
  /** Directories that it was told to forget, and when. */
  readonly #leaving = new Map<Ino, number>()

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
    if (this.#leaving.size > 0) this.#leaving.delete(ino)
    if (this.interest.has(ino)) return
    const evicted = this.interest.add(ino)
    if (evicted === undefined || !this.connected) return
    for (const page of inPages(
      evicted.map((old) => ({ ino: old, data: true })),
      [],
    ))
      this.peer!.tell('invalidate', page)
  }

  /**
   * Whether it may show something of the directory without asking. The first time it is told to forget it, and hears of
   * changes for as long as its kernel may still show a name; then, if it has not asked again meanwhile, it is not told.
   */
  mayShow(directory: Ino, nowMs: number): boolean {
    if (!this.connected || !this.interest.has(directory)) return false
    const sinceMs = this.#leaving.get(directory)
    if (sinceMs === undefined) {
      this.#leaving.set(directory, nowMs)
      this.peer!.tell('invalidate', { inodes: [{ ino: directory, data: true }], entries: [] })
      return true
    }
    if (nowMs - sinceMs < FORGOTTEN_AFTER_MS) return true
    this.#leaving.delete(directory)
    this.interest.delete(directory)
    return false
  }

  /** Its caches are empty: nothing has been told. */
  forgotAll(): void {
    this.interest.clear()
    this.#leaving.clear()
  }
}

export class Sessions {
  readonly #byId = new Map<SessionId, Session>()
  /** Known from the state when the master started, and not back yet. */
  readonly #awaited = new Set<SessionId>()
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
    this.#awaited.add(info.session)
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
    this.#awaited.delete(info.session)
    this.#attach(session, peer)
    return session
  }

  /** Back on a new connection with what it holds open. Its caches are empty, so nothing has been told. */
  resume(session: Session, opens: readonly Ino[], peer: Peer): void {
    session.opens = new Set(opens)
    this.#attach(session, peer)
    this.#awaited.delete(session.info.session)
  }

  end(id: SessionId): void {
    const session = this.#byId.get(id)
    if (session === undefined) return
    this.#byId.delete(id)
    this.#awaited.delete(id)
    session.forgotAll()
  }

  /** Whether nobody but this session could be told or asked anything. */
  isAlone(id: number): boolean {
    return this.#byId.size === 0 || (this.#byId.size === 1 && this.#byId.has(id as SessionId))
  }

  /** Whether a session of before the master's start has not resumed yet; `by` does not wait for itself. */
  anyAwaited(by?: number): boolean {
    if (this.#awaited.size === 0) return false
    return this.#awaited.size > 1 || !this.#awaited.has(by as SessionId)
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
    session.forgotAll()
    const before = session.peer
    session.peer = peer
    // What may still arrive there was said before the mount came back, and would be believed after it.
    if (before !== peer) before?.close()
    peer.onClose(() => {
      if (session.peer !== peer) return
      session.peer = undefined
      session.forgotAll()
    })
  }
}
